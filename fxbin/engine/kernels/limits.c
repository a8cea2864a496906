#include "limits.h"

#include <math.h>
#include <stddef.h>

#include "cpu.h"

bool has_limits(const fxbin_coefficients *c) {
    const fxbin_call *call = c->call;
    if (call->y.data != NULL || call->residual.data != NULL || call->activation == FXBIN_PRELU) return false;
    if (c->middle != NULL || c->excess != NULL) return false;
    for (int64_t f = 0; f < c->shape->filters; f++) {
        if (!isfinite(c->factor[f]) || !isfinite(c->bias[f])) return false;
    }
    return true;
}

/** Bisect for all filters side by side. y is computed as in the epilogue, so that every bit is the same. */
static ALWAYS_INLINE void bisect(const fxbin_coefficients *c, int32_t most, int32_t *least, int32_t *is_falling) {
    const float *threshold = c->call->y_thresholds;
    int64_t activation = c->call->activation;
    int32_t step = 1;
    while (step <= most) step *= 2;
    for (int64_t f = 0; f < c->shape->filters; f++) {
        least[f] = -most;
        is_falling[f] = c->factor[f] < 0;
    }
    for (; step > 0; step /= 2) {
        INDEPENDENT
        for (int64_t f = 0; f < c->shape->filters; f++) {
            int32_t sum = least[f] + step - 1;
            float y = c->factor[f] * (float)sum + c->bias[f];
            y = activated(y, activation);
            bool is_reached = (int32_t)(y > threshold[f]) != is_falling[f];
            least[f] += (is_reached | (sum > most)) ? 0 : step;
        }
    }
}

#if FXBIN_X86
static AVX2 void bisect_avx2(const fxbin_coefficients *c, int32_t most, int32_t *least, int32_t *is_falling) {
    bisect(c, most, least, is_falling);
}
#endif

fxbin_limits limits_of(const fxbin_coefficients *c, int32_t *storage) {
    int32_t *least = storage, *is_falling = storage + c->shape->filters;
    int32_t most = (int32_t)inputs_of(c->shape);
#if FXBIN_X86
    if (cpu_has_avx2()) {
        bisect_avx2(c, most, least, is_falling);
        return (fxbin_limits){least, is_falling};
    }
#endif
    bisect(c, most, least, is_falling);
    return (fxbin_limits){least, is_falling};
}
