/* Catalogues of authors and clients: drafts, publishing, thresholds, renewal; state on disk under failing calls, kills
 * and power cuts (M01, M02, M05, M08), jumping clocks (M14); rules and assignments. test_tuf.c has the metadata. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/disk.h"
#include "base/fault.h"
#include "base/os.h"
#include "store/author.h"
#include "tests/catalogue.h"
#include "tests/power.h"

static size_t open_fds(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
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

static const char *copy_from, *copy_to;

static int copy_one(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    char to[500], block[65536];
    (void)flag, (void)ftw;
    (void)snprintf(to, sizeof to, "%s%s", copy_to, path + strlen(copy_from));
    if (S_ISDIR(sb->st_mode)) return mkdir(to, 0700);
    int in = open(path, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, sb->st_mode);
    ssize_t n = in < 0 || out < 0 ? -1 : 0;
    while (n >= 0 && (n = read(in, block, sizeof block)) > 0)
        if (write(out, block, (size_t)n) != n) n = -1;
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    return n < 0;
}

static void copy_tree(const char *from, const char *to)
{
    wipe(to);
    copy_from = from, copy_to = to;
    if (nftw(from, copy_one, 16, FTW_PHYS)) abort();
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

/* One publication of a third model with call k of a kind failing or killing: what clients see is the old or the new,
 * and the next try ends it. False: something else was seen. */
static bool publish_with_fault(const char *dir, const char *out, ig_fault_kind kind, uint64_t k, int what,
                               bool *reached)
{
    ig_catalogue_sync_options o = {.source = out, .now_s = NOW};
    ig_catalogue *c = NULL;
    ig_error e = {0};
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        ig_fault_set(kind, k, what, false);
        ig_status st = publish_more(dir, out, "c:1", NOW, &e);
        bool hit = ig_fault_calls(kind) >= k;
        _exit(st == IG_BUG || (st != IG_OK && !e.text[0]) ? 3 : hit ? 1 : st == IG_OK ? 0 : 3);
    }
    (void)waitpid(child, &status, 0);
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && what == IG_FAULT_KILL;
    *reached = killed || (WIFEXITED(status) && WEXITSTATUS(status) == 1);
    bool ok = killed || (WIFEXITED(status) && WEXITSTATUS(status) < 2);
    ok = ok && ig_catalogue_verify(&o, &c, &e) == IG_OK && (c->n_targets == 2 || c->n_targets == 3);
    ig_catalogue_free(c);
    c = NULL;
    ok = ok && publish_more(dir, out, "c:1", NOW, &e) == IG_OK;
    ok = ok && ig_catalogue_verify(&o, &c, &e) == IG_OK && c->n_targets == 3;
    ig_catalogue_free(c);
    if (!ok) printf("# kind %d call %llu: %s\n", (int)kind, (unsigned long long)k, e.text);
    return ok;
}

