/* Reading the ledger: days, records, the check of all of it; taking a user's name out. */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "ledger_inner.h"

#define FORGOTTEN "forgotten"

static const char *text_at(sqlite3_stmt *s, int column)
{
    const char *z = (const char *)sqlite3_column_text(s, column);
    return z ? z : "";
}

static uint64_t number_at(sqlite3_stmt *s, int column)
{
    sqlite3_int64 n = sqlite3_column_int64(s, column);
    return n < 0 ? 0 : (uint64_t)n;
}

/* ------------------------------------------------------------------------------------------------ walks */

#define WHERE " WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR user=?3) AND (?4 IS NULL OR model=?4)"

static sqlite3_stmt *begin(ig_ledger *l, const char *sql, const ig_ledger_filter *f)
{
    static const ig_ledger_filter all = {0};
    sqlite3_stmt *s;
    if (!f) f = &all;
    bool bounded = f->since_day || f->until_day;
    if (sqlite3_prepare_v2(l->db, sql, -1, &s, NULL) != SQLITE_OK) return NULL;
    sqlite3_bind_int64(s, 1, bounded ? f->since_day : INT64_MIN);
    sqlite3_bind_int64(s, 2, bounded && f->until_day ? f->until_day : INT64_MAX);
    sqlite3_bind_text(s, 3, f->user, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 4, f->model, -1, SQLITE_STATIC);
    return s;
}

static ig_status end(ig_ledger *l, sqlite3_stmt *s, int rc, ig_error *err)
{
    ig_status st = rc == SQLITE_DONE || rc == SQLITE_ROW ? IG_OK : ig_ledger_failed(l, "read", err);
    sqlite3_finalize(s);
    pthread_mutex_unlock(&l->io);
    return st;
}

ig_status ig_ledger_days(ig_ledger *l, const ig_ledger_filter *filter, bool (*each)(void *ctx, const ig_ledger_day *d),
                         void *ctx, ig_error *err)
{
    static const char sql[] = "SELECT day,user,grp,app,model,digest,n,n_in,n_cached,n_out,n_reasoning,took_ms,"
                              "energy_uj,n_energy FROM day" WHERE " ORDER BY day,user,grp,app,model,digest";
    pthread_mutex_lock(&l->io);
    sqlite3_stmt *s = begin(l, sql, filter);
    int rc = SQLITE_ERROR;
    while (s && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        ig_ledger_day d = {.day = sqlite3_column_int64(s, 0),
                           .user = text_at(s, 1),
                           .group = text_at(s, 2),
                           .app = text_at(s, 3),
                           .model = text_at(s, 4),
                           .digest = text_at(s, 5),
                           .usage = {number_at(s, 6), number_at(s, 7), number_at(s, 8), number_at(s, 9),
                                     number_at(s, 10), number_at(s, 11), number_at(s, 12), number_at(s, 13)}};
        if (!each(ctx, &d)) break;
    }
    return end(l, s, rc, err);
}

static void read_item(sqlite3_stmt *s, const char *texts[IG_LT_COUNT], int64_t numbers[IG_LN_COUNT])
{
    for (int i = 0; i < IG_LT_COUNT; i++) texts[i] = text_at(s, i);
    for (int i = 0; i < IG_LN_COUNT; i++) numbers[i] = sqlite3_column_int64(s, IG_LT_COUNT + i);
    if (sqlite3_column_type(s, IG_LT_COUNT + IG_LN_ENERGY_UJ) == SQLITE_NULL) numbers[IG_LN_ENERGY_UJ] = -1;
}

