/* The store: names and digests, blobs, manifests, leases and garbage collection; every call that can fail made to fail
 * (M01, M05, M08, M09, M16), the process killed at every call (M02), what lies where a blob is expected (M13), damaged
 * and newer stores (M24). */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/os.h"
#include "store/store.h"
#include "tests/tap.h"

static char work[64];
static char root[96];

static int drop(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)sb, (void)flag, (void)ftw;
    return remove(path);
}
static void wipe(const char *path) { (void)nftw(path, drop, 16, FTW_DEPTH | FTW_PHYS); }

static size_t n_files;
static int count_file(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)path, (void)sb, (void)ftw;
    n_files += flag == FTW_F;
    return 0;
}
static size_t files_in(const char *folder)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", root, folder);
    n_files = 0;
    (void)nftw(path, count_file, 16, FTW_PHYS);
    return n_files;
}

static size_t open_fds(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static ig_store *open_store(void)
{
    ig_store *s = NULL;
    ig_error e;
    ig_store_options o = {.reserve_bytes = 1};
    if (ig_store_open(root, &o, &s, &e) != IG_OK) printf("# %s\n", e.text);
    return s;
}

static ig_status add_blob(ig_store *s, const void *p, size_t n, const ig_digest *expected, ig_digest *d, int *lease,
                          ig_error *e)
{
    ig_blob_writer *w;
    uint64_t size;
    IG_TRY(ig_blob_begin(s, expected, n, &w, e));
    ig_status st = n ? ig_blob_write(w, p, n, e) : IG_OK;
    if (st == IG_OK) return ig_blob_commit(w, d, &size, lease, e);
    ig_blob_abandon(w);
    return st;
}

static ig_status add_model(ig_store *s, const char *name, const char *content, const ig_check *check, ig_manifest **out,
                           ig_error *e)
{
    ig_manifest m = {.format = "gguf", .parameters = "{\"temperature\":0.5}", .system = "be kind", .source = "test"};
    ig_store_file f = {.role = IG_ROLE_WEIGHTS, .name = "model.gguf", .size = strlen(content)};
    int lease = -1;
    IG_TRY(ig_name_parse(name, &m.name, e));
    IG_TRY(add_blob(s, content, strlen(content), NULL, &f.digest, &lease, e));
    m.files = &f;
    m.n_files = 1;
    ig_status st = ig_store_add(s, &m, check, out, e);
    close(lease);
    return st;
}

/* ------------------------------------------------------------------------------------------------ names */

static void test_names(void)
{
    static const struct {
        const char *text, *want; /* NULL: refused */
    } names[] = {{"llama3", "llama3:latest"},
                 {"qwen3:0.6b", "qwen3:0.6b"},
                 {"team/helper:v2", "team/helper:v2"},
                 {"hf.co/Org/Repo_1:Q4_K_M", "hf.co/Org/Repo_1:Q4_K_M"},
                 {"localhost:5000/a/b:c", "localhost:5000/a/b:c"},
                 {"a/b/c/d:e", "a/b/c/d:e"},
                 {"a/b/c/d/e", NULL},
                 {"", NULL},
                 {".", NULL},
                 {"..", NULL},
                 {"../x", NULL},
                 {"a/../b", NULL},
                 {"/etc/passwd", NULL},
                 {"a//b", NULL},
                 {"a/", NULL},
                 {"a:", NULL},
                 {":a", NULL},
                 {"a:b:c", NULL},
                 {"a:b/c", NULL},
                 {"-rf", NULL},
                 {"a b", NULL},
                 {"a\nb", NULL},
                 {"a%2fb", NULL},
                 {"a=b", NULL},
                 {"a\\b", NULL},
                 {"\xc3\xa4", NULL},
                 {".hidden", NULL},
                 {"a:.b", NULL},
                 {"host:123456789/a", NULL}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ig_name n = {""};
        ig_error e = {0};
        ig_status st = ig_name_parse(names[i].text, &n, &e);
        bool ok = names[i].want ? st == IG_OK && !strcmp(n.text, names[i].want) : st == IG_BAD_INPUT && e.text[0];
        tap_ok(ok, "name %zu is %s", i, names[i].want ? names[i].want : "refused");
    }
    char hex[80] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", with[100];
    ig_digest d;
    tap_ok(ig_digest_parse(hex, &d, NULL) == IG_OK && !strcmp(d.hex, hex), "64 digits are a digest");
    (void)snprintf(with, sizeof with, "sha256:%s", hex);
    tap_ok(ig_digest_parse(with, &d, NULL) == IG_OK && !strcmp(d.hex, hex), "sha256: may stand before");
    hex[63] = 'F';
    tap_ok(ig_digest_parse(hex, &d, NULL) == IG_BAD_INPUT, "upper case is refused");
    hex[63] = '/';
    tap_ok(ig_digest_parse(hex, &d, NULL) == IG_BAD_INPUT, "a slash is refused");
    hex[63] = 0;
    tap_ok(ig_digest_parse(hex, &d, NULL) == IG_BAD_INPUT, "63 digits are refused");
    (void)snprintf(with, sizeof with, "%s00", hex);
    tap_ok(ig_digest_parse(with, &d, NULL) == IG_BAD_INPUT, "65 digits are refused");
    tap_ok(ig_file_name_valid("a/b.json") && !ig_file_name_valid("../a") && !ig_file_name_valid("/a") &&
               !ig_file_name_valid("a//b") && !ig_file_name_valid("a/./b") && !ig_file_name_valid("") &&
               !ig_file_name_valid("a\nb") && !ig_file_name_valid("a\\b"),
           "file names within a model are plain and relative");
}

/* ------------------------------------------------------------------------------------------------ blobs and models */

static void test_blobs(void)
{
    ig_store *s = open_store();
    ig_error e = {0};
    ig_digest d, again, wrong;
    uint64_t size;
    int fd, lease;
    char text[8] = "";
    tap_ok(add_blob(s, "hello", 5, NULL, &d, NULL, &e) == IG_OK &&
               !strcmp(d.hex, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
           "a blob has the SHA-256 of its content");
    tap_ok(ig_store_blob_open(s, &d, &fd, &size, &e) == IG_OK && size == 5 && read(fd, text, 8) == 5 &&
               !memcmp(text, "hello", 5) && write(fd, "x", 1) < 0,
           "it can be read and not written");
    close(fd);
    tap_ok(add_blob(s, "hello", 5, &d, &again, &lease, &e) == IG_OK && !strcmp(again.hex, d.hex), "twice is once");
    close(lease);
    wrong = d;
    wrong.hex[0] = '3';
    tap_ok(add_blob(s, "hello", 5, &wrong, &again, NULL, &e) == IG_BAD_INPUT && strstr(e.text, "expected sha256:3cf"),
           "another digest than expected is refused");
    tap_ok(ig_store_blob_open(s, &wrong, &fd, &size, &e) == IG_NOT_FOUND && fd == -1, "and nothing is there");
    tap_ok(add_blob(s, "", 0, NULL, &again, NULL, &e) == IG_OK, "an empty blob");
    tap_ok(files_in("parts") == 0 && files_in("blobs") == 2, "nothing is left beside");
    int pipe_fds[2];
    if (pipe(pipe_fds) < 0 || write(pipe_fds[1], "from a pipe", 11) != 11) abort();
    close(pipe_fds[1]);
    tap_ok(ig_blob_add_fd(s, pipe_fds[0], NULL, &d, &size, NULL, &e) == IG_OK && size == 11, "a blob from a pipe");
    close(pipe_fds[0]);
    ig_store_close(s);
}

static ig_status check_says(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err)
{
    char text[4];
    if (m->n_files != 1 || pread(fds[0], text, 4, 0) != 4) return ig_fail(err, IG_BUG, 0, "no file to check");
    if (ctx) return ig_fail(err, IG_BAD_INPUT, 0, "the check says no");
    (void)ig_buf_add(about, "{\"architecture\":\"test\"}", 23);
    return IG_OK;
}

static void test_add_fds(void)
{
    ig_store *s = open_store();
    ig_error e = {0};
    ig_manifest m = {.format = "gguf"}, *out = NULL;
    ig_store_file files[2] = {{.role = IG_ROLE_WEIGHTS, .name = "a.gguf"},
                              {.role = IG_ROLE_PROJECTOR, .name = "b.gguf"}};
    FILE *a = tmpfile(), *b = tmpfile();
    if (!a || !b || fputs("GGUF a", a) < 0 || fputs("GGUF b!", b) < 0) abort();
    rewind(a);
    rewind(b);
    int fds[2] = {fileno(a), fileno(b)};
    m.files = files;
    m.n_files = 2;
    (void)ig_name_parse("both", &m.name, NULL);
    tap_ok(ig_store_add_fds(s, &m, fds, NULL, &out, &e) == IG_OK && out->files[0].size == 6 && out->files[1].size == 7,
           "a model of open files: %s", e.text);
    if (out) files[0].digest = out->files[1].digest;
    ig_manifest_free(out);
    rewind(a);
    rewind(b);
    (void)ig_name_parse("wrong", &m.name, NULL);
    tap_ok(ig_store_add_fds(s, &m, fds, NULL, NULL, &e) == IG_BAD_INPUT &&
               ig_store_find(s, "wrong", &out, NULL) == IG_NOT_FOUND,
           "a digest that is told is demanded: %s", e.text);
    fclose(a);
    fclose(b);
    ig_store_close(s);
}

static void test_models(void)
{
    ig_store *s = open_store();
    ig_error e = {0};
    ig_manifest *m = NULL, *n = NULL;
    ig_check yes = {check_says, NULL}, no = {check_says, &e};
    ig_store_list list;
    uint64_t freed;
    char prefix[16], first[65];
    tap_ok(add_model(s, "One:a", "GGUF content one", &yes, &m, &e) == IG_OK && m && !strcmp(m->name.text, "One:a") &&
               m->n_files == 1 && m->about && strstr(m->about, "test") && m->added_s > 0,
           "a model is added (%s)", e.text);
    (void)snprintf(first, sizeof first, "%s", m ? m->digest.hex : "");
    ig_manifest_free(m);
    tap_ok(add_model(s, "bad:a", "GGUF content bad", &no, &m, &e) == IG_BAD_INPUT &&
               !strcmp(e.text, "the check says no") && ig_store_find(s, "bad:a", &n, NULL) == IG_NOT_FOUND,
           "what the check refuses does not become visible");
    tap_ok(ig_store_find(s, "oNe:A", &m, &e) == IG_OK && !strcmp(m->name.text, "One:a"), "case does not matter");
    ig_manifest_free(m);
    (void)snprintf(prefix, sizeof prefix, "%.8s", first);
    tap_ok(ig_store_find(s, prefix, &m, &e) == IG_OK && !strcmp(m->digest.hex, first),
           "found by the digest's beginning");
    ig_manifest_free(m);
    tap_ok(ig_store_find(s, "one", &m, &e) == IG_NOT_FOUND && strstr(e.text, "did you mean One:a?"), "a wrong tag: %s",
           e.text);
    tap_ok(ig_store_find(s, "../names", &m, &e) == IG_BAD_INPUT, "a path is no name");
    tap_ok(ig_store_copy(s, "One:a", "two", &e) == IG_OK && ig_store_find(s, "two", &m, &e) == IG_OK &&
               !strcmp(m->digest.hex, first),
           "a copy has the same digest");
    ig_manifest_free(m);
    ig_manifest changes = {.system = "", .template = "{{ x }}", .parameters = "{\"temperature\":null,\"top_k\":3}"};
    (void)ig_name_parse("three", &changes.name, NULL);
    tap_ok(ig_store_create(s, "two", &changes, &yes, &m, &e) == IG_OK && !m->system &&
               !strcmp(m->template, "{{ x }}") && !strcmp(m->parameters, "{\"top_k\":3}") &&
               strcmp(m->digest.hex, first) != 0,
           "a model made of another: texts and parameters change (%s)", e.text);
    ig_manifest_free(m);
    changes.parameters = "[1]";
    tap_ok(ig_store_create(s, "two", &changes, NULL, NULL, &e) == IG_BAD_INPUT, "parameters must be an object");
    tap_ok(ig_store_models(s, &list, &e) == IG_OK && list.n == 3 && !strcmp(list.models[0]->name.text, "One:a") &&
               !strcmp(list.models[1]->name.text, "three:latest"),
           "listed by name");
    ig_store_list_free(&list);
    tap_ok(ig_store_remove(s, "One:a", &freed, &e) == IG_OK && freed == 0, "others still name its file");
    tap_ok(ig_store_remove(s, "two", &freed, &e) == IG_OK && freed == 0, "one still does");
    tap_ok(ig_store_remove(s, "three", &freed, &e) == IG_OK && freed == 16, "the last one frees it");
    tap_ok(ig_store_remove(s, "three", &freed, &e) == IG_NOT_FOUND, "and then it is gone");
    ig_store_close(s);
}

/* ------------------------------------------------------------------------------------------------ leases and gc */

static void test_gc(void)
{
    ig_store *s = open_store();
    ig_error e = {0};
    ig_manifest *m;
    ig_digest loose;
    ig_gc_options all = {0}, dry = {.dry_run = true}, usual = {.min_age_s = -1, .partial_min_age_s = -1};
    ig_gc_result r;
    uint64_t freed;
    int fd = -1, lease = -1;
    char path[300];
    (void)add_model(s, "kept", "GGUF kept", NULL, NULL, &e);
    (void)add_blob(s, "loose", 5, NULL, &loose, &lease, &e);
    tap_ok(ig_store_gc(s, &usual, &r, &e) == IG_OK && r.n == 0, "a young blob stays (M12)");
    tap_ok(ig_store_gc(s, &all, &r, &e) == IG_OK && r.n_in_use == 1 &&
               ig_store_blob_open(s, &loose, &fd, NULL, &e) == IG_OK,
           "a blob in use stays, %llu in use", (unsigned long long)r.n_in_use);
    close(fd);
    pid_t child = fork();
    if (child == 0) {
        sleep(30);
        _exit(0);
    }
    close(lease); /* the child has the descriptor: a worker that was given it */
    tap_ok(ig_store_gc(s, &all, &r, &e) == IG_OK && r.n_in_use == 1, "a blob that another process holds stays");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    tap_ok(ig_store_gc(s, &dry, &r, &e) == IG_OK && r.n >= 1 && ig_store_blob_open(s, &loose, &fd, NULL, &e) == IG_OK,
           "a dry run takes nothing");
    close(fd);
    uint64_t would = r.n;
    tap_ok(ig_store_gc(s, &all, &r, &e) == IG_OK && r.n == would && r.n_in_use == 0 &&
               ig_store_blob_open(s, &loose, &fd, NULL, &e) == IG_NOT_FOUND,
           "when its holder was killed it goes");
    tap_ok(ig_store_find(s, "kept", &m, &e) == IG_OK &&
               ig_store_blob_open(s, &m->files[0].digest, &lease, NULL, &e) == IG_OK,
           "what a model names stays");
    tap_ok(ig_store_remove(s, "kept", &freed, &e) == IG_OK && freed == 0 &&
               ig_store_blob_open(s, &m->files[0].digest, &fd, NULL, &e) == IG_OK,
           "rm leaves a file that is in use");
    close(fd);
    close(lease);
    ig_manifest_free(m);
    (void)snprintf(path, sizeof path, "%s/names/evil.json", root);
    FILE *f = fopen(path, "w");
    fputs("{", f);
    fclose(f);
    tap_ok(ig_store_gc(s, &all, &r, &e) == IG_BAD_INPUT && r.n == 0, "with a damaged manifest nothing is taken: %s",
           e.text);
    ig_store_list list;
    tap_ok(ig_store_models(s, &list, &e) == IG_OK && list.n_damaged == 1, "it is counted in the list");
    ig_store_list_free(&list);
    unlink(path);
    ig_store_close(s);
}

/* M17: without descriptors no list lacks a model that is there. */
static void test_no_descriptors(void)
{
    ig_store *s = open_store();
    ig_error e = {0};
    bool ok =
        add_model(s, "a", "GGUF a", NULL, NULL, &e) == IG_OK && add_model(s, "b", "GGUF b", NULL, NULL, &e) == IG_OK;
    uint64_t n = 1;
    for (bool reached = true; reached && ok; n++) {
        ig_store_list list = {0};
        ig_fault_set(IG_FAULT_OPEN, n, EMFILE, false);
        ig_status st = ig_store_models(s, &list, &e);
        reached = ig_fault_calls(IG_FAULT_OPEN) >= n;
        ig_fault_reset();
        ok = st == IG_OK ? list.n == 2 && list.n_damaged == 0 : st == IG_IO && strstr(e.text, "Too many") != NULL;
        ig_store_list_free(&list);
    }
    tap_ok(ok && n > 3, "M17: no descriptors: an error, not a list that lacks something");
    ig_store_close(s);
}

/* M14: the clock is set by years while blobs, leases and leftovers lie about. */
static void test_clock_jumps(void)
{
    enum { HOUR = 3600, YEARS = 10 * 366 * 24 * HOUR };
    ig_gc_options usual = {.min_age_s = -1, .partial_min_age_s = -1};
    ig_store *s = open_store();
    ig_error e = {0};
    ig_manifest *m = NULL;
    ig_gc_result r;
    ig_digest used, loose;
    int lease = -1, fd = -1;
    bool ok = add_model(s, "kept", "GGUF kept", NULL, NULL, &e) == IG_OK;
    ig_fault_clock(-24 * HOUR);
    ok = ok && add_blob(s, "used", 4, NULL, &used, &lease, &e) == IG_OK && ig_store_gc(s, &usual, &r, &e) == IG_OK;
    tap_ok(ok && r.n == 0, "M14: a day back: what was made a moment ago stays: %s", e.text);
    ig_fault_clock(YEARS);
    ok = ig_store_gc(s, &usual, &r, &e) == IG_OK && ig_store_find(s, "kept", &m, &e) == IG_OK &&
         ig_store_files_open(s, m, &fd, &e) == IG_OK && r.n_in_use == 1;
    tap_ok(ok, "M14: ten years ahead: what is named or in use stays: %s", e.text);
    if (fd >= 0) close(fd);
    ig_manifest_free(m);
    ok = add_model(s, "later", "GGUF later", NULL, &m, &e) == IG_OK && m->added_s > 1700000000 + YEARS;
    ig_manifest_free(m);
    ok = ok && add_blob(s, "loose", 5, NULL, &loose, NULL, &e) == IG_OK;
    char path[300];
    struct stat sb;
    (void)snprintf(path, sizeof path, "%s/blobs/%.2s/%s", root, loose.hex, loose.hex);
    struct timespec future[2] = {{.tv_sec = time(NULL) + YEARS}, {.tv_sec = time(NULL) + YEARS}};
    ok = ok && utimensat(AT_FDCWD, path, future, 0) == 0; /* the kernel's own clock cannot be set here */
    ig_fault_clock(0);
    close(lease);
    ok = ok && ig_store_gc(s, &usual, &r, &e) == IG_OK && stat(path, &sb) == 0 && sb.st_mtime <= time(NULL) + 60;
    tap_ok(ok, "M14: the clock is right again: a file from the future is dated anew");
    ig_fault_clock(2 * HOUR);
    ok = ig_store_gc(s, &usual, &r, &e) == IG_OK && !ig_store_blob_has(s, &loose, NULL) &&
         !ig_store_blob_has(s, &used, NULL);
    ig_fault_clock(0);
    tap_ok(ok, "M14: and goes two hours later, not in ten years");
    ig_store_list list;
    tap_ok(ig_store_models(s, &list, &e) == IG_OK && list.n == 2 && list.n_damaged == 0, "M14: both models are there");
    ig_store_list_free(&list);
    (void)ig_store_remove(s, "kept", NULL, &e);
    (void)ig_store_remove(s, "later", NULL, &e);
    ig_store_close(s);
}

/* ------------------------------------------------------------------------------------------------ faults */

static bool sound(const char *what)
{
    ig_store *s = open_store();
    ig_store_list list = {0};
    ig_verify_result r = {0};
    ig_error e = {0};
    bool ok = s && ig_store_models(s, &list, &e) == IG_OK && list.n_damaged == 0;
    ok = ok && ig_store_verify(s, NULL, NULL, &r, &e) == IG_OK && r.n_damaged == 0;
    if (!ok) printf("# after %s: %s %s, %llu damaged\n", what, e.text, list.damaged, (unsigned long long)r.n_damaged);
    ig_store_list_free(&list);
    ig_store_close(s);
    return ok;
}

static ig_status scenario(ig_error *e)
{
    ig_store *s = NULL;
    ig_store_options o = {.reserve_bytes = 1};
    ig_manifest changes = {.system = "other"};
    ig_gc_options all = {0};
    ig_gc_result r;
    IG_TRY(ig_store_open(root, &o, &s, e));
    ig_status st = add_model(s, "first", "GGUF first content", NULL, NULL, e);
    if (st == IG_OK) st = add_model(s, "first", "GGUF second content", NULL, NULL, e);
    if (st == IG_OK) st = ig_name_parse("second", &changes.name, e);
    if (st == IG_OK) st = ig_store_create(s, "first", &changes, NULL, NULL, e);
    if (st == IG_OK) st = ig_store_copy(s, "second", "third", e);
    if (st == IG_OK) st = ig_store_remove(s, "first", NULL, e);
    if (st == IG_OK) st = ig_store_gc(s, &all, &r, e);
    ig_store_close(s);
    return st;
}

static void test_faults(void)
{
    static const struct {
        ig_fault_kind kind;
        int err_no;
        const char *name;
    } kinds[] = {{IG_FAULT_OPEN, EMFILE, "open"},     {IG_FAULT_READ, EIO, "read"},
                 {IG_FAULT_WRITE, ENOSPC, "write"},   {IG_FAULT_SYNC, EIO, "sync"},
                 {IG_FAULT_RENAME, ENOSPC, "rename"}, {IG_FAULT_ALLOC, ENOMEM, "alloc"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t n = 0, failed = 0, fds = open_fds();
        bool ok = true, texts = true;
        for (ig_status st = IG_BUG; st != IG_OK || failed < n; n++) {
            ig_error e = {0};
            wipe(root);
            ig_fault_set(kinds[k].kind, n + 1, kinds[k].err_no, false);
            st = scenario(&e);
            bool reached = ig_fault_calls(kinds[k].kind) > n;
            ig_fault_reset();
            if (!reached) break;
            failed += st != IG_OK;
            /* the sentence has the cause, and never advises to remove what could only not be read */
            bool told = kinds[k].err_no == ENOMEM ? e.text[0] != 0 : strstr(e.text, strerror(kinds[k].err_no)) != NULL;
            if (st != IG_OK && (!told || strstr(e.text, "Remove"))) texts = false, printf("# %s\n", e.text);
            ok = ok && sound(kinds[k].name) && files_in("parts") == 0;
            if (!ok) printf("# %s call %zu: %s, parts %zu\n", kinds[k].name, n + 1, e.text, files_in("parts"));
            if (!ok) break;
        }
        tap_ok(ok && texts && n > 4,
               "%s fails at each of %zu calls: the store stays sound, nothing is left behind, %zu failures "
               "have a sentence",
               kinds[k].name, n, failed);
        tap_ok(open_fds() == fds, "%s: no descriptor is lost (%zu, before %zu)", kinds[k].name, open_fds(), fds);
    }
    wipe(root);
    ig_error e = {0};
    ig_fault_set(IG_FAULT_READ, 1, 0, false);
    ig_fault_set(IG_FAULT_WRITE, 1, 0, false);
    ig_status st = scenario(&e);
    ig_fault_reset();
    tap_ok(st == IG_OK && sound("short transfers"), "transfers of one byte (M09)");
}

static void test_kills(void)
{
    static const ig_fault_kind kinds[] = {IG_FAULT_OPEN, IG_FAULT_READ, IG_FAULT_WRITE, IG_FAULT_SYNC, IG_FAULT_RENAME};
    size_t n_kills = 0;
    bool ok = true;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds && ok; k++) {
        wipe(root); /* the store is not made anew: each run goes on with what the last one left */
        for (uint64_t n = 1; ok; n++) {
            int status;
            pid_t child = fork();
            if (child == 0) {
                ig_fault_set(kinds[k], n, IG_FAULT_KILL, false);
                _exit(scenario(NULL) == IG_OK ? 0 : 1);
            }
            waitpid(child, &status, 0);
            ok = sound("a kill");
            if (!WIFSIGNALED(status)) {
                ok = ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
                break;
            }
            n_kills++;
        }
    }
    tap_ok(ok && n_kills > 50, "killed at %zu calls: every name has its whole files, and the next run succeeds (M02)",
           n_kills);
    ig_store *s = open_store();
    ig_gc_options all = {0};
    ig_gc_result r;
    ig_error e = {0};
    tap_ok(ig_store_gc(s, &all, &r, &e) == IG_OK, "what the killed left can be collected: %s", e.text);
    ig_store_close(s);
}

/* ------------------------------------------------------------------------------------------------ strange folders */

static void write_file(const char *name, const char *text)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *f = fopen(path, "w");
    if (!f) abort();
    fputs(text, f);
    fclose(f);
}

static void test_strange(void)
{
    ig_error e = {0};
    ig_store *s = open_store();
    ig_manifest *m = NULL;
    ig_digest d;
    ig_verify_result r;
    int fd = -1;
    char path[300], aside[300];
    wipe(root);
    ig_store_close(s);
    s = open_store();
    (void)add_model(s, "m", "GGUF to be replaced", NULL, &m, &e);
    d = m->files[0].digest;
    (void)snprintf(path, sizeof path, "%s/blobs/%.2s/%s", root, d.hex, d.hex);
    (void)snprintf(aside, sizeof aside, "%s/aside", work);
    rename(path, aside);
    if (symlink(aside, path) < 0) abort();
    tap_ok(ig_store_blob_open(s, &d, &fd, NULL, &e) == IG_BAD_INPUT, "a link is no blob (M13): %s", e.text);
    unlink(path);
    if (mkfifo(path, 0600) < 0) abort();
    tap_ok(ig_store_blob_open(s, &d, &fd, NULL, &e) == IG_BAD_INPUT,
           "a FIFO is no blob, and nobody waits for it (M13)");
    unlink(path);
    mkdir(path, 0700);
    tap_ok(ig_store_blob_open(s, &d, &fd, NULL, &e) == IG_BAD_INPUT, "a folder is no blob (M13)");
    rmdir(path);
    rename(aside, path);
    chmod(path, 0600);
    fd = open(path, O_RDWR);
    if (pwrite(fd, "X", 1, 3) != 1) abort();
    close(fd);
    ig_verify_options o = {.quarantine = true};
    tap_ok(ig_store_verify(s, "m", &o, &r, &e) == IG_OK && r.n_damaged == 1, "verify sees one changed byte");
    tap_ok(ig_store_blob_open(s, &d, &fd, NULL, &e) == IG_NOT_FOUND && files_in("damaged") == 1,
           "and moves the file aside");
    ig_manifest_free(m);
    tap_ok(add_model(s, "m", "GGUF to be replaced", NULL, NULL, &e) == IG_OK && sound("a second pull"),
           "what comes again is whole");
    if (truncate(path, 3) < 0) abort();
    tap_ok(ig_store_find(s, "m", &m, &e) == IG_OK && ig_store_files_open(s, m, &fd, &e) == IG_BAD_INPUT && fd == -1,
           "a short file is refused when it is opened: %s", e.text);
    ig_manifest_free(m);
    ig_store_close(s);
    write_file("ingle-store", "99\n");
    tap_ok(ig_store_open(root, NULL, &s, &e) == IG_UNSUPPORTED && strstr(e.text, "99"),
           "a newer store is refused (M24): %s", e.text);
    write_file("ingle-store", "what");
    tap_ok(ig_store_open(root, NULL, &s, &e) == IG_BAD_INPUT, "a damaged mark is refused");
    wipe(root);
    mkdir(root, 0700);
    write_file("letters.txt", "dear");
    tap_ok(ig_store_open(root, NULL, &s, &e) == IG_BAD_INPUT && files_in("") == 1,
           "a folder of other things is left alone: %s", e.text);
    wipe(root);
    ig_store_options read_only = {.read_only = true};
    tap_ok(ig_store_open(root, &read_only, &s, &e) == IG_NOT_FOUND && access(root, F_OK) < 0, "reading makes nothing");
    s = open_store();
    ig_store_close(s);
    tap_ok(ig_store_open(root, &read_only, &s, &e) == IG_OK && ig_store_copy(s, "a", "b", &e) == IG_DENIED,
           "read-only is read-only");
    ig_store_close(s);
}

static void test_manifests(void)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "nonsense",
        "{\"ingle_manifest\":1}",
        "{\"ingle_manifest\":2,\"name\":\"x:y\",\"model\":{\"files\":[]}}",
        "{\"ingle_manifest\":1,\"name\":\"../x\",\"digest\":\"sha256:0\",\"model\":{\"files\":[]}}",
        "{\"ingle_manifest\":1,\"name\":\"x:y\",\"digest\":\"sha256:00\",\"model\":{\"files\":[{\"role\":\"weights\","
        "\"name\":\"../../a\","
        "\"digest\":\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"size\":1}]}}",
        "{\"ingle_manifest\":1,\"name\":\"x:y\",\"name\":\"x:y\"}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["};
    ig_store *s = open_store();
    ig_error e = {0};
    ig_manifest *m;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file("names/x=y.json", bad[i]);
        ig_status st = ig_store_find(s, "x:y", &m, &e);
        tap_ok(st != IG_OK && st != IG_NOT_FOUND && e.text[0], "manifest %zu is refused: %s", i, e.text);
    }
    (void)add_model(s, "good", "GGUF good", NULL, NULL, &e);
    char from[300], text[4000] = "";
    (void)snprintf(from, sizeof from, "%s/names/good=latest.json", root);
    size_t n;
    char *data = tap_read(from, &n);
    (void)snprintf(text, sizeof text, "%s", data);
    char *system = strstr(text, "be kind");
    if (system) memcpy(system, "be evil", 7);
    write_file("names/good=latest.json", text);
    tap_ok(system && ig_store_find(s, "good", &m, &e) == IG_BAD_INPUT && strstr(e.text, "digest"),
           "a changed text is seen: %s", e.text);
    write_file("names/other=latest.json", data);
    tap_ok(data && ig_store_find(s, "x", &m, &e) == IG_NOT_FOUND, "a manifest under another's name is not believed");
    free(data);
    unlink(from);
    ig_store_close(s);
    wipe(root);
}

