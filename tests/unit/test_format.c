/* Reader of model files: limits, typed getters, split models, and every injected failure. TAP on standard output.
 * Test names carry the rule of reliability.md. Hostile files in bulk are the business of tests/hostile. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../hostile/build.h"
#include "base/fault.h"
#include "base/mem.h"
#include "format/gguf.h"

static unsigned n_tests, n_failed;
static bool current_ok;

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond);                                                        \
            current_ok = false;                                                                                        \
        }                                                                                                              \
    } while (0)

static void run(const char *name, void (*test)(void))
{
    current_ok = true;
    test();
    n_failed += !current_ok;
    printf("%s %u - %s\n", current_ok ? "ok" : "not ok", ++n_tests, name);
}

/* Opens the bytes of img from a block of their exact size, so that a sanitizer sees a read past the end. The caller
 * frees *block after closing. */
static ig_status open_image(const image *img, void **block, ig_format **f, ig_error *err)
{
    *block = malloc(img->size ? img->size : 1);
    if (!*block) exit(2);
    if (img->size) memcpy(*block, img->bytes, img->size);
    *err = (ig_error){0};
    return ig_format_open_memory("test.gguf", *block, img->size, f, err);
}

static ig_format *open_draft(const draft *d, image *img, void **block, ig_error *err)
{
    ig_format *f = NULL;
    draft_write(d, img);
    if (open_image(img, block, &f, err) != IG_OK) printf("# %s\n", err->text);
    return f;
}

/* ------------------------------------------------------------------------------------------------ tensors */

static void test_G14_dtype_table(void)
{
    static const uint32_t absent[] = {4, 5, 9, 15, 31, 32, 33, 36, 37, 38, 43, 63, 64, 65, 255, 0x7fffffff, 0xffffffff};
    unsigned n_rows = 0;
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) CHECK(!ig_dtype_row(absent[i]));
    for (uint32_t id = 0; id < IG_DTYPE_MAX; id++) n_rows += ig_dtype_row(id) != NULL;
    CHECK(n_rows == 33);
    CHECK(!strcmp(ig_dtype_row(IG_Q4_K)->name, "Q4_K") && ig_dtype_row(IG_Q4_K)->block_bytes == 144);
    CHECK(!strcmp(ig_dtype_row(21)->name, "IQ3_S") && !strcmp(ig_dtype_row(22)->name, "IQ2_S"));
}

static void test_G11_row_bytes(void)
{
    uint64_t bytes = 7;
    CHECK(ig_dtype_row_bytes(IG_F32, 3, &bytes) && bytes == 12);
    CHECK(ig_dtype_row_bytes(IG_Q4_K, 512, &bytes) && bytes == 288);
    CHECK(ig_dtype_row_bytes(IG_Q8_0, 0, &bytes) && bytes == 0);
    CHECK(!ig_dtype_row_bytes(IG_Q8_0, 31, &bytes));
    CHECK(!ig_dtype_row_bytes(4, 32, &bytes));
    CHECK(!ig_dtype_row_bytes(IG_F32, UINT64_MAX / 2, &bytes));
}

static void test_tensors_of_the_draft(void)
{
    draft d;
    image img;
    void *block;
    ig_error err;
    draft_init(&d);
    ig_format *f = open_draft(&d, &img, &block, &err);
    CHECK(f && ig_format_version(f) == 3 && ig_format_parts(f) == 1 && ig_format_n_tensors(f) == 12);
    const ig_tensor *t = ig_format_tensor(f, "blk.0.ffn_down.weight");
    CHECK(t && t->ne[0] == DRAFT_FF && t->ne[1] == DRAFT_EMBD && t->ne[2] == 1 && t->ne[3] == 1 && t->n_dims == 2);
    CHECK(t->row_bytes == DRAFT_FF * 4 && t->n_bytes == DRAFT_FF * DRAFT_EMBD * 4);
    CHECK(t->data == (uint8_t *)block + image_at(&img, "tensor/blk.0.ffn_down.weight/data"));
    CHECK(!ig_format_tensor(f, "blk.0.ffn_down") && !ig_format_tensor(f, "") && !ig_format_tensor_at(f, 12));
    CHECK(ig_format_tensor_at(f, 0) == ig_format_tensor(f, "token_embd.weight"));
    CHECK(!strcmp(ig_format_path(f), "test.gguf"));
    ig_format_close(f);
    free(block);
    image_fini(&img);
    draft_fini(&d);
}

/* ------------------------------------------------------------------------------------------------ getters */

