/* Numbers as automata over their decimal text: comparison with a constant, multiples of a constant, canonical forms.
 * All but gr_number_any work on plain notation: a sign, digits without leading zeros, and digits after a point. */
#include <stdio.h>
#include <stdlib.h>

#include "auto.h"

enum { DIGITS_MAX = 400, REMAINDERS_MAX = 60000 };

bool gr_dec_read(gr_cc *cc, const char *text, gr_dec *out)
{
    char digits[DIGITS_MAX];
    int n = 0, point = -1;
    *out = (gr_dec){.neg = *text == '-'};
    text += out->neg;
    for (; (*text >= '0' && *text <= '9') || *text == '.'; text++) {
        if (*text == '.')
            point = n;
        else if (n < DIGITS_MAX)
            digits[n++] = *text;
        else
            return false;
    }
    if (point < 0) point = n;
    long exp = *text == 'e' || *text == 'E' ? strtol(text + 1, NULL, 10) : 0;
    if (exp < -DIGITS_MAX || exp > DIGITS_MAX) return false;
    point += (int)exp;
    int from = 0, left = point < 0 ? point : 0;
    while (n > 0 && n > point && digits[n - 1] == '0') n--;
    while (from < n && from < point && digits[from] == '0') from++;
    int right = n > point ? n : point;
    if (right - from > DIGITS_MAX || right - left > DIGITS_MAX) return false;
    if (n == 0 || point < from) from = point < 0 ? 0 : point; /* only a fraction */
    if (point > 0 && from < point) left = from;
    if (point <= 0) left = point;
    char *all = gr_new(cc, (size_t)(right - left) + 1, 1);
    if (!all) return false;
    bool zero = true;
    for (int i = left; i < right; i++) {
        char c = i >= 0 && i < n ? digits[i] : '0';
        all[i - left] = c;
        zero = zero && c == '0';
    }
    out->digits = all;
    out->n_int = (uint32_t)(point > left ? point - left : 0);
    out->n_frac = (uint32_t)(right - left) - out->n_int;
    if (zero) *out = (gr_dec){.digits = all};
    return true;
}

/* Symbols: 0..9 digits, then these; anything else is dead. */
enum { MINUS = 10, POINT, EXP, PLUS, N_SYMBOLS, OTHER = N_SYMBOLS };

/* An automaton given by a step on small tuples; both functions see the tuple and may change a copy of it. */
typedef struct spec {
    uint32_t start[5];
    bool (*step)(const void *ctx, uint32_t *state, unsigned symbol); /* false: dead */
    bool (*accept)(const void *ctx, const uint32_t *state);
    const void *ctx;
} spec;

static bool number_classes(gr_cc *cc, gr_dfa *d)
{
    static const struct {
        uint32_t at;
        uint16_t cls;
    } rows[] = {{0, OTHER}, {'+', PLUS}, {',', OTHER}, {'-', MINUS}, {'.', POINT}, {'/', OTHER}, {'0', 0},
                {'1', 1},   {'2', 2},    {'3', 3},     {'4', 4},     {'5', 5},     {'6', 6},     {'7', 7},
                {'8', 8},   {'9', 9},    {':', OTHER}, {'E', EXP},   {'F', OTHER}, {'e', EXP},   {'f', OTHER}};
    d->n_bounds = sizeof rows / sizeof *rows;
    d->n_cls = N_SYMBOLS + 1;
    d->bound = gr_new(cc, d->n_bounds, sizeof *d->bound);
    d->cls_of = gr_new(cc, d->n_bounds, sizeof *d->cls_of);
    for (uint32_t i = 0; d->cls_of && i < d->n_bounds; i++) d->bound[i] = rows[i].at, d->cls_of[i] = rows[i].cls;
    return d->cls_of != NULL;
}

