#include "shop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "input.h"
#include "out.h"

enum { PLACE_MAX = 3000 };

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

/* The files that make the model itself; projectors are others. */
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
    IG_TRY(ig_manifest_usable(*manifest, err));
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

/* ------------------------------------------------------------------------------------------------ a folder of links */

static ig_status add_link(const shop_folder *f, size_t i, ig_error *err)
{
    char to[700], from[64];
    const char *name = f->m->files[i].name, *slash = strchr(name, '/');
    if (slash && strchr(slash + 1, '/')) return IG_OK; /* no file of ours lies two folders deep */
    if (slash) {
        (void)snprintf(to, sizeof to, "%s/%.*s", f->folder, (int)(slash - name), name);
        if (mkdir(to, 0700) && errno != EEXIST) return ig_fail_errno(err, IG_IO, errno, "cannot make %.300s", to);
    }
    (void)snprintf(from, sizeof from, "/proc/%ld/fd/%d", (long)getpid(), f->fds[i]);
    (void)snprintf(to, sizeof to, "%s/%s", f->folder, name);
    return symlink(from, to) == 0 ? IG_OK : ig_fail_errno(err, IG_IO, errno, "cannot make %.300s", to);
}

static bool is_first_part(const char *name) { return strstr(name, "-00001-of-") != NULL; }

static ig_status make_links(shop_folder *f, ig_error *err)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(f->folder, sizeof f->folder, "%.200s/ingle-model.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(f->folder)) {
        f->folder[0] = 0;
        return ig_fail_errno(err, IG_IO, errno, "cannot make a folder for the files of the model");
    }
    bool gguf = f->m->format && !strcmp(f->m->format, "gguf");
    (void)snprintf(f->path, sizeof f->path, "%s", f->folder);
    for (size_t i = f->m->n_files; i-- > 0;) {
        IG_TRY(add_link(f, i, err));
        bool weights = gguf && f->m->files[i].role == IG_ROLE_WEIGHTS;
        if (weights && (!strchr(f->path + strlen(f->folder), '/') || is_first_part(f->m->files[i].name)))
            (void)snprintf(f->path, sizeof f->path, "%s/%.255s", f->folder, f->m->files[i].name);
    }
    return IG_OK;
}

ig_status shop_folder_init(shop_folder *f, const char *name, ig_error *err)
{
    ig_store *store;
    *f = (shop_folder){0};
    if (shop_open(true, &store, err) != IG_OK)
        return err->status != IG_NOT_FOUND
                   ? err->status
                   : ig_fail(err, IG_NOT_FOUND, 0, "there is no file \"%.150s\", and no store of models yet", name);
    ig_status st = ig_store_find(store, name, &f->m, err);
    int *fds = st == IG_OK ? calloc(f->m->n_files + 1, sizeof *fds) : NULL;
    if (st == IG_OK && !fds) st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of the model");
    if (st == IG_OK && (st = ig_store_files_open(store, f->m, fds, err)) == IG_OK) {
        f->fds = fds;
        st = make_links(f, err);
    } else {
        free(fds);
    }
    ig_store_close(store);
    if (st != IG_OK) shop_folder_fini(f);
    return st;
}

void shop_folder_fini(shop_folder *f)
{
    for (size_t i = 0; f->fds && i < f->m->n_files; i++) {
        char path[700];
        (void)snprintf(path, sizeof path, "%s/%.255s", f->folder, f->m->files[i].name);
        if (f->folder[0]) (void)unlink(path);
        char *slash = strrchr(path, '/');
        if (slash && strchr(f->m->files[i].name, '/')) {
            *slash = 0;
            if (f->folder[0]) (void)rmdir(path); /* succeeds with its last file */
        }
        close(f->fds[i]);
    }
    if (f->folder[0]) (void)rmdir(f->folder);
    free(f->fds);
    ig_manifest_free(f->m);
    *f = (shop_folder){0};
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
    if (p->phase == IG_PULL_ASKING || p->phase == IG_PULL_CHECKING) {
        (void)snprintf(words, sizeof words, "%s %.60s", phases[p->phase], what);
        cli_bar(p->phase == IG_PULL_CHECKING, words);
        return;
    }
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
    cli_note("%s %s%s%s\n", s->sends ? "writing" : phases[p->phase], clean.text, p->total ? ", " : "",
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
