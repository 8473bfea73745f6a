/* Private to the authors' side: the draft in memory, shared by draft.c (editing) and issue.c (signing, publishing).
 *
 *   DIR/draft.json   {"ingle_draft": 1, "days": {"root": 365, ...}, "keys": {KEYID: {...}},
 *                     "roles": {"root": {"keyids": [...], "threshold": 1}, ...},
 *                     "delegations": [{"name": ..., "keyids": ..., "threshold": ..., "paths": ..., "terminating":
 * ...}], "settings": {"version": 1, "default": "denied", "rules": [...]}, "targets": {"targets": {PATH: {...}}, ROLE:
 * {PATH: {...}}}} DIR/staged/      root.json, targets.json, ROLE.json: made, perhaps not yet signed by enough keys
 *   DIR/published/   metadata/ and targets/: what the world sees */
#ifndef IG_STORE_CATALOGUE_AUTHOR_H
#define IG_STORE_CATALOGUE_AUTHOR_H

#include "store/author.h"
#include "tuf.h"

enum { IG_DRAFT_BYTES_MAX = 64 << 20, IG_AUTHOR_KEYS_MAX = 64 };

struct ig_author {
    char *dir, *keys, *passphrase;
    int fd, lock;
    json_t *draft;
    int64_t now_s;
    bool dry_run, insecure;
};

ig_status ig_author_save(ig_author *a, ig_error *err);
/* The object with keyids and threshold of a role in the draft; NULL. */
json_t *ig_draft_role(const ig_author *a, const char *role);
/* Private keys of the keys' folder; fini each. */
ig_status ig_author_keys(const ig_author *a, ig_tuf_key keys[IG_AUTHOR_KEYS_MAX], size_t *n, ig_error *err);
/* Whole file below the working folder; NOT_FOUND. */
ig_status ig_author_read(const ig_author *a, const char *file, size_t bytes_max, ig_buf *out, ig_error *err);
/* The file of a model, whose SHA-256 is the model's digest; freed by ig_free. */
ig_status ig_content_file(const ig_catalogue_target *t, char **text, ig_digest *digest, ig_error *err);

/* ---- places other than a folder (outlet.c): s3://BUCKET/PREFIX, oci://HOST/REPOSITORY:TAG */
bool ig_outlet_fits(const char *to);
/* Judges the timestamp that is there before anything is sent. */
typedef ig_status (*ig_outlet_judge)(void *ctx, const ig_buf *theirs, ig_error *err);
/* What lies below the folder `published`. Errors: DENIED (judge, or the server), IO, UNSUPPORTED. */
ig_status ig_outlet_put(const char *to, int published, bool insecure, ig_outlet_judge judge, void *ctx, ig_error *err);

#endif
