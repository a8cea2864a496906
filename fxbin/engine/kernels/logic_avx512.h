/* Logic of planes of 256 bits with AVX-512: a full adder is 2 operations. */
#ifndef FXBIN_LOGIC_AVX512_H
#define FXBIN_LOGIC_AVX512_H

#include "planes_avx2.h"

/** Truth tables of three planes:
 * ODD: an odd number of them is set.
 * MOST: at least two of them are set.
 * MOST_BY_SUM: the same, but from a summand, the sum and another summand: the summands if they are equal, else the
 * inverse of the sum.
 * CHOICE: the second where the first is set, else the third. */
#define ODD 0x96
#define MOST 0xe8
#define MOST_BY_SUM 0xb2
#define CHOICE 0xca

/** A full adder: `*sum` becomes the sum of three planes, and the carry is returned. Each operation overwrites a plane
 * that is no longer needed; computing the carry from the three summands would take a copy. */
static ALWAYS_INLINE AVX512 plane add_planes(plane *sum, plane a, plane b) {
    *sum = _mm256_ternarylogic_epi64(*sum, a, b, ODD);
    return _mm256_ternarylogic_epi64(b, *sum, a, MOST_BY_SUM);
}

/** The carry of a full adder. */
static ALWAYS_INLINE AVX512 plane majority(plane a, plane b, plane c) {
    return _mm256_ternarylogic_epi64(a, b, c, MOST);
}

/** In each byte, swap the bits `mask` of `b` with the bits of `a` that are `distance` above them. */
static ALWAYS_INLINE AVX512 void swap_bits(plane *a, plane *b, int distance, uint8_t mask) {
    const __m256i lower = _mm256_set1_epi8((char)mask), upper = _mm256_set1_epi8((char)~mask);
    __m256i down = _mm256_srli_epi16(*a, distance), up = _mm256_slli_epi16(*b, distance);
    *a = _mm256_ternarylogic_epi64(upper, up, *a, CHOICE);
    *b = _mm256_ternarylogic_epi64(lower, down, *b, CHOICE);
}

#endif
