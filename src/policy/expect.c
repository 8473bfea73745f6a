/* An admin's own table of expectations: each line is a question and the answer that must come out. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/disk.h"
#include "policy/inner.h"

enum { WORDS_MAX = 64, GROUPS_MAX = 32, LINE_BYTES_MAX = 2000 };

typedef struct question {
    ig_ask ask;
    ig_caller who;
    ig_group groups[GROUPS_MAX];
    bool want_allowed, look_up;
    const char *want_rule, *want_n_ctx, *want_tokens;
} question;

typedef struct table {
    const ig_policy *policy;
    ig_directory *directory;
    const char *name;
    unsigned line;
    ig_error *err;
} table;

__attribute__((format(printf, 2, 3))) static bool bad(table *t, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ig_fail(t->err, IG_BAD_INPUT, t->line, "%s:%u: %s", t->name, t->line, text);
    return false;
}

/* Words of a line, in place; "" holds blanks together, also behind a '='. */
static bool split(table *t, char *p, char **words, size_t *n)
{
    for (*n = 0;;) {
        while (*p == ' ' || *p == '\t' || *p == '\r') p++;
        if (!*p || *p == '#') return true;
        if (*n == WORDS_MAX) return bad(t, "more than %d words", WORDS_MAX);
        char *to = words[(*n)++] = p;
        bool quoted = false;
        for (; *p && (quoted || (*p != ' ' && *p != '\t' && *p != '\r')); p++) {
            if (*p == '"')
                quoted = !quoted;
            else
                *to++ = *p;
        }
        if (quoted) return bad(t, "a quotation mark is not closed");
        bool more = *p != 0;
        *to = 0;
        p += more;
    }
}

static bool number(table *t, const char *value, uint64_t max, uint64_t *out)
{
    char *end = NULL;
    *out = *value >= '0' && *value <= '9' ? strtoull(value, &end, 10) : 0;
    return (end && !*end && *out <= max) || bad(t, "'%.60s' is no whole number up to %" PRIu64, value, max);
}

/* "user:ada+group:eng+group:staff" */
static bool read_who(table *t, char *text, question *q)
{
    bool groups_named = false;
    for (char *part = text, *next; part; part = next) {
        next = strchr(part, '+');
        if (next) *next++ = 0;
        uint64_t uid;
        if (!strcmp(part, "nobody")) continue;
        if (!strcmp(part, "owner")) {
            q->who.owner = q->who.known = true;
        } else if (!strncmp(part, "user:", 5) && part[5]) {
            q->who.known = true;
            q->who.account = part + 5;
        } else if (!strncmp(part, "uid:", 4)) {
            if (!number(t, part + 4, UINT32_MAX - 1, &uid)) return false;
            q->who.known = q->who.has_uid = true;
            q->who.uid = (uint32_t)uid;
        } else if (!strncmp(part, "group:", 6) || !strncmp(part, "gid:", 4) || !strncmp(part, "dn:", 3)) {
            if (q->who.n_groups == GROUPS_MAX) return bad(t, "more than %d groups", GROUPS_MAX);
            bool by_name = part[0] == 'g' && part[1] == 'r';
            q->groups[q->who.n_groups++] = (ig_group){by_name ? part + 6 : "", by_name ? "" : part};
            groups_named = true;
        } else if (!strcmp(part, "groups:unknown")) {
            q->who.groups_unknown = groups_named = true;
        } else
            return bad(t, "'%.60s' names nobody; expected nobody, owner, user:NAME, uid:N, group:NAME", part);
    }
    q->who.groups = q->groups;
    q->look_up = q->who.known && !groups_named && !q->who.owner;
    return true;
}

static bool read_moment(table *t, const char *value, ig_moment *out)
{
    static const char days[] = "montuewedthufrisatsun";
    const char *day = NULL;
    unsigned h, m;
    char name[4] = {0};
    if (sscanf(value, "%3[a-z]-%2u:%2u", name, &h, &m) == 3 && strlen(name) == 3) day = strstr(days, name);
    if (!day || (day - days) % 3 || h > 23 || m > 59)
        return bad(t, "'%.40s': expected a time such as mon-12:30", value);
    *out = (ig_moment){(uint8_t)((day - days) / 3), (uint16_t)(h * 60 + m)};
    return true;
}

static bool read_pair(table *t, char *word, question *q)
{
    const struct {
        const char *name, **to;
    } texts[] = {
        {"rule", &q->want_rule},          {"n_ctx", &q->want_n_ctx},          {"tokens_per_day", &q->want_tokens},
        {"label", &q->ask.label},         {"source", &q->ask.source},         {"machine", &q->ask.machine},
        {"digest", &q->ask.model.digest}, {"licence", &q->ask.model.licence}, {"publisher", &q->ask.model.publisher},
    };
    char *value = strchr(word, '=');
    uint64_t n;
    if (!value) return bad(t, "'%.60s': expected KEY=VALUE", word);
    *value++ = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(word, texts[i].name)) {
            *texts[i].to = value;
            return true;
        }
    if (!strcmp(word, "at")) return read_moment(t, value, &q->ask.when);
    if (!strcmp(word, "ctx")) {
        if (!number(t, value, UINT32_MAX, &n)) return false;
        q->ask.n_ctx = (uint32_t)n;
        return true;
    }
    if (!strcmp(word, "tokens")) return number(t, value, UINT64_MAX, &q->ask.tokens_today);
    return bad(t, "there is no key '%.40s'", word);
}

