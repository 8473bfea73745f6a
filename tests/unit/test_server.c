/* The HTTP server over real sockets, client and server in one thread: each test sends bytes, lets the loop take rounds
 * and looks at what came back. Tests are named after the reliability rules. */
#include "serve/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/os.h"
#include "tests/tap.h"

enum { FLOOD_BYTES = 8 << 20, PIECE = 16384, ANSWER_MAX = 4 << 20 };

/* ---- the handler of the tests ---- */

typedef struct fix {
    ig_loop *loop;
    ig_server *server;
    ig_exchange *held; /* of /later and /stream */
    unsigned n_heads, n_requests, n_gone, n_drained, n_done;
    uint64_t gone_round;  /* of the loop */
    size_t flooded, most; /* bytes written to /flood; most pieces between two drains */
    size_t sunk;
    ig_status last;
    char folder[64], path[96];
    ig_access_rules rules;
} fix;

static const ig_http_field text_field[] = {{{"Content-Type", 12}, {"text/plain", 10}}};

static void say(ig_exchange *ex, unsigned status, const char *text)
{
    (void)ig_exchange_respond(ex, status, text_field, 1, text, strlen(text));
}

static bool sink(void *ctx, ig_exchange *ex, const char *data, size_t n)
{
    fix *f = ctx;
    f->sunk += n;
    if (memchr(data, '!', n)) {
        say(ex, 422, "no ! please");
        return false;
    }
    return !memchr(data, '?', n);
}

static void on_head(void *ctx, ig_exchange *ex, const ig_incoming *req, ig_body_plan *plan)
{
    fix *f = ctx;
    ig_error err;
    f->n_heads++;
    ig_status st = ig_access_check(&f->rules, req->who, req->port, req->head, NULL, &err);
    if (st != IG_OK) {
        say(ex, st == IG_DENIED ? 403 : 415, err.text);
    } else if (ig_str_is(req->head->path, "/deny")) {
        say(ex, 401, "denied");
    } else if (ig_str_is(req->head->path, "/early")) {
        (void)ig_exchange_begin(ex, 200, NULL, 0);
        (void)ig_exchange_write(ex, "early", 5);
        (void)ig_exchange_end(ex);
    } else if (ig_str_is(req->head->path, "/sink")) {
        *plan = (ig_body_plan){.max_bytes = UINT64_MAX, .sink = sink, .sink_ctx = f};
    } else if (!ig_str_is(req->head->path, "/none")) {
        plan->max_bytes = ig_str_is(req->head->path, "/small") ? 10 : 4 << 20;
    }
}

static void flood(fix *f, ig_exchange *ex)
{
    char piece[PIECE];
    size_t since = 0;
    memset(piece, 'f', sizeof piece);
    while (f->flooded < FLOOD_BYTES && !ig_exchange_full(ex)) {
        if (ig_exchange_write(ex, piece, sizeof piece) != IG_OK) return;
        f->flooded += sizeof piece;
        since += sizeof piece;
        if (since > f->most) f->most = since;
    }
    if (f->flooded >= FLOOD_BYTES) {
        (void)ig_exchange_end(ex);
        f->held = NULL;
    }
}

static void say_who(ig_exchange *ex, const ig_identity *who)
{
    char text[200];
    (void)snprintf(text, sizeof text, "transport %d loopback %d known %d uid %u pid %d peer %s recheck %d.",
                   who->transport, who->loopback, who->known, who->uid, who->pid, who->peer, ig_exchange_recheck(ex));
    say(ex, 200, text);
}

static void echo(ig_exchange *ex, const ig_incoming *req)
{
    ig_buf b;
    ig_buf_init(&b, ANSWER_MAX * 2);
    (void)ig_buf_printf(&b, "[%.*s %.*s] ", IG_STR_ARG(req->head->method), IG_STR_ARG(req->head->path));
    (void)ig_buf_add(&b, req->body.ptr, req->body.len);
    (void)ig_buf_add(&b, ".", 1);
    (void)ig_exchange_respond(ex, b.failed ? 503 : 200, text_field, 1, b.ptr, b.failed ? 0 : b.len);
    ig_buf_fini(&b);
}

/* Bad fields and wrong order: the server must stay sane. */
static void misuse(fix *f, ig_exchange *ex, ig_str what)
{
    ig_http_field bad = {IG_STR("X"), IG_STR("a\r\nb: c")};
    if (ig_str_is(what, "field")) f->last = ig_exchange_respond(ex, 200, &bad, 1, "x", 1);
    if (ig_str_is(what, "end")) f->last = ig_exchange_end(ex);
    if (ig_str_is(what, "twice")) {
        (void)ig_exchange_begin(ex, 200, NULL, 0);
        f->last = ig_exchange_begin(ex, 200, NULL, 0);
        (void)ig_exchange_write(ex, "once", 4);
        (void)ig_exchange_end(ex);
    }
    if (ig_str_is(what, "abort")) {
        (void)ig_exchange_begin(ex, 200, NULL, 0);
        (void)ig_exchange_write(ex, "partial", 7);
        ig_exchange_abort(ex);
    }
}

static void on_request(void *ctx, ig_exchange *ex, const ig_incoming *req)
{
    fix *f = ctx;
    ig_str path = req->head->path;
    f->n_requests++;
    if (ig_str_is(path, "/later")) {
        ig_exchange_drop_body(ex);
        ig_exchange_set_ctx(ex, f);
        f->held = ex;
    } else if (ig_str_is(path, "/stream")) {
        f->last = ig_exchange_begin(ex, 200, text_field, 1);
        f->held = ex;
    } else if (ig_str_is(path, "/flood")) {
        (void)ig_exchange_begin(ex, 200, NULL, 0);
        f->held = ex;
        flood(f, ex);
    } else if (ig_str_is(path, "/who")) {
        say_who(ex, req->who);
    } else if (ig_str_is(path, "/empty")) {
        (void)ig_exchange_respond(ex, 204, NULL, 0, "ignored", 7);
    } else if (ig_str_is(path, "/misuse")) {
        misuse(f, ex, req->head->query);
    } else {
        echo(ex, req);
    }
}

static void on_drained(void *ctx, ig_exchange *ex)
{
    fix *f = ctx;
    f->n_drained++;
    flood(f, ex);
}

static void on_gone(void *ctx, ig_exchange *ex)
{
    fix *f = ctx;
    f->n_gone++;
    f->gone_round = ig_loop_rounds(f->loop);
    if (f->held == ex) f->held = NULL;
    if (ig_exchange_ctx(ex) && ig_exchange_ctx(ex) != f) abort();
}

static void refused(void *ctx, ig_own_answer *r)
{
    (void)ctx;
    r->type = "application/json";
    (void)snprintf(r->scratch, sizeof r->scratch, "id-%u", r->status);
    r->fields[r->n_fields++] = (ig_http_field){IG_STR("X-Id"), ig_str_from(r->scratch)};
    (void)ig_buf_printf(r->body, "{\"status\":%u,\"path\":\"%.*s\",\"head\":%d,\"error\":\"%s\"}", r->status,
                        IG_STR_ARG(r->path), r->req != NULL, r->text);
}

static const ig_handler handler = {on_head, on_request, on_drained, on_gone, refused};

/* ---- server and client ---- */

static void fix_init(fix *f, const ig_server_limits *limits)
{
    ig_error err;
    static const char *const hosts[] = {"far.example:*"};
    *f = (fix){.rules = {hosts, 1, NULL, 0}};
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/ingle-server-XXXXXX");
    if (!mkdtemp(f->folder)) abort();
    (void)snprintf(f->path, sizeof f->path, "unix:%s/s", f->folder);
    if (ig_loop_new(&f->loop, &err) != IG_OK || ig_server_new(f->loop, &handler, f, limits, &f->server, &err) != IG_OK)
        abort();
    ig_listen tcp = {.address = "tcp:127.0.0.1:0"}, local = {.address = f->path};
    if (ig_server_listen(f->server, &tcp, &err) != IG_OK || ig_server_listen(f->server, &local, &err) != IG_OK) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
}

static void fix_fini(fix *f)
{
    ig_server_free(f->server);
    ig_loop_free(f->loop);
    char path[96];
    (void)snprintf(path, sizeof path, "%s/s", f->folder);
    (void)unlink(path);
    (void)rmdir(f->folder);
}

static void rounds(fix *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) (void)ig_loop_step(f->loop, 0, NULL);
}

static void pass_ms(fix *f, unsigned ms)
{
    for (uint64_t end = ig_now_ns() + ms * 1000000ull; ig_now_ns() < end;) (void)ig_loop_step(f->loop, 1, NULL);
}

/* Rounds until *n is at least `least`, or ms have passed. */
static bool wait_for(fix *f, const unsigned *n, unsigned least, unsigned ms)
{
    for (uint64_t end = ig_now_ns() + ms * 1000000ull; *n < least && ig_now_ns() < end;)
        (void)ig_loop_step(f->loop, 1, NULL);
    return *n >= least;
}

/* Until n connections are open. */
static bool wait_conns(fix *f, size_t n, unsigned ms)
{
    for (uint64_t end = ig_now_ns() + ms * 1000000ull; ig_server_count(f->server).conns != n && ig_now_ns() < end;)
        (void)ig_loop_step(f->loop, 1, NULL);
    return ig_server_count(f->server).conns == n;
}

static int connect_port(unsigned port, int family)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(0x7f000001)};
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&in, sizeof in)
                               : connect(fd, (struct sockaddr *)&in6, sizeof in6);
    if (rc < 0) {
        if (fd >= 0) close(fd);
        return -1;
    }
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static int dial(fix *f) { return connect_port(ig_server_port(f->server, 0), AF_INET); }

static int dial_unix(const fix *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s/s", f->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return -1;
    }
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* What has come back on a connection. */
typedef struct answer {
    char *text;
    size_t n;
    bool closed, reset;
} answer;

