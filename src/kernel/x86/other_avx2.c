#include "kernel/x86/vec_avx2.h"

#include "kernel/other.inc"

void ig_fill_other_avx2(ig_kernels *k) { fill(k); }
