/* Configuration: files in the INI form, read by inih, put into one arena. A file with a fault gives no configuration at
 * all, so that the caller keeps the one in force (M23). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "base/sort.h"
#include "base/utf8.h"
#include "policy/inner.h"

#define FILE_BYTES_MAX  ((size_t)1 << 20)
#define ARENA_BYTES_MAX ((size_t)32 << 20)
enum { FILES_MAX = 512, WORDS_MAX = 1024, HOURS_MAX = 32, NOTES_MAX = 64, SECTION_BYTES = 48 };

static const char standard_folder[] = "/etc/ingle";

typedef struct rule_node {
    ig_rule rule;
    bool has_effect;
    struct rule_node *next;
} rule_node;

typedef struct engine_node {
    ig_engine_config engine;
    struct engine_node *next;
} engine_node;

typedef struct reader {
    ig_config *config;
    ig_error *err;
    ig_status st;
    const char *name; /* of the file */
    ig_str text;
    size_t at;
    unsigned line;
    rule_node *first, *last;
    engine_node *engines, *last_engine;
    size_t n_rules;
    ig_follow follows[IG_FOLLOWS_MAX];
    ig_model_config models[IG_MODEL_SECTIONS_MAX];
    uint64_t seen; /* bits of the keys that this run of a section has had */
    char section[SECTION_BYTES + 8];
    const char *notes[NOTES_MAX];
} reader;

/* ------------------------------------------------------------------------------------------------ helpers */

static char *keep(reader *r, const char *p, size_t n)
{
    char *z = ig_arena_copy(&r->config->arena, p, n);
    if (!z && r->st == IG_OK) r->st = ig_fail(r->err, IG_NO_MEMORY, 0, "%s is too large to be kept", r->name);
    return z;
}

#define BAD(r, ...) bad(r, __VA_ARGS__)
__attribute__((format(printf, 2, 3))) static bool bad(reader *r, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (r->st == IG_OK) r->st = ig_fail(r->err, IG_BAD_INPUT, r->line, "%s:%u: %s", r->name, r->line, text);
    return false;
}

static void note(reader *r, const char *id, const char *what)
{
    char text[300];
    int n = snprintf(text, sizeof text, "%s%s%s%s", *id ? "rule " : "", id, *id ? ": " : "", what);
    char *kept = r->config->n_notes < NOTES_MAX ? keep(r, text, (size_t)n) : NULL;
    if (kept) r->notes[r->config->n_notes++] = kept;
}

/* ------------------------------------------------------------------------------------------------ values */

typedef bool (*set_fn)(reader *r, void *to, const char *value);

static bool set_text(reader *r, void *to, const char *value)
{
    char *z = keep(r, value, strlen(value));
    *(const char **)to = z;
    return z != NULL;
}

/* One word, or one in quotes. Moves *p behind it; false at the end. */
static bool next_word(const char **p, const char **word, size_t *n, bool *open)
{
    const char *c = *p;
    while (*c == ' ' || *c == '\t') c++;
    *open = false;
    if (!*c) return false;
    const char *end;
    if (*c == '"') {
        end = strchr(++c, '"');
        if (!end) {
            *open = true;
            return false;
        }
        *p = end + 1;
    } else {
        end = c + strcspn(c, " \t");
        *p = end;
    }
    *word = c;
    *n = (size_t)(end - c);
    return true;
}

/* Adds the words of one line to the list. */
static bool set_words(reader *r, void *to, const char *value)
{
    ig_terms *w = to;
    const char *found[WORDS_MAX], *word, *p = value;
    size_t n = w->n, len;
    bool open;
    if (n) memcpy(found, w->item, n * sizeof *found);
    while (next_word(&p, &word, &len, &open)) {
        if (n == WORDS_MAX) return BAD(r, "more than %d words in one list", WORDS_MAX);
        if (!len) return BAD(r, "an empty word in a list");
        found[n] = keep(r, word, len);
        if (!found[n++]) return false;
    }
    if (open) return BAD(r, "a quotation mark is not closed");
    if (n == w->n) return BAD(r, "the list is empty; expected at least one word");
    const char **kept = ig_arena_alloc(&r->config->arena, n, sizeof *kept);
    if (!kept) return BAD(r, "the configuration is too large");
    memcpy(kept, found, n * sizeof *kept);
    *w = (ig_terms){kept, n};
    return true;
}

/* Terms of who and unless. */
static bool set_terms(reader *r, void *to, const char *value)
{
    static const char *const alone[] = {"any", "known", "nobody", "owner"};
    static const char *const with[] = {"user:", "uid:", "group:", "gid:", "dn:", "key:"};
    ig_terms *w = to;
    size_t i = w->n;
    if (!set_words(r, to, value)) return false;
    for (; i < w->n; i++) {
        bool fine = false;
        for (size_t k = 0; k < sizeof alone / sizeof *alone; k++) fine |= !strcmp(w->item[i], alone[k]);
        for (size_t k = 0; k < sizeof with / sizeof *with; k++)
            fine |= !strncmp(w->item[i], with[k], strlen(with[k])) && w->item[i][strlen(with[k])];
        if (!fine)
            return BAD(r,
                       "'%.100s' names nobody; expected any, known, nobody, owner, user:NAME, uid:N, group:NAME, "
                       "gid:N, dn:DN or key:NAME",
                       w->item[i]);
    }
    return true;
}

static bool whole_number(const char *value, uint64_t max, uint64_t *out)
{
    *out = 0;
    if (!*value) return false;
    for (const char *c = value; *c; c++) {
        if (*c < '0' || *c > '9' || !ig_mul_u64(*out, 10, out) || !ig_add_u64(*out, (uint64_t)(*c - '0'), out))
            return false;
    }
    return *out <= max;
}

