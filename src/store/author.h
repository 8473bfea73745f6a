/* Making signed catalogues, without a server: a working folder with a draft, keys in a folder of their own, and what is
 * published. docs/catalogue.md describes folder, verbs and ceremony.
 *
 * One process at a time changes a working folder (a lock is held while an ig_author is open). Every change is written
 * whole before the call returns; doing the same again changes nothing and says so. Nothing here prints. */
#ifndef IG_STORE_AUTHOR_H
#define IG_STORE_AUTHOR_H

#include "catalogue.h"

typedef struct ig_author ig_author;

typedef struct ig_author_options {
    const char *keys;       /* folder of private keys; NULL: the working folder's path and ".keys" */
    const char *passphrase; /* of private keys; NULL: they are not encrypted */
    int64_t now_s;          /* 0: the clock; for tests */
    bool dry_run;           /* judge and report, write nothing */
    bool insecure;          /* publish to a bucket or registry without TLS */
} ig_author_options;

/* Makes a working folder (which must be missing or empty), and a key for each of the four roles, mode 600, encrypted
 * where there is a passphrase. Errors: BAD_INPUT (something is there), IO, DENIED. */
ig_status ig_author_init(const char *dir, const ig_author_options *options, bool deny_by_default, ig_error *err);
ig_status ig_author_open(const char *dir, const ig_author_options *options, ig_author **out, ig_error *err);
void ig_author_close(ig_author *a); /* NULL is fine */

/* Puts a model into the draft, or replaces it; its rules stay as they are there. Of t are read: name, format, files,
 * licence, base, publisher, origins, labels, adapters, limits, texts. role: a delegated one, or NULL for targets. */
ig_status ig_author_add(ig_author *a, const ig_catalogue_target *t, const char *role, bool *changed, ig_error *err);
/* *changed false: there was none. */
ig_status ig_author_drop(ig_author *a, const char *name, bool *changed, ig_error *err);
/* Adds a rule to a model (name) or to the catalogue (NULL); a rule of the same id is replaced. An id is made where the
 * rule has none; the same rule twice is one. */
ig_status ig_author_rule(ig_author *a, const char *name, const ig_catalogue_rule *rule, bool *changed, ig_error *err);
ig_status ig_author_remove_rule(ig_author *a, const char *name, const char *id, bool *changed, ig_error *err);
ig_status ig_author_default(ig_author *a, bool deny, bool *changed, ig_error *err);

/* Lets another role answer for paths such as "team/\*". keys: files of public or private keys, n 0: one is made. */
ig_status ig_author_delegate(ig_author *a, const char *role, ig_words paths, bool terminating, ig_words keys,
                             unsigned threshold, bool *changed, ig_error *err);
/* New keys for a role in place of its old ones: the files named, or as many new ones as there were. threshold 0: as it
 * was, at most the number of keys. */
ig_status ig_author_rotate(ig_author *a, const char *role, ig_words keys, unsigned threshold, ig_error *err);

/* What happened to one document: how many of the signatures that it needs it has. */
typedef struct ig_author_report {
    const char *role;
    uint64_t version;
    unsigned n_signed, threshold;
    bool fresh; /* made or signed now */
} ig_author_report;
typedef void (*ig_author_each)(void *ctx, const ig_author_report *report);
/* Makes the next versions of what changed, or will expire soon, and signs what is not published with every private key
 * of the folder. each may be NULL. */
ig_status ig_author_sign(ig_author *a, ig_author_each each, void *ctx, ig_error *err);
/* Signs snapshot and timestamp, verifies the whole as a client would, and writes DIR/published; then the same to `out`
 * (NULL: nowhere else; a folder, s3://BUCKET/PREFIX, oci://HOST/REPOSITORY:TAG), the timestamp last. Errors: DENIED
 * (signatures are missing, or it does not verify), IO. */
ig_status ig_author_publish(ig_author *a, const char *out, ig_author_each each, void *ctx, ig_error *err);
/* The draft as a catalogue. */
ig_status ig_author_draft(const ig_author *a, ig_catalogue **out, ig_error *err);
/* The newest published root's path in DIR/published, for clients. */
ig_status ig_author_root_path(const ig_author *a, char *out, size_t n, ig_error *err);

/* Known to SPDX, or a LicenseRef. */
bool ig_licence_known(const char *id);

#endif