typedef struct fixture {
    draft d;
    image img;
    void *block;
    ig_format *f;
    ig_error err;
} fixture;

static void fixture_open(fixture *x)
{
    x->f = open_draft(&x->d, &x->img, &x->block, &x->err);
    if (!x->f) exit(2);
}

static void fixture_close(fixture *x)
{
    ig_format_close(x->f);
    free(x->block);
    image_fini(&x->img);
    draft_fini(&x->d);
}

static void test_G08_integers(void)
{
    static const struct {
        uint32_t type;
        uint64_t v;
        bool fits;
    } cases[] = {
        {IG_META_U8, 255, true},
        {IG_META_I8, 127, true},
        {IG_META_I8, (uint64_t)-1, false},
        {IG_META_U16, 65535, true},
        {IG_META_I16, (uint64_t)-2, false},
        {IG_META_U32, UINT32_MAX, true},
        {IG_META_I32, INT32_MAX, true},
        {IG_META_I32, (uint64_t)-1, false},
        {IG_META_U64, UINT32_MAX, true},
        {IG_META_U64, 1ull << 32, false},
        {IG_META_U64, UINT64_MAX, false},
        {IG_META_I64, UINT32_MAX, true},
        {IG_META_I64, (uint64_t)-1, false},
        {IG_META_BOOL, 1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture x = {0};
        uint32_t v = 77;
        draft_empty(&x.d);
        draft_set_int(&x.d, "k", cases[i].type, cases[i].v);
        fixture_open(&x);
        ig_status st = ig_format_u32(x.f, "k", true, &v, &x.err);
        CHECK(st == (cases[i].fits ? IG_OK : IG_BAD_INPUT));
        CHECK(v == (cases[i].fits ? cases[i].v : 77));
        CHECK(cases[i].fits || strstr(x.err.text, "\"k\""));
        fixture_close(&x);
    }
}

static void test_G08_floats_bools_strings(void)
{
    fixture x = {0};
    float v = 7;
    bool b = false;
    ig_str s = {0};
    draft_empty(&x.d);
    draft_set_float(&x.d, "f32", IG_META_F32, 0.5);
    draft_set_float(&x.d, "f64", IG_META_F64, -2.25);
    draft_set_float(&x.d, "huge", IG_META_F64, 1e300);
    draft_set_int(&x.d, "yes", IG_META_BOOL, 1);
    draft_set_int(&x.d, "one", IG_META_U8, 1);
    draft_set_str(&x.d, "text", "a\0\xc3\xbc", 4);
    draft_set_str(&x.d, "bytes", "\xc3\x28", 2);
    fixture_open(&x);
    CHECK(ig_format_f32(x.f, "f32", true, &v, &x.err) == IG_OK && fabsf(v - 0.5f) <= 0);
    CHECK(ig_format_f32(x.f, "f64", true, &v, &x.err) == IG_OK && fabsf(v + 2.25f) <= 0);
    CHECK(ig_format_f32(x.f, "huge", true, &v, &x.err) == IG_BAD_INPUT && strstr(x.err.text, "finite"));
    CHECK(ig_format_f32(x.f, "one", true, &v, &x.err) == IG_BAD_INPUT && strstr(x.err.text, "type u8"));
    CHECK(ig_format_bool(x.f, "yes", true, &b, &x.err) == IG_OK && b);
    CHECK(ig_format_bool(x.f, "one", true, &b, &x.err) == IG_BAD_INPUT && strstr(x.err.text, "expected bool"));
    CHECK(ig_format_str(x.f, "text", true, &s, &x.err) == IG_OK && s.len == 4 && s.ptr[1] == 0);
    CHECK(ig_format_str(x.f, "bytes", true, &s, &x.err) == IG_BAD_INPUT && strstr(x.err.text, "UTF-8"));
    CHECK(ig_format_str(x.f, "yes", true, &s, &x.err) == IG_BAD_INPUT);
    fixture_close(&x);
}

static void test_absent_keys(void)
{
    fixture x = {0};
    uint32_t u = 7;
    float v = 7;
    bool b = true;
    ig_str s = IG_STR("old");
    const ig_meta *m;
    draft_empty(&x.d);
    fixture_open(&x);
    CHECK(ig_format_u32(x.f, "k", false, &u, &x.err) == IG_OK && u == 7);
    CHECK(ig_format_u32s(x.f, "k", false, &u, 1, &x.err) == IG_OK && u == 7);
    CHECK(ig_format_f32(x.f, "k", false, &v, &x.err) == IG_OK && v > 6);
    CHECK(ig_format_bool(x.f, "k", false, &b, &x.err) == IG_OK && b);
    CHECK(ig_format_str(x.f, "k", false, &s, &x.err) == IG_OK && s.len == 3);
    CHECK(ig_format_array(x.f, "k", false, IG_META_F32, &m, &x.err) == IG_OK && !m);
    CHECK(ig_format_u32(x.f, "key.name", true, &u, &x.err) == IG_BAD_INPUT && strstr(x.err.text, "key.name"));
    CHECK(ig_format_array(x.f, "key.name", true, IG_META_F32, &m, NULL) == IG_BAD_INPUT);
    CHECK(!ig_format_meta_at(x.f, 0) && !ig_format_meta(x.f, "") && ig_format_n_meta(x.f) == 0);
    fixture_close(&x);
}

static void test_G08_arrays(void)
{
    fixture x = {0};
    const ig_meta *m;
    ig_str s[3];
    uint32_t u[3] = {0};
    draft_empty(&x.d);
    draft_set_array(&x.d, "i8", IG_META_I8, 3, (uint64_t)-5, 0, NULL);
    draft_set_array(&x.d, "u16", IG_META_U16, 3, 9, 0, NULL);
    draft_set_array(&x.d, "f32", IG_META_F32, 3, 0, 1.5, NULL);
    draft_set_array(&x.d, "s", IG_META_STRING, 3, 0, 0, "x");
    draft_set_string_item(&x.d, "s", 1, "", 0);
    draft_set_string_item(&x.d, "s", 2, "a\0b", 3);
    draft_set_int(&x.d, "one", IG_META_U32, 4);
    fixture_open(&x);
    CHECK(ig_format_array(x.f, "i8", true, IG_META_I32, &m, &x.err) == IG_OK && m->n == 3 && ig_meta_int(m, 2) == -5);
    CHECK(ig_format_array(x.f, "f32", true, IG_META_F32, &m, &x.err) == IG_OK && fabs(ig_meta_float(m, 2) - 1.5) <= 0);
    CHECK(ig_format_array(x.f, "f32", true, IG_META_I32, &m, &x.err) == IG_BAD_INPUT && !m);
    CHECK(strstr(x.err.text, "array of f32") && strstr(x.err.text, "array of integers"));
    CHECK(ig_format_array(x.f, "i8", true, IG_META_STRING, &m, &x.err) == IG_BAD_INPUT);
    CHECK(ig_format_array(x.f, "one", true, IG_META_U32, &m, &x.err) == IG_BAD_INPUT);
    CHECK(ig_format_array(x.f, "s", true, IG_META_STRING, &m, &x.err) == IG_OK);
    ig_meta_strings(m, s);
    CHECK(s[0].len == 1 && s[1].len == 0 && s[2].len == 3 && s[2].ptr[2] == 'b');
    CHECK(ig_format_u32s(x.f, "u16", true, u, 3, &x.err) == IG_OK && u[0] == 9 && u[2] == 9);
    CHECK(ig_format_u32s(x.f, "one", true, u, 3, &x.err) == IG_OK && u[0] == 4 && u[2] == 4);
    CHECK(ig_format_u32s(x.f, "u16", true, u, 2, &x.err) == IG_BAD_INPUT && strstr(x.err.text, "expected 2"));
    CHECK(ig_format_u32s(x.f, "i8", true, u, 3, &x.err) == IG_BAD_INPUT);
    CHECK(ig_format_u32s(x.f, "f32", true, u, 3, &x.err) == IG_BAD_INPUT);
    fixture_close(&x);
}

/* ------------------------------------------------------------------------------------------------ files */

static void test_G21_trailing_bytes(void)
{
    fixture x = {0};
    ig_format *g = NULL;
    void *block;
    draft_init(&x.d);
    fixture_open(&x);
    CHECK(ig_format_trailing_bytes(x.f) == 0);
    image_resize(&x.img, x.img.size + 123);
    CHECK(open_image(&x.img, &block, &g, &x.err) == IG_OK && ig_format_trailing_bytes(g) == 123);
    ig_format_close(g);
    free(block);
    fixture_close(&x);
}

/* Every prefix of a small file is refused with an offset inside it, or is whole but for padding. */
static void test_G21_every_prefix(void)
{
    draft d;
    image img;
    draft_empty(&d);
    draft_set_str(&d, "general.architecture", "x", 1);
    draft_set_array(&d, "words", IG_META_STRING, 3, 0, 0, "word");
    draft_set_array(&d, "flags", IG_META_BOOL, 3, 1, 0, NULL);
    draft_add_tensor(&d, "t", IG_F32, 2, (const uint64_t[4]){4, 3, 1, 1});
    draft_write(&d, &img);
    size_t whole = image_at(&img, "tensor/t/data") + 48;
    for (size_t n = 0; n <= img.size; n++) {
        image cut = {.bytes = img.bytes, .size = n};
        ig_format *f = NULL;
        ig_error err;
        void *block;
        ig_status st = open_image(&cut, &block, &f, &err);
        CHECK((st == IG_OK) == (n >= whole));
        CHECK(st == IG_OK || (err.text[0] && err.status == st && err.offset <= n + 64));
        ig_format_close(f);
        free(block);
    }
    image_fini(&img);
    draft_fini(&d);
}

static void test_G12_alignments(void)
{
    for (uint32_t alignment = 8; alignment <= 65536; alignment *= 2) {
        fixture x = {0};
        draft_init(&x.d);
        x.d.alignment = alignment;
        draft_set_int(&x.d, "general.alignment", IG_META_U32, alignment);
        fixture_open(&x);
        for (size_t i = 0; i < ig_format_n_tensors(x.f); i++) {
            const ig_tensor *t = ig_format_tensor_at(x.f, i);
            CHECK((size_t)(t->data - (const uint8_t *)x.block) % alignment == 0);
        }
        fixture_close(&x);
    }
}

static void test_not_a_file(void)
{
    ig_format *f = NULL;
    ig_error err = {0};
    CHECK(ig_format_open("/nonexistent/x.gguf", &f, &err) == IG_NOT_FOUND && !f &&
          strstr(err.text, "/nonexistent/x.gguf"));
    CHECK(ig_format_open("/tmp", &f, &err) == IG_BAD_INPUT && !f);
    CHECK(ig_format_open("/dev/null", &f, &err) == IG_BAD_INPUT && !f);
    CHECK(ig_format_open_memory("m", NULL, 0, &f, &err) == IG_BAD_INPUT && !f && strstr(err.text, "empty"));
    ig_format_close(NULL);
}

static char dir[] = "/tmp/ingle-format-XXXXXX";

/* Writes the draft as a model of n parts and returns the first one's path. */
static const char *write_parts(unsigned n)
{
    static char path[256], first[256];
    for (unsigned p = 0; p < n; p++) {
        draft d;
        image img;
        draft_init(&d);
        size_t all = d.n_tensors, begin = all * p / n, end = all * (p + 1) / n;
        while (p > 0 && d.n_keys) draft_drop_key(&d, d.keys[0].name);
        draft_set_int(&d, "split.no", IG_META_U16, p);
        draft_set_int(&d, "split.count", IG_META_U16, n);
        draft_set_int(&d, "split.tensors.count", IG_META_I32, all);
        memmove(d.tensors, d.tensors + begin, (end - begin) * sizeof *d.tensors);
        d.n_tensors = end - begin;
        d.tensors[0].offset = 65536; /* out of order: the overlap check has to sort */
        d.tensors[0].offset_fixed = true;
        draft_write(&d, &img);
        (void)snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", dir, p + 1, n);
        if (p == 0) memcpy(first, path, sizeof first);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(img.bytes, 1, img.size, f) != img.size || fclose(f) != 0) exit(2);
        image_fini(&img);
        draft_fini(&d);
    }
    return first;
}

