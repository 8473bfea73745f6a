/* Whole numbers of any size (up to what Python prints) and floats as text. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/template/filters.h"
#include "text/template/number.h"

static ig_tbig *big_new(ig_arena *arena, size_t n)
{
    ig_tbig *b = n > 2 * BIG_LIMBS_MAX + 4 ? NULL : ig_arena_alloc(arena, sizeof(ig_tbig) + n * sizeof(uint32_t), 1);
    if (b) b->n = (uint32_t)n;
    return b;
}

/* Drops leading zeros; a number that fits becomes TV_INT; one of too many digits no value. */
static ig_tval normal(ig_tbig *b)
{
    if (!b) return (ig_tval){0};
    while (b->n && b->d[b->n - 1] == 0) b->n--;
    if (b->n <= 3) {
        unsigned __int128 u = 0;
        for (uint32_t i = b->n; i-- > 0;) u = u * BIG_BASE + b->d[i];
        if (!b->negative && u <= INT64_MAX) return ig_tv_int((int64_t)u);
        if (b->negative && u <= (unsigned __int128)INT64_MAX + 1) return ig_tv_int((int64_t)(0 - (uint64_t)u));
    }
    return b->n > BIG_LIMBS_MAX ? (ig_tval){0} : tv_ptr(TV_BIG, b);
}

/* Any whole number as limbs; `room` holds those of a small one. */
typedef struct view {
    bool negative;
    uint32_t n;
    const uint32_t *d;
    uint32_t room[3];
} view;

static void look(ig_tval v, view *out)
{
    if (v.kind == TV_BIG) {
        const ig_tbig *b = v.u.p;
        out->negative = b->negative;
        out->n = b->n;
        out->d = b->d;
        return;
    }
    int64_t i = v.kind == TV_BOOL ? v.u.b : v.u.i;
    out->negative = i < 0;
    out->n = 0;
    out->d = out->room;
    for (uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; u; u /= BIG_BASE)
        out->room[out->n++] = (uint32_t)(u % BIG_BASE);
}

static int compare_size(const view *a, const view *b)
{
    if (a->n != b->n) return a->n < b->n ? -1 : 1;
    for (uint32_t i = a->n; i-- > 0;)
        if (a->d[i] != b->d[i]) return a->d[i] < b->d[i] ? -1 : 1;
    return 0;
}

static ig_tbig *add_size(ig_arena *arena, const view *a, const view *b)
{
    uint32_t n = (a->n > b->n ? a->n : b->n) + 1;
    ig_tbig *c = big_new(arena, n);
    uint32_t carry = 0;
    for (uint32_t i = 0; c && i < n; i++) {
        uint32_t sum = carry + (i < a->n ? a->d[i] : 0) + (i < b->n ? b->d[i] : 0);
        carry = sum >= BIG_BASE;
        c->d[i] = carry ? sum - BIG_BASE : sum;
    }
    return c;
}

/* |a| - |b|, |a| >= |b| */
static ig_tbig *sub_size(ig_arena *arena, const view *a, const view *b)
{
    ig_tbig *c = big_new(arena, a->n);
    uint32_t borrow = 0;
    for (uint32_t i = 0; c && i < a->n; i++) {
        uint32_t take = borrow + (i < b->n ? b->d[i] : 0);
        borrow = a->d[i] < take;
        c->d[i] = borrow ? a->d[i] + BIG_BASE - take : a->d[i] - take;
    }
    return c;
}

static ig_tval add_signed(ig_arena *arena, const view *a, const view *b, bool b_negative)
{
    ig_tbig *c;
    if (a->negative == b_negative) {
        c = add_size(arena, a, b);
        if (c) c->negative = a->negative;
    } else if (compare_size(a, b) >= 0) {
        c = sub_size(arena, a, b);
        if (c) c->negative = a->negative;
    } else {
        c = sub_size(arena, b, a);
        if (c) c->negative = b_negative;
    }
    return normal(c);
}

ig_tval ig_tn_add(ig_arena *arena, ig_tval a, ig_tval b)
{
    view x, y;
    const view *p = &x, *q = &y;
    look(a, &x);
    look(b, &y);
    return add_signed(arena, p, q, q->negative);
}

ig_tval ig_tn_sub(ig_arena *arena, ig_tval a, ig_tval b)
{
    view x, y;
    const view *p = &x, *q = &y;
    look(a, &x);
    look(b, &y);
    return add_signed(arena, p, q, !q->negative);
}

