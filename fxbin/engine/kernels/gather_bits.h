/* Gathers the bits under the pixels of a tile, for kernels that count bits. */
#ifndef FXBIN_GATHER_BITS_H
#define FXBIN_GATHER_BITS_H

#include "kernel.h"

/** Number of words under a pixel: (taps, group_words). */
static inline int64_t words_of_filter(const fxbin_shape *shape) {
    return taps_of(shape) * group_words(shape);
}

/** Their form of the input, which is empty: the bits of the band are enough. */
int64_t no_pixel_size(const fxbin_shape *shape);
void no_preparation(const fxbin_band *band, void *input);

/** Their inputs of a tile: (pixels, taps, group_words), 0 outside the picture. */
int64_t gathered_bits_size(const fxbin_shape *shape);
void gather_bits(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered);

#endif
