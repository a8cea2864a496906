/* Adds, for each input that fires, its weights to bit-sliced counters; the others cost nothing.
 *
 * A row of weights is one bit a filter, 256 filters wide. Counters are planes of bits, too: plane i holds bit i of
 * the counts of 256 filters. A full adder takes three planes of one weight to one of that weight and one of twice it,
 * by 5 operations on whole vectors. A round adds 16 rows by a tree of 15 of them, and carries one plane of weight 16.
 *
 * All pixels of a tile go through a part of the weights that fits into the first cache before the next part.
 *
 * Weights: (blocks of 256 filters, inputs + 1, 32 bytes), the last row 0; where a filter's bit is says `place_of`.
 * Input: (pixels, groups), the channels that fire in order, after their number.
 * Gathered: the `list` of each pixel of a tile, then their numbers.
 */
#include "cpu.h"

#if FXBIN_X86

#include <immintrin.h>
#include <pthread.h>
#include <string.h>

#include "kernel.h"
#include "weight_bits.h"

#define BLOCK 256
#define ROW 32
#define ROUND 16

/** Rows of the weights that are in use at a time: half of the first cache. */
#define PART_ROWS 512

/** Lists hold this times the number of a row, which addressing makes its place in bytes. */
#define UNIT 4

/** Most inputs of a filter: lists have 16 bits. */
#define MOST_INPUTS (65535 / UNIT - 1)

/** Planes of the counters above the four of a round; 16 << 10 is more than MOST_INPUTS. */
#define UPPER 10

static bool runs_here(void) {
    return cpu_has_avx2();
}

static bool takes(const fxbin_shape *shape) {
    return inputs_of(shape) <= MOST_INPUTS;
}

static double cost(const fxbin_shape *shape, double share) {
    double blocks = (double)(shape->groups * ceil_div(group_filters(shape), BLOCK));
    double rows = share * (double)inputs_of(shape);
    return blocks * (1.6 * rows + 170) + (double)shape->groups * (0.3 * rows + 50);
}

static int64_t rows_of(const fxbin_shape *shape) {
    return inputs_of(shape) + 1;
}

static int64_t weights_size(const fxbin_shape *shape) {
    return shape->groups * ceil_div(group_filters(shape), BLOCK) * rows_of(shape) * ROW;
}

/** The byte of a filter in a row, and its bit there: such that `transpose` gives sums in order. */
typedef struct {
    int64_t byte;
    int bit;
} place;

static place place_of(int64_t filter) {
    int64_t inside = filter % 32, eight = inside / 8;
    // Interleaving the bytes of two vectors takes the eights 0, 2 first, then 1, 3.
    int64_t swapped = eight == 1 ? 2 : eight == 2 ? 1 : eight;
    return (place){.byte = 8 * swapped + inside % 8, .bit = (int)(filter / 32)};
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    int64_t filters = group_filters(shape), channels = group_channels(shape), blocks = ceil_div(filters, BLOCK);
    memset(weights, 0, (size_t)weights_size(shape));
    for (int64_t filter = 0; filter < shape->filters; filter++) {
        int64_t inside = filter % filters, block = filter / filters * blocks + inside / BLOCK;
        place at = place_of(inside % BLOCK);
        uint8_t *to = (uint8_t *)weights + block * rows_of(shape) * ROW + at.byte;
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            for (int64_t channel = 0; channel < channels; channel++, to += ROW) {
                uint64_t word = weight_word(shape, weight_bits, filter, tap, channel / 64 * 64);
                *to = (uint8_t)(*to | (word >> (channel % 64) & 1) << at.bit);
            }
        }
    }
}

/** Numbers of the list of one pixel of the input: how many, then room for the channels and a vector more. */
static int64_t channel_list(const fxbin_shape *shape) {
    return 1 + group_channels(shape) + 16;
}

static int64_t pixel_size(const fxbin_shape *shape) {
    return shape->groups * channel_list(shape) * (int64_t)sizeof(uint16_t);
}

/** By byte: the numbers of its bits that are set, in order. */
static uint8_t set_bits[256][8];
static pthread_once_t set_bits_once = PTHREAD_ONCE_INIT;

static void fill_set_bits(void) {
    for (int byte = 0; byte < 256; byte++) {
        int count = 0;
        for (int bit = 0; bit < 8; bit++) {
            if (byte >> bit & 1) set_bits[byte][count++] = (uint8_t)bit;
        }
    }
}

/** Write the channels that fire to `to`, UNIT times each, and return how many. It may write 8 numbers more. */
static ALWAYS_INLINE AVX2 int64_t list_channels(const uint64_t *bits, int64_t channels, uint16_t *to) {
    int64_t count = 0;
    for (int64_t channel = 0; channel < channels; channel += 8) {
        uint8_t byte = (uint8_t)(bits[channel / 64] >> (channel % 64));
        __m128i found = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)set_bits[byte]));
        found = _mm_mullo_epi16(_mm_add_epi16(found, _mm_set1_epi16((short)channel)), _mm_set1_epi16(UNIT));
        _mm_storeu_si128((__m128i *)(void *)(to + count), found);
        count += __builtin_popcount(byte);
    }
    return count;
}

