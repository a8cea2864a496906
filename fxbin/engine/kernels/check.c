#include "check.h"

#include <stddef.h>

#include "errors.h"
#include "shape.h"

/** Every size is at most this, so that products of two sizes cannot overflow. */
#define MAX_SIZE ((int64_t)1 << 24)

/** Sums over more inputs than this would not be exact in float32. */
#define MAX_INPUTS ((int64_t)1 << 23)

/** Maximum number of weights of a convolution, and of elements between the first and the last of a tensor. */
#define MAX_ELEMENTS ((int64_t)1 << 46)

/** Maximum number of pixels of a picture. Some bytes for each channel of each pixel still fit into 63 bits. */
#define MAX_PIXELS ((int64_t)1 << 32)

#define MAX_THREADS 1024

static int between(const char *name, int64_t value, int64_t least, int64_t most) {
    if (value >= least && value <= most) return FXBIN_OK;
    return fail(
        FXBIN_BAD_ARGUMENT,
        "%s: expected %lld to %lld, got %lld",
        name,
        (long long)least,
        (long long)most,
        (long long)value
    );
}

#define CHECK(expression)                          \
    do {                                           \
        int status_ = (expression);                \
        if (status_ != FXBIN_OK) return status_;   \
    } while (0)

int check_shape(const fxbin_shape *shape) {
    if (shape == NULL) return fail(FXBIN_BAD_ARGUMENT, "shape: expected a pointer, got null");
    CHECK(between("channels", shape->channels, 1, MAX_SIZE));
    CHECK(between("filters", shape->filters, 1, MAX_SIZE));
    CHECK(between("groups", shape->groups, 1, MAX_SIZE));
    for (int axis = 0; axis < 2; axis++) {
        CHECK(between("kernel", shape->kernel[axis], 1, MAX_SIZE));
        CHECK(between("stride", shape->stride[axis], 1, MAX_SIZE));
        CHECK(between("dilation", shape->dilation[axis], 1, MAX_SIZE));
    }
    for (int side = 0; side < 4; side++) CHECK(between("padding", shape->padding[side], 0, MAX_SIZE));
    if (shape->channels % shape->groups || shape->filters % shape->groups) {
        return fail(FXBIN_BAD_ARGUMENT, "groups: expected a divisor of channels and filters");
    }
    CHECK(between("kernel height * width", taps_of(shape), 1, MAX_SIZE));
    CHECK(between("inputs of a filter", inputs_of(shape), 1, MAX_INPUTS));
    return between("weights", shape->filters * inputs_of(shape), 1, MAX_ELEMENTS);
}

int fxbin_output_size(const fxbin_shape *shape, const int64_t input[2], int64_t output[2]) {
    CHECK(check_shape(shape));
    if (input == NULL || output == NULL) {
        return fail(FXBIN_BAD_ARGUMENT, "input, output: expected pointers, got null");
    }
    for (int axis = 0; axis < 2; axis++) {
        CHECK(between("input size", input[axis], 1, MAX_SIZE));
        int64_t padded = input[axis] + shape->padding[2 * axis] + shape->padding[2 * axis + 1];
        int64_t reach = (shape->kernel[axis] - 1) * shape->dilation[axis] + 1;
        if (padded < reach) {
            return fail(
                FXBIN_BAD_ARGUMENT,
                "input size: %lld with its padding is smaller than the kernel, %lld with its dilation",
                (long long)padded,
                (long long)reach
            );
        }
        output[axis] = (padded - reach) / shape->stride[axis] + 1;
    }
    return FXBIN_OK;
}

/** Check that a tensor has this shape, and that its elements, `item` bytes each, lie inside its memory. */
static int check_tensor(const char *name, const fxbin_tensor *tensor, const int64_t shape[4], size_t item) {
    int64_t last = 0;
    for (int axis = 0; axis < 4; axis++) {
        if (tensor->shape[axis] != shape[axis]) {
            return fail(
                FXBIN_BAD_ARGUMENT,
                "%s: expected %lld on axis %d, got %lld",
                name,
                (long long)shape[axis],
                axis,
                (long long)tensor->shape[axis]
            );
        }
        CHECK(between("stride", tensor->stride[axis], 0, MAX_ELEMENTS));
        int64_t reach;
        if (__builtin_mul_overflow(max_of(shape[axis] - 1, 0), tensor->stride[axis], &reach) ||
            __builtin_add_overflow(last, reach, &last)) {
            return fail(FXBIN_BAD_ARGUMENT, "%s: its strides reach too far", name);
        }
    }
    if (shape[0] == 0) return FXBIN_OK;
    if (tensor->data == NULL) return fail(FXBIN_BAD_ARGUMENT, "%s: expected data, got null", name);
    if ((uintptr_t)tensor->data % item) {
        return fail(FXBIN_BAD_ARGUMENT, "%s: its data is not aligned to %d bytes", name, (int)item);
    }
    if (tensor->size <= last) {
        return fail(
            FXBIN_BAD_ARGUMENT,
            "%s: its strides reach element %lld of %lld",
            name,
            (long long)last,
            (long long)tensor->size
        );
    }
    return FXBIN_OK;
}

