/* The layout is that of gguf.c. Header and directory are small and kept in memory until the data begins; the data goes
 * straight to the file. */
#include "format/gguf_write.h"

#include <inttypes.h>

#include "base/mem.h"
#include "base/os.h"
#include "format/gguf.h"

enum { ALIGNMENT = IG_GGUF_ALIGNMENT_DEFAULT };
#define HEADER_BYTES_MAX ((size_t)2 << 30)

struct ig_gguf_writer {
    ig_file_writer file;
    ig_buf meta, directory;
    uint64_t n_meta, n_tensors;
    uint64_t *sizes; /* owned [n_tensors], bytes of each without padding */
    size_t cap;
    uint64_t data_bytes; /* with padding, of all tensors in the directory */
    uint64_t written;
    size_t at; /* the tensor being written */
    uint64_t at_done;
    bool open;        /* the temporary file is there */
    ig_error failure; /* the first of the put functions */
};

ig_status ig_gguf_writer_new(const char *path, ig_gguf_writer **out, ig_error *err)
{
    *out = NULL;
    ig_gguf_writer *w = ig_calloc(1, sizeof *w);
    if (!w) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for writing %.200s", path);
    ig_buf_init(&w->meta, HEADER_BYTES_MAX);
    ig_buf_init(&w->directory, HEADER_BYTES_MAX);
    ig_status st = ig_writer_begin(&w->file, path, err);
    w->open = st == IG_OK;
    if (!w->open)
        ig_gguf_writer_free(w);
    else
        *out = w;
    return st;
}

void ig_gguf_writer_free(ig_gguf_writer *w)
{
    if (!w) return;
    if (w->open) ig_writer_abandon(&w->file);
    ig_buf_fini(&w->meta);
    ig_buf_fini(&w->directory);
    ig_free(w->sizes);
    ig_free(w);
}

uint64_t ig_gguf_written(const ig_gguf_writer *w) { return w->written; }

/* ------------------------------------------------------------------------------------------------ header */

static void fail_once(ig_gguf_writer *w, const char *what, ig_str name)
{
    if (w->failure.status == IG_OK)
        ig_fail(&w->failure, IG_BAD_INPUT, 0, "%.200s: cannot write %s \"%.*s\"", w->file.path, what, IG_STR_ARG(name));
}

static void add_u32(ig_buf *b, uint32_t v) { ig_buf_add(b, &v, 4); }
static void add_u64(ig_buf *b, uint64_t v) { ig_buf_add(b, &v, 8); }
static void add_str(ig_buf *b, ig_str s)
{
    add_u64(b, s.len);
    if (s.len) ig_buf_add(b, s.ptr, s.len);
}

static void add_key(ig_gguf_writer *w, ig_str key, uint32_t type)
{
    if (key.len == 0 || key.len > IG_GGUF_KEY_NAME_BYTES_MAX) fail_once(w, "a key of this length,", key);
    add_str(&w->meta, key);
    add_u32(&w->meta, type);
    w->n_meta++;
}

void ig_gguf_put_meta(ig_gguf_writer *w, const ig_meta *m)
{
    add_key(w, m->key, m->type);
    if (m->type == IG_META_ARRAY) {
        add_u32(&w->meta, m->elem);
        add_u64(&w->meta, m->n);
    }
    if (m->n_bytes) ig_buf_add(&w->meta, m->data, (size_t)m->n_bytes);
}

void ig_gguf_put_u32(ig_gguf_writer *w, const char *key, uint32_t value)
{
    add_key(w, ig_str_from(key), IG_META_U32);
    add_u32(&w->meta, value);
}

void ig_gguf_put_str(ig_gguf_writer *w, const char *key, ig_str value)
{
    add_key(w, ig_str_from(key), IG_META_STRING);
    add_str(&w->meta, value);
}

void ig_gguf_put_strs(ig_gguf_writer *w, const char *key, const ig_str *values, size_t n)
{
    add_key(w, ig_str_from(key), IG_META_ARRAY);
    add_u32(&w->meta, IG_META_STRING);
    add_u64(&w->meta, n);
    for (size_t i = 0; i < n; i++) add_str(&w->meta, values[i]);
}

