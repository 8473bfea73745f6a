/* The decision: a pure function. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/utf8.h"
#include "policy/policy.h"

typedef enum tri { NO, YES, UNSURE } tri;

static const char *const action_names[] = {"use", "pull", "create", "pin", "manage"};
const char *ig_policy_action_name(ig_action action)
{
    return (size_t)action < IG_N_ACTIONS ? action_names[action] : "?";
}

static const char *const verdict_texts[] = {
    [IG_V_ALLOWS] = "allows",
    [IG_V_LIMITS] = "limits",
    [IG_V_REFUSES] = "refuses",
    [IG_V_UNSURE] = "depends on groups that are not known",
    [IG_V_ACTION] = "is about other actions",
    [IG_V_MODEL] = "is about other models",
    [IG_V_LICENCE] = "is about other licences",
    [IG_V_PUBLISHER] = "is about other publishers",
    [IG_V_SOURCE] = "is about other sources",
    [IG_V_LABEL] = "is about other labels",
    [IG_V_MACHINE] = "is about other machines",
    [IG_V_HOURS] = "holds at other times",
    [IG_V_WHO] = "is about others",
    [IG_V_UNLESS] = "makes an exception",
};
const char *ig_verdict_text(ig_verdict verdict)
{
    return (size_t)verdict < IG_N_VERDICTS ? verdict_texts[verdict] : "?";
}

ig_moment ig_moment_of(int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;
    if (!localtime_r(&t, &tm)) return (ig_moment){0, 0};
    return (ig_moment){(uint8_t)((tm.tm_wday + 6) % 7), (uint16_t)(tm.tm_hour * 60 + tm.tm_min)};
}

/* ------------------------------------------------------------------------------------------------ conditions */

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool ig_pattern_fits(const char *p, const char *t)
{
    const char *star = NULL, *mark = t;
    while (*t) {
        if (*p == '*')
            star = ++p, mark = t;
        else if (*p == '?' || lower(*p) == lower(*t))
            p++, t++;
        else if (star)
            p = star, t = ++mark;
        else
            return false;
    }
    while (*p == '*') p++;
    return !*p;
}

static bool words_fit(const ig_terms *w, const char *text)
{
    if (!w->n) return true;
    if (!text || !*text) text = "unknown";
    for (size_t i = 0; i < w->n; i++)
        if (ig_pattern_fits(w->item[i], text)) return true;
    return false;
}

/* "x:latest" is also called "x". */
static bool name_fits(const char *pattern, const char *name)
{
    static const char latest[] = ":latest";
    char whole[512];
    if (ig_pattern_fits(pattern, name)) return true;
    size_t n = strlen(name), l = sizeof latest - 1;
    if (n > l && !strcasecmp(name + n - l, latest)) {
        n -= l;
        if (n >= sizeof whole) return false;
        memcpy(whole, name, n);
        whole[n] = 0;
    } else {
        const char *slash = strrchr(name, '/');
        if (strchr(slash ? slash : name, ':') || n + l >= sizeof whole) return false;
        snprintf(whole, sizeof whole, "%s%s", name, latest);
    }
    return ig_pattern_fits(pattern, whole);
}

static bool model_fits(const char *pattern, const ig_model_facts *m)
{
    static const char sha[] = "sha256:";
    size_t l = sizeof sha - 1;
    if (!strncasecmp(pattern, sha, l)) return m->digest && *m->digest && !strcasecmp(pattern + l, m->digest);
    return m->name && name_fits(pattern, m->name);
}

static bool models_fit(const ig_terms *w, const ig_model_facts *m)
{
    for (size_t i = 0; i < w->n; i++)
        if (model_fits(w->item[i], m)) return true;
    return !w->n;
}

static bool in_hours(const ig_hours *h, const ig_moment *at)
{
    bool today = h->days >> at->weekday & 1, yesterday = h->days >> (at->weekday + 6) % 7 & 1;
    if (h->from < h->to) return today && at->minute >= h->from && at->minute < h->to;
    return (today && at->minute >= h->from) || (yesterday && at->minute < h->to);
}

