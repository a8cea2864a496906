/* The kernel for any CPU, and the same compiled for those with an instruction that counts bits.
 *
 *     sum = 2 popcount(a & w) - popcount(a)
 *
 * 64 inputs at a time. Its weights are (filters, taps, group_words), its input are the bits of the band, and
 * what it gathers are the bits under a tile, (pixels, taps, group_words), 0 outside of the picture.
 */
#include <string.h>

#include "cpu.h"
#include "kernel.h"
#include "weight_bits.h"

#define BLOCK 64

static bool runs_anywhere(void) {
    return true;
}

static bool takes_all(const fxbin_shape *shape) {
    (void)shape;
    return true;
}

static int64_t words_of_filter(const fxbin_shape *shape) {
    return taps_of(shape) * group_words(shape);
}

static double cost_portable(const fxbin_shape *shape, double share) {
    (void)share;
    return (double)shape->filters * (2.5 * (double)words_of_filter(shape) + 1);
}

static int64_t weights_size(const fxbin_shape *shape) {
    return shape->filters * words_of_filter(shape) * (int64_t)sizeof(uint64_t);
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    uint64_t *word = weights;
    for (int64_t filter = 0; filter < shape->filters; filter++) {
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            for (int64_t i = 0; i < group_words(shape); i++) {
                *word++ = weight_word(shape, weight_bits, filter, tap, 64 * i);
            }
        }
    }
}

static int64_t block_of(const fxbin_shape *shape) {
    (void)shape;
    return BLOCK;
}

static int64_t pixel_size(const fxbin_shape *shape) {
    (void)shape;
    return 0;
}

static void prepare_band(const fxbin_band *band, void *input) {
    (void)band, (void)input;
}

static int64_t gathered_size(const fxbin_shape *shape) {
    return TILE * words_of_filter(shape) * (int64_t)sizeof(uint64_t);
}

static void gather(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    (void)input;
    const fxbin_shape *shape = band->shape;
    int64_t words = group_words(shape);
    uint64_t *to = gathered;
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        taps_inside down = tile->windows[pixel].down, across = tile->windows[pixel].across;
        memset(to, 0, (size_t)words_of_filter(shape) * sizeof *to);
        for (int64_t ky = down.first; ky < down.last; ky++) {
            for (int64_t kx = across.first; kx < across.last; kx++) {
                int64_t row = down.start + ky * down.step, column = across.start + kx * across.step;
                int64_t from = band_pixel(band, row, column) * pixel_words(shape) + tile->group * words;
                memcpy(to + (ky * shape->kernel[1] + kx) * words, band->bits + from, (size_t)words * sizeof *to);
            }
        }
        to += words_of_filter(shape);
    }
}

static ALWAYS_INLINE void count_words(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    int64_t words = words_of_filter(band->shape);
    const uint64_t *from = weights;
    from += (tile->group * group_filters(band->shape) + first) * words;
    for (int64_t filter = 0; filter < count; filter++, from += words) {
        const uint64_t *a = gathered;
        for (int64_t pixel = 0; pixel < tile->pixels; pixel++, a += words) {
            int32_t both = 0;
            for (int64_t i = 0; i < words; i++) both += (int32_t)__builtin_popcountll(a[i] & from[i]);
            sums[pixel * BLOCK + filter] = 2 * both - tile->active[pixel];
        }
    }
}

static void count_portable(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    count_words(band, tile, weights, gathered, first, count, sums);
}

const fxbin_kernel portable_kernel = {
    .name = "portable",
    .runs_here = runs_anywhere,
    .takes = takes_all,
    .cost = cost_portable,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = pixel_size,
    .prepare_band = prepare_band,
    .gathered_size = gathered_size,
    .gather = gather,
    .block = block_of,
    .count = count_portable,
};

#if FXBIN_X86
static double cost_popcnt(const fxbin_shape *shape, double share) {
    (void)share;
    return (double)shape->filters * (0.5 * (double)words_of_filter(shape) + 1);
}

static POPCNT void count_popcnt(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    count_words(band, tile, weights, gathered, first, count, sums);
}

const fxbin_kernel popcnt_kernel = {
    .name = "popcnt",
    .runs_here = cpu_has_popcnt,
    .takes = takes_all,
    .cost = cost_popcnt,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = pixel_size,
    .prepare_band = prepare_band,
    .gathered_size = gathered_size,
    .gather = gather,
    .block = block_of,
    .count = count_popcnt,
};
#endif
