/* Adds inputs of 256 pixels at a time to bit-sliced sums: for each filter the inputs whose weight is set.
 *
 * The body of the kernels pixelsliced_*.c, which must define what bitsliced.h requires before they include it.
 *
 * An input (a channel at a tap) of a tile is a plane: one bit for each pixel. The inputs that a filter adds are known
 * when weights are prepared; the others cost nothing. Three filters share their work: an input is added once, to the
 * sum of the set of those filters whose weight is set there. There are 7 such sets, and the sum of a filter is that of
 * the 4 sets it is in. So if half of its weights are set, a filter costs 7/24 of an addition for each input, and a few
 * additions for the sums of sets. Sums are planes, too: plane i holds bit i of the sums of all pixels.
 *
 * If y is wanted only as bits, sums are compared as planes, see `compare`.
 *
 * Weights: see pixelsliced_weights.h.
 * Gathered: (taps, group_words, 64 channels) planes, then one of zeros.
 */
#include <string.h>

#include "cpu.h"
#include "kernel.h"
#include "limits.h"
#include "pixelsliced_weights.h"
#include "sliced_number.h"

/** Number of filters whose sums are kept at a time. */
#define CHUNK (8 * THREE)

/** Nanoseconds. */
typedef struct {
    double plane;    /**< for one input of a tile and one filter, whether its weight is set or not */
    double word;     /**< for gathering 64 inputs of a tile */
    double compared; /**< saved for each filter of a tile if no sums are written */
} step_costs;

static bool takes(const fxbin_shape *shape) {
    return planes_of(shape) <= MOST_PLANES;
}

static int64_t block_of(const fxbin_shape *shape) {
    (void)shape;
    return BLOCK;
}

static double cost_by(const fxbin_shape *shape, const fxbin_work *work, step_costs costs) {
    double of_filter = costs.plane * (double)inputs_of(shape) - (work->has_limits ? costs.compared : 0);
    double of_tile = (double)group_filters(shape) * of_filter + costs.word * (double)planes_of(shape) / 64;
    return (double)(shape->groups * ceil_div(work->pixels, PIXELS)) * of_tile / (double)work->pixels;
}

static int64_t gathered_size(const fxbin_shape *shape) {
    return (planes_of(shape) + 1) * VECTOR;
}

/** Turn one word of each pixel of a tile into 64 planes. */
static TARGET void write_planes(const uint64_t *words, uint8_t *to) {
    plane rows[8][8];
    for (int j = 0; j < 8; j++) {
        for (int q = 0; q < 8; q++) rows[j][q] = load_plane(words + (8 * j + q) * LANES);
        transpose_bytes(rows[j]);
    }
    for (int byte = 0; byte < 8; byte++) {
        plane bytes[8];
        for (int j = 0; j < 8; j++) bytes[j] = rows[j][byte];
        transpose_bits(bytes);
        for (int i = 0; i < 8; i++) store_plane(to + (8 * byte + i) * VECTOR, bytes[i]);
    }
}

/** Copy one word, at one tap, of the pixels of a tile that are in one row of the output. */
static ALWAYS_INLINE void copy_row(
    const fxbin_band *band, const uint64_t *bits, const fxbin_window *windows, int64_t count, int64_t ky, int64_t kx,
    uint64_t *to
) {
    const fxbin_shape *shape = band->shape;
    taps_inside down = windows->down;
    int64_t start = windows->across.start + kx * windows->across.step, stride = shape->stride[1];
    // The pixels whose tap is inside the picture.
    int64_t first = min_of(start < 0 ? ceil_div(-start, stride) : 0, count);
    int64_t last = min_of(max_of(ceil_div(band->in_size[1] - start, stride), first), count);
    if (ky < down.first || ky >= down.last) first = last = count;
    memset(to, 0, (size_t)first * sizeof *to);
    if (first < last) {
        int64_t at = band_pixel(band, down.start + ky * down.step, start + first * stride);
        const uint64_t *from = bits + at * pixel_words(shape);
        int64_t step = stride * pixel_words(shape);
        if (step == 1) {
            memcpy(to + first, from, (size_t)(last - first) * sizeof *to);
        } else {
            for (int64_t i = first; i < last; i++, from += step) to[i] = *from;
        }
    }
    memset(to + last, 0, (size_t)(count - last) * sizeof *to);
}

