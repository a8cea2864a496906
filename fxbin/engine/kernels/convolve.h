/* `fxbin_convolve`, for weights that are used in one call or in many. */
#ifndef FXBIN_CONVOLVE_H
#define FXBIN_CONVOLVE_H

#include <stdbool.h>

#include "fxbin_engine.h"

/** Compute `call`. With `is_weight_new`, the kernel is chosen for this call alone, including the time for making its
 * form of the weight. */
int convolve(fxbin_weights *weights, const fxbin_call *call, bool is_weight_new);

#endif
