/* The thread that follows catalogues: syncs each when it is due, takes away what is offered no more, fetches what the
 * people of this machine are required to have, and tells what it found. It owns STORE/state/follow.json: which models
 * it brought, and since when everything is as it is. See follow.h for who owns what. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "serve/front/follow.h"

enum {
    RETRY_S = 60,
    START_S = 60, /* a tenth of it is the longest delay of the first sync */
    RETRY_DOUBLINGS = 6,
    SYNC_S = 120, /* all documents of one sync; one of them */
    SYNC_DOCUMENT_S = 30,
    REFUSED_REST_S = 6 * 3600, /* a model that failed its checks is fetched again so late, or when somebody asks */
    SLEEP_LOOK_S = 10,         /* between looks whether the machine has slept */
    POWER_LOOK_S = 15,         /* between looks at the mains during a download */
    PULL_MIN_S = 300,          /* a download is left for a sync that is due after so long at the earliest */
    STATE_BYTES_MAX = 8 << 20,
    FOR_MAX = 16
};

typedef struct source {
    fr_brief *brief; /* counted; NULL: never synced */
    uint64_t due_ns;
    unsigned n_failed;
    char fault[480]; /* of the last sync, "" */
} source;

typedef struct thread {
    struct fr_follow *w;
    fr_front *front;
    fr_settings *s; /* of this round, counted */
    source sources[IG_FOLLOWS_MAX];
    json_t *memory; /* {"catalogues": {...}, "models": {...}} */
    json_t *rows;   /* of the report */
    json_t *removed;
    fr_people people;
    uint64_t round, retry_ns, looked_ns, began_ns, told_ns;
    unsigned n_failed;
    const ig_follow *pulling;
    json_t *row; /* that is being fetched */
    bool failed, unsaved, asked, refused;
} thread;

__attribute__((format(printf, 2, 3))) static void tell(thread *t, const char *format, ...);

/* ------------------------------------------------------------------------------------------------ what is kept */

static int state_folder(const fr_front *f)
{
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/state", ig_store_root(f->store));
    int fd = ig_disk_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0 || errno != ENOENT) return fd;
    if (mkdir(path, 0700) && errno != EEXIST) return -1;
    return ig_disk_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
}

/* Always an object with its parts, or NULL without memory. */
static json_t *load_memory(const fr_front *f)
{
    json_t *memory = NULL;
    ig_buf text;
    ig_error err;
    json_error_t why;
    int dir = state_folder(f), fd = dir < 0 ? -1 : ig_disk_open_regular(dir, "follow.json", O_RDONLY, NULL);
    ig_buf_init(&text, STATE_BYTES_MAX);
    if (fd >= 0 && ig_fd_read_all(fd, "follow.json", &text, &err) == IG_OK)
        memory = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &why);
    ig_buf_fini(&text);
    if (fd >= 0) close(fd);
    if (dir >= 0) close(dir);
    if (!json_is_object(memory)) {
        json_decref(memory);
        memory = json_object();
    }
    static const char *const parts[] = {"catalogues", "models"};
    for (size_t i = 0; i < 2; i++)
        if (memory && !json_is_object(json_object_get(memory, parts[i])))
            json_object_set_new(memory, parts[i], json_object());
    return memory;
}

static void save_memory(thread *t)
{
    char *text = json_dumps(t->memory, JSON_INDENT(1) | JSON_SORT_KEYS);
    int dir = text ? state_folder(t->front) : -1;
    if (dir < 0 || !ig_disk_write_whole(dir, "follow.json", text, strlen(text), 0600)) {
        if (!t->unsaved) tell(t, "cannot write state/follow.json in the store: %s", strerror(errno));
        t->unsaved = true;
    } else
        t->unsaved = false;
    if (dir >= 0) close(dir);
    free(text);
}

/* The record of a name in "catalogues" or "models", made where it is missing. */
static json_t *record(thread *t, const char *part, const char *name)
{
    json_t *all = json_object_get(t->memory, part), *r = json_object_get(all, name);
    if (json_is_object(r)) return r;
    json_object_set_new(all, name, json_object());
    return json_object_get(all, name);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *z = json_string_value(json_object_get(o, key));
    return z ? z : "";
}

/* Says the state of a record and, where it is another than before, since when. why may be NULL. */
static void mark(json_t *rec, const char *state, const char *why)
{
    if (strcmp(text_of(rec, "state"), state) != 0) {
        json_object_set_new(rec, "state", json_string(state));
        json_object_set_new(rec, "since", json_integer(ig_clock_s()));
    }
    if (why && *why)
        json_object_set_new(rec, "why", json_string(why));
    else
        json_object_del(rec, "why");
}

/* ------------------------------------------------------------------------------------------------ news */