static AVX2 void prepare_band(const fxbin_band *band, void *input) {
    const fxbin_shape *shape = band->shape;
    pthread_once(&set_bits_once, fill_set_bits);
    int64_t groups = band->rows * band->in_size[1] * shape->groups;
    const uint64_t *bits = band->bits;
    uint16_t *to = input;
    for (int64_t group = 0; group < groups; group++) {
        *to = (uint16_t)list_channels(bits, group_channels(shape), to + 1);
        bits += group_words(shape);
        to += channel_list(shape);
    }
}

/** Numbers of the list of rows under a pixel, with what makes it up to rounds, and room for a vector more. */
static int64_t row_list(const fxbin_shape *shape) {
    return ceil_div(inputs_of(shape), ROUND) * ROUND + 2 * ROUND;
}

static int64_t gathered_size(const fxbin_shape *shape) {
    return TILE * (row_list(shape) * (int64_t)sizeof(uint16_t) + (int64_t)sizeof(int32_t));
}

static ALWAYS_INLINE AVX2 int64_t copy_plus(const uint16_t *from, int64_t count, int64_t amount, uint16_t *to) {
    __m256i added = _mm256_set1_epi16((short)amount);
    for (int64_t i = 0; i < count; i += 16) {
        __m256i numbers = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
        _mm256_storeu_si256((__m256i *)(void *)(to + i), _mm256_add_epi16(numbers, added));
    }
    return count;
}

/** The rows under one pixel; returns how many, without those of 0 at the end. */
static AVX2 int64_t list_rows(
    const fxbin_band *band, const uint16_t *input, const fxbin_tile *tile, int64_t pixel, uint16_t *to
) {
    const fxbin_shape *shape = band->shape;
    taps_inside down = taps_at(shape, 0, tile->rows[pixel], band->in_size[0]);
    taps_inside across = taps_at(shape, 1, tile->columns[pixel], band->in_size[1]);
    int64_t found = 0;
    for (int64_t ky = down.first; ky < down.last; ky++) {
        for (int64_t kx = across.first; kx < across.last; kx++) {
            int64_t at = band_pixel(band, down.start + ky * down.step, across.start + kx * across.step);
            const uint16_t *list = input + (at * shape->groups + tile->group) * channel_list(shape);
            int64_t tap = ky * shape->kernel[1] + kx;
            found += copy_plus(list + 1, *list, UNIT * tap * group_channels(shape), to + found);
        }
    }
    _mm256_storeu_si256((__m256i *)(void *)(to + found), _mm256_set1_epi16((short)(UNIT * inputs_of(shape))));
    return found;
}

static AVX2 void gather(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    int32_t *counts = gathered;
    uint16_t *lists = (uint16_t *)(void *)(counts + TILE);
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        counts[pixel] = (int32_t)list_rows(band, input, tile, pixel, lists + pixel * row_list(band->shape));
    }
}

/** The counters of one pixel. */
typedef struct {
    __m256i low[4];          /**< planes 0 to 3 */
    __m256i upper[UPPER];    /**< planes 4, 5, ... */
    __m256i waiting[UPPER];  /**< a second plane of that weight, where the bit of `rounds` is set */
    int64_t rounds;
} counters;

/** `sum` becomes the sum of three planes, and what is carried is returned. */
static ALWAYS_INLINE AVX2 __m256i add_planes(__m256i *sum, __m256i a, __m256i b) {
    __m256i differ = _mm256_xor_si256(a, b);
    __m256i carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(differ, *sum));
    *sum = _mm256_xor_si256(differ, *sum);
    return carry;
}

static ALWAYS_INLINE AVX2 __m256i row_at(const uint8_t *weights, uint16_t number) {
    return _mm256_load_si256((const __m256i *)(const void *)(weights + (int64_t)number * (ROW / UNIT)));
}

/** Add 4 rows; returns a plane of weight 4. */
static ALWAYS_INLINE AVX2 __m256i add_4(__m256i *low, const uint8_t *weights, const uint16_t *list) {
    __m256i first = add_planes(&low[0], row_at(weights, list[0]), row_at(weights, list[1]));
    __m256i second = add_planes(&low[0], row_at(weights, list[2]), row_at(weights, list[3]));
    return add_planes(&low[1], first, second);
}

static ALWAYS_INLINE AVX2 __m256i add_8(__m256i *low, const uint8_t *weights, const uint16_t *list) {
    __m256i first = add_4(low, weights, list);
    __m256i second = add_4(low, weights, list + 4);
    return add_planes(&low[2], first, second);
}

static ALWAYS_INLINE AVX2 __m256i add_16(__m256i *low, const uint8_t *weights, const uint16_t *list) {
    __m256i first = add_8(low, weights, list);
    __m256i second = add_8(low, weights, list + 8);
    return add_planes(&low[3], first, second);
}

/** Add a plane of weight 16: as a number counts up, each level is reached half as often as the one below. */
static ALWAYS_INLINE AVX2 void carry_up(counters *self, __m256i carry) {
    int level = 0;
    for (int64_t rounds = self->rounds++; rounds & 1; rounds >>= 1, level++) {
        carry = add_planes(&self->upper[level], self->waiting[level], carry);
    }
    self->waiting[level] = carry;
}

