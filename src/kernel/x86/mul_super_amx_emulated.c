#define IG_AMX_EMULATED
#define MUL(name) ig_mul_##name##_amx_emulated
#include "kernel/x86/codes_avx512.h"

#include "kernel/x86/mul_super_amx.inc"
