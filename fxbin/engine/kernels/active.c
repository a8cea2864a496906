#include "active.h"

#include "cpu.h"

/** Add every `stride`-th value of `fired`, those of one tap, to the outputs for which the tap is inside. */
static ALWAYS_INLINE void add_tap(const int32_t *fired, int64_t stride, int64_t count, int32_t *active) {
    if (stride == 1) {
        for (int64_t i = 0; i < count; i++) active[i] += fired[i];
    } else {
        for (int64_t i = 0; i < count; i++) active[i] += fired[i * stride];
    }
}

/** The first output whose tap, `offset` pixels from it, is not left of the picture; `width` if there is none. */
static ALWAYS_INLINE int64_t first_inside(int64_t offset, int64_t stride, int64_t width) {
    return min_of(offset < 0 ? ceil_div(-offset, stride) : 0, width);
}

static ALWAYS_INLINE void sum_row(const fxbin_band *band, const int32_t *fired, int64_t out_row, int32_t *active) {
    const fxbin_shape *shape = band->shape;
    int64_t stride = shape->stride[1], width = band->out_width;
    for (int64_t i = 0; i < width; i++) active[i] = 0;
    taps_inside down = taps_at(shape, 0, out_row, band->in_size[0]);
    for (int64_t kx = 0; kx < shape->kernel[1]; kx++) {
        int64_t offset = kx * shape->dilation[1] - shape->padding[2];
        int64_t first = first_inside(offset, stride, width);
        int64_t last = first_inside(offset - band->in_size[1], stride, width);
        for (int64_t ky = down.first; ky < down.last; ky++) {
            int64_t from = band_pixel(band, down.start + ky * down.step, offset + first * stride);
            add_tap(fired + from, stride, last - first, active + first);
        }
    }
}

static ALWAYS_INLINE void sum_band(const fxbin_band *band, int32_t *active) {
    int64_t pixels = band->rows * band->in_size[1];
    for (int64_t group = 0; group < band->shape->groups; group++) {
        for (int64_t row = 0; row < band->out_rows; row++, active += band->out_width) {
            sum_row(band, band->fired + group * pixels, band->first_out_row + row, active);
        }
    }
}

#if FXBIN_X86
static AVX2 void sum_band_avx2(const fxbin_band *band, int32_t *active) {
    sum_band(band, active);
}
#endif

void count_active(const fxbin_band *band, int32_t *active) {
#if FXBIN_X86
    if (cpu_has_avx2()) {
        sum_band_avx2(band, active);
        return;
    }
#endif
    sum_band(band, active);
}
