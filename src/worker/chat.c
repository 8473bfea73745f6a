/* Conversations in OpenAI's form, brought into the form that templates expect (Hugging Face's): content is one text,
 * arguments of calls are values, "developer" is "system". */
#include "worker/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/reply/reply.h"
#include "text/template/template.h"

enum { ARENA_BYTES_MAX = 1 << 30, MESSAGES_MAX = 100000 };

struct wk_chat {
    const ingle_model *model;
    ig_template *t;
    ig_str source, system, bos, eos;
    bool thinks;
};

static void find_thoughts(wk_chat *c, ig_str source)
{
    static const char *const names[] = {"enable_thinking", "thinking", "reasoning_content", "reasoning_effort"};
    c->thinks = ig_reply_thinks(source);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) c->thinks = c->thinks || wk_chat_knows(c, names[i]);
}

bool wk_chat_thinks(const wk_chat *c) { return c && c->thinks; }

ig_status wk_chat_new(const ingle_model *m, ig_str source, ig_str system, ig_str bos, ig_str eos, wk_chat **out,
                      ig_error *err)
{
    *out = ig_calloc(1, sizeof **out);
    if (!*out) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a chat template");
    **out = (wk_chat){.model = m, .source = source, .system = system, .bos = bos, .eos = eos};
    if (source.len == 0) source = ig_str_from(ig_template_default);
    ig_status st = ig_template_compile(source.ptr, source.len, &(*out)->t, err);
    if (st == IG_OK) find_thoughts(*out, source);
    if (st == IG_OK) return IG_OK;
    wk_chat_free(*out);
    *out = NULL;
    return st;
}

void wk_chat_free(wk_chat *c)
{
    if (!c) return;
    ig_template_free(c->t);
    ig_free(c);
}

bool wk_chat_knows(const wk_chat *c, const char *name) { return c && ig_template_mentions(c->t, name); }

/* -------------------------------------------------------------------------------------------- messages */

static ig_status no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the messages"); }

/* Parts of type text, joined by newlines. */
static ig_status join_parts(const json_t *parts, size_t i, ig_buf *out, ig_error *err)
{
    for (size_t k = 0; k < json_array_size(parts); k++) {
        const json_t *part = json_array_get(parts, k), *text = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (json_is_string(part)) text = part;
        if (!json_is_string(text) || (type && !strstr(type, "text")))
            return ig_fail(err, IG_UNSUPPORTED, 0,
                           "messages[%zu].content[%zu] is of type \"%.32s\", this model reads text alone", i, k,
                           type ? type : "(none)");
        if (k) ig_buf_add(out, "\n", 1);
        ig_buf_add(out, json_string_value(text), json_string_length(text));
    }
    return out->failed ? no_memory(err) : IG_OK;
}

static ig_status set_content(json_t *m, size_t i, ig_error *err)
{
    const json_t *content = json_object_get(m, "content");
    ig_buf text;
    if (json_is_string(content)) return IG_OK;
    if (content && !json_is_null(content) && !json_is_array(content))
        return ig_fail(err, IG_BAD_INPUT, 0, "messages[%zu].content is neither a text nor a list of parts", i);
    ig_buf_init(&text, 64 << 20);
    ig_status st = join_parts(content, i, &text, err);
    if (st == IG_OK && json_object_set_new(m, "content", json_stringn(text.ptr ? text.ptr : "", text.len)) < 0)
        st = no_memory(err);
    ig_buf_fini(&text);
    return st;
}

/* Arguments come as a text of JSON; templates write them out as JSON themselves. */
static ig_status set_calls(json_t *m, size_t i, ig_error *err)
{
    json_t *calls = json_object_get(m, "tool_calls");
    if (json_is_null(calls)) json_object_del(m, "tool_calls");
    if (!calls || json_is_null(calls)) return IG_OK;
    if (!json_is_array(calls)) return ig_fail(err, IG_BAD_INPUT, 0, "messages[%zu].tool_calls is no list", i);
    for (size_t k = 0; k < json_array_size(calls); k++) {
        json_t *function = json_object_get(json_array_get(calls, k), "function");
        const json_t *arguments = json_object_get(function, "arguments");
        if (!json_is_string(json_object_get(function, "name")))
            return ig_fail(err, IG_BAD_INPUT, 0, "messages[%zu].tool_calls[%zu] has no function with a name", i, k);
        json_t *value = json_is_string(arguments) ? json_loadb(json_string_value(arguments),
                                                               json_string_length(arguments), JSON_ALLOW_NUL, NULL)
                                                  : NULL;
        if (value) json_object_set_new(function, "arguments", value);
    }
    return IG_OK;
}

