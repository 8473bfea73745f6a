/* Taking a model out of the store: its files as they were called, cloned where the file system can. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "inner.h"

enum { BLOCK = 1 << 20, PATH_BYTES_MAX = 3500 };
#define MANIFEST "ingle.json"

typedef struct exporter {
    const ig_export_options *o;
    const char *what;
    uint64_t done, total;
} exporter;

static bool tell(exporter *x, uint64_t done)
{
    ig_pull_progress p = {.phase = IG_PULL_FETCHING, .what = x->what, .done = done, .total = x->total};
    p.all_done = x->done + done;
    p.all_total = x->total;
    return !x->o->progress || x->o->progress(x->o->ctx, &p);
}

static ig_status copy_bytes(exporter *x, int from, int to, const char *path, ig_error *err)
{
    char *block = ig_alloc(BLOCK);
    ig_status st = block ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for copying %.200s", path);
    uint64_t at = 0;
    while (st == IG_OK) {
        ssize_t n = ig_disk_read_at(from, block, BLOCK, at);
        if (n < 0) st = ig_fail_errno(err, IG_IO, errno, "cannot read the store's file for %.200s", path);
        if (n <= 0) break;
        if (!ig_disk_write_at(to, block, (size_t)n, at))
            st = ig_fail_errno(err, IG_IO, errno, "cannot write %.250s", path);
        at += (uint64_t)n;
        if (st == IG_OK && at / BLOCK % 16 == 0 && !tell(x, at))
            st = ig_fail(err, IG_CANCELLED, 0, "the export was cancelled");
    }
    ig_free(block);
    return st;
}

/* Is the file there with this content already? Then there is nothing to do. */
static bool is_same(int from, int dir, const char *name)
{
    struct stat a, b;
    int fd = ig_disk_open_regular(dir, name, O_RDONLY, NULL);
    char *block = fd >= 0 ? ig_alloc(2 * (size_t)BLOCK) : NULL;
    bool same = block && fstat(from, &a) == 0 && fstat(fd, &b) == 0 && a.st_size == b.st_size;
    for (uint64_t at = 0; same && at < (uint64_t)a.st_size;) {
        ssize_t n = ig_disk_read_at(from, block, BLOCK, at);
        same =
            n > 0 && ig_disk_read_at(fd, block + BLOCK, (size_t)n, at) == n && !memcmp(block, block + BLOCK, (size_t)n);
        at += n > 0 ? (uint64_t)n : 0;
    }
    ig_free(block);
    if (fd >= 0) close(fd);
    return same;
}

static bool is_same_text(const char *text, int dir, const char *name)
{
    ig_buf there;
    int fd = ig_disk_open_regular(dir, name, O_RDONLY, NULL);
    if (fd < 0) return false;
    ig_buf_init(&there, IG_MANIFEST_BYTES_MAX);
    bool same = ig_fd_read_all(fd, name, &there, NULL) == IG_OK && there.len == strlen(text) &&
                !memcmp(there.ptr ? there.ptr : "", text, there.len);
    ig_buf_fini(&there);
    close(fd);
    return same;
}

/* Under another name first, so that what carries the file's name is whole. */
static ig_status put_file(exporter *x, int from, int dir, const char *name, const char *path, ig_error *err)
{
    char part[300];
    struct stat sb;
    if (!x->o->replace && fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) == 0 && is_same(from, dir, name)) return IG_OK;
    if (!x->o->replace && fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) == 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.250s is there already. Type: --force to replace it", path);
    if (fstat(from, &sb) < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read the store's file for %.200s", path);
    (void)snprintf(part, sizeof part, ".%.255s.part", name);
    int fd = ig_disk_open(dir, part, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
    if (fd < 0) return ig_fail_errno(err, errno == EACCES ? IG_DENIED : IG_IO, errno, "cannot write %.250s", path);
    ig_status st = ig_disk_clone(fd, from) ? IG_OK : copy_bytes(x, from, fd, path, err);
    if (st == IG_OK && (!ig_disk_sync(fd) || !ig_disk_rename(dir, part, dir, name) || !ig_disk_sync(dir)))
        st = ig_fail_errno(err, IG_IO, errno, "cannot write %.250s", path);
    close(fd);
    if (st != IG_OK) (void)unlinkat(dir, part, 0);
    return st;
}

/* The folders of a file such as "1_Pooling/config.json"; *dir is the innermost, to be closed. */
static ig_status enter(int root, const char *name, const char **file, int *dir, ig_error *err)
{
    char part[256];
    *dir = dup(root);
    for (const char *p = name, *slash; *dir >= 0 && (slash = strchr(p, '/')); p = slash + 1) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(slash - p), p);
        (void)mkdirat(*dir, part, 0755);
        int next = ig_disk_open(*dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        close(*dir);
        *dir = next;
    }
    const char *slash = strrchr(name, '/');
    *file = slash ? slash + 1 : name;
    return *dir >= 0 ? IG_OK : ig_fail_errno(err, IG_IO, errno, "cannot make the folders of %.200s", name);
}

