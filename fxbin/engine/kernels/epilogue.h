/* Computes y from sums of signs: levels, bias, residual, activation, and the bits for the next convolution. */
#ifndef FXBIN_EPILOGUE_H
#define FXBIN_EPILOGUE_H

#include "band.h"

/** The coefficients of a call. With signs s = 2 w - 1 of the weight's bits and h = (w_high - w_low) / 2,
 * m = (w_high + w_low) / 2, a weight is h s + m, and a sum over inputs x_low + d a inside the picture is
 *
 *     h (d sum(a s) + x_low sum(s)) + m (d sum(a) + x_low n)
 *
 * Kernels count sum(a s); sum(a) and the number n of inputs depend on the pixel, sum(s) on the taps inside.
 */
typedef struct {
    const fxbin_shape *shape;
    const fxbin_call *call;
    const float *factor;  /**< h d, of each filter */
    const float *half;    /**< h */
    const float *middle;  /**< m; null if it is 0 for every filter */
    const float *bias;    /**< zeros if the call has none */
    const int32_t *excess; /**< see `excess_of_ones`; null if x_low is 0 */
} fxbin_coefficients;

/** The sum of the signs of a filter over the taps of a window; only if `excess` is not null. */
static inline int32_t excess_inside(
    const fxbin_coefficients *c, taps_inside down, taps_inside across, int64_t filter
) {
    int64_t filters = c->shape->filters, row = (c->shape->kernel[1] + 1) * filters;
    const int32_t *top = c->excess + down.first * row + filter, *bottom = c->excess + down.last * row + filter;
    int64_t left = across.first * filters, right = across.last * filters;
    return bottom[right] - bottom[left] - top[right] + top[left];
}

/** The activation of a value, except FXBIN_PRELU, whose slope depends on the filter. NaN stays NaN, as in PyTorch. */
static inline float activated(float value, int64_t activation) {
    switch (activation) {
    case FXBIN_RELU: return value < 0 ? 0 : value;
    case FXBIN_RELU6: return value < 0 ? 0 : value > 6 ? 6 : value;
    case FXBIN_HARDTANH: return value < -1 ? -1 : value > 1 ? 1 : value;
    default: return value;
    }
}

/** Number of floats that the coefficients of a call take. */
static inline int64_t coefficients_size(const fxbin_shape *shape) {
    return 4 * shape->filters;
}

/** Compute the coefficients, except `excess`, in `storage`. */
fxbin_coefficients coefficients_of(const fxbin_shape *shape, const fxbin_call *call, float *storage);

/** Write y and its bits, as far as the call has memory for them, for `count` filters of a tile from number `first` of
 * its group on. Sums are as `fxbin_kernel.count` writes them, `step` apart from pixel to pixel. */
void finish_tile(
    const fxbin_coefficients *coefficients, const fxbin_tile *tile, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
);

/** Write the bits of y for `count` <= 64 filters of a tile from number `first` of its group on, from one word for each
 * pixel, whose bits past `count` are 0. */
void finish_words(
    const fxbin_coefficients *coefficients, const fxbin_tile *tile, int64_t first, int64_t count,
    const uint64_t *words
);

#endif
