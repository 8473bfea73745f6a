/* ingle show: what a model file holds, and whether it fits into this machine's memory. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "far.h"
#include "input.h"
#include "out.h"
#include "shop.h"
#include "verbs.h"

enum { ELEMENTS_MAX = 8 }; /* of an array are printed in an overview */

typedef struct show_state {
    const cli_call *call;
    ingle_model *model;
    ig_manifest *manifest; /* NULL: the model is no one of the store */
    ingle_model_info info;
    ingle_memory memory;
    bool has_memory;
    ingle_kv_type kv;
    uint32_t n_ctx;
    ingle_error why_not; /* text is "" when this version can run the model */
} show_state;

/* Text of one value, cut after text_max bytes (0: whole); the buffer is reused. */
static bool meta_text(const ingle_model *model, uint64_t i, uint64_t elem, size_t text_max, ig_buf *out)
{
    size_t n = 0;
    char *room;
    out->len = 0;
    if (!ingle_model_meta_text(model, i, elem, NULL, 0, &n)) return false;
    if (text_max && n > text_max) n = text_max;
    room = ig_realloc(out->ptr, n + 1, 1);
    if (!room) return false;
    out->ptr = room;
    size_t full;
    if (!ingle_model_meta_text(model, i, elem, room, n, &full)) return false;
    out->len = n;
    return true;
}

static bool is_array(const ingle_meta *m) { return !strncmp(m->type, "array", 5); }

/* ------------------------------------------------------------------------------------------------ text */

/* File text on one line: control characters and broken UTF-8 become '?', long text is cut. */
static void print_clean(const char *text, size_t n)
{
    ig_error line;
    ig_fail(&line, IG_OK, 0, "%.*s", (int)(n > 100 ? 100 : n), text);
    cli_outf("%s%s", line.text, n > 100 ? "..." : "");
}

static void print_memory(const show_state *s)
{
    char b[5][16];
    const ingle_memory *m = &s->memory;
    uint64_t all = m->weights + m->kv + m->workspace + m->logits;
    cli_outf("\nmemory for a context of %u tokens, cache %s\n", s->n_ctx, input_kv_name(s->kv));
    cli_outf("  weights       %s (mapped, shared between processes)\n", cli_bytes(m->weights, b[0]));
    cli_outf("  cache         %s\n  workspace     %s\n", cli_bytes(m->kv, b[1]),
             cli_bytes(m->workspace + m->logits, b[2]));
    cli_outf("  in all        %s of %s available: %s\n", cli_bytes(all, b[3]), cli_bytes(m->available, b[4]),
             m->fits ? "fits" : "does not fit");
}

static void print_line(const char *name, const char *text)
{
    if (!text) return;
    cli_outf("%-16s", name);
    print_clean(text, strcspn(text, "\n"));
    cli_outf("%s\n", strchr(text, '\n') ? " ..." : "");
}

/* What the store was told; else what the file says of itself, as such; else that nobody has said. */
static void print_told(const show_state *s, const char *name, const char *told, const char *const keys[2])
{
    ig_buf text;
    ingle_meta m;
    if (told && *told) {
        print_line(name, told);
        return;
    }
    ig_buf_init(&text, 0);
    bool said = false;
    for (size_t k = 0; k < 2 && !said; k++)
        for (uint64_t i = 0; ingle_model_meta(s->model, i, &m) && !said; i++)
            said = !strcmp(m.key, keys[k]) && !is_array(&m) && meta_text(s->model, i, 0, 128, &text) && text.len;
    cli_outf("%-16s", name);
    if (said) print_clean(text.ptr, text.len);
    cli_outf(said ? " (as the file says)\n" : "not known\n");
    ig_buf_fini(&text);
}

static double bits_per_weight(const ingle_model_info *i)
{
    return i->n_params ? 8.0 * (double)i->weight_bytes / (double)i->n_params : 0;
}

/* What the store knows about the model; its own lines come before those of the file. */
static void print_manifest(const show_state *s)
{
    static const char *const licence[2] = {"general.license", "general.license.name"};
    static const char *const base[2] = {"general.base_model.0.repo_url", "general.base_model.0.name"};
    const ig_manifest *m = s->manifest;
    char bytes[16], age[32];
    cli_outf("model           %s\ndigest          sha256:%s\n", m->name.text, m->digest.hex);
    print_line("source", m->source);
    print_told(s, "license", m->licence, licence);
    print_told(s, "base model", m->base, base);
    print_line("parameters set", m->parameters);
    print_line("system prompt", m->system);
    print_line("template", m->template);
    cli_outf("added           %s\n", shop_age(m->added_s, age));
    for (size_t i = 0; i < m->n_files; i++) {
        cli_outf("%-16s", ig_role_name(m->files[i].role));
        print_clean(m->files[i].name, strlen(m->files[i].name));
        cli_outf(" sha256:%.12s %s\n", m->files[i].digest.hex, cli_bytes(m->files[i].size, bytes));
    }
}

