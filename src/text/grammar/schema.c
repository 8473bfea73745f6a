/* JSON Schema documents: reading, the index of places, resources and anchors, references, and the formula of each
 * place. Keywords are rows of one table. What is not in the table is an annotation, as the standard says, unless it is
 * known to be an assertion of another dialect; then it is refused. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "formula.h"

typedef enum walk { LEAVE, ONE, LIST, MAP, REFUSE } walk;
typedef uint32_t (*keyword_fn)(gr_doc *doc, uint32_t schema, uint32_t scope, json_t *value);

typedef struct keyword {
    const char *name;
    walk walk;       /* where the schemas in its value are */
    keyword_fn make; /* NULL: no formula of its own */
    const char *why; /* REFUSE */
} keyword;

gr_fkind gr_f(const gr_doc *doc, uint32_t f, const uint32_t **args, uint32_t *n_args)
{
    uint32_t n;
    const uint32_t *key = gr_intern_key(&doc->formulas, f, &n);
    if (args) *args = key + 1;
    if (n_args) *n_args = n - 1;
    return (gr_fkind)key[0];
}

uint32_t gr_f_make(gr_doc *doc, gr_fkind kind, const uint32_t *args, uint32_t n)
{
    uint32_t small[8], *key = n < 8 ? small : gr_new(doc->cc, n + 1, sizeof *key);
    if (!key) return GR_F_FALSE;
    key[0] = kind;
    if (n) memcpy(key + 1, args, n * sizeof *key);
    uint32_t f = gr_intern_add(doc->cc, &doc->formulas, key, n + 1, NULL);
    return f == GR_NONE ? (uint32_t)GR_F_FALSE : f;
}

uint32_t gr_f_make2(gr_doc *doc, gr_fkind kind, uint32_t a, uint32_t b)
{
    return gr_f_make(doc, kind, (uint32_t[]){a, b}, 2);
}

uint32_t gr_f_not(gr_doc *doc, uint32_t f)
{
    const uint32_t *args;
    if (f == GR_F_TRUE) return GR_F_FALSE;
    if (f == GR_F_FALSE) return GR_F_TRUE;
    if (gr_f(doc, f, &args, NULL) == GR_F_NOT && !doc->unevaluated) return args[0];
    return gr_f_make(doc, GR_F_NOT, &f, 1);
}

/* Inserts f into the sorted list of n without doubles; returns the new length. */
static uint32_t list_add(uint32_t *list, uint32_t n, uint32_t f)
{
    uint32_t i = n;
    while (i && list[i - 1] >= f) i--;
    if (i < n && list[i] == f) return n;
    memmove(list + i + 1, list + i, (n - i) * sizeof *list);
    list[i] = f;
    return n + 1;
}

/* AND of a list: flattened, sorted, without TRUE. */
static uint32_t make_and(gr_doc *doc, const uint32_t *list, uint32_t n)
{
    uint32_t total = 0, n_args;
    const uint32_t *args;
    for (uint32_t i = 0; i < n; i++) total += gr_f(doc, list[i], NULL, &n_args) == GR_F_AND ? n_args : 1;
    uint32_t *all = gr_new(doc->cc, total + 1, sizeof *all), m = 0;
    if (!all) return GR_F_FALSE;
    for (uint32_t i = 0; i < n; i++) {
        if (list[i] == GR_F_FALSE) return GR_F_FALSE;
        if (list[i] == GR_F_TRUE) continue;
        if (gr_f(doc, list[i], &args, &n_args) != GR_F_AND) args = &list[i], n_args = 1;
        for (uint32_t k = 0; k < n_args; k++) m = list_add(all, m, args[k]);
    }
    return m == 0 ? (uint32_t)GR_F_TRUE : m == 1 ? all[0] : gr_f_make(doc, GR_F_AND, all, m);
}

static uint32_t make_any(gr_doc *doc, gr_fkind kind, const uint32_t *list, uint32_t n)
{
    uint32_t *all = gr_new(doc->cc, n + 1, sizeof *all), m = 0;
    if (!all) return GR_F_FALSE;
    for (uint32_t i = 0; i < n; i++) {
        if (list[i] == GR_F_FALSE) continue;
        if (list[i] == GR_F_TRUE && !doc->unevaluated) return GR_F_TRUE;
        m = list_add(all, m, list[i]);
    }
    return m == 0 ? (uint32_t)GR_F_FALSE : m == 1 ? all[0] : gr_f_make(doc, kind, all, m);
}

uint32_t gr_f_and(gr_doc *doc, uint32_t f, uint32_t g) { return make_and(doc, (uint32_t[]){f, g}, 2); }

uint32_t gr_names_make(gr_doc *doc, gr_nkind kind, const uint32_t *args, uint32_t n)
{
    uint32_t *key = gr_new(doc->cc, n + 1, sizeof *key);
    if (!key) return 0;
    key[0] = kind;
    if (n) memcpy(key + 1, args, n * sizeof *key);
    uint32_t at = gr_intern_add(doc->cc, &doc->names, key, n + 1, NULL);
    return at == GR_NONE ? 0 : at;
}

/* Texts are few and short enough to be compared one by one only within a bound; longer documents get doubles, which
 * cost memory and nothing else. */
