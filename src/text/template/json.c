/* Reads JSON into values: strict RFC 8259 and the three names NaN, Infinity and -Infinity that Python writes. */
#include <math.h>

#include "text/template/filters.h"
#include "text/template/text.h"
#include "text/template/value.h"

typedef struct reader {
    ig_arena *arena;
    const char *p;
    size_t n, at;
    unsigned depth;
    ig_error *err;
} reader;

static ig_status fail(reader *j, const char *what)
{
    size_t line = 1;
    for (size_t i = 0; i < j->at && i < j->n; i++) line += j->p[i] == '\n';
    return ig_fail(j->err, IG_BAD_INPUT, j->at, "JSON line %zu, byte %zu: %s", line, j->at, what);
}

static ig_status no_memory(reader *j)
{
    return ig_fail(j->err, IG_NO_MEMORY, j->at, "out of memory for the JSON text");
}

static void blanks(reader *j)
{
    while (j->at < j->n && j->p[j->at] && strchr(" \t\r\n", j->p[j->at])) j->at++;
}

static bool take(reader *j, char c)
{
    blanks(j);
    bool yes = j->at < j->n && j->p[j->at] == c;
    j->at += yes;
    return yes;
}

static bool hex4(const reader *j, size_t at, uint32_t *cp)
{
    *cp = 0;
    for (size_t i = at; i < at + 4; i++) {
        char c = i < j->n ? j->p[i] : 0;
        bool digit = c >= '0' && c <= '9', letter = (c | 32) >= 'a' && (c | 32) <= 'f';
        if (!digit && !letter) return false;
        *cp = *cp << 4 | (uint32_t)(digit ? c - '0' : (c | 32) - 'a' + 10);
    }
    return true;
}

/* The escape behind a backslash at p[at]; its UTF-8 goes to out, *len bytes were read. */
static size_t escape(const reader *j, size_t at, char out[4], size_t *len)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint32_t cp, low;
    char c = at < j->n ? j->p[at] : 0;
    const char *known = c ? strchr(from, c) : NULL;
    *len = 1;
    if (known) return out[0] = to[known - from], 1;
    if (c != 'u' || !hex4(j, at + 1, &cp)) return 0;
    *len = 5;
    bool pair = cp >= 0xD800 && cp < 0xDC00 && at + 6 < j->n && j->p[at + 5] == '\\' && j->p[at + 6] == 'u';
    if (pair && hex4(j, at + 7, &low) && low >= 0xDC00 && low < 0xE000) {
        cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
        *len = 11;
    }
    if (cp >= 0xD800 && cp < 0xE000) cp = 0xFFFD; /* half a pair is no character */
    return ig_utf8_encode(cp, out);
}

static ig_status string(reader *j, ig_tval *out)
{
    size_t end = ++j->at, used = 0;
    while (end < j->n && j->p[end] != '"') end += j->p[end] == '\\' ? 2 : 1;
    if (end >= j->n) return fail(j, "the string is not closed");
    char *text = ig_arena_alloc(j->arena, end - j->at + 1, 1);
    if (!text) return no_memory(j);
    while (j->at < end) {
        uint32_t cp;
        size_t len, n;
        if ((unsigned char)j->p[j->at] < 32) return fail(j, "a control character in a string must be escaped");
        if (j->p[j->at] == '\\') {
            n = escape(j, ++j->at, text + used, &len);
            if (!n) return fail(j, "wrong escape in a string");
        } else {
            n = len = ig_utf8_decode(j->p + j->at, end - j->at, &cp);
            if (!n) return fail(j, "the string is not UTF-8");
            memcpy(text + used, j->p + j->at, n);
        }
        used += n;
        j->at += len;
    }
    j->at = end + 1;
    *out = ig_tv_borrow(j->arena, text, used, false);
    return out->kind ? IG_OK : no_memory(j);
}

static size_t digits(const reader *j, size_t at)
{
    size_t n = 0;
    while (at + n < j->n && j->p[at + n] >= '0' && j->p[at + n] <= '9') n++;
    return n;
}

