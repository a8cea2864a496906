/* The derivatives of `fxbin_estimator` but FXBIN_WINDOW, which depends on more than u. */
#ifndef FXBIN_DERIVATIVE_H
#define FXBIN_DERIVATIVE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "choose.h"
#include "cpu.h"
#include "fxbin_engine.h"

/* Without conditions around products and without calls, loops over these functions are vectorized. NaN stays NaN, but
 * where u is only compared with a bound. */

/** The exponential of z from -80 to 0, up to two units in the last place. */
static ALWAYS_INLINE float exp_of(float z) {
    // z / log(2) is rounded by adding a number whose last place is 1; its last bits then are the whole number.
    const float rounding = 12582912, log_2_high = 0.693359375f, log_2_low = -2.12194440e-4f;
    float shifted = z * 1.44269504f + rounding, whole = shifted - rounding;
    float r = z - whole * log_2_high - whole * log_2_low;
    float sum = 1.9875691500e-4f;
    sum = sum * r + 1.3981999507e-3f;
    sum = sum * r + 8.3334519073e-3f;
    sum = sum * r + 4.1665795894e-2f;
    sum = sum * r + 1.6666665459e-1f;
    sum = sum * r + 5.0000001201e-1f;
    sum = sum * r * r + r + 1;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/** u, or the bound of its sign if it is further from 0. */
static ALWAYS_INLINE float clamped(float u, float bound) {
    u = choose(u < -bound, -bound, u);
    return choose(u > bound, bound, u);
}

/** The magnitude of u from which on the derivative does not change any more, or is too small for a float. */
static ALWAYS_INLINE float bound_of(int64_t estimator, float parameter) {
    if (estimator == FXBIN_APPROX_SIGN) return 1;
    if (estimator == FXBIN_EDE) return 40 / parameter;
    if (estimator == FXBIN_SWISH_SIGN) return 80 / parameter;
    return INFINITY;
}

/** ``g e(u)``, where e is the derivative. u is `clamped` at `bound_of`. */
static ALWAYS_INLINE float passed_by(int64_t estimator, float g, float u, float parameter, float peak) {
    float size = fabsf(u);
    switch (estimator) {
    case FXBIN_APPROX_SIGN:
        return g * (2 - 2 * size);
    case FXBIN_CLIPPED:
        return choose(size <= parameter, g, 0);
    case FXBIN_EDE: {
        // 1 - tanh(z) ** 2 = 4 q / (1 + q) ** 2, where q = exp(-2 |z|).
        float q = exp_of(-2 * (parameter * size)), one_more = 1 + q;
        return g * (peak * (4 * q / (one_more * one_more)));
    }
    case FXBIN_SWISH_SIGN: {
        // With q = exp(-|z|): 1 / (1 + cosh(z)) = 2 q / (1 + q) ** 2, tanh(|z| / 2) = (1 - q) / (1 + q).
        float z = parameter * size, q = exp_of(-z), one_more = 1 + q;
        float rest = 2 - z * ((1 - q) / one_more);
        return g * (parameter * rest * (2 * q / (one_more * one_more)));
    }
    default:
        return g;
    }
}

#endif
