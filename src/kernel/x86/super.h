/* Scales of super-blocks in registers: shared by the x86 levels. */
#ifndef IG_KERNEL_X86_SUPER_H
#define IG_KERNEL_X86_SUPER_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline, target("avx2,f16c"))) float ig_super_f16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}

/* The 12 bytes of Q4_K: eight 6-bit scales and eight 6-bit minimums, widened to 16 bits. */
static inline __attribute__((always_inline, target("avx2"))) void ig_q4_k_scales(const uint8_t *s, __m128i *scale,
                                                                                 __m128i *min)
{
    uint32_t a, b, c;
    memcpy(&a, s, 4);
    memcpy(&b, s + 4, 4);
    memcpy(&c, s + 8, 4);
    uint32_t scale_high = (c & 0x0F0F0F0F) | (a >> 6 & 0x03030303) << 4;
    uint32_t min_high = (c >> 4 & 0x0F0F0F0F) | (b >> 6 & 0x03030303) << 4;
    *scale = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)((uint64_t)scale_high << 32 | (a & 0x3F3F3F3F))));
    *min = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)((uint64_t)min_high << 32 | (b & 0x3F3F3F3F))));
}

/* The 16 int8 of Q6_K as 16 bits: even ones in the low lane, odd ones in the high lane. */
static inline __attribute__((always_inline, target("avx2"))) __m256i ig_q6_k_scales(__m128i bytes)
{
    __m128i sorted = _mm_shuffle_epi8(bytes, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    return _mm256_cvtepi8_epi16(sorted);
}

#endif
