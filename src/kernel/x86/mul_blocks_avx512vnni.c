/* Q4_0 and Q8_0 with AVX-512 VNNI. A 512-bit register holds a block of two rows, one in each 256-bit half, so each
 * row's sums keep the order of kernel/pack.h. vpdpbusd wants one unsigned side: x + 128 is, and 128 * (sum of w) is
 * taken off again through the accumulator's start, once for all columns. */
#include <immintrin.h>
#include <string.h>

#include "kernel/pack.h"
#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

enum { COLS = 8 };

#define INLINE static inline __attribute__((always_inline))

typedef __m512i codes(const uint8_t *low, const uint8_t *high);

INLINE __m512i codes_q8_0(const uint8_t *low, const uint8_t *high)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)(low + 2)), b = _mm256_loadu_si256((const __m256i *)(high + 2));
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

INLINE __m512i codes_q4_0(const uint8_t *low, const uint8_t *high)
{
    __m256i a = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(low + 2)));
    __m256i b = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(high + 2)));
    __m512i shift =
        _mm512_setr_epi64(0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004, 0x0004000400040004);
    __m512i q = _mm512_srlv_epi16(_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1), shift);
    return _mm512_sub_epi8(_mm512_and_si512(q, _mm512_set1_epi8(15)), _mm512_set1_epi8(8));
}

INLINE __m512 scales(const uint8_t *low, const uint8_t *high)
{
    uint16_t a, b;
    memcpy(&a, low, 2);
    memcpy(&b, high, 2);
    return _mm512_cvtph_ps(_mm256_set_m128i(_mm_set1_epi16((short)b), _mm_set1_epi16((short)a)));
}

/* Four rows in two registers, or one that stands in for its partner. */
INLINE void tile(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y, size_t y_stride,
                 size_t n, size_t bytes, codes *get, size_t rows, size_t cols)
{
    size_t pairs = (rows + 1) / 2, odd = rows == 1 ? 0 : w_stride;
    __m512 acc[2][COLS];
    IG_UNROLL
    for (size_t p = 0; p < pairs; p++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[p][c] = _mm512_setzero_ps();
    }
    for (size_t b = 0; b < n / 32; b++, w += bytes, x += sizeof(ig_q8)) {
        __m512i q[2], start[2];
        __m512 d[2];
        IG_UNROLL
        for (size_t p = 0; p < pairs; p++) {
            const uint8_t *low = w + 2 * p * w_stride, *high = low + odd;
            if (cols < COLS) {
                ig_prefetch(low, 2 * rows * w_stride);
                ig_prefetch(high, 2 * rows * w_stride);
            }
            q[p] = get(low, high);
            start[p] = _mm512_sub_epi32(_mm512_setzero_si512(),
                                        _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(-128), q[p]));
            d[p] = scales(low, high);
        }
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) {
            const uint8_t *block = x + c * x_stride;
            __m512i xq = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(block + offsetof(ig_q8, q))));
            float dx;
            memcpy(&dx, block, 4);
            xq = _mm512_xor_si512(xq, _mm512_set1_epi8(-128));
            IG_UNROLL
            for (size_t p = 0; p < pairs; p++) {
                __m512 sum = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start[p], xq, q[p]));
                acc[p][c] = _mm512_fmadd_ps(_mm512_mul_ps(d[p], _mm512_set1_ps(dx)), sum, acc[p][c]);
            }
        }
    }
    IG_UNROLL
    for (size_t p = 0; p < pairs; p++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) {
            float *out = y + c * y_stride + 2 * p;
            out[0] = ig_sum8_lanes(_mm512_castps512_ps256(acc[p][c]));
            if (rows > 1) out[1] = ig_sum8_lanes(_mm512_extractf32x8_ps(acc[p][c], 1));
        }
    }
}

#define TILE(name, type, bytes, rows, cols)                                                                            \
    static void name##_##type(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y,          \
                              size_t y_stride, size_t n)                                                               \
    {                                                                                                                  \
        tile(w, w_stride, x, x_stride, y, y_stride, n, bytes, codes_##type, rows, cols);                               \
    }
#define TYPE(type, bytes)                                                                                              \
    TILE(tall_8, type, bytes, 4, 8)                                                                                    \
    TILE(one_8, type, bytes, 1, 8)                                                                                     \
    TILE(tall_4, type, bytes, 4, 4)                                                                                    \
    TILE(one_4, type, bytes, 1, 4)                                                                                     \
    TILE(tall_2, type, bytes, 4, 2)                                                                                    \
    TILE(one_2, type, bytes, 1, 2)                                                                                     \
    TILE(tall_1, type, bytes, 4, 1)                                                                                    \
    TILE(one_1, type, bytes, 1, 1)                                                                                     \
    void ig_mul_##type##_avx512(const ig_mul_args *a)                                                                  \
    {                                                                                                                  \
        static const ig_tiles tiles[] = {{8, 4, tall_8_##type, one_8_##type},                                          \
                                         {4, 4, tall_4_##type, one_4_##type},                                          \
                                         {2, 4, tall_2_##type, one_2_##type},                                          \
                                         {1, 4, tall_1_##type, one_1_##type}};                                         \
        ig_tiles_run(a, tiles);                                                                                        \
    }
TYPE(q4_0, 18)
TYPE(q8_0, 34)
