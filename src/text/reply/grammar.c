/* The grammar of valid replies: GBNF for what the family writes around names and values, JSON Schemas for the values
 * that are JSON (value-0, value-1, ...). Where text stands for a value (tags), a schema is either kept by construction
 * or refused by name; what is written is always a subset of what the schema allows. */
#include "base/utf8.h"
#include "priv.h"

enum {
    GRAMMAR_BYTES_MAX = 1 << 20,
    FIELDS_FREE = 5,
    DEPTH_MAX = 10,
    STRIP_DEPTH = 120,
    TEXTS_MAX = 8,
    MARK_BYTES = 64
};

/* How a value is written. */
typedef enum way { W_TAG, W_PYTHON, W_LOOSE, W_NESTED } way;

typedef struct writer {
    const ig_reply_rule *rule;
    const ig_reply_family *f;
    ig_buf *out;     /* rules; a rule is written to a buffer of its own first */
    json_t *schemas; /* list */
    json_t *tools;   /* [n_values] name of the tool, for messages */
    const rp_tool *tool;
    const bool *relaxed;     /* [n] tools whose schema is reduced to names and types; NULL: none */
    ig_str texts[TEXTS_MAX]; /* rules text-0, ...: text without this marker */
    size_t n_texts;
    unsigned n_rules;
    ig_status st;
    ig_error *err;
} writer;

static void fail(writer *w, const char *what, const char *name)
{
    if (w->st != IG_OK) return;
    w->st =
        ig_fail(w->err, IG_UNSUPPORTED, 0,
                "tool \"%.64s\": %s%s%.64s%s cannot be held to its schema in the calls of "
                "this model (%s)",
                w->tool ? w->tool->name : "", what, name ? " \"" : "", name ? name : "", name ? "\"" : "", w->f->name);
}

static void no_memory(writer *w)
{
    if (w->st == IG_OK) w->st = ig_fail(w->err, IG_NO_MEMORY, 0, "out of memory for a grammar");
}

static void put(writer *w, ig_buf *b, const char *z)
{
    if (ig_buf_add(b, z, strlen(z))) return;
    if (w->st == IG_OK)
        w->st = ig_fail(w->err, IG_TOO_LARGE, 0, "the grammar of the tools is larger than %d bytes", GRAMMAR_BYTES_MAX);
}

static void put_number(writer *w, ig_buf *b, const char *before, unsigned n, const char *after)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%u", n);
    put(w, b, before);
    put(w, b, text);
    put(w, b, after);
}

/* The text as a literal, with a blank after it. */
static void literal(writer *w, ig_buf *b, ig_str s)
{
    char hex[8];
    if (!s.len) return;
    put(w, b, "\"");
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        char one[2] = {(char)c, 0};
        (void)snprintf(hex, sizeof hex, "\\x%02X", c);
        put(w, b, c == '"' ? "\\\"" : c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c < 32 ? hex : one);
    }
    put(w, b, "\" ");
}
static void mark(writer *w, ig_buf *b, const char *z) { literal(w, b, z ? ig_str_from(z) : (ig_str){"", 0}); }

static void class_char(writer *w, ig_buf *b, uint32_t cp)
{
    char text[16];
    (void)snprintf(text, sizeof text, "\\U%08X", cp);
    put(w, b, text);
}

/* ------------------------------------------------------------------------------------------------ free text */

enum { MARKS_IN_TEXT = 24, STATES_MAX = 600 };

/* Texts in which none of some marks stands, as an automaton: a state is how much of a mark was read, a rule each. */
typedef struct text_states {
    ig_str marks[MARKS_IN_TEXT], prefix[STATES_MAX];
    size_t n_marks, n;
} text_states;

static bool ends_with(ig_str s, ig_str end)
{
    return s.len >= end.len && !memcmp(s.ptr + s.len - end.len, end.ptr, end.len);
}

static size_t state_of(const text_states *t, ig_str prefix)
{
    size_t i = 0;
    while (i < t->n && !ig_str_eq(t->prefix[i], prefix)) i++;
    return i;
}

static bool add_states(text_states *t)
{
    uint32_t cp;
    t->prefix[t->n++] = (ig_str){"", 0};
    for (size_t m = 0; m < t->n_marks; m++)
        for (size_t i = 0, k = 0; i < t->marks[m].len; i += k ? k : 1) {
            ig_str prefix = {t->marks[m].ptr, i};
            if (state_of(t, prefix) == t->n) {
                if (t->n == STATES_MAX) return false;
                t->prefix[t->n++] = prefix;
            }
            k = ig_utf8_decode(t->marks[m].ptr + i, t->marks[m].len - i, &cp);
        }
    return true;
}

/* The state behind the text, which is a state's with one more character; SIZE_MAX: a mark is complete. */
static size_t next_state(const text_states *t, ig_str text)
{
    for (size_t m = 0; m < t->n_marks; m++)
        if (ends_with(text, t->marks[m])) return SIZE_MAX;
    for (; text.len; text.ptr++, text.len--) {
        size_t i = state_of(t, text);
        if (i < t->n) return i;
    }
    return 0;
}

/* Whether a mark behind the state is the first one there: not so for "<" before "<<". */
static bool may_end(const text_states *t, ig_str prefix)
{
    char text[2 * MARK_BYTES];
    for (size_t m = 0; m < t->n_marks; m++) {
        ig_str all = {text, prefix.len + t->marks[m].len};
        memcpy(text, prefix.ptr, prefix.len);
        memcpy(text + prefix.len, t->marks[m].ptr, t->marks[m].len);
        for (size_t k = 0; k < t->n_marks; k++) {
            const char *at = memmem(all.ptr, all.len, t->marks[k].ptr, t->marks[k].len);
            if (at && at + t->marks[k].len < all.ptr + all.len) return false;
        }
    }
    return true;
}

/* Alternatives of state i: one for each character that goes on with a mark, one for all others but those of the class
 * `but`. Whether the text may end there as well, the caller says. */
