/* Decoding and products against the reference library's own bytes (golden/quants): decoded weights equal in every bit
 * on every level; products within 1e-5 * sum|w x| where x stays float, within 1e-2 * |w| |x| where it is packed to 8
 * bits. */
#include <math.h>
#include <stdint.h>

#include "kernel/kernel.h"
#include "tests/tap.h"

enum { ROWS = 16, COLS = 1024 };

static const struct {
    int type;
    const char *file;
} files[] = {
    {IG_F32, "f32"},   {IG_F16, "f16"},   {IG_BF16, "bf16"},         {IG_Q4_0, "q4_0"}, {IG_Q4_0, "q4_0.imatrix"},
    {IG_Q8_0, "q8_0"}, {IG_Q4_K, "q4_k"}, {IG_Q4_K, "q4_k.imatrix"}, {IG_Q6_K, "q6_k"}, {IG_Q6_K, "q6_k.imatrix"},
};

static void *load(const char *name, const char *suffix, size_t *n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/quants/%s%s", tap_golden(), name, suffix);
    return tap_read(path, n);
}

static void check_dots(const ig_kernels *k, int type, const char *name, const void *w, size_t row, const float *want_w,
                       const double *want, const float *x)
{
    const ig_type_kernels *t = &k->type[type];
    size_t bytes = k->pack[t->pack].bytes(COLS);
    void *packed = malloc(bytes);
    if (!packed) abort();
    float y[ROWS];
    k->pack[t->pack].pack(x, packed, COLS);
    t->mul(&(ig_mul_args){w, row, packed, bytes, y, ROWS, COLS, ROWS, 1});
    free(packed);
    int wrong = 0;
    double worst = 0;
    for (int r = 0; r < ROWS; r++) {
        double terms = 0, ww = 0, xx = 0;
        for (int i = 0; i < COLS; i++) {
            double a = (double)want_w[r * COLS + i], b = (double)x[i];
            terms += fabs(a * b);
            ww += a * a;
            xx += b * b;
        }
        double bound = t->pack == IG_PACK_F32 ? 1e-5 * terms : 1e-2 * sqrt(ww) * sqrt(xx),
               off = fabs((double)y[r] - want[r]);
        if (bound > 0) worst = fmax(worst, off / bound);
        if (!(off <= bound)) {
            wrong++;
            printf("# row %d: %.9g, reference %.9g\n", r, (double)y[r], want[r]);
        }
    }
    tap_ok(!wrong, "%s %s: products, at most %.3f of the bound", k->level, name, worst);
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

int main(void)
{
    size_t n;
    float *x = load("x", ".f32", &n);
    if (!x || n != COLS * sizeof *x)
        tap_skip("quants", "%s/quants/x.f32 cannot be read", tap_golden());
    else
        for (const char *const *level = ig_kernel_levels(); *level; level++) {
            ig_error err = {0};
            const ig_kernels *k = ig_kernels_get(*level, &err);
            if (!k) tap_skip(*level, "%s", err.text);
            for (size_t i = 0; k && i < sizeof files / sizeof *files; i++)
                check_file(k, files[i].type, files[i].file, x);
        }
    free(x);
    return tap_done();
}
