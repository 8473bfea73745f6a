/* What the parts of the worker share: private to src/worker.
 *
 * Threads: the main thread owns the channel, the engine, the slots and every running request. A lane is a thread with
 * jobs: `text` reads JSON, renders, tokenizes and compiles, `embed` computes embeddings with an engine of its own. A
 * request belongs to one thread at a time; what all of them read (model, vocabulary, template) never changes. */
#ifndef IG_WORKER_WK_H
#define IG_WORKER_WK_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "ipc/ipc.h"
#include "worker/chat.h"
#include "worker/constrain.h"
#include "worker/out.h"
#include "worker/reply.h"
#include "worker/sandbox.h"

enum {
    WK_CHOICES_MAX = 8,
    WK_USER_BYTES = 129, /* with the NUL */
    WK_QUEUE_STANDARD = 512,
    WK_SESSIONS_MAX = 1024,
    WK_SPILLED_MAX = 256,           /* conversations on disk */
    WK_SPILL_LIST_BYTES = 64 << 20, /* of the list behind them */
    WK_DRAFTERS = 4,                /* answers that a smaller model guesses for at once */
    WK_TOP_MAX = 100                /* alternatives of a log probability */
};
#define WK_JOB_BYTES_MAX    ((size_t)256 << 20) /* bodies that wait to be read */
#define WK_RESULT_BYTES_MAX ((size_t)IG_FRAME_BODY_MAX)

/* Why a request cannot be met: the ERROR frame. */
typedef struct wk_fault {
    const char *type, *param; /* static; param NULL: none */
    uint64_t n_prompt;        /* too_long */
    uint32_t n_ctx;
    ig_error e;
} wk_fault;

typedef enum wk_op {
    WK_GENERATE,
    WK_EMBED,
    WK_RERANK,
    WK_TOKENIZE,
    WK_DETOKENIZE,
    WK_TEMPLATE,
    WK_PROPS,
    WK_SLOTS,
    WK_FACTS,
    WK_OPS
} wk_op;

typedef struct wk_params {
    ingle_sampler_options sampler;
    ingle_logit_bias *bias; /* owned */
    const char **stops;     /* owned array, texts of the body */
    size_t n_stops;
    uint32_t max_tokens, min_tokens, n, n_top;
    uint32_t n_ctx;         /* tokens that prompt and answer may have, where policy says so; else 0 */
    const char *n_ctx_rule; /* whose limit that is; of the body, or NULL */
    bool logprobs, ignore_eos, truncate, shift, echo, return_ids, return_context;
} wk_params;

typedef struct wk_user { /* a partition of the prefix cache; lives while a request or slot refers to it */
    struct wk_user *next;
    uint64_t served; /* tokens computed, brought up to the least of the others when the user comes back */
    uint32_t refs, active, running; /* requests and slots; choices that wait or run; that run */
    char name[WK_USER_BYTES];
} wk_user;

typedef struct wk_texts {    /* of an embed or rerank request */
    ingle_embed_item *items; /* owned, also their tokens */
    size_t n, n_done;
    uint64_t n_tokens, n_dropped; /* dropped: that truncation took away */
    ingle_pooling pooling;
    bool normalize;
} wk_texts;

struct wk_choice;
typedef struct wk_request {
    uint64_t id;
    struct wk_request *next; /* in a lane, or among the requests of the worker */
    bool query, batch;
    char *raw;            /* owned: the frame's body, until it is read */
    size_t n_raw, n_body; /* n_body: counts among the bytes that wait */
    json_t *body;         /* owned */
    wk_op op;
    char user_name[WK_USER_BYTES];
    wk_params p;
    ig_buf text;                  /* the prompt as text, where there is one */
    wk_veils veils;               /* owned; of a chat's text */
    int32_t *prompt;              /* owned */
    uint32_t n_prompt, n_dropped; /* dropped: tokens that truncation took away */
    bool infill;
    wk_rule *rule;
    wk_texts texts;
    ig_buf result; /* body of a RESULT */
    bool failed;
    wk_fault fault;
    _Atomic bool cancelled;
    uint64_t came_ns, told_ns;
    uint32_t told_position;
    /* main thread, when it is ready */
    wk_user *user;
    struct wk_choice *choices; /* owned [p.n] */
    uint32_t n_done;
} wk_request;

