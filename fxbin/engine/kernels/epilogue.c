#include "epilogue.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "cpu.h"
#include "kernel.h"
#include "pack_word.h"

/* Compiled without contraction to fused multiply-adds, so that all kernels and CPUs give the same floats. */

/** Number of filters that are computed at a time, and packed into a word. */
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

/** Compute what is added to the sums of `count` filters of one pixel: the bias, and what a low level of x other than 0
 * and weight levels around a value other than 0 contribute. This depends on the taps inside and on how many inputs
 * fire. */
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
        for (int64_t i = 0; i < count; i++) {
            int32_t sum = excess_inside(c, down, across, filter + i);
            added[i] += c->half[filter + i] * (low * (float)sum);
        }
    }
}

/** Write the bits of `count` <= CHUNK filters from number `filter` on. The first bits of a word are written first, so
 * that the word need not contain zeros before. */
static ALWAYS_INLINE void put_bits(uint64_t *words, int64_t step, int64_t filter, int64_t count, uint64_t bits) {
    int64_t used = filter % 64;
    if (used == 0) {
        *words = bits;
    } else {
        *words |= bits << used;
        if (used + count > 64) words[step] = bits >> (64 - used);
    }
}

/** Writes up to CHUNK filters of the pixels of a tile, which are neighbours in memory from `y` on; filters are `step`
 * numbers apart. */
typedef void (*writes_planes)(const float values[TILE][CHUNK], int64_t pixels, int64_t count, float *y, int64_t step);

static ALWAYS_INLINE void write_part(
    const float values[TILE][CHUNK], int64_t first_pixel, int64_t pixels, int64_t first, int64_t count, float *y,
    int64_t step
) {
    for (int64_t i = first; i < count; i++) {
        for (int64_t pixel = first_pixel; pixel < pixels; pixel++) y[i * step + pixel] = values[pixel][i];
    }
}

static ALWAYS_INLINE void write_planes(
    const float values[TILE][CHUNK], int64_t pixels, int64_t count, float *y, int64_t step
) {
    write_part(values, 0, pixels, 0, count, y, step);
}

#if FXBIN_X86
/** Write filters i to i + 7 of pixels `pixel` to `pixel` + 7. */
static ALWAYS_INLINE AVX2 void write_8_by_8(
    const float values[TILE][CHUNK], int64_t pixel, int64_t i, float *y, int64_t step
) {
    __m256 a[8], b[8];
    for (int k = 0; k < 8; k++) a[k] = _mm256_loadu_ps(&values[pixel + k][i]);
    for (int k = 0; k < 8; k += 2) {
        b[k] = _mm256_unpacklo_ps(a[k], a[k + 1]);
        b[k + 1] = _mm256_unpackhi_ps(a[k], a[k + 1]);
    }
    for (int k = 0; k < 8; k += 4) {
        a[k] = _mm256_shuffle_ps(b[k], b[k + 2], 0x44);
        a[k + 1] = _mm256_shuffle_ps(b[k], b[k + 2], 0xee);
        a[k + 2] = _mm256_shuffle_ps(b[k + 1], b[k + 3], 0x44);
        a[k + 3] = _mm256_shuffle_ps(b[k + 1], b[k + 3], 0xee);
    }
    float *to = y + i * step + pixel;
    for (int k = 0; k < 4; k++) {
        _mm256_storeu_ps(to + k * step, _mm256_permute2f128_ps(a[k], a[k + 4], 0x20));
        _mm256_storeu_ps(to + (k + 4) * step, _mm256_permute2f128_ps(a[k], a[k + 4], 0x31));
    }
}

static ALWAYS_INLINE AVX2 void write_planes_avx2(
    const float values[TILE][CHUNK], int64_t pixels, int64_t count, float *y, int64_t step
) {
    int64_t whole_pixels = pixels / 8 * 8, whole = count / 8 * 8;
    for (int64_t i = 0; i < whole; i += 8) {
        for (int64_t pixel = 0; pixel < whole_pixels; pixel += 8) write_8_by_8(values, pixel, i, y, step);
    }
    write_part(values, whole_pixels, pixels, 0, whole, y, step);
    write_part(values, 0, pixels, whole, count, y, step);
}
#endif