static void notice(thread *t, const fr_notice *n)
{
    struct fr_follow *w = t->w;
    pthread_mutex_lock(&w->lock);
    if (w->n_notices < FOLLOW_NOTICES_MAX) w->notices[w->n_notices++] = *n;
    pthread_mutex_unlock(&w->lock);
    ig_waker_wake(&w->waker);
}

__attribute__((format(printf, 2, 3))) static void tell(thread *t, const char *format, ...)
{
    fr_notice n = {0};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(n.line, sizeof n.line, format, args);
    va_end(args);
    notice(t, &n);
}

static bool is_expired(const ig_catalogue *c) { return c->expires_s < ig_clock_s(); }

static json_t *catalogue_json(thread *t, size_t i)
{
    const ig_follow *f = &t->s->list[i];
    const source *s = &t->sources[i];
    const ig_catalogue *c = s->brief ? s->brief->c : NULL;
    json_t *rec = record(t, "catalogues", f->name);
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:O*, s:O*}", "name", f->name, "source", f->source, "state", text_of(rec, "state"),
                  "since", json_object_get(rec, "since"), "why", json_object_get(rec, "why"));
    if (!j || !c) return j;
    json_object_set_new(j, "version", json_integer((json_int_t)c->version));
    json_object_set_new(j, "synced", json_integer(c->synced_s));
    json_object_set_new(j, "expires", json_integer(c->expires_s));
    json_object_set_new(j, "expired", json_boolean(is_expired(c)));
    return j;
}

static void publish_report(thread *t)
{
    json_t *catalogues = json_array(), *row;
    bool fine = true;
    size_t i;
    for (i = 0; i < t->s->n; i++) {
        const fr_brief *b = t->sources[i].brief;
        fine &= b && !is_expired(b->c);
        json_array_append_new(catalogues, catalogue_json(t, i));
    }
    json_array_foreach(t->rows, i, row)
    {
        const json_t *rec = json_object_get(json_object_get(t->memory, "models"), text_of(row, "name"));
        bool own = !json_object_get(row, "blocked");
        const char *state = json_object_get(row, "fetching") ? "fetching" : text_of(rec, "state");
        if (own) json_object_set_new(row, "state", json_string(state));
        if (own && json_object_get(rec, "since")) json_object_set(row, "since", json_object_get(rec, "since"));
        json_object_del(row, "why");
        const char *why = own ? text_of(rec, "why") : text_of(row, "blocked");
        if (*why) json_object_set_new(row, "why", json_string(why));
        bool required = !strcmp(text_of(row, "wanted"), "required");
        fine &= !required || !strcmp(text_of(row, "state"), "present");
    }
    json_t *j = json_pack("{s:b, s:I, s:s, s:o, s:O, s:O}", "compliant", (int)fine, "checked", (json_int_t)ig_clock_s(),
                          "machine", t->s->machine, "catalogues", catalogues, "models", t->rows, "removed", t->removed);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text) return;
    pthread_mutex_lock(&t->w->lock);
    free(t->w->report);
    t->w->report = text;
    pthread_mutex_unlock(&t->w->lock);
    ig_waker_wake(&t->w->waker);
    t->told_ns = ig_boot_ns();
}

/* What is required and here, of the catalogues that want it loaded before anyone asks. */
static void publish_preload(thread *t)
{
    json_t *names = json_array(), *row;
    size_t i, at;
    json_array_foreach(t->rows, i, row)
    {
        bool here = !strcmp(text_of(row, "wanted"), "required") && !strcmp(text_of(row, "state"), "present");
        for (at = 0; here && at < t->s->n; at++)
            if (t->s->list[at].preload && !strcmp(t->s->list[at].name, text_of(row, "catalogue")))
                json_array_append(names, json_object_get(row, "name"));
    }
    pthread_mutex_lock(&t->w->lock);
    json_decref(t->w->preload);
    t->w->preload = names;
    pthread_mutex_unlock(&t->w->lock);
    ig_waker_wake(&t->w->waker);
}

/* ------------------------------------------------------------------------------------------------ sync */

static bool is_trusted_file(const char *path, ig_error *err)
{
    struct stat sb;
    if (stat(path, &sb)) return ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot open the root %s", path), false;
    if (sb.st_mode & 022)
        return ig_fail(err, IG_DENIED, 0, "others may write the root; type: chmod go-w %s", path), false;
    if (sb.st_uid != 0 && sb.st_uid != geteuid())
        return ig_fail(err, IG_DENIED, 0, "the root %s belongs to uid %u; expected root or who runs this", path,
                       (unsigned)sb.st_uid),
               false;
    return true;
}

