/* Checks that what a caller passes can be computed without reading or writing outside of it. */
#ifndef FXBIN_CHECK_H
#define FXBIN_CHECK_H

#include <stdbool.h>

#include "fxbin_engine.h"

int check_shape(const fxbin_shape *shape);

/** FXBIN_OK if the call fits the shape; sizes that are derived from both then cannot overflow. */
int check_call(const fxbin_shape *shape, const fxbin_call *call);

/** FXBIN_OK if the weight and its scales fit the shape. */
int check_weight(const fxbin_float_call *call);

int check_ste(const fxbin_ste_call *call);

int check_count(const fxbin_count_call *call);

/** FXBIN_OK if the call has what the values need, or the gradients. */
int check_rprelu(const fxbin_rprelu_call *call, bool has_gradients);

int check_levels(const float *w, int64_t size, const float *scales, int64_t scales_size, const float *y);

/** FXBIN_OK if the call has what the values need, or the gradient. */
int check_standardize(const fxbin_standardize_call *call, bool has_gradient);

int check_weight_call(const fxbin_weight_call *call);

int check_level_call(const fxbin_level_call *call);

#endif
