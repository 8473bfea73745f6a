/* HTTP/1.1 as bytes; see http.h. Owns nothing, allocates nothing. */
#include "serve/http.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

static ig_http_result refuse(ig_http_refusal *why, unsigned status, const char *text)
{
    *why = (ig_http_refusal){status, text};
    return IG_HTTP_BAD;
}

/* ---- characters ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_token_char(char c) { return is_digit(c) || is_alpha(c) || (c && strchr("!#$%&'*+-.^_`|~", c)); }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static int hex_value(char c)
{
    if (is_digit(c)) return c - '0';
    char l = lower(c);
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/* Control characters but HTAB; bytes from 0x80 on are allowed where text is (obs-text). */
static bool is_control(char c) { return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f; }

static bool is_token(ig_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_token_char(s.ptr[i])) return false;
    return s.len > 0;
}

static ig_str trim(ig_str s, const char *blanks)
{
    while (s.len && strchr(blanks, s.ptr[0]) && s.ptr[0]) s = (ig_str){s.ptr + 1, s.len - 1};
    while (s.len && s.ptr[s.len - 1] && strchr(blanks, s.ptr[s.len - 1])) s.len--;
    return s;
}

bool ig_http_same(ig_str a, const char *b)
{
    size_t n = strlen(b);
    if (a.len != n) return false;
    for (size_t i = 0; i < n; i++)
        if (lower(a.ptr[i]) != lower(b[i])) return false;
    return true;
}

/* ---- finding the head ---- */

/* One more line is complete. */
static ig_http_result line_done(ig_http_scan *scan, bool empty, ig_http_refusal *why)
{
    if (++scan->n_lines > IG_HTTP_FIELDS_MAX + 1 && !empty)
        return refuse(why, 431, "the request has more than 100 header fields");
    scan->line_start = scan->pos + 1;
    return IG_HTTP_MORE;
}

/* What the byte at scan->pos makes too long. The request line may hold a method, a target of its limit and a version.
 */
static ig_http_result judge_length(const ig_http_scan *scan, bool ends, ig_http_refusal *why)
{
    size_t len = scan->pos - scan->line_start;
    if (scan->pos >= IG_HTTP_HEAD_MAX) return refuse(why, 431, "the request's head is longer than 65536 bytes");
    if (ends) return IG_HTTP_MORE;
    if (scan->n_lines > 0 && len > IG_HTTP_LINE_MAX) return refuse(why, 431, "a header line is longer than 8192 bytes");
    if (scan->n_lines == 0 && len > IG_HTTP_TARGET_MAX + 64)
        return refuse(why, 414, "the request line is longer than the 8192 bytes allowed for a target");
    return IG_HTTP_MORE;
}

ig_http_result ig_http_scan_head(ig_http_scan *scan, const char *buf, size_t n, size_t *head_len, ig_http_refusal *why)
{
    for (; scan->pos < n; scan->pos++) {
        char c = buf[scan->pos];
        if (judge_length(scan, scan->cr && c == '\n', why) == IG_HTTP_BAD) return IG_HTTP_BAD;
        if (scan->cr && c != '\n') return refuse(why, 400, "a CR without LF stands in the request's head");
        if (!scan->cr && c == '\n') return refuse(why, 400, "a line of the request's head ends with LF alone");
        if (scan->cr) {
            bool empty = scan->pos == scan->line_start + 1;
            scan->cr = false;
            if (line_done(scan, empty, why) == IG_HTTP_BAD) return IG_HTTP_BAD;
            if (!empty) continue;
            if (scan->n_lines == 1) return refuse(why, 400, "the request begins with an empty line");
            *head_len = ++scan->pos;
            return IG_HTTP_DONE;
        }
        scan->cr = c == '\r';
        if (!scan->cr && is_control(c)) return refuse(why, 400, "a control character stands in the request's head");
    }
    return IG_HTTP_MORE;
}

/* ---- the request line ---- */

/* Decodes s in place into *out. Refuses broken escapes, control characters, backslashes and broken UTF-8. */
static bool percent_decode(char *p, size_t n, ig_str *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c == '%') {
            if (n - i < 3 || hex_value(p[i + 1]) < 0 || hex_value(p[i + 2]) < 0) return false;
            c = (char)(hex_value(p[i + 1]) * 16 + hex_value(p[i + 2]));
            i += 2;
        }
        if (c == '\\' || c == '\t' || is_control(c)) return false;
        p[k++] = c;
    }
    *out = (ig_str){p, k};
    return ig_utf8_valid(p, k);
}

