/* Q4_K and Q6_K with AVX-512 VNNI: as mul_super_avx2.c, with two rows in the halves of each register; vpdpwssd applies
 * the 16-bit scale and adds in one step. The columns' second sums are reduced four at a time. */
#include <immintrin.h>
#include <string.h>

#include "kernel/pack.h"
#include "kernel/x86/super.h"
#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

#define INLINE static inline __attribute__((always_inline))

enum { COLS = 8 };

typedef struct unpacked { /* two rows */
    __m512i q[8];         /* group g of 32 */
    __m512i scale[8];     /* 16-bit, of group g */
    __m512i factor;       /* of bsums[0..15] */
    __m512 d, d2;
} unpacked;

typedef void unpack(const uint8_t *low, const uint8_t *high, unpacked *u);

INLINE __m512i join(__m256i low, __m256i high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }
INLINE __m512i load2(const uint8_t *low, const uint8_t *high)
{
    return join(_mm256_loadu_si256((const __m256i *)low), _mm256_loadu_si256((const __m256i *)high));
}
INLINE __m512 load2_f16(const uint8_t *low, const uint8_t *high)
{
    uint16_t a, b;
    memcpy(&a, low, 2);
    memcpy(&b, high, 2);
    return _mm512_cvtph_ps(_mm256_set_m128i(_mm_set1_epi16((short)b), _mm_set1_epi16((short)a)));
}

INLINE void spread(__m512i scales, __m512i out[8])
{
    IG_UNROLL
    for (int g = 0; g < 8; g++)
        out[g] = _mm512_shuffle_epi8(scales, _mm512_set1_epi16((short)((2 * g + 1) << 8 | 2 * g)));
}

INLINE void unpack_q4_k(const uint8_t *low, const uint8_t *high, unpacked *u)
{
    __m256i heads =
        ig_q4_k_scales(_mm256_set_m128i(_mm_loadu_si128((const __m128i *)high), _mm_loadu_si128((const __m128i *)low)));
    __m512i head = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), _mm512_castsi256_si512(heads));
    IG_UNROLL
    for (int g = 0; g < 8; g++) u->scale[g] = _mm512_shuffle_epi8(head, _mm512_set1_epi16(IG_Q4_K_SCALE(g)));
    __m256i mins = _mm256_set_m128i(IG_Q4_K_MINS(12), IG_Q4_K_MINS(8));
    u->factor = _mm512_shuffle_epi8(head, _mm512_broadcast_i64x4(mins));
    IG_UNROLL
    for (int c = 0; c < 4; c++) {
        __m512i bytes = load2(low + 16 + 32 * c, high + 16 + 32 * c);
        u->q[2 * c] = _mm512_and_si512(bytes, _mm512_set1_epi8(15));
        u->q[2 * c + 1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), _mm512_set1_epi8(15));
    }
    u->d = load2_f16(low, high);
    u->d2 = load2_f16(low + 2, high + 2);
}

INLINE void unpack_q6_k(const uint8_t *low, const uint8_t *high, unpacked *u)
{
    __m128i a = _mm_loadu_si128((const __m128i *)(low + 192)), b = _mm_loadu_si128((const __m128i *)(high + 192));
    spread(join(ig_q6_k_scales(a), ig_q6_k_scales(b)), u->scale);
    __m512i sc = join(_mm256_cvtepi8_epi16(a), _mm256_cvtepi8_epi16(b));
    u->factor = _mm512_slli_epi16(_mm512_sub_epi16(_mm512_setzero_si512(), sc), 5);
    __m512i four = _mm512_set1_epi8(15), two = _mm512_set1_epi8(0x30);
    IG_UNROLL
    for (int h = 0; h < 2; h++) {
        __m512i lo = load2(low + 64 * h, high + 64 * h), lo2 = load2(low + 64 * h + 32, high + 64 * h + 32);
        __m512i hi = load2(low + 128 + 32 * h, high + 128 + 32 * h);
        __m512i *q = u->q + 4 * h;
        enum { PICK = 0xEA }; /* (a & b) | c with c already masked */
        q[0] = _mm512_ternarylogic_epi32(lo, four, _mm512_and_si512(_mm512_slli_epi16(hi, 4), two), PICK);
        q[1] = _mm512_ternarylogic_epi32(lo2, four, _mm512_and_si512(_mm512_slli_epi16(hi, 2), two), PICK);
        q[2] = _mm512_ternarylogic_epi32(_mm512_srli_epi16(lo, 4), four, _mm512_and_si512(hi, two), PICK);
        q[3] = _mm512_ternarylogic_epi32(_mm512_srli_epi16(lo2, 4), four,
                                         _mm512_and_si512(_mm512_srli_epi16(hi, 2), two), PICK);
    }
    u->d = u->d2 = load2_f16(low + 208, high + 208);
}

/* In each half: lane c = sum of the 8 lanes of v[c], c = 0..3 (lanes 4..7 repeat them). */
INLINE __m512i sum_four(const __m512i v[4])
{
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    return _mm512_add_epi32(s, _mm512_shuffle_i64x2(s, s, 0xB1));
}

