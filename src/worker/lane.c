/* Lanes: a thread that does jobs in turn, and rings the main thread's bell after each. */
#include <string.h>
#include <unistd.h>

#include "worker/wk.h"

static void append(wk_request **first, wk_request **last, wk_request *r)
{
    r->next = NULL;
    if (*last)
        (*last)->next = r;
    else
        *first = r;
    *last = r;
}

static wk_request *take(wk_request **first, wk_request **last)
{
    wk_request *r = *first;
    if (!r) return NULL;
    *first = r->next;
    if (!*first) *last = NULL;
    r->next = NULL;
    return r;
}

static void *lane_main(void *arg)
{
    wk_lane *lane = arg;
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        while (!lane->stop && !lane->first) pthread_cond_wait(&lane->wake, &lane->lock);
        if (lane->stop) break;
        lane->now = take(&lane->first, &lane->last);
        pthread_mutex_unlock(&lane->lock);
        lane->work(lane->w, lane->now);
        pthread_mutex_lock(&lane->lock);
        append(&lane->done_first, &lane->done_last, lane->now);
        lane->now = NULL;
        ssize_t n = write(lane->bell, "x", 1); /* a full pipe rings just as well */
        (void)n;
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

ig_status wk_lane_start(wk_lane *lane, wk *w, void (*work)(wk *w, wk_request *r), ig_error *err)
{
    lane->w = w;
    lane->work = work;
    lane->bell = w->bell[1];
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->wake, NULL);
    int rc = pthread_create(&lane->thread, NULL, lane_main, lane);
    if (rc) return ig_fail_errno(err, IG_IO, rc, "cannot start a thread of the worker");
    lane->started = true;
    return IG_OK;
}

static void free_list(wk_request *r)
{
    for (wk_request *next; r; r = next) {
        next = r->next;
        wk_request_free(r);
    }
}

void wk_lane_stop(wk_lane *lane)
{
    if (!lane->started) return;
    pthread_mutex_lock(&lane->lock);
    lane->stop = true;
    if (lane->now) atomic_store(&lane->now->cancelled, true);
    pthread_cond_signal(&lane->wake);
    pthread_mutex_unlock(&lane->lock);
    pthread_join(lane->thread, NULL);
    free_list(lane->first);
    free_list(lane->done_first);
    pthread_mutex_destroy(&lane->lock);
    pthread_cond_destroy(&lane->wake);
    *lane = (wk_lane){0};
}

void wk_lane_give(wk_lane *lane, wk_request *r)
{
    pthread_mutex_lock(&lane->lock);
    append(&lane->first, &lane->last, r);
    pthread_cond_signal(&lane->wake);
    pthread_mutex_unlock(&lane->lock);
}

wk_request *wk_lane_take_done(wk_lane *lane)
{
    if (!lane->started) return NULL;
    pthread_mutex_lock(&lane->lock);
    wk_request *r = take(&lane->done_first, &lane->done_last);
    pthread_mutex_unlock(&lane->lock);
    return r;
}

static bool mark(wk_request *r, uint64_t id)
{
    for (; r; r = r->next)
        if (r->id == id) return atomic_store(&r->cancelled, true), true;
    return false;
}

bool wk_lane_cancel(wk_lane *lane, uint64_t id)
{
    if (!lane->started) return false;
    pthread_mutex_lock(&lane->lock);
    bool found = mark(lane->first, id) || mark(lane->now, id) || mark(lane->done_first, id);
    pthread_mutex_unlock(&lane->lock);
    return found;
}
