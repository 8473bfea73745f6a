/* The avx512 level's own entries; where it has none, those of avx2 stay. */
#include "kernel/x86/x86.h"

void ig_kernels_fill_avx512(ig_kernels *k, uint32_t cpu)
{
    (void)k;
    (void)cpu;
}