static void state_edges(writer *w, ig_buf *b, const text_states *t, unsigned id, size_t i, const char *but)
{
    char text[2 * MARK_BYTES], name[64];
    ig_str seen[256], prefix = t->prefix[i];
    size_t n_seen = 0;
    uint32_t cp;
    ig_buf others;
    ig_buf_init(&others, GRAMMAR_BYTES_MAX);
    put(w, &others, but);
    memcpy(text, prefix.ptr, prefix.len);
    for (size_t m = 0; m < t->n_marks; m++)
        for (size_t at = 0, k = 0; at < t->marks[m].len; at += k ? k : 1) {
            k = ig_utf8_decode(t->marks[m].ptr + at, t->marks[m].len - at, &cp);
            ig_str c = {t->marks[m].ptr + at, k ? k : 1};
            size_t known = 0;
            while (known < n_seen && !ig_str_eq(seen[known], c)) known++;
            if (known < n_seen || n_seen == 256) continue;
            seen[n_seen++] = c;
            memcpy(text + prefix.len, c.ptr, c.len);
            size_t to = next_state(t, (ig_str){text, prefix.len + c.len});
            if (to == 0) continue;
            class_char(w, &others, cp);
            if (to == SIZE_MAX) continue;
            literal(w, b, c);
            (void)snprintf(name, sizeof name, "text-%u-%zu | ", id, to);
            put(w, b, name);
        }
    put(w, b, others.len ? "[^" : ".");
    if (others.len && !ig_buf_add(b, others.ptr, others.len)) no_memory(w);
    (void)snprintf(name, sizeof name, "%s text-%u-0\n", others.len ? "]" : "", id);
    put(w, b, name);
    ig_buf_fini(&others);
}

static void state_rule(writer *w, ig_buf *b, const text_states *t, unsigned id, size_t i)
{
    char name[64];
    (void)snprintf(name, sizeof name, "text-%u-%zu ::= %s", id, i, may_end(t, t->prefix[i]) ? "\"\" | " : "");
    put(w, b, name);
    state_edges(w, b, t, id, i, "");
}

static void text_rules(writer *w, text_states *t, unsigned id)
{
    ig_buf b;
    for (size_t m = 0; m < t->n_marks; m++)
        if (!t->marks[m].len || t->marks[m].len > MARK_BYTES) return fail(w, "a text", NULL);
    if (!add_states(t)) return fail(w, "a text", NULL);
    ig_buf_init(&b, GRAMMAR_BYTES_MAX);
    for (size_t i = 0; i < t->n; i++) state_rule(w, &b, t, id, i);
    if (!ig_buf_add(w->out, b.ptr, b.len)) no_memory(w);
    ig_buf_fini(&b);
}

/* Name of the rule for text without the marker. */
static void text_rule(writer *w, ig_buf *b, ig_str m)
{
    size_t i = 0;
    while (i < w->n_texts && !ig_str_eq(w->texts[i], m)) i++;
    if (i == w->n_texts) {
        if (i == TEXTS_MAX) return fail(w, "a text", NULL);
        w->texts[w->n_texts++] = m;
        text_rules(w, &(text_states){.marks = {m}, .n_marks = 1}, (unsigned)i);
    }
    put_number(w, b, "text-", (unsigned)i, "-0 ");
}

/* ------------------------------------------------------------------------------------------------ schemas */

static bool among(const char *key, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(key, *list)) return true;
    return false;
}

/* Takes out what only explains, so that explanations change nothing. Names of properties are no keywords. */
static bool strip(json_t *s, unsigned depth)
{
    static const char *const notes[] = {"description", "title",    "examples",  "example", "default", "$comment",
                                        "deprecated",  "readOnly", "writeOnly", "$schema", "$id",     NULL};
    static const char *const maps[] = {"properties",  "patternProperties", "$defs",
                                       "definitions", "dependentSchemas",  NULL};
    static const char *const data[] = {"enum", "const", "required", "dependentRequired", NULL};
    const char *key;
    json_t *v, *sub;
    void *next;
    if (depth == 0) return false;
    if (json_is_array(s)) {
        size_t i;
        json_array_foreach(s, i, v) if (!strip(v, depth - 1)) return false;
    }
    if (!json_is_object(s)) return true;
    json_object_foreach_safe(s, next, key, v) if (among(key, notes))(void) json_object_del(s, key);
    json_object_foreach(s, key, v)
    {
        if (among(key, data)) continue;
        if (among(key, maps)) {
            const char *name;
            json_object_foreach(v, name, sub) if (!strip(sub, depth - 1)) return false;
        } else if (!strip(v, depth - 1)) {
            return false;
        }
    }
    return true;
}

/* Adds a schema to the list; writes the rule of its values. types: limits to these types, 0: as it is. */
static void schema_rule(writer *w, ig_buf *b, const json_t *root, const json_t *schema, unsigned types,
                        const char *rule)
{
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    char id[32];
    size_t n = json_array_size(w->schemas);
    (void)snprintf(id, sizeof id, "ingle:%zu", n);
    json_t *s = json_pack("{s:s}", "$id", id), *all = json_array();
    const char *const defs[] = {"$defs", "definitions"};
    if (schema == root && !types) {
        json_decref(s);
        s = root ? json_deep_copy(root) : json_object();
        if (w->tool && !json_object_get(s, "type")) (void)json_object_set_new(s, "type", json_string("object"));
        if (!strip(s, STRIP_DEPTH)) fail(w, "a schema nested too deeply", NULL);
        (void)json_object_set_new(s, "$id", json_string(id));
    } else {
        for (size_t i = 0; i < 2; i++) {
            json_t *d = json_object_get(root, defs[i]);
            if (d) (void)json_object_set_new(s, defs[i], json_deep_copy(d));
        }
        if (schema) (void)json_array_append_new(all, json_deep_copy(schema));
        if (types) {
            json_t *list = json_array();
            for (unsigned i = 0; i < 6; i++)
                if (types >> i & 1) (void)json_array_append_new(list, json_string(names[i]));
            (void)json_object_set_new(s, "type", list);
        }
        if (schema) (void)json_object_set(s, "allOf", all);
        if (!strip(s, STRIP_DEPTH)) fail(w, "a schema nested too deeply", NULL);
        (void)json_object_set_new(s, "$id", json_string(id));
    }
    json_decref(all);
    if (json_array_append_new(w->schemas, s) != 0 ||
        json_array_append_new(w->tools, json_string(w->tool ? w->tool->name : "")) != 0)
        no_memory(w);
    put_number(w, b, rule, (unsigned)n, " ");
}

static void value_rule(writer *w, ig_buf *b, const json_t *root, const json_t *schema, unsigned types)
{
    schema_rule(w, b, root, schema, types, "value-");
}

static const json_t *get(const json_t *s, const char *key) { return json_object_get(s, key); }

/* ------------------------------------------------------------------------------------------------ values as text */

static void value(writer *w, ig_buf *b, const json_t *root, const json_t *schema, way how, unsigned depth,
                  unsigned around);
