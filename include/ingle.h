/* ingle.h: the one public header of libingle, the engine and text layer of ingle.
 *
 * A program opens a model, makes an engine (threads, workspace and KV pages for one model), makes sessions (one
 * timeline of tokens each), feeds tokens or text and samples. There is no daemon and no network in this library.
 *
 * Objects and threads
 *   ingle_model    weights, plan and vocabulary; immutable after open. Any number of threads may use one model at the
 *                  same time. The weights are mapped read-only: a model opened twice, also by two processes, shares
 *                  one copy in memory.
 *   ingle_engine   one call at a time per engine (the caller locks); different engines are independent. An engine
 *                  starts its own threads once and parks them when idle.
 *   ingle_session  belongs to its engine and follows the engine's rule.
 *   ingle_sampler  one call at a time; belongs to no engine.
 *
 * Order of closing: sessions, then engine, then model. Every closer accepts NULL.
 *
 * Errors: every function that can fail returns ingle_status and, where `err` is not NULL, fills it with one sentence
 * that says what, where, what was expected and what to do. `err` is left alone on success. No function prints, exits
 * or aborts on bad input. Messages never contain the text of a prompt.
 *
 * Determinism: for one kernel level (ingle_model_info.kernels) the logits of a session are bit-identical whatever the
 * chunking, the number of threads and the other sessions in a step.
 *
 * Structs that a caller fills start with `size` = sizeof of the struct as the caller compiled it; zero in any other
 * field means the default named beside it. */
#ifndef INGLE_H
#define INGLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define INGLE_API __attribute__((visibility("default")))
#else
#define INGLE_API
#endif

typedef enum ingle_status {
    INGLE_OK = 0,
    INGLE_BAD_INPUT,   /* a file or argument is malformed */
    INGLE_UNSUPPORTED, /* well formed, but this version cannot do it */
    INGLE_NOT_FOUND,   /* no such file, key, tensor or token */
    INGLE_DENIED,      /* the operating system or a policy says no */
    INGLE_TOO_LARGE,   /* a limit is exceeded; the message names both numbers */
    INGLE_NO_MEMORY,   /* an allocation failed; state is unchanged */
    INGLE_IO,          /* reading or writing failed; the message carries the system's reason */
    INGLE_CANCELLED,   /* the caller asked to stop */
    INGLE_BUG          /* an invariant of ingle does not hold: please report it */
} ingle_status;

typedef struct ingle_error {
    ingle_status status;
    int sys_errno;   /* errno where the operating system was the cause, else 0 */
    uint64_t offset; /* byte offset in the input where that makes sense, else 0 */
    char text[512];  /* one sentence, NUL-terminated UTF-8, no newline */
} ingle_error;

/* "0.1.0"; static storage. */
INGLE_API const char *ingle_version(void);
/* "BAD_INPUT" and so on; static storage; never NULL. */
INGLE_API const char *ingle_status_name(ingle_status status);

/* ------------------------------------------------------------------------------------------------ models */

/* The kernel level that models get where their options name none, or NULL where INGLE_KERNELS names none that this CPU
 * has. *note (may be NULL): NULL, or a sentence: why a better level is not used although the CPU has it. */
INGLE_API const char *ingle_kernels(const char **note);

typedef struct ingle_model ingle_model;

typedef struct ingle_model_options {
    size_t size;
    /* "ref", "avx2", "avxvnni", "avx512", "amx" (arm64: "neon", "dotprod", "i8mm"); NULL: INGLE_KERNELS from the
     * environment, else the best of the CPU */
    const char *kernels;
    bool vocab_only; /* do not require or bind tensors (tokenize, show) */
} ingle_model_options;

/* Opens a GGUF file (v2, v3; the first part of a split model opens all parts), or a Hugging Face directory with
 * config.json and safetensors, or a directory with a tokenizer.json alone, which tokenizes and does nothing else.
 * options may be NULL.
 * Errors: NOT_FOUND, IO, BAD_INPUT (names key or tensor and what was expected), UNSUPPORTED (architecture, type). */
INGLE_API ingle_status ingle_model_open(const char *path, const ingle_model_options *options, ingle_model **out,
                                        ingle_error *err);
/* The same from open descriptors: names [n] are file names without folders; a GGUF file alone, all parts of a split
 * model, or the files of a Hugging Face directory. The descriptors stay the caller's and are not needed afterwards. */
INGLE_API ingle_status ingle_model_open_files(const char *const *names, const int *fds, size_t n,
                                              const ingle_model_options *options, ingle_model **out, ingle_error *err);
INGLE_API void ingle_model_close(ingle_model *model);

typedef enum ingle_pooling {                            /* from the tokens' hidden states to one embedding */
                             INGLE_POOLING_DEFAULT = 0, /* as the model says; decoders that say nothing: LAST */
                             INGLE_POOLING_MEAN,
                             INGLE_POOLING_CLS, /* first token */
                             INGLE_POOLING_LAST,
                             INGLE_POOLING_NONE, /* one row for every token */
                             INGLE_POOLING_RANK  /* reranking models, and their only one: the scores of a classifier */
} ingle_pooling;

