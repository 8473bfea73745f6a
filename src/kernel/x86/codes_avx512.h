/* Registers of twice 32 codes, two rows in the 256-bit halves: the words of x86/codes_avx2.h with AVX-512 VNNI. */
#ifndef IG_KERNEL_X86_CODES_AVX512_H
#define IG_KERNEL_X86_CODES_AVX512_H

#include "kernel/x86/super.h"
#include "kernel/x86/vec_avx512.h"

#if !defined(MUL)
#define MUL(name) ig_mul_##name##_avx512
#endif

enum { PER = 2, EIGHT = 4, SIGNED_OFFSET = 128 };

/* Who goes 16 rows at once asks memory for 36 lines at a time, of which many wait: two threads read Q4_K at 17 GB/s
 * each, with eight rows at 24. Sixteen are faster in the cache, where nobody has weights. */
#define ONE_COLUMN(type) ig_mul_##type##_avx2

enum { DOT_PAIRS_FIRST = 0 };                           /* products of bytes are added in 32 bits at once */
enum { PANEL_SIGNED = 0 };                              /* a form of products in panels */
enum { PANEL_OFFSET = SIGNED_OFFSET, PANEL_FLIPS = 0 }; /* what signed codes of blocks have become in panels */

typedef __m512i vi;
typedef struct rows {
    const uint8_t *a, *b;
} rows;

INLINE rows rows_of_eight(const uint8_t *const p[8], size_t i) { return (rows){p[i], p[i + 4]}; }
INLINE rows rows_at(const uint8_t *w, size_t stride) { return (rows){w, w + stride}; }
INLINE rows rows_on(rows r, size_t by) { return (rows){r.a + by, r.b + by}; }
INLINE void rows_prefetch(rows r, size_t ahead, bool far)
{
    ig_prefetch(r.a, ahead, far);
    ig_prefetch(r.b, ahead, far);
}

INLINE vi join(__m256i a, __m256i b) { return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1); }
INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
INLINE vi vi_set8(int x) { return _mm512_set1_epi8((char)x); }
INLINE vi vi_set16(int x) { return _mm512_set1_epi16((short)x); }
INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
INLINE vi vi_and_not(vi a, vi b) { return _mm512_andnot_si512(b, a); }
INLINE vi vi_add8(vi a, vi b) { return _mm512_add_epi8(a, b); }
INLINE vi vi_sub8(vi a, vi b) { return _mm512_sub_epi8(a, b); }
INLINE vi vi_sub16(vi a, vi b) { return _mm512_sub_epi16(a, b); }
INLINE vi vi_add16(vi a, vi b) { return _mm512_add_epi16(a, b); }
INLINE vi vi_sub32(vi a, vi b) { return _mm512_sub_epi32(a, b); }
INLINE vi vi_add32(vi a, vi b) { return _mm512_add_epi32(a, b); }
/* Compilers disagree about the sign of an immediate count; one count for all fields takes two instructions. */
INLINE vi vi_shift16(vi a, int by)
{
    return by < 0 ? _mm512_srlv_epi16(a, vi_set16(-by)) : _mm512_sllv_epi16(a, vi_set16(by));
}
INLINE vi vi_shuffle(vi bytes, vi index) { return _mm512_shuffle_epi8(bytes, index); }
INLINE vi vi_at_least(vi a, vi b) { return _mm512_movm_epi8(_mm512_cmpge_epu8_mask(a, b)); }
INLINE vi vi_lanes(vi a, vi b) { return _mm512_mask_blend_epi32(0xF0F0, a, b); }
INLINE vi vi_table(__m128i bytes) { return _mm512_broadcast_i32x4(bytes); }
INLINE vi vi_same(__m256i bytes) { return _mm512_broadcast_i64x4(bytes); }

