/* HTTP: byte 0 is the size of the pieces in which the rest arrives, a stream of requests with their bodies. Whole and
 * in pieces must give the same heads, bodies and refusals, and what an accepted head is made of must be readable. */
#include <stdlib.h>
#include <string.h>

#include "serve/http.h"
#include "serve/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LOG_MAX = 1 << 20 };

/* What was understood so far, to be compared. */
typedef struct reader {
    ig_http_scan scan;
    ig_http_chunks chunks;
    size_t start; /* of the head or of what is left of the body */
    uint64_t left;
    enum { HEAD, FIXED, CHUNKED, ENDED } state;
    uint64_t sum, n_body;
    unsigned n_heads, status;
} reader;

static void mix(reader *r, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) r->sum = (r->sum ^ (unsigned char)p[i]) * 0x100000001b3u;
}

static void use_head(reader *r, const ig_http_head *h)
{
    char out[64];
    ig_str part;
    unsigned port;
    static const char *const hosts[] = {"box:*"};
    ig_access_rules rules = {hosts, 1, hosts, 1};
    ig_identity who = {.transport = IG_TRANSPORT_TCP};
    mix(r, h->method.ptr, h->method.len);
    mix(r, h->path.ptr, h->path.len);
    mix(r, h->query.ptr, h->query.len);
    for (size_t i = 0; i < h->n_fields; i++) mix(r, h->fields[i].value.ptr, h->fields[i].value.len);
    if (h->host.len && !ig_http_split_host(h->host, &part, &port)) abort();
    if (h->chunked && h->has_length) abort();
    if (memchr(h->path.ptr, 0, h->path.len)) abort();
    if (ig_http_query(h->query, "a", out, sizeof out) && strlen(out) >= sizeof out) abort();
    (void)ig_access_check(&rules, &who, 11434, h, &part, NULL);
    (void)ig_access_key(h, &part, NULL);
}

static void take_head(reader *r, const char *p, size_t n)
{
    ig_http_head h;
    ig_http_refusal why = {0};
    char *copy = malloc(n);
    if (!copy) abort();
    memcpy(copy, p, n);
    if (ig_http_parse_head(copy, n, &h, &why) == IG_HTTP_BAD) {
        r->status = why.status;
        r->state = ENDED;
    } else {
        use_head(r, &h);
        r->n_heads++;
        r->state = h.chunked ? CHUNKED : FIXED;
        r->left = h.content_length;
        r->chunks = (ig_http_chunks){0};
        r->scan = (ig_http_scan){0};
    }
    free(copy);
}

static ig_http_result body_step(reader *r, const char *p, size_t have, size_t *used, ig_http_refusal *why)
{
    ig_str piece = {p, have < r->left ? have : (size_t)r->left};
    ig_http_result res;
    if (r->state == CHUNKED) {
        res = ig_http_chunks_next(&r->chunks, p, have, used, &piece, why);
        if (*used > have || piece.len > *used) abort();
    } else {
        *used = piece.len;
        r->left -= piece.len;
        res = r->left ? IG_HTTP_MORE : IG_HTTP_DONE;
    }
    mix(r, piece.ptr, piece.len);
    r->n_body += piece.len;
    return res;
}

/* bytes[0..n) have arrived; false when more are needed or nothing follows. */
static bool step(reader *r, const char *bytes, size_t n)
{
    const char *p = bytes + r->start;
    size_t have = n - r->start, used = 0;
    bool in_head = r->state == HEAD;
    ig_http_refusal why = {0};
    ig_http_result res =
        in_head ? ig_http_scan_head(&r->scan, p, have, &used, &why) : body_step(r, p, have, &used, &why);
    r->start += used;
    if (res == IG_HTTP_BAD) {
        r->status = why.status;
        r->state = ENDED;
    } else if (res == IG_HTTP_DONE) {
        r->state = HEAD;
        if (in_head) take_head(r, p, used);
    }
    return res != IG_HTTP_MORE && r->state != ENDED;
}

static reader read_all(const char *bytes, size_t n, size_t piece)
{
    reader r = {0};
    for (size_t seen = 0; seen < n && r.state != ENDED;) {
        seen = n - seen < piece ? n : seen + piece;
        char *copy = malloc(seen); /* exact, so that a read too far is seen */
        if (!copy) abort();
        memcpy(copy, bytes, seen);
        while (r.state != ENDED && step(&r, copy, seen)) {}
        free(copy);
    }
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > LOG_MAX) return 0;
    const char *bytes = (const char *)data + 1;
    size_t piece = (size_t)data[0] + 1, n = size - 1;
    if (piece < n / 256) piece = n / 256; /* the copies are quadratic */
    reader whole = read_all(bytes, n, n), cut = read_all(bytes, n, piece);
    if (whole.status != cut.status || whole.n_heads != cut.n_heads || whole.n_body != cut.n_body ||
        whole.sum != cut.sum)
        abort();
    return 0;
}
