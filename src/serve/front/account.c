/* What every finished request leaves behind: a record in the ledger and one in the audit log. The loop only counts and
 * hands accounts to a thread of its own, which waits for the disk. An account outlives its job where a worker still
 * has to tell what it computed for a client that went away. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/disk.h"
#include "base/os.h"
#include "policy/audit.h"
#include "route/ledger.h"
#include "route/meter.h"
#include "serve/front/fr.h"

enum { SEAL_S = 61, GROUP = 100, BACKLOG_MAX = 20000, REFUSALS_A_SECOND = 50, CONTENT_MAX = 64 << 20 };

struct fr_account {
    unsigned refs;
    fr_books *books;
    fr_account *next, *prev; /* those under way; next: also of the queue */
    bool listed, booked, told;
    char id[32], user[FR_USER_BYTES], app[48], op[24], model[IG_LEDGER_TEXT_BYTES], digest[65];
    char kind[16], group[IG_LEDGER_TEXT_BYTES], decision[16], rule[64], result[24], note[160];
    uint64_t n_in, n_cached, n_out, n_reasoning, n_deltas, n_weight;
    uint64_t came_ns, began_ns, ended_ns;
    int64_t ended_ms; /* wall time: the day that it counts for, however late it is written */
    uint64_t energy_uj;
    fr_content *content; /* or NULL */
};

/* What waits until the audit log has it: a job, or an administrator's exchange. */
typedef struct fr_notice {
    fr_party party; /* of the exchange */
    fr_books *books;
    fr_job *job;
    ig_exchange *ex;
    uint64_t seq;
    struct fr_notice *next;
} fr_notice;

struct fr_books {
    fr_front *front;
    ig_ledger *ledger; /* or NULL */
    ig_audit *audit;   /* or NULL */
    bool required;
    ig_meter meter;
    fr_account *running;
    fr_notice *notices;
    uint64_t refusals_s, n_refusals; /* of this second */
    pthread_t thread;
    bool has_thread, unsealed; /* unsealed and n_lost: the thread's own */
    uint64_t n_lost;
    ig_waker waker;
    pthread_mutex_t lock; /* what follows */
    pthread_cond_t some;
    fr_account *first, **last;
    size_t n_waiting, n_content; /* accounts, and bytes of what was asked and answered */
    bool stop;
    bool failed; /* the thread's own */
    uint64_t n_dropped;
    uint64_t announced, tried, durable; /* last record that somebody waits for; that a commit tried; that is there */
    char news[400];                     /* for the operator, said by the loop */
};

/* ------------------------------------------------------------------------------------------------ writer's thread */

static void tell(fr_books *b, const char *text)
{
    pthread_mutex_lock(&b->lock);
    snprintf(b->news, sizeof b->news, "%s", text);
    pthread_mutex_unlock(&b->lock);
    ig_waker_wake(&b->waker);
}

static void free_account(fr_account *a)
{
    fr_content_free(a->content);
    ig_free(a);
}

static void write_ledger(fr_books *b, const fr_account *a)
{
    bool metered = b->meter.how != NULL;
    ig_error err;
    ig_ledger_record r = {.id = a->id,
                          .user = a->user,
                          .group = a->group,
                          .app = a->app,
                          .op = a->op,
                          .model = a->model,
                          .digest = a->digest,
                          .ran_on = "local",
                          .result = a->result,
                          .n_in = a->n_in,
                          .n_cached = a->n_cached,
                          .n_out = a->n_out,
                          .n_reasoning = a->n_reasoning,
                          .wait_ms = a->began_ns > a->came_ns ? (a->began_ns - a->came_ns) / FR_NS_PER_MS : 0,
                          .took_ms = (a->ended_ns - a->came_ns) / FR_NS_PER_MS,
                          .energy_uj = metered ? (int64_t)a->energy_uj : -1,
                          .energy_by = b->meter.how,
                          .at_ms = a->ended_ms};
    if (ig_ledger_add(b->ledger, &r, &err) != IG_OK) b->n_lost++;
}

