/* How a product is cut for AMX: panels of PANEL_ROWS weight rows, unpacked so that their tiles can be loaded as they
 * lie, meet groups of 16 columns, gathered so that theirs can. A tile of sums has a column a row and a weight row a
 * lane. The thread has a configuration of tiles only within a call.
 *
 * Measured on Sapphire Rapids: a product takes 16 cycles, a load 8 or, where its rows lie across two cache lines, 45; a
 * store 16. Products wait for each other (52 cycles) unless a tile that is not needed any more is set to zero at once:
 * that costs nothing and seems to give back what the tile was kept in. Four products with their loads and stores take
 * 55 ns so, and 120 to 140 without. */
#ifndef IG_KERNEL_X86_AMX_RUN_H
#define IG_KERNEL_X86_AMX_RUN_H

#include "kernel/x86/amx.h"
#include "kernel/x86/panel.h"

enum {
    AMX_COLS = 16,
    AMX_LANE_BYTES = 64,
    AMX_WIDE = 16,                        /* columns that are worth unpacking a panel */
    PANELS = AMX_PIECE_ROWS / PANEL_ROWS, /* filled at once */
    PAIR = 2                              /* groups of columns that meet a panel while it is near */
};

/* The tiles' numbers, as they stand in instructions: activations, weights, sums. */
#define X0   0
#define W0   1
#define W1   2
#define SUM0 3
#define SUM1 4
#define SUM2 5
#define SUM3 6

typedef struct amx_run {
    amx tiles;
    size_t k_bytes; /* that the tiles have a shape for; 0: none yet */
} amx_run;

static inline void amx_tile(amx_shapes *s, size_t tile, size_t n_rows, size_t row_bytes)
{
    s->rows[tile] = (uint8_t)n_rows;
    s->row_bytes[tile] = (uint16_t)row_bytes;
}

/* Shapes for tiles of k_bytes bytes of activations of 16 columns. */
static inline void amx_shape(amx_run *run, size_t k_bytes)
{
    if (run->k_bytes == k_bytes) return;
    amx_shapes s = {.palette = 1};
    amx_tile(&s, X0, AMX_COLS, k_bytes);
    for (size_t i = W0; i <= W1; i++) amx_tile(&s, i, k_bytes / 4, AMX_LANE_BYTES);
    for (size_t i = SUM0; i <= SUM3; i++) amx_tile(&s, i, AMX_COLS, AMX_LANE_BYTES);
    AMX_CONFIG(&run->tiles, &s);
    run->k_bytes = k_bytes;
}

typedef int32_t amx_sums[AMX_COLS][LANES]; /* a tile of sums */

/* Asks for the next weights of row r of a panel, `bytes` behind those that are read now. */
INLINE void amx_fetch(const panel_source *s, size_t r, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 64) ig_prefetch(s->p[r], bytes + at, false);
}

/* Columns of group g of n_cols. */
INLINE size_t amx_group(size_t n_cols, size_t g)
{
    size_t left = n_cols - g * AMX_COLS;
    return left < AMX_COLS ? left : AMX_COLS;
}

INLINE vf amx_sum(const int32_t sums[LANES]) { return vf_of_int(_mm512_load_si512(sums)); }

#endif
