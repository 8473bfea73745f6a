#include "tests/golden/draft_models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"

enum { NAME_MAX_BYTES = 160, TENSORS_MAX = 1024 };

typedef struct made { /* a tensor of the new file */
    char name[NAME_MAX_BYTES];
    uint64_t ne[4], n;
    uint32_t n_dims, type;
    float *values; /* owned, NULL: bytes of another file */
    const void *bytes;
    uint64_t n_bytes;
} made;

typedef struct maker {
    const ig_format *f;
    const draft_change *change;
    char arch[64];
    uint32_t n_layers, d;
    made *list;
    size_t n;
} maker;

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static made *add(maker *m, const char *name, uint32_t n_dims, const uint64_t *ne)
{
    if (m->n == TENSORS_MAX) abort();
    made *t = &m->list[m->n++];
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->n_dims = n_dims;
    t->type = IG_F32;
    t->n = 1;
    for (uint32_t i = 0; i < 4; i++) t->ne[i] = i < n_dims ? ne[i] : 1;
    char bent[NAME_MAX_BYTES];
    (void)snprintf(bent, sizeof bent, "blk.%u.%s", m->n_layers, m->change->bent ? m->change->bent : "");
    if (!strcmp(name, bent)) t->ne[0] /= 2;
    for (uint32_t i = 0; i < 4; i++) t->n *= t->ne[i];
    return t;
}

