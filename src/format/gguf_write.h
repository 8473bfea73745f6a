/* Writing GGUF version 3 in a stream: metadata, then the list of tensors, then their bytes in that order. The file
 * appears under its name only at commit, whole (base/os.h: temporary name, sync, rename). */
#ifndef IG_FORMAT_GGUF_WRITE_H
#define IG_FORMAT_GGUF_WRITE_H

#include "base/status.h"
#include "base/str.h"
#include "format/format.h"

typedef struct ig_gguf_writer ig_gguf_writer;

/* Opens the temporary file. Errors: those of ig_writer_begin, NO_MEMORY. */
ig_status ig_gguf_writer_new(const char *path, ig_gguf_writer **out, ig_error *err);
/* Removes the temporary file unless it was committed; NULL is allowed. */
void ig_gguf_writer_free(ig_gguf_writer *w);

/* Metadata and tensors; a failure (memory, a name that no reader accepts) is kept and told by ig_gguf_begin_data. The
 * caller gives each key and name once, and leaves general.alignment out: the data is aligned to 32. */
void ig_gguf_put_meta(ig_gguf_writer *w, const ig_meta *m);
void ig_gguf_put_u32(ig_gguf_writer *w, const char *key, uint32_t value);
void ig_gguf_put_str(ig_gguf_writer *w, const char *key, ig_str value);
void ig_gguf_put_strs(ig_gguf_writer *w, const char *key, const ig_str *values, size_t n);
/* ne [n_dims], the fastest axis first; ne[0] a multiple of the type's block. */
void ig_gguf_put_tensor(ig_gguf_writer *w, ig_str name, uint32_t type, uint32_t n_dims, const uint64_t *ne);

/* Writes the header. Then comes the data: the bytes of each tensor in turn, in pieces of any size that do not reach
 * over its end; padding is the writer's work. */
ig_status ig_gguf_begin_data(ig_gguf_writer *w, ig_error *err);
ig_status ig_gguf_write_data(ig_gguf_writer *w, const void *data, size_t n, ig_error *err);
/* BUG when tensors lack bytes. */
ig_status ig_gguf_commit(ig_gguf_writer *w, ig_error *err);
/* Bytes of the file so far. */
uint64_t ig_gguf_written(const ig_gguf_writer *w);

#endif
