/* Every architecture with every tensor misshapen or missing and every number of its metadata wrong, one at a time: the
 * model is refused with a sentence that names what is wrong, or it still runs a step. Run under the sanitizers, this is
 * the hostile suite of the model code. Files: archs and embeddings of the reference data, else of tests/data. */
#include <jansson.h>

#include "format/format.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "tests/golden/draft_models.h"
#include "tests/tap.h"

#include <unistd.h>

typedef struct place { /* where a thing stands in the file */
    char name[96];
    uint64_t at; /* of the number or of the dimensions */
    uint32_t type, n_dims;
    uint64_t ne[4];
} place;

typedef struct file {
    const char *name;
    uint8_t *data;
    size_t size;
    place *tensors, *numbers;
    size_t n_tensors, n_numbers;
} file;

static uint64_t get(const file *f, uint64_t at, int n)
{
    uint64_t v = 0;
    memcpy(&v, f->data + at, (size_t)n);
    return v;
}

static void read_name(const file *f, uint64_t *at, char out[96])
{
    uint64_t n = get(f, *at, 8);
    (void)snprintf(out, 96, "%.*s", (int)n, (const char *)f->data + *at + 8);
    *at += 8 + n;
}

static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}; /* of a value by its type */

static uint64_t skip_value(const file *f, uint64_t at, uint32_t type)
{
    if (type == 8) return at + 8 + get(f, at, 8);
    if (type != 9) return at + sizes[type];
    uint32_t elem = (uint32_t)get(f, at, 4);
    uint64_t n = get(f, at + 4, 8);
    at += 12;
    if (elem != 8) return at + n * sizes[elem];
    while (n--) at = skip_value(f, at, 8);
    return at;
}

/* The reference files are known to be well-formed. */
static bool read_file(const char *path, file *f)
{
    f->data = tap_read(path, &f->size);
    if (!f->data) return false;
    uint64_t n_tensors = get(f, 8, 8), n_meta = get(f, 16, 8), at = 24;
    f->tensors = calloc(n_tensors, sizeof *f->tensors);
    f->numbers = calloc(n_meta, sizeof *f->numbers);
    for (uint64_t i = 0; i < n_meta; i++) {
        place p = {0};
        read_name(f, &at, p.name);
        p.type = (uint32_t)get(f, at, 4);
        p.at = at += 4;
        bool number =
            p.type < 8 && strchr(p.name, '.') && strncmp(p.name, "tokenizer", 9) && strncmp(p.name, "general", 7);
        if (number) f->numbers[f->n_numbers++] = p;
        at = skip_value(f, at, p.type);
    }
    for (uint64_t i = 0; i < n_tensors; i++) {
        place p = {0};
        read_name(f, &at, p.name);
        p.n_dims = (uint32_t)get(f, at, 4);
        p.at = at += 4;
        for (uint32_t d = 0; d < p.n_dims; d++) p.ne[d] = get(f, at + 8 * d, 8);
        at += 8 * p.n_dims + 12;
        f->tensors[f->n_tensors++] = p;
    }
    return true;
}

/* One token through the model, when it opens at all. */
static void run_step(const ig_model *m)
{
    ig_run *run;
    ig_seq seq, source;
    ig_error err;
    const ig_hparams *hp = ig_model_hparams(m);
    ig_run_options o = {.n_threads = 1,
                        .n_batch = 4,
                        .n_logits = 4,
                        .n_ctx = 64,
                        .n_pages = {2, 2},
                        .embed = !hp->has_logits,
                        .draft = true};
    int32_t ids[3] = {0, 1, 2}, guesses[2];
    if (ig_run_new(m, &o, &run, &err) != IG_OK) return;
    bool ok = ig_seq_init(run, &seq, 64, &err) == IG_OK;
    ok = ig_seq_init(run, &source, 64, &err) == IG_OK && ok;
    ig_step_item first = {.seq = &source, .tokens = ids, .n = 3},
                 it = {.seq = &seq, .tokens = ids, .n = 3, .want = IG_WANT_ALL};
    if (ok && hp->has_encoder && ig_encode(run, &first, &err) == IG_OK) seq.source = &source;
    if (ok && ig_step(run, &it, 1, &err) == IG_OK) (void)ig_draft_ahead(run, &seq, ids, 1, 2, guesses, NULL);
    ig_seq_fini(run, &seq);
    ig_seq_fini(run, &source);
    ig_run_free(run);
}

static ig_status open_model(const file *f, ig_error *err)
{
    ig_format *format;
    ig_model *m = NULL;
    ig_status st = ig_format_open_memory(f->name, f->data, f->size, &format, err);
    if (st != IG_OK) return st;
    st = ig_model_new(format, ig_kernels_get(NULL, NULL), 0, &m, err);
    if (st == IG_OK) run_step(m);
    ig_model_free(m);
    ig_format_close(format);
    return st;
}

/* Tensors whose last dimension is free, or which nothing reads. */
static bool may_change(const char *model, const char *name)
{
    if (!strcmp(model, "glm4moe") && !strncmp(name, "blk.3.", 6)) return true; /* a draft layer */
    static const char *const any[] = {"token_types", "dense_", "time_mix_v", "attn_gate", "vocab", "cls"};
    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        if (strstr(name, any[i])) return true;
    return false;
}

