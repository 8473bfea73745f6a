/* Tokenizers: text to token ids and back. Of GGUF files four models behind one face: SentencePiece BPE with byte
 * fallback
 * ("llama"), byte-level BPE with a pre-tokenizer ("gpt2"), WordPiece ("bert"), Unigram ("t5"); and whatever a
 * tokenizer.json of Hugging Face describes (tj.h). The pre-tokenizers are hand-written scanners, linear in the input;
 * only an expression of a tokenizer.json that has none runs in PCRE2, within limits. The vocabulary arrives as plain
 * data; nothing here reads files. */
#ifndef IG_TEXT_TOKEN_TOKEN_H
#define IG_TEXT_TOKEN_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

enum ig_token_type {
    IG_TOKEN_NORMAL = 1,
    IG_TOKEN_UNKNOWN,
    IG_TOKEN_CONTROL,
    IG_TOKEN_USER,
    IG_TOKEN_UNUSED,
    IG_TOKEN_BYTE
};

typedef struct ig_vocab_spec {
    ig_str model; /* tokenizer.ggml.model: "llama", "gpt2", "gemma4", "bert", "t5" */
    ig_str pre;   /* tokenizer.ggml.pre, empty when absent */
    size_t n_tokens;
    const ig_str *tokens; /* [n_tokens]; the bytes must outlive the vocabulary, the array need not */
    const float *scores;  /* [n_tokens] or NULL; unaligned is not allowed */
    const int32_t *types; /* [n_tokens] ig_token_type, or NULL: all normal */
    size_t n_merges;
    const ig_str *merges; /* [n_merges] "left right" by rank; bytes must outlive the vocabulary */
    ig_str charsmap;      /* tokenizer.ggml.precompiled_charsmap of a "t5", empty: none; copied */
    int64_t bos, eos, eot, eom, unk, sep, pad, cls, mask;                      /* -1 where absent */
    int add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces; /* 0, 1, or -1 where the key is absent */
    bool keep_case, keep_accents; /* of "bert": tokenizer.ggml.normalizer.lowercase or .strip_accents is false */
    bool strip_right;             /* drop white space behind control tokens: what phi-3 models expect */
    ig_str strip_left;            /* drop white space in front of the token with this text (a mask); empty: none */
} ig_vocab_spec;

typedef struct ig_vocab ig_vocab;

/* Checks everything (rules G09, G18, G19, T03, T05, T12) and builds the tables. Errors: BAD_INPUT, UNSUPPORTED (model
 * or pre-tokenizer not known: names it and lists what is), NO_MEMORY. Immutable afterwards; any number of threads may
 * use it. */
ig_status ig_vocab_new(const ig_vocab_spec *spec, ig_vocab **out, ig_error *err);
/* The same from Hugging Face's files: tokenizer.json, and tokenizer_config.json (NULL and 0: none) for the beginning
 * and end tokens and the clean-up of spaces. Nothing is borrowed. What the tokenizer does is done as the file says; a
 * component that is not known is UNSUPPORTED and named. `truncation` and `padding` are settings for batches of texts
 * and are not applied. IG_TOKENIZE_PARSE: tokens marked special are found in a text; other added tokens always are.
 * Errors: as above, and TOO_LARGE. */
ig_status ig_vocab_from_json(const char *json, size_t n, const char *config, size_t n_config, ig_vocab **out,
                             ig_error *err);
void ig_vocab_free(ig_vocab *v);

/* How well the vocabularies of GGUF files can say what a tokenizer.json says. */
typedef enum ig_vocab_fit {
    IG_VOCAB_NONE, /* not at all */
    IG_VOCAB_NEAR, /* some texts become other tokens */
    IG_VOCAB_SAME
} ig_vocab_fit;
typedef struct ig_vocab_export { /* owns what spec points to, besides what that borrows from the vocabulary */
    ig_vocab_fit fit;
    char why[160];      /* of NONE and NEAR: what GGUF has no word for, a clause without capital and full stop */
    ig_vocab_spec spec; /* empty where fit is NONE */
    ig_arena arena;
} ig_vocab_export;
/* Puts a vocabulary of ig_vocab_from_json into that form, with n_tokens tokens (the rows of the model's embedding; 0:
 * as many as it has): unused ones fill up. strips: readers of the file will drop white space beside special tokens, for
 * the model's name. SAME is proved for the kinds of tokenizers that can be (tj_export.c) and tried on random texts
 * besides. v must outlive *out. Errors: NO_MEMORY; BUG for another vocabulary. */
ig_status ig_vocab_export_new(const ig_vocab *v, size_t n_tokens, const char *strips, ig_vocab_export *out,
                              ig_error *err);
void ig_vocab_export_fini(ig_vocab_export *out);

size_t ig_vocab_size(const ig_vocab *v);
bool ig_vocab_is_json(const ig_vocab *v); /* made by ig_vocab_from_json */
size_t ig_vocab_bytes(const ig_vocab *v); /* memory of the tables */

enum { IG_TOKENIZE_ADD = 1, IG_TOKENIZE_PARSE = 2 };
typedef struct ig_ids { /* growing array of ids; zero-initialised is empty */
    int32_t *ptr;       /* owned, ig_free */
    size_t len, cap;
} ig_ids;
/* Appends the ids of text (any bytes). Linear in n, except an n log n term inside one piece, and a regular expression
 * of a tokenizer.json that has no hand-written scanner. Errors: NO_MEMORY, TOO_LARGE (such an expression over its
 * limits, or a text that is too long). */
ig_status ig_tokenize(const ig_vocab *v, const char *text, size_t n, unsigned flags, ig_ids *out, ig_error *err);

/* Offsets in a text, rising, that no special token covers: with IG_TOKENIZE_PARSE what strangers wrote stays text.
 * Other tokens are found as without them. */
typedef struct ig_veils {
    const size_t *at;
    size_t n;
} ig_veils;
ig_status ig_tokenize_veiled(const ig_vocab *v, const char *text, size_t n, unsigned flags, ig_veils veils, ig_ids *out,
                             ig_error *err);
/* Appends text (UTF-8), with `mark` behind the first character of whatever reads as a special token: where marks stand,
 * veils belong. skip (may be NULL): tokens with this text are let through. False without memory. */
bool ig_vocab_veil(const ig_vocab *v, ig_str text, ig_str mark, bool (*skip)(const void *ctx, ig_str token),
                   const void *ctx, ig_buf *out);

/* Bytes of one token as it stands inside a text (space marker and byte tokens decoded); empty for control tokens unless
 * `special`. Appends to out. The plain concatenation of pieces is golden/tokenizers' `.pieces.hex`. */
bool ig_token_piece(const ig_vocab *v, int32_t id, bool special, ig_buf *out);
enum { IG_DETOKENIZE_STRIP = 1 /* drop leading BOS, trailing EOS that ADD would put */, IG_DETOKENIZE_SPECIAL = 2 };
/* Errors: BAD_INPUT names an id outside the vocabulary; NO_MEMORY. */
ig_status ig_detokenize(const ig_vocab *v, const int32_t *ids, size_t n, unsigned flags, ig_buf *out, ig_error *err);

int32_t ig_vocab_bos(const ig_vocab *v); /* -1 where absent */
int32_t ig_vocab_eos(const ig_vocab *v);
int32_t ig_vocab_eot(const ig_vocab *v);
bool ig_vocab_is_end(const ig_vocab *v, int32_t id); /* EOS, EOT, EOM, and control tokens that are known turn ends */
bool ig_vocab_is_control(const ig_vocab *v, int32_t id);

#endif
