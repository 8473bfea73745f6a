#include "kernel/x86/vec_avx2.h"

#define MUL(type) ig_mul_##type##_avx2

INLINE vf load_f32(const uint8_t *p) { return vf_load(p); }
INLINE vf load_f16(const uint8_t *p) { return vf_f16(p); }
INLINE vf load_bf16(const uint8_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

enum {
    ROWS = 4, /* of tiles, at most */
    ACCUMULATORS = 12,
    /* One column waits for memory, where rows are long: two at a time, fetched so many bytes ahead. Not where
     * ig_fetch_apart: four rows are four stretches. */
    ONE_ROWS = 2,
    ONE_AHEAD = 8192,
    WIDE_LEAST = 4,
    WIDE_MOST = 6
};
/* Columns, rows. */
#define NARROW_TILES(T, ...) T(3, ROWS, 3, __VA_ARGS__) T(2, ROWS, 2, __VA_ARGS__) T(1, ROWS, 1, __VA_ARGS__)
#define WIDE_TILES(T, ...)   T(4, 3, __VA_ARGS__) T(5, 2, __VA_ARGS__) T(6, 2, __VA_ARGS__)

#include "kernel/x86/mul_float.inc"
