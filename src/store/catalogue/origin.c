/* Where metadata comes from: a folder, an address of https, a bucket of S3, or an artifact in a registry. Every
 * document is bounded in size, and over the network in time, each and all of them together. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "store/source/source.h"
#include "tuf.h"

enum { DOCUMENT_S = 120, TOTAL_S = 600, IMAGE_BYTES_MAX = 4 << 20, IMAGE_VALUES_MAX = 400000 };

typedef struct origin {
    char base[IG_URL_MAX]; /* without a slash at its end */
    ig_pull_options options;
    ig_asker asker;
    uint64_t limit_ns, deadline_ns; /* of a document */
    uint64_t total_ns, end_ns;      /* of all */
    bool (*go_on)(void *ctx);
    void *ctx;
    bool stopped;
    ig_plan plan; /* what s3 and oci need */
    ig_auth *auth;
    ig_registry *registry;
    json_t *image; /* of the artifact, once it was asked for */
} origin;

void ig_tuf_file(const char *role, uint64_t version, bool consistent, char out[IG_TUF_ROLE_NAME_MAX + 48])
{
    if (consistent && strcmp(role, "timestamp") != 0)
        (void)snprintf(out, IG_TUF_ROLE_NAME_MAX + 48, "metadata/%llu.%s.json", (unsigned long long)version, role);
    else
        (void)snprintf(out, IG_TUF_ROLE_NAME_MAX + 48, "metadata/%s.json", role);
}

static ig_str text_of(const ig_buf *b) { return (ig_str){b->ptr ? b->ptr : "", b->len}; }

static uint64_t seconds_ns(unsigned s) { return (uint64_t)s * 1000000000u; }

static ig_status fetch_file(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err)
{
    const origin *o = ctx;
    char path[IG_URL_MAX + IG_TUF_ROLE_NAME_MAX + 64];
    (void)snprintf(path, sizeof path, "%s/%s", o->base, name);
    ig_buf_init(out, bytes_max);
    int fd = ig_disk_open_regular(AT_FDCWD, path, O_RDONLY, NULL);
    if (fd < 0)
        return ig_fail_errno(err, errno == ENOENT || errno == ENOTDIR ? IG_NOT_FOUND : IG_IO, errno,
                             "cannot open %.400s", path);
    ig_status st = ig_fd_read_all(fd, path, out, err);
    close(fd);
    if (st != IG_OK) ig_buf_fini(out);
    return st;
}

static bool in_time(void *ctx, const ig_pull_progress *p)
{
    origin *o = ctx;
    uint64_t now = ig_now_ns();
    (void)p;
    if (o->go_on && !o->go_on(o->ctx)) o->stopped = true;
    return !o->stopped && now < o->deadline_ns && now < o->end_ns;
}

static void begin_document(origin *o)
{
    o->deadline_ns = ig_now_ns() + o->limit_ns;
    if (!o->end_ns) o->end_ns = ig_now_ns() + o->total_ns;
}

/* What stopped a transfer, as a sentence. */
static ig_status explain(const origin *o, const char *url, ig_status st, ig_error *err)
{
    if (st != IG_CANCELLED) return st;
    if (o->stopped) return ig_fail(err, IG_CANCELLED, 0, "the update of the catalogue was stopped");
    bool all = ig_now_ns() >= o->end_ns;
    return ig_fail(err, IG_IO, 0, "%.300s came too slowly, expected %s within %llu s", url,
                   all ? "the whole catalogue" : "the whole document",
                   (unsigned long long)((all ? o->total_ns : o->limit_ns) / 1000000000u));
}

/* Of https, and of a bucket, whose requests are signed. */
static ig_status fetch_url(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err)
{
    origin *o = ctx;
    char url[IG_URL_MAX + IG_TUF_ROLE_NAME_MAX + 64];
    ig_http_reply reply;
    (void)snprintf(url, sizeof url, "%s/%s", o->base, name);
    begin_document(o);
    ig_http_request q = {.url = url, .auth = o->auth};
    return explain(o, url, ig_http_document(&o->asker, &q, bytes_max, out, &reply, err), err);
}

/* ------------------------------------------------------------------------------------------------ registries */

ig_status ig_catalogue_image_read(ig_str text, json_t **out, ig_error *err)
{
    *out = NULL;
    json_t *image = NULL;
    IG_TRY(ig_store_json("the artifact of the catalogue", text, IMAGE_VALUES_MAX, &image, err));
    const char *kind = ig_json_text(image, "artifactType");
    if (kind && !strcmp(kind, IG_CATALOGUE_ARTIFACT) && json_is_array(json_object_get(image, "layers"))) {
        *out = image;
        return IG_OK;
    }
    ig_fail(err, IG_BAD_INPUT, 0, "the image has the type \"%.100s\", expected %s", kind ? kind : "",
            IG_CATALOGUE_ARTIFACT);
    json_decref(image);
    return IG_BAD_INPUT;
}

bool ig_catalogue_image_find(const json_t *image, const char *name, ig_digest *digest, uint64_t *size)
{
    const json_t *layer;
    size_t i;
    json_array_foreach(json_object_get(image, "layers"), i, layer)
    {
        const char *title = ig_json_text(json_object_get(layer, "annotations"), "org.opencontainers.image.title");
        const char *sum = ig_json_text(layer, "digest");
        if (title && sum && !strcmp(title, name))
            return ig_digest_parse(sum, digest, NULL) == IG_OK && ig_json_size(layer, "size", size);
    }
    return false;
}