uint32_t gr_doc_text(gr_doc *doc, const char *p, size_t n)
{
    for (uint32_t i = 0; i < doc->n_texts && i < 4096; i++)
        if (doc->texts[i].len == n && !memcmp(doc->texts[i].ptr, p, n)) return i;
    if (!gr_grow(doc->cc, (void **)&doc->texts, doc->n_texts, &doc->cap_texts, sizeof *doc->texts)) return 0;
    doc->texts[doc->n_texts] = (ig_str){p, n};
    return doc->n_texts++;
}

uint32_t gr_doc_value(gr_doc *doc, json_t *value)
{
    if (!gr_grow(doc->cc, (void **)&doc->values, doc->n_values, &doc->cap_values, sizeof *doc->values)) return 0;
    doc->values[doc->n_values] = value;
    return doc->n_values++;
}

static const char *join(gr_doc *doc, const char *a, size_t n_a, const char *b)
{
    size_t n_b = strlen(b);
    char *s = gr_new(doc->cc, n_a + n_b + 1, 1);
    if (!s) return "";
    memcpy(s, a, n_a);
    memcpy(s + n_a, b, n_b);
    return s;
}

/* pointer + "/" + key with ~ and / escaped */
static const char *pointer_add(gr_doc *doc, const char *pointer, const char *key)
{
    size_t n = strlen(pointer), m = n + 1;
    char *s = gr_new(doc->cc, n + 2 + 2 * strlen(key), 1);
    if (!s) return "";
    memcpy(s, pointer, n);
    s[n] = '/';
    for (; *key; key++) {
        if (*key == '~' || *key == '/') {
            s[m++] = '~';
            s[m++] = *key == '~' ? '0' : '1';
        } else {
            s[m++] = *key;
        }
    }
    return s;
}

static void refuse(gr_doc *doc, uint32_t schema, const char *name, const char *why)
{
    const char *at = pointer_add(doc, doc->schemas[schema].pointer, name);
    gr_fail(doc->cc, IG_UNSUPPORTED, "#%s: %s", at, why);
}

