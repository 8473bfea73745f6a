/* ingle catalogue: the actions, and the side of those who read a catalogue: sync, pull, verify, show, diff. */
#include "catalogue.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "daemon.h"
#include "out.h"
#include "serve/serve.h"
#include "shop.h"
#include "verbs.h"

enum { GROUPS_MAX = 1024 };

int catalogue_fail(const ig_error *err) { return shop_fail(err); }

ig_words catalogue_words(const cli_call *call, const char *flag)
{
    const cli_value *v = cli_get(call, flag);
    return (ig_words){v->list, v->n_list};
}

static ig_catalogue_sync_options sync_options(const cli_call *call, const char *at)
{
    return (ig_catalogue_sync_options){.source = at,
                                       .root_file = cli_text(call, "root"),
                                       .name = cli_text(call, "name"),
                                       .insecure = cli_set(call, "insecure")};
}

bool catalogue_is_draft(const char *at)
{
    char path[4200];
    struct stat sb;
    (void)snprintf(path, sizeof path, "%s/draft.json", at);
    return stat(path, &sb) == 0;
}

ig_status catalogue_read(const cli_call *call, const char *at, ig_catalogue **out, ig_error *err)
{
    ig_author *a;
    ig_store *store;
    *out = NULL;
    if (at && catalogue_is_draft(at)) {
        IG_TRY(ig_author_open(at, NULL, &a, err));
        ig_status st = ig_author_draft(a, out, err);
        ig_author_close(a);
        return st;
    }
    if (at) {
        ig_catalogue_sync_options o = sync_options(call, at);
        return ig_catalogue_verify(&o, out, err);
    }
    IG_TRY(shop_open(true, &store, err));
    ig_status st = ig_catalogue_open(store, cli_text(call, "name"), out, err);
    ig_store_close(store);
    return st;
}

/* ------------------------------------------------------------------------------------------------ who */

typedef struct asker {
    ig_who who;
    char user[256], machine[256];
    const char *groups[GROUPS_MAX]; /* owned */
} asker;

static void own_groups(asker *a, const struct passwd *p)
{
    gid_t gids[GROUPS_MAX];
    int n = GROUPS_MAX;
    if (getgrouplist(p->pw_name, p->pw_gid, gids, &n) < 0) return;
    for (int i = 0; i < n; i++) {
        const struct group *g = getgrgid(gids[i]);
        char *name = g ? strdup(g->gr_name) : NULL;
        if (name) a->groups[a->who.groups.n++] = name;
    }
}

/* The one that --user and --group name, else who asks. */
static void asker_init(const cli_call *call, asker *a)
{
    const cli_value *users = cli_get(call, "user"), *groups = cli_get(call, "group"),
                    *machines = cli_get(call, "machine");
    *a = (asker){.who = {.uid = -1}};
    a->who.groups.list = a->groups;
    if (gethostname(a->machine, sizeof a->machine - 1) == 0) a->who.machine = a->machine;
    if (machines->n_list) a->who.machine = machines->list[0];
    if (users->n_list) a->who.user = users->list[0];
    for (size_t i = 0; i < groups->n_list && i < GROUPS_MAX; i++)
        if ((a->groups[a->who.groups.n] = strdup(groups->list[i]))) a->who.groups.n++;
    if (users->n_list || groups->n_list) return;
    const struct passwd *p = getpwuid(getuid());
    a->who.uid = (int64_t)getuid();
    if (!p) return;
    (void)snprintf(a->user, sizeof a->user, "%s", p->pw_name);
    a->who.user = a->user;
    own_groups(a, p);
}

static void asker_fini(asker *a)
{
    for (size_t i = 0; i < a->who.groups.n; i++) free((void *)(uintptr_t)a->groups[i]);
}

/* ------------------------------------------------------------------------------------------------ printing */

static json_t *words_json(ig_words w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w.n; i++) (void)json_array_append_new(list, json_string(w.list[i]));
    return list;
}

static json_t *rules_json(const ig_catalogue_rule *rules, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const ig_catalogue_rule *r = &rules[i];
        const struct {
            const char *key;
            ig_words words;
        } all[] = {{"users", r->users},   {"groups", r->groups},     {"machines", r->machines},
                   {"models", r->models}, {"licenses", r->licences}, {"publishers", r->publishers}};
        json_t *j = json_pack("{s:s, s:s}", "id", r->id, "state", ig_assigned_name(r->state));
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            if (all[k].words.n) (void)json_object_set_new(j, all[k].key, words_json(all[k].words));
        (void)json_array_append_new(list, j);
    }
    return list;
}