static bool collect(int fd, answer *a)
{
    bool any = false;
    while (!a->closed && a->n < ANSWER_MAX - 1) {
        ssize_t n = recv(fd, a->text + a->n, ANSWER_MAX - 1 - a->n, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
        a->reset |= n < 0;
        a->closed |= n <= 0;
        any = true;
        if (n > 0) a->n += (size_t)n;
    }
    a->text[a->n] = 0;
    return any;
}

/* Sends all, then reads until `until` has come, the end, or `ms`. The text is the caller's to free. */
static answer talk(fix *f, int fd, const char *bytes, size_t n, const char *until, unsigned ms)
{
    answer a = {.text = calloc(1, ANSWER_MAX)};
    if (!a.text) abort();
    uint64_t end = ig_now_ns() + ms * 1000000ull;
    for (size_t at = 0; ig_now_ns() < end;) {
        ssize_t done = at < n ? send(fd, bytes + at, n - at, MSG_NOSIGNAL) : 0;
        if (done > 0) at += (size_t)done;
        (void)ig_loop_step(f->loop, at < n ? 0 : 1, NULL);
        (void)collect(fd, &a);
        if (a.closed || (until && at == n && strstr(a.text, until))) break;
        if (done < 0 && errno != EAGAIN) at = n; /* the answer may still be there */
    }
    return a;
}

static bool is_closed(fix *f, int fd)
{
    char c[512];
    for (int i = 0; i < 20; i++) {
        (void)ig_loop_step(f->loop, 1, NULL);
        ssize_t n = recv(fd, c, sizeof c, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return true;
    }
    return false;
}

/* Status lines. */
static unsigned count(const char *text)
{
    unsigned n = 0;
    for (const char *p = strstr(text, "HTTP/1.1 "); p; p = strstr(p + 9, "HTTP/1.1 ")) n += p[9] >= '1' && p[9] <= '5';
    return n;
}

/* ---- one connection, one text ---- */

#define H                         "Host: localhost\r\n"
#define GET(path)                 "GET " path " HTTP/1.1\r\n" H "\r\n"
#define POST(path, n, more, body) "POST " path " HTTP/1.1\r\n" H "Content-Length: " #n "\r\n" more "\r\n" body
#define CHUNKED(path, body)       "POST " path " HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n" body

typedef struct talk_row {
    const char *rule, *what, *request;
    const char *until; /* what must come back at the end; NULL: whatever comes until the server closes */
    const char *has;   /* must come back too, may be NULL */
    unsigned n_answers;
    bool closes;
} talk_row;

static const talk_row talks[] = {
    {"-", "a request; the connection stays", GET("/a"), "[GET /a] .", "HTTP/1.1 200 OK\r\n", 1, false},
    {"-", "Connection: close", "GET /a HTTP/1.1\r\n" H "Connection: close\r\n\r\n", "[GET /a] .",
     "Connection: close\r\n", 1, true},
    {"-", "HTTP/1.0", "GET /a HTTP/1.0\r\n" H "\r\n", "[GET /a] .", "Connection: close\r\n", 1, true},
    {"-", "HTTP/1.0 keep-alive", "GET /a HTTP/1.0\r\n" H "Connection: keep-alive\r\n\r\n", "[GET /a] .",
     "Connection: keep-alive\r\n", 1, false},
    {"-", "an empty line first", "\r\n" GET("/a"), "[GET /a] .", NULL, 1, false},
    {"-", "two empty lines first", "\r\n\r\n" GET("/a"), NULL, "HTTP/1.1 400", 1, true},
    {"-", "a body", POST("/b", 5, "", "hello"), "[POST /b] hello.", NULL, 1, false},
    {"-", "an empty body", POST("/b", 0, "", ""), "[POST /b] .", NULL, 1, false},
    {"H05", "a chunked body", CHUNKED("/b", "5\r\nhello\r\n1;x\r\n!\r\n0\r\nT: 1\r\n\r\n"), "[POST /b] hello!.", NULL,
     1, false},
    {"H05", "broken chunks", CHUNKED("/b", "5\r\nhelloX"), NULL, "\"status\":400,\"path\":\"/b\",\"head\":1", 1, true},
    {"-", "a broken head is refused in the form of its path", "POST /v1/x?y HTTP/1.1\r\nHost : x\r\n\r\n", NULL,
     "X-Id: id-400\r\n", 1, true},
    {"-", "the same, the body", "POST /v1/x?y HTTP/1.1\r\n" H "A\r\n\r\n", NULL, "\"path\":\"/v1/x\",\"head\":0", 1,
     true},
    {"-", "a control character in the head", "POST /v1/x HTTP/1.1\r\nA: \x01\r\n\r\n", NULL,
     "\"path\":\"/v1/x\",\"head\":0", 1, true},
    {"-", "no path to be known", "POST v1/x HTTP/1.1\r\n" H "\r\n", NULL, "\"path\":\"\",\"head\":0", 1, true},
    {"H10", "pipelined: answers in order", GET("/1") POST("/2", 1, "", "x") GET("/3"), "[GET /3] .",
     "[GET /1] .HTTP/1.1 200 OK", 3, false},
    {"H10", "pipelined after a chunked body", CHUNKED("/1", "1\r\nx\r\n0\r\n\r\n") GET("/2"), "[GET /2] .",
     "[POST /1] x.", 2, false},
    {"H10", "nothing after a refused request", "GET /1 HTTP/1.1\r\nHost : x\r\n\r\n" GET("/2"), NULL, "HTTP/1.1 400", 1,
     true},
    {"H10", "nothing after Connection: close", "GET /1 HTTP/1.1\r\n" H "Connection: close\r\n\r\n" GET("/2"), NULL,
     "[GET /1]", 1, true},
    {"H04", "length and chunked smuggle nothing",
     "POST /1 HTTP/1.1\r\n" H "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET("/2"), NULL,
     "HTTP/1.1 400", 1, true},
    {"H01", "no Host", "GET / HTTP/1.1\r\n\r\n", NULL, "HTTP/1.1 400", 1, true},
    {"H02", "bare LF", "GET / HTTP/1.1\nHost: localhost\n\n", NULL, "HTTP/1.1 400", 1, true},
    {"H08", "413 on the announced size", POST("/small", 11, "", "0123456789a"), NULL, "HTTP/1.1 413 Content Too Large",
     1, true},
    {"H08", "the limit itself", POST("/small", 10, "", "0123456789"), "0123456789.", "200 OK", 1, false},
    {"H08", "413 on the streamed size", CHUNKED("/small", "6\r\n012345\r\n6\r\n6789ab\r\n0\r\n\r\n"), NULL,
     "HTTP/1.1 413", 1, true},
    {"H08", "no plan, no body", POST("/none", 1, "", "x"), NULL, "\"status\":413,\"path\":\"/none\"", 1, true},
    {"H08", "no plan, no chunked body", CHUNKED("/none", "0\r\n\r\n"), NULL, "HTTP/1.1 413", 1, true},
    {"H08", "no plan, none announced", GET("/none"), "[GET /none] .", NULL, 1, false},
    {"H09", "unknown expectation", "POST / HTTP/1.1\r\n" H "Expect: 200\r\nContent-Length: 1\r\n\r\n", NULL,
     "HTTP/1.1 417", 1, true},
    {"H09", "100 only after the size was judged", POST("/small", 11, "Expect: 100-continue\r\n", ""), NULL,
     "HTTP/1.1 413", 1, true},
    {"H09", "100 only after rights were judged", POST("/deny", 11, "Expect: 100-continue\r\n", ""), NULL,
     "HTTP/1.1 401", 1, true},
    {"H09", "100 once", POST("/b", 5, "Expect: 100-continue\r\n", ""), "HTTP/1.1 100 Continue\r\n\r\n", NULL, 1, false},
    {"H09", "no 100 for a body that is there", POST("/b", 1, "Expect: 100-continue\r\n", "x"), "x.", NULL, 1, false},
    {"H11", "HEAD", "HEAD /a HTTP/1.1\r\n" H "\r\n" GET("/b"), "[GET /b] .", "Content-Length: 11\r\n\r\nHTTP/1.1 200",
     2, false},
    {"H11", "HEAD refused", "HEAD /deny HTTP/1.1\r\n" H "Connection: close\r\n\r\n", NULL, "Content-Length: 6\r\n", 1,
     true},
    {"H11", "HEAD of a stream", "HEAD /misuse?twice HTTP/1.1\r\n" H "\r\n" GET("/b"), "[GET /b] .",
     "Transfer-Encoding: chunked\r\n\r\nHTTP/1.1 200", 2, false},
    {"H13", "a stream begun before the body", POST("/early", 5, "", "hello"), NULL, "5\r\nearly\r\n0\r\n\r\n", 1, true},
    {"-", "HTTP/1.0 without any field", "GET /a HTTP/1.0\r\n\r\n", NULL, "HTTP/1.1 403", 1, true},
    {"H08", "the dialect of an error is the path's",
     "POST /small HTTP/1.0\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n", NULL, "\"path\":\"/small\"", 1, true},
    {"H12", "204 has neither body nor length", GET("/empty") GET("/b"), "[GET /b] .", "HTTP/1.1 204 No Content\r\n", 2,
     false},
    {"H13", "GET with body is consumed", "GET /a HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" GET("/b"), "[GET /b] .",
     "[GET /a] abc.", 2, false},
    {"H13", "a body not read is never a request", POST("/deny", 36, "", GET("/b")), NULL, "HTTP/1.1 401", 1, true},
    {"H14", "h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NULL, "HTTP/1.1 400", 1, true},
    {"H14", "TLS on the plain port", "\x16\x03\x01\x02", NULL, "HTTP/1.1 400", 1, true},
    {"H23", "another Host", "GET /a HTTP/1.1\r\nHost: evil.example\r\n\r\n", "--host", "HTTP/1.1 403", 1, false},
    {"H23", "an allowed Host", "GET /a HTTP/1.1\r\nHost: far.example:7\r\n\r\n", "[GET /a] .", NULL, 1, false},
    {"H24", "another Origin", "GET /a HTTP/1.1\r\n" H "Origin: http://evil.example\r\n\r\n", "--origin", "HTTP/1.1 403",
     1, false},
    {"H24", "null Origin", "GET /a HTTP/1.1\r\n" H "Origin: null\r\n\r\n", "--origin", "HTTP/1.1 403", 1, false},
    {"H25", "a form from a page",
     "POST /a HTTP/1.1\r\n" H "Sec-Fetch-Site: none\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", NULL,
     "HTTP/1.1 415", 1, true},
    {"-", "a sink takes the body", CHUNKED("/sink", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "[POST /sink] .", NULL, 1,
     false},
    {"-", "a sink answers first", POST("/sink", 100, "", "ab!"), NULL, "HTTP/1.1 422", 1, true},
    {"-", "a sink gives up", POST("/sink", 100, "", "ab?"), NULL, "HTTP/1.1 500", 1, true},
    {"-", "a field with a line end", GET("/misuse?field"), NULL, "HTTP/1.1 500", 1, false},
    {"-", "begun twice", GET("/misuse?twice"), "0\r\n\r\n", "4\r\nonce\r\n", 1, false},
    {"-", "a stream for HTTP/1.0 ends with the connection", "GET /misuse?twice HTTP/1.0\r\n" H "\r\n", NULL,
     "\r\n\r\nonce", 1, true},
};

static void test_talks(fix *f, bool split, int (*open)(fix *))
{
    unsigned bad = 0;
    for (size_t i = 0; i < sizeof talks / sizeof talks[0]; i++) {
        const talk_row *r = &talks[i];
        if (open != dial && strstr(r->has ? r->has : "", "403")) continue;
        if ((split || open != dial) && !strcmp(r->what, "no 100 for a body that is there")) continue;
        int fd = open(f);
        size_t n = strlen(r->request), at = 0;
        for (; split && at + 1 < n; at++) {
            (void)send(fd, r->request + at, 1, MSG_NOSIGNAL);
            rounds(f, 1);
        }
        const char *until = r->until ? r->until : r->closes ? NULL : r->has;
        answer a = talk(f, fd, r->request + at, n - at, until, 3000);
        bool good = (!r->until || strstr(a.text, r->until)) && (!r->has || strstr(a.text, r->has)) &&
                    count(a.text) == r->n_answers && !a.reset;
        bool closed = a.closed || is_closed(f, fd);
        bool plain = split || open != dial; /* one line for all */
        if (!good || closed != r->closes || !plain)
            tap_ok(good && closed == r->closes, "%s: %s%s", r->rule, r->what, split ? " (byte by byte)" : "");
        if (!good || closed != r->closes) {
            bad++;
            printf("# closed %d, reset %d, got: %.300s\n", closed, a.reset, a.text);
        }
        free(a.text);
        close(fd);
        rounds(f, 3);
    }
    tap_ok(bad == 0 && ig_server_count(f->server).exchanges == 0, "%zu conversations%s%s",
           sizeof talks / sizeof talks[0], split ? " byte by byte" : "", open == dial ? "" : " over a unix socket");
}

static int dial_unix_of(fix *f) { return dial_unix(f); }

static void test_conversations(void)
{
    fix f;
    fix_init(&f, NULL);
    test_talks(&f, false, dial);
    test_talks(&f, true, dial);
    test_talks(&f, false, dial_unix_of);
    ig_fault_set(IG_FAULT_READ, 1ull << 62, 0, true); /* one byte a call */
    ig_fault_set(IG_FAULT_WRITE, 1ull << 62, 0, true);
    test_talks(&f, false, dial_unix_of);
    ig_fault_reset();
    rounds(&f, 5);
    tap_ok(ig_server_count(f.server).bodies_bytes == 0, "H21: no bytes of bodies are left");
    fix_fini(&f);
}

static void test_H09_continue(void)
{
    fix f;
    fix_init(&f, NULL);
    int fd = dial(&f);
    static const char head[] = POST("/b", 5, "Expect: 100-continue\r\n", "");
    answer a = talk(&f, fd, head, sizeof head - 1, "\r\n\r\n", 1000), b = talk(&f, fd, "hello", 5, "hello.", 1000);
    tap_ok(!strcmp(a.text, "HTTP/1.1 100 Continue\r\n\r\n") && strstr(b.text, "HTTP/1.1 200") && count(b.text) == 1,
           "H09: 100 Continue once, then the answer");
    free(a.text);
    free(b.text);
    close(fd);
    fix_fini(&f);
}

/* Sends n bytes without reading; false when the connection breaks. */
static bool send_all(fix *f, int fd, const char *bytes, size_t n)
{
    uint64_t end = ig_now_ns() + 5000000000u;
    for (size_t at = 0; at < n && ig_now_ns() < end;) {
        ssize_t done = send(fd, bytes + at, n - at, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN) return false;
        if (done > 0) at += (size_t)done;
        rounds(f, 1);
        if (at == n) return true;
    }
    return false;
}

/* A head and n bytes of body; the caller frees. */
static char *large(const char *head, size_t n, size_t *len)
{
    size_t k = strlen(head);
    char *bytes = malloc(k + n);
    if (!bytes) abort();
    memcpy(bytes, head, k);
    for (size_t i = 0; i < n; i++) bytes[k + i] = (char)('a' + i * 7 % 23);
    *len = k + n;
    return bytes;
}

/* An answer before the body has been read reaches a client that first sends everything. */
static void test_H13_early_answer(void)
{
    fix f;
    size_t n;
    char *bytes = large(POST("/small", 3000000, "", ""), 3000000, &n);
    fix_init(&f, NULL);
    for (int i = 0; i < 2; i++) {
        int fd = i ? dial_unix(&f) : dial(&f);
        bool sent = send_all(&f, fd, bytes, n);
        answer a = talk(&f, fd, "", 0, NULL, 3000);
        tap_ok(sent && strstr(a.text, "HTTP/1.1 413") && strstr(a.text, "}") && a.closed && !a.reset,
               "H13: 413 reaches a client that sends everything first (%s)", i ? "unix" : "tcp");
        free(a.text);
        close(fd);
    }
    tap_ok(wait_conns(&f, 0, 1000), "H13: no connection is left");
    free(bytes);
    fix_fini(&f);
}

static void test_large_body(void)
{
    static const char head[] = POST("/b", 3000000, "", "");
    size_t n;
    char *bytes = large(head, 3000000, &n);
    for (int stop = 0; stop < 2; stop++) {
        fix f;
        fix_init(&f, NULL);
        int fd = dial(&f);
        bool sent = send_all(&f, fd, bytes, n) && wait_for(&f, &f.n_requests, 1, 1000);
        rounds(&f, 5); /* the handler is through, the client has read nothing */
        bool sending = ig_server_count(f.server).exchanges == 0 && ig_server_count(f.server).conns == 1;
        if (stop) ig_server_stop(f.server, 3000, NULL, NULL);
        answer a = talk(&f, fd, "", 0, NULL, 300);
        const char *body = strstr(a.text, "[POST /b] ");
        tap_ok(sent && sending && body && a.n - (size_t)(body + 10 - a.text) == 3000001 &&
                   !memcmp(body + 10, bytes + sizeof head - 1, 3000000) && a.closed == stop,
               "%s", stop ? "L19: an answer on its way is sent to its end" : "3 MB there and back");
        free(a.text);
        close(fd);
        fix_fini(&f);
    }
    free(bytes);
}

/* ---- clocks ---- */

static void test_H15_deadlines(void)
{
    ig_server_limits l = {.head_ms = 100, .idle_ms = 100, .body_grace_ms = 150, .stall_ms = 100, .rate_bytes_s = 100};
    static const struct {
        const char *what, *request, *has;
        unsigned gone;
    } rows[] = {
        {"an idle connection is closed silently", "", "", 0},
        {"a head that stops", "GET / HT", "HTTP/1.1 408", 0},
        {"a body that stops", POST("/b", 100, "", "x"), "\"status\":408,\"path\":\"/b\"", 1},
        {"an idle connection after an answer", GET("/a"), "[GET /a] .", 0},
    };
    fix f;
    fix_init(&f, &l);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = dial(&f);
        unsigned gone = f.n_gone;
        uint64_t begin = ig_now_ns();
        answer a = talk(&f, fd, rows[i].request, strlen(rows[i].request), NULL, 3000);
        uint64_t ms = (ig_now_ns() - begin) / 1000000;
        tap_ok(a.closed && strstr(a.text, rows[i].has) && (rows[i].has[0] || !a.n) && f.n_gone - gone == rows[i].gone &&
                   ms >= 90,
               "H15: %s (closed after %llu ms)", rows[i].what, (unsigned long long)ms);
        free(a.text);
        close(fd);
    }
    for (int body = 0; body < 2; body++) { /* always a byte just in time */
        static const char head[] = "GET / HTTP/1.1\r\nX: ", post[] = POST("/b", 100000, "", "");
        int fd = dial(&f);
        answer a = talk(&f, fd, body ? post : head, strlen(body ? post : head), NULL, 20);
        for (int i = 0; i < 100 && !a.closed; i++) {
            (void)send(fd, "x", 1, MSG_NOSIGNAL);
            pass_ms(&f, 20);
            (void)collect(fd, &a);
        }
        tap_ok(a.closed && strstr(a.text, "HTTP/1.1 408"), "H15: %s that trickles is cut", body ? "a body" : "a head");
        free(a.text);
        close(fd);
    }
    fix_fini(&f);
}

/* The deadline of a head begins with its first byte, not with the silence before. */
static void test_H15_late_head(void)
{
    static const char get[] = GET("/a");
    ig_server_limits l = {.head_ms = 150, .idle_ms = 3000};
    fix f;
    fix_init(&f, &l);
    int fd = dial(&f);
    for (int i = 0; i < 2; i++) {
        pass_ms(&f, 300);
        (void)send(fd, get, 9, MSG_NOSIGNAL);
        pass_ms(&f, 20);
        answer a = talk(&f, fd, get + 9, sizeof get - 10, "] .", 1000);
        tap_ok(strstr(a.text, "200 OK") != NULL, "H15: a head after a long silence has its whole time");
        free(a.text);
    }
    close(fd);
    fix_fini(&f);
}

static int dial_narrow(fix *f)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)ig_server_port(f->server, 0)),
                             .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), narrow = 200000;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &narrow, sizeof narrow);
    if (connect(fd, (struct sockaddr *)&in, sizeof in) < 0) abort();
    return fd;
}

