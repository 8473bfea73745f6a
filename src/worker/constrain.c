/* Masks over the vocabulary from grammars and schemas (src/text/grammar). */
#include "worker/constrain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/grammar/grammar.h"
#include "text/reply/reply.h"

enum { CACHE_BYTES = 16 << 20 };

struct wk_constrainer {
    const ingle_model *model;
    uint32_t n_vocab;
    ig_str source;
    const ig_reply_family *family;
    bool *end;                /* owned [n_vocab] */
    ig_token_index *index[2]; /* 1: control tokens that mark calls and thoughts have their text */
};

struct wk_rule {
    const wk_constrainer *c;
    ig_grammar *grammar;
    ig_masker *masker; /* of the thread that samples */
    bool calls;        /* forced: the grammar is of the whole reply, with its thoughts and markers */
};

struct wk_constraint {
    const wk_rule *rule;
    ig_grammar_state *state;
    uint64_t *mask; /* owned */
};

/* -------------------------------------------------------------------------------------------- vocabulary */

ig_status wk_constrainer_new(const ingle_model *m, ig_str source, wk_constrainer **out, ig_error *err)
{
    ingle_model_info info;
    *out = ig_calloc(1, sizeof **out);
    if (!*out) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for structured output");
    ingle_model_describe(m, &info);
    (*out)->model = m;
    (*out)->source = source;
    (*out)->family = ig_reply_family_of(source);
    (*out)->n_vocab = info.n_vocab;
    return IG_OK;
}

void wk_constrainer_free(wk_constrainer *c)
{
    if (!c) return;
    for (int i = 0; i < 2; i++) ig_token_index_free(c->index[i]);
    ig_free(c->end);
    ig_free(c);
}

/* The control token is a marker of calls or thoughts: its text is in the buffer then. */
static bool spell_marker(const wk_constrainer *c, int32_t id, ig_buf *text)
{
    size_t before = text->len;
    if (!ig_model_piece(c->model, id, true, text)) return false;
    if (ig_reply_is_marker(c->family, (ig_str){text->ptr + before, text->len - before})) return true;
    text->len = before;
    return false;
}

/* Spells all tokens into one buffer. at [n_vocab + 1] where each begins. */
static bool spell_all(wk_constrainer *c, bool markers, ig_buf *text, size_t *at, bool *special)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < c->n_vocab; i++) {
        int32_t id = (int32_t)i;
        at[i] = text->len;
        c->end[i] = ingle_token_is_end(c->model, id);
        special[i] = !c->end[i] && ig_model_is_control(c->model, id);
        if (special[i] && markers && spell_marker(c, id, text)) special[i] = false;
        if (!ig_model_is_control(c->model, id)) ok = ig_model_piece(c->model, id, false, text);
    }
    at[c->n_vocab] = text->len;
    return ok && !text->failed;
}

static ig_status make_index(wk_constrainer *c, bool markers, ig_error *err)
{
    size_t n = c->n_vocab;
    if (c->index[markers]) return IG_OK;
    ig_buf text;
    ig_buf_init(&text, (size_t)1 << 30);
    size_t *at = ig_calloc(n + 1, sizeof *at);
    ig_str *tokens = ig_calloc(n + 1, sizeof *tokens);
    bool *special = ig_calloc(n + 1, sizeof *special);
    c->end = c->end ? c->end : ig_calloc(n + 1, sizeof *c->end);
    ig_status st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for an index of %zu tokens", n);
    if (at && tokens && special && c->end && spell_all(c, markers, &text, at, special)) {
        for (size_t i = 0; i < n; i++) tokens[i] = (ig_str){text.ptr + at[i], at[i + 1] - at[i]};
        st = ig_token_index_new(tokens, c->end, special, n, &c->index[markers], err);
    }
    ig_buf_fini(&text);
    ig_free(at);
    ig_free(tokens);
    ig_free(special);
    return st;
}

/* -------------------------------------------------------------------------------------------- tools */

static const json_t *value_of(const json_t *body, const char *name)
{
    const json_t *v = json_object_get(body, name);
    return json_is_null(v) || json_is_false(v) ? NULL : v;
}

/* The name that tool_choice forces, "" for any, NULL: nothing is forced. */
static const char *forced_name(const json_t *body)
{
    const json_t *choice = json_object_get(body, "tool_choice");
    if (json_is_object(choice)) return json_string_value(json_object_get(choice, "name"));
    return json_is_string(choice) && !strcmp(json_string_value(choice), "required") ? "" : NULL;
}

static ig_status tools_grammar(const wk_constrainer *c, const json_t *body, const char *name, ig_str prompt,
                               ig_grammar **out, const char **param, ig_error *err)
{
    const json_t *tools = json_object_get(body, "tools");
    ig_reply_tools *list = NULL;
    *param = "tools";
    if (json_array_size(tools) == 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "\"tool_choice\" asks for a call, but there are no tools");
    char *text = json_dumps(tools, JSON_COMPACT);
    if (!text) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the tools");
    ig_status st = ig_reply_tools_new(text, strlen(text), &list, err);
    free(text);
    ig_reply_rule rule = {.family = c->family,
                          .tools = list,
                          .choice = *name ? IG_CHOICE_NAMED : IG_CHOICE_REQUIRED,
                          .name = ig_str_from(name),
                          .parallel = !*name && json_is_true(json_object_get(body, "parallel_tool_calls")),
                          .source = c->source,
                          .prompt = prompt};
    if (st == IG_OK) st = ig_reply_grammar(&rule, out, err);
    if (st == IG_NOT_FOUND) *param = "tool_choice";
    ig_reply_tools_free(list);
    return st;
}

