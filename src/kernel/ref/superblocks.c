/* Reference kernels for super-blocks of 256 (IG_PACK_Q8K) without codebooks; those with are in ref/codebooks.c and use
 * the same sums. g counts groups of 32, k groups of 16 elements.
 *
 *   Q2_K    84 bytes  scales (16), qs (64), d f16, dmin f16         (d * sc[k]) * q - (dmin * m[k])
 *   Q3_K   110        hmask (32), qs (64), scales (12), d f16       (d * sc[k]) * (q - 4)
 *   Q4_K   144        d f16, dmin f16, scales (12), qs (128)        (d * sc[g]) * q - (dmin * m[g])
 *   Q5_K   176        d, dmin, scales (12), qh (32), qs (128)       (d * sc[g]) * q - (dmin * m[g])
 *   Q6_K   210        ql (128), qh (64), scales (16), d f16         (d * sc[k]) * (q - 32)
 *   IQ4_XS 136        d f16, scales_h u16, scales_l (4), qs (128)   (d * (sc[g] - 32)) * ig_values_iq4[q]
 *   TQ1_0   54        qs (48), qh (4), d f16                        d * (q - 1)
 *   TQ2_0   66        qs (64), d f16                                d * (q - 1)
 *
 * Bits of Q4_K and Q5_K: bytes 32c..32c+31 of qs have group 2c in their low nibbles, 2c + 1 in the high ones; the fifth
 * bit of element l of group g is bit g of qh[l]. Q2_K, Q3_K, TQ2_0: element 128h + 32j + l is the pair of bits 2j of
 * qs[32h + l]; Q3_K's third bit is bit 4h + j of hmask[l]. */
#include <math.h>

#include "kernel/kernel_list.h"
#include "kernel/pack.h"
#include "kernel/ref/super.h"

/* Eight scales and eight minimums of six bits in 12 bytes, each for two groups of 16. */
static void scales_k4(const uint8_t *s, ig_super *u)
{
    for (int j = 0; j < 8; j++) {
        int sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        int m = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
        u->scale[2 * j] = u->scale[2 * j + 1] = (int16_t)sc;
        u->factor[2 * j] = u->factor[2 * j + 1] = (int16_t)m;
    }
}

static void nibbles_k4(const uint8_t *qs, int8_t q[256])
{
    for (int i = 0; i < 128; i++) {
        int at = i / 32 * 64 + i % 32;
        q[at] = qs[i] & 15;
        q[at + 32] = (int8_t)(qs[i] >> 4);
    }
}

static void pairs_of_bits(const uint8_t *qs, int8_t q[256])
{
    for (int i = 0; i < 256; i++) q[i] = qs[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

static void open_q4_k(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block);
    u->d2 = ig_load_f16(block + 2);
    scales_k4(block + 4, u);
    nibbles_k4(block + 16, u->q);
}

static void open_q5_k(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block);
    u->d2 = ig_load_f16(block + 2);
    scales_k4(block + 4, u);
    nibbles_k4(block + 48, u->q);
    for (int i = 0; i < 256; i++) u->q[i] = (int8_t)(u->q[i] | (block[16 + i % 32] >> i / 32 & 1) << 4);
}

static void open_q2_k(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block + 80);
    u->d2 = ig_load_f16(block + 82);
    pairs_of_bits(block + 16, u->q);
    for (int k = 0; k < 16; k++) {
        u->scale[k] = block[k] & 15;
        u->factor[k] = block[k] >> 4;
    }
}

static void open_q3_k(const uint8_t *block, ig_super *u)
{
    const uint8_t *s = block + 96;
    u->d = ig_load_f16(block + 108);
    pairs_of_bits(block + 32, u->q);
    for (int i = 0; i < 256; i++) u->q[i] = (int8_t)(u->q[i] | (block[i % 32] >> i / 32 & 1) << 2);
    for (int k = 0; k < 16; k++) {
        int low = s[k % 8] >> k / 8 * 4 & 15, high = s[8 + k % 4] >> k / 4 * 2 & 3;
        u->scale[k] = (int16_t)((low | high << 4) - 32);
    }
}

static void open_q6_k(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block + 208);
    for (int h = 0; h < 2; h++) {
        const uint8_t *lo = block + 64 * h, *hi = block + 128 + 32 * h;
        for (int l = 0; l < 32; l++) {
            int8_t *out = u->q + 128 * h + l;
            out[0] = (int8_t)((lo[l] & 15) | (hi[l] & 3) << 4);
            out[32] = (int8_t)((lo[l + 32] & 15) | (hi[l] >> 2 & 3) << 4);
            out[64] = (int8_t)(lo[l] >> 4 | (hi[l] >> 4 & 3) << 4);
            out[96] = (int8_t)(lo[l + 32] >> 4 | (hi[l] >> 6) << 4);
        }
    }
    for (int k = 0; k < 16; k++) u->scale[k] = (int8_t)block[192 + k];
}