static bool hours_fit(const ig_rule *r, const ig_moment *at)
{
    for (size_t i = 0; i < r->n_hours; i++)
        if (in_hours(&r->hours[i], at)) return true;
    return !r->n_hours;
}

/* ------------------------------------------------------------------------------------------------ who */

static tri in_group(const ig_caller *who, const char *name, bool by_id)
{
    for (size_t i = 0; i < who->n_groups; i++)
        if (!strcasecmp(by_id ? who->groups[i].id : who->groups[i].name, name)) return YES;
    if (who->key && !by_id)
        for (size_t i = 0; i < who->key->n_groups; i++)
            if (!strcasecmp(who->key->groups[i], name)) return YES;
    return who->groups_unknown ? UNSURE : NO;
}

static tri is_uid(const ig_caller *who, const char *digits)
{
    char own[16];
    snprintf(own, sizeof own, "%" PRIu32, who->uid);
    return who->has_uid && !strcmp(own, digits) ? YES : NO;
}

static tri is_user(const ig_caller *who, const char *name)
{
    if (who->account && *who->account) return !strcasecmp(who->account, name) ? YES : NO;
    /* A uid whose name could not be found out may be anybody's. */
    return who->known && who->groups_unknown ? UNSURE : NO;
}

static tri term_fits(const char *term, const ig_caller *who)
{
    const char *value = strchr(term, ':');
    if (!strcmp(term, "any")) return YES;
    if (!strcmp(term, "known")) return who->known ? YES : NO;
    if (!strcmp(term, "nobody")) return who->known || who->key ? NO : YES;
    if (!strcmp(term, "owner")) return who->owner ? YES : NO;
    if (!value) return NO;
    value++;
    if (!strncmp(term, "user:", 5)) return is_user(who, value);
    if (!strncmp(term, "uid:", 4)) return is_uid(who, value);
    if (!strncmp(term, "group:", 6)) return in_group(who, value, false);
    if (!strncmp(term, "gid:", 4) || !strncmp(term, "dn:", 3)) return in_group(who, term, true);
    if (!strncmp(term, "key:", 4))
        return who->key && (!strcmp(who->key->name, value) || !strcmp(who->key->id, value)) ? YES : NO;
    return NO;
}

static tri any_term(const ig_terms *w, const ig_caller *who)
{
    tri best = NO;
    for (size_t i = 0; i < w->n && best != YES; i++) {
        tri t = term_fits(w->item[i], who);
        if (t != NO) best = t;
    }
    return best;
}

/* ------------------------------------------------------------------------------------------------ one rule */

static ig_verdict effect_verdict(ig_effect effect)
{
    return effect == IG_ALLOW ? IG_V_ALLOWS : effect == IG_LIMIT ? IG_V_LIMITS : IG_V_REFUSES;
}

static ig_verdict judge_who(const ig_rule *r, const ig_caller *who)
{
    tri is = r->who.n ? any_term(&r->who, who) : YES, except = r->unless.n ? any_term(&r->unless, who) : NO;
    if (is == NO) return IG_V_WHO;
    if (except == YES) return IG_V_UNLESS;
    return is == UNSURE || except == UNSURE ? IG_V_UNSURE : effect_verdict(r->effect);
}

static ig_verdict judge(const ig_rule *r, const ig_caller *who, const ig_ask *ask)
{
    if (!(r->actions >> ask->action & 1)) return IG_V_ACTION;
    if (!models_fit(&r->models, &ask->model)) return IG_V_MODEL;
    if (!words_fit(&r->licences, ask->model.licence)) return IG_V_LICENCE;
    if (!words_fit(&r->publishers, ask->model.publisher)) return IG_V_PUBLISHER;
    if (!words_fit(&r->sources, ask->source)) return IG_V_SOURCE;
    if (!ask->listing && !words_fit(&r->labels, ask->label)) return IG_V_LABEL;
    if (!words_fit(&r->machines, ask->machine)) return IG_V_MACHINE;
    /* In a listing only what holds always refuses. */
    bool bounded = r->n_hours || r->labels.n;
    if (ask->listing ? bounded && r->effect == IG_REFUSE : !hours_fit(r, &ask->when)) return IG_V_HOURS;
    return judge_who(r, who);
}