static void put(file *f, uint64_t at, uint64_t v, int n) { memcpy(f->data + at, &v, (size_t)n); }

static void check_tensors(file *f)
{
    ig_error err = {0};
    size_t bad = 0;
    for (size_t i = 0; i < f->n_tensors; i++) {
        const place *p = &f->tensors[i];
        for (uint32_t d = 0; d < p->n_dims; d++) {
            if (p->ne[d] < 2) continue;
            put(f, p->at + 8 * d, p->ne[d] / 2, 8);
            ig_status st = open_model(f, &err);
            put(f, p->at + 8 * d, p->ne[d], 8);
            bool vocabulary = !strcmp(p->name, "token_embd.weight") && d == 1; /* others are measured by it */
            if ((st != IG_OK && strstr(err.text, p->name)) || vocabulary || may_change(f->name, p->name)) continue;
            printf("# %s: %s dimension %u halved: %s\n", f->name, p->name, d, st ? err.text : "opens");
            bad++;
        }
        uint64_t at = p->at - 4 - strlen(p->name); /* a name that nothing has */
        f->data[at] = 'X';
        ig_status st = open_model(f, &err);
        f->data[at] = (uint8_t)p->name[0];
        char stem[96]; /* without .weight: a norm's bias may be what is left over */
        (void)snprintf(stem, sizeof stem, "%s", p->name + 1);
        if (strrchr(stem, '.')) *strrchr(stem, '.') = 0;
        if (strrchr(stem, '.')) memmove(stem, strrchr(stem, '.'), strlen(strrchr(stem, '.')) + 1);
        if ((st != IG_OK && strstr(err.text, stem + (stem[0] == '.'))) || may_change(f->name, p->name)) continue;
        printf("# %s: %s missing: %s\n", f->name, p->name, st ? err.text : "opens");
        bad++;
    }
    tap_ok(bad == 0, "%s: %zu tensors, each misshapen and missing", f->name, f->n_tensors);
}

static void check_numbers(file *f)
{
    static const uint64_t wrong[] = {0, 1, 3, 7, 1u << 20, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000, 0x7F800000, 0xBF800000};
    ig_error err = {0};
    size_t bad = 0, n_refused = 0;
    for (size_t i = 0; i < f->n_numbers; i++) {
        const place *p = &f->numbers[i];
        uint64_t old = get(f, p->at, sizes[p->type]);
        for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
            if (p->type == 7 && wrong[w] > 1) continue;
            put(f, p->at, wrong[w], sizes[p->type]);
            ig_status st = open_model(f, &err);
            n_refused += st != IG_OK;
            bad += st == IG_BUG || (st != IG_OK && !err.text[0]);
        }
        put(f, p->at, old, sizes[p->type]);
    }
    bool whole = open_model(f, &err) == IG_OK;
    tap_ok(bad == 0 && whole, "%s: %zu numbers, each wrong: %zu refused, the rest runs %s", f->name, f->n_numbers,
           n_refused, whole ? "" : err.text);
}

static void check_file(const char *dir, const char *name, const char *file_name)
{
    char path[1400];
    file f = {.name = name};
    (void)snprintf(path, sizeof path, "%s/%s", dir, file_name);
    if (!read_file(path, &f)) {
        tap_ok(false, "%s: cannot read %s", name, path);
        return;
    }
    check_tensors(&f);
    check_numbers(&f);
    free(f.data);
    free(f.tensors);
    free(f.numbers);
}

/* Models with a draft layer. */
static void check_heads(void)
{
    static const char *const names[] = {"deepseek2", "glm-dsa", "qwen3next"};
    char dir[] = "/tmp/ingle-shapes-XXXXXX", from[1280], path[64];
    if (!tap_ok(mkdtemp(dir) != NULL, "a folder for models with draft layers")) return;
    (void)snprintf(path, sizeof path, "%s/m.gguf", dir);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        (void)snprintf(from, sizeof from, "%s/archs/%s.gguf", tap_data(), names[i]);
        (void)snprintf(name, sizeof name, "%s with a draft layer", names[i]);
        if (tap_ok(draft_model_write(from, path, NULL), "%s is made", name)) check_file(dir, name, "m.gguf");
    }
    remove(path);
    rmdir(dir);
}

int main(void)
{
    check_heads();
    static const char *const folders[] = {"archs", "embeddings"};
    for (size_t i = 0; i < 2; i++) {
        char dir[1024], path[1280];
        (void)snprintf(dir, sizeof dir, "%s/%s", tap_golden(), folders[i]);
        (void)snprintf(path, sizeof path, "%s/cases.json", dir);
        json_t *all = json_load_file(path, 0, NULL), *one;
        if (!all) {
            (void)snprintf(dir, sizeof dir, "%s/%s", tap_data(), folders[i]);
            (void)snprintf(path, sizeof path, "%s/cases.json", dir);
            all = json_load_file(path, 0, NULL);
        }
        const char *name;
        json_object_foreach(all, name, one) if (!strstr(name, "-sparse") && !strstr(name, "mxfp4"))
            check_file(dir, name, json_string_value(json_object_get(one, "file")));
        json_decref(all);
    }
    return tap_done();
}
