/* Q4_0 and Q8_0 with AVX2: codes as int8 in one register of 32, |w| * (x with w's sign) in pairs, then in fours: 32-bit
 * lane l holds elements 4l..4l+3 as kernel/pack.h wants. No saturation: |w| <= 128 and |x| <= 127, so a pair is below
 * 32767. */
#include <immintrin.h>
#include <string.h>

#include "kernel/pack.h"
#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

typedef __m256i codes(const uint8_t *block);

static inline __attribute__((always_inline)) __m256i codes_q8_0(const uint8_t *block)
{
    return _mm256_loadu_si256((const __m256i *)(block + 2));
}

static inline __attribute__((always_inline)) __m256i codes_q4_0(const uint8_t *block)
{
    __m128i q = _mm_loadu_si128((const __m128i *)(block + 2));
    __m256i both = _mm256_set_m128i(_mm_srli_epi16(q, 4), q);
    return _mm256_sub_epi8(_mm256_and_si256(both, _mm256_set1_epi8(15)), _mm256_set1_epi8(8));
}

static inline __attribute__((always_inline)) __m256 scale(const uint8_t *block)
{
    uint16_t d;
    memcpy(&d, block, 2);
    return _mm256_cvtph_ps(_mm_set1_epi16((short)d));
}

static inline __attribute__((always_inline)) void tile(const uint8_t *w, size_t w_stride, const uint8_t *x,
                                                       size_t x_stride, float *y, size_t y_stride, size_t n,
                                                       size_t bytes, codes *get, size_t rows, size_t cols)
{
    __m256 acc[4][4];
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < n / 32; b++, w += bytes, x += sizeof(ig_q8)) {
        __m256i q[4], magnitude[4];
        __m256 d[4];
        IG_UNROLL
        for (size_t r = 0; r < rows; r++) {
            ig_prefetch(w, (2 * rows + r) * w_stride);
            q[r] = get(w + r * w_stride);
            magnitude[r] = _mm256_abs_epi8(q[r]);
            d[r] = scale(w + r * w_stride);
        }
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) {
            const uint8_t *block = x + c * x_stride;
            __m256i xq = _mm256_loadu_si256((const __m256i *)(block + offsetof(ig_q8, q)));
            float dx;
            memcpy(&dx, block, 4);
            __m256 xd = _mm256_set1_ps(dx);
            IG_UNROLL
            for (size_t r = 0; r < rows; r++) {
                __m256i pairs = _mm256_maddubs_epi16(magnitude[r], _mm256_sign_epi8(xq, q[r]));
                __m256 sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                acc[r][c] = _mm256_fmadd_ps(_mm256_mul_ps(d[r], xd), sum, acc[r][c]);
            }
        }
    }
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) y[c * y_stride + r] = ig_sum8_lanes(acc[r][c]);
    }
}

#define TILE(name, type, bytes, rows, cols)                                                                            \
    static void name##_##type(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y,          \
                              size_t y_stride, size_t n)                                                               \
    {                                                                                                                  \
        tile(w, w_stride, x, x_stride, y, y_stride, n, bytes, codes_##type, rows, cols);                               \
    }
#define TYPE(type, bytes)                                                                                              \
    TILE(tall_4, type, bytes, 2, 4)                                                                                    \
    TILE(one_4, type, bytes, 1, 4)                                                                                     \
    TILE(tall_2, type, bytes, 4, 2)                                                                                    \
    TILE(one_2, type, bytes, 1, 2)                                                                                     \
    TILE(tall_1, type, bytes, 4, 1)                                                                                    \
    TILE(one_1, type, bytes, 1, 1)                                                                                     \
    void ig_mul_##type##_avx2(const ig_mul_args *a)                                                                    \
    {                                                                                                                  \
        static const ig_tiles tiles[] = {{4, 2, tall_4_##type, one_4_##type},                                          \
                                         {2, 4, tall_2_##type, one_2_##type},                                          \
                                         {1, 4, tall_1_##type, one_1_##type}};                                         \
        ig_tiles_run(a, tiles);                                                                                        \
    }
TYPE(q4_0, 18)
TYPE(q8_0, 34)
