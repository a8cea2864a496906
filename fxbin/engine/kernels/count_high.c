/* Counts, for each channel, the values above its threshold, in one pass that only reads: see `fxbin_count_call`. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "channel_parts.h"
#include "check.h"
#include "cpu.h"
#include "errors.h"
#include "threads.h"

/** Number of values of a place that are counted in 32 bits. Their counts are added in 64 bits. */
#define TURNS (1024 * 1024)

/** Number of values in a row that keep a loop busy: pixels in channels_last often have fewer channels. */
#define LONG_ROW 512

typedef struct {
    const fxbin_count_call *call;
    channel_parts parts;
    int64_t row;             /**< a number of periods that are counted side by side */
    const float *thresholds; /**< of each number of a row */
    int64_t *counts;         /**< (parts, channels) */
    atomic_bool is_out_of_memory;
} counting;

static ALWAYS_INLINE int64_t count_plane(const float *x, int64_t size, float threshold) {
    int64_t count = 0;
    for (int64_t i = 0; i < size;) {
        int32_t found = 0;
        for (int64_t end = min_of(i + TURNS, size); i < end; i++) found += x[i] > threshold;
        count += found;
    }
    return count;
}

static ALWAYS_INLINE void count_planes(const counting *self, int64_t first, int64_t last, int64_t *counts) {
    const channel_parts *parts = &self->parts;
    for (int64_t i = first; i < last; i += parts->plane) {
        int64_t channel = i / parts->plane % parts->channels;
        counts[channel] += count_plane(self->call->x + i, parts->plane, self->thresholds[channel]);
    }
}

/** Count in rows, of which the last may be shorter; `found` has room for the counts of one. */
static ALWAYS_INLINE void count_rows(
    const counting *self, int64_t first, int64_t last, int32_t *found, int64_t *counts
) {
    const float *thresholds = self->thresholds;
    int64_t row = self->row, of_channel = self->parts.period / self->parts.channels;
    for (int64_t start = first; start < last;) {
        memset(found, 0, (size_t)row * sizeof *found);
        for (int64_t end = min_of(start + TURNS * row, last); start < end; start += row) {
            const float *x = self->call->x + start;
            int64_t size = min_of(row, last - start);
            INDEPENDENT
            for (int64_t i = 0; i < size; i++) found[i] += x[i] > thresholds[i];
        }
        const int32_t *of_place = found;
        for (int64_t period = 0; period < row / self->parts.period; period++) {
            for (int64_t c = 0; c < self->parts.channels; c++) {
                for (int64_t i = 0; i < of_channel; i++) counts[c] += *of_place++;
            }
        }
    }
}

static ALWAYS_INLINE void count_part(counting *self, int64_t index) {
    int64_t first = first_of_part(&self->parts, index), last = first_of_part(&self->parts, index + 1);
    int64_t *counts = self->counts + index * self->parts.channels;
    if (self->parts.has_planes) {
        count_planes(self, first, last, counts);
        return;
    }
    int32_t *found = malloc((size_t)self->row * sizeof *found);
    if (found == NULL) {
        atomic_store(&self->is_out_of_memory, true);
        return;
    }
    count_rows(self, first, last, found, counts);
    free(found);
}

static void count_part_anywhere(void *self, int64_t index) {
    count_part(self, index);
}

#if FXBIN_X86
static AVX2 void count_part_avx2(void *self, int64_t index) {
    count_part(self, index);
}

static AVX512 void count_part_avx512(void *self, int64_t index) {
    count_part(self, index);
}
#endif

static void (*part_counter(void))(void *, int64_t) {
#if FXBIN_X86
    if (cpu_has_avx512()) return count_part_avx512;
    if (cpu_has_avx2()) return count_part_avx2;
#endif
    return count_part_anywhere;
}

int fxbin_count_high(const fxbin_count_call *call) {
    int status = check_count(call);
    if (status != FXBIN_OK) return status;
    counting self = {.call = call};
    self.parts = parts_of(call->pictures, call->channels, call->plane, call->is_planar, call->threads);
    int64_t count = self.parts.count * call->channels, period = self.parts.period;
    self.row = max_of(LONG_ROW / period, 1) * period;
    float *thresholds = malloc((size_t)self.row * sizeof *thresholds);
    self.counts = calloc((size_t)count, sizeof *self.counts);
    bool is_complete = thresholds != NULL && self.counts != NULL;
    if (is_complete) {
        for (int64_t i = 0; i < self.row; i += period) repeat_by_channel(&self.parts, call->thresholds, thresholds + i);
        self.thresholds = thresholds;
        run_on_threads(self.parts.count, self.parts.count, part_counter(), &self);
        is_complete = !atomic_load(&self.is_out_of_memory);
    }
    for (int64_t i = 0; is_complete && i < count; i++) call->counts[i % call->channels] += self.counts[i];
    free(thresholds);
    free(self.counts);
    return is_complete ? FXBIN_OK : fail(FXBIN_OUT_OF_MEMORY, "no memory for the counts");
}
