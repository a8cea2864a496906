/* Counts bits across pixels, for an output in planes of channels.
 *
 *     sum = 2 popcount(a & w) - popcount(a)
 *
 * A vector holds one word of eight pixels, so that eight neighbours of one plane are computed together; other kernels
 * compute filters of one pixel together. If channels leave room in a word, neighbouring taps share it.
 *
 * Weights: (blocks of FILTERS filters, words, FILTERS).
 * Input: (words, pixels of the output filled up to whole blocks).
 */
#include "cpu.h"

#if FXBIN_X86

#include <immintrin.h>
#include <string.h>

#include "planar_avx512.h"
#include "weight_bits.h"

#define LANES 8
#define FILTERS 4
#define PIXELS 16

/** Number of taps of a row of the kernel that share one word. */
static int64_t taps_of_word(const fxbin_shape *shape) {
    return group_channels(shape) > 64 ? 1 : 64 / group_channels(shape);
}

/** Number of words of a row of the kernel. */
static int64_t row_words(const fxbin_shape *shape) {
    return ceil_div(shape->kernel[1], taps_of_word(shape)) * group_words(shape);
}

static int64_t words_of_kernel(const fxbin_shape *shape) {
    return shape->kernel[0] * row_words(shape);
}

/** The word in which tap number `kx` of a row begins, and the bit in it. */
static int64_t word_of_tap(const fxbin_shape *shape, int64_t kx) {
    return kx / taps_of_word(shape) * group_words(shape);
}

static int64_t bit_of_tap(const fxbin_shape *shape, int64_t kx) {
    return kx % taps_of_word(shape) * (group_channels(shape) % 64);
}

static int64_t padded(int64_t pixels) {
    return ceil_div(pixels, PIXELS) * PIXELS;
}

static bool takes(const fxbin_shape *shape) {
    return shape->groups == 1;
}

static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    (void)work;
    double filters = (double)(ceil_div(shape->filters, FILTERS) * FILTERS), words = (double)words_of_kernel(shape);
    return 0.053 * filters * words + 0.1 * filters + words;
}

static int64_t weights_size(const fxbin_shape *shape) {
    int64_t filters = ceil_div(shape->filters, FILTERS) * FILTERS;
    return filters * words_of_kernel(shape) * (int64_t)sizeof(uint64_t);
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    int64_t words = words_of_kernel(shape), width = shape->kernel[1];
    memset(weights, 0, (size_t)weights_size(shape));
    for (int64_t filter = 0; filter < shape->filters; filter++) {
        uint64_t *of_filter = (uint64_t *)weights + filter / FILTERS * words * FILTERS + filter % FILTERS;
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            int64_t at = tap / width * row_words(shape) + word_of_tap(shape, tap % width);
            for (int64_t i = 0; i < group_words(shape); i++) {
                uint64_t word = weight_word(shape, weight_bits, filter, tap, 64 * i);
                of_filter[(at + i) * FILTERS] |= word << bit_of_tap(shape, tap % width);
            }
        }
    }
}

const fxbin_kernel planar_avx512_kernel = {
    .name = "planar_avx512",
    .runs_here = cpu_has_avx512_vpopcntdq,
    .takes = takes,
    .cost = cost,
    .prepare_cost = 0.08,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
};

int64_t planar_input_size(const fxbin_shape *shape, int64_t out_pixels) {
    return words_of_kernel(shape) * padded(out_pixels) * (int64_t)sizeof(uint64_t);
}

double planar_excess(int64_t out_pixels) {
    return (double)padded(out_pixels) / (double)out_pixels;
}

/** One tap of a row of the kernel: the columns of the output for which it is inside, and where its bits go. */
typedef struct {
    int64_t first, last;
    int64_t offset; /**< of the first column's input in the row, in pixels */
    int64_t word, bit;
} tap_of_row;

static tap_of_row tap_at(const fxbin_band *band, int64_t kx) {
    const fxbin_shape *shape = band->shape;
    int64_t stride = shape->stride[1], offset = kx * shape->dilation[1] - shape->padding[2];
    int64_t rest = max_of(band->in_size[1] - offset, 0), first = offset < 0 ? ceil_div(-offset, stride) : 0;
    return (tap_of_row){
        .first = first,
        .last = min_of(band->out_width, ceil_div(rest, stride)),
        .offset = offset + first * stride,
        .word = word_of_tap(shape, kx),
        .bit = bit_of_tap(shape, kx),
    };
}

/** Add the bits of every `stride`-th word to words that are neighbours. */
static ALWAYS_INLINE void add_bits(const uint64_t *from, int64_t stride, int64_t count, int64_t bit, uint64_t *to) {
    if (stride == 1) {
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) to[i] |= from[i] << bit;
    } else {
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) to[i] |= from[i * stride] << bit;
    }
}

/** Gather the inputs of the outputs of a band, word by word. */
static AVX512_VPOPCNTDQ void gather_words(const fxbin_band *band, uint64_t *input) {
    const fxbin_shape *shape = band->shape;
    int64_t step = padded(band->out_rows * band->out_width), words = group_words(shape);
    memset(input, 0, (size_t)(words_of_kernel(shape) * step) * sizeof *input);
    for (int64_t kx = 0; kx < shape->kernel[1]; kx++) {
        tap_of_row tap = tap_at(band, kx);
        for (int64_t out = 0; out < band->out_rows; out++) {
            taps_inside down = taps_at(shape, 0, band->first_out_row + out, band->in_size[0]);
            for (int64_t ky = down.first; ky < down.last; ky++) {
                const uint64_t *row = band->bits + band_pixel(band, down.start + ky * down.step, tap.offset) * words;
                uint64_t *to = input + (ky * row_words(shape) + tap.word) * step + out * band->out_width + tap.first;
                for (int64_t word = 0; word < words; word++) {
                    add_bits(row + word, words * shape->stride[1], tap.last - tap.first, tap.bit, to + word * step);
                }
            }
        }
    }
}

