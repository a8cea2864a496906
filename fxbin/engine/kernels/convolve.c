/* Computes a call step by step: bands of the output, tiles of a band, groups, blocks of filters. */
#include <stdatomic.h>
#include <stdlib.h>

#include "active.h"
#include "check.h"
#include "convolve.h"
#include "epilogue.h"
#include "errors.h"
#include "joined.h"
#include "kernels.h"
#include "limits.h"
#include "pack.h"
#include "places.h"
#include "planar_avx512.h"
#include "threads.h"
#include "weights.h"

#define ALIGNMENT 64

/** Bytes that the input of a band may take, so that it stays in the cache while the band is computed. */
#define BAND_BYTES (256 * 1024)

/** Amount of work that is worth another thread: weights, of channels filled up to words, times output pixels. */
#define WORK_OF_A_THREAD (2 * 1024 * 1024)

/** Nanoseconds that kernels take that count the filters of one pixel together: for each pixel, and for each number of y
 * that they write to a plane. */
#define COST_OF_A_PIXEL 20
#define COST_OF_A_NUMBER 0.3

/** Size in bytes of each part of a band's memory. */
typedef struct {
    int64_t bits, fired, active, input, gathered, sums, limits;
} band_sizes;

typedef struct {
    uint64_t *bits;
    int32_t *fired, *active;
    void *input, *gathered;
    int32_t *sums, *limits;
} band_memory;

typedef struct {
    fxbin_weights *weights;
    bool is_weight_new; /**< whether this call alone pays for the forms of the weight */
    const fxbin_shape *shape;
    fxbin_shape packed; /**< the shape for bands and tiles: with one group if all groups are computed together */
    const fxbin_call *call;
    const fxbin_kernel *kernel; /**< the kernel for all bands; null to choose the fastest for each band */
    const bool *candidates;     /**< by number, whether a kernel may be the fastest for a band */
    bool is_planar;             /**< whether `kernel` computes whole bands across pixels */
    fxbin_coefficients coefficients;
    bool has_limits; /**< see `has_limits` */
    fxbin_window_levels levels; /**< if `is_planar` and the low level of x is not 0; else null */
    int64_t out_size[2];
    int64_t band_rows, bands; /**< number of output rows in a band, and of bands in a picture */
    band_sizes sizes;
    atomic_bool is_out_of_memory;
} convolution;

static int64_t aligned(int64_t size) {
    return ceil_div(size + SLACK, ALIGNMENT) * ALIGNMENT;
}

/** Maximum number of input rows under `rows` rows of the output. */
static int64_t input_rows(const convolution *self, int64_t rows) {
    const fxbin_shape *shape = self->shape;
    int64_t reach = (rows - 1) * shape->stride[0] + (shape->kernel[0] - 1) * shape->dilation[0] + 1;
    return min_of(reach, self->call->x.shape[2]);
}

/** Make room for what `kernel` needs for a band with so many pixels of the input. */
static void make_room(band_sizes *sizes, const fxbin_kernel *kernel, const fxbin_shape *shape, int64_t pixels) {
    sizes->input = max_of(sizes->input, aligned(pixels * kernel->pixel_size(shape)));
    sizes->gathered = max_of(sizes->gathered, aligned(kernel->gathered_size(shape)));
    sizes->sums = max_of(sizes->sums, aligned(kernel->tile * kernel->block(shape) * (int64_t)sizeof(int32_t)));
}

static band_sizes sizes_of(const convolution *self, int64_t rows) {
    const fxbin_shape *shape = &self->packed;
    int64_t pixels = input_rows(self, rows) * self->call->x.shape[3];
    band_sizes sizes = {
        .bits = aligned(pixels * pixel_words(shape) * (int64_t)sizeof(uint64_t)),
        .fired = aligned(pixels * shape->groups * (int64_t)sizeof(int32_t)),
        .active = aligned(rows * self->out_size[1] * shape->groups * (int64_t)sizeof(int32_t)),
        .limits = self->has_limits ? aligned(limits_size(shape) * (int64_t)sizeof(int32_t)) : 0,
    };
    if (self->is_planar) {
        sizes.input = aligned(planar_input_size(shape, rows * self->out_size[1]));
        return sizes;
    }
    if (self->kernel != NULL) make_room(&sizes, self->kernel, self->shape, pixels);
    for (int64_t i = 0; self->kernel == NULL && kernel_at(i) != NULL; i++) {
        // Memory for kernels that are never chosen would only make bands smaller.
        if (self->candidates[i]) make_room(&sizes, kernel_at(i), shape, pixels);
    }
    return sizes;
}