/* The tag is read once, so that all documents are of one publication. */
static ig_status ask_image(origin *o, ig_error *err)
{
    ig_registry *r = o->registry;
    ig_digest got;
    ig_buf body;
    IG_TRY(ig_registry_open(&o->asker, o->base, "pull", &o->plan.arena, r, err));
    IG_TRY(ig_registry_manifest(&o->asker, r, r->ref.has_digest ? &r->ref.digest : NULL, &body, &got, err));
    ig_status st = ig_catalogue_image_read(text_of(&body), &o->image, err);
    ig_buf_fini(&body);
    return st;
}

static ig_status fetch_layer(origin *o, const ig_digest *digest, size_t bytes_max, ig_buf *out, ig_error *err)
{
    char url[IG_URL_MAX];
    ig_http_reply reply;
    ig_digest got;
    const ig_registry *r = o->registry;
    (void)snprintf(url, sizeof url, "%s/v2/%s/blobs/sha256:%s", r->base, r->ref.repository, digest->hex);
    ig_http_request q = {.url = url, .auth = &o->registry->auth};
    IG_TRY(ig_http_document(&o->asker, &q, bytes_max, out, &reply, err));
    if (ig_sha_text(text_of(out).ptr, out->len, &got) && !strcmp(got.hex, digest->hex)) return IG_OK;
    ig_buf_fini(out);
    return ig_fail(err, IG_BAD_INPUT, 0, "%.200s has another content than the expected %.12s", url, digest->hex);
}

static ig_status fetch_image(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err)
{
    origin *o = ctx;
    ig_digest digest;
    uint64_t size;
    begin_document(o);
    if (!o->image) {
        ig_status st = ask_image(o, err);
        if (st != IG_OK) return explain(o, o->base, st, err);
    }
    if (!ig_catalogue_image_find(o->image, name, &digest, &size))
        return ig_fail(err, IG_NOT_FOUND, 0, "%.300s has no %.200s", o->base, name);
    if (size > bytes_max)
        return ig_fail(err, IG_TOO_LARGE, 0, "%.200s of %.200s is larger than %zu bytes", name, o->base, bytes_max);
    return explain(o, o->base, fetch_layer(o, &digest, bytes_max, out, err), err);
}

/* ------------------------------------------------------------------------------------------------ any of them */

static ig_status open_folder(origin *o, ig_error *err)
{
    if (strstr(o->base, "://"))
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "\"%.200s\" is no place of catalogues, expected a folder, https://..., s3://BUCKET/PREFIX or "
                       "oci://HOST/REPOSITORY:TAG",
                       o->base);
    return IG_OK;
}

static ig_status open_url(origin *o, ig_error *err)
{
    (void)o, (void)err;
    return IG_OK;
}

static ig_status open_s3(origin *o, ig_error *err)
{
    const char *base;
    IG_TRY(ig_s3_open(o->base, &o->plan, &base, &o->auth, err));
    (void)snprintf(o->base, sizeof o->base, "%s", base);
    return IG_OK;
}

static ig_status open_image(origin *o, ig_error *err)
{
    o->registry = ig_arena_alloc(&o->plan.arena, 1, sizeof *o->registry);
    return o->registry ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogue");
}

/* By the beginning of an address; the last row is a folder. */
static const struct kind {
    const char *scheme;
    size_t skip;
    ig_status (*open)(origin *o, ig_error *err);
    ig_status (*fetch)(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err);
} kinds[] = {{"https://", 0, open_url, fetch_url},    {"http://", 0, open_url, fetch_url},
             {"s3://", 0, open_s3, fetch_url},        {"oci://", 0, open_image, fetch_image},
             {"file://", 7, open_folder, fetch_file}, {"", 0, open_folder, fetch_file}};

ig_status ig_origin_open(const ig_catalogue_sync_options *options, ig_origin *out, ig_error *err)
{
    const struct kind *k = kinds;
    const char *at = options->source;
    if (!at || !*at || strlen(at) >= IG_URL_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "a catalogue comes from a folder, https://..., s3://... or oci://..., which was not given");
    while (strncasecmp(at, k->scheme, strlen(k->scheme)) != 0) k++;
    origin *o = ig_calloc(1, sizeof *o);
    if (!o) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogue");
    (void)snprintf(o->base, sizeof o->base, "%s", at + k->skip);
    for (size_t n = strlen(o->base); n > 1 && o->base[n - 1] == '/'; n--) o->base[n - 1] = 0;
    o->limit_ns = seconds_ns(options->document_s ? options->document_s : DOCUMENT_S);
    o->total_ns = seconds_ns(options->total_s ? options->total_s : TOTAL_S);
    o->go_on = options->go_on;
    o->ctx = options->ctx;
    o->options = (ig_pull_options){.insecure = options->insecure, .progress = in_time, .ctx = o};
    o->asker.o = &o->options;
    o->plan.arena.max_bytes = 1 << 20;
    *out = (ig_origin){k->fetch, o};
    ig_status st = k->open(o, err);
    if (st != IG_OK) ig_origin_close(out);
    return st;
}

void ig_origin_close(ig_origin *out)
{
    origin *o = out->ctx;
    if (o) {
        ig_http_free(o->asker.http);
        ig_arena_fini(&o->plan.arena);
        json_decref(o->image);
    }
    ig_free(o);
    *out = (ig_origin){0};
}
