/* HTTP by libcurl, which is loaded when the first address is asked: neither a start of the program nor a worker pays
 * for it or has it in its memory, and without it everything but downloads works. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "base/disk.h"
#include "base/library.h"
#include "base/os.h"
#include "base/utf8.h"
#include "source.h"

enum {
    CONNECT_S = 30,
    STALL_S = 60, /* so long a connection may bring less than SLOW_BYTES a second */
    SLOW_BYTES = 1024,
    HEADER_BYTES_MAX = 256 << 10,
    LINE_BYTES_MAX = 20 << 10,
    ERROR_BYTES_MAX = 1 << 20,
    GET_TRIES = 3,
    GET_WAIT_MS = 500,
    STEP_MS = 100,
    WAIT_MAX_MS = 30000,
    RETRY_AFTER_MAX_S = 100000
};

#define CURL_FUNCTIONS(X)                                                                                              \
    X(curl_global_init)                                                                                                \
    X(curl_easy_init)                                                                                                  \
    X(curl_easy_cleanup)                                                                                               \
    X(curl_easy_reset)                                                                                                 \
    X(curl_easy_setopt)                                                                                                \
    X(curl_easy_perform)                                                                                               \
    X(curl_easy_getinfo)                                                                                               \
    X(curl_easy_strerror)                                                                                              \
    X(curl_getdate)                                                                                                    \
    X(curl_slist_append)                                                                                               \
    X(curl_slist_free_all)
/* The checking macros of curl.h stand in the way of a table. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

struct ig_http {
    CURL *easy;
#define X(f) __typeof__(&f) f;
    CURL_FUNCTIONS(X)
#undef X
};

ig_status ig_http_new(ig_http **out, ig_error *err)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
#define X(f) #f,
    static const char *const symbols[] = {CURL_FUNCTIONS(X)};
#undef X
    ig_http *h = ig_calloc(1, sizeof *h);
    *out = NULL;
    if (!h) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a download");
    void *library = ig_library_open(names, sizeof names / sizeof *names, symbols, sizeof symbols / sizeof *symbols,
                                    &h->curl_global_init);
    if (library && h->curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) h->easy = h->curl_easy_init();
    if (h->easy) {
        *out = h;
        return IG_OK;
    }
    ig_http_free(h);
    return ig_fail(err, IG_UNSUPPORTED, 0, "downloads need libcurl. Type: apt install libcurl4");
}

void ig_http_free(ig_http *h)
{
    if (!h) return;
    if (h->easy) h->curl_easy_cleanup(h->easy);
    /* The library stays loaded: others may use it, and its state is global. */
    ig_free(h);
}

/* ------------------------------------------------------------------------------------------------ one transfer */

typedef struct transfer {
    ig_http *h;
    const ig_http_request *r;
    const char *url; /* of this hop */
    unsigned hop;
    bool proxied;
    ig_reach reach; /* of the first hop */
    ig_http_reply *reply;
    ig_error *err;
    ig_status st;
    size_t header_bytes, error_bytes;
    uint64_t sent;
    uint64_t body_bytes, body_ns; /* since when so many came */
    bool begun;
} transfer;

static bool value_of(const char *line, size_t n, const char *name, const char **value, size_t *len)
{
    size_t k = strlen(name);
    if (n <= k || strncasecmp(line, name, k) || line[k] != ':') return false;
    const char *p = line + k + 1, *end = line + n;
    while (p < end && (*p == ' ' || *p == '\t')) p++;
    while (end > p && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t')) end--;
    *value = p;
    *len = (size_t)(end - p);
    return true;
}

static bool whole_number(const char *p, size_t n, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || i > 18) return false;
        *out = *out * 10 + (uint64_t)(p[i] - '0');
    }
    return n > 0;
}

static void keep_text(char *out, size_t cap, const char *p, size_t n)
{
    if (n >= cap) n = 0;
    memcpy(out, p, n);
    out[n] = 0;
}

/* "bytes 100-199/200" */
static void keep_range(ig_http_reply *reply, const char *p, size_t n)
{
    char text[80];
    unsigned long long from, to, total;
    keep_text(text, sizeof text, p, n);
    if (sscanf(text, "bytes %20llu-%20llu/%20llu", &from, &to, &total) != 3 || from > to || to >= total) return;
    reply->range_from = from;
    reply->range_total = total;
}

