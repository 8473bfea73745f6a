/* F32, F16 and BF16 with AVX-512. One accumulator of 16 lanes a cell, a step of 16 weights, a masked last step; then
 * the halves are added and the lanes summed as in kernel/pack.h. The tile, not the cell, hides the latency. */
#include <immintrin.h>

#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

enum {
    ROWS = 4,
    COLS = 6,
    /* One column waits for memory, where rows are long: read one after the other, fetched so many bytes ahead. Not
     * where ig_fetch_apart: four rows are four stretches. */
    ONE_ROWS = 1,
    ONE_AHEAD = 8192
};

#define INLINE static inline __attribute__((always_inline))

typedef __m512 load(__mmask16 m, const uint8_t *p); /* 16 weights at p; those that m leaves out are zero and not read */

INLINE __m512 load_f32(__mmask16 m, const uint8_t *p) { return _mm512_maskz_loadu_ps(m, p); }
INLINE __m512 load_f16(__mmask16 m, const uint8_t *p) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p)); }
INLINE __m512 load_bf16(__mmask16 m, const uint8_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
}

INLINE void step(__m512 acc[ROWS][COLS], __mmask16 m, const uint8_t *const w[ROWS], const uint8_t *x, size_t x_stride,
                 load *get, size_t cols, size_t rows)
{
    __m512 xs[COLS];
    IG_UNROLL
    for (size_t c = 0; c < cols; c++) xs[c] = _mm512_maskz_loadu_ps(m, x + c * x_stride);
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        __m512 ws = get(m, w[r]);
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = _mm512_fmadd_ps(ws, xs[c], acc[r][c]);
    }
}

INLINE void tile(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y, size_t y_stride,
                 size_t n, size_t n_rows, size_t size, load *get, size_t cols, size_t rows)
{
    const size_t ahead = rows == ONE_ROWS ? ONE_AHEAD : cols == 1 ? ROWS * w_stride : 2 * ROWS * w_stride;
    const uint8_t *p[ROWS];
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) p[r] = w + (r < n_rows ? r : n_rows - 1) * w_stride;
    __m512 acc[ROWS][COLS];
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = _mm512_setzero_ps();
    }
    for (size_t i = 0; i < n / 16; i++, x += 64) {
        if (cols < COLS) {
            IG_UNROLL
            for (size_t r = 0; r < rows; r++) ig_prefetch(p[r], ahead);
        }
        step(acc, 0xFFFF, p, x, x_stride, get, cols, rows);
        IG_UNROLL
        for (size_t r = 0; r < rows; r++) p[r] += 16 * size;
    }
    if (n % 16) step(acc, (__mmask16)((1u << n % 16) - 1), p, x, x_stride, get, cols, rows);
    IG_UNROLL
    for (size_t r = 0; r < rows; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++)
            if (r < n_rows)
                y[c * y_stride + r] = ig_sum8_lanes(
                    _mm256_add_ps(_mm512_castps512_ps256(acc[r][c]), _mm512_extractf32x8_ps(acc[r][c], 1)));
    }
}

#define TILE(type, size, name, cols, rows)                                                                             \
    static void tile_##name##_##type(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y,   \
                                     size_t y_stride, size_t n, size_t n_rows)                                         \
    {                                                                                                                  \
        tile(w, w_stride, x, x_stride, y, y_stride, n, n_rows, size, load_##type, cols, rows);                         \
    }
#define TYPE(type, size)                                                                                               \
    TILE(type, size, 6, 6, ROWS)                                                                                       \
    TILE(type, size, 4, 4, ROWS)                                                                                       \
    TILE(type, size, 2, 2, ROWS)                                                                                       \
    TILE(type, size, 1, 1, ROWS)                                                                                       \
    TILE(type, size, one, 1, ONE_ROWS)                                                                                 \
    void ig_mul_##type##_avx512(const ig_mul_args *a)                                                                  \
    {                                                                                                                  \
        static const ig_tiles one = {ONE_ROWS, {{1, tile_one_##type}}};                                                \
        static const ig_tiles tiles = {                                                                                \
            ROWS, {{6, tile_6_##type}, {4, tile_4_##type}, {2, tile_2_##type}, {1, tile_1_##type}}};                   \
        ig_tiles_run(a, a->n_cols == 1 && !ig_fetch_apart ? &one : &tiles);                                            \
    }
TYPE(f32, 4)
TYPE(f16, 2)
TYPE(bf16, 2)
