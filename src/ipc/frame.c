/* Channels: buffers around a socket that cut a stream into frames. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipc/ipc.h"

enum { FILL_BYTES = 64 << 10, IN_BYTES_MAX = IG_FRAME_HEADER_BYTES + IG_FRAME_INLINE_MAX + FILL_BYTES };

struct ig_frame_fds {
    struct ig_frame_fds *next;
    uint64_t at; /* byte of the stream that they travel with */
    size_t n;
    int fds[];
};

const char *ig_frame_name(uint32_t type)
{
    static const char *const names[] = {
        [IG_FRAME_INIT] = "INIT",   [IG_FRAME_REQUEST] = "REQUEST",   [IG_FRAME_CANCEL] = "CANCEL",
        [IG_FRAME_QUERY] = "QUERY", [IG_FRAME_STOP] = "STOP",         [IG_FRAME_READY] = "READY",
        [IG_FRAME_DELTA] = "DELTA", [IG_FRAME_PROGRESS] = "PROGRESS", [IG_FRAME_DONE] = "DONE",
        [IG_FRAME_ERROR] = "ERROR", [IG_FRAME_RESULT] = "RESULT",     [IG_FRAME_STATUS] = "STATUS",
    };
    return type < sizeof names / sizeof *names ? names[type] : NULL;
}

static void close_fds(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) close(fds[i]);
}

ig_status ig_channel_init(ig_channel *c, int fd, size_t fds_max, size_t out_bytes_max, ig_error *err)
{
    *c = (ig_channel){.fd = fd, .fds_max = fds_max};
    ig_buf_init(&c->out, out_bytes_max);
    c->fds = ig_calloc(fds_max, sizeof *c->fds);
    if (c->fds) return IG_OK;
    ig_channel_fini(c);
    return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a channel");
}

void ig_channel_fini(ig_channel *c)
{
    if (c->fd >= 0) close(c->fd);
    close_fds(c->fds, c->n_fds);
    for (struct ig_frame_fds *f = c->out_fds, *next; f; f = next) {
        next = f->next;
        close_fds(f->fds, f->n);
        ig_free(f);
    }
    ig_free(c->fds);
    ig_free(c->in);
    ig_free(c->big);
    ig_buf_fini(&c->out);
    *c = (ig_channel){.fd = -1};
}

/* ------------------------------------------------------------------------------------------------ receiving */

/* Moves what is not yet taken to the front and makes room for one more filling. */
static ig_status make_room(ig_channel *c, ig_error *err)
{
    size_t n = c->in_end - c->in_at;
    if (n && c->in_at) memmove(c->in, c->in + c->in_at, n);
    c->in_at = 0;
    c->in_end = n;
    if (n + FILL_BYTES > IN_BYTES_MAX)
        return ig_fail(err, IG_BUG, 0, "a channel was filled although a whole frame waits in it");
    if (n + FILL_BYTES <= c->in_cap) return IG_OK;
    size_t cap = c->in_cap ? c->in_cap : FILL_BYTES;
    while (cap < n + FILL_BYTES) cap = cap * 2 < IN_BYTES_MAX ? cap * 2 : IN_BYTES_MAX;
    char *in = ig_realloc(c->in, cap, 1);
    if (!in) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a frame");
    c->in = in;
    c->in_cap = cap;
    return IG_OK;
}

static ig_status add_fds(ig_channel *c, const int *fds, size_t n, ig_error *err)
{
    if (n > c->fds_max - c->n_fds) {
        close_fds(fds, n);
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%zu descriptors came without a frame that takes them, expected at most %zu", c->n_fds + n,
                       c->fds_max);
    }
    if (n) memcpy(c->fds + c->n_fds, fds, n * sizeof *fds);
    c->n_fds += n;
    return IG_OK;
}

ig_status ig_channel_fill(ig_channel *c, ig_error *err)
{
    int fds[IG_PASS_FDS_MAX];
    size_t n_fds;
    IG_TRY(make_room(c, err));
    ssize_t n = ig_pass_receive(c->fd, c->in + c->in_end, FILL_BYTES, fds, &n_fds);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return IG_OK;
    if (n < 0 && errno == ECONNRESET) return c->ended = true, IG_OK;
    if (n < 0) return ig_fail_errno(err, IG_IO, errno, "cannot receive from the other process");
    c->in_end += (size_t)n;
    c->ended = n == 0;
    return add_fds(c, fds, n_fds, err);
}

