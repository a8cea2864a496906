/* RPReLU and its gradients, each in one pass: see `fxbin_rprelu_call`. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "channel_parts.h"
#include "check.h"
#include "choose.h"
#include "cpu.h"
#include "errors.h"
#include "threads.h"

/** Number of values that are computed together: the sums of so many lanes do not wait for one another. */
#define LANES 16

/** Number of periods that are read abreast, so that a sum is read and written once for all of them. */
#define ABREAST 4

/** Number of values of a lane that are summed in float32. Their sums are added in float64. */
#define TURNS 64

/** The sums of a channel: of g, of the gradient of x, and of g (x - gamma) where x is not above gamma. */
enum { OF_G, OF_X, PRODUCT, SUMS };

typedef struct {
    const fxbin_rprelu_call *call;
    channel_parts parts;
    const float *gamma, *zeta, *beta; /**< of each number of a period */
    double *sums; /**< (parts, SUMS, channels); null for the values */
    atomic_bool is_out_of_memory;
} pass;

static ALWAYS_INLINE float value_of(float x, float gamma, float zeta, float beta) {
    float d = x - gamma;
    return choose(d > 0, d, beta * d) + zeta;
}

/** The gradient of x; the shares of the sums go to place `at` of each array. */
static ALWAYS_INLINE float gradient_of(
    float x, float g, float gamma, float beta, float *of_g, float *of_x, float *product, int64_t at
) {
    float d = x - gamma, gradient = g * choose(d > 0, 1, beta);
    of_g[at] += g;
    of_x[at] += gradient;
    product[at] += choose(0 < d, 0, g * d);
    return gradient;
}

static ALWAYS_INLINE double sum_of(const float *lanes) {
    double sum = 0;
    for (int i = 0; i < LANES; i++) sum += (double)lanes[i];
    return sum;
}

/** Compute the values of one channel. */
static ALWAYS_INLINE void write_plane(const pass *self, int64_t first, int64_t channel) {
    const float *x = self->call->x + first;
    float *y = self->call->y + first;
    float gamma = self->gamma[channel], zeta = self->zeta[channel], beta = self->beta[channel];
    INDEPENDENT
    for (int64_t i = 0; i < self->parts.plane; i++) y[i] = value_of(x[i], gamma, zeta, beta);
}

/** Compute the gradients of one channel, whose sums are `channels` numbers apart. */
static ALWAYS_INLINE void write_gradients_of_plane(const pass *self, int64_t first, int64_t channel, double *sums) {
    const float *x = self->call->x + first, *g = self->call->g + first;
    float *y = self->call->y + first, gamma = self->gamma[channel], beta = self->beta[channel];
    for (int64_t i = 0; i < self->parts.plane;) {
        float of_g[LANES] = {0}, of_x[LANES] = {0}, product[LANES] = {0};
        int64_t end = min_of(i + TURNS * LANES, self->parts.plane);
        for (; i + LANES <= end; i += LANES) {
            INDEPENDENT
            for (int j = 0; j < LANES; j++) {
                y[i + j] = gradient_of(x[i + j], g[i + j], gamma, beta, of_g, of_x, product, j);
            }
        }
        for (int j = 0; i < end; i++, j++) y[i] = gradient_of(x[i], g[i], gamma, beta, of_g, of_x, product, j);
        sums[OF_G * self->parts.channels + channel] += sum_of(of_g);
        sums[OF_X * self->parts.channels + channel] += sum_of(of_x);
        sums[PRODUCT * self->parts.channels + channel] += sum_of(product);
    }
}

/** Compute the values from `first` to `last`, in whole periods. */
static ALWAYS_INLINE void write_periods(const pass *self, int64_t first, int64_t last) {
    for (int64_t start = first; start < last; start += self->parts.period) {
        const float *x = self->call->x + start;
        float *y = self->call->y + start;
        INDEPENDENT
        for (int64_t i = 0; i < self->parts.period; i++) {
            y[i] = value_of(x[i], self->gamma[i], self->zeta[i], self->beta[i]);
        }
    }
}

/** Compute the gradients of `count` periods from `start`, and add their shares of the sums to `storage`. */
static ALWAYS_INLINE void write_gradients_abreast(const pass *self, int64_t start, int count, float *storage) {
    int64_t period = self->parts.period;
    const float *x = self->call->x + start, *g = self->call->g + start;
    const float *gamma = self->gamma, *beta = self->beta;
    float *y = self->call->y + start, *of_g = storage, *of_x = of_g + period, *product = of_x + period;
    INDEPENDENT
    for (int64_t i = 0; i < period; i++) {
        float sums[SUMS] = {of_g[i], of_x[i], product[i]};
        for (int j = 0; j < count; j++) {
            int64_t at = j * period + i;
            y[at] = gradient_of(x[at], g[at], gamma[i], beta[i], &sums[OF_G], &sums[OF_X], &sums[PRODUCT], 0);
        }
        of_g[i] = sums[OF_G], of_x[i] = sums[OF_X], product[i] = sums[PRODUCT];
    }
}

