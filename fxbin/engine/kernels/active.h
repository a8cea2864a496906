/* Counts how many inputs of a filter fire. */
#ifndef FXBIN_ACTIVE_H
#define FXBIN_ACTIVE_H

#include "band.h"

/** Sum `band->fired` over the taps of each pixel of the output, into (groups, out_rows, out_width). */
void count_active(const fxbin_band *band, int32_t *active);

#endif
