#include "kernel/x86/codes_avx512.h"

#include "kernel/x86/mul_super.inc"
