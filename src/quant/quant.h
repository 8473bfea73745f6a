/* Quantising: float rows to blocks, importance data, the usual mixtures of types, and whole files in a stream.
 *
 * Blocks decode by the rules in src/tensor/tensor.c and src/kernel/ref; how scales are found is our own (fit.h,
 * super.h). Everything is deterministic: a block depends on its own weights and their importance alone, so a file does
 * not depend on the number of threads. */
#ifndef IG_QUANT_QUANT_H
#define IG_QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "format/format.h"
#include "tensor/tensor.h"

/* ------------------------------------------------------------------------------------------------ rows */

/* True for types that can be written: F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K..Q6_K IQ4_NL IQ4_XS MXFP4. */
bool ig_quant_can(uint32_t type);
/* False where importance changes nothing. */
bool ig_quant_weighs(uint32_t type);
/* Index of the first of x [n] that the type cannot hold: NaN, infinity, or a magnitude beyond its range (65504 where
 * scales are binary16); n when all are good. */
size_t ig_quant_check(uint32_t type, const float *x, size_t n);
/* Quantises x [n] into dst; n a multiple of the block, every x checked. w [n] NULL, or weights in (0, 1] as
 * ig_importance_prepare makes them: the sum of w * (x - decoded)^2 is made small. dst and x do not overlap. */
void ig_quant_row(uint32_t type, const float *x, const float *w, void *dst, size_t n);

#endif
