#include "epilogue.h"

#include <stdbool.h>
#include <stddef.h>

#include "cpu.h"
#include "kernel.h"
#include "pack_word.h"

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

/** What is added to the sums of `count` filters of one pixel: the bias, and what levels other than 0 and those
 * around 0 give, which depends on the taps inside and on the number of inputs that fire. */
static ALWAYS_INLINE void add_levels(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t pixel, int64_t filter, int64_t count, float *added
) {
    const fxbin_shape *shape = c->shape;
    float low = c->call->x_levels[0], d = c->call->x_levels[1] - low;
    taps_inside down = tile->windows[pixel].down, across = tile->windows[pixel].across;
    int64_t inputs = (down.last - down.first) * (across.last - across.first) * group_channels(shape);
    float of_pixel = d * (float)tile->active[pixel] + low * (float)inputs;
    for (int64_t i = 0; i < count; i++) added[i] = c->bias[filter + i];
    if (c->middle != NULL) {
        for (int64_t i = 0; i < count; i++) added[i] += c->middle[filter + i] * of_pixel;
    }
    if (c->excess != NULL) {
        int64_t row = (shape->kernel[1] + 1) * shape->filters;
        const int32_t *top = c->excess + down.first * row + filter, *bottom = c->excess + down.last * row + filter;
        int64_t left = across.first * shape->filters, right = across.last * shape->filters;
        for (int64_t i = 0; i < count; i++) {
            int32_t sum = bottom[right + i] - bottom[left + i] - top[right + i] + top[left + i];
            added[i] += c->half[filter + i] * (low * (float)sum);
        }
    }
}

/** Some filters of one pixel: everything that is a pointer points to the first one. */
typedef struct {
    const int32_t *sums;
    const float *factor, *added, *slope;
    const float *residual;
    int64_t residual_step;
    float *y;
} chunk_of_pixel;

/** One loop for everything; what a call has of it are constants where this is inlined. */
static ALWAYS_INLINE void finish_filters(
    chunk_of_pixel at, int64_t count, bool has_residual, int64_t residual_step, int64_t activation
) {
    INDEPENDENT
    for (int64_t i = 0; i < count; i++) {
        float value = at.factor[i] * (float)at.sums[i] + at.added[i];
        if (has_residual) value += at.residual[i * residual_step];
        // Written so that a NaN stays one, as PyTorch has it.
        if (activation == FXBIN_RELU) value = value < 0 ? 0 : value;
        if (activation == FXBIN_PRELU) value = value < 0 ? value * at.slope[i] : value;
        at.y[i] = value;
    }
}

static ALWAYS_INLINE void finish_activation(chunk_of_pixel at, int64_t count, int64_t activation) {
    if (at.residual == NULL) {
        finish_filters(at, count, false, 1, activation);
    } else if (at.residual_step == 1) {
        finish_filters(at, count, true, 1, activation);
    } else {
        finish_filters(at, count, true, at.residual_step, activation);
    }
}

static ALWAYS_INLINE void finish_by_kind(chunk_of_pixel at, int64_t count, int64_t activation) {
    if (activation == FXBIN_NO_ACTIVATION) finish_activation(at, count, FXBIN_NO_ACTIVATION);
    if (activation == FXBIN_RELU) finish_activation(at, count, FXBIN_RELU);
    if (activation == FXBIN_PRELU) finish_activation(at, count, FXBIN_PRELU);
}

/** The element of a tensor that belongs to a pixel, and is number `channel` there. */
static ALWAYS_INLINE int64_t element_of(
    const fxbin_tensor *tensor, int64_t picture, int64_t channel, const fxbin_tile *tile, int64_t pixel
) {
    int64_t element = picture * tensor->stride[0] + channel * tensor->stride[1];
    return element + tile->rows[pixel] * tensor->stride[2] + tile->columns[pixel] * tensor->stride[3];
}

/** Where a tensor of floats has the filter number `filter` of a pixel. */
static ALWAYS_INLINE float *place_in(
    const fxbin_tensor *tensor, int64_t picture, int64_t filter, const fxbin_tile *tile, int64_t pixel
) {
    return (float *)tensor->data + element_of(tensor, picture, filter, tile, pixel);
}

/** Write the bits of `count` <= CHUNK filters from number `filter` on. The first bits of a word come first, so that
 * they need not find zeros there. */
static ALWAYS_INLINE void put_bits(uint64_t *words, int64_t step, int64_t filter, int64_t count, uint64_t bits) {
    int64_t used = filter % 64;
    if (used == 0) {
        *words = bits;
    } else {
        *words |= bits << used;
        if (used + count > 64) words[step] = bits >> (64 - used);
    }
}

/** Up to CHUNK filters of one pixel, from filter number `filter` of all on. */
static ALWAYS_INLINE void finish_chunk(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t picture, int64_t pixel, int64_t filter,
    int64_t count, const int32_t *sums, packs_word pack
) {
    const fxbin_call *call = c->call;
    bool has_floats = call->y.data != NULL, is_together = has_floats && call->y.stride[1] == 1;
    float *to = has_floats ? place_in(&call->y, picture, filter, tile, pixel) : NULL;
    float added[CHUNK], apart[CHUNK];
    chunk_of_pixel at = {
        .sums = sums,
        .factor = c->factor + filter,
        .added = c->bias + filter,
        .y = is_together ? to : apart,
    };
    if (c->middle != NULL || c->excess != NULL) {
        add_levels(c, tile, pixel, filter, count, added);
        at.added = added;
    }
    if (call->residual.data != NULL) {
        at.residual = place_in(&call->residual, picture, filter, tile, pixel);
        at.residual_step = call->residual.stride[1];
    }
    if (call->slope != NULL) at.slope = call->slope + filter;
    if (count == CHUNK) {
        finish_by_kind(at, CHUNK, call->activation);
    } else {
        finish_by_kind(at, count, call->activation);
    }
    if (call->y_bits.data != NULL) {
        uint64_t *words = call->y_bits.data;
        words += element_of(&call->y_bits, picture, filter / 64, tile, pixel);
        put_bits(words, call->y_bits.stride[1], filter, count, pack(at.y, call->y_thresholds + filter, count));
    }
    if (has_floats && !is_together) {
        for (int64_t i = 0; i < count; i++) to[i * call->y.stride[1]] = apart[i];
    }
}

static ALWAYS_INLINE void finish(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t picture, int64_t first, int64_t count,
    const int32_t *sums, int64_t step, packs_word pack
) {
    int64_t filter = tile->group * group_filters(c->shape) + first;
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        for (int64_t i = 0; i < count; i += CHUNK) {
            int64_t some = min_of(count - i, CHUNK);
            finish_chunk(c, tile, picture, pixel, filter + i, some, sums + pixel * step + i, pack);
        }
    }
}

#if FXBIN_X86
static AVX2 void finish_avx2(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t picture, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
) {
    finish(c, tile, picture, first, count, sums, step, pack_float_avx2);
}

static AVX512 void finish_avx512(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t picture, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
) {
    finish(c, tile, picture, first, count, sums, step, pack_float_avx512);
}
#endif

void finish_tile(
    const fxbin_coefficients *coefficients, const fxbin_tile *tile, int64_t picture, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
) {
#if FXBIN_X86
    if (cpu_has_avx512()) {
        finish_avx512(coefficients, tile, picture, first, count, sums, step);
        return;
    }
    if (cpu_has_avx2()) {
        finish_avx2(coefficients, tile, picture, first, count, sums, step);
        return;
    }
#endif
    finish(coefficients, tile, picture, first, count, sums, step, pack_float);
}
