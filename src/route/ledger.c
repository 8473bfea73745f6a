/* Writing the ledger: records wait in memory, a commit makes one transaction of them. SQLite writes a transaction that
 * failed again from its start (its frames are overwritten), so trying again after a failed sync is sound here. */
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "base/utf8.h"
#include "ledger_inner.h"

#define MS_A_DAY       INT64_C(86400000)
#define GROUP_RECORDS  100
#define GROUP_NS       UINT64_C(1000000000)
#define ROWS_MAX       200000
#define BUSY_MS        5000
#define APPLICATION_ID 0x494e474c /* INGL */

/* One step a version: what was released is never changed. */
static const char *const steps[IG_LEDGER_VERSION] = {
    "CREATE TABLE record(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, grp TEXT NOT NULL,"
    " app TEXT NOT NULL, op TEXT NOT NULL, model TEXT NOT NULL, digest TEXT NOT NULL, ran_on TEXT NOT NULL,"
    " result TEXT NOT NULL, energy_by TEXT NOT NULL, at_ms INTEGER NOT NULL, mono_ms INTEGER NOT NULL,"
    " day INTEGER NOT NULL, n_in INTEGER NOT NULL, n_cached INTEGER NOT NULL, n_out INTEGER NOT NULL,"
    " n_reasoning INTEGER NOT NULL, wait_ms INTEGER NOT NULL, took_ms INTEGER NOT NULL, energy_uj INTEGER,"
    " boot TEXT NOT NULL, sum INTEGER NOT NULL);"
    "CREATE TABLE day(day INTEGER NOT NULL, user TEXT NOT NULL, grp TEXT NOT NULL, app TEXT NOT NULL,"
    " model TEXT NOT NULL, digest TEXT NOT NULL, n INTEGER NOT NULL, n_in INTEGER NOT NULL, n_cached INTEGER NOT NULL,"
    " n_out INTEGER NOT NULL, n_reasoning INTEGER NOT NULL, took_ms INTEGER NOT NULL, energy_uj INTEGER NOT NULL,"
    " n_energy INTEGER NOT NULL, PRIMARY KEY(day,user,grp,app,model,digest)) WITHOUT ROWID;",
    "CREATE INDEX record_day ON record(day);",
};

static const char *path_of(const ig_ledger *l)
{
    const char *path = l->db ? sqlite3_db_filename(l->db, "main") : NULL;
    return path ? path : "";
}

ig_status ig_ledger_failed(ig_ledger *l, const char *doing, ig_error *err)
{
    int code = sqlite3_extended_errcode(l->db);
    ig_status st = (code & 255) == SQLITE_NOMEM ? IG_NO_MEMORY : IG_IO;
    if (code == SQLITE_FULL)
        return ig_fail(err, st, 0, "the ledger %.200s cannot be %s: the disk is full", path_of(l), doing);
    return ig_fail(err, st, 0, "the ledger %.200s cannot be %s: %.200s (%d)", path_of(l), doing, sqlite3_errmsg(l->db),
                   code);
}

ig_status ig_ledger_exec(ig_ledger *l, const char *sql, ig_error *err)
{
    return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK ? IG_OK : ig_ledger_failed(l, "used", err);
}

/* FNV-1a; texts end with their NUL, numbers are taken from their lowest byte. */
static void mix(uint64_t *h, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) *h = (*h ^ b[i]) * UINT64_C(0x100000001b3);
}

static void mix_number(uint64_t *h, int64_t n)
{
    for (int i = 0; i < 8; i++) {
        unsigned char b = (unsigned char)((uint64_t)n >> (8 * i));
        mix(h, &b, 1);
    }
}

int64_t ig_ledger_sum(int64_t seq, const char *boot, const char *const *texts, const int64_t *numbers)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    mix_number(&h, seq);
    mix(&h, boot, strlen(boot) + 1);
    for (int i = 0; i < IG_LT_COUNT; i++) mix(&h, texts[i], strlen(texts[i]) + 1);
    for (int i = 0; i < IG_LN_COUNT; i++) mix_number(&h, numbers[i]);
    return (int64_t)(h >> 1);
}

