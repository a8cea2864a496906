/* A band: some rows of the output for one picture, and the bits of the input rows under them. */
#ifndef FXBIN_BAND_H
#define FXBIN_BAND_H

#include <stddef.h>
#include <stdint.h>

#include "shape.h"

typedef struct {
    const fxbin_shape *shape; /**< with one group if all groups are computed together */
    const fxbin_shape *conv;  /**< the shape of the call */
    int64_t in_size[2];              /**< height, width of the picture */
    int64_t first_row, rows;         /**< of the input, inside the picture, whose bits the band has */
    int64_t first_out_row, out_rows; /**< of the output, which make up the band */
    int64_t out_width;
    uint64_t *bits; /**< (rows, width, groups, group_words) */
    int32_t *fired; /**< (groups, rows, width): how many of these bits are set */
} fxbin_band;

/** The taps of a pixel of the output that are inside the picture. */
typedef struct {
    taps_inside down, across;
} fxbin_window;

/** Output pixels that are computed together: where they are, and how many of their inputs fire. */
typedef struct {
    int64_t first, pixels; /**< the number of the first pixel in the band, and how many there are */
    const fxbin_window *windows; /**< by pixel */
    const int32_t *active;       /**< for the group that is computed, by pixel */
    /** By pixel, the index of its first channel among the elements of these tensors of the call. */
    const int64_t *y_at, *residual_at, *y_bits_at;
    int64_t group;
} fxbin_tile;

/** Position of a pixel of the input among those of the band. */
static inline int64_t band_pixel(const fxbin_band *band, int64_t row, int64_t column) {
    return (row - band->first_row) * band->in_size[1] + column;
}

/** Words between a pixel of the input and the next one. */
static inline int64_t pixel_words(const fxbin_shape *shape) {
    return shape->groups * group_words(shape);
}

#endif