static json_t *target_json(const ig_catalogue_target *t)
{
    char digest[80];
    (void)snprintf(digest, sizeof digest, "sha256:%s", t->digest);
    return json_pack("{s:s, s:s, s:I, s:s, s:s*, s:s*, s:s*, s:o, s:o, s:o, s:I, s:I, s:I, s:s*, s:s*, s:s*, s:o}",
                     "name", t->name, "digest", digest, "size", (json_int_t)t->size, "role", t->role, "license",
                     t->licence, "base", t->base, "publisher", t->publisher, "origins", words_json(t->origins),
                     "labels", words_json(t->labels), "adapters", words_json(t->adapters), "context",
                     (json_int_t)t->context_max, "output", (json_int_t)t->output_max, "tokens_per_day",
                     (json_int_t)t->day_tokens_max, "parameters", t->parameters, "template", t->template, "system",
                     t->system, "rules", rules_json(t->rules, t->n_rules));
}

static json_t *head_json(const ig_catalogue *c)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "source", c->source, "synced", (json_int_t)c->synced_s,
                     "expires", (json_int_t)c->expires_s, "root", (json_int_t)c->root, "targets",
                     (json_int_t)c->version, "snapshot", (json_int_t)c->snapshot, "timestamp", (json_int_t)c->timestamp,
                     "default", c->deny_by_default ? "denied" : "available");
}

static void print_words(const char *what, ig_words w)
{
    for (size_t i = 0; i < w.n; i++) cli_outf("%s%s", i ? ", " : what, w.list[i]);
}

static void print_rules(const ig_catalogue_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const ig_catalogue_rule *r = &rules[i];
        cli_outf("    %-9s", ig_assigned_name(r->state));
        print_words(" users ", r->users);
        print_words(" groups ", r->groups);
        print_words(" machines ", r->machines);
        print_words(" models ", r->models);
        print_words(" licences ", r->licences);
        print_words(" publishers ", r->publishers);
        cli_outf("  (%s)\n", r->id);
    }
}

static void print_head(const ig_catalogue *c)
{
    char left[64];
    int64_t s = c->expires_s - (int64_t)time(NULL);
    (void)snprintf(left, sizeof left, s < 0 ? "expired %lld days ago" : "good for %lld days",
                   (long long)((s < 0 ? -s : s) / 86400));
    cli_outf("%s: targets %llu, snapshot %llu, timestamp %llu, root %llu, %s, default %s\n", c->source,
             (unsigned long long)c->version, (unsigned long long)c->snapshot, (unsigned long long)c->timestamp,
             (unsigned long long)c->root, left, c->deny_by_default ? "denied" : "available");
}

static int catalogue_show(const cli_call *call)
{
    ig_catalogue *c;
    ig_error err;
    char size[16];
    if (catalogue_read(call, call->n_args > 1 ? call->args[1] : NULL, &c, &err) != IG_OK) return catalogue_fail(&err);
    if (cli_set(call, "json")) {
        json_t *j = head_json(c), *list = json_array();
        for (size_t i = 0; i < c->n_targets; i++) (void)json_array_append_new(list, target_json(&c->targets[i]));
        (void)json_object_set_new(j, "rules", rules_json(c->rules, c->n_rules));
        (void)json_object_set_new(j, "models", list);
        cli_out_json(j);
        json_decref(j);
    } else {
        print_head(c);
        print_rules(c->rules, c->n_rules);
        for (size_t i = 0; i < c->n_targets; i++) {
            const ig_catalogue_target *t = &c->targets[i];
            cli_outf("%s  %.12s  %s  %s\n", t->name, t->digest, cli_bytes(t->size, size),
                     t->licence ? t->licence : "-");
            print_rules(t->rules, t->n_rules);
        }
    }
    ig_catalogue_free(c);
    return CLI_DONE;
}

