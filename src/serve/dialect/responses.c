/* POST /v1/responses (stateless) and input_tokens: requests. Items become messages; reasoning, message and
 * function_call items that follow each other are one turn of the assistant. */
#include <stdio.h>
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

/* ------------------------------------------------------------------------------------------------ parameters */

static bool refuse_state(ig_parse *p, const char *name, json_t *v)
{
    if (json_is_false(v)) return true;
    return ig_refuse(p, IG_P_UNSUPPORTED, name, "%s needs stored answers, and none are kept here; send the whole input",
                     name);
}

static bool read_store(ig_parse *p, const char *name, json_t *v)
{
    if (!json_is_boolean(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be true or false", name);
    if (json_is_true(v)) ig_ignore(p, "", name);
    return true;
}

static bool read_reasoning(ig_parse *p, const char *name, json_t *v)
{
    json_t *effort = json_object_get(v, "effort"), *summary = json_object_get(v, "summary");
    if (!json_is_object(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object", name);
    if (summary && !json_is_null(summary) && !json_is_string(summary))
        return ig_refuse(p, IG_P_BAD_REQUEST, "reasoning.summary",
                         "reasoning.summary must be auto, concise or detailed");
    ig_put(&p->req->echo, "reasoning",
           json_pack("{s:O?, s:O?}", "effort", json_is_string(effort) ? effort : NULL, "summary",
                     json_is_string(summary) ? summary : NULL));
    return !effort || json_is_null(effort) || ig_read_effort(p, "reasoning.effort", effort);
}

static bool read_text(ig_parse *p, const char *name, json_t *v)
{
    json_t *format = json_object_get(v, "format"), *schema = json_object_get(format, "schema");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!json_is_object(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object", name);
    if (json_is_string(json_object_get(v, "verbosity"))) ig_ignore(p, "text.", "verbosity");
    if (!format || json_is_null(format)) return true;
    ig_put(&p->req->echo, "text", json_pack("{s:O}", "format", format));
    if (type && !strcmp(type, "text")) return true;
    if (type && !strcmp(type, "json_object")) return ig_set(p, "json_object", json_true());
    if (type && !strcmp(type, "json_schema") && schema) return ig_read_json_schema(p, "text.format.schema", schema);
    if (type && !strcmp(type, "json_schema"))
        return ig_refuse(p, IG_P_BAD_SCHEMA, "text.format.schema", "text.format needs a schema");
    return ig_refuse(p, IG_P_BAD_REQUEST, "text.format", "text.format.type must be text, json_object or json_schema");
}

static bool read_include(ig_parse *p, const char *name, json_t *v)
{
    json_t *one;
    size_t i;
    if (!json_is_array(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a list", name);
    json_array_foreach(v, i, one)
    {
        const char *s = json_string_value(one);
        if (!s) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s[%zu] must be a string", name, i);
        if (!strcmp(s, "reasoning.encrypted_content"))
            ig_put(&p->req->echo, "encrypted", json_true());
        else if (!strcmp(s, "message.output_text.logprobs"))
            ig_put(&p->req->echo, "logprobs", json_true());
        else
            ig_ignore(p, "include.", s);
    }
    return true;
}

static bool read_truncation(ig_parse *p, const char *name, json_t *v)
{
    const char *s = json_string_value(v);
    if (s && !strcmp(s, "disabled")) return true;
    if (!s || strcmp(s, "auto") != 0)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be \"disabled\" or \"auto\"", name);
    return ig_set(p, "truncate", json_true());
}

static bool read_prompt(ig_parse *p, const char *name, json_t *v)
{
    (void)v;
    return ig_refuse(p, IG_P_UNSUPPORTED, name, "%s refers to a stored template; send the text as input", name);
}

static const ig_param own_params[] = {
    {"input", IG_K_LATER, NULL, 0, 0, NULL},
    {"instructions", IG_K_LATER, NULL, 0, 0, NULL},
    {"tools", IG_K_LATER, NULL, 0, 0, NULL},
    {"tool_choice", IG_K_LATER, NULL, 0, 0, NULL},
    {"top_logprobs", IG_K_LATER, NULL, 0, 0, NULL},
    {"max_output_tokens", IG_K_READ, NULL, 0, 0, ig_read_max_tokens},
    {"parallel_tool_calls", IG_K_BOOL, NULL, 0, 0, NULL},
    {"temperature", IG_K_NUMBER, NULL, 0, 2, NULL},
    {"stream", IG_K_READ, NULL, 0, 0, ig_read_stream},
    {"reasoning", IG_K_READ, NULL, 0, 0, read_reasoning},
    {"text", IG_K_READ, NULL, 0, 0, read_text},
    {"include", IG_K_READ, NULL, 0, 0, read_include},
    {"truncation", IG_K_READ, NULL, 0, 0, read_truncation},
    {"store", IG_K_READ, NULL, 0, 0, read_store},
    {"background", IG_K_READ, NULL, 0, 0, refuse_state},
    {"previous_response_id", IG_K_READ, NULL, 0, 0, refuse_state},
    {"conversation", IG_K_READ, NULL, 0, 0, refuse_state},
    {"prompt", IG_K_READ, NULL, 0, 0, read_prompt},
    {"metadata", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"prompt_cache_key", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"user", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"safety_identifier", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"service_tier", IG_K_IGNORE, NULL, 0, 0, NULL},
    {0},
};

/* ------------------------------------------------------------------------------------------------ tools */

static bool read_tool(ig_parse *p, size_t i, json_t *tool, json_t *tools)
{
    char at[40], note[80];
    const char *type = json_string_value(json_object_get(tool, "type"));
    (void)snprintf(at, sizeof at, "tools[%zu]", i);
    if (!type) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.type must be a string", at);
    if (strcmp(type, "function") != 0) {
        (void)snprintf(note, sizeof note, " (%.48s)", type);
        ig_ignore(p, at, note);
        return true;
    }
    return ig_add_tool(p, at, json_object_get(tool, "name"), json_object_get(tool, "description"),
                       json_object_get(tool, "parameters"), json_object_get(tool, "strict"), tools);
}

/* *out: new, NULL without. */
static bool read_choice(ig_parse *p, json_t *tools, json_t **out)
{
    static const char *const modes[] = {"auto", "none", "required"};
    json_t *v = ig_get(p, "tool_choice"), *name = json_object_get(v, "name");
    const char *mode = json_string_value(v), *type = json_string_value(json_object_get(v, "type"));
    *out = NULL;
    if (!v) return true;
    for (size_t i = 0; mode && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(mode, modes[i])) *out = json_string(modes[i]);
    if (type && !strcmp(type, "function") && json_is_string(name)) *out = json_pack("{s:O}", "name", name);
    if (type && !strcmp(type, "allowed_tools")) {
        const char *allowed = json_string_value(json_object_get(v, "mode"));
        if (!ig_allow_tools(p, tools, json_object_get(v, "tools"))) return false;
        *out = json_string(allowed && !strcmp(allowed, "required") ? "required" : "auto");
    }
    return *out || ig_refuse(p, IG_P_BAD_REQUEST, "tool_choice",
                             "tool_choice must be auto, none, required or {\"type\":\"function\",\"name\":…}");
}

static bool read_tools(ig_parse *p)
{
    json_t *list = ig_get(p, "tools"), *tools = json_array(), *choice = NULL, *tool;
    size_t i;
    bool good = tools != NULL;
    if (list && !json_is_array(list)) good = ig_refuse(p, IG_P_BAD_REQUEST, "tools", "tools must be a list");
    json_array_foreach(list, i, tool) good = good && read_tool(p, i, tool, tools);
    if (good && read_choice(p, tools, &choice)) return ig_set_tools(p, tools, choice);
    json_decref(tools);
    json_decref(choice);
    return false;
}

/* ------------------------------------------------------------------------------------------------ items */

/* The assistant's turn as its items come. */
typedef struct turn {
    json_t *messages; /* borrowed */
    ig_buf text, thoughts;
    json_t *calls; /* owned, NULL without */
    bool any;
} turn;

static bool flush(ig_parse *p, turn *t)
{
    if (!t->any && !t->calls && !t->thoughts.len) return true;
    json_t *content = ig_out_text(&t->text), *thoughts = t->thoughts.len ? ig_out_text(&t->thoughts) : NULL;
    json_t *calls = t->calls;
    t->calls = NULL;
    t->any = false;
    t->text.len = t->thoughts.len = 0;
    return ig_add_message(p, t->messages, "assistant", content, thoughts, calls, NULL, NULL);
}

static bool add_text(ig_parse *p, ig_buf *buf, const char *text, size_t n)
{
    if (buf->len && n) (void)ig_buf_add(buf, "\n", 1);
    return ig_buf_add(buf, text, n) || ig_no_memory(p);
}

static bool item_message(ig_parse *p, const char *at, json_t *item, turn *t)
{
    static const char *const roles[][2] = {
        {"user", "user"}, {"system", "system"}, {"developer", "system"}, {"assistant", "assistant"}};
    const char *given = json_string_value(json_object_get(item, "role")), *role = NULL;
    json_t *content;
    for (size_t i = 0; given && i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(given, roles[i][0])) role = roles[i][1];
    if (!role) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.role must be user, assistant, system or developer", at);
    if (!ig_read_content(p, at, json_object_get(item, "content"), &content)) return false;
    if (strcmp(role, "assistant") != 0) {
        if (flush(p, t)) return ig_add_message(p, t->messages, role, content, NULL, NULL, NULL, NULL);
        json_decref(content);
        return false;
    }
    bool good = add_text(p, &t->text, json_string_value(content), json_string_length(content));
    t->any = true;
    json_decref(content);
    return good;
}

static bool item_call(ig_parse *p, const char *at, json_t *item, turn *t)
{
    if (!t->calls && !(t->calls = json_array())) return ig_no_memory(p);
    return ig_add_call(p, at, json_object_get(item, "call_id"), json_object_get(item, "name"),
                       json_object_get(item, "arguments"), t->calls);
}

/* A call with a text instead of arguments, from another server. */
static bool item_custom_call(ig_parse *p, const char *at, json_t *item, turn *t)
{
    json_t *input = json_object_get(item, "input");
    if (!json_is_string(input)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.input must be a string", at);
    if (!t->calls && !(t->calls = json_array())) return ig_no_memory(p);
    json_t *arguments = json_pack("{s:O}", "input", input);
    bool good =
        ig_add_call(p, at, json_object_get(item, "call_id"), json_object_get(item, "name"), arguments, t->calls);
    json_decref(arguments);
    return good;
}

static bool item_output(ig_parse *p, const char *at, json_t *item, turn *t)
{
    json_t *content, *id = json_object_get(item, "call_id");
    if (!json_is_string(id)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.call_id must be a string", at);
    if (!flush(p, t) || !ig_read_content(p, at, json_object_get(item, "output"), &content)) return false;
    return ig_add_message(p, t->messages, "tool", content, NULL, NULL, json_incref(id), NULL);
}

/* Text of [{type,text}] whatever the type; thoughts are not worth a refusal. */
static bool add_parts(ig_parse *p, const json_t *parts, ig_buf *buf)
{
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *text = json_object_get(json_array_get(parts, i), "text");
        if (json_is_string(text) && !add_text(p, buf, json_string_value(text), json_string_length(text))) return false;
    }
    return true;
}

/* The full text where it is there, else ours in encrypted_content, else the summary. */
static bool item_reasoning(ig_parse *p, const char *at, json_t *item, turn *t)
{
    static const char mark[] = IG_THOUGHTS_MARK;
    const json_t *full = json_object_get(item, "content"), *sealed = json_object_get(item, "encrypted_content");
    const size_t n = sizeof mark - 1;
    (void)at;
    if (json_array_size(full)) return add_parts(p, full, &t->thoughts);
    if (json_string_length(sealed) > n && !strncmp(json_string_value(sealed), mark, n))
        return add_text(p, &t->thoughts, json_string_value(sealed) + n, json_string_length(sealed) - n);
    return add_parts(p, json_object_get(item, "summary"), &t->thoughts);
}

static bool item_reference(ig_parse *p, const char *at, json_t *item, turn *t)
{
    (void)item, (void)t;
    return ig_refuse(p, IG_P_UNSUPPORTED, at,
                     "%s refers to a stored item, and none are kept here; send the item itself", at);
}

static bool read_item(ig_parse *p, size_t i, json_t *item, turn *t)
{
    static const struct {
        const char *type;
        bool (*read)(ig_parse *, const char *, json_t *, turn *);
    } rows[] = {{"message", item_message},
                {"function_call", item_call},
                {"function_call_output", item_output},
                {"reasoning", item_reasoning},
                {"custom_tool_call", item_custom_call},
                {"custom_tool_call_output", item_output},
                {"item_reference", item_reference}};
    char at[40], note[80];
    const char *type = json_string_value(json_object_get(item, "type"));
    (void)snprintf(at, sizeof at, "input[%zu]", i);
    if (!type && json_object_get(item, "role")) type = "message";
    if (!type) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s must be an item with a type or a role", at);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        if (!strcmp(type, rows[k].type)) return rows[k].read(p, at, item, t);
    (void)snprintf(note, sizeof note, " (%.48s)", type);
    ig_ignore(p, at, note);
    return true;
}

static bool read_items(ig_parse *p, json_t *input, turn *t)
{
    json_t *item;
    size_t i;
    if (json_is_string(input))
        return ig_add_message(p, t->messages, "user", json_incref(input), NULL, NULL, NULL, NULL);
    if (!json_is_array(input))
        return ig_refuse(p, IG_P_BAD_REQUEST, "input", "input must be a text or a list of items");
    json_array_foreach(input, i, item) if (!read_item(p, i, item, t)) return false;
    return flush(p, t);
}

static bool read_input(ig_parse *p)
{
    json_t *messages = json_array(), *instructions = ig_get(p, "instructions"), *text = NULL;
    if (!messages || !ig_set(p, "messages", messages)) return ig_no_memory(p);
    if (instructions && (!ig_read_content(p, "instructions", instructions, &text) ||
                         !ig_add_message(p, messages, "system", text, NULL, NULL, NULL, NULL)))
        return false;
    turn t = {.messages = messages};
    ig_buf_init(&t.text, IG_BODY_BYTES_MAX * 2);
    ig_buf_init(&t.thoughts, IG_BODY_BYTES_MAX * 2);
    bool good = read_items(p, ig_get(p, "input"), &t);
    ig_buf_fini(&t.text);
    ig_buf_fini(&t.thoughts);
    json_decref(t.calls);
    if (good && json_array_size(messages) == 0)
        good = ig_refuse(p, IG_P_BAD_REQUEST, "input", "input holds no message; send some text");
    return good;
}

static bool read_logprobs(ig_parse *p)
{
    int64_t n = 0;
    json_t *top = ig_get(p, "top_logprobs");
    if (top && (!ig_whole(top, &n) || n < 0 || n > 20))
        return ig_refuse(p, IG_P_BAD_REQUEST, "top_logprobs", "top_logprobs must be a whole number from 0 to 20");
    if (!n && !json_object_get(p->req->echo, "logprobs")) return true;
    ig_put(&p->req->echo, "logprobs", json_true());
    return ig_set(p, "logprobs", json_integer(n));
}

static bool read_all(ig_parse *p)
{
    static const ig_param *const tables[] = {own_params, ig_params_sampling, ig_params_llama, NULL};
    static const char *const echoed[] = {
        "instructions", "metadata", "max_output_tokens", "tools", "tool_choice", "parallel_tool_calls", "truncation"};
    if (!ig_read_body(p, tables) || !read_input(p) || !read_tools(p) || !read_logprobs(p)) return false;
    for (size_t i = 0; i < sizeof echoed / sizeof *echoed; i++) {
        json_t *v = ig_get(p, echoed[i]);
        if (v && json_object_set(p->req->echo, echoed[i], v) != 0) return ig_no_memory(p);
    }
    return true;
}

bool ig_parse_responses(ig_parse *p)
{
    ig_put(&p->req->defaults, "temperature", json_real(1));
    ig_put(&p->req->defaults, "top_p", json_real(1));
    return read_all(p) && ig_add_generate(p, "chat");
}

bool ig_parse_input_tokens(ig_parse *p) { return read_all(p) && ig_add_count(p); }