static void gather(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    (void)input;
    const fxbin_shape *shape = band->shape;
    _Alignas(VECTOR) uint64_t words[PIXELS];
    uint8_t *to = gathered;
    for (int64_t ky = 0; ky < shape->kernel[0]; ky++) {
        for (int64_t kx = 0; kx < shape->kernel[1]; kx++) {
            for (int64_t word = 0; word < group_words(shape); word++, to += 64 * VECTOR) {
                const uint64_t *bits = band->bits + tile->group * group_words(shape) + word;
                for (int64_t pixel = 0, count; pixel < tile->pixels; pixel += count) {
                    int64_t column = (tile->first + pixel) % band->out_width;
                    count = min_of(band->out_width - column, tile->pixels - pixel);
                    copy_row(band, bits, tile->windows + pixel, count, ky, kx, words + pixel);
                }
                memset(words + tile->pixels, 0, (size_t)(PIXELS - tile->pixels) * sizeof *words);
                write_planes(words, to);
            }
        }
    }
    memset(to, 0, VECTOR);
}

static ALWAYS_INLINE TARGET plane plane_at(const uint8_t *planes, const uint16_t *list, int64_t i) {
    return load_plane(planes + (int64_t)list[i] * (VECTOR / UNIT));
}

/** Add 8 inputs; return a plane of weight 8. */
static ALWAYS_INLINE TARGET plane add_8(plane *low, const uint8_t *planes, const uint16_t *list) {
    plane fours[2];
    for (int i = 0; i < 2; i++, list += 4) {
        plane first = add_planes(&low[0], plane_at(planes, list, 0), plane_at(planes, list, 1));
        plane second = add_planes(&low[0], plane_at(planes, list, 2), plane_at(planes, list, 3));
        fours[i] = add_planes(&low[1], first, second);
    }
    return add_planes(&low[2], fours[0], fours[1]);
}

static ALWAYS_INLINE TARGET plane add_16(plane *low, const uint8_t *planes, const uint16_t *list) {
    plane first = add_8(low, planes, list);
    plane second = add_8(low, planes, list + 8);
    return add_planes(&low[3], first, second);
}

static ALWAYS_INLINE TARGET plane add_32(plane *low, const uint8_t *planes, const uint16_t *list) {
    plane first = add_16(low, planes, list);
    plane second = add_16(low, planes, list + 16);
    return add_planes(&low[4], first, second);
}

/** Sum the inputs of a list; the sum's planes above the lowest five are `width`. */
static ALWAYS_INLINE TARGET void sum_rounds(
    const uint8_t *planes, const uint16_t *list, int64_t rounds, int width, number *sum
) {
    plane low[5], high[WIDTH - 5];
    for (int i = 0; i < 5; i++) low[i] = no_bits();
    for (int i = 0; i < width; i++) high[i] = no_bits();
    for (int64_t i = 0; i < rounds / 4; i++, list += 32) carry_up(high, width, add_32(low, planes, list));
    if (rounds & 2) {
        carry_up(high, width, add_plane(&low[4], add_16(low, planes, list)));
        list += 16;
    }
    if (rounds & 1) carry_up(high, width, add_plane(&low[4], add_plane(&low[3], add_8(low, planes, list))));
    for (int i = 0; i < 5; i++) store_plane(&sum->bits[i], low[i]);
    for (int i = 0; i < width; i++) store_plane(&sum->bits[5 + i], high[i]);
    sum->width = rounds < 4 ? 5 : bits_of(ROUND * rounds);
}

/** The same, with the usual widths known at compile time. */
static TARGET void sum_list(const uint8_t *planes, const uint16_t *list, int64_t rounds, number *sum) {
    if (rounds < 1 << 3) {
        sum_rounds(planes, list, rounds, 1, sum);
    } else if (rounds < 1 << 4) {
        sum_rounds(planes, list, rounds, 2, sum);
    } else if (rounds < 1 << 6) {
        sum_rounds(planes, list, rounds, 4, sum);
    } else {
        sum_rounds(planes, list, rounds, WIDTH - 6, sum);
    }
}

/** Compute the sums of three filters. */
static TARGET void sum_three(const uint8_t *planes, const uint16_t *rounds, number sums[THREE]) {
    number of[SETS], a, b;
    const uint16_t *list = rounds + SETS;
    for (int set = 1; set < SETS; list += rounds[set++] * ROUND) sum_list(planes, list, rounds[set], &of[set]);
    add_numbers(&of[6], &of[7], &a);
    add_numbers(&of[4], &of[5], &b);
    add_numbers(&a, &b, &sums[2]);
    add_numbers(&of[2], &of[3], &b);
    add_numbers(&a, &b, &sums[1]);
    add_numbers(&of[1], &of[3], &a);
    add_numbers(&of[5], &of[7], &b);
    add_numbers(&a, &b, &sums[0]);
}

/** Write the sums of 8 filters for whole parts of a tile, also past the last pixel. */
static TARGET void write_sums(const number sums[8], const lane_numbers *active, int64_t pixels, int32_t *to) {
    plane lower[8][8], upper[8][8]; // by filter, then by part of the tile
    for (int i = 0; i < 8; i++) {
        to_bytes(&sums[i], 0, lower[i]);
        to_bytes(&sums[i], 8, upper[i]);
    }
    for (int64_t part = 0; part * PART < pixels; part++) {
        plane low[8], high[8];
        for (int i = 0; i < 8; i++) low[i] = lower[i][part], high[i] = upper[i][part];
        transpose_bytes(low);
        transpose_bytes(high);
        for (int q = 0; q < 8; q++, active++, to += LANES * BLOCK) write_lanes(low[q], high[q], *active, to, BLOCK);
    }
}

