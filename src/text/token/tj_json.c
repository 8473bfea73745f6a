/* Reading tokenizer.json: typed getters, and components by their type. */
#include "base/utf8.h"
#include "text/token/tj.h"

ig_status ig_tj_no_memory(ig_error *err) { return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the tokenizer"); }

static ig_status wrong(const char *where, const char *key, const char *expected, ig_error *err)
{
    return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: %s: \"%s\" is missing or of another type, expected %s", where,
                   key, expected);
}

/* The value of key, NULL where it is absent or null. */
static const ig_tj_json *get(const ig_tj_json *o, const char *key)
{
    const ig_tj_json *x = ig_tj_json_get(o, key);
    return ig_tj_json_is(x, IG_JSON_NULL) ? NULL : x;
}

ig_status ig_tj_str(const ig_tj_json *o, const char *where, const char *key, bool required, ig_arena *a, ig_str *out,
                    ig_error *err)
{
    const ig_tj_json *x = get(o, key);
    if (!x && !required) return IG_OK;
    if (!ig_tj_json_is(x, IG_JSON_STRING)) return wrong(where, key, "a string", err);
    size_t n = x->n;
    if (n > IG_TJ_TEXT_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: %s: \"%s\" has %zu bytes, expected at most %d", where,
                       key, n, IG_TJ_TEXT_MAX);
    char *copy = ig_arena_copy(a, x->text, n);
    if (!copy) return ig_tj_no_memory(err);
    *out = (ig_str){copy, n};
    return IG_OK;
}

ig_status ig_tj_bool(const ig_tj_json *o, const char *where, const char *key, bool *out, ig_error *err)
{
    const ig_tj_json *x = get(o, key);
    if (!x) return IG_OK;
    if (x->type != IG_JSON_TRUE && x->type != IG_JSON_FALSE) return wrong(where, key, "true or false", err);
    *out = x->type == IG_JSON_TRUE;
    return IG_OK;
}

ig_status ig_tj_size(const ig_tj_json *o, const char *where, const char *key, bool required, size_t max, size_t *out,
                     ig_error *err)
{
    const ig_tj_json *x = get(o, key);
    if (!x && !required) return IG_OK;
    if (!ig_tj_json_is(x, IG_JSON_INT)) return wrong(where, key, "a whole number", err);
    int64_t n = x->integer;
    if (n < 0 || (uint64_t)n > max)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: %s: \"%s\" is %lld, expected 0 to %zu", where, key,
                       (long long)n, max);
    *out = (size_t)n;
    return IG_OK;
}

ig_status ig_tj_list(const ig_tj_json *o, const char *where, const char *key, bool required, const ig_tj_json **out,
                     ig_error *err)
{
    *out = get(o, key);
    if (!*out && !required) return IG_OK;
    return ig_tj_json_is(*out, IG_JSON_ARRAY) ? IG_OK : wrong(where, key, "an array", err);
}

static ig_status read_one(ig_vocab *v, const ig_tj_json *o, const char *where, const ig_tj_component *table,
                          ig_error *err)
{
    ig_str type = ig_tj_json_text(ig_tj_json_get(o, "type"));
    if (!type.ptr) return wrong(where, "type", "the name of a component", err);
    for (; table->type; table++)
        if (ig_str_is(type, table->type)) return table->read(v, o, err);
    return ig_fail(err, IG_UNSUPPORTED, 0, "tokenizer.json: the %s \"%.*s\" is not supported by this version", where,
                   IG_STR_ARG(type));
}

ig_status ig_tj_components(ig_vocab *v, const ig_tj_json *o, const char *where, const char *list,
                           const ig_tj_component *table, ig_error *err)
{
    const ig_tj_json *stack[IG_TJ_NEST_MAX]; /* what comes next in each open sequence */
    size_t depth = 0, n = 0;
    for (;;) {
        if (++n > 4 * IG_TJ_STEPS_MAX)
            return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: there are more than %d of %s", 4 * IG_TJ_STEPS_MAX,
                           where);
        if (ig_str_is(ig_tj_json_text(ig_tj_json_get(o, "type")), "Sequence")) {
            const ig_tj_json *items;
            if (depth == IG_TJ_NEST_MAX)
                return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: %s: sequences lie more than %d deep", where,
                               IG_TJ_NEST_MAX);
            IG_TRY(ig_tj_list(o, where, list, true, &items, err));
            stack[depth++] = ig_tj_json_first(items);
        } else
            IG_TRY(read_one(v, o, where, table, err));
        while (depth && !stack[depth - 1]) depth--;
        if (depth == 0) return IG_OK;
        o = stack[depth - 1];
        stack[depth - 1] = o->next;
    }
}

ig_status ig_tj_pattern(ig_vocab *v, const ig_tj_json *o, const char *where, ig_scanners scanners, ig_pattern *out,
                        ig_error *err)
{
    const ig_tj_json *p = get(o, "pattern");
    ig_str regex = {NULL, 0};
    *out = (ig_pattern){0};
    if (!ig_tj_json_is(p, IG_JSON_OBJECT)) return wrong(where, "pattern", "an object with String or Regex", err);
    IG_TRY(ig_tj_str(p, where, "Regex", false, &v->tj->arena, &regex, err));
    IG_TRY(ig_tj_str(p, where, "String", !regex.ptr, &v->tj->arena, &out->text, err));
    if (!regex.ptr) return IG_OK;
    if (out->text.ptr) return wrong(where, "pattern", "String or Regex, not both", err);
    if (scanners && ig_pre_pattern(regex, scanners == IG_SCANNERS_WHOLE, &out->match, &out->params)) return IG_OK;
    out->two_spaces = ig_str_is(regex, " {2,}");
    return out->two_spaces && !scanners ? IG_OK : ig_tj_regex_new(regex, &out->regex, err);
}
