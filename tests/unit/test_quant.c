/* The pieces of quantising a file: the GGUF writer, tensors in parts and in half-split order, rows longer than a
 * segment, importance files (written, read, hostile), and every failure of the system on the way. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/pool.h"
#include "quant/convert.h"
#include "tests/tap.h"

static char dir[] = "/tmp/quant-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[4][128];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
    return path[at];
}

static size_t files_in_dir(void)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static uint64_t rng = 0x9e3779b97f4a7c15u;
static float normal(void)
{
    float sum = -6;
    for (int i = 0; i < 12; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(rng >> 40) / 16777216.0f;
    }
    return sum;
}

static float *floats(size_t n)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++) x[i] = normal();
    if (!x) abort();
    return x;
}

static ig_tensor tensor(const char *name, uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t ne2, const void *data)
{
    ig_tensor t = {.name = ig_str_from(name),
                   .type = type,
                   .n_dims = ne2 > 1   ? 3
                             : ne1 > 1 ? 2
                                       : 1,
                   .ne = {ne0, ne1, ne2, 1},
                   .data = data};
    if (!ig_dtype_row_bytes(type, ne0, &t.row_bytes)) abort();
    t.n_bytes = t.row_bytes * ne1 * ne2;
    return t;
}

/* Writes t as `type` alone into a file and opens that. */
static ig_status convert(const ig_tensor *t, uint32_t type, const ig_importance *imp, ig_format **out, ig_error *err)
{
    ig_pool *pool = NULL;
    ig_gguf_writer *w = NULL;
    ig_converter *c = NULL;
    bool weighed;
    *out = NULL;
    ig_status st = ig_convert_can(t, type, "in", err);
    if (st == IG_OK) st = ig_pool_new(3, &pool, err);
    if (st == IG_OK) st = ig_gguf_writer_new(in_dir("t.gguf"), &w, err);
    if (st == IG_OK) {
        ig_gguf_put_tensor(w, t->name, type, t->n_dims, t->ne);
        st = ig_gguf_begin_data(w, err);
    }
    if (st == IG_OK) st = ig_converter_new(pool, w, &c, err);
    if (st == IG_OK) st = ig_convert_tensor(c, t, type, imp, "in", NULL, NULL, &weighed, err);
    if (st == IG_OK) st = ig_gguf_commit(w, err);
    ig_converter_free(c);
    ig_gguf_writer_free(w);
    ig_pool_free(pool);
    return st == IG_OK ? ig_format_open(in_dir("t.gguf"), out, err) : st;
}

/* ------------------------------------------------------------------------------------------------ writer */

static void check_writer(void)
{
    ig_gguf_writer *w;
    ig_format *f = NULL;
    ig_error err = {0};
    const ig_str words[] = {IG_STR("a"), IG_STR(""), IG_STR("long word")};
    const float three[] = {1, 2, 3}, four[] = {4, 5, 6, 7};
    const uint64_t ne3[] = {3}, ne22[] = {2, 2};
    uint32_t number = 0;
    ig_str text = {0};
    const ig_meta *array = NULL;
    ig_status st = ig_gguf_writer_new(in_dir("w.gguf"), &w, &err);
    if (!tap_ok(st == IG_OK, "writer opens %s", err.text)) return;
    ig_gguf_put_u32(w, "n", 7);
    ig_gguf_put_str(w, "text", IG_STR("caf\xc3\xa9"));
    ig_gguf_put_strs(w, "words", words, 3);
    ig_gguf_put_tensor(w, IG_STR("one"), IG_F32, 1, ne3);
    ig_gguf_put_tensor(w, IG_STR("two"), IG_F32, 2, ne22);
    st = ig_gguf_begin_data(w, &err);
    if (st == IG_OK) st = ig_gguf_write_data(w, three, 4, &err); /* in two pieces */
    if (st == IG_OK) st = ig_gguf_write_data(w, three + 1, 8, &err);
    tap_ok(st == IG_OK && ig_gguf_commit(w, &err) == IG_BUG, "a file that lacks a tensor is not committed");
    tap_ok(ig_gguf_write_data(w, four, 20, &err) == IG_BUG, "more bytes than a tensor has are refused");
    tap_ok(access(in_dir("w.gguf"), F_OK) != 0, "before commit the file is not there");
    st = ig_gguf_write_data(w, four, sizeof four, &err);
    if (st == IG_OK) st = ig_gguf_commit(w, &err);
    ig_gguf_writer_free(w);
    if (st == IG_OK) st = ig_format_open(in_dir("w.gguf"), &f, &err);
    if (!tap_ok(st == IG_OK && ig_format_version(f) == 3, "it opens as GGUF 3 %s", err.text)) return;
    (void)ig_format_u32(f, "n", true, &number, &err);
    (void)ig_format_str(f, "text", true, &text, &err);
    (void)ig_format_array(f, "words", true, IG_META_STRING, &array, &err);
    ig_str back[3] = {{0}};
    if (array && array->n == 3) ig_meta_strings(array, back);
    tap_ok(number == 7 && ig_str_is(text, "caf\xc3\xa9") && ig_str_is(back[2], "long word") && back[1].len == 0,
           "metadata comes back");
    const ig_tensor *one = ig_format_tensor(f, "one"), *two = ig_format_tensor(f, "two");
    tap_ok(one && two && !memcmp(one->data, three, sizeof three) && !memcmp(two->data, four, sizeof four) &&
               two->n_dims == 2 && ig_format_trailing_bytes(f) == 0,
           "tensors come back");
    ig_format_close(f);
    remove(in_dir("w.gguf"));
}

