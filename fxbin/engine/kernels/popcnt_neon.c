/* Counts bits with the NEON instruction that counts the bits of each byte.
 *
 *     sum = 2 popcount(a & w) - popcount(a)
 *
 * A byte of a pixel is repeated and combined with that byte of 16 filters. So each lane is a filter, and nothing is
 * ever added across lanes: and, count and add process 8 inputs of 16 filters. A lane holds the counts of STEP bytes
 * before it is added to one of 16 bits.
 *
 * Weights: (blocks of 64 filters, taps, tap_bytes, 64 filters).
 * Gathered: (pixels, taps, tap_bytes), 0 outside the picture.
 */
#include "cpu.h"

#if FXBIN_ARM64

#include <arm_neon.h>
#include <string.h>

#include "gather_bits.h"
#include "weight_bits.h"

#define BLOCK 64
#define LANES 16
#define VECTORS (BLOCK / LANES)
#define PIXELS 4

/** Number of bytes whose bits can be counted in 8 bits: 31 * 8 < 256. */
#define STEP 31

static bool takes(const fxbin_shape *shape) {
    return inputs_of(shape) <= UINT16_MAX;
}

static int64_t bytes_of_filter(const fxbin_shape *shape) {
    return taps_of(shape) * tap_bytes(shape);
}

/** Not measured, but estimated from the instructions of the inner loop, 13 vector operations for a byte of 4 pixels by
 * 16 filters, on a core of 3 GHz with two vector pipes, as Cortex-A76 and Neoverse N1 are. */
static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    (void)work;
    double vectors = (double)ceil_div(group_filters(shape), LANES);
    return (double)shape->groups * (vectors * (0.56 * (double)bytes_of_filter(shape) + 3) + 20);
}

static int64_t block_of(const fxbin_shape *shape) {
    (void)shape;
    return BLOCK;
}

static int64_t weights_size(const fxbin_shape *shape) {
    return shape->groups * ceil_div(group_filters(shape), BLOCK) * bytes_of_filter(shape) * BLOCK;
}

static void prepare_weights(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights) {
    int64_t filters = group_filters(shape), blocks = ceil_div(filters, BLOCK), bytes = tap_bytes(shape);
    memset(weights, 0, (size_t)weights_size(shape));
    for (int64_t filter = 0; filter < shape->filters; filter++) {
        int64_t inside = filter % filters, block = filter / filters * blocks + inside / BLOCK;
        uint8_t *to = (uint8_t *)weights + block * bytes_of_filter(shape) * BLOCK + inside % BLOCK;
        for (int64_t tap = 0; tap < taps_of(shape); tap++) {
            for (int64_t byte = 0; byte < bytes; byte++, to += BLOCK) {
                uint64_t word = weight_word(shape, weight_bits, filter, tap, byte / 8 * 64);
                *to = (uint8_t)(word >> (byte % 8 * 8));
            }
        }
    }
}

/** Gather like `gather_bits`, without the bytes at the end of each tap that hold no channel. */
static void gather(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    gather_bits(band, input, tile, gathered);
    int64_t bytes = tap_bytes(band->shape), apart = group_words(band->shape) * (int64_t)sizeof(uint64_t);
    if (bytes == apart) return;
    const uint8_t *from = gathered;
    uint8_t *to = gathered;
    for (int64_t tap = 0; tap < tile->pixels * taps_of(band->shape); tap++, from += apart, to += bytes) {
        memmove(to, from, (size_t)bytes);
    }
}

/** The counts of 16 filters. */
typedef struct {
    uint16x8_t low, high;
} counts_of_16;

/** Write 2 * both - active of 8 filters. */
static ALWAYS_INLINE void write_signed(uint16x8_t both, int32_t active, int32_t *to) {
    int32x4_t low = vreinterpretq_s32_u32(vshll_n_u16(vget_low_u16(both), 1));
    int32x4_t high = vreinterpretq_s32_u32(vshll_high_n_u16(both, 1));
    vst1q_s32(to, vsubq_s32(low, vdupq_n_s32(active)));
    vst1q_s32(to + 4, vsubq_s32(high, vdupq_n_s32(active)));
}

