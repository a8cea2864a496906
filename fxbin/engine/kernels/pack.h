/* Packs numbers into bits. */
#ifndef FXBIN_PACK_H
#define FXBIN_PACK_H

#include "band.h"

/** Fill the bits of `band` from picture `picture` of the call, and count those that are set. */
void pack_band(const fxbin_call *call, int64_t picture, fxbin_band *band);

#endif
