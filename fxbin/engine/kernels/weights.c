#include "weights.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "check.h"
#include "errors.h"
#include "joined.h"
#include "kernels.h"
#include "planar_avx512.h"
#include "weight_bits.h"

#define ALIGNMENT 64

/** Number of shares of inputs that fire for which the fastest kernel is determined. */
#define SHARE_STEPS 16

/** Number of pixels from which on their number does not matter to kernels that need many to be fast. */
#define MANY_PIXELS 1024

/** The forms of a weight in addition to those for the kernels of `kernel_at`. Each has a place of its own, because one
 * shape may need any of them, depending on the call. */
enum { EXCESS = MAX_KERNELS, DEPTHWISE, NARROW_GROUPS, PLANAR, FORMS };

/** A form that none of so many calls has used is freed: inputs that fire more or less often need another one. Making it
 * again takes a few hundredths of the time of so many calls. */
#define UNUSED_CALLS 256

struct fxbin_weights {
    fxbin_shape shape;
    bool are_best[2][2][MAX_KERNELS]; /**< for few pixels or many, without limits or with */
    pthread_mutex_t making; /**< held to make or free a form, but not to use one */
    _Atomic(void *) forms[FORMS]; /**< by number of the kernel, then the others */
    int64_t sizes[FORMS];
    atomic_bool is_used[FORMS]; /**< since unused forms were last freed */
    atomic_int_fast64_t held, calls, running;
};

typedef void (*makes_form)(const fxbin_shape *shape, const uint8_t *weight_bits, void *form);

const fxbin_shape *shape_of(const fxbin_weights *weights) {
    return &weights->shape;
}

const bool *ever_best(const fxbin_weights *weights, int64_t pixels, bool has_limits) {
    return weights->are_best[pixels >= MANY_PIXELS][has_limits];
}

/** Where the form for `kernel` is kept. */
static int64_t number_of(const fxbin_kernel *kernel) {
    if (kernel == &depthwise_kernel) return DEPTHWISE;
    if (kernel == &narrow_groups_kernel) return NARROW_GROUPS;
    if (kernel == &planar_avx512_kernel) return PLANAR;
    int64_t number = 0;
    while (kernel_at(number) != kernel) number++;
    return number;
}

/** Find the kernels that are the fastest for some share of inputs that fire. */
static void find_ever_best(fxbin_weights *weights) {
    for (int step = 0; step < SHARE_STEPS; step++) {
        for (int has_limits = 0; has_limits < 2; has_limits++) {
            fxbin_work one = {.share = (step + 0.5) / SHARE_STEPS, .pixels = 1, .has_limits = has_limits};
            fxbin_work many = {.share = one.share, .pixels = MANY_PIXELS, .has_limits = has_limits};
            int64_t best = number_of(best_kernel(&weights->shape, &many, NULL));
            weights->are_best[1][has_limits][best] = weights->are_best[0][has_limits][best] = true;
            weights->are_best[0][has_limits][number_of(best_kernel(&weights->shape, &one, NULL))] = true;
        }
    }
}

int fxbin_weights_create(const fxbin_shape *shape, fxbin_weights **weights) {
    int status = check_shape(shape);
    if (status != FXBIN_OK) return status;
    if (weights == NULL) return fail(FXBIN_BAD_ARGUMENT, "weights: expected a pointer, got null");
    *weights = calloc(1, sizeof **weights);
    if (*weights == NULL) return fail(FXBIN_OUT_OF_MEMORY, "no memory for the weights");
    (*weights)->shape = *shape;
    find_ever_best(*weights);
    pthread_mutex_init(&(*weights)->making, NULL);
    return FXBIN_OK;
}

int64_t fxbin_weights_held(fxbin_weights *weights) {
    return weights == NULL ? 0 : atomic_load(&weights->held);
}

void fxbin_weights_destroy(fxbin_weights *weights) {
    if (weights == NULL) return;
    for (int i = 0; i < FORMS; i++) free(atomic_load(&weights->forms[i]));
    pthread_mutex_destroy(&weights->making);
    free(weights);
}

