/* Weights standardized filter by filter, and the gradients: see `fxbin_standardize`. */
#include <math.h>
#include <stddef.h>

#include "check.h"
#include "cpu.h"
#include "shape.h"

/** Number of values that are computed together, and number of such turns that are summed in float32. */
#define LANES 16
#define TURNS 64

/** Variances and squares up to this one count as 0. */
#define NOTHING 1e-24

/** The sum of ``(a - shift)(b - shift)`` over `count` values. */
static ALWAYS_INLINE double product_of(const float *a, const float *b, int64_t count, float shift) {
    double sum = 0;
    for (int64_t i = 0; i < count;) {
        float sums[LANES] = {0};
        int64_t end = min_of(i + TURNS * LANES, count);
        for (; i + LANES <= end; i += LANES) {
            for (int lane = 0; lane < LANES; lane++) sums[lane] += (a[i + lane] - shift) * (b[i + lane] - shift);
        }
        for (int lane = 0; i < end; i++, lane++) sums[lane] += (a[i] - shift) * (b[i] - shift);
        for (int lane = 0; lane < LANES; lane++) sum += (double)sums[lane];
    }
    return sum;
}

static ALWAYS_INLINE double sum_of(const float *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count;) {
        float sums[LANES] = {0};
        int64_t end = min_of(i + TURNS * LANES, count);
        for (; i + LANES <= end; i += LANES) {
            for (int lane = 0; lane < LANES; lane++) sums[lane] += values[i + lane];
        }
        for (int lane = 0; i < end; i++, lane++) sums[lane] += values[i];
        for (int lane = 0; lane < LANES; lane++) sum += (double)sums[lane];
    }
    return sum;
}

/** `variance`, or the least one that counts for a filter with this `mean`. */
static ALWAYS_INLINE double bounded(double variance, double mean) {
    double least = FXBIN_LEAST_SPREAD * mean * (FXBIN_LEAST_SPREAD * mean);
    if (variance <= NOTHING && least <= NOTHING) return 1;
    return variance < least ? least : variance;
}

static ALWAYS_INLINE void standardize(const fxbin_standardize_call *call) {
    int64_t count = call->size / call->filters;
    for (int64_t f = 0; f < call->filters; f++) {
        const float *w = call->w + f * count;
        float *v = call->v + f * count, mean = call->means[f];
        double variance = bounded(product_of(w, w, count, mean) / (double)count, (double)mean);
        float inverse = (float)(1 / sqrt(variance + (double)call->smallest));
        call->inverses[f] = inverse;
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) v[i] = (w[i] - mean) * inverse;
    }
}

static ALWAYS_INLINE void write_gradients(const fxbin_standardize_call *call) {
    int64_t count = call->size / call->filters;
    for (int64_t f = 0; f < call->filters; f++) {
        const float *v = call->v + f * count;
        float *g = call->g + f * count, inverse = call->inverses[f];
        float mean = (float)(sum_of(g, count) / (double)count);
        float product = (float)(product_of(g, v, count, 0) / (double)count);
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) g[i] = inverse * (g[i] - mean - v[i] * product);
    }
}

#if FXBIN_X86
static AVX2 void standardize_avx2(const fxbin_standardize_call *call) {
    standardize(call);
}

static AVX2 void write_gradients_avx2(const fxbin_standardize_call *call) {
    write_gradients(call);
}
#endif

int fxbin_standardize(const fxbin_standardize_call *call) {
    int status = check_standardize(call, false);
    if (status != FXBIN_OK) return status;
#if FXBIN_X86
    if (cpu_has_avx2()) {
        standardize_avx2(call);
        return FXBIN_OK;
    }
#endif
    standardize(call);
    return FXBIN_OK;
}

int fxbin_standardize_gradients(const fxbin_standardize_call *call) {
    int status = check_standardize(call, true);
    if (status != FXBIN_OK) return status;
#if FXBIN_X86
    if (cpu_has_avx2()) {
        write_gradients_avx2(call);
        return FXBIN_OK;
    }
#endif
    write_gradients(call);
    return FXBIN_OK;
}