/* Link: <https://...>; rel="next" */
static void keep_next(ig_http_reply *reply, const char *p, size_t n)
{
    const char *end = n && *p == '<' ? memchr(p, '>', n) : NULL;
    size_t len = end ? (size_t)(end - p) - 1 : 0;
    if (end && memmem(end, n - len - 1, "rel=\"next\"", 10)) keep_text(reply->next, sizeof reply->next, p + 1, len);
}

/* Seconds, or a date. */
static void keep_wait(transfer *t, const char *p, size_t n)
{
    char text[80];
    uint64_t s;
    if (!whole_number(p, n, &s)) {
        keep_text(text, sizeof text, p, n);
        time_t then = t->h->curl_getdate(text, NULL);
        int64_t now = ig_clock_s();
        s = then > now ? (uint64_t)(then - now) : 0;
    }
    if (s < RETRY_AFTER_MAX_S) t->reply->retry_after_s = (unsigned)s;
}

/* "0-1023" of an upload: what the registry has. */
static void keep_uploaded(ig_http_reply *reply, const char *p, size_t n)
{
    uint64_t last;
    if (n > 6 && !memcmp(p, "bytes=", 6)) p += 6, n -= 6;
    if (n < 3 || memcmp(p, "0-", 2) || !whole_number(p + 2, n - 2, &last)) return;
    reply->has_uploaded = true;
    reply->uploaded = last ? last + 1 : 0; /* a registry that has nothing says 0-0 */
}

/* Texts that are kept as they are. */
static const struct {
    const char *name;
    size_t at, cap;
} kept[] = {
    {"etag", offsetof(ig_http_reply, etag), sizeof((ig_http_reply *)0)->etag},
    {"location", offsetof(ig_http_reply, location), sizeof((ig_http_reply *)0)->location},
    {"docker-content-digest", offsetof(ig_http_reply, digest), sizeof((ig_http_reply *)0)->digest},
    {"x-amz-meta-sha256", offsetof(ig_http_reply, sha256), sizeof((ig_http_reply *)0)->sha256},
    {"x-amz-checksum-sha256", offsetof(ig_http_reply, sha256_base64), sizeof((ig_http_reply *)0)->sha256_base64},
};

static void read_header(transfer *t, const char *line, size_t n)
{
    ig_http_reply *reply = t->reply;
    const char *v;
    size_t len;
    uint64_t number;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (value_of(line, n, kept[i].name, &v, &len)) keep_text((char *)reply + kept[i].at, kept[i].cap, v, len);
    /* A server may offer several ways; the one with a token is the one that is understood. */
    if (value_of(line, n, "www-authenticate", &v, &len) &&
        (!reply->challenge[0] || (len > 7 && !strncasecmp(v, "bearer ", 7))))
        keep_text(reply->challenge, sizeof reply->challenge, v, len);
    if (value_of(line, n, "content-range", &v, &len)) keep_range(reply, v, len);
    if (value_of(line, n, "range", &v, &len)) keep_uploaded(reply, v, len);
    if (value_of(line, n, "link", &v, &len)) keep_next(reply, v, len);
    if (value_of(line, n, "retry-after", &v, &len)) keep_wait(t, v, len);
    if (value_of(line, n, "accept-ranges", &v, &len)) reply->ranges = len == 5 && !strncasecmp(v, "bytes", 5);
    if (value_of(line, n, "content-length", &v, &len) && whole_number(v, len, &number)) {
        reply->length = number;
        reply->has_length = true;
    }
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
    transfer *t = ctx;
    n *= size;
    t->header_bytes += n;
    if (t->header_bytes > HEADER_BYTES_MAX) {
        t->st = ig_fail(t->err, IG_BAD_INPUT, 0, "the server of %.200s sends endless headers", t->r->url);
        return 0;
    }
    if (n > 5 && !strncasecmp(line, "HTTP/", 5)) /* a new reply, behind one of the kind of 100 */
        *t->reply = (ig_http_reply){0};
    else
        read_header(t, line, n);
    return n;
}

/* Judges the reply when its body begins. */
static void begin_body(transfer *t)
{
    t->begun = true;
    (void)t->h->curl_easy_getinfo(t->h->easy, CURLINFO_RESPONSE_CODE, &t->reply->status);
    if (t->reply->status / 100 == 2 && t->r->head) t->st = t->r->head(t->r->ctx, t->reply, t->err);
}