INLINE vi vi_bytes(rows r)
{
    return join(_mm256_loadu_si256((const __m256i *)r.a), _mm256_loadu_si256((const __m256i *)r.b));
}
INLINE vi vi_twice(rows r)
{
    return join(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)r.a)),
                _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)r.b)));
}
INLINE vi vi_nibbles(rows r)
{
    const long long four = 0x0004000400040004;
    vi shift = _mm512_setr_epi64(0, 0, four, four, 0, 0, four, four);
    return _mm512_and_si512(_mm512_srlv_epi16(vi_twice(r), shift), _mm512_set1_epi8(15));
}
INLINE __m256i bits32(uint32_t bits) { return _mm256_movm_epi8(bits); }
INLINE vi vi_bits(rows r)
{
    uint32_t a, b;
    memcpy(&a, r.a, 4);
    memcpy(&b, r.b, 4);
    return _mm512_movm_epi8((uint64_t)b << 32 | a);
}
INLINE vi vi_each(rows r, int i, __m256i (*get)(const uint8_t *block, int i)) { return join(get(r.a, i), get(r.b, i)); }
INLINE vi vi_twice_of(rows r, __m128i (*get)(const uint8_t *block))
{
    return join(_mm256_broadcastsi128_si256(get(r.a)), _mm256_broadcastsi128_si256(get(r.b)));
}
INLINE vi vi_wide(rows r, __m128i (*get)(const uint8_t *block))
{
    return _mm512_cvtepi8_epi16(_mm256_set_m128i(get(r.b), get(r.a)));
}
INLINE vi vi_evens_odds(vi a)
{
    __m256i sort = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 16, 18, 20, 22, 24, 26, 28,
                                    30, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutexvar_epi16(_mm512_cvtepi8_epi16(sort), a);
}
INLINE vf vf_each(rows r, float (*get)(const uint8_t *block))
{
    return _mm512_insertf32x8(_mm512_set1_ps(get(r.a)), _mm256_set1_ps(get(r.b)), 1);
}
INLINE vf vf_halves(rows r)
{
    uint16_t a, b;
    memcpy(&a, r.a, 2);
    memcpy(&b, r.b, 2);
    return _mm512_cvtph_ps(_mm256_set_m128i(_mm_set1_epi16((short)b), _mm_set1_epi16((short)a)));
}
INLINE vf vf_last_two(vf a) { return _mm512_shuffle_ps(a, a, 0xEE); }
INLINE vf vf_of_int(vi a) { return _mm512_cvtepi32_ps(a); }
INLINE vf vf_four(__m128 a) { return _mm512_broadcast_f32x4(a); }
INLINE __m128 vf_first_four(vf a, size_t row) { return row ? _mm512_extractf32x4_ps(a, 2) : _mm512_castps512_ps128(a); }

/* vpdpbusd wants one unsigned side: signed codes get SIGNED_OFFSET, which is taken off with the sums of x. */
typedef struct codes {
    vi q;
} codes;
INLINE codes codes_signed(vi q) { return (codes){_mm512_xor_si512(q, _mm512_set1_epi8(-128))}; }
INLINE codes codes_unsigned(vi q) { return (codes){q}; }
INLINE vi block_x(const uint8_t *p) { return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p)); }
INLINE vi block_dot(codes w, vi x, bool is_signed)
{
    (void)is_signed;
    return _mm512_dpbusd_epi32(vi_zero(), w.q, x);
}

INLINE vi sum_lanes(const vi v[4])
{
    vi a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    vi b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
INLINE vi lanes_from(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d)
{
    return join(_mm256_set_m128i(_mm_loadu_si128((const __m128i *)b), _mm_loadu_si128((const __m128i *)a)),
                _mm256_set_m128i(_mm_loadu_si128((const __m128i *)d), _mm_loadu_si128((const __m128i *)c)));
}
INLINE vi lanes_of(const ig_rows *r, size_t at, size_t i)
{
    return lanes_from(ig_row(r, i) + at, ig_row(r, i + 4) + at, ig_row(r, i + 8) + at, ig_row(r, i + 12) + at);
}
INLINE vi vi_pairs(vi q, vi x) { return _mm512_maddubs_epi16(q, x); }
INLINE vi nibbles_dot(vi low, vi high, vi x_low, vi x_high)
{
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(vi_zero(), low, x_low), high, x_high);
}
INLINE void lanes_first_halves(const vi first[4], vf *a, vf *b)
{
    vi t = _mm512_unpacklo_epi64(_mm512_unpacklo_epi32(first[0], first[1]), _mm512_unpacklo_epi32(first[2], first[3]));
    __m128i sort = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    t = _mm512_shuffle_epi8(t, _mm512_broadcast_i32x4(sort));
    t = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), t);
    *a = _mm512_cvtph_ps(_mm512_castsi512_si256(t));
    *b = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(t, 1));
}
INLINE vf lanes_halves(const ig_rows *r, size_t at)
{
    return _mm512_cvtph_ps(_mm256_set_m128i(ig_eight_halves(r, 8, at), ig_eight_halves(r, 0, at)));
}
typedef struct eight_sums {
    __m256i low, high;
} eight_sums;
INLINE eight_sums sum_eight(const vi v[EIGHT])
{
    vi s = sum_lanes(v);
    return (eight_sums){_mm512_castsi512_si256(_mm512_shuffle_i64x2(s, s, 0x08)),
                        _mm512_castsi512_si256(_mm512_shuffle_i64x2(s, s, 0x0D))};
}

