/* Requests of the Ollama dialect. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

/* ------------------------------------------------------------------------------------------------ options */

static const ig_param options_params[] = {
    {"num_predict", IG_K_READ, NULL, 0, 0, ig_read_max_tokens},
    {"max_output_tokens", IG_K_READ, NULL, 0, 0, ig_read_max_tokens},
    {"typical_p", IG_K_ONLY, NULL, 1, 0, NULL},
    {"num_keep", IG_K_IGNORE_NUMBER, NULL, 0, 0, NULL},
    {"num_batch", IG_K_IGNORE_NUMBER, NULL, 0, 0, NULL},
    {"num_gpu", IG_K_IGNORE_NUMBER, NULL, 0, 0, NULL},
    {"main_gpu", IG_K_IGNORE_NUMBER, NULL, 0, 0, NULL},
    {"num_thread", IG_K_IGNORE_NUMBER, NULL, 0, 0, NULL},
    {"draft_num_predict", IG_K_IGNORE_NUMBER, NULL, 0, 0, NULL},
    {"use_mmap", IG_K_IGNORE_BOOL, NULL, 0, 0, NULL},
    {0},
};

bool ig_read_options(ig_parse *p, const char *name, json_t *v)
{
    static const ig_param *const tables[] = {options_params, ig_params_sampling, NULL};
    char prefix[40];
    if (!json_is_object(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object", name);
    (void)snprintf(prefix, sizeof prefix, "%.30s.", name);
    return ig_read_params(p, v, prefix, tables);
}

/* Go's durations: signed sequence of numbers with units, "1h30m". Seconds in *out. */
static bool read_duration(const char *s, double *out)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\xC2\xB5s", 1e-6}, {"ms", 1e-3}, {"h", 3600}, {"m", 60}, {"s", 1}};
    const double sign = *s == '-' ? -1 : 1;
    double sum = 0;
    if (*s == '-' || *s == '+') s++;
    if (!*s) return false;
    while (*s) {
        char *end;
        if (!((*s >= '0' && *s <= '9') || *s == '.')) return false;
        double number = strtod(s, &end), unit = 0;
        size_t n = 0;
        for (size_t i = 0; i < sizeof units / sizeof *units && !n; i++)
            if (!strncmp(end, units[i].unit, strlen(units[i].unit))) {
                unit = units[i].seconds;
                n = strlen(units[i].unit);
            }
        if (!n && *end) return false;
        sum += number * (n ? unit : 1); /* a bare number: seconds */
        s = end + n;
    }
    *out = sign * sum;
    return true;
}

bool ig_read_keep_alive(ig_parse *p, const char *name, json_t *v)
{
    double seconds = json_number_value(v);
    const bool good = json_is_string(v) ? read_duration(json_string_value(v), &seconds) : json_is_number(v);
    if (!good || !(fabs(seconds) <= 1e15))
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be seconds or a duration such as \"5m\" or \"-1s\"", name);
    p->req->has_keep_alive = true;
    p->req->keep_alive_ms = seconds < 0 ? -1 : seconds > 1e12 ? INT64_MAX / 4 : (int64_t)ceil(seconds * 1000);
    return true;
}

static bool read_think(ig_parse *p, const char *name, json_t *v)
{
    static const char *const levels[] = {"low", "medium", "high", "max"};
    const char *s = json_string_value(v);
    if (json_is_boolean(v)) return ig_set(p, "reasoning", json_boolean(json_is_true(v)));
    for (size_t i = 0; s && i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(s, levels[i])) return ig_read_effort(p, name, v) && ig_set(p, "reasoning", json_true());
    return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be true, false, \"low\", \"medium\", \"high\" or \"max\"",
                     name);
}

static bool read_format(ig_parse *p, const char *name, json_t *v)
{
    const char *s = json_string_value(v);
    if (s && !*s) return true;
    if (s && !strcmp(s, "json")) return ig_set(p, "json_object", json_true());
    if (s || !json_is_object(v))
        return ig_refuse(p, IG_P_BAD_SCHEMA, name, "%s must be \"json\" or a JSON Schema, that is an object", name);
    return ig_read_json_schema(p, name, v);
}

static bool refuse_images(ig_parse *p, const char *name, json_t *v)
{
    return (json_is_array(v) && json_array_size(v) == 0) || ig_refuse_media(p, name, "a list of pictures");
}