static uint64_t hash_text(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    mix(&h, text, strlen(text));
    return h;
}

/* ------------------------------------------------------------------------------------------------ today */

static void add_usage(ig_usage *u, const ig_usage *more)
{
    u->n += more->n;
    u->n_in += more->n_in;
    u->n_cached += more->n_cached;
    u->n_out += more->n_out;
    u->n_reasoning += more->n_reasoning;
    u->took_ms += more->took_ms;
    u->energy_uj += more->energy_uj;
    u->n_energy += more->n_energy;
}

static bool fits(const ig_ledger_row *r, const char *user, uint64_t u, const char *group, uint64_t g, const char *model,
                 uint64_t m)
{
    return (!user || (r->user_hash == u && !strcmp(r->user, user))) &&
           (!group || (r->group_hash == g && !strcmp(r->group, group))) &&
           (!model || (r->model_hash == m && !strcmp(r->model, model)));
}

static ig_ledger_row *row_of(ig_ledger *l, const char *user, const char *group, const char *model)
{
    uint64_t u = hash_text(user), g = hash_text(group), m = hash_text(model);
    for (size_t i = 0; i < l->n_rows; i++)
        if (fits(&l->rows[i], user, u, group, g, model, m)) return &l->rows[i];
    if (l->n_rows == l->cap_rows) {
        size_t cap = l->cap_rows ? l->cap_rows * 2 : 64;
        ig_ledger_row *rows = cap > ROWS_MAX ? NULL : ig_realloc(l->rows, cap, sizeof *rows);
        if (!rows) return NULL;
        l->rows = rows;
        l->cap_rows = cap;
    }
    ig_ledger_row *r = &l->rows[l->n_rows++];
    *r = (ig_ledger_row){.user_hash = u, .group_hash = g, .model_hash = m};
    snprintf(r->user, sizeof r->user, "%s", user);
    snprintf(r->group, sizeof r->group, "%s", group);
    snprintf(r->model, sizeof r->model, "%s", model);
    return r;
}

static ig_usage usage_of(const ig_ledger_item *t)
{
    const int64_t *n = t->number;
    bool known = n[IG_LN_ENERGY_UJ] >= 0;
    return (ig_usage){1,
                      (uint64_t)n[IG_LN_IN],
                      (uint64_t)n[IG_LN_CACHED],
                      (uint64_t)n[IG_LN_OUT],
                      (uint64_t)n[IG_LN_REASONING],
                      (uint64_t)n[IG_LN_TOOK_MS],
                      known ? (uint64_t)n[IG_LN_ENERGY_UJ] : 0,
                      known};
}

/* The lock is held. Another day has begun, or the clock has jumped: the database is asked what it has of it. */
static void check_day(ig_ledger *l)
{
    int64_t day = l->clock_ms() / MS_A_DAY;
    if (day == l->today) return;
    l->today = day;
    l->n_rows = 0;
    l->stale = true;
}

static void count_today(ig_ledger *l, const ig_ledger_item *t)
{
    if (t->number[IG_LN_DAY] != l->today) return;
    ig_ledger_row *r = row_of(l, t->text[IG_LT_USER], t->text[IG_LT_GROUP], t->text[IG_LT_MODEL]);
    ig_usage u = usage_of(t);
    if (r) add_usage(&r->usage, &u);
}

static uint64_t number_at(sqlite3_stmt *s, int column)
{
    sqlite3_int64 n = sqlite3_column_int64(s, column);
    return n < 0 ? 0 : (uint64_t)n;
}

static const char *text_at(sqlite3_stmt *s, int column)
{
    const char *z = (const char *)sqlite3_column_text(s, column);
    return z ? z : "";
}

