/* The kernel for any CPU, and the same compiled for x86 CPUs with an instruction that counts bits.
 *
 *     sum = 2 popcount(a & w) - popcount(a)
 *
 * 64 inputs at a time. Weights: (filters, taps, group_words).
 */
#include "cpu.h"
#include "gather_bits.h"
#include "weight_bits.h"

#define BLOCK 64

static bool runs_anywhere(void) {
    return true;
}

static bool takes_all(const fxbin_shape *shape) {
    (void)shape;
    return true;
}

static double cost_portable(const fxbin_shape *shape, const fxbin_work *work) {
    (void)work;
    // AArch64 always has an instruction that counts bits; its cost is not measured.
    double word = FXBIN_ARM64 ? 1.2 : 2.5;
    return (double)shape->filters * (word * (double)words_of_filter(shape) + 1);
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
    .prepare_cost = 0.08,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = no_pixel_size,
    .prepare_band = no_preparation,
    .gathered_size = gathered_bits_size,
    .gather = gather_bits,
    .tile = TILE,
    .block = block_of,
    .count = count_portable,
};

#if FXBIN_X86
static double cost_popcnt(const fxbin_shape *shape, const fxbin_work *work) {
    (void)work;
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
    .prepare_cost = 0.08,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = no_pixel_size,
    .prepare_band = no_preparation,
    .gathered_size = gathered_bits_size,
    .gather = gather_bits,
    .tile = TILE,
    .block = block_of,
    .count = count_popcnt,
};
#endif
