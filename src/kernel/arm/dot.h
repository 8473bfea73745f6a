/* Products of four rows' codes with columns of activations, in the widest instruction of the level: the words in which
 * mul_blocks.inc and mul_super.inc are written. Sums come with a lane for each row.
 *
 *   neon      products of 16 bits, two of them added (2 * 128 * 127 fits), then pairwise into 32 bits
 *   dotprod   SDOT: four products into a lane
 *   i8mm      SMMLA for two columns at once: 2 rows x 8 by 8 x 2 columns; SDOT for one column alone */
#ifndef IG_KERNEL_ARM_DOT_H
#define IG_KERNEL_ARM_DOT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "kernel/arm/arm.h"

/* 32 codes of four rows, in two halves. Zipped: q[2p] holds the first eights of rows 2p and 2p + 1, q[2p + 1] the
 * others; only where pairs are multiplied so. */
typedef struct quad {
    int8x16_t q[4][2];
} quad;

#if defined(__ARM_FEATURE_DOTPROD)
INLINE int32x4_t dot_sixteen(int32x4_t sum, int8x16_t q, int8x16_t x) { return vdotq_s32(sum, q, x); }
#else
INLINE int32x4_t dot_sixteen(int32x4_t sum, int8x16_t q, int8x16_t x)
{
    return vpadalq_s16(sum, vmlal_high_s8(vmull_s8(vget_low_s8(q), vget_low_s8(x)), q, x));
}
#endif

INLINE int32x4_t sum_rows(const int32x4_t s[4]) { return vpaddq_s32(vpaddq_s32(s[0], s[1]), vpaddq_s32(s[2], s[3])); }