/* What every record of an account says; what was not measured is -1. The strings live as long as the account. */
static ig_audit_record record_of(const fr_account *a)
{
    bool by_key = !strncmp(a->user, "key:", 4);
    return (ig_audit_record){.kind = a->kind,
                             .request = a->id,
                             .who = a->user,
                             .key = by_key ? a->user + 4 : NULL,
                             .app = a->app,
                             .op = a->op,
                             .model = a->model,
                             .digest = a->digest,
                             .decision = a->decision,
                             .rule = a->rule,
                             .result = a->result,
                             .note = a->note,
                             .n_in = -1,
                             .n_cached = -1,
                             .n_out = -1,
                             .took_ms = -1};
}

static void write_audit(fr_books *b, const fr_account *a)
{
    ig_error err;
    bool known = a->booked;
    ig_audit_record r = record_of(a);
    if (known) {
        r.ran_on = "local";
        r.n_in = (int64_t)a->n_in;
        r.n_cached = (int64_t)a->n_cached;
        r.n_out = (int64_t)a->n_out;
    }
    r.took_ms = (int64_t)((a->ended_ns - a->came_ns) / FR_NS_PER_MS);
    r.prompt = fr_content_prompt(a->content);
    r.answer = fr_content_answer(a->content);
    if (ig_audit_add(b->audit, &r, NULL, &err) != IG_OK) b->n_lost++;
}

/* Those who wait for the audit log hear what became of it. */
static void answer_waiting(fr_books *b, uint64_t tried)
{
    uint64_t durable = ig_audit_durable(b->audit);
    pthread_mutex_lock(&b->lock);
    bool news = tried > b->tried;
    b->tried = tried;
    b->durable = durable;
    pthread_mutex_unlock(&b->lock);
    if (news) ig_waker_wake(&b->waker);
}

static void commit_all(fr_books *b)
{
    ig_error err = {0};
    char text[400];
    bool ok = true;
    pthread_mutex_lock(&b->lock);
    uint64_t tried = b->announced;
    pthread_mutex_unlock(&b->lock);
    bool audited = !b->audit || ig_audit_commit(b->audit, &err) == IG_OK;
    if (audited)
        snprintf(text, sizeof text, "the books are written again");
    else
        snprintf(text, sizeof text, "%.300s%s", err.text, b->required ? "; requests are refused until it can" : "");
    if (b->audit) answer_waiting(b, tried);
    if (b->ledger) ok = ig_ledger_commit(b->ledger, &err) == IG_OK;
    if (!ok && audited) snprintf(text, sizeof text, "%.300s", err.text);
    ok = ok && audited;
    if (ok != b->failed) return; /* nothing new */
    b->failed = !ok;
    tell(b, text);
}

static struct timespec soon(int seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += seconds;
    return t;
}

/* Waits until something is due: somebody who waits for the audit log, a hundred accounts, or a second after the first;
 * a minute after the last the log is sealed, and then nothing wakes the thread. Takes the queue. False: stop, when all
 * is written. */
static bool take_queue(fr_books *b, fr_account **list)
{
    pthread_mutex_lock(&b->lock);
    int rc = 0;
    struct timespec seal = soon(SEAL_S);
    while (!b->first && !b->failed && !b->stop && b->announced <= b->tried && rc != ETIMEDOUT)
        rc = b->unsealed ? pthread_cond_timedwait(&b->some, &b->lock, &seal) : pthread_cond_wait(&b->some, &b->lock);
    struct timespec until = soon(1);
    b->unsealed = rc != ETIMEDOUT;
    while (rc != ETIMEDOUT && b->n_waiting < GROUP && !b->stop && b->announced <= b->tried)
        rc = pthread_cond_timedwait(&b->some, &b->lock, &until);
    *list = b->first;
    b->first = NULL;
    b->last = &b->first;
    b->n_waiting = b->n_content = 0;
    bool go_on = !b->stop;
    pthread_mutex_unlock(&b->lock);
    return go_on;
}

