/* The tile configuration of AMX as LDTILECFG reads it, of palette 1: eight tiles of up to 16 rows of up to 64 bytes. */
#ifndef IG_KERNEL_X86_AMX_SHAPES_H
#define IG_KERNEL_X86_AMX_SHAPES_H

#include <stdint.h>

typedef struct amx_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_shapes;
_Static_assert(sizeof(amx_shapes) == 64, "LDTILECFG reads 64 bytes");

#endif