static bool cancelled(transfer *t)
{
    if (!t->r->tick || t->r->tick(t->r->ctx)) return false;
    t->st =
        ig_fail(t->err, IG_CANCELLED, 0, "the download was cancelled; it goes on from here when it is asked for again");
    return true;
}

/* Waits until so many bytes may have come. libcurl's own limit lets pass whatever lies in the socket's buffers. */
static void keep_pace(transfer *t, size_t n)
{
    uint64_t rate = t->r->bytes_per_s_max, now = ig_now_ns();
    if (!rate || rate > UINT64_MAX / 1000000000u || t->st != IG_OK) return; /* beyond 18 GB/s nothing waits */
    if (!t->body_ns) t->body_ns = now;
    t->body_bytes += n;
    uint64_t due = t->body_ns + t->body_bytes / rate * 1000000000u + t->body_bytes % rate * 1000000000u / rate;
    for (; now < due && !cancelled(t); now = ig_now_ns()) {
        uint64_t ms = (due - now) / 1000000u + 1;
        ig_sleep_ms(ms < STEP_MS ? (unsigned)ms : STEP_MS);
    }
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    transfer *t = ctx;
    n *= size;
    if (!t->begun) begin_body(t);
    if (t->st != IG_OK) return 0;
    if (t->reply->status / 100 != 2) { /* the text of an error is not wanted */
        t->error_bytes += n;
        return t->error_bytes > ERROR_BYTES_MAX ? 0 : n;
    }
    if (!t->r->body) return n;
    t->st = t->r->body(t->r->ctx, p, n, t->err);
    keep_pace(t, n);
    return t->st == IG_OK ? n : 0;
}

static int on_tick(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    transfer *t = ctx;
    (void)total, (void)now, (void)up_total, (void)up_now;
    return t->st != IG_OK || cancelled(t);
}

/* The body that is sent, by place, so that it can begin anew. */
static size_t on_send(char *p, size_t size, size_t n, void *ctx)
{
    transfer *t = ctx;
    uint64_t left = t->r->n_send - t->sent;
    n *= size;
    if (n > left) n = (size_t)left;
    if (n == 0) return 0;
    if (!t->r->send(t->r->ctx, p, n, t->sent)) {
        t->st = ig_fail(t->err, IG_IO, 0, "cannot read what is to be sent to %.200s", t->r->url);
        return CURL_READFUNC_ABORT;
    }
    t->sent += n;
    return n;
}

