/* The ledger: what was used, by whom, with which model, for how long and with how much energy. One SQLite database in
 * WAL mode with one row a request (`record`) and one a day, user, group, application and model (`day`).
 *
 * Records are taken into memory at once and written together: a commit is one transaction, and what it has returned OK
 * for is on the disk. The id of a request is booked once, however often it is given. Every record has a number without
 * gaps and a checksum; ig_ledger_check reads everything. Days are those of UTC. Texts are cut to what the columns of
 * ig_ledger_record name. Numbers are whole: tokens, milliseconds, microjoules.
 *
 * One process or several may have it open. Functions are for any thread unless they say otherwise. */
#ifndef IG_ROUTE_LEDGER_H
#define IG_ROUTE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "route/price.h"

enum { IG_LEDGER_VERSION = 2, IG_LEDGER_WAITING_MAX = 100000, IG_LEDGER_TEXT_BYTES = 128 };

typedef struct ig_ledger ig_ledger;

typedef struct ig_ledger_options {
    bool read_only;
    int64_t (*clock_ms)(void); /* wall time; NULL: ig_clock_ms */
    const char *vfs;           /* NULL: the standard one; tests put a faulty disk here */
} ig_ledger_options;

/* One finished request. Texts are borrowed, NULL is "", at most IG_LEDGER_TEXT_BYTES - 1 bytes count. */
typedef struct ig_ledger_record {
    const char *id, *user, *group, *app, *op, *model, *digest, *ran_on, *result;
    uint64_t n_in, n_cached, n_out, n_reasoning; /* n_in with the cached ones, n_out with the reasoning */
    uint64_t wait_ms, took_ms;
    int64_t at_ms;         /* wall time of its end; 0: now */
    int64_t energy_uj;     /* below 0: no meter */
    const char *energy_by; /* "rapl", "battery" */
} ig_ledger_record;

/* Errors: BAD_INPUT (no ledger, of a newer version: it is not changed), NOT_FOUND (read_only), IO. Older versions are
 * brought up to date, in one transaction. */
ig_status ig_ledger_open(const char *path, const ig_ledger_options *options, ig_ledger **out, ig_error *err);
/* Into memory; counts for ig_ledger_today from now on. Never waits for the disk. TOO_LARGE where so many wait that
 * commits must have failed for long. */
ig_status ig_ledger_add(ig_ledger *l, const ig_ledger_record *r, ig_error *err);
/* Returns when all records added before are on the disk. IO: none of those that wait is promised; they are kept, and
 * the next commit tries again. */
ig_status ig_ledger_commit(ig_ledger *l, ig_error *err);
/* True when 100 records wait or the oldest has waited for a second. */
bool ig_ledger_due(ig_ledger *l);
bool ig_ledger_sound(ig_ledger *l); /* the last commit succeeded */
/* Commits and closes; NULL is fine. */
void ig_ledger_close(ig_ledger *l);

typedef struct ig_usage {
    uint64_t n, n_in, n_cached, n_out, n_reasoning, took_ms, energy_uj;
    uint64_t n_energy; /* requests whose energy is known */
} ig_usage;

/* What was used today; NULL stands for all. From memory, also what no commit has written yet: quotas read this. */
void ig_ledger_today(ig_ledger *l, const char *user, const char *group, const char *model, ig_usage *out);

/* ---- reading: one thread at a time for each ledger ---- */

typedef enum ig_ledger_by { IG_BY_ALL, IG_BY_DAY, IG_BY_USER, IG_BY_GROUP, IG_BY_APP, IG_BY_MODEL } ig_ledger_by;

typedef struct ig_ledger_filter {
    int64_t since_day, until_day; /* both included; 0 and 0: all */
    const char *user, *model;     /* NULL: all */
} ig_ledger_filter;

/* A day of one user, group, application and model. Texts are valid during the call. */
typedef struct ig_ledger_day {
    int64_t day;
    const char *user, *group, *app, *model, *digest;
    ig_usage usage;
} ig_ledger_day;

/* In the order of day, user, group, app, model; false from each ends the walk. */
ig_status ig_ledger_days(ig_ledger *l, const ig_ledger_filter *filter, bool (*each)(void *ctx, const ig_ledger_day *d),
                         void *ctx, ig_error *err);
/* Single requests in the order of their numbers. Texts are valid during the call. */
ig_status ig_ledger_records(ig_ledger *l, const ig_ledger_filter *filter,
                            bool (*each)(void *ctx, const ig_ledger_record *r), void *ctx, ig_error *err);

typedef struct ig_ledger_report {
    uint64_t n_records, n_problems;
    char first[256]; /* problem, "" */
} ig_ledger_report;
/* Reads all: the database's own check, numbers, checksums, and that the days are the sums of their records. */
ig_status ig_ledger_check(ig_ledger *l, ig_ledger_report *out, ig_error *err);

/* Takes the user's name out of every record and day (it becomes "forgotten"), so that no byte of it stays in the file;
 * what was used stays. *n: records changed. */
ig_status ig_ledger_forget(ig_ledger *l, const char *user, uint64_t *n, ig_error *err);

/* ---- report.c: for the company's own systems ---- */

/* CSV with the columns of FOCUS 1.2, a line for each row of `day`. Local inference has no price, so pricing columns are
 * empty; tokens and joules stand in x_ columns, as does what the first fitting price would have made of them. Costs:
 * BilledCost 0, EffectiveCost the electricity where its price is known. prices may be NULL. */
ig_status ig_ledger_focus(ig_ledger *l, const ig_ledger_filter *filter, const ig_prices *prices, ig_buf *out,
                          ig_error *err);
/* OTLP/JSON (ExportMetricsServiceRequest) with gen_ai.client.token.usage and gen_ai.client.operation.duration as
 * histograms and ingle.energy as a sum, by model and operation; time stamps are the first and last record's. */
ig_status ig_ledger_otlp(ig_ledger *l, const ig_ledger_filter *filter, const char *version, ig_buf *out, ig_error *err);

#endif
