/* Where metadata comes from: a folder, or an address of https through the store's transport. Every document is bounded
 * in size, and over the network in time. */
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

enum { DOCUMENT_S = 120 };

typedef struct origin {
    char base[IG_URL_MAX]; /* without a slash at its end */
    ig_pull_options options;
    ig_asker asker;
    uint64_t limit_ns, deadline_ns;
} origin;

void ig_tuf_file(const char *role, uint64_t version, bool consistent, char out[IG_TUF_ROLE_NAME_MAX + 48])
{
    if (consistent && strcmp(role, "timestamp") != 0)
        (void)snprintf(out, IG_TUF_ROLE_NAME_MAX + 48, "metadata/%llu.%s.json", (unsigned long long)version, role);
    else
        (void)snprintf(out, IG_TUF_ROLE_NAME_MAX + 48, "metadata/%s.json", role);
}

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
    const origin *o = ctx;
    (void)p;
    return ig_now_ns() < o->deadline_ns;
}

static ig_status fetch_url(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err)
{
    origin *o = ctx;
    char url[IG_URL_MAX + IG_TUF_ROLE_NAME_MAX + 64];
    ig_http_reply reply;
    (void)snprintf(url, sizeof url, "%s/%s", o->base, name);
    o->deadline_ns = ig_now_ns() + o->limit_ns;
    ig_status st = ig_http_get(&o->asker, url, NULL, NULL, bytes_max, out, &reply, err);
    if (st == IG_CANCELLED)
        return ig_fail(err, IG_IO, 0, "%.300s came too slowly, expected the whole document within %llu s", url,
                       (unsigned long long)(o->limit_ns / 1000000000u));
    return st;
}

ig_status ig_origin_open(const ig_catalogue_sync_options *options, ig_origin *out, ig_error *err)
{
    const char *at = options->source;
    bool url = at && (!strncasecmp(at, "https://", 8) || !strncasecmp(at, "http://", 7));
    if (at && !strncmp(at, "file://", 7)) at += 7;
    if (!at || !*at || strlen(at) >= IG_URL_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "a catalogue comes from a folder or https://..., which was not given");
    if (!url && strstr(at, "://"))
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "\"%.200s\" is no source of catalogues, expected a folder or https://...", at);
    origin *o = ig_calloc(1, sizeof *o);
    if (!o) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the catalogue");
    (void)snprintf(o->base, sizeof o->base, "%s", at);
    for (size_t n = strlen(o->base); n > 1 && o->base[n - 1] == '/'; n--) o->base[n - 1] = 0;
    o->limit_ns = (uint64_t)(options->document_s ? options->document_s : DOCUMENT_S) * 1000000000u;
    o->options = (ig_pull_options){.insecure = options->insecure, .progress = in_time, .ctx = o};
    o->asker.o = &o->options;
    *out = (ig_origin){url ? fetch_url : fetch_file, o};
    return IG_OK;
}

void ig_origin_close(ig_origin *out)
{
    origin *o = out->ctx;
    if (o) ig_http_free(o->asker.http);
    ig_free(o);
    *out = (ig_origin){0};
}
