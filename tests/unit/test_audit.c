/* The audit log: chain, seals and rotation; torn ends at every byte (M04); every write, sync, open and rename failing
 * (M05, M08); processes killed at random and at every call (M02, M03); clocks that jump (M14); every byte of a log
 * altered, and what an attacker with more patience does (U19); writers at once. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/fault.h"
#include "base/os.h"
#include "policy/audit.h"
#include "tests/tap.h"

static char work[64], folder[96];
#define FIRST "audit-000000000001.jsonl"

static int drop(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)sb, (void)flag, (void)ftw;
    return remove(path);
}
static void wipe(const char *path) { (void)nftw(path, drop, 16, FTW_DEPTH | FTW_PHYS); }

static const char *path_of(const char *name)
{
    static char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static ig_audit *open_log(const ig_audit_options *o)
{
    ig_audit *a = NULL;
    ig_error e;
    if (ig_audit_open(folder, o, &a, NULL, &e) != IG_OK) printf("# %s\n", e.text);
    return a;
}

static uint64_t add(ig_audit *a, const char *who)
{
    uint64_t seq = 0;
    ig_audit_record r = {.who = who, .model = "tiny", .decision = "allow", .n_in = 5, .n_out = 7, .n_cached = -1};
    (void)ig_audit_add(a, &r, &seq, NULL);
    return seq;
}

static char problem_text[400];
static void on_problem(void *ctx, const char *file, uint64_t offset, const char *sentence)
{
    (void)ctx, (void)file, (void)offset;
    if (!*problem_text) (void)snprintf(problem_text, sizeof problem_text, "%s", sentence);
}

static ig_audit_check verify(const char *head)
{
    ig_audit_check c = {0};
    ig_error e;
    ig_audit_verify_options o = {.head_file = head, .problem = on_problem};
    *problem_text = 0;
    if (ig_audit_verify(folder, &o, &c, &e) != IG_OK) {
        printf("# %s\n", e.text);
        c.n_problems = 1000;
    }
    return c;
}

static void put_file(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(path_of(name), "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) abort();
}

/* A closed log with n records of requests; its text. */
static char *make_log(int n, size_t *size)
{
    wipe(folder);
    ig_audit_options o = {.no_sync = true, .seal_records = 4};
    ig_audit *a = open_log(&o);
    for (int i = 0; i < n; i++) (void)add(a, "ada");
    ig_audit_close(a);
    return tap_read(path_of(FIRST), size);
}

/* ------------------------------------------------------------------------------------------------ form */

static bool on_record(void *ctx, const ig_audit_line *l)
{
    char text[64];
    ig_audit_value(ig_audit_field(l, "who"), text, sizeof text);
    if (!strcmp(text, "a\"b?\xc3\xa9")) ++*(int *)ctx;
    return true;
}

static void test_form(void)
{
    ig_audit_options o = {.seal_records = 10, .segment_bytes_max = 8000};
    wipe(folder);
    ig_audit *a = open_log(&o);
    ig_error e = {0};
    for (int i = 0; i < 100; i++) {
        (void)add(a, "a\"b\x01\xc3\xa9");
        if (i % 7 == 0) (void)ig_audit_commit(a, &e);
    }
    tap_ok(ig_audit_commit(a, &e) == IG_OK && ig_audit_sound(a), "records are committed");
    uint64_t last = ig_audit_durable(a);
    ig_audit_check c = verify(NULL);
    tap_ok(c.n_problems == 0 && c.live && c.last_seq == last && c.n_records == last, "a log in use verifies: %s",
           problem_text);
    ig_audit_close(a);
    c = verify(path_of("audit.head"));
    tap_ok(c.n_problems == 0 && c.n_files > 3 && c.n_seals >= 10 && c.sealed_seq == c.last_seq && !c.live,
           "%u files, %llu seals, all sealed", c.n_files, (unsigned long long)c.n_seals);
    int n = 0;
    ig_audit_verify_options v = {.record = on_record, .ctx = &n};
    (void)ig_audit_verify(folder, &v, &c, &e);
    tap_ok(n == 100, "strange names come back, control characters as '?'");
    a = open_log(&o);
    uint64_t next = add(a, "b");
    ig_audit_close(a);
    tap_ok(next == c.last_seq + 2 && verify(NULL).n_problems == 0, "reopened, the chain goes on");
    (void)unlink(path_of(FIRST));
    tap_ok(verify(NULL).n_problems > 0, "a first file that is missing is found: %s", problem_text);
    ig_audit_verify_options p = {.partial = true};
    tap_ok(ig_audit_verify(folder, &p, &c, &e) == IG_OK && c.n_problems == 0 && c.first_seq > 1,
           "and accepted when said so: the next file begins with a seal");
}

