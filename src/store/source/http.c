/* HTTP by libcurl, which is loaded when the first address is asked: neither a start of the program nor a worker pays
 * for it or has it in its memory, and without it everything but downloads works. */
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/disk.h"
#include "base/utf8.h"
#include "source.h"

enum { CONNECT_S = 30, STALL_S = 60, HEADER_BYTES_MAX = 256 << 10, GET_TRIES = 4, GET_WAIT_MS = 500 };

#define CURL_FUNCTIONS(X)                                                                                              \
    X(curl_global_init)                                                                                                \
    X(curl_easy_init)                                                                                                  \
    X(curl_easy_cleanup)                                                                                               \
    X(curl_easy_reset)                                                                                                 \
    X(curl_easy_setopt)                                                                                                \
    X(curl_easy_perform)                                                                                               \
    X(curl_easy_getinfo)                                                                                               \
    X(curl_easy_strerror)                                                                                              \
    X(curl_slist_append)                                                                                               \
    X(curl_slist_free_all)
/* The checking macros of curl.h stand in the way of a table. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

struct ig_http {
    void *library;
    CURL *easy;
#define X(f) __typeof__(&f) f;
    CURL_FUNCTIONS(X)
#undef X
};

ig_status ig_http_new(ig_http **out, ig_error *err)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    ig_http *h = ig_calloc(1, sizeof *h);
    *out = NULL;
    if (!h) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a download");
    for (size_t i = 0; i < sizeof names / sizeof *names && !h->library; i++)
        h->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    bool whole = h->library != NULL;
#define X(f)                                                                                                           \
    if (whole) {                                                                                                       \
        void *p = dlsym(h->library, #f);                                                                               \
        memcpy(&h->f, &p, sizeof p);                                                                                   \
        whole = p != NULL;                                                                                             \
    }
    CURL_FUNCTIONS(X)
#undef X
    if (whole && h->curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) h->easy = h->curl_easy_init();
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
    ig_http_reply *reply;
    ig_error *err;
    ig_status st;
    size_t header_bytes;
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

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
    transfer *t = ctx;
    const char *v;
    size_t len;
    n *= size;
    t->header_bytes += n;
    if (t->header_bytes > HEADER_BYTES_MAX) {
        t->st = ig_fail(t->err, IG_BAD_INPUT, 0, "the server of %.200s sends endless headers", t->r->url);
        return 0;
    }
    if (n > 5 && !strncasecmp(line, "HTTP/", 5)) { /* a new reply, behind a redirect */
        *t->reply = (ig_http_reply){0};
        return n;
    }
    if (value_of(line, n, "etag", &v, &len)) keep_text(t->reply->etag, sizeof t->reply->etag, v, len);
    if (value_of(line, n, "content-range", &v, &len)) keep_range(t->reply, v, len);
    if (value_of(line, n, "link", &v, &len)) keep_next(t->reply, v, len);
    if (value_of(line, n, "retry-after", &v, &len) && len < 6) t->reply->retry_after_s = (unsigned)atoi(v);
    if (value_of(line, n, "content-length", &v, &len) && len > 0 && len < 19) {
        char *end;
        t->reply->length = strtoull(v, &end, 10);
        t->reply->has_length = end == v + len;
    }
    return n;
}