ig_tval ig_tn_mul(ig_arena *arena, ig_tval a, ig_tval b)
{
    view x, y;
    const view *p = &x, *q = &y;
    look(a, &x);
    look(b, &y);
    if (p->n + q->n > BIG_LIMBS_MAX + 1) return (ig_tval){0};
    ig_tbig *c = big_new(arena, p->n + q->n);
    for (uint32_t i = 0; c && i < p->n; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; j < q->n || carry; j++) {
            uint64_t t = c->d[i + j] + carry + (j < q->n ? (uint64_t)p->d[i] * q->d[j] : 0);
            c->d[i + j] = (uint32_t)(t % BIG_BASE);
            carry = t / BIG_BASE;
        }
    }
    if (c) c->negative = p->negative != q->negative;
    return normal(c);
}

/* rest -= q * m, where rest is as long as or longer than m; false when that were negative (rest unchanged). */
static bool take_multiple(ig_tbig *rest, const view *m, uint32_t q, uint32_t *scratch)
{
    uint64_t carry = 0;
    uint32_t borrow = 0, n = rest->n;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t t = carry + (i < m->n ? (uint64_t)m->d[i] * q : 0);
        uint32_t take = (uint32_t)(t % BIG_BASE) + borrow;
        carry = t / BIG_BASE;
        borrow = rest->d[i] < take;
        scratch[i] = borrow ? rest->d[i] + BIG_BASE - take : rest->d[i] - take;
    }
    if (carry || borrow) return false;
    for (uint32_t i = 0; i < n; i++) rest->d[i] = scratch[i];
    return true;
}

/* Schoolbook division of sizes, one limb of the quotient at a time, each found by bisection. */
static bool divide_size(ig_arena *arena, const view *a, const view *b, ig_tbig **quotient, ig_tbig **rest)
{
    ig_tbig *q = big_new(arena, a->n + 1), *r = big_new(arena, b->n + 1), *t = big_new(arena, b->n + 1);
    if (!q || !r || !t) return false;
    for (uint32_t i = a->n; i-- > 0;) {
        for (uint32_t j = r->n - 1; j > 0; j--) r->d[j] = r->d[j - 1];
        r->d[0] = a->d[i];
        /* bits of the digit from high to low: subtract 2^k * b where it fits */
        for (int k = 29; k >= 0; k--)
            if (take_multiple(r, b, 1u << k, t->d)) q->d[i] += 1u << k;
    }
    *quotient = q;
    *rest = r;
    return true;
}

bool ig_tn_divmod(ig_arena *arena, ig_tval a, ig_tval b, ig_tval *quotient, ig_tval *rest)
{
    view x, y;
    const view *p = &x, *m = &y;
    look(a, &x);
    look(b, &y);
    ig_tbig *q, *r;
    if (!divide_size(arena, p, m, &q, &r)) return false;
    q->negative = p->negative != m->negative;
    r->negative = p->negative;
    *quotient = normal(q);
    *rest = normal(r);
    bool zero = rest->kind == TV_INT && rest->u.i == 0;
    if (!zero && p->negative != m->negative) { /* Python rounds down: the rest has the sign of the divisor */
        *quotient = ig_tn_sub(arena, *quotient, ig_tv_int(1));
        *rest = ig_tn_add(arena, *rest, b);
    }
    return quotient->kind && rest->kind;
}

ig_tval ig_tn_parse(ig_arena *arena, const char *digits, size_t n, unsigned base, bool negative)
{
    while (n && *digits == '0') digits++, n--;
    if (n > (base == 10 ? 4300u : 1000u)) return (ig_tval){0};
    ig_tbig *b = big_new(arena, n / (base == 10 ? 9 : 2) + 2);
    if (!b) return (ig_tval){0};
    b->negative = negative;
    if (base == 10) { /* nine digits make a limb */
        for (size_t i = 0; i < n; i++) {
            size_t place = n - 1 - i;
            b->d[place / 9] = b->d[place / 9] * 10 + (uint32_t)(digits[i] - '0');
        }
        return normal(b);
    }
    uint32_t used = 0;
    for (size_t i = 0; i < n; i++) {
        char c = digits[i];
        uint64_t carry = c <= '9' ? (uint64_t)(c - '0') : (uint64_t)((c | 32) - 'a' + 10);
        for (uint32_t j = 0; j < used || carry; j++) {
            if (j >= b->n) return (ig_tval){0};
            uint64_t t = (uint64_t)b->d[j] * base + carry;
            b->d[j] = (uint32_t)(t % BIG_BASE);
            carry = t / BIG_BASE;
            if (j >= used) used = j + 1;
        }
    }
    return normal(b);
}