static void print_overview(const show_state *s)
{
    if (s->manifest) print_manifest(s);
    const ingle_model_info *i = &s->info;
    char bytes[16];
    cli_outf("architecture    ");
    print_clean(i->architecture, strlen(i->architecture));
    if (i->name[0]) {
        cli_outf("\nname            ");
        print_clean(i->name, strlen(i->name));
    }
    if (i->file_type[0]) cli_outf("\nfile type       %s", i->file_type);
    if (i->gguf_version)
        cli_outf("\nformat          GGUF version %u", i->gguf_version);
    else
        cli_outf("\nformat          Hugging Face directory");
    cli_outf(", %u file%s", i->n_parts, i->n_parts == 1 ? "" : "s");
    cli_outf("\nparameters      %llu\nweights         %s in %llu tensors\n", (unsigned long long)i->n_params,
             cli_bytes(i->weight_bytes, bytes), (unsigned long long)i->n_tensors);
    if (i->n_params) cli_outf("bits per weight %.2f\n", bits_per_weight(i));
    if (i->n_ctx_train) cli_outf("context         %u\n", i->n_ctx_train);
    if (i->n_embd) cli_outf("width           %u\n", i->n_embd);
    if (i->n_layers)
        cli_outf("layers          %u%s\n", i->n_layers, i->has_head ? ", and one that guesses tokens" : "");
    if (i->n_heads) cli_outf("heads           %u, key and value %u\n", i->n_heads, i->n_heads_kv);
    if (i->n_experts) cli_outf("experts         %u, used %u\n", i->n_experts, i->n_experts_used);
    cli_outf("vocabulary      %u%s\n", i->n_vocab, i->has_vocab ? "" : " (the file names no tokens)");
    if (s->why_not.text[0])
        cli_outf("runs here       no: %s\n", s->why_not.text);
    else
        cli_outf("runs here       yes, kernels %s\n", i->kernels);
}

static bool print_metadata(const show_state *s)
{
    ig_buf text;
    ingle_meta m;
    ig_buf_init(&text, 0);
    cli_outf("\nmetadata\n");
    for (uint64_t i = 0; ingle_model_meta(s->model, i, &m); i++) {
        uint64_t n = is_array(&m) ? m.n : 1;
        cli_outf("  ");
        print_clean(m.key, strlen(m.key));
        cli_outf(" = ");
        if (is_array(&m)) cli_outf("%s, %llu: ", m.type, (unsigned long long)m.n);
        for (uint64_t k = 0; k < n && k < ELEMENTS_MAX; k++) {
            if (!meta_text(s->model, i, k, 128, &text)) break;
            if (k) cli_outf(", ");
            print_clean(text.ptr, text.len);
        }
        cli_outf("%s\n", n > ELEMENTS_MAX ? ", ..." : "");
    }
    ig_buf_fini(&text);
    return true;
}

static void print_tensors(const show_state *s)
{
    ingle_tensor t;
    char bytes[16];
    cli_outf("\ntensors\n");
    for (uint64_t i = 0; ingle_model_tensor(s->model, i, &t); i++) {
        cli_outf("  ");
        print_clean(t.name, strlen(t.name));
        cli_outf(" %s [", t.type);
        for (uint32_t d = 0; d < t.n_dims; d++) cli_outf("%s%llu", d ? ", " : "", (unsigned long long)t.ne[d]);
        cli_outf("] %s\n", cli_bytes(t.n_bytes, bytes));
    }
}

/* Reads all weights; exit code 3 when one of them is no finite number. */
static int print_scan(const show_state *s)
{
    ingle_tensor t;
    ingle_error err;
    uint64_t n_bad = 0, n = 0;
    for (; ingle_model_tensor(s->model, n, &t); n++) {
        uint64_t bad, block;
        if (ingle_model_scan(s->model, n, &bad, &block, &err) != INGLE_OK) return cli_fail(err.text);
        if (bad == 0) continue;
        n_bad++;
        cli_outf("tensor ");
        print_clean(t.name, strlen(t.name));
        cli_outf(": %llu weights are NaN or infinite, the first in block %llu\n", (unsigned long long)bad,
                 (unsigned long long)block);
    }
    cli_outf("%llu of %llu tensors hold weights that are no finite numbers\n", (unsigned long long)n_bad,
             (unsigned long long)n);
    return n_bad ? CLI_NO : CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ JSON */

/* A JSON string; bytes that are no UTF-8 become U+FFFD. */
static json_t *json_text(const char *text, size_t n)
{
    json_t *j = json_stringn(text, n);
    if (j) return j;
    ig_buf clean;
    ig_buf_init(&clean, 3 * n + 1);
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(text + i, n - i, &cp);
        ig_buf_add(&clean, len ? text + i : "\xEF\xBF\xBD", len ? len : 3);
        i += len ? len : 1;
    }
    j = clean.failed ? json_null() : json_stringn(clean.ptr, clean.len);
    ig_buf_fini(&clean);
    return j;
}

