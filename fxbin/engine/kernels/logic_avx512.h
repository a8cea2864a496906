/* Logic of planes of 256 bits by AVX-512: a full adder is 2 operations. */
#ifndef FXBIN_LOGIC_AVX512_H
#define FXBIN_LOGIC_AVX512_H

#include "planes_avx2.h"

/** Truth tables of three planes: an odd number is set; at least two are; the same, from a summand, the sum and another
 * summand: what both summands are where they are equal, else what the sum is not; the first one says which of the
 * others counts. */
#define ODD 0x96
#define MOST 0xe8
#define MOST_BY_SUM 0xb2
#define CHOICE 0xca

/** `*sum` becomes the sum of three planes, and what is carried is returned. Each operation writes over a plane that is
 * not needed any more: to compute the carry from the three summands would take a copy. */
static ALWAYS_INLINE AVX512 plane add_planes(plane *sum, plane a, plane b) {
    *sum = _mm256_ternarylogic_epi64(*sum, a, b, ODD);
    return _mm256_ternarylogic_epi64(b, *sum, a, MOST_BY_SUM);
}

/** What a full adder carries. */
static ALWAYS_INLINE AVX512 plane majority(plane a, plane b, plane c) {
    return _mm256_ternarylogic_epi64(a, b, c, MOST);
}

/** In each byte, swap the bits `mask` of `b` and those `distance` above them of `a`. */
static ALWAYS_INLINE AVX512 void swap_bits(plane *a, plane *b, int distance, uint8_t mask) {
    const __m256i lower = _mm256_set1_epi8((char)mask), upper = _mm256_set1_epi8((char)~mask);
    __m256i down = _mm256_srli_epi16(*a, distance), up = _mm256_slli_epi16(*b, distance);
    *a = _mm256_ternarylogic_epi64(upper, up, *a, CHOICE);
    *b = _mm256_ternarylogic_epi64(lower, down, *b, CHOICE);
}

#endif
