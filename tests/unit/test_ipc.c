/* Frames between processes: round trips through a socket pair with every kind of body and descriptor, short transfers,
 * failing calls (M09, M16), and what a hostile peer may send. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "ipc/ipc.h"
#include "tests/tap.h"

enum { OUT_MAX = 80 << 20 };

typedef struct pair {
    ig_channel a, b;
} pair;

static void pair_init(pair *p)
{
    int fds[2];
    ig_error e;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) abort();
    if (ig_channel_init(&p->a, fds[0], 4, OUT_MAX, &e) != IG_OK) abort();
    if (ig_channel_init(&p->b, fds[1], 8, OUT_MAX, &e) != IG_OK) abort();
}

static void pair_fini(pair *p)
{
    ig_channel_fini(&p->a);
    ig_channel_fini(&p->b);
}

static size_t open_fds(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static char pattern(size_t seed, size_t i) { return (char)('a' + (seed * 7 + i * 13) % 26); }

static char *make_body(size_t seed, size_t n)
{
    char *p = malloc(n + 1);
    if (!p) abort();
    for (size_t i = 0; i < n; i++) p[i] = pattern(seed, i);
    return p;
}

/* Pumps until b has a frame; both sides in one thread. */
static ig_status pump(pair *p, ig_frame *f, ig_error *e)
{
    for (;;) {
        bool got;
        ig_status st = ig_channel_next(&p->b, f, &got, e);
        if (st != IG_OK || got) return st;
        if ((st = ig_channel_flush(&p->a, e)) != IG_OK) return st;
        if ((st = ig_channel_fill(&p->b, e)) != IG_OK) return st;
        if (p->b.ended) return IG_NOT_FOUND;
    }
}

static bool round_trip(pair *p, size_t seed, size_t n, uint32_t type)
{
    ig_error e = {0};
    ig_frame f;
    char *body = make_body(seed, n);
    ig_status st = ig_channel_put(&p->a, type, (uint64_t)seed << 40 | seed, body, n, NULL, 0, &e);
    if (st == IG_OK) st = pump(p, &f, &e);
    bool ok = st == IG_OK && f.type == type && f.request == ((uint64_t)seed << 40 | seed) && f.n_body == n &&
              (n == 0 || !memcmp(f.body, body, n));
    if (!ok) printf("# %s\n", e.text);
    free(body);
    return ok;
}

static void test_bodies(void)
{
    static const size_t sizes[] = {
        0, 1, 2, 200, 65520, 65536, 1 << 19, 1 << 20, (1 << 20) + 1, 5 << 20, 32 << 20, IG_FRAME_BODY_MAX};
    pair p;
    bool ok = true;
    pair_init(&p);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        ok = ok && round_trip(&p, i, sizes[i], 1 + (uint32_t)i % 5);
    tap_ok(ok, "bodies of 0 bytes to the limit arrive as they were sent");
    ig_error e;
    char *body = make_body(1, IG_FRAME_BODY_MAX + 1);
    tap_ok(ig_channel_put(&p.a, IG_FRAME_QUERY, 1, body, IG_FRAME_BODY_MAX + 1, NULL, 0, &e) == IG_TOO_LARGE,
           "a body above the limit is not sent: %s", e.text);
    free(body);
    ok = true;
    for (size_t i = 0; i < 3000; i++)
        ok = ok && ig_channel_put(&p.a, IG_FRAME_DELTA, i, "{\"t\":\"a\"}", 9, NULL, 0, &e) == IG_OK;
    for (size_t i = 0; i < 3000 && ok; i++) {
        ig_frame f;
        ok = pump(&p, &f, &e) == IG_OK && f.request == i && f.n_body == 9;
    }
    tap_ok(ok, "3000 small frames come in order");
    pair_fini(&p);
}

