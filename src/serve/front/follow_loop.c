/* The loop's side of following catalogues: what is in force, who the people of this machine are, and the requests of
 * administrators. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "serve/front/follow.h"

typedef struct fr_waiter { /* POST /ingle/catalogue/sync */
    fr_party party;
    struct fr_waiter *next;
    fr_front *front;
    ig_exchange *ex;
    uint64_t round;
    bool whole; /* also the downloads */
} fr_waiter;

typedef struct fr_seen {
    char account[IG_ACCOUNT_MAX];
    uint32_t uid;
} fr_seen;

typedef struct fr_asked { /* a lookup under way */
    ig_directory_call call;
    struct fr_gather *gather;
    bool waiting;
} fr_asked;

typedef struct fr_gather {
    struct fr_follow *w;
    fr_people people;
    fr_asked *asked; /* owned [n] */
    size_t n, n_waiting;
    bool began; /* all have been asked */
} fr_gather;

/* ------------------------------------------------------------------------------------------------ counted things */

void fr_settings_unref(fr_settings *s)
{
    if (!s || --s->refs) return;
    ig_arena_fini(&s->arena);
    ig_free(s);
}

void fr_brief_unref(fr_brief *b)
{
    if (!b || --b->refs) return;
    ig_grants_free(&b->grants);
    ig_catalogue_free(b->c);
    ig_free(b);
}

void fr_people_fini(fr_people *p)
{
    for (size_t i = 0; i < p->n; i++) ig_person_unref(p->list[i]);
    ig_free(p->list);
    *p = (fr_people){0};
}

fr_settings *fr_settings_new(const ig_config *c, const char *machine)
{
    fr_settings *s = ig_calloc(1, sizeof *s);
    bool ok = s != NULL;
    if (!ok) return NULL;
    s->refs = 1;
    (void)snprintf(s->machine, sizeof s->machine, "%s", machine);
    for (size_t i = 0; i < c->n_follows; i++) {
        ig_follow *f = &s->list[s->n++];
        *f = c->follows[i];
        const char **texts[] = {&f->name, &f->source, &f->root};
        for (size_t k = 0; k < 3; k++)
            ok &= (*texts[k] = ig_arena_copy(&s->arena, *texts[k], strlen(*texts[k]))) != NULL;
    }
    if (ok) return s;
    fr_settings_unref(s);
    return NULL;
}

static void ring(struct fr_follow *w) { pthread_cond_broadcast(&w->bell); }

/* ------------------------------------------------------------------------------------------------ people */

static bool add_person(fr_people *p, ig_person *person)
{
    ig_person **grown = person ? ig_realloc(p->list, p->n + 1, sizeof *grown) : NULL;
    if (!grown) {
        ig_person_unref(person);
        return false;
    }
    p->list = grown;
    p->list[p->n++] = person;
    return true;
}

static void end_gather(fr_gather *g)
{
    struct fr_follow *w = g->w;
    if (!g->began || g->n_waiting) return;
    pthread_mutex_lock(&w->lock);
    fr_people_fini(&w->people);
    w->people = g->people;
    w->have_people = true;
    w->want_people = false;
    ring(w);
    pthread_mutex_unlock(&w->lock);
    w->gather = NULL;
    ig_free(g->asked);
    ig_free(g);
}

static void on_person(void *ctx, const ig_person *person, ig_freshness fresh)
{
    fr_asked *a = ctx;
    fr_gather *g = a->gather;
    a->waiting = false;
    g->n_waiting--;
    if (fresh == IG_UNKNOWN)
        g->people.unsure = true;
    else if (!person->disabled)
        (void)add_person(&g->people, ig_person_ref(person));
    end_gather(g);
}

static void ask_one(fr_gather *g, const char *account, uint32_t uid)
{
    ig_freshness fresh;
    fr_front *f = g->w->front;
    ig_person *p = ig_directory_peek(fr_policy_directory(f), account, uid, &fresh);
    if (!p) {
        fr_asked *a = &g->asked[g->n++];
        a->gather = g;
        a->waiting = true;
        g->n_waiting++;
        fr_policy_ask(f, account, uid, &a->call, on_person, a);
        return;
    }
    if (fresh == IG_UNKNOWN)
        g->people.unsure = true;
    else if (!p->disabled) {
        (void)add_person(&g->people, p);
        return;
    }
    ig_person_unref(p);
}

