#include "pack.h"

#include <string.h>

#include "channel_bits.h"
#include "cpu.h"
#include "pack_word.h"

/** One row of the input: where its first value is, and where its bits and their counts go. */
typedef struct {
    const fxbin_shape *shape;
    const char *x;
    const char *thresholds;
    int64_t channel_stride, column_stride; /**< in elements */
    int64_t width;
    uint64_t *bits;
    int32_t *fired;
    int64_t fired_stride; /**< from group to group */
} row_of_input;

/** Sets bit number `bit` in every `words`-th word of `bits` whose value is above the threshold of its channel. */
typedef void (*packs_channel)(
    const row_of_input *row, const char *x, const char *threshold, uint64_t *bits, int64_t words, int bit
);

#define DEFINE_PACK_CHANNEL(type)                                                                             \
    static ALWAYS_INLINE void pack_channel_##type(                                                            \
        const row_of_input *row, const char *x, const char *threshold, uint64_t *bits, int64_t words, int bit \
    ) {                                                                                                       \
        const type *values = (const type *)(const void *)x;                                                   \
        type bound = *(const type *)(const void *)threshold;                                                  \
        for (int64_t column = 0; column < row->width; column++) {                                             \
            bits[column * words] |= (uint64_t)(values[column * row->column_stride] > bound) << bit;           \
        }                                                                                                     \
    }

DEFINE_PACK_CHANNEL(float)
DEFINE_PACK_CHANNEL(double)

/** Channels that are neighbours in memory (channels_last): pixel by pixel. */
static ALWAYS_INLINE void pack_pixels(const row_of_input *row, packs_word pack, size_t item) {
    int64_t channels = group_channels(row->shape);
    const char *pixel = row->x;
    uint64_t *bits = row->bits;
    for (int64_t column = 0; column < row->width; column++, pixel += row->column_stride * (int64_t)item) {
        const char *x = pixel, *thresholds = row->thresholds;
        for (int64_t group = 0; group < row->shape->groups; group++) {
            for (int64_t rest = channels; rest > 0; rest -= 64) {
                int64_t count = min_of(rest, 64);
                *bits++ = pack(x, thresholds, count);
                x += count * (int64_t)item;
                thresholds += count * (int64_t)item;
            }
        }
    }
}

/** Any other layout: channel by channel. */
static ALWAYS_INLINE void pack_channels(const row_of_input *row, packs_channel pack, size_t item) {
    int64_t channels = group_channels(row->shape), words = pixel_words(row->shape);
    memset(row->bits, 0, (size_t)(row->width * words) * sizeof *row->bits);
    const char *x = row->x, *threshold = row->thresholds;
    for (int64_t group = 0; group < row->shape->groups; group++) {
        for (int64_t channel = 0; channel < channels; channel++) {
            uint64_t *first = row->bits + group * group_words(row->shape) + channel / 64;
            pack(row, x, threshold, first, words, (int)(channel % 64));
            x += row->channel_stride * (int64_t)item;
            threshold += item;
        }
    }
}

static ALWAYS_INLINE void count_fired(const row_of_input *row) {
    int64_t words = group_words(row->shape);
    const uint64_t *bits = row->bits;
    for (int64_t column = 0; column < row->width; column++) {
        for (int64_t group = 0; group < row->shape->groups; group++) {
            int32_t sum = 0;
            for (int64_t word = 0; word < words; word++) sum += (int32_t)__builtin_popcountll(*bits++);
            row->fired[group * row->fired_stride + column] = sum;
        }
    }
}

static ALWAYS_INLINE void pack_row(
    const row_of_input *row, packs_word by_word, packs_channel by_channel, size_t item
) {
    if (row->channel_stride == 1 || row->shape->channels == 1) {
        pack_pixels(row, by_word, item);
    } else {
        pack_channels(row, by_channel, item);
    }
    count_fired(row);
}

/** Bits that an earlier convolution wrote. What is past the last channel counts for nothing. */
static ALWAYS_INLINE void copy_row(const row_of_input *row) {
    int64_t channels = group_channels(row->shape), step = row->channel_stride;
    const uint64_t *pixel = (const uint64_t *)(const void *)row->x;
    uint64_t *bits = row->bits;
    for (int64_t column = 0; column < row->width; column++, pixel += row->column_stride) {
        int64_t first = 0;
        for (int64_t group = 0; group < row->shape->groups; group++) {
            for (int64_t rest = channels; rest > 0; rest -= 64) {
                int64_t count = min_of(rest, 64);
                *bits++ = channel_bits(pixel, step, first, count);
                first += count;
            }
        }
    }
    count_fired(row);
}

typedef void (*packs_row)(const row_of_input *row);

static void pack_row_float(const row_of_input *row) {
    pack_row(row, pack_float, pack_channel_float, sizeof(float));
}

static void pack_row_double(const row_of_input *row) {
    pack_row(row, pack_double, pack_channel_double, sizeof(double));
}

static void pack_row_bits(const row_of_input *row) {
    copy_row(row);
}

#if FXBIN_X86
static AVX2 void pack_row_float_avx2(const row_of_input *row) {
    pack_row(row, pack_float_avx2, pack_channel_float, sizeof(float));
}

static AVX2 void pack_row_double_avx2(const row_of_input *row) {
    pack_row(row, pack_double, pack_channel_double, sizeof(double));
}

static AVX2 void pack_row_bits_avx2(const row_of_input *row) {
    copy_row(row);
}
#endif

static packs_row packer_of(int64_t dtype) {
    static const packs_row by_dtype[] = {pack_row_float, pack_row_double, pack_row_bits};
#if FXBIN_X86
    static const packs_row avx2_by_dtype[] = {pack_row_float_avx2, pack_row_double_avx2, pack_row_bits_avx2};
    if (cpu_has_avx2()) return avx2_by_dtype[dtype];
#endif
    return by_dtype[dtype];
}

void pack_band(const fxbin_call *call, int64_t picture, fxbin_band *band) {
    const fxbin_shape *shape = band->shape;
    const int64_t *stride = call->x.stride;
    size_t item = item_of(call->x_dtype);
    packs_row pack = packer_of(call->x_dtype);
    int64_t width = band->in_size[1];
    for (int64_t i = 0; i < band->rows; i++) {
        int64_t element = picture * stride[0] + (band->first_row + i) * stride[2];
        row_of_input row = {
            .shape = shape,
            .x = (const char *)call->x.data + element * (int64_t)item,
            .thresholds = call->thresholds,
            .channel_stride = stride[1],
            .column_stride = stride[3],
            .width = width,
            .bits = band->bits + i * width * pixel_words(shape),
            .fired = band->fired + i * width,
            .fired_stride = band->rows * width,
        };
        pack(&row);
    }
}
