/* The tools of a request, and what their schemas say about one value. */
#include "priv.h"

enum { TOOLS_BYTES_MAX = 1 << 20, TOOLS_MAX = 1024, REFS_MAX = 16, WIDTH_MAX = 32 };

void ig_reply_tools_free(ig_reply_tools *t)
{
    if (!t) return;
    json_decref(t->root);
    ig_free(t->tools);
    ig_free(t);
}

size_t ig_reply_tools_count(const ig_reply_tools *t) { return t ? t->n : 0; }

const char *ig_reply_tools_name(const ig_reply_tools *t, size_t i) { return t->tools[i].name; }

const rp_tool *rp_tool_find(const ig_reply_tools *t, ig_str name)
{
    for (size_t i = 0; t && i < t->n; i++)
        if (ig_str_is(name, t->tools[i].name)) return &t->tools[i];
    return NULL;
}

static ig_status read_tool(ig_reply_tools *t, json_t *item, size_t i, ig_error *err)
{
    json_t *f = json_object_get(item, "function");
    if (!json_is_object(f)) f = item;
    const char *name = json_string_value(json_object_get(f, "name"));
    size_t n_name = json_string_length(json_object_get(f, "name"));
    if (!name || !*name || n_name > 200 || strlen(name) != n_name)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "tool %zu has no name: expected {\"type\": \"function\", \"function\": "
                       "{\"name\": \"...\", \"parameters\": {...}}}",
                       i + 1);
    if (rp_tool_find(t, ig_str_from(name))) return ig_fail(err, IG_BAD_INPUT, 0, "two tools are named \"%.64s\"", name);
    json_t *schema = json_object_get(f, "parameters");
    if (!schema) schema = json_object_get(f, "input_schema");
    if (json_is_null(schema) || json_is_true(schema)) schema = NULL;
    if (schema && !json_is_object(schema))
        return ig_fail(err, IG_BAD_INPUT, 0, "the parameters of tool \"%.64s\" are no JSON Schema: expected an object",
                       name);
    t->tools[t->n++] = (rp_tool){name, schema, !json_is_true(json_object_get(f, "strict"))};
    return IG_OK;
}

static ig_status read_tools(ig_reply_tools *t, const char *json, size_t n, ig_error *err)
{
    json_error_t why;
    if (n > TOOLS_BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, n, "the tools have %zu bytes, expected at most %d", n, TOOLS_BYTES_MAX);
    if (!rp_trim((ig_str){json, n}).len) return IG_OK;
    t->root = json_loadb(json, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!t->root) return ig_fail(err, IG_BAD_INPUT, 0, "the tools are no JSON: line %d: %s", why.line, why.text);
    if (json_is_null(t->root)) return IG_OK;
    if (!json_is_array(t->root)) return ig_fail(err, IG_BAD_INPUT, 0, "the tools are no list: expected [{...}, ...]");
    size_t count = json_array_size(t->root);
    if (count > TOOLS_MAX)
        return ig_fail(err, IG_TOO_LARGE, count, "there are %zu tools, expected at most %d", count, TOOLS_MAX);
    t->tools = ig_calloc(count ? count : 1, sizeof *t->tools);
    if (!t->tools) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the tools");
    for (size_t i = 0; i < count; i++) IG_TRY(read_tool(t, json_array_get(t->root, i), i, err));
    return IG_OK;
}

ig_status ig_reply_tools_new(const char *json, size_t n, ig_reply_tools **out, ig_error *err)
{
    *out = NULL;
    ig_reply_tools *t = ig_calloc(1, sizeof *t);
    if (!t) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the tools");
    ig_status st = read_tools(t, json, n, err);
    if (st != IG_OK) {
        ig_reply_tools_free(t);
        return st;
    }
    *out = t;
    return IG_OK;
}

/* One step of a JSON pointer. */
static const json_t *step(const json_t *at, const char *p, size_t n)
{
    char name[256];
    size_t m = 0;
    for (size_t i = 0; i < n && m + 1 < sizeof name; i++) {
        bool tilde = p[i] == '~' && i + 1 < n;
        name[m++] = tilde ? (p[i + 1] == '1' ? '/' : '~') : p[i];
        i += tilde;
    }
    name[m] = 0;
    if (json_is_array(at)) return json_array_get(at, (size_t)strtoul(name, NULL, 10));
    return json_object_get(at, name);
}

