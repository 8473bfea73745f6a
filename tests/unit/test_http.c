/* HTTP as bytes: tables of heads and chunked bodies that are taken or refused (rules Hxx), each fed whole, byte by byte
 * and cut at every place, with the same result. */
#include "serve/http.h"
#include "serve/identity.h"
#include "tests/tap.h"

#define H   "Host: localhost\r\n"
#define GET "GET / HTTP/1.1\r\n" H

typedef struct row {
    const char *rule, *what;
    const char *bytes; /* n bytes, or up to the NUL when n is 0 */
    size_t n;
    unsigned status; /* 0: taken; 1: more is needed */
} row;
#define LEN(literal) literal, sizeof(literal) - 1

static const row heads[] = {
    {"H01", "a plain request", GET "\r\n", 0, 0},
    {"H01", "unfinished", GET "\r", 0, 1},
    {"H01", "space before colon", "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 0, 400},
    {"H01", "tab before colon", GET "X\t: 1\r\n\r\n", 0, 400},
    {"H01", "folded line", GET "X: 1\r\n 2\r\n\r\n", 0, 400},
    {"H01", "folded line with tab", GET "X: 1\r\n\t2\r\n\r\n", 0, 400},
    {"H01", "no Host", "GET / HTTP/1.1\r\n\r\n", 0, 400},
    {"H01", "two Host lines, equal", GET H "\r\n", 0, 400},
    {"H01", "bare CR in a value", GET "X: a\rb\r\n\r\n", 0, 400},
    {"H01", "CR CR LF", GET "X: a\r\r\n\r\n", 0, 400},
    {"H01", "no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 0, 0},
    {"H02", "bare LF", "GET / HTTP/1.1\nHost: localhost\n\n", 0, 400},
    {"H02", "bare LF at the end", GET "\n", 0, 400},
    {"H02", "blank before the first header", "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 0, 400},
    {"H02", "empty name", GET ": 1\r\n\r\n", 0, 400},
    {"H02", "name with a bracket", GET "X[0]: 1\r\n\r\n", 0, 400},
    {"H02", "no colon", GET "X\r\n\r\n", 0, 400},
    {"H02", "NUL in a value", LEN(GET "X: a\0b\r\n\r\n"), 400},
    {"H02", "NUL in a name", LEN(GET "X\0: a\r\n\r\n"), 400},
    {"H02", "control character", GET "X: a\001b\r\n\r\n", 0, 400},
    {"H02", "DEL", GET "X: a\177b\r\n\r\n", 0, 400},
    {"H02", "bytes above ASCII in a value", GET "X: \303\251\r\n\r\n", 0, 0},
    {"H02", "byte above ASCII in a name", GET "\303\251: 1\r\n\r\n", 0, 400},
    {"H02", "Host with user", "GET / HTTP/1.1\r\nHost: me@localhost\r\n\r\n", 0, 400},
    {"H02", "Host with path", "GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n", 0, 400},
    {"H02", "Host with comma", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 0, 400},
    {"H02", "Host empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0, 400},
    {"H02", "Host with a port of letters", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 0, 400},
    {"H02", "Host with port 65536", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 0, 400},
    {"H02", "Host in brackets", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0, 0},
    {"H02", "Host with open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 0, 400},
    {"H02", "HTTP/2.0", "GET / HTTP/2.0\r\n" H "\r\n", 0, 505},
    {"H02", "HTTP/1.10", "GET / HTTP/1.10\r\n" H "\r\n", 0, 400},
    {"H02", "http/1.1", "GET / http/1.1\r\n" H "\r\n", 0, 400},
    {"H02", "HTTP/1", "GET / HTTP/1\r\n" H "\r\n", 0, 400},
    {"H02", "no version", "GET /\r\n" H "\r\n", 0, 400},
    {"H02", "empty line first", "\r\n" GET "\r\n", 0, 400},
    {"H03", "length", GET "Content-Length: 5\r\n\r\n", 0, 0},
    {"H03", "length 0", GET "Content-Length: 0\r\n\r\n", 0, 0},
    {"H03", "length 2^63-1", GET "Content-Length: 9223372036854775807\r\n\r\n", 0, 0},
    {"H03", "length 2^63", GET "Content-Length: 9223372036854775808\r\n\r\n", 0, 400},
    {"H03", "length 2^64+5", GET "Content-Length: 18446744073709551621\r\n\r\n", 0, 400},
    {"H03", "length of 20 digits", GET "Content-Length: 00000000000000000005\r\n\r\n", 0, 400},
    {"H03", "length +1", GET "Content-Length: +1\r\n\r\n", 0, 400},
    {"H03", "length -0", GET "Content-Length: -0\r\n\r\n", 0, 400},
    {"H03", "length 0x5", GET "Content-Length: 0x5\r\n\r\n", 0, 400},
    {"H03", "length 0o5", GET "Content-Length: 0o5\r\n\r\n", 0, 400},
    {"H03", "length 1_0", GET "Content-Length: 1_0\r\n\r\n", 0, 400},
    {"H03", "length 1 0", GET "Content-Length: 1 0\r\n\r\n", 0, 400},
    {"H03", "length empty", GET "Content-Length:\r\n\r\n", 0, 400},
    {"H03", "length 5,5", GET "Content-Length: 5,5\r\n\r\n", 0, 400},
    {"H03", "length 5,6", GET "Content-Length: 5,6\r\n\r\n", 0, 400},
    {"H03", "two lengths, equal", GET "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", 0, 400},
    {"H03", "two lengths", GET "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 0, 400},
    {"H04", "chunked", GET "Transfer-Encoding: chunked\r\n\r\n", 0, 0},
    {"H04", "Chunked", GET "Transfer-Encoding: Chunked\r\n\r\n", 0, 0},
    {"H04", "HTTP/1.0 chunked", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
    {"H04", "chunked and length", GET "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
    {"H04", "length and chunked", GET "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 0, 400},
    {"H04", "xchunked", GET "Transfer-Encoding: xchunked\r\n\r\n", 0, 400},
    {"H04", "identity", GET "Transfer-Encoding: identity\r\n\r\n", 0, 400},
    {"H04", "gzip", GET "Transfer-Encoding: gzip\r\n\r\n", 0, 400},
    {"H04", "gzip, chunked", GET "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, 400},
    {"H04", "chunked, chunked", GET "Transfer-Encoding: chunked, chunked\r\n\r\n", 0, 400},
    {"H04", "chunked twice", GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
    {"H04", "chunked, identity in two lines", GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
     0, 400},
    {"H04", "trailing comma", GET "Transfer-Encoding: chunked,\r\n\r\n", 0, 400},
    {"H04", "empty", GET "Transfer-Encoding:\r\n\r\n", 0, 400},
    {"H04", "parameter", GET "Transfer-Encoding: chunked;q=1\r\n\r\n", 0, 400},
    {"H04", "tab before", GET "Transfer-Encoding:\tchunked\r\n\r\n", 0, 400},
    {"H04", "tab after", GET "Transfer-Encoding: chunked\t\r\n\r\n", 0, 400},
    {"H04", "VT before", GET "Transfer-Encoding: \vchunked\r\n\r\n", 0, 400},
    {"H04", "FF before", GET "Transfer-Encoding: \fchunked\r\n\r\n", 0, 400},
    {"H04", "NUL before", LEN(GET "Transfer-Encoding: \0chunked\r\n\r\n"), 400},
    {"H04", "underscore twin", GET "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 0, 400},
    {"H04", "underscore twin of the length", GET "Content_Length: 5\r\n\r\n", 0, 400},
    {"H04", "space in the name", GET "Transfer-Encoding : chunked\r\n\r\n", 0, 400},
    {"H06", "two blanks", "GET  / HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "two blanks before the version", "GET /  HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "tab", "GET\t/ HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "blank first", " GET / HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "blank last", "GET / HTTP/1.1 \r\n" H "\r\n", 0, 400},
    {"H06", "fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "NUL", LEN("GET /\0 HTTP/1.1\r\n" H "\r\n"), 400},
    {"H06", "%00", "GET /a%00 HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "%00 in the query", "GET /a?b=%00 HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "%0d%0a", "GET /a%0d%0ab HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "overlong UTF-8", "GET /%c0%af HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "backslash", "GET /a\\b HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "backslash escaped", "GET /a%5cb HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "dot segment", "GET /a/../b HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "dot segment escaped", "GET /%2e%2E/b HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "broken escape", "GET /%4 HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "broken escape in the query", "GET /?%zz HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "byte above ASCII", "GET /\303\251 HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "no slash", "GET a HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "absolute form", "GET http://localhost/a HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"H06", "absolute form of another host", "GET http://evil/a HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "absolute form with user", "GET http://a@localhost/ HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "absolute form of another scheme", "GET ftp://localhost/ HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "absolute form without host", "GET http:///a HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "asterisk of OPTIONS", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"H06", "asterisk of GET", "GET * HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H06", "CONNECT", "CONNECT localhost:80 HTTP/1.1\r\n" H "\r\n", 0, 501},
    {"H07", "method of 17 bytes", "ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n" H "\r\n", 0, 501},
    {"H07", "method of 16 bytes", "ABCDEFGHIJKLMNOP / HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"H07", "method with a bracket", "G(T / HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"H09", "100-continue", GET "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", 0, 0},
    {"H09", "another expectation", GET "Expect: 200-ok\r\n\r\n", 0, 417},
    {"H09", "two expectations", GET "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 0, 417},
    {"H14", "h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 400},
    {"H14", "TLS ClientHello", LEN("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400},
};

/* Feeds bytes in pieces of `piece`, the first one of `first`; the status as in the table. */
static unsigned feed_head(const char *bytes, size_t n, size_t first, size_t piece, ig_http_head *out, char **copy)
{
    ig_http_scan scan = {0};
    ig_http_refusal why = {0};
    size_t seen = first < n ? first : n, head_len = 0;
    for (;;) {
        char *p = malloc(seen ? seen : 1); /* exact, so that the sanitizer sees a read too far */
        if (!p) abort();
        memcpy(p, bytes, seen);
        ig_http_result r = ig_http_scan_head(&scan, p, seen, &head_len, &why);
        if (r == IG_HTTP_DONE) {
            free(p);
            break;
        }
        free(p);
        if (r == IG_HTTP_BAD) return why.status;
        if (seen == n) return 1;
        seen = seen + piece < n ? seen + piece : n;
    }
    *copy = malloc(head_len);
    if (!*copy) abort();
    memcpy(*copy, bytes, head_len);
    return ig_http_parse_head(*copy, head_len, out, &why) == IG_HTTP_DONE ? 0 : why.status;
}

static unsigned judge(const char *bytes, size_t n, size_t first, size_t piece)
{
    ig_http_head head;
    char *copy = NULL;
    unsigned status = feed_head(bytes, n, first, piece, &head, &copy);
    free(copy);
    return status;
}

static void test_heads(void)
{
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        const row *r = &heads[i];
        size_t n = r->n ? r->n : strlen(r->bytes);
        unsigned whole = judge(r->bytes, n, n, n);
        bool same = judge(r->bytes, n, 0, 1) == whole;
        for (size_t at = 1; at < n; at++) same &= judge(r->bytes, n, at, n) == whole;
        tap_ok(whole == r->status && same, "%s: %s: %u, expected %u, %s cut anywhere", r->rule, r->what, whole,
               r->status, same ? "the same" : "DIFFERENT");
    }
}

/* A request with n fields, or a line, target or head of n bytes. */
static char *grown(const char *before, char c, size_t n, const char *after, size_t *len)
{
    size_t a = strlen(before), b = strlen(after);
    char *p = malloc(a + n + b + 1);
    if (!p) abort();
    memcpy(p, before, a);
    memset(p + a, c, n);
    memcpy(p + a + n, after, b + 1);
    *len = a + n + b;
    return p;
}

static unsigned judge_grown(const char *before, size_t n, const char *after)
{
    size_t len;
    char *p = grown(before, 'a', n, after, &len);
    unsigned whole = judge(p, len, len, len), pieces = judge(p, len, 7, 1000);
    free(p);
    return whole == pieces ? whole : 999;
}

static unsigned judge_fields(size_t n, size_t value_len)
{
    size_t cap = 64 + n * (value_len + 16), len = 0;
    char *p = malloc(cap);
    if (!p) abort();
    len += (size_t)snprintf(p, cap, "%s", GET);
    for (size_t i = 1; i < n; i++)
        len += (size_t)snprintf(p + len, cap - len, "X-%04zu: %0*d\r\n", i, (int)value_len, 1);
    len += (size_t)snprintf(p + len, cap - len, "\r\n");
    unsigned status = judge(p, len, len, len);
    free(p);
    return status;
}

static void test_H07_limits(void)
{
    tap_ok(judge_grown("GET /", 8191, " HTTP/1.1\r\n" H "\r\n") == 0, "H06: a target of 8192 bytes is taken");
    tap_ok(judge_grown("GET /", 8192, " HTTP/1.1\r\n" H "\r\n") == 414, "H06: a target of 8193 bytes is refused");
    tap_ok(judge_grown("GET /", 100000, "") == 414, "H06: an endless target is refused before its end");
    tap_ok(judge_grown(GET "X: ", 8189, "\r\n\r\n") == 0, "H07: a line of 8192 bytes is taken");
    tap_ok(judge_grown(GET "X: ", 8190, "\r\n\r\n") == 431, "H07: a line of 8193 bytes is refused");
    tap_ok(judge_grown(GET "X: ", 100000, "") == 431, "H07: an endless line is refused before its end");
    tap_ok(judge_fields(100, 5) == 0, "H07: 100 fields are taken");
    tap_ok(judge_fields(101, 5) == 431, "H07: 101 fields are refused");
    tap_ok(judge_fields(60, 1000) == 0, "H07: a head of 60 KB is taken");
    tap_ok(judge_fields(70, 1000) == 431, "H07: a head of 70 KB is refused");
}

/* ---- what the head says ---- */

static ig_http_head parsed;
static char *parsed_copy;

static bool parse(const char *text)
{
    free(parsed_copy);
    parsed_copy = NULL;
    return feed_head(text, strlen(text), strlen(text), 1, &parsed, &parsed_copy) == 0;
}

static void test_meaning(void)
{
    char out[16];
    tap_ok(parse("GET /a%20b/%C3%A9?q=1%202&name=x+y%21&empty HTTP/1.1\r\nHost: LocalHost:80\r\nA:  b c \t\r\n\r\n") &&
               ig_str_is(parsed.path, "/a b/\303\251") && ig_str_is(parsed.query, "q=1%202&name=x+y%21&empty") &&
               ig_str_is(parsed.host, "LocalHost:80") && ig_str_is(ig_http_find(&parsed, "a")->value, "b c"),
           "path decoded, query and host as sent, value trimmed");
    tap_ok(ig_http_query(parsed.query, "name", out, sizeof out) && !strcmp(out, "x y!"), "a query value is decoded");
    tap_ok(ig_http_query(parsed.query, "empty", out, sizeof out) && !out[0], "a query name without value is empty");
    tap_ok(!ig_http_query(parsed.query, "nam", out, sizeof out) && !ig_http_query(parsed.query, "name", out, 4),
           "no such name, and no room");
    tap_ok(parse("GET /%2541 HTTP/1.1\r\n" H "\r\n") && ig_str_is(parsed.path, "/%41"), "H06: decoded once only");
    tap_ok(parse("GET http://localhost HTTP/1.1\r\n" H "\r\n") && ig_str_is(parsed.path, "/"),
           "absolute form without path");
    tap_ok(parse(GET "\r\n") && parsed.keep_alive && parsed.minor == 1 && !parsed.has_length && !parsed.chunked,
           "HTTP/1.1 stays open");
    tap_ok(parse(GET "Connection: x, Close\r\n\r\n") && !parsed.keep_alive, "Connection: close in a list");
    tap_ok(parse("GET / HTTP/1.0\r\n\r\n") && !parsed.keep_alive && parsed.minor == 0, "HTTP/1.0 closes");
    tap_ok(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") && parsed.keep_alive, "HTTP/1.0 asked to stay");
    tap_ok(parse("POST / HTTP/1.1\r\n" H "Content-Length: 0012\r\n\r\n") && parsed.content_length == 12 &&
               parsed.has_length,
           "a length with zeros in front is decimal");
    tap_ok(parse("POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n") && parsed.expect_continue,
           "H09: an expectation");
    tap_ok(parse("POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n") && !parsed.expect_continue,
           "H09: without a body there is nothing to expect");
    tap_ok(parse("GET / HTTP/1.7\r\n" H "\r\n") && parsed.minor == 1, "a later HTTP/1 is answered as 1.1");
}

static void test_hosts(void)
{
    static const struct {
        const char *host, *name;
        unsigned port;
    } rows[] = {{"localhost", "localhost", 0},
                {"a.b-c:11434", "a.b-c", 11434},
                {"[::1]", "[::1]", 0},
                {"[::1]:80", "[::1]", 80},
                {"a:", NULL, 0},
                {"a:0", NULL, 0},
                {"a:123456", NULL, 0},
                {"[]", NULL, 0},
                {"[::1]x", NULL, 0},
                {"a b", NULL, 0},
                {"a:+1", NULL, 0},
                {"", NULL, 0},
                {"[::1]80", NULL, 0},
                {"::1", NULL, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ig_str name = {"", 0};
        unsigned port = 0;
        bool ok = ig_http_split_host(ig_str_from(rows[i].host), &name, &port);
        tap_ok(rows[i].name ? ok && ig_str_is(name, rows[i].name) && port == rows[i].port : !ok, "H23: host \"%s\"",
               rows[i].host);
    }
}

/* ---- chunks ---- */

typedef struct chunk_row {
    const char *what, *bytes;
    size_t n;
    unsigned status;  /* 0: taken; 1: more is needed */
    const char *body; /* of what is taken */
    size_t rest;      /* bytes that belong to the next request */
} chunk_row;

static const chunk_row bodies[] = {
    {"one", "5\r\nhello\r\n0\r\n\r\n", 0, 0, "hello", 0},
    {"two, hexadecimal", "a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", 0, 0, "0123456789x", 0},
    {"upper case", "A\r\n0123456789\r\n0\r\n\r\n", 0, 0, "0123456789", 0},
    {"zeros in front", "0005\r\nhello\r\n000\r\n\r\n", 0, 0, "hello", 0},
    {"the next request after it", "1\r\nx\r\n0\r\n\r\nGET /", 0, 0, "x", 5},
    {"extension", "1;a=b\r\nx\r\n0;c\r\n\r\n", 0, 0, "x", 0},
    {"trailer", "1\r\nx\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", 0, 0, "x", 0},
    {"empty body", "0\r\n\r\n", 0, 0, "", 0},
    {"unfinished", "5\r\nhel", 0, 1, "hel", 0},
    {"no last chunk", "5\r\nhello\r\n", 0, 1, "hello", 0},
    {"0x", "0x5\r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"+", "+5\r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"-", "-5\r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"_", "1_0\r\n0123456789abcdef\r\n0\r\n\r\n", 0, 400, "", 0},
    {"blank before", " 5\r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"blank after", "5 \r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"blank before the extension", "5 ;a\r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"no digit", "\r\n\r\n", 0, 400, "", 0},
    {"no digit but an extension", ";a\r\n\r\n", 0, 400, "", 0},
    {"17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"2^64", "10000000000000000\r\n", 0, 400, "", 0},
    {"2^64-1", "ffffffffffffffff\r\n", 0, 400, "", 0},
    {"2^63", "8000000000000000\r\n", 0, 400, "", 0},
    {"bare LF after the size", "5\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"bare CR after the size", "5\rhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"bare LF after the data", "5\r\nhello\n0\r\n\r\n", 0, 400, "hello", 0},
    {"data longer than said", "5\r\nhello!\r\n0\r\n\r\n", 0, 400, "hello", 0},
    {"data shorter than said", "6\r\nhello\r\n0\r\n\r\n", 0, 400, "hello\r", 0},
    {"LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", 0, 400, "", 0},
    {"NUL in an extension", LEN("5;a\0b\r\nhello\r\n0\r\n\r\n"), 400, "", 0},
    {"bare LF at the end", "0\r\n\n", 0, 400, "", 0},
    {"Content-Length in the trailer", "0\r\nContent-Length: 5\r\n\r\n", 0, 400, "", 0},
    {"Transfer-Encoding in the trailer", "0\r\ntransfer-encoding: chunked\r\n\r\n", 0, 400, "", 0},
    {"Authorization in the trailer", "0\r\nAUTHORIZATION: Bearer x\r\n\r\n", 0, 400, "", 0},
    {"Host in the trailer", "0\r\nHost: evil\r\n\r\n", 0, 400, "", 0},
    {"folded trailer", "0\r\nX: 1\r\n 2\r\n\r\n", 0, 400, "", 0},
    {"trailer without colon", "0\r\nX\r\n\r\n", 0, 400, "", 0},
    {"trailer with blank before the colon", "0\r\nX : 1\r\n\r\n", 0, 400, "", 0},
};

/* The status; *body gets what came out, *rest what was left over. */
static unsigned undo(const char *bytes, size_t n, size_t first, size_t piece, ig_buf *body, size_t *rest)
{
    ig_http_chunks c = {0};
    ig_http_refusal why = {0};
    body->len = 0;
    for (size_t at = 0, end = first; at < n; end = piece) {
        size_t here = n - at < end ? n - at : end, pos = 0;
        char *p = malloc(here ? here : 1);
        if (!p) abort();
        memcpy(p, bytes + at, here);
        ig_http_result r = IG_HTTP_DATA;
        while (r == IG_HTTP_DATA) {
            size_t used;
            ig_str data;
            r = ig_http_chunks_next(&c, p + pos, here - pos, &used, &data, &why);
            pos += used;
            (void)ig_buf_add(body, data.ptr, data.len);
        }
        free(p);
        at += pos;
        *rest = n - at;
        if (r == IG_HTTP_DONE) return 0;
        if (r == IG_HTTP_BAD) return why.status;
        if (pos != here) return 999;
    }
    return 1;
}

static void test_H05_chunks(void)
{
    ig_buf body;
    ig_buf_init(&body, 1 << 20);
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        const chunk_row *r = &bodies[i];
        size_t n = r->n ? r->n : strlen(r->bytes), rest = 0, len = strlen(r->body);
        bool good = true;
        for (size_t at = 0; at <= n; at++) { /* 0: byte by byte */
            unsigned status = undo(r->bytes, n, at ? at : 1, at ? n : 1, &body, &rest);
            good &= status == r->status && body.len == len && (!len || !memcmp(body.ptr, r->body, len));
            good &= status != 0 || rest == r->rest;
        }
        tap_ok(good, "H05: chunked body: %s: %u", r->what, r->status);
    }
    size_t n, rest;
    char *p = grown("1;", 'e', 256, "\r\nx\r\n0\r\n\r\n", &n);
    tap_ok(undo(p, n, n, n, &body, &rest) == 0, "H05: an extension of 256 bytes is taken");
    free(p);
    p = grown("1;", 'e', 257, "\r\nx\r\n0\r\n\r\n", &n);
    tap_ok(undo(p, n, n, n, &body, &rest) == 400, "H05: an extension of 257 bytes is refused");
    free(p);
    p = grown("0\r\nX: ", 'e', 9000, "\r\n\r\n", &n);
    tap_ok(undo(p, n, n, n, &body, &rest) == 431, "H05: a trailer of 9000 bytes is refused");
    free(p);
    char many[100 * 260];
    size_t len = 0;
    for (int i = 0; i < 80; i++) len += (size_t)snprintf(many + len, sizeof many - len, "1;%0240d\r\nx\r\n", 1);
    tap_ok(undo(many, len, len, len, &body, &rest) == 400, "H05: many extensions are refused");
    ig_buf_fini(&body);
}

/* ---- responses ---- */

static bool written_is(const ig_http_field *f, size_t n, unsigned status, ig_http_framing framing,
                       const char *connection, const char *expected)
{
    ig_buf out;
    ig_buf_init(&out, 4096);
    bool ok = ig_http_write_head(&out, status, f, n, framing, 5, connection, "D");
    bool same = expected ? ok && ig_str_is((ig_str){out.ptr, out.len}, expected) : !ok && out.len == 0;
    ig_buf_fini(&out);
    return same;
}

static void test_writing(void)
{
    char date[30];
    ig_http_field plain = {IG_STR("X"), IG_STR("1")}, lf = {IG_STR("X"), IG_STR("1\r\nY: 2")},
                  name = {IG_STR("X: 1\r\nY"), IG_STR("2")}, nul = {IG_STR("X"), {"a\0b", 3}};
    tap_ok(written_is(&plain, 1, 200, IG_HTTP_FIXED, NULL,
                      "HTTP/1.1 200 OK\r\nDate: D\r\nX: 1\r\nContent-Length: 5\r\n\r\n"),
           "a head with a length");
    tap_ok(written_is(NULL, 0, 200, IG_HTTP_CHUNKED, "close",
                      "HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"),
           "a chunked head that closes");
    tap_ok(written_is(NULL, 0, 204, IG_HTTP_BARE, NULL, "HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n"),
           "H12: 204 has no length");
    tap_ok(written_is(&lf, 1, 200, IG_HTTP_FIXED, NULL, NULL), "a value with a line end is not written");
    tap_ok(written_is(&name, 1, 200, IG_HTTP_FIXED, NULL, NULL), "a name with a line end is not written");
    tap_ok(written_is(&nul, 1, 200, IG_HTTP_FIXED, NULL, NULL), "a value with NUL is not written");
    ig_http_date(784111777, date);
    tap_ok(!strcmp(date, "Sun, 06 Nov 1994 08:49:37 GMT"), "the date is %s", date);
    tap_ok(!strcmp(ig_http_reason(413), "Content Too Large") && !strcmp(ig_http_reason(299), "Unknown"), "reasons");
}

/* ---- Host, Origin and keys ---- */

typedef struct access_row {
    const char *rule, *fields; /* of a POST, Host included */
    ig_status status;
    const char *cors;
} access_row;
#define JSON "Content-Type: application/json\r\n"

static const access_row accesses[] = {
    {"H23", "Host: localhost\r\n", IG_OK, ""},
    {"H23", "Host: LOCALHOST:11434\r\n", IG_OK, ""},
    {"H23", "Host: 127.0.0.1:11434\r\n", IG_OK, ""},
    {"H23", "Host: [::1]:11434\r\n", IG_OK, ""},
    {"H23", "Host: localhost:80\r\n", IG_DENIED, ""},
    {"H23", "Host: evil.example\r\n", IG_DENIED, ""},
    {"H23", "Host: localhost.evil.example\r\n", IG_DENIED, ""},
    {"H23", "Host: 127.0.0.1.nip.io:11434\r\n", IG_DENIED, ""},
    {"H23", "Host: box.lan\r\n", IG_OK, ""},
    {"H23", "Host: box.lan:9\r\n", IG_DENIED, ""},
    {"H23", "Host: proxy:443\r\n", IG_OK, ""},
    {"H23", "Host: proxy\r\n", IG_DENIED, ""},
    {"H23", "Host: any:1\r\n", IG_OK, ""},
    {"H23", "Host: any\r\n", IG_OK, ""},
    {"H24", "Host: localhost\r\n" JSON "Origin: http://localhost:11434\r\n", IG_OK, ""},
    {"H24", "Host: localhost\r\n" JSON "Origin: https://localhost:11434\r\n", IG_DENIED, ""},
    {"H24", "Host: localhost\r\n" JSON "Origin: http://localhost:3000\r\n", IG_DENIED, ""},
    {"H24", "Host: localhost\r\n" JSON "Origin: http://evil.example\r\n", IG_DENIED, ""},
    {"H24", "Host: localhost\r\n" JSON "Origin: null\r\n", IG_DENIED, ""},
    {"H24", "Host: localhost\r\n" JSON "Origin: https://app.example\r\n", IG_OK, "https://app.example"},
    {"H24", "Host: localhost\r\n" JSON "Origin: https://app.example.evil\r\n", IG_DENIED, ""},
    {"H24", "Host: localhost\r\n" JSON "Origin: http://localhost:11434\r\nOrigin: http://evil\r\n", IG_DENIED, ""},
    {"H24", "Host: localhost\r\n" JSON "Sec-Fetch-Site: cross-site\r\n", IG_DENIED, ""},
    {"H24", "Host: localhost\r\n" JSON "Sec-Fetch-Site: same-site\r\n", IG_DENIED, ""},
    {"H24", "Host: localhost\r\n" JSON "Sec-Fetch-Site: same-origin\r\n", IG_OK, ""},
    {"H24", "Host: localhost\r\n" JSON "Sec-Fetch-Site: none\r\n", IG_OK, ""},
    {"H25", "Host: localhost\r\nContent-Type: text/plain\r\n", IG_OK, ""},
    {"H25", "Host: localhost\r\nOrigin: http://localhost:11434\r\nContent-Type: text/plain\r\n", IG_UNSUPPORTED, ""},
    {"H25", "Host: localhost\r\nOrigin: http://localhost:11434\r\n", IG_UNSUPPORTED, ""},
    {"H25", "Host: localhost\r\nSec-Fetch-Site: none\r\nContent-Type: application/jsonx\r\n", IG_UNSUPPORTED, ""},
    {"H25", "Host: localhost\r\nSec-Fetch-Site: none\r\nContent-Type: application/json; charset=utf-8\r\n", IG_OK, ""},
};

static void test_H23_H24_H25_access(void)
{
    static const char *const hosts[] = {"box.lan", "proxy:443", "any:*"}, *const origins[] = {"https://app.example"};
    ig_access_rules rules = {hosts, 3, origins, 1};
    ig_identity who = {.transport = IG_TRANSPORT_TCP};
    for (size_t i = 0; i < sizeof accesses / sizeof accesses[0]; i++) {
        char text[600];
        ig_str cors;
        ig_error err = {0};
        (void)snprintf(text, sizeof text, "POST / HTTP/1.1\r\n%s\r\n", accesses[i].fields);
        bool ok = parse(text);
        ig_status st = ig_access_check(&rules, &who, 11434, &parsed, &cors, &err);
        bool cors_fits = ig_str_is(cors, accesses[i].cors);
        for (char *p = text; *p; p++)
            if (*p == '\r' || *p == '\n') *p = ' ';
        tap_ok(ok && st == accesses[i].status && cors_fits, "%s: %s: %s", accesses[i].rule, text + 16,
               ig_status_name(st));
    }
    static const char *const star[] = {"*"};
    ig_access_rules open = {NULL, 0, star, 1};
    ig_str cors;
    tap_ok(parse("POST / HTTP/1.1\r\n" H JSON "Origin: null\r\n\r\n") &&
               ig_access_check(&open, &who, 11434, &parsed, &cors, NULL) == IG_DENIED,
           "H24: null is refused even where every origin is granted");
    tap_ok(parse("GET / HTTP/1.1\r\n" H "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n\r\n") &&
               ig_access_check(&open, &who, 11434, &parsed, &cors, NULL) == IG_OK,
           "H24: a followed link is answered");
    ig_identity local = {.transport = IG_TRANSPORT_UNIX};
    tap_ok(parse("GET / HTTP/1.1\r\nHost: whatever\r\n\r\n") &&
               ig_access_check(&open, &local, 0, &parsed, &cors, NULL) == IG_OK,
           "H23: on a unix socket the Host may be any");
    ig_error err;
    (void)parse("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    (void)ig_access_check(&open, &who, 11434, &parsed, &cors, &err);
    tap_ok(strstr(err.text, "--host evil.example") != NULL, "H23: the refusal names what to type");
}

static bool key_is(const char *fields, const char *expected)
{
    char text[1200];
    ig_str key;
    (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\n" H "%s\r\n", fields);
    ig_status st = parse(text) ? ig_access_key(&parsed, &key, NULL) : IG_BUG;
    return expected ? st == IG_OK && ig_str_is(key, expected) : st == IG_BAD_INPUT;
}

static void test_keys(void)
{
    char longer[600];
    (void)snprintf(longer, sizeof longer, "x-api-key: %0513d\r\n", 1);
    tap_ok(key_is("", "") && key_is("Authorization: Bearer abc\r\n", "abc") &&
               key_is("authorization: bearer  abc\r\n", "abc") && key_is("X-Api-Key: abc\r\n", "abc"),
           "H27: keys of either header");
    tap_ok(key_is("Authorization: Bearer a\r\nx-api-key: b\r\n", "a"), "H27: the first wins");
    tap_ok(key_is("Authorization: Basic eA==\r\n", ""), "H27: other schemes are no key");
    tap_ok(key_is("x-api-key: a\r\nx-api-key: a\r\n", NULL) && key_is("x-api-key: a b\r\n", NULL) &&
               key_is("x-api-key: \303\251\r\n", NULL) && key_is(longer, NULL),
           "H27: twice, with a blank, beyond ASCII or too long is refused");
}

int main(void)
{
    test_heads();
    test_H07_limits();
    test_meaning();
    test_hosts();
    test_H05_chunks();
    test_writing();
    test_H23_H24_H25_access();
    test_keys();
    free(parsed_copy);
    return tap_done();
}
