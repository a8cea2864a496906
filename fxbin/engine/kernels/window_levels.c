#include "window_levels.h"

#include <stdlib.h>

/** The different windows on one axis. */
typedef struct {
    int64_t count; /**< may be above MOST_WINDOWS, whose windows are not kept */
    taps_inside windows[MOST_WINDOWS];
} axis_windows;

/** Find the windows of the outputs on an axis; `numbers`, if it is not null, gets the number of each output's. As the first
 * and the last tap inside move one way only, equal windows are neighbours. */
static axis_windows windows_on(const fxbin_shape *shape, int axis, int64_t outputs, int64_t extent, int32_t *numbers) {
    axis_windows found = {.count = 0};
    taps_inside before = {0};
    for (int64_t i = 0; i < outputs; i++) {
        taps_inside taps = taps_at(shape, axis, i, extent);
        if (i == 0 || taps.first != before.first || taps.last != before.last) {
            if (found.count < MOST_WINDOWS) found.windows[found.count] = taps;
            found.count++;
        }
        before = taps;
        if (numbers != NULL) numbers[i] = (int32_t)(found.count - 1);
    }
    return found;
}

bool has_few_windows(const fxbin_shape *shape, const int64_t in_size[2], const int64_t out_size[2]) {
    int64_t count = 1;
    for (int axis = 0; axis < 2; axis++) {
        count *= windows_on(shape, axis, out_size[axis], in_size[axis], NULL).count;
        if (count > MOST_WINDOWS) return false;
    }
    return true;
}

fxbin_window_levels window_levels_of(
    const fxbin_coefficients *c, const int64_t in_size[2], const int64_t out_size[2]
) {
    const fxbin_shape *shape = c->shape;
    int64_t height = out_size[0], width = out_size[1], pixels = height * width + MORE_PIXELS;
    int64_t numbers = pixels + height + width, values = shape->filters * MOST_WINDOWS;
    fxbin_window_levels made = {.windows = calloc((size_t)(numbers + values), sizeof *made.windows)};
    if (made.windows == NULL) return made;
    made.added = (float *)(made.windows + numbers);
    int32_t *rows = made.windows + pixels, *columns = rows + height;
    axis_windows down = windows_on(shape, 0, height, in_size[0], rows);
    axis_windows across = windows_on(shape, 1, width, in_size[1], columns);
    for (int64_t i = 0; i < height * width; i++) {
        made.windows[i] = rows[i / width] * (int32_t)across.count + columns[i % width];
    }
    float low = c->call->x_levels[0];
    for (int64_t f = 0; f < shape->filters; f++) {
        for (int64_t i = 0; i < down.count * across.count; i++) {
            int32_t sum = excess_inside(c, down.windows[i / across.count], across.windows[i % across.count], f);
            made.added[f * MOST_WINDOWS + i] = c->bias[f] + c->half[f] * (low * (float)sum);
        }
    }
    return made;
}