static ig_status set_role(json_t *m, size_t i, ig_error *err)
{
    const char *role = json_string_value(json_object_get(m, "role"));
    if (!role) return ig_fail(err, IG_BAD_INPUT, 0, "messages[%zu] has no role, expected \"user\" or the like", i);
    const char *other = !strcmp(role, "developer") ? "system" : !strcmp(role, "function") ? "tool" : NULL;
    return !other || json_object_set_new(m, "role", json_string(other)) == 0 ? IG_OK : no_memory(err);
}

/* A new list. */
static ig_status read_messages(const wk_chat *c, const json_t *body, json_t **out, ig_error *err)
{
    const json_t *list = json_object_get(body, "messages");
    size_t n = json_array_size(list);
    *out = NULL;
    if (!json_is_array(list) || n == 0 || n > MESSAGES_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "\"messages\" is no list of 1 to %d messages", MESSAGES_MAX);
    json_t *all = json_deep_copy(list);
    ig_status st = all ? IG_OK : no_memory(err);
    for (size_t i = 0; st == IG_OK && i < n; i++) {
        json_t *m = json_array_get(all, i);
        st = set_role(m, i, err);
        if (st == IG_OK) st = set_content(m, i, err);
        if (st == IG_OK) st = set_calls(m, i, err);
    }
    const char *first = json_string_value(json_object_get(json_array_get(all, 0), "role"));
    if (st == IG_OK && c->system.len && strcmp(first, "system") != 0 &&
        json_array_insert_new(all, 0,
                              json_pack("{s:s,s:s%}", "role", "system", "content", c->system.ptr, c->system.len)) < 0)
        st = no_memory(err);
    if (st != IG_OK) json_decref(all);
    if (st == IG_OK) *out = all;
    return st;
}

/* -------------------------------------------------------------------------------------------- variables */

static ig_status set_tools(const wk_chat *c, const json_t *body, json_t *vars, const char **param, ig_error *err)
{
    const json_t *choice = json_object_get(body, "tool_choice");
    json_t *tools = json_object_get(body, "tools");
    *param = "tools";
    if (!tools || json_is_null(tools) || (json_is_array(tools) && json_array_size(tools) == 0)) return IG_OK;
    if (!json_is_array(tools)) return ig_fail(err, IG_BAD_INPUT, 0, "\"tools\" is no list");
    if (json_is_string(choice) && !strcmp(json_string_value(choice), "none")) return IG_OK;
    if (!wk_chat_knows(c, "tools"))
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "the model's chat template knows no tools; leave them out or use a model made for them");
    return json_object_set(vars, "tools", tools) < 0 ? no_memory(err) : IG_OK;
}

static ig_status set_args(const wk_chat *c, const json_t *body, json_t *vars, const char **param, ig_error *err)
{
    json_t *args = json_object_get(body, "template_args");
    const json_t *reasoning = json_object_get(body, "reasoning");
    *param = "template_args";
    if (args && !json_is_null(args) && !json_is_object(args))
        return ig_fail(err, IG_BAD_INPUT, 0, "\"template_args\" is no object");
    if (json_is_object(args) && json_object_update_missing(vars, args) < 0) return no_memory(err);
    *param = "reasoning";
    if (json_is_true(reasoning) && !c->thinks)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "\"reasoning\" is asked for, but the model's chat template knows no reasoning; "
                       "leave it out or use a "
                       "model made for it");
    if (json_is_boolean(reasoning)) {
        json_object_set_new(vars, "enable_thinking", json_boolean(json_is_true(reasoning)));
        json_object_set_new(vars, "thinking", json_boolean(json_is_true(reasoning)));
    }
    return IG_OK;
}

/* -------------------------------------------------------------------------------------------- rendering */

