/* Tokenizers of Hugging Face's tokenizer.json: private to src/text/token. A text goes through a pipeline that the file
 * describes: added tokens are cut out, the rest is normalized (tj_norm.c), cut into pieces (tj_pre.c), each piece goes
 * to the model (tj_model.c), and the ids of the post-processor (tj_post.c) frame the whole. Back, ids become tokens and
 * tokens go through the decoders (tj_dec.c). A component that is not known is an error that names it. */
#ifndef IG_TEXT_TOKEN_TJ_H
#define IG_TEXT_TOKEN_TJ_H

#include "text/token/charsmap.h"
#include "text/token/json.h"
#include "text/token/pre_priv.h"
#include "text/token/regex.h"
#include "text/token/token_priv.h"
#include "text/token/trie.h"

enum {
    IG_TJ_STEPS_MAX = 64,  /* normalizers, pre-tokenizers, decoders: of each, sequences counted flat */
    IG_TJ_NEST_MAX = 8,    /* sequences in sequences */
    IG_TJ_FRAME_MAX = 64,  /* ids that a post-processor puts around a text, on each side */
    IG_TJ_TEXT_MAX = 65536 /* bytes of one string */
};

typedef struct ig_pattern { /* what Split and Replace look for: a string or a regular expression */
    ig_str text;            /* the string; empty with a regular expression or a scanner */
    ig_tj_regex *regex;     /* owned */
    ig_match_fn match;      /* hand-written scanner */
    const void *params;
    bool two_spaces; /* the regular expression " {2,}" */
} ig_pattern;

typedef enum ig_norm_kind {
    IG_NORM_FORM, /* Unicode normalization: `flags` */
    IG_NORM_LOWERCASE,
    IG_NORM_STRIP_MARKS, /* flags 1: \p{Mn} only */
    IG_NORM_BERT,        /* flags: IG_BERT_ */
    IG_NORM_PREPEND,     /* content */
    IG_NORM_REPLACE,     /* pattern -> content */
    IG_NORM_STRIP,       /* flags: 1 left, 2 right */
    IG_NORM_CHARSMAP,    /* flags: IG_CHARSMAP_ */
    IG_NORM_SPACES,      /* flags: IG_SPACES_; spaces become U+2581 as SentencePiece does it */
    IG_NORM_ALPHABET     /* bytes become GPT-2's characters */
} ig_norm_kind;
enum { IG_CHARSMAP_LONGEST = 1 };
enum { IG_SPACES_PREFIX = 1, IG_SPACES_MERGE = 2 };
#define IG_TJ_UNK_PENALTY 10.0 /* of an unknown character below the least score */
enum { IG_BERT_CLEAN = 1, IG_BERT_CJK = 2 };
enum { IG_FORM_COMPOSE = 1, IG_FORM_COMPAT = 2 };

typedef struct ig_norm {
    ig_norm_kind kind;
    unsigned flags;
    ig_pattern pattern;
    ig_str content;
} ig_norm;

typedef enum ig_pre_kind {
    IG_PRE_SPLIT,        /* pattern, behavior, invert */
    IG_PRE_METASPACE,    /* text: what stands for a space; scheme; split */
    IG_PRE_PREFIX_SPACE, /* a space in front where there is none */
    IG_PRE_ALPHABET
} ig_pre_kind;
typedef enum ig_behavior {
    IG_SPLIT_ISOLATED,
    IG_SPLIT_REMOVED,
    IG_SPLIT_CONTIGUOUS,
    IG_SPLIT_PREVIOUS,
    IG_SPLIT_NEXT
} ig_behavior;
typedef enum ig_scheme { IG_SCHEME_ALWAYS, IG_SCHEME_FIRST, IG_SCHEME_NEVER } ig_scheme;

typedef struct ig_pre_step {
    ig_pre_kind kind;
    ig_pattern pattern;
    ig_behavior behavior;
    bool invert, split;
    ig_scheme scheme;
    ig_str text;
} ig_pre_step;

typedef enum ig_dec_kind {
    IG_DEC_ALPHABET, /* ByteLevel */
    IG_DEC_BYTES,    /* ByteFallback */
    IG_DEC_FUSE,
    IG_DEC_REPLACE,
    IG_DEC_STRIP,     /* text: the character; start, stop */
    IG_DEC_METASPACE, /* text, scheme */
    IG_DEC_WORDPIECE, /* text: the prefix; cleanup */
    IG_DEC_SUFFIX     /* BPEDecoder: text */
} ig_dec_kind;

