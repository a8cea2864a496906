/* Counts the bits of the words of 8 filters with one instruction of AVX-512 VPOPCNTDQ.
 *
 *     sum = 2 popcount(a & w) - popcount(a)
 *
 * Weights: (blocks of 64 filters, taps, group_words, 64 filters).
 */
#include "cpu.h"

#if FXBIN_X86

#include <immintrin.h>
#include <string.h>

#include "gather_bits.h"
#include "weight_bits.h"

#define BLOCK 64
#define LANES 8
#define PIXELS 2

static bool takes(const fxbin_shape *shape) {
    (void)shape;
    return true;
}

static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    (void)work;
    double vectors = (double)(ceil_div(group_filters(shape), BLOCK / 2) * (BLOCK / 2 / LANES));
    return (double)shape->groups * (0.42 * vectors * (double)words_of_filter(shape) + 10);
}

static int64_t block_of(const fxbin_shape *shape) {
    (void)shape;
    return BLOCK;
}

static int64_t weights_size(const fxbin_shape *shape) {
    int64_t blocks = shape->groups * ceil_div(group_filters(shape), BLOCK);
    return blocks * words_of_filter(shape) * BLOCK * (int64_t)sizeof(uint64_t);
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    int64_t filters = group_filters(shape), blocks = ceil_div(filters, BLOCK);
    memset(weights, 0, (size_t)weights_size(shape));
    for (int64_t filter = 0; filter < shape->filters; filter++) {
        int64_t inside = filter % filters, block = filter / filters * blocks + inside / BLOCK;
        uint64_t *to = (uint64_t *)weights + block * words_of_filter(shape) * BLOCK + inside % BLOCK;
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            for (int64_t i = 0; i < group_words(shape); i++, to += BLOCK) {
                *to = weight_word(shape, weight_bits, filter, tap, 64 * i);
            }
        }
    }
}

/** Write 2 * both - active of 8 filters. */
static ALWAYS_INLINE AVX512_VPOPCNTDQ void write_signed(__m512i both, int32_t active, int32_t *to) {
    __m512i sums = _mm512_sub_epi64(_mm512_add_epi64(both, both), _mm512_set1_epi64(active));
    _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtepi64_epi32(sums));
}

/** Count `pixels` pixels by `vectors` times 8 filters. */
static ALWAYS_INLINE AVX512_VPOPCNTDQ void count_pixels(
    const uint64_t *bits, const uint64_t *weights, int64_t words, int pixels, int vectors, const int32_t *active,
    int32_t *sums
) {
    __m512i both[PIXELS][BLOCK / LANES];
    for (int p = 0; p < pixels; p++) {
        for (int v = 0; v < vectors; v++) both[p][v] = _mm512_setzero_si512();
    }
    for (int64_t i = 0; i < words; i++, weights += BLOCK) {
        __m512i a[PIXELS];
        for (int p = 0; p < pixels; p++) a[p] = _mm512_set1_epi64((long long)bits[p * words + i]);
        for (int v = 0; v < vectors; v++) {
            __m512i w = _mm512_load_si512(weights + v * LANES);
            for (int p = 0; p < pixels; p++) {
                __m512i count = _mm512_popcnt_epi64(_mm512_and_si512(a[p], w));
                both[p][v] = _mm512_add_epi64(both[p][v], count);
            }
        }
    }
    for (int p = 0; p < pixels; p++) {
        for (int v = 0; v < vectors; v++) write_signed(both[p][v], active[p], sums + p * BLOCK + v * LANES);
    }
}

static ALWAYS_INLINE AVX512_VPOPCNTDQ void count_tile(
    const fxbin_tile *tile, const uint64_t *bits, const uint64_t *weights, int64_t words, int vectors, int32_t *sums
) {
    int64_t pixel = 0;
    for (; pixel + PIXELS <= tile->pixels; pixel += PIXELS) {
        const uint64_t *from = bits + pixel * words;
        count_pixels(from, weights, words, PIXELS, vectors, tile->active + pixel, sums + pixel * BLOCK);
    }
    for (; pixel < tile->pixels; pixel++) {
        const uint64_t *from = bits + pixel * words;
        count_pixels(from, weights, words, 1, vectors, tile->active + pixel, sums + pixel * BLOCK);
    }
}

static AVX512_VPOPCNTDQ void count(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    int64_t words = words_of_filter(band->shape), blocks = ceil_div(group_filters(band->shape), BLOCK);
    const uint64_t *of_block = weights;
    of_block += (tile->group * blocks + first / BLOCK) * words * BLOCK;
    if (count > BLOCK / 2) {
        count_tile(tile, gathered, of_block, words, BLOCK / LANES, sums);
    } else {
        count_tile(tile, gathered, of_block, words, BLOCK / LANES / 2, sums);
    }
}

const fxbin_kernel popcnt_avx512_kernel = {
    .name = "popcnt_avx512",
    .runs_here = cpu_has_avx512_vpopcntdq,
    .takes = takes,
    .cost = cost,
    .prepare_cost = 0.08,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = no_pixel_size,
    .prepare_band = no_preparation,
    .gathered_size = gathered_bits_size,
    .gather = gather_bits,
    .tile = TILE,
    .block = block_of,
    .count = count,
};

#endif