static void *writer(void *ctx)
{
    fr_books *b = ctx;
    for (bool go_on = true; go_on;) {
        fr_account *list;
        go_on = take_queue(b, &list);
        while (list) {
            fr_account *a = list;
            list = a->next;
            if (b->ledger && a->booked) write_ledger(b, a);
            if (b->audit) write_audit(b, a);
            free_account(a);
        }
        commit_all(b);
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ energy */

/* What the meters counted since the last look goes to those who computed, by the tokens that came meanwhile. */
void fr_books_tick(fr_front *f)
{
    fr_books *b = f->books;
    if (!b || !b->meter.how) return;
    uint64_t uj = ig_meter_take(&b->meter, ig_loop_now(f->loop)), weights = 0;
    for (fr_account *a = b->running; a; a = a->next) weights += a->n_weight + 1;
    for (fr_account *a = b->running; a && weights; a = a->next) {
        a->energy_uj += ig_meter_share(&uj, &weights, a->n_weight + 1);
        a->n_weight = 0;
    }
}

static void list(fr_account *a)
{
    fr_books *b = a->books;
    if (a->listed) return;
    fr_books_tick(b->front);
    a->listed = a->booked = true;
    a->began_ns = ig_loop_now(b->front->loop);
    a->prev = NULL;
    a->next = b->running;
    if (b->running) b->running->prev = a;
    b->running = a;
}

static void unlist(fr_account *a)
{
    fr_books *b = a->books;
    if (!a->listed) return;
    fr_books_tick(b->front);
    a->listed = false;
    *(a->prev ? &a->prev->next : &b->running) = a->next;
    if (a->next) a->next->prev = a->prev;
}

/* ------------------------------------------------------------------------------------------------ accounts */

static void put_app(fr_account *a, const ig_incoming *in)
{
    const ig_http_field *agent = ig_http_find(in->head, "x-ingle-app");
    if (!agent) agent = ig_http_find(in->head, "user-agent");
    size_t n = 0;
    for (; agent && n < agent->value.len && n + 1 < sizeof a->app; n++) {
        char c = agent->value.ptr[n];
        bool fine = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("._-", c);
        if (!fine || !c) break;
        a->app[n] = c;
    }
    a->app[n] = 0;
}

static fr_account *new_account(fr_front *f, const ig_incoming *in)
{
    fr_account *a = f->books ? ig_calloc(1, sizeof *a) : NULL;
    if (!a) return NULL;
    a->refs = 1;
    a->books = f->books;
    a->came_ns = ig_loop_now(f->loop);
    put_app(a, in);
    snprintf(a->kind, sizeof a->kind, "request");
    snprintf(a->decision, sizeof a->decision, "allow");
    snprintf(a->result, sizeof a->result, "ok");
    return a;
}

void fr_account_begin(fr_job *job, const ig_incoming *in)
{
    fr_account *a = job->account = new_account(job->front, in);
    if (!a) return;
    snprintf(a->id, sizeof a->id, "%s", job->id);
    if (a->books->audit && fr_content_on(job->front)) a->content = fr_content_new();
}

void fr_account_decided(fr_account *a, const char *rule, const char *group)
{
    if (!a) return;
    snprintf(a->rule, sizeof a->rule, "%s", rule ? rule : "");
    snprintf(a->group, sizeof a->group, "%s", group ? group : "");
}

fr_account *fr_account_ref(fr_account *a)
{
    if (!a) return NULL;
    a->refs++;
    list(a);
    return a;
}

static void hand_over(fr_account *a)
{
    fr_books *b = a->books;
    pthread_mutex_lock(&b->lock);
    bool room = b->n_waiting < BACKLOG_MAX;
    if (room && a->content && b->n_content + fr_content_bytes(a->content) > CONTENT_MAX) {
        fr_content_free(a->content);
        a->content = NULL;
        snprintf(a->note, sizeof a->note, "prompt and answer were left out: too much waits to be written");
    }
    if (room) {
        b->n_content += fr_content_bytes(a->content);
        a->next = NULL;
        *b->last = a;
        b->last = &a->next;
        if (b->n_waiting++ == 0 || b->n_waiting >= GROUP) pthread_cond_signal(&b->some);
    } else
        b->n_dropped++;
    pthread_mutex_unlock(&b->lock);
    if (!room) free_account(a);
}

void fr_account_unref(fr_account *a)
{
    if (!a || --a->refs) return;
    unlist(a);
    a->ended_ns = ig_loop_now(a->books->front->loop);
    a->ended_ms = ig_clock_ms();
    if (a->n_out < a->n_deltas) a->n_out = a->n_deltas; /* the worker died before it could count */
    if (a->told)
        hand_over(a);
    else
        free_account(a);
}

void fr_account_result(fr_account *a, const char *result)
{
    if (a && !strcmp(a->result, "ok")) snprintf(a->result, sizeof a->result, "%s", result);
}

/* Names of the operations as OpenTelemetry has them. */
static const char *op_of(const fr_job *job)
{
    static const char *const names[][2] = {
        {"chat", "chat"}, {"completion", "text_completion"}, {"complete", "text_completion"}, {"embed", "embeddings"}};
    const char *op = json_string_value(json_object_get(json_array_get(job->req.parts, 0), "op"));
    for (size_t i = 0; op && i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i][0], op)) return names[i][1];
    return op ? op : "manage";
}

