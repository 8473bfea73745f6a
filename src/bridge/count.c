/* Tokens of a request for an engine whose vocabulary only it knows: how they are asked for where the engine answers as
 * llama-server does, how they are bounded where it does not, and what follows from either. */
#include <stdio.h>
#include <string.h>

#include "bridge/openai.h"

/* A token is made of at least one byte, but for those that a template puts around the messages. */
enum {
    TEMPLATE_TOKENS = 128, /* what a template may say by itself */
    MESSAGE_TOKENS = 16,
    TOOLS_TOKENS = 512, /* how tools are called: templates explain it */
    PROMPT_TOKENS = 4   /* marks at the ends of a plain text, and between it and a suffix */
};

/* ------------------------------------------------------------------------------------------------ the bound */

static uint64_t json_bytes(const json_t *v) { return v ? json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) : 0; }

/* Of a string or a list of ids and strings. */
static uint64_t bound_of_text(const json_t *text)
{
    uint64_t n = PROMPT_TOKENS;
    if (json_is_string(text)) return n + json_string_length(text);
    for (size_t i = 0; i < json_array_size(text); i++) {
        const json_t *one = json_array_get(text, i);
        n += json_is_string(one) ? json_string_length(one) : 1;
    }
    return n;
}

/* Texts are counted with the quotes, names and escapes of their JSON around them, so that a template that writes JSON
 * is covered; tools twice, for it may indent them. */
static uint64_t bound_of_chat(const json_t *body)
{
    const json_t *messages = json_object_get(body, "messages"), *tools = json_object_get(body, "tools");
    return TEMPLATE_TOKENS + json_bytes(messages) + MESSAGE_TOKENS * json_array_size(messages) +
           json_bytes(json_object_get(body, "chat_template_kwargs")) +
           (json_array_size(tools) ? TOOLS_TOKENS + 2 * json_bytes(tools) : 0);
}

static uint64_t bound_of_longest(const json_t *inputs)
{
    uint64_t most = 0;
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        uint64_t n = bound_of_text(json_array_get(inputs, i));
        if (n > most) most = n;
    }
    return most;
}

void br_ask_bound(br_ask *ask)
{
    br_limit *l = &ask->limit;
    const json_t *suffix = json_object_get(ask->body, "suffix");
    l->param = ask->embed ? "inputs" : ask->chat ? "messages" : "prompt";
    if (!l->n_ctx) return;
    if (ask->embed)
        l->bound = bound_of_longest(json_object_get(ask->body, "input"));
    else if (ask->chat)
        l->bound = bound_of_chat(ask->body);
    else
        l->bound = bound_of_text(json_object_get(ask->body, "prompt")) + (suffix ? bound_of_text(suffix) : 0);
}

/* ------------------------------------------------------------------------------------------------ the limit */

/* Tokens of the answer that are asked for; UINT64_MAX: as many as there may be. */
static uint64_t answer_tokens(const br_ask *ask)
{
    const json_t *v = json_object_get(ask->body, "max_tokens");
    if (ask->embed) return 0;
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : UINT64_MAX;
}

bool br_ask_must_count(const br_ask *ask)
{
    const br_limit *l = &ask->limit;
    if (!l->n_ctx || (ask->kind != BR_ANSWER && ask->kind != BR_VECTORS)) return false;
    return l->bound > l->n_ctx || answer_tokens(ask) > l->n_ctx - l->bound;
}

static bool too_long(const br_ask *ask, const br_engine *e, uint64_t n, bool counted, br_fault *f)
{
    const br_limit *l = &ask->limit;
    const char *what = ask->embed ? "a text" : "the prompt";
    if (counted)
        br_refuse(f, "too_long", l->param,
                  "%s has %llu tokens by the count of engine %.60s, rule %.64s allows a context of %llu%s; shorten it",
                  what, (unsigned long long)n, e->name, l->rule, (unsigned long long)l->n_ctx,
                  ask->embed ? "" : " with the answer");
    else
        br_refuse(f, "too_long", l->param,
                  "%s may have up to %llu tokens by its bytes, for engine %.60s does not count them; rule %.64s allows "
                  "a context of %llu%s; shorten it, or choose another model",
                  what, (unsigned long long)n, e->name, l->rule, (unsigned long long)l->n_ctx,
                  ask->embed ? "" : " with the answer");
    f->n_prompt = n;
    f->n_ctx = l->n_ctx;
    return false;
}