/* Bytes of a tensor; false when type and shape do not fit. */
static bool size_of(uint32_t type, uint32_t n_dims, const uint64_t *ne, uint64_t *bytes)
{
    if (n_dims < 1 || n_dims > 4 || !ig_dtype_row(type) || !ig_dtype_row_bytes(type, ne[0], bytes)) return false;
    for (uint32_t i = 1; i < n_dims; i++)
        if (!ig_mul_u64(*bytes, ne[i], bytes)) return false;
    return true;
}

static bool grow(ig_gguf_writer *w)
{
    if (w->n_tensors < w->cap) return true;
    size_t cap = w->cap ? 2 * w->cap : 256;
    uint64_t *sizes = ig_realloc(w->sizes, cap, sizeof *sizes);
    if (!sizes) return false;
    w->sizes = sizes;
    w->cap = cap;
    return true;
}

void ig_gguf_put_tensor(ig_gguf_writer *w, ig_str name, uint32_t type, uint32_t n_dims, const uint64_t *ne)
{
    uint64_t bytes, end;
    if (name.len == 0 || name.len > IG_GGUF_NAME_BYTES_MAX) {
        fail_once(w, "a tensor name of more than 63 bytes,", name);
        return;
    }
    if (!size_of(type, n_dims, ne, &bytes) || !ig_add_u64(w->data_bytes, bytes, &end) ||
        !ig_round_up(end, ALIGNMENT, &end)) {
        fail_once(w, "the type and shape of tensor", name);
        return;
    }
    if (!grow(w)) {
        w->directory.failed = true;
        return;
    }
    add_str(&w->directory, name);
    add_u32(&w->directory, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) add_u64(&w->directory, ne[i]);
    add_u32(&w->directory, type);
    add_u64(&w->directory, w->data_bytes);
    w->sizes[w->n_tensors++] = bytes;
    w->data_bytes = end;
}

/* ------------------------------------------------------------------------------------------------ writing */

static ig_status put(ig_gguf_writer *w, const void *data, size_t n, ig_error *err)
{
    IG_TRY(ig_writer_write(&w->file, data, n, err));
    w->written += n;
    return IG_OK;
}

static ig_status pad(ig_gguf_writer *w, ig_error *err)
{
    static const uint8_t zeros[ALIGNMENT];
    return put(w, zeros, (size_t)((ALIGNMENT - w->written % ALIGNMENT) % ALIGNMENT), err);
}

/* Tensors without bytes are passed over. */
static ig_status next_tensor(ig_gguf_writer *w, ig_error *err)
{
    while (w->at < w->n_tensors && w->at_done == w->sizes[w->at]) {
        IG_TRY(pad(w, err));
        w->at++;
        w->at_done = 0;
    }
    return IG_OK;
}

ig_status ig_gguf_begin_data(ig_gguf_writer *w, ig_error *err)
{
    struct {
        char magic[4];
        uint32_t version;
        uint64_t n_tensors, n_meta;
    } head = {{'G', 'G', 'U', 'F'}, 3, w->n_tensors, w->n_meta};
    if (w->failure.status != IG_OK) {
        if (err) *err = w->failure;
        return w->failure.status;
    }
    if (w->meta.failed || w->directory.failed)
        return ig_fail(err, IG_NO_MEMORY, 0, "%.200s: out of memory for the header", w->file.path);
    IG_TRY(put(w, &head, sizeof head, err));
    IG_TRY(put(w, w->meta.ptr, w->meta.len, err));
    IG_TRY(put(w, w->directory.ptr, w->directory.len, err));
    IG_TRY(pad(w, err));
    return next_tensor(w, err);
}

ig_status ig_gguf_write_data(ig_gguf_writer *w, const void *data, size_t n, ig_error *err)
{
    if (w->at >= w->n_tensors || n > w->sizes[w->at] - w->at_done)
        return ig_fail(err, IG_BUG, 0, "%.200s: more bytes than tensor %zu has", w->file.path, w->at);
    IG_TRY(put(w, data, n, err));
    w->at_done += n;
    return next_tensor(w, err);
}

ig_status ig_gguf_commit(ig_gguf_writer *w, ig_error *err)
{
    if (w->at != w->n_tensors)
        return ig_fail(err, IG_BUG, 0, "%.200s: %zu of %" PRIu64 " tensors were written", w->file.path, w->at,
                       w->n_tensors);
    w->open = false; /* commit closes or removes it */
    return ig_writer_commit(&w->file, err);
}
