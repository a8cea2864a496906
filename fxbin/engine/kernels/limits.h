/* The sum from which on y is above its threshold, which gives the bits of y without y. */
#ifndef FXBIN_LIMITS_H
#define FXBIN_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "epilogue.h"

/** For each filter: y > threshold where sum >= `least`, or, if `is_falling` is not 0, where sum < `least`. */
typedef struct {
    const int32_t *least, *is_falling;
} fxbin_limits;

/** Number of integers that the limits of a call take. */
static inline int64_t limits_size(const fxbin_shape *shape) {
    return 2 * shape->filters;
}

/** Whether y is wanted only as bits, and is a monotonic function of the sum of a filter: there is no residual, no level
 * that depends on the pixel, no PReLU, whose slope may be negative, and all numbers are finite. */
bool has_limits(const fxbin_coefficients *coefficients);

/** Compute the limits, in `storage`, of a call for which `has_limits` is true. */
fxbin_limits limits_of(const fxbin_coefficients *coefficients, int32_t *storage);

#endif
