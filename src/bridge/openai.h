/* Private to src/bridge: internal requests to the OpenAI dialect, answers in that dialect to internal events. Pure: no
 * socket, process or file. What an engine sends is hostile: lines, bodies, counts and depths are bounded. */
#ifndef IG_BRIDGE_OPENAI_H
#define IG_BRIDGE_OPENAI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

enum {
    BR_LINE_BYTES_MAX = 4 << 20,  /* of one event */
    BR_BODY_BYTES_MAX = 64 << 20, /* of an answer that is no stream */
    BR_CHOICES_MAX = 8,
    BR_CALLS_MAX = 128 /* tool calls of one choice */
};
#define BR_STREAM_BYTES_MAX ((uint64_t)256 << 20) /* of one answer */

/* Why a request ends without an answer; type as ERROR frames have it (static). */
typedef struct br_fault {
    const char *type;
    char param[64], message[400];
    uint64_t n_prompt, n_ctx; /* of "too_long", else 0 */
} br_fault;
/* Returns false. param may be NULL. */
bool br_refuse(br_fault *f, const char *type, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* What the configuration says about an engine; borrowed. */
typedef struct br_engine {
    const char *name;     /* of the section */
    const char *model;    /* what the engine calls its model */
    const json_t *passes; /* names of parameters beyond OpenAI's that it understands; or NULL */
    int64_t context;      /* tokens, 0: not said */
    bool embeds;
} br_engine;

/* What policy allows of a context, for an engine whose vocabulary only it knows. n_ctx 0: nothing to watch. */
typedef struct br_limit {
    uint64_t n_ctx;
    uint64_t bound;    /* no prompt of the request has more tokens; of embeddings: no text */
    const char *param; /* the field at fault (static) */
    char rule[65];
} br_limit;

typedef enum br_kind {
    BR_ANSWER,
    BR_VECTORS,
    BR_TOKENS,  /* text to tokens: {"text","special","parse_special","pieces"} */
    BR_TEXT,    /* tokens to text: {"ids"} */
    BR_TEMPLATE /* messages to the prompt and its tokens */
} br_kind;

typedef struct br_ask {
    br_kind kind;
    const char *path; /* static */
    json_t *body;     /* owned */
    unsigned n;       /* choices */
    bool embed, normalize;
    bool chat;
    br_limit limit;
} br_ask;
/* body: of a REQUEST or QUERY frame. What the engine has no word for is refused, not dropped. */
bool br_ask_new(const br_engine *e, const json_t *body, br_ask *out, br_fault *f);
void br_ask_fini(br_ask *ask);
/* Sets limit.bound and limit.param (by br_ask_new). */
void br_ask_bound(br_ask *ask);
/* Must the tokens be counted before the request goes out? False where the bound says that they fit. */
bool br_ask_must_count(const br_ask *ask);
/* The prompt has n tokens by the engine's own count, or (counted false) at most: the answer is held to what is left of
 * the context, or the request is refused. */
bool br_ask_hold(br_ask *ask, const br_engine *e, uint64_t n, bool counted, br_fault *f);
/* What has to be asked of the engine to count: the body for /apply-template (new; NULL: none), and into texts[] the
 * strings or lists of ids to be counted without one (borrowed from ask). */
enum { BR_TEXTS_MAX = 1024 };
size_t br_ask_texts(const br_ask *ask, const json_t **texts);
json_t *br_ask_template(const br_ask *ask);
/* Body of /tokenize for a text as the engine would read it; new. */
json_t *br_tokenize_body(const json_t *text);
/* Tokens of a /tokenize answer; false: it is none. */
bool br_read_tokens(const json_t *answer, uint64_t *n);
/* The result of a query from the engine's answer; new, NULL: it cannot be read. prompt: of /apply-template, where
 * answer is that of /tokenize. */
json_t *br_result_of(const br_ask *ask, const json_t *answer, const json_t *prompt);

/* Takes events: type of the frame and its body (borrowed). */
typedef void (*br_event_fn)(void *ctx, uint32_t type, const json_t *body);

typedef struct br_choice {
    bool done;
    const char *finish, *flag; /* static */
    unsigned n_calls;
} br_choice;

typedef struct br_hearing {
    const br_engine *engine;
    br_event_fn fn;
    void *ctx;
    unsigned n;
    bool embed, normalize;
    bool stream; /* server-sent events; else one body */
    bool over;   /* [DONE] has come */
    bool failed;
    ig_buf text; /* the line, or the body, so far */
    uint64_t n_bytes;
    br_choice choices[BR_CHOICES_MAX];
    bool counted;
    uint64_t n_prompt, n_cached, n_completion, n_reasoning;
    uint64_t came_ns, first_ns;
    br_fault fault;
} br_hearing;

void br_hearing_init(br_hearing *h, const br_engine *e, const br_ask *ask, br_event_fn fn, void *ctx);
/* The head of the answer is there. stream: it is text/event-stream. */
void br_hearing_begin(br_hearing *h, bool stream);
/* Bytes of the body. False: h->fault says why the answer is of no use. */
bool br_hearing_feed(br_hearing *h, const char *p, size_t n);
/* The body has ended: DONE for every choice, or RESULT; false as above. cancelled: we ended it. */
bool br_hearing_end(br_hearing *h, bool cancelled);
void br_hearing_fini(br_hearing *h);
/* The fault of an answer with this status and body. */
void br_fault_of_status(const br_engine *e, long status, const char *body, size_t n, br_fault *f);

#endif