static tri assigned_to(const ig_grant *a, const ig_caller *who)
{
    tri best = a->users.n || a->groups.n ? NO : YES;
    for (size_t i = 0; i < a->users.n && best != YES; i++) {
        const char *u = a->users.item[i];
        tri t = *u == '#' ? is_uid(who, u + 1) : is_user(who, u);
        if (t != NO) best = t;
    }
    for (size_t i = 0; i < a->groups.n && best != YES; i++) {
        const char *g = a->groups.item[i];
        bool by_id = !strncmp(g, "dn:", 3) || !strncmp(g, "gid:", 4);
        tri t = in_group(who, g, by_id);
        if (t != NO) best = t;
    }
    return best;
}

static bool is_digest(const ig_grant *a, const char *digest)
{
    return digest && a->models.n > 1 && !strcasecmp(a->models.item[1] + strlen("sha256:"), digest);
}

static ig_verdict judge_assignment(const ig_grant *a, const ig_caller *who, const ig_ask *ask)
{
    if (ask->action != IG_MAY_USE) return IG_V_ACTION;
    if (!models_fit(&a->models, &ask->model)) return IG_V_MODEL;
    if (a->exact && !is_digest(a, ask->model.digest)) return IG_V_MODEL;
    if (!words_fit(&a->licences, ask->model.licence)) return IG_V_LICENCE;
    if (!words_fit(&a->publishers, ask->model.publisher)) return IG_V_PUBLISHER;
    if (!words_fit(&a->machines, ask->machine)) return IG_V_MACHINE;
    if (a->state == IG_GRANT_LABELS)
        return ask->listing || !ask->label || words_fit(&a->labels, ask->label) ? IG_V_LABEL : IG_V_REFUSES;
    tri is = a->state == IG_GRANT_CLOSED ? NO : assigned_to(a, who);
    if (is == NO) return IG_V_WHO;
    if (is == UNSURE) return IG_V_UNSURE;
    if (a->state == IG_GRANT_LIMITS) return IG_V_LIMITS;
    return a->state == IG_GRANT_DENIED ? IG_V_REFUSES : IG_V_ALLOWS;
}

/* ------------------------------------------------------------------------------------------------ all of them */

typedef struct tally {
    const ig_caller *who;
    const ig_ask *ask;
    ig_decision *out;
    const char *refused, *refused_why, *granted, *unsure, *closed; /* ids */
    bool assigned;
    ig_limits grant, cap;
    const char *grant_ctx, *grant_tokens, *grant_output, *cap_ctx, *cap_tokens, *cap_output;
} tally;

/* One more that allows: the most generous counts. */
static void add_grant(tally *t, const char *id, const ig_limits *l)
{
    bool first = !t->granted;
    if (first) t->granted = id;
    if (first || l->n_ctx > t->grant.n_ctx) t->grant.n_ctx = l->n_ctx, t->grant_ctx = id;
    if (first || l->tokens_per_day > t->grant.tokens_per_day)
        t->grant.tokens_per_day = l->tokens_per_day, t->grant_tokens = id;
    if (first || l->output > t->grant.output) t->grant.output = l->output, t->grant_output = id;
    if (first || l->priority > t->grant.priority) t->grant.priority = l->priority;
}

static void add_cap(tally *t, const char *id, const ig_limits *l)
{
    if (l->n_ctx < t->cap.n_ctx) t->cap.n_ctx = l->n_ctx, t->cap_ctx = id;
    if (l->tokens_per_day < t->cap.tokens_per_day) t->cap.tokens_per_day = l->tokens_per_day, t->cap_tokens = id;
    if (l->output < t->cap.output) t->cap.output = l->output, t->cap_output = id;
    if (l->priority >= 0 && (t->cap.priority < 0 || l->priority < t->cap.priority)) t->cap.priority = l->priority;
}

