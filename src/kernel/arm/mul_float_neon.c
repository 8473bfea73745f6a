/* F32, F16 and BF16. One accumulator of 8 lanes a cell, a step of 8 weights, the last one filled up with zeros; then
 * the lanes are summed. The tile, not the cell, hides the latency. */
#include "kernel/arm/vec_neon.h"

enum { ROWS = 4 };

typedef vf load(const void *p); /* 8 weights */

/* The first `some` of 8 values, zeros behind them. */
INLINE vf part(const uint8_t *p, size_t some, size_t size, load *get)
{
    uint8_t all[32] = {0};
    memcpy(all, p, some * size);
    return get(all);
}

INLINE void step(vf acc[ROWS][2], size_t some, const uint8_t *const w[ROWS], const uint8_t *x, size_t x_stride,
                 size_t size, load *get, size_t cols)
{
    vf xs[2];
    IG_UNROLL
    for (size_t c = 0; c < cols; c++)
        xs[c] = some == 8 ? vf_load(x + c * x_stride) : part(x + c * x_stride, some, 4, vf_load);
    IG_UNROLL
    for (size_t r = 0; r < ROWS; r++) {
        vf ws = some == 8 ? get(w[r]) : part(w[r], some, size, get);
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = vf_fma(ws, xs[c], acc[r][c]);
    }
}

INLINE void tile(const ig_mul_args *a, size_t row, size_t column, size_t size, load *get, size_t cols)
{
    const uint8_t *p[ROWS], *x = (const uint8_t *)a->x + column * a->x_stride;
    size_t n_rows = a->n_rows - row < ROWS ? a->n_rows - row : ROWS;
    vf acc[ROWS][2];
    IG_UNROLL
    for (size_t r = 0; r < ROWS; r++) {
        p[r] = (const uint8_t *)a->w + (row + (r < n_rows ? r : n_rows - 1)) * a->w_stride;
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) acc[r][c] = vf_set(0);
    }
    for (size_t i = 0; i < a->n / 8; i++, x += 32) {
        step(acc, 8, p, x, a->x_stride, size, get, cols);
        IG_UNROLL
        for (size_t r = 0; r < ROWS; r++) p[r] += 8 * size;
    }
    if (a->n % 8) step(acc, a->n % 8, p, x, a->x_stride, size, get, cols);
    IG_UNROLL
    for (size_t r = 0; r < ROWS; r++) {
        IG_UNROLL
        for (size_t c = 0; c < cols; c++)
            if (r < n_rows) a->y[(column + c) * a->y_stride + row + r] = vf_sum(acc[r][c]);
    }
}

/* All columns pass over four rows before the next four come. */
#define TYPE(type, size)                                                                                               \
    static void two_##type(const ig_mul_args *a, size_t row, size_t column)                                            \
    {                                                                                                                  \
        tile(a, row, column, size, get_##type, 2);                                                                     \
    }                                                                                                                  \
    static void one_##type(const ig_mul_args *a, size_t row, size_t column)                                            \
    {                                                                                                                  \
        tile(a, row, column, size, get_##type, 1);                                                                     \
    }                                                                                                                  \
    void ig_mul_##type##_neon(const ig_mul_args *a)                                                                    \
    {                                                                                                                  \
        for (size_t row = 0; row < a->n_rows; row += ROWS) {                                                           \
            size_t c = 0;                                                                                              \
            for (; c + 2 <= a->n_cols; c += 2) two_##type(a, row, c);                                                  \
            if (c < a->n_cols) one_##type(a, row, c);                                                                  \
        }                                                                                                              \
    }
#define get_f32  vf_load
#define get_f16  vf_f16
#define get_bf16 vf_bf16
TYPE(f32, 4)
TYPE(f16, 2)
TYPE(bf16, 2)
