/* Runs what training asks of the engine, on random shapes, for sanitizers to watch: every buffer is a block of the heap
 * of exactly the size that is told. Numbers must be those of plain loops; what does not fit must be refused.
 *
 *     training_driver SECONDS SEED
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fxbin_engine.h"

static uint64_t state;

static int64_t below(int64_t count) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((state >> 33) % (uint64_t)count);
}

/** Numbers of which some are 0, and some are equal. */
static float *numbers(int64_t count) {
    float *made = malloc((size_t)count * sizeof *made);
    for (int64_t i = 0; i < count; i++) made[i] = (float)(below(41) - 20) / 16;
    return made;
}

static void stop(const char *what, const int64_t *sizes) {
    printf("%s:", what);
    for (int i = 0; i < 8; i++) printf(" %lld", (long long)sizes[i]);
    printf(": %s\n", fxbin_last_error());
    exit(1);
}

static void check(int is_right, const char *what, const int64_t *sizes) {
    if (!is_right) stop(what, sizes);
}

static fxbin_tensor tensor(const int64_t shape[4], int is_last) {
    int64_t picture = shape[1] * shape[2] * shape[3], size = shape[0] * picture;
    fxbin_tensor made = {.data = numbers(size), .size = size};
    int64_t planar[4] = {picture, shape[2] * shape[3], shape[3], 1}, last[4] = {picture, 1, shape[3] * shape[1], shape[1]};
    memcpy(made.shape, shape, sizeof made.shape);
    memcpy(made.stride, is_last ? last : planar, sizeof made.stride);
    return made;
}

static float at(const fxbin_tensor *t, int64_t n, int64_t c, int64_t y, int64_t x) {
    return ((float *)t->data)[n * t->stride[0] + c * t->stride[1] + y * t->stride[2] + x * t->stride[3]];
}

/** One sum by the definition. */
static float sum_at(const fxbin_float_call *call, int64_t n, int64_t f, int64_t oy, int64_t ox) {
    const fxbin_shape *s = &call->shape;
    int64_t channels = s->channels / s->groups, group = f / (s->filters / s->groups);
    float sum = 0;
    for (int64_t i = 0; i < channels * s->kernel[0] * s->kernel[1]; i++) {
        int64_t kx = i % s->kernel[1], ky = i / s->kernel[1] % s->kernel[0], c = i / s->kernel[1] / s->kernel[0];
        int64_t y = oy * s->stride[0] - s->padding[0] + ky * s->dilation[0];
        int64_t x = ox * s->stride[1] - s->padding[2] + kx * s->dilation[1];
        if (y < 0 || y >= call->x.shape[2] || x < 0 || x >= call->x.shape[3]) continue;
        c += group * channels;
        float level = at(&call->x, n, c, y, x) > call->thresholds[c] ? call->high : call->low;
        float scale = call->scales[call->scales_size == 1 ? 0 : f];
        float center = call->centers == NULL ? 0 : call->centers[call->centers_size == 1 ? 0 : f];
        sum += level * (call->weight[f * channels * s->kernel[0] * s->kernel[1] + i] > 0 ? center + scale : center - scale);
    }
    return sum;
}

static void refuse_floats(const fxbin_float_call *good, const int64_t *sizes) {
    for (int i = 0; i < 7; i++) {
        fxbin_float_call bad = *good;
        if (i == 0) bad.x.size--;
        if (i == 1) bad.y.size--;
        if (i == 2) bad.thresholds_size--;
        if (i == 3) bad.weight_size--;
        if (i == 4) bad.scales_size = good->shape.filters + 1;
        if (i == 5) bad.struct_size--;
        if (i == 6) bad.shape.groups = 0;
        check(fxbin_convolve_floats(&bad) == FXBIN_BAD_ARGUMENT, "something missing", sizes);
    }
}

