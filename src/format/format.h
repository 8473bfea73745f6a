/* Model files: bytes to metadata and a directory of named tensors. Borrows everything from the mapped file; trusts
 * nothing. Load is two-phase (rule G24): all checks happen here, on lengths and offsets, before any weight is
 * touched. Every rule G01..G25 of the hostile-file list is enforced here or, where it needs the architecture (G15,
 * G16, G18), in src/model. */
#ifndef IG_FORMAT_FORMAT_H
#define IG_FORMAT_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "tensor/tensor.h"

typedef enum ig_meta_type { /* ids as GGUF stores them */
                            IG_META_U8 = 0,
                            IG_META_I8,
                            IG_META_U16,
                            IG_META_I16,
                            IG_META_U32,
                            IG_META_I32,
                            IG_META_F32,
                            IG_META_BOOL,
                            IG_META_STRING,
                            IG_META_ARRAY,
                            IG_META_U64,
                            IG_META_I64,
                            IG_META_F64,
                            IG_META_TYPES
} ig_meta_type;

typedef struct ig_meta {
    ig_str key;          /* borrowed; ASCII, no NUL */
    ig_meta_type type;   /* for an array IG_META_ARRAY */
    ig_meta_type elem;   /* element type; = type for a scalar */
    uint64_t n;          /* elements; 1 for a scalar */
    const uint8_t *data; /* first element as stored, little-endian, unaligned; lengths were checked */
    uint64_t n_bytes;    /* bytes from data to the end of the value */
} ig_meta;

typedef struct ig_format ig_format;

/* Opens a model: a GGUF file and, for part 1 of a split model, all its parts; or a Hugging Face directory (the path of
 * its config.json or weights will do), which then looks as the GGUF file of that model would (src/format/hf.h says what
 * is added). Errors: see ig_file_map; BAD_INPUT names file, key or tensor, offset and what was expected; UNSUPPORTED
 * for versions, kinds of models and what is not computed. err->offset is the byte offset in the file. */
ig_status ig_format_open(const char *path, ig_format **out, ig_error *err);
/* The same from open descriptors, for a process that sees no files. names [n]: file names without folders; a GGUF file
 * alone, all parts of a split model in any order, or the files of a Hugging Face directory (config.json among them).
 * The descriptors stay the caller's and are not needed afterwards. NOT_FOUND names a file that is missing. */
ig_status ig_format_open_fds(const char *const *names, const int *fds, size_t n, ig_format **out, ig_error *err);
/* The same on borrowed memory (fuzzing, tests); `name` appears in messages. */
ig_status ig_format_open_memory(const char *name, const uint8_t *data, uint64_t size, ig_format **out, ig_error *err);
/* A file of a Hugging Face directory that lies in memory; borrowed, like its name. */
typedef struct ig_named_bytes {
    const char *name;
    const uint8_t *data; /* [size] */
    uint64_t size;
} ig_named_bytes;
/* The directory that these files would make; tensors borrow from them. */
ig_status ig_format_open_hf_memory(const char *name, const ig_named_bytes *files, size_t n_files, ig_format **out,
                                   ig_error *err);
void ig_format_close(ig_format *f);

const char *ig_format_path(const ig_format *f);        /* for messages */
uint32_t ig_format_version(const ig_format *f);        /* of GGUF; 0 for a Hugging Face directory */
uint32_t ig_format_parts(const ig_format *f);          /* files that hold tensors */
uint64_t ig_format_trailing_bytes(const ig_format *f); /* bytes behind the last tensor's padding (G21) */

/* Mapped file i; false past the last, and for what was opened from memory. */
bool ig_format_map(const ig_format *f, size_t i, const uint8_t **data, uint64_t *size);

size_t ig_format_n_meta(const ig_format *f);
const ig_meta *ig_format_meta_at(const ig_format *f, size_t i);
const ig_meta *ig_format_meta(const ig_format *f, const char *key); /* NULL when absent */
size_t ig_format_n_tensors(const ig_format *f);
const ig_tensor *ig_format_tensor_at(const ig_format *f, size_t i);
const ig_tensor *ig_format_tensor(const ig_format *f, const char *name); /* NULL when absent */

/* Typed getters. A key that is absent leaves *out alone and returns OK when `required` is false, else BAD_INPUT
 * naming the key. A present key of another type is BAD_INPUT, never a cast (G08); integers of any width are accepted
 * where the value fits the asked range exactly; floats: F32 or F64, finite (G17). */
ig_status ig_format_u32(const ig_format *f, const char *key, bool required, uint32_t *out, ig_error *err);
ig_status ig_format_f32(const ig_format *f, const char *key, bool required, float *out, ig_error *err);
ig_status ig_format_bool(const ig_format *f, const char *key, bool required, bool *out, ig_error *err);
/* The text is valid UTF-8; it may hold NUL bytes. */
ig_status ig_format_str(const ig_format *f, const char *key, bool required, ig_str *out, ig_error *err);
/* Arrays: *out NULL when absent. `elem` an integer type: elements of any integer type are accepted (ig_meta_int
 * knows the stored width); bool, F32, F64 and string: exactly that type. */
ig_status ig_format_array(const ig_format *f, const char *key, bool required, ig_meta_type elem, const ig_meta **out,
                          ig_error *err);
/* Element i of a scalar or numeric array as integer or double; caller has checked type and range of i. */
int64_t ig_meta_int(const ig_meta *m, uint64_t i);
double ig_meta_float(const ig_meta *m, uint64_t i);
/* Walks an array of strings into out[m->n]. */
void ig_meta_strings(const ig_meta *m, ig_str *out);
/* Like ig_format_u32 for a key that may be one number or an array of n numbers: fills out[n]. */
ig_status ig_format_u32s(const ig_format *f, const char *key, bool required, uint32_t *out, size_t n, ig_error *err);

#include "format/gguf_write.h" /* the writer, part of this face */

#endif
