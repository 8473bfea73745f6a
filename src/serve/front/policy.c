/* The front asks policy: who sends this request (directory, keys), and may they do what it asks for. Every dialect and
 * every listing goes through fr_may. Groups are looked up by the directory's threads; a request whose caller is not in
 * the cache waits for them as an exchange of its own kind, the loop never does. Where no policy is configured nothing
 * is looked up and everything is as without. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "policy/policy.h"
#include "serve/front/follow.h"

enum { USERS_MAX = 65536, SAVE_USED_S = 60 };

typedef struct fr_ask { /* a request that waits for its caller's groups */
    fr_party party;
    fr_front *front;
    ig_exchange *ex;
    ig_directory_call call;
    struct fr_ask *next;
} fr_ask;

typedef struct fr_spent { /* tokens of one caller today */
    char user[FR_USER_BYTES];
    uint64_t tokens;
    uint64_t reserved; /* that answers under way may still take */
} fr_spent;

typedef struct fr_asking { /* a request that is being handled */
    bool asking;
    const ig_identity *id;
    ig_person *person;
    ig_freshness fresh;
    ig_caller who;
    char label[64];
} fr_asking;

struct fr_policy {
    ig_config *config;
    ig_config *directory_config; /* what the directory was made of; may be an older one */
    ig_directory *directory;
    ig_keys *keys;
    int64_t keys_seen_s, keys_saved_s;
    ig_key_guard guard;
    ig_waker waker;
    ig_timer timer;
    fr_ask *asks;
    bool keys_needed;             /* there were keys once: without them nobody from afar may come in */
    const ig_grants *const *sets; /* borrowed [n_sets]: what catalogues assign */
    size_t n_sets;
    ig_grant *picked; /* [picked_cap] those about the model that is asked for */
    size_t picked_cap;
    char machine[256];
    /* the request that is being handled */
    bool asking;
    const ig_identity *id;
    ig_person *person;
    ig_freshness fresh;
    ig_caller who;
    char rule[IG_RULE_ID_MAX]; /* that refused it */
    fr_asking kept;            /* while another is spoken of */
    char label[64];            /* of privacy, "" */
    /* tokens since midnight by person; the ledger knows them by key */
    fr_spent *spent;
    size_t n_spent, spent_cap;
    uint64_t left; /* of the caller's day, by the last decision; IG_NO_TOKEN_LIMIT */
    int64_t day;
};

static bool configured(const fr_front *f)
{
    return f->policy && (f->policy->config->policy.configured || f->policy->n_sets);
}

/* A key has bounds of its own, also where there is no policy. */
static bool applies(const fr_front *f)
{
    return configured(f) || (f->policy && f->policy->asking && f->policy->who.key);
}

/* ------------------------------------------------------------------------------------------------ keys */

/* A key that was made by `ingle key add` begins so; other texts are what clients send where none is needed. */
static bool is_ours(ig_str key) { return ig_str_starts(key, IG_STR("ingle-")); }

static void look_at_keys(fr_front *f)
{
    struct fr_policy *p = f->policy;
    ig_error err;
    int64_t now = ig_clock_s();
    if (now == p->keys_seen_s) return;
    p->keys_seen_s = now;
    size_t n = ig_keys_n(p->keys);
    p->keys_needed |= n > 0;
    if (ig_keys_refresh(p->keys, &err) != IG_OK) fr_say(f, "the old keys stay in force: %s", err.text);
    if (n != ig_keys_n(p->keys)) fr_follow_look(f);
    if (now - p->keys_saved_s < SAVE_USED_S) return;
    p->keys_saved_s = now;
    if (ig_keys_save_used(p->keys, &err) != IG_OK) fr_say(f, "%s", err.text);
}

static const ig_key *key_of(const fr_front *f, const ig_incoming *in)
{
    ig_str text = {0};
    ig_error err;
    if (!f->policy || !ig_keys_n(f->policy->keys) || ig_access_key(in->head, &text, &err) != IG_OK || !is_ours(text))
        return NULL;
    return ig_keys_check(f->policy->keys, text, ig_clock_s());
}

bool fr_keys_exist(const fr_front *f)
{
    return f->policy && (f->policy->keys_needed || ig_keys_n(f->policy->keys) > 0);
}

