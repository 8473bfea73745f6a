/* What the worker gives up before it reads a stranger's file. Everything here holds for threads made later, too. */
#ifndef IG_WORKER_SANDBOX_H
#define IG_WORKER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct wk_sandbox {
    int landlock_abi; /* in force, 0: the kernel has none or it is off */
    bool seccomp;     /* in force; neither of them under a sanitizer, whose runtime needs more */
} wk_sandbox;

/* Closes every descriptor above standard error but `keep`; signals, core dumps and descriptors get their
 * limits; SIGBUS (a model's file that became shorter, rule M07) ends the process with IG_WORKER_DAMAGED. */
void wk_prepare(int keep);
/* Bytes that any file may have: those of the conversations on disk, and of memory files for large frames. */
void wk_limit_files(uint64_t spill_bytes);
/* No file system (Landlock), only the calls of the list (seccomp, else the process is killed), no new privileges.
 * abi_max 0: no limit. Missing Landlock is no failure. Errors: DENIED. */
ig_status wk_confine(int abi_max, wk_sandbox *out, ig_error *err);
/* Bytes of memory that the process may take beyond mapped files; 0: no limit. */
void wk_limit_memory(uint64_t bytes);

#endif