typedef struct wk_slot {
    ingle_session *session;
    wk_user *user;            /* whose tokens these are, NULL: nobody's */
    struct wk_choice *choice; /* that runs in it */
    uint32_t held;            /* tokens that an answer which has ended left behind, 0: those that the session holds */
    uint64_t used;            /* when it was used last, counted in admissions */
} wk_slot;

typedef struct wk_drafter { /* a session of the smaller model */
    ingle_session *session;
    const wk_slot *slot; /* whose tokens it holds, NULL: nobody's */
    uint64_t used;
} wk_drafter;

typedef struct wk_spilled { /* a conversation on disk */
    wk_user *user;
    ig_session_image *image;
    uint64_t at, n_bytes, used; /* where in the file; when, counted in admissions */
    bool busy;                  /* it is about to be read */
} wk_spilled;

typedef struct wk_choice {
    wk_request *r;
    uint32_t idx;
    wk_slot *slot;                          /* NULL: waits */
    bool done, prompt_done, began, scoring; /* scoring: log probabilities of the prompt are wanted */
    uint32_t n_scored, n_shifted;           /* tokens of the prompt that are given out; that a shift dropped */
    uint64_t arrival;
    int32_t *tokens; /* owned [n_ctx + 2]: prompt and answer; the session catches up with them */
    uint32_t n_tokens, n_generated, n_reasoning, n_cached;
    ingle_sampler *sampler;
    ig_stream *stream;
    wk_reply *reply;
    ingle_constraint *constraint; /* NULL: free */
    ig_spec *spec;                /* NULL: nothing is guessed */
    uint32_t n_drafted, n_accepted;
    uint32_t n_back;       /* tokens that wrong guesses made the session forget, which have been sampled already */
    ig_buf piece, lp, ids; /* bytes of a token; log probabilities and ids that wait for their text */
    uint64_t admitted_ns, prompt_ns, told_ns;
} wk_choice;

struct wk;
typedef struct wk_lane {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool started, stop;
    wk_request *first, *last;           /* jobs */
    wk_request *done_first, *done_last; /* that are done */
    wk_request *now;
    int bell; /* eventfd-like pipe of the main thread; borrowed */
    void (*work)(struct wk *w, wk_request *r);
    struct wk *w;
} wk_lane;

typedef struct wk_config {
    uint32_t n_threads, n_ctx, n_sessions, n_batch, n_queue;
    ingle_kv_type kv;
    ingle_speculate speculate;
    uint64_t memory_max, spill_max; /* bytes; spill_max 0: no file */
    int landlock_abi_max;
    bool shares;  /* users share what was computed for prompts */
    json_t *body; /* owned: INIT */
} wk_config;