/* Those who guess are told apart by what they cannot change: the uid on this machine, else the address. */
static size_t peer_of(const ig_identity *who, unsigned char out[24])
{
    if (who->known) {
        memcpy(out, &who->uid, sizeof who->uid);
        return sizeof who->uid;
    }
    memcpy(out, who->remote.addr, sizeof who->remote.addr);
    return sizeof who->remote.addr;
}

fr_key_state fr_policy_key(fr_front *f, const ig_incoming *in, bool wanted, unsigned *wait_s)
{
    ig_str text = {0};
    ig_error err;
    unsigned char peer[24];
    if (!f->policy) return FR_KEY_NONE;
    look_at_keys(f);
    if (!wanted && !ig_keys_n(f->policy->keys)) return FR_KEY_NONE;
    bool read = ig_access_key(in->head, &text, &err) == IG_OK;
    if (wanted ? read && !text.len : !read || !is_ours(text)) return FR_KEY_NONE;
    size_t n = peer_of(in->who, peer);
    *wait_s = ig_key_guard_wait(&f->policy->guard, peer, n, ig_loop_now(f->loop));
    if (*wait_s) return FR_KEY_WAIT;
    bool good = key_of(f, in) != NULL;
    ig_key_guard_tell(&f->policy->guard, peer, n, ig_loop_now(f->loop), good);
    return good ? FR_KEY_GOOD : FR_KEY_WRONG;
}

/* ------------------------------------------------------------------------------------------------ who asks */

/* Whom the directory has to be asked for; false: for nobody. */
static bool subject(const fr_front *f, const ig_incoming *in, const ig_key *key, const char **account, uint32_t *uid)
{
    *account = key ? key->account : NULL;
    *uid = in->who->uid;
    if (!configured(f)) return false;
    return key ? *key->account && !key->n_groups : in->who->known;
}

/* X-Ingle-Label: what cannot be one is a label that no rule knows. */
static void read_label(struct fr_policy *p, const ig_incoming *in)
{
    const ig_http_field *field = ig_http_find(in->head, "x-ingle-label");
    size_t n = field ? field->value.len : 0;
    bool fits = n < sizeof p->label && (!n || !memchr(field->value.ptr, 0, n));
    snprintf(p->label, sizeof p->label, "%.*s", fits ? (int)n : 1, !n ? "" : fits ? field->value.ptr : "?");
}

static void enter(fr_front *f, const ig_incoming *in, ig_person *person, ig_freshness fresh)
{
    struct fr_policy *p = f->policy;
    p->asking = true;
    p->rule[0] = 0;
    read_label(p, in);
    p->id = in->who;
    p->person = person;
    p->fresh = fresh;
    if (person && fresh != IG_UNKNOWN) fr_follow_saw(f, person);
    ig_caller_of(in->who->known, in->who->uid, fr_may_manage(f, in->who), person, fresh, key_of(f, in), &p->who);
}

void fr_policy_enter(fr_front *f, const ig_incoming *in)
{
    const char *account;
    uint32_t uid;
    ig_freshness fresh = IG_UNKNOWN;
    ig_person *person = NULL;
    if (!f->policy) return;
    if (subject(f, in, key_of(f, in), &account, &uid))
        person = ig_directory_peek(f->policy->directory, account, uid, &fresh);
    enter(f, in, person, fresh);
}

void fr_policy_leave(fr_front *f)
{
    if (!f->policy) return;
    f->policy->asking = false;
    ig_person_unref(f->policy->person);
    f->policy->person = NULL;
    f->policy->who = (ig_caller){0};
}

void fr_policy_aside(fr_front *f, const ig_incoming *in)
{
    struct fr_policy *p = f->policy;
    if (!p) return;
    p->kept = (fr_asking){p->asking, p->id, p->person, p->fresh, p->who, ""};
    memcpy(p->kept.label, p->label, sizeof p->label);
    p->person = NULL;
    char rule[IG_RULE_ID_MAX];
    memcpy(rule, p->rule, sizeof rule);
    fr_policy_enter(f, in);
    memcpy(p->rule, rule, sizeof rule);
}

