#include "pack.h"

#include <string.h>

#include "channel_bits.h"
#include "cpu.h"
#include "pack_word.h"

/** One row of the input: the address of its first value, and the addresses for its bits and their counts. */
typedef struct {
    const fxbin_shape *shape;
    const char *x;
    const char *thresholds;
    int64_t channel_stride, column_stride; /**< in elements */
    int64_t width;
    uint64_t *bits;
    int32_t *fired;
    int64_t fired_stride; /**< from one group to the next */
} row_of_input;

/** Number of columns that are packed together. */
#define COLUMNS 8

/** Writes the bits of up to 64 channels of `columns` <= COLUMNS columns, those of each column `words` words apart. */
typedef void (*packs_columns)(
    const row_of_input *row, const char *x, const char *thresholds, int64_t channels, int64_t columns,
    uint64_t *bits, int64_t words
);

#define DEFINE_PACK_COLUMNS(type)                                                                             \
    static ALWAYS_INLINE void pack_columns_##type(                                                            \
        const row_of_input *row, const char *x, const char *thresholds, int64_t channels, int64_t columns,    \
        uint64_t *bits, int64_t words                                                                         \
    ) {                                                                                                       \
        const type *values = (const type *)(const void *)x, *bounds = (const type *)(const void *)thresholds; \
        uint64_t found[COLUMNS] = {0};                                                                        \
        for (int64_t channel = 0; channel < channels; channel++, values += row->channel_stride) {             \
            for (int64_t column = 0; column < columns; column++) {                                            \
                uint64_t bit = values[column * row->column_stride] > bounds[channel];                         \
                found[column] |= bit << channel;                                                              \
            }                                                                                                 \
        }                                                                                                     \
        for (int64_t column = 0; column < columns; column++) bits[column * words] = found[column];            \
    }

DEFINE_PACK_COLUMNS(float)
DEFINE_PACK_COLUMNS(double)

#if FXBIN_X86
/** Pack whole vectors of columns that are neighbours in memory; other columns as above. */
static ALWAYS_INLINE AVX2 void pack_columns_float_avx2(
    const row_of_input *row, const char *x, const char *thresholds, int64_t channels, int64_t columns,
    uint64_t *bits, int64_t words
) {
    if (columns < COLUMNS || row->column_stride != 1) {
        pack_columns_float(row, x, thresholds, channels, columns, bits, words);
        return;
    }
    const float *values = (const float *)(const void *)x, *bounds = (const float *)(const void *)thresholds;
    __m256i low = _mm256_setzero_si256(), high = low, bit = _mm256_set1_epi64x(1);
    for (int64_t channel = 0; channel < channels; channel++, values += row->channel_stride) {
        __m256 above = _mm256_cmp_ps(_mm256_loadu_ps(values), _mm256_set1_ps(bounds[channel]), _CMP_GT_OQ);
        __m256i is_set = _mm256_castps_si256(above);
        __m256i first = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(is_set));
        __m256i second = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(is_set, 1));
        low = _mm256_or_si256(low, _mm256_and_si256(first, bit));
        high = _mm256_or_si256(high, _mm256_and_si256(second, bit));
        bit = _mm256_add_epi64(bit, bit);
    }
    uint64_t found[COLUMNS];
    _mm256_storeu_si256((__m256i *)(void *)found, low);
    _mm256_storeu_si256((__m256i *)(void *)(found + 4), high);
    for (int column = 0; column < COLUMNS; column++) bits[column * words] = found[column];
}