typedef struct ingle_model_info {
    const char *architecture; /* "llama"; borrowed from the model, as all strings here */
    const char *name;         /* general.name or "" */
    const char *file_type;    /* "Q4_K - Medium" and the like from general.file_type, or "" */
    const char *kernels;      /* level in use: "ref", "avx2", ... */
    uint64_t n_params;        /* number of weights */
    uint64_t weight_bytes;    /* bytes of tensor data */
    uint64_t n_tensors, n_meta;
    uint32_t n_vocab; /* rows of the logits; 0 where the file has neither vocabulary nor tensors */
    uint32_t n_ctx_train, n_layers, n_embd, n_heads, n_heads_kv;
    uint32_t n_experts, n_experts_used;
    uint32_t gguf_version; /* 0 for a Hugging Face directory */
    uint32_t n_parts;      /* files with weights */
    bool has_tensors, has_vocab;
    int32_t bos, eos, eot; /* token ids, -1 where absent */
    uint32_t n_embd_out;   /* values of an embedding; of a reranking model its scores, one a class */
    bool has_logits;       /* false: an encoder, which gives embeddings alone */
    bool has_encoder;      /* sessions want ingle_session_encode before the first token */
    bool causal;           /* false: a session takes all its tokens in one step */
    ingle_pooling pooling; /* what the model was trained with, never DEFAULT */
    bool has_head;         /* one more layer, which guesses tokens ahead (ingle_speculate) */
} ingle_model_info;
INGLE_API void ingle_model_describe(const ingle_model *model, ingle_model_info *out);

typedef enum ingle_kv_type { INGLE_KV_F16 = 0, INGLE_KV_F32, INGLE_KV_Q8_0 } ingle_kv_type;

typedef struct ingle_memory {
    uint64_t weights;   /* mapped, shared between processes, bytes */
    uint64_t kv;        /* KV pages for one session of n_ctx tokens, bytes */
    uint64_t workspace; /* activations for a chunk of n_batch tokens, bytes */
    uint64_t logits;    /* one row of logits, bytes */
    uint64_t available; /* MemAvailable of the machine or the cgroup's limit, whichever is less, bytes */
    bool fits;          /* weights + kv + workspace + logits <= available */
} ingle_memory;
/* Memory that a session of n_ctx tokens (0: the trained context) needs. Errors: UNSUPPORTED without tensors. */
INGLE_API ingle_status ingle_model_memory(const ingle_model *model, uint32_t n_ctx, ingle_kv_type kv, ingle_memory *out,
                                          ingle_error *err);

typedef struct ingle_meta {
    const char *key;  /* NUL-terminated, valid as long as the model */
    const char *type; /* "u32", "string", "array of string", ... */
    uint64_t n;       /* elements of an array, bytes of a string, 1 for a scalar */
} ingle_meta;
typedef struct ingle_tensor {
    const char *name; /* NUL-terminated, valid as long as the model */
    const char *type; /* "Q4_K" */
    uint32_t n_dims;
    uint64_t ne[4]; /* fastest axis first, as GGUF stores them */
    uint64_t n_bytes;
} ingle_tensor;
/* Entry i of the metadata or the tensor directory in file order; false past the end. */
INGLE_API bool ingle_model_meta(const ingle_model *model, uint64_t i, ingle_meta *out);
INGLE_API bool ingle_model_tensor(const ingle_model *model, uint64_t i, ingle_tensor *out);
/* Decodes all weights of tensor i and looks for NaN and infinities. *bad: how many there are; *block: index of the
 * block (of the type's size, in row-major order) that holds the first. Errors: NOT_FOUND past the end, UNSUPPORTED
 * (type that cannot be decoded), NO_MEMORY. */
INGLE_API ingle_status ingle_model_scan(const ingle_model *model, uint64_t i, uint64_t *bad, uint64_t *block,
                                        ingle_error *err);
/* Writes value `elem` of entry i (0 for scalars) as text: numbers in shortest exact form, bool as true/false, strings
 * as their bytes. Writes at most `capacity` bytes, no NUL; *n_out is the full length. False past the end. */
INGLE_API bool ingle_model_meta_text(const ingle_model *model, uint64_t i, uint64_t elem, char *out, size_t capacity,
                                     size_t *n_out);

/* ------------------------------------------------------------------------------------------------ text */

