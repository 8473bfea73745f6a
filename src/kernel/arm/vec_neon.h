/* Vectors of 8 floats in two registers: the words in which kernel/kv.inc and kernel/other.inc are written. */
#ifndef IG_KERNEL_ARM_VEC_NEON_H
#define IG_KERNEL_ARM_VEC_NEON_H

#include <string.h>

#include "kernel/arm/arm.h"

typedef struct vf {
    float32x4_t low, high;
} vf;
typedef struct vd { /* 8 doubles */
    float64x2_t of[4];
} vd;
enum {
    LANES = 8,
    MIX_WIDTH = 2, /* vectors that kv.inc keeps for each of four queries */
    SCORES_Q = 2,  /* queries that share four keys */
    SIDE_KEYS = 2  /* keys that attend.inc keeps for two vectors of queries */
};

INLINE vf vf_set(float x) { return (vf){vdupq_n_f32(x), vdupq_n_f32(x)}; }
INLINE vf vf_load(const void *p)
{
    const uint8_t *at = p;
    return (vf){vreinterpretq_f32_u8(vld1q_u8(at)), vreinterpretq_f32_u8(vld1q_u8(at + 16))};
}
INLINE void vf_store(void *p, vf x)
{
    uint8_t *at = p;
    vst1q_u8(at, vreinterpretq_u8_f32(x.low));
    vst1q_u8(at + 16, vreinterpretq_u8_f32(x.high));
}
INLINE vf vf_f16(const void *p)
{
    float16x8_t h = vreinterpretq_f16_u8(vld1q_u8(p));
    return (vf){vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h)};
}
INLINE void vf_to_f16(void *p, vf x)
{
    vst1q_u8(p, vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.low), x.high)));
}
INLINE vf vf_bf16(const void *p)
{
    uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(p));
    return (vf){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16)),
                vreinterpretq_f32_u32(vshll_high_n_u16(h, 16))};
}
INLINE vf vf_i8(const void *p)
{
    int16x8_t h = vmovl_s8(vld1_s8(p));
    return (vf){vcvtq_f32_s32(vmovl_s16(vget_low_s16(h))), vcvtq_f32_s32(vmovl_high_s16(h))};
}
/* The first some < LANES values; `pad` in the other lanes. */
INLINE vf vf_load_part(const void *p, size_t some, float pad)
{
    float all[LANES];
    vf_store(all, vf_set(pad));
    memcpy(all, p, some * sizeof *all);
    return vf_load(all);
}
INLINE void vf_store_part(void *p, vf x, size_t some)
{
    float all[LANES];
    vf_store(all, x);
    memcpy(p, all, some * sizeof *all);
}
INLINE vf vf_add(vf a, vf b) { return (vf){vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
INLINE vf vf_sub(vf a, vf b) { return (vf){vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
INLINE vf vf_mul(vf a, vf b) { return (vf){vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
INLINE vf vf_div(vf a, vf b) { return (vf){vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf){vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
/* b where either is NaN. */
INLINE float32x4_t four_max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
INLINE float32x4_t four_min(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
INLINE vf vf_max(vf a, vf b) { return (vf){four_max(a.low, b.low), four_max(a.high, b.high)}; }
INLINE vf vf_min(vf a, vf b) { return (vf){four_min(a.low, b.low), four_min(a.high, b.high)}; }
INLINE float32x4_t four_from(float32x4_t a, float32x4_t x, float32x4_t least)
{
    return vbslq_f32(vcltq_f32(x, least), vdupq_n_f32(0), a);
}
/* a where x is not below `least`, else 0. */
INLINE vf vf_from(vf a, vf x, float least)
{
    return (vf){four_from(a.low, x.low, vdupq_n_f32(least)), four_from(a.high, x.high, vdupq_n_f32(least))};
}
INLINE vf vf_round(vf a) { return (vf){vrndnq_f32(a.low), vrndnq_f32(a.high)}; }
INLINE float half_value(uint16_t h) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0); }
/* ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7)), as on every level. */
INLINE float vf_sum(vf a)
{
    float32x4_t s = vaddq_f32(a.low, a.high);
    return vaddv_f32(vadd_f32(vget_low_f32(s), vget_high_f32(s)));
}
INLINE void vf_store_sums(float out[4], const vf a[4], float scale)
{
    for (size_t j = 0; j < 4; j++) out[j] = vf_sum(a[j]) * scale;
}
/* x * 2^n for whole n in -252..252, rounded once. */
INLINE float32x4_t four_scale2(float32x4_t x, float32x4_t n)
{
    int32x4_t i = vcvtnq_s32_f32(n), half = vshrq_n_s32(i, 1), rest = vsubq_s32(i, half), bias = vdupq_n_s32(127);
    x = vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
}
INLINE vf vf_scale2(vf x, vf n) { return (vf){four_scale2(x.low, n.low), four_scale2(x.high, n.high)}; }
INLINE vd vd_zero(void)
{
    float64x2_t none = vdupq_n_f64(0);
    return (vd){{none, none, none, none}};
}
INLINE vd vd_of(vf x)
{
    return (vd){{vcvt_f64_f32(vget_low_f32(x.low)), vcvt_high_f64_f32(x.low), vcvt_f64_f32(vget_low_f32(x.high)),
                 vcvt_high_f64_f32(x.high)}};
}
INLINE vd vd_add(vd s, vf x)
{
    vd v = vd_of(x);
    IG_UNROLL
    for (int i = 0; i < 4; i++) s.of[i] = vaddq_f64(s.of[i], v.of[i]);
    return s;
}
INLINE vd vd_add_square(vd s, vf x)
{
    vd v = vd_of(x);
    IG_UNROLL
    for (int i = 0; i < 4; i++) s.of[i] = vfmaq_f64(s.of[i], v.of[i], v.of[i]);
    return s;
}
INLINE vd vd_both(vd a, vd b)
{
    IG_UNROLL
    for (int i = 0; i < 4; i++) a.of[i] = vaddq_f64(a.of[i], b.of[i]);
    return a;
}
INLINE vf vd_round(vd s)
{
    return (vf){vcvt_high_f32_f64(vcvt_f32_f64(s.of[0]), s.of[1]), vcvt_high_f32_f64(vcvt_f32_f64(s.of[2]), s.of[3])};
}
INLINE double vd_sum(vd s) { return vaddvq_f64(vaddq_f64(vaddq_f64(s.of[0], s.of[2]), vaddq_f64(s.of[1], s.of[3]))); }

#endif
