/* TUF metadata: the attacks that its specification lists, one by one, against the update; shapes of documents,
 * rotation, delegations; keys, canonical JSON, times. Documents are forged here, with keys of the test's own. */
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/os.h"
#include "tests/catalogue.h"

enum { N_KEYS = 8 };

static ig_tuf_key K[N_KEYS];

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
    uint64_t team_v, team_named; /* 0: as targets; as team_v */
    int64_t team_expires;        /* seconds from NOW; 0: as targets */
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

static uint64_t team_version(const world *w) { return w->team_v ? w->team_v : w->v[3]; }
static uint64_t team_name(const world *w) { return w->team_named ? w->team_named : team_version(w); }

static char *team_text(const world *w)
{
    world own = *w;
    if (w->team_expires) own.expires[IG_TUF_TARGETS] = w->team_expires;
    json_t *j = head(&own, IG_TUF_TARGETS, team_version(w));
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
    if (w->with_team && !w->team_gone) json_object_set_new(meta, "team.json", meta_of(w, team, team_name(w)));
    json_t *s = head(w, IG_TUF_SNAPSHOT, w->v[2]), *t = head(w, IG_TUF_TIMESTAMP, w->v[1]);
    json_object_set_new(s, "meta", meta);
    char *snapshot = forge(s, w->signers[2], false);
    json_object_set_new(t, "meta", json_pack("{s:o}", "snapshot.json", meta_of(w, snapshot, named(w, 2))));
    put_versioned(r, "timestamp", w->v[1], forge(t, w->signers[1], false));
    put_versioned(r, "snapshot", named(w, 2), snapshot);
    put_versioned(r, "targets", named(w, 3), targets);
    put_versioned(r, "team", team_name(w), team);
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

static void a_team_altered(world *w, repo *r)
{
    w->with_team = true;
    build(w, r), tamper(r, "metadata/2.team.json", "\"sha256\":\"");
}
static void a_team_altered_bare(world *w, repo *r)
{
    w->no_hashes = true;
    a_team_altered(w, r);
}
static void a_team_expired(world *w, repo *r) { w->with_team = true, w->team_expires = -1, build(w, r); }
static void a_team_endless(world *w, repo *r)
{
    w->with_team = true;
    build(w, r), a_endless(r, "metadata/2.team.json", 9000);
}
static void a_team_mixed(world *w, repo *r)
{
    w->with_team = w->no_hashes = true, w->team_named = 3; /* says 3, is 2 */
    build(w, r);
}
static void a_team_replayed(world *w, repo *r)
{
    w->with_team = true, w->v[1] = w->v[2] = w->v[3] = 3, w->team_v = 1; /* the client has seen 2 */
    build(w, r);
}

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
    {"delegation: altered", a_team_altered, IG_DENIED, {"team", "SHA-256", "expected"}},
    {"delegation: altered, no hashes", a_team_altered_bare, IG_DENIED, {"team", "signed by 0", "expected 1"}},
    {"delegation: expired", a_team_expired, IG_DENIED, {"team", "expired at 2026", "now it is"}},
    {"delegation: endless", a_team_endless, IG_TOO_LARGE, {"team", "more bytes", "expected"}},
    {"delegation: of another version", a_team_mixed, IG_DENIED, {"team", "has version 2", "expected 3"}},
    {"delegation: too many patterns", a_team_patterns, IG_TOO_LARGE, {"targets", "patterns", "expected"}},
    {"rollback: timestamp", a_replay_timestamp, IG_DENIED, {"timestamp", "version 1", "expected 2 or later"}},
    {"rollback: snapshot", a_replay_snapshot, IG_DENIED, {"timestamp", "snapshot version 1", "expected 2 or later"}},
    {"rollback: targets",
     a_replay_targets,
     IG_DENIED,
     {"snapshot", "targets.json with version 1", "expected 2 or later"}},
    {"rollback: delegation",
     a_team_replayed,
     IG_DENIED,
     {"snapshot", "team.json with version 1", "expected 2 or later"}},
};

static bool w_named_team(const char *name) { return strstr(name, "delegation") && !strstr(name, "not in snapshot"); }

/* Every attack meets a client that is at version 1 (2 for replays); afterwards a good version 9 is taken. */
static void test_attacks(void)
{
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        bool replay = !strncmp(attacks[i].name, "rollback", 8);
        repo r = {0};
        world w = good, later = good, before = replay ? two() : good;
        before.with_team = replay && strstr(attacks[i].name, "delegation");
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

/* ------------------------------------------------------------------------------------------------ slow servers */

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

int main(void)
{
    work_init("tuf");
    for (size_t i = 0; i < N_KEYS; i++)
        if (ig_key_generate(&K[i], NULL) != IG_OK) return 1;
    test_parts();
    test_keys();
    test_shapes();
    test_attacks();
    test_rotation();
    test_delegations();
    test_slow();
    for (size_t i = 0; i < N_KEYS; i++) ig_key_fini(&K[i]);
    wipe(work);
    return tap_done();
}
