/* POST /v1/messages and count_tokens: requests of the Anthropic dialect. Blocks become the internal form of messages:
 * a turn with tool results becomes tool messages, a turn with tool uses an assistant message with calls. */
#include <stdio.h>
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

/* Put before the ids of calls on their way out and taken off on the way in, so that a model sees its own ids again. */
#define CALL_PREFIX "toolu_"

/* ------------------------------------------------------------------------------------------------ parameters */

static bool read_thinking(ig_parse *p, const char *name, json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    if (json_object_get(v, "budget_tokens")) ig_ignore(p, "thinking.", "budget_tokens");
    if (type && !strcmp(type, "adaptive")) return true; /* as the template does */
    if (type && !strcmp(type, "enabled")) return ig_set(p, "reasoning", json_true());
    if (type && !strcmp(type, "disabled")) return ig_set(p, "reasoning", json_false());
    return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s.type must be enabled, adaptive or disabled", name);
}

static bool read_output_format(ig_parse *p, const char *name, json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    if (!type || strcmp(type, "json_schema") != 0)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s.type must be json_schema", name);
    json_t *schema = json_object_get(v, "schema");
    if (!schema) return ig_refuse(p, IG_P_BAD_SCHEMA, name, "%s needs a schema", name);
    return ig_read_json_schema(p, "output_config.format.schema", schema);
}

