/* Face of serve/dialect: pure translation between the vendors' HTTP and JSON and the internal requests and events of
 * the service. No socket, process, file or clock: bytes in, structs out; events in, bytes out.
 *
 *     ig_dialect_match   method and path             -> route
 *     ig_dialect_parse   route, query and body       -> ig_request, or an ig_problem
 *     ig_emit_*          events of the worker        -> body bytes in the vendor's form, and the head that goes before
 *     ig_dialect_problem a problem without emitter   -> the vendor's error body
 *     ig_list_*          rows of known models        -> listing bodies
 *
 * Bytes from a client are hostile: bodies are limited in size, depth and count before a tree is made of them, and no
 * message repeats a text that a prompt might hold. Fields that are unknown or accepted without effect are collected in
 * `ignored` and shown as ingle.ignored; a known field whose value cannot be honoured is a problem that says what to
 * change. JSON trees are jansson's and are allocated outside base/mem. Nothing here is shared between threads. */
#ifndef IG_SERVE_DIALECT_H
#define IG_SERVE_DIALECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/str.h"

#define IG_BODY_BYTES_MAX   (32u << 20) /* of one request */
#define IG_BODY_DEPTH_MAX   64u
#define IG_BODY_VALUES_MAX  (1u << 20)
#define IG_BODY_MEMBERS_MAX (1u << 17)
#define IG_CHOICES_MAX      128u /* prompts × n of one request */
#define IG_N_MAX            8u   /* samples of one prompt */

/* Whose form errors and bodies take. */
typedef enum ig_dialect { IG_D_OPENAI, IG_D_OLLAMA, IG_D_ANTHROPIC, IG_D_EDITOR, IG_D_COUNT } ig_dialect;

/* What the front has to do for a request. */
typedef enum ig_op {
    IG_OP_GENERATE, /* REQUEST frames, one a member of `parts`; events PROGRESS, DELTA, DONE, ERROR */
    IG_OP_WORKER,   /* one REQUEST or QUERY frame (parts[0].op says which); one RESULT */
    IG_OP_LOAD,     /* make the model ready; then RESULT with any body */
    IG_OP_UNLOAD,   /* let it go; then RESULT */
    /* The front answers by itself, from the store or from its own state. */
    IG_OP_ROOT,
    IG_OP_VERSION,
    IG_OP_MODELS,
    IG_OP_MODEL,
    IG_OP_TAGS,
    IG_OP_PS,
    IG_OP_SHOW,
    IG_OP_PULL,
    IG_OP_PUSH,
    IG_OP_CREATE,
    IG_OP_COPY,
    IG_OP_DELETE,
    IG_OP_BLOB_HEAD,
    IG_OP_BLOB_PUT, /* the body is the blob: never given to ig_dialect_parse */
    IG_OP_HEALTH,
    IG_OP_READY,
    IG_OP_METRICS
} ig_op;

/* ------------------------------------------------------------------------------------------------ problems */

