/* Statements: output, conditions, loops, assignments, and captured blocks. */
#include "text/template/run.h"

ig_tscope *ig_tr_new_scope(ig_tr *r, ig_tscope *parent)
{
    ig_tscope *s = ig_tr_alloc(r, 1, sizeof *s);
    if (s) s->parent = parent;
    return s;
}

bool ig_tr_set(ig_tr *r, ig_tscope *s, uint32_t sym, ig_tval v)
{
    if (!v.kind) return false;
    if (s == r->top) return s->vals[sym] = v, true;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->syms[i] == sym) return s->vals[i] = v, true;
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 4;
        uint32_t *syms = ig_tr_alloc(r, cap, sizeof *syms);
        ig_tval *vals = ig_tr_alloc(r, cap, sizeof *vals);
        if (!syms || !vals) return false;
        for (uint32_t i = 0; i < s->n; i++) syms[i] = s->syms[i], vals[i] = s->vals[i];
        s->syms = syms;
        s->vals = vals;
        s->cap = cap;
    }
    s->syms[s->n] = sym;
    s->vals[s->n++] = v;
    return true;
}

static bool assign_namespace(ig_tr *r, const ig_tnode *target, ig_tval v)
{
    ig_tnode name = {.type = N_NAME, .line = target->line, .sym = target->sym, .name = r->t->names[target->sym]};
    ig_tval ns = ig_tr_eval(r, &name);
    if (!ns.kind) return false;
    if (ns.kind != TV_NS)
        return TR_WRONG(r, "only a namespace has attributes that can be set, not %s", ig_tv_type(ns)), false;
    return ig_td_set(&r->arena, tv_d(ns), target->val, v) || ig_tr_no_memory(r).kind;
}

bool ig_tr_assign(ig_tr *r, const ig_tnode *target, ig_tval v)
{
    if (!v.kind) return false;
    if (target->type == N_NAME) return ig_tr_set(r, r->scope, target->sym, v);
    if (target->type == N_NSREF) return assign_namespace(r, target, v);
    const ig_tval *items;
    size_t n;
    if (v.kind == TV_UNDEF || !ig_tr_items(r, v, &items, &n) || n != target->n) {
        r->line = target->line;
        TR_WRONG(r, "cannot unpack %s into %u names", ig_tv_type(v), target->n);
        return false;
    }
    if (!ig_tr_enter(r)) return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < target->n; i++) ok = ig_tr_assign(r, target->k[i], items[i]);
    r->depth--;
    return ok;
}

static bool print_text(ig_tr *r, ig_str s)
{
    if (!ig_tr_step(r, s.len / 64)) return false;
    if (ig_buf_add(&r->out, s.ptr, s.len)) return true;
    ig_tr_fail(r, IG_TOO_LARGE, "the output is longer than %zu bytes", r->out.max_bytes);
    return false;
}

bool ig_tr_print(ig_tr *r, ig_tval v, bool escape)
{
    if (v.kind == TV_STR && (!escape || tv_s(v)->markup)) return print_text(r, tv_str(v));
    size_t mark = ig_tr_mark(r);
    bool ok = escape ? ig_tr_add_escaped(r, v) : ig_tr_add_text(r, v);
    ok = ok && print_text(r, ig_tr_peek(r, mark));
    ig_tr_drop(r, mark);
    return ok;
}

static ig_tflow flow_of(bool ok) { return ok ? FLOW_ON : FLOW_FAIL; }

static ig_tflow exec_data(ig_tr *r, const ig_tnode *n) { return flow_of(print_text(r, n->name)); }

static ig_tflow exec_print(ig_tr *r, const ig_tnode *n)
{
    for (uint32_t i = 0; i < n->n; i++) {
        ig_tval v = ig_tr_eval(r, n->k[i]);
        if (!v.kind || !ig_tr_print(r, v, n->flag)) return FLOW_FAIL;
    }
    return FLOW_ON;
}

static ig_tflow exec_body(ig_tr *r, const ig_tnode *n)
{
    ig_tflow flow = FLOW_ON;
    for (uint32_t i = 0; flow == FLOW_ON && i < n->n; i++) flow = ig_tr_exec(r, n->k[i]);
    return flow;
}

static ig_tflow exec_if(ig_tr *r, const ig_tnode *n)
{
    uint32_t i = 0;
    for (; i + 1 < n->n; i += 2) {
        ig_tval c = ig_tr_eval(r, n->k[i]);
        if (!c.kind) return FLOW_FAIL;
        if (ig_tr_truth(c)) return ig_tr_exec(r, n->k[i + 1]);
    }
    return i < n->n ? ig_tr_exec(r, n->k[i]) : FLOW_ON;
}

/* A body with a scope of its own. */
static ig_tflow exec_in(ig_tr *r, const ig_tnode *body, ig_tscope *scope)
{
    ig_tscope *outer = r->scope;
    if (!scope) return FLOW_FAIL;
    r->scope = scope;
    ig_tflow flow = ig_tr_exec(r, body);
    r->scope = outer;
    return flow;
}

