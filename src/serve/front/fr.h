/* What the parts of the front share: private to src/serve/front. Everything runs in the loop's thread. */
#ifndef IG_SERVE_FR_H
#define IG_SERVE_FR_H

#include <jansson.h>
#include <sys/types.h>

#include "ipc/ipc.h"
#include "route/ledger.h"
#include "serve/dialect/dialect.h"
#include "serve/loop.h"
#include "serve/serve.h"
#include "serve/server.h"
#include "store/store.h"

#define FR_NS_PER_MS UINT64_C(1000000)
#define FR_NS_PER_S  UINT64_C(1000000000)

enum {
    FR_PING_MS = 10000,   /* silence after which a stream gets a sign of life */
    FR_SILENT_MS = 30000, /* a worker that says nothing for so long is dead */
    FR_CRASHES = 3,       /* a model whose worker crashes so often in FR_CRASHES_MS is set aside */
    FR_CRASHES_MS = 600000,
    FR_QUARANTINE_MS = 60000,
    FR_FILES_MAX = 200, /* of one model */
    FR_USER_BYTES = 96
};

typedef struct fr_front fr_front;
typedef struct fr_worker fr_worker;
typedef struct fr_job fr_job;
typedef struct fr_account fr_account;
typedef struct fr_books fr_books;
typedef struct fr_digests fr_digests;

/* ---- catalog.c: models by name. Entries are counted: a worker may outlive the name. ---- */

typedef struct fr_entry {
    unsigned refs;
    struct fr_entry *next;
    bool gone; /* no longer listed */
    char *name;
    char *digest; /* 64 hex digits, "" where nobody has computed it; borrow it for no longer than a call */
    int spill;    /* 1 + the descriptor of the file for its idle conversations, which outlives workers; 0: none */
    char *stamp;  /* of files outside the store: what they are on the disk (digest.c); or NULL */
    char **paths, **files; /* [n_files] where they lie, and their names for the worker */
    size_t n_files;
    uint64_t size_bytes, modified_ns;
    ig_manifest *manifest;                           /* owned; NULL: files outside the store */
    json_t *parameters;                              /* the model's own defaults, Ollama names; or NULL */
    json_t *messages;                                /* that every conversation begins with, {role, content}; or NULL */
    char *template_text, *system, *license, *parent; /* or NULL */
    json_t *engine;                /* owned: of another engine, which has its own models (engines.c); or NULL */
    json_t *facts;                 /* READY of a worker: what only a reader of the file knows; NULL until one has run */
    uint64_t crash_ns[FR_CRASHES]; /* of its workers, the last one first; 0: none */
    unsigned n_quarantines;
    uint64_t quarantine_ns; /* not before then */
    char fault[512];        /* why */
} fr_entry;

ig_status fr_catalog_open(fr_front *f, ig_error *err);
void fr_catalog_close(fr_front *f);
/* Looks into the store again, at most once a second unless forced. */
void fr_catalog_refresh(fr_front *f, bool force);
/* A reference, or NULL and *p. name NULL or "": the default model. any: an unknown name means it as well. */
fr_entry *fr_catalog_find(fr_front *f, const char *name, bool any, ig_problem *p);
/* The model that was used last among those that are loaded, that the caller may see and that have the capability
 * (NULL: any of our own workers); borrowed, or NULL. */
fr_entry *fr_catalog_latest(fr_front *f, const char *capability);
/* The entry of this name, borrowed, or NULL; looks into no store. */
const fr_entry *fr_catalog_look(const fr_front *f, const char *name);
fr_entry *fr_entry_ref(fr_entry *e);
void fr_entry_unref(fr_entry *e);
/* The files that a worker needs: descriptors (the caller's) into fds [FR_FILES_MAX], their names (borrowed from the
 * entry). On failure none stays open. */
ig_status fr_entry_open(const fr_front *f, const fr_entry *e, int *fds, const char **names, size_t *n, ig_error *err);

/* ---- engines.c: engines that are not ours, from the configuration. ---- */

/* Takes the configured engines into the catalogue, again after a reload. */
void fr_engines_refresh(fr_front *f);
/* The engine that runs this model (borrowed), NULL: our own worker does. */
const json_t *fr_engine_of(const fr_front *f, const fr_entry *e);

/* ---- drafts.c: smaller models that guess for others. ---- */

