/* What the service makes of a catalogue: the same decisions as the catalogue's own function, for every rule, person and
 * mode of a table; limits, labels and defaults with the ids of their rules. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../tap.h"
#include "policy/policy.h"
#include "serve/front/follow.h"
#include "serve/serve.h"
#include "store/catalogue.h"

#define WORDS(...)                                                                                                     \
    {                                                                                                                  \
        (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)                \
    }

static const char digest_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char digest_b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

typedef struct people {
    const char *user, *group, *machine;
    int64_t uid;
} people;
static const people everybody[] = {{"eve", NULL, "pc", 5},          {"ada", "eng", "pc", 6},
                                   {"ada", "ENG", "lab-1", 6},      {"bob", "staff", "LAB-7", 1001},
                                   {"mallory", "eng", "desk-1", 9}, {NULL, NULL, "pc", -1},
                                   {"ann", "interns", "pc", 7},     {"zoe", NULL, "pc", 1001}};

static ig_decision ask_policy(const ig_grants *g, const people *who, const ig_catalogue_target *t, const ig_ask *more)
{
    static const char *const none = "gid:1";
    ig_grant picked[64];
    size_t n = 0;
    for (size_t i = 0; i < g->n && n < 64; i++)
        if (ig_grant_is_about(&g->list[i], t->name, t->digest)) picked[n++] = g->list[i];
    ig_policy p = {.configured = true, .assignments = picked, .n_assignments = n};
    ig_group groups[] = {{who->group ? who->group : "", none}};
    ig_caller c = {.known = who->uid >= 0,
                   .has_uid = who->uid >= 0,
                   .uid = (uint32_t)who->uid,
                   .account = who->user,
                   .groups = groups,
                   .n_groups = who->group ? 1 : 0};
    ig_ask ask = more ? *more : (ig_ask){0};
    ask.model.name = t->name;
    ask.model.digest = t->digest;
    ask.machine = who->machine;
    ig_decision d;
    ig_policy_decide(&p, &c, &ask, &d, NULL);
    return d;
}

static bool same(const ig_catalogue *c, const ig_grants *g, const people *who, const ig_catalogue_target *t)
{
    const char *const groups[] = {who->group};
    char id[IG_RULE_ID_MAX];
    ig_who w = {who->user, who->uid, {groups, who->group ? 1 : 0}, who->machine};
    ig_assignment a = ig_catalogue_decide(c, t, &w);
    ig_decision d = ask_policy(g, who, t, NULL);
    snprintf(id, sizeof id, "work:%s", a.rule);
    /* of several rules that give it either may be named */
    bool named = d.allowed ? !strncmp(d.rule, "work:", 5) || !strcmp(d.rule, "builtin:open")
                           : !strcmp(d.rule, id) || !strcmp(d.rule, a.rule);
    bool good = d.allowed == (a.state != IG_ASSIGNED_DENIED) && named;
    if (!good)
        printf("# %s for %s at %s: catalogue %s (%s), policy %s (%s)\n", t->name, who->user ? who->user : "nobody",
               who->machine, ig_assigned_name(a.state), a.rule, d.allowed ? "allows" : "refuses", d.rule);
    return good;
}

static void test_agree(void)
{
    const ig_catalogue_rule own[] = {{.id = "t1", .state = IG_ASSIGNED_REQUIRED, .groups = WORDS("eng", "ops")},
                                     {.id = "t2", .state = IG_ASSIGNED_AVAILABLE, .users = WORDS("bob", "#1001")},
                                     {.id = "t3", .state = IG_ASSIGNED_AVAILABLE, .machines = WORDS("lab-*")},
                                     {.id = "t4", .state = IG_ASSIGNED_DENIED, .users = WORDS("mallory")}};
    const ig_catalogue_rule all[] = {{.id = "a1", .state = IG_ASSIGNED_REQUIRED}};
    const ig_catalogue_rule never[] = {{.id = "n1", .state = IG_ASSIGNED_DENIED}};
    const ig_catalogue_rule wide[] = {
        {.id = "w1", .state = IG_ASSIGNED_DENIED, .groups = WORDS("interns"), .licences = WORDS("CC-BY-NC-*")},
        {.id = "w2", .state = IG_ASSIGNED_AVAILABLE, .publishers = WORDS("acme"), .groups = WORDS("staff")},
        {.id = "w3", .state = IG_ASSIGNED_REQUIRED, .models = WORDS("base/*"), .machines = WORDS("desk-?")}};
    const ig_catalogue_target models[] = {
        {.name = "a:1", .digest = digest_a, .licence = "MIT", .rules = own, .n_rules = 4},
        {.name = "b:1", .digest = digest_a, .licence = "CC-BY-NC-4.0", .rules = all, .n_rules = 1},
        {.name = "base/c:latest", .digest = digest_a, .publisher = "ACME"},
        {.name = "d:1", .digest = digest_a, .rules = never, .n_rules = 1},
        {.name = "e:1", .digest = digest_a},
        {.name = "f:1", .digest = digest_a, .licence = "CC-BY-NC-4.0", .rules = own, .n_rules = 1},
    };
    for (int deny = 0; deny < 2; deny++)
        for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
            ig_catalogue c = {
                .deny_by_default = deny, .rules = wide, .n_rules = 3, .targets = &models[m], .n_targets = 1};
            ig_grants g;
            bool good = ig_grants_of(&c, "work", false, &g, NULL) == IG_OK;
            for (size_t i = 0; i < sizeof everybody / sizeof *everybody; i++)
                good &= same(&c, &g, &everybody[i], &models[m]);
            ig_grants_free(&g);
            tap_ok(good, "catalogue and policy decide alike: %s, %s by default", models[m].name,
                   deny ? "denied" : "available");
        }
}

