/* The JSON cursor. Grammar: RFC 8259. Work is linear in the text, memory constant, depth limited; nothing recurses. */
#include "format/json.h"

#include <inttypes.h>

#include "base/utf8.h"

uint64_t ig_json_offset(const ig_json *j) { return j->base + j->at; }

ig_status ig_json_expected(const ig_json *j, const char *what)
{
    uint64_t at = ig_json_offset(j);
    return ig_fail(j->err, IG_BAD_INPUT, at, "%.200s: %s offset %" PRIu64 ", expected %s", j->path,
                   j->at < j->text.len ? "JSON at" : "JSON ends at", at, what);
}

ig_status ig_json_init(ig_json *j, const char *path, ig_str text, uint64_t base, ig_error *err)
{
    *j = (ig_json){.path = path, .text = text, .base = base, .err = err};
    if (ig_utf8_valid(text.ptr, text.len)) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, base, "%.200s: the JSON text is no valid UTF-8", path);
}

/* Byte under the cursor, -1 at the end. */
static int peek(const ig_json *j) { return j->at < j->text.len ? (unsigned char)j->text.ptr[j->at] : -1; }

static void skip_space(ig_json *j)
{
    for (;; j->at++) {
        int c = peek(j);
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return;
    }
}

ig_status ig_json_open(ig_json *j, char bracket)
{
    skip_space(j);
    if (peek(j) != bracket) return ig_json_expected(j, bracket == '{' ? "{" : "[");
    j->at++;
    return IG_OK;
}

/* Comma or end of a container: what follows the n-th element. */
static ig_status separator(ig_json *j, size_t *n, char close, bool *more)
{
    skip_space(j);
    *more = peek(j) != close;
    if (!*more) {
        j->at++;
        return IG_OK;
    }
    if ((*n)++ == 0) return IG_OK;
    if (peek(j) != ',') return ig_json_expected(j, close == '}' ? "a comma or }" : "a comma or ]");
    j->at++;
    skip_space(j);
    return IG_OK;
}

ig_status ig_json_element(ig_json *j, size_t *n, bool *more) { return separator(j, n, ']', more); }

/* The cursor steps behind a string; *raw is what lies between its quotes. */
static ig_status raw_string(ig_json *j, ig_str *raw, bool *escaped)
{
    if (peek(j) != '"') return ig_json_expected(j, "a string");
    size_t start = ++j->at;
    for (*escaped = false;; j->at++) {
        int c = peek(j);
        if (c < 0x20) return ig_json_expected(j, "the end of a string, no control character");
        if (c == '"') break;
        if (c != '\\') continue;
        *escaped = true;
        j->at++;
        if (peek(j) < 0x20) return ig_json_expected(j, "an escape");
    }
    *raw = (ig_str){j->text.ptr + start, j->at - start};
    j->at++;
    return IG_OK;
}

static ig_status library_error(const ig_json *j, size_t at, json_error_t *e)
{
    uint64_t offset = j->base + at + (e->position > 0 ? (uint64_t)e->position : 0);
    if (json_error_code(e) == json_error_out_of_memory)
        return ig_fail(j->err, IG_NO_MEMORY, offset, "%.200s: out of memory for JSON", j->path);
    return ig_fail(j->err, IG_BAD_INPUT, offset, "%.200s: bad JSON before offset %" PRIu64 ": %.120s", j->path, offset,
                   e->text);
}