enum {
    INGLE_ADD_SPECIAL = 1,   /* add BOS, EOS, CLS, SEP where the vocabulary says so */
    INGLE_PARSE_SPECIAL = 2, /* text such as <s> becomes the control token; without it user text never does */
    INGLE_WRITE_SPECIAL = 4, /* detokenize: write control tokens out; without it they are left out */
    INGLE_STRIP_SPECIAL = 8, /* detokenize: drop the BOS/EOS that ADD_SPECIAL would have put there */
    INGLE_PARSE_ADDED = 16   /* tokenize: as PARSE_SPECIAL where the vocabulary is a tokenizer.json, whose own library
                              * always finds special tokens in a text; else nothing */
};
/* Text to token ids. text is any bytes, n_text bytes long. Writes at most capacity ids and always sets *n_out to the
 * full number, so a call with capacity 0 measures; INGLE_TOO_LARGE when out was too small and capacity was not 0.
 * Errors: UNSUPPORTED (file without vocabulary), NO_MEMORY. Linear in the input. */
INGLE_API ingle_status ingle_tokenize(const ingle_model *model, const char *text, size_t n_text, unsigned flags,
                                      int32_t *out, size_t capacity, size_t *n_out, ingle_error *err);
/* The same for a text that ingle_template_render wrote with `guard`: over its veils no control token is found, all else
 * is tokenized as if there were none. veils [n_veils]: rising offsets in the text. */
INGLE_API ingle_status ingle_tokenize_veiled(const ingle_model *model, const char *text, size_t n_text, unsigned flags,
                                             const size_t *veils, size_t n_veils, int32_t *out, size_t capacity,
                                             size_t *n_out, ingle_error *err);
/* For reranking models: a question and a document put together as the model was trained, by the prompt in its file
 * (tokenizer.chat_template.rerank) or as an encoder's pair of texts. Control tokens in either stay text. Same
 * convention; UNSUPPORTED also where the file does not say how. */
INGLE_API ingle_status ingle_tokenize_pair(const ingle_model *model, const char *query, size_t n_query,
                                           const char *document, size_t n_document, int32_t *out, size_t capacity,
                                           size_t *n_out, ingle_error *err);
/* Token ids to bytes, same convention; BAD_INPUT names an id outside the vocabulary. */
INGLE_API ingle_status ingle_detokenize(const ingle_model *model, const int32_t *ids, size_t n_ids, unsigned flags,
                                        char *out, size_t capacity, size_t *n_out, ingle_error *err);
/* How well the vocabularies of GGUF files can say what a tokenizer.json says. */
typedef enum ingle_vocab_fit {
    INGLE_VOCAB_NONE = 0, /* not at all */
    INGLE_VOCAB_NEAR,     /* some texts become other tokens */
    INGLE_VOCAB_SAME      /* every text becomes the same tokens */
} ingle_vocab_fit;
typedef struct ingle_vocab_form {
    ingle_vocab_fit fit;
    char why[256]; /* of NONE and NEAR: what GGUF has no word for, a clause without capital and full stop */
    void *data;    /* a GGUF file without tensors, whose keys tokenizer.ggml.* hold the vocabulary; NULL with NONE */
    size_t n;      /* bytes */
} ingle_vocab_form;
/* The vocabulary of a model whose tokenizer is a tokenizer.json, for engines that read GGUF files alone; other models
 * have theirs already: SAME, and data is NULL. Freed by ingle_vocab_form_free, also after an error. Errors: UNSUPPORTED
 * (file without vocabulary), NO_MEMORY. */
INGLE_API ingle_status ingle_vocab_convert(const ingle_model *model, ingle_vocab_form *out, ingle_error *err);
INGLE_API void ingle_vocab_form_free(ingle_vocab_form *form);
/* True if `id` ends a generation (EOS, EOT, EOM and the like). */
INGLE_API bool ingle_token_is_end(const ingle_model *model, int32_t id);

/* ------------------------------------------------------------------------------------------------ chat templates */

/* A compiled chat template: the Jinja2 that models ship, as Hugging Face transformers runs it. Immutable; any number of
 * threads may use one. A template sees nothing but the conversation that it is given; steps, depth, memory and output
 * of a rendering are limited, and 256 KiB of stack are enough. */
typedef struct ingle_template ingle_template;

/* Compiles source (UTF-8, n bytes, at most 1 MiB; nothing of it is kept). Errors: BAD_INPUT (syntax), UNSUPPORTED
 * (import, include, unknown tags, filters and tests), each with line and construct; TOO_LARGE, NO_MEMORY. */
INGLE_API ingle_status ingle_template_compile(const char *source, size_t n, ingle_template **out, ingle_error *err);
/* The template of a model (metadata key tokenizer.chat_template), with bos_token and eos_token from its vocabulary. A
 * model without one gets ChatML: <|im_start|>ROLE newline CONTENT<|im_end|> newline for each message, then
 * <|im_start|>assistant newline. *is_default (may be NULL) tells. The model may be closed afterwards. */
INGLE_API ingle_status ingle_template_of_model(const ingle_model *model, ingle_template **out, bool *is_default,
                                               ingle_error *err);
INGLE_API void ingle_template_free(ingle_template *t);

