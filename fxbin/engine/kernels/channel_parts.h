/* How a pass over a dense tensor with channels is divided: into parts for threads, and into loops. */
#ifndef FXBIN_CHANNEL_PARTS_H
#define FXBIN_CHANNEL_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "shape.h"

/** Number of values from which on a plane is worth a loop of its own. */
#define LONG_PLANE 64

/** Number of values that are worth another thread. */
#define NUMBERS_OF_A_THREAD (1024 * 1024)

typedef struct {
    int64_t pictures, channels, plane, picture; /**< numbers of each */
    bool has_planes;                            /**< whether each plane has a loop of its own */
    int64_t period; /**< else, the numbers of a loop: those of a picture or, in channels_last, of a pixel */
    int64_t count;  /**< number of parts, each of whole pictures */
} channel_parts;

/** The parts for at most `threads` threads of a tensor in planes of channels, or in channels_last. */
static inline channel_parts parts_of(
    int64_t pictures, int64_t channels, int64_t plane, bool is_planar, int64_t threads
) {
    channel_parts parts = {.pictures = pictures, .channels = channels, .plane = plane, .picture = channels * plane};
    parts.has_planes = is_planar && plane >= LONG_PLANE;
    parts.period = is_planar && !parts.has_planes ? parts.picture : channels;
    parts.count = max_of(pictures * parts.picture / NUMBERS_OF_A_THREAD, 1);
    parts.count = min_of(min_of(parts.count, threads), pictures);
    return parts;
}

/** The first number of part `index`; that of the part after the last is the number of all. */
static inline int64_t first_of_part(const channel_parts *parts, int64_t index) {
    return parts->pictures * index / parts->count * parts->picture;
}

/** Write the value of each number of a period, from those of the channels. */
static inline void repeat_by_channel(const channel_parts *parts, const float *of_channels, float *repeated) {
    int64_t of_channel = parts->period / parts->channels;
    // Not one loop over the numbers: a division takes longer than all other work for one.
    for (int64_t c = 0; c < parts->channels; c++) {
        for (int64_t i = 0; i < of_channel; i++) *repeated++ = of_channels[c];
    }
}

#endif
