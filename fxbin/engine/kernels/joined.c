#include "joined.h"

#include "kernels.h"

/** Nanoseconds for one pixel and one group, in addition to `fxbin_kernel.cost`, if one group is computed after the
 * other, because inputs are gathered and outputs finished for each group. Measured like `cost`. */
#define GROUP_COST 10

const fxbin_kernel *joined_kernel(const fxbin_shape *shape) {
    if (depthwise_kernel.takes(shape)) return &depthwise_kernel;
    if (shape->groups == 1 || !narrow_groups_kernel.takes(shape)) return NULL;
    const fxbin_work work = {.share = 0.5, .pixels = 1024};
    double apart = best_kernel(shape, &work, NULL)->cost(shape, &work) + GROUP_COST * (double)shape->groups;
    return narrow_groups_kernel.cost(shape, &work) < apart ? &narrow_groups_kernel : NULL;
}
