/* `fxbin_convolve`, for weights of one call and of many. */
#ifndef FXBIN_CONVOLVE_H
#define FXBIN_CONVOLVE_H

#include <stdbool.h>

#include "fxbin_engine.h"

/** Compute `call`. With `is_weight_new`, a kernel is chosen for this call alone, which pays for its form of the
 * weight. */
int convolve(fxbin_weights *weights, const fxbin_call *call, bool is_weight_new);

#endif
