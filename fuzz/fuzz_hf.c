/* Fuzz target of Hugging Face directories. The input is a directory in memory:
 *
 *   2 bytes  size of the tensor data, little-endian
 *   texts, each ended by a NUL: config.json, the header of the safetensors file, and where they are not empty
 *   model.safetensors.index.json, generation_config.json, tokenizer_config.json, tokenizer.json
 *
 * What is accepted is walked, touching every byte that is handed out, and goes through the plan as opening does. */
#include <stdlib.h>

#include "base/mem.h"
#include "format/format.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXTS = 6 };

static volatile uint64_t sink; /* keeps reads alive */

static void touch(const void *p, size_t n)
{
    const uint8_t *b = p;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += b[i];
    sink += sum;
}

static void walk_tensor(const ig_format *f, const ig_tensor *t)
{
    char name[64];
    if (t->name.len >= sizeof name || (t->data == NULL) == (t->parts == NULL) || t->row_bytes == 0) abort();
    memcpy(name, t->name.ptr, t->name.len);
    name[t->name.len] = 0;
    if (ig_format_tensor(f, name) != t) abort();
    if (t->row_bytes * t->ne[1] * t->ne[2] * t->ne[3] != t->n_bytes) abort();
    for (uint64_t i = 0; t->parts && i < t->ne[2]; i++) touch(t->parts[i], (size_t)(t->row_bytes * t->ne[1]));
    if (t->data) touch(t->data, (size_t)t->n_bytes);
    if (t->half_split_heads && t->ne[t->n_dims - 1] % (2 * (uint64_t)t->half_split_heads)) abort();
}

static void walk(const ig_format *f)
{
    for (size_t i = 0; i < ig_format_n_meta(f); i++) {
        const ig_meta *m = ig_format_meta_at(f, i);
        touch(m->key.ptr, m->key.len);
        touch(m->data, (size_t)m->n_bytes);
    }
    for (size_t i = 0; i < ig_format_n_tensors(f); i++) walk_tensor(f, ig_format_tensor_at(f, i));
}

/* The second half of opening: shapes only, no weight is computed with. */
static void build_plan(const ig_format *f)
{
    ig_error err = {0};
    ig_model *m = NULL;
    ig_status st = ig_model_new(f, ig_kernels_get("ref", NULL), 0, &m, &err);
    if (st != IG_OK && (m || err.text[0] == 0 || err.status == IG_BUG)) abort();
    ig_model_free(m);
}

/* Length, header and data in one block of their exact size; NULL without memory. */
static uint8_t *make_weights(ig_str header, uint64_t n_data, uint64_t *size)
{
    uint64_t n = header.len;
    *size = 8 + n + n_data;
    uint8_t *blob = calloc(1, (size_t)*size);
    if (!blob) return NULL;
    memcpy(blob, &n, 8);
    memcpy(blob + 8, header.ptr, header.len);
    for (uint64_t i = 0; i < n_data; i++) blob[8 + n + i] = (uint8_t)(i & 0x3f);
    return blob;
}

static void open_directory(const ig_str texts[TEXTS], uint64_t n_data)
{
    static const char *const names[TEXTS] = {
        "config.json",           "model.safetensors", "model.safetensors.index.json", "generation_config.json",
        "tokenizer_config.json", "tokenizer.json"};
    ig_named_bytes files[TEXTS];
    size_t n = 0;
    uint64_t size;
    ig_format *f = NULL;
    ig_error err = {0};
    uint8_t *blob = make_weights(texts[1], n_data, &size);
    if (!blob) return;
    for (size_t i = 0; i < TEXTS; i++)
        if (i == 1)
            files[n++] = (ig_named_bytes){texts[2].len ? "model-a.safetensors" : names[1], blob, size};
        else if (texts[i].len)
            files[n++] = (ig_named_bytes){names[i], (const uint8_t *)texts[i].ptr, texts[i].len};
    if (ig_format_open_hf_memory("fuzz", files, n, &f, &err) == IG_OK) {
        walk(f);
        build_plan(f);
    } else if (f || err.text[0] == 0 || err.status == IG_OK || err.status == IG_BUG) {
        abort();
    }
    ig_format_close(f);
    free(blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_str texts[TEXTS] = {{0}};
    if (size < 2) return 0;
    const char *at = (const char *)data + 2, *end = (const char *)data + size;
    for (size_t i = 0; i < TEXTS && at < end; i++) {
        const char *stop = memchr(at, 0, (size_t)(end - at));
        texts[i] = (ig_str){at, (size_t)((stop ? stop : end) - at)};
        at = stop ? stop + 1 : end;
    }
    for (size_t i = 0; i < TEXTS; i++)
        if (!texts[i].ptr) texts[i].ptr = "";
    open_directory(texts, data[0] + 256u * data[1]);
    return 0;
}
