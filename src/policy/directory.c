/* The directory: one entry a person, threads that look up, ages, and the file that keeps what is known over a restart.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/hash.h"
#include "base/os.h"
#include "policy/inner.h"

#define STATE_BYTES_MAX ((size_t)64 << 20)
enum {
    THREADS_MAX = 4,
    BUCKETS = 1024,
    ENTRIES_MAX = 16384,
    KEY_BYTES = IG_ACCOUNT_MAX + 2,
    SAVE_EVERY_S = 5,
    CLOCK_SLACK_S = 300, /* a time in the future by more than this is not believed */
    LEAVE_MS = 2000
};

typedef struct ig_entry {
    char key[KEY_BYTES]; /* "=account" or "#uid" */
    struct ig_entry *next, *queue_next;
    bool queued, running, expired;
    ig_person *person; /* the last good answer, or NULL */
    int64_t failed_s;  /* when asking failed last; 0: it did not, since the last success */
    char fault[300];
    uint64_t generation; /* lookups that have ended */
    uint64_t used;
} ig_entry;

struct ig_directory {
    const ig_directory_config *config;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    ig_entry *buckets[BUCKETS];
    size_t n_entries;
    ig_entry *queue_first, *queue_last;
    ig_directory_call *calls;
    pthread_t threads[THREADS_MAX];
    bool left[THREADS_MAX];
    unsigned n_threads, n_idle;
    bool stop, dirty;
    int64_t saved_s;
    uint64_t seed, clicks;
    ig_provider_fn provider;
    void *provider_ctx;
    int64_t (*clock_s)(void *);
    void *clock_ctx;
    void (*wake)(void *);
    void *wake_ctx;
    _Atomic unsigned last_server;
};

/* ------------------------------------------------------------------------------------------------ ages */

static uint32_t or_standard(uint32_t value, uint32_t standard) { return value ? value : standard; }
static uint32_t cache_s(const ig_directory *d) { return or_standard(d->config->cache_s, 600); }
static uint32_t negative_s(const ig_directory *d) { return or_standard(d->config->negative_s, 30); }
static uint32_t grace_s(const ig_directory *d)
{
    return d->config->grace_set ? d->config->grace_s : or_standard(d->config->grace_s, 28800);
}
static uint64_t deadline_ns(const ig_directory *d)
{
    return ig_now_ns() + (uint64_t)or_standard(d->config->deadline_ms, 10000) * 1000000;
}
static int64_t now_s(const ig_directory *d) { return d->clock_s ? d->clock_s(d->clock_ctx) : ig_clock_s(); }

static ig_freshness freshness(const ig_directory *d, const ig_entry *e, int64_t now)
{
    if (!e->person) return IG_UNKNOWN;
    int64_t age = now - e->person->fetched_s;
    if (age < -CLOCK_SLACK_S) return IG_UNKNOWN;
    int64_t fresh = e->person->exists ? cache_s(d) : negative_s(d);
    if (age <= fresh && !e->expired) return IG_FRESH;
    return age <= grace_s(d) ? IG_STALE : IG_UNKNOWN;
}

/* Asking again at once would only fail again. */
static bool failed_lately(const ig_directory *d, const ig_entry *e, int64_t now)
{
    int64_t since = now - e->failed_s;
    return e->failed_s && since >= 0 && since < negative_s(d);
}

/* What can be said of the entry now; NULL without memory. */
static ig_person *answer(const ig_directory *d, const ig_entry *e, ig_freshness *fresh)
{
    *fresh = freshness(d, e, now_s(d));
    if (*fresh == IG_FRESH) return ig_person_ref(e->person);
    ig_person copy = e->person ? *e->person : (ig_person){0};
    copy.fault = e->fault[0] ? e->fault : "the directory has not answered yet";
    if (*fresh == IG_UNKNOWN) {
        copy.n_groups = 0;
        copy.disabled = false;
    }
    return ig_person_new(&copy);
}

/* ------------------------------------------------------------------------------------------------ entries */

