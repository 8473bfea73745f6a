/* Policy: the decision by a table, what the configuration accepts and refuses (M23), expectations, keys (H27), the
 * cache of the directory with ages, grace and hanging providers, and the texts that go to and come from an LDAP server.
 */
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/fault.h"
#include "base/os.h"
#include "policy/inner.h"
#include "tests/tap.h"

static char work[64];
static int drop(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)sb, (void)flag, (void)ftw;
    return remove(path);
}
static const char *in_work(const char *name)
{
    static char path[4][200];
    static unsigned turn;
    snprintf(path[++turn % 4], sizeof *path, "%s/%s", work, name);
    return path[turn % 4];
}
static void put(const char *name, const char *text, mode_t mode)
{
    FILE *f = fopen(in_work(name), "w");
    if (!f) abort();
    fputs(text, f);
    fclose(f);
    chmod(in_work(name), mode);
}

/* ------------------------------------------------------------------------------------------------ decisions */

static const char company[] = "[policy]\n"
                              "mode = deny\n"
                              "managers = group:ai-admins user:root2\n"
                              "[rule staff]\n"
                              "effect = allow\n"
                              "who = group:staff\n"
                              "models = small* \n"
                              "context = 8192\n"
                              "tokens_per_day = 100k\n"
                              "[rule engineers]\n"
                              "effect = allow\n"
                              "who = group:eng dn:cn=eng,ou=g,dc=x\n"
                              "models = small* coder:*\n"
                              "context = 32768\n"
                              "priority = 70\n"
                              "[rule no-contractors]\n"
                              "effect = refuse\n"
                              "who = group:contractors\n"
                              "models = coder*\n"
                              "reason = The coder is for employees.\n"
                              "[rule no-nc]\n"
                              "effect = refuse\n"
                              "licences = *-nc-* unknown\n"
                              "models = *:nc *:odd\n"
                              "[rule night]\n"
                              "effect = allow\n"
                              "who = user:night\n"
                              "hours = mon-fri 20:00-06:00 sun 10:00-11:00\n"
                              "[rule lab]\n"
                              "effect = allow\n"
                              "machines = lab-*\n"
                              "who = any\n"
                              "unless = group:interns\n"
                              "models = lab\n"
                              "[rule cap-interns]\n"
                              "effect = limit\n"
                              "who = group:interns\n"
                              "context = 2048\n"
                              "tokens_per_day = 1000\n"
                              "priority = 10\n"
                              "[rule by-digest]\n"
                              "effect = allow\n"
                              "who = uid:7\n"
                              "models = "
                              "sha256:00000000000000000000000000000000000000000000000000000000000000ab\n"
                              "[rule public-only]\n"
                              "effect = refuse\n"
                              "who = group:staff\n"
                              "labels = secret\n"
                              "[rule pullers]\n"
                              "effect = allow\n"
                              "actions = pull create\n"
                              "who = group:eng\n"
                              "sources = hf://acme/* unknown\n"
                              "publishers = acme unknown\n";

static const char table[] =
    "refuse nobody use small:1 rule=builtin:deny\n"
    "refuse user:ada+group:nothing use small:1 rule=builtin:deny\n"
    "allow user:ada+group:staff use small:1 rule=staff n_ctx=8192 tokens_per_day=100000\n"
    "allow user:ada+group:STAFF use SMALL:1 rule=staff\n"
    "refuse user:ada+group:staff use smal\n"
    "allow user:ada+group:staff use small\n"
    "allow user:ada+group:staff+group:eng use small:1 rule=staff n_ctx=32768 tokens_per_day=none\n"
    "allow user:ada+group:eng use coder rule=engineers\n"
    "allow user:ada+dn:cn=eng,ou=g,dc=x use coder:7b\n"
    "refuse user:ada+group:eng+group:contractors use coder:7b rule=no-contractors\n"
    "allow user:ada+group:eng+group:contractors use small:7b\n"
    "refuse user:ada+group:staff use small:nc licence=cc-by-nc-4.0 rule=no-nc\n"
    "refuse user:ada+group:staff use small:odd rule=no-nc\n"
    "allow user:ada+group:staff use small:nc licence=apache-2.0\n"
    "allow user:night+group:x use anything at=mon-20:00 rule=night\n"
    "allow user:night+group:x use anything at=sat-05:59\n"
    "refuse user:night+group:x use anything at=sat-06:00\n"
    "refuse user:night+group:x use anything at=mon-05:00 # the night of Sunday is not named\n"
    "refuse user:night+group:x use anything at=mon-19:59\n"
    "allow user:night+group:x use anything at=sun-10:30\n"
    "allow nobody use lab machine=lab-3 rule=lab\n"
    "refuse nobody use lab machine=desk-3\n"
    "refuse user:i+group:interns use lab machine=lab-3\n"
    "allow user:i+group:interns+group:staff use small n_ctx=2048 tokens_per_day=1000\n"
    "refuse user:i+group:interns+group:staff use small ctx=2049 rule=cap-interns\n"
    "allow user:i+group:interns+group:staff use small ctx=2048 tokens=999\n"
    "refuse user:i+group:interns+group:staff use small tokens=1000 rule=cap-interns\n"
    "refuse user:ada+group:staff use small ctx=8193 rule=staff\n"
    "allow uid:7+group:x use odd digest=00000000000000000000000000000000000000000000000000000000000000AB\n"
    "refuse uid:7+group:x use odd digest=00000000000000000000000000000000000000000000000000000000000000ac\n"
    "refuse uid:7+group:x use odd\n"
    "refuse user:ada+group:staff use small label=secret rule=public-only\n"
    "allow user:ada+group:staff use small label=public\n"
    "allow user:ada+group:eng pull m source=hf://acme/m publisher=acme rule=pullers\n"
    "refuse user:ada+group:eng pull m source=hf://evil/m publisher=evil\n"
    "allow user:ada+group:eng create m\n"
    "refuse user:ada+group:eng manage m rule=builtin:owner\n"
    "allow user:ada+group:ai-admins manage m rule=builtin:manager\n"
    "allow user:root2+group:x pin m\n"
    "allow owner manage m rule=builtin:owner\n"
    "refuse owner use small rule=builtin:deny\n"
    "refuse user:ada+groups:unknown use small rule=builtin:directory\n"
    "refuse user:ada+groups:unknown use coder:1 rule=builtin:directory\n"
    "refuse user:ada+groups:unknown use anything rule=builtin:deny\n"
    "refuse user:ada+group:staff+groups:unknown use lab machine=lab-1 rule=builtin:directory\n";