static int on_seek(void *ctx, curl_off_t at, int origin)
{
    transfer *t = ctx;
    if (origin != SEEK_SET || at < 0) return CURL_SEEKFUNC_CANTSEEK;
    t->sent = (uint64_t)at;
    return CURL_SEEKFUNC_OK;
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    transfer *t = ctx;
    ig_error why;
    ig_reach reach = ig_reach_of(&a->addr);
    (void)purpose;
    if (t->hop == 0) t->reach = reach;
    if (!t->proxied && ig_guard_address(t->r, t->url, t->hop, t->reach, reach, &why) != IG_OK) {
        if (t->st == IG_OK) t->st = ig_fail(t->err, why.status, 0, "%s", why.text);
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static bool add_header(ig_http *h, struct curl_slist **list, const char *name, const char *value)
{
    ig_buf line;
    ig_buf_init(&line, LINE_BYTES_MAX);
    bool ok = !strpbrk(value, "\r\n") && ig_buf_printf(&line, "%s:%s%s", name, *value ? " " : "", value) &&
              ig_buf_add(&line, "", 1);
    struct curl_slist *more = ok ? h->curl_slist_append(*list, line.ptr) : NULL;
    if (more) *list = more;
    ig_buf_fini(&line);
    return more != NULL;
}

typedef struct signer {
    ig_http *h;
    struct curl_slist **list;
    bool ok;
} signer;

static void add_signed(void *ctx, const char *name, const char *value)
{
    signer *s = ctx;
    s->ok &= add_header(s->h, s->list, name, value);
}

/* What proves who asks: to the origin that it belongs to and to no other (H36). */
static bool add_proof(ig_http *h, const transfer *t, struct curl_slist **list)
{
    const ig_http_request *r = t->r;
    const ig_auth *auth = r->auth;
    signer s = {h, list, true};
    ig_buf bearer;
    if (r->bearer && t->hop == 0) {
        ig_buf_init(&bearer, LINE_BYTES_MAX);
        bool ok = ig_buf_printf(&bearer, "Bearer %s", r->bearer) && ig_buf_add(&bearer, "", 1) &&
                  add_header(h, list, "Authorization", bearer.ptr);
        ig_buf_fini(&bearer);
        return ok;
    }
    if (!auth || !ig_url_has_origin(t->url, auth->origin)) return true;
    if (auth->s3)
        return ig_s3_sign(auth->s3, r->method ? r->method : "GET", t->url, r->payload, ig_clock_s(), add_signed, &s) &&
               s.ok;
    return !auth->value || add_header(h, list, "Authorization", auth->value);
}

static bool set_headers(ig_http *h, const transfer *t, struct curl_slist **list)
{
    const ig_http_request *r = t->r;
    bool ok = add_proof(h, t, list);
    if (r->accept) ok &= add_header(h, list, "Accept", r->accept);
    if (r->if_range && (r->from || r->to)) ok &= add_header(h, list, "If-Range", r->if_range);
    if (r->content_type) ok &= add_header(h, list, "Content-Type", r->content_type);
    if (r->content_range) ok &= add_header(h, list, "Content-Range", r->content_range);
    if (r->send) ok &= add_header(h, list, "Expect", "");
    return ok;
}

static void set_body(ig_http *h, transfer *t)
{
    const ig_http_request *r = t->r;
#define SET(option, value) (void)h->curl_easy_setopt(h->easy, CURLOPT_##option, value)
    if (r->send) {
        SET(UPLOAD, 1L);
        SET(READFUNCTION, on_send);
        SET(READDATA, t);
        SET(SEEKFUNCTION, on_seek);
        SET(SEEKDATA, t);
        SET(INFILESIZE_LARGE, (curl_off_t)r->n_send);
    }
    if (r->method && !strcmp(r->method, "HEAD"))
        SET(NOBODY, 1L);
    else if (r->method && strcmp(r->method, "GET") != 0)
        SET(CUSTOMREQUEST, r->method);
}

/* Below this a server counts as stalled, however it drips: what came is kept, and asked on for. */
static long slow_bytes(uint64_t bytes_per_s_max)
{
    return bytes_per_s_max && bytes_per_s_max < 2 * (uint64_t)SLOW_BYTES ? 1 : (long)SLOW_BYTES;
}

static void set_options(ig_http *h, transfer *t, struct curl_slist *headers)
{
    const ig_http_request *r = t->r;
    char range[64];
    const char *ca = getenv("CURL_CA_BUNDLE");
    if (!ca || !*ca) ca = getenv("SSL_CERT_FILE");
    if (ca && *ca) SET(CAINFO, ca);
    SET(URL, t->url);
    SET(HTTPHEADER, headers);
    SET(USERAGENT, "ingle/" INGLE_VERSION);
    SET(NOSIGNAL, 1L);
    SET(PROTOCOLS_STR, "http,https"); /* which of them: judged for every hop */
    SET(FOLLOWLOCATION, 0L);
    SET(CONNECTTIMEOUT, (long)CONNECT_S);
    SET(LOW_SPEED_LIMIT, slow_bytes(r->bytes_per_s_max));
    SET(LOW_SPEED_TIME, (long)STALL_S);
    SET(BUFFERSIZE, r->bytes_per_s_max ? 16L << 10 : 256L << 10);
    SET(TCP_KEEPALIVE, 1L);
    SET(HEADERFUNCTION, on_header);
    SET(HEADERDATA, t);
    SET(WRITEFUNCTION, on_body);
    SET(WRITEDATA, t);
    SET(NOPROGRESS, 0L);
    SET(XFERINFOFUNCTION, on_tick);
    SET(XFERINFODATA, t);
    SET(OPENSOCKETFUNCTION, on_socket);
    SET(OPENSOCKETDATA, t);
    if (t->hop) SET(FRESH_CONNECT, 1L); /* so that the address is looked at */
    if (r->from || r->to) {
        (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)r->from);
        if (r->to)
            (void)snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)r->from,
                           (unsigned long long)r->to - 1);
        SET(RANGE, range);
    }
    set_body(h, t);
}
#undef SET

