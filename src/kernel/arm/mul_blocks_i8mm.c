#define MUL(type) ig_mul_##type##_i8mm
#include "kernel/arm/mul_blocks.inc"
