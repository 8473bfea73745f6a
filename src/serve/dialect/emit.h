/* Private to serve/dialect: what the emitters of all dialects share. */
#ifndef IG_SERVE_DIALECT_EMIT_H
#define IG_SERVE_DIALECT_EMIT_H

#include "serve/dialect/read.h"

#define IG_ANSWER_BYTES_MAX (64u << 20) /* text kept of one choice */
#define IG_CALLS_MAX        128u        /* tool calls of one choice */

/* Before thoughts that go out as encrypted_content, so that they are known again when they come back. */
#define IG_THOUGHTS_MARK "ingle:"

/* One tool call as it grows. */
typedef struct ig_call {
    json_t *id, *name; /* owned strings */
    ig_buf args;
    bool sent; /* Ollama: its line is out */
} ig_call;

typedef struct ig_choice {
    ig_buf text, reasoning; /* kept where the answer does not stream */
    json_t *logprobs;       /* owned array of lp entries, NULL without */
    ig_call *calls;         /* [n_calls] */
    size_t n_calls;
    bool begun; /* its first chunk is out */
    bool done;
    const char *finish; /* static: "stop", "length", "tool_calls", "cancelled" */
    json_t *stop;       /* owned; matched stop string, NULL without */
    json_t *flag;       /* owned string or NULL */
    json_t *unused;     /* owned list of names or NULL: what was said to a template that does not read it */
    json_t *relaxed;    /* owned list of names or NULL: tools whose schema is not enforced whole */
    json_t *ids;        /* owned array or NULL */
    json_t *context;    /* owned array or NULL: ids of prompt and answer */
    uint64_t n_chars;   /* characters of text so far (text_offset) */
    uint64_t n_prompt, n_cached, n_completion, n_reasoning, n_dropped, n_shifted, n_drafted, n_accepted;
    json_int_t seed; /* of the first sample; set where has_seed */
    bool has_seed;
    double queue_ms, prompt_ms, generate_ms;
} ig_choice;

typedef struct ig_usage {
    uint64_t prompt, cached, completion, reasoning, dropped, shifted, drafted, accepted;
    double queue_ms, prompt_ms, generate_ms;
} ig_usage;

struct ig_emitter {
    const ig_request *req;
    const ig_emit_context *ctx;
    const ig_emit_ops *ops;
    ig_choice *choices; /* [n_choices]; part × n + c */
    size_t n_choices, n_open;
    json_t *result;    /* owned; body of RESULT */
    size_t n_results;  /* of slots */
    json_t *items;     /* Responses: output, Anthropic: content; owned array */
    ig_buf piece;      /* text of the open item or block */
    unsigned open;     /* kind of the open item, 0: none */
    uint64_t sequence; /* Responses */
    json_t *lp_open;   /* Responses: logprobs of the open message */
    char phase[16];    /* of the last PROGRESS: "", "queue", "load", "prompt" */
    uint64_t progress_done, progress_total, progress_cached;
    uint64_t now_ns;
    unsigned status;
    bool head_out, begun, ended, failed;
    bool answers;             /* a first piece is there */
    const char *problem_type; /* content type of an error body, NULL without */
};

/* Every entry may be NULL. Streams: begin once before the first delta or ping, delta, done for every choice, end. Other
 * answers: whole, once, when all is there; delta and done are still called where `always` is set, with e->req->stream
 * false, and must then write nothing. */
struct ig_emit_ops {
    const char *stream_type; /* content type of a stream; NULL: never streams */
    const char *whole_type;  /* NULL: application/json */
    bool always, keep_ids;
    bool raw; /* DELTA: a status line as it is; DONE: the last one (a pull) */
    void (*begin)(ig_emitter *e, ig_buf *out);
    void (*delta)(ig_emitter *e, size_t choice, const json_t *body, ig_buf *out);
    void (*done)(ig_emitter *e, size_t choice, ig_buf *out);
    void (*end)(ig_emitter *e, ig_buf *out);
    void (*whole)(ig_emitter *e, ig_buf *out);
    void (*ping)(ig_emitter *e, ig_buf *out);
    void (*progress)(ig_emitter *e, ig_buf *out);                     /* where the client asked for progress */
    void (*problem)(ig_emitter *e, const ig_problem *p, ig_buf *out); /* inside a stream */
};