/* URI references, RFC 3986 section 5.2 without dot segments inside. */
static const char *resolve(gr_doc *doc, const char *base, const char *ref)
{
    size_t scheme = strspn(ref, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    if (!*ref) return base;
    if (scheme && ref[scheme] == ':') return ref;
    const char *colon = strchr(base, ':'), *path = colon ? colon + 1 : base;
    if (!strncmp(ref, "//", 2)) return join(doc, base, (size_t)(path - base), ref);
    if (!strncmp(path, "//", 2)) path += 2 + strcspn(path + 2, "/");
    if (*ref == '/') return join(doc, base, (size_t)(path - base), ref);
    const char *slash = strrchr(path, '/');
    while (slash && !strncmp(ref, "../", 3)) {
        const char *up = slash;
        while (up > path && up[-1] != '/') up--;
        slash = up > path ? up - 1 : path;
        ref += 3;
    }
    if (!strncmp(ref, "./", 2)) ref += 2;
    return slash ? join(doc, base, (size_t)(slash + 1 - base), ref) : ref;
}

static uint32_t find_resource(const gr_doc *doc, const char *uri)
{
    for (uint32_t i = 0; i < doc->n_resources; i++)
        if (!strcmp(doc->resources[i].uri, uri)) return i;
    return GR_NONE;
}

/* Number of the place, which is that of its schema: every new place is followed by its schema. */
static uint32_t place_key(gr_doc *doc, json_t *json, bool *is_new)
{
    uint64_t p = (uint64_t)(uintptr_t)json;
    return gr_intern_add(doc->cc, &doc->places, (uint32_t[]){(uint32_t)p, (uint32_t)(p >> 32)}, 2, is_new);
}

static bool index_schema(gr_doc *doc, json_t *json, uint32_t resource, const char *pointer);

static const keyword *find_keyword(const char *name);

static bool index_children(gr_doc *doc, const keyword *k, json_t *value, uint32_t resource, const char *pointer)
{
    char number[24];
    size_t i;
    json_t *child;
    const char *key;
    if (k->walk == ONE) return index_schema(doc, value, resource, pointer);
    if (k->walk == LIST && json_is_array(value)) {
        json_array_foreach(value, i, child)
        {
            (void)snprintf(number, sizeof number, "%zu", i);
            if (!index_schema(doc, child, resource, pointer_add(doc, pointer, number))) return false;
        }
    }
    if (k->walk == MAP && json_is_object(value)) {
        json_object_foreach(
            value, key, child) if (!index_schema(doc, child, resource, pointer_add(doc, pointer, key))) return false;
    }
    return doc->cc->st == IG_OK;
}

static uint32_t add_resource(gr_doc *doc, json_t *json, const char *uri)
{
    if (!gr_grow(doc->cc, (void **)&doc->resources, doc->n_resources, &doc->cap_resources, sizeof *doc->resources))
        return 0;
    doc->resources[doc->n_resources] = (gr_resource){uri, json, 0, false};
    return doc->n_resources++;
}

static void add_anchor(gr_doc *doc, json_t *json, uint32_t resource, const char *keyword_name, bool dynamic)
{
    const char *name = json_string_value(json_object_get(json, keyword_name));
    if (!name || !gr_grow(doc->cc, (void **)&doc->anchors, doc->n_anchors, &doc->cap_anchors, sizeof *doc->anchors))
        return;
    doc->anchors[doc->n_anchors++] = (gr_anchor){resource, name, json, dynamic};
    if (dynamic) doc->resources[resource].dynamic = doc->dynamic = true;
}

/* Adds a place and everything below it. */
static bool index_schema(gr_doc *doc, json_t *json, uint32_t resource, const char *pointer)
{
    bool is_new;
    const char *name;
    json_t *value;
    if (doc->cc->st != IG_OK) return false;
    if (json_is_boolean(json)) return true;
    if (!json_is_object(json)) {
        gr_fail(doc->cc, IG_BAD_INPUT, "#%s is no schema; expected an object or a boolean", pointer);
        return false;
    }
    (void)place_key(doc, json, &is_new);
    if (!is_new) return true;
    if (doc->depth >= GR_DEPTH_MAX) {
        gr_fail(doc->cc, IG_TOO_LARGE, "#%.100s...: schemas are nested more than %d deep", pointer, GR_DEPTH_MAX);
        return false;
    }
    const char *id = json_string_value(json_object_get(json, "$id"));
    if (id && *id != '#') {
        const char *hash = strchr(id, '#');
        const char *plain = hash ? join(doc, id, (size_t)(hash - id), "") : id;
        const char *uri = resolve(doc, doc->n_resources ? doc->resources[resource].uri : "", plain);
        resource = doc->n_resources && doc->resources[0].root == json ? 0 : add_resource(doc, json, uri);
        if (doc->cc->st == IG_OK) doc->resources[resource].uri = uri;
    }
    if (!gr_grow(doc->cc, (void **)&doc->schemas, doc->n_schemas, &doc->cap_schemas, sizeof *doc->schemas))
        return false;
    doc->schemas[doc->n_schemas++] = (gr_schema_loc){json, resource, pointer, GR_NONE};
    add_anchor(doc, json, resource, "$anchor", false);
    add_anchor(doc, json, resource, "$dynamicAnchor", true);
    doc->depth++;
    json_object_foreach(json, name, value)
    {
        const keyword *k = find_keyword(name);
        if (!strncmp(name, "unevaluated", 11)) doc->unevaluated = true;
        if (k && k->walk != LEAVE && k->walk != REFUSE &&
            !index_children(doc, k, value, resource, pointer_add(doc, pointer, name)))
            return false;
    }
    doc->depth--;
    return doc->cc->st == IG_OK;
}

/* One step of a JSON pointer; part is changed in place (~0, ~1). */
static json_t *pointer_step(json_t *at, char *part)
{
    char *w = part;
    for (char *r = part; *r; r++) {
        if (*r == '~' && (r[1] == '0' || r[1] == '1')) {
            *w++ = *++r == '0' ? '~' : '/';
        } else {
            *w++ = *r;
        }
    }
    *w = 0;
    if (json_is_object(at)) return json_object_get(at, part);
    char *end;
    unsigned long i = strtoul(part, &end, 10);
    return json_is_array(at) && *part >= '0' && *part <= '9' && !*end ? json_array_get(at, i) : NULL;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static char *percent_decode(gr_doc *doc, const char *s)
{
    char *out = gr_new(doc->cc, strlen(s) + 1, 1), *w = out;
    if (!out) return NULL;
    for (; *s; s++) {
        if (*s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
            *w++ = (char)(hex(s[1]) * 16 + hex(s[2]));
            s += 2;
        } else {
            *w++ = *s;
        }
    }
    return out;
}

/* Place that a fragment names, NULL when there is none. Resources on the way change *resource. */
static json_t *find_fragment(gr_doc *doc, uint32_t *resource, char *fragment, const gr_anchor **anchor,
                             const char **pointer)
{
    json_t *at = doc->resources[*resource].root;
    *anchor = NULL;
    *pointer = "";
    if (!*fragment) return at;
    if (*fragment != '/') {
        for (uint32_t i = 0; i < doc->n_anchors; i++)
            if (doc->anchors[i].resource == *resource && !strcmp(doc->anchors[i].name, fragment)) {
                *anchor = &doc->anchors[i];
                return doc->anchors[i].json;
            }
        return NULL;
    }
    *pointer = fragment;
    char *copy = gr_new(doc->cc, strlen(fragment) + 1, 1);
    if (!copy) return NULL;
    memcpy(copy, fragment, strlen(fragment));
    for (char *part = copy + 1, *next; part && at; part = next) {
        next = strchr(part, '/');
        if (next) *next++ = 0;
        at = pointer_step(at, part);
        for (uint32_t i = 1; at && i < doc->n_resources; i++)
            if (doc->resources[i].root == at) *resource = i;
    }
    return at;
}

static uint32_t scope_enter(gr_doc *doc, uint32_t scope, uint32_t resource)
{
    uint32_t n, key[64];
    const uint32_t *old = gr_intern_key(&doc->scopes, scope, &n);
    if (!doc->dynamic || !doc->resources[resource].dynamic) return scope;
    for (uint32_t i = 0; i < n; i++)
        if (old[i] == resource) return scope;
    if (n >= 63) {
        gr_fail(doc->cc, IG_UNSUPPORTED, "more than 63 resources with a $dynamicAnchor cannot be enforced");
        return scope;
    }
    memcpy(key, old, n * sizeof *key);
    key[n] = resource;
    uint32_t at = gr_intern_add(doc->cc, &doc->scopes, key, n + 1, NULL);
    return at == GR_NONE ? 0 : at;
}

/* Formula of the schema in `json`, which is indexed. */
static uint32_t sub(gr_doc *doc, json_t *json, uint32_t scope)
{
    if (json_is_boolean(json)) return json_is_true(json) ? GR_F_TRUE : GR_F_FALSE;
    bool is_new;
    uint32_t s = place_key(doc, json, &is_new);
    if (s >= doc->n_schemas) {
        gr_fail(doc->cc, IG_BUG, "a schema was not indexed");
        return GR_F_FALSE;
    }
    return gr_f_make2(doc, GR_F_SCHEMA, s, scope_enter(doc, scope, doc->schemas[s].resource));
}

static uint32_t refer(gr_doc *doc, uint32_t schema, uint32_t scope, json_t *value, bool dynamic)
{
    const char *name = dynamic ? "$dynamicRef" : "$ref", *ref = json_string_value(value), *pointer;
    const gr_anchor *anchor = NULL;
    if (!ref) return refuse(doc, schema, name, "expected a text"), (uint32_t)GR_F_FALSE;
    const char *hash = strchr(ref, '#');
    const char *part = hash ? join(doc, ref, (size_t)(hash - ref), "") : ref;
    const char *uri = resolve(doc, doc->resources[doc->schemas[schema].resource].uri, part);
    uint32_t res = *part ? find_resource(doc, uri) : doc->schemas[schema].resource;
    if (doc->cc->st != IG_OK) return GR_F_FALSE;
    if (res == GR_NONE) {
        refuse(doc, schema, name, "refers to another document, which is never fetched; put it into $defs");
        return GR_F_FALSE;
    }
    char *fragment = percent_decode(doc, hash ? hash + 1 : "");
    json_t *to = fragment ? find_fragment(doc, &res, fragment, &anchor, &pointer) : NULL;
    if (!to) return refuse(doc, schema, name, "refers to nothing in this document"), (uint32_t)GR_F_FALSE;
    if (dynamic && anchor && anchor->dynamic) {
        uint32_t n;
        const uint32_t *in_scope = gr_intern_key(&doc->scopes, scope, &n);
        bool found = false;
        for (uint32_t i = 0; i < n && !found; i++)
            for (uint32_t k = 0; k < doc->n_anchors && !found; k++)
                if (doc->anchors[k].dynamic && doc->anchors[k].resource == in_scope[i] &&
                    !strcmp(doc->anchors[k].name, fragment))
                    to = doc->anchors[k].json, found = true;
    }
    if (json_is_object(to) && !doc->schemas) return GR_F_FALSE;
    if (!index_schema(doc, to, res, pointer)) return GR_F_FALSE;
    return sub(doc, to, scope_enter(doc, scope, res));
}

static uint32_t make_ref(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v) { return refer(doc, s, scope, v, false); }
static uint32_t make_dynamic(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    return refer(doc, s, scope, v, true);
}

static json_t *sibling(const gr_doc *doc, uint32_t schema, const char *name)
{
    return json_object_get(doc->schemas[schema].json, name);
}

static uint32_t bad(gr_doc *doc, uint32_t schema, const char *name, const char *expected)
{
    const char *at = pointer_add(doc, doc->schemas[schema].pointer, name);
    gr_fail(doc->cc, IG_BAD_INPUT, "#%s: expected %s", at, expected);
    return GR_F_FALSE;
}

static uint32_t *sub_list(gr_doc *doc, uint32_t scope, json_t *list, uint32_t *n)
{
    size_t i;
    json_t *child;
    *n = (uint32_t)json_array_size(list);
    uint32_t *all = gr_new(doc->cc, *n, sizeof *all);
    if (!all) return *n = 0, NULL;
    json_array_foreach(list, i, child) all[i] = sub(doc, child, scope);
    return all;
}

static uint32_t make_all_of(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    uint32_t n;
    if (!json_array_size(v)) return bad(doc, s, "allOf", "a list of schemas");
    const uint32_t *list = sub_list(doc, scope, v, &n);
    return make_and(doc, list, n);
}

static uint32_t make_any_of(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    uint32_t n;
    if (!json_array_size(v)) return bad(doc, s, "anyOf", "a list of schemas");
    const uint32_t *list = sub_list(doc, scope, v, &n);
    return make_any(doc, GR_F_ANY, list, n);
}

static uint32_t make_one_of(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    uint32_t n;
    if (!json_array_size(v)) return bad(doc, s, "oneOf", "a list of schemas");
    const uint32_t *list = sub_list(doc, scope, v, &n);
    return n == 1 ? list[0] : gr_f_make(doc, GR_F_ONE, list, n);
}

static uint32_t make_not(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    (void)s;
    return gr_f_not(doc, sub(doc, v, scope));
}

static uint32_t make_if(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    json_t *then = sibling(doc, s, "then"), *other = sibling(doc, s, "else");
    if (!then && !other && !doc->unevaluated) return GR_F_TRUE;
    uint32_t cond = sub(doc, v, scope), no = gr_f_not(doc, cond);
    uint32_t pair[2] = {gr_f_and(doc, cond, then ? sub(doc, then, scope) : GR_F_TRUE),
                        gr_f_and(doc, no, other ? sub(doc, other, scope) : GR_F_TRUE)};
    return make_any(doc, GR_F_FIRST, pair, 2);
}

static const struct {
    const char *name;
    uint32_t mask;
} types[] = {{"null", GR_T_NULL},       {"boolean", GR_T_TRUE | GR_T_FALSE},
             {"integer", GR_T_INTEGER}, {"number", GR_T_INTEGER | GR_T_FRACTION},
             {"string", GR_T_STRING},   {"array", GR_T_ARRAY},
             {"object", GR_T_OBJECT}};

static uint32_t type_mask(json_t *v)
{
    for (size_t i = 0; json_is_string(v) && i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, json_string_value(v))) return types[i].mask;
    return 0;
}

static uint32_t make_type(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    size_t i;
    json_t *one;
    uint32_t mask = type_mask(v);
    (void)scope;
    json_array_foreach(v, i, one)
    {
        if (!type_mask(one)) return bad(doc, s, "type", "names of JSON types");
        mask |= type_mask(one);
    }
    if (!mask) return bad(doc, s, "type", "the name of a JSON type or a list of them");
    return mask == GR_T_ALL ? (uint32_t)GR_F_TRUE : gr_f_make(doc, GR_F_TYPE, &mask, 1);
}

static uint32_t const_value(gr_doc *doc, json_t *v)
{
    uint32_t at = gr_doc_value(doc, v);
    return gr_f_make(doc, GR_F_CONST, &at, 1);
}

static uint32_t make_const(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    (void)s, (void)scope;
    return const_value(doc, v);
}

static uint32_t make_enum(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    size_t i;
    json_t *one;
    (void)scope;
    if (!json_is_array(v)) return bad(doc, s, "enum", "a list of values");
    uint32_t *all = gr_new(doc->cc, json_array_size(v), sizeof *all);
    if (!all) return GR_F_FALSE;
    json_array_foreach(v, i, one) all[i] = const_value(doc, one);
    return make_any(doc, GR_F_ANY, all, (uint32_t)json_array_size(v));
}

/* A count, whole and not negative; larger ones than 2^31 are 2^31. */
static bool read_count(gr_doc *doc, uint32_t s, const char *name, json_t *v, uint32_t *out)
{
    double d = json_is_number(v) ? json_number_value(v) : -1;
    if (d < 0 || (d < 1e15 && d != (double)(uint64_t)d))
        return bad(doc, s, name, "a whole number that is not negative"), false;
    *out = d > 2147483648.0 ? 2147483648u : (uint32_t)d;
    return true;
}

static uint32_t count_atom(gr_doc *doc, uint32_t s, json_t *v, const char *name, gr_fkind kind)
{
    uint32_t n;
    if (!read_count(doc, s, name, v, &n)) return GR_F_FALSE;
    return gr_f_make(doc, kind, &n, 1);
}

#define COUNT(fn, name, kind)                                                                                          \
    static uint32_t fn(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)                                             \
    {                                                                                                                  \
        (void)scope;                                                                                                   \
        return count_atom(doc, s, v, name, kind);                                                                      \
    }
COUNT(make_min_props, "minProperties", GR_F_PROPS_MIN)
COUNT(make_max_props, "maxProperties", GR_F_PROPS_MAX)
COUNT(make_min_items, "minItems", GR_F_ITEMS_MIN)
COUNT(make_max_items, "maxItems", GR_F_ITEMS_MAX)

static uint32_t make_min_length(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    uint32_t n;
    (void)scope;
    if (!read_count(doc, s, "minLength", v, &n)) return GR_F_FALSE;
    return gr_f_make2(doc, GR_F_LENGTH, n, UINT32_MAX);
}

static uint32_t make_max_length(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    uint32_t n;
    (void)scope;
    if (!read_count(doc, s, "maxLength", v, &n)) return GR_F_FALSE;
    return gr_f_make2(doc, GR_F_LENGTH, 0, n);
}

static uint32_t text_of(gr_doc *doc, json_t *v)
{
    return gr_doc_text(doc, json_string_value(v), json_string_length(v));
}

static uint32_t make_pattern(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    (void)scope;
    if (!json_is_string(v)) return bad(doc, s, "pattern", "a text");
    return gr_f_make2(doc, GR_F_PATTERN, text_of(doc, v), s);
}

static uint32_t make_format(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    static const char *const known[] = {"date",  "time",     "date-time", "duration", "uuid",
                                        "email", "hostname", "ipv4",      "ipv6",     "uri"};
    static const char *const refused[] = {"idn-email",    "idn-hostname",          "uri-reference",
                                          "iri",          "iri-reference",         "uri-template",
                                          "json-pointer", "relative-json-pointer", "regex"};
    const char *name = json_string_value(v);
    (void)scope;
    if (!name) return bad(doc, s, "format", "a text");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], name)) return gr_f_make2(doc, GR_F_FORMAT, text_of(doc, v), s);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!strcmp(refused[i], name))
            return refuse(doc, s, "format", "this format cannot be enforced"), (uint32_t)GR_F_FALSE;
    return GR_F_TRUE; /* a name of somebody's own is an annotation */
}