ig_status ig_ledger_records(ig_ledger *l, const ig_ledger_filter *filter,
                            bool (*each)(void *ctx, const ig_ledger_record *r), void *ctx, ig_error *err)
{
    static const char sql[] = "SELECT " IG_LEDGER_COLUMNS " FROM record" WHERE " ORDER BY seq";
    const char *t[IG_LT_COUNT];
    int64_t n[IG_LN_COUNT];
    pthread_mutex_lock(&l->io);
    sqlite3_stmt *s = begin(l, sql, filter);
    int rc = SQLITE_ERROR;
    while (s && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        read_item(s, t, n);
        for (int i = 0; i < IG_LN_ENERGY_UJ; i++)
            if (n[i] < 0) n[i] = 0;
        ig_ledger_record r = {.id = t[IG_LT_ID],
                              .user = t[IG_LT_USER],
                              .group = t[IG_LT_GROUP],
                              .app = t[IG_LT_APP],
                              .op = t[IG_LT_OP],
                              .model = t[IG_LT_MODEL],
                              .digest = t[IG_LT_DIGEST],
                              .ran_on = t[IG_LT_RAN_ON],
                              .result = t[IG_LT_RESULT],
                              .energy_by = t[IG_LT_ENERGY_BY],
                              .at_ms = n[IG_LN_AT_MS],
                              .n_in = (uint64_t)n[IG_LN_IN],
                              .n_cached = (uint64_t)n[IG_LN_CACHED],
                              .n_out = (uint64_t)n[IG_LN_OUT],
                              .n_reasoning = (uint64_t)n[IG_LN_REASONING],
                              .wait_ms = (uint64_t)n[IG_LN_WAIT_MS],
                              .took_ms = (uint64_t)n[IG_LN_TOOK_MS],
                              .energy_uj = n[IG_LN_ENERGY_UJ]};
        if (!each(ctx, &r)) break;
    }
    return end(l, s, rc, err);
}

/* ------------------------------------------------------------------------------------------------ check */

__attribute__((format(printf, 2, 3))) static void found(ig_ledger_report *r, const char *format, ...)
{
    va_list args;
    if (r->n_problems++) return;
    va_start(args, format);
    vsnprintf(r->first, sizeof r->first, format, args);
    va_end(args);
}

static bool check_database(ig_ledger *l, ig_ledger_report *r)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(l->db, "PRAGMA integrity_check(10)", -1, &s, NULL) != SQLITE_OK) return false;
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        if (strcmp(text_at(s, 0), "ok")) found(r, "the database is damaged: %.180s", text_at(s, 0));
    sqlite3_finalize(s);
    return rc == SQLITE_DONE;
}

static bool check_records(ig_ledger *l, ig_ledger_report *r)
{
    static const char sql[] = "SELECT " IG_LEDGER_COLUMNS ",seq,boot,sum FROM record ORDER BY seq";
    const char *t[IG_LT_COUNT];
    int64_t n[IG_LN_COUNT], last = 0;
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(l->db, sql, -1, &s, NULL) != SQLITE_OK) return false;
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        int at = IG_LT_COUNT + IG_LN_COUNT;
        int64_t seq = sqlite3_column_int64(s, at), sum = sqlite3_column_int64(s, at + 2);
        read_item(s, t, n);
        if (seq != last + 1) found(r, "record %lld follows record %lld", (long long)seq, (long long)last);
        if (sum != ig_ledger_sum(seq, text_at(s, at + 1), t, n))
            found(r, "record %lld was altered: its checksum does not fit", (long long)seq);
        last = seq;
        r->n_records++;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE;
}

/* Days that are not the sums of their records, from both sides. */
static bool check_days(ig_ledger *l, ig_ledger_report *r)
{
    static const char sums[] =
        "WITH a AS (SELECT day,user,grp,app,model,digest,count(*) AS n,sum(n_in),sum(n_cached),sum(n_out),"
        "sum(n_reasoning),sum(took_ms),coalesce(sum(energy_uj),0),count(energy_uj) FROM record GROUP BY 1,2,3,4,5,6),"
        " b AS (SELECT day,user,grp,app,model,digest,n,n_in,n_cached,n_out,n_reasoning,took_ms,energy_uj,n_energy"
        " FROM day) SELECT (SELECT count(*) FROM (SELECT * FROM a EXCEPT SELECT * FROM b)) +"
        " (SELECT count(*) FROM (SELECT * FROM b EXCEPT SELECT * FROM a))";
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(l->db, sums, -1, &s, NULL) != SQLITE_OK) return false;
    bool ok = sqlite3_step(s) == SQLITE_ROW;
    if (ok && sqlite3_column_int64(s, 0))
        found(r, "%llu days are not the sums of their records", (unsigned long long)number_at(s, 0));
    sqlite3_finalize(s);
    return ok;
}

ig_status ig_ledger_check(ig_ledger *l, ig_ledger_report *out, ig_error *err)
{
    *out = (ig_ledger_report){0};
    pthread_mutex_lock(&l->io);
    ig_status st = IG_OK;
    if (!check_database(l, out) || !check_records(l, out) || !check_days(l, out)) st = ig_ledger_failed(l, "read", err);
    pthread_mutex_unlock(&l->io);
    return st;
}