static json_t *json_number(const char *text, size_t n)
{
    char copy[64];
    double real;
    if (n >= sizeof copy) return json_null();
    memcpy(copy, text, n);
    copy[n] = 0;
    if (copy[strspn(copy, "-0123456789")] == 0) {
        char *end;
        long long whole = strtoll(copy, &end, 10);
        if (whole != INT64_MAX && !*end) return json_integer(whole);
        return json_text(copy, n); /* above what JSON readers take for a whole number */
    }
    return cli_parse_real(copy, false, &real) ? json_real(real) : json_null();
}

static json_t *json_value(const char *type, const ig_buf *text)
{
    if (strstr(type, "string")) return json_text(text->len ? text->ptr : "", text->len);
    if (strstr(type, "bool")) return json_boolean(text->len == 4 && !memcmp(text->ptr, "true", 4));
    return json_number(text->ptr, text->len);
}

/* Value of entry i; an array longer than elements_max becomes {"type", "n"}. */
static json_t *json_meta(const show_state *s, uint64_t i, const ingle_meta *m, uint64_t elements_max)
{
    ig_buf text;
    json_t *j;
    ig_buf_init(&text, 0);
    if (is_array(m) && m->n > elements_max) {
        j = json_pack("{s:s, s:I}", "type", m->type, "n", (json_int_t)m->n);
    } else if (is_array(m)) {
        j = json_array();
        for (uint64_t k = 0; k < m->n && meta_text(s->model, i, k, 0, &text); k++)
            json_array_append_new(j, json_value(m->type, &text));
    } else {
        j = meta_text(s->model, i, 0, 0, &text) ? json_value(m->type, &text) : json_null();
    }
    ig_buf_fini(&text);
    return j;
}

static json_t *json_overview(const show_state *s)
{
    const ingle_model_info *i = &s->info;
    json_t *j = json_object();
    json_object_set_new(j, "file", json_text(s->call->args[0], strlen(s->call->args[0])));
    json_object_set_new(j, "architecture", json_text(i->architecture, strlen(i->architecture)));
    json_object_set_new(j, "name", json_text(i->name, strlen(i->name)));
    json_object_set_new(j, "file_type", json_string(i->file_type));
    json_object_set_new(j, "kernels", json_string(i->kernels));
    json_object_set_new(j, "bits_per_weight", json_real(bits_per_weight(i)));
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"gguf_version", i->gguf_version},
                   {"parts", i->n_parts},
                   {"parameters", i->n_params},
                   {"weight_bytes", i->weight_bytes},
                   {"tensor_count", i->n_tensors},
                   {"metadata_count", i->n_meta},
                   {"vocabulary", i->n_vocab},
                   {"context", i->n_ctx_train},
                   {"layers", i->n_layers},
                   {"width", i->n_embd},
                   {"heads", i->n_heads},
                   {"heads_kv", i->n_heads_kv},
                   {"experts", i->n_experts},
                   {"experts_used", i->n_experts_used}};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        json_object_set_new(j, numbers[k].key, json_integer((json_int_t)numbers[k].value));
    json_object_set_new(j, "has_head", json_boolean(i->has_head));
    json_object_set_new(j, "has_tensors", json_boolean(i->has_tensors));
    json_object_set_new(j, "has_vocabulary", json_boolean(i->has_vocab));
    json_object_set_new(j, "bos", i->bos < 0 ? json_null() : json_integer(i->bos));
    json_object_set_new(j, "eos", i->eos < 0 ? json_null() : json_integer(i->eos));
    json_object_set_new(j, "eot", i->eot < 0 ? json_null() : json_integer(i->eot));
    json_object_set_new(j, "runs", json_boolean(!s->why_not.text[0]));
    json_object_set_new(j, "why_not", s->why_not.text[0] ? json_string(s->why_not.text) : json_null());
    return j;
}

static json_t *json_memory(const show_state *s)
{
    const ingle_memory *m = &s->memory;
    if (!s->has_memory) return json_null();
    return json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "context", (json_int_t)s->n_ctx, "kv",
                     input_kv_name(s->kv), "weights_bytes", (json_int_t)m->weights, "kv_bytes", (json_int_t)m->kv,
                     "workspace_bytes", (json_int_t)m->workspace, "logits_bytes", (json_int_t)m->logits, "total_bytes",
                     (json_int_t)(m->weights + m->kv + m->workspace + m->logits), "available_bytes",
                     (json_int_t)m->available, "fits", m->fits);
}