ig_status ig_channel_feed(ig_channel *c, const void *p, size_t n, const int *fds, size_t n_fds, ig_error *err)
{
    ig_status st = n <= FILL_BYTES ? make_room(c, err) : ig_fail(err, IG_BUG, 0, "a channel was fed %zu bytes", n);
    if (st != IG_OK) {
        close_fds(fds, n_fds);
        return st;
    }
    if (n) memcpy(c->in + c->in_end, p, n);
    c->in_end += n;
    return add_fds(c, fds, n_fds, err);
}

static uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;) v = v << 8 | (unsigned char)p[i];
    return v;
}

bool ig_channel_take_fds(ig_channel *c, int *out, size_t n)
{
    if (n > c->n_fds) return false;
    if (n) memcpy(out, c->fds, n * sizeof *out);
    c->n_fds -= n;
    if (n) memmove(c->fds, c->fds + n, c->n_fds * sizeof *c->fds);
    return true;
}

static ig_status read_big(ig_channel *c, int fd, ig_frame *out, ig_error *err)
{
    int64_t size = ig_sealed_size(fd);
    if (size < 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "the body of a %s frame lies in no sealed memory file",
                       ig_frame_name(out->type));
    if (size > IG_FRAME_BODY_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "the body of a %s frame has %lld bytes, the limit is %d",
                       ig_frame_name(out->type), (long long)size, IG_FRAME_BODY_MAX);
    c->big = ig_alloc((size_t)size);
    if (!c->big) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a body of %lld bytes", (long long)size);
    if (!ig_sealed_read(fd, c->big, (size_t)size))
        return ig_fail_errno(err, IG_IO, errno, "cannot read the body of a %s frame", ig_frame_name(out->type));
    out->body = c->big;
    out->n_body = (size_t)size;
    return IG_OK;
}

static ig_status check_header(uint64_t length, uint32_t type, ig_error *err)
{
    if (!ig_frame_name(type & ~IG_FRAME_BIG))
        return ig_fail(err, IG_BAD_INPUT, 0, "a frame has the type %u, which is none", type);
    if (type & IG_FRAME_BIG && length)
        return ig_fail(err, IG_BAD_INPUT, 0, "a frame with its body in a file has %llu bytes in the stream, expected 0",
                       (unsigned long long)length);
    if (length > IG_FRAME_INLINE_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "a frame has %llu bytes in the stream, the limit is %d",
                       (unsigned long long)length, IG_FRAME_INLINE_MAX);
    return IG_OK;
}

ig_status ig_channel_next(ig_channel *c, ig_frame *out, bool *got, ig_error *err)
{
    const char *p = c->in ? c->in + c->in_at : NULL;
    size_t n = c->in_end - c->in_at;
    int fd;
    *got = false;
    ig_free(c->big);
    c->big = NULL;
    if (n < IG_FRAME_HEADER_BYTES) return IG_OK;
    uint32_t length = (uint32_t)load(p, 4), type = (uint32_t)load(p + 4, 4);
    IG_TRY(check_header(length, type, err));
    if (n - IG_FRAME_HEADER_BYTES < length) return IG_OK;
    *out = (ig_frame){type & ~IG_FRAME_BIG, load(p + 8, 8), p + IG_FRAME_HEADER_BYTES, length};
    c->in_at += IG_FRAME_HEADER_BYTES + length;
    if (type & IG_FRAME_BIG) {
        if (!ig_channel_take_fds(c, &fd, 1))
            return ig_fail(err, IG_BAD_INPUT, 0, "the file with the body of a %s frame did not come",
                           ig_frame_name(out->type));
        ig_status st = read_big(c, fd, out, err);
        close(fd);
        IG_TRY(st);
    }
    *got = true;
    return IG_OK;
}

ig_status ig_channel_receive(ig_channel *c, ig_frame *out, ig_error *err)
{
    for (;;) {
        bool got;
        IG_TRY(ig_channel_next(c, out, &got, err));
        if (got) return IG_OK;
        if (c->ended) return ig_fail(err, IG_NOT_FOUND, 0, "the other process has closed the channel");
        if (ig_pass_wait(c->fd, true, false, -1) < 0)
            return ig_fail_errno(err, IG_IO, errno, "cannot wait for the other process");
        IG_TRY(ig_channel_fill(c, err));
    }
}

/* ------------------------------------------------------------------------------------------------ sending */

size_t ig_channel_waiting(const ig_channel *c) { return c->out.len - c->out_at; }

static void store(char *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = (char)(v >> 8 * i);
}

/* Sent bytes leave the buffer when there are many. */
static void drop_sent(ig_channel *c)
{
    if (c->out_at < c->out.len && (c->out_at < FILL_BYTES || c->out_at < c->out.len / 2)) return;
    c->out.len -= c->out_at;
    if (c->out.len) memmove(c->out.ptr, c->out.ptr + c->out_at, c->out.len);
    c->out_at = 0;
}

