/* The forms of one weight, each of which is made when it is needed, and freed when no call has used it for long. */
#ifndef FXBIN_WEIGHTS_H
#define FXBIN_WEIGHTS_H

#include "kernel.h"

const fxbin_shape *shape_of(const fxbin_weights *weights);

/** By number of a kernel, whether it is the fastest for some share of inputs that fire, for an output of so many pixels
 * and for calls with or without limits. */
const bool *ever_best(const fxbin_weights *weights, int64_t pixels, bool has_limits);

/** To be called before the first form is asked for, and after the last one has been used. */
void begin_call(fxbin_weights *weights);
void end_call(fxbin_weights *weights);

/** The weights in the form for `kernel`; null if there is no memory for it. */
const void *weights_for(fxbin_weights *weights, const fxbin_kernel *kernel, const uint8_t *weight_bits);

/** How far the set bits outnumber the others, of each filter, over the taps above and left of a tap:
 * (kernel height + 1, kernel width + 1, filters). Null if there is no memory for it. */
const int32_t *excess_of_ones(fxbin_weights *weights, const uint8_t *weight_bits);

#endif
