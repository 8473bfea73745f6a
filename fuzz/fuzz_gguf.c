/* Fuzz target of the GGUF reader: opens the input from memory and walks everything that was accepted through the public
 * getters, touching every byte that they hand out; then builds the vocabulary and the plan, as opening a model does
 * (rule G24). */
#include <stdlib.h>

#include "base/mem.h"
#include "engine/vocab.h"
#include "format/format.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* keeps reads alive */

static void touch(const void *p, size_t n)
{
    const uint8_t *b = p;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += b[i];
    sink += sum;
}

static void walk_strings(const ig_meta *m)
{
    ig_str *s = ig_calloc((size_t)m->n, sizeof *s);
    if (!s) return;
    ig_meta_strings(m, s);
    for (uint64_t i = 0; i < m->n; i++) touch(s[i].ptr, s[i].len);
    ig_free(s);
}

static void walk_meta(const ig_format *f, const ig_meta *m)
{
    char key[64];
    uint32_t u32, u32s[3];
    float f32;
    bool b;
    ig_str s;
    const ig_meta *array;
    ig_error err;
    touch(m->key.ptr, m->key.len);
    touch(m->data, (size_t)m->n_bytes);
    if (m->elem == IG_META_STRING)
        walk_strings(m);
    else if (m->elem == IG_META_F32 || m->elem == IG_META_F64)
        for (uint64_t i = 0; i < m->n; i++) sink += ig_meta_float(m, i) > 0;
    else
        for (uint64_t i = 0; i < m->n; i++) sink += (uint64_t)ig_meta_int(m, i);
    if (m->key.len >= sizeof key) return;
    memcpy(key, m->key.ptr, m->key.len);
    key[m->key.len] = 0;
    if (ig_format_meta(f, key) != m) abort();
    (void)ig_format_u32(f, key, true, &u32, &err);
    (void)ig_format_u32s(f, key, true, u32s, 3, &err);
    (void)ig_format_f32(f, key, true, &f32, &err);
    (void)ig_format_bool(f, key, true, &b, &err);
    if (ig_format_str(f, key, true, &s, &err) == IG_OK) touch(s.ptr, s.len);
    (void)ig_format_array(f, key, true, IG_META_U32, &array, &err);
    (void)ig_format_array(f, key, true, IG_META_STRING, &array, &err);
}

static void walk_tensor(const ig_format *f, const ig_tensor *t, const uint8_t *data, size_t size)
{
    char name[64];
    memcpy(name, t->name.ptr, t->name.len);
    name[t->name.len] = 0;
    if (ig_format_tensor(f, name) != t) abort();
    if (t->data < data || t->n_bytes > size || (size_t)(t->data - data) > size - t->n_bytes) abort();
    touch(t->data, (size_t)t->n_bytes);
}

/* The second half of opening: shapes only, no weight is computed with. */
static void build_plan(const ig_format *f)
{
    ig_error err = {0};
    ig_vocab *v = NULL;
    ig_model *m = NULL;
    if (ig_vocab_from_format(f, &v, &err) != IG_OK) {
        if (v || err.text[0] == 0 || err.status == IG_BUG) abort();
        return;
    }
    ig_status st = ig_model_new(f, ig_kernels_get("ref", NULL), v ? ig_vocab_size(v) : 0, &m, &err);
    if (st != IG_OK && (m || err.text[0] == 0 || err.status == IG_BUG)) abort();
    if (st == IG_OK) sink += ig_model_workspace_bytes(m, 256, 1, 2, 4096) + ig_model_kv_bytes(m, IG_KV_Q8_0, 4096, 256);
    ig_model_free(m);
    ig_vocab_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_format *f = NULL;
    ig_error err = {0};
    if (ig_format_open_memory("fuzz.gguf", data, size, &f, &err) != IG_OK) {
        if (f || err.text[0] == 0 || err.status == IG_OK || err.status == IG_BUG) abort();
        return 0;
    }
    for (size_t i = 0; i < ig_format_n_meta(f); i++) walk_meta(f, ig_format_meta_at(f, i));
    for (size_t i = 0; i < ig_format_n_tensors(f); i++) walk_tensor(f, ig_format_tensor_at(f, i), data, size);
    if (ig_format_trailing_bytes(f) > size) abort();
    build_plan(f);
    ig_format_close(f);
    return 0;
}
