/* Plays onnxruntime for sanitizers to watch: an interface whose tensors are blocks of the heap of exactly their size.
 * Operators of random shapes must give what the engine gives; of what does not fit, a status.
 *
 *     onnxruntime_driver SECONDS SEED
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fxbin_engine.h"
#include "onnxruntime_api.h"

OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base);

#define MOST_INPUTS 8

struct OrtStatus {
    int code;
    char text[1024];
};

struct OrtValue {
    int64_t sizes[5];
    size_t axes, item;
    bool is_constant;
    void *data;
};

/** One node: its inputs and attributes. */
struct OrtKernelInfo {
    OrtValue *inputs[MOST_INPUTS];
    int64_t kernel_shape[2], strides[2], dilations[2], pads[4], group;
    const char *missing; /**< an attribute that the node does not have; may be null */
};

struct OrtKernelContext {
    struct OrtKernelInfo *node;
    OrtValue *output;
};

struct OrtCustomOpDomain {
    const OrtCustomOp *ops[16];
    int count;
};

struct OrtSessionOptions {
    OrtCustomOpDomain *domain;
};

static uint64_t state;

static int64_t below(int64_t count) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((state >> 33) % (uint64_t)count);
}

static void stop(const char *what, const char *why) {
    printf("%s: %s\n", what, why);
    exit(1);
}

static int64_t count_of(const OrtValue *value) {
    int64_t count = 1;
    for (size_t axis = 0; axis < value->axes; axis++) count *= value->sizes[axis];
    return count;
}

/** Numbers from -1 to 1, or bytes. */
static OrtValue *new_value(size_t item, size_t axes, const int64_t *sizes) {
    OrtValue *value = calloc(1, sizeof *value);
    value->axes = axes, value->item = item, value->is_constant = true;
    memcpy(value->sizes, sizes, axes * sizeof *sizes);
    int64_t count = count_of(value);
    value->data = malloc((size_t)count * item);
    for (int64_t i = 0; i < count; i++) {
        if (item == 1) ((uint8_t *)value->data)[i] = (uint8_t)below(256);
        if (item == 4) ((float *)value->data)[i] = (float)(below(2001) - 1000) / 1000;
    }
    return value;
}

static void free_value(OrtValue *value) {
    if (value == NULL) return;
    free(value->data);
    free(value);
}

/* The interface. */

static OrtStatus *create_status(int code, const char *message) {
    OrtStatus *status = calloc(1, sizeof *status);
    status->code = code;
    strncpy(status->text, message, sizeof status->text - 1);
    return status;
}

static void release_status(OrtStatus *status) {
    free(status);
}

static int get_code(const OrtStatus *status) {
    return status->code;
}

static const char *get_message(const OrtStatus *status) {
    return status->text;
}

/** Names that take from none to more than all of the room. */
static OrtStatus *get_name(const OrtKernelInfo *info, char *name, size_t *size) {
    size_t needed = (size_t)below(700) + 1;
    (void)info;
    if (*size < needed) return create_status(ORT_FAIL, "no room");
    memset(name, 'n', needed - 1);
    name[needed - 1] = 0;
    *size = needed;
    return NULL;
}

static OrtStatus *create_domain(const char *name, OrtCustomOpDomain **domain) {
    if (strcmp(name, "fxbin") != 0) stop("domain", name);
    static OrtCustomOpDomain only;
    *domain = &only;
    return NULL;
}

static OrtStatus *add_op(OrtCustomOpDomain *domain, const OrtCustomOp *op) {
    domain->ops[domain->count++] = op;
    return NULL;
}

static OrtStatus *add_domain(OrtSessionOptions *options, OrtCustomOpDomain *domain) {
    options->domain = domain;
    return NULL;
}

static OrtStatus *get_data(OrtValue *value, void **data) {
    *data = value->data;
    return NULL;
}

/** A copy on the heap, which the sanitizer misses if it is not given back. */
static OrtStatus *get_info(const OrtValue *value, OrtTensorTypeAndShapeInfo **info) {
    OrtValue *copy = malloc(sizeof *copy);
    *copy = *value;
    *info = (OrtTensorTypeAndShapeInfo *)(void *)copy;
    return NULL;
}

static void release_info(OrtTensorTypeAndShapeInfo *info) {
    free(info);
}

static OrtStatus *get_axes(const OrtTensorTypeAndShapeInfo *info, size_t *count) {
    *count = ((const OrtValue *)(const void *)info)->axes;
    return NULL;
}

static OrtStatus *get_sizes(const OrtTensorTypeAndShapeInfo *info, int64_t *sizes, size_t count) {
    memcpy(sizes, ((const OrtValue *)(const void *)info)->sizes, count * sizeof *sizes);
    return NULL;
}

