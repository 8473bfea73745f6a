/* The HTTP server when somebody goes: clients that leave in every way, the server that stops, and anything at any time.
 */
#include <sys/wait.h>
#include <time.h>

#include "base/fault.h"
#include "tests/unit/server_kit.h"

/* ---- who goes away ---- */

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

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    test_H16_departure();
    test_H16_half_close();
    test_H16_while_streaming();
    test_L19_stop();
    for (unsigned seed = 1; seed <= 6; seed++) test_any_order(seed);
    return tap_done();
}