/** Compute the gradients from `first` to `last`, in whole periods; `storage` has room for SUMS of them. */
static ALWAYS_INLINE void write_gradients_of_periods(
    const pass *self, int64_t first, int64_t last, float *storage, double *sums
) {
    int64_t period = self->parts.period, of_channel = period / self->parts.channels;
    for (int64_t start = first; start < last;) {
        memset(storage, 0, (size_t)(SUMS * period) * sizeof *storage);
        int64_t end = min_of(start + TURNS * period, last);
        for (; start + ABREAST * period <= end; start += ABREAST * period) {
            write_gradients_abreast(self, start, ABREAST, storage);
        }
        for (; start < end; start += period) write_gradients_abreast(self, start, 1, storage);
        for (int64_t i = 0; i < SUMS * period; i++) sums[i / of_channel] += (double)storage[i];
    }
}

static ALWAYS_INLINE void run_planes(const pass *self, int64_t first, int64_t last, double *sums) {
    for (int64_t i = first; i < last; i += self->parts.plane) {
        int64_t channel = i / self->parts.plane % self->parts.channels;
        if (sums == NULL) {
            write_plane(self, i, channel);
        } else {
            write_gradients_of_plane(self, i, channel, sums);
        }
    }
}

static ALWAYS_INLINE void run_part(pass *self, int64_t index) {
    int64_t first = first_of_part(&self->parts, index), last = first_of_part(&self->parts, index + 1);
    double *sums = self->sums == NULL ? NULL : self->sums + index * SUMS * self->parts.channels;
    if (self->parts.has_planes) {
        run_planes(self, first, last, sums);
    } else if (sums == NULL) {
        write_periods(self, first, last);
    } else {
        float *storage = malloc((size_t)(SUMS * self->parts.period) * sizeof *storage);
        if (storage == NULL) {
            atomic_store(&self->is_out_of_memory, true);
            return;
        }
        write_gradients_of_periods(self, first, last, storage, sums);
        free(storage);
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

/** The gradients of the parameters, from the sums of all parts in order. */
static void finish(const pass *self) {
    const fxbin_rprelu_call *call = self->call;
    int64_t channels = self->parts.channels, count = self->parts.count * SUMS;
    for (int64_t c = 0; c < channels; c++) {
        double sums[SUMS] = {0};
        for (int64_t i = 0; i < count; i++) sums[i % SUMS] += self->sums[i * channels + c];
        call->grad_gamma[c] = (float)-sums[OF_X];
        call->grad_zeta[c] = (float)sums[OF_G];
        call->grad_beta[c] = (float)sums[PRODUCT];
    }
}

static int run(const fxbin_rprelu_call *call, bool has_sums) {
    pass self = {.call = call};
    self.parts = parts_of(call->pictures, call->channels, call->plane, call->is_planar, call->threads);
    int64_t period = self.parts.period, parts = self.parts.count;
    float *parameters = malloc((size_t)(3 * period) * sizeof *parameters);
    if (has_sums) self.sums = calloc((size_t)(parts * SUMS * call->channels), sizeof *self.sums);
    bool is_complete = parameters != NULL && (!has_sums || self.sums != NULL);
    if (is_complete) {
        const float *given[] = {call->gamma, call->zeta, call->beta};
        for (int i = 0; i < 3; i++) repeat_by_channel(&self.parts, given[i], parameters + i * period);
        self.gamma = parameters, self.zeta = self.gamma + period, self.beta = self.zeta + period;
        run_on_threads(parts, parts, part_runner(), &self);
        is_complete = !atomic_load(&self.is_out_of_memory);
        if (is_complete && has_sums) finish(&self);
    }
    free(parameters);
    free(self.sums);
    return is_complete ? FXBIN_OK : fail(FXBIN_OUT_OF_MEMORY, "no memory for the sums");
}

int fxbin_rprelu(const fxbin_rprelu_call *call) {
    int status = check_rprelu(call, false);
    return status == FXBIN_OK ? run(call, false) : status;
}

int fxbin_rprelu_gradients(const fxbin_rprelu_call *call) {
    int status = check_rprelu(call, true);
    return status == FXBIN_OK ? run(call, true) : status;
}
