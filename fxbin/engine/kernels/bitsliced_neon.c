/* Bit-sliced counters with NEON: a full adder is 3 operations. */
#include "cpu.h"

#if FXBIN_ARM64

#include "planes_neon.h"
#include "bitsliced.h"

/** Not measured, but estimated from the instructions of a round (180, 195 and 260 with one, two and four pixels in a
 * vector, 90 of them vector operations) and of writing (about 500), on a core of 3 GHz that decodes 4 a cycle and has
 * two vector pipes, as Cortex-A76 and Neoverse N1 do. */
static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    return cost_by(shape, work->share, (step_costs){1.1, 1.2, 1.6, 130, 0.12, 30});
}

const fxbin_kernel bitsliced_neon_kernel = {
    .name = "bitsliced_neon",
    .runs_here = cpu_has_neon,
    .takes = takes,
    .cost = cost,
    .prepare_cost = 6.7,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .jumps = true,
    .pixel_size = pixel_size,
    .prepare_band = prepare_band,
    .gathered_size = gathered_size,
    .gather = gather,
    .tile = TILE,
    .block = block_of,
    .count = count,
};

#endif