/** Check that no two elements of a tensor that is written to share a place: sorted by their strides, each axis steps
 * over all that the axes before it reach. */
static int check_apart(const char *name, const fxbin_tensor *tensor) {
    bool is_done[4];
    for (int axis = 0; axis < 4; axis++) is_done[axis] = tensor->shape[axis] <= 1;
    for (int64_t reach = 0;;) {
        int next = -1;
        for (int axis = 0; axis < 4; axis++) {
            if (!is_done[axis] && (next < 0 || tensor->stride[axis] < tensor->stride[next])) next = axis;
        }
        if (next < 0) return FXBIN_OK;
        if (tensor->stride[next] <= reach) {
            return fail(
                FXBIN_BAD_ARGUMENT,
                "%s: expected a stride above %lld on axis %d, so that its elements do not overlap, got %lld",
                name,
                (long long)reach,
                next,
                (long long)tensor->stride[next]
            );
        }
        reach += (tensor->shape[next] - 1) * tensor->stride[next];
        is_done[next] = true;
    }
}

/** Check that `data` holds `count` values of `item` bytes; if it is optional, null with size 0 is also valid. */
static int check_vector(
    const char *name, const void *data, int64_t size, int64_t count, size_t item, bool is_optional
) {
    if (is_optional && data == NULL && size == 0) return FXBIN_OK;
    if (data == NULL) return fail(FXBIN_BAD_ARGUMENT, "%s: expected data, got null", name);
    if (size != count) {
        return fail(
            FXBIN_BAD_ARGUMENT,
            "%s: expected %lld values, got %lld",
            name,
            (long long)count,
            (long long)size
        );
    }
    if ((uintptr_t)data % item) {
        return fail(FXBIN_BAD_ARGUMENT, "%s: its data is not aligned to %d bytes", name, (int)item);
    }
    return FXBIN_OK;
}

static int check_written(const char *name, const fxbin_tensor *tensor, const int64_t shape[4], size_t item) {
    CHECK(check_tensor(name, tensor, shape, item));
    return check_apart(name, tensor);
}

/** Check that y, its bits, or both have memory. */
static int check_output(const fxbin_shape *shape, const fxbin_call *call, const int64_t out[4]) {
    bool has_bits = call->y_bits.data != NULL;
    if (call->y.data != NULL || !has_bits) CHECK(check_written("y", &call->y, out, sizeof(float)));
    if (has_bits) {
        int64_t words[4] = {out[0], words_of(shape->filters), out[2], out[3]};
        CHECK(check_written("y bits", &call->y_bits, words, sizeof(uint64_t)));
    }
    int64_t count = has_bits ? shape->filters : 0;
    return check_vector(
        "y thresholds", call->y_thresholds, call->y_thresholds_size, count, sizeof(float), !has_bits
    );
}

