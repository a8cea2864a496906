/* A call, step by step: bands of the output, tiles of a band, groups, blocks of filters. */
#include <stdatomic.h>
#include <stdlib.h>

#include "active.h"
#include "check.h"
#include "cpu.h"
#include "depthwise.h"
#include "epilogue.h"
#include "errors.h"
#include "kernels.h"
#include "pack.h"
#include "threads.h"
#include "weights.h"

#define ALIGNMENT 64

/** Bytes that the input of a band may take, so that it stays in the cache while the band is computed. */
#define BAND_BYTES (256 * 1024)

/** Work, in weights times output pixels, that is worth another thread. */
#define WORK_OF_A_THREAD (16 * 1024 * 1024)

/** Bytes of each part of a band's memory. */
typedef struct {
    int64_t bits, fired, active, input, gathered, sums;
} band_sizes;

typedef struct {
    uint64_t *bits;
    int32_t *fired, *active;
    void *input, *gathered;
    int32_t *sums;
} band_memory;

typedef struct {
    fxbin_weights *weights;
    const fxbin_shape *shape;
    fxbin_shape packed; /**< as bands and tiles take it: with one group where all are computed together */
    const fxbin_call *call;
    const fxbin_kernel *kernel; /**< the one for all bands; null: the best for each */
    fxbin_coefficients coefficients;
    int64_t out_size[2];
    int64_t band_rows, bands; /**< rows of the output in a band, bands of a picture */
    band_sizes sizes;
    atomic_bool is_out_of_memory;
} convolution;

static int64_t aligned(int64_t size) {
    return ceil_div(size + SLACK, ALIGNMENT) * ALIGNMENT;
}

/** Rows of the input under `rows` rows of the output, at most. */
static int64_t input_rows(const convolution *self, int64_t rows) {
    const fxbin_shape *shape = self->shape;
    int64_t reach = (rows - 1) * shape->stride[0] + (shape->kernel[0] - 1) * shape->dilation[0] + 1;
    return min_of(reach, self->call->x.shape[2]);
}

/** Make room for what `kernel` needs of a band of so many pixels of the input. */
static void make_room(band_sizes *sizes, const fxbin_kernel *kernel, const fxbin_shape *shape, int64_t pixels) {
    sizes->input = max_of(sizes->input, aligned(pixels * kernel->pixel_size(shape)));
    sizes->gathered = max_of(sizes->gathered, aligned(kernel->gathered_size(shape)));
    sizes->sums = max_of(sizes->sums, aligned(TILE * kernel->block(shape) * (int64_t)sizeof(int32_t)));
}

static band_sizes sizes_of(const convolution *self, int64_t rows) {
    const fxbin_shape *shape = &self->packed;
    int64_t pixels = input_rows(self, rows) * self->call->x.shape[3];
    band_sizes sizes = {
        .bits = aligned(pixels * pixel_words(shape) * (int64_t)sizeof(uint64_t)),
        .fired = aligned(pixels * shape->groups * (int64_t)sizeof(int32_t)),
        .active = aligned(rows * self->out_size[1] * shape->groups * (int64_t)sizeof(int32_t)),
    };
    if (self->kernel != NULL) make_room(&sizes, self->kernel, shape, pixels);
    for (int64_t i = 0; self->kernel == NULL && kernel_at(i) != NULL; i++) {
        // Memory for kernels that are never chosen would only make bands smaller.
        if (is_ever_best(self->weights, i)) make_room(&sizes, kernel_at(i), shape, pixels);
    }
    return sizes;
}

/** Choose the height of a band: as much as fits the cache, and a band for each thread. */
static void divide(convolution *self, int64_t threads) {
    int64_t rows = self->out_size[0], pictures = self->call->x.shape[0];
    rows = min_of(rows, ceil_div(self->out_size[0] * pictures, threads));
    while (rows > 1) {
        band_sizes sizes = sizes_of(self, rows);
        if (sizes.bits + sizes.input <= BAND_BYTES) break;
        // Rows at the edge are packed by both bands: a band of a few kernels' height, whatever the cache.
        if (rows <= 4 * input_rows(self, 1)) break;
        rows = ceil_div(rows, 2);
    }
    self->band_rows = rows;
    self->bands = ceil_div(self->out_size[0], rows);
    self->sizes = sizes_of(self, rows);
}

/** One block of memory for all parts; false if there is none. To be freed at `bits`. */
static bool take_memory(const band_sizes *sizes, band_memory *memory) {
    int64_t total = sizes->bits + sizes->fired + sizes->active + sizes->input + sizes->gathered + sizes->sums;
    char *start = aligned_alloc(ALIGNMENT, (size_t)total);
    if (start == NULL) return false;
    memory->bits = (void *)start;
    memory->fired = (void *)(start += sizes->bits);
    memory->active = (void *)(start += sizes->fired);
    memory->input = start += sizes->active;
    memory->gathered = start += sizes->input;
    memory->sums = (void *)(start + sizes->gathered);
    return true;
}