void fr_policy_back(fr_front *f)
{
    struct fr_policy *p = f->policy;
    if (!p) return;
    fr_policy_leave(f);
    p->asking = p->kept.asking;
    p->id = p->kept.id;
    p->person = p->kept.person;
    p->fresh = p->kept.fresh;
    p->who = p->kept.who;
    memcpy(p->label, p->kept.label, sizeof p->label);
    p->kept = (fr_asking){0};
}

static void unlink_ask(fr_ask *a)
{
    for (fr_ask **at = &a->front->policy->asks; *at; at = &(*at)->next)
        if (*at == a) {
            *at = a->next;
            break;
        }
}

static void on_gone(fr_party *party)
{
    fr_ask *a = (fr_ask *)party;
    ig_directory_cancel(a->front->policy->directory, &a->call);
    unlink_ask(a);
    ig_free(a);
}

static void on_groups(void *ctx, const ig_person *person, ig_freshness fresh)
{
    fr_ask *a = ctx;
    fr_front *f = a->front;
    ig_exchange *ex = a->ex;
    unlink_ask(a);
    ig_free(a);
    ig_exchange_set_ctx(ex, NULL);
    const ig_incoming *in = ig_exchange_request(ex);
    ig_person *copy = ig_person_new(person);
    enter(f, in, copy, copy ? fresh : IG_UNKNOWN);
    fr_request(f, ex, in);
    fr_policy_leave(f);
}

static void deliver(void *ctx)
{
    fr_front *f = ctx;
    uint64_t next = ig_directory_deliver(f->policy->directory);
    if (next) ig_timer_set(f->loop, &f->policy->timer, next, deliver, f);
}

void fr_policy_ask(fr_front *f, const char *account, uint32_t uid, ig_directory_call *call, ig_directory_fn fn,
                   void *ctx)
{
    ig_directory_ask(f->policy->directory, account, uid, call, fn, ctx);
    if (!f->policy->timer.set) ig_timer_set(f->loop, &f->policy->timer, call->due_ns, deliver, f);
}

ig_directory *fr_policy_directory(fr_front *f) { return f->policy->directory; }

const ig_keys *fr_policy_keys(fr_front *f)
{
    f->policy->keys_seen_s = 0;
    look_at_keys(f);
    return f->policy->keys;
}

const ig_config *fr_policy_config(const fr_front *f) { return f->policy->config; }
const char *fr_policy_machine(const fr_front *f) { return f->policy->machine; }

static void wake(void *ctx) { ig_waker_wake(&((fr_front *)ctx)->policy->waker); }

bool fr_policy_begin(fr_front *f, ig_exchange *ex, const ig_incoming *in)
{
    const char *account;
    uint32_t uid;
    ig_freshness fresh = IG_UNKNOWN;
    if (!f->policy) return true;
    bool asks = subject(f, in, key_of(f, in), &account, &uid);
    ig_person *known = asks ? ig_directory_peek(f->policy->directory, account, uid, &fresh) : NULL;
    fr_ask *a = known || !asks ? NULL : ig_calloc(1, sizeof *a);
    if (!a) {
        enter(f, in, known, fresh);
        return true;
    }
    a->party.gone = on_gone;
    a->front = f;
    a->ex = ex;
    a->next = f->policy->asks;
    f->policy->asks = a;
    ig_exchange_set_ctx(ex, &a->party);
    fr_policy_ask(f, account, uid, &a->call, on_groups, a);
    return false;
}

void fr_policy_user(const fr_front *f, char *out, size_t n)
{
    const ig_caller *w = f->policy && f->policy->asking ? &f->policy->who : NULL;
    if (w && w->key) snprintf(out, n, "key:%s", w->key->id);
}

/* ------------------------------------------------------------------------------------------------ tokens of today */

/* Whose day it is: a person's, whether they come by user id or by any of their keys. */
static void budget_user(const ig_caller *w, char out[FR_USER_BYTES])
{
    if (w->account && *w->account)
        snprintf(out, FR_USER_BYTES, "user:%.80s", w->account);
    else if (w->has_uid)
        snprintf(out, FR_USER_BYTES, "uid:%" PRIu32, w->uid);
    else if (w->key)
        snprintf(out, FR_USER_BYTES, "key:%s", w->key->id);
    else
        snprintf(out, FR_USER_BYTES, "nobody");
}

static int64_t today(void) { return ig_clock_s() / 86400; } /* of UTC, as the ledger has it */

