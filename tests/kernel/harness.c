/* Every kernel of every level this CPU has, tested against ref and timed by the same program.
 *
 *   harness [--level L] [--seed N] [--own] [--thin N]      TAP; --own: no entries that the level before has, too;
 *      --thin: one shape in N (for slow machines and emulators; 3 with sanitizers)
 *   harness --trap-amx [--seed N] [--thin N]                the products of the level amx, instruction by instruction,
 * on a processor that has none of them harness --bench [--csv] [--level L] [--mb N] [--type T] GB/s of weights (one
 * column, matrix of N MB, larger than the caches), GMAC/s (64 columns), ns per element
 *
 * Buffers end at an inaccessible page, so an overread is a crash; bytes around outputs are checked. Bounds are derived:
 * a sum of n terms in any order is within n * eps * sum|terms| of the exact one; quantised products, packing and stores
 * are equal in bits. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kernel/kernel.h"
#include "kernel/kernel_list.h"
#include "kernel/pack.h"
#include "tests/tap.h"

#if defined(IG_KERNELS_X86)
#include "kernel/x86/tiles.h"
#endif
#if defined(IG_KERNELS_AMX)
#include "base/cpu.h"
#include "tests/kernel/amx_trap.h"
#endif

/* ---- random data ---- */

static uint64_t seed = 20261121;

static uint32_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}
static float uniform(void) { return (float)(int32_t)rnd() * 0x1p-31f; }
static float rnd_float(void) { return (uniform() + uniform() + uniform()) * (rnd() % 64 ? 1.0f : 20.0f); }

/* ---- buffers ---- */

enum { FRONT = 64, FILL = 0xA5 };

typedef struct box {
    uint8_t *data; /* n bytes that end `slack` bytes before an inaccessible page, FRONT guard bytes before them */
    size_t n, slack, mapped;
    uint8_t *map;
} box;

static box box_new(size_t n, size_t slack)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    box b = {.n = n, .slack = slack, .mapped = (n + slack + FRONT + page - 1) / page * page};
    b.map = mmap(NULL, b.mapped + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b.map == MAP_FAILED || mprotect(b.map + b.mapped, page, PROT_NONE)) abort();
    b.data = b.map + b.mapped - slack - n;
    memset(b.data - FRONT, FILL, n + slack + FRONT);
    return b;
}

/* n floats: aligned as floats are, and no better. */
static box floats_new(size_t n, size_t slack) { return box_new(n * sizeof(float), slack * sizeof(float)); }

static bool box_intact(const box *b)
{
    for (size_t i = 0; i < FRONT; i++)
        if (b->data[-1 - (ptrdiff_t)i] != FILL) return false;
    for (size_t i = 0; i < b->slack; i++)
        if (b->data[b->n + i] != FILL) return false;
    return true;
}

static void box_free(box *b)
{
    munmap(b->map, b->mapped + (size_t)sysconf(_SC_PAGESIZE));
    b->map = NULL;
}

static float get(const void *p, size_t i)
{
    float f;
    memcpy(&f, (const uint8_t *)p + 4 * i, 4);
    return f;
}
static void set(void *p, size_t i, float f) { memcpy((uint8_t *)p + 4 * i, &f, 4); }
/* Equal in bits; NaNs are all alike. */
static bool same(float a, float b) { return !memcmp(&a, &b, 4) || (isnan(a) && isnan(b)); }
static bool same_row(const void *a, const void *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!same(get(a, i), get(b, i))) return false;
    return true;
}

/* Near the end of the range a partial sum may overflow in one order and not in the other. */
static bool overflows(float got, float want, double magnitude)
{
    return magnitude > (double)FLT_MAX / 4 && (!isfinite(got) || !isfinite(want));
}

/* Whether two sums of n terms, rounded in different orders, may be of the same terms. magnitude: the sum of |term|. */
static bool near_sum(float got, float want, double magnitude, size_t n)
{
    if (same(got, want)) return true;
    if (!isfinite(magnitude)) return !isfinite(got) && !isfinite(want);
    if (overflows(got, want, magnitude)) return true;
    return fabs((double)got - (double)want) <= (double)(n + 3) * (double)FLT_EPSILON * magnitude + (double)n * 0x1p-148;
}

/* ---- weights ---- */

typedef enum data_kind { NORMAL, ZERO, SUBNORMAL, HUGE_VALUES, POISON, EXTREME, N_KINDS } data_kind;
static const char *const kind_names[] = {"normal", "zero", "subnormal", "huge", "NaN and Inf", "extreme codes"};

static uint16_t half(data_kind kind)
{
    switch (kind) {
    case ZERO: return (uint16_t)(rnd() & 0x8000);
    case SUBNORMAL: return (uint16_t)(rnd() & 0x83FF);
    case HUGE_VALUES: return (uint16_t)(0x7B00 | (rnd() & 0x80FF));
    case POISON: return (uint16_t)(rnd() % 4 ? 0x2000 | (rnd() & 0x8FFF) : 0x7C00 | (rnd() & 0x8001));
    default: return (uint16_t)(0x2000 | (rnd() & 0x8FFF));
    }
}

static float any_float(data_kind kind)
{
    switch (kind) {
    case ZERO: return rnd() % 2 ? 0.0f : -0.0f;
    case SUBNORMAL: return uniform() * 0x1p-130f;
    case HUGE_VALUES: return uniform() * 0x1p127f;
    case POISON: return rnd() % 40 ? rnd_float() : rnd() % 2 ? NAN : INFINITY;
    case EXTREME: return rnd() % 2 ? 1.0f : -1.0f;
    default: return rnd_float();
    }
}

static void put_half(uint8_t *p, data_kind kind)
{
    uint16_t h = half(kind);
    memcpy(p, &h, 2);
}

/* Where a block of random bytes needs a binary16 of the wanted kind; everything else may be anything. */
typedef struct halves {
    int type, n, at[2];
} halves;
static const halves half_places[] = {
    {IG_F16, 1, {0}},     {IG_Q4_0, 1, {0}},    {IG_Q4_1, 2, {0, 2}}, {IG_Q5_0, 1, {0}},    {IG_Q5_1, 2, {0, 2}},
    {IG_Q8_0, 1, {0}},    {IG_IQ4_NL, 1, {0}},  {IG_Q1_0, 1, {0}},    {IG_Q2_0, 1, {0}},    {IG_Q2_K, 2, {80, 82}},
    {IG_Q3_K, 1, {108}},  {IG_Q4_K, 2, {0, 2}}, {IG_Q5_K, 2, {0, 2}}, {IG_Q6_K, 1, {208}},  {IG_IQ4_XS, 1, {0}},
    {IG_IQ2_XXS, 1, {0}}, {IG_IQ2_XS, 1, {0}},  {IG_IQ2_S, 1, {0}},   {IG_IQ3_XXS, 1, {0}}, {IG_IQ3_S, 1, {0}},
    {IG_IQ1_S, 1, {0}},   {IG_TQ1_0, 1, {52}},  {IG_TQ2_0, 1, {64}},
};

