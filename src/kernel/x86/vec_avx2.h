/* Vectors of 8 floats: the words in which kernel/kv.inc and kernel/other.inc are written. */
#ifndef IG_KERNEL_X86_VEC_AVX2_H
#define IG_KERNEL_X86_VEC_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

#define INLINE static inline __attribute__((always_inline))

typedef __m256 vf;
typedef struct vd { /* 8 doubles */
    __m256d low, high;
} vd;
enum {
    LANES = 8,
    MIX_WIDTH = 2, /* vectors that kv.inc keeps for each of four queries */
    SCORES_Q = 2,  /* queries that share four keys */
    SIDE_KEYS = 2  /* keys that attend.inc keeps for two vectors of queries */
};

INLINE vf vf_set(float x) { return _mm256_set1_ps(x); }
INLINE vf vf_load(const void *p) { return _mm256_loadu_ps(p); }
INLINE void vf_store(void *p, vf x) { _mm256_storeu_ps(p, x); }
INLINE vf vf_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
INLINE void vf_to_f16(void *p, vf x) { _mm_storeu_si128(p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT)); }
INLINE vf vf_i8(const void *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p))); }
/* The first some < LANES values; `pad` in the other lanes. */
INLINE vf vf_load_part(const void *p, size_t some, float pad)
{
    float all[LANES];
    vf_store(all, vf_set(pad));
    memcpy(all, p, some * sizeof *all);
    return vf_load(all);
}
INLINE void vf_store_part(void *p, vf x, size_t some)
{
    float all[LANES];
    vf_store(all, x);
    memcpy(p, all, some * sizeof *all);
}
INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
/* c - a * b. */
INLINE vf vf_fma_minus(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
/* b where either is NaN. */
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
/* a where x is not below `least`, else 0. */
INLINE vf vf_from(vf a, vf x, float least) { return _mm256_and_ps(a, _mm256_cmp_ps(x, vf_set(least), _CMP_NLT_UQ)); }
INLINE vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE float half_value(uint16_t h) { return _cvtsh_ss(h); }
INLINE float vf_sum(vf a) { return ig_sum8_lanes(a); }
/* out[j] = scale * vf_sum(a[j]), the same additions for four at once. */
INLINE void vf_store_sums(float out[4], const vf a[4], float scale)
{
    __m256 x = _mm256_add_ps(_mm256_permute2f128_ps(a[0], a[1], 0x20), _mm256_permute2f128_ps(a[0], a[1], 0x31));
    __m256 y = _mm256_add_ps(_mm256_permute2f128_ps(a[2], a[3], 0x20), _mm256_permute2f128_ps(a[2], a[3], 0x31));
    x = _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x44), _mm256_shuffle_ps(x, y, 0xEE)); /* halves: 0 and 2, 1 and 3 */
    x = _mm256_add_ps(x, _mm256_movehdup_ps(x));
    __m128 s = _mm_shuffle_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1), 0x88); /* 0 2 1 3 */
    _mm_storeu_ps(out, _mm_mul_ps(_mm_permute_ps(s, 0xD8), _mm_set1_ps(scale)));
}
/* x * 2^n for whole n in -252..252, rounded once. */
INLINE vf vf_scale2(vf x, vf n)
{
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    __m256i rest = _mm256_sub_epi32(i, half);
    x = _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}
INLINE vd vd_zero(void) { return (vd){_mm256_setzero_pd(), _mm256_setzero_pd()}; }
INLINE vd vd_add(vd s, vf x)
{
    __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(x)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    return (vd){_mm256_add_pd(s.low, a), _mm256_add_pd(s.high, b)};
}
INLINE vd vd_add_square(vd s, vf x)
{
    __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(x)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    return (vd){_mm256_fmadd_pd(a, a, s.low), _mm256_fmadd_pd(b, b, s.high)};
}
INLINE vd vd_both(vd a, vd b) { return (vd){_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)}; }
INLINE vf vd_round(vd s) { return _mm256_set_m128(_mm256_cvtpd_ps(s.high), _mm256_cvtpd_ps(s.low)); }
INLINE double vd_sum(vd s)
{
    double a[4];
    _mm256_storeu_pd(a, _mm256_add_pd(s.low, s.high));
    return (a[0] + a[2]) + (a[1] + a[3]);
}

#endif