static fr_spent *spent_of(struct fr_policy *p, const char *user, bool make)
{
    if (p->day != today()) p->n_spent = 0, p->day = today();
    for (size_t i = 0; i < p->n_spent; i++)
        if (!strcmp(p->spent[i].user, user)) return &p->spent[i];
    if (!make || p->n_spent == USERS_MAX) return NULL;
    if (p->n_spent == p->spent_cap) {
        fr_spent *grown = ig_realloc(p->spent, 2 * p->spent_cap + 16, sizeof *grown);
        if (!grown) return NULL;
        p->spent = grown;
        p->spent_cap = 2 * p->spent_cap + 16;
    }
    fr_spent *s = &p->spent[p->n_spent++];
    *s = (fr_spent){0};
    snprintf(s->user, sizeof s->user, "%s", user);
    return s;
}

void fr_policy_budget(const fr_front *f, char out[FR_USER_BYTES])
{
    *out = 0;
    if (configured(f) && f->policy->asking) budget_user(&f->policy->who, out);
}

void fr_policy_spend(fr_front *f, const char *user, const json_t *done)
{
    const json_t *usage = json_object_get(done, "usage");
    json_int_t prompt = json_integer_value(json_object_get(usage, "prompt")),
               completion = json_integer_value(json_object_get(usage, "completion"));
    fr_spent *s = *user && configured(f) ? spent_of(f->policy, user, true) : NULL;
    if (s && prompt >= 0 && completion >= 0) s->tokens += (uint64_t)prompt + (uint64_t)completion;
}

/* An answer may become as long as what is left of the day; one whose length nobody said, half as long, so that others
 * of the same person still find something. Prompts are counted when they were read. */
uint64_t fr_policy_left(const fr_front *f) { return f->policy ? f->policy->left : IG_NO_TOKEN_LIMIT; }

uint32_t fr_policy_reserve(fr_front *f, const char *user, uint64_t left, uint64_t output, uint64_t choices,
                           uint64_t *reserved)
{
    *reserved = 0;
    if (!f->policy || !*user || left == IG_NO_TOKEN_LIMIT || !choices) return UINT32_MAX;
    uint64_t share = left / choices;
    uint64_t each = output && output < share ? output : output ? share : share / 2;
    if (!each) each = 1;
    if (each >= UINT32_MAX) each = UINT32_MAX - 1;
    fr_spent *s = spent_of(f->policy, user, true);
    if (s) *reserved = each * choices, s->reserved += *reserved;
    return (uint32_t)each;
}

void fr_policy_release(fr_front *f, const char *user, uint64_t reserved)
{
    fr_spent *s = reserved && f->policy ? spent_of(f->policy, user, false) : NULL;
    if (s) s->reserved -= reserved < s->reserved ? reserved : s->reserved; /* since midnight they are others */
}

/* What the books say of today, also of before a restart: a person's own use and that of their keys (name_user of job.c
 * writes the names). */
static uint64_t booked_today(fr_front *f)
{
    const struct fr_policy *p = f->policy;
    const ig_caller *w = &p->who;
    char name[FR_USER_BYTES];
    uint64_t sum = 0;
    bool by_person = !w->has_uid && p->person && p->person->has_uid;
    snprintf(name, sizeof name, "uid:%" PRIu32, by_person ? p->person->uid : w->uid);
    if (w->has_uid || by_person)
        sum = fr_books_today(f, name);
    else if (!w->key)
        sum = fr_books_today(f, "nobody");
    for (size_t i = 0; i < ig_keys_n(p->keys); i++) {
        const ig_key *k = ig_keys_at(p->keys, i);
        bool mine =
            (w->key && !strcmp(k->id, w->key->id)) || (w->account && *w->account && !strcmp(k->account, w->account));
        if (!mine) continue;
        snprintf(name, sizeof name, "key:%s", k->id);
        sum += fr_books_today(f, name);
    }
    return sum;
}

/* ------------------------------------------------------------------------------------------------ the decision */

