#include "base/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/os.h"

enum { SPIN_NS = 30000, PIECES_MAX = INT_MAX };

struct worker {
    ig_pool *pool;
    pthread_t thread;
    unsigned idx;
};

struct ig_pool {
    /* A job is published by raising `epoch`; workers read fn, ctx, n_pieces after seeing the new value (acquire). */
    _Alignas(64) _Atomic uint32_t epoch;
    _Alignas(64) _Atomic size_t next_piece;
    _Alignas(64) _Atomic uint32_t n_busy; /* workers that have not finished the current epoch */
    ig_piece_fn fn;
    void *ctx;
    size_t n_pieces;
    _Atomic bool stop;
    unsigned n_threads, n_started;
    struct worker *workers; /* [n_threads - 1] */
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits until *word differs from seen: spins SPIN_NS, then parks. */
static uint32_t wait_change(_Atomic uint32_t *word, uint32_t seen)
{
    uint64_t start = 0;
    for (unsigned i = 0;; i++) {
        uint32_t now = atomic_load_explicit(word, memory_order_acquire);
        if (now != seen) return now;
        if ((i & 63) != 63) {
            relax();
            continue;
        }
        uint64_t t = ig_now_ns();
        if (start == 0) start = t;
        if (t - start > SPIN_NS) break;
    }
    for (;;) {
        futex_wait(word, seen);
        uint32_t now = atomic_load_explicit(word, memory_order_acquire);
        if (now != seen) return now;
    }
}

static void take_pieces(ig_pool *pool, unsigned idx)
{
    for (;;) {
        size_t piece = atomic_fetch_add_explicit(&pool->next_piece, 1, memory_order_relaxed);
        if (piece >= pool->n_pieces) return;
        pool->fn(pool->ctx, piece, idx);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    ig_pool *pool = w->pool;
    for (uint32_t seen = 0;;) {
        seen = wait_change(&pool->epoch, seen);
        if (atomic_load(&pool->stop)) return NULL;
        take_pieces(pool, w->idx);
        if (atomic_fetch_sub_explicit(&pool->n_busy, 1, memory_order_acq_rel) == 1) futex_wake(&pool->n_busy, 1);
    }
}

ig_status ig_pool_new(unsigned n_threads, ig_pool **out, ig_error *err)
{
    *out = NULL;
    ig_pool *pool = ig_alloc_aligned(64, sizeof *pool);
    if (!pool) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a pool of %u threads", n_threads);
    pool->n_threads = n_threads;
    pool->workers = ig_calloc(n_threads, sizeof *pool->workers);
    if (!pool->workers) {
        ig_free(pool);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a pool of %u threads", n_threads);
    }
    for (unsigned i = 1; i < n_threads; i++) {
        struct worker *w = &pool->workers[i - 1];
        *w = (struct worker){.pool = pool, .idx = i};
        int rc = ig_fault_hit(IG_FAULT_THREAD) ? errno : pthread_create(&w->thread, NULL, worker_main, w);
        if (rc) {
            ig_pool_free(pool);
            return ig_fail_errno(err, IG_IO, rc, "cannot start thread %u of %u", i + 1, n_threads);
        }
        pool->n_started++;
    }
    *out = pool;
    return IG_OK;
}

void ig_pool_free(ig_pool *pool)
{
    if (!pool) return;
    atomic_store(&pool->stop, true);
    atomic_fetch_add(&pool->epoch, 1);
    futex_wake(&pool->epoch, INT_MAX);
    for (unsigned i = 0; i < pool->n_started; i++) pthread_join(pool->workers[i].thread, NULL);
    ig_free(pool->workers);
    ig_free(pool);
}

unsigned ig_pool_threads(const ig_pool *pool) { return pool->n_threads; }

void ig_pool_run(ig_pool *pool, ig_piece_fn fn, void *ctx, size_t n_pieces)
{
    if (pool->n_started == 0 || n_pieces <= 1) {
        for (size_t i = 0; i < n_pieces; i++) fn(ctx, i, 0);
        return;
    }
    pool->fn = fn;
    pool->ctx = ctx;
    pool->n_pieces = n_pieces;
    atomic_store_explicit(&pool->next_piece, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->n_busy, pool->n_started, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->epoch, 1, memory_order_release);
    futex_wake(&pool->epoch, INT_MAX);
    take_pieces(pool, 0);
    for (uint32_t busy; (busy = atomic_load_explicit(&pool->n_busy, memory_order_acquire)) != 0;)
        wait_change(&pool->n_busy, busy);
}
