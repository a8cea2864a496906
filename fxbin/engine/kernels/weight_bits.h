/* Reads the bits of `fxbin_call.weight_bits`. */
#ifndef FXBIN_WEIGHT_BITS_H
#define FXBIN_WEIGHT_BITS_H

#include "shape.h"

/** The bits of up to 64 channels from `channel` on, a multiple of 8; bits past the last channel are 0. */
static inline uint64_t weight_word(
    const fxbin_shape *shape, const uint8_t *weight_bits, int64_t filter, int64_t tap, int64_t channel
) {
    const uint8_t *bytes = weight_bits + (filter * taps_of(shape) + tap) * tap_bytes(shape) + channel / 8;
    int64_t rest = min_of(group_channels(shape) - channel, 64);
    uint64_t word = 0;
    for (int64_t i = 0; 8 * i < rest; i++) word |= (uint64_t)bytes[i] << (8 * i);
    return rest < 64 ? word & (((uint64_t)1 << rest) - 1) : word;
}

#endif