static void fields(writer *w, ig_buf *b, const json_t *root, const json_t *schema, way how, unsigned depth);

/* The marker that a text in this way may not hold. */
static ig_str stop_of(const writer *w, way how)
{
    if (how == W_LOOSE) return IG_STR("<|\"|>");
    return how == W_NESTED ? rp_mark(w->f->key) : rp_mark(w->f->value_end);
}

static json_int_t bound(const json_t *s, const char *key, json_int_t none)
{
    const json_t *v = get(s, key);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? json_integer_value(v) : none;
}

/* A string written as it is. mixed: other types are possible, too, so it must not look like one. */
static void string_value(writer *w, ig_buf *b, const json_t *root, const json_t *s, way how, bool mixed)
{
    static const char *const simple[] = {"type",  "description", "title",      "default", "examples", "enum",
                                         "const", "$comment",    "deprecated", "example", "nullable", NULL};
    const json_t *list = get(s, "enum"), *one = get(s, "const");
    ig_str stop = stop_of(w, how);
    const char *key;
    json_t *v;
    bool plain = true;
    json_object_foreach((json_t *)(uintptr_t)s, key, v) plain = plain && among(key, simple);
    if (how == W_LOOSE) literal(w, b, stop);
    if (!plain) {
        if (mixed) fail(w, "a string with a keyword beside other types", NULL);
        schema_rule(w, b, root, s, RP_STRING, "string-");
    } else if (list || one) {
        bool any = false;
        put(w, b, "( ");
        for (size_t i = 0; i < (one ? 1 : json_array_size(list)); i++) {
            const json_t *e = one ? one : json_array_get(list, i);
            ig_str text = {json_string_value(e), json_string_length(e)};
            if (!json_is_string(e) || rp_has(text, "<") || (mixed && rp_json_valid(text))) continue;
            put(w, b, any ? "| " : "");
            literal(w, b, text);
            if (!text.len) put(w, b, "\"\" ");
            any = true;
        }
        put(w, b, ") ");
        if (!any) fail(w, "an enum", NULL);
    } else {
        if (mixed) put(w, b, "[A-Za-z_/@~\\u00C0-\\uFFFF] ");
        text_rule(w, b, stop);
    }
    if (how == W_LOOSE) literal(w, b, stop);
}

static void list_value(writer *w, ig_buf *b, const json_t *root, const json_t *s, way how, unsigned depth)
{
    static const char *const refused[] = {"prefixItems", "contains", "uniqueItems", "unevaluatedItems", NULL};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)s, key, v) if (among(key, refused)) fail(w, "the keyword", key);
    json_int_t min = bound(s, "minItems", 0), max = bound(s, "maxItems", -1);
    if (min > 64 || max > 256) return fail(w, "the keyword", min > 64 ? "minItems" : "maxItems");
    ig_buf item;
    ig_buf_init(&item, GRAMMAR_BYTES_MAX);
    unsigned number = w->n_rules++;
    put_number(w, &item, "item-", number, " ::= ");
    if (how == W_NESTED) mark(w, &item, w->f->key), put(w, &item, "\"<item>\" ");
    value(w, &item, root, get(s, "items"), how, depth - 1, 0);
    if (how == W_NESTED) mark(w, &item, w->f->key), put(w, &item, "\"</item>\" ");
    put(w, &item, "\n");
    if (!ig_buf_add(w->out, item.ptr, item.len)) no_memory(w);
    ig_buf_fini(&item);
    char range[64];
    if (max < 0)
        (void)snprintf(range, sizeof range, "{%d,} ", (int)(min ? min - 1 : 0));
    else
        (void)snprintf(range, sizeof range, "{%d,%d} ", (int)(min ? min - 1 : 0), (int)(max ? max - 1 : 0));
    if (how == W_LOOSE) put(w, b, "\"[\" ");
    if (max != 0) {
        put(w, b, "( ");
        put_number(w, b, "item-", number, " ( ");
        put_number(w, b, how == W_LOOSE ? "\",\" item-" : "item-", number, " )");
        put(w, b, range);
        put(w, b, min ? ") " : ")? ");
    }
    if (how == W_LOOSE) put(w, b, "\"]\" ");
}

/* Branches of anyOf and oneOf, where nothing stands beside them. */
static bool branches(writer *w, ig_buf *b, const json_t *root, const json_t *s, way how, unsigned depth,
                     unsigned around)
{
    const json_t *list = get(s, "anyOf") ? get(s, "anyOf") : get(s, "oneOf");
    if (!json_is_array(list) || get(s, "type") || get(s, "properties") || !json_array_size(list)) return false;
    put(w, b, "( ");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i) put(w, b, "| ");
        value(w, b, root, json_array_get(list, i), how, depth - 1, around);
    }
    put(w, b, ") ");
    return true;
}

/* Python's other quotes, where that is simple. */
static void python_string(writer *w, ig_buf *b, const json_t *s)
{
    static const char *const simple[] = {"type", "description", "title", "default", "examples", "enum", NULL};
    const char *key;
    json_t *v;
    size_t i;
    bool plain = true;
    json_object_foreach((json_t *)(uintptr_t)s, key, v) plain = plain && among(key, simple);
    if (!plain) return;
    if (!get(s, "enum")) return put(w, b, "| \"'\" [^'\\\\\\x0A\\x0D]* \"'\" ");
    json_array_foreach(get(s, "enum"), i, v)
    {
        ig_str text = {json_string_value(v), json_string_length(v)};
        if (!json_is_string(v) || rp_has(text, "'") || rp_has(text, "\\") || rp_has(text, "\n")) continue;
        put(w, b, "| \"'\" ");
        literal(w, b, text);
        put(w, b, "\"'\" ");
    }
}

