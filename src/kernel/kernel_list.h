/* The list of types that can be computed with: dispatch, harness and benchmark read it. A new type is a row here, a row
 * in src/tensor/tensor.c and a function in ref/ that opens a block (to_f32 and mul are named after the type); faster
 * levels may add their own mul, again by a function that unpacks. */
#ifndef IG_KERNEL_LIST_H
#define IG_KERNEL_LIST_H

#include "kernel/kernel.h"

/* id, function suffix, packed form of the activations */
#define IG_KERNEL_TYPES(X)                                                                                             \
    X(F32, f32, F32)                                                                                                   \
    X(F16, f16, F32)                                                                                                   \
    X(BF16, bf16, F32)                                                                                                 \
    X(Q4_0, q4_0, Q8)                                                                                                  \
    X(Q4_1, q4_1, Q8)                                                                                                  \
    X(Q5_0, q5_0, Q8)                                                                                                  \
    X(Q5_1, q5_1, Q8)                                                                                                  \
    X(Q8_0, q8_0, Q8)                                                                                                  \
    X(IQ4_NL, iq4_nl, Q8)                                                                                              \
    X(MXFP4, mxfp4, Q8)                                                                                                \
    X(NVFP4, nvfp4, Q8)                                                                                                \
    X(Q1_0, q1_0, Q8)                                                                                                  \
    X(Q2_0, q2_0, Q8)                                                                                                  \
    X(Q2_K, q2_k, Q8K)                                                                                                 \
    X(Q3_K, q3_k, Q8K)                                                                                                 \
    X(Q4_K, q4_k, Q8K)                                                                                                 \
    X(Q5_K, q5_k, Q8K)                                                                                                 \
    X(Q6_K, q6_k, Q8K)                                                                                                 \
    X(IQ4_XS, iq4_xs, Q8K)                                                                                             \
    X(IQ2_XXS, iq2_xxs, Q8K)                                                                                           \
    X(IQ2_XS, iq2_xs, Q8K)                                                                                             \
    X(IQ2_S, iq2_s, Q8K)                                                                                               \
    X(IQ3_XXS, iq3_xxs, Q8K)                                                                                           \
    X(IQ3_S, iq3_s, Q8K)                                                                                               \
    X(IQ1_S, iq1_s, Q8K)                                                                                               \
    X(IQ1_M, iq1_m, Q8K)                                                                                               \
    X(TQ1_0, tq1_0, Q8K)                                                                                               \
    X(TQ2_0, tq2_0, Q8K)

#define X(id, name, pack)                                                                                              \
    void ig_to_f32_##name##_ref(const void *src, float *dst, size_t n);                                                \
    void ig_mul_##name##_ref(const ig_mul_args *a);
IG_KERNEL_TYPES(X)
#undef X

/* Each level fills what it has over what is there; called weakest first. cpu: base/cpu.h flags. */
void ig_kernels_fill_ref(ig_kernels *k, uint32_t cpu);
void ig_kernels_fill_avx2(ig_kernels *k, uint32_t cpu);
void ig_kernels_fill_avxvnni(ig_kernels *k, uint32_t cpu);
void ig_kernels_fill_avx512(ig_kernels *k, uint32_t cpu);
void ig_kernels_fill_amx(ig_kernels *k, uint32_t cpu);
void ig_kernels_fill_amx_emulated(ig_kernels *k, uint32_t cpu);
void ig_kernels_fill_neon(ig_kernels *k, uint32_t cpu);
void ig_kernels_fill_dotprod(ig_kernels *k, uint32_t cpu);
void ig_kernels_fill_i8mm(ig_kernels *k, uint32_t cpu);

#endif
