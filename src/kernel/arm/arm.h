/* Entries of the arm64 levels and what several of their files need. Included by arm/ only. */
#ifndef IG_KERNEL_ARM_ARM_H
#define IG_KERNEL_ARM_ARM_H

#include <arm_neon.h>

#include "kernel/grids.h"
#include "kernel/kernel_list.h"

#define INLINE static inline __attribute__((always_inline))

/* Before loops over a tile's rows and columns: accumulators become registers only when these are gone. */
#if defined(__clang__)
#define IG_UNROLL _Pragma("clang loop unroll(full)")
#else
#define IG_UNROLL _Pragma("GCC unroll 16")
#endif

#define X(id, name, pack)                                                                                              \
    void ig_mul_##name##_neon(const ig_mul_args *a);                                                                   \
    void ig_mul_##name##_dotprod(const ig_mul_args *a);                                                                \
    void ig_mul_##name##_i8mm(const ig_mul_args *a);
IG_KERNEL_TYPES(X)
#undef X
void ig_fill_pack_neon(ig_kernels *k);
void ig_fill_kv_neon(ig_kernels *k);
void ig_fill_other_neon(ig_kernels *k);

#endif
