/* The engine as operators of onnxruntime, domain "fxbin", version 1:
 *
 *     y = activation(conv(x > thresholds ? x_high : x_low, weights of weight_bits and w_levels) + bias + residual)
 *
 *     BinaryConv2d, also with Relu, Relu6, Hardtanh, PRelu behind the name: x, thresholds, x_levels, weight_bits,
 *     BinaryConv2dAdd, also with these behind the name:                     w_levels, bias, then the residual, slope
 *
 * in the dtypes and sizes of `fxbin_call`, with the attributes of ONNX's Conv, all required. x, the residual and y are
 * ``(n, h, w, c)``: the engine reads and writes all channels of a pixel at a time. Files that
 * `fxbin.export_onnx` writes define the same names as functions of standard operators, which run where this library
 * is not registered. Every input of an operator is required, as a function cannot tell whether one is given.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "errors.h"
#include "fxbin_engine.h"
#include "onnxruntime_api.h"
#include "shape.h"

#define DOMAIN "fxbin"
#define MOST_THREADS 64

enum { X, THRESHOLDS, X_LEVELS, WEIGHT_BITS, W_LEVELS, BIAS, ALWAYS };

typedef struct {
    OrtCustomOp face; /**< first, because onnxruntime passes its address */
    const char *name;
    bool has_residual;
    int64_t activation; /**< enum fxbin_activation */
} binary_conv2d;

typedef struct {
    const binary_conv2d *op;
    const OrtApi *api;
    fxbin_shape shape;
    fxbin_weights *weights;
    int64_t cpus;
} conv_kernel;

typedef struct {
    void *data;
    int64_t size; /**< in elements */
    size_t axes;
    int64_t shape[4]; /**< of at most the first four axes */
} tensor_value;

#define TRY(expression)                          \
    do {                                         \
        OrtStatus *status_ = (expression);       \
        if (status_ != NULL) return status_;     \
    } while (0)

/** Turn a status of the engine into one of onnxruntime with the engine's message; null for FXBIN_OK. */
static OrtStatus *status_of(const OrtApi *api, int status) {
    if (status == FXBIN_OK) return NULL;
    return api->CreateStatus(status == FXBIN_BAD_ARGUMENT ? ORT_INVALID_ARGUMENT : ORT_FAIL, fxbin_last_error());
}

static OrtStatus *read_shape(const OrtApi *api, const OrtTensorTypeAndShapeInfo *info, tensor_value *found) {
    size_t size;
    TRY(api->GetTensorShapeElementCount(info, &size));
    found->size = (int64_t)size;
    TRY(api->GetDimensionsCount(info, &found->axes));
    return found->axes > 4 ? NULL : api->GetDimensions(info, found->shape, found->axes);
}

static OrtStatus *read_value(const OrtApi *api, const OrtValue *value, tensor_value *found) {
    OrtTensorTypeAndShapeInfo *info;
    TRY(api->GetTensorTypeAndShape(value, &info));
    OrtStatus *status = read_shape(api, info, found);
    api->ReleaseTensorTypeAndShapeInfo(info);
    if (status != NULL) return status;
    return api->GetTensorMutableData((OrtValue *)value, &found->data);
}

static OrtStatus *read_input(
    const OrtApi *api, const OrtKernelContext *context, size_t index, tensor_value *found
) {
    const OrtValue *value;
    TRY(api->KernelContext_GetInput(context, index, &value));
    return read_value(api, value, found);
}

/** Read an input that must be the same in every call, because the engine keeps forms of it. */
static OrtStatus *read_constant(
    const OrtApi *api, const OrtKernelInfo *info, size_t index, const char *name, size_t axes, tensor_value *found
) {
    int is_constant = 0;
    const OrtValue *value = NULL;
    TRY(api->KernelInfoGetConstantInput_tensor(info, index, &is_constant, &value));
    if (!is_constant || value == NULL) {
        return status_of(api, fail(FXBIN_BAD_ARGUMENT, "%s: expected an initializer, got a computed value", name));
    }
    TRY(read_value(api, value, found));
    if (found->axes == axes) return NULL;
    return status_of(
        api, fail(FXBIN_BAD_ARGUMENT, "%s: expected %d axes, got %d", name, (int)axes, (int)found->axes)
    );
}

static OrtStatus *read_numbers(
    const OrtApi *api, const OrtKernelInfo *info, const char *name, int64_t *numbers, size_t count
) {
    size_t found = count;
    OrtStatus *status = api->KernelInfoGetAttributeArray_int64(info, name, numbers, &found);
    if (status == NULL && found == count) return NULL;
    // onnxruntime does not say the name of what is missing.
    if (status != NULL) api->ReleaseStatus(status);
    return status_of(api, fail(FXBIN_BAD_ARGUMENT, "%s: expected %d numbers", name, (int)count));
}

