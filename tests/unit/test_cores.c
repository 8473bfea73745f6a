/* How many threads to compute with, on made-up machines: folders with the files of sysfs and cgroups. Plain and SMT
 * processors, fast and slow cores, affinity, quotas at every level, broken files. And that threads without work sleep.
 */
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/os.h"
#include "base/pool.h"
#include "tests/tap.h"

typedef struct file {
    const char *path, *text;
} file;

typedef struct machine {
    const char *name;
    unsigned n_cpus;
    unsigned smt; /* processors of a core; siblings stand side by side, or with `far` half the machine apart */
    bool far;
    unsigned n_fast;      /* processors that are fast, the first ones; 0: all */
    const char *measure;  /* file with the speed, NULL: none */
    unsigned fast, slow;  /* its values */
    const char *affinity; /* a bit each, as 0 and 1; NULL: all */
    file files[4];
    unsigned want;
} machine;

#define CAPACITY  "cpu_capacity"
#define FREQUENCY "cpufreq/cpuinfo_max_freq"
#define GROUP                                                                                                          \
    {                                                                                                                  \
        "proc/self/cgroup", "0::/a/b\n"                                                                                \
    }

static const machine machines[] = {
    {.name = "nothing is told", .n_cpus = 6, .want = 6},
    {.name = "one processor", .n_cpus = 1, .smt = 1, .want = 1},
    {.name = "SMT, siblings side by side", .n_cpus = 16, .smt = 2, .want = 8},
    {.name = "SMT, siblings apart", .n_cpus = 16, .smt = 2, .far = true, .want = 8},
    {.name = "SMT of 4", .n_cpus = 32, .smt = 4, .want = 8},
    {.name = "SMT, affinity to one thread of each core", .n_cpus = 8, .smt = 2, .affinity = "01010101", .want = 4},
    {.name = "SMT, affinity to both threads of two cores", .n_cpus = 8, .smt = 2, .affinity = "00111100", .want = 2},
    {.name = "affinity to three", .n_cpus = 8, .affinity = "10010010", .want = 3},
    {.name = "more than 1,024 processors", .n_cpus = 1040, .smt = 2, .want = 520},
    {.name = "8 fast and 16 slow, by frequency",
     .n_cpus = 24,
     .smt = 1,
     .n_fast = 8,
     .measure = FREQUENCY,
     .fast = 5800000,
     .slow = 4300000,
     .want = 8},
    {.name = "6 fast and 8 slow, by capacity",
     .n_cpus = 14,
     .n_fast = 6,
     .measure = CAPACITY,
     .fast = 1024,
     .slow = 640,
     .want = 6},
    {.name = "2 fast and 8 slow: all",
     .n_cpus = 10,
     .n_fast = 2,
     .measure = CAPACITY,
     .fast = 1024,
     .slow = 640,
     .want = 10},
    {.name = "affinity to the slow ones: all of them",
     .n_cpus = 14,
     .n_fast = 6,
     .measure = CAPACITY,
     .fast = 1024,
     .slow = 640,
     .affinity = "00000011111111",
     .want = 8},
    {.name = "frequencies of one kind of core differ a little",
     .n_cpus = 8,
     .n_fast = 4,
     .measure = FREQUENCY,
     .fast = 5700000,
     .slow = 5200000,
     .want = 8},
    {.name = "a core does not tell its speed",
     .n_cpus = 8,
     .n_fast = 4,
     .measure = CAPACITY,
     .fast = 1024,
     .slow = 0,
     .want = 8},
    {.name = "a quota of 3",
     .n_cpus = 8,
     .files = {GROUP, {"sys/fs/cgroup/a/b/cpu.max", "300000 100000\n"}},
     .want = 3},
    {.name = "a quota of 2.5 above",
     .n_cpus = 8,
     .files = {GROUP, {"sys/fs/cgroup/a/b/cpu.max", "max 100000\n"}, {"sys/fs/cgroup/a/cpu.max", "250000 100000\n"}},
     .want = 2},
    {.name = "a quota of a half in a container",
     .n_cpus = 8,
     .files = {{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "50000 100000\n"}},
     .want = 1},
    {.name = "a quota larger than the machine",
     .n_cpus = 4,
     .smt = 2,
     .files = {GROUP, {"sys/fs/cgroup/a/cpu.max", "800000 100000"}},
     .want = 2},
    {.name = "the first version of cgroups tells nothing",
     .n_cpus = 4,
     .files = {{"proc/self/cgroup", "12:cpu:/a\n"}, {"sys/fs/cgroup/a/cpu.max", "100000 100000"}},
     .want = 4},
    {.name = "broken limits",
     .n_cpus = 4,
     .files = {GROUP, {"sys/fs/cgroup/a/cpu.max", "1000 0"}, {"sys/fs/cgroup/a/b/cpu.max", "-"}},
     .want = 4},
    {.name = "broken lists of siblings",
     .n_cpus = 4,
     .files = {{"sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "x"},
               {"sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0-"},
               {"sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "18446744073709551615-,9"}},
     .want = 4},
};

static char root[256];

static void put(const char *path, const char *text)
{
    char full[1024];
    (void)snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = 0;
        (void)mkdir(full, 0700);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    if (f) fputs(text, f);
    if (f) fclose(f);
}

static void put_cpu(const machine *m, unsigned cpu)
{
    char path[256], text[256];
    if (m->smt) {
        unsigned n_cores = m->n_cpus / m->smt, core = m->far ? cpu % n_cores : cpu / m->smt;
        (void)snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
        if (m->far)
            (void)snprintf(text, sizeof text, "%u,%u\n", core, core + n_cores);
        else
            (void)snprintf(text, sizeof text, "%u-%u\n", core * m->smt, core * m->smt + m->smt - 1);
        put(path, text);
    }
    if (!m->measure) return;
    (void)snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%u/%s", cpu, m->measure);
    (void)snprintf(text, sizeof text, "%u\n", cpu < m->n_fast ? m->fast : m->slow);
    put(path, text);
}

static void check(const machine *m)
{
    uint64_t usable[IG_CPUS_MAX / 64] = {0};
    char base[] = "/tmp/ingle-cores-XXXXXX", command[64];
    if (!mkdtemp(base)) {
        tap_ok(false, "%s: no folder", m->name);
        return;
    }
    (void)snprintf(root, sizeof root, "%s", base);
    for (unsigned cpu = 0; cpu < m->n_cpus; cpu++) {
        put_cpu(m, cpu);
        if (!m->affinity || m->affinity[cpu] == '1') usable[cpu / 64] |= UINT64_C(1) << cpu % 64;
    }
    for (size_t i = 0; i < sizeof m->files / sizeof *m->files && m->files[i].path; i++)
        put(m->files[i].path, m->files[i].text);
    unsigned have = ig_cores_in(root, usable, IG_CPUS_MAX / 64);
    tap_ok(have == m->want, "%s: %u threads, expected %u", m->name, have, m->want);
    (void)snprintf(command, sizeof command, "rm -r %s", base);
    if (system(command) != 0) printf("# %s is left\n", base);
}

static double cpu_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void no_piece(void *ctx, size_t piece, unsigned thread) { (void)ctx, (void)piece, (void)thread; }

/* What the threads of a pool take of the processors after their last work: each may look for new work for 50 us. */
static void check_idle(void)
{
    ig_pool *pool = NULL;
    ig_error err = {0};
    if (!tap_ok(ig_pool_new(4, &pool, &err) == IG_OK, "a pool of 4 threads %s", err.text)) return;
    for (int i = 0; i < 10; i++) ig_pool_run(pool, no_piece, NULL, 64);
    double from = cpu_ms();
    (void)nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    double took = cpu_ms() - from;
    tap_ok(took < 20, "its idle threads took %.2f ms of 4 x 300", took);
    ig_pool_free(pool);
}

int main(void)
{
    uint64_t none[1] = {0};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) check(&machines[i]);
    tap_ok(ig_cores_in("/nowhere", none, 1) == 1, "no processor at all: 1 thread");
    tap_ok(ig_cores() >= 1 && ig_cores() <= IG_CPUS_MAX, "this machine: %u", ig_cores());
    check_idle();
    return tap_done();
}