static bool escapes_fit(ig_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '%') continue;
        if (s.len - i < 3) return false;
        int hi = hex_value(s.ptr[i + 1]), lo = hex_value(s.ptr[i + 2]);
        if (hi < 0 || lo < 0 || (hi == 0 && lo == 0)) return false;
    }
    return true;
}

/* "." and ".." as a whole segment: what they mean differs from reader to reader. */
static bool has_dot_segment(ig_str path)
{
    size_t start = 0;
    for (size_t i = 0; i <= path.len; i++) {
        if (i < path.len && path.ptr[i] != '/') continue;
        ig_str seg = {path.ptr + start, i - start};
        if (ig_str_is(seg, ".") || ig_str_is(seg, "..")) return true;
        start = i + 1;
    }
    return false;
}

/* Cuts scheme and authority off an absolute target; *authority stays empty for the usual form. */
static bool cut_authority(char **p, size_t *n, ig_str *authority)
{
    *authority = (ig_str){"", 0};
    if (*n && **p == '/') return true;
    size_t scheme = 0;
    if (*n > 7 && ig_http_same((ig_str){*p, 7}, "http://")) scheme = 7;
    if (*n > 8 && ig_http_same((ig_str){*p, 8}, "https://")) scheme = 8;
    if (!scheme) return false;
    char *a = *p + scheme;
    size_t rest = *n - scheme, len = 0;
    while (len < rest && a[len] != '/' && a[len] != '?') len++;
    *authority = (ig_str){a, len};
    *p = a + len;
    *n = rest - len;
    return len > 0;
}

static ig_http_result parse_target(char *p, size_t n, ig_http_head *out, ig_str *authority, ig_http_refusal *why)
{
    if (n > IG_HTTP_TARGET_MAX) return refuse(why, 414, "the request's target is longer than 8192 bytes");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] <= ' ' || (unsigned char)p[i] >= 0x7f || p[i] == '#' || p[i] == '\\')
            return refuse(why, 400, "the request's target holds a character that must be percent-encoded");
    *authority = (ig_str){"", 0};
    if (n == 1 && p[0] == '*' && ig_str_is(out->method, "OPTIONS")) {
        out->path = (ig_str){p, 1};
        return IG_HTTP_DONE;
    }
    if (!cut_authority(&p, &n, authority))
        return refuse(why, 400, "the request's target is neither a path nor an absolute address");
    size_t q = 0;
    while (q < n && p[q] != '?') q++;
    if (q < n) out->query = (ig_str){p + q + 1, n - q - 1};
    if (q == 0)
        out->path = IG_STR("/");
    else if (!percent_decode(p, q, &out->path))
        return refuse(why, 400, "the request's path holds a broken or forbidden percent-escape");
    if (has_dot_segment(out->path)) return refuse(why, 400, "the request's path holds a . or .. segment");
    if (!escapes_fit(out->query)) return refuse(why, 400, "the request's query holds a broken percent-escape");
    return IG_HTTP_DONE;
}

static ig_http_result parse_version(ig_str v, ig_http_head *out, ig_http_refusal *why)
{
    bool form = v.len == 8 && !memcmp(v.ptr, "HTTP/", 5) && is_digit(v.ptr[5]) && v.ptr[6] == '.' && is_digit(v.ptr[7]);
    if (!form) return refuse(why, 400, "the request line does not end with HTTP/1.1");
    if (v.ptr[5] != '1')
        return refuse(why, ig_str_is(out->method, "PRI") ? 400 : 505, "this server speaks HTTP/1.1 and HTTP/1.0 only");
    out->minor = v.ptr[7] == '0' ? 0 : 1;
    return IG_HTTP_DONE;
}

