#include "kernel/arm/vec_neon.h"

/* In its words. */
#include "kernel/kv.inc"

void ig_fill_kv_neon(ig_kernels *k) { fill(k); }