static void test_H17_slow_reader(void)
{
    fix f;
    ig_server_limits l = {.stall_ms = 300, .out_bytes_max = 100000};
    fix_init(&f, &l);
    int fd = dial_narrow(&f);
    static const char get[] = GET("/flood");
    (void)send(fd, get, sizeof get - 1, 0);
    pass_ms(&f, 100);
    size_t first = f.flooded, got = 0;
    tap_ok(first > 100000 && first < FLOOD_BYTES && f.n_gone == 0,
           "H17: %zu bytes are taken for a client that does not read", first);
    for (char buf[20000]; got < FLOOD_BYTES;) {
        ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) break;
        if (n > 0) got += (size_t)n;
        (void)ig_loop_step(f.loop, n > 0 ? 0 : 1, NULL);
    }
    tap_ok(got >= FLOOD_BYTES && f.n_drained > 10 && f.most <= 100000 + 2 * PIECE && f.n_gone == 0,
           "H17: a slow reader gets all: %u drains, at most %zu bytes between two", f.n_drained, f.most);
    close(fd);
    f.flooded = 0;
    fd = dial_narrow(&f);
    (void)send(fd, get, sizeof get - 1, 0);
    uint64_t begin = ig_now_ns();
    bool gone = wait_for(&f, &f.n_gone, 1, 3000);
    tap_ok(gone && ig_now_ns() - begin > 250000000, "H17: a client that takes nothing is cut after the stall");
    close(fd);
    tap_ok(wait_conns(&f, 0, 1000), "H17: and its connection closed");
    fix_fini(&f);
}