/* line[0..n) without CRLF: method SP target SP version, nothing else (H06). */
static ig_http_result parse_request_line(char *line, size_t n, ig_http_head *out, ig_str *authority,
                                         ig_http_refusal *why)
{
    char *sp1 = memchr(line, ' ', n);
    size_t m = sp1 ? (size_t)(sp1 - line) : n;
    char *target = line + m + 1;
    char *sp2 = sp1 ? memchr(target, ' ', n - m - 1) : NULL;
    out->method = (ig_str){line, m};
    if (!sp2 || sp2 == target || !is_token(out->method))
        return refuse(why, 400, "the request line is not METHOD TARGET HTTP/1.1 with single blanks");
    ig_str version = {sp2 + 1, n - (size_t)(sp2 + 1 - line)};
    if (parse_version(version, out, why) == IG_HTTP_BAD) return IG_HTTP_BAD;
    if (m > IG_HTTP_METHOD_MAX) return refuse(why, 501, "the request's method is longer than 16 bytes");
    if (ig_str_is(out->method, "CONNECT")) return refuse(why, 501, "this server is no proxy: CONNECT is not supported");
    return parse_target(target, (size_t)(sp2 - target), out, authority, why);
}

/* ---- fields ---- */

const ig_http_field *ig_http_find(const ig_http_head *head, const char *name)
{
    for (size_t i = 0; i < head->n_fields; i++)
        if (ig_http_same(head->fields[i].name, name)) return &head->fields[i];
    return NULL;
}

size_t ig_http_count(const ig_http_head *head, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < head->n_fields; i++) n += ig_http_same(head->fields[i].name, name);
    return n;
}

static ig_http_result parse_field(ig_str line, ig_http_head *out, ig_http_refusal *why)
{
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
        return refuse(why, 400, "a header line begins with a blank (folded lines are not accepted)");
    const char *colon = memchr(line.ptr, ':', line.len);
    if (!colon) return refuse(why, 400, "a header line has no colon");
    ig_str name = {line.ptr, (size_t)(colon - line.ptr)};
    ig_str value = {colon + 1, line.len - name.len - 1};
    if (!is_token(name)) return refuse(why, 400, "a header name is empty or holds a blank or a forbidden character");
    if (out->n_fields == IG_HTTP_FIELDS_MAX) return refuse(why, 431, "the request has more than 100 header fields");
    out->fields[out->n_fields++] = (ig_http_field){name, trim(value, " \t")};
    return IG_HTTP_MORE;
}

static bool label_char(char c) { return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_'; }
static bool v6_char(char c) { return hex_value(c) >= 0 || c == ':' || c == '.'; }

bool ig_http_split_host(ig_str host, ig_str *name, unsigned *port)
{
    size_t n = 0;
    bool v6 = host.len && host.ptr[0] == '[';
    if (v6) n++;
    while (n < host.len && (v6 ? v6_char(host.ptr[n]) : label_char(host.ptr[n]))) n++;
    if (v6 && (n < 3 || n == host.len || host.ptr[n++] != ']')) return false;
    if (n == 0) return false;
    *name = (ig_str){host.ptr, n};
    *port = 0;
    if (n == host.len) return true;
    if (host.ptr[n++] != ':' || host.len - n < 1 || host.len - n > 5) return false;
    for (; n < host.len; n++) {
        if (!is_digit(host.ptr[n])) return false;
        *port = *port * 10 + (unsigned)(host.ptr[n] - '0');
    }
    return *port > 0 && *port <= 65535;
}

/* H01, H02: exactly one Host, of the form host[:port]. */
static ig_http_result judge_host(ig_http_head *out, ig_str authority, ig_http_refusal *why)
{
    size_t n = ig_http_count(out, "host");
    ig_str name;
    unsigned port;
    if (n > 1) return refuse(why, 400, "the request has more than one Host header");
    if (n == 0 && out->minor > 0) return refuse(why, 400, "the request has no Host header");
    if (n == 0) return IG_HTTP_DONE;
    out->host = ig_http_find(out, "host")->value;
    if (!ig_http_split_host(out->host, &name, &port))
        return refuse(why, 400, "the Host header is not of the form name or name:port");
    bool same = authority.len == out->host.len;
    for (size_t i = 0; same && i < authority.len; i++) same = lower(authority.ptr[i]) == lower(out->host.ptr[i]);
    if (authority.len && !same) return refuse(why, 400, "the request's target names another host than its Host header");
    return IG_HTTP_DONE;
}

/* 1*DIGIT up to 2^63-1 (H03). */
static bool parse_length(ig_str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.len == 0 || s.len > 19) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_digit(s.ptr[i])) return false;
        v = v * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *out = v;
    return v <= INT64_MAX;
}

/* A name that some servers read as one of the framing fields: '_' for '-'. */
static bool is_twin(ig_str name)
{
    static const char *const framing[] = {"content_length", "transfer_encoding"};
    for (size_t i = 0; i < sizeof framing / sizeof framing[0]; i++)
        if (ig_http_same(name, framing[i])) return true;
    return false;
}

