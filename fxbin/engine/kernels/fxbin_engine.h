/* The 1-bit engine of fxbin: two-level convolutions computed on bits. This header is the whole interface.
 *
 * For an input x ``(n, c, h, w)``, thresholds t of its channels, and any levels:
 *
 *     a = x > t                                                       one bit; NaN gives 0
 *     sum[n, f, i, j] = sum over the taps inside the picture of (x_low + (x_high - x_low) a) w
 *     w = w_high[f] where the weight's bit is set, else w_low[f]
 *     y = activation(sum + bias[f] + residual[n, f, i, j])
 *
 * Padding has the value 0, whatever the levels are, as in a convolution of floats.
 *
 * Between convolutions, bits may take the place of floats: a convolution writes the bits a = y > t with the
 * thresholds t of the next one, 64 channels per word, the first channel in the lowest bit, and the next one
 * reads a instead of x.
 *
 * Functions that return a status check all arguments before they read any data; `fxbin_last_error` has the
 * message of the last error in a thread. All functions may be called by several threads at once, also with
 * the same weights, but weights must not be in use while they are destroyed.
 */
#ifndef FXBIN_ENGINE_H
#define FXBIN_ENGINE_H

#include <stdint.h>

#if defined(_WIN32)
#define FXBIN_API __declspec(dllexport)
#else
#define FXBIN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Increases when a struct or the meaning of a field changes. */
#define FXBIN_ABI_VERSION 7

enum fxbin_status { FXBIN_OK = 0, FXBIN_BAD_ARGUMENT = 1, FXBIN_OUT_OF_MEMORY = 2 };

/** FXBIN_BITS: 64-bit words of 64 channels each, along axis c: ``(n, ceil(c / 64), h, w)``. */
enum fxbin_dtype { FXBIN_FLOAT32 = 0, FXBIN_FLOAT64 = 1, FXBIN_BITS = 2 };

/** FXBIN_RELU6 limits values to [0, 6], FXBIN_HARDTANH to [-1, 1]. */
enum fxbin_activation {
    FXBIN_NO_ACTIVATION = 0, FXBIN_RELU = 1, FXBIN_PRELU = 2, FXBIN_RELU6 = 3, FXBIN_HARDTANH = 4
};

/** The sizes that all calls of a convolution have in common. Every number is at least 1, paddings at least 0. */
typedef struct {
    int64_t channels;
    int64_t filters;
    int64_t groups;
    int64_t kernel[2];   /**< height, width */
    int64_t stride[2];   /**< vertical, horizontal */
    int64_t dilation[2]; /**< vertical, horizontal */
    int64_t padding[4];  /**< top, bottom, left, right */
} fxbin_shape;

/** The forms of one weight that kernels work with; each is made when a kernel needs it, and freed when no call has used
 * it for long. */
typedef struct fxbin_weights fxbin_weights;

/** A tensor: `size` elements from `data` on may be read (or written). Strides count elements and are not negative; those
 * of a tensor that is written to keep its elements apart. */
typedef struct {
    void *data;
    int64_t size;
    int64_t shape[4];  /**< n, c, h, w */
    int64_t stride[4]; /**< of n, c, h, w */
} fxbin_tensor;

/** Calls ``body(body_context, i)`` for every i in 0 .. count - 1, in any order, and returns when all calls have. */
typedef void (*fxbin_parallel_for)(
    void *context, int64_t count, void (*body)(void *body_context, int64_t index), void *body_context
);

