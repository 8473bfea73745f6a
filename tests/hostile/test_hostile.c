/* The hostile-file suite (reliability.md 2.2): every row of rows.c is written to a file and opened in a child process
 * that has one second of CPU time and 64 MiB. A hostile file must give a named error with the expected words, a legal
 * one must open. TAP on standard output.
 *
 *   test_hostile               run all rows
 *   test_hostile TEXT          run the rows whose id contains TEXT
 *   test_hostile --list        id, stage and expectation of every row
 *   test_hostile --write DIR   write all files and MANIFEST.tsv into DIR
 *
 * Built with -DHOSTILE_FORMAT_ONLY it needs the file reader alone and skips the rows of later stages. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/status.h"
#include "build.h"
#include "rows.h"
#ifndef HOSTILE_FORMAT_ONLY
#include "ingle.h"
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { MEMORY_MAX = 64 << 20, SECONDS_MAX = SANITIZED ? 20 : 1, WAIT_MAX = 30 * SECONDS_MAX, PARTS_MAX = 12 };

static const char *const stage_names[] = {"format", "vocabulary", "model"};

/* ------------------------------------------------------------------------------------------------ from row to files */

static void edit_key(draft *d, const edit *e)
{
    char *filler = NULL;
    const char *text = e->text;
    if (!text && (e->op == OP_STR || e->op == OP_ITEM || e->op == OP_RAW_KEY)) {
        filler = malloc(e->len + 1);
        if (!filler) exit(2);
        memset(filler, 'x', e->len);
        text = filler;
    }
    switch (e->op) {
    case OP_INT: draft_set_int(d, e->at, e->type, e->v); break;
    case OP_FLOAT: draft_set_float(d, e->at, e->type, e->f); break;
    case OP_STR: draft_set_str(d, e->at, text, e->len); break;
    case OP_LIST: draft_set_array(d, e->at, e->type, e->n, e->v, e->f, text); break;
    case OP_SIZE: draft_resize_array(d, e->at, e->n); break;
    case OP_ITEM: draft_set_string_item(d, e->at, e->n, text, e->len); break;
    case OP_DROP: draft_drop_key(d, e->at); break;
    case OP_COPY: draft_copy_key(d, e->at, e->text); break;
    case OP_RAW_KEY: draft_add_key(d, text, e->len, IG_META_U8, IG_META_U8, 1, "\1", 1); break;
    case OP_ALIGN:
        d->alignment = (uint32_t)e->v;
        draft_set_int(d, "general.alignment", IG_META_U32, e->v);
        break;
    case OP_FLOOD_KEYS: d->n_flood_keys = e->n; break;
    default: break;
    }
    free(filler);
}

static void edit_tensor(draft *d, const edit *e)
{
    draft_tensor *t = NULL;
    if (e->op == OP_SHAPE || e->op == OP_NAME || e->op == OP_OFFSET) t = draft_tensor_at(d, e->at);
    switch (e->op) {
    case OP_SHAPE: draft_shape(t, e->type, (uint32_t)e->n, e->ne); break;
    case OP_NAME: (void)snprintf(t->name, sizeof t->name, "%s", e->text); break;
    case OP_OFFSET:
        t->offset = e->v;
        t->offset_fixed = true;
        break;
    case OP_NEW_TENSOR: draft_add_tensor(d, e->at, e->type, (uint32_t)e->n, e->ne); break;
    case OP_NO_TENSOR: draft_drop_tensor(d, e->at); break;
    case OP_FLOOD_TENSORS: d->n_flood_tensors = e->n; break;
    case OP_GPT2: draft_use_gpt2(d); break;
    case OP_BERT: draft_use_bert(d); break;
    case OP_EMPTY:
        draft_fini(d);
        draft_empty(d);
        break;
    default: break;
    }
}

static void edit_draft(draft *d, const edit *e)
{
    edit_key(d, e);
    edit_tensor(d, e);
}

static void edit_image(image *img, const edit *e)
{
    switch (e->op) {
    case OP_PUT: image_put(img, e->at, e->delta, e->type, e->v); break;
    case OP_CUT: image_resize(img, (size_t)((int64_t)image_at(img, e->at) + e->delta)); break;
    case OP_CUT_TO: image_resize(img, e->n); break;
    case OP_APPEND: image_resize(img, img->size + e->n); break;
    default: break;
    }
}

static const edit *find_edit(const row *r, edit_op op, unsigned part)
{
    for (size_t i = 0; i < ROW_EDITS_MAX; i++)
        if (r->edits[i].op == op && r->edits[i].part == part) return &r->edits[i];
    return NULL;
}

static unsigned parts_of(const row *r)
{
    const edit *e = find_edit(r, OP_SPLIT, 0);
    return e ? (unsigned)e->n : 1;
}

/* Leaves in d what belongs to part p of n: later parts have no metadata but the split keys. */
static void keep_part(draft *d, unsigned p, unsigned n)
{
    size_t all = d->n_tensors, first = all * p / n, behind = all * (p + 1) / n;
    while (p > 0 && d->n_keys) draft_drop_key(d, d->keys[0].name);
    draft_set_int(d, "split.no", IG_META_U16, p);
    draft_set_int(d, "split.count", IG_META_U16, n);
    draft_set_int(d, "split.tensors.count", IG_META_I32, all);
    memmove(d->tensors, d->tensors + first, (behind - first) * sizeof *d->tensors);
    d->n_tensors = behind - first;
}