static void test_keys(void)
{
    struct stat sb;
    ig_error e = {0};
    ig_audit *a = NULL, *b = NULL;
    wipe(folder);
    a = open_log(NULL);
    tap_ok(stat(path_of("audit.key"), &sb) == 0 && (sb.st_mode & 0777) == 0600, "the key's mode is 600");
    tap_ok(ig_audit_open(folder, NULL, &b, NULL, &e) == IG_DENIED && strstr(e.text, "another process"),
           "a log has one writer: %s", e.text);
    ig_audit_close(a);
    (void)chmod(path_of("audit.key"), 0644);
    tap_ok(ig_audit_open(folder, NULL, &a, NULL, &e) == IG_DENIED && strstr(e.text, "chmod 600"),
           "a key that others may read is refused: %s", e.text);
    put_file("audit.key", "12", 2);
    (void)chmod(path_of("audit.key"), 0600);
    tap_ok(ig_audit_open(folder, NULL, &a, NULL, &e) == IG_BAD_INPUT, "a broken key is refused: %s", e.text);
}

static void test_content(void)
{
    for (int on = 0; on < 2; on++) {
        wipe(folder);
        ig_audit_options o = {.content = on, .no_sync = true};
        ig_audit *a = open_log(&o);
        char *large = malloc(200000);
        memset(large, 1, 200000);
        ig_audit_record r = {.who = "ada", .prompt = IG_STR("secret \xff words"), .answer = {large, 200000}};
        bool added = ig_audit_add(a, &r, NULL, NULL) == IG_OK;
        free(large);
        ig_audit_close(a);
        size_t n;
        char *text = tap_read(path_of(FIRST), &n);
        bool there = strstr(text, "secret") != NULL;
        tap_ok(added && there == on && (strstr(text, "\"content\":true,\"cut\":true") != NULL) == on &&
                   verify(NULL).n_problems == 0,
               on ? "content is recorded where policy says so, marked, cut at its bound" : "no content otherwise");
        free(text);
    }
}

/* ------------------------------------------------------------------------------------------------ damage */

static void test_torn(void)
{
    size_t size, n_bad = 0, n_reported = 0, n_try = 0;
    char *text = make_log(6, &size);
    size_t from = size;
    for (int lines = 0; from > 0 && lines < 3; from--) lines += text[from - 1] == '\n';
    (void)unlink(path_of("audit.head")); /* it would tell of records that are gone, as it should */
    for (size_t cut = from; cut < size; cut++, n_try++) {
        ig_audit *a = NULL;
        ig_audit_report r = {0};
        ig_error e;
        ig_audit_options o = {.no_sync = true};
        put_file(FIRST, text, cut);
        (void)unlink(path_of("audit.head"));
        bool ok = ig_audit_open(folder, &o, &a, &r, &e) == IG_OK && !r.damaged;
        bool at_end = cut == 0 || text[cut - 1] == '\n';
        n_reported += r.cut_bytes > 0 && *r.text;
        ok = ok && (r.cut_bytes == 0) == at_end && (at_end || r.cut_offset + r.cut_bytes == cut);
        ig_audit_close(a);
        n_bad += !ok || verify(NULL).n_problems != 0;
    }
    tap_ok(n_bad == 0 && n_reported > 500, "M04: torn at each of %zu bytes: cut at the last good record, reported",
           n_try);
    char *junk = calloc(1, size + 300);
    memcpy(junk, text, size);
    put_file(FIRST, junk, size + 300);
    (void)unlink(path_of("audit.head"));
    ig_audit_report r = {0};
    ig_audit *a = NULL;
    tap_ok(ig_audit_open(folder, NULL, &a, &r, NULL) == IG_OK && r.cut_bytes == 300, "zeros behind the end are cut");
    ig_audit_close(a);
    free(junk);
    text[size / 2] ^= 1;
    put_file(FIRST, text, size);
    (void)unlink(path_of("audit.head"));
    (void)ig_audit_open(folder, NULL, &a, &r, NULL);
    tap_ok(a && r.damaged && r.cut_bytes == 0, "M04: damage in the middle is reported: %s", r.text);
    ig_audit_close(a);
    tap_ok(verify(NULL).n_problems > 0, "and stays to be found: %s", problem_text);
    free(text);
}

