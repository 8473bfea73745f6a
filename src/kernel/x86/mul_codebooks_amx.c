#define MUL(name) ig_mul_##name##_amx
#include "kernel/x86/codes_avx512.h"

#include "kernel/x86/mul_codebooks_amx.inc"
