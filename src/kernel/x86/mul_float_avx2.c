/* F32, F16 and BF16 with AVX2. One accumulator of 8 lanes a cell, a step of 8 weights, the last one filled up with
 * zeros; then the lanes are summed as in kernel/pack.h. The tile, not the cell, hides the latency. */
#include <immintrin.h>
#include <string.h>

#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

#define INLINE static inline __attribute__((always_inline))

typedef __m256 load(const uint8_t *p); /* 8 weights */

INLINE __m256 load_f32(const uint8_t *p) { return _mm256_loadu_ps((const float *)(const void *)p); }
INLINE __m256 load_f16(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE __m256 load_bf16(const uint8_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

/* The first `some` of 8 values, zeros behind them. */
INLINE __m256 part(const uint8_t *p, size_t some, size_t size, load *get)
{
    uint8_t all[32] = {0};
    memcpy(all, p, some * size);
    return get(all);
}

INLINE void step(__m256 acc[4][4], size_t some, const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride,
                 size_t size, load *get, size_t rows, size_t cols)
{
    __m256 xs[4];
    IG_UNROLL
    for (size_t c = 0; c < cols; c++)
        xs[c] = some == 8 ? load_f32(x + c * x_stride) : part(x + c * x_stride, some, 4, load_f32);
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        __m256 ws = some == 8 ? get(w + r * w_stride) : part(w + r * w_stride, some, size, get);
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = _mm256_fmadd_ps(ws, xs[c], acc[r][c]);
    }
}

INLINE void tile(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y, size_t y_stride,
                 size_t n, size_t size, load *get, size_t rows, size_t cols)
{
    __m256 acc[4][4];
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = _mm256_setzero_ps();
    }
    for (size_t i = 0; i < n / 8; i++, w += 8 * size, x += 32) {
        IG_UNROLL
        for (size_t r = 0; r < rows; r++) ig_prefetch(w, (2 * rows + r) * w_stride);
        step(acc, 8, w, w_stride, x, x_stride, size, get, rows, cols);
    }
    if (n % 8) step(acc, n % 8, w, w_stride, x, x_stride, size, get, rows, cols);
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) y[c * y_stride + r] = ig_sum8_lanes(acc[r][c]);
    }
}

#define TILE(type, size, rows, cols)                                                                                   \
    static void tile_##rows##_##cols##_##type(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride,    \
                                              float *y, size_t y_stride, size_t n)                                     \
    {                                                                                                                  \
        tile(w, w_stride, x, x_stride, y, y_stride, n, size, load_##type, rows, cols);                                 \
    }
#define TYPE(type, size)                                                                                               \
    TILE(type, size, 4, 3)                                                                                             \
    TILE(type, size, 4, 2)                                                                                             \
    TILE(type, size, 4, 1)                                                                                             \
    TILE(type, size, 1, 1)                                                                                             \
    void ig_mul_##type##_avx2(const ig_mul_args *a)                                                                    \
    {                                                                                                                  \
        static const ig_tiles tiles[] = {                                                                              \
            {3, 4, tile_4_3_##type}, {2, 4, tile_4_2_##type}, {1, 4, tile_4_1_##type}, {1, 1, tile_1_1_##type}};       \
        ig_tiles_run(a, tiles);                                                                                        \
    }
TYPE(f32, 4)
TYPE(f16, 2)
TYPE(bf16, 2)