/* For sums of pairs that meet 16-bit scales: vpdpwssd applies the scale and adds in one step. */
typedef struct super_code {
    vi magnitude;
    __mmask64 minus;
} super_code;
INLINE super_code super_codes(vi q, bool is_signed)
{
    return is_signed ? (super_code){_mm512_abs_epi8(q), _mm512_movepi8_mask(q)} : (super_code){q, 0};
}
typedef struct group_signs {
    uint64_t of[8]; /* low half: first row */
} group_signs;
INLINE group_signs signs_of(rows r, __m256i (*get)(const uint8_t *block))
{
    group_signs s;
    vi a = _mm512_cvtepu32_epi64(get(r.a)), b = _mm512_cvtepu32_epi64(get(r.b));
    _mm512_storeu_si512(s.of, _mm512_or_si512(a, _mm512_slli_epi64(b, 32)));
    return s;
}
INLINE super_code super_pair(rows r, int g, __m256i (*get)(const uint8_t *block, int g), const group_signs *s)
{
    return (super_code){join(get(r.a, g), get(r.b, g)), s->of[g]};
}
INLINE vi super_add(vi sum, super_code w, __m256i x, vi scale, bool is_signed)
{
    vi all = _mm512_broadcast_i64x4(x);
    if (is_signed) all = _mm512_mask_sub_epi8(all, w.minus, vi_zero(), all);
    return _mm512_dpwssd_epi32(sum, _mm512_maddubs_epi16(w.magnitude, all), scale);
}
INLINE vi vi_madd16(vi a, __m256i b) { return _mm512_madd_epi16(a, _mm512_broadcast_i64x4(b)); }
INLINE vi sum_four(const vi v[4])
{
    vi s = sum_lanes(v);
    return _mm512_add_epi32(s, _mm512_shuffle_i64x2(s, s, 0xB1));
}
/* ---- panels: LANES rows side by side, for x86/panel.inc ---- */

enum { PANEL_REGS = 2, PANEL_COLS = 6, PANEL_LEAST = 12, PANEL_WIDE = 5, PANEL_WIDE_SUPER = 5 };
#define TALL_NIBBLES TALL_8
#define TALL_BYTES   TALL_2_TO_8
#define PANEL_TILES(T, name, ...)                                                                                      \
    T(name, 6, __VA_ARGS__) T(name, 4, __VA_ARGS__) T(name, 2, __VA_ARGS__) T(name, 1, __VA_ARGS__)
static const size_t panel_widths[] = {6, 4, 2, 1};

