/* Split models (rule G20): parts NAME-00001-of-00003.gguf ... in one directory. Every part has the keys split.no
 * (from 0), split.count and split.tensors.count (tensors of all parts together); part 1 has all other metadata.
 * Metadata of later parts is dropped after its split keys were compared. */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "format/gguf.h"

typedef struct split_keys {
    uint32_t no, count, n_tensors;
} split_keys;

enum { SUFFIX_BYTES = 20 }; /* "-00001-of-00003.gguf" */

static ig_status read_keys(const ig_format *f, split_keys *k, ig_error *err)
{
    *k = (split_keys){.count = 1};
    IG_TRY(ig_format_u32(f, "split.count", false, &k->count, err));
    IG_TRY(ig_format_u32(f, "split.no", k->count > 1, &k->no, err));
    return ig_format_u32(f, "split.tensors.count", k->count > 1, &k->n_tensors, err);
}

/* Writes the name of part `no` (from 0) over the suffix of part 1's path; false when the path has no such suffix. */
static bool part_path(char *path, size_t path_bytes, uint32_t no, uint32_t count)
{
    size_t n = strlen(path);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "-%05u-of-%05u.gguf", no + 1, count);
    if (n < SUFFIX_BYTES || strlen(expected) != SUFFIX_BYTES || n + 1 > path_bytes) return false;
    memcpy(path + n - SUFFIX_BYTES, expected, SUFFIX_BYTES);
    return true;
}

/* Where the opened file is a later part, the first one's name is told. */
static ig_status not_the_first(const ig_format *f, const split_keys *k, char *path, size_t path_bytes, ig_error *err)
{
    bool named = part_path(path, path_bytes, k->no, k->count) && !strcmp(path, f->path);
    if (named) (void)part_path(path, path_bytes, 0, k->count);
    return ig_fail(err, IG_BAD_INPUT, 0, "%.180s is part %u of %u of a split model; open the first part%s%.180s",
                   f->path, k->no + 1, k->count, named ? ", " : "", named ? path : "");
}

static ig_status check_part(const ig_format *part, const split_keys *first, uint32_t no, ig_error *err)
{
    split_keys k;
    IG_TRY(read_keys(part, &k, err));
    if (k.no != no)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: key \"split.no\" is %u, expected %u by the file name", part->path,
                       k.no, no);
    if (k.count != first->count)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: key \"split.count\" is %u, expected %u as in the first part",
                       part->path, k.count, first->count);
    if (k.n_tensors != first->n_tensors)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%.200s: key \"split.tensors.count\" is %u, expected %u as in the first part", part->path,
                       k.n_tensors, first->n_tensors);
    return IG_OK;
}

/* Moves the tensors of `part` behind those of f; names must stay unique over all parts. */
static ig_status join(ig_format *f, const ig_format *part, uint32_t n_tensors, ig_error *err)
{
    ig_gguf *g = &f->gguf;
    const ig_gguf *p = &part->gguf;
    if (p->n_tensors > n_tensors - g->n_tensors)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: the parts have more tensors than key \"split.tensors.count\", %u",
                       part->path, n_tensors);
    for (size_t i = 0; i < p->n_tensors; i++) {
        const ig_tensor *t = &p->tensors[i];
        if (!ig_map_add(&g->names, t->name, (uint32_t)g->n_tensors, NULL))
            return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: duplicate tensor \"%.*s\", an earlier part has it too",
                           part->path, IG_STR_ARG(t->name));
        g->tensors[g->n_tensors++] = *t;
    }
    g->trailing_bytes += p->trailing_bytes;
    return IG_OK;
}

/* Opens one later part, whose file is already mapped, checks it and joins it. */
static ig_status add_part(ig_format *f, const split_keys *first, uint32_t no, char *path, ig_error *err)
{
    ig_format part = {.path = path, .files = &f->files[no], .n_parts = 1};
    IG_TRY(ig_gguf_read(path, f->files[no].data, f->files[no].size, &part.gguf, err));
    ig_status st = check_part(&part, first, no, err);
    if (st == IG_OK) st = join(f, &part, first->n_tensors, err);
    ig_gguf_fini(&part.gguf);
    return st;
}

