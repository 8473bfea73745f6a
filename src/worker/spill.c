/* Idle conversations on disk: what a slot has to give up goes to a file that the front has handed over (it has no name,
 * nobody else can open it), and comes back when a request begins with those tokens. Main thread.
 *
 * The file is a row of regions, one a conversation, at most spill_max bytes. Where there is no room, the one used
 * longest ago goes. A conversation is its user's, as in the slots; of one that has grown only the latest state is kept.
 *
 * Behind spill_max stands a list of the regions, from the moment that a worker ends until the next one of the same
 * model begins: it reads the list, and wipes it before anything changes. So a worker that is killed leaves nothing. The
 * list may be what another worker of the same model wanted it to be: it is checked before it is used.
 */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "worker/wk.h"

enum {
    SPILL_TOKENS_MIN = 64,
    READ_MOST = 8 /* a conversation is read whole, but not where fewer than one in so many of its tokens are of use */
};

static uint32_t common(const ig_session_image *image, const int32_t *tokens, uint32_t n)
{
    uint32_t length, same = 0;
    const int32_t *have = ig_session_image_tokens(image, &length);
    if (n > length) n = length;
    while (same < n && have[same] == tokens[same]) same++;
    return same;
}

static uint32_t length_of(const ig_session_image *image)
{
    uint32_t n;
    (void)ig_session_image_tokens(image, &n);
    return n;
}

static void forget(wk *w, size_t i)
{
    ig_session_image_free(w->spilled[i].image);
    wk_user_drop(w, w->spilled[i].user);
    memmove(w->spilled + i, w->spilled + i + 1, (w->n_spilled - i - 1) * sizeof *w->spilled);
    w->n_spilled--;
}

void wk_spill_fini(wk *w)
{
    while (w->n_spilled) forget(w, w->n_spilled - 1);
    if (w->spill_fd >= 0) close(w->spill_fd);
    w->spill_fd = -1;
}

/* The first gap of n bytes; *index: where its region stands in the list, which is in order of the file. */
static bool find_gap(const wk *w, uint64_t n, uint64_t *at, size_t *index)
{
    uint64_t from = 0;
    for (*index = 0; *index < w->n_spilled; ++*index) {
        const wk_spilled *s = &w->spilled[*index];
        if (s->at - from >= n) break;
        from = s->at + s->n_bytes;
    }
    *at = from;
    return (*index < w->n_spilled && w->spilled[*index].at - from >= n) || w->cfg.spill_max - from >= n;
}

/* False: nothing may go. */
static bool drop_oldest(wk *w)
{
    size_t oldest = SIZE_MAX;
    for (size_t i = 0; i < w->n_spilled; i++)
        if (!w->spilled[i].busy && (oldest == SIZE_MAX || w->spilled[i].used < w->spilled[oldest].used)) oldest = i;
    if (oldest == SIZE_MAX) return false;
    forget(w, oldest);
    return true;
}

/* True: the file has all of the tokens already. Regions with fewer of them are given up. */
static bool replace(wk *w, const wk_user *user, const int32_t *tokens, uint32_t n)
{
    for (size_t i = w->n_spilled; i-- > 0;) {
        wk_spilled *s = &w->spilled[i];
        uint32_t length = length_of(s->image), same = s->user == user ? common(s->image, tokens, n) : 0;
        if (same == n && length >= n) return s->used = ++w->admissions, true;
        if (same == length && same && !s->busy) forget(w, i);
    }
    return false;
}

void wk_spill_keep(wk *w, const wk_slot *slot)
{
    uint64_t n = w->spill_fd >= 0 && slot->user ? ig_session_image_bytes(slot->session) : 0, at;
    uint32_t n_tokens = ingle_session_length(slot->session);
    size_t index;
    ig_session_image *image;
    if (n == 0 || n > w->cfg.spill_max || n_tokens < SPILL_TOKENS_MIN) return;
    if (replace(w, slot->user, ig_session_tokens(slot->session), n_tokens)) return;
    while (w->n_spilled == WK_SPILLED_MAX || !find_gap(w, n, &at, &index))
        if (!drop_oldest(w)) return;
    if (ig_session_save(slot->session, w->spill_fd, at, &image, NULL) != INGLE_OK) {
        wk_spill_fini(w); /* the disk is full, or broken */
        return;
    }
    memmove(w->spilled + index + 1, w->spilled + index, (w->n_spilled - index) * sizeof *w->spilled);
    w->spilled[index] =
        (wk_spilled){.user = slot->user, .image = image, .at = at, .n_bytes = n, .used = ++w->admissions};
    w->n_spilled++;
    slot->user->refs++;
}

wk_spilled *wk_spill_find(wk *w, const wk_choice *c, uint32_t *reach)
{
    wk_spilled *best = NULL;
    uint32_t most = c->scoring ? c->n_scored : c->n_tokens - 1;
    *reach = 0;
    for (size_t i = 0; i < w->n_spilled; i++) {
        wk_spilled *s = &w->spilled[i];
        uint32_t n = w->cfg.shares || s->user == c->r->user ? common(s->image, c->tokens, most) : 0;
        if (n > *reach && n > length_of(s->image) / READ_MOST) *reach = n, best = s;
    }
    return best;
}

