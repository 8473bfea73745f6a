/* A small GGUF writer for tests. It makes a complete, valid, tiny llama model (1 layer, 8 embeddings, vocabulary of 272
 * tokens, about 25 KB), lets a test alter anything before it is written, and records where each field landed, so that
 * bytes can be altered afterwards by label:
 *
 *   magic  version  n_tensors  n_keys  data  end
 *   key/NAME/len  key/NAME/name  key/NAME/type  key/NAME/value       (value: for a string its length, for an array its
 *   key/NAME/elem  key/NAME/count  key/NAME/items                     element type; then elem, count and items too)
 *   tensor/NAME/len  .../name  .../n_dims  .../ne0 ... ne3  .../type  .../offset  .../data
 *
 * Test code: running out of memory ends the program. */
#ifndef IG_TESTS_BUILD_H
#define IG_TESTS_BUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "format/format.h"

typedef struct draft_key {
    char *name;
    size_t name_len;
    uint32_t type, elem;
    uint64_t n;     /* elements of an array */
    uint8_t *bytes; /* owned: the value, or the elements of an array */
    size_t n_bytes;
} draft_key;

typedef struct draft_tensor {
    char name[96];
    uint32_t n_dims, type;
    uint64_t ne[4], data_bytes, offset;
    bool offset_fixed; /* else the next free multiple of the alignment */
} draft_tensor;

enum { DRAFT_KEYS_MAX = 96, DRAFT_TENSORS_MAX = 32, DRAFT_VOCAB = 272, DRAFT_EMBD = 8, DRAFT_FF = 16 };

typedef struct draft {
    uint32_t version, alignment;
    draft_key keys[DRAFT_KEYS_MAX];
    size_t n_keys, n_flood_keys; /* flood: that many u8 keys more, "flood.0000001" ... */
    draft_tensor tensors[DRAFT_TENSORS_MAX];
    size_t n_tensors, n_flood_tensors; /* flood: F32 [1], "flood.0000001" ..., stored in reverse order */
} draft;

typedef struct image { /* the file made from a draft */
    uint8_t *bytes;    /* owned */
    size_t size, cap;
    struct image_label {
        char name[160];
        size_t at;
    } * labels; /* owned */
    size_t n_labels, labels_cap;
} image;

void draft_init(draft *d);  /* the valid llama model */
void draft_empty(draft *d); /* no key, no tensor */
void draft_fini(draft *d);
void draft_use_gpt2(draft *d); /* replaces the vocabulary: 256 byte symbols, 15 merges, 1 control token */
void draft_use_bert(draft *d); /* replaces the vocabulary: WordPiece */

/* Setters replace a key of the same name. Numbers: v is stored in the width of the type, f32 and f64 from f. */
void draft_set_int(draft *d, const char *key, uint32_t type, uint64_t v);
void draft_set_float(draft *d, const char *key, uint32_t type, double f);
void draft_set_str(draft *d, const char *key, const char *text, size_t len);
/* An array of n equal elements: integers from v, floats from f, strings from text. */
void draft_set_array(draft *d, const char *key, uint32_t elem, uint64_t n, uint64_t v, double f, const char *text);
/* A scalar or array of any type with raw bytes as value. */
draft_key *draft_add_key(draft *d, const char *name, size_t name_len, uint32_t type, uint32_t elem, uint64_t n,
                         const void *bytes, size_t n_bytes);
draft_key *draft_key_at(draft *d, const char *key); /* must exist */
void draft_drop_key(draft *d, const char *key);
void draft_copy_key(draft *d, const char *key, const char *new_name);
void draft_resize_array(draft *d, const char *key, uint64_t n); /* zeros or "new<i>" at the end */
void draft_set_string_item(draft *d, const char *key, uint64_t idx, const char *text, size_t len);

draft_tensor *draft_tensor_at(draft *d, const char *name); /* must exist */
draft_tensor *draft_add_tensor(draft *d, const char *name, uint32_t type, uint32_t n_dims, const uint64_t ne[4]);
void draft_drop_tensor(draft *d, const char *name);
/* Shape and type; room for the data follows where it is below 1 MiB. */
void draft_shape(draft_tensor *t, uint32_t type, uint32_t n_dims, const uint64_t ne[4]);

void draft_write(const draft *d, image *out);
size_t image_at(const image *img, const char *label); /* must exist */
void image_put(image *img, const char *label, int64_t delta, unsigned width, uint64_t v);
void image_resize(image *img, size_t size); /* new bytes are 0xEE */
void image_fini(image *img);

#endif
