/* Signed catalogues: the attacks that the TUF specification lists, one by one, against the update; state on disk under
 * failing calls and kills (M01, M02, M05, M08), jumping clocks (M14); keys, canonical JSON, times; drafts, publishing,
 * rules and assignments. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/fault.h"
#include "base/os.h"
#include "store/author.h"
#include "store/catalogue/tuf.h"
#include "tests/power.h"
#include "tests/tap.h"

enum { DAY = 86400, N_KEYS = 8 };
#define NOW INT64_C(1795258222)

static char work[64];
static ig_tuf_key K[N_KEYS];

static int drop(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)sb, (void)flag, (void)ftw;
    return remove(path);
}
static void wipe(const char *path) { (void)nftw(path, drop, 16, FTW_DEPTH | FTW_PHYS); }

static const char *at(const char *name)
{
    static char paths[8][200];
    static unsigned turn;
    char *p = paths[turn++ % 8];
    (void)snprintf(p, sizeof paths[0], "%s/%s", work, name);
    return p;
}

static size_t open_fds(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ------------------------------------------------------------------------------------------------ forging */

/* What is served: names and texts. */
typedef struct repo {
    char name[64][80];
    char *text[64];
    size_t n;
} repo;

static void put(repo *r, const char *name, const char *text)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->name[i], name)) {
            free(r->text[i]);
            r->text[i] = strdup(text);
            return;
        }
    (void)snprintf(r->name[r->n], sizeof r->name[0], "%s", name);
    r->text[r->n++] = strdup(text);
}

static char *get(repo *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->name[i], name)) return r->text[i];
    return NULL;
}

static void repo_free(repo *r)
{
    for (size_t i = 0; i < r->n; i++) free(r->text[i]);
    r->n = 0;
}

static ig_status fetch(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err)
{
    const char *text = get(ctx, name);
    ig_buf_init(out, bytes_max);
    if (!text) return ig_fail(err, IG_NOT_FOUND, 0, "%s is not there", name);
    if (strlen(text) > bytes_max) return ig_fail(err, IG_TOO_LARGE, 0, "%s is too large", name);
    return ig_buf_add(out, text, strlen(text)) ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "no memory");
}

/* Signs with the keys of the mask; the text is the caller's. */
static char *forge(json_t *signed_, unsigned keys, bool twice)
{
    json_t *list = json_array();
    ig_buf canon;
    if (ig_canon_write("test", signed_, &canon, NULL) != IG_OK) abort();
    for (unsigned i = 0; i < N_KEYS; i++) {
        unsigned char raw[IG_SIGNATURE_BYTES];
        char hex[2 * IG_SIGNATURE_BYTES + 1];
        if (!(keys >> i & 1)) continue;
        if (ig_key_sign(&K[i], canon.ptr, canon.len, raw, NULL) != IG_OK) abort();
        ig_hex_write(raw, sizeof raw, hex);
        for (int k = 0; k < (twice ? 2 : 1); k++)
            json_array_append_new(list, json_pack("{s:s, s:s}", "keyid", K[i].id, "sig", hex));
    }
    json_t *all = json_pack("{s:o, s:o}", "signed", signed_, "signatures", list);
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    ig_buf_fini(&canon);
    return text;
}

/* A whole repository, as it should be; a test changes a field. Keys: 0 root, 1 timestamp, 2 snapshot, 3 targets. */
typedef struct world {
    uint64_t v[4];         /* versions, in the order of ig_tuf_type */
    int64_t expires[4];    /* seconds from NOW */
    unsigned keys[4];      /* that root names, as masks */
    unsigned signers[4];   /* that sign */
    unsigned threshold[4]; /* that root asks for */
    unsigned also_root;    /* keys of the root before */
    uint64_t names[4];     /* version that the one above names; 0: v */
    bool no_hashes, twice, alias, with_team, team_gone;
    unsigned team_keys, team_signers;
    const char *team_path, *model;
} world;

static const world good = {.v = {1, 1, 1, 1},
                           .expires = {365 * DAY, 30 * DAY, 60 * DAY, 90 * DAY},
                           .keys = {1, 2, 4, 8},
                           .signers = {1, 2, 4, 8},
                           .threshold = {1, 1, 1, 1},
                           .team_keys = 16,
                           .team_signers = 16,
                           .team_path = "team/*",
                           .model = "a.json"};

static json_t *head(const world *w, ig_tuf_type type, uint64_t v)
{
    char expires[24];
    ig_time_write(NOW + w->expires[type], expires);
    return json_pack("{s:s, s:s, s:I, s:s}", "_type", ig_tuf_names[type], "spec_version", "1.0.31", "version",
                     (json_int_t)v, "expires", expires);
}

static json_t *ids_of(unsigned mask, bool alias)
{
    json_t *ids = json_array();
    for (unsigned i = 0; i < N_KEYS; i++)
        if (mask >> i & 1) json_array_append_new(ids, json_string(K[i].id));
    if (alias) json_array_append_new(ids, json_string("another-id-of-the-same-key"));
    return ids;
}

static json_t *keys_of(unsigned mask)
{
    json_t *keys = json_object();
    for (unsigned i = 0; i < N_KEYS; i++)
        if (mask >> i & 1) json_object_set_new(keys, K[i].id, ig_key_json(&K[i]));
    return keys;
}

static char *root_text(const world *w)
{
    json_t *j = head(w, IG_TUF_ROOT, w->v[0]), *roles = json_object();
    json_t *keys = keys_of(w->keys[0] | w->keys[1] | w->keys[2] | w->keys[3]);
    for (int i = 0; i < 4; i++)
        json_object_set_new(roles, ig_tuf_names[i],
                            json_pack("{s:o, s:i}", "keyids", ids_of(w->keys[i], w->alias && i == 3), "threshold",
                                      (int)w->threshold[i]));
    if (w->alias) json_object_set_new(keys, "another-id-of-the-same-key", ig_key_json(&K[3]));
    json_object_set_new(j, "keys", keys);
    json_object_set_new(j, "roles", roles);
    json_object_set_new(j, "consistent_snapshot", json_true());
    return forge(j, w->signers[0] | w->also_root, false);
}

static json_t *meta_of(const world *w, const char *text, uint64_t version)
{
    ig_digest d;
    if (w->no_hashes) return json_pack("{s:I}", "version", (json_int_t)version);
    (void)ig_sha_text(text, strlen(text), &d);
    return json_pack("{s:I, s:I, s:{s:s}}", "version", (json_int_t)version, "length", (json_int_t)strlen(text),
                     "hashes", "sha256", d.hex);
}