typedef struct ig_dec_step {
    ig_dec_kind kind;
    ig_pattern pattern;
    ig_str content, text;
    size_t start, stop;
    ig_scheme scheme;
    bool cleanup;
} ig_dec_step;

typedef struct ig_added {
    int32_t id;
    ig_str text;    /* as it decodes */
    ig_str pattern; /* what is looked for */
    bool single_word, lstrip, rstrip, normalized, special;
} ig_added;

typedef struct ig_finder { /* added tokens in the order of their bytes */
    const ig_added **list; /* [n], owned */
    size_t n;
    uint32_t first[257]; /* by first byte: range in list */
} ig_finder;

typedef enum ig_tj_model { IG_TJ_BPE, IG_TJ_UNIGRAM, IG_TJ_WORDPIECE, IG_TJ_WORDLEVEL } ig_tj_model;

struct ig_tj {
    ig_arena arena; /* texts */
    ig_norm norm[IG_TJ_STEPS_MAX];
    ig_pre_step pre[IG_TJ_STEPS_MAX];
    ig_dec_step dec[IG_TJ_STEPS_MAX];
    size_t n_norm, n_pre, n_dec;
    bool has_decoder; /* else tokens are joined by spaces */
    int32_t front[IG_TJ_FRAME_MAX], back[IG_TJ_FRAME_MAX];
    size_t n_front, n_back;
    ig_added *added; /* [n_added], owned */
    size_t n_added;
    ig_finder raw, normalized;
    uint8_t *is_added; /* [v->n], owned */

    ig_charsmap charsmap;
    ig_tj_model model;
    bool from_gguf;
    bool byte_level; /* BPE on bytes: the last pre-tokenizer would turn them into GPT-2's alphabet */
    bool byte_fallback, fuse_unk, ignore_merges, cut_words, clean_up;
    ig_str subword_prefix, word_suffix;
    size_t max_chars;     /* WordPiece */
    int32_t sep, pad, cls, mask; /* as tokenizer_config.json names them, -1: not; used for GGUF files */
    int32_t hex_id[256];  /* <0xNN>, -1: none */
    ig_tj_trie trie;      /* Unigram, WordPiece */
    uint32_t prefix_node; /* WordPiece: behind ##, 0: no such token */
    double *scores;       /* [v->n] Unigram, owned */
    double unk_score;
    ig_buf pieces;       /* the bytes of every token alone, one after the other */
    uint32_t *piece_end; /* [v->n], owned */
};

typedef struct ig_piece {
    uint32_t at, end;
} ig_piece;
typedef struct ig_pieces { /* zero-initialised is empty */
    ig_piece *ptr;         /* owned */
    size_t n, cap;
} ig_pieces;

typedef struct ig_lattice_node { /* the best way to the end of a byte */
    double score;
    uint32_t from; /* UINT32_MAX: no way yet */
    int32_t id;
} ig_lattice_node;

typedef struct ig_tj_work { /* of one call; zero-initialised, then ig_tj_work_init */
    ig_work work;
    ig_tj_regex_work regex;
    ig_buf norm[2];      /* normalized text: the result lies in norm[0] */
    ig_buf text[2];      /* the same of pre-tokenizers */
    ig_pieces pieces[2]; /* the result lies in pieces[0] */
    ig_chars chars;      /* of the text that is cut now */
    size_t chars_cap;
    ig_buf wide, sorted; /* characters of four bytes, for Unicode forms */
    ig_lattice_node *lattice;
    size_t lattice_cap;
    struct ig_cache_slot *cache; /* BPE: ids of pieces seen before; NULL until a text is long enough */
} ig_tj_work;
void ig_tj_work_init(ig_tj_work *w, size_t n); /* for a text of n bytes */
void ig_tj_work_fini(ig_tj_work *w);
/* Grows *p to n elements of `size` bytes; the content is lost. */
bool ig_tj_room(void *p, size_t *cap, size_t n, size_t size);
ig_status ig_tj_no_memory(ig_error *err);

/* ---- reading JSON: every getter fails with a sentence that names the section (`where`) and the key */
ig_status ig_tj_str(const ig_tj_json *o, const char *where, const char *key, bool required, ig_arena *a, ig_str *out,
                    ig_error *err);
ig_status ig_tj_bool(const ig_tj_json *o, const char *where, const char *key, bool *out,
                     ig_error *err); /* absent: kept */
/* 0 to max; absent: *out is kept where it is not required. */
ig_status ig_tj_size(const ig_tj_json *o, const char *where, const char *key, bool required, size_t max, size_t *out,
                     ig_error *err);