static void put_scales(int type, uint8_t *p, data_kind kind)
{
    float f = any_float(kind);
    if (type == IG_F32) memcpy(p, &f, 4);
    if (type == IG_BF16) memcpy(p, (uint8_t *)&f + 2, 2);
    if (type == IG_MXFP4 && (kind == NORMAL || kind == EXTREME)) p[0] = (uint8_t)(110 + p[0] % 32);
    if (type == IG_IQ1_M) { /* a nibble in each of four numbers */
        uint16_t h = half(kind);
        for (int i = 0; i < 4; i++) p[49 + 2 * i] = (uint8_t)((p[49 + 2 * i] & 15) | (h >> 4 * i & 15) << 4);
    }
    for (size_t i = 0; i < sizeof half_places / sizeof *half_places; i++)
        for (int k = 0; half_places[i].type == type && k < half_places[i].n; k++)
            put_half(p + half_places[i].at[k], kind);
}

static void weights(int type, uint8_t *p, size_t n, data_kind kind)
{
    const ig_dtype_info *info = ig_dtype_row((uint32_t)type);
    for (size_t i = 0; i < n; i += info->block_elems, p += info->block_bytes) {
        for (size_t k = 0; k < info->block_bytes; k++)
            p[k] = (uint8_t)(kind == EXTREME ? (rnd() % 2 ? 0x7F : 0x80) : rnd());
        put_scales(type, p, kind);
    }
}

static size_t row_bytes(int type, size_t n)
{
    const ig_dtype_info *info = ig_dtype_row((uint32_t)type);
    return n / info->block_elems * info->block_bytes;
}

static bool is_float(int type) { return type == IG_F32 || type == IG_F16 || type == IG_BF16; }

typedef struct type_row {
    int id;
    const char *name;
} type_row;
#define X(id, name, pack) {IG_##id, #id},
static const type_row types[] = {IG_KERNEL_TYPES(X)};
#undef X
enum { N_TYPES = sizeof types / sizeof *types };

static const ig_kernels *ref;

/* ---- matrix products ---- */

/* Whether y is near the product of a row and a column: ref sums in binary64. */
static bool near_dot(int type, const uint8_t *w, const uint8_t *x, size_t n, float y, float want)
{
    if (same(y, want)) return true;
    float *wf = malloc((n + 1) * sizeof *wf);
    if (!wf) abort();
    ref->type[type].to_f32(w, wf, n);
    double magnitude = 0;
    for (size_t i = 0; i < n; i++) magnitude += fabs((double)wf[i] * (double)get(x, i));
    free(wf);
    return near_sum(y, want, magnitude, n);
}

typedef struct shape {
    size_t n, rows, cols, slack, pad;
    data_kind kind;
} shape;

/* Scratch memory for products of k. */
static void *room(const ig_kernels *k)
{
    static _Alignas(IG_ROOM_ALIGN) uint8_t bytes[1 << 20];
    if (k->room_bytes > sizeof bytes) abort();
    return k->room_bytes ? bytes : NULL;
}

/* Whether the product gives the same n floats of y without scratch memory. */
static bool same_without_room(const ig_type_kernels *t, ig_mul_args a, size_t n)
{
    float *with = malloc(n * sizeof *with + 1);
    bool good = true;
    if (!with) abort();
    memcpy(with, a.y, n * sizeof *with);
    a.room = NULL;
    t->mul(&a);
    for (size_t i = 0; i < n; i++) good = good && (same(a.y[i], with[i]) || !memcmp(&a.y[i], &with[i], sizeof *with));
    free(with);
    return good;
}

/* Either way of fetching weights ahead, whatever this CPU likes. */
static void fetch_apart(bool apart)
{
#if defined(IG_KERNELS_X86)
    ig_fetch_apart = apart;
#endif
    (void)apart;
}

/* Runs one product; returns what is wrong, or NULL. */
static const char *mul_once(const ig_kernels *k, int type, shape s)
{
    const ig_type_kernels *t = &k->type[type];
    size_t wb = row_bytes(type, s.n) + s.pad, xb = k->pack[t->pack].bytes(s.n) + s.pad, ys = s.rows + s.pad;
    box w = box_new(s.rows * wb, s.slack), x = box_new(s.cols * xb, s.slack);
    box src = floats_new(s.n, s.slack), y = floats_new(s.cols ? (s.cols - 1) * ys + s.rows : 0, s.slack);
    box one = floats_new(1, s.slack);
    for (size_t r = 0; r < s.rows; r++) weights(type, w.data + r * wb, s.n, s.kind);
    for (size_t c = 0; c < s.cols; c++) {
        for (size_t i = 0; i < s.n; i++) set(src.data, i, any_float(s.kind));
        ref->pack[t->pack].pack((const float *)(void *)src.data, x.data + c * xb, s.n);
    }
    ig_mul_args a = {w.data, wb, x.data, xb, (float *)(void *)y.data, ys, s.n, s.rows, s.cols, room(k)};
    bool apart = rnd() % 2;
    fetch_apart(apart);
    t->mul(&a);
    fetch_apart(!apart);
    const char *wrong = NULL;
    for (size_t c = 0; c < s.cols && !wrong; c++)
        for (size_t r = 0; r < s.rows && !wrong; r++) {
            float got = get(y.data, c * ys + r);
            ig_mul_args cell = {
                w.data + r * wb, wb, x.data + c * xb, xb, (float *)(void *)one.data, 1, s.n, 1, 1, NULL};
            t->mul(&cell);
            if (!same(got, get(one.data, 0))) wrong = "differs from the same cell alone";
            ref->type[type].mul(&cell);
            float want = get(one.data, 0);
            if (!is_float(type) && !same(got, want)) wrong = "differs from ref";
            if (is_float(type) && !near_dot(type, w.data + r * wb, x.data + c * xb, s.n, got, want))
                wrong = "beyond the bound";
            if (wrong) printf("# row %zu column %zu: %a, ref %a\n", r, c, (double)got, (double)want);
        }
    if (a.room && s.cols && !wrong && !same_without_room(t, a, (s.cols - 1) * ys + s.rows)) wrong = "needs its room";
    for (size_t c = 0; c + 1 < s.cols; c++)
        for (size_t i = 4 * (c * ys + s.rows); i < 4 * (c + 1) * ys; i++)
            if (y.data[i] != FILL) wrong = "wrote between columns";
    if (!box_intact(&y) || !box_intact(&one)) wrong = "wrote outside";
    box_free(&w);
    box_free(&x);
    box_free(&src);
    box_free(&y);
    box_free(&one);
    return wrong;
}