/* Who asked for what, as far as it is known by now. */
static void describe(fr_account *a, const fr_job *job)
{
    /* For caches each of those whom the kernel does not know is somebody else; in the books they are one. */
    snprintf(a->user, sizeof a->user, "%s", strncmp(job->user, "nobody:", 7) ? job->user : "nobody");
    if (job->parsed) snprintf(a->op, sizeof a->op, "%s", op_of(job));
    if (job->entry) {
        snprintf(a->model, sizeof a->model, "%s", job->entry->name);
        snprintf(a->digest, sizeof a->digest, "%s", job->entry->digest);
    } else if (job->parsed && job->req.model)
        snprintf(a->model, sizeof a->model, "%s", job->req.model);
}

void fr_account_end(fr_job *job)
{
    fr_account *a = job->account;
    if (!a) return;
    describe(a, job);
    a->told = a->told || a->booked;
    if (a->booked && job->parsed) fr_content_ask(a->content, job->req.parts);
    job->account = NULL;
    fr_account_unref(a);
}

/* Refusals are few in peace; a flood of them must not fill the disk. */
static bool may_tell(fr_books *b)
{
    uint64_t second = ig_loop_now(b->front->loop) / FR_NS_PER_S;
    if (second != b->refusals_s) b->refusals_s = second, b->n_refusals = 0;
    return b->n_refusals++ < REFUSALS_A_SECOND;
}

void fr_account_refuse(fr_account *a, const ig_problem *p, const char *rule)
{
    if (!a) return;
    snprintf(a->kind, sizeof a->kind, "refusal");
    snprintf(a->decision, sizeof a->decision, "refuse");
    snprintf(a->result, sizeof a->result, "refused");
    if (rule) snprintf(a->rule, sizeof a->rule, "%s", rule);
    snprintf(a->note, sizeof a->note, "%u", ig_problem_status(p, IG_D_OPENAI));
    a->told = may_tell(a->books);
}

/* An account of what needs no job. */
static fr_account *lone_account(fr_front *f, const ig_incoming *in)
{
    fr_account *a = new_account(f, in);
    if (!a) return NULL;
    fr_new_id(a->id);
    if (in->who->known)
        snprintf(a->user, sizeof a->user, "uid:%u", in->who->uid);
    else
        snprintf(a->user, sizeof a->user, "nobody");
    return a;
}

void fr_account_denied(fr_front *f, const ig_incoming *in, const ig_problem *p)
{
    fr_account *a = lone_account(f, in);
    if (!a) return;
    fr_account_refuse(a, p, NULL);
    fr_account_unref(a);
}

/* ------------------------------------------------------------------------------------------------ announcing */