static const void *form_of(
    fxbin_weights *weights, int64_t number, int64_t size, makes_form make, const uint8_t *weight_bits
) {
    atomic_store_explicit(&weights->is_used[number], true, memory_order_relaxed);
    void *form = atomic_load(&weights->forms[number]);
    if (form != NULL) return form;
    pthread_mutex_lock(&weights->making);
    form = atomic_load(&weights->forms[number]);
    if (form == NULL) {
        size_t whole = (size_t)ceil_div(size + SLACK, ALIGNMENT) * ALIGNMENT;
        form = aligned_alloc(ALIGNMENT, whole);
        if (form != NULL) {
            make(&weights->shape, weight_bits, form);
            weights->sizes[number] = (int64_t)whole;
            atomic_fetch_add(&weights->held, (int_fast64_t)whole);
            atomic_store(&weights->forms[number], form);
        }
    }
    pthread_mutex_unlock(&weights->making);
    return form;
}

void begin_call(fxbin_weights *weights) {
    atomic_fetch_add(&weights->running, 1);
}

/** Free the forms that were not used since the last time, except for those that a call may be using now. */
static void free_unused(fxbin_weights *weights) {
    pthread_mutex_lock(&weights->making);
    for (int i = 0; i < FORMS; i++) {
        if (atomic_exchange(&weights->is_used[i], false)) continue;
        // Taken away first: a call that begins after this waits for `making`, and finds what was put back or none.
        void *form = atomic_exchange(&weights->forms[i], NULL);
        if (form != NULL && atomic_load(&weights->running) == 0) {
            atomic_fetch_sub(&weights->held, (int_fast64_t)weights->sizes[i]);
            free(form);
        } else {
            atomic_store(&weights->forms[i], form);
        }
    }
    pthread_mutex_unlock(&weights->making);
}

void end_call(fxbin_weights *weights) {
    atomic_fetch_sub(&weights->running, 1);
    if ((atomic_fetch_add(&weights->calls, 1) + 1) % UNUSED_CALLS == 0) free_unused(weights);
}

const void *weights_for(fxbin_weights *weights, const fxbin_kernel *kernel, const uint8_t *weight_bits) {
    int64_t size = kernel->weights_size(&weights->shape);
    return form_of(weights, number_of(kernel), size, kernel->prepare_weights, weight_bits);
}

/** The excess of one filter at the tap (ky, kx) only. */
static int32_t excess_at(
    const fxbin_shape *shape, const uint8_t *weight_bits, int64_t filter, int64_t ky, int64_t kx
) {
    int64_t tap = ky * shape->kernel[1] + kx, ones = 0;
    for (int64_t channel = 0; channel < group_channels(shape); channel += 64) {
        ones += __builtin_popcountll(weight_word(shape, weight_bits, filter, tap, channel));
    }
    return (int32_t)(2 * ones - group_channels(shape));
}

static void make_excess(const fxbin_shape *shape, const uint8_t *weight_bits, void *form) {
    int64_t filters = shape->filters, row = (shape->kernel[1] + 1) * filters;
    int32_t *sums = form;
    for (int64_t ky = 0; ky <= shape->kernel[0]; ky++) {
        for (int64_t kx = 0; kx <= shape->kernel[1]; kx++) {
            int32_t *here = sums + ky * row + kx * filters;
            for (int64_t filter = 0; filter < filters; filter++) {
                if (ky == 0 || kx == 0) {
                    here[filter] = 0;
                } else {
                    int32_t before = here[filter - row] + here[filter - filters] - here[filter - row - filters];
                    here[filter] = before + excess_at(shape, weight_bits, filter, ky - 1, kx - 1);
                }
            }
        }
    }
}

const int32_t *excess_of_ones(fxbin_weights *weights, const uint8_t *weight_bits) {
    const fxbin_shape *shape = &weights->shape;
    int64_t values = (shape->kernel[0] + 1) * (shape->kernel[1] + 1) * shape->filters;
    return form_of(weights, EXCESS, values * (int64_t)sizeof(int32_t), make_excess, weight_bits);
}
