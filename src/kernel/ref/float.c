/* Reference kernels for F32, F16 and BF16. Plain scalar code that defines the result; sums are kept in binary64. */
#include <string.h>

#include "kernel/kernel_list.h"
#include "kernel/ref/ref.h"

/* IEEE binary16 to binary32, subnormals and non-finite values included. Exact. */
float ig_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, bits;
    if (exponent == 31)
        bits = sign | 0x7F800000 | mantissa << 13;
    else if (exponent)
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    else {
        float f = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &f, 4);
        bits |= sign;
    }
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* Binary32 to binary16, to the nearest, ties to even; too large becomes infinity, NaN stays NaN (quiet). */
uint16_t ig_f32_to_f16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7FFFFFFF;
    if (bits > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (bits >> 13 & 0x3FF));
    if (bits >= 0x477FF000) return (uint16_t)(sign | 0x7C00);
    if (bits < 0x38800000) { /* subnormal result: let the float unit round at 2^-24 */
        float m;
        memcpy(&m, &bits, 4);
        m += 0.5f;
        memcpy(&bits, &m, 4);
        return (uint16_t)(sign | (bits - 0x3F000000));
    }
    bits += 0xFFF + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

void ig_to_f32_f32_ref(const void *src, float *dst, size_t n) { memcpy(dst, src, n * sizeof *dst); }

void ig_to_f32_f16_ref(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = ig_f16_to_f32(ig_load_u16(p + 2 * i));
}

void ig_to_f32_bf16_ref(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)ig_load_u16(p + 2 * i) << 16;
        memcpy(&dst[i], &bits, 4);
    }
}

/* One product per (row, column), decoding 64 weights at a time. */
static void mul_floats(const ig_mul_args *a, void (*to_f32)(const void *, float *, size_t), size_t size)
{
    for (size_t c = 0; c < a->n_cols; c++) {
        const uint8_t *x = (const uint8_t *)a->x + c * a->x_stride;
        for (size_t r = 0; r < a->n_rows; r++) {
            const uint8_t *w = (const uint8_t *)a->w + r * a->w_stride;
            double sum = 0;
            for (size_t i = 0; i < a->n; i += 64) {
                float wf[64], xf[64];
                size_t n = a->n - i < 64 ? a->n - i : 64;
                to_f32(w + i * size, wf, n);
                memcpy(xf, x + i * sizeof(float), n * sizeof(float));
                for (size_t k = 0; k < n; k++) sum += (double)wf[k] * (double)xf[k];
            }
            a->y[c * a->y_stride + r] = (float)sum;
        }
    }
}

void ig_mul_f32_ref(const ig_mul_args *a) { mul_floats(a, ig_to_f32_f32_ref, 4); }
void ig_mul_f16_ref(const ig_mul_args *a) { mul_floats(a, ig_to_f32_f16_ref, 2); }
void ig_mul_bf16_ref(const ig_mul_args *a) { mul_floats(a, ig_to_f32_bf16_ref, 2); }
