#define MUL(type) ig_mul_##type##_neon
#include "kernel/arm/mul_super.inc"