INLINE rows panel_rows(const uint8_t *const p[LANES], size_t i)
{
    size_t a = i % 4 + i / 4 * 8;
    return (rows){p[a], p[a + 4]};
}
INLINE vi panel_lanes(const uint8_t *const p[LANES], size_t at, size_t i)
{
    return lanes_from(p[i] + at, p[i + 4] + at, p[i + 8] + at, p[i + 12] + at);
}
INLINE void transpose_lanes(const vi v[4], vi out[4])
{
    vi a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpacklo_epi32(v[2], v[3]);
    vi c = _mm512_unpackhi_epi32(v[0], v[1]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm512_unpacklo_epi64(a, b);
    out[1] = _mm512_unpackhi_epi64(a, b);
    out[2] = _mm512_unpacklo_epi64(c, d);
    out[3] = _mm512_unpackhi_epi64(c, d);
}
INLINE void transpose(const vi v[8], vi out[8])
{
    vi a[4], b[4];
    transpose_lanes(v, a);
    transpose_lanes(v + 4, b);
    IG_UNROLL
    for (int j = 0; j < 4; j++) {
        out[j] = _mm512_shuffle_i32x4(a[j], b[j], 0x88);
        out[j + 4] = _mm512_shuffle_i32x4(a[j], b[j], 0xDD);
    }
}
INLINE vi vi_of_bits(vf a) { return _mm512_castps_si512(a); }
INLINE vf vf_of_bits(vi a) { return _mm512_castsi512_ps(a); }
INLINE vi vi_set32(int32_t x) { return _mm512_set1_epi32(x); }
INLINE vi vi_mul32(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
INLINE vi vi_high16(vi a) { return _mm512_srai_epi32(a, 16); }
INLINE vi vi_down8(vi a) { return _mm512_srai_epi16(a, 8); }
/* Even 16-bit numbers of a, odd ones of b. */
INLINE vi vi_even_odd(vi a, vi b) { return _mm512_mask_blend_epi16(0xAAAAAAAA, a, b); }
INLINE vi vi_add_madd16(vi sum, vi a, vi b) { return _mm512_dpwssd_epi32(sum, a, b); }
INLINE vi super_raw(super_code w, bool is_signed)
{
    if (!is_signed) return w.magnitude;
    vi q = _mm512_mask_sub_epi8(w.magnitude, w.minus, vi_zero(), w.magnitude);
    return _mm512_xor_si512(q, _mm512_set1_epi8(-128));
}
/* Four activations for every row. */
INLINE vi panel_four(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return vi_set32(four);
}
/* sum + products of w with the four activations at x. Compilers load those into a register of their own first; few
 * columns are bound by the number of instructions. */
INLINE vi dot_four(vi sum, vi w, const uint8_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const int32_t(*)[1])x));
    return sum;
}
/* sum + products of both 16-bit numbers of w with those at x. */
INLINE vi dot_two(vi sum, vi w, const uint8_t *x)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const int32_t(*)[1])x));
    return sum;
}
/* Adds products of 4 * n_k codes; x: where the first column has its. */
INLINE void panel_dot(vi sum[PANEL_COLS][PANEL_REGS], const vi (*w)[PANEL_REGS], const uint8_t *x, size_t x_stride,
                      size_t n_cols, size_t n_k, int form)
{
    (void)form;
    IG_UNROLL
    for (size_t k = 0; k < n_k; k++) {
        IG_UNROLL
        for (size_t c = 0; c < n_cols; c++) {
            IG_UNROLL
            for (size_t r = 0; r < PANEL_REGS; r++) sum[c][r] = dot_four(sum[c][r], w[k][r], x + c * x_stride + 4 * k);
        }
    }
}

/* Signed codes with PANEL_OFFSET. */
INLINE vi panel_code(vi q) { return codes_signed(q).q; }
/* Nothing of the kind: PANEL_FLIPS is 0. */
INLINE void panel_flip(vi q, vi *magnitude, vi *flip, vi *pairs) { (void)q, (void)magnitude, (void)flip, (void)pairs; }
INLINE vi panel_lacking(vi pairs) { return pairs; }
INLINE void panel_dot_flips(vi sum[PANEL_COLS][PANEL_REGS], const vi (*w)[PANEL_REGS], const vi (*flips)[PANEL_REGS],
                            const uint8_t *x, size_t x_stride, size_t n_cols)
{
    (void)sum, (void)w, (void)flips, (void)x, (void)x_stride, (void)n_cols;
}
INLINE void tall_flips(vi *sum, const vi q[8], const uint8_t *x, size_t x_stride, size_t n_cols)
{
    (void)sum, (void)q, (void)x, (void)x_stride, (void)n_cols;
}

INLINE vi k4_scales(rows r)
{
    __m256i heads = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)r.b), _mm_loadu_si128((const __m128i *)r.a));
    heads = ig_q4_k_scales(heads);
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), _mm512_castsi256_si512(heads));
}

INLINE vi k4_lane_scales(vi heads)
{
    return join(ig_q4_k_scales(_mm512_castsi512_si256(heads)), ig_q4_k_scales(_mm512_extracti64x4_epi64(heads, 1)));
}

#endif