static ig_status number(reader *j, ig_tval *out)
{
    size_t start = j->at, at = start, n;
    bool negative = j->p[at] == '-', real = false;
    at += negative;
    n = digits(j, at);
    if (!n || (n > 1 && j->p[at] == '0')) return fail(j, "wrong number");
    at += n;
    if (at < j->n && j->p[at] == '.') {
        if (!(n = digits(j, at + 1))) return fail(j, "wrong number");
        at += n + 1;
        real = true;
    }
    if (at < j->n && (j->p[at] | 32) == 'e') {
        at++;
        at += at < j->n && (j->p[at] == '+' || j->p[at] == '-');
        if (!(n = digits(j, at))) return fail(j, "wrong number");
        at += n;
        real = true;
    }
    j->at = at;
    ig_str text = {j->p + start, at - start};
    *out = real ? ig_tv_float(ig_tn_read_double(text))
                : ig_tn_parse(j->arena, text.ptr + negative, text.len - negative, 10, negative);
    return out->kind ? IG_OK : fail(j, "a whole number has more than 4300 digits, or memory is short");
}

static ig_status word(reader *j, ig_tval *out)
{
    const struct {
        const char *word;
        ig_tval value;
    } words[] = {{"true", ig_tv_bool(true)},
                 {"false", ig_tv_bool(false)},
                 {"null", ig_tv_none()},
                 {"NaN", ig_tv_float((double)NAN)},
                 {"Infinity", ig_tv_float((double)INFINITY)},
                 {"-Infinity", ig_tv_float(-(double)INFINITY)}};
    ig_str rest = {j->p + j->at, j->n - j->at};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ig_str_starts(rest, ig_str_from(words[i].word))) {
            j->at += strlen(words[i].word);
            *out = words[i].value;
            return IG_OK;
        }
    return fail(j, j->at < j->n ? "expected a value" : "expected a value, got the end");
}

static ig_status value(reader *j, ig_tval *out);

static ig_status list(reader *j, ig_tval *out)
{
    ig_tval *items = NULL;
    size_t n = 0, cap = 0;
    j->at++;
    for (bool first = true; !take(j, ']'); first = false) {
        if (!first && !take(j, ',')) return fail(j, "expected \",\" or \"]\"");
        if (n == cap) {
            ig_tval *more = ig_arena_alloc(j->arena, cap = cap ? cap * 2 : 4, sizeof *more);
            if (!more) return no_memory(j);
            if (n) memcpy(more, items, n * sizeof *more);
            items = more;
        }
        IG_TRY(value(j, &items[n]));
        n++;
    }
    *out = ig_tv_seq(j->arena, TV_LIST, items, n);
    return out->kind ? IG_OK : no_memory(j);
}

static ig_status dict(reader *j, ig_tval *out)
{
    ig_tdict *d = ig_td_new(j->arena, 0);
    if (!d) return no_memory(j);
    j->at++;
    for (bool first = true; !take(j, '}'); first = false) {
        ig_tval key, v;
        if (!first && !take(j, ',')) return fail(j, "expected \",\" or \"}\"");
        blanks(j);
        if (j->at >= j->n || j->p[j->at] != '"') return fail(j, "expected a key in quotes");
        IG_TRY(string(j, &key));
        if (!take(j, ':')) return fail(j, "expected \":\"");
        IG_TRY(value(j, &v));
        if (!ig_td_set(j->arena, d, key, v)) return no_memory(j);
    }
    *out = tv_ptr(TV_DICT, d);
    return IG_OK;
}

static ig_status value(reader *j, ig_tval *out)
{
    blanks(j);
    char c = j->at < j->n ? j->p[j->at] : 0;
    if (c == '"') return string(j, out);
    if ((c >= '0' && c <= '9') || (c == '-' && j->at + 1 < j->n && j->p[j->at + 1] != 'I')) return number(j, out);
    if (c != '[' && c != '{') return word(j, out);
    if (++j->depth > IG_TEMPLATE_JSON_DEPTH) return fail(j, "lists and objects are nested more than 200 deep");
    ig_status st = c == '[' ? list(j, out) : dict(j, out);
    j->depth--;
    return st;
}

ig_status ig_tv_from_json(ig_arena *arena, const char *text, size_t n, ig_tval *out, ig_error *err)
{
    reader j = {.arena = arena, .p = text, .n = n, .err = err};
    *out = (ig_tval){0};
    if (n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) j.at = 3;
    IG_TRY(value(&j, out));
    blanks(&j);
    return j.at == n ? IG_OK : fail(&j, "expected the end");
}
