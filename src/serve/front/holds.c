/* How long a model stays for whom: each user's requests hold it for a while, and it goes when the last hold has ended.
 * So one user's keep_alive never takes a model from another. Holds bind no memory: a model that is only held goes where
 * another needs its room. */
#include <stdio.h>
#include <string.h>

#include "serve/front/fr.h"

enum { HOLDS_MAX = 64 }; /* of one worker; beyond that the one that ends first makes room */

static uint64_t end_of(const fr_hold *h)
{
    uint64_t end;
    if (h->ms < 0) return UINT64_MAX;
    if (!ig_mul_u64((uint64_t)h->ms, FR_NS_PER_MS, &end) || !ig_add_u64(end, h->used_ns, &end)) return UINT64_MAX;
    return end;
}

static fr_hold *find(const fr_worker *w, const char *user)
{
    for (size_t i = 0; i < w->n_holds; i++)
        if (!strcmp(w->holds[i].user, user)) return &w->holds[i];
    return NULL;
}

static fr_hold *first_to_end(const fr_worker *w)
{
    fr_hold *first = w->holds;
    for (size_t i = 1; i < w->n_holds; i++)
        if (end_of(&w->holds[i]) < end_of(first)) first = &w->holds[i];
    return first;
}

/* A new one, or NULL without memory. */
static fr_hold *add(fr_worker *w)
{
    if (w->n_holds == HOLDS_MAX) return first_to_end(w);
    fr_hold *more = ig_realloc(w->holds, w->n_holds + 1, sizeof *more);
    if (!more) return NULL;
    w->holds = more;
    return &more[w->n_holds++];
}

void fr_hold_use(fr_worker *w, const char *user, const int64_t *said_ms)
{
    fr_hold *h = find(w, user);
    if (!h) {
        h = add(w);
        if (!h) return;
        *h = (fr_hold){.ms = w->front->keep_alive_ms};
        snprintf(h->user, sizeof h->user, "%s", user);
    }
    h->used_ns = ig_loop_now(w->front->loop);
    if (said_ms) h->ms = *said_ms;
}

void fr_hold_drop(fr_worker *w, const char *user)
{
    fr_hold *h = user ? find(w, user) : NULL;
    if (!user) w->n_holds = 0;
    if (h) *h = w->holds[--w->n_holds];
}

uint64_t fr_hold_end(const fr_worker *w)
{
    uint64_t last = 0;
    if (!w->n_holds) return end_of(&(fr_hold){.ms = w->front->keep_alive_ms, .used_ns = w->used_ns});
    for (size_t i = 0; i < w->n_holds; i++)
        if (end_of(&w->holds[i]) > last) last = end_of(&w->holds[i]);
    return last;
}

bool fr_hold_of_others(const fr_worker *w, const char *user)
{
    const uint64_t now = ig_loop_now(w->front->loop);
    for (size_t i = 0; i < w->n_holds; i++)
        if (strcmp(w->holds[i].user, user) != 0 && end_of(&w->holds[i]) > now) return true;
    for (const fr_job *j = w->front->jobs; j; j = j->next)
        if (j->worker == w && strcmp(j->user, user) != 0) return true;
    return false;
}
