/* Runs convolutions of random shapes, for sanitizers to watch: every buffer is a block of the heap of exactly the
 * size that is told. All kernels must give the same floats, and those of a plain loop; what does not fit must be
 * refused.
 *
 *     driver SECONDS SEED
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

static int64_t one_of(const int64_t *values, int64_t count) {
    return values[below(count)];
}

static float number(void) {
    return (float)(below(2001) - 1000) / 1000;
}

static float *numbers(int64_t count) {
    float *made = malloc((size_t)count * sizeof *made);
    for (int64_t i = 0; i < count; i++) made[i] = number();
    return made;
}

static void stop(const char *what, const fxbin_shape *s, const int64_t x[4]) {
    printf(
        "%s: %lld channels, %lld filters, %lld groups, kernel %lldx%lld, stride %lld %lld, dilation %lld %lld, "
        "padding %lld %lld %lld %lld, x %lld %lldx%lld: %s\n",
        what, (long long)s->channels, (long long)s->filters, (long long)s->groups, (long long)s->kernel[0],
        (long long)s->kernel[1], (long long)s->stride[0], (long long)s->stride[1], (long long)s->dilation[0],
        (long long)s->dilation[1], (long long)s->padding[0], (long long)s->padding[1], (long long)s->padding[2],
        (long long)s->padding[3], (long long)x[0], (long long)x[2], (long long)x[3], fxbin_last_error()
    );
    exit(1);
}

/** A dense tensor in one of two layouts. */
static fxbin_tensor tensor(const int64_t shape[4], int channels_last) {
    int64_t size = shape[0] * shape[1] * shape[2] * shape[3];
    fxbin_tensor made = {.data = numbers(size), .size = size};
    memcpy(made.shape, shape, sizeof made.shape);
    int64_t plain[4] = {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1};
    int64_t last[4] = {shape[1] * shape[2] * shape[3], 1, shape[3] * shape[1], shape[1]};
    memcpy(made.stride, channels_last ? last : plain, sizeof plain);
    return made;
}

static float at(const fxbin_tensor *t, int64_t n, int64_t c, int64_t y, int64_t x) {
    return ((float *)t->data)[n * t->stride[0] + c * t->stride[1] + y * t->stride[2] + x * t->stride[3]];
}

/** One number of y by the definition. */
static double by_definition(
    const fxbin_shape *s, const fxbin_call *call, int64_t n, int64_t f, int64_t oy, int64_t ox
) {
    int64_t channels = s->channels / s->groups, group = f / (s->filters / s->groups), bytes = (channels + 7) / 8;
    double sum = call->bias == NULL ? 0 : call->bias[f];
    for (int64_t ky = 0; ky < s->kernel[0]; ky++) {
        for (int64_t kx = 0; kx < s->kernel[1]; kx++) {
            int64_t y = oy * s->stride[0] - s->padding[0] + ky * s->dilation[0];
            int64_t x = ox * s->stride[1] - s->padding[2] + kx * s->dilation[1];
            if (y < 0 || y >= call->x.shape[2] || x < 0 || x >= call->x.shape[3]) continue;
            for (int64_t c = 0; c < channels; c++) {
                int64_t channel = group * channels + c;
                int64_t byte = (f * s->kernel[0] * s->kernel[1] + ky * s->kernel[1] + kx) * bytes + c / 8;
                int w = call->weight_bits[byte] >> (c % 8) & 1;
                int a = at(&call->x, n, channel, y, x) > ((const float *)call->thresholds)[channel];
                sum += (double)call->x_levels[a] * call->w_levels[w * s->filters + f];
            }
        }
    }
    if (call->residual.data != NULL) sum += at(&call->residual, n, f, oy, ox);
    if (call->activation == FXBIN_RELU) return sum < 0 ? 0 : sum;
    if (call->activation == FXBIN_RELU6) return sum < 0 ? 0 : sum > 6 ? 6 : sum;
    if (call->activation == FXBIN_HARDTANH) return sum < -1 ? -1 : sum > 1 ? 1 : sum;
    return call->activation == FXBIN_PRELU && sum < 0 ? sum * call->slope[f] : sum;
}

static void check_values(const fxbin_shape *s, const fxbin_call *call, const float *y, const int64_t out[4]) {
    fxbin_tensor found = call->y;
    found.data = (void *)y;
    for (int i = 0; i < 20; i++) {
        int64_t n = below(out[0]), f = below(out[1]), oy = below(out[2]), ox = below(out[3]);
        double expected = by_definition(s, call, n, f, oy, ox);
        if (fabs(expected - at(&found, n, f, oy, ox)) > 1e-3) stop("a wrong number", s, call->x.shape);
    }
}

