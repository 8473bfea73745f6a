/* The public face of models: opening, describing, tokenizing. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/os.h"
#include "engine/api.h"
#include "engine/vocab.h"

_Static_assert((int)INGLE_OK == IG_OK && (int)INGLE_BAD_INPUT == IG_BAD_INPUT &&
                   (int)INGLE_UNSUPPORTED == IG_UNSUPPORTED && (int)INGLE_NOT_FOUND == IG_NOT_FOUND &&
                   (int)INGLE_DENIED == IG_DENIED && (int)INGLE_TOO_LARGE == IG_TOO_LARGE &&
                   (int)INGLE_NO_MEMORY == IG_NO_MEMORY && (int)INGLE_IO == IG_IO &&
                   (int)INGLE_CANCELLED == IG_CANCELLED && (int)INGLE_BUG == IG_BUG,
               "the public status list has the order of base/status.h");
_Static_assert(sizeof((ingle_error){0}.text) == sizeof((ig_error){0}.text), "error texts have one size");

ingle_status ig_pass(ig_status st, const ig_error *from, ingle_error *to)
{
    if (st != IG_OK && to) {
        to->status = (ingle_status)st;
        to->sys_errno = from->sys_errno;
        to->offset = from->offset;
        memcpy(to->text, from->text, sizeof to->text);
    }
    return (ingle_status)st;
}

const char *ingle_version(void) { return INGLE_VERSION; }
const char *ingle_status_name(ingle_status status) { return ig_status_name((ig_status)status); }

uint32_t ig_logits_width(const ingle_model *m) { return m->net ? ig_model_hparams(m->net)->n_vocab : 0; }

/* The batch that prefill takes where nobody says otherwise; an encoder takes a text whole. */
uint32_t ig_standard_batch(const ig_model *net, uint32_t n_ctx)
{
    enum { N_BATCH_DEFAULT = 256 };
    return ig_model_hparams(net)->causal ? N_BATCH_DEFAULT : n_ctx;
}

static ig_status copy_names(ingle_model *m, ig_error *err)
{
    size_t n_meta = ig_format_n_meta(m->file), n_tensors = ig_format_n_tensors(m->file);
    m->meta_names = ig_arena_alloc(&m->names, n_meta + 1, sizeof(char *));
    m->tensor_names = ig_arena_alloc(&m->names, n_tensors + 1, sizeof(char *));
    bool ok = m->meta_names && m->tensor_names;
    for (size_t i = 0; ok && i < n_meta; i++) {
        ig_str key = ig_format_meta_at(m->file, i)->key;
        ok = (m->meta_names[i] = ig_arena_copy(&m->names, key.ptr, key.len)) != NULL;
    }
    for (size_t i = 0; ok && i < n_tensors; i++) {
        const ig_tensor *t = ig_format_tensor_at(m->file, i);
        ok = (m->tensor_names[i] = ig_arena_copy(&m->names, t->name.ptr, t->name.len)) != NULL;
        m->n_params += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        m->weight_bytes += t->n_bytes;
    }
    ig_str arch = IG_STR(""), name = IG_STR("");
    IG_TRY(ig_format_str(m->file, "general.architecture", false, &arch, err));
    IG_TRY(ig_format_str(m->file, "general.name", false, &name, err));
    m->architecture = ok ? ig_arena_copy(&m->names, arch.ptr, arch.len) : NULL;
    m->name = ok ? ig_arena_copy(&m->names, name.ptr, name.len) : NULL;
    return m->architecture && m->name ? IG_OK
                                      : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the names of the model");
}

const char *ingle_kernels(const char **note)
{
    const ig_kernels *k = ig_kernels_get(NULL, NULL);
    if (note) *note = k ? ig_kernels_note(k) : NULL;
    return k ? k->level : NULL;
}

void ig_engine_prepare(void) { (void)ig_kernels_get(NULL, NULL); }

/* Where a model lies: a path, or n open files with their names. */
typedef struct place {
    const char *path, *const *names;
    const int *fds;
    size_t n;
} place;

