/* The routes that editor plug-ins know from llama-server: completion, infill, tokens, template, properties, slots. */
#include <stdio.h>
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

enum { FIELDS_MAX = 64, EXTRA_MAX = 4096 };

/* ------------------------------------------------------------------------------------------------ completion */

static bool read_response_fields(ig_parse *p, const char *name, json_t *v)
{
    json_t *one;
    size_t i;
    bool good = json_is_array(v) && json_array_size(v) <= FIELDS_MAX;
    json_array_foreach(v, i, one) good = good && json_is_string(one);
    if (!good) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a list of at most %d names", name, FIELDS_MAX);
    return json_object_set(p->req->echo, "response_fields", v) == 0 || ig_no_memory(p);
}

static bool read_n_probs(ig_parse *p, const char *name, json_t *v)
{
    int64_t n;
    if (!ig_whole(v, &n) || n < 0 || n > 100)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number from 0 to 100", name);
    return n == 0 || ig_set(p, "logprobs", json_integer(n));
}

static const ig_param completion_params[] = {
    {"prompt", IG_K_LATER, NULL, 0, 0, NULL},
    {"input_prefix", IG_K_LATER, NULL, 0, 0, NULL},
    {"input_suffix", IG_K_LATER, NULL, 0, 0, NULL},
    {"input_extra", IG_K_LATER, NULL, 0, 0, NULL},
    {"stream", IG_K_READ, NULL, 0, 0, ig_read_stream},
    {"max_tokens", IG_K_READ, NULL, 0, 0, ig_read_max_tokens},
    {"n_probs", IG_K_READ, NULL, 0, 0, read_n_probs},
    {"n_cmpl", IG_K_READ, NULL, 0, 0, ig_read_n},
    {"n", IG_K_READ, NULL, 0, 0, ig_read_n},
    {"return_tokens", IG_K_BOOL, "return_ids", 0, 0, NULL},
    {"response_fields", IG_K_READ, NULL, 0, 0, read_response_fields},
    {0},
};
static const ig_param *const completion_tables[] = {completion_params, ig_params_sampling, ig_params_llama, NULL};

bool ig_parse_completion(ig_parse *p)
{
    if (!ig_read_body(p, completion_tables)) return false;
    json_t *prompt = ig_get(p, "prompt");
    if (!prompt) return ig_refuse(p, IG_P_BAD_REQUEST, "prompt", "prompt is missing; send a text or token ids");
    return ig_set(p, "parse_special", json_true()) && ig_add_prompts(p, prompt);
}

/* ------------------------------------------------------------------------------------------------ infill */

/* Appends the texts of input_extra: what the editor has seen elsewhere, oldest first. */
static bool add_extra(ig_parse *p, ig_buf *buf)
{
    json_t *list = ig_get(p, "input_extra"), *one;
    size_t i;
    if (!list) return true;
    if (!json_is_array(list) || json_array_size(list) > EXTRA_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, "input_extra", "input_extra must be a list of at most %d pieces",
                         EXTRA_MAX);
    json_array_foreach(list, i, one)
    {
        const json_t *text = json_object_get(one, "text");
        if (!json_is_string(text))
            return ig_refuse(p, IG_P_BAD_REQUEST, "input_extra", "input_extra[%zu].text must be a string", i);
        (void)ig_buf_add(buf, json_string_value(text), json_string_length(text));
        if (!ig_buf_add(buf, "\n", 1)) return ig_no_memory(p);
    }
    return true;
}

