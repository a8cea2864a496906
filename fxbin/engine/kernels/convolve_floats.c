/* Computes a convolution of a float weight: its signs become bits, which the kernels work on. */
#include <stdlib.h>

#include "check.h"
#include "convolve.h"
#include "cpu.h"
#include "errors.h"
#include "shape.h"

/** Write 1 where a value is above 0, else 0. */
static ALWAYS_INLINE void compare(const float *values, int64_t count, uint8_t *above) {
    INDEPENDENT
    for (int64_t i = 0; i < count; i++) above[i] = values[i] > 0;
}

#if FXBIN_X86
static AVX2 void compare_avx2(const float *values, int64_t count, uint8_t *above) {
    compare(values, count, above);
}
#endif

static void compare_filter(const float *values, int64_t count, uint8_t *above) {
#if FXBIN_X86
    if (cpu_has_avx2()) {
        compare_avx2(values, count, above);
        return;
    }
#endif
    compare(values, count, above);
}

/** Pack `channels` <= 8 values, `step` bytes apart, into the lowest bits of a byte. */
static ALWAYS_INLINE uint8_t byte_of(const uint8_t *above, int64_t step, int64_t channels) {
    unsigned byte = 0;
    for (int64_t i = 0; i < channels; i++) byte |= (unsigned)above[i * step] << i;
    return (uint8_t)byte;
}

/** Pack the bits of one filter, from ``(channels, taps)`` to ``(taps, channels)``. */
static void pack_filter(const fxbin_shape *shape, const uint8_t *above, uint8_t *bits) {
    int64_t taps = taps_of(shape), channels = group_channels(shape);
    for (int64_t tap = 0; tap < taps; tap++) {
        const uint8_t *from = above + tap;
        int64_t rest = channels;
        for (; rest >= 8; rest -= 8, from += 8 * taps) *bits++ = byte_of(from, taps, 8);
        if (rest > 0) *bits++ = byte_of(from, taps, rest);
    }
}

/** Write the bits of the whole weight. */
static int pack_signs(const fxbin_shape *shape, const float *weight, uint8_t *bits) {
    int64_t inputs = inputs_of(shape), bytes = taps_of(shape) * tap_bytes(shape);
    uint8_t *above = malloc((size_t)inputs);
    if (above == NULL) return fail(FXBIN_OUT_OF_MEMORY, "no memory for the signs of a filter");
    for (int64_t filter = 0; filter < shape->filters; filter++, weight += inputs, bits += bytes) {
        compare_filter(weight, inputs, above);
        pack_filter(shape, above, bits);
    }
    free(above);
    return FXBIN_OK;
}

/** Compute the call as one of weight bits, which are written to `bits`, and levels, which are written to `levels`. */
static int convolve_bits(const fxbin_float_call *call, fxbin_weights *weights, uint8_t *bits, float *levels) {
    const fxbin_shape *shape = &call->shape;
    int64_t filters = shape->filters;
    const float x_levels[2] = {call->low, call->high};
    for (int64_t f = 0; f < filters; f++) {
        float scale = call->scales[call->scales_size == 1 ? 0 : f];
        float center = call->centers == NULL ? 0 : call->centers[call->centers_size == 1 ? 0 : f];
        levels[f] = center - scale;
        levels[filters + f] = center + scale;
    }
    int status = pack_signs(shape, call->weight, bits);
    if (status != FXBIN_OK) return status;
    fxbin_call of_bits = {
        .struct_size = sizeof of_bits,
        .x = call->x,
        .x_dtype = FXBIN_FLOAT32,
        .thresholds = call->thresholds,
        .thresholds_size = call->thresholds_size,
        .x_levels = x_levels,
        .x_levels_size = 2,
        .weight_bits = bits,
        .weight_bits_size = filters * taps_of(shape) * tap_bytes(shape),
        .w_levels = levels,
        .w_levels_size = 2 * filters,
        .bias = call->bias,
        .bias_size = call->bias_size,
        .y = call->y,
        .threads = call->threads,
    };
    return convolve(weights, &of_bits, true);
}

int fxbin_convolve_floats(const fxbin_float_call *call) {
    int status = check_weight(call);
    if (status != FXBIN_OK) return status;
    fxbin_weights *weights = NULL;
    status = fxbin_weights_create(&call->shape, &weights);
    if (status != FXBIN_OK) return status;
    const fxbin_shape *shape = &call->shape;
    float *levels = malloc((size_t)(2 * shape->filters) * sizeof *levels);
    uint8_t *bits = malloc((size_t)(shape->filters * taps_of(shape) * tap_bytes(shape)));
    if (levels == NULL || bits == NULL) {
        status = fail(FXBIN_OUT_OF_MEMORY, "no memory for the bits of the weight");
    } else {
        status = convolve_bits(call, weights, bits, levels);
    }
    free(bits);
    free(levels);
    fxbin_weights_destroy(weights);
    return status;
}