/* A directory that holds a tokenizer and no model: an empty model file stands in for the model. */
static ig_status open_tokenizer(ingle_model *m, const char *path, ig_error *err)
{
    static const uint8_t empty[24] = {'G', 'G', 'U', 'F', 3};
    IG_TRY(ig_format_open_memory(path, empty, sizeof empty, &m->file, err));
    IG_TRY(copy_names(m, err));
    return ig_vocab_from_directory(path, &m->vocab, err);
}

static ig_status open_all(ingle_model *m, const place *at, const ingle_model_options *options, ig_error *err)
{
    ingle_model_options o;
    IG_OPTIONS(&o, options);
    m->lazy = ig_lazy_new();
    if (!m->lazy) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the model");
    m->kernels = ig_kernels_get(o.kernels, err);
    if (!m->kernels) return err->status;
    if (at->path && ig_vocab_is_directory(at->path)) return open_tokenizer(m, at->path, err);
    IG_TRY(at->path ? ig_format_open(at->path, &m->file, err)
                    : ig_format_open_fds(at->names, at->fds, at->n, &m->file, err));
    IG_TRY(copy_names(m, err));
    IG_TRY(ig_vocab_from_format(m->file, &m->vocab, err));
    if (o.vocab_only || ig_format_n_tensors(m->file) == 0) return IG_OK;
    return ig_model_new(m->file, m->kernels, m->vocab ? ig_vocab_size(m->vocab) : 0, &m->net, err);
}

static ingle_status open_place(const place *at, const ingle_model_options *options, ingle_model **out, ingle_error *err)
{
    ig_error e;
    *out = NULL;
    ingle_model *m = ig_calloc(1, sizeof *m);
    if (!m) return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the model"), &e, err);
    ig_status st = open_all(m, at, options, &e);
    if (st != IG_OK) {
        ingle_model_close(m);
        return ig_pass(st, &e, err);
    }
    *out = m;
    return INGLE_OK;
}

ingle_status ingle_model_open(const char *path, const ingle_model_options *options, ingle_model **out, ingle_error *err)
{
    place at = {.path = path};
    return open_place(&at, options, out, err);
}

ingle_status ig_model_open_fds(const char *const *names, const int *fds, size_t n, const ingle_model_options *options,
                               ingle_model **out, ingle_error *err)
{
    place at = {.names = names, .fds = fds, .n = n};
    return open_place(&at, options, out, err);
}

ingle_status ingle_model_open_files(const char *const *names, const int *fds, size_t n,
                                    const ingle_model_options *options, ingle_model **out, ingle_error *err)
{
    return ig_model_open_fds(names, fds, n, options, out, err);
}

void ingle_model_close(ingle_model *model)
{
    if (!model) return;
    ig_model_free(model->net);
    ig_vocab_free(model->vocab);
    ig_format_close(model->file);
    ig_arena_fini(&model->names);
    ig_lazy_free(model->lazy);
    ig_free(model);
}

/* general.file_type as llama.cpp numbers it (gguf specification, enum GGML_FTYPE / llama_ftype). */
static const char *file_type_name(const ig_format *f)
{
    static const char *const names[] = {
        [0] = "F32",
        [1] = "F16",
        [2] = "Q4_0",
        [3] = "Q4_1",
        [7] = "Q8_0",
        [8] = "Q5_0",
        [9] = "Q5_1",
        [10] = "Q2_K",
        [11] = "Q3_K - Small",
        [12] = "Q3_K - Medium",
        [13] = "Q3_K - Large",
        [14] = "Q4_K - Small",
        [15] = "Q4_K - Medium",
        [16] = "Q5_K - Small",
        [17] = "Q5_K - Medium",
        [18] = "Q6_K",
        [19] = "IQ2_XXS",
        [20] = "IQ2_XS",
        [21] = "Q2_K - Small",
        [22] = "IQ3_XS",
        [23] = "IQ3_XXS",
        [24] = "IQ1_S",
        [25] = "IQ4_NL",
        [26] = "IQ3_S",
        [27] = "IQ3_M",
        [28] = "IQ2_S",
        [29] = "IQ2_M",
        [30] = "IQ4_XS",
        [31] = "IQ1_M",
        [32] = "BF16",
        [36] = "TQ1_0",
        [37] = "TQ2_0",
        [38] = "MXFP4 MoE",
    };
    uint32_t type = UINT32_MAX;
    if (ig_format_u32(f, "general.file_type", false, &type, NULL) != IG_OK || type >= sizeof names / sizeof *names)
        return "";
    return names[type] ? names[type] : "";
}

