/* The codebooks of ref/grids.c with a byte an element, so that a row is one load: made once, when the level is filled.
 */
#include "kernel/grids.h"

#include "kernel/ref/ref.h"

ig_grids ig_grid_bytes;

/* Row of 8 digits of two bits, or of 4 of three bits, as the bytes of `values`. */
static uint64_t bytes_of(uint16_t row, int digits, const uint8_t *values)
{
    uint64_t all = 0;
    int bits = digits == 8 ? 2 : 3;
    for (int j = 0; j < digits; j++) all |= (uint64_t)values[row >> bits * j & ((1 << bits) - 1)] << 8 * j;
    return all;
}

static void fill_eights(uint64_t *out, const uint16_t *rows, int n, const uint8_t *values)
{
    for (int i = 0; i < n; i++) out[i] = bytes_of(rows[i], 8, values);
}

static void fill_fours(uint32_t *out, const uint16_t *rows, int n, const uint8_t *values)
{
    for (int i = 0; i < n; i++) out[i] = (uint32_t)bytes_of(rows[i], 4, values);
}

void ig_fill_grids(void)
{
    static const uint8_t iq2[] = {8, 25, 43, 0}, iq1[] = {0xF8, 0, 8, 0}; /* eight times -1 0 1 */
    static const uint8_t iq3xxs[] = {4, 12, 20, 28, 36, 44, 52, 62}, iq3s[] = {1, 3, 5, 7, 9, 11, 13, 15};
    ig_grids *g = &ig_grid_bytes;
    fill_eights(g->iq2xxs, ig_grid_iq2xxs, 256, iq2);
    fill_eights(g->iq2xs, ig_grid_iq2xs, 512, iq2);
    fill_eights(g->iq2s, ig_grid_iq2s, 1024, iq2);
    fill_eights(g->iq1s, ig_grid_iq1s, 2048, iq1);
    fill_fours(g->iq3xxs, ig_grid_iq3xxs, 256, iq3xxs);
    fill_fours(g->iq3s, ig_grid_iq3s, 512, iq3s);
}