static ig_status render_json(const wk_chat *c, ig_str json, const char *now, ig_buf *out, wk_veils *veils,
                             ig_error *err)
{
    ig_arena arena = {.max_bytes = ARENA_BYTES_MAX};
    ig_template_result result = {0};
    ig_template_options o = {.now = now};
    ig_tval file, vars;
    const char *ignored;
    char mark[4] = "";
    ig_status st = ig_tv_from_json(&arena, json.ptr, json.len, &file, err);
    if (st == IG_OK) st = ig_template_variables(&arena, file, &vars, &ignored, err);
    if (st == IG_OK) st = ig_guard_variables(c->model, c->source, &arena, &vars, mark, err);
    if (st == IG_OK && (!ig_tv_put(&arena, vars, IG_STR("bos_token"), ig_tv_text(&arena, c->bos)) ||
                        !ig_tv_put(&arena, vars, IG_STR("eos_token"), ig_tv_text(&arena, c->eos))))
        st = no_memory(err);
    if (st == IG_OK) st = ig_template_render(c->t, vars, &o, &result, err);
    if (st == IG_OK) st = ig_guard_lift(&result.text, mark, &veils->at, &veils->n, err);
    if (st == IG_OK && !ig_buf_add(out, result.text.ptr, result.text.len) && result.text.len) st = no_memory(err);
    ig_template_result_fini(&result);
    ig_arena_fini(&arena);
    return st;
}

static ig_status render(const wk_chat *c, json_t *vars, ig_buf *out, wk_veils *veils, ig_error *err)
{
    char now[32];
    time_t t = time(NULL);
    struct tm local;
    if (!localtime_r(&t, &local) || !strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%S", &local)) now[0] = 0;
    char *json = json_dumps(vars, JSON_COMPACT);
    if (!json) return no_memory(err);
    ig_status st = render_json(c, ig_str_from(json), now[0] ? now : NULL, out, veils, err);
    free(json);
    return st;
}

/* The text of a conversation whose last message is only begun ends where that message's content ends. */
static ig_status cut_behind(ig_buf *out, ig_str last, ig_error *err)
{
    while (last.len && strchr(" \n\r\t", last.ptr[last.len - 1])) last.len--;
    size_t at = out->len >= last.len ? out->len - last.len + 1 : 0;
    while (at && memcmp(out->ptr + at - 1, last.ptr, last.len) != 0) at--;
    if (at == 0)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "the chat template does not write the last message out as it is, so it cannot be continued");
    out->len = at - 1 + last.len;
    return IG_OK;
}

static ig_status render_all(const wk_chat *c, json_t *messages, const json_t *body, bool add_prompt, ig_buf *out,
                            wk_veils *veils, const char **param, ig_error *err)
{
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    bool begun = json_is_true(json_object_get(body, "continue_last"));
    ig_str text = {json_string_value(json_object_get(last, "content")),
                   json_string_length(json_object_get(last, "content"))};
    if (begun && strcmp(json_string_value(json_object_get(last, "role")), "assistant") != 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "the last message is not the assistant's, so it cannot be continued");
    bool cut = begun && text.len;
    if (begun && !cut) {
        json_array_remove(messages, json_array_size(messages) - 1);
        add_prompt = true;
    }
    json_t *vars = json_pack("{s:O,s:b}", "messages", messages, "add_generation_prompt", add_prompt && !cut);
    ig_status st = vars ? set_tools(c, body, vars, param, err) : no_memory(err);
    if (st == IG_OK) st = set_args(c, body, vars, param, err);
    if (st == IG_OK) *param = "messages";
    if (st == IG_OK) st = render(c, vars, out, veils, err);
    if (st == IG_OK && cut) st = cut_behind(out, text, err);
    while (veils->n && veils->at[veils->n - 1] >= out->len) veils->n--;
    json_decref(vars);
    return st;
}

ig_status wk_chat_render(const wk_chat *c, const json_t *body, bool add_prompt, ig_buf *out, wk_veils *veils,
                         const char **param, ig_error *err)
{
    json_t *messages;
    *param = "messages";
    *veils = (wk_veils){0};
    IG_TRY(read_messages(c, body, &messages, err));
    ig_status st = render_all(c, messages, body, add_prompt, out, veils, param, err);
    json_decref(messages);
    return st;
}