/* around: types that alternatives beside this one may have. */
static void value(writer *w, ig_buf *b, const json_t *root, const json_t *schema, way how, unsigned depth,
                  unsigned around)
{
    if (w->st != IG_OK) return;
    if (depth == 0) return fail(w, "a schema nested too deeply", NULL);
    const json_t *s = schema ? rp_resolve(root, schema) : NULL;
    if (schema && !s) return fail(w, "a $ref that leads nowhere", NULL);
    if (json_is_boolean(s)) s = NULL;
    unsigned types = s ? rp_types(root, s) : RP_ANY, rest = types & ~(unsigned)RP_STRING;
    bool mixed = how != W_LOOSE && ((types | around) & ~(unsigned)(RP_STRING | RP_NULL)) != 0;
    if (how != W_PYTHON && s && branches(w, b, root, s, how, depth, types | around)) return;
    bool deep = how == W_LOOSE || how == W_NESTED;
    const char *sep = "";
    if (how == W_PYTHON) {
        put(w, b, "( ");
        value_rule(w, b, root, schema, types == RP_ANY ? RP_ANY : 0u);
        if (types == RP_STRING) python_string(w, b, s);
        return put(w, b, ") ");
    }
    put(w, b, "( ");
    if (types & RP_STRING) string_value(w, b, root, s, how, mixed), sep = "| ";
    if (deep) rest &= ~(unsigned)(RP_LIST | RP_OBJECT);
    if (rest) put(w, b, sep), value_rule(w, b, root, schema, rest), sep = "| ";
    if (deep && types & RP_LIST && (s || depth > DEPTH_MAX - 2))
        put(w, b, sep), list_value(w, b, root, s, how, depth), sep = "| ";
    if (deep && types & RP_OBJECT && (s || sep[0] == 0)) {
        put(w, b, sep);
        if (how == W_LOOSE) put(w, b, "\"{\" ");
        fields(w, b, root, s, how, depth - 1);
        if (how == W_LOOSE) put(w, b, "\"}\" ");
    }
    put(w, b, ") ");
}

/* ------------------------------------------------------------------------------------------------ arguments */

/* One argument or entry with its name. */
static void field(writer *w, ig_buf *b, const json_t *root, const char *name, const json_t *schema, way how,
                  unsigned depth)
{
    const ig_reply_family *f = w->f;
    ig_str key = ig_str_from(name);
    const json_t *s = rp_resolve(root, schema);
    if (how == W_PYTHON) {
        literal(w, b, key);
        put(w, b, "\"=\" ");
        return value(w, b, root, schema, how, depth, 0);
    }
    if (how == W_LOOSE) {
        literal(w, b, key);
        put(w, b, "\":\" ");
        return value(w, b, root, schema, how, depth, 0);
    }
    if (how == W_NESTED) {
        mark(w, b, f->key), put(w, b, "\"<\" "), literal(w, b, key), put(w, b, "\">\" ");
        value(w, b, root, schema, how, depth, 0);
        mark(w, b, f->key), put(w, b, "\"</\" "), literal(w, b, key), put(w, b, "\">\" ");
        return;
    }
    if (f->flags & RP_TYPED) { /* the attribute decides what the text is */
        unsigned types = s ? rp_types(root, s) : RP_ANY, rest = types & ~(unsigned)RP_STRING;
        mark(w, b, f->key), literal(w, b, key);
        put(w, b, "( ");
        if (types & RP_STRING) put(w, b, "\"\\\" string=\\\"true\\\">\" "), string_value(w, b, root, s, how, false);
        if (types & RP_STRING && rest) put(w, b, "| ");
        if (rest) put(w, b, "\"\\\" string=\\\"false\\\">\" "), value_rule(w, b, root, schema, rest);
        put(w, b, ") ");
        return mark(w, b, f->value_end);
    }
    mark(w, b, f->key), literal(w, b, key), mark(w, b, f->key_end), mark(w, b, f->value);
    value(w, b, root, schema, how, depth, 0);
    mark(w, b, f->value_end);
}

static const char *gap_of(const writer *w, way how)
{
    if (how == W_PYTHON) return w->f->key_gap ? w->f->key_gap : ", ";
    return how == W_LOOSE ? "," : "";
}

static bool is_required(const json_t *s, const char *name)
{
    const json_t *list = get(s, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one && !strcmp(one, name)) return true;
    }
    return false;
}

/* States of a row of fields: which were written (few fields: in any order), or the next one and whether there was one
 * (many: in the order of the schema). */
static void field_states(writer *w, const json_t *s, size_t n, unsigned id, way how)
{
    const json_t *props = get(s, "properties");
    const char *gap = gap_of(w, how), *names[1024];
    bool free_order = n <= FIELDS_FREE;
    size_t at = 0;
    const char *key;
    json_t *v;
    char text[96];
    ig_buf b;
    json_object_foreach((json_t *)(uintptr_t)props, key, v) names[at++] = key;
    size_t states = free_order ? (size_t)1 << n : 2 * (n + 1);
    for (size_t q = 0; q < states && w->st == IG_OK; q++) {
        ig_buf_init(&b, GRAMMAR_BYTES_MAX);
        (void)snprintf(text, sizeof text, "row-%u-%zu ::= ", id, q);
        put(w, &b, text);
        bool first = true, ends = true;
        for (size_t i = 0; free_order && i < n; i++) {
            if (q >> i & 1) continue;
            ends = ends && !is_required(s, names[i]);
            put(w, &b, first ? "" : "| ");
            if (q) literal(w, &b, ig_str_from(gap));
            (void)snprintf(text, sizeof text, "field-%u-%zu row-%u-%zu ", id, i, id, q | (size_t)1 << i);
            put(w, &b, text);
            first = false;
        }
        size_t i = q / 2;
        if (!free_order && i < n) {
            if (q & 1) literal(w, &b, ig_str_from(gap));
            (void)snprintf(text, sizeof text, "field-%u-%zu row-%u-%zu ", id, i, id, 2 * (i + 1) + 1);
            put(w, &b, text);
            ends = false;
            if (!is_required(s, names[i])) {
                (void)snprintf(text, sizeof text, "| row-%u-%zu ", id, 2 * (i + 1) + (q & 1));
                put(w, &b, text);
            }
            first = false;
        }
        if (ends) put(w, &b, first ? "\"\"" : "| \"\"");
        put(w, &b, "\n");
        if (!ig_buf_add(w->out, b.ptr, b.len)) no_memory(w);
        ig_buf_fini(&b);
    }
}

