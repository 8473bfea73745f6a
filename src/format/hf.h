/* Private to src/format: Hugging Face model directories as if they were the GGUF file of that model. config.json
 * becomes metadata with GGUF's keys, written in GGUF's own form and read back by gguf.c, so that its checks and the
 * getters serve both; safetensors become tensors with GGUF's names and shapes that borrow the mapped bytes. What each
 * model_type means is a row of hf_table.c; nothing else here asks for one.
 *
 * Metadata that no GGUF has, for the model code and the tokenizer:
 *   ingle.rope.half_split    true: rows of q and k lie as halves (see ig_tensor.half_split_heads): rotate halves
 *   ingle.activation         "gelu_erf" where the exact function is meant; absent: the architecture's own
 *   ingle.tokenizer.json     the bytes of tokenizer.json, not interpreted here
 *   ingle.tokenizer.config   the bytes of tokenizer_config.json, likewise */
#ifndef IG_FORMAT_HF_H
#define IG_FORMAT_HF_H

#include <jansson.h>

#include "format/gguf.h"
#include "format/safetensors.h"

#define IG_HF_CONFIG_BYTES_MAX    (4u << 20)
#define IG_HF_CONFIG_VALUES_MAX   65536u
#define IG_HF_INDEX_BYTES_MAX     (256u << 20)
#define IG_HF_TOKENIZER_BYTES_MAX (64u << 20)
#define IG_HF_TEMPLATE_BYTES_MAX  (4u << 20)
#define IG_HF_SIZE_MAX            (1u << 24) /* of any number in config.json that counts something */
#define IG_HF_LAYERS_MAX          4096u
#define IG_HF_HEAD_SIZE_MAX       65536u

/* ------------------------------------------------------------------------------------------------ the table */

typedef enum ig_hf_kind {
    IG_HF_SIZE,     /* 1 .. IG_HF_SIZE_MAX, as u32 */
    IG_HF_REAL,     /* finite, above 0, as f32 */
    IG_HF_CONSTANT, /* nothing is read: u32 `value` */
    IG_HF_NO        /* nothing is read: bool false */
} ig_hf_kind;

typedef enum ig_hf_need { IG_HF_REQUIRED, IG_HF_DEFAULT, IG_HF_OPTIONAL } ig_hf_need;

/* One number of config.json. null counts as absent without default. */
typedef struct ig_hf_key {
    const char *from; /* key of config.json */
    const char *to;   /* key of the GGUF, behind "ARCHITECTURE." unless it begins with "tokenizer." */
    ig_hf_kind kind;
    ig_hf_need need;
    double value; /* default or constant */
} ig_hf_key;

typedef enum ig_hf_change {
    IG_HF_AS_IS,
    IG_HF_NORM,   /* + 1 where the row says so */
    IG_HF_Q,      /* rows of query heads: half-split where the row says so */
    IG_HF_K,      /* the same for key heads */
    IG_HF_EXPERT, /* one of the matrices of a stacked tensor */
    IG_HF_JUDGE,  /* part of a classifier: kept where "architectures" names one */
    IG_HF_HEAD,   /* left out where the output is tied to the embedding */
    IG_HF_DROP    /* not part of the model */
} ig_hf_change;

/* '#' stands for a layer's number, '@' for an expert's. A pattern that ends in '*' fits every name that begins so. */
typedef struct ig_hf_name {
    const char *from, *to;
    ig_hf_change change;
} ig_hf_name;

/* A key of config.json that must have one value (of an array: every element), as compact JSON. */
typedef struct ig_hf_fixed {
    const char *key, *value;
    bool required; /* the default of the original is another one */
} ig_hf_fixed;

enum {                            /* flags of a row */
       IG_HF_HALF_SPLIT = 1 << 0, /* q and k rows: see ig_tensor.half_split_heads */
       IG_HF_NORM_ONE = 1 << 1,   /* norms multiply by 1 + weight */
       IG_HF_TIED = 1 << 2,       /* default of tie_word_embeddings */
       IG_HF_ENCODER = 1 << 3,    /* no logits, no rotation, no grouped queries */
       IG_HF_LLAMA3 = 1 << 4,     /* rope_scaling types that the architecture has besides linear and yarn */
       IG_HF_LONGROPE = 1 << 5,
       IG_HF_LOCAL_ROPE = 1 << 6, /* windowed layers have their own base and no scaling */
       IG_HF_SCALE_KEY = 1 << 7,  /* query_pre_attn_scalar */
       IG_HF_HEADS_KV = 1 << 8,   /* num_key_value_heads may be left out: as many as heads */
       IG_HF_WINDOW_KEY = 1 << 9, /* sliding_window counts only with use_sliding_window */
};

