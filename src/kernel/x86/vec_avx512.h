/* Vectors of 16 floats: the words in which kernel/kv.inc and kernel/other.inc are written. */
#ifndef IG_KERNEL_X86_VEC_AVX512_H
#define IG_KERNEL_X86_VEC_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

#define INLINE static inline __attribute__((always_inline))

typedef __m512 vf;
typedef struct vd { /* 16 doubles */
    __m512d low, high;
} vd;
enum {
    LANES = 16,
    MIX_WIDTH = 4, /* vectors that kv.inc keeps for each of four queries */
    SCORES_Q = 4,  /* queries that share four keys */
    SIDE_KEYS = 4  /* keys that attend.inc keeps for two vectors of queries */
};

INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
INLINE vf vf_load(const void *p) { return _mm512_loadu_ps(p); }
INLINE void vf_store(void *p, vf x) { _mm512_storeu_ps(p, x); }
INLINE vf vf_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
INLINE void vf_to_f16(void *p, vf x) { _mm256_storeu_si256(p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT)); }
INLINE vf vf_i8(const void *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p))); }
INLINE __mmask16 first(size_t some) { return (__mmask16)((1u << some) - 1); }
/* The first some < LANES values; `pad` in the other lanes. */
INLINE vf vf_load_part(const void *p, size_t some, float pad)
{
    return _mm512_mask_loadu_ps(vf_set(pad), first(some), p);
}
INLINE void vf_store_part(void *p, vf x, size_t some) { _mm512_mask_storeu_ps(p, first(some), x); }
INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/* c - a * b. */
INLINE vf vf_fma_minus(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
/* b where either is NaN. */
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
/* a where x is not below `least`, else 0. */
INLINE vf vf_from(vf a, vf x, float least)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, vf_set(least), _CMP_NLT_UQ), a);
}
INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE float half_value(uint16_t h) { return _cvtsh_ss(h); }
INLINE float vf_sum(vf a)
{
    return ig_sum8_lanes(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
/* out[j] = scale * vf_sum(a[j]), the same additions for four at once. */
INLINE void vf_store_sums(float out[4], const vf a[4], float scale)
{
    __m512 x = _mm512_add_ps(_mm512_shuffle_f32x4(a[0], a[1], 0x44), _mm512_shuffle_f32x4(a[0], a[1], 0xEE));
    __m512 y = _mm512_add_ps(_mm512_shuffle_f32x4(a[2], a[3], 0x44), _mm512_shuffle_f32x4(a[2], a[3], 0xEE));
    x = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xDD)); /* a quarter a sum */
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0xEE));
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x55));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    __m128 s = _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, x));
    _mm_storeu_ps(out, _mm_mul_ps(s, _mm_set1_ps(scale)));
}
/* x * 2^n for whole n, rounded once. */
INLINE vf vf_scale2(vf x, vf n) { return _mm512_scalef_ps(x, n); }
INLINE vd vd_zero(void) { return (vd){_mm512_setzero_pd(), _mm512_setzero_pd()}; }
INLINE vd vd_add(vd s, vf x)
{
    __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return (vd){_mm512_add_pd(s.low, a), _mm512_add_pd(s.high, b)};
}
INLINE vd vd_add_square(vd s, vf x)
{
    __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return (vd){_mm512_fmadd_pd(a, a, s.low), _mm512_fmadd_pd(b, b, s.high)};
}
INLINE vd vd_both(vd a, vd b) { return (vd){_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)}; }
INLINE vf vd_round(vd s)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(s.low)), _mm512_cvtpd_ps(s.high), 1);
}
INLINE double vd_sum(vd s)
{
    double a[8];
    _mm512_storeu_pd(a, _mm512_add_pd(s.low, s.high));
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

#endif