static OrtStatus *read_attributes(const OrtApi *api, const OrtKernelInfo *info, fxbin_shape *shape) {
    int64_t pads[4];
    TRY(read_numbers(api, info, "kernel_shape", shape->kernel, 2));
    TRY(read_numbers(api, info, "strides", shape->stride, 2));
    TRY(read_numbers(api, info, "dilations", shape->dilation, 2));
    TRY(read_numbers(api, info, "pads", pads, 4));
    for (int side = 0; side < 4; side++) {
        shape->padding[side] = pads[2 * (side % 2) + side / 2]; // ONNX has the order top, left, bottom, right
    }
    OrtStatus *status = api->KernelInfoGetAttribute_int64(info, "group", &shape->groups);
    if (status == NULL) return NULL;
    api->ReleaseStatus(status);
    return status_of(api, fail(FXBIN_BAD_ARGUMENT, "group: expected a number"));
}

/** Check the shape of an input: a wrong one may have the right number of elements. */
static OrtStatus *check_axes(
    const OrtApi *api, const char *name, const tensor_value *value, size_t axes, const int64_t *expected
) {
    if (value->axes != axes) {
        return status_of(
            api, fail(FXBIN_BAD_ARGUMENT, "%s: expected %d axes, got %d", name, (int)axes, (int)value->axes)
        );
    }
    for (size_t axis = 0; axis < axes; axis++) {
        if (value->shape[axis] != expected[axis]) {
            return status_of(
                api,
                fail(
                    FXBIN_BAD_ARGUMENT,
                    "%s: expected %lld on axis %d, got %lld",
                    name,
                    (long long)expected[axis],
                    (int)axis,
                    (long long)value->shape[axis]
                )
            );
        }
    }
    return NULL;
}

static OrtStatus *read_kernel(conv_kernel *self, const OrtKernelInfo *info) {
    const OrtApi *api = self->api;
    tensor_value thresholds, bits;
    TRY(read_attributes(api, info, &self->shape));
    TRY(read_constant(api, info, THRESHOLDS, "thresholds", 1, &thresholds));
    TRY(read_constant(api, info, WEIGHT_BITS, "weight_bits", 3, &bits));
    self->shape.channels = thresholds.shape[0];
    self->shape.filters = bits.shape[0];
    TRY(status_of(api, fxbin_weights_create(&self->shape, &self->weights)));
    const int64_t expected[3] = {self->shape.filters, taps_of(&self->shape), tap_bytes(&self->shape)};
    return check_axes(api, "weight_bits", &bits, 3, expected);
}

/** A session does not say how many threads it has, so work is divided as for one thread on each CPU. */
static int64_t count_cpus(void) {
    return max_of(1, min_of(sysconf(_SC_NPROCESSORS_ONLN), MOST_THREADS));
}

static void destroy_kernel(void *kernel) {
    conv_kernel *self = kernel;
    fxbin_weights_destroy(self->weights);
    free(self);
}

/** Add the name of the node to `status`, which onnxruntime does not say while it creates a session. */
static OrtStatus *of_node(const OrtApi *api, const OrtKernelInfo *info, OrtStatus *status) {
    char name[512], text[1024];
    size_t size = sizeof name;
    OrtStatus *unnamed = api->KernelInfo_GetNodeName(info, name, &size);
    if (unnamed != NULL) {
        api->ReleaseStatus(unnamed);
        return status;
    }
    snprintf(text, sizeof text, "%s: %s", name, api->GetErrorMessage(status));
    OrtStatus *named = api->CreateStatus(api->GetErrorCode(status), text);
    api->ReleaseStatus(status);
    return named;
}

static OrtStatus *create_kernel(
    const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel
) {
    conv_kernel *self = calloc(1, sizeof *self);
    if (self == NULL) return status_of(api, fail(FXBIN_OUT_OF_MEMORY, "no memory for the kernel"));
    self->op = (const binary_conv2d *)(const void *)op;
    self->api = api;
    self->cpus = count_cpus();
    OrtStatus *status = read_kernel(self, info);
    if (status != NULL) {
        destroy_kernel(self);
        return of_node(api, info, status);
    }
    *kernel = self;
    return NULL;
}

