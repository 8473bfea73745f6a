/* The store's garbage, collected while the service runs: at its start and once a day. It never takes what a manifest
 * names or a process uses, so that it needs nobody's leave. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/os.h"
#include "serve/front/fr.h"

enum { DAY_S = 24 * 3600, ROUND_S_MIN = 1 };

struct fr_gc {
    fr_front *front;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t bell;
    bool stop;
};

/* INGLE_GC_S: seconds between two rounds, for tests and for machines that start anew each day. */
static long round_s(void)
{
    const char *text = getenv("INGLE_GC_S");
    long s = text ? strtol(text, NULL, 10) : 0;
    return s >= ROUND_S_MIN ? s : DAY_S;
}

static void collect(fr_front *f)
{
    ig_gc_options o = {.min_age_s = -1, .partial_min_age_s = -1};
    ig_gc_result r;
    ig_error err;
    if (ig_store_gc(f->store, &o, &r, &err) != IG_OK)
        fr_say(f, "garbage of the store was not collected: %s", err.text);
    else if (r.n)
        fr_say(f, "%llu unused files of the store removed, %.1f MiB", (unsigned long long)r.n,
               (double)r.bytes / (1 << 20));
}

static void *run(void *ctx)
{
    struct fr_gc *g = ctx;
    bool stop = false;
    while (!stop) {
        struct timespec until;
        collect(g->front);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += round_s();
        pthread_mutex_lock(&g->lock);
        while (!g->stop && pthread_cond_timedwait(&g->bell, &g->lock, &until) != ETIMEDOUT) continue;
        stop = g->stop;
        pthread_mutex_unlock(&g->lock);
    }
    return NULL;
}

void fr_gc_start(fr_front *f)
{
    pthread_condattr_t attr;
    if (!f->store || ig_store_is_read_only(f->store)) return;
    struct fr_gc *g = ig_calloc(1, sizeof *g);
    if (!g) return;
    g->front = f;
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->bell, &attr);
    pthread_condattr_destroy(&attr);
    f->gc = g;
    if (!pthread_create(&g->thread, NULL, run, g)) return;
    fr_say(f, "no thread to collect the store's garbage; type: ingle gc");
    pthread_cond_destroy(&g->bell);
    pthread_mutex_destroy(&g->lock);
    ig_free(g);
    f->gc = NULL;
}

void fr_gc_stop(fr_front *f)
{
    struct fr_gc *g = f->gc;
    if (!g) return;
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_cond_signal(&g->bell);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    pthread_cond_destroy(&g->bell);
    pthread_mutex_destroy(&g->lock);
    ig_free(g);
    f->gc = NULL;
}
