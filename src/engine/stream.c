#include "engine/stream.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

typedef struct stop {
    char *text;        /* owned by the arena, as fail */
    uint16_t *fail;    /* [n + 1] Knuth-Morris-Pratt: longest border of each prefix */
    size_t n, matched; /* matched: length of the longest prefix of text that ends the bytes seen so far */
} stop;

struct ig_stream {
    ig_arena arena;
    stop *stops;
    size_t n_stops;
    ig_buf held; /* bytes not given out */
    ig_buf out;  /* text of the last call */
    bool stopped;
    size_t stop_idx; /* that came up */
};

static bool compile(ig_stream *s, stop *p, const char *text)
{
    p->n = strlen(text);
    p->text = ig_arena_copy(&s->arena, text, p->n);
    p->fail = ig_arena_alloc(&s->arena, p->n + 1, sizeof *p->fail);
    if (!p->text || !p->fail) return false;
    for (size_t i = 1, k = 0; i < p->n; i++) {
        while (k && text[i] != text[k]) k = p->fail[k];
        if (text[i] == text[k]) k++;
        p->fail[i + 1] = (uint16_t)k;
    }
    return true;
}

static ig_status check_stops(const char *const *stops, size_t n, ig_error *err)
{
    if (n > IG_STOPS_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%zu stop strings were given, at most %d can be", n, IG_STOPS_MAX);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(stops[i]);
        if (len == 0)
            return ig_fail(err, IG_BAD_INPUT, i, "stop string %zu is empty, expected at least one character", i + 1);
        if (len > IG_STOP_BYTES_MAX)
            return ig_fail(err, IG_TOO_LARGE, i, "stop string %zu has %zu bytes, at most %d are allowed", i + 1, len,
                           IG_STOP_BYTES_MAX);
    }
    return IG_OK;
}

/* Makes room, so that pushing does not allocate. */
static bool warm(ig_buf *b, size_t n)
{
    static const char zeros[256];
    while (b->len < n)
        if (!ig_buf_add(b, zeros, sizeof zeros)) return false;
    b->len = 0;
    return true;
}

ig_status ig_stream_new(const char *const *stops, size_t n_stops, size_t piece_bytes, ig_stream **out, ig_error *err)
{
    *out = NULL;
    IG_TRY(check_stops(stops, n_stops, err));
    ig_stream *s = ig_calloc(1, sizeof *s);
    bool ok = s != NULL;
    if (ok) {
        ig_buf_init(&s->held, SIZE_MAX / 8);
        ig_buf_init(&s->out, SIZE_MAX / 2);
        s->n_stops = s->stop_idx = n_stops;
        s->stops = ig_arena_alloc(&s->arena, n_stops + 1, sizeof *s->stops);
        ok = s->stops != NULL;
    }
    for (size_t i = 0; ok && i < n_stops; i++) ok = compile(s, &s->stops[i], stops[i]);
    size_t most = piece_bytes + IG_STOP_BYTES_MAX + 4;
    ok = ok && warm(&s->held, most) && warm(&s->out, 3 * most);
    if (!ok) {
        ig_stream_free(s);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %zu stop strings", n_stops);
    }
    *out = s;
    return IG_OK;
}

void ig_stream_free(ig_stream *s)
{
    if (!s) return;
    ig_buf_fini(&s->held);
    ig_buf_fini(&s->out);
    ig_arena_fini(&s->arena);
    ig_free(s);
}

/* Feeds one byte to all stops. Returns the length of the longest stop that ends here, or 0. */
static size_t see(ig_stream *s, char c)
{
    size_t longest = 0;
    for (size_t i = 0; i < s->n_stops; i++) {
        stop *p = &s->stops[i];
        while (p->matched && (p->matched == p->n || p->text[p->matched] != c)) p->matched = p->fail[p->matched];
        if (p->text[p->matched] == c) p->matched++;
        if (p->matched == p->n && p->n > longest) {
            longest = p->n;
            s->stop_idx = i;
        }
    }
    return longest;
}

/* Moves the first n held bytes to `out` as valid UTF-8. With `last` a broken tail is written as U+FFFD, else it stays
 * held. */
static void release(ig_stream *s, size_t n, bool last)
{
    size_t at = 0, whole = last ? n : ig_utf8_whole(s->held.ptr, n);
    while (at < whole) {
        uint32_t cp;
        size_t len = ig_utf8_decode(s->held.ptr + at, whole - at, &cp);
        if (len)
            ig_buf_add(&s->out, s->held.ptr + at, len);
        else
            ig_buf_add(&s->out, "\xEF\xBF\xBD", 3);
        at += len ? len : 1;
    }
    memmove(s->held.ptr, s->held.ptr + at, s->held.len - at);
    s->held.len -= at;
}

static ig_status give(ig_stream *s, const char **text, size_t *n_text, ig_error *err)
{
    if (s->held.failed || s->out.failed) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the text of a token");
    *text = s->out.ptr;
    *n_text = s->out.len;
    return IG_OK;
}

ig_status ig_stream_push(ig_stream *s, const char *bytes, size_t n, const char **text, size_t *n_text, bool *stopped,
                         ig_error *err)
{
    s->out.len = 0;
    for (size_t i = 0; i < n && !s->stopped && !s->held.failed; i++) {
        ig_buf_add(&s->held, bytes + i, 1);
        size_t stop_bytes = see(s, bytes[i]);
        if (stop_bytes == 0) continue;
        release(s, s->held.len - stop_bytes, true);
        s->held.len = 0;
        s->stopped = true;
    }
    size_t maybe = 0; /* bytes at the end that may become a stop */
    for (size_t i = 0; i < s->n_stops; i++)
        if (s->stops[i].matched > maybe) maybe = s->stops[i].matched;
    if (!s->stopped) release(s, s->held.len - maybe, false);
    *stopped = s->stopped;
    return give(s, text, n_text, err);
}

size_t ig_stream_stop(const ig_stream *s) { return s->stop_idx; }

ig_status ig_stream_finish(ig_stream *s, const char **text, size_t *n_text, ig_error *err)
{
    s->out.len = 0;
    if (!s->stopped) release(s, s->held.len, true);
    s->stopped = true;
    return give(s, text, n_text, err);
}