/** Describe a dense tensor ``(n, h, w, c)`` for the engine. */
static OrtStatus *as_tensor(const OrtApi *api, const char *name, const tensor_value *value, fxbin_tensor *tensor) {
    if (value->axes != 4) {
        return status_of(api, fail(FXBIN_BAD_ARGUMENT, "%s: expected 4 axes, got %d", name, (int)value->axes));
    }
    tensor->data = value->data;
    tensor->size = value->size;
    static const int axes[4] = {0, 2, 3, 1}; // those of the engine, by axis of the value
    int64_t stride = 1;
    for (int axis = 3; axis >= 0; axis--) {
        tensor->shape[axes[axis]] = value->shape[axis];
        tensor->stride[axes[axis]] = stride;
        // Without overflow: after a batch of 0, sizes may be anything. The engine rejects what is below 0.
        stride = (int64_t)((uint64_t)stride * (uint64_t)value->shape[axis]);
    }
    return NULL;
}

/** Repeat axes of the residual that have one element, like Add. */
static void broadcast(fxbin_tensor *residual, const int64_t shape[4]) {
    for (int axis = 0; axis < 4; axis++) {
        if (residual->shape[axis] == 1) residual->shape[axis] = shape[axis], residual->stride[axis] = 0;
    }
}

/** The threads of the session. */
typedef struct {
    const OrtApi *api;
    const OrtKernelContext *context;
    void (*body)(void *body_context, int64_t index);
    void *body_context;
    OrtStatus *status;
} session_threads;

static void run_body(void *data, size_t index) {
    const session_threads *threads = data;
    threads->body(threads->body_context, (int64_t)index);
}

static void on_session_threads(
    void *context, int64_t count, void (*body)(void *body_context, int64_t index), void *body_context
) {
    session_threads *threads = context;
    threads->body = body;
    threads->body_context = body_context;
    threads->status = threads->api->KernelContext_ParallelFor(threads->context, run_body, (size_t)count, 0, threads);
}

/** Check the shapes of the inputs that `fxbin_call` has only the number of elements of. */
static OrtStatus *check_inputs(const conv_kernel *self, const tensor_value values[ALWAYS]) {
    const OrtApi *api = self->api;
    const fxbin_shape *shape = &self->shape;
    const int64_t two_of_each[2] = {2, shape->filters}, bits[3] = {shape->filters, taps_of(shape), tap_bytes(shape)};
    TRY(check_axes(api, "thresholds", &values[THRESHOLDS], 1, &shape->channels));
    TRY(check_axes(api, "x_levels", &values[X_LEVELS], 1, two_of_each));
    TRY(check_axes(api, "weight_bits", &values[WEIGHT_BITS], 3, bits));
    TRY(check_axes(api, "w_levels", &values[W_LEVELS], 2, two_of_each));
    return check_axes(api, "bias", &values[BIAS], 1, &shape->filters);
}

static OrtStatus *read_call(const conv_kernel *self, OrtKernelContext *context, fxbin_call *call) {
    const OrtApi *api = self->api;
    tensor_value values[ALWAYS], other;
    for (size_t i = 0; i < ALWAYS; i++) TRY(read_input(api, context, i, &values[i]));
    TRY(check_inputs(self, values));
    TRY(as_tensor(api, "x", &values[X], &call->x));
    call->thresholds = values[THRESHOLDS].data, call->thresholds_size = values[THRESHOLDS].size;
    call->x_levels = values[X_LEVELS].data, call->x_levels_size = values[X_LEVELS].size;
    call->weight_bits = values[WEIGHT_BITS].data, call->weight_bits_size = values[WEIGHT_BITS].size;
    call->w_levels = values[W_LEVELS].data, call->w_levels_size = values[W_LEVELS].size;
    call->bias = values[BIAS].data, call->bias_size = values[BIAS].size;
    size_t next = ALWAYS;
    if (self->op->has_residual) {
        TRY(read_input(api, context, next++, &other));
        TRY(as_tensor(api, "residual", &other, &call->residual));
    }
    if (self->op->activation == FXBIN_PRELU) {
        TRY(read_input(api, context, next, &other));
        TRY(check_axes(api, "slope", &other, 1, &self->shape.filters));
        call->slope = other.data, call->slope_size = other.size;
    }
    return NULL;
}

static OrtStatus *make_output(const conv_kernel *self, OrtKernelContext *context, fxbin_call *call) {
    const OrtApi *api = self->api;
    int64_t size[2];
    TRY(status_of(api, fxbin_output_size(&self->shape, call->x.shape + 2, size)));
    const int64_t shape[4] = {call->x.shape[0], size[0], size[1], self->shape.filters};
    OrtValue *output;
    TRY(api->KernelContext_GetOutput(context, 0, shape, 4, &output));
    tensor_value y;
    TRY(read_value(api, output, &y));
    return as_tensor(api, "y", &y, &call->y);
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context) {
    const conv_kernel *self = kernel;
    const OrtApi *api = self->api;
    session_threads threads = {.api = api, .context = context};
    fxbin_call call = {
        .struct_size = sizeof call,
        .x_dtype = FXBIN_FLOAT32,
        .activation = self->op->activation,
        .threads = self->cpus,
        .parallel_for = on_session_threads,
        .parallel_context = &threads,
    };
    TRY(read_call(self, context, &call));
    TRY(make_output(self, context, &call));
    if (self->op->has_residual) broadcast(&call.residual, call.y.shape);
    TRY(status_of(api, fxbin_convolve(self->weights, &call)));
    return threads.status;
}

