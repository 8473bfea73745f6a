/* Which tokens may come next: grammar, JSON Schema, any JSON, valid tool calls. */
#ifndef IG_WORKER_CONSTRAIN_H
#define IG_WORKER_CONSTRAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/engine.h"

/* Compiles the rules of requests and keeps the latest ones: agents send the same tools with every turn. Rules are made
 * by the thread that prepares requests, freed by any. */
typedef struct wk_constrainer wk_constrainer;
/* source: the template, borrowed, must outlive it. */
ig_status wk_constrainer_new(const ingle_model *m, ig_str source, wk_constrainer **out, ig_error *err);
void wk_constrainer_free(wk_constrainer *c); /* after all rules */

/* A rule, compiled: immutable. *out NULL: the request sets none. body: "grammar", "json_schema", "json_object", "tools"
 * with "tool_choice"; prompt: the text that the answer follows. Errors: BAD_INPUT, UNSUPPORTED, TOO_LARGE, NO_MEMORY;
 * *param: the field at fault. */
typedef struct wk_rule wk_rule;
ig_status wk_rule_new(wk_constrainer *c, const json_t *body, ig_str prompt, wk_rule **out, const char **param,
                      ig_error *err);
void wk_rule_free(wk_rule *r);
/* Name of the i-th tool whose schema is not enforced whole; NULL past the last. */
const char *wk_rule_relaxed(const wk_rule *r, size_t i);

/* One answer on its way through the rule, for the thread that samples. */
ig_status wk_constraint_new(const wk_rule *r, ingle_constraint **out, ig_error *err);

#endif
