/* Planes of bits in the registers of AVX2, for bitsliced.h and pixelsliced.h. TARGET must be defined before; what
 * AVX-512 does in fewer operations is in logic_avx2.h and logic_avx512.h. */
#ifndef FXBIN_PLANES_AVX2_H
#define FXBIN_PLANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#include "cpu.h"

#define VECTOR 32

/** Addresses may contain a register times 1, 2, 4 or 8. */
#define UNIT 4

typedef __m256i plane;

/** The 16-bit sums of 8 filters. */
typedef __m128i sums_of_8;

static ALWAYS_INLINE TARGET plane no_bits(void) {
    return _mm256_setzero_si256();
}

/** Load the row at an address that is a multiple of VECTOR. */
static ALWAYS_INLINE TARGET plane load_plane(const void *row) {
    return _mm256_load_si256((const __m256i *)row);
}

static ALWAYS_INLINE TARGET void store_plane(void *to, plane bits) {
    _mm256_store_si256((__m256i *)to, bits);
}

static ALWAYS_INLINE TARGET plane invert(plane bits) {
    return _mm256_xor_si256(bits, _mm256_set1_epi8(-1));
}

/** Bit `bit` of each byte, as a byte of 0 or 1. */
static ALWAYS_INLINE TARGET plane lowest_bits(plane bits, int bit) {
    return _mm256_and_si256(_mm256_srli_epi16(bits, bit), _mm256_set1_epi8(1));
}

/** A half adder: `*sum` becomes the sum of two planes, and the carry is returned. */
static ALWAYS_INLINE TARGET plane add_plane(plane *sum, plane a) {
    plane carry = _mm256_and_si256(*sum, a);
    *sum = _mm256_xor_si256(*sum, a);
    return carry;
}

/** In each half, interleave the elements of two planes: those of the lower 8 bytes go to `a`, the others to `b`. The
 * names say how many bytes an element has. */
static ALWAYS_INLINE TARGET void interleave_1(plane *a, plane *b) {
    plane low = _mm256_unpacklo_epi8(*a, *b);
    *b = _mm256_unpackhi_epi8(*a, *b);
    *a = low;
}

static ALWAYS_INLINE TARGET void interleave_2(plane *a, plane *b) {
    plane low = _mm256_unpacklo_epi16(*a, *b);
    *b = _mm256_unpackhi_epi16(*a, *b);
    *a = low;
}

static ALWAYS_INLINE TARGET void interleave_4(plane *a, plane *b) {
    plane low = _mm256_unpacklo_epi32(*a, *b);
    *b = _mm256_unpackhi_epi32(*a, *b);
    *a = low;
}

static ALWAYS_INLINE TARGET void interleave_8(plane *a, plane *b) {
    plane low = _mm256_unpacklo_epi64(*a, *b);
    *b = _mm256_unpackhi_epi64(*a, *b);
    *a = low;
}

/** Join two rows of half a vector, at addresses that are multiples of their size. */
static ALWAYS_INLINE TARGET plane join_2(const void *a, const void *b) {
    __m256i low = _mm256_castsi128_si256(_mm_load_si128((const __m128i *)a));
    return _mm256_inserti128_si256(low, _mm_load_si128((const __m128i *)b), 1);
}

static ALWAYS_INLINE TARGET __m128i join_halves(const void *a, const void *b) {
    __m128d low = _mm_castsi128_pd(_mm_loadl_epi64((const __m128i *)a));
    return _mm_castpd_si128(_mm_loadh_pd(low, (const double *)b));
}

/** Join four rows of a quarter of a vector. */
static ALWAYS_INLINE TARGET plane join_4(const void *a, const void *b, const void *c, const void *d) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(join_halves(a, b)), join_halves(c, d), 1);
}

/** Join the lower and upper bytes of the sums of 32 filters, in order. */
static ALWAYS_INLINE TARGET void join_bytes(plane lower, plane upper, sums_of_8 found[VECTOR / 8]) {
    __m256i even = _mm256_unpacklo_epi8(lower, upper), odd = _mm256_unpackhi_epi8(lower, upper);
    found[0] = _mm256_castsi256_si128(even);
    found[1] = _mm256_castsi256_si128(odd);
    found[2] = _mm256_extracti128_si256(even, 1);
    found[3] = _mm256_extracti128_si256(odd, 1);
}

/** Write 2 * sum - active. */
static ALWAYS_INLINE TARGET void write_signed(sums_of_8 sums, int32_t active, int32_t *to) {
    __m128i both = _mm_sub_epi16(_mm_add_epi16(sums, sums), _mm_set1_epi16((short)active));
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_cvtepi16_epi32(both));
}

/** The numbers of LANES pixels, in the form that `write_lanes` subtracts. */
typedef struct {
    plane even, odd;
} lane_numbers;

static ALWAYS_INLINE TARGET lane_numbers spread_lanes(const int32_t numbers[VECTOR / 8]) {
    __m128i each[VECTOR / 8];
    for (int i = 0; i < VECTOR / 8; i++) each[i] = _mm_set1_epi16((short)numbers[i]);
    return (lane_numbers){_mm256_set_m128i(each[2], each[0]), _mm256_set_m128i(each[3], each[1])};
}

/** Write 2 * sum - active for 8 filters, whose sums have the lower and upper bytes of a lane, for the pixel of each
 * lane. The results of pixels are `step` apart. */
static ALWAYS_INLINE TARGET void write_lanes(
    plane lower, plane upper, lane_numbers active, int32_t *to, int64_t step
) {
    __m256i even = _mm256_unpacklo_epi8(lower, upper), odd = _mm256_unpackhi_epi8(lower, upper);
    even = _mm256_sub_epi16(_mm256_add_epi16(even, even), active.even);
    odd = _mm256_sub_epi16(_mm256_add_epi16(odd, odd), active.odd);
    __m128i each[4] = {_mm256_castsi256_si128(even), _mm256_castsi256_si128(odd)};
    each[2] = _mm256_extracti128_si256(even, 1);
    each[3] = _mm256_extracti128_si256(odd, 1);
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_si256((__m256i *)(void *)(to + i * step), _mm256_cvtepi16_epi32(each[i]));
    }
}

/** Write (number + `amount`) * `unit` for 8 numbers. */
static ALWAYS_INLINE TARGET void write_8(const uint8_t *numbers, int64_t amount, int unit, uint16_t *to) {
    __m128i sums = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)numbers));
    sums = _mm_add_epi16(sums, _mm_set1_epi16((short)amount));
    _mm_storeu_si128((__m128i *)(void *)to, _mm_mullo_epi16(sums, _mm_set1_epi16((short)unit)));
}

static ALWAYS_INLINE TARGET void copy_16_plus(const uint16_t *from, int64_t amount, uint16_t *to) {
    __m256i numbers = _mm256_loadu_si256((const __m256i *)(const void *)from);
    numbers = _mm256_add_epi16(numbers, _mm256_set1_epi16((short)amount));
    _mm256_storeu_si256((__m256i *)(void *)to, numbers);
}

static ALWAYS_INLINE TARGET void fill_16(int64_t number, uint16_t *to) {
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_set1_epi16((short)number));
}

#endif
