/* Private to src/format: headers of safetensors files. */
#ifndef IG_FORMAT_SAFETENSORS_H
#define IG_FORMAT_SAFETENSORS_H

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

#define IG_ST_HEADER_BYTES_MAX 100000000u /* S01 */
#define IG_ST_TENSORS_MAX      1048576u   /* S09 */
#define IG_ST_NAME_BYTES_MAX   4096u      /* S09 */
#define IG_ST_DIMS_MAX         6u
#define IG_ST_METADATA_MAX     65536u /* bytes of one text in __metadata__ */

typedef struct ig_st_dtype {
    const char *name;
    uint32_t bits;
    int32_t type; /* ig_dtype, or -1: known, but nothing here computes with it */
} ig_st_dtype;

typedef struct ig_st_tensor {
    ig_str name; /* borrowed from the file, or from the list's arena */
    const ig_st_dtype *dtype;
    uint32_t file;                 /* which one of the model's files, from 0 */
    uint32_t n_dims;               /* 0 for a scalar */
    uint64_t dims[IG_ST_DIMS_MAX]; /* slowest axis first, as stored; may be 0 */
    const uint8_t *data;           /* borrowed from the file, of any alignment */
    uint64_t n_bytes;
} ig_st_tensor;

/* Tensors of all files of a model. Zero-initialised is empty and valid. */
typedef struct ig_st_list {
    ig_st_tensor *tensors; /* owned */
    size_t n, cap;
    ig_map names;   /* name -> index */
    ig_arena arena; /* names that were written with escapes */
} ig_st_list;

/* Counts the tensors of one file, for ig_st_list_init; checks the frame of the header only. */
ig_status ig_st_count(const char *path, const uint8_t *data, uint64_t size, size_t *n, ig_error *err);
/* Room for n tensors. */
ig_status ig_st_list_init(ig_st_list *list, size_t n, ig_error *err);
/* Checks the whole header of data[size] and appends its tensors; they borrow from data. Names must be new to the list,
 * which needs room for all of them. */
ig_status ig_st_read(const char *path, const uint8_t *data, uint64_t size, uint32_t file, ig_st_list *list,
                     ig_error *err);
const ig_st_tensor *ig_st_find(const ig_st_list *list, ig_str name); /* NULL when absent */
void ig_st_list_fini(ig_st_list *list);

#endif