/* All parts are mapped before the first is parsed, so that a missing one costs nothing. */
static ig_status map_parts(ig_format *f, const split_keys *k, char *path, size_t path_bytes, ig_error *err)
{
    ig_file *files = ig_realloc(f->files, k->count, sizeof *files);
    if (!files) return ig_fail(err, IG_NO_MEMORY, 0, "%.200s: out of memory for %u parts", f->path, k->count);
    memset(files + 1, 0, (k->count - 1) * sizeof *files);
    f->files = files;
    f->n_parts = k->count;
    for (uint32_t no = 1; no < k->count; no++) {
        (void)part_path(path, path_bytes, no, k->count);
        ig_status st = ig_format_map_file(f, path, &files[no], err);
        if (st == IG_NOT_FOUND)
            return ig_fail(err, st, 0, "%.200s: part %u of %u of the split model is missing", path, no + 1, k->count);
        if (st != IG_OK) return st;
    }
    return IG_OK;
}

/* The directory grows to what all parts together may have; that each part can fill it is known from its file size. */
static ig_status make_room(ig_format *f, const split_keys *k, ig_error *err)
{
    ig_gguf *g = &f->gguf;
    uint64_t bytes = 0;
    ig_map names = {0};
    for (uint32_t no = 0; no < k->count; no++) bytes += f->files[no].size;
    if (k->n_tensors > IG_GGUF_TENSORS_MAX || k->n_tensors > bytes / IG_GGUF_TENSOR_BYTES_MIN ||
        k->n_tensors < g->n_tensors)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: key \"split.tensors.count\" is %u, which the parts cannot have",
                       f->path, k->n_tensors);
    if (k->n_tensors == 0) return IG_OK;
    ig_tensor *tensors = ig_realloc(g->tensors, k->n_tensors, sizeof *tensors);
    if (tensors) g->tensors = tensors;
    if (!tensors || !ig_map_init(&names, k->n_tensors))
        return ig_fail(err, IG_NO_MEMORY, 0, "%.200s: out of memory for %u tensors", f->path, k->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++) (void)ig_map_add(&names, g->tensors[i].name, (uint32_t)i, NULL);
    ig_map_fini(&g->names);
    g->names = names;
    return IG_OK;
}

static ig_status open_parts(ig_format *f, const split_keys *k, char *path, size_t path_bytes, ig_error *err)
{
    if (k->no != 0) return not_the_first(f, k, path, path_bytes, err);
    if (!part_path(path, path_bytes, 0, k->count) || strcmp(path, f->path) != 0)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%.200s is part 1 of %u of a split model, expected a name that ends in "
                       "-00001-of-%05u.gguf",
                       f->path, k->count, k->count);
    IG_TRY(map_parts(f, k, path, path_bytes, err));
    IG_TRY(make_room(f, k, err));
    for (uint32_t no = 1; no < k->count; no++) {
        (void)part_path(path, path_bytes, no, k->count);
        IG_TRY(add_part(f, k, no, path, err));
    }
    if (f->gguf.n_tensors == k->n_tensors) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0,
                   "%.200s: the parts have %zu tensors, expected %u by key \"split.tensors.count\"", f->path,
                   f->gguf.n_tensors, k->n_tensors);
}

static ig_status check_single(const ig_format *f, const split_keys *k, ig_error *err)
{
    if (k->no != 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: key \"split.no\" is %u, expected 0 where \"split.count\" is %u",
                       f->path, k->no, k->count);
    return IG_OK;
}

ig_status ig_split_open(ig_format *f, ig_error *err)
{
    split_keys k;
    IG_TRY(read_keys(f, &k, err));
    if (k.count <= 1) return check_single(f, &k, err); /* a joined model keeps split.count = 0 */
    if (k.count > IG_GGUF_PARTS_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%.200s: key \"split.count\" is %u, the limit is %u", f->path, k.count,
                       IG_GGUF_PARTS_MAX);
    if (k.no >= k.count)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: key \"split.no\" is %u, expected less than \"split.count\", %u",
                       f->path, k.no, k.count);
    if (!f->files && k.no == 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.200s: key \"split.count\" is %u, but memory has no other parts",
                       f->path, k.count);
    size_t n = strlen(f->path) + 1;
    char *path = ig_alloc(n);
    if (!path) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory while opening %.200s", f->path);
    memcpy(path, f->path, n);
    ig_status st = open_parts(f, &k, path, n, err);
    ig_free(path);
    return st;
}
