/* Bit-sliced counters with AVX-512 on vectors of 256 bits: a full adder is 2 operations. */
#include "cpu.h"

#if FXBIN_X86

#define TARGET AVX512

#include "logic_avx512.h"
#include "bitsliced.h"

static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    return cost_by(shape, work->share, (step_costs){0.30, 0.53, 1.75, 90, 0.06, 20});
}

const fxbin_kernel bitsliced_avx512_kernel = {
    .name = "bitsliced_avx512",
    .runs_here = cpu_has_avx512,
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
