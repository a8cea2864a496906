/* What a low level of x other than 0 adds to the sums of each filter, for a kernel that computes pixels side by side. */
#ifndef FXBIN_WINDOW_LEVELS_H
#define FXBIN_WINDOW_LEVELS_H

#include <stdbool.h>

#include "epilogue.h"

/** Maximum number of different windows of a picture: a vector holds what is added for each of them. */
#define MOST_WINDOWS 16

/** Number of pixels past the last one that have a window, too. */
#define MORE_PIXELS 16

/** The pixels of the output differ in which taps are inside the picture: those in the middle have one window, those at
 * each side and in each corner another. */
typedef struct {
    int32_t *windows; /**< (pixels + MORE_PIXELS): the number of each pixel's window */
    float *added;     /**< (filters, MOST_WINDOWS): the bias and the low level's share */
} fxbin_window_levels;

/** Whether the output has at most MOST_WINDOWS windows. */
bool has_few_windows(const fxbin_shape *shape, const int64_t in_size[2], const int64_t out_size[2]);

/** Compute them for a picture with few windows, in one block of memory to be freed at `windows`, which is null if there
 * is none. `coefficients->excess` is not null. */
fxbin_window_levels window_levels_of(
    const fxbin_coefficients *coefficients, const int64_t in_size[2], const int64_t out_size[2]
);

#endif