static fr_brief *new_brief(const ig_follow *f, ig_catalogue *c, ig_error *err)
{
    fr_brief *b = ig_calloc(1, sizeof *b);
    if (!b) {
        ig_catalogue_free(c);
        ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogue");
        return NULL;
    }
    b->refs = 1;
    b->c = c;
    b->expired = f->grace_set && c->expires_s + (int64_t)f->grace_s < ig_clock_s();
    (void)snprintf(b->name, sizeof b->name, "%s", f->name);
    if (ig_grants_of(c, b->name, b->expired, &b->grants, err) == IG_OK) return b;
    ig_catalogue_free(c);
    ig_free(b);
    return NULL;
}

static void drop(thread *t, fr_brief *b)
{
    pthread_mutex_lock(&t->w->lock);
    fr_brief_unref(b);
    pthread_mutex_unlock(&t->w->lock);
}

static bool add_lost(fr_brief *b, ig_grant *g, const char *model, const char *digest)
{
    char id[IG_RULE_ID_MAX], sum[IG_HEX_LEN + 16];
    const char **item = ig_arena_alloc(&b->grants.arena, 2, sizeof *item);
    (void)snprintf(id, sizeof id, "%s:unknown", b->name);
    (void)snprintf(sum, sizeof sum, "sha256:%s", digest);
    if (item) item[0] = ig_arena_copy(&b->grants.arena, model, strlen(model));
    if (item) item[1] = ig_arena_copy(&b->grants.arena, sum, strlen(sum));
    *g = (ig_grant){.rule = ig_arena_copy(&b->grants.arena, id, strlen(id)),
                    .catalogue = b->name,
                    .reason = "The catalogue of this model cannot be read on this machine; it comes back with a sync.",
                    .models = {item, 2},
                    .state = IG_GRANT_DENIED,
                    .limits = IG_LIMITS_NONE};
    return item && item[0] && item[1] && g->rule;
}

/* What the catalogue brought is here, and nothing says for whom: it is for nobody. NULL: it brought nothing. */
static fr_brief *lost_brief(const fr_front *front, const ig_follow *f)
{
    json_t *memory = load_memory(front), *models = json_object_get(memory, "models"), *rec;
    size_t n = json_object_size(models), k = 0;
    fr_brief *b = n ? ig_calloc(1, sizeof *b) : NULL;
    ig_grant *list = b ? ig_arena_alloc(&b->grants.arena, n, sizeof *list) : NULL;
    bool ok = list && (b->c = ig_calloc(1, sizeof *b->c)) != NULL;
    const char *name;
    if (b) (void)snprintf(b->name, sizeof b->name, "%s", f->name);
    json_object_foreach(models, name, rec) if (ok && !strcmp(text_of(rec, "catalogue"), f->name) &&
                                               json_is_true(json_object_get(rec, "placed"))) ok =
        add_lost(b, &list[k++], name, text_of(rec, "digest"));
    json_decref(memory);
    if (b) b->refs = 1, b->lost = true, b->grants.list = list, b->grants.n = k;
    if (ok && k) return b;
    fr_brief_unref(b);
    return NULL;
}

fr_brief *fr_brief_open(const fr_front *front, const ig_follow *f, ig_error *err)
{
    ig_catalogue *c;
    if (ig_catalogue_open(front->store, f->name, &c, err) == IG_OK) return new_brief(f, c, err);
    return lost_brief(front, f);
}

static uint64_t seconds(uint64_t s) { return s * FR_NS_PER_S; }

/* A tenth less at random: ten thousand machines that were switched on together do not ask together. */
static uint64_t jittered(uint32_t interval_s)
{
    uint64_t ns = seconds(interval_s), random;
    ig_random(&random, sizeof random);
    return ns - random % (ns / 10 + 1);
}

static uint64_t retry_after(unsigned n_failed, uint32_t interval_s)
{
    unsigned doublings = n_failed < RETRY_DOUBLINGS ? n_failed : RETRY_DOUBLINGS;
    uint64_t ns = seconds((uint64_t)RETRY_S << doublings), all = seconds(interval_s);
    return ns < all ? ns : all;
}

static void adopt(thread *t, size_t i, ig_catalogue *c)
{
    ig_error err;
    source *s = &t->sources[i];
    fr_brief *b = new_brief(&t->s->list[i], c, &err);
    if (!b) {
        (void)snprintf(s->fault, sizeof s->fault, "%.400s", err.text);
        return;
    }
    if (s->brief) drop(t, s->brief);
    s->brief = b;
}