static void test_descriptors(void)
{
    pair p;
    ig_error e = {0};
    ig_frame f;
    struct stat want[3], got;
    size_t before = open_fds();
    pair_init(&p);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = ig_sealed_new("xyz", (size_t)i + 1);
        if (fstat(fds[i], &want[i]) < 0) abort();
    }
    char *big = make_body(3, 2 << 20);
    bool ok = ig_channel_put(&p.a, IG_FRAME_QUERY, 1, "{}", 2, NULL, 0, &e) == IG_OK &&
              ig_channel_put(&p.a, IG_FRAME_INIT, 2, "{\"a\":1}", 7, fds, 3, &e) == IG_OK &&
              ig_channel_put(&p.a, IG_FRAME_REQUEST, 3, big, 2 << 20, NULL, 0, &e) == IG_OK;
    ok = ok && pump(&p, &f, &e) == IG_OK && f.request == 1;
    ok = ok && pump(&p, &f, &e) == IG_OK && f.request == 2 && f.n_body == 7;
    ok = ok && ig_channel_take_fds(&p.b, fds, 3);
    for (int i = 0; ok && i < 3; i++)
        ok = fstat(fds[i], &got) == 0 && got.st_ino == want[i].st_ino && fcntl(fds[i], F_GETFD) == FD_CLOEXEC;
    for (int i = 0; i < 3; i++) close(fds[i]);
    tap_ok(ok, "descriptors arrive with their frame, close-on-exec %s", e.text);
    tap_ok(pump(&p, &f, &e) == IG_OK && f.n_body == 2 << 20 && !memcmp(f.body, big, 2 << 20),
           "a big body after a frame with descriptors takes its own");
    tap_ok(!ig_channel_take_fds(&p.b, fds, 1), "no descriptor is left over");
    free(big);
    pair_fini(&p);
    tap_ok(open_fds() == before, "no descriptor leaks");
}

/* Short transfers of one byte each (M09), and every call failing once (M16, M17). */
static void test_faults(void)
{
    pair p;
    pair_init(&p);
    ig_fault_set(IG_FAULT_WRITE, UINT64_MAX, 0, true);
    ig_fault_set(IG_FAULT_READ, UINT64_MAX, 0, true);
    bool ok = round_trip(&p, 5, 3000, IG_FRAME_DELTA);
    ig_fault_reset();
    tap_ok(ok, "M09: transfers of one byte each change nothing");
    pair_fini(&p);
    static const ig_fault_kind kinds[] = {IG_FAULT_ALLOC, IG_FAULT_READ, IG_FAULT_WRITE, IG_FAULT_OPEN};
    size_t before = open_fds(), n_failed = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (uint64_t nth = 1;; nth++) {
            int fd = dup(0);
            char *body = make_body(9, 3 << 20);
            ig_error e;
            ig_frame f;
            pair_init(&p);
            ig_fault_set(kinds[k], nth, kinds[k] == IG_FAULT_ALLOC ? ENOMEM : EIO, false);
            ig_status st = ig_channel_put(&p.a, IG_FRAME_INIT, 1, "{}", 2, &fd, 1, &e);
            if (st == IG_OK) st = ig_channel_put(&p.a, IG_FRAME_REQUEST, 2, body, 3 << 20, NULL, 0, &e);
            if (st == IG_OK) st = pump(&p, &f, &e);
            if (st == IG_OK && ig_channel_take_fds(&p.b, &fd, 1)) close(fd);
            if (st == IG_OK) st = pump(&p, &f, &e);
            bool hit = ig_fault_calls(kinds[k]) >= nth;
            ig_fault_reset();
            ok = ok && (hit ? st != IG_OK : st == IG_OK);
            n_failed += st != IG_OK;
            pair_fini(&p);
            free(body);
            if (!hit) break;
        }
    tap_ok(ok && n_failed > 8 && open_fds() == before, "M16: each of %zu failing calls is an error, nothing leaks",
           n_failed);
}

/* What a hostile peer puts in the stream. */
typedef struct hostile {
    const char *name;
    uint32_t length, type;
    int file; /* 0: none, 1: not sealed, 2: too large, 3: a pipe, 4: sealed against all but writing */
    ig_status want;
} hostile;

