/* Plain types: F32, F16, BF16 and the blocks of 32 with one scale or scale and minimum.
 *
 * Without importance the blocks of 32 follow fixed rules, so that every correct writer makes the same bytes:
 *   Q8_0        d = max|x| / 127, q = x / d rounded half away from zero
 *   Q4_0, Q5_0  d = (x of the largest magnitude) / -8 (-16), q = trunc(x / d + 8.5 (16.5)), at most 15 (31)
 *   Q4_1, Q5_1  d = (max - min) / 15 (31), m = min, q = trunc((x - min) / d + 0.5), at most 15 (31)
 * with the unrounded d, stored as binary16. With importance the scales are searched (fit.h), and codes are chosen for
 * the scale as stored. Q8_0 ignores importance: there is nothing to gain. */
#include "quant/fit.h"
#include "quant/half.h"
#include "quant/rows.h"

void ig_from_f32_f32(const float *x, const float *w, void *dst, size_t n)
{
    (void)w;
    memcpy(dst, x, n * sizeof *x);
}

void ig_from_f32_f16(const float *x, const float *w, void *dst, size_t n)
{
    (void)w;
    for (size_t i = 0; i < n; i++) ig_put_half((uint8_t *)dst + 2 * i, ig_half(x[i]));
}

void ig_from_f32_bf16(const float *x, const float *w, void *dst, size_t n)
{
    (void)w;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        uint16_t h = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
        memcpy((uint8_t *)dst + 2 * i, &h, 2);
    }
}

/* 1 / d, or 0 where d is so small that its block decodes to zeros anyway. */
static float inverse(float d) { return fabsf(d) > 1e-37f ? 1 / d : 0; }

void ig_from_f32_q8_0(const float *x, const float *w, void *dst, size_t n)
{
    uint8_t *out = dst;
    (void)w;
    for (size_t b = 0; b < n / 32; b++, x += 32, out += 34) {
        float d = fabsf(ig_extreme(x, 32)) / 127, id = inverse(d);
        ig_put_half(out, ig_half(d));
        for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)(int8_t)roundf(x[i] * id);
    }
}

/* ------------------------------------------------------------------------------------------------ 4 and 5 bits */

typedef struct block32 {
    uint16_t d, m;
    uint8_t q[32];
} block32;

/* d * (q - half), q = 0 .. 2 half - 1 */
static void by_rule_signed(const float *x, float half, block32 *out)
{
    float d = ig_extreme(x, 32) / -half, id = inverse(d);
    out->d = ig_half(d);
    for (int i = 0; i < 32; i++) {
        int q = (int)(x[i] * id + (half + 0.5f));
        out->q[i] = (uint8_t)(q > 2 * (int)half - 1 ? 2 * (int)half - 1 : q);
    }
}

static void by_rule_affine(const float *x, float top, block32 *out)
{
    float low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    float d = (high - low) / top, id = inverse(d);
    out->d = ig_half(d);
    out->m = ig_half(low);
    for (int i = 0; i < 32; i++) {
        int q = (int)((x[i] - low) * id + 0.5f);
        out->q[i] = (uint8_t)(q > (int)top ? (int)top : q);
    }
}

/* Nearest code of x for a stored scale and offset. */
static uint8_t code(float x, float s, float o, float top)
{
    float u = fabsf(s) > 1e-30f ? (x - o) / s : 0;
    if (!(u > 0)) u = 0;
    if (u > top) u = top;
    return (uint8_t)(u + 0.5f);
}

static void by_search_signed(const float *x, const float *w, float half, block32 *out)
{
    const ig_levels levels = {.low = -half, .high = half - 1};
    ig_linear fit = ig_linear_search(x, w, 32, levels, -1.0f, 0.125f, 17);
    out->d = ig_half(fit.s);
    float d = ig_half_value(out->d);
    for (int i = 0; i < 32; i++) out->q[i] = code(x[i], d, -half * d, 2 * half - 1);
}

static void by_search_affine(const float *x, const float *w, float top, block32 *out)
{
    ig_affine fit = ig_affine_search(x, w, 32, top, IG_ANY, -1.0f, 0.125f, 21);
    out->d = ig_half(fit.s);
    out->m = ig_half(fit.o);
    for (int i = 0; i < 32; i++) out->q[i] = code(x[i], ig_half_value(out->d), ig_half_value(out->m), top);
}

/* d f16, with_m: m f16, five bits: upper bits u32, 16 bytes of nibbles: j low, j + 16 high. Returns the next block. */
static uint8_t *put_block(const block32 *b, bool with_m, bool five, uint8_t *out)
{
    ig_put_half(out, b->d);
    out += 2;
    if (with_m) {
        ig_put_half(out, b->m);
        out += 2;
    }
    if (five) {
        uint32_t upper = 0;
        for (int i = 0; i < 32; i++) upper |= (uint32_t)(b->q[i] >> 4 & 1u) << i;
        memcpy(out, &upper, 4);
        out += 4;
    }
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)((b->q[i] & 15u) | (b->q[i + 16] & 15u) << 4);
    return out + 16;
}

static void signed_blocks(const float *x, const float *w, uint8_t *out, size_t n, bool five)
{
    const float half = five ? 16 : 8;
    block32 b = {0};
    for (size_t i = 0; i < n; i += 32) {
        if (w)
            by_search_signed(x + i, w + i, half, &b);
        else
            by_rule_signed(x + i, half, &b);
        out = put_block(&b, false, five, out);
    }
}

static void affine_blocks(const float *x, const float *w, uint8_t *out, size_t n, bool five)
{
    const float top = five ? 31 : 15;
    block32 b = {0};
    for (size_t i = 0; i < n; i += 32) {
        if (w)
            by_search_affine(x + i, w + i, top, &b);
        else
            by_rule_affine(x + i, top, &b);
        out = put_block(&b, true, five, out);
    }
}

void ig_from_f32_q4_0(const float *x, const float *w, void *dst, size_t n) { signed_blocks(x, w, dst, n, false); }
void ig_from_f32_q5_0(const float *x, const float *w, void *dst, size_t n) { signed_blocks(x, w, dst, n, true); }
void ig_from_f32_q4_1(const float *x, const float *w, void *dst, size_t n) { affine_blocks(x, w, dst, n, false); }
void ig_from_f32_q5_1(const float *x, const float *w, void *dst, size_t n) { affine_blocks(x, w, dst, n, true); }