/* A server that says nothing keeps neither the end of the service nor a reload waiting. */
static bool may_go_on(void *ctx)
{
    thread *t = ctx;
    struct fr_follow *w = t->w;
    pthread_mutex_lock(&w->lock);
    bool go_on = !w->stop && w->settings == t->s;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

static void sync_one(thread *t, size_t i)
{
    const ig_follow *f = &t->s->list[i];
    source *s = &t->sources[i];
    ig_catalogue_sync_options o = {.source = f->source,
                                   .root_file = f->root,
                                   .name = f->name,
                                   .insecure = f->insecure,
                                   .document_s = SYNC_DOCUMENT_S,
                                   .total_s = SYNC_S,
                                   .go_on = may_go_on,
                                   .ctx = t};
    ig_catalogue_sync_result result = {0};
    ig_catalogue *c = NULL;
    ig_error err = {0};
    ig_status st =
        is_trusted_file(f->root, &err) ? ig_catalogue_sync(t->front->store, &o, &result, &c, &err) : err.status;
    if (*result.note) tell(t, "catalogue %s: %s", f->name, result.note);
    if (st == IG_OK) {
        bool again = s->n_failed > 0;
        s->n_failed = 0;
        *s->fault = 0;
        s->due_ns = ig_boot_ns() + jittered(f->interval_s);
        if (result.changed || again || !s->brief || s->brief->lost)
            tell(t, "catalogue %s: version %llu is in force, %zu models", f->name, (unsigned long long)c->version,
                 c->n_targets);
        adopt(t, i, c);
        return;
    }
    if (st == IG_CANCELLED) return; /* it is due as before */
    if (strcmp(s->fault, err.text) != 0) tell(t, "catalogue %s: %.440s", f->name, err.text);
    (void)snprintf(s->fault, sizeof s->fault, "%.470s", err.text);
    s->due_ns = ig_boot_ns() + retry_after(s->n_failed++, f->interval_s);
}

static void mark_catalogue(thread *t, size_t i)
{
    const source *s = &t->sources[i];
    json_t *rec = record(t, "catalogues", t->s->list[i].name);
    if (!s->brief)
        mark(rec, "never", *s->fault ? s->fault : NULL);
    else if (s->brief->lost)
        mark(rec, "damaged", *s->fault ? s->fault : "its state on this machine cannot be read");
    else if (s->brief->expired)
        mark(rec, "expired", "it has expired for longer than the grace period, and its models are refused");
    else
        mark(rec, *s->fault ? "stale" : "current", *s->fault ? s->fault : NULL);
}

/* The clock may have passed the end of the grace. */
static void look_at_clock(thread *t, size_t i)
{
    const ig_follow *f = &t->s->list[i];
    source *s = &t->sources[i];
    ig_error err;
    bool expired =
        s->brief && !s->brief->lost && f->grace_set && s->brief->c->expires_s + (int64_t)f->grace_s < ig_clock_s();
    if (!s->brief || expired == s->brief->expired) return;
    fr_brief *b = fr_brief_open(t->front, f, &err);
    if (!b) return;
    drop(t, s->brief);
    s->brief = b;
}

/* ------------------------------------------------------------------------------------------------ who needs what */

static bool fits_machine(const ig_catalogue_rule *r, const char *machine)
{
    for (size_t i = 0; i < r->machines.n; i++)
        if (ig_pattern_fits(r->machines.list[i], machine)) return true;
    return !r->machines.n;
}

typedef struct offer {
    bool given, elsewhere, denied, required; /* here to somebody; to other machines alone; here to all; here */
} offer;

static void look_at_rules(const ig_catalogue_target *target, const ig_catalogue_rule *rules, size_t n,
                          const char *machine, offer *o)
{
    for (size_t i = 0; i < n; i++) {
        const ig_catalogue_rule *r = &rules[i];
        if (!ig_catalogue_rule_covers(r, target)) continue;
        bool here = fits_machine(r, machine);
        if (r->state == IG_ASSIGNED_DENIED)
            o->denied |= here && !r->users.n && !r->groups.n;
        else
            o->given |= here, o->elsewhere |= !here, o->required |= here && r->state == IG_ASSIGNED_REQUIRED;
    }
}

/* Whether anybody at this machine may have the target. */
static offer offer_of(const ig_catalogue *c, const ig_catalogue_target *target, const char *machine)
{
    offer o = {0};
    look_at_rules(target, c->rules, c->n_rules, machine, &o);
    look_at_rules(target, target->rules, target->n_rules, machine, &o);
    o.given = !o.denied && (o.given || (!o.elsewhere && !c->deny_by_default));
    o.required &= o.given;
    return o;
}

static void who_of(const ig_person *p, const char *machine, const char **groups, ig_who *out)
{
    *out = (ig_who){.uid = -1, .machine = machine};
    if (!p) return;
    if (*p->account) out->user = p->account;
    if (p->has_uid) out->uid = p->uid;
    for (size_t i = 0; i < p->n_groups; i++) groups[i] = p->groups[i].name;
    out->groups = (ig_words){groups, p->n_groups};
}

/* Who of the people must have it: names into list, the rule of the first. A rule for everybody counts without people.
 */
static bool is_required(const thread *t, size_t i, const ig_catalogue_target *target, json_t *list, const char **rule)
{
    const ig_catalogue *c = t->sources[i].brief->c;
    const char **groups = ig_calloc(IG_GROUPS_MAX, sizeof *groups);
    bool required = false;
    for (size_t k = 0; groups && k <= t->people.n; k++) {
        const ig_person *p = k ? t->people.list[k - 1] : NULL;
        ig_who who;
        who_of(p, t->s->machine, groups, &who);
        ig_assignment a = ig_catalogue_decide(c, target, &who);
        if (a.state != IG_ASSIGNED_REQUIRED) continue;
        if (!required) *rule = a.rule;
        required = true;
        char number[16] = "a key";
        if (p && p->has_uid) (void)snprintf(number, sizeof number, "#%u", (unsigned)p->uid);
        if (json_array_size(list) < FOR_MAX)
            json_array_append_new(list, json_string(!p ? "*" : *p->account ? p->account : number));
    }
    ig_free(groups);
    return required;
}

/* ------------------------------------------------------------------------------------------------ taking away */

static const source *source_of(const thread *t, const char *name, size_t *at)
{
    for (size_t i = 0; i < t->s->n; i++)
        if (!strcmp(t->s->list[i].name, name)) return *at = i, &t->sources[i];
    return NULL;
}

static bool may_stay(const thread *t, const char *name, const json_t *rec)
{
    size_t at = 0;
    const source *s = source_of(t, text_of(rec, "catalogue"), &at);
    if (!s) return false; /* no longer followed */
    if (!s->brief || s->brief->lost) return true;
    const ig_catalogue_target *target = ig_catalogue_find(s->brief->c, name);
    return target && offer_of(s->brief->c, target, t->s->machine).given;
}

static bool remove_one(thread *t, const char *name, const json_t *rec)
{
    fr_notice n = {.op = "remove", .result = "ok"};
    ig_manifest *m;
    ig_error err;
    if (ig_store_find(t->front->store, name, &m, &err) != IG_OK) return true;
    bool ours = !strcmp(m->name.text, name) && !strcmp(m->digest.hex, text_of(rec, "digest"));
    ig_manifest_free(m);
    if (!ours) return true; /* somebody has put another one there */
    ig_status st = ig_store_remove(t->front->store, name, NULL, &err);
    (void)snprintf(n.model, sizeof n.model, "%s", name);
    (void)snprintf(n.digest, sizeof n.digest, "%s", text_of(rec, "digest"));
    (void)snprintf(n.line, sizeof n.line,
                   st == IG_OK ? "model %s is no longer in catalogue %s and was removed%s"
                               : "model %s is no longer in catalogue %s, but: %.300s",
                   name, text_of(rec, "catalogue"), st == IG_OK ? "" : err.text);
    if (st != IG_OK) (void)snprintf(n.result, sizeof n.result, "failed");
    notice(t, &n);
    return st == IG_OK;
}

/* Before the new state is in force, so that no model is there for a moment of which nothing is said any more. */
static void take_away(thread *t)
{
    json_t *models = json_object_get(t->memory, "models"), *rec;
    const char *name;
    void *next;
    json_object_foreach_safe(models, next, name, rec)
    {
        if (!json_is_true(json_object_get(rec, "placed"))) {
            if (!may_stay(t, name, rec)) json_object_del(models, name);
            continue;
        }
        if (may_stay(t, name, rec)) continue;
        if (!remove_one(t, name, rec)) {
            mark(rec, "removing", "the store could not remove it");
            t->failed = true;
            continue;
        }
        if (json_array_size(t->removed) >= FOLLOW_NOTICES_MAX) json_array_remove(t->removed, 0);
        json_array_append_new(t->removed,
                              json_pack("{s:s, s:s, s:s, s:I}", "name", name, "digest", text_of(rec, "digest"),
                                        "catalogue", text_of(rec, "catalogue"), "at", (json_int_t)ig_clock_s()));
        json_object_del(models, name);
    }
}

static void publish_briefs(thread *t)
{
    struct fr_follow *w = t->w;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->n_briefs; i++) fr_brief_unref(w->brief[i]);
    w->n_briefs = 0;
    for (size_t i = 0; i < t->s->n; i++) {
        fr_brief *b = t->sources[i].brief;
        if (!b) continue;
        b->refs++;
        w->brief[w->n_briefs++] = b;
    }
    w->news = w->models_changed = true;
    w->synced = t->round;
    pthread_mutex_unlock(&w->lock);
    ig_waker_wake(&w->waker);
}