/* Array `key` of o, NULL when it is absent or null. */
ig_status ig_tj_list(const ig_tj_json *o, const char *where, const char *key, bool required, const ig_tj_json **out,
                     ig_error *err);

typedef ig_status (*ig_tj_component_fn)(ig_vocab *v, const ig_tj_json *o, ig_error *err);
typedef struct ig_tj_component {
    const char *type;
    ig_tj_component_fn read;
} ig_tj_component;
/* Reads a component by its "type" from a table (NULL-terminated); "Sequence" walks the array `list`. */
ig_status ig_tj_components(ig_vocab *v, const ig_tj_json *o, const char *where, const char *list,
                           const ig_tj_component *table, ig_error *err);
/* pattern: {"String": s} or {"Regex": r}. A regular expression that has a hand-written scanner gets it where those are
 * allowed: all, or those that leave no gaps. */
typedef enum ig_scanners { IG_SCANNERS_NONE, IG_SCANNERS_ALL, IG_SCANNERS_WHOLE } ig_scanners;
ig_status ig_tj_pattern(ig_vocab *v, const ig_tj_json *o, const char *where, ig_scanners scanners, ig_pattern *out,
                        ig_error *err);

/* The fields that Metaspace has as pre-tokenizer and as decoder. */
ig_status ig_tj_metaspace(ig_vocab *v, const ig_tj_json *o, const char *where, ig_str *text, ig_scheme *scheme,
                          ig_error *err);

ig_status ig_tj_read_norm(ig_vocab *v, const ig_tj_json *o, ig_error *err);
ig_status ig_tj_read_pre(ig_vocab *v, const ig_tj_json *o, ig_error *err);
ig_status ig_tj_read_post(ig_vocab *v, const ig_tj_json *o, ig_error *err);
ig_status ig_tj_read_dec(ig_vocab *v, const ig_tj_json *o, ig_error *err);
ig_status ig_tj_read_model(ig_vocab *v, const ig_tj_json *o, const ig_tj_json *added, ig_error *err);

/* After the added tokens: tables of the model that leave control tokens out. */
ig_status ig_tj_index_model(ig_vocab *v, ig_error *err);

/* ---- running */
/* *out is text itself where nothing changes, else lies in w->norm[0]. */
ig_status ig_tj_normalize(const ig_tj *tj, ig_tj_work *w, ig_str text, ig_str *out, ig_error *err);
/* Cuts text into w->pieces[0] of *out (text itself or w->text[0]); `first`: it begins the whole input. */
ig_status ig_tj_cut(const ig_tj *tj, ig_tj_work *w, ig_str text, bool first, ig_str *out, ig_error *err);
bool ig_tj_cache_init(ig_tj_work *w);
bool ig_tj_encode_piece(const ig_vocab *v, ig_tj_work *w, const char *piece, size_t n, ig_ids *out);
/* First added token in text[from..n), leftmost and longest; NULL: none. *at and *end hold its bytes with the white
 * space that it takes, never before `from`. */
const ig_added *ig_tj_find_added(const ig_finder *f, const char *text, size_t n, size_t from, bool parse, ig_veils veils,
                                 size_t *at, size_t *end);
/* Whether a special token begins at text, of at most n bytes; skip as in ig_vocab_veil. */
bool ig_tj_special_begins(const ig_tj *tj, const char *text, size_t n, bool (*skip)(const void *ctx, ig_str token),
                          const void *ctx);
ig_status ig_tj_finder_init(ig_finder *f, const ig_added *added, size_t n, bool normalized, ig_error *err);
/* Replaces every match in text by content, appending to out. */
ig_status ig_tj_replace(const ig_pattern *p, ig_tj_regex_work *w, ig_str text, ig_str content, ig_buf *out,
                        ig_error *err);

ig_status ig_tj_encode(const ig_vocab *v, const char *text, size_t n, unsigned flags, ig_veils veils, ig_ids *out,
                       ig_error *err);
ig_status ig_tj_decode(const ig_vocab *v, const int32_t *ids, size_t n, bool special, ig_buf *out, ig_error *err);
/* Of a GGUF file's Unigram vocabulary, whose tokens, ids and flags have been read. */
ig_status ig_tj_from_spec(ig_vocab *v, const ig_vocab_spec *spec, ig_error *err);
ig_status ig_tj_make_pieces(ig_vocab *v, ig_error *err);
bool ig_tj_piece(const ig_vocab *v, int32_t id, bool special, ig_buf *out);
size_t ig_tj_bytes(const ig_tj *tj);
void ig_tj_free(ig_tj *tj);

#endif