static uint32_t compare(gr_doc *doc, uint32_t s, const char *name, json_t *v, unsigned mask)
{
    if (!json_is_number(v)) return bad(doc, s, name, "a number");
    return gr_f_make2(doc, GR_F_COMPARE, gr_doc_value(doc, v), mask);
}

#define BOUND(fn, name, mask)                                                                                          \
    static uint32_t fn(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)                                             \
    {                                                                                                                  \
        (void)scope;                                                                                                   \
        return compare(doc, s, name, v, mask);                                                                         \
    }
BOUND(make_minimum, "minimum", GR_EQ | GR_GT)
BOUND(make_maximum, "maximum", GR_EQ | GR_LT)
BOUND(make_above, "exclusiveMinimum", GR_GT)
BOUND(make_below, "exclusiveMaximum", GR_LT)

static uint32_t make_multiple(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    (void)scope;
    if (!json_is_number(v) || json_number_value(v) <= 0) return bad(doc, s, "multipleOf", "a number above 0");
    return gr_f_make2(doc, GR_F_MULTIPLE, gr_doc_value(doc, v), s);
}

static uint32_t present(gr_doc *doc, const char *name, size_t n)
{
    uint32_t t = gr_doc_text(doc, name, n);
    return gr_f_make(doc, GR_F_PRESENT, &t, 1);
}