/* ------------------------------------------------------------------------------------------------ fetching */

/* Another catalogue that comes first has a model of this name. */
static const char *taken_by(const thread *t, size_t i, const char *name)
{
    for (size_t k = 0; k < i; k++) {
        const fr_brief *b = t->sources[k].brief;
        const ig_catalogue_target *other = b ? ig_catalogue_find(b->c, name) : NULL;
        if (other && offer_of(b->c, other, t->s->machine).given) return b->name;
    }
    return NULL;
}

/* Brought by a catalogue: the service's own, or `ingle catalogue pull`. */
static bool is_placed(const thread *t, const char *name)
{
    ig_manifest *m;
    if (ig_store_find(t->front->store, name, &m, NULL) != IG_OK) return false;
    bool placed = m->source && !strncmp(m->source, "catalogue:", 10);
    ig_manifest_free(m);
    return placed;
}

static void add_row(thread *t, size_t i, const ig_catalogue_target *target)
{
    offer o = offer_of(t->sources[i].brief->c, target, t->s->machine);
    json_t *people = json_array();
    const char *rule = "", *other = taken_by(t, i, target->name);
    char id[IG_RULE_ID_MAX];
    if (!o.given) {
        json_decref(people);
        return;
    }
    bool required = is_required(t, i, target, people, &rule);
    if (!required && o.required && t->s->list[i].machine) required = true;
    (void)snprintf(id, sizeof id, "%s:%s", t->s->list[i].name, rule);
    json_t *row = json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "catalogue", t->s->list[i].name, "name", target->name,
                            "digest", target->digest, "size", (json_int_t)target->size, "wanted",
                            required ? "required" : "available", "for", people);
    if (required && *rule) json_object_set_new(row, "rule", json_string(id));
    json_array_append_new(t->rows, row);
    if (other) {
        json_object_set_new(row, "blocked",
                            json_sprintf("catalogue %s has a model of this name and comes first", other));
        json_object_set_new(row, "state", json_string("blocked"));
        return;
    }
    json_t *rec = record(t, "models", target->name);
    bool present = !target->adapters.n && ig_catalogue_present(t->front->store, target);
    if (strcmp(text_of(rec, "wanted"), target->digest) != 0) { /* another version: the state begins anew */
        json_object_set_new(rec, "wanted", json_string(target->digest));
        json_object_del(rec, "state");
        json_object_del(rec, "refused");
    }
    if (present) json_object_set_new(rec, "digest", json_string(target->digest));
    if (!present && *text_of(rec, "digest")) json_object_set(row, "have", json_object_get(rec, "digest"));
    json_object_set_new(rec, "catalogue", json_string(t->s->list[i].name));
    if (present && is_placed(t, target->name)) json_object_set_new(rec, "placed", json_true());
    const char *state = text_of(rec, "state");
    if (present)
        mark(rec, "present", NULL);
    else if (!required)
        mark(rec, "offered", NULL);
    else if (strcmp(state, "failed") != 0 && strcmp(state, "waiting") != 0)
        mark(rec, "missing", NULL);
}