static json_t *json_tensors(const show_state *s)
{
    json_t *all = json_array();
    ingle_tensor t;
    for (uint64_t i = 0; ingle_model_tensor(s->model, i, &t); i++) {
        json_t *shape = json_array();
        for (uint32_t d = 0; d < t.n_dims; d++) json_array_append_new(shape, json_integer((json_int_t)t.ne[d]));
        json_array_append_new(all, json_pack("{s:o, s:s, s:o, s:I}", "name", json_text(t.name, strlen(t.name)), "type",
                                             t.type, "shape", shape, "bytes", (json_int_t)t.n_bytes));
    }
    return all;
}

static void print_json(const show_state *s)
{
    json_t *j = json_overview(s), *metadata = json_object();
    ingle_meta m;
    json_object_set_new(j, "memory", json_memory(s));
    if (s->manifest) json_object_set_new(j, "model", shop_manifest_json(s->manifest));
    for (uint64_t i = 0; ingle_model_meta(s->model, i, &m); i++)
        json_object_set_new_nocheck(metadata, m.key, json_meta(s, i, &m, 32));
    json_object_set_new(j, "metadata", metadata);
    if (cli_set(s->call, "tensors")) json_object_set_new(j, "tensors", json_tensors(s));
    cli_out_json(j);
    json_decref(j);
}

/* ------------------------------------------------------------------------------------------------ one key */

static int print_meta(const show_state *s, const char *key)
{
    ig_buf text;
    ig_error err;
    ingle_meta m;
    uint64_t i = 0;
    while (ingle_model_meta(s->model, i, &m) && strcmp(m.key, key)) i++;
    if (!ingle_model_meta(s->model, i, &m)) {
        ig_fail(&err, IG_NOT_FOUND, 0, "%.200s has no metadata key %.80s. To see all type: ingle show %.80s",
                s->call->args[0], key, s->call->args[0]);
        return cli_fail(err.text);
    }
    if (cli_set(s->call, "json")) {
        json_t *j = json_object();
        json_object_set_new_nocheck(j, m.key, json_meta(s, i, &m, UINT64_MAX));
        cli_out_json(j);
        json_decref(j);
        return CLI_DONE;
    }
    ig_buf_init(&text, 0);
    uint64_t n = is_array(&m) ? m.n : 1;
    for (uint64_t k = 0; k < n && meta_text(s->model, i, k, 0, &text); k++) {
        cli_out_stream(text.ptr, text.len);
        cli_out("\n", 1);
    }
    ig_buf_fini(&text);
    return CLI_DONE;
}

/* A model that is sound but that this version cannot run is described all the same; a damaged one is an error. */
static ingle_status open_one(show_state *s, bool vocab_only, ingle_error *err)
{
    const char *path = s->call->args[0];
    ingle_model_options options = {.size = sizeof options, .vocab_only = vocab_only};
    if (shop_is_name(path)) return shop_model(path, &options, &s->model, &s->manifest, err);
    return input_model(path, vocab_only, &s->model, err);
}

static ingle_status open_model(show_state *s, ingle_error *err)
{
    ingle_status st = open_one(s, false, err);
    if (st != INGLE_UNSUPPORTED) return st;
    s->why_not = *err;
    return open_one(s, true, err);
}

static ingle_status load(show_state *s, ingle_error *err)
{
    ingle_status st = open_model(s, err);
    if (st != INGLE_OK) return st;
    ingle_model_describe(s->model, &s->info);
    s->n_ctx = cli_count(s->call, "ctx", s->info.n_ctx_train);
    if (s->why_not.text[0] || !s->info.has_tensors) {
        ig_error e;
        ig_fail(&e, IG_UNSUPPORTED, 0, "the file holds a vocabulary and no weights");
        if (!s->why_not.text[0]) input_error(&e, &s->why_not);
        return INGLE_OK;
    }
    st = ingle_model_memory(s->model, s->n_ctx, s->kv, &s->memory, err);
    s->has_memory = st == INGLE_OK;
    return st;
}

int cli_show(const cli_call *call)
{
    show_state s = {.call = call, .kv = input_kv(call, INGLE_KV_F16)};
    ingle_error err;
    const char *key = cli_text(call, "meta");
    int code = CLI_DONE;
    if (far_show(call, &code)) return code;
    if (load(&s, &err) != INGLE_OK) {
        code = cli_fail(err.text);
    } else if (key) {
        code = print_meta(&s, key);
    } else if (cli_set(call, "scan")) {
        code = print_scan(&s);
    } else if (cli_set(call, "json")) {
        print_json(&s);
    } else {
        print_overview(&s);
        if (s.has_memory) print_memory(&s);
        print_metadata(&s);
        if (cli_set(call, "tensors")) print_tensors(&s);
    }
    ingle_model_close(s.model);
    ig_manifest_free(s.manifest);
    return code;
}
