#define MUL(type) ig_mul_##type##_neon
#include "kernel/arm/fill.inc"

void ig_kernels_fill_neon(ig_kernels *k, uint32_t cpu)
{
    (void)cpu;
    fill(k);
    k->type[IG_F32].mul = ig_mul_f32_neon;
    k->type[IG_F16].mul = ig_mul_f16_neon;
    k->type[IG_BF16].mul = ig_mul_bf16_neon;
    ig_fill_other_neon(k);
    ig_fill_kv_neon(k);
    ig_fill_pack_neon(k);
    ig_fill_grids();
}