/* The name of the one that the configuration gives this model, NULL: none. */
bool fr_shares_cache(const fr_front *f, const fr_entry *e); /* [model NAME] share_cache = yes */
const char *fr_draft_name(const fr_front *f, const fr_entry *e);
/* The same as an entry (borrowed), NULL also where there is no model of this name. */
const fr_entry *fr_draft_of(const fr_front *f, const fr_entry *e);
/* Its files as fr_entry_open; none is no error, one that is not there is. */
ig_status fr_draft_open(const fr_front *f, const fr_entry *e, int *fds, const char **names, size_t *n, ig_error *err);
/* After a reload: workers whose smaller model is another one now go when they are through. */
void fr_drafts_refresh(fr_front *f);

/* ---- pins.c: models that stay. ---- */

void fr_pins_open(fr_front *f);
/* Loads those that are not there. */
void fr_pins_load(fr_front *f);
bool fr_is_pinned(const fr_front *f, const fr_entry *e);
uint64_t fr_pins_bytes(const fr_front *f, const fr_entry *but); /* of all pinned models but this one */
/* False: pinned models leave less than need_bytes for e; why [n] says so in numbers. */
bool fr_pins_leave_room(const fr_front *f, const fr_entry *e, uint64_t need_bytes, char *why, size_t n);
void fr_pins_request(fr_front *f, ig_exchange *ex, const ig_incoming *in); /* POST /ingle/pin */

/* ---- pool.c: workers. ---- */

typedef enum fr_state { FR_WAITING, FR_LOADING, FR_READY, FR_DRAINING, FR_DEAD } fr_state;

typedef struct fr_call { /* a frame under way */
    uint64_t id;
    fr_job *job; /* NULL: the client has gone, the end is still to come */
    size_t part;
    struct fr_call *next;
    fr_account *account;     /* counted; or NULL */
    uint64_t n_in, n_cached; /* of the prompt, as far as they are booked */
} fr_call;

/* Until when a model stays for a user, after the last use. */
typedef struct fr_hold {
    char user[FR_USER_BYTES];
    int64_t ms; /* < 0: for ever */
    uint64_t used_ns;
} fr_hold;

struct fr_worker {
    fr_front *front;
    fr_worker *next;
    fr_entry *entry;
    fr_state state;
    pid_t pid;
    ig_channel ch;
    ig_watch watch;
    bool wants_out;
    ig_timer silence, expiry;
    bool pinned;
    json_t *engine;  /* owned: what runs this model is not ours; or NULL */
    bool shares;     /* users share what was computed for prompts */
    bool leaves;     /* its file for conversations is the entry's */
    char draft[256]; /* name of the smaller model that it was started with, "": none */
    bool wanted;     /* of a probe: the model is loaded when it is known */
    bool probe;      /* reads what the file says about itself, and ends */
    fr_hold *holds;  /* [n_holds] */
    size_t n_holds;
    uint64_t asked_ns, ready_ns, used_ns, expires_ns; /* expires_ns 0: never */
    uint64_t need_bytes;                              /* estimate, then what the worker said */
    uint64_t rss_bytes;
    uint64_t ooms; /* kills for want of memory on this machine before it started */
    uint32_t n_ctx, running, waiting, kv_used, kv_total;
    uint64_t tokens_generated, tokens_prompt;
    double share; /* of loading */
    fr_call *calls;
    size_t n_calls;
    fr_job *jobs_first, *jobs_last; /* wait for READY */
    char fault[512];                /* of a load that failed */
    unsigned fault_status;          /* ig_problem_kind */
    json_t *ready;
};

/* ---- holds.c: how long a model stays, for whom. ---- */

/* A request of this user has ended or said how long; said_ms NULL: as before, or the service's standard. < 0: for ever.
 */
void fr_hold_use(fr_worker *w, const char *user, const int64_t *said_ms);
void fr_hold_drop(fr_worker *w, const char *user); /* NULL: all */
/* When the last one ends, of the loop's clock; UINT64_MAX: never. Without any the standard counts from the last use. */
uint64_t fr_hold_end(const fr_worker *w);
/* Somebody else holds it, or has a request that runs or waits. */
bool fr_hold_of_others(const fr_worker *w, const char *user);

