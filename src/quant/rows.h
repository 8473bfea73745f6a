/* Private to src/quant: one function a type, float row to blocks. x [n] holds finite numbers within the type's range
 * (checked before), w [n] weights from prepared importance or NULL (all weigh the same), dst the blocks; n is a
 * multiple of the block. Every block depends on its own x and w alone. */
#ifndef IG_QUANT_ROWS_H
#define IG_QUANT_ROWS_H

#include <stddef.h>

/* id, function suffix, largest magnitude that a row may hold (that of binary16 where scales are), importance is used */
#define IG_QUANT_TYPES(X)                                                                                              \
    X(F32, f32, 3.40282347e+38f, false)                                                                                \
    X(F16, f16, 65504.0f, false)                                                                                       \
    X(BF16, bf16, 3.38953139e+38f, false)                                                                              \
    X(Q4_0, q4_0, 65504.0f, true)                                                                                      \
    X(Q4_1, q4_1, 65504.0f, true)                                                                                      \
    X(Q5_0, q5_0, 65504.0f, true)                                                                                      \
    X(Q5_1, q5_1, 65504.0f, true)                                                                                      \
    X(Q8_0, q8_0, 65504.0f, false)                                                                                     \
    X(Q2_K, q2_k, 65504.0f, true)                                                                                      \
    X(Q3_K, q3_k, 65504.0f, true)                                                                                      \
    X(Q4_K, q4_k, 65504.0f, true)                                                                                      \
    X(Q5_K, q5_k, 65504.0f, true)                                                                                      \
    X(Q6_K, q6_k, 65504.0f, true)                                                                                      \
    X(IQ4_NL, iq4_nl, 65504.0f, true)                                                                                  \
    X(IQ4_XS, iq4_xs, 65504.0f, true)                                                                                  \
    X(MXFP4, mxfp4, 3.40282347e+38f, true)

#define X(id, name, max, weighs) void ig_from_f32_##name(const float *x, const float *w, void *dst, size_t n);
IG_QUANT_TYPES(X)
#undef X

#endif
