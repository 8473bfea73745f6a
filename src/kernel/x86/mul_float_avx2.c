/* F32, F16 and BF16 with AVX2. One accumulator of 8 lanes a cell, a step of 8 weights, the last one filled up with
 * zeros; then the lanes are summed as in kernel/pack.h. The tile, not the cell, hides the latency. */
#include <immintrin.h>
#include <string.h>

#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    ROWS = 4,
    /* One column waits for memory, where rows are long: two at a time, fetched so many bytes ahead. Not where
     * ig_fetch_apart: four rows are four stretches. */
    ONE_ROWS = 2,
    ONE_AHEAD = 8192
};

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

INLINE void step(__m256 acc[ROWS][4], size_t some, const uint8_t *const w[ROWS], const uint8_t *x, size_t x_stride,
                 size_t size, load *get, size_t cols, size_t rows)
{
    __m256 xs[4];
    IG_UNROLL
    for (size_t c = 0; c < cols; c++)
        xs[c] = some == 8 ? load_f32(x + c * x_stride) : part(x + c * x_stride, some, 4, load_f32);
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        __m256 ws = some == 8 ? get(w[r]) : part(w[r], some, size, get);
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = _mm256_fmadd_ps(ws, xs[c], acc[r][c]);
    }
}

INLINE void tile(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y, size_t y_stride,
                 size_t n, size_t n_rows, size_t size, load *get, size_t cols, size_t rows)
{
    const size_t ahead = rows == ONE_ROWS ? ONE_AHEAD : cols == 1 ? ROWS * w_stride : 2 * ROWS * w_stride;
    const uint8_t *p[ROWS];
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) p[r] = w + (r < n_rows ? r : n_rows - 1) * w_stride;
    __m256 acc[ROWS][4];
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = _mm256_setzero_ps();
    }
    for (size_t i = 0; i < n / 8; i++, x += 32) {
        IG_UNROLL
        for (size_t r = 0; r < rows; r++) ig_prefetch(p[r], ahead);
        step(acc, 8, p, x, x_stride, size, get, cols, rows);
        IG_UNROLL
        for (size_t r = 0; r < rows; r++) p[r] += 8 * size;
    }
    if (n % 8) step(acc, n % 8, p, x, x_stride, size, get, cols, rows);
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++)
            if (r < n_rows) y[c * y_stride + r] = ig_sum8_lanes(acc[r][c]);
    }
}

#define TILE(type, size, name, cols, rows)                                                                             \
    static void tile_##name##_##type(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y,   \
                                     size_t y_stride, size_t n, size_t n_rows)                                         \
    {                                                                                                                  \
        tile(w, w_stride, x, x_stride, y, y_stride, n, n_rows, size, load_##type, cols, rows);                         \
    }
#define TYPE(type, size)                                                                                               \
    TILE(type, size, 3, 3, ROWS)                                                                                       \
    TILE(type, size, 2, 2, ROWS)                                                                                       \
    TILE(type, size, 1, 1, ROWS)                                                                                       \
    TILE(type, size, one, 1, ONE_ROWS)                                                                                 \
    void ig_mul_##type##_avx2(const ig_mul_args *a)                                                                    \
    {                                                                                                                  \
        static const ig_tiles one = {ONE_ROWS, {{1, tile_one_##type}}};                                                \
        static const ig_tiles tiles = {ROWS, {{3, tile_3_##type}, {2, tile_2_##type}, {1, tile_1_##type}}};            \
        ig_tiles_run(a, a->n_cols == 1 && !ig_fetch_apart ? &one : &tiles);                                            \
    }
TYPE(f32, 4)
TYPE(f16, 2)
TYPE(bf16, 2)