/* Halves from..to of rows that are not zipped, one column. */
INLINE int32x4_t dot_one(const quad *w, const uint8_t *x, size_t from, size_t to)
{
    int32x4_t s[4];
    IG_UNROLL
    for (size_t r = 0; r < 4; r++) {
        s[r] = vdupq_n_s32(0);
        IG_UNROLL
        for (size_t h = from; h < to; h++)
            s[r] = dot_sixteen(s[r], w->q[r][h], vreinterpretq_s8_u8(vld1q_u8(x + 16 * h)));
    }
    return sum_rows(s);
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
INLINE int8x16_t eights_low(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
INLINE int8x16_t eights_high(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
INLINE void zip_rows(quad *w)
{
    IG_UNROLL
    for (size_t r = 0; r < 4; r += 2) {
        IG_UNROLL
        for (size_t h = 0; h < 2; h++) {
            int8x16_t a = w->q[r][h], b = w->q[r + 1][h];
            w->q[r][h] = eights_low(a, b);
            w->q[r + 1][h] = eights_high(a, b);
        }
    }
}
/* Zipped rows, two columns. */
INLINE void dot_two(const quad *w, const uint8_t *x0, const uint8_t *x1, size_t from, size_t to, int32x4_t out[2])
{
    int32x4_t s[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
    IG_UNROLL
    for (size_t h = from; h < to; h++) {
        int8x16_t a = vreinterpretq_s8_u8(vld1q_u8(x0 + 16 * h)), b = vreinterpretq_s8_u8(vld1q_u8(x1 + 16 * h));
        int8x16_t low = eights_low(a, b), high = eights_high(a, b);
        IG_UNROLL
        for (size_t p = 0; p < 2; p++) {
            s[p] = vmmlaq_s32(s[p], w->q[2 * p][h], low);
            s[p] = vmmlaq_s32(s[p], w->q[2 * p + 1][h], high);
        }
    }
    out[0] = vuzp1q_s32(s[0], s[1]);
    out[1] = vuzp2q_s32(s[0], s[1]);
}
#else
INLINE void zip_rows(quad *w) { (void)w; }
INLINE void dot_two(const quad *w, const uint8_t *x0, const uint8_t *x1, size_t from, size_t to, int32x4_t out[2])
{
    out[0] = dot_one(w, x0, from, to);
    out[1] = dot_one(w, x1, from, to);
}
#endif

enum { TILE_COLS = 4 };

/* out[c] for n_cols of 1, 2 or 4. */
INLINE void dot_columns(const quad *w, bool zipped, const uint8_t *x, size_t x_stride, size_t from, size_t to,
                        size_t n_cols, int32x4_t out[TILE_COLS])
{
    if (!zipped) {
        IG_UNROLL
        for (size_t c = 0; c < n_cols; c++) out[c] = dot_one(w, x + c * x_stride, from, to);
    } else if (n_cols == 1) {
        int32x4_t twice[2];
        dot_two(w, x, x, from, to, twice);
        out[0] = twice[0];
    } else {
        IG_UNROLL
        for (size_t c = 0; c < n_cols; c += 2) dot_two(w, x + c * x_stride, x + (c + 1) * x_stride, from, to, out + c);
    }
}

/* ---- rows and results ---- */

/* Where four rows are: the last one stands for those that are not there. */
INLINE void rows_at(const uint8_t *p[4], const ig_mul_args *a, size_t row)
{
    IG_UNROLL
    for (size_t r = 0; r < 4; r++)
        p[r] = (const uint8_t *)a->w + (row + r < a->n_rows ? row + r : a->n_rows - 1) * a->w_stride;
}
INLINE float32x4_t result_get(const float *y, size_t left)
{
    if (left >= 4) return vld1q_f32(y);
    float all[4] = {0};
    memcpy(all, y, left * sizeof *all);
    return vld1q_f32(all);
}
INLINE void result_put(float *y, size_t left, float32x4_t v)
{
    if (left >= 4) {
        vst1q_f32(y, v);
        return;
    }
    float all[4];
    vst1q_f32(all, v);
    memcpy(y, all, left * sizeof *all);
}

/* Four rows against n_cols columns from `column` on; n_cols is 1 or 2. */
typedef void tile_run(const ig_mul_args *a, size_t row, size_t column);
/* The parts of PANEL_ROWS rows against all columns. */
typedef void panel_run(const ig_mul_args *a, size_t row);
enum { PANEL_ROWS = 16, PANEL_WIDE = 3 };

/* From PANEL_WIDE columns on, rows are opened once for all columns. */
INLINE void mul_run(const ig_mul_args *a, tile_run *one, tile_run *two, panel_run *panel)
{
    if (a->n_cols >= PANEL_WIDE && a->n)
        for (size_t row = 0; row < a->n_rows; row += PANEL_ROWS) panel(a, row);
    else
        for (size_t row = 0; row < a->n_rows; row += 4) {
            size_t c = 0;
            for (; c + 2 <= a->n_cols; c += 2) two(a, row, c);
            if (c < a->n_cols) one(a, row, c);
        }
}

/* ---- bytes ---- */

INLINE uint16_t load_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
INLINE uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
INLINE float load_f32(const uint8_t *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}
/* Four binary16, `at` bytes into each row. */
INLINE float32x4_t halves_of(const uint8_t *const p[4], size_t at)
{
    uint64_t all = 0;
    IG_UNROLL
    for (size_t r = 0; r < 4; r++) all |= (uint64_t)load_u16(p[r] + at) << 16 * r;
    return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(all)));
}
INLINE uint8x16_t shift_down(uint8x16_t v, size_t by) { return vshlq_u8(v, vdupq_n_s8((int8_t) - (int)by)); }
INLINE uint8x16_t and_bits(uint8x16_t v, uint8_t mask) { return vandq_u8(v, vdupq_n_u8(mask)); }
INLINE int8x16_t less(uint8x16_t v, int8_t offset) { return vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(offset)); }
/* 16 bytes: their low nibbles, their high nibbles. */
INLINE void nibbles(const uint8_t *p, uint8x16_t q[2])
{
    uint8x16_t v = vld1q_u8(p);
    q[0] = and_bits(v, 15);
    q[1] = vshrq_n_u8(v, 4);
}
/* All ones where a bit of 32 is set. */
INLINE void bits(uint32_t set, uint8x16_t q[2])
{
    static const uint8_t place[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                      2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
    uint8x16_t all = vreinterpretq_u8_u32(vdupq_n_u32(set));
    uint8x16_t each = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    q[0] = vtstq_u8(vqtbl1q_u8(all, vld1q_u8(place)), each);
    q[1] = vtstq_u8(vqtbl1q_u8(all, vld1q_u8(place + 16)), each);
}

#endif