/* Both locks are held: rows become what the database has of the day, and what waits. */
static bool load_today(ig_ledger *l)
{
    static const char sql[] = "SELECT user,grp,model,sum(n),sum(n_in),sum(n_cached),sum(n_out),sum(n_reasoning),"
                              "sum(took_ms),sum(energy_uj),sum(n_energy) FROM day WHERE day=? GROUP BY 1,2,3";
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(l->db, sql, -1, &s, NULL) != SQLITE_OK) return false;
    sqlite3_bind_int64(s, 1, l->today);
    l->n_rows = 0;
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        ig_ledger_row *r = row_of(l, text_at(s, 0), text_at(s, 1), text_at(s, 2));
        if (!r) break;
        r->usage = (ig_usage){number_at(s, 3), number_at(s, 4), number_at(s, 5), number_at(s, 6),
                              number_at(s, 7), number_at(s, 8), number_at(s, 9), number_at(s, 10)};
    }
    sqlite3_finalize(s);
    if (rc != SQLITE_DONE) return false;
    for (size_t i = 0; i < l->writing.n; i++) count_today(l, &l->writing.p[i]);
    for (size_t i = 0; i < l->waiting.n; i++) count_today(l, &l->waiting.p[i]);
    l->stale = false;
    return true;
}

void ig_ledger_today(ig_ledger *l, const char *user, const char *group, const char *model, ig_usage *out)
{
    uint64_t u = user ? hash_text(user) : 0, g = group ? hash_text(group) : 0, m = model ? hash_text(model) : 0;
    *out = (ig_usage){0};
    pthread_mutex_lock(&l->lock);
    check_day(l);
    if (l->stale && pthread_mutex_trylock(&l->io) == 0) { /* else the commit under way does it */
        (void)load_today(l);
        pthread_mutex_unlock(&l->io);
    }
    for (size_t i = 0; i < l->n_rows; i++)
        if (fits(&l->rows[i], user, u, group, g, model, m)) add_usage(out, &l->rows[i].usage);
    pthread_mutex_unlock(&l->lock);
}

/* ------------------------------------------------------------------------------------------------ adding */

static void copy_text(char out[IG_LEDGER_TEXT_BYTES], const char *text)
{
    size_t n = text ? strnlen(text, IG_LEDGER_TEXT_BYTES - 1) : 0;
    n = n ? ig_utf8_whole(text, n) : 0;
    if (n) memcpy(out, text, n);
    out[n] = 0;
    if (ig_utf8_valid(out, n)) return;
    for (char *c = out; *c; c++)
        if (*c & (char)0x80) *c = '?';
}

static int64_t bounded(uint64_t n) { return n > (uint64_t)1 << 53 ? (int64_t)1 << 53 : (int64_t)n; }

static void fill(ig_ledger *l, ig_ledger_item *t, const ig_ledger_record *r)
{
    const char *const texts[IG_LT_COUNT] = {r->id,    r->user,   r->group,  r->app,    r->op,
                                            r->model, r->digest, r->ran_on, r->result, r->energy_by};
    for (int i = 0; i < IG_LT_COUNT; i++) copy_text(t->text[i], texts[i]);
    int64_t at = r->at_ms ? r->at_ms : l->clock_ms();
    if (at < 0) at = 0;
    const int64_t numbers[IG_LN_COUNT] = {at,
                                          (int64_t)(ig_now_ns() / 1000000),
                                          at / MS_A_DAY,
                                          bounded(r->n_in),
                                          bounded(r->n_cached),
                                          bounded(r->n_out),
                                          bounded(r->n_reasoning),
                                          bounded(r->wait_ms),
                                          bounded(r->took_ms),
                                          r->energy_uj < 0 ? -1 : bounded((uint64_t)r->energy_uj)};
    memcpy(t->number, numbers, sizeof numbers);
}

static bool grow(ig_ledger_items *list)
{
    if (list->n < list->cap) return true;
    size_t cap = list->cap ? list->cap * 2 : 128;
    ig_ledger_item *p = ig_realloc(list->p, cap, sizeof *p);
    if (!p) return false;
    list->p = p;
    list->cap = cap;
    return true;
}

