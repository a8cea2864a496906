/* Adds the weights of each input that fires to bit-sliced counters; inputs that do not fire cost nothing.
 *
 * The body of the kernels bitsliced_*.c, which must define before they include it:
 *
 *     TARGET       the attribute of functions that use the CPU's instructions
 *     plane        a vector of VECTOR bytes, and everything else in planes_avx2.h
 *     UNIT         lists hold the number of a row times this, which addressing converts to a place in bytes
 *     add_planes   a full adder: `*sum` becomes the sum of three planes, and the carry is returned
 *
 * A row of weights has one bit per filter. A vector holds a row of 256 filters for one pixel, of 128 for two, or of 64
 * for four, depending on how many filters a group has. Counters are planes of bits, too: plane i holds bit i of all
 * counts in a vector. A full adder turns three planes of one weight into one of that weight and one of twice
 * that weight. A round adds 16 rows by a tree of 15 adders, and carries one plane of weight 16.
 *
 * All pixels of a tile go through a part of the weights that fits into the first cache before the next part.
 *
 * Weights: (blocks of filters, inputs + 1, bytes of a row), the last row 0. Filter f of a block is bit f / bytes of
 * byte f % bytes.
 * Input: (pixels, groups) lists, each with the number of channels that fire, then these channels in order.
 * Gathered: for each pixel of a tile the list of rows under it, filled up with rows of 0 to whole rounds and to the
 * length of the other pixels in its vector; then the length of each of these lists.
 */
#include <pthread.h>
#include <string.h>

#include "cpu.h"
#include "kernel.h"
#include "transpose.h"
#include "weight_bits.h"

#define ROUND 16

/** Bytes of the weights that are used at a time: half of the first-level cache. */
#define PART_BYTES (16 * 1024)

/** Maximum number of inputs of a filter: lists have 16 bits for the number of a row times UNIT, which is at most 4. */
#define MOST_INPUTS (65535 / 4 - 1)

/** Planes of the counters above the four of a round: one for each bit of the number of rounds, at most 1024. */
#define UPPER 11

/** Nanoseconds. */
typedef struct {
    double add_1, add_2, add_4; /**< for adding one vector of rows of 1, 2 or 4 pixels */
    double write;               /**< for the sums of a vector */
    double list;                /**< for each row of the list of a pixel */
    double pixel;
} step_costs;

static bool takes(const fxbin_shape *shape) {
    return inputs_of(shape) <= MOST_INPUTS;
}

/** Number of filters of a block, whose row is a vector, half of one, or a quarter. */
static int64_t block_of(const fxbin_shape *shape) {
    int64_t filters = group_filters(shape);
    return filters <= 64 ? 64 : filters <= 128 ? 128 : 256;
}

static int64_t row_bytes(const fxbin_shape *shape) {
    return block_of(shape) / 8;
}

/** Number of pixels that share a vector. */
static int64_t pixels_of_vector(const fxbin_shape *shape) {
    return VECTOR / row_bytes(shape);
}

static int64_t rows_of(const fxbin_shape *shape) {
    return inputs_of(shape) + 1;
}

static int64_t blocks_of(const fxbin_shape *shape) {
    return ceil_div(group_filters(shape), block_of(shape));
}

static int64_t weights_size(const fxbin_shape *shape) {
    return shape->groups * blocks_of(shape) * rows_of(shape) * row_bytes(shape);
}

