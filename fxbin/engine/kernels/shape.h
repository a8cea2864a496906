/* What follows from the shape of a convolution. */
#ifndef FXBIN_SHAPE_H
#define FXBIN_SHAPE_H

#include <stddef.h>

#include "fxbin_engine.h"

static inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static inline int64_t min_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t max_of(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/** Bytes of an element of enum fxbin_dtype. */
static inline size_t item_of(int64_t dtype) {
    return dtype == FXBIN_FLOAT32 ? sizeof(float) : sizeof(double);
}

/** Number of 64-bit words that hold the bits of `channels`. */
static inline int64_t words_of(int64_t channels) {
    return ceil_div(channels, 64);
}

/** Number of channels that one filter reads at one tap. */
static inline int64_t group_channels(const fxbin_shape *shape) {
    return shape->channels / shape->groups;
}

static inline int64_t group_filters(const fxbin_shape *shape) {
    return shape->filters / shape->groups;
}

static inline int64_t taps_of(const fxbin_shape *shape) {
    return shape->kernel[0] * shape->kernel[1];
}

/** Number of inputs that one filter reads. */
static inline int64_t inputs_of(const fxbin_shape *shape) {
    return group_channels(shape) * taps_of(shape);
}

/** Number of 64-bit words that hold the bits of a group for one pixel; unused bits are 0. */
static inline int64_t group_words(const fxbin_shape *shape) {
    return words_of(group_channels(shape));
}

/** Number of bytes that hold the bits of one filter at one tap, in `fxbin_call.weight_bits`. */
static inline int64_t tap_bytes(const fxbin_shape *shape) {
    return ceil_div(group_channels(shape), 8);
}

/** The taps `first` .. `last` - 1 of one axis that lie inside the picture; tap k is at start + k * step. */
typedef struct {
    int64_t first, last, start, step;
} taps_inside;

/** The taps inside for the output at `out` on axis 0 (vertical) or 1 (horizontal), where the picture has `extent`. */
static inline taps_inside taps_at(const fxbin_shape *shape, int axis, int64_t out, int64_t extent) {
    int64_t step = shape->dilation[axis], start = out * shape->stride[axis] - shape->padding[2 * axis];
    int64_t before = max_of(-start, 0), within = max_of(extent - start, 0);
    // The number of taps in so many pixels; a division would take longer than all other work for a tap.
    int64_t first = step == 1 ? before : ceil_div(before, step);
    int64_t last = min_of(shape->kernel[axis], step == 1 ? within : ceil_div(within, step));
    return (taps_inside){min_of(first, last), last, start, step};
}

#endif
