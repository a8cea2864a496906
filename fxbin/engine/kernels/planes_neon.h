/* Planes of bits in pairs of registers of NEON, for bitsliced.h and pixelsliced.h. A full adder is 3 operations for
 * each register. */
#ifndef FXBIN_PLANES_NEON_H
#define FXBIN_PLANES_NEON_H

#include <arm_neon.h>
#include <stdint.h>

#include "cpu.h"

#define TARGET
#define VECTOR 32

/** Addresses may contain a register times the size of what is loaded. */
#define UNIT 1

/** Two registers: the additions of one do not wait for those of the other, and both use one entry of a list. */
typedef struct {
    uint8x16_t low, high;
} plane;

/** The 16-bit sums of 8 filters. */
typedef uint16x8_t sums_of_8;

static ALWAYS_INLINE plane no_bits(void) {
    return (plane){vdupq_n_u8(0), vdupq_n_u8(0)};
}

static ALWAYS_INLINE plane load_plane(const void *row) {
    const uint8_t *bytes = row;
    return (plane){vld1q_u8(bytes), vld1q_u8(bytes + 16)};
}

static ALWAYS_INLINE void store_plane(void *to, plane bits) {
    uint8_t *bytes = to;
    vst1q_u8(bytes, bits.low);
    vst1q_u8(bytes + 16, bits.high);
}

static ALWAYS_INLINE plane invert(plane bits) {
    return (plane){vmvnq_u8(bits.low), vmvnq_u8(bits.high)};
}

/** Bit `bit` of each byte, as a byte of 0 or 1. */
static ALWAYS_INLINE plane lowest_bits(plane bits, int bit) {
    const int8x16_t down = vdupq_n_s8((int8_t)-bit);
    const uint8x16_t one = vdupq_n_u8(1);
    return (plane){vandq_u8(vshlq_u8(bits.low, down), one), vandq_u8(vshlq_u8(bits.high, down), one)};
}

/** A half adder: `*sum` becomes the sum of two planes, and the carry is returned. */
static ALWAYS_INLINE plane add_plane(plane *sum, plane a) {
    plane carry = {vandq_u8(sum->low, a.low), vandq_u8(sum->high, a.high)};
    *sum = (plane){veorq_u8(sum->low, a.low), veorq_u8(sum->high, a.high)};
    return carry;
}

#define DEFINE_INTERLEAVE(size, type)                                                                        \
    static ALWAYS_INLINE void interleave_##size(plane *a, plane *b) {                                        \
        plane first = *a, second = *b;                                                                       \
        a->low = vreinterpretq_u8_##type(zip1(type, first.low, second.low));                                 \
        b->low = vreinterpretq_u8_##type(zip2(type, first.low, second.low));                                 \
        a->high = vreinterpretq_u8_##type(zip1(type, first.high, second.high));                              \
        b->high = vreinterpretq_u8_##type(zip2(type, first.high, second.high));                              \
    }

#define zip1(type, a, b) vzip1q_##type(vreinterpretq_##type##_u8(a), vreinterpretq_##type##_u8(b))
#define zip2(type, a, b) vzip2q_##type(vreinterpretq_##type##_u8(a), vreinterpretq_##type##_u8(b))

/* In each register, interleave the elements of two planes: those of the lower 8 bytes go to `a`, the others to `b`. The
 * names say how many bytes an element has. */
DEFINE_INTERLEAVE(2, u16)
DEFINE_INTERLEAVE(4, u32)
DEFINE_INTERLEAVE(8, u64)

static ALWAYS_INLINE void interleave_1(plane *a, plane *b) {
    plane first = *a, second = *b;
    *a = (plane){vzip1q_u8(first.low, second.low), vzip1q_u8(first.high, second.high)};
    *b = (plane){vzip2q_u8(first.low, second.low), vzip2q_u8(first.high, second.high)};
}

/** Join two rows of half a vector. */
static ALWAYS_INLINE plane join_2(const uint8_t *a, const uint8_t *b) {
    return (plane){vld1q_u8(a), vld1q_u8(b)};
}

/** Join four rows of a quarter of a vector. */
static ALWAYS_INLINE plane join_4(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d) {
    return (plane){vcombine_u8(vld1_u8(a), vld1_u8(b)), vcombine_u8(vld1_u8(c), vld1_u8(d))};
}

/** A full adder: where two bits differ, the third one is the majority. EOR3 of the SHA3 extension would save at most a
 * tenth, because whether they differ must be known anyway. */