/* ---- who goes away ---- */

static void close_hard(int fd)
{
    struct linger hard = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

/* A client in another process that asks and is then killed. */
static void ask_and_die(fix *f, bool with_unread)
{
    int go[2];
    if (pipe(go) < 0) abort();
    pid_t pid = fork();
    if (pid == 0) {
        int fd = dial(f);
        static const char get[] = GET("/stream");
        (void)send(fd, get, sizeof get - 1, 0);
        if (write(go[1], "x", 1) < 0) _exit(1);
        for (;;) pause();
    }
    char c;
    if (read(go[0], &c, 1) != 1) abort();
    (void)wait_for(f, &f->n_requests, f->n_requests + 1, 2000);
    if (with_unread && f->held) {
        (void)ig_exchange_write(f->held, "data: 1\n\n", 9);
        rounds(f, 2);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    close(go[0]);
    close(go[1]);
}

typedef enum leave_how { RST, CLOSE, HALF_THEN_CLOSE, UNIX_CLOSE, KILLED, KILLED_UNREAD } leave_how;

static void leave(fix *f, leave_how how)
{
    static const char get[] = GET("/later");
    int fd = -1;
    unsigned before = f->n_requests;
    if (how < KILLED) {
        fd = how == UNIX_CLOSE ? dial_unix(f) : dial(f);
        (void)send(fd, get, sizeof get - 1, 0);
        (void)wait_for(f, &f->n_requests, before + 1, 1000);
    } else {
        ask_and_die(f, how == KILLED_UNREAD);
    }
    if (how == HALF_THEN_CLOSE) {
        shutdown(fd, SHUT_WR);
        pass_ms(f, 30);
    }
    if (how == RST)
        close_hard(fd);
    else if (fd >= 0)
        close(fd);
}

static void test_H16_departure(void)
{
    static const struct {
        const char *what;
        leave_how how;
        uint64_t max_rounds;
        unsigned max_ms;
    } rows[] = {{"RST", RST, 1, 100},
                {"close", CLOSE, 4, 100},
                {"half-close, then close", HALF_THEN_CLOSE, 4, 1200},
                {"close of a unix socket", UNIX_CLOSE, 1, 100},
                {"SIGKILL", KILLED, 4, 100},
                {"SIGKILL with unread bytes", KILLED_UNREAD, 4, 100}};
    fix f;
    fix_init(&f, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned gone = f.n_gone;
        leave(&f, rows[i].how);
        bool waiting = f.n_gone == gone;
        uint64_t begin = ig_now_ns(), round = ig_loop_rounds(f.loop);
        for (uint64_t end = begin + 3000000000u; f.n_gone == gone && ig_now_ns() < end;)
            (void)ig_loop_step(f.loop, 500, NULL);
        double ms = (double)(ig_now_ns() - begin) / 1e6;
        tap_ok(waiting && f.n_gone == gone + 1 && f.gone_round - round <= rows[i].max_rounds && ms < rows[i].max_ms,
               "H16: %s: gone in round %llu, after %.2f ms", rows[i].what, (unsigned long long)(f.gone_round - round),
               ms);
    }
    fix_fini(&f);
}

static void test_H16_half_close(void)
{
    fix f;
    fix_init(&f, NULL);
    for (int i = 0; i < 2; i++) {
        static const char two[] = GET("/later") GET("/b");
        int fd = i ? dial_unix(&f) : dial(&f);
        unsigned before = f.n_requests;
        (void)send(fd, two, sizeof two - 1, 0);
        shutdown(fd, SHUT_WR);
        (void)wait_for(&f, &f.n_requests, before + 1, 1000);
        pass_ms(&f, 400);
        bool alive = f.held && f.n_gone == 0;
        if (f.held) say(f.held, 200, "late answer");
        answer a = talk(&f, fd, "", 0, NULL, 1000);
        tap_ok(alive && strstr(a.text, "late answer") && strstr(a.text, "[GET /b] .") && a.closed,
               "H16: a half-closed client still gets its answers (%s)", i ? "unix" : "tcp");
        free(a.text);
        close(fd);
    }
    fix_fini(&f);
}

static void test_H16_while_streaming(void)
{
    fix f;
    fix_init(&f, NULL);
    static const char get[] = GET("/stream");
    int fd = dial(&f);
    answer a = talk(&f, fd, get, sizeof get - 1, "\r\n\r\n", 1000);
    ig_status st = f.held ? ig_exchange_write(f.held, "one", 3) : IG_BUG;
    answer b = talk(&f, fd, "", 0, "one", 1000);
    tap_ok(strstr(a.text, "Transfer-Encoding: chunked") && st == IG_OK && strstr(b.text, "3\r\none\r\n"),
           "a piece arrives before the end");
    tap_ok(f.held && ig_exchange_begun(f.held) && ig_server_count(f.server).exchanges == 1, "the exchange has begun");
    close(fd); /* nothing unread: FIN */
    (void)ig_loop_step(f.loop, 100, NULL);
    (void)ig_loop_step(f.loop, 100, NULL);
    tap_ok(f.n_gone == 1 && !f.held, "H16: a closed stream is gone before the next piece");
    free(a.text);
    free(b.text);
    fd = dial(&f);
    static const char cut[] = GET("/misuse?abort");
    a = talk(&f, fd, cut, sizeof cut - 1, NULL, 1000);
    tap_ok(a.closed && !strstr(a.text, "0\r\n\r\n"), "an aborted answer has no end");
    free(a.text);
    close(fd);
    fd = dial(&f);
    static const char old[] = "GET /misuse?abort HTTP/1.0\r\n" H "\r\n";
    a = talk(&f, fd, old, sizeof old - 1, NULL, 1000);
    tap_ok(a.reset, "an aborted answer to HTTP/1.0 ends with a reset");
    free(a.text);
    close(fd);
    fix_fini(&f);
}

/* ---- stopping ---- */

static void on_done(void *ctx)
{
    fix *f = ctx;
    f->n_done++;
}

static void free_in_done(void *ctx)
{
    fix *f = ctx;
    f->n_done++;
    ig_server_free(f->server);
    f->server = NULL;
}

static void test_L19_stop(void)
{
    static const char get[] = GET("/later");
    for (int cut = 0; cut < 2; cut++) {
        fix f;
        fix_init(&f, NULL);
        unsigned port = ig_server_port(f.server, 0);
        int idle = dial(&f), busy = dial(&f), part = dial(&f);
        (void)send(busy, get, sizeof get - 1, 0);
        (void)send(part, get, 10, 0);
        (void)wait_for(&f, &f.n_requests, 1, 1000);
        pass_ms(&f, 10);
        ig_server_stop(f.server, cut ? 50 : 5000, on_done, &f);
        bool idle_closed = is_closed(&f, idle), refused = connect_port(port, AF_INET) < 0;
        tap_ok(idle_closed && refused && f.n_done == 0 && f.n_gone == 0,
               "L19: a stop closes idle connections and listeners only");
        if (!cut) {
            say(f.held, 200, "finished");
            answer a = talk(&f, busy, "", 0, NULL, 1000), b = talk(&f, part, get + 10, sizeof get - 11, NULL, 100);
            tap_ok(strstr(a.text, "finished") && strstr(a.text, "Connection: close"), "L19: what runs may finish");
            if (f.held) say(f.held, 200, "finished too");
            answer c = talk(&f, part, "", 0, NULL, 1000);
            tap_ok(strstr(c.text, "finished too"), "L19: a request that was under way is answered");
            free(a.text);
            free(b.text);
            free(c.text);
            close(busy);
            close(part);
        }
        tap_ok(wait_for(&f, &f.n_done, 1, 2000) && f.n_done == 1 && f.n_gone == (cut ? 1u : 0u),
               "L19: then it is over%s", cut ? ", by the deadline" : "");
        if (cut) close(busy), close(part);
        close(idle);
        fix_fini(&f);
    }
    fix f;
    fix_init(&f, NULL);
    ig_server_stop(f.server, 1000, free_in_done, &f);
    tap_ok(wait_for(&f, &f.n_done, 1, 500), "L19: a server without connections stops at once, and may be freed then");
    fix_fini(&f);
}

/* ---- limits ---- */

static void test_H15_connections(void)
{
    fix f;
    ig_server_limits l = {.conns_owner_max = 4};
    fix_init(&f, &l);
    static const char get[] = GET("/later"), quick[] = GET("/a");
    int fd[6];
    for (int i = 0; i < 4; i++) {
        fd[i] = dial(&f);
        pass_ms(&f, 2);
    }
    answer a = talk(&f, fd[0], quick, sizeof quick - 1, "] .", 1000); /* now 1 is the oldest idle one */
    fd[4] = dial(&f);
    answer b = talk(&f, fd[4], quick, sizeof quick - 1, "] .", 1000);
    tap_ok(strstr(a.text, "200 OK") && strstr(b.text, "200 OK") && is_closed(&f, fd[1]) && !is_closed(&f, fd[0]) &&
               !is_closed(&f, fd[2]),
           "H15: one too many closes the oldest idle one");
    free(a.text);
    free(b.text);
    for (int i = 0; i < 5; i++)
        if (i != 1) (void)send(fd[i], get, sizeof get - 1, 0);
    (void)wait_for(&f, &f.n_requests, 6, 1000);
    fd[5] = dial(&f);
    a = talk(&f, fd[5], quick, sizeof quick - 1, NULL, 1000);
    tap_ok((strstr(a.text, "HTTP/1.1 503") && strstr(a.text, "Retry-After: 1")) || a.reset,
           "H15: where all are busy, 503");
    ig_server_counts c = ig_server_count(f.server);
    tap_ok(c.conns == 4 && c.evicted == 1 && c.refused == 1 && c.exchanges == 4,
           "H15: counted: %zu open, %llu evicted, %llu refused", c.conns, (unsigned long long)c.evicted,
           (unsigned long long)c.refused);
    free(a.text);
    for (int i = 0; i < 6; i++) close(fd[i]);
    fix_fini(&f);
}

static void test_H20_no_descriptors(void)
{
    fix f;
    fix_init(&f, NULL);
    static const char quick[] = GET("/a");
    int idle = dial(&f);
    pass_ms(&f, 5);
    ig_fault_set(IG_FAULT_OPEN, 1, EMFILE, false);
    int fd = dial(&f);
    answer a = talk(&f, fd, quick, sizeof quick - 1, "] .", 1000);
    ig_fault_reset();
    tap_ok(strstr(a.text, "200 OK") && is_closed(&f, idle), "H20: without descriptors an idle connection makes room");
    free(a.text);
    close(fd);
    close(idle);
    rounds(&f, 5);
    ig_fault_set(IG_FAULT_OPEN, 1, EMFILE, false);
    fd = dial(&f);
    uint64_t begin = ig_now_ns(), round = ig_loop_rounds(f.loop);
    a = talk(&f, fd, quick, sizeof quick - 1, "] .", 1000);
    uint64_t took = (ig_now_ns() - begin) / 1000000;
    ig_fault_reset();
    tap_ok(strstr(a.text, "200 OK") && took >= 80 && took < 900, "H20: else accepting pauses: %llu ms, %llu rounds",
           (unsigned long long)took, (unsigned long long)(ig_loop_rounds(f.loop) - round));
    free(a.text);
    close(fd);
    fix_fini(&f);
}

static void test_L01_bodies_in_memory(void)
{
    fix f;
    ig_server_limits l = {.bodies_bytes_max = 100000};
    fix_init(&f, &l);
    static const char part[] = POST("/b", 90000, "", ""), more[] = CHUNKED("/b", "");
    static char body[80000];
    char chunk[80100];
    memset(body, 'x', sizeof body);
    int one = dial(&f), two = dial(&f), three = dial(&f);
    answer a = talk(&f, one, part, sizeof part - 1, NULL, 20), b = talk(&f, one, body, 60000, NULL, 50);
    answer c = talk(&f, two, part, sizeof part - 1, NULL, 1000);
    tap_ok(strstr(c.text, "HTTP/1.1 503") && strstr(c.text, "Retry-After: 1"),
           "L01: an announced body beyond what is left is refused");
    int n = snprintf(chunk, sizeof chunk, "%s%x\r\n%.*s", more, 70000, 70000, body);
    answer d = talk(&f, three, chunk, (size_t)n, NULL, 1000);
    tap_ok(strstr(d.text, "HTTP/1.1 503") && f.n_gone == 2, "L01: and one that grows beyond it");
    answer e = talk(&f, one, body, 30000, "x.", 1000);
    tap_ok(strstr(e.text, "200 OK") != NULL || strstr(e.text, "HTTP/1.1 503") != NULL,
           "L01: the first one gets an answer");
    answer all[] = {a, b, c, d, e};
    for (size_t i = 0; i < 5; i++) free(all[i].text);
    close(one);
    close(two);
    close(three);
    rounds(&f, 5);
    tap_ok(ig_server_count(f.server).bodies_bytes == 0, "L01: all is given back");
    fix_fini(&f);
}

/* Every allocation fails once, then every read and write: an answer or a closed connection, nothing else. */
static void test_M16_failing_calls(void)
{
    static const char both[] = CHUNKED("/b", "5\r\nhello\r\n0\r\n\r\n") GET("/misuse?twice");
    static const ig_fault_kind kinds[] = {IG_FAULT_ALLOC, IG_FAULT_READ, IG_FAULT_WRITE, IG_FAULT_OPEN};
    static const int errors[] = {ENOMEM, ECONNRESET, EPIPE, ECONNABORTED};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        unsigned whole = 0, n = 1;
        bool good = true;
        for (;; n++) {
            fix f;
            fix_init(&f, NULL);
            ig_fault_set(kinds[k], n, errors[k], false);
            int fd = dial(&f);
            answer a = talk(&f, fd, both, sizeof both - 1, "0\r\n\r\n", 300);
            bool reached = ig_fault_calls(kinds[k]) >= n, full = strstr(a.text, "4\r\nonce\r\n0\r\n\r\n") != NULL;
            ig_fault_reset();
            whole += full;
            good &= full || a.closed || (kinds[k] == IG_FAULT_OPEN && n == 1);
            free(a.text);
            close(fd);
            pass_ms(&f, 1);
            good &= wait_conns(&f, 0, 500) && ig_server_count(f.server).exchanges == 0;
            fix_fini(&f);
            if (!reached || n > 60) break;
        }
        tap_ok(good && whole > 0 && n > 1, "M16: failing call kind %zu: %u points, %u whole answers", k, n - 1, whole);
    }
}

/* ---- identity ---- */

static void test_U01_identity(void)
{
    fix f;
    fix_init(&f, NULL);
    static const char get[] = GET("/who");
    char want[64];
    int fd = dial_unix(&f);
    answer a = talk(&f, fd, get, sizeof get - 1, ".", 1000);
    (void)snprintf(want, sizeof want, "known 1 uid %u pid %d", getuid(), getpid());
    tap_ok(strstr(a.text, want) && strstr(a.text, "transport 0 loopback 1") && strstr(a.text, "recheck 1"),
           "U01: a unix socket: %s", want);
    free(a.text);
    close(fd);
    int diag = ig_diag_open();
    ig_listen v6 = {.address = "tcp:[::1]:0"};
    ig_error err;
    bool has_v6 = ig_server_listen(f.server, &v6, &err) == IG_OK;
    for (int i = 0; i < 2; i++) {
        if (i && !has_v6) {
            tap_skip("U01: loopback, IPv6", "%s", err.text);
            continue;
        }
        fd = i ? connect_port(ig_server_port(f.server, 2), AF_INET6) : dial(&f);
        a = talk(&f, fd, get, sizeof get - 1, "recheck", 1000);
        (void)snprintf(want, sizeof want, "transport 1 loopback 1 known 1 uid %u pid 0", getuid());
        tap_ok(strstr(a.text, want) && strstr(a.text, i ? "peer [::1]:" : "peer 127.0.0.1:") &&
                   strstr(a.text, "recheck 1"),
               "U01: loopback, IPv%d: %s", i ? 6 : 4, a.text + (a.n > 80 ? a.n - 80 : 0));
        free(a.text);
        close(fd);
    }
    if (diag >= 0) close(diag);
    fix_fini(&f);
}

/* What an accepted socket says of its peer, before and after the peer is closed. */
static void test_U01_closed_peer(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t len = sizeof in;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), diag = ig_diag_open();
    ig_identity who, late, blind;
    if (bind(server, (struct sockaddr *)&in, len) || listen(server, 5) ||
        getsockname(server, (struct sockaddr *)&in, &len))
        abort();
    int client = connect_port(ntohs(in.sin_port), AF_INET), fd = accept(server, NULL, NULL);
    ig_identity_of(fd, diag, false, &who);
    ig_identity_of(fd, -1, false, &blind);
    tap_ok(who.known && who.uid == getuid() && ig_identity_recheck(diag, &who) &&
               ig_identity_peer(diag, &who) == IG_PEER_LIVE,
           "U01: a live peer is known");
    tap_ok(!blind.known && !ig_identity_recheck(-1, &who) && ig_identity_peer(-1, &who) == IG_PEER_UNSURE,
           "U01: where the kernel cannot be asked, the caller is nobody");
    shutdown(client, SHUT_WR);
    tap_ok(ig_identity_peer(diag, &who) == IG_PEER_LIVE && ig_identity_recheck(diag, &who),
           "U01: a half-closed peer is live");
    close(client);
    ig_identity_of(fd, diag, false, &late);
    tap_ok(!ig_identity_recheck(diag, &who) && ig_identity_peer(diag, &who) == IG_PEER_GONE,
           "U01: a closed peer is gone");
    tap_ok(!late.known && late.uid != 0, "U01: a closed peer is nobody, never uid 0");
    close(fd);
    tap_ok(ig_identity_peer(diag, &who) == IG_PEER_GONE, "U01: nor in TIME_WAIT");
    close(server);
    if (diag >= 0) close(diag);
}

