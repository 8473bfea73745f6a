/* Private to src/quant: super-blocks of 256 weights in groups of 16 or 32, whose scales (and minimums) are small whole
 * numbers times one binary16 number of the super-block.
 *
 * How one is made: every group is fitted alone (fit.h). The largest group scale gives the super-block's number, the
 * others are rounded to multiples of it. Then rounds: each group takes, of the whole scales beside its own, the one
 * that really decodes best; after that the super-block's numbers are fitted anew to all codes by least squares. A round
 * that gains nothing ends it; the best state seen is kept. All errors are those of the decoded weights. */
#ifndef IG_QUANT_SUPER_H
#define IG_QUANT_SUPER_H

#include "quant/fit.h"
#include "quant/half.h"

enum { IG_ROUNDS_MAX = 4, IG_GROUPS_MAX = 16 };

/* w = (d * scale[g]) * q - (m * min[g]) */
typedef struct ig_affine_super {
    uint16_t d, m; /* binary16 */
    uint8_t scale[IG_GROUPS_MAX], min[IG_GROUPS_MAX], q[IG_SUPER];
} ig_affine_super;

typedef struct ig_affine_shape {
    int group;   /* weights of a group */
    float top;   /* largest code */
    int max;     /* largest scale and minimum */
    float first; /* starts of the search, see fit.h */
    float step;
    int n_starts;
} ig_affine_shape;

/* w = (d * scale[g]) * level */
typedef struct ig_linear_super {
    uint16_t d;
    int8_t scale[IG_GROUPS_MAX];
} ig_linear_super;

typedef struct ig_linear_shape {
    int group;
    ig_levels levels;
    int low, high; /* of the scales */
    float first, step;
    int n_starts;
} ig_linear_shape;

/* ------------------------------------------------------------------------------------------------ with minimums */

typedef struct ig_affine_state {
    float d, m; /* as stored; m < 0: offsets above zero */
    int scale[IG_GROUPS_MAX], min[IG_GROUPS_MAX];
    ig_affine fit[IG_GROUPS_MAX]; /* of the stored numbers */
    float err;
} ig_affine_state;

IG_INLINE int ig_whole(float ratio, int low, int high)
{
    if (!(ratio > (float)low)) return low;
    if (ratio >= (float)high) return high;
    return (int)rintf(ratio);
}

/* The best stored numbers of one group near (scale, *min): three scales, each with the minimum that suits its codes. */
IG_INLINE void ig_affine_choose(ig_affine_state *st, int g, const float *x, const float *w, const ig_affine_shape *sh,
                                const ig_moments *mo, int scale, int min)
{
    ig_affine best = {.err = FLT_MAX};
    for (int sc = scale > 0 ? scale - 1 : 0; sc <= scale + 1 && sc <= sh->max; sc++) {
        for (int pass = 0, mn = min, last = -1; pass < 3 && mn != last; pass++) {
            ig_affine a = {.s = st->d * (float)sc, .o = -(st->m * (float)mn)};
            ig_affine_pass(&a, x, w, (size_t)sh->group, sh->top);
            if (a.err < best.err) {
                best = a;
                st->scale[g] = sc;
                st->min[g] = mn;
            }
            last = mn;
            if (st->m != 0 && mo->w > 0) mn = ig_whole((a.s * a.sq - mo->wx) / mo->w / st->m, 0, sh->max);
        }
    }
    st->fit[g] = best;
    st->err += best.err;
}

/* d and m that suit all codes best; false when nothing changes. */
IG_INLINE bool ig_affine_refit(ig_affine_state *st, const ig_moments *mo, int n_groups)
{
    double a = 0, b = 0, c = 0, u = 0, v = 0; /* [a b; b c] (d, -m) = (u, v) */
    for (int g = 0; g < n_groups; g++) {
        double sc = st->scale[g], mn = st->min[g];
        a += sc * sc * (double)st->fit[g].sqq;
        b += sc * mn * (double)st->fit[g].sq;
        c += mn * mn * (double)mo[g].w;
        u += sc * (double)st->fit[g].sxq;
        v += mn * (double)mo[g].wx;
    }
    double det = a * c - b * b, d, m = (double)st->m;
    if (det > 1e-9 * a * c) {
        d = (c * u - b * v) / det;
        m = -(a * v - b * u) / det;
    } else if (a > 0) {
        d = (u + b * m) / a;
    } else {
        return false;
    }
    if (!(d > 0) || m * (double)st->m < 0) return false;
    float d_new = ig_half_value(ig_half((float)d)), m_new = ig_half_value(ig_half((float)m));
    if (d_new == st->d && m_new == st->m) return false;
    st->d = d_new;
    st->m = m_new;
    return true;
}

IG_INLINE void ig_affine_codes(const ig_affine_state *st, const float *x, const ig_affine_shape *sh,
                               ig_affine_super *out)
{
    out->d = ig_half(st->d);
    out->m = ig_half(st->m);
    for (int g = 0; g < IG_SUPER / sh->group; g++) {
        const float s = st->d * (float)st->scale[g], o = -(st->m * (float)st->min[g]);
        const float inverse = s > 1e-30f ? 1 / s : 0;
        out->scale[g] = (uint8_t)st->scale[g];
        out->min[g] = (uint8_t)st->min[g];
        for (int i = g * sh->group; i < (g + 1) * sh->group; i += 4) {
            v4 q = v4_round(v4_clamp((v4_load(x + i) - v4_all(o)) * v4_all(inverse), v4_all(0), v4_all(sh->top)));
            for (int k = 0; k < 4; k++) out->q[i + k] = (uint8_t)q[k];
        }
    }
}