typedef struct ingle_template_options {
    size_t size;
    const char *bos, *eos; /* bos_token and eos_token; NULL: what the conversation says, else the model's */
    const char *now;       /* local time for strftime_now, "2026-03-07T15:04:05"; NULL: the conversation's entry "now";
                            * without either the function is not defined */
    uint64_t steps_max;    /* 0: 20 million */
    uint64_t memory_max;   /* bytes of values, 0: 256 MiB */
    uint64_t output_max;   /* bytes, 0: 32 MiB */
    const ingle_model *guard; /* texts of the conversation that spell control tokens of this model stay texts: where
                               * they stand the result has veils. NULL: none */
} ingle_template_options;

typedef struct ingle_template_text {
    char *text; /* n bytes of UTF-8, NUL-terminated; freed by ingle_template_text_free */
    size_t n;
    bool raised;   /* the call failed because the template refused: text is the template's message, whole */
    size_t *veils; /* [n_veils] for ingle_tokenize_veiled; freed with the text */
    size_t n_veils;
} ingle_template_text;

/* Renders a conversation: JSON, an object whose entries are the template's variables (messages, tools, documents,
 * add_generation_prompt, enable_thinking, ...), or only the list of messages (then with add_generation_prompt). tools
 * and documents are none where they are absent. The entries id, kind, feature, template, source, tier, note, now,
 * expect, expect_error, error_kind, must, allow_output, max_seconds and max_mib are no variables. options may be NULL.
 * Errors: BAD_INPUT (JSON; the template refuses: err has its message; a value is undefined or has a wrong type: the
 * line is named), UNSUPPORTED, TOO_LARGE (a limit), NO_MEMORY. *out must be freed in any case. */
INGLE_API ingle_status ingle_template_render(const ingle_template *t, const char *json, size_t n_json,
                                             const ingle_template_options *options, ingle_template_text *out,
                                             ingle_error *err);
INGLE_API void ingle_template_text_free(ingle_template_text *text);

/* ------------------------------------------------------------------------------------------------ engine, sessions */

typedef struct ingle_engine ingle_engine;
typedef struct ingle_session ingle_session;

typedef struct ingle_engine_options {
    size_t size;
    uint32_t n_threads;    /* 0: one per usable core, of fast and slow ones the fast (affinity, cgroup quota) */
    uint32_t n_ctx;        /* tokens a session may hold; 0: the trained context, at most 4,096 */
    uint32_t n_batch;      /* tokens one step takes at most (the prefill chunk); 0: 256 */
    uint32_t n_sessions;   /* sessions that may live at once; 0: 1 */
    uint32_t n_logits;     /* logit rows one step may return; 0: n_sessions, and 15 for guesses (ingle_generate) */
    ingle_kv_type kv;      /* 0: F16 */
    uint64_t kv_bytes_max; /* 0: enough for n_sessions full sessions; pages are taken as sessions grow */
    bool embed;            /* for ingle_embed: rows are final hidden states [n_embd_out] instead of logits */
    bool dense;            /* models with sparse attention attend to every position */
    bool no_head;          /* the layer that some models have for guessing tokens ahead is not computed */
} ingle_engine_options;

/* Errors: TOO_LARGE (context above the trained one, names both), NO_MEMORY, UNSUPPORTED (file without tensors). */
INGLE_API ingle_status ingle_engine_new(const ingle_model *model, const ingle_engine_options *options,
                                        ingle_engine **out, ingle_error *err);
INGLE_API void ingle_engine_free(ingle_engine *engine);
INGLE_API uint32_t ingle_engine_n_ctx(const ingle_engine *engine);
INGLE_API uint32_t ingle_engine_n_threads(const ingle_engine *engine);

/* Errors: TOO_LARGE when n_sessions live already. */
INGLE_API ingle_status ingle_session_new(ingle_engine *engine, ingle_session **out, ingle_error *err);
INGLE_API void ingle_session_free(ingle_session *session);
/* Number of tokens the session holds. */
INGLE_API uint32_t ingle_session_length(const ingle_session *session);
/* Forgets all tokens from position n on (n <= length); the KV pages behind go back to the engine. Models with recurrent
 * layers or windows go back to a page end before n and evaluate the tokens from there again, without logits. */
INGLE_API void ingle_session_truncate(ingle_session *session, uint32_t n);
/* For measurements: makes the session one of n tokens at once, as long as the context at most, with made-up keys and
 * values, so that what comes behind them costs what it costs behind a text of that length, and means nothing. Errors:
 * TOO_LARGE, NO_MEMORY. */
INGLE_API ingle_status ingle_session_pretend(ingle_session *session, uint32_t n, ingle_error *err);
/* Encoder-decoder models: the text that the session's decoder attends to, once, before the first token of the session.
 * Errors: UNSUPPORTED (the model has no encoder), TOO_LARGE, BAD_INPUT. */
