#include "kernel/x86/vec_avx512.h"

#include "kernel/other.inc"

void ig_fill_other_avx512(ig_kernels *k) { fill(k); }
