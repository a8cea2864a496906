/* Bit-sliced sums of 256 pixels with AVX-512: a full adder is 2 operations. */
#include "cpu.h"

#if FXBIN_X86

#define TARGET AVX512

#include "logic_avx512.h"
#include "gather_bits.h"
#include "pixelsliced.h"

static double cost(const fxbin_shape *shape, const fxbin_work *work) {
    return cost_by(shape, work, (step_costs){0.18, 100, 45});
}

const fxbin_kernel pixelsliced_avx512_kernel = {
    .name = "pixelsliced_avx512",
    .runs_here = cpu_has_avx512,
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