/* The worker of this model, started if need be; NULL and *p where it cannot be had. */
fr_worker *fr_pool_want(fr_front *f, fr_entry *e, ig_problem *p);
fr_worker *fr_pool_find(fr_front *f, const fr_entry *e);
/* Loads it where there is memory beside all others, until somebody else needs the room; false: there is not. */
bool fr_pool_preload(fr_front *f, fr_entry *e);
/* A short-lived worker that reads the entry's facts, one for all who ask. */
fr_worker *fr_pool_probe(fr_front *f, fr_entry *e, ig_problem *p);
/* Sends one frame for a part of a job. */
bool fr_worker_call(fr_worker *w, uint32_t type, fr_job *job, size_t part, const json_t *body, ig_problem *p);
void fr_worker_forget(fr_worker *w, fr_job *job); /* cancels what is under way for it */
void fr_worker_touch(fr_worker *w);               /* its use has ended or begun: the time to stay counts from now */
/* No new work; stops when the work under way is done. */
void fr_worker_drain(fr_worker *w);
void fr_worker_wait(fr_worker *w, fr_job *job); /* the job waits for READY */
void fr_worker_unwait(fr_worker *w, fr_job *job);
void fr_pool_child(fr_front *f);    /* SIGCHLD */
void fr_pool_pressure(fr_front *f); /* memory is short on the machine: let idle workers go */
void fr_pool_stop(fr_front *f);
void fr_pool_close(fr_front *f);
uint64_t fr_pool_bytes(const fr_front *f);

/* spawn.c: starts `program worker` with fd as descriptor 3 and nothing else; -1 with errno. engine: its name, where the
 * worker is a bridge to an engine that is not ours; NULL. */
pid_t fr_spawn_worker(const char *program, const char *engine, int fd);

/* ---- job.c: one request of a client. ---- */

/* What an exchange's context is: whoever has to know that the client went away. */
typedef struct fr_party {
    void (*gone)(struct fr_party *party);
} fr_party;

struct fr_job {
    fr_party party;
    fr_front *front;
    fr_job *next, *prev; /* all jobs */
    fr_job *wait_next;   /* of those that wait for a worker */
    ig_exchange *ex;     /* NULL: the client has gone */
    ig_match match;
    ig_request req;
    bool parsed;
    ig_emit_context context;
    char digest[IG_HEX_LEN + 1]; /* of the model when it was asked */
    ig_emitter *emitter;
    ig_buf out;
    fr_entry *entry;
    json_t *engine; /* owned: what runs it is not ours, as it was configured when it came; or NULL */
    fr_worker *worker;
    bool waiting, begun, sent, ended;
    bool everywhere; /* asks all workers, not its own alone */
    bool may_unload; /* also what others use */
    size_t unread;   /* bytes that came while the client's buffer was full */
    size_t n_left;   /* parts whose end is still to come */
    uint64_t came_ns, wall_ns;
    ig_timer ping, deadline;
    char id[32];
    char user[FR_USER_BYTES], budget[FR_USER_BYTES];
    uint64_t reserved;              /* tokens of the day, for its answers */
    uint32_t n_ctx_max, output_max; /* tokens that policy lets it have; UINT32_MAX: no limit */
    char n_ctx_rule[64];            /* which says so */
    fr_account *account;            /* or NULL */
    struct fr_notice *notice;       /* it waits until the audit log has it; or NULL */
};

/* A request that needs a model. */
void fr_job_start(fr_front *f, ig_exchange *ex, const ig_match *match, const ig_incoming *in);
void fr_job_announced(fr_job *job, const ig_problem *p); /* the audit log has it; p: or cannot */
void fr_job_ready(fr_job *job);                          /* its worker is */
void fr_job_event(fr_job *job, size_t part, ig_event type, const json_t *body);
void fr_job_fail(fr_job *job, const ig_problem *p);
void fr_job_drop_all(fr_front *f);

/* ---- digest.c: digests of files outside the store. ---- */

void fr_digests_open(fr_front *f); /* what was known before holds at once */
void fr_digests_close(fr_front *f);
void fr_digest_opened(fr_front *f, fr_entry *e, const int *fds, size_t n); /* these are what a worker gets */
void fr_digest_want(fr_front *f, fr_entry *e);                             /* it is loaded: time to find it out */

/* ---- account.c: ledger and audit log. An account may be NULL everywhere. ---- */