int check_call(const fxbin_shape *shape, const fxbin_call *call) {
    if (call == NULL) return fail(FXBIN_BAD_ARGUMENT, "call: expected a pointer, got null");
    if (call->struct_size != (int64_t)sizeof(fxbin_call)) {
        return fail(FXBIN_BAD_ARGUMENT, "call: its struct is of another version of the engine");
    }
    CHECK(between("x dtype", call->x_dtype, FXBIN_FLOAT32, FXBIN_BITS));
    CHECK(between("activation", call->activation, FXBIN_NO_ACTIVATION, FXBIN_HARDTANH));
    CHECK(between("threads", call->threads, 1, MAX_THREADS));
    bool is_bits = call->x_dtype == FXBIN_BITS;
    size_t item = item_of(call->x_dtype);

    const int64_t *in = call->x.shape;
    CHECK(between("batch", in[0], 0, MAX_SIZE));
    int64_t out[4] = {in[0], shape->filters, 0, 0};
    CHECK(fxbin_output_size(shape, in + 2, out + 2));
    int64_t expected[4] = {in[0], is_bits ? words_of(shape->channels) : shape->channels, in[2], in[3]};
    CHECK(between("pixels of x", in[2] * in[3], 1, MAX_PIXELS));
    CHECK(between("pixels of y", out[2] * out[3], 1, MAX_PIXELS));
    CHECK(check_tensor("x", &call->x, expected, item));
    CHECK(check_output(shape, call, out));
    if (call->residual.data != NULL) CHECK(check_tensor("residual", &call->residual, out, sizeof(float)));

    int64_t bytes = shape->filters * taps_of(shape) * tap_bytes(shape), filters = shape->filters;
    int64_t channels = is_bits ? 0 : shape->channels;
    CHECK(check_vector("thresholds", call->thresholds, call->thresholds_size, channels, item, is_bits));
    CHECK(check_vector("weight bits", call->weight_bits, call->weight_bits_size, bytes, 1, false));
    CHECK(check_vector("x levels", call->x_levels, call->x_levels_size, 2, sizeof(float), false));
    CHECK(check_vector("w levels", call->w_levels, call->w_levels_size, 2 * filters, sizeof(float), false));
    CHECK(check_vector("bias", call->bias, call->bias_size, filters, sizeof(float), true));
    bool has_slope = call->activation == FXBIN_PRELU;
    if (!has_slope && call->slope != NULL) {
        return fail(FXBIN_BAD_ARGUMENT, "slope: expected null without FXBIN_PRELU");
    }
    return check_vector("slope", call->slope, call->slope_size, filters, sizeof(float), !has_slope);
}

int check_weight(const fxbin_float_call *call) {
    if (call == NULL) return fail(FXBIN_BAD_ARGUMENT, "call: expected a pointer, got null");
    if (call->struct_size != (int64_t)sizeof(fxbin_float_call)) {
        return fail(FXBIN_BAD_ARGUMENT, "call: its struct is of another version of the engine");
    }
    const fxbin_shape *shape = &call->shape;
    CHECK(check_shape(shape));
    int64_t values = shape->filters * inputs_of(shape), scales = call->scales_size == 1 ? 1 : shape->filters;
    CHECK(check_vector("weight", call->weight, call->weight_size, values, sizeof(float), false));
    int64_t centers = call->centers_size == 1 ? 1 : shape->filters;
    CHECK(check_vector("centers", call->centers, call->centers_size, centers, sizeof(float), true));
    return check_vector("scales", call->scales, call->scales_size, scales, sizeof(float), false);
}

/** Check sizes whose product is the number of values of a tensor, which then cannot overflow. */
static int check_sizes(int64_t pictures, int64_t channels, int64_t plane, int64_t is_planar) {
    CHECK(between("pictures", pictures, 1, MAX_SIZE));
    CHECK(between("channels", channels, 1, MAX_SIZE));
    CHECK(between("plane", plane, 1, MAX_PIXELS));
    CHECK(between("is_planar", is_planar, 0, 1));
    return between("numbers of a picture", channels * plane, 1, MAX_ELEMENTS / pictures);
}

/** Check the estimator, from `first` on, and the numbers that it has. */
static int check_estimator(int64_t estimator, int64_t first, float parameter, float peak) {
    CHECK(between("estimator", estimator, first, FXBIN_SWISH_SIGN));
    if (estimator >= FXBIN_CLIPPED && !(parameter > 0)) {
        return fail(FXBIN_BAD_ARGUMENT, "parameter: expected a number above 0");
    }
    if (estimator == FXBIN_EDE && !(peak > 0)) return fail(FXBIN_BAD_ARGUMENT, "peak: expected a number above 0");
    return FXBIN_OK;
}