ig_status ig_ledger_add(ig_ledger *l, const ig_ledger_record *r, ig_error *err)
{
    if (!r->id || !*r->id) return ig_fail(err, IG_BAD_INPUT, 0, "a record of the ledger needs an id");
    ig_status st = IG_OK;
    pthread_mutex_lock(&l->lock);
    check_day(l);
    if (l->waiting.n >= IG_LEDGER_WAITING_MAX)
        st = ig_fail(err, IG_TOO_LARGE, 0, "%zu records wait for the ledger's disk; no more are taken", l->waiting.n);
    else if (!grow(&l->waiting))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a record of the ledger");
    else {
        ig_ledger_item *t = &l->waiting.p[l->waiting.n];
        fill(l, t, r);
        if (!l->waiting.n++) l->since_ns = ig_now_ns();
        count_today(l, t);
    }
    pthread_mutex_unlock(&l->lock);
    return st;
}

bool ig_ledger_due(ig_ledger *l)
{
    pthread_mutex_lock(&l->lock);
    bool due = l->waiting.n >= GROUP_RECORDS || (l->waiting.n && ig_now_ns() - l->since_ns >= GROUP_NS);
    pthread_mutex_unlock(&l->lock);
    return due;
}

bool ig_ledger_sound(ig_ledger *l)
{
    pthread_mutex_lock(&l->lock);
    bool sound = l->sound;
    pthread_mutex_unlock(&l->lock);
    return sound;
}

/* ------------------------------------------------------------------------------------------------ commit */

typedef struct inserts {
    sqlite3_stmt *record, *day;
    int64_t seq; /* of the last record */
} inserts;

static const char insert_record[] =
    "INSERT OR IGNORE INTO record(" IG_LEDGER_COLUMNS ",seq,boot,sum) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,"
    "?,?,?)";
static const char insert_day[] =
    "INSERT INTO day(day,user,grp,app,model,digest,n,n_in,n_cached,n_out,n_reasoning,took_ms,energy_uj,n_energy)"
    " VALUES(?,?,?,?,?,?,1,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET n=n+1, n_in=n_in+excluded.n_in,"
    " n_cached=n_cached+excluded.n_cached, n_out=n_out+excluded.n_out, n_reasoning=n_reasoning+excluded.n_reasoning,"
    " took_ms=took_ms+excluded.took_ms, energy_uj=energy_uj+excluded.energy_uj, n_energy=n_energy+excluded.n_energy";

static void bind_record(sqlite3_stmt *s, const ig_ledger_item *t, int64_t seq, const char *boot)
{
    const char *texts[IG_LT_COUNT];
    int at = 1;
    for (int i = 0; i < IG_LT_COUNT; i++) {
        texts[i] = t->text[i];
        sqlite3_bind_text(s, at++, t->text[i], -1, SQLITE_STATIC);
    }
    for (int i = 0; i < IG_LN_COUNT; i++)
        if (i == IG_LN_ENERGY_UJ && t->number[i] < 0)
            sqlite3_bind_null(s, at++);
        else
            sqlite3_bind_int64(s, at++, t->number[i]);
    sqlite3_bind_int64(s, at++, seq);
    sqlite3_bind_text(s, at++, boot, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, at, ig_ledger_sum(seq, boot, texts, t->number));
}

static void bind_day(sqlite3_stmt *s, const ig_ledger_item *t)
{
    static const ig_ledger_text texts[] = {IG_LT_USER, IG_LT_GROUP, IG_LT_APP, IG_LT_MODEL, IG_LT_DIGEST};
    static const ig_ledger_number numbers[] = {IG_LN_IN, IG_LN_CACHED, IG_LN_OUT, IG_LN_REASONING, IG_LN_TOOK_MS};
    int at = 1;
    bool known = t->number[IG_LN_ENERGY_UJ] >= 0;
    sqlite3_bind_int64(s, at++, t->number[IG_LN_DAY]);
    for (size_t i = 0; i < 5; i++) sqlite3_bind_text(s, at++, t->text[texts[i]], -1, SQLITE_STATIC);
    for (size_t i = 0; i < 5; i++) sqlite3_bind_int64(s, at++, t->number[numbers[i]]);
    sqlite3_bind_int64(s, at++, known ? t->number[IG_LN_ENERGY_UJ] : 0);
    sqlite3_bind_int64(s, at, known);
}

static bool run(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);
    sqlite3_reset(s);
    return rc == SQLITE_DONE;
}

