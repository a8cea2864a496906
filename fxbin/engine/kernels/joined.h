/* Kernels that compute all groups together, where a group has few channels.
 *
 * They work on channels or filters side by side, whatever groups these belong to. So their band and their tile are
 * packed as for a shape with one group; `fxbin_band.conv` has the groups. The sums are correct, but `fxbin_tile.active`
 * counts the firing inputs of all groups together.
 */
#ifndef FXBIN_JOINED_H
#define FXBIN_JOINED_H

#include "kernel.h"

extern const fxbin_kernel depthwise_kernel, narrow_groups_kernel;

/** The fastest of them for this shape; null if computing one group after the other is faster. */
const fxbin_kernel *joined_kernel(const fxbin_shape *shape);

#endif