/* "100000", "100k", "2M", "none". */
static bool set_tokens(reader *r, void *to, const char *value)
{
    char digits[24];
    uint64_t n, times = 1;
    size_t len = strlen(value);
    if (!strcmp(value, "none")) {
        *(uint64_t *)to = IG_NO_TOKEN_LIMIT;
        return true;
    }
    if (len && (value[len - 1] == 'k' || value[len - 1] == 'M')) times = value[--len] == 'k' ? 1000 : 1000000;
    if (!len || len >= sizeof digits) return BAD(r, "'%.40s' is no number of tokens", value);
    memcpy(digits, value, len);
    digits[len] = 0;
    if (!whole_number(digits, UINT64_MAX - 1, &n) || !ig_mul_u64(n, times, &n))
        return BAD(r, "'%.40s' is no number of tokens; expected one such as 100000, 100k, 2M or none", value);
    *(uint64_t *)to = n;
    return true;
}

static bool set_u32(reader *r, void *to, const char *value)
{
    uint64_t n;
    if (!whole_number(value, UINT32_MAX - 1, &n)) return BAD(r, "'%.40s' is no whole number", value);
    *(uint32_t *)to = (uint32_t)n;
    return true;
}

static bool set_n_ctx(reader *r, void *to, const char *value)
{
    if (!set_u32(r, to, value)) return false;
    return *(uint32_t *)to || BAD(r, "a context of 0 tokens; to forbid a model write effect = refuse");
}

static bool set_output(reader *r, void *to, const char *value)
{
    return set_u32(r, to, value) &&
           (*(uint32_t *)to || BAD(r, "an answer of 0 tokens; to forbid a model write effect = refuse"));
}

static bool set_priority(reader *r, void *to, const char *value)
{
    uint64_t n;
    if (!whole_number(value, IG_PRIORITY_MAX, &n))
        return BAD(r, "'%.40s' is no priority; expected 0 to 100, 50 is usual", value);
    *(int32_t *)to = (int32_t)n;
    return true;
}

static bool duration(reader *r, const char *value, uint64_t unit_ms, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char digits[16];
    size_t n = strspn(value, "0123456789");
    if (!n || n >= sizeof digits) return BAD(r, "'%.40s' is no time; expected one such as 30s, 10m, 8h or 2d", value);
    memcpy(digits, value, n);
    digits[n] = 0;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(value + n, units[i].unit)) continue;
        uint64_t x;
        if (!whole_number(digits, UINT32_MAX, &x) || !ig_mul_u64(x, units[i].ms, &x) || x / unit_ms >= UINT32_MAX)
            return BAD(r, "'%.40s' is too long a time", value);
        *out = x / unit_ms;
        return true;
    }
    return BAD(r, "'%.40s' is no time; expected one such as 30s, 10m, 8h or 2d", value);
}

static bool set_seconds(reader *r, void *to, const char *value)
{
    uint64_t n;
    if (!duration(r, value, 1000, &n)) return false;
    *(uint32_t *)to = (uint32_t)n;
    return true;
}

static bool set_age(reader *r, void *to, const char *value)
{
    return set_seconds(r, to, value) && (*(uint32_t *)to || BAD(r, "a time of 0; expected at least 1s"));
}

static bool set_ms(reader *r, void *to, const char *value)
{
    uint64_t n;
    if (!duration(r, value, 1, &n)) return false;
    *(uint32_t *)to = (uint32_t)n;
    return n > 0 || BAD(r, "a time of 0");
}

static bool set_yes(reader *r, void *to, const char *value)
{
    bool yes = !strcmp(value, "yes") || !strcmp(value, "true");
    if (!yes && strcmp(value, "no") && strcmp(value, "false")) return BAD(r, "'%.40s': expected yes or no", value);
    *(bool *)to = yes;
    return true;
}

/* Whoever lays down the file, and whoever reads what is in force, is told. */
static bool set_content(reader *r, void *to, const char *value)
{
    if (!set_yes(r, to, value)) return false;
    if (*(bool *)to) note(r, "", "content = yes: prompts and answers of everybody are recorded in the audit log");
    return true;
}

/* A word of a list separated by '|' as its number. */
static bool choice(reader *r, const char *value, const char *words, int *out)
{
    const char *p = words;
    size_t n = strlen(value);
    for (int i = 0; n && *p; i++) {
        size_t len = strcspn(p, "|");
        if (len == n && !memcmp(p, value, n)) {
            *out = i;
            return true;
        }
        p += len + (p[len] == '|');
    }
    return BAD(r, "'%.40s': expected one of %s", value, words);
}

/* "200G", "10M", "500k", "4096": bytes, in powers of 1024. */
static bool set_bytes(reader *r, void *to, const char *value)
{
    static const char units[] = "kMGT";
    char digits[24];
    size_t len = strlen(value);
    uint64_t n, times = 1;
    const char *unit = len ? strchr(units, value[len - 1] == 'K' ? 'k' : value[len - 1]) : NULL;
    if (unit && *unit) {
        for (const char *u = units; u <= unit; u++) times *= 1024;
        len--;
    }
    if (!len || len >= sizeof digits) return BAD(r, "'%.40s' is no number of bytes", value);
    memcpy(digits, value, len);
    digits[len] = 0;
    if (!whole_number(digits, UINT64_MAX - 1, &n) || !n || !ig_mul_u64(n, times, (uint64_t *)to))
        return BAD(r, "'%.40s' is no number of bytes; expected one such as 200G, 10M or 500k", value);
    return true;
}