/* The properties of an object: writes rules for them and the name of the first to b. */
static void fields(writer *w, ig_buf *b, const json_t *root, const json_t *schema, way how, unsigned depth)
{
    static const char *const kept[] = {"type",        "properties", "required", "additionalProperties", "$defs",
                                       "definitions", "title",      "default",  "description",          "$schema",
                                       "$id",         "examples",   "$comment", "deprecated",           "enum_titles",
                                       "strict",      NULL};
    const json_t *s = schema ? rp_resolve(root, schema) : NULL, *props = get(s, "properties");
    const char *key;
    json_t *v;
    unsigned id = w->n_rules++;
    size_t n = json_object_size(props), i = 0;
    json_object_foreach((json_t *)(uintptr_t)s, key, v) if (!among(key, kept)) fail(w, "the keyword", key);
    const json_t *required = get(s, "required");
    for (size_t k = 0; k < json_array_size(required); k++) {
        const char *name = json_string_value(json_array_get(required, k));
        if (name && !json_object_get(props, name)) fail(w, "the required argument without a schema", name);
    }
    if (n > 1000) return fail(w, "more than 1000 arguments", NULL);
    if (w->st != IG_OK) return;
    json_object_foreach((json_t *)(uintptr_t)props, key, v)
    {
        ig_buf rule;
        char text[64];
        ig_buf_init(&rule, GRAMMAR_BYTES_MAX);
        (void)snprintf(text, sizeof text, "field-%u-%zu ::= ", id, i++);
        put(w, &rule, text);
        field(w, &rule, root, key, v, how, depth);
        put(w, &rule, "\n");
        if (!ig_buf_add(w->out, rule.ptr, rule.len)) no_memory(w);
        ig_buf_fini(&rule);
    }
    field_states(w, s, n, id, how);
    put_number(w, b, "row-", id, "-0 ");
}

/* ------------------------------------------------------------------------------------------------ calls */

static void quoted_name(writer *w, ig_buf *b, ig_str name)
{
    ig_buf q;
    ig_buf_init(&q, 4096);
    if (!ig_buf_add(&q, "\"", 1) || !rp_escape(&q, name) || !ig_buf_add(&q, "\"", 1)) no_memory(w);
    literal(w, b, (ig_str){q.ptr, q.len});
    ig_buf_fini(&q);
}

static void json_call(writer *w, ig_buf *b, ig_str name, const json_t *schema)
{
    const ig_reply_family *f = w->f;
    if (!strcmp(f->name, "command")) { /* the number of the call stands before its name */
        mark(w, b, "{\"tool_call_id\": \"");
        put(w, b, "[0-9]{1,4} ");
        mark(w, b, "\", \"tool_name\": ");
    } else if (f->flags & RP_ID_FIRST) {
        put(w, b, "\"{\" ( \"\\\"id\\\": \\\"\" [a-zA-Z0-9]{9} \"\\\", \" )? \"\\\"name\\\": \" ");
    } else {
        mark(w, b, f->head);
    }
    quoted_name(w, b, name);
    mark(w, b, f->middle);
    value_rule(w, b, schema, schema, 0);
    if (f->flags & RP_IDS && !(f->flags & RP_ID_FIRST))
        put(w, b, "( \", \\\"id\\\": \\\"\" [a-zA-Z0-9]{9} \"\\\"\" )? ");
    mark(w, b, f->tail);
}

static void harmony_call(writer *w, ig_buf *b, ig_str name, const json_t *schema)
{
    put(w, b, "( \" to=functions.\" ");
    literal(w, b, name);
    put(w, b,
        "\"<|channel|>commentary\" \" <|constrain|>\"? \" \"? \"json<|message|>\" | "
        "\"<|channel|>commentary to=functions.\" ");
    literal(w, b, name);
    put(w, b, "\" <|constrain|>json<|message|>\" ) ");
    value_rule(w, b, schema, schema, 0);
    put(w, b, "\"<|call|>\"? ");
}

static void tags_call(writer *w, ig_buf *b, ig_str name, const json_t *root)
{
    literal(w, b, name);
    mark(w, b, w->f->name_end);
    fields(w, b, root, root, w->f->syntax == RP_NESTED ? W_NESTED : W_TAG, DEPTH_MAX);
}

static void bracket_call(writer *w, ig_buf *b, ig_str name, const json_t *root)
{
    bool python = w->f->syntax == RP_PYTHON;
    literal(w, b, name);
    put(w, b, python ? "\"(\" " : "\"{\" ");
    fields(w, b, root, root, python ? W_PYTHON : W_LOOSE, DEPTH_MAX);
    put(w, b, python ? "\")\" " : "\"}\" ");
}

static void named_call(writer *w, ig_buf *b, ig_str name, const json_t *schema)
{
    const ig_reply_family *f = w->f;
    if (f->flags & RP_ID_IS_NAME) put(w, b, "\"functions.\" ");
    literal(w, b, name);
    if (f->flags & RP_ID_IS_NAME) put(w, b, "\":\" [0-9]{1,4} ");
    if (f->id_mark) put(w, b, "( "), mark(w, b, f->id_mark), put(w, b, "[a-zA-Z0-9]{9} )? ");
    mark(w, b, f->name_end);
    value_rule(w, b, schema, schema, 0);
}

/* What can be enforced of any schema: the names of the arguments, their types, which are required. */
static json_t *relaxed_schema(const json_t *root)
{
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    json_t *props = json_object(), *required = json_array(), *v;
    const char *key;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)get(root, "properties"), key, v)
    {
        json_t *list = json_array();
        for (i = 0; i < 6; i++)
            if (rp_types(root, v) >> i & 1) (void)json_array_append_new(list, json_string(names[i]));
        (void)json_object_set_new(props, key, json_pack("{s:o}", "type", list));
    }
    json_array_foreach(get(root, "required"), i, v) if (json_object_get(props, json_string_value(v)))(void)
        json_array_append(required, v);
    bool closed = json_is_false(get(root, "additionalProperties"));
    return json_pack("{s:s,s:o,s:o,s:b}", "type", "object", "properties", props, "required", required,
                     "additionalProperties", !closed);
}

/* Between the markers of a call. */
static void call_of(writer *w, ig_buf *b, const rp_tool *tool, bool relaxed)
{
    ig_str name = ig_str_from(tool->name);
    json_t *schema = relaxed ? relaxed_schema(tool->schema) : json_incref(tool->schema);
    if (relaxed && !schema) no_memory(w);
    w->tool = tool;
    switch (w->f->syntax) {
    case RP_JSON: json_call(w, b, name, schema); break;
    case RP_NAMED: named_call(w, b, name, schema); break;
    case RP_TAGS:
    case RP_NESTED: tags_call(w, b, name, schema); break;
    case RP_PYTHON:
    case RP_LOOSE: bracket_call(w, b, name, schema); break;
    default: harmony_call(w, b, name, schema);
    }
    w->tool = NULL;
    json_decref(schema);
}

static bool wanted(const writer *w, const rp_tool *t)
{
    return w->rule->choice != IG_CHOICE_NAMED || ig_str_is(w->rule->name, t->name);
}