static void check_writer_refuses(void)
{
    char name[65];
    const uint64_t odd[] = {33}, huge[] = {(uint64_t)1 << 62, 64};
    const struct {
        const char *what;
        size_t name_len;
        uint32_t type, n_dims;
        const uint64_t *ne;
    } rows[] = {{"a name of 64 bytes", 64, IG_F32, 1, odd},
                {"a row that is no whole number of blocks", 4, IG_Q8_0, 1, odd},
                {"a type that is none", 4, 5, 1, odd},
                {"a size that overflows", 4, IG_F32, 2, huge},
                {"no dimensions", 4, IG_F32, 0, odd}};
    memset(name, 'x', sizeof name);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_gguf_writer *w;
        ig_error err = {0};
        if (ig_gguf_writer_new(in_dir("r.gguf"), &w, &err) != IG_OK) continue;
        ig_gguf_put_tensor(w, (ig_str){name, rows[i].name_len}, rows[i].type, rows[i].n_dims, rows[i].ne);
        tap_ok(ig_gguf_begin_data(w, &err) == IG_BAD_INPUT && err.text[0], "writer refuses %s", rows[i].what);
        ig_gguf_writer_free(w);
    }
    tap_ok(files_in_dir() == 0, "nothing is left behind");
}

/* ------------------------------------------------------------------------------------------------ order of rows */

/* Where row r of a head of n rows, stored in halves, goes. */
static uint64_t goes_to(uint64_t r, uint64_t n) { return r < n / 2 ? 2 * r : 2 * (r - n / 2) + 1; }

static void check_half_split(void)
{
    enum { COLS = 64, ROWS = 24, HEADS = 3 };
    static const uint32_t types[] = {IG_F32, IG_F16, IG_Q8_0, IG_Q4_0};
    float *x = floats(COLS * ROWS);
    for (size_t k = 0; k < 4; k++) {
        ig_tensor t = tensor("q.weight", IG_F32, COLS, ROWS, 1, x);
        ig_format *f;
        ig_error err = {0};
        t.half_split_heads = HEADS;
        ig_status st = convert(&t, types[k], NULL, &f, &err);
        bool good = st == IG_OK;
        const ig_tensor *got = good ? ig_format_tensor_at(f, 0) : NULL;
        for (uint64_t r = 0; good && r < ROWS; r++) {
            uint8_t want[COLS * 4];
            uint64_t head = r / (ROWS / HEADS), to = head * (ROWS / HEADS) + goes_to(r % (ROWS / HEADS), ROWS / HEADS);
            ig_quant_row(types[k], x + r * COLS, NULL, want, COLS);
            good = !memcmp(got->data + to * got->row_bytes, want, got->row_bytes);
        }
        tap_ok(good, "half-split heads become neighbours: %s %s", ig_dtype_row(types[k])->name, err.text);
        ig_format_close(f);
    }
    /* a bias: elements are the rows */
    ig_tensor bias = tensor("q.bias", IG_F32, ROWS, 1, 1, x);
    ig_format *f;
    ig_error err = {0};
    bias.half_split_heads = HEADS;
    bool good = convert(&bias, IG_F32, NULL, &f, &err) == IG_OK;
    for (uint64_t r = 0; good && r < ROWS; r++) {
        uint64_t to = r / 8 * 8 + goes_to(r % 8, 8);
        good = !memcmp(ig_format_tensor_at(f, 0)->data + 4 * to, &x[r], 4);
    }
    tap_ok(good, "half-split heads of a bias %s", err.text);
    ig_format_close(f);
    bias.half_split_heads = 5;
    tap_ok(convert(&bias, IG_F32, NULL, &f, &err) == IG_BAD_INPUT && strstr(err.text, "q.bias"),
           "heads that do not divide are refused: %s", err.text);
    free(x);
}

