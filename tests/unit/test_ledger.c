/* Ledger, prices, meter: sums and quotas; every write, sync and open of the database failing, and every transaction cut
 * short by lost power (M03, M05, M08); processes killed (M02); versions (M24); clocks that jump (M14); writers at once;
 * money in whole numbers; what other systems read, byte for byte. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/os.h"
#include "route/ledger.h"
#include "route/meter.h"
#include "tests/tap.h"

#define DAY_MS INT64_C(86400000)
#define NOON   (INT64_C(20413) * DAY_MS + DAY_MS / 2) /* 2025-11-21 */

static char work[64], path[96];

static int drop(const char *p, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)sb, (void)flag, (void)ftw;
    return remove(p);
}
static void wipe(const char *p) { (void)nftw(p, drop, 16, FTW_DEPTH | FTW_PHYS); }

static void wipe_ledger(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char name[128];
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s%s", path, ends[i]);
        (void)unlink(name);
    }
}

static int64_t now_ms = NOON;
static int64_t test_clock(void) { return now_ms; }

/* ------------------------------------------------------------------------------------------------ a faulty disk */

/* A VFS over the standard one: counts and fails as the fault shim says, and, when `lossy`, remembers for each file what
 * has been synced, so that a power cut can take the rest away. */
typedef struct faulty_file {
    sqlite3_file base;
    sqlite3_io_methods methods;
    sqlite3_file *real;
    int slot; /* of images, -1 */
} faulty_file;

static struct {
    char name[128];
    unsigned char *synced; /* content at the last sync */
    sqlite3_int64 size;
} images[3];
static bool lossy;
static sqlite3_vfs *standard;

static int failed(ig_fault_kind kind, int code)
{
    if (!ig_fault_hit(kind)) return SQLITE_OK;
    return errno == ENOSPC ? SQLITE_FULL : code;
}
#define REAL(f) (((faulty_file *)(void *)(f))->real)
static int f_close(sqlite3_file *f)
{
    sqlite3_file *real = REAL(f);
    int rc = real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
    free(real);
    return rc;
}
static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    int rc = failed(IG_FAULT_READ, SQLITE_IOERR_READ);
    return rc ? rc : REAL(f)->pMethods->xRead(REAL(f), p, n, at);
}
static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    int rc = failed(IG_FAULT_WRITE, SQLITE_IOERR_WRITE);
    if (rc) (void)REAL(f)->pMethods->xWrite(REAL(f), p, n / 2, at); /* half of it got there */
    return rc ? rc : REAL(f)->pMethods->xWrite(REAL(f), p, n, at);
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 n) { return REAL(f)->pMethods->xTruncate(REAL(f), n); }
static int f_size(sqlite3_file *f, sqlite3_int64 *n) { return REAL(f)->pMethods->xFileSize(REAL(f), n); }
static void keep_image(faulty_file *f)
{
    sqlite3_int64 n = 0;
    if (!lossy || f->slot < 0 || f->real->pMethods->xFileSize(f->real, &n)) return;
    unsigned char *p = realloc(images[f->slot].synced, (size_t)n + 1);
    if (!p) abort();
    if (n) (void)f->real->pMethods->xRead(f->real, p, (int)n, 0);
    images[f->slot].synced = p;
    images[f->slot].size = n;
}
static int f_sync(sqlite3_file *f, int flags)
{
    int rc = failed(IG_FAULT_SYNC, SQLITE_IOERR_FSYNC);
    if (!rc) rc = REAL(f)->pMethods->xSync(REAL(f), flags);
    if (!rc) keep_image((faulty_file *)(void *)f);
    return rc;
}
static int f_lock(sqlite3_file *f, int n) { return REAL(f)->pMethods->xLock(REAL(f), n); }
static int f_unlock(sqlite3_file *f, int n) { return REAL(f)->pMethods->xUnlock(REAL(f), n); }
static int f_reserved(sqlite3_file *f, int *n) { return REAL(f)->pMethods->xCheckReservedLock(REAL(f), n); }
static int f_control(sqlite3_file *f, int op, void *p) { return REAL(f)->pMethods->xFileControl(REAL(f), op, p); }
static int f_sector(sqlite3_file *f) { return REAL(f)->pMethods->xSectorSize(REAL(f)); }
static int f_device(sqlite3_file *f) { return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f)); }
static int f_map(sqlite3_file *f, int i, int n, int more, void volatile **p)
{
    int rc = failed(IG_FAULT_MAP, SQLITE_IOERR_SHMMAP);
    return rc ? rc : REAL(f)->pMethods->xShmMap(REAL(f), i, n, more, p);
}
static int f_shmlock(sqlite3_file *f, int i, int n, int flags)
{
    return REAL(f)->pMethods->xShmLock(REAL(f), i, n, flags);
}
static void f_barrier(sqlite3_file *f) { REAL(f)->pMethods->xShmBarrier(REAL(f)); }
static int f_unmap(sqlite3_file *f, int drop_it) { return REAL(f)->pMethods->xShmUnmap(REAL(f), drop_it); }

