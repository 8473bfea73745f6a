/* Who gets what: pure functions on a catalogue. Of all rules that fit, the strongest state wins (denied over required
 * over available), and of those the first: the catalogue's own before the target's. Where none fits, a model that a
 * rule requires or offers is for those alone whom rules name; another one is available, or denied by default. policy
 * comes to the same decisions with what ig_grants_of makes of a catalogue (tests/unit/test_follow.c compares them). */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tuf.h"

static char lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c); }

/* '*' and '?' without regard to case; a name's slashes are as other letters. Only the last '*' is gone back to. */
static bool fits(const char *p, const char *s)
{
    const char *star = NULL, *mark = NULL;
    while (*s) {
        if (*p == '*') {
            star = p++;
            mark = s;
        } else if (*p == '?' || lower(*p) == lower(*s)) {
            if (!*p) return false;
            p++;
            s++;
        } else if (star) {
            p = star + 1;
            s = ++mark;
        } else {
            return false;
        }
    }
    while (*p == '*') p++;
    return !*p;
}

static bool any_fits(ig_words patterns, const char *text)
{
    for (size_t i = 0; text && i < patterns.n; i++)
        if (fits(patterns.list[i], text)) return true;
    return false;
}

static bool any_is(ig_words words, const char *text)
{
    for (size_t i = 0; text && i < words.n; i++)
        if (!strcasecmp(words.list[i], text)) return true;
    return false;
}

static bool names_person(const ig_catalogue_rule *r, const ig_who *who)
{
    char number[32];
    if (r->users.n == 0 && r->groups.n == 0) return true;
    if (any_is(r->users, who->user)) return true;
    (void)snprintf(number, sizeof number, "#%lld", (long long)who->uid);
    if (who->uid >= 0 && any_is(r->users, number)) return true;
    for (size_t i = 0; i < who->groups.n; i++)
        if (any_is(r->groups, who->groups.list[i])) return true;
    return false;
}

bool ig_catalogue_rule_covers(const ig_catalogue_rule *r, const ig_catalogue_target *t)
{
    if (r->models.n && !any_fits(r->models, t->name)) return false;
    if (r->licences.n && !any_fits(r->licences, t->licence ? t->licence : "")) return false;
    return !r->publishers.n || any_fits(r->publishers, t->publisher ? t->publisher : "");
}

static bool rule_fits(const ig_catalogue_rule *r, const ig_who *who)
{
    if (r->machines.n && !any_fits(r->machines, who->machine)) return false;
    return names_person(r, who);
}

/* *assigned: somebody gets it. */
static void judge(const ig_catalogue_rule *rules, size_t n, const ig_who *who, ig_assignment *best, bool *found,
                  bool *assigned)
{
    for (size_t i = 0; i < n; i++) {
        if (!ig_catalogue_rule_covers(&rules[i], best->target)) continue;
        *assigned |= rules[i].state != IG_ASSIGNED_DENIED;
        if ((*found && rules[i].state <= best->state) || !rule_fits(&rules[i], who)) continue;
        best->state = rules[i].state;
        best->rule = rules[i].id;
        *found = true;
    }
}

ig_assignment ig_catalogue_decide(const ig_catalogue *c, const ig_catalogue_target *t, const ig_who *who)
{
    ig_assignment a = {t, c->deny_by_default ? IG_ASSIGNED_DENIED : IG_ASSIGNED_AVAILABLE, "default"};
    bool found = false, assigned = false;
    judge(c->rules, c->n_rules, who, &a, &found, &assigned);
    judge(t->rules, t->n_rules, who, &a, &found, &assigned);
    if (!found && assigned) a = (ig_assignment){t, IG_ASSIGNED_DENIED, "builtin:assigned"};
    return a;
}

void ig_catalogue_assignments(const ig_catalogue *c, const ig_who *who, ig_assignment *out)
{
    for (size_t i = 0; i < c->n_targets; i++) out[i] = ig_catalogue_decide(c, &c->targets[i], who);
}

const ig_catalogue_target *ig_catalogue_find(const ig_catalogue *c, const char *name)
{
    ig_name n;
    if (ig_name_parse(name, &n, NULL) != IG_OK) return NULL;
    for (size_t i = 0; i < c->n_targets; i++)
        if (!strcasecmp(c->targets[i].name, n.text)) return &c->targets[i];
    return NULL;
}
