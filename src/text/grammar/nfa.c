/* Syntax trees, sets of code points, and the nondeterministic automata made from them. */
#include "auto.h"
#include "base/sort.h"

gr_ast *gr_ast_new(gr_cc *cc, gr_ast_kind kind)
{
    gr_ast *a = gr_new(cc, 1, sizeof *a);
    if (a) a->kind = kind;
    return a;
}

void gr_ast_add(gr_ast *parent, gr_ast *child)
{
    if (!parent || !child) return;
    if (parent->last)
        parent->last->next = child;
    else
        parent->child = child;
    parent->last = child;
}

gr_ast *gr_ast_repeat(gr_cc *cc, gr_ast *child, uint32_t min, uint32_t max)
{
    gr_ast *a = gr_ast_new(cc, GR_AST_REPEAT);
    if (!a) return NULL;
    a->min = min, a->max = max;
    gr_ast_add(a, child);
    return a;
}

void gr_set_add(gr_cc *cc, gr_set *set, uint32_t lo, uint32_t hi)
{
    if (!gr_grow(cc, (void **)&set->ranges, set->n, &set->cap, sizeof *set->ranges)) return;
    set->ranges[set->n++] = (gr_range){lo, hi};
}

static bool range_before(const void *a, const void *b, const void *ctx)
{
    const gr_range *x = a, *y = b;
    (void)ctx;
    return x->lo != y->lo ? x->lo < y->lo : x->hi < y->hi;
}

void gr_set_negate(gr_cc *cc, gr_set *set)
{
    gr_set out = {0};
    uint32_t at = 0;
    ig_sort(set->ranges, set->n, sizeof *set->ranges, range_before, NULL);
    for (uint32_t i = 0; i < set->n; i++) {
        if (set->ranges[i].lo > at) gr_set_add(cc, &out, at, set->ranges[i].lo - 1);
        if (set->ranges[i].hi + 1 > at) at = set->ranges[i].hi + 1;
    }
    if (at <= GR_CP_MAX) gr_set_add(cc, &out, at, GR_CP_MAX);
    *set = out;
}

uint32_t gr_sets_add(gr_cc *cc, gr_sets *sets, gr_set set)
{
    if (!gr_grow(cc, (void **)&sets->sets, sets->n, &sets->cap, sizeof *sets->sets)) return 0;
    sets->sets[sets->n] = set;
    return sets->n++;
}

typedef struct maker {
    gr_cc *cc;
    gr_nfa *nfa;
    gr_ast *const *rules;
    const bool *inline_call;
    unsigned depth;
} maker;

static uint32_t add_state(maker *m, gr_edge kind, uint32_t to, uint32_t or)
{
    gr_nfa *n = m->nfa;
    if (n->n >= GR_NFA_MAX) {
        gr_fail(m->cc, IG_TOO_LARGE, "repetitions make more than %u states; make the counts smaller",
                (unsigned)GR_NFA_MAX);
        return 0;
    }
    if (!gr_grow(m->cc, (void **)&n->states, n->n, &n->cap, sizeof *n->states)) return 0;
    n->states[n->n] = (gr_nfa_state){kind, 0, to, or };
    return n->n++;
}

/* Adds the states of tree after state `from`, whose edge is still open (EDGE_NONE); returns the new open state. */
static uint32_t emit(maker *m, const gr_ast *tree, uint32_t from);

static void connect(maker *m, uint32_t from, uint32_t to)
{
    gr_nfa_state *s = &m->nfa->states[from];
    s->kind = GR_EDGE_EPS, s->to = to, s->or = GR_NONE;
}

static uint32_t emit_alt(maker *m, const gr_ast *tree, uint32_t from)
{
    uint32_t end = add_state(m, GR_EDGE_NONE, 0, GR_NONE), fork = from;
    for (const gr_ast *c = tree->child; c && m->cc->st == IG_OK; c = c->next) {
        uint32_t head = add_state(m, GR_EDGE_NONE, 0, GR_NONE);
        uint32_t rest = c->next ? add_state(m, GR_EDGE_NONE, 0, GR_NONE) : GR_NONE;
        connect(m, fork, head);
        m->nfa->states[fork].or = rest;
        uint32_t tail = emit(m, c, head);
        if (m->cc->st == IG_OK) connect(m, tail, end);
        fork = rest;
    }
    return end;
}

static uint32_t emit_repeat(maker *m, const gr_ast *tree, uint32_t from)
{
    for (uint32_t i = 0; i < tree->min && m->cc->st == IG_OK; i++) from = emit(m, tree->child, from);
    if (tree->max == UINT32_MAX) {
        uint32_t loop = add_state(m, GR_EDGE_NONE, 0, GR_NONE), end = add_state(m, GR_EDGE_NONE, 0, GR_NONE);
        uint32_t head = add_state(m, GR_EDGE_NONE, 0, GR_NONE);
        if (m->cc->st != IG_OK) return 0;
        connect(m, from, loop);
        connect(m, loop, head);
        m->nfa->states[loop].or = end;
        uint32_t tail = emit(m, tree->child, head);
        if (m->cc->st == IG_OK) connect(m, tail, loop);
        return end;
    }
    if (tree->max <= tree->min) return from;
    uint32_t end = add_state(m, GR_EDGE_NONE, 0, GR_NONE);
    for (uint32_t i = tree->min; i < tree->max && m->cc->st == IG_OK; i++) {
        uint32_t head = add_state(m, GR_EDGE_NONE, 0, GR_NONE);
        if (m->cc->st != IG_OK) return 0;
        connect(m, from, head);
        m->nfa->states[from].or = end;
        from = emit(m, tree->child, head);
    }
    if (m->cc->st == IG_OK) connect(m, from, end);
    return end;
}