static bool set_grace(reader *r, void *to, const char *value)
{
    ((ig_follow *)to)->grace_set = true;
    return set_seconds(r, &((ig_follow *)to)->grace_s, value);
}

#define CHOICE(function, type, words)                                                                                  \
    static bool function(reader *r, void *to, const char *value)                                                       \
    {                                                                                                                  \
        int i;                                                                                                         \
        if (!choice(r, value, words, &i)) return false;                                                                \
        *(type *)to = (type)i;                                                                                         \
        return true;                                                                                                   \
    }
CHOICE(set_mode, bool, "open|deny")
CHOICE(set_effect, ig_effect, "allow|limit|refuse")
CHOICE(set_schema, ig_ldap_schema, "auto|rfc2307|rfc2307bis|ad")
CHOICE(set_bind, ig_ldap_bind, "anonymous|simple|external|gssapi")
CHOICE(set_fetch, bool, "people|machine")
CHOICE(set_nested, ig_ldap_nested, "auto|walk|rule|no")

static bool set_actions(reader *r, void *to, const char *value)
{
    ig_terms w = {0};
    unsigned *bits = to;
    if (!set_words(r, &w, value)) return false;
    for (size_t i = 0; i < w.n; i++) {
        int k;
        if (!strcmp(w.item[i], "all")) {
            *bits = (1u << IG_N_ACTIONS) - 1;
            continue;
        }
        if (!choice(r, w.item[i], "use|pull|create|pin|manage|all", &k)) return false;
        *bits |= 1u << k;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ hours */

static bool day_of(const char *p, unsigned *day)
{
    static const char days[] = "montuewedthufrisatsun";
    for (unsigned i = 0; i < 7; i++)
        if (!memcmp(p, days + 3 * i, 3)) {
            *day = i;
            return true;
        }
    return false;
}

/* "08:30" at p[0..5); 24:00 is the end of the day. */
static bool minute_of(const char *p, uint16_t *out)
{
    for (int i = 0; i < 5; i++)
        if (i == 2 ? p[i] != ':' : p[i] < '0' || p[i] > '9') return false;
    int h = (p[0] - '0') * 10 + p[1] - '0', m = (p[3] - '0') * 10 + p[4] - '0';
    *out = (uint16_t)(h * 60 + m);
    return m < 60 && h * 60 + m <= 1440;
}

static bool days_of(const char *word, uint8_t *out)
{
    unsigned a, b;
    size_t n = strlen(word);
    if (!strcmp(word, "daily")) *out = 127;
    if (!strcmp(word, "daily")) return true;
    if ((n != 3 && n != 7) || !day_of(word, &a)) return false;
    b = a;
    if (n == 7 && (word[3] != '-' || !day_of(word + 4, &b))) return false;
    for (*out = 0;; a = (a + 1) % 7) {
        *out |= (uint8_t)(1u << a);
        if (a == b) return true;
    }
}

/* "mon-fri 08:00-18:00 sat 09:00-12:00" */
static bool set_hours(reader *r, void *to, const char *value)
{
    ig_rule *rule = to;
    ig_terms w = {0};
    ig_hours found[HOURS_MAX];
    size_t n = rule->n_hours;
    if (!set_words(r, &w, value)) return false;
    if (n) memcpy(found, rule->hours, n * sizeof *found);
    for (size_t i = 0; i < w.n; i += 2, n++) {
        ig_hours *h = &found[n < HOURS_MAX ? n : 0];
        const char *span = i + 1 < w.n ? w.item[i + 1] : "";
        if (n == HOURS_MAX) return BAD(r, "more than %d times", HOURS_MAX);
        if (!days_of(w.item[i], &h->days) || strlen(span) != 11 || span[5] != '-' || !minute_of(span, &h->from) ||
            !minute_of(span + 6, &h->to) || h->from == h->to || h->from == 1440)
            return BAD(r, "'%.40s %.40s': expected days and times such as mon-fri 08:00-18:00", w.item[i], span);
    }
    ig_hours *kept = ig_arena_alloc(&r->config->arena, n, sizeof *kept);
    if (!kept) return BAD(r, "the configuration is too large");
    memcpy(kept, found, n * sizeof *kept);
    rule->hours = kept;
    rule->n_hours = n;
    return true;
}

/* ------------------------------------------------------------------------------------------------ providers */

static bool set_providers(reader *r, void *to, const char *value)
{
    ig_directory_config *d = to;
    ig_terms w = {0};
    bool *const flags[] = {&d->use_system, &d->use_ldap, &d->use_file};
    if (!set_words(r, &w, value)) return false;
    for (size_t i = 0; i < w.n; i++) {
        int k;
        if (!choice(r, w.item[i], "system|ldap|file", &k)) return false;
        *flags[k] = true;
    }
    return true;
}

static bool set_uris(reader *r, void *to, const char *value)
{
    static const char *const fine[] = {"ldap://", "ldaps://", "ldapi://"};
    ig_ldap_config *l = to;
    ig_terms w = {l->uris, l->n_uris};
    if (!set_words(r, &w, value)) return false;
    for (size_t i = l->n_uris; i < w.n; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof fine / sizeof *fine; k++) known |= !strncmp(w.item[i], fine[k], strlen(fine[k]));
        if (!known)
            return BAD(r, "'%.100s' is no address; expected ldaps://HOST, ldap://HOST or ldapi://PATH", w.item[i]);
    }
    if (w.n > 16) return BAD(r, "more than 16 servers");
    l->uris = w.item;
    l->n_uris = w.n;
    return true;
}

static bool set_attribute(reader *r, void *to, const char *value)
{
    size_t n = strlen(value);
    if (!n || n > 60 || strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != n)
        return BAD(r, "'%.60s' is no name of an attribute", value);
    return set_text(r, to, value);
}

static bool set_path(reader *r, void *to, const char *value)
{
    size_t n = strlen(value);
    if (*value != '/' || n > 200 || strpbrk(value, " \t#?")) return BAD(r, "'%.60s' is no path of a request", value);
    return set_text(r, to, value);
}

static bool set_page(reader *r, void *to, const char *value)
{
    if (!set_u32(r, to, value)) return false;
    uint32_t n = *(uint32_t *)to;
    return (n >= 1 && n <= 10000) || BAD(r, "a page has 1 to 10000 entries");
}

/* ------------------------------------------------------------------------------------------------ tables of keys */

typedef struct key_row {
    const char *name;
    set_fn set;
    size_t offset;
    bool list; /* may come again */
} key_row;

static const key_row policy_keys[] = {
    {"mode", set_mode, offsetof(ig_config, policy.deny), false},
    {"managers", set_terms, offsetof(ig_config, policy.managers), true},
    {"keys_file", set_text, offsetof(ig_config, keys_file), false},
};
static const key_row audit_keys[] = {{"content", set_content, offsetof(ig_config, audit_content), false}};
#define RULE(field) offsetof(ig_rule, field)
static const key_row rule_keys[] = {
    {"effect", set_effect, RULE(effect), false},
    {"actions", set_actions, RULE(actions), true},
    {"who", set_terms, RULE(who), true},
    {"unless", set_terms, RULE(unless), true},
    {"models", set_words, RULE(models), true},
    {"licences", set_words, RULE(licences), true},
    {"publishers", set_words, RULE(publishers), true},
    {"sources", set_words, RULE(sources), true},
    {"labels", set_words, RULE(labels), true},
    {"machines", set_words, RULE(machines), true},
    {"hours", set_hours, 0, true},
    {"context", set_n_ctx, RULE(limits.n_ctx), false},
    {"tokens_per_day", set_tokens, RULE(limits.tokens_per_day), false},
    {"output", set_output, RULE(limits.output), false},
    {"priority", set_priority, RULE(limits.priority), false},
    {"reason", set_text, RULE(reason), false},
};
#define FOLLOW(field) offsetof(ig_follow, field)
static const key_row follow_keys[] = {
    {"source", set_text, FOLLOW(source), false},      {"root", set_text, FOLLOW(root), false},
    {"interval", set_age, FOLLOW(interval_s), false}, {"grace", set_grace, 0, false},
    {"disk", set_bytes, FOLLOW(disk_bytes), false},   {"rate", set_bytes, FOLLOW(rate_bytes), false},
    {"battery", set_yes, FOLLOW(battery), false},     {"metered", set_yes, FOLLOW(metered), false},
    {"insecure", set_yes, FOLLOW(insecure), false},   {"fetch", set_fetch, FOLLOW(machine), false},
    {"preload", set_yes, FOLLOW(preload), false},
};
#define DIRECTORY(field) offsetof(ig_config, directory.field)
static const key_row directory_keys[] = {
    {"providers", set_providers, offsetof(ig_config, directory), true},
    {"groups_file", set_text, DIRECTORY(groups_file), false},
    {"state_file", set_text, DIRECTORY(state_file), false},
    {"cache", set_age, DIRECTORY(cache_s), false},
    {"negative_cache", set_age, DIRECTORY(negative_s), false},
    {"grace", set_seconds, DIRECTORY(grace_s), false},
    {"deadline", set_ms, DIRECTORY(deadline_ms), false},
};
static const key_row ldap_keys[] = {
    {"uri", set_uris, offsetof(ig_config, directory.ldap), true},
    {"base", set_text, DIRECTORY(ldap.base), false},
    {"user_base", set_text, DIRECTORY(ldap.user_base), false},
    {"group_base", set_text, DIRECTORY(ldap.group_base), false},
    {"schema", set_schema, DIRECTORY(ldap.schema), false},
    {"bind", set_bind, DIRECTORY(ldap.bind), false},
    {"bind_dn", set_text, DIRECTORY(ldap.bind_dn), false},
    {"password_file", set_text, DIRECTORY(ldap.password_file), false},
    {"ca_file", set_text, DIRECTORY(ldap.ca_file), false},
    {"cert_file", set_text, DIRECTORY(ldap.cert_file), false},
    {"key_file", set_text, DIRECTORY(ldap.key_file), false},
    {"start_tls", set_yes, DIRECTORY(ldap.start_tls), false},
    {"allow_plain", set_yes, DIRECTORY(ldap.allow_plain), false},
    {"nested", set_nested, DIRECTORY(ldap.nested), false},
    {"member_of", set_yes, DIRECTORY(ldap.member_of), false},
    {"user_attribute", set_attribute, DIRECTORY(ldap.user_attribute), false},
    {"name_attribute", set_attribute, DIRECTORY(ldap.name_attribute), false},
    {"timeout", set_ms, DIRECTORY(ldap.timeout_ms), false},
    {"page_size", set_page, DIRECTORY(ldap.page_size), false},
    {"min_uid", set_u32, DIRECTORY(ldap.min_uid), false},
};
#define ENGINE(field) offsetof(ig_engine_config, field)
static const key_row engine_keys[] = {
    {"command", set_words, ENGINE(command), true},
    {"models", set_words, ENGINE(models), true},
    {"model", set_text, ENGINE(model), false},
    {"health", set_path, ENGINE(health), false},
    {"memory", set_bytes, ENGINE(memory), false},
    {"context", set_n_ctx, ENGINE(context), false},
    {"start", set_ms, ENGINE(start_ms), false},
    {"timeout", set_ms, ENGINE(timeout_ms), false},
    {"environment", set_words, ENGINE(environment), true},
    {"passes", set_words, ENGINE(passes), true},
    {"embeddings", set_yes, ENGINE(embeddings), false},
    {"device", set_text, ENGINE(device), false},
};
static const key_row model_keys[] = {
    {"draft", set_text, offsetof(ig_model_config, draft), false},
    {"share_cache", set_yes, offsetof(ig_model_config, share_cache), false},
};
#define ROWS(a) (sizeof(a) / sizeof *(a))
static const struct {
    const char *name;
    const key_row *rows;
    size_t n;
} sections[] = {
    {"policy", policy_keys, ROWS(policy_keys)},
    {"audit", audit_keys, ROWS(audit_keys)},
    {"directory", directory_keys, ROWS(directory_keys)},
    {"ldap", ldap_keys, ROWS(ldap_keys)},
};
/* First words of sections that other parts of ingle read from the same files. */
static const char *const foreign[] = {
    "ledger", "prices", "route", "service", "store",
};

static bool is_foreign(const char *section)
{
    size_t n = strcspn(section, " ");
    for (size_t i = 0; i < ROWS(foreign); i++)
        if (strlen(foreign[i]) == n && !memcmp(foreign[i], section, n)) return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------ rules */

static bool id_fits(const char *id)
{
    size_t n = strlen(id);
    return n && n < SECTION_BYTES - 8 &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static bool rule_of(reader *r, const char *id, ig_rule **out)
{
    for (rule_node *n = r->first; n; n = n->next)
        if (!strcmp(n->rule.id, id)) {
            *out = &n->rule;
            return n == r->last || BAD(r, "rule %s is already at %s; ids are given once", id, n->rule.origin);
        }
    if (!id_fits(id)) return BAD(r, "'%.60s' is no id of a rule; expected 1 to 39 of a-z A-Z 0-9 - _ .", id);
    if (r->n_rules == IG_RULES_MAX) return BAD(r, "more than %d rules", IG_RULES_MAX);
    rule_node *n = ig_arena_alloc(&r->config->arena, 1, sizeof *n);
    char origin[512];
    int len = snprintf(origin, sizeof origin, "%.480s:%u", r->name, r->line);
    if (!n) return BAD(r, "the configuration is too large");
    n->rule.id = keep(r, id, strlen(id));
    n->rule.origin = keep(r, origin, (size_t)len);
    n->rule.limits = IG_LIMITS_NONE;
    if (!n->rule.id || !n->rule.origin) return false;
    if (r->last)
        r->last->next = n;
    else
        r->first = n;
    r->last = n;
    r->n_rules++;
    *out = &n->rule;
    return true;
}

static bool engine_of(reader *r, const char *name, ig_engine_config **out)
{
    for (engine_node *n = r->engines; n; n = n->next)
        if (!strcmp(n->engine.name, name)) {
            *out = &n->engine;
            return n == r->last_engine ||
                   BAD(r, "engine %s is already at %s; names are given once", name, n->engine.origin);
        }
    if (!id_fits(name)) return BAD(r, "'%.60s' is no name of an engine; expected 1 to 39 of a-z A-Z 0-9 - _ .", name);
    if (r->config->n_engines == IG_ENGINES_MAX) return BAD(r, "more than %d engines", IG_ENGINES_MAX);
    engine_node *n = ig_arena_alloc(&r->config->arena, 1, sizeof *n);
    char origin[512];
    int len = snprintf(origin, sizeof origin, "%.480s:%u", r->name, r->line);
    if (!n) return BAD(r, "the configuration is too large");
    n->engine.name = keep(r, name, strlen(name));
    n->engine.origin = keep(r, origin, (size_t)len);
    if (!n->engine.name || !n->engine.origin) return false;
    *(r->last_engine ? &r->last_engine->next : &r->engines) = n;
    r->last_engine = n;
    r->config->n_engines++;
    *out = &n->engine;
    return true;
}

/* What is said about the models of this name. */
static bool model_of(reader *r, const char *name, ig_model_config **out)
{
    size_t i = 0;
    while (i < r->config->n_models && strcmp(r->models[i].name, name)) i++;
    if (i + 1 < r->config->n_models)
        return BAD(r, "model %s is already at %s; names are given once", name, r->models[i].origin);
    if (!*name) return BAD(r, "[model NAME] needs the name of a model");
    if (i == IG_MODEL_SECTIONS_MAX) return BAD(r, "more than %d sections [model NAME]", IG_MODEL_SECTIONS_MAX);
    if (i == r->config->n_models) {
        char origin[512];
        int len = snprintf(origin, sizeof origin, "%.480s:%u", r->name, r->line);
        r->models[i] = (ig_model_config){.name = keep(r, name, strlen(name)), .origin = keep(r, origin, (size_t)len)};
        if (!r->models[i].name || !r->models[i].origin) return false;
        r->config->n_models++;
    }
    *out = &r->models[i];
    return true;
}

/* The catalogue of this name; the names of folders on this machine are like those of roles. */
static bool follow_of(reader *r, const char *name, ig_follow **out)
{
    size_t n = strlen(name), i = 0;
    bool fits = n && n <= IG_FOLLOW_NAME_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == n;
    if (!fits || *name == '-' || *name == '_')
        return BAD(r, "'%.60s' is no name of a catalogue; expected 1 to %d of a-z 0-9 - _", name, IG_FOLLOW_NAME_MAX);
    while (i < r->config->n_follows && strcmp(r->follows[i].name, name)) i++;
    if (i == IG_FOLLOWS_MAX) return BAD(r, "more than %d catalogues", IG_FOLLOWS_MAX);
    if (i == r->config->n_follows) {
        r->follows[i] = (ig_follow){.name = keep(r, name, n), .interval_s = 3600};
        if (!r->follows[i].name) return false;
        r->config->n_follows++;
    }
    *out = &r->follows[i];
    return true;
}

static bool set_row(reader *r, const key_row *rows, size_t n, void *base, const char *name, const char *value)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].name, name)) continue;
        uint64_t bit = UINT64_C(1) << i;
        if (!rows[i].list && r->seen & bit) return BAD(r, "%s is given twice", name);
        r->seen |= bit;
        if (!*value) return BAD(r, "%s has no value", name);
        return rows[i].set(r, (char *)base + rows[i].offset, value);
    }
    return BAD(r, "there is no key '%.40s' in [%s]", name, r->section);
}

