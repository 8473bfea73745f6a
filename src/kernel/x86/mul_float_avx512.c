#include "kernel/x86/vec_avx512.h"

#define MUL(type) ig_mul_##type##_avx512

INLINE vf load_f32(const uint8_t *p) { return vf_load(p); }
INLINE vf load_f16(const uint8_t *p) { return vf_f16(p); }
INLINE vf load_bf16(const uint8_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}

enum {
    ROWS = 4, /* of tiles, at most */
    ACCUMULATORS = 24,
    /* One column waits for memory, where rows are long: read one after the other, fetched so many bytes ahead. Not
     * where ig_fetch_apart: four rows are four stretches. */
    ONE_ROWS = 1,
    ONE_AHEAD = 8192,
    WIDE_LEAST = 5,
    WIDE_MOST = 8
};
/* Columns, rows. */
#define NARROW_TILES(T, ...) T(4, ROWS, 4, __VA_ARGS__) T(2, ROWS, 2, __VA_ARGS__) T(1, ROWS, 1, __VA_ARGS__)
#define WIDE_TILES(T, ...)   T(5, 4, __VA_ARGS__) T(6, 4, __VA_ARGS__) T(7, 3, __VA_ARGS__) T(8, 3, __VA_ARGS__)

#include "kernel/x86/mul_float.inc"