static void each(void *ctx, const ig_expectation *e)
{
    (void)ctx;
    tap_ok(e->passed, "line %u: %.150s%s%s", e->line, e->text, e->passed ? "" : " -- ", e->why);
    if (e->got.allowed == (e->got.reason[0] != 0)) tap_ok(false, "line %u has no proper reason", e->line);
}

static ig_config *config_of(const char *text)
{
    ig_config *c;
    ig_error err;
    if (ig_config_read(ig_str_from(text), "test", &c, &err) == IG_OK) return c;
    printf("# %s\n", err.text);
    return NULL;
}

static void test_decisions(void)
{
    ig_error err = {0};
    size_t n_failed = 0;
    ig_config *c = config_of(company);
    tap_ok(c && c->policy.n_rules == 10 && c->policy.deny && c->policy.configured && !c->n_notes, "company is read");
    if (!c) return;
    tap_ok(ig_policy_expect(&c->policy, NULL, ig_str_from(table), "table", each, NULL, &n_failed, &err) == IG_OK &&
               !n_failed,
           "the table holds %s", err.text);
    tap_ok(ig_policy_expect(&c->policy, NULL, IG_STR("allow nobody use small\n"), "table", NULL, NULL, &n_failed,
                            &err) == IG_OK &&
               n_failed == 1,
           "a wrong expectation fails");
    ig_config_free(c);
}

static void test_expectation_faults(void)
{
    static const char *const rows[] = {"allow nobody use",
                                       "maybe nobody use m",
                                       "allow somebody use m",
                                       "allow nobody eat m",
                                       "allow nobody use m key",
                                       "allow nobody use m colour=red",
                                       "allow uid:x use m",
                                       "allow nobody use m ctx=-1",
                                       "allow nobody use m ctx=4294967296",
                                       "allow nobody use m at=mon",
                                       "allow nobody use m at=ont-10:00",
                                       "allow nobody use m label=\"open"};
    ig_policy none = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_error err = {0};
        size_t n;
        ig_status st = ig_policy_expect(&none, NULL, ig_str_from(rows[i]), "t", NULL, NULL, &n, &err);
        tap_ok(st == IG_BAD_INPUT && !strncmp(err.text, "t:1: ", 5), "refused: %s (%s)", rows[i], err.text);
    }
}

/* ------------------------------------------------------------------------------------------------ assignments */

static bool may(const ig_policy *p, const ig_caller *who, const char *model, const char *rule)
{
    ig_ask ask = {.model.name = model, .machine = "desk-1"};
    ig_decision d;
    ig_policy_decide(p, who, &ask, &d, NULL);
    if (strcmp(d.rule, rule)) printf("# %s, expected %s: %s\n", d.rule, rule, d.reason);
    return d.allowed && !strcmp(d.rule, rule);
}
static bool may_not(const ig_policy *p, const ig_caller *who, const char *model, const char *rule)
{
    ig_ask ask = {.model.name = model, .machine = "desk-1"};
    ig_decision d;
    ig_policy_decide(p, who, &ask, &d, NULL);
    if (strcmp(d.rule, rule)) printf("# %s, expected %s\n", d.rule, rule);
    return !d.allowed && !strcmp(d.rule, rule);
}

static void test_assignments(void)
{
    static const char *const m1[] = {"m1"}, *const m2[] = {"m2"}, *const m3[] = {"m3"}, *const eng[] = {"eng"},
                             *const bob[] = {"bob"}, *const desk[] = {"desk-*"}, *const lab[] = {"lab-*"};
    ig_grant a[] = {
        {.rule = "a1", .models = {m1, 1}, .groups = {eng, 1}, .users = {bob, 1}, .limits = IG_LIMITS_NONE},
        {.rule = "a2", .models = {m2, 1}, .machines = {desk, 1}, .limits = {1000, 4096, 20, IG_NO_OUTPUT_LIMIT}},
        {.rule = "a3", .models = {m3, 1}, .machines = {lab, 1}, .limits = IG_LIMITS_NONE},
        {.rule = "a4", .models = {m2, 1}, .users = {bob, 1}, .state = IG_GRANT_DENIED, .limits = IG_LIMITS_NONE},
    };
    ig_policy p = {.configured = true, .assignments = a, .n_assignments = 4};
    ig_group g[] = {{"eng", "gid:5"}};
    ig_caller seven = {.known = true, .has_uid = true, .uid = 7};
    ig_caller ada = {.known = true, .account = "ada", .groups = g, .n_groups = 1},
              bo = {.known = true, .account = "bob"}, eve = {.known = true, .account = "eve"},
              lost = {.known = true, .groups_unknown = true};
    tap_ok(may(&p, &ada, "m1", "a1") && may(&p, &bo, "m1", "a1"), "assigned to a group or a user");
    tap_ok(may_not(&p, &eve, "m1", "builtin:assigned"), "an assigned model is for those alone, also in open mode");
    tap_ok(may(&p, &eve, "m9", "builtin:open"), "others are open");
    tap_ok(may(&p, &eve, "m2", "a2") && may_not(&p, &bo, "m2", "a4"), "denied beats available");
    tap_ok(may_not(&p, &eve, "m3", "builtin:assigned"), "assigned to other machines");
    tap_ok(may_not(&p, &lost, "m1", "builtin:directory") && may_not(&p, &lost, "m2", "builtin:directory") &&
               may(&p, &lost, "m9", "builtin:open"),
           "without groups what depends on them is refused");
    ig_ask ask = {.model.name = "m2", .machine = "desk-1", .n_ctx = 5000};
    ig_decision d;
    ig_policy_decide(&p, &eve, &ask, &d, NULL);
    tap_ok(!d.allowed && d.refusal == IG_REFUSED_CONTEXT && !strcmp(d.rule, "a2") && d.limits.priority == 20,
           "limits of an assignment: %s", d.reason);
    ask.listing = true;
    ask.tokens_today = 5000;
    ig_policy_decide(&p, &eve, &ask, &d, NULL);
    tap_ok(d.allowed, "a listing asks neither context nor budget");
    static const char *const number[] = {"#7"}, *const any_model[] = {"*"}, *const nc[] = {"*-nc-*"};
    ig_grant more[] = {{.rule = "b1", .models = {m1, 1}, .users = {number, 1}, .limits = IG_LIMITS_NONE},
                       {.rule = "b2", .models = {any_model, 1}, .licences = {nc, 1}, .state = IG_GRANT_DENIED}};
    ig_policy q = {.configured = true, .assignments = more, .n_assignments = 2};
    tap_ok(may(&q, &seven, "m1", "b1") && may_not(&q, &ada, "m1", "builtin:assigned"), "assigned to a number");
    ask = (ig_ask){.model = {.name = "m8", .licence = "cc-by-nc-4.0"}};
    ig_policy_decide(&q, &ada, &ask, &d, NULL);
    tap_ok(!d.allowed && !strcmp(d.rule, "b2") && may(&q, &ada, "m8", "builtin:open"), "a licence is denied");
    p.deny = true;
    tap_ok(may_not(&p, &eve, "m9", "builtin:deny"), "deny by default");
    ig_verdict v[4];
    ig_policy_decide(&p, &bo, &(ig_ask){.model.name = "m2", .machine = "desk-1"}, &d, v);
    tap_ok(v[0] == IG_V_MODEL && v[1] == IG_V_ALLOWS && v[2] == IG_V_MODEL && v[3] == IG_V_REFUSES, "the chain");
}

