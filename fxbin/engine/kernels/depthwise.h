/* Convolutions whose every channel is a group with one filter. */
#ifndef FXBIN_DEPTHWISE_H
#define FXBIN_DEPTHWISE_H

#include "kernel.h"

/** It does not count bits of one channel, but channels side by side: its band is that of a shape with one group, and
 * so is its tile. The sums are right; which inputs of a channel fire is not told apart in `fxbin_tile.active`. */
extern const fxbin_kernel depthwise_kernel;

#endif