INGLE_API ingle_status ingle_session_encode(ingle_session *session, const int32_t *tokens, size_t n, ingle_error *err);
/* Context shift, only on request: drops n_discard tokens after the first n_keep by evaluating the kept ones again, so
 * that the result equals a session that was fed the kept tokens. Errors: BAD_INPUT when the range does not exist. */
INGLE_API ingle_status ingle_session_shift(ingle_session *session, uint32_t n_keep, uint32_t n_discard,
                                           ingle_error *err);

/* Called during a step for every product with a weight matrix: matrix `matrix` of the n_matrices of tensor `tensor`
 * meets rows x [n_rows, n], stride floats apart. For importance data; fn NULL ends it. From the thread that steps. */
typedef void (*ingle_observe_fn)(void *user, const char *tensor, size_t n_matrices, size_t matrix, const float *x,
                                 size_t stride, size_t n_rows, size_t n);
INGLE_API void ingle_engine_observe(ingle_engine *engine, ingle_observe_fn fn, void *user);

typedef struct ingle_embed_item {
    const int32_t *tokens; /* n_tokens ids */
    uint32_t n_tokens;     /* >= 1, at most the engine's context */
    float *out;            /* [n_embd_out]; with INGLE_POOLING_NONE [n_tokens, n_embd_out] */
} ingle_embed_item;
/* Embeddings of n texts; each is bit-identical to the text embedded alone. The engine was made with embed set and has
 * no sessions. normalize: rows have length 1. A reranking model gives scores (pooling RANK, not normalised), every
 * other model vectors. Errors: TOO_LARGE, BAD_INPUT, UNSUPPORTED (a pooling that the model has not), NO_MEMORY. */
INGLE_API ingle_status ingle_embed(ingle_engine *engine, const ingle_embed_item *items, size_t n, ingle_pooling pooling,
                                   bool normalize, ingle_error *err);

typedef enum ingle_want { INGLE_WANT_NONE = 0, INGLE_WANT_LAST, INGLE_WANT_ALL } ingle_want;
typedef struct ingle_step_item {
    ingle_session *session; /* a session may appear once a step */
    const int32_t *tokens;  /* n_tokens ids, appended to the session */
    uint32_t n_tokens;      /* >= 1 */
    ingle_want want;        /* which logits are wanted */
    const float *logits;    /* set by the step: [rows, n_vocab], rows = 0, 1 or n_tokens; valid until the next step */
} ingle_step_item;
/* One forward step over any mix of prefill chunks and single tokens of many sessions. All or nothing: on error no
 * session has changed. Errors: TOO_LARGE (session would exceed n_ctx: names both numbers; more than n_batch tokens or
 * n_logits rows), BAD_INPUT (token id outside the vocabulary, a session twice), NO_MEMORY (KV pages used up). */
INGLE_API ingle_status ingle_engine_step(ingle_engine *engine, ingle_step_item *items, size_t n_items,
                                         ingle_error *err);

/* Feeds tokens in chunks of n_batch and keeps the logits of the last one. n >= 1. Errors as ingle_engine_step; on error
 * the session is as before the call. */
INGLE_API ingle_status ingle_session_feed(ingle_session *session, const int32_t *tokens, size_t n, ingle_error *err);
/* Tokenizes and feeds. flags as ingle_tokenize. */
INGLE_API ingle_status ingle_session_feed_text(ingle_session *session, const char *text, size_t n_text, unsigned flags,
                                               ingle_error *err);
/* Logits after the last token fed, [n_vocab], or NULL when nothing was fed; the session's own memory, valid until it is
 * fed, truncated or freed. */
INGLE_API const float *ingle_session_logits(const ingle_session *session);

/* ------------------------------------------------------------------------------------------------ sampling */

typedef struct ingle_sampler ingle_sampler;
typedef struct ingle_logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY forbids the token */
} ingle_logit_bias;

typedef struct ingle_sampler_options {
    size_t size;
    float temperature; /* 0: greedy (the largest logit, the lowest id on a tie) */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* 0 or >= 1: off */
    float min_p;       /* 0: off */
    float
        repetition_penalty;  /* 0 or 1: off; positive logits are divided by it, negative ones multiplied (CTRL paper) */
    float frequency_penalty; /* subtracted once per occurrence */
    float presence_penalty;  /* subtracted once if present */
    uint32_t penalty_last_n; /* tokens looked back at; 0: 64; UINT32_MAX: all */
    uint64_t seed;           /* the same seed, logits and options give the same token */
    bool seed_random;        /* ignore seed, take one from the system; ingle_sampler_seed tells which */
    const ingle_logit_bias *bias; /* borrowed for the call */
    size_t n_bias;
    /* Order of the chain, names separated by ';', from: bias penalties top_k top_p min_p temperature. A stage not named
     * is off. NULL: "bias;penalties;top_k;top_p;min_p;temperature". */
    const char *order;
} ingle_sampler_options;