ig_status fr_books_open(fr_front *f, ig_error *err);
void fr_books_close(fr_front *f); /* after jobs and workers: writes what waits */
void fr_books_tick(fr_front *f);  /* energy since the last call is shared out; every second while workers live */
/* False: what cannot be audited is not answered. (What it can be is in the log before it is begun: see announce.) */
bool fr_books_ready(fr_front *f, ig_problem *p);
/* What was used today; NULL stands for all. False: there is no ledger. */
bool fr_books_usage(fr_front *f, const char *user, const char *group, const char *model, ig_usage *out);
/* Tokens in and out of this user today, as the ledger knows them; 0 without one. */
uint64_t fr_books_today(const fr_front *f, const char *user);
void fr_account_begin(fr_job *job, const ig_incoming *in);
void fr_account_end(fr_job *job);                /* the job is freed; calls under way may keep the account */
fr_account *fr_account_ref(fr_account *account); /* for a call that goes to a worker: from now on it is booked */
void fr_account_unref(fr_account *account);
void fr_account_result(fr_account *account, const char *result); /* the first one stays */
/* The rule that allowed it, and the group whose quota it counts for; either may be NULL. */
void fr_account_decided(fr_account *account, const char *rule, const char *group);
/* With --audit-required nothing is begun that is not in the log: false where the job waits for that, and
 * fr_job_announced is called. */
bool fr_account_announce(fr_job *job);
void fr_account_unannounce(fr_job *job); /* it goes away */
/* pull, push, create, copy, delete: recorded when asked for. False: it waits, and fr_request_announced is called. */
bool fr_account_admin(fr_front *f, ig_exchange *ex, const ig_incoming *in, const ig_request *req);
/* What the service did by itself for a catalogue: op "fetch" or "remove". */
void fr_account_follow(fr_front *f, const char *op, const char *model, const char *digest, const char *rule,
                       const char *result);
/* rule: id of the rule that decided, or NULL. */
void fr_account_refuse(fr_account *account, const ig_problem *p, const char *rule);
void fr_account_denied(fr_front *f, const ig_incoming *in, const ig_problem *p); /* before there was a job */
void fr_account_event(fr_worker *w, uint64_t call, ig_event type, const json_t *body);

/* ---- content.c: prompts and answers for the audit log, where policy says so. NULL is fine everywhere. ---- */
typedef struct fr_content fr_content;
bool fr_content_on(const fr_front *f);
fr_content *fr_content_new(void);
void fr_content_free(fr_content *c);
size_t fr_content_bytes(const fr_content *c);
void fr_content_ask(fr_content *c, const json_t *parts); /* of the worker's request */
void fr_content_delta(fr_content *c, size_t part, const json_t *body);
ig_str fr_content_prompt(const fr_content *c);
ig_str fr_content_answer(fr_content *c); /* once, at the end */

/* ---- answer.c ---- */

/* Header fields that every answer has, put together in fields[FR_FIELDS_MAX]; texts in scratch. */
enum { FR_FIELDS_MAX = 12 };
typedef struct fr_fields {
    ig_http_field field[FR_FIELDS_MAX];
    size_t n;
    char retry[24], allow[64], id[25];
} fr_fields;
/* request_id NULL: a new one. type NULL: no body. */
void fr_fields_begin(const fr_front *f, fr_fields *x, const ig_exchange *ex, const char *type, const char *request_id);
/* What the server itself refuses, in the dialect's form where the path is known; ctx: the front. */
void fr_refused(void *ctx, ig_own_answer *r);
void fr_fields_add(fr_fields *x, const char *name, const char *value);
void fr_fields_problem(fr_front *f, fr_fields *x, const ig_problem *p, unsigned status);
void fr_answer_problem(fr_front *f, ig_exchange *ex, const ig_route *route, const ig_problem *p);
/* Frees the buffer. */
void fr_answer(fr_front *f, ig_exchange *ex, unsigned status, const char *type, ig_buf *body);
void fr_answer_json(fr_front *f, ig_exchange *ex, unsigned status, json_t *body); /* takes the reference */
void fr_new_id(char out[25]);

/* ---- local.c, manage.c, admin.c: what the front answers by itself ---- */