static ig_status put_manifest(exporter *x, const ig_manifest *m, int root, const char *folder, ig_error *err)
{
    char *text;
    ig_digest d;
    struct stat sb;
    ig_status st = IG_OK;
    IG_TRY(ig_manifest_write(m, &d, &text, err));
    bool there = !x->o->replace && fstatat(root, MANIFEST, &sb, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !is_same_text(text, root, MANIFEST))
        st = ig_fail(err, IG_BAD_INPUT, 0, "%.250s/" MANIFEST " is there already. Type: --force to replace it", folder);
    else if (!there && !ig_disk_write_whole(root, MANIFEST, text, strlen(text), 0644))
        st = ig_fail_errno(err, IG_IO, errno, "cannot write %.250s/" MANIFEST, folder);
    ig_free(text);
    return st;
}

static ig_status to_folder(exporter *x, const ig_manifest *m, const int *fds, const char *folder, ig_error *err)
{
    if (!ig_disk_make_folder(AT_FDCWD, folder, 0755, true))
        return ig_fail_errno(err, IG_IO, errno, "cannot make the folder %.300s", folder);
    int root = ig_disk_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0);
    if (root < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open the folder %.300s", folder);
    ig_status st = IG_OK;
    for (size_t i = 0; i < m->n_files && st == IG_OK; i++) {
        char path[PATH_BYTES_MAX + 300];
        const char *file;
        int dir;
        (void)snprintf(path, sizeof path, "%s/%s", folder, m->files[i].name);
        x->what = m->files[i].name;
        st = enter(root, m->files[i].name, &file, &dir, err);
        if (st != IG_OK) break;
        st = put_file(x, fds[i], dir, file, path, err);
        close(dir);
        x->done += m->files[i].size;
    }
    if (st == IG_OK) st = put_manifest(x, m, root, folder, err);
    close(root);
    return st;
}

static ig_status to_file(exporter *x, const ig_manifest *m, const int *fds, const char *path, ig_error *err)
{
    char folder[PATH_BYTES_MAX];
    size_t one = m->n_files, n = 0;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < m->n_files; i++)
        if (m->files[i].role == IG_ROLE_WEIGHTS) one = i, n++;
    if (n != 1 || strcmp(m->format ? m->format : "", "gguf") != 0)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "model %.150s has %zu files, expected a folder (such as %.100s/) to put them in", m->name.text,
                       m->n_files, path);
    if (!*name || strlen(name) > 255 || strlen(path) >= sizeof folder)
        return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no name of a file", path);
    (void)snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash == path ? 1 : slash - path) : 1,
                   slash ? path : ".");
    int dir = ig_disk_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0) return ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot open the folder %.300s", folder);
    x->what = name;
    ig_status st = put_file(x, fds[one], dir, name, path, err);
    close(dir);
    return st;
}

ig_status ig_store_export(ig_store *s, const char *name, const char *path, const ig_export_options *options,
                          ig_manifest **out, ig_error *err)
{
    static const ig_export_options none = {0};
    exporter x = {.o = options ? options : &none};
    ig_manifest *m;
    size_t len = strlen(path);
    if (out) *out = NULL;
    if (len == 0 || len >= PATH_BYTES_MAX) return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no path", path);
    IG_TRY(ig_store_find(s, name, &m, err));
    int *fds = ig_calloc(m->n_files + 1, sizeof *fds);
    ig_status st = fds ? ig_store_files_open(s, m, fds, err)
                       : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of the model");
    if (st == IG_OK) {
        x.total = ig_manifest_bytes(m);
        st = path[len - 1] == '/' || ig_is_directory(path) ? to_folder(&x, m, fds, path, err)
                                                           : to_file(&x, m, fds, path, err);
        for (size_t i = 0; i < m->n_files; i++) close(fds[i]);
    }
    ig_free(fds);
    if (st == IG_OK && out)
        *out = m;
    else
        ig_manifest_free(m);
    return st;
}