static void test_keys_in_decisions(void)
{
    const char *groups[] = {"eng"}, *models[] = {"m1*"};
    ig_key key = {.id = "abcdefgh",
                  .name = "ci",
                  .account = "ada",
                  .groups = groups,
                  .n_groups = 1,
                  .actions = 1,
                  .models = models,
                  .n_models = 1};
    ig_config *c = config_of("[policy]\nmode = deny\nmanagers = user:ada\n"
                             "[rule r]\neffect = allow\nwho = group:eng key:abcdefgh\n"
                             "[rule m]\neffect = refuse\nmodels = m1:no\nwho = key:ci\n");
    if (!tap_ok(c != NULL, "read")) return;
    ig_caller who;
    ig_caller_of(true, 1000, true, NULL, IG_UNKNOWN, &key, &who);
    tap_ok(who.known && !who.owner && !who.has_uid && !who.groups_unknown, "a key is not the process that sends it");
    tap_ok(may(&c->policy, &who, "m1:a", "r") && may_not(&c->policy, &who, "m2", "builtin:key") &&
               may_not(&c->policy, &who, "m1:no", "m"),
           "models of a key");
    ig_decision d;
    ig_policy_decide(&c->policy, &who, &(ig_ask){.action = IG_MAY_MANAGE, .model.name = "m1"}, &d, NULL);
    tap_ok(!d.allowed && !strcmp(d.rule, "builtin:key"), "actions of a key, although ada is a manager");
    key.account = "";
    key.n_groups = 0;
    ig_caller_of(true, 1000, false, NULL, IG_UNKNOWN, &key, &who);
    tap_ok(!who.known && !who.groups_unknown && may(&c->policy, &who, "m1", "r"), "a key of nobody in particular");
    ig_person gone = {.has_uid = true, .uid = 5, .exists = true, .disabled = true, .account = "x"};
    ig_caller_of(true, 5, false, &gone, IG_FRESH, NULL, &who);
    tap_ok(may_not(&c->policy, &who, "m1", "builtin:disabled"), "a disabled account");
    ig_caller_of(true, 5, false, &gone, IG_UNKNOWN, NULL, &who);
    tap_ok(who.groups_unknown && !who.account, "nothing is taken from an answer that is too old");
    ig_config_free(c);
}

/* ------------------------------------------------------------------------------------------------ patterns, config */

static void test_patterns(void)
{
    static const struct {
        const char *p, *t;
        bool fits;
    } rows[] = {{"", "", true},         {"*", "", true},          {"*", "abc", true},    {"a*c", "abbc", true},
                {"a*c", "abcd", false}, {"a?c", "abc", true},     {"a?c", "ac", false},  {"*a*a*b", "aaaab", true},
                {"ABC", "abc", true},   {"*.b", "a.b.c.b", true}, {"a**b", "ab", true},  {"?", "", false},
                {"ab", "abc", false},   {"abc", "ab", false},     {"*x", "xyxyx", true}, {"[a]", "a", false}};
    bool fine = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ig_pattern_fits(rows[i].p, rows[i].t) != rows[i].fits) {
            printf("# %s / %s\n", rows[i].p, rows[i].t);
            fine = false;
        }
    tap_ok(fine, "patterns");
    static char p[2001], t[20001];
    for (int i = 0; i < 2000; i += 2) p[i] = '*', p[i + 1] = 'a';
    memset(t, 'a', 20000);
    t[19999] = 'b';
    uint64_t before = ig_now_ns();
    tap_ok(!ig_pattern_fits(p, t) && ig_now_ns() - before < 2000000000u, "a pattern of 1000 stars ends");
}

