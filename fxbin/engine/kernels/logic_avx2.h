/* Logic of planes with AVX2: a full adder is 5 operations. */
#ifndef FXBIN_LOGIC_AVX2_H
#define FXBIN_LOGIC_AVX2_H

#include "planes_avx2.h"

/** The carry of a full adder. */
static ALWAYS_INLINE AVX2 plane majority(plane a, plane b, plane c) {
    plane differ = _mm256_xor_si256(a, b);
    return _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(differ, c));
}

/** A full adder: `*sum` becomes the sum of three planes, and the carry is returned. */
static ALWAYS_INLINE AVX2 plane add_planes(plane *sum, plane a, plane b) {
    plane carry = majority(a, b, *sum);
    *sum = _mm256_xor_si256(_mm256_xor_si256(a, b), *sum);
    return carry;
}

/** In each byte, swap the bits `mask` of `b` with the bits of `a` that are `distance` above them. */
static ALWAYS_INLINE AVX2 void swap_bits(plane *a, plane *b, int distance, uint8_t mask) {
    const __m256i chosen = _mm256_set1_epi8((char)mask);
    __m256i differ = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi16(*a, distance), *b), chosen);
    *b = _mm256_xor_si256(*b, differ);
    *a = _mm256_xor_si256(*a, _mm256_slli_epi16(differ, distance));
}

#endif