static bool read_output_config(ig_parse *p, const char *name, json_t *v)
{
    if (!json_is_object(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object", name);
    json_t *effort = json_object_get(v, "effort"), *format = json_object_get(v, "format");
    if (effort && !json_is_null(effort) && !ig_read_effort(p, "output_config.effort", effort)) return false;
    return !format || json_is_null(format) || read_output_format(p, "output_config.format", format);
}

static const ig_param own_params[] = {
    {"max_tokens", IG_K_LATER, NULL, 0, 0, NULL},
    {"messages", IG_K_LATER, NULL, 0, 0, NULL},
    {"system", IG_K_LATER, NULL, 0, 0, NULL},
    {"tools", IG_K_LATER, NULL, 0, 0, NULL},
    {"tool_choice", IG_K_LATER, NULL, 0, 0, NULL},
    {"stream", IG_K_READ, NULL, 0, 0, ig_read_stream},
    {"temperature", IG_K_NUMBER, NULL, 0, 1, NULL},
    {"stop_sequences", IG_K_READ, NULL, 0, 0, ig_read_stop},
    {"thinking", IG_K_READ, NULL, 0, 0, read_thinking},
    {"output_config", IG_K_READ, NULL, 0, 0, read_output_config},
    {"output_format", IG_K_READ, NULL, 0, 0, read_output_format},
    {"options", IG_K_READ, NULL, 0, 0, ig_read_options},
    {"cache_control", IG_K_QUIET, NULL, 0, 0, NULL},
    {"metadata", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"service_tier", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"container", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"speed", IG_K_IGNORE, NULL, 0, 0, NULL},
    {0},
};

/* ------------------------------------------------------------------------------------------------ tools */

static bool read_tool(ig_parse *p, size_t i, json_t *tool, json_t *tools)
{
    char at[40], note[80];
    const char *type = json_string_value(json_object_get(tool, "type"));
    (void)snprintf(at, sizeof at, "tools[%zu]", i);
    if (!json_is_object(tool)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s must be an object", at);
    if (type && strcmp(type, "custom") != 0) { /* runs in the vendor's own service */
        (void)snprintf(note, sizeof note, " (%.48s)", type);
        ig_ignore(p, at, note);
        return true;
    }
    if (!json_object_get(tool, "input_schema"))
        return ig_refuse(p, IG_P_BAD_SCHEMA, at, "%s needs an input_schema", at);
    return ig_add_tool(p, at, json_object_get(tool, "name"), json_object_get(tool, "description"),
                       json_object_get(tool, "input_schema"), json_object_get(tool, "strict"), tools);
}

/* *out: new, NULL without. */
static bool read_choice(ig_parse *p, json_t **out)
{
    static const char *const modes[][2] = {{"auto", "auto"}, {"any", "required"}, {"none", "none"}};
    json_t *v = ig_get(p, "tool_choice"), *name = json_object_get(v, "name");
    const char *type = json_string_value(json_object_get(v, "type"));
    *out = NULL;
    if (!v) return true;
    if (json_is_true(json_object_get(v, "disable_parallel_tool_use")) &&
        !ig_set(p, "parallel_tool_calls", json_false()))
        return false;
    for (size_t i = 0; type && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(type, modes[i][0])) *out = json_string(modes[i][1]);
    if (type && !strcmp(type, "tool") && json_is_string(name)) *out = json_pack("{s:O}", "name", name);
    return *out || ig_refuse(p, IG_P_BAD_REQUEST, "tool_choice",
                             "tool_choice.type must be auto, any, none, or tool with the name of a tool");
}

static bool read_tools(ig_parse *p)
{
    json_t *list = ig_get(p, "tools"), *tools = json_array(), *choice = NULL, *tool;
    size_t i;
    bool good = tools != NULL;
    if (list && !json_is_array(list)) good = ig_refuse(p, IG_P_BAD_REQUEST, "tools", "tools must be a list");
    json_array_foreach(list, i, tool) good = good && read_tool(p, i, tool, tools);
    if (good && read_choice(p, &choice)) return ig_set_tools(p, tools, choice);
    json_decref(tools);
    json_decref(choice);
    return false;
}

/* ------------------------------------------------------------------------------------------------ blocks */

/* One turn while its blocks are read. */
typedef struct turn {
    json_t *messages; /* borrowed: where finished ones go */
    const char *role;
    ig_buf text, thoughts;
    json_t *calls;       /* owned, NULL without */
    const char *between; /* what stands between blocks of text */
    bool any;            /* has had a block of text */
} turn;

static bool add_text(ig_parse *p, ig_buf *buf, const char *between, const json_t *text)
{
    if (buf->len && between[0]) (void)ig_buf_add(buf, between, strlen(between));
    return ig_buf_add(buf, json_string_value(text), json_string_length(text)) || ig_no_memory(p);
}

/* The text so far becomes a message. */
static bool flush(ig_parse *p, turn *t)
{
    if (!t->any && !t->calls && !t->thoughts.len) return true;
    json_t *content = ig_out_text(&t->text), *thoughts = t->thoughts.len ? ig_out_text(&t->thoughts) : NULL;
    json_t *calls = t->calls;
    t->calls = NULL;
    t->any = false;
    t->text.len = t->thoughts.len = 0;
    return ig_add_message(p, t->messages, t->role, content, thoughts, calls, NULL, NULL);
}

/* An id as the model wrote it; new. */
static json_t *own_id(const json_t *id)
{
    const char *s = json_string_value(id);
    const size_t n = sizeof CALL_PREFIX - 1;
    if (!s) return NULL;
    const bool ours = !strncmp(s, CALL_PREFIX, n) && s[n];
    return ours ? json_stringn(s + n, json_string_length(id) - n) : json_string(s);
}

static bool block_text(ig_parse *p, const char *at, json_t *b, turn *t)
{
    json_t *text = json_object_get(b, "text");
    if (!json_is_string(text)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.text must be a string", at);
    t->any = true;
    return add_text(p, &t->text, t->between, text);
}

static bool block_use(ig_parse *p, const char *at, json_t *b, turn *t)
{
    if (strcmp(t->role, "assistant") != 0)
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s: tool_use belongs into a turn of the assistant", at);
    if (!t->calls && !(t->calls = json_array())) return ig_no_memory(p);
    json_t *id = own_id(json_object_get(b, "id"));
    bool good = ig_add_call(p, at, id, json_object_get(b, "name"), json_object_get(b, "input"), t->calls);
    json_decref(id);
    return good;
}

/* Text of a tool's result: a string, or blocks of text. */
static bool block_result(ig_parse *p, const char *at, json_t *b, turn *t)
{
    json_t *content, *id = json_object_get(b, "tool_use_id");
    if (strcmp(t->role, "user") != 0)
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s: tool_result belongs into a turn of the user", at);
    if (!json_is_string(id)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.tool_use_id must be a string", at);
    if (!flush(p, t) || !ig_read_content(p, at, json_object_get(b, "content"), &content)) return false;
    if (json_is_true(json_object_get(b, "is_error"))) ig_ignore(p, "tool_result.", "is_error");
    return ig_add_message(p, t->messages, "tool", content, NULL, NULL, own_id(id), NULL);
}

static bool block_thinking(ig_parse *p, const char *at, json_t *b, turn *t)
{
    json_t *text = json_object_get(b, "thinking");
    if (!json_is_string(text)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.thinking must be a string", at);
    return add_text(p, &t->thoughts, "\n", text);
}

static bool block_redacted(ig_parse *p, const char *at, json_t *b, turn *t)
{
    (void)at, (void)b, (void)t;
    ig_ignore(p, "", "redacted_thinking");
    return true;
}

static bool block_search(ig_parse *p, const char *at, json_t *b, turn *t)
{
    json_t *title = json_object_get(b, "title"), *source = json_object_get(b, "source"), *content = NULL;
    t->any = true;
    if (json_is_string(title) && !add_text(p, &t->text, t->between, title)) return false;
    if (json_is_string(source) && !add_text(p, &t->text, "\n", source)) return false;
    bool good = ig_read_content(p, at, json_object_get(b, "content"), &content) && add_text(p, &t->text, "\n", content);
    json_decref(content);
    return good;
}

/* Documents of plain text are text; others would need an eye. */
static bool block_document(ig_parse *p, const char *at, json_t *b, turn *t)
{
    json_t *source = json_object_get(b, "source"), *data = json_object_get(source, "data"), *content = NULL;
    const char *type = json_string_value(json_object_get(source, "type"));
    t->any = true;
    if (type && !strcmp(type, "text") && json_is_string(data)) return add_text(p, &t->text, t->between, data);
    if (!type || strcmp(type, "content") != 0) return ig_refuse_media(p, at, "a document that is no plain text");
    bool good = ig_read_content(p, at, json_object_get(source, "content"), &content) &&
                add_text(p, &t->text, t->between, content);
    json_decref(content);
    return good;
}

static bool block_media(ig_parse *p, const char *at, json_t *b, turn *t)
{
    (void)b, (void)t;
    return ig_refuse_media(p, at, "a picture");
}

static bool read_block(ig_parse *p, const char *at, json_t *b, turn *t)
{
    static const struct {
        const char *type;
        bool (*read)(ig_parse *, const char *, json_t *, turn *);
    } rows[] = {{"text", block_text},         {"tool_use", block_use},        {"tool_result", block_result},
                {"thinking", block_thinking}, {"image", block_media},         {"redacted_thinking", block_redacted},
                {"document", block_document}, {"search_result", block_search}};
    const char *type = json_string_value(json_object_get(b, "type"));
    for (size_t i = 0; type && i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(type, rows[i].type)) return rows[i].read(p, at, b, t);
    return ig_refuse(p, IG_P_UNSUPPORTED, at,
                     "%s is of a type that is not known here; send text, tool_use, tool_result or thinking", at);
}

static bool read_blocks(ig_parse *p, const char *at, json_t *content, turn *t)
{
    char where[96];
    if (json_is_string(content)) {
        t->any = true;
        return add_text(p, &t->text, t->between, content);
    }
    if (!json_is_array(content))
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s must be a string or a list of blocks", at);
    for (size_t i = 0; i < json_array_size(content); i++) {
        (void)snprintf(where, sizeof where, "%.60s[%zu]", at, i);
        if (!read_block(p, where, json_array_get(content, i), t)) return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ messages */

/* A line that an agent puts first and that differs in every request: it would spoil the prefix cache. */
static bool is_volatile(const json_t *text)
{
    static const char mark[] = "x-anthropic-billing-header:";
    const char *s = json_string_value(text);
    return s && !strncmp(s, mark, sizeof mark - 1);
}

static bool read_system(ig_parse *p, turn *t)
{
    json_t *system = ig_get(p, "system"), *block;
    size_t i;
    t->role = "system";
    t->between = "\n";
    if (!system) return true;
    if (!json_is_array(system)) return read_blocks(p, "system", system, t);
    json_array_foreach(system, i, block)
    {
        char at[40];
        (void)snprintf(at, sizeof at, "system[%zu]", i);
        if (is_volatile(json_object_get(block, "text")))
            ig_ignore(p, at, " (billing header)");
        else if (!read_block(p, at, block, t))
            return false;
    }
    return true;
}

/* Turns of one role that follow each other are one turn. */
static bool read_turn(ig_parse *p, size_t i, json_t *m, turn *t)
{
    static const char *const roles[] = {"user", "assistant", "system"};
    char at[48];
    const char *role = NULL, *given = json_string_value(json_object_get(m, "role"));
    (void)snprintf(at, sizeof at, "messages[%zu].role", i);
    for (size_t k = 0; given && k < sizeof roles / sizeof *roles; k++)
        if (!strcmp(given, roles[k])) role = roles[k];
    if (!role) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s must be user or assistant", at);
    if (strcmp(role, t->role) != 0) {
        if (!flush(p, t)) return false;
        t->role = role;
    }
    (void)snprintf(at, sizeof at, "messages[%zu].content", i);
    /* The assistant's text is cut into blocks anywhere, other people's at the ends of their thoughts. */
    t->between = strcmp(role, "assistant") != 0 || t->text.len ? "\n" : "";
    if (t->between[0] && !strcmp(role, "assistant") && t->text.len && json_is_array(json_object_get(m, "content"))) {
        if (!ig_buf_add(&t->text, "\n", 1)) return ig_no_memory(p);
        t->between = "";
    }
    return read_blocks(p, at, json_object_get(m, "content"), t);
}

static bool read_turns(ig_parse *p, turn *t)
{
    json_t *list = ig_get(p, "messages"), *m;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return ig_refuse(p, IG_P_BAD_REQUEST, "messages", "messages must be a list with at least one message");
    if (!read_system(p, t)) return false;
    json_array_foreach(list, i, m) if (!read_turn(p, i, m, t)) return false;
    /* A last turn of the assistant is the beginning of the answer. */
    const bool prefill = !strcmp(t->role, "assistant") && !t->calls && t->any;
    return flush(p, t) && (!prefill || ig_set(p, "continue_last", json_true()));
}

static bool read_all(ig_parse *p)
{
    static const ig_param *const tables[] = {own_params, ig_params_sampling, NULL};
    json_t *messages = json_array();
    if (!messages || !ig_set(p, "messages", messages)) return ig_no_memory(p);
    turn t = {.messages = messages, .role = "system", .between = "\n"};
    ig_buf_init(&t.text, IG_BODY_BYTES_MAX * 2);
    ig_buf_init(&t.thoughts, IG_BODY_BYTES_MAX * 2);
    bool good = ig_read_body(p, tables) && read_turns(p, &t);
    ig_buf_fini(&t.text);
    ig_buf_fini(&t.thoughts);
    json_decref(t.calls);
    if (good && json_array_size(messages) == 0)
        good = ig_refuse(p, IG_P_BAD_REQUEST, "messages", "the messages hold no text; send some");
    return good && read_tools(p);
}

bool ig_parse_anthropic(ig_parse *p)
{
    int64_t n;
    json_t *max = ig_get(p, "max_tokens");
    if (!read_all(p)) return false;
    if (!max)
        return ig_refuse(p, IG_P_BAD_REQUEST, "max_tokens", "max_tokens is required: how long may the answer be?");
    if (!ig_whole(max, &n) || n < 1)
        return ig_refuse(p, IG_P_BAD_REQUEST, "max_tokens", "max_tokens must be a whole number from 1");
    if (!p->req->model || !*p->req->model)
        return ig_refuse(p, IG_P_BAD_REQUEST, "model", "model is required: which model should answer?");
    ig_put(&p->req->defaults, "temperature", json_real(1));
    ig_put(&p->req->defaults, "top_p", json_real(1));
    return ig_read_max_tokens(p, "max_tokens", max) && ig_add_generate(p, "chat");
}

bool ig_parse_anthropic_count(ig_parse *p) { return read_all(p) && ig_add_count(p); }
