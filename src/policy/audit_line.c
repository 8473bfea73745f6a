/* One record as text: hashing, writing of strings, strict reading. Pure functions on bytes. */
#include <stdio.h>

#include "audit_inner.h"
#include "base/utf8.h"

void ig_audit_hex(const unsigned char *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = 0;
}

static int nibble(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

bool ig_audit_unhex(ig_str hex, unsigned char *out, size_t n)
{
    if (hex.len != 2 * n) return false;
    for (size_t i = 0; i < n; i++) {
        int high = nibble(hex.ptr[2 * i]), low = nibble(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

bool ig_audit_sha(const void *p, size_t n, char hex[65])
{
    unsigned char digest[32];
    unsigned len = 0;
    if (!EVP_Digest(p, n, digest, &len, EVP_sha256(), NULL) || len != sizeof digest) return false;
    ig_audit_hex(digest, sizeof digest, hex);
    return true;
}

void ig_audit_key_id(const unsigned char pub[32], char out[33])
{
    char hex[65];
    *out = 0;
    if (ig_audit_sha(pub, 32, hex)) snprintf(out, 33, "%.32s", hex);
}

size_t ig_audit_sealed_text(char out[256], uint64_t seq, ig_str at, ig_str prev)
{
    int n = snprintf(out, 256, "ingle audit %llu %.*s %.*s\n", (unsigned long long)seq,
                     (int)(at.len < 40 ? at.len : 40), at.ptr, (int)(prev.len < 64 ? prev.len : 64), prev.ptr);
    return n < 0 ? 0 : (size_t)n;
}

/* ------------------------------------------------------------------------------------------------ writing */

static void put_escaped(ig_buf *out, char c)
{
    static const char plain[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    const char *at = c ? strchr(plain, c) : NULL;
    if (at)
        ig_buf_printf(out, "\\%c", letters[at - plain]);
    else
        ig_buf_printf(out, "\\u%04x", (unsigned char)c);
}

static bool is_plain(const char *p, size_t n, size_t *len)
{
    uint32_t cp;
    *len = ig_utf8_decode(p, n, &cp);
    return *len && cp >= ' ' && cp != '"' && cp != '\\' && cp != 127;
}

void ig_audit_put(ig_buf *out, const char *p, size_t n)
{
    size_t from = 0, i = 0, len;
    ig_buf_add(out, "\"", 1);
    while (i < n) {
        if (is_plain(p + i, n - i, &len)) {
            i += len;
            continue;
        }
        if (i > from) ig_buf_add(out, p + from, i - from);
        if (len)
            put_escaped(out, p[i]);
        else
            ig_buf_add(out, "\xef\xbf\xbd", 3);
        i += len ? len : 1;
        from = i;
    }
    if (i > from) ig_buf_add(out, p + from, i - from);
    ig_buf_add(out, "\"", 1);
}

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct cursor {
    const char *p, *end;
} cursor;

/* A JSON string at the cursor, with its quotes. */
static bool take_string(cursor *c, ig_str *out)
{
    const char *p = c->p;
    if (p == c->end || *p++ != '"') return false;
    while (p < c->end && *p != '"') {
        if ((unsigned char)*p < ' ') return false;
        if (*p == '\\' && ++p == c->end) return false;
        p++;
    }
    if (p == c->end) return false;
    *out = (ig_str){c->p, (size_t)(p + 1 - c->p)};
    c->p = p + 1;
    return true;
}

static bool take_word(cursor *c, ig_str *out)
{
    static const ig_str words[] = {{"true", 4}, {"false", 5}, {"null", 4}};
    ig_str rest = {c->p, (size_t)(c->end - c->p)};
    for (size_t i = 0; i < 3; i++)
        if (ig_str_starts(rest, words[i])) {
            *out = (ig_str){c->p, words[i].len};
            c->p += words[i].len;
            return true;
        }
    return false;
}

/* A whole number of at most 19 digits. */
static bool take_number(cursor *c, ig_str *out)
{
    const char *p = c->p;
    if (p < c->end && *p == '-') p++;
    const char *digits = p;
    while (p < c->end && *p >= '0' && *p <= '9' && p - digits < 20) p++;
    if (p == digits || p - digits > 19 || (*digits == '0' && p - digits > 1)) return false;
    *out = (ig_str){c->p, (size_t)(p - c->p)};
    c->p = p;
    return true;
}

static bool take_char(cursor *c, char want)
{
    if (c->p == c->end || *c->p != want) return false;
    c->p++;
    return true;
}

static bool take_field(cursor *c, ig_audit_line *out)
{
    ig_str name, value;
    if (out->n == IG_AUDIT_FIELDS_MAX || !take_string(c, &name) || !take_char(c, ':')) return false;
    if (!take_string(c, &value) && !take_number(c, &value) && !take_word(c, &value)) return false;
    name = (ig_str){name.ptr + 1, name.len - 2};
    for (size_t i = 0; i < out->n; i++)
        if (ig_str_eq(out->field[i].name, name)) return false;
    out->field[out->n].name = name;
    out->field[out->n++].value = value;
    return true;
}

static bool take_object(cursor *c, ig_audit_line *out)
{
    if (!take_char(c, '{')) return false;
    do
        if (!take_field(c, out)) return false;
    while (take_char(c, ','));
    return take_char(c, '}') && c->p == c->end;
}

ig_str ig_audit_field(const ig_audit_line *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (ig_str_is(l->field[i].name, name)) return l->field[i].value;
    return (ig_str){"", 0};
}

/* Without the quotes; "" where it is no string. */
static ig_str text_of(const ig_audit_line *l, const char *name)
{
    ig_str v = ig_audit_field(l, name);
    return v.len >= 2 && v.ptr[0] == '"' ? (ig_str){v.ptr + 1, v.len - 2} : (ig_str){"", 0};
}

static bool to_number(ig_str v, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < v.len; i++) {
        if (v.ptr[i] < '0' || v.ptr[i] > '9') return false;
        if (!ig_mul_u64(*out, 10, out) || !ig_add_u64(*out, (uint64_t)(v.ptr[i] - '0'), out)) return false;
    }
    return v.len > 0;
}

static bool is_hex(ig_str s, size_t n)
{
    for (size_t i = 0; i < s.len; i++)
        if (nibble(s.ptr[i]) < 0) return false;
    return s.len == n;
}

static bool has_shape(const ig_audit_line *l)
{
    return l->n >= 4 && ig_str_is(l->field[0].name, "seq") && ig_str_is(l->field[l->n - 2].name, "prev") &&
           ig_str_is(l->field[l->n - 1].name, "hash") && is_hex(l->prev, 64) && is_hex(l->hash, 64) && l->kind.len &&
           l->at.len == 24;
}

ig_status ig_audit_line_read(ig_str line, ig_audit_line *out, ig_error *err)
{
    cursor c = {line.ptr, line.ptr + line.len};
    char hash[65];
    *out = (ig_audit_line){.text = line};
    if (line.len > IG_AUDIT_LINE_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "a record is longer than %d bytes", (int)IG_AUDIT_LINE_MAX);
    if (!ig_utf8_valid(line.ptr, line.len) || !take_object(&c, out))
        return ig_fail(err, IG_BAD_INPUT, (uint64_t)(c.p - line.ptr), "this is no record");
    out->at = text_of(out, "at"), out->kind = text_of(out, "kind");
    out->prev = text_of(out, "prev"), out->hash = text_of(out, "hash");
    out->key = text_of(out, "key"), out->sig = text_of(out, "sig");
    if (!has_shape(out) || !to_number(out->field[0].value, &out->seq) || out->seq == 0 || out->seq > INT64_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "this is no record: seq, at, kind, prev or hash is missing or wrong");
    size_t n_hashed = line.len - (sizeof ",\"hash\":\"\"}" - 1) - 64;
    if (!ig_audit_sha(line.ptr, n_hashed, hash)) return ig_fail(err, IG_BUG, 0, "SHA-256 is not available");
    if (!ig_str_is(out->hash, hash))
        return ig_fail(err, IG_BAD_INPUT, 0, "record %llu was altered: its hash does not fit",
                       (unsigned long long)out->seq);
    return IG_OK;
}

/* Four hex digits at p. */
static uint32_t unit_at(const char *p, const char *end)
{
    uint32_t cp = 0;
    for (int i = 0; i < 4; i++) {
        char lower = p + i < end ? (char)(p[i] | ((p[i] >= 'A' && p[i] <= 'F') ? 0x20 : 0)) : 'x';
        int d = nibble(lower);
        if (d < 0) return 0xFFFD;
        cp = cp << 4 | (uint32_t)d;
    }
    return cp;
}

void ig_audit_value(ig_str value, char *out, size_t n)
{
    const char *p = value.ptr, *end = p + value.len;
    size_t at = 0;
    bool quoted = value.len >= 2 && *p == '"';
    if (quoted) p++, end--;
    while (p < end) {
        char utf8[4];
        uint32_t cp;
        size_t len = ig_utf8_decode(p, (size_t)(end - p), &cp);
        p += len ? len : 1;
        if (quoted && cp == '\\' && p < end) {
            char c = *p++;
            cp = c == 'u' ? unit_at(p, end) : strchr("nrtbf", c) ? ' ' : (uint32_t)(unsigned char)c;
            if (c == 'u') p += end - p < 4 ? end - p : 4;
        }
        if (cp < ' ' || (cp >= 127 && cp < 160)) cp = '?';
        size_t wide = ig_utf8_encode(cp, utf8);
        if (!wide) wide = ig_utf8_encode(0xFFFD, utf8);
        if (at + wide >= n) break;
        memcpy(out + at, utf8, wide);
        at += wide;
    }
    if (n) out[at] = 0;
}