static uint32_t all_present(gr_doc *doc, uint32_t s, const char *keyword_name, json_t *v)
{
    size_t i;
    json_t *one;
    if (!json_is_array(v)) return bad(doc, s, keyword_name, "a list of names");
    uint32_t *all = gr_new(doc->cc, json_array_size(v), sizeof *all);
    if (!all) return GR_F_FALSE;
    json_array_foreach(v, i, one)
    {
        if (!json_is_string(one)) return bad(doc, s, keyword_name, "a list of names");
        all[i] = present(doc, json_string_value(one), json_string_length(one));
    }
    return make_and(doc, all, (uint32_t)json_array_size(v));
}

static uint32_t make_required(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    (void)scope;
    return all_present(doc, s, "required", v);
}

/* {name: what must hold when it is present} */
static uint32_t dependent(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v, const char *keyword_name, bool schemas)
{
    const char *key;
    json_t *one;
    uint32_t n = 0;
    if (!json_is_object(v)) return bad(doc, s, keyword_name, "an object");
    uint32_t *all = gr_new(doc->cc, json_object_size(v), sizeof *all);
    if (!all) return GR_F_FALSE;
    json_object_foreach(v, key, one)
    {
        uint32_t here = present(doc, key, strlen(key));
        uint32_t then = schemas ? sub(doc, one, scope) : all_present(doc, s, keyword_name, one);
        uint32_t pair[2] = {gr_f_not(doc, here), gr_f_and(doc, here, then)};
        all[n++] = make_any(doc, GR_F_FIRST, pair, 2);
        /* Arrays and scalars know no properties: both halves speak of objects only, so guard them. */
        uint32_t not_object = GR_T_ALL & ~GR_T_OBJECT,
                 guard[2] = {gr_f_make(doc, GR_F_TYPE, &not_object, 1), all[n - 1]};
        all[n - 1] = make_any(doc, GR_F_FIRST, guard, 2);
    }
    return make_and(doc, all, n);
}

