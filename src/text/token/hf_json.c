/* Reading tokenizer.json: typed getters, and components by their type. */
#include "base/utf8.h"
#include "text/token/hf.h"

ig_status ig_hf_no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the tokenizer"); }

static ig_status wrong(const char *where, const char *key, const char *expected, ig_error *err)
{
    return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: %s: \"%s\" is missing or of another type, expected %s", where,
                   key, expected);
}

/* The value of key, NULL where it is absent or null. */
static const json_t *get(const json_t *o, const char *key)
{
    const json_t *x = json_object_get(o, key);
    return json_is_null(x) ? NULL : x;
}

ig_status ig_json_str(const json_t *o, const char *where, const char *key, bool required, ig_arena *a, ig_str *out,
                      ig_error *err)
{
    const json_t *x = get(o, key);
    if (!x && !required) return IG_OK;
    if (!json_is_string(x)) return wrong(where, key, "a string", err);
    size_t n = json_string_length(x);
    if (n > IG_HF_TEXT_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: %s: \"%s\" has %zu bytes, expected at most %d", where,
                       key, n, IG_HF_TEXT_MAX);
    char *copy = ig_arena_copy(a, json_string_value(x), n);
    if (!copy) return ig_hf_no_memory(err);
    *out = (ig_str){copy, n};
    return IG_OK;
}

ig_status ig_json_bool(const json_t *o, const char *where, const char *key, bool *out, ig_error *err)
{
    const json_t *x = get(o, key);
    if (!x) return IG_OK;
    if (!json_is_boolean(x)) return wrong(where, key, "true or false", err);
    *out = json_is_true(x);
    return IG_OK;
}

ig_status ig_json_size(const json_t *o, const char *where, const char *key, bool required, size_t max, size_t *out,
                       ig_error *err)
{
    const json_t *x = get(o, key);
    if (!x && !required) return IG_OK;
    if (!json_is_integer(x)) return wrong(where, key, "a whole number", err);
    json_int_t n = json_integer_value(x);
    if (n < 0 || (uint64_t)n > max)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: %s: \"%s\" is %lld, expected 0 to %zu", where, key,
                       (long long)n, max);
    *out = (size_t)n;
    return IG_OK;
}

ig_status ig_json_list(const json_t *o, const char *where, const char *key, bool required, const json_t **out,
                       ig_error *err)
{
    *out = get(o, key);
    if (!*out && !required) return IG_OK;
    return json_is_array(*out) ? IG_OK : wrong(where, key, "an array", err);
}

static ig_status read_one(ig_vocab *v, const json_t *o, const char *where, const ig_hf_component *table, ig_error *err)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    if (!type) return wrong(where, "type", "the name of a component", err);
    for (; table->type; table++)
        if (!strcmp(table->type, type)) return table->read(v, o, err);
    return ig_fail(err, IG_UNSUPPORTED, 0, "tokenizer.json: the %s \"%.100s\" is not supported by this version", where,
                   type);
}

typedef struct level { /* a sequence that is being walked */
    const json_t *list;
    size_t at;
} level;

ig_status ig_hf_components(ig_vocab *v, const json_t *o, const char *where, const char *list,
                           const ig_hf_component *table, ig_error *err)
{
    level stack[IG_HF_NEST_MAX];
    size_t depth = 0, n = 0;
    for (;;) {
        const char *type = json_string_value(json_object_get(o, "type"));
        if (++n > 4 * IG_HF_STEPS_MAX)
            return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: there are more than %d of %s", 4 * IG_HF_STEPS_MAX,
                           where);
        if (type && !strcmp(type, "Sequence")) {
            if (depth == IG_HF_NEST_MAX)
                return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: %s: sequences lie more than %d deep", where,
                               IG_HF_NEST_MAX);
            stack[depth].at = 0;
            IG_TRY(ig_json_list(o, where, list, true, &stack[depth++].list, err));
        } else
            IG_TRY(read_one(v, o, where, table, err));
        while (depth && stack[depth - 1].at == json_array_size(stack[depth - 1].list)) depth--;
        if (depth == 0) return IG_OK;
        o = json_array_get(stack[depth - 1].list, stack[depth - 1].at++);
    }
}

ig_status ig_hf_pattern(ig_vocab *v, const json_t *o, const char *where, bool scanners, ig_pattern *out, ig_error *err)
{
    const json_t *p = get(o, "pattern");
    ig_str regex = {NULL, 0};
    *out = (ig_pattern){0};
    if (!json_is_object(p)) return wrong(where, "pattern", "an object with String or Regex", err);
    IG_TRY(ig_json_str(p, where, "Regex", false, &v->hf->arena, &regex, err));
    IG_TRY(ig_json_str(p, where, "String", !regex.ptr, &v->hf->arena, &out->text, err));
    if (!regex.ptr) return IG_OK;
    if (out->text.ptr) return wrong(where, "pattern", "String or Regex, not both", err);
    if (scanners && ig_pre_pattern(regex, &out->match, &out->params)) return IG_OK;
    out->two_spaces = ig_str_is(regex, " {2,}");
    return out->two_spaces && !scanners ? IG_OK : ig_regex_new(regex, &out->regex, err);
}
