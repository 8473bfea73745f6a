#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

static struct {
    _Atomic uint64_t calls, nth;
    _Atomic int err_no;
    _Atomic bool sticky;
} faults[IG_FAULT_KINDS];

static _Atomic int64_t clock_off;

void ig_fault_clock(int64_t seconds) { clock_off = seconds; }
int64_t ig_fault_clock_off(void) { return clock_off; }

static struct {
    void (*fn)(void *ctx, int fd);
    void *ctx;
} on_sync;

void ig_fault_on_sync(void (*fn)(void *ctx, int fd), void *ctx)
{
    on_sync.ctx = ctx;
    on_sync.fn = fn;
}

void ig_fault_synced(int fd)
{
    int e = errno;
    if (on_sync.fn) on_sync.fn(on_sync.ctx, fd);
    errno = e;
}

void ig_fault_set(ig_fault_kind kind, uint64_t nth, int err_no, bool sticky)
{
    faults[kind].calls = 0;
    faults[kind].err_no = err_no;
    faults[kind].sticky = sticky;
    faults[kind].nth = nth;
}

void ig_fault_reset(void)
{
    for (int i = 0; i < IG_FAULT_KINDS; i++) ig_fault_set((ig_fault_kind)i, 0, 0, false);
}

uint64_t ig_fault_calls(ig_fault_kind kind) { return faults[kind].calls; }

bool ig_fault_hit(ig_fault_kind kind)
{
    uint64_t call = ++faults[kind].calls, nth = faults[kind].nth;
    if (nth == 0 || faults[kind].err_no == 0) return false;
    if (call != nth && !(faults[kind].sticky && call > nth)) return false;
    if (faults[kind].err_no == IG_FAULT_KILL) (void)raise(SIGKILL);
    errno = faults[kind].err_no;
    return true;
}

bool ig_fault_short(ig_fault_kind kind) { return faults[kind].nth != 0 && faults[kind].err_no == 0; }
