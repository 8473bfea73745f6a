/* Preloaded by test_clock.py: a machine that sleeps. CLOCK_BOOTTIME is ahead by the seconds in the file that INGLE_SLEPT
 * names, while CLOCK_MONOTONIC stands, as after a suspend. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int boot_time(struct timespec *t)
{
    const char *path = getenv("INGLE_SLEPT");
    FILE *f = path ? fopen(path, "re") : NULL;
    long slept = 0;
    int rc = (int)syscall(SYS_clock_gettime, CLOCK_BOOTTIME, t);
    if (f && fscanf(f, "%ld", &slept) == 1) t->tv_sec += slept;
    if (f) fclose(f);
    return rc;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int (*next)(clockid_t, struct timespec *);
    if (clock == CLOCK_BOOTTIME) return boot_time(t);
    *(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
    return next(clock, t);
}
