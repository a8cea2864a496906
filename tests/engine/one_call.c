/* Computes one convolution that a program on another CPU describes: see emulated.py. The names of the kernels, with an
 * argument; else, from standard input to standard output,
 *
 *     fxbin_shape, fxbin_call, the number of buffers; of each its place in the call, its size, its bytes
 *     status, text of the error; each buffer as it is then
 *
 * Behind each buffer begins a page that nobody may read or write, and in front of it stand bytes that must stay.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fxbin_engine.h"

#define PAGE 65536 /* of any size that an AArch64 has */
#define IN_FRONT 64
#define GUARD 0xa5
#define MOST_BUFFERS 16

typedef struct {
    int64_t place, size;
    char *data;
} buffer;

static void stop(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void take(void *to, int64_t size) {
    if (fread(to, 1, (size_t)size, stdin) != (size_t)size) stop("the input ends too early");
}

static void give(const void *from, int64_t size) {
    fwrite(from, 1, (size_t)size, stdout);
}

static char *guarded(int64_t size) {
    size_t pages = ((size_t)size + IN_FRONT + PAGE - 1) / PAGE * PAGE;
    char *start = mmap(NULL, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect(start + pages, PAGE, PROT_NONE)) stop("no memory");
    char *data = start + pages - size;
    memset(data - IN_FRONT, GUARD, IN_FRONT);
    return data;
}

static void take_buffer(fxbin_call *call, buffer *made) {
    take(&made->place, sizeof made->place);
    take(&made->size, sizeof made->size);
    made->data = guarded(made->size);
    take(made->data, made->size);
    memcpy((char *)call + made->place, &made->data, sizeof made->data);
}

static void give_buffer(const buffer *made) {
    for (int i = 1; i <= IN_FRONT; i++) {
        if ((unsigned char)made->data[-i] != GUARD) stop("something was written in front of a buffer");
    }
    give(made->data, made->size);
}

static void print_kernels(void) {
    const char *name;
    for (int64_t i = 0; (name = fxbin_kernel_name(i)) != NULL; i++) puts(name);
}

int main(int count, char **arguments) {
    (void)arguments;
    if (count > 1) return print_kernels(), 0;
    fxbin_shape shape;
    fxbin_call call;
    int64_t buffers;
    buffer all[MOST_BUFFERS];
    take(&shape, sizeof shape);
    take(&call, sizeof call);
    take(&buffers, sizeof buffers);
    if (buffers > MOST_BUFFERS) stop("too many buffers");
    for (int64_t i = 0; i < buffers; i++) take_buffer(&call, &all[i]);
    fxbin_weights *weights = NULL;
    int64_t status = fxbin_weights_create(&shape, &weights);
    if (status == FXBIN_OK) status = fxbin_convolve(weights, &call);
    char text[256] = {0};
    strncpy(text, fxbin_last_error(), sizeof text - 1);
    give(&status, sizeof status);
    give(text, sizeof text);
    for (int64_t i = 0; i < buffers; i++) give_buffer(&all[i]);
    fxbin_weights_destroy(weights);
    return 0;
}