static ig_status judge(transfer *t, CURLcode code, bool *again)
{
    const char *url = t->r->url;
    long s = t->reply->status;
    if (t->st != IG_OK) return t->st;
    if (s / 100 == 2 && code == CURLE_OK) return IG_OK;
    if (code != CURLE_OK) {
        *again = code != CURLE_UNSUPPORTED_PROTOCOL && code != CURLE_URL_MALFORMAT &&
                 code != CURLE_TOO_MANY_REDIRECTS && code != CURLE_PEER_FAILED_VERIFICATION &&
                 code != CURLE_SSL_CACERT_BADFILE;
        return ig_fail(t->err, IG_IO, 0, "cannot fetch %.250s: %.100s", url, t->h->curl_easy_strerror(code));
    }
    if (s == 404 || s == 410) return ig_fail(t->err, IG_NOT_FOUND, 0, "%.300s is not there (HTTP %ld)", url, s);
    if (s == 401 || s == 403)
        return ig_fail(t->err, IG_DENIED, 0,
                       "the server refuses %.250s (HTTP %ld): a token may be missing, or its "
                       "owner's consent",
                       url, s);
    *again = s == 408 || s == 425 || s == 429 || s >= 500;
    return ig_fail(t->err, *again ? IG_IO : IG_BAD_INPUT, 0, "the server answers HTTP %ld to %.300s", s, url);
}

/* A peer that goes away during TLS raises SIGPIPE in this thread; it is kept from the process and taken away. */
static CURLcode perform_quietly(ig_http *h)
{
    sigset_t pipe_only, old, pending;
    const struct timespec now = {0};
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
    CURLcode code = h->curl_easy_perform(h->easy);
    if (!was_pending) (void)sigtimedwait(&pipe_only, NULL, &now);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code;
}

/* How near the first address was, also where its connection was open already. */
static void keep_reach(transfer *t)
{
    char *text = NULL;
    struct sockaddr_in a = {.sin_family = AF_INET};
    struct sockaddr_in6 b = {.sin6_family = AF_INET6};
    (void)t->h->curl_easy_getinfo(t->h->easy, CURLINFO_PRIMARY_IP, &text);
    if (!text) return;
    if (inet_pton(AF_INET, text, &a.sin_addr) == 1)
        t->reach = ig_reach_of((const struct sockaddr *)&a);
    else if (inet_pton(AF_INET6, text, &b.sin6_addr) == 1)
        t->reach = ig_reach_of((const struct sockaddr *)&b);
}

static ig_status one_hop(transfer *t, CURLcode *code)
{
    ig_http *h = t->h;
    struct curl_slist *headers = NULL;
    IG_TRY(ig_guard_url(t->r, t->url, t->hop, t->err));
    *t->reply = (ig_http_reply){0};
    t->begun = false;
    t->sent = t->body_bytes = t->body_ns = 0;
    t->header_bytes = t->error_bytes = 0;
    h->curl_easy_reset(h->easy);
    if (!set_headers(h, t, &headers)) {
        h->curl_slist_free_all(headers);
        return ig_fail(t->err, IG_BAD_INPUT, 0, "the token or address for %.200s is too long or broken", t->r->url);
    }
    set_options(h, t, headers);
    *code = perform_quietly(h);
    (void)h->curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &t->reply->status);
    if (*code == CURLE_OK && !t->begun) begin_body(t); /* an empty body */
    if (t->hop == 0) keep_reach(t);
    h->curl_slist_free_all(headers);
    return IG_OK;
}

/* Where a redirect leads; NULL: it is none that may be followed. Freed with the handle's next transfer. */
static const char *redirect_of(const transfer *t, CURLcode code)
{
    static const long codes[] = {301, 302, 303, 307, 308};
    char *to = NULL;
    if (code != CURLE_OK || t->r->send || t->st != IG_OK) return NULL;
    if (t->r->method && strcmp(t->r->method, "GET") != 0 && strcmp(t->r->method, "HEAD") != 0) return NULL;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i] == t->reply->status) (void)t->h->curl_easy_getinfo(t->h->easy, CURLINFO_REDIRECT_URL, &to);
    return to;
}

ig_status ig_http_run(ig_http *h, const ig_http_request *r, ig_http_reply *reply, bool *again, ig_error *err)
{
    ig_error own;
    transfer t = {.h = h, .r = r, .url = r->url, .proxied = ig_url_proxied(), .reply = reply, .err = err ? err : &own};
    char place[IG_URL_MAX];
    CURLcode code = CURLE_OK;
    *again = false;
    *reply = (ig_http_reply){0};
    for (;; t.hop++) {
        IG_TRY(one_hop(&t, &code));
        const char *to = r->no_redirect ? NULL : redirect_of(&t, code);
        if (!to) break;
        if (t.hop >= IG_REDIRECTS_MAX)
            return ig_fail(t.err, IG_BAD_INPUT, 0, "%.250s leads to more than %d redirects", r->url,
                           (int)IG_REDIRECTS_MAX);
        if (strlen(to) >= sizeof place)
            return ig_fail(t.err, IG_TOO_LARGE, 0, "%.250s leads to an address that is too long", r->url);
        memcpy(place, to, strlen(to) + 1);
        t.url = place;
    }
    return judge(&t, code, again);
}