static void check_parts(void)
{
    enum { COLS = 96, ROWS = 10, PARTS = 5 };
    static const uint32_t types[] = {IG_F32, IG_Q5_1};
    float *x = floats((size_t)COLS * ROWS * PARTS);
    const uint8_t *parts[PARTS]; /* in another order than in memory */
    for (size_t p = 0; p < PARTS; p++) parts[p] = (const uint8_t *)(x + (PARTS - 1 - p) * COLS * ROWS);
    for (size_t k = 0; k < 2; k++) {
        ig_tensor t = tensor("ffn_up_exps.weight", IG_F32, COLS, ROWS, PARTS, NULL);
        ig_format *f;
        ig_error err = {0};
        t.parts = parts;
        bool good = convert(&t, types[k], NULL, &f, &err) == IG_OK;
        const ig_tensor *got = good ? ig_format_tensor_at(f, 0) : NULL;
        for (size_t r = 0; good && r < ROWS * PARTS; r++) {
            uint8_t want[COLS * 4];
            ig_quant_row(types[k], (const float *)(const void *)parts[r / ROWS] + r % ROWS * COLS, NULL, want, COLS);
            good = !memcmp(got->data + r * got->row_bytes, want, got->row_bytes);
        }
        tap_ok(good, "experts that lie apart are stacked: %s %s", ig_dtype_row(types[k])->name, err.text);
        ig_format_close(f);
    }
    free(x);
}

/* Rows longer than a segment, and more of them than a batch holds. */
static void check_long(void)
{
    const struct {
        uint64_t cols, rows;
        uint32_t type;
    } shapes[] = {
        {100096, 3, IG_Q8_0}, {65536, 2, IG_Q4_K}, {32768, 5, IG_F16}, {256, 9000, IG_Q4_0}, {1, 4000, IG_F16}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const uint64_t cols = shapes[k].cols, rows = shapes[k].rows;
        float *x = floats((size_t)(cols * rows));
        ig_tensor t = tensor("w.weight", IG_F32, cols, rows, 1, x);
        ig_format *f;
        ig_error err = {0};
        bool good = convert(&t, shapes[k].type, NULL, &f, &err) == IG_OK;
        const ig_tensor *got = good ? ig_format_tensor_at(f, 0) : NULL;
        uint8_t *want = malloc((size_t)cols * 4);
        for (uint64_t r = 0; good && want && r < rows; r++) {
            ig_quant_row(shapes[k].type, x + r * cols, NULL, want, (size_t)cols);
            good = !memcmp(got->data + r * got->row_bytes, want, (size_t)got->row_bytes);
        }
        tap_ok(good, "%llu rows of %llu as %s %s", (unsigned long long)rows, (unsigned long long)cols,
               ig_dtype_row(shapes[k].type)->name, err.text);
        ig_format_close(f);
        free(want);
        free(x);
    }
}