static void ask_as(fix *f, uid_t uid, bool known)
{
    int out[2];
    if (pipe(out) < 0) abort();
    pid_t pid = fork();
    if (pid == 0) {
        static const char get[] = GET("/who");
        char text[1000] = "";
        if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) _exit(1);
        int fd = dial(f);
        (void)fcntl(fd, F_SETFL, 0);
        (void)send(fd, get, sizeof get - 1, 0);
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        _exit(write(out[1], text, n > 0 ? (size_t)n : 0) < 0);
    }
    close(out[1]);
    pass_ms(f, 1);
    (void)wait_for(f, &f->n_requests, f->n_requests + 1, 2000);
    rounds(f, 3);
    char text[1000] = "", want[64];
    if (read(out[0], text, sizeof text - 1) < 0) text[0] = 0;
    (void)snprintf(want, sizeof want, "known %d uid %u", known, uid);
    tap_ok(strstr(text, want) != NULL, "U01: another user: %s", want);
    close(out[0]);
    (void)waitpid(pid, NULL, 0);
}

static void test_U01_other_user(void)
{
    if (geteuid() != 0) {
        tap_skip("U01: another user", "needs root to become one");
        return;
    }
    fix f;
    fix_init(&f, NULL);
    ask_as(&f, 12345, true);
    ask_as(&f, 65534, false);
    fix_fini(&f);
}