static void convolve(void) {
    static const int64_t channels[] = {1, 2, 3, 5, 16, 21, 22, 32, 33, 64, 65, 130};
    int64_t groups = below(4) ? 1 : 1 + below(3), depth = channels[below(12)];
    fxbin_shape s = {.groups = groups, .channels = groups * depth, .filters = groups * (1 + below(20))};
    for (int axis = 0; axis < 2; axis++) {
        s.kernel[axis] = 1 + below(4), s.stride[axis] = 1 + below(3), s.dilation[axis] = 1 + below(3);
    }
    for (int side = 0; side < 4; side++) s.padding[side] = below(5);
    int64_t in[4] = {1 + below(2), s.channels, 1 + below(12), 1 + below(12)}, out[4] = {in[0], s.filters, 0, 0};
    if (fxbin_output_size(&s, in + 2, out + 2) != FXBIN_OK) return;
    int64_t sizes[8] = {s.channels, s.filters, groups, s.kernel[0], s.kernel[1], in[0], in[2], in[3]};
    int64_t weights = s.filters * depth * s.kernel[0] * s.kernel[1], scales = below(2) ? 1 : s.filters;
    float *thresholds = numbers(s.channels), *weight = numbers(weights), *scale = numbers(scales);
    float *bias = numbers(s.filters);
    fxbin_float_call call = {
        sizeof call, s, tensor(in, (int)below(2)), thresholds, s.channels, below(2) ? 0 : -0.5f, 0.75f, weight, weights, scale, scales,
        NULL, 0, NULL, 0, tensor(out, (int)below(2)), 1 + below(2),
    };
    if (below(2)) call.bias = bias, call.bias_size = s.filters;
    if (below(2)) call.centers = bias, call.centers_size = s.filters;
    check(fxbin_convolve_floats(&call) == FXBIN_OK, "refused", sizes);
    for (int i = 0; i < 40; i++) {
        int64_t n = below(out[0]), f = below(out[1]), y = below(out[2]), x = below(out[3]);
        float expected = sum_at(&call, n, f, y, x);
        check(at(&call.y, n, f, y, x) == expected + (call.bias == NULL ? 0 : bias[f]), "a wrong number", sizes);
    }
    refuse_floats(&call, sizes);
    free(thresholds), free(weight), free(scale), free(bias), free(call.x.data), free(call.y.data);
}

/** The place of a number's channel in the layout of the call. */
static int64_t channel_of(const fxbin_ste_call *call, int64_t i) {
    return call->is_planar ? i / call->plane % call->channels : i % call->channels;
}

static int is_near(double found, double expected, double size) {
    return fabs(found - expected) <= 1e-5 * (1 + size);
}

/** What counts as the derivative at u. */
static double derivative(int64_t estimator, double u, double parameter, double peak) {
    double z = parameter * u;
    switch (estimator) {
    case FXBIN_APPROX_SIGN:
        return fmax(0, 2 - 2 * fabs(u));
    case FXBIN_CLIPPED:
        return fabs(u) <= parameter;
    case FXBIN_EDE:
        return peak * (1 - tanh(z) * tanh(z));
    case FXBIN_SWISH_SIGN:
        return parameter * (2 - z * tanh(z / 2)) / (1 + cosh(z));
    default:
        return 1;
    }
}

static void check_unit(const fxbin_ste_call *call, const float *g, const float *x, const int64_t *sizes) {
    double *sums = calloc((size_t)(call->channels + 2), sizeof *sums);
    for (int64_t i = 0; i < call->size; i++) {
        int64_t c = channel_of(call, i);
        double unit = ((double)call->high - (double)call->low) / 2;
        double u = ((double)x[i] - (double)call->thresholds[c]) / unit;
        double e = derivative(call->estimator, u, (double)call->parameter, (double)call->peak);
        check(is_near(call->grad_x[i], (double)g[i] * e, fabs((double)g[i])), "a wrong gradient", sizes);
        check(call->fired[i] == (x[i] > call->thresholds[c] ? call->high : call->low), "a wrong level", sizes);
        sums[c] += (double)g[i] * e;
        sums[call->channels] += (double)g[i] * e * u;
        sums[call->channels + 1] += (double)g[i];
    }
    for (int64_t c = 0; c < call->channels + 2; c++) {
        check(is_near(call->sums[c], sums[c], (double)call->size), "a wrong sum", sizes);
    }
    free(sums);
}

static void check_ste(const fxbin_ste_call *call, const float *g, const float *x, const int64_t *sizes) {
    double *sums = calloc((size_t)(call->channels + 1), sizeof *sums);
    for (int64_t i = 0; i < call->size; i++) {
        int64_t c = channel_of(call, i);
        check(call->grad_x[i] == (x[i] >= 0 && x[i] <= call->high ? g[i] : 0), "a wrong gradient", sizes);
        check(call->fired[i] == (x[i] > call->thresholds[c]), "a wrong level", sizes);
        if (x[i] > 0 && x[i] < call->high) sums[c] += (double)g[i];
        if (x[i] <= call->high) sums[call->channels] += (double)g[i] * (double)x[i];
    }
    // All of these are multiples of a power of two, and so are their sums.
    check(!memcmp(sums, call->sums, (size_t)(call->channels + 1) * sizeof *sums), "a wrong sum", sizes);
    free(sums);
}

