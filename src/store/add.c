/* Models become visible: all their blobs are held open while they are checked and until the manifest is on the disk. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "inner.h"

ig_status ig_manifest_save(ig_store *s, const ig_manifest *m, int lock, ig_manifest **out, ig_error *err)
{
    char file[IG_NAME_MAX + 8], *text;
    ig_digest digest;
    ig_status st = IG_OK;
    (void)lock; /* shows that the caller holds it */
    IG_TRY(ig_manifest_write(m, &digest, &text, err));
    ig_name_file(&m->name, file);
    if (!ig_disk_write_whole(s->names_fd, file, text, strlen(text), 0644))
        st = ig_disk_failed(s, errno, "write the manifest of", m->name.text, err);
    if (st == IG_OK && out) st = ig_manifest_read(m->name.text, ig_str_from(text), out, err);
    ig_free(text);
    return st;
}

static void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0) close(fds[i]);
}

/* The check's findings become m->about, borrowed from the buffer. */
static ig_status run_check(ig_manifest *m, const int *fds, const ig_check *check, ig_buf *about, ig_error *err)
{
    if (!check || !check->run) return IG_OK;
    IG_TRY(check->run(check->ctx, m, fds, about, err));
    if (about->len == 0) return IG_OK;
    if (!ig_buf_add(about, "", 1)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for what the check found");
    m->about = about->ptr;
    return IG_OK;
}

static ig_status add_open(ig_store *s, ig_manifest *m, const int *fds, const ig_check *check, ig_manifest **out,
                          ig_error *err)
{
    ig_buf about;
    int lock;
    ig_buf_init(&about, 1 << 20);
    ig_status st = run_check(m, fds, check, &about, err);
    if (st == IG_OK) st = ig_blobs_settle(s, m->files, m->n_files, err);
    if (st == IG_OK) st = ig_store_lock(s, true, &lock, err);
    if (st == IG_OK) {
        st = ig_manifest_save(s, m, lock, out, err);
        close(lock);
    }
    ig_buf_fini(&about);
    return st;
}

ig_status ig_store_add(ig_store *s, const ig_manifest *given, const ig_check *check, ig_manifest **out, ig_error *err)
{
    ig_manifest m = *given;
    if (out) *out = NULL;
    IG_TRY(ig_store_writable(s, err));
    m.added_s = ig_clock_s() > 0 ? ig_clock_s() : 0;
    m.about = NULL;
    if (m.name.text[0]) IG_TRY(ig_name_parse(given->name.text, &m.name, err));
    IG_TRY(ig_manifest_check(&m, err));
    int *fds = ig_alloc(m.n_files * sizeof *fds);
    if (!fds) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of %.100s", m.name.text);
    ig_status st = ig_store_files_open(s, &m, fds, err);
    if (st == IG_OK) {
        st = add_open(s, &m, fds, check, out, err);
        close_all(fds, m.n_files);
    }
    ig_free(fds);
    return st;
}

/* Stores the files one by one; *n of them have a lease. */
static ig_status store_fds(ig_store *s, ig_store_file *files, const int *fds, size_t n_files, int *leases, size_t *n,
                           ig_error *err)
{
    for (*n = 0; *n < n_files; ++*n) {
        ig_store_file *f = &files[*n];
        IG_TRY(
            ig_blob_add_fd(s, fds[*n], f->digest.hex[0] ? &f->digest : NULL, &f->digest, &f->size, &leases[*n], err));
    }
    return IG_OK;
}

ig_status ig_store_add_fds(ig_store *s, const ig_manifest *given, const int *fds, const ig_check *check,
                           ig_manifest **out, ig_error *err)
{
    ig_manifest m = *given;
    size_t n = 0;
    if (out) *out = NULL;
    if (m.n_files == 0 || m.n_files > IG_FILES_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "a model has 1 to %d files, not %zu", (int)IG_FILES_MAX, m.n_files);
    ig_store_file *files = ig_alloc(m.n_files * sizeof *files);
    int *leases = ig_alloc(m.n_files * sizeof *leases);
    ig_status st = files && leases ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of the model");
    if (st == IG_OK) {
        memcpy(files, given->files, m.n_files * sizeof *files);
        m.files = files;
        st = store_fds(s, files, fds, m.n_files, leases, &n, err);
    }
    if (st == IG_OK) st = ig_store_add(s, &m, check, out, err);
    if (leases) close_all(leases, n);
    ig_free(files);
    ig_free(leases);
    return st;
}

/* ------------------------------------------------------------------------------------------------ create */

static const char *changed(const char *change, const char *old) { return !change ? old : *change ? change : NULL; }

/* The old object with the members of the new one in it; null takes a member away. *out NULL where nothing is left. */
static ig_status merge(const char *change, const char *old, char **out, ig_error *err)
{
    json_t *into = NULL, *from = NULL;
    *out = NULL;
    ig_status st = ig_store_json("parameters", ig_str_from(old ? old : "{}"), 1000, &into, err);
    if (st == IG_OK && change) st = ig_store_json("parameters", ig_str_from(change), 1000, &from, err);
    if (st == IG_OK && (!json_is_object(into) || (from && !json_is_object(from))))
        st = ig_fail(err, IG_BAD_INPUT, 0, "the parameters of a model must be a JSON object");
    const char *key;
    json_t *value;
    if (st == IG_OK) json_object_foreach(from, key, value)
        {
            if (json_is_null(value))
                (void)json_object_del(into, key);
            else if (json_object_set(into, key, value) < 0)
                st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the parameters");
        }
    if (st == IG_OK && json_object_size(into) && !(*out = ig_json_dump(into)))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the parameters");
    json_decref(into);
    json_decref(from);
    return st;
}

ig_status ig_store_create(ig_store *s, const char *from, const ig_manifest *changes, const ig_check *check,
                          ig_manifest **out, ig_error *err)
{
    ig_manifest *base, m;
    char *parameters;
    if (out) *out = NULL;
    IG_TRY(ig_store_writable(s, err));
    IG_TRY(ig_store_find(s, from, &base, err));
    m = *base;
    m.name = changes->name;
    m.template = changed(changes->template, base->template);
    m.system = changed(changes->system, base->system);
    m.licence = changed(changes->licence, base->licence);
    m.messages = changed(changes->messages, base->messages);
    ig_status st = merge(changes->parameters, base->parameters, &parameters, err);
    if (st == IG_OK) {
        m.parameters = parameters;
        st = ig_store_add(s, &m, check, out, err);
    }
    ig_free(parameters);
    ig_manifest_free(base);
    return st;
}
