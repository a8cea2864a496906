#include "places.h"

#include <stddef.h>

#include "cpu.h"

static ALWAYS_INLINE int64_t element_at(const fxbin_tensor *tensor, int64_t picture, int64_t row, int64_t column) {
    return picture * tensor->stride[0] + row * tensor->stride[2] + column * tensor->stride[3];
}

/** Find the elements of `tensor` at `count` columns of a row, from number `column` on, if it has data. */
static ALWAYS_INLINE void find_elements(
    const fxbin_tensor *tensor, int64_t picture, int64_t row, int64_t column, int64_t count, int64_t *found
) {
    if (tensor->data == NULL) return;
    int64_t first = element_at(tensor, picture, row, column), step = tensor->stride[3];
    for (int64_t i = 0; i < count; i++) found[i] = first + i * step;
}

void find_places(
    const fxbin_call *call, const fxbin_band *band, int64_t picture, int64_t start, int64_t pixels, fxbin_places *found
) {
    for (int64_t i = 0, count; i < pixels; i += count) {
        int64_t row = band->first_out_row + (start + i) / band->out_width, column = (start + i) % band->out_width;
        count = min_of(band->out_width - column, pixels - i);
        fxbin_window window = {.down = taps_at(band->shape, 0, row, band->in_size[0])};
        for (int64_t j = 0; j < count; j++) {
            window.across = taps_at(band->shape, 1, column + j, band->in_size[1]);
            found->windows[i + j] = window;
        }
        find_elements(&call->y, picture, row, column, count, found->y_at + i);
        find_elements(&call->residual, picture, row, column, count, found->residual_at + i);
        find_elements(&call->y_bits, picture, row, column, count, found->y_bits_at + i);
    }
}
