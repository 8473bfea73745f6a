/* From messages to the text that the model continues. One renderer a model; it belongs to the thread that prepares
 * requests. */
#ifndef IG_WORKER_CHAT_H
#define IG_WORKER_CHAT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"
#include "engine/engine.h"

typedef struct wk_chat wk_chat;

/* m: whose control tokens no text of a conversation becomes; source: the template, or empty where the model brings
 * none; system: text of a standard system message or empty; bos, eos: texts of the tokens. Borrowed, must outlive it.
 * Errors: BAD_INPUT, UNSUPPORTED, NO_MEMORY. */
ig_status wk_chat_new(const ingle_model *m, ig_str source, ig_str system, ig_str bos, ig_str eos, wk_chat **out,
                      ig_error *err);
void wk_chat_free(wk_chat *c);
/* The template has the word: whether it knows "tools". */
bool wk_chat_knows(const wk_chat *c, const char *name);
/* The model can reason: the template switches it, or has the marks of it. */
bool wk_chat_thinks(const wk_chat *c);
typedef struct wk_veils {
    size_t *at; /* [n] */
    size_t n;
} wk_veils;
/* Appends the text. body: a request of kind "chat" with messages, tools, tool_choice, template_args, reasoning,
 * continue_last (the last assistant message is a prefix). add_prompt: end with the beginning of an answer.
 * veils: at is freed by ig_free; offsets over which no control token is to be read.
 * Errors: BAD_INPUT (*param: the field at fault), UNSUPPORTED, TOO_LARGE, NO_MEMORY. */
ig_status wk_chat_render(const wk_chat *c, const json_t *body, bool add_prompt, ig_buf *out, wk_veils *veils,
                         const char **param, ig_error *err);

#endif