static uint32_t emit_edge(maker *m, gr_edge kind, uint32_t set, uint32_t from)
{
    uint32_t to = add_state(m, GR_EDGE_NONE, 0, GR_NONE);
    if (m->cc->st != IG_OK) return 0;
    m->nfa->states[from] = (gr_nfa_state){kind, set, to, GR_NONE};
    return to;
}

static uint32_t emit(maker *m, const gr_ast *tree, uint32_t from)
{
    static const gr_edge edges[] = {[GR_AST_SET] = GR_EDGE_SET,
                                    [GR_AST_BEGIN] = GR_EDGE_BEGIN,
                                    [GR_AST_END] = GR_EDGE_END,
                                    [GR_AST_CALL] = GR_EDGE_CALL};
    if (m->cc->st != IG_OK || !tree) return from;
    if (m->depth >= 4 * GR_DEPTH_MAX) {
        gr_fail(m->cc, IG_TOO_LARGE, "groups and rules are nested too deeply");
        return 0;
    }
    m->depth++;
    if (tree->kind == GR_AST_CAT) {
        for (const gr_ast *c = tree->child; c; c = c->next) from = emit(m, c, from);
    } else if (tree->kind == GR_AST_ALT) {
        from = emit_alt(m, tree, from);
    } else if (tree->kind == GR_AST_REPEAT) {
        from = emit_repeat(m, tree, from);
    } else if (tree->kind == GR_AST_CALL && m->inline_call && m->inline_call[tree->set]) {
        from = emit(m, m->rules[tree->set], from);
    } else {
        from = emit_edge(m, edges[tree->kind], tree->set, from);
    }
    m->depth--;
    return from;
}

bool gr_nfa_make(gr_cc *cc, const gr_ast *tree, const gr_sets *sets, gr_ast *const *rules, const bool *inline_call,
                 gr_nfa *out)
{
    maker m = {cc, out, rules, inline_call, 0};
    *out = (gr_nfa){.sets = sets};
    out->start = add_state(&m, GR_EDGE_NONE, 0, GR_NONE);
    out->end = cc->st == IG_OK ? emit(&m, tree, out->start) : 0;
    return cc->st == IG_OK;
}

static bool bound_before(const void *a, const void *b, const void *ctx)
{
    (void)ctx;
    return *(const uint32_t *)a < *(const uint32_t *)b;
}

/* All places where a range begins or ends, sorted, each once. */
static uint32_t collect_bounds(gr_cc *cc, const gr_sets *sets, uint32_t **out)
{
    uint32_t n = 1, m = 0;
    for (uint32_t s = 0; s < sets->n; s++) n += 2 * sets->sets[s].n;
    uint32_t *at = gr_new(cc, n, sizeof *at);
    if (!at) return 0;
    n = 1;
    for (uint32_t s = 0; s < sets->n; s++)
        for (uint32_t i = 0; i < sets->sets[s].n; i++) {
            at[n++] = sets->sets[s].ranges[i].lo;
            if (sets->sets[s].ranges[i].hi < GR_CP_MAX) at[n++] = sets->sets[s].ranges[i].hi + 1;
        }
    ig_sort(at, n, sizeof *at, bound_before, NULL);
    for (uint32_t i = 0; i < n; i++)
        if (!i || at[i] != at[i - 1]) at[m++] = at[i];
    *out = at;
    return m;
}

bool gr_classes(gr_cc *cc, const gr_sets *sets, gr_dfa *d, uint8_t **in_set)
{
    gr_intern classes = {0};
    uint32_t n = collect_bounds(cc, sets, &d->bound), words = sets->n / 32 + 1, len;
    d->cls_of = gr_new(cc, n, sizeof *d->cls_of);
    if (!d->cls_of || !gr_pay(cc, (uint64_t)n * words)) return false;
    uint32_t *rows = gr_new(cc, (size_t)n * words, sizeof *rows);
    if (!rows) return false;
    for (uint32_t s = 0; s < sets->n; s++)
        for (uint32_t i = 0; i < sets->sets[s].n; i++) {
            gr_range r = sets->sets[s].ranges[i];
            uint32_t lo = 0, hi = n;
            while (hi - lo > 1) {
                uint32_t mid = lo + (hi - lo) / 2;
                if (d->bound[mid] <= r.lo)
                    lo = mid;
                else
                    hi = mid;
            }
            for (; lo < n && d->bound[lo] <= r.hi; lo++) rows[(size_t)lo * words + s / 32] |= 1u << (s % 32);
        }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t cls = gr_intern_add(cc, &classes, rows + (size_t)i * words, words, NULL);
        if (cls >= UINT16_MAX) {
            gr_fail(cc, IG_TOO_LARGE, "too many different character classes");
            return false;
        }
        d->cls_of[i] = (uint16_t)cls;
    }
    d->n_bounds = n;
    d->n_cls = classes.n;
    *in_set = gr_new(cc, (size_t)(sets->n + 1) * classes.n, 1);
    if (!*in_set) return false;
    for (uint32_t c = 0; c < classes.n; c++) {
        const uint32_t *row = gr_intern_key(&classes, c, &len);
        for (uint32_t s = 0; s < sets->n; s++) (*in_set)[(size_t)s * classes.n + c] = row[s / 32] >> (s % 32) & 1;
    }
    for (uint32_t cp = 0; cp < 128; cp++) d->ascii[cp] = gr_dfa_class(d, cp);
    return true;
}