/* What chat and generate share. */
static const ig_param common_params[] = {
    {"stream", IG_K_READ, NULL, 0, 0, ig_read_stream},
    {"format", IG_K_READ, NULL, 0, 0, read_format},
    {"options", IG_K_READ, NULL, 0, 0, ig_read_options},
    {"think", IG_K_READ, NULL, 0, 0, read_think},
    {"shift", IG_K_BOOL, NULL, 0, 0, NULL},
    {"max_output_tokens", IG_K_READ, NULL, 0, 0, ig_read_max_tokens},
    {"logprobs", IG_K_LATER, NULL, 0, 0, NULL},
    {"top_logprobs", IG_K_LATER, NULL, 0, 0, NULL},
    {0},
};

static const ig_param chat_params[] = {
    {"messages", IG_K_LATER, NULL, 0, 0, NULL},
    {"tools", IG_K_LATER, NULL, 0, 0, NULL},
    {"tool_choice", IG_K_LATER, NULL, 0, 0, NULL},
    {0},
};

static bool read_template(ig_parse *p, const char *name, json_t *v)
{
    if (json_is_string(v) && json_string_length(v) == 0) return true;
    return ig_refuse(p, IG_P_UNSUPPORTED, name,
                     "%s cannot come with a request; create a model with it (POST /api/create), or send raw: true",
                     name);
}

/* Token ids of the conversation so far, as the last answer gave them. */
static bool read_context(ig_parse *p, const char *name, json_t *v)
{
    json_t *one;
    size_t i;
    int64_t id;
    bool good = json_is_array(v);
    json_array_foreach(v, i, one) good = good && ig_whole(one, &id) && id >= 0 && id <= INT32_MAX;
    if (!good) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a list of token ids, as an answer has it", name);
    return json_array_size(v) == 0 || ig_set(p, name, json_incref(v));
}

static const ig_param generate_params[] = {
    {"prompt", IG_K_LATER, NULL, 0, 0, NULL},           {"suffix", IG_K_LATER, NULL, 0, 0, NULL},
    {"system", IG_K_LATER, NULL, 0, 0, NULL},           {"raw", IG_K_LATER, NULL, 0, 0, NULL},
    {"template", IG_K_READ, NULL, 0, 0, read_template}, {"context", IG_K_READ, NULL, 0, 0, read_context},
    {"images", IG_K_READ, NULL, 0, 0, refuse_images},   {0},
};

static bool read_common(ig_parse *p, const ig_param *own)
{
    const ig_param *const tables[] = {own, common_params, ig_params_sampling, NULL};
    static const struct {
        const char *name;
        double value;
    } reals[] = {{"temperature", 0.8}, {"top_p", 0.9}};
    bool wanted = false;
    int64_t n = 0;
    p->req->stream = true;
    if (!ig_read_body(p, tables) || !ig_get_bool(p, "logprobs", &wanted)) return false;
    json_t *top = ig_get(p, "top_logprobs");
    if (top && (!ig_whole(top, &n) || n < 0 || n > 20))
        return ig_refuse(p, IG_P_BAD_REQUEST, "top_logprobs", "top_logprobs must be a whole number from 0 to 20");
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        ig_put(&p->req->defaults, reals[i].name, json_real(reals[i].value));
    ig_put(&p->req->defaults, "top_k", json_integer(40));
    ig_put(&p->req->defaults, "repeat_last_n", json_integer(64));
    if (!p->req->model || !*p->req->model) return ig_refuse(p, IG_P_BAD_REQUEST, "model", "model is required");
    return !(wanted || n) || ig_set(p, "logprobs", json_integer(n));
}

static bool load_only(ig_parse *p)
{
    p->req->op = p->req->has_keep_alive && p->req->keep_alive_ms == 0 ? IG_OP_UNLOAD : IG_OP_LOAD;
    return true;
}

/* ------------------------------------------------------------------------------------------------ chat */