/* Judges the reply when its body begins. */
static void begin_body(transfer *t)
{
    char *url = NULL;
    t->begun = true;
    (void)t->h->curl_easy_getinfo(t->h->easy, CURLINFO_RESPONSE_CODE, &t->reply->status);
    (void)t->h->curl_easy_getinfo(t->h->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (!t->r->insecure && url && !ig_url_is_secure(url)) {
        t->st = ig_fail(t->err, IG_DENIED, 0, "%.200s leads to an address without https", t->r->url);
        return;
    }
    if (t->reply->status / 100 == 2 && t->r->head) t->st = t->r->head(t->r->ctx, t->reply, t->err);
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    transfer *t = ctx;
    n *= size;
    if (!t->begun) begin_body(t);
    if (t->st != IG_OK) return 0;
    if (t->reply->status / 100 != 2) return n; /* the text of an error is not wanted */
    t->st = t->r->body(t->r->ctx, p, n, t->err);
    return t->st == IG_OK ? n : 0;
}

static int on_tick(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    transfer *t = ctx;
    (void)total, (void)now, (void)up_total, (void)up_now;
    if (t->st != IG_OK) return 1;
    if (!t->r->tick || t->r->tick(t->r->ctx)) return 0;
    t->st =
        ig_fail(t->err, IG_CANCELLED, 0, "the download was cancelled; it goes on from here when it is asked for again");
    return 1;
}

static bool add_header(ig_http *h, struct curl_slist **list, const char *name, const char *value)
{
    char line[IG_URL_MAX];
    int n = snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more =
        n > 0 && (size_t)n < sizeof line && !strpbrk(line, "\r\n") ? h->curl_slist_append(*list, line) : NULL;
    if (more) *list = more;
    return more != NULL;
}

static bool set_headers(ig_http *h, const ig_http_request *r, struct curl_slist **list)
{
    char bearer[IG_URL_MAX];
    bool ok = true;
    if (r->accept) ok &= add_header(h, list, "Accept", r->accept);
    if (r->bearer) {
        ok &= snprintf(bearer, sizeof bearer, "Bearer %s", r->bearer) < (int)sizeof bearer;
        ok &= add_header(h, list, "Authorization", bearer);
    }
    if (r->from && r->if_range) ok &= add_header(h, list, "If-Range", r->if_range);
    return ok;
}

static void set_options(ig_http *h, transfer *t, struct curl_slist *headers)
{
    const ig_http_request *r = t->r;
    char range[32];
    const char *ca = getenv("CURL_CA_BUNDLE");
    bool plain = !strncasecmp(r->url, "http://", 7);
#define SET(option, value) (void)h->curl_easy_setopt(h->easy, CURLOPT_##option, value)
    if (!ca || !*ca) ca = getenv("SSL_CERT_FILE");
    if (ca && *ca) SET(CAINFO, ca);
    SET(URL, r->url);
    SET(HTTPHEADER, headers);
    SET(USERAGENT, "ingle/" INGLE_VERSION);
    SET(NOSIGNAL, 1L);
    SET(PROTOCOLS_STR, plain ? "http,https" : "https");
    SET(REDIR_PROTOCOLS_STR, plain ? "http,https" : "https");
    SET(FOLLOWLOCATION, 1L);
    SET(MAXREDIRS, (long)IG_REDIRECTS_MAX);
    SET(CONNECTTIMEOUT, (long)CONNECT_S);
    SET(LOW_SPEED_LIMIT, 1L);
    SET(LOW_SPEED_TIME, (long)STALL_S);
    SET(BUFFERSIZE, 256L << 10);
    SET(TCP_KEEPALIVE, 1L);
    SET(HEADERFUNCTION, on_header);
    SET(HEADERDATA, t);
    SET(WRITEFUNCTION, on_body);
    SET(WRITEDATA, t);
    SET(NOPROGRESS, 0L);
    SET(XFERINFOFUNCTION, on_tick);
    SET(XFERINFODATA, t);
    if (r->bytes_per_s_max) SET(MAX_RECV_SPEED_LARGE, (curl_off_t)r->bytes_per_s_max);
    if (r->from) {
        (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)r->from);
        SET(RANGE, range);
    }
#undef SET
}

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

ig_status ig_http_run(ig_http *h, const ig_http_request *r, ig_http_reply *reply, bool *again, ig_error *err)
{
    transfer t = {.h = h, .r = r, .reply = reply, .err = err};
    struct curl_slist *headers = NULL;
    char origin[IG_URL_MAX];
    *again = false;
    *reply = (ig_http_reply){0};
    if (!ig_url_origin(r->url, origin, sizeof origin))
        return ig_fail(err, IG_BAD_INPUT, 0, "\"%.250s\" is no address of https", r->url);
    if (!r->insecure && !ig_url_is_secure(r->url))
        return ig_fail(err, IG_DENIED, 0, "%.250s is not protected by https. Type: --insecure to fetch it all the same",
                       r->url);
    h->curl_easy_reset(h->easy);
    if (!set_headers(h, r, &headers)) {
        h->curl_slist_free_all(headers);
        return ig_fail(err, IG_BAD_INPUT, 0, "the token or address for %.200s is too long or broken", r->url);
    }
    set_options(h, &t, headers);
    CURLcode code = h->curl_easy_perform(h->easy);
    (void)h->curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &reply->status);
    if (code == CURLE_OK && !t.begun) begin_body(&t); /* an empty body */
    h->curl_slist_free_all(headers);
    return judge(&t, code, again);
}

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

ig_status ig_http_get(ig_asker *a, const char *url, const char *accept, const char *bearer, size_t bytes_max,
                      ig_buf *out, ig_http_reply *reply, ig_error *err)
{
    document d = {a, out, url};
    ig_http_request r = {.url = url,
                         .accept = accept,
                         .bearer = bearer,
                         .insecure = a->o->insecure,
                         .head = start_over,
                         .body = add_piece,
                         .tick = asking,
                         .ctx = &d};
    unsigned wait_ms = a->o->first_wait_ms ? a->o->first_wait_ms : GET_WAIT_MS;
    IG_TRY(ig_asker_http(a, err));
    ig_buf_init(out, bytes_max);
    for (unsigned i = 1;; i++) {
        bool again;
        ig_status st = ig_http_run(a->http, &r, reply, &again, err);
        if (st == IG_OK || !again || i == GET_TRIES) {
            if (st != IG_OK) ig_buf_fini(out);
            return st;
        }
        ig_sleep_ms(wait_ms);
        wait_ms *= 2;
    }
}