static void ste(void) {
    int64_t pictures = 1 + below(90), channels = 1 + below(40), plane = below(3) ? 1 + below(20) : 60 + below(30);
    int64_t size = pictures * channels * plane, sizes[8] = {pictures, channels, plane};
    float *g = numbers(size), *x = numbers(size), *thresholds = numbers(channels), *of_g = numbers(size);
    int64_t estimator = below(6), count = channels + (estimator == FXBIN_WINDOW ? 1 : 2);
    double *sums = malloc((size_t)count * sizeof *sums);
    memcpy(of_g, g, (size_t)size * sizeof *g);
    fxbin_ste_call call = {
        sizeof call, of_g, x, of_g, numbers(size), size, pictures, channels, plane, below(2), thresholds, channels,
        estimator == FXBIN_WINDOW ? 0 : -0.25f, 0.5f, estimator, 0.3f + (float)below(9), 2, sums, count, 1 + below(3),
    };
    check(fxbin_ste_gradients(&call) == FXBIN_OK, "refused", sizes);
    if (estimator == FXBIN_WINDOW) {
        check_ste(&call, g, x, sizes);
    } else {
        check_unit(&call, g, x, sizes);
    }
    for (int i = 0; i < 7; i++) {
        fxbin_ste_call bad = call;
        if (i == 0) bad.size--;
        if (i == 1) bad.thresholds_size--;
        if (i == 2) bad.sums_size--;
        if (i == 3) bad.pictures = 0;
        if (i == 4) bad.estimator = 6;
        if (i == 6) bad.estimator = FXBIN_EDE, bad.sums_size = channels + 2, bad.parameter = 0;
        if (i == 5) bad.estimator = FXBIN_APPROX_SIGN, bad.sums_size = channels + 2, bad.low = bad.high;
        check(fxbin_ste_gradients(&bad) == FXBIN_BAD_ARGUMENT, "something missing", sizes);
    }
    free(g), free(x), free(thresholds), free(of_g), free(sums), free(call.fired);
}

static void count_high(void) {
    int64_t pictures = 1 + below(90), channels = 1 + below(40), plane = below(3) ? 1 + below(20) : 60 + below(30);
    int64_t size = pictures * channels * plane, sizes[8] = {pictures, channels, plane}, is_planar = below(2);
    float *x = numbers(size), *thresholds = numbers(channels);
    int64_t *counts = malloc((size_t)channels * sizeof *counts), *expected = malloc((size_t)channels * sizeof *expected);
    for (int64_t c = 0; c < channels; c++) counts[c] = expected[c] = c; // what was counted before
    x[below(size)] = NAN;
    for (int64_t i = 0; i < size; i++) {
        int64_t c = is_planar ? i / plane % channels : i % channels;
        expected[c] += x[i] > thresholds[c];
    }
    fxbin_count_call call = {
        sizeof call, x, size, pictures, channels, plane, is_planar, thresholds, channels, counts, channels, 1 + below(3),
    };
    check(fxbin_count_high(&call) == FXBIN_OK, "refused", sizes);
    check(!memcmp(counts, expected, (size_t)channels * sizeof *counts), "a wrong count", sizes);
    for (int i = 0; i < 6; i++) {
        fxbin_count_call bad = call;
        if (i == 0) bad.size--;
        if (i == 1) bad.thresholds_size--;
        if (i == 2) bad.counts_size--;
        if (i == 3) bad.pictures = 0;
        if (i == 4) bad.struct_size--;
        if (i == 5) bad.threads = 0;
        check(fxbin_count_high(&bad) == FXBIN_BAD_ARGUMENT, "something missing", sizes);
    }
    free(x), free(thresholds), free(counts), free(expected);
}

