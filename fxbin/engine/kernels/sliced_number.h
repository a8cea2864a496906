/* Numbers of all pixels of a tile, whose bits are in planes. What transpose.h requires and a full adder must be defined
 * before.
 *
 * Pixel LANES (8 j + q) + l is bit j of byte q of the 8 bytes of lane l: after `transpose_bits`, vector j has a part of
 * the tile, PART consecutive pixels.
 */
#ifndef FXBIN_SLICED_NUMBER_H
#define FXBIN_SLICED_NUMBER_H

#include "cpu.h"
#include "transpose.h"

#define LANES (VECTOR / 8)
#define PIXELS (8 * VECTOR)
#define PART VECTOR

/** Maximum number of planes of a number. */
#define WIDTH 16

/** Plane i has the bits of weight 2^i. */
typedef struct {
    plane bits[WIDTH];
    int width;
} number;

/** Add a plane to the number of `width` planes from `bits` on. */
static ALWAYS_INLINE TARGET void carry_up(plane *bits, int width, plane carry) {
    for (int i = 0; i < width; i++) carry = add_plane(&bits[i], carry);
}

static ALWAYS_INLINE int bits_of(int64_t number) {
    int count = 0;
    for (; number != 0; number >>= 1) count++;
    return count;
}

/** Compute a + b, which has less than WIDTH bits. */
static TARGET void add_numbers(const number *a, const number *b, number *sum) {
    if (a->width < b->width) {
        const number *wider = b;
        b = a;
        a = wider;
    }
    plane carry = no_bits();
    int i = 0;
    for (; i < b->width; i++) {
        plane bit = carry;
        carry = majority(a->bits[i], b->bits[i], carry);
        add_planes(&bit, a->bits[i], b->bits[i]);
        sum->bits[i] = bit;
    }
    int width = a->width;
    for (; i < width; i++) {
        plane bit = a->bits[i];
        carry = add_plane(&bit, carry);
        sum->bits[i] = bit;
    }
    sum->width = width;
    if (width < WIDTH - 1) sum->bits[sum->width++] = carry;
}

/** Turn the planes `first` .. `first` + 7 of a number into bytes. */
static ALWAYS_INLINE TARGET void to_bytes(const number *of, int first, plane found[8]) {
    for (int i = 0; i < 8; i++) found[i] = first + i < of->width ? of->bits[first + i] : no_bits();
    if (of->width == first + 1) {
        for (int i = 7; i >= 0; i--) found[i] = lowest_bits(found[0], i);
    } else if (of->width > first) {
        transpose_bits(found);
    }
}

/** Turn numbers below 2^16 of all pixels into planes. */
static TARGET void slice(const int32_t *numbers, int64_t pixels, plane found[WIDTH]) {
    _Alignas(VECTOR) uint8_t bytes[2][8][VECTOR] = {{{0}}};
    for (int64_t pixel = 0; pixel < pixels; pixel++) {
        int64_t j = pixel / PART, q = pixel / LANES % 8, l = pixel % LANES;
        bytes[0][j][8 * l + q] = (uint8_t)numbers[pixel];
        bytes[1][j][8 * l + q] = (uint8_t)(numbers[pixel] >> 8);
    }
    for (int half = 0; half < 2; half++) {
        for (int j = 0; j < 8; j++) found[8 * half + j] = load_plane(bytes[half][j]);
        transpose_bits(found + 8 * half);
    }
}

#endif
