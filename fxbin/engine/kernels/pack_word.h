/* Packs up to 64 numbers into bits that say which are above their thresholds. */
#ifndef FXBIN_PACK_WORD_H
#define FXBIN_PACK_WORD_H

#include <stdint.h>

#include "cpu.h"

#if FXBIN_X86
#include <immintrin.h>
#endif
#if FXBIN_ARM64
#include <arm_neon.h>
#endif

/** Bit i is set where number i of `count` <= 64 is above threshold i. */
typedef uint64_t (*packs_word)(const void *values, const void *thresholds, int64_t count);

#define DEFINE_PACK_WORD(type)                                                                                \
    static ALWAYS_INLINE uint64_t pack_##type(const void *values, const void *thresholds, int64_t count) {    \
        const type *numbers = values, *bounds = thresholds;                                                   \
        uint64_t word = 0;                                                                                    \
        for (int64_t i = 0; i < count; i++) word |= (uint64_t)(numbers[i] > bounds[i]) << i;                  \
        return word;                                                                                          \
    }

DEFINE_PACK_WORD(double)

#if FXBIN_ARM64
static ALWAYS_INLINE uint64_t pack_float(const void *values, const void *thresholds, int64_t count) {
    static const uint16_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const float *numbers = values, *bounds = thresholds;
    uint64_t word = 0;
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        uint32x4_t first = vcgtq_f32(vld1q_f32(numbers + i), vld1q_f32(bounds + i));
        uint32x4_t second = vcgtq_f32(vld1q_f32(numbers + i + 4), vld1q_f32(bounds + i + 4));
        uint16x8_t above = vuzp1q_u16(vreinterpretq_u16_u32(first), vreinterpretq_u16_u32(second));
        word |= (uint64_t)vaddvq_u16(vandq_u16(above, vld1q_u16(places))) << i;
    }
    for (; i < count; i++) word |= (uint64_t)(numbers[i] > bounds[i]) << i;
    return word;
}
#else
DEFINE_PACK_WORD(float)
#endif

#if FXBIN_X86
static ALWAYS_INLINE AVX2 uint64_t pack_float_avx2(const void *values, const void *thresholds, int64_t count) {
    const float *numbers = values, *bounds = thresholds;
    uint64_t word = 0;
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 above = _mm256_cmp_ps(_mm256_loadu_ps(numbers + i), _mm256_loadu_ps(bounds + i), _CMP_GT_OQ);
        word |= (uint64_t)(uint32_t)_mm256_movemask_ps(above) << i;
    }
    return i < count ? word | pack_float(numbers + i, bounds + i, count - i) << i : word;
}

static ALWAYS_INLINE AVX512 uint64_t pack_float_avx512(const void *values, const void *thresholds, int64_t count) {
    const float *numbers = values, *bounds = thresholds;
    uint64_t word = 0;
    for (int64_t i = 0; i < count; i += 16) {
        __mmask16 there = count - i < 16 ? (__mmask16)((1u << (count - i)) - 1) : (__mmask16)0xffff;
        __m512 some = _mm512_maskz_loadu_ps(there, numbers + i), bound = _mm512_maskz_loadu_ps(there, bounds + i);
        word |= (uint64_t)_mm512_mask_cmp_ps_mask(there, some, bound, _CMP_GT_OQ) << i;
    }
    return word;
}
#endif

#endif