/** The gradients of an RPReLU by the definition; numbers are multiples of a power of two, and so are their sums. */
static void check_rprelu(const fxbin_rprelu_call *call, const float *values, const int64_t *sizes) {
    double *sums = calloc((size_t)(3 * call->channels), sizeof *sums);
    for (int64_t i = 0; i < call->size; i++) {
        int64_t c = call->is_planar ? i / call->plane % call->channels : i % call->channels;
        float d = call->x[i] - call->gamma[c], y = (d > 0 ? d : call->beta[c] * d) + call->zeta[c];
        float of_x = d > 0 ? call->g[i] : call->beta[c] * call->g[i];
        check(values[i] == y, "a wrong value", sizes);
        check(call->y[i] == of_x, "a wrong gradient", sizes);
        sums[c] -= (double)of_x;
        sums[call->channels + c] += (double)call->g[i];
        sums[2 * call->channels + c] += d > 0 ? 0 : (double)call->g[i] * (double)d;
    }
    for (int64_t c = 0; c < call->channels; c++) {
        check(call->grad_gamma[c] == (float)sums[c], "a wrong gradient of gamma", sizes);
        check(call->grad_zeta[c] == (float)sums[call->channels + c], "a wrong gradient of zeta", sizes);
        check(call->grad_beta[c] == (float)sums[2 * call->channels + c], "a wrong gradient of beta", sizes);
    }
    free(sums);
}

static void rprelu(void) {
    int64_t pictures = 1 + below(90), channels = 1 + below(40), plane = below(3) ? 1 + below(20) : 60 + below(30);
    int64_t size = pictures * channels * plane, sizes[8] = {pictures, channels, plane};
    float *x = numbers(size), *g = numbers(size), *y = numbers(size), *parameters[6];
    for (int i = 0; i < 6; i++) parameters[i] = numbers(channels);
    fxbin_rprelu_call call = {
        sizeof call, x, NULL, y, size, pictures, channels, plane, below(2), parameters[0], parameters[1], parameters[2],
        NULL, NULL, NULL, 1 + below(3),
    };
    check(fxbin_rprelu(&call) == FXBIN_OK, "refused", sizes);
    check(fxbin_rprelu_gradients(&call) == FXBIN_BAD_ARGUMENT, "no gradients", sizes);
    call.g = g, call.y = below(2) ? g : numbers(size);
    float *of_g = numbers(size);
    memcpy(of_g, g, (size_t)size * sizeof *g);
    call.grad_gamma = parameters[3], call.grad_zeta = parameters[4], call.grad_beta = parameters[5];
    check(fxbin_rprelu_gradients(&call) == FXBIN_OK, "refused", sizes);
    call.g = of_g;
    check_rprelu(&call, y, sizes);
    for (int i = 0; i < 4; i++) {
        fxbin_rprelu_call bad = call;
        if (i == 0) bad.size--;
        if (i == 1) bad.channels++;
        if (i == 2) bad.struct_size--;
        if (i == 3) bad.threads = 0;
        check(fxbin_rprelu(&bad) == FXBIN_BAD_ARGUMENT, "something missing", sizes);
    }
    for (int i = 0; i < 6; i++) free(parameters[i]);
    if (call.y != g) free(call.y);
    free(x), free(g), free(y), free(of_g);
}

static void levels(void) {
    int64_t filters = 1 + below(9), inputs = 1 + below(300), size = filters * inputs, channels = 1 + below(9);
    int64_t scales = below(2) ? 1 : filters, sizes[8] = {filters, inputs, channels, scales};
    float *w = numbers(size), *scale = numbers(scales), *y = numbers(size), *grad = numbers(size), *t = numbers(channels);
    float *before = numbers(size), *grad_scale = numbers(1), *grad_logit = numbers(channels);
    double *sums = malloc((size_t)(channels + 1) * sizeof *sums), product = 0;
    for (int64_t i = 0; i <= channels; i++) sums[i] = (double)below(100);
    memcpy(before, grad, (size_t)size * sizeof *grad);
    check(fxbin_weight_levels(w, size, scale, size + 1, y) == FXBIN_BAD_ARGUMENT, "scales", sizes);
    check(fxbin_mean_magnitudes(w, size, scale, scales) == FXBIN_OK, "refused", sizes);
    for (int64_t f = 0; f < scales; f++) {
        double sum = 0;
        for (int64_t i = 0; i < size / scales; i++) sum += fabs((double)w[f * (size / scales) + i]);
        check(scale[f] == (float)(sum / (double)(size / scales)), "a wrong mean", sizes);
    }
    check(fxbin_weight_levels(w, size, scale, scales, y) == FXBIN_OK, "refused", sizes);
    for (int64_t i = 0; i < size; i++) {
        float a = scale[scales == 1 ? 0 : i / inputs];
        check(y[i] == (w[i] > 0 ? a : -a), "a wrong weight", sizes);
        product += (double)before[i] * 0.5 * (double)y[i];
    }
    fxbin_level_call call = {
        sizeof call, grad, y, size, 0.5f, 2, sums, channels + 1, t, channels, grad_scale, grad_logit,
    };
    check(fxbin_level_gradients(&call) == FXBIN_OK, "refused", sizes);
    for (int64_t i = 0; i < size; i++) check(grad[i] == before[i] / 2, "a wrong gradient of the weight", sizes);
    check(fabs((double)*grad_scale - 2 * (product - sums[channels])) < 1e-3, "a wrong gradient of the scale", sizes);
    for (int64_t c = 0; c < channels; c++) {
        double expected = -2 * sums[c] * (double)t[c] * (1 - (double)t[c]);
        check(fabs((double)grad_logit[c] - expected) < 1e-3, "a wrong gradient of a threshold", sizes);
    }
    call.sums_size--;
    check(fxbin_level_gradients(&call) == FXBIN_BAD_ARGUMENT, "sums", sizes);
    free(w), free(scale), free(y), free(grad), free(t), free(before), free(grad_scale), free(grad_logit), free(sums);
}