static void test_config_refused(void)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"[policy]\nmode = closed\n", ":2: 'closed': expected one of open|deny"},
        {"[policy]\nmode = deny\nmode = open\n", ":3: mode is given twice"},
        {"[policy]\nmood = deny\n", ":2: there is no key 'mood' in [policy]"},
        {"[polizei]\nmode = deny\n", ":2: there is no section [polizei]"},
        {"[model a]\ndrafter = b\n", ":2: there is no key 'drafter' in [model a]"},
        {"[model a]\ndraft = b\n[model b]\ndraft = c\n[model a]\ndraft = d\n", ":6: model a is already at"},
        {"[model a]\ndraft = b\ndraft = c\n", ":3: draft is given twice"},
        {"[model a]\nshare_cache = perhaps\n", ":2: "},
        {"[model ]\ndraft = b\n", ""},
        {"mode = deny\n", ":1: there is no section []"},
        {"[audit]\ncontent = perhaps\n", ":2: 'perhaps': expected yes or no"},
        {"[audit]\ncontents = yes\n", ":2:"},
        {"[policy]\nmode\n", ":2: expected [section]"},
        {"[policy]\nmode =\n", ":2: mode has no value"},
        {"[rule a b]\neffect = allow\n", "is no id of a rule"},
        {"[rule ]\neffect = allow\n", ""},
        {"[rule a]\nwho = any\n", "rule a has no effect"},
        {"[rule a]\neffect = limit\n", "rule a limits nothing"},
        {"[rule a]\neffect = allow\n[rule b]\neffect = allow\n[rule a]\nwho = any\n", ":6: rule a is already at"},
        {"[rule a]\neffect = allow\nwho = ada\n", ":3: 'ada' names nobody"},
        {"[rule a]\neffect = allow\nwho = group:\n", "names nobody"},
        {"[rule a]\neffect = allow\nwho = \"group:x\n", "not closed"},
        {"[rule a]\neffect = allow\ncontext = 0\n", ":3:"},
        {"[rule a]\neffect = allow\ncontext = 4294967296\n", ":3:"},
        {"[rule a]\neffect = allow\ntokens_per_day = 99999999999999999999\n", ":3:"},
        {"[rule a]\neffect = allow\ntokens_per_day = 18446744073709551M\n", ":3:"},
        {"[rule a]\neffect = allow\npriority = 101\n", ":3:"},
        {"[rule a]\neffect = allow\npriority = -1\n", ":3:"},
        {"[rule a]\neffect = allow\nhours = mon 25:00-26:00\n", ":3:"},
        {"[rule a]\neffect = allow\nhours = mon-fri\n", ":3:"},
        {"[rule a]\neffect = allow\nhours = xyz 08:00-09:00\n", ":3:"},
        {"[rule a]\neffect = allow\nhours = mon 08:00-08:00\n", ":3:"},
        {"[rule a]\neffect = allow\nactions = fly\n", ":3:"},
        {"[rule a]\neffect = allow\nreason = \xff\n", "not UTF-8"},
        {"[directory]\nproviders = nis\n", ":2:"},
        {"[directory]\nproviders = file\n", "no groups_file"},
        {"[directory]\ncache = 10\n", ":2: '10' is no time"},
        {"[directory]\ncache = 99999999d\n", ":2:"},
        {"[ldap]\nuri = http://x\n", ":2: 'http://x' is no address"},
        {"[ldap]\nuri = ldap://x\n", "uri and base are needed"},
        {"[ldap]\nuri = ldap://x\nbase = dc=x\nbind = simple\n", "needs bind_dn"},
        {"[ldap]\nuri = ldap://x\nbase = dc=x\nbind = simple\nbind_dn = cn=a\npassword_file = /x\n", "in the clear"},
        {"[ldap]\nuser_attribute = uid)(x\n", ":2:"},
        {"[ldap]\npage_size = 0\n", ":2:"},
        {"[engine a]\nmodels = x\n", "engine a needs a command"},
        {"[engine a]\ncommand = server --port {port}\n", "begins with an absolute path"},
        {"[engine a]\ncommand = /bin/server\n", "{socket} or {port}"},
        {"[engine a]\ncommand = /bin/server {port} {socket}\n", "{socket} or {port}"},
        {"[engine a]\ncommand = /bin/server {port} {model}\n", "models = PATTERN"},
        {"[engine a]\ncommand = /bin/server {port}\nmodels = x*\n", "is a pattern"},
        {"[engine a]\ncommand = /bin/server {port}\nmemory = 8x\n", ":3: '8x' is no number of bytes"},
        {"[engine a]\ncommand = /bin/server {port}\nmemory = 99999999999T\n", ":3:"},
        {"[engine a]\ncommand = /bin/server {port}\nhealth = x\n", ":3:"},
        {"[engine a]\ncommand = /bin/server {port}\nenvironment = =x\n", "NAME=VALUE"},
        {"[engine a/b]\ncommand = /bin/server {port}\n", "is no name of an engine"},
        {"[engine a]\nmodels = x\n[engine b]\nmodels = x\n[engine a]\nmodel = x\n", "engine a is already at"},
        {"[policy]\n  mode = deny\n", ":2: the line begins with a blank"},
        {"[rule aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\neffect = allow\n", "too long"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_config *c;
        ig_error err = {0};
        ig_status st = ig_config_read(ig_str_from(rows[i].text), "t", &c, &err);
        tap_ok(st == IG_BAD_INPUT && !c && strstr(err.text, rows[i].want), "M23: refused: %s", err.text);
        ig_config_free(c);
    }
    static char line[70000];
    memset(line, 'x', sizeof line - 1);
    ig_config *c;
    ig_error err;
    tap_ok(ig_config_read(ig_str_from(line), "t", &c, &err) == IG_BAD_INPUT, "a long line: %s", err.text);
    tap_ok(ig_config_read((ig_str){"[policy]\0\n", 10}, "t", &c, &err) == IG_BAD_INPUT, "a NUL: %s", err.text);
}

static void test_config_accepted(void)
{
    ig_config *c = config_of(
        "# a comment\n; another\n[service]\nanything = goes\n[catalogue main]\nsource = /srv/c\nroot = /etc/root.json\n"
        "[directory]\nproviders = system ldap\ncache = 5m\ngrace = 0s\n"
        "[ldap]\nuri = ldaps://a.example ldaps://b.example\nuri = ldapi://%2frun%2fldapi\n"
        "base = dc=example,dc=org\nschema = ad\nnested = rule\ntimeout = 1500ms\n"
        "[rule a]\neffect = allow\nwho = \"group:Domain Users\" user:x\nwho = user:y\n"
        "context = 100\nreason = a; b\n");
    if (!tap_ok(c != NULL, "a configuration with sections of others")) return;
    const ig_rule *r = &c->policy.rules[0];
    const ig_directory_config *d = &c->directory;
    tap_ok(r->who.n == 3 && !strcmp(r->who.item[0], "group:Domain Users") && !strcmp(r->who.item[2], "user:y"),
           "lists");
    tap_ok(d->use_ldap && d->use_system && !d->use_file && d->cache_s == 300 && d->grace_s == 0, "directory");
    tap_ok(d->ldap.n_uris == 3 && d->ldap.schema == IG_LDAP_AD && d->ldap.nested == IG_NESTED_RULE &&
               d->ldap.timeout_ms == 1500,
           "ldap");
    tap_ok(!strcmp(r->origin, "t:22") || !strncmp(r->origin, "test:", 5), "origin %s", r->origin);
    tap_ok(c->n_notes == 1 && strstr(c->notes[0], "effect = limit"), "a note");
    ig_config_free(c);
    c = config_of("");
    tap_ok(c && !c->policy.configured && c->directory.use_system && !c->directory.use_ldap, "nothing said");
    ig_config_free(c);
}

