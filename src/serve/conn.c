/* One connection: reading requests, running exchanges, sending answers, watching the clock and the peer. See conn.h.
 *
 * Events only read bytes and kick; ig_conn_run, once at the end of a round, moves the connection on from state to state
 * as far as it goes. The handler is called from here alone. */
#include "serve/conn.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"
#include "base/sock.h"

enum {
    STEPS_PER_RUN = 32,        /* then others come first */
    SENT_PER_RUN = 1 << 20,    /* bytes */
    LINGER_MS = 3000,          /* for the client to read the answer and close */
    OUT_COMPACT_BYTES = 65536, /* sent bytes at the front of the buffer that are worth moving the rest */
};

static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";

static uint64_t after_ms(uint64_t from_ns, uint64_t ms) { return from_ns + ms * IG_NS_PER_MS; }
static uint64_t now(const ig_conn *c) { return ig_loop_now(c->server->loop); }
static uint64_t earlier(uint64_t a, uint64_t b) { return !a || (b && b < a) ? b : a; }

/* ---- closing ---- */

static void unlink_conn(ig_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->server->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    ig_idle_leave(c);
    ig_owner_leave(c);
}

void ig_conn_close(ig_conn *c)
{
    ig_server *server = c->server;
    if (c->state == CONN_DEAD) return;
    c->state = CONN_DEAD;
    ig_loop_unwatch(server->loop, &c->watch);
    ig_timer_clear(server->loop, &c->timer);
    ig_exchange_gone(c);
    ig_exchange_release(c);
    if (c->reset) {
        struct linger hard = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    ig_tls_free(c->tls);
    c->tls = NULL;
    close(c->fd);
    ig_free(c->in);
    c->in = NULL;
    ig_buf_fini(&c->out);
    unlink_conn(c);
    ig_conn_kick(c); /* which frees it */
    ig_server_conn_closed(server);
}

/* ---- bytes in and out ---- */

static void keep_input(ig_conn *c, const char *p, size_t n)
{
    if (c->in_pos) {
        memmove(c->in, c->in + c->in_pos, c->in_len - c->in_pos);
        c->in_len -= c->in_pos;
        c->in_pos = 0;
    }
    if (c->in_len + n > c->in_cap) {
        char *more = ig_realloc(c->in, c->in_len + n, 1);
        if (!more) {
            c->broken = true;
            return;
        }
        c->in = more;
        c->in_cap = c->in_len + n;
    }
    memcpy(c->in + c->in_len, p, n);
    c->in_len += n;
}

/* Bytes, 0 at the end, IG_IO_AGAIN, IG_IO_FAILED. */
static long receive(ig_conn *c, char *to, size_t n)
{
    if (c->tls && c->state != CONN_LINGER) return ig_tls_read(c->tls, to, n);
    long got = ig_sock_recv(c->fd, to, n);
    return got >= 0 ? got : errno == EAGAIN || errno == EWOULDBLOCK ? IG_IO_AGAIN : IG_IO_FAILED;
}

static void read_some(ig_conn *c)
{
    if (c->eof || (c->state != CONN_HEAD && c->state != CONN_BODY && c->state != CONN_LINGER)) return;
    long n = receive(c, c->server->scratch, SCRATCH_BYTES);
    if (n == IG_IO_AGAIN) return;
    if (n == IG_IO_FAILED) c->broken = true;
    if (n == 0) c->eof = true;
    if (n <= 0 || c->state == CONN_LINGER) return;
    if (c->idle) c->since_ns = now(c); /* the first byte of a head */
    ig_idle_leave(c);
    c->progress_ns = now(c);
    keep_input(c, c->server->scratch, (size_t)n);
}

static long transmit(ig_conn *c, const char *p, size_t n)
{
    if (c->tls) return ig_tls_write(c->tls, p, n);
    long done = ig_sock_send(c->fd, p, n);
    return done >= 0 ? done : errno == EAGAIN || errno == EWOULDBLOCK ? IG_IO_AGAIN : IG_IO_FAILED;
}

static void compact_output(ig_conn *c)
{
    size_t left = ig_conn_pending(c);
    if (left == 0) {
        ig_buf_fini(&c->out);
    } else if (c->out_pos >= OUT_COMPACT_BYTES && c->out_pos >= left) {
        memmove(c->out.ptr, c->out.ptr + c->out_pos, left);
        c->out.len = left;
    } else {
        return;
    }
    c->out_pos = 0;
}

/* Sends what can be sent; false when the connection is of no use any more. */
static bool flush(ig_conn *c)
{
    uint64_t before = c->sent;
    if (ig_conn_pending(c) && !c->write_ns) {
        c->write_ns = c->write_progress_ns = now(c);
        before = c->sent = 0;
    }
    while (ig_conn_pending(c) && c->sent - before < SENT_PER_RUN) {
        long n = transmit(c, c->out.ptr + c->out_pos, ig_conn_pending(c));
        if (n == IG_IO_AGAIN) break;
        if (n < 0) return false;
        c->out_pos += (size_t)n;
        c->sent += (size_t)n;
    }
    if (c->sent != before) c->write_progress_ns = now(c);
    if (ig_conn_pending(c) == 0) c->write_ns = 0;
    compact_output(c);
    return true;
}

/* ---- from state to state: each step is true when another may follow at once ---- */

static bool close_now(ig_conn *c)
{
    ig_conn_close(c);
    return false;
}

static bool refuse(ig_conn *c, unsigned status, const char *text)
{
    ig_exchange_refuse(c, status, text);
    return true;
}

static bool enter_head(ig_conn *c)
{
    c->state = CONN_HEAD;
    c->since_ns = now(c);
    c->scan = (ig_http_scan){0};
    c->fin = c->skipped = c->close_after = false;
    c->fin_checks = 0;
    c->fin_check_ns = 0;
    return true;
}

static bool step_handshake(ig_conn *c)
{
    long r = ig_tls_handshake(c->tls);
    if (r == IG_IO_AGAIN) return false;
    return r == 1 ? enter_head(c) : close_now(c);
}

/* The request is whole. */
static bool run_request(ig_conn *c)
{
    ig_exchange *ex = c->ex;
    c->state = CONN_RUN;
    ex->body_done = true;
    if (ex->body.len) ex->req.body = (ig_str){ex->body.ptr, ex->body.len};
    c->server->handler->on_request(c->server->ctx, ex, &ex->req);
    return true;
}

/* What the handler planned for the body: announce it, refuse it, or begin to read it. */
static bool plan_body(ig_conn *c)
{
    ig_exchange *ex = c->ex;
    const ig_server *server = c->server;
    c->state = CONN_RUN;
    if (ex->begun || ex->ended) return true;
    if (!ex->req.has_body) return run_request(c);
    if (ex->head.content_length > ex->plan.max_bytes || ex->plan.max_bytes == 0) {
        char text[128];
        (void)snprintf(text, sizeof text, "the request's body has %" PRIu64 " bytes, this address accepts %" PRIu64,
                       (uint64_t)ex->head.content_length, (uint64_t)ex->plan.max_bytes);
        return refuse(c, 413, text);
    }
    if (!ex->plan.sink && ex->head.content_length > server->limits.bodies_bytes_max - server->counts.bodies_bytes)
        return refuse(c, 503, "the server holds too many request bodies; try again soon");
    if (ex->head.expect_continue && c->in_pos == c->in_len &&
        !ig_buf_add(&c->out, continue_line, sizeof continue_line - 1))
        return close_now(c);
    c->state = CONN_BODY;
    c->chunks = (ig_http_chunks){0};
    c->body_left = ex->head.content_length;
    c->body_got = 0;
    c->since_ns = c->progress_ns = now(c);
    return true;
}

static bool take_head(ig_conn *c, size_t head_len)
{
    ig_http_refusal why;
    ig_exchange *ex = ig_exchange_new(c, c->in + c->in_pos, head_len);
    if (!ex) return close_now(c);
    c->in_pos += head_len;
    c->server->counts.requests++;
    if (ig_http_parse_head(ex->bytes, head_len, &ex->head, &why) == IG_HTTP_BAD) {
        ig_exchange_release(c);
        c->in_pos -= head_len; /* the bytes as they came, of which the refusal takes the path */
        return refuse(c, why.status, why.text);
    }
    ex->req.has_body = ex->head.chunked || ex->head.content_length > 0;
    ex->body_done = !ex->req.has_body;
    ex->owned = true;
    c->server->handler->on_head(c->server->ctx, ex, &ex->req, &ex->plan);
    return plan_body(c);
}

/* One empty line before a request line is allowed (RFC 9112, 2.2). True when there is nothing to scan yet. */
static bool skip_empty_line(ig_conn *c)
{
    const char *p = c->in + c->in_pos;
    size_t n = c->in_len - c->in_pos;
    if (n == 0 || c->skipped || c->scan.pos || p[0] != '\r') return n == 0;
    if (n == 1) return true;
    if (p[1] != '\n') return false;
    c->in_pos += 2;
    c->skipped = true;
    return n == 2;
}

static bool step_head(ig_conn *c)
{
    ig_http_refusal why;
    size_t head_len = 0;
    if (skip_empty_line(c)) return c->eof ? close_now(c) : false;
    ig_http_result r = ig_http_scan_head(&c->scan, c->in + c->in_pos, c->in_len - c->in_pos, &head_len, &why);
    if (r == IG_HTTP_BAD) return refuse(c, why.status, why.text);
    if (r == IG_HTTP_DONE) return take_head(c, head_len);
    return c->eof ? close_now(c) : false;
}

/* Hands a piece of the body on; 0, or the status to refuse with. */
static unsigned deliver(ig_conn *c, ig_str data)
{
    ig_exchange *ex = c->ex;
    c->body_got += data.len;
    if (c->body_got > ex->plan.max_bytes) return 413;
    if (!ex->plan.sink) return ig_exchange_collect(ex, data.ptr, data.len);
    bool ok = ex->plan.sink(ex->plan.sink_ctx, ex, data.ptr, data.len);
    return ok || ex->ended ? 0 : 500;
}

/* The next piece of the body among the bytes read. */
static ig_http_result next_piece(ig_conn *c, ig_str *data, ig_http_refusal *why)
{
    size_t n = c->in_len - c->in_pos, used = 0;
    if (c->ex->head.chunked) {
        ig_http_result r = ig_http_chunks_next(&c->chunks, c->in + c->in_pos, n, &used, data, why);
        c->in_pos += used;
        return r;
    }
    if (c->body_left == 0) return IG_HTTP_DONE;
    if (n == 0) return IG_HTTP_MORE;
    *data = (ig_str){c->in + c->in_pos, n < c->body_left ? n : (size_t)c->body_left};
    c->in_pos += data->len;
    c->body_left -= data->len;
    return IG_HTTP_DATA;
}

static const char *refusal_text(unsigned status)
{
    if (status == 413) return "the request's body is larger than this address accepts";
    if (status == 503) return "the server holds too many request bodies; try again soon";
    return "the request's body could not be taken";
}

static bool step_body(ig_conn *c)
{
    for (;;) {
        ig_str data = {"", 0};
        ig_http_refusal why = {0};
        if (c->ex->begun || c->ex->ended) { /* answered before its end */
            c->state = CONN_RUN;
            return true;
        }
        ig_http_result r = next_piece(c, &data, &why);
        if (r == IG_HTTP_BAD) return refuse(c, why.status, why.text);
        if (r == IG_HTTP_DONE) return run_request(c);
        if (r == IG_HTTP_MORE) break;
        unsigned status = deliver(c, data);
        if (status) return refuse(c, status, refusal_text(status));
    }
    if (c->eof) return refuse(c, 400, "the request ended before its body was whole");
    return flush(c) ? false : close_now(c); /* 100 Continue */
}

static bool begin_linger(ig_conn *c)
{
    if (c->eof) return close_now(c);
    if (c->tls) ig_tls_shutdown(c->tls);
    if (shutdown(c->fd, SHUT_WR) < 0) return close_now(c);
    c->state = CONN_LINGER;
    c->since_ns = now(c);
    c->in_pos = c->in_len = 0;
    return false;
}

static bool step_run(ig_conn *c)
{
    ig_exchange *ex = c->ex;
    if (!flush(c)) return close_now(c);
    if (ex && ex->ended) ig_exchange_release(c);
    ex = c->ex;
    if (ex && ex->want_drained && ig_conn_pending(c) <= c->server->limits.out_bytes_max / 2) {
        ex->want_drained = false;
        if (c->server->handler->on_drained) c->server->handler->on_drained(c->server->ctx, ex);
        return ex->ended || ex->want_drained;
    }
    if (ex || ig_conn_pending(c)) return false;
    return c->close_after || c->server->stopping ? begin_linger(c) : enter_head(c);
}

static bool step_linger(ig_conn *c) { return c->eof ? close_now(c) : false; }
static bool step_dead(ig_conn *c) { return c->state != CONN_DEAD; }

static bool (*const steps[])(ig_conn *c) = {
    [CONN_HANDSHAKE] = step_handshake, [CONN_HEAD] = step_head, [CONN_BODY] = step_body, [CONN_RUN] = step_run,
    [CONN_LINGER] = step_linger,       [CONN_DEAD] = step_dead,
};

/* ---- the clock ---- */

static uint64_t rate_deadline(const ig_conn *c, uint64_t since, uint64_t grace_ms, uint64_t bytes)
{
    return after_ms(since, grace_ms + bytes * 1000 / c->server->limits.rate_bytes_s);
}

static uint64_t deadline_of_run(const ig_conn *c)
{
    const ig_server_limits *l = &c->server->limits;
    uint64_t due = c->ex ? c->fin_check_ns : 0;
    if (!c->write_ns) return due;
    due = earlier(due, after_ms(c->write_progress_ns, l->stall_ms));
    return earlier(due, rate_deadline(c, c->write_ns, l->stall_ms, c->sent));
}

/* When something must be done without an event, 0 for never. */
static uint64_t deadline(const ig_conn *c)
{
    const ig_server_limits *l = &c->server->limits;
    switch (c->state) {
    case CONN_HANDSHAKE: return after_ms(c->since_ns, l->head_ms);
    case CONN_HEAD: return after_ms(c->since_ns, c->in_pos < c->in_len ? l->head_ms : l->idle_ms);
    case CONN_BODY:
        return earlier(after_ms(c->progress_ns, l->stall_ms),
                       rate_deadline(c, c->since_ns, l->body_grace_ms, c->body_got));
    case CONN_RUN: return deadline_of_run(c);
    case CONN_LINGER: return after_ms(c->since_ns, LINGER_MS);
    default: return 0;
    }
}

/* After a FIN on loopback: half-closed, or gone (H16)? A closing socket loses its owner a moment after its FIN, and a
 * half-closed one may be closed later without a word: so the question is asked again, less and less often. */
static void check_departure(ig_conn *c)
{
    static const uint32_t waits_ms[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};
    enum { LAST = sizeof waits_ms / sizeof waits_ms[0] - 1 };
    ig_peer_state peer = ig_identity_peer(c->server->diag_fd, &c->who);
    if (peer == IG_PEER_GONE) c->broken = true;
    c->fin_check_ns =
        peer == IG_PEER_LIVE ? after_ms(ig_now_ns(), waits_ms[c->fin_checks < LAST ? c->fin_checks : LAST]) : 0;
    c->fin_checks++;
}

static void on_timer(void *ctx)
{
    ig_conn *c = ctx;
    uint64_t due = deadline(c);
    ig_conn_kick(c); /* sets the timer anew */
    if (!due || due > now(c)) return;
    if (c->state == CONN_HEAD && c->in_pos < c->in_len) {
        ig_exchange_refuse(c, 408, "the request's head did not come in time");
    } else if (c->state == CONN_BODY) {
        ig_exchange_refuse(c, 408, "the request's body did not come in time");
    } else if (c->state == CONN_RUN && c->ex && c->fin_check_ns && c->fin_check_ns <= now(c)) {
        check_departure(c);
    } else {
        c->broken = true;
    }
}

static void set_timer(ig_conn *c)
{
    uint64_t due = deadline(c);
    if (!due)
        ig_timer_clear(c->server->loop, &c->timer);
    else if (!c->timer.set || c->timer.due_ns > due) /* one that is early looks again */
        ig_timer_set(c->server->loop, &c->timer, due, on_timer, c);
}

/* ---- events ---- */

static uint32_t wanted_events(const ig_conn *c)
{
    uint32_t out = ig_conn_pending(c) ? EPOLLOUT : 0;
    switch (c->state) {
    case CONN_HANDSHAKE: return ig_tls_wants_write(c->tls) ? EPOLLOUT : EPOLLIN;
    case CONN_HEAD: return c->eof ? 0 : EPOLLIN;
    case CONN_BODY: return c->eof ? out : EPOLLIN | out;
    case CONN_RUN: return out | (c->fin ? 0 : (uint32_t)EPOLLRDHUP);
    default: return EPOLLIN;
    }
}

static void on_event(void *ctx, uint32_t events)
{
    ig_conn *c = ctx;
    if (events & (EPOLLERR | EPOLLHUP)) c->broken = true;
    if (events & EPOLLRDHUP && c->state == CONN_RUN && !c->fin) {
        c->fin = true;
        if (c->ex) check_departure(c);
    }
    if (events & EPOLLIN && !c->broken) read_some(c);
    ig_conn_kick(c);
}

/* Before the loop sleeps: what to wait for. */
static void settle(ig_conn *c)
{
    if (c->in_pos == c->in_len) {
        ig_free(c->in);
        c->in = NULL;
        c->in_pos = c->in_len = c->in_cap = 0;
    }
    if (c->state == CONN_HEAD && c->in_len == 0)
        ig_idle_enter(c);
    else
        ig_idle_leave(c);
    ig_loop_rewatch(c->server->loop, &c->watch, wanted_events(c));
    set_timer(c);
    if (c->tls && c->state <= CONN_BODY && ig_tls_has_more(c->tls)) { /* decrypted already: no event will come */
        read_some(c);
        ig_conn_kick(c);
    }
}

void ig_conn_run(ig_conn *c)
{
    bool more = true;
    for (int i = 0; i < STEPS_PER_RUN && more && !c->broken; i++) more = steps[c->state](c);
    if (c->broken) ig_conn_close(c);
    if (c->state == CONN_DEAD) return;
    settle(c);
    if (more) ig_conn_kick(c);
}

void ig_conn_start(ig_conn *c)
{
    c->state = c->tls ? CONN_HANDSHAKE : CONN_HEAD;
    c->since_ns = now(c);
    if (ig_loop_watch(c->server->loop, &c->watch, c->fd, EPOLLIN, on_event, c, NULL) != IG_OK)
        ig_conn_close(c);
    else
        settle(c);
}