/* What is assigned to who asks. Denied ones are shown where --all is given. */
static void print_assignments(const cli_call *call, const ig_catalogue *c, const ig_catalogue_sync_result *result)
{
    asker who;
    json_t *list = json_array();
    bool json = cli_set(call, "json");
    asker_init(call, &who);
    if (!json && !cli_set(call, "quiet")) print_head(c);
    for (size_t i = 0; i < c->n_targets; i++) {
        ig_assignment a = ig_catalogue_decide(c, &c->targets[i], &who.who);
        if (a.state == IG_ASSIGNED_DENIED && !cli_set(call, "all")) continue;
        if (json)
            (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", a.target->name, "digest",
                                                        a.target->digest, "state", ig_assigned_name(a.state), "rule",
                                                        a.rule));
        else
            cli_outf("%-9s  %s  %.12s  (%s)\n", ig_assigned_name(a.state), a.target->name, a.target->digest, a.rule);
    }
    if (json) {
        json_t *j = head_json(c);
        (void)json_object_set(j, "models", list);
        if (result) (void)json_object_set_new(j, "changed", json_boolean(result->changed));
        cli_out_json(j);
        json_decref(j);
    }
    json_decref(list);
    asker_fini(&who);
}

/* ------------------------------------------------------------------------------------------------ actions */

/* A running service that follows catalogues does it; *done false: there is none, or it was not meant. */
static int sync_by_service(const cli_call *call, bool *done)
{
    bool named = false, wait = cli_set(call, "wait");
    json_t *report = NULL;
    ig_error err;
    *done = call->n_args == 1 && !cli_text(call, "root") && !cli_text(call, "name") && !cli_text(call, "store") &&
            daemon_wanted(cli_text(call, "host"), &named);
    if (!*done) return CLI_DONE;
    ig_status st = daemon_call(cli_text(call, "host"), "POST",
                               wait ? "/ingle/catalogue/sync?wait=1" : "/ingle/catalogue/sync", NULL, &report, &err);
    if (st == IG_NOT_FOUND && !named) *done = false; /* it follows none */
    if (st != IG_OK) return *done ? catalogue_fail(&err) : CLI_DONE;
    int code = json_is_true(json_object_get(report, "compliant")) ? CLI_DONE : CLI_NO;
    if (cli_set(call, "json"))
        cli_out_json(report);
    else
        code = cli_compliance_print(report);
    json_decref(report);
    return code;
}

static int sync_dry(const cli_call *call)
{
    ig_catalogue *c;
    ig_error err;
    if (call->n_args != 2)
        return cli_usage("catalogue sync --dry-run wants an address. Type: ingle catalogue sync URL --root root.json "
                         "--dry-run");
    ig_catalogue_sync_options o = sync_options(call, call->args[1]);
    if (ig_catalogue_verify(&o, &c, &err) != IG_OK) return catalogue_fail(&err);
    print_assignments(call, c, NULL);
    ig_catalogue_free(c);
    return CLI_DONE;
}

static int catalogue_sync(const cli_call *call)
{
    bool done;
    if (cli_set(call, "dry-run")) return sync_dry(call);
    int code = sync_by_service(call, &done);
    if (done) return code;
    ig_catalogue_sync_options o = sync_options(call, call->n_args > 1 ? call->args[1] : NULL);
    ig_catalogue_sync_result result = {0};
    ig_store *store = NULL;
    ig_catalogue *c = NULL;
    ig_error err;
    ig_status st = shop_open(false, &store, &err);
    if (st == IG_OK) st = ig_catalogue_sync(store, &o, &result, &c, &err);
    ig_store_close(store);
    if (result.note[0]) cli_note("ingle: warning: %s\n", result.note);
    if (st == IG_OK) print_assignments(call, c, &result);
    ig_catalogue_free(c);
    return st == IG_OK ? CLI_DONE : catalogue_fail(&err);
}

/* Named, or required of who asks. */
static bool is_wanted(const cli_call *call, const ig_catalogue *c, const ig_catalogue_target *t, const ig_who *who)
{
    for (size_t i = 1; i < call->n_args; i++)
        if (ig_catalogue_find(c, call->args[i]) == t) return true;
    return call->n_args == 1 && ig_catalogue_decide(c, t, who).state == IG_ASSIGNED_REQUIRED;
}