static uint32_t make_dependent_required(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    return dependent(doc, s, scope, v, "dependentRequired", false);
}
static uint32_t make_dependent_schemas(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    return dependent(doc, s, scope, v, "dependentSchemas", true);
}

/* Name sets of the keys of properties and patternProperties. */
static uint32_t *key_sets(gr_doc *doc, uint32_t s, uint32_t *n_out)
{
    json_t *props = sibling(doc, s, "properties"), *patterns = sibling(doc, s, "patternProperties"), *one;
    const char *key;
    uint32_t *all = gr_new(doc->cc, json_object_size(props) + json_object_size(patterns), sizeof *all), n = 0;
    if (!all) return *n_out = 0, NULL;
    json_object_foreach(props, key, one)
    {
        uint32_t t = gr_doc_text(doc, key, strlen(key));
        all[n++] = gr_names_make(doc, GR_N_NAME, &t, 1);
    }
    json_object_foreach(patterns, key, one) all[n++] =
        gr_names_make(doc, GR_N_PATTERN, (uint32_t[]){gr_doc_text(doc, key, strlen(key)), s}, 2);
    *n_out = n;
    return all;
}

static uint32_t make_props(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v, gr_nkind kind)
{
    const char *key;
    json_t *one;
    uint32_t n = 0;
    if (!json_is_object(v)) return bad(doc, s, kind == GR_N_NAME ? "properties" : "patternProperties", "an object");
    uint32_t *all = gr_new(doc->cc, json_object_size(v), sizeof *all);
    if (!all) return GR_F_FALSE;
    json_object_foreach(v, key, one)
    {
        uint32_t args[2] = {gr_doc_text(doc, key, strlen(key)), s};
        uint32_t names = gr_names_make(doc, kind, args, kind == GR_N_NAME ? 1 : 2);
        all[n++] = gr_f_make2(doc, GR_F_PROP, names, sub(doc, one, scope));
    }
    return make_and(doc, all, n);
}

