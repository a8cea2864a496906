/* The weights of pixelsliced.h: for three filters at a time, the inputs that each set of them adds.
 *
 * (groups, blocks of filters, threes, numbers of a three): the number of rounds of inputs of each set, then these
 * inputs, set by set, filled up to rounds with the plane of zeros. An input is its number among (taps, group_words, 64)
 * times UNIT.
 */
#ifndef FXBIN_PIXELSLICED_WEIGHTS_H
#define FXBIN_PIXELSLICED_WEIGHTS_H

#include "cpu.h"
#include "shape.h"
#include "weight_bits.h"

#define THREE 3
#define SETS (1 << THREE)
#define ROUND 8
#define BLOCK 64

/** Maximum number of planes of a tile: lists have 16 bits for the number of one times UNIT, which is at most 4. */
#define MOST_PLANES (65535 / 4)

static int64_t planes_of(const fxbin_shape *shape) {
    return taps_of(shape) * group_words(shape) * 64;
}

/** How many numbers a three has: each set has its inputs, filled up to rounds. */
static int64_t numbers_of(const fxbin_shape *shape) {
    return SETS + ceil_div(inputs_of(shape) + (SETS - 1) * (ROUND - 1), ROUND) * ROUND;
}

/** How many numbers a block has. */
static int64_t block_numbers(const fxbin_shape *shape) {
    return ceil_div(BLOCK, THREE) * numbers_of(shape);
}

static int64_t blocks_of(const fxbin_shape *shape) {
    return ceil_div(group_filters(shape), BLOCK);
}

static int64_t weights_size(const fxbin_shape *shape) {
    return shape->groups * blocks_of(shape) * block_numbers(shape) * (int64_t)sizeof(uint16_t);
}

/** The words of the weights of three filters, arranged like the inputs of a pixel. */
typedef struct {
    uint64_t of[THREE][MOST_PLANES / 64];
} three_words;

/** Read the words of `count` filters from number `first` on; 0 past them. */
static void read_words(
    const fxbin_shape *shape, const uint8_t *weight_bits, int64_t first, int64_t count, three_words *words
) {
    for (int64_t i = 0; i < THREE; i++) {
        uint64_t *to = words->of[i];
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            for (int64_t word = 0; word < group_words(shape); word++) {
                *to++ = i < count ? weight_word(shape, weight_bits, first + i, tap, 64 * word) : 0;
            }
        }
    }
}

/** The bits of one word where the weight is set in exactly the filters of `set`. */
static uint64_t bits_of_set(const three_words *words, int64_t word, int set) {
    uint64_t bits = UINT64_MAX;
    for (int i = 0; i < THREE; i++) bits &= set >> i & 1 ? words->of[i][word] : ~words->of[i][word];
    return bits;
}

/** Write the numbers of three filters. */
static void write_three(const fxbin_shape *shape, const three_words *words, uint16_t *rounds) {
    uint16_t *to = rounds + SETS;
    for (int set = 1; set < SETS; set++) {
        int64_t found = 0;
        for (int64_t word = 0; word < planes_of(shape) / 64; word++) {
            for (uint64_t bits = bits_of_set(words, word, set); bits != 0; bits &= bits - 1) {
                to[found++] = (uint16_t)(UNIT * (64 * word + __builtin_ctzll(bits)));
            }
        }
        while (found % ROUND) to[found++] = (uint16_t)(UNIT * planes_of(shape));
        rounds[set] = (uint16_t)(found / ROUND);
        to += found;
    }
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    three_words words;
    uint16_t *block = weights;
    int64_t filters = group_filters(shape);
    for (int64_t group = 0; group < shape->groups; group++) {
        for (int64_t first = 0; first < filters; first += BLOCK, block += block_numbers(shape)) {
            int64_t last = min_of(first + BLOCK, filters);
            uint16_t *to = block;
            for (int64_t i = first; i < last; i += THREE, to += numbers_of(shape)) {
                read_words(shape, weight_bits, group * filters + i, min_of(THREE, last - i), &words);
                write_three(shape, &words, to);
            }
        }
    }
}

/** The numbers of the block of a group that starts at its filter number `first`. */
static const uint16_t *block_at(const fxbin_shape *shape, const void *weights, int64_t group, int64_t first) {
    return (const uint16_t *)weights + (group * blocks_of(shape) + first / BLOCK) * block_numbers(shape);
}

#endif