static json_t *plain_target(void)
{
    return json_pack("{s:i, s:{s:s}}", "length", 3, "hashes", "sha256",
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static char *targets_text(const world *w)
{
    json_t *j = head(w, IG_TUF_TARGETS, w->v[3]);
    json_object_set_new(j, "targets", json_pack("{s:o}", w->model, plain_target()));
    if (w->with_team)
        json_object_set_new(j, "delegations",
                            json_pack("{s:o, s:[{s:s, s:o, s:i, s:b, s:[s]}]}", "keys", keys_of(w->team_keys), "roles",
                                      "name", "team", "keyids", ids_of(w->team_keys, false), "threshold", 1,
                                      "terminating", 0, "paths", w->team_path));
    return forge(j, w->signers[3], w->twice);
}

static char *team_text(const world *w)
{
    json_t *j = head(w, IG_TUF_TARGETS, w->v[3]);
    json_object_set_new(j, "targets", json_pack("{s:o, s:o}", "team/x.json", plain_target(), "b.json", plain_target()));
    return forge(j, w->team_signers, false);
}

static uint64_t named(const world *w, int type) { return w->names[type] ? w->names[type] : w->v[type]; }

static void put_versioned(repo *r, const char *role, uint64_t v, char *text)
{
    char name[112];
    ig_tuf_file(role, v, true, name);
    put(r, name, text);
    free(text);
}

/* Serves the world: root only where its version is new. */
static void build(const world *w, repo *r)
{
    char *targets = targets_text(w), *team = team_text(w);
    json_t *meta = json_pack("{s:o}", "targets.json", meta_of(w, targets, named(w, 3)));
    if (w->with_team && !w->team_gone) json_object_set_new(meta, "team.json", meta_of(w, team, w->v[3]));
    json_t *s = head(w, IG_TUF_SNAPSHOT, w->v[2]), *t = head(w, IG_TUF_TIMESTAMP, w->v[1]);
    json_object_set_new(s, "meta", meta);
    char *snapshot = forge(s, w->signers[2], false);
    json_object_set_new(t, "meta", json_pack("{s:o}", "snapshot.json", meta_of(w, snapshot, named(w, 2))));
    put_versioned(r, "timestamp", w->v[1], forge(t, w->signers[1], false));
    put_versioned(r, "snapshot", named(w, 2), snapshot);
    put_versioned(r, "targets", named(w, 3), targets);
    put_versioned(r, "team", w->v[3], team);
    put_versioned(r, "root", w->v[0], root_text(w));
}

static ig_status update(repo *r, const char *root, int dir, int64_t now, uint64_t *version, ig_error *err)
{
    ig_tuf t = {0};
    ig_origin from = {fetch, r};
    *version = 0;
    ig_status st = ig_tuf_update(&t, dir, &from, ig_str_from(root), now, err);
    if (st == IG_OK) *version = t.targets->version;
    ig_tuf_fini(&t);
    return st;
}

static int fresh_dir(const char *name)
{
    wipe(at(name));
    (void)mkdir(at(name), 0700);
    return open(at(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* ------------------------------------------------------------------------------------------------ attacks */

/* Changes one byte of a served text behind the mark. */
static void tamper(repo *r, const char *name, const char *mark)
{
    char *p = strstr(get(r, name), mark);
    if (!p) abort();
    p[strlen(mark)] = p[strlen(mark)] == '1' ? '2' : '1';
}

static void set_text(repo *r, const char *name, const char *from, const char *to)
{
    char *text = strdup(get(r, name)), *p = strstr(text, from), *out = malloc(strlen(text) + strlen(to) + 1);
    if (!p) abort();
    (void)sprintf(out, "%.*s%s%s", (int)(p - text), text, to, p + strlen(from));
    put(r, name, out);
    free(text);
    free(out);
}

static world two(void)
{
    world w = good;
    for (int i = 1; i < 4; i++) w.v[i] = 2;
    return w;
}

static void a_tampered_timestamp(world *w, repo *r)
{
    build(w, r), tamper(r, "metadata/timestamp.json", "\"expires\":\"20");
}
static void a_tampered_snapshot(world *w, repo *r)
{
    build(w, r), tamper(r, "metadata/2.snapshot.json", "\"expires\":\"20");
}
static void a_tampered_snapshot_bare(world *w, repo *r)
{
    w->no_hashes = true;
    build(w, r), tamper(r, "metadata/2.snapshot.json", "\"expires\":\"20");
}
static void a_tampered_targets(world *w, repo *r)
{
    build(w, r), tamper(r, "metadata/2.targets.json", "\"sha256\":\"");
}
static void a_tampered_targets_bare(world *w, repo *r)
{
    w->no_hashes = true;
    build(w, r), tamper(r, "metadata/2.targets.json", "\"length\":");
}
static void a_tampered_root(world *w, repo *r)
{
    w->v[0] = 2;
    build(w, r), tamper(r, "metadata/2.root.json", "\"expires\":\"20");
}
static void a_key_timestamp(world *w, repo *r) { w->signers[1] = 4, build(w, r); }
static void a_key_snapshot(world *w, repo *r) { w->signers[2] = 2, build(w, r); }
static void a_key_targets(world *w, repo *r) { w->signers[3] = 1 | 2 | 4 | 32, build(w, r); }
static void a_key_root(world *w, repo *r) { w->v[0] = 2, w->signers[0] = 2, build(w, r); }
static void a_unsigned(world *w, repo *r) { w->signers[1] = 0, build(w, r); }
static void a_expired_timestamp(world *w, repo *r) { w->expires[1] = 0, build(w, r); }
static void a_expired_snapshot(world *w, repo *r) { w->expires[2] = 0, build(w, r); }
static void a_expired_targets(world *w, repo *r) { w->expires[3] = -1, build(w, r); }
static void a_expired_root(world *w, repo *r) { w->v[0] = 2, w->expires[0] = 0, build(w, r); }
static void a_replay_timestamp(world *w, repo *r)
{
    for (int i = 1; i < 4; i++) w->v[i] = 1; /* the client has seen 2 */
    w->expires[1]--;
    w->v[1] = 1;
    build(w, r);
}
static void a_replay_snapshot(world *w, repo *r) { w->v[1] = 3, w->v[2] = 1, w->v[3] = 1, build(w, r); }
static void a_replay_targets(world *w, repo *r) { w->v[1] = 3, w->v[2] = 3, w->v[3] = 1, build(w, r); }
static void a_mixed_targets(world *w, repo *r)
{
    w->no_hashes = true, w->v[1] = w->v[2] = 3, w->names[3] = 3; /* says 3, is 2 */
    build(w, r);
}
static void a_mixed_targets_hash(world *w, repo *r)
{
    w->v[1] = w->v[2] = w->v[3] = 3;
    build(w, r);
    world old = *w;
    old.expires[3] += 5;
    put_versioned(r, "targets", 3, targets_text(&old)); /* signed as well, of the same length, but not the one named */
}
static void a_mixed_snapshot(world *w, repo *r) { w->no_hashes = true, w->names[2] = 3, w->v[1] = 3, build(w, r); }
static void a_no_snapshot(world *w, repo *r)
{
    build(w, r);
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->name[i], "metadata/2.snapshot.json")) (void)snprintf(r->name[i], sizeof r->name[i], "gone");
}
static void a_threshold(world *w, repo *r)
{
    w->v[0] = 2, w->keys[3] = 8 | 16 | 32, w->threshold[3] = 2;
    build(w, r);
}
static void a_duplicate(world *w, repo *r) { w->twice = true, a_threshold(w, r); }
static void a_same_key_two_ids(world *w, repo *r)
{
    w->v[0] = 2, w->threshold[3] = 2, w->alias = true;
    build(w, r);
    char *text = targets_text(w), *sig = strstr(text, "\"sig\": \"");
    if (!sig) sig = strstr(text, "\"sig\":\"");
    char hex[129], more[400], key[100];
    (void)snprintf(hex, sizeof hex, "%.128s", strchr(sig + 6, '"') + 1);
    (void)snprintf(key, sizeof key, "[{\"keyid\":\"%s\"", K[3].id);
    (void)snprintf(more, sizeof more, "[{\"keyid\":\"another-id-of-the-same-key\",\"sig\":\"%s\"},{\"keyid\":\"%s\"",
                   hex, K[3].id);
    w->no_hashes = true;
    build(w, r);
    set_text(r, "metadata/2.targets.json", key, more);
    free(text);
}
static void a_root_skips(world *w, repo *r)
{
    w->v[0] = 3;
    char *text = root_text(w);
    w->v[0] = 1;
    build(w, r);
    put(r, "metadata/2.root.json", text);
    free(text);
}
static void a_root_again(world *w, repo *r)
{
    build(w, r);
    put(r, "metadata/2.root.json", get(r, "metadata/1.root.json"));
}
static void a_root_new_key_alone(world *w, repo *r) { w->v[0] = 2, w->keys[0] = 64, w->signers[0] = 64, build(w, r); }
static void a_root_old_key_alone(world *w, repo *r) { w->v[0] = 2, w->keys[0] = 64, w->signers[0] = 1, build(w, r); }
static void a_root_threshold(world *w, repo *r)
{
    w->v[0] = 2, w->keys[0] = 1 | 64, w->threshold[0] = 2, w->signers[0] = 1, build(w, r);
}
static void version_text(world *w, repo *r, const char *v)
{
    char to[64];
    build(w, r);
    (void)snprintf(to, sizeof to, "\"version\":%s,\"expires\"", v);
    set_text(r, "metadata/timestamp.json", "\"version\":2,\"expires\"", to);
}
static void a_version_zero(world *w, repo *r) { version_text(w, r, "0"); }
static void a_version_negative(world *w, repo *r) { version_text(w, r, "-1"); }
static void a_version_fraction(world *w, repo *r) { version_text(w, r, "2.0"); }
static void a_version_text(world *w, repo *r) { version_text(w, r, "\"2\""); }
static void a_version_large(world *w, repo *r) { version_text(w, r, "9007199254740993"); }
static void a_version_overflow(world *w, repo *r) { version_text(w, r, "18446744073709551618"); }
static void a_endless(repo *r, const char *name, size_t n)
{
    char *text = malloc(n + 1);
    memset(text, ' ', n);
    text[n] = 0;
    put(r, name, text);
    free(text);
}
static void a_endless_timestamp(world *w, repo *r) { build(w, r), a_endless(r, "metadata/timestamp.json", 20 << 10); }
static void a_endless_snapshot(world *w, repo *r) { build(w, r), a_endless(r, "metadata/2.snapshot.json", 9000); }
static void a_endless_targets(world *w, repo *r) { build(w, r), a_endless(r, "metadata/2.targets.json", 9000); }
static void a_endless_root(world *w, repo *r) { build(w, r), a_endless(r, "metadata/2.root.json", 600 << 10); }
static void a_type(world *w, repo *r)
{
    build(w, r), put(r, "metadata/timestamp.json", get(r, "metadata/2.snapshot.json"));
}
static void a_spec(world *w, repo *r)
{
    build(w, r), set_text(r, "metadata/timestamp.json", "\"spec_version\":\"1.", "\"spec_version\":\"2.");
}
static void a_twice_key(world *w, repo *r)
{
    build(w, r), set_text(r, "metadata/timestamp.json", "\"version\":2,", "\"version\":2,\"version\":2,");
}
static void a_deep(world *w, repo *r)
{
    char deep[400] = "";
    build(w, r);
    memset(deep, '[', 200);
    put(r, "metadata/timestamp.json", deep);
}
static void a_no_json(world *w, repo *r)
{
    build(w, r), put(r, "metadata/timestamp.json", "<html>captive portal</html>");
}
static void a_gone(world *w, repo *r) { build(w, r), repo_free(r); }
static void a_team_key(world *w, repo *r) { w->with_team = true, w->team_signers = 8, build(w, r); }
static void a_team_unnamed(world *w, repo *r) { w->with_team = true, w->team_gone = true, build(w, r); }

static void a_team_patterns(world *w, repo *r)
{
    json_t *j = head(w, IG_TUF_TARGETS, 2), *targets = json_object(), *paths = json_array();
    char name[32];
    for (int i = 0; i < 1100; i++) {
        (void)snprintf(name, sizeof name, "%d*", i);
        if (i < 1000) json_array_append_new(paths, json_string(name));
        json_object_set_new(targets, name, plain_target());
    }
    w->no_hashes = true, w->with_team = true;
    build(w, r);
    json_object_set_new(j, "targets", targets);
    json_object_set_new(j, "delegations",
                        json_pack("{s:o, s:[{s:s, s:o, s:i, s:b, s:o}]}", "keys", keys_of(16), "roles", "name", "team",
                                  "keyids", ids_of(16, false), "threshold", 1, "terminating", 0, "paths", paths));
    put_versioned(r, "targets", 2, forge(j, 8, false));
}

static const struct {
    const char *name;
    void (*make)(world *w, repo *r);
    ig_status want;
    const char *words[3]; /* role, expected, found */
} attacks[] = {
    {"arbitrary: timestamp altered", a_tampered_timestamp, IG_DENIED, {"timestamp", "signed by 0", "expected 1"}},
    {"arbitrary: snapshot altered", a_tampered_snapshot, IG_DENIED, {"snapshot", "SHA-256", "expected"}},
    {"arbitrary: snapshot altered, no hashes",
     a_tampered_snapshot_bare,
     IG_DENIED,
     {"snapshot", "signed by 0", "expected 1"}},
    {"arbitrary: targets altered", a_tampered_targets, IG_DENIED, {"targets", "SHA-256", "expected"}},
    {"arbitrary: targets altered, no hashes",
     a_tampered_targets_bare,
     IG_DENIED,
     {"targets", "signed by 0", "expected 1"}},
    {"arbitrary: root altered", a_tampered_root, IG_DENIED, {"root", "signed by 0", "expected 1"}},
    {"wrong key: timestamp by snapshot's", a_key_timestamp, IG_DENIED, {"timestamp", "signed by 0", "expected 1"}},
    {"wrong key: snapshot by timestamp's", a_key_snapshot, IG_DENIED, {"snapshot", "signed by 0", "expected 1"}},
    {"wrong key: targets by all others", a_key_targets, IG_DENIED, {"targets", "signed by 0", "expected 1"}},
    {"wrong key: root by timestamp's", a_key_root, IG_DENIED, {"root", "signed by 0", "trusted root"}},
    {"no signatures", a_unsigned, IG_DENIED, {"timestamp", "signed by 0", "expected 1"}},
    {"freeze: timestamp expires now",
     a_expired_timestamp,
     IG_DENIED,
     {"timestamp", "expired at 2026", "now it is 2026"}},
    {"freeze: snapshot expires now", a_expired_snapshot, IG_DENIED, {"snapshot", "expired at 2026", "now it is"}},
    {"freeze: targets expired", a_expired_targets, IG_DENIED, {"targets", "expired at 2026", "now it is"}},
    {"freeze: root expired", a_expired_root, IG_DENIED, {"root", "expired at 2026", "now it is"}},
    {"mix and match: targets of another version",
     a_mixed_targets,
     IG_DENIED,
     {"targets", "has version 2", "expected 3"}},
    {"mix and match: signed targets of another hash",
     a_mixed_targets_hash,
     IG_DENIED,
     {"targets", "SHA-256", "expected"}},
    {"mix and match: snapshot of another version",
     a_mixed_snapshot,
     IG_DENIED,
     {"snapshot", "has version 2", "expected 3"}},
    {"withheld: snapshot", a_no_snapshot, IG_NOT_FOUND, {"snapshot", "version 2", "not there"}},
    {"threshold: one of two", a_threshold, IG_DENIED, {"targets", "signed by 1", "expected 2"}},
    {"threshold: one signature twice", a_duplicate, IG_DENIED, {"targets", "signed by 1", "expected 2"}},
    {"threshold: one key by two ids", a_same_key_two_ids, IG_DENIED, {"targets", "signed by 1", "expected 2"}},
    {"root: a version is left out", a_root_skips, IG_DENIED, {"root", "version 3", "expected 2"}},
    {"root: the same again", a_root_again, IG_DENIED, {"root", "version 1", "expected 2"}},
    {"root: new key alone", a_root_new_key_alone, IG_DENIED, {"root", "signed by 0", "the trusted root"}},
    {"root: old key alone", a_root_old_key_alone, IG_DENIED, {"root", "signed by 0", "the new root itself"}},
    {"root: own threshold not met", a_root_threshold, IG_DENIED, {"root", "signed by 1", "expected 2"}},
    {"version 0", a_version_zero, IG_BAD_INPUT, {"timestamp", "version", "from 1"}},
    {"version -1", a_version_negative, IG_BAD_INPUT, {"timestamp", "version", "from 1"}},
    {"version with a fraction", a_version_fraction, IG_BAD_INPUT, {"timestamp", "version", "whole"}},
    {"version as a text", a_version_text, IG_BAD_INPUT, {"timestamp", "version", "whole"}},
    {"version above 2^53", a_version_large, IG_BAD_INPUT, {"timestamp", "version", "2^53"}},
    {"version above 2^64", a_version_overflow, IG_BAD_INPUT, {"timestamp", "", ""}},
    {"endless: timestamp", a_endless_timestamp, IG_TOO_LARGE, {"timestamp", "", ""}},
    {"endless: snapshot", a_endless_snapshot, IG_TOO_LARGE, {"snapshot", "more bytes", "expected"}},
    {"endless: targets", a_endless_targets, IG_TOO_LARGE, {"targets", "more bytes", "expected"}},
    {"endless: root", a_endless_root, IG_TOO_LARGE, {"root", "", ""}},
    {"another role's document", a_type, IG_BAD_INPUT, {"timestamp", "\"snapshot\"", "expected \"timestamp\""}},
    {"another specification", a_spec, IG_UNSUPPORTED, {"timestamp", "2.", "expected 1.0"}},
    {"a key twice", a_twice_key, IG_BAD_INPUT, {"timestamp", "duplicate", ""}},
    {"200 levels", a_deep, IG_TOO_LARGE, {"timestamp", "levels", ""}},
    {"no JSON", a_no_json, IG_BAD_INPUT, {"timestamp", "JSON", ""}},
    {"nothing there", a_gone, IG_NOT_FOUND, {"timestamp", "", ""}},
    {"delegation: signed by another key", a_team_key, IG_DENIED, {"team", "signed by 0", "expected 1"}},
    {"delegation: not in snapshot", a_team_unnamed, IG_DENIED, {"team", "snapshot version 2", "expected"}},
    {"delegation: too many patterns", a_team_patterns, IG_TOO_LARGE, {"targets", "patterns", "expected"}},
    {"rollback: timestamp", a_replay_timestamp, IG_DENIED, {"timestamp", "version 1", "expected 2 or later"}},
    {"rollback: snapshot", a_replay_snapshot, IG_DENIED, {"timestamp", "snapshot version 1", "expected 2 or later"}},
    {"rollback: targets",
     a_replay_targets,
     IG_DENIED,
     {"snapshot", "targets.json with version 1", "expected 2 or later"}},
};

static bool w_named_team(const char *name)
{
    return strstr(name, "signed by another key") || strstr(name, "too many patterns");
}

/* Every attack meets a client that is at version 1 (2 for replays); afterwards a good version 9 is taken. */
static void test_attacks(void)
{
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        bool replay = !strncmp(attacks[i].name, "rollback", 8);
        repo r = {0};
        world w = good, later = good, before = replay ? two() : good;
        ig_error e = {0};
        uint64_t v;
        char *root = root_text(&good);
        int dir = fresh_dir("trust");
        build(&before, &r);
        bool ok = tap_ok(update(&r, root, dir, NOW, &v, &e) == IG_OK && v == before.v[3], "%s: good at first %s",
                         attacks[i].name, e.text);
        w = two();
        e = (ig_error){0};
        attacks[i].make(&w, &r);
        ig_status st = update(&r, root, dir, NOW, &v, &e);
        ok = st == attacks[i].want && e.status == st;
        for (int k = 0; k < 3; k++) ok &= strstr(e.text, attacks[i].words[k]) != NULL;
        tap_ok(ok, "%s: refused%s%s", attacks[i].name, ok ? "" : ": ", ok ? "" : e.text);
        repo_free(&r);
        later.v[1] = later.v[2] = later.v[3] = 9;
        later.with_team = w_named_team(attacks[i].name); /* named once, named ever after */
        bool root_moved = !strcmp(attacks[i].name, "freeze: root expired") || strstr(attacks[i].name, "threshold: ");
        if (root_moved) { /* its new root was good and is kept */
            later.v[0] = 3;
            later.signers[0] = 1;
        }
        build(&later, &r);
        e = (ig_error){0};
        st = update(&r, root, dir, NOW, &v, &e);
        tap_ok(st == IG_OK && v == 9, "%s: the next good version is taken %s", attacks[i].name, e.text);
        repo_free(&r);
        free(root);
        close(dir);
    }
}

/* ------------------------------------------------------------------------------------------------ shapes */

/* One text of a good document replaced by another. */
static const struct {
    const char *file, *from, *to;
    ig_status want;
} shapes[] = {
    {"metadata/1.root.json", "\"keytype\":\"ed25519\"", "\"keytype\":\"rsa\"", IG_OK}, /* verifies nothing */
    {"metadata/1.root.json", "\"keytype\":\"ed25519\"", "\"keytype\":7", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"keyval\":{\"public\"", "\"keyval\":{\"private\"", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"threshold\":1", "\"threshold\":0", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"threshold\":1", "\"threshold\":-1", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"snapshot\":{", "\"snapshots\":{", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"consistent_snapshot\":true", "\"consistent_snapshot\":1", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"consistent_snapshot\":true", "\"x\":1", IG_OK},
    {"metadata/1.root.json", "\"signatures\":[", "\"signatures\":[{},", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"signatures\"", "\"signature\"", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"signed\"", "\"sign\"", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"keys\":{", "\"keys\":[],\"x\":{", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"spec_version\":\"1.0.31\"", "\"spec_version\":1", IG_BAD_INPUT},
    {"metadata/1.root.json", "\"_type\":\"root\"", "\"_type\":\"Root\"", IG_BAD_INPUT},
    {"metadata/timestamp.json", "\"snapshot.json\"", "\"targets.json\"", IG_BAD_INPUT},
    {"metadata/timestamp.json", "\"snapshot.json\"", "\"x.json\":{\"version\":1},\"snapshot.json\"", IG_TOO_LARGE},
    {"metadata/timestamp.json", "\"length\":", "\"length\":-", IG_BAD_INPUT},
    {"metadata/timestamp.json", "\"sha256\":\"", "\"sha256\":\"0", IG_BAD_INPUT},
    {"metadata/timestamp.json", "\"sha256\"", "\"md5\"", IG_BAD_INPUT},
    {"metadata/timestamp.json", "\"meta\":{", "\"meta\":[],\"x\":{", IG_BAD_INPUT},
    {"metadata/timestamp.json", "\"expires\":\"2", "\"expires\":\"x", IG_BAD_INPUT},
    {"metadata/timestamp.json", "\"expires\":\"2", "\"expire\":\"2", IG_BAD_INPUT},
    {"metadata/1.snapshot.json", "\"team.json\"", "\"../team.json\"", IG_BAD_INPUT},
    {"metadata/1.snapshot.json", "\"team.json\"", "\"team\"", IG_BAD_INPUT},
    {"metadata/1.snapshot.json", "\"team.json\":{\"version\":1", "\"team.json\":{\"version\":0", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"a.json\"", "\"../a.json\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"a.json\"", "\"/a.json\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"a.json\"", "\"\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"length\":3", "\"length\":\"3\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"length\":3", "\"length\":3,\"custom\":[]", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"length\":3", "\"length\":3,\"custom\":{\"x\":0.5}", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"hashes\"", "\"hash\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"targets\":{", "\"targets\":[],\"x\":{", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"name\":\"team\"", "\"name\":\"root\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"name\":\"team\"", "\"name\":\"a/b\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"terminating\":false", "\"terminating\":0", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"paths\"", "\"path\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"paths\"", "\"path_hash_prefixes\":[\"0\"],\"paths\"", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"paths\":[\"team/*", "\"paths\":[\"[a-z]*", IG_UNSUPPORTED},
    {"metadata/1.targets.json", "\"paths\":[\"team/*", "\"paths\":[5,\"team/*", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"delegations\":{", "\"delegations\":{\"succinct_roles\":{},", IG_UNSUPPORTED},
    {"metadata/1.targets.json", "\"delegations\":{\"keys\":{", "\"delegations\":{\"keys\":[],\"x\":{", IG_BAD_INPUT},
    {"metadata/1.targets.json", "\"roles\":[{", "\"roles\":7,\"x\":[{", IG_BAD_INPUT},
};

static void test_shapes(void)
{
    repo good_repo = {0};
    world w = good;
    w.with_team = true;
    build(&w, &good_repo);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        repo r = {0};
        ig_error e = {0};
        ig_doc *d = NULL;
        ig_tuf_type type = IG_TUF_TARGETS;
        for (int k = 0; k < IG_TUF_TYPES; k++)
            if (strstr(shapes[i].file, ig_tuf_names[k])) type = (ig_tuf_type)k;
        put(&r, shapes[i].file, get(&good_repo, shapes[i].file));
        set_text(&r, shapes[i].file, shapes[i].from, shapes[i].to);
        ig_status st = ig_doc_read(type, NULL, ig_str_from(r.text[0]), &d, &e);
        bool ok = st == shapes[i].want && !d == (st != IG_OK) && (st == IG_OK || strstr(e.text, ig_tuf_names[type]));
        tap_ok(ok, "%s with %s: %s", ig_tuf_names[type], shapes[i].to, st == IG_OK ? "taken" : e.text);
        ig_doc_free(d);
        repo_free(&r);
    }
    repo_free(&good_repo);
}

/* ------------------------------------------------------------------------------------------------ the workflow */

static void test_rotation(void)
{
    repo r = {0};
    world w = good;
    ig_error e = {0};
    uint64_t v;
    char *root = root_text(&w);
    int dir = fresh_dir("trust");
    build(&w, &r);
    (void)update(&r, root, dir, NOW, &v, &e);
    for (unsigned i = 0; i < 4; i++) { /* root keys 1, 16, 32, 64, 128; in between one has expired */
        unsigned old = w.signers[0];
        w.v[0]++;
        w.keys[0] = w.signers[0] = 16u << i;
        w.also_root = old;
        w.expires[0] = i == 1 ? -DAY : 365 * DAY;
        put_versioned(&r, "root", w.v[0], root_text(&w));
    }
    tap_ok(update(&r, root, dir, NOW, &v, &e) == IG_OK, "four rotations of root at once, one of them expired %s",
           e.text);
    tap_ok(faccessat(dir, "5.root.json", F_OK, 0) == 0, "every root is kept");
    /* a timestamp far in the future, by a stolen key; then the key is replaced */
    w.also_root = 0;
    w.v[1] = 1000000;
    build(&w, &r);
    tap_ok(update(&r, root, dir, NOW, &v, &e) == IG_OK, "fast forward: version 1000000 of timestamp");
    w.v[1] = 3;
    build(&w, &r);
    tap_ok(update(&r, root, dir, NOW, &v, &e) == IG_DENIED, "fast forward: version 3 is a rollback");
    w.v[0]++;
    w.keys[1] = w.signers[1] = 2 << 4;
    w.also_root = 0;
    build(&w, &r);
    e = (ig_error){0};
    tap_ok(update(&r, root, dir, NOW, &v, &e) == IG_OK, "fast forward: undone by new keys of timestamp %s", e.text);
    /* the same for snapshot */
    w.v[1]++, w.v[2] = 500000;
    build(&w, &r);
    (void)update(&r, root, dir, NOW, &v, &e);
    w.v[1]++, w.v[2] = 4, w.v[0]++, w.keys[2] = w.signers[2] = 64;
    build(&w, &r);
    e = (ig_error){0};
    tap_ok(update(&r, root, dir, NOW, &v, &e) == IG_OK, "fast forward: undone by new keys of snapshot %s", e.text);
    tap_ok(update(&r, root, dir, NOW + 31 * DAY, &v, &e) == IG_DENIED && strstr(e.text, "timestamp"),
           "freeze: the same timestamp a month later");
    char *other = NULL;
    w = good;
    w.keys[0] = w.signers[0] = 32;
    other = root_text(&w);
    tap_ok(update(&r, other, dir, NOW, &v, &e) == IG_DENIED && strstr(e.text, "root"), "another root file is refused");
    free(other);
    free(root);
    repo_free(&r);
    close(dir);
}

static void test_delegations(void)
{
    repo r = {0};
    world w = good;
    ig_error e = {0};
    ig_tuf t = {0};
    const json_t *target;
    char *root = root_text(&w);
    ig_origin from = {fetch, &r};
    w.with_team = true;
    build(&w, &r);
    ig_status st = ig_tuf_update(&t, -1, &from, ig_str_from(root), NOW, &e);
    tap_ok(st == IG_OK && t.n_delegated == 1, "a delegated role is read %s", e.text);
    if (st == IG_OK) {
        tap_ok(ig_tuf_find(&t, "team/x.json", &target) == t.delegated[0], "it answers for its paths");
        tap_ok(!ig_tuf_find(&t, "b.json", &target), "it does not answer for others");
        tap_ok(ig_tuf_find(&t, "a.json", &target) == t.targets, "targets answers for its own");
    }
    ig_tuf_fini(&t);
    w.model = "team/x.json";
    w.v[1] = w.v[2] = w.v[3] = 2;
    build(&w, &r);
    st = ig_tuf_update(&t, -1, &from, ig_str_from(root), NOW, &e);
    tap_ok(st == IG_OK && ig_tuf_find(&t, "team/x.json", &target) == t.targets, "whoever delegates goes first");
    ig_tuf_fini(&t);
    free(root);
    repo_free(&r);
    static const struct {
        const char *pattern, *path;
        bool fits;
    } paths[] = {{"*", "a.json", true},
                 {"*", "a/b", false},
                 {"team/*", "team/x.json", true},
                 {"team/*", "team/x/y", false},
                 {"team/*", "teams/x", false},
                 {"t?am/*.json", "team/x.json", true},
                 {"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false},
                 {"a", "a", true},
                 {"a", "ab", false},
                 {"a/*/c", "a/b/c", true},
                 {"", "a", false}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        tap_ok(ig_tuf_path_fits(paths[i].pattern, paths[i].path) == paths[i].fits, "\"%s\" %s \"%s\"", paths[i].pattern,
               paths[i].fits ? "fits" : "does not fit", paths[i].path);
}

/* ------------------------------------------------------------------------------------------------ small parts */

static void test_parts(void)
{
    static const struct {
        const char *text;
        int64_t t; /* -1: refused */
    } times[] = {{"1970-01-01T00:00:00Z", 0},
                 {"2026-11-21T10:50:22Z", 1795258222},
                 {"2000-02-29T12:00:00Z", 951825600},
                 {"9999-12-31T23:59:59Z", 253402300799},
                 {"2026-02-29T00:00:00Z", -1},
                 {"2026-13-01T00:00:00Z", -1},
                 {"2026-11-21T24:00:00Z", -1},
                 {"2026-11-21 10:50:22Z", -1},
                 {"2026-11-21T10:50:22", -1},
                 {"2026-11-21T10:50:22+00:00", -1},
                 {"1969-12-31T23:59:59Z", -1},
                 {"2026-11-21T10:50:22.5Z", -1},
                 {"", -1}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t t = -1;
        char back[24];
        bool ok = ig_time_read(times[i].text, &t) == (times[i].t >= 0) && (times[i].t < 0 || t == times[i].t);
        ig_time_write(times[i].t, back);
        tap_ok(ok && (times[i].t < 0 || !strcmp(back, times[i].text)), "time \"%s\"", times[i].text);
    }
    static const struct {
        const char *in, *out; /* NULL: refused */
    } canon[] = {
        {"{\"b\":1,\"a\":[true,null,\"x\"]}", "{\"a\":[true,null,\"x\"],\"b\":1}"},
        {"{\"\\u00e9\":\"\\u20ac\",\"z\":\"a\\nb\\\"\\\\\"}", "{\"z\":\"a\nb\\\"\\\\\",\"\xc3\xa9\":\"\xe2\x82\xac\"}"},
        {"[-5, 9007199254740993]", "[-5,9007199254740993]"},
        {"{}", "{}"},
        {"[1.5]", NULL}};
    for (size_t i = 0; i < sizeof canon / sizeof *canon; i++) {
        json_t *j = json_loads(canon[i].in, 0, NULL);
        ig_buf out;
        ig_status st = ig_canon_write("test", j, &out, NULL);
        bool ok = canon[i].out
                      ? st == IG_OK && out.len == strlen(canon[i].out) && !memcmp(out.ptr, canon[i].out, out.len)
                      : st == IG_BAD_INPUT;
        tap_ok(ok, "canonical form %zu", i);
        if (st == IG_OK) ig_buf_fini(&out);
        json_decref(j);
    }
    tap_ok(ig_spdx_known("Apache-2.0") && ig_spdx_known("LicenseRef-acme") && !ig_spdx_known("apache") &&
               !ig_spdx_known(""),
           "licences of SPDX");
}

static void test_keys(void)
{
    ig_tuf_key k, back = {0};
    ig_error e;
    unsigned char sig[IG_SIGNATURE_BYTES];
    char plain[200], locked[200];
    (void)snprintf(plain, sizeof plain, "%s", at("plain.pem"));
    (void)snprintf(locked, sizeof locked, "%s", at("locked.pem"));
    (void)ig_key_generate(&k, NULL);
    tap_ok(ig_key_save(&k, plain, NULL, &e) == IG_OK && ig_key_save(&k, locked, "secret", &e) == IG_OK,
           "keys are written");
    struct stat sb;
    tap_ok(stat(plain, &sb) == 0 && (sb.st_mode & 0777) == 0600, "with mode 600");
    tap_ok(ig_key_save(&k, plain, NULL, &e) != IG_OK, "and never over another file");
    tap_ok(ig_key_load(plain, NULL, &back, &e) == IG_OK && !strcmp(back.id, k.id) && back.private, "and read");
    ig_key_fini(&back);
    tap_ok(ig_key_load(locked, "secret", &back, &e) == IG_OK && !strcmp(back.id, k.id), "an encrypted one, too");
    tap_ok(ig_key_sign(&back, "abc", 3, sig, &e) == IG_OK && ig_key_verify(k.public, "abc", 3, sig), "which signs");
    sig[10] ^= 1;
    tap_ok(!ig_key_verify(k.public, "abc", 3, sig) && !ig_key_verify(k.public, "abd", 3, sig), "what is altered fails");
    ig_key_fini(&back);
    tap_ok(ig_key_load(locked, "wrong", &back, &e) == IG_DENIED, "a wrong passphrase is refused");
    tap_ok(ig_key_load(locked, NULL, &back, &e) == IG_DENIED, "none is refused, and nobody is asked");
    (void)chmod(plain, 0644);
    tap_ok(ig_key_load(plain, NULL, &back, &e) == IG_DENIED && strstr(e.text, "chmod 600"),
           "a key that others can read is refused");
    size_t n;
    char *text = tap_read(locked, &n);
    tap_ok(text && strstr(text, "BEGIN ENCRYPTED PRIVATE KEY"), "an encrypted key is PKCS#8");
    free(text);
    ig_key_fini(&k);
}

/* ------------------------------------------------------------------------------------------------ authors and clients
 */

static const char hex_a[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; /* of "abc" */

static ig_status add_model(ig_author *a, const char *name, const char *licence, const char *origin, const char *role,
                           ig_error *e)
{
    ig_catalogue_file f = {"weights", "abc.gguf", hex_a, 3};
    ig_catalogue_target t = {.name = name,
                             .format = "gguf",
                             .licence = licence,
                             .publisher = "acme",
                             .parameters = "{\"temperature\":0.5}",
                             .system = "be\nkind",
                             .origins = {&origin, origin ? 1 : 0},
                             .files = &f,
                             .n_files = 1};
    bool changed;
    return ig_author_add(a, &t, role, &changed, e);
}

static ig_author_options desk = {.now_s = NOW};

/* A new catalogue in the folder with one model, published to OUT. */
static ig_status make_catalogue(const char *dir, const char *out, ig_error *e)
{
    static const char *const everyone[] = {"eng"};
    ig_catalogue_rule r = {.state = IG_ASSIGNED_REQUIRED, .groups = {everyone, 1}};
    ig_author *a = NULL;
    char path[220];
    bool changed;
    (void)snprintf(path, sizeof path, "%s", at("abc.gguf"));
    FILE *f = fopen(path, "w");
    if (f) (void)fputs("abc", f), (void)fclose(f);
    IG_TRY(ig_author_init(dir, &desk, true, e));
    IG_TRY(ig_author_open(dir, &desk, &a, e));
    ig_status st = add_model(a, "team/abc:v1", "MIT", path, NULL, e);
    if (st == IG_OK) st = ig_author_rule(a, "team/abc:v1", &r, &changed, e);
    if (st == IG_OK) st = ig_author_sign(a, NULL, NULL, e);
    if (st == IG_OK) st = ig_author_publish(a, out, NULL, NULL, e);
    ig_author_close(a);
    return st;
}

/* One more model, signed and published. */
static ig_status publish_more(const char *dir, const char *out, const char *name, int64_t now, ig_error *e)
{
    ig_author *a;
    ig_author_options o = {.now_s = now};
    IG_TRY(ig_author_open(dir, &o, &a, e));
    ig_status st = name ? add_model(a, name, "MIT", NULL, NULL, e) : IG_OK;
    if (st == IG_OK) st = ig_author_sign(a, NULL, NULL, e);
    if (st == IG_OK) st = ig_author_publish(a, out, NULL, NULL, e);
    ig_author_close(a);
    return st;
}

static ig_store *client(void)
{
    ig_store *s = NULL;
    ig_store_options o = {.reserve_bytes = 1};
    (void)ig_store_open(at("store"), &o, &s, NULL);
    return s;
}

static ig_status sync_at(ig_store *s, int64_t now, bool first, ig_catalogue **out, ig_error *e)
{
    char root[220], out_dir[200];
    (void)snprintf(root, sizeof root, "%s/metadata/1.root.json", at("out"));
    (void)snprintf(out_dir, sizeof out_dir, "%s", at("out"));
    ig_catalogue_sync_options o = {.now_s = now, .source = first ? out_dir : NULL, .root_file = first ? root : NULL};
    ig_catalogue_sync_result r;
    return ig_catalogue_sync(s, &o, &r, out, e);
}

static void test_publish(void)
{
    char dir[200], out[200];
    ig_error e = {0};
    ig_catalogue *c = NULL;
    ig_author *a;
    (void)snprintf(dir, sizeof dir, "%s", at("cat"));
    (void)snprintf(out, sizeof out, "%s", at("out"));
    tap_ok(make_catalogue(dir, out, &e) == IG_OK, "a catalogue is made and published %s", e.text);
    tap_ok(ig_author_init(dir, &desk, true, &e) == IG_BAD_INPUT, "init refuses a folder that is in use");
    ig_store *s = client();
    tap_ok(ig_catalogue_open(s, NULL, &c, &e) == IG_NOT_FOUND, "before the first sync there is none");
    tap_ok(sync_at(s, NOW, true, &c, &e) == IG_OK && c && c->n_targets == 1 && c->deny_by_default, "a client syncs %s",
           e.text);
    if (c) {
        const ig_catalogue_target *t = ig_catalogue_find(c, "TEAM/abc:v1");
        bool changed;
        tap_ok(t && t->size == 3 && !strcmp(t->licence, "MIT") && t->system && !strcmp(t->system, "be\nkind"),
               "and reads the model");
        tap_ok(ig_catalogue_pull(s, t, NULL, &changed, &e) == IG_OK && changed, "and pulls it %s", e.text);
        ig_manifest *m = NULL;
        tap_ok(ig_store_find(s, "team/abc:v1", &m, &e) == IG_OK && !strcmp(m->digest.hex, t->digest) &&
                   !strcmp(m->system, "be\nkind"),
               "with the digest that was signed");
        ig_manifest_free(m);
        ig_store_list list;
        tap_ok(ig_store_models(s, &list, &e) == IG_OK && list.n == 1, "under no other name");
        ig_store_list_free(&list);
        tap_ok(ig_catalogue_pull(s, t, NULL, &changed, &e) == IG_OK && !changed,
               "a second time there is nothing to do");
    }
    ig_catalogue_free(c);
    /* a damaged copy is mended, a later one is not overwritten */
    char target[300], before[300];
    (void)snprintf(target, sizeof target, "%s/metadata/1.targets.json", out);
    int damaged = open(target, O_RDWR);
    tap_ok(damaged >= 0 && pwrite(damaged, "#", 1, 50) == 1, "a published file is damaged");
    close(damaged);
    ig_catalogue_sync_options v = {.source = out, .now_s = NOW};
    tap_ok(ig_catalogue_verify(&v, &c, &e) == IG_DENIED && publish_more(dir, out, NULL, NOW, &e) == IG_OK &&
               ig_catalogue_verify(&v, &c, &e) == IG_OK,
           "publishing again mends it %s", e.text);
    ig_catalogue_free(c);
    c = NULL;
    (void)snprintf(before, sizeof before, "%s", at("cat.old"));
    (void)snprintf(target, sizeof target, "cp -r %s %s && cp -r %s.keys %s.keys", dir, before, dir, before);
    if (system(target) != 0) abort();
    tap_ok(publish_more(dir, out, "z:1", NOW, &e) == IG_OK, "a later version");
    tap_ok(publish_more(before, out, NULL, NOW, &e) == IG_DENIED && strstr(e.text, "timestamp version 2"),
           "an old copy of the working folder does not go over it");
    wipe(before), wipe(at("cat.old.keys"));
    /* an origin that has something else */
    FILE *f = fopen(at("other.gguf"), "w");
    if (f) (void)fputs("xyz", f), (void)fclose(f);
    (void)ig_author_open(dir, &desk, &a, &e);
    char other[200];
    (void)snprintf(other, sizeof other, "%s", at("other.gguf"));
    ig_catalogue_file file = {"weights", "n.gguf", "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34",
                              3};
    const char *origin = other;
    ig_catalogue_target evil = {
        .name = "evil:1", .format = "gguf", .origins = {&origin, 1}, .files = &file, .n_files = 1};
    bool changed;
    ig_status st = ig_author_add(a, &evil, NULL, &changed, &e);
    if (st == IG_OK) st = ig_author_sign(a, NULL, NULL, &e);
    if (st == IG_OK) st = ig_author_publish(a, out, NULL, NULL, &e);
    ig_author_close(a);
    tap_ok(st == IG_OK && sync_at(s, NOW, false, &c, &e) == IG_OK && c->n_targets == 3, "a second version");
    if (c) {
        tap_ok(ig_catalogue_pull(s, ig_catalogue_find(c, "evil:1"), NULL, &changed, &e) == IG_DENIED &&
                   strstr(e.text, "cb8379ac"),
               "an origin with another file is refused");
        ig_manifest *m = NULL;
        tap_ok(ig_store_find(s, "evil:1", &m, &e) == IG_NOT_FOUND, "and leaves no name");
        ig_catalogue_free(c);
    }
    /* local damage */
    int fd = open(at("store/catalogues/default/active.json"), O_RDWR);
    tap_ok(fd >= 0 && pwrite(fd, "#", 1, 700) == 1 && ig_catalogue_open(s, NULL, &c, &e) != IG_OK,
           "a damaged state is seen");
    close(fd);
    tap_ok(ig_catalogue_open(s, "../x", &c, &e) == IG_BAD_INPUT, "names of catalogues are no paths");
    ig_store_close(s);
    wipe(at("store"));
    wipe(at("cat"));
    wipe(at("cat.keys"));
    wipe(at("out"));
}

static void test_thresholds(void)
{
    char dir[200], k1[200], k2[200], pub[300];
    ig_error e = {0};
    ig_tuf_key a_key, b_key;
    ig_author *a = NULL;
    (void)snprintf(dir, sizeof dir, "%s", at("cat"));
    (void)snprintf(k1, sizeof k1, "%s", at("cat.keys/one.pem"));
    (void)mkdir(at("second"), 0700);
    (void)snprintf(k2, sizeof k2, "%s", at("second/two.pem"));
    (void)snprintf(pub, sizeof pub, "openssl pkey -in %s -pubout -out %s.pub", k2, at("two"));
    tap_ok(make_catalogue(dir, NULL, &e) == IG_OK, "a catalogue for two signers");
    (void)ig_key_generate(&a_key, NULL), (void)ig_key_generate(&b_key, NULL);
    (void)ig_key_save(&a_key, k1, NULL, NULL), (void)ig_key_save(&b_key, k2, NULL, NULL);
    char second[220];
    (void)snprintf(second, sizeof second, "%s.pub", at("two"));
    bool have = system(pub) == 0;
    const char *files[] = {k1, have ? second : k2};
    ig_status st = ig_author_open(dir, &desk, &a, &e);
    tap_ok(st == IG_OK && ig_author_rotate(a, "targets", (ig_words){files, 2}, 3, &e) == IG_BAD_INPUT,
           "three of two keys are refused");
    tap_ok(ig_author_rotate(a, "targets", (ig_words){files, 2}, 2, &e) == IG_OK,
           "targets needs two keys, one known by its public part %s", e.text);
    tap_ok(ig_author_sign(a, NULL, NULL, &e) == IG_OK, "the first signs %s", e.text);
    st = ig_author_publish(a, NULL, NULL, NULL, &e);
    tap_ok(st == IG_DENIED && strstr(e.text, "signed by 1") && strstr(e.text, "expected 2"), "one is not enough");
    ig_author_close(a);
    ig_author_options o = {.now_s = NOW, .keys = at("second")};
    st = ig_author_open(dir, &o, &a, &e);
    tap_ok(st == IG_OK && ig_author_sign(a, NULL, NULL, &e) == IG_OK, "the second signs elsewhere");
    ig_author_close(a);
    (void)ig_author_open(dir, &desk, &a, &e);
    tap_ok(ig_author_publish(a, NULL, NULL, NULL, &e) == IG_OK, "two are enough %s", e.text);
    ig_author_close(a);
    for (int i = 0; i < 3; i++) {
        static const char *const roles[] = {"timestamp", "snapshot", "root"};
        (void)ig_author_open(dir, &desk, &a, &e);
        st = ig_author_rotate(a, roles[i], (ig_words){0}, 0, &e);
        if (st == IG_OK) st = ig_author_sign(a, NULL, NULL, &e);
        if (st == IG_OK) st = ig_author_publish(a, NULL, NULL, NULL, &e);
        ig_author_close(a);
        tap_ok(st == IG_OK, "%s has new keys %s", roles[i], st == IG_OK ? "" : e.text);
    }
    ig_catalogue *c = NULL;
    char published[220];
    (void)snprintf(published, sizeof published, "%s/published", dir);
    ig_catalogue_sync_options v = {.source = published, .now_s = NOW};
    tap_ok(ig_catalogue_verify(&v, &c, &e) == IG_OK && c->root == 5, "and all of it verifies from the first root on %s",
           e.text);
    ig_catalogue_free(c);
    ig_key_fini(&a_key), ig_key_fini(&b_key);
    wipe(at("cat")), wipe(at("cat.keys")), wipe(at("second"));
}

/* Whoever publishes has no key of root and targets: their renewal must not hold up the timestamp while they are good.
 */
static void test_renewal(void)
{
    char dir[200], out[200], stamp[250], to[250];
    ig_error e = {0};
    ig_catalogue *c = NULL;
    (void)snprintf(dir, sizeof dir, "%s", at("cat"));
    (void)snprintf(out, sizeof out, "%s", at("out"));
    (void)make_catalogue(dir, out, &e);
    int64_t then = NOW + 150 * DAY; /* targets have 30 of 180 days left, timestamp and snapshot none */
    ig_author_options o = {.now_s = then, .keys = at("online")};
    (void)mkdir(at("online"), 0700);
    (void)snprintf(stamp, sizeof stamp, "cp %s.keys/timestamp-*.pem %s.keys/snapshot-*.pem %s/", dir, dir,
                   at("online"));
    if (system(stamp) != 0) abort();
    ig_author *a = NULL;
    ig_catalogue_sync_options v = {.source = out, .now_s = then};
    tap_ok(ig_catalogue_verify(&v, &c, &e) == IG_DENIED && strstr(e.text, "timestamp"),
           "renewal: after 150 days it is frozen");
    ig_status st = ig_author_open(dir, &o, &a, &e);
    if (st == IG_OK) st = ig_author_publish(a, out, NULL, NULL, &e);
    tap_ok(st == IG_OK && ig_catalogue_verify(&v, &c, &e) == IG_OK && c->timestamp == 2 && c->version == 1,
           "renewal: two keys are enough for a new timestamp %s", e.text);
    ig_catalogue_free(c);
    st = ig_author_sign(a, NULL, NULL, &e);
    (void)snprintf(to, sizeof to, "%s/staged/targets.json", dir);
    tap_ok(st == IG_OK && access(to, F_OK) == 0, "renewal: targets are due, and staged");
    tap_ok(ig_author_publish(a, out, NULL, NULL, &e) == IG_OK && ig_catalogue_verify(&v, &c, &e) == IG_OK &&
               c->version == 1,
           "renewal: not signed yet, the published ones stay %s", e.text);
    tap_ok(access(to, F_OK) == 0, "renewal: and what is staged waits on");
    ig_catalogue_free(c);
    ig_author_close(a);
    tap_ok(publish_more(dir, out, NULL, then, &e) == IG_OK && ig_catalogue_verify(&v, &c, &e) == IG_OK &&
               c->version == 2,
           "renewal: signed, they follow %s", e.text);
    ig_catalogue_free(c);
    wipe(dir), wipe(at("cat.keys")), wipe(out), wipe(at("online"));
}

/* Serves one byte each 100 ms. */
static pid_t trickle(int *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(s, (struct sockaddr *)&in, n) < 0 || listen(s, 8) < 0 || getsockname(s, (struct sockaddr *)&in, &n) < 0)
        abort();
    *port = ntohs(in.sin_port);
    pid_t child = fork();
    if (child != 0) {
        close(s);
        return child;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(30);
    for (;;) {
        static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n";
        int fd = accept(s, NULL, NULL);
        bool open = fd >= 0 && write(fd, head, sizeof head - 1) > 0;
        while (open) {
            (void)usleep(100000);
            open = write(fd, " ", 1) == 1;
        }
        if (fd >= 0) close(fd);
    }
}

static bool never(void *ctx)
{
    *(bool *)ctx = true;
    return false;
}

static void test_slow(void)
{
    char url[64], root[200];
    ig_error e = {0};
    ig_catalogue *c = NULL;
    int port;
    pid_t child = trickle(&port);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
    (void)snprintf(root, sizeof root, "%s", at("root.json"));
    char *text = root_text(&good);
    FILE *f = fopen(root, "w");
    if (f) (void)fputs(text, f), (void)fclose(f);
    free(text);
    (void)setenv("no_proxy", "*", 1);
    ig_catalogue_sync_options o = {.source = url, .root_file = root, .now_s = NOW, .document_s = 1};
    uint64_t start = ig_now_ns();
    ig_status st = ig_catalogue_verify(&o, &c, &e);
    if (st == IG_UNSUPPORTED)
        tap_skip("slow retrieval", "no libcurl");
    else
        tap_ok(st == IG_IO && strstr(e.text, "too slowly") && ig_now_ns() - start < UINT64_C(20000000000),
               "slow retrieval: ten bytes a second are given up %s", e.text);
    o.document_s = 30;
    o.total_s = 1;
    start = ig_now_ns();
    st = st == IG_UNSUPPORTED ? st : ig_catalogue_verify(&o, &c, &e);
    if (st != IG_UNSUPPORTED)
        tap_ok(st == IG_IO && strstr(e.text, "whole catalogue within 1 s") &&
                   ig_now_ns() - start < UINT64_C(20000000000),
               "slow retrieval: all documents have one limit together %s", e.text);
    bool asked = false;
    o.go_on = never;
    o.ctx = &asked;
    st = st == IG_UNSUPPORTED ? st : ig_catalogue_verify(&o, &c, &e);
    if (st != IG_UNSUPPORTED)
        tap_ok(st == IG_CANCELLED && asked && strstr(e.text, "stopped"), "slow retrieval: it can be stopped %s",
               e.text);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

static void test_clock(void)
{
    char dir[200], out[200];
    ig_error e = {0};
    ig_catalogue *c = NULL;
    (void)snprintf(dir, sizeof dir, "%s", at("cat"));
    (void)snprintf(out, sizeof out, "%s", at("out"));
    (void)make_catalogue(dir, out, &e);
    ig_store *s = client();
    tap_ok(sync_at(s, NOW + 9 * DAY, true, NULL, &e) == IG_OK, "M14: synced on the ninth day %s", e.text);
    tap_ok(sync_at(s, NOW + 3653 * DAY, false, NULL, &e) == IG_DENIED && strstr(e.text, "expired") &&
               strstr(e.text, "stays in force"),
           "M14: ten years later everything has expired");
    tap_ok(ig_catalogue_open(s, NULL, &c, &e) == IG_OK && c->n_targets == 1 && c->expires_s == NOW + 30 * DAY,
           "M14: the last good state stays, with its expiry");
    ig_catalogue_free(c);
    tap_ok(sync_at(s, NOW + 10 * DAY, false, NULL, &e) == IG_OK, "M14: with the clock right again all is well");
    tap_ok(sync_at(s, NOW - 3653 * DAY, false, NULL, &e) == IG_OK, "M14: a clock ten years behind does no harm");
    /* what had expired before the last good update stays expired, however the clock is turned back */
    (void)publish_more(dir, out, "b:1", NOW - 25 * DAY, &e);
    tap_ok(sync_at(s, NOW - 20 * DAY, false, NULL, &e) == IG_DENIED && strstr(e.text, "expired"),
           "M14: nor does it revive what has expired");
    ig_store_close(s);
    wipe(at("store")), wipe(dir), wipe(at("cat.keys")), wipe(out);
}

/* ------------------------------------------------------------------------------------------------ faults */

static const struct {
    ig_fault_kind kind;
    const char *name;
} kinds[] = {{IG_FAULT_OPEN, "open"}, {IG_FAULT_READ, "read"},     {IG_FAULT_WRITE, "write"},
             {IG_FAULT_SYNC, "sync"}, {IG_FAULT_RENAME, "rename"}, {IG_FAULT_ALLOC, "allocation"}};

/* In force: version 1 or 2, whole; 0 otherwise. */
static uint64_t in_force(ig_store *s)
{
    ig_catalogue *c = NULL;
    uint64_t v = ig_catalogue_open(s, NULL, &c, NULL) == IG_OK && c->n_targets == c->version ? c->version : 0;
    ig_catalogue_free(c);
    return v;
}

static void copy_tree(const char *from, const char *to)
{
    char cmd[500];
    wipe(to);
    (void)snprintf(cmd, sizeof cmd, "cp -r %s %s", from, to);
    if (system(cmd) != 0) abort();
}

/* One sync with call k of a kind failing or killing; false: there were fewer calls. */
static bool sync_with_fault(ig_fault_kind kind, uint64_t k, int what, bool *reached)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        ig_error e = {0};
        ig_store *s = client();
        ig_fault_set(kind, k, what, false);
        ig_status st = sync_at(s, NOW, false, NULL, &e);
        bool hit = ig_fault_calls(kind) >= k;
        ig_fault_reset();
        _exit(st != IG_OK && (!e.text[0] || st == IG_BUG) ? 3 : hit ? 1 : 0);
    }
    (void)waitpid(child, &status, 0);
    *reached = WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 1;
    return WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) != 3;
}

static void walk(int what, const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (what == ENOSPC && kinds[i].kind != IG_FAULT_WRITE) continue;
        if (what == IG_FAULT_KILL && (kinds[i].kind == IG_FAULT_ALLOC || kinds[i].kind == IG_FAULT_READ)) continue;
        if (what == EIO && kinds[i].kind == IG_FAULT_ALLOC) continue;
        if (what == ENOMEM && kinds[i].kind != IG_FAULT_ALLOC) continue;
        uint64_t step = kinds[i].kind == IG_FAULT_ALLOC ? 7 : 1, n = 0;
        bool reached = true, ok = true;
        for (uint64_t k = 1; reached && ok && k < 5000; k += step) {
            copy_tree(at("store.1"), at("store"));
            ok = sync_with_fault(kinds[i].kind, k, what, &reached);
            ig_store *s = client();
            uint64_t v = in_force(s);
            ok &= v == 1 || v == 2;
            if (reached) n++;
            ig_error e = {0};
            ok &= sync_at(s, NOW, false, NULL, &e) == IG_OK && in_force(s) == 2;
            if (!ok)
                printf("# call %llu: in force %llu, then %s\n", (unsigned long long)k, (unsigned long long)v, e.text);
            ig_store_close(s);
        }
        tap_ok(ok && n > 0, "%s at each %s of a sync (%llu): the old or the new catalogue, and then the new", name,
               kinds[i].name, (unsigned long long)n);
    }
}

/* Power cuts after each sync, and after each update that was acknowledged, also when its first try failed. */
static size_t n_power, n_power_bad;
static uint64_t power_promised;

static void power_look(void)
{
    ig_store *s = NULL;
    ig_error e = {0};
    ig_store_options o = {.reserve_bytes = 1};
    ig_catalogue *c = NULL;
    power_cut(at("cut"));
    ig_status st = ig_store_open(at("cut"), &o, &s, &e);
    if (st == IG_OK) st = ig_catalogue_open(s, NULL, &c, &e);
    uint64_t v = st == IG_OK ? c->version : 0;
    ig_catalogue_free(c);
    ig_store_close(s);
    n_power++;
    bool ok = st == IG_OK ? v >= power_promised : st == IG_NOT_FOUND && power_promised == 0;
    if (!ok && n_power_bad++ < 3)
        printf("# cut %zu: version %llu, promised %llu: %s\n", n_power, (unsigned long long)v,
               (unsigned long long)power_promised, e.text);
}

static bool power_sync(uint64_t nth, bool first)
{
    ig_status st = IG_BUG;
    ig_error e = {0};
    if (nth) ig_fault_set(IG_FAULT_SYNC, nth, EIO, false);
    for (int i = 0; i < 3 && st != IG_OK; i++) {
        ig_store *s = client();
        st = s ? sync_at(s, NOW, first, NULL, &e) : IG_IO;
        if (st == IG_OK) power_promised = in_force(s);
        ig_store_close(s);
    }
    ig_fault_reset();
    power.busy = true;
    power_look();
    power.busy = false;
    if (st != IG_OK) printf("# sync %llu: %s\n", (unsigned long long)nth, e.text);
    return st == IG_OK;
}

static void test_power_cuts(void)
{
    if (strncmp(at("x"), "/dev/shm", 8)) {
        tap_skip("power cuts", "/dev/shm is not there");
        return;
    }
    bool ok = true;
    for (uint64_t nth = 0; nth < 30 && ok; nth++) {
        wipe(at("store"));
        mkdir(at("store"), 0700);
        power_promised = 0;
        power_watch(at("store"), at("kept"));
        power.each = nth ? NULL : power_look;
        ok = power_sync(nth, true) && power_sync(nth, false);
        power_end();
    }
    tap_ok(ok && n_power_bad == 0, "M01, M08: %zu power cuts during updates and after them: %zu unsound", n_power,
           n_power_bad);
    wipe(at("cut"));
}

static void test_faults(void)
{
    char dir[200], out[200];
    ig_error e = {0};
    (void)snprintf(dir, sizeof dir, "%s", at("cat"));
    (void)snprintf(out, sizeof out, "%s", at("out"));
    (void)make_catalogue(dir, out, &e);
    ig_store *s = client();
    size_t fds = open_fds();
    tap_ok(sync_at(s, NOW, true, NULL, &e) == IG_OK && in_force(s) == 1, "version 1 in force");
    tap_ok(open_fds() == fds, "no descriptor is left open");
    ig_store_close(s);
    copy_tree(at("store"), at("store.1"));
    ig_author *a = NULL; /* version 2 brings a new root with another timestamp key, too */
    (void)ig_author_open(dir, &desk, &a, &e);
    (void)ig_author_rotate(a, "timestamp", (ig_words){0}, 0, &e);
    ig_author_close(a);
    tap_ok(publish_more(dir, out, "b:1", NOW, &e) == IG_OK, "version 2 is published %s", e.text);
    walk(IG_FAULT_KILL, "a kill");
    walk(EIO, "EIO");
    walk(ENOSPC, "ENOSPC");
    walk(ENOMEM, "no memory");
    test_power_cuts();
    wipe(at("store")), wipe(at("store.1"));
}

/* Publishing is killed at every call: what clients see is the old or the new, and the next try ends it. */
static void test_publish_kills(void)
{
    static const ig_fault_kind all[] = {IG_FAULT_OPEN, IG_FAULT_WRITE, IG_FAULT_SYNC, IG_FAULT_RENAME};
    char dir[200], out[200];
    ig_error e = {0};
    uint64_t n = 0;
    bool ok = true;
    (void)snprintf(dir, sizeof dir, "%s", at("cat"));
    (void)snprintf(out, sizeof out, "%s", at("out"));
    ig_catalogue_sync_options o = {.source = out, .now_s = NOW};
    copy_tree(dir, at("cat.1")), copy_tree(out, at("out.1"));
    for (size_t i = 0; i < 4 && ok; i++) {
        for (uint64_t k = 1; ok; k++) {
            int status = 0;
            copy_tree(at("cat.1"), dir), copy_tree(at("out.1"), out);
            pid_t child = fork();
            if (child == 0) {
                ig_fault_set(all[i], k, IG_FAULT_KILL, false);
                _exit(publish_more(dir, out, "c:1", NOW, &e) == IG_OK ? 0 : 3);
            }
            (void)waitpid(child, &status, 0);
            ig_catalogue *c = NULL;
            ok = ig_catalogue_verify(&o, &c, &e) == IG_OK && (c->n_targets == 2 || c->n_targets == 3);
            if (!ok) printf("# kind %zu call %llu: %s\n", i, (unsigned long long)k, e.text);
            ig_catalogue_free(c);
            ok = ok && publish_more(dir, out, "c:1", NOW, &e) == IG_OK;
            ok = ok && ig_catalogue_verify(&o, &c, &e) == IG_OK && c->n_targets == 3;
            if (!ok) printf("# kind %zu call %llu, again: %s\n", i, (unsigned long long)k, e.text);
            if (ok) ig_catalogue_free(c);
            if (!WIFSIGNALED(status)) {
                ok &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
                break;
            }
            n++;
        }
    }
    tap_ok(ok && n > 30, "publishing killed at %llu calls: clients see the old or the new, and the next try ends it",
           (unsigned long long)n);
    wipe(dir), wipe(at("cat.keys")), wipe(out), wipe(at("cat.1")), wipe(at("out.1"));
}

/* ------------------------------------------------------------------------------------------------ assignments */

#define WORDS(...)                                                                                                     \
    {                                                                                                                  \
        (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)                \
    }

static void test_assignments(void)
{
    const ig_catalogue_rule own[] = {{.id = "t1", .state = IG_ASSIGNED_REQUIRED, .groups = WORDS("eng", "ops")},
                                     {.id = "t2", .state = IG_ASSIGNED_AVAILABLE, .users = WORDS("ann", "#1001")},
                                     {.id = "t3", .state = IG_ASSIGNED_AVAILABLE, .machines = WORDS("lab-*")},
                                     {.id = "t4", .state = IG_ASSIGNED_DENIED, .users = WORDS("mallory")}};
    const ig_catalogue_rule wide[] = {
        {.id = "w1", .state = IG_ASSIGNED_DENIED, .groups = WORDS("interns"), .licences = WORDS("CC-BY-NC-*")},
        {.id = "w2", .state = IG_ASSIGNED_DENIED, .publishers = WORDS("Shady")},
        {.id = "w3", .state = IG_ASSIGNED_REQUIRED, .models = WORDS("base/*"), .machines = WORDS("desk-??")}};
    const ig_catalogue_target models[] = {
        {.name = "a:1", .licence = "MIT", .publisher = "acme", .rules = own, .n_rules = 4},
        {.name = "b:1", .licence = "CC-BY-NC-4.0", .publisher = "acme", .rules = own, .n_rules = 4},
        {.name = "base/c:1", .licence = "MIT", .publisher = "shady"},
        {.name = "base/d:1"},
    };
    ig_catalogue c = {.deny_by_default = true, .rules = wide, .n_rules = 3, .targets = models, .n_targets = 4};
    static const struct {
        const char *what, *user, *group, *machine;
        int64_t uid;
        ig_assigned want[4];
        const char *rule[4];
    } rows[] = {
        {"a stranger",
         "eve",
         NULL,
         "pc",
         5,
         {IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"builtin:assigned", "builtin:assigned", "w2", "builtin:assigned"}},
        {"nobody known",
         NULL,
         NULL,
         NULL,
         -1,
         {IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"builtin:assigned", "builtin:assigned", "w2", "builtin:assigned"}},
        {"a group",
         "bob",
         "ENG",
         "pc",
         5,
         {IG_ASSIGNED_REQUIRED, IG_ASSIGNED_REQUIRED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"t1", "t1", "w2", "builtin:assigned"}},
        {"a user",
         "ann",
         NULL,
         "pc",
         5,
         {IG_ASSIGNED_AVAILABLE, IG_ASSIGNED_AVAILABLE, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"t2", "t2", "w2", "builtin:assigned"}},
        {"a number",
         "zoe",
         NULL,
         "pc",
         1001,
         {IG_ASSIGNED_AVAILABLE, IG_ASSIGNED_AVAILABLE, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"t2", "t2", "w2", "builtin:assigned"}},
        {"a machine",
         "eve",
         NULL,
         "LAB-7",
         5,
         {IG_ASSIGNED_AVAILABLE, IG_ASSIGNED_AVAILABLE, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"t3", "t3", "w2", "builtin:assigned"}},
        {"denied over required",
         "mallory",
         "eng",
         "lab-7",
         5,
         {IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"t4", "t4", "w2", "builtin:assigned"}},
        {"a licence for interns",
         "ann",
         "interns",
         "pc",
         5,
         {IG_ASSIGNED_AVAILABLE, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"t2", "w1", "w2", "builtin:assigned"}},
        {"models on machines",
         "eve",
         NULL,
         "desk-01",
         5,
         {IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_REQUIRED},
         {"builtin:assigned", "builtin:assigned", "w2", "w3"}},
        {"not quite the machine",
         "eve",
         NULL,
         "desk-1",
         5,
         {IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED, IG_ASSIGNED_DENIED},
         {"builtin:assigned", "builtin:assigned", "w2", "builtin:assigned"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const groups[] = {"users", rows[i].group};
        ig_who who = {rows[i].user, rows[i].uid, {groups, rows[i].group ? 2 : 1}, rows[i].machine};
        ig_assignment out[4];
        bool ok = true;
        ig_catalogue_assignments(&c, &who, out);
        for (int k = 0; k < 4; k++)
            ok &=
                out[k].state == rows[i].want[k] && !strcmp(out[k].rule, rows[i].rule[k]) && out[k].target == &models[k];
        tap_ok(ok, "assignments: %s", rows[i].what);
    }
    static const ig_catalogue_target free_one = {.name = "e:1"};
    ig_who who = {.uid = -1};
    ig_assignment a = ig_catalogue_decide(&c, &free_one, &who);
    tap_ok(a.state == IG_ASSIGNED_DENIED && !strcmp(a.rule, "default"), "assignments: denied by default");
    c.deny_by_default = false;
    a = ig_catalogue_decide(&c, &free_one, &who);
    tap_ok(a.state == IG_ASSIGNED_AVAILABLE && !strcmp(a.rule, "default"), "assignments: available by default");
    a = ig_catalogue_decide(&c, &models[0], &who);
    tap_ok(a.state == IG_ASSIGNED_DENIED && !strcmp(a.rule, "builtin:assigned"),
           "assignments: what is assigned to somebody is for those alone");
}

/* What authors may not write, and clients do not take. */
static void test_content(void)
{
    static const struct {
        const char *what, *rules;
        ig_status want;
    } rows[] = {
        {"a rule", "[{\"id\":\"x\",\"state\":\"denied\",\"groups\":[\"a\"]}]", IG_OK},
        {"a state that is none", "[{\"id\":\"x\",\"state\":\"maybe\"}]", IG_BAD_INPUT},
        {"a selector that is unknown", "[{\"state\":\"available\",\"grops\":[\"a\"]}]", IG_BAD_INPUT},
        {"an empty list of groups", "[{\"state\":\"available\",\"groups\":[]}]", IG_BAD_INPUT},
        {"a group that is a number", "[{\"state\":\"available\",\"groups\":[5]}]", IG_BAD_INPUT},
        {"rules that are an object", "{}", IG_BAD_INPUT},
        {"a rule that is a text", "[\"x\"]", IG_BAD_INPUT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_error e = {0};
        json_t *j = json_pack("{s:i, s:s, s:o}", "version", 1, "default", "denied", "rules",
                              json_loads(rows[i].rules, 0, NULL));
        tap_ok(ig_content_check_rules(j, &e) == rows[i].want, "%s %s", rows[i].what, e.text);
        json_decref(j);
    }
    ig_error e = {0};
    json_t *j = json_pack("{s:i}", "version", 2);
    tap_ok(ig_content_check_rules(j, &e) == IG_UNSUPPORTED, "settings of a later version");
    json_decref(j);
    j = json_pack("{s:i, s:{s:s}, s:{s:i, s:s, s:s, s:[{s:s, s:s, s:s, s:i}], s:s}}", "length", 3, "hashes", "sha256",
                  hex_a, "custom", "ingle", 1, "name", "a:1", "digest", hex_a, "files", "role", "weights", "name",
                  "a.gguf", "digest", hex_a, "size", 3, "format", "gguf");
    tap_ok(ig_content_check("a=1.json", j, &e) == IG_DENIED && strstr(e.text, "digest"),
           "a digest that is not the model's %s", e.text);
    tap_ok(ig_content_check("b=1.json", j, &e) == IG_BAD_INPUT && strstr(e.text, "name"), "a name under another path");
    json_decref(j);
}

int main(void)
{
    /* thousands of syncs: in memory where that is there */
    (void)snprintf(work, sizeof work, "%s/ingle-catalogue-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
                   (int)getpid());
    (void)mkdir(work, 0700);
    for (size_t i = 0; i < N_KEYS; i++)
        if (ig_key_generate(&K[i], NULL) != IG_OK) return 1;
    test_parts();
    test_keys();
    test_shapes();
    test_attacks();
    test_rotation();
    test_delegations();
    test_publish();
    test_thresholds();
    test_renewal();
    test_slow();
    test_clock();
    test_faults();
    test_publish_kills();
    test_assignments();
    test_content();
    for (size_t i = 0; i < N_KEYS; i++) ig_key_fini(&K[i]);
    wipe(work);
    return tap_done();
}