static void test_every_byte(void)
{
    size_t size, n_missed = 0;
    char *text = make_log(5, &size);
    for (size_t i = 0; i < size; i++) {
        text[i] ^= (char)(1 + i % 255);
        put_file(FIRST, text, size);
        if (verify(NULL).n_problems == 0) n_missed++;
        text[i] ^= (char)(1 + i % 255);
    }
    tap_ok(n_missed == 0, "U19: each of %zu bytes altered is found", size);
    size_t n_bits = 0;
    for (size_t i = 0; i < size; i += 3) {
        text[i] ^= 0x20; /* upper and lower case, digits of hashes */
        put_file(FIRST, text, size);
        n_bits += verify(NULL).n_problems == 0;
        text[i] ^= 0x20;
    }
    tap_ok(n_bits == 0, "U19: so is a single bit");
    free(text);
}

typedef struct lines {
    ig_str line[64]; /* with their ends */
    size_t n;
} lines;

static lines split(char *text, size_t size)
{
    lines l = {.n = 0};
    for (char *p = text; p < text + size && l.n < 64; p += l.line[l.n++].len) {
        char *end = memchr(p, '\n', (size_t)(text + size - p));
        l.line[l.n] = (ig_str){p, (size_t)(end + 1 - p)};
    }
    return l;
}

static void join(const lines *l)
{
    FILE *f = fopen(path_of(FIRST), "wb");
    for (size_t i = 0; i < l->n; i++)
        if (fwrite(l->line[i].ptr, 1, l->line[i].len, f) != l->line[i].len) abort();
    (void)fclose(f);
}

static void test_tampering(void)
{
    enum { DELETE, SWAP, REPEAT, TRUNCATE, TRUNCATE_HEAD, EMPTY, FOREIGN, WHOLE, CASES };
    static const char *const names[] = {
        "a record deleted",     "two records swapped",   "a record repeated",    "the end cut off",
        "the end and the head", "everything taken away", "a log of another key", "nothing"};
    char elsewhere[200], *text;
    size_t size;
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", work);
    for (int c = 0; c < CASES; c++) {
        text = make_log(9, &size);
        size_t n_head;
        char *head = tap_read(path_of("audit.head"), &n_head);
        FILE *f = fopen(elsewhere, "wb");
        (void)fwrite(head, 1, n_head, f);
        (void)fclose(f);
        free(head);
        lines l = split(text, size), all = l;
        if (c == DELETE) memmove(&l.line[4], &l.line[5], (l.n-- - 5) * sizeof *l.line);
        if (c == SWAP) l.line[4] = all.line[5], l.line[5] = all.line[4];
        if (c == REPEAT) l.line[6] = all.line[5];
        if (c == TRUNCATE || c == TRUNCATE_HEAD) l.n -= 3;
        if (c == EMPTY) l.n = 0;
        join(&l);
        if (c == TRUNCATE_HEAD || c == EMPTY) (void)unlink(path_of("audit.head"));
        char *other = NULL, *pub = NULL;
        size_t n_pub = 0;
        if (c == FOREIGN) {
            pub = tap_read(path_of("audit.pub"), &n_pub);
            other = make_log(9, &size);
            put_file("audit.pub", pub, n_pub);
        }
        ig_audit_check found = verify(c == TRUNCATE || c == FOREIGN ? NULL : elsewhere);
        tap_ok((found.n_problems > 0) == (c != WHOLE), "U19: %s: %s", names[c], problem_text);
        free(text), free(other), free(pub);
    }
}

