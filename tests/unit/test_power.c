/* Power cuts (M01, M03, M05, M08): after every sync, and after every operation that was acknowledged, what is on the
 * disk at worst (tests/power.h) is a sound store with everything that was promised. Then the same with each sync, each
 * open, each write and each rename failing once, the operation tried again until it succeeds: what a first try left
 * behind and a second finds must be made durable by the second. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/os.h"
#include "policy/audit.h"
#include "store/store.h"
#include "tests/power.h"
#include "tests/tap.h"

static char work[64], root[96], cut[96], kept[96], files[96];

static ig_store *open_store(const char *at, ig_error *e)
{
    ig_store *s = NULL;
    ig_store_options o = {.reserve_bytes = 1};
    (void)ig_store_open(at, &o, &s, e);
    return s;
}

/* What is expected of names; -1: unknown (an operation is under way), 0: not there, N: content N. */
enum { NAMES = 4, UNKNOWN = -1 };
static const char *const names[NAMES] = {"alpha:latest", "beta:latest", "gamma:latest", "linked:latest"};
static int expected[NAMES];
static const char *under_way;
static uint64_t calls[IG_FAULT_KINDS]; /* of the last operation */
static size_t n_bad, n_cuts;

static void content_of(int i, char out[64]) { (void)snprintf(out, 64, "GGUF the content of number %d", i); }

static const char *name_is(ig_store *s, int i)
{
    ig_error e = {0};
    ig_manifest *m = NULL;
    char want[64], is[64] = "";
    int fd = -1;
    ig_status st = ig_store_find(s, names[i], &m, &e);
    if (st == IG_NOT_FOUND) return expected[i] == 0 ? NULL : "a model is lost";
    if (st != IG_OK) return "a manifest cannot be read";
    st = ig_store_files_open(s, m, &fd, &e);
    ssize_t n = st == IG_OK ? pread(fd, is, sizeof is - 1, 0) : -1;
    if (fd >= 0) close(fd);
    ig_manifest_free(m);
    if (n < 0) return "a model lacks a file";
    content_of(expected[i], want);
    return expected[i] == UNKNOWN || !strcmp(is, want) ? NULL : "a model is another";
}

static const char *store_is(const char *at)
{
    ig_error e = {0};
    ig_store_list list = {0};
    ig_verify_result r;
    ig_store *s = open_store(at, &e);
    if (!s) return "the store cannot be opened";
    const char *why = NULL;
    if (ig_store_models(s, &list, &e) != IG_OK || list.n_damaged) why = "a manifest is damaged";
    ig_store_list_free(&list);
    if (!why && (ig_store_verify(s, NULL, NULL, &r, &e) != IG_OK || r.n_damaged)) why = "a blob is damaged or missing";
    for (int i = 0; i < NAMES && !why; i++)
        if (expected[i] != UNKNOWN) why = name_is(s, i);
    ig_store_close(s);
    return why;
}

static void look(void)
{
    power_cut(cut);
    const char *why = store_is(cut);
    n_cuts++;
    if (why && n_bad++ < 3) printf("# cut %zu, during %s: %s\n", n_cuts, under_way, why);
}

/* ------------------------------------------------------------------------------------------------ operations */

static ig_status put(ig_store *s, int name, int content, ig_error *e)
{
    ig_manifest m = {.format = "gguf", .source = "test"};
    ig_blob_writer *w;
    char text[64];
    uint64_t size;
    int lease = -1;
    content_of(content, text);
    ig_store_file f = {.role = IG_ROLE_WEIGHTS, .name = "model.gguf", .size = strlen(text)};
    IG_TRY(ig_name_parse(names[name], &m.name, e));
    IG_TRY(ig_blob_begin(s, NULL, strlen(text), &w, e));
    ig_status st = ig_blob_write(w, text, strlen(text), e);
    if (st != IG_OK) {
        ig_blob_abandon(w);
        return st;
    }
    IG_TRY(ig_blob_commit(w, &f.digest, &size, &lease, e));
    m.files = &f;
    m.n_files = 1;
    st = ig_store_add(s, &m, NULL, NULL, e);
    close(lease);
    return st;
}