static const char *name_of(const OrtCustomOp *op) {
    return ((const binary_conv2d *)(const void *)op)->name;
}

static const char *runs_on_cpu(const OrtCustomOp *op) {
    (void)op;
    return NULL;
}

static size_t count_inputs(const OrtCustomOp *op) {
    const binary_conv2d *self = (const void *)op;
    return ALWAYS + (size_t)self->has_residual + (size_t)(self->activation == FXBIN_PRELU);
}

static int type_of_input(const OrtCustomOp *op, size_t index) {
    (void)op;
    return index == WEIGHT_BITS ? ORT_UINT8 : ORT_FLOAT;
}

static size_t count_outputs(const OrtCustomOp *op) {
    (void)op;
    return 1;
}

static int type_of_output(const OrtCustomOp *op, size_t index) {
    (void)op, (void)index;
    return ORT_FLOAT;
}

static int is_required(const OrtCustomOp *op, size_t index) {
    (void)op, (void)index;
    return ORT_REQUIRED;
}

/** Return OrtMemTypeDefault. */
static int memory_type(const OrtCustomOp *op, size_t index) {
    (void)op, (void)index;
    return 0;
}

static int only_version(const OrtCustomOp *op) {
    (void)op;
    return 1;
}

#define FACE                                        \
    {                                               \
        .version = ORT_VERSION,                     \
        .GetName = name_of,                         \
        .GetExecutionProviderType = runs_on_cpu,    \
        .GetInputType = type_of_input,              \
        .GetInputTypeCount = count_inputs,          \
        .GetOutputType = type_of_output,            \
        .GetOutputTypeCount = count_outputs,        \
        .KernelDestroy = destroy_kernel,            \
        .GetInputCharacteristic = is_required,      \
        .GetOutputCharacteristic = is_required,     \
        .GetInputMemoryType = memory_type,          \
        .CreateKernelV2 = create_kernel,            \
        .KernelComputeV2 = compute,                 \
        .GetStartVersion = only_version,            \
        .GetEndVersion = only_version,              \
    }

static const binary_conv2d operators[] = {
    {FACE, "BinaryConv2d", false, FXBIN_NO_ACTIVATION},
    {FACE, "BinaryConv2dRelu", false, FXBIN_RELU},
    {FACE, "BinaryConv2dPRelu", false, FXBIN_PRELU},
    {FACE, "BinaryConv2dRelu6", false, FXBIN_RELU6},
    {FACE, "BinaryConv2dHardtanh", false, FXBIN_HARDTANH},
    {FACE, "BinaryConv2dAdd", true, FXBIN_NO_ACTIVATION},
    {FACE, "BinaryConv2dAddRelu", true, FXBIN_RELU},
    {FACE, "BinaryConv2dAddPRelu", true, FXBIN_PRELU},
    {FACE, "BinaryConv2dAddRelu6", true, FXBIN_RELU6},
    {FACE, "BinaryConv2dAddHardtanh", true, FXBIN_HARDTANH},
};

static pthread_mutex_t making_domain = PTHREAD_MUTEX_INITIALIZER;

/** Return the domain for one onnxruntime. It is created once and never freed, because sessions point to it. */
static OrtStatus *domain_of(const OrtApi *api, OrtCustomOpDomain **domain) {
    static const OrtApi *its_api;
    static OrtCustomOpDomain *made;
    if (its_api != api) {
        TRY(api->CreateCustomOpDomain(DOMAIN, &made));
        for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
            TRY(api->CustomOpDomain_Add(made, &operators[i].face));
        }
        its_api = api;
    }
    *domain = made;
    return NULL;
}

/** Called by ``SessionOptions.register_custom_ops_library``. */
FXBIN_API OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base) {
    const OrtApi *api = base->GetApi(ORT_VERSION);
    if (api == NULL) {
        return base->GetApi(1)->CreateStatus(ORT_FAIL, "the operators of fxbin need onnxruntime 1.18 or newer");
    }
    OrtCustomOpDomain *domain = NULL;
    pthread_mutex_lock(&making_domain);
    OrtStatus *status = domain_of(api, &domain);
    pthread_mutex_unlock(&making_domain);
    return status != NULL ? status : api->AddCustomOpDomain(options, domain);
}