/* -------------------------------------------------------------------------------------------- rules */

static ig_status from_schema(const json_t *schema, ig_grammar **out, ig_error *err)
{
    char *text = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a schema");
    ig_status st = ig_grammar_from_schema(text, strlen(text), out, err);
    free(text);
    return st;
}

static ig_status compile(const wk_constrainer *c, const json_t *body, ig_str prompt, ig_grammar **out,
                         const char **param, ig_error *err)
{
    const json_t *gbnf = value_of(body, "grammar"), *object = value_of(body, "json_object");
    const json_t *schema = json_object_get(body, "json_schema");
    const char *name = forced_name(body);
    if (json_is_null(schema)) schema = NULL;
    if ((gbnf != NULL) + (object != NULL) + (schema != NULL) + (name != NULL) > 1) {
        *param = gbnf ? "grammar" : "json_schema";
        return ig_fail(
            err, IG_BAD_INPUT, 0,
            "more than one of grammar, json_schema, json_object and a forced tool call is asked for, expected one");
    }
    if (name) return tools_grammar(c, body, name, prompt, out, param, err);
    if (gbnf) {
        *param = "grammar";
        if (!json_is_string(gbnf)) return ig_fail(err, IG_BAD_INPUT, 0, "\"grammar\" is no text");
        return ig_grammar_from_gbnf(json_string_value(gbnf), json_string_length(gbnf), out, err);
    }
    *param = schema ? "json_schema" : "json_object";
    if (schema) return from_schema(schema, out, err);
    return object ? ig_grammar_from_schema("{\"type\":\"object\"}", 17, out, err) : IG_OK;
}

ig_status wk_rule_new(wk_constrainer *c, const json_t *body, ig_str prompt, wk_rule **out, const char **param,
                      ig_error *err)
{
    ig_grammar *g = NULL;
    *out = NULL;
    IG_TRY(compile(c, body, prompt, &g, param, err));
    if (!g) return IG_OK;
    wk_rule *r = ig_calloc(1, sizeof *r);
    if (!r) {
        ig_grammar_free(g);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
    }
    *r = (wk_rule){.c = c, .grammar = g, .calls = forced_name(body) != NULL};
    ig_status st = ig_grammar_possible(g) ? make_index(c, r->calls, err)
                                          : ig_fail(err, IG_BAD_INPUT, 0, "no text at all matches \"%s\"", *param);
    if (st == IG_OK) st = ig_masker_new(g, c->index[r->calls], CACHE_BYTES, &r->masker, err);
    if (st == IG_OK)
        *out = r;
    else
        wk_rule_free(r);
    return st;
}

bool wk_rule_covers_thoughts(const wk_rule *r) { return r->calls; }

void wk_rule_free(wk_rule *r)
{
    if (!r) return;
    ig_masker_free(r->masker);
    ig_grammar_free(r->grammar);
    ig_free(r);
}

/* -------------------------------------------------------------------------------------------- answers */

ig_status wk_constraint_new(const wk_rule *r, wk_constraint **out, ig_error *err)
{
    *out = ig_calloc(1, sizeof **out);
    if (!*out) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a constrained answer");
    (*out)->rule = r;
    (*out)->mask = ig_calloc(ig_token_index_words(r->c->index[r->calls]), sizeof *(*out)->mask);
    ig_status st = (*out)->mask ? ig_grammar_start(r->grammar, IG_GRAMMAR_CANONICAL, &(*out)->state, err)
                                : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a constrained answer");
    if (st == IG_OK) return IG_OK;
    wk_constraint_free(*out);
    *out = NULL;
    return st;
}

void wk_constraint_free(wk_constraint *c)
{
    if (!c) return;
    ig_grammar_end(c->state);
    ig_free(c->mask);
    ig_free(c);
}

ig_status wk_constraint_mask(wk_constraint *c, float *logits, size_t n_vocab, bool *over, ig_error *err)
{
    const wk_constrainer *v = c->rule->c;
    bool more = false;
    IG_TRY(ig_masker_mask(c->rule->masker, c->state, c->mask, err));
    for (size_t i = 0; i < n_vocab; i++) {
        bool may = c->mask[i / 64] >> (i % 64) & 1;
        if (!may) logits[i] = -INFINITY;
        more = more || (may && !v->end[i]);
    }
    *over = !more;
    if (more || ig_grammar_accepts(c->state)) return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0,
                   "the vocabulary has no token that continues what the grammar or schema asks for");
}

ig_status wk_constraint_accept(wk_constraint *c, const char *bytes, size_t n, ig_error *err)
{
    return ig_grammar_feed(c->state, bytes, n, err);
}