/** Compute the sums of FILTERS filters at PIXELS pixels, as float32. */
static ALWAYS_INLINE AVX512_VPOPCNTDQ void count_block(
    const uint64_t *input, int64_t step, const uint64_t *weights, int64_t words, const __m512i active[2],
    __m512 sums[FILTERS]
) {
    __m512i both[FILTERS][2];
    for (int f = 0; f < FILTERS; f++) both[f][0] = both[f][1] = _mm512_setzero_si512();
    for (int64_t i = 0; i < words; i++, input += step, weights += FILTERS) {
        __m512i first = _mm512_load_si512(input), second = _mm512_load_si512(input + LANES);
        for (int f = 0; f < FILTERS; f++) {
            __m512i w = _mm512_set1_epi64((long long)weights[f]);
            both[f][0] = _mm512_add_epi64(both[f][0], _mm512_popcnt_epi64(_mm512_and_si512(first, w)));
            both[f][1] = _mm512_add_epi64(both[f][1], _mm512_popcnt_epi64(_mm512_and_si512(second, w)));
        }
    }
    for (int f = 0; f < FILTERS; f++) {
        __m512i signed_0 = _mm512_sub_epi64(_mm512_add_epi64(both[f][0], both[f][0]), active[0]);
        __m512i signed_1 = _mm512_sub_epi64(_mm512_add_epi64(both[f][1], both[f][1]), active[1]);
        __m512i all = _mm512_inserti64x4(
            _mm512_castsi256_si512(_mm512_cvtepi64_epi32(signed_0)), _mm512_cvtepi64_epi32(signed_1), 1
        );
        sums[f] = _mm512_cvtepi32_ps(all);
    }
}

/** Count the inputs of each pixel that fire. */
static ALWAYS_INLINE AVX512_VPOPCNTDQ void count_fired(
    const uint64_t *input, int64_t step, int64_t words, __m512i active[2]
) {
    active[0] = active[1] = _mm512_setzero_si512();
    for (int64_t i = 0; i < words; i++, input += step) {
        active[0] = _mm512_add_epi64(active[0], _mm512_popcnt_epi64(_mm512_load_si512(input)));
        active[1] = _mm512_add_epi64(active[1], _mm512_popcnt_epi64(_mm512_load_si512(input + LANES)));
    }
}

/** Compute the pixels of a band for all filters. Two copies: with `levels`, and without. */
static ALWAYS_INLINE AVX512_VPOPCNTDQ void run_pixels(
    const fxbin_coefficients *c, const fxbin_band *band, const void *weights, const uint64_t *input, float *y,
    const fxbin_window_levels *levels
) {
    const fxbin_shape *shape = band->shape;
    int64_t pixels = band->out_rows * band->out_width, step = padded(pixels), words = words_of_kernel(shape);
    int64_t plane = c->call->y.stride[1];
    for (int64_t start = 0; start < pixels; start += PIXELS, input += PIXELS) {
        int64_t rest = min_of(pixels - start, PIXELS);
        __mmask16 there = (__mmask16)((1u << rest) - 1);
        __m512i active[2], windows = _mm512_setzero_si512();
        if (levels != NULL) {
            windows = _mm512_loadu_si512(levels->windows + band->first_out_row * band->out_width + start);
        }
        count_fired(input, step, words, active);
        const uint64_t *of_block = weights;
        for (int64_t first = 0; first < shape->filters; first += FILTERS, of_block += words * FILTERS) {
            __m512 sums[FILTERS];
            count_block(input, step, of_block, words, active, sums);
            for (int64_t f = first; f < min_of(first + FILTERS, shape->filters); f++) {
                __m512 product = _mm512_mul_ps(_mm512_set1_ps(c->factor[f]), sums[f - first]), added;
                if (levels == NULL) {
                    added = _mm512_set1_ps(c->bias[f]);
                } else {
                    added = _mm512_permutexvar_ps(windows, _mm512_loadu_ps(levels->added + f * MOST_WINDOWS));
                }
                _mm512_mask_storeu_ps(y + f * plane + start, there, _mm512_add_ps(product, added));
            }
        }
    }
}

_Static_assert(MOST_WINDOWS == PIXELS && MORE_PIXELS >= PIXELS, "a vector holds the levels of all windows");

AVX512_VPOPCNTDQ void run_planar(
    const fxbin_coefficients *c, const fxbin_band *band, const void *weights, uint64_t *input, float *y,
    const fxbin_window_levels *levels
) {
    gather_words(band, input);
    if (levels == NULL) {
        run_pixels(c, band, weights, input, y, NULL);
    } else {
        run_pixels(c, band, weights, input, y, levels);
    }
}

#else

#include "planar_avx512.h"

static bool runs_here(void) {
    return false;
}

const fxbin_kernel planar_avx512_kernel = {.name = "planar_avx512", .runs_here = runs_here};

int64_t planar_input_size(const fxbin_shape *shape, int64_t out_pixels) {
    (void)shape, (void)out_pixels;
    return 0;
}

double planar_excess(int64_t out_pixels) {
    (void)out_pixels;
    return 1;
}

void run_planar(
    const fxbin_coefficients *c, const fxbin_band *band, const void *weights, uint64_t *input, float *y,
    const fxbin_window_levels *levels
) {
    (void)c, (void)band, (void)weights, (void)input, (void)y, (void)levels;
}

#endif