static void put_key(const char *account, uint32_t uid, char key[KEY_BYTES])
{
    if (account && *account)
        snprintf(key, KEY_BYTES, "=%s", account);
    else
        snprintf(key, KEY_BYTES, "#%" PRIu32, uid);
}

static bool is_busy(const ig_directory *d, const ig_entry *e)
{
    for (const ig_directory_call *c = d->calls; c; c = c->next)
        if (c->entry == e) return true;
    return e->queued || e->running;
}

/* Makes room by forgetting the entry that was used longest ago, of one bucket after the other. */
static bool forget_one(ig_directory *d)
{
    ig_entry **oldest = NULL;
    for (size_t b = 0; b < BUCKETS; b++)
        for (ig_entry **e = &d->buckets[b]; *e; e = &(*e)->next)
            if ((!oldest || (*e)->used < (*oldest)->used) && !is_busy(d, *e)) oldest = e;
    if (!oldest) return false;
    ig_entry *gone = *oldest;
    *oldest = gone->next;
    ig_person_unref(gone->person);
    ig_free(gone);
    d->n_entries--;
    return true;
}

/* NULL without memory. */
static ig_entry *entry_of(ig_directory *d, const char *key)
{
    ig_entry **head = &d->buckets[ig_hash(key, strlen(key), d->seed) % BUCKETS];
    for (ig_entry *e = *head; e; e = e->next)
        if (!strcmp(e->key, key)) {
            e->used = ++d->clicks;
            return e;
        }
    if (d->n_entries >= ENTRIES_MAX && !forget_one(d)) return NULL;
    ig_entry *e = ig_calloc(1, sizeof *e);
    if (!e) return NULL;
    snprintf(e->key, sizeof e->key, "%s", key);
    e->used = ++d->clicks;
    e->next = *head;
    *head = e;
    d->n_entries++;
    return e;
}

/* ------------------------------------------------------------------------------------------------ lookups */

static ig_status ask_all(void *ctx, ig_finding *f, ig_error *err)
{
    ig_directory *d = ctx;
    const ig_directory_config *c = d->config;
    if (c->use_system) IG_TRY(ig_system_find(f, err));
    if (c->use_ldap) IG_TRY(ig_ldap_find(&c->ldap, deadline_ns(d), &d->last_server, f, err));
    if (c->use_file) IG_TRY(ig_groups_file_find(c->groups_file, f, err));
    f->exists |= f->n_groups > 0;
    return IG_OK;
}

static ig_status person_of(const ig_finding *f, int64_t now, ig_person **out, ig_error *err)
{
    ig_group *groups = ig_calloc(f->n_groups + 1, sizeof *groups);
    for (size_t i = 0; groups && i < f->n_groups; i++) groups[i] = *f->groups[i];
    ig_person p = {.has_uid = f->has_uid,
                   .exists = f->exists,
                   .disabled = f->disabled,
                   .uid = f->uid,
                   .account = f->account,
                   .groups = groups,
                   .n_groups = f->n_groups,
                   .fetched_s = now,
                   .notes = f->notes};
    *out = groups ? ig_person_new(&p) : NULL;
    ig_free(groups);
    return *out ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the groups of an account");
}

static ig_status look_up(ig_directory *d, const char *key, ig_person **out, ig_error *err)
{
    ig_finding f;
    int64_t now = now_s(d); /* before, so that an age is never less than it is */
    ig_finding_init(&f);
    if (*key == '=')
        snprintf(f.account, sizeof f.account, "%s", key + 1);
    else {
        f.has_uid = true;
        sscanf(key, "#%" SCNu32, &f.uid);
    }
    ig_status st = d->provider(d->provider_ctx, &f, err);
    if (st == IG_OK) st = person_of(&f, now, out, err);
    ig_finding_fini(&f);
    return st;
}

static void save(ig_directory *d);

