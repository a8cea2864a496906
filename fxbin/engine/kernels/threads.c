#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>

#include "shape.h"

#define MOST_THREADS 64

typedef struct {
    void (*body)(void *context, int64_t index);
    void *context;
    int64_t count;
    atomic_int_fast64_t next;
} work;

static void *take_turns(void *argument) {
    work *shared = argument;
    for (int64_t i; (i = atomic_fetch_add(&shared->next, 1)) < shared->count;) shared->body(shared->context, i);
    return NULL;
}

void run_on_threads(int64_t threads, int64_t count, void (*body)(void *context, int64_t index), void *context) {
    work shared = {.body = body, .context = context, .count = count};
    atomic_init(&shared.next, 0);
    pthread_t others[MOST_THREADS];
    int64_t wanted = min_of(min_of(threads, count), MOST_THREADS) - 1, started = 0;
    // If the system cannot start more threads, those that were started do all the work.
    while (started < wanted && pthread_create(&others[started], NULL, take_turns, &shared) == 0) started++;
    take_turns(&shared);
    for (int64_t i = 0; i < started; i++) pthread_join(others[i], NULL);
}