/* inih hands over every pair; we know the line because we feed it. Returns 0 to stop. */
static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    reader *r = user;
    if (r->st != IG_OK) return 0;
    if (!value) value = "";
    if (!name || is_foreign(section)) return 1;
    if (strlen(section) >= SECTION_BYTES) return BAD(r, "the name of section [%.20s…] is too long", section);
    if (!ig_utf8_valid(value, strlen(value))) return BAD(r, "the value of %.40s is not UTF-8", name);
    if (strcmp(section, r->section)) {
        snprintf(r->section, sizeof r->section, "%s", section);
        r->seen = 0;
    }
    if (!strncmp(section, "rule ", 5)) {
        ig_rule *rule;
        r->config->policy.configured = true;
        if (!rule_of(r, section + 5, &rule)) return 0;
        if (!strcmp(name, "effect")) r->last->has_effect = true;
        return set_row(r, rule_keys, ROWS(rule_keys), rule, name, value);
    }
    if (!strncmp(section, "engine ", 7)) {
        ig_engine_config *engine;
        return engine_of(r, section + 7, &engine) && set_row(r, engine_keys, ROWS(engine_keys), engine, name, value);
    }
    if (!strncmp(section, "model ", 6)) {
        ig_model_config *model;
        return model_of(r, section + 6, &model) && set_row(r, model_keys, ROWS(model_keys), model, name, value);
    }
    if (!strncmp(section, "catalogue ", 10)) {
        ig_follow *follow = NULL;
        return follow_of(r, section + 10, &follow) && set_row(r, follow_keys, ROWS(follow_keys), follow, name, value);
    }
    for (size_t i = 0; i < ROWS(sections); i++)
        if (!strcmp(section, sections[i].name)) {
            if (!i) r->config->policy.configured = true;
            return set_row(r, sections[i].rows, sections[i].n, r->config, name, value);
        }
    return BAD(r,
               "there is no section [%.40s]; expected [policy], [rule ID], [engine NAME], [model NAME], [catalogue "
               "NAME], [audit], [directory] or [ldap]",
               section);
}

