/* How many threads to compute with, from what the system says of processors and limits. Never fails: what cannot be
 * read counts as not there. */
#ifndef IG_BASE_CORES_H
#define IG_BASE_CORES_H

#include <stddef.h>
#include <stdint.h>

enum { IG_CPUS_MAX = 8192 };

/* Threads to compute with: of the processors that `usable` names (a bit each, n_words words; affinity and cpuset), one
 * a core; where cores differ in speed the fast ones alone if there are at least four; at most the whole processors that
 * cgroup v2's cpu.max leaves, and at least 1. root: "" for this machine, or a folder that holds proc and sys. */
unsigned ig_cores_in(const char *root, const uint64_t *usable, size_t n_words);

/* Value of a cgroup v2 file at the process's own level and every one above, the smallest wins; fold(text) gives one
 * value. UINT64_MAX: there is none. */
uint64_t ig_cgroup_min(const char *root, const char *file, uint64_t (*fold)(const char *text));

#endif