/** Choose the height of a band: as many rows as fit the cache, but at least one band for each thread. */
static void divide(convolution *self, int64_t threads) {
    int64_t rows = self->out_size[0], pictures = self->call->x.shape[0];
    rows = min_of(rows, ceil_div(self->out_size[0] * pictures, threads));
    while (rows > 1) {
        band_sizes sizes = sizes_of(self, rows);
        if (sizes.bits + sizes.input <= BAND_BYTES) break;
        // Bands that meet both pack the rows there, so a band is at least a few kernels high, whatever fits the cache.
        if (rows <= 4 * input_rows(self, 1)) break;
        rows = ceil_div(rows, 2);
    }
    self->band_rows = rows;
    self->bands = ceil_div(self->out_size[0], rows);
    self->sizes = sizes_of(self, rows);
}

/** Allocate one block of memory for all parts, to be freed at `bits`; return false if there is none. */
static bool take_memory(const band_sizes *sizes, band_memory *memory) {
    int64_t total = sizes->bits + sizes->fired + sizes->active + sizes->input + sizes->gathered + sizes->sums;
    total += sizes->limits;
    char *start = aligned_alloc(ALIGNMENT, (size_t)total);
    if (start == NULL) return false;
    memory->bits = (void *)start;
    memory->fired = (void *)(start += sizes->bits);
    memory->active = (void *)(start += sizes->fired);
    memory->input = start += sizes->active;
    memory->gathered = start += sizes->input;
    memory->sums = (void *)(start += sizes->gathered);
    memory->limits = (void *)(start + sizes->sums);
    return true;
}

/** Band number `index` of a picture, with the input rows under it. */
static fxbin_band band_of(const convolution *self, int64_t index, const band_memory *memory) {
    const fxbin_shape *shape = &self->packed;
    int64_t height = self->call->x.shape[2], first = index * self->band_rows;
    int64_t last = min_of(first + self->band_rows, self->out_size[0]);
    int64_t top = first * shape->stride[0] - shape->padding[0];
    int64_t reach = (shape->kernel[0] - 1) * shape->dilation[0] + 1;
    int64_t bottom = (last - 1) * shape->stride[0] - shape->padding[0] + reach;
    int64_t first_row = min_of(max_of(top, 0), height);
    return (fxbin_band){
        .shape = shape,
        .conv = self->shape,
        .in_size = {height, self->call->x.shape[3]},
        .first_row = first_row,
        .rows = max_of(min_of(bottom, height) - first_row, 0),
        .first_out_row = first,
        .out_rows = last - first,
        .out_width = self->out_size[1],
        .bits = memory->bits,
        .fired = memory->fired,
    };
}

static fxbin_work work_of(const convolution *self, const fxbin_band *band) {
    int64_t counts = band->rows * band->in_size[1] * band->shape->groups, sum = 0;
    for (int64_t i = 0; i < counts; i++) sum += band->fired[i];
    double inputs = (double)(counts * group_channels(band->shape));
    return (fxbin_work){
        .share = counts == 0 ? 0 : (double)sum / inputs,
        .pixels = band->out_rows * band->out_width,
        .has_limits = self->has_limits,
    };
}

/** What a band is computed with. */
typedef struct {
    const fxbin_kernel *kernel;
    const void *weights;
    const band_memory *memory;
    const fxbin_limits *limits; /**< null if there are none, or if the kernel does not use them */
} means;

/** Compute `count` filters of a tile, from filter `first` of its group on. */
static void run_block(
    const convolution *self, const fxbin_band *band, const fxbin_tile *tile, means by, int64_t first, int64_t count
) {
    const band_memory *memory = by.memory;
    if (by.limits != NULL) {
        _Alignas(ALIGNMENT) uint64_t words[MOST_TILE];
        by.kernel->compare(band, tile, by.weights, memory->gathered, first, count, by.limits, words);
        finish_words(&self->coefficients, tile, first, count, words);
    } else {
        by.kernel->count(band, tile, by.weights, memory->gathered, first, count, memory->sums);
        finish_tile(&self->coefficients, tile, first, count, memory->sums, by.kernel->block(&self->packed));
    }
}

