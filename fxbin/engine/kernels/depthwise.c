/* Adds the weights of those inputs that fire, for 64 channels at a time.
 *
 *     sum += a & w                                  bytes: a is 0 or -1, w is -1 or 1
 *
 * Weights: (taps, channels filled up to whole blocks).
 * Input: (pixels, channels filled up), a byte for each bit.
 */
#include "joined.h"

#include <string.h>

#include "cpu.h"
#include "weight_bits.h"

#define BLOCK 64

/** Sums of more taps need more than a byte. */
#define MOST_TAPS 127

static bool always(void) {
    return true;
}

static bool takes(const fxbin_shape *shape) {
    return group_channels(shape) == 1 && group_filters(shape) == 1 && taps_of(shape) <= MOST_TAPS;
}

/** It is chosen wherever it takes the shape. */
static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    (void)shape, (void)work;
    return 0;
}

static int64_t block_of(const fxbin_shape *shape) {
    (void)shape;
    return BLOCK;
}

static int64_t padded_channels(const fxbin_shape *shape) {
    return ceil_div(shape->channels, BLOCK) * BLOCK;
}

static int64_t weights_size(const fxbin_shape *shape) {
    return taps_of(shape) * padded_channels(shape);
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    int8_t *to = weights;
    memset(to, 0, (size_t)weights_size(shape));
    for (int64_t tap = 0; tap < taps_of(shape); tap++, to += padded_channels(shape)) {
        for (int64_t channel = 0; channel < shape->channels; channel++) {
            to[channel] = weight_word(shape, weight_bits, channel, tap, 0) & 1 ? 1 : -1;
        }
    }
}

static int64_t pixel_size(const fxbin_shape *shape) {
    return padded_channels(shape);
}

/** Write 0 or 255 for each of eight bits. */
static ALWAYS_INLINE void write_bytes(uint8_t bits, uint8_t *to) {
    // Byte i keeps bit i, then becomes 128 or 0 by a carry within it, then 1 or 0, then 255 or 0.
    uint64_t apart = bits * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
    apart = (apart + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & UINT64_C(0x0101010101010101);
    apart *= 255;
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)(apart >> (8 * i));
}

static void prepare_band(const fxbin_band *band, void *input) {
    int64_t words = band->rows * band->in_size[1] * pixel_words(band->shape);
    uint8_t *to = input;
    for (int64_t i = 0; i < words; i++, to += 64) {
        for (int byte = 0; byte < 8; byte++) write_bytes((uint8_t)(band->bits[i] >> (8 * byte)), to + 8 * byte);
    }
}

/** Only the address of the input is gathered. */
static int64_t gathered_size(const fxbin_shape *shape) {
    (void)shape;
    return (int64_t)sizeof(const void *);
}

static void gather(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    (void)band, (void)tile;
    *(const void **)gathered = input;
}

static ALWAYS_INLINE void count_pixel(
    const fxbin_band *band, const fxbin_window *window, const int8_t *weights, const int8_t *input, int32_t *sums
) {
    int64_t channels = padded_channels(band->shape);
    taps_inside down = window->down, across = window->across;
    int8_t sum[BLOCK] = {0};
    for (int64_t ky = down.first; ky < down.last; ky++) {
        for (int64_t kx = across.first; kx < across.last; kx++) {
            int64_t at = band_pixel(band, down.start + ky * down.step, across.start + kx * across.step);
            const int8_t *a = input + at * channels, *w = weights + (ky * band->shape->kernel[1] + kx) * channels;
            for (int i = 0; i < BLOCK; i++) sum[i] = (int8_t)(sum[i] + (a[i] & w[i]));
        }
    }
    for (int i = 0; i < BLOCK; i++) sums[i] = sum[i];
}

static ALWAYS_INLINE void count_tile(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int32_t *sums
) {
    const int8_t *input = *(const void *const *)gathered, *of_block = weights;
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        count_pixel(band, &tile->windows[pixel], of_block + first, input + first, sums + pixel * BLOCK);
    }
}

#if FXBIN_X86
static AVX2 void count_tile_avx2(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int32_t *sums
) {
    count_tile(band, tile, weights, gathered, first, sums);
}
#endif

static void count(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    (void)count;
#if FXBIN_X86
    if (cpu_has_avx2()) {
        count_tile_avx2(band, tile, weights, gathered, first, sums);
        return;
    }
#endif
    count_tile(band, tile, weights, gathered, first, sums);
}

const fxbin_kernel depthwise_kernel = {
    .name = "depthwise",
    .runs_here = always,
    .takes = takes,
    .cost = cost,
    .prepare_cost = 0,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = pixel_size,
    .prepare_band = prepare_band,
    .gathered_size = gathered_size,
    .gather = gather,
    .tile = TILE,
    .block = block_of,
    .count = count,
};