typedef void (*fr_local_fn)(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req);
fr_local_fn fr_local_of(ig_op op); /* NULL: the op needs a worker */
/* Whether the caller may ask at all; fills the problem. */
bool fr_admit(fr_front *f, const ig_incoming *in, const ig_match *match, ig_problem *p);
/* Anybody may ask whether the service lives. */
bool fr_is_public(const ig_match *match);
/* all: what the worker says of the file where everything is asked for, or NULL. */
void fr_show(fr_front *f, ig_exchange *ex, const fr_entry *e, const json_t *all);
bool fr_may_manage(const fr_front *f, const ig_identity *who);
/* Before a management call is carried out: is the same user's socket still at the other end? */
bool fr_still_there(const ig_exchange *ex, ig_problem *p);
/* POST /api/blobs/DIGEST: the body goes to the store as it comes. */
void fr_blob_begin(fr_front *f, ig_exchange *ex, const ig_match *match, ig_body_plan *plan);
void fr_blob_end(fr_front *f, ig_exchange *ex);
void fr_blob_head(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req);
/* PULL, PUSH, CREATE, COPY, DELETE; takes the request over. */
void fr_manage(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req);
void fr_tasks_stop(fr_front *f); /* cancels and waits */
/* Collects the store's garbage in a thread of its own, now and once a day. */
void fr_gc_start(fr_front *f);
void fr_gc_stop(fr_front *f);
/* Paths under /ingle/. False: not one of them. */
bool fr_admin(fr_front *f, ig_exchange *ex, const ig_incoming *in);
/* Is it one of them? Then methods is what the path takes. */
bool fr_admin_knows(ig_str path, char *methods, size_t n);
/* Of the models that the caller may see; new references, NULL without memory. */
json_t *fr_status(fr_front *f);
json_t *fr_worker_status(const fr_worker *w);

/* ---- reach.c ---- */

/* {"callers": [{"address","who"}], "models", "changes", "hosts", "origins"}: sentences for people; new. */
json_t *fr_reach(fr_front *f);
/* The first three things to try, as they can be typed. */
void fr_reach_say(fr_front *f);

/* ---- events.c ---- */

void fr_events_begin(fr_front *f, ig_exchange *ex);
void fr_events_model(fr_front *f, const fr_worker *w); /* its state has changed */
void fr_events_status(fr_front *f);                    /* once a second */
void fr_events_stop(fr_front *f);                      /* says goodbye to all who watch */
void fr_events_drop_all(fr_front *f);
void fr_metrics(fr_front *f, ig_buf *out);

/* ---- policy.c ---- */

typedef enum fr_key_state { FR_KEY_NONE, FR_KEY_GOOD, FR_KEY_WRONG, FR_KEY_WAIT } fr_key_state;
/* The key of `ingle key add` that the request brings; WAIT: too many wrong ones came from there. wanted: without one
 * the caller is nobody, so that any text is a try; else only what looks like a key of ours is. */
fr_key_state fr_policy_key(fr_front *f, const ig_incoming *in, bool wanted, unsigned *wait_s);
bool fr_keys_exist(const fr_front *f);

ig_status fr_policy_open(fr_front *f, ig_error *err);
void fr_policy_close(fr_front *f);
void fr_policy_reload(void *front); /* SIGHUP; a bad file leaves the old policy in force (M23) */
/* The rule that refused the request being handled; NULL: none has. */
const char *fr_policy_rule(const fr_front *f);
/* For those who follow catalogues. */
struct ig_directory;
struct ig_directory_call;
struct ig_person;
struct ig_keys;
struct ig_config;
struct ig_directory *fr_policy_directory(fr_front *f);
const struct ig_keys *fr_policy_keys(fr_front *f); /* as they are now; NULL: none */
const struct ig_config *fr_policy_config(const fr_front *f);
const char *fr_policy_machine(const fr_front *f);
/* Something has to be decided: a policy, assignments, or a key with bounds. */
bool fr_policy_on(const fr_front *f);
const struct ig_config *fr_config(const fr_front *f); /* in force; borrowed until the next reload */
/* What catalogues assign, as ig_grants_of makes it; [n] sets, borrowed until the next call. With one there is a
 * policy. */
void fr_policy_assign(fr_front *f, const ig_grants *const *sets, size_t n);
/* Between begin (or enter) and leave fr_may and fr_sees speak of the caller of this request. False: the caller's groups
 * are being looked up, and fr_request is called when they are there. */
bool fr_policy_begin(fr_front *f, ig_exchange *ex, const ig_incoming *in);
/* With what is known now; groups that are not count as unknown. */
void fr_policy_enter(fr_front *f, const ig_incoming *in);
void fr_policy_leave(fr_front *f);
/* Between aside and back they speak of another caller, also in the middle of a request; not nested. */
void fr_policy_aside(fr_front *f, const ig_incoming *in);
void fr_policy_back(fr_front *f);

