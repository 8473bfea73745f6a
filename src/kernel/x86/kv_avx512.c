#include "kernel/x86/vec_avx512.h"

/* In its words. */
#include "kernel/kv.inc"

void ig_fill_kv_avx512(ig_kernels *k) { fill(k); }
