/* Reference kernels for everything that is no matrix product: packing, KV rows, norms, activations, softmax, rotation.
 */
#include <float.h>
#include <math.h>

#include "kernel/kernel_list.h"
#include "kernel/pack.h"
#include "kernel/ref/ref.h"

/* Scale and codes of n values (kernel/pack.h). Returns d. */
static float quantise(const float *x, int8_t *q, size_t n)
{
    float max = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        float m = fabsf(x[i]);
        finite = finite && m <= FLT_MAX;
        if (m > max) max = m;
    }
    memset(q, 0, n);
    if (!finite) return NAN;
    if (max < IG_PACK_TINY) return 0;
    float inverse = 127 / max;
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)nearbyintf(x[i] * inverse);
    return max / 127;
}

static size_t bytes_f32(size_t n) { return n * sizeof(float); }
static void copy_f32(const float *src, void *dst, size_t n) { memcpy(dst, src, n * sizeof *src); }
static size_t bytes_q8(size_t n) { return n / 32 * sizeof(ig_q8); }
static size_t bytes_q8k(size_t n) { return n / 256 * sizeof(ig_q8k); }

static void pack_q8(const float *src, void *dst, size_t n)
{
    for (size_t b = 0; b < n / 32; b++) {
        ig_q8 out = {0};
        float x[32];
        memcpy(x, src + 32 * b, sizeof x);
        out.d = ig_pack_short(quantise(x, out.q, 32));
        for (int i = 0; i < 32; i++) out.sum += out.q[i];
        memcpy((uint8_t *)dst + b * sizeof out, &out, sizeof out);
    }
}

static void pack_q8k(const float *src, void *dst, size_t n)
{
    for (size_t b = 0; b < n / 256; b++) {
        ig_q8k out = {0};
        float x[256];
        memcpy(x, src + 256 * b, sizeof x);
        out.d = quantise(x, out.q, 256);
        for (int i = 0; i < 256; i++) out.bsums[i / 16] = (int16_t)(out.bsums[i / 16] + out.q[i]);
        memcpy((uint8_t *)dst + b * sizeof out, &out, sizeof out);
    }
}

static size_t bytes_f16(size_t n) { return 2 * n; }
static void store_f16(const float *src, void *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h = ig_f32_to_f16(src[i]);
        memcpy((uint8_t *)dst + 2 * i, &h, 2);
    }
}

/* KV rows in Q8_0: blocks of 32 as in ref/blocks.c, the last one padded with zeros. */
static size_t bytes_q8_0(size_t n) { return (n + 31) / 32 * 34; }
static void store_q8_0(const float *src, void *dst, size_t n)
{
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += 32, out += 34) {
        float x[32] = {0};
        int8_t q[32];
        memcpy(x, src + i, (n - i < 32 ? n - i : 32) * sizeof *x);
        uint16_t d = ig_f32_to_f16(quantise(x, q, 32));
        memcpy(out, &d, 2);
        memcpy(out + 2, q, 32);
    }
}

/* Value i of a stored row. */
static float at_f32(const uint8_t *row, size_t i)
{
    float v;
    memcpy(&v, row + 4 * i, 4);
    return v;
}
static float at_f16(const uint8_t *row, size_t i) { return ig_load_f16(row + 2 * i); }
static float at_q8_0(const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i / 32 * 34;
    return ig_load_f16(block) * (float)(int8_t)block[2 + i % 32];
}

