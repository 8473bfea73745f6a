/* Who is asking: uid or account name to groups. Three providers, whose answers are joined: the system's name service
 * (which covers SSSD), LDAP directly, and a local file. One that fails makes the whole answer fail: half a list of
 * groups could lack the one that a rule refuses.
 *
 * Answers are cached with their age. Older than cache_s they are fetched again; when that fails they stay good until
 * grace_s after they were fetched (also over a restart, where a state file is named), and then the groups count as
 * unknown. That somebody has left a group is therefore seen after cache_s while the directory answers, after grace_s at
 * the latest when it does not.
 *
 * Name service and LDAP may block for as long as they like: lookups run in threads of the directory, never in the
 * caller's. Every function may be called from any thread. */
#ifndef IG_POLICY_DIRECTORY_H
#define IG_POLICY_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { IG_ACCOUNT_MAX = 256, IG_GROUPS_MAX = 4096 };

typedef struct ig_group {
    const char *name; /* "engineers" */
    const char *id;   /* "gid:1000", "dn:cn=engineers,…", or "" */
} ig_group;

typedef enum ig_freshness {
    IG_FRESH,
    IG_STALE,   /* in the grace period */
    IG_UNKNOWN, /* nobody could be asked, or not for too long: no groups */
} ig_freshness;

/* Immutable and counted. */
typedef struct ig_person {
    unsigned refs; /* atomic; the directory's */
    bool has_uid, exists, disabled;
    uint32_t uid;
    const char *account; /* "" where not known */
    const ig_group *groups;
    size_t n_groups;
    int64_t fetched_s; /* since 1970 */
    const char *fault; /* why it is no newer, "" */
    const char *notes; /* what the providers found strange, "" */
} ig_person;
ig_person *ig_person_ref(const ig_person *p);
void ig_person_unref(ig_person *p);
/* A person of these values; texts are copied. NULL without memory. */
ig_person *ig_person_new(const ig_person *values);

typedef enum ig_ldap_schema { IG_LDAP_AUTO, IG_LDAP_RFC2307, IG_LDAP_RFC2307BIS, IG_LDAP_AD } ig_ldap_schema;
typedef enum ig_ldap_bind { IG_BIND_ANONYMOUS, IG_BIND_SIMPLE, IG_BIND_EXTERNAL, IG_BIND_GSSAPI } ig_ldap_bind;
typedef enum ig_ldap_nested { IG_NESTED_AUTO, IG_NESTED_WALK, IG_NESTED_RULE, IG_NESTED_NO } ig_ldap_nested;

/* 0 or NULL: the value in the comment. All borrowed. */
typedef struct ig_ldap_config {
    const char *const
        *uris; /* [n_uris] ldap://, ldaps://, ldapi://; asked in this order, the last that answered first */
    size_t n_uris;
    const char *user_base, *group_base; /* base */
    const char *base;
    ig_ldap_schema schema;
    ig_ldap_bind bind;
    const char *bind_dn, *password_file; /* mode 600 */
    const char *ca_file, *cert_file, *key_file;
    bool start_tls, allow_plain; /* allow_plain: a password may go over the network unencrypted */
    ig_ldap_nested nested;
    bool member_of;             /* the user's own memberOf counts too; always with AD */
    const char *user_attribute; /* uid; sAMAccountName with AD */
    const char *name_attribute; /* of groups: cn; sAMAccountName with AD */
    uint32_t timeout_ms;        /* of one operation; 5000 */
    uint32_t page_size;         /* 500, or what the server takes */
    uint32_t min_uid;           /* accounts below are not asked for; 1000 */
} ig_ldap_config;

typedef struct ig_directory_config {
    bool use_system, use_ldap, use_file;
    const char *groups_file;
    const char *state_file; /* cache over restarts, mode 600; NULL: none */
    uint32_t cache_s;       /* 600 */
    uint32_t negative_s;    /* after a failure or for an unknown account; 30 */
    bool grace_set;
    uint32_t grace_s;     /* 28800, 8 hours; 0 is none */
    uint32_t deadline_ms; /* of a lookup with everything; 10000 */
    ig_ldap_config ldap;
} ig_directory_config;

typedef struct ig_directory ig_directory;

/* One lookup, for tests that bring their own: account "" or has_uid in the finding say who is meant; see inner.h. */
struct ig_finding;
typedef ig_status (*ig_provider_fn)(void *ctx, struct ig_finding *f, ig_error *err);

/* config is copied by pointer and must outlive the directory. */
ig_status ig_directory_new(const ig_directory_config *config, ig_directory **out, ig_error *err);
/* Waits at most two seconds for lookups under way; what still hangs then is left behind (false:
 * with the configuration, which must then stay). Pending calls never come. NULL is fine. */
bool ig_directory_free(ig_directory *d);
/* Same settings, so that what is known may stay. */
bool ig_directory_config_equal(const ig_directory_config *a, const ig_directory_config *b);
/* For tests: another provider instead of those of the configuration, and another clock. */
void ig_directory_replace(ig_directory *d, ig_provider_fn fn, void *ctx, int64_t (*clock_s)(void *), void *clock_ctx);

/* From the cache alone; never blocks. NULL: ask. One older than cache_s comes only where asking has just failed (within
 * negative_s), so that nobody is served from the past while the directory answers. The caller unrefs. account NULL or
 * "": by uid. */
ig_person *ig_directory_peek(ig_directory *d, const char *account, uint32_t uid, ig_freshness *fresh);

/* Called in the thread of ig_directory_deliver; the person is borrowed, never NULL; UNKNOWN has no groups. */
typedef void (*ig_directory_fn)(void *ctx, const ig_person *person, ig_freshness fresh);
typedef struct ig_directory_call { /* the caller's memory until fn was called or it is cancelled */
    ig_directory_fn fn;
    void *ctx;
    struct ig_directory_call *next;
    struct ig_entry *entry;
    uint64_t due_ns, generation;
    bool waiting;
} ig_directory_call;
/* fn comes later, out of ig_directory_deliver, at most deadline_ms from now. */
void ig_directory_ask(ig_directory *d, const char *account, uint32_t uid, ig_directory_call *call, ig_directory_fn fn,
                      void *ctx);
void ig_directory_cancel(ig_directory *d, ig_directory_call *call);
/* wake is called from a lookup's thread when deliver has something to do; it must only wake the caller's loop. */
void ig_directory_on_done(ig_directory *d, void (*wake)(void *ctx), void *ctx);
/* Calls what is due. Returns the time (ig_now_ns) by which it wants to be called again for deadlines, 0: never. */
uint64_t ig_directory_deliver(ig_directory *d);

/* Blocks, at most deadline_ms. Never fails: what cannot be known is UNKNOWN, with the fault inside. The caller unrefs;
 * NULL only without memory. */
ig_person *ig_directory_find(ig_directory *d, const char *account, uint32_t uid, ig_freshness *fresh);
/* Forgets the ages: the next question fetches anew (SIGHUP). What is known stays good in the grace period. */
void ig_directory_expire(ig_directory *d);

#endif
