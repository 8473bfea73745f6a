/* Private to src/store/catalogue: TUF 1.0 metadata and the rules of the client.
 *
 * Three layers: documents (meta.c: bytes to a checked tree, its canonical form, keys and signatures), the trusted set
 * (trusted.c: which document may follow which; a pure function of bytes and a time), and the update (update.c: files on
 * disk and a source). Numbers "5.3.4" in comments are sections of the TUF specification.
 *
 * A document is never trusted in the form it came in: signatures are over the canonical form of what was parsed, hashes
 * over the bytes as they came. */
#ifndef IG_STORE_CATALOGUE_TUF_H
#define IG_STORE_CATALOGUE_TUF_H

#include <jansson.h>

#include "base/str.h"
#include "store/catalogue.h"
#include "store/inner.h"

enum {
    IG_TUF_ROLES_MAX = 64,       /* delegated ones */
    IG_TUF_ROOT_STEPS_MAX = 256, /* new roots in one update */
    IG_TUF_KEYS_MAX = 128,
    IG_TUF_SIGNATURES_MAX = 128,
    IG_TUF_TARGETS_MAX = 8192,
    IG_TUF_PATHS_MAX = 1024,
    IG_TUF_DELEGATIONS_MAX = 128,     /* of all roles together */
    IG_TUF_COMPARISONS_MAX = 1 << 20, /* targets times patterns */
    IG_TUF_ALL_BYTES_MAX = 64 << 20,
    IG_TUF_ROLE_NAME_MAX = 64,
    IG_TUF_PATH_MAX = 255,
    IG_TUF_ROOT_BYTES_MAX = 512 << 10,
    IG_TUF_TIMESTAMP_BYTES_MAX = 16 << 10,
    IG_TUF_SNAPSHOT_BYTES_MAX = 1 << 20,
    IG_TUF_TARGETS_BYTES_MAX = 16 << 20,
    IG_TUF_VALUES_MAX = 1000000,
    IG_KEY_BYTES = 32,
    IG_SIGNATURE_BYTES = 64
};
/* Versions are exact in every program that reads JSON. */
#define IG_TUF_VERSION_MAX ((uint64_t)1 << 53)

/* ---- canonical JSON (canon.c): sorted keys, no blanks, of escapes only \" and \\, whole numbers only */
/* BAD_INPUT for a fraction; NO_MEMORY, TOO_LARGE. what: in messages. */
ig_status ig_canon_write(const char *what, const json_t *j, ig_buf *out, ig_error *err);

/* ---- keys (key.c): Ed25519 by OpenSSL */
typedef struct ig_tuf_key {
    unsigned char public[IG_KEY_BYTES];
    char id[IG_HEX_LEN + 1]; /* SHA-256 of the canonical form of its JSON */
    void *private;           /* EVP_PKEY, or NULL */
} ig_tuf_key;
ig_status ig_key_generate(ig_tuf_key *out, ig_error *err);
void ig_key_fini(ig_tuf_key *k);
json_t *ig_key_json(const ig_tuf_key *k); /* {"keytype":"ed25519","scheme":"ed25519","keyval":{"public":HEX}} */
/* PKCS#8 as PEM, encrypted by AES-256 where passphrase is not NULL; mode 600, never over another file. */
ig_status ig_key_save(const ig_tuf_key *k, const char *path, const char *passphrase, ig_error *err);
/* A private key, or a public one (PEM). Private keys must be of mode 600 or less. passphrase may be NULL. */
ig_status ig_key_load(const char *path, const char *passphrase, ig_tuf_key *out, ig_error *err);
ig_status ig_key_sign(const ig_tuf_key *k, const void *p, size_t n, unsigned char out[IG_SIGNATURE_BYTES],
                      ig_error *err);
bool ig_key_verify(const unsigned char public[IG_KEY_BYTES], const void *p, size_t n,
                   const unsigned char signature[IG_SIGNATURE_BYTES]);
bool ig_hex_read(const char *text, unsigned char *out, size_t n); /* exactly 2 n digits */
void ig_hex_write(const unsigned char *p, size_t n, char *out);   /* [2 n + 1] */

/* ---- times */
bool ig_time_read(const char *text, int64_t *out); /* "2026-11-21T10:20:04Z" and nothing else, 1970 to 9999 */
void ig_time_write(int64_t t, char out[24]);

/* ---- documents (meta.c) */
typedef enum ig_tuf_type { IG_TUF_ROOT, IG_TUF_TIMESTAMP, IG_TUF_SNAPSHOT, IG_TUF_TARGETS, IG_TUF_TYPES } ig_tuf_type;
extern const char *const ig_tuf_names[IG_TUF_TYPES];
extern const size_t ig_tuf_bytes_max[IG_TUF_TYPES];

typedef struct ig_doc {
    ig_tuf_type type;
    char role[IG_TUF_ROLE_NAME_MAX + 1]; /* "root", ..., or of a delegated role; in messages */
    uint64_t version;
    int64_t expires_s;
    json_t *all;           /* owned */
    const json_t *signed_; /* of all */
    ig_buf text;           /* bytes as they came */
    ig_buf canon;          /* canonical form of signed */
} ig_doc;
/* Checks everything that can be checked of a document alone. role: of a delegated one, else NULL. */
ig_status ig_doc_read(ig_tuf_type type, const char *role, ig_str text, ig_doc **out, ig_error *err);
void ig_doc_free(ig_doc *d);
/* Signed by the threshold of the role that `by` (root, or targets with delegations) names? Each key counts once,
 * whatever its ids. DENIED says how many signatures hold and how many are needed. as: added to the sentence, or "". */
