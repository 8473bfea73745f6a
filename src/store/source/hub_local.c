/* The Hugging Face hub's own cache on this machine: models--ORG--REPO/snapshots/COMMIT/..., links to blobs/DIGEST. It
 * is read and never written. Of every repository the commit that refs/main names is taken over (else the only one):
 * each GGUF file with its other parts as a model, or the directory with safetensors. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "source.h"

enum { PATH_BYTES_MAX = 3000, FILES_MAX = 20000, DEPTH_MAX = 2 };

typedef struct importer {
    ig_asker asker;
    const ig_import_options *o;
    ig_import_result *out;
    const char *root;
    ig_status st;
    ig_error *err;
} importer;

typedef struct repo {
    const char *folder;        /* models--ORG--REPO */
    char id[256], commit[256]; /* ORG/REPO */
    char snapshot[PATH_BYTES_MAX + 600];
    size_t n_snapshots;
    json_t *list; /* as the hub's interface lists files */
} repo;

/* ------------------------------------------------------------------------------------------------ what is there */

typedef struct lister {
    repo *r;
    const char *below; /* "" or "folder/" */
    unsigned depth;
} lister;

static bool list_entry(void *ctx, int dir, const char *entry)
{
    const lister *l = ctx;
    struct stat sb;
    char path[600], target[512], inner[PATH_BYTES_MAX + 1300];
    ig_digest d;
    int n = snprintf(path, sizeof path, "%s%s", l->below, entry);
    if (entry[0] == '.' || n < 0 || (size_t)n >= sizeof path - 1 || fstatat(dir, entry, &sb, 0) < 0) return true;
    if (S_ISDIR(sb.st_mode) && l->depth < DEPTH_MAX) {
        (void)snprintf(inner, sizeof inner, "%s/%s", l->r->snapshot, path);
        (void)strcat(path, "/");
        lister below = {l->r, path, l->depth + 1};
        (void)ig_folder_walk(AT_FDCWD, inner, list_entry, &below, NULL);
        return true;
    }
    if (!S_ISREG(sb.st_mode) || json_array_size(l->r->list) >= FILES_MAX) return true;
    ssize_t len = readlinkat(dir, entry, target, sizeof target - 1);
    target[len > 0 ? len : 0] = 0;
    const char *slash = strrchr(target, '/');
    bool sum = ig_digest_parse(slash ? slash + 1 : target, &d, NULL) == IG_OK; /* large files are named by SHA-256 */
    json_t *item = json_pack("{s:s, s:s, s:I}", "type", "file", "path", path, "size", (json_int_t)sb.st_size);
    if (item && sum) (void)json_object_set_new(item, "lfs", json_pack("{s:s}", "oid", d.hex));
    return json_array_append_new(l->r->list, item) == 0;
}

static bool see_snapshot(void *ctx, int dir, const char *entry)
{
    repo *r = ctx;
    (void)dir;
    if (r->n_snapshots++ == 0) (void)snprintf(r->commit, sizeof r->commit, "%.200s", entry);
    return true;
}