static void drop_notice(fr_notice *n)
{
    fr_notice **at = &n->books->notices;
    while (*at && *at != n) at = &(*at)->next;
    if (*at) *at = n->next;
    if (n->job) n->job->notice = NULL;
    ig_free(n);
}

static void on_admin_gone(fr_party *party) { drop_notice((fr_notice *)party); }

/* The record is in the log before anything is done: it takes its place in the chain now and wakes the writer. NULL: it
 * cannot even wait. */
static fr_notice *announce(fr_books *b, const ig_audit_record *r)
{
    ig_error err;
    fr_notice *n = ig_calloc(1, sizeof *n);
    if (!n || ig_audit_add(b->audit, r, &n->seq, &err) != IG_OK || !n->seq) {
        ig_free(n);
        return NULL;
    }
    n->books = b;
    n->party.gone = on_admin_gone;
    n->next = b->notices;
    b->notices = n;
    pthread_mutex_lock(&b->lock);
    b->announced = n->seq;
    pthread_cond_signal(&b->some);
    pthread_mutex_unlock(&b->lock);
    return n;
}

static void not_audited(ig_problem *p)
{
    ig_problem_set(p, IG_P_UNAVAILABLE, NULL,
                   "the audit log cannot be written and what cannot be audited is not answered here; the "
                   "administrator finds the reason in the service's messages");
}

bool fr_account_announce(fr_job *job)
{
    fr_account *a = job->account;
    fr_books *b = a ? a->books : NULL;
    ig_problem p;
    if (!b || !b->required || !json_array_size(job->req.parts)) return true;
    describe(a, job);
    ig_audit_record r = record_of(a);
    r.kind = "begin";
    job->notice = announce(b, &r);
    if (job->notice) {
        job->notice->job = job;
        return false;
    }
    not_audited(&p);
    fr_job_announced(job, &p);
    return false;
}

void fr_account_unannounce(fr_job *job)
{
    if (job->notice) drop_notice(job->notice);
}

/* Those whose record is on the disk go on; those for whom a commit was tried in vain are refused. Each may end others.
 */
static void settle(fr_books *b)
{
    ig_problem p;
    pthread_mutex_lock(&b->lock);
    uint64_t tried = b->tried, durable = b->durable;
    pthread_mutex_unlock(&b->lock);
    for (fr_notice *n = b->notices; n;) {
        if (n->seq > durable && n->seq > tried) {
            n = n->next;
            continue;
        }
        bool there = n->seq <= durable;
        fr_job *job = n->job;
        ig_exchange *ex = n->ex;
        fr_front *f = b->front;
        if (!there) not_audited(&p);
        if (ex) ig_exchange_set_ctx(ex, NULL);
        drop_notice(n);
        if (job)
            fr_job_announced(job, there ? NULL : &p);
        else
            fr_request_announced(f, ex, there ? NULL : &p);
        n = b->notices;
    }
}

static bool tell_admin(fr_front *f, ig_exchange *ex, const ig_incoming *in, const ig_request *req, const char *verb)
{
    fr_books *b = f->books;
    fr_account *a = lone_account(f, in);
    ig_problem p;
    if (!a) return true;
    bool may = fr_may_manage(f, in->who);
    snprintf(a->kind, sizeof a->kind, "admin");
    snprintf(a->op, sizeof a->op, "%s", verb);
    snprintf(a->model, sizeof a->model, "%s", req->model ? req->model : "");
    ig_hide_secrets(a->model); /* a pull names an address */
    snprintf(a->decision, sizeof a->decision,
             may               ? "allow"
             : fr_policy_on(f) ? ""
                               : "refuse"); /* policy: not yet known */
    snprintf(a->result, sizeof a->result, "asked");
    bool tell = may || may_tell(b); /* a flood of those who may not does not hide what those do who may */
    if (!b->required) {
        a->told = tell;
        fr_account_unref(a);
        return true;
    }
    ig_audit_record r = record_of(a);
    fr_notice *n = tell && ig_audit_sound(b->audit) ? announce(b, &r) : NULL;
    fr_account_unref(a);
    if (n) {
        n->ex = ex;
        ig_exchange_set_ctx(ex, &n->party);
        return false;
    }
    not_audited(&p);
    fr_request_announced(f, ex, &p);
    return false;
}