/** One convolution. Pointers may be null only where this is stated. */
typedef struct {
    int64_t struct_size; /**< ``sizeof(fxbin_call)`` */

    fxbin_tensor x;
    int64_t x_dtype;        /**< enum fxbin_dtype */
    const void *thresholds; /**< of each channel, in the dtype of x; null for FXBIN_BITS */
    int64_t thresholds_size;
    const float *x_levels; /**< x_low, x_high */
    int64_t x_levels_size;

    const uint8_t *weight_bits; /**< (filters, taps, bytes of channels / groups bits), row by row of the kernel */
    int64_t weight_bits_size;   /**< in bytes; the first channel is the lowest bit of the first byte */
    const float *w_levels; /**< w_low of each filter, then w_high of each */
    int64_t w_levels_size;

    const float *bias; /**< of each filter; may be null */
    int64_t bias_size;
    fxbin_tensor residual; /**< float32, of the shape of y; its data may be null */
    int64_t activation;    /**< enum fxbin_activation */
    const float *slope;    /**< of each filter, for FXBIN_PRELU; else null */
    int64_t slope_size;

    fxbin_tensor y;      /**< float32; its data may be null where y_bits has data */
    fxbin_tensor y_bits; /**< FXBIN_BITS of y; its data may be null */
    const float *y_thresholds; /**< of each filter, where y_bits has data; else null */
    int64_t y_thresholds_size;

    const char *kernel; /**< a name of `fxbin_kernel_name`; null lets the engine choose */
    int64_t threads;    /**< most threads to use; with `parallel_for`, for how many the work is divided */
    fxbin_parallel_for parallel_for; /**< of the host, to run the work on its threads; may be null */
    void *parallel_context;
} fxbin_call;

FXBIN_API int64_t fxbin_abi_version(void);

/** Message of the last error in this thread; empty if there was none. Valid until the next call. */
FXBIN_API const char *fxbin_last_error(void);

/** Name of number `index` of the kernels that this CPU can run; null past the last one. */
FXBIN_API const char *fxbin_kernel_name(int64_t index);

FXBIN_API int fxbin_weights_create(const fxbin_shape *shape, fxbin_weights **weights);

/** Number of bytes that the forms take at the moment. */
FXBIN_API int64_t fxbin_weights_held(fxbin_weights *weights);

FXBIN_API void fxbin_weights_destroy(fxbin_weights *weights);

/** Find the height and width of y for an input ``(height, width)``. */
FXBIN_API int fxbin_output_size(const fxbin_shape *shape, const int64_t input[2], int64_t output[2]);

/** Compute `call`. Its bits must have the shape of `weights`, and be the same in every call with these weights. */
FXBIN_API int fxbin_convolve(fxbin_weights *weights, const fxbin_call *call);

/** Write ``round(x * inverse_scale) + zero_point``, clamped to 0 .. 255, for `size` numbers into as many bytes. */
FXBIN_API int fxbin_quantize(
    const float *x, int64_t size, float inverse_scale, int64_t zero_point, uint8_t *y, int64_t y_size, int64_t threads
);

/** One convolution of a float weight, of which nothing is kept, because training changes it at every step.
 *
 * Like `fxbin_convolve`, with the levels `low` and `high` of x, and w = center[f] + scale[f] where weight > 0, else
 * center[f] - scale[f].
 */
typedef struct {
    int64_t struct_size; /**< ``sizeof(fxbin_float_call)`` */
    fxbin_shape shape;
    fxbin_tensor x;          /**< float32 */
    const float *thresholds; /**< of each channel */
    int64_t thresholds_size;
    float low, high; /**< of the input */
    const float *weight; /**< (filters, channels / groups, kernel height, kernel width) */
    int64_t weight_size;
    const float *scales; /**< of each filter, or one for all */
    int64_t scales_size;
    const float *centers; /**< the same; null for 0 */
    int64_t centers_size;
    const float *bias; /**< of each filter; may be null */
    int64_t bias_size;
    fxbin_tensor y; /**< float32 */
    int64_t threads;
} fxbin_float_call;

FXBIN_API int fxbin_convolve_floats(const fxbin_float_call *call);

/** What counts as the derivative of a two-level function. With the distance u from the threshold, in units of half the
 * distance of the levels, p a parameter, and k a peak: */
enum fxbin_estimator {
    FXBIN_WINDOW,           /**< 1 where 0 <= x <= high; the low level is 0 */
    FXBIN_APPROX_SIGN,      /**< max(0, 2 - 2 |u|) */
    FXBIN_STRAIGHT_THROUGH, /**< 1 */
    FXBIN_CLIPPED,          /**< 1 where |u| <= p, else 0 */
    FXBIN_EDE,              /**< k (1 - tanh(p u) ** 2) */
    FXBIN_SWISH_SIGN,       /**< p (2 - p u tanh(p u / 2)) / (1 + cosh(p u)) */
};

