/* A path on this machine: a GGUF file, the first part of several, or a directory with safetensors. */
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

bool ig_ends(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && !strcasecmp(text + n - m, tail);
}

bool ig_split_name(const char *name, unsigned *index, unsigned *n, size_t *stem_len)
{
    size_t len = strlen(name);
    char tail[21];
    if (len <= 20 || !ig_ends(name, ".gguf")) return false;
    memcpy(tail, name + len - 20, 20); /* -00001-of-00003.gguf */
    tail[20] = 0;
    for (size_t i = 0; i < 15; i++) {
        static const char form[] = "-ddddd-of-ddddd";
        if (form[i] == 'd' && strchr("0123456789", tail[i]) && tail[i]) continue;
        if (form[i] == 'd' || form[i] != tail[i]) return false;
    }
    unsigned long i = strtoul(tail + 1, NULL, 10), all = strtoul(tail + 10, NULL, 10);
    if (i < 1 || i > all || all > IG_FILES_MAX) return false;
    *index = (unsigned)i;
    *n = (unsigned)all;
    *stem_len = len - 20;
    return true;
}

bool ig_directory_file(const char *name, ig_role *role)
{
    static const char *const wanted[] = {"config.json",
                                         "generation_config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "tokenizer.model",
                                         "vocab.json",
                                         "merges.txt",
                                         "vocab.txt",
                                         "added_tokens.json",
                                         "special_tokens_map.json",
                                         "chat_template.jinja",
                                         "chat_template.json",
                                         "model.safetensors.index.json",
                                         "preprocessor_config.json",
                                         "modules.json",
                                         "1_Pooling/config.json"};
    *role = IG_ROLE_WEIGHTS;
    if (ig_ends(name, ".safetensors") && !strchr(name, '/') && strncmp(name, "consolidated", 12) != 0) return true;
    *role = IG_ROLE_CONFIG;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!strcmp(name, wanted[i])) return true;
    return false;
}

static bool fits(const char *address)
{
    struct stat sb;
    if (address[0] == '/' || !strncmp(address, "./", 2) || !strncmp(address, "../", 3) ||
        !strncmp(address, "file:", 5) || ig_ends(address, ".gguf"))
        return true;
    return stat(address, &sb) == 0 && (S_ISREG(sb.st_mode) || S_ISDIR(sb.st_mode));
}

static ig_status add_path(ig_plan *out, const char *folder, const char *name, ig_role role, ig_error *err)
{
    ig_item item = {.role = role, .take = IG_TAKE_COPY};
    item.local = folder ? ig_plan_printf(out, "%s/%s", folder, name) : NULL;
    item.name = ig_plan_text(out, name);
    if (!item.local || !item.name) return ig_fail(err, IG_TOO_LARGE, 0, "the path of %.200s is too long", name);
    return ig_plan_add(out, &item, err);
}

typedef struct walker {
    ig_plan *out;
    const char *folder;
    ig_status st;
    ig_error *err;
} walker;

static bool add_entry(void *ctx, int dir, const char *entry)
{
    walker *w = ctx;
    struct stat sb;
    ig_role role;
    if (!ig_directory_file(entry, &role) || fstatat(dir, entry, &sb, 0) < 0 || !S_ISREG(sb.st_mode)) return true;
    w->st = add_path(w->out, w->folder, entry, role, w->err);
    return w->st == IG_OK;
}

/* How an embedding model makes one vector of many lies a folder deeper. */
static ig_status add_pooling(const char *folder, ig_plan *out, ig_error *err)
{
    static const char name[] = "1_Pooling/config.json";
    char path[4096];
    struct stat sb;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    bool there = n > 0 && (size_t)n < sizeof path && stat(path, &sb) == 0 && S_ISREG(sb.st_mode);
    return there ? add_path(out, folder, name, IG_ROLE_CONFIG, err) : IG_OK;
}

static bool item_before(const void *a, const void *b, const void *ctx)
{
    (void)ctx;
    return strcmp((*(ig_item *const *)a)->name, (*(ig_item *const *)b)->name) < 0;
}