/** Add the planes that wait, and return how many upper planes are in use. */
static ALWAYS_INLINE AVX2 int settle(counters *self) {
    __m256i carry = _mm256_setzero_si256();
    int level = 0;
    for (int64_t rounds = self->rounds; rounds != 0; rounds >>= 1, level++) {
        __m256i waiting = rounds & 1 ? self->waiting[level] : _mm256_setzero_si256();
        carry = add_planes(&self->upper[level], waiting, carry);
    }
    return level;
}

/** Add the rows of a pixel's list from `start` on, as far as whole rounds end before row `end`. */
static ALWAYS_INLINE AVX2 int64_t add_rows(
    counters *self, const uint8_t *weights, const uint16_t *list, int64_t start, int64_t count, int64_t end
) {
    __m256i low[4] = {self->low[0], self->low[1], self->low[2], self->low[3]};
    for (; start < count && list[start + ROUND - 1] < UNIT * end; start += ROUND) {
        carry_up(self, add_16(low, weights, list + start));
    }
    for (int i = 0; i < 4; i++) self->low[i] = low[i];
    return start;
}

/** Swap bits between planes `distance` apart, as one step of a transposition of 8 by 8 bits. */
static ALWAYS_INLINE AVX2 void swap_bits(__m256i planes[8], int distance, int mask) {
    const __m256i chosen = _mm256_set1_epi8((char)mask);
    for (int i = 0; i < 8; i++) {
        if (i & distance) continue;
        __m256i *a = &planes[i], *b = &planes[i + distance];
        __m256i differ = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi16(*a, distance), *b), chosen);
        *b = _mm256_xor_si256(*b, differ);
        *a = _mm256_xor_si256(*a, _mm256_slli_epi16(differ, distance));
    }
}

/** Eight planes of 256 bits become the bytes that they are the bits of: vector j has filters 32 j to 32 j + 31. */
static ALWAYS_INLINE AVX2 void transpose(__m256i planes[8]) {
    swap_bits(planes, 4, 0x0f);
    swap_bits(planes, 2, 0x33);
    swap_bits(planes, 1, 0x55);
}

/** Write 2 * sum - active of 16 filters. */
static ALWAYS_INLINE AVX2 void write_signed(__m256i sums, __m256i active, int32_t *to) {
    __m256i both = _mm256_sub_epi16(_mm256_add_epi16(sums, sums), active);
    __m256i low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(both));
    __m256i high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(both, 1));
    _mm256_storeu_si256((__m256i *)(void *)to, low);
    _mm256_storeu_si256((__m256i *)(void *)(to + 8), high);
}

static ALWAYS_INLINE AVX2 void write_sums(counters *self, int32_t active, int64_t filters, int32_t *sums) {
    int used = settle(self);
    const __m256i zero = _mm256_setzero_si256();
    __m256i lower[8], upper[8];
    for (int i = 0; i < 4; i++) lower[i] = self->low[i];
    for (int i = 0; i < 4; i++) lower[4 + i] = i < used ? self->upper[i] : zero;
    for (int i = 0; i < 8; i++) upper[i] = 4 + i < used ? self->upper[4 + i] : zero;
    transpose(lower);
    if (used > 4) transpose(upper);
    __m256i all = _mm256_set1_epi16((short)active);
    for (int64_t i = 0; 32 * i < filters; i++) {
        write_signed(_mm256_unpacklo_epi8(lower[i], upper[i]), all, sums + 32 * i);
        write_signed(_mm256_unpackhi_epi8(lower[i], upper[i]), all, sums + 32 * i + 16);
    }
}

static AVX2 void count(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    const fxbin_shape *shape = band->shape;
    int64_t rows = rows_of(shape), blocks = ceil_div(group_filters(shape), BLOCK);
    const uint8_t *of_block = weights;
    of_block += (tile->group * blocks + first / BLOCK) * rows * ROW;
    const int32_t *counts = gathered;
    const uint16_t *lists = (const uint16_t *)(const void *)(counts + TILE);
    counters counted[TILE];
    int64_t done[TILE] = {0};
    memset(counted, 0, (size_t)tile->pixels * sizeof *counted);
    for (int64_t end = PART_ROWS;; end += PART_ROWS) {
        for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
            const uint16_t *list = lists + pixel * row_list(shape);
            done[pixel] = add_rows(&counted[pixel], of_block, list, done[pixel], counts[pixel], end);
        }
        if (end >= rows) break;
    }
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        write_sums(&counted[pixel], tile->active[pixel], count, sums + pixel * BLOCK);
    }
}

const fxbin_kernel bitsliced_avx2_kernel = {
    .name = "bitsliced_avx2",
    .runs_here = runs_here,
    .takes = takes,
    .cost = cost,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = pixel_size,
    .prepare_band = prepare_band,
    .gathered_size = gathered_size,
    .gather = gather,
    .block = BLOCK,
    .count = count,
};

#endif
