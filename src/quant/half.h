/* Private to src/quant: binary16 numbers of block scales. */
#ifndef IG_QUANT_HALF_H
#define IG_QUANT_HALF_H

#include <stdint.h>
#include <string.h>

#define IG_HALF_MAX 65504.0f

/* Exact. */
static inline float ig_half_value(uint16_t h)
{
    uint32_t exponent = h >> 10 & 31u, bits;
    float f;
    if (exponent == 0) {
        f = (float)(h & 1023u) * 0x1p-24f;
        return h & 0x8000u ? -f : f;
    }
    bits = (uint32_t)(h & 0x8000u) << 16 | (exponent == 31 ? 255u : exponent + 112u) << 23 | (h & 1023u) << 13;
    memcpy(&f, &bits, 4);
    return f;
}

/* To the nearest, ties to even; what is too large for a finite number becomes the largest, NaN becomes 0. */
static inline uint16_t ig_half(float f)
{
    uint32_t bits;
    uint16_t sign;
    if (!(f >= -IG_HALF_MAX)) f = f < 0 ? -IG_HALF_MAX : 0;
    if (f > IG_HALF_MAX) f = IG_HALF_MAX;
    memcpy(&bits, &f, 4);
    sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits < 0x38800000u) { /* below 2^-14: whole units of 2^-24, which the addition rounds to */
        memcpy(&f, &bits, 4);
        f += 0.5f;
        memcpy(&bits, &f, 4);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    return (uint16_t)(sign | (bits - 0x38000000u + 0xfffu + (bits >> 13 & 1u)) >> 13);
}

static inline void ig_put_half(uint8_t *at, uint16_t h) { memcpy(at, &h, 2); }

#endif