static bool is(ig_decision d, bool allowed, const char *rule)
{
    if (d.allowed != allowed || strcmp(d.rule, rule) != 0)
        printf("# %s by %s: %s\n", d.allowed ? "allowed" : "refused", d.rule, d.reason);
    return d.allowed == allowed && !strcmp(d.rule, rule);
}

static void test_limits(void)
{
    const ig_catalogue_rule own[] = {{.id = "t1", .state = IG_ASSIGNED_REQUIRED, .groups = WORDS("eng")}};
    const ig_catalogue_target m = {.name = "a:latest",
                                   .digest = digest_a,
                                   .labels = WORDS("public", "internal"),
                                   .context_max = 4096,
                                   .output_max = 100,
                                   .day_tokens_max = 1000,
                                   .rules = own,
                                   .n_rules = 1};
    ig_catalogue c = {.targets = &m, .n_targets = 1};
    ig_grants g;
    ig_error err;
    tap_ok(ig_grants_of(&c, "work", false, &g, &err) == IG_OK, "grants");
    const people *ada = &everybody[1];
    ig_decision d = ask_policy(&g, ada, &m, NULL);
    tap_ok(is(d, true, "work:t1") && d.limits.n_ctx == 4096 && d.limits.output == 100 &&
               d.limits.tokens_per_day == 1000 && !strcmp(d.n_ctx_rule, "work:limits"),
           "limits of a target hold for those who may use it");
    tap_ok(is(ask_policy(&g, ada, &m, &(ig_ask){.n_ctx = 4097}), false, "work:limits"), "context");
    tap_ok(is(ask_policy(&g, ada, &m, &(ig_ask){.output = 101}), false, "work:limits"), "output");
    tap_ok(is(ask_policy(&g, ada, &m, &(ig_ask){.tokens_today = 1000}), false, "work:limits"), "tokens a day");
    tap_ok(is(ask_policy(&g, ada, &m, &(ig_ask){.label = "Internal"}), true, "work:t1"), "a label that it may see");
    tap_ok(is(ask_policy(&g, ada, &m, &(ig_ask){.label = "secret"}), false, "work:labels"), "one that it may not");
    tap_ok(is(ask_policy(&g, ada, &m, &(ig_ask){.label = "secret", .listing = true}), true, "work:t1"), "a listing");
    tap_ok(ig_grant_is_about(&g.list[0], "A", NULL) && ig_grant_is_about(&g.list[0], "a:latest", digest_b) &&
               ig_grant_is_about(&g.list[0], "other:1", digest_a) &&
               !ig_grant_is_about(&g.list[0], "other:1", digest_b),
           "by name, whatever version lies there, and by digest, whatever it is called");
    ig_grants_free(&g);
}

static void test_expired(void)
{
    const ig_catalogue_target models[] = {{.name = "a:1", .digest = digest_a}, {.name = "b:1", .digest = digest_b}};
    ig_catalogue c = {.targets = models, .n_targets = 2};
    ig_grants g;
    tap_ok(ig_grants_of(&c, "work", false, &g, NULL) == IG_OK && g.n == 0,
           "what nobody says anything of needs no grant");
    ig_grants_free(&g);
    bool good = ig_grants_of(&c, "work", true, &g, NULL) == IG_OK;
    for (size_t i = 0; good && i < 2; i++)
        good = is(ask_policy(&g, &everybody[i], &models[i], NULL), false, "work:expired");
    tap_ok(good, "after the grace of an expired catalogue its models are for nobody");
    ig_grants_free(&g);
}

static void test_adapters(void)
{
    static const char *const names[] = {"lora:1"};
    const ig_catalogue_rule own[] = {{.id = "t1", .state = IG_ASSIGNED_REQUIRED}};
    const ig_catalogue_target m = {
        .name = "a:1", .digest = digest_a, .adapters = {names, 1}, .rules = own, .n_rules = 1};
    const ig_catalogue_target old = {.name = "a:1", .digest = digest_b}, renamed = {.name = "x:1", .digest = digest_a};
    ig_catalogue c = {.targets = &m, .n_targets = 1};
    ig_grants g;
    ig_error err;
    tap_ok(ig_grants_of(&c, "work", false, &g, &err) == IG_OK, "a target with an adapter");
    ig_decision d = ask_policy(&g, &everybody[1], &m, NULL);
    tap_ok(is(d, false, "work:adapters") && strstr(d.reason, "adapter"), "is not served without it: %s", d.reason);
    tap_ok(is(ask_policy(&g, &everybody[1], &renamed, NULL), false, "work:adapters"), "nor under another name");
    tap_ok(is(ask_policy(&g, &everybody[1], &old, NULL), true, "work:t1"), "an older version of the name goes on");
    ig_grants_free(&g);
}