/* Text with escapes: the library knows them, surrogate pairs included. */
static ig_status unescape(const ig_json *j, ig_str raw, ig_arena *arena, ig_str *out)
{
    json_error_t e;
    size_t at = (size_t)(raw.ptr - j->text.ptr);
    json_t *s = json_loadb(raw.ptr - 1, raw.len + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (!s) return library_error(j, at, &e);
    size_t n = json_string_length(s);
    const char *copy = ig_arena_copy(arena, json_string_value(s), n);
    json_decref(s);
    if (!copy) return ig_fail(j->err, IG_NO_MEMORY, 0, "%.200s: out of memory for a string", j->path);
    *out = (ig_str){copy, n};
    return IG_OK;
}

ig_status ig_json_string(ig_json *j, size_t bytes_max, ig_arena *arena, ig_str *out)
{
    bool escaped;
    skip_space(j);
    uint64_t at = ig_json_offset(j);
    IG_TRY(raw_string(j, out, &escaped));
    /* No escape is shorter than what it stands for, and none longer than six times. */
    size_t n = out->len;
    if (n / (escaped ? 6 : 1) <= bytes_max && escaped) IG_TRY(unescape(j, *out, arena, out));
    if (out->len <= bytes_max) return IG_OK;
    return ig_fail(j->err, IG_TOO_LARGE, at, "%.200s: the string at offset %" PRIu64 " has %zu bytes, the limit is %zu",
                   j->path, at, out->len, bytes_max);
}

ig_status ig_json_member(ig_json *j, size_t *n, bool *more, size_t key_bytes_max, ig_arena *arena, ig_str *key)
{
    IG_TRY(separator(j, n, '}', more));
    if (!*more) return IG_OK;
    IG_TRY(ig_json_string(j, key_bytes_max, arena, key));
    skip_space(j);
    if (peek(j) != ':') return ig_json_expected(j, "a colon");
    j->at++;
    skip_space(j);
    return IG_OK;
}

ig_status ig_json_uint(ig_json *j, uint64_t *out)
{
    uint64_t v = 0;
    skip_space(j);
    size_t start = j->at;
    for (int c; (c = peek(j)) >= '0' && c <= '9'; j->at++)
        if (!ig_mul_u64(v, 10, &v) || !ig_add_u64(v, (uint64_t)(c - '0'), &v) || v > INT64_MAX)
            return ig_json_expected(j, "a whole number below 2^63");
    int after = peek(j);
    bool zeros = j->at - start > 1 && j->text.ptr[start] == '0';
    if (j->at == start || zeros || after == '.' || after == 'e' || after == 'E') {
        j->at = start;
        return ig_json_expected(j, "a whole number, 0 or above");
    }
    *out = v;
    return IG_OK;
}

static ig_status skip_word(ig_json *j)
{
    size_t start = j->at;
    for (int c; (c = peek(j)) == '-' || c == '+' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                (c >= 'A' && c <= 'Z');)
        j->at++;
    return j->at == start ? ig_json_expected(j, "a value") : IG_OK;
}

/* Which brackets are open is kept in a stack of fixed size; that commas and colons stand where they should is left to
 * whoever reads the values. */
ig_status ig_json_skip(ig_json *j, uint64_t *n_values)
{
    char open[IG_JSON_DEPTH_MAX];
    size_t depth = 0;
    ig_str raw;
    bool escaped;
    do {
        skip_space(j);
        int c = peek(j);
        if (c == '{' || c == '[') {
            if (depth == IG_JSON_DEPTH_MAX) return ig_json_expected(j, "at most 128 brackets inside each other");
            open[depth++] = (char)c;
            j->at++;
        } else if (depth && c == (open[depth - 1] == '{' ? '}' : ']')) {
            depth--;
            j->at++;
            continue;
        } else if (depth && (c == ',' || c == ':')) {
            j->at++;
            continue;
        } else if (c == '"') {
            IG_TRY(raw_string(j, &raw, &escaped));
        } else {
            IG_TRY(skip_word(j));
        }
        if (n_values) (*n_values)++;
    } while (depth);
    return IG_OK;
}

ig_status ig_json_end(ig_json *j)
{
    skip_space(j);
    return j->at == j->text.len ? IG_OK : ig_json_expected(j, "the end of the text");
}

ig_status ig_json_tree(const char *path, ig_str text, uint64_t values_max, json_t **out, ig_error *err)
{
    ig_json j;
    json_error_t e;
    uint64_t n_values = 0;
    *out = NULL;
    IG_TRY(ig_json_init(&j, path, text, 0, err));
    IG_TRY(ig_json_open(&j, '{'));
    j.at = 0;
    IG_TRY(ig_json_skip(&j, &n_values));
    IG_TRY(ig_json_end(&j));
    if (n_values > values_max)
        return ig_fail(err, IG_TOO_LARGE, 0, "%.200s has %" PRIu64 " JSON values, the limit is %" PRIu64, path,
                       n_values, values_max);
    *out = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &e);
    return *out ? IG_OK : library_error(&j, 0, &e);
}