/* The rules call and calls. */
static void call_rules(writer *w)
{
    const ig_reply_tools *tools = w->rule->tools;
    const ig_reply_family *f = w->f;
    ig_buf b;
    bool any = false;
    ig_buf_init(&b, GRAMMAR_BYTES_MAX);
    put(w, &b, "tool ::= ");
    for (size_t i = 0; tools && i < tools->n && w->st == IG_OK; i++) {
        if (!wanted(w, &tools->tools[i])) continue;
        put(w, &b, any ? "| " : "");
        call_of(w, &b, &tools->tools[i], w->relaxed && w->relaxed[i]);
        any = true;
    }
    put(w, &b, "\n");
    const char *call = f->syntax == RP_HARMONY ? NULL : f->call, *end = f->syntax == RP_HARMONY ? NULL : f->call_end;
    put(w, &b, "first ::= "), mark(w, &b, call), put(w, &b, "tool "), mark(w, &b, end);
    put(w, &b, "\ncalls ::= "), mark(w, &b, f->section), put(w, &b, "first ");
    if (w->rule->parallel && f->syntax != RP_HARMONY && (f->call || f->section || f->between)) {
        bool line = f->between && !strcmp(f->between, "\n");
        put(w, &b, "( "), mark(w, &b, f->between), put(w, &b, line ? "? first )* " : "first )* ");
    }
    mark(w, &b, f->section_end);
    put(w, &b, "\n");
    if (!ig_buf_add(w->out, b.ptr, b.len)) no_memory(w);
    ig_buf_fini(&b);
    if (any || w->st != IG_OK) return;
    if (w->rule->choice == IG_CHOICE_NAMED)
        w->st = ig_fail(w->err, IG_NOT_FOUND, 0, "tool_choice names \"%.*s\", which is not among the tools",
                        IG_STR_ARG(w->rule->name));
    else
        w->st = ig_fail(w->err, IG_BAD_INPUT, 0, "a tool call is asked for, but there are no tools");
}

/* ------------------------------------------------------------------------------------------------ the whole reply */

/* Reasoning that the prompt has begun, or that may come. True when it has begun. */
static bool reasoning(writer *w, ig_buf *b)
{
    int open = rp_think_open(w->rule->prompt);
    if (open >= 0) {
        ig_str close = ig_str_from(rp_thinks[open].close);
        text_rule(w, b, close);
        literal(w, b, close);
        put(w, b, "[ \\n]{0,4} ");
        return true;
    }
    put(w, b, "[ \\n]{0,4} ");
    for (size_t i = 0; i < rp_n_thinks; i++) {
        if (!rp_think_used(i, w->rule->source) || !rp_has(w->rule->source, rp_thinks[i].close)) continue;
        put(w, b, "( ( ");
        mark(w, b, rp_thinks[i].open);
        text_rule(w, b, ig_str_from(rp_thinks[i].close));
        put(w, b, ")? ");
        mark(w, b, rp_thinks[i].close);
        put(w, b, "[ \\n]{0,4} )? ");
        break;
    }
    return false;
}

/* The markers by which calls begin, all that a reader knows; none: they stand bare. */
static void call_marks(const ig_reply_family *f, text_states *t)
{
    ig_str list[MARKS_IN_TEXT];
    size_t n = 0;
    ig_str first = rp_line(f->section ? f->section : f->call, 0);
    while (f->section && first.len > 1 && first.ptr[first.len - 1] == '[')
        first = rp_trim((ig_str){first.ptr, first.len - 1});
    list[n++] = first;
    for (size_t i = 0; i < 4; i++) list[n++] = rp_line(f->call, i);
    if (f->call && !strncmp(f->call, "<tool_call>", 11)) list[n++] = IG_STR("<function=");
    for (size_t i = 0; i < n; i++) {
        bool known = !list[i].len || (i && f->drop[0] && ig_str_is(list[i], f->drop[0]));
        for (size_t k = 0; k < t->n_marks; k++) known = known || ig_str_eq(t->marks[k], list[i]);
        if (!known) t->marks[t->n_marks++] = list[i];
    }
}

