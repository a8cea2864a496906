/* Looks up sums instead of computing them, for two pixels at once.
 *
 * The weights of four inputs, one byte per filter, are the indices of a shuffle. Its table is chosen by the inputs: for
 * each pattern of four weights, row (a0, a1) contains how many of them meet an input that fires, in the lower half of a
 * byte for pixel 0, in the upper half for pixel 1. So one shuffle processes 4 inputs of 2 pixels for 32 filters.
 *
 * Three rows are added before a half can overflow (3 x 4 < 16). Then, with 16-bit words of two bytes
 *
 *     all += x        each byte: 16 H + L           mod 256, of the two pixels' sums H and L
 *     high += x >> 4  upper byte: H, lower: 16 L of the upper byte + H
 *
 * from which all four sums follow, as each is below 256 for up to STEP groups of four inputs.
 *
 * Weights: (blocks of 64 filters, fours of inputs, 64 bytes); a four belongs to one tap. In a vector of 32 filters,
 * byte 2 i is filter i and byte 2 i + 1 is filter 16 + i, so that sums come out in order.
 * Input: (pixels, groups, fours of channels), the four bits times 16.
 * Gathered: (pairs of pixels, fours of inputs), the place of the row in the table.
 */
#include "cpu.h"

#if FXBIN_X86

#include <immintrin.h>
#include <string.h>

#include "kernel.h"
#include "weight_bits.h"

#define BLOCK 64
#define STEP 48
#define ROW 16
#define PAIRS (TILE / 2)

/** Maximum number of fours of inputs of a filter: sums of more would not fit into 16 bits. */
#define MOST_FOURS (32767 / 4)

static int64_t fours_of_tap(const fxbin_shape *shape) {
    return ceil_div(group_channels(shape), 4);
}

/** Number of fours of inputs of a filter, rounded up to a multiple of three. */
static int64_t fours_of(const fxbin_shape *shape) {
    return ceil_div(taps_of(shape) * fours_of_tap(shape), 3) * 3;
}

static bool runs_here(void) {
    return cpu_has_avx2();
}

static bool takes(const fxbin_shape *shape) {
    return fours_of(shape) <= MOST_FOURS;
}

static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    (void)work;
    double vectors = (double)ceil_div(group_filters(shape), 32);
    return (double)shape->groups * (0.17 * vectors * (double)fours_of(shape) + 15);
}

static int64_t weights_size(const fxbin_shape *shape) {
    return shape->groups * ceil_div(group_filters(shape), BLOCK) * fours_of(shape) * BLOCK;
}

/** Place of a filter in the bytes of its block. */
static int64_t byte_of(int64_t filter) {
    int64_t vector = filter / 32, inside = filter % 32;
    return 32 * vector + 2 * (inside % 16) + inside / 16;
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    int64_t filters = group_filters(shape), blocks = ceil_div(filters, BLOCK), fours = fours_of_tap(shape);
    memset(weights, 0, (size_t)weights_size(shape));
    for (int64_t filter = 0; filter < shape->filters; filter++) {
        int64_t inside = filter % filters, block = filter / filters * blocks + inside / BLOCK;
        uint8_t *to = (uint8_t *)weights + block * fours_of(shape) * BLOCK + byte_of(inside % BLOCK);
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            for (int64_t four = 0; four < fours; four++, to += BLOCK) {
                uint64_t word = weight_word(shape, weight_bits, filter, tap, four / 16 * 64);
                *to = (uint8_t)(word >> (four % 16 * 4) & 15);
            }
        }
    }
}

static int64_t block_of(const fxbin_shape *shape) {
    (void)shape;
    return BLOCK;
}

static int64_t pixel_size(const fxbin_shape *shape) {
    return shape->groups * fours_of_tap(shape) * (int64_t)sizeof(uint16_t);
}

