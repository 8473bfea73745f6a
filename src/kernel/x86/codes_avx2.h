/* Registers of 32 codes, a row each: the words in which x86/mul_blocks.inc and x86/mul_super.inc are written, and the
 * tiles of this level. A "lane" is a 128-bit half of a row. */
#ifndef IG_KERNEL_X86_CODES_AVX2_H
#define IG_KERNEL_X86_CODES_AVX2_H

#include "kernel/x86/super.h"
#include "kernel/x86/vec_avx2.h"

/* With -mavxvnni the words are those of a level of its own: VPDPBUSD and VPDPWSSD multiply and add in one step. Sums
 * are the same integers. */
#if defined(__AVXVNNI__)
#define MUL(name)                ig_mul_##name##_avxvnni
#define DOT_BYTES(sum, a, b)     _mm256_dpbusd_avx_epi32(sum, a, b)
#define DOT_PAIRS(sum, a, scale) _mm256_dpwssd_avx_epi32(sum, a, scale)
#else
#define MUL(name)                ig_mul_##name##_avx2
#define DOT_PAIRS(sum, a, scale) _mm256_add_epi32(sum, _mm256_madd_epi16(a, scale))
/* Pairs of products must fit 16 bits. */
#define DOT_BYTES(sum, a, b)     DOT_PAIRS(sum, _mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))
#endif

enum {
    PER = 1,          /* rows in a register */
    EIGHT = 8,        /* registers of eight rows */
    SIGNED_OFFSET = 0 /* what codes_signed adds to codes */
};

#define ONE_COLUMN(type) NULL

enum { PANEL_SIGNED = 0 }; /* a form of products in panels */
#if defined(__AVXVNNI__)
enum { DOT_PAIRS_FIRST = 0 };                 /* products of bytes are added in 32 bits at once */
enum { PANEL_OFFSET = 128, PANEL_FLIPS = 0 }; /* what signed codes of blocks have become in panels */
#define TALL_BYTES TALL_2_TO_6                /* columns of types of signed bytes that tall tiles take */
#else
enum { DOT_PAIRS_FIRST = 1 };
enum { PANEL_OFFSET = 0, PANEL_FLIPS = 1 };
#define TALL_BYTES TALL_3_TO_8
#endif

typedef __m256i vi;
typedef struct rows { /* where a register's rows are */
    const uint8_t *a;
} rows;

/* Register i of eight rows. */
INLINE rows rows_of_eight(const uint8_t *const p[8], size_t i) { return (rows){p[i]}; }
INLINE rows rows_at(const uint8_t *w, size_t stride)
{
    (void)stride;
    return (rows){w};
}
INLINE rows rows_on(rows r, size_t by) { return (rows){r.a + by}; }
INLINE void rows_prefetch(rows r, size_t ahead, bool far) { ig_prefetch(r.a, ahead, far); }

INLINE vi vi_zero(void) { return _mm256_setzero_si256(); }
INLINE vi vi_set8(int x) { return _mm256_set1_epi8((char)x); }
INLINE vi vi_set16(int x) { return _mm256_set1_epi16((short)x); }
INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
INLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
INLINE vi vi_and_not(vi a, vi b) { return _mm256_andnot_si256(b, a); }
INLINE vi vi_add8(vi a, vi b) { return _mm256_add_epi8(a, b); }
INLINE vi vi_sub8(vi a, vi b) { return _mm256_sub_epi8(a, b); }
INLINE vi vi_sub16(vi a, vi b) { return _mm256_sub_epi16(a, b); }
INLINE vi vi_add16(vi a, vi b) { return _mm256_add_epi16(a, b); }
INLINE vi vi_sub32(vi a, vi b) { return _mm256_sub_epi32(a, b); }
INLINE vi vi_add32(vi a, vi b) { return _mm256_add_epi32(a, b); }
/* Up (by > 0) or down in 16-bit fields. */
INLINE vi vi_shift16(vi a, int by) { return by < 0 ? _mm256_srli_epi16(a, -by) : _mm256_slli_epi16(a, by); }
INLINE vi vi_shuffle(vi bytes, vi index) { return _mm256_shuffle_epi8(bytes, index); }
/* -1 where a >= b, unsigned. */
INLINE vi vi_at_least(vi a, vi b) { return _mm256_cmpeq_epi8(_mm256_max_epu8(a, b), a); }
/* The low lane of a, the high lane of b. */
INLINE vi vi_lanes(vi a, vi b) { return _mm256_blend_epi32(a, b, 0xF0); }
/* The same 16 bytes in every lane. */
INLINE vi vi_table(__m128i bytes) { return _mm256_broadcastsi128_si256(bytes); }
/* The same 32 bytes for every row. */
INLINE vi vi_same(__m256i bytes) { return bytes; }