static void test_config_files(void)
{
    ig_config *c;
    ig_error err;
    mkdir(in_work("etc"), 0755);
    tap_ok(ig_config_load(in_work("etc"), &c, &err) == IG_OK && !c->policy.configured && !c->n_files, "no files");
    ig_config_free(c);
    mkdir(in_work("etc/conf.d"), 0755);
    put("etc/ingle.conf", "[policy]\nmode = deny\n", 0644);
    put("etc/conf.d/20-b.conf", "[rule b]\neffect = allow\n", 0644);
    put("etc/conf.d/10-a.conf", "[rule a]\neffect = allow\n", 0644);
    put("etc/conf.d/notes.txt", "no configuration", 0644);
    if (symlink("/dev/null", in_work("etc/conf.d/30-off.conf"))) abort();
    tap_ok(ig_config_load(in_work("etc"), &c, &err) == IG_OK && c->policy.deny && c->policy.n_rules == 2 &&
               !strcmp(c->policy.rules[0].id, "a") && c->n_files == 3,
           "files in the order of their names");
    ig_config_free(c);
    put("etc/conf.d/40-bad.conf", "[rule x]\neffect = perhaps\n", 0644);
    tap_ok(ig_config_load(in_work("etc"), &c, &err) == IG_BAD_INPUT && !c && strstr(err.text, "40-bad.conf:2:"),
           "M23: one bad file, no configuration: %s", err.text);
    put("etc/conf.d/40-bad.conf", "[rule x]\neffect = allow\n", 0664);
    chmod(in_work("etc/conf.d/40-bad.conf"), 0666);
    tap_ok(ig_config_load(in_work("etc"), &c, &err) == IG_BAD_INPUT && strstr(err.text, "chmod go-w"), "%s", err.text);
    remove(in_work("etc/conf.d/40-bad.conf"));
    mkdir(in_work("etc/conf.d/50-dir.conf"), 0755);
    tap_ok(ig_config_load(in_work("etc"), &c, &err) != IG_OK, "a folder for a file: %s", err.text);
    remove(in_work("etc/conf.d/50-dir.conf"));
    unsigned k = 1;
    for (bool done = false; !done && k < 1000; k++) {
        ig_fault_set(IG_FAULT_ALLOC, k, 12, false);
        ig_status st = ig_config_load(in_work("etc"), &c, &err);
        done = ig_fault_calls(IG_FAULT_ALLOC) < k;
        ig_fault_reset();
        if ((st == IG_OK) != (c != NULL) || (done && st != IG_OK)) break;
        ig_config_free(c);
    }
    tap_ok(k > 5 && k < 1000, "M05: every allocation fails once (%u)", k);
}

/* ------------------------------------------------------------------------------------------------ keys */

static void test_keys(void)
{
    const char *path = strdup(in_work("keys/deep/keys.json"));
    ig_keys *keys, *other;
    ig_error err;
    char text[IG_KEY_TEXT_MAX], again[IG_KEY_TEXT_MAX];
    const char *groups[] = {"eng", "staff"}, *models[] = {"qwen*"};
    struct stat st;
    tap_ok(ig_keys_open(path, &keys, &err) == IG_OK && !ig_keys_n(keys), "no file, no keys");
    ig_key k = {
        .name = "ci", .account = "ada", .groups = groups, .n_groups = 2, .actions = 3, .models = models, .n_models = 1};
    if (!tap_ok(ig_keys_add(keys, &k, text, &err) == IG_OK, "a key is made %s", err.text)) return;
    tap_ok(strlen(text) == 6 + 8 + 1 + 43 && !strncmp(text, "ingle-", 6), "its form");
    tap_ok(!stat(path, &st) && (st.st_mode & 0777) == 0600, "H27: the file is for its owner alone");
    size_t n;
    char *file = tap_read(path, &n);
    tap_ok(file && !strstr(file, text) && !strstr(file, text + 15), "H27: and holds no key");
    free(file);
    tap_ok(ig_keys_add(keys, &k, again, &err) == IG_BAD_INPUT, "names are given once: %s", err.text);
    const ig_key *found = ig_keys_check(keys, ig_str_from(text), 1000);
    tap_ok(found && !strcmp(found->name, "ci") && !strcmp(found->account, "ada") && found->n_groups == 2 &&
               !strcmp(found->groups[1], "staff") && found->actions == 3 && found->n_models == 1,
           "the key is found");
    text[20] ^= 1;
    tap_ok(!ig_keys_check(keys, ig_str_from(text), 1000), "another is not");
    text[20] ^= 1;
    tap_ok(!ig_keys_check(keys, (ig_str){text, strlen(text) - 1}, 1000) && !ig_keys_check(keys, IG_STR(""), 1000),
           "nor a part of it");
    k.name = "short";
    k.expires_s = 2000;
    tap_ok(ig_keys_open(path, &other, &err) == IG_OK && ig_keys_n(other) == 1, "read by another process");
    tap_ok(ig_keys_add(other, &k, again, &err) == IG_OK && ig_keys_refresh(keys, &err) == IG_OK && ig_keys_n(keys) == 2,
           "and written by it");
    tap_ok(ig_keys_check(keys, ig_str_from(again), 1999) && !ig_keys_check(keys, ig_str_from(again), 2000), "an end");
    tap_ok(ig_keys_save_used(keys, &err) == IG_OK && ig_keys_refresh(other, &err) == IG_OK &&
               ig_keys_find(other, "short")->used_s == 1999,
           "last use is kept");
    tap_ok(ig_keys_revoke(other, "ci", &err) == IG_OK && ig_keys_refresh(keys, &err) == IG_OK &&
               !ig_keys_check(keys, ig_str_from(text), 1000) && ig_keys_find(keys, "ci")->revoked,
           "revoked");
    tap_ok(ig_keys_revoke(other, "ci", &err) == IG_OK && ig_keys_revoke(other, "none", &err) == IG_NOT_FOUND, "again");
    chmod(path, 0640);
    ig_keys_close(other);
    tap_ok(ig_keys_open(path, &other, &err) == IG_DENIED && !other, "H27: %s", err.text);
    chmod(path, 0600);
    put("bad.json", "{\"version\":1,\"keys\":[{\"id\":\"abc\"}]}", 0600);
    tap_ok(ig_keys_open(in_work("bad.json"), &other, &err) == IG_BAD_INPUT, "%s", err.text);
    put("bad.json", "{\"version\":1,", 0600);
    tap_ok(ig_keys_open(in_work("bad.json"), &other, &err) == IG_BAD_INPUT, "%s", err.text);
    FILE *f = fopen(path, "w");
    fputs("damage", f);
    fclose(f);
    tap_ok(ig_keys_refresh(keys, &err) != IG_OK && ig_keys_n(keys) == 2, "M23: a damaged file leaves the old keys: %s",
           err.text);
    ig_keys_close(keys);
    free((void *)(uintptr_t)path);
}