static ALWAYS_INLINE uint8x16_t add_halves(uint8x16_t *sum, uint8x16_t a, uint8x16_t b) {
    uint8x16_t differ = veorq_u8(a, b);
    __asm__("" : "+w"(differ)); // clang would turn this into 5 operations: a & ~differ is a & b
    uint8x16_t carry = vbslq_u8(differ, *sum, a);
    *sum = veorq_u8(differ, *sum);
    return carry;
}

static ALWAYS_INLINE plane add_planes(plane *sum, plane a, plane b) {
    return (plane){add_halves(&sum->low, a.low, b.low), add_halves(&sum->high, a.high, b.high)};
}

/** The carry of a full adder. */
static ALWAYS_INLINE plane majority(plane a, plane b, plane c) {
    return add_planes(&c, a, b);
}

static ALWAYS_INLINE void swap_half(uint8x16_t *a, uint8x16_t *b, int distance, uint8_t mask) {
    const uint8x16_t chosen = vdupq_n_u8(mask);
    uint8x16_t down = vshlq_u8(*a, vdupq_n_s8((int8_t)-distance));
    *a = vbslq_u8(chosen, *a, vshlq_u8(*b, vdupq_n_s8((int8_t)distance)));
    *b = vbslq_u8(chosen, down, *b);
}

/** In each byte, swap the bits `mask` of `b` with the bits of `a` that are `distance` above them. */
static ALWAYS_INLINE void swap_bits(plane *a, plane *b, int distance, uint8_t mask) {
    swap_half(&a->low, &b->low, distance, mask);
    swap_half(&a->high, &b->high, distance, mask);
}

/** Join the lower and upper bytes of the sums of 32 filters, in order. */
static ALWAYS_INLINE void join_bytes(plane lower, plane upper, sums_of_8 found[VECTOR / 8]) {
    found[0] = vreinterpretq_u16_u8(vzip1q_u8(lower.low, upper.low));
    found[1] = vreinterpretq_u16_u8(vzip2q_u8(lower.low, upper.low));
    found[2] = vreinterpretq_u16_u8(vzip1q_u8(lower.high, upper.high));
    found[3] = vreinterpretq_u16_u8(vzip2q_u8(lower.high, upper.high));
}

/** Write 2 * sum - active. */
static ALWAYS_INLINE void write_signed(sums_of_8 sums, int32_t active, int32_t *to) {
    int32x4_t low = vreinterpretq_s32_u32(vshll_n_u16(vget_low_u16(sums), 1));
    int32x4_t high = vreinterpretq_s32_u32(vshll_high_n_u16(sums, 1));
    vst1q_s32(to, vsubq_s32(low, vdupq_n_s32(active)));
    vst1q_s32(to + 4, vsubq_s32(high, vdupq_n_s32(active)));
}

/** The numbers of LANES pixels, in the form that `write_lanes` subtracts. */
typedef struct {
    int32_t of[VECTOR / 8];
} lane_numbers;

static ALWAYS_INLINE lane_numbers spread_lanes(const int32_t numbers[VECTOR / 8]) {
    lane_numbers made;
    for (int i = 0; i < VECTOR / 8; i++) made.of[i] = numbers[i];
    return made;
}

/** Write 2 * sum - active for 8 filters, whose sums have the lower and upper bytes of a lane, for the pixel of each
 * lane. The results of pixels are `step` apart. */
static ALWAYS_INLINE void write_lanes(plane lower, plane upper, lane_numbers active, int32_t *to, int64_t step) {
    sums_of_8 eights[VECTOR / 8];
    join_bytes(lower, upper, eights);
    for (int i = 0; i < VECTOR / 8; i++) write_signed(eights[i], active.of[i], to + i * step);
}

/** Write (number + `amount`) * `unit` for 8 numbers. */
static ALWAYS_INLINE void write_8(const uint8_t *numbers, int64_t amount, int unit, uint16_t *to) {
    uint16x8_t sums = vaddq_u16(vmovl_u8(vld1_u8(numbers)), vdupq_n_u16((uint16_t)amount));
    vst1q_u16(to, vmulq_n_u16(sums, (uint16_t)unit));
}

static ALWAYS_INLINE void copy_16_plus(const uint16_t *from, int64_t amount, uint16_t *to) {
    uint16x8_t added = vdupq_n_u16((uint16_t)amount), low = vld1q_u16(from), high = vld1q_u16(from + 8);
    vst1q_u16(to, vaddq_u16(low, added));
    vst1q_u16(to + 8, vaddq_u16(high, added));
}

static ALWAYS_INLINE void fill_16(int64_t number, uint16_t *to) {
    vst1q_u16(to, vdupq_n_u16((uint16_t)number));
    vst1q_u16(to + 8, vdupq_n_u16((uint16_t)number));
}

#endif
