#include "kernel/x86/vec_avx2.h"

/* In its words. */
#include "kernel/kv.inc"

void ig_fill_kv_avx2(ig_kernels *k) { fill(k); }
