/* Face of policy: who is asking (directory.h), what their key allows (keys.h), and what they may do. The decision is
 * one pure function of plain structs: no file, clock, network or global, so that the whole policy is a table test and
 * `ingle policy explain` shows what really happens.
 *
 * Rules come from the configuration and, as assignments, from signed catalogues. Their order never matters:
 *   - a rule that refuses beats every rule that allows;
 *   - rules that limit cap what was allowed: the smallest number counts;
 *   - of several rules that allow, the most generous number counts;
 *   - what nobody allowed is refused (mode = deny), or may be used but not managed (mode = open, the standard);
 *   - a model that a catalogue assigns to somebody is, in either mode, for those alone; that what no rule of a
 * catalogue names is for nobody is a mode of the catalogue, and comes as a grant (CLOSED) for each such model. Where
 * the caller's groups are not known (the directory is away for longer than the grace period), a rule that might refuse
 * does, and one that might allow does not. */
#ifndef IG_POLICY_H
#define IG_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"
#include "policy/directory.h"
#include "policy/keys.h"

/* ------------------------------------------------------------------------------------------------ rules */

enum { IG_RULE_ID_MAX = 64, IG_RULES_MAX = 4096, IG_PRIORITY_STANDARD = 50, IG_PRIORITY_MAX = 100 };

/* Words of ig_policy_action_name: use, pull, create, pin, manage. */
typedef enum ig_action {
    IG_MAY_USE,    /* generate, embed, show, list */
    IG_MAY_PULL,   /* fetch a model from a source */
    IG_MAY_CREATE, /* make one of another, upload blobs */
    IG_MAY_PIN,    /* keep loaded for ever, unload */
    IG_MAY_MANAGE, /* copy, delete, push, stop */
    IG_N_ACTIONS
} ig_action;
const char *ig_policy_action_name(ig_action action);

#define IG_NO_TOKEN_LIMIT   UINT64_MAX
#define IG_NO_CONTEXT_LIMIT UINT32_MAX
#define IG_NO_OUTPUT_LIMIT  UINT32_MAX
typedef struct ig_limits {
    uint64_t tokens_per_day; /* prompt and answer; IG_NO_TOKEN_LIMIT */
    uint32_t n_ctx;          /* tokens of a conversation; IG_NO_CONTEXT_LIMIT */
    int32_t priority;        /* 0..100; < 0: not said */
    uint32_t output;         /* tokens of one answer; IG_NO_OUTPUT_LIMIT */
} ig_limits;
#define IG_LIMITS_NONE ((ig_limits){IG_NO_TOKEN_LIMIT, IG_NO_CONTEXT_LIMIT, -1, IG_NO_OUTPUT_LIMIT})

typedef struct ig_terms {
    const char *const *item; /* [n] */
    size_t n;
} ig_terms;

typedef enum ig_effect { IG_ALLOW, IG_LIMIT, IG_REFUSE } ig_effect;

typedef struct ig_hours {
    uint8_t days;      /* bit 0 Monday */
    uint16_t from, to; /* minutes of the day, to excluded; to <= from: until the next day */
} ig_hours;

/* One rule. Every condition must hold; an empty list is no condition. All texts are borrowed.
 * who, unless: "any", "known", "nobody", "owner", "user:NAME", "uid:N", "group:NAME", "gid:N", "dn:DN", "key:NAME".
 * models: names with * and ?, ASCII case does not matter, "x" also means "x:latest"; or "sha256:HEX".
 * licences, publishers, labels: patterns as well; what is not known is called "unknown". */
typedef struct ig_rule {
    const char *id, *origin; /* origin: "file:line", for explanations alone */
    const char *reason;      /* sentence of the admin's, or NULL */
    ig_effect effect;
    unsigned actions; /* bits 1 << ig_action */
    ig_terms who, unless, models, licences, publishers, sources, labels, machines;
    const ig_hours *hours;
    size_t n_hours;
    ig_limits limits;
} ig_rule;

typedef enum ig_grant_state {
    IG_GRANT_REQUIRED,
    IG_GRANT_AVAILABLE,
    IG_GRANT_DENIED,
    IG_GRANT_CLOSED, /* the model is for those alone to whom another one gives it */
    IG_GRANT_LIMITS, /* limits hold for whoever may use it */
    IG_GRANT_LABELS  /* requests with another privacy label are refused */
} ig_grant_state;

/* What a signed catalogue says about models, as plain data; the caller fills it, all borrowed. users ("ada", "#1000")
 * or groups ("eng", "gid:5", "dn:…"): one of them suffices, both empty means everybody; machines: and only there. */
