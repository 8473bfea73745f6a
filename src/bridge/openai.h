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

typedef struct br_ask {
    const char *path; /* static */
    json_t *body;     /* owned */
    unsigned n;       /* choices */
    bool embed, normalize;
} br_ask;
/* body: of a REQUEST frame. What the engine has no word for is refused, not dropped. */
bool br_ask_new(const br_engine *e, const json_t *body, br_ask *out, br_fault *f);

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