static int slot_of(const char *name)
{
    for (int i = 0; name && i < 3; i++) {
        if (!images[i].name[0]) (void)snprintf(images[i].name, sizeof images[i].name, "%s", name);
        if (!strcmp(images[i].name, name)) return i;
    }
    return -1;
}

static int v_open(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *out)
{
    static const sqlite3_io_methods methods = {
        2,         f_close,  f_read,   f_write, f_truncate, f_sync,    f_size,  f_lock, f_unlock, f_reserved,
        f_control, f_sector, f_device, f_map,   f_shmlock,  f_barrier, f_unmap, NULL,   NULL};
    (void)v;
    faulty_file *f = (faulty_file *)(void *)file;
    *f = (faulty_file){.slot = slot_of(name)};
    int rc = failed(IG_FAULT_OPEN, SQLITE_CANTOPEN);
    if (rc) return rc;
    f->real = calloc(1, (size_t)standard->szOsFile);
    rc = f->real ? standard->xOpen(standard, name, f->real, flags, out) : SQLITE_NOMEM;
    if (rc) {
        free(f->real);
        return rc;
    }
    f->base.pMethods = &methods;
    keep_image(f);
    return SQLITE_OK;
}

/* What was removed stays removed. */
static int v_delete(sqlite3_vfs *v, const char *name, int sync)
{
    (void)v;
    int slot = lossy ? slot_of(name) : -1;
    if (slot >= 0) {
        free(images[slot].synced);
        images[slot].synced = NULL;
        images[slot].name[0] = 0;
    }
    return standard->xDelete(standard, name, sync);
}

static void make_vfs(void)
{
    static sqlite3_vfs v;
    standard = sqlite3_vfs_find(NULL);
    v = *standard;
    v.zName = "faulty";
    v.pNext = NULL;
    v.szOsFile = sizeof(faulty_file);
    v.xOpen = v_open;
    v.xDelete = v_delete;
    if (sqlite3_vfs_register(&v, 0) != SQLITE_OK) abort();
}

/* The power goes: every file is what was synced of it. */
static void cut_power(void)
{
    for (int i = 0; i < 3; i++) {
        if (!images[i].name[0]) continue;
        FILE *f = images[i].synced ? fopen(images[i].name, "wb") : NULL;
        if (f && images[i].size) (void)fwrite(images[i].synced, 1, (size_t)images[i].size, f);
        if (f) (void)fclose(f);
        if (!images[i].synced) (void)unlink(images[i].name);
    }
    char shm[128];
    (void)snprintf(shm, sizeof shm, "%s-shm", path);
    (void)unlink(shm);
}

static void forget_images(void)
{
    for (int i = 0; i < 3; i++) {
        free(images[i].synced);
        images[i].synced = NULL;
        images[i].name[0] = 0;
    }
}

/* ------------------------------------------------------------------------------------------------ helpers */

static ig_ledger *open_ledger(const char *vfs, ig_error *e)
{
    ig_error own;
    ig_ledger_options o = {.clock_ms = test_clock, .vfs = vfs};
    ig_ledger *l = NULL;
    if (ig_ledger_open(path, &o, &l, e ? e : &own) != IG_OK && !e) printf("# %s\n", own.text);
    return l;
}