static ig_status op_add(ig_store *s, ig_error *e) { return put(s, 0, 1, e); }
static ig_status op_replace(ig_store *s, ig_error *e) { return put(s, 0, 2, e); }
static ig_status op_copy(ig_store *s, ig_error *e) { return ig_store_copy(s, names[0], names[1], e); }
static ig_status op_same(ig_store *s, ig_error *e) { return put(s, 2, 2, e); }
static ig_status op_remove(ig_store *s, ig_error *e)
{
    ig_status st = ig_store_remove(s, names[1], NULL, e);
    return st == IG_NOT_FOUND ? IG_OK : st; /* the first try did it */
}
static ig_status op_gc(ig_store *s, ig_error *e)
{
    ig_gc_options all = {0};
    ig_gc_result r;
    return ig_store_gc(s, &all, &r, e);
}
static ig_status op_pull(ig_store *s, ig_error *e)
{
    char path[160], text[64];
    content_of(7, text);
    (void)snprintf(path, sizeof path, "%s/pulled.gguf", files);
    FILE *f = fopen(path, "we");
    if (!f || fputs(text, f) < 0 || fclose(f)) abort();
    ig_pull_options o = {.name = names[3]};
    return ig_store_pull(s, path, &o, NULL, e);
}

static const struct {
    const char *name;
    ig_status (*run)(ig_store *s, ig_error *e);
    int at, becomes;
} ops[] = {
    {"add", op_add, 0, 1},   {"replace", op_replace, 0, 2}, {"cp", op_copy, 1, 2},  {"add of the same", op_same, 2, 2},
    {"rm", op_remove, 1, 0}, {"gc", op_gc, 1, 0},           {"pull", op_pull, 3, 7}};
enum { OPS = sizeof ops / sizeof *ops };

/* One operation until it succeeds; a handle each time, as of another process. False: it never does. */
static bool insist(size_t i)
{
    ig_error e = {0};
    ig_status st = IG_BUG;
    under_way = ops[i].name;
    int was = expected[ops[i].at];
    for (int n = 0; n < 5 && st != IG_OK; n++) {
        expected[ops[i].at] = was == ops[i].becomes ? was : UNKNOWN;
        ig_store *s = open_store(root, &e);
        st = s ? ops[i].run(s, &e) : e.status;
        ig_store_close(s);
        if (st != IG_OK && !e.text[0]) n_bad++;
    }
    if (st != IG_OK) printf("# %s: %s\n", ops[i].name, e.text);
    expected[ops[i].at] = ops[i].becomes;
    for (int k = 0; k < IG_FAULT_KINDS; k++) calls[k] = ig_fault_calls((ig_fault_kind)k);
    ig_fault_reset();
    power.busy = true;
    look();
    power.busy = false;
    return st == IG_OK;
}

/* The scenario with the operation `at` failing first. *reached: the call was made. */
static bool scenario(size_t at, ig_fault_kind kind, uint64_t nth, int err_no, bool *reached)
{
    bool ok = true;
    power_wipe(root);
    (void)mkdir(root, 0700);
    memset(expected, 0, sizeof expected);
    power_watch(root, kept);
    *reached = false;
    for (size_t i = 0; i < OPS && ok; i++) {
        if (i == at && nth) ig_fault_set(kind, nth, err_no, false);
        power.each = nth ? NULL : look; /* looking is disk work of its own, which would be counted */
        ok = insist(i);
        if (i == at) *reached = calls[kind] >= nth;
    }
    power_end();
    return ok;
}

static void test_cuts(void)
{
    bool reached;
    n_bad = n_cuts = 0;
    bool ok = scenario(0, IG_FAULT_SYNC, 0, 0, &reached);
    tap_ok(ok && n_bad == 0 && n_cuts > 30, "M01, M03: power cut after each of %zu syncs of %d operations: %zu unsound",
           n_cuts, (int)OPS, n_bad);
}

