/* The operators + - * / // % ** and the minus sign, on numbers, strings and lists. */
#include <math.h>

#include "text/template/number.h"
#include "text/template/run.h"

static ig_tval wrong_types(ig_tr *r, unsigned op, ig_tval a, ig_tval b)
{
    if (a.kind == TV_UNDEF) return ig_tr_undef_error(r, a);
    if (b.kind == TV_UNDEF) return ig_tr_undef_error(r, b);
    char text[3] = {(char)(op > 255 ? op >> 8 : op), (char)(op > 255 ? op & 255 : 0), 0};
    return TR_WRONG(r, "%s does not work on %s and %s", text, ig_tv_type(a), ig_tv_type(b));
}

static ig_tval add_texts(ig_tr *r, ig_tval a, ig_tval b)
{
    bool markup = tv_s(a)->markup || tv_s(b)->markup;
    if (markup) {
        a = ig_tr_escape(r, a);
        b = a.kind ? ig_tr_escape(r, b) : b;
    }
    size_t mark = ig_tr_mark(r);
    if (a.kind && b.kind && ig_tr_add_str(r, tv_str(a))) (void)ig_tr_add_str(r, tv_str(b));
    return ig_tr_take(r, mark, markup);
}

static ig_tval add_lists(ig_tr *r, ig_tval a, ig_tval b)
{
    size_t n = tv_l(a)->n, m = tv_l(b)->n;
    ig_tval *items = ig_tr_alloc(r, n + m, sizeof *items);
    if (!items) return (ig_tval){0};
    if (n) memcpy(items, tv_l(a)->items, n * sizeof *items);
    if (m) memcpy(items + n, tv_l(b)->items, m * sizeof *items);
    return ig_tr_list(r, a.kind, items, n + m);
}

static ig_tval repeat(ig_tr *r, ig_tval v, ig_tval times)
{
    int64_t count;
    size_t bytes;
    if (!ig_tr_index(r, times, "the number of repetitions", &count)) return (ig_tval){0};
    if (count < 0) count = 0;
    if (v.kind == TV_STR) {
        const ig_tstr *s = tv_s(v);
        if (!ig_mul_sz(s->n, (size_t)count, &bytes) || bytes > r->scratch.max_bytes) return ig_tr_no_memory(r);
        size_t mark = ig_tr_mark(r);
        for (int64_t i = 0; s->n && i < count; i++)
            if (!ig_tr_add(r, s->p, s->n)) break;
        return ig_tr_take(r, mark, s->markup);
    }
    size_t n = tv_l(v)->n;
    if (!ig_mul_sz(n, (size_t)count, &bytes) || bytes > SIZE_MAX / sizeof(ig_tval)) return ig_tr_no_memory(r);
    ig_tval *items = ig_tr_alloc(r, bytes, sizeof *items);
    for (size_t i = 0; items && i < bytes; i++) items[i] = tv_l(v)->items[i % n];
    return items ? ig_tr_list(r, v.kind, items, bytes) : (ig_tval){0};
}

/* Both operands as doubles; false records an error for a whole number that is too large. */
static bool as_doubles(ig_tr *r, ig_tval a, ig_tval b, double *x, double *y)
{
    *x = ig_tn_double(a);
    *y = ig_tn_double(b);
    if ((a.kind == TV_BIG && isinf(*x)) || (b.kind == TV_BIG && isinf(*y)))
        return TR_WRONG(r, "the whole number is too large for a float"), false;
    return true;
}

static double python_mod(double x, double y, double *floor_div)
{
    double m = fmod(x, y), d;
    if (m != 0) {
        if ((y < 0) != (m < 0)) m += y;
    } else {
        m = copysign(0, y);
    }
    d = (x - m) / y;
    *floor_div = d != 0 ? floor(d) : copysign(0, x / y);
    if (d != 0 && d - *floor_div > 0.5) *floor_div += 1;
    return m;
}

static ig_tval float_power(ig_tr *r, double x, double y)
{
    if (x == 0 && y < 0) return TR_WRONG(r, "division by zero");
    double p = pow(x, y);
    if (isnan(p) && !isnan(x) && !isnan(y)) return TR_WRONG(r, "the power is not a real number");
    if (isinf(p) && !isinf(x) && !isinf(y)) return TR_WRONG(r, "the power is too large");
    return ig_tv_float(p);
}

static ig_tval arith_float(ig_tr *r, unsigned op, ig_tval a, ig_tval b)
{
    double x, y, d;
    if (!as_doubles(r, a, b, &x, &y)) return (ig_tval){0};
    if (y == 0 && (op == '/' || op == '%' || op == OP2('/', '/'))) return TR_WRONG(r, "division by zero");
    switch (op) {
    case '+': return ig_tv_float(x + y);
    case '-': return ig_tv_float(x - y);
    case '*': return ig_tv_float(x * y);
    case '/': return ig_tv_float(x / y);
    case '%': return ig_tv_float(python_mod(x, y, &d));
    case OP2('/', '/'): (void)python_mod(x, y, &d); return ig_tv_float(d);
    default: return float_power(r, x, y);
    }
}