/* Takes the result in; with the lock. */
static void settle(ig_directory *d, ig_entry *e, ig_status st, ig_person *person, const ig_error *err)
{
    if (st == IG_OK) {
        ig_person_unref(e->person);
        e->person = person;
        e->failed_s = 0;
        e->fault[0] = 0;
        e->expired = false;
        d->dirty = true;
    } else {
        e->failed_s = now_s(d);
        if (!e->failed_s) e->failed_s = 1;
        snprintf(e->fault, sizeof e->fault, "%s", err->text);
    }
    e->running = false;
    e->generation++;
}

static void *work(void *arg)
{
    ig_directory *d = arg;
    pthread_mutex_lock(&d->lock);
    unsigned own = 0;
    while (!pthread_equal(d->threads[own], pthread_self())) own++;
    while (!d->stop) {
        ig_entry *e = d->queue_first;
        if (!e) {
            d->n_idle++;
            pthread_cond_wait(&d->work, &d->lock);
            d->n_idle--;
            continue;
        }
        d->queue_first = e->queue_next;
        if (!d->queue_first) d->queue_last = NULL;
        e->queued = false;
        e->running = true;
        char key[KEY_BYTES];
        memcpy(key, e->key, sizeof key);
        pthread_mutex_unlock(&d->lock);
        ig_error err = {0};
        ig_person *person = NULL;
        ig_status st = look_up(d, key, &person, &err);
        pthread_mutex_lock(&d->lock);
        settle(d, e, st, person, &err);
        void (*wake)(void *) = d->stop ? NULL : d->wake;
        if (wake) wake(d->wake_ctx);
        pthread_cond_broadcast(&d->done);
        if (d->dirty && now_s(d) - d->saved_s >= SAVE_EVERY_S) save(d);
    }
    d->left[own] = true;
    pthread_cond_broadcast(&d->done);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* With the lock. Signals stay with the threads that expect them. */
static void start_thread(ig_directory *d)
{
    sigset_t all, before;
    if (d->n_threads == THREADS_MAX) return;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    if (!pthread_create(&d->threads[d->n_threads], NULL, work, d)) d->n_threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void enqueue(ig_directory *d, ig_entry *e)
{
    if (e->queued || e->running) return;
    if (!d->n_idle) start_thread(d);
    if (!d->n_threads) {
        ig_error err;
        ig_fail(&err, IG_NO_MEMORY, 0, "no thread can be started to ask the directory");
        settle(d, e, IG_NO_MEMORY, NULL, &err);
        return;
    }
    e->queued = true;
    e->queue_next = NULL;
    if (d->queue_last)
        d->queue_last->queue_next = e;
    else
        d->queue_first = e;
    d->queue_last = e;
    pthread_cond_signal(&d->work);
}

/* ------------------------------------------------------------------------------------------------ state file */

static json_t *json_of(const ig_entry *e)
{
    const ig_person *p = e->person;
    json_t *groups = json_array();
    for (size_t i = 0; i < p->n_groups; i++)
        json_array_append_new(groups, json_pack("[s, s]", p->groups[i].name, p->groups[i].id));
    return json_pack("{s:s, s:s, s:b, s:I, s:b, s:I, s:o}", "key", e->key, "account", p->account, "has_uid", p->has_uid,
                     "uid", (json_int_t)p->uid, "disabled", p->disabled, "fetched", (json_int_t)p->fetched_s, "groups",
                     groups);
}

/* With the lock. A disk that is full costs only what a restart would have known. */
static void save(ig_directory *d)
{
    d->dirty = false;
    d->saved_s = now_s(d);
    if (!d->config->state_file) return;
    json_t *people = json_array(), *root = json_pack("{s:i, s:o}", "version", 1, "people", people);
    for (size_t b = 0; b < BUCKETS; b++)
        for (const ig_entry *e = d->buckets[b]; e; e = e->next)
            if (e->person && e->person->exists) json_array_append_new(people, json_of(e));
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text) ig_policy_write(d->config->state_file, text, strlen(text));
    free(text);
    json_decref(root);
}

static ig_person *person_from(const json_t *j, int64_t now)
{
    const json_t *list = json_object_get(j, "groups");
    const char *account = json_string_value(json_object_get(j, "account"));
    size_t n = json_array_size(list);
    json_int_t uid = json_integer_value(json_object_get(j, "uid")),
               fetched = json_integer_value(json_object_get(j, "fetched"));
    if (!account || strlen(account) >= IG_ACCOUNT_MAX || n > IG_GROUPS_MAX || uid < 0 || uid > UINT32_MAX ||
        fetched <= 0 || fetched > now + CLOCK_SLACK_S)
        return NULL;
    ig_group *groups = ig_calloc(n + 1, sizeof *groups);
    bool whole = groups != NULL;
    for (size_t i = 0; whole && i < n; i++) {
        groups[i].name = json_string_value(json_array_get(json_array_get(list, i), 0));
        groups[i].id = json_string_value(json_array_get(json_array_get(list, i), 1));
        whole = groups[i].name && groups[i].id;
    }
    ig_person p = {.has_uid = json_is_true(json_object_get(j, "has_uid")),
                   .exists = true,
                   .disabled = json_is_true(json_object_get(j, "disabled")),
                   .uid = (uint32_t)uid,
                   .account = account,
                   .groups = groups,
                   .n_groups = n,
                   .fetched_s = fetched};
    ig_person *out = whole ? ig_person_new(&p) : NULL;
    ig_free(groups);
    return out;
}

static void take_state(ig_directory *d, const json_t *root)
{
    size_t i;
    json_t *j;
    json_array_foreach(json_object_get(root, "people"), i, j)
    {
        const char *key = json_string_value(json_object_get(j, "key"));
        if (!key || strlen(key) >= KEY_BYTES || (*key != '=' && *key != '#') || i >= ENTRIES_MAX) continue;
        ig_person *p = person_from(j, now_s(d));
        ig_entry *e = p ? entry_of(d, key) : NULL;
        if (!e || e->person) {
            ig_person_unref(p);
            continue;
        }
        e->person = p;
    }
}

/* A file that others may write, or that is none of ours, is as good as none. */
static void read_state(ig_directory *d)
{
    struct stat st;
    ig_buf text;
    ig_error err;
    int fd = ig_disk_open_regular(AT_FDCWD, d->config->state_file, O_RDONLY, &st);
    if (fd < 0) return;
    ig_buf_init(&text, STATE_BYTES_MAX);
    if (!(st.st_mode & 077) && (st.st_uid == geteuid() || st.st_uid == 0) &&
        ig_fd_read_all(fd, d->config->state_file, &text, &err) == IG_OK && text.len) {
        json_t *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
        if (json_integer_value(json_object_get(root, "version")) == 1) take_state(d, root);
        json_decref(root);
    }
    close(fd);
    ig_buf_fini(&text);
}

/* ------------------------------------------------------------------------------------------------ face */

ig_status ig_directory_new(const ig_directory_config *config, ig_directory **out, ig_error *err)
{
    pthread_condattr_t attr;
    ig_directory *d = ig_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the directory");
    d->config = config;
    d->provider = ask_all;
    d->provider_ctx = d;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->work, NULL);
    pthread_cond_init(&d->done, &attr);
    pthread_condattr_destroy(&attr);
    ig_random(&d->seed, sizeof d->seed);
    if (config->state_file) read_state(d);
    *out = d;
    return IG_OK;
}