/* ------------------------------------------------------------------------------------------------ faults */

/* Records under failing calls: what was acknowledged stays, and when the fault is over the log goes on, whole. */
static bool survive(ig_fault_kind kind, uint64_t nth, int e, bool sticky, bool *reached)
{
    ig_audit_options o = {.seal_records = 3, .segment_bytes_max = 3000};
    ig_error err;
    ig_audit *a = NULL;
    uint64_t acked = 0;
    wipe(folder);
    ig_fault_set(kind, nth, e, sticky);
    if (ig_audit_open(folder, &o, &a, NULL, &err) != IG_OK) {
        ig_fault_reset();
        if (ig_audit_open(folder, &o, &a, NULL, &err) != IG_OK) return false;
    }
    for (int i = 0; i < 12; i++) {
        uint64_t seq = add(a, "ada");
        if (ig_audit_commit(a, &err) == IG_OK) {
            acked = seq;
            if (!ig_audit_sound(a)) return false;
        } else if (ig_audit_sound(a) || !err.text[0])
            return false;
    }
    *reached = ig_fault_calls(kind) >= nth;
    if (sticky && *reached && nth > 30) acked = acked ? acked : 1;
    ig_fault_reset();
    ig_audit_check c = verify(NULL);
    if (c.last_seq < acked) return false;
    uint64_t seq = add(a, "b");
    bool ok = ig_audit_commit(a, &err) == IG_OK && ig_audit_durable(a) >= seq;
    ig_audit_close(a);
    c = verify(path_of("audit.head"));
    return ok && c.n_problems == 0 && c.last_seq > seq && c.sealed_seq == c.last_seq;
}