void ingle_model_describe(const ingle_model *model, ingle_model_info *out)
{
    *out = (ingle_model_info){
        .architecture = model->architecture,
        .name = model->name,
        .file_type = file_type_name(model->file),
        .kernels = model->kernels->level,
        .n_params = model->n_params,
        .weight_bytes = model->weight_bytes,
        .n_tensors = ig_format_n_tensors(model->file),
        .n_meta = ig_format_n_meta(model->file),
        .gguf_version = ig_format_version(model->file),
        .n_parts = ig_format_parts(model->file),
        .has_tensors = ig_format_n_tensors(model->file) > 0,
        .has_vocab = model->vocab != NULL,
        .bos = model->vocab ? ig_vocab_bos(model->vocab) : -1,
        .eos = model->vocab ? ig_vocab_eos(model->vocab) : -1,
        .eot = model->vocab ? ig_vocab_eot(model->vocab) : -1,
    };
    out->n_vocab = model->vocab ? (uint32_t)ig_vocab_size(model->vocab) : 0;
    if (!model->net) return;
    const ig_hparams *hp = ig_model_hparams(model->net);
    out->n_vocab = hp->n_vocab;
    out->n_ctx_train = hp->n_ctx_train;
    out->n_layers = hp->n_layers;
    out->n_embd = hp->n_embd;
    out->n_heads = hp->n_heads;
    out->n_heads_kv = hp->n_heads_kv;
    out->n_experts = hp->n_experts;
    out->n_experts_used = hp->n_experts_used;
    out->n_embd_out = hp->n_embd_out;
    out->has_head = hp->n_draft > 0;
    out->has_logits = hp->has_logits;
    out->has_encoder = hp->has_encoder;
    out->causal = hp->causal;
    out->pooling = ig_default_pooling(model);
}

ingle_status ingle_model_memory(const ingle_model *model, uint32_t n_ctx, ingle_kv_type kv, ingle_memory *out,
                                ingle_error *err)
{
    static const ig_kv kinds[] = {[INGLE_KV_F16] = IG_KV_F16, [INGLE_KV_F32] = IG_KV_F32, [INGLE_KV_Q8_0] = IG_KV_Q8_0};
    ig_error e;
    if (!model->net)
        return ig_pass(ig_fail(&e, IG_UNSUPPORTED, 0, "%s: no tensors are loaded, so there is no memory to reckon",
                               ig_format_path(model->file)),
                       &e, err);
    if ((unsigned)kv > INGLE_KV_Q8_0)
        return ig_pass(ig_fail(&e, IG_BAD_INPUT, 0, "KV type %d is not known", (int)kv), &e, err);
    uint64_t ctx = n_ctx ? n_ctx : ig_model_hparams(model->net)->n_ctx_train;
    uint32_t batch = ig_standard_batch(model->net, ctx > UINT32_MAX ? UINT32_MAX : (uint32_t)ctx);
    *out = (ingle_memory){
        .weights = ig_model_weight_bytes(model->net),
        .kv = ig_model_kv_bytes(model->net, kinds[kv], ctx, batch),
        .workspace = ig_model_workspace_bytes(model->net, batch, 1, ig_cores(), ctx),
        .logits = (uint64_t)ig_logits_width(model) * sizeof(float),
        .available = ig_memory_available(),
    };
    out->fits = out->weights + out->kv + out->workspace + out->logits <= out->available;
    return INGLE_OK;
}

bool ig_model_map(const ingle_model *m, size_t i, const uint8_t **data, uint64_t *size)
{
    return ig_format_map(m->file, i, data, size);
}

bool ig_model_text(const ingle_model *m, const char *key, ig_str *out)
{
    const ig_meta *found = ig_format_meta(m->file, key);
    return found && ig_format_str(m->file, key, false, out, NULL) == IG_OK;
}

int32_t ig_model_number(const ingle_model *m, const char *key)
{
    uint32_t v = UINT32_MAX;
    return ig_format_u32(m->file, key, false, &v, NULL) == IG_OK && v <= INT32_MAX ? (int32_t)v : -1;
}