/* ------------------------------------------------------------------------------------------------ configuration */

static void test_config(void)
{
    ig_config *c;
    ig_error err;
    ig_status st = ig_config_read(
        IG_STR("[catalogue work]\nsource = https://models.example.org\nroot = /etc/ingle/work.root.json\n"
               "[catalogue lab]\nsource = /srv/lab\nroot = /etc/lab.json\ninterval = 5m\ndisk = 200G\nrate = 10M\n"
               "grace = 30d\nbattery = yes\nmetered = no\nfetch = machine\n"),
        "t", &c, &err);
    if (!tap_ok(st == IG_OK && c->n_follows == 2, "two catalogues: %s", st == IG_OK ? "" : err.text)) return;
    const ig_follow *w = &c->follows[0], *l = &c->follows[1];
    tap_ok(!strcmp(w->name, "work") && !strcmp(w->source, "https://models.example.org") && w->interval_s == 3600 &&
               !w->disk_bytes && !w->rate_bytes && !w->battery && !w->metered && !w->machine && !w->grace_set,
           "what is not said");
    tap_ok(l->interval_s == 300 && l->disk_bytes == UINT64_C(200) << 30 && l->rate_bytes == 10 << 20 && l->grace_set &&
               l->grace_s == 30 * 86400 && l->battery && !l->metered && l->machine,
           "what is said");
    tap_ok(!c->policy.configured, "a catalogue alone is no policy of this machine");
    ig_config_free(c);
    static const char *const bad[] = {
        "[catalogue work]\nsource = x\n",
        "[catalogue work]\nroot = /x\n",
        "[catalogue work]\nsource = x\nroot = x\n",
        "[catalogue]\nsource = x\n",
        "[catalogue ../x]\nsource = x\nroot = /x\n",
        "[catalogue Work]\nsource = x\nroot = /x\n",
        "[catalogue w]\nsource = x\nsource = y\nroot = /x\n",
        "[catalogue w]\nsource = x\nroot = /x\ninterval = 0s\n",
        "[catalogue w]\nsource = x\nroot = /x\ndisk = 0\n",
        "[catalogue w]\nsource = x\nroot = /x\ndisk = 99999999999999999999G\n",
        "[catalogue w]\nsource = x\nroot = /x\nrate = fast\n",
        "[catalogue w]\nsource = x\nroot = /x\nfetch = all\n",
        "[catalogue w]\nsource = x\nroot = /x\nmode = deny\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        c = NULL;
        st = ig_config_read(ig_str_from(bad[i]), "t", &c, &err);
        tap_ok(st == IG_BAD_INPUT && !c, "refused: %s", st == IG_OK ? bad[i] : err.text);
    }
}

/* ------------------------------------------------------------------------------------------------ power */

static void put(const char *root, const char *supply, const char *file, const char *text)
{
    char path[400];
    snprintf(path, sizeof path, "%s/class/power_supply/%s", root, supply);
    for (char *p = path + strlen(root); *p; p++)
        if (*p == '/') *p = 0, (void)mkdir(path, 0700), *p = '/';
    (void)mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/class/power_supply/%s/%s", root, supply, file);
    FILE *f = fopen(path, "w");
    if (f) fputs(text, f), fclose(f);
}

static void test_power(void)
{
    char root[] = "/tmp/test_follow.XXXXXX", command[64];
    if (!tap_ok(mkdtemp(root) != NULL, "a folder")) return;
    setenv("INGLE_METERED", "yes", 1);
    fr_power p = fr_power_now(root);
    tap_ok(!p.battery && p.metered, "a machine without batteries");
    setenv("INGLE_METERED", "no", 1);
    put(root, "BAT0", "type", "Battery\n");
    put(root, "BAT0", "status", "Discharging\n");
    p = fr_power_now(root);
    tap_ok(p.battery && !p.metered, "a battery that is being emptied");
    put(root, "AC", "type", "Mains\n");
    put(root, "AC", "online", "0\n");
    tap_ok(fr_power_now(root).battery, "and mains without a cable");
    put(root, "AC", "online", "1\n");
    tap_ok(!fr_power_now(root).battery, "mains");
    put(root, "AC", "online", "0\n");
    put(root, "BAT0", "status", "Full\n");
    tap_ok(!fr_power_now(root).battery, "a battery that is full");
    put(root, "mouse", "type", "Battery\n");
    put(root, "mouse", "status", "Discharging\n");
    put(root, "mouse", "scope", "Device\n");
    tap_ok(!fr_power_now(root).battery, "that of a mouse does not count");
    snprintf(command, sizeof command, "rm -r %s", root);
    if (system(command)) printf("# %s is left\n", root);
}

int main(void)
{
    test_expired();
    test_adapters();
    test_config();
    test_power();
    test_agree();
    test_limits();
    return tap_done();
}
