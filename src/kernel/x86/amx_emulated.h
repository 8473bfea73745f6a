/* What the AMX instructions of x86/amx.h do, in plain C, as the architecture defines them: for the level amx-emulated
 * and for the test that runs the real level's instructions one by one. Where a processor would raise an exception (no
 * configuration, shapes that do not fit each other) the program stops. */
#ifndef IG_KERNEL_X86_AMX_EMULATED_H
#define IG_KERNEL_X86_AMX_EMULATED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel/x86/amx_shapes.h"

/* Called, as an instruction is: expanded into every kernel they took the compiler minutes. */
#define AMX_CALLED __attribute__((noinline, unused)) static

enum { AMX_TILES = 8, AMX_ROWS = 16, AMX_ROW_BYTES = 64 };

typedef struct amx_state {
    amx_shapes shapes;
    uint8_t tile[AMX_TILES][AMX_ROWS][AMX_ROW_BYTES];
} amx_state;

static inline void amx_must(bool so)
{
    if (!so) __builtin_trap();
}

static inline void amx_emulate_release(amx_state *s) { memset(s, 0, sizeof *s); }

static inline void amx_emulate_config(amx_state *s, const void *shapes)
{
    amx_emulate_release(s);
    memcpy(&s->shapes, shapes, sizeof s->shapes);
    amx_must(s->shapes.palette == 1 && s->shapes.start_row == 0);
    for (size_t i = 0; i < sizeof s->shapes.reserved; i++) amx_must(s->shapes.reserved[i] == 0);
    for (size_t i = 0; i < 16; i++) {
        bool any = s->shapes.rows[i] || s->shapes.row_bytes[i];
        amx_must(!any || (i < AMX_TILES && s->shapes.rows[i] && s->shapes.row_bytes[i] &&
                          s->shapes.rows[i] <= AMX_ROWS && s->shapes.row_bytes[i] <= AMX_ROW_BYTES));
    }
}

AMX_CALLED void amx_emulate_zero(amx_state *s, size_t t)
{
    amx_must(s->shapes.palette == 1 && s->shapes.rows[t]);
    memset(s->tile[t], 0, sizeof s->tile[t]);
}

AMX_CALLED void amx_emulate_load(amx_state *s, size_t t, const void *p, size_t stride)
{
    amx_emulate_zero(s, t);
    for (size_t r = 0; r < s->shapes.rows[t]; r++)
        memcpy(s->tile[t][r], (const uint8_t *)p + r * stride, s->shapes.row_bytes[t]);
}

AMX_CALLED void amx_emulate_store(const amx_state *s, size_t t, void *p, size_t stride)
{
    amx_must(s->shapes.palette == 1 && s->shapes.rows[t]);
    for (size_t r = 0; r < s->shapes.rows[t]; r++)
        memcpy((uint8_t *)p + r * stride, s->tile[t][r], s->shapes.row_bytes[t]);
}

/* Products of four bytes of a row of `a` with the four of a column of `b`, added to a number of `c`. */
AMX_CALLED void amx_emulate_dot(amx_state *s, size_t c, size_t a, size_t b, bool a_signed, bool b_signed)
{
    const amx_shapes *z = &s->shapes;
    amx_must(z->palette == 1 && c != a && c != b && a != b && z->rows[c] && z->rows[a] && z->rows[b]);
    amx_must(z->rows[a] == z->rows[c] && z->row_bytes[b] == z->row_bytes[c] && z->row_bytes[a] == 4 * z->rows[b]);
    amx_must(z->row_bytes[c] % 4 == 0);
    for (size_t m = 0; m < z->rows[c]; m++) {
        int32_t sum[16];
        memcpy(sum, s->tile[c][m], sizeof sum);
        for (size_t k = 0; k < z->rows[b]; k++)
            for (size_t n = 0; n < z->row_bytes[c] / 4; n++)
                for (size_t i = 0; i < 4; i++) {
                    uint8_t x = s->tile[a][m][4 * k + i], y = s->tile[b][k][4 * n + i];
                    int32_t p = (a_signed ? (int8_t)x : x) * (b_signed ? (int8_t)y : y);
                    sum[n] = (int32_t)((uint32_t)sum[n] + (uint32_t)p);
                }
        memset(s->tile[c][m], 0, AMX_ROW_BYTES);
        memcpy(s->tile[c][m], sum, z->row_bytes[c]);
    }
    for (size_t m = z->rows[c]; m < AMX_ROWS; m++) memset(s->tile[c][m], 0, AMX_ROW_BYTES);
}

#undef AMX_CALLED
#endif