/** Compute the pixels of a band. */
static void run_tiles(const convolution *self, const fxbin_band *band, means by, int64_t picture) {
    fxbin_places found;
    int64_t pixels = band->out_rows * band->out_width;
    int64_t filters = group_filters(&self->packed), block = by.kernel->block(&self->packed);
    for (int64_t start = 0; start < pixels; start += by.kernel->tile) {
        fxbin_tile tile = {
            .first = start,
            .pixels = min_of(by.kernel->tile, pixels - start),
            .windows = found.windows,
            .y_at = found.y_at,
            .residual_at = found.residual_at,
            .y_bits_at = found.y_bits_at,
        };
        find_places(self->call, band, picture, start, tile.pixels, &found);
        for (tile.group = 0; tile.group < self->packed.groups; tile.group++) {
            tile.active = by.memory->active + tile.group * pixels + start;
            by.kernel->gather(band, by.memory->input, &tile, by.memory->gathered);
            for (int64_t first = 0; first < filters; first += block) {
                run_block(self, band, &tile, by, first, min_of(block, filters - first));
            }
        }
    }
}

/** Read `size` bytes in order, which brings them from memory into the cache several times as fast as other orders. */
static void read_in_order(const void *weights, int64_t size) {
    const volatile char *bytes = weights;
    for (int64_t i = 0; i < size; i += ALIGNMENT) (void)bytes[i];
}

static void run_band(void *context, int64_t index) {
    convolution *self = context;
    band_memory memory;
    if (!take_memory(&self->sizes, &memory)) {
        atomic_store(&self->is_out_of_memory, true);
        return;
    }
    int64_t picture = index / self->bands;
    fxbin_band band = band_of(self, index % self->bands, &memory);
    pack_band(self->call, picture, &band);
    const fxbin_kernel *kernel = self->kernel;
    if (kernel == NULL) {
        fxbin_work work = work_of(self, &band);
        kernel = best_kernel(self->shape, &work, self->candidates);
    }
    const void *weights = weights_for(self->weights, kernel, self->call->weight_bits);
    if (weights == NULL) {
        atomic_store(&self->is_out_of_memory, true);
    } else if (self->is_planar) {
        const int64_t *stride = self->call->y.stride;
        float *y = (float *)self->call->y.data + picture * stride[0] + band.first_out_row * stride[2];
        run_planar(
            &self->coefficients, &band, weights, memory.input, y, self->levels.windows == NULL ? NULL : &self->levels
        );
    } else {
        means by = {.kernel = kernel, .weights = weights, .memory = &memory};
        fxbin_limits limits;
        if (self->has_limits && kernel->compare != NULL) {
            limits = limits_of(&self->coefficients, memory.limits);
            by.limits = &limits;
        }
        if (kernel->jumps) read_in_order(weights, kernel->weights_size(self->shape));
        count_active(&band, memory.active);
        kernel->prepare_band(&band, memory.input);
        run_tiles(self, &band, by, picture);
    }
    free(memory.bits);
}

static int64_t worthwhile_threads(const convolution *self) {
    const int64_t *x = self->call->x.shape;
    const fxbin_shape *shape = self->shape;
    int64_t words = ceil_div(shape->channels / shape->groups, 64);
    double work = (double)(shape->filters * shape->kernel[0] * shape->kernel[1] * words * 64);
    work *= (double)(x[0] * self->out_size[0] * self->out_size[1]);
    return (int64_t)max_of(1, (int64_t)(work / WORK_OF_A_THREAD));
}

/** Choose the kernel that counts across pixels if this CPU can run it, if only y is written, in planes, and if it is
 * faster than what has been chosen so far. */
