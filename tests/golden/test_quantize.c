/* Quantising against the reference's errors on its own matrix (golden/quants): every type, with and without importance,
 * decoded by the independent decoders below; bytes where rules fix them; any floats; whole models against the
 * reference's choice of types. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

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

/* The types whose bytes are fixed by rules: equal to the reference's, but for the block of subnormals (row 6, columns
 * 256 to 511), where any codes will do that decode to zero. */
static void check_rules(const float *source)
{
    static const uint32_t fixed[] = {IG_F16, IG_BF16, IG_Q4_0, IG_Q4_1, IG_Q5_0, IG_Q5_1, IG_Q8_0};
    for (size_t k = 0; k < sizeof fixed / sizeof *fixed; k++) {
        const type_case *c = cases;
        while (c->type != fixed[k]) c++;
        const ig_dtype_info *t = ig_dtype_row(c->type);
        size_t row = COLS / t->block_elems * t->block_bytes, wrong = 0, unit = t->block_bytes;
        char name[32];
        uint8_t got[COLS * 4];
        snprintf(name, sizeof name, "%s.bin", c->name);
        uint8_t *want = load(name, ROWS * row);
        for (size_t r = 0; want && r < ROWS; r++) {
            ig_quant_row(c->type, source + r * COLS, NULL, got, COLS);
            for (size_t b = 0; b < row / unit; b++) {
                float zeros[32] = {0}, back[32];
                if (!memcmp(got + b * unit, want + r * row + b * unit, unit)) continue;
                decode(c, got + b * unit, back, t->block_elems);
                bool subnormal = r == 6 && b * t->block_elems >= 256 && b * t->block_elems < 512;
                for (uint32_t i = 0; i < t->block_elems; i++) subnormal = subnormal && back[i] == zeros[i];
                wrong += !subnormal;
            }
        }
        if (want)
            tap_ok(!wrong, "%s: bytes by rule, %zu blocks differ from the reference", c->name, wrong);
        else
            tap_skip(c->name, "%s/quants has no %s", tap_golden(), name);
        free(want);
    }
}

/* ------------------------------------------------------------------------------------------------ any floats */

static uint64_t rng = 88172645463325252u;
static uint32_t next(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 32);
}

/* A float of any bits; where the type cannot hold it, something of its largest magnitude. */
static float any_float(uint32_t type, unsigned kind)
{
    uint32_t bits = next();
    float f;
    if (kind == 1) bits = bits & 0x807fffffu;                               /* subnormal */
    if (kind == 2) bits = (bits & 0x80ffffffu) | (120 + next() % 12) << 23; /* around one */
    if (kind == 3) return next() % 3 ? 0.0f : -0.0f;
    if (kind == 4) return next() % 8 ? 0.0f : 65504.0f - (float)(next() % 3);
    if (kind == 5) return -1.5f;
    if (kind == 6) return next() % 2 ? 65504.0f : -65504.0f;
    memcpy(&f, &bits, 4);
    return ig_quant_check(type, &f, 1) == 1 ? f : copysignf(60000.0f, f);
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* Every type makes blocks of finite values from any floats that pass the check, whatever the weights are, stays inside
 * its output, and makes the same bytes for a block alone as in a row. */
static void check_any(const type_case *c)
{
    enum { N = 1024, GUARD = 64 };
    const ig_dtype_info *t = ig_dtype_row(c->type);
    const size_t unit = t->block_elems == 1 ? 256 : t->block_elems, bytes = unit / t->block_elems * t->block_bytes;
    static uint8_t row[N * 4 + GUARD], one[256 * 4];
    size_t infinite = 0, apart = 0, spilled = 0;
    for (unsigned round = 0; round < 128; round++) {
        float x[N], w[N], back[N];
        for (size_t i = 0; i < N; i++) {
            x[i] = any_float(c->type, round % 8);
            w[i] = round & 16 ? ldexpf(1, -(int)(next() % 21)) : 1e-6f;
        }
        const float *use = round & 8 ? w : NULL;
        memset(row, 0xa5, sizeof row);
        ig_quant_row(c->type, x, use, row, N);
        for (size_t i = N / unit * bytes; i < sizeof row; i++) spilled += row[i] != 0xa5;
        decode(c, row, back, N);
        infinite += !all_finite(back, N);
        size_t b = next() % (N / unit);
        ig_quant_row(c->type, x + b * unit, use ? use + b * unit : NULL, one, unit);
        apart += memcmp(one, row + b * bytes, bytes) != 0;
    }
    tap_ok(!infinite && !apart && !spilled,
           "%s: any floats: %zu rows not finite, %zu blocks depend on others, %zu bytes "
           "beyond",
           c->name, infinite, apart, spilled);
}

static void check_bad(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e38f};
    for (int k = 0; k < N_CASES; k++) {
        size_t wrong = 0;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            float x[64] = {0};
            bool wide = cases[k].type == IG_F32 || cases[k].type == IG_BF16 || cases[k].type == IG_MXFP4;
            x[37] = bad[i];
            wrong += ig_quant_check(cases[k].type, x, 64) != (wide && bad[i] == 1e38f ? 64 : 37);
        }
        tap_ok(!wrong, "%s: NaN, infinity and numbers beyond its range are found", cases[k].name);
    }
    tap_ok(!ig_quant_can(9) && !ig_quant_can(IG_IQ2_XXS) && !ig_quant_can(4000000000u), "types that cannot be written");
}

