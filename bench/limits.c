/* limits: what this machine can do at most, so that a speed can be said as a share of it.
 *
 *   limits [THREADS]      prints JSON: {"threads": 2, "read": bytes a second, "peaks": {"avx2 int8": operations a
 * second, ...}}
 *
 * Read: all threads together read a buffer far larger than the caches, in large pages, from one end to the other or
 * eight small pages side by side (Intel's prefetchers end with a page), the best of several sweeps. Peaks: chains of
 * multiply-adds that touch registers only, on all threads at once; a multiply-add counts as two operations. The names
 * say the instructions, for the kernels of a level may use several of them. No part of the product. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/sweep.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

enum { THREADS_MAX = 1024, SWEEPS = 8, LOOPS = 20000 };
static const double PEAK_SECONDS = 0.3;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------ multiply-adds */

/* Each function runs LOOPS times some independent multiply-adds and returns how many operations that were. HIDE makes
 * the compiler believe that a register changed, so that no step can be left out or shared. */
#define HIDE(x) __asm__ volatile("" : "+v"(x))

#if defined(__x86_64__)

#define TEN(S)     S(0) S(1) S(2) S(3) S(4) S(5) S(6) S(7) S(8) S(9)
#define DECLARE(i) VEC c##i = ZERO;
#define DO(i)                                                                                                          \
    HIDE(a);                                                                                                           \
    c##i = STEP(c##i);
#define KEEP(i) HIDE(c##i);
#define BODY(macs, start)                                                                                              \
    VEC a = start, b = start;                                                                                          \
    HIDE(b);                                                                                                           \
    TEN(DECLARE)                                                                                                       \
    for (int loop = 0; loop < LOOPS; loop++) {                                                                         \
        TEN(DO)                                                                                                        \
    }                                                                                                                  \
    TEN(KEEP)                                                                                                          \
    return 2.0 * 10 * LOOPS * (macs);

#define VEC     __m256i
#define ZERO    _mm256_setzero_si256()
#define STEP(c) _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones))
__attribute__((target("avx2"))) static double avx2_int8(void)
{
    __m256i ones = _mm256_set1_epi16(1);
    HIDE(ones);
    BODY(32, _mm256_set1_epi8(3))
}
#undef STEP
#define STEP(c) _mm256_dpbusd_avx_epi32(c, a, b)
__attribute__((target("avx2,avxvnni"))) static double avxvnni_int8(void) { BODY(32, _mm256_set1_epi8(3)) }
#undef STEP
#undef VEC
#undef ZERO
#define VEC     __m256
#define ZERO    _mm256_setzero_ps()
#define STEP(c) _mm256_fmadd_ps(a, b, c)
__attribute__((target("avx2,fma"))) static double avx2_f32(void) { BODY(8, _mm256_set1_ps(0.5f)) }
#undef STEP
#undef VEC
#undef ZERO
#define VEC     __m512i
#define ZERO    _mm512_setzero_si512()
#define STEP(c) _mm512_dpbusd_epi32(c, a, b)
__attribute__((target("avx512f,avx512vnni"))) static double avx512_int8(void) { BODY(64, _mm512_set1_epi8(3)) }
#undef STEP
#undef VEC
#undef ZERO
#define VEC     __m512
#define ZERO    _mm512_setzero_ps()
#define STEP(c) _mm512_fmadd_ps(a, b, c)
__attribute__((target("avx512f"))) static double avx512_f32(void) { BODY(16, _mm512_set1_ps(0.5f)) }
#undef STEP
#define STEP(c) _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b)
__attribute__((target("avx512f,avx512bf16"))) static double avx512_bf16(void) { BODY(32, _mm512_set1_ps(0.5f)) }
#undef STEP
#undef VEC
#undef ZERO

