/* Expressions: one small function a kind of node, chosen from a table. */
#include "text/template/run.h"

static ig_tval eval_const(ig_tr *r, const ig_tnode *n)
{
    (void)r;
    return n->val;
}

static ig_tval eval_name(ig_tr *r, const ig_tnode *n)
{
    for (const ig_tscope *s = r->scope; s != r->top; s = s->parent)
        for (uint32_t i = 0; i < s->n; i++)
            if (s->syms[i] == n->sym) return s->vals[i];
    if (r->top->vals[n->sym].kind) return r->top->vals[n->sym];
    int global = r->t->globals[n->sym];
    if (global >= 0 && ig_tr_global_defined(r, global)) return (ig_tval){.kind = TV_FUNC, .u.i = global};
    if (n->sym == r->t->sym_self && r->t->n_blocks) return (ig_tval){.kind = TV_BLOCKS, .u.p = (void *)(uintptr_t)r->t};
    return ig_tr_undef(r, UNDEF_NAME, n->name, (ig_tval){0});
}

/* The children of a node as an array of values; NULL on error. */
static ig_tval *eval_kids(ig_tr *r, const ig_tnode *n)
{
    ig_tval *items = ig_tr_alloc(r, n->n, sizeof *items);
    for (uint32_t i = 0; items && i < n->n; i++)
        if (!(items[i] = ig_tr_eval(r, n->k[i])).kind) return NULL;
    return items;
}

static ig_tval eval_list(ig_tr *r, const ig_tnode *n)
{
    ig_tval *items = eval_kids(r, n);
    return items ? ig_tr_list(r, n->type == N_LIST ? TV_LIST : TV_TUPLE, items, n->n) : (ig_tval){0};
}

static ig_tval eval_dict(ig_tr *r, const ig_tnode *n)
{
    ig_tdict *d = ig_td_new(&r->arena, n->n / 2);
    if (!d) return ig_tr_no_memory(r);
    for (uint32_t i = 0; i < n->n; i += 2) {
        ig_tval key = ig_tr_eval(r, n->k[i]), value = key.kind ? ig_tr_eval(r, n->k[i + 1]) : key;
        if (!value.kind) return value;
        if (!ig_tv_hashable(key)) return TR_WRONG(r, "%s cannot be the key of a dict", ig_tv_type(key));
        if (!ig_td_set(&r->arena, d, key, value)) return ig_tr_no_memory(r);
    }
    return tv_ptr(TV_DICT, d);
}

static ig_tval eval_arith(ig_tr *r, const ig_tnode *n)
{
    ig_tval v = ig_tr_eval(r, n->k[0]);
    for (uint32_t i = 1; v.kind && i < n->n; i++) {
        ig_tval other = ig_tr_eval(r, n->k[i]);
        v = other.kind && ig_tr_step(r, 1) ? ig_tr_arith(r, n->ops[i - 1], v, other) : (ig_tval){0};
    }
    return v;
}

static ig_tval eval_concat(ig_tr *r, const ig_tnode *n)
{
    ig_tval *items = eval_kids(r, n);
    if (!items) return (ig_tval){0};
    size_t mark = ig_tr_mark(r);
    for (uint32_t i = 0; i < n->n; i++)
        if (!ig_tr_add_text(r, items[i])) break;
    return ig_tr_take(r, mark, false);
}

static int compare(ig_tr *r, unsigned op, ig_tval a, ig_tval b)
{
    int e;
    switch (op) {
    case OP2('=', '='): return ig_tr_equal(r, a, b);
    case OP2('!', '='): return (e = ig_tr_equal(r, a, b)) < 0 ? e : !e;
    case 'i': return ig_tr_contains(r, a, b);
    case 'n': return (e = ig_tr_contains(r, a, b)) < 0 ? e : !e;
    case '<': return ig_tr_less(r, a, b);
    case '>': return ig_tr_less(r, b, a);
    default: break; /* <= and >= */
    }
    if (op == OP2('>', '=')) {
        ig_tval t = a;
        a = b;
        b = t;
    }
    e = ig_tr_less(r, a, b);
    return e ? e : ig_tr_equal(r, a, b);
}

