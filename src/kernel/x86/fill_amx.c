#define AMX_FILL      ig_kernels_fill_amx
#define AMX_MUL(name) ig_mul_##name##_amx
#include "kernel/x86/fill_amx.inc"