static int pull_one(const cli_call *call, ig_store *store, const ig_catalogue_target *t)
{
    shop_progress progress = {.quiet = cli_set(call, "quiet")};
    ig_pull_options o = {.progress = shop_tell,
                         .ctx = &progress,
                         .insecure = cli_set(call, "insecure"),
                         .check = {ig_model_check, NULL}};
    ig_error err;
    bool changed = false;
    if (cli_set(call, "dry-run")) {
        cli_outf("%s  %.12s  %s\n", t->name, t->digest, ig_catalogue_present(store, t) ? "present" : "would be pulled");
        return CLI_DONE;
    }
    ig_status st = ig_catalogue_pull(store, t, &o, &changed, &err);
    cli_bar_end();
    if (st == IG_OK) cli_outf("%s  %.12s  %s\n", t->name, t->digest, changed ? "pulled" : "present");
    return st == IG_OK ? CLI_DONE : catalogue_fail(&err);
}

static int catalogue_pull(const cli_call *call)
{
    ig_store *store = NULL;
    ig_catalogue *c = NULL;
    ig_error err;
    asker who;
    int code = CLI_DONE;
    ig_status st = shop_open(cli_set(call, "dry-run"), &store, &err);
    if (st == IG_OK) st = ig_catalogue_open(store, cli_text(call, "name"), &c, &err);
    for (size_t i = 1; st == IG_OK && i < call->n_args; i++)
        if (!ig_catalogue_find(c, call->args[i]))
            st = ig_fail(&err, IG_NOT_FOUND, 0, "model %.150s is not in the catalogue. Type: ingle catalogue show",
                         call->args[i]);
    if (st != IG_OK) {
        ig_catalogue_free(c);
        ig_store_close(store);
        return catalogue_fail(&err);
    }
    asker_init(call, &who);
    shop_catch_interrupt();
    for (size_t i = 0; i < c->n_targets && !shop_interrupted(); i++) {
        if (!is_wanted(call, c, &c->targets[i], &who.who)) continue;
        int one = pull_one(call, store, &c->targets[i]);
        if (one != CLI_DONE) code = one;
    }
    asker_fini(&who);
    ig_catalogue_free(c);
    ig_store_close(store);
    return code;
}

static int catalogue_verify(const cli_call *call)
{
    ig_catalogue *c;
    ig_error err;
    if (call->n_args != 2)
        return cli_usage("catalogue verify wants an address or a published folder. Type: ingle catalogue verify URL "
                         "--root root.json");
    ig_catalogue_sync_options o = sync_options(call, call->args[1]);
    ig_status st = ig_catalogue_verify(&o, &c, &err);
    if (st != IG_OK) {
        int code = catalogue_fail(&err);
        return st == IG_DENIED || st == IG_BAD_INPUT || st == IG_TOO_LARGE ? CLI_NO : code;
    }
    if (cli_set(call, "json")) {
        json_t *j = head_json(c);
        cli_out_json(j);
        json_decref(j);
    } else {
        print_head(c);
    }
    ig_catalogue_free(c);
    return CLI_DONE;
}

/* What differs in two targets of one name, as their JSON. */
static void diff_target(const ig_catalogue_target *a, const ig_catalogue_target *b, bool *same)
{
    json_t *x = target_json(a), *y = target_json(b), *value;
    const char *key;
    json_object_foreach(y, key, value)
    {
        if (json_equal(json_object_get(x, key), value)) continue;
        char *was = json_dumps(json_object_get(x, key), JSON_ENCODE_ANY | JSON_COMPACT);
        char *is = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        cli_outf("~ %s  %s: %s -> %s\n", b->name, key, was ? was : "nothing", is ? is : "nothing");
        free(was);
        free(is);
        *same = false;
    }
    json_object_foreach(x, key, value) if (!json_object_get(y, key))
    {
        cli_outf("~ %s  %s: gone\n", b->name, key);
        *same = false;
    }
    json_decref(x);
    json_decref(y);
}

static bool diff_settings(const ig_catalogue *a, const ig_catalogue *b)
{
    json_t *x = rules_json(a->rules, a->n_rules), *y = rules_json(b->rules, b->n_rules);
    bool same = json_equal(x, y) && a->deny_by_default == b->deny_by_default;
    if (a->deny_by_default != b->deny_by_default)
        cli_outf("~ default: %s\n", b->deny_by_default ? "available -> denied" : "denied -> available");
    if (!json_equal(x, y)) {
        cli_outf("~ rules of the catalogue:\n");
        print_rules(b->rules, b->n_rules);
    }
    json_decref(x);
    json_decref(y);
    return same;
}

