/* K types: super-blocks of 256. The fits are in super.h; here are the shapes and the layouts.
 *
 *   Q2_K  84: scales 16 (scale | min << 4), qs 64, d, dmin     16 groups of 16, q 0..3, scale and min 0..15
 *   Q3_K 110: hmask 32, qs 64, scales 12, d                    16 groups of 16, q -4..3, scale -32..31
 *   Q4_K 144: d, dmin, scales 12, qs 128                       8 groups of 32, q 0..15, scale and min 0..63
 *   Q5_K 176: d, dmin, scales 12, qh 32, qs 128                8 groups of 32, q 0..31, scale and min 0..63
 *   Q6_K 210: ql 128, qh 64, scales 16, d                      16 groups of 16, q -32..31, scale -128..127 */
#include "quant/rows.h"
#include "quant/super.h"

static const float ones[IG_SUPER] = {
#define ONES16 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
    ONES16, ONES16, ONES16, ONES16, ONES16, ONES16, ONES16, ONES16,
    ONES16, ONES16, ONES16, ONES16, ONES16, ONES16, ONES16, ONES16};

/* Element 128h + 32j + l, two bits each, at bits 2j of byte 32h + l. */
static void put_pairs(const uint8_t q[IG_SUPER], uint8_t out[64])
{
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *at = q + 128 * h + l;
            out[32 * h + l] = (uint8_t)((at[0] & 3u) | (at[32] & 3u) << 2 | (at[64] & 3u) << 4 | (at[96] & 3u) << 6);
        }
}

void ig_from_f32_q2_k(const float *x, const float *w, void *dst, size_t n)
{
    const ig_affine_shape shape = {16, 3, 15, -0.75f, 0.15f, 16};
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += IG_SUPER, out += 84) {
        ig_affine_super b;
        ig_affine_super_fit(x + i, w ? w + i : ones, shape, &b);
        for (int g = 0; g < 16; g++) out[g] = (uint8_t)(b.scale[g] | b.min[g] << 4);
        put_pairs(b.q, out + 16);
        ig_put_half(out + 80, b.d);
        ig_put_half(out + 82, b.m);
    }
}

/* Scale k + 32 in six bits: low four at nibble k / 8 of byte k % 8, high two at bits 2 (k / 4) of byte 8 + k % 4. */
static void put_scales_q3_k(const int8_t scale[16], uint8_t out[12])
{
    memset(out, 0, 12);
    for (int k = 0; k < 16; k++) {
        unsigned s = (unsigned)(scale[k] + 32);
        out[k % 8] = (uint8_t)(out[k % 8] | (s & 15u) << 4 * (k / 8));
        out[8 + k % 4] = (uint8_t)(out[8 + k % 4] | (s >> 4) << 2 * (k / 4));
    }
}

/* Codes of a fitted super-block, from 0 up. */
static void linear_block(const float *x, const ig_linear_shape *shape, const ig_linear_super *b, uint8_t *q)
{
    for (int g = 0; g < IG_SUPER / shape->group; g++)
        ig_linear_codes(x + g * shape->group, ig_half_value(b->d) * (float)b->scale[g], shape->group, shape->levels,
                        q + g * shape->group);
}

void ig_from_f32_q3_k(const float *x, const float *w, void *dst, size_t n)
{
    const ig_linear_shape shape = {16, {-4, 3, NULL}, -32, 31, -1.5f, 0.15f, 16};
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += IG_SUPER, out += 110) {
        ig_linear_super b;
        uint8_t q[IG_SUPER]; /* level + 4 */
        ig_linear_super_fit(x + i, w ? w + i : ones, shape, &b);
        linear_block(x + i, &shape, &b, q);
        memset(out, 0, 32);
        for (int k = 0; k < IG_SUPER; k++) out[k % 32] = (uint8_t)(out[k % 32] | (q[k] >> 2 & 1u) << k / 32);
        put_pairs(q, out + 32);
        put_scales_q3_k(b.scale, out + 96);
        ig_put_half(out + 108, b.d);
    }
}

/* Six-bit scales and minimums of eight groups in 12 bytes. */
static void put_scales_q4_k(const ig_affine_super *b, uint8_t out[12])
{
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(b->scale[j] | b->scale[j + 4] >> 4 << 6);
        out[j + 4] = (uint8_t)(b->min[j] | b->min[j + 4] >> 4 << 6);
        out[j + 8] = (uint8_t)((b->scale[j + 4] & 15u) | (b->min[j + 4] & 15u) << 4);
    }
}

/* Byte 32c + l: element l of group 2c in the low nibble, of group 2c + 1 in the high one. */
static void put_nibbles(const uint8_t q[IG_SUPER], uint8_t out[128])
{
    for (int c = 0; c < 4; c++)
        for (int l = 0; l < 32; l++)
            out[32 * c + l] = (uint8_t)((q[64 * c + l] & 15u) | (q[64 * c + 32 + l] & 15u) << 4);
}

void ig_from_f32_q4_k(const float *x, const float *w, void *dst, size_t n)
{
    const ig_affine_shape shape = {32, 15, 63, -1.0f, 0.2f, 14};
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += IG_SUPER, out += 144) {
        ig_affine_super b;
        ig_affine_super_fit(x + i, w ? w + i : ones, shape, &b);
        ig_put_half(out, b.d);
        ig_put_half(out + 2, b.m);
        put_scales_q4_k(&b, out + 4);
        put_nibbles(b.q, out + 16);
    }
}

void ig_from_f32_q5_k(const float *x, const float *w, void *dst, size_t n)
{
    const ig_affine_shape shape = {32, 31, 63, -1.0f, 0.2f, 14};
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += IG_SUPER, out += 176) {
        ig_affine_super b;
        ig_affine_super_fit(x + i, w ? w + i : ones, shape, &b);
        ig_put_half(out, b.d);
        ig_put_half(out + 2, b.m);
        put_scales_q4_k(&b, out + 4);
        memset(out + 16, 0, 32);
        for (int k = 0; k < IG_SUPER; k++) out[16 + k % 32] = (uint8_t)(out[16 + k % 32] | (b.q[k] >> 4) << k / 32);
        put_nibbles(b.q, out + 48);
    }
}

void ig_from_f32_q6_k(const float *x, const float *w, void *dst, size_t n)
{
    const ig_linear_shape shape = {16, {-32, 31, NULL}, -128, 127, -1.0f, 0.125f, 14};
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += IG_SUPER, out += 210) {
        ig_linear_super b;
        uint8_t q[IG_SUPER]; /* level + 32 */
        ig_linear_super_fit(x + i, w ? w + i : ones, shape, &b);
        linear_block(x + i, &shape, &b, q);
        for (int h = 0; h < 2; h++)
            for (int l = 0; l < 32; l++) {
                const uint8_t *at = q + 128 * h + l;
                out[64 * h + l] = (uint8_t)((at[0] & 15u) | (at[64] & 15u) << 4);
                out[64 * h + 32 + l] = (uint8_t)((at[32] & 15u) | (at[96] & 15u) << 4);
                out[128 + 32 * h + l] = (uint8_t)(at[0] >> 4 | at[32] >> 4 << 2 | at[64] >> 4 << 4 | at[96] >> 4 << 6);
            }
        for (int g = 0; g < 16; g++) out[192 + g] = (uint8_t)b.scale[g];
        ig_put_half(out + 208, b.d);
    }
}