static ig_status add(ig_ledger *l, unsigned id, const char *user, const char *model, uint64_t in, uint64_t out)
{
    char name[32];
    (void)snprintf(name, sizeof name, "req-%u", id);
    ig_ledger_record r = {.id = name,
                          .user = user,
                          .app = "editor",
                          .op = "chat",
                          .model = model,
                          .digest = "abc",
                          .ran_on = "local",
                          .result = "ok",
                          .n_in = in,
                          .n_cached = 1,
                          .n_out = out,
                          .took_ms = 250,
                          .energy_uj = id % 2 ? 1500000 : -1,
                          .energy_by = id % 2 ? "rapl" : NULL};
    return ig_ledger_add(l, &r, NULL);
}

static bool is_sound(uint64_t *n)
{
    ig_error e;
    ig_ledger_report r = {0};
    ig_ledger *l = open_ledger(NULL, NULL);
    bool ok = l && ig_ledger_check(l, &r, &e) == IG_OK && r.n_problems == 0;
    if (!ok) printf("# %s\n", r.first);
    ig_ledger_close(l);
    *n = r.n_records;
    return ok;
}

/* ------------------------------------------------------------------------------------------------ use */

static void test_use(void)
{
    ig_usage u;
    uint64_t n;
    wipe_ledger();
    ig_ledger *l = open_ledger(NULL, NULL);
    struct stat sb;
    tap_ok(stat(path, &sb) == 0 && (sb.st_mode & 0777) == 0600, "the ledger's mode is 600");
    for (unsigned i = 0; i < 10; i++) (void)add(l, i, i % 2 ? "ada" : "bob", i < 5 ? "tiny" : "large", 100, 10);
    ig_ledger_today(l, "ada", NULL, NULL, &u);
    tap_ok(u.n == 5 && u.n_in == 500 && u.n_out == 50 && u.n_energy == 5, "quotas count what is not yet written");
    ig_ledger_today(l, "bob", NULL, "large", &u);
    tap_ok(u.n == 2, "by user and model");
    ig_ledger_today(l, NULL, NULL, "tiny", &u);
    tap_ok(u.n == 5, "by model");
    tap_ok(!ig_ledger_due(l), "ten fresh records wait for more");
    for (unsigned i = 10; i < 100; i++) (void)add(l, i, "ada", "tiny", 1, 1);
    tap_ok(ig_ledger_due(l), "a hundred are due");
    tap_ok(ig_ledger_commit(l, NULL) == IG_OK && !ig_ledger_due(l), "and committed");
    (void)add(l, 3, "ada", "tiny", 100, 10);
    (void)ig_ledger_commit(l, NULL);
    ig_ledger_close(l);
    tap_ok(is_sound(&n) && n == 100, "an id is booked once");
    l = open_ledger(NULL, NULL);
    ig_ledger_today(l, "ada", NULL, NULL, &u);
    tap_ok(u.n == 95, "opened again, today is known");
    now_ms += DAY_MS;
    ig_ledger_today(l, "ada", NULL, NULL, &u);
    tap_ok(u.n == 0, "tomorrow nothing is used");
    (void)add(l, 200, "ada", "tiny", 1, 1);
    now_ms -= DAY_MS; /* M14 */
    ig_ledger_today(l, "ada", NULL, NULL, &u);
    tap_ok(u.n == 95, "M14: a clock that jumps back finds that day's use again, without a commit");
    (void)ig_ledger_commit(l, NULL);
    ig_ledger_today(l, "ada", NULL, NULL, &u);
    tap_ok(u.n == 95, "M14: a clock that jumps back finds that day's use again");
    now_ms += INT64_C(3650) * DAY_MS;
    (void)add(l, 201, "ada", "tiny", 1, 1);
    (void)ig_ledger_commit(l, NULL);
    ig_ledger_today(l, "ada", NULL, NULL, &u);
    tap_ok(u.n == 1, "M14: ten years later as well");
    now_ms = NOON;
    ig_ledger_close(l);
    tap_ok(is_sound(&n) && n == 102, "all whole");
}

