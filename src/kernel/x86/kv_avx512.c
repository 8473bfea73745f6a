#include "kernel/x86/vec_avx512.h"

#define MUL_F32 ig_mul_f32_avx512
#define MUL_F16 ig_mul_f16_avx512
#include "kernel/kv.inc"

void ig_fill_kv_avx512(ig_kernels *k) { fill(k); }
