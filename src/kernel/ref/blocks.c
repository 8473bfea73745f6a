/* Reference kernels for the types that meet activations in blocks of 32 (IG_PACK_Q8). "Nibbles, split" over n bytes:
 * element j is the low nibble of byte j, element j + n the high one.
 *
 *   type    elements  bytes  fields                              weight
 *   Q4_0          32     18  d f16, 16 of nibbles                d * (q - 8)
 *   Q4_1          32     20  d f16, m f16, 16 of nibbles         d * q + m
 *   Q5_0          32     22  d f16, u32 of fifth bits, nibbles   d * (q - 16)
 *   Q5_1          32     24  d f16, m f16, fifth bits, nibbles   d * q + m
 *   Q8_0          32     34  d f16, 32 int8                      d * q
 *   IQ4_NL        32     18  d f16, 16 of nibbles                d * ig_values_iq4[q]
 *   MXFP4         32     17  exponent e, 16 of nibbles           2^(e - 128) * ig_values_fp4[q]
 *   NVFP4         64     36  4 scales, 4 times 8 of nibbles      s[group of 16] * ig_values_fp4[q]
 *   Q1_0         128     18  d f16, 16 of bits                   bit ? d : -d
 *   Q2_0          64     18  d f16, 16 of pairs of bits          d * (q - 1) */
#include <math.h>
#include <stdbool.h>

#include "kernel/kernel_list.h"
#include "kernel/pack.h"
#include "kernel/ref/ref.h"

const int8_t ig_values_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/* The values of E2M1 doubled; the code 8 is plus zero. */
const int8_t ig_values_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

typedef struct part { /* 32 weights */
    int8_t q[32];
    float d[2]; /* of the first and of the last 16 */
    float m;    /* added to each, where the type has it */
} part;

typedef struct block_type {
    size_t elems, bytes;
    bool has_m, has_halves;                                /* added to each weight; d of the halves differ */
    void (*open)(const uint8_t *block, size_t i, part *p); /* elements 32 * i and on */
} block_type;

static void nibbles(const uint8_t *bytes, uint8_t q[32])
{
    for (int j = 0; j < 16; j++) {
        q[j] = bytes[j] & 15;
        q[j + 16] = bytes[j] >> 4;
    }
}

static void open_q4_0(const uint8_t *block, size_t i, part *p)
{
    uint8_t q[32];
    (void)i;
    nibbles(block + 2, q);
    for (int j = 0; j < 32; j++) p->q[j] = (int8_t)(q[j] - 8);
    p->d[0] = p->d[1] = ig_load_f16(block);
}

static void open_q4_1(const uint8_t *block, size_t i, part *p)
{
    uint8_t q[32];
    (void)i;
    nibbles(block + 4, q);
    memcpy(p->q, q, 32);
    p->d[0] = p->d[1] = ig_load_f16(block);
    p->m = ig_load_f16(block + 2);
}

static void five_bits(const uint8_t *high, uint8_t q[32])
{
    nibbles(high + 4, q);
    for (int j = 0; j < 32; j++) q[j] = (uint8_t)(q[j] | (high[j / 8] >> j % 8 & 1) << 4);
}

static void open_q5_0(const uint8_t *block, size_t i, part *p)
{
    uint8_t q[32];
    (void)i;
    five_bits(block + 2, q);
    for (int j = 0; j < 32; j++) p->q[j] = (int8_t)(q[j] - 16);
    p->d[0] = p->d[1] = ig_load_f16(block);
}

static void open_q5_1(const uint8_t *block, size_t i, part *p)
{
    uint8_t q[32];
    (void)i;
    five_bits(block + 4, q);
    memcpy(p->q, q, 32);
    p->d[0] = p->d[1] = ig_load_f16(block);
    p->m = ig_load_f16(block + 2);
}

static void open_q8_0(const uint8_t *block, size_t i, part *p)
{
    (void)i;
    memcpy(p->q, block + 2, 32);
    p->d[0] = p->d[1] = ig_load_f16(block);
}

static void open_iq4_nl(const uint8_t *block, size_t i, part *p)
{
    uint8_t q[32];
    (void)i;
    nibbles(block + 2, q);
    for (int j = 0; j < 32; j++) p->q[j] = ig_values_iq4[q[j]];
    p->d[0] = p->d[1] = ig_load_f16(block);
}