static ig_tval eval_compare(ig_tr *r, const ig_tnode *n)
{
    ig_tval left = ig_tr_eval(r, n->k[0]);
    for (uint32_t i = 1; left.kind && i < n->n; i++) {
        ig_tval right = ig_tr_eval(r, n->k[i]);
        int yes = right.kind ? compare(r, n->ops[i - 1], left, right) : -1;
        if (yes < 0) return (ig_tval){0};
        if (!yes) return ig_tv_bool(false);
        left = right;
    }
    return left.kind ? ig_tv_bool(true) : left;
}

static ig_tval eval_logic(ig_tr *r, const ig_tnode *n)
{
    ig_tval v = {0};
    for (uint32_t i = 0; i < n->n; i++) {
        v = ig_tr_eval(r, n->k[i]);
        if (!v.kind || ig_tr_truth(v) == (n->type == N_OR)) break;
    }
    return v;
}

static ig_tval eval_not(ig_tr *r, const ig_tnode *n)
{
    ig_tval v = ig_tr_eval(r, n->k[0]);
    return v.kind ? ig_tv_bool(ig_tr_truth(v) != n->flag) : v;
}

static ig_tval eval_sign(ig_tr *r, const ig_tnode *n)
{
    ig_tval v = ig_tr_eval(r, n->k[0]);
    if (!v.kind || n->type == N_NEG) return v.kind ? ig_tr_negate(r, v) : v;
    return ig_tr_arith(r, '+', ig_tv_int(0), v);
}

static ig_tval eval_cond(ig_tr *r, const ig_tnode *n)
{
    for (;;) { /* the else part may be the next condition */
        ig_tval c = ig_tr_eval(r, n->k[1]);
        if (!c.kind) return c;
        if (ig_tr_truth(c)) return ig_tr_eval(r, n->k[0]);
        if (!n->k[2])
            return ig_tr_undef(r, UNDEF_TEXT, IG_STR("the condition of an inline if is false and it has no else"),
                               (ig_tval){0});
        if (n->k[2]->type != N_COND) return ig_tr_eval(r, n->k[2]);
        n = n->k[2];
    }
}

static ig_tval eval_attr(ig_tr *r, const ig_tnode *n)
{
    ig_tval of = ig_tr_eval(r, n->k[0]);
    return of.kind ? ig_tr_get_attr(r, of, n->val) : of;
}

static ig_tval eval_item(ig_tr *r, const ig_tnode *n)
{
    ig_tval of = ig_tr_eval(r, n->k[0]), index = of.kind ? ig_tr_eval(r, n->k[1]) : of;
    return index.kind ? ig_tr_get_item(r, of, index) : index;
}

static ig_tval eval_slice(ig_tr *r, const ig_tnode *n)
{
    ig_tval v[4];
    for (int i = 0; i < 4; i++) {
        v[i] = n->k[i] ? ig_tr_eval(r, n->k[i]) : ig_tv_none();
        if (!v[i].kind) return v[i];
    }
    return ig_tr_get_slice(r, v[0], v[1], v[2], v[3]);
}

/* --------------------------------------------------------------------------------------------------- calls */

typedef struct kwargs {
    ig_tkwarg *kw;
    size_t n, cap;
} kwargs;

static bool push_kw(ig_tr *r, kwargs *list, ig_str name, ig_tval value)
{
    for (size_t i = 0; i < list->n; i++)
        if (ig_str_eq(list->kw[i].name, name))
            return TR_WRONG(r, "the argument %.*s is given twice", IG_STR_ARG(name)), false;
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        ig_tkwarg *kw = ig_tr_alloc(r, cap, sizeof *kw);
        if (!kw) return false;
        if (list->n) memcpy(kw, list->kw, list->n * sizeof *kw);
        list->kw = kw;
        list->cap = cap;
    }
    if (!ig_tr_step(r, list->n / 4)) return false;
    list->kw[list->n++] = (ig_tkwarg){name, value};
    return true;
}

