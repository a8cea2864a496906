/* Quantizes floats to bytes, for the int8 layers of a model with 1-bit ones.
 *
 *     y = round(clamp(x * inverse_scale, -zero_point, 255 - zero_point)) + zero_point
 *
 * Ties go to the even number, and NaN to 0.
 */
#include <math.h>

#include "cpu.h"
#include "errors.h"
#include "shape.h"
#include "threads.h"

/** Number of values that a thread takes at a time. */
#define PART ((int64_t)1 << 18)

/** Floats from here on have no fraction, so adding this to a number of less than half of it rounds that number. */
#define NO_FRACTION 12582912.0f

typedef struct {
    const float *x;
    uint8_t *y;
    int64_t size;
    float inverse_scale, least, most;
    int32_t zero_point;
} numbers;

static ALWAYS_INLINE void quantize(const numbers *of, int64_t first, int64_t last) {
    const float *x = of->x;
    float inverse_scale = of->inverse_scale, least = of->least, most = of->most;
    int32_t zero_point = of->zero_point;
    uint8_t *y = of->y;
    INDEPENDENT
    for (int64_t i = first; i < last; i++) {
        float value = x[i] * inverse_scale;
        value = value > least ? value : least;
        value = value < most ? value : most;
        y[i] = (uint8_t)((int32_t)((value + NO_FRACTION) - NO_FRACTION) + zero_point);
    }
}

#if FXBIN_X86
static AVX2 void quantize_avx2(const numbers *of, int64_t first, int64_t last) {
    quantize(of, first, last);
}
#endif

static void quantize_part(void *context, int64_t index) {
    const numbers *of = context;
    int64_t first = index * PART, last = min_of(first + PART, of->size);
#if FXBIN_X86
    if (cpu_has_avx2()) {
        quantize_avx2(of, first, last);
        return;
    }
#endif
    quantize(of, first, last);
}

int fxbin_quantize(
    const float *x, int64_t size, float inverse_scale, int64_t zero_point, uint8_t *y, int64_t y_size, int64_t threads
) {
    if (x == NULL || y == NULL) return fail(FXBIN_BAD_ARGUMENT, "x, y: expected pointers, got null");
    if ((uintptr_t)x % sizeof *x) return fail(FXBIN_BAD_ARGUMENT, "x: not aligned to 4 bytes");
    if (size < 0 || y_size != size) return fail(FXBIN_BAD_ARGUMENT, "y: expected as many bytes as x has numbers");
    if (zero_point < 0 || zero_point > 255) return fail(FXBIN_BAD_ARGUMENT, "zero point: expected 0 to 255");
    if (!(inverse_scale > 0) || isinf(inverse_scale)) {
        return fail(FXBIN_BAD_ARGUMENT, "inverse scale: expected a finite number above 0");
    }
    if (threads < 1 || threads > 1024) return fail(FXBIN_BAD_ARGUMENT, "threads: expected 1 to 1024");
    numbers of = {
        .x = x,
        .y = y,
        .size = size,
        .inverse_scale = inverse_scale,
        .least = (float)-zero_point,
        .most = (float)(255 - zero_point),
        .zero_point = (int32_t)zero_point,
    };
    run_on_threads(threads, ceil_div(size, PART), quantize_part, &of);
    return FXBIN_OK;
}