/* ------------------------------------------------------------------------------------------------ files */

/* A line for inih, which takes at most room-1 bytes; whatever it would cut or misread is refused here. */
static char *next_line(char *out, int room, void *stream)
{
    reader *r = stream;
    if (r->st != IG_OK || r->at >= r->text.len) return NULL;
    const char *p = r->text.ptr + r->at, *end = memchr(p, '\n', r->text.len - r->at);
    size_t n = end ? (size_t)(end - p) : r->text.len - r->at;
    r->at += n + (end != NULL);
    r->line++;
    if (n + 3 > (size_t)room) {
        BAD(r, "the line has %zu bytes, at most %d are read; a list may go on in a further line with the same key", n,
            room - 3);
        return NULL;
    }
    if (memchr(p, 0, n)) {
        BAD(r, "a NUL byte");
        return NULL;
    }
    if (n && (*p == ' ' || *p == '\t') && strspn(p, " \t\r") < n && p[strspn(p, " \t")] != ';' &&
        p[strspn(p, " \t")] != '#' && p[strspn(p, " \t")] != '\r') {
        BAD(r, "the line begins with a blank; a list goes on in a further line with the same key");
        return NULL;
    }
    size_t skip = 0;
    if (n && *p == '[') { /* inih cuts long names silently */
        const char *close = memchr(p, ']', n);
        if (close && close - p > SECTION_BYTES) BAD(r, "the name of the section is too long");
    }
    memcpy(out, p + skip, n - skip);
    out[n - skip] = '\n';
    out[n - skip + 1] = 0;
    return r->st == IG_OK ? out : NULL;
}

