/* What a constraint needs of a model and of a grammar: private to src/engine. */
#ifndef IG_ENGINE_CONSTRAIN_H
#define IG_ENGINE_CONSTRAIN_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/api.h"
#include "text/grammar/grammar.h"
#include "text/reply/reply.h"

/* A model's vocabulary as byte strings, and its trie. Immutable and counted: grammars keep maskers over it, which may
 * outlive the model. */
typedef struct ig_words {
    atomic_uint n_uses;
    const ig_reply_family *family; /* control tokens that it marks calls and reasoning with are text; NULL: none are */
    ig_token_index *index;
    uint32_t n;    /* tokens, as many as a row of logits has */
    char *text;    /* bytes of all tokens one behind the other, control tokens written out */
    uint32_t *at;  /* [n + 1] where each begins */
    bool *end;     /* [n] ends a generation */
    bool *control; /* [n] no text of an answer */
} ig_words;

/* What is made at first use, by whichever thread comes first. */
struct ig_lazy {
    pthread_mutex_t lock;
    ig_words *plain, *marked; /* marked: of the family asked for last */
};

/* Another use of the model's vocabulary as the family (or NULL) sees it; given back by ig_words_drop. Errors:
 * UNSUPPORTED without one, NO_MEMORY. */
ig_status ig_words_of(const ingle_model *m, const ig_reply_family *family, ig_words **out, ig_error *err);
void ig_words_drop(ig_words *w);
static inline ig_str ig_word(const ig_words *w, uint32_t id)
{
    return (ig_str){w->text + w->at[id], w->at[id + 1] - w->at[id]};
}

enum { IG_MASKERS_KEPT = 4 };
/* A masker and the vocabulary it works over. */
typedef struct ig_warm_mask {
    ig_masker *masker;
    ig_words *words;
} ig_warm_mask;

/* Warm maskers wait here for the next answer. */
typedef struct ig_mask_pool {
    pthread_mutex_t lock;
    ig_warm_mask kept[IG_MASKERS_KEPT];
} ig_mask_pool;

struct ingle_grammar {
    ig_grammar *g;
    ig_mask_pool *pool;
    const ig_reply_family *family; /* of tools: it is a grammar of whole replies, markers included; else NULL */
    char **relaxed;                /* owned [n_relaxed]: names of tools */
    size_t n_relaxed;
};

ig_mask_pool *ig_mask_pool_new(void); /* NULL without memory */
void ig_mask_pool_free(ig_mask_pool *pool);

#endif