/* No tab was trimmed from a field's value: tabs have been used to hide Transfer-Encoding from one reader of two. The
 * value lies in a line "name:value CR". */
static bool spaces_only_around(ig_str value)
{
    const char *before = value.ptr, *after = value.ptr + value.len;
    while (before[-1] == ' ') before--;
    while (*after == ' ') after++;
    return before[-1] == ':' && *after == '\r';
}

/* H03, H04: how long the body is, without any doubt. */
static ig_http_result judge_framing(ig_http_head *out, ig_http_refusal *why)
{
    size_t n_len = ig_http_count(out, "content-length"), n_te = ig_http_count(out, "transfer-encoding");
    for (size_t i = 0; i < out->n_fields; i++)
        if (is_twin(out->fields[i].name))
            return refuse(why, 400, "a header name with _ in place of - would hide the length of the body");
    if (n_len && n_te) return refuse(why, 400, "the request has both Content-Length and Transfer-Encoding");
    if (n_len > 1) return refuse(why, 400, "the request has more than one Content-Length header");
    if (n_len && !parse_length(ig_http_find(out, "content-length")->value, &out->content_length))
        return refuse(why, 400, "Content-Length is not a plain decimal number below 2^63");
    out->has_length = n_len == 1;
    if (!n_te) return IG_HTTP_DONE;
    ig_str te = ig_http_find(out, "transfer-encoding")->value;
    if (out->minor == 0) return refuse(why, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (n_te > 1 || !spaces_only_around(te) || !ig_http_same(te, "chunked"))
        return refuse(why, 400, "the only Transfer-Encoding understood is exactly: chunked");
    out->chunked = true;
    return IG_HTTP_DONE;
}

/* True when a comma-separated list holds the word. */
static bool list_has(ig_str list, const char *word)
{
    while (list.len) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t n = comma ? (size_t)(comma - list.ptr) : list.len;
        if (ig_http_same(trim((ig_str){list.ptr, n}, " \t"), word)) return true;
        size_t skip = comma ? n + 1 : n;
        list = (ig_str){list.ptr + skip, list.len - skip};
    }
    return false;
}

static ig_http_result judge_connection(ig_http_head *out, ig_http_refusal *why)
{
    bool close = false, keep = false;
    for (size_t i = 0; i < out->n_fields; i++) {
        if (!ig_http_same(out->fields[i].name, "connection")) continue;
        close |= list_has(out->fields[i].value, "close");
        keep |= list_has(out->fields[i].value, "keep-alive");
    }
    out->keep_alive = !close && (out->minor > 0 || keep);
    const ig_http_field *expect = ig_http_find(out, "expect");
    if (!expect || out->minor == 0) return IG_HTTP_DONE;
    if (ig_http_count(out, "expect") > 1 || !ig_http_same(expect->value, "100-continue"))
        return refuse(why, 417, "the only expectation understood is 100-continue");
    out->expect_continue = out->chunked || out->content_length > 0;
    return IG_HTTP_DONE;
}

ig_http_result ig_http_parse_head(char *head, size_t n, ig_http_head *out, ig_http_refusal *why)
{
    ig_str authority = {"", 0};
    size_t pos = 0;
    out->method = out->path = out->query = out->host = (ig_str){"", 0};
    out->n_fields = 0;
    out->content_length = 0;
    out->minor = 1;
    out->has_length = out->chunked = out->keep_alive = out->expect_continue = false;
    for (bool first = true; pos + 1 < n; first = false) {
        char *end = memchr(head + pos, '\r', n - pos);
        size_t len = end ? (size_t)(end - head) - pos : 0;
        if (!end || len == 0) break;
        ig_http_result r = first ? parse_request_line(head + pos, len, out, &authority, why)
                                 : parse_field((ig_str){head + pos, len}, out, why);
        if (r == IG_HTTP_BAD) return r;
        pos += len + 2;
    }
    if (out->method.len == 0) return refuse(why, 400, "the request has no request line");
    if (judge_host(out, authority, why) == IG_HTTP_BAD || judge_framing(out, why) == IG_HTTP_BAD) return IG_HTTP_BAD;
    return judge_connection(out, why);
}