int check_ste(const fxbin_ste_call *call) {
    if (call == NULL) return fail(FXBIN_BAD_ARGUMENT, "call: expected a pointer, got null");
    if (call->struct_size != (int64_t)sizeof(fxbin_ste_call)) {
        return fail(FXBIN_BAD_ARGUMENT, "call: its struct is of another version of the engine");
    }
    CHECK(check_sizes(call->pictures, call->channels, call->plane, call->is_planar));
    CHECK(between("threads", call->threads, 1, MAX_THREADS));
    int64_t count = call->pictures * call->channels * call->plane;
    CHECK(check_vector("g", call->g, call->size, count, sizeof(float), false));
    CHECK(check_vector("x", call->x, call->size, count, sizeof(float), false));
    CHECK(check_vector("grad_x", call->grad_x, call->size, count, sizeof(float), false));
    CHECK(check_vector("fired", call->fired, call->size, count, sizeof(float), false));
    CHECK(check_vector(
        "thresholds", call->thresholds, call->thresholds_size, call->channels, sizeof(float), false
    ));
    CHECK(check_estimator(call->estimator, FXBIN_WINDOW, call->parameter, call->peak));
    if (call->estimator != FXBIN_WINDOW && !(call->low < call->high)) {
        return fail(FXBIN_BAD_ARGUMENT, "low: expected a number below high");
    }
    int64_t sums = call->channels + (call->estimator == FXBIN_WINDOW ? 1 : 2);
    return check_vector("sums", call->sums, call->sums_size, sums, sizeof(double), false);
}

int check_count(const fxbin_count_call *call) {
    if (call == NULL) return fail(FXBIN_BAD_ARGUMENT, "call: expected a pointer, got null");
    if (call->struct_size != (int64_t)sizeof(fxbin_count_call)) {
        return fail(FXBIN_BAD_ARGUMENT, "call: its struct is of another version of the engine");
    }
    CHECK(check_sizes(call->pictures, call->channels, call->plane, call->is_planar));
    CHECK(between("threads", call->threads, 1, MAX_THREADS));
    int64_t channels = call->channels, count = call->pictures * channels * call->plane;
    CHECK(check_vector("x", call->x, call->size, count, sizeof(float), false));
    CHECK(check_vector("thresholds", call->thresholds, call->thresholds_size, channels, sizeof(float), false));
    return check_vector("counts", call->counts, call->counts_size, channels, sizeof(int64_t), false);
}

int check_rprelu(const fxbin_rprelu_call *call, bool has_gradients) {
    if (call == NULL) return fail(FXBIN_BAD_ARGUMENT, "call: expected a pointer, got null");
    if (call->struct_size != (int64_t)sizeof(fxbin_rprelu_call)) {
        return fail(FXBIN_BAD_ARGUMENT, "call: its struct is of another version of the engine");
    }
    CHECK(check_sizes(call->pictures, call->channels, call->plane, call->is_planar));
    CHECK(between("threads", call->threads, 1, MAX_THREADS));
    int64_t channels = call->channels, count = call->pictures * channels * call->plane;
    CHECK(check_vector("x", call->x, call->size, count, sizeof(float), false));
    CHECK(check_vector("y", call->y, call->size, count, sizeof(float), false));
    CHECK(check_vector("gamma", call->gamma, channels, channels, sizeof(float), false));
    CHECK(check_vector("zeta", call->zeta, channels, channels, sizeof(float), false));
    CHECK(check_vector("beta", call->beta, channels, channels, sizeof(float), false));
    if (!has_gradients) return FXBIN_OK;
    CHECK(check_vector("g", call->g, call->size, count, sizeof(float), false));
    CHECK(check_vector("grad_gamma", call->grad_gamma, channels, channels, sizeof(float), false));
    CHECK(check_vector("grad_zeta", call->grad_zeta, channels, channels, sizeof(float), false));
    return check_vector("grad_beta", call->grad_beta, channels, channels, sizeof(float), false);
}

int check_levels(const float *w, int64_t size, const float *scales, int64_t scales_size, const float *y) {
    CHECK(between("scales", scales_size, 1, MAX_SIZE));
    CHECK(between("weights", size, 1, MAX_ELEMENTS));
    if (size % scales_size) return fail(FXBIN_BAD_ARGUMENT, "scales: expected a divisor of the number of weights");
    CHECK(check_vector("w", w, size, size, sizeof(float), false));
    CHECK(check_vector("scales", scales, scales_size, scales_size, sizeof(float), false));
    return check_vector("y", y, size, size, sizeof(float), false);
}

