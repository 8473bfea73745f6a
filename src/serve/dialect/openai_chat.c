/* POST /v1/chat/completions. */
#include <stdio.h>
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

/* ------------------------------------------------------------------------------------------------ request */

static bool read_stream_options(ig_parse *p, const char *name, json_t *v)
{
    json_t *usage = json_object_get(v, "include_usage");
    if (!json_is_object(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object", name);
    if (usage && !json_is_boolean(usage) && !json_is_null(usage))
        return ig_refuse(p, IG_P_BAD_REQUEST, "stream_options.include_usage", "%s.include_usage must be true or false",
                         name);
    p->req->include_usage = json_is_true(usage);
    if (json_is_true(json_object_get(v, "include_obfuscation"))) ig_ignore(p, "stream_options.", "include_obfuscation");
    return true;
}

/* {type:"text"|"json_object"|"json_schema"}; the schema nested as OpenAI has it, or not, as llama-server allows. */
static bool read_response_format(ig_parse *p, const char *name, json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    json_t *nested = json_object_get(v, "json_schema"), *schema = json_object_get(v, "schema");
    if (json_is_object(nested) && json_object_get(nested, "schema")) schema = json_object_get(nested, "schema");
    if (type && !strcmp(type, "text")) return true;
    if (type && !strcmp(type, "json_object") && !schema) return ig_set(p, "json_object", json_true());
    if (type && (!strcmp(type, "json_schema") || !strcmp(type, "json_object"))) {
        if (schema && !json_is_null(schema))
            return ig_read_json_schema(p, "response_format.json_schema.schema", schema);
        if (json_is_object(nested)) return ig_set(p, "json_object", json_true());
        return ig_refuse(p, IG_P_BAD_SCHEMA, name, "%s needs json_schema with a schema in it", name);
    }
    return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s.type must be text, json_object or json_schema", name);
}

/* {effort} as OpenRouter sends it; or a boolean. */
static bool read_reasoning(ig_parse *p, const char *name, json_t *v)
{
    json_t *effort = json_object_get(v, "effort"), *enabled = json_object_get(v, "enabled");
    if (!json_is_object(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object", name);
    if (json_is_boolean(enabled) && !ig_set(p, "reasoning", json_boolean(json_is_true(enabled)))) return false;
    return !effort || json_is_null(effort) || ig_read_effort(p, "reasoning.effort", effort);
}

static const ig_param chat_params[] = {
    {"messages", IG_K_LATER, NULL, 0, 0, NULL},
    {"tools", IG_K_LATER, NULL, 0, 0, NULL},
    {"tool_choice", IG_K_LATER, NULL, 0, 0, NULL},
    {"functions", IG_K_LATER, NULL, 0, 0, NULL},
    {"function_call", IG_K_LATER, NULL, 0, 0, NULL},
    {"logprobs", IG_K_LATER, NULL, 0, 0, NULL},
    {"top_logprobs", IG_K_LATER, NULL, 0, 0, NULL},
    {"max_completion_tokens", IG_K_LATER, NULL, 0, 0, NULL},
    {"max_tokens", IG_K_LATER, NULL, 0, 0, NULL},
    {"n", IG_K_READ, NULL, 0, 0, ig_read_n},
    {"temperature", IG_K_NUMBER, NULL, 0, 2, NULL},
    {"presence_penalty", IG_K_NUMBER, NULL, -2, 2, NULL},
    {"frequency_penalty", IG_K_NUMBER, NULL, -2, 2, NULL},
    {"stream", IG_K_READ, NULL, 0, 0, ig_read_stream},
    {"stream_options", IG_K_READ, NULL, 0, 0, read_stream_options},
    {"parallel_tool_calls", IG_K_BOOL, NULL, 0, 0, NULL},
    {"response_format", IG_K_READ, NULL, 0, 0, read_response_format},
    {"reasoning_effort", IG_K_READ, NULL, 0, 0, ig_read_effort},
    {"reasoning", IG_K_READ, NULL, 0, 0, read_reasoning},
    {"continue_final_message", IG_K_BOOL, "continue_last", 0, 0, NULL},
    {"verbosity", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"user", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"safety_identifier", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"prompt_cache_key", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"metadata", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"store", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"service_tier", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"prediction", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"modalities", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"audio", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"web_search_options", IG_K_IGNORE, NULL, 0, 0, NULL},
    {0},
};

static bool read_tool_calls(ig_parse *p, const char *at, json_t *message, json_t **out)
{
    json_t *list = json_object_get(message, "tool_calls"), *old = json_object_get(message, "function_call"), *call;
    size_t i;
    char where[96];
    *out = NULL;
    if (json_is_object(old)) {
        if (!(*out = json_array())) return ig_no_memory(p);
        return ig_add_call(p, at, json_object_get(old, "name"), json_object_get(old, "name"),
                           json_object_get(old, "arguments"), *out);
    }
    if (!list || json_is_null(list) || (json_is_array(list) && json_array_size(list) == 0)) return true;
    if (!json_is_array(list)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.tool_calls must be a list", at);
    if (!(*out = json_array())) return ig_no_memory(p);
    json_array_foreach(list, i, call)
    {
        json_t *f = json_object_get(call, "function");
        (void)snprintf(where, sizeof where, "%.40s.tool_calls[%zu]", at, i);
        if (!ig_add_call(p, where, json_object_get(call, "id"), json_object_get(f, "name"),
                         json_object_get(f, "arguments"), *out))
            return false;
    }
    return true;
}

/* New reference or NULL. */
static json_t *string_or_null(json_t *v) { return json_is_string(v) ? json_incref(v) : NULL; }

static bool read_message(ig_parse *p, size_t i, json_t *m, json_t *messages)
{
    static const char *const roles[][2] = {{"system", "system"},       {"developer", "system"}, {"user", "user"},
                                           {"assistant", "assistant"}, {"tool", "tool"},        {"function", "tool"}};
    char at[48], at_content[64];
    const char *role = NULL, *given = json_string_value(json_object_get(m, "role"));
    json_t *content = NULL, *calls = NULL, *id = json_object_get(m, "tool_call_id"), *name = json_object_get(m, "name");
    (void)snprintf(at, sizeof at, "messages[%zu]", i);
    (void)snprintf(at_content, sizeof at_content, "%s.content", at);
    for (size_t k = 0; given && k < sizeof roles / sizeof *roles; k++)
        if (!strcmp(given, roles[k][0])) role = roles[k][1];
    if (!role)
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.role must be system, developer, user, assistant or tool", at);
    if (!ig_read_content(p, at_content, json_object_get(m, "content"), &content)) return false;
    if (!read_tool_calls(p, at, m, &calls)) {
        json_decref(content);
        json_decref(calls);
        return false;
    }
    if (!strcmp(given, "function")) id = name;
    json_t *thoughts = string_or_null(json_object_get(m, "reasoning_content"));
    if (!thoughts) thoughts = string_or_null(json_object_get(m, "reasoning"));
    return ig_add_message(p, messages, role, content, thoughts, calls, string_or_null(id), string_or_null(name));
}

bool ig_read_messages(ig_parse *p)
{
    json_t *list = ig_get(p, "messages"), *m;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return ig_refuse(p, IG_P_BAD_REQUEST, "messages", "messages must be a list with at least one message");
    json_t *messages = json_array();
    if (!messages || !ig_set(p, "messages", messages)) return ig_no_memory(p);
    json_array_foreach(list, i, m) if (!read_message(p, i, m, messages)) return false;
    return true;
}

static bool read_logprobs(ig_parse *p)
{
    bool wanted = false;
    int64_t n = 0;
    json_t *top = ig_get(p, "top_logprobs");
    if (!ig_get_bool(p, "logprobs", &wanted)) return false;
    if (top && (!ig_whole(top, &n) || n < 0 || n > 20))
        return ig_refuse(p, IG_P_BAD_REQUEST, "top_logprobs", "top_logprobs must be a whole number from 0 to 20");
    if (n && !wanted) return ig_refuse(p, IG_P_BAD_REQUEST, "top_logprobs", "top_logprobs needs logprobs: true");
    return !wanted || ig_set(p, "logprobs", json_integer(n));
}

bool ig_parse_openai_chat(ig_parse *p)
{
    static const ig_param *const tables[] = {chat_params, ig_params_sampling, ig_params_llama, NULL};
    if (!ig_read_body(p, tables) || !ig_read_messages(p) || !ig_read_chat_tools(p) || !read_logprobs(p)) return false;
    json_t *max = ig_get(p, "max_completion_tokens");
    const char *name = max ? "max_completion_tokens" : "max_tokens";
    if (!max) max = ig_get(p, "max_tokens");
    if (max && !ig_read_max_tokens(p, name, max)) return false;
    ig_put(&p->req->defaults, "temperature", json_real(1));
    ig_put(&p->req->defaults, "top_p", json_real(1));
    return ig_add_generate(p, "chat");
}

/* ------------------------------------------------------------------------------------------------ answer */

static json_t *head(ig_emitter *e, const char *object)
{
    return json_pack("{s:o, s:s, s:I, s:s, s:s*}", "id", ig_out_id(e, "chatcmpl-"), "object", object, "created",
                     (json_int_t)(e->ctx->created_ns / 1000000000u), "model", e->ctx->model, "system_fingerprint",
                     e->ctx->digest);
}

/* Takes delta and logprobs. */
static void chunk(ig_emitter *e, size_t choice, json_t *delta, json_t *logprobs, const char *finish, ig_buf *out)
{
    json_t *o = head(e, "chat.completion.chunk");
    json_t *list = json_pack("[{s:I, s:o, s:o?, s:s?}]", "index", (json_int_t)choice, "delta", delta, "logprobs",
                             logprobs, "finish_reason", finish);
    ig_put(&o, "choices", list);
    if (e->req->include_usage) ig_put(&o, "usage", json_null());
    if (finish && e->n_open == 0) {
        ig_usage u = ig_emit_usage(e);
        ig_put(&o, "timings", ig_out_timings(&u));
        ig_put(&o, "ingle", ig_out_ingle(e, &u));
    }
    ig_out_sse(e, NULL, o, out);
}

static void role_chunk(ig_emitter *e, size_t choice, ig_buf *out)
{
    if (e->choices[choice].begun) return;
    e->choices[choice].begun = true;
    chunk(e, choice, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL, NULL, out);
}

static void tool_chunk(ig_emitter *e, size_t choice, const json_t *body, ig_buf *out)
{
    const ig_choice *c = &e->choices[choice];
    const size_t at = ig_call_index(c, body);
    json_t *args = json_object_get(body, "args");
    if (at >= c->n_calls) return;
    const ig_call *call = &c->calls[at];
    const json_int_t index = (json_int_t)at;
    if (json_object_get(body, "name"))
        chunk(e, choice,
              json_pack("{s:[{s:I, s:O, s:s, s:{s:O, s:s}}]}", "tool_calls", "index", index, "id", call->id, "type",
                        "function", "function", "name", call->name, "arguments", ""),
              NULL, NULL, out);
    if (json_is_string(args) && json_string_length(args))
        chunk(e, choice, json_pack("{s:[{s:I, s:{s:O}}]}", "tool_calls", "index", index, "function", "arguments", args),
              NULL, NULL, out);
}

static void chat_delta(ig_emitter *e, size_t choice, const json_t *body, ig_buf *out)
{
    const char *kind = json_string_value(json_object_get(body, "k"));
    json_t *text = json_object_get(body, "t"), *lp = json_object_get(body, "lp");
    role_chunk(e, choice, out);
    if (kind && !strcmp(kind, "tool")) {
        tool_chunk(e, choice, body, out);
        return;
    }
    if (!json_is_string(text)) return;
    if (kind && !strcmp(kind, "reasoning")) {
        chunk(e, choice, json_pack("{s:O, s:O}", "reasoning_content", text, "reasoning", text), NULL, NULL, out);
        return;
    }
    json_t *logprobs = lp ? json_pack("{s:o, s:n}", "content", ig_out_logprobs(lp, false), "refusal") : NULL;
    chunk(e, choice, json_pack("{s:O}", "content", text), logprobs, NULL, out);
}

/* A finished call is a finish of its own, even where a stop string ended the text behind it. */
static const char *finish_reason(const ig_choice *c)
{
    if (!strcmp(c->finish, "cancelled")) return "stop";
    return c->n_calls && !strcmp(c->finish, "stop") ? "tool_calls" : c->finish;
}

static void chat_done(ig_emitter *e, size_t choice, ig_buf *out)
{
    role_chunk(e, choice, out);
    chunk(e, choice, json_object(), NULL, finish_reason(&e->choices[choice]), out);
}

void ig_openai_stream_end(ig_emitter *e, json_t *o, ig_buf *out)
{
    if (e->req->include_usage) {
        ig_usage u = ig_emit_usage(e);
        ig_put(&o, "choices", json_array());
        ig_put(&o, "usage", ig_openai_usage(&u));
        ig_out_sse(e, NULL, o, out);
    } else {
        json_decref(o);
    }
    (void)ig_buf_add(out, "data: [DONE]\n\n", 14);
}

static void chat_end(ig_emitter *e, ig_buf *out) { ig_openai_stream_end(e, head(e, "chat.completion.chunk"), out); }

static json_t *whole_calls(const ig_choice *c)
{
    json_t *calls = c->n_calls ? json_array() : NULL;
    for (size_t i = 0; i < c->n_calls; i++)
        ig_append(&calls, json_pack("{s:O, s:s, s:{s:O, s:o}}", "id", c->calls[i].id, "type", "function", "function",
                                    "name", c->calls[i].name, "arguments", ig_out_text(&c->calls[i].args)));
    return calls;
}

static json_t *whole_choice(const ig_choice *c, size_t index)
{
    json_t *calls = whole_calls(c), *logprobs = NULL;
    json_t *content = calls && c->text.len == 0 ? json_null() : ig_out_text(&c->text);
    json_t *message = json_pack("{s:s, s:o, s:n}", "role", "assistant", "content", content, "refusal");
    if (c->reasoning.len) {
        ig_put(&message, "reasoning_content", ig_out_text(&c->reasoning));
        ig_put(&message, "reasoning", json_incref(json_object_get(message, "reasoning_content")));
    }
    if (calls) ig_put(&message, "tool_calls", calls);
    if (c->logprobs) logprobs = json_pack("{s:o, s:n}", "content", ig_out_logprobs(c->logprobs, false), "refusal");
    return json_pack("{s:I, s:o, s:o?, s:s}", "index", (json_int_t)index, "message", message, "logprobs", logprobs,
                     "finish_reason", finish_reason(c));
}

static void chat_whole(ig_emitter *e, ig_buf *out)
{
    ig_usage u = ig_emit_usage(e);
    json_t *o = head(e, "chat.completion"), *choices = json_array();
    for (size_t i = 0; i < e->n_choices; i++)
        if (json_array_append_new(choices, whole_choice(&e->choices[i], i)) != 0) e->failed = true;
    ig_put(&o, "choices", choices);
    ig_put(&o, "usage", ig_openai_usage(&u));
    ig_put(&o, "timings", ig_out_timings(&u));
    ig_put(&o, "ingle", ig_out_ingle(e, &u));
    ig_out_json(e, o, out);
}

/* llama-server's return_progress: a chunk with prompt_progress. */
static void chat_progress(ig_emitter *e, ig_buf *out)
{
    json_t *o = head(e, "chat.completion.chunk");
    if (strcmp(e->phase, "prompt") != 0) {
        json_decref(o);
        return;
    }
    ig_put(&o, "choices", json_array());
    ig_put(&o, "prompt_progress",
           json_pack("{s:I, s:I, s:I}", "total", (json_int_t)e->progress_total, "cache", (json_int_t)e->progress_cached,
                     "processed", (json_int_t)e->progress_done));
    ig_out_sse(e, NULL, o, out);
}

const ig_emit_ops ig_openai_chat_ops = {.stream_type = "text/event-stream",
                                        .delta = chat_delta,
                                        .done = chat_done,
                                        .end = chat_end,
                                        .whole = chat_whole,
                                        .ping = ig_sse_comment,
                                        .progress = chat_progress,
                                        .problem = ig_openai_stream_problem};