static double cost_by(const fxbin_shape *shape, double share, step_costs costs) {
    int64_t together = pixels_of_vector(shape);
    double add = together == 1 ? costs.add_1 : together == 2 ? costs.add_2 : costs.add_4;
    double rows = share * (double)inputs_of(shape), vectors = (double)blocks_of(shape) / (double)together;
    return (double)shape->groups * (vectors * (add * rows + costs.write) + costs.list * rows + costs.pixel);
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    int64_t filters = group_filters(shape), channels = group_channels(shape), bytes = row_bytes(shape);
    memset(weights, 0, (size_t)weights_size(shape));
    for (int64_t filter = 0; filter < shape->filters; filter++) {
        int64_t inside = filter % filters, block = filter / filters * blocks_of(shape) + inside / block_of(shape);
        int64_t place = inside % block_of(shape);
        uint8_t *to = (uint8_t *)weights + block * rows_of(shape) * bytes + place % bytes;
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            for (int64_t channel = 0; channel < channels; channel++, to += bytes) {
                uint64_t word = weight_word(shape, weight_bits, filter, tap, channel / 64 * 64);
                *to = (uint8_t)(*to | (word >> (channel % 64) & 1) << (place / bytes));
            }
        }
    }
}

/** Length of the list of one pixel of the input: a count, then room for the channels and one more vector. */
static int64_t channel_list(const fxbin_shape *shape) {
    return 1 + group_channels(shape) + 16;
}

static int64_t pixel_size(const fxbin_shape *shape) {
    return shape->groups * channel_list(shape) * (int64_t)sizeof(uint16_t);
}

/** For each byte, the indices of its set bits in order. */
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

/** Write the channels that fire to `to`, each times UNIT, and return their number. May write 8 numbers more. */
static ALWAYS_INLINE TARGET int64_t list_channels(const uint64_t *bits, int64_t channels, uint16_t *to) {
    int64_t count = 0;
    for (int64_t channel = 0; channel < channels; channel += 8) {
        uint8_t byte = (uint8_t)(bits[channel / 64] >> (channel % 64));
        write_8(set_bits[byte], channel, UNIT, to + count);
        count += __builtin_popcount(byte);
    }
    return count;
}

