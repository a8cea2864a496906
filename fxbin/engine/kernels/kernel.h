/* What a kernel is: one way to count which set weights meet inputs that fire. A new one is a file, and a line in
 * kernels.c.
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

/** What the choice of a kernel depends on beside the shape. */
typedef struct {
    double share;   /**< of the inputs that fires */
    int64_t pixels; /**< of the output */
    bool has_limits; /**< whether `compare` will do */
} fxbin_work;

typedef struct {
    const char *name;

    bool (*runs_here)(void);

    /** Whether the kernel computes convolutions of this shape. */
    bool (*takes)(const fxbin_shape *shape);

    /** Nanoseconds for one pixel and all filters, beyond what is the same for all kernels. Measured on Zen 4; what
     * counts is which kernel has the lowest. */
    double (*cost)(const fxbin_shape *shape, const fxbin_work *work);

    /** Nanoseconds for making one weight's part of its form. */
    double prepare_cost;

    /** Bytes of its form of the weights, and how it is made of those of `fxbin_call.weight_bits`. */
    int64_t (*weights_size)(const fxbin_shape *shape);
    void (*prepare_weights)(const fxbin_shape *shape, const uint8_t *weight_bits, void *weights);

    /** Whether it jumps about the weights, which the CPU cannot foresee. */
    bool jumps;

    /** Bytes of its form of the input, for each pixel, and how that of a band is made. */
    int64_t (*pixel_size)(const fxbin_shape *shape);
    void (*prepare_band)(const fxbin_band *band, void *input);

    /** Bytes of the inputs of one tile, as `gather` writes them. */
    int64_t (*gathered_size)(const fxbin_shape *shape);
    void (*gather)(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered);

    /** Most pixels of a tile. */
    int64_t tile;

    /** Filters of a block; the last block of a group may be smaller. */
    int64_t (*block)(const fxbin_shape *shape);

    /** Write the sums of the filters `first` .. `first` + `count` - 1 of the tile's group, those of pixel i
     * from sums + i * `block` on. It may write more sums than `count`, up to a whole block. */
    void (*count)(
        const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered,
        int64_t first, int64_t count, int32_t *sums
    );

    /** Null, or: write no sums, but for each pixel a word whose bit i is set where the sum of filter `first` + i is
     * within its limit. A block then has at most 64 filters. `words` has room for MOST_TILE at a multiple of 64. */
    void (*compare)(
        const fxbin_band *band, const fxbin_tile *tile, const void *weights, const void *gathered,
        int64_t first, int64_t count, const fxbin_limits *limits, uint64_t *words
    );
} fxbin_kernel;

/** Most pixels of a tile: of most kernels, and of any. */
#define TILE 16
#define MOST_TILE 256

/** Bytes that a kernel may read past the end of its forms of weights and input, and of what it gathers. */
#define SLACK 64

#endif
