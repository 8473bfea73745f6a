/* The vocabulary's tables: private to src/text/token. */
#ifndef IG_TEXT_TOKEN_PRIV_H
#define IG_TEXT_TOKEN_PRIV_H

#include "base/hash.h"
#include "text/token/pre.h"
#include "text/token/token.h"

#define IG_MARKER "\xE2\x96\x81" /* U+2581, a space in SPM and raw BPE pieces, the start of a word in WordPiece */

typedef enum ig_vocab_kind { IG_VOCAB_SPM, IG_VOCAB_BPE, IG_VOCAB_WPM, IG_VOCAB_TJ } ig_vocab_kind;
typedef struct ig_tj ig_tj; /* tj.h */

typedef struct ig_merge { /* slot of an open-addressing table */
    int32_t left, right;  /* left -1: empty */
    uint32_t rank;
    int32_t result; /* -1: the joined text is no token */
} ig_merge;

typedef struct ig_text_slot { /* of an open-addressing table */
    uint32_t tag;             /* upper half of the text's hash */
    uint32_t id_plus_1;       /* 0: empty */
} ig_text_slot;

typedef struct ig_special { /* tokens that are cut out of a text before anything else */
    uint32_t *ids;          /* [n] in the order of their bytes, so that narrowing a range byte by byte walks a trie */
    uint32_t *ranks;        /* [n] of ids[i]: 0 for the longest text, lower id first on a tie */
    size_t n;
    uint32_t first[257]; /* by first byte: range in ids */
} ig_special;

struct ig_vocab {
    ig_vocab_kind kind;
    const ig_pre *pre;
    ig_pre_flags flags;
    size_t n;
    ig_str *tokens;      /* [n] bytes borrowed from the spec */
    float *scores;       /* [n] SPM */
    uint8_t *types;      /* [n] */
    ig_text_slot *slots; /* [n_slots] text -> id, see table.c */
    size_t n_slots;
    uint64_t seed;
    bool has_twins;   /* several tokens have one text, or some are in no slot */
    ig_merge *merges; /* [n_merge_slots] BPE */
    size_t n_merge_slots, n_merges;
    bool words;           /* SPM: no token holds a marker behind anything but markers */
    int32_t byte_id[256]; /* id of a single byte, -1: none */
    ig_special special;
    bool add_bos, add_eos, add_sep, space_prefix, clean_spaces;
    bool keep_case, keep_accents; /* WordPiece */
    bool strip_right;   /* white space behind a control token is dropped (phi-3) */
    int32_t strip_left; /* white space in front of this token is dropped; -1: none */
    int32_t bos, eos, eot, eom, unk, sep, cls;
    uint8_t *ends;  /* [n] 1: ends a generation */
    size_t longest; /* bytes of the longest token */
    size_t bytes;   /* memory of all this */
    ig_tj *tj;      /* IG_VOCAB_TJ: the pipeline of its tokenizer.json, owned */
};

/* A pair of neighbours that may be joined. */
typedef struct ig_join {
    float score; /* larger first; BPE stores -rank */
    uint32_t left, right, n_bytes;
} ig_join;

typedef struct ig_symbol {
    uint32_t at, n; /* bytes of the piece; n 0: joined into another */
    int32_t prev, next, id;
} ig_symbol;

typedef struct ig_bpe_queue ig_bpe_queue; /* bpe_long.c */

/* Working memory of one call, reused from piece to piece. */
typedef struct ig_work {
    ig_veils veils;
    ig_symbol *symbols;
    size_t symbols_cap;
    ig_join *heap;
    size_t n_heap, heap_cap;
    ig_cuts cuts;
    ig_buf text;
    ig_bpe_queue *queue; /* made for the first long piece */
} ig_work;

bool ig_work_symbols(ig_work *w, size_t n);
bool ig_work_push(ig_work *w, ig_join join);
ig_join ig_work_pop(ig_work *w);

bool ig_ids_add(ig_ids *ids, int32_t id);
bool ig_texts_init(ig_vocab *v);                      /* for v->n tokens */
void ig_texts_add(ig_vocab *v, uint32_t id);          /* the first of several with one text stays */
int32_t ig_texts_get(const ig_vocab *v, ig_str text); /* -1: no token */
typedef struct ig_merge_list {
    const ig_str *left, *right; /* [n] by rank; right NULL: left holds "left right" */
    size_t n;
    size_t cut;  /* bytes that the right half loses when it is joined (##) */
    bool strict; /* a joined text that is no token is an error */
} ig_merge_list;
ig_status ig_merges_read(ig_vocab *v, const ig_merge_list *list, ig_error *err);
ig_status ig_special_index(ig_vocab *v, ig_error *err);

typedef struct ig_mark { /* a special token in a text */
    size_t at, n;        /* its bytes, with white space around it that is dropped */
    int32_t id;
} ig_mark;
typedef struct ig_marks { /* zero-initialised is empty */
    ig_mark *ptr;         /* owned, ig_free */
    size_t n, cap;
} ig_marks;
/* Finds the special tokens of a text, in order; control tokens only with `parse`. False without memory. */
/* Bytes from `at` to the next veil behind it; SIZE_MAX: none. */
size_t ig_veil_limit(ig_veils veils, size_t at);
/* Whether a control token begins at text, of at most n bytes; skip as in ig_vocab_veil. */
bool ig_special_begins(const ig_vocab *v, const char *text, size_t n, bool (*skip)(const void *ctx, ig_str token),
                       const void *ctx);
bool ig_special_find(const ig_vocab *v, ig_work *w, const char *text, size_t n, bool parse, ig_marks *out);

/* Id of a text that is no control or unknown token, or -1. */
int32_t ig_vocab_find(const ig_vocab *v, const char *p, size_t n);
const ig_merge *ig_vocab_merge(const ig_vocab *v, int32_t left, int32_t right);

/* One stretch of text without special tokens; false without memory. */
bool ig_spm_encode(const ig_vocab *v, ig_work *w, const char *text, size_t n, ig_ids *out);
bool ig_bpe_encode(const ig_vocab *v, ig_work *w, const char *text, size_t n, ig_ids *out);
bool ig_wpm_encode(const ig_vocab *v, ig_work *w, const char *text, size_t n, ig_ids *out);
/* BPE: joins the symbols 0..count-1 of w as the merges say; what is left is walked by `next` from symbol 0. */
bool ig_bpe_join(const ig_vocab *v, ig_work *w, int32_t count);
/* The same for many symbols, in linear time. False without memory: w is then of no use but to be freed. */
bool ig_bpe_join_long(const ig_vocab *v, ig_work *w, int32_t count);
void ig_bpe_queue_free(ig_bpe_queue *q);
/* The id of a whole piece, or -1. */
int32_t ig_bpe_whole(const ig_vocab *v, const char *piece, size_t n);
void ig_work_fini(ig_work *w);

/* Marker inside a token, behind something that is no marker. */
bool ig_marker_inside(ig_str t);
/* Name i of the tokens that end a turn or a text, NULL past the end; *turn: a turn. */
const char *ig_end_name(size_t i, bool *turn);

/* GPT-2's byte alphabet: the character that stands for a byte; the byte of a character, or -1. */
uint32_t ig_byte_to_char(uint8_t byte);
int ig_char_to_byte(uint32_t cp);

#endif
