/* The HTTP server over real sockets: the loop, requests and their answers, clocks. */
#include <sys/resource.h>
#include <time.h>

#include "base/fault.h"
#include "tests/unit/server_kit.h"

/* ---- one connection, one text ---- */

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
    return tap_done();
}
