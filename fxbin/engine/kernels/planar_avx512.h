/* The kernel that counts across pixels and writes planes of floats. It computes whole bands. */
#ifndef FXBIN_PLANAR_AVX512_H
#define FXBIN_PLANAR_AVX512_H

#include "epilogue.h"
#include "kernel.h"
#include "window_levels.h"

/** Its cost and its form of the weights; it has no functions for tiles. On another CPU than x86, it never runs. */
extern const fxbin_kernel planar_avx512_kernel;

/** Number of bytes of its form of the input for so many pixels of the output. */
int64_t planar_input_size(const fxbin_shape *shape, int64_t out_pixels);

/** Number of pixels that it computes, divided by the number of pixels of the output. */
double planar_excess(int64_t out_pixels);

/** Compute a band; `y` is the address of its first pixel and first filter. `levels` is what is added to the sums, or null
 * if that is the bias alone. */
void run_planar(
    const fxbin_coefficients *c, const fxbin_band *band, const void *weights, uint64_t *input, float *y,
    const fxbin_window_levels *levels
);

#endif