static void count(tally *t, ig_verdict v, ig_effect effect, const char *id, const char *why, const ig_limits *limits)
{
    if (v == IG_V_REFUSES && !t->refused) t->refused = id, t->refused_why = why;
    if (v == IG_V_ALLOWS) add_grant(t, id, limits);
    if (v == IG_V_LIMITS || (v == IG_V_UNSURE && effect == IG_LIMIT)) add_cap(t, id, limits);
    if (v == IG_V_UNSURE && effect == IG_REFUSE && !t->unsure) t->unsure = id;
}

static const ig_effect grant_effects[] = {
    [IG_GRANT_REQUIRED] = IG_ALLOW, [IG_GRANT_AVAILABLE] = IG_ALLOW, [IG_GRANT_DENIED] = IG_REFUSE,
    [IG_GRANT_CLOSED] = IG_ALLOW,   [IG_GRANT_LIMITS] = IG_LIMIT,    [IG_GRANT_LABELS] = IG_REFUSE,
};

static void count_all(tally *t, const ig_policy *p, ig_verdict *verdicts, const char **maybe)
{
    for (size_t i = 0; i < p->n_rules; i++) {
        const ig_rule *r = &p->rules[i];
        ig_verdict v = judge(r, t->who, t->ask);
        count(t, v, r->effect, r->id, r->reason, &r->limits);
        if (v == IG_V_UNSURE && r->effect == IG_ALLOW && !*maybe) *maybe = r->id;
        if (verdicts) verdicts[i] = v;
    }
    for (size_t i = 0; i < p->n_assignments; i++) {
        const ig_grant *a = &p->assignments[i];
        ig_effect effect = grant_effects[a->state];
        ig_verdict v = judge_assignment(a, t->who, t->ask);
        count(t, v, effect, a->rule, a->reason, &a->limits);
        if (v == IG_V_UNSURE && effect == IG_ALLOW && !*maybe) *maybe = a->rule;
        bool other = v == IG_V_MODEL || v == IG_V_ACTION || v == IG_V_LICENCE || v == IG_V_PUBLISHER;
        if (effect == IG_ALLOW && !other && a->state == IG_GRANT_CLOSED) t->closed = a->rule;
        if (effect == IG_ALLOW && !other && a->state != IG_GRANT_CLOSED) t->assigned = true;
        if (verdicts) verdicts[p->n_rules + i] = v;
    }
}

/* ------------------------------------------------------------------------------------------------ sentences */

static void put_id(char out[IG_RULE_ID_MAX], const char *id) { snprintf(out, IG_RULE_ID_MAX, "%s", id ? id : ""); }

/* Control characters in what others have named must not forge lines. */
static void clean(char *text)
{
    text[ig_utf8_whole(text, strlen(text))] = 0;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
}

__attribute__((format(printf, 4, 5))) static void refuse(ig_decision *d, ig_refusal refusal, const char *id,
                                                         const char *format, ...)
{
    va_list args;
    d->allowed = false;
    d->refusal = refusal;
    put_id(d->rule, id);
    va_start(args, format);
    vsnprintf(d->reason, sizeof d->reason, format, args);
    va_end(args);
    clean(d->reason);
}

static void allow(ig_decision *d, const char *id, const char *reason)
{
    d->allowed = true;
    d->refusal = IG_NOT_REFUSED;
    put_id(d->rule, id);
    snprintf(d->reason, sizeof d->reason, "%s", reason);
}

static const char *caller(const ig_caller *who, char out[96])
{
    if (who->account && *who->account)
        snprintf(out, 96, "user %.80s", who->account);
    else if (who->has_uid && who->known)
        snprintf(out, 96, "uid %" PRIu32, who->uid);
    else if (who->key)
        snprintf(out, 96, "key %.80s", who->key->name);
    else
        snprintf(out, 96, "an unknown caller");
    return out;
}