/* The bytes of part p. */
static void make_image(const row *r, unsigned p, unsigned n_parts, image *img)
{
    draft d;
    draft_init(&d);
    if (n_parts > 1) keep_part(&d, p, n_parts);
    for (size_t i = 0; i < ROW_EDITS_MAX; i++)
        if (r->edits[i].part == p) edit_draft(&d, &r->edits[i]);
    draft_write(&d, img);
    for (size_t i = 0; i < ROW_EDITS_MAX; i++)
        if (r->edits[i].part == p) edit_image(img, &r->edits[i]);
    draft_fini(&d);
}

static void part_name(const row *r, const char *dir, unsigned p, char *out, size_t n)
{
    char id[128];
    size_t len = 0;
    for (const char *s = r->id; *s && len + 1 < sizeof id; s++) id[len++] = *s == '/' ? '_' : *s;
    id[len] = 0;
    unsigned n_parts = parts_of(r);
    if (n_parts == 1)
        (void)snprintf(out, n, "%s/%s.gguf", dir, id);
    else
        (void)snprintf(out, n, "%s/%s-%05u-of-%05u.gguf", dir, id, p + 1, n_parts);
}

static void write_file(const char *path, const image *img)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(img->bytes, 1, img->size, f) != img->size || fclose(f) != 0) {
        perror(path);
        exit(2);
    }
}

static void write_row(const row *r, const char *dir)
{
    unsigned n_parts = parts_of(r);
    for (unsigned p = 0; p < n_parts; p++) {
        char path[1024];
        image img;
        part_name(r, dir, p, path, sizeof path);
        if (find_edit(r, OP_NO_FILE, p)) continue;
        make_image(r, find_edit(r, OP_SAME_FILE, p) ? 0 : p, n_parts, &img);
        write_file(path, &img);
        image_fini(&img);
    }
}

static void remove_row(const row *r, const char *dir)
{
    char path[1024];
    for (unsigned p = 0; p < parts_of(r); p++) {
        part_name(r, dir, p, path, sizeof path);
        (void)unlink(path);
    }
}

static void path_to_open(const row *r, const char *dir, char *out, size_t n)
{
    unsigned part = 0;
    for (size_t i = 0; i < ROW_EDITS_MAX; i++)
        if (r->edits[i].op == OP_OPEN) part = r->edits[i].part;
    part_name(r, dir, part, out, n);
}

/* ------------------------------------------------------------------------------------------------ opening */

typedef struct verdict { /* what the child reports */
    int status;
    char text[512];
} verdict;

#ifdef HOSTILE_FORMAT_ONLY
static bool stage_available(stage s) { return s == FORMAT; }

static void open_row(stage s, const char *path, verdict *v)
{
    ig_format *f;
    ig_error err = {0};
    (void)s;
    v->status = (int)ig_format_open(path, &f, &err);
    memcpy(v->text, err.text, sizeof v->text);
    ig_format_close(f);
}
#else
static bool stage_available(stage s)
{
    (void)s;
    return true;
}

static void open_row(stage s, const char *path, verdict *v)
{
    ingle_model *m = NULL;
    ingle_error err = {0};
    const ingle_model_options options = {.size = sizeof options, .vocab_only = s != MODEL};
    if (s == FORMAT) { /* a file may be legal for the reader and yet no model */
        ig_format *f;
        ig_error ferr = {0};
        v->status = (int)ig_format_open(path, &f, &ferr);
        memcpy(v->text, ferr.text, sizeof v->text);
        ig_format_close(f);
        if (v->status == IG_OK) return;
    }
    v->status = (int)ingle_model_open(path, &options, &m, &err);
    memcpy(v->text, err.text, sizeof v->text);
    ingle_model_close(m);
}
#endif

/* Address space of this process in bytes. */
static rlim_t address_space(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld", &pages) != 1) pages = 0;
    if (f) (void)fclose(f);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void child(stage s, const char *path, int out)
{
    verdict v = {0};
    rlim_t base = address_space();
    if (!SANITIZED && base) {
        struct rlimit limit = {base + MEMORY_MAX, base + MEMORY_MAX};
        (void)setrlimit(RLIMIT_AS, &limit);
    }
    struct rlimit no_core = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &no_core);
    /* The processor's time: other load must fail nobody. Who sleeps instead is ended by the alarm. */
    (void)setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = SECONDS_MAX}, NULL);
    (void)alarm(WAIT_MAX);
    open_row(s, path, &v);
    ssize_t done = write(out, &v, sizeof v);
    exit(done == (ssize_t)sizeof v ? 0 : 3); /* not _exit: the leak checker and coverage report at exit */
}