/** Compute the sums of up to CHUNK filters, zeros past `count`; return where the next ones start. */
static TARGET const uint16_t *sum_chunk(
    const fxbin_shape *shape, const void *planes, const uint16_t *three, int64_t count, number sums[CHUNK]
) {
    for (int64_t i = 0; i < CHUNK; i += THREE) {
        if (i < count) {
            sum_three(planes, three, sums + i);
            three += numbers_of(shape);
        } else {
            for (int j = 0; j < THREE; j++) sums[i + j].width = 0;
        }
    }
    return three;
}

static TARGET void count(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    const uint16_t *three = block_at(band->shape, weights, tile->group, first);
    int32_t numbers[PIXELS] = {0};
    memcpy(numbers, tile->active, (size_t)tile->pixels * sizeof *numbers);
    lane_numbers active[PIXELS / LANES];
    for (int i = 0; i < PIXELS / LANES; i++) active[i] = spread_lanes(numbers + i * LANES);
    number of_filters[CHUNK];
    for (int64_t i = 0; i < count; i += CHUNK) {
        three = sum_chunk(band->shape, gathered, three, count - i, of_filters);
        for (int64_t j = 0; j < min_of(CHUNK, count - i); j += 8) {
            write_sums(of_filters + j, active, tile->pixels, sums + i + j);
        }
    }
}

/** The values that all comparisons of a tile share. */
typedef struct {
    plane inactive[WIDTH]; /**< the inverse of the inputs that fire */
    plane ends[2];         /**< no bits, all bits */
    int width;             /**< of signed numbers, the sign included */
} comparison;

/** Whether 2 * sum - active - least is negative: the sign of 2 * sum + ~active + 1 - least. */
static ALWAYS_INLINE TARGET plane is_negative(const comparison *with, const number *sum, int32_t least) {
    plane carry = no_bits(), above = no_bits();
    for (int i = 0;; i++) {
        plane doubled = i > 0 && i <= sum->width ? sum->bits[i - 1] : no_bits();
        plane partial = with->ends[(uint32_t)(1 - least) >> i & 1];
        plane next = add_planes(&partial, doubled, with->inactive[i]);
        if (i == with->width - 1) {
            add_planes(&carry, partial, above);
            return carry;
        }
        carry = majority(partial, above, carry);
        above = next;
    }
}

/** Write a word for each pixel, whose bit i is that of the pixel in plane i. */
static TARGET void write_words(plane of_filters[BLOCK], uint64_t *words) {
    for (int byte = 0; byte < 8; byte++) transpose_bits(of_filters + 8 * byte);
    for (int j = 0; j < 8; j++) {
        plane bytes[8];
        for (int byte = 0; byte < 8; byte++) bytes[byte] = of_filters[8 * byte + j];
        transpose_bytes(bytes);
        for (int q = 0; q < 8; q++) store_plane(words + (8 * j + q) * LANES, bytes[q]);
    }
}

/** Compare the sums of `count` filters with their limits: a plane for each filter. */
static TARGET void compare_chunk(
    const comparison *with, const number *sums, const int32_t *least, const int32_t *is_falling, int64_t count,
    plane *found
) {
    for (int64_t i = 0; i < count; i++) {
        plane is_below = is_negative(with, &sums[i], least[i]);
        found[i] = is_falling[i] ? is_below : invert(is_below);
    }
}

static TARGET void compare(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, const fxbin_limits *limits, uint64_t *words
) {
    const uint16_t *three = block_at(band->shape, weights, tile->group, first);
    const int64_t filter = tile->group * group_filters(band->shape) + first;
    comparison with = {.width = bits_of(2 * inputs_of(band->shape) + 1) + 1, .ends = {no_bits(), invert(no_bits())}};
    slice(tile->active, tile->pixels, with.inactive);
    for (int i = 0; i < WIDTH; i++) with.inactive[i] = invert(with.inactive[i]);
    plane of_filters[BLOCK];
    for (int64_t i = 0; i < BLOCK; i++) of_filters[i] = no_bits();
    for (int64_t i = 0; i < count; i += CHUNK) {
        const int32_t *least = limits->least + filter + i, *is_falling = limits->is_falling + filter + i;
        number sums[CHUNK];
        three = sum_chunk(band->shape, gathered, three, count - i, sums);
        compare_chunk(&with, sums, least, is_falling, min_of(CHUNK, count - i), of_filters + i);
    }
    write_words(of_filters, words);
}