static void make_rows(thread *t)
{
    json_array_clear(t->rows);
    for (size_t i = 0; i < t->s->n; i++) {
        const ig_catalogue *c = t->sources[i].brief ? t->sources[i].brief->c : NULL;
        for (size_t k = 0; c && k < c->n_targets; k++) add_row(t, i, &c->targets[k]);
    }
}

static bool must_stop(thread *t)
{
    struct fr_follow *w = t->w;
    pthread_mutex_lock(&w->lock);
    bool stop = w->stop || w->asked > t->round || w->settings != t->s;
    pthread_mutex_unlock(&w->lock);
    uint64_t now = ig_boot_ns();
    for (size_t i = 0; i < t->s->n && now - t->began_ns > seconds(PULL_MIN_S); i++) stop |= now >= t->sources[i].due_ns;
    return stop;
}

/* NULL: go on. */
static const char *wrong_time(const thread *t, const ig_follow *f)
{
    if (f->battery && f->metered) return NULL;
    fr_power p = fr_power_now(t->front->config->meters);
    if (p.battery && !f->battery) return "the machine runs on battery";
    return p.metered && !f->metered ? "the network is metered" : NULL;
}

static bool on_progress(void *ctx, const ig_pull_progress *p)
{
    thread *t = ctx;
    uint64_t now = ig_boot_ns();
    if (now - t->told_ns >= seconds(1)) {
        json_object_set_new(t->row, "done", json_integer((json_int_t)p->all_done));
        publish_report(t);
    }
    if (must_stop(t)) return false;
    if (now - t->looked_ns < seconds(POWER_LOOK_S)) return true;
    t->looked_ns = now;
    return wrong_time(t, t->pulling) == NULL;
}

/* Bytes of the models here that this catalogue has brought. */
static uint64_t used_bytes(const thread *t, const char *catalogue)
{
    uint64_t sum = 0;
    const json_t *row;
    size_t i;
    json_array_foreach(t->rows, i, row)
    {
        const json_t *rec = json_object_get(json_object_get(t->memory, "models"), text_of(row, "name"));
        if (!strcmp(text_of(row, "catalogue"), catalogue) && !strcmp(text_of(rec, "state"), "present"))
            sum += (uint64_t)json_integer_value(json_object_get(row, "size"));
    }
    return sum;
}