static void check_bad_weight(void)
{
    enum { COLS = 256, ROWS = 64 };
    static const struct {
        uint32_t type;
        float value;
        const char *says;
    } rows[] = {
        {IG_Q4_K, NAN, "no finite number"}, {IG_F16, INFINITY, "no finite number"}, {IG_Q8_0, 7e4f, "is 70000"}};
    float *x = floats(COLS * ROWS);
    for (size_t k = 0; k < 3; k++) {
        ig_tensor t = tensor("blk.3.ffn_up.weight", IG_F32, COLS, ROWS, 1, x);
        ig_format *f;
        ig_error err = {0};
        float old = x[41 * COLS + 17];
        x[41 * COLS + 17] = x[60 * COLS] = rows[k].value;
        ig_status st = convert(&t, rows[k].type, NULL, &f, &err);
        tap_ok(st == IG_BAD_INPUT && strstr(err.text, "blk.3.ffn_up.weight") && strstr(err.text, "row 41, column 17") &&
                   strstr(err.text, rows[k].says),
               "a bad weight is named: %s", err.text);
        x[41 * COLS + 17] = x[60 * COLS] = old;
    }
    free(x);
}

/* ------------------------------------------------------------------------------------------------ importance */

static void check_importance(void)
{
    enum { COLS = 4, MATRICES = 3 };
    const float x[] = {1, 2, 3, 0, 99, 1, 0, 3, 0, 99}, bad[] = {1, NAN, 1, 1};
    ig_importance *imp, *back = NULL;
    ig_error err = {0};
    float w[COLS];
    bool found = false;
    ig_tensor dense = tensor("a.weight", IG_F32, COLS, 8, 1, NULL),
              experts = tensor("e.weight", IG_F32, COLS, 8, 3, NULL);
    if (ig_importance_new(&imp, &err) != IG_OK) return;
    ig_status st = ig_importance_add(imp, IG_STR("a.weight"), COLS, 1, 0, x, 5, 2, &err);
    if (st == IG_OK) st = ig_importance_add(imp, IG_STR("a.weight"), COLS, 1, 0, bad, COLS, 1, &err);
    if (st == IG_OK) st = ig_importance_add(imp, IG_STR("e.weight"), COLS, MATRICES, 1, x, 5, 1, &err);
    tap_ok(st == IG_OK && ig_importance_n(imp) == 2, "squares are gathered %s", err.text);
    tap_ok(ig_importance_add(imp, IG_STR("a.weight"), 5, 1, 0, x, 5, 1, &err) == IG_BAD_INPUT &&
               ig_importance_add(imp, IG_STR("e.weight"), COLS, MATRICES, 3, x, 5, 1, &err) == IG_BAD_INPUT,
           "another shape is refused: %s", err.text);
    for (int pass = 0; pass < 2; pass++) {
        const ig_importance *from = pass ? back : imp;
        st = ig_importance_prepare(from, &dense, 0, w, &found, &err);
        tap_ok(st == IG_OK && found && w[0] == 2.0f / 18 && w[1] == 4.0f / 18 && w[2] == 1 &&
                   w[3] == (float)(0.006 / 18),
               "weights of a matrix%s", pass ? ", read back" : "");
        st = ig_importance_prepare(from, &experts, 1, w, &found, &err);
        tap_ok(st == IG_OK && found && w[1] == 4.0f / 9 && w[2] == 1, "weights of an expert%s",
               pass ? ", read back" : "");
        st = ig_importance_prepare(from, &experts, 0, w, &found, &err);
        tap_ok(st == IG_OK && found && w[0] == 1 && w[3] == 1, "an expert that no token reached%s",
               pass ? ", read back" : "");
        if (pass) break;
        st = ig_importance_write(imp, in_dir("i.gguf"), "text.txt", 12, 512, &err);
        if (st == IG_OK) st = ig_importance_read(in_dir("i.gguf"), &back, &err);
        if (!tap_ok(st == IG_OK && ig_importance_n(back) == 2 && ig_importance_chunks(back) == 12 &&
                        ig_str_is(ig_importance_dataset(back), "text.txt"),
                    "written and read %s", err.text))
            break;
    }
    ig_tensor other = tensor("a.weight", IG_F32, 5, 8, 1, NULL), none = tensor("b.weight", IG_F32, 5, 8, 1, NULL);
    tap_ok(ig_importance_prepare(imp, &other, 0, w, &found, &err) == IG_BAD_INPUT, "another model's: %s", err.text);
    tap_ok(ig_importance_prepare(imp, &none, 0, w, &found, &err) == IG_OK && !found, "a tensor without data");
    ig_importance_free(imp);
    ig_importance_free(back);
    remove(in_dir("i.gguf"));
}