/** Write each four bits of a word times 16: 16 numbers. */
static ALWAYS_INLINE AVX2 void write_fours(uint64_t word, uint16_t *to) {
    __m128i bytes = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)word));
    __m128i low = _mm_slli_epi16(_mm_and_si128(bytes, _mm_set1_epi16(15)), 4);
    __m128i high = _mm_and_si128(bytes, _mm_set1_epi16(0xf0));
    _mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi16(low, high));
    _mm_storeu_si128((__m128i *)(void *)(to + 8), _mm_unpackhi_epi16(low, high));
}

static AVX2 void prepare_band(const fxbin_band *band, void *input) {
    const fxbin_shape *shape = band->shape;
    int64_t words = group_words(shape), fours = fours_of_tap(shape);
    int64_t groups = band->rows * band->in_size[1] * shape->groups;
    const uint64_t *bits = band->bits;
    uint16_t *to = input;
    for (int64_t group = 0; group < groups; group++, to += fours) {
        // The last word may reach into the next group, which is written after it, or into the slack.
        for (int64_t word = 0; word < words; word++) write_fours(*bits++, to + 16 * word);
    }
}

static int64_t gathered_size(const fxbin_shape *shape) {
    return PAIRS * fours_of(shape) * (int64_t)sizeof(uint16_t);
}

/** The fours of a pixel outside the picture, at all taps of a row. */
static uint16_t nothing[MOST_FOURS + SLACK];

/** Write the rows of the table for `count` fours of two pixels. May write 15 numbers more. */
static ALWAYS_INLINE AVX2 void join(const uint16_t *first, const uint16_t *second, int64_t count, uint16_t *to) {
    for (int64_t i = 0; i < count; i += 16) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(first + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(second + i));
        _mm256_storeu_si256((__m256i *)(void *)(to + i), _mm256_or_si256(a, _mm256_slli_epi16(b, 4)));
    }
}

static ALWAYS_INLINE bool holds(const taps_inside *taps, int64_t tap) {
    return tap >= taps->first && tap < taps->last;
}

/** What all pixels of a tile have in common. */
typedef struct {
    const fxbin_band *band;
    const uint16_t *input; /**< that of the tile's group */
    int64_t fours;         /**< number for a tap */
    int64_t rest;          /**< number up to a multiple of three */
} source;

/** The fours of one pixel at a tap; `nothing` outside the picture. */
static ALWAYS_INLINE const uint16_t *fours_at(const source *from, const fxbin_window *at, int64_t ky, int64_t kx) {
    if (!holds(&at->down, ky) || !holds(&at->across, kx)) return nothing;
    int64_t row = at->down.start + ky * at->down.step, column = at->across.start + kx * at->across.step;
    return from->input + band_pixel(from->band, row, column) * from->band->shape->groups * from->fours;
}

static ALWAYS_INLINE bool is_whole(const taps_inside *taps, int64_t count) {
    return taps->last - taps->first == count;
}

/** Write the rows of the table for two pixels; return where the next ones go. */
static ALWAYS_INLINE AVX2 uint16_t *gather_pair(
    const source *from, const fxbin_window *a, const fxbin_window *b, uint16_t *to
) {
    const fxbin_shape *shape = from->band->shape;
    int64_t width = shape->kernel[1];
    // Taps of a row are neighbours in memory: they are one long tap.
    bool are_rows = shape->groups == 1 && shape->dilation[1] == 1;
    are_rows = are_rows && is_whole(&a->across, width) && is_whole(&b->across, width);
    int64_t columns = are_rows ? 1 : width, fours = are_rows ? width * from->fours : from->fours;
    for (int64_t ky = 0; ky < shape->kernel[0]; ky++) {
        for (int64_t kx = 0; kx < columns; kx++, to += fours) {
            join(fours_at(from, a, ky, kx), fours_at(from, b, ky, kx), fours, to);
        }
    }
    join(nothing, nothing, from->rest, to);
    return to + from->rest;
}