/** The backward of an activation binarizer. With the estimator `FXBIN_WINDOW`:
 *
 *     grad_x = g where 0 <= x <= high, else 0
 *     fired = 1 where x > t of the channel, else 0
 *     sums[c] = sum of g where 0 < x < high, over channel c
 *     sums[channels] = sum of g x where x <= high, over all
 *
 * With another one, e being what counts as the derivative:
 *
 *     grad_x = g e
 *     fired = high where x > t of the channel, else low
 *     sums[c] = sum of g e, over channel c
 *     sums[channels] = sum of g e u, over all
 *     sums[channels + 1] = sum of g, over all
 *
 * All four tensors are dense and in one layout. grad_x may be g, or fired x.
 */
typedef struct {
    int64_t struct_size; /**< ``sizeof(fxbin_ste_call)`` */
    const float *g, *x;
    float *grad_x, *fired;
    int64_t size; /**< of each of them: pictures * channels * plane */
    int64_t pictures, channels, plane;
    int64_t is_planar; /**< 1: planes of channels, ``(n, c, h, w)``; 0: channels_last */
    const float *thresholds; /**< of each channel */
    int64_t thresholds_size;
    float low, high;
    int64_t estimator;     /**< one of `fxbin_estimator` */
    float parameter, peak; /**< above 0; of the estimators that have them */
    double *sums;
    int64_t sums_size; /**< channels + 1 with `FXBIN_WINDOW`, else channels + 2 */
    int64_t threads;   /**< most threads to use */
} fxbin_ste_call;

FXBIN_API int fxbin_ste_gradients(const fxbin_ste_call *call);

/** How often an activation binarizer gives the high level: adds to counts[c] the number of values of channel c that are
 * above its threshold. x is dense. */
typedef struct {
    int64_t struct_size; /**< ``sizeof(fxbin_count_call)`` */
    const float *x;
    int64_t size; /**< pictures * channels * plane */
    int64_t pictures, channels, plane;
    int64_t is_planar; /**< 1: planes of channels, ``(n, c, h, w)``; 0: channels_last */
    const float *thresholds; /**< of each channel */
    int64_t thresholds_size;
    int64_t *counts;
    int64_t counts_size; /**< channels */
    int64_t threads;     /**< most threads to use */
} fxbin_count_call;

FXBIN_API int fxbin_count_high(const fxbin_count_call *call);

/** RPReLU, a PReLU whose corner is at (gamma, zeta) of the channel:
 *
 *     y = d + zeta where d > 0, else beta d + zeta, with d = x - gamma
 *
 * or its gradients, given that of its output, g:
 *
 *     y = g where d > 0, else beta g
 *     grad_gamma[c] = -sum(y), grad_zeta[c] = sum(g), grad_beta[c] = sum of g d where not d > 0, over channel c
 *
 * x, g and y are dense and in one layout. y may be x or g.
 */
typedef struct {
    int64_t struct_size; /**< ``sizeof(fxbin_rprelu_call)`` */
    const float *x, *g;  /**< g is null for the values */
    float *y;
    int64_t size; /**< of each of them: pictures * channels * plane */
    int64_t pictures, channels, plane;
    int64_t is_planar; /**< 1: planes of channels, ``(n, c, h, w)``; 0: channels_last */
    const float *gamma, *zeta, *beta; /**< of each channel */
    float *grad_gamma, *grad_zeta, *grad_beta; /**< the same; null for the values */
    int64_t threads; /**< most threads to use */
} fxbin_rprelu_call;

/** Compute the values. */
FXBIN_API int fxbin_rprelu(const fxbin_rprelu_call *call);

/** Compute the gradients. */
FXBIN_API int fxbin_rprelu_gradients(const fxbin_rprelu_call *call);

/** Write the mean of ``|w|`` of each filter, or of all if `means_size` is 1. Filters follow each other in w. */
FXBIN_API int fxbin_mean_magnitudes(const float *w, int64_t size, float *means, int64_t means_size);

/** Write a two-level weight: y = scale of the filter where w > 0, else -scale. w and y have `size` numbers, filter
 * after filter; there is one scale for each filter, or one for all. */
FXBIN_API int fxbin_weight_levels(
    const float *w, int64_t size, const float *scales, int64_t scales_size, float *y
);

