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

/* ------------------------------------------------------------------------------------------------ conversations */

/* How a model marks its reasoning. */
typedef struct talk_marks {
    const char *start, *end;
} talk_marks;

typedef struct talk_chat {
    const ingle_model *model;
    ingle_template *t;
    bool is_default;         /* the model brings no template */
    const talk_marks *marks; /* NULL: it does not reason */
    bool marks_are_control;  /* their text comes with write_special alone */
    bool is_own;             /* the store's template, not the file's */
} talk_chat;
/* manifest: NULL, or whose template goes before the file's. */
ingle_status talk_chat_open(talk_chat *c, const ingle_model *model, const ig_manifest *manifest, ingle_error *err);
void talk_chat_close(talk_chat *c);

/* What an answer may begin with. */
typedef enum talk_thinking { TALK_PLAIN, TALK_MAY_THINK, TALK_THINKS } talk_thinking;

typedef struct talk_prompt {
    ingle_template_text text; /* owned, as the ids */
    cli_ids ids;
    talk_thinking thinking;
    bool think_off; /* it was asked for no reasoning */
} talk_prompt;
void talk_prompt_fini(talk_prompt *p);
/* messages: an array of {"role", "content"}. think: NULL (as the template has it), "on", "off", "low", "medium",
 * "high". Errors: those of ingle_template_render and ingle_tokenize. */
ingle_status talk_render(const talk_chat *c, json_t *messages, const char *think, talk_prompt *out, ingle_error *err);
/* Takes the first n_held ids for the tokens of the same text in the prompt, where that text ends before a control
 * token: what the model wrote need not be what its own tokenizer makes of it. */
ingle_status talk_keep(const talk_chat *c, const int32_t *held, size_t n_held, talk_prompt *p, ingle_error *err);
/* Sets what concerns reasoning in the options of an answer. */
void talk_prepare(const talk_chat *c, const talk_prompt *p, ingle_generate_options *o);

/* ------------------------------------------------------------------------------------------------ answers */

/* Cuts an answer into reasoning and text while it comes. */
typedef struct talk_split {
    const talk_marks *marks;
    enum { SPLIT_BEGIN, SPLIT_THINK, SPLIT_TEXT } phase;
    bool skip_space; /* white space before the next part is left out */
    ig_buf held;
    bool (*out)(void *user, const char *text, size_t n, bool thinking);
    void *user;
} talk_split;
void talk_split_init(talk_split *s, const talk_chat *c, talk_thinking thinking,
                     bool (*out)(void *user, const char *text, size_t n, bool thinking), void *user);
/* False when `out` said so or memory is short. */
bool talk_split_push(talk_split *s, const char *text, size_t n);
bool talk_split_finish(talk_split *s);
void talk_split_fini(talk_split *s);

/* Writes reasoning and text to standard output as a person should see them: reasoning dim on a terminal, and not at all
 * elsewhere or with `hide`. *dim is the state between calls, false at first; n 0 with thinking false ends dimming. */
bool talk_write(const char *text, size_t n, bool thinking, bool hide, bool *dim);

#endif