static OrtStatus *get_count(const OrtTensorTypeAndShapeInfo *info, size_t *count) {
    *count = (size_t)count_of((const OrtValue *)(const void *)info);
    return NULL;
}

static bool is_missing(const OrtKernelInfo *info, const char *name) {
    return info->missing != NULL && strcmp(info->missing, name) == 0;
}

static OrtStatus *get_number(const OrtKernelInfo *info, const char *name, int64_t *value) {
    if (is_missing(info, name)) return create_status(ORT_FAIL, "no such attribute");
    *value = info->group;
    return NULL;
}

static OrtStatus *get_numbers(const OrtKernelInfo *info, const char *name, int64_t *values, size_t *count) {
    bool is_pads = strcmp(name, "pads") == 0;
    const int64_t *found = is_pads                              ? info->pads
                           : strcmp(name, "strides") == 0       ? info->strides
                           : strcmp(name, "dilations") == 0     ? info->dilations
                                                                : info->kernel_shape;
    size_t needed = is_pads ? 4 : 2;
    if (is_missing(info, name) || *count < needed) return create_status(ORT_FAIL, "no such attribute");
    memcpy(values, found, needed * sizeof *values);
    *count = needed;
    return NULL;
}

static OrtStatus *get_constant(const OrtKernelInfo *info, size_t index, int *is_constant, const OrtValue **value) {
    *is_constant = info->inputs[index]->is_constant;
    *value = *is_constant ? info->inputs[index] : NULL;
    return NULL;
}

static OrtStatus *get_input(const OrtKernelContext *context, size_t index, const OrtValue **value) {
    *value = context->node->inputs[index];
    return NULL;
}

static OrtStatus *get_output(
    OrtKernelContext *context, size_t index, const int64_t *sizes, size_t count, OrtValue **value
) {
    if (index != 0 || count != 4) stop("output", "not the only one of four axes");
    free_value(context->output);
    *value = context->output = new_value(sizeof(float), count, sizes);
    return NULL;
}

static OrtStatus *parallel_for(
    const OrtKernelContext *context, void (*body)(void *data, size_t index), size_t total, size_t batches, void *data
) {
    (void)context, (void)batches;
    for (size_t i = total; i-- > 0;) body(data, i);
    return NULL;
}

static const OrtApi api = {
    .CreateStatus = create_status,
    .GetErrorCode = get_code,
    .GetErrorMessage = get_message,
    .CreateCustomOpDomain = create_domain,
    .CustomOpDomain_Add = add_op,
    .AddCustomOpDomain = add_domain,
    .GetTensorMutableData = get_data,
    .GetDimensionsCount = get_axes,
    .GetDimensions = get_sizes,
    .GetTensorShapeElementCount = get_count,
    .GetTensorTypeAndShape = get_info,
    .KernelInfoGetAttribute_int64 = get_number,
    .KernelContext_GetInput = get_input,
    .KernelContext_GetOutput = get_output,
    .ReleaseStatus = release_status,
    .ReleaseTensorTypeAndShapeInfo = release_info,
    .KernelInfoGetAttributeArray_int64 = get_numbers,
    .KernelInfo_GetNodeName = get_name,
    .KernelInfoGetConstantInput_tensor = get_constant,
    .KernelContext_ParallelFor = parallel_for,
};

static const OrtApi *get_api(uint32_t version) {
    return version <= ORT_VERSION ? &api : NULL;
}

static const OrtApi *get_old_api(uint32_t version) {
    return version < ORT_VERSION ? &api : NULL;
}

/* Random nodes. */

static void new_node(OrtKernelInfo *node, const OrtCustomOp *op) {
    int64_t group = 1 + below(3), channels = group * (1 + below(70)), filters = group * (1 + below(40));
    *node = (OrtKernelInfo){.group = group};
    int64_t x[4] = {1 + below(2), 1 + below(7), 1 + below(7), channels}, reach[2];
    for (int axis = 0; axis < 2; axis++) {
        node->kernel_shape[axis] = 1 + below(3);
        node->strides[axis] = 1 + below(2);
        node->dilations[axis] = 1 + below(2);
        node->pads[axis] = below(4);
        node->pads[axis + 2] = below(4);
        reach[axis] = (node->kernel_shape[axis] - 1) * node->dilations[axis] + 1;
        if (x[1 + axis] + node->pads[axis] + node->pads[axis + 2] < reach[axis]) x[1 + axis] = reach[axis];
    }
    int64_t y[4] = {x[0], 0, 0, filters};
    for (int axis = 0; axis < 2; axis++) {
        int64_t padded = x[1 + axis] + node->pads[axis] + node->pads[axis + 2];
        y[1 + axis] = (padded - reach[axis]) / node->strides[axis] + 1;
    }
    int64_t bits[3] = {filters, node->kernel_shape[0] * node->kernel_shape[1], (channels / group + 7) / 8};
    const int64_t two = 2, levels[2] = {2, filters};
    size_t next = 0, count = op->GetInputTypeCount(op);
    bool has_residual = strstr(op->GetName(op), "Add") != NULL;
    node->inputs[next++] = new_value(4, 4, x);
    node->inputs[next++] = new_value(4, 1, &channels);
    node->inputs[next++] = new_value(4, 1, &two);
    node->inputs[next++] = new_value(1, 3, bits);
    node->inputs[next++] = new_value(4, 2, levels);
    node->inputs[next++] = new_value(4, 1, &filters);
    if (has_residual) {
        if (below(2)) y[below(4)] = 1;
        node->inputs[next++] = new_value(4, 4, y);
    }
    if (next < count) node->inputs[next++] = new_value(4, 1, &filters);
    if (next != count) stop(op->GetName(op), "another number of inputs");
}