/* What may be said instead of a call: a value of the schema that is asked for; false: any text. */
static bool answer_value(writer *w, ig_buf *b)
{
    ig_str text = w->rule->answer;
    if (!text.len) return false;
    json_t *schema = json_loadb(text.ptr, text.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (!schema && w->st == IG_OK) w->st = ig_fail(w->err, IG_BAD_INPUT, 0, "the schema of the answer is no JSON");
    if (json_is_object(schema))
        value_rule(w, b, schema, schema, 0);
    else
        value_rule(w, b, NULL, schema, 0);
    json_decref(schema);
    return true;
}

static void answer_or_text(writer *w, ig_buf *b, ig_str stop)
{
    if (!answer_value(w, b)) text_rule(w, b, stop);
}

static void harmony_root(writer *w, ig_buf *b)
{
    put(w, b, "( \"<|channel|>analysis<|message|>\" ");
    text_rule(w, b, IG_STR("<|"));
    put(w, b, "\"<|end|><|start|>assistant\" )* ( calls ");
    if (w->rule->choice == IG_CHOICE_AUTO) {
        put(w, b, "| \"<|channel|>final<|message|>\" ");
        answer_or_text(w, b, IG_STR("<|"));
        put(w, b, "| \"<|channel|>commentary<|message|>\" ");
        text_rule(w, b, IG_STR("<|"));
        put(w, b, "\"<|end|><|start|>assistant\" calls ");
    }
    put(w, b, ")\n");
}

/* Replies of families in which every message names its recipient. */
static bool muse_root(writer *w, ig_buf *b)
{
    if (!(w->f->flags & RP_HEADERS)) return false;
    if (w->f->syntax == RP_HARMONY) return harmony_root(w, b), true;
    put(w, b, "( \" to=self<|message|>\" ");
    text_rule(w, b, IG_STR("<|"));
    put(w, b, "\"<|eom|><|start|>assistant\" )* ( ");
    put(w, b,
        "( \" to=\" [^<]{1,200} \"<|message|>\" calls ( \"<|eom|><|start|>assistant to=\" [^<]{1,200} \"<|message|>\" "
        "calls )* ) ");
    if (w->rule->choice == IG_CHOICE_AUTO) {
        put(w, b, "| ( \" to=\" [^<]{1,200} )? \"<|message|>\" ");
        answer_or_text(w, b, IG_STR("<"));
    }
    put(w, b, ")\n");
    return true;
}

/* The prompt has written the marker before the name. */
static bool named_root(writer *w, ig_buf *b)
{
    const ig_reply_family *f = w->f;
    ig_str call = {"", 0}, prompt = rp_trim(w->rule->prompt);
    if (!f->text_name) return false;
    for (size_t i = 0; rp_line(f->call, i).len; i++) call = rp_line(f->call, i);
    if (!ends_with(prompt, call)) return false;
    if (w->rule->choice == IG_CHOICE_AUTO) {
        put(w, b, "( ");
        mark(w, b, f->text_name), mark(w, b, f->name_end);
        answer_or_text(w, b, call);
        put(w, b, w->rule->parallel ? "first* | " : "first? | ");
    } else {
        put(w, b, "( ");
    }
    put(w, b, w->rule->parallel ? "tool first* )\n" : "tool )\n");
    return true;
}

/* ------------------------------------------------------------------------------------------------ bare calls */

/* Families that take JSON without a marker for a call when it is one. Text may begin with a brace or a bracket all the
 * same, as long as it turns out to be none: its first keys are others, its "name" is no tool's. The rules follow the
 * reader (object.c, call.c). */

#define BLANK   "[ \\n\\r\\t]"
#define LETTERS "a-zA-Z0-9_.\\x2D\\u0080-\\U0010FFFF" /* of a name in Python's notation */

/* A string that is none of the tools' names, nor of the others. */
static void no_name(writer *w, ig_buf *b, const char *const *others, const char *pattern, const char *rule)
{
    json_t *names = json_array();
    const ig_reply_tools *tools = w->rule->tools;
    for (size_t i = 0; tools && i < tools->n; i++)
        (void)json_array_append_new(names, json_string(tools->tools[i].name));
    for (size_t i = 0; others && others[i]; i++) (void)json_array_append_new(names, json_string(others[i]));
    json_t *s = json_pack("{s:s,s:{s:O}}", "type", "string", "not", "enum", names);
    if (pattern) (void)json_object_set_new(s, "pattern", json_string(pattern));
    if (!s) no_memory(w);
    schema_rule(w, b, NULL, s, 0, rule);
    json_decref(s);
    json_decref(names);
}

static void keys(writer *w, ig_buf *b, const char *const *list)
{
    put(w, b, "( ");
    for (size_t i = 0; list[i]; i++) {
        put(w, b, i ? "| " : "");
        quoted_name(w, b, ig_str_from(list[i]));
    }
    put(w, b, ") bare-blank \":\" bare-blank ");
}

/* text: the rule that follows where it is clear that there is no call; firsts: class of the first characters of marks,
 * which must not be taken for something else there. */
static void bare_rules(writer *w, ig_buf *b, const char *text, const char *firsts)
{
    static const char *const known[] = {"name",      "tool_name",  "id",   "tool_call_id", "call_id", "type",
                                        "arguments", "parameters", "args", "function",     NULL};
    static const char *const named[] = {"name", "tool_name", NULL};
    static const char *const other[] = {"id", "tool_call_id", "call_id", "type", NULL};
    static const char words[] = "[" LETTERS "]+ ( " BLANK "+ [" LETTERS "]+ )+ ( \"(\" | [^" LETTERS " \\n\\r\\t(";
    json_t *scalar = json_pack("{s:[s,s,s,s]}", "type", "string", "number", "boolean", "null");
    put(w, b, "bare-blank ::= " BLANK "*\nbare-object ::= \"}\" "), put(w, b, text);
    put(w, b, "| [^\"} \\n\\r\\t"), put(w, b, firsts), put(w, b, "] "), put(w, b, text);
    put(w, b, "| bare-member\nbare-member ::= ");
    no_name(w, b, known, NULL, "value-"), put(w, b, text);
    put(w, b, "| "), keys(w, b, named), no_name(w, b, NULL, NULL, "value-"), put(w, b, text);
    put(w, b, "| "), keys(w, b, other), schema_rule(w, b, NULL, scalar, 0, "value-");
    put(w, b, "bare-blank ( \"}\" "), put(w, b, text), put(w, b, "| \",\" bare-blank bare-member )\nbare-list ::= ");
    put(w, b, "\"{\" bare-blank bare-object | [^{}\\[\\]`,; \\n\\r\\t" LETTERS), put(w, b, firsts);
    put(w, b, "] "), put(w, b, text), put(w, b, "| ");
    no_name(w, b, NULL, "^[\\w.\\-\\u0080-\\uFFFF]+$", "string-");
    put(w, b, "( \"(\" | [^" LETTERS " \\n\\r\\t("), put(w, b, firsts), put(w, b, "] ) "), put(w, b, text);
    put(w, b, "| "), put(w, b, words), put(w, b, firsts), put(w, b, "] ) "), put(w, b, text), put(w, b, "\n");
    json_decref(scalar);
}

/* The rule bare-start: text that begins with no call. The marks of calls are in t already. */
static void bare_start(writer *w, text_states *t, unsigned id)
{
    const ig_reply_family *f = w->f;
    ig_buf b, firsts;
    char text[32];
    uint32_t cp;
    ig_buf_init(&b, GRAMMAR_BYTES_MAX);
    ig_buf_init(&firsts, 1024);
    for (size_t m = 0; m < t->n_marks; m++) {
        (void)ig_utf8_decode(t->marks[m].ptr, t->marks[m].len, &cp);
        class_char(w, &firsts, cp);
    }
    put(w, &firsts, ""); /* may be empty */
    (void)ig_buf_add(&firsts, "", 1);
    (void)snprintf(text, sizeof text, "text-%u-0 ", id);
    bare_rules(w, &b, text, firsts.ptr ? firsts.ptr : "");
    put(w, &b, "bare-call ::= ");
    if (f->syntax != RP_PYTHON) put(w, &b, w->rule->parallel ? "tool | " : "tool ");
    if (f->syntax == RP_PYTHON || w->rule->parallel)
        put(w, &b, w->rule->parallel ? "\"[\" tool ( \", \" tool )* \"]\"" : "\"[\" tool \"]\"");
    put(w, &b,
        "\nbare-start ::= \"\" | " BLANK " bare-start | \"{\" bare-blank bare-object | \"[\" [ \\n\\r\\t,;\\[]* ");
    put(w, &b, "bare-list | ");
    state_edges(w, &b, t, id, 0, "{\\[ \\n\\r\\t");
    if (!ig_buf_add(w->out, b.ptr, b.len)) no_memory(w);
    ig_buf_fini(&b);
    ig_buf_fini(&firsts);
}

/* What would be read as no text where text begins, so that a call could stand behind it without being noticed. */
static void add_silent_marks(const writer *w, text_states *t)
{
    ig_str list[3 + 2 * MARKS_IN_TEXT];
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) list[n++] = rp_mark(w->f->drop[i]);
    for (size_t i = 0; i < rp_n_thinks && i < MARKS_IN_TEXT; i++) {
        if (!rp_think_used(i, w->rule->source)) continue;
        list[n++] = ig_str_from(rp_thinks[i].open);
        list[n++] = ig_str_from(rp_thinks[i].close);
    }
    for (size_t i = 0; i < n && t->n_marks < MARKS_IN_TEXT; i++)
        if (list[i].len) t->marks[t->n_marks++] = list[i];
}

