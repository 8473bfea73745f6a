#include "text/token/json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"

enum {
    BYTES_MAX = 256 << 20,
    DEPTH_MAX = 32,
    VALUES_MAX = 12 << 20,
    SMALL_OBJECT = 64, /* members up to which names are compared */
    NUMBER_MAX = 64
};

typedef struct parser {
    const char *name, *text;
    size_t n, at, n_values;
    ig_arena *arena;
    ig_tj_json *stack[DEPTH_MAX]; /* open arrays and objects */
    ig_tj_json *last[DEPTH_MAX];  /* the last element of each */
    size_t depth;
    locale_t c_locale;
    ig_error *err;
} parser;

static ig_status bad(parser *p, const char *what)
{
    return ig_fail(p->err, IG_BAD_INPUT, p->at, "%s: at byte %zu: %s", p->name, p->at, what);
}

static ig_status no_memory(parser *p)
{
    return ig_fail(p->err, IG_NO_MEMORY, p->at, "out of memory while reading %s", p->name);
}

static void skip_space(parser *p)
{
    while (p->at < p->n &&
           (p->text[p->at] == ' ' || p->text[p->at] == '\n' || p->text[p->at] == '\r' || p->text[p->at] == '\t'))
        p->at++;
}

static int peek(const parser *p) { return p->at < p->n ? (unsigned char)p->text[p->at] : -1; }

/* ------------------------------------------------------------------------------------------------ strings */

static bool hex4(const char *s, size_t n, uint32_t *out)
{
    *out = 0;
    if (n < 4) return false;
    for (int i = 0; i < 4; i++) {
        char c = s[i], low = (char)(c | 32);
        int d = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (d < 0) return false;
        *out = *out * 16 + (uint32_t)d;
    }
    return true;
}

/* \uXXXX, a pair of surrogates as one; s stands behind the u. Returns the bytes read, 0: wrong. */
static size_t unicode_escape(const char *s, size_t n, uint32_t *cp)
{
    uint32_t low;
    if (!hex4(s, n, cp)) return 0;
    if (*cp < 0xD800 || *cp > 0xDFFF) return 4;
    if (*cp > 0xDBFF || n < 10 || s[4] != '\\' || s[5] != 'u' || !hex4(s + 6, n - 6, &low)) return 0;
    if (low < 0xDC00 || low > 0xDFFF) return 0;
    *cp = 0x10000 + ((*cp - 0xD800) << 10) + (low - 0xDC00);
    return 10;
}

/* Resolves the escapes of s[0..n) into out, which has room for n bytes; false where one is wrong. */
static bool unescape(const char *s, size_t n, char *out, size_t *n_out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '\\') {
            out[to++] = s[i];
            continue;
        }
        const char *hit = ++i < n && s[i] ? strchr(names, s[i]) : NULL;
        if (hit) {
            out[to++] = values[hit - names];
            continue;
        }
        uint32_t cp;
        size_t len = i < n && s[i] == 'u' ? unicode_escape(s + i + 1, n - i - 1, &cp) : 0;
        if (!len) return false;
        to += ig_utf8_encode(cp, out + to);
        i += len;
    }
    *n_out = to;
    return true;
}

/* At a quote: reads to the one that closes it. */
static ig_status read_string(parser *p, ig_str *out)
{
    size_t from = ++p->at;
    bool escaped = false;
    for (; p->at < p->n && p->text[p->at] != '"'; p->at++) {
        unsigned char c = (unsigned char)p->text[p->at];
        if (c < 0x20) return bad(p, "a control character in a string");
        if (c != '\\') continue;
        escaped = true;
        if (++p->at == p->n) break;
    }
    if (p->at >= p->n) return bad(p, "the text ends inside a string");
    *out = (ig_str){p->text + from, p->at - from};
    p->at++;
    if (!ig_utf8_valid(out->ptr, out->len)) return bad(p, "a string that is no valid UTF-8 ends here");
    if (!escaped) return IG_OK;
    char *copy = ig_arena_alloc(p->arena, out->len + 1, 1);
    if (!copy) return no_memory(p);
    size_t n = 0;
    if (!unescape(out->ptr, out->len, copy, &n)) return bad(p, "a string with a wrong escape ends here");
    *out = (ig_str){copy, n};
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ numbers */

static size_t digits(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && s[i] >= '0' && s[i] <= '9') i++;
    return i;
}