static bool read_text(reader *r, const char *name, ig_str text)
{
    r->name = name;
    r->text = text;
    r->at = 0;
    r->line = 0;
    r->seen = 0;
    r->section[0] = 0;
    int bad_line = ini_parse_stream(next_line, r, on_pair, r);
    if (r->st != IG_OK) return false;
    if (bad_line > 0) {
        r->line = (unsigned)bad_line;
        return BAD(r, "expected [section], key = value or a comment");
    }
    return !bad_line || BAD(r, "cannot be read");
}

static bool may_be_trusted(reader *r, const char *path, int fd)
{
    struct stat st;
    r->line = 0;
    if (fstat(fd, &st)) return BAD(r, "cannot be read");
    if (!S_ISREG(st.st_mode)) return BAD(r, "is no regular file");
    if (st.st_mode & 022) return BAD(r, "others may write this file; type: chmod go-w %.200s", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return BAD(r, "belongs to uid %u; expected root or who runs this", (unsigned)st.st_uid);
    return true;
}

/* Missing is fine. */
static bool read_file(reader *r, const char *path)
{
    ig_buf text;
    r->name = keep(r, path, strlen(path));
    if (!r->name) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return true;
    if (fd < 0) {
        r->st = ig_fail_errno(r->err, IG_IO, errno, "cannot read %s", path);
        return false;
    }
    ig_buf_init(&text, FILE_BYTES_MAX);
    if (may_be_trusted(r, path, fd)) {
        r->st = ig_fd_read_all(fd, path, &text, r->err);
        r->config->n_files++;
        if (r->st == IG_OK) read_text(r, r->name, (ig_str){text.len ? text.ptr : "", text.len});
    }
    close(fd);
    ig_buf_fini(&text);
    return r->st == IG_OK;
}

typedef struct dropin {
    char name[200];
    unsigned folder;
} dropin;

static bool name_before(const void *a, const void *b, const void *ctx)
{
    const dropin *all = ctx, *x = &all[*(const unsigned *)a], *y = &all[*(const unsigned *)b];
    int c = strcmp(x->name, y->name);
    return c ? c < 0 : x->folder < y->folder;
}

static bool scan(reader *r, const char *folder, unsigned number, dropin *all, unsigned *n)
{
    DIR *dir = opendir(folder);
    if (!dir) return errno == ENOENT || BAD(r, "cannot read folder %s", folder);
    for (struct dirent *e; (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        if (len < 6 || e->d_name[0] == '.' || strcmp(e->d_name + len - 5, ".conf")) continue;
        if (*n == FILES_MAX || len >= sizeof all->name) {
            closedir(dir);
            return BAD(r, "%s: more than %d files, or a name of more than 199 bytes", folder, FILES_MAX);
        }
        unsigned same = 0;
        while (same < *n && strcmp(all[same].name, e->d_name)) same++;
        snprintf(all[same].name, sizeof all->name, "%s", e->d_name);
        all[same].folder = number;
        *n += same == *n;
    }
    closedir(dir);
    return true;
}

static bool read_dropins(reader *r, const char *const *folders, unsigned n_folders)
{
    char path[4400];
    unsigned n = 0, order[FILES_MAX];
    dropin *all = ig_calloc(FILES_MAX, sizeof *all);
    bool fine = all || BAD(r, "out of memory");
    r->name = r->config->folder;
    for (unsigned i = 0; fine && i < n_folders; i++) fine = scan(r, folders[i], i, all, &n);
    for (unsigned i = 0; i < n; i++) order[i] = i;
    if (fine) ig_sort(order, n, sizeof *order, name_before, all);
    for (unsigned i = 0; fine && i < n; i++) {
        const dropin *d = &all[order[i]];
        snprintf(path, sizeof path, "%s/%s", folders[d->folder], d->name);
        struct stat st;
        /* A link to /dev/null switches off what it hides. */
        if (!stat(path, &st) && S_ISCHR(st.st_mode)) continue;
        fine = read_file(r, path);
    }
    ig_free(all);
    return fine;
}

/* ------------------------------------------------------------------------------------------------ the whole */

static bool limits_something(const ig_limits *l)
{
    return l->n_ctx != IG_NO_CONTEXT_LIMIT || l->tokens_per_day != IG_NO_TOKEN_LIMIT ||
           l->output != IG_NO_OUTPUT_LIMIT || l->priority >= 0;
}

static void look_at(reader *r, const ig_rule *rule)
{
    bool limited = limits_something(&rule->limits);
    if (rule->effect == IG_REFUSE && limited) note(r, rule->id, "refuses, its limits mean nothing");
    if (rule->effect == IG_ALLOW && limited && !r->config->policy.deny && rule->actions & 1u << IG_MAY_USE)
        note(r, rule->id, "allows with limits, but with mode = open everybody may without; write effect = limit");
}

static bool finish_rules(reader *r)
{
    ig_config *c = r->config;
    ig_rule *rules = ig_arena_alloc(&c->arena, r->n_rules + 1, sizeof *rules);
    if (!rules) return BAD(r, "the configuration is too large");
    size_t i = 0;
    for (rule_node *n = r->first; n; n = n->next, i++) {
        ig_rule *rule = &n->rule;
        if (!rule->actions) rule->actions = 1u << IG_MAY_USE;
        r->line = 0;
        r->name = rule->origin;
        if (!n->has_effect) return BAD(r, "rule %s has no effect; write effect = allow, limit or refuse", rule->id);
        if (rule->effect == IG_LIMIT && !limits_something(&rule->limits))
            return BAD(r, "rule %s limits nothing; write context, output, tokens_per_day or priority", rule->id);
        look_at(r, rule);
        rules[i] = *rule;
    }
    c->policy.rules = rules;
    c->policy.n_rules = r->n_rules;
    return true;
}

static bool has_word(const ig_terms *w, const char *what)
{
    for (size_t i = 0; i < w->n; i++)
        if (strstr(w->item[i], what)) return true;
    return false;
}

bool ig_engine_takes_files(const ig_engine_config *e) { return has_word(&e->command, "{model}"); }

static bool judge_engine(reader *r, const ig_engine_config *e)
{
    bool files = ig_engine_takes_files(e);
    r->line = 0;
    r->name = e->origin;
    if (!e->command.n || e->command.item[0][0] != '/')
        return BAD(r, "engine %s needs a command that begins with an absolute path", e->name);
    if (has_word(&e->command, "{socket}") == has_word(&e->command, "{port}"))
        return BAD(r, "the command of engine %s has to say where it listens: {socket} or {port}", e->name);
    if (files && !e->models.n) return BAD(r, "engine %s takes {model}; say which: models = PATTERN", e->name);
    for (size_t i = 0; i < e->models.n && !files; i++)
        if (strpbrk(e->models.item[i], "*?"))
            return BAD(r, "'%.60s' is a pattern, but engine %s takes no {model}; write names", e->models.item[i],
                       e->name);
    for (size_t i = 0; i < e->environment.n; i++)
        if (!strchr(e->environment.item[i], '=') || e->environment.item[i][0] == '=')
            return BAD(r, "'%.60s' in the environment of engine %s is not NAME=VALUE", e->environment.item[i], e->name);
    return true;
}

static bool finish_engines(reader *r)
{
    ig_config *c = r->config;
    ig_engine_config *all = ig_arena_alloc(&c->arena, c->n_engines + 1, sizeof *all);
    size_t i = 0;
    if (!all) return BAD(r, "the configuration is too large");
    for (engine_node *n = r->engines; n; n = n->next) {
        if (!judge_engine(r, &n->engine)) return false;
        all[i++] = n->engine;
    }
    c->engines = all;
    return true;
}

static bool finish_models(reader *r)
{
    ig_config *c = r->config;
    ig_model_config *all = ig_arena_alloc(&c->arena, c->n_models + 1, sizeof *all);
    if (!all) return BAD(r, "the configuration is too large");
    memcpy(all, r->models, c->n_models * sizeof *all);
    c->models = all;
    return true;
}

static bool finish_follows(reader *r)
{
    ig_config *c = r->config;
    ig_follow *kept = ig_arena_alloc(&c->arena, c->n_follows + 1, sizeof *kept);
    r->line = 0;
    if (!kept) return BAD(r, "the configuration is too large");
    for (size_t i = 0; i < c->n_follows; i++) {
        kept[i] = r->follows[i];
        r->name = "[catalogue]";
        if (!kept[i].source || !kept[i].root)
            return BAD(r, "%s: source (an address or a folder) and root (a file) are needed", kept[i].name);
        if (*kept[i].root != '/') return BAD(r, "%s: root is no absolute path", kept[i].name);
    }
    c->follows = kept;
    return true;
}

static bool finish_directory(reader *r)
{
    ig_directory_config *d = &r->config->directory;
    r->line = 0;
    r->name = "[directory]";
    if (!d->use_system && !d->use_ldap && !d->use_file) {
        d->use_system = true;
        d->use_ldap = d->ldap.n_uris > 0;
        d->use_file = d->groups_file != NULL;
    }
    if (d->use_file && !d->groups_file) return BAD(r, "providers names file, but there is no groups_file");
    if (!d->use_ldap) return true;
    r->name = "[ldap]";
    if (!d->ldap.n_uris || !d->ldap.base) return BAD(r, "uri and base are needed");
    if (d->ldap.bind == IG_BIND_SIMPLE && (!d->ldap.bind_dn || !d->ldap.password_file))
        return BAD(r, "bind = simple needs bind_dn and password_file");
    for (size_t i = 0; i < d->ldap.n_uris; i++)
        if (d->ldap.bind == IG_BIND_SIMPLE && !strncmp(d->ldap.uris[i], "ldap:", 5) && !d->ldap.start_tls &&
            !d->ldap.allow_plain)
            return BAD(r, "a password would go to %.100s in the clear; write start_tls = yes, or ldaps:// in uri",
                       d->ldap.uris[i]);
    return true;
}

static ig_status finish(reader *r, bool fine, ig_config **out)
{
    ig_config *c = r->config;
    if (fine && finish_rules(r) && finish_engines(r) && finish_models(r) && finish_follows(r) && finish_directory(r) &&
        c->n_notes) {
        const char **notes = ig_arena_alloc(&c->arena, c->n_notes, sizeof *notes);
        if (notes) memcpy(notes, r->notes, c->n_notes * sizeof *notes);
        c->notes = notes;
        if (!notes) c->n_notes = 0;
    }
    if (r->st == IG_OK)
        *out = c;
    else
        ig_config_free(c);
    return r->st;
}

static bool begin(reader *r, const char *folder, ig_error *err)
{
    ig_config *c = ig_calloc(1, sizeof *c);
    *r = (reader){.config = c, .err = err};
    if (!c) return false;
    c->arena.max_bytes = ARENA_BYTES_MAX;
    c->directory.grace_s = 8 * 3600;
    c->directory.grace_set = true;
    c->folder = ig_arena_copy(&c->arena, folder, strlen(folder));
    if (c->folder) return true;
    ig_config_free(c);
    return false;
}

const char *ig_config_folder(void)
{
    const char *own = getenv("INGLE_CONFIG");
    return own && *own ? own : standard_folder;
}

ig_status ig_config_load(const char *folder, ig_config **out, ig_error *err)
{
    reader *r = ig_calloc(1, sizeof *r);
    char path[4200], own[4200];
    *out = NULL;
    if (!r || strlen(folder) > 4000 || !begin(r, folder, err)) {
        ig_free(r);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the configuration in %.200s", folder);
    }
    snprintf(path, sizeof path, "%s/ingle.conf", folder);
    snprintf(own, sizeof own, "%s/conf.d", folder);
    const char *const all[] = {"/usr/lib/ingle/conf.d", own, "/run/ingle/conf.d"};
    bool standard = !strcmp(folder, standard_folder);
    bool fine = read_file(r, path) && read_dropins(r, standard ? all : all + 1, standard ? 3 : 1);
    ig_status st = finish(r, fine, out);
    ig_free(r);
    return st;
}

ig_status ig_config_read(ig_str text, const char *name, ig_config **out, ig_error *err)
{
    reader *r = ig_calloc(1, sizeof *r);
    *out = NULL;
    if (!r || !begin(r, "", err)) {
        ig_free(r);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the configuration");
    }
    ig_status st = finish(r, read_text(r, name, text), out);
    ig_free(r);
    return st;
}

void ig_config_free(ig_config *config)
{
    if (!config) return;
    ig_arena_fini(&config->arena);
    ig_free(config);
}