static bool read_question(table *t, char **words, size_t n, question *q)
{
    *q = (question){.ask.when = {0, 12 * 60}};
    if (n < 4) return bad(t, "expected: allow|refuse WHO ACTION MODEL [KEY=VALUE]...");
    q->want_allowed = !strcmp(words[0], "allow");
    if (!q->want_allowed && strcmp(words[0], "refuse")) return bad(t, "'%.40s': expected allow or refuse", words[0]);
    if (!read_who(t, words[1], q)) return false;
    int action = 0;
    while (action < IG_N_ACTIONS && strcmp(words[2], ig_policy_action_name((ig_action)action))) action++;
    if (action == IG_N_ACTIONS) return bad(t, "'%.40s': expected use, pull, create, pin or manage", words[2]);
    q->ask.action = (ig_action)action;
    q->ask.model.name = strcmp(words[3], "-") ? words[3] : NULL;
    for (size_t i = 4; i < n; i++)
        if (!read_pair(t, words[i], q)) return false;
    return true;
}

static bool same_number(const char *want, uint64_t got, uint64_t none)
{
    char text[24];
    if (got == none)
        snprintf(text, sizeof text, "none");
    else
        snprintf(text, sizeof text, "%" PRIu64, got);
    return !want || !strcmp(want, text);
}

static void compare(const question *q, ig_expectation *e)
{
    const ig_decision *d = &e->got;
    if (d->allowed != q->want_allowed)
        snprintf(e->why, sizeof e->why, "expected %s, rule %s %s", q->want_allowed ? "allow" : "refuse", d->rule,
                 d->allowed ? "allows" : "refuses");
    else if (q->want_rule && strcmp(q->want_rule, d->rule))
        snprintf(e->why, sizeof e->why, "expected rule %.64s to decide, it was %s", q->want_rule, d->rule);
    else if (!same_number(q->want_n_ctx, d->limits.n_ctx, IG_NO_CONTEXT_LIMIT))
        snprintf(e->why, sizeof e->why, "expected a context of %.20s, it is %" PRIu32, q->want_n_ctx, d->limits.n_ctx);
    else if (!same_number(q->want_tokens, d->limits.tokens_per_day, IG_NO_TOKEN_LIMIT))
        snprintf(e->why, sizeof e->why, "expected %.20s tokens a day, it is %" PRIu64, q->want_tokens,
                 d->limits.tokens_per_day);
    else
        e->passed = true;
}

static void ask(table *t, question *q, ig_expectation *e)
{
    ig_person *person = NULL;
    ig_freshness fresh = IG_UNKNOWN;
    ig_caller who;
    if (q->look_up && t->directory) person = ig_directory_find(t->directory, q->who.account, q->who.uid, &fresh);
    if (person) {
        ig_caller_of(true, q->who.has_uid ? q->who.uid : person->uid, false, person, fresh, NULL, &who);
        who.has_uid = q->who.has_uid || person->has_uid;
        if (q->who.account) who.account = q->who.account;
        q->who = who;
    }
    ig_policy_decide(t->policy, &q->who, &q->ask, &e->got, NULL);
    ig_person_unref(person);
    compare(q, e);
}

ig_status ig_policy_expect(const ig_policy *policy, ig_directory *directory, ig_str text, const char *name,
                           ig_expectation_fn fn, void *ctx, size_t *n_failed, ig_error *err)
{
    table t = {policy, directory, name, 0, err};
    const char *p = text.ptr, *end = text.ptr + text.len;
    *n_failed = 0;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p), n_words;
        char line[LINE_BYTES_MAX + 1], shown[LINE_BYTES_MAX + 1], *words[WORDS_MAX];
        question q;
        t.line++;
        if (n > LINE_BYTES_MAX || memchr(p, 0, n)) {
            bad(&t, "a line of more than %d bytes, or with a NUL", LINE_BYTES_MAX);
            return IG_BAD_INPUT;
        }
        memcpy(line, p, n);
        line[n] = 0;
        memcpy(shown, line, n + 1);
        p += n + 1;
        if (!split(&t, line, words, &n_words)) return IG_BAD_INPUT;
        if (!n_words) continue;
        if (!read_question(&t, words, n_words, &q)) return IG_BAD_INPUT;
        ig_expectation e = {.line = t.line, .want_allowed = q.want_allowed, .text = shown};
        ask(&t, &q, &e);
        *n_failed += !e.passed;
        if (fn) fn(ctx, &e);
    }
    return IG_OK;
}