static void test_faults(void)
{
    static const struct {
        ig_fault_kind kind;
        int e;
        const char *name;
    } kinds[] = {{IG_FAULT_WRITE, ENOSPC, "write, disk full"},
                 {IG_FAULT_WRITE, EIO, "write"},
                 {IG_FAULT_SYNC, EIO, "sync"},
                 {IG_FAULT_OPEN, EMFILE, "open"},
                 {IG_FAULT_RENAME, EIO, "rename"},
                 {IG_FAULT_ALLOC, ENOMEM, "allocation"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t n_bad = 0, n = 0;
        bool reached = true;
        for (uint64_t nth = 1; reached && nth < 200; nth++)
            for (int sticky = 0; sticky < 2; sticky++, n++)
                if (!survive(kinds[k].kind, nth, kinds[k].e, sticky, &reached)) {
                    if (!n_bad++) printf("# first at call %llu: %s\n", (unsigned long long)nth, problem_text);
                }
        tap_ok(n_bad == 0 && n > 4, "M05, M08, M16: %s failing, %zu ways", kinds[k].name, n);
    }
    bool reached;
    tap_ok(survive(IG_FAULT_WRITE, 1, 0, false, &reached), "M09: one byte a write");
}

/* ------------------------------------------------------------------------------------------------ kills */

/* Adds and commits until killed; tells every acknowledged number through the pipe. */
static void child(int out, ig_fault_kind kind, uint64_t nth)
{
    ig_audit_options o = {.seal_records = 5, .segment_bytes_max = 20000};
    ig_audit *a = NULL;
    if (nth) ig_fault_set(kind, nth, IG_FAULT_KILL, false);
    if (ig_audit_open(folder, &o, &a, NULL, NULL) != IG_OK) _exit(1);
    for (int i = 0; i < 100000; i++) {
        uint64_t seq = 0;
        for (int k = 0; k < 3; k++) seq = add(a, "ada");
        if (ig_audit_commit(a, NULL) != IG_OK || write(out, &seq, sizeof seq) != sizeof seq) _exit(1);
    }
    _exit(0);
}

static uint64_t kill_one(ig_fault_kind kind, uint64_t nth, unsigned us)
{
    int p[2];
    uint64_t seq, acked = 0;
    if (pipe(p)) abort();
    pid_t pid = fork();
    if (pid == 0) child(p[1], kind, nth);
    (void)close(p[1]);
    if (!nth) {
        if (read(p[0], &seq, sizeof seq) == sizeof seq) acked = seq;
        (void)usleep(us);
        (void)kill(pid, SIGKILL);
    }
    while (read(p[0], &seq, sizeof seq) == sizeof seq) acked = seq;
    (void)close(p[0]);
    (void)waitpid(pid, NULL, 0);
    return acked;
}

static void test_kills(void)
{
    size_t n_lost = 0, n = 0, total = 0, n_kills = tap_sanitized ? 40 : 250;
    uint64_t acked = 0, last = 0;
    wipe(folder);
    unsigned rand = 1;
    for (size_t i = 0; i < n_kills; i++, n++) {
        if (i % 20 == 0) { /* a short log is verified often */
            wipe(folder);
            last = 0;
        }
        rand = rand * 1103515245 + 12345;
        ig_fault_kind kind = i % 3 == 1 ? IG_FAULT_WRITE : IG_FAULT_SYNC;
        acked = kill_one(kind, i % 3 ? 1 + rand / 65536 % 24 : 0, rand / 65536 % 2000);
        ig_audit_check c = verify(NULL);
        n_lost += c.last_seq < acked || c.last_seq < last;
        last = acked > last ? acked : last;
        total += acked > 0;
    }
    ig_audit_close(open_log(NULL));
    ig_audit_check c = verify(NULL);
    tap_ok(n_lost == 0 && c.last_seq >= last && total > n / 4,
           "M02, M03: %zu kills, %zu after an acknowledgement, nothing lost", n, total);
    tap_ok(c.n_problems == 0, "and the chain is whole: %s", problem_text);
}

/* ------------------------------------------------------------------------------------------------ threads, clocks */

static void *add_many(void *ctx)
{
    ig_audit *a = ctx;
    for (int i = 0; i < 200; i++) {
        uint64_t seq = add(a, "thread");
        if (ig_audit_commit(a, NULL) != IG_OK || ig_audit_durable(a) < seq) return ctx;
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t t[4];
    void *bad = NULL;
    size_t n_bad = 0;
    wipe(folder);
    ig_audit_options o = {.segment_bytes_max = 50000};
    ig_audit *a = open_log(&o);
    for (int i = 0; i < 4; i++) (void)pthread_create(&t[i], NULL, add_many, a);
    for (int i = 0; i < 4; i++) {
        (void)pthread_join(t[i], &bad);
        n_bad += bad != NULL;
    }
    ig_audit_close(a);
    ig_audit_check c = verify(NULL);
    tap_ok(n_bad == 0 && c.n_problems == 0 && c.n_records >= 800, "four threads commit 800 records");
}

static int64_t jumps[] = {1763700000000, 1763700000000 - 86400000, 1763700000000 + 315360000000, -5, 0, INT64_MAX / 2};
static size_t n_jump;
static int64_t jumping(void) { return jumps[n_jump++ % (sizeof jumps / sizeof *jumps)]; }

static void test_clock(void)
{
    wipe(folder);
    ig_audit_options o = {.clock_ms = jumping, .seal_records = 2, .no_sync = true};
    ig_audit *a = open_log(&o);
    for (int i = 0; i < 20; i++) (void)add(a, "ada");
    ig_audit_close(a);
    ig_audit_check c = verify(NULL);
    tap_ok(c.n_problems == 0 && c.n_records > 20, "M14: a clock that jumps by years does not break the chain: %s",
           problem_text);
}

int main(void)
{
    (void)snprintf(work, sizeof work, "%s/ingle-audit-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(work)) return 1;
    (void)snprintf(folder, sizeof folder, "%s/log", work);
    test_form();
    test_keys();
    test_content();
    test_torn();
    test_every_byte();
    test_tampering();
    test_faults();
    test_threads();
    test_clock();
    test_kills();
    wipe(work);
    return tap_done();
}
