#include "kernel/arm/vec_neon.h"

#define MUL_F32 ig_mul_f32_neon
#define MUL_F16 ig_mul_f16_neon
#include "kernel/kv.inc"

void ig_fill_kv_neon(ig_kernels *k) { fill(k); }
