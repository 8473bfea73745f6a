/* The folder: opened and made, locked, listed; names found, copied and taken away. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "base/sort.h"
#include "inner.h"

enum { PATH_BYTES_MAX = 3072, RESERVE_BYTES = 64 << 20, PREFIX_MIN = 6 };
#define MARK "ingle-store"

ig_status ig_store_place(char *out, size_t n, ig_error *err)
{
    const char *own = getenv("INGLE_STORE"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int len;
    if (own && *own)
        len = snprintf(out, n, "%s", own);
    else if (geteuid() == 0)
        len = snprintf(out, n, "/var/lib/ingle");
    else if (data && data[0] == '/')
        len = snprintf(out, n, "%s/ingle", data);
    else if (home && home[0] == '/')
        len = snprintf(out, n, "%s/.local/share/ingle", home);
    else
        return ig_fail(err, IG_NOT_FOUND, 0, "there is no place for the store: set INGLE_STORE to a folder");
    if (len < 0 || (size_t)len >= n) return ig_fail(err, IG_TOO_LARGE, 0, "the path of the store is too long");
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ opening */

/* All folders of the path, the last with mode 0700. */
static bool make_path(const char *path)
{
    char part[PATH_BYTES_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (size_t i = 1; i <= n; i++) {
        if (path[i] && path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, path[i] ? 0755 : 0700) == 0) {
            if (!ig_disk_sync_parent(AT_FDCWD, part)) return false;
        } else if (errno != EEXIST && (!path[i] || errno != EROFS))
            return false;
    }
    return true;
}

