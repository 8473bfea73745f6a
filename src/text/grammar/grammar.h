/* Structured output: GBNF grammars and JSON Schemas (draft 2020-12) as machines that say which bytes, and which tokens
 * of a vocabulary, may come next.
 *
 * Limits: a schema or grammar of 1 MiB, 256 MiB and a bounded amount of work to compile, texts nested 2^20 deep, 8,192
 * readings of one text at a time. What cannot be enforced is refused with UNSUPPORTED and a sentence that begins with
 * the JSON pointer.
 *
 * Two ways to read JSON. IG_GRAMMAR_ANY accepts every notation of a valid value: free white space, escapes, `1.0` for
 * an integer. IG_GRAMMAR_CANONICAL is for generation: at most one space after `,` and `:` and no other white space,
 * only the escapes that are needed, bounded digits, no exponent where the schema bounds the number. Everything
 * canonical is accepted in the other way, too. For GBNF the two are the same. */
#ifndef IG_TEXT_GRAMMAR_H
#define IG_TEXT_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

/* A compiled grammar: immutable, may be shared between threads. */
typedef struct ig_grammar ig_grammar;
/* Errors: BAD_INPUT (no JSON, not GBNF; the sentence names line or pointer), UNSUPPORTED (cannot be enforced),
 * TOO_LARGE, NO_MEMORY. The text is not needed afterwards. */
ig_status ig_grammar_from_schema(const char *text, size_t n, ig_grammar **out, ig_error *err);
ig_status ig_grammar_from_gbnf(const char *text, size_t n, ig_grammar **out, ig_error *err);
/* GBNF in which the rules value-0, value-1, ... are JSON values: those of the schemas in the JSON list `schemas`, in
 * order. The rules string-0, ... are the strings among them as they are, without quotes and escapes; they hold no `<`.
 * No white space belongs to such a value on its outside. Errors as above; a pointer begins with /prefixItems/N. */
ig_status ig_grammar_from_parts(const char *gbnf, size_t n, const char *schemas, size_t n_schemas, ig_grammar **out,
                                ig_error *err);
void ig_grammar_free(ig_grammar *g);
/* False when no text at all matches. */
bool ig_grammar_possible(const ig_grammar *g);
size_t ig_grammar_bytes(const ig_grammar *g);

typedef enum ig_grammar_way { IG_GRAMMAR_ANY, IG_GRAMMAR_CANONICAL } ig_grammar_way;

/* Where in the grammar a text is. Belongs to one thread; the grammar must outlive it. */
typedef struct ig_grammar_state ig_grammar_state;
ig_status ig_grammar_start(const ig_grammar *g, ig_grammar_way way, ig_grammar_state **out, ig_error *err);
/* An independent copy: a few hundred bytes. */
ig_status ig_grammar_copy(const ig_grammar_state *from, ig_grammar_state **out, ig_error *err);
void ig_grammar_end(ig_grammar_state *s);
/* Feeds n bytes. OK also when they do not fit: then no text is possible any more. Errors: TOO_LARGE (nested too deeply,
 * too many readings), NO_MEMORY; the state is then as if the bytes did not fit. */
ig_status ig_grammar_feed(ig_grammar_state *s, const char *p, size_t n, ig_error *err);
/* The text so far can be continued to a match (or is one). */
bool ig_grammar_alive(const ig_grammar_state *s);
/* Bytes fed so far that can be continued to a match. */
uint64_t ig_grammar_fits(const ig_grammar_state *s);
/* The text so far matches. */
bool ig_grammar_accepts(ig_grammar_state *s);

/* A vocabulary, indexed once: immutable, may be shared. tokens [n]: bytes of each token, borrowed only during the call;
 * a token without bytes is never allowed. end [n] (may be NULL): tokens that end the text, allowed where it matches;
 * special [n] (may be NULL): never allowed. */
typedef struct ig_token_index ig_token_index;
ig_status ig_token_index_new(const ig_str *tokens, const bool *end, const bool *special, size_t n, ig_token_index **out,
                             ig_error *err);
void ig_token_index_free(ig_token_index *index);
size_t ig_token_index_words(const ig_token_index *index); /* 64-bit words of a mask */

/* Computes masks for one grammar and one vocabulary and remembers parts of them. Belongs to one thread; both must
 * outlive it. cache_bytes 0: 64 MiB. */
typedef struct ig_masker ig_masker;
ig_status ig_masker_new(const ig_grammar *g, const ig_token_index *index, size_t cache_bytes, ig_masker **out,
                        ig_error *err);
void ig_masker_free(ig_masker *m);
/* Sets bit i of mask [words] where token i may come next; all others are 0. */
ig_status ig_masker_mask(ig_masker *m, const ig_grammar_state *s, uint64_t *mask, ig_error *err);

#endif
