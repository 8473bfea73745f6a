#define AMX_FILL      ig_kernels_fill_amx_emulated
#define AMX_MUL(name) ig_mul_##name##_amx_emulated
#include "kernel/x86/fill_amx.inc"
