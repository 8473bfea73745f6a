/* Shared by the tests of the HTTP server: a handler with one address for each thing that can happen, and a client in
 * the same thread: each test sends bytes, lets the loop take rounds and looks at what came back. Tests are named after
 * the reliability rules. What a test does not use is no fault. */
#ifndef IG_TESTS_SERVER_KIT_H
#define IG_TESTS_SERVER_KIT_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/server.h"
#include "tests/tap.h"

#define KIT static __attribute__((unused))

enum { FLOOD_BYTES = 8 << 20, PIECE = 16384, ANSWER_MAX = 4 << 20 };

#define H                         "Host: localhost\r\n"
#define GET(path)                 "GET " path " HTTP/1.1\r\n" H "\r\n"
#define POST(path, n, more, body) "POST " path " HTTP/1.1\r\n" H "Content-Length: " #n "\r\n" more "\r\n" body
#define CHUNKED(path, body)       "POST " path " HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n" body

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

KIT const ig_http_field text_field[] = {{{"Content-Type", 12}, {"text/plain", 10}}};

KIT void say(ig_exchange *ex, unsigned status, const char *text)
{
    (void)ig_exchange_respond(ex, status, text_field, 1, text, strlen(text));
}

KIT bool sink(void *ctx, ig_exchange *ex, const char *data, size_t n)
{
    fix *f = ctx;
    f->sunk += n;
    if (memchr(data, '!', n)) {
        say(ex, 422, "no ! please");
        return false;
    }
    return !memchr(data, '?', n);
}

KIT void on_head(void *ctx, ig_exchange *ex, const ig_incoming *req, ig_body_plan *plan)
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

KIT void flood(fix *f, ig_exchange *ex)
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

KIT void say_who(ig_exchange *ex, const ig_identity *who)
{
    char text[200];
    (void)snprintf(text, sizeof text, "transport %d loopback %d known %d uid %u pid %d peer %s recheck %d.",
                   who->transport, who->loopback, who->known, who->uid, who->pid, who->peer, ig_exchange_recheck(ex));
    say(ex, 200, text);
}

KIT void echo(ig_exchange *ex, const ig_incoming *req)
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
KIT void misuse(fix *f, ig_exchange *ex, ig_str what)
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

KIT void on_request(void *ctx, ig_exchange *ex, const ig_incoming *req)
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

KIT void on_drained(void *ctx, ig_exchange *ex)
{
    fix *f = ctx;
    f->n_drained++;
    flood(f, ex);
}

KIT void on_gone(void *ctx, ig_exchange *ex)
{
    fix *f = ctx;
    f->n_gone++;
    f->gone_round = ig_loop_rounds(f->loop);
    if (f->held == ex) f->held = NULL;
    if (ig_exchange_ctx(ex) && ig_exchange_ctx(ex) != f) abort();
}

KIT void refused(void *ctx, ig_own_answer *r)
{
    (void)ctx;
    r->type = "application/json";
    (void)snprintf(r->scratch, sizeof r->scratch, "id-%u", r->status);
    r->fields[r->n_fields++] = (ig_http_field){IG_STR("X-Id"), ig_str_from(r->scratch)};
    (void)ig_buf_printf(r->body, "{\"status\":%u,\"path\":\"%.*s\",\"head\":%d,\"error\":\"%s\"}", r->status,
                        IG_STR_ARG(r->path), r->req != NULL, r->text);
}

KIT const ig_handler handler = {on_head, on_request, on_drained, on_gone, refused};

/* ---- server and client ---- */

KIT void fix_init(fix *f, const ig_server_limits *limits)
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

KIT void fix_fini(fix *f)
{
    ig_server_free(f->server);
    ig_loop_free(f->loop);
    char path[96];
    (void)snprintf(path, sizeof path, "%s/s", f->folder);
    (void)unlink(path);
    (void)rmdir(f->folder);
}

KIT void rounds(fix *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) (void)ig_loop_step(f->loop, 0, NULL);
}

KIT void pass_ms(fix *f, unsigned ms)
{
    for (uint64_t end = ig_now_ns() + ms * 1000000ull; ig_now_ns() < end;) (void)ig_loop_step(f->loop, 1, NULL);
}

/* Rounds until *n is at least `least`, or ms have passed. */
KIT bool wait_for(fix *f, const unsigned *n, unsigned least, unsigned ms)
{
    for (uint64_t end = ig_now_ns() + ms * 1000000ull; *n < least && ig_now_ns() < end;)
        (void)ig_loop_step(f->loop, 1, NULL);
    return *n >= least;
}

/* Until n connections are open. */
KIT bool wait_conns(fix *f, size_t n, unsigned ms)
{
    for (uint64_t end = ig_now_ns() + ms * 1000000ull; ig_server_count(f->server).conns != n && ig_now_ns() < end;)
        (void)ig_loop_step(f->loop, 1, NULL);
    return ig_server_count(f->server).conns == n;
}

KIT int connect_port(unsigned port, int family)
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

KIT int dial(fix *f) { return connect_port(ig_server_port(f->server, 0), AF_INET); }

KIT int dial_unix(const fix *f)
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

KIT bool collect(int fd, answer *a)
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
KIT answer talk(fix *f, int fd, const char *bytes, size_t n, const char *until, unsigned ms)
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

KIT bool is_closed(fix *f, int fd)
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
KIT unsigned count(const char *text)
{
    unsigned n = 0;
    for (const char *p = strstr(text, "HTTP/1.1 "); p; p = strstr(p + 9, "HTTP/1.1 ")) n += p[9] >= '1' && p[9] <= '5';
    return n;
}

KIT bool send_all(fix *f, int fd, const char *bytes, size_t n)
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
KIT char *large(const char *head, size_t n, size_t *len)
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
KIT void close_hard(int fd)
{
    struct linger hard = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

/* A client in another process that asks and is then killed. */

#endif
