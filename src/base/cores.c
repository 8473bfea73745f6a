#include "base/cores.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAST_MIN = 4, PATH_BYTES = 1280 };

/* A core counts as fast from these shares of the fastest one's on: capacity says what a core does in a time, frequency
 * only how fast it ticks, and cores of one kind differ by a tenth of it. */
static const double fast_capacity = 0.7, fast_frequency = 0.8;

/* -------------------------------------------------------------------------------------------- files */

static bool read_line(const char *path, char *out, size_t n)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(out, (int)n, f);
    if (f) fclose(f);
    if (!ok) out[0] = 0;
    return ok;
}

uint64_t ig_cgroup_min(const char *root, const char *file, uint64_t (*fold)(const char *text))
{
    char line[512], path[PATH_BYTES], text[128];
    uint64_t best = UINT64_MAX;
    (void)snprintf(path, sizeof path, "%.400s/proc/self/cgroup", root);
    if (!read_line(path, line, sizeof line) || strncmp(line, "0::", 3) != 0) return best;
    line[strcspn(line, "\n")] = 0;
    for (char *rel = line + 3;;) {
        (void)snprintf(path, sizeof path, "%.400s/sys/fs/cgroup%s/%s", root, rel, file);
        uint64_t v = read_line(path, text, sizeof text) ? fold(text) : UINT64_MAX;
        if (v < best) best = v;
        char *slash = strrchr(rel, '/');
        if (!slash) return best;
        *slash = 0;
    }
}

static uint64_t fold_cpu_max(const char *text)
{
    unsigned long long quota, period;
    if (sscanf(text, "%llu %llu", &quota, &period) != 2 || period == 0) return UINT64_MAX;
    return quota < period ? 1 : quota / period;
}

/* -------------------------------------------------------------------------------------------- cores */

static bool has(const uint64_t *set, size_t n_words, uint64_t cpu)
{
    return cpu / 64 < n_words && (set[cpu / 64] >> (cpu % 64) & 1);
}

/* The lowest processor of a list such as "0-3,8" that is usable; UINT64_MAX: none, or the list is broken. */
static uint64_t first_usable(const char *list, const uint64_t *usable, size_t n_words)
{
    for (const char *p = list; *p && *p != '\n';) {
        char *end;
        uint64_t from = strtoull(p, &end, 10), to = from;
        if (end == p) return UINT64_MAX;
        if (*end == '-') {
            p = end + 1;
            to = strtoull(p, &end, 10);
            if (end == p) return UINT64_MAX;
        }
        for (uint64_t cpu = from; cpu <= to && cpu < n_words * 64; cpu++)
            if (has(usable, n_words, cpu)) return cpu;
        p = *end == ',' ? end + 1 : end;
        if (p == end && *p && *p != '\n') return UINT64_MAX;
    }
    return UINT64_MAX;
}

static bool read_cpu(const char *root, uint64_t cpu, const char *file, char *out, size_t n)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%.400s/sys/devices/system/cpu/cpu%llu/%s", root, (unsigned long long)cpu, file);
    return read_line(path, out, n);
}

static uint64_t number(const char *root, uint64_t cpu, const char *file)
{
    char text[64];
    return read_cpu(root, cpu, file, text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

/* Another usable processor stands for the core that this one is a thread of. */
static bool is_second(const char *root, uint64_t cpu, const uint64_t *usable, size_t n_words)
{
    char list[1024];
    if (!read_cpu(root, cpu, "topology/thread_siblings_list", list, sizeof list)) return false;
    uint64_t first = first_usable(list, usable, n_words);
    return first != UINT64_MAX && first < cpu;
}

typedef struct speeds { /* of one measure over the cores */
    const char *file;
    double fast;   /* share of the fastest that is fast */
    uint64_t most; /* 0: some core does not say */
    bool whole;
    unsigned n_fast;
} speeds;

static unsigned count_cores(const char *root, const uint64_t *usable, size_t n_words, speeds *s, bool again)
{
    unsigned n = 0;
    for (uint64_t cpu = 0; cpu < n_words * 64; cpu++) {
        if (!has(usable, n_words, cpu) || is_second(root, cpu, usable, n_words)) continue;
        n++;
        uint64_t v = number(root, cpu, s->file);
        if (again)
            s->n_fast += (double)v >= s->fast * (double)s->most;
        else if (v > s->most)
            s->most = v;
        s->whole = s->whole && v > 0;
    }
    return n;
}

unsigned ig_cores_in(const char *root, const uint64_t *usable, size_t n_words)
{
    speeds measures[] = {{.file = "cpu_capacity", .fast = fast_capacity, .whole = true},
                         {.file = "cpufreq/cpuinfo_max_freq", .fast = fast_frequency, .whole = true}};
    unsigned n = 0;
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++) {
        speeds *s = &measures[i];
        n = count_cores(root, usable, n_words, s, false);
        if (!s->whole || n == 0) continue;
        (void)count_cores(root, usable, n_words, s, true);
        if (s->n_fast == n) continue; /* all alike by this measure */
        if (s->n_fast >= FAST_MIN) n = s->n_fast;
        break;
    }
    uint64_t quota = ig_cgroup_min(root, "cpu.max", fold_cpu_max);
    if (quota < n) n = (unsigned)quota;
    return n < 1 ? 1 : n;
}
