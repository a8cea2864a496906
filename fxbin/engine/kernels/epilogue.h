/* From sums of signs to y: levels, bias, residual, activation, and the bits of the next convolution. */
#ifndef FXBIN_EPILOGUE_H
#define FXBIN_EPILOGUE_H

#include "band.h"

/** The coefficients of a call. With signs s = 2 w - 1 of the weight's bits and h = (w_high - w_low) / 2,
 * m = (w_high + w_low) / 2, a weight is h s + m, and a sum over inputs x_low + d a inside the picture is
 *
 *     h (d sum(a s) + x_low sum(s)) + m (d sum(a) + x_low n)
 *
 * Kernels count sum(a s); sum(a) and the number n of inputs belong to a pixel, sum(s) to the taps inside.
 */
typedef struct {
    const fxbin_shape *shape;
    const fxbin_call *call;
    const float *factor;  /**< h d, of each filter */
    const float *half;    /**< h */
    const float *middle;  /**< m; null where it is 0 for every filter */
    const float *bias;    /**< zeros where the call has none */
    const int32_t *excess; /**< see `excess_of_ones`; null where x_low is 0 */
} fxbin_coefficients;

/** Floats that the coefficients of a call take. */
static inline int64_t coefficients_size(const fxbin_shape *shape) {
    return 4 * shape->filters;
}

/** Compute the coefficients into `storage`, but for `excess`. */
fxbin_coefficients coefficients_of(const fxbin_shape *shape, const fxbin_call *call, float *storage);

/** Write the y of a tile and of `count` filters from `first` of its group on; sums as `fxbin_kernel.count`
 * gives them, `step` from pixel to pixel. */
void finish_tile(
    const fxbin_coefficients *coefficients, const fxbin_tile *tile, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
);

/** Write the bits of y of a tile and of `count` <= 64 filters from `first` of its group on: a word for each pixel,
 * bits past `count` are 0. */
void finish_words(
    const fxbin_coefficients *coefficients, const fxbin_tile *tile, int64_t first, int64_t count,
    const uint64_t *words
);

#endif