void ig_directory_replace(ig_directory *d, ig_provider_fn fn, void *ctx, int64_t (*clock_s)(void *), void *clock_ctx)
{
    pthread_mutex_lock(&d->lock);
    if (fn) d->provider = fn, d->provider_ctx = ctx;
    d->clock_s = clock_s;
    d->clock_ctx = clock_ctx;
    pthread_mutex_unlock(&d->lock);
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

/* Waits for threads; true when all have left. With the lock. */
static bool all_leave(ig_directory *d)
{
    struct timespec until = timespec_of(ig_now_ns() + (uint64_t)LEAVE_MS * 1000000);
    for (;;) {
        unsigned n = 0;
        for (unsigned i = 0; i < d->n_threads; i++) n += d->left[i];
        if (n == d->n_threads) return true;
        if (pthread_cond_timedwait(&d->done, &d->lock, &until)) return false;
    }
}

bool ig_directory_free(ig_directory *d)
{
    if (!d) return true;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    d->calls = NULL;
    if (d->dirty) save(d);
    pthread_cond_broadcast(&d->work);
    bool all = all_leave(d);
    for (unsigned i = 0; i < d->n_threads; i++)
        if (!all) pthread_detach(d->threads[i]);
    pthread_mutex_unlock(&d->lock);
    if (!all) return false; /* a name service that hangs: its thread still reads d */
    for (unsigned i = 0; i < d->n_threads; i++) pthread_join(d->threads[i], NULL);
    for (size_t b = 0; b < BUCKETS; b++)
        while (d->buckets[b]) {
            ig_entry *e = d->buckets[b];
            d->buckets[b] = e->next;
            ig_person_unref(e->person);
            ig_free(e);
        }
    pthread_cond_destroy(&d->work);
    pthread_cond_destroy(&d->done);
    pthread_mutex_destroy(&d->lock);
    ig_free(d);
    return true;
}

ig_person *ig_directory_peek(ig_directory *d, const char *account, uint32_t uid, ig_freshness *fresh)
{
    char key[KEY_BYTES];
    ig_person *out = NULL;
    put_key(account, uid, key);
    pthread_mutex_lock(&d->lock);
    ig_entry *e = entry_of(d, key);
    if (e) {
        int64_t now = now_s(d);
        if (freshness(d, e, now) == IG_FRESH || failed_lately(d, e, now)) out = answer(d, e, fresh);
    }
    pthread_mutex_unlock(&d->lock);
    return out;
}

void ig_directory_on_done(ig_directory *d, void (*wake)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&d->lock);
    d->wake = wake;
    d->wake_ctx = ctx;
    pthread_mutex_unlock(&d->lock);
}