static uint32_t thin = 1;
static bool own;

/* The next weaker level that this CPU has, or NULL. */
static const ig_kernels *level_before(const ig_kernels *k)
{
    const ig_kernels *before = NULL;
    for (const char *const *name = ig_kernel_levels(); *name && strcmp(*name, k->level); name++) {
        const ig_kernels *known = ig_kernels_get(*name, NULL);
        if (known) before = known;
    }
    return before;
}

static void test_mul(const ig_kernels *k)
{
    static const size_t rows[] = {1, 2, 3, 5, 33, 45}, cols[] = {1, 2, 3, 4, 5, 7, 9, 17, 37};
    static const size_t plain[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 127, 129, 257};
    static const size_t blocks[] = {0, 1, 2, 3, 5, 8, 37}; /* 37 of 32 are more than a panel holds */
    const ig_kernels *before = own ? level_before(k) : NULL;
    for (int t = 0; t < N_TYPES; t++) {
        int type = types[t].id;
        size_t block = ig_dtype_row((uint32_t)type)->block_elems,
               n_sizes = block == 1    ? 19
                         : block < 256 ? 7
                                       : 6,
               n_cols = strncmp(k->level, "amx", 3) ? 8 : 9, cases = 0; /* the last: three of its groups of columns */
        const char *wrong = NULL;
        shape s = {0};
        if (before && before->type[type].mul == k->type[type].mul) continue;
        for (size_t i = 0; i < n_sizes && !wrong; i++)
            for (size_t r = 0; r < 6 && !wrong; r++)
                for (size_t c = 0; c < n_cols && !wrong; c++) {
                    bool odd = rnd() % 2;
                    if (thin > 1 && rnd() % thin) continue;
                    s = (shape){block == 1 ? plain[i] : blocks[i] * block,
                                rows[r],
                                cols[c],
                                odd ? 1 + rnd() % 60 : 0,
                                odd ? rnd() % 9 : 0,
                                cases % 3 ? NORMAL : (data_kind)(rnd() % N_KINDS)};
                    wrong = mul_once(k, type, s);
                    cases++;
                }
        if (wrong)
            tap_ok(false, "%s mul %s: n %zu rows %zu columns %zu slack %zu pad %zu %s: %s", k->level, types[t].name,
                   s.n, s.rows, s.cols, s.slack, s.pad, kind_names[s.kind], wrong);
        else
            tap_ok(true, "%s mul %s: %zu shapes", k->level, types[t].name, cases);
    }
}

/* ---- decoding, packing, KV rows ---- */

static bool same_bytes(const box *a, const box *b) { return a->n == b->n && !memcmp(a->data, b->data, a->n); }

static void test_decode(const ig_kernels *k)
{
    const ig_kernels *before = own ? level_before(k) : NULL;
    for (int t = 0; t < N_TYPES; t++) {
        int type = types[t].id;
        size_t block = ig_dtype_row((uint32_t)type)->block_elems;
        bool good = true;
        if (before && before->type[type].to_f32 == k->type[type].to_f32) continue;
        for (size_t i = 0; i < 60; i++) {
            size_t n = (block == 1 ? i : i % 6) * block;
            box w = box_new(row_bytes(type, n), i % 3), a = floats_new(n, i % 5), b = floats_new(n, i % 7);
            weights(type, w.data, n, (data_kind)(i % N_KINDS));
            k->type[type].to_f32(w.data, (float *)(void *)a.data, n);
            ref->type[type].to_f32(w.data, (float *)(void *)b.data, n);
            good = good && same_row(a.data, b.data, n) && box_intact(&a);
            box_free(&w);
            box_free(&a);
            box_free(&b);
        }
        tap_ok(good, "%s decode %s: equal to ref", k->level, types[t].name);
    }
}

static void floats(box *b, data_kind kind)
{
    for (size_t i = 0; i < b->n / 4; i++) set(b->data, i, any_float(kind));
}

static void test_pack(const ig_kernels *k)
{
    static const char *const names[] = {"F32", "Q8", "Q8K"};
    for (int form = 0; form < IG_PACK_COUNT; form++) {
        size_t block = form == IG_PACK_F32 ? 1 : form == IG_PACK_Q8 ? 32 : 256;
        bool good = true;
        for (size_t i = 0; i < 240; i++) {
            size_t n = i / N_KINDS % 9 * block;
            box src = floats_new(n, i % 5), a = box_new(k->pack[form].bytes(n), i % 7),
                b = box_new(ref->pack[form].bytes(n), i % 7);
            floats(&src, (data_kind)(i % N_KINDS));
            if (n > 4 && i % 11 == 0)
                set(src.data, n / 2, 0x1.fffffep-117f); /* just under IG_PACK_TINY alone, a max otherwise */
            k->pack[form].pack((const float *)(void *)src.data, a.data, n);
            ref->pack[form].pack((const float *)(void *)src.data, b.data, n);
            good = good && same_bytes(&a, &b) && box_intact(&a);
            box_free(&src);
            box_free(&a);
            box_free(&b);
        }
        tap_ok(good, "%s pack %s: equal to ref", k->level, names[form]);
    }
}

