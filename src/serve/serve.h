/* Face of the front: the process that listens. It speaks HTTP, knows who asks, translates dialects, starts one worker
 * for each loaded model and keeps them within a memory budget. It never reads a model file itself. */
#ifndef IG_SERVE_SERVE_H
#define IG_SERVE_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "store/store.h"

/* A model that lies in files outside the store. */
typedef struct ig_front_file {
    const char *name; /* NULL: made from the file's name */
    const char *path;
} ig_front_file;

/* 0 or NULL stands for the value in the comment. All borrowed until ig_front_run returns. */
typedef struct ig_front_config {
    const char *program; /* path of ingle; /proc/self/exe */
    const char *version;
    const char *const *listen; /* addresses as in serve/server.h; the standard ones */
    size_t n_listen;
    const char *const *hosts; /* further names in Host */
    size_t n_hosts;
    const char *const *origins; /* pages that may ask */
    size_t n_origins;
    const char *tls_cert, *tls_key;
    bool require_keys;  /* ask everybody who comes over TCP for a key of `ingle key add`, also on this computer */
    const char *policy; /* folder of the configuration; NULL: INGLE_CONFIG, else /etc/ingle */
    const char *store;  /* folder of the store; NULL: none */
    const ig_front_file *models;
    size_t n_models;
    const char *default_model; /* answers where a client names none or a name of its own; the only one there is */
    uint64_t memory_max;       /* bytes for all workers; 3/4 of what is available at the start */
    uint32_t n_threads;        /* of a worker; all usable cores */
    uint32_t n_ctx;            /* tokens of a conversation; what the model was trained on, at most 32768 */
    uint32_t n_parallel;       /* conversations at once of one model; 4 */
    uint32_t n_queue;          /* requests that may wait, all together; 512 */
    const char *kv;            /* f32, f16, q8_0; f16 */
    uint64_t spill_max;        /* bytes on disk for idle conversations, of each worker; 0: none */
    const char *speculate;     /* off, ngram, head, draft, auto; auto */
    bool keep_alive_set;
    int64_t keep_alive_ms; /* how long an unused model stays; < 0 for ever; 5 minutes when not set */
    uint32_t stop_ms;      /* running answers may finish within; 20000 */
    const char *pressure;  /* a file like /proc/pressure/memory, which is the standard; for tests */
    const char *ledger;    /* file; "none"; NULL: state/ledger.db in the store, and a warning where that cannot be */
    const char *audit;     /* folder; "none"; NULL: state/audit in the store, likewise */
    bool audit_required;   /* what cannot be audited is refused with 503 */
    bool audit_journal;    /* records also go to syslog */
    const char *meters;    /* a folder like /sys, for tests */
    bool quiet;
    void (*say)(void *ctx, const char *line); /* what an operator should read; NULL: standard error */
    void *say_ctx;
} ig_front_config;

/* Serves until SIGTERM or SIGINT. Errors: what keeps the service from starting. */
ig_status ig_front_run(const ig_front_config *config, ig_error *err);

/* Whether a model can be used, asked of a sandboxed worker before its name becomes visible.
 * For ig_check: ctx is the path of this program (char *), NULL: /proc/self/exe. Starts a worker that loads the model as
 * the service would (plan built, shapes checked, tokenizer and template read) and ends. Appends what it found out to
 * about. Blocks; any thread. Errors: the worker's own sentence; IO where it died. */
ig_status ig_model_check(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err);

/* A catalogue as policy reads it: the grants of a target lie side by side, models.item[0] is its name and item[1] its
 * digest; rules are called NAME:ID. expired: its models are for nobody any more. The grants borrow from the catalogue.
 * Pure. Errors: TOO_LARGE. */
struct ig_catalogue;
struct ig_grant;
typedef struct ig_grants {
    ig_arena arena;
    const struct ig_grant *list; /* [n] */
    size_t n;
} ig_grants;
ig_status ig_grants_of(const struct ig_catalogue *c, const char *name, bool expired, ig_grants *out, ig_error *err);
void ig_grants_free(ig_grants *g);
/* Whether such a grant is about the model of this name or digest (64 digits); either may be NULL. */
bool ig_grant_is_about(const struct ig_grant *g, const char *name, const char *digest);
/* Copies of the grants that count for a model, into *list (grown as needed, *cap entries; the caller frees) [*n]: those
 * of targets of its name, and where there is none, of targets with its digest, so that copies under another name stay
 * as closed as the original. False: out of memory. */
bool ig_grants_pick(const ig_grants *const *sets, size_t n_sets, const char *name, const char *digest,
                    struct ig_grant **list, size_t *cap, size_t *n);

#endif