void ig_directory_ask(ig_directory *d, const char *account, uint32_t uid, ig_directory_call *call, ig_directory_fn fn,
                      void *ctx)
{
    char key[KEY_BYTES];
    put_key(account, uid, key);
    pthread_mutex_lock(&d->lock);
    *call = (ig_directory_call){.fn = fn, .ctx = ctx, .due_ns = deadline_ns(d), .waiting = true, .next = d->calls};
    call->entry = entry_of(d, key);
    d->calls = call;
    int64_t now = now_s(d);
    bool need = call->entry && freshness(d, call->entry, now) != IG_FRESH && !failed_lately(d, call->entry, now);
    if (need) {
        call->generation = call->entry->generation + 1;
        enqueue(d, call->entry);
    } else
        call->due_ns = 0; /* at once */
    if ((!need || !d->n_threads) && d->wake) d->wake(d->wake_ctx);
    pthread_mutex_unlock(&d->lock);
}

void ig_directory_cancel(ig_directory *d, ig_directory_call *call)
{
    pthread_mutex_lock(&d->lock);
    for (ig_directory_call **c = &d->calls; *c; c = &(*c)->next)
        if (*c == call) {
            *c = call->next;
            break;
        }
    call->waiting = false;
    pthread_mutex_unlock(&d->lock);
}

/* The next call that is due, out of the list; *next_ns: when the earliest other one is. With the lock. */
static ig_directory_call *next_due(ig_directory *d, uint64_t *next_ns)
{
    uint64_t now = ig_now_ns();
    *next_ns = 0;
    for (ig_directory_call **c = &d->calls; *c; c = &(*c)->next) {
        ig_directory_call *call = *c;
        if (!call->entry || call->entry->generation >= call->generation || now >= call->due_ns) {
            *c = call->next;
            call->waiting = false;
            return call;
        }
        if (!*next_ns || call->due_ns < *next_ns) *next_ns = call->due_ns;
    }
    return NULL;
}

