/* Fault shim: makes the k-th call of one kind fail, so that tests can walk through every failure (reliability.md 1,
 * rules M16, M17). Off unless a test calls ig_fault_set; nothing outside the process can switch it on. */
#ifndef IG_BASE_FAULT_H
#define IG_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum ig_fault_kind {
    IG_FAULT_ALLOC,
    IG_FAULT_OPEN,
    IG_FAULT_READ,
    IG_FAULT_WRITE,
    IG_FAULT_SYNC,
    IG_FAULT_RENAME,
    IG_FAULT_MAP,
    IG_FAULT_THREAD,
    IG_FAULT_TMPFILE, /* files without a name: the file system cannot */
    IG_FAULT_KINDS
} ig_fault_kind;
enum { IG_FAULT_KILL = -1 };

/* Call number `nth` (from 1) of `kind` after this one fails with err_no; with `sticky` all later ones too. nth 0: off.
 * err_no IG_FAULT_KILL: the process is killed at that call, as by kill -9.
 * IG_FAULT_READ and IG_FAULT_WRITE with err_no 0 make every call transfer one byte only (short reads). */
void ig_fault_set(ig_fault_kind kind, uint64_t nth, int err_no, bool sticky);
void ig_fault_reset(void);
/* Calls of `kind` since ig_fault_set: a loop ends when nth is above this. */
uint64_t ig_fault_calls(ig_fault_kind kind);
/* The wall clock (ig_clock_s, ig_clock_ms) is off by so many seconds, as after it was set; 0: right. Not reset by
 * ig_fault_reset. */
void ig_fault_clock(int64_t seconds);
int64_t ig_fault_clock_off(void); /* used by base alone */
/* Called after every sync of a file or a folder that succeeded, with its descriptor: a test keeps what would survive a
 * power cut. NULL: nobody. Set while no other thread syncs. */
void ig_fault_on_sync(void (*fn)(void *ctx, int fd), void *ctx);
void ig_fault_synced(int fd); /* used by base alone */
/* Used by base alone: true when this call must fail; errno is then set. */
bool ig_fault_hit(ig_fault_kind kind);
bool ig_fault_short(ig_fault_kind kind);

#endif