ig_str ig_http_peek_path(const char *buf, size_t n)
{
    size_t at = 0, end;
    while (at < n && at < IG_HTTP_METHOD_MAX && is_token_char(buf[at])) at++;
    if (at == 0 || at + 1 >= n || buf[at] != ' ' || buf[at + 1] != '/') return (ig_str){"", 0};
    for (end = ++at; end < n && end - at < IG_HTTP_TARGET_MAX; end++) {
        const char c = buf[end];
        if (c == ' ' || c == '?' || c == '\r') return (ig_str){buf + at, end - at};
        if (c < ' ' || c == 127) break;
    }
    return (ig_str){"", 0};
}

bool ig_http_query(ig_str query, const char *name, char *out, size_t cap)
{
    while (query.len) {
        const char *amp = memchr(query.ptr, '&', query.len);
        ig_str pair = {query.ptr, amp ? (size_t)(amp - query.ptr) : query.len};
        size_t skip = amp ? pair.len + 1 : pair.len;
        query = (ig_str){query.ptr + skip, query.len - skip};
        const char *eq = memchr(pair.ptr, '=', pair.len);
        ig_str key = {pair.ptr, eq ? (size_t)(eq - pair.ptr) : pair.len};
        if (!ig_str_is(key, name)) continue;
        ig_str value = {eq ? eq + 1 : "", eq ? pair.len - key.len - 1 : 0}, decoded;
        if (value.len >= cap) return false;
        for (size_t i = 0; i < value.len; i++) out[i] = value.ptr[i] == '+' ? ' ' : value.ptr[i];
        if (!percent_decode(out, value.len, &decoded)) return false;
        out[decoded.len] = 0;
        return true;
    }
    return false;
}

/* ---- chunks ---- */

enum { SIZE, EXT, SIZE_LF, BODY, BODY_CR, BODY_LF, LINE, NAME, VALUE, LINE_LF, END_LF, ENDED };

static ig_http_result chunk_size(ig_http_chunks *c, char ch, ig_http_refusal *why)
{
    int v = hex_value(ch);
    if (v >= 0) {
        if (c->digits++ == 16 || c->left >> 59) return refuse(why, 400, "a chunk size is too large");
        c->left = c->left * 16 + (uint64_t)v;
        return IG_HTTP_MORE;
    }
    if (c->digits == 0 || (ch != ';' && ch != '\r')) return refuse(why, 400, "a chunk size is no hexadecimal number");
    c->ext = 0;
    c->state = ch == ';' ? EXT : SIZE_LF;
    return IG_HTTP_MORE;
}

static ig_http_result chunk_ext(ig_http_chunks *c, char ch, ig_http_refusal *why)
{
    if (ch == '\r') {
        c->state = SIZE_LF;
        return IG_HTTP_MORE;
    }
    if (is_control(ch)) return refuse(why, 400, "a control character stands in a chunk extension");
    if (++c->ext > IG_HTTP_CHUNK_EXT_MAX || ++c->all > IG_HTTP_CHUNK_EXT_ALL_MAX)
        return refuse(why, 400, "the chunk extensions are too long");
    return IG_HTTP_MORE;
}

/* A trailer may not say what only a head may (H05). */
static bool trailer_forbidden(ig_str name)
{
    static const char *const list[] = {"content-length",
                                       "transfer-encoding",
                                       "content_length",
                                       "transfer_encoding",
                                       "host",
                                       "authorization",
                                       "x-api-key",
                                       "cookie",
                                       "content-type",
                                       "content-encoding",
                                       "content-range",
                                       "connection",
                                       "trailer",
                                       "te",
                                       "expect",
                                       "origin",
                                       "proxy-authorization"};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (ig_http_same(name, list[i])) return true;
    return false;
}

static ig_http_result trailer_name(ig_http_chunks *c, char ch, ig_http_refusal *why)
{
    if (ch == ':' && c->name_len > 0) {
        size_t kept = c->name_len < sizeof c->name ? c->name_len : sizeof c->name;
        if (trailer_forbidden((ig_str){c->name, kept})) return refuse(why, 400, "a trailer holds a field of the head");
        c->state = VALUE;
        return IG_HTTP_MORE;
    }
    if (!is_token_char(ch)) return refuse(why, 400, "a trailer line is no header field");
    if (c->name_len < sizeof c->name) c->name[c->name_len] = ch;
    c->name_len++;
    c->state = NAME;
    return IG_HTTP_MORE;
}

