/* Runs work on several threads. */
#ifndef FXBIN_THREADS_H
#define FXBIN_THREADS_H

#include <stdint.h>

/** Call ``body(context, i)`` for every i below `count`, on at most `threads` threads, this one among them.
 *
 * The others are those of the process's OpenMP runtime, which PyTorch's operators use, too. Without one, they start and
 * end within the call.
 */
void run_on_threads(int64_t threads, int64_t count, void (*body)(void *context, int64_t index), void *context);

#endif