bool fr_account_admin(fr_front *f, ig_exchange *ex, const ig_incoming *in, const ig_request *req)
{
    static const struct {
        ig_op op;
        const char *name;
    } verbs[] = {{IG_OP_PULL, "pull"},
                 {IG_OP_PUSH, "push"},
                 {IG_OP_CREATE, "create"},
                 {IG_OP_COPY, "copy"},
                 {IG_OP_DELETE, "delete"}};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (verbs[i].op == req->op) return tell_admin(f, ex, in, req, verbs[i].name);
    return true;
}

void fr_account_follow(fr_front *f, const char *op, const char *model, const char *digest, const char *rule,
                       const char *result)
{
    fr_account *a = f->books ? ig_calloc(1, sizeof *a) : NULL;
    if (!a) return;
    a->refs = 1;
    a->books = f->books;
    a->came_ns = ig_loop_now(f->loop);
    fr_new_id(a->id);
    snprintf(a->user, sizeof a->user, "catalogue");
    snprintf(a->kind, sizeof a->kind, "admin");
    snprintf(a->op, sizeof a->op, "%s", op);
    snprintf(a->model, sizeof a->model, "%s", model);
    snprintf(a->digest, sizeof a->digest, "%s", digest);
    snprintf(a->decision, sizeof a->decision, "allow");
    snprintf(a->rule, sizeof a->rule, "%s", rule);
    snprintf(a->result, sizeof a->result, "%s", result);
    a->told = may_tell(a->books);
    fr_account_unref(a);
}

/* ------------------------------------------------------------------------------------------------ usage */

static uint64_t count_of(const json_t *usage, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(usage, name));
    return n > 0 && n < (json_int_t)1 << 40 ? (uint64_t)n : 0;
}

/* The choices of one call share its prompt. */
static void take_usage(fr_call *c, const json_t *usage)
{
    fr_account *a = c->account;
    uint64_t in = count_of(usage, "prompt"), cached = count_of(usage, "cached");
    if (in > c->n_in) a->n_in += in - c->n_in, c->n_in = in;
    if (cached > c->n_cached) a->n_cached += cached - c->n_cached, c->n_cached = cached;
    a->n_out += count_of(usage, "completion");
    a->n_reasoning += count_of(usage, "reasoning");
}

void fr_account_event(fr_worker *w, uint64_t call, ig_event type, const json_t *body)
{
    fr_call *c = w->calls;
    while (c && c->id != call) c = c->next;
    if (!c || !c->account) return;
    if (type == IG_EV_DELTA) {
        c->account->n_deltas++, c->account->n_weight++;
        fr_content_delta(c->account->content, c->part, body);
    }
    if (type == IG_EV_ERROR) fr_account_result(c->account, "failed");
    if (type == IG_EV_DONE || type == IG_EV_RESULT || type == IG_EV_ERROR)
        take_usage(c, json_object_get(body, "usage"));
}

/* ------------------------------------------------------------------------------------------------ the books */

bool fr_books_ready(fr_front *f, ig_problem *p)
{
    fr_books *b = f->books;
    if (!b || !b->required || ig_audit_sound(b->audit)) return true;
    not_audited(p);
    return false;
}

bool fr_books_usage(fr_front *f, const char *user, const char *group, const char *model, ig_usage *out)
{
    *out = (ig_usage){0};
    if (!f->books || !f->books->ledger) return false;
    ig_ledger_today(f->books->ledger, user, group, model, out);
    return true;
}

static void on_news(void *ctx)
{
    fr_books *b = ctx;
    char text[sizeof b->news];
    pthread_mutex_lock(&b->lock);
    memcpy(text, b->news, sizeof text);
    *b->news = 0;
    pthread_mutex_unlock(&b->lock);
    if (*text) fr_say(b->front, "%s", text);
    settle(b);
}