typedef struct wk {
    ig_channel ch;
    wk_config cfg;
    wk_sandbox box;
    int rss_fd; /* /proc/self/statm, opened before the sandbox; -1: none */
    uint64_t page_bytes;
    int bell[2];
    ingle_model *model;
    ingle_model_info info;
    ingle_engine *engine; /* NULL: a model without logits, or it is only looked at */
    ingle_model *draft;   /* a smaller model that guesses, NULL: none */
    ingle_engine *drafter;
    wk_drafter drafters[WK_DRAFTERS];
    uint64_t draft_bytes, draft_turns; /* memory of it all */
    double drafter_ms;                 /* of a guess, 0: not known */
    bool generates;                    /* the model has logits */
    ig_engine_use planned;             /* of an engine that was not made */
    uint32_t n_ctx, n_batch, n_rows;   /* tokens of a session, of a step; rows of logits of a step */
    ig_str template_source;
    ig_buf bos_text, eos_text;
    bool adds_eos; /* tokenizing with special tokens puts the end token behind */
    wk_chat *chat;
    wk_constrainer *constrainer;
    int32_t *ends; /* owned: tokens that end an answer */
    size_t n_ends;
    float *logits; /* [n_vocab] scratch for masks */
    ingle_logprob *top;
    wk_slot *slots; /* [cfg.n_sessions] */
    wk_user *users;
    int spill_fd;        /* -1: none */
    bool leaves;         /* STOP has said that the next worker gets the file */
    wk_spilled *spilled; /* owned [WK_SPILLED_MAX], in order of the file */
    size_t n_spilled;
    ingle_engine *embedder; /* embed lane, made at first use */
    wk_lane text, embed;
    uint32_t n_jobs;
    size_t job_bytes;
    wk_request *requests;                           /* in lanes excepted: all that wait or run */
    uint32_t n_waiting, n_running, n_running_batch; /* choices */
    bool short_of_pages;                            /* nobody is let in until somebody who runs has ended */
    uint64_t positions_ns;
    uint64_t arrivals, admissions;
    ingle_step_item *items; /* [cfg.n_sessions] */
    uint32_t *guessed;      /* [cfg.n_sessions] tokens at the end of an item that are guesses */
    wk_choice **stepping;   /* [cfg.n_sessions] whose items they are; NULL: its request is gone */
    size_t n_stepping;
    double decode_ms, token_ms; /* of a step without a prompt; of a token of a prompt; 0: not yet known */
    uint64_t tokens_generated, tokens_prompt;
    uint64_t status_ns;
    bool status_due, stopping, broken;
    ig_buf out; /* scratch for bodies */
} wk;