/* What a layer adds to the stream passes through one of these. */
static bool gives(const char *name)
{
    static const char *const ends[] = {"attn_output.weight", "ffn_down.weight", "ffn_down_exps.weight",
                                       "ffn_down_shexp.weight", "ssm_out.weight"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

static void add_copy(maker *m, const ig_tensor *from, const char *name)
{
    made *t = add(m, name, from->n_dims, from->ne);
    t->type = from->type;
    t->bytes = from->data;
    t->n_bytes = from->n_bytes;
    bool bent = t->n * sizeof(float) != t->n_bytes && t->type == IG_F32;
    if (!(m->change->perfect && gives(name)) && !bent) return;
    t->values = calloc(t->n, sizeof *t->values);
    if (!t->values) abort();
    for (uint64_t i = 0; !bent && i < t->n; i++) {
        memcpy(&t->values[i], from->data + i * sizeof(float), sizeof(float));
        t->values[i] *= m->change->rest;
    }
}

/* Norm weights about 1, matrices small; of a perfect model the embedding passes through as it is. */
static void add_own(maker *m, const char *what, uint64_t n_in, uint64_t n_out)
{
    char name[NAME_MAX_BYTES];
    uint64_t seed = 88172645463325252ull + strlen(what) * 7919;
    (void)snprintf(name, sizeof name, "blk.%u.nextn.%s", m->n_layers, what);
    if (m->change->left_out && ends_with(name, m->change->left_out)) return;
    made *t = add(m, name, n_out ? 2 : 1, (const uint64_t[]){n_in, n_out});
    t->values = calloc(t->n, sizeof *t->values);
    if (!t->values) abort();
    for (uint64_t i = 0; i < t->n; i++) {
        float r = (float)((double)(next_random(&seed) % 2000) / 1000 - 1);
        t->values[i] = n_out ? r * 0.3f : 1 + 0.2f * r;
        if (m->change->perfect) t->values[i] = n_out ? (i % n_in == i / n_in ? 1.0f : 0.0f) : 1.0f;
    }
    if (!m->change->perfect || !ends_with(name, "shared_head_norm.weight")) return;
    const ig_tensor *norm = ig_format_tensor(m->f, "output_norm.weight");
    memcpy(t->values, norm->data, norm->n_bytes);
}

static void list_tensors(maker *m)
{
    char prefix[32], name[NAME_MAX_BYTES];
    int n = snprintf(prefix, sizeof prefix, "blk.%u.", m->n_layers - 1);
    for (size_t i = 0; i < ig_format_n_tensors(m->f); i++) {
        const ig_tensor *t = ig_format_tensor_at(m->f, i);
        (void)snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.ptr);
        add_copy(m, t, name);
    }
    for (size_t i = 0; i < ig_format_n_tensors(m->f); i++) {
        const ig_tensor *t = ig_format_tensor_at(m->f, i);
        if (t->name.len < (size_t)n || strncmp(t->name.ptr, prefix, (size_t)n) != 0) continue;
        (void)snprintf(name, sizeof name, "blk.%u.%.*s", m->n_layers, (int)t->name.len - n, t->name.ptr + n);
        if (!m->change->left_out || !ends_with(name, m->change->left_out)) add_copy(m, t, name);
    }
    add_own(m, "eh_proj.weight", 2ull * m->d, m->d);
    add_own(m, "enorm.weight", m->d, 0);
    add_own(m, "hnorm.weight", m->d, 0);
    add_own(m, "shared_head_norm.weight", m->d, 0);
}

/* Lists of one number a layer get one more. */
static void put_meta(const maker *m, ig_gguf_writer *w, const ig_meta *meta)
{
    uint8_t longer[1024];
    ig_meta more = *meta;
    uint64_t size = meta->n ? meta->n_bytes / meta->n : 0;
    bool ours = ig_str_starts(meta->key, ig_str_from(m->arch));
    if (ours && meta->type == IG_META_ARRAY && meta->elem != IG_META_STRING && meta->n == m->n_layers &&
        meta->n_bytes + size <= sizeof longer) {
        memcpy(longer, meta->data, meta->n_bytes);
        memcpy(longer + meta->n_bytes, meta->data + meta->n_bytes - size, size);
        more.data = longer;
        more.n++;
        more.n_bytes += size;
    }
    ig_gguf_put_meta(w, &more);
}

static void put_all_meta(const maker *m, ig_gguf_writer *w)
{
    char key[2][96];
    (void)snprintf(key[0], sizeof key[0], "%s.block_count", m->arch);
    (void)snprintf(key[1], sizeof key[1], "%s.nextn_predict_layers", m->arch);
    for (size_t i = 0; i < ig_format_n_meta(m->f); i++) {
        const ig_meta *meta = ig_format_meta_at(m->f, i);
        if (ig_str_is(meta->key, key[0]) || ig_str_is(meta->key, key[1]) || ig_str_is(meta->key, "general.alignment"))
            continue;
        put_meta(m, w, meta);
    }
    ig_gguf_put_u32(w, key[0], m->n_layers + 1);
    ig_gguf_put_u32(w, key[1], 1);
}

static bool write_file(const maker *m, const char *path)
{
    ig_gguf_writer *w = NULL;
    ig_error err = {0};
    ig_status st = ig_gguf_writer_new(path, &w, &err);
    if (st == IG_OK) put_all_meta(m, w);
    for (size_t i = 0; st == IG_OK && i < m->n; i++) {
        const made *t = &m->list[i];
        ig_gguf_put_tensor(w, ig_str_from(t->name), t->type, t->n_dims, t->ne);
    }
    if (st == IG_OK) st = ig_gguf_begin_data(w, &err);
    for (size_t i = 0; st == IG_OK && i < m->n; i++) {
        const made *t = &m->list[i];
        st = t->values ? ig_gguf_write_data(w, t->values, t->n * sizeof(float), &err)
                       : ig_gguf_write_data(w, t->bytes, t->n_bytes, &err);
    }
    if (st == IG_OK) st = ig_gguf_commit(w, &err);
    ig_gguf_writer_free(w);
    if (st != IG_OK) printf("# %s\n", err.text);
    return st == IG_OK;
}

static bool read_model(maker *m)
{
    char key[96];
    uint32_t drafts = 0;
    ig_str arch = IG_STR("");
    if (ig_format_str(m->f, "general.architecture", true, &arch, NULL) != IG_OK) return false;
    (void)snprintf(m->arch, sizeof m->arch, "%.*s", (int)arch.len, arch.ptr);
    (void)snprintf(key, sizeof key, "%s.nextn_predict_layers", m->arch);
    (void)ig_format_u32(m->f, key, false, &drafts, NULL);
    (void)snprintf(key, sizeof key, "%s.block_count", m->arch);
    if (ig_format_u32(m->f, key, true, &m->n_layers, NULL) != IG_OK || drafts) return false;
    (void)snprintf(key, sizeof key, "%s.embedding_length", m->arch);
    return ig_format_u32(m->f, key, true, &m->d, NULL) == IG_OK;
}

bool draft_model_write(const char *from, const char *path, const draft_change *change)
{
    ig_format *f = NULL;
    ig_error err = {0};
    static const draft_change none;
    if (ig_format_open(from, &f, &err) != IG_OK) return false;
    maker m = {.f = f, .change = change ? change : &none, .list = calloc(TENSORS_MAX, sizeof(made))};
    bool ok = m.list && read_model(&m);
    if (ok) list_tensors(&m);
    if (ok) ok = write_file(&m, path);
    for (size_t i = 0; i < m.n; i++) free(m.list[i].values);
    free(m.list);
    ig_format_close(f);
    return ok;
}