static void decide(fr_front *f, const fr_request_facts *r, bool listing, ig_decision *d)
{
    struct fr_policy *p = f->policy;
    char publisher[128] = "", user[FR_USER_BYTES];
    ig_ask ask = {.action = (ig_action)r->action,
                  .source = r->source,
                  .machine = p->machine,
                  .n_ctx = r->n_ctx,
                  .output = r->output,
                  .label = *p->label ? p->label : NULL,
                  .when = ig_moment_of(ig_clock_s()),
                  .listing = listing};
    ask.model.name = r->model;
    if (r->entry) {
        ask.model.name = r->entry->name;
        ask.model.digest = r->entry->digest;
        ask.model.licence = ig_licence_id(r->entry->license);
        if (r->entry->manifest) ig_publisher_of(r->entry->manifest->source, publisher);
        ask.model.publisher = publisher;
    } else if (r->source) {
        ig_publisher_of(r->source, publisher);
        ask.model.publisher = publisher;
    }
    budget_user(&p->who, user);
    fr_spent *s = listing ? NULL : spent_of(p, user, false);
    ask.tokens_today = s ? s->tokens : 0;
    uint64_t booked = listing ? 0 : booked_today(f);
    if (booked > ask.tokens_today) ask.tokens_today = booked;
    if (s) ask.tokens_today += s->reserved;
    ig_policy policy = p->config->policy;
    policy.configured |= p->n_sets > 0;
    if (!ig_grants_pick(p->sets, p->n_sets, ask.model.name, ask.model.digest, &p->picked, &p->picked_cap,
                        &policy.n_assignments)) {
        *d = (ig_decision){.rule = "builtin:memory", .reason = "out of memory for the decision; try again later"};
        return;
    }
    policy.assignments = p->picked;
    ig_policy_decide(&policy, &p->who, &ask, d, NULL);
    if (listing) return;
    uint64_t limit = d->limits.tokens_per_day;
    p->left = limit == IG_NO_TOKEN_LIMIT ? limit : limit > ask.tokens_today ? limit - ask.tokens_today : 0;
}

bool fr_may(fr_front *f, const fr_request_facts *r, ig_problem *p)
{
    ig_decision d = {.limits = IG_LIMITS_NONE};
    if (r->decided) *r->decided = d;
    if (f->policy) f->policy->left = IG_NO_TOKEN_LIMIT;
    if (!applies(f)) return true;
    decide(f, r, false, &d);
    if (r->decided) *r->decided = d;
    if (d.allowed) return true;
    snprintf(f->policy->rule, sizeof f->policy->rule, "%s", d.rule);
    ig_problem_kind kind = d.refusal == IG_REFUSED_BUDGET ? IG_P_OVERLOADED : IG_P_DENIED;
    return ig_problem_set(p, kind, NULL, "%.390s [%s]", d.reason, d.rule);
}

const char *fr_policy_rule(const fr_front *f)
{
    return f->policy && f->policy->asking && *f->policy->rule ? f->policy->rule : NULL;
}

bool fr_policy_on(const fr_front *f) { return applies(f); }

const ig_config *fr_config(const fr_front *f) { return f->policy->config; }

void fr_policy_assign(fr_front *f, const ig_grants *const *sets, size_t n)
{
    f->policy->sets = sets;
    f->policy->n_sets = n;
}

bool fr_sees(fr_front *f, const fr_entry *e)
{
    ig_decision d;
    if (!applies(f)) return true;
    decide(f, &(fr_request_facts){.action = IG_MAY_USE, .entry = e}, true, &d);
    return d.allowed;
}

/* ------------------------------------------------------------------------------------------------ start and reload */

/* What is known survives a restart: a laptop that boots without a network still serves its owner. */
static void place_state(const fr_front *f, ig_config *c)
{
    char path[4200];
    if (c->directory.state_file || !f->config->store || (!c->policy.configured && !c->n_follows)) return;
    int n = snprintf(path, sizeof path, "%s/directory.json", f->config->store);
    if (n > 0 && (size_t)n < sizeof path) c->directory.state_file = ig_arena_copy(&c->arena, path, (size_t)n);
}

static ig_status load(const fr_front *f, ig_config **out, ig_error *err)
{
    const char *folder = f->config->policy ? f->config->policy : ig_config_folder();
    IG_TRY(ig_config_load(folder, out, err));
    place_state(f, *out);
    return IG_OK;
}

