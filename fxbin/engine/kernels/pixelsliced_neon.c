/* Bit-sliced sums of 256 pixels with NEON: a full adder is 3 operations. */
#include "cpu.h"

#if FXBIN_ARM64

#include "planes_neon.h"
#include "gather_bits.h"
#include "pixelsliced.h"

/** Not measured, but estimated from the instructions for a plane, 6 of them vector operations, and half as many for the
 * work on sums, on a core of 3 GHz with two vector pipes, as Cortex-A76 and Neoverse N1 are. */
static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    return cost_by(shape, work, (step_costs){0.5, 250, 100});
}

const fxbin_kernel pixelsliced_neon_kernel = {
    .name = "pixelsliced_neon",
    .runs_here = cpu_has_neon,
    .takes = takes,
    .cost = cost,
    .prepare_cost = 20,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = no_pixel_size,
    .prepare_band = no_preparation,
    .gathered_size = gathered_size,
    .gather = gather,
    .tile = PIXELS,
    .block = block_of,
    .count = count,
    .compare = compare,
};

#endif
