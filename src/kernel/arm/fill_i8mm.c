#define MUL(type) ig_mul_##type##_i8mm
#include "kernel/arm/fill.inc"

void ig_kernels_fill_i8mm(ig_kernels *k, uint32_t cpu)
{
    (void)cpu;
    fill(k);
}