uint32_t wk_spill_load(wk *w, wk_spilled *s, ingle_session *session, uint32_t reach)
{
    ingle_error e = {0};
    s->busy = false;
    s->used = ++w->admissions;
    if (ingle_session_length(session) == 0 && ig_session_load(session, s->image, w->spill_fd, s->at, &e) == INGLE_OK)
        return ig_session_keep(session, reach);
    if (e.status == INGLE_IO) forget(w, (size_t)(s - w->spilled));
    return 0;
}

/* ------------------------------------------------------------------------------------------------ from worker to
 * worker */

#define LIST_BYTES_MAX ((size_t)WK_SPILL_LIST_BYTES)
#define LEAVE_NS       (UINT64_C(8) * 1000000000)

static const char list_mark[8] = "INGLSPL1";

typedef struct list_head {
    char mark[8];
    uint64_t n_bytes; /* of the whole list */
    uint32_t n, n_key;
} list_head;

typedef struct list_row { /* then the image */
    uint64_t at, n_bytes, used;
    char user[WK_USER_BYTES];
} list_row;

static ig_str key_of(const wk *w)
{
    const json_t *key = json_object_get(w->cfg.body, "spill_key");
    return (ig_str){json_is_string(key) ? json_string_value(key) : "", json_string_length(key)};
}

static bool put_list(const wk *w, ig_buf *out)
{
    const ig_str key = key_of(w);
    list_head head = {.n = (uint32_t)w->n_spilled, .n_key = (uint32_t)key.len};
    bool good = ig_buf_add(out, &head, sizeof head) && ig_buf_add(out, key.ptr, key.len);
    for (size_t i = 0; good && i < w->n_spilled; i++) {
        const wk_spilled *s = &w->spilled[i];
        list_row row = {.at = s->at, .n_bytes = s->n_bytes, .used = s->used};
        memcpy(row.user, s->user->name, sizeof row.user);
        good = ig_buf_add(out, &row, sizeof row) && ig_session_image_put(s->image, out);
    }
    if (!good) return false;
    memcpy(head.mark, list_mark, sizeof head.mark);
    head.n_bytes = out->len;
    memcpy(out->ptr, &head, sizeof head);
    return true;
}

void wk_spill_leave(wk *w)
{
    const uint64_t from = ig_now_ns();
    ig_buf list;
    if (w->spill_fd < 0 || !w->slots || !key_of(w).len) return;
    for (uint32_t i = 0; i < w->cfg.n_sessions && ig_now_ns() - from < LEAVE_NS; i++) wk_spill_keep(w, &w->slots[i]);
    ig_buf_init(&list, LIST_BYTES_MAX);
    if (w->spill_fd >= 0 && put_list(w, &list))
        (void)ig_disk_write_at(w->spill_fd, list.ptr, list.len, w->cfg.spill_max);
    ig_buf_fini(&list);
}

/* One row; false: the rest of the list is not to be trusted. */
static bool take_row(wk *w, const char *p, size_t n, size_t *n_used, uint64_t *end)
{
    list_row row;
    if (n < sizeof row) return false;
    memcpy(&row, p, sizeof row);
    bool good = memchr(row.user, 0, sizeof row.user) && row.at >= *end && row.at <= w->cfg.spill_max &&
                row.n_bytes <= w->cfg.spill_max - row.at;
    ig_session_image *image =
        good ? ig_session_image_take(w->slots[0].session, p + sizeof row, n - sizeof row, n_used) : NULL;
    wk_user *user = image ? wk_user_of(w, row.user) : NULL;
    if (!user) {
        ig_session_image_free(image);
        return false;
    }
    w->spilled[w->n_spilled++] =
        (wk_spilled){.user = user, .image = image, .at = row.at, .n_bytes = row.n_bytes, .used = row.used};
    if (row.used > w->admissions && row.used < UINT64_MAX / 2) w->admissions = row.used;
    *end = row.at + row.n_bytes;
    *n_used += sizeof row;
    return true;
}

static void take_list(wk *w, const list_head *head, const char *p, size_t n)
{
    const ig_str key = key_of(w);
    uint64_t end = 0;
    size_t at = sizeof *head + key.len, used = 0;
    if (head->n_key != key.len || head->n > WK_SPILLED_MAX || n < at) return;
    if (memcmp(p + sizeof *head, key.ptr, key.len) != 0) return;
    for (uint32_t i = 0; i < head->n && take_row(w, p + at, n - at, &used, &end); i++) at += used;
}

void wk_spill_open(wk *w)
{
    list_head head;
    const uint64_t at = w->cfg.spill_max;
    if (w->spill_fd < 0 || !w->slots || !key_of(w).len) return;
    if (ig_disk_read_at(w->spill_fd, &head, sizeof head, at) != (ssize_t)sizeof head) return;
    bool good = !memcmp(head.mark, list_mark, sizeof head.mark) && head.n_bytes >= sizeof head &&
                head.n_bytes <= LIST_BYTES_MAX;
    char *list = good ? ig_alloc((size_t)head.n_bytes) : NULL;
    if (list && ig_disk_read_at(w->spill_fd, list, (size_t)head.n_bytes, at) == (ssize_t)head.n_bytes)
        take_list(w, &head, list, (size_t)head.n_bytes);
    ig_free(list);
    memset(&head, 0, sizeof head);
    if (!ig_disk_write_at(w->spill_fd, &head, sizeof head, at)) wk_spill_fini(w);
}