static void remove_parts(unsigned n)
{
    char path[256];
    for (unsigned p = 0; p < n; p++) {
        (void)snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", dir, p + 1, n);
        (void)unlink(path);
    }
}

static void test_G20_split_model(void)
{
    ig_format *f = NULL;
    ig_error err = {0};
    CHECK(ig_format_open(write_parts(4), &f, &err) == IG_OK);
    CHECK(ig_format_parts(f) == 4 && ig_format_n_tensors(f) == 12);
    for (size_t i = 0; i < 12; i++) {
        const ig_tensor *t = ig_format_tensor_at(f, i);
        char name[64];
        (void)snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.ptr);
        CHECK(ig_format_tensor(f, name) == t);
    }
    uint32_t layers = 0;
    CHECK(ig_format_u32(f, "llama.block_count", true, &layers, &err) == IG_OK && layers == 1);
    ig_format_close(f);
    remove_parts(4);
}

static void test_G20_in_memory(void)
{
    draft d;
    image img;
    void *block;
    ig_format *f = NULL;
    ig_error err;
    draft_init(&d);
    draft_set_int(&d, "split.count", IG_META_U16, 2);
    draft_set_int(&d, "split.no", IG_META_U16, 0);
    draft_set_int(&d, "split.tensors.count", IG_META_I32, 12);
    draft_write(&d, &img);
    CHECK(open_image(&img, &block, &f, &err) == IG_BAD_INPUT && !f && strstr(err.text, "split.count"));
    free(block);
    image_fini(&img);
    draft_fini(&d);
}