/* A node for the frame's descriptors, own ones behind that of a big body; NULL where there are none. */
static ig_status gather_fds(const ig_channel *c, int big, const int *fds, size_t n, struct ig_frame_fds **out,
                            ig_error *err)
{
    size_t all = n + (big >= 0);
    *out = NULL;
    if (all == 0) return IG_OK;
    if (all > IG_FRAME_FDS_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%zu descriptors for one frame, the limit is %d", all, IG_FRAME_FDS_MAX);
    struct ig_frame_fds *f = ig_alloc(sizeof *f + all * sizeof *f->fds);
    if (!f) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %zu descriptors", all);
    *f = (struct ig_frame_fds){.at = c->sent_bytes + ig_channel_waiting(c), .n = all};
    if (big >= 0) f->fds[0] = big;
    if (n) memcpy(f->fds + (big >= 0), fds, n * sizeof *fds);
    *out = f;
    return IG_OK;
}

static ig_status put(ig_channel *c, uint32_t type, uint64_t request, const char *body, size_t n_body, int big,
                     const int *fds, size_t n_fds, ig_error *err)
{
    char header[IG_FRAME_HEADER_BYTES];
    struct ig_frame_fds *f, **last = &c->out_fds;
    drop_sent(c);
    size_t before = c->out.len, n_inline = big >= 0 ? 0 : n_body;
    if (before + sizeof header + n_inline > c->out.max_bytes)
        return ig_fail(err, IG_TOO_LARGE, 0, "%zu bytes wait for the other process already, the limit is %zu",
                       ig_channel_waiting(c), c->out.max_bytes);
    IG_TRY(gather_fds(c, big, fds, n_fds, &f, err));
    store(header, n_inline, 4);
    store(header + 4, type | (big >= 0 ? IG_FRAME_BIG : 0), 4);
    store(header + 8, request, 8);
    if (!ig_buf_add(&c->out, header, sizeof header) || !ig_buf_add(&c->out, body, n_inline)) {
        c->out.len = before;
        c->out.failed = false;
        ig_free(f);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a frame of %zu bytes", n_inline);
    }
    while (*last) last = &(*last)->next;
    *last = f;
    return IG_OK;
}

ig_status ig_channel_put(ig_channel *c, uint32_t type, uint64_t request, const char *body, size_t n_body,
                         const int *fds, size_t n_fds, ig_error *err)
{
    int big = -1;
    ig_status st = IG_OK;
    if (n_body > IG_FRAME_BODY_MAX)
        st = ig_fail(err, IG_TOO_LARGE, 0, "the body of a frame has %zu bytes, the limit is %d", n_body,
                     IG_FRAME_BODY_MAX);
    else if (n_body > IG_FRAME_INLINE_MAX && (big = ig_sealed_new(body, n_body)) < 0)
        st = ig_fail_errno(err, IG_IO, errno, "cannot make a memory file of %zu bytes", n_body);
    if (st == IG_OK) st = put(c, type, request, body, n_body, big, fds, n_fds, err);
    if (st == IG_OK) return IG_OK;
    if (big >= 0) close(big);
    close_fds(fds, n_fds);
    return st;
}

ig_status ig_channel_flush(ig_channel *c, ig_error *err)
{
    while (ig_channel_waiting(c)) {
        struct ig_frame_fds *f = c->out_fds, *next = f;
        bool now = f && f->at == c->sent_bytes;
        if (now) next = f->next;
        uint64_t n = ig_channel_waiting(c);
        if (next && next->at - c->sent_bytes < n) n = next->at - c->sent_bytes;
        ssize_t done = ig_pass_send(c->fd, c->out.ptr + c->out_at, (size_t)n, now ? f->fds : NULL, now ? f->n : 0);
        if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return IG_OK;
        if (done < 0) return ig_fail_errno(err, IG_IO, errno, "cannot send to the other process");
        c->out_at += (size_t)done;
        c->sent_bytes += (uint64_t)done;
        if (now && done > 0) {
            c->out_fds = next;
            close_fds(f->fds, f->n);
            ig_free(f);
        }
    }
    drop_sent(c);
    return IG_OK;
}

ig_status ig_channel_flush_all(ig_channel *c, ig_error *err)
{
    for (;;) {
        IG_TRY(ig_channel_flush(c, err));
        if (ig_channel_waiting(c) == 0) return IG_OK;
        if (ig_pass_wait(c->fd, false, true, -1) < 0)
            return ig_fail_errno(err, IG_IO, errno, "cannot wait for the other process");
    }
}