static AVX2 void gather(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    const fxbin_shape *shape = band->shape;
    source from = {.band = band, .fours = fours_of_tap(shape)};
    from.input = (const uint16_t *)input + tile->group * from.fours;
    from.rest = fours_of(shape) - taps_of(shape) * from.fours;
    const fxbin_window none = {0};
    uint16_t *to = gathered;
    // Two pairs are counted at a time; the second may have no pixels.
    for (int64_t pixel = 0; pixel < ceil_div(tile->pixels, 4) * 4; pixel += 2) {
        const fxbin_window *a = pixel < tile->pixels ? &tile->windows[pixel] : &none;
        const fxbin_window *b = pixel + 1 < tile->pixels ? &tile->windows[pixel + 1] : &none;
        to = gather_pair(&from, a, b, to);
    }
}

#define HALF(a, w) (uint8_t)(__builtin_popcount((a) & (w)))
#define ENTRY(row, w) HALF((row) & 15, w) | HALF((row) >> 4, w) << 4
#define TABLE_ROW(row)                                                                                     \
    {ENTRY(row, 0), ENTRY(row, 1), ENTRY(row, 2),  ENTRY(row, 3),  ENTRY(row, 4),  ENTRY(row, 5),          \
     ENTRY(row, 6), ENTRY(row, 7), ENTRY(row, 8),  ENTRY(row, 9),  ENTRY(row, 10), ENTRY(row, 11),         \
     ENTRY(row, 12), ENTRY(row, 13), ENTRY(row, 14), ENTRY(row, 15)}
#define FOUR_ROWS(row) TABLE_ROW(row), TABLE_ROW((row) + 1), TABLE_ROW((row) + 2), TABLE_ROW((row) + 3)
#define SIXTEEN_ROWS(row) FOUR_ROWS(row), FOUR_ROWS((row) + 4), FOUR_ROWS((row) + 8), FOUR_ROWS((row) + 12)

/** Counts by the inputs of two pixels, then by four weights: see the top. */
static const _Alignas(64) uint8_t table[256][ROW] = {
    SIXTEEN_ROWS(0),   SIXTEEN_ROWS(16),  SIXTEEN_ROWS(32),  SIXTEEN_ROWS(48),
    SIXTEEN_ROWS(64),  SIXTEEN_ROWS(80),  SIXTEEN_ROWS(96),  SIXTEEN_ROWS(112),
    SIXTEEN_ROWS(128), SIXTEEN_ROWS(144), SIXTEEN_ROWS(160), SIXTEEN_ROWS(176),
    SIXTEEN_ROWS(192), SIXTEEN_ROWS(208), SIXTEEN_ROWS(224), SIXTEEN_ROWS(240),
};

/** Look up what the fours of a pair at `place` add, for a vector of filters. */
static ALWAYS_INLINE AVX2 __m256i look_up(const uint16_t *place, __m256i weights) {
    const __m128i *row = (const __m128i *)(const void *)((const char *)table + *place);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(row)), weights);
}

/** Sums of both pixels of a pair for 32 filters: [pixel][filters 0 to 15, 16 to 31]. */
typedef struct {
    __m256i of[2][2];
} pair_sums;

/** Add the four sums that are in the two bytes of each word: see the top. */
static ALWAYS_INLINE AVX2 void split(__m256i all, __m256i high, pair_sums *sums) {
    const __m256i byte = _mm256_set1_epi16(255);
    __m256i second_1 = _mm256_srli_epi16(high, 8);
    __m256i first_1 = _mm256_sub_epi16(_mm256_srli_epi16(all, 8), _mm256_slli_epi16(second_1, 4));
    first_1 = _mm256_and_si256(first_1, byte);
    __m256i second_0 = _mm256_and_si256(_mm256_sub_epi16(high, _mm256_slli_epi16(first_1, 4)), byte);
    __m256i first_0 = _mm256_and_si256(_mm256_sub_epi16(all, _mm256_slli_epi16(second_0, 4)), byte);
    sums->of[0][0] = _mm256_add_epi16(sums->of[0][0], first_0);
    sums->of[0][1] = _mm256_add_epi16(sums->of[0][1], first_1);
    sums->of[1][0] = _mm256_add_epi16(sums->of[1][0], second_0);
    sums->of[1][1] = _mm256_add_epi16(sums->of[1][1], second_1);
}

