#include "kernel/arm/vec_neon.h"

#include "kernel/other.inc"

void ig_fill_other_neon(ig_kernels *k) { fill(k); }
