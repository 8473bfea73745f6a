/* What `run` and `chat` share: sampling and grammar out of the flags, conversations as prompts, reasoning apart from
 * the answer. */
#ifndef INGLE_CLI_TALK_H
#define INGLE_CLI_TALK_H

#include <jansson.h>

#include "args.h"
#include "base/mem.h"
#include "ingle.h"
#include "input.h"

/* ------------------------------------------------------------------------------------------------ flags */

/* Sampling as the flags say, with the standard values for the others. Strings and stops are borrowed from the call. */
typedef struct talk_sampling {
    ingle_sampler_options o;
    ingle_logit_bias *bias; /* owned */
} talk_sampling;
/* On BAD_INPUT err has the whole sentence and the exit code is CLI_USAGE. */
ig_status talk_sampling_init(talk_sampling *s, const cli_call *call, ig_error *err);
void talk_sampling_fini(talk_sampling *s);

/* What a model of the store brings with it, below what the flags say. */
typedef struct talk_model {
    ig_manifest *manifest; /* owned; NULL for a file */
    const char *system;    /* --system, or the model's; borrowed */
    const char *const *stops;
    size_t n_stops;
    uint32_t n_max, n_ctx;
    json_t *parameters, *messages; /* owned, or NULL; messages: how a conversation begins */
    const char **own_stops;        /* owned */
} talk_model;
/* Takes m->manifest as set, reads its parameters into s and the members. BAD_INPUT for values of a wrong type. */
ingle_status talk_model_init(talk_model *m, const cli_call *call, talk_sampling *s, ingle_error *err);
void talk_model_fini(talk_model *m);

/* --json, --json-schema and --grammar: BAD_INPUT with a sentence for CLI_USAGE when more than one is given. */
ig_status talk_check_format(const cli_call *call, ig_error *err);
/* The grammar that they ask for, NULL for none. Texts of schemas and grammars may stand in place of file names. */
ingle_status talk_grammar(const cli_call *call, ingle_grammar **out, ingle_error *err);
/* Any JSON object. */
ingle_status talk_any_json(ingle_grammar **out, ingle_error *err);

/* --speculate and --draft. */
typedef struct talk_guess {
    ingle_speculate how;
    ingle_model *model; /* owned, as the rest; NULL without --draft */
    ingle_engine *engine;
    ingle_session *session;
} talk_guess;
/* What --speculate says, and whether the engine can do without the model's own head. */
ingle_speculate talk_guess_how(const cli_call *call);
bool talk_no_head(const cli_call *call);
/* BAD_INPUT with a sentence for CLI_USAGE. */
ig_status talk_check_guess(const cli_call *call, ig_error *err);
/* For conversations of up to n_ctx tokens. Errors: those of opening a model. */
ingle_status talk_guess_open(talk_guess *g, const cli_call *call, uint32_t n_ctx, ingle_error *err);
void talk_guess_close(talk_guess *g);

/* ------------------------------------------------------------------------------------------------ conversations */

typedef struct talk_chat {
    const ingle_model *model;
    ingle_template *t;
    bool is_default; /* the model brings no template */
    bool is_own;     /* the store's template, not the file's */
    const char *source; /* that one; borrowed from the manifest, NULL otherwise */
} talk_chat;
/* manifest: NULL, or whose template goes before the file's. */
ingle_status talk_chat_open(talk_chat *c, const ingle_model *model, const ig_manifest *manifest, ingle_error *err);
void talk_chat_close(talk_chat *c);

typedef struct talk_prompt {
    ingle_template_text text; /* owned, as the ids */
    cli_ids ids;
    bool think_off; /* it was asked for no reasoning */
} talk_prompt;
void talk_prompt_fini(talk_prompt *p);
/* messages: an array of {"role", "content"}. tools: a list or NULL. think: NULL (as the template has it), "on", "off",
 * "low", "medium", "high". Errors: those of ingle_template_render and ingle_tokenize. */
ingle_status talk_render(const talk_chat *c, json_t *messages, json_t *tools, const char *think, talk_prompt *out,
                         ingle_error *err);
/* Takes the first n_held ids for the tokens of the same text in the prompt, where that text ends before a control
 * token: what the model wrote need not be what its own tokenizer makes of it. */
ingle_status talk_keep(const talk_chat *c, const int32_t *held, size_t n_held, talk_prompt *p, ingle_error *err);
/* ------------------------------------------------------------------------------------------------ answers */

/* An answer cut into reasoning, text and calls while it comes. All of it is kept. */
typedef struct talk_answer {
    ingle_reply *reply; /* NULL: everything is text */
    ig_buf text, reasoning, args;
    json_t *calls; /* [{"id", "type", "function": {"name", "arguments"}}] */
    ingle_reply_end end;
    bool failed;                                                        /* `out` said so, or memory is short */
    bool (*out)(void *user, const char *text, size_t n, bool thinking); /* may be NULL */
    void *user;
} talk_answer;
/* options: of the reply; NULL: text alone. */
ingle_status talk_answer_open(talk_answer *a, const ingle_reply_options *options,
                              bool (*out)(void *user, const char *text, size_t n, bool thinking), void *user,
                              ingle_error *err);
/* Sets what concerns markers and reasoning in the options of a generation. */
void talk_prepare(const talk_answer *a, const talk_prompt *p, ingle_generate_options *o);
/* False when `out` said so or memory is short. */
bool talk_answer_push(talk_answer *a, const char *text, size_t n);
bool talk_answer_finish(talk_answer *a);
/* Gives the calls out as text, a line of JSON each with name and arguments. */
bool talk_answer_lines(talk_answer *a);
/* As a message of an assistant; a new reference, NULL without memory. */
json_t *talk_answer_message(const talk_answer *a);
void talk_answer_close(talk_answer *a);

/* Writes reasoning and text to standard output as a person should see them: reasoning dim on a terminal, and not at all
 * elsewhere or with `hide`. *dim is the state between calls, false at first; n 0 with thinking false ends dimming. */
bool talk_write(const char *text, size_t n, bool thinking, bool hide, bool *dim);

#endif