/* M16, M17: call k of each kind fails, k = 1, 2, ... until the open succeeds; once only that call, once all later
 * ones. */
static void torture(const char *path, ig_fault_kind kind, int err_no, bool sticky)
{
    bool over = false;
    for (uint64_t k = 1; k < 1000 && !over; k++) {
        ig_format *f = NULL;
        ig_error err = {0};
        ig_fault_set(kind, k, err_no, sticky);
        ig_status st = ig_format_open(path, &f, &err);
        over = ig_fault_calls(kind) < k;
        ig_fault_reset();
        CHECK(over == (st == IG_OK));
        CHECK((f != NULL) == (st == IG_OK));
        CHECK(st == IG_OK || (err.text[0] && err.status == st));
        ig_format_close(f);
    }
    CHECK(over);
}

static void test_M16_torture(void)
{
    static const struct {
        ig_fault_kind kind;
        int err_no;
    } kinds[] = {{IG_FAULT_ALLOC, ENOMEM}, {IG_FAULT_OPEN, EMFILE}, {IG_FAULT_MAP, ENOMEM}};
    for (unsigned parts = 1; parts <= 3; parts += 2) {
        const char *path = write_parts(parts);
        for (size_t i = 0; i < 3; i++) {
            torture(path, kinds[i].kind, kinds[i].err_no, false);
            torture(path, kinds[i].kind, kinds[i].err_no, true);
        }
        remove_parts(parts);
    }
}

