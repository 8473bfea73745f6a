/* The codebooks of ref/grids.c with a byte an element: magnitudes (IQ2, IQ3), eight times -1 0 1 (IQ1). Constant once a
 * level that uses them is filled. Private to src/kernel. */
#ifndef IG_KERNEL_GRIDS_H
#define IG_KERNEL_GRIDS_H

#include <stdint.h>

typedef struct ig_grids {
    uint64_t iq2xxs[256], iq2xs[512], iq2s[1024], iq1s[2048];
    uint32_t iq3xxs[256], iq3s[512];
} ig_grids;
extern ig_grids ig_grid_bytes;
void ig_fill_grids(void);

#endif
