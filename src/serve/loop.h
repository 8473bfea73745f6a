/* Event loop of the front: descriptors (epoll), timers (one timerfd), signals (signalfd), calls from other threads
 * (eventfd). One thread runs it; only ig_waker_wake may be called from others. Without descriptors ready and timers due
 * it sleeps: nothing wakes it up on its own. The small structs are the caller's memory, embedded where they are used,
 * so that setting a timer cannot fail; they must stay in place while they are set. */
#ifndef IG_SERVE_LOOP_H
#define IG_SERVE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct ig_loop ig_loop;

/* A descriptor that is watched. Zero-initialised is idle. */
typedef struct ig_watch {
    int fd;
    bool active;
    uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLRDHUP; errors and hang-up always come */
    void (*fn)(void *ctx, uint32_t events);
    void *ctx;
} ig_watch;

/* Zero-initialised is unset. */
typedef struct ig_timer {
    uint64_t due_ns;
    void (*fn)(void *ctx);
    void *ctx;
    bool set;
    struct ig_timer *child, *next, *prev; /* pairing heap; prev: left sibling, or parent of the first child */
} ig_timer;

typedef struct ig_waker {
    _Atomic bool pending;
    ig_loop *loop;
    void (*fn)(void *ctx);
    void *ctx;
    struct ig_waker *next;
} ig_waker;

ig_status ig_loop_new(ig_loop **out, ig_error *err);
void ig_loop_free(ig_loop *loop);

/* Level-triggered. The descriptor stays the caller's; unwatch before closing it. */
ig_status ig_loop_watch(ig_loop *loop, ig_watch *w, int fd, uint32_t events, void (*fn)(void *ctx, uint32_t events),
                        void *ctx, ig_error *err);
void ig_loop_rewatch(ig_loop *loop, ig_watch *w, uint32_t events);
/* Also forgets events that were already fetched: fn is not called any more. A watch that is idle is left alone. */
void ig_loop_unwatch(ig_loop *loop, ig_watch *w);

/* (Re)sets a timer to a time of ig_now_ns(); one in the past runs after the descriptors of this round. It fires once.
 */
void ig_timer_set(ig_loop *loop, ig_timer *t, uint64_t due_ns, void (*fn)(void *ctx), void *ctx);
void ig_timer_clear(ig_loop *loop, ig_timer *t);

/* Calls fn in the loop when the signal arrives. The signal is blocked in this thread: do this before making others.
 * At most 8 signals. */
ig_status ig_loop_signal(ig_loop *loop, int signo, void (*fn)(void *ctx), void *ctx, ig_error *err);

/* After ig_waker_add any thread may wake: fn runs in the loop, once for all calls of ig_waker_wake before it runs. */
void ig_waker_add(ig_loop *loop, ig_waker *w, void (*fn)(void *ctx), void *ctx);
void ig_waker_remove(ig_waker *w);
void ig_waker_wake(ig_waker *w);

/* Runs until ig_loop_stop. */
ig_status ig_loop_run(ig_loop *loop, ig_error *err);
/* One round: waits at most max_wait_ms (-1: until something happens). */
ig_status ig_loop_step(ig_loop *loop, int max_wait_ms, ig_error *err);
void ig_loop_stop(ig_loop *loop);
/* Time of this round, ig_now_ns() when it began. */
uint64_t ig_loop_now(const ig_loop *loop);
/* Rounds so far, for the test that idle is idle. */
uint64_t ig_loop_rounds(const ig_loop *loop);

#endif
