/* A choice between two numbers without a branch. */
#ifndef FXBIN_CHOOSE_H
#define FXBIN_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"

/** `a` if the condition holds, else `b`. Where several expressions have the same condition, compilers make a branch of
 * ``condition ? a : b``, and the loop is not vectorized. */
static ALWAYS_INLINE float choose(bool condition, float a, float b) {
    int32_t of_a, of_b, mask = -(int32_t)condition;
    memcpy(&of_a, &a, sizeof a);
    memcpy(&of_b, &b, sizeof b);
    of_a = (of_a & mask) | (of_b & ~mask);
    memcpy(&a, &of_a, sizeof a);
    return a;
}

#endif