/** The differences between calls that are constants where functions are inlined. */
typedef struct {
    bool has_residual, has_levels, is_residual_together;
    int64_t activation;
    packs_word pack;
    writes_planes write_planes;
} form;

/** Whether the same is added to the sums of a pixel and of the one before it. */
static ALWAYS_INLINE bool has_levels_of_last(const fxbin_coefficients *c, const fxbin_tile *tile, int64_t pixel) {
    const fxbin_window *here = &tile->windows[pixel], *last = here - 1;
    return c->middle == NULL && here->down.first == last->down.first && here->down.last == last->down.last &&
           here->across.first == last->across.first && here->across.last == last->across.last;
}

/** Compute the values and bits of up to CHUNK filters of one pixel, from number `filter` of all filters on. `added` is
 * added to their sums. */
static ALWAYS_INLINE void finish_chunk(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t pixel, int64_t filter, int64_t count,
    const int32_t *sums, const float *added, form is, float *values
) {
    const fxbin_call *call = c->call;
    const float *factor = c->factor + filter, *residual = call->residual.data;
    const float *slope = call->slope == NULL ? NULL : call->slope + filter;
    int64_t residual_step = is.is_residual_together ? 1 : call->residual.stride[1];
    if (is.has_residual) residual += tile->residual_at[pixel] + filter * residual_step;
    INDEPENDENT
    for (int64_t i = 0; i < count; i++) {
        float value = factor[i] * (float)sums[i] + added[i];
        if (is.has_residual) value += residual[i * residual_step];
        if (is.activation == FXBIN_PRELU) value = value < 0 ? value * slope[i] : value;
        value = activated(value, is.activation);
        values[i] = value;
    }
    if (call->y_bits.data != NULL) {
        int64_t step = call->y_bits.stride[1];
        uint64_t *words = (uint64_t *)call->y_bits.data + tile->y_bits_at[pixel] + filter / 64 * step;
        put_bits(words, step, filter, count, is.pack(values, call->y_thresholds + filter, count));
    }
}

/** The sums of a block of filters of a tile. */
typedef struct {
    int64_t first, count;
    const int32_t *sums;
    int64_t step; /**< from one pixel to the next */
} block_sums;

/** Write the values of one pixel. */
static ALWAYS_INLINE void write_pixel(const float *values, int64_t count, float *y, int64_t step) {
    if (step == 1) {
        memcpy(y, values, (size_t)count * sizeof *y);
    } else {
        for (int64_t i = 0; i < count; i++) y[i * step] = values[i];
    }
}

/** Whether the pixels of the tile are neighbours in y, and its filters are not. */
static ALWAYS_INLINE bool is_planar(const fxbin_call *call, const fxbin_tile *tile) {
    int64_t last = tile->pixels - 1;
    return call->y.stride[1] != 1 && last > 0 && tile->y_at[last] - tile->y_at[0] == last;
}

static ALWAYS_INLINE void finish_part(
    const fxbin_coefficients *c, const fxbin_tile *tile, int64_t filter, int64_t count, const int32_t *sums,
    int64_t sums_step, form is
) {
    const fxbin_call *call = c->call;
    int64_t step = call->y.stride[1];
    float values[TILE][CHUNK], levels[CHUNK], *y = call->y.data;
    const float *added = is.has_levels ? levels : c->bias + filter;
    bool has_planes = y != NULL && is_planar(call, tile);
    if (y != NULL) y += filter * step;
    for (int64_t start = 0; start < tile->pixels; start += TILE) {
        int64_t pixels = min_of(tile->pixels - start, TILE);
        for (int64_t i = 0; i < pixels; i++) {
            int64_t pixel = start + i;
            if (is.has_levels && (pixel == 0 || !has_levels_of_last(c, tile, pixel))) {
                add_levels(c, tile, pixel, filter, count, levels);
            }
            finish_chunk(c, tile, pixel, filter, count, sums + pixel * sums_step, added, is, values[i]);
            if (y != NULL && !has_planes) write_pixel(values[i], count, y + tile->y_at[pixel], step);
        }
        if (has_planes) is.write_planes(values, pixels, count, y + tile->y_at[start], step);
    }
}