/** Words of the bits of a tensor, 64 channels a word, in a block of the heap of their own. */
static fxbin_tensor words(const int64_t of[4], int channels_last) {
    int64_t shape[4] = {of[0], (of[1] + 63) / 64, of[2], of[3]};
    fxbin_tensor made = tensor(shape, channels_last);
    free(made.data);
    made.data = malloc((size_t)made.size * sizeof(uint64_t));
    memset(made.data, 0xff, (size_t)made.size * sizeof(uint64_t));
    return made;
}

static uint64_t *word_at(const fxbin_tensor *t, int64_t n, int64_t c, int64_t y, int64_t x) {
    int64_t element = n * t->stride[0] + c / 64 * t->stride[1] + y * t->stride[2] + x * t->stride[3];
    return (uint64_t *)t->data + element;
}

/** Bits in place of the floats of y, and of x: the same convolution. */
static void check_bits(fxbin_weights *weights, const fxbin_shape *s, const fxbin_call *floats, const float *y) {
    const int64_t *in = floats->x.shape, *out = floats->y.shape;
    fxbin_call call = *floats;
    float *thresholds = numbers(s->filters);
    call.y_bits = words(out, (int)below(2)), call.y_thresholds = thresholds, call.y_thresholds_size = s->filters;
    if (below(2)) call.y.data = NULL;
    fxbin_tensor of_y = floats->y;
    of_y.data = (void *)y;
    for (int64_t kernel = -1; kernel < 0 || fxbin_kernel_name(kernel) != NULL; kernel++) {
        call.kernel = kernel < 0 ? NULL : fxbin_kernel_name(kernel);
        memset(call.y_bits.data, 0xff, (size_t)call.y_bits.size * sizeof(uint64_t));
        if (fxbin_convolve(weights, &call) != FXBIN_OK) stop("bits refused", s, in);
        for (int64_t i = 0; i < out[0] * out[1] * out[2] * out[3]; i++) {
            int64_t column = i % out[3], row = i / out[3] % out[2], f = i / out[3] / out[2] % out[1];
            int64_t n = i / out[3] / out[2] / out[1], bit = *word_at(&call.y_bits, n, f, row, column) >> f % 64 & 1;
            if (bit != (at(&of_y, n, f, row, column) > thresholds[f])) stop("a wrong bit", s, in);
        }
    }
    call.y_bits.size--;
    if (fxbin_convolve(weights, &call) != FXBIN_BAD_ARGUMENT) stop("bits outside", s, in);
    free(call.y_bits.data), free(thresholds);
    fxbin_call of_bits = *floats;
    of_bits.x = words(in, (int)below(2)), of_bits.x_dtype = FXBIN_BITS;
    of_bits.thresholds = NULL, of_bits.thresholds_size = 0;
    for (int64_t i = 0; i < in[0] * in[1] * in[2] * in[3]; i++) {
        int64_t column = i % in[3], row = i / in[3] % in[2], c = i / in[3] / in[2] % in[1];
        int64_t n = i / in[3] / in[2] / in[1];
        int is_high = at(&floats->x, n, c, row, column) > ((const float *)floats->thresholds)[c];
        uint64_t *word = word_at(&of_bits.x, n, c, row, column), bit = (uint64_t)1 << c % 64;
        *word = is_high ? *word | bit : *word & ~bit;
    }
    if (fxbin_convolve(weights, &of_bits) != FXBIN_OK) stop("bits refused", s, in);
    if (memcmp(y, of_bits.y.data, (size_t)of_bits.y.size * sizeof *y)) stop("bits and floats differ", s, in);
    free(of_bits.x.data);
}

/** Take away what the call needs, one thing at a time: it must be refused. */
static void check_refusals(fxbin_weights *weights, const fxbin_shape *s, const fxbin_call *good) {
    for (int i = 0; i < 10; i++) {
        fxbin_call bad = *good;
        if (i == 0) bad.x.size--;
        if (i == 1) bad.y.size--;
        if (i == 2) bad.thresholds_size--;
        if (i == 3) bad.weight_bits_size--;
        if (i == 4) bad.w_levels_size--;
        if (i == 5) bad.x.stride[below(4)] = -1;
        if (i == 6) bad.y.shape[1 + below(3)]++;
        if (i == 7) bad.x.stride[2] += (int64_t)1 << 60;
        if (i == 8) bad.x.data = NULL;
        if (i == 9) {
            int axis = (int)below(4);
            if (bad.y.shape[axis] == 1) continue;
            bad.y.stride[axis] = 0;
        }
        if (fxbin_convolve(weights, &bad) != FXBIN_BAD_ARGUMENT) stop("something missing", s, good->x.shape);
    }
}

/** The constants of a convolution, which are the same in all of its calls. */
typedef struct {
    uint8_t *bits;
    float *thresholds, *w_levels, *bias, *slope, *x_levels;
} constants;

static int64_t bit_bytes(const fxbin_shape *s) {
    return s->filters * s->kernel[0] * s->kernel[1] * ((s->channels / s->groups + 7) / 8);
}