/* One set of keys through store, scores and mix. Returns what is wrong, or NULL. */
static const char *kv_once(const ig_kernels *k, int form, size_t n, size_t keys, data_kind kind)
{
    const ig_kv_kernels *kv = &k->kv[form], *want = &ref->kv[form];
    size_t bytes = kv->bytes(n), pad = rnd() % 3 * 5, stride = bytes + pad;
    box src = floats_new(n, rnd() % 5), a = box_new(bytes, rnd() % 9), b = box_new(bytes, 0),
        q = floats_new(n, rnd() % 5);
    box rows = box_new(keys ? keys * stride - pad : 0, rnd() % 9), s = floats_new(keys, 4), t = floats_new(keys, 0);
    box one = floats_new(1, 3), x = floats_new(n, 8), y = floats_new(n, 0), z = floats_new(n, 0);
    const char *wrong = NULL;
    for (size_t j = 0; j < keys; j++) {
        floats(&src, kind);
        kv->store((const float *)(void *)src.data, a.data, n);
        want->store((const float *)(void *)src.data, b.data, n);
        bool equal = same_bytes(&a, &b);
        if (form == IG_KV_F16 && !equal) { /* NaNs may differ in their payload */
            equal = true;
            for (size_t i = 0; i < n; i++) {
                uint16_t h[2];
                memcpy(&h[0], a.data + 2 * i, 2);
                memcpy(&h[1], b.data + 2 * i, 2);
                if (h[0] != h[1] && !((h[0] & 0x7FFF) > 0x7C00 && (h[1] & 0x7FFF) > 0x7C00)) equal = false;
            }
        }
        if (!equal) wrong = "store differs from ref";
        memcpy(rows.data + j * stride, b.data, bytes);
    }
    floats(&q, NORMAL);
    const float *qf = (const float *)(void *)q.data;
    kv->scores(qf, rows.data, stride, 0.125f, (float *)(void *)s.data, n, keys);
    want->scores(qf, rows.data, stride, 0.125f, (float *)(void *)t.data, n, keys);
    for (size_t j = 0; j < keys; j++) {
        kv->scores(qf, rows.data + j * stride, stride, 0.125f, (float *)(void *)one.data, n, 1);
        if (!same(get(one.data, 0), get(s.data, j))) wrong = "a score depends on the other keys";
        double magnitude = 0;
        for (size_t i = 0; i < n; i++) { /* decoded through mix: 0 + 1 * v */
            float v = 0, e[1] = {1};
            if (form == IG_KV_Q8_0) {
                float block[32];
                ref->type[IG_Q8_0].to_f32(rows.data + j * stride + i / 32 * 34, block, 32);
                v = block[i % 32];
            } else
                want->mix(e, rows.data + j * stride + i * (form == IG_KV_F16 ? 2 : 4), stride, &v, 1, 1);
            magnitude += fabs((double)v * (double)qf[i]);
        }
        float got = get(s.data, j), expected = get(t.data, j); /* sums times 0.125 */
        if (!overflows(got, expected, magnitude) && !near_sum(got, expected, 0.125 * magnitude, n))
            wrong = "a score is beyond the bound";
    }
    floats(&x, NORMAL);
    memcpy(y.data, x.data, n * 4);
    memcpy(z.data, x.data, n * 4);
    size_t cut = keys ? rnd() % (keys + 1) : 0;
    for (size_t j = 0; j < keys; j++) set(t.data, j, uniform());
    const float *p = (const float *)(void *)t.data;
    kv->mix(p, rows.data, stride, (float *)(void *)x.data, n, keys);
    want->mix(p, rows.data, stride, (float *)(void *)y.data, n, keys);
    kv->mix(p, rows.data, stride, (float *)(void *)z.data, n, cut);
    kv->mix(p + cut, rows.data + cut * stride, stride, (float *)(void *)z.data, n, keys - cut);
    if (!same_row(x.data, y.data, n)) wrong = "mix differs from ref";
    if (!same_row(x.data, z.data, n)) wrong = "mix depends on where it is cut";
    if (!box_intact(&a) || !box_intact(&s) || !box_intact(&x) || !box_intact(&one)) wrong = "wrote outside";
    box *all[] = {&src, &a, &b, &q, &rows, &s, &t, &one, &x, &y, &z};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) box_free(all[i]);
    return wrong;
}

/* Several queries at once against one after the other. */
static const char *kv_together(const ig_kernels *k, int form, size_t n, size_t keys, size_t n_q)
{
    enum { Q_MAX = 11 };
    const ig_kv_kernels *kv = &k->kv[form];
    size_t stride = kv->bytes(n), s_stride = keys + rnd() % 3;
    box src = floats_new(n, 0), rows = box_new(keys * stride, rnd() % 9), s = floats_new(n_q * s_stride, 4),
        t = floats_new(keys, 3), q[Q_MAX], x[Q_MAX], y[Q_MAX];
    const float *qs[Q_MAX];
    float *accs[Q_MAX];
    const char *wrong = NULL;
    for (size_t j = 0; j < keys; j++) {
        floats(&src, NORMAL);
        kv->store((const float *)(void *)src.data, rows.data + j * stride, n);
    }
    for (size_t c = 0; c < n_q; c++) {
        q[c] = floats_new(n, rnd() % 5);
        x[c] = floats_new(n, rnd() % 5);
        y[c] = floats_new(n, 0);
        floats(&q[c], NORMAL);
        floats(&x[c], NORMAL);
        memcpy(y[c].data, x[c].data, n * 4);
        qs[c] = (const float *)(void *)q[c].data;
        accs[c] = (float *)(void *)x[c].data;
    }
    memset(s.data, 0, n_q * s_stride * 4);
    kv->scores_of(qs, n_q, rows.data, stride, 0.125f, (float *)(void *)s.data, s_stride, n, keys);
    kv->mix_of((const float *)(void *)s.data, s_stride, rows.data, stride, accs, n_q, n, keys);
    for (size_t c = 0; c < n_q; c++) {
        const float *weights = (const float *)(void *)(s.data + c * s_stride * 4);
        kv->scores(qs[c], rows.data, stride, 0.125f, (float *)(void *)t.data, n, keys);
        if (!same_row(t.data, s.data + c * s_stride * 4, keys)) wrong = "a score depends on the other queries";
        kv->mix(weights, rows.data, stride, (float *)(void *)y[c].data, n, keys);
        if (!same_row(x[c].data, y[c].data, n)) wrong = "mix depends on the other queries";
        if (!box_intact(&x[c]) || !box_intact(&q[c])) wrong = "wrote outside";
        box_free(&q[c]);
        box_free(&x[c]);
        box_free(&y[c]);
    }
    if (!box_intact(&s) || !box_intact(&rows)) wrong = "wrote outside";
    box_free(&src);
    box_free(&rows);
    box_free(&s);
    box_free(&t);
    return wrong;
}

static float *at_float(const box *b) { return (float *)(void *)b->data; }

/* One query, as ig_kv_kernels.attend has it, in the words of the level's other kernels. */
static void attend_alone(const ig_kernels *k, int form, const ig_attend_args *a, const float *q, float *max, float *sum,
                         float *acc)
{
    const ig_kv_kernels *kv = &k->kv[form];
    box s = floats_new(a->n_keys, 0);
    float *scores = at_float(&s);
    kv->scores(q, a->k, a->k_stride, a->scale, scores, a->n_k, a->n_keys);
    float top = k->max(scores, a->n_keys);
    if (top > *max) {
        if (*max > -INFINITY) {
            float shrink = *max;
            shrink = k->exp_sum(&shrink, top, 1);
            *sum *= shrink;
            k->scale(acc, shrink, a->n_v);
        }
        *max = top;
    }
    *sum += k->exp_sum(scores, *max, a->n_keys);
    kv->mix(scores, a->v, a->v_stride, acc, a->n_v, a->n_keys);
    box_free(&s);
}

