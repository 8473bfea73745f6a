/* Private to src/quant: least squares fits of small groups of weights to a scale (and an offset) times whole numbers.
 *
 * All functions minimise the sum of w[i] * (x[i] - decoded[i])^2. A pass takes a scale (and offset), chooses for every
 * weight the nearest code, and gives two things: the error of exactly that, and the scale (and offset) that would suit
 * these codes best. Passing the second into another pass never makes the error larger (but for rounding), so a search
 * is a handful of starting scales with two passes each, the best of all kept.
 *
 * Arithmetic is in four lanes with one fixed order of sums, so results do not depend on the machine. n is a multiple
 * of 4, at most IG_GROUP_MAX. */
#ifndef IG_QUANT_FIT_H
#define IG_QUANT_FIT_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { IG_GROUP_MAX = 32, IG_SUPER = 256 };

#define IG_INLINE static inline __attribute__((always_inline, unused))

typedef float v4 __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));

IG_INLINE v4 v4_all(float x) { return (v4){x, x, x, x}; }
IG_INLINE v4 v4_load(const float *p)
{
    v4 v;
    memcpy(&v, p, sizeof v);
    return v;
}
IG_INLINE v4 v4_pick(v4i mask, v4 a, v4 b) { return (v4)((mask & (v4i)a) | (~mask & (v4i)b)); }
/* The second value where the first is NaN. */
IG_INLINE v4 v4_clamp(v4 x, v4 low, v4 high)
{
    x = v4_pick(x < high, x, high);
    return v4_pick(x > low, x, low);
}
/* To the nearest whole number, ties to even, for |x| < 2^22. */
IG_INLINE v4 v4_round(v4 x)
{
    const v4 magic = {12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f};
    return (x + magic) - magic;
}
IG_INLINE float v4_sum(v4 a) { return (a[0] + a[2]) + (a[1] + a[3]); }

/* Largest |x|, with the sign of the first that has it. */
IG_INLINE float ig_extreme(const float *x, size_t n)
{
    float extreme = 0, max = 0;
    for (size_t i = 0; i < n; i++) {
        float m = fabsf(x[i]);
        if (m > max) max = m, extreme = x[i];
    }
    return extreme;
}

/* ------------------------------------------------------------------------------------------------ scale and offset */

typedef struct ig_affine {
    float s, o;         /* decoded = s * q + o, q = 0 .. top */
    float err;          /* of s and o */
    float sq, sqq, sxq; /* sums of w q, w q q, w x q over the codes of s and o */
} ig_affine;

typedef struct ig_moments {
    float w, wx; /* sums of w and w x */
} ig_moments;

IG_INLINE ig_moments ig_moments_of(const float *x, const float *w, size_t n)
{
    v4 sw = v4_all(0), swx = v4_all(0);
    for (size_t i = 0; i < n; i += 4) {
        v4 wi = v4_load(w + i);
        sw += wi;
        swx += wi * v4_load(x + i);
    }
    return (ig_moments){v4_sum(sw), v4_sum(swx)};
}

/* Fills err and the sums of a for its s and o. A scale that is no normal number means q = 0 throughout. */
IG_INLINE void ig_affine_pass(ig_affine *a, const float *x, const float *w, size_t n, float top)
{
    const float inverse = a->s > 1e-30f ? 1 / a->s : 0;
    v4 err = v4_all(0), sq = v4_all(0), sqq = v4_all(0), sxq = v4_all(0);
    for (size_t i = 0; i < n; i += 4) {
        v4 xi = v4_load(x + i), wi = v4_load(w + i);
        v4 q = v4_round(v4_clamp((xi - v4_all(a->o)) * v4_all(inverse), v4_all(0), v4_all(top)));
        v4 e = xi - (v4_all(a->s) * q + v4_all(a->o)), wq = wi * q;
        err += wi * e * e;
        sq += wq;
        sqq += wq * q;
        sxq += wq * xi;
    }
    a->err = v4_sum(err);
    a->sq = v4_sum(sq);
    a->sqq = v4_sum(sqq);
    a->sxq = v4_sum(sxq);
}

/* Which offsets a format can hold. */
typedef enum ig_side { IG_ANY, IG_BELOW, IG_ABOVE } ig_side; /* any, <= 0, >= 0 */

/* The best scale and offset for the codes of a; a itself where there is none. */
IG_INLINE ig_affine ig_affine_next(const ig_affine *a, const ig_moments *m, ig_side side)
{
    ig_affine next = *a;
    float det = m->w * a->sqq - a->sq * a->sq;
    if (det > 1e-6f * m->w * a->sqq) {
        next.s = (m->w * a->sxq - a->sq * m->wx) / det;
        next.o = (m->wx - next.s * a->sq) / m->w;
    } else if (m->w > 0) {
        next.o = (m->wx - a->s * a->sq) / m->w;
    }
    if ((side == IG_BELOW && next.o > 0) || (side == IG_ABOVE && next.o < 0)) {
        next.o = 0;
        if (a->sqq > 0) next.s = a->sxq / a->sqq;
    }
    if (!(next.s > 0)) next.s = 0;
    return next;
}