/** The standardized weights and their gradient by the definition. */
static void check_standardized(const fxbin_standardize_call *call, const float *before, const int64_t *sizes) {
    int64_t inputs = call->size / call->filters;
    for (int64_t f = 0; f < call->filters; f++) {
        const float *w = call->w + f * inputs, *g = before + f * inputs;
        double variance = 0, of_g = 0, product = 0, n = (double)inputs, mean = (double)call->means[f];
        for (int64_t i = 0; i < inputs; i++) variance += ((double)w[i] - mean) * ((double)w[i] - mean) / n;
        double least = FXBIN_LEAST_SPREAD * FXBIN_LEAST_SPREAD * mean * mean;
        double inverse = 1 / sqrt(fmax(variance, least) + (double)call->smallest);
        check(is_near(call->inverses[f], inverse, inverse), "a wrong factor", sizes);
        for (int64_t i = 0; i < inputs; i++) {
            double v = ((double)w[i] - mean) * inverse;
            check(is_near(call->v[f * inputs + i], v, inverse), "a wrong standardized weight", sizes);
            of_g += (double)g[i] / n, product += (double)g[i] * v / n;
        }
        for (int64_t i = 0; i < inputs; i++) {
            double v = ((double)w[i] - mean) * inverse, expected = inverse * ((double)g[i] - of_g - v * product);
            check(is_near(call->g[f * inputs + i], expected, 10 * inverse), "a wrong gradient of it", sizes);
        }
    }
}

static void standardize(void) {
    int64_t filters = 1 + below(9), inputs = 1 + below(300), size = filters * inputs, sizes[8] = {filters, inputs};
    float *w = numbers(size), *v = numbers(size), *g = numbers(size), *before = numbers(size);
    float *means = numbers(filters), *inverses = numbers(filters);
    memcpy(before, g, (size_t)size * sizeof *g);
    fxbin_standardize_call call = {sizeof call, w, v, NULL, size, means, inverses, filters, 0.25f};
    check(fxbin_standardize(&call) == FXBIN_OK, "refused", sizes);
    check(fxbin_standardize_gradients(&call) == FXBIN_BAD_ARGUMENT, "no gradient", sizes);
    call.g = g;
    check(fxbin_standardize_gradients(&call) == FXBIN_OK, "refused", sizes);
    check_standardized(&call, before, sizes);
    for (int i = 0; i < 3; i++) {
        fxbin_standardize_call bad = call;
        if (i == 0) bad.size = 0;
        if (i == 1) bad.filters = size + 1;
        if (i == 2) bad.struct_size--;
        check(fxbin_standardize(&bad) == FXBIN_BAD_ARGUMENT, "something missing", sizes);
    }
    free(w), free(v), free(g), free(before), free(means), free(inverses);
}

/** The gradients of the input's threshold and levels, given the sum of ``g y``. */
static void check_input_levels(const fxbin_weight_call *call, double sum, const int64_t *sizes) {
    int64_t channels = call->sums_size - 2;
    double of_units = call->sums[channels], total = call->sums[channels + 1], of_all = 0;
    double high = (sum + 0.25 * total) / 0.75 - of_units / 2;
    if (call->grad_levels_size == 1) {
        check(is_near(call->grad_levels[0], 2 * high - total, fabs(sum)), "a wrong gradient of both levels", sizes);
    } else {
        check(is_near(call->grad_levels[1], high, fabs(sum)), "a wrong gradient of the high level", sizes);
        check(is_near(call->grad_levels[0], total - high, fabs(sum)), "a wrong gradient of the low level", sizes);
    }
    for (int64_t c = 0; c < channels; c++) of_all -= call->sums[c];
    for (int64_t c = 0; c < call->grad_thresholds_size; c++) {
        double expected = call->grad_thresholds_size == 1 ? of_all : -call->sums[c];
        check(is_near(call->grad_thresholds[c], expected, 1), "a wrong gradient of a threshold", sizes);
    }
}

