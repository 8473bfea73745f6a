/* API keys: text that programs send instead of being known to the kernel. Stored hashed in one file of mode 600, bound
 * to a user, groups, actions and models, with an end. A key is "ingle-ID-SECRET": the id (8 characters) may be shown,
 * the secret (43) is seen once, when the key is made. Unknown, wrong, revoked and expired keys are told apart nowhere
 * (H27). */
#ifndef IG_POLICY_KEYS_H
#define IG_POLICY_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum { IG_KEYS_MAX = 4096, IG_KEY_TEXT_MAX = 64, IG_KEY_ID_BYTES = 8, IG_KEY_NAME_MAX = 64, IG_KEY_WORDS_MAX = 64 };

typedef struct ig_key {
    char id[IG_KEY_ID_BYTES + 1];
    const char *name;    /* as the admin calls it */
    const char *account; /* whose it is, "" : nobody's in particular */
    const char **groups; /* [n_groups] that it has; none: those of the account */
    size_t n_groups;
    unsigned actions;    /* bits 1 << ig_action */
    const char **models; /* [n_models] patterns; none: no further restriction */
    size_t n_models;
    int64_t created_s, expires_s; /* expires_s 0: never */
    int64_t used_s;               /* 0: never; kept roughly, see ig_keys_save_used */
    bool revoked;
    uint8_t hash[32];
} ig_key;

typedef struct ig_keys ig_keys;

/* The standard place: keys.json beside the store for root (/var/lib/ingle), $XDG_STATE_HOME/ingle/ else. */
ig_status ig_keys_place(char *out, size_t n, ig_error *err);
/* Reads the file; none is an empty set. Errors: DENIED (others may read it), BAD_INPUT (what and where). */
ig_status ig_keys_open(const char *path, ig_keys **out, ig_error *err);
void ig_keys_close(ig_keys *keys);
/* Reads again when the file has changed; on a failure the old set stays in force. */
ig_status ig_keys_refresh(ig_keys *keys, ig_error *err);
size_t ig_keys_n(const ig_keys *keys);
const ig_key *ig_keys_at(const ig_keys *keys, size_t i);
/* By id or by name. NULL: none. */
const ig_key *ig_keys_find(const ig_keys *keys, const char *id);

/* Takes a lock, reads, changes, writes. add: id, hash and created_s are filled; the whole key's text comes out once. */
ig_status ig_keys_add(ig_keys *keys, const ig_key *key, char text[IG_KEY_TEXT_MAX], ig_error *err);
/* The entry stays, so that its name can be told in old records. Revoking again changes nothing. */
ig_status ig_keys_revoke(ig_keys *keys, const char *id, ig_error *err);
/* Writes the times of use that are newer than in the file by a minute or more. */
ig_status ig_keys_save_used(ig_keys *keys, ig_error *err);

/* The key of this text, NULL: none that is good now. All are compared, each in constant time. Marks it as used. */
const ig_key *ig_keys_check(ig_keys *keys, ig_str text, int64_t now_s);

/* Back-off for wrong keys, by address of the peer; the caller's memory, zero-initialised. After 3 wrong ones each
 * further doubles the wait, from 1 s to 5 minutes; a good key ends it. Addresses share slots by hash. */
typedef struct ig_key_guard {
    struct {
        uint32_t n_wrong;
        uint64_t until_ns;
    } slots[256];
    uint64_t seed;
} ig_key_guard;
/* Seconds to wait before the next try, 0: go on. */
unsigned ig_key_guard_wait(const ig_key_guard *guard, const void *peer, size_t n, uint64_t now_ns);
void ig_key_guard_tell(ig_key_guard *guard, const void *peer, size_t n, uint64_t now_ns, bool good);

#endif
