/* Tools, messages, prompts: pieces of requests that several dialects share, checked and brought to the internal form.
 */
#include <stdio.h>
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

enum { TOOLS_MAX = 1024, TOOL_NAME_BYTES_MAX = 256, CALLS_MAX = 256 };

/* ------------------------------------------------------------------------------------------------ tools */

static bool good_name(const json_t *v)
{
    size_t n = json_string_length(v);
    return json_is_string(v) && n > 0 && n <= TOOL_NAME_BYTES_MAX && strlen(json_string_value(v)) == n;
}

bool ig_add_tool(ig_parse *p, const char *at, json_t *name, json_t *description, json_t *parameters, json_t *strict,
                 json_t *tools)
{
    if (json_is_null(description)) description = NULL;
    if (json_is_null(parameters)) parameters = NULL;
    if (!json_is_boolean(strict)) strict = NULL;
    if (!good_name(name))
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s needs a name of 1 to %d bytes", at, TOOL_NAME_BYTES_MAX);
    if (description && !json_is_string(description))
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "the description of %s must be a string", at);
    if (parameters && !json_is_object(parameters))
        return ig_refuse(p, IG_P_BAD_SCHEMA, at, "the parameters of %s must be a JSON Schema, that is an object", at);
    if (json_array_size(tools) >= TOOLS_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, "tools", "there are more than %d tools; send fewer", TOOLS_MAX);
    json_t *tool = json_pack("{s:s, s:{s:O, s:O*, s:O*, s:O*}}", "type", "function", "function", "name", name,
                             "description", description, "parameters", parameters, "strict", strict);
    return json_array_append_new(tools, tool) == 0 || ig_no_memory(p);
}

static const char *tool_name(const json_t *tool)
{
    const char *name = json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
    return name ? name : "";
}

static bool has_tool(const json_t *tools, const char *name)
{
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (!strcmp(tool_name(json_array_get(tools, i)), name)) return true;
    return false;
}

bool ig_allow_tools(ig_parse *p, json_t *tools, json_t *allowed)
{
    if (!json_is_array(allowed) || json_array_size(allowed) == 0)
        return ig_refuse(p, IG_P_BAD_REQUEST, "tool_choice", "tool_choice.tools must list the allowed tools");
    for (size_t i = json_array_size(tools); i-- > 0;) {
        bool keep = false;
        for (size_t k = 0; k < json_array_size(allowed) && !keep; k++) {
            json_t *entry = json_array_get(allowed, k), *nested = json_object_get(entry, "function");
            const char *name = json_string_value(json_object_get(nested ? nested : entry, "name"));
            keep = name && !strcmp(name, tool_name(json_array_get(tools, i)));
        }
        if (!keep) (void)json_array_remove(tools, i);
    }
    return true;
}

/* Both are taken over. */
bool ig_set_tools(ig_parse *p, json_t *tools, json_t *choice)
{
    const char *name = json_string_value(json_object_get(choice, "name")), *mode = json_string_value(choice);
    const bool forced = name || (mode && !strcmp(mode, "required"));
    bool good = true;
    if (forced && json_array_size(tools) == 0)
        good = ig_refuse(p, IG_P_BAD_REQUEST, "tool_choice",
                         "tool_choice asks for a tool but tools is empty; send the tools too");
    else if (name && !has_tool(tools, name))
        good = ig_refuse(p, IG_P_BAD_REQUEST, "tool_choice", "tool_choice names a tool that is not in tools");
    if (!good || json_array_size(tools) == 0) {
        json_decref(tools);
        json_decref(choice);
        return good;
    }
    if (!choice) choice = json_string("auto");
    const bool set = ig_set(p, "tools", tools);
    return ig_set(p, "tool_choice", choice) && set;
}

static bool read_chat_tool(ig_parse *p, const char *key, size_t i, json_t *tool, bool legacy, json_t *tools)
{
    char at[64];
    (void)snprintf(at, sizeof at, "%s[%zu]", key, i);
    json_t *f = legacy ? tool : json_object_get(tool, "function");
    const char *type = json_string_value(json_object_get(tool, "type"));
    if (!legacy && type && strcmp(type, "function") != 0) {
        ig_ignore(p, at, " (not a function)");
        return true;
    }
    if (!json_is_object(f))
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s must be {\"type\":\"function\",\"function\":{…}}", at);
    return ig_add_tool(p, at, json_object_get(f, "name"), json_object_get(f, "description"),
                       json_object_get(f, "parameters"), json_object_get(f, "strict"), tools);
}