/* Two rows, or one that stands in for both; `cols` is 1 or a multiple of 4. */
INLINE void tile(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y, size_t y_stride,
                 size_t n, size_t bytes, unpack *get, bool subtract, size_t rows, size_t cols)
{
    const uint8_t *low = w, *high = rows == 1 ? w : w + w_stride;
    __m512 acc[COLS], acc2[COLS / 4];
    IG_UNROLL
    for (size_t c = 0; c < cols; c++) acc[c] = _mm512_setzero_ps();
    IG_UNROLL
    for (size_t c = 0; c < (cols + 3) / 4; c++) acc2[c] = _mm512_setzero_ps();
    for (size_t b = 0; b < n / 256; b++, low += bytes, high += bytes, x += sizeof(ig_q8k)) {
        unpacked u;
        if (cols < COLS) {
            IG_UNROLL
            for (size_t line = 0; line < bytes; line += 64) {
                ig_prefetch(low, 4 * rows * w_stride + line);
                ig_prefetch(high, 4 * rows * w_stride + line);
            }
        }
        get(low, high, &u);
        IG_UNROLL
        for (size_t c = 0; c < cols; c += 4) {
            size_t some = cols < 4 ? cols : 4;
            __m512i seconds[4] = {0};
            float dx[4] = {0};
            IG_UNROLL
            for (size_t i = 0; i < some; i++) {
                const uint8_t *block = x + (c + i) * x_stride;
                __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
                IG_UNROLL
                for (int g = 0; g < 8; g++) {
                    __m256i xq = _mm256_loadu_si256((const __m256i *)(block + offsetof(ig_q8k, q) + 32 * g));
                    sum[g & 1] = _mm512_dpwssd_epi32(
                        sum[g & 1], _mm512_maddubs_epi16(u.q[g], _mm512_broadcast_i64x4(xq)), u.scale[g]);
                }
                __m256i bsums = _mm256_loadu_si256((const __m256i *)(block + offsetof(ig_q8k, bsums)));
                seconds[i] = _mm512_madd_epi16(u.factor, _mm512_broadcast_i64x4(bsums));
                memcpy(&dx[i], block, 4);
                acc[c + i] = _mm512_fmadd_ps(_mm512_mul_ps(u.d, _mm512_set1_ps(dx[i])),
                                             _mm512_cvtepi32_ps(_mm512_add_epi32(sum[0], sum[1])), acc[c + i]);
            }
            __m512 ds =
                cols == 1 ? _mm512_set1_ps(dx[0]) : _mm512_broadcast_f32x4(_mm_setr_ps(dx[0], dx[1], dx[2], dx[3]));
            __m512 d2 = _mm512_mul_ps(u.d2, ds);
            acc2[c / 4] = _mm512_fmadd_ps(d2, _mm512_cvtepi32_ps(sum_four(seconds)), acc2[c / 4]);
        }
    }
    float second[2][COLS + 4];
    IG_UNROLL
    for (size_t c = 0; c < cols; c += 4) {
        _mm_storeu_ps(second[0] + c, _mm512_castps512_ps128(acc2[c / 4]));
        _mm_storeu_ps(second[1] + c, _mm512_extractf32x4_ps(acc2[c / 4], 2));
    }
    IG_UNROLL
    for (size_t c = 0; c < cols; c++) {
        y[c * y_stride] = ig_sum8_lanes(_mm512_castps512_ps256(acc[c])) + (subtract ? -second[0][c] : second[0][c]);
        if (rows > 1)
            y[c * y_stride + 1] =
                ig_sum8_lanes(_mm512_extractf32x8_ps(acc[c], 1)) + (subtract ? -second[1][c] : second[1][c]);
    }
}

#define TILE(name, type, bytes, subtract, rows, cols)                                                                  \
    static void name##_##type(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y,          \
                              size_t y_stride, size_t n)                                                               \
    {                                                                                                                  \
        tile(w, w_stride, x, x_stride, y, y_stride, n, bytes, unpack_##type, subtract, rows, cols);                    \
    }
#define TYPE(type, bytes, subtract)                                                                                    \
    TILE(tall_8, type, bytes, subtract, 2, 8)                                                                          \
    TILE(one_8, type, bytes, subtract, 1, 8)                                                                           \
    TILE(tall_4, type, bytes, subtract, 2, 4)                                                                          \
    TILE(one_4, type, bytes, subtract, 1, 4)                                                                           \
    TILE(tall_2, type, bytes, subtract, 2, 2)                                                                          \
    TILE(one_2, type, bytes, subtract, 1, 2)                                                                           \
    TILE(tall_1, type, bytes, subtract, 2, 1)                                                                          \
    TILE(one_1, type, bytes, subtract, 1, 1)                                                                           \
    void ig_mul_##type##_avx512(const ig_mul_args *a)                                                                  \
    {                                                                                                                  \
        static const ig_tiles tiles[] = {{8, 2, tall_8_##type, one_8_##type},                                          \
                                         {4, 2, tall_4_##type, one_4_##type},                                          \
                                         {2, 2, tall_2_##type, one_2_##type},                                          \
                                         {1, 2, tall_1_##type, one_1_##type}};                                         \
        ig_tiles_run(a, tiles);                                                                                        \
    }
TYPE(q4_k, 144, true)
TYPE(q6_k, 210, false)
