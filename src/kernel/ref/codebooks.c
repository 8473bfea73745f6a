/* Reference kernels for the codebook types: super-blocks of 256, in groups g of 32, each of four eights l; an eight is
 * one row of a codebook (two rows of four for IQ3) by index, with signs of its own. All have d f16 first but IQ1_M.
 *
 *   IQ2_XXS  66 bytes  8 times: 4 index bytes, u32 with 4 times 7 bits of signs and a scale of 4 bits
 *   IQ2_XS   74        32 u16 (9 bits of index, 7 of signs), 8 bytes of two scales
 *   IQ2_S    82        32 index bytes, 32 of signs, qh (8: upper pairs of index bits), 8 bytes of two scales
 *   IQ3_XXS  98        64 index bytes, 8 u32 as in IQ2_XXS
 *   IQ3_S   110        64 index bytes, qh (8: ninth bits), 32 of signs, 4 bytes of two scales
 *   IQ1_S    50        32 index bytes, 8 u16: 4 times 3 upper index bits, scale of 3 bits, sign of delta
 *   IQ1_M    56        32 index bytes, 16 of two nibbles (3 upper index bits, sign of delta), 4 u16: four scales of 3
 *                      bits each, and in their upper nibbles the f16 d
 *
 * The integer form: IQ2 d * (1/2 + s) / 4 * v = (d / 8) * (2s + 1) * v; IQ3_XXS (d / 4) * (2s + 1) * v; IQ3_S
 * d * (2s + 1) * v; IQ1 d * (2s + 1) * (v + delta) = (d / 8) * (2s + 1) * (8v + 8 delta) with delta = +-1/8. */
#include "kernel/kernel_list.h"
#include "kernel/ref/super.h"

/* Seven bits of signs and an eighth that makes the number of set bits even. */
static uint8_t even_signs(uint32_t bits)
{
    uint32_t s = bits & 127, parity = s ^ s >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return (uint8_t)(s | (parity & 1) << 7);
}

static void apply_signs(int8_t q[8], uint8_t signs)
{
    for (int j = 0; j < 8; j++)
        if (signs >> j & 1) q[j] = (int8_t)-q[j];
}

static void eight_iq2(int8_t q[8], uint16_t row, uint8_t signs)
{
    static const int8_t values[] = {8, 25, 43, 0};
    for (int j = 0; j < 8; j++) q[j] = values[row >> 2 * j & 3];
    apply_signs(q, signs);
}

static void four(int8_t q[4], uint16_t row, const int8_t values[8])
{
    for (int j = 0; j < 4; j++) q[j] = values[row >> 3 * j & 7];
}

static void scale_group(ig_super *u, int g, int first, int last)
{
    u->scale[2 * g] = (int16_t)(2 * first + 1);
    u->scale[2 * g + 1] = (int16_t)(2 * last + 1);
}

static void open_iq2_xxs(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block) * 0.125f;
    for (int g = 0; g < 8; g++) {
        const uint8_t *at = block + 2 + 8 * g;
        uint32_t w = ig_load_u32(at + 4);
        for (int l = 0; l < 4; l++) eight_iq2(u->q + 32 * g + 8 * l, ig_grid_iq2xxs[at[l]], even_signs(w >> 7 * l));
        scale_group(u, g, (int)(w >> 28), (int)(w >> 28));
    }
}

static void open_iq2_xs(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block) * 0.125f;
    for (int i = 0; i < 32; i++) {
        uint32_t v = ig_load_u16(block + 2 + 2 * i);
        eight_iq2(u->q + 8 * i, ig_grid_iq2xs[v & 511], even_signs(v >> 9));
    }
    for (int g = 0; g < 8; g++) scale_group(u, g, block[66 + g] & 15, block[66 + g] >> 4);
}