/* What fails here has come as it was signed: another try within hours brings the same. */
static ig_status look_at_model(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err)
{
    thread *t = ctx;
    ig_status st = ig_model_check(t->front->program, m, fds, about, err);
    t->refused = st == IG_BAD_INPUT || st == IG_UNSUPPORTED;
    return st;
}

static bool rests(const thread *t, const json_t *rec)
{
    int64_t at = json_integer_value(json_object_get(rec, "refused")), now = ig_clock_s();
    return !t->asked && at > 0 && at <= now && now - at < REFUSED_REST_S && !strcmp(text_of(rec, "state"), "failed");
}

static void fetch_now(thread *t, json_t *row, const ig_follow *f, const ig_catalogue_target *target)
{
    json_t *rec = record(t, "models", target->name);
    fr_notice n = {.op = "fetch", .result = "ok"};
    ig_pull_options o = {.insecure = f->insecure,
                         .bytes_per_s_max = f->rate_bytes,
                         .check = {look_at_model, t},
                         .progress = on_progress,
                         .ctx = t};
    ig_error err;
    bool changed = false;
    t->row = row;
    t->refused = false;
    t->pulling = f;
    t->looked_ns = t->began_ns = ig_boot_ns();
    json_object_set_new(row, "fetching", json_true());
    publish_report(t);
    ig_status st = ig_catalogue_pull(t->front->store, target, &o, &changed, &err);
    json_object_del(row, "done");
    json_object_del(row, "fetching");
    if (st == IG_CANCELLED) {
        const char *why = wrong_time(t, f);
        mark(rec, "waiting", why ? why : "the download was interrupted and goes on later");
        t->failed |= why != NULL;
        return;
    }
    (void)snprintf(n.model, sizeof n.model, "%s", target->name);
    (void)snprintf(n.digest, sizeof n.digest, "%s", target->digest);
    (void)snprintf(n.rule, sizeof n.rule, "%s", text_of(row, "rule"));
    if (st == IG_OK) {
        json_object_set_new(rec, "placed", json_true());
        json_object_set_new(rec, "digest", json_string(target->digest));
        json_object_del(row, "have");
        mark(rec, "present", NULL);
        (void)snprintf(n.line, sizeof n.line, "model %s of catalogue %s is here", target->name, f->name);
    } else {
        bool news = strcmp(text_of(rec, "why"), err.text) != 0;
        mark(rec, "failed", err.text);
        if (t->refused) json_object_set_new(rec, "refused", json_integer(ig_clock_s()));
        t->failed = true;
        (void)snprintf(n.result, sizeof n.result, "failed");
        (void)snprintf(n.line, sizeof n.line, "model %s of catalogue %s: %.440s", target->name, f->name, err.text);
        if (!news) return;
    }
    pthread_mutex_lock(&t->w->lock);
    t->w->models_changed = true;
    pthread_mutex_unlock(&t->w->lock);
    notice(t, &n);
}

static void fetch(thread *t, json_t *row)
{
    size_t at = 0;
    const source *s = source_of(t, text_of(row, "catalogue"), &at);
    const ig_follow *f = &t->s->list[at];
    const ig_catalogue_target *target = ig_catalogue_find(s->brief->c, text_of(row, "name"));
    json_t *rec = record(t, "models", target->name);
    const char *why = wrong_time(t, f);
    char text[200];
    if (!why && f->disk_bytes && used_bytes(t, f->name) + target->size > f->disk_bytes) {
        (void)snprintf(text, sizeof text, "it has %llu bytes, and the models of catalogue %s may have %llu together",
                       (unsigned long long)target->size, f->name, (unsigned long long)f->disk_bytes);
        why = text;
    }
    if (!why) {
        fetch_now(t, row, f, target);
        return;
    }
    mark(rec, "waiting", why);
    t->failed = true;
}

static void fetch_all(thread *t)
{
    json_t *row;
    size_t i;
    json_array_foreach(t->rows, i, row)
    {
        const json_t *rec = json_object_get(json_object_get(t->memory, "models"), text_of(row, "name"));
        if (json_object_get(row, "blocked") || strcmp(text_of(row, "wanted"), "required") != 0 ||
            !strcmp(text_of(rec, "state"), "present"))
            continue;
        if (must_stop(t)) return;
        if (!rests(t, rec)) fetch(t, row);
    }
}

/* ------------------------------------------------------------------------------------------------ the rounds */