/* Weights of one magnitude and zeros lie on the levels of most types: what is left is the rounding of the scale. */
static void check_ternary(void)
{
    static const uint32_t types[] = {IG_Q4_1, IG_Q5_1, IG_Q8_0, IG_Q2_K, IG_Q3_K, IG_Q4_K, IG_Q5_K, IG_Q6_K};
    float x[COLS], back[COLS];
    uint8_t blocks[COLS * 2];
    for (size_t i = 0; i < COLS; i++) x[i] = 0.043f * (float)((int)(next() % 3) - 1);
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const type_case *c = cases;
        while (c->type != types[k]) c++;
        ig_quant_row(c->type, x, NULL, blocks, COLS);
        decode(c, blocks, back, COLS);
        double err = relative(x, back, NULL, 1), bound = c->type == IG_Q4_1 || c->type == IG_Q5_1 ? 0.06 : 3e-3;
        tap_ok(err < bound, "%s: ternary weights, relative error %.2e", c->name, err);
    }
}

/* ------------------------------------------------------------------------------------------------ whole models */

static const struct {
    const char *file, *type;
} models[] = {
    {"bf16", "BF16"}, {"f16", "F16"},       {"iq4_nl", "IQ4_NL"}, {"iq4_xs", "IQ4_XS"}, {"moe_mxfp4", "MXFP4_MOE"},
    {"q2_k", "Q2_K"}, {"q3_k_m", "Q3_K_M"}, {"q4_0", "Q4_0"},     {"q4_1", "Q4_1"},     {"q4_k_m", "q4_k_m"},
    {"q5_0", "Q5_0"}, {"q5_1", "Q5_1"},     {"q5_k_m", "Q5_K_M"}, {"q6_k", "Q6_K"},     {"q8_0", "Q8_0"},
};

static ig_status quantize(const char *in, const char *out, const char *type, bool again, ig_error *err)
{
    ig_quantize_report report;
    ig_quantize_options o = {.in = in, .out = out, .type = type, .n_threads = 2, .requantize = again};
    return ig_quantize_file(&o, &report, err);
}

/* Same tensors, types and shapes; with `bytes` also the same data. */
static bool same_tensors(const ig_format *a, const ig_format *b, bool bytes)
{
    if (ig_format_n_tensors(a) != ig_format_n_tensors(b)) return false;
    for (size_t i = 0; i < ig_format_n_tensors(a); i++) {
        const ig_tensor *s = ig_format_tensor_at(a, i);
        char name[64];
        snprintf(name, sizeof name, "%.*s", IG_STR_ARG(s->name));
        const ig_tensor *t = ig_format_tensor(b, name);
        if (!t || s->type != t->type || memcmp(s->ne, t->ne, sizeof s->ne) != 0 ||
            (bytes && memcmp(s->data, t->data, (size_t)s->n_bytes) != 0)) {
            printf("# %s: type %u, reference %u\n", name, s->type, t ? t->type : 0);
            return false;
        }
    }
    return true;
}

