/* Reading of client bodies: limits before the tree, then members by tables of parameters. What every dialect has in
 * common is here; tools and messages are in read_chat.c. */
#include "serve/dialect/read.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { IGNORED_MAX = 64, NAME_BYTES_MAX = 64, STOPS_MAX = 64, STOP_BYTES_MAX = 1024, BIAS_MAX = 4096 };

/* ------------------------------------------------------------------------------------------------ bytes to a tree */

/* Counts brackets, values and members without looking at the grammar: what the library will allocate at most. */
static bool within_limits(ig_str text, ig_problem *problem)
{
    size_t depth = 0, values = 1, members = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '"') {
            for (i++; i < text.len && text.ptr[i] != '"'; i++)
                if (text.ptr[i] == '\\') i++;
        } else if (c == '{' || c == '[') {
            depth++;
            values++;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        } else if (c == ',') {
            values++;
        } else if (c == ':') {
            members++;
        }
        if (depth > IG_BODY_DEPTH_MAX)
            return ig_problem_set(problem, IG_P_BAD_REQUEST, NULL,
                                  "the body is nested deeper than %u brackets at byte %zu; make it flatter",
                                  IG_BODY_DEPTH_MAX, i);
        if (values > IG_BODY_VALUES_MAX || members > IG_BODY_MEMBERS_MAX)
            return ig_problem_set(
                problem, IG_P_TOO_LARGE, NULL,
                "the body holds more than %u JSON values or %u object members; send less in one request",
                IG_BODY_VALUES_MAX, IG_BODY_MEMBERS_MAX);
    }
    return true;
}

/* The library's own text quotes the body, which may be a prompt: only kind and place are told. */
static bool syntax_problem(const json_error_t *e, ig_problem *problem)
{
    static const struct {
        enum json_error_code code;
        const char *text;
    } kinds[] = {
        {json_error_duplicate_key, "names a field twice"},
        {json_error_invalid_utf8, "is not valid UTF-8"},
        {json_error_premature_end_of_input, "ends too early"},
        {json_error_numeric_overflow, "holds a number that is too large"},
        {json_error_null_byte_in_key, "holds a NUL byte in a field name"},
        {json_error_end_of_input_expected, "goes on behind its end"},
    };
    const char *text = "is not valid JSON";
    if (json_error_code(e) == json_error_out_of_memory)
        return ig_problem_set(problem, IG_P_UNAVAILABLE, NULL, "out of memory while reading the body; try again later");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (json_error_code(e) == kinds[i].code) text = kinds[i].text;
    return ig_problem_set(problem, IG_P_BAD_REQUEST, NULL,
                          "the body %s (line %d, byte %d); send one JSON object in UTF-8", text, e->line, e->position);
}

json_t *ig_read_json(ig_str text, ig_problem *problem)
{
    json_error_t e;
    if (text.len > IG_BODY_BYTES_MAX) {
        ig_problem_set(problem, IG_P_TOO_LARGE, NULL, "the body has %zu bytes, the limit is %u", text.len,
                       IG_BODY_BYTES_MAX);
        return NULL;
    }
    if (!within_limits(text, problem)) return NULL;
    json_t *tree = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!tree) {
        syntax_problem(&e, problem);
    } else if (!json_is_object(tree)) {
        json_decref(tree);
        tree = NULL;
        ig_problem_set(problem, IG_P_BAD_REQUEST, NULL, "the body is a list; send one JSON object");
    }
    return tree;
}

/* ------------------------------------------------------------------------------------------------ small helpers */

static void give_up(json_t **o, bool good)
{
    if (good) return;
    json_decref(*o);
    *o = NULL;
}

void ig_put(json_t **o, const char *name, json_t *value) { give_up(o, json_object_set_new(*o, name, value) == 0); }
void ig_append(json_t **list, json_t *value) { give_up(list, json_array_append_new(*list, value) == 0); }

void ig_merge(json_t **o, json_t *more)
{
    give_up(o, more && json_object_update(*o, more) == 0);
    json_decref(more);
}

bool ig_refuse(ig_parse *p, ig_problem_kind kind, const char *param, const char *format, ...)
{
    char text[sizeof p->problem->message];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return ig_problem_set(p->problem, kind, param, "%s", text);
}

