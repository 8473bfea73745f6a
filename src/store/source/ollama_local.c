/* The store of an Ollama on this machine: manifests/HOST/NAMESPACE/MODEL/TAG and blobs/sha256-DIGEST. It is read and
 * never written. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "source.h"

enum { LEVELS = 4, PATH_BYTES_MAX = 3000, MANIFEST_BYTES_MAX = 1 << 20 };

typedef struct importer {
    ig_asker asker;
    const ig_import_options *o;
    ig_import_result *out;
    const char *root;
    char parts[LEVELS][256];
    int level;
    ig_status st;
    ig_error *err;
} importer;

/* The parts of the path as the name that Ollama shows. */
static ig_status name_of(importer *im, ig_name *out, ig_error *err)
{
    char text[1100];
    const char *host = im->parts[0], *space = im->parts[1];
    bool own = !strcmp(host, "registry.ollama.ai"), library = own && !strcmp(space, "library");
    (void)snprintf(text, sizeof text, "%s%s%s%s%s:%s", own ? "" : host, own ? "" : "/", library ? "" : space,
                   library ? "" : "/", im->parts[2], im->parts[3]);
    return ig_name_parse(text, out, err);
}

static ig_status import_manifest(importer *im, int dir, const char *file, const ig_name *name, ig_manifest **out,
                                 ig_error *err)
{
    char blobs[PATH_BYTES_MAX + 16];
    ig_buf buf;
    ig_plan plan = {.arena = {.max_bytes = 64 << 20}};
    int fd = ig_disk_open_regular(dir, file, O_RDONLY, NULL);
    if (fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open the manifest of %.150s", name->text);
    ig_buf_init(&buf, MANIFEST_BYTES_MAX);
    ig_status st = ig_fd_read_all(fd, name->text, &buf, err);
    close(fd);
    (void)snprintf(blobs, sizeof blobs, "%s/blobs", im->root);
    if (st == IG_OK) st = ig_image_plan((ig_str){buf.ptr ? buf.ptr : "", buf.len}, NULL, blobs, &plan, NULL, err);
    for (size_t i = 0; i < plan.n && im->o && im->o->copy; i++) plan.items[i].take = IG_TAKE_COPY;
    plan.m.name = *name;
    if (st == IG_OK && !(plan.m.source = ig_plan_printf(&plan, "ollama store %s", im->root)))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the source");
    if (st == IG_OK) st = ig_plan_run(&im->asker, &plan, im->out, out, err);
    ig_buf_fini(&buf);
    ig_arena_fini(&plan.arena);
    return st;
}

static void import_one(importer *im, int dir, const char *file)
{
    ig_error e = {0};
    ig_name name, wanted;
    ig_manifest *m = NULL;
    const char *only = im->o ? im->o->pull.name : NULL;
    ig_status st = name_of(im, &name, &e);
    if (st == IG_OK && only) {
        if (ig_name_parse(only, &wanted, NULL) != IG_OK || strcasecmp(wanted.text, name.text)) return;
    }
    if (st == IG_OK) st = import_manifest(im, dir, file, &name, &m, &e);
    if (st == IG_OK)
        im->out->n_models++;
    else
        im->out->n_refused++;
    bool told = im->o && im->o->each && !(st == IG_OK && im->asker.o->would);
    if (told) im->o->each(im->o->ctx, st == IG_OK ? name.text : file, m, st == IG_OK ? NULL : e.text);
    ig_manifest_free(m);
    if (st != IG_CANCELLED && st != IG_NO_MEMORY) return;
    im->st = st;
    if (im->err) *im->err = e;
}

/* Four levels down, no deeper. */
static bool visit(void *ctx, int dir, const char *entry)
{
    importer *im = ctx;
    struct stat sb;
    if (entry[0] == '.' || fstatat(dir, entry, &sb, AT_SYMLINK_NOFOLLOW) < 0) return true;
    (void)snprintf(im->parts[im->level], sizeof im->parts[0], "%s", entry);
    if (im->level == LEVELS - 1) {
        if (S_ISREG(sb.st_mode)) import_one(im, dir, entry);
    } else if (S_ISDIR(sb.st_mode)) {
        im->level++;
        (void)ig_folder_walk(dir, entry, visit, im, NULL);
        im->level--;
    }
    return im->st == IG_OK;
}

/* OLLAMA_MODELS, the user's own, the service's: the first that is there. */
static bool usual_place(char *out, size_t n)
{
    const char *own = getenv("OLLAMA_MODELS"), *home = getenv("HOME");
    char places[3][1024] = {"", "", "/usr/share/ollama/.ollama/models"};
    if (own && *own) (void)snprintf(places[0], sizeof places[0], "%s", own);
    if (home && *home) (void)snprintf(places[1], sizeof places[1], "%s/.ollama/models", home);
    for (size_t i = 0; i < 3; i++) {
        char manifests[1100];
        (void)snprintf(manifests, sizeof manifests, "%s/manifests", places[i]);
        if (!places[i][0] || !ig_is_directory(manifests)) continue;
        (void)snprintf(out, n, "%s", places[i]);
        return true;
    }
    return false;
}

ig_status ig_store_import(ig_store *s, const char *path, const ig_import_options *options, ig_import_result *out,
                          ig_error *err)
{
    static const ig_pull_options none = {0};
    char usual[1024], manifests[PATH_BYTES_MAX + 16];
    *out = (ig_import_result){0};
    if (!options || !options->pull.would) IG_TRY(ig_store_writable(s, err));
    if (!path && !usual_place(usual, sizeof usual))
        return ig_fail(err, IG_NOT_FOUND, 0,
                       "there is no store of Ollama on this machine, or it may not be read: give its folder");
    char *root = realpath(path ? path : usual, NULL);
    if (!root || strlen(root) >= PATH_BYTES_MAX) {
        ig_status st = ig_fail_errno(err, root ? IG_TOO_LARGE : IG_NOT_FOUND, root ? ENAMETOOLONG : errno,
                                     "cannot open %.300s", path ? path : usual);
        free(root);
        return st;
    }
    importer im = {
        .asker = {s, options ? &options->pull : &none, NULL}, .o = options, .out = out, .root = root, .err = err};
    (void)snprintf(manifests, sizeof manifests, "%s/manifests", root);
    ig_status st;
    if (ig_is_directory(manifests))
        st = ig_folder_walk(AT_FDCWD, manifests, visit, &im, err);
    else if (ig_hub_is_cache(root))
        st = ig_hub_import(&im.asker, root, options, out, err);
    else
        st = ig_fail(err, IG_BAD_INPUT, 0,
                     "%.300s is neither a store of Ollama (a folder manifests) nor a cache of the Hugging Face hub "
                     "(folders models--ORG--REPO)",
                     root);
    free(root);
    return st == IG_OK ? im.st : st;
}