/* G25: work grows with the header, not with its square. */
static void test_G25_many_entries(void)
{
    fixture x = {0};
    draft_empty(&x.d);
    x.d.n_flood_keys = IG_GGUF_KEYS_MAX;
    x.d.n_flood_tensors = 50000;
    draft_write(&x.d, &x.img);
    uint64_t start = ig_now_ns();
    ig_status st = open_image(&x.img, &x.block, &x.f, &x.err);
    uint64_t ms = (ig_now_ns() - start) / 1000000;
    CHECK(st == IG_OK && ms < 1000);
    CHECK(ig_format_tensor(x.f, "flood.0000123") && ig_format_meta(x.f, "flood.0065535"));
    fixture_close(&x);
}

/* G01: bytes changed at random places never crash the reader; run under sanitizers this is a small fuzzer. */
static void test_random_bytes(void)
{
    fixture x = {0};
    uint64_t seed = 88172645463325252u;
    draft_init(&x.d);
    draft_write(&x.d, &x.img);
    size_t header = image_at(&x.img, "data");
    for (int i = 0; i < 20000; i++) {
        uint8_t old[8];
        size_t at[8];
        ig_format *f = NULL;
        ig_error err = {0};
        unsigned n = 1 + (unsigned)(seed % 8);
        for (unsigned k = 0; k < n; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            at[k] = (size_t)(seed % header);
            old[k] = x.img.bytes[at[k]];
            x.img.bytes[at[k]] = (uint8_t)(seed >> 32);
        }
        ig_status st = ig_format_open_memory("m", x.img.bytes, x.img.size, &f, &err);
        CHECK((st == IG_OK) == (f != NULL) && (st == IG_OK || err.text[0]));
        ig_format_close(f);
        for (unsigned k = n; k-- > 0;) x.img.bytes[at[k]] = old[k];
    }
    image_fini(&x.img);
    draft_fini(&x.d);
}

int main(void)
{
    if (!mkdtemp(dir)) return 2;
#define RUN(test) run(#test, test)
    RUN(test_G14_dtype_table);
    RUN(test_G11_row_bytes);
    RUN(test_tensors_of_the_draft);
    RUN(test_G08_integers);
    RUN(test_G08_floats_bools_strings);
    RUN(test_absent_keys);
    RUN(test_G08_arrays);
    RUN(test_G21_trailing_bytes);
    RUN(test_G21_every_prefix);
    RUN(test_G12_alignments);
    RUN(test_not_a_file);
    RUN(test_G20_split_model);
    RUN(test_G20_in_memory);
    RUN(test_M16_torture);
    RUN(test_G25_many_entries);
    RUN(test_random_bytes);
    (void)rmdir(dir);
    printf("1..%u\n", n_tests);
    return n_failed ? 1 : 0;
}