static int strange_file(int kind)
{
    int fds[2];
    if (kind == 3) {
        if (pipe(fds) < 0) abort();
        close(fds[1]);
        return fds[0];
    }
    int fd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ftruncate(fd, kind == 2 ? IG_FRAME_BODY_MAX + 1 : 100) < 0) abort();
    if (kind == 2) (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    if (kind == 4) (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    return fd;
}

static void put_u32(char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (char)(v >> 8 * i);
}

static void test_hostile(void)
{
    static const hostile rows[] = {
        {"a length above the limit", (1 << 20) + 1, IG_FRAME_DELTA, 0, IG_TOO_LARGE},
        {"the largest length", UINT32_MAX, IG_FRAME_DELTA, 0, IG_TOO_LARGE},
        {"type 0", 0, 0, 0, IG_BAD_INPUT},
        {"type 6", 2, 6, 0, IG_BAD_INPUT},
        {"type 23", 2, 23, 0, IG_BAD_INPUT},
        {"a large type", 2, 0x7fffffff, 0, IG_BAD_INPUT},
        {"a big body with a length", 1, IG_FRAME_DELTA | IG_FRAME_BIG, 2, IG_BAD_INPUT},
        {"a big body without its file", 0, IG_FRAME_DELTA | IG_FRAME_BIG, 0, IG_BAD_INPUT},
        {"a big body in a file that is not sealed", 0, IG_FRAME_DELTA | IG_FRAME_BIG, 1, IG_BAD_INPUT},
        {"a big body in a file that can be written", 0, IG_FRAME_DELTA | IG_FRAME_BIG, 4, IG_BAD_INPUT},
        {"a big body in a pipe", 0, IG_FRAME_DELTA | IG_FRAME_BIG, 3, IG_BAD_INPUT},
        {"a big body above the limit", 0, IG_FRAME_DELTA | IG_FRAME_BIG, 2, IG_TOO_LARGE},
    };
    size_t before = open_fds();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pair p;
        char header[IG_FRAME_HEADER_BYTES] = {0};
        ig_error e = {0};
        ig_frame f;
        pair_init(&p);
        put_u32(header, rows[i].length);
        put_u32(header + 4, rows[i].type);
        int fd = rows[i].file ? strange_file(rows[i].file) : -1;
        bool sent = ig_pass_send(p.a.fd, header, sizeof header, &fd, rows[i].file != 0) == (ssize_t)sizeof header;
        if (fd >= 0) close(fd);
        ig_status st = ig_channel_receive(&p.b, &f, &e);
        tap_ok(sent && st == rows[i].want && e.text[0], "%s is refused: %s", rows[i].name, e.text);
        pair_fini(&p);
    }
    tap_ok(open_fds() == before, "refusals leak no descriptor");
}

static void test_flood(void)
{
    pair p;
    ig_error e = {0};
    ig_frame f;
    size_t before = open_fds();
    pair_init(&p);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ig_status st = IG_OK;
    for (int i = 0; i < 20 && st == IG_OK; i++) {
        if (ig_pass_send(p.a.fd, "x", 1, &fd, 1) != 1) abort();
        st = ig_channel_fill(&p.b, &e);
    }
    close(fd);
    tap_ok(st == IG_BAD_INPUT, "descriptors that belong to no frame end the channel: %s", e.text);
    pair_fini(&p);
    tap_ok(open_fds() == before, "and are closed");
    pair_init(&p);
    ig_channel_fini(&p.a);
    tap_ok(ig_channel_receive(&p.b, &f, &e) == IG_NOT_FOUND, "a closed channel says so");
    p.a = (ig_channel){.fd = -1};
    st = ig_channel_put(&p.b, IG_FRAME_DELTA, 1, "{}", 2, NULL, 0, &e);
    tap_ok(st == IG_OK && ig_channel_flush(&p.b, &e) == IG_IO, "sending to a closed channel is an error: %s", e.text);
    pair_fini(&p);
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0) abort();
    if (ig_channel_init(&p.a, fds[0], 4, 1000, &e) != IG_OK) abort();
    for (st = IG_OK; st == IG_OK;) st = ig_channel_put(&p.a, IG_FRAME_DELTA, 1, "{\"t\":\"aa\"}", 10, NULL, 0, &e);
    tap_ok(st == IG_TOO_LARGE && ig_channel_waiting(&p.a) <= 1000, "a peer that does not read meets a limit: %s",
           e.text);
    ig_channel_fini(&p.a);
    close(fds[1]);
}

int main(void)
{
    test_bodies();
    test_descriptors();
    test_faults();
    test_hostile();
    test_flood();
    return tap_done();
}