/* ---- listeners ---- */

static void test_H22_listeners(void)
{
    fix f;
    fix_init(&f, NULL);
    ig_error err = {0};
    char address[64], text[32];
    static const struct {
        const char *address;
        ig_status status;
        const char *says;
    } rows[] = {{"tcp:0.0.0.0:0", IG_DENIED, "TLS"},
                {"tcp:[::]:0", IG_DENIED, "TLS"},
                {"tcp:192.0.2.1:0", IG_DENIED, "TLS"},
                {"tcp:127.0.0.1", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"tcp:127.0.0.1:70000", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"tcp:127.0.0.1:1x", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"tcp:::1:0", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"http://localhost", IG_BAD_INPUT, "tcp:HOST:PORT"},
                {"unix:", IG_BAD_INPUT, "107 bytes"},
                {"unix:/nowhere/at/all/s", IG_IO, "/nowhere/at/all/s"},
                {"tcp:no-such-host.invalid:0", IG_BAD_INPUT, "no-such-host.invalid"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ig_listen l = {.address = rows[i].address};
        ig_status st = ig_server_listen(f.server, &l, &err);
        tap_ok(st == rows[i].status && strstr(err.text, rows[i].says), "H22: %s: %s", rows[i].address, err.text);
    }
    (void)snprintf(address, sizeof address, "tcp:127.0.0.1:%u", ig_server_port(f.server, 0));
    (void)snprintf(text, sizeof text, "process %d)", getpid());
    ig_listen taken = {.address = address};
    ig_status st = ig_server_listen(f.server, &taken, &err);
    tap_ok(st == IG_IO && strstr(err.text, text) && strstr(err.text, "ingle serve --listen tcp:"), "a taken port: %s",
           err.text);
    (void)snprintf(address, sizeof address, "http://127.0.0.1:%u", ig_server_port(f.server, 0));
    tap_ok(ig_server_n_listeners(f.server) == 2 && !strcmp(ig_server_address(f.server, 0), address) &&
               !strcmp(ig_server_address(f.server, 1), f.path) && ig_server_port(f.server, 1) == 0,
           "the listeners' names: %s, %s", ig_server_address(f.server, 0), ig_server_address(f.server, 1));
    fix_fini(&f);
}

static void test_U03_unix_socket(void)
{
    fix f;
    fix_init(&f, NULL);
    ig_error err;
    struct stat sb;
    char path[96], other[104], file[104];
    ig_listen l = {.address = f.path};
    (void)snprintf(path, sizeof path, "%s/s", f.folder);
    bool there = stat(path, &sb) == 0;
    tap_ok(there && S_ISSOCK(sb.st_mode) && (sb.st_mode & 0777) == 0660, "U03: the socket's mode is %o",
           sb.st_mode & 0777);
    tap_ok(ig_server_listen(f.server, &l, &err) == IG_IO && strstr(err.text, "another program already listens"),
           "U03: %s", err.text);
    tap_ok(stat(path, &sb) == 0, "U03: and its socket stays");
    (void)snprintf(other, sizeof other, "unix:%s/t", f.folder);
    (void)snprintf(file, sizeof file, "%s/t", f.folder);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", file);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(dead, (struct sockaddr *)&a, sizeof a)) abort();
    close(dead);
    l = (ig_listen){.address = other, .unix_mode = 0600};
    tap_ok(ig_server_listen(f.server, &l, &err) == IG_OK && stat(file, &sb) == 0 && (sb.st_mode & 0777) == 0600,
           "U03: a socket left behind is taken over");
    ig_server_stop(f.server, 0, NULL, NULL);
    rounds(&f, 3);
    tap_ok(stat(file, &sb) < 0 && stat(path, &sb) < 0, "U03: sockets are removed at the end");
    int plain = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(plain);
    tap_ok(ig_server_listen(f.server, &l, &err) == IG_BAD_INPUT && stat(file, &sb) == 0, "U03: %s", err.text);
    (void)unlink(file);
    fix_fini(&f);
}

/* In a child, so that descriptor 3 is free to take. */
static int activated(fix *f, const char *pid, bool listening)
{
    ig_error err;
    unsigned n = 99;
    ig_listen l = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&in, sizeof in) || (listening && listen(fd, 5))) return 9;
    ig_server_free(f->server);
    ig_loop_free(f->loop);
    if (dup2(fd, 3) < 0) return 8;
    if (fd != 3) close(fd);
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    if (ig_loop_new(&f->loop, &err) != IG_OK || ig_server_new(f->loop, &handler, f, NULL, &f->server, &err) != IG_OK)
        return 7;
    ig_status st = ig_server_listen_inherited(f->server, &l, &n, &err);
    if (getenv("LISTEN_PID") || getenv("LISTEN_FDS")) return 6;
    if (!listening) return st == IG_BAD_INPUT && strstr(err.text, "ListenStream") ? 0 : 5;
    if (strtol(pid, NULL, 10) != getpid()) return st == IG_OK && n == 0 ? 0 : 4;
    if (st != IG_OK || n != 1 || !(fcntl(3, F_GETFD) & FD_CLOEXEC)) return 3;
    static const char get[] = GET("/a");
    int client = dial(f);
    answer a = talk(f, client, get, sizeof get - 1, "] .", 1000);
    bool ok = strstr(a.text, "[GET /a]") != NULL;
    free(a.text);
    close(client);
    ig_server_free(f->server);
    ig_loop_free(f->loop);
    return ok ? 0 : 2;
}

static void test_socket_activation(void)
{
    for (int i = 0; i < 3; i++) {
        fflush(stdout);
        fix f;
        fix_init(&f, NULL);
        pid_t child = fork();
        if (child == 0) {
            char pid[20];
            (void)snprintf(pid, sizeof pid, "%d", i == 1 ? 1 : getpid());
            _exit(activated(&f, pid, i != 2));
        }
        int status = 0;
        (void)waitpid(child, &status, 0);
        static const char *const what[] = {"a passed socket is served", "one for another process is left alone",
                                           "a socket that does not listen is refused"};
        tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "socket activation: %s (%d)", what[i],
               WEXITSTATUS(status));
        fix_fini(&f);
    }
}

/* ---- TLS ---- */

static void write_pem(const char *cert, const char *key, long serial)
{
    EVP_PKEY *k = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    FILE *c = fopen(cert, "we"), *p = fopen(key, "we");
    if (!k || !x || !c || !p) abort();
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, k);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_sign(x, k, EVP_sha256());
    if (!PEM_write_X509(c, x) || !PEM_write_PrivateKey(p, k, NULL, NULL, 0, NULL, NULL)) abort();
    fclose(c);
    fclose(p);
    X509_free(x);
    EVP_PKEY_free(k);
}

/* Rounds until an SSL call is through; its result. */
static int drive(fix *f, SSL *s, int (*call)(SSL *s, void *p, int n), void *p, int n)
{
    int r = -1;
    for (int i = 0; i < 2000; i++) {
        r = call(s, p, n);
        if (r > 0 || (SSL_get_error(s, r) != SSL_ERROR_WANT_READ && SSL_get_error(s, r) != SSL_ERROR_WANT_WRITE)) break;
        (void)ig_loop_step(f->loop, 1, NULL);
    }
    return r;
}
static int call_connect(SSL *s, void *p, int n)
{
    (void)p;
    (void)n;
    return SSL_connect(s);
}
static int call_read(SSL *s, void *p, int n) { return SSL_read(s, p, n); }
static int call_write(SSL *s, void *p, int n) { return SSL_write(s, p, n); }

typedef struct tls_client {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
} tls_client;

static bool tls_open(fix *f, tls_client *c, unsigned port, int max_version)
{
    c->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(c->ctx, 0);
    SSL_CTX_set_max_proto_version(c->ctx, max_version);
    c->ssl = SSL_new(c->ctx);
    c->fd = connect_port(port, AF_INET);
    SSL_set_fd(c->ssl, c->fd);
    return drive(f, c->ssl, call_connect, NULL, 0) == 1;
}

static void tls_close(tls_client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
}

static long serial_of(const tls_client *c)
{
    X509 *x = SSL_get1_peer_certificate(c->ssl);
    long serial = x ? ASN1_INTEGER_get(X509_get_serialNumber(x)) : -1;
    X509_free(x);
    return serial;
}