/** Write 2 * sum - active for 16 filters. */
static ALWAYS_INLINE AVX2 void write_signed(__m256i sums, int32_t active, int32_t *to) {
    __m256i both = _mm256_sub_epi16(_mm256_add_epi16(sums, sums), _mm256_set1_epi16((short)active));
    __m256i low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(both));
    __m256i high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(both, 1));
    _mm256_storeu_si256((__m256i *)(void *)to, low);
    _mm256_storeu_si256((__m256i *)(void *)(to + 8), high);
}

/** Count two pairs of pixels by `vectors` times 32 filters. */
static ALWAYS_INLINE AVX2 void count_pairs(
    const uint16_t *gathered, const uint8_t *weights, int64_t fours, int vectors, pair_sums sums[2][2]
) {
    memset(sums, 0, 2 * sizeof *sums);
    const uint16_t *places[2] = {gathered, gathered + fours};
    for (int64_t start = 0; start < fours; start += STEP) {
        __m256i all[2][2], high[2][2];
        for (int p = 0; p < 2; p++) {
            for (int v = 0; v < vectors; v++) all[p][v] = high[p][v] = _mm256_setzero_si256();
        }
        for (int64_t i = start; i < min_of(start + STEP, fours); i += 3) {
            const __m256i *w = (const __m256i *)(const void *)(weights + i * BLOCK);
            for (int p = 0; p < 2; p++) {
                for (int v = 0; v < vectors; v++) {
                    __m256i x = look_up(places[p] + i, w[v]);
                    x = _mm256_add_epi8(x, look_up(places[p] + i + 1, w[2 + v]));
                    x = _mm256_add_epi8(x, look_up(places[p] + i + 2, w[4 + v]));
                    all[p][v] = _mm256_add_epi8(all[p][v], x);
                    high[p][v] = _mm256_add_epi8(high[p][v], _mm256_srli_epi16(x, 4));
                }
            }
        }
        for (int p = 0; p < 2; p++) {
            for (int v = 0; v < vectors; v++) split(all[p][v], high[p][v], &sums[p][v]);
        }
    }
}

static ALWAYS_INLINE AVX2 void count_tile(
    const fxbin_tile *tile, const uint16_t *gathered, const uint8_t *weights, int64_t fours, int vectors,
    int32_t *sums
) {
    for (int64_t pixel = 0; pixel < tile->pixels; pixel += 4, gathered += 2 * fours) {
        pair_sums found[2][2];
        count_pairs(gathered, weights, fours, vectors, found);
        for (int64_t i = 0; i < min_of(4, tile->pixels - pixel); i++) {
            int32_t *to = sums + (pixel + i) * BLOCK, active = tile->active[pixel + i];
            for (int v = 0; v < vectors; v++) {
                write_signed(found[i / 2][v].of[i % 2][0], active, to + 32 * v);
                write_signed(found[i / 2][v].of[i % 2][1], active, to + 32 * v + 16);
            }
        }
    }
}

static AVX2 void count(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    int64_t fours = fours_of(band->shape), blocks = ceil_div(group_filters(band->shape), BLOCK);
    const uint8_t *of_block = weights;
    of_block += (tile->group * blocks + first / BLOCK) * fours * BLOCK;
    if (count > 32) {
        count_tile(tile, gathered, of_block, fours, 2, sums);
    } else {
        count_tile(tile, gathered, of_block, fours, 1, sums);
    }
}

const fxbin_kernel lookup_avx2_kernel = {
    .name = "lookup_avx2",
    .runs_here = runs_here,
    .takes = takes,
    .cost = cost,
    .prepare_cost = 1.3,
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

#endif