/* A key with groups of its own is a person of these. */
static void add_key(fr_gather *g, const ig_key *key)
{
    if (!key->n_groups) {
        if (*key->account) ask_one(g, key->account, 0);
        return;
    }
    ig_group groups[IG_KEY_WORDS_MAX];
    size_t n = key->n_groups < IG_KEY_WORDS_MAX ? key->n_groups : IG_KEY_WORDS_MAX;
    for (size_t i = 0; i < n; i++) groups[i] = (ig_group){key->groups[i], ""};
    ig_person values = {
        .exists = true, .account = key->account, .groups = groups, .n_groups = n, .fault = "", .notes = ""};
    (void)add_person(&g->people, ig_person_new(&values));
}

static void begin_gather(struct fr_follow *w)
{
    const ig_keys *keys = fr_policy_keys(w->front);
    size_t n_keys = keys ? ig_keys_n(keys) : 0;
    fr_gather *g = ig_calloc(1, sizeof *g);
    if (g) g->asked = ig_calloc(n_keys + w->n_seen + 1, sizeof *g->asked);
    if (!g || !g->asked) {
        ig_free(g);
        return; /* the thread goes on without after a while */
    }
    g->w = w;
    w->gather = g;
    int64_t now = ig_clock_s();
    for (size_t i = 0; i < n_keys; i++) {
        const ig_key *key = ig_keys_at(keys, i);
        if (!key->revoked && (!key->expires_s || key->expires_s > now)) add_key(g, key);
    }
    for (size_t i = 0; i < w->n_seen; i++) ask_one(g, w->seen[i].account, w->seen[i].uid);
    g->began = true;
    end_gather(g);
}

/* Before the directory goes away. */
void fr_follow_pause(fr_front *f)
{
    fr_gather *g = f->follow ? f->follow->gather : NULL;
    if (!g) return;
    for (size_t i = 0; i < g->n; i++)
        if (g->asked[i].waiting) ig_directory_cancel(fr_policy_directory(f), &g->asked[i].call);
    f->follow->gather = NULL;
    fr_people_fini(&g->people);
    ig_free(g->asked);
    ig_free(g);
}

void fr_follow_look(fr_front *f)
{
    struct fr_follow *w = f->follow;
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->look = true;
    ring(w);
    pthread_mutex_unlock(&w->lock);
}

void fr_follow_saw(fr_front *f, const ig_person *p)
{
    struct fr_follow *w = f->follow;
    if (!w || !w->running || !p->exists) return;
    for (size_t i = 0; i < w->n_seen; i++)
        if (!strcmp(w->seen[i].account, p->account) && (*p->account || w->seen[i].uid == p->uid)) return;
    if (w->n_seen == FOLLOW_PEOPLE_MAX) return;
    fr_seen *grown = ig_realloc(w->seen, w->n_seen + 1, sizeof *grown);
    if (!grown) return;
    w->seen = grown;
    fr_seen *s = &w->seen[w->n_seen++];
    s->uid = p->uid;
    (void)snprintf(s->account, sizeof s->account, "%s", p->account);
    fr_follow_look(f);
}

/* ------------------------------------------------------------------------------------------------ what is in force */

/* Takes over the references of live [n]. */
static void put_in_force(struct fr_follow *w, fr_brief **live, size_t n)
{
    fr_brief *old[IG_FOLLOWS_MAX];
    size_t n_old = w->n_live;
    memcpy(old, w->live, sizeof old);
    w->n_live = n;
    for (size_t i = 0; i < n; i++) {
        w->live[i] = live[i];
        w->sets[i] = &live[i]->grants;
    }
    fr_policy_assign(w->front, w->sets, n);
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < n_old; i++) fr_brief_unref(old[i]);
    pthread_mutex_unlock(&w->lock);
}

static bool is_entry(const fr_front *f, const fr_entry *e)
{
    for (const fr_entry *x = f->entries; x; x = x->next)
        if (x == e) return true;
    return false;
}

/* Models that went away or became others: their workers finish what they do. */
static void look_at_models(fr_front *f)
{
    fr_catalog_refresh(f, true);
    for (fr_worker *w = f->workers; w; w = w->next)
        if (!is_entry(f, w->entry)) fr_worker_drain(w);
}

/* As many as there is memory for, in the order of the catalogue; nobody goes for them. */
static void preload(fr_front *f, const json_t *names)
{
    const json_t *name;
    size_t i;
    json_array_foreach(names, i, name)
    {
        const char *z = json_string_value(name);
        for (fr_entry *e = f->entries; e; e = e->next)
            if (z && e->manifest && !strcmp(e->name, z)) (void)fr_pool_preload(f, e);
    }
}

