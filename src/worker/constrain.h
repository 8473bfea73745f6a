/* Which tokens may come next: grammar, JSON Schema, any JSON, forced tool calls. */
#ifndef IG_WORKER_CONSTRAIN_H
#define IG_WORKER_CONSTRAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/engine.h"

/* What a model needs once (an index of its vocabulary); made at first use, by the thread that prepares requests. */
typedef struct wk_constrainer wk_constrainer;
/* source: the template, borrowed, must outlive it. */
ig_status wk_constrainer_new(const ingle_model *m, ig_str source, wk_constrainer **out, ig_error *err);
void wk_constrainer_free(wk_constrainer *c);

/* A rule, compiled: immutable. *out NULL: the request sets none. body: "grammar", "json_schema", "json_object", "tools"
 * with "tool_choice"; prompt: the text that the answer follows. Errors: BAD_INPUT, UNSUPPORTED, TOO_LARGE, NO_MEMORY;
 * *param: the field at fault. */
typedef struct wk_rule wk_rule;
ig_status wk_rule_new(wk_constrainer *c, const json_t *body, ig_str prompt, wk_rule **out, const char **param,
                      ig_error *err);
/* It begins with the first token even where the prompt ends in the middle of thoughts. */
bool wk_rule_covers_thoughts(const wk_rule *r);
void wk_rule_free(wk_rule *r);

/* One answer on its way through a rule, which must outlive it. Belongs to the thread that samples. */
typedef struct wk_constraint wk_constraint;
ig_status wk_constraint_new(const wk_rule *r, wk_constraint **out, ig_error *err);
void wk_constraint_free(wk_constraint *c);
/* Sets logits [n_vocab] of tokens that may not come next to -INFINITY. *over: nothing but
 * an end may come. */
ig_status wk_constraint_mask(wk_constraint *c, float *logits, size_t n_vocab, bool *over, ig_error *err);
/* The bytes of the token that was chosen. */
ig_status wk_constraint_accept(wk_constraint *c, const char *bytes, size_t n, ig_error *err);

#endif
