/* Computes the gradients of an activation binarizer in one pass over its input: see `fxbin_ste_call`. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "channel_parts.h"
#include "check.h"
#include "choose.h"
#include "cpu.h"
#include "derivative.h"
#include "errors.h"
#include "threads.h"

/** Number of values that are computed together: the sums of so many lanes do not wait for one another. */
#define LANES 16

/** Number of values of a lane that are summed in float32. Their sums are added in float64. */
#define TURNS 64

typedef struct {
    const fxbin_ste_call *call;
    channel_parts parts;
    const float *thresholds; /**< of each number of a period */
    int64_t sum_count; /**< of a part: one of each channel, and those of all */
    double *sums;      /**< (parts, sum_count) */
    atomic_bool is_out_of_memory;
} gradients;

typedef struct {
    const float *g, *x;
    float *grad_x, *fired;
    float low, high, per_unit, parameter, peak, bound;
} numbers;

/** The sums over all channels, in lanes. */
typedef struct {
    float products[LANES], totals[LANES];
} lanes;

static ALWAYS_INLINE numbers numbers_from(const fxbin_ste_call *call, int64_t first, int64_t estimator) {
    return (numbers){
        .g = call->g + first,
        .x = call->x + first,
        .grad_x = call->grad_x + first,
        .fired = call->fired + first,
        .low = call->low,
        .high = call->high,
        .per_unit = 2 / (call->high - call->low),
        .parameter = call->parameter,
        .peak = call->peak,
        .bound = bound_of(estimator, call->parameter),
    };
}

/** Compute number i for all estimators but `FXBIN_WINDOW`, and add its share of the sums to `inside` and to a lane of
 * `all`. */
static ALWAYS_INLINE void step_of_unit(
    const numbers *at, int64_t i, float threshold, float *inside, lanes *all, int lane, int64_t estimator
) {
    float x = at->x[i], g = at->g[i];
    float u = clamped((x - threshold) * at->per_unit, at->bound);
    float passed = passed_by(estimator, g, u, at->parameter, at->peak);
    at->grad_x[i] = passed;
    at->fired[i] = x > threshold ? at->high : at->low;
    *inside += passed;
    all->products[lane] += passed * u;
    all->totals[lane] += g;
}

/** Compute number i for `FXBIN_WINDOW`, and add its share of the two sums to `inside` and `product`. */
static ALWAYS_INLINE void step_of_window(
    const numbers *at, int64_t i, float threshold, float *inside, float *product
) {
    float x = at->x[i], g = at->g[i];
    float below = choose(x <= at->high, g, 0);
    at->grad_x[i] = choose(x >= 0, below, 0);
    at->fired[i] = choose(x > threshold, 1, 0);
    *inside += choose((x > 0) & (x < at->high), g, 0);
    *product += below * choose(x <= at->high, x, 0);
}

static ALWAYS_INLINE void step(
    const numbers *at, int64_t i, float threshold, float *inside, lanes *all, int lane, int64_t estimator
) {
    if (estimator == FXBIN_WINDOW) {
        step_of_window(at, i, threshold, inside, &all->products[lane]);
    } else {
        step_of_unit(at, i, threshold, inside, all, lane, estimator);
    }
}

static ALWAYS_INLINE double sum_of(const float *lanes) {
    double sum = 0;
    for (int i = 0; i < LANES; i++) sum += (double)lanes[i];
    return sum;
}

/** Add the sums in `all` to those of all channels. */
static ALWAYS_INLINE void add_lanes(const lanes *all, double *sums, int64_t estimator) {
    sums[0] += sum_of(all->products);
    if (estimator != FXBIN_WINDOW) sums[1] += sum_of(all->totals);
}

/** Compute `count` numbers of one channel. */
static ALWAYS_INLINE void run_plane(
    numbers at, int64_t count, float threshold, double *inside, double *sums, int64_t estimator
) {
    for (int64_t i = 0; i < count;) {
        float insides[LANES] = {0};
        lanes all = {{0}, {0}};
        int64_t end = min_of(i + TURNS * LANES, count);
        for (; i + LANES <= end; i += LANES) {
            INDEPENDENT
            for (int lane = 0; lane < LANES; lane++) {
                step(&at, i + lane, threshold, &insides[lane], &all, lane, estimator);
            }
        }
        for (int lane = 0; i < end; i++, lane++) step(&at, i, threshold, &insides[lane], &all, lane, estimator);
        *inside += sum_of(insides);
        add_lanes(&all, sums, estimator);
    }
}

/** Compute as many numbers as there are thresholds. */
static ALWAYS_INLINE void run_period(
    numbers at, int64_t count, const float *thresholds, float *inside, lanes *all, int64_t estimator
) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        INDEPENDENT
        for (int lane = 0; lane < LANES; lane++) {
            step(&at, i + lane, thresholds[i + lane], &inside[i + lane], all, lane, estimator);
        }
    }
    for (int lane = 0; i < count; i++, lane++) step(&at, i, thresholds[i], &inside[i], all, lane, estimator);
}