static void test_guard(void)
{
    static ig_key_guard g;
    const uint64_t s = 1000000000;
    uint64_t now = 100 * s;
    for (int i = 0; i < 3; i++) ig_key_guard_tell(&g, "peer", 4, now, false);
    tap_ok(!ig_key_guard_wait(&g, "peer", 4, now), "H27: three wrong keys are free");
    static const unsigned waits[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300};
    bool fine = true;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        ig_key_guard_tell(&g, "peer", 4, now, false);
        fine &=
            ig_key_guard_wait(&g, "peer", 4, now) == waits[i] && !ig_key_guard_wait(&g, "peer", 4, now + waits[i] * s);
    }
    tap_ok(fine, "H27: then the wait doubles, up to five minutes");
    size_t others = 0;
    for (uint32_t i = 0; i < 1000; i++) others += ig_key_guard_wait(&g, &i, sizeof i, now) > 0;
    tap_ok(others < 40, "others hardly notice (%zu of 1000)", others);
    ig_key_guard_tell(&g, "peer", 4, now, true);
    tap_ok(!ig_key_guard_wait(&g, "peer", 4, now), "a good key ends it");
}

/* ------------------------------------------------------------------------------------------------ directory */

typedef struct office { /* a provider that does as it is told */
    pthread_mutex_t lock;
    pthread_cond_t go;
    bool fail, hang;
    int n_asked;
    const char *group;
    int64_t now;
    int n_woken;
} office;

static ig_status office_find(void *ctx, ig_finding *f, ig_error *err)
{
    office *o = ctx;
    pthread_mutex_lock(&o->lock);
    o->n_asked++;
    while (o->hang) pthread_cond_wait(&o->go, &o->lock);
    bool fail = o->fail;
    const char *group = o->group;
    pthread_mutex_unlock(&o->lock);
    if (fail) return ig_fail(err, IG_IO, 0, "the office is closed");
    if (f->has_uid && f->uid == 404) return IG_OK;
    f->exists = true;
    if (!f->account[0]) snprintf(f->account, sizeof f->account, "u%u", f->uid);
    return ig_finding_group(f, group, "gid:1") ? IG_OK : ig_fail(err, IG_BUG, 0, "group");
}
static int64_t office_clock(void *ctx)
{
    office *o = ctx;
    return __atomic_load_n(&o->now, __ATOMIC_RELAXED);
}
static void set_clock(office *o, int64_t now) { __atomic_store_n(&o->now, now, __ATOMIC_RELAXED); }
static void office_set(office *o, bool fail, bool hang, const char *group)
{
    pthread_mutex_lock(&o->lock);
    o->fail = fail;
    o->hang = hang;
    o->group = group;
    pthread_cond_broadcast(&o->go);
    pthread_mutex_unlock(&o->lock);
}
static int asked(office *o)
{
    pthread_mutex_lock(&o->lock);
    int n = o->n_asked;
    pthread_mutex_unlock(&o->lock);
    return n;
}
static void office_wake(void *ctx) { __atomic_add_fetch(&((office *)ctx)->n_woken, 1, __ATOMIC_RELAXED); }

static bool is(ig_directory *d, uint32_t uid, ig_freshness want, const char *group)
{
    ig_freshness fresh;
    ig_person *p = ig_directory_find(d, NULL, uid, &fresh);
    bool fine = p && fresh == want && p->n_groups == (group ? 1u : 0u) && (!group || !strcmp(p->groups[0].name, group));
    if (!fine) printf("# fresh %d, %zu groups, %s\n", fresh, p ? p->n_groups : 0, p ? p->fault : "no memory");
    ig_person_unref(p);
    return fine;
}

