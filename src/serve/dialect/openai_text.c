/* POST /v1/completions. */
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

enum { MAX_TOKENS_DEFAULT = 16 };

/* ------------------------------------------------------------------------------------------------ request */

static bool read_stream_options(ig_parse *p, const char *name, json_t *v)
{
    if (!json_is_object(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object", name);
    p->req->include_usage = json_is_true(json_object_get(v, "include_usage"));
    return true;
}

static const ig_param text_params[] = {
    {"prompt", IG_K_LATER, NULL, 0, 0, NULL},
    {"best_of", IG_K_LATER, NULL, 0, 0, NULL},
    {"suffix", IG_K_STRING, NULL, 0, 0, NULL},
    {"max_tokens", IG_K_READ, NULL, 0, 0, ig_read_max_tokens},
    {"n", IG_K_READ, NULL, 0, 0, ig_read_n},
    {"temperature", IG_K_NUMBER, NULL, 0, 2, NULL},
    {"presence_penalty", IG_K_NUMBER, NULL, -2, 2, NULL},
    {"frequency_penalty", IG_K_NUMBER, NULL, -2, 2, NULL},
    {"stream", IG_K_READ, NULL, 0, 0, ig_read_stream},
    {"stream_options", IG_K_READ, NULL, 0, 0, read_stream_options},
    {"logprobs", IG_K_INT, NULL, 0, 20, NULL},
    {"echo", IG_K_BOOL, NULL, 0, 0, NULL},
    {"user", IG_K_IGNORE, NULL, 0, 0, NULL},
    {0},
};

bool ig_parse_openai_text(ig_parse *p)
{
    static const ig_param *const tables[] = {text_params, ig_params_sampling, ig_params_llama, NULL};
    int64_t best_of = 1;
    if (!ig_read_body(p, tables)) return false;
    json_t *prompt = ig_get(p, "prompt"), *best = ig_get(p, "best_of"), *max = ig_get(p, "max_tokens");
    if (best && (!ig_whole(best, &best_of) || best_of > p->req->n))
        return ig_refuse(p, IG_P_UNSUPPORTED, "best_of",
                         "best_of cannot be above n; ask for n answers and choose yourself");
    if (!prompt) return ig_refuse(p, IG_P_BAD_REQUEST, "prompt", "prompt is missing; send a text or token ids");
    if (!max && !ig_get(p, "n_predict")) ig_put(&p->req->defaults, "max_tokens", json_integer(MAX_TOKENS_DEFAULT));
    ig_put(&p->req->defaults, "temperature", json_real(1));
    ig_put(&p->req->defaults, "top_p", json_real(1));
    return ig_set(p, "parse_special", json_true()) && ig_add_prompts(p, prompt);
}

/* ------------------------------------------------------------------------------------------------ answer */

static json_t *head(ig_emitter *e)
{
    return json_pack("{s:o, s:s, s:I, s:s, s:s*}", "id", ig_out_id(e, "cmpl-"), "object", "text_completion", "created",
                     (json_int_t)(e->ctx->created_ns / 1000000000u), "model", e->ctx->model, "system_fingerprint",
                     e->ctx->digest);
}

static uint64_t count_chars(const char *s, size_t n)
{
    uint64_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    return chars;
}

/* {tokens, token_logprobs, top_logprobs, text_offset}; *offset goes on behind the last token. */
static json_t *text_logprobs(const json_t *lp, uint64_t *offset)
{
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array(), *offsets = json_array();
    for (size_t i = 0; i < json_array_size(lp); i++) {
        const json_t *entry = json_array_get(lp, i);
        json_t *token = json_object_get(entry, "token"), *value = json_object_get(entry, "logprob");
        json_t *top = json_object_get(entry, "top"), *map = json_array_size(top) ? json_object() : json_null();
        for (size_t k = 0; k < json_array_size(top); k++) {
            const json_t *other = json_array_get(top, k);
            const char *text = json_string_value(json_object_get(other, "token"));
            if (text) ig_put(&map, text, json_incref(json_object_get(other, "logprob")));
        }
        ig_append(&tops, map);
        ig_append(&tokens, json_is_string(token) ? json_incref(token) : json_string(""));
        ig_append(&values, json_is_number(value) ? json_incref(value) : json_null());
        ig_append(&offsets, json_integer((json_int_t)*offset));
        if (json_is_string(token)) *offset += count_chars(json_string_value(token), json_string_length(token));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", values, "top_logprobs", tops,
                     "text_offset", offsets);
}

static const char *finish_reason(const ig_choice *c) { return !strcmp(c->finish, "length") ? "length" : "stop"; }

/* Takes text and logprobs. */
static json_t *choice_json(json_t *text, size_t index, json_t *logprobs, const char *finish)
{
    return json_pack("{s:o, s:I, s:o?, s:s?}", "text", text, "index", (json_int_t)index, "logprobs", logprobs,
                     "finish_reason", finish);
}

static void chunk(ig_emitter *e, json_t *choice, bool last, ig_buf *out)
{
    json_t *o = head(e), *list = json_pack("[o]", choice);
    ig_put(&o, "choices", list);
    if (e->req->include_usage) ig_put(&o, "usage", json_null());
    if (last) {
        ig_usage u = ig_emit_usage(e);
        ig_put(&o, "ingle", ig_out_ingle(e, &u));
    }
    ig_out_sse(e, NULL, o, out);
}

static void text_delta(ig_emitter *e, size_t choice, const json_t *body, ig_buf *out)
{
    const json_t *lp = json_object_get(body, "lp");
    json_t *text = json_object_get(body, "t");
    if (!json_is_string(text)) return;
    json_t *logprobs = lp ? text_logprobs(lp, &e->choices[choice].n_chars) : NULL;
    chunk(e, choice_json(json_incref(text), choice, logprobs, NULL), false, out);
}

static void text_done(ig_emitter *e, size_t choice, ig_buf *out)
{
    chunk(e, choice_json(json_string(""), choice, NULL, finish_reason(&e->choices[choice])), e->n_open == 0, out);
}

static void text_end(ig_emitter *e, ig_buf *out) { ig_openai_stream_end(e, head(e), out); }

/* Thoughts cannot stand apart here: the text is all there is. */
static void text_whole(ig_emitter *e, ig_buf *out)
{
    ig_usage u = ig_emit_usage(e);
    json_t *o = head(e), *choices = json_array();
    for (size_t i = 0; i < e->n_choices; i++) {
        ig_choice *c = &e->choices[i];
        uint64_t offset = 0;
        json_t *logprobs = c->logprobs ? text_logprobs(c->logprobs, &offset) : NULL;
        if (json_array_append_new(choices, choice_json(ig_out_text(&c->text), i, logprobs, finish_reason(c))) != 0)
            e->failed = true;
    }
    ig_put(&o, "choices", choices);
    ig_put(&o, "usage", ig_openai_usage(&u));
    ig_put(&o, "timings", ig_out_timings(&u));
    ig_put(&o, "ingle", ig_out_ingle(e, &u));
    ig_out_json(e, o, out);
}

const ig_emit_ops ig_openai_text_ops = {.stream_type = "text/event-stream",
                                        .delta = text_delta,
                                        .done = text_done,
                                        .end = text_end,
                                        .whole = text_whole,
                                        .ping = ig_sse_comment,
                                        .problem = ig_openai_stream_problem};
