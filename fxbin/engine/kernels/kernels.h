/* The list of kernels, and the choice of the fastest one. */
#ifndef FXBIN_KERNELS_H
#define FXBIN_KERNELS_H

#include "kernel.h"

#define MAX_KERNELS 8

/** Number `index` of the kernels that this CPU can run; null past the last one. */
const fxbin_kernel *kernel_at(int64_t index);

/** The kernel called `name`; null if this CPU cannot run it, or if it does not take the shape. */
const fxbin_kernel *kernel_named(const char *name, const fxbin_shape *shape);

/** The fastest kernel for a shape, of those whose number is set in `candidates`, or of all if that is null. */
const fxbin_kernel *best_kernel(const fxbin_shape *shape, const fxbin_work *work, const bool *candidates);

/** The fastest kernel for a weight that is used only for `pictures` pictures with `pixels` pixels of output each, where
 * half of the inputs fire. */
const fxbin_kernel *best_kernel_once(const fxbin_shape *shape, int64_t pictures, int64_t pixels);

#endif
