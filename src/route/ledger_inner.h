/* Private to the ledger. */
#ifndef IG_ROUTE_LEDGER_INNER_H
#define IG_ROUTE_LEDGER_INNER_H

#include <pthread.h>
#include <sqlite3.h>

#include "ledger.h"

/* The texts of a record, in the order of the columns. */
typedef enum ig_ledger_text {
    IG_LT_ID,
    IG_LT_USER,
    IG_LT_GROUP,
    IG_LT_APP,
    IG_LT_OP,
    IG_LT_MODEL,
    IG_LT_DIGEST,
    IG_LT_RAN_ON,
    IG_LT_RESULT,
    IG_LT_ENERGY_BY,
    IG_LT_COUNT
} ig_ledger_text;

typedef enum ig_ledger_number {
    IG_LN_AT_MS,
    IG_LN_MONO_MS,
    IG_LN_DAY,
    IG_LN_IN,
    IG_LN_CACHED,
    IG_LN_OUT,
    IG_LN_REASONING,
    IG_LN_WAIT_MS,
    IG_LN_TOOK_MS,
    IG_LN_ENERGY_UJ, /* < 0: NULL */
    IG_LN_COUNT
} ig_ledger_number;

typedef struct ig_ledger_item {
    char text[IG_LT_COUNT][IG_LEDGER_TEXT_BYTES];
    int64_t number[IG_LN_COUNT];
} ig_ledger_item;

typedef struct ig_ledger_items {
    ig_ledger_item *p; /* owned [cap] */
    size_t n, cap;
} ig_ledger_items;

/* What one user, group and model used today. */
typedef struct ig_ledger_row {
    uint64_t user_hash, group_hash, model_hash;
    char user[IG_LEDGER_TEXT_BYTES], group[IG_LEDGER_TEXT_BYTES], model[IG_LEDGER_TEXT_BYTES];
    ig_usage usage;
} ig_ledger_row;

struct ig_ledger {
    int64_t (*clock_ms)(void);
    char boot[64];
    pthread_mutex_t lock; /* what follows, up to io */
    ig_ledger_items waiting;
    uint64_t since_ns; /* the oldest of them waits */
    int64_t today;     /* day of rows */
    bool stale;        /* rows miss what the database has of the day */
    ig_ledger_row *rows;
    size_t n_rows, cap_rows;
    bool sound;
    pthread_mutex_t io; /* held while the database is used */
    sqlite3 *db;
    ig_ledger_items writing; /* what the next transaction holds */
};

ig_status ig_ledger_failed(ig_ledger *l, const char *doing, ig_error *err);
/* Checksum of a record with its number; texts [IG_LT_COUNT]. */
int64_t ig_ledger_sum(int64_t seq, const char *boot, const char *const *texts, const int64_t *numbers);
ig_status ig_ledger_exec(ig_ledger *l, const char *sql, ig_error *err);

#define IG_LEDGER_COLUMNS                                                                                              \
    "id,user,grp,app,op,model,digest,ran_on,result,energy_by,at_ms,mono_ms,day,n_in,n_cached,n_out,n_reasoning,"       \
    "wait_ms,took_ms,energy_uj"

#endif