uint64_t ig_directory_deliver(ig_directory *d)
{
    static const ig_person nobody = {.account = "", .fault = "out of memory", .notes = ""};
    uint64_t next;
    for (;;) {
        ig_freshness fresh = IG_UNKNOWN;
        pthread_mutex_lock(&d->lock);
        ig_directory_call *call = next_due(d, &next);
        ig_person *p = call && call->entry ? answer(d, call->entry, &fresh) : NULL;
        pthread_mutex_unlock(&d->lock);
        if (!call) return next;
        call->fn(call->ctx, p ? p : &nobody, p ? fresh : IG_UNKNOWN);
        ig_person_unref(p);
    }
}

ig_person *ig_directory_find(ig_directory *d, const char *account, uint32_t uid, ig_freshness *fresh)
{
    char key[KEY_BYTES];
    struct timespec until = timespec_of(deadline_ns(d));
    ig_person *out = NULL;
    put_key(account, uid, key);
    *fresh = IG_UNKNOWN;
    pthread_mutex_lock(&d->lock);
    ig_directory_call own = {
        .entry = entry_of(d, key), .due_ns = UINT64_MAX, .generation = UINT64_MAX, .next = d->calls};
    ig_entry *e = own.entry;
    int64_t now = now_s(d);
    if (e && freshness(d, e, now) != IG_FRESH && !failed_lately(d, e, now)) {
        uint64_t wanted = e->generation + 1;
        d->calls = &own; /* keeps the entry */
        enqueue(d, e);
        while (e->generation < wanted && !d->stop)
            if (pthread_cond_timedwait(&d->done, &d->lock, &until)) break;
        for (ig_directory_call **c = &d->calls; *c; c = &(*c)->next)
            if (*c == &own) {
                *c = own.next;
                break;
            }
    }
    if (e) out = answer(d, e, fresh);
    pthread_mutex_unlock(&d->lock);
    return out;
}

void ig_directory_expire(ig_directory *d)
{
    pthread_mutex_lock(&d->lock);
    for (size_t b = 0; b < BUCKETS; b++)
        for (ig_entry *e = d->buckets[b]; e; e = e->next) {
            e->expired = true;
            e->failed_s = 0;
        }
    pthread_mutex_unlock(&d->lock);
}

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

static bool same_ldap(const ig_ldap_config *a, const ig_ldap_config *b)
{
    const char *const x[] = {a->user_base, a->group_base, a->base,     a->bind_dn,        a->password_file,
                             a->ca_file,   a->cert_file,  a->key_file, a->user_attribute, a->name_attribute},
                      *const y[] = {b->user_base, b->group_base, b->base,     b->bind_dn,        b->password_file,
                                    b->ca_file,   b->cert_file,  b->key_file, b->user_attribute, b->name_attribute};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        if (!same_text(x[i], y[i])) return false;
    if (a->n_uris != b->n_uris) return false;
    for (size_t i = 0; i < a->n_uris; i++)
        if (strcmp(a->uris[i], b->uris[i])) return false;
    return a->schema == b->schema && a->bind == b->bind && a->start_tls == b->start_tls &&
           a->allow_plain == b->allow_plain && a->nested == b->nested && a->member_of == b->member_of &&
           a->timeout_ms == b->timeout_ms && a->page_size == b->page_size && a->min_uid == b->min_uid;
}

bool ig_directory_config_equal(const ig_directory_config *a, const ig_directory_config *b)
{
    return a->use_system == b->use_system && a->use_ldap == b->use_ldap && a->use_file == b->use_file &&
           same_text(a->groups_file, b->groups_file) && same_text(a->state_file, b->state_file) &&
           a->cache_s == b->cache_s && a->negative_s == b->negative_s && a->grace_set == b->grace_set &&
           a->grace_s == b->grace_s && a->deadline_ms == b->deadline_ms && same_ldap(&a->ldap, &b->ldap);
}
