/* What the public objects hold: private to src/engine. */
#ifndef IG_ENGINE_API_H
#define IG_ENGINE_API_H

#include "base/mem.h"
#include "engine/engine.h"
#include "format/format.h"
#include "model/model.h"
#include "text/token/token.h"

typedef struct ig_lazy ig_lazy; /* what is made at first use (constrain.h) */
ig_lazy *ig_lazy_new(void);     /* NULL without memory */
void ig_lazy_free(ig_lazy *lazy);

struct ingle_model {
    ig_format *file;
    const ig_kernels *kernels;
    ig_vocab *vocab; /* NULL: the file has none */
    ig_model *net;   /* NULL: no tensors, or vocab_only */
    ig_arena names;  /* NUL-terminated copies of keys and tensor names */
    const char **meta_names, **tensor_names;
    const char *architecture, *name;
    uint64_t n_params, weight_bytes; /* over the whole directory */
    ig_lazy *lazy;
};

struct ingle_engine {
    const ingle_model *model;
    ig_run *run;
    uint32_t n_ctx, n_batch, n_logits, n_sessions_max, n_sessions, n_threads;
    ig_step_item *items; /* [n_sessions_max] */
    ig_kv kv;
    bool embed;
    ig_costs costs;                   /* of steps */
    double head_ms;                   /* of a guess of the model's own head, 0: not known */
    double drafter_ms;                /* of a token of the drafter, 0: not known */
    const ingle_model *drafts_with;   /* the drafter's model that was found to fit, NULL: none yet */
};

struct ingle_session {
    ingle_engine *engine;
    ig_seq seq, source;
    int32_t *tokens; /* [n_ctx] what was fed */
    float *logits;   /* [n_vocab] */
    bool has_logits;
};

/* Copies a caller's option struct of any version: what it does not have is zero. src may be NULL. */
#define IG_OPTIONS(dst, src)                                                                                           \
    do {                                                                                                               \
        memset((dst), 0, sizeof *(dst));                                                                               \
        if (src) memcpy((dst), (src), (src)->size && (src)->size < sizeof *(dst) ? (src)->size : sizeof *(dst));       \
    } while (0)

/* Whether the control token is one of the reply's markers (reply.c). */
bool ig_reply_reads(const struct ingle_reply *reply, ig_str token);
/* Copies an internal failure to the caller's struct. */
ingle_status ig_pass(ig_status st, const ig_error *from, ingle_error *to);
uint32_t ig_logits_width(const ingle_model *m);
uint32_t ig_standard_batch(const ig_model *net, uint32_t n_ctx);
ingle_pooling ig_default_pooling(const ingle_model *m);
ig_status ig_need_vocab(const ingle_model *m, ig_error *err);
/* What ingle_tokenize does with its result. */
ig_status ig_give_ids(const ig_ids *ids, int32_t *out, size_t capacity, size_t *n_out, ig_error *err);

#endif