static ig_tflow exec_scope(ig_tr *r, const ig_tnode *n) { return exec_in(r, n->k[0], ig_tr_new_scope(r, r->scope)); }
static ig_tflow exec_block(ig_tr *r, const ig_tnode *n)
{
    return exec_in(r, n->k[0], ig_tr_new_scope(r, n->flag ? r->scope : r->top));
}

/* ---------------------------------------------------------------------------------------------------- loops */

/* The items for which the loop's filter holds. */
static bool select_items(ig_tr *r, const ig_tnode *n, ig_tloop *loop)
{
    ig_tvec kept = {0};
    ig_tscope *outer = r->scope, *scope = ig_tr_new_scope(r, outer);
    bool ok = scope != NULL;
    r->scope = scope;
    for (size_t i = 0; ok && i < loop->n; i++) {
        scope->n = 0;
        ok = ig_tr_assign(r, n->k[0], loop->items[i]);
        ig_tval c = ok ? ig_tr_eval(r, n->k[2]) : (ig_tval){0};
        ok = c.kind && (!ig_tr_truth(c) || ig_tr_push(r, &kept, loop->items[i]));
    }
    r->scope = outer;
    loop->items = kept.v;
    loop->n = kept.n;
    return ok;
}

static ig_tflow one_pass(ig_tr *r, ig_tloop *loop, ig_tscope *scope)
{
    const ig_tnode *n = loop->node;
    r->scope = scope;
    if (!ig_tr_set(r, scope, r->t->sym_loop, tv_ptr(TV_LOOP, loop))) return FLOW_FAIL;
    if (!ig_tr_assign(r, n->k[0], loop->items[loop->at])) return FLOW_FAIL;
    return ig_tr_exec(r, n->k[3]);
}

static ig_tflow run_loop(ig_tr *r, ig_tloop *loop)
{
    const ig_tnode *n = loop->node;
    ig_tscope *outer = r->scope, *scope = NULL;
    ig_tflow flow = FLOW_ON;
    if (n->k[2] && !select_items(r, n, loop)) return FLOW_FAIL;
    for (loop->at = 0; loop->at < loop->n && flow != FLOW_BREAK && flow != FLOW_FAIL; loop->at++) {
        if (!ig_tr_step(r, 1)) return FLOW_FAIL;
        if (scope && !n->op)
            scope->n = 0; /* nothing can hold on to the last pass */
        else if (!(scope = ig_tr_new_scope(r, outer)))
            return FLOW_FAIL;
        flow = one_pass(r, loop, scope);
    }
    r->scope = outer;
    if (flow == FLOW_FAIL) return flow;
    return loop->n == 0 && n->k[4] ? exec_in(r, n->k[4], ig_tr_new_scope(r, outer)) : FLOW_ON;
}

static ig_tloop *new_loop(ig_tr *r, const ig_tnode *n, ig_tval items, uint32_t depth0)
{
    ig_tloop *loop = ig_tr_alloc(r, 1, sizeof *loop);
    if (!loop) return NULL;
    *loop = (ig_tloop){.node = n, .scope = r->scope, .depth0 = depth0};
    return ig_tr_items(r, items, &loop->items, &loop->n) ? loop : NULL;
}

static ig_tflow exec_for(ig_tr *r, const ig_tnode *n)
{
    ig_tval v = ig_tr_eval(r, n->k[1]);
    ig_tloop *loop = v.kind ? new_loop(r, n, v, 0) : NULL;
    return loop ? run_loop(r, loop) : FLOW_FAIL;
}

/* Cuts off what has been printed since the output was `from` long. */
static ig_tval cut_output(ig_tr *r, size_t from, bool ok)
{
    ig_tval v = {0};
    if (ok) v = ig_tr_text(r, r->out.len > from ? r->out.ptr + from : "", r->out.len - from, false);
    r->out.len = from;
    return v;
}

ig_tval ig_tr_recurse(ig_tr *r, const ig_tloop *of, ig_tval items)
{
    ig_tscope *outer = r->scope;
    if (!of->node->flag) return TR_WRONG(r, "the loop is called but it is not marked \"recursive\"");
    r->scope = of->scope;
    size_t from = r->out.len;
    ig_tloop *loop = new_loop(r, of->node, items, of->depth0 + 1);
    bool ok = loop && ig_tr_enter(r);
    if (ok) {
        loop->scope = of->scope;
        ok = run_loop(r, loop) != FLOW_FAIL;
        r->depth--;
    }
    r->scope = outer;
    return cut_output(r, from, ok);
}

ig_tval ig_tr_capture(ig_tr *r, const ig_tnode *body, ig_tflow *flow)
{
    size_t from = r->out.len;
    *flow = ig_tr_exec(r, body);
    return cut_output(r, from, *flow == FLOW_ON);
}

/* ----------------------------------------------------------------------------------------------- assignments */

static ig_tflow exec_set(ig_tr *r, const ig_tnode *n)
{
    return flow_of(ig_tr_assign(r, n->k[0], ig_tr_eval(r, n->k[1])));
}