#define KV(type)                                                                                                       \
    static void scores_##type(const float *q, const void *k, size_t stride, float scale, float *s, size_t n,           \
                              size_t n_keys)                                                                           \
    {                                                                                                                  \
        for (size_t j = 0; j < n_keys; j++) {                                                                          \
            double sum = 0;                                                                                            \
            for (size_t i = 0; i < n; i++)                                                                             \
                sum += (double)q[i] * (double)at_##type((const uint8_t *)k + j * stride, i);                           \
            s[j] = (float)sum * scale;                                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    static void mix_##type(const float *p, const void *v, size_t stride, float *acc, size_t n, size_t n_keys)          \
    {                                                                                                                  \
        for (size_t j = 0; j < n_keys; j++)                                                                            \
            for (size_t i = 0; i < n; i++) acc[i] = fmaf(p[j], at_##type((const uint8_t *)v + j * stride, i), acc[i]); \
    }                                                                                                                  \
    static void scores_of_##type(const float *const *q, size_t n_q, const void *k, size_t stride, float scale,         \
                                 float *s, size_t s_stride, size_t n, size_t n_keys)                                   \
    {                                                                                                                  \
        for (size_t c = 0; c < n_q; c++) scores_##type(q[c], k, stride, scale, s + c * s_stride, n, n_keys);           \
    }                                                                                                                  \
    static void mix_of_##type(const float *p, size_t p_stride, const void *v, size_t stride, float *const *acc,        \
                              size_t n_q, size_t n, size_t n_keys)                                                     \
    {                                                                                                                  \
        for (size_t c = 0; c < n_q; c++) mix_##type(p + c * p_stride, v, stride, acc[c], n, n_keys);                   \
    }
KV(f32)
KV(f16)
KV(q8_0)
#undef KV

static void rms_norm(const float *x, const float *w, float eps, float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    float f = n ? (float)(1 / sqrt(sum / (double)n + (double)eps)) : 0;
    for (size_t i = 0; i < n; i++) y[i] = w ? x[i] * f * w[i] : x[i] * f;
}

static void layer_norm(const float *x, const float *w, const float *b, float eps, float *y, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i];
    float mean = n ? (float)(sum / (double)n) : 0;
    for (size_t i = 0; i < n; i++) squares += (double)(x[i] - mean) * (double)(x[i] - mean);
    float f = n ? (float)(1 / sqrt(squares / (double)n + (double)eps)) : 0;
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * f * (w ? w[i] : 1) + (b ? b[i] : 0);
}

static void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void add_scaled(float *y, const float *x, float a, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}

static void scale(float *y, float a, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] *= a;
}

static void recall(float *s, const float *decay, const float *k, float *e, size_t n)
{
    for (size_t j = 0; j < n; j++, s += n)
        for (size_t i = 0; i < n; i++) {
            s[i] *= decay[j];
            e[i] = fmaf(k[j], s[i], e[i]);
        }
}

static void learn(float *s, const float *k, const float *e, const float *q, float *o, size_t n)
{
    for (size_t j = 0; j < n; j++, s += n)
        for (size_t i = 0; i < n; i++) {
            s[i] = fmaf(k[j], e[i], s[i]);
            o[i] = fmaf(q[j], s[i], o[i]);
        }
}

static float silu(float g) { return g / (1 + expf(-g)); }
static float gelu(float g) { return g / (1 + expf(-1.5957691216f * (g + 0.044715f * g * g * g))); }
static float round_f16(float x)
{
    uint16_t h = ig_f32_to_f16(x);
    return ig_load_f16((const uint8_t *)&h);
}
static float gelu_f16(float g)
{
    if (g <= -10) return 0;
    return g >= 10 ? g : round_f16(gelu(round_f16(g)));
}
static float gelu_erf(float g) { return (float)(0.5 * (double)g * (1 + erf((double)g * M_SQRT1_2))); }
static float relu(float g) { return g <= 0 ? 0 : g; } /* NaN stays NaN */
static float relu2(float g) { return relu(g) * relu(g); }
static float sigmoid(float g) { return 1 / (1 + expf(-g)); }
static float softplus(float g) { return g > 20 ? g : log1pf(expf(g)); }

#define ACT(name)                                                                                                      \
    static void glu_##name(const float *gate, const float *up, float *y, size_t n)                                     \
    {                                                                                                                  \
        if (up)                                                                                                        \
            for (size_t i = 0; i < n; i++) y[i] = name(gate[i]) * up[i];                                               \
        else                                                                                                           \
            for (size_t i = 0; i < n; i++) y[i] = name(gate[i]);                                                       \
    }