/* tool_choice and the older function_call; *out is new, NULL without. */
static bool read_chat_choice(ig_parse *p, json_t *tools, json_t **out)
{
    json_t *v = ig_get(p, "tool_choice"), *old = ig_get(p, "function_call");
    const char *mode = json_string_value(v ? v : old);
    *out = NULL;
    if (!v && !old) return true;
    if (mode) {
        if (strcmp(mode, "auto") != 0 && strcmp(mode, "none") != 0 && strcmp(mode, "required") != 0)
            return ig_refuse(
                p, IG_P_BAD_REQUEST, "tool_choice",
                "tool_choice must be auto, none, required or {\"type\":\"function\",\"function\":{\"name\":…}}");
        *out = json_string(mode);
        return *out || ig_no_memory(p);
    }
    const char *type = json_string_value(json_object_get(v, "type"));
    if (type && !strcmp(type, "allowed_tools")) {
        json_t *allowed = json_object_get(v, "allowed_tools");
        const char *allowed_mode = json_string_value(json_object_get(allowed, "mode"));
        if (!ig_allow_tools(p, tools, json_object_get(allowed, "tools"))) return false;
        *out = json_string(allowed_mode && !strcmp(allowed_mode, "required") ? "required" : "auto");
        return *out || ig_no_memory(p);
    }
    json_t *name = json_object_get(v ? json_object_get(v, "function") : old, "name");
    if (!good_name(name))
        return ig_refuse(
            p, IG_P_BAD_REQUEST, "tool_choice",
            "tool_choice must be auto, none, required or {\"type\":\"function\",\"function\":{\"name\":…}}");
    *out = json_pack("{s:O}", "name", name);
    return *out || ig_no_memory(p);
}

bool ig_read_chat_tools(ig_parse *p)
{
    json_t *tools = json_array(), *choice = NULL, *tool;
    size_t i;
    bool good = tools != NULL;
    static const char *const keys[] = {"tools", "functions"};
    for (size_t k = 0; k < 2 && good; k++) {
        json_t *list = ig_get(p, keys[k]);
        if (list && !json_is_array(list)) good = ig_refuse(p, IG_P_BAD_REQUEST, keys[k], "%s must be a list", keys[k]);
        json_array_foreach(list, i, tool) good = good && read_chat_tool(p, keys[k], i, tool, k == 1, tools);
    }
    good = good && read_chat_choice(p, tools, &choice);
    if (good) return ig_set_tools(p, tools, choice);
    json_decref(tools);
    json_decref(choice);
    return false;
}

/* ------------------------------------------------------------------------------------------------ messages */

bool ig_refuse_media(ig_parse *p, const char *at, const char *what)
{
    return ig_refuse(p, IG_P_UNSUPPORTED, at, "%s is %s: this server answers text alone; send only text parts", at,
                     what);
}

/* A part of a content; text is appended to buf. */
static bool read_part(ig_parse *p, const char *at, json_t *part, ig_buf *buf)
{
    static const struct {
        const char *type, *key; /* key NULL: refused */
    } rows[] = {{"text", "text"},    {"input_text", "text"}, {"output_text", "text"}, {"refusal", "refusal"},
                {"image_url", NULL}, {"image", NULL},        {"input_image", NULL},   {"input_audio", NULL},
                {"file", NULL},      {"input_file", NULL},   {"document", NULL},      {"video_url", NULL}};
    const char *type = json_string_value(json_object_get(part, "type"));
    for (size_t i = 0; type && i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(type, rows[i].type) != 0) continue;
        if (!rows[i].key) return ig_refuse_media(p, at, "a picture, sound or file");
        json_t *text = json_object_get(part, rows[i].key);
        if (!json_is_string(text)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s.%s must be a string", at, rows[i].key);
        return ig_buf_add(buf, json_string_value(text), json_string_length(text)) || ig_no_memory(p);
    }
    return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s must be a part {\"type\":\"text\",\"text\":…}", at);
}