/* Steps for limbs times limbs. */
static bool charge(ig_tr *r, ig_tval a, ig_tval b, uint64_t factor)
{
    uint64_t n = a.kind == TV_BIG ? ((const ig_tbig *)a.u.p)->n : 3,
             m = b.kind == TV_BIG ? ((const ig_tbig *)b.u.p)->n : 3;
    return ig_tr_step(r, n * m * factor / 8);
}

static ig_tval int_power(ig_tr *r, ig_tval a, ig_tval b)
{
    if (b.kind == TV_BIG) return ig_tr_no_memory(r);
    int64_t e = b.u.i;
    if (e < 0) return arith_float(r, OP2('*', '*'), a, b);
    ig_tval result = ig_tv_int(1);
    if (a.kind == TV_INT && (a.u.i == 0 || a.u.i == 1)) return e == 0 ? result : a;
    if (a.kind == TV_INT && a.u.i == -1) return ig_tv_int(e & 1 ? -1 : 1);
    if (e > 15000) return TR_WRONG(r, "the number has more than 4300 digits");
    for (;; e >>= 1) {
        if (!charge(r, a, a, 2)) return (ig_tval){0};
        if (e & 1) result = ig_tn_mul(&r->arena, result, a);
        if (e <= 1 || !result.kind) break;
        a = ig_tn_mul(&r->arena, a, a);
        if (!a.kind) return TR_WRONG(r, "the number has more than 4300 digits");
    }
    return result.kind ? result : TR_WRONG(r, "the number has more than 4300 digits");
}

static ig_tval int_divide(ig_tr *r, unsigned op, ig_tval a, ig_tval b)
{
    if (b.kind == TV_INT && b.u.i == 0) return TR_WRONG(r, "division by zero");
    if (a.kind == TV_INT && b.kind == TV_INT && !(a.u.i == INT64_MIN && b.u.i == -1)) {
        int64_t q = a.u.i / b.u.i, m = a.u.i % b.u.i;
        if (m && (m < 0) != (b.u.i < 0)) q--, m += b.u.i;
        return ig_tv_int(op == '%' ? m : q);
    }
    ig_tval q, m;
    if (!charge(r, a, b, 32) || !ig_tn_divmod(&r->arena, a, b, &q, &m)) return ig_tr_no_memory(r);
    return op == '%' ? m : q;
}

static ig_tval arith_int(ig_tr *r, unsigned op, ig_tval a, ig_tval b)
{
    int64_t i;
    bool small = a.kind == TV_INT && b.kind == TV_INT;
    ig_tval v;
    switch (op) {
    case '+':
        if (small && !__builtin_add_overflow(a.u.i, b.u.i, &i)) return ig_tv_int(i);
        v = ig_tn_add(&r->arena, a, b);
        break;
    case '-':
        if (small && !__builtin_sub_overflow(a.u.i, b.u.i, &i)) return ig_tv_int(i);
        v = ig_tn_sub(&r->arena, a, b);
        break;
    case '*':
        if (small && !__builtin_mul_overflow(a.u.i, b.u.i, &i)) return ig_tv_int(i);
        if (!charge(r, a, b, 1)) return (ig_tval){0};
        v = ig_tn_mul(&r->arena, a, b);
        break;
    case '/': return arith_float(r, op, a, b);
    case OP2('*', '*'): return int_power(r, a, b);
    default: return int_divide(r, op, a, b);
    }
    return v.kind ? v : TR_WRONG(r, "the number has more than 4300 digits");
}

ig_tval ig_tr_arith(ig_tr *r, unsigned op, ig_tval a, ig_tval b)
{
    if (a.kind == TV_STR && op == '%') return ig_tr_percent(r, a, b);
    if (tv_is_number(a) && tv_is_number(b)) {
        if (a.kind == TV_FLOAT || b.kind == TV_FLOAT) return arith_float(r, op, a, b);
        if (a.kind == TV_BOOL) a = ig_tv_int(a.u.b);
        if (b.kind == TV_BOOL) b = ig_tv_int(b.u.b);
        return arith_int(r, op, a, b);
    }
    if (op == '+' && a.kind == TV_STR && b.kind == TV_STR) return add_texts(r, a, b);
    if (op == '+' && tv_is_seq(a) && a.kind == b.kind) return add_lists(r, a, b);
    bool whole_a = a.kind >= TV_BOOL && a.kind <= TV_BIG, whole_b = b.kind >= TV_BOOL && b.kind <= TV_BIG;
    if (op == '*' && (a.kind == TV_STR || tv_is_seq(a)) && whole_b) return repeat(r, a, b);
    if (op == '*' && (b.kind == TV_STR || tv_is_seq(b)) && whole_a) return repeat(r, b, a);
    return wrong_types(r, op, a, b);
}

ig_tval ig_tr_negate(ig_tr *r, ig_tval v)
{
    if (v.kind == TV_FLOAT) return ig_tv_float(-v.u.f);
    if (tv_is_number(v)) return ig_tr_arith(r, '-', ig_tv_int(0), v);
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v);
    return TR_WRONG(r, "the sign - does not work on %s", ig_tv_type(v));
}