static void put32(uint8_t *at, int32_t v) { memcpy(at, &v, 4); }

/* The older form: one entry "ab" of two values from 4 calls, then 9 chunks of "t". */
static size_t older(uint8_t *out)
{
    float values[] = {4, 8};
    put32(out, 1);
    put32(out + 4, 2);
    memcpy(out + 8, "ab", 2);
    put32(out + 10, 4);
    put32(out + 14, 2);
    memcpy(out + 18, values, 8);
    put32(out + 26, 9);
    put32(out + 30, 1);
    out[34] = 't';
    return 35;
}

static void check_older(void)
{
    uint8_t data[64];
    ig_importance *imp = NULL;
    ig_error err = {0};
    size_t n = older(data), accepted = 0;
    float w[2];
    bool found = false;
    ig_tensor t = tensor("ab", IG_F32, 2, 2, 1, NULL);
    bool good = ig_importance_read_memory("old.dat", data, n, &imp, &err) == IG_OK && ig_importance_chunks(imp) == 9 &&
                ig_importance_prepare(imp, &t, 0, w, &found, &err) == IG_OK && found && w[0] == 0.5f && w[1] == 1;
    tap_ok(good, "the older form is read %s", err.text);
    ig_importance_free(imp);
    for (size_t cut = 0; cut < n; cut++) { /* only the end behind the entries may lack */
        accepted += ig_importance_read_memory("old.dat", data, cut, &imp, &err) == IG_OK && cut != 26;
        if (imp) ig_importance_free(imp);
        imp = NULL;
    }
    tap_ok(!accepted, "the older form cut anywhere is refused");
    static const struct {
        size_t at;
        int32_t v;
        const char *what;
    } rows[] = {{0, -1, "count below zero"},      {0, 0, "no entries"},
                {0, 2000000, "too many entries"}, {4, -5, "name length"},
                {4, 1 << 30, "name too long"},    {14, 0, "no values"},
                {14, 1 << 29, "too many values"}, {18, -1, "a value that is NaN"},
                {30, 77, "long text name"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)older(data);
        put32(data + rows[i].at, rows[i].v);
        tap_ok(ig_importance_read_memory("old.dat", data, n, &imp, &err) == IG_BAD_INPUT && !imp, "older form, %s: %s",
               rows[i].what, err.text);
    }
}

/* GGUF importance that is wrong: each row makes a file with one flaw. */
static void check_hostile(void)
{
    const float good[] = {1, 2, 3, 4}, minus[] = {1, -2, 3, 4}, nan[] = {1, NAN, 3, 4}, count[] = {5};
    const uint64_t ne4[] = {4, 1}, ne22[] = {2, 2}, ne1[] = {1, 1};
    const struct {
        const char *what, *type, *sums, *counts;
        const float *values;
        const uint64_t *ne;
    } rows[] = {{"another general.type", "model", "a.in_sum2", "a.counts", good, ne4},
                {"no tensors of importance", "imatrix", "a", "b", good, ne4},
                {"no counts", "imatrix", "a.in_sum2", "b.counts", good, ne4},
                {"a negative value", "imatrix", "a.in_sum2", "a.counts", minus, ne4},
                {"NaN", "imatrix", "a.in_sum2", "a.counts", nan, ne4},
                {"counts for another shape", "imatrix", "a.in_sum2", "a.counts", good, ne22}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_gguf_writer *w;
        ig_importance *imp;
        ig_error err = {0};
        if (ig_gguf_writer_new(in_dir("h.gguf"), &w, &err) != IG_OK) continue;
        ig_gguf_put_str(w, "general.type", ig_str_from(rows[i].type));
        ig_gguf_put_tensor(w, ig_str_from(rows[i].sums), IG_F32, 2, rows[i].ne);
        ig_gguf_put_tensor(w, ig_str_from(rows[i].counts), IG_F32, 2, ne1);
        ig_status st = ig_gguf_begin_data(w, &err);
        if (st == IG_OK) st = ig_gguf_write_data(w, rows[i].values, 16, &err);
        if (st == IG_OK) st = ig_gguf_write_data(w, count, 4, &err);
        if (st == IG_OK) st = ig_gguf_commit(w, &err);
        ig_gguf_writer_free(w);
        if (st == IG_OK) st = ig_importance_read(in_dir("h.gguf"), &imp, &err);
        tap_ok(st == IG_BAD_INPUT && !imp, "importance with %s: %s", rows[i].what, err.text);
    }
    remove(in_dir("h.gguf"));
}