static bool insert(ig_ledger *l, inserts *in, const ig_ledger_item *t)
{
    bind_record(in->record, t, in->seq + 1, l->boot);
    if (!run(in->record)) return false;
    if (sqlite3_changes(l->db) == 0) return true; /* this request was booked before */
    in->seq++;
    bind_day(in->day, t);
    return run(in->day);
}

static bool last_seq(ig_ledger *l, int64_t *seq)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(l->db, "SELECT coalesce(max(seq),0) FROM record", -1, &s, NULL) != SQLITE_OK) return false;
    bool ok = sqlite3_step(s) == SQLITE_ROW;
    *seq = ok ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return ok;
}

/* The transaction without its ends. */
static bool insert_all(ig_ledger *l)
{
    inserts in = {0};
    bool ok = last_seq(l, &in.seq) && sqlite3_prepare_v2(l->db, insert_record, -1, &in.record, NULL) == SQLITE_OK &&
              sqlite3_prepare_v2(l->db, insert_day, -1, &in.day, NULL) == SQLITE_OK;
    for (size_t i = 0; ok && i < l->writing.n; i++) ok = insert(l, &in, &l->writing.p[i]);
    sqlite3_finalize(in.record);
    sqlite3_finalize(in.day);
    return ok;
}

static ig_status write_out(ig_ledger *l, ig_error *err)
{
    if (!l->writing.n) return IG_OK;
    bool ok = sqlite3_exec(l->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK && insert_all(l) &&
              sqlite3_exec(l->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    if (!ok) {
        ig_ledger_failed(l, "written", err);
        if (!sqlite3_get_autocommit(l->db)) (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
        return err->status;
    }
    l->writing.n = 0;
    return IG_OK;
}

static void take_waiting(ig_ledger *l)
{
    pthread_mutex_lock(&l->lock);
    ig_ledger_items spare = l->writing;
    l->writing = l->waiting;
    l->waiting = spare;
    pthread_mutex_unlock(&l->lock);
}

ig_status ig_ledger_commit(ig_ledger *l, ig_error *err)
{
    ig_error own;
    if (!err) err = &own;
    pthread_mutex_lock(&l->io);
    ig_status st = write_out(l, err); /* what an earlier commit could not write */
    if (st == IG_OK) {
        take_waiting(l);
        st = write_out(l, err);
    }
    pthread_mutex_lock(&l->lock);
    l->sound = st == IG_OK;
    check_day(l);
    if (l->stale && st == IG_OK) (void)load_today(l); /* else the next commit does */
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_unlock(&l->io);
    return st;
}

/* ------------------------------------------------------------------------------------------------ opening */

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Looks at the header before SQLite opens the file, so that what is no ledger, or a newer one, is not touched (M24). */
static ig_status judge_file(const char *path, bool read_only, ig_error *err)
{
    unsigned char h[100];
    struct stat sb;
    int fd = ig_disk_open_regular(AT_FDCWD, path, O_RDONLY, &sb);
    if (fd < 0 && errno == ENOENT && !read_only) {
        fd = ig_disk_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        if (fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot make the ledger %.200s", path);
        close(fd);
        return IG_OK;
    }
    if (fd < 0 && errno == ENOENT)
        return ig_fail(err, IG_NOT_FOUND, 0, "there is no ledger %.200s; ingle serve makes one", path);
    if (fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open the ledger %.200s", path);
    ssize_t n = ig_disk_read_at(fd, h, sizeof h, 0);
    close(fd);
    if (n < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read the ledger %.200s", path);
    if (n == 0) return IG_OK; /* made, but killed before its first transaction */
    uint32_t id = n == sizeof h ? big_endian(h + 68) : 0, version = n == sizeof h ? big_endian(h + 60) : 0;
    /* Without our id: only one that was killed before its first transaction, empty but for its first page. */
    bool strange = n < (ssize_t)sizeof h || memcmp(h, "SQLite format 3", 16) || (!id && big_endian(h + 28) > 1);
    if (strange || (id && id != APPLICATION_ID)) return ig_fail(err, IG_BAD_INPUT, 0, "%.200s is no ledger", path);
    if (version > IG_LEDGER_VERSION)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "the ledger %.200s has version %u and this ingle knows up to %d; use a newer ingle", path,
                       version, (int)IG_LEDGER_VERSION);
    return IG_OK;
}

static bool read_version(ig_ledger *l, int *version)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(l->db, "PRAGMA user_version", -1, &s, NULL) != SQLITE_OK) return false;
    bool ok = sqlite3_step(s) == SQLITE_ROW;
    *version = ok ? sqlite3_column_int(s, 0) : 0;
    sqlite3_finalize(s);
    return ok;
}

static ig_status run_steps(ig_ledger *l, ig_error *err)
{
    int version;
    char sql[100];
    IG_TRY(ig_ledger_exec(l, "BEGIN IMMEDIATE", err));
    if (!read_version(l, &version)) return ig_ledger_failed(l, "read", err); /* another process may have been first */
    if (version > IG_LEDGER_VERSION)
        return ig_fail(err, IG_BAD_INPUT, 0, "the ledger has version %d and this ingle knows up to %d", version,
                       (int)IG_LEDGER_VERSION);
    for (; version < IG_LEDGER_VERSION; version++) IG_TRY(ig_ledger_exec(l, steps[version], err));
    snprintf(sql, sizeof sql, "PRAGMA application_id=%d;PRAGMA user_version=%d", APPLICATION_ID, version);
    IG_TRY(ig_ledger_exec(l, sql, err));
    return ig_ledger_exec(l, "COMMIT", err);
}

static ig_status migrate(ig_ledger *l, ig_error *err)
{
    int version;
    if (!read_version(l, &version)) return ig_ledger_failed(l, "read", err);
    if (version == IG_LEDGER_VERSION) return IG_OK;
    ig_status st = run_steps(l, err);
    if (!sqlite3_get_autocommit(l->db)) (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
    if (st != IG_OK) return st;
    /* So that the version stands in the file's own header. */
    return ig_ledger_exec(l, "PRAGMA wal_checkpoint(TRUNCATE)", err);
}

static ig_status open_database(ig_ledger *l, const char *path, const ig_ledger_options *o, ig_error *err)
{
    IG_TRY(judge_file(path, o->read_only, err));
    int flags = o->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    if (sqlite3_open_v2(path, &l->db, flags | SQLITE_OPEN_FULLMUTEX, o->vfs) != SQLITE_OK)
        return l->db ? ig_ledger_failed(l, "opened", err)
                     : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the ledger");
    sqlite3_busy_timeout(l->db, BUSY_MS);
    sqlite3_db_config(l->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(l->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (o->read_only) return ig_ledger_exec(l, "PRAGMA cell_size_check=ON", err);
    IG_TRY(ig_ledger_exec(l,
                          "PRAGMA cell_size_check=ON;PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"
                          "PRAGMA secure_delete=ON;PRAGMA cache_size=-256", /* KiB: rows are written, seldom read */
                          err));
    return migrate(l, err);
}

static void free_ledger(ig_ledger *l)
{
    sqlite3_close(l->db);
    ig_free(l->waiting.p);
    ig_free(l->writing.p);
    ig_free(l->rows);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->io);
    ig_free(l);
}

ig_status ig_ledger_open(const char *path, const ig_ledger_options *options, ig_ledger **out, ig_error *err)
{
    static const ig_ledger_options none = {0};
    const ig_ledger_options *o = options ? options : &none;
    *out = NULL;
    ig_ledger *l = ig_calloc(1, sizeof *l);
    if (!l) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the ledger");
    l->clock_ms = o->clock_ms ? o->clock_ms : ig_clock_ms;
    l->sound = true;
    ig_boot_id(l->boot);
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->io, NULL);
    ig_status st = open_database(l, path, o, err);
    l->today = l->clock_ms() / MS_A_DAY;
    if (st == IG_OK && !load_today(l)) st = ig_ledger_failed(l, "read", err);
    if (st != IG_OK) {
        free_ledger(l);
        return st;
    }
    *out = l;
    return IG_OK;
}

void ig_ledger_close(ig_ledger *l)
{
    ig_error none;
    if (!l) return;
    (void)ig_ledger_commit(l, &none);
    free_ledger(l);
}
