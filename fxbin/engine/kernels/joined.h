/* Kernels that compute all groups together, where a group has few channels.
 *
 * They work on channels or filters side by side, whatever groups these belong to. So the band that they are given is
 * packed as that of a shape with one group, and so is the tile; `fxbin_band.conv` has the groups. The sums are right;
 * which inputs of a group fire is not told apart in `fxbin_tile.active`.
 */
#ifndef FXBIN_JOINED_H
#define FXBIN_JOINED_H

#include "kernel.h"

extern const fxbin_kernel depthwise_kernel, narrow_groups_kernel;

/** The best of them for this shape; null where one group after the other is faster. */
const fxbin_kernel *joined_kernel(const fxbin_shape *shape);

#endif
