/* Bit-sliced counters by AVX2: a full adder is 5 operations. */
#include "cpu.h"

#if FXBIN_X86

#define TARGET AVX2

#include "planes_avx2.h"

static ALWAYS_INLINE AVX2 plane add_planes(plane *sum, plane a, plane b) {
    plane differ = _mm256_xor_si256(a, b);
    plane carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(differ, *sum));
    *sum = _mm256_xor_si256(differ, *sum);
    return carry;
}

#include "bitsliced.h"

static double cost(const fxbin_shape *shape, double share) {
    return cost_by(shape, share, (step_costs){0.40, 0.60, 1.75, 90, 0.06, 20});
}

const fxbin_kernel bitsliced_avx2_kernel = {
    .name = "bitsliced_avx2",
    .runs_here = cpu_has_avx2,
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