static void test_hostile_texts(void)
{
    char large[5000];
    uint64_t n;
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = 0;
    wipe_ledger();
    ig_ledger *l = open_ledger(NULL, NULL);
    static const char *const texts[] = {"'; DROP TABLE record;--", "\xff\xfe", "a\x01z", "\xc3\xa4", ""};
    for (unsigned i = 0; i < 5; i++) (void)add(l, i, texts[i], large, UINT64_MAX, UINT64_MAX);
    tap_ok(ig_ledger_commit(l, NULL) == IG_OK, "strange names and numbers are booked");
    ig_ledger_record none = {.user = "ada"};
    tap_ok(ig_ledger_add(l, &none, NULL) == IG_BAD_INPUT, "a record without id is refused");
    ig_ledger_close(l);
    tap_ok(is_sound(&n) && n == 5, "and read back whole");
}

static void change(const char *sql)
{
    sqlite3 *db;
    if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        printf("# %s\n", sqlite3_errmsg(db));
    (void)sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    (void)sqlite3_close(db);
}

static void make_ten(void)
{
    wipe_ledger();
    ig_ledger *l = open_ledger(NULL, NULL);
    for (unsigned i = 0; i < 10; i++) (void)add(l, i, "ada", "tiny", 100, 10);
    ig_ledger_close(l);
}

static void test_check(void)
{
    static const char *const changes[] = {"UPDATE record SET n_out=9 WHERE seq=4", "DELETE FROM record WHERE seq=4",
                                          "UPDATE record SET user='eve' WHERE seq=10", "UPDATE day SET n_in=1",
                                          "DELETE FROM day"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        ig_ledger_report r = {0};
        make_ten();
        change(changes[i]);
        ig_ledger *l = open_ledger(NULL, NULL);
        tap_ok(ig_ledger_check(l, &r, NULL) == IG_OK && r.n_problems > 0, "M04: %s is found: %s", changes[i], r.first);
        ig_ledger_close(l);
    }
}

static void test_versions(void)
{
    ig_error e = {0};
    uint64_t n;
    size_t before, after;
    make_ten();
    change("PRAGMA user_version=99");
    char *old = tap_read(path, &before);
    tap_ok(!open_ledger(NULL, &e) && e.status == IG_BAD_INPUT && strstr(e.text, "99"), "M24: %s", e.text);
    char *new = tap_read(path, &after);
    tap_ok(before == after && !memcmp(old, new, before), "M24: and not changed");
    free(old), free(new);
    change("PRAGMA user_version=1;DROP INDEX record_day");
    tap_ok(is_sound(&n) && n == 10, "an older version is brought up to date");
    sqlite3 *db;
    char *text = NULL;
    (void)sqlite3_open(path, &db);
    tap_ok(sqlite3_exec(db, "SELECT seq FROM record INDEXED BY record_day WHERE day=1", NULL, NULL, &text) == SQLITE_OK,
           "its index is there");
    sqlite3_free(text);
    (void)sqlite3_close(db);
    change("PRAGMA application_id=7");
    tap_ok(!open_ledger(NULL, &e) && strstr(e.text, "no ledger"), "another program's database is refused: %s", e.text);
    FILE *f = fopen(path, "wb");
    (void)fwrite("hello", 1, 5, f);
    (void)fclose(f);
    tap_ok(!open_ledger(NULL, &e), "a text is no ledger");
    ig_ledger_options o = {.read_only = true};
    ig_ledger *l;
    (void)unlink(path);
    tap_ok(ig_ledger_open(path, &o, &l, &e) == IG_NOT_FOUND && access(path, F_OK), "reading makes none");
}

static void test_forget(void)
{
    uint64_t n = 0;
    ig_usage u;
    wipe_ledger();
    ig_ledger *l = open_ledger(NULL, NULL);
    for (unsigned i = 0; i < 300; i++) (void)add(l, i, i % 2 ? "zwetschge" : "bob", "tiny", 100, 10);
    tap_ok(ig_ledger_forget(l, "zwetschge", &n, NULL) == IG_OK && n == 150, "U20: a user is forgotten");
    (void)ig_ledger_commit(l, NULL);
    ig_ledger_today(l, "forgotten", NULL, NULL, &u);
    tap_ok(u.n == 150, "U20: what was used stays");
    bool found = false;
    static const char *const ends[] = {"", "-wal"};
    for (size_t i = 0; i < 2; i++) {
        char name[128];
        size_t size;
        (void)snprintf(name, sizeof name, "%s%s", path, ends[i]);
        char *text = tap_read(name, &size);
        found = found || (text && memmem(text, size, "zwetschge", 9));
        free(text);
    }
    tap_ok(!found, "U20: no byte of the name is left on the disk");
    ig_ledger_close(l);
    tap_ok(is_sound(&n) && n == 300, "U20: and the ledger is whole");
}

