/* Entries of the x86 levels and the few register helpers that several of their files need. Included by x86/ only. */
#ifndef IG_KERNEL_X86_X86_H
#define IG_KERNEL_X86_X86_H

#include <immintrin.h>

#include "kernel/grids.h"
#include "kernel/kernel_list.h"

#define X(id, name, pack)                                                                                              \
    void ig_mul_##name##_avx2(const ig_mul_args *a);                                                                   \
    void ig_mul_##name##_avxvnni(const ig_mul_args *a); /* quantised types only */                                     \
    void ig_mul_##name##_avx512(const ig_mul_args *a);  /* quantised types: with VNNI */                               \
    void ig_mul_##name##_amx(const ig_mul_args *a);     /* quantised types only, and so is the emulation */            \
    void ig_mul_##name##_amx_emulated(const ig_mul_args *a);
IG_KERNEL_TYPES(X)
#undef X
/* What products with AMX like: rows, and scratch memory. */
enum { AMX_PIECE_ROWS = 256, AMX_ROOM_BYTES = 192 * 1024 };
void ig_fill_pack_avx2(ig_kernels *k);
void ig_fill_kv_avx2(ig_kernels *k);
void ig_fill_kv_avx512(ig_kernels *k);
void ig_fill_other_avx2(ig_kernels *k);
void ig_fill_other_avx512(ig_kernels *k);

/* The lane sum of kernel/pack.h: ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7)). */
static inline __attribute__((always_inline, target("avx2,fma"))) float ig_sum8_lanes(__m256 a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#endif
