/* Signed catalogues: what an administrator offers and assigns, and who may have it. docs/catalogue.md describes the
 * files and the verbs.
 *
 * This header is data and pure functions on it, for policy and the front; nothing here asks the network or the disk
 * but the functions that take a folder or a store. A catalogue is read once and does not change; it may be used from
 * several threads. Strings are valid UTF-8, but hold what the catalogue's authors wrote. */
#ifndef IG_STORE_CATALOGUE_H
#define IG_STORE_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

/* ------------------------------------------------------------------------------------------------ what it says */

/* In this order a stronger one wins: denied over required over available. */
typedef enum ig_assigned {
    IG_ASSIGNED_AVAILABLE,
    IG_ASSIGNED_REQUIRED,
    IG_ASSIGNED_DENIED,
    IG_ASSIGNED_STATES
} ig_assigned;
const char *ig_assigned_name(ig_assigned state);

typedef struct ig_words {
    const char *const *list;
    size_t n;
} ig_words;

/* A rule says a state to those whom it names. Users and groups: one of them must fit, where there are any. Machines
 * likewise, and besides. A rule without names is for everyone. Compared without regard to the case of ASCII letters;
 * '*' and '?' in a machine's name are wildcards; a user "#1000" is a number. Rules of the whole catalogue may name
 * models (with wildcards), licences and publishers; of each kind that is given one must fit. */
typedef struct ig_catalogue_rule {
    const char *id;
    ig_assigned state;
    ig_words users, groups, machines;
    ig_words models, licences, publishers; /* of the catalogue's own rules alone */
} ig_catalogue_rule;

typedef struct ig_catalogue_file {
    const char *role, *name;
    const char *digest; /* 64 hexadecimal digits */
    uint64_t size;
} ig_catalogue_file;

typedef struct ig_catalogue_target {
    const char *name;   /* of the model, with its tag */
    const char *path;   /* of the target in the metadata */
    const char *role;   /* who answers for it: "targets", or the name of a delegated role */
    const char *digest; /* of the model as the store counts it, 64 hexadecimal digits */
    uint64_t size;      /* sum of its files, bytes */
    const char *format, *licence, *base, *publisher;  /* licence: SPDX; each NULL where nothing is said */
    ig_words origins;                                 /* sources as ig_store_pull knows them, the best first */
    ig_words labels;                                  /* privacy labels that it may see; n 0: nothing is said */
    ig_words adapters;                                /* names of models of the catalogue */
    uint64_t context_max, output_max, day_tokens_max; /* 0: nothing is said */
    const char *parameters, *messages;                /* JSON, NULL */
    const char *template, *system;                    /* NULL: the model's own */
    const ig_catalogue_file *files;
    size_t n_files;
    const ig_catalogue_rule *rules;
    size_t n_rules;
} ig_catalogue_target;

typedef struct ig_catalogue {
    const char *source;                          /* where it was synced from */
    int64_t synced_s, expires_s;                 /* seconds since 1970; expires: the first of its files that does */
    uint64_t root, timestamp, snapshot, version; /* versions; version: of targets */
    bool deny_by_default;                        /* what no rule names is denied, else available */
    const ig_catalogue_rule *rules;
    size_t n_rules;
    const ig_catalogue_target *targets; /* by name */
    size_t n_targets;
    ig_arena arena;
} ig_catalogue;
void ig_catalogue_free(ig_catalogue *c); /* NULL is fine */
/* By name, without regard to case, the tag "latest" where none is given; NULL when it is not there. */
const ig_catalogue_target *ig_catalogue_find(const ig_catalogue *c, const char *name);

/* ------------------------------------------------------------------------------------------------ who gets what */

typedef struct ig_who {
    const char *user; /* NULL: unknown */
    int64_t uid;      /* -1: unknown */
    ig_words groups;
    const char *machine; /* NULL: unknown */
} ig_who;
typedef struct ig_assignment {
    const ig_catalogue_target *target; /* of the catalogue */
    ig_assigned state;
    const char *rule; /* id of the deciding rule, "default" or "builtin:assigned"; the catalogue's */
} ig_assignment;

