/* Reference kernels for super-blocks of 256.
 *
 * Q4_K, 144 bytes: d f16, dmin f16, 12 bytes of six-bit scales and minimums, 128 bytes of nibbles. Eight groups of 32:
 *   w = (d * sc[g]) * q - (dmin * m[g]); bytes 32c..32c+31: low nibbles are group 2c, high ones group 2c + 1.
 * Q6_K, 210 bytes: 128 bytes of low nibbles, 64 of upper pairs of bits, 16 int8 scales, d f16. Sixteen groups of 16:
 *   w = (d * sc[i / 16]) * (q - 32). */
#include <math.h>

#include "kernel/kernel_list.h"
#include "kernel/pack.h"
#include "kernel/ref/ref.h"

enum { Q4_K_BYTES = 144, Q6_K_BYTES = 210 };

static void scales_q4_k(const uint8_t *s, uint8_t sc[8], uint8_t m[8])
{
    for (int j = 0; j < 4; j++) {
        sc[j] = s[j] & 63;
        m[j] = s[j + 4] & 63;
        sc[j + 4] = (uint8_t)((s[j + 8] & 15) | (s[j] >> 6) << 4);
        m[j + 4] = (uint8_t)((s[j + 8] >> 4) | (s[j + 4] >> 6) << 4);
    }
}

static void codes_q4_k(const uint8_t *block, uint8_t q[256])
{
    for (int i = 0; i < 128; i++) {
        int at = i / 32 * 64 + i % 32;
        q[at] = block[16 + i] & 15;
        q[at + 32] = block[16 + i] >> 4;
    }
}

static void codes_q6_k(const uint8_t *block, uint8_t q[256])
{
    for (int h = 0; h < 2; h++) {
        const uint8_t *lo = block + 64 * h, *hi = block + 128 + 32 * h;
        for (int l = 0; l < 32; l++) {
            uint8_t *out = q + 128 * h + l;
            out[0] = (uint8_t)((lo[l] & 15) | (hi[l] & 3) << 4);
            out[32] = (uint8_t)((lo[l + 32] & 15) | (hi[l] >> 2 & 3) << 4);
            out[64] = (uint8_t)(lo[l] >> 4 | (hi[l] >> 4 & 3) << 4);
            out[96] = (uint8_t)(lo[l + 32] >> 4 | (hi[l] >> 6) << 4);
        }
    }
}

void ig_to_f32_q4_k_ref(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / 256; b++, p += Q4_K_BYTES, dst += 256) {
        uint8_t sc[8], m[8], q[256];
        float d = ig_load_f16(p), dmin = ig_load_f16(p + 2);
        scales_q4_k(p + 4, sc, m);
        codes_q4_k(p, q);
        for (int i = 0; i < 256; i++) dst[i] = d * (float)sc[i / 32] * (float)q[i] - dmin * (float)m[i / 32];
    }
}

void ig_to_f32_q6_k_ref(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / 256; b++, p += Q6_K_BYTES, dst += 256) {
        uint8_t q[256];
        float d = ig_load_f16(p + 208);
        codes_q6_k(p, q);
        for (int i = 0; i < 256; i++) dst[i] = d * (float)(int8_t)p[192 + i / 16] * (float)(q[i] - 32);
    }
}

/* result = lanes over blocks of d * dx * sum(sc * q * x), less one running sum of dmin * dx * sum(m * x). */
static float dot_q4_k(const uint8_t *w, const uint8_t *x, size_t n_blocks)
{
    float acc[8] = {0}, acc_min = 0;
    for (size_t b = 0; b < n_blocks; b++, w += Q4_K_BYTES, x += sizeof(ig_q8k)) {
        ig_q8k a;
        uint8_t sc[8], m[8], q[256];
        int32_t lane[8] = {0}, mins = 0;
        memcpy(&a, x, sizeof a);
        scales_q4_k(w + 4, sc, m);
        codes_q4_k(w, q);
        for (int i = 0; i < 256; i++) lane[i % 32 / 4] += sc[i / 32] * (q[i] * a.q[i]);
        for (int g = 0; g < 8; g++) mins += m[g] * (a.bsums[2 * g] + a.bsums[2 * g + 1]);
        float d = ig_load_f16(w) * a.d, dmin = ig_load_f16(w + 2) * a.d;
        for (int l = 0; l < 8; l++) acc[l] = fmaf(d, (float)lane[l], acc[l]);
        acc_min = fmaf(dmin, (float)mins, acc_min);
    }
    return ig_sum_lanes(acc) - acc_min;
}

/* result = lanes over blocks of d * dx * sum(sc * q * x) with q in 0..63, and one running sum of d * dx * -32 * sum(sc
 * * x). */
static float dot_q6_k(const uint8_t *w, const uint8_t *x, size_t n_blocks)
{
    float acc[8] = {0}, acc_32 = 0;
    for (size_t b = 0; b < n_blocks; b++, w += Q6_K_BYTES, x += sizeof(ig_q8k)) {
        ig_q8k a;
        uint8_t q[256];
        int32_t lane[8] = {0}, offset = 0;
        memcpy(&a, x, sizeof a);
        codes_q6_k(w, q);
        for (int i = 0; i < 256; i++) lane[i % 32 / 4] += (int8_t)w[192 + i / 16] * (q[i] * a.q[i]);
        for (int j = 0; j < 16; j++) offset += (int8_t)w[192 + j] * a.bsums[j];
        float d = ig_load_f16(w + 208) * a.d;
        for (int l = 0; l < 8; l++) acc[l] = fmaf(d, (float)lane[l], acc[l]);
        acc_32 = fmaf(d, (float)(-32 * offset), acc_32);
    }
    return ig_sum_lanes(acc) + acc_32;
}

static void mul(const ig_mul_args *a, float (*dot)(const uint8_t *, const uint8_t *, size_t))
{
    for (size_t c = 0; c < a->n_cols; c++)
        for (size_t r = 0; r < a->n_rows; r++)
            a->y[c * a->y_stride + r] =
                dot((const uint8_t *)a->w + r * a->w_stride, (const uint8_t *)a->x + c * a->x_stride, a->n / 256);
}

void ig_mul_q4_k_ref(const ig_mul_args *a) { mul(a, dot_q4_k); }
void ig_mul_q6_k_ref(const ig_mul_args *a) { mul(a, dot_q6_k); }