static TARGET void prepare_band(const fxbin_band *band, void *input) {
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

/** Length of the list of rows under a pixel, filled up to rounds, with room for one more vector. */
static int64_t row_list(const fxbin_shape *shape) {
    return ceil_div(inputs_of(shape), ROUND) * ROUND + 2 * ROUND;
}

static int64_t gathered_size(const fxbin_shape *shape) {
    return TILE * (row_list(shape) * (int64_t)sizeof(uint16_t) + (int64_t)sizeof(int32_t));
}

static ALWAYS_INLINE TARGET int64_t copy_plus(const uint16_t *from, int64_t count, int64_t amount, uint16_t *to) {
    for (int64_t i = 0; i < count; i += 16) copy_16_plus(from + i, amount, to + i);
    return count;
}

/** List the rows under one pixel; return their number. */
static TARGET int64_t list_rows(
    const fxbin_band *band, const uint16_t *input, const fxbin_tile *tile, int64_t pixel, uint16_t *to
) {
    const fxbin_shape *shape = band->shape;
    taps_inside down = tile->windows[pixel].down, across = tile->windows[pixel].across;
    int64_t found = 0, channels = group_channels(shape), size = channel_list(shape);
    for (int64_t ky = down.first; ky < down.last; ky++) {
        for (int64_t kx = across.first; kx < across.last; kx++) {
            int64_t at = band_pixel(band, down.start + ky * down.step, across.start + kx * across.step);
            const uint16_t *list = input + (at * shape->groups + tile->group) * size;
            int64_t tap = ky * shape->kernel[1] + kx;
            found += copy_plus(list + 1, *list, UNIT * tap * channels, to + found);
        }
    }
    return found;
}

/** Fill a list up to `length` with the row of 0. May write 15 numbers more. */
static ALWAYS_INLINE TARGET void fill_up(const fxbin_shape *shape, uint16_t *list, int64_t count, int64_t length) {
    for (; count < length; count += 16) fill_16(UNIT * inputs_of(shape), list + count);
}

static TARGET void gather(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    const fxbin_shape *shape = band->shape;
    uint16_t *lists = gathered;
    int32_t *lengths = (int32_t *)(void *)(lists + TILE * row_list(shape));
    int64_t together = pixels_of_vector(shape);
    for (int64_t pixel = 0; pixel < tile->pixels; pixel += together) {
        int64_t counts[VECTOR / 8] = {0}, most = 0;
        for (int64_t i = 0; i < min_of(together, tile->pixels - pixel); i++) {
            counts[i] = list_rows(band, input, tile, pixel + i, lists + (pixel + i) * row_list(shape));
            most = max_of(most, counts[i]);
        }
        most = ceil_div(most, ROUND) * ROUND;
        for (int64_t i = 0; i < together; i++) {
            fill_up(shape, lists + (pixel + i) * row_list(shape), counts[i], most);
            lengths[pixel + i] = (int32_t)most;
        }
    }
}

/** The counters of the pixels of a vector. */
typedef struct {
    plane low[4];         /**< planes 0 to 3 */
    plane upper[UPPER];   /**< planes 4, 5, ... */
    plane waiting[UPPER]; /**< a second plane of that weight, if that bit of `rounds` is set */
    int64_t rounds;
} counters;

/** The next rows of the pixels of a vector: for each pixel, the rest of its list. */
typedef struct {
    const uint8_t *weights;
    const uint16_t *lists[VECTOR / 8];
} next_rows;

static ALWAYS_INLINE TARGET const void *row_of(next_rows from, int pixel, int64_t i, int together) {
    return from.weights + (int64_t)from.lists[pixel][i] * (VECTOR / together / UNIT);
}

/** Rows number `i` of the lists, as one vector. */
static ALWAYS_INLINE TARGET plane row_at(next_rows from, int64_t i, int together) {
    if (together == 1) return load_plane(row_of(from, 0, i, 1));
    if (together == 2) return join_2(row_of(from, 0, i, 2), row_of(from, 1, i, 2));
    return join_4(row_of(from, 0, i, 4), row_of(from, 1, i, 4), row_of(from, 2, i, 4), row_of(from, 3, i, 4));
}

/** Add 4 rows; return a plane of weight 4. */
static ALWAYS_INLINE TARGET plane add_4(plane *low, next_rows from, int64_t i, int together) {
    plane first = add_planes(&low[0], row_at(from, i, together), row_at(from, i + 1, together));
    plane second = add_planes(&low[0], row_at(from, i + 2, together), row_at(from, i + 3, together));
    return add_planes(&low[1], first, second);
}

static ALWAYS_INLINE TARGET plane add_8(plane *low, next_rows from, int64_t i, int together) {
    plane first = add_4(low, from, i, together);
    plane second = add_4(low, from, i + 4, together);
    return add_planes(&low[2], first, second);
}

static ALWAYS_INLINE TARGET plane add_16(plane *low, next_rows from, int64_t i, int together) {
    plane first = add_8(low, from, i, together);
    plane second = add_8(low, from, i + 8, together);
    return add_planes(&low[3], first, second);
}

/** Add a plane of weight 16. As in a binary counter, each level is reached half as often as the one below. */
static ALWAYS_INLINE TARGET void carry_up(counters *self, plane carry) {
    int level = 0;
    for (int64_t rounds = self->rounds++; rounds & 1; rounds >>= 1, level++) {
        carry = add_planes(&self->upper[level], self->waiting[level], carry);
    }
    self->waiting[level] = carry;
}

/** Add the waiting planes, and return how many upper planes are in use. */
static ALWAYS_INLINE TARGET int settle(counters *self) {
    plane carry = no_bits();
    int level = 0;
    for (int64_t rounds = self->rounds; rounds != 0; rounds >>= 1, level++) {
        plane waiting = rounds & 1 ? self->waiting[level] : no_bits();
        carry = add_planes(&self->upper[level], waiting, carry);
    }
    return level;
}

/** Whether the next round of every list ends before row `end`. */
static ALWAYS_INLINE bool ends_before(next_rows from, int64_t start, int64_t end, int together) {
    bool ends = true;
    for (int i = 0; i < together; i++) ends &= from.lists[i][start + ROUND - 1] < UNIT * end;
    return ends;
}

/** Add rows from `start` on, in whole rounds that end before row `end`; return where it stopped. */
static ALWAYS_INLINE TARGET int64_t add_rows(
    counters *self, next_rows from, int64_t start, int64_t count, int64_t end, int together
) {
    plane low[4] = {self->low[0], self->low[1], self->low[2], self->low[3]};
    for (; start < count && ends_before(from, start, end, together); start += ROUND) {
        carry_up(self, add_16(low, from, start, together));
    }
    for (int i = 0; i < 4; i++) self->low[i] = low[i];
    return start;
}

/** Write the sums of the pixels of a vector; `active` and `sums` belong to the first of them. */
static ALWAYS_INLINE TARGET void write_sums(counters *self, const int32_t *active, int together, int32_t *sums) {
    int used = settle(self);
    const plane zero = no_bits();
    plane lower[8], upper[8];
    for (int i = 0; i < 4; i++) lower[i] = self->low[i];
    for (int i = 0; i < 4; i++) lower[4 + i] = i < used ? self->upper[i] : zero;
    for (int i = 0; i < 8; i++) upper[i] = 4 + i < min_of(used, UPPER) ? self->upper[4 + i] : zero;
    transpose_bits(lower);
    if (used > 4) transpose_bits(upper);
    int64_t bytes = VECTOR / together, block = 8 * bytes;
    for (int64_t bit = 0; bit < 8; bit++) {
        sums_of_8 eights[VECTOR / 8];
        join_bytes(lower[bit], upper[bit], eights);
        for (int64_t i = 0; i < VECTOR / 8; i++) {
            int64_t pixel = 8 * i / bytes;
            write_signed(eights[i], active[pixel], sums + pixel * block + bit * bytes + 8 * i % bytes);
        }
    }
}

static ALWAYS_INLINE TARGET void count_block(
    const fxbin_band *band, const fxbin_tile *tile, const uint8_t *weights, const uint16_t *lists,
    const int32_t *lengths, int together, int32_t *sums
) {
    int64_t list = row_list(band->shape), part = PART_BYTES / (VECTOR / together);
    counters counted[TILE];
    int64_t done[TILE] = {0};
    memset(counted, 0, (size_t)ceil_div(tile->pixels, together) * sizeof *counted);
    for (int64_t end = part;; end += part) {
        for (int64_t pixel = 0, i = 0; pixel < tile->pixels; pixel += together, i++) {
            next_rows from = {.weights = weights};
            for (int j = 0; j < together; j++) from.lists[j] = lists + (pixel + j) * list;
            done[i] = add_rows(&counted[i], from, done[i], lengths[pixel], end, together);
        }
        if (end >= rows_of(band->shape)) break;
    }
    for (int64_t pixel = 0, i = 0; pixel < tile->pixels; pixel += together, i++) {
        int32_t active[VECTOR / 8] = {0};
        for (int j = 0; j < min_of(together, tile->pixels - pixel); j++) active[j] = tile->active[pixel + j];
        write_sums(&counted[i], active, together, sums + pixel * (8 * VECTOR / together));
    }
}

static TARGET void count(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    (void)count;
    const fxbin_shape *shape = band->shape;
    const uint8_t *of_block = weights;
    of_block += (tile->group * blocks_of(shape) + first / block_of(shape)) * rows_of(shape) * row_bytes(shape);
    const uint16_t *lists = gathered;
    const int32_t *lengths = (const int32_t *)(const void *)(lists + TILE * row_list(shape));
    switch (pixels_of_vector(shape)) {
        case 1:
            count_block(band, tile, of_block, lists, lengths, 1, sums);
            break;
        case 2:
            count_block(band, tile, of_block, lists, lengths, 2, sums);
            break;
        default:
            count_block(band, tile, of_block, lists, lengths, 4, sums);
    }
}