bool ig_model_piece(const ingle_model *m, int32_t id, bool special, ig_buf *out)
{
    if (!m->vocab || id < 0 || (size_t)id >= ig_vocab_size(m->vocab)) return true;
    return ig_token_piece(m->vocab, id, special, out);
}

bool ig_model_is_control(const ingle_model *m, int32_t id) { return m->vocab && ig_vocab_is_control(m->vocab, id); }

static const char *meta_type_name(const ig_meta *m)
{
    static const char *const scalar[IG_META_TYPES] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                      "bool", "string", "array", "u64", "i64", "f64"};
    static const char *const array[IG_META_TYPES] = {"array of u8",     "array of i8",  "array of u16", "array of i16",
                                                     "array of u32",    "array of i32", "array of f32", "array of bool",
                                                     "array of string", "array",        "array of u64", "array of i64",
                                                     "array of f64"};
    return m->type == IG_META_ARRAY ? array[m->elem] : scalar[m->type];
}

bool ingle_model_meta(const ingle_model *model, uint64_t i, ingle_meta *out)
{
    if (i >= ig_format_n_meta(model->file)) return false;
    const ig_meta *m = ig_format_meta_at(model->file, (size_t)i);
    *out = (ingle_meta){model->meta_names[i], meta_type_name(m), m->n};
    if (m->type == IG_META_STRING) {
        ig_str s;
        ig_meta_strings(m, &s);
        out->n = s.len;
    }
    return true;
}

bool ingle_model_tensor(const ingle_model *model, uint64_t i, ingle_tensor *out)
{
    if (i >= ig_format_n_tensors(model->file)) return false;
    const ig_tensor *t = ig_format_tensor_at(model->file, (size_t)i);
    *out = (ingle_tensor){.name = model->tensor_names[i],
                          .type = ig_dtype_row(t->type)->name,
                          .n_dims = t->n_dims,
                          .n_bytes = t->n_bytes};
    memcpy(out->ne, t->ne, sizeof out->ne);
    return true;
}

/* Row r of a tensor in one piece or in parts. */
static const uint8_t *row_of(const ig_tensor *t, uint64_t r)
{
    return t->parts ? t->parts[r / t->ne[1]] + r % t->ne[1] * t->row_bytes : t->data + r * t->row_bytes;
}

static ig_status scan(const ingle_model *m, const ig_tensor *t, uint64_t *bad, uint64_t *block, ig_error *err)
{
    void (*to_f32)(const void *, float *, size_t) = t->type < IG_DTYPE_MAX ? m->kernels->type[t->type].to_f32 : NULL;
    size_t n = (size_t)t->ne[0];
    *bad = *block = 0;
    if (!to_f32)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: tensor %.*s has the type %s, which this version cannot decode",
                       ig_format_path(m->file), IG_STR_ARG(t->name), ig_dtype_row(t->type)->name);
    float *row = n <= SIZE_MAX / sizeof *row ? ig_calloc(n, sizeof *row) : NULL;
    if (!row) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a row of tensor %.*s", IG_STR_ARG(t->name));
    for (uint64_t r = 0; r < t->n_bytes / t->row_bytes; r++) {
        to_f32(row_of(t, r), row, n);
        for (size_t i = 0; i < n; i++) {
            if (isfinite(row[i])) continue;
            if ((*bad)++ == 0) *block = (r * n + i) / ig_dtype_row(t->type)->block_elems;
        }
    }
    ig_free(row);
    return IG_OK;
}

ingle_status ingle_model_scan(const ingle_model *model, uint64_t i, uint64_t *bad, uint64_t *block, ingle_error *err)
{
    ig_error e;
    if (i >= ig_format_n_tensors(model->file))
        return ig_pass(ig_fail(&e, IG_NOT_FOUND, 0, "%s: there is no tensor %llu", ig_format_path(model->file),
                               (unsigned long long)i),
                       &e, err);
    return ig_pass(scan(model, ig_format_tensor_at(model->file, (size_t)i), bad, block, &e), &e, err);
}

/* Element `elem` of an array of strings: walks the lengths, which the reader has checked. */
static ig_str string_at(const ig_meta *m, uint64_t elem)
{
    const uint8_t *p = m->data;
    uint64_t len;
    for (;; elem--) {
        memcpy(&len, p, 8);
        if (elem == 0) return (ig_str){(const char *)p + 8, (size_t)len};
        p += 8 + len;
    }
}