static int by_name(const void *a, const void *b)
{
    const ig_item *x = a, *y = b;
    return item_before(&x, &y, NULL) ? -1 : item_before(&y, &x, NULL);
}

static ig_status plan_directory(const char *path, ig_plan *out, ig_error *err)
{
    walker w = {.out = out, .folder = path, .err = err};
    IG_TRY(ig_folder_walk(AT_FDCWD, path, add_entry, &w, err));
    IG_TRY(w.st);
    IG_TRY(add_pooling(path, out, err));
    size_t weights = 0, config = 0;
    for (size_t i = 0; i < out->n; i++) {
        weights += out->items[i].role == IG_ROLE_WEIGHTS;
        config += !strcmp(out->items[i].name, "config.json");
    }
    if (!weights || !config)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%.300s holds no model, expected config.json and safetensors in it; for a "
                       "GGUF file give its path",
                       path);
    qsort(out->items, out->n, sizeof *out->items, by_name);
    out->m.format = "safetensors";
    const char *slash = strrchr(path, '/');
    return ig_name_from(slash && slash[1] ? slash + 1 : path, &out->m.name, err);
}

/* The file keeps the name that it was given under, also where that is a link. */
static ig_status plan_file(const char *folder, const char *file, ig_plan *out, ig_error *err)
{
    char part[300], stem[256];
    unsigned index, n;
    size_t stem_len;
    out->m.format = "gguf";
    bool split = ig_split_name(file, &index, &n, &stem_len);
    if (!split) stem_len = strlen(file) - (ig_ends(file, ".gguf") ? 5 : 0);
    (void)snprintf(stem, sizeof stem, "%.*s", (int)stem_len, file);
    IG_TRY(ig_name_from(stem, &out->m.name, err));
    if (!split) return add_path(out, folder, file, IG_ROLE_WEIGHTS, err);
    for (unsigned i = 1; i <= n; i++) {
        (void)snprintf(part, sizeof part, "%s-%05u-of-%05u.gguf", stem, i, n);
        IG_TRY(add_path(out, folder, part, IG_ROLE_WEIGHTS, err));
    }
    return IG_OK;
}

static ig_status plan_path(const char *path, ig_plan *out, ig_error *err)
{
    struct stat sb;
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    if (stat(path, &sb) < 0)
        return ig_fail_errno(err,
                             errno == ENOENT   ? IG_NOT_FOUND
                             : errno == EACCES ? IG_DENIED
                                               : IG_IO,
                             errno, "cannot open %.300s", path);
    if (!S_ISDIR(sb.st_mode) && !S_ISREG(sb.st_mode))
        return ig_fail(err, IG_BAD_INPUT, 0, "%.300s is no regular file", path);
    char *before = S_ISDIR(sb.st_mode) || !slash ? NULL : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    char *folder = realpath(S_ISDIR(sb.st_mode) ? path : before ? before : ".", NULL);
    ig_status st = !folder               ? ig_fail_errno(err, IG_IO, errno, "cannot open %.300s", path)
                   : S_ISDIR(sb.st_mode) ? plan_directory(folder, out, err)
                                         : plan_file(folder, file, out, err);
    free(before);
    free(folder);
    return st;
}

static ig_status plan_of(ig_asker *a, const char *address, ig_plan *out, ig_error *err)
{
    if (a->o->no_files)
        return ig_fail(err, IG_DENIED, 0, "a client names no files: open the file and send its content");
    if (!strncmp(address, "file://", 7))
        address += 7;
    else if (!strncmp(address, "file:", 5))
        address += 5;
    return plan_path(address, out, err);
}

ig_status ig_model_files(const char *path, ig_name *name, ig_model_file_fn each, void *ctx, ig_error *err)
{
    ig_plan plan = {.arena = {.max_bytes = 16 << 20}};
    ig_status st = plan_path(path, &plan, err);
    for (size_t i = 0; i < plan.n && st == IG_OK; i++) st = each(ctx, plan.items[i].local, plan.items[i].name, err);
    if (st == IG_OK) *name = plan.m.name;
    ig_arena_fini(&plan.arena);
    return st;
}

const ig_source ig_source_file = {{"file", "PATH", "a GGUF file, or a directory with safetensors"}, fits, plan_of};
