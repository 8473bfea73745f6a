/* What a catalogue says, as grants of policy: a pure translation. Every rule that is about a target becomes a grant for
 * that target, so that the decision needs neither licences nor publishers of a model that lies in the store. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "policy/policy.h"
#include "serve/serve.h"
#include "store/catalogue.h"

enum { ARENA_BYTES_MAX = 256 << 20 };

typedef struct writer {
    const ig_catalogue *c;
    const char *name;
    bool expired;
    ig_grants *out;
    ig_grant *list; /* [cap] */
    size_t cap;
} writer;

static const ig_grant_state states[] = {[IG_ASSIGNED_AVAILABLE] = IG_GRANT_AVAILABLE,
                                        [IG_ASSIGNED_REQUIRED] = IG_GRANT_REQUIRED,
                                        [IG_ASSIGNED_DENIED] = IG_GRANT_DENIED};

static ig_terms terms(ig_words w) { return (ig_terms){w.list, w.n}; }

/* "NAME:ID", which no rule of a configuration can be called. */
static const char *rule_id(writer *w, const char *id)
{
    char text[IG_RULE_ID_MAX];
    int n = snprintf(text, sizeof text, "%s:%s", w->name, id);
    return ig_arena_copy(&w->out->arena, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

/* Both names of the target: what lies under its name is closed as well while it is another version. */
static bool model_terms(writer *w, const ig_catalogue_target *t, ig_terms *out)
{
    char digest[IG_HEX_LEN + 16];
    int n = snprintf(digest, sizeof digest, "sha256:%s", t->digest);
    const char **item = ig_arena_alloc(&w->out->arena, 2, sizeof *item);
    if (!item) return false;
    item[0] = ig_arena_copy(&w->out->arena, t->name, strlen(t->name));
    item[1] = ig_arena_copy(&w->out->arena, digest, (size_t)n);
    *out = (ig_terms){item, 2};
    return item[0] && item[1];
}

static bool add(writer *w, const char *id, ig_terms models, const ig_catalogue_rule *r, ig_grant g)
{
    if (w->out->n == w->cap) return false;
    g.rule = rule_id(w, id);
    g.catalogue = w->name;
    g.models = models;
    if (r) {
        g.state = states[r->state];
        g.groups = terms(r->groups);
        g.users = terms(r->users);
        g.machines = terms(r->machines);
    }
    w->list[w->out->n++] = g;
    return g.rule != NULL;
}

static bool add_rules(writer *w, const ig_catalogue_target *t, ig_terms models, const ig_catalogue_rule *rules,
                      size_t n, bool *assigned)
{
    for (size_t i = 0; i < n; i++) {
        if (!ig_catalogue_rule_covers(&rules[i], t)) continue;
        *assigned |= rules[i].state != IG_ASSIGNED_DENIED;
        if (!add(w, rules[i].id, models, &rules[i], (ig_grant){.limits = IG_LIMITS_NONE})) return false;
    }
    return true;
}

/* The model without its adapter would be another one than the administrator offers, and nobody would notice. */
static const char adapters_why[] =
    "The catalogue offers this model with an adapter, which this version of ingle cannot "
    "apply; the administrator offers it without one.";

static uint32_t limit(uint64_t n) { return n && n < UINT32_MAX ? (uint32_t)n : UINT32_MAX; }

static bool add_target(writer *w, const ig_catalogue_target *t)
{
    ig_terms models;
    bool assigned = false;
    if (!model_terms(w, t, &models) || !add_rules(w, t, models, w->c->rules, w->c->n_rules, &assigned) ||
        !add_rules(w, t, models, t->rules, t->n_rules, &assigned))
        return false;
    ig_grant closed = {.state = IG_GRANT_CLOSED, .limits = IG_LIMITS_NONE},
             labels = {.state = IG_GRANT_LABELS, .labels = terms(t->labels), .limits = IG_LIMITS_NONE},
             limits = {.state = IG_GRANT_LIMITS, .limits = IG_LIMITS_NONE};
    if (w->c->deny_by_default && !assigned && !add(w, "default", models, NULL, closed)) return false;
    ig_grant ended = {.state = IG_GRANT_DENIED,
                      .reason = "The catalogue of this model has expired; the administrator publishes it anew.",
                      .limits = IG_LIMITS_NONE};
    if (w->expired && !add(w, "expired", models, NULL, ended)) return false;
    ig_grant adapted = {.state = IG_GRANT_DENIED, .reason = adapters_why, .exact = true, .limits = IG_LIMITS_NONE};
    if (t->adapters.n && !add(w, "adapters", models, NULL, adapted)) return false;
    if (t->labels.n && !add(w, "labels", models, NULL, labels)) return false;
    if (!t->context_max && !t->output_max && !t->day_tokens_max) return true;
    limits.limits.n_ctx = limit(t->context_max);
    limits.limits.output = limit(t->output_max);
    if (t->day_tokens_max) limits.limits.tokens_per_day = t->day_tokens_max;
    return add(w, "limits", models, NULL, limits);
}

static size_t count(const ig_catalogue *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_targets; i++) {
        for (size_t k = 0; k < c->n_rules; k++) n += ig_catalogue_rule_covers(&c->rules[k], &c->targets[i]);
        n += c->targets[i].n_rules + 5;
    }
    return n;
}

ig_status ig_grants_of(const ig_catalogue *c, const char *name, bool expired, ig_grants *out, ig_error *err)
{
    *out = (ig_grants){.arena = {.max_bytes = ARENA_BYTES_MAX}};
    writer w = {.c = c, .name = name, .expired = expired, .out = out, .cap = count(c)};
    out->list = w.list = ig_arena_alloc(&out->arena, w.cap + 1, sizeof *w.list);
    bool ok = w.list != NULL;
    for (size_t i = 0; ok && i < c->n_targets; i++) ok = add_target(&w, &c->targets[i]);
    if (ok) return IG_OK;
    ig_grants_free(out);
    return ig_fail(err, IG_TOO_LARGE, 0, "catalogue %s has too many rules for this machine's memory", name);
}

void ig_grants_free(ig_grants *g)
{
    ig_arena_fini(&g->arena);
    *g = (ig_grants){0};
}

bool ig_grant_is_about(const ig_grant *g, const char *name, const char *digest)
{
    static const char latest[] = ":latest";
    const char *own = g->models.item[0];
    size_t n = name ? strlen(name) : 0, m = strlen(own), l = sizeof latest - 1;
    if (digest && *digest && !strcasecmp(g->models.item[1] + 7, digest)) return true;
    if (!n) return false;
    return !strcasecmp(own, name) || (m == n + l && !strncasecmp(own, name, n) && !strcasecmp(own + n, latest));
}

static bool pick(const ig_grants *set, const char *name, const char *digest, ig_grant **list, size_t *cap, size_t *n)
{
    const char *const *target = NULL; /* whose grants come */
    bool fits = false;
    for (size_t i = 0; i < set->n; i++) {
        const ig_grant *g = &set->list[i];
        if (g->models.item != target) fits = ig_grant_is_about(g, name, digest);
        target = g->models.item;
        if (!fits) continue;
        if (*n == *cap) {
            ig_grant *grown = ig_realloc(*list, 2 * *cap + 16, sizeof *grown);
            if (!grown) return false;
            *list = grown;
            *cap = 2 * *cap + 16;
        }
        (*list)[(*n)++] = *g;
    }
    return true;
}

bool ig_grants_pick(const ig_grants *const *sets, size_t n_sets, const char *name, const char *digest, ig_grant **list,
                    size_t *cap, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < n_sets; i++)
        if (!pick(sets[i], name, NULL, list, cap, n)) return false;
    for (size_t i = 0, by_name = *n; i < n_sets && !by_name; i++)
        if (!pick(sets[i], NULL, digest, list, cap, n)) return false;
    return true;
}