typedef struct ig_grant {
    const char *rule;      /* id, unique */
    const char *catalogue; /* which, for explanations; or NULL */
    const char *reason;    /* or NULL */
    ig_terms models;       /* as in ig_rule; best one "sha256:HEX" */
    bool exact;            /* only what has the digest models.item[1], not another version of that name */
    ig_terms licences, publishers;
    ig_terms groups, users, machines;
    ig_terms labels; /* of LABELS */
    ig_grant_state state;
    ig_limits limits;
} ig_grant;

typedef struct ig_policy {
    bool configured; /* an admin has said something: otherwise everything is as without policy */
    bool deny;       /* mode */
    ig_terms managers;
    const ig_rule *rules;
    size_t n_rules;
    const ig_grant *assignments;
    size_t n_assignments;
} ig_policy;

/* ------------------------------------------------------------------------------------------------ the question */

/* Filled by ig_caller_of from what identity, directory and key tell, or by hand in tests. All borrowed. */
typedef struct ig_caller {
    bool known; /* uid or account holds; else the caller is nobody */
    bool owner; /* root or the user of the service itself, on this machine */
    bool has_uid;
    uint32_t uid;
    const char *account; /* or NULL */
    const ig_group *groups;
    size_t n_groups;
    bool groups_unknown; /* the directory could not tell */
    bool disabled;       /* the directory says that the account is */
    const ig_key *key;   /* or NULL */
} ig_caller;

typedef struct ig_model_facts {
    const char *name;
    const char *digest;              /* 64 hex digits, or NULL or "" */
    const char *licence, *publisher; /* or NULL */
} ig_model_facts;

typedef struct ig_moment {
    uint8_t weekday; /* 0 Monday */
    uint16_t minute; /* of the day */
} ig_moment;
/* Local time of seconds since 1970. */
ig_moment ig_moment_of(int64_t unix_s);

typedef struct ig_ask {
    ig_action action;
    ig_model_facts model; /* name NULL: no model is concerned */
    const char *source;   /* PULL: the address; or NULL */
    const char *label;    /* of privacy; or NULL */
    const char *machine;  /* host name; or NULL */
    uint32_t n_ctx;       /* context asked for, 0: not said */
    uint32_t output;      /* tokens of an answer asked for, 0: not said */
    uint64_t tokens_today;
    ig_moment when;
    bool listing; /* only: is it shown? Time, context and budget do not matter then */
} ig_ask;

/* ------------------------------------------------------------------------------------------------ the decision */

typedef enum ig_verdict {
    IG_V_ALLOWS,
    IG_V_LIMITS,
    IG_V_REFUSES,
    IG_V_UNSURE, /* the groups are not known */
    IG_V_ACTION,
    IG_V_MODEL,
    IG_V_LICENCE,
    IG_V_PUBLISHER,
    IG_V_SOURCE,
    IG_V_LABEL,
    IG_V_MACHINE,
    IG_V_HOURS,
    IG_V_WHO,
    IG_V_UNLESS,
    IG_N_VERDICTS
} ig_verdict;
/* "is about other models" */
const char *ig_verdict_text(ig_verdict verdict);

typedef enum ig_refusal {
    IG_NOT_REFUSED,
    IG_REFUSED_RULE,
    IG_REFUSED_DIRECTORY,
    IG_REFUSED_CONTEXT,
    IG_REFUSED_OUTPUT,
    IG_REFUSED_BUDGET
} ig_refusal;

typedef struct ig_decision {
    bool allowed;
    ig_refusal refusal;
    char rule[IG_RULE_ID_MAX]; /* id of the rule that decided; "builtin:…" where none of the admin's did */
    char reason[400];          /* one sentence without paths or other users' names */
    ig_limits limits;          /* what holds for this caller; priority always filled */
    char n_ctx_rule[IG_RULE_ID_MAX], tokens_rule[IG_RULE_ID_MAX], output_rule[IG_RULE_ID_MAX]; /* who set them, "" */
} ig_decision;

/* verdicts: NULL, or room for n_rules + n_assignments: what each rule said, the rules first. */
void ig_policy_decide(const ig_policy *policy, const ig_caller *who, const ig_ask *ask, ig_decision *out,
                      ig_verdict *verdicts);

/* The licence when the text is a name of one (no blanks, at most 64 bytes), else NULL. */
const char *ig_licence_id(const char *text);
/* Who published what comes from this address: "hf://org/repo" is org's, other addresses their host's; "" else. */
void ig_publisher_of(const char *source, char out[128]);

/* True when the pattern with * and ? fits the text whole, ASCII case aside. Linear memory, at most n*m steps. */
bool ig_pattern_fits(const char *pattern, const char *text);

/* ------------------------------------------------------------------------------------------------ configuration */

enum { IG_ENGINES_MAX = 64 };