ig_status ig_doc_verify(const ig_doc *by, const char *role, const ig_doc *d, const char *as, ig_error *err);
/* How many keys of the role have signed; stops at enough. */
unsigned ig_doc_count(const ig_doc *by, const char *role, const ig_doc *d, uint64_t enough);
/* Entry of `meta` for a file name such as "snapshot.json"; NULL. */
const json_t *ig_doc_meta(const ig_doc *d, const char *role);
/* The delegation to a role of a targets document; NULL. */
const json_t *ig_doc_delegation(const ig_doc *d, const char *role);
/* The object with keyids and threshold of a role, of a root or of a document that delegates; NULL. */
const json_t *ig_doc_role(const ig_doc *by, const char *role);
/* The same keys (as values) for the role in both roots? */
bool ig_doc_same_keys(const ig_doc *a, const ig_doc *b, const char *role);
/* A path pattern as the specification has it: '*' and '?' within a part between slashes. Time is bounded. */
bool ig_tuf_path_fits(const char *pattern, const char *path);
bool ig_tuf_role_name_valid(const char *name);
bool ig_tuf_path_valid(const char *path);
/* Does the delegation trust its role with the path? */
bool ig_tuf_delegates(const json_t *delegation, const char *path);

/* ---- the trusted set (trusted.c) */
typedef struct ig_tuf {
    int64_t now_s; /* fixed for the whole update (5.1); INT64_MIN: expiry is not looked at */
    ig_doc *root, *timestamp, *snapshot, *targets;
    ig_doc *old_snapshot; /* trusted before, for 5.5.5 */
    ig_doc *delegated[IG_TUF_ROLES_MAX];
    size_t n_delegated;
} ig_tuf;
void ig_tuf_fini(ig_tuf *t);
ig_status ig_tuf_begin(ig_tuf *t, ig_str root, int64_t now_s, ig_error *err);
/* The next root. On failure the trusted one stays. */
ig_status ig_tuf_next_root(ig_tuf *t, ig_str text, ig_error *err);
ig_status ig_tuf_end_roots(ig_tuf *t, ig_error *err); /* 5.3.10 */
/* local: the one of the last time, for the check of versions; its expiry is not looked at. *same: its version is the
 * trusted one's, which stays (5.4.3). */
ig_status ig_tuf_add_timestamp(ig_tuf *t, ig_str text, bool local, bool *same, ig_error *err);
ig_status ig_tuf_end_timestamp(ig_tuf *t, ig_error *err);
ig_status ig_tuf_add_snapshot(ig_tuf *t, ig_str text, ig_error *err);
void ig_tuf_old_snapshot(ig_tuf *t, ig_str text); /* kept if its signatures hold */
/* role "targets", or a delegated one, found by walking the delegations. */
ig_status ig_tuf_add_targets(ig_tuf *t, const char *role, const ig_doc *by, ig_str text, ig_error *err);
/* Adds targets and every delegated role, parents first; provide calls ig_tuf_add_targets for one. A role that several
 * delegate to is verified for each of them. */
typedef ig_status (*ig_tuf_provide)(void *ctx, ig_tuf *t, const char *role, const ig_doc *by, ig_error *err);
ig_status ig_tuf_walk(ig_tuf *t, ig_tuf_provide provide, void *ctx, ig_error *err);
/* Who answers for the path: documents in the order of delegations, each once (5.6.7). NULL: nobody. */
const ig_doc *ig_tuf_find(const ig_tuf *t, const char *path, const json_t **target);
const ig_doc *ig_tuf_document(const ig_tuf *t, const char *role); /* targets or a delegated one that was added */

/* ---- what the metadata says about models (content.c) */
ig_status ig_content_read(const ig_tuf *t, const char *source, int64_t synced_s, ig_catalogue **out, ig_error *err);
/* Checks the `custom` of one target, as the reading does; for authors. */
ig_status ig_content_check(const char *path, const json_t *target, ig_error *err);
ig_status ig_content_check_rules(const json_t *settings, ig_error *err);
/* A manifest with the target's model; strings are the target's, files lie in the arena. */
ig_status ig_content_manifest(const ig_catalogue_target *t, ig_arena *arena, ig_manifest *out, ig_error *err);
void ig_content_path(const ig_name *name, char out[IG_NAME_MAX + 8]); /* "team/helper=v2.json" */
bool ig_spdx_known(const char *id);

/* ---- where metadata comes from (origin.c) */
typedef struct ig_origin {
    /* The whole document `name` ("metadata/timestamp.json") into out, at most bytes_max; NOT_FOUND when there is none.
     */
    ig_status (*fetch)(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err);
    void *ctx;
} ig_origin;
/* In a registry a catalogue is one artifact of this type whose layers are its files, by their titles. */
#define IG_CATALOGUE_ARTIFACT "application/vnd.ingle.catalogue.v1+json"
#define IG_CATALOGUE_FILE     "application/vnd.ingle.catalogue.file.v1+json"
ig_status ig_catalogue_image_read(ig_str text, json_t **out, ig_error *err);
bool ig_catalogue_image_find(const json_t *image, const char *name, ig_digest *digest, uint64_t *size);
/* A folder, an address of https, a bucket, a registry. Closed by ig_origin_close. */
ig_status ig_origin_open(const ig_catalogue_sync_options *o, ig_origin *out, ig_error *err);
void ig_origin_close(ig_origin *o);
/* The file name of a role's document of a version: "metadata/3.root.json", "metadata/timestamp.json". */
void ig_tuf_file(const char *role, uint64_t version, bool consistent, char out[IG_TUF_ROLE_NAME_MAX + 48]);

/* ---- the update (update.c): a folder with the trusted files, or -1 to keep nothing */
ig_status ig_tuf_update(ig_tuf *t, int dir, const ig_origin *from, ig_str pinned, int64_t now_s, ig_error *err);

#endif