/* Errors: BAD_INPUT (NaN, negative, unknown or doubled stage in order: names it). */
INGLE_API ingle_status ingle_sampler_new(const ingle_model *model, const ingle_sampler_options *options,
                                         ingle_sampler **out, ingle_error *err);
INGLE_API void ingle_sampler_free(ingle_sampler *sampler);
INGLE_API uint64_t ingle_sampler_seed(const ingle_sampler *sampler);
/* Tells the penalties of tokens that were not sampled (the prompt). */
INGLE_API void ingle_sampler_accept(ingle_sampler *sampler, const int32_t *ids, size_t n);
/* Chooses the next token from logits [n_vocab] (unchanged) and remembers it for the penalties. A token whose logit is
 * -INFINITY (ingle_constraint_mask) is never taken, with any options.
 * Errors: BAD_INPUT when no finite logit is left (NaN or all forbidden). */
INGLE_API ingle_status ingle_sample(ingle_sampler *sampler, const float *logits, int32_t *out, ingle_error *err);

typedef struct ingle_logprob {
    int32_t id;
    float logprob; /* natural logarithm, of the softmax over the raw logits */
} ingle_logprob;
/* Log probability of `id` and, in top [n_top], the most probable ids in falling order (lowest id first on a tie).
 * Errors: BAD_INPUT (id outside, n_top > n_vocab, no finite logit). */
INGLE_API ingle_status ingle_logprobs(const ingle_model *model, const float *logits, int32_t id, ingle_logprob *chosen,
                                      ingle_logprob *top, size_t n_top, ingle_error *err);

/* ------------------------------------------------------------------------------------------- structured output */

/* A grammar in GBNF or a JSON Schema (draft 2020-12, see docs/grammar.md), compiled. Immutable; any thread may use it.
 */
typedef struct ingle_grammar ingle_grammar;
typedef enum ingle_grammar_kind { INGLE_GRAMMAR_GBNF = 0, INGLE_GRAMMAR_JSON_SCHEMA } ingle_grammar_kind;

/* Errors: BAD_INPUT (names line or JSON pointer), UNSUPPORTED (a keyword that cannot be enforced, with its pointer),
 * TOO_LARGE, NO_MEMORY. The text is not needed afterwards. */
INGLE_API ingle_status ingle_grammar_open(ingle_grammar_kind kind, const char *text, size_t n, ingle_grammar **out,
                                          ingle_error *err);
INGLE_API void ingle_grammar_close(ingle_grammar *grammar);
/* Whether the whole text matches: for a schema any notation of a valid JSON value. n_fits (may be NULL): how many bytes
 * at the beginning of the text can be continued to a match. Errors: TOO_LARGE (nested too deeply, too ambiguous),
 * NO_MEMORY. */
INGLE_API ingle_status ingle_grammar_match(const ingle_grammar *grammar, const char *text, size_t n, bool *match,
                                           size_t *n_fits, ingle_error *err);

/* One answer on its way through a grammar, for loops of one's own: mask the logits, sample, accept what was sampled.
 * One thread at a time; the grammar must outlive it, the model need not. An answer is written in canonical form (see
 * docs/grammar.md). The index of the model's vocabulary is made at the first use, once for each model. */
typedef struct ingle_constraint ingle_constraint;
typedef struct ingle_constraint_options {
    size_t size;
    /* Reasoning stays free, then the answer is held to the grammar. think_end: the text that ends the reasoning, such
     * as
     * "</think>"; NULL: no reasoning, the grammar holds from the first token on. think_start: the text that begins it;
     * the model may begin with it or with the answer; NULL: the prompt ends inside the reasoning. The texts of control
     * tokens count. The switch is on a token boundary: while the model thinks, tokens that would bring think_end and
     * then more than white space are not allowed, nor are those that end a generation. */
    const char *think_start, *think_end;
} ingle_constraint_options;
/* options may be NULL. Errors: BAD_INPUT (no text at all matches; an empty mark), UNSUPPORTED (the model has no
 * vocabulary), TOO_LARGE (a mark over 256 bytes), NO_MEMORY. */
INGLE_API ingle_status ingle_constraint_new(const ingle_model *model, const ingle_grammar *grammar,
                                            const ingle_constraint_options *options, ingle_constraint **out,
                                            ingle_error *err);
INGLE_API void ingle_constraint_free(ingle_constraint *constraint);
/* Sets the logits [n_vocab] of tokens that may not come next to -INFINITY; no sampler takes those. Tokens that end a
 * generation stay only where the answer may end. Keep the logits as they were for ingle_logprobs: log probabilities
 * are those of the model, without the grammar. Errors: NOT_FOUND (the answer is complete and nothing can follow),
 * UNSUPPORTED (the vocabulary has no token that fits), TOO_LARGE (nested too deeply, too ambiguous), NO_MEMORY. */