static void open_iq2_s(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block) * 0.125f;
    for (int i = 0; i < 32; i++) {
        int index = block[2 + i] | (block[66 + i / 4] >> i % 4 * 2 & 3) << 8;
        eight_iq2(u->q + 8 * i, ig_grid_iq2s[index], block[34 + i]);
    }
    for (int g = 0; g < 8; g++) scale_group(u, g, block[74 + g] & 15, block[74 + g] >> 4);
}

static void open_iq3_xxs(const uint8_t *block, ig_super *u)
{
    static const int8_t values[] = {4, 12, 20, 28, 36, 44, 52, 62};
    u->d = ig_load_f16(block) * 0.25f;
    for (int i = 0; i < 64; i++) four(u->q + 4 * i, ig_grid_iq3xxs[block[2 + i]], values);
    for (int g = 0; g < 8; g++) {
        uint32_t w = ig_load_u32(block + 66 + 4 * g);
        for (int l = 0; l < 4; l++) apply_signs(u->q + 32 * g + 8 * l, even_signs(w >> 7 * l));
        scale_group(u, g, (int)(w >> 28), (int)(w >> 28));
    }
}

static void open_iq3_s(const uint8_t *block, ig_super *u)
{
    static const int8_t values[] = {1, 3, 5, 7, 9, 11, 13, 15};
    u->d = ig_load_f16(block);
    for (int i = 0; i < 64; i++)
        four(u->q + 4 * i, ig_grid_iq3s[block[2 + i] | (block[66 + i / 8] >> i % 8 & 1) << 8], values);
    for (int i = 0; i < 32; i++) apply_signs(u->q + 8 * i, block[74 + i]);
    for (int g = 0; g < 8; g++) {
        int s = block[106 + g / 2] >> g % 2 * 4 & 15;
        scale_group(u, g, s, s);
    }
}

static void eight_iq1(int8_t q[8], uint16_t row, bool minus)
{
    for (int j = 0; j < 8; j++) q[j] = (int8_t)(8 * ((row >> 2 * j & 3) - 1) + (minus ? -1 : 1));
}

static void open_iq1_s(const uint8_t *block, ig_super *u)
{
    u->d = ig_load_f16(block) * 0.125f;
    for (int g = 0; g < 8; g++) {
        int h = ig_load_u16(block + 34 + 2 * g), s = h >> 12 & 7;
        for (int l = 0; l < 4; l++) {
            int index = block[2 + 4 * g + l] | (h >> 3 * l & 7) << 8;
            eight_iq1(u->q + 32 * g + 8 * l, ig_grid_iq1s[index], h >> 15);
        }
        scale_group(u, g, s, s);
    }
}

static void open_iq1_m(const uint8_t *block, ig_super *u)
{
    uint16_t s[4], d = 0;
    for (int i = 0; i < 4; i++) {
        s[i] = ig_load_u16(block + 48 + 2 * i);
        d = (uint16_t)(d | (s[i] >> 12) << 4 * i);
    }
    u->d = ig_f16_to_f32(d) * 0.125f;
    for (int i = 0; i < 32; i++) {
        int n = block[32 + i / 2] >> i % 2 * 4 & 15;
        eight_iq1(u->q + 8 * i, ig_grid_iq1s[block[i] | (n & 7) << 8], n & 8);
    }
    for (int k = 0; k < 16; k++) u->scale[k] = (int16_t)(2 * (s[k / 4] >> 3 * (k % 4) & 7) + 1);
}

IG_SUPER_TYPE(iq2_xxs, 66, NONE, 0)
IG_SUPER_TYPE(iq2_xs, 74, NONE, 0)
IG_SUPER_TYPE(iq2_s, 82, NONE, 0)
IG_SUPER_TYPE(iq3_xxs, 98, NONE, 0)
IG_SUPER_TYPE(iq3_s, 110, NONE, 0)
IG_SUPER_TYPE(iq1_s, 50, NONE, 0)
IG_SUPER_TYPE(iq1_m, 56, NONE, 0)