bool ig_read_content(ig_parse *p, const char *at, json_t *content, json_t **out)
{
    *out = NULL;
    if (!content || json_is_null(content)) *out = json_string("");
    if (json_is_string(content)) *out = json_incref(content);
    if (*out) return true;
    if (!json_is_array(content))
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s must be a string or a list of parts", at);
    ig_buf buf;
    char where[96];
    bool good = true;
    ig_buf_init(&buf, IG_BODY_BYTES_MAX);
    for (size_t i = 0; i < json_array_size(content) && good; i++) {
        (void)snprintf(where, sizeof where, "%.60s[%zu]", at, i);
        good = read_part(p, where, json_array_get(content, i), &buf);
    }
    if (good) *out = ig_out_text(&buf);
    ig_buf_fini(&buf);
    return good && (*out || ig_no_memory(p));
}

/* Arguments as the string of JSON that the internal form wants; new. */
static json_t *arguments_text(json_t *arguments)
{
    if (json_is_string(arguments)) return json_incref(arguments);
    ig_buf buf;
    ig_buf_init(&buf, IG_BODY_BYTES_MAX);
    ig_json_write(arguments, &buf);
    json_t *text = buf.failed ? NULL : ig_out_text(&buf);
    ig_buf_fini(&buf);
    return text;
}

bool ig_add_call(ig_parse *p, const char *at, json_t *id, json_t *name, json_t *arguments, json_t *calls)
{
    json_t *empty = NULL, *fresh = NULL;
    if (!good_name(name)) return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s needs the name of a function", at);
    if (!arguments || json_is_null(arguments)) arguments = empty = json_object();
    if (!json_is_string(arguments) && !json_is_object(arguments))
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "the arguments of %s must be an object or its JSON text", at);
    if (json_array_size(calls) >= CALLS_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, at, "a message has more than %d tool calls", CALLS_MAX);
    if (!json_is_string(id)) id = fresh = json_sprintf("call_%zu", json_array_size(calls));
    json_t *call = json_pack("{s:O, s:s, s:{s:O, s:o}}", "id", id, "type", "function", "function", "name", name,
                             "arguments", arguments_text(arguments));
    json_decref(empty);
    json_decref(fresh);
    return json_array_append_new(calls, call) == 0 || ig_no_memory(p);
}

bool ig_add_message(ig_parse *p, json_t *messages, const char *role, json_t *content, json_t *reasoning, json_t *calls,
                    json_t *call_id, json_t *name)
{
    json_t *m = json_pack("{s:s, s:o, s:o*, s:o*, s:o*, s:o*}", "role", role, "content", content, "reasoning_content",
                          reasoning, "tool_calls", calls, "tool_call_id", call_id, "name", name);
    return json_array_append_new(messages, m) == 0 || ig_no_memory(p);
}

/* ------------------------------------------------------------------------------------------------ parts */

bool ig_add_part(ig_parse *p, const char *op)
{
    json_t *part = json_pack("{s:s}", "op", op);
    if (!part || json_object_update(part, p->to) != 0) {
        json_decref(part);
        return ig_no_memory(p);
    }
    return json_array_append_new(p->req->parts, part) == 0 || ig_no_memory(p);
}

bool ig_add_generate(ig_parse *p, const char *kind)
{
    static const struct {
        const char *sampler, *name;
        double neutral;
    } off[] = {{"top_k", "top_k", 0},
               {"top_p", "top_p", 1},
               {"min_p", "min_p", 0},
               {"temperature", "temperature", 1},
               {"penalties", "repeat_penalty", 1},
               {"penalties", "presence_penalty", 0},
               {"penalties", "frequency_penalty", 0}};
    const json_t *grammar = json_object_get(p->to, "grammar"), *names = json_object_get(p->req->echo, "samplers_off");
    if (grammar && json_string_length(grammar) == 0) (void)json_object_del(p->to, "grammar");
    const bool grammar_left = json_object_get(p->to, "grammar") != NULL;
    const bool schema = json_object_get(p->to, "json_schema") != NULL;
    if (grammar_left && (schema || json_object_get(p->to, "json_object")))
        return ig_refuse(p, IG_P_BAD_REQUEST, "grammar",
                         "grammar and a JSON format exclude each other; send one of them");
    for (size_t i = 0; i < json_array_size(names); i++)
        for (size_t k = 0; k < sizeof off / sizeof *off; k++)
            if (!strcmp(json_string_value(json_array_get(names, i)), off[k].sampler) &&
                !ig_set(p, off[k].name, k == 0 ? json_integer(0) : json_real(off[k].neutral)))
                return false;
    if (p->req->n > 1 && !ig_set(p, "n", json_integer(p->req->n))) return false;
    return ig_set(p, "kind", json_string(kind)) && ig_add_part(p, "generate");
}