static void take_notice(fr_front *f, const fr_notice *n)
{
    if (*n->line) fr_say(f, "%s", n->line);
    if (*n->op) fr_account_follow(f, n->op, n->model, n->digest, n->rule, n->result);
}

/* ------------------------------------------------------------------------------------------------ requests */

static void answer_report(fr_front *f, ig_exchange *ex)
{
    struct fr_follow *w = f->follow;
    ig_buf body;
    ig_buf_init(&body, (size_t)64 << 20);
    pthread_mutex_lock(&w->lock);
    if (w->report) ig_buf_add(&body, w->report, strlen(w->report));
    pthread_mutex_unlock(&w->lock);
    bool follows = w->settings->n > 0;
    if (!body.len)
        ig_buf_printf(&body, "{\"compliant\":%s,\"checked\":%lld,\"catalogues\":[],\"models\":[],\"removed\":[]}",
                      follows ? "false" : "true", follows ? 0LL : (long long)ig_clock_s());
    fr_answer(f, ex, 200, "application/json", &body);
}

static bool may_manage(fr_front *f, ig_exchange *ex)
{
    const ig_incoming *in = ig_exchange_request(ex);
    fr_request_facts r = {.action = IG_MAY_MANAGE};
    ig_problem p;
    bool may = fr_policy_on(f) ? fr_may(f, &r, &p)
                               : fr_may_manage(f, in->who) ||
                                     ig_problem_set(&p, IG_P_DENIED, NULL,
                                                    "only the user who runs this service and root may do this");
    may = may && fr_still_there(ex, &p);
    if (may && f->follow) return true;
    if (may) ig_problem_set(&p, IG_P_NOT_HERE, NULL, "this service has no store, and follows nothing");
    fr_answer_problem(f, ex, NULL, &p);
    return false;
}

void fr_compliance(fr_front *f, ig_exchange *ex, const ig_incoming *in)
{
    (void)in;
    if (may_manage(f, ex)) answer_report(f, ex);
}

static void unlink_waiter(fr_waiter *x)
{
    for (fr_waiter **at = &x->front->follow->waiters; *at; at = &(*at)->next)
        if (*at == x) {
            *at = x->next;
            break;
        }
    ig_free(x);
}

static void on_gone(fr_party *party) { unlink_waiter((fr_waiter *)party); }

void fr_follow_sync(fr_front *f, ig_exchange *ex, const ig_incoming *in)
{
    (void)in;
    struct fr_follow *w = f->follow;
    ig_problem p;
    if (!may_manage(f, ex)) return;
    fr_waiter *x = w->running && w->settings->n ? ig_calloc(1, sizeof *x) : NULL;
    if (!x) {
        ig_problem_set(&p, IG_P_NOT_HERE, NULL,
                       "this service follows no catalogue; write [catalogue NAME] with source and root into a file of "
                       "conf.d and send SIGHUP");
        fr_answer_problem(f, ex, NULL, &p);
        return;
    }
    x->party.gone = on_gone;
    x->front = f;
    x->ex = ex;
    x->whole = ig_str_is(ig_exchange_request(ex)->head->query, "wait=1");
    x->next = w->waiters;
    w->waiters = x;
    ig_exchange_set_ctx(ex, &x->party);
    pthread_mutex_lock(&w->lock);
    x->round = ++w->asked;
    ring(w);
    pthread_mutex_unlock(&w->lock);
}

static void answer_waiters(struct fr_follow *w, uint64_t synced, uint64_t done)
{
    for (fr_waiter *x = w->waiters, *next; x; x = next) {
        next = x->next;
        if (x->round > (x->whole ? done : synced)) continue;
        ig_exchange *ex = x->ex;
        ig_exchange_set_ctx(ex, NULL);
        unlink_waiter(x);
        answer_report(w->front, ex);
    }
}