static void test_ages(void)
{
    office o = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .group = "eng", .now = 1000000};
    char *state = strdup(in_work("state.json"));
    ig_directory_config c = {
        .cache_s = 100, .negative_s = 10, .grace_set = true, .grace_s = 1000, .deadline_ms = 300, .state_file = state};
    ig_directory *d;
    ig_error err;
    if (ig_directory_new(&c, &d, &err) != IG_OK) abort();
    ig_directory_replace(d, office_find, &o, office_clock, &o);
    ig_freshness fresh;
    ig_person *p = ig_directory_peek(d, NULL, 1, &fresh);
    tap_ok(!p && is(d, 1, IG_FRESH, "eng") && asked(&o) == 1, "asked once");
    office_set(&o, false, false, "ops");
    tap_ok(is(d, 1, IG_FRESH, "eng") && asked(&o) == 1, "then from the cache");
    p = ig_directory_peek(d, NULL, 1, &fresh);
    tap_ok(p && fresh == IG_FRESH && !strcmp(p->account, "u1"), "also without waiting");
    ig_person_unref(p);
    set_clock(&o, 1000101);
    p = ig_directory_peek(d, NULL, 1, &fresh);
    tap_ok(!p, "an old answer is not given while the directory has not been asked");
    tap_ok(is(d, 1, IG_FRESH, "ops") && asked(&o) == 2, "a lost group is lost after the cache age");
    office_set(&o, true, false, "x");
    set_clock(&o, 1000202);
    tap_ok(is(d, 1, IG_STALE, "ops") && asked(&o) == 3, "offline: good in the grace period");
    p = ig_directory_peek(d, NULL, 1, &fresh);
    tap_ok(p && fresh == IG_STALE && strstr(p->fault, "closed") && asked(&o) == 3, "not asked again at once");
    ig_person_unref(p);
    set_clock(&o, 1000213);
    tap_ok(is(d, 1, IG_STALE, "ops") && asked(&o) == 4, "but after the negative cache");
    set_clock(&o, 1001102);
    tap_ok(is(d, 1, IG_UNKNOWN, NULL), "unknown after the grace period");
    set_clock(&o, 1000090 - 1000);
    tap_ok(is(d, 1, IG_UNKNOWN, NULL), "a clock that was set back does not make an answer young");
    set_clock(&o, 1000300);
    office_set(&o, false, false, "new");
    tap_ok(is(d, 404, IG_FRESH, NULL), "an account that is not there");
    ig_directory_expire(d);
    tap_ok(is(d, 1, IG_FRESH, "new"), "expired by hand");
    ig_directory_free(d);
    if (ig_directory_new(&c, &d, &err) != IG_OK) abort();
    ig_directory_replace(d, office_find, &o, office_clock, &o);
    office_set(&o, true, false, "x");
    /* read with the real clock: 1970 is long ago, so that only the file's form matters here */
    tap_ok(is(d, 1, IG_FRESH, "new"), "over a restart");
    ig_directory_free(d);
    remove(state);
    free(state);
}

typedef struct heard {
    int n;
    ig_freshness fresh;
    char group[64];
} heard;
static void hear(void *ctx, const ig_person *p, ig_freshness fresh)
{
    heard *h = ctx;
    h->n++;
    h->fresh = fresh;
    snprintf(h->group, sizeof h->group, "%s", p->n_groups ? p->groups[0].name : "");
}
static void deliver_until(ig_directory *d, const heard *h, int n)
{
    for (int i = 0; i < 400 && h->n < n; i++) {
        ig_directory_deliver(d);
        ig_sleep_ms(5);
    }
}

static void test_asking(void)
{
    static office o = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .group = "eng", .now = 1000000};
    static ig_directory_config c = {
        .cache_s = 100, .negative_s = 10, .grace_set = true, .grace_s = 1000, .deadline_ms = 200};
    ig_directory *d;
    ig_error err;
    heard h = {0}, gone = {0};
    ig_directory_call calls[40], call;
    if (ig_directory_new(&c, &d, &err) != IG_OK) abort();
    ig_directory_replace(d, office_find, &o, office_clock, &o);
    ig_directory_on_done(d, office_wake, &o);
    for (uint32_t i = 0; i < 40; i++) ig_directory_ask(d, NULL, i % 8, &calls[i], hear, &h);
    ig_directory_ask(d, NULL, 1, &call, hear, &gone);
    ig_directory_cancel(d, &call);
    deliver_until(d, &h, 40);
    tap_ok(h.n == 40 && h.fresh == IG_FRESH && !strcmp(h.group, "eng") && asked(&o) == 8 &&
               __atomic_load_n(&o.n_woken, __ATOMIC_RELAXED) >= 8,
           "40 questions, 8 lookups");
    tap_ok(!gone.n, "a cancelled one is not called");
    h = (heard){0};
    ig_directory_ask(d, NULL, 1, &call, hear, &h);
    tap_ok(!h.n && ig_directory_deliver(d) == 0 && h.n == 1, "from the cache, but never before deliver");
    office_set(&o, false, true, "ops");
    set_clock(&o, 1000101);
    h = (heard){0};
    uint64_t start = ig_now_ns();
    ig_directory_ask(d, NULL, 1, &calls[0], hear, &h);
    ig_directory_ask(d, NULL, 77, &calls[1], hear, &gone);
    uint64_t next = ig_directory_deliver(d);
    tap_ok(!h.n && next > start, "a directory that hangs: nothing yet, and the time of the deadline");
    deliver_until(d, &h, 1);
    deliver_until(d, &gone, 1);
    uint64_t took = (ig_now_ns() - start) / 1000000;
    tap_ok(h.n == 1 && h.fresh == IG_STALE && !strcmp(h.group, "eng") && gone.n == 1 && gone.fresh == IG_UNKNOWN &&
               took < 2000,
           "at the deadline what is known (%u ms)", (unsigned)took);
    start = ig_now_ns();
    tap_ok(is(d, 78, IG_UNKNOWN, NULL) && ig_now_ns() - start < 2000000000u, "also when waiting");
    office_set(&o, false, false, "ops");
    deliver_until(d, &h, 1);
    ig_directory_free(d);
    tap_ok(true, "ends");
}

/* ------------------------------------------------------------------------------------------------ providers */

