/* Idle conversations on disk: what a slot has to give up goes to a file that the front has handed over (it has no name,
 * nobody else can open it), and comes back when a request begins with those tokens. Main thread.
 *
 * The file is a row of regions, one a conversation, at most spill_max bytes. Where there is no room, the one used
 * longest ago goes. A conversation is its user's, as in the slots; of one that has grown only the latest state is kept.
 */
#include <string.h>
#include <unistd.h>

#include "worker/wk.h"

enum { SPILL_TOKENS_MIN = 64 };

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
    if (n == 0 || n > w->cfg.spill_max || n_tokens < SPILL_TOKENS_MIN || w->stopping) return;
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
        uint32_t n = s->user == c->r->user ? common(s->image, c->tokens, most) : 0;
        if (n > *reach && n > length_of(s->image) / 2) *reach = n, best = s;
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