/* Two pages of keys for many queries side by side, against each query alone. */
static const char *kv_beside(const ig_kernels *k, int form, size_t n_k, size_t n_v, size_t keys, size_t n_q)
{
    const ig_kv_kernels *kv = &k->kv[form];
    size_t k_stride = kv->bytes(n_k) + rnd() % 2 * 34, v_stride = kv->bytes(n_v) + rnd() % 2 * 34;
    size_t wide = n_k > n_v ? n_k : n_v;
    box rows[2][2], q = floats_new(n_q * n_k, 0), side = floats_new(n_q * n_k, 0), acc = floats_new(n_q * n_v, 0),
                    max = floats_new(n_q, 0), sum = floats_new(n_q, 0), s = floats_new(n_q * keys, 0),
                    room = floats_new(IG_SIDE * wide, 0), one = floats_new(n_v, 0), row = floats_new(wide, 0);
    const char *wrong = NULL;
    floats(&q, NORMAL);
    for (size_t c = 0; c < n_q; c++)
        for (size_t i = 0; i < n_k; i++)
            set(side.data, (c / IG_SIDE * n_k + i) * IG_SIDE + c % IG_SIDE, get(q.data, c * n_k + i));
    for (size_t c = 0; c < n_q; c++) {
        set(max.data, c, -INFINITY);
        set(sum.data, c, 0);
    }
    memset(acc.data, 0, n_q * n_v * 4);
    ig_attend_args a = {.q = at_float(&side),
                        .k_stride = k_stride,
                        .v_stride = v_stride,
                        .scale = 0.25f,
                        .n_q = n_q,
                        .n_k = n_k,
                        .n_v = n_v,
                        .n_keys = keys,
                        .max = at_float(&max),
                        .sum = at_float(&sum),
                        .acc = at_float(&acc),
                        .s = at_float(&s),
                        .room = at_float(&room)};
    for (size_t page = 0; page < 2; page++) {
        rows[page][0] = box_new(keys * k_stride, rnd() % 9);
        rows[page][1] = box_new(keys * v_stride, rnd() % 9);
        for (size_t j = 0; j < keys; j++) {
            floats(&row, NORMAL);
            kv->store(at_float(&row), rows[page][0].data + j * k_stride, n_k);
            kv->store(at_float(&row), rows[page][1].data + j * v_stride, n_v);
        }
    }
    for (size_t page = 0; page < 2; page++) {
        a.k = rows[page][0].data;
        a.v = rows[page][1].data;
        a.next_k = page ? NULL : rows[1][0].data;
        a.next_v = page ? NULL : rows[1][1].data;
        kv->attend(&a);
    }
    for (size_t c = 0; c < n_q; c++) {
        float top = -INFINITY, total = 0;
        memset(one.data, 0, n_v * 4);
        for (size_t page = 0; page < 2; page++) {
            a.k = rows[page][0].data;
            a.v = rows[page][1].data;
            attend_alone(k, form, &a, at_float(&q) + c * n_k, &top, &total, at_float(&one));
        }
        if (!same(top, get(max.data, c))) wrong = "the greatest score differs";
        if (!same(total, get(sum.data, c))) wrong = "the sum of weights differs";
        if (!same_row(one.data, acc.data + c * n_v * 4, n_v)) wrong = "the weighted sum of values differs";
    }
    box *all[] = {&rows[0][0], &rows[0][1], &rows[1][0], &rows[1][1], &q,   &side, &acc,
                  &max,        &sum,        &s,          &room,       &one, &row};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!box_intact(all[i])) wrong = "wrote outside";
        box_free(all[i]);
    }
    return wrong;
}

static void test_beside(const ig_kernels *k, int form, const char *name)
{
    static const struct {
        size_t n_k, n_v, keys, n_q;
    } shapes[] = {{16, 16, 16, 16},   {64, 64, 64, 64},  {128, 128, 64, 32}, {80, 96, 32, 48},
                  {192, 128, 48, 16}, {112, 48, 16, 80}, {256, 256, 64, 16}, {576, 512, 16, 16}};
    if (!k->kv[form].attend) return;
    const char *wrong = NULL;
    size_t i = 0;
    for (; i < sizeof shapes / sizeof *shapes && !wrong; i++)
        wrong = kv_beside(k, form, shapes[i].n_k, shapes[i].n_v, shapes[i].keys, shapes[i].n_q);
    tap_ok(!wrong, "%s KV %s: queries side by side as each alone%s%s", k->level, name, wrong ? ": " : "",
           wrong ? wrong : "");
    if (wrong)
        printf("# heads of %zu and %zu, %zu keys, %zu queries\n", shapes[i - 1].n_k, shapes[i - 1].n_v,
               shapes[i - 1].keys, shapes[i - 1].n_q);
}

static const char *const kv_names[] = {"F32", "F16", "Q8_0"};

static void test_kv(const ig_kernels *k)
{
    static const size_t sizes[] = {0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 80, 127, 128, 129, 256, 293};
    static const size_t keys[] = {0, 1, 2, 3, 4, 5, 9, 33};
    for (int form = 0; form < IG_KV_COUNT; form++) {
        const char *wrong = NULL;
        size_t i = 0;
        for (; i < 18 * 8 && !wrong; i++)
            wrong = kv_once(k, form, sizes[i / 8], keys[i % 8], i % 3 ? NORMAL : (data_kind)(rnd() % N_KINDS));
        tap_ok(!wrong, "%s KV %s: store and mix equal to ref, scores within the bound%s%s", k->level, kv_names[form],
               wrong ? ": " : "", wrong ? wrong : "");
        if (wrong) printf("# n %zu keys %zu\n", sizes[(i - 1) / 8], keys[(i - 1) % 8]);
        wrong = NULL;
        for (i = 0; i < 18 * 8 && !wrong; i++) wrong = kv_together(k, form, sizes[i / 8], keys[i % 8], 1 + i * 5 % 11);
        tap_ok(!wrong, "%s KV %s: several queries as one after the other%s%s", k->level, kv_names[form],
               wrong ? ": " : "", wrong ? wrong : "");
        if (wrong) printf("# n %zu keys %zu\n", sizes[(i - 1) / 8], keys[(i - 1) % 8]);
        test_beside(k, form, kv_names[form]);
    }
}
/* ---- element-wise, reductions, rotation ---- */