/* Eight processes, one store. */
static void test_together(void)
{
    enum { PROCESSES = 8, ROUNDS = 60 };
    pid_t children[PROCESSES];
    bool ok = true;
    ig_store_close(open_store());
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i]) continue;
        ig_store *s = open_store();
        ig_error e = {0};
        ig_status st = IG_OK;
        for (int k = 0; k < ROUNDS && st == IG_OK; k++) {
            char name[32], content[64];
            ig_gc_options all = {0};
            ig_gc_result r;
            (void)snprintf(name, sizeof name, "m%d", (i + k) % 5);
            (void)snprintf(content, sizeof content, "GGUF content %d", k % 3);
            st = add_model(s, name, content, NULL, NULL, &e);
            if (st == IG_OK && k % 2) st = ig_store_gc(s, &all, &r, &e);
            if (st == IG_OK && k % 3 != 1 && ig_store_remove(s, name, NULL, &e) == IG_IO) st = IG_IO;
        }
        if (st != IG_OK) printf("# %s\n", e.text), fflush(stdout);
        _exit(st != IG_OK);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        waitpid(children[i], &status, 0);
        ok = ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    tap_ok(ok && sound("eight processes"), "%d processes add, remove and collect at once", PROCESSES);
}

/* One handle, several threads. */
static void *thread_main(void *ctx)
{
    ig_store *s = ctx;
    for (int k = 0; k < 10; k++) {
        ig_error e = {0};
        ig_manifest *m = NULL;
        ig_store_list list;
        char name[32], content[32];
        (void)snprintf(name, sizeof name, "t%d", k % 3);
        (void)snprintf(content, sizeof content, "GGUF thread %d", k % 4);
        if (add_model(s, name, content, NULL, &m, &e) != IG_OK) return ctx;
        ig_manifest_free(m);
        if (ig_store_models(s, &list, &e) != IG_OK || list.n_damaged) return ctx;
        ig_store_list_free(&list);
    }
    return NULL;
}

static void test_threads(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    ig_store *s = open_store();
    bool ok = true;
    for (int i = 0; i < THREADS; i++) ok = pthread_create(&threads[i], NULL, thread_main, s) == 0 && ok;
    for (int i = 0; i < THREADS; i++) {
        void *failed = s;
        ok = pthread_join(threads[i], &failed) == 0 && !failed && ok;
    }
    ig_store_close(s);
    tap_ok(ok && sound("threads"), "%d threads use one handle", THREADS);
}

int main(void)
{
    (void)snprintf(work, sizeof work, "%s/test_store.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(work)) return 1;
    (void)snprintf(root, sizeof root, "%s/store", work);
    test_names();
    test_blobs();
    wipe(root);
    test_models();
    test_add_fds();
    wipe(root);
    test_gc();
    wipe(root);
    test_clock_jumps();
    test_no_descriptors();
    wipe(root);
    test_faults();
    test_kills();
    test_strange();
    wipe(root);
    test_manifests();
    test_together();
    test_threads();
    wipe(work);
    return tap_done();
}