INGLE_API ingle_status ingle_constraint_mask(ingle_constraint *constraint, float *logits, ingle_error *err);
/* The token that was chosen. Errors: BAD_INPUT (it was not allowed; the constraint is of no use any more), as above. */
INGLE_API ingle_status ingle_constraint_accept(ingle_constraint *constraint, int32_t id, ingle_error *err);
/* The answer so far matches the grammar. */
INGLE_API bool ingle_constraint_complete(const ingle_constraint *constraint);
/* The model is inside its reasoning. */
INGLE_API bool ingle_constraint_thinking(const ingle_constraint *constraint);

/* ------------------------------------------------------------------------------------------------ generation */

typedef enum ingle_finish {
    INGLE_FINISH_NONE = 0,
    INGLE_FINISH_END,     /* the model ended its answer */
    INGLE_FINISH_LENGTH,  /* n_max tokens were generated */
    INGLE_FINISH_STOP,    /* a stop string came up; it and what follows were not given out */
    INGLE_FINISH_CONTEXT, /* the context is full */
    INGLE_FINISH_CALLER   /* the callback returned false */
} ingle_finish;

/* Guesses of the next tokens, of which one step checks several. They never change what comes out, bit for bit. */
typedef enum ingle_speculate {
    INGLE_SPECULATE_AUTO = 0, /* what repeats in the text is guessed to go on as before, and the model's own head for
                               * it, where it has one, is asked; where that pays by the measured cost of steps and by
                               * how many guesses came true */
    INGLE_SPECULATE_OFF,
    INGLE_SPECULATE_NGRAM, /* wherever the text repeats, whether it pays or not (tests) */
    INGLE_SPECULATE_HEAD,  /* by the model's own head alone, whether it pays or not */
    INGLE_SPECULATE_DRAFT  /* by the smaller model alone, likewise */
} ingle_speculate;

typedef struct ingle_generate_options {
    size_t size;
    uint32_t n_max;           /* 0: until the model ends or the context is full */
    const char *const *stops; /* n_stops NUL-terminated strings, each non-empty */
    size_t n_stops;
    bool ignore_end;     /* go on after an end token (benchmarks) */
    bool write_special;  /* give control tokens out as text */
    bool shift;          /* when the context is full drop the older half and go on, instead of INGLE_FINISH_CONTEXT */
    uint32_t shift_keep; /* tokens at the start that a shift never drops */
    /* Called with text as it becomes certain: whole UTF-8 characters, never part of a stop string. id is the latest
     * token, n may be 0. Return false to stop. */
    bool (*on_text)(void *user, const char *text, size_t n, int32_t id);
    void *user;
    /* The answer matches this grammar (borrowed; NULL: free), in canonical form. think_start and think_end as in
     * ingle_constraint_options. Excludes ignore_end. Memory is allocated while an answer goes through a grammar. */
    const ingle_grammar *grammar;
    const char *think_start, *think_end;
    const struct ingle_reply *reply; /* control tokens that it reads as markers are given out as text; may be NULL */
    ingle_speculate speculate;
    /* A session of another engine with a smaller model of the same vocabulary, which is asked for guesses, too; what it
     * holds is replaced as needed. NULL: none. */
    ingle_session *drafter;
} ingle_generate_options;

typedef struct ingle_generate_result {
    ingle_finish finish;
    uint32_t n_generated;
    int32_t last_id; /* the token that was given out last and is not yet in the session, or -1: feed it to go on */
    bool incomplete; /* with a grammar: what was given out does not match, because something else ended it first */
    uint32_t n_drafted, n_accepted; /* tokens that were guessed; of those, the ones that were generated */
} ingle_generate_result;
/* Samples from the session's logits and feeds what was sampled until something ends it. Something must have been fed
 * before. No memory is allocated per token, unless there is a grammar. The callback leaves the engine alone. Guessing
 * wants rows of logits and room in a step beyond one token; the standard engine has both. Errors: as ingle_sample,
 * ingle_session_feed and ingle_constraint_mask; UNSUPPORTED (the drafter has another vocabulary). */
INGLE_API ingle_status ingle_generate(ingle_session *session, ingle_sampler *sampler,
                                      const ingle_generate_options *options, ingle_generate_result *out,
                                      ingle_error *err);

/* ------------------------------------------------------------------------------------------- replies */

/* What a model says, cut into text, reasoning and tool calls while it comes. How it marks them is read off its chat
 * template. Nothing is lost: what opens like a call and is none comes back as text that is `unparsed`. */
typedef enum ingle_piece_kind {
    INGLE_PIECE_TEXT = 0,
    INGLE_PIECE_REASONING,
    INGLE_PIECE_CALL,      /* a call begins: call, id, name */
    INGLE_PIECE_ARGUMENTS, /* more of the JSON of its arguments: call, text */
    INGLE_PIECE_CALL_END   /* call, whole */
} ingle_piece_kind;

