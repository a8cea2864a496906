/* Bit-sliced counters by AVX-512 on vectors of 256 bits: a full adder is 2 operations. */
#include "cpu.h"

#if FXBIN_X86

#define TARGET AVX512

#include "planes_avx2.h"

/** Truth tables of three planes: an odd number is set; at least two are. */
#define ODD 0x96
#define MOST 0xe8

static ALWAYS_INLINE AVX512 plane add_planes(plane *sum, plane a, plane b) {
    plane carry = _mm256_ternarylogic_epi64(a, b, *sum, MOST);
    *sum = _mm256_ternarylogic_epi64(a, b, *sum, ODD);
    return carry;
}

#include "bitsliced.h"

static double cost(const fxbin_shape *shape, double share) {
    return cost_by(shape, share, (step_costs){0.30, 0.53, 1.75, 90, 0.06, 20});
}

const fxbin_kernel bitsliced_avx512_kernel = {
    .name = "bitsliced_avx512",
    .runs_here = cpu_has_avx512,
    .takes = takes,
    .cost = cost,
    .weights_size = weights_size,
    .prepare_weights = prepare_weights,
    .pixel_size = pixel_size,
    .prepare_band = prepare_band,
    .gathered_size = gathered_size,
    .gather = gather,
    .block = block_of,
    .count = count,
};

#endif