ACT(silu)
ACT(gelu)
ACT(gelu_f16)
ACT(gelu_erf)
ACT(relu)
ACT(relu2)
ACT(sigmoid)
ACT(softplus)
#undef ACT

static void glu_swiglu_oai(const float *gate, const float *up, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = gate[i] > 7 ? 7 : gate[i], u = up ? up[i] : 0;
        u = u > 7 ? 7 : u < -7 ? -7 : u;
        y[i] = g / (1 + expf(-1.702f * g)) * (u + 1);
    }
}

static float max(const float *x, size_t n)
{
    float m = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (x[i] > m) m = x[i];
    return m;
}

static float exp_sum(float *x, float m, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        float by = x[i] - m;
        sum += (double)(x[i] = by < IG_EXP_LEAST ? 0 : expf(by));
    }
    return (float)sum;
}

static void rotate(float *a, float *b, float c, float s)
{
    float x = *a, y = *b;
    *a = x * c - y * s;
    *b = x * s + y * c;
}

static void rope_norm(float *x, const float *cs, size_t n_pairs)
{
    for (size_t i = 0; i < n_pairs; i++) rotate(&x[2 * i], &x[2 * i + 1], cs[i], cs[n_pairs + i]);
}

static void rope_neox(float *x, const float *cs, size_t n_pairs)
{
    for (size_t i = 0; i < n_pairs; i++) rotate(&x[i], &x[i + n_pairs], cs[i], cs[n_pairs + i]);
}

void ig_kernels_fill_ref(ig_kernels *k, uint32_t cpu)
{
    (void)cpu;
#define X(id, name, form)                                                                                              \
    k->type[IG_##id] = (ig_type_kernels){IG_PACK_##form, ig_to_f32_##name##_ref, ig_mul_##name##_ref};
    IG_KERNEL_TYPES(X)
#undef X
    k->pack[IG_PACK_F32] = (ig_pack_kernels){bytes_f32, copy_f32};
    k->pack[IG_PACK_Q8] = (ig_pack_kernels){bytes_q8, pack_q8};
    k->pack[IG_PACK_Q8K] = (ig_pack_kernels){bytes_q8k, pack_q8k};
    k->kv[IG_KV_F32] = (ig_kv_kernels){bytes_f32, copy_f32, scores_f32, mix_f32, scores_of_f32, mix_of_f32, NULL};
    k->kv[IG_KV_F16] = (ig_kv_kernels){bytes_f16, store_f16, scores_f16, mix_f16, scores_of_f16, mix_of_f16, NULL};
    k->kv[IG_KV_Q8_0] = (ig_kv_kernels){bytes_q8_0, store_q8_0, scores_q8_0, mix_q8_0, scores_of_q8_0, mix_of_q8_0, NULL};
    k->rms_norm = rms_norm;
    k->add = add;
    k->add_scaled = add_scaled;
    k->scale = scale;
    k->recall = recall;
    k->learn = learn;
    k->layer_norm = layer_norm;
    k->glu[IG_ACT_SILU] = glu_silu;
    k->glu[IG_ACT_GELU] = glu_gelu;
    k->glu[IG_ACT_GELU_F16] = glu_gelu_f16;
    k->glu[IG_ACT_GELU_ERF] = glu_gelu_erf;
    k->glu[IG_ACT_RELU] = glu_relu;
    k->glu[IG_ACT_RELU2] = glu_relu2;
    k->glu[IG_ACT_SWIGLU_OAI] = glu_swiglu_oai;
    k->glu[IG_ACT_SIGMOID] = glu_sigmoid;
    k->glu[IG_ACT_SOFTPLUS] = glu_softplus;
    k->max = max;
    k->exp_sum = exp_sum;
    k->rope_norm = rope_norm;
    k->rope_neox = rope_neox;
}