static bool tls_ask(fix *f, tls_client *c, char *request, const char *until)
{
    static char text[100000];
    int n = 0;
    text[0] = 0;
    if (drive(f, c->ssl, call_write, request, (int)strlen(request)) <= 0) return false;
    while (!strstr(text, until)) {
        int got = drive(f, c->ssl, call_read, text + n, (int)sizeof text - 1 - n);
        if (got <= 0) return false;
        n += got;
        text[n] = 0;
    }
    return true;
}

static void test_H30_tls(void)
{
    fix f;
    fix_init(&f, NULL);
    ig_error err = {0};
    char cert[96], key[96], get[] = GET("/a"), later[] = GET("/later"), who[] = GET("/who");
    (void)snprintf(cert, sizeof cert, "%s/cert", f.folder);
    (void)snprintf(key, sizeof key, "%s/key", f.folder);
    ig_listen l = {.address = "tcp:127.0.0.1:0", .tls_cert = cert, .tls_key = key};
    ig_status st = ig_server_listen(f.server, &l, &err);
    tap_ok(st == IG_BAD_INPUT, "H30: no certificate: %s", err.text);
    write_pem(cert, key, 1);
    st = ig_server_listen(f.server, &l, &err);
    tap_ok(st == IG_OK && ig_server_n_listeners(f.server) == 3 &&
               !strncmp(ig_server_address(f.server, 2), "https://127.0.0.1:", 18),
           "H30: a TLS listener: %s", ig_server_address(f.server, 2));
    ig_listen half = {.address = "tcp:127.0.0.1:0", .tls_cert = cert},
              open_one = {.address = "tcp:0.0.0.0:0", .tls_cert = cert, .tls_key = key};
    st = ig_server_listen(f.server, &half, &err);
    tap_ok(st == IG_BAD_INPUT, "H30: half of it: %s", err.text);
    st = ig_server_listen(f.server, &open_one, &err);
    tap_ok(st == IG_DENIED, "H22: TLS without keys is not enough: %s", err.text);
    open_one.keys_required = true;
    tap_ok(ig_server_listen(f.server, &open_one, &err) == IG_OK, "H22: TLS and keys are");
    unsigned port = ig_server_port(f.server, 2);
    tls_client c;
    bool opened = tls_open(&f, &c, port, TLS1_3_VERSION);
    tap_ok(opened && tls_ask(&f, &c, get, "[GET /a] .") && tls_ask(&f, &c, get, "[GET /a] ."), "H30: %s, two requests",
           SSL_get_version(c.ssl));
    char want[64];
    (void)snprintf(want, sizeof want, "transport 2 loopback 1 known 1 uid %u", getuid());
    tap_ok(tls_ask(&f, &c, who, want), "U01: on TLS over loopback the user is known too");
    char big[60200];
    int n = snprintf(big, sizeof big, "%s", POST("/b", 60000, "", ""));
    memset(big + n, 'x', 60000);
    big[n + 60000] = 0;
    tap_ok(tls_ask(&f, &c, big, "xx."), "H30: a body of several records");
    tls_client d, e, old;
    write_pem(cert, key, 2);
    bool reloaded = ig_server_reload_tls(f.server, cert, key, &err) == IG_OK,
         second = tls_open(&f, &d, port, TLS1_2_VERSION);
    tap_ok(reloaded && second && serial_of(&c) == 1 && serial_of(&d) == 2 && tls_ask(&f, &c, get, "[GET /a] .") &&
               tls_ask(&f, &d, get, "[GET /a] ."),
           "H30: a new certificate for new connections, TLS 1.2 spoken, old ones go on");
    (void)unlink(key);
    tap_ok(ig_server_reload_tls(f.server, cert, key, &err) == IG_BAD_INPUT && tls_open(&f, &e, port, TLS1_3_VERSION) &&
               serial_of(&e) == 2,
           "H30: a failed reload changes nothing: %s", err.text);
    tap_ok(!tls_open(&f, &old, port, TLS1_1_VERSION), "H30: TLS 1.1 is refused");
    unsigned gone = f.n_gone, before = f.n_requests;
    (void)drive(&f, e.ssl, call_write, later, (int)strlen(later));
    (void)wait_for(&f, &f.n_requests, before + 1, 1000);
    tls_close(&e);
    tap_ok(wait_for(&f, &f.n_gone, gone + 1, 1000), "H16: departure over TLS");
    int plain = connect_port(port, AF_INET);
    answer a = talk(&f, plain, get, strlen(get), NULL, 1000);
    tap_ok(a.closed && !strstr(a.text, "200 OK"), "H30: plain HTTP on the TLS port is closed");
    free(a.text);
    close(plain);
    tls_close(&c);
    tls_close(&d);
    tls_close(&old);
    tap_ok(wait_conns(&f, 0, 1000), "H30: no connection is left");
    (void)unlink(cert);
    fix_fini(&f);
}

/* ---- many connections ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Time of the processor that this thread has used: what others on the machine do does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* p99 in milliseconds of work of n requests on one connection (client and server are this thread); between them the
 * slow ones send a byte each in turn. */
static double p99(fix *f, int fd, unsigned n, const int *slow, unsigned n_slow)
{
    static const char get[] = GET("/a");
    double *ms = calloc(n, sizeof *ms);
    char text[1024];
    if (!ms) abort();
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < 20 && n_slow; k++) (void)send(slow[(i * 20 + k) % n_slow], "x", 1, MSG_NOSIGNAL);
        uint64_t begin = cpu_ns();
        (void)send(fd, get, sizeof get - 1, MSG_NOSIGNAL);
        ssize_t got = -1;
        for (int k = 0; k < 1000 && got <= 0; k++) {
            (void)ig_loop_step(f->loop, 1, NULL);
            got = recv(fd, text, sizeof text, MSG_DONTWAIT);
        }
        ms[i] = got > 0 ? (double)(cpu_ns() - begin) / 1e6 : 1e9;
    }
    qsort(ms, n, sizeof *ms, by_size);
    double r = ms[n * 99 / 100];
    free(ms);
    return r;
}

static void test_H15_many_connections(void)
{
    enum { N = 1000 };
    uint64_t files = ig_raise_open_files();
    if (files < 4 * N + 200) {
        tap_skip("H15: 1,000 idle and 1,000 slow connections", "only %llu descriptors are allowed",
                 (unsigned long long)files);
        return;
    }
    fix f;
    ig_server_limits l = {.conns_owner_max = 4000};
    static int idle[N], slow[N];
    fix_init(&f, &l);
    int fd = dial(&f);
    rounds(&f, 3);
    (void)p99(&f, fd, 200, NULL, 0);
    double before = p99(&f, fd, 1000, NULL, 0);
    size_t used = mallinfo2().uordblks;
    for (int i = 0; i < N; i++) {
        idle[i] = dial(&f);
        slow[i] = dial(&f);
        (void)send(slow[i], "GET / HTTP/1.1\r\nX: ", 19, MSG_NOSIGNAL);
        rounds(&f, 2);
    }
    pass_ms(&f, 20);
    size_t each = (mallinfo2().uordblks - used) / (2 * N);
    tap_ok(ig_server_count(f.server).conns == 2 * N + 1, "H21: %zu connections are open",
           ig_server_count(f.server).conns);
    tap_ok(tap_sanitized || each < 16384, "H21: %zu bytes of memory each", each);
    uint64_t round = ig_loop_rounds(f.loop), begin = ig_now_ns();
    (void)ig_loop_step(f.loop, 300, NULL);
    tap_ok(ig_now_ns() - begin >= 290000000 && ig_loop_rounds(f.loop) == round + 1,
           "idle connections wake nobody up in 0.3 s");
    double with = p99(&f, fd, 1000, slow, N);
    for (int i = 0; i < 3 && with >= before + 5; i++)
        with = p99(&f, fd, 1000, slow, N); /* others use this machine too */
    tap_ok(with < 2 * before || with < before + 5,
           "H15: p99 is %.3f ms alone, %.3f ms among 1,000 idle and 1,000 slow connections", before, with);
    for (int i = 0; i < N; i++) close(idle[i]), close(slow[i]);
    tap_ok(wait_conns(&f, 1, 3000), "H21: all are closed again");
    close(fd);
    fix_fini(&f);
}

static void test_H20_storm(void)
{
    fix f;
    fix_init(&f, NULL);
    static const char get[] = GET("/stream");
    int fd = dial(&f);
    answer a = talk(&f, fd, get, sizeof get - 1, "\r\n\r\n", 1000);
    double worst = 0;
    for (int i = 0; i < 2000 && f.held; i++) {
        int c = dial(&f);
        close_hard(c);
        if (i % 20) continue;
        uint64_t begin = ig_now_ns();
        (void)ig_exchange_write(f.held, "tick", 4);
        char text[64];
        while (recv(fd, text, sizeof text, MSG_DONTWAIT) <= 0) (void)ig_loop_step(f.loop, 1, NULL);
        double ms = (double)(ig_now_ns() - begin) / 1e6;
        if (ms > worst) worst = ms;
    }
    tap_ok(worst < 100 && f.held, "H20: in a storm of 2,000 connections a stream waits at most %.2f ms", worst);
    free(a.text);
    close(fd);
    tap_ok(wait_conns(&f, 0, 1000), "H20: nothing is left of it");
    fix_fini(&f);
}

/* ---- anything at any time ---- */

/* A handler that does whatever the dice say, and counts that each exchange ends exactly once. */
enum { HELD_MAX = 256 };
typedef struct dice {
    uint64_t state;
    ig_exchange *held[HELD_MAX];
    unsigned n_held, taken, ended, gone, wrong;
} dice;

static unsigned roll(dice *d, unsigned n)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(d->state >> 33) % n;
}

static void take(dice *d, ig_exchange *ex)
{
    if (d->n_held == HELD_MAX) abort();
    d->held[d->n_held++] = ex;
    d->taken++;
}

