/* Panels: PANEL_ROWS rows unpacked side by side, so that a lane is a row and a column's activations are broadcast. Then
 * no sum is ever reduced across a register; unpacking pays from a few columns on (PANEL_WIDE). Values are those of the
 * row-major tiles. */
#ifndef IG_KERNEL_X86_PANEL_H
#define IG_KERNEL_X86_PANEL_H

enum { PANEL_ROWS = LANES * PANEL_REGS };

/* One panel against n_cols columns. y holds what earlier parts of the rows have summed. */
typedef struct panel_args {
    const void *panel;
    size_t n_blocks; /* of x */
    const uint8_t *x;
    size_t x_stride;
    float *y;
    size_t y_stride, n_rows; /* rows that y has */
    int offset;
    bool first; /* y holds nothing yet */
} panel_args;

typedef void panel_tile(const panel_args *a);
typedef struct panel_tiles {
    panel_tile *of[4]; /* of panel_widths columns */
} panel_tiles;

/* The rows of a panel, and the weights behind them in memory. Those are fetched while panels are filled, in the order
 * of memory and a few lines a step: asked for all at once they would stand in line, and row by row the hardware's
 * prefetchers would not follow. */
typedef struct panel_source {
    const uint8_t *p[PANEL_ROWS], *next;
    size_t lines, hop; /* of next, a step, and from line to line */
} panel_source;

enum { FETCH_STEPS = 32 }; /* of a fill, at least */

/* The last of n_rows rows stands for those that are not there; bytes: of a row, for one fill. */
INLINE void panel_begin(panel_source *s, const uint8_t *w, size_t stride, size_t n_rows, size_t bytes)
{
    for (size_t r = 0; r < PANEL_ROWS; r++) s->p[r] = w + (r < n_rows ? r : n_rows - 1) * stride;
    s->next = (const uint8_t *)((uintptr_t)w + PANEL_ROWS * stride);
    s->lines = (PANEL_ROWS * bytes / 64 + FETCH_STEPS - 1) / FETCH_STEPS;
    s->hop = ig_fetch_apart ? PANEL_ROWS * stride / s->lines : 64;
}

INLINE void panel_on(panel_source *s, size_t bytes)
{
    for (size_t r = 0; r < PANEL_ROWS; r++) s->p[r] += bytes;
}

INLINE void panel_fetch(panel_source *s)
{
    for (size_t i = 0; i < s->lines; i++) ig_prefetch(s->next, s->hop * i, ig_fetch_far);
    s->next = (const uint8_t *)((uintptr_t)s->next + (ig_fetch_apart ? 64 : 64 * s->lines));
}

INLINE void panel_columns(const panel_tiles *t, panel_args a, size_t n_cols)
{
    for (size_t i = 0; n_cols; n_cols -= panel_widths[i]) {
        while (panel_widths[i] > n_cols) i++;
        t->of[i](&a);
        a.x += panel_widths[i] * a.x_stride;
        a.y += panel_widths[i] * a.y_stride;
    }
}

INLINE vf panel_get(const panel_args *a, size_t c, size_t r)
{
    const float *y = a->y + c * a->y_stride + r * LANES;
    size_t left = a->n_rows > r * LANES ? a->n_rows - r * LANES : 0;
    if (a->first || left == 0) return vf_set(0);
    return left >= LANES ? vf_load(y) : vf_load_part(y, left, 0);
}
INLINE void panel_put(const panel_args *a, size_t c, size_t r, vf sum)
{
    float *y = a->y + c * a->y_stride + r * LANES;
    size_t left = a->n_rows > r * LANES ? a->n_rows - r * LANES : 0;
    if (left >= LANES)
        vf_store(y, sum);
    else if (left)
        vf_store_part(y, sum, left);
}
INLINE float panel_dx(const uint8_t *block)
{
    float dx;
    memcpy(&dx, block, 4);
    return dx;
}

/* ---- tall tiles: LANES rows, a lane each, against few columns ---- */

typedef void tall_tile(const uint8_t *w, size_t stride, const uint8_t *x, size_t x_stride, float *y, size_t y_stride,
                       size_t n);
typedef struct tall_tiles {
    tall_tile *of[8]; /* of 1, 2, .. columns; NULL: panels are faster */
} tall_tiles;
#define TALL_3_TO_6(T, ...)      T(3, __VA_ARGS__) T(4, __VA_ARGS__) T(5, __VA_ARGS__) T(6, __VA_ARGS__)
#define TALL_2_TO_6(T, ...)      T(2, __VA_ARGS__) TALL_3_TO_6(T, __VA_ARGS__)
#define TALL_3_TO_8(T, ...)      TALL_3_TO_6(T, __VA_ARGS__) T(7, __VA_ARGS__) T(8, __VA_ARGS__)
#define TALL_2_TO_8(T, ...)      T(2, __VA_ARGS__) TALL_3_TO_8(T, __VA_ARGS__)
#define TALL_4(T, ...)           T(1, __VA_ARGS__) T(2, __VA_ARGS__) T(3, __VA_ARGS__) T(4, __VA_ARGS__)
#define TALL_6(T, ...)           T(1, __VA_ARGS__) TALL_2_TO_6(T, __VA_ARGS__)
#define TALL_8(T, ...)           T(1, __VA_ARGS__) TALL_2_TO_8(T, __VA_ARGS__)
#define TALL_ENTRY(n_cols, type) [n_cols - 1] = tall_##n_cols##_##type,

/* Whole tiles; returns the number of their rows, 0 where there are none (tall is NULL) for so many columns. */
INLINE size_t tall_run(const ig_mul_args *a, const tall_tiles *tall)
{
    size_t r = 0, most = sizeof tall->of / sizeof *tall->of;
    if (!tall || a->n_cols - 1 >= most || !tall->of[a->n_cols - 1]) return 0;
    for (; a->n_rows - r >= LANES; r += LANES)
        tall->of[a->n_cols - 1]((const uint8_t *)a->w + r * a->w_stride, a->w_stride, a->x, a->x_stride, a->y + r,
                                a->y_stride, a->n);
    return r;
}

#endif
