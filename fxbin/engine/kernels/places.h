/* The places of the pixels of a tile in the picture and in the tensors of a call. */
#ifndef FXBIN_PLACES_H
#define FXBIN_PLACES_H

#include "kernel.h"

typedef struct {
    fxbin_window windows[MOST_TILE];
    int64_t y_at[MOST_TILE], residual_at[MOST_TILE], y_bits_at[MOST_TILE];
} fxbin_places;

/** Find the places of `pixels` pixels, from number `start` of the band on. */
void find_places(
    const fxbin_call *call, const fxbin_band *band, int64_t picture, int64_t start, int64_t pixels, fxbin_places *found
);

#endif