INLINE vi vi_bytes(rows r) { return _mm256_loadu_si256((const __m256i *)r.a); }
/* 16 bytes a row, in both lanes. */
INLINE vi vi_twice(rows r) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)r.a)); }
/* 16 bytes a row: low nibbles in the low lane, high ones in the high lane. */
INLINE vi vi_nibbles(rows r)
{
    __m128i q = _mm_loadu_si128((const __m128i *)r.a);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}
/* Bytes of 0xFF where the bits of a number are set. */
INLINE __m256i bits32(uint32_t bits)
{
    __m256i byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i all = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte);
    return _mm256_cmpeq_epi8(_mm256_and_si256(all, bit), bit);
}
INLINE vi vi_bits(rows r)
{
    uint32_t bits;
    memcpy(&bits, r.a, 4);
    return bits32(bits);
}
/* What get makes of each row. */
INLINE vi vi_each(rows r, int i, __m256i (*get)(const uint8_t *block, int i)) { return get(r.a, i); }
/* 16 bytes a row, in both lanes. */
INLINE vi vi_twice_of(rows r, __m128i (*get)(const uint8_t *block)) { return _mm256_broadcastsi128_si256(get(r.a)); }
/* 16 signed bytes a row, as 16 bits each. */
INLINE vi vi_wide(rows r, __m128i (*get)(const uint8_t *block)) { return _mm256_cvtepi8_epi16(get(r.a)); }
/* 16 numbers of 16 bits a row: even ones in the low lane, odd ones in the high lane. */
INLINE vi vi_evens_odds(vi a)
{
    __m128i sort = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(sort)), 0xD8);
}
INLINE vf vf_each(rows r, float (*get)(const uint8_t *block)) { return _mm256_set1_ps(get(r.a)); }
INLINE vf vf_halves(rows r)
{
    uint16_t h;
    memcpy(&h, r.a, 2);
    return _mm256_cvtph_ps(_mm_set1_epi16((short)h));
}
/* The last two of each four first. */
INLINE vf vf_last_two(vf a) { return _mm256_shuffle_ps(a, a, 0xEE); }
INLINE vf vf_of_int(vi a) { return _mm256_cvtepi32_ps(a); }
/* The same four values in both halves of every row. */
INLINE vf vf_four(__m128 a) { return _mm256_broadcast_ps(&a); }
/* The first four values of a row. */
INLINE __m128 vf_first_four(vf a, size_t row)
{
    (void)row;
    return _mm256_castps256_ps128(a);
}

/* 32 codes ready for products of bytes with 32-bit sums of four: |q| <= 128, |x| <= 127, so that a pair is below
 * 32767. Unsigned codes (up to 127) need no magnitude. */