static void choose_planar(convolution *self) {
    const fxbin_kernel *planar = &planar_avx512_kernel;
    const fxbin_call *call = self->call;
    const fxbin_coefficients *c = &self->coefficients;
    bool is_plain = call->y_bits.data == NULL && call->residual.data == NULL && c->middle == NULL;
    bool has_planes = call->y.stride[3] == 1 && call->y.stride[2] == self->out_size[1] && call->y.stride[1] != 1;
    if (!is_plain || !has_planes || call->activation != FXBIN_NO_ACTIVATION || call->kernel != NULL) return;
    if (!planar->runs_here() || !planar->takes(self->shape)) return;
    fxbin_work work = {.share = 0.5, .pixels = self->out_size[0] * self->out_size[1]};
    const fxbin_kernel *other = self->kernel == NULL ? best_kernel(self->shape, &work, NULL) : self->kernel;
    double rest = COST_OF_A_PIXEL + COST_OF_A_NUMBER * (double)self->shape->filters;
    double mine = planar->cost(self->shape, &work) * planar_excess(work.pixels);
    if (mine > other->cost(self->shape, &work) + rest) return;
    if (c->excess != NULL) {
        if (!has_few_windows(self->shape, call->x.shape + 2, self->out_size)) return;
        self->levels = window_levels_of(c, call->x.shape + 2, self->out_size);
        if (self->levels.windows == NULL) atomic_store(&self->is_out_of_memory, true);
    }
    self->kernel = planar;
    self->is_planar = true;
}

static int run(convolution *self) {
    const fxbin_call *call = self->call;
    float *storage = malloc((size_t)coefficients_size(self->shape) * sizeof *storage);
    if (storage == NULL) return fail(FXBIN_OUT_OF_MEMORY, "no memory for the coefficients");
    self->coefficients = coefficients_of(self->shape, call, storage);
    if (call->x_levels[0] != 0) {
        self->coefficients.excess = excess_of_ones(self->weights, call->weight_bits);
        if (self->coefficients.excess == NULL) atomic_store(&self->is_out_of_memory, true);
    }
    self->has_limits = has_limits(&self->coefficients);
    self->candidates = ever_best(self->weights, self->out_size[0] * self->out_size[1], self->has_limits);
    // Weight levels around a value other than 0 need the number of inputs that fire in each group.
    if (self->kernel == NULL && self->coefficients.middle == NULL) {
        self->kernel = joined_kernel(self->shape);
        if (self->kernel != NULL) self->packed.groups = 1;
    }
    if (self->kernel == NULL && self->is_weight_new) {
        self->kernel = best_kernel_once(self->shape, call->x.shape[0], self->out_size[0] * self->out_size[1]);
    }
    choose_planar(self);
    int64_t threads = min_of(call->threads, worthwhile_threads(self));
    divide(self, threads);
    int64_t count = call->x.shape[0] * self->bands;
    if (!atomic_load(&self->is_out_of_memory)) {
        if (call->parallel_for != NULL) {
            call->parallel_for(call->parallel_context, count, run_band, self);
        } else {
            run_on_threads(threads, count, run_band, self);
        }
    }
    free(storage);
    free(self->levels.windows);
    if (atomic_load(&self->is_out_of_memory)) return fail(FXBIN_OUT_OF_MEMORY, "no memory for the convolution");
    return FXBIN_OK;
}

int convolve(fxbin_weights *weights, const fxbin_call *call, bool is_weight_new) {
    if (weights == NULL) return fail(FXBIN_BAD_ARGUMENT, "weights: expected a pointer, got null");
    convolution self = {
        .weights = weights,
        .is_weight_new = is_weight_new,
        .shape = shape_of(weights),
        .call = call,
    };
    self.packed = *self.shape;
    int status = check_call(self.shape, call);
    if (status != FXBIN_OK || call->x.shape[0] == 0) return status;
    if (call->kernel != NULL) {
        self.kernel = kernel_named(call->kernel, self.shape);
        if (self.kernel == NULL) {
            return fail(
                FXBIN_BAD_ARGUMENT,
                "kernel: '%.32s' is none of this CPU, or does not take this shape",
                call->kernel
            );
        }
    }
    fxbin_output_size(self.shape, call->x.shape + 2, self.out_size);
    begin_call(weights);
    status = run(&self);
    end_call(weights);
    return status;
}

int fxbin_convolve(fxbin_weights *weights, const fxbin_call *call) {
    return convolve(weights, call, false);
}
