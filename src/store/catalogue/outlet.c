/* Publishing to a bucket or a registry. In a bucket the files lie as in a folder, and the timestamp comes last. In a
 * registry they are the layers of one artifact, and its tag changes when all of them are there. Either way who reads
 * meanwhile sees the old state or the new one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "author.h"
#include "base/disk.h"
#include "base/os.h"
#include "store/source/source.h"

enum { OUT_FILES_MAX = 12000, DEPTH_MAX = 8, TRIES = 4, WAIT_MS = 500 };
#define TIMESTAMP "metadata/timestamp.json"

/* ------------------------------------------------------------------------------------------------ what goes out */

typedef struct parcel {
    ig_registry_file *files; /* [OUT_FILES_MAX]; the timestamp is the last */
    size_t n, bytes;
} parcel;

typedef struct collector {
    parcel *all;
    int root;
    const char *folder;
    unsigned depth;
    ig_status st;
    ig_error *err;
} collector;

static void parcel_fini(parcel *p)
{
    for (size_t i = 0; i < p->n; i++) ig_free(p->files[i].text);
    ig_free(p->files);
}

static ig_status add_file(parcel *p, int root, const char *path, ig_error *err)
{
    ig_buf text;
    ig_registry_file *f = &p->files[p->n];
    if (p->n == OUT_FILES_MAX || strlen(path) >= sizeof f->title || p->bytes > IG_TUF_ALL_BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "what is published has more than %d files or %d MiB", (int)OUT_FILES_MAX,
                       IG_TUF_ALL_BYTES_MAX >> 20);
    int fd = ig_disk_open_regular(root, path, O_RDONLY, NULL);
    if (fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot open %.300s", path);
    ig_buf_init(&text, IG_TUF_TARGETS_BYTES_MAX);
    ig_status st = ig_fd_read_all(fd, path, &text, err);
    close(fd);
    f->text = st == IG_OK ? ig_calloc(text.len + 1, 1) : NULL;
    if (f->text) {
        (void)snprintf(f->title, sizeof f->title, "%s", path);
        if (text.len) memcpy(f->text, text.ptr, text.len);
        f->n = text.len;
        p->bytes += text.len;
        p->n++;
    } else if (st == IG_OK)
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for what is published");
    ig_buf_fini(&text);
    return st;
}

static bool collect_entry(void *ctx, int dir, const char *entry)
{
    collector *c = ctx;
    char path[1024];
    struct stat sb;
    size_t n = strlen(entry);
    (void)snprintf(path, sizeof path, "%s/%s", c->folder, entry);
    if (fstatat(dir, entry, &sb, AT_SYMLINK_NOFOLLOW) < 0) return true;
    if (S_ISDIR(sb.st_mode) && c->depth < DEPTH_MAX) {
        collector below = {c->all, c->root, path, c->depth + 1, IG_OK, c->err};
        c->st = ig_folder_walk(c->root, path, collect_entry, &below, c->err);
        if (c->st == IG_OK) c->st = below.st;
    } else if (S_ISREG(sb.st_mode) && n > 5 && !strcmp(entry + n - 5, ".json") && strcmp(path, TIMESTAMP) != 0)
        c->st = add_file(c->all, c->root, path, c->err);
    return c->st == IG_OK;
}

static ig_status collect(int root, parcel *out, ig_error *err)
{
    static const char *const folders[] = {"targets", "metadata"};
    struct stat sb;
    out->files = ig_calloc(OUT_FILES_MAX, sizeof *out->files);
    if (!out->files) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for what is published");
    for (size_t i = 0; i < 2; i++) {
        collector c = {out, root, folders[i], 0, IG_OK, err};
        if (fstatat(root, folders[i], &sb, 0) < 0) continue; /* a catalogue without models */
        IG_TRY(ig_folder_walk(root, folders[i], collect_entry, &c, err));
        IG_TRY(c.st);
    }
    return add_file(out, root, TIMESTAMP, err);
}

/* ------------------------------------------------------------------------------------------------ a bucket */

typedef struct bucket {
    ig_asker asker;
    const char *base;
    ig_auth *auth;
    const ig_registry_file *file; /* of the request under way */
} bucket;

static bool on_send(void *ctx, void *out, size_t n, uint64_t at)
{
    const bucket *b = ctx;
    memcpy(out, b->file->text + at, n);
    return true;
}

static ig_status ask_bucket(bucket *b, ig_http_request *q, ig_http_reply *reply, ig_error *err)
{
    unsigned wait_ms = WAIT_MS;
    q->auth = b->auth;
    q->insecure = b->asker.o->insecure;
    q->ctx = b;
    for (unsigned i = 1;; i++) {
        bool again;
        ig_status st = ig_http_run(b->asker.http, q, reply, &again, err);
        if (st == IG_OK || !again || i == TRIES) return st;
        ig_sleep_ms(ig_wait_ms(wait_ms, reply->retry_after_s));
        wait_ms = ig_wait_longer(wait_ms);
    }
}

/* Files never change but for the timestamp; what is there with this digest is not sent again. */
static ig_status put_object(bucket *b, const ig_registry_file *f, ig_error *err)
{
    char path[1024], url[IG_URL_MAX + 1024];
    ig_http_reply reply;
    ig_digest own;
    if (!ig_url_escape(f->title, path, sizeof path) || !ig_sha_text(f->text, f->n, &own))
        return ig_fail(err, IG_TOO_LARGE, 0, "%.200s cannot be an object's name", f->title);
    (void)snprintf(url, sizeof url, "%s/%s", b->base, path);
    ig_http_request look = {.method = "HEAD", .url = url};
    if (ask_bucket(b, &look, &reply, err) == IG_OK && !strcmp(reply.sha256, own.hex)) return IG_OK;
    b->file = f;
    ig_http_request q = {.method = "PUT",
                         .url = url,
                         .content_type = "application/json",
                         .payload = own.hex,
                         .send = on_send,
                         .n_send = f->n};
    return ask_bucket(b, &q, &reply, err);
}

static ig_status put_bucket(ig_asker *a, const char *to, ig_plan *plan, const parcel *p, ig_error *err)
{
    bucket b = {.asker = *a};
    IG_TRY(ig_s3_open(to, plan, &b.base, &b.auth, err));
    for (size_t i = 0; i < p->n; i++) IG_TRY(put_object(&b, &p->files[i], err));
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ a registry */

static ig_status put_image(ig_asker *a, const char *to, ig_plan *plan, const parcel *p, ig_error *err)
{
    ig_registry *r = ig_arena_alloc(&plan->arena, 1, sizeof *r);
    if (!r) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the address of the registry");
    IG_TRY(ig_registry_open(a, to, "pull,push", &plan->arena, r, err));
    if (r->ref.has_digest || !r->ref.tag[0])
        return ig_fail(err, IG_BAD_INPUT, 0, "a catalogue is published under a tag, not under a digest");
    return ig_registry_put_files(a, r, IG_CATALOGUE_ARTIFACT, IG_CATALOGUE_FILE, p->files, p->n, err);
}

/* ------------------------------------------------------------------------------------------------ either */

static const struct outlet {
    const char *scheme;
    ig_status (*put)(ig_asker *a, const char *to, ig_plan *plan, const parcel *p, ig_error *err);
} outlets[] = {{"s3://", put_bucket}, {"oci://", put_image}};

bool ig_outlet_fits(const char *to) { return strstr(to, "://") != NULL; }

/* What is there now. A bucket says "denied" of what is not there to who may not list it. */
static ig_status look_there(const char *to, bool insecure, ig_buf *out, ig_error *err)
{
    ig_catalogue_sync_options o = {.source = to, .insecure = insecure};
    ig_origin from;
    IG_TRY(ig_origin_open(&o, &from, err));
    ig_status st = from.fetch(from.ctx, TIMESTAMP, IG_TUF_TIMESTAMP_BYTES_MAX, out, err);
    ig_origin_close(&from);
    return st == IG_DENIED || st == IG_BAD_INPUT ? IG_NOT_FOUND : st;
}

ig_status ig_outlet_put(const char *to, int published, bool insecure, ig_outlet_judge judge, void *ctx, ig_error *err)
{
    const struct outlet *way = NULL;
    ig_pull_options options = {.insecure = insecure};
    ig_asker asker = {.o = &options};
    ig_plan plan = {.arena = {.max_bytes = 1 << 20}};
    parcel p = {0};
    ig_buf theirs;
    for (size_t i = 0; i < sizeof outlets / sizeof *outlets; i++)
        if (!strncasecmp(to, outlets[i].scheme, strlen(outlets[i].scheme))) way = &outlets[i];
    if (!way)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "\"%.200s\" is no place to publish to, expected a folder, s3://BUCKET/PREFIX or "
                       "oci://HOST/REPOSITORY:TAG",
                       to);
    ig_status st = look_there(to, insecure, &theirs, err);
    if (st == IG_OK) {
        st = judge(ctx, &theirs, err);
        ig_buf_fini(&theirs);
    } else if (st == IG_NOT_FOUND)
        st = IG_OK;
    if (st == IG_OK) st = ig_asker_http(&asker, err);
    if (st == IG_OK) st = collect(published, &p, err);
    if (st == IG_OK) st = way->put(&asker, to, &plan, &p, err);
    parcel_fini(&p);
    ig_http_free(asker.http);
    ig_arena_fini(&plan.arena);
    return st;
}
