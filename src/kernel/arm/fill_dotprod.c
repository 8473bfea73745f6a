#define MUL(type) ig_mul_##type##_dotprod
#include "kernel/arm/fill.inc"

void ig_kernels_fill_dotprod(ig_kernels *k, uint32_t cpu)
{
    (void)cpu;
    fill(k);
}