static ALWAYS_INLINE AVX512 void pack_columns_float_avx512(
    const row_of_input *row, const char *x, const char *thresholds, int64_t channels, int64_t columns,
    uint64_t *bits, int64_t words
) {
    if (row->column_stride != 1) {
        pack_columns_float(row, x, thresholds, channels, columns, bits, words);
        return;
    }
    const float *values = (const float *)(const void *)x, *bounds = (const float *)(const void *)thresholds;
    __mmask8 there = (__mmask8)((1u << columns) - 1);
    __m512i found = _mm512_setzero_si512(), bit = _mm512_set1_epi64(1);
    for (int64_t channel = 0; channel < channels; channel++, values += row->channel_stride) {
        __m256 some = _mm256_maskz_loadu_ps(there, values);
        __mmask8 above = _mm256_mask_cmp_ps_mask(there, some, _mm256_set1_ps(bounds[channel]), _CMP_GT_OQ);
        found = _mm512_mask_or_epi64(found, above, found, bit);
        bit = _mm512_add_epi64(bit, bit);
    }
    if (words == 1) {
        _mm512_mask_storeu_epi64(bits, there, found);
        return;
    }
    uint64_t each[COLUMNS];
    _mm512_storeu_si512(each, found);
    for (int64_t column = 0; column < columns; column++) bits[column * words] = each[column];
}
#endif

/** Pack channels that are neighbours in memory (channels_last), pixel by pixel. */
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

/** Pack any other layout, some columns at a time. */
static ALWAYS_INLINE void pack_channels(const row_of_input *row, packs_columns pack, size_t item) {
    int64_t channels = group_channels(row->shape), words = pixel_words(row->shape);
    for (int64_t column = 0; column < row->width; column += COLUMNS) {
        int64_t columns = min_of(COLUMNS, row->width - column);
        const char *x = row->x + column * row->column_stride * (int64_t)item, *thresholds = row->thresholds;
        uint64_t *bits = row->bits + column * words;
        for (int64_t group = 0; group < row->shape->groups; group++) {
            for (int64_t rest = channels; rest > 0; rest -= 64) {
                int64_t count = min_of(rest, 64);
                pack(row, x, thresholds, count, columns, bits++, words);
                x += count * row->channel_stride * (int64_t)item;
                thresholds += count * (int64_t)item;
            }
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
    const row_of_input *row, packs_word by_word, packs_columns by_columns, size_t item
) {
    if (row->channel_stride == 1 || row->shape->channels == 1) {
        pack_pixels(row, by_word, item);
    } else {
        pack_channels(row, by_columns, item);
    }
    count_fired(row);
}

/** Copy bits that an earlier convolution wrote, and ignore those past the last channel. */
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
    pack_row(row, pack_float, pack_columns_float, sizeof(float));
}

static void pack_row_double(const row_of_input *row) {
    pack_row(row, pack_double, pack_columns_double, sizeof(double));
}

static void pack_row_bits(const row_of_input *row) {
    copy_row(row);
}

#if FXBIN_X86
static AVX2 void pack_row_float_avx2(const row_of_input *row) {
    pack_row(row, pack_float_avx2, pack_columns_float_avx2, sizeof(float));
}

static AVX2 void pack_row_double_avx2(const row_of_input *row) {
    pack_row(row, pack_double, pack_columns_double, sizeof(double));
}

static AVX512 void pack_row_float_avx512(const row_of_input *row) {
    pack_row(row, pack_float_avx512, pack_columns_float_avx512, sizeof(float));
}

static AVX2 void pack_row_bits_avx2(const row_of_input *row) {
    copy_row(row);
}
#endif

static packs_row packer_of(int64_t dtype) {
    static const packs_row by_dtype[] = {pack_row_float, pack_row_double, pack_row_bits};
#if FXBIN_X86
    static const packs_row avx2_by_dtype[] = {pack_row_float_avx2, pack_row_double_avx2, pack_row_bits_avx2};
    if (dtype == FXBIN_FLOAT32 && cpu_has_avx512()) return pack_row_float_avx512;
    if (cpu_has_avx2()) return avx2_by_dtype[dtype];
#endif
    return by_dtype[dtype];
}

void pack_band(const fxbin_call *call, int64_t picture, fxbin_band *band) {
    const fxbin_shape *shape = band->shape;
    const int64_t *stride = call->x.stride;
    size_t item = item_of(call->x_dtype);
    packs_row pack = packer_of(call->x_dtype);
    int64_t width = band->in_size[1], rows = band->rows;
    if (rows > 0 && stride[2] == width * stride[3]) {  // rows that follow each other are packed as one long row
        width *= rows;
        rows = 1;
    }
    for (int64_t i = 0; i < rows; i++) {
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
            .fired_stride = rows * width,
        };
        pack(&row);
    }
}