static const char *thing(const ig_ask *ask, char out[160])
{
    if (ask->model.name)
        snprintf(out, 160, "%s model %.120s", ig_policy_action_name(ask->action), ask->model.name);
    else
        snprintf(out, 160, "%s models", ig_policy_action_name(ask->action));
    return out;
}

static void refuse_rule(const tally *t)
{
    char a[96], b[160];
    if (t->refused_why && *t->refused_why)
        refuse(t->out, IG_REFUSED_RULE, t->refused, "%.300s (rule %s)", t->refused_why, t->refused);
    else
        refuse(t->out, IG_REFUSED_RULE, t->refused, "rule %s does not let %s %s", t->refused, caller(t->who, a),
               thing(t->ask, b));
}

static void refuse_unknown(const tally *t, const char *id)
{
    char a[96];
    refuse(t->out, IG_REFUSED_DIRECTORY, "builtin:directory",
           "the groups of %s are not known, and rule %s depends on them; try again when the directory can be reached",
           caller(t->who, a), id);
}

/* ------------------------------------------------------------------------------------------------ the rest */

/* What needs no rule. True: decided. */
static bool before_rules(const tally *t, const ig_policy *p)
{
    const ig_caller *who = t->who;
    char a[96], b[160];
    if (who->disabled) {
        refuse(t->out, IG_REFUSED_RULE, "builtin:disabled", "the account of %s is disabled", caller(who, a));
        return true;
    }
    if (who->key) {
        ig_terms models = {who->key->models, who->key->n_models};
        if (!(who->key->actions >> t->ask->action & 1) || !models_fit(&models, &t->ask->model)) {
            refuse(t->out, IG_REFUSED_RULE, "builtin:key", "key %.64s may not %s", who->key->name, thing(t->ask, b));
            return true;
        }
    }
    if (t->ask->action == IG_MAY_USE || who->key) return false;
    if (who->owner || any_term(&p->managers, who) == YES) {
        allow(t->out, who->owner ? "builtin:owner" : "builtin:manager", "");
        t->out->limits.priority = IG_PRIORITY_STANDARD;
        return true;
    }
    return false;
}

/* Nobody has allowed it. */
static void without_grant(const tally *t, const ig_policy *p, const char *maybe)
{
    char a[96], b[160];
    if (maybe)
        refuse_unknown(t, maybe);
    else if (t->assigned)
        refuse(t->out, IG_REFUSED_RULE, "builtin:assigned", "model %.120s is assigned to others than %s",
               t->ask->model.name ? t->ask->model.name : "", caller(t->who, a));
    else if (t->closed)
        refuse(t->out, IG_REFUSED_RULE, t->closed,
               "no rule of the catalogue gives model %.120s to %s, and what none gives is refused",
               t->ask->model.name ? t->ask->model.name : "", caller(t->who, a));
    else if (t->ask->action == IG_MAY_USE)
        refuse(t->out, IG_REFUSED_RULE, "builtin:deny", "no rule lets %s %s, and what no rule allows is refused",
               caller(t->who, a), thing(t->ask, b));
    else
        refuse(t->out, IG_REFUSED_RULE, "builtin:owner", "only root, the user of the service%s may %s",
               p->configured ? " and whom a rule allows" : "", thing(t->ask, b));
}

static void set_limits(tally *t)
{
    ig_decision *d = t->out;
    bool ctx_cap = t->cap.n_ctx < t->grant.n_ctx, tokens_cap = t->cap.tokens_per_day < t->grant.tokens_per_day;
    d->limits.n_ctx = ctx_cap ? t->cap.n_ctx : t->grant.n_ctx;
    bool output_cap = t->cap.output < t->grant.output;
    d->limits.output = output_cap ? t->cap.output : t->grant.output;
    if (d->limits.output != IG_NO_OUTPUT_LIMIT) put_id(d->output_rule, output_cap ? t->cap_output : t->grant_output);
    d->limits.tokens_per_day = tokens_cap ? t->cap.tokens_per_day : t->grant.tokens_per_day;
    int32_t priority = t->grant.priority < 0 ? IG_PRIORITY_STANDARD : t->grant.priority;
    d->limits.priority = t->cap.priority >= 0 && t->cap.priority < priority ? t->cap.priority : priority;
    if (d->limits.n_ctx != IG_NO_CONTEXT_LIMIT) put_id(d->n_ctx_rule, ctx_cap ? t->cap_ctx : t->grant_ctx);
    if (d->limits.tokens_per_day != IG_NO_TOKEN_LIMIT)
        put_id(d->tokens_rule, tokens_cap ? t->cap_tokens : t->grant_tokens);
}