static int catalogue_diff(const cli_call *call)
{
    ig_catalogue *a = NULL, *b = NULL;
    ig_error err;
    char published[4200];
    if (call->n_args < 2)
        return cli_usage("catalogue diff wants one working folder, or two catalogues. Type: ingle catalogue --help");
    (void)snprintf(published, sizeof published, "%s/published", call->args[1]);
    const char *old = call->n_args > 2 ? call->args[1] : published, *new = call->args[call->n_args - 1];
    ig_status st = catalogue_read(call, old, &a, &err);
    if (st == IG_OK) st = catalogue_read(call, new, &b, &err);
    bool same = true;
    if (st == IG_OK) same = diff_settings(a, b);
    for (size_t i = 0; st == IG_OK && i < a->n_targets; i++) {
        const ig_catalogue_target *t = ig_catalogue_find(b, a->targets[i].name);
        if (t) diff_target(&a->targets[i], t, &same);
        if (!t) cli_outf("- %s  %.12s\n", a->targets[i].name, a->targets[i].digest);
        same &= t != NULL;
    }
    for (size_t i = 0; st == IG_OK && i < b->n_targets; i++) {
        if (ig_catalogue_find(a, b->targets[i].name)) continue;
        cli_outf("+ %s  %.12s\n", b->targets[i].name, b->targets[i].digest);
        print_rules(b->targets[i].rules, b->targets[i].n_rules);
        same = false;
    }
    ig_catalogue_free(a);
    ig_catalogue_free(b);
    return st != IG_OK ? catalogue_fail(&err) : same ? CLI_DONE : CLI_NO;
}

ig_status catalogue_verify_bundle(const ig_manifest *m, const char *file, const char *key, ig_error *err)
{
    ig_buf bundle, pem;
    ig_buf_init(&bundle, 16 << 20);
    ig_buf_init(&pem, 16 << 10);
    ig_status st = ig_file_read(file, &bundle, err);
    if (st == IG_OK) st = ig_file_read(key, &pem, err);
    if (st == IG_OK)
        st = ig_bundle_verify((ig_str){bundle.ptr ? bundle.ptr : "", bundle.len},
                              (ig_str){pem.ptr ? pem.ptr : "", pem.len}, m, err);
    ig_buf_fini(&bundle);
    ig_buf_fini(&pem);
    return st;
}

static ig_status verify_bundle(const char *name, const char *file, const char *key, ig_error *err)
{
    ig_store *store = NULL;
    ig_manifest *m = NULL;
    ig_status st = shop_open(true, &store, err);
    if (st == IG_OK) st = ig_store_find(store, name, &m, err);
    if (st == IG_OK) st = catalogue_verify_bundle(m, file, key, err);
    ig_manifest_free(m);
    ig_store_close(store);
    return st;
}

static int catalogue_bundle(const cli_call *call)
{
    ig_error err;
    const cli_value *key = cli_get(call, "key");
    if (call->n_args != 3 || key->n_list != 1)
        return cli_usage("catalogue bundle wants a model and its signature. Type: ingle catalogue bundle NAME FILE.sig "
                         "--key PUBLIC.pem");
    ig_status st = verify_bundle(call->args[1], call->args[2], key->list[0], &err);
    if (st == IG_OK) cli_outf("%s is signed\n", call->args[1]);
    int code = st == IG_OK ? CLI_DONE : catalogue_fail(&err);
    return st == IG_DENIED ? CLI_NO : code;
}

int cli_catalogue(const cli_call *call)
{
    static const struct {
        const char *name;
        int (*run)(const cli_call *call);
    } actions[] = {{"init", catalogue_init},     {"add", catalogue_add},         {"drop", catalogue_drop},
                   {"assign", catalogue_assign}, {"deny", catalogue_deny},       {"delegate", catalogue_delegate},
                   {"sign", catalogue_sign},     {"publish", catalogue_publish}, {"rotate", catalogue_rotate},
                   {"verify", catalogue_verify}, {"diff", catalogue_diff},       {"show", catalogue_show},
                   {"sync", catalogue_sync},     {"pull", catalogue_pull},       {"bundle", catalogue_bundle}};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(call->args[0], actions[i].name)) return actions[i].run(call);
    return cli_usage("catalogue knows init, add, drop, assign, deny, delegate, sign, publish, rotate, verify, diff, "
                     "show, sync, pull and bundle. Type: ingle catalogue --help");
}