/** Band number `index` of a picture, and the rows of the input under it. */
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

/** How many inputs of the band fire, in steps of all of them. */
static int64_t steps_fired(const fxbin_band *band) {
    int64_t counts = band->rows * band->in_size[1] * band->shape->groups, sum = 0;
    for (int64_t i = 0; i < counts; i++) sum += band->fired[i];
    return counts == 0 ? 0 : (sum * SHARE_STEPS) / (counts * group_channels(band->shape));
}

/** Where the pixels of a tile are. */
typedef struct {
    fxbin_window windows[TILE];
    int64_t y_at[TILE], residual_at[TILE], y_bits_at[TILE];
} places;

static ALWAYS_INLINE int64_t element_at(const fxbin_tensor *tensor, int64_t picture, int64_t row, int64_t column) {
    return picture * tensor->stride[0] + row * tensor->stride[2] + column * tensor->stride[3];
}

/** Find those of the pixels from number `start` of the band on. */
static void find_places(
    const convolution *self, const fxbin_band *band, int64_t picture, int64_t start, int64_t pixels, places *found
) {
    const fxbin_call *call = self->call;
    int64_t row = band->first_out_row + start / band->out_width, column = start % band->out_width;
    taps_inside down = taps_at(self->shape, 0, row, band->in_size[0]);
    for (int64_t i = 0; i < pixels; i++) {
        found->windows[i].down = down;
        found->windows[i].across = taps_at(self->shape, 1, column, band->in_size[1]);
        found->y_at[i] = element_at(&call->y, picture, row, column);
        found->residual_at[i] = element_at(&call->residual, picture, row, column);
        found->y_bits_at[i] = element_at(&call->y_bits, picture, row, column);
        if (++column == band->out_width) {
            down = taps_at(self->shape, 0, ++row, band->in_size[0]);
            column = 0;
        }
    }
}

/** Compute the pixels of a band by `kernel`, whose forms of the weights and of the band are given. */
static void run_tiles(
    const convolution *self, const fxbin_band *band, const fxbin_kernel *kernel, const void *weights,
    const band_memory *memory, int64_t picture
) {
    places found;
    int64_t pixels = band->out_rows * band->out_width;
    int64_t filters = group_filters(&self->packed), block = kernel->block(&self->packed);
    for (int64_t start = 0; start < pixels; start += TILE) {
        fxbin_tile tile = {
            .pixels = min_of(TILE, pixels - start),
            .windows = found.windows,
            .y_at = found.y_at,
            .residual_at = found.residual_at,
            .y_bits_at = found.y_bits_at,
        };
        find_places(self, band, picture, start, tile.pixels, &found);
        for (tile.group = 0; tile.group < self->packed.groups; tile.group++) {
            tile.active = memory->active + tile.group * pixels + start;
            kernel->gather(band, memory->input, &tile, memory->gathered);
            for (int64_t first = 0; first < filters; first += block) {
                int64_t count = min_of(block, filters - first);
                kernel->count(band, &tile, weights, memory->gathered, first, count, memory->sums);
                finish_tile(&self->coefficients, &tile, first, count, memory->sums, block);
            }
        }
    }
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
    if (kernel == NULL) kernel = best_kernel(self->shape, steps_fired(&band));
    const void *weights = weights_for(self->weights, kernel, self->call->weight_bits);
    if (weights == NULL) {
        atomic_store(&self->is_out_of_memory, true);
    } else {
        count_active(&band, memory.active);
        kernel->prepare_band(&band, memory.input);
        run_tiles(self, &band, kernel, weights, &memory, picture);
    }
    free(memory.bits);
}

static int64_t worthwhile_threads(const convolution *self) {
    const int64_t *x = self->call->x.shape;
    double work = (double)(self->shape->filters * inputs_of(self->shape));
    work *= (double)(x[0] * self->out_size[0] * self->out_size[1]);
    return (int64_t)max_of(1, (int64_t)(work / WORK_OF_A_THREAD));
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
    // Levels around another value than 0 need the inputs that fire of each group.
    bool is_depthwise = depthwise_kernel.takes(self->shape) && self->coefficients.middle == NULL;
    if (self->kernel == NULL && is_depthwise && call->x_dtype != FXBIN_BITS) {
        self->kernel = &depthwise_kernel;
        self->packed.groups = 1;
    }
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
    if (atomic_load(&self->is_out_of_memory)) return fail(FXBIN_OUT_OF_MEMORY, "no memory for the convolution");
    return FXBIN_OK;
}

int fxbin_convolve(fxbin_weights *weights, const fxbin_call *call) {
    if (weights == NULL) return fail(FXBIN_BAD_ARGUMENT, "weights: expected a pointer, got null");
    convolution self = {.weights = weights, .shape = shape_of(weights), .call = call};
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
    return run(&self);
}
