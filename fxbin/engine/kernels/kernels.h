/* The kernels there are, and which one is best. */
#ifndef FXBIN_KERNELS_H
#define FXBIN_KERNELS_H

#include "kernel.h"

#define MAX_KERNELS 8

/** Number `index` of the kernels that this CPU runs; null past the last one. */
const fxbin_kernel *kernel_at(int64_t index);

/** The kernel called `name`, for this shape; null if there is none here, or if it does not take the shape. */
const fxbin_kernel *kernel_named(const char *name, const fxbin_shape *shape);

/** The fastest kernel for a shape, of those whose number is set in `candidates`, or, where that is null, of all. */
const fxbin_kernel *best_kernel(const fxbin_shape *shape, const fxbin_work *work, const bool *candidates);

/** The fastest kernel for a weight that only so many pictures of so many pixels of the output see, whatever share of
 * inputs fires. */
const fxbin_kernel *best_kernel_once(const fxbin_shape *shape, int64_t pictures, int64_t pixels);

#endif