/* ------------------------------------------------------------------------------------------------ faults */

static bool survive(ig_fault_kind kind, uint64_t nth, int e, bool sticky, bool power, bool *reached)
{
    ig_error err;
    uint64_t n;
    unsigned acked = 0, id = 0;
    wipe_ledger();
    forget_images();
    lossy = power;
    ig_fault_set(kind, nth, e, sticky);
    ig_ledger *l = open_ledger("faulty", &err);
    if (!l) {
        ig_fault_reset();
        l = open_ledger("faulty", &err);
    }
    if (!l) return false;
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 3; k++) id += add(l, id, "ada", "tiny", 100, 10) == IG_OK;
        if (ig_ledger_commit(l, &err) == IG_OK)
            acked = id;
        else if (ig_ledger_sound(l))
            return false;
    }
    *reached = ig_fault_calls(kind) >= nth;
    ig_fault_reset();
    if (power) { /* the process ends, too: what SQLite still does when it closes must not reach the disk */
        lossy = false;
        ig_ledger_close(l);
        cut_power();
        bool ok = is_sound(&n);
        if (!ok || n < acked) printf("# %u acknowledged, %llu there\n", acked, (unsigned long long)n);
        return ok && n >= acked;
    }
    bool ok = ig_ledger_commit(l, &err) == IG_OK;
    ig_ledger_close(l);
    return is_sound(&n) && ok && n == id;
}

