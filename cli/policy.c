/* ingle policy check|explain|test|who: what the rules say, without a service. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "base/disk.h"
#include "base/os.h"
#include "out.h"
#include "policy/policy.h"
#include "serve/serve.h"
#include "shop.h"
#include "store/catalogue.h"
#include "verbs.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)
enum { GROUPS_MAX = 64 };

typedef struct scene {
    const cli_call *call;
    ig_config *config;
    ig_directory *directory;
    json_t *json; /* with --json */
    ig_catalogue *catalogues[IG_FOLLOWS_MAX];
    ig_grants grants[IG_FOLLOWS_MAX];
    size_t n_catalogues;
    ig_grant *assignments; /* owned: those of all catalogues */
} scene;

static const char *const freshness_names[] = {"fresh", "stale", "unknown"};

static bool by_digits(const char *text, uint32_t *uid)
{
    uint64_t n;
    if (strncmp(text, "uid:", 4) || !cli_parse_count(text + 4, strlen(text + 4), UINT32_MAX - 1, &n)) return false;
    *uid = (uint32_t)n;
    return true;
}

/* ------------------------------------------------------------------------------------------------ check */

static int check(scene *s)
{
    const ig_config *c = s->config;
    if (s->json) {
        json_t *notes = json_array();
        for (size_t i = 0; i < c->n_notes; i++) json_array_append_new(notes, json_string(c->notes[i]));
        json_t *o = json_pack("{s:s, s:I, s:b, s:s, s:I, s:o}", "folder", c->folder, "files", (json_int_t)c->n_files,
                              "configured", (int)c->policy.configured, "mode", c->policy.deny ? "deny" : "open",
                              "rules", (json_int_t)c->policy.n_rules, "notes", notes);
        cli_out_json(o);
        json_decref(o);
        return CLI_DONE;
    }
    cli_outf("%zu file%s in %s, %zu rule%s, mode %s\n", c->n_files, c->n_files == 1 ? "" : "s", c->folder,
             c->policy.n_rules, c->policy.n_rules == 1 ? "" : "s", c->policy.deny ? "deny" : "open");
    for (size_t i = 0; i < c->n_follows; i++)
        cli_outf("follows catalogue %s at %s\n", c->follows[i].name, c->follows[i].source);
    if (!c->policy.configured && !c->n_follows)
        cli_outf("no policy: everybody may use every model, root and the service may manage\n");
    for (size_t i = 0; i < c->n_notes; i++) cli_outf("look at this: %s\n", c->notes[i]);
    return CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ who */

static json_t *groups_json(const ig_person *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->n_groups; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", p->groups[i].name, "id", p->groups[i].id));
    return list;
}

static void print_person(const scene *s, const ig_person *p, ig_freshness fresh)
{
    int64_t age = p->fetched_s ? ig_clock_s() - p->fetched_s : -1;
    if (s->json) {
        json_t *o = json_pack("{s:s, s:b, s:b, s:s, s:I, s:s, s:s, s:o}", "account", p->account, "exists",
                              (int)p->exists, "disabled", (int)p->disabled, "freshness", freshness_names[fresh],
                              "age_s", (json_int_t)age, "fault", p->fault, "notes", p->notes, "groups", groups_json(p));
        if (p->has_uid) json_object_set_new(o, "uid", json_integer(p->uid));
        cli_out_json(o);
        json_decref(o);
        return;
    }
    cli_outf("account    %s%s%s\n", *p->account ? p->account : "not known", p->exists ? "" : " (nobody knows it)",
             p->disabled ? " (disabled)" : "");
    if (p->has_uid) cli_outf("uid        %" PRIu32 "\n", p->uid);
    cli_outf("groups are %s", freshness_names[fresh]);
    if (age >= 0) cli_outf(", %" PRId64 " s old", age);
    cli_outf("\n");
    if (*p->fault) cli_outf("because    %s\n", p->fault);
    if (*p->notes) cli_outf("note       %s\n", p->notes);
    for (size_t i = 0; i < p->n_groups; i++) cli_outf("  %-32s %s\n", p->groups[i].name, p->groups[i].id);
}

static ig_person *look_up(const scene *s, const char *user, ig_freshness *fresh)
{
    uint32_t uid = 0;
    bool digits = by_digits(user, &uid);
    return ig_directory_find(s->directory, digits ? NULL : user, uid, fresh);
}

static int who(scene *s)
{
    ig_freshness fresh;
    if (s->call->n_args != 2) return cli_usage("policy who expects a user. Type: ingle policy who USER");
    ig_person *p = look_up(s, s->call->args[1], &fresh);
    if (!p) return cli_fail("out of memory");
    print_person(s, p, fresh);
    ig_person_unref(p);
    return fresh == IG_UNKNOWN ? CLI_FAILED : CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ explain */

typedef struct facts {
    ig_manifest *manifest;
    char publisher[128];
} facts;

/* What the store knows about the model; nothing is fine. */
static void read_facts(const char *name, ig_model_facts *m, facts *keep)
{
    ig_store *store;
    ig_error err;
    m->name = name;
    if (shop_open(true, &store, &err) != IG_OK) return;
    if (ig_store_find(store, name, &keep->manifest, &err) == IG_OK) {
        m->name = keep->manifest->name.text;
        m->digest = keep->manifest->digest.hex;
        m->licence = ig_licence_id(keep->manifest->licence);
        ig_publisher_of(keep->manifest->source, keep->publisher);
        m->publisher = keep->publisher;
    }
    ig_store_close(store);
}

static void print_verdicts(const ig_policy *p, const ig_verdict *v, bool all)
{
    for (size_t i = 0; i < p->n_assignments; i++) {
        ig_verdict of = v[p->n_rules + i];
        if (of != IG_V_MODEL && (all || of <= IG_V_UNSURE || of == IG_V_WHO))
            cli_outf("  %-24s %-40s catalogue %s\n", p->assignments[i].rule, ig_verdict_text(of),
                     p->assignments[i].catalogue);
    }
    for (size_t i = 0; i < p->n_rules; i++)
        if (all || v[i] <= IG_V_UNSURE || v[i] == IG_V_UNLESS)
            cli_outf("  %-24s %-40s %s\n", p->rules[i].id, ig_verdict_text(v[i]), p->rules[i].origin);
}

static void print_limits(const ig_limits *l)
{
    if (l->n_ctx != IG_NO_CONTEXT_LIMIT) cli_outf("context    at most %" PRIu32 " tokens\n", l->n_ctx);
    if (l->output != IG_NO_OUTPUT_LIMIT) cli_outf("answer     at most %" PRIu32 " tokens\n", l->output);
    if (l->tokens_per_day != IG_NO_TOKEN_LIMIT) cli_outf("tokens     at most %" PRIu64 " a day\n", l->tokens_per_day);
    if (l->priority >= 0) cli_outf("priority   %" PRId32 "\n", l->priority);
}

static json_t *decision_json(const ig_policy *p, const ig_decision *d, const ig_verdict *v)
{
    json_t *rules = json_array(), *limits = json_object();
    for (size_t i = 0; i < p->n_rules; i++)
        json_array_append_new(rules, json_pack("{s:s, s:s, s:s}", "rule", p->rules[i].id, "verdict",
                                               ig_verdict_text(v[i]), "origin", p->rules[i].origin));
    for (size_t i = 0; i < p->n_assignments; i++)
        if (v[p->n_rules + i] != IG_V_MODEL)
            json_array_append_new(rules, json_pack("{s:s, s:s, s:s}", "rule", p->assignments[i].rule, "verdict",
                                                   ig_verdict_text(v[p->n_rules + i]), "catalogue",
                                                   p->assignments[i].catalogue));
    if (d->limits.output != IG_NO_OUTPUT_LIMIT) json_object_set_new(limits, "output", json_integer(d->limits.output));
    if (d->limits.n_ctx != IG_NO_CONTEXT_LIMIT) json_object_set_new(limits, "context", json_integer(d->limits.n_ctx));
    if (d->limits.tokens_per_day != IG_NO_TOKEN_LIMIT)
        json_object_set_new(limits, "tokens_per_day", json_integer((json_int_t)d->limits.tokens_per_day));
    if (d->limits.priority >= 0) json_object_set_new(limits, "priority", json_integer(d->limits.priority));
    return json_pack("{s:b, s:s, s:s, s:o, s:o}", "allowed", (int)d->allowed, "rule", d->rule, "reason", d->reason,
                     "limits", limits, "rules", rules);
}

static void read_question(const scene *s, ig_ask *ask)
{
    const char *action = cli_text(s->call, "action");
    unsigned a = 0;
    while (action && a < IG_N_ACTIONS && strcmp(action, ig_policy_action_name((ig_action)a))) a++;
    *ask = (ig_ask){.action = (ig_action)(action ? a : 0),
                    .source = cli_text(s->call, "source"),
                    .label = cli_text(s->call, "label"),
                    .n_ctx = cli_count(s->call, "ctx", 0),
                    .tokens_today = cli_get(s->call, "tokens")->count,
                    .when = ig_moment_of(ig_clock_s())};
}

static void explain_one(scene *s, const ig_caller *w, const ig_ask *ask, const ig_person *p, ig_freshness fresh)
{
    const ig_policy *policy = &s->config->policy;
    ig_verdict *v = ig_calloc(policy->n_rules + policy->n_assignments + 1, sizeof *v);
    ig_decision d;
    if (!v) return;
    ig_policy_decide(policy, w, ask, &d, v);
    if (s->json) {
        json_t *o = decision_json(policy, &d, v);
        if (p) json_object_set_new(o, "groups_are", json_string(freshness_names[fresh]));
        cli_out_json(o);
        json_decref(o);
    } else {
        cli_outf("%s by %s%s%s\n", d.allowed ? "allowed" : "refused", d.rule, *d.reason ? ": " : "", d.reason);
        if (d.allowed) print_limits(&d.limits);
        if (p)
            cli_outf("groups     %s, %zu%s%s\n", freshness_names[fresh], p->n_groups, *p->fault ? "; " : "", p->fault);
        print_verdicts(policy, v, cli_set(s->call, "all"));
    }
    ig_free(v);
}

/* Only what counts for this model. */
static void pick(scene *s, const ig_model_facts *m)
{
    const ig_grants *sets[IG_FOLLOWS_MAX];
    ig_grant *picked = NULL;
    size_t cap = 0, n = 0;
    for (size_t i = 0; i < s->n_catalogues; i++) sets[i] = &s->grants[i];
    if (!s->n_catalogues || !ig_grants_pick(sets, s->n_catalogues, m->name, m->digest, &picked, &cap, &n)) return;
    ig_free(s->assignments);
    s->assignments = picked;
    s->config->policy.assignments = picked;
    s->config->policy.n_assignments = n;
}

static int explain(scene *s)
{
    const cli_value *named = cli_get(s->call, "group");
    const char *user = s->call->n_args == 3 ? s->call->args[1] : NULL;
    ig_group groups[GROUPS_MAX];
    ig_ask ask;
    facts keep = {0};
    char host[256] = "";
    if (!user || named->n_list > GROUPS_MAX)
        return cli_usage("policy explain expects a user and a model. Type: ingle policy explain USER MODEL");
    read_question(s, &ask);
    read_facts(s->call->args[2], &ask.model, &keep);
    pick(s, &ask.model);
    gethostname(host, sizeof host - 1);
    ask.machine = host;
    bool nobody = !strcmp(user, "nobody");
    ig_freshness fresh = IG_UNKNOWN;
    ig_person *p = nobody || named->n_list ? NULL : look_up(s, user, &fresh);
    uint32_t uid = 0;
    bool digits = by_digits(user, &uid);
    ig_caller w = {0};
    if (!nobody) {
        ig_caller_of(true, p && p->has_uid ? p->uid : uid, false, p, fresh, NULL, &w);
        w.has_uid = digits || (p && p->has_uid);
        w.owner = w.has_uid && w.uid == 0;
        if (!digits) w.account = user;
    }
    for (size_t i = 0; i < named->n_list; i++)
        groups[i] = (ig_group){named->list[i], strchr(named->list[i], ':') ? named->list[i] : ""};
    if (named->n_list) w.groups = groups, w.n_groups = named->n_list, w.groups_unknown = false;
    explain_one(s, &w, &ask, p, fresh);
    ig_person_unref(p);
    ig_manifest_free(keep.manifest);
    return CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ test */

static void on_expectation(void *ctx, const ig_expectation *e)
{
    scene *s = ctx;
    if (s->json) {
        json_array_append_new(s->json,
                              json_pack("{s:i, s:b, s:s, s:s, s:s}", "line", (int)e->line, "passed", (int)e->passed,
                                        "rule", e->got.rule, "reason", e->got.reason, "why", e->why));
        return;
    }
    if (e->passed) return;
    ig_error clean;
    ig_fail(&clean, IG_OK, 0, "line %u: %s (%s)", e->line, e->why, e->text);
    cli_outf("%s\n", clean.text);
}

static int test(scene *s)
{
    ig_buf text;
    ig_error err;
    size_t n_failed = 0;
    if (s->call->n_args != 2) return cli_usage("policy test expects a file. Type: ingle policy test FILE");
    ig_buf_init(&text, FILE_BYTES_MAX);
    ig_status st = ig_file_read(s->call->args[1], &text, &err);
    if (st == IG_OK)
        st = ig_policy_expect(&s->config->policy, s->directory, (ig_str){text.len ? text.ptr : "", text.len},
                              s->call->args[1], on_expectation, s, &n_failed, &err);
    ig_buf_fini(&text);
    if (st != IG_OK) return cli_fail(err.text);
    if (s->json)
        cli_out_json(s->json);
    else
        cli_outf("%zu failed\n", n_failed);
    return n_failed ? CLI_NO : CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ all */

/* What the catalogues that this machine follows say, as the service has it. One that cannot be read is told. */
static bool add_catalogues(scene *s, ig_error *err)
{
    ig_store *store = NULL;
    ig_policy *p = &s->config->policy;
    ig_error why;
    size_t n = 0;
    if (!s->config->n_follows) return true;
    ig_status st = shop_open(true, &store, &why);
    for (size_t i = 0; i < s->config->n_follows; i++) {
        const char *name = s->config->follows[i].name;
        ig_catalogue **c = &s->catalogues[s->n_catalogues];
        if (st == IG_OK) st = ig_catalogue_open(store, name, c, &why);
        if (st != IG_OK) cli_note("ingle: warning: the rules of catalogue %s are not counted: %s\n", name, why.text);
        if (st == IG_OK && ig_grants_of(*c, name, false, &s->grants[s->n_catalogues], &why) == IG_OK)
            n += s->grants[s->n_catalogues++].n;
        if (store) st = IG_OK;
    }
    ig_store_close(store);
    s->assignments = ig_calloc(n + 1, sizeof *s->assignments);
    if (!s->assignments) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogues"), false;
    for (size_t i = 0; i < s->n_catalogues; i++)
        for (size_t k = 0; k < s->grants[i].n; k++) s->assignments[p->n_assignments++] = s->grants[i].list[k];
    p->assignments = s->assignments;
    p->configured = true;
    return true;
}

static int run(scene *s)
{
    static const struct {
        const char *name;
        int (*fn)(scene *s);
        bool asks;
    } words[] = {{"check", check, false}, {"who", who, true}, {"explain", explain, true}, {"test", test, true}};
    const char *folder = cli_text(s->call, "config");
    ig_error err;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].name, s->call->args[0])) continue;
        if (ig_config_load(folder ? folder : ig_config_folder(), &s->config, &err) != IG_OK) return cli_fail(err.text);
        if (words[i].asks && ig_directory_new(&s->config->directory, &s->directory, &err) != IG_OK)
            return cli_fail(err.text);
        if (words[i].asks && !add_catalogues(s, &err)) return cli_fail(err.text);
        return words[i].fn(s);
    }
    return cli_usage("policy expects check, explain, test or who. Type: ingle policy check");
}

int cli_policy(const cli_call *call)
{
    scene s = {.call = call, .json = cli_set(call, "json") ? json_array() : NULL};
    int code = run(&s);
    ig_directory_free(s.directory);
    ig_config_free(s.config);
    for (size_t i = 0; i < s.n_catalogues; i++) {
        ig_grants_free(&s.grants[i]);
        ig_catalogue_free(s.catalogues[i]);
    }
    ig_free(s.assignments);
    json_decref(s.json);
    return code;
}