static ig_http_result trailer_value(ig_http_chunks *c, char ch, ig_http_refusal *why)
{
    if (ch == '\r')
        c->state = LINE_LF;
    else if (is_control(ch))
        return refuse(why, 400, "a control character stands in a trailer");
    return IG_HTTP_MORE;
}

/* LF was expected and is there: what comes next. */
static ig_http_result after_lf(ig_http_chunks *c)
{
    switch (c->state) {
    case SIZE_LF: c->state = c->left ? BODY : LINE; break;
    case BODY_LF:
        c->state = SIZE;
        c->digits = 0;
        c->left = 0;
        break;
    case LINE_LF: c->state = LINE; break;
    default: c->state = ENDED; break;
    }
    c->name_len = 0;
    return c->state == ENDED ? IG_HTTP_DONE : IG_HTTP_MORE;
}

static ig_http_result chunk_step(ig_http_chunks *c, char ch, ig_http_refusal *why)
{
    if (c->state >= LINE && ++c->trailer > IG_HTTP_TRAILER_MAX) return refuse(why, 431, "the trailer is too long");
    switch (c->state) {
    case SIZE: return chunk_size(c, ch, why);
    case EXT: return chunk_ext(c, ch, why);
    case BODY_CR:
        if (ch != '\r') return refuse(why, 400, "a chunk does not end with CRLF where its size says");
        c->state = BODY_LF;
        return IG_HTTP_MORE;
    case LINE:
        if (ch != '\r') return trailer_name(c, ch, why);
        c->state = END_LF;
        return IG_HTTP_MORE;
    case NAME: return trailer_name(c, ch, why);
    case VALUE: return trailer_value(c, ch, why);
    default: /* the states that wait for LF */
        if (ch != '\n') return refuse(why, 400, "a CR without LF stands in the chunked framing");
        return after_lf(c);
    }
}

ig_http_result ig_http_chunks_next(ig_http_chunks *c, const char *in, size_t n, size_t *used, ig_str *data,
                                   ig_http_refusal *why)
{
    *data = (ig_str){"", 0};
    *used = 0;
    if (c->state == ENDED) return IG_HTTP_DONE;
    while (*used < n) {
        if (c->state == BODY) {
            size_t piece = n - *used < c->left ? n - *used : (size_t)c->left;
            *data = (ig_str){in + *used, piece};
            *used += piece;
            c->left -= piece;
            if (c->left == 0) c->state = BODY_CR;
            return IG_HTTP_DATA;
        }
        ig_http_result r = chunk_step(c, in[(*used)++], why);
        if (r != IG_HTTP_MORE) return r;
    }
    return IG_HTTP_MORE;
}

/* ---- responses ---- */

const char *ig_http_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } rows[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {529, "Overloaded"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status) return rows[i].reason;
    return "Unknown";
}

void ig_http_date(int64_t unix_s, char out[30])
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm t = {0};
    time_t s = (time_t)unix_s;
    (void)gmtime_r(&s, &t);
    (void)snprintf(out, 30, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * t.tm_wday, t.tm_mday,
                   months + 3 * t.tm_mon, t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

static bool field_is_safe(const ig_http_field *f)
{
    if (!is_token(f->name)) return false;
    for (size_t i = 0; i < f->value.len; i++)
        if (is_control(f->value.ptr[i])) return false;
    return true;
}

bool ig_http_write_head(ig_buf *out, unsigned status, const ig_http_field *fields, size_t n_fields,
                        ig_http_framing framing, uint64_t length, const char *connection, const char *date)
{
    for (size_t i = 0; i < n_fields; i++)
        if (!field_is_safe(&fields[i])) return false;
    (void)ig_buf_printf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", status, ig_http_reason(status), date);
    for (size_t i = 0; i < n_fields; i++) {
        (void)ig_buf_add(out, fields[i].name.ptr, fields[i].name.len);
        (void)ig_buf_add(out, ": ", 2);
        (void)ig_buf_add(out, fields[i].value.ptr, fields[i].value.len);
        (void)ig_buf_add(out, "\r\n", 2);
    }
    if (framing == IG_HTTP_FIXED) (void)ig_buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)length);
    if (framing == IG_HTTP_CHUNKED) (void)ig_buf_printf(out, "Transfer-Encoding: chunked\r\n");
    if (connection) (void)ig_buf_printf(out, "Connection: %s\r\n", connection);
    return ig_buf_add(out, "\r\n", 2);
}
