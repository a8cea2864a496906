/* Transposes 8 planes. TARGET and `plane` with its functions must be defined before, see planes_avx2.h. */
#ifndef FXBIN_TRANSPOSE_H
#define FXBIN_TRANSPOSE_H

#include <stdint.h>

#include "cpu.h"

/** Swap bits between planes `distance` apart, as one step of a transposition of 8 by 8 bits. */
static ALWAYS_INLINE TARGET void swap_planes(plane planes[8], int distance, uint8_t mask) {
    for (int i = 0; i < 8; i++) {
        if (!(i & distance)) swap_bits(&planes[i], &planes[i + distance], distance, mask);
    }
}

/** Bit j of every byte of plane i becomes bit i of that byte of plane j. So planes become the bytes whose bits they
 * are, and bytes become planes. */
static ALWAYS_INLINE TARGET void transpose_bits(plane planes[8]) {
    swap_planes(planes, 4, 0x0f);
    swap_planes(planes, 2, 0x33);
    swap_planes(planes, 1, 0x55);
}

/** In each lane of 8 bytes, byte j of plane i becomes byte i of plane j. */
static ALWAYS_INLINE TARGET void transpose_bytes(plane rows[8]) {
    for (int i = 0; i < 8; i += 2) interleave_1(&rows[i], &rows[i + 1]);
    // Even rows now have the first lane of each half of 16 bytes, odd rows the second.
    for (int i = 0; i < 2; i++) {
        interleave_2(&rows[i], &rows[i + 2]);
        interleave_2(&rows[i + 4], &rows[i + 6]);
        interleave_4(&rows[i], &rows[i + 4]);
        interleave_4(&rows[i + 2], &rows[i + 6]);
    }
    for (int i = 0; i < 8; i += 2) interleave_8(&rows[i], &rows[i + 1]);
    plane third = rows[2], fourth = rows[3];
    rows[2] = rows[4], rows[3] = rows[5];
    rows[4] = third, rows[5] = fourth;
}

#endif
