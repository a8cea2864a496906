/* Bit-sliced counters with AVX2: a full adder is 5 operations. */
#include "cpu.h"

#if FXBIN_X86

#define TARGET AVX2

#include "logic_avx2.h"
#include "bitsliced.h"

static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    return cost_by(shape, work->share, (step_costs){0.40, 0.60, 1.75, 90, 0.06, 20});
}

const fxbin_kernel bitsliced_avx2_kernel = {
    .name = "bitsliced_avx2",
    .runs_here = cpu_has_avx2,
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
