/* What the HTTP server bears: connections, descriptors, bodies in memory, failing calls, storms. */
#include <malloc.h>
#include <sys/resource.h>
#include <time.h>

#include "base/fault.h"
#include "tests/unit/server_kit.h"

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
    tap_ok(strstr(a.text, "HTTP/1.1 503") && strstr(a.text, "Retry-After: 1") && strstr(a.text, "X-Id: id-503") &&
               !a.reset,
           "H15: where all are busy, 503 in the form of the service, also for one that has asked already");
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

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    test_H15_connections();
    test_H20_no_descriptors();
    test_L01_bodies_in_memory();
    test_M16_failing_calls();
    test_H15_many_connections();
    test_H20_storm();
    return tap_done();
}
