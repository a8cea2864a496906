#include "kernels.h"

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

const fxbin_kernel *best_kernel(const fxbin_shape *shape, const fxbin_work *work, const bool *candidates) {
    const fxbin_kernel *best = NULL;
    for (int64_t i = 0; kernel_at(i) != NULL; i++) {
        const fxbin_kernel *kernel = kernel_at(i);
        if (!kernel->takes(shape) || (candidates != NULL && !candidates[i])) continue;
        if (best == NULL || kernel->cost(shape, work) < best->cost(shape, work)) best = kernel;
    }
    return best;
}

const char *fxbin_kernel_name(int64_t index) {
    const fxbin_kernel *kernel = index < 0 ? NULL : kernel_at(index);
    return kernel == NULL ? NULL : kernel->name;
}

int64_t fxbin_abi_version(void) {
    return FXBIN_ABI_VERSION;
}
