/* Reads bits of channels that may begin anywhere in a word. */
#ifndef FXBIN_CHANNEL_BITS_H
#define FXBIN_CHANNEL_BITS_H

#include <stdint.h>

#include "cpu.h"

/** The bits of `count` <= 64 channels from number `first` on; words are `step` apart. */
static ALWAYS_INLINE uint64_t channel_bits(const uint64_t *words, int64_t step, int64_t first, int64_t count) {
    int64_t shift = first % 64;
    const uint64_t *word = words + first / 64 * step;
    uint64_t found = *word >> shift;
    if (shift + count > 64) found |= word[step] << (64 - shift);
    return count < 64 ? found & (((uint64_t)1 << count) - 1) : found;
}

#endif
