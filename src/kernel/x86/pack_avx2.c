/* Packing of activations and of Q8_0 KV rows with AVX2, equal to ref in every bit: maxima are exact in any order, and
 * each code is one product rounded to the nearest, ties to even. */
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernel/pack.h"
#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

#define INLINE static inline __attribute__((always_inline))

/* Scale and codes of n values, a multiple of 32. Returns d. */
INLINE float quantise(const float *x, uint8_t *q, size_t n)
{
    __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF)), max = _mm256_setzero_ps();
    __m256 bad = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        __m256 m = _mm256_and_ps(_mm256_loadu_ps(x + i), magnitude);
        bad = _mm256_or_ps(bad, _mm256_cmp_ps(m, _mm256_set1_ps(FLT_MAX), _CMP_NLE_UQ));
        max = _mm256_max_ps(max, m);
    }
    __m128 top = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps(max, 1));
    top = _mm_max_ps(top, _mm_movehl_ps(top, top));
    float m = _mm_cvtss_f32(_mm_max_ss(top, _mm_movehdup_ps(top)));
    bool finite = !_mm256_movemask_ps(bad);
    if (!finite || m < IG_PACK_TINY) {
        memset(q, 0, n);
        return finite ? 0 : NAN;
    }
    __m256 inverse = _mm256_set1_ps(127 / m);
    for (size_t i = 0; i < n; i += 32) {
        __m256i v[4];
        IG_UNROLL
        for (int k = 0; k < 4; k++) v[k] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * k), inverse));
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
        bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)(q + i), bytes);
    }
    return m / 127;
}

/* Sums of the first and of the second 16 of 32 codes. */
INLINE void sums(const uint8_t *q, int32_t *first, int32_t *second)
{
    __m256i ones = _mm256_set1_epi8(1), v = _mm256_loadu_si256((const __m256i *)q);
    __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, v), _mm256_set1_epi16(1));
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4E));
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xB1));
    *first = _mm256_cvtsi256_si32(s);
    *second = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
}

static void pack_q8(const float *src, void *dst, size_t n)
{
    uint8_t *out = dst;
    for (size_t b = 0; b < n / 32; b++, src += 32, out += sizeof(ig_q8)) {
        int32_t a, c;
        float d = ig_pack_short(quantise(src, out + offsetof(ig_q8, q), 32));
        memcpy(out, &d, 4);
        sums(out + offsetof(ig_q8, q), &a, &c);
        a += c;
        memcpy(out + offsetof(ig_q8, sum), &a, 4);
    }
}

static void pack_q8k(const float *src, void *dst, size_t n)
{
    uint8_t *out = dst;
    for (size_t b = 0; b < n / 256; b++, src += 256, out += sizeof(ig_q8k)) {
        int16_t all[16];
        float d = quantise(src, out + offsetof(ig_q8k, q), 256);
        memcpy(out, &d, 4);
        for (size_t g = 0; g < 8; g++) {
            int32_t a, c;
            sums(out + offsetof(ig_q8k, q) + 32 * g, &a, &c);
            all[2 * g] = (int16_t)a;
            all[2 * g + 1] = (int16_t)c;
        }
        memcpy(out + offsetof(ig_q8k, bsums), all, sizeof all);
    }
}

static void store_q8_0(const float *src, void *dst, size_t n)
{
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += 32, out += 34) {
        float last[32] = {0};
        if (n - i < 32) memcpy(last, src + i, (n - i) * sizeof *last);
        uint16_t d = _cvtss_sh(quantise(n - i < 32 ? last : src + i, out + 2, 32), _MM_FROUND_TO_NEAREST_INT);
        memcpy(out, &d, 2);
    }
}

void ig_fill_pack_avx2(ig_kernels *k)
{
    k->pack[IG_PACK_Q8].pack = pack_q8;
    k->pack[IG_PACK_Q8K].pack = pack_q8k;
    k->kv[IG_KV_Q8_0].store = store_q8_0;
}