unsigned ig_wait_ms(unsigned wait_ms, unsigned retry_after_s)
{
    uint16_t jitter;
    ig_random(&jitter, sizeof jitter);
    uint64_t ms = wait_ms / 2 + (uint64_t)wait_ms * jitter / 65536, asked = retry_after_s * 1000ull;
    if (asked > ms) ms = asked;
    return ms > WAIT_MAX_MS ? WAIT_MAX_MS : (unsigned)ms;
}

unsigned ig_wait_longer(unsigned wait_ms) { return wait_ms > WAIT_MAX_MS / 2 ? WAIT_MAX_MS : wait_ms * 2; }

/* ------------------------------------------------------------------------------------------------ documents */

typedef struct document {
    ig_asker *a;
    ig_buf *out;
    const char *url;
} document;

static ig_status add_piece(void *ctx, const void *p, size_t n, ig_error *err)
{
    document *d = ctx;
    if (d->out->len + n > d->out->max_bytes)
        return ig_fail(err, IG_TOO_LARGE, 0, "%.250s is larger than %zu bytes", d->url, d->out->max_bytes);
    return ig_buf_add(d->out, p, n) ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %.250s", d->url);
}

static ig_status start_over(void *ctx, const ig_http_reply *reply, ig_error *err)
{
    document *d = ctx;
    (void)reply, (void)err;
    d->out->len = 0;
    return IG_OK;
}

static bool asking(void *ctx)
{
    document *d = ctx;
    return ig_asker_note(d->a, IG_PULL_ASKING, d->url, NULL);
}

bool ig_asker_wait(ig_asker *a, const char *what, unsigned ms)
{
    for (unsigned i = 0; i < ms; i += STEP_MS) {
        if (!ig_asker_note(a, IG_PULL_ASKING, what, NULL)) return false;
        ig_sleep_ms(ms - i < STEP_MS ? ms - i : STEP_MS);
    }
    return ig_asker_note(a, IG_PULL_ASKING, what, NULL);
}

ig_status ig_http_document(ig_asker *a, const ig_http_request *request, size_t bytes_max, ig_buf *out,
                           ig_http_reply *reply, ig_error *err)
{
    document d = {a, out, request->url};
    ig_http_request r = *request;
    unsigned wait_ms = a->o->first_wait_ms ? a->o->first_wait_ms : GET_WAIT_MS;
    bool renewed = false;
    r.insecure = a->o->insecure;
    r.guarded = a->o->no_files;
    r.head = start_over;
    r.body = add_piece;
    r.tick = asking;
    r.ctx = &d;
    IG_TRY(ig_asker_http(a, err));
    ig_buf_init(out, bytes_max);
    for (unsigned i = 1;; i++) {
        bool again;
        ig_status st = ig_http_run(a->http, &r, reply, &again, err);
        if (reply->status == 401 && r.auth && !renewed) {
            renewed = true;
            st = ig_auth_renew(a, r.auth, reply->challenge, err);
            if (st == IG_OK) continue;
        }
        if (st == IG_OK || !again || i >= GET_TRIES) {
            if (st != IG_OK) ig_buf_fini(out);
            return st;
        }
        if (!ig_asker_wait(a, request->url, ig_wait_ms(wait_ms, reply->retry_after_s))) {
            ig_buf_fini(out);
            return ig_fail(err, IG_CANCELLED, 0, "cancelled while waiting for %.250s", request->url);
        }
        wait_ms = ig_wait_longer(wait_ms);
    }
}

ig_status ig_http_get(ig_asker *a, const char *url, const char *accept, const char *bearer, size_t bytes_max,
                      ig_buf *out, ig_http_reply *reply, ig_error *err)
{
    ig_http_request r = {.url = url, .accept = accept, .bearer = bearer};
    return ig_http_document(a, &r, bytes_max, out, reply, err);
}