static uint32_t make_properties(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    return make_props(doc, s, scope, v, GR_N_NAME);
}
static uint32_t make_pattern_props(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    return make_props(doc, s, scope, v, GR_N_PATTERN);
}

static uint32_t make_additional(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    uint32_t n;
    const uint32_t *sets = key_sets(doc, s, &n);
    return gr_f_make2(doc, GR_F_PROP, gr_names_make(doc, GR_N_OTHERS, sets, n), sub(doc, v, scope));
}

static uint32_t make_property_names(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    uint32_t f = gr_f_not(doc, sub(doc, v, scope));
    (void)s;
    uint32_t bad_names = gr_names_make(doc, GR_N_STRINGS, &f, 1),
             atom = gr_f_make2(doc, GR_F_PROP, bad_names, GR_F_FALSE);
    /* Twice negated, so that it gives no annotation. */
    return gr_f_make(doc, GR_F_NOT, (uint32_t[]){gr_f_make(doc, GR_F_NOT, &atom, 1)}, 1);
}

static uint32_t make_prefix(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    uint32_t n;
    if (!json_is_array(v)) return bad(doc, s, "prefixItems", "a list of schemas");
    uint32_t *list = sub_list(doc, scope, v, &n);
    for (uint32_t i = 0; i < n; i++) list[i] = gr_f_make2(doc, GR_F_ITEM, i, list[i]);
    return make_and(doc, list, n);
}

static uint32_t make_items(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    return gr_f_make2(doc, GR_F_ITEMS, (uint32_t)json_array_size(sibling(doc, s, "prefixItems")), sub(doc, v, scope));
}

static uint32_t make_contains(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    json_t *low = sibling(doc, s, "minContains"), *high = sibling(doc, s, "maxContains");
    uint32_t min = 1, max = 0, f = sub(doc, v, scope);
    if (low && !read_count(doc, s, "minContains", low, &min)) return GR_F_FALSE;
    if (high && !read_count(doc, s, "maxContains", high, &max)) return GR_F_FALSE;
    uint32_t at_least = gr_f_make(doc, GR_F_CONTAINS_MIN, (uint32_t[]){f, min, 0}, 3);
    return high ? gr_f_and(doc, at_least, gr_f_make(doc, GR_F_CONTAINS_MAX, (uint32_t[]){f, max, 0}, 3)) : at_least;
}

static uint32_t make_unique(gr_doc *doc, uint32_t s, uint32_t scope, json_t *v)
{
    (void)scope;
    if (!json_is_boolean(v)) return bad(doc, s, "uniqueItems", "true or false");
    return json_is_true(v) ? gr_f_make(doc, GR_F_UNIQUE, &s, 1) : (uint32_t)GR_F_TRUE;
}

#define OLD "belongs to an older draft and means something else in 2020-12; "
static const keyword keywords[] = {
    {"$ref", LEAVE, make_ref, NULL},
    {"$dynamicRef", LEAVE, make_dynamic, NULL},
    {"$defs", MAP, NULL, NULL},
    {"definitions", MAP, NULL, NULL},
    {"allOf", LIST, make_all_of, NULL},
    {"anyOf", LIST, make_any_of, NULL},
    {"oneOf", LIST, make_one_of, NULL},
    {"not", ONE, make_not, NULL},
    {"if", ONE, make_if, NULL},
    {"then", ONE, NULL, NULL},
    {"else", ONE, NULL, NULL},
    {"type", LEAVE, make_type, NULL},
    {"const", LEAVE, make_const, NULL},
    {"enum", LEAVE, make_enum, NULL},
    {"minLength", LEAVE, make_min_length, NULL},
    {"maxLength", LEAVE, make_max_length, NULL},
    {"pattern", LEAVE, make_pattern, NULL},
    {"format", LEAVE, make_format, NULL},
    {"minimum", LEAVE, make_minimum, NULL},
    {"maximum", LEAVE, make_maximum, NULL},
    {"exclusiveMinimum", LEAVE, make_above, NULL},
    {"exclusiveMaximum", LEAVE, make_below, NULL},
    {"multipleOf", LEAVE, make_multiple, NULL},
    {"properties", MAP, make_properties, NULL},
    {"patternProperties", MAP, make_pattern_props, NULL},
    {"additionalProperties", ONE, make_additional, NULL},
    {"propertyNames", ONE, make_property_names, NULL},
    {"required", LEAVE, make_required, NULL},
    {"minProperties", LEAVE, make_min_props, NULL},
    {"maxProperties", LEAVE, make_max_props, NULL},
    {"dependentRequired", LEAVE, make_dependent_required, NULL},
    {"dependentSchemas", MAP, make_dependent_schemas, NULL},
    {"prefixItems", LIST, make_prefix, NULL},
    {"items", ONE, make_items, NULL},
    {"minItems", LEAVE, make_min_items, NULL},
    {"maxItems", LEAVE, make_max_items, NULL},
    {"contains", ONE, make_contains, NULL},
    {"uniqueItems", LEAVE, make_unique, NULL},
    {"unevaluatedProperties", ONE, NULL, NULL},
    {"unevaluatedItems", ONE, NULL, NULL},
    {"additionalItems", REFUSE, NULL, OLD "use prefixItems and items"},
    {"dependencies", REFUSE, NULL, OLD "use dependentRequired or dependentSchemas"},
    {"$recursiveRef", REFUSE, NULL, OLD "use $dynamicRef"},
    {"nullable", REFUSE, NULL, "is OpenAPI's; write \"type\": [..., \"null\"]"},
    {"discriminator", REFUSE, NULL, "is OpenAPI's; use oneOf with a const property"},
};

