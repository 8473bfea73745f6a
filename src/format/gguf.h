/* Private to src/format: one parsed GGUF file and the limits that it was held to. */
#ifndef IG_FORMAT_GGUF_H
#define IG_FORMAT_GGUF_H

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "format/format.h"

/* Every limit of the reader; the letters name the rule of reliability.md. */
#define IG_GGUF_TENSORS_MAX        1048576u            /* G02 */
#define IG_GGUF_KEYS_MAX           65536u              /* G02 */
#define IG_GGUF_KEY_NAME_BYTES_MAX 65535u              /* G03 */
#define IG_GGUF_NAME_BYTES_MAX     63u                 /* G03: tensor names, "< 64" */
#define IG_GGUF_STRING_BYTES_MAX   (64u << 20)         /* G03: 64 MiB */
#define IG_GGUF_DIM_MAX            ((uint64_t)1 << 40) /* G10 */
#define IG_GGUF_ALIGNMENT_DEFAULT  32u                 /* G12 */
#define IG_GGUF_ALIGNMENT_MIN      8u                  /* G12 */
#define IG_GGUF_ALIGNMENT_MAX      65536u              /* G12 */
#define IG_GGUF_PARTS_MAX          1000u               /* G20 */
/* Smallest entries, for G02: key = length 8, 1 byte, type 4, value 1; tensor = length 8, 1 byte, n_dims 4, one
 * dimension 8, type 4, offset 8. */
#define IG_GGUF_KEY_BYTES_MIN    14u
#define IG_GGUF_TENSOR_BYTES_MIN 33u

typedef struct ig_gguf {
    uint32_t version, alignment;
    size_t n_meta, n_tensors;
    ig_meta *meta;      /* owned [n_meta], file order */
    ig_tensor *tensors; /* owned [n_tensors], file order */
    ig_map keys, names; /* key -> index in meta, tensor name -> index in tensors */
    uint64_t trailing_bytes;
} ig_gguf;

/* Parses and validates the whole header of data[size]; everything in *out borrows from data. `path` names the file in
 * messages. On failure *out is empty. */
ig_status ig_gguf_read(const char *path, const uint8_t *data, uint64_t size, ig_gguf *out, ig_error *err);
void ig_gguf_fini(ig_gguf *g);
/* "u32", "string", ...; "type 77" is no name: NULL. */
const char *ig_meta_type_name(uint32_t type);
/* Bytes of one stored element, 0 for strings, arrays and unknown types. */
uint32_t ig_meta_elem_bytes(uint32_t type);

struct ig_format {
    char *path;     /* owned */
    ig_gguf gguf;   /* metadata of part 1, tensors of all parts */
    ig_file *files; /* owned [n_parts], NULL for borrowed memory */
    uint32_t n_parts;
    /* Of a Hugging Face directory: the metadata as a GGUF header, which gguf borrows from; names, addresses and small
     * tensors that were computed. */
    char *header; /* owned, NULL for a GGUF file */
    /* Of what was opened from descriptors: all files and their names. `files` then borrows from them. */
    ig_file *maps; /* owned [n_maps] */
    char **map_names; /* in the arena */
    size_t n_maps;
    ig_arena arena;
};

/* Maps a file, or finds the one of this name among f->maps. */
ig_status ig_format_map_file(const ig_format *f, const char *path, ig_file *out, ig_error *err);
/* Reads the split keys of part 1 (f->gguf, f->files[0]) and, where there are more parts, opens and joins them. */
ig_status ig_split_open(ig_format *f, ig_error *err);

#endif
