#include "kernels.h"

#include <math.h>
#include <string.h>

#include "cpu.h"

extern const fxbin_kernel portable_kernel;
#if FXBIN_X86
extern const fxbin_kernel popcnt_kernel, lookup_avx2_kernel, bitsliced_avx2_kernel, bitsliced_avx512_kernel;
extern const fxbin_kernel popcnt_avx512_kernel, pixelsliced_avx2_kernel, pixelsliced_avx512_kernel;
#endif
#if FXBIN_ARM64
extern const fxbin_kernel popcnt_neon_kernel, bitsliced_neon_kernel, pixelsliced_neon_kernel;
#endif

static const fxbin_kernel *const all[] = {
    &portable_kernel,
#if FXBIN_X86
    &popcnt_kernel,
    &lookup_avx2_kernel,
    &bitsliced_avx2_kernel,
    &bitsliced_avx512_kernel,
    &popcnt_avx512_kernel,
    &pixelsliced_avx2_kernel,
    &pixelsliced_avx512_kernel,
#endif
#if FXBIN_ARM64
    &popcnt_neon_kernel,
    &bitsliced_neon_kernel,
    &pixelsliced_neon_kernel,
#endif
};

_Static_assert(sizeof all / sizeof *all <= MAX_KERNELS, "MAX_KERNELS is too small");

const fxbin_kernel *kernel_at(int64_t index) {
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]->runs_here() && index-- == 0) return all[i];
    }
    return NULL;
}

const fxbin_kernel *kernel_named(const char *name, const fxbin_shape *shape) {
    for (int64_t i = 0; kernel_at(i) != NULL; i++) {
        if (strcmp(kernel_at(i)->name, name) == 0) return kernel_at(i)->takes(shape) ? kernel_at(i) : NULL;
    }
    return NULL;
}

/** Nanoseconds for bringing a byte of a form of the weights into the first cache, from which the other layers of a network
 * have displaced it. `fxbin_kernel.cost` leaves this out. */
#define COST_OF_A_BYTE 0.05

/** The fastest kernel, if its `prepare_cost` counts `prepare` times for each pixel. */
static const fxbin_kernel *fastest(
    const fxbin_shape *shape, const fxbin_work *work, double prepare, const bool *candidates
) {
    const fxbin_kernel *best = NULL;
    double least = INFINITY;
    for (int64_t i = 0; kernel_at(i) != NULL; i++) {
        const fxbin_kernel *kernel = kernel_at(i);
        if (!kernel->takes(shape) || (candidates != NULL && !candidates[i])) continue;
        double cost = kernel->cost(shape, work) + prepare * kernel->prepare_cost;
        cost += COST_OF_A_BYTE * (double)kernel->weights_size(shape) / (double)work->pixels;
        if (cost >= least) continue;
        best = kernel;
        least = cost;
    }
    return best;
}

const fxbin_kernel *best_kernel(const fxbin_shape *shape, const fxbin_work *work, const bool *candidates) {
    return fastest(shape, work, 0, candidates);
}

const fxbin_kernel *best_kernel_once(const fxbin_shape *shape, int64_t pictures, int64_t pixels) {
    fxbin_work work = {.share = 0.5, .pixels = pixels};
    double weights = (double)(shape->filters * inputs_of(shape));
    return fastest(shape, &work, weights / (double)(pictures * pixels), NULL);
}

const char *fxbin_kernel_name(int64_t index) {
    const fxbin_kernel *kernel = index < 0 ? NULL : kernel_at(index);
    return kernel == NULL ? NULL : kernel->name;
}

int64_t fxbin_abi_version(void) {
    return FXBIN_ABI_VERSION;
}
