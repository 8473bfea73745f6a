/* Tests: what stands behind "is". */
#include "text/template/filters.h"
#include "text/template/run.h"
#include "text/template/text.h"

typedef struct ig_test {
    const char *name;
    unsigned n_args;
    unsigned flag;
    int (*call)(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a); /* 1, 0, -1 for an error */
} ig_test;

/* flag: one bit for each kind for which the test holds */
static int is_kind(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    return (void)r, (void)a, flag >> v.kind & 1;
}
static int is_not_kind(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    return (void)r, (void)a, !(flag >> v.kind & 1);
}
static int is_bool(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    return (void)r, (void)a, v.kind == TV_BOOL && v.u.b == (flag != 0);
}
static int is_macro_like(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    return (void)r, (void)a, (void)flag,
           v.kind == TV_UNDEF || v.kind == TV_LOOP || (v.kind >= TV_MACRO && v.kind <= TV_METHOD) ||
               v.kind == TV_JOINER;
}

/* flag: the operator as in the syntax tree; 's' same as */
static int is_compared(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    int e;
    switch (flag) {
    case '=': return ig_tr_equal(r, v, a[0]);
    case '!': return (e = ig_tr_equal(r, v, a[0])) < 0 ? e : !e;
    case '<': return ig_tr_less(r, v, a[0]);
    case '>': return ig_tr_less(r, a[0], v);
    case 'l': return (e = ig_tr_less(r, v, a[0])) ? e : ig_tr_equal(r, v, a[0]);
    case 'g': return (e = ig_tr_less(r, a[0], v)) ? e : ig_tr_equal(r, v, a[0]);
    case 'i': return ig_tr_contains(r, v, a[0]);
    default: break;
    }
    if (v.kind != a[0].kind) return 0;
    if (v.kind == TV_NONE || v.kind <= TV_FLOAT)
        return v.kind == TV_UNDEF ? v.u.p == a[0].u.p : ig_tr_equal(r, v, a[0]);
    return v.kind == TV_STR ? ig_str_eq(tv_str(v), tv_str(a[0])) : v.u.p == a[0].u.p;
}

/* flag: the remainder asked for; 2: divisible by the argument */
static int is_divisible(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    ig_tval m = ig_tr_arith(r, '%', v, flag == 2 ? a[0] : ig_tv_int(2));
    return m.kind ? ig_tr_equal(r, m, ig_tv_int(flag == 1)) : -1;
}

static int is_case(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    (void)a;
    ig_tval s = ig_tr_to_text(r, v);
    const ig_tmethod m = {.object = s,
                          .method = s.kind ? ig_method_find(s, flag ? IG_STR("isupper") : IG_STR("islower")) : NULL};
    if (!s.kind) return -1;
    ig_tval yes = ig_tr_call_method(r, &m, &(ig_targs){0});
    return yes.kind ? yes.u.b : -1;
}

static int is_escaped(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    return (void)r, (void)flag, (void)a, v.kind == TV_STR && tv_s(v)->markup;
}

/* flag: 1 test, 0 filter */
static int is_known(ig_tr *r, unsigned flag, ig_tval v, const ig_tval *a)
{
    (void)r, (void)a;
    if (v.kind != TV_STR) return 0;
    return flag ? ig_test_find(tv_str(v)) != NULL : ig_filter_find(tv_str(v)) != NULL;
}

#define K(kind) (1u << (kind))
enum {
    ITERABLE = K(TV_UNDEF) | K(TV_STR) | K(TV_LIST) | K(TV_TUPLE) | K(TV_GEN) | K(TV_DICT) | K(TV_VIEW) | K(TV_RANGE) |
               K(TV_LOOP),
    SEQUENCE = K(TV_UNDEF) | K(TV_STR) | K(TV_LIST) | K(TV_TUPLE) | K(TV_DICT) | K(TV_RANGE),
    WHOLE = K(TV_INT) | K(TV_BIG),
};

static const ig_test tests[] = {
    {"defined", 0, K(TV_UNDEF), is_not_kind},
    {"undefined", 0, K(TV_UNDEF), is_kind},
    {"none", 0, K(TV_NONE), is_kind},
    {"string", 0, K(TV_STR), is_kind},
    {"mapping", 0, K(TV_DICT), is_kind},
    {"iterable", 0, ITERABLE, is_kind},
    {"sequence", 0, SEQUENCE, is_kind},
    {"boolean", 0, K(TV_BOOL), is_kind},
    {"true", 0, 1, is_bool},
    {"false", 0, 0, is_bool},
    {"number", 0, K(TV_BOOL) | WHOLE | K(TV_FLOAT), is_kind},
    {"integer", 0, WHOLE, is_kind},
    {"float", 0, K(TV_FLOAT), is_kind},
    {"callable", 0, 0, is_macro_like},
    {"odd", 0, 1, is_divisible},
    {"even", 0, 0, is_divisible},
    {"divisibleby", 1, 2, is_divisible},
    {"eq", 1, '=', is_compared},
    {"equalto", 1, '=', is_compared},
    {"==", 1, '=', is_compared},
    {"ne", 1, '!', is_compared},
    {"!=", 1, '!', is_compared},
    {"lt", 1, '<', is_compared},
    {"lessthan", 1, '<', is_compared},
    {"<", 1, '<', is_compared},
    {"gt", 1, '>', is_compared},
    {"greaterthan", 1, '>', is_compared},
    {">", 1, '>', is_compared},
    {"le", 1, 'l', is_compared},
    {"<=", 1, 'l', is_compared},
    {"ge", 1, 'g', is_compared},
    {">=", 1, 'g', is_compared},
    {"in", 1, 'i', is_compared},
    {"sameas", 1, 's', is_compared},
    {"lower", 0, 0, is_case},
    {"upper", 0, 1, is_case},
    {"escaped", 0, 0, is_escaped},
    {"filter", 0, 0, is_known},
    {"test", 0, 1, is_known},
};

const ig_test *ig_test_find(ig_str name)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (ig_str_is(name, tests[i].name)) return &tests[i];
    return NULL;
}

int ig_tr_test(ig_tr *r, const ig_test *t, ig_tval v, const ig_targs *args)
{
    size_t n = args->n + args->n_kw;
    if (n != t->n_args) return TR_WRONG(r, "test %s takes %u arguments, got %zu", t->name, t->n_args, n), -1;
    const ig_tval none[1] = {{0}};
    return t->call(r, t->flag, v, args->n ? args->pos : n ? &args->kw[0].value : none);
}