/* Length of a number as the grammar has it, 0: none; *whole: without fraction and exponent. */
static size_t number_length(const char *s, size_t n, bool *whole)
{
    size_t at = n && s[0] == '-', d = digits(s + at, n - at);
    *whole = true;
    if (d == 0 || (d > 1 && s[at] == '0')) return 0;
    at += d;
    if (at < n && s[at] == '.') {
        d = digits(s + at + 1, n - at - 1);
        if (d == 0) return 0;
        at += 1 + d;
        *whole = false;
    }
    if (at < n && (s[at] | 32) == 'e') {
        size_t sign = at + 1 < n && (s[at + 1] == '+' || s[at + 1] == '-');
        d = digits(s + at + 1 + sign, n - at - 1 - sign);
        if (d == 0) return 0;
        at += 1 + sign + d;
        *whole = false;
    }
    return at;
}

static ig_status read_number(parser *p, ig_tj_json *out)
{
    char copy[NUMBER_MAX + 1];
    bool whole;
    size_t n = number_length(p->text + p->at, p->n - p->at, &whole);
    if (n == 0) return bad(p, "expected a value");
    if (n > NUMBER_MAX) return bad(p, "a number of more than 64 characters");
    memcpy(copy, p->text + p->at, n);
    copy[n] = 0;
    p->at += n;
    if (whole && n <= 18) {
        out->type = IG_JSON_INT;
        out->integer = strtoll(copy, NULL, 10);
        return IG_OK;
    }
    out->type = IG_JSON_REAL;
    out->real = strtod_l(copy, NULL, p->c_locale);
    return isfinite(out->real) ? IG_OK : bad(p, "a number that is too large ends here");
}

/* ------------------------------------------------------------------------------------------------ values */

static ig_status read_word(parser *p, ig_tj_json *out)
{
    static const struct {
        const char *text;
        ig_tj_json_type type;
    } words[] = {{"null", IG_JSON_NULL}, {"false", IG_JSON_FALSE}, {"true", IG_JSON_TRUE}};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i].text);
        if (p->n - p->at < n || memcmp(p->text + p->at, words[i].text, n) != 0) continue;
        out->type = words[i].type;
        p->at += n;
        return IG_OK;
    }
    return bad(p, "expected a value");
}

/* A scalar, or the opening of an array or object, which is then on the stack. */
static ig_status read_value(parser *p, ig_tj_json *out)
{
    ig_str s;
    int c = peek(p);
    if (c == '"') {
        IG_TRY(read_string(p, &s));
        out->type = IG_JSON_STRING;
        out->text = s.ptr;
        out->n = (uint32_t)s.len;
        return IG_OK;
    }
    if (c != '{' && c != '[') return c == 'n' || c == 'f' || c == 't' ? read_word(p, out) : read_number(p, out);
    if (p->depth == DEPTH_MAX) return bad(p, "nested more than 32 deep");
    out->type = c == '{' ? IG_JSON_OBJECT : IG_JSON_ARRAY;
    out->first = NULL;
    p->stack[p->depth] = out;
    p->last[p->depth++] = NULL;
    p->at++;
    return IG_OK;
}

static ig_status read_key(parser *p, ig_tj_json *node)
{
    ig_str key;
    if (peek(p) != '"') return bad(p, "expected a name in quotes");
    IG_TRY(read_string(p, &key));
    node->key = key.ptr;
    node->key_len = (uint32_t)key.len;
    skip_space(p);
    if (peek(p) != ':') return bad(p, "expected a colon");
    p->at++;
    skip_space(p);
    return IG_OK;
}