typedef struct fr_request_facts {
    unsigned action;       /* ig_action */
    const fr_entry *entry; /* or NULL: then model, a name, or NULL too */
    const char *model;
    const char *source;          /* of a pull */
    uint32_t n_ctx, output;      /* tokens asked for, 0: not said */
    struct ig_decision *decided; /* NULL, or gets the decision; its rule is "" where nothing was to be decided */
} fr_request_facts;
/* The one decision; false fills the problem, which names the rule. Always true where no policy is configured. */
bool fr_may(fr_front *f, const fr_request_facts *r, ig_problem *p);
bool fr_sees(fr_front *f, const fr_entry *e);
/* Changes the name of the cache's owner where a key of `ingle key` is used. */
void fr_policy_user(const fr_front *f, char *out, size_t n);
/* Whose tokens a request's are, "" where nobody counts; and an event DONE or RESULT of it. */
void fr_policy_budget(const fr_front *f, char out[FR_USER_BYTES]);
/* What is left of the caller's tokens of the day by the last fr_may; UINT64_MAX: no limit. */
uint64_t fr_policy_left(const fr_front *f);
/* Of these, so many are set aside for `choices` answers of `output` tokens (0:
 * not said) until they are released: requests at once do not use the same rest of a day. Returns how long each may
 * become, UINT32_MAX: no limit. */
uint32_t fr_policy_reserve(fr_front *f, const char *user, uint64_t left, uint64_t output, uint64_t choices,
                           uint64_t *reserved);
void fr_policy_release(fr_front *f, const char *user, uint64_t reserved);
void fr_policy_spend(fr_front *f, const char *user, const json_t *done);

/* ---- follow_loop.c: catalogues that this machine follows (follow.h). ---- */

ig_status fr_follow_open(fr_front *f, ig_error *err); /* the last good states are in force from then on */
void fr_follow_start(fr_front *f);
void fr_follow_reload(fr_front *f); /* SIGHUP: other settings, and a sync */
void fr_follow_pause(fr_front *f);  /* the directory is about to go */
void fr_follow_look(fr_front *f);   /* there are other people than before */
void fr_follow_hush(fr_front *f);   /* the end is near: no further download */
void fr_follow_stop(fr_front *f);   /* waits for the thread */
void fr_follow_saw(fr_front *f,
                   const struct ig_person *p); /* has asked, and is therefore one of this machine's people */
void fr_compliance(fr_front *f, ig_exchange *ex, const ig_incoming *in);
void fr_follow_sync(fr_front *f, ig_exchange *ex, const ig_incoming *in);

/* ---- front.c ---- */

/* A request whose caller is known. */
void fr_request(fr_front *f, ig_exchange *ex, const ig_incoming *in);
/* The audit log has what an administrator asked for; problem: or cannot, and nothing is done. */
void fr_request_announced(fr_front *f, ig_exchange *ex, const ig_problem *problem);

typedef struct fr_counts {
    uint64_t requests, answered, refused, gone, failed, workers_started, workers_died, evicted;
} fr_counts;

struct fr_front {
    const ig_front_config *config;
    ig_loop *loop;
    ig_server *server;
    ig_access_rules access;
    fr_entry *entries;
    ig_store *store; /* NULL: none */
    uint64_t scanned_ns;
    struct fr_gc *gc;    /* NULL: nothing collects garbage */
    fr_digests *digests; /* NULL: out of memory */
    struct fr_task *tasks;
    size_t n_tasks;
    fr_worker *workers;
    fr_job *jobs;
    size_t n_jobs;
    uint64_t next_id;
    json_t *pins;    /* owned object: names of pinned models */
    json_t *engines; /* owned array: configured engines that run models of ours */
    uint64_t memory_max;
    uint32_t n_threads, n_ctx, n_parallel, n_queue, stop_ms;
    int64_t keep_alive_ms;
    ig_timer second; /* runs while a worker lives */
    uint64_t seconds;
    bool stopping;
    struct fr_policy *policy; /* owned */
    struct fr_follow *follow; /* owned; NULL: no store that could be written */
    struct fr_watcher *watchers;
    size_t n_watchers;
    ig_timer watchdog;
    uint64_t watchdog_ns; /* systemd wants a sign of life so often; 0: it does not */
    char program[4096];
    uint64_t started_ns;
    fr_counts counts;
    double rate; /* answers a second, smoothed */
    uint64_t rate_ns, rate_n;
    fr_books *books; /* NULL: none are kept */
};

/* Sets the clock of housekeeping, which runs while there are workers. */
void fr_tick(fr_front *f);
void fr_say(fr_front *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t fr_wall_ns(void);
/* Share of the last ten seconds in which something waited for memory, in percent (PSI); 0 where it is not known. */
double fr_memory_pressure(const fr_front *f);

#endif
