#include "epilogue.h"

#include <stdbool.h>
#include <stddef.h>

#include "cpu.h"
#include "kernel.h"

/* Compiled without contraction to fused multiply-adds, so that all kernels and CPUs give the same floats. */

/** Filters that are computed at a time; their numbers wait here where y is not channels_last. */
#define CHUNK 64

fxbin_coefficients coefficients_of(const fxbin_shape *shape, const fxbin_call *call, float *storage) {
    int64_t filters = shape->filters;
    float *factor = storage, *half = factor + filters, *middle = half + filters, *bias = middle + filters;
    const float *w_low = call->w_levels, *w_high = call->w_levels + filters;
    float d = call->x_levels[1] - call->x_levels[0];
    bool has_middle = false;
    for (int64_t f = 0; f < filters; f++) {
        half[f] = (w_high[f] - w_low[f]) / 2;
        middle[f] = (w_high[f] + w_low[f]) / 2;
        factor[f] = half[f] * d;
        bias[f] = call->bias == NULL ? 0 : call->bias[f];
        has_middle |= middle[f] != 0;
    }
    return (fxbin_coefficients){
        .shape = shape,
        .call = call,
        .factor = factor,
        .half = half,
        .middle = has_middle ? middle : NULL,
        .bias = bias,
    };
}

/** Add what does not depend on which inputs fire, and what depends on their number alone. */
static ALWAYS_INLINE void add_levels(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t pixel, int64_t filter, int64_t count,
    float *restrict y
) {
    const fxbin_shape *shape = c->shape;
    float low = c->call->x_levels[0], d = c->call->x_levels[1] - low;
    taps_inside down = taps_at(shape, 0, tile->rows[pixel], c->call->x.shape[2]);
    taps_inside across = taps_at(shape, 1, tile->columns[pixel], c->call->x.shape[3]);
    int64_t inputs = (down.last - down.first) * (across.last - across.first) * group_channels(shape);
    float of_pixel = d * (float)tile->active[pixel] + low * (float)inputs;
    if (c->middle != NULL) {
        for (int64_t i = 0; i < count; i++) y[i] += c->middle[filter + i] * of_pixel;
    }
    if (c->excess != NULL) {
        int64_t row = (shape->kernel[1] + 1) * shape->filters;
        const int32_t *top = c->excess + down.first * row + filter, *bottom = c->excess + down.last * row + filter;
        int64_t left = across.first * shape->filters, right = across.last * shape->filters;
        for (int64_t i = 0; i < count; i++) {
            int32_t sum = bottom[right + i] - bottom[left + i] - top[right + i] + top[left + i];
            y[i] += c->half[filter + i] * (low * (float)sum);
        }
    }
}

static ALWAYS_INLINE void activate(const fxbin_call *call, int64_t filter, int64_t count, float *restrict y) {
    // Written so that a NaN stays one, as PyTorch has it.
    if (call->activation == FXBIN_RELU) {
        for (int64_t i = 0; i < count; i++) y[i] = y[i] < 0 ? 0 : y[i];
    } else if (call->activation == FXBIN_PRELU) {
        for (int64_t i = 0; i < count; i++) y[i] = y[i] < 0 ? y[i] * call->slope[filter + i] : y[i];
    }
}

/** Up to CHUNK filters of one pixel, from filter number `filter` of all on. */
static ALWAYS_INLINE void finish_chunk(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t picture, int64_t pixel, int64_t filter,
    int64_t count, const int32_t *restrict sums
) {
    const fxbin_call *call = c->call;
    const int64_t place[4] = {picture, filter, tile->rows[pixel], tile->columns[pixel]};
    int64_t y_at = 0, residual_at = 0;
    for (int axis = 0; axis < 4; axis++) {
        y_at += place[axis] * call->y.stride[axis];
        residual_at += place[axis] * call->residual.stride[axis];
    }
    float *to = (float *)call->y.data + y_at;
    float chunk[CHUNK];
    bool is_direct = call->y.stride[1] == 1;
    float *restrict y = is_direct ? to : chunk;
    const float *restrict factor = c->factor + filter, *restrict bias = c->bias + filter;
    for (int64_t i = 0; i < count; i++) y[i] = factor[i] * (float)sums[i] + bias[i];
    if (c->middle != NULL || c->excess != NULL) add_levels(c, tile, pixel, filter, count, y);
    if (call->residual.data != NULL) {
        const float *residual = (const float *)call->residual.data + residual_at;
        int64_t step = call->residual.stride[1];
        if (step == 1) {
            for (int64_t i = 0; i < count; i++) y[i] += residual[i];
        } else {
            for (int64_t i = 0; i < count; i++) y[i] += residual[i * step];
        }
    }
    activate(call, filter, count, y);
    if (!is_direct) {
        for (int64_t i = 0; i < count; i++) to[i * call->y.stride[1]] = y[i];
    }
}

static ALWAYS_INLINE void finish(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t picture, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
) {
    int64_t filter = tile->group * group_filters(c->shape) + first;
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        for (int64_t i = 0; i < count; i += CHUNK) {
            int64_t some = min_of(count - i, CHUNK);
            finish_chunk(c, tile, picture, pixel, filter + i, some, sums + pixel * step + i);
        }
    }
}

#if FXBIN_X86
static AVX2 void finish_avx2(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t picture, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
) {
    finish(c, tile, picture, first, count, sums, step);
}
#endif

void finish_tile(
    const fxbin_coefficients *coefficients, const fxbin_tile *tile, int64_t picture, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
) {
#if FXBIN_X86
    if (cpu_has_avx2()) {
        finish_avx2(coefficients, tile, picture, first, count, sums, step);
        return;
    }
#endif
    finish(coefficients, tile, picture, first, count, sums, step);
}