typedef struct ig_hf_row {
    const char *model_type, *arch;
    const char *part; /* object of config.json that holds the text model's numbers, NULL: the whole */
    uint32_t flags;
    uint32_t head_size;      /* default of head_dim; 0: hidden_size / heads */
    uint32_t window_pattern; /* 0: no windows; 1: every layer; n: layer i is windowed unless i % n == n - 1 */
    uint32_t window;         /* default of sliding_window; 0: none */
    double rope_base;        /* default of rope_theta */
    const char *act_key;     /* NULL: "hidden_act" */
    const char *act;         /* its default, and the function it must be: any GELU will do for a GELU */
    uint32_t heads, heads_kv, n_ctx, n_vocab; /* defaults; 0: config.json must say */
    const ig_hf_key *keys[3];
    const ig_hf_name *names[6];
    const ig_hf_fixed *fixed;
    const char *prefixes[6]; /* of tensor names, tried in this order */
} ig_hf_row;

const ig_hf_row *ig_hf_row_find(ig_str model_type); /* NULL when unknown */
const ig_hf_row *ig_hf_row_at(size_t i);            /* NULL behind the last */
/* Keys that stand for a computation which no row has: they must be absent, null, false, 0 or empty ... */
extern const char *const ig_hf_off_keys[];
/* ... or absent, null or 1. NULL-terminated. */
extern const char *const ig_hf_one_keys[];

/* ------------------------------------------------------------------------------------------------ one directory */

typedef struct ig_hf {
    ig_format *f;
    const ig_named_bytes *memory; /* files in memory; NULL: f->path is a directory */
    size_t n_memory;
    const char *path;     /* of config.json, for messages; in f->arena */
    json_t *root;         /* owned: config.json */
    const json_t *config; /* the text model's part of it */
    const ig_hf_row *row;
    ig_buf meta; /* the GGUF header being written */
    uint64_t n_keys;
    ig_st_list tensors;
    const char **file_names; /* of the safetensors, in f->arena */
    uint32_t n_layers, n_embd, n_heads, n_heads_kv, head_size, n_rot, n_ctx, n_vocab, n_experts;
    bool tied, headless, judges;                /* headless: the directory is known to have no output matrix */
    float *rope_freqs, *rope_long, *rope_short; /* [n_rot / 2] in f->arena, NULL: none */
    ig_error *err;
} ig_hf;

/* Fills f->gguf, f->files and f->n_parts; f->path is the directory, or the name in messages where the files lie in
 * memory. */
ig_status ig_hf_open(ig_format *f, const ig_named_bytes *memory, size_t n_memory, ig_error *err);
/* The directory where `path` names config.json or weights inside one: the length of its path, SIZE_MAX for others. */
size_t ig_hf_directory_of(const char *path);
/* Any other name of a safetensors file. */
bool ig_hf_is_weights(const char *path);

/* config.c: config.json -> h->row, the sizes, metadata. */
ig_status ig_hf_config_read(ig_hf *h);
ig_status ig_hf_rope_read(ig_hf *h); /* hf_rope.c: rope_theta, rope_scaling, partial rotation */
/* hf_tensors.c: h->tensors -> f->gguf.tensors. */
ig_status ig_hf_tensors_map(ig_hf *h);

/* Values of config.json. *out NULL: absent or null. */
const json_t *ig_hf_value(const json_t *object, const char *key);
ig_status ig_hf_bad(const ig_hf *h, const char *key, const json_t *value, const char *expected);
/* The same with the status UNSUPPORTED. */
ig_status ig_hf_unsupported(const ig_hf *h, const char *key, const json_t *value, const char *expected);
ig_status ig_hf_size(const ig_hf *h, const json_t *object, const char *key, uint32_t *out); /* *out stays if absent */
ig_status ig_hf_real(const ig_hf *h, const json_t *object, const char *key, double *out);   /* > 0; likewise */
ig_status ig_hf_flag(const ig_hf *h, const json_t *object, const char *key, bool *out);

/* Metadata. `key` stands behind "ARCHITECTURE." where arch is true. A failure shows in h->meta.failed. */
void ig_hf_put_u32(ig_hf *h, bool arch, const char *key, uint32_t v);
void ig_hf_put_f32(ig_hf *h, bool arch, const char *key, double v);
void ig_hf_put_bool(ig_hf *h, bool arch, const char *key, bool v);
void ig_hf_put_str(ig_hf *h, bool arch, const char *key, ig_str v);
void ig_hf_put_array(ig_hf *h, bool arch, const char *key, ig_meta_type elem, const void *v, uint64_t n);

#endif