typedef struct codes {
    vi q, magnitude;
} codes;
typedef codes super_code;
INLINE codes codes_signed(vi q) { return (codes){q, _mm256_abs_epi8(q)}; }
INLINE codes codes_unsigned(vi q) { return (codes){q, q}; }
INLINE vi block_x(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE vi block_dot(codes w, vi x, bool is_signed)
{
    return DOT_BYTES(vi_zero(), w.magnitude, is_signed ? _mm256_sign_epi8(x, w.q) : x);
}

/* Four rows' (or columns') sums: number c of a lane = sum of the 4 of v[c] in that lane. */
INLINE vi sum_lanes(const vi v[4])
{
    vi a = _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
    vi b = _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}
/* 16 bytes, `at` bytes on, of rows i, i + 4, .. of LANES: a lane is a row. */
INLINE vi lanes_of(const ig_rows *r, size_t at, size_t i)
{
    return _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(ig_row(r, i + 4) + at)),
                            _mm_loadu_si128((const __m128i *)(ig_row(r, i) + at)));
}
/* Sums of pairs of products, unsigned by signed. */
INLINE vi vi_pairs(vi q, vi x) { return _mm256_maddubs_epi16(q, x); }
/* Products of low and high nibbles with their activations, four sums a lane. */
INLINE vi nibbles_dot(vi low, vi high, vi x_low, vi x_high)
{
#if defined(__AVXVNNI__)
    return DOT_BYTES(DOT_BYTES(vi_zero(), low, x_low), high, x_high);
#else
    vi pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, x_low), _mm256_maddubs_epi16(high, x_high));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#endif
}
/* first: rows as lanes_of has them. Their first two halves. */
INLINE void lanes_first_halves(const vi first[4], vf *a, vf *b)
{
    vi t = _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(first[0], first[1]), _mm256_unpacklo_epi32(first[2], first[3]));
    __m128i sort = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    t = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(t, _mm256_broadcastsi128_si256(sort)), 0xD8);
    *a = _mm256_cvtph_ps(_mm256_castsi256_si128(t));
    *b = _mm256_cvtph_ps(_mm256_extracti128_si256(t, 1));
}
/* The halves `at` bytes on, of LANES rows. */
INLINE vf lanes_halves(const ig_rows *r, size_t at) { return _mm256_cvtph_ps(ig_eight_halves(r, 0, at)); }

/* Of eight rows the sums of the low lanes and of the high ones, a number a row. */
typedef struct eight_sums {
    __m256i low, high;
} eight_sums;
INLINE eight_sums sum_eight(const vi v[EIGHT])
{
    vi a = sum_lanes(v), b = sum_lanes(v + 4);
    return (eight_sums){_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31)};
}

/* As these, for sums of pairs that meet 16-bit scales. */
INLINE super_code super_codes(vi q, bool is_signed) { return is_signed ? codes_signed(q) : codes_unsigned(q); }
/* Bits of signs of the groups of each row: eight numbers of 32 bits a row. */
typedef struct group_signs {
    uint32_t of[8];
} group_signs;
INLINE group_signs signs_of(rows r, __m256i (*get)(const uint8_t *block))
{
    group_signs s;
    _mm256_storeu_si256((__m256i *)s.of, get(r.a));
    return s;
}
/* From what get makes of each row for group g, and the signs. */
INLINE super_code super_pair(rows r, int g, __m256i (*get)(const uint8_t *block, int g), const group_signs *s)
{
    return (super_code){_mm256_or_si256(bits32(s->of[g]), _mm256_set1_epi8(1)), get(r.a, g)};
}
INLINE vi super_add(vi sum, super_code w, __m256i x, vi scale, bool is_signed)
{
    vi pairs = _mm256_maddubs_epi16(w.magnitude, is_signed ? _mm256_sign_epi8(x, w.q) : x);
    return DOT_PAIRS(sum, pairs, scale);
}
INLINE vi vi_madd16(vi a, __m256i b) { return _mm256_madd_epi16(a, b); }
/* Number c of a row, in both lanes = sum of the 8 of v[c], c = 0..3. */
INLINE vi sum_four(const vi v[4])
{
    vi s = sum_lanes(v);
    return _mm256_add_epi32(s, _mm256_permute2x128_si256(s, s, 1));
}
/* ---- panels: LANES rows side by side, for x86/panel.inc ---- */

/* From so many rows and columns on they pay. */
enum { PANEL_REGS = 2, PANEL_COLS = 3, PANEL_LEAST = 12, PANEL_WIDE = 5, PANEL_WIDE_SUPER = 5 };
#define TALL_NIBBLES              TALL_6 /* columns of types of nibbles that tall tiles take, see panel.h */
#define PANEL_TILES(T, name, ...) T(name, 3, __VA_ARGS__) T(name, 2, __VA_ARGS__) T(name, 1, __VA_ARGS__)
static const size_t panel_widths[] = {3, 2, 1};