static ig_status open_directory(fr_front *f, ig_config *c, ig_error *err)
{
    IG_TRY(ig_directory_new(&c->directory, &f->policy->directory, err));
    f->policy->directory_config = c;
    ig_directory_on_done(f->policy->directory, wake, f);
    return IG_OK;
}

/* Into f->policy->keys; on a failure that stays as it was. */
static ig_status open_keys(fr_front *f, ig_error *err)
{
    char path[4096];
    ig_error none;
    const ig_config *c = f->policy->config;
    if (c->keys_file)
        snprintf(path, sizeof path, "%s", c->keys_file);
    else if (ig_keys_place(path, sizeof path, &none) != IG_OK)
        snprintf(path, sizeof path, "/nonexistent/keys.json"); /* no place, no keys */
    ig_keys *keys;
    IG_TRY(ig_keys_open(path, &keys, err));
    if (f->policy->keys) (void)ig_keys_save_used(f->policy->keys, &none);
    ig_keys_close(f->policy->keys);
    f->policy->keys = keys;
    f->policy->keys_needed |= ig_keys_n(keys) > 0;
    return IG_OK;
}

ig_status fr_policy_open(fr_front *f, ig_error *err)
{
    f->policy = ig_calloc(1, sizeof *f->policy);
    if (!f->policy) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the policy");
    ig_waker_add(f->loop, &f->policy->waker, deliver, f);
    gethostname(f->policy->machine, sizeof f->policy->machine - 1);
    IG_TRY(load(f, &f->policy->config, err));
    IG_TRY(open_directory(f, f->policy->config, err));
    return open_keys(f, err);
}

/* A new directory where its settings have changed; requests that wait for the old one are answered by the new. */
static void change_directory(fr_front *f, ig_config *c)
{
    struct fr_policy *p = f->policy;
    ig_directory *old = p->directory;
    ig_config *old_config = p->directory_config;
    ig_error err;
    fr_follow_pause(f);
    for (fr_ask *a = p->asks; a; a = a->next) ig_directory_cancel(old, &a->call);
    if (open_directory(f, c, &err) != IG_OK) {
        fr_say(f, "the old directory stays: %s", err.text);
        p->directory = old;
        p->directory_config = old_config;
    }
    for (fr_ask *a = p->asks; a; a = a->next) {
        const ig_incoming *in = ig_exchange_request(a->ex);
        const ig_key *key = key_of(f, in);
        ig_directory_ask(p->directory, key ? key->account : NULL, in->who->uid, &a->call, on_groups, a);
    }
    if (p->directory == old) return;
    bool left = ig_directory_free(old);
    if (old_config != p->config && left) ig_config_free(old_config);
}

void fr_policy_reload(void *ctx)
{
    fr_front *f = ctx;
    struct fr_policy *p = f->policy;
    ig_config *c, *old = p->config;
    ig_error err;
    if (load(f, &c, &err) != IG_OK) {
        fr_say(f, "the old policy stays in force: %s", err.text);
        return;
    }
    p->config = c;
    if (ig_directory_config_equal(&p->directory_config->directory, &c->directory)) {
        ig_directory_expire(p->directory);
        if (old != p->directory_config) ig_config_free(old);
    } else {
        ig_config *made_of = p->directory_config;
        change_directory(f, c);
        if (old != made_of && old != p->directory_config) ig_config_free(old);
    }
    if (open_keys(f, &err) != IG_OK) fr_say(f, "the old keys stay in force: %s", err.text);
    fr_say(f, "policy read again: %zu rules, mode %s", c->policy.n_rules, c->policy.deny ? "deny" : "open");
}

void fr_policy_close(fr_front *f)
{
    struct fr_policy *p = f->policy;
    ig_error err;
    if (!p) return;
    while (p->asks) on_gone(&p->asks->party);
    ig_timer_clear(f->loop, &p->timer);
    ig_waker_remove(&p->waker);
    bool left = ig_directory_free(p->directory);
    if (p->keys) (void)ig_keys_save_used(p->keys, &err);
    ig_keys_close(p->keys);
    if (p->directory_config != p->config && left) ig_config_free(p->directory_config);
    if (left || p->directory_config != p->config) ig_config_free(p->config);
    ig_free(p->spent);
    ig_free(p->picked);
    ig_free(p);
    f->policy = NULL;
}