/** The end of the backward of a convolution and its binarizers, after `fxbin_ste_gradients`.
 *
 * With grad_w, the gradient of the weight for an input of 0 and 1:
 *
 *     grad_w = high grad_w                                    in place; below is the new one
 *     grad_scale = high m (sum(grad_w w) - sums[channels]) / high
 *     grad_logit[c] = -m sums[c] t[c] (1 - t[c])
 */
typedef struct {
    int64_t struct_size; /**< ``sizeof(fxbin_level_call)`` */
    float *grad_w;
    const float *w;
    int64_t w_size; /**< of both */
    float high;
    double multiplier; /**< m */
    const double *sums;
    int64_t sums_size; /**< channels + 1 */
    const float *t;
    int64_t channels;
    float *grad_scale; /**< one number */
    float *grad_logit; /**< of each channel */
} fxbin_level_call;

FXBIN_API int fxbin_level_gradients(const fxbin_level_call *call);

/** The least standard deviation that counts in `fxbin_standardize`, in units of the magnitude of the mean. */
#define FXBIN_LEAST_SPREAD 0.01

/** Weights minus the mean of their filter, divided by its standard deviation:
 *
 *     v = (w - mean) / sqrt(variance + smallest)
 *
 * with the variance around the given mean, which counts as at least (FXBIN_LEAST_SPREAD mean)^2, and as 1 where both
 * are 0; or, given the gradient of v, g, that of w in place of g:
 *
 *     g = (g - mean(g) - v mean(g v)) / sqrt(variance + smallest)
 */
typedef struct {
    int64_t struct_size; /**< ``sizeof(fxbin_standardize_call)`` */
    const float *w;      /**< null for the gradient */
    float *v, *g;        /**< v is read for the gradient; g is null for the values */
    int64_t size;        /**< of each of them, filter after filter */
    const float *means;  /**< of each filter; null for the gradient */
    float *inverses;     /**< 1 / sqrt(variance + smallest) of each filter; read for the gradient */
    int64_t filters;
    float smallest;
} fxbin_standardize_call;

/** Compute v and the inverses. */
FXBIN_API int fxbin_standardize(const fxbin_standardize_call *call);

/** Compute the gradient. */
FXBIN_API int fxbin_standardize_gradients(const fxbin_standardize_call *call);

/** The end of the backward of two-level weights, and of the convolution that they are part of.
 *
 * With y = a where w > 0, else -a, the scale a being that of the filter, g the gradient of y, and e what counts as the
 * derivative at w:
 *
 *     grad_w = g e, times a if `is_scaled`           in place of g
 *     products[f] = sum of g where w > 0, minus the sum of the others, over filter f
 *
 * Without scales, w has its levels already: grad_w is g, and there are no products. With sums, as
 * `fxbin_ste_gradients` writes them for an estimator other than `FXBIN_WINDOW`, and s = sum(g y) + `more`:
 *
 *     grad_thresholds[c] = -sums[c], or the sum of these if there is one threshold for all
 *     grad_levels[1] = (s - low sums[channels + 1]) / (high - low) - sums[channels] / 2
 *     grad_levels[0] = sums[channels + 1] - grad_levels[1]
 *
 * because the inner product of the weight and its gradient equals that of the convolution's input and its gradient. Levels
 * that are -s and s may have one gradient, that of s: the difference of these two.
 */
typedef struct {
    int64_t struct_size; /**< ``sizeof(fxbin_weight_call)`` */
    float *g;
    const float *w;
    int64_t w_size; /**< of both */
    int64_t filters;
    const float *scales; /**< of each filter, or one for all; may be null */
    int64_t scales_size;
    int64_t estimator; /**< of the weight, not `FXBIN_WINDOW` */
    float parameter, peak;
    int64_t is_scaled;
    float *products;    /**< of each filter; may be null */
    const double *sums; /**< may be null */
    int64_t sums_size;  /**< channels + 2 */
    double more; /**< the sum of g times the weight's center, if it has one */
    float low, high;
    float *grad_thresholds; /**< of each channel, or one for all; null without sums */
    int64_t grad_thresholds_size;
    float *grad_levels; /**< of low and high, or of high where low is -high; null without sums */
    int64_t grad_levels_size; /**< 2 or 1 */
} fxbin_weight_call;

FXBIN_API int fxbin_weight_gradients(const fxbin_weight_call *call);

#ifdef __cplusplus
}
#endif

#endif