static const gr_dfa *explore(gr_cc *cc, const spec *s)
{
    gr_intern in = {0};
    gr_dfa raw = {0};
    uint32_t cap_next = 0, cap_label = 0, len;
    if (!number_classes(cc, &raw)) return NULL;
    gr_intern_add(cc, &in, s->start, 5, NULL);
    for (uint32_t i = 0; i < in.n && cc->st == IG_OK; i++) {
        uint32_t at[5];
        memcpy(at, gr_intern_key(&in, i, &len), sizeof at);
        if (in.n > GR_DFA_MAX || !gr_pay(cc, raw.n_cls)) {
            gr_fail(cc, IG_TOO_LARGE, "the number needs too many states");
            return NULL;
        }
        while (cap_next < (i + 2) * raw.n_cls)
            if (!gr_grow(cc, (void **)&raw.next, cap_next, &cap_next, 4)) return NULL;
        while (cap_label < i + 2)
            if (!gr_grow(cc, (void **)&raw.label, cap_label, &cap_label, 4)) return NULL;
        raw.label[i + 1] = s->accept(s->ctx, at);
        for (unsigned c = 0; c < N_SYMBOLS; c++) {
            uint32_t to[5];
            memcpy(to, at, sizeof to);
            bool ok = s->step(s->ctx, to, c);
            uint32_t t = ok ? gr_intern_add(cc, &in, to, 5, NULL) + 1 : 0;
            raw.next[(size_t)(i + 1) * raw.n_cls + c] = t;
        }
    }
    raw.n_states = in.n + 1;
    raw.start = 1;
    return cc->st == IG_OK ? gr_dfa_make(cc, raw) : NULL;
}

/* Syntax of plain notation in state[0]. */
enum { AT_START, AT_SIGN, AT_ZERO, AT_INT, AT_POINT, AT_FRAC, AT_EXP, AT_EXP_SIGN, AT_EXP_DIGITS };

static bool plain_step(uint32_t *phase, unsigned c)
{
    switch (*phase) {
    case AT_START:
        if (c == MINUS) return *phase = AT_SIGN, true;
        /* fall through */
    case AT_SIGN: return c < 10 ? (*phase = c ? AT_INT : AT_ZERO, true) : false;
    case AT_ZERO: return c == POINT ? (*phase = AT_POINT, true) : false;
    case AT_INT: return c == POINT ? (*phase = AT_POINT, true) : c < 10;
    case AT_POINT:
    case AT_FRAC: return c < 10 ? (*phase = AT_FRAC, true) : false;
    default: return false;
    }
}

static bool plain_ends(uint32_t phase) { return phase == AT_ZERO || phase == AT_INT || phase == AT_FRAC; }

/* Comparison. state: phase, negative, digits read of the part, order of the magnitudes so far, all zeros so far. */
typedef struct compare {
    gr_dec b;
    unsigned mask;
} compare;
enum { SAME, LESS, MORE };

static uint32_t int_order(const compare *k, const uint32_t *s)
{
    uint32_t n = k->b.n_int ? k->b.n_int : 1; /* 0.5 has no digit before the point, the text has "0" */
    return s[2] < n ? LESS : s[2] > n ? MORE : s[3];
}

static void compare_digit(const compare *k, uint32_t *s, unsigned c, bool frac)
{
    uint32_t n = frac ? k->b.n_frac : k->b.n_int;
    unsigned own = s[2] < n ? (unsigned)(k->b.digits[(frac ? k->b.n_int : 0) + s[2]] - '0') : 0;
    if (s[3] == SAME && c != own) s[3] = c < own ? LESS : MORE;
    if (c) s[4] = 0;
    if (s[2] <= n + 1) s[2]++;
    if (frac && s[3] != SAME) s[2] = 0; /* no longer matters */
}

static bool compare_step(const void *ctx, uint32_t *s, unsigned c)
{
    const compare *k = ctx;
    uint32_t was = s[0];
    if (!plain_step(&s[0], c)) return false;
    if (c == MINUS) s[1] = 1;
    if (c < 10) compare_digit(k, s, c, was == AT_POINT || was == AT_FRAC);
    if (c == POINT) s[3] = int_order(k, s), s[2] = 0;
    return true;
}

static bool compare_accept(const void *ctx, const uint32_t *s)
{
    const compare *k = ctx;
    if (!plain_ends(s[0])) return false;
    uint32_t order = s[0] == AT_FRAC ? s[3] : int_order(k, s);
    uint32_t read = s[0] == AT_FRAC ? s[2] : 0;
    if (order == SAME && read < k->b.n_frac) order = LESS; /* the constant goes on with a digit above 0 */
    bool b_zero = k->b.n_int + k->b.n_frac == 0;
    int sign = s[4] ? 0 : s[1] ? -1 : 1, b_sign = b_zero ? 0 : k->b.neg ? -1 : 1;
    int result = sign < b_sign ? -1 : sign > b_sign ? 1 : order == SAME ? 0 : (order == LESS) == (sign > 0) ? -1 : 1;
    if (sign == 0 && b_sign == 0) result = 0;
    return k->mask >> (result + 1) & 1;
}

