/* What the tests of catalogues share: a folder of their own, a fixed time, who is left. */
#ifndef INGLE_TESTS_CATALOGUE_H
#define INGLE_TESTS_CATALOGUE_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/catalogue/tuf.h"
#include "tests/tap.h"

enum { DAY = 86400 };
#define NOW INT64_C(1795258222)

static char work[64];

static inline int drop_entry(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)sb, (void)flag, (void)ftw;
    return remove(path);
}
static inline void wipe(const char *path) { (void)nftw(path, drop_entry, 16, FTW_DEPTH | FTW_PHYS); }

/* A path in the test's folder; good until the eighth call from here. */
static inline const char *at(const char *name)
{
    static char paths[8][200];
    static unsigned turn;
    char *p = paths[turn++ % 8];
    (void)snprintf(p, sizeof paths[0], "%s/%s", work, name);
    return p;
}

/* Thousands of syncs: in memory where that is there. */
static inline void work_init(const char *name)
{
    (void)snprintf(work, sizeof work, "%s/ingle-%s-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", name,
                   (int)getpid());
    (void)mkdir(work, 0700);
}

#endif