/* Runs the child; false with a reason when it did not end by itself with a report. */
static bool run_child(stage s, const char *path, verdict *v, char *why, size_t why_bytes)
{
    int fds[2], status = 0;
    (void)fflush(stdout);
    if (pipe(fds) != 0) exit(2);
    pid_t pid = fork();
    if (pid < 0) exit(2);
    if (pid == 0) child(s, path, fds[1]);
    (void)close(fds[1]);
    ssize_t n = read(fds[0], v, sizeof *v);
    (void)close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    int signal_nr = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signal_nr == SIGPROF)
        (void)snprintf(why, why_bytes, "no answer within %d s of CPU time", SECONDS_MAX);
    else if (signal_nr == SIGALRM)
        (void)snprintf(why, why_bytes, "no answer within %d s", WAIT_MAX);
    else if (signal_nr)
        (void)snprintf(why, why_bytes, "killed by signal %d", signal_nr);
    else if (n != (ssize_t)sizeof *v || WEXITSTATUS(status) != 0)
        (void)snprintf(why, why_bytes, "exit status %d without a report", WEXITSTATUS(status));
    else
        return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------ judging */

static bool has(const char *text, const char *word, size_t n)
{
    for (; *text; text++)
        if (!strncasecmp(text, word, n)) return true;
    return n == 0;
}

/* "a+b|c": a, and b or c. */
static bool matches(const char *text, const char *expect)
{
    bool any = false;
    for (;;) {
        size_t n = strcspn(expect, "+|");
        any = any || has(text, expect, n);
        if (expect[n] != '|') {
            if (!any) return false;
            if (expect[n] == 0) return true;
            any = false;
        }
        expect += n + 1;
    }
}

/* NULL when the verdict is right. */
static const char *judge(const row *r, const verdict *v)
{
    bool either = r->expect && !strcmp(r->expect, EITHER);
    if (v->status == IG_OK) return r->expect && !either ? "opened, expected an error" : NULL;
    if (!r->expect) return "refused, expected to open";
    if (v->status == IG_BUG) return "reported as a bug";
    if (v->status == IG_NO_MEMORY) return "took more memory than allowed";
    if (v->text[0] == 0) return "error without a text";
    return either || matches(v->text, r->expect) ? NULL : "message lacks the expected words";
}

static bool run_row(const row *r, size_t number, const char *dir, size_t *n_skipped)
{
    char path[1024], why[128] = "";
    verdict v = {0};
    if (!stage_available(r->stage)) {
        printf("ok %zu - %s # SKIP stage %s is not built\n", number, r->id, stage_names[r->stage]);
        (*n_skipped)++;
        return true;
    }
    write_row(r, dir);
    path_to_open(r, dir, path, sizeof path);
    const char *wrong = run_child(r->stage, path, &v, why, sizeof why) ? judge(r, &v) : why;
    remove_row(r, dir);
    printf("%s %zu - %s\n", wrong ? "not ok" : "ok", number, r->id);
    if (wrong)
        printf("# %s: expected %s, status %d, text: %s\n", wrong, r->expect ? r->expect : "to open", v.status, v.text);
    return !wrong;
}

/* ------------------------------------------------------------------------------------------------ main */

static int list_rows(void)
{
    for (size_t i = 0; i < n_rows; i++)
        printf("%s\t%s\t%s\n", rows[i].id, stage_names[rows[i].stage], rows[i].expect ? rows[i].expect : "must open");
    return 0;
}

static int write_all(const char *dir)
{
    char path[1024];
    (void)mkdir(dir, 0777);
    (void)snprintf(path, sizeof path, "%s/MANIFEST.tsv", dir);
    FILE *f = fopen(path, "w");
    if (!f) {
        perror(path);
        return 2;
    }
    (void)fprintf(f, "file\tid\trule\tstage\texpectation\n");
    for (size_t i = 0; i < n_rows; i++) {
        const row *r = &rows[i];
        write_row(r, dir);
        path_to_open(r, dir, path, sizeof path);
        (void)fprintf(f, "%s\t%s\t%.*s\t%s\t", strrchr(path, '/') + 1, r->id, (int)strcspn(r->id, "-"), r->id,
                      stage_names[r->stage]);
        if (!r->expect)
            (void)fprintf(f, "must open\n");
        else if (!strcmp(r->expect, EITHER))
            (void)fprintf(f, "error or success within 1 s and 64 MiB\n");
        else
            (void)fprintf(f, "error with: %s\n", r->expect);
    }
    return fclose(f) == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--list")) return list_rows();
    if (argc == 3 && !strcmp(argv[1], "--write")) return write_all(argv[2]);
    char dir[] = "/tmp/ingle-hostile-XXXXXX";
    size_t n = 0, n_failed = 0, n_skipped = 0;
    if (!mkdtemp(dir)) return 2;
    for (size_t i = 0; i < n_rows; i++) {
        if (argc == 2 && !strstr(rows[i].id, argv[1])) continue;
        if (!run_row(&rows[i], ++n, dir, &n_skipped)) n_failed++;
    }
    (void)rmdir(dir);
    printf("1..%zu\n# %zu rows, %zu failed, %zu skipped\n", n, n, n_failed, n_skipped);
    return n_failed ? 1 : 0;
}
