/* Decoding and products against the reference library's own bytes (golden/quants): decoded weights equal in every bit
 * on every level; products within 1e-5 * sum|w x| where x stays float, within 1e-2 * |w| |x| where it is packed to 8
 * bits, and always within 1e-5 * sum|w x'| of the sum over the packed x', so that no wrong code hides behind the
 * rounding. Packing itself is within half a step, and Q8_0 rows of the KV cache have the reference's scales. */
#include <float.h>
#include <math.h>
#include <stdint.h>

#include "kernel/kernel.h"
#include "kernel/pack.h"
#include "tests/tap.h"

enum { ROWS = 16, COLS = 1024 };

static const struct {
    int type;
    const char *file;
} files[] = {
    {IG_F32, "f32"},
    {IG_F16, "f16"},
    {IG_BF16, "bf16"},
    {IG_Q4_0, "q4_0"},
    {IG_Q4_0, "q4_0.imatrix"},
    {IG_Q4_1, "q4_1"},
    {IG_Q4_1, "q4_1.imatrix"},
    {IG_Q5_0, "q5_0"},
    {IG_Q5_0, "q5_0.imatrix"},
    {IG_Q5_1, "q5_1"},
    {IG_Q5_1, "q5_1.imatrix"},
    {IG_Q8_0, "q8_0"},
    {IG_IQ4_NL, "iq4_nl"},
    {IG_IQ4_NL, "iq4_nl.imatrix"},
    {IG_MXFP4, "mxfp4"},
    {IG_NVFP4, "nvfp4"},
    {IG_Q1_0, "q1_0"},
    {IG_Q2_0, "q2_0"},
    {IG_Q2_K, "q2_k"},
    {IG_Q2_K, "q2_k.imatrix"},
    {IG_Q3_K, "q3_k"},
    {IG_Q3_K, "q3_k.imatrix"},
    {IG_Q4_K, "q4_k"},
    {IG_Q4_K, "q4_k.imatrix"},
    {IG_Q5_K, "q5_k"},
    {IG_Q5_K, "q5_k.imatrix"},
    {IG_Q6_K, "q6_k"},
    {IG_Q6_K, "q6_k.imatrix"},
    {IG_IQ4_XS, "iq4_xs"},
    {IG_IQ4_XS, "iq4_xs.imatrix"},
    {IG_IQ2_XXS, "iq2_xxs.imatrix"},
    {IG_IQ2_XS, "iq2_xs.imatrix"},
    {IG_IQ2_S, "iq2_s"},
    {IG_IQ2_S, "iq2_s.imatrix"},
    {IG_IQ3_XXS, "iq3_xxs"},
    {IG_IQ3_XXS, "iq3_xxs.imatrix"},
    {IG_IQ3_S, "iq3_s"},
    {IG_IQ3_S, "iq3_s.imatrix"},
    {IG_IQ1_S, "iq1_s.imatrix"},
    {IG_IQ1_M, "iq1_m"},
    {IG_IQ1_M, "iq1_m.imatrix"},
    {IG_TQ1_0, "tq1_0"},
    {IG_TQ2_0, "tq2_0"},
};

static void *load(const char *name, const char *suffix, size_t *n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/quants/%s%s", tap_golden(), name, suffix);
    return tap_read(path, n);
}

/* The values that a packed row of COLS stands for. */
static void unpack(ig_pack form, const uint8_t *packed, float *x)
{
    size_t block = form == IG_PACK_Q8 ? 32 : 256, bytes = form == IG_PACK_Q8 ? sizeof(ig_q8) : sizeof(ig_q8k);
    size_t codes = form == IG_PACK_Q8 ? offsetof(ig_q8, q) : offsetof(ig_q8k, q);
    if (form == IG_PACK_F32) memcpy(x, packed, COLS * sizeof *x);
    for (size_t b = 0; form != IG_PACK_F32 && b < COLS / block; b++, packed += bytes) {
        float d; /* first in both forms */
        memcpy(&d, packed, sizeof d);
        for (size_t i = 0; i < block; i++) *x++ = d * (float)(int8_t)packed[codes + i];
    }
}