static void check_weights(const fxbin_weight_call *call, const float *g, const int64_t *sizes) {
    int64_t inputs = call->w_size / call->filters;
    double sum = 0;
    for (int64_t f = 0; f < call->filters; f++) {
        double product = 0, a = call->scales == NULL ? 1 : (double)call->scales[call->scales_size == 1 ? 0 : f];
        for (int64_t i = f * inputs; i < (f + 1) * inputs; i++) {
            double w = (double)call->w[i], of_y = (double)g[i];
            double e = derivative(call->estimator, w, (double)call->parameter, (double)call->peak);
            double expected = call->scales == NULL ? of_y : of_y * e * (call->is_scaled ? a : 1);
            check(is_near(call->g[i], expected, fabs(of_y)), "a wrong gradient of a weight", sizes);
            product += call->scales == NULL ? of_y * w : w > 0 ? of_y : -of_y;
        }
        if (call->scales != NULL) check(is_near(call->products[f], product, 1), "a wrong product", sizes);
        sum += a * product;
    }
    if (call->sums != NULL) check_input_levels(call, sum, sizes);
}

static void weights(void) {
    int64_t filters = 1 + below(9), inputs = 1 + below(300), size = filters * inputs, channels = 1 + below(9);
    int64_t scales = below(2) ? 1 : filters, thresholds = below(2) ? 1 : channels;
    int64_t sizes[8] = {filters, inputs, channels, scales, thresholds};
    float *g = numbers(size), *w = numbers(size), *scale = numbers(scales), *before = numbers(size);
    float *products = numbers(filters), *of_thresholds = numbers(thresholds), *of_levels = numbers(2);
    double *sums = malloc((size_t)(channels + 2) * sizeof *sums);
    for (int64_t i = 0; i < channels + 2; i++) sums[i] = (double)below(100);
    memcpy(before, g, (size_t)size * sizeof *g);
    fxbin_weight_call call = {.struct_size = sizeof call, .g = g, .w = w, .w_size = size, .filters = filters};
    if (below(4)) {
        call.scales = scale, call.scales_size = scales, call.products = products, call.is_scaled = below(2);
        call.estimator = 1 + below(5), call.parameter = 0.3f + (float)below(9), call.peak = 2;
    }
    if (below(2)) {
        call.sums = sums, call.sums_size = channels + 2, call.low = -0.25f, call.high = 0.5f;
        call.grad_thresholds = of_thresholds, call.grad_thresholds_size = thresholds;
        call.grad_levels = of_levels, call.grad_levels_size = 1 + below(2);
    }
    check(fxbin_weight_gradients(&call) == FXBIN_OK, "refused", sizes);
    check_weights(&call, before, sizes);
    for (int i = 0; i < 6; i++) {
        fxbin_weight_call bad = call;
        if (i == 0) bad.w_size = 0;
        if (i == 1) bad.scales = scale, bad.products = products, bad.scales_size = filters + 1;
        if (i == 2) bad.scales = scale, bad.products = products, bad.scales_size = 1, bad.estimator = FXBIN_WINDOW;
        if (i == 3) bad.sums = sums, bad.sums_size = channels + 2, bad.high = bad.low;
        if (i == 4) bad.struct_size--;
        if (i == 5) bad.sums = sums, bad.sums_size = channels + 2, bad.grad_levels_size = 3;
        check(fxbin_weight_gradients(&bad) == FXBIN_BAD_ARGUMENT, "something missing", sizes);
    }
    free(g), free(w), free(scale), free(before), free(products), free(of_thresholds), free(of_levels), free(sums);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    state = (uint64_t)atoll(arguments[2]);
    clock_t end = clock() + (clock_t)(atof(arguments[1]) * CLOCKS_PER_SEC);
    int runs = 0;
    for (; clock() < end; runs++) convolve(), ste(), count_high(), rprelu(), levels(), standardize(), weights();
    printf("%d shapes\n", runs);
    return runs < 10;
}
