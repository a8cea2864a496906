/* Counts groups of few channels side by side: a byte for each filter holds up to 8 channels of its group at one tap.
 *
 *     sum = popcount(w) - popcount(a ^ w)           over all taps; outside the picture, a is 0
 *
 * Weights: (taps, bytes of a group, filters filled up to whole blocks), then popcount(w) of each filter, int32.
 * Input: (pixels, bytes of a group, filters filled up): the channels that fire, repeated for each filter of the group.
 */
#include "joined.h"

#include <string.h>

#include "channel_bits.h"
#include "cpu.h"
#include "weight_bits.h"

#if FXBIN_X86
#include <immintrin.h>
#endif
#if FXBIN_ARM64
#include <arm_neon.h>
#endif

#define BLOCK 64

/** Number of bytes whose set bits can be counted in one byte: 31 x 8 < 256. */
#define STEP 31

/** Maximum number of channels of a group. With more, kernels that compute group after group fill their words. */
#define MOST_CHANNELS 32

/** A byte for each of 32 filters. */
typedef uint64_t lanes __attribute__((vector_size(32)));

_Static_assert(BLOCK == 2 * sizeof(lanes), "a block is two vectors");

static bool always(void) {
    return true;
}

static bool takes(const fxbin_shape *shape) {
    return group_channels(shape) <= MOST_CHANNELS;
}

static int64_t padded_filters(const fxbin_shape *shape) {
    return ceil_div(shape->filters, BLOCK) * BLOCK;
}

/** Nanoseconds for counting the bytes of a block of filters at one tap. */
static double cost_of_block(void) {
#if FXBIN_X86
    if (cpu_has_avx512_bitalg()) return 0.9;
    return cpu_has_avx2() ? 2 : 4.2;
#else
    return 2; // not measured
#endif
}

static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    (void)work;
    double bytes = (double)tap_bytes(shape), blocks = (double)ceil_div(shape->filters, BLOCK);
    double repeated = (double)shape->groups * bytes * (double)(shape->stride[0] * shape->stride[1]);
    repeated *= 1 + 0.07 * (double)group_filters(shape);
    return blocks * (cost_of_block() * bytes * (double)taps_of(shape) + 10) + repeated;
}

static int64_t block_of(const fxbin_shape *shape) {
    (void)shape;
    return BLOCK;
}

static int64_t bytes_of_weights(const fxbin_shape *shape) {
    return taps_of(shape) * tap_bytes(shape) * padded_filters(shape);
}

static int64_t weights_size(const fxbin_shape *shape) {
    return bytes_of_weights(shape) + padded_filters(shape) * (int64_t)sizeof(int32_t);
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    int64_t bytes = tap_bytes(shape), step = padded_filters(shape);
    uint8_t *of_filters = weights;
    int32_t *ones = (int32_t *)(void *)(of_filters + bytes_of_weights(shape));
    memset(weights, 0, (size_t)weights_size(shape));
    for (int64_t filter = 0; filter < shape->filters; filter++) {
        uint8_t *to = of_filters + filter;
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            uint64_t word = weight_word(shape, weight_bits, filter, tap, 0);
            ones[filter] += __builtin_popcountll(word);
            for (int64_t i = 0; i < bytes; i++, to += step) *to = (uint8_t)(word >> (8 * i));
        }
    }
}

static int64_t pixel_size(const fxbin_shape *shape) {
    return tap_bytes(shape) * padded_filters(shape);
}

/** Write a byte `count` times, and up to 7 times more, to bytes that are written later or are slack. */
static ALWAYS_INLINE void repeat(uint64_t byte, int64_t count, uint8_t *to) {
    byte *= UINT64_C(0x0101010101010101);
    memcpy(to, &byte, sizeof byte);
    for (int64_t i = 8; i < count; i += 8) memcpy(to + i, &byte, sizeof byte);
}

static void prepare_band(const fxbin_band *band, void *input) {
    const fxbin_shape *shape = band->conv;
    int64_t pixels = band->rows * band->in_size[1], channels = group_channels(shape);
    int64_t filters = group_filters(shape), step = padded_filters(shape);
    const uint64_t *bits = band->bits;
    uint8_t *to = input;
    for (int64_t pixel = 0; pixel < pixels; pixel++, bits += pixel_words(band->shape)) {
        for (int64_t channel = 0; channel < channels; channel += 8, to += step) {
            int64_t count = min_of(channels - channel, 8);
            for (int64_t group = 0; group < shape->groups; group++) {
                repeat(channel_bits(bits, 1, group * channels + channel, count), filters, to + group * filters);
            }
        }
    }
}

/** Gathered: a pixel outside the picture, then the addresses of (pixels, taps). */
static int64_t gathered_size(const fxbin_shape *shape) {
    return pixel_size(shape) + TILE * taps_of(shape) * (int64_t)sizeof(const uint8_t *);
}

static void gather(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    const fxbin_shape *shape = band->conv;
    int64_t size = pixel_size(shape);
    uint8_t *outside = memset(gathered, 0, (size_t)size);
    const uint8_t **to = (const uint8_t **)(void *)(outside + size);
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        taps_inside down = tile->windows[pixel].down, across = tile->windows[pixel].across;
        for (int64_t ky = 0; ky < shape->kernel[0]; ky++) {
            bool is_row_inside = ky >= down.first && ky < down.last;
            int64_t at = band_pixel(band, down.start + ky * down.step, across.start);
            for (int64_t kx = 0; kx < shape->kernel[1]; kx++, at += across.step) {
                bool is_inside = is_row_inside && kx >= across.first && kx < across.last;
                *to++ = is_inside ? (const uint8_t *)input + at * size : outside;
            }
        }
    }
}

