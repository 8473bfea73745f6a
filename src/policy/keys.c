/* The file of keys, checking them, and the wait of those who guess. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/utf8.h"
#include "policy/inner.h"

#define FILE_BYTES_MAX ((size_t)8 << 20)
enum { SECRET_BYTES = 32, USED_SLACK_S = 60, PATH_BYTES_MAX = 4096 };

struct ig_keys {
    char path[PATH_BYTES_MAX];
    ig_arena arena;
    ig_key *keys; /* [n], in the arena */
    size_t n;
    struct stat seen;
    bool used; /* times of use that are not in the file */
};

ig_status ig_keys_place(char *out, size_t n, ig_error *err)
{
    const char *own = getenv("INGLE_KEYS"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int len = -1;
    if (own && *own)
        len = snprintf(out, n, "%s", own);
    else if (geteuid() == 0)
        len = snprintf(out, n, "/var/lib/ingle/keys.json");
    else if (state && *state == '/')
        len = snprintf(out, n, "%s/ingle/keys.json", state);
    else if (home && *home == '/')
        len = snprintf(out, n, "%s/.local/state/ingle/keys.json", home);
    if (len > 0 && (size_t)len < n) return IG_OK;
    return ig_fail(err, IG_NOT_FOUND, 0, "there is no place for the keys: set INGLE_KEYS to a file");
}

/* ------------------------------------------------------------------------------------------------ text and hash */

static bool hash_of(ig_str text, uint8_t out[32])
{
    unsigned n = 0;
    return EVP_Digest(text.ptr, text.len, out, &n, EVP_sha256(), NULL) && n == 32;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hash(const char *z, uint8_t out[32])
{
    if (!z || strlen(z) != 64) return false;
    for (size_t i = 0; i < 32; i++) {
        int high = nibble(z[2 * i]), low = nibble(z[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* Characters that need no quoting anywhere; 64 of them, so that 6 random bits choose one. */
static void put_random(char *out, size_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.";
    unsigned char bytes[64];
    ig_random(bytes, n);
    for (size_t i = 0; i < n; i++) out[i] = letters[bytes[i] & 63];
    OPENSSL_cleanse(bytes, sizeof bytes);
    out[n] = 0;
}

static void put_id(char out[IG_KEY_ID_BYTES + 1])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char bytes[IG_KEY_ID_BYTES];
    ig_random(bytes, sizeof bytes);
    for (size_t i = 0; i < IG_KEY_ID_BYTES; i++) out[i] = letters[bytes[i] & 31];
    out[IG_KEY_ID_BYTES] = 0;
}

/* ------------------------------------------------------------------------------------------------ reading */

static bool take_words(ig_arena *arena, const json_t *list, const char ***out, size_t *n)
{
    *n = json_array_size(list);
    *out = NULL;
    if (list && !json_is_array(list)) return false;
    if (!*n) return true;
    if (*n > IG_KEY_WORDS_MAX) return false;
    const char **w = ig_arena_alloc(arena, *n, sizeof *w);
    for (size_t i = 0; w && i < *n; i++) {
        const char *z = json_string_value(json_array_get(list, i));
        w[i] = z && *z ? ig_arena_copy(arena, z, strlen(z)) : NULL;
        if (!w[i]) return false;
    }
    *out = w;
    return w != NULL;
}

static bool take_actions(const json_t *list, unsigned *out)
{
    size_t i;
    json_t *j;
    *out = 0;
    json_array_foreach(list, i, j)
    {
        unsigned a = 0;
        const char *z = json_string_value(j);
        while (z && a < IG_N_ACTIONS && strcmp(z, ig_policy_action_name((ig_action)a))) a++;
        if (!z || a == IG_N_ACTIONS) return false;
        *out |= 1u << a;
    }
    return *out != 0;
}

static const char *take_text(ig_arena *arena, const json_t *j, size_t most)
{
    const char *z = json_string_value(j);
    return z && strlen(z) <= most ? ig_arena_copy(arena, z, strlen(z)) : NULL;
}

static bool take_key(ig_arena *arena, const json_t *j, ig_key *k)
{
    const char *id = json_string_value(json_object_get(j, "id"));
    if (!id || strlen(id) != IG_KEY_ID_BYTES) return false;
    memcpy(k->id, id, IG_KEY_ID_BYTES + 1);
    k->name = take_text(arena, json_object_get(j, "name"), IG_KEY_NAME_MAX);
    k->account = take_text(arena, json_object_get(j, "user"), IG_ACCOUNT_MAX - 1);
    k->created_s = json_integer_value(json_object_get(j, "created"));
    k->expires_s = json_integer_value(json_object_get(j, "expires"));
    k->used_s = json_integer_value(json_object_get(j, "used"));
    k->revoked = json_is_true(json_object_get(j, "revoked"));
    return k->name && k->account && read_hash(json_string_value(json_object_get(j, "sha256")), k->hash) &&
           take_actions(json_object_get(j, "actions"), &k->actions) &&
           take_words(arena, json_object_get(j, "groups"), &k->groups, &k->n_groups) &&
           take_words(arena, json_object_get(j, "models"), &k->models, &k->n_models);
}

/* Into a new arena, so that a fault leaves the old set. */
static ig_status take_all(ig_keys *keys, const json_t *root, ig_error *err)
{
    const json_t *list = json_object_get(root, "keys");
    size_t n = json_array_size(list);
    ig_arena arena = {.max_bytes = 4 * FILE_BYTES_MAX};
    if (json_integer_value(json_object_get(root, "version")) != 1 || !json_is_array(list))
        return ig_fail(err, IG_BAD_INPUT, 0, "%s is no file of keys of this version", keys->path);
    if (n > IG_KEYS_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "%s holds more than %d keys", keys->path, IG_KEYS_MAX);
    ig_key *all = ig_arena_alloc(&arena, n + 1, sizeof *all);
    for (size_t i = 0; i < n; i++)
        if (!all || !take_key(&arena, json_array_get(list, i), &all[i])) {
            ig_arena_fini(&arena);
            return ig_fail(err, IG_BAD_INPUT, 0, "entry %zu of %s is damaged", i + 1, keys->path);
        }
    for (size_t i = 0; keys->used && i < n; i++) { /* what we know better */
        const ig_key *old = ig_keys_find(keys, all[i].id);
        if (old && old->used_s > all[i].used_s) all[i].used_s = old->used_s;
    }
    ig_arena_fini(&keys->arena);
    keys->arena = arena;
    keys->keys = all;
    keys->n = n;
    return all ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the keys");
}

static ig_status read_open(ig_keys *keys, int fd, const struct stat *st, ig_error *err)
{
    ig_buf text;
    json_error_t fault;
    if (st->st_mode & 077)
        return ig_fail(err, IG_DENIED, 0, "others may read the keys in %s; type: chmod 600 %s", keys->path, keys->path);
    ig_buf_init(&text, FILE_BYTES_MAX);
    ig_status status = ig_fd_read_all(fd, keys->path, &text, err);
    if (status == IG_OK) {
        json_t *root = json_loadb(text.len ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &fault);
        status = root ? take_all(keys, root, err)
                      : ig_fail(err, IG_BAD_INPUT, 0, "%s:%d: damaged: %s", keys->path, fault.line, fault.text);
        json_decref(root);
    }
    ig_buf_fini(&text);
    if (status == IG_OK) keys->seen = *st;
    return status;
}

static ig_status read_file(ig_keys *keys, ig_error *err)
{
    struct stat st;
    int fd = ig_disk_open_regular(AT_FDCWD, keys->path, O_RDONLY, &st);
    if (fd < 0 && errno == ENOENT) {
        ig_arena_fini(&keys->arena);
        keys->keys = NULL;
        keys->n = 0;
        keys->seen = (struct stat){0};
        return IG_OK;
    }
    if (fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read the keys in %s", keys->path);
    ig_status status = read_open(keys, fd, &st, err);
    close(fd);
    return status;
}

ig_status ig_keys_open(const char *path, ig_keys **out, ig_error *err)
{
    ig_keys *keys = ig_calloc(1, sizeof *keys);
    *out = NULL;
    if (!keys) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the keys");
    ig_status st = snprintf(keys->path, sizeof keys->path, "%s", path) < (int)sizeof keys->path
                       ? read_file(keys, err)
                       : ig_fail(err, IG_TOO_LARGE, 0, "the path of the keys is too long");
    if (st == IG_OK)
        *out = keys;
    else
        ig_keys_close(keys);
    return st;
}

void ig_keys_close(ig_keys *keys)
{
    if (!keys) return;
    ig_arena_fini(&keys->arena);
    ig_free(keys);
}

ig_status ig_keys_refresh(ig_keys *keys, ig_error *err)
{
    struct stat st = {0};
    const struct stat *old = &keys->seen;
    if (stat(keys->path, &st) && errno != ENOENT)
        return ig_fail_errno(err, IG_IO, errno, "cannot read the keys in %s", keys->path);
    if (st.st_ino == old->st_ino && st.st_size == old->st_size && st.st_mtim.tv_sec == old->st_mtim.tv_sec &&
        st.st_mtim.tv_nsec == old->st_mtim.tv_nsec)
        return IG_OK;
    return read_file(keys, err);
}

size_t ig_keys_n(const ig_keys *keys) { return keys->n; }
const ig_key *ig_keys_at(const ig_keys *keys, size_t i) { return i < keys->n ? &keys->keys[i] : NULL; }

static ig_key *find(const ig_keys *keys, const char *id)
{
    for (size_t i = 0; i < keys->n; i++)
        if (!strcmp(keys->keys[i].id, id) || !strcmp(keys->keys[i].name, id)) return &keys->keys[i];
    return NULL;
}
const ig_key *ig_keys_find(const ig_keys *keys, const char *id) { return find(keys, id); }

/* ------------------------------------------------------------------------------------------------ writing */

static json_t *json_of_words(const char *const *w, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_string(w[i]));
    return list;
}

static json_t *json_of(const ig_key *k)
{
    char hash[65];
    json_t *actions = json_array();
    for (size_t i = 0; i < 32; i++) snprintf(hash + 2 * i, 3, "%02x", k->hash[i]);
    for (unsigned a = 0; a < IG_N_ACTIONS; a++)
        if (k->actions >> a & 1) json_array_append_new(actions, json_string(ig_policy_action_name((ig_action)a)));
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:b}", "id", k->id, "name", k->name, "user",
                     k->account, "sha256", hash, "actions", actions, "groups", json_of_words(k->groups, k->n_groups),
                     "models", json_of_words(k->models, k->n_models), "created", (json_int_t)k->created_s, "expires",
                     (json_int_t)k->expires_s, "used", (json_int_t)k->used_s, "revoked", (int)k->revoked);
}

static ig_status write_file(ig_keys *keys, const ig_key *extra, ig_error *err)
{
    json_t *list = json_array(), *root = json_pack("{s:i, s:o}", "version", 1, "keys", list);
    for (size_t i = 0; i < keys->n; i++) json_array_append_new(list, json_of(&keys->keys[i]));
    if (extra) json_array_append_new(list, json_of(extra));
    char *text = root && json_array_size(list) == keys->n + (extra != NULL) ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the keys, or a text that is not UTF-8");
    bool written = ig_policy_write(keys->path, text, strlen(text));
    int no = errno;
    free(text);
    return written ? IG_OK : ig_fail_errno(err, IG_IO, no, "cannot write the keys to %s", keys->path);
}

/* The folders of the path, for us alone. */
static void make_folders(const char *path)
{
    char part[PATH_BYTES_MAX];
    snprintf(part, sizeof part, "%s", path);
    for (char *c = part + 1; *c; c++)
        if (*c == '/') {
            *c = 0;
            mkdir(part, 0700);
            *c = '/';
        }
}

/* One writer at a time, on what the file says now. *lock: to be closed. */
static ig_status begin_change(ig_keys *keys, int *lock, ig_error *err)
{
    char path[PATH_BYTES_MAX + 8];
    make_folders(keys->path);
    snprintf(path, sizeof path, "%s.lock", keys->path);
    *lock = ig_disk_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (*lock < 0) return ig_fail_errno(err, IG_IO, errno, "cannot write beside the keys in %s", keys->path);
    ig_status st = ig_disk_lock(*lock, true, true) ? read_file(keys, err)
                                                   : ig_fail_errno(err, IG_IO, errno, "cannot lock %s", path);
    if (st != IG_OK) close(*lock);
    return st;
}

static ig_status judge_new(const ig_keys *keys, const ig_key *k, ig_error *err)
{
    size_t n = strlen(k->name);
    if (!n || n > IG_KEY_NAME_MAX || !ig_utf8_valid(k->name, n) || strpbrk(k->name, " \t\r\n\"'"))
        return ig_fail(err, IG_BAD_INPUT, 0, "a key needs a name of 1 to %d bytes without blanks", IG_KEY_NAME_MAX);
    const ig_key *same = find(keys, k->name);
    if (same)
        return ig_fail(err, IG_BAD_INPUT, 0, "there is a key of the name %s already (%s)%s", k->name, same->id,
                       same->revoked ? ", revoked; names of keys are not used twice" : "");
    if (keys->n >= IG_KEYS_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "there are %d keys already", IG_KEYS_MAX);
    if (!k->actions || strlen(k->account) >= IG_ACCOUNT_MAX || k->n_groups > IG_KEY_WORDS_MAX ||
        k->n_models > IG_KEY_WORDS_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "a key needs at least one action, and at most %d groups and models",
                       IG_KEY_WORDS_MAX);
    return IG_OK;
}

ig_status ig_keys_add(ig_keys *keys, const ig_key *key, char text[IG_KEY_TEXT_MAX], ig_error *err)
{
    int lock;
    IG_TRY(begin_change(keys, &lock, err));
    ig_key k = *key;
    char secret[44];
    ig_status st = judge_new(keys, key, err);
    if (st == IG_OK) {
        do put_id(k.id);
        while (find(keys, k.id));
        put_random(secret, sizeof secret - 1);
        snprintf(text, IG_KEY_TEXT_MAX, "ingle-%s-%s", k.id, secret);
        k.created_s = ig_clock_s();
        st = hash_of(ig_str_from(text), k.hash) ? write_file(keys, &k, err)
                                                : ig_fail(err, IG_BUG, 0, "SHA-256 is not available");
        OPENSSL_cleanse(secret, sizeof secret);
    }
    if (st == IG_OK) st = read_file(keys, err);
    if (st != IG_OK) OPENSSL_cleanse(text, IG_KEY_TEXT_MAX);
    close(lock);
    return st;
}

ig_status ig_keys_revoke(ig_keys *keys, const char *id, ig_error *err)
{
    int lock;
    IG_TRY(begin_change(keys, &lock, err));
    ig_key *k = find(keys, id);
    ig_status st = k ? IG_OK : ig_fail(err, IG_NOT_FOUND, 0, "there is no key %.64s; `ingle key list` shows them", id);
    if (k && !k->revoked) {
        k->revoked = true;
        st = write_file(keys, NULL, err);
        if (st == IG_OK) st = read_file(keys, err);
    }
    close(lock);
    return st;
}

ig_status ig_keys_save_used(ig_keys *keys, ig_error *err)
{
    int lock;
    if (!keys->used) return IG_OK;
    IG_TRY(begin_change(keys, &lock, err)); /* keeps the later times */
    ig_status st = write_file(keys, NULL, err);
    if (st == IG_OK) keys->used = false;
    if (st == IG_OK) st = read_file(keys, err);
    close(lock);
    return st;
}

/* ------------------------------------------------------------------------------------------------ checking */

const ig_key *ig_keys_check(ig_keys *keys, ig_str text, int64_t now_s)
{
    uint8_t hash[32];
    ig_key *found = NULL;
    if (!text.len || text.len > 512 || !hash_of(text, hash)) return NULL;
    for (size_t i = 0; i < keys->n; i++)
        if (!CRYPTO_memcmp(keys->keys[i].hash, hash, sizeof hash)) found = &keys->keys[i];
    if (!found || found->revoked || (found->expires_s && now_s >= found->expires_s)) return NULL;
    if (now_s - found->used_s >= USED_SLACK_S) {
        found->used_s = now_s;
        keys->used = true;
    }
    return found;
}

enum { FREE_TRIES = 3, WAIT_MAX_S = 300, FORGET_S = 3600 };

static size_t slot_of(const ig_key_guard *g, const void *peer, size_t n)
{
    return ig_hash(peer, n, g->seed) % (sizeof g->slots / sizeof *g->slots);
}

unsigned ig_key_guard_wait(const ig_key_guard *g, const void *peer, size_t n, uint64_t now_ns)
{
    uint64_t until = g->slots[slot_of(g, peer, n)].until_ns;
    return until > now_ns ? (unsigned)((until - now_ns + 999999999) / 1000000000) : 0;
}

void ig_key_guard_tell(ig_key_guard *g, const void *peer, size_t n, uint64_t now_ns, bool good)
{
    if (!g->seed) ig_random(&g->seed, sizeof g->seed);
    size_t i = slot_of(g, peer, n);
    if (good || (g->slots[i].until_ns && now_ns > g->slots[i].until_ns + (uint64_t)FORGET_S * 1000000000))
        g->slots[i].n_wrong = 0, g->slots[i].until_ns = 0;
    if (good) return;
    uint32_t over = ++g->slots[i].n_wrong;
    if (over <= FREE_TRIES) return;
    over -= FREE_TRIES + 1;
    uint64_t wait = over > 8 ? WAIT_MAX_S : UINT64_C(1) << over;
    g->slots[i].until_ns = now_ns + (wait < WAIT_MAX_S ? wait : WAIT_MAX_S) * 1000000000;
}
