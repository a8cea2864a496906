/* The end of the backward of two-level weights: see `fxbin_weight_call`. */
#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "cpu.h"
#include "derivative.h"
#include "shape.h"

/** Number of values that are computed together, and number of such turns that are summed in float32. */
#define LANES 16
#define TURNS 64

/** What is the same for all weights of a filter. */
typedef struct {
    float factor, parameter, peak, bound;
} filter;

/** Write the gradient of one weight in place of `g`, and add its share of the product to `product`. */
static ALWAYS_INLINE void step(float *g, float w, filter of, float *product, int64_t estimator) {
    float of_y = *g;
    *product += w > 0 ? of_y : -of_y;
    *g = passed_by(estimator, of_y, clamped(w, of.bound), of.parameter, of.peak) * of.factor;
}

/** Compute the gradients of one filter, and return its product. */
static ALWAYS_INLINE double run_filter(float *g, const float *w, int64_t count, filter of, int64_t estimator) {
    double product = 0;
    for (int64_t i = 0; i < count;) {
        float products[LANES] = {0};
        int64_t end = min_of(i + TURNS * LANES, count);
        for (; i + LANES <= end; i += LANES) {
            INDEPENDENT
            for (int lane = 0; lane < LANES; lane++) step(g + i + lane, w[i + lane], of, &products[lane], estimator);
        }
        for (int lane = 0; i < end; i++, lane++) step(g + i, w[i], of, &products[lane], estimator);
        for (int lane = 0; lane < LANES; lane++) product += (double)products[lane];
    }
    return product;
}

/** Compute the gradients of all filters, and return the sum of ``g y``. */
static ALWAYS_INLINE double run_filters(const fxbin_weight_call *call, int64_t estimator) {
    int64_t count = call->w_size / call->filters;
    filter of = {.parameter = call->parameter, .peak = call->peak, .bound = bound_of(estimator, call->parameter)};
    double sum = 0;
    for (int64_t f = 0; f < call->filters; f++) {
        float scale = call->scales[call->scales_size == 1 ? 0 : f];
        of.factor = call->is_scaled ? scale : 1;
        double product = run_filter(call->g + f * count, call->w + f * count, count, of, estimator);
        if (call->products != NULL) call->products[f] = (float)product;
        sum += (double)scale * product;
    }
    return sum;
}

/** A copy of the loops for each estimator, so that none asks which one it is. */
static ALWAYS_INLINE double run(const fxbin_weight_call *call) {
    switch (call->estimator) {
    case FXBIN_APPROX_SIGN:
        return run_filters(call, FXBIN_APPROX_SIGN);
    case FXBIN_CLIPPED:
        return run_filters(call, FXBIN_CLIPPED);
    case FXBIN_EDE:
        return run_filters(call, FXBIN_EDE);
    case FXBIN_SWISH_SIGN:
        return run_filters(call, FXBIN_SWISH_SIGN);
    default:
        return run_filters(call, FXBIN_STRAIGHT_THROUGH);
    }
}

#if FXBIN_X86
static AVX2 double run_avx2(const fxbin_weight_call *call) {
    return run(call);
}

static AVX512 double run_avx512(const fxbin_weight_call *call) {
    return run(call);
}
#endif

static double run_best(const fxbin_weight_call *call) {
#if FXBIN_X86
    if (cpu_has_avx512()) return run_avx512(call);
    if (cpu_has_avx2()) return run_avx2(call);
#endif
    return run(call);
}

/** The sum of ``g w`` for weights that have their levels. */
static double inner_product(const fxbin_weight_call *call) {
    double sum = 0;
    for (int64_t i = 0; i < call->w_size;) {
        float products[LANES] = {0};
        int64_t end = min_of(i + TURNS * LANES, call->w_size);
        for (; i + LANES <= end; i += LANES) {
            for (int lane = 0; lane < LANES; lane++) products[lane] += call->g[i + lane] * call->w[i + lane];
        }
        for (int lane = 0; i < end; i++, lane++) products[lane] += call->g[i] * call->w[i];
        for (int lane = 0; lane < LANES; lane++) sum += (double)products[lane];
    }
    return sum;
}

/** The gradients of the input's threshold and levels, from the inner product of the weight and its gradient. */
static void finish(const fxbin_weight_call *call, double sum) {
    int64_t channels = call->sums_size - 2;
    double of_thresholds = 0, of_units = call->sums[channels], total = call->sums[channels + 1];
    for (int64_t c = 0; c < channels; c++) {
        of_thresholds -= call->sums[c];
        if (call->grad_thresholds_size == channels) call->grad_thresholds[c] = (float)-call->sums[c];
    }
    if (call->grad_thresholds_size == 1) call->grad_thresholds[0] = (float)of_thresholds;
    double low = (double)call->low, distance = (double)call->high - low;
    double of_high = (sum - low * total) / distance - of_units / 2;
    float of_ends[] = {(float)(total - of_high), (float)of_high};
    if (call->grad_levels_size == 1) {
        call->grad_levels[0] = of_ends[1] - of_ends[0];
    } else {
        for (int i = 0; i < 2; i++) call->grad_levels[i] = of_ends[i];
    }
}

int fxbin_weight_gradients(const fxbin_weight_call *call) {
    int status = check_weight_call(call);
    if (status != FXBIN_OK) return status;
    double sum = call->scales == NULL ? inner_product(call) : run_best(call);
    if (call->sums != NULL) finish(call, sum + call->more);
    return FXBIN_OK;
}
