/* Helpers and tables of the reference kernels. */
#ifndef IG_KERNEL_REF_REF_H
#define IG_KERNEL_REF_REF_H

#include <stdint.h>
#include <string.h>

float ig_f16_to_f32(uint16_t h);
uint16_t ig_f32_to_f16(float f);

extern const int8_t ig_values_iq4[16], ig_values_fp4[16]; /* what nibbles of IQ4_NL and IQ4_XS, MXFP4 and NVFP4 mean */
/* Codebooks, one number a row (ref/grids.c); indices of 8, 9, 10, 8, 9 and 11 bits. */
extern const uint16_t ig_grid_iq2xxs[256], ig_grid_iq2xs[512], ig_grid_iq2s[1024];
extern const uint16_t ig_grid_iq3xxs[256], ig_grid_iq3s[512], ig_grid_iq1s[2048];

static inline uint16_t ig_load_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t ig_load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline float ig_load_f16(const uint8_t *p) { return ig_f16_to_f32(ig_load_u16(p)); }
#endif