/* Importance moves the error to where it does not matter. */
static void check_weighed(void)
{
    enum { COLS = 256 };
    float *x = floats(COLS), y[COLS];
    double errors[2] = {0};
    ig_importance *imp;
    ig_error err = {0};
    if (ig_importance_new(&imp, &err) != IG_OK) return;
    for (int i = 0; i < COLS; i++) y[i] = i % 8 ? 0.01f : 1;
    (void)ig_importance_add(imp, IG_STR("w.weight"), COLS, 1, 0, y, COLS, 1, &err);
    for (int k = 0; k < 2; k++) {
        ig_tensor t = tensor("w.weight", IG_F32, COLS, 1, 1, x);
        ig_format *f, *back = NULL;
        bool good = convert(&t, IG_Q4_0, k ? imp : NULL, &f, &err) == IG_OK;
        ig_tensor q = good ? *ig_format_tensor_at(f, 0) : t;
        rename(in_dir("t.gguf"), in_dir("q.gguf"));
        if (good && convert(&q, IG_F32, NULL, &back, &err) == IG_OK) {
            const float *got = (const float *)(const void *)ig_format_tensor_at(back, 0)->data;
            for (int i = 0; i < COLS; i += 8)
                errors[k] += ((double)got[i] - (double)x[i]) * ((double)got[i] - (double)x[i]);
        }
        ig_format_close(back);
        ig_format_close(f);
    }
    tap_ok(errors[1] > 0 && errors[1] < 0.5 * errors[0],
           "columns that matter: error %.3g without importance, %.3g with", errors[0], errors[1]);
    remove(in_dir("q.gguf"));
    remove(in_dir("t.gguf"));
    ig_importance_free(imp);
    free(x);
}

/* ------------------------------------------------------------------------------------------------ split input */

static ig_status write_part(uint32_t no, const char *name, const float *x, ig_error *err)
{
    char path[64];
    const uint64_t ne[] = {64, 4};
    ig_gguf_writer *w;
    snprintf(path, sizeof path, "s-%05u-of-00002.gguf", no + 1);
    ig_status st = ig_gguf_writer_new(in_dir(path), &w, err);
    if (st != IG_OK) return st;
    if (no == 0) ig_gguf_put_str(w, "general.architecture", IG_STR("llama"));
    ig_gguf_put_u32(w, "split.no", no);
    ig_gguf_put_u32(w, "split.count", 2);
    ig_gguf_put_u32(w, "split.tensors.count", 2);
    ig_gguf_put_tensor(w, ig_str_from(name), IG_F32, 2, ne);
    st = ig_gguf_begin_data(w, err);
    if (st == IG_OK) st = ig_gguf_write_data(w, x, 64 * 4 * sizeof *x, err);
    if (st == IG_OK) st = ig_gguf_commit(w, err);
    ig_gguf_writer_free(w);
    return st;
}

