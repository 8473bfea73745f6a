#include "kernel/x86/codes_avx2.h"

#include "kernel/x86/mul_blocks.inc"