/* A member that must be a text; appended where it is there. */
static bool add_text(ig_parse *p, const char *name, bool required, ig_buf *buf)
{
    const json_t *v = ig_get(p, name);
    if (!v && !required) return true;
    if (!json_is_string(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a text", name);
    return ig_buf_add(buf, json_string_value(v), json_string_length(v)) || ig_no_memory(p);
}

/* Extra, prefix and the begun line are what stands before the hole; the worker puts the model's own marks around. */
bool ig_parse_infill(ig_parse *p)
{
    ig_buf before;
    if (!ig_read_body(p, completion_tables)) return false;
    if (!json_is_string(ig_get(p, "input_suffix")))
        return ig_refuse(p, IG_P_BAD_REQUEST, "input_suffix", "input_suffix must be a text");
    ig_buf_init(&before, 2 * IG_BODY_BYTES_MAX);
    bool good = add_extra(p, &before) && add_text(p, "input_prefix", true, &before) &&
                add_text(p, "prompt", false, &before) && ig_set(p, "prompt", ig_out_text(&before));
    ig_buf_fini(&before);
    return good && ig_set(p, "suffix", json_incref(ig_get(p, "input_suffix"))) && ig_add_generate(p, "text");
}

/* ------------------------------------------------------------------------------------------------ queries */

static const ig_param tokenize_params[] = {
    {"model", IG_K_LATER, NULL, 0, 0, NULL},           {"content", IG_K_STRING, "text", 0, 0, NULL},
    {"add_special", IG_K_BOOL, "special", 0, 0, NULL}, {"parse_special", IG_K_BOOL, NULL, 0, 0, NULL},
    {"with_pieces", IG_K_BOOL, "pieces", 0, 0, NULL},  {0},
};

bool ig_parse_tokenize(ig_parse *p)
{
    static const ig_param *const tables[] = {tokenize_params, NULL};
    static const struct {
        const char *name;
        bool value;
    } rows[] = {{"special", false}, {"parse_special", true}, {"pieces", false}};
    if (!ig_read_body(p, tables)) return false;
    if (!json_object_get(p->to, "text") && !ig_set(p, "text", json_string(""))) return false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!json_object_get(p->to, rows[i].name) && !ig_set(p, rows[i].name, json_boolean(rows[i].value)))
            return false;
    return ig_add_part(p, "tokenize");
}

static bool read_ids(ig_parse *p, const char *name, json_t *v)
{
    json_t *one;
    size_t i;
    int64_t id;
    bool good = json_is_array(v);
    json_array_foreach(v, i, one) good = good && ig_whole(one, &id) && id >= 0 && id <= INT32_MAX;
    if (!good) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a list of token ids", name);
    return ig_set(p, "ids", json_incref(v));
}

static const ig_param detokenize_params[] = {
    {"model", IG_K_LATER, NULL, 0, 0, NULL},
    {"tokens", IG_K_READ, NULL, 0, 0, read_ids},
    {"skip_special_tokens", IG_K_BOOL, "skip_special", 0, 0, NULL},
    {"with_bytes", IG_K_BOOL, "bytes", 0, 0, NULL},
    {0},
};

bool ig_parse_detokenize(ig_parse *p)
{
    static const ig_param *const tables[] = {detokenize_params, NULL};
    if (!ig_read_body(p, tables)) return false;
    if (!json_object_get(p->to, "ids") && !ig_set(p, "ids", json_array())) return false;
    return ig_add_part(p, "detokenize");
}

static const ig_param template_params[] = {
    {"model", IG_K_LATER, NULL, 0, 0, NULL},
    {"messages", IG_K_LATER, NULL, 0, 0, NULL},
    {"tools", IG_K_LATER, NULL, 0, 0, NULL},
    {"tool_choice", IG_K_LATER, NULL, 0, 0, NULL},
    {"add_generation_prompt", IG_K_BOOL, NULL, 0, 0, NULL},
    {"continue_final_message", IG_K_BOOL, "continue_last", 0, 0, NULL},
    {"chat_template_kwargs", IG_K_READ, NULL, 0, 0, ig_read_template_args},
    {"reasoning_effort", IG_K_READ, NULL, 0, 0, ig_read_effort},
    {0},
};

bool ig_parse_apply_template(ig_parse *p)
{
    static const ig_param *const tables[] = {template_params, NULL};
    if (!ig_read_body(p, tables) || !ig_read_messages(p) || !ig_read_chat_tools(p)) return false;
    if (!json_object_get(p->to, "add_generation_prompt") && !ig_set(p, "add_generation_prompt", json_true()))
        return false;
    return ig_add_part(p, "template");
}

bool ig_parse_props(ig_parse *p) { return ig_parse_query_model(p) && ig_add_part(p, "props"); }

bool ig_parse_slots(ig_parse *p)
{
    char flag[8];
    const bool given = ig_query_get(p->query, "fail_on_no_slot", flag, sizeof flag);
    if (given && strcmp(flag, "0") != 0) ig_put(&p->req->echo, "fail_on_no_slot", json_true());
    return ig_parse_query_model(p) && ig_add_part(p, "slots");
}
