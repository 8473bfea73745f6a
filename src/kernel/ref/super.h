/* Super-blocks of 256 weights, opened: the form in which ref/superblocks.c and ref/codebooks.c describe their types. */
#ifndef IG_KERNEL_REF_SUPER_H
#define IG_KERNEL_REF_SUPER_H

#include "kernel/kernel.h"
#include "kernel/ref/ref.h"

typedef struct ig_super {
    int8_t q[256];
    int16_t scale[16];  /* of 16 weights each */
    int16_t factor[16]; /* of the sums of 16 activations each, for types with minimums */
    float d, d2;        /* of the scales, of the factors */
} ig_super;

typedef enum ig_super_second {
    IG_SUPER_NONE,  /* w = d * scale * q */
    IG_SUPER_PLUS,  /* w = d * scale * (q - offset); also as d * scale * q with factor = -offset * scale */
    IG_SUPER_MINUS, /* w = d * scale * q - d2 * factor */
} ig_super_second;

typedef struct ig_super_type {
    size_t bytes;
    ig_super_second second;
    int offset;
    void (*open)(const uint8_t *block, ig_super *u); /* u comes zeroed */
} ig_super_type;

void ig_super_decode(const ig_super_type *t, const void *src, float *dst, size_t n);
void ig_super_mul(const ig_super_type *t, const ig_mul_args *a);

#define IG_SUPER_TYPE(name, bytes, second, offset)                                                                     \
    static const ig_super_type type_##name = {bytes, IG_SUPER_##second, offset, open_##name};                          \
    void ig_to_f32_##name##_ref(const void *src, float *dst, size_t n) { ig_super_decode(&type_##name, src, dst, n); } \
    void ig_mul_##name##_ref(const ig_mul_args *a) { ig_super_mul(&type_##name, a); }

#endif