static void open_iq4_xs(const uint8_t *block, ig_super *u)
{
    int high = ig_load_u16(block + 2);
    u->d = ig_load_f16(block);
    for (int g = 0; g < 8; g++) {
        int sc = (block[4 + g / 2] >> g % 2 * 4 & 15) | (high >> 2 * g & 3) << 4;
        u->scale[2 * g] = u->scale[2 * g + 1] = (int16_t)(sc - 32);
        for (int j = 0; j < 16; j++) {
            uint8_t byte = block[8 + 16 * g + j];
            u->q[32 * g + j] = ig_values_iq4[byte & 15];
            u->q[32 * g + j + 16] = ig_values_iq4[byte >> 4];
        }
    }
}

static void no_scales(ig_super *u)
{
    for (int k = 0; k < 16; k++) u->scale[k] = 1;
}

/* A byte is a fraction of 256 whose first five ternary digits are the codes. */
static int8_t ternary(uint8_t byte, int digit)
{
    static const uint8_t power[] = {1, 3, 9, 27, 81};
    return (int8_t)(((uint8_t)(byte * power[digit]) * 3 >> 8) - 1);
}

static void open_tq1_0(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block + 52);
    no_scales(u);
    for (int i = 0; i < 160; i++) u->q[i] = ternary(block[i % 32], i / 32);
    for (int i = 0; i < 80; i++) u->q[160 + i] = ternary(block[32 + i % 16], i / 16);
    for (int i = 0; i < 16; i++) u->q[240 + i] = ternary(block[48 + i % 4], i / 4);
}

static void open_tq2_0(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block + 64);
    no_scales(u);
    pairs_of_bits(block, u->q);
    for (int i = 0; i < 256; i++) u->q[i]--;
}

static void decode(const ig_super_type *t, const uint8_t *p, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++, p += t->bytes, dst += 256) {
        ig_super u = {0};
        t->open(p, &u);
        for (int i = 0; i < 256; i++) {
            dst[i] = u.d * (float)u.scale[i / 16] * (float)(u.q[i] - t->offset);
            if (t->second == IG_SUPER_MINUS) dst[i] -= u.d2 * (float)u.factor[i / 16];
        }
    }
}

/* The sum of kernel/pack.h. */
static float dot(const ig_super_type *t, const uint8_t *w, const uint8_t *x, size_t n_blocks)
{
    float acc = 0;
    for (size_t b = 0; b < n_blocks; b++, w += t->bytes, x += sizeof(ig_q8k)) {
        ig_q8k a;
        ig_super u = {0};
        int32_t main = 0, second = 0;
        memcpy(&a, x, sizeof a);
        t->open(w, &u);
        for (int i = 0; i < 256; i++) main += u.scale[i / 16] * ((u.q[i] - t->offset) * a.q[i]);
        acc = fmaf(u.d * a.d, (float)main, acc);
        if (t->second != IG_SUPER_MINUS) continue;
        for (int k = 0; k < 16; k++) second += u.factor[k] * a.bsums[k];
        acc = fmaf(-(u.d2 * a.d), (float)second, acc);
    }
    return acc;
}

void ig_super_decode(const ig_super_type *t, const void *src, float *dst, size_t n) { decode(t, src, dst, n); }

void ig_super_mul(const ig_super_type *t, const ig_mul_args *a)
{
    for (size_t c = 0; c < a->n_cols; c++)
        for (size_t r = 0; r < a->n_rows; r++)
            a->y[c * a->y_stride + r] =
                dot(t, (const uint8_t *)a->w + r * a->w_stride, (const uint8_t *)a->x + c * a->x_stride, a->n / 256);
}

IG_SUPER_TYPE(q2_k, 84, MINUS, 0)
IG_SUPER_TYPE(q3_k, 110, PLUS, 4)
IG_SUPER_TYPE(q4_k, 144, MINUS, 0)
IG_SUPER_TYPE(q5_k, 176, MINUS, 0)
IG_SUPER_TYPE(q6_k, 210, PLUS, 32)
IG_SUPER_TYPE(iq4_xs, 136, NONE, 0)
IG_SUPER_TYPE(tq1_0, 54, NONE, 0)
IG_SUPER_TYPE(tq2_0, 66, NONE, 0)