/* Calls an element-wise entry on copies: out = f(a, b). */
typedef void unary(const ig_kernels *k, float *y, const float *x, size_t n);
static void call_add(const ig_kernels *k, float *y, const float *x, size_t n) { k->add(y, x, n); }
static void call_add_scaled(const ig_kernels *k, float *y, const float *x, size_t n) { k->add_scaled(y, x, 0.7f, n); }
static void call_scale(const ig_kernels *k, float *y, const float *x, size_t n) { (void)x, k->scale(y, 1.3f, n); }
static void call_silu(const ig_kernels *k, float *y, const float *x, size_t n) { k->glu[IG_ACT_SILU](y, x, y, n); }
static void call_exp(const ig_kernels *k, float *y, const float *x, size_t n) { (void)x, k->exp_sum(y, 0.5f, n); }
static void call_rms(const ig_kernels *k, float *y, const float *x, size_t n) { k->rms_norm(y, x, 1e-5f, y, n); }
static void call_rms_plain(const ig_kernels *k, float *y, const float *x, size_t n)
{
    (void)x, k->rms_norm(y, NULL, 1e-6f, y, n);
}
/* x has 2 * (n / 2) cosines and sines. */
static void call_rope_norm(const ig_kernels *k, float *y, const float *x, size_t n) { k->rope_norm(y, x, n / 2); }
static void call_rope_neox(const ig_kernels *k, float *y, const float *x, size_t n) { k->rope_neox(y, x, n / 2); }

typedef struct op {
    const char *name;
    unary *call;
    double ulps; /* allowed against ref, in eps of the result; 0: equal in bits */
    bool alone;  /* every element has the value that it has alone */
} op;
/* silu: exp 2 ulp, sum, quotient and product half each, ref as much again. rms_norm: the factor and two products on
 * either side. */
static const op ops[] = {
    {"add", call_add, 0, true},
    {"add_scaled", call_add_scaled, 0, true},
    {"scale", call_scale, 0, true},
    {"silu_mul", call_silu, 6, true},
    {"exp_sum", call_exp, 4, true},
    {"rms_norm", call_rms, 4, false},
    {"rms_norm, no weights", call_rms_plain, 3, false},
    {"rope_norm", call_rope_norm, 0, false},
    {"rope_neox", call_rope_neox, 0, false},
};
enum { N_OPS = sizeof ops / sizeof *ops };

static const char *op_once(const ig_kernels *k, const op *o, size_t n, data_kind kind)
{
    box x = floats_new(n, rnd() % 9), y = floats_new(n, rnd() % 9), z = floats_new(n, 0);
    const char *wrong = NULL;
    floats(&x, kind);
    floats(&y, kind);
    memcpy(z.data, y.data, n * 4);
    box start = floats_new(n, 0);
    memcpy(start.data, y.data, n * 4);
    const float *xf = (const float *)(void *)x.data;
    o->call(k, (float *)(void *)y.data, xf, n);
    o->call(ref, (float *)(void *)z.data, xf, n);
    for (size_t i = 0; i < n; i++) {
        float got = get(y.data, i), want = get(z.data, i);
        double bound = o->ulps * ((double)FLT_EPSILON * fabs((double)want) + 0x1p-149);
        bool near = same(got, want) || (o->ulps > 0 && fabs((double)got - (double)want) <= bound);
        /* Intermediates at the ends of the range: exp(-x) overflows, x * f is subnormal before the weight. */
        if (!near && o->ulps > 0 && kind == HUGE_VALUES) near = isfinite(got) == isfinite(want);
        if (!near && o->ulps > 0 && kind == SUBNORMAL) near = fabs((double)got - (double)want) <= 0x1p-148;
        if (!near) wrong = "differs from ref";
        if (o->alone) {
            float a = get(start.data, i), b = get(x.data, i);
            o->call(k, &a, &b, 1);
            if (!same(a, got)) wrong = "depends on the place in the row";
        }
        if (wrong) {
            printf("# element %zu of %zu, %s: %a, ref %a, from %a\n", i, n, kind_names[kind], (double)got, (double)want,
                   (double)get(start.data, i));
            break;
        }
    }
    if (!box_intact(&y)) wrong = "wrote outside";
    box_free(&x);
    box_free(&y);
    box_free(&z);
    box_free(&start);
    return wrong;
}

/* exp over the whole range of floats, against binary64. */
static double exp_worst(const ig_kernels *k)
{
    double worst = 0;
    for (uint64_t from = 0; from < 1ull << 32; from += 64 * 4099) {
        float x[64], y[64];
        for (uint32_t i = 0; i < 64; i++) {
            uint32_t bits = (uint32_t)from + i * 4099;
            memcpy(&x[i], &bits, 4);
        }
        memcpy(y, x, sizeof x);
        k->exp_sum(y, 0, 64);
        for (int i = 0; i < 64; i++) {
            double want = exp((double)x[i]);
            if (isnan(x[i]) ? isnan(y[i]) : want >= 0x1.ffffffp127 ? isinf(y[i]) : false) continue;
            if (x[i] < IG_EXP_LEAST) want = 0;
            double ulp = want > 0 ? ldexp(1, ilogb(want) - 23) : 0x1p-149, off = fabs((double)y[i] - want) / ulp;
            if (!(off <= worst)) worst = off;
        }
    }
    return worst;
}

static void test_sums(const ig_kernels *k)
{
    bool max_good = true, sum_good = true;
    for (size_t i = 0; i < 600; i++) {
        size_t n = i % 100;
        box x = floats_new(n, i % 3), y = floats_new(n, 0);
        floats(&x, i % 2 ? NORMAL : (data_kind)(rnd() % N_KINDS));
        if (i % 5 == 0)
            for (size_t j = 0; j < n; j++) set(x.data, j, -fabsf(get(x.data, j)));
        if (i % 7 == 0 && n) set(x.data, rnd() % n, -INFINITY);
        memcpy(y.data, x.data, n * 4);
        float m = k->max((const float *)(void *)x.data, n), want = ref->max((const float *)(void *)x.data, n);
        max_good = max_good && (m == want);
        if (!isfinite(want)) want = 1;
        float got = k->exp_sum((float *)(void *)x.data, want, n);
        double exact = 0;
        for (size_t j = 0; j < n; j++) exact += (double)get(x.data, j); /* of the values it wrote */
        sum_good = sum_good && near_sum(got, (float)exact, exact, n) && box_intact(&x);
        for (size_t j = 0; j < n; j++)
            if (get(y.data, j) <= -INFINITY && get(x.data, j) != 0) sum_good = false;
        box_free(&x);
        box_free(&y);
    }
    tap_ok(max_good, "%s max: equal to ref", k->level);
    tap_ok(sum_good, "%s exp_sum: the sum of what it wrote; exp(-inf) = 0", k->level);
    double worst = exp_worst(k);
    tap_ok(worst <= 2, "%s exp: at most 2 ulp off (%.3f)", k->level, worst);
}

