/* Writing metadata in the form that gguf.c reads (layout: see there). */
#include <stdio.h>

#include "format/hf.h"

static void put(ig_hf *h, const void *p, size_t n) { (void)ig_buf_add(&h->meta, p, n); }

static void put_length(ig_hf *h, uint64_t n) { put(h, &n, sizeof n); }

static void put_key(ig_hf *h, bool arch, const char *key, ig_meta_type type)
{
    char name[160];
    uint32_t id = (uint32_t)type;
    (void)snprintf(name, sizeof name, "%s%s%s", arch ? h->row->arch : "", arch ? "." : "", key);
    size_t n = strlen(name);
    put_length(h, n);
    put(h, name, n);
    put(h, &id, sizeof id);
    h->n_keys++;
}

void ig_hf_put_u32(ig_hf *h, bool arch, const char *key, uint32_t v)
{
    put_key(h, arch, key, IG_META_U32);
    put(h, &v, sizeof v);
}

void ig_hf_put_f32(ig_hf *h, bool arch, const char *key, double v)
{
    float single = (float)v;
    put_key(h, arch, key, IG_META_F32);
    put(h, &single, sizeof single);
}

void ig_hf_put_bool(ig_hf *h, bool arch, const char *key, bool v)
{
    put_key(h, arch, key, IG_META_BOOL);
    put(h, v ? "\1" : "\0", 1);
}

void ig_hf_put_str(ig_hf *h, bool arch, const char *key, ig_str v)
{
    put_key(h, arch, key, IG_META_STRING);
    put_length(h, v.len);
    put(h, v.ptr, v.len);
}

void ig_hf_put_array(ig_hf *h, bool arch, const char *key, ig_meta_type elem, const void *v, uint64_t n)
{
    uint32_t id = (uint32_t)elem;
    put_key(h, arch, key, IG_META_ARRAY);
    put(h, &id, sizeof id);
    put_length(h, n);
    put(h, v, (size_t)n * ig_meta_elem_bytes(id));
}