static void check_dots(const ig_kernels *k, int type, const char *name, const void *w, size_t row, const float *want_w,
                       const double *want, const float *x)
{
    const ig_type_kernels *t = &k->type[type];
    size_t bytes = k->pack[t->pack].bytes(COLS);
    uint8_t *packed = malloc(bytes);
    if (!packed) abort();
    float y[ROWS], xp[COLS];
    k->pack[t->pack].pack(x, packed, COLS);
    unpack(t->pack, packed, xp);
    t->mul(&(ig_mul_args){w, row, packed, bytes, y, ROWS, COLS, ROWS, 1, NULL});
    free(packed);
    int wrong = 0;
    double worst = 0, worst_packed = 0;
    for (int r = 0; r < ROWS; r++) {
        double terms = 0, ww = 0, xx = 0, sum = 0, terms_packed = (double)FLT_MIN;
        for (int i = 0; i < COLS; i++) {
            double a = (double)want_w[r * COLS + i], b = (double)x[i];
            terms += fabs(a * b);
            ww += a * a;
            xx += b * b;
            sum += a * (double)xp[i];
            terms_packed += fabs(a * (double)xp[i]);
        }
        double bound = t->pack == IG_PACK_F32 ? 1e-5 * terms : 1e-2 * sqrt(ww) * sqrt(xx),
               off = fabs((double)y[r] - want[r]);
        if (bound > 0) worst = fmax(worst, off / bound);
        double off_packed = fabs((double)y[r] - sum) / (1e-5 * terms_packed);
        worst_packed = fmax(worst_packed, off_packed);
        if (!(off <= bound) || !(off_packed <= 1)) {
            wrong++;
            printf("# row %d: %.9g, reference %.9g\n", r, (double)y[r], want[r]);
        }
    }
    tap_ok(!wrong, "%s %s: products, at most %.3f of the bound, %.3f of the one over packed x", k->level, name, worst,
           worst_packed);
}

static void check_file(const ig_kernels *k, int type, const char *name, const float *x)
{
    size_t n_w, n_want, n_dot;
    void *w = load(name, ".bin", &n_w);
    float *want = load(name, ".dequant.f32", &n_want), *got = calloc(ROWS * COLS, sizeof *got);
    double *dot = load(name, ".dot.f64", &n_dot);
    const ig_dtype_info *info = ig_dtype_row((uint32_t)type);
    size_t row = COLS / info->block_elems * info->block_bytes;
    if (!got) abort();
    if (!w || !want || !dot)
        tap_skip(name, "%s/quants has no file of this type", tap_golden());
    else if (n_w != ROWS * row || n_want != ROWS * COLS * sizeof *want || n_dot != ROWS * sizeof *dot)
        tap_ok(false, "%s: sizes of the files", name);
    else {
        for (size_t r = 0; r < ROWS; r++) k->type[type].to_f32((const uint8_t *)w + r * row, got + r * COLS, COLS);
        size_t at = 0;
        while (at < ROWS * COLS && !memcmp(&got[at], &want[at], sizeof *got)) at++;
        if (!tap_ok(at == ROWS * COLS, "%s %s: decoded equal in bits", k->level, name))
            printf("# element %zu: %a, reference %a\n", at, (double)got[at], (double)want[at]);
        check_dots(k, type, name, w, row, want, dot, x);
    }
    free(w);
    free(want);
    free(got);
    free(dot);
}

/* |x - d * q| <= d / 2, and what a scale of 11 bits loses in blocks of 32. */
static void check_pack(const ig_kernels *k, ig_pack form, size_t block, const float *source)
{
    float have[COLS];
    size_t wrong = 0;
    uint8_t *packed = malloc(k->pack[form].bytes(COLS));
    if (!packed) abort();
    for (size_t r = 0; r < ROWS; r++) {
        const float *x = source + r * COLS;
        k->pack[form].pack(x, packed, COLS);
        unpack(form, packed, have);
        for (size_t b = 0; b < COLS; b += block) {
            float max = 0;
            for (size_t i = b; i < b + block; i++) max = fmaxf(max, fabsf(x[i]));
            float half = max < IG_PACK_TINY ? max : max / 254 * (1 + 1e-5f) + (form == IG_PACK_Q8 ? max * 0x1p-11f : 0);
            for (size_t i = b; i < b + block; i++) wrong += !(fabsf(x[i] - have[i]) <= half);
        }
    }
    tap_ok(!wrong, "%s pack in blocks of %zu: %zu values beyond half a step", k->level, block, wrong);
    free(packed);
}

/* Codes may differ by one, where x / d is near a tie; blocks with d = 0 decode to zeros whatever their codes. */
static void check_store(const ig_kernels *k, const float *source)
{
    enum { ROW = COLS / 32 * 34 };
    size_t n, scales = 0, codes = 0, far = 0;
    uint8_t have[ROW], *want = load("q8_0", ".bin", &n);
    for (size_t at = 0; want && n == ROWS * ROW && at < n; at += 34) {
        if (at % ROW == 0) k->kv[IG_KV_Q8_0].store(source + at / ROW * COLS, have, COLS);
        const uint8_t *h = have + at % ROW, *w = want + at;
        if (!h[0] && !h[1] && !w[0] && !w[1]) continue;
        scales += h[0] != w[0] || h[1] != w[1];
        for (int i = 2; i < 34; i++) {
            int off = abs((int8_t)h[i] - (int8_t)w[i]);
            codes += off > 0;
            far += off > 1;
        }
    }
    tap_ok(want && n == ROWS * ROW && !scales && !far && codes <= ROWS * COLS / 1000,
           "%s Q8_0 store: %zu scales and %zu codes differ from the reference, %zu by more than one", k->level, scales,
           codes, far);
    free(want);
}