static ig_str key_of(const ig_tj_json *o) { return (ig_str){o->key, o->key_len}; }

static ig_status check_names(parser *p, const ig_tj_json *o)
{
    if (o->type != IG_JSON_OBJECT || o->n > SMALL_OBJECT) return IG_OK;
    for (const ig_tj_json *a = o->first; a; a = a->next)
        for (const ig_tj_json *b = a->next; b; b = b->next)
            if (ig_str_eq(key_of(a), key_of(b)))
                return ig_fail(p->err, IG_BAD_INPUT, p->at, "%s: before byte %zu: the name \"%.*s\" stands twice",
                               p->name, p->at, IG_STR_ARG(key_of(a)));
    return IG_OK;
}

/* The next element of the innermost open array or object, with its name. */
static ig_status read_element(parser *p)
{
    size_t level = p->depth - 1;
    ig_tj_json *parent = p->stack[level], *node = ig_arena_alloc(p->arena, 1, sizeof *node);
    if (!node) return no_memory(p);
    if (++p->n_values > VALUES_MAX)
        return ig_fail(p->err, IG_TOO_LARGE, p->at, "%s has more than %d values", p->name, VALUES_MAX);
    if (p->last[level])
        p->last[level]->next = node;
    else
        parent->first = node;
    p->last[level] = node;
    parent->n++;
    if (parent->type == IG_JSON_OBJECT) IG_TRY(read_key(p, node));
    return read_value(p, node);
}

static ig_status read_all(parser *p, ig_tj_json *root)
{
    skip_space(p);
    IG_TRY(read_value(p, root));
    while (p->depth) {
        ig_tj_json *parent = p->stack[p->depth - 1];
        skip_space(p);
        if (peek(p) == (parent->type == IG_JSON_OBJECT ? '}' : ']')) {
            p->at++;
            p->depth--;
            IG_TRY(check_names(p, parent));
            continue;
        }
        if (parent->n) {
            if (peek(p) != ',') return bad(p, "expected a comma or the end of the list");
            p->at++;
            skip_space(p);
        }
        IG_TRY(read_element(p));
    }
    skip_space(p);
    return p->at == p->n ? IG_OK : bad(p, "more text behind the value");
}

ig_status ig_tj_json_parse(const char *name, const char *text, size_t n, ig_arena *arena, const ig_tj_json **out,
                           ig_error *err)
{
    parser p = {.name = name, .text = text, .n = n, .arena = arena, .err = err};
    if (n > BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s has %zu bytes, expected at most %d", name, n, BYTES_MAX);
    ig_tj_json *root = ig_arena_alloc(arena, 1, sizeof *root);
    p.c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    ig_status st = root && p.c_locale ? read_all(&p, root) : no_memory(&p);
    if (p.c_locale) freelocale(p.c_locale);
    *out = root;
    return st;
}

/* ------------------------------------------------------------------------------------------------ looking */

const ig_tj_json *ig_tj_json_first(const ig_tj_json *o)
{
    return o && (o->type == IG_JSON_ARRAY || o->type == IG_JSON_OBJECT) ? o->first : NULL;
}

const ig_tj_json *ig_tj_json_get(const ig_tj_json *o, const char *key)
{
    if (!ig_tj_json_is(o, IG_JSON_OBJECT)) return NULL;
    for (const ig_tj_json *m = o->first; m; m = m->next)
        if (ig_str_is(key_of(m), key)) return m;
    return NULL;
}

ig_str ig_tj_json_text(const ig_tj_json *o)
{
    return ig_tj_json_is(o, IG_JSON_STRING) ? (ig_str){o->text, o->n} : (ig_str){NULL, 0};
}

bool ig_tj_json_number(const ig_tj_json *o, double *out)
{
    if (ig_tj_json_is(o, IG_JSON_INT))
        *out = (double)o->integer;
    else if (ig_tj_json_is(o, IG_JSON_REAL))
        *out = o->real;
    else
        return false;
    return true;
}