static void test_publish_faults(void)
{
    static const struct {
        int what;
        const char *name;
        ig_fault_kind kinds[5];
        unsigned n, step, least;
    } rows[] = {
        {IG_FAULT_KILL, "a kill", {IG_FAULT_OPEN, IG_FAULT_WRITE, IG_FAULT_SYNC, IG_FAULT_RENAME}, 4, 1, 30},
        {EIO, "EIO", {IG_FAULT_WRITE, IG_FAULT_SYNC, IG_FAULT_RENAME}, 3, 1, 30},
        {EIO, "EIO", {IG_FAULT_OPEN, IG_FAULT_READ}, 2, 3, 30}, /* many calls: every third */
        {ENOSPC, "ENOSPC", {IG_FAULT_WRITE}, 1, 1, 5},
        {ENOMEM, "no memory", {IG_FAULT_ALLOC}, 1, 17, 10},
    };
    char dir[200], out[200];
    (void)snprintf(dir, sizeof dir, "%s", at("cat"));
    (void)snprintf(out, sizeof out, "%s", at("out"));
    copy_tree(dir, at("cat.1")), copy_tree(out, at("out.1"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t n = 0;
        bool ok = true;
        for (unsigned kind = 0; kind < rows[i].n; kind++) {
            bool reached = true;
            for (uint64_t k = 1; ok && reached && k < 5000; k += rows[i].step) {
                copy_tree(at("cat.1"), dir), copy_tree(at("out.1"), out);
                ok = publish_with_fault(dir, out, rows[i].kinds[kind], k, rows[i].what, &reached);
                n += reached;
            }
        }
        tap_ok(ok && n >= rows[i].least,
               "%s at each of %llu calls of publishing: clients see the old or the new, and the next try ends it",
               rows[i].name, (unsigned long long)n);
    }
    wipe(dir), wipe(at("cat.keys")), wipe(out), wipe(at("cat.1")), wipe(at("out.1"));
}

/* Power cuts after each sync of publishing: the folder that clients read, and the author's own. */
static size_t n_targets_promised;

static void publish_look(void)
{
    ig_error e = {0};
    ig_catalogue *c = NULL;
    char out[220];
    power_cut(at("cut"));
    (void)snprintf(out, sizeof out, "%s/out", at("cut"));
    ig_catalogue_sync_options o = {.source = out, .now_s = NOW};
    ig_status st = ig_catalogue_verify(&o, &c, &e);
    size_t n = st == IG_OK ? c->n_targets : 0;
    ig_catalogue_free(c);
    n_power++;
    if (n < n_targets_promised && n_power_bad++ < 3)
        printf("# cut %zu: %zu models, promised %zu: %s\n", n_power, n, n_targets_promised, e.text);
}

static void test_publish_power(void)
{
    char dir[220], out[220];
    ig_error e = {0};
    if (strncmp(at("x"), "/dev/shm", 8)) {
        tap_skip("power cuts while publishing", "/dev/shm is not there");
        return;
    }
    n_power = n_power_bad = n_targets_promised = 0;
    mkdir(at("desk"), 0700);
    (void)snprintf(dir, sizeof dir, "%s/cat", at("desk"));
    (void)snprintf(out, sizeof out, "%s/out", at("desk"));
    power_watch(at("desk"), at("kept"));
    power.each = publish_look;
    bool ok = make_catalogue(dir, out, &e) == IG_OK;
    for (n_targets_promised = 1; ok && n_targets_promised < 4; n_targets_promised++) {
        char name[8];
        (void)snprintf(name, sizeof name, "m%zu:1", n_targets_promised);
        ok = publish_more(dir, out, name, NOW, &e) == IG_OK;
    }
    if (!ok) printf("# %s\n", e.text);
    power.busy = true;
    publish_look();
    (void)snprintf(dir, sizeof dir, "%s/cat", at("cut"));
    (void)snprintf(out, sizeof out, "%s/out", at("cut"));
    bool more = publish_more(dir, out, "z:1", NOW, &e) == IG_OK;
    power_end();
    tap_ok(ok && n_power_bad == 0 && n_power > 30, "M01: %zu power cuts while publishing: %zu unsound", n_power,
           n_power_bad);
    tap_ok(more, "and the author goes on after one %s", more ? "" : e.text);
    wipe(at("desk")), wipe(at("cut"));
}

/* ------------------------------------------------------------------------------------------------ assignments */

#define WORDS(...)                                                                                                     \
    {                                                                                                                  \
        (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)                \
    }

static const ig_catalogue_rule own[] = {{.id = "t1", .state = IG_ASSIGNED_REQUIRED, .groups = WORDS("eng", "ops")},
                                        {.id = "t2", .state = IG_ASSIGNED_AVAILABLE, .users = WORDS("ann", "#1001")},
                                        {.id = "t3", .state = IG_ASSIGNED_AVAILABLE, .machines = WORDS("lab-*")},
                                        {.id = "t4", .state = IG_ASSIGNED_DENIED, .users = WORDS("mallory")}};
static const ig_catalogue_rule wide[] = {
    {.id = "w1", .state = IG_ASSIGNED_DENIED, .groups = WORDS("interns"), .licences = WORDS("CC-BY-NC-*")},
    {.id = "w2", .state = IG_ASSIGNED_DENIED, .publishers = WORDS("Shady")},
    {.id = "w3", .state = IG_ASSIGNED_REQUIRED, .models = WORDS("base/*"), .machines = WORDS("desk-??")}};
static const ig_catalogue_target models[] = {
    {.name = "a:1", .licence = "MIT", .publisher = "acme", .rules = own, .n_rules = 4},
    {.name = "b:1", .licence = "CC-BY-NC-4.0", .publisher = "acme", .rules = own, .n_rules = 4},
    {.name = "base/c:1", .licence = "MIT", .publisher = "shady"},
    {.name = "base/d:1"},
};

static const struct {
    const char *what, *user, *group, *machine;
    int64_t uid;
    ig_assigned want[4];
    const char *rule[4];
} askers[] = {
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

static void test_assignments(void)
{
    const ig_catalogue c = {.deny_by_default = true, .rules = wide, .n_rules = 3, .targets = models, .n_targets = 4};
    for (size_t i = 0; i < sizeof askers / sizeof *askers; i++) {
        const char *const groups[] = {"users", askers[i].group};
        ig_who who = {askers[i].user, askers[i].uid, {groups, askers[i].group ? 2 : 1}, askers[i].machine};
        ig_assignment out[4];
        bool ok = true;
        ig_catalogue_assignments(&c, &who, out);
        for (int k = 0; k < 4; k++)
            ok &= out[k].state == askers[i].want[k] && !strcmp(out[k].rule, askers[i].rule[k]) &&
                  out[k].target == &models[k];
        tap_ok(ok, "assignments: %s", askers[i].what);
    }
}

static void test_defaults(void)
{
    ig_catalogue c = {.deny_by_default = true, .rules = wide, .n_rules = 3, .targets = models, .n_targets = 4};
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
    work_init("catalogue");
    test_publish();
    test_thresholds();
    test_renewal();
    test_clock();
    test_faults();
    test_publish_faults();
    test_publish_power();
    test_assignments();
    test_defaults();
    test_content();
    wipe(work);
    return tap_done();
}