static ig_status find_commit(const importer *im, repo *r, ig_error *err)
{
    char path[PATH_BYTES_MAX + 600];
    ig_buf text;
    (void)snprintf(path, sizeof path, "%s/%s/refs/main", im->root, r->folder);
    ig_buf_init(&text, 64);
    bool named = ig_file_read(path, &text, NULL) == IG_OK && text.len;
    if (named) (void)snprintf(r->commit, sizeof r->commit, "%.*s", (int)text.len, text.ptr);
    ig_buf_fini(&text);
    (void)snprintf(path, sizeof path, "%s/%s/snapshots", im->root, r->folder);
    if (!named) IG_TRY(ig_folder_walk(AT_FDCWD, path, see_snapshot, r, err));
    if (!named && r->n_snapshots != 1)
        return ig_fail(err, IG_NOT_FOUND, 0, "it has %zu snapshots and no refs/main, expected one", r->n_snapshots);
    r->commit[strspn(r->commit, "0123456789abcdef")] = 0;
    if (!r->commit[0]) return ig_fail(err, IG_BAD_INPUT, 0, "its refs/main names no commit");
    (void)snprintf(r->snapshot, sizeof r->snapshot, "%s/%s", path, r->commit);
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ one model */

static ig_status set_items(const importer *im, const repo *r, ig_plan *plan, ig_error *err)
{
    for (size_t i = 0; i < plan->n; i++) {
        ig_item *item = &plan->items[i];
        if (!ig_file_name_valid(item->url))
            return ig_fail(err, IG_BAD_INPUT, 0, "the cache names a file \"%.150s\"", item->url);
        item->local = ig_plan_printf(plan, "%s/%s", r->snapshot, item->url);
        item->url = NULL;
        item->take = im->o && im->o->copy ? IG_TAKE_COPY : IG_TAKE_REFER;
        if (!item->local) return ig_fail(err, IG_TOO_LARGE, 0, "the path of %.150s is too long", item->name);
    }
    return IG_OK;
}

/* Another file of the repository makes another tag of it; the one that is alone is "latest". */
static ig_status name_of(const repo *r, const char *want, ig_name *out, ig_error *err)
{
    char text[IG_NAME_MAX + 300], stem[256];
    ig_name tag;
    if (!want) {
        (void)snprintf(text, sizeof text, "hf.co/%s", r->id);
        return ig_name_parse(text, out, err);
    }
    const char *slash = strrchr(want, '/'), *file = slash ? slash + 1 : want;
    (void)snprintf(stem, sizeof stem, "%.*s", (int)(strlen(file) - 5), file);
    IG_TRY(ig_name_from(stem, &tag, err));
    (void)snprintf(text, sizeof text, "hf.co/%s:%.*s", r->id, (int)strcspn(tag.text, ":"), tag.text);
    return ig_name_parse(text, out, err);
}

/* want: a file of several, or NULL. */
static void import_model(importer *im, const repo *r, const char *want, bool alone)
{
    ig_plan plan = {.arena = {.max_bytes = 64 << 20}};
    ig_error e = {0};
    ig_name only;
    ig_manifest *m = NULL;
    char *text = json_dumps(r->list, JSON_COMPACT);
    ig_status st = text ? ig_hub_plan(ig_str_from(text), want, &plan, &e)
                        : ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the list of files");
    free(text);
    if (st == IG_OK) st = set_items(im, r, &plan, &e);
    if (st == IG_OK) st = name_of(r, alone ? NULL : want, &plan.m.name, &e);
    const char *wanted = im->o ? im->o->pull.name : NULL;
    if (st == IG_OK && wanted &&
        (ig_name_parse(wanted, &only, NULL) != IG_OK || strcasecmp(only.text, plan.m.name.text) != 0)) {
        ig_arena_fini(&plan.arena);
        return;
    }
    if (st == IG_OK &&
        !(plan.m.source = ig_plan_printf(&plan, "hf://%s@%s%s%s", r->id, r->commit, want ? ":" : "", want ? want : "")))
        st = ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the source");
    if (st == IG_OK) st = ig_plan_run(&im->asker, &plan, im->out, &m, &e);
    im->out->n_models += st == IG_OK;
    im->out->n_refused += st != IG_OK;
    bool told = im->o && im->o->each && !(st == IG_OK && im->asker.o->would);
    if (told) im->o->each(im->o->ctx, st == IG_OK ? plan.m.name.text : r->id, m, st == IG_OK ? NULL : e.text);
    ig_manifest_free(m);
    ig_arena_fini(&plan.arena);
    if (st != IG_CANCELLED && st != IG_NO_MEMORY) return;
    im->st = st;
    if (im->err) *im->err = e;
}

/* ------------------------------------------------------------------------------------------------ one repository */

/* Files that make a model each: no projectors, and of a split file the first part. */
static size_t find_models(const json_t *list, const char **files, size_t max)
{
    const json_t *item;
    size_t i, n = 0, stem;
    json_array_foreach(list, i, item)
    {
        const char *path = ig_json_text(item, "path"), *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
        unsigned index = 1, all;
        if (!ig_ends(path, ".gguf") || strcasestr(file, "mmproj") || strcasestr(file, "imatrix")) continue;
        (void)ig_split_name(file, &index, &all, &stem);
        if (index == 1 && n < max) files[n++] = path;
    }
    return n;
}

static void import_repo(importer *im, repo *r)
{
    const char *files[256];
    lister l = {r, "", 0};
    ig_error e = {0};
    ig_status st =
        r->list ? find_commit(im, r, &e) : ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the list of files");
    if (st == IG_OK) st = ig_folder_walk(AT_FDCWD, r->snapshot, list_entry, &l, &e);
    if (st != IG_OK) {
        im->out->n_refused++;
        if (im->o && im->o->each) im->o->each(im->o->ctx, r->id, NULL, e.text);
        return;
    }
    size_t n = find_models(r->list, files, sizeof files / sizeof *files);
    if (n == 0) import_model(im, r, NULL, true);
    for (size_t i = 0; i < n && im->st == IG_OK; i++) import_model(im, r, files[i], n == 1);
}

static bool visit(void *ctx, int dir, const char *entry)
{
    importer *im = ctx;
    struct stat sb;
    repo r = {.folder = entry};
    if (strncmp(entry, "models--", 8) != 0 || fstatat(dir, entry, &sb, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(sb.st_mode))
        return true;
    (void)snprintf(r.id, sizeof r.id, "%.250s", entry + 8);
    char *dashes = strstr(r.id, "--");
    if (!dashes) return true; /* a repository of nobody's, from the hub's early days */
    *dashes = '/';
    memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    r.list = json_array();
    import_repo(im, &r);
    json_decref(r.list);
    return im->st == IG_OK;
}

static bool see_repo(void *ctx, int dir, const char *entry)
{
    (void)dir;
    if (strncmp(entry, "models--", 8) == 0) *(bool *)ctx = true;
    return true;
}

bool ig_hub_is_cache(const char *root)
{
    bool found = false;
    return ig_folder_walk(AT_FDCWD, root, see_repo, &found, NULL) == IG_OK && found;
}

ig_status ig_hub_import(ig_asker *a, const char *root, const ig_import_options *o, ig_import_result *out, ig_error *err)
{
    importer im = {.asker = *a, .o = o, .out = out, .root = root, .err = err};
    if (strlen(root) >= PATH_BYTES_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "the path %.200s is too long", root);
    ig_status st = ig_folder_walk(AT_FDCWD, root, visit, &im, err);
    return st == IG_OK ? im.st : st;
}