const gr_dfa *gr_number_compare(gr_cc *cc, gr_dec b, unsigned mask)
{
    compare k = {b, mask};
    spec s = {{AT_START, 0, 0, SAME, 1}, compare_step, compare_accept, &k};
    return explore(cc, &s);
}

/* Multiples. state: phase, remainder, digits read after the point, all digits beyond are zero. */
typedef struct multiple {
    uint32_t m, frac; /* the divisor is m / 10^frac */
} multiple;

static bool multiple_step(const void *ctx, uint32_t *s, unsigned c)
{
    const multiple *k = ctx;
    uint32_t was = s[0];
    if (!plain_step(&s[0], c)) return false;
    if (c >= 10) return true;
    bool frac = was == AT_POINT || was == AT_FRAC;
    if (frac && s[2] == k->frac) return c == 0; /* a digit beyond: never a multiple */
    s[1] = (uint32_t)(((uint64_t)s[1] * 10 + c) % k->m);
    s[2] += frac;
    return true;
}

static bool multiple_accept(const void *ctx, const uint32_t *s)
{
    const multiple *k = ctx;
    uint64_t r = s[1];
    for (uint32_t i = s[2]; i < k->frac; i++) r = r * 10 % k->m;
    return plain_ends(s[0]) && r == 0;
}

const gr_dfa *gr_number_multiple(gr_cc *cc, gr_dec m)
{
    multiple k = {0, m.n_frac};
    uint64_t v = 0;
    for (uint32_t i = 0; i < m.n_int + m.n_frac && v <= REMAINDERS_MAX; i++) v = v * 10 + (uint64_t)(m.digits[i] - '0');
    if (v == 0 || v > REMAINDERS_MAX || v * (m.n_frac + 1) > REMAINDERS_MAX) {
        gr_fail(cc, IG_UNSUPPORTED, "multipleOf with so many digits cannot be enforced; expected at most four or so");
        return NULL;
    }
    k.m = (uint32_t)v;
    spec s = {{AT_START, 0, 0, 0, 0}, multiple_step, multiple_accept, &k};
    return explore(cc, &s);
}

/* Forms. state: phase, negative, digits read of the part (0 once without limit). */
typedef struct form {
    uint32_t n_int, n_frac, n_exp; /* most digits; 0: none at all, GR_NONE: any number */
    bool strict;
} form;

static bool form_step(const void *ctx, uint32_t *s, unsigned c)
{
    const form *k = ctx;
    uint32_t was = s[0], limit;
    if (k->n_exp && c == EXP && plain_ends(s[0])) return s[0] = AT_EXP, s[2] = 0, true;
    if (was == AT_EXP && (c == MINUS || (c == PLUS && !k->strict))) return s[0] = AT_EXP_SIGN, true;
    if (was >= AT_EXP) {
        if (c >= 10) return false;
        if (k->strict && was != AT_EXP_DIGITS && c == 0) return false;
        s[0] = AT_EXP_DIGITS;
        limit = k->n_exp;
    } else {
        if (!plain_step(&s[0], c)) return false;
        if (c == MINUS) return s[1] = 1, true;
        if (c == POINT) return s[2] = 0, k->n_frac != 0;
        limit = was == AT_POINT || was == AT_FRAC ? k->n_frac : k->n_int;
        if (s[0] == AT_FRAC && c) s[1] = 0; /* -0.5 is no -0 */
        if (s[0] == AT_INT) s[1] = 0;
    }
    if (limit == GR_NONE) return true;
    return ++s[2] <= limit;
}

static bool form_accept(const void *ctx, const uint32_t *s)
{
    const form *k = ctx;
    if (k->strict && s[1]) return false;
    return plain_ends(s[0]) || s[0] == AT_EXP_DIGITS;
}

static const gr_dfa *make_form(gr_cc *cc, form k)
{
    spec s = {{AT_START, 0, 0, 0, 0}, form_step, form_accept, &k};
    return explore(cc, &s);
}

const gr_dfa *gr_number_plain(gr_cc *cc) { return make_form(cc, (form){GR_NONE, GR_NONE, 0, false}); }

const gr_dfa *gr_number_any(gr_cc *cc, bool canonical)
{
    return make_form(cc, canonical ? (form){20, 17, 3, true} : (form){GR_NONE, GR_NONE, GR_NONE, false});
}

const gr_dfa *gr_number_canonical(gr_cc *cc, uint32_t n_int, bool whole)
{
    return make_form(cc, (form){n_int > 20 ? n_int : 20, whole ? 0 : 17, 0, true});
}