/** Replaces each byte by the number of its bits that are set. */
typedef void (*counts_bits)(lanes *x);

static ALWAYS_INLINE void count_bits(lanes *of) {
    lanes x = *of;
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
    *of = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
}

/** Add to each byte the number of bits that differ. */
static ALWAYS_INLINE void add_differing(const uint8_t *a, const uint8_t *w, counts_bits count_bits_of, lanes *sum) {
    lanes x, other;
    memcpy(&x, a, sizeof x);
    memcpy(&other, w, sizeof other);
    x ^= other;
    count_bits_of(&x);
    *sum += x;
}

/** sums = from - counted. */
static ALWAYS_INLINE void take_away(const int32_t *from, const lanes *counted, int32_t *sums) {
    uint8_t bytes[sizeof *counted];
    memcpy(bytes, counted, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) sums[i] = from[i] - bytes[i];
}

/** Count a block of filters, from number `first` on, for one pixel whose taps are at `places`. */
static ALWAYS_INLINE void count_pixel(
    const fxbin_shape *shape, const uint8_t *const *places, const uint8_t *weights, const int32_t *ones, int64_t first,
    counts_bits count_bits_of, int32_t *sums
) {
    int64_t bytes = tap_bytes(shape), step = padded_filters(shape), taps = taps_of(shape), at_once = STEP / bytes;
    for (int64_t tap = 0; tap < taps; tap += at_once) {
        lanes left = {0}, right = {0};
        for (int64_t i = tap; i < min_of(tap + at_once, taps); i++) {
            const uint8_t *a = places[i] + first;
            for (int64_t byte = 0; byte < bytes; byte++, a += step, weights += step) {
                add_differing(a, weights, count_bits_of, &left);
                add_differing(a + sizeof left, weights + sizeof left, count_bits_of, &right);
            }
        }
        take_away(tap == 0 ? ones : sums, &left, sums);
        take_away((tap == 0 ? ones : sums) + sizeof left, &right, sums + sizeof left);
    }
}

static ALWAYS_INLINE void count_tile(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    counts_bits count_bits_of, int32_t *sums
) {
    const fxbin_shape *shape = band->conv;
    const uint8_t *of_filters = weights;
    const int32_t *ones = (const int32_t *)(const void *)(of_filters + bytes_of_weights(shape));
    const void *behind_outside = (const uint8_t *)gathered + pixel_size(shape);
    const uint8_t *const *places = behind_outside;
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++, places += taps_of(shape), sums += BLOCK) {
        count_pixel(shape, places, of_filters + first, ones + first, first, count_bits_of, sums);
    }
}

#if FXBIN_X86
static ALWAYS_INLINE AVX2 void count_bits_avx2(lanes *x) {
    const __m256i of_nibbles = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4)
    );
    const __m256i nibbles = _mm256_set1_epi8(15);
    __m256i bits = (__m256i)*x;
    __m256i low = _mm256_shuffle_epi8(of_nibbles, _mm256_and_si256(bits, nibbles));
    __m256i high = _mm256_shuffle_epi8(of_nibbles, _mm256_and_si256(_mm256_srli_epi16(bits, 4), nibbles));
    *x = (lanes)_mm256_add_epi8(low, high);
}

static AVX2 void count_avx2(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int32_t *sums
) {
    count_tile(band, tile, weights, gathered, first, count_bits_avx2, sums);
}

static ALWAYS_INLINE AVX512_BITALG void count_bits_avx512(lanes *x) {
    *x = (lanes)_mm256_popcnt_epi8((__m256i)*x);
}

static AVX512_BITALG void count_avx512(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int32_t *sums
) {
    count_tile(band, tile, weights, gathered, first, count_bits_avx512, sums);
}
#endif

#if FXBIN_ARM64
static ALWAYS_INLINE void count_bits_neon(lanes *x) {
    uint8_t *bytes = (uint8_t *)x;
    for (size_t i = 0; i < sizeof *x; i += 16) vst1q_u8(bytes + i, vcntq_u8(vld1q_u8(bytes + i)));
}

static void count_neon(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int32_t *sums
) {
    count_tile(band, tile, weights, gathered, first, count_bits_neon, sums);
}
#endif

static void count(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    (void)count;
#if FXBIN_X86
    if (cpu_has_avx512_bitalg()) {
        count_avx512(band, tile, weights, gathered, first, sums);
        return;
    }
    if (cpu_has_avx2()) {
        count_avx2(band, tile, weights, gathered, first, sums);
        return;
    }
#endif
#if FXBIN_ARM64
    if (cpu_has_neon()) {
        count_neon(band, tile, weights, gathered, first, sums);
        return;
    }
#endif
    count_tile(band, tile, weights, gathered, first, count_bits, sums);
}

const fxbin_kernel narrow_groups_kernel = {
    .name = "narrow_groups",
    .runs_here = always,
    .takes = takes,
    .cost = cost,
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