/* fault.c: errors. All return false. */
bool wk_refuse(wk_fault *f, const char *type, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool wk_refuse_status(wk_fault *f, const char *param, const ig_error *e); /* the type by the status */
ig_error wk_error_of(const ingle_error *e);

/* lane.c */
ig_status wk_lane_start(wk_lane *lane, wk *w, void (*work)(wk *w, wk_request *r), ig_error *err);
void wk_lane_stop(wk_lane *lane); /* waits for the job that runs */
void wk_lane_give(wk_lane *lane, wk_request *r);
wk_request *wk_lane_take_done(wk_lane *lane); /* NULL: none */
/* Marks the job of this id as cancelled; false: it is not here. */
bool wk_lane_cancel(wk_lane *lane, uint64_t id);

/* request.c: the text lane. */
void wk_prepare_request(wk *w, wk_request *r);
void wk_request_free(wk_request *r);
bool wk_fills_gaps(const wk *w);                      /* the vocabulary has tokens for prefix, suffix and middle */
uint32_t wk_context(const wk *w, const wk_params *p); /* tokens that a conversation of this request may have */
bool wk_render(const wk *w, wk_request *r, bool add_prompt); /* messages to text, and to tokens */
bool wk_tokenize(const wk *w, ig_str text, unsigned flags, const wk_veils *veils, int32_t **ids, size_t *n,
                 wk_fault *f); /* veils may be NULL */

/* params.c */
bool wk_read_params(const wk *w, const json_t *body, wk_params *p, wk_fault *f);
bool wk_read_count(const json_t *body, const char *name, uint32_t most, uint32_t *out, wk_fault *f);
bool wk_read_bool(const json_t *body, const char *name, bool *out, wk_fault *f);

/* query.c: results in r->result. */
void wk_answer_query(wk *w, wk_request *r); /* text lane */
void wk_put_slots(wk *w, ig_buf *out);      /* main thread */

/* embed.c */
bool wk_read_texts(wk *w, wk_request *r); /* text lane */
/* Embed lane: a turn of it; r->texts.n_done < n: it wants another, after the others'. */
void wk_compute_embeddings(wk *w, wk_request *r);

/* drafter.c: a smaller model that guesses. w->draft is open. False: it does not fit the model, or there is no memory.
 */
bool wk_drafter_plan(wk *w, wk_fault *f); /* fills w->draft_bytes */
bool wk_drafter_start(wk *w, wk_fault *f);
void wk_drafter_stop(wk *w);
void wk_drafter_forget(wk *w, const wk_slot *slot); /* the slot's tokens are nobody's any more */
/* Guesses at most `most` tokens behind the choice's; returns how many. */
uint32_t wk_drafter_guess(wk *w, const wk_choice *c, uint32_t most, int32_t *out);

/* facts.c: members of READY that describe the model. */
void wk_put_facts(const wk *w, ig_buf *out);
/* {"meta": all of it with its arrays, "tensors": [{name, type, shape}]} */
void wk_put_all_facts(const wk *w, ig_buf *out);

/* frames.c: main thread. */
void wk_send(wk *w, ig_frame_type type, uint64_t request, const ig_buf *body);
void wk_send_error(wk *w, uint64_t request, const wk_fault *f);
void wk_send_ready(wk *w, double load_ms);
void wk_send_status(wk *w, uint64_t now_ns);
void wk_send_load(wk *w, double share);
void wk_send_position(wk *w, wk_request *r, uint32_t position);
void wk_send_prompt(wk *w, wk_choice *c);
void wk_send_done(wk *w, wk_choice *c, const char *finish, const char *stop, const char *flag);

/* choice.c: one answer. */
bool wk_choice_begin(wk *w, wk_choice *c, wk_fault *f);
/* Samples from logits [n_vocab], gives out what is certain. Returns how the answer ends, NULL: it goes on. On failure
 * "error" and *f. */
const char *wk_choice_next(wk *w, wk_choice *c, const float *logits, wk_fault *f);
/* Gives the prompt out where that is asked for. */
void wk_choice_echo(wk *w, wk_choice *c);
/* The same with log probabilities: rows [n, n_vocab] follow tokens n_scored, n_scored + 1, ... of the prompt. */
bool wk_choice_score(wk *w, wk_choice *c, const float *rows, uint32_t n, wk_fault *f);
/* The end of it: gives out the rest, sends DONE. */
void wk_choice_end(wk *w, wk_choice *c, const char *finish);
void wk_choice_fini(wk_choice *c);

/* spill.c: conversations that give up their slot, on disk. Main thread. */
/* Writes what the slot holds, where that is worth it. */
void wk_spill_keep(wk *w, const wk_slot *slot);
/* The conversation with most of the choice's tokens, *reach of them; NULL: none. */
wk_spilled *wk_spill_find(wk *w, const wk_choice *c, uint32_t *reach);
/* Reads it into an empty session, which then holds at most `reach` tokens; returns how many, 0 also on failure. */
uint32_t wk_spill_load(wk *w, wk_spilled *s, ingle_session *session, uint32_t reach);
void wk_spill_fini(wk *w);
/* The file outlives the worker: what its last one has left is there again, if INIT's "spill_key" is the same. */
void wk_spill_open(wk *w);
/* Leaves all conversations to the next worker, in at most a few seconds. */
void wk_spill_leave(wk *w);

/* sched.c: main thread. */
wk_user *wk_user_of(wk *w, const char *name); /* a reference, or NULL without memory */
void wk_user_drop(wk *w, wk_user *user);      /* one reference less */
void wk_accept(wk *w, wk_request *r);         /* a prepared generate request, taken over */
void wk_cancel(wk *w, uint64_t id);
void wk_admit(wk *w);
/* One forward step; false: there is nothing to compute. */
bool wk_step(wk *w);
void wk_drop_all(wk *w);
void wk_tell_positions(wk *w, uint64_t now_ns);

#endif
