/* Energy of the machine where it tells: processor packages and memory by RAPL (powercap), else the battery while it
 * discharges. Reads files below a root that tests can replace; nothing is estimated: where no meter can be read there
 * is none. One thread at a time. */
#ifndef IG_ROUTE_METER_H
#define IG_ROUTE_METER_H

#include <stdbool.h>
#include <stdint.h>

enum { IG_METER_ZONES_MAX = 32 };

typedef struct ig_meter {
    char root[200];
    const char *how; /* "rapl", "battery", NULL: no meter can be read */
    struct {
        char path[256];
        uint64_t last_uj, range_uj;
    } zone[IG_METER_ZONES_MAX];
    unsigned n;
    char battery[256];
    uint64_t last_ns;
    bool begun;
} ig_meter;

/* root: "/sys". False: there is no meter, and every reading is 0. */
bool ig_meter_open(ig_meter *m, const char *root);
/* Microjoules since the last call (0 at the first). now_ns: the monotonic clock. Counters that wrap are unwrapped once,
 * so it must be called at least every minute. */
uint64_t ig_meter_take(ig_meter *m, uint64_t now_ns);

/* The share of one among those who still wait for theirs: `weight` of *weights (below 2^32) of *uj. Both are reduced by
 * it, so that all shares together are the whole, to the last microjoule. */
uint64_t ig_meter_share(uint64_t *uj, uint64_t *weights, uint64_t weight);

#endif
