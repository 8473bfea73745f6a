#define MUL(type) ig_mul_##type##_dotprod
#include "kernel/arm/mul_blocks.inc"