/* The schema that a chain of $ref ends at; NULL when it leads nowhere. */
const json_t *rp_resolve(const json_t *root, const json_t *schema)
{
    for (int i = 0; i < REFS_MAX; i++) {
        const char *ref = json_string_value(json_object_get(schema, "$ref"));
        if (!ref) return schema;
        if (ref[0] != '#') return NULL;
        schema = root;
        for (const char *p = ref + 1; *p == '/' && schema;) {
            size_t n = strcspn(p + 1, "/");
            schema = step(schema, p + 1, n);
            p += n + 1;
        }
    }
    return NULL;
}

static unsigned type_named(const char *name)
{
    static const struct {
        const char *name;
        unsigned type;
    } rows[] = {{"string", RP_STRING}, {"integer", RP_NUMBER}, {"number", RP_NUMBER}, {"boolean", RP_BOOL},
                {"null", RP_NULL},     {"array", RP_LIST},     {"object", RP_OBJECT}};
    for (size_t i = 0; name && i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(name, rows[i].name)) return rows[i].type;
    return RP_ANY;
}

static unsigned type_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return RP_OBJECT;
    case JSON_ARRAY: return RP_LIST;
    case JSON_STRING: return RP_STRING;
    case JSON_INTEGER:
    case JSON_REAL: return RP_NUMBER;
    case JSON_NULL: return RP_NULL;
    default: return RP_BOOL;
    }
}

static unsigned types_at(const json_t *root, const json_t *schema, unsigned depth);

static unsigned types_any(const json_t *root, const json_t *list, unsigned depth)
{
    unsigned types = 0;
    for (size_t i = 0; i < json_array_size(list) && i < WIDTH_MAX; i++)
        types |= types_at(root, json_array_get(list, i), depth);
    return types;
}

static unsigned types_at(const json_t *root, const json_t *schema, unsigned depth)
{
    unsigned types = RP_ANY;
    schema = rp_resolve(root, schema);
    if (!json_is_object(schema) || depth == 0) return RP_ANY;
    const json_t *t = json_object_get(schema, "type"), *e = json_object_get(schema, "enum"),
                 *c = json_object_get(schema, "const");
    if (json_is_string(t)) types &= type_named(json_string_value(t));
    if (json_is_array(t)) {
        unsigned any = 0;
        for (size_t i = 0; i < json_array_size(t); i++) any |= type_named(json_string_value(json_array_get(t, i)));
        types &= any;
    }
    if (json_is_array(e)) {
        unsigned any = 0;
        for (size_t i = 0; i < json_array_size(e); i++) any |= type_of(json_array_get(e, i));
        types &= any;
    }
    if (c) types &= type_of(c);
    const json_t *any_of = json_object_get(schema, "anyOf"), *one_of = json_object_get(schema, "oneOf"),
                 *all_of = json_object_get(schema, "allOf");
    if (json_is_array(any_of)) types &= types_any(root, any_of, depth - 1);
    if (json_is_array(one_of)) types &= types_any(root, one_of, depth - 1);
    for (size_t i = 0; i < json_array_size(all_of) && i < WIDTH_MAX; i++)
        types &= types_at(root, json_array_get(all_of, i), depth - 1);
    return types ? types : RP_ANY;
}

/* Few levels: a list of lists of alternatives would cost a power of them. */
unsigned rp_types(const json_t *root, const json_t *schema) { return types_at(root, schema, 3); }

const json_t *rp_property(const json_t *root, const json_t *schema, const char *key, size_t n)
{
    char name[512];
    schema = rp_resolve(root, schema);
    if (!schema || n >= sizeof name || memchr(key, 0, n)) return NULL;
    memcpy(name, key, n);
    name[n] = 0;
    const json_t *p = json_object_get(json_object_get(schema, "properties"), name);
    const json_t *all = json_object_get(schema, "allOf");
    for (size_t i = 0; !p && i < json_array_size(all) && i < 64; i++) {
        const json_t *part = rp_resolve(root, json_array_get(all, i));
        p = json_object_get(json_object_get(part, "properties"), name);
    }
    if (p) return p;
    p = json_object_get(schema, "additionalProperties");
    return json_is_object(p) ? p : NULL;
}

const json_t *rp_items(const json_t *root, const json_t *schema)
{
    schema = rp_resolve(root, schema);
    return schema ? json_object_get(schema, "items") : NULL;
}