/** Compute the numbers from `first` to `last`, in whole periods; `inside` has room for the sums of one. */
static ALWAYS_INLINE void run_periods(
    const gradients *self, int64_t first, int64_t last, float *inside, double *sums, int64_t estimator
) {
    int64_t period = self->parts.period, channels = self->parts.channels, of_channel = period / channels;
    for (int64_t i = first; i < last;) {
        lanes all = {{0}, {0}};
        memset(inside, 0, (size_t)period * sizeof *inside);
        for (int64_t end = min_of(i + TURNS * period, last); i < end; i += period) {
            run_period(numbers_from(self->call, i, estimator), period, self->thresholds, inside, &all, estimator);
        }
        for (int64_t j = 0; j < period; j++) sums[j / of_channel] += (double)inside[j];
        add_lanes(&all, sums + channels, estimator);
    }
}

static ALWAYS_INLINE void run_planes(
    const gradients *self, int64_t first, int64_t last, double *sums, int64_t estimator
) {
    int64_t plane = self->parts.plane, channels = self->parts.channels;
    for (int64_t i = first; i < last; i += plane) {
        int64_t channel = i / plane % channels;
        numbers at = numbers_from(self->call, i, estimator);
        run_plane(at, plane, self->thresholds[channel], &sums[channel], sums + channels, estimator);
    }
}

static ALWAYS_INLINE void run_part_of(gradients *self, int64_t index, int64_t estimator) {
    int64_t first = first_of_part(&self->parts, index), last = first_of_part(&self->parts, index + 1);
    double *sums = self->sums + index * self->sum_count;
    if (self->parts.has_planes) {
        run_planes(self, first, last, sums, estimator);
        return;
    }
    float *inside = malloc((size_t)self->parts.period * sizeof *inside);
    if (inside == NULL) {
        atomic_store(&self->is_out_of_memory, true);
        return;
    }
    run_periods(self, first, last, inside, sums, estimator);
    free(inside);
}

/** A copy of the loops for each estimator, so that none asks which one it is. */
static ALWAYS_INLINE void run_part(gradients *self, int64_t index) {
    switch (self->call->estimator) {
    case FXBIN_WINDOW:
        run_part_of(self, index, FXBIN_WINDOW);
        break;
    case FXBIN_APPROX_SIGN:
        run_part_of(self, index, FXBIN_APPROX_SIGN);
        break;
    case FXBIN_STRAIGHT_THROUGH:
        run_part_of(self, index, FXBIN_STRAIGHT_THROUGH);
        break;
    case FXBIN_CLIPPED:
        run_part_of(self, index, FXBIN_CLIPPED);
        break;
    case FXBIN_EDE:
        run_part_of(self, index, FXBIN_EDE);
        break;
    default:
        run_part_of(self, index, FXBIN_SWISH_SIGN);
    }
}

static void run_part_anywhere(void *self, int64_t index) {
    run_part(self, index);
}

#if FXBIN_X86
static AVX2 void run_part_avx2(void *self, int64_t index) {
    run_part(self, index);
}

static AVX512 void run_part_avx512(void *self, int64_t index) {
    run_part(self, index);
}
#endif

static void (*part_runner(void))(void *, int64_t) {
#if FXBIN_X86
    if (cpu_has_avx512()) return run_part_avx512;
    if (cpu_has_avx2()) return run_part_avx2;
#endif
    return run_part_anywhere;
}

/** Run all parts, and add their sums in order. */
static int run(gradients *self) {
    const fxbin_ste_call *call = self->call;
    int64_t count = self->sum_count, parts = self->parts.count;
    run_on_threads(parts, parts, part_runner(), self);
    if (atomic_load(&self->is_out_of_memory)) return fail(FXBIN_OUT_OF_MEMORY, "no memory for the sums");
    memset(call->sums, 0, (size_t)count * sizeof *call->sums);
    for (int64_t i = 0; i < parts * count; i++) call->sums[i % count] += self->sums[i];
    return FXBIN_OK;
}

int fxbin_ste_gradients(const fxbin_ste_call *call) {
    int status = check_ste(call);
    if (status != FXBIN_OK) return status;
    gradients self = {.call = call, .sum_count = call->sums_size};
    self.parts = parts_of(call->pictures, call->channels, call->plane, call->is_planar, call->threads);
    float *thresholds = malloc((size_t)self.parts.period * sizeof *thresholds);
    self.sums = calloc((size_t)(self.parts.count * self.sum_count), sizeof *self.sums);
    if (thresholds == NULL || self.sums == NULL) {
        status = fail(FXBIN_OUT_OF_MEMORY, "no memory for the sums");
    } else {
        repeat_by_channel(&self.parts, call->thresholds, thresholds);
        self.thresholds = thresholds;
        status = run(&self);
    }
    free(thresholds);
    free(self.sums);
    return status;
}