bool ig_add_count(ig_parse *p)
{
    static const char *const keys[] = {"messages",      "tools",     "tool_choice",
                                       "template_args", "reasoning", "continue_last"};
    json_t *part = json_pack("{s:s, s:b, s:b}", "op", "template", "count", 1, "add_generation_prompt", 1);
    for (size_t i = 0; part && i < sizeof keys / sizeof *keys; i++) {
        json_t *v = json_object_get(p->to, keys[i]);
        if (v && json_object_set(part, keys[i], v) != 0) return json_decref(part), ig_no_memory(p);
    }
    return json_array_append_new(p->req->parts, part) == 0 || ig_no_memory(p);
}

static bool is_ids(const json_t *v)
{
    int64_t id;
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!ig_whole(json_array_get(v, i), &id) || id < 0 || id > INT32_MAX) return false;
    return json_array_size(v) > 0;
}

/* Ids and texts in one list are one prompt, as llama-server has it. */
static bool is_mixed(const ig_parse *p, const json_t *v)
{
    if (p->req->route->dialect != IG_D_EDITOR) return false;
    size_t n_ids = 0, n_texts = 0;
    int64_t id;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *one = json_array_get(v, i);
        const bool is_id = ig_whole(one, &id) && id >= 0 && id <= INT32_MAX;
        if (!is_id && !json_is_string(one)) return false;
        n_ids += is_id;
        n_texts += !is_id;
    }
    return n_ids && n_texts;
}

bool ig_read_prompt(ig_parse *p, const char *at, json_t *v, json_t **out)
{
    *out = NULL;
    if (json_is_string(v) || is_ids(v) || is_mixed(p, v)) {
        *out = json_incref(v);
        return true;
    }
    if (json_is_object(v) && json_object_get(v, "multimodal_data")) return ig_refuse_media(p, at, "a picture or sound");
    if (json_is_object(v) && json_is_string(json_object_get(v, "prompt_string"))) {
        *out = json_incref(json_object_get(v, "prompt_string"));
        return true;
    }
    return ig_refuse(p, IG_P_BAD_REQUEST, at, "%s must be a text or a list of token ids, all of them from 0", at);
}

/* A list of ids, or a list whose members are prompts? */
static bool is_list_of_prompts(const ig_parse *p, const json_t *v)
{
    const json_t *first = json_array_get(v, 0);
    return json_is_array(v) && first && !json_is_number(first) && !is_mixed(p, v);
}

bool ig_add_prompts(ig_parse *p, json_t *prompt)
{
    char at[32] = "prompt";
    const bool list = is_list_of_prompts(p, prompt);
    const size_t n = list ? json_array_size(prompt) : 1;
    if (n * p->req->n > IG_CHOICES_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, "prompt",
                         "%zu prompts with n %u are more than %u answers; send several requests", n, p->req->n,
                         IG_CHOICES_MAX);
    for (size_t i = 0; i < n; i++) {
        json_t *one;
        if (list) (void)snprintf(at, sizeof at, "prompt[%zu]", i);
        if (!ig_read_prompt(p, at, list ? json_array_get(prompt, i) : prompt, &one)) return false;
        if (!ig_set(p, "prompt", one) || !ig_add_generate(p, "text")) return false;
    }
    return true;
}

bool ig_read_inputs(ig_parse *p, const char *name, json_t *v)
{
    char at[64];
    const bool list = is_list_of_prompts(p, v) || (json_is_array(v) && json_array_size(v) == 0);
    json_t *inputs = json_array(), *one;
    bool good = inputs != NULL;
    (void)snprintf(at, sizeof at, "%.40s", name);
    for (size_t i = 0; good && i < (list ? json_array_size(v) : 1); i++) {
        if (list) (void)snprintf(at, sizeof at, "%.40s[%zu]", name, i);
        good = ig_read_prompt(p, at, list ? json_array_get(v, i) : v, &one);
        if (good) good = json_array_append_new(inputs, one) == 0 || ig_no_memory(p);
    }
    if (good) return ig_set(p, "inputs", inputs);
    json_decref(inputs);
    return false;
}