static ALWAYS_INLINE void finish_pixels(
    const fxbin_coefficients *c, const fxbin_tile *tile, block_sums of, form is
) {
    int64_t filter = tile->group * group_filters(c->shape) + of.first, i = 0;
    for (; i + CHUNK <= of.count; i += CHUNK) finish_part(c, tile, filter + i, CHUNK, of.sums + i, of.step, is);
    if (i < of.count) finish_part(c, tile, filter + i, of.count - i, of.sums + i, of.step, is);
}

static ALWAYS_INLINE void finish_activation(
    const fxbin_coefficients *c, const fxbin_tile *tile, block_sums of, form is
) {
    is.activation = FXBIN_NO_ACTIVATION;
    if (c->call->activation == FXBIN_NO_ACTIVATION) finish_pixels(c, tile, of, is);
    is.activation = FXBIN_RELU;
    if (c->call->activation == FXBIN_RELU) finish_pixels(c, tile, of, is);
    is.activation = FXBIN_PRELU;
    if (c->call->activation == FXBIN_PRELU) finish_pixels(c, tile, of, is);
    is.activation = FXBIN_RELU6;
    if (c->call->activation == FXBIN_RELU6) finish_pixels(c, tile, of, is);
    is.activation = FXBIN_HARDTANH;
    if (c->call->activation == FXBIN_HARDTANH) finish_pixels(c, tile, of, is);
}

/** One loop for all calls, which is compiled for each of the usual kinds and once for all others. */
static ALWAYS_INLINE void finish(
    const fxbin_coefficients *c, const fxbin_tile *tile, block_sums of, packs_word pack, writes_planes write
) {
    form is = {.pack = pack, .write_planes = write, .has_levels = c->middle != NULL || c->excess != NULL};
    is.has_residual = c->call->residual.data != NULL;
    is.is_residual_together = is.has_residual && c->call->residual.stride[1] == 1;
    if (is.has_levels || is.has_residual != is.is_residual_together) {
        is.activation = c->call->activation;
        finish_pixels(c, tile, of, is);
    } else if (is.has_residual) {
        finish_activation(c, tile, of, (form){true, false, true, 0, pack, write});
    } else {
        finish_activation(c, tile, of, (form){false, false, false, 0, pack, write});
    }
}

#if FXBIN_X86
static AVX2 void finish_avx2(const fxbin_coefficients *c, const fxbin_tile *tile, block_sums of) {
    finish(c, tile, of, pack_float_avx2, write_planes_avx2);
}

static AVX512 void finish_avx512(const fxbin_coefficients *c, const fxbin_tile *tile, block_sums of) {
    finish(c, tile, of, pack_float_avx512, write_planes_avx2);
}
#endif

void finish_tile(
    const fxbin_coefficients *coefficients, const fxbin_tile *tile, int64_t first, int64_t count,
    const int32_t *sums, int64_t step
) {
    block_sums of = {.first = first, .count = count, .sums = sums, .step = step};
#if FXBIN_X86
    if (cpu_has_avx512()) {
        finish_avx512(coefficients, tile, of);
        return;
    }
    if (cpu_has_avx2()) {
        finish_avx2(coefficients, tile, of);
        return;
    }
#endif
    finish(coefficients, tile, of, pack_float, write_planes);
}

void finish_words(
    const fxbin_coefficients *coefficients, const fxbin_tile *tile, int64_t first, int64_t count,
    const uint64_t *words
) {
    const fxbin_tensor *y_bits = &coefficients->call->y_bits;
    int64_t filter = tile->group * group_filters(coefficients->shape) + first, step = y_bits->stride[1];
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        uint64_t *to = (uint64_t *)y_bits->data + tile->y_bits_at[pixel] + filter / 64 * step;
        put_bits(to, step, filter, count, words[pixel]);
    }
}