/* Shortest decimal text that reads back as the same value. */
static int float_text(double v, bool single, char out[64])
{
    for (int digits = single ? 6 : 15; digits < (single ? 9 : 17); digits++) {
        int n = snprintf(out, 64, "%.*g", digits, v);
        double back = 0;
        if (sscanf(out, "%lf", &back) == 1 && (single ? (float)back == (float)v : back == v)) return n;
    }
    return snprintf(out, 64, "%.*g", single ? 9 : 17, v);
}

bool ingle_model_meta_text(const ingle_model *model, uint64_t i, uint64_t elem, char *out, size_t capacity,
                           size_t *n_out)
{
    if (i >= ig_format_n_meta(model->file)) return false;
    const ig_meta *m = ig_format_meta_at(model->file, (size_t)i);
    if (elem >= m->n) return false;
    char number[64];
    ig_str text = {number, 0};
    if (m->elem == IG_META_STRING)
        text = string_at(m, elem);
    else if (m->elem == IG_META_F32 || m->elem == IG_META_F64)
        text.len = (size_t)float_text(ig_meta_float(m, elem), m->elem == IG_META_F32, number);
    else if (m->elem == IG_META_BOOL)
        text = ig_meta_int(m, elem) ? IG_STR("true") : IG_STR("false");
    else if (m->elem == IG_META_U64)
        text.len = (size_t)snprintf(number, sizeof number, "%" PRIu64, (uint64_t)ig_meta_int(m, elem));
    else
        text.len = (size_t)snprintf(number, sizeof number, "%" PRId64, ig_meta_int(m, elem));
    *n_out = text.len;
    if (capacity) memcpy(out, text.ptr, text.len < capacity ? text.len : capacity);
    return true;
}

ig_status ig_need_vocab(const ingle_model *m, ig_error *err)
{
    if (m->vocab) return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0, "%s: the file has no vocabulary, give token ids instead of text",
                   ig_format_path(m->file));
}

static ig_status give(size_t n, size_t capacity, const char *unit, ig_error *err)
{
    if (n <= capacity || capacity == 0) return IG_OK;
    return ig_fail(err, IG_TOO_LARGE, 0, "the result has %zu %s, there is room for %zu", n, unit, capacity);
}

ig_status ig_give_ids(const ig_ids *ids, int32_t *out, size_t capacity, size_t *n_out, ig_error *err)
{
    size_t n = ids->len < capacity ? ids->len : capacity;
    *n_out = ids->len;
    if (n) memcpy(out, ids->ptr, n * sizeof *out);
    return give(ids->len, capacity, "ids", err);
}

ingle_status ingle_tokenize(const ingle_model *model, const char *text, size_t n_text, unsigned flags, int32_t *out,
                            size_t capacity, size_t *n_out, ingle_error *err)
{
    return ig_model_tokenize(model, text, n_text, flags, NULL, 0, out, capacity, n_out, err);
}

ingle_status ingle_detokenize(const ingle_model *model, const int32_t *ids, size_t n_ids, unsigned flags, char *out,
                              size_t capacity, size_t *n_out, ingle_error *err)
{
    ig_error e;
    ig_buf text;
    ig_buf_init(&text, SIZE_MAX / 2);
    unsigned f = (flags & INGLE_STRIP_SPECIAL ? IG_DETOKENIZE_STRIP : 0u) |
                 (flags & INGLE_WRITE_SPECIAL ? IG_DETOKENIZE_SPECIAL : 0u);
    *n_out = 0;
    ig_status st = ig_need_vocab(model, &e);
    if (st == IG_OK) st = ig_detokenize(model->vocab, ids, n_ids, f, &text, &e);
    if (st == IG_OK) {
        *n_out = text.len;
        st = give(text.len, capacity, "bytes", &e);
        size_t n = text.len < capacity ? text.len : capacity;
        if (n) memcpy(out, text.ptr, n);
    }
    ig_buf_fini(&text);
    return ig_pass(st, &e, err);
}

bool ingle_token_is_end(const ingle_model *model, int32_t id)
{
    return model->vocab && ig_vocab_is_end(model->vocab, id);
}
