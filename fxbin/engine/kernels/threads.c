#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "shape.h"

#define MOST_THREADS 64

typedef struct {
    void (*body)(void *context, int64_t index);
    void *context;
    int64_t count;
    atomic_int_fast64_t next;
} work;

static void take_turns(void *argument) {
    work *shared = argument;
    for (int64_t i; (i = atomic_fetch_add(&shared->next, 1)) < shared->count;) shared->body(shared->context, i);
}

static void *run_thread(void *argument) {
    take_turns(argument);
    return NULL;
}

#if defined(__linux__)
/** GNU's OpenMP runtime, which a process with PyTorch has: its threads call `function`, this one among them. PyTorch's
 * operators leave them spinning for a while, so other threads would have to share the cores with them. */
extern void GOMP_parallel(void (*function)(void *), void *data, unsigned threads, unsigned flags) __attribute__((weak));

static bool has_pool;

/** The threads of the pool do not exist in a forked process, and the runtime would wait for them forever. */
static void forget_pool(void) {
    has_pool = false;
}

__attribute__((constructor)) static void find_pool(void) {
    has_pool = GOMP_parallel != NULL && pthread_atfork(NULL, NULL, forget_pool) == 0;
}

static bool ran_in_pool(work *shared, int64_t threads) {
    if (has_pool) GOMP_parallel(take_turns, shared, (unsigned)threads, 0);
    return has_pool;
}
#else
static bool ran_in_pool(work *shared, int64_t threads) {
    (void)shared, (void)threads;
    return false;
}
#endif

void run_on_threads(int64_t threads, int64_t count, void (*body)(void *context, int64_t index), void *context) {
    work shared = {.body = body, .context = context, .count = count};
    atomic_init(&shared.next, 0);
    threads = min_of(min_of(threads, count), MOST_THREADS);
    if (threads > 1 && ran_in_pool(&shared, threads)) return;
    pthread_t others[MOST_THREADS];
    int64_t started = 0;
    // If the system cannot start more threads, those that were started do all the work.
    while (started < threads - 1 && pthread_create(&others[started], NULL, run_thread, &shared) == 0) started++;
    take_turns(&shared);
    for (int64_t i = 0; i < started; i++) pthread_join(others[i], NULL);
}