bool ig_no_memory(ig_parse *p)
{
    return ig_refuse(p, IG_P_UNAVAILABLE, NULL, "out of memory for the request; try again later");
}

void ig_ignore(ig_parse *p, const char *prefix, const char *name)
{
    char text[2 * NAME_BYTES_MAX];
    if (json_array_size(p->req->ignored) >= IGNORED_MAX) return;
    int n = snprintf(text, sizeof text, "%.32s%.64s", prefix, name);
    size_t len = ig_utf8_whole(text, n > 0 ? (size_t)n : 0);
    for (size_t i = 0; i < len && !ig_utf8_valid(text, len); i++) /* a name that was cut inside a character */
        if ((unsigned char)text[i] >= 0x80) text[i] = '?';
    for (size_t i = 0; i < json_array_size(p->req->ignored); i++) {
        const json_t *had = json_array_get(p->req->ignored, i);
        if (json_string_length(had) == len && !memcmp(json_string_value(had), text, len)) return;
    }
    ig_append(&p->req->ignored, json_stringn(text, len));
}

bool ig_set(ig_parse *p, const char *name, json_t *value)
{
    return json_object_set_new(p->to, name, value) == 0 || ig_no_memory(p);
}

json_t *ig_get(const ig_parse *p, const char *name)
{
    json_t *v = json_object_get(p->body, name);
    return json_is_null(v) ? NULL : v;
}

static bool plain_string(const json_t *v)
{
    return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
}

bool ig_get_string(ig_parse *p, const char *name, const char **out)
{
    json_t *v = ig_get(p, name);
    *out = NULL;
    if (v && !plain_string(v))
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a string without NUL bytes", name);
    if (v) *out = json_string_value(v);
    return true;
}

