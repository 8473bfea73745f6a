/* A tokenizer.json in the form of GGUF files: private to tj_export.c and tj_export_bpe.c. */
#ifndef IG_TEXT_TOKEN_TJ_EXPORT_H
#define IG_TEXT_TOKEN_TJ_EXPORT_H

#include "text/token/tj.h"

typedef struct ig_maker {
    const ig_vocab *v;
    const ig_tj *tj;
    ig_vocab_export *out;
    size_t n;       /* tokens of the result; the arrays lie in out->arena */
    ig_str *tokens; /* [n] */
    float *scores;  /* [n] */
    int32_t *types; /* [n] */
    ig_error *err;
} ig_maker;

/* What GGUF cannot say. The first reason is kept; one for NONE goes before one for NEAR. */
void ig_maker_near(ig_maker *m, const char *why);
void ig_maker_none(ig_maker *m, const char *why);

/* BPE over bytes ("gpt2") and BPE over characters with bytes for the others ("llama"). */
ig_status ig_maker_bytes(ig_maker *m);
ig_status ig_maker_chars(ig_maker *m);

#endif