/* Sources of catalogues that stay keep what they know. */
static void take_settings(thread *t)
{
    struct fr_follow *w = t->w;
    pthread_mutex_lock(&w->lock);
    fr_settings *old = t->s, *new = w->settings;
    t->round = w->asked;
    w->look = false;
    if (old != new) new->refs++;
    t->s = new;
    pthread_mutex_unlock(&w->lock);
    if (old == new) return;
    source kept[IG_FOLLOWS_MAX];
    memcpy(kept, t->sources, sizeof kept);
    memset(t->sources, 0, sizeof t->sources);
    for (size_t i = 0; i < new->n; i++)
        for (size_t k = 0; old && k < old->n; k++)
            if (!strcmp(old->list[k].name, new->list[i].name)) {
                t->sources[i].brief = kept[k].brief;
                kept[k].brief = NULL;
            }
    pthread_mutex_lock(&w->lock);
    for (size_t k = 0; old && k < old->n; k++) fr_brief_unref(kept[k].brief);
    if (old) fr_settings_unref(old);
    pthread_mutex_unlock(&w->lock);
    ig_error err;
    for (size_t i = 0; i < new->n; i++)
        if (!t->sources[i].brief) t->sources[i].brief = fr_brief_open(t->front, &new->list[i], &err);
    /* After a start, where there is something to go on with: not all machines of a morning at once. */
    for (size_t i = 0; i < new->n && !old; i++)
        if (t->sources[i].brief && !t->sources[i].brief->lost)
            t->sources[i].due_ns = ig_boot_ns() + seconds(START_S) - jittered(START_S) + FR_NS_PER_S;
}

static void ask_people(thread *t)
{
    struct fr_follow *w = t->w;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += FOLLOW_PEOPLE_WAIT_S;
    pthread_mutex_lock(&w->lock);
    w->want_people = true;
    w->have_people = false;
    pthread_mutex_unlock(&w->lock);
    ig_waker_wake(&w->waker);
    pthread_mutex_lock(&w->lock);
    while (!w->have_people && !w->stop && pthread_cond_timedwait(&w->bell, &w->lock, &until) != ETIMEDOUT) continue;
    fr_people_fini(&t->people);
    t->people = w->have_people ? w->people : (fr_people){.unsure = true};
    w->people = (fr_people){0};
    w->want_people = false;
    pthread_mutex_unlock(&w->lock);
}

static void one_round(thread *t)
{
    take_settings(t);
    pthread_mutex_lock(&t->w->lock);
    t->asked = t->w->asked > t->w->synced;
    pthread_mutex_unlock(&t->w->lock);
    t->failed = false;
    for (size_t i = 0; i < t->s->n; i++) {
        if (t->asked || ig_boot_ns() >= t->sources[i].due_ns) sync_one(t, i);
        look_at_clock(t, i);
        mark_catalogue(t, i);
    }
    if (!may_go_on(t)) return; /* a new round begins, or the end */
    take_away(t);
    publish_briefs(t);
    if (t->s->n) ask_people(t);
    make_rows(t);
    publish_report(t);
    save_memory(t);
    fetch_all(t);
    publish_report(t);
    publish_preload(t);
    save_memory(t);
    t->failed |= t->people.unsure;
    t->n_failed = t->failed ? t->n_failed + 1 : 0;
    t->retry_ns = t->failed ? ig_boot_ns() + retry_after(t->n_failed - 1, 3600) : UINT64_MAX;
    pthread_mutex_lock(&t->w->lock);
    t->w->done = t->round;
    pthread_mutex_unlock(&t->w->lock);
    ig_waker_wake(&t->w->waker);
}

/* Until something is due, asked or changed. False: the end. */
static bool wait_next(thread *t)
{
    struct fr_follow *w = t->w;
    uint64_t due = t->retry_ns;
    for (size_t i = 0; i < t->s->n; i++)
        if (t->sources[i].due_ns < due) due = t->sources[i].due_ns;
    pthread_mutex_lock(&w->lock);
    for (uint64_t now; !w->stop && !w->look && w->asked <= t->round && (now = ig_boot_ns()) < due;) {
        uint64_t some = due - now < seconds(SLEEP_LOOK_S) ? due - now : seconds(SLEEP_LOOK_S);
        uint64_t at = ig_now_ns() + some;
        struct timespec until = {.tv_sec = (time_t)(at / FR_NS_PER_S), .tv_nsec = (long)(at % FR_NS_PER_S)};
        (void)pthread_cond_timedwait(&w->bell, &w->lock, &until);
    }
    bool go_on = !w->stop;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

void *fr_follow_thread(void *ctx)
{
    struct fr_follow *w = ctx;
    thread *t = ig_calloc(1, sizeof *t);
    if (!t) return NULL;
    t->w = w;
    t->front = w->front;
    t->rows = json_array();
    t->removed = json_array();
    t->memory = load_memory(w->front);
    do one_round(t);
    while (wait_next(t));
    json_decref(t->rows);
    json_decref(t->removed);
    json_decref(t->memory);
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < t->s->n; i++) fr_brief_unref(t->sources[i].brief);
    fr_settings_unref(t->s);
    pthread_mutex_unlock(&w->lock);
    fr_people_fini(&t->people);
    ig_free(t);
    return NULL;
}
