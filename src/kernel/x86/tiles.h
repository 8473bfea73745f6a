/* How a matrix product is cut into register tiles. Each file of x86/mul_*.c has tiles for a fixed number of rows and
 * columns; the cut changes no value, since every tile computes each (row, column) in the same order. */
#ifndef IG_KERNEL_X86_TILES_H
#define IG_KERNEL_X86_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xmmintrin.h>

#include "kernel/kernel.h"

/* Before loops over a tile's rows and columns: accumulators become registers only when these are gone. */
#if defined(__clang__)
#define IG_UNROLL _Pragma("clang loop unroll(full)")
#else
#define IG_UNROLL _Pragma("GCC unroll 16")
#endif

/* Fetches the line `ahead` bytes on, usually the same place in a tall tile's next rows: hardware prefetchers lose
 * several short streams at once (measured on Zen 5: 12 GB/s become 36). far: into the second-level cache only. May lie
 * outside the matrix; a prefetch never faults. */
static inline __attribute__((always_inline)) void ig_prefetch(const uint8_t *w, size_t ahead, bool far)
{
    if (far)
        _mm_prefetch((const char *)((uintptr_t)w + ahead), _MM_HINT_T1);
    else
        _mm_prefetch((const char *)((uintptr_t)w + ahead), _MM_HINT_T0);
}

/* Fetching the rows behind a tile, some lines a step. In the order of memory; or, where ig_fetch_apart, from several
 * stretches by turns: Intel's prefetchers follow each page on its own and no further than its end. Of one stretch two
 * cores of a Sapphire Rapids read 19 GB/s, of eight 29; on Zen 5 the order of memory is the fastest. */
extern bool ig_fetch_apart; /* set before any kernel is given out, constant afterwards */
/* A tile, its activations and the rows behind it do not go into a first-level cache of 32 KiB together, and many lines
 * at once stand in its way: there what is further on than `near` bytes is fetched into the second level (Zen 4, Q4_0:
 * 17 GB/s become 29), and no less than IG_FAR_LEAST ahead. Set like the one above. */
extern bool ig_fetch_far;
typedef enum ig_near {
    IG_NEAR_TALL_SUPER = 0,    /* rows of 512 weights of Q4_K: 20 GB/s become 30 */
    IG_NEAR_TALL = 3 * 1024,   /* below: MXFP4 with AVX2 is slower by 7 % */
    IG_NEAR_SUPER = 4 * 1024,  /* two rows of super-blocks */
    IG_NEAR_BLOCKS = 10 * 1024 /* eight rows of blocks; below: Q8_0 is slower by 5 to 12 % */
} ig_near;
enum { IG_FAR_LEAST = 16 * 1024 };
static inline bool ig_is_far(size_t ahead, ig_near near) { return ig_fetch_far && ahead > near; }
typedef struct ig_ahead {
    const uint8_t *at;
    size_t hop, on; /* from stretch to stretch, from step to step */
    bool far;
} ig_ahead;

/* For a tile of `bytes` at w, which takes them in steps of `step` and asks for lines_each of n_stretches in each.
 * Stretches are pages apart: tiles that are neighbours make groups (w says which one of its group this is), and each
 * fetches its share of the next group's stretches. apart: ig_fetch_apart, or, where registers are few, what a tile was
 * compiled for. */
static inline __attribute__((always_inline)) ig_ahead ig_ahead_at(const uint8_t *w, size_t bytes, size_t step,
                                                                  size_t n_stretches, size_t lines_each, ig_near near,
                                                                  bool apart)
{
    enum { GROUP_BYTES = 64 * 1024 };
    if (!apart || !bytes) {
        const bool far = ig_is_far(bytes, near);
        const size_t tiles = far ? (IG_FAR_LEAST + bytes - 1) / bytes : 1;
        return (ig_ahead){(const uint8_t *)((uintptr_t)w + tiles * bytes), 64 * lines_each, step, far};
    }
    size_t group = bytes < GROUP_BYTES ? GROUP_BYTES / bytes : 1, on = 64 * lines_each;
    size_t before = (uintptr_t)w / bytes % group;
    return (ig_ahead){(const uint8_t *)((uintptr_t)w + (group - before) * bytes + before * (bytes / step) * on),
                      group * bytes / n_stretches, on, false};
}
static inline __attribute__((always_inline)) void ig_ahead_lines(const ig_ahead *a, size_t n_stretches,
                                                                 size_t lines_each, bool far)
{
    IG_UNROLL
    for (size_t s = 0; s < n_stretches; s++) {
        IG_UNROLL
        for (size_t i = 0; i < lines_each; i++) ig_prefetch(a->at, s * a->hop + 64 * i, far);
    }
}
static inline __attribute__((always_inline)) void ig_ahead_step(ig_ahead *a, size_t n_stretches, size_t lines_each)
{
    if (a->far)
        ig_ahead_lines(a, n_stretches, lines_each, true);
    else
        ig_ahead_lines(a, n_stretches, lines_each, false);
    a->at = (const uint8_t *)((uintptr_t)a->at + a->on);
}

/* Up to 16 rows for code that reads all of them in every step: an address is one of a few registers and a multiple of
 * another. Compilers that know how the registers depend on each other keep a register a row, which are too many. */
typedef struct ig_rows {
    const uint8_t *four[4]; /* rows 0, 4, 8, 12; of the last ones there may be none */
    size_t stride, three;   /* strides */
} ig_rows;
static inline __attribute__((always_inline)) ig_rows ig_rows_at(const uint8_t *w, size_t stride, size_t three)
{
    ig_rows r = {.stride = stride, .three = three};
    for (size_t i = 0; i < 4; i++) {
        r.four[i] = (const uint8_t *)((uintptr_t)w + 4 * i * stride);
        __asm__("" : "+r"(r.four[i]));
    }
    return r;
}
static inline __attribute__((always_inline)) const uint8_t *ig_row(const ig_rows *r, size_t i)
{
    return r->four[i / 4] + (i % 4 == 3 ? r->three : i % 4 * r->stride);
}

/* y[c * y_stride + r] for the tile's columns and n_rows of its rows, 1 at least; n weights a row. */
typedef void ig_tile(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y, size_t y_stride,
                     size_t n, size_t n_rows);

typedef struct ig_tiles {
    size_t rows;
    struct {
        size_t cols;
        ig_tile *tile;
    } of[5]; /* with falling widths; the last is of one column */
} ig_tiles;

/* Rows of `bytes` that stay in the second-level cache while all columns pass over them. */
static inline size_t ig_tiles_rows(size_t bytes)
{
    size_t rows = bytes ? (size_t)256 * 1024 / bytes : 64;
    return rows < 16 ? 16 : rows > 256 ? 256 : rows / 8 * 8;
}

static inline void ig_tiles_run(const ig_mul_args *a, const ig_tiles *t)
{
    const uint8_t *w = a->w, *x = a->x;
    size_t chunk = ig_tiles_rows(a->w_stride);
    for (size_t from = 0; from < a->n_rows; from += chunk) {
        size_t to = a->n_rows - from < chunk ? a->n_rows : from + chunk, now = 0;
        for (size_t c = 0; c < a->n_cols; c += t->of[now].cols) {
            while (t->of[now].cols > a->n_cols - c) now++;
            for (size_t r = from; r < to; r += t->rows)
                t->of[now].tile(w + r * a->w_stride, a->w_stride, x + c * a->x_stride, a->x_stride,
                                a->y + c * a->y_stride + r, a->y_stride, a->n, to - r < t->rows ? to - r : t->rows);
        }
    }
}

#endif