/* Applies a chain of filters whose innermost node has no operand. */
static ig_tval apply_chain(ig_tr *r, const ig_tnode *n, ig_tval v)
{
    if (!n || !v.kind) return v;
    if (n->type != N_FILTER) return TR_WRONG(r, "only filters can stand here");
    if (n->k[0]) {
        if (!ig_tr_enter(r)) return (ig_tval){0};
        v = apply_chain(r, n->k[0], v);
        r->depth--;
    }
    return ig_tr_apply(r, n, v);
}

/* Output of a body in a scope of its own; *flow is not FLOW_ON when the body was left early. */
static ig_tval captured(ig_tr *r, const ig_tnode *body, bool escape, ig_tflow *flow)
{
    ig_tscope *outer = r->scope;
    *flow = FLOW_FAIL;
    if (!(r->scope = ig_tr_new_scope(r, outer))) return r->scope = outer, (ig_tval){0};
    ig_tval v = ig_tr_capture(r, body, flow);
    r->scope = outer;
    if (v.kind && escape) v = ig_tr_slice(r, tv_s(v)->p, tv_s(v)->n, true);
    return v;
}

static ig_tflow exec_set_block(ig_tr *r, const ig_tnode *n)
{
    ig_tflow flow;
    ig_tval v = captured(r, n->k[1], n->flag, &flow);
    if (flow != FLOW_ON) return flow;
    return flow_of(ig_tr_assign(r, n->k[0], apply_chain(r, n->k[2], v)));
}

static ig_tflow exec_filter(ig_tr *r, const ig_tnode *n)
{
    ig_tflow flow;
    ig_tval v = captured(r, n->k[1], n->flag, &flow);
    if (flow != FLOW_ON) return flow;
    v = apply_chain(r, n->k[0], v);
    return flow_of(v.kind && ig_tr_print(r, v, false));
}

static ig_tflow exec_with(ig_tr *r, const ig_tnode *n)
{
    ig_tscope *outer = r->scope, *inner = ig_tr_new_scope(r, outer);
    bool ok = inner != NULL;
    for (uint32_t i = 0; ok && i + 1 < n->n; i += 2) {
        ig_tval v = ig_tr_eval(r, n->k[i + 1]); /* outside: they do not see each other */
        r->scope = inner;
        ok = ig_tr_assign(r, n->k[i], v);
        r->scope = outer;
    }
    return ok ? exec_in(r, n->k[n->n - 1], inner) : FLOW_FAIL;
}

static ig_tmacro *make_macro(ig_tr *r, const ig_tmacro_def *def)
{
    ig_tmacro *m = ig_tr_alloc(r, 1, sizeof *m);
    if (m) *m = (ig_tmacro){.def = def, .scope = r->scope};
    return m;
}

static ig_tflow exec_macro(ig_tr *r, const ig_tnode *n)
{
    return flow_of(ig_tr_set(r, r->scope, n->macro->sym, tv_ptr(TV_MACRO, make_macro(r, n->macro))));
}

static ig_tflow exec_call(ig_tr *r, const ig_tnode *n)
{
    const ig_tnode *call = n->k[0];
    ig_targs args;
    ig_tmacro *caller = make_macro(r, n->macro);
    ig_tval f = caller ? ig_tr_eval(r, call->k[0]) : (ig_tval){0};
    if (!f.kind || !ig_tr_eval_args(r, call, &args)) return FLOW_FAIL;
    r->line = n->line;
    ig_tval v = ig_tr_call(r, f, &args, caller);
    return flow_of(v.kind && ig_tr_print(r, v, n->flag));
}

static ig_tflow exec_break(ig_tr *r, const ig_tnode *n) { return (void)r, (void)n, FLOW_BREAK; }
static ig_tflow exec_continue(ig_tr *r, const ig_tnode *n) { return (void)r, (void)n, FLOW_CONTINUE; }

static ig_tflow exec_refuse(ig_tr *r, const ig_tnode *n)
{
    ig_tr_fail(r, IG_UNSUPPORTED, "{%% %.*s %%} is not supported: a chat template stands alone", IG_STR_ARG(n->name));
    return FLOW_FAIL;
}

static ig_tflow (*const execs[N_TYPES])(ig_tr *, const ig_tnode *) = {
    [S_DATA] = exec_data,   [S_PRINT] = exec_print,   [S_BODY] = exec_body,           [S_IF] = exec_if,
    [S_FOR] = exec_for,     [S_SET] = exec_set,       [S_SET_BLOCK] = exec_set_block, [S_MACRO] = exec_macro,
    [S_CALL] = exec_call,   [S_FILTER] = exec_filter, [S_WITH] = exec_with,           [S_SCOPE] = exec_scope,
    [S_BLOCK] = exec_block, [S_BREAK] = exec_break,   [S_CONTINUE] = exec_continue,   [S_REFUSE] = exec_refuse,
};

ig_tflow ig_tr_exec(ig_tr *r, const ig_tnode *n)
{
    if (!ig_tr_enter(r)) return FLOW_FAIL;
    r->line = n->line;
    ig_tflow flow = execs[n->type](r, n);
    r->depth--;
    return flow;
}