static void auto_rule(writer *w, ig_buf *b)
{
    text_states t = {0};
    call_marks(w->f, &t);
    bool bare = w->f->flags & RP_BARE, marked = t.n_marks > 0;
    if (w->rule->answer.len) {
        put(w, b, "( calls | ");
        (void)answer_value(w, b);
        return put(w, b, ")\n");
    }
    if (bare) add_silent_marks(w, &t);
    text_rules(w, &t, TEXTS_MAX);
    if (!bare) {
        put_number(w, b, "text-", TEXTS_MAX, "-0 ");
        return put(w, b, marked ? "calls?\n" : "\n");
    }
    bare_start(w, &t, TEXTS_MAX);
    put(w, b, marked ? "( bare-start calls? | bare-call )\n" : "( bare-start | bare-call | calls )\n");
}

static void root_rule(writer *w)
{
    ig_buf b;
    ig_buf_init(&b, GRAMMAR_BYTES_MAX);
    put(w, &b, "root ::= ");
    if (!muse_root(w, &b) && !named_root(w, &b)) {
        (void)reasoning(w, &b);
        for (size_t i = 0; !w->f->call && !w->f->section && i < 3 && w->f->drop[i]; i++)
            mark(w, &b, w->f->drop[i]), put(w, &b, "? ");
        if (w->rule->choice == IG_CHOICE_AUTO)
            auto_rule(w, &b);
        else
            put(w, &b, "calls\n");
    }
    if (!ig_buf_add(w->out, b.ptr, b.len)) no_memory(w);
    ig_buf_fini(&b);
}

static ig_status write_all(const ig_reply_rule *rule, const bool *relaxed, ig_buf *gbnf, json_t **schemas,
                           json_t **tools, ig_error *err)
{
    writer w = {.rule = rule, .relaxed = relaxed, .out = gbnf, .st = IG_OK, .err = err};
    w.f = rule->family ? rule->family : &rp_families[rp_n_families - 1];
    w.schemas = *schemas = json_array();
    w.tools = *tools = json_array();
    if (!w.schemas || !w.tools) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
    call_rules(&w);
    if (w.st == IG_OK) root_rule(&w);
    return w.st;
}

ig_status ig_reply_grammar_source(const ig_reply_rule *rule, ig_buf *gbnf, ig_buf *schemas, ig_error *err)
{
    json_t *list = NULL, *tools = NULL;
    ig_status st = write_all(rule, NULL, gbnf, &list, &tools, err);
    char *text = st == IG_OK ? json_dumps(list, JSON_COMPACT) : NULL;
    if (st == IG_OK && (!text || !ig_buf_add(schemas, text, strlen(text))))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
    free(text);
    json_decref(list);
    json_decref(tools);
    return st;
}

/* Says which tool's schema is at fault. */
static ig_status name_tool(ig_status st, const json_t *tools, ig_error *err)
{
    static const char head[] = "/prefixItems/";
    if (!err) return st;
    ig_error was = *err;
    const char *at = strstr(was.text, head);
    if (!at) return st;
    char *end;
    unsigned long i = strtoul(at + sizeof head - 1, &end, 10);
    const char *name = json_string_value(json_array_get(tools, i));
    if (!name || !*name) return ig_fail(err, st, was.offset, "#%.400s", end);
    return ig_fail(err, st, was.offset, "tool \"%.64s\": #%.400s", name, end);
}

static ig_status compile(const ig_reply_rule *rule, const bool *relaxed, ig_grammar **out, ig_error *err)
{
    ig_buf gbnf;
    json_t *list = NULL, *tools = NULL;
    *out = NULL;
    ig_buf_init(&gbnf, GRAMMAR_BYTES_MAX);
    ig_status st = write_all(rule, relaxed, &gbnf, &list, &tools, err);
    char *text = st == IG_OK ? json_dumps(list, JSON_COMPACT) : NULL;
    if (st == IG_OK && !text) st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
    if (st == IG_OK) {
        st = ig_grammar_from_parts(gbnf.ptr, gbnf.len, text, strlen(text), out, err);
        if (st != IG_OK) st = name_tool(st, tools, err);
    }
    free(text);
    json_decref(list);
    json_decref(tools);
    ig_buf_fini(&gbnf);
    return st;
}

/* Finds the tools that may be relaxed and must be: each is tried alone. */
static ig_status find_relaxed(const ig_reply_rule *rule, bool *relaxed, size_t *n, ig_error *err)
{
    ig_reply_rule alone = *rule;
    alone.choice = IG_CHOICE_NAMED;
    alone.answer = (ig_str){NULL, 0};
    for (size_t i = 0; i < rule->tools->n; i++) {
        ig_grammar *g = NULL;
        ig_error e;
        if (!rule->tools->tools[i].lenient) continue;
        alone.name = ig_str_from(rule->tools->tools[i].name);
        ig_status st = compile(&alone, NULL, &g, &e);
        ig_grammar_free(g);
        if (st == IG_NO_MEMORY) return ig_fail(err, st, 0, "out of memory for a grammar");
        relaxed[i] = st != IG_OK;
        *n += relaxed[i];
    }
    return IG_OK;
}

ig_status ig_reply_grammar(const ig_reply_rule *rule, ig_grammar **out, ig_error *err)
{
    bool *relaxed = rule->relaxed;
    size_t n = 0;
    for (size_t i = 0; relaxed && rule->tools && i < rule->tools->n; i++) relaxed[i] = false;
    ig_status st = compile(rule, NULL, out, err);
    if ((st != IG_UNSUPPORTED && st != IG_BAD_INPUT) || !relaxed || !rule->tools) return st;
    IG_TRY(find_relaxed(rule, relaxed, &n, err));
    return n ? compile(rule, relaxed, out, err) : st;
}