static void test_second_tries(void)
{
    static const struct {
        ig_fault_kind kind;
        int err_no;
        const char *name;
    } kinds[] = {{IG_FAULT_SYNC, EIO, "sync"},
                 {IG_FAULT_OPEN, EMFILE, "open"},
                 {IG_FAULT_WRITE, ENOSPC, "write"},
                 {IG_FAULT_RENAME, EIO, "rename"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        n_bad = n_cuts = 0;
        bool ok = true, reached;
        for (size_t at = 0; at < OPS && ok; at++)
            for (uint64_t nth = 1; (nth == 1 || reached) && ok; nth++)
                ok = scenario(at, kinds[k].kind, nth, kinds[k].err_no, &reached);
        tap_ok(ok && n_bad == 0, "M08: a %s fails, the second try succeeds, then the power: %zu cuts, %zu unsound",
               kinds[k].name, n_cuts, n_bad);
    }
}

/* ------------------------------------------------------------------------------------------------ audit log */

static uint64_t promised;

static void audit_look(void)
{
    ig_audit_check c = {0};
    ig_audit_verify_options o = {0};
    ig_error e = {0};
    ig_audit *a = NULL;
    power_cut(cut);
    n_cuts++;
    ig_audit_report r = {0};
    ig_status st = ig_audit_open(cut, NULL, &a, &r, &e); /* cuts a torn end off, as the next start does */
    ig_audit_close(a);
    if (st == IG_OK) st = ig_audit_verify(cut, &o, &c, &e);
    bool bad = st != IG_OK || c.n_problems || c.last_seq < promised || r.damaged;
    if (bad && n_bad++ < 3)
        printf("# cut %zu: %s %s, last %llu of %llu, %llu problems\n", n_cuts, e.text, r.text,
               (unsigned long long)c.last_seq, (unsigned long long)promised, (unsigned long long)c.n_problems);
}

static void audit_run(ig_fault_kind kind, uint64_t nth, int err_no)
{
    ig_audit_options o = {.segment_bytes_max = 2500, .seal_records = 5};
    ig_audit_record r = {.kind = "request", .who = "uid:1", .model = "m", .n_in = 1, .n_out = 2};
    ig_error e = {0};
    power_wipe(root);
    (void)mkdir(root, 0700);
    promised = 0;
    power_watch(root, kept);
    if (!nth) power.each = audit_look;
    if (nth) ig_fault_set(kind, nth, err_no, false);
    ig_audit *a = NULL;
    for (int i = 0; i < 3 && !a; i++) (void)ig_audit_open(root, &o, &a, NULL, &e);
    for (int i = 0; a && i < 30; i++) {
        uint64_t seq = 0;
        (void)ig_audit_add(a, &r, &seq, &e);
        if (ig_audit_commit(a, &e) == IG_OK && seq) promised = seq;
    }
    ig_fault_reset();
    power.busy = true;
    audit_look(); /* before it is closed in order */
    power.busy = false;
    power.each = NULL;
    ig_audit_close(a);
    power_end();
}

static void test_audit(void)
{
    n_bad = n_cuts = 0;
    audit_run(IG_FAULT_SYNC, 0, 0);
    tap_ok(n_bad == 0 && n_cuts > 30, "U19, M03: the audit log after each of %zu cuts, with rotation: %zu unsound",
           n_cuts, n_bad);
    n_bad = n_cuts = 0;
    for (uint64_t nth = 1; nth < 60; nth++) {
        audit_run(IG_FAULT_SYNC, nth, EIO);
        audit_run(IG_FAULT_WRITE, nth, ENOSPC);
        audit_run(IG_FAULT_OPEN, nth, EIO);
        audit_run(IG_FAULT_RENAME, nth, EIO);
    }
    tap_ok(n_bad == 0, "M08: and with each call failing once before: %zu cuts, %zu unsound", n_cuts, n_bad);
}

int main(void)
{
    if (access("/dev/shm", W_OK)) {
        tap_skip("power cuts", "/dev/shm is not there");
        return tap_done();
    }
    (void)snprintf(work, sizeof work, "/dev/shm/test_power.XXXXXX");
    if (!mkdtemp(work)) return 1;
    (void)snprintf(root, sizeof root, "%s/store", work);
    (void)snprintf(cut, sizeof cut, "%s/cut", work);
    (void)snprintf(kept, sizeof kept, "%s/kept", work);
    (void)snprintf(files, sizeof files, "%s/files", work);
    (void)mkdir(files, 0700);
    test_cuts();
    test_second_tries();
    test_audit();
    power_wipe(work);
    return tap_done();
}
