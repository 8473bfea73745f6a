/* Scales of super-blocks in registers: shared by the x86 levels. */
#ifndef IG_KERNEL_X86_SUPER_H
#define IG_KERNEL_X86_SUPER_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernel/x86/tiles.h"

static inline __attribute__((always_inline, target("avx2,f16c"))) float ig_super_f16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}

#define IG_INLINE_AVX2 static inline __attribute__((always_inline, target("avx2")))

/* What nibbles mean: ig_values_iq4 and ig_values_fp4 of ref/blocks.c. */
IG_INLINE_AVX2 __m128i ig_iq4_values(void)
{
    return _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
}
IG_INLINE_AVX2 __m128i ig_fp4_values(void)
{
    return _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
}

/* The 16 bits at p. */
IG_INLINE_AVX2 int ig_half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return h;
}
/* Those of four rows from i on, `at` bytes on, and of eight. */
IG_INLINE_AVX2 __m128i ig_four_halves(const ig_rows *r, size_t i, size_t at)
{
    __m128i a = _mm_cvtsi32_si128(ig_half_at(ig_row(r, i) + at));
    a = _mm_insert_epi16(a, ig_half_at(ig_row(r, i + 1) + at), 1);
    a = _mm_insert_epi16(a, ig_half_at(ig_row(r, i + 2) + at), 2);
    return _mm_insert_epi16(a, ig_half_at(ig_row(r, i + 3) + at), 3);
}
IG_INLINE_AVX2 __m128i ig_eight_halves(const ig_rows *r, size_t i, size_t at)
{
    return _mm_unpacklo_epi64(ig_four_halves(r, i, at), ig_four_halves(r, i + 4, at));
}

/* Per 128-bit lane the first 16 bytes of a Q4_K block (d, dmin, 12 bytes of six-bit fields) become the eight scales and
 * then the eight minimums, a byte each. */
static inline __attribute__((always_inline, target("avx2"))) __m256i ig_q4_k_scales(__m256i heads)
{
    enum { NONE = -1 };
    __m256i first = _mm256_shuffle_epi8(heads, _mm256_setr_epi8(4, 5, 6, 7, 8, 9, 10, 11, NONE, NONE, NONE, NONE, NONE,
                                                                NONE, NONE, NONE, 4, 5, 6, 7, 8, 9, 10, 11, NONE, NONE,
                                                                NONE, NONE, NONE, NONE, NONE, NONE));
    __m256i last = _mm256_srlv_epi32(_mm256_shuffle_epi32(heads, 0xFF), _mm256_setr_epi32(0, 4, 0, 0, 0, 4, 0, 0));
    __m256i low = _mm256_and_si256(first, _mm256_set1_epi8(63));
    __m256i high = _mm256_or_si256(_mm256_and_si256(last, _mm256_set1_epi8(15)),
                                   _mm256_and_si256(_mm256_srli_epi16(first, 2), _mm256_set1_epi8(0x30)));
    return _mm256_unpacklo_epi32(low, high);
}

/* Shuffles for that result: scale g as 16 bits everywhere; minimums 0..3 (4..7) as 16 bits, each twice. */
#define IG_Q4_K_SCALE(g) (short)(0x8000 | (g))
#define IG_Q4_K_MINS(from)                                                                                             \
    _mm_setr_epi16(IG_Q4_K_SCALE(from), IG_Q4_K_SCALE(from), IG_Q4_K_SCALE(from + 1), IG_Q4_K_SCALE(from + 1),         \
                   IG_Q4_K_SCALE(from + 2), IG_Q4_K_SCALE(from + 2), IG_Q4_K_SCALE(from + 3), IG_Q4_K_SCALE(from + 3))

/* All minimums, 16 bits each. */
#define IG_Q4_K_ALL_MINS                                                                                               \
    _mm_setr_epi16(IG_Q4_K_SCALE(8), IG_Q4_K_SCALE(9), IG_Q4_K_SCALE(10), IG_Q4_K_SCALE(11), IG_Q4_K_SCALE(12),        \
                   IG_Q4_K_SCALE(13), IG_Q4_K_SCALE(14), IG_Q4_K_SCALE(15))

/* The 16 int8 of Q6_K as 16 bits: even ones in the low lane, odd ones in the high lane. */
static inline __attribute__((always_inline, target("avx2"))) __m256i ig_q6_k_scales(__m128i bytes)
{
    __m128i sorted = _mm_shuffle_epi8(bytes, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    return _mm256_cvtepi8_epi16(sorted);
}

#endif