/* kind; HTTP status; OpenAI type and code (NULL: null); Anthropic type */
#define IG_PROBLEM_LIST(X)                                                                                             \
    X(BAD_REQUEST, 400, "invalid_request_error", NULL, "invalid_request_error")                                        \
    X(UNSUPPORTED, 400, "invalid_request_error", "unsupported_parameter", "invalid_request_error")                     \
    X(BAD_SCHEMA, 400, "invalid_request_error", "invalid_json_schema", "invalid_request_error")                        \
    X(TOO_LONG, 400, "invalid_request_error", "context_length_exceeded", "invalid_request_error")                      \
    X(NO_AUTH, 401, "authentication_error", "invalid_api_key", "authentication_error")                                 \
    X(DENIED, 403, "permission_error", NULL, "permission_error")                                                       \
    X(NO_MODEL, 404, "not_found_error", "model_not_found", "not_found_error")                                          \
    X(NO_ROUTE, 404, "not_found_error", NULL, "not_found_error")                                                       \
    X(METHOD, 405, "invalid_request_error", NULL, "invalid_request_error")                                             \
    X(TOO_SLOW, 408, "invalid_request_error", "request_timeout", "timeout_error")                                      \
    X(CONFLICT, 409, "invalid_request_error", NULL, "conflict_error")                                                  \
    X(TOO_LARGE, 413, "invalid_request_error", NULL, "request_too_large")                                              \
    X(MEDIA, 415, "invalid_request_error", "unsupported_media_type", "invalid_request_error")                          \
    X(HEAD_TOO_LARGE, 431, "invalid_request_error", NULL, "request_too_large")                                         \
    X(OVERLOADED, 429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error")                                  \
    X(INTERNAL, 500, "server_error", NULL, "api_error")                                                                \
    X(NOT_HERE, 501, "not_supported_error", NULL, "invalid_request_error")                                             \
    X(UNAVAILABLE, 503, "unavailable_error", NULL, "overloaded_error")

typedef enum ig_problem_kind {
#define X(name, status, type, code, anthropic) IG_P_##name,
    IG_PROBLEM_LIST(X)
#undef X
        IG_P_COUNT
} ig_problem_kind;

typedef struct ig_problem {
    ig_problem_kind kind;
    char message[512];        /* one sentence that names what to change; UTF-8 */
    char param[96];           /* path of the field at fault, "" where there is none */
    uint64_t n_prompt, n_ctx; /* for TOO_LONG, else 0 */
} ig_problem;

/* Fills *p and returns false, so that `return ig_problem_set(...)` reads well. param may be NULL. */
bool ig_problem_set(ig_problem *p, ig_problem_kind kind, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Of an ERROR event {"type","message","param","n_prompt","n_ctx"}; anything malformed becomes INTERNAL. */
void ig_problem_from_event(ig_problem *p, const json_t *body);
unsigned ig_problem_status(const ig_problem *p, ig_dialect dialect);
/* True where a client that tries again unchanged can be lucky: the value of x-should-retry. */
bool ig_problem_retry(const ig_problem *p);
/* Appends the whole error body. request_id may be NULL. */
void ig_dialect_problem(ig_dialect dialect, const ig_problem *p, const char *request_id, ig_buf *out);

/* ------------------------------------------------------------------------------------------------ routes */

typedef struct ig_parse ig_parse;
typedef struct ig_emit_ops ig_emit_ops;

typedef struct ig_route {
    const char *method; /* "GET"; HEAD finds the row of GET where it has none */
    const char *path;   /* "/v1/models/{id}": the last segment in braces takes the rest of the path */
    ig_dialect dialect;
    ig_op op;                  /* parse may make LOAD or UNLOAD of GENERATE */
    bool (*parse)(ig_parse *); /* NULL: no body is read */
    const ig_emit_ops *emit;   /* NULL: the front writes the body by ig_list_* or by itself */
} ig_route;

typedef struct ig_match {
    const ig_route *route;
    char arg[512]; /* what {…} stood for; "" without */
} ig_match;

/* path: without query, its escapes undone. False fills problem (NO_ROUTE, or METHOD where another method would do) and
 * sets route to a row of the dialect in whose form the problem is best told. */
bool ig_dialect_match(const char *method, ig_str path, ig_match *out, ig_problem *problem);
/* The methods that a path takes, as the field Allow has them: "GET, HEAD, OPTIONS". */
void ig_dialect_methods(ig_str path, char *out, size_t n);
/* The table, for tests, documents and fuzzing. */
const ig_route *ig_dialect_routes(size_t *n);

/* ------------------------------------------------------------------------------------------------ requests */

typedef struct ig_request {
    const ig_route *route;
    ig_op op;
    json_t *body;      /* owned; the client's tree, NULL without a body */
    const char *model; /* borrowed from body or arg; NULL or "": none named, the front's default model */
    json_t *parts;     /* owned array; GENERATE: one internal request for each prompt; WORKER: exactly one */
    json_t *defaults;  /* owned object: what the dialect uses where neither client nor model says (internal names) */
    json_t *manage;    /* owned object or NULL: arguments of PULL, CREATE, COPY, DELETE, SHOW, BLOB_* */
    json_t *ignored;   /* owned array of names */
    json_t *echo;      /* owned object: what the emitter repeats to the client; the front sets "all_slots": true for GET
                        * /slots where the client may see everybody's work (parts[0].user is then of no matter) */
    unsigned n;        /* samples of each part, 1..IG_N_MAX */
    bool stream, include_usage, return_progress, base64;
    bool model_any;      /* this client names models at random: an unknown name means the default model */
    bool has_keep_alive; /* then keep_alive_ms: < 0 for ever, 0 unload after the answer */
    int64_t keep_alive_ms;
    uint64_t n_ctx;        /* context asked for, 0: none; never causes a reload */
    uint64_t predict_ms;   /* stop generating after so long (cancel), 0: no limit */
    unsigned n_dimensions; /* cut embeddings to so many values, 0: whole */
    unsigned top_n;        /* rerank: so many results, 0: all */
    char arg[512];
} ig_request;

/* Zeroes *req first; ig_request_fini is needed either way. query: as
 * it stands behind '?', may be empty. body: empty for GET. */
bool ig_dialect_parse(const ig_match *match, ig_str query, ig_str body, ig_request *req, ig_problem *problem);
/* Fills what a request leaves open in every part: first from the model's own parameters (Ollama names such as
 * num_predict, may be NULL; unknown ones are skipped), then from the dialect's defaults. Call once, before the frames
 * go out. */
bool ig_request_defaults(ig_request *req, const json_t *model_parameters, ig_problem *problem);
/* Puts the messages that every conversation with the model begins with (may be NULL) in front of what was said, behind
 * the system's. */
bool ig_request_history(ig_request *req, const json_t *messages, ig_problem *problem);
void ig_request_fini(ig_request *req);

/* ------------------------------------------------------------------------------------------------ answers */

typedef enum ig_event { IG_EV_PROGRESS, IG_EV_DELTA, IG_EV_DONE, IG_EV_ERROR, IG_EV_RESULT } ig_event;

/* What the answer tells besides the events. Borrowed by the emitter for its whole life; the front may fill digest,
 * n_ctx and load_ns until the first event. */
typedef struct ig_emit_context {
    const char *id;      /* of the request, [a-zA-Z0-9]{8,40}; ids of answers and items are made of it */
    const char *model;   /* name that answers */
    const char *digest;  /* "sha256:…" or NULL */
    const char *ran_on;  /* "local" */
    const char *device;  /* "cpu"; NULL: not known */
    const char *engine;  /* name of an engine that is not ours; or NULL */
    const char *version; /* of the program */
    uint64_t n_ctx;      /* context in use */
    uint64_t created_ns; /* wall clock, since 1970 */
    uint64_t load_ns;    /* time this request waited for its model */
} ig_emit_context;

typedef struct ig_emitter ig_emitter;
/* NULL when memory is short. req and context must outlive it. */
ig_emitter *ig_emit_new(const ig_request *req, const ig_emit_context *context);
void ig_emit_free(ig_emitter *e);
/* Takes one event of part `part`; body is borrowed. Appends to out what is to be sent now, maybe nothing. PROGRESS is
 * remembered for the next ping and written only where the client asked for it. now_ns: wall clock. Events after the end
 * are dropped. */
void ig_emit_event(ig_emitter *e, size_t part, ig_event type, const json_t *body, uint64_t now_ns, ig_buf *out);
/* A problem of the front's own (worker died, queue full); ends the answer. */
void ig_emit_problem(ig_emitter *e, const ig_problem *p, uint64_t now_ns, ig_buf *out);
/* Keep-alive of a stream after a silence, with the progress known; nothing where the answer does not stream. The front
 * calls it after some seconds without bytes: from then on the status is 200 and errors come inside the stream. */
void ig_emit_ping(ig_emitter *e, uint64_t now_ns, ig_buf *out);

/* Valid as soon as out holds bytes or ended is true. */
typedef struct ig_emit_head {
    unsigned status;
    const char *content_type;
    bool stream; /* false: out held the whole body when ended became true */
} ig_emit_head;
ig_emit_head ig_emit_head_get(const ig_emitter *e);
/* Nothing more will be written; all events of the request may be forgotten. */
/* For what the answer waits: "queue", "load", "prompt"; "" where it goes on or nobody has said. */
const char *ig_emit_phase(const ig_emitter *e);
bool ig_emit_ended(const ig_emitter *e);
/* Memory ran out or the answer outgrew its limit: close the connection without a proper end. */
bool ig_emit_failed(const ig_emitter *e);

/* ------------------------------------------------------------------------------------------------ listings */

typedef struct ig_model_row {
    const char *name;                /* "qwen3:8b" */
    const char *digest;              /* 64 hex digits */
    const char *format;              /* "gguf", "safetensors" */
    const char *family;              /* architecture */
    const char *parent;              /* base model or "" */
    const char *parameter_size;      /* "8.2B" */
    const char *quantization;        /* "Q4_K_M" */
    const char *state;               /* "unloaded", "loading", "loaded" */
    const char *const *capabilities; /* NULL-terminated: completion, tools, insert, embedding, thinking; may be NULL */
    uint64_t size_bytes, modified_ns, expires_ns; /* expires_ns 0: never */
    uint64_t vram_bytes;
    uint64_t n_ctx_max, n_ctx_load, n_ctx_loaded; /* of the model; would be loaded with; loaded now, else 0 */
    uint64_t n_embd, n_params, n_vocab;
    /* only for show; each may be NULL */
    const char *license, *modelfile, *template_text, *system, *parameters_text;
    const json_t *messages;   /* borrowed list, or NULL */
    const json_t *model_info; /* borrowed object */
    const json_t *tensors;    /* borrowed list, or NULL */
} ig_model_row;

void ig_list_openai(const ig_model_row *rows, size_t n, ig_buf *out);
void ig_list_anthropic_one(const ig_model_row *row, ig_buf *out);
void ig_list_openai_one(const ig_model_row *row, ig_buf *out);
/* The rows that ?limit= (1 to 1000, standard 20), ?after_id= and ?before_id= choose: rows[from..from+n). more: there are
 * others in the direction asked for. False: *problem names the bad one. */
typedef struct ig_page {
    size_t from, n;
    bool more;
} ig_page;
bool ig_page_anthropic(ig_str query, const ig_model_row *rows, size_t n, ig_page *page, ig_problem *problem);
void ig_list_anthropic(const ig_model_row *rows, size_t n, bool more, ig_buf *out);
void ig_list_tags(const ig_model_row *rows, size_t n, ig_buf *out);
void ig_list_ps(const ig_model_row *rows, size_t n, ig_buf *out); /* the caller passes the loaded ones */
/* verbose: arrays of model_info are shown, else null. */
void ig_list_show(const ig_model_row *row, bool verbose, ig_buf *out);
void ig_list_version(const char *ollama_compatible, const char *ours, ig_buf *out);

/* Appends compact JSON: insertion order, shortest numbers, UTF-8. Sets out->failed on a tree deeper than 128. */
void ig_json_write(const json_t *value, ig_buf *out);

#endif