static void test_faults(void)
{
    static const struct {
        ig_fault_kind kind;
        int e;
        bool power;
        const char *name;
    } kinds[] = {{IG_FAULT_WRITE, ENOSPC, false, "M05: the disk full at a write"},
                 {IG_FAULT_WRITE, EIO, false, "a write failing"},
                 {IG_FAULT_SYNC, EIO, false, "M08: a sync failing"},
                 {IG_FAULT_OPEN, EMFILE, false, "an open failing"},
                 {IG_FAULT_MAP, ENOMEM, false, "shared memory failing"},
                 {IG_FAULT_ALLOC, ENOMEM, false, "M16: an allocation failing"},
                 {IG_FAULT_SYNC, EIO, true, "M03: a sync failing, then the power"},
                 {IG_FAULT_WRITE, EIO, true, "M03: a write failing, then the power"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t n = 0, n_bad = 0;
        bool reached = true;
        for (uint64_t nth = 1; reached && nth < 150; nth++)
            for (int sticky = 0; sticky < (kinds[k].kind == IG_FAULT_ALLOC ? 1 : 2); sticky++, n++)
                if (!survive(kinds[k].kind, nth, kinds[k].e, sticky, kinds[k].power, &reached))
                    if (!n_bad++) printf("# first at call %llu, sticky %d\n", (unsigned long long)nth, sticky);
        tap_ok(n_bad == 0 && n > 3, "%s, %zu ways", kinds[k].name, n);
    }
    lossy = false;
    forget_images();
}

/* ------------------------------------------------------------------------------------------------ kills */

static void child(int out, ig_fault_kind kind, uint64_t nth, unsigned id)
{
    if (nth) ig_fault_set(kind, nth, IG_FAULT_KILL, false);
    ig_ledger *l = open_ledger("faulty", NULL);
    if (!l) _exit(1);
    for (int i = 0; i < 100000; i++) {
        for (int k = 0; k < 3; k++) (void)add(l, id++, "ada", "tiny", 100, 10);
        if (ig_ledger_commit(l, NULL) != IG_OK || write(out, &id, sizeof id) != sizeof id) _exit(1);
    }
    _exit(0);
}

static unsigned kill_one(ig_fault_kind kind, uint64_t nth, unsigned us, unsigned id)
{
    int p[2];
    unsigned got, acked = id;
    if (pipe(p)) abort();
    pid_t pid = fork();
    if (pid == 0) child(p[1], kind, nth, id);
    (void)close(p[1]);
    if (!nth) {
        if (read(p[0], &got, sizeof got) == sizeof got) acked = got;
        (void)usleep(us);
        (void)kill(pid, SIGKILL);
    }
    while (read(p[0], &got, sizeof got) == sizeof got) acked = got;
    (void)close(p[0]);
    (void)waitpid(pid, NULL, 0);
    return acked;
}

/* Ids go on from what was acknowledged: what was written beyond is booked once, when it comes again. */
static void test_kills(void)
{
    size_t n_kills = tap_sanitized ? 40 : 250, n_lost = 0, n_acked = 0;
    unsigned acked = 0, rand = 7;
    uint64_t n = 0;
    for (size_t i = 0; i < n_kills; i++) {
        if (i % 25 == 0) {
            wipe_ledger();
            acked = 0;
        }
        rand = rand * 1103515245 + 12345;
        unsigned before = acked;
        acked = kill_one(i % 3 == 1 ? IG_FAULT_WRITE : IG_FAULT_SYNC, i % 3 ? 1 + rand / 65536 % 20 : 0,
                         rand / 65536 % 1500, acked);
        n_acked += acked > before;
        if (!is_sound(&n) || n < acked) n_lost++;
    }
    tap_ok(n_lost == 0 && n_acked > n_kills / 3, "M02, M03: %zu kills, %zu after an acknowledgement, nothing lost",
           n_kills, n_acked);
}

/* ------------------------------------------------------------------------------------------------ at once */

static void *add_many(void *ctx)
{
    static _Atomic unsigned next = 1000;
    for (int i = 0; i < 100; i++) {
        ig_usage u;
        if (add(ctx, next++, "ada", "tiny", 1, 1) != IG_OK || ig_ledger_commit(ctx, NULL) != IG_OK) return ctx;
        ig_ledger_today(ctx, "ada", NULL, NULL, &u);
    }
    return NULL;
}

static void test_at_once(void)
{
    pthread_t t[4];
    void *bad;
    size_t n_bad = 0;
    uint64_t n;
    wipe_ledger();
    ig_ledger *l = open_ledger(NULL, NULL), *second = open_ledger(NULL, NULL);
    for (int i = 0; i < 4; i++) (void)pthread_create(&t[i], NULL, add_many, i % 2 ? l : second);
    for (int i = 0; i < 4; i++) {
        (void)pthread_join(t[i], &bad);
        n_bad += bad != NULL;
    }
    ig_ledger_close(l);
    ig_ledger_close(second);
    tap_ok(n_bad == 0 && is_sound(&n) && n == 400, "four threads over two connections write 400 records");
}

/* ------------------------------------------------------------------------------------------------ prices */

static const char prices_text[] = "# what others ask\ncurrency = EUR\nelectricity = 0.30\ncarbon=350\n\n"
                                  "[big/one]\ninput = 2.50\noutput=10\ncached = 0.25\nuntil = 2025-11-20\n"
                                  "[big/one]\ninput = 0.000001\noutput = 10.123456\nfrom = 2025-11-21\n"
                                  "[small/two]\ninput=0.1\noutput=0.4\nfor = ti*\n";

static void test_prices(void)
{
    static const char *const wrong[] = {"input = 1",
                                        "[a]\ninput = 1",
                                        "[a]\ninput=1\noutput=-1",
                                        "[a]\ninput=1\noutput=1.1234567",
                                        "[a]\ninput=1\noutput=1e3",
                                        "[a]\ninput=1\noutput=1000000001",
                                        "[a]\ninput=1\noutput=.5",
                                        "[a]\ninput=1\ninput=1\noutput=1",
                                        "[a]\ninput=1\noutput=1\n[a]\ninput=1\noutput=1",
                                        "[a]\ninput=1\noutput=1\nfrom=2025-02-29",
                                        "[a]\ninput=1\noutput=1\nfrom=2025-03-02\nuntil=2025-03-01",
                                        "currency = euros",
                                        "carbon = 1.5",
                                        "colour = red",
                                        "[]",
                                        "[a",
                                        "just words",
                                        "[a]\ncurrency=EUR",
                                        "\xff"};
    ig_prices p;
    ig_error e = {0};
    size_t n_bad = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (ig_prices_read("t", ig_str_from(wrong[i]), &p, &e) != IG_BAD_INPUT || !e.text[0]) {
            printf("# accepted: %s\n", wrong[i]);
            n_bad++;
        }
    tap_ok(n_bad == 0, "%zu wrong tables are refused", sizeof wrong / sizeof *wrong);
    tap_ok(ig_prices_read("t", IG_STR(prices_text), &p, &e) == IG_OK && p.n == 3 && !strcmp(p.currency, "EUR") &&
               p.electricity_micro_kwh == 300000 && p.carbon_g_kwh == 350,
           "a table is read");
    tap_ok(ig_price_fits(&p.rows[0], 20412, "x") && !ig_price_fits(&p.rows[0], 20413, "x") &&
               ig_price_fits(&p.rows[1], 20413, "x") && !ig_price_fits(&p.rows[2], 20413, "x") &&
               ig_price_fits(&p.rows[2], 20413, "tiny"),
           "prices have days and models");
    char text[32];
    uint64_t micro = ig_price_micro(ig_price_cost(&p.rows[0], 1000000, 400000, 2000000));
    tap_ok(micro == 21600000 && !strcmp(ig_price_text(micro, text), "21.600000"),
           "0.6 * 2.50 + 0.4 * 0.25 + 2 * 10 = %s", ig_price_text(micro, text));
    tap_ok(ig_price_micro(ig_price_cost(&p.rows[1], 499999, 0, 0)) == 0 &&
               ig_price_micro(ig_price_cost(&p.rows[1], 500000, 0, 0)) == 1,
           "half a millionth is rounded up, once");
    ig_pico sum = 0;
    for (int i = 0; i < 1000000; i++) sum += ig_price_cost(&p.rows[1], 0, 0, 1);
    tap_ok(ig_price_micro(sum) == 10123456, "a million single tokens cost what a million tokens cost");
    tap_ok(ig_price_micro(ig_price_cost(&p.rows[0], UINT64_MAX, 0, UINT64_MAX)) == UINT64_MAX, "nothing overflows");
    tap_ok(ig_price_micro(ig_price_energy(&p, UINT64_C(3600000000000))) == 300000, "a kWh costs what a kWh costs");
    tap_ok(ig_price_match("a*b*c", "aXbXbc") && !ig_price_match("a*b*c", "aXbX") && ig_price_match("*", "") &&
               ig_price_match("a?c", "abc") && !ig_price_match("a?c", "ac"),
           "patterns");
    int64_t day;
    bool all = true;
    for (int64_t d = 0; d < 60000; d++) all = all && ig_day_parse(ig_day_text(d, text), &day) && day == d;
    tap_ok(all, "60,000 days there and back");
    ig_prices_free(&p);
}

/* ------------------------------------------------------------------------------------------------ meter */

static void put(const char *name, const char *text)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s/sys/%s", work, name);
    for (char *c = full + strlen(work) + 1; (c = strchr(c, '/')); *c++ = '/') {
        *c = 0;
        (void)mkdir(full, 0700);
    }
    FILE *f = fopen(full, "w");
    if (!f || fputs(text, f) < 0 || fclose(f)) abort();
}