/* An engine that is not ours, as [engine NAME] has it (docs/service.md). What is 0 or NULL was not said. */
typedef struct ig_engine_config {
    const char *name, *origin; /* origin: "file:line" */
    ig_terms command;          /* words; the first one an absolute path */
    ig_terms models;           /* names that it answers to; patterns of names where the command has {model} */
    ig_terms environment;      /* NAME=VALUE */
    ig_terms passes;           /* parameters beyond OpenAI's that it understands */
    const char *model;         /* what it calls its model */
    const char *health;        /* path */
    const char *device;        /* for the answers */
    uint64_t memory;           /* bytes */
    uint32_t context, start_ms, timeout_ms;
    bool embeddings;
} ig_engine_config;
/* Its command gets the file of a model: it runs models of the store. */
bool ig_engine_takes_files(const ig_engine_config *e);

/* What an admin says about models of ours: [model NAME], where NAME may have * and ?. */
typedef struct ig_model_config {
    const char *name, *origin; /* origin: "file:line" */
    const char *draft;         /* name of a smaller model that guesses its tokens (docs/speculation.md) */
    bool share_cache;          /* what was computed for one user's prompt serves others, too */
} ig_model_config;
enum { IG_MODEL_SECTIONS_MAX = 64 };

/* A catalogue that this machine follows: [catalogue NAME]. */
typedef struct ig_follow {
    const char *name, *source, *root; /* source: address or folder; root: file of the root that is trusted */
    uint32_t interval_s;              /* 3600; less up to a tenth, so that not all machines ask at once */
    bool grace_set;
    uint32_t grace_s;                /* after its end; not set: the last good state stays in force for ever */
    uint64_t disk_bytes, rate_bytes; /* of its models, and a second; 0: no limit */
    bool battery, metered;           /* fetch also then */
    bool insecure;                   /* plain http to other machines */
    bool machine;                    /* fetch what anybody could require here, not only people who are known */
    bool preload;                    /* load what is required into memory that nobody else uses */
} ig_follow;
enum { IG_FOLLOWS_MAX = 16, IG_FOLLOW_NAME_MAX = 32 };

/* Everything that the files say; unchangeable once read, so that a new one replaces the old one whole (M23). */
typedef struct ig_config {
    ig_arena arena;
    ig_policy policy;
    ig_directory_config directory;
    const ig_engine_config *engines; /* [n_engines] */
    size_t n_engines;
    const ig_model_config *models; /* [n_models]; the first that fits counts */
    size_t n_models;
    const char *keys_file; /* NULL: the standard place */
    bool audit_content;    /* prompts and answers go into the audit log */
    const ig_follow *follows;
    size_t n_follows;
    const char *folder;
    size_t n_files;
    const char *const *notes; /* what an admin should look at again */
    size_t n_notes;
} ig_config;

/* Folder of the configuration: INGLE_CONFIG, else /etc/ingle. */
const char *ig_config_folder(void);
/* Reads FOLDER/ingle.conf and FOLDER/conf.d/NAME.conf in the order of their names; for /etc/ingle also
 * /usr/lib/ingle/conf.d and /run/ingle/conf.d, where a file hides those of the same name in folders before it
 * (usr, etc, run). No file at all is a configuration without policy. Errors name file and line; *out is NULL then.
 * Refused also: a file that others than root and the caller may write. */
ig_status ig_config_load(const char *folder, ig_config **out, ig_error *err);
/* The same from one text, for tests and fuzzing. */
ig_status ig_config_read(ig_str text, const char *name, ig_config **out, ig_error *err);
void ig_config_free(ig_config *config);

/* ------------------------------------------------------------------------------------------------ expectations */

/* An admin's own table. One a line, # begins a comment:
 *     allow|refuse WHO ACTION MODEL [KEY=VALUE]...
 * WHO: "user:ada", "uid:1000", "nobody", "owner", with groups behind it: user:ada+group:eng+group:all-staff.
 * KEY: rule (the id that must decide), ctx, tokens, label, licence, publisher, digest, source, machine,
 * at (mon-12:30), n_ctx and tokens_per_day (the limit that must come out). Words with blanks in "". */
typedef struct ig_expectation {
    unsigned line;
    bool want_allowed, passed;
    const char *text; /* the line */
    ig_decision got;
    char why[256]; /* of a failed one */
} ig_expectation;
typedef void (*ig_expectation_fn)(void *ctx, const ig_expectation *e);
/* Calls fn for each. With a directory, users without +group are looked up there (blocking). Errors: a line that cannot
 * be read. */
ig_status ig_policy_expect(const ig_policy *policy, ig_directory *directory, ig_str text, const char *name,
                           ig_expectation_fn fn, void *ctx, size_t *n_failed, ig_error *err);

/* The question's first half: person and key may be NULL. A key stands for its account (person is then that account's)
 * and for the groups that it names, where it names some. */
void ig_caller_of(bool known, uint32_t uid, bool owner, const ig_person *person, ig_freshness fresh, const ig_key *key,
                  ig_caller *out);

#endif
