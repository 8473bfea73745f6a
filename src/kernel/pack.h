/* Packed activations: the forms in which float rows meet quantised weights. Shared by all levels, private to
 * src/kernel.
 *
 * Both forms are symmetric 8-bit: d = max|x| / 127, q = x * (127 / max|x|) rounded to the nearest, ties to even. A
 * block whose largest magnitude is below IG_PACK_TINY is all zeros; a block with a NaN or an infinity has d = NaN and q
 * = 0, so that the fault reaches every output it touches instead of becoming a plausible number.
 *
 * In blocks of 32, d is then rounded to the 11 significant bits that a half-precision number has, but keeps the range of
 * binary32: where others store d in half precision, results agree to float noise (a model as sensitive as gpt-oss's
 * small test file turns a scale that differs by 2^-12 into logits that differ by 3 %), and nothing overflows. */
#ifndef IG_KERNEL_PACK_H
#define IG_KERNEL_PACK_H

#include <stdint.h>
#include <string.h>

#define IG_PACK_TINY 1e-35f

/* exp(x) is 0 below: its value would have fewer bits than others, and processors take ten to twenty times as long over it
 * (Sapphire Rapids; exp of a masked score is one). */
#define IG_EXP_LEAST (-87.336f)

/* d to 11 significant bits, ties to even; d is finite and far from FLT_MAX. */
static inline float ig_pack_short(float d)
{
    uint32_t u;
    memcpy(&u, &d, 4);
    u = (u + 0xFFF + (u >> 13 & 1)) & ~(uint32_t)0x1FFF;
    memcpy(&d, &u, 4);
    return d;
}

typedef struct ig_q8 { /* IG_PACK_Q8: 32 values */
    float d;
    int32_t sum; /* of q */
    int8_t q[32];
} ig_q8;

typedef struct ig_q8k { /* IG_PACK_Q8K: 256 values */
    float d;
    int8_t q[256];
    int16_t bsums[16]; /* sums of 16 consecutive q */
} ig_q8k;

/* The order of float sums for quantised weights, equal on every level: one float accumulator for each (row, column), one
 * fused multiply-add for each exact integer sum, blocks in order.
 *
 *   blocks of 32    acc = fma(d * dx, sum(q * x), acc); NVFP4, with a scale for each half: first half, then last half;
 *                   then, for types with m, acc = fma(m, dx * sum(x), acc)
 *   blocks of 256   acc = fma(d * dx, sum(scale * q * x), acc), q without its offset;
 *                   then, for types with minimums, acc = fma(-(d2 * dx), sum(factor * bsums), acc)
 *
 * Sums stay below 2^31; one of 32 products is exact as a float. How rows and columns are laid out in registers is a
 * level's own business: integers may be added in any order. */

#endif