static void test_meter(void)
{
    char root[128];
    ig_meter m;
    (void)snprintf(root, sizeof root, "%s/sys", work);
    tap_ok(!ig_meter_open(&m, root) && ig_meter_take(&m, 1) == 0 && ig_meter_take(&m, 2) == 0,
           "no meter: nothing is said");
    put("class/power_supply/BAT0/type", "Battery\n");
    put("class/power_supply/BAT0/power_now", "10000000\n");
    put("class/power_supply/BAT0/status", "Discharging\n");
    tap_ok(ig_meter_open(&m, root) && !strcmp(m.how, "battery") && ig_meter_take(&m, 1000) == 0 &&
               ig_meter_take(&m, 2000001000) == 20000000,
           "ten watts for two seconds are twenty joules");
    put("class/power_supply/BAT0/status", "Charging\n");
    tap_ok(ig_meter_take(&m, 4000001000) == 0, "on mains a battery tells nothing");
    static const char *const zones[] = {"intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl:0:1",
                                        "intel-rapl:2"};
    static const char *const names[] = {"package-0", "package-1", "core", "dram", "psys"};
    char file[100];
    for (int i = 0; i < 5; i++) {
        (void)snprintf(file, sizeof file, "class/powercap/%s/name", zones[i]), put(file, names[i]);
        (void)snprintf(file, sizeof file, "class/powercap/%s/max_energy_range_uj", zones[i]), put(file, "1000000\n");
        (void)snprintf(file, sizeof file, "class/powercap/%s/energy_uj", zones[i]), put(file, "900000\n");
    }
    bool there = ig_meter_open(&m, root) && !strcmp(m.how, "rapl") && m.n == 3;
    (void)ig_meter_take(&m, 1);
    put("class/powercap/intel-rapl:0/energy_uj", "950000\n");
    put("class/powercap/intel-rapl:1/energy_uj", "100000\n");
    put("class/powercap/intel-rapl:0:1/energy_uj", "900007\n");
    put("class/powercap/intel-rapl:0:0/energy_uj", "950000\n");
    tap_ok(there && ig_meter_take(&m, 2) == 50000 + 200000 + 7,
           "packages and memory are added, a wrapped counter unwrapped");
    put("class/powercap/intel-rapl:0/energy_uj", "nonsense\n");
    tap_ok(ig_meter_take(&m, 3) == 0, "nonsense counts nothing");
    bool exact = true, fair = true;
    for (uint64_t all = 0; all < 3000; all += 7) {
        uint64_t uj = all, weights = 1 + 2 + 30 + 400, sum = 0, least = 0, most = 0;
        sum += least = ig_meter_share(&uj, &weights, 1);
        sum += ig_meter_share(&uj, &weights, 2) + ig_meter_share(&uj, &weights, 30);
        sum += most = ig_meter_share(&uj, &weights, 400);
        exact = exact && sum == all && uj == 0 && weights == 0;
        fair = fair && least <= all / 433 && most >= all * 400 / 433;
    }
    tap_ok(exact && fair, "shares by weight add up to the meter, to the last microjoule");
}

