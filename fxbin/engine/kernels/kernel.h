/* The interface of a kernel: one way to count how many set weights meet inputs that fire. A new kernel is a file, and
 * a line in kernels.c.
 *
 * A kernel computes, for the pixels of a tile and a block of filters of one group,
 *
 *     sum = sum over the inputs that fire of (+1 where the weight's bit is set, else -1)
 *
 * All kernels give the same integers.
 */
#ifndef FXBIN_KERNEL_H
#define FXBIN_KERNEL_H

#include <stdbool.h>

#include "band.h"
#include "limits.h"

/** What the choice of a kernel depends on besides the shape. */
typedef struct {
    double share;   /**< of the inputs that fire */
    int64_t pixels; /**< of the output */
    bool has_limits; /**< whether `compare` can be used */
} fxbin_work;

typedef struct {
    const char *name;

    bool (*runs_here)(void);

    /** Whether the kernel computes convolutions of this shape. */
    bool (*takes)(const fxbin_shape *shape);

    /** Nanoseconds for one pixel and all filters, without what is the same for all kernels. Measured on Zen 4; only
     * the comparison between kernels matters. */
    double (*cost)(const fxbin_shape *shape, const fxbin_work *work);

    /** Nanoseconds for making the part of its form that belongs to one weight. */
    double prepare_cost;

    /** Bytes of its form of the weights, and a function that makes this form from `fxbin_call.weight_bits`. */
    int64_t (*weights_size)(const fxbin_shape *shape);
    void (*prepare_weights)(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights);

    /** Whether it reads the weights in an order that the CPU cannot predict. */
    bool jumps;

    /** Bytes of its form of the input for each pixel, and a function that makes that of a band. */
    int64_t (*pixel_size)(const fxbin_shape *shape);
    void (*prepare_band)(const fxbin_band *band, void *input);

    /** Bytes of the inputs of one tile, as `gather` writes them. */
    int64_t (*gathered_size)(const fxbin_shape *shape);
    void (*gather)(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered);

    /** Maximum number of pixels of a tile. */
    int64_t tile;

    /** Number of filters of a block; the last block of a group may be smaller. */
    int64_t (*block)(const fxbin_shape *shape);

    /** Writes the sums of the filters `first` .. `first` + `count` - 1 of the tile's group, those of pixel i
     * from sums + i * `block` on. May write more sums than `count`, up to a whole block. */
    void (*count)(
        const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered,
        int64_t first, int64_t count, int32_t *sums
    );

    /** May be null. Instead of sums, writes for each pixel a word whose bit i is set where the sum of filter
     * `first` + i is within its limit. A block then has at most 64 filters. `words` has room for MOST_TILE, at a
     * multiple of 64 bytes. */
    void (*compare)(
        const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered,
        int64_t first, int64_t count, const fxbin_limits *limits, uint64_t *words
    );
} fxbin_kernel;

/** Maximum number of pixels of a tile: for most kernels, and for any kernel. */
#define TILE 16
#define MOST_TILE 256

/** Bytes that a kernel may read past the end of its forms of weights and input, and of what it gathers. */
#define SLACK 64

#endif
