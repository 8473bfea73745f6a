/* Packing of activations and of Q8_0 KV rows, equal to ref in every bit: maxima are exact in any order, and each code
 * is one product rounded to the nearest, ties to even. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernel/arm/arm.h"
#include "kernel/pack.h"

/* Codes of 16 values; *sum is theirs. */
INLINE int8x16_t sixteen(const float *x, float inverse, int32_t *sum)
{
    int16x8_t half[2];
    IG_UNROLL
    for (int k = 0; k < 2; k++) {
        int32x4_t a = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * k), inverse));
        int32x4_t b = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * k + 4), inverse));
        half[k] = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
    }
    int8x16_t q = vcombine_s8(vmovn_s16(half[0]), vmovn_s16(half[1]));
    *sum = vaddlvq_s8(q);
    return q;
}

/* Scale and codes of n values, a multiple of 32, and the sums of 16 codes each. Returns d. */
INLINE float quantise(const float *x, uint8_t *q, int32_t *sums, size_t n)
{
    float32x4_t max = vdupq_n_f32(0);
    uint32x4_t good = vdupq_n_u32(UINT32_MAX);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t m = vabsq_f32(vld1q_f32(x + i));
        good = vandq_u32(good, vcleq_f32(m, vdupq_n_f32(FLT_MAX)));
        max = vmaxq_f32(max, m);
    }
    float m = vmaxvq_f32(max);
    bool finite = vminvq_u32(good) != 0;
    if (!finite || m < IG_PACK_TINY) {
        memset(q, 0, n);
        memset(sums, 0, n / 16 * sizeof *sums);
        return finite ? 0 : NAN;
    }
    float inverse = 127 / m;
    for (size_t i = 0; i < n; i += 16) vst1q_s8((int8_t *)q + i, sixteen(x + i, inverse, sums + i / 16));
    return m / 127;
}

static void pack_q8(const float *src, void *dst, size_t n)
{
    uint8_t *out = dst;
    for (size_t b = 0; b < n / 32; b++, src += 32, out += sizeof(ig_q8)) {
        int32_t sums[2];
        float d = ig_pack_short(quantise(src, out + offsetof(ig_q8, q), sums, 32));
        memcpy(out, &d, 4);
        sums[0] += sums[1];
        memcpy(out + offsetof(ig_q8, sum), sums, 4);
    }
}

static void pack_q8k(const float *src, void *dst, size_t n)
{
    uint8_t *out = dst;
    for (size_t b = 0; b < n / 256; b++, src += 256, out += sizeof(ig_q8k)) {
        int32_t sums[16];
        int16_t all[16];
        float d = quantise(src, out + offsetof(ig_q8k, q), sums, 256);
        memcpy(out, &d, 4);
        for (int i = 0; i < 16; i++) all[i] = (int16_t)sums[i];
        memcpy(out + offsetof(ig_q8k, bsums), all, sizeof all);
    }
}

static void store_q8_0(const float *src, void *dst, size_t n)
{
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += 32, out += 34) {
        float last[32] = {0};
        int32_t sums[2];
        if (n - i < 32) memcpy(last, src + i, (n - i) * sizeof *last);
        float d = quantise(n - i < 32 ? last : src + i, out + 2, sums, 32);
        uint16_t half = vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(d))), 0);
        memcpy(out, &half, 2);
    }
}

void ig_fill_pack_neon(ig_kernels *k)
{
    k->pack[IG_PACK_Q8].pack = pack_q8;
    k->pack[IG_PACK_Q8K].pack = pack_q8k;
    k->kv[IG_KV_Q8_0].store = store_q8_0;
}