/* ------------------------------------------------------------------------------------------------ reports */

static void test_reports(void)
{
    ig_prices p;
    ig_error e;
    ig_buf focus, otlp;
    wipe_ledger();
    ig_ledger *l = open_ledger(NULL, NULL);
    (void)add(l, 1, "ada", "tiny", 1000000, 200000);
    (void)add(l, 2, "=cmd|'x'!A1", "qwen,\"3\"", 5, 7);
    now_ms += DAY_MS;
    (void)add(l, 3, "ada", "tiny", 17, 64);
    (void)ig_ledger_commit(l, NULL);
    now_ms = NOON;
    (void)ig_prices_read("t", IG_STR(prices_text), &p, &e);
    ig_buf_init(&focus, 1 << 20);
    ig_buf_init(&otlp, 1 << 20);
    (void)ig_ledger_focus(l, NULL, &p, &focus, &e);
    (void)ig_ledger_otlp(l, NULL, "0.1.0", &otlp, &e);
    const struct {
        const char *name;
        const ig_buf *got;
    } rows[] = {{"focus.csv", &focus}, {"metrics.json", &otlp}};
    for (size_t i = 0; i < 2; i++) {
        char file[512];
        size_t n;
        (void)snprintf(file, sizeof file, "%s/accounting/%s", tap_data(), rows[i].name);
        char *want = tap_read(file, &n);
        bool same = want && n == rows[i].got->len && !memcmp(want, rows[i].got->ptr, n);
        if (!same) printf("# got: %.*s\n", (int)rows[i].got->len, rows[i].got->ptr);
        tap_ok(same, "%s byte for byte", rows[i].name);
        free(want);
    }
    ig_buf_fini(&focus);
    ig_buf_fini(&otlp);
    ig_prices_free(&p);
    ig_ledger_close(l);
}

int main(void)
{
    (void)snprintf(work, sizeof work, "%s/ingle-ledger-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(work)) return 1;
    (void)snprintf(path, sizeof path, "%s/ledger.db", work);
    make_vfs();
    test_use();
    test_hostile_texts();
    test_check();
    test_versions();
    test_forget();
    test_prices();
    test_meter();
    test_reports();
    test_faults();
    test_at_once();
    test_kills();
    wipe(work);
    return tap_done();
}
