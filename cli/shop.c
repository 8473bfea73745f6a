#include "shop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "input.h"
#include "out.h"

enum { PLACE_MAX = 3000, CHECK_S_MAX = 600 };

ig_status shop_open(bool read_only, ig_store **out, ig_error *err)
{
    char place[PLACE_MAX];
    ig_store_options options = {.read_only = read_only};
    IG_TRY(ig_store_place(place, sizeof place, err));
    return ig_store_open(place, &options, out, err);
}

/* ------------------------------------------------------------------------------------------------ models */

bool shop_is_name(const char *text)
{
    struct stat sb;
    ig_name name;
    ig_digest digest;
    if (stat(text, &sb) == 0) return false;
    return ig_name_parse(text, &name, NULL) == IG_OK || ig_digest_parse(text, &digest, NULL) == IG_OK;
}

/* The files that make the model itself; projectors and adapters are others. */
static size_t choose_files(const ig_manifest *m, const int *fds, const char **names, int *chosen)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_files; i++) {
        if (m->files[i].role != IG_ROLE_WEIGHTS && m->files[i].role != IG_ROLE_CONFIG) continue;
        names[n] = m->files[i].name;
        chosen[n++] = fds[i];
    }
    return n;
}

static ingle_status open_files(const ig_manifest *m, const int *fds, const ingle_model_options *options,
                               ingle_model **out, ingle_error *err)
{
    const char **names = calloc(m->n_files + 1, sizeof *names);
    int *chosen = calloc(m->n_files + 1, sizeof *chosen);
    ig_error e;
    ingle_status st;
    *out = NULL;
    if (names && chosen) {
        st = ingle_model_open_files(names, chosen, choose_files(m, fds, names, chosen), options, out, err);
    } else {
        ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the files of the model");
        st = input_error(&e, err);
    }
    free(names);
    free(chosen);
    return st;
}

static ig_status open_from(ig_store *store, const char *name, const ingle_model_options *options, ingle_model **out,
                           ig_manifest **manifest, ig_error *err)
{
    ingle_error why;
    IG_TRY(ig_store_find(store, name, manifest, err));
    int *fds = calloc((*manifest)->n_files, sizeof *fds);
    if (!fds) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of the model");
    ig_status st = ig_store_files_open(store, *manifest, fds, err);
    if (st == IG_OK) {
        if (open_files(*manifest, fds, options, out, &why) != INGLE_OK)
            st = ig_fail(err, (ig_status)why.status, why.offset, "%s", why.text);
        for (size_t i = 0; i < (*manifest)->n_files; i++) close(fds[i]);
    }
    free(fds);
    return st;
}

ingle_status shop_model(const char *name, const ingle_model_options *options, ingle_model **out, ig_manifest **manifest,
                        ingle_error *err)
{
    ig_store *store;
    ig_error e;
    ig_manifest *m = NULL;
    *out = NULL;
    ig_status st = shop_open(true, &store, &e);
    if (st == IG_NOT_FOUND) {
        ig_fail(&e, st, 0, "there is no file \"%.150s\", and no store of models yet. Type: ingle pull %.150s", name,
                name);
    } else if (st == IG_OK) {
        st = open_from(store, name, options, out, &m, &e);
        if (st == IG_NOT_FOUND && !m) {
            ig_error why = e;
            ig_fail(&e, st, 0, "there is no file \"%.150s\"; %.300s", name, why.text);
        }
        ig_store_close(store);
    }
    if (st == IG_OK && manifest)
        *manifest = m;
    else
        ig_manifest_free(m);
    return st == IG_OK ? INGLE_OK : input_error(&e, err);
}

/* ------------------------------------------------------------------------------------------------ the check */

typedef struct verdict {
    ig_status st;
    char text[512];
    char about[1024];
} verdict;

