#include "kernel/x86/vec_avx2.h"

#define MUL_F32 ig_mul_f32_avx2
#define MUL_F16 ig_mul_f16_avx2
#include "kernel/kv.inc"

void ig_fill_kv_avx2(ig_kernels *k) { fill(k); }