static bool drop(dice *d, const ig_exchange *ex)
{
    for (unsigned i = 0; i < d->n_held; i++)
        if (d->held[i] == ex) {
            d->held[i] = d->held[--d->n_held];
            return true;
        }
    d->wrong++;
    return false;
}

/* Something that may be done with an exchange at any time. */
static void act(dice *d, ig_exchange *ex)
{
    static char piece[40000];
    unsigned what = roll(d, 8);
    if (what < 3 && !ig_exchange_begun(ex)) {
        (void)ig_exchange_begin(ex, 200, text_field, 1);
    } else if (what < 5 && ig_exchange_begun(ex)) {
        if (!ig_exchange_full(ex)) (void)ig_exchange_write(ex, piece, roll(d, sizeof piece));
    } else if (what >= 5) {
        (void)drop(d, ex);
        d->ended++;
        if (what == 5)
            (void)ig_exchange_end(ex);
        else if (what == 6)
            ig_exchange_abort(ex);
        else
            (void)ig_exchange_respond(ex, 200, NULL, 0, piece, roll(d, 1000));
    }
}

static bool dice_sink(void *ctx, ig_exchange *ex, const char *data, size_t n)
{
    dice *d = ctx;
    (void)data;
    (void)n;
    if (roll(d, 4)) return true;
    act(d, ex);
    return roll(d, 2);
}

static void dice_head(void *ctx, ig_exchange *ex, const ig_incoming *req, ig_body_plan *plan)
{
    dice *d = ctx;
    (void)req;
    take(d, ex);
    if (roll(d, 3) == 0) *plan = (ig_body_plan){.max_bytes = 1000000, .sink = dice_sink, .sink_ctx = d};
    if (roll(d, 3)) plan->max_bytes = roll(d, 300000);
    if (roll(d, 8) == 0) act(d, ex);
}
static void dice_request(void *ctx, ig_exchange *ex, const ig_incoming *req)
{
    volatile char last = req->body.len ? req->body.ptr[req->body.len - 1] : 0;
    (void)last;
    act(ctx, ex);
}
static void dice_drained(void *ctx, ig_exchange *ex) { act(ctx, ex); }
static void dice_gone(void *ctx, ig_exchange *ex)
{
    dice *d = ctx;
    d->gone += drop(d, ex);
}

static const char *const scripts[] = {GET("/a"),
                                      POST("/b", 20, "", "0123456789"),
                                      "0123456789",
                                      CHUNKED("/c", "5\r\nhello\r\n"),
                                      "0\r\n\r\n",
                                      "4000\r\n",
                                      "\r\n",
                                      "GET / HTTP/1.0\r\n\r\n",
                                      "HEAD / HTTP/1.1\r\n" H "\r\n",
                                      POST("/d", 200000, "Expect: 100-continue\r\n", ""),
                                      "garbage\r\n"};

static void client_act(dice *d, fix *f, int *fd)
{
    static char buf[100000];
    unsigned what = roll(d, 16);
    if (*fd < 0) {
        *fd = roll(d, 2) ? dial(f) : dial_unix(f);
    } else if (what < 6) {
        const char *text = scripts[roll(d, sizeof scripts / sizeof scripts[0])];
        size_t n = strlen(text);
        (void)send(*fd, text, roll(d, 4) ? n : roll(d, (unsigned)n), MSG_NOSIGNAL);
    } else if (what < 8) {
        memset(buf, 'z', sizeof buf);
        (void)send(*fd, buf, roll(d, sizeof buf), MSG_NOSIGNAL);
    } else if (what < 12) {
        (void)recv(*fd, buf, 1 + roll(d, sizeof buf - 1), MSG_DONTWAIT);
    } else if (what == 12) {
        shutdown(*fd, SHUT_WR);
    } else if (what > 13) {
        if (what == 14)
            close(*fd);
        else
            close_hard(*fd);
        *fd = -1;
    }
}

static void test_any_order(unsigned seed)
{
    enum { CLIENTS = 40, ACTIONS = 12000 };
    static const ig_handler any = {dice_head, dice_request, dice_drained, dice_gone, NULL};
    ig_server_limits l = {.conns_owner_max = 30,
                          .head_ms = 20,
                          .idle_ms = 20,
                          .body_grace_ms = 30,
                          .stall_ms = 20,
                          .out_bytes_max = 50000,
                          .bodies_bytes_max = 500000};
    dice d = {.state = seed};
    fix f;
    fix_init(&f, NULL);
    ig_server_free(f.server);
    ig_error err;
    if (ig_server_new(f.loop, &any, &d, &l, &f.server, &err) != IG_OK) abort();
    ig_listen tcp = {.address = "tcp:127.0.0.1:0"}, local = {.address = f.path};
    if (ig_server_listen(f.server, &tcp, &err) != IG_OK || ig_server_listen(f.server, &local, &err) != IG_OK) abort();
    int fd[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) fd[i] = -1;
    for (int i = 0; i < ACTIONS; i++) {
        if (roll(&d, 50) == 0)
            ig_fault_set(roll(&d, 2) ? IG_FAULT_ALLOC : IG_FAULT_WRITE, 1 + roll(&d, 10), ENOMEM, false);
        client_act(&d, &f, &fd[roll(&d, CLIENTS)]);
        if (roll(&d, 2)) (void)ig_loop_step(f.loop, 0, NULL);
        if (d.n_held && roll(&d, 2)) act(&d, d.held[roll(&d, d.n_held)]);
    }
    ig_fault_reset();
    unsigned running = d.n_held;
    ig_server_counts c = ig_server_count(f.server);
    for (int i = 0; i < CLIENTS; i++)
        if (fd[i] >= 0) close(fd[i]);
    if (seed % 2) {
        (void)wait_conns(&f, 0, 3000);
        c = ig_server_count(f.server);
        tap_ok(c.conns == 0 && c.exchanges == 0 && c.bodies_bytes == 0 && d.n_held == 0,
               "any order, seed %u: nothing is left", seed);
    }
    ig_server_free(f.server); /* with all that runs */
    f.server = NULL;
    tap_ok(d.wrong == 0 && d.n_held == 0 && d.taken == d.ended + d.gone && d.taken > 200,
           "any order, seed %u: %u exchanges, %u ended by the handler, %u gone, %u running at the end; %llu evicted",
           seed, d.taken, d.ended, d.gone, running, (unsigned long long)c.evicted);
    fix_fini(&f);
}

/* ---- the loop ---- */

typedef struct ticks {
    ig_loop *loop;
    ig_timer t[64];
    unsigned order[64], n, woken, signals;
    ig_timer again;
    unsigned n_again;
} ticks;

static ticks *now_running;
static void on_tick(void *ctx) { now_running->order[now_running->n++] = (unsigned)(uintptr_t)ctx; }
static void on_again(void *ctx)
{
    ticks *k = ctx;
    k->n_again++;
    ig_timer_set(k->loop, &k->again, 1, on_again, k); /* always due */
}
static void on_woken(void *ctx) { ((ticks *)ctx)->woken++; }
static void on_signal(void *ctx) { ((ticks *)ctx)->signals++; }

static void test_loop(void)
{
    static ticks k;
    ig_error err;
    ig_waker w = {0};
    now_running = &k;
    if (ig_loop_new(&k.loop, &err) != IG_OK) abort();
    uint64_t base = ig_now_ns() + 2000000;
    for (unsigned i = 0; i < 64; i++)
        ig_timer_set(k.loop, &k.t[i], base + i * 29 % 64 * 10000, on_tick, (void *)(uintptr_t)(i * 29 % 64));
    for (unsigned i = 0; i < 64; i += 3) ig_timer_clear(k.loop, &k.t[i]);
    for (unsigned i = 0; i < 64; i += 6)
        ig_timer_set(k.loop, &k.t[i], base + i * 29 % 64 * 10000, on_tick, (void *)(uintptr_t)(i * 29 % 64));
    unsigned expected = 64 - 22 + 11;
    while (k.n < expected && ig_now_ns() < base + 1000000000u) (void)ig_loop_step(k.loop, 50, NULL);
    bool sorted = k.n == expected;
    for (unsigned i = 1; i < k.n; i++) sorted &= k.order[i - 1] < k.order[i];
    tap_ok(sorted, "loop: %u timers in their order", k.n);
    ig_timer_set(k.loop, &k.again, 1, on_again, &k);
    for (int i = 0; i < 10; i++) (void)ig_loop_step(k.loop, 50, NULL);
    tap_ok(k.n_again <= 11, "loop: a timer that is always due runs once a round");
    ig_timer_clear(k.loop, &k.again);
    ig_waker_add(k.loop, &w, on_woken, &k);
    for (int i = 0; i < 5; i++) ig_waker_wake(&w);
    (void)ig_loop_step(k.loop, 100, NULL);
    tap_ok(k.woken == 1, "loop: five calls wake once");
    ig_waker_remove(&w);
    tap_ok(ig_loop_signal(k.loop, SIGUSR1, on_signal, &k, &err) == IG_OK && kill(getpid(), SIGUSR1) == 0 &&
               ig_loop_step(k.loop, 100, NULL) == IG_OK && k.signals == 1,
           "loop: a signal");
    ig_loop_free(k.loop);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    test_loop();
    test_conversations();
    test_H09_continue();
    test_H13_early_answer();
    test_large_body();
    test_H15_deadlines();
    test_H15_late_head();
    test_H17_slow_reader();
    test_H16_departure();
    test_H16_half_close();
    test_H16_while_streaming();
    test_L19_stop();
    test_H15_connections();
    test_H20_no_descriptors();
    test_L01_bodies_in_memory();
    test_M16_failing_calls();
    test_U01_identity();
    test_U01_closed_peer();
    test_U01_other_user();
    test_H22_listeners();
    test_U03_unix_socket();
    test_socket_activation();
    test_H30_tls();
    test_H15_many_connections();
    test_H20_storm();
    for (unsigned seed = 1; seed <= 6; seed++) test_any_order(seed);
    return tap_done();
}