static void describe(const ingle_model *model, verdict *v)
{
    ingle_model_info i;
    ingle_model_describe(model, &i);
    double bits = i.n_params ? (double)i.weight_bytes * 8 / (double)i.n_params : 0;
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:f, s:I, s:I, s:b}", "architecture", i.architecture, "name", i.name,
                          "file_type", i.file_type, "parameters", (json_int_t)i.n_params, "bits_per_weight",
                          (double)(long)(bits * 100 + 0.5) / 100, "context", (json_int_t)i.n_ctx_train, "embedding",
                          (json_int_t)i.n_embd, "generates", i.has_logits);
    size_t n = j ? json_dumpb(j, v->about, sizeof v->about - 1, JSON_COMPACT) : 0;
    v->about[n < sizeof v->about ? n : 0] = 0;
    if (n >= sizeof v->about) v->about[0] = 0;
    json_decref(j);
}

static void check_here(const ig_manifest *m, const int *fds, verdict *v)
{
    ingle_model *model;
    ingle_error e;
    v->st = (ig_status)open_files(m, fds, NULL, &model, &e);
    if (v->st == IG_OK)
        describe(model, v);
    else
        (void)snprintf(v->text, sizeof v->text, "%s", e.text);
    ingle_model_close(model);
}

static bool read_verdict(int fd, verdict *v)
{
    size_t n = 0;
    while (n < sizeof *v) {
        ssize_t got = read(fd, (char *)v + n, sizeof *v - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        n += (size_t)got;
    }
    v->text[sizeof v->text - 1] = v->about[sizeof v->about - 1] = 0;
    return v->st < IG_STATUS_COUNT;
}

ig_status shop_check(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err)
{
    static verdict v; /* large; one check at a time */
    int pipe_fds[2], status = 0;
    (void)ctx;
    v = (verdict){0};
    if (pipe(pipe_fds) < 0) return ig_fail_errno(err, IG_IO, errno, "cannot check the model");
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(CHECK_S_MAX);
        check_here(m, fds, &v);
        ssize_t n = write(pipe_fds[1], &v, sizeof v);
        _exit(n == (ssize_t)sizeof v ? 0 : 1);
    }
    close(pipe_fds[1]);
    bool whole = child > 0 && read_verdict(pipe_fds[0], &v);
    close(pipe_fds[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (!whole)
        return ig_fail(err, IG_BAD_INPUT, 0, "the model cannot be read: the check ended with signal %d",
                       child > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    if (v.st != IG_OK) return ig_fail(err, v.st, 0, "%s", v.text);
    if (v.about[0]) (void)ig_buf_add(about, v.about, strlen(v.about));
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ progress */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void shop_catch_interrupt(void)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
}

bool shop_interrupted(void) { return interrupted != 0; }

static const char *const phases[] = {[IG_PULL_ASKING] = "asking",
                                     [IG_PULL_FETCHING] = "loading",
                                     [IG_PULL_WAITING] = "another process loads",
                                     [IG_PULL_VERIFYING] = "verifying",
                                     [IG_PULL_CHECKING] = "checking"};

static void left_text(const ig_pull_progress *p, char *out, size_t n)
{
    double s = p->bytes_per_s > 0 && p->total > p->done ? (double)(p->total - p->done) / p->bytes_per_s : 0;
    out[0] = 0;
    if (s >= 3600)
        (void)snprintf(out, n, ", %.0f h %.0f min left", s / 3600 - 0.5 < 0 ? 0 : (double)(long)(s / 3600),
                       (double)((long)s % 3600 / 60));
    else if (s >= 60)
        (void)snprintf(out, n, ", %ld min %ld s left", (long)s / 60, (long)s % 60);
    else if (s > 0)
        (void)snprintf(out, n, ", %ld s left", (long)s);
}

static void draw(const ig_pull_progress *p, const char *what)
{
    char b[3][16], left[48], words[200];
    left_text(p, left, sizeof left);
    (void)snprintf(words, sizeof words, "%s %.30s  %s%s%s%s%s%s", phases[p->phase], what, cli_bytes(p->done, b[0]),
                   p->total ? " of " : "", p->total ? cli_bytes(p->total, b[1]) : "", p->bytes_per_s > 0 ? ", " : "",
                   p->bytes_per_s > 0 ? cli_bytes((uint64_t)p->bytes_per_s, b[2]) : "", p->bytes_per_s > 0 ? "/s" : "");
    size_t n = strlen(words);
    (void)snprintf(words + n, sizeof words - n, "%s", left);
    cli_bar(p->total ? (double)p->done / (double)p->total : 0, words);
}

bool shop_tell(void *ctx, const ig_pull_progress *p)
{
    shop_progress *s = ctx;
    ig_error clean;
    char size[16];
    if (interrupted) return false;
    if (s->quiet) return true;
    ig_fail(&clean, IG_OK, 0, "%.78s", p->what ? p->what : "");
    if (p->note) {
        cli_bar_end();
        ig_fail(&clean, IG_OK, 0, "%s", p->note);
        cli_note("%s\n", clean.text);
        return true;
    }
    if (cli_bar_shows()) {
        draw(p, clean.text);
        return true;
    }
    if (s->begun && s->phase == p->phase && !strcmp(s->last, clean.text)) return true;
    s->begun = true;
    s->phase = p->phase;
    (void)snprintf(s->last, sizeof s->last, "%.79s", clean.text);
    cli_note("%s %s%s%s\n", phases[p->phase], clean.text, p->total ? ", " : "",
             p->total ? cli_bytes(p->total, size) : "");
    return true;
}

int shop_fail(const ig_error *err)
{
    cli_bar_end();
    int code = cli_fail(err->text);
    return err->status == IG_CANCELLED ? CLI_INTERRUPTED : code;
}

const char *shop_age(int64_t then_s, char out[32])
{
    static const struct {
        long s;
        const char *one, *many;
    } units[] = {{365 * 86400, "a year", "years"}, {30 * 86400, "a month", "months"}, {7 * 86400, "a week", "weeks"},
                 {86400, "a day", "days"},         {3600, "an hour", "hours"},        {60, "a minute", "minutes"}};
    long s = (long)(time(NULL) - then_s);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        long n = s / units[i].s;
        if (n < 1) continue;
        if (n == 1)
            (void)snprintf(out, 32, "%s ago", units[i].one);
        else
            (void)snprintf(out, 32, "%ld %s ago", n, units[i].many);
        return out;
    }
    (void)snprintf(out, 32, "just now");
    return out;
}

static json_t *file_json(const ig_store_file *f)
{
    char digest[80];
    (void)snprintf(digest, sizeof digest, "sha256:%s", f->digest.hex);
    return json_pack("{s:s, s:s, s:s, s:I}", "role", ig_role_name(f->role), "name", f->name, "digest", digest, "size",
                     (json_int_t)f->size);
}

json_t *shop_manifest_json(const ig_manifest *m)
{
    char digest[80];
    json_t *files = json_array();
    (void)snprintf(digest, sizeof digest, "sha256:%s", m->digest.hex);
    for (size_t i = 0; i < m->n_files; i++) (void)json_array_append_new(files, file_json(&m->files[i]));
    return json_pack("{s:s, s:s, s:I, s:s*, s:I, s:s*, s:s*, s:s*, s:s*, s:s*, s:o*, s:o*, s:o*, s:o}", "name",
                     m->name.text, "digest", digest, "size", (json_int_t)ig_manifest_bytes(m), "format", m->format,
                     "added", (json_int_t)m->added_s, "source", m->source, "license", m->licence, "base", m->base,
                     "template", m->template, "system", m->system, "parameters",
                     m->parameters ? json_loads(m->parameters, 0, NULL) : NULL, "messages",
                     m->messages ? json_loads(m->messages, 0, NULL) : NULL, "about",
                     m->about ? json_loads(m->about, 0, NULL) : NULL, "files", files);
}
