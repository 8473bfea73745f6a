#include "base/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/os.h"

enum { SPIN_NS = 30000, MOVE_NS = 10000000 };

struct worker {
    ig_pool *pool;
    pthread_t thread;
    unsigned idx;
};

/* Pieces first..end-1 of a job: neighbours in memory go to one thread, so that what it prefetches is what it reads
 * next. Whoever has finished its own share goes on with the others'. */
struct share {
    _Alignas(64) _Atomic size_t next; /* may pass end */
    size_t end;
    _Atomic int cpu; /* where its thread was last seen */
};

/* The gate: OPEN while a job has pieces to take, and how many workers are at it. A worker that comes late finds the
 * gate closed: the caller waits for those who have begun, never for one that the system has not woken yet. */
enum { OPEN = 1, ONE_INSIDE = 2 };

struct ig_pool {
    _Alignas(64) _Atomic uint32_t epoch; /* raised with every job: what idle workers wait for */
    _Atomic uint32_t n_parked;           /* workers that may sleep on epoch */
    _Alignas(64) _Atomic uint32_t gate;
    _Atomic uint32_t caller_parked;
    /* The job: written while the gate is closed and nobody is inside. */
    _Alignas(64) ig_piece_fn fn;
    void *ctx;
    _Atomic bool stop;
    unsigned n_threads, n_started;
    struct share *shares;   /* [n_threads] */
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

/* Waits until *word differs from seen: spins SPIN_NS, then parks, which n_parked tells. */
static uint32_t wait_change(_Atomic uint32_t *word, uint32_t seen, _Atomic uint32_t *n_parked)
{
    uint64_t start = 0;
    uint32_t now;
    for (unsigned i = 0;; i++) {
        now = atomic_load_explicit(word, memory_order_acquire);
        if (now != seen) return now;
        if ((i & 63) != 63) {
            relax();
            continue;
        }
        uint64_t t = ig_now_ns();
        if (start == 0) start = t;
        if (t - start > SPIN_NS) break;
    }
    /* Either the other side sees n_parked, or the wait sees its change: both are sequentially consistent. */
    atomic_fetch_add(n_parked, 1);
    while ((now = atomic_load(word)) == seen) futex_wait(word, seen);
    atomic_fetch_sub(n_parked, 1);
    return now;
}

static void take_share(ig_pool *pool, struct share *s, unsigned idx)
{
    while (atomic_load_explicit(&s->next, memory_order_relaxed) < s->end) {
        size_t piece = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
        if (piece < s->end) pool->fn(pool->ctx, piece, idx);
    }
}

static void take_pieces(ig_pool *pool, unsigned idx)
{
    for (unsigned i = 0; i < pool->n_threads; i++) take_share(pool, &pool->shares[(idx + i) % pool->n_threads], idx);
}

static bool enter(ig_pool *pool)
{
    uint32_t gate = atomic_load_explicit(&pool->gate, memory_order_relaxed);
    while (gate & OPEN)
        if (atomic_compare_exchange_weak_explicit(&pool->gate, &gate, gate + ONE_INSIDE, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* Two threads of one pool on one core are half as fast, and on a busy machine they stay there: the system wakes a
 * thread where it slept, and moves only threads that wait for a core for long. So a worker that finds itself on the
 * core of one before it goes elsewhere, as far as its affinity (which stays as it is) has room. At most every MOVE_NS.
 */
static void leave_crowd(const ig_pool *pool, unsigned idx, uint64_t *moved_ns)
{
    int cpu = sched_getcpu();
    bool crowd = false;
    atomic_store_explicit(&pool->shares[idx].cpu, cpu, memory_order_relaxed);
    for (unsigned i = 0; i < idx; i++)
        if (atomic_load_explicit(&pool->shares[i].cpu, memory_order_relaxed) == cpu) crowd = true;
    if (!crowd || cpu < 0 || ig_now_ns() - *moved_ns < MOVE_NS) return;
    *moved_ns = ig_now_ns();
    cpu_set_t all, room;
    if (sched_getaffinity(0, sizeof all, &all)) return;
    room = all;
    for (unsigned i = 0; i < pool->n_threads; i++) {
        int other = atomic_load_explicit(&pool->shares[i].cpu, memory_order_relaxed);
        if (other >= 0 && other < CPU_SETSIZE) CPU_CLR((size_t)other, &room);
    }
    if (CPU_COUNT(&room) == 0 || sched_setaffinity(0, sizeof room, &room)) return;
    sched_setaffinity(0, sizeof all, &all);
    atomic_store_explicit(&pool->shares[idx].cpu, sched_getcpu(), memory_order_relaxed);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    ig_pool *pool = w->pool;
    uint64_t moved_ns = 0;
    for (uint32_t seen = 0;;) {
        seen = wait_change(&pool->epoch, seen, &pool->n_parked);
        if (atomic_load(&pool->stop)) return NULL;
        leave_crowd(pool, w->idx, &moved_ns);
        if (!enter(pool)) continue;
        take_pieces(pool, w->idx);
        if (atomic_fetch_sub(&pool->gate, ONE_INSIDE) == ONE_INSIDE && atomic_load(&pool->caller_parked))
            futex_wake(&pool->gate, 1);
    }
}

ig_status ig_pool_new(unsigned n_threads, ig_pool **out, ig_error *err)
{
    *out = NULL;
    ig_pool *pool = ig_alloc_aligned(64, sizeof *pool);
    if (!pool) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a pool of %u threads", n_threads);
    pool->n_threads = n_threads;
    pool->workers = ig_calloc(n_threads, sizeof *pool->workers);
    pool->shares = ig_alloc_aligned(64, n_threads * sizeof *pool->shares);
    if (!pool->workers || !pool->shares) {
        ig_free(pool->workers);
        ig_free(pool->shares);
        ig_free(pool);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a pool of %u threads", n_threads);
    }
    for (unsigned i = 0; i < n_threads; i++) pool->shares[i].cpu = -1;
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
    ig_free(pool->shares);
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
    size_t each = n_pieces / pool->n_threads, more = n_pieces % pool->n_threads, at = 0;
    for (unsigned i = 0; i < pool->n_threads; i++) {
        atomic_store_explicit(&pool->shares[i].next, at, memory_order_relaxed);
        at += each + (i < more);
        pool->shares[i].end = at;
    }
    atomic_store_explicit(&pool->shares[0].cpu, sched_getcpu(), memory_order_relaxed);
    atomic_store_explicit(&pool->gate, OPEN, memory_order_release);
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->n_parked)) futex_wake(&pool->epoch, INT_MAX);
    take_pieces(pool, 0);
    uint32_t gate = atomic_fetch_and(&pool->gate, ~(uint32_t)OPEN) & ~(uint32_t)OPEN;
    while (gate) gate = wait_change(&pool->gate, gate, &pool->caller_parked);
}