static void on_wake(void *ctx)
{
    struct fr_follow *w = ctx;
    fr_brief *live[IG_FOLLOWS_MAX];
    fr_notice *notices = ig_calloc(FOLLOW_NOTICES_MAX, sizeof *notices);
    size_t n_live = 0, n_notices = 0;
    pthread_mutex_lock(&w->lock);
    bool news = w->news, models = w->models_changed, people = w->want_people && !w->have_people;
    uint64_t synced = w->synced, done = w->done;
    for (; news && n_live < w->n_briefs; n_live++) (live[n_live] = w->brief[n_live])->refs++;
    for (; notices && n_notices < w->n_notices; n_notices++) notices[n_notices] = w->notices[n_notices];
    if (notices) w->n_notices = 0;
    json_t *names = w->preload;
    w->preload = NULL;
    w->news = w->models_changed = false;
    pthread_mutex_unlock(&w->lock);
    if (news) put_in_force(w, live, n_live);
    if (models) look_at_models(w->front);
    if (!w->front->stopping) preload(w->front, names);
    json_decref(names);
    for (size_t i = 0; i < n_notices; i++) take_notice(w->front, &notices[i]);
    ig_free(notices);
    if (people && !w->gather) begin_gather(w);
    answer_waiters(w, synced, done);
}

/* ------------------------------------------------------------------------------------------------ start and stop */

/* Of the last time, before anybody can ask for a model. */
static void open_last(fr_front *f)
{
    struct fr_follow *w = f->follow;
    fr_brief *live[IG_FOLLOWS_MAX];
    size_t n = 0;
    ig_error err;
    for (size_t i = 0; i < w->settings->n; i++) {
        live[n] = fr_brief_open(f, &w->settings->list[i], &err);
        if (!live[n] || live[n]->lost) fr_say(f, "catalogue %s: %s", w->settings->list[i].name, err.text);
        n += live[n] != NULL;
    }
    if (n || w->n_live) put_in_force(w, live, n);
}

ig_status fr_follow_open(fr_front *f, ig_error *err)
{
    pthread_condattr_t attr;
    if (!f->store) return IG_OK;
    struct fr_follow *w = ig_calloc(1, sizeof *w);
    fr_settings *s = fr_settings_new(fr_policy_config(f), fr_policy_machine(f));
    if (!w || !s) {
        ig_free(w);
        fr_settings_unref(s);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogues");
    }
    w->front = f;
    w->settings = s;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->bell, &attr);
    pthread_condattr_destroy(&attr);
    ig_waker_add(f->loop, &w->waker, on_wake, w);
    f->follow = w;
    open_last(f);
    return IG_OK;
}

/* It has brought models before: they go when their catalogue is followed no more. */
static bool has_followed(const fr_front *f)
{
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/state/follow.json", ig_store_root(f->store));
    return access(path, F_OK) == 0;
}

void fr_follow_start(fr_front *f)
{
    struct fr_follow *w = f->follow;
    if (!w || w->running || ig_store_is_read_only(f->store) || (!w->settings->n && !has_followed(f))) return;
    w->running = !pthread_create(&w->thread, NULL, fr_follow_thread, w);
    if (!w->running) fr_say(f, "no thread to follow the catalogues");
}

void fr_follow_reload(fr_front *f)
{
    struct fr_follow *w = f->follow;
    fr_settings *s = w ? fr_settings_new(fr_policy_config(f), fr_policy_machine(f)) : NULL;
    if (!s) return;
    pthread_mutex_lock(&w->lock);
    fr_settings_unref(w->settings);
    w->settings = s;
    w->look = true;
    ring(w);
    pthread_mutex_unlock(&w->lock);
    ig_waker_wake(&w->waker); /* people may have to be asked again */
    fr_follow_start(f);
    if (!w->running) open_last(f);
}

void fr_follow_hush(fr_front *f)
{
    struct fr_follow *w = f->follow;
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    ring(w);
    pthread_mutex_unlock(&w->lock);
}

void fr_follow_stop(fr_front *f)
{
    struct fr_follow *w = f->follow;
    if (!w) return;
    fr_follow_hush(f);
    if (w->running) pthread_join(w->thread, NULL);
    fr_follow_pause(f);
    while (w->waiters) {
        ig_exchange_set_ctx(w->waiters->ex, NULL);
        unlink_waiter(w->waiters);
    }
    put_in_force(w, NULL, 0);
    ig_waker_remove(&w->waker);
    for (size_t i = 0; i < w->n_briefs; i++) fr_brief_unref(w->brief[i]);
    fr_settings_unref(w->settings);
    fr_people_fini(&w->people);
    free(w->report);
    json_decref(w->preload);
    pthread_cond_destroy(&w->bell);
    pthread_mutex_destroy(&w->lock);
    ig_free(w->seen);
    ig_free(w);
    f->follow = NULL;
}