/* x, w [256] */
IG_INLINE void ig_affine_super_fit(const float *x, const float *w, ig_affine_shape sh, ig_affine_super *out)
{
    const int n_groups = IG_SUPER / sh.group;
    ig_moments mo[IG_GROUPS_MAX];
    ig_affine_state st = {0}, best = {.err = FLT_MAX};
    float s_max = 0, o_max = 0, low = x[0];
    for (int i = 1; i < IG_SUPER; i++)
        if (x[i] < low) low = x[i];
    const ig_side side = low > 0 ? IG_ABOVE : IG_BELOW;
    for (int g = 0; g < n_groups; g++) {
        const float *xg = x + g * sh.group, *wg = w + g * sh.group;
        mo[g] = ig_moments_of(xg, wg, (size_t)sh.group);
        st.fit[g] = ig_affine_search(xg, wg, (size_t)sh.group, sh.top, side, sh.first, sh.step, sh.n_starts);
        if (st.fit[g].s > s_max) s_max = st.fit[g].s;
        if (fabsf(st.fit[g].o) > o_max) o_max = fabsf(st.fit[g].o);
    }
    st.d = ig_half_value(ig_half(s_max / (float)sh.max));
    st.m = ig_half_value(ig_half((side == IG_ABOVE ? -o_max : o_max) / (float)sh.max));
    for (int g = 0; g < n_groups; g++) {
        st.scale[g] = st.d > 0 ? ig_whole(st.fit[g].s / st.d, 0, sh.max) : 0;
        st.min[g] = st.m != 0 ? ig_whole(-st.fit[g].o / st.m, 0, sh.max) : 0;
    }
    for (int round = 0; round < IG_ROUNDS_MAX; round++) {
        st.err = 0;
        for (int g = 0; g < n_groups; g++)
            ig_affine_choose(&st, g, x + g * sh.group, w + g * sh.group, &sh, &mo[g], st.scale[g], st.min[g]);
        if (!(st.err < best.err)) break;
        best = st;
        if (!ig_affine_refit(&st, mo, n_groups)) break;
    }
    ig_affine_codes(&best, x, &sh, out);
}

/* ------------------------------------------------------------------------------------------------ scales alone */

typedef struct ig_linear_state {
    float d;
    int scale[IG_GROUPS_MAX];
    ig_linear fit[IG_GROUPS_MAX];
    float err;
} ig_linear_state;

IG_INLINE void ig_linear_choose(ig_linear_state *st, int g, const float *x, const float *w, const ig_linear_shape *sh)
{
    const int scale = st->scale[g];
    ig_linear best = {.err = FLT_MAX};
    for (int sc = scale - 1; sc <= scale + 1; sc++) {
        if (sc < sh->low || sc > sh->high) continue;
        ig_linear a = {.s = st->d * (float)sc};
        ig_linear_pass(&a, x, w, (size_t)sh->group, sh->levels);
        if (a.err < best.err) {
            best = a;
            st->scale[g] = sc;
        }
    }
    st->fit[g] = best;
    st->err += best.err;
}

IG_INLINE bool ig_linear_refit(ig_linear_state *st, int n_groups)
{
    double a = 0, u = 0;
    for (int g = 0; g < n_groups; g++) {
        double sc = st->scale[g];
        a += sc * sc * (double)st->fit[g].sll;
        u += sc * (double)st->fit[g].sxl;
    }
    if (!(a > 0)) return false;
    float d = ig_half_value(ig_half((float)(u / a)));
    if (d == st->d) return false;
    st->d = d;
    return true;
}

/* Largest group scale in magnitude, with its sign, lands on the longer end of the whole scales. */
IG_INLINE void ig_linear_super_fit(const float *x, const float *w, ig_linear_shape sh, ig_linear_super *out)
{
    const int n_groups = IG_SUPER / sh.group;
    ig_linear_state st = {0}, best = {.err = FLT_MAX};
    float s[IG_GROUPS_MAX];
    for (int g = 0; g < n_groups; g++)
        s[g] = ig_linear_search(x + g * sh.group, w + g * sh.group, (size_t)sh.group, sh.levels, sh.first, sh.step,
                                sh.n_starts)
                   .s;
    st.d = ig_half_value(ig_half(ig_extreme(s, (size_t)n_groups) / (float)sh.low));
    for (int g = 0; g < n_groups; g++) st.scale[g] = st.d != 0 ? ig_whole(s[g] / st.d, sh.low, sh.high) : 0;
    for (int round = 0; round < IG_ROUNDS_MAX; round++) {
        st.err = 0;
        for (int g = 0; g < n_groups; g++) ig_linear_choose(&st, g, x + g * sh.group, w + g * sh.group, &sh);
        if (!(st.err < best.err)) break;
        best = st;
        if (!ig_linear_refit(&st, n_groups)) break;
    }
    out->d = ig_half(best.d);
    for (int g = 0; g < n_groups; g++) out->scale[g] = (int8_t)best.scale[g];
}

/* Levels of one group as whole numbers from levels.low up, for plain levels. */
IG_INLINE void ig_linear_codes(const float *x, float s, int n, ig_levels levels, uint8_t *q)
{
    const float inverse = fabsf(s) > 1e-30f ? 1 / s : 0;
    for (int i = 0; i < n; i += 4) {
        v4 l = ig_level(v4_load(x + i) * v4_all(inverse), levels) - v4_all(levels.low);
        for (int k = 0; k < 4; k++) q[i + k] = (uint8_t)l[k];
    }
}

#endif
