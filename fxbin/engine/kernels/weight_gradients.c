/* Two-level weights in training: their scales, their values, and the end of a backward. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "cpu.h"
#include "shape.h"

/** Number of values that are computed together, and number of such turns that are summed in float32. */
#define LANES 16
#define TURNS 64

static ALWAYS_INLINE void write_levels(const float *w, int64_t count, float scale, float *y) {
    INDEPENDENT
    for (int64_t i = 0; i < count; i++) y[i] = w[i] > 0 ? scale : -scale;
}

/** The sum of the magnitudes of some numbers. */
static ALWAYS_INLINE double sum_magnitudes(const float *w, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count;) {
        float sums[LANES] = {0};
        int64_t end = min_of(i + TURNS * LANES, count);
        for (; i + LANES <= end; i += LANES) {
            for (int lane = 0; lane < LANES; lane++) sums[lane] += fabsf(w[i + lane]);
        }
        for (int lane = 0; i < end; i++, lane++) sums[lane] += fabsf(w[i]);
        for (int lane = 0; lane < LANES; lane++) sum += (double)sums[lane];
    }
    return sum;
}

/** Multiply `grad` by `factor`, and return its inner product with `w`. */
static ALWAYS_INLINE double scale_and_multiply(float *grad, const float *w, int64_t count, float factor) {
    double product = 0;
    for (int64_t i = 0; i < count;) {
        float products[LANES] = {0};
        int64_t end = min_of(i + TURNS * LANES, count);
        for (; i + LANES <= end; i += LANES) {
            INDEPENDENT
            for (int lane = 0; lane < LANES; lane++) {
                float scaled = grad[i + lane] * factor;
                grad[i + lane] = scaled;
                products[lane] += scaled * w[i + lane];
            }
        }
        for (int lane = 0; i < end; i++, lane++) products[lane] += (grad[i] *= factor) * w[i];
        for (int lane = 0; lane < LANES; lane++) product += (double)products[lane];
    }
    return product;
}

#if FXBIN_X86
static AVX2 void write_levels_avx2(const float *w, int64_t count, float scale, float *y) {
    write_levels(w, count, scale, y);
}

static AVX2 double sum_magnitudes_avx2(const float *w, int64_t count) {
    return sum_magnitudes(w, count);
}

static AVX2 double scale_and_multiply_avx2(float *grad, const float *w, int64_t count, float factor) {
    return scale_and_multiply(grad, w, count, factor);
}
#endif

static double sum_magnitudes_best(const float *w, int64_t count) {
#if FXBIN_X86
    if (cpu_has_avx2()) return sum_magnitudes_avx2(w, count);
#endif
    return sum_magnitudes(w, count);
}

int fxbin_mean_magnitudes(const float *w, int64_t size, float *means, int64_t means_size) {
    int status = check_levels(w, size, means, means_size, w);
    if (status != FXBIN_OK) return status;
    int64_t count = size / means_size;
    for (int64_t filter = 0; filter < means_size; filter++, w += count) {
        means[filter] = (float)(sum_magnitudes_best(w, count) / (double)count);
    }
    return FXBIN_OK;
}

int fxbin_weight_levels(
    const float *w, int64_t size, const float *scales, int64_t scales_size, float *y
) {
    int status = check_levels(w, size, scales, scales_size, y);
    if (status != FXBIN_OK) return status;
    int64_t count = size / scales_size;
    for (int64_t filter = 0; filter < scales_size; filter++, w += count, y += count) {
#if FXBIN_X86
        if (cpu_has_avx2()) {
            write_levels_avx2(w, count, scales[filter], y);
            continue;
        }
#endif
        write_levels(w, count, scales[filter], y);
    }
    return FXBIN_OK;
}

/** Compute the rest of `fxbin_level_gradients` from the inner product of the weight and its gradient. */
static void finish(const fxbin_level_call *call, double product) {
    int64_t channels = call->channels;
    double of_scale = (product - call->sums[channels]) / (double)call->high;
    *call->grad_scale = (float)(of_scale * call->multiplier) * call->high;
    for (int64_t c = 0; c < channels; c++) {
        float t = call->t[c], of_threshold = (float)(-call->sums[c] * call->multiplier);
        call->grad_logit[c] = of_threshold * (1 - t) * t;
    }
}

int fxbin_level_gradients(const fxbin_level_call *call) {
    int status = check_level_call(call);
    if (status != FXBIN_OK) return status;
#if FXBIN_X86
    if (cpu_has_avx2()) {
        finish(call, scale_and_multiply_avx2(call->grad_w, call->w, call->w_size, call->high));
        return FXBIN_OK;
    }
#endif
    finish(call, scale_and_multiply(call->grad_w, call->w, call->w_size, call->high));
    return FXBIN_OK;
}