static void free_node(OrtKernelInfo *node) {
    for (int i = 0; i < MOST_INPUTS; i++) free_value(node->inputs[i]);
}

/** Run the node; return its status, which is to be released, and its output, which is to be freed. */
static OrtStatus *run_node(const OrtCustomOp *op, OrtKernelInfo *node, OrtValue **output) {
    void *kernel = NULL;
    *output = NULL;
    OrtStatus *status = op->CreateKernelV2(op, &api, node, &kernel);
    if (status != NULL) return status;
    OrtKernelContext context = {.node = node};
    for (int64_t calls = 1 + below(2); status == NULL && calls > 0; calls--) {
        status = op->KernelComputeV2(kernel, &context);
    }
    op->KernelDestroy(kernel);
    *output = context.output;
    return status;
}

/** Change one thing so that the node fits no more. */
static void spoil(OrtKernelInfo *node) {
    static const char *const names[] = {"kernel_shape", "strides", "dilations", "pads", "group"};
    int64_t which = below(10);
    OrtValue *value = node->inputs[below(6)];
    if (which == 0) node->missing = names[below(5)];
    if (which == 1) node->inputs[1 + 2 * below(2)]->is_constant = false;
    if (which == 2) node->kernel_shape[below(2)] += 3;
    if (which == 3) node->strides[below(2)] = -below(3);
    if (which == 4) node->pads[below(4)] = ((int64_t)1 << 62) + below(2);
    if (which == 5) node->group = below(2) ? 0 : ((int64_t)1 << 40);
    if (which == 6) node->dilations[below(2)] = below(2) ? -1 : (int64_t)1 << 61;
    if (which < 7) return;
    // One value less or more on an axis, or an axis less, in a block of the size that is left.
    OrtValue other = *value;
    if (which == 7) other.sizes[below((int64_t)other.axes)]--;
    if (which == 8) other.sizes[other.axes - 1]++;
    if (which == 9) other.axes--;
    OrtValue *made = new_value(other.item, other.axes, other.sizes);
    free(value->data);
    *value = *made;
    free(made);
}

/** Whether what was spoiled can be computed all the same: a batch or a picture may be of any size. */
static bool may_fit(const OrtKernelInfo *node, const OrtValue *x) {
    const OrtValue *now = node->inputs[0];
    return now->axes == 4 && now->sizes[3] == x->sizes[3] && memcmp(now->sizes, x->sizes, 32) != 0;
}

static void run_one(const OrtCustomOp *op) {
    OrtKernelInfo node;
    OrtValue *output;
    new_node(&node, op);
    OrtStatus *status = run_node(op, &node, &output);
    if (status != NULL) stop(op->GetName(op), status->text);
    if (output == NULL) stop(op->GetName(op), "no output");
    free_value(output);
    OrtValue x = *node.inputs[0];
    spoil(&node);
    status = run_node(op, &node, &output);
    if (status == NULL && !may_fit(&node, &x)) stop(op->GetName(op), "what does not fit was computed");
    if (status != NULL && status->text[0] == 0) stop(op->GetName(op), "a status without a text");
    release_status(status);
    free_value(output);
    free_node(&node);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    state = (uint64_t)atoll(arguments[2]);
    OrtSessionOptions options = {0};
    const OrtApiBase old = {.GetApi = get_old_api}, base = {.GetApi = get_api};
    OrtStatus *status = RegisterCustomOps(&options, &old);
    if (status == NULL || options.domain != NULL) stop("an old onnxruntime", "taken");
    release_status(status);
    for (int i = 0; i < 2; i++) {
        status = RegisterCustomOps(&options, &base);
        if (status != NULL) stop("registering", status->text);
    }
    if (options.domain->count != 10) stop("registering", "not ten operators, once");
    clock_t end = clock() + (clock_t)(atof(arguments[1]) * CLOCKS_PER_SEC);
    int runs = 0;
    for (; clock() < end; runs++) run_one(options.domain->ops[runs % 6]);
    printf("%d shapes\n", runs);
    return runs < 10;
}