static json_t *lower(const json_t *role)
{
    char text[16];
    size_t n = json_string_length(role);
    if (!json_is_string(role) || n >= sizeof text) return NULL;
    for (size_t i = 0; i < n; i++) {
        char c = json_string_value(role)[i];
        text[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    return json_stringn(text, n);
}

/* A message in OpenAI's form, which the common reader checks; new. */
static json_t *translate(ig_parse *p, size_t i, json_t *m)
{
    char at[48];
    json_t *images = json_object_get(m, "images"), *name = json_object_get(m, "tool_name");
    (void)snprintf(at, sizeof at, "messages[%zu].images", i);
    if (images && !json_is_null(images) && !refuse_images(p, at, images)) return NULL;
    json_t *copy =
        json_pack("{s:o*, s:O*, s:O*, s:O*, s:O*, s:O*}", "role", lower(json_object_get(m, "role")), "content",
                  json_object_get(m, "content"), "reasoning_content", json_object_get(m, "thinking"), "tool_calls",
                  json_object_get(m, "tool_calls"), "tool_call_id", json_object_get(m, "tool_call_id"), "name",
                  name ? name : json_object_get(m, "name"));
    if (!copy) ig_no_memory(p);
    return copy;
}

/* Into p->to, in the form of the common reader. */
static bool read_all_messages(ig_parse *p, json_t *list)
{
    json_t *body = p->body, *m, *translated = json_array(), *scratch = json_object();
    size_t i;
    bool good = translated && json_object_set_new(scratch, "messages", translated) == 0;
    if (!good) ig_no_memory(p);
    json_array_foreach(list, i, m)
    {
        json_t *one = good ? translate(p, i, m) : NULL;
        good = one && json_array_append_new(translated, one) == 0;
        if (!good) break;
    }
    p->body = scratch;
    good = good && ig_read_messages(p);
    p->body = body;
    json_decref(scratch);
    return good;
}

bool ig_parse_ollama_chat(ig_parse *p)
{
    json_t *list = json_object_get(p->body, "messages");
    if (!read_common(p, chat_params)) return false;
    if (list && !json_is_null(list) && !json_is_array(list))
        return ig_refuse(p, IG_P_BAD_REQUEST, "messages", "messages must be a list");
    if (json_array_size(list) == 0) return load_only(p);
    return read_all_messages(p, list) && ig_read_chat_tools(p) && ig_add_generate(p, "chat");
}

/* ------------------------------------------------------------------------------------------------ generate */

static bool generate_raw(ig_parse *p, const char *prompt, const char *suffix)
{
    if (suffix && *suffix && !ig_set(p, "suffix", json_incref(ig_get(p, "suffix")))) return false;
    return ig_set(p, "prompt", prompt ? json_incref(ig_get(p, "prompt")) : json_string("")) &&
           ig_set(p, "parse_special", json_true()) && ig_add_generate(p, "text");
}

bool ig_parse_ollama_generate(ig_parse *p)
{
    const char *prompt, *suffix, *system;
    bool raw = false;
    if (!read_common(p, generate_params)) return false;
    if (!ig_get_string(p, "prompt", &prompt) || !ig_get_string(p, "suffix", &suffix) ||
        !ig_get_string(p, "system", &system) || !ig_get_bool(p, "raw", &raw))
        return false;
    const bool has_prompt = prompt && *prompt, has_suffix = suffix && *suffix;
    if (raw && ((system && *system) || json_object_get(p->to, "context")))
        return ig_refuse(p, IG_P_BAD_REQUEST, "raw", "raw: true excludes system, template and context; leave them out");
    if (!has_prompt && !has_suffix && (!system || !*system)) return load_only(p);
    if (raw || has_suffix) return generate_raw(p, prompt, suffix);
    json_t *messages = json_array();
    if (!messages || !ig_set(p, "messages", messages)) return ig_no_memory(p);
    if (system && *system &&
        !ig_add_message(p, messages, "system", json_incref(ig_get(p, "system")), NULL, NULL, NULL, NULL))
        return false;
    if (has_prompt && !ig_add_message(p, messages, "user", json_incref(ig_get(p, "prompt")), NULL, NULL, NULL, NULL))
        return false;
    return ig_set(p, "return_context", json_true()) && ig_add_generate(p, "chat");
}

/* ------------------------------------------------------------------------------------------------ embeddings */

static bool read_dimensions(ig_parse *p, const char *name, json_t *v)
{
    int64_t n;
    if (!ig_whole(v, &n) || n < 0 || n > 1 << 20)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number of values", name);
    p->req->n_dimensions = (unsigned)n;
    return true;
}

static const ig_param embed_params[] = {
    {"model", IG_K_LATER, NULL, 0, 0, NULL},
    {"input", IG_K_READ, NULL, 0, 0, ig_read_inputs},
    {"prompt", IG_K_READ, NULL, 0, 0, ig_read_inputs},
    {"truncate", IG_K_BOOL, NULL, 0, 0, NULL},
    {"dimensions", IG_K_READ, NULL, 0, 0, read_dimensions},
    {"options", IG_K_READ, NULL, 0, 0, ig_read_options},
    {"keep_alive", IG_K_READ, NULL, 0, 0, ig_read_keep_alive},
    {0},
};

/* normalize: /api/embed gives unit vectors, the older route the model's own length. */
static bool parse_embed(ig_parse *p, const char *key, bool normalize)
{
    static const ig_param *const tables[] = {embed_params, NULL};
    if (!ig_read_body(p, tables)) return false;
    if (!p->req->model || !*p->req->model) return ig_refuse(p, IG_P_BAD_REQUEST, "model", "model is required");
    const json_t *inputs = json_object_get(p->to, "inputs"), *first = json_array_get(inputs, 0);
    if (!ig_get(p, key) || json_array_size(inputs) == 0 ||
        (!json_is_array(ig_get(p, key)) && json_is_string(first) && json_string_length(first) == 0))
        return load_only(p);
    json_t *truncate = json_object_get(p->to, "truncate"),
           *keep = json_pack("{s:O, s:O*}", "inputs", inputs, "truncate", truncate);
    json_decref(p->to); /* sampling options mean nothing here */
    p->to = keep;
    return (keep || ig_no_memory(p)) && ig_set(p, "normalize", json_boolean(normalize)) && ig_add_part(p, "embed");
}

bool ig_parse_ollama_embed(ig_parse *p) { return parse_embed(p, "input", true); }
bool ig_parse_ollama_embedding(ig_parse *p) { return parse_embed(p, "prompt", false); }

/* ------------------------------------------------------------------------------------------------ management */

static bool good_digest(const char *s)
{
    return s && !strncmp(s, "sha256:", 7) && strlen(s) == 71 && strspn(s + 7, "0123456789abcdef") == 64;
}

bool ig_parse_blob(ig_parse *p)
{
    if (!good_digest(p->req->arg))
        return ig_refuse(p, IG_P_BAD_REQUEST, NULL, "a blob is named sha256: and 64 hex digits in lower case");
    p->req->manage = json_pack("{s:s}", "digest", p->req->arg);
    return p->req->manage || ig_no_memory(p);
}

/* The name of a file within a model: parts joined by '/', of which none is empty or begins with a dot. */
static bool is_file_name(const char *z)
{
    size_t n = strlen(z);
    if (!n || n > 255 || strchr(z, '\\')) return false;
    for (; z; z = strchr(z, '/') ? strchr(z, '/') + 1 : NULL)
        if (!*z || *z == '.' || *z == '/') return false;
    return true;
}

/* {"model.gguf": "sha256:…"}: names only tell files apart, they are never paths on the machine. */
static bool read_files(ig_parse *p, const char *name, json_t *v)
{
    const char *file;
    json_t *digest;
    if (!json_is_object(v))
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object of file names and digests", name);
    json_object_foreach(v, file, digest)
    {
        if (!is_file_name(file))
            return ig_refuse(p, IG_P_BAD_REQUEST, name, "a name in %s must be that of a file within a model", name);
        if (!good_digest(json_string_value(digest)))
            return ig_refuse(p, IG_P_BAD_REQUEST, name, "a value in %s must be sha256: and 64 hex digits", name);
    }
    return ig_set(p, "files", json_incref(v));
}

static bool refuse_adapters(ig_parse *p, const char *name, json_t *v)
{
    if (json_is_object(v) && json_object_size(v) == 0) return true;
    return ig_refuse(p, IG_P_UNSUPPORTED, name, "%s are not supported yet; create the model without them", name);
}

static bool refuse_modelfile(ig_parse *p, const char *name, json_t *v)
{
    (void)v;
    return ig_refuse(p, IG_P_UNSUPPORTED, name, "%s is no longer taken; send from, system, template and parameters",
                     name);
}

static bool read_license(ig_parse *p, const char *name, json_t *v)
{
    json_t *one;
    size_t i;
    bool good = json_is_string(v) || json_is_array(v);
    json_array_foreach(v, i, one) good = good && json_is_string(one);
    if (!good) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a text or a list of texts", name);
    return ig_set(p, "license", json_is_array(v) ? json_incref(v) : json_pack("[O]", v));
}

/* Kept as they came, after a trial that finds wrong types and values that no request could honour. */
static bool read_parameters(ig_parse *p, const char *name, json_t *v)
{
    ig_request scratch = {.n = 1, .ignored = json_array(), .echo = json_object()};
    ig_parse trial = {.req = &scratch, .problem = p->problem, .to = json_object()};
    bool good = ig_read_options(&trial, name, v);
    json_decref(trial.to);
    json_decref(scratch.ignored);
    json_decref(scratch.echo);
    return good && ig_set(p, "parameters", json_incref(v));
}

/* The beginning of every conversation with the model: what was said, texts alone. */
static bool read_create_messages(ig_parse *p, const char *name, json_t *v)
{
    json_t *one, *list;
    size_t i;
    if (json_is_array(v) && json_array_size(v) == 0) return true;
    if (!json_is_array(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a list", name);
    if (!read_all_messages(p, v)) return false;
    list = json_array();
    json_array_foreach(json_object_get(p->to, "messages"), i, one)
    {
        json_t *role = json_object_get(one, "role"), *content = json_object_get(one, "content");
        if (!json_is_string(role) || !json_is_string(content)) {
            json_decref(list);
            return ig_refuse(p, IG_P_UNSUPPORTED, name, "%s[%zu] must have a role and a text alone", name, i);
        }
        ig_append(&list, json_pack("{s:O, s:O}", "role", role, "content", content));
    }
    return list ? ig_set(p, "messages", list) : ig_no_memory(p);
}

static const ig_param manage_params[] = {
    {"model", IG_K_LATER, NULL, 0, 0, NULL},
    {"name", IG_K_LATER, NULL, 0, 0, NULL},
    {"stream", IG_K_READ, NULL, 0, 0, ig_read_stream},
    {0},
};
static const ig_param show_params[] = {
    {"verbose", IG_K_BOOL, NULL, 0, 0, NULL},
    {"system", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"template", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"options", IG_K_IGNORE, NULL, 0, 0, NULL},
    {0},
};
static const ig_param pull_params[] = {
    {"insecure", IG_K_ONLY, NULL, 0, 0, NULL},   {"destination", IG_K_STRING, NULL, 0, 0, NULL}, /* ours: the name it
                                                                                                    gets here */
    {"username", IG_K_IGNORE, NULL, 0, 0, NULL}, {"password", IG_K_IGNORE, NULL, 0, 0, NULL},    {0},
};
static const ig_param copy_params[] = {
    {"source", IG_K_STRING, NULL, 0, 0, NULL},
    {"destination", IG_K_STRING, NULL, 0, 0, NULL},
    {0},
};
static const ig_param create_params[] = {
    {"from", IG_K_STRING, NULL, 0, 0, NULL},
    {"files", IG_K_READ, NULL, 0, 0, read_files},
    {"adapters", IG_K_READ, NULL, 0, 0, refuse_adapters},
    {"template", IG_K_STRING, NULL, 0, 0, NULL},
    {"system", IG_K_STRING, NULL, 0, 0, NULL},
    {"license", IG_K_READ, NULL, 0, 0, read_license},
    {"parameters", IG_K_READ, NULL, 0, 0, read_parameters},
    {"messages", IG_K_READ, NULL, 0, 0, read_create_messages},
    {"quantize", IG_K_STRING, NULL, 0, 0, NULL},
    {"quantization", IG_K_STRING, "quantize", 0, 0, NULL},
    {"modelfile", IG_K_READ, NULL, 0, 0, refuse_modelfile},
    {"path", IG_K_READ, NULL, 0, 0, refuse_modelfile},
    {0},
};

bool ig_parse_ollama_manage(ig_parse *p)
{
    static const struct {
        ig_op op;
        const ig_param *own;
    } rows[] = {{IG_OP_SHOW, show_params},
                {IG_OP_PULL, pull_params},
                {IG_OP_PUSH, pull_params},
                {IG_OP_COPY, copy_params},
                {IG_OP_CREATE, create_params}};
    const ig_param *tables[] = {manage_params, NULL, NULL};
    const char *name;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].op == p->req->op) tables[1] = rows[i].own;
    p->req->stream = p->req->route->emit != NULL;
    if (!ig_read_body(p, tables) || !ig_get_string(p, "name", &name)) return false;
    if (!p->req->model || !*p->req->model) p->req->model = name;
    if (p->req->op == IG_OP_COPY) {
        const json_t *source = json_object_get(p->to, "source"), *to = json_object_get(p->to, "destination");
        if (!json_string_length(source) || !json_string_length(to))
            return ig_refuse(p, IG_P_BAD_REQUEST, "source", "source and destination are both required");
        p->req->model = json_string_value(source);
    }
    if (!p->req->model || !*p->req->model) return ig_refuse(p, IG_P_BAD_REQUEST, "model", "model is required");
    if (p->req->op == IG_OP_CREATE && !json_object_get(p->to, "from") && !json_object_get(p->to, "files"))
        return ig_refuse(p, IG_P_BAD_REQUEST, "from", "from or files is required: what should the model be made of?");
    p->req->manage = json_incref(p->to);
    return true;
}