bool ig_get_bool(ig_parse *p, const char *name, bool *out)
{
    json_t *v = ig_get(p, name);
    if (v && !json_is_boolean(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be true or false", name);
    if (v) *out = json_is_true(v);
    return true;
}

bool ig_whole(const json_t *v, int64_t *out)
{
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return true;
    }
    double d = json_real_value(v);
    if (!json_is_real(v) || floor(d) != d || fabs(d) > 9007199254740992.0) return false;
    *out = (int64_t)d;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ig_percent_decode(ig_str in, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        int c = (unsigned char)in.ptr[i];
        if (c == '%') {
            int high = i + 2 < in.len ? hex_value(in.ptr[i + 1]) : -1, low = high < 0 ? -1 : hex_value(in.ptr[i + 2]);
            if (low < 0) return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f || n + 1 >= size) return false;
        out[n++] = (char)c;
    }
    out[n] = 0;
    return ig_utf8_valid(out, n);
}

bool ig_query_get(ig_str query, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    for (size_t at = 0; at < query.len;) {
        const char *amp = memchr(query.ptr + at, '&', query.len - at);
        size_t end = amp ? (size_t)(amp - query.ptr) : query.len;
        ig_str pair = {query.ptr + at, end - at};
        if (pair.len > n && !memcmp(pair.ptr, name, n) && pair.ptr[n] == '=')
            return ig_percent_decode((ig_str){pair.ptr + n + 1, pair.len - n - 1}, out, size);
        at = end + 1;
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------ tables */

static bool read_number(ig_parse *p, const ig_param *row, const char *full, json_t *v)
{
    int64_t whole = 0;
    const bool is_int = row->kind == IG_K_INT;
    if (is_int ? !ig_whole(v, &whole) : !json_is_number(v))
        return ig_refuse(p, IG_P_BAD_REQUEST, full, "%s must be a %s", full, is_int ? "whole number" : "number");
    double d = is_int ? (double)whole : json_number_value(v);
    if (!(d >= row->min && d <= row->max))
        return ig_refuse(p, IG_P_BAD_REQUEST, full, "%s is %g; give a value from %g to %g", full, d, row->min,
                         row->max);
    return ig_set(p, row->to ? row->to : row->name, is_int ? json_integer(whole) : json_real(d));
}

static bool read_only(ig_parse *p, const ig_param *row, const char *full, json_t *v)
{
    if (!json_is_number(v) && !json_is_boolean(v))
        return ig_refuse(p, IG_P_BAD_REQUEST, full, "%s must be a number or a boolean", full);
    double d = json_is_number(v) ? json_number_value(v) : json_is_true(v);
    if (d == row->min) return true;
    if (json_is_boolean(v))
        return ig_refuse(p, IG_P_UNSUPPORTED, full, "%s can only be %s here; leave it out", full,
                         row->min != 0 ? "true" : "false");
    return ig_refuse(p, IG_P_UNSUPPORTED, full, "%s can only be %g here; leave it out", full, row->min);
}

static bool read_param(ig_parse *p, const ig_param *row, const char *prefix, json_t *v)
{
    char full[96];
    (void)snprintf(full, sizeof full, "%s%s", prefix, row->name);
    if (row->kind == IG_K_QUIET || row->kind == IG_K_LATER || json_is_null(v)) return true;
    switch (row->kind) {
    case IG_K_NUMBER:
    case IG_K_INT: return read_number(p, row, full, v);
    case IG_K_BOOL:
        if (!json_is_boolean(v)) return ig_refuse(p, IG_P_BAD_REQUEST, full, "%s must be true or false", full);
        return ig_set(p, row->to ? row->to : row->name, json_boolean(json_is_true(v)));
    case IG_K_STRING:
        if (!json_is_string(v)) return ig_refuse(p, IG_P_BAD_REQUEST, full, "%s must be a string", full);
        return ig_set(p, row->to ? row->to : row->name, json_incref(v));
    case IG_K_ONLY: return read_only(p, row, full, v);
    case IG_K_READ: return row->read(p, full, v);
    case IG_K_IGNORE_NUMBER:
        if (!json_is_number(v)) return ig_refuse(p, IG_P_BAD_REQUEST, full, "%s must be a number", full);
        break;
    case IG_K_IGNORE_BOOL:
        if (!json_is_boolean(v)) return ig_refuse(p, IG_P_BAD_REQUEST, full, "%s must be true or false", full);
        break;
    default: break;
    }
    ig_ignore(p, prefix, row->name);
    return true;
}

static const ig_param *find_param(const ig_param *const *tables, const char *name)
{
    for (size_t t = 0; tables[t]; t++)
        for (const ig_param *row = tables[t]; row->name; row++)
            if (!strcmp(row->name, name)) return row;
    return NULL;
}

bool ig_read_params(ig_parse *p, json_t *object, const char *prefix, const ig_param *const *tables)
{
    const char *name;
    json_t *v;
    json_object_foreach(object, name, v)
    {
        const ig_param *row = find_param(tables, name);
        if (!row)
            ig_ignore(p, prefix, name);
        else if (!read_param(p, row, prefix, v))
            return false;
    }
    return true;
}

bool ig_read_body(ig_parse *p, const ig_param *const *tables)
{
    if (!ig_get_string(p, "model", &p->req->model)) return false;
    if (p->req->model && strlen(p->req->model) > 400)
        return ig_refuse(p, IG_P_BAD_REQUEST, "model", "model is longer than 400 bytes; give a model's name");
    return ig_read_params(p, p->body, "", tables);
}

/* ------------------------------------------------------------------------------------------------ readers */

static bool add_stop(ig_parse *p, const char *name, json_t *stop, json_t *list)
{
    if (!json_is_string(stop))
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a string or a list of strings", name);
    size_t n = json_string_length(stop);
    if (n > STOP_BYTES_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "an entry of %s has %zu bytes, the limit is %d", name, n,
                         STOP_BYTES_MAX);
    if (n == 0) {
        ig_ignore(p, name, " \"\"");
        return true;
    }
    return json_array_append(list, stop) == 0 || ig_no_memory(p);
}

bool ig_read_stop(ig_parse *p, const char *name, json_t *v)
{
    json_t *list = json_array(), *stop;
    size_t i;
    bool good = true;
    if (json_is_array(v)) {
        if (json_array_size(v) > STOPS_MAX)
            good = ig_refuse(p, IG_P_BAD_REQUEST, name, "%s has %zu entries, the limit is %d", name, json_array_size(v),
                             STOPS_MAX);
        json_array_foreach(v, i, stop) good = good && add_stop(p, name, stop, list);
    } else {
        good = add_stop(p, name, v, list);
    }
    if (good && json_array_size(list)) return ig_set(p, "stop", list);
    json_decref(list);
    return good;
}

bool ig_read_seed(ig_parse *p, const char *name, json_t *v)
{
    int64_t seed;
    if (!ig_whole(v, &seed)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number", name);
    if (seed == -1) return true; /* random, as without */
    return ig_set(p, "seed", json_integer(seed & INT64_MAX));
}

bool ig_read_max_tokens(ig_parse *p, const char *name, json_t *v)
{
    int64_t n;
    if (!ig_whole(v, &n)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number", name);
    if (n < -2)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be from 0, or -1: as many as there is room for", name);
    if (n < 0) return true; /* -2 is Ollama's and llama-server's: until the context is full */
    return ig_set(p, "max_tokens", json_integer(n < 1 << 30 ? n : 1 << 30));
}

static bool add_bias(ig_parse *p, const char *name, const char *id_text, json_t *id, json_t *bias, json_t *list)
{
    int64_t token = -1;
    if (id_text) {
        char *end;
        token = strtoll(id_text, &end, 10);
        if (*end || end == id_text) token = -1;
    } else if (!ig_whole(id, &token)) {
        token = -1;
    }
    if (token < 0 || token > INT32_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s takes token ids, not texts: ask /tokenize for the ids", name);
    const bool ban = json_is_false(bias) || (json_is_number(bias) && json_number_value(bias) <= -100);
    if (!ban && (!json_is_number(bias) || json_number_value(bias) > 100))
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "a bias in %s must be a number from -100 to 100", name);
    json_t *value = ban ? json_string("-inf") : json_real(json_number_value(bias));
    json_t *pair = json_pack("[I,o]", (json_int_t)token, value);
    return json_array_append_new(list, pair) == 0 || ig_no_memory(p);
}

bool ig_read_logit_bias(ig_parse *p, const char *name, json_t *v)
{
    json_t *list = json_array(), *entry;
    const char *key;
    size_t i;
    bool good = json_is_object(v) || json_is_array(v);
    if (!good) ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object of token ids and numbers", name);
    if (good && json_array_size(v) + json_object_size(v) > BIAS_MAX)
        good = ig_refuse(p, IG_P_BAD_REQUEST, name, "%s has more than %d entries", name, BIAS_MAX);
    json_object_foreach(v, key, entry) good = good && add_bias(p, name, key, NULL, entry, list);
    json_array_foreach(v, i, entry)
    {
        if (!good) break;
        good = json_array_size(entry) == 2 ||
               ig_refuse(p, IG_P_BAD_REQUEST, name, "%s[%zu] must be a pair of a token id and a number", name, i);
        good = good && add_bias(p, name, NULL, json_array_get(entry, 0), json_array_get(entry, 1), list);
    }
    if (good && json_array_size(list)) return ig_set(p, "logit_bias", list);
    json_decref(list);
    return good;
}

bool ig_read_json_schema(ig_parse *p, const char *name, json_t *v)
{
    if (json_is_boolean(v)) return ig_set(p, "json_schema", json_incref(v));
    if (!json_is_object(v))
        return ig_refuse(p, IG_P_BAD_SCHEMA, name, "%s must be a JSON Schema, that is an object", name);
    return ig_set(p, "json_schema", json_incref(v));
}

bool ig_read_template_args(ig_parse *p, const char *name, json_t *v)
{
    if (!json_is_object(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be an object", name);
    json_t *args = json_object_get(p->to, "template_args"), *think = json_object_get(v, "enable_thinking");
    if (json_is_boolean(think) && !ig_set(p, "reasoning", json_boolean(json_is_true(think)))) return false;
    if (args) return json_object_update(args, v) == 0 || ig_no_memory(p);
    return ig_set(p, "template_args", json_copy(v));
}

bool ig_read_n_ctx(ig_parse *p, const char *name, json_t *v)
{
    int64_t n;
    if (!ig_whole(v, &n) || n > INT32_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number of tokens", name);
    p->req->n_ctx = n > 0 ? (uint64_t)n : 0;
    return true;
}

bool ig_read_n(ig_parse *p, const char *name, json_t *v)
{
    int64_t n;
    if (!ig_whole(v, &n) || n < 1 || n > IG_N_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, name,
                         "%s must be a whole number from 1 to %u; send several requests for more", name, IG_N_MAX);
    p->req->n = (unsigned)n;
    return true;
}

bool ig_read_stream(ig_parse *p, const char *name, json_t *v)
{
    if (!json_is_boolean(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be true or false", name);
    p->req->stream = json_is_true(v);
    return true;
}

bool ig_read_effort(ig_parse *p, const char *name, json_t *v)
{
    static const char *const rows[][2] = {{"none", NULL},   {"minimal", "low"}, {"low", "low"}, {"medium", "medium"},
                                          {"high", "high"}, {"xhigh", "max"},   {"max", "max"}, {"ultra", "max"}};
    for (size_t i = 0; json_is_string(v) && i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(json_string_value(v), rows[i][0]) != 0) continue;
        if (!rows[i][1]) return ig_set(p, "reasoning", json_false());
        json_t *args = json_pack("{s:s}", "reasoning_effort", rows[i][1]);
        bool good = args ? ig_read_template_args(p, name, args) : ig_no_memory(p);
        json_decref(args);
        return good;
    }
    return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be one of none, minimal, low, medium, high, xhigh, max", name);
}

/* A list of samplers switches off those that it does not name; their order is ours. */
static bool read_samplers(ig_parse *p, const char *name, json_t *v)
{
    static const struct {
        const char *name;
        char letter;
    } rows[] = {{"penalties", 'e'}, {"top_k", 'k'}, {"top_p", 'p'}, {"min_p", 'm'}, {"temperature", 't'}};
    if (!json_is_array(v) && !json_is_string(v))
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a list of names or a string of letters", name);
    json_t *off = json_array();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool named = json_is_string(v) && strchr(json_string_value(v), rows[i].letter);
        for (size_t k = 0; k < json_array_size(v) && k < 64; k++) {
            const char *entry = json_string_value(json_array_get(v, k));
            named = named || (entry && !strcmp(entry, rows[i].name));
        }
        if (!named) ig_append(&off, json_string(rows[i].name));
    }
    ig_ignore(p, "", "samplers (order)");
    return json_object_set_new(p->req->echo, "samplers_off", off) == 0 || ig_no_memory(p);
}

static bool read_predict_ms(ig_parse *p, const char *name, json_t *v)
{
    int64_t ms;
    if (!ig_whole(v, &ms))
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number of milliseconds", name);
    p->req->predict_ms = ms > 0 ? (uint64_t)ms : 0;
    return true;
}

static bool read_lora(ig_parse *p, const char *name, json_t *v)
{
    if (json_is_array(v) && json_array_size(v) == 0) return true;
    return ig_refuse(p, IG_P_UNSUPPORTED, name, "%s: adapters cannot be chosen in a request yet; leave it out", name);
}

static bool read_progress(ig_parse *p, const char *name, json_t *v)
{
    if (!json_is_boolean(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be true or false", name);
    p->req->return_progress = json_is_true(v);
    return true;
}

static bool read_format_llama(ig_parse *p, const char *name, json_t *v)
{
    static const char *const known[] = {"none", "auto", "deepseek", "deepseek-legacy"};
    for (size_t i = 0; json_is_string(v) && i < sizeof known / sizeof *known; i++)
        if (!strcmp(json_string_value(v), known[i])) {
            if (i == 0) ig_ignore(p, "", name); /* thoughts are always told apart from the answer */
            return true;
        }
    return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be none, auto or deepseek", name);
}

static bool read_top_k(ig_parse *p, const char *name, json_t *v)
{
    int64_t k;
    if (!ig_whole(v, &k) || k > INT32_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number", name);
    return ig_set(p, "top_k", json_integer(k > 0 ? k : 0));
}

static bool read_repeat_last(ig_parse *p, const char *name, json_t *v)
{
    int64_t n;
    if (!ig_whole(v, &n) || n < -1 || n > INT32_MAX)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number, -1 for the whole context", name);
    return ig_set(p, "repeat_last_n", json_integer(n));
}

static bool read_priority(ig_parse *p, const char *name, json_t *v)
{
    const char *s = json_string_value(v);
    if (!s || (strcmp(s, "interactive") != 0 && strcmp(s, "batch") != 0))
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be \"interactive\" or \"batch\"", name);
    return ig_set(p, "priority", json_incref(v));
}

const ig_param ig_params_sampling[] = {
    {"model", IG_K_LATER, NULL, 0, 0, NULL},
    {"temperature", IG_K_NUMBER, NULL, 0, 100, NULL},
    {"top_p", IG_K_NUMBER, NULL, 0, 1, NULL},
    {"top_k", IG_K_READ, NULL, 0, 0, read_top_k},
    {"min_p", IG_K_NUMBER, NULL, 0, 1, NULL},
    {"repeat_penalty", IG_K_NUMBER, NULL, 0.01, 100, NULL},
    {"repetition_penalty", IG_K_NUMBER, "repeat_penalty", 0.01, 100, NULL},
    {"repeat_last_n", IG_K_READ, NULL, 0, 0, read_repeat_last},
    {"presence_penalty", IG_K_NUMBER, NULL, -100, 100, NULL},
    {"frequency_penalty", IG_K_NUMBER, NULL, -100, 100, NULL},
    {"seed", IG_K_READ, NULL, 0, 0, ig_read_seed},
    {"stop", IG_K_READ, NULL, 0, 0, ig_read_stop},
    {"num_ctx", IG_K_READ, NULL, 0, 0, ig_read_n_ctx},
    {"keep_alive", IG_K_READ, NULL, 0, 0, ig_read_keep_alive},
    {"truncate", IG_K_BOOL, NULL, 0, 0, NULL},
    {"priority", IG_K_READ, NULL, 0, 0, read_priority},
    {0},
};

/* llama-server's further ones, valid on every route of the OpenAI and the editor dialect. */
const ig_param ig_params_llama[] = {
    {"n_predict", IG_K_READ, NULL, 0, 0, ig_read_max_tokens},
    {"min_tokens", IG_K_INT, NULL, 0, 1 << 30, NULL},
    {"logit_bias", IG_K_READ, NULL, 0, 0, ig_read_logit_bias},
    {"ignore_eos", IG_K_BOOL, NULL, 0, 0, NULL},
    {"grammar", IG_K_STRING, NULL, 0, 0, NULL},
    {"json_schema", IG_K_READ, NULL, 0, 0, ig_read_json_schema},
    {"options", IG_K_READ, NULL, 0, 0, ig_read_options},
    {"samplers", IG_K_READ, NULL, 0, 0, read_samplers},
    {"typical_p", IG_K_ONLY, NULL, 1, 0, NULL},
    {"dynatemp_range", IG_K_ONLY, NULL, 0, 0, NULL},
    {"dry_multiplier", IG_K_ONLY, NULL, 0, 0, NULL},
    {"xtc_probability", IG_K_ONLY, NULL, 0, 0, NULL},
    {"mirostat", IG_K_ONLY, NULL, 0, 0, NULL},
    {"n_keep", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"dynatemp_exponent", IG_K_QUIET, NULL, 0, 0, NULL},
    {"dry_base", IG_K_QUIET, NULL, 0, 0, NULL},
    {"dry_allowed_length", IG_K_QUIET, NULL, 0, 0, NULL},
    {"dry_penalty_last_n", IG_K_QUIET, NULL, 0, 0, NULL},
    {"dry_sequence_breakers", IG_K_QUIET, NULL, 0, 0, NULL},
    {"xtc_threshold", IG_K_QUIET, NULL, 0, 0, NULL},
    {"mirostat_tau", IG_K_QUIET, NULL, 0, 0, NULL},
    {"mirostat_eta", IG_K_QUIET, NULL, 0, 0, NULL},
    {"id_slot", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"cache_prompt", IG_K_QUIET, NULL, 0, 0, NULL},
    {"n_cache_reuse", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"n_indent", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"min_keep", IG_K_ONLY, NULL, 0, 0, NULL},
    {"post_sampling_probs", IG_K_ONLY, NULL, 0, 0, NULL},
    {"t_max_predict_ms", IG_K_READ, NULL, 0, 0, read_predict_ms},
    {"t_max_prompt_ms", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"timings_per_token", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"return_progress", IG_K_READ, NULL, 0, 0, read_progress},
    {"sse_ping_interval", IG_K_IGNORE, NULL, 0, 0, NULL},
    {"lora", IG_K_READ, NULL, 0, 0, read_lora},
    {"chat_template_kwargs", IG_K_READ, NULL, 0, 0, ig_read_template_args},
    {"reasoning_format", IG_K_READ, NULL, 0, 0, read_format_llama},
    {"shift", IG_K_BOOL, NULL, 0, 0, NULL},
    {0},
};
