/* Runs work on several threads. */
#ifndef FXBIN_THREADS_H
#define FXBIN_THREADS_H

#include <stdint.h>

/** Call ``body(context, i)`` for every i below `count`, on at most `threads` threads, this one among them.
 *
 * The other threads start and end within the call, so a process may fork at any time.
 */
void run_on_threads(int64_t threads, int64_t count, void (*body)(void *context, int64_t index), void *context);

#endif