/* recall and learn against the entries that they stand for. */
static const char *state_once(const ig_kernels *k, size_t n, data_kind kind)
{
    box s = floats_new(n * n, 0), rows = floats_new(n * n, 0), x = floats_new(4 * n, 0), e = floats_new(n, 0),
        o = floats_new(n, 0), e2 = floats_new(n, 0), o2 = floats_new(n, 0);
    const float *decay = at_float(&x), *key = decay + n, *q = key + n;
    const char *wrong = NULL;
    floats(&s, kind);
    floats(&x, kind);
    floats(&e, kind);
    floats(&o, kind);
    memcpy(rows.data, s.data, s.n);
    memcpy(e2.data, e.data, e.n);
    memcpy(o2.data, o.data, o.n);
    k->recall(at_float(&s), decay, key, at_float(&e), n);
    for (size_t j = 0; j < n; j++) k->scale(at_float(&rows) + j * n, decay[j], n);
    k->kv[IG_KV_F32].mix(key, rows.data, n * sizeof(float), at_float(&e2), n, n);
    if (!same_row(e.data, e2.data, n) || !same_row(s.data, rows.data, n * n)) wrong = "recall differs";
    k->learn(at_float(&s), key, at_float(&e), q, at_float(&o), n);
    for (size_t j = 0; j < n; j++) k->add_scaled(at_float(&rows) + j * n, at_float(&e2), key[j], n);
    k->kv[IG_KV_F32].mix(q, rows.data, n * sizeof(float), at_float(&o2), n, n);
    if (!same_row(o.data, o2.data, n) || !same_row(s.data, rows.data, n * n)) wrong = "learn differs";
    box *all[] = {&s, &rows, &x, &e, &o, &e2, &o2};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!box_intact(all[i])) wrong = "wrote outside";
        box_free(all[i]);
    }
    return wrong;
}

static void test_state(const ig_kernels *k)
{
    const char *wrong = NULL;
    size_t n = 0;
    for (; n < 140 && !wrong; n++) wrong = state_once(k, n, n % 3 ? NORMAL : (data_kind)(rnd() % N_KINDS));
    tap_ok(!wrong, "%s recall, learn: as scale, add_scaled and mix%s%s", k->level, wrong ? ": " : "",
           wrong ? wrong : "");
    if (wrong) printf("# n %zu\n", n - 1);
}

static void test_ops(const ig_kernels *k)
{
    for (int o = 0; o < N_OPS; o++) {
        const char *wrong = NULL;
        size_t i = 0;
        for (; i < 420 && !wrong; i++)
            wrong = op_once(k, &ops[o], i < 210 ? i / 3 : rnd() % 400, i % 3 ? NORMAL : (data_kind)(rnd() % N_KINDS));
        tap_ok(!wrong, "%s %s%s%s", k->level, ops[o].name, wrong ? ": " : "", wrong ? wrong : "");
    }
    test_sums(k);
    test_state(k);
}

/* ---- timing ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds of one product, the best of several. */
static double time_mul(const ig_kernels *k, int type, size_t n, size_t rows, size_t cols, double budget)
{
    const ig_type_kernels *t = &k->type[type];
    size_t wb = row_bytes(type, n), xb = k->pack[t->pack].bytes(n);
    uint8_t *w = malloc(rows * wb), *x = malloc(cols * xb);
    float *src = malloc(n * sizeof *src), *y = malloc(rows * cols * sizeof *y);
    if (!w || !x || !src || !y) abort();
    weights(type, w, n, NORMAL);
    for (size_t r = 1; r < rows; r++) memcpy(w + r * wb, w, wb);
    for (size_t c = 0; c < cols; c++) {
        for (size_t i = 0; i < n; i++) src[i] = rnd_float();
        k->pack[t->pack].pack(src, x + c * xb, n);
    }
    ig_mul_args a = {w, wb, x, xb, y, rows, n, rows, cols, room(k)};
    double best = 1e9, start = now();
    do {
        double from = now();
        t->mul(&a);
        double took = now() - from;
        if (took < best) best = took;
    } while (now() - start < budget);
    free(w);
    free(x);
    free(src);
    free(y);
    return best;
}

static size_t megabytes = 192; /* of weights, for one column */
static const char *bench_type; /* the only one, or NULL */

static void bench_mul(const ig_kernels *k, bool csv)
{
    for (int t = 0; t < N_TYPES; t++) {
        int type = types[t].id;
        size_t n = 4096, many = (megabytes << 20) / row_bytes(type, n);
        bool slow = !strcmp(k->level, "ref");
        if (slow) many /= 16;
        size_t rows = slow ? 64 : 512;
        if (bench_type && strcmp(bench_type, types[t].name)) continue;
        const struct {
            const char *what;
            double value;
        } out[] = {
            {"GB/s", (double)(many * row_bytes(type, n)) / time_mul(k, type, n, many, 1, 0.5) * 1e-9},
            {"GMAC/s of 4", (double)(many * n * 4) / time_mul(k, type, n, many, 4, 0.5) * 1e-9},
            {"GMAC/s", (double)(rows * n * 64) / time_mul(k, type, n, rows, 64, 0.5) * 1e-9},
        };
        for (size_t i = 0; csv && i < 3; i++)
            printf("%s,mul %s,%s,%.2f\n", k->level, types[t].name, out[i].what, out[i].value);
        if (!csv)
            printf("%-7s %-7s %7.1f GB/s %8.1f GMAC/s, 4 columns %8.1f GMAC/s, 64 columns\n", k->level, types[t].name,
                   out[0].value, out[1].value, out[2].value);
        fflush(stdout);
    }
}

static void report(const ig_kernels *k, const char *name, double ns, bool csv)
{
    if (csv)
        printf("%s,%s,ns/element,%.4f\n", k->level, name, ns);
    else
        printf("%-7s %-22s %8.4f ns/element\n", k->level, name, ns);
}