/* ------------------------------------------------------------------------------------------------ forgetting */

/* sum(row) for SQL, so that a change of a text keeps the checksum true: all columns of a record in their order. */
static void sql_sum(sqlite3_context *c, int n, sqlite3_value **v)
{
    const char *t[IG_LT_COUNT];
    int64_t numbers[IG_LN_COUNT];
    if (n != IG_LT_COUNT + IG_LN_COUNT + 2) return;
    for (int i = 0; i < IG_LT_COUNT; i++) {
        const char *z = (const char *)sqlite3_value_text(v[i]);
        t[i] = z ? z : "";
    }
    for (int i = 0; i < IG_LN_COUNT; i++) numbers[i] = sqlite3_value_int64(v[IG_LT_COUNT + i]);
    if (sqlite3_value_type(v[IG_LT_COUNT + IG_LN_ENERGY_UJ]) == SQLITE_NULL) numbers[IG_LN_ENERGY_UJ] = -1;
    int at = IG_LT_COUNT + IG_LN_COUNT;
    const char *boot = (const char *)sqlite3_value_text(v[at + 1]);
    sqlite3_result_int64(c, ig_ledger_sum(sqlite3_value_int64(v[at]), boot ? boot : "", t, numbers));
}

static ig_status rename_user(ig_ledger *l, const char *user, uint64_t *n, ig_error *err)
{
    static const char *const sql[] = {
        "UPDATE record SET user='" FORGOTTEN "' WHERE user=?",
        "UPDATE record SET sum=ig_sum(" IG_LEDGER_COLUMNS ",seq,boot) WHERE user='" FORGOTTEN "' AND ?1 IS NOT NULL",
        "INSERT INTO day(day,user,grp,app,model,digest,n,n_in,n_cached,n_out,n_reasoning,took_ms,energy_uj,n_energy)"
        " SELECT day,'" FORGOTTEN "',grp,app,model,digest,n,n_in,n_cached,n_out,n_reasoning,took_ms,energy_uj,n_energy"
        " FROM day WHERE user=? ON CONFLICT DO UPDATE SET n=n+excluded.n, n_in=n_in+excluded.n_in,"
        " n_cached=n_cached+excluded.n_cached, n_out=n_out+excluded.n_out,"
        " n_reasoning=n_reasoning+excluded.n_reasoning, took_ms=took_ms+excluded.took_ms,"
        " energy_uj=energy_uj+excluded.energy_uj, n_energy=n_energy+excluded.n_energy",
        "DELETE FROM day WHERE user=?",
    };
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        sqlite3_stmt *s;
        if (sqlite3_prepare_v2(l->db, sql[i], -1, &s, NULL) != SQLITE_OK) return ig_ledger_failed(l, "changed", err);
        sqlite3_bind_text(s, 1, user, -1, SQLITE_STATIC);
        int rc = sqlite3_step(s);
        sqlite3_finalize(s);
        if (rc != SQLITE_DONE) return ig_ledger_failed(l, "changed", err);
        if (i == 0) *n = (uint64_t)sqlite3_changes64(l->db);
    }
    return IG_OK;
}

ig_status ig_ledger_forget(ig_ledger *l, const char *user, uint64_t *n, ig_error *err)
{
    *n = 0;
    if (!*user || !strcmp(user, FORGOTTEN)) return ig_fail(err, IG_BAD_INPUT, 0, "name the user to be forgotten");
    IG_TRY(ig_ledger_commit(l, err));
    pthread_mutex_lock(&l->io);
    sqlite3_create_function(l->db, "ig_sum", IG_LT_COUNT + IG_LN_COUNT + 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                            sql_sum, NULL, NULL);
    ig_status st = ig_ledger_exec(l, "BEGIN IMMEDIATE", err);
    if (st == IG_OK) st = rename_user(l, user, n, err);
    if (st == IG_OK) st = ig_ledger_exec(l, "COMMIT", err);
    if (!sqlite3_get_autocommit(l->db)) (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
    /* secure_delete wipes pages; VACUUM the slack within them; the log of changes goes last. */
    if (st == IG_OK) st = ig_ledger_exec(l, "VACUUM;PRAGMA wal_checkpoint(TRUNCATE)", err);
    pthread_mutex_lock(&l->lock);
    l->stale = true;
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_unlock(&l->io);
    return st;
}