/* The decision on one target: of the rules that fit the strongest; where none does, a model that a rule requires or
 * offers is for others ("builtin:assigned"), and what no rule gives to anybody is as the catalogue's mode has it
 * ("default"). Pure. */
ig_assignment ig_catalogue_decide(const ig_catalogue *c, const ig_catalogue_target *t, const ig_who *who);
/* Is the rule about this target: its models, licences and publishers fit? */
bool ig_catalogue_rule_covers(const ig_catalogue_rule *r, const ig_catalogue_target *t);
/* The decisions on all targets, in their order: out[c->n_targets], the caller's. Pure. */
void ig_catalogue_assignments(const ig_catalogue *c, const ig_who *who, ig_assignment *out);

/* ------------------------------------------------------------------------------------------------ on this machine */

struct ig_store;
struct ig_manifest;
struct ig_pull_options;

typedef struct ig_catalogue_sync_options {
    const char *source;       /* a folder, https://..., s3://..., oci://...; NULL: the one of the last time */
    const char *root_file;    /* the trusted root; NULL: the one of the last time */
    const char *name;         /* of the catalogue on this machine; NULL: "default" */
    bool insecure;            /* allow plain http to other machines */
    unsigned document_s;      /* a document may take so long; 0: 120 */
    unsigned total_s;         /* all documents together; 0: 600 */
    bool (*go_on)(void *ctx); /* asked at least once a second while the network is waited for; false: CANCELLED */
    void *ctx;
    int64_t now_s; /* 0: the clock; for tests */
} ig_catalogue_sync_options;
typedef struct ig_catalogue_sync_result {
    bool changed;
    char note[256]; /* a sentence to show, or "" */
} ig_catalogue_sync_result;

/* Brings the catalogue up to date by the workflow of the TUF specification. On any failure the last good state stays
 * in force and the sentence names the role, what was expected and what was found. *out (may be NULL) is the caller's.
 * Errors: DENIED (signatures, versions, expiry, hashes: what was served must not be trusted), BAD_INPUT (not
 * metadata), TOO_LARGE, NOT_FOUND, IO, UNSUPPORTED. */
ig_status ig_catalogue_sync(struct ig_store *store, const ig_catalogue_sync_options *options,
                            ig_catalogue_sync_result *result, ig_catalogue **out, ig_error *err);
/* The last good state; its signatures are verified again, its expiry is not: see expires_s. Errors: NOT_FOUND (never
 * synced), BAD_INPUT (damaged), IO. */
ig_status ig_catalogue_open(struct ig_store *store, const char *name, ig_catalogue **out, ig_error *err);
/* Verifies a published folder or address from the root file on and keeps nothing. root_file NULL: its first root. */
ig_status ig_catalogue_verify(const ig_catalogue_sync_options *options, ig_catalogue **out, ig_error *err);

/* Has the target's model in the store under its name: nothing to do where it is there (*changed false), else its files
 * are pulled from its origins, compared with what was signed, and checked (options->check) before the name appears.
 * An older model of that name stays where this fails. options may be NULL; its name is not read. Errors besides those
 * of a pull: UNSUPPORTED (the target has adapters). */
ig_status ig_catalogue_pull(struct ig_store *store, const ig_catalogue_target *t, const struct ig_pull_options *options,
                            bool *changed, ig_error *err);
/* Verifies the OpenSSF Model Signing bundle (text of a .sig file) of a model of the store against a public key (PEM,
 * ECDSA on P-256, P-384 or P-521): every file of the model must be listed with its digest. Errors: DENIED, BAD_INPUT,
 * UNSUPPORTED (shards, other hashes), NO_MEMORY. */
ig_status ig_bundle_verify(ig_str bundle, ig_str key_pem, const struct ig_manifest *m, ig_error *err);
/* True when the store has exactly the target's model under its name. */
bool ig_catalogue_present(struct ig_store *store, const ig_catalogue_target *t);

#endif