static void hold_limits(const tally *t)
{
    ig_decision *d = t->out;
    if (t->ask->listing) return;
    if (t->ask->n_ctx > d->limits.n_ctx)
        refuse(d, IG_REFUSED_CONTEXT, d->n_ctx_rule,
               "a context of %" PRIu32 " tokens was asked for, rule %s allows %" PRIu32, t->ask->n_ctx, d->n_ctx_rule,
               d->limits.n_ctx);
    else if (t->ask->output > d->limits.output)
        refuse(d, IG_REFUSED_OUTPUT, d->output_rule,
               "an answer of %" PRIu32 " tokens was asked for, rule %s allows %" PRIu32, t->ask->output, d->output_rule,
               d->limits.output);
    else if (t->ask->tokens_today >= d->limits.tokens_per_day)
        refuse(d, IG_REFUSED_BUDGET, d->tokens_rule,
               "%" PRIu64 " tokens were used today, rule %s allows %" PRIu64
               " a day; they count anew from midnight (UTC)",
               t->ask->tokens_today, d->tokens_rule, d->limits.tokens_per_day);
}

void ig_policy_decide(const ig_policy *p, const ig_caller *who, const ig_ask *ask, ig_decision *out,
                      ig_verdict *verdicts)
{
    tally t = {.who = who, .ask = ask, .out = out, .grant = IG_LIMITS_NONE, .cap = IG_LIMITS_NONE};
    const char *maybe = NULL;
    *out = (ig_decision){.limits = IG_LIMITS_NONE};
    count_all(&t, p, verdicts, &maybe);
    if (before_rules(&t, p)) return;
    if (t.refused) {
        refuse_rule(&t);
        return;
    }
    if (t.unsure) {
        refuse_unknown(&t, t.unsure);
        return;
    }
    bool open = ask->action == IG_MAY_USE && !p->deny && !t.assigned && !t.closed;
    if (!t.granted && !open) {
        without_grant(&t, p, maybe);
        return;
    }
    allow(out, t.granted ? t.granted : "builtin:open", "");
    ig_limits none = IG_LIMITS_NONE;
    none.priority = t.grant.priority;
    if (open) t.grant = none; /* everybody may without limit anyway */
    set_limits(&t);
    hold_limits(&t);
}

void ig_caller_of(bool known, uint32_t uid, bool owner, const ig_person *person, ig_freshness fresh, const ig_key *key,
                  ig_caller *out)
{
    bool told = person && fresh != IG_UNKNOWN;
    *out = (ig_caller){.known = known, .has_uid = known, .uid = uid, .owner = owner, .key = key};
    if (key) *out = (ig_caller){.known = *key->account != 0, .account = key->account, .key = key};
    out->disabled = told && out->known && person->disabled;
    if (key && (key->n_groups || !out->known)) return;
    out->groups_unknown = out->known && !told;
    if (!told || !out->known) return;
    if (!key) out->account = person->account;
    out->groups = person->groups;
    out->n_groups = person->n_groups;
}

const char *ig_licence_id(const char *text)
{
    return text && *text && strlen(text) <= 64 && !strpbrk(text, " \t\r\n") ? text : NULL;
}

void ig_publisher_of(const char *source, char out[128])
{
    const char *p = source ? strstr(source, "://") : NULL;
    *out = 0;
    if (!p) return;
    p += 3;
    size_t n = strcspn(p, "/?#");
    if (n && n < 128 && !memchr(p, '@', n)) {
        memcpy(out, p, n);
        out[n] = 0;
    }
}