typedef struct ingle_piece {
    ingle_piece_kind kind;
    const char *text; /* [n_text] valid UTF-8; not NUL-terminated, as id and name */
    size_t n_text;
    unsigned call; /* number of the call in this reply, from 0 */
    const char *id, *name;
    size_t n_id, n_name;
    bool unparsed; /* of text: it began like a call */
    bool whole;    /* of the end of a call: its arguments are one JSON object, and it was not cut off */
} ingle_piece;
/* Texts are borrowed during the call alone. False ends the reply: no further piece comes. */
typedef bool (*ingle_piece_fn)(void *user, const ingle_piece *piece);

typedef struct ingle_reply_options {
    size_t size;
    const ingle_model *model; /* whose template is meant; NULL: the one below */
    const char *source;       /* [n_source] the template's text; NULL: tags as Hermes writes them, and bare JSON */
    size_t n_source;
    const char *prompt; /* [n_prompt] what the reply continues, or its end; may be NULL */
    size_t n_prompt;
    const char *tools; /* [n_tools] JSON list of tools as OpenAI writes it; may be NULL */
    size_t n_tools;
    uint64_t seed; /* of the ids that are made up for calls */
    bool whole;    /* hand out a call only when it is complete, and a broken one as text instead */
    /* [n_answer] of ingle_grammar_for_tools with INGLE_TOOLS_AUTO: JSON Schema of answers without a call; NULL: any
     * text. */
    const char *answer;
    size_t n_answer;
} ingle_reply_options;

/* One reply. Belongs to one thread; keeps nothing of the options, nor the model. */
typedef struct ingle_reply ingle_reply;
/* Errors: BAD_INPUT (tools), TOO_LARGE, NO_MEMORY. */
INGLE_API ingle_status ingle_reply_open(const ingle_reply_options *options, ingle_reply **out, ingle_error *err);
INGLE_API void ingle_reply_close(ingle_reply *reply);
/* Name of the family of markers that the template has, "generic" when it has none; static storage. */
INGLE_API const char *ingle_reply_family(const ingle_reply *reply);
/* Takes n bytes, cut anywhere; whatever the cut, the pieces join to the same texts. Bytes that are no UTF-8 come back
 * as U+FFFD. Errors: NO_MEMORY. */
INGLE_API ingle_status ingle_reply_push(ingle_reply *reply, const char *text, size_t n, ingle_piece_fn fn, void *user,
                                        ingle_error *err);
typedef struct ingle_reply_end {
    unsigned n_calls, n_whole; /* calls that began, calls that are whole */
    bool unparsed;             /* some text began like a call */
    bool truncated_call;       /* the reply ended inside a call */
} ingle_reply_end;
/* The reply is over; end may be NULL. Errors: NO_MEMORY. */
INGLE_API ingle_status ingle_reply_finish(ingle_reply *reply, ingle_piece_fn fn, void *user, ingle_reply_end *end,
                                          ingle_error *err);
/* The model is thinking after what was pushed so far. */
INGLE_API bool ingle_reply_is_reasoning(const ingle_reply *reply);
/* Whether control tokens are to be part of the text that is pushed. */
INGLE_API bool ingle_reply_wants_control(const ingle_reply *reply);
/* The texts (static storage) between which the model reasons, as ingle_constraint_options wants them: *start is NULL
 * where the prompt ends inside the reasoning. False, and both NULL: it does not reason, or the prompt has ended it. */
INGLE_API bool ingle_reply_thoughts(const ingle_reply *reply, const char **start, const char **end);

typedef enum ingle_tool_choice { INGLE_TOOLS_AUTO = 0, INGLE_TOOLS_REQUIRED, INGLE_TOOLS_NAMED } ingle_tool_choice;
/* The grammar of replies whose calls are valid against the schemas of their tools, written as the model writes them;
 * reasoning before them stays free, and with INGLE_TOOLS_AUTO text until a call is opened. It does not depend on
 * descriptions. name: of INGLE_TOOLS_NAMED, else NULL. parallel: one reply may hold several calls. A constraint with
 * this grammar takes the markers that are control tokens, and no marks of reasoning. A tool whose schema cannot be
 * enforced is held to names and types of its arguments (ingle_grammar_relaxed), unless it says "strict": true. Errors:
 * NOT_FOUND (no such tool), UNSUPPORTED (a schema cannot be enforced; names tool and JSON pointer or keyword),
 * BAD_INPUT, TOO_LARGE, NO_MEMORY. */
INGLE_API ingle_status ingle_grammar_for_tools(const ingle_reply_options *options, ingle_tool_choice choice,
                                               const char *name, bool parallel, ingle_grammar **out, ingle_error *err);
/* Name of the i-th of the tools whose schema is not enforced whole; NULL past the last. Borrowed from the grammar. */
INGLE_API const char *ingle_grammar_relaxed(const ingle_grammar *grammar, size_t i);

#ifdef __cplusplus
}
#endif
#endif
