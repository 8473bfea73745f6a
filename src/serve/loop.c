/* Event loop; see loop.h. Owns epoll, timerfd, eventfd and signalfd, never the descriptors it watches. */
#include "serve/loop.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"

enum { BATCH = 64, SIGNALS_MAX = 8 };

struct ig_loop {
    int epoll_fd, timer_fd, wake_fd, signal_fd; /* -1 when absent */
    ig_watch timer_watch, wake_watch, signal_watch;
    ig_timer *timers; /* root of the heap */
    size_t n_timers;
    uint64_t armed_ns; /* what timer_fd is set to, 0 for nothing */
    ig_waker *wakers;
    struct {
        int signo;
        void (*fn)(void *ctx);
        void *ctx;
    } signals[SIGNALS_MAX];
    size_t n_signals;
    sigset_t mask;
    struct epoll_event batch[BATCH];
    int n_batch, at; /* events of this round, the one being handled */
    uint64_t now_ns, n_rounds;
    bool stop;
};

/* ---- timers: a pairing heap, no allocation ---- */

static ig_timer *join(ig_timer *a, ig_timer *b)
{
    if (!a || !b) return a ? a : b;
    if (b->due_ns < a->due_ns) {
        ig_timer *t = a;
        a = b;
        b = t;
    }
    b->next = a->child;
    if (a->child) a->child->prev = b;
    b->prev = a;
    a->child = b;
    a->next = a->prev = NULL;
    return a;
}

/* Joins a list of siblings: pairs from the left, then all from the right. */
static ig_timer *join_siblings(ig_timer *first)
{
    ig_timer *pairs = NULL, *root = NULL;
    while (first) {
        ig_timer *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b) b->next = b->prev = NULL;
        a = join(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        ig_timer *a = pairs;
        pairs = a->next;
        a->next = a->prev = NULL;
        root = join(root, a);
    }
    return root;
}

void ig_timer_clear(ig_loop *loop, ig_timer *t)
{
    if (!t->set) return;
    ig_timer *below = join_siblings(t->child);
    if (t == loop->timers) {
        loop->timers = below;
    } else {
        if (t->prev->child == t)
            t->prev->child = t->next;
        else
            t->prev->next = t->next;
        if (t->next) t->next->prev = t->prev;
        loop->timers = join(loop->timers, below);
    }
    t->child = t->next = t->prev = NULL;
    t->set = false;
    loop->n_timers--;
}

void ig_timer_set(ig_loop *loop, ig_timer *t, uint64_t due_ns, void (*fn)(void *ctx), void *ctx)
{
    ig_timer_clear(loop, t);
    *t = (ig_timer){.due_ns = due_ns ? due_ns : 1, .fn = fn, .ctx = ctx, .set = true};
    loop->timers = join(loop->timers, t);
    loop->n_timers++;
}

/* As many as there were at the beginning: a timer that sets itself anew must not keep descriptors waiting. */
static void run_timers(ig_loop *loop)
{
    loop->now_ns = ig_now_ns();
    for (size_t n = loop->n_timers; n && loop->timers && loop->timers->due_ns <= loop->now_ns; n--) {
        ig_timer *t = loop->timers;
        ig_timer_clear(loop, t);
        t->fn(t->ctx);
    }
}

/* True when a timer is due already; else the timerfd is set to the first one. */
static bool arm(ig_loop *loop)
{
    uint64_t due = loop->timers ? loop->timers->due_ns : 0;
    if (due && due <= ig_now_ns()) return true;
    if (due == loop->armed_ns) return false;
    struct itimerspec t = {.it_value = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)}};
    if (timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &t, NULL) == 0) loop->armed_ns = due;
    return false;
}

static void on_timer_fd(void *ctx, uint32_t events)
{
    ig_loop *loop = ctx;
    uint64_t n;
    (void)events;
    if (read(loop->timer_fd, &n, sizeof n) == (ssize_t)sizeof n) loop->armed_ns = 0;
}

/* ---- wakers and signals ---- */

static void on_wake_fd(void *ctx, uint32_t events)
{
    ig_loop *loop = ctx;
    uint64_t n;
    (void)events;
    if (read(loop->wake_fd, &n, sizeof n) < 0 && errno != EAGAIN && errno != EINTR) return;
    for (ig_waker *w = loop->wakers, *next; w; w = next) {
        next = w->next;
        if (atomic_exchange(&w->pending, false)) w->fn(w->ctx);
    }
}

void ig_waker_add(ig_loop *loop, ig_waker *w, void (*fn)(void *ctx), void *ctx)
{
    w->loop = loop;
    w->fn = fn;
    w->ctx = ctx;
    w->next = loop->wakers;
    atomic_store(&w->pending, false);
    loop->wakers = w;
}

void ig_waker_remove(ig_waker *w)
{
    for (ig_waker **p = w->loop ? &w->loop->wakers : NULL; p && *p; p = &(*p)->next) {
        if (*p != w) continue;
        *p = w->next;
        break;
    }
    w->loop = NULL;
}