extern const ig_emit_ops ig_openai_chat_ops, ig_openai_text_ops, ig_responses_ops, ig_input_tokens_ops;
extern const ig_emit_ops ig_openai_embed_ops, ig_rerank_ops;
extern const ig_emit_ops ig_ollama_chat_ops, ig_ollama_generate_ops, ig_ollama_embed_ops, ig_ollama_embedding_ops;
extern const ig_emit_ops ig_ollama_status_ops;
extern const ig_emit_ops ig_anthropic_ops, ig_anthropic_count_ops;
extern const ig_emit_ops ig_completion_ops, ig_editor_result_ops, ig_editor_slots_ops, ig_editor_props_ops;

/* Each takes ownership of value; NULL (out of memory in json_pack) marks the emitter as failed. */
void ig_out_json(ig_emitter *e, json_t *value, ig_buf *out);                   /* bare */
void ig_out_line(ig_emitter *e, json_t *value, ig_buf *out);                   /* NDJSON */
void ig_out_sse(ig_emitter *e, const char *event, json_t *value, ig_buf *out); /* event NULL: data alone */
/* "chatcmpl-ID" and the like; n NULL-able suffix number. */
json_t *ig_out_id(const ig_emitter *e, const char *prefix);
json_t *ig_out_text(const ig_buf *buf); /* new string of its bytes */
json_t *ig_out_bytes(const char *p, size_t n);
/* Sums over parts and choices: a prompt counts once for its n samples. */
ig_usage ig_emit_usage(const ig_emitter *e);
/* Did the RESULT of a count tell usage.prompt? If not, the answer ends with a problem. */
bool ig_emit_counted(ig_emitter *e, ig_buf *out);
/* The `ingle` object; usage may be NULL. */
json_t *ig_out_ingle(const ig_emitter *e, const ig_usage *usage);
/* llama-server's `timings`. */
json_t *ig_out_timings(const ig_usage *u);
json_t *ig_openai_usage(const ig_usage *u);
/* [{token,logprob,bytes,top_logprobs:[{token,logprob,bytes}]}] of lp entries; with_id adds "id" as llama-server does.
 */
json_t *ig_out_logprobs(const json_t *lp, bool with_id);
/* The error object in the form of an OpenAI body. */
json_t *ig_openai_error(const ig_problem *p);
/* `: …` for streams of server-sent events. */
void ig_sse_comment(ig_emitter *e, ig_buf *out);
void ig_openai_stream_problem(ig_emitter *e, const ig_problem *p, ig_buf *out);
/* The chunk of include_usage (takes o: its head) and the terminal marker. */
void ig_openai_stream_end(ig_emitter *e, json_t *o, ig_buf *out);
/* RFC 3339 with nanoseconds, UTC; out has 40 bytes. */
const char *ig_time_text(uint64_t ns, char out[40]);
/* Which call a DELTA of kind "tool" belongs to: its own index, or the newest call; SIZE_MAX without any. */
size_t ig_call_index(const ig_choice *c, const json_t *body);
/* Arguments of a finished call as an object; NULL where they are no JSON object. */
json_t *ig_call_object(ig_emitter *e, const ig_call *call);
/* Do the embeddings have as many values as the request wants? If not, the answer ends with a problem. */
bool ig_emit_fits(ig_emitter *e, ig_buf *out);
/* Copies rows of embeddings cut to n_dimensions (0: whole) and normalised again where cut. */
json_t *ig_out_embedding(const json_t *row, unsigned n_dimensions);

#endif