static constants random_constants(const fxbin_shape *s) {
    constants made = {.bits = malloc((size_t)bit_bytes(s))};
    for (int64_t i = 0; i < bit_bytes(s); i++) made.bits[i] = (uint8_t)below(256);
    made.thresholds = numbers(s->channels), made.w_levels = numbers(2 * s->filters);
    made.bias = numbers(s->filters), made.slope = numbers(s->filters), made.x_levels = numbers(2);
    if (below(2)) made.x_levels[0] = 0;
    // Levels around 0, as of most networks: then y rises or falls with the sum of a filter, whatever the pixel.
    if (below(2)) {
        for (int64_t f = 0; f < s->filters; f++) made.w_levels[f] = -made.w_levels[s->filters + f];
    }
    return made;
}

static void release(const constants *of) {
    free(of->bits), free(of->thresholds), free(of->w_levels), free(of->bias), free(of->slope), free(of->x_levels);
}

/** A call with an input of a random size, layouts and epilogue, by all kernels; then with bits. */
static void run_call(fxbin_weights *weights, const fxbin_shape *s, const constants *of) {
    int64_t most = s->channels * s->filters < 64 ? 26 : 10;
    int64_t in[4] = {1 + below(2), s->channels, 1 + below(most), 1 + below(most)}, out[4] = {in[0], s->filters, 0, 0};
    if (fxbin_output_size(s, in + 2, out + 2) != FXBIN_OK) return;
    fxbin_call call = {
        .struct_size = sizeof call,
        .x = tensor(in, (int)below(2)),
        .thresholds = of->thresholds,
        .thresholds_size = s->channels,
        .x_levels = of->x_levels,
        .x_levels_size = 2,
        .weight_bits = of->bits,
        .weight_bits_size = bit_bytes(s),
        .w_levels = of->w_levels,
        .w_levels_size = 2 * s->filters,
        .activation = below(2) ? FXBIN_NO_ACTIVATION : below(5),
        .y = tensor(out, (int)below(2)),
        .threads = 1 + below(2),
    };
    if (below(2)) call.bias = of->bias, call.bias_size = s->filters;
    if (below(2)) call.residual = tensor(out, (int)below(2));
    if (call.activation == FXBIN_PRELU) call.slope = of->slope, call.slope_size = s->filters;
    float *first = malloc((size_t)call.y.size * sizeof *first);
    for (int64_t i = -1; i < 0 || fxbin_kernel_name(i) != NULL; i++) {
        call.kernel = i < 0 ? NULL : fxbin_kernel_name(i);
        if (fxbin_convolve(weights, &call) != FXBIN_OK) stop("refused", s, in);
        if (i < 0) memcpy(first, call.y.data, (size_t)call.y.size * sizeof *first);
        if (memcmp(first, call.y.data, (size_t)call.y.size * sizeof *first)) stop("kernels differ", s, in);
    }
    check_values(s, &call, first, out);
    check_refusals(weights, s, &call);
    call.kernel = NULL;
    check_bits(weights, s, &call, first);
    free(first), free(call.x.data), free(call.y.data), free(call.residual.data);
}

/** Several calls with the same weights: what one of them leaves behind must suit the others. */
static void run_one(void) {
    static const int64_t channels[] = {1, 1, 2, 3, 5, 8, 13, 16, 31, 32, 64, 65, 96, 130};
    static const int64_t filters[] = {1, 1, 2, 3, 16, 31, 32, 33, 64, 70, 128, 256, 260};
    fxbin_shape s = {.groups = below(3) ? 1 : 1 + below(below(2) ? 4 : 40)};
    s.channels = s.groups * one_of(channels, s.groups > 1 ? 9 : 14);
    s.filters = s.groups * one_of(filters, s.groups > 1 ? 9 : 13);
    if (below(6) == 0) s.channels = s.filters = s.groups = below(2) ? 1 : 1 + below(70);
    for (int axis = 0; axis < 2; axis++) {
        s.kernel[axis] = 1 + below(below(8) ? 4 : 7);
        s.stride[axis] = 1 + below(3);
        s.dilation[axis] = 1 + below(3);
    }
    for (int side = 0; side < 4; side++) s.padding[side] = below(5);
    constants of = random_constants(&s);
    fxbin_weights *weights;
    if (fxbin_weights_create(&s, &weights) != FXBIN_OK) stop("no weights", &s, (int64_t[4]){0});
    int64_t calls = 1 + below(4);
    for (int64_t call = 0; call < calls; call++) run_call(weights, &s, &of);
    fxbin_weights_destroy(weights);
    release(&of);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    state = (uint64_t)atoll(arguments[2]);
    clock_t end = clock() + (clock_t)(atof(arguments[1]) * CLOCKS_PER_SEC);
    int runs = 0;
    for (; clock() < end; runs++) run_one();
    printf("%d shapes\n", runs);
    return runs < 3;
}