/* The search: n_starts scales, from the whole range of x in `top + first` steps, each start `step` more; two passes
 * each, then passes from the best while they help. */
IG_INLINE ig_affine ig_affine_search(const float *x, const float *w, size_t n, float top, ig_side side, float first,
                                     float step, int n_starts)
{
    float low = x[0], high = x[0];
    for (size_t i = 1; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    if (side == IG_BELOW && low > 0) low = 0;
    if (side == IG_ABOVE && low < 0) low = 0;
    ig_moments m = ig_moments_of(x, w, n);
    ig_affine best = {.s = high > low ? (high - low) / top : 0, .o = low};
    ig_affine_pass(&best, x, w, n, top);
    if (!(best.s > 1e-30f)) return best;
    for (int k = 0; k < n_starts; k++) {
        ig_affine a = {.s = (high - low) / (top + first + (float)k * step), .o = low};
        for (int pass = 0; pass < 2; pass++) {
            ig_affine_pass(&a, x, w, n, top);
            if (a.err < best.err) best = a;
            a = ig_affine_next(&a, &m, side);
        }
    }
    for (int pass = 0; pass < 4; pass++) {
        ig_affine a = ig_affine_next(&best, &m, side);
        ig_affine_pass(&a, x, w, n, top);
        if (!(a.err < best.err)) break;
        best = a;
    }
    return best;
}

/* ------------------------------------------------------------------------------------------------ scale alone */

/* The values that codes stand for: whole numbers low..high, or the entries of a book. */
typedef struct ig_levels {
    float low, high;    /* the ends; |low| >= |high| */
    const int8_t *near; /* book: value nearest to k / 2 + 1/4 at near[k + 2 * 128], else NULL */
} ig_levels;

typedef struct ig_linear {
    float s;        /* decoded = s * level; any sign */
    float err;      /* of s */
    float sll, sxl; /* sums of w l l, w x l over the levels that s gives */
} ig_linear;

IG_INLINE v4 ig_level(v4 u, ig_levels levels)
{
    u = v4_clamp(u, v4_all(levels.low), v4_all(levels.high));
    if (!levels.near) return v4_round(u);
    v4 l;
    for (int i = 0; i < 4; i++) l[i] = (float)levels.near[(int)(2 * (u[i] + 128))];
    return l;
}

IG_INLINE void ig_linear_pass(ig_linear *a, const float *x, const float *w, size_t n, ig_levels levels)
{
    const float inverse = fabsf(a->s) > 1e-30f ? 1 / a->s : 0;
    v4 err = v4_all(0), sll = v4_all(0), sxl = v4_all(0);
    for (size_t i = 0; i < n; i += 4) {
        v4 xi = v4_load(x + i), wi = v4_load(w + i);
        v4 l = ig_level(xi * v4_all(inverse), levels);
        v4 e = xi - v4_all(a->s) * l, wl = wi * l;
        err += wi * e * e;
        sll += wl * l;
        sxl += wl * xi;
    }
    a->err = v4_sum(err);
    a->sll = v4_sum(sll);
    a->sxl = v4_sum(sxl);
}

IG_INLINE ig_linear ig_linear_next(const ig_linear *a)
{
    ig_linear next = *a;
    if (a->sll > 0) next.s = a->sxl / a->sll;
    return next;
}

/* The search: n_starts scales that put the largest weight at (level low) + first + k * step, in units of levels, with
 * its own sign and the other in turn (the ends differ), two passes each, then passes from the best while they help. */
IG_INLINE ig_linear ig_linear_search(const float *x, const float *w, size_t n, ig_levels levels, float first,
                                     float step, int n_starts)
{
    const float extreme = ig_extreme(x, n);
    ig_linear best = {.s = extreme / levels.low};
    ig_linear_pass(&best, x, w, n, levels);
    if (!(fabsf(best.s) > 1e-30f)) return best;
    float tie = 0; /* of scales that fit equally well the first is taken, so that groups of a super-block agree */
    for (size_t i = 0; i < n; i++) tie += w[i] * x[i] * x[i];
    tie *= 1e-9f;
    /* k = -1 is symmetric, exact for weights of one magnitude and zeros; its sign is the same for all groups. */
    for (int k = -1; k < n_starts; k++) {
        const float at = levels.low + first + (float)k * step;
        ig_linear a = {.s = k < 0 ? fabsf(extreme) / levels.high : k % 2 ? -extreme / at : extreme / at};
        for (int pass = 0; pass < 2; pass++) {
            ig_linear_pass(&a, x, w, n, levels);
            if (a.err + tie < best.err) best = a;
            a = ig_linear_next(&a);
        }
    }
    for (int pass = 0; pass < 4; pass++) {
        ig_linear a = ig_linear_next(&best);
        ig_linear_pass(&a, x, w, n, levels);
        if (!(a.err + tie < best.err)) break;
        best = a;
    }
    return best;
}

#endif