bool br_ask_hold(br_ask *ask, const br_engine *e, uint64_t n, bool counted, br_fault *f)
{
    const br_limit *l = &ask->limit;
    const uint64_t asked = answer_tokens(ask), least = asked ? 1 : 0;
    if (n > l->n_ctx || l->n_ctx - n < least) return too_long(ask, e, n, counted, f);
    if (asked <= l->n_ctx - n) return true;
    if (!json_object_set_new(ask->body, "max_tokens", json_integer((json_int_t)(l->n_ctx - n)))) return true;
    return br_refuse(f, "overloaded", NULL, "out of memory for the request");
}

/* ------------------------------------------------------------------------------------------------ asking */

json_t *br_ask_template(const br_ask *ask)
{
    static const char *const names[] = {"stream", "stream_options", "max_tokens", "logprobs", "top_logprobs"};
    if (!ask->chat || ask->embed) return NULL;
    json_t *body = json_copy(ask->body);
    for (size_t i = 0; body && i < sizeof names / sizeof *names; i++) (void)json_object_del(body, names[i]);
    return body;
}

size_t br_ask_texts(const br_ask *ask, const json_t **texts)
{
    const json_t *inputs = json_object_get(ask->body, "input"), *prompt = json_object_get(ask->body, "prompt"),
                 *suffix = json_object_get(ask->body, "suffix");
    size_t n = 0;
    for (size_t i = 0; ask->embed && i < json_array_size(inputs) && n < BR_TEXTS_MAX; i++)
        if (bound_of_text(json_array_get(inputs, i)) > ask->limit.n_ctx) texts[n++] = json_array_get(inputs, i);
    if (ask->embed || ask->chat) return n;
    if (prompt) texts[n++] = prompt;
    if (suffix) texts[n++] = suffix;
    return n;
}

json_t *br_tokenize_body(const json_t *text)
{
    return json_pack("{s:O, s:b, s:b}", "content", text, "add_special", 1, "parse_special", 1);
}

bool br_read_tokens(const json_t *answer, uint64_t *n)
{
    const json_t *tokens = json_object_get(answer, "tokens");
    *n = json_array_size(tokens);
    return json_is_array(tokens);
}

/* ------------------------------------------------------------------------------------------------ queries */

static json_t *result_of_tokens(const json_t *answer)
{
    json_t *tokens = json_object_get(answer, "tokens"), *one, *ids = json_array();
    size_t i;
    bool fine = json_is_array(tokens), pieces = json_is_object(json_array_get(tokens, 0));
    json_array_foreach(tokens, i, one)
    {
        json_t *id = pieces ? json_object_get(one, "id") : one;
        fine = fine && json_is_integer(id) && !json_array_append(ids, id);
    }
    json_t *result = fine ? json_pack("{s:O}", "ids", ids) : NULL;
    if (result && pieces && json_object_set(result, "tokens", tokens)) {
        json_decref(result);
        result = NULL;
    }
    json_decref(ids);
    return result;
}

json_t *br_result_of(const br_ask *ask, const json_t *answer, const json_t *prompt)
{
    const json_t *text = json_object_get(answer, "content");
    uint64_t n;
    if (ask->kind == BR_TOKENS) return result_of_tokens(answer);
    if (ask->kind == BR_TEXT) return json_is_string(text) ? json_pack("{s:O}", "text", text) : NULL;
    if (!br_read_tokens(answer, &n)) return NULL;
    return json_pack("{s:O, s:{s:I}}", "prompt", prompt, "usage", "prompt", (json_int_t)n);
}
