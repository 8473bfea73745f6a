/* Q4_K and Q6_K with AVX2. A super-block of one row is unpacked once (codes as bytes in element order, a 16-bit scale
 * for each 16 elements, a 16-bit factor for each sum of 16 activations) and then meets every column of the tile. Codes
 * are 0..63 and activations -127..127, so a pair is at most 16002; 32-bit lanes stay below 2^27 in all.
 *
 * Both types then have the same form: d * dx * lanes(scale * q * x), and d2 * dx * sum(factor * bsums) added or
 * subtracted. */
#include <immintrin.h>
#include <string.h>

#include "kernel/pack.h"
#include "kernel/x86/super.h"
#include "kernel/x86/tiles.h"
#include "kernel/x86/x86.h"

enum { COLS = 8 };

typedef struct unpacked {
    __m256i q[8];     /* group g of 32 */
    __m256i scale[8]; /* for group g: scale of its first half in the low lane, of its second half in the high one */
    __m256i factor;   /* of bsums[0..15] */
    float d, d2;
} unpacked;

typedef void unpack(const uint8_t *block, unpacked *u);

/* even: 8 scales of the first halves, low lane; odd: of the second halves, high lane. */
static inline __attribute__((always_inline)) void spread(__m256i scales, __m256i out[8])
{
    IG_UNROLL
    for (int g = 0; g < 8; g++)
        out[g] = _mm256_shuffle_epi8(scales, _mm256_set1_epi16((short)((2 * g + 1) << 8 | 2 * g)));
}

static inline __attribute__((always_inline)) void unpack_q4_k(const uint8_t *block, unpacked *u)
{
    __m256i head = ig_q4_k_scales(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)block)));
    IG_UNROLL
    for (int g = 0; g < 8; g++) u->scale[g] = _mm256_shuffle_epi8(head, _mm256_set1_epi16(IG_Q4_K_SCALE(g)));
    u->factor = _mm256_shuffle_epi8(head, _mm256_set_m128i(IG_Q4_K_MINS(12), IG_Q4_K_MINS(8)));
    IG_UNROLL
    for (int c = 0; c < 4; c++) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(block + 16 + 32 * c));
        u->q[2 * c] = _mm256_and_si256(bytes, _mm256_set1_epi8(15));
        u->q[2 * c + 1] = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
    }
    u->d = ig_super_f16(block);
    u->d2 = ig_super_f16(block + 2);
}

static inline __attribute__((always_inline)) void unpack_q6_k(const uint8_t *block, unpacked *u)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(block + 192));
    __m256i sc = _mm256_cvtepi8_epi16(bytes);
    spread(ig_q6_k_scales(bytes), u->scale);
    u->factor = _mm256_slli_epi16(_mm256_sub_epi16(_mm256_setzero_si256(), sc), 5);
    __m256i low = _mm256_set1_epi8(15), pair = _mm256_set1_epi8(0x30);
    IG_UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(block + 64 * h));
        __m256i b = _mm256_loadu_si256((const __m256i *)(block + 64 * h + 32));
        __m256i hi = _mm256_loadu_si256((const __m256i *)(block + 128 + 32 * h));
        __m256i *q = u->q + 4 * h;
        q[0] = _mm256_or_si256(_mm256_and_si256(a, low), _mm256_and_si256(_mm256_slli_epi16(hi, 4), pair));
        q[1] = _mm256_or_si256(_mm256_and_si256(b, low), _mm256_and_si256(_mm256_slli_epi16(hi, 2), pair));
        q[2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 4), low), _mm256_and_si256(hi, pair));
        q[3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(b, 4), low),
                               _mm256_and_si256(_mm256_srli_epi16(hi, 2), pair));
    }
    u->d = u->d2 = ig_super_f16(block + 208);
}

static inline __attribute__((always_inline)) int32_t sum8_int(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_unpackhi_epi64(s, s));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 1)));
}

/* One row, `cols` columns. */
static inline __attribute__((always_inline)) void tile(const uint8_t *w, size_t w_stride, const uint8_t *x,
                                                       size_t x_stride, float *y, size_t y_stride, size_t n,
                                                       size_t bytes, unpack *get, bool subtract, size_t cols)
{
    __m256 acc[COLS];
    float acc2[COLS];
    IG_UNROLL
    for (size_t c = 0; c < cols; c++) {
        acc[c] = _mm256_setzero_ps();
        acc2[c] = 0;
    }
    for (size_t b = 0; b < n / 256; b++, w += bytes, x += sizeof(ig_q8k)) {
        unpacked u;
        if (cols < COLS) {
            IG_UNROLL
            for (size_t line = 0; line < bytes; line += 64) ig_prefetch(w, 4 * w_stride + line);
        }
        get(w, &u);
        IG_UNROLL
        for (size_t c = 0; c < cols; c++) {
            const uint8_t *block = x + c * x_stride;
            __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            IG_UNROLL
            for (int g = 0; g < 8; g++) {
                __m256i xq = _mm256_loadu_si256((const __m256i *)(block + offsetof(ig_q8k, q) + 32 * g));
                sum[g & 1] =
                    _mm256_add_epi32(sum[g & 1], _mm256_madd_epi16(_mm256_maddubs_epi16(u.q[g], xq), u.scale[g]));
            }
            __m256i bsums = _mm256_loadu_si256((const __m256i *)(block + offsetof(ig_q8k, bsums)));
            float dx;
            memcpy(&dx, block, 4);
            acc[c] =
                _mm256_fmadd_ps(_mm256_set1_ps(u.d * dx), _mm256_cvtepi32_ps(_mm256_add_epi32(sum[0], sum[1])), acc[c]);
            float sum2 = (float)sum8_int(_mm256_madd_epi16(u.factor, bsums));
            acc2[c] = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(u.d2 * dx), _mm_set_ss(sum2), _mm_set_ss(acc2[c])));
        }
    }
    IG_UNROLL
    for (size_t c = 0; c < cols; c++) y[c * y_stride] = ig_sum8_lanes(acc[c]) + (subtract ? -acc2[c] : acc2[c]);
}

#define TILE(name, type, bytes, subtract, cols)                                                                        \
    static void name##_##type(const uint8_t *w, size_t w_stride, const uint8_t *x, size_t x_stride, float *y,          \
                              size_t y_stride, size_t n)                                                               \
    {                                                                                                                  \
                                                                                                                       \
        tile(w, w_stride, x, x_stride, y, y_stride, n, bytes, unpack_##type, subtract, cols);                          \
    }
#define TYPE(type, bytes, subtract)                                                                                    \
    TILE(one_8, type, bytes, subtract, 8)                                                                              \
    TILE(one_4, type, bytes, subtract, 4)                                                                              \
    TILE(one_2, type, bytes, subtract, 2)                                                                              \
    TILE(one_1, type, bytes, subtract, 1)                                                                              \
    void ig_mul_##type##_avx2(const ig_mul_args *a)                                                                    \
    {                                                                                                                  \
        static const ig_tiles tiles[] = {{8, 1, one_8_##type, one_8_##type},                                           \
                                         {4, 1, one_4_##type, one_4_##type},                                           \
                                         {2, 1, one_2_##type, one_2_##type},                                           \
                                         {1, 1, one_1_##type, one_1_##type}};                                          \
        ig_tiles_run(a, tiles);                                                                                        \
    }
TYPE(q4_k, 144, true)
TYPE(q6_k, 210, false)
