/* Reference kernels for blocks of 32 with one scale: Q4_0 (18 bytes: d f16, 16 bytes of nibbles; element j is the low
 * nibble of byte j, element j + 16 the high one; w = d * (q - 8)) and Q8_0 (34 bytes: d f16, 32 int8; w = d * q). */
#include <math.h>

#include "kernel/kernel_list.h"
#include "kernel/pack.h"
#include "kernel/ref/ref.h"

enum { Q4_0_BYTES = 18, Q8_0_BYTES = 34 };

static void codes_q4_0(const uint8_t *block, int8_t q[32])
{
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((block[2 + j] & 15) - 8);
        q[j + 16] = (int8_t)((block[2 + j] >> 4) - 8);
    }
}

static void codes_q8_0(const uint8_t *block, int8_t q[32]) { memcpy(q, block + 2, 32); }

static void decode(const uint8_t *src, float *dst, size_t n, size_t bytes, void (*codes)(const uint8_t *, int8_t *))
{
    for (size_t b = 0; b < n / 32; b++, src += bytes) {
        int8_t q[32];
        float d = ig_load_f16(src);
        codes(src, q);
        for (int i = 0; i < 32; i++) dst[32 * b + (size_t)i] = d * (float)q[i];
    }
}

static float dot(const uint8_t *w, const uint8_t *x, size_t n_blocks, size_t bytes,
                 void (*codes)(const uint8_t *, int8_t *))
{
    float acc[8] = {0};
    for (size_t b = 0; b < n_blocks; b++, w += bytes, x += sizeof(ig_q8)) {
        int8_t q[32];
        ig_q8 a;
        memcpy(&a, x, sizeof a);
        codes(w, q);
        float d = ig_load_f16(w) * a.d;
        for (int l = 0; l < 8; l++) {
            int32_t sum = 0;
            for (int i = 4 * l; i < 4 * l + 4; i++) sum += q[i] * a.q[i];
            acc[l] = fmaf(d, (float)sum, acc[l]);
        }
    }
    return ig_sum_lanes(acc);
}

static void mul(const ig_mul_args *a, size_t bytes, void (*codes)(const uint8_t *, int8_t *))
{
    for (size_t c = 0; c < a->n_cols; c++)
        for (size_t r = 0; r < a->n_rows; r++)
            a->y[c * a->y_stride + r] = dot((const uint8_t *)a->w + r * a->w_stride,
                                            (const uint8_t *)a->x + c * a->x_stride, a->n / 32, bytes, codes);
}

void ig_to_f32_q4_0_ref(const void *src, float *dst, size_t n) { decode(src, dst, n, Q4_0_BYTES, codes_q4_0); }
void ig_to_f32_q8_0_ref(const void *src, float *dst, size_t n) { decode(src, dst, n, Q8_0_BYTES, codes_q8_0); }
void ig_mul_q4_0_ref(const ig_mul_args *a) { mul(a, Q4_0_BYTES, codes_q4_0); }
void ig_mul_q8_0_ref(const ig_mul_args *a) { mul(a, Q8_0_BYTES, codes_q8_0); }