void ig_waker_wake(ig_waker *w)
{
    uint64_t one = 1;
    if (atomic_exchange(&w->pending, true)) return;
    while (write(w->loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

static void on_signal_fd(void *ctx, uint32_t events)
{
    ig_loop *loop = ctx;
    struct signalfd_siginfo info;
    (void)events;
    while (read(loop->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        for (size_t i = 0; i < loop->n_signals; i++)
            if (loop->signals[i].signo == (int)info.ssi_signo) loop->signals[i].fn(loop->signals[i].ctx);
}

ig_status ig_loop_signal(ig_loop *loop, int signo, void (*fn)(void *ctx), void *ctx, ig_error *err)
{
    if (loop->n_signals == SIGNALS_MAX) return ig_fail(err, IG_BUG, 0, "an event loop takes at most 8 signals");
    sigaddset(&loop->mask, signo);
    int e = pthread_sigmask(SIG_BLOCK, &loop->mask, NULL);
    if (e) return ig_fail_errno(err, IG_IO, e, "cannot block signal %d", signo);
    int fd = signalfd(loop->signal_fd, &loop->mask, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) return ig_fail_errno(err, IG_IO, errno, "cannot watch signal %d", signo);
    loop->signal_fd = fd;
    if (!loop->signal_watch.active)
        IG_TRY(ig_loop_watch(loop, &loop->signal_watch, fd, EPOLLIN, on_signal_fd, loop, err));
    loop->signals[loop->n_signals].signo = signo;
    loop->signals[loop->n_signals].fn = fn;
    loop->signals[loop->n_signals++].ctx = ctx;
    return IG_OK;
}

/* ---- descriptors ---- */

ig_status ig_loop_watch(ig_loop *loop, ig_watch *w, int fd, uint32_t events, void (*fn)(void *ctx, uint32_t events),
                        void *ctx, ig_error *err)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return ig_fail_errno(err, IG_IO, errno, "cannot watch descriptor %d", fd);
    *w = (ig_watch){.fd = fd, .active = true, .events = events, .fn = fn, .ctx = ctx};
    return IG_OK;
}

void ig_loop_rewatch(ig_loop *loop, ig_watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (!w->active || w->events == events) return;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) == 0) w->events = events;
}

void ig_loop_unwatch(ig_loop *loop, ig_watch *w)
{
    if (!w->active) return;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->active = false;
    for (int i = loop->at; i < loop->n_batch; i++)
        if (loop->batch[i].data.ptr == w) loop->batch[i].data.ptr = NULL;
}

/* ---- running ---- */

ig_status ig_loop_new(ig_loop **out, ig_error *err)
{
    *out = NULL;
    ig_loop *loop = ig_calloc(1, sizeof *loop);
    if (!loop) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the event loop");
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->signal_fd = -1;
    loop->now_ns = ig_now_ns();
    sigemptyset(&loop->mask);
    ig_status st = IG_OK;
    if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->wake_fd < 0)
        st = ig_fail_errno(err, IG_IO, errno, "cannot make an event loop");
    if (st == IG_OK) st = ig_loop_watch(loop, &loop->timer_watch, loop->timer_fd, EPOLLIN, on_timer_fd, loop, err);
    if (st == IG_OK) st = ig_loop_watch(loop, &loop->wake_watch, loop->wake_fd, EPOLLIN, on_wake_fd, loop, err);
    if (st != IG_OK) {
        ig_loop_free(loop);
        return st;
    }
    *out = loop;
    return IG_OK;
}

void ig_loop_free(ig_loop *loop)
{
    if (!loop) return;
    int fds[] = {loop->timer_fd, loop->wake_fd, loop->signal_fd, loop->epoll_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0) close(fds[i]);
    ig_free(loop);
}

ig_status ig_loop_step(ig_loop *loop, int max_wait_ms, ig_error *err)
{
    int n = epoll_wait(loop->epoll_fd, loop->batch, BATCH, arm(loop) ? 0 : max_wait_ms);
    if (n < 0 && errno != EINTR) return ig_fail_errno(err, IG_IO, errno, "cannot wait for events");
    loop->now_ns = ig_now_ns();
    loop->n_rounds++;
    loop->n_batch = n < 0 ? 0 : n;
    for (loop->at = 0; loop->at < loop->n_batch; loop->at++) {
        ig_watch *w = loop->batch[loop->at].data.ptr;
        if (w) w->fn(w->ctx, loop->batch[loop->at].events);
    }
    loop->n_batch = 0;
    run_timers(loop);
    return IG_OK;
}

ig_status ig_loop_run(ig_loop *loop, ig_error *err)
{
    loop->stop = false;
    while (!loop->stop) IG_TRY(ig_loop_step(loop, -1, err));
    return IG_OK;
}

void ig_loop_stop(ig_loop *loop) { loop->stop = true; }
uint64_t ig_loop_now(const ig_loop *loop) { return loop->now_ns; }
uint64_t ig_loop_rounds(const ig_loop *loop) { return loop->n_rounds; }