/* Six sums of 16 x 16, tiles 6 and 7 are the factors: 16 rows of 64 bytes. */
typedef struct tile_config {
    uint8_t palette, start, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;
static unsigned char tile_data[1024] __attribute__((aligned(64)));

static tile_config eight_tiles(void)
{
    tile_config t = {.palette = 1};
    for (int i = 0; i < 8; i++) t.row_bytes[i] = 64, t.rows[i] = 16;
    return t;
}

#define TILES(op)                                                                                                      \
    tile_config config = eight_tiles();                                                                                \
    __asm__ volatile(""                                                                                                \
                     : "+m"(config)                                                                                    \
                     :                                                                                                 \
                     : "memory"); /* the next line reads all of it, which not every compiler knows */                  \
    _tile_loadconfig(&config);                                                                                         \
    _tile_loadd(6, tile_data, 64);                                                                                     \
    _tile_loadd(7, tile_data, 64);                                                                                     \
    _tile_zero(0);                                                                                                     \
    _tile_zero(1);                                                                                                     \
    _tile_zero(2);                                                                                                     \
    _tile_zero(3);                                                                                                     \
    _tile_zero(4);                                                                                                     \
    _tile_zero(5);                                                                                                     \
    for (int loop = 0; loop < LOOPS; loop++) {                                                                         \
        op(0, 6, 7);                                                                                                   \
        op(1, 6, 7);                                                                                                   \
        op(2, 6, 7);                                                                                                   \
        op(3, 6, 7);                                                                                                   \
        op(4, 6, 7);                                                                                                   \
        op(5, 6, 7);                                                                                                   \
    }                                                                                                                  \
    _tile_release();

__attribute__((target("amx-tile,amx-int8"))) static double amx_int8(void)
{
    TILES(_tile_dpbssd)
    return 2.0 * 6 * LOOPS * 16 * 16 * 64;
}
__attribute__((target("amx-tile,amx-bf16"))) static double amx_bf16(void)
{
    TILES(_tile_dpbf16ps)
    return 2.0 * 6 * LOOPS * 16 * 16 * 32;
}

enum { AVX2 = 1, AVXVNNI = 2, AVX512 = 4, VNNI = 8, BF16 = 16, AMX_INT8 = 32, AMX_BF16 = 64 };

static uint64_t enabled_states(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static unsigned cpu_flags(void)
{
    unsigned a, b, c, d, a1, b1, c1, d1, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* OSXSAVE */
    const bool fma = c >> 12 & 1;
    const uint64_t states = enabled_states();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (!__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) a1 = 0;
    const bool ymm = (states & 6) == 6, zmm = (states & 0xe6) == 0xe6, tiles = (states >> 17 & 3) == 3;
    if (ymm && fma && (b >> 5 & 1)) flags |= AVX2 | (a1 >> 4 & 1 ? AVXVNNI : 0);
    if (zmm && (b >> 16 & 1)) flags |= AVX512 | (c >> 11 & 1 ? VNNI : 0) | (a1 >> 5 & 1 ? BF16 : 0);
    /* a process must ask for the tiles: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    if (tiles && (d >> 24 & 1) && syscall(SYS_arch_prctl, 0x1023, 18) == 0)
        flags |= (d >> 25 & 1 ? AMX_INT8 : 0) | (d >> 22 & 1 ? AMX_BF16 : 0);
    return flags;
}

static const struct {
    const char *name;
    unsigned needs;
    double (*run)(void);
} peaks[] = {
    {"avx2 float", AVX2, avx2_f32},       {"avx2 int8", AVX2, avx2_int8},     {"avx-vnni int8", AVXVNNI, avxvnni_int8},
    {"avx512 float", AVX512, avx512_f32}, {"avx512 int8", VNNI, avx512_int8}, {"avx512 bf16", BF16, avx512_bf16},
    {"amx int8", AMX_INT8, amx_int8},     {"amx bf16", AMX_BF16, amx_bf16},
};

#elif defined(__aarch64__)

#undef HIDE
#define HIDE(x) __asm__ volatile("" : "+w"(x))
enum { N_SUMS = 12 };

static double neon_f32(void)
{
    float32x4_t a = vdupq_n_f32(0.5f), c[N_SUMS];
    for (int i = 0; i < N_SUMS; i++) c[i] = vdupq_n_f32(0);
    for (int loop = 0; loop < LOOPS; loop++)
        for (int i = 0; i < N_SUMS; i++) {
            HIDE(a);
            c[i] = vfmaq_f32(c[i], a, a);
        }
    for (int i = 0; i < N_SUMS; i++) HIDE(c[i]);
    return 2.0 * N_SUMS * LOOPS * 4;
}

__attribute__((target("arch=armv8.2-a+dotprod"))) static double neon_int8(void)
{
    int8x16_t a = vdupq_n_s8(3);
    int32x4_t c[N_SUMS];
    for (int i = 0; i < N_SUMS; i++) c[i] = vdupq_n_s32(0);
    for (int loop = 0; loop < LOOPS; loop++)
        for (int i = 0; i < N_SUMS; i++) {
            HIDE(a);
            c[i] = vdotq_s32(c[i], a, a);
        }
    for (int i = 0; i < N_SUMS; i++) HIDE(c[i]);
    return 2.0 * N_SUMS * LOOPS * 16;
}

enum { NEON = 1, DOTPROD = 2 };
static unsigned cpu_flags(void) { return NEON | (getauxval(AT_HWCAP) >> 20 & 1 ? DOTPROD : 0); }

static const struct {
    const char *name;
    unsigned needs;
    double (*run)(void);
} peaks[] = {{"neon float", NEON, neon_f32}, {"neon int8", DOTPROD, neon_int8}};

#else

static unsigned cpu_flags(void) { return 0; }
static const struct {
    const char *name;
    unsigned needs;
    double (*run)(void);
} peaks[] = {{"none", 1, NULL}};

#endif

/* ------------------------------------------------------------------------------------------------ threads */

typedef struct job {
    pthread_barrier_t start;
    double (*run)(void);
    const uint8_t *data;
    size_t n_bytes;       /* of each thread; 0: run */
    size_t n_pages;       /* read side by side */
    _Atomic uint64_t sum; /* so that the reads cannot be left out */
} job;
typedef struct worker {
    pthread_t thread;
    job *job;
    unsigned idx;
    double done, rate, from, to;
} worker;

static void *work(void *ctx)
{
    worker *w = ctx;
    if (w->job->run) w->job->run(); /* clocks rise before it counts */
    pthread_barrier_wait(&w->job->start);
    w->from = now();
    w->done = 0;
    if (w->job->n_bytes)
        w->job->sum += ig_sweep(w->job->data + w->idx * w->job->n_bytes, w->job->n_bytes, w->job->n_pages);
    while (!w->job->n_bytes && now() - w->from < PEAK_SECONDS) w->done += w->job->run();
    w->to = now();
    w->rate = w->done / (w->to - w->from);
    return NULL;
}

/* Runs the job on all threads. Returns the seconds from the first start to the last end, and the sum of the rates. */
static double together(job *j, worker *w, unsigned n, double *rate)
{
    double from = 1e300, to = 0;
    if (pthread_barrier_init(&j->start, NULL, n)) exit(1);
    for (unsigned i = 0; i < n; i++) {
        w[i] = (worker){.job = j, .idx = i};
        if (pthread_create(&w[i].thread, NULL, work, &w[i])) exit(1);
    }
    *rate = 0;
    for (unsigned i = 0; i < n; i++) {
        pthread_join(w[i].thread, NULL);
        from = w[i].from < from ? w[i].from : from;
        to = w[i].to > to ? w[i].to : to;
        *rate += w[i].rate;
    }
    pthread_barrier_destroy(&j->start);
    return to - from;
}

static double read_rate(worker *w, unsigned n)
{
    const size_t available = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    size_t each = (available < (size_t)4 << 30 ? (size_t)256 << 20 : (size_t)1 << 30) / n / 32768 * 32768;
    void *data = NULL;
    double best = 0, rate;
    if (posix_memalign(&data, (size_t)2 << 20, each * n)) return 0;
    (void)madvise(data, each * n, MADV_HUGEPAGE);
    memset(data, 1, each * n);
    job j = {.data = data, .n_bytes = each};
    for (int i = 0; i < SWEEPS; i++) {
        j.n_pages = i % 2 ? 8 : 1;
        double speed = (double)(each * n) / together(&j, w, n, &rate);
        best = speed > best ? speed : best;
    }
    free(data);
    return best;
}

int main(int argc, char **argv)
{
    static worker workers[THREADS_MAX];
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : sysconf(_SC_NPROCESSORS_ONLN);
    const char *comma = "";
    if (n < 1 || n > THREADS_MAX) return fprintf(stderr, "usage: limits [THREADS]\n"), 2;
    const unsigned flags = cpu_flags();
    printf("{\"threads\": %ld, \"read\": %.0f, \"peaks\": {", n, read_rate(workers, (unsigned)n));
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++) {
        if ((flags & peaks[i].needs) != peaks[i].needs) continue;
        double rate;
        job j = {.run = peaks[i].run};
        together(&j, workers, (unsigned)n, &rate);
        printf("%s\"%s\": %.0f", comma, peaks[i].name, rate);
        comma = ", ";
    }
    printf("}}\n");
    return 0;
}