INLINE rows panel_rows(const uint8_t *const p[LANES], size_t i) { return (rows){p[i]}; }
/* 16 bytes, `at` bytes on, of rows i, i + 4, .. */
INLINE vi panel_lanes(const uint8_t *const p[LANES], size_t at, size_t i)
{
    return _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(p[i + 4] + at)),
                            _mm_loadu_si128((const __m128i *)(p[i] + at)));
}
/* v: four numbers of 32 bits of each row, in registers as panel_lanes says. out[k]: number k of all rows. */
INLINE void transpose_lanes(const vi v[4], vi out[4])
{
    vi a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpacklo_epi32(v[2], v[3]);
    vi c = _mm256_unpackhi_epi32(v[0], v[1]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm256_unpacklo_epi64(a, b);
    out[1] = _mm256_unpackhi_epi64(a, b);
    out[2] = _mm256_unpacklo_epi64(c, d);
    out[3] = _mm256_unpackhi_epi64(c, d);
}
/* v: 8 numbers of 32 bits of each row, in registers as panel_rows says. out[k]: number k of all rows. */
INLINE void transpose(const vi v[8], vi out[8])
{
    vi a[4], b[4];
    transpose_lanes(v, a);
    transpose_lanes(v + 4, b);
    IG_UNROLL
    for (int j = 0; j < 4; j++) {
        out[j] = _mm256_permute2x128_si256(a[j], b[j], 0x20);
        out[j + 4] = _mm256_permute2x128_si256(a[j], b[j], 0x31);
    }
}
INLINE vi vi_of_bits(vf a) { return _mm256_castps_si256(a); }
INLINE vf vf_of_bits(vi a) { return _mm256_castsi256_ps(a); }
INLINE vi vi_set32(int32_t x) { return _mm256_set1_epi32(x); }
INLINE vi vi_mul32(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
INLINE vi vi_high16(vi a) { return _mm256_srai_epi32(a, 16); }
/* 16-bit numbers by 8 bits, with their signs. */
INLINE vi vi_down8(vi a) { return _mm256_srai_epi16(a, 8); }
/* Even 16-bit numbers of a, odd ones of b. */
INLINE vi vi_even_odd(vi a, vi b) { return _mm256_blend_epi16(a, b, 0xAA); }
INLINE vi vi_add_madd16(vi sum, vi a, vi b) { return DOT_PAIRS(sum, a, b); }
/* The codes themselves, with SIGNED_OFFSET if they are signed. */
INLINE vi super_raw(super_code w, bool is_signed)
{
    return is_signed ? _mm256_sign_epi8(w.magnitude, w.q) : w.magnitude;
}
/* Four activations for every row. */
INLINE vi panel_four(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return vi_set32(four);
}
/* sum + products of w with the four activations at x. */
INLINE vi dot_four(vi sum, vi w, const uint8_t *x) { return DOT_BYTES(sum, w, panel_four(x)); }
/* sum + products of both 16-bit numbers of w with those at x. */
INLINE vi dot_two(vi sum, vi w, const uint8_t *x) { return DOT_PAIRS(sum, w, panel_four(x)); }
/* Adds products of 4 * n_k codes; x: where the first column has its. form: how many pairs of products a 16-bit sum
 * holds (8, 4 or 2), or PANEL_SIGNED. */
#if defined(__AVXVNNI__)
INLINE void panel_dot(vi sum[PANEL_COLS][PANEL_REGS], const vi (*w)[PANEL_REGS], const uint8_t *x, size_t x_stride,
                      size_t n_cols, size_t n_k, int form)
{
    IG_UNROLL
    for (size_t k = 0; k < n_k; k++) {
        IG_UNROLL
        for (size_t c = 0; c < n_cols; c++) {
            vi xs = panel_four(x + c * x_stride + 4 * k);
            IG_UNROLL
            for (size_t r = 0; r < PANEL_REGS; r++)
                sum[c][r] = form == PANEL_SIGNED
                                ? DOT_BYTES(sum[c][r], _mm256_abs_epi8(w[k][r]), _mm256_sign_epi8(xs, w[k][r]))
                                : DOT_BYTES(sum[c][r], w[k][r], xs);
        }
    }
}
#else
INLINE void panel_dot(vi sum[PANEL_COLS][PANEL_REGS], const vi (*w)[PANEL_REGS], const uint8_t *x, size_t x_stride,
                      size_t n_cols, size_t n_k, int form)
{
    size_t per = form == PANEL_SIGNED ? 1 : (size_t)form < n_k ? (size_t)form : n_k;
    IG_UNROLL
    for (size_t from = 0; from < n_k; from += per) {
        vi pairs[PANEL_COLS][PANEL_REGS];
        IG_UNROLL
        for (size_t k = from; k < from + per; k++) {
            IG_UNROLL
            for (size_t c = 0; c < n_cols; c++) {
                vi xs = panel_four(x + c * x_stride + 4 * k);
                IG_UNROLL
                for (size_t r = 0; r < PANEL_REGS; r++) {
                    vi q = w[k][r];
                    vi p = form == PANEL_SIGNED ? _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(xs, q))
                                                : _mm256_maddubs_epi16(q, xs);
                    pairs[c][r] = k == from ? p : _mm256_add_epi16(pairs[c][r], p);
                }
            }
        }
        IG_UNROLL
        for (size_t c = 0; c < n_cols; c++) {
            IG_UNROLL
            for (size_t r = 0; r < PANEL_REGS; r++)
                sum[c][r] = _mm256_add_epi32(sum[c][r], _mm256_madd_epi16(pairs[c][r], _mm256_set1_epi16(1)));
        }
    }
}
#endif

/* Signed codes with PANEL_OFFSET. */
INLINE vi panel_code(vi q) { return PANEL_OFFSET ? _mm256_xor_si256(q, _mm256_set1_epi8(-128)) : q; }
/* Signed codes q without one become magnitudes and masks of the negative ones: x under a mask, its bits turned over
 * where the code is negative, is -x - 1 there. So products of magnitudes and turned x lack the
 * magnitudes of the negative codes, whatever x: pairs gathers them, for eight calls at least, and panel_lacking adds
 * them up. A sign moved over by vpsignb would need no such sum, but has half the
 * ports that an exclusive or has. */
INLINE void panel_flip(vi q, vi *magnitude, vi *flip, vi *pairs)
{
    *magnitude = _mm256_abs_epi8(q);
    *flip = _mm256_cmpgt_epi8(vi_zero(), q);
    *pairs = _mm256_sub_epi16(*pairs, _mm256_maddubs_epi16(*magnitude, *flip));
}
INLINE vi panel_lacking(vi pairs) { return _mm256_madd_epi16(pairs, vi_set16(1)); }
/* As panel_dot, for 32 codes in the two parts of panel_flip. A pair of products fits 16 bits: 128 * -128 twice is the
 * least, and a code of -128 meets 126 at most. */
INLINE void panel_dot_flips(vi sum[PANEL_COLS][PANEL_REGS], const vi (*w)[PANEL_REGS], const vi (*flips)[PANEL_REGS],
                            const uint8_t *x, size_t x_stride, size_t n_cols)
{
    IG_UNROLL
    for (size_t k = 0; k < 8; k++) {
        IG_UNROLL
        for (size_t c = 0; c < n_cols; c++) {
            vi xs = panel_four(x + c * x_stride + 4 * k);
            IG_UNROLL
            for (size_t r = 0; r < PANEL_REGS; r++)
                sum[c][r] = DOT_BYTES(sum[c][r], w[k][r], _mm256_xor_si256(xs, flips[k][r]));
        }
    }
}

/* The same for 32 codes of each row that no panel keeps. */
INLINE void tall_flips(vi *sum, const vi q[8], const uint8_t *x, size_t x_stride, size_t n_cols)
{
    vi w[8], flips[8], pairs = vi_zero();
    IG_UNROLL
    for (size_t k = 0; k < 8; k++) panel_flip(q[k], &w[k], &flips[k], &pairs);
    IG_UNROLL
    for (size_t c = 0; c < n_cols; c++) sum[c] = panel_lacking(pairs);
    IG_UNROLL
    for (size_t k = 0; k < 8; k++) {
        IG_UNROLL
        for (size_t c = 0; c < n_cols; c++)
            sum[c] = DOT_BYTES(sum[c], w[k], _mm256_xor_si256(panel_four(x + c * x_stride + 4 * k), flips[k]));
    }
}

/* The first 16 bytes of a block, as ig_q4_k_scales wants them, and its result in both lanes of each row. */
INLINE vi k4_scales(rows r) { return ig_q4_k_scales(vi_twice(r)); }
/* Of a row a lane. */
INLINE vi k4_lane_scales(vi heads) { return ig_q4_k_scales(heads); }

#endif