/** Add the counts of up to STEP bytes. */
static ALWAYS_INLINE void count_step(
    const uint8_t *bits, const uint8_t *weights, int64_t bytes, int64_t step, int pixels, int vectors,
    counts_of_16 both[PIXELS][VECTORS]
) {
    uint8x16_t counts[PIXELS][VECTORS];
    for (int p = 0; p < pixels; p++) {
        for (int v = 0; v < vectors; v++) counts[p][v] = vdupq_n_u8(0);
    }
    for (int64_t i = 0; i < step; i++, weights += BLOCK) {
        uint8x16_t w[VECTORS];
        for (int v = 0; v < vectors; v++) w[v] = vld1q_u8(weights + v * LANES);
        for (int p = 0; p < pixels; p++) {
            uint8x16_t a = vld1q_dup_u8(bits + p * bytes + i);
            for (int v = 0; v < vectors; v++) {
                counts[p][v] = vaddq_u8(counts[p][v], vcntq_u8(vandq_u8(a, w[v])));
            }
        }
    }
    for (int p = 0; p < pixels; p++) {
        for (int v = 0; v < vectors; v++) {
            both[p][v].low = vaddw_u8(both[p][v].low, vget_low_u8(counts[p][v]));
            both[p][v].high = vaddw_high_u8(both[p][v].high, counts[p][v]);
        }
    }
}

/** Count `pixels` pixels by `vectors` times 16 filters. */
static ALWAYS_INLINE void count_pixels(
    const uint8_t *bits, const uint8_t *weights, int64_t bytes, int pixels, int vectors, const int32_t *active,
    int32_t *sums
) {
    counts_of_16 both[PIXELS][VECTORS];
    for (int p = 0; p < pixels; p++) {
        for (int v = 0; v < vectors; v++) both[p][v].low = both[p][v].high = vdupq_n_u16(0);
    }
    for (int64_t i = 0; i < bytes; i += STEP) {
        count_step(bits + i, weights + i * BLOCK, bytes, min_of(bytes - i, STEP), pixels, vectors, both);
    }
    for (int p = 0; p < pixels; p++) {
        for (int v = 0; v < vectors; v++) {
            int32_t *to = sums + p * BLOCK + v * LANES;
            write_signed(both[p][v].low, active[p], to);
            write_signed(both[p][v].high, active[p], to + 8);
        }
    }
}

static ALWAYS_INLINE void count_tile(
    const fxbin_tile *tile, const uint8_t *bits, const uint8_t *weights, int64_t bytes, int vectors, int32_t *sums
) {
    int64_t pixel = 0;
    for (; pixel + PIXELS <= tile->pixels; pixel += PIXELS) {
        const uint8_t *from = bits + pixel * bytes;
        count_pixels(from, weights, bytes, PIXELS, vectors, tile->active + pixel, sums + pixel * BLOCK);
    }
    for (; pixel < tile->pixels; pixel++) {
        const uint8_t *from = bits + pixel * bytes;
        count_pixels(from, weights, bytes, 1, vectors, tile->active + pixel, sums + pixel * BLOCK);
    }
}

static void count(
    const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered, int64_t first,
    int64_t count, int32_t *sums
) {
    int64_t bytes = bytes_of_filter(band->shape), blocks = ceil_div(group_filters(band->shape), BLOCK);
    const uint8_t *of_block = weights;
    of_block += (tile->group * blocks + first / BLOCK) * bytes * BLOCK;
    switch (ceil_div(count, LANES)) {
        case 1:
            count_tile(tile, gathered, of_block, bytes, 1, sums);
            break;
        case 2:
            count_tile(tile, gathered, of_block, bytes, 2, sums);
            break;
        case 3:
            count_tile(tile, gathered, of_block, bytes, 3, sums);
            break;
        default:
            count_tile(tile, gathered, of_block, bytes, 4, sums);
    }
}

const fxbin_kernel popcnt_neon_kernel = {
    .name = "popcnt_neon",
    .runs_here = cpu_has_neon,
    .takes = takes,
    .cost = cost,
    .prepare_cost = 0.5,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = no_pixel_size,
    .prepare_band = no_preparation,
    .gathered_size = gathered_bits_size,
    .gather = gather,
    .tile = TILE,
    .block = block_of,
    .count = count,
};

#endif
