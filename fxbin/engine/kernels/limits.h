/* From which sum on y is above its threshold: the bits of y without y. */
#ifndef FXBIN_LIMITS_H
#define FXBIN_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "epilogue.h"

/** By filter: y > threshold where sum >= `least`, or, where `is_falling` is not 0, where sum < `least`. */
typedef struct {
    const int32_t *least, *is_falling;
} fxbin_limits;

/** Numbers that the limits of a call take. */
static inline int64_t limits_size(const fxbin_shape *shape) {
    return 2 * shape->filters;
}

/** Whether y is wanted as bits alone, and follows from the sum of a filter by a function that only rises or only
 * falls: no residual, no levels that depend on the pixel, no PReLU, whose slope may be negative, and finite numbers. */
bool has_limits(const fxbin_coefficients *coefficients);

/** Find the limits of a call that has some, in `storage`. */
fxbin_limits limits_of(const fxbin_coefficients *coefficients, int32_t *storage);

#endif
