/* Planes of bits in the registers of AVX2, as bitsliced.h uses them. TARGET is defined in front of it. */
#ifndef FXBIN_PLANES_AVX2_H
#define FXBIN_PLANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#include "cpu.h"

#define VECTOR 32

/** Addresses may contain 1 to 8 times a register. */
#define UNIT 4

typedef __m256i plane;

/** The sums of 8 filters, of 16 bits. */
typedef __m128i sums_of_8;

static ALWAYS_INLINE TARGET plane no_bits(void) {
    return _mm256_setzero_si256();
}

/** The row at an address that VECTOR divides. */
static ALWAYS_INLINE TARGET plane load_plane(const void *row) {
    return _mm256_load_si256((const __m256i *)row);
}

/** Two rows of half a vector, at addresses that their size divides. */
static ALWAYS_INLINE TARGET plane join_2(const void *a, const void *b) {
    __m256i low = _mm256_castsi128_si256(_mm_load_si128((const __m128i *)a));
    return _mm256_inserti128_si256(low, _mm_load_si128((const __m128i *)b), 1);
}

static ALWAYS_INLINE TARGET __m128i join_halves(const void *a, const void *b) {
    __m128d low = _mm_castsi128_pd(_mm_loadl_epi64((const __m128i *)a));
    return _mm_castpd_si128(_mm_loadh_pd(low, (const double *)b));
}

/** Four rows of a quarter of a vector. */
static ALWAYS_INLINE TARGET plane join_4(const void *a, const void *b, const void *c, const void *d) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(join_halves(a, b)), join_halves(c, d), 1);
}

/** In each byte, swap the bits `mask` of `b` and those `distance` above them of `a`. */
static ALWAYS_INLINE TARGET void swap_bits(plane *a, plane *b, int distance, uint8_t mask) {
    const __m256i chosen = _mm256_set1_epi8((char)mask);
    __m256i differ = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi16(*a, distance), *b), chosen);
    *b = _mm256_xor_si256(*b, differ);
    *a = _mm256_xor_si256(*a, _mm256_slli_epi16(differ, distance));
}

/** The lower and upper bytes of the sums of 32 filters, joined; in order. */
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