/* Best time of one call in ns per element, n elements. */
#define TIME(n, call)                                                                                                  \
    __extension__({                                                                                                    \
        double best_ = 1e9, start_ = now();                                                                            \
        do {                                                                                                           \
            double from_ = now();                                                                                      \
            for (int i_ = 0; i_ < 16; i_++) {                                                                          \
                call;                                                                                                  \
            }                                                                                                          \
            double took_ = now() - from_;                                                                              \
            if (took_ < best_) best_ = took_;                                                                          \
        } while (now() - start_ < 0.05);                                                                               \
        best_ * 1e9 / 16 / (double)(n);                                                                                \
    })

static void bench_others(const ig_kernels *k, bool csv)
{
    enum { N = 4096, HEAD = 128, KEYS = 512 };
    static float x[N], y[N], q[HEAD], s[KEYS];
    static uint8_t packed[N * 4], rows[KEYS * HEAD * 4];
    char name[32];
    for (int i = 0; i < N; i++) x[i] = y[i] = uniform();
    for (int i = 0; i < HEAD; i++) q[i] = uniform();
    report(k, "pack Q8", TIME(N, k->pack[IG_PACK_Q8].pack(x, packed, N)), csv);
    report(k, "pack Q8K", TIME(N, k->pack[IG_PACK_Q8K].pack(x, packed, N)), csv);
    for (int form = 0; form < IG_KV_COUNT; form++) {
        const ig_kv_kernels *kv = &k->kv[form];
        size_t stride = kv->bytes(HEAD);
        for (size_t j = 0; j < KEYS; j++) kv->store(x + j % 16 * HEAD, rows + j * stride, HEAD);
        snprintf(name, sizeof name, "KV %s store", kv_names[form]);
        report(k, name, TIME(HEAD, kv->store(x, rows, HEAD)), csv);
        snprintf(name, sizeof name, "KV %s scores", kv_names[form]);
        report(k, name, TIME(HEAD * KEYS, kv->scores(q, rows, stride, 0.1f, s, HEAD, KEYS)), csv);
        for (int j = 0; j < KEYS; j++) s[j] = 0.001f;
        memset(y, 0, HEAD * sizeof *y);
        snprintf(name, sizeof name, "KV %s mix", kv_names[form]);
        report(k, name, TIME(HEAD * KEYS, kv->mix(s, rows, stride, y, HEAD, KEYS)), csv);
    }
    for (int i = 0; i < N; i++) y[i] = uniform();
    report(k, "rms_norm", TIME(N, k->rms_norm(x, x, 1e-5f, y, N)), csv);
    report(k, "add", TIME(N, k->add(y, x, N)), csv);
    report(k, "add_scaled", TIME(N, k->add_scaled(y, x, 1e-3f, N)), csv);
    report(k, "scale", TIME(N, k->scale(y, 1, N)), csv);
    report(k, "silu_mul", TIME(N, k->glu[IG_ACT_SILU](x, x, y, N)), csv);
    volatile float kept = 0;
    report(k, "max", TIME(N, kept = k->max(x, N)), csv);
    report(k, "exp_sum", TIME(N, kept = k->exp_sum(y, 0.5f, N)), csv);
    report(k, "rope_norm", TIME(2 * N / 4, k->rope_norm(y, x, N / 4)), csv);
    report(k, "rope_neox", TIME(2 * N / 4, k->rope_neox(y, x, N / 4)), csv);
    (void)kept;
}

static void bench_level(const ig_kernels *k, bool csv)
{
    bench_mul(k, csv);
    if (!bench_type) bench_others(k, csv);
}

static void test_level(const ig_kernels *k)
{
    test_mul(k);
    test_decode(k);
    const ig_kernels *before = own ? level_before(k) : NULL;
    size_t others = offsetof(ig_kernels, pack); /* what is no product and no decoding comes from here on */
    if (before && !memcmp((const char *)k + others, (const char *)before + others, sizeof *k - others)) return;
    test_pack(k);
    test_kv(k);
    test_ops(k);
}

/* Products of the level amx where the CPU has no AMX. */
static int test_trapped(void)
{
#if defined(IG_KERNELS_AMX)
    ig_error err = {0};
    const ig_kernels *below = ig_kernels_get("avx512", &err);
    if (!below || !(ig_cpu_flags() & IG_CPU_AVX512VNNI))
        tap_skip("AMX, trapped", "this CPU has no AVX-512 VNNI");
    else if (ig_cpu_flags() & IG_CPU_AMX)
        tap_skip("AMX, trapped", "this CPU has AMX: the level itself is tested");
    else {
        ig_kernels k = *below;
        own = true;
        ig_kernels_fill_amx(&k, ig_cpu_flags());
        k.level = "amx, trapped";
        trap_amx();
        test_mul(&k);
        tap_ok(n_trapped > 0, "%lu instructions were trapped", (unsigned long)n_trapped);
    }
#else
    tap_skip("AMX, trapped", "not compiled");
#endif
    return tap_done();
}

int main(int argc, char **argv)
{
    bool bench = false, csv = false, trap = false;
    const char *only = NULL;
    if (tap_sanitized) thin = 3;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench"))
            bench = true;
        else if (!strcmp(argv[i], "--csv"))
            csv = true;
        else if (!strcmp(argv[i], "--own"))
            own = true;
        else if (!strcmp(argv[i], "--trap-amx"))
            trap = true;
        else if (!strcmp(argv[i], "--thin") && i + 1 < argc)
            thin = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--level") && i + 1 < argc)
            only = argv[++i];
        else if (!strcmp(argv[i], "--type") && i + 1 < argc)
            bench_type = argv[++i];
        else if (!strcmp(argv[i], "--mb") && i + 1 < argc)
            megabytes = strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10) | 1;
        else {
            fprintf(stderr,
                    "usage: %s [--bench [--csv] [--mb N] [--type T]] [--level NAME] [--seed N] [--own] [--thin N] "
                    "[--trap-amx]\n",
                    argv[0]);
            return 2;
        }
    }
    if (!bench) printf("# seed %llu\n", (unsigned long long)seed);
    ref = ig_kernels_get("ref", NULL);
    if (trap) return test_trapped();
    for (const char *const *name = ig_kernel_levels(); *name; name++) {
        ig_error err = {0};
        if (only && strcmp(only, *name)) continue;
        const ig_kernels *k = ig_kernels_get(*name, &err);
        if (!k && !bench) tap_skip(*name, "%s", err.text);
        if (!k) continue;
        if (bench)
            bench_level(k, csv);
        else
            test_level(k);
    }
    return bench ? 0 : tap_done();
}
