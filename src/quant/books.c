/* Types whose codes stand for the entries of a book: IQ4_NL, IQ4_XS (sixteen values spread like weights) and MXFP4
 * (four-bit floats with a power of two per block).
 *
 *   IQ4_NL  18: d f16, qs 16                                        w = d * V[q]
 *   IQ4_XS 136: d f16, scales_h u16, scales_l 4, qs 128             w = (d * (scale - 32)) * V[q], 8 groups of 32
 *   MXFP4   17: e, qs 16                                            w = 2^(e - 128) * F[q]
 * nibbles: element j low, element j + 16 high, in each group of 32. */
#include "quant/rows.h"
#include "quant/super.h"

static const int8_t book[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* Halfway between two entries are whole or half numbers, so every cell of width 1/2 belongs to one entry whole. */
typedef struct near_table {
    int8_t value[512]; /* entry nearest to the cell [k / 2 - 128, k / 2 - 127.5) */
} near_table;

static void near_fill(near_table *t)
{
    for (int k = 0, at = 0; k < 512; k++) {
        /* twice the middle of the cell against twice the boundary, in quarters */
        while (at < 15 && 2 * k + 1 - 512 > 2 * (book[at] + book[at + 1])) at++;
        t->value[k] = book[at];
    }
}

static uint8_t book_code(int value)
{
    uint8_t q = 0;
    while (book[q] != value) q++;
    return q;
}

/* Codes of 32 weights for a stored scale, as 16 bytes of nibbles. */
static void put_codes(const float *x, float s, ig_levels levels, uint8_t out[16])
{
    const float inverse = fabsf(s) > 1e-30f ? 1 / s : 0;
    for (int i = 0; i < 16; i++) {
        v4 l = ig_level((v4){x[i], x[i + 16], 0, 0} * v4_all(inverse), levels);
        out[i] = (uint8_t)(book_code((int)l[0]) | book_code((int)l[1]) << 4);
    }
}

void ig_from_f32_iq4_nl(const float *x, const float *w, void *dst, size_t n)
{
    static const float ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    near_table near;
    near_fill(&near);
    const ig_levels levels = {-127, 113, near.value};
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += 32, out += 18) {
        uint16_t d = ig_half(ig_linear_search(x + i, w ? w + i : ones, 32, levels, -16, 3, 14).s);
        ig_put_half(out, d);
        put_codes(x + i, ig_half_value(d), levels, out + 2);
    }
}

void ig_from_f32_iq4_xs(const float *x, const float *w, void *dst, size_t n)
{
    near_table near;
    float ones[IG_SUPER];
    near_fill(&near);
    for (int i = 0; i < IG_SUPER; i++) ones[i] = 1;
    const ig_linear_shape shape = {32, {-127, 113, near.value}, -32, 31, -16, 3, 14};
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += IG_SUPER, out += 136) {
        ig_linear_super b;
        unsigned upper = 0;
        ig_linear_super_fit(x + i, w ? w + i : ones, shape, &b);
        memset(out + 4, 0, 4);
        for (unsigned g = 0; g < 8; g++) {
            unsigned s = (unsigned)(b.scale[g] + 32);
            upper |= s >> 4 << 2 * g;
            out[4 + g / 2] = (uint8_t)(out[4 + g / 2] | (s & 15u) << 4 * (g % 2));
            put_codes(x + i + 32 * g, ig_half_value(b.d) * (float)b.scale[g], shape.levels, out + 8 + 16 * g);
        }
        ig_put_half(out, b.d);
        out[2] = (uint8_t)upper;
        out[3] = (uint8_t)(upper >> 8);
    }
}

/* ------------------------------------------------------------------------------------------------ MXFP4 */

/* Nearest of 0 1 2 3 4 6 8 12 to |u|, with the sign in bit 3; zero has no sign. The error goes to *err. */
static uint8_t mx_code(float u, float *err)
{
    static const float values[8] = {0, 1, 2, 3, 4, 6, 8, 12};
    float m = fabsf(u);
    uint8_t q = 0;
    while (q < 7 && m > (values[q] + values[q + 1]) / 2) q++;
    *err = m - values[q];
    return (uint8_t)(q && u < 0 ? q + 8 : q);
}

void ig_from_f32_mxfp4(const float *x, const float *w, void *dst, size_t n)
{
    uint8_t *out = dst;
    for (size_t i = 0; i < n; i += 32, out += 17) {
        int exponent = 0, first;
        float best = FLT_MAX;
        (void)frexpf(ig_extreme(x + i, 32), &exponent);
        first = exponent - 5; /* the largest weight is then 16 to 32 units, above the largest code */
        memset(out, 0, 17);
        for (int k = 0; k < 3; k++) {
            int e = first + k + 128;
            if (e < 0 || e > 252) continue; /* above 252 the largest code would be infinite */
            uint8_t q[32];
            float sum = 0;
            for (size_t j = 0; j < 32; j++) {
                float err;
                q[j] = mx_code(ldexpf(x[i + j], 128 - e), &err);
                err = ldexpf(err, k);
                sum += (w ? w[i + j] : 1) * err * err;
            }
            if (!(sum < best)) continue;
            best = sum;
            out[0] = (uint8_t)e;
            for (int j = 0; j < 16; j++) out[1 + j] = (uint8_t)(q[j] | q[j + 16] << 4);
        }
    }
}