/* Opens a folder of the store; made where it may be. -1 when it is not there. */
static int open_folder(ig_store *s, const char *name)
{
    if (!s->read_only && mkdirat(s->root_fd, name, 0700) == 0) {
        if (!ig_disk_sync(s->root_fd)) return -1;
    } else if (!s->read_only && errno != EEXIST) {
        if (errno != EROFS && errno != EACCES) return -1;
        (void)snprintf(s->why_read_only, sizeof s->why_read_only, "%s", strerror(errno));
        s->read_only = true;
    }
    return ig_disk_open(s->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

static int count_entries(DIR *d)
{
    int n = 0;
    for (struct dirent *e; n < 1 && (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    return n;
}

static bool is_empty(int fd)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = own < 0 ? NULL : fdopendir(own);
    if (!d) {
        if (own >= 0) close(own);
        return false;
    }
    int n = count_entries(d);
    closedir(d);
    return n == 0;
}

/* What the mark in the folder says: version 0 when there is none. */
static ig_status read_mark(ig_store *s, uint64_t *version, ig_error *err)
{
    char text[32] = "";
    *version = 0;
    int fd = ig_disk_open_regular(s->root_fd, MARK, O_RDONLY, NULL);
    if (fd < 0 && errno == ENOENT) return IG_OK;
    if (fd < 0)
        return ig_fail_errno(err, errno == EACCES ? IG_DENIED : IG_IO, errno, "cannot open %.300s/" MARK, s->root);
    ssize_t n = ig_disk_read_at(fd, text, sizeof text - 1, 0);
    int e = errno;
    close(fd);
    if (n < 0) return ig_fail_errno(err, IG_IO, e, "cannot read %.300s/" MARK, s->root);
    char *end;
    *version = strtoull(text, &end, 10);
    if (end == text || *end != '\n' || *version == 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.300s/" MARK " is damaged, expected a version such as 1", s->root);
    if (*version > IG_STORE_VERSION)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "the store %.300s has version %llu, this ingle knows version %d: update it", s->root,
                       (unsigned long long)*version, (int)IG_STORE_VERSION);
    return IG_OK;
}

static bool is_leftover(const char *name)
{
    static const char *const own[] = {"lock", "blobs", "refs", "names", "parts", "catalogues", "state", "damaged"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(name, own[i])) return true;
    return !strncmp(name, MARK, strlen(MARK));
}

static bool only_leftovers(void *ctx, int dir, const char *entry)
{
    (void)dir;
    return is_leftover(entry) || ((*(bool *)ctx = false));
}

static const struct {
    const char *name;
    size_t at;
} folders[] = {{"blobs", offsetof(ig_store, blobs_fd)},
               {"refs", offsetof(ig_store, refs_fd)},
               {"names", offsetof(ig_store, names_fd)},
               {"parts", offsetof(ig_store, parts_fd)}};
enum { FOLDERS = sizeof folders / sizeof *folders };

/* The mark comes last: a folder without one that holds something else is not ours, and where there is one the folders,
 * and the store itself, are on the disk. */
static ig_status make_store(ig_store *s, ig_error *err)
{
    bool ours = true;
    if (!is_empty(s->root_fd)) IG_TRY(ig_folder_walk(s->root_fd, ".", only_leftovers, &ours, err));
    if (!ours)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.300s holds other things than a store, expected an empty folder",
                       s->root);
    if (s->read_only) return ig_fail(err, IG_NOT_FOUND, 0, "there is no store in %.300s", s->root);
    for (size_t i = 0; i < FOLDERS; i++)
        if (mkdirat(s->root_fd, folders[i].name, 0700) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return ig_disk_failed(s, errno, "make the folder", folders[i].name, err);
    if (!ig_disk_sync(s->root_fd)) return ig_disk_failed(s, errno, "sync the folder", s->root, err);
    if (!ig_disk_sync_parent(AT_FDCWD, s->root)) return ig_disk_failed(s, errno, "sync the folder that holds", s->root, err);
    if (!ig_disk_write_whole(s->root_fd, MARK, "1\n", 2, 0644)) {
        if (errno == EROFS || errno == EACCES)
            return ig_fail_errno(err, IG_DENIED, errno, "cannot make a store in %.300s", s->root);
        return ig_disk_failed(s, errno, "write the mark", MARK, err);
    }
    return IG_OK;
}

static ig_status open_folders(ig_store *s, ig_error *err)
{
    for (size_t i = 0; i < FOLDERS; i++) {
        int fd = open_folder(s, folders[i].name);
        if (fd < 0) return ig_disk_failed(s, errno, "open the store's folder", folders[i].name, err);
        *(int *)(void *)((char *)s + folders[i].at) = fd;
    }
    if (!s->read_only && faccessat(s->names_fd, ".", W_OK, AT_EACCESS) < 0) {
        (void)snprintf(s->why_read_only, sizeof s->why_read_only, "%s", strerror(errno));
        s->read_only = true;
    }
    return IG_OK;
}

static ig_status open_root(ig_store *s, const char *root, ig_error *err)
{
    uint64_t version;
    struct stat sb;
    if (!s->read_only && !make_path(root) && errno != EROFS && errno != EACCES)
        return ig_fail_errno(err, IG_IO, errno, "cannot make the folder %.300s", root);
    s->root_fd = ig_disk_open(AT_FDCWD, root, O_RDONLY | O_DIRECTORY, 0);
    if (s->root_fd < 0)
        return ig_fail_errno(err,
                             errno == ENOENT   ? IG_NOT_FOUND
                             : errno == EACCES ? IG_DENIED
                                               : IG_IO,
                             errno, "cannot open the store %.300s", root);
    if (fstat(s->root_fd, &sb) < 0) return ig_fail_errno(err, IG_IO, errno, "cannot read the owner of %.300s", root);
    s->owner = sb.st_uid;
    IG_TRY(read_mark(s, &version, err));
    if (version == 0) IG_TRY(make_store(s, err));
    return open_folders(s, err);
}

ig_status ig_store_open(const char *root, const ig_store_options *options, ig_store **out, ig_error *err)
{
    *out = NULL;
    ig_store *s = ig_calloc(1, sizeof *s);
    if (!s) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the store");
    s->root_fd = s->blobs_fd = s->refs_fd = s->names_fd = s->parts_fd = -1;
    s->read_only = options && options->read_only;
    if (s->read_only) (void)snprintf(s->why_read_only, sizeof s->why_read_only, "it was opened for reading");
    s->reserve_bytes = options && options->reserve_bytes ? options->reserve_bytes : RESERVE_BYTES;
    size_t n = strlen(root);
    s->root = ig_alloc(n + 1);
    ig_status st = IG_OK;
    if (!s->root)
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the store");
    else
        memcpy(s->root, root, n + 1);
    if (st == IG_OK) st = open_root(s, root, err);
    if (st == IG_OK)
        *out = s;
    else
        ig_store_close(s);
    return st;
}

void ig_store_close(ig_store *s)
{
    if (!s) return;
    int fds[] = {s->root_fd, s->blobs_fd, s->refs_fd, s->names_fd, s->parts_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0) close(fds[i]);
    ig_free(s->root);
    ig_free(s);
}

const char *ig_store_root(const ig_store *s) { return s->root; }
bool ig_store_is_read_only(const ig_store *s) { return s->read_only; }

ig_status ig_store_writable(const ig_store *s, ig_error *err)
{
    if (!s->read_only) return IG_OK;
    return ig_fail(err, IG_DENIED, 0, "the store %.300s cannot be changed: %s", s->root, s->why_read_only);
}

ig_status ig_disk_failed(ig_store *s, int e, const char *doing, const char *what, ig_error *err)
{
    ig_status st = e == EACCES || e == EPERM || e == EROFS ? IG_DENIED : IG_IO;
    if (e == ENOSPC || e == EDQUOT)
        return ig_fail_errno(
            err, st, e, "cannot %s %.200s, free some space (ingle gc, ingle rm) or choose another folder than %.200s",
            doing, what, s->root);
    return ig_fail_errno(err, st, e, "cannot %s %.200s in %.200s", doing, what, s->root);
}

ig_status ig_store_lock(ig_store *s, bool exclusive, int *fd, ig_error *err)
{
    *fd = ig_disk_open(s->root_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (*fd < 0) return ig_disk_failed(s, errno, "open the file", "lock", err);
    if (ig_disk_lock(*fd, exclusive, true)) return IG_OK;
    int e = errno;
    close(*fd);
    *fd = -1;
    return ig_disk_failed(s, e, "lock", "the store", err);
}

static ig_status folder_failed(int dir, const char *name, int e, ig_error *err)
{
    char link[64], path[300];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return ig_fail_errno(err, IG_IO, e, "cannot read the folder %.300s/%.100s", path, name);
}

ig_status ig_folder_walk(int dir, const char *name, bool (*each)(void *ctx, int dir, const char *entry), void *ctx,
                         ig_error *err)
{
    int fd = ig_disk_open(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int e = errno;
        if (fd >= 0) close(fd);
        return folder_failed(dir, name, e, err);
    }
    int e = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(d);
        e = errno;
        if (!entry) break;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (!each(ctx, fd, entry->d_name)) break;
    }
    closedir(d);
    return e ? folder_failed(dir, name, e, err) : IG_OK;
}

/* ------------------------------------------------------------------------------------------------ listing */

typedef struct lister {
    ig_store *s;
    ig_store_list *list;
    size_t cap;
    ig_status st;
    ig_error *err;
} lister;

static bool is_manifest(const char *file)
{
    size_t n = strlen(file);
    return n > 5 && !strcmp(file + n - 5, ".json") && file[0] != '.';
}

static bool list_room(lister *l)
{
    if (l->list->n < l->cap) return true;
    size_t cap = l->cap ? l->cap * 2 : 32;
    void *p = cap <= IG_MODELS_MAX * 2 ? ig_realloc(l->list->models, cap, sizeof *l->list->models) : NULL;
    if (!p) {
        l->st = ig_fail(l->err, IG_NO_MEMORY, 0, "out of memory for the list of models");
        return false;
    }
    l->list->models = p;
    l->cap = cap;
    return true;
}

static bool list_one(void *ctx, int dir, const char *file)
{
    lister *l = ctx;
    ig_error e;
    ig_manifest *m;
    char own[IG_NAME_MAX + 8];
    (void)dir;
    if (!is_manifest(file)) return true;
    if (!list_room(l)) return false;
    ig_status st = ig_manifest_load(l->s, file, &m, &e);
    if (st == IG_NOT_FOUND) return true; /* taken away meanwhile */
    if (st == IG_OK) {
        ig_name_file(&m->name, own);
        st = IG_BAD_INPUT;
        if (!strcmp(own, file)) {
            l->list->models[l->list->n++] = m;
            return true;
        }
        ig_fail(&e, IG_BAD_INPUT, 0, "manifest %.100s is damaged: it says that its name is %.100s", file, m->name.text);
        ig_manifest_free(m);
    }
    /* Want of memory or descriptors says nothing about this manifest: nobody gets a list that lacks it. */
    if (st == IG_NO_MEMORY || (st == IG_IO && (e.sys_errno == EMFILE || e.sys_errno == ENFILE))) {
        l->st = ig_fail(l->err, st, 0, "%s", e.text);
        return false;
    }
    if (l->list->n_damaged++ == 0) {
        (void)snprintf(l->list->damaged, sizeof l->list->damaged, "%s", e.text);
        l->list->first_damaged = st;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcasecmp((*(ig_manifest *const *)a)->name.text, (*(ig_manifest *const *)b)->name.text);
}

ig_status ig_store_models(ig_store *s, ig_store_list *out, ig_error *err)
{
    lister l = {.s = s, .list = out, .err = err};
    *out = (ig_store_list){0};
    ig_status st = ig_folder_walk(s->names_fd, ".", list_one, &l, err);
    if (st == IG_OK) st = l.st;
    if (st != IG_OK) {
        ig_store_list_free(out);
        return st;
    }
    if (out->n) qsort(out->models, out->n, sizeof *out->models, by_name);
    return IG_OK;
}

void ig_store_list_free(ig_store_list *list)
{
    for (size_t i = 0; i < list->n; i++) ig_manifest_free(list->models[i]);
    ig_free(list->models);
    *list = (ig_store_list){0};
}

/* ------------------------------------------------------------------------------------------------ finding */

/* 6 to 64 digits, perhaps behind "sha256:". */
static bool digest_prefix(const char *text, const char **hex)
{
    *hex = !strncmp(text, "sha256:", 7) || !strncmp(text, "sha256-", 7) ? text + 7 : text;
    size_t n = strspn(*hex, "0123456789abcdef");
    return n >= PREFIX_MIN && n <= IG_HEX_LEN && !(*hex)[n];
}

/* The one model whose digest begins so; names of one digest are one model. *n counts digests. */
static void match_digest(ig_store_list *list, const char *hex, size_t *n, ig_manifest **out)
{
    *out = NULL;
    for (size_t i = 0; i < list->n; i++) {
        ig_manifest *m = list->models[i];
        if (strncmp(m->digest.hex, hex, strlen(hex)) || (*out && !strcmp(m->digest.hex, (*out)->digest.hex))) continue;
        if (++*n == 1) *out = m;
    }
}

/* Another tag of the same model, for the message. */
static const char *near_name(const ig_store_list *list, const char *text)
{
    size_t n = strcspn(text, ":");
    for (size_t i = 0; i < list->n; i++)
        if (!strncasecmp(list->models[i]->name.text, text, n) && list->models[i]->name.text[n] == ':')
            return list->models[i]->name.text;
    for (size_t i = 0; i < list->n && n >= 3; i++)
        if (!strncasecmp(list->models[i]->name.text, text, n)) return list->models[i]->name.text;
    return NULL;
}

static ig_status find_in_list(ig_store_list *list, const char *text, const char *hex, ig_manifest **out, ig_error *err)
{
    size_t n = 0;
    if (hex) match_digest(list, hex, &n, out);
    if (n > 1)
        return ig_fail(err, IG_BAD_INPUT, 0, "%zu models have a digest that begins with %.70s, give more of it", n,
                       hex);
    if (n == 0) {
        const char *near = near_name(list, text);
        return ig_fail(err, IG_NOT_FOUND, 0, "model \"%.120s\" is not in the store%s%.120s%s", text,
                       near ? ", did you mean " : ". Type: ingle list", near ? near : "", near ? "?" : "");
    }
    for (size_t i = 0; i < list->n; i++)
        if (list->models[i] == *out) list->models[i] = list->models[--list->n];
    return IG_OK;
}

ig_status ig_store_find(ig_store *s, const char *text, ig_manifest **out, ig_error *err)
{
    const char *hex = NULL;
    char file[IG_NAME_MAX + 8];
    ig_name name;
    ig_store_list list;
    *out = NULL;
    ig_status named = ig_name_parse(text, &name, err);
    bool is_digest = digest_prefix(text, &hex);
    if (named != IG_OK && !is_digest) return named;
    if (named == IG_OK) {
        ig_name_file(&name, file);
        ig_status st = ig_manifest_load(s, file, out, err);
        if (st != IG_NOT_FOUND) return st;
    }
    IG_TRY(ig_store_models(s, &list, err));
    ig_status st = find_in_list(&list, text, is_digest ? hex : NULL, out, err);
    if (st != IG_OK) *out = NULL;
    ig_store_list_free(&list);
    return st;
}

/* ------------------------------------------------------------------------------------------------ copying, removing */

ig_status ig_store_copy(ig_store *s, const char *from, const char *to, ig_error *err)
{
    ig_manifest *m;
    ig_name name;
    int lock;
    IG_TRY(ig_store_writable(s, err));
    IG_TRY(ig_name_parse(to, &name, err));
    IG_TRY(ig_store_lock(s, true, &lock, err));
    ig_status st = ig_store_find(s, from, &m, err);
    if (st == IG_OK) {
        m->name = name;
        st = ig_manifest_save(s, m, lock, NULL, err);
        ig_manifest_free(m);
    }
    close(lock);
    return st;
}

static ig_status remove_locked(ig_store *s, const char *text, uint64_t *freed, ig_error *err)
{
    ig_manifest *m;
    char file[IG_NAME_MAX + 8];
    ig_status st = ig_store_find(s, text, &m, err);
    /* Perhaps an earlier try took it away and could not sync: who hears that it is gone may rely on that. */
    if (st == IG_NOT_FOUND && !ig_disk_sync(s->names_fd))
        return ig_disk_failed(s, errno, "sync the folder of names without", text, err);
    if (st != IG_OK) return st;
    ig_name_file(&m->name, file);
    if (unlinkat(s->names_fd, file, 0) < 0 || !ig_disk_sync(s->names_fd))
        st = ig_disk_failed(s, errno, "remove the manifest of", m->name.text, err);
    if (st == IG_OK) st = ig_collect_files(s, m->files, m->n_files, freed, err);
    ig_manifest_free(m);
    return st;
}

ig_status ig_store_remove(ig_store *s, const char *name, uint64_t *freed, ig_error *err)
{
    uint64_t own = 0;
    int lock;
    if (!freed) freed = &own;
    *freed = 0;
    IG_TRY(ig_store_writable(s, err));
    IG_TRY(ig_store_lock(s, true, &lock, err));
    ig_status st = remove_locked(s, name, freed, err);
    close(lock);
    return st;
}
