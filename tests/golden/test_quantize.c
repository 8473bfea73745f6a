/* Quantising against the reference's errors on its own matrix (golden/quants): every type, with and without importance,
 * decoded by the independent decoders below. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <time.h>

#include "kernel/kernel.h"
#include "quant/quant.h"
#include "tests/tap.h"

enum { ROWS = 16, COLS = 1024 };

/* ------------------------------------------------------------------------------------------------ decoders */

static float half_at(const uint8_t *p)
{
    unsigned h = (unsigned)p[0] | (unsigned)p[1] << 8, e = h >> 10 & 31;
    float f = e ? ldexpf((float)((h & 1023) + 1024), (int)e - 25) : ldexpf((float)(h & 1023), -24);
    return h & 0x8000 ? -f : f;
}

static float q4_0(const uint8_t *b, int i) { return half_at(b) * (float)((b[2 + i % 16] >> i / 16 * 4 & 15) - 8); }
static float q4_1(const uint8_t *b, int i)
{
    return half_at(b) * (float)(b[4 + i % 16] >> i / 16 * 4 & 15) + half_at(b + 2);
}
static int five(const uint8_t *b, int at, int i)
{
    return (b[at + 4 + i % 16] >> i / 16 * 4 & 15) | (b[at + i / 8] >> i % 8 & 1) << 4;
}
static float q5_0(const uint8_t *b, int i) { return half_at(b) * (float)(five(b, 2, i) - 16); }
static float q5_1(const uint8_t *b, int i) { return half_at(b) * (float)five(b, 4, i) + half_at(b + 2); }
static float q8_0(const uint8_t *b, int i) { return half_at(b) * (float)(int8_t)b[2 + i]; }
static int pair(const uint8_t *qs, int i) { return qs[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3; }
static float q2_k(const uint8_t *b, int i)
{
    int s = b[i / 16];
    return half_at(b + 80) * (float)(s & 15) * (float)pair(b + 16, i) - half_at(b + 82) * (float)(s >> 4);
}
static float q3_k(const uint8_t *b, int i)
{
    int k = i / 16, high = b[i % 32] >> (i / 32) & 1;
    int s = (b[96 + k % 8] >> 4 * (k / 8) & 15) | (b[104 + k % 4] >> 2 * (k / 4) & 3) << 4;
    return half_at(b + 108) * (float)(s - 32) * (float)(pair(b + 32, i) - (high ? 0 : 4));
}
static void scale_min(const uint8_t *s, int j, int *sc, int *m)
{
    *sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    *m = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
}
static float q4_k(const uint8_t *b, int i)
{
    int sc, m, q = b[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    scale_min(b + 4, i / 32, &sc, &m);
    return half_at(b) * (float)sc * (float)q - half_at(b + 2) * (float)m;
}
static float q5_k(const uint8_t *b, int i)
{
    int sc, m, q = (b[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) | (b[16 + i % 32] >> i / 32 & 1) << 4;
    scale_min(b + 4, i / 32, &sc, &m);
    return half_at(b) * (float)sc * (float)q - half_at(b + 2) * (float)m;
}
static float q6_k(const uint8_t *b, int i)
{
    int h = i / 128, j = i % 128 / 32, l = i % 32;
    int q = (b[64 * h + j % 2 * 32 + l] >> j / 2 * 4 & 15) | (b[128 + 32 * h + l] >> 2 * j & 3) << 4;
    return half_at(b + 208) * (float)(int8_t)b[192 + i / 16] * (float)(q - 32);
}
static const float book[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static float iq4_nl(const uint8_t *b, int i) { return half_at(b) * book[b[2 + i % 16] >> i / 16 * 4 & 15]; }
static float iq4_xs(const uint8_t *b, int i)
{
    int g = i / 32, k = i % 32, upper = b[2] | b[3] << 8;
    int s = (b[4 + g / 2] >> 4 * (g % 2) & 15) | (upper >> 2 * g & 3) << 4;
    return half_at(b) * (float)(s - 32) * book[b[8 + 16 * g + k % 16] >> k / 16 * 4 & 15];
}
static float mxfp4(const uint8_t *b, int i)
{
    static const float f[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    return ldexpf(f[b[1 + i % 16] >> i / 16 * 4 & 15], b[0] - 128);
}
static float f32(const uint8_t *b, int i)
{
    float v;
    (void)i;
    memcpy(&v, b, 4);
    return v;
}
static float f16(const uint8_t *b, int i)
{
    (void)i;
    return half_at(b);
}
static float bf16(const uint8_t *b, int i)
{
    uint8_t four[4] = {0, 0, b[0], b[1]};
    return f32(four, i);
}

typedef struct type_case {
    uint32_t type;
    const char *name;
    float (*at)(const uint8_t *block, int i);
    double rms, weighted; /* of the reference: without importance; with importance, weighted by it */
    double factor;        /* how much worse we may be with importance */
} type_case;

static const type_case cases[] = {
    {IG_F32, "f32", f32, 0, 0, 1.02},
    {IG_F16, "f16", f16, 1.707e-04, 1.845e-04, 1.02},
    {IG_BF16, "bf16", bf16, 1.677e-03, 1.609e-03, 1.02},
    {IG_Q4_0, "q4_0", q4_0, 9.323e-02, 9.804e-02, 1.02},
    {IG_Q4_1, "q4_1", q4_1, 7.690e-02, 8.222e-02, 1.02},
    {IG_Q5_0, "q5_0", q5_0, 4.425e-02, 4.637e-02, 1.02},
    {IG_Q5_1, "q5_1", q5_1, 3.900e-02, 3.992e-02, 1.02},
    {IG_Q8_0, "q8_0", q8_0, 5.610e-03, 6.088e-03, 1.02},
    {IG_Q2_K, "q2_k", q2_k, 3.243e-01, 2.811e-01, 1.02},
    {IG_Q3_K, "q3_k", q3_k, 1.660e-01, 1.553e-01, 1.02},
    {IG_Q4_K, "q4_k", q4_k, 7.388e-02, 8.067e-02, 1.00},
    {IG_Q5_K, "q5_k", q5_k, 3.872e-02, 4.032e-02, 1.00},
    {IG_Q6_K, "q6_k", q6_k, 1.685e-02, 1.667e-02, 1.00},
    {IG_IQ4_NL, "iq4_nl", iq4_nl, 7.980e-02, 8.652e-02, 1.02},
    {IG_IQ4_XS, "iq4_xs", iq4_xs, 8.084e-02, 8.716e-02, 1.02},
    {IG_MXFP4, "mxfp4", mxfp4, 1.385e-01, 1.295e-01, 1.02},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void decode(const type_case *c, const uint8_t *src, float *dst, size_t n)
{
    const ig_dtype_info *t = ig_dtype_row(c->type);
    for (size_t i = 0; i < n; i++) dst[i] = c->at(src + i / t->block_elems * t->block_bytes, (int)(i % t->block_elems));
}

static void *load(const char *name, size_t bytes)
{
    char path[512];
    size_t n;
    snprintf(path, sizeof path, "%s/quants/%s", tap_golden(), name);
    void *p = tap_read(path, &n);
    if (p && n != bytes) {
        free(p);
        p = NULL;
    }
    return p;
}

/* sqrt(sum w (x - y)^2 / sum w x^2) over rows; w [COLS] NULL: 1 */
static double relative(const float *x, const float *y, const float *w, size_t rows)
{
    double diff = 0, sum = 0;
    for (size_t i = 0; i < rows * COLS; i++) {
        double a = (double)x[i], d = a - (double)y[i], f = w ? (double)w[i % COLS] : 1;
        diff += f * d * d;
        sum += f * a * a;
    }
    return sqrt(diff / sum);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check_errors(const float *source, const float *importance)
{
    static uint8_t blocks[ROWS * COLS * 4];
    static float back[ROWS * COLS];
    float w[COLS], max = 0;
    for (int i = 0; i < COLS; i++) max = fmaxf(max, importance[i]);
    for (int i = 0; i < COLS; i++) w[i] = importance[i] / max;
    for (int k = 0; k < 2 * N_CASES; k++) {
        const type_case *c = &cases[k / 2];
        const ig_dtype_info *t = ig_dtype_row(c->type);
        size_t row = COLS / t->block_elems * t->block_bytes;
        const float *use = k % 2 ? w : NULL;
        double start = seconds(), rms, rms0, bar = (k % 2 ? c->weighted * c->factor : c->rms * 1.02);
        for (size_t r = 0; r < ROWS; r++) ig_quant_row(c->type, source + r * COLS, use, blocks + r * row, COLS);
        double s = seconds() - start;
        for (size_t r = 0; r < ROWS; r++) decode(c, blocks + r * row, back + r * COLS, COLS);
        rms = relative(source, back, use, ROWS);
        rms0 = relative(source, back, NULL, 1);
        /* the table rounds to four figures */
        tap_ok(rms <= bar * (1 + 5e-4), "%s%s: relative error %.4e, at most %.4e; first row %.3e; %.1f Mfloats/s",
               c->name, k % 2 ? " with importance" : "", rms, bar, rms0, 1e-6 * ROWS * COLS / s);
    }
}

int main(void)
{
    float *source = load("source.f32", ROWS * COLS * sizeof *source), *importance = load("importance.f32", COLS * 4);
    if (!source || !importance) {
        tap_skip("errors of the quantisers", "%s/quants has no matrix", tap_golden());
    } else {
        check_errors(source, importance);
    }
    free(source);
    free(importance);
    return tap_done();
}