/* Every row of every codebook, not only those that the files happen to use: blocks with d = 1, scale 0 and no signs,
 * whose indices count up. */
typedef struct codebook {
    const char *file;
    int type;
    size_t rows, width; /* of the file, in bytes of one element each */
    float factor;       /* d * (the smallest scale) */
} codebook;

static const codebook codebooks[] = {
    {"iq2xxs", IG_IQ2_XXS, 256, 8, 0.125f}, {"iq2xs", IG_IQ2_XS, 512, 8, 0.125f}, {"iq2s", IG_IQ2_S, 1024, 8, 0.125f},
    {"iq3xxs", IG_IQ3_XXS, 256, 4, 0.25f},  {"iq3s", IG_IQ3_S, 512, 4, 1},        {"iq1s", IG_IQ1_S, 2048, 8, 1},
};

/* A block whose element group `at` (of `width`) has this index. */
static void put_index(int type, uint8_t *b, size_t at, size_t index)
{
    uint8_t low = (uint8_t)index, high = (uint8_t)(index >> 8);
    b[1] = 0x3C; /* d = 1 */
    switch (type) {
    case IG_IQ2_XXS: b[2 + at / 4 * 8 + at % 4] = low; break;
    case IG_IQ2_XS: b[2 + 2 * at] = low, b[3 + 2 * at] = high; break;
    case IG_IQ2_S: b[2 + at] = low, b[66 + at / 4] |= (uint8_t)(high << at % 4 * 2); break;
    case IG_IQ3_XXS: b[2 + at] = low; break;
    case IG_IQ3_S: b[2 + at] = low, b[66 + at / 8] |= (uint8_t)(high << at % 8); break;
    default: { /* IQ1_S */
        size_t bit = at % 4 * 3;
        b[2 + at] = low;
        b[34 + at / 4 * 2] |= (uint8_t)(high << bit);
        b[35 + at / 4 * 2] |= (uint8_t)((unsigned)high << bit >> 8);
    }
    }
}

static void check_codebook(const ig_kernels *k, const codebook *c)
{
    char name[64];
    size_t n, wrong = 0, per = 256 / c->width;
    (void)snprintf(name, sizeof name, "grids/%s_grid", c->file);
    uint8_t *want = load(name, ".bin", &n);
    if (!want || n != c->rows * c->width) {
        tap_ok(false, "%s.bin has %zu rows of %zu", name, c->rows, c->width);
        free(want);
        return;
    }
    for (size_t first = 0; first < c->rows; first += per) {
        uint8_t block[256] = {0};
        float have[256];
        for (size_t at = 0; at < per; at++) put_index(c->type, block, at, first + at);
        k->type[c->type].to_f32(block, have, 256);
        for (size_t i = 0; i < 256; i++) {
            uint8_t byte = want[first * c->width + i];
            float v = c->type == IG_IQ1_S ? (float)(int8_t)byte + 0.125f : (float)byte * c->factor;
            wrong += !(have[i] >= v && have[i] <= v);
        }
    }
    tap_ok(!wrong, "%s: %zu rows through %s, %zu values differ", name, c->rows, ig_dtype_row((uint32_t)c->type)->name,
           wrong);
    free(want);
}

int main(void)
{
    size_t n, n_source;
    float *x = load("x", ".f32", &n), *source = load("source", ".f32", &n_source);
    if (!x || n != COLS * sizeof *x || !source || n_source != ROWS * COLS * sizeof *source)
        tap_skip("quants", "%s/quants/x.f32 or source.f32 cannot be read", tap_golden());
    else
        for (const char *const *level = ig_kernel_levels(); *level; level++) {
            ig_error err = {0};
            const ig_kernels *k = ig_kernels_get(*level, &err);
            if (!k) tap_skip(*level, "%s", err.text);
            for (size_t i = 0; k && i < sizeof files / sizeof *files; i++)
                check_file(k, files[i].type, files[i].file, x);
            if (!k) continue;
            check_pack(k, IG_PACK_Q8, 32, source);
            check_pack(k, IG_PACK_Q8K, 256, source);
            check_store(k, source);
        }
    for (size_t i = 0; x && i < sizeof codebooks / sizeof *codebooks; i++)
        check_codebook(ig_kernels_get("ref", NULL), &codebooks[i]);
    free(x);
    free(source);
    return tap_done();
}