static bool spread(ig_tr *r, ig_tvec *pos, kwargs *kw, const ig_targ *arg, ig_tval v)
{
    const ig_tval *items;
    size_t n;
    if (arg->how == ARG_STAR) {
        if (!ig_tr_items(r, v, &items, &n)) return false;
        for (size_t i = 0; i < n; i++)
            if (!ig_tr_push(r, pos, items[i])) return false;
        return true;
    }
    if (v.kind != TV_DICT) return TR_WRONG(r, "** needs a dict, not %s", ig_tv_type(v)), false;
    for (uint32_t i = 0; i < tv_d(v)->n; i++) {
        const ig_tentry *e = &tv_d(v)->e[i];
        if (e->key.kind != TV_STR) return TR_WRONG(r, "** needs a dict whose keys are strings"), false;
        if (!push_kw(r, kw, tv_str(e->key), e->value)) return false;
    }
    return true;
}

bool ig_tr_eval_args(ig_tr *r, const ig_tnode *n, ig_targs *out)
{
    ig_tvec pos = {0};
    kwargs kw = {0};
    for (uint32_t i = 0; i < n->n_args; i++) {
        const ig_targ *a = &n->args[i];
        ig_tval v = ig_tr_eval(r, a->value);
        bool ok = v.kind != TV_FAIL;
        if (ok && a->how == ARG_POS)
            ok = ig_tr_push(r, &pos, v);
        else if (ok && a->how == ARG_KEY)
            ok = push_kw(r, &kw, a->name, v);
        else if (ok)
            ok = spread(r, &pos, &kw, a, v);
        if (!ok) return false;
    }
    static const ig_tval none[1];
    *out = (ig_targs){.pos = pos.v ? pos.v : none, .n = pos.n, .kw = kw.kw, .n_kw = kw.n};
    return true;
}

static ig_tval eval_call(ig_tr *r, const ig_tnode *n)
{
    ig_targs args;
    ig_tval f = ig_tr_eval(r, n->k[0]);
    if (!f.kind || !ig_tr_eval_args(r, n, &args)) return (ig_tval){0};
    r->line = n->line;
    return ig_tr_call(r, f, &args, NULL);
}

ig_tval ig_tr_apply(ig_tr *r, const ig_tnode *n, ig_tval v)
{
    ig_targs args;
    if (!v.kind || !ig_tr_eval_args(r, n, &args)) return (ig_tval){0};
    r->line = n->line;
    if (!n->def) return ig_tr_fail(r, IG_UNSUPPORTED, "there is no filter \"%.*s\"", IG_STR_ARG(n->name));
    return ig_tr_step(r, 1) ? ig_tr_filter(r, n->def, v, &args) : (ig_tval){0};
}

static ig_tval eval_filter(ig_tr *r, const ig_tnode *n) { return ig_tr_apply(r, n, ig_tr_eval(r, n->k[0])); }

static ig_tval eval_test(ig_tr *r, const ig_tnode *n)
{
    ig_targs args;
    ig_tval v = ig_tr_eval(r, n->k[0]);
    if (!v.kind || !ig_tr_eval_args(r, n, &args)) return (ig_tval){0};
    if (!n->def) return ig_tr_fail(r, IG_UNSUPPORTED, "there is no test \"%.*s\"", IG_STR_ARG(n->name));
    int yes = ig_tr_test(r, n->def, v, &args);
    return yes < 0 ? (ig_tval){0} : ig_tv_bool(yes != n->flag);
}

static ig_tval (*const evals[N_TYPES])(ig_tr *, const ig_tnode *) = {
    [N_CONST] = eval_const, [N_NAME] = eval_name,   [N_LIST] = eval_list,     [N_TUPLE] = eval_list,
    [N_DICT] = eval_dict,   [N_ARITH] = eval_arith, [N_CONCAT] = eval_concat, [N_COMPARE] = eval_compare,
    [N_AND] = eval_logic,   [N_OR] = eval_logic,    [N_NOT] = eval_not,       [N_NEG] = eval_sign,
    [N_POS] = eval_sign,    [N_COND] = eval_cond,   [N_ATTR] = eval_attr,     [N_ITEM] = eval_item,
    [N_SLICE] = eval_slice, [N_CALL] = eval_call,   [N_FILTER] = eval_filter, [N_TEST] = eval_test,
};

ig_tval ig_tr_eval(ig_tr *r, const ig_tnode *n)
{
    if (!ig_tr_enter(r)) return (ig_tval){0};
    r->line = n->line;
    ig_tval v = evals[n->type](r, n);
    r->depth--;
    return v;
}