static const keyword *find_keyword(const char *name)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (!strcmp(keywords[i].name, name)) return &keywords[i];
    return NULL;
}

uint32_t gr_schema_formula(gr_doc *doc, uint32_t schema, uint32_t scope)
{
    if (scope == 0 && doc->schemas[schema].formula != GR_NONE) return doc->schemas[schema].formula;
    uint32_t all[sizeof keywords / sizeof *keywords] = {0}, n = 0;
    json_t *json = doc->schemas[schema].json, *value, *props = NULL, *items = NULL;
    const char *name;
    json_object_foreach(json, name, value)
    {
        const keyword *k = find_keyword(name);
        if (k && k->walk == REFUSE) refuse(doc, schema, name, k->why);
        if (k && k->make) all[n++] = k->make(doc, schema, scope, value);
        if (doc->cc->st != IG_OK) return GR_F_FALSE;
        if (!strcmp(name, "unevaluatedProperties")) props = value;
        if (!strcmp(name, "unevaluatedItems")) items = value;
    }
    uint32_t f = make_and(doc, all, n);
    if (props) f = gr_f_make2(doc, GR_F_UNEVAL_PROPS, f, sub(doc, props, scope));
    if (items) f = gr_f_make2(doc, GR_F_UNEVAL_ITEMS, f, sub(doc, items, scope));
    if (scope == 0) doc->schemas[schema].formula = f;
    return f;
}

uint32_t gr_const_formula(gr_doc *doc, json_t *value)
{
    size_t n = json_is_object(value) ? json_object_size(value) : json_array_size(value), i;
    uint32_t *all = gr_new(doc->cc, 2 * n + 3, sizeof *all), *sets = gr_new(doc->cc, n, sizeof *sets), m = 0, k = 0;
    const char *key;
    json_t *one;
    if (!sets) return GR_F_FALSE;
    if (json_is_object(value)) {
        json_object_foreach(value, key, one)
        {
            uint32_t t = gr_doc_text(doc, key, strlen(key));
            sets[k] = gr_names_make(doc, GR_N_NAME, &t, 1);
            all[m++] = present(doc, key, strlen(key));
            all[m++] = gr_f_make2(doc, GR_F_PROP, sets[k++], const_value(doc, one));
        }
        all[m++] = gr_f_make2(doc, GR_F_PROP, gr_names_make(doc, GR_N_OTHERS, sets, k), GR_F_FALSE);
    } else {
        uint32_t count = (uint32_t)n;
        json_array_foreach(value, i, one) all[m++] = gr_f_make2(doc, GR_F_ITEM, (uint32_t)i, const_value(doc, one));
        all[m++] = gr_f_make(doc, GR_F_ITEMS_MIN, &count, 1);
        all[m++] = gr_f_make(doc, GR_F_ITEMS_MAX, &count, 1);
    }
    return make_and(doc, all, m);
}

uint32_t gr_doc_load(gr_doc *doc, const char *text, size_t n)
{
    json_error_t e;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    doc->root = json_loadb(text, n, flags, &e);
    if (!doc->root && json_error_code(&e) == json_error_numeric_overflow)
        doc->root = json_loadb(text, n, flags | JSON_DECODE_INT_AS_REAL, &e);
    if (!doc->root) {
        gr_fail(doc->cc, IG_BAD_INPUT, "the schema is no JSON: line %d: %s", e.line, e.text);
        return GR_NONE;
    }
    for (uint32_t kind = GR_F_TRUE; kind <= GR_F_FALSE; kind++)
        (void)gr_intern_add(doc->cc, &doc->formulas, &kind, 1, NULL);
    (void)gr_intern_add(doc->cc, &doc->scopes, NULL, 0, NULL);
    (void)add_resource(doc, doc->root, "");
    if (!index_schema(doc, doc->root, 0, "")) return GR_NONE;
    uint32_t f = sub(doc, doc->root, 0);
    return doc->cc->st == IG_OK ? f : GR_NONE;
}

void gr_doc_fini(gr_doc *doc)
{
    json_decref(doc->root);
    doc->root = NULL;
}
