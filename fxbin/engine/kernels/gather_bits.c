#include "gather_bits.h"

#include <string.h>

#include "cpu.h"

int64_t no_pixel_size(const fxbin_shape *shape) {
    (void)shape;
    return 0;
}

void no_preparation(const fxbin_band *band, void *input) {
    (void)band, (void)input;
}

int64_t gathered_bits_size(const fxbin_shape *shape) {
    return TILE * words_of_filter(shape) * (int64_t)sizeof(uint64_t);
}

#define AT_ONCE 4

/** May read and write AT_ONCE - 1 words more, which are written later or are slack. */
static ALWAYS_INLINE uint64_t *copy_words(const uint64_t *from, int64_t count, uint64_t *to) {
    for (int64_t i = 0; i < count; i += AT_ONCE) memcpy(to + i, from + i, AT_ONCE * sizeof *to);
    return to + count;
}

static ALWAYS_INLINE uint64_t *write_zeros(int64_t count, uint64_t *to) {
    for (int64_t i = 0; i < count; i += AT_ONCE) memset(to + i, 0, AT_ONCE * sizeof *to);
    return to + count;
}

/** Write the words of one pixel, some of whose taps are outside the picture. */
static uint64_t *gather_edge(const fxbin_band *band, const uint64_t *bits, const fxbin_window *window, uint64_t *to) {
    const fxbin_shape *shape = band->shape;
    int64_t words = group_words(shape), height = shape->kernel[0], width = shape->kernel[1];
    taps_inside down = window->down, across = window->across;
    to = write_zeros(down.first * width * words, to);
    for (int64_t ky = down.first; ky < down.last; ky++) {
        to = write_zeros(across.first * words, to);
        for (int64_t kx = across.first; kx < across.last; kx++) {
            int64_t at = band_pixel(band, down.start + ky * down.step, across.start + kx * across.step);
            to = copy_words(bits + at * pixel_words(shape), words, to);
        }
        to = write_zeros((width - across.last) * words, to);
    }
    return write_zeros((height - down.last) * width * words, to);
}

void gather_bits(const fxbin_band *band, const void *input, const fxbin_tile *tile, void *gathered) {
    (void)input;
    const fxbin_shape *shape = band->shape;
    int64_t words = group_words(shape), height = shape->kernel[0], width = shape->kernel[1];
    int64_t column = pixel_words(shape), row = shape->dilation[0] * band->in_size[1] * column;
    bool are_rows = shape->groups == 1 && shape->dilation[1] == 1; // taps of a row are neighbours in memory
    const uint64_t *bits = band->bits + tile->group * words;
    uint64_t *to = gathered;
    for (int64_t pixel = 0; pixel < tile->pixels; pixel++) {
        taps_inside down = tile->windows[pixel].down, across = tile->windows[pixel].across;
        bool is_inside = down.last - down.first == height && across.last - across.first == width;
        if (!is_inside || !are_rows) {
            to = gather_edge(band, bits, &tile->windows[pixel], to);
            continue;
        }
        const uint64_t *from = bits + band_pixel(band, down.start, across.start) * column;
        for (int64_t ky = 0; ky < height; ky++, from += row) to = copy_words(from, width * words, to);
    }
}