/* 2^(e - 128), subnormal for the two smallest. */
static float exponent(uint8_t e)
{
    uint32_t bits = e < 2 ? (uint32_t)0x200000 << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static void open_mxfp4(const uint8_t *block, size_t i, part *p)
{
    uint8_t q[32];
    (void)i;
    nibbles(block + 1, q);
    for (int j = 0; j < 32; j++) p->q[j] = ig_values_fp4[q[j]];
    p->d[0] = p->d[1] = exponent(block[0]);
}

/* Half an unsigned E4M3: four bits of exponent with bias 7, three of mantissa; 0x7F is no number and counts as 0. */
static float half_e4m3(uint8_t x)
{
    int e = x >> 3 & 15, m = x & 7;
    if (x == 0x7F) return 0;
    return e ? ldexpf((float)(8 + m), e - 11) : ldexpf((float)m, -10);
}

static void open_nvfp4(const uint8_t *block, size_t i, part *p)
{
    for (size_t h = 0; h < 2; h++) {
        const uint8_t *bytes = block + 4 + 16 * i + 8 * h;
        for (size_t j = 0; j < 8; j++) {
            p->q[16 * h + j] = ig_values_fp4[bytes[j] & 15];
            p->q[16 * h + j + 8] = ig_values_fp4[bytes[j] >> 4];
        }
        p->d[h] = half_e4m3(block[2 * i + h]);
    }
}

static void open_q1_0(const uint8_t *block, size_t i, part *p)
{
    for (size_t j = 0; j < 32; j++) p->q[j] = block[2 + 4 * i + j / 8] >> j % 8 & 1 ? 1 : -1;
    p->d[0] = p->d[1] = ig_load_f16(block);
}

static void open_q2_0(const uint8_t *block, size_t i, part *p)
{
    for (size_t j = 0; j < 32; j++) p->q[j] = (int8_t)((block[2 + 8 * i + j / 4] >> 2 * (j % 4) & 3) - 1);
    p->d[0] = p->d[1] = ig_load_f16(block);
}

static void decode(const block_type *t, const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++, dst += 32) {
        part p = {0};
        size_t parts = t->elems / 32;
        t->open(src + b / parts * t->bytes, b % parts, &p);
        for (int i = 0; i < 32; i++) {
            dst[i] = p.d[i / 16] * (float)p.q[i];
            if (t->has_m) dst[i] += p.m;
        }
    }
}

static int32_t products(const int8_t *q, const int8_t *x, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++) sum += q[i] * x[i];
    return sum;
}

/* The sum of kernel/pack.h. */
static float dot(const block_type *t, const uint8_t *w, const uint8_t *x, size_t n)
{
    float acc = 0;
    size_t parts = t->elems / 32;
    for (size_t b = 0; b < n / 32; b++, x += sizeof(ig_q8)) {
        part p = {0};
        ig_q8 a;
        memcpy(&a, x, sizeof a);
        t->open(w + b / parts * t->bytes, b % parts, &p);
        if (t->has_halves) {
            for (int h = 0; h < 2; h++) acc = fmaf(p.d[h] * a.d, (float)products(p.q + 16 * h, a.q + 16 * h, 16), acc);
        } else
            acc = fmaf(p.d[0] * a.d, (float)products(p.q, a.q, 32), acc);
        if (t->has_m) acc = fmaf(p.m, a.d * (float)a.sum, acc);
    }
    return acc;
}

static void mul(const block_type *t, const ig_mul_args *a)
{
    for (size_t c = 0; c < a->n_cols; c++)
        for (size_t r = 0; r < a->n_rows; r++)
            a->y[c * a->y_stride + r] =
                dot(t, (const uint8_t *)a->w + r * a->w_stride, (const uint8_t *)a->x + c * a->x_stride, a->n);
}

#define TYPE(name, elems, bytes, has_m, has_halves)                                                                    \
    static const block_type type_##name = {elems, bytes, has_m, has_halves, open_##name};                              \
    void ig_to_f32_##name##_ref(const void *src, float *dst, size_t n) { decode(&type_##name, src, dst, n); }          \
    void ig_mul_##name##_ref(const ig_mul_args *a) { mul(&type_##name, a); }
TYPE(q4_0, 32, 18, false, false)
TYPE(q4_1, 32, 20, true, false)
TYPE(q5_0, 32, 22, false, false)
TYPE(q5_1, 32, 24, true, false)
TYPE(q8_0, 32, 34, false, false)
TYPE(iq4_nl, 32, 18, false, false)
TYPE(mxfp4, 32, 17, false, false)
TYPE(nvfp4, 64, 36, false, true)
TYPE(q1_0, 128, 18, false, false)
TYPE(q2_0, 64, 18, false, false)