/** Check what the gradients of the input's levels need. */
static int check_input_levels(const fxbin_weight_call *call) {
    if (call->sums == NULL) return FXBIN_OK;
    CHECK(between("sums", call->sums_size, 3, MAX_SIZE + 2));
    int64_t thresholds = call->grad_thresholds_size == 1 ? 1 : call->sums_size - 2;
    CHECK(check_vector("sums", call->sums, call->sums_size, call->sums_size, sizeof(double), false));
    CHECK(check_vector(
        "grad_thresholds", call->grad_thresholds, call->grad_thresholds_size, thresholds, sizeof(float), false
    ));
    if (!(call->low < call->high)) return fail(FXBIN_BAD_ARGUMENT, "low: expected a number below high");
    int64_t levels = call->grad_levels_size == 1 ? 1 : 2;
    return check_vector("grad_levels", call->grad_levels, call->grad_levels_size, levels, sizeof(float), false);
}

int check_standardize(const fxbin_standardize_call *call, bool has_gradient) {
    if (call == NULL) return fail(FXBIN_BAD_ARGUMENT, "call: expected a pointer, got null");
    if (call->struct_size != (int64_t)sizeof(fxbin_standardize_call)) {
        return fail(FXBIN_BAD_ARGUMENT, "call: its struct is of another version of the engine");
    }
    int64_t size = call->size, filters = call->filters;
    CHECK(between("filters", filters, 1, MAX_SIZE));
    CHECK(between("weights", size, 1, MAX_ELEMENTS));
    if (size % filters) return fail(FXBIN_BAD_ARGUMENT, "filters: expected a divisor of the number of weights");
    CHECK(check_vector("v", call->v, size, size, sizeof(float), false));
    CHECK(check_vector("inverses", call->inverses, filters, filters, sizeof(float), false));
    if (has_gradient) return check_vector("g", call->g, size, size, sizeof(float), false);
    CHECK(check_vector("w", call->w, size, size, sizeof(float), false));
    return check_vector("means", call->means, filters, filters, sizeof(float), false);
}

int check_weight_call(const fxbin_weight_call *call) {
    if (call == NULL) return fail(FXBIN_BAD_ARGUMENT, "call: expected a pointer, got null");
    if (call->struct_size != (int64_t)sizeof(fxbin_weight_call)) {
        return fail(FXBIN_BAD_ARGUMENT, "call: its struct is of another version of the engine");
    }
    int64_t size = call->w_size, filters = call->filters;
    CHECK(between("filters", filters, 1, MAX_SIZE));
    CHECK(between("weights", size, 1, MAX_ELEMENTS));
    if (size % filters) return fail(FXBIN_BAD_ARGUMENT, "filters: expected a divisor of the number of weights");
    CHECK(check_vector("g", call->g, size, size, sizeof(float), false));
    CHECK(check_vector("w", call->w, size, size, sizeof(float), false));
    if (call->scales != NULL) {
        int64_t scales = call->scales_size == 1 ? 1 : filters;
        CHECK(check_vector("scales", call->scales, call->scales_size, scales, sizeof(float), false));
        if (call->products != NULL) {
            CHECK(check_vector("products", call->products, filters, filters, sizeof(float), false));
        }
        CHECK(check_estimator(call->estimator, FXBIN_APPROX_SIGN, call->parameter, call->peak));
        CHECK(between("is_scaled", call->is_scaled, 0, 1));
    }
    return check_input_levels(call);
}

int check_level_call(const fxbin_level_call *call) {
    if (call == NULL) return fail(FXBIN_BAD_ARGUMENT, "call: expected a pointer, got null");
    if (call->struct_size != (int64_t)sizeof(fxbin_level_call)) {
        return fail(FXBIN_BAD_ARGUMENT, "call: its struct is of another version of the engine");
    }
    int64_t channels = call->channels, size = call->w_size;
    CHECK(between("channels", channels, 1, MAX_SIZE));
    CHECK(between("weights", size, 1, MAX_ELEMENTS));
    CHECK(check_vector("grad_w", call->grad_w, size, size, sizeof(float), false));
    CHECK(check_vector("w", call->w, size, size, sizeof(float), false));
    CHECK(check_vector("sums", call->sums, call->sums_size, channels + 1, sizeof(double), false));
    CHECK(check_vector("t", call->t, channels, channels, sizeof(float), false));
    CHECK(check_vector("grad_scale", call->grad_scale, 1, 1, sizeof(float), false));
    return check_vector("grad_logit", call->grad_logit, channels, channels, sizeof(float), false);
}