/* Two parts become one file that says nothing of parts. */
static void check_split(void)
{
    float *x = floats(64 * 8);
    char in[128];
    ig_error err = {0};
    ig_format *f = NULL;
    ig_quantize_report report;
    snprintf(in, sizeof in, "%s", in_dir("s-00001-of-00002.gguf"));
    ig_quantize_options o = {.in = in, .out = in_dir("one.gguf"), .type = "Q8_0", .n_threads = 1};
    ig_status st = write_part(0, "blk.0.a.weight", x, &err);
    if (st == IG_OK) st = write_part(1, "blk.0.b.weight", x + 64 * 4, &err);
    if (st == IG_OK) st = ig_quantize_file(&o, &report, &err);
    if (st == IG_OK) st = ig_format_open(in_dir("one.gguf"), &f, &err);
    uint8_t want[68];
    ig_quant_row(IG_Q8_0, x + 64 * 7, NULL, want, 64);
    const ig_tensor *b = st == IG_OK ? ig_format_tensor(f, "blk.0.b.weight") : NULL;
    tap_ok(b && ig_format_n_tensors(f) == 2 && !ig_format_meta(f, "split.count") && !ig_format_meta(f, "split.no") &&
               !memcmp(b->data + 3 * 68, want, 68),
           "a split model becomes one file %s", err.text);
    ig_format_close(f);
    remove(in);
    remove(in_dir("s-00002-of-00002.gguf"));
    remove(in_dir("one.gguf"));
    free(x);
}

/* ------------------------------------------------------------------------------------------------ failures */

static ig_status quantize(const char *out, ig_error *err)
{
    char in[512];
    ig_quantize_report report;
    snprintf(in, sizeof in, "%s/stories260K.gguf", tap_data());
    ig_quantize_options o = {.in = in, .out = out, .type = "Q8_0", .n_threads = 2, .importance = in_dir("imp.gguf")};
    return ig_quantize_file(&o, &report, err);
}

/* Call number k of each kind fails, k = 1, 2, ... until all is well: an error with a sentence, no file, no leak. */
static void check_faults(void)
{
    static const struct {
        ig_fault_kind kind;
        int err_no;
        const char *name;
    } kinds[] = {{IG_FAULT_ALLOC, ENOMEM, "memory"}, {IG_FAULT_OPEN, EMFILE, "open"},
                 {IG_FAULT_WRITE, ENOSPC, "write"},  {IG_FAULT_SYNC, EIO, "sync"},
                 {IG_FAULT_RENAME, EIO, "rename"},   {IG_FAULT_MAP, ENOMEM, "map"},
                 {IG_FAULT_THREAD, EAGAIN, "thread"}};
    const float x[64] = {1};
    ig_importance *imp;
    ig_error err = {0};
    const char *out = in_dir("out.gguf");
    char path[128];
    snprintf(path, sizeof path, "%s", out);
    if (ig_importance_new(&imp, &err) != IG_OK) return;
    (void)ig_importance_add(imp, IG_STR("blk.0.attn_q.weight"), 64, 1, 0, x, 64, 1, &err);
    if (ig_importance_write(imp, in_dir("imp.gguf"), "t", 1, 1, &err) != IG_OK) printf("# %s\n", err.text);
    ig_importance_free(imp);
    if (quantize(path, &err) != IG_OK) {
        tap_ok(false, "quantising without faults: %s", err.text);
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t nth = 1, silent = 0, left = 0;
        for (;; nth++) {
            remove(path);
            err = (ig_error){0};
            ig_fault_set(kinds[i].kind, nth, kinds[i].err_no, false);
            ig_status st = quantize(path, &err);
            bool hit = ig_fault_calls(kinds[i].kind) >= nth;
            ig_fault_reset();
            if (!hit || nth > 5000) break;
            silent += st == IG_OK || !err.text[0];
            /* only a failed sync of the folder, after the rename, leaves the whole file */
            left +=
                files_in_dir() != 1 && !(kinds[i].kind == IG_FAULT_SYNC && nth == 2) && kinds[i].kind != IG_FAULT_OPEN;
        }
        tap_ok(nth > 1 && nth <= 5000 && !silent && !left,
               "M16 %s fails at each of %llu calls: %llu without an error, %llu leave a file", kinds[i].name,
               (unsigned long long)(nth - 1), (unsigned long long)silent, (unsigned long long)left);
    }
    remove(path);
    remove(in_dir("imp.gguf"));
}

int main(void)
{
    if (!mkdtemp(dir)) abort();
    check_writer();
    check_writer_refuses();
    check_half_split();
    check_parts();
    check_long();
    check_bad_weight();
    remove(in_dir("t.gguf"));
    check_importance();
    check_older();
    check_hostile();
    check_weighed();
    check_split();
    check_faults();
    tap_ok(files_in_dir() == 0, "the folder is empty again");
    rmdir(dir);
    return tap_done();
}