static bool same_metadata(const ig_format *a, const ig_format *b)
{
    for (size_t i = 0; i < ig_format_n_meta(b); i++) {
        const ig_meta *n = ig_format_meta_at(b, i);
        char key[128];
        snprintf(key, sizeof key, "%.*s", IG_STR_ARG(n->key));
        const ig_meta *m = ig_format_meta(a, key);
        if (m && m->type == n->type && m->elem == n->elem && m->n == n->n && m->n_bytes == n->n_bytes &&
            !memcmp(m->data, n->data, (size_t)n->n_bytes))
            continue;
        printf("# key %s differs\n", key);
        return false;
    }
    return ig_format_n_meta(a) == ig_format_n_meta(b);
}

/* From the F16 model each type gives the reference's choice of types, shapes and metadata; its own file asked for again
 * is copied byte for byte. */
static void check_models(const char *dir)
{
    char f16[512], want[512], out[512];
    snprintf(f16, sizeof f16, "%s/quants/models/f16.gguf", tap_golden());
    snprintf(out, sizeof out, "%s/out.gguf", dir);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        ig_format *a = NULL, *b = NULL;
        ig_error err = {0};
        bool moe = !strcmp(models[i].file, "moe_mxfp4"); /* its float model is not there */
        snprintf(want, sizeof want, "%s/quants/models/%s.gguf", tap_golden(), models[i].file);
        if (ig_format_open(want, &b, &err) != IG_OK) {
            tap_skip(models[i].file, "%s", err.text);
            continue;
        }
        bool good = quantize(want, out, models[i].type, true, &err) == IG_OK &&
                    ig_format_open(out, &a, &err) == IG_OK && same_tensors(a, b, true) && same_metadata(a, b);
        tap_ok(good, "%s: its own types again are a copy %s", models[i].file, err.text);
        ig_format_close(a);
        a = NULL;
        good = !moe && quantize(f16, out, models[i].type, false, &err) == IG_OK &&
               ig_format_open(out, &a, &err) == IG_OK && same_tensors(a, b, false) && same_metadata(a, b);
        if (!moe) tap_ok(good, "%s: types and metadata as the reference chose %s", models[i].file, err.text);
        ig_format_close(a);
        ig_format_close(b);
    }
    remove(out);
}

/* The model that ships with the source, against the reference's files of it, byte for byte. */
static void check_own(const char *dir)
{
    static const char *const types[] = {"Q4_0", "q8_0"};
    for (size_t i = 0; i < 2; i++) {
        char in[512], want[512], out[512];
        ig_format *a = NULL, *b = NULL;
        ig_error err = {0};
        snprintf(in, sizeof in, "%s/stories260K.gguf", tap_data());
        snprintf(want, sizeof want, "%s/stories260K.%s.gguf", tap_data(), i ? "q8_0" : "q4_0");
        snprintf(out, sizeof out, "%s/out.gguf", dir);
        bool good = quantize(in, out, types[i], false, &err) == IG_OK && ig_format_open(out, &a, &err) == IG_OK &&
                    ig_format_open(want, &b, &err) == IG_OK && same_tensors(a, b, true);
        tap_ok(good, "stories260K as %s: every byte of every tensor %s", types[i], err.text);
        ig_format_close(a);
        ig_format_close(b);
        remove(out);
    }
}

int main(void)
{
    char dir[] = "/tmp/quantize-XXXXXX";
    float *source = load("source.f32", ROWS * COLS * sizeof *source), *importance = load("importance.f32", COLS * 4);
    if (!source || !importance) {
        tap_skip("errors of the quantisers", "%s/quants has no matrix", tap_golden());
    } else {
        check_errors(source, importance);
        check_rules(source);
    }
    for (int k = 0; k < N_CASES; k++) check_any(&cases[k]);
    check_bad();
    check_ternary();
    if (!mkdtemp(dir)) abort();
    check_own(dir);
    check_models(dir);
    rmdir(dir);
    free(source);
    free(importance);
    return tap_done();
}