static void test_groups_file(void)
{
    ig_finding f;
    ig_error err;
    put("groups",
        "# groups\neng: ada, bob uid:77\nstaff: @eng carl\nall: @staff\nloop1: @loop2 ada\nloop2: @loop1\n\n"
        "empty:\nother: adam\n",
        0644);
    const char *path = strdup(in_work("groups"));
    ig_finding_init(&f);
    strcpy(f.account, "ada");
    tap_ok(ig_groups_file_find(path, &f, &err) == IG_OK && f.n_groups == 5, "groups within groups (%zu)", f.n_groups);
    ig_finding_fini(&f);
    ig_finding_init(&f);
    f.has_uid = true;
    f.uid = 77;
    tap_ok(ig_groups_file_find(path, &f, &err) == IG_OK && f.n_groups == 3 && !strcmp(f.groups[0]->name, "eng"),
           "by uid");
    ig_finding_fini(&f);
    static const char *const bad[] = {"eng ada\n", ": ada\n", "x: y\n\0z: ada"};
    for (size_t i = 0; i < 2; i++) {
        put("groups", bad[i], 0644);
        ig_finding_init(&f);
        tap_ok(ig_groups_file_find(path, &f, &err) == IG_BAD_INPUT, "%s", err.text);
        ig_finding_fini(&f);
    }
    put("groups", "eng: ada\n", 0666);
    ig_finding_init(&f);
    tap_ok(ig_groups_file_find(path, &f, &err) == IG_DENIED, "%s", err.text);
    ig_finding_fini(&f);
    ig_finding_init(&f);
    tap_ok(ig_groups_file_find("/nowhere/groups", &f, &err) != IG_OK, "a groups file that is not there is a failure");
    ig_finding_fini(&f);
    free((void *)(uintptr_t)path);
}

static void test_system(void)
{
    ig_finding f;
    ig_error err;
    ig_finding_init(&f);
    f.has_uid = true;
    f.uid = 0;
    tap_ok(ig_system_find(&f, &err) == IG_OK && f.exists && !strcmp(f.account, "root") && f.n_groups >= 1 &&
               !strncmp(f.groups[0]->id, "gid:", 4),
           "uid 0 is root, in group %s", f.n_groups ? f.groups[0]->name : "-");
    ig_finding_fini(&f);
    ig_finding_init(&f);
    f.has_uid = true;
    f.uid = 3999999999u;
    tap_ok(ig_system_find(&f, &err) == IG_OK && !f.exists && !f.n_groups, "nobody has that uid");
    ig_finding_fini(&f);
}

static void test_ldap_text(void)
{
    ig_buf b;
    ig_buf_init(&b, 1000);
    ig_filter_value(&b, "*)(uid=*\\\0x", 11);
    static const char want[] = "\\2a\\29\\28uid\\3d\\2a\\5c\\00x";
    tap_ok(b.len == sizeof want - 1 && !memcmp(b.ptr, want, b.len), "filter %.*s", (int)b.len, b.ptr);
    bool clean = !memchr(b.ptr, '*', b.len) && !memchr(b.ptr, '(', b.len) && !memchr(b.ptr, ')', b.len);
    tap_ok(clean, "nothing of a filter's own is left");
    ig_buf_fini(&b);
    static const struct {
        const char *dn, *want;
    } dns[] = {{"cn=eng,dc=x", "eng"},
               {"cn=a\\,b,dc=x", "a,b"},
               {"CN=Domain Users,DC=x", "Domain Users"},
               {"cn=a\\2cb", "a,b"},
               {"cn= eng ,dc=x", "eng"},
               {"cn=eng\\ ,dc=x", "eng "},
               {"cn=a+sn=b,dc=x", "a"},
               {"=x", NULL},
               {"", NULL},
               {"cn", NULL},
               {"cn=", NULL},
               {"cn=#04024869", NULL},
               {"cn=a\\", NULL},
               {"cn=\\00", NULL},
               {"cn=\\ff", NULL}};
    bool fine = true;
    char out[64];
    for (size_t i = 0; i < sizeof dns / sizeof *dns; i++) {
        bool got = ig_dn_first(dns[i].dn, out, sizeof out);
        if (got != (dns[i].want != NULL) || (got && strcmp(out, dns[i].want))) {
            printf("# %s: %s\n", dns[i].dn, got ? out : "none");
            fine = false;
        }
    }
    tap_ok(fine, "first names of DNs");
    tap_ok(ig_dn_below("cn=a,ou=g,dc=x", "ou=g,dc=x") && ig_dn_below("CN=a, OU=G ,DC=x", "ou=g,dc=x") &&
               ig_dn_below("dc=x", "dc=x") && !ig_dn_below("cn=a,dc=xx", "dc=x") && !ig_dn_below("dc=x", "ou=g,dc=x") &&
               !ig_dn_below("cn=a\\,dc=x", "dc=x") && ig_dn_below("cn=a", ""),
           "below a base");
    uint32_t from, to;
    tap_ok(ig_range_read("member", "member", &from, &to) == 1 &&
               ig_range_read("MEMBER;Range=0-1499", "member", &from, &to) == 2 && from == 0 && to == 1499 &&
               ig_range_read("member;range=1500-*", "member", &from, &to) == 2 && to == UINT32_MAX &&
               ig_range_read("memberOf", "member", &from, &to) == 0 &&
               ig_range_read("member;lang-de", "member", &from, &to) == 0 &&
               ig_range_read("member;range=5-4", "member", &from, &to) == -1 &&
               ig_range_read("member;range=0-4294967295", "member", &from, &to) == -1 &&
               ig_range_read("member;range=-1", "member", &from, &to) == -1,
           "ranges");
}

static void test_facts(void)
{
    char p[128];
    ig_publisher_of("hf://acme/model@main", p);
    bool fine = !strcmp(p, "acme");
    ig_publisher_of("https://good.org@evil.org/x", p);
    fine &= !*p;
    ig_publisher_of("https://host.org/x", p);
    fine &= !strcmp(p, "host.org");
    ig_publisher_of(NULL, p);
    fine &= !*p;
    tap_ok(fine && ig_licence_id("apache-2.0") && !ig_licence_id("Apache License\nVersion 2") && !ig_licence_id(NULL),
           "publisher and licence");
}

int main(void)
{
    strcpy(work, "/tmp/ingle-policy-XXXXXX");
    if (!mkdtemp(work)) return 1;
    test_decisions();
    test_expectation_faults();
    test_assignments();
    test_keys_in_decisions();
    test_patterns();
    test_config_refused();
    test_config_accepted();
    test_config_files();
    test_keys();
    test_guard();
    test_ages();
    test_asking();
    test_groups_file();
    test_system();
    test_ldap_text();
    test_facts();
    nftw(work, drop, 16, FTW_DEPTH | FTW_PHYS);
    return tap_done();
}