/* "state" in the store, for ledger and audit log that were not placed elsewhere. */
static const char *place(const fr_front *f, const char *wanted, const char *name, char *out, size_t n)
{
    if (wanted && *wanted) return strcmp(wanted, "none") ? wanted : NULL;
    if (!f->config->store || snprintf(out, n, "%s/state", f->config->store) >= (int)n) return NULL;
    (void)mkdir(out, 0700);
    size_t at = strlen(out);
    return snprintf(out + at, n - at, "/%s", name) < (int)(n - at) ? out : NULL;
}

/* What cannot be opened keeps the service from starting only where somebody named it. */
static ig_status judge(fr_front *f, bool named, ig_status st, const ig_error *err)
{
    if (st == IG_OK || named) return st;
    fr_say(f, "%s", err->text);
    return IG_OK;
}

static ig_status open_books(fr_front *f, fr_books *b, ig_error *err)
{
    const ig_front_config *c = f->config;
    char path[4200];
    const char *at = place(f, c->ledger, "ledger.db", path, sizeof path);
    if (at) IG_TRY(judge(f, c->ledger != NULL, ig_ledger_open(at, NULL, &b->ledger, err), err));
    at = place(f, c->audit, "audit", path, sizeof path);
    /* Only what has content has some: fr_content_on says for each request whether it has. */
    ig_audit_options o = {.journal = c->audit_journal, .content = true};
    ig_audit_report report = {0};
    b->required = c->audit_required;
    if (at) IG_TRY(judge(f, c->audit != NULL || b->required, ig_audit_open(at, &o, &b->audit, &report, err), err));
    if (*report.text) fr_say(f, "audit log: %s", report.text);
    if (b->required && !b->audit)
        return ig_fail(err, IG_BAD_INPUT, 0, "--audit-required needs a place for the audit log: --audit DIR");
    (void)ig_meter_open(&b->meter, c->meters ? c->meters : "/sys");
    return IG_OK;
}

static ig_status start_writer(fr_books *b, ig_error *err)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->some, &attr);
    pthread_condattr_destroy(&attr);
    b->last = &b->first;
    ig_waker_add(b->front->loop, &b->waker, on_news, b);
    int e = pthread_create(&b->thread, NULL, writer, b);
    b->has_thread = e == 0;
    return e ? ig_fail_errno(err, IG_IO, e, "no thread for the ledger") : IG_OK;
}

ig_status fr_books_open(fr_front *f, ig_error *err)
{
    fr_books *b = ig_calloc(1, sizeof *b);
    if (!b) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the ledger");
    b->front = f;
    ig_status st = open_books(f, b, err);
    if (st == IG_OK && (b->ledger || b->audit)) {
        st = start_writer(b, err);
        f->books = b;
        return st;
    }
    ig_ledger_close(b->ledger);
    ig_audit_close(b->audit);
    ig_free(b);
    return st;
}

void fr_books_close(fr_front *f)
{
    fr_books *b = f->books;
    if (!b) return;
    if (b->has_thread) {
        pthread_mutex_lock(&b->lock);
        b->stop = true;
        pthread_cond_signal(&b->some);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
    }
    while (b->notices) {
        if (b->notices->ex) ig_exchange_set_ctx(b->notices->ex, NULL);
        drop_notice(b->notices);
    }
    uint64_t lost = b->n_lost + b->n_dropped;
    if (lost) fr_say(f, "%llu records could not be kept", (unsigned long long)lost);
    on_news(b);
    if (b->has_thread) ig_waker_remove(&b->waker);
    ig_ledger_close(b->ledger);
    ig_audit_close(b->audit);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->some);
    ig_free(b);
    f->books = NULL;
}

uint64_t fr_books_today(const fr_front *f, const char *user)
{
    ig_usage u = {0};
    if (!f->books || !f->books->ledger) return 0;
    ig_ledger_today(f->books->ledger, user, NULL, NULL, &u);
    return u.n_in + u.n_out;
}