ig_tval ig_tn_from_double(ig_arena *arena, double f)
{
    f = trunc(f);
    if (f >= -9.2e18 && f <= 9.2e18) return ig_tv_int((int64_t)f);
    char text[330];
    int n = snprintf(text, sizeof text, "%.0f", fabs(f));
    return ig_tn_parse(arena, text, (size_t)n, 10, f < 0);
}

double ig_tn_double(ig_tval v)
{
    if (v.kind == TV_BOOL) return v.u.b;
    if (v.kind == TV_INT) return (double)v.u.i;
    if (v.kind == TV_FLOAT) return v.u.f;
    const ig_tbig *b = v.u.p;
    if (b->n > 36) return b->negative ? -INFINITY : INFINITY;
    char text[36 * 9 + 8];
    text[ig_tn_digits(b, text)] = 0;
    return strtod(text, NULL); /* digits only: no decimal point, so no locale */
}

int ig_tn_compare(ig_tval a, ig_tval b)
{
    if (a.kind == TV_FLOAT || b.kind == TV_FLOAT) {
        long double x = a.kind == TV_INT ? (long double)a.u.i : (long double)ig_tn_double(a);
        long double y = b.kind == TV_INT ? (long double)b.u.i : (long double)ig_tn_double(b);
        return (x > y) - (x < y);
    }
    if (a.kind != TV_BIG && b.kind != TV_BIG) {
        int64_t x = a.kind == TV_BOOL ? a.u.b : a.u.i, y = b.kind == TV_BOOL ? b.u.b : b.u.i;
        return (x > y) - (x < y);
    }
    view s, t;
    const view *p = &s, *q = &t;
    look(a, &s);
    look(b, &t);
    if (p->negative != q->negative) return p->negative ? -1 : 1;
    return p->negative ? compare_size(q, p) : compare_size(p, q);
}

double ig_tn_read_double(ig_str text)
{
    /* strtod expects the decimal point of the locale */
    char copy[400];
    const char *point = localeconv()->decimal_point;
    size_t n = 0;
    for (size_t i = 0; i < text.len && n + 8 < sizeof copy; i++) {
        if (text.ptr[i] != '.') {
            copy[n++] = text.ptr[i];
            continue;
        }
        for (const char *p = point; *p && n + 8 < sizeof copy; p++) copy[n++] = *p;
    }
    copy[n] = 0;
    return strtod(copy, NULL);
}

size_t ig_tn_digits(const ig_tbig *b, char *out)
{
    size_t n = 0;
    if (b->negative) out[n++] = '-';
    if (b->n == 0) out[n++] = '0';
    for (uint32_t i = b->n; i-- > 0;)
        n += (size_t)snprintf(out + n, 11, i + 1 == b->n ? "%u" : "%09u", (unsigned)b->d[i]);
    return n;
}

/* Decimal digits (no point) and the power of ten of the first: the shortest that read back as f. */
static size_t shortest(double f, char digits[20], int *power)
{
    char text[40];
    int precision = fabs(f) < 2.3e-308 ? 1 : 15;
    for (;; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision - 1, f);
        if (precision >= 17 || strtod(text, NULL) == f) break;
    }
    size_t n = 0;
    char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    *power = atoi(p + 1);
    while (n > 1 && digits[n - 1] == '0') n--;
    digits[n] = 0;
    return n;
}

size_t ig_tn_float_text(double f, char out[32])
{
    if (isnan(f)) return (size_t)snprintf(out, 32, "nan");
    if (isinf(f)) return (size_t)snprintf(out, 32, f < 0 ? "-inf" : "inf");
    if (f == 0) return (size_t)snprintf(out, 32, signbit(f) ? "-0.0" : "0.0");
    char digits[20];
    int power;
    const char *sign = f < 0 ? "-" : "";
    int n = (int)shortest(fabs(f), digits, &power);
    if (power < -4 || power >= 16)
        return (size_t)snprintf(out, 32, "%s%.1s%s%se%c%02d", sign, digits, n > 1 ? "." : "", digits + 1,
                                power < 0 ? '-' : '+', abs(power));
    if (power < 0) return (size_t)snprintf(out, 32, "%s0.%.*s%s", sign, -power - 1, "0000", digits);
    if (n <= power + 1) return (size_t)snprintf(out, 32, "%s%s%.*s.0", sign, digits, power + 1 - n, "0000000000000000");
    return (size_t)snprintf(out, 32, "%s%.*s.%s", sign, power + 1, digits, digits + power + 1);
}
