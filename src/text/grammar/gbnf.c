/* GBNF: parsing, checks (undefined names, left recursion, rules without end), and the transition network. Rules that do
 * not call themselves are put in place of their calls, and each network is made deterministic where that stays small.
 */
#include <stdio.h>

#include "base/utf8.h"
#include "machine.h"

enum {
    RULES_MAX = 20000,
    REPEAT_MAX = 2000,
    INLINE_MAX = 20000,
    INLINE_PARTS_MAX = 64,
    DEEP_MAX = 200,
    SUBSETS_MAX = 4096,
    STATES_MAX = 200000
};

typedef struct rule {
    ig_str name;
    gr_ast *tree; /* NULL until defined */
    unsigned line;
    bool recursive, nullable, productive, in_place;
    uint32_t deep;  /* levels of its tree with what is put in place */
    uint32_t size;  /* characters and calls when everything is put in place, capped */
    uint32_t state; /* first state of its network */
    bool wanted;
    bool value; /* a JSON value */
} rule;

typedef struct gbnf {
    gr_cc *cc;
    const char *p, *end;
    unsigned line, depth;
    rule *rules;
    uint32_t n_rules, cap_rules;
    gr_intern names; /* texts as words, see name_number */
    gr_sets sets;
} gbnf;

static void fail_at(gbnf *g, const char *what) { gr_fail(g->cc, IG_BAD_INPUT, "line %u: %s", g->line, what); }

static bool peek(const gbnf *g, char c) { return g->p < g->end && *g->p == c; }
static bool take(gbnf *g, char c)
{
    if (!peek(g, c)) return false;
    g->p++;
    return true;
}

/* Blanks and comments; newlines too where a rule may go on. */
static void skip(gbnf *g, bool newlines)
{
    for (; g->p < g->end; g->p++) {
        if (*g->p == '#') {
            while (g->p < g->end && *g->p != '\n' && *g->p != '\r') g->p++;
            if (g->p == g->end) return;
        }
        if (*g->p == '\n' || *g->p == '\r') {
            if (!newlines) return;
            if (*g->p == '\n') g->line++;
        } else if (*g->p != ' ' && *g->p != '\t') {
            return;
        }
    }
}

static bool name_char(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-'; }

static uint32_t rule_number(gbnf *g, ig_str name)
{
    bool is_new;
    uint32_t n = (uint32_t)(name.len + 3) / 4 + 1, *key = gr_new(g->cc, n, 4);
    if (!key) return 0;
    key[0] = (uint32_t)name.len;
    memcpy(key + 1, name.ptr, name.len);
    uint32_t at = gr_intern_add(g->cc, &g->names, key, n, &is_new);
    if (at == GR_NONE || !is_new) return at == GR_NONE ? 0 : at;
    if (at >= RULES_MAX) gr_fail(g->cc, IG_TOO_LARGE, "more than %d rules", RULES_MAX);
    if (!gr_grow(g->cc, (void **)&g->rules, at, &g->cap_rules, sizeof *g->rules)) return 0;
    g->rules[at] = (rule){.name = name, .line = g->line};
    g->n_rules = at + 1;
    return at;
}

static ig_str take_name(gbnf *g)
{
    const char *from = g->p;
    while (g->p < g->end && name_char(*g->p)) g->p++;
    if (g->p == from) fail_at(g, "expected the name of a rule: letters, digits and -");
    return (ig_str){from, (size_t)(g->p - from)};
}

static uint32_t take_hex(gbnf *g, unsigned n)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < n; i++) {
        char c = g->p < g->end ? *g->p : 0;
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0) {
            fail_at(g, "expected hexadecimal digits in an escape");
            return 0;
        }
        v = v * 16 + (uint32_t)d;
        g->p++;
    }
    if (v > GR_CP_MAX) fail_at(g, "an escape is above 10FFFF");
    return v;
}

static uint32_t take_char(gbnf *g)
{
    static const char names[] = "nrt\\\"[]", values[] = "\n\r\t\\\"[]";
    uint32_t cp = 0;
    if (take(g, '\\')) {
        char c = g->p < g->end ? *g->p++ : 0;
        const char *at = c ? strchr(names, c) : NULL;
        if (at) return (uint32_t)values[at - names];
        if (c == 'x') return take_hex(g, 2);
        if (c == 'u') return take_hex(g, 4);
        if (c == 'U') return take_hex(g, 8);
        fail_at(g, "unknown escape; expected \\n \\r \\t \\\\ \\\" \\[ \\] \\xHH \\uHHHH or \\UHHHHHHHH");
        return 0;
    }
    size_t n = ig_utf8_decode(g->p, (size_t)(g->end - g->p), &cp);
    if (!n) fail_at(g, g->p < g->end ? "not UTF-8" : "a literal or class does not end");
    if (n && *g->p == '\n') g->line++;
    g->p += n;
    return cp;
}

static gr_ast *set_leaf(gbnf *g, gr_set set)
{
    gr_ast *a = gr_ast_new(g->cc, GR_AST_SET);
    if (a) a->set = gr_sets_add(g->cc, &g->sets, set);
    return a;
}

static gr_ast *literal(gbnf *g)
{
    gr_ast *cat = gr_ast_new(g->cc, GR_AST_CAT);
    while (g->cc->st == IG_OK && !peek(g, '"')) {
        gr_set set = {0};
        uint32_t cp = take_char(g);
        gr_set_add(g->cc, &set, cp, cp);
        gr_ast_add(cat, set_leaf(g, set));
    }
    take(g, '"');
    return cat;
}

static gr_ast *char_class(gbnf *g)
{
    gr_set set = {0};
    bool negated = take(g, '^');
    while (g->cc->st == IG_OK && !peek(g, ']')) {
        uint32_t lo = take_char(g), hi = lo;
        if (g->end - g->p >= 2 && g->p[0] == '-' && g->p[1] != ']') {
            g->p++;
            hi = take_char(g);
            if (hi < lo) fail_at(g, "a range in a class is out of order");
        }
        gr_set_add(g->cc, &set, lo, hi);
    }
    take(g, ']');
    if (negated) gr_set_negate(g->cc, &set);
    return set_leaf(g, set);
}

static gr_ast *alternatives(gbnf *g, bool nested);

static gr_ast *item(gbnf *g, bool nested)
{
    if (take(g, '"')) return literal(g);
    if (take(g, '[')) return char_class(g);
    if (take(g, '.')) {
        gr_set any = {0};
        gr_set_add(g->cc, &any, 0, GR_CP_MAX);
        return set_leaf(g, any);
    }
    if (take(g, '(')) {
        skip(g, true);
        gr_ast *a = alternatives(g, true);
        if (!take(g, ')')) fail_at(g, "expected )");
        return a;
    }
    (void)nested;
    if (peek(g, '<') || peek(g, '!')) {
        fail_at(g, "token references are not supported");
        return NULL;
    }
    gr_ast *call = gr_ast_new(g->cc, GR_AST_CALL);
    if (call) call->set = rule_number(g, take_name(g));
    return call;
}

static uint32_t take_count(gbnf *g, uint32_t standard)
{
    uint64_t v = 0;
    const char *from = g->p;
    for (; g->p < g->end && *g->p >= '0' && *g->p <= '9'; g->p++)
        if (v <= REPEAT_MAX) v = v * 10 + (uint64_t)(*g->p - '0');
    if (g->p == from) return standard;
    if (v > REPEAT_MAX)
        gr_fail(g->cc, IG_TOO_LARGE, "line %u: a repetition is above the limit of %d", g->line, REPEAT_MAX);
    return (uint32_t)v;
}

static gr_ast *repeated(gbnf *g, gr_ast *a, bool nested)
{
    for (;;) {
        uint32_t min = 0, max = UINT32_MAX;
        const char *before = g->p;
        skip(g, nested);
        if (take(g, '*')) {
        } else if (take(g, '+')) {
            min = 1;
        } else if (take(g, '?')) {
            max = 1;
        } else if (take(g, '{')) {
            skip(g, nested);
            min = take_count(g, GR_NONE);
            if (min == GR_NONE) fail_at(g, "expected {m}, {m,} or {m,n}");
            max = min;
            skip(g, nested);
            if (take(g, ',')) {
                skip(g, nested);
                max = take_count(g, UINT32_MAX);
                skip(g, nested);
            }
            if (!take(g, '}') || max < min) fail_at(g, "expected {m}, {m,} or {m,n} with m <= n");
        } else {
            (void)before;
            return a;
        }
        if (g->cc->st != IG_OK) return a;
        if (g->depth++ > 2 * GR_DEPTH_MAX) fail_at(g, "repetitions and groups are nested too deeply");
        a = gr_ast_repeat(g->cc, a, min, max);
    }
}

static bool item_follows(const gbnf *g) { return g->p < g->end && (strchr("\"[(.<!", *g->p) || name_char(*g->p)); }

static gr_ast *alternatives(gbnf *g, bool nested)
{
    gr_ast *alt = gr_ast_new(g->cc, GR_AST_ALT);
    unsigned depth = g->depth;
    if (g->depth++ >= GR_DEPTH_MAX) fail_at(g, "groups are nested too deeply");
    for (;;) {
        gr_ast *cat = gr_ast_new(g->cc, GR_AST_CAT);
        skip(g, nested);
        while (g->cc->st == IG_OK && item_follows(g)) {
            unsigned inner = g->depth;
            gr_ast_add(cat, repeated(g, item(g, nested), nested));
            g->depth = inner;
            skip(g, nested);
        }
        gr_ast_add(alt, cat);
        if (g->cc->st != IG_OK || !take(g, '|')) break;
        skip(g, true);
    }
    g->depth = depth;
    return alt;
}

static void parse(gbnf *g)
{
    skip(g, true);
    while (g->cc->st == IG_OK && g->p < g->end) {
        uint32_t at = rule_number(g, take_name(g));
        unsigned line = g->line;
        skip(g, false);
        if (g->cc->st == IG_OK && (g->end - g->p < 3 || memcmp(g->p, "::=", 3) != 0))
            fail_at(g, "expected ::= after the name of a rule");
        if (g->cc->st != IG_OK) return;
        g->p += 3;
        skip(g, true);
        if (g->rules[at].tree) fail_at(g, "the rule is defined twice");
        gr_ast *tree = alternatives(g, false);
        if (g->cc->st != IG_OK) return;
        g->rules[at].tree = tree;
        g->rules[at].line = line;
        if (g->p < g->end && *g->p != '\n' && *g->p != '\r') fail_at(g, "expected the end of the line");
        skip(g, true);
    }
    for (uint32_t i = 0; i < g->n_rules; i++)
        if (!g->rules[i].tree) {
            g->line = g->rules[i].line;
            gr_fail(g->cc, IG_BAD_INPUT, "line %u: the rule %.*s is not defined", g->line,
                    IG_STR_ARG(g->rules[i].name));
        }
}

/* Facts about rules, each a fixed point over the trees. */

static bool tree_nullable(const gbnf *g, const gr_ast *t)
{
    bool all = true, any = false;
    if (t->kind == GR_AST_SET) return false;
    if (t->kind == GR_AST_CALL) return g->rules[t->set].nullable;
    if (t->kind == GR_AST_REPEAT && t->min == 0) return true;
    for (const gr_ast *c = t->child; c; c = c->next) {
        bool n = tree_nullable(g, c);
        all = all && n, any = any || n;
    }
    return t->kind == GR_AST_ALT ? any : all;
}

static bool tree_productive(const gbnf *g, const gr_ast *t)
{
    bool all = true, any = false;
    if (t->kind == GR_AST_SET) return g->sets.sets[t->set].n > 0;
    if (t->kind == GR_AST_CALL) return g->rules[t->set].productive;
    if (t->kind == GR_AST_REPEAT && t->min == 0) return true;
    for (const gr_ast *c = t->child; c; c = c->next) {
        bool n = tree_productive(g, c);
        all = all && n, any = any || n;
    }
    return t->kind == GR_AST_ALT ? any : all;
}

static uint32_t tree_size(const gbnf *g, const gr_ast *t)
{
    uint64_t n = 1;
    if (t->kind == GR_AST_CALL) return g->rules[t->set].in_place ? g->rules[t->set].size : 1;
    for (const gr_ast *c = t->child; c; c = c->next) n += tree_size(g, c);
    if (t->kind == GR_AST_REPEAT) n *= t->max == UINT32_MAX ? t->min + 1 : t->max;
    return n > INLINE_MAX ? INLINE_MAX + 1 : (uint32_t)n;
}

static uint32_t tree_deep(const gbnf *g, const gr_ast *t)
{
    uint32_t most = 0;
    if (t->kind == GR_AST_CALL && g->rules[t->set].in_place) return g->rules[t->set].deep + 1;
    for (const gr_ast *c = t->child; c; c = c->next) {
        uint32_t n = tree_deep(g, c);
        most = n > most ? n : most;
    }
    return most + 1;
}

/* Calls of a tree into mark; only those at the left edge when left. Returns whether the tree can be passed without a
 * character. */
static bool tree_calls(const gbnf *g, const gr_ast *t, bool left, uint8_t *mark)
{
    if (t->kind == GR_AST_SET) return false;
    if (t->kind == GR_AST_CALL) {
        mark[t->set] = 1;
        return g->rules[t->set].nullable;
    }
    bool any = false;
    for (const gr_ast *c = t->child; c; c = c->next) {
        bool passes = tree_calls(g, c, left, mark);
        any = any || passes;
        if (left && t->kind == GR_AST_CAT && !passes) return false;
    }
    return tree_nullable(g, t);
}

static void fixed_points(gbnf *g)
{
    for (bool more = true; more && gr_pay(g->cc, g->n_rules);) {
        more = false;
        for (uint32_t i = 0; i < g->n_rules; i++) {
            rule *r = &g->rules[i];
            bool nullable = tree_nullable(g, r->tree), productive = tree_productive(g, r->tree);
            more = more || nullable != r->nullable || productive != r->productive;
            r->nullable = nullable, r->productive = productive;
        }
    }
}

/* Finds rules on a cycle of calls: repeatedly takes away rules that call only what was taken away. left: only calls at
 * the left edge, and a cycle is an error. order (may be NULL) gets the rules taken, callees first. */
static void find_cycles(gbnf *g, bool left, uint32_t *order, uint32_t *n_order)
{
    uint8_t *mark = gr_new(g->cc, g->n_rules, 1), *taken = gr_new(g->cc, g->n_rules, 1);
    uint32_t *first = gr_new(g->cc, g->n_rules + 2, 4), *open = gr_new(g->cc, g->n_rules, 4), n_calls = 0, cap = 0,
             n = 0;
    uint32_t(*pairs)[2] = NULL; /* callee, caller */
    if (!open) return;
    for (uint32_t i = 0; i < g->n_rules; i++) {
        memset(mark, 0, g->n_rules);
        if (!gr_pay(g->cc, g->n_rules)) return;
        (void)tree_calls(g, g->rules[i].tree, left, mark);
        for (uint32_t k = 0; k < g->n_rules; k++) {
            if (!mark[k]) continue;
            if (!gr_grow(g->cc, (void **)&pairs, n_calls, &cap, sizeof *pairs)) return;
            pairs[n_calls][0] = k, pairs[n_calls++][1] = i;
            open[i]++;
            first[k + 2]++;
        }
    }
    for (uint32_t i = 2; i < g->n_rules + 2; i++) first[i] += first[i - 1];
    uint32_t *callers = gr_new(g->cc, n_calls, 4), *todo = gr_new(g->cc, g->n_rules, 4);
    if (!callers || !todo) return;
    for (uint32_t i = 0; i < n_calls; i++) callers[first[pairs[i][0] + 1]++] = pairs[i][1];
    for (uint32_t i = 0; i < g->n_rules; i++)
        if (!open[i]) todo[n++] = i, taken[i] = 1;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = first[todo[i]]; k < first[todo[i] + 1]; k++)
            if (--open[callers[k]] == 0) todo[n++] = callers[k], taken[callers[k]] = 1;
    for (uint32_t i = 0; i < n && order; i++) order[i] = todo[i];
    if (n_order) *n_order = n;
    for (uint32_t i = 0; i < g->n_rules; i++) {
        if (taken[i]) continue;
        if (left) {
            gr_fail(g->cc, IG_UNSUPPORTED,
                    "line %u: the rule %.*s is, or leads to, a rule that calls itself before any character; write the "
                    "recursion at the end",
                    g->rules[i].line, IG_STR_ARG(g->rules[i].name));
            return;
        }
        g->rules[i].recursive = true; /* or leads to a cycle: not put in place, either */
    }
}

/* The network. */

typedef struct net {
    gr_cc *cc;
    ig_grammar *out;
    gr_rtn_state *states;
    gr_arc *arcs;
    gr_call *calls; /* start: number of the rule until the end */
    uint32_t n_states, cap_states, n_arcs, cap_arcs, n_calls, cap_calls;
} net;

/* Set of states of one rule's automaton, closed under empty edges. */
typedef struct subset {
    gr_cc *cc;
    const gr_nfa *nfa;
    uint32_t *mark, epoch, *todo, *list, n_list;
    bool end;
} subset;

static void close_over(subset *s, uint32_t from)
{
    uint32_t n = 0;
    if (s->mark[from] == s->epoch) return;
    s->mark[from] = s->epoch;
    s->todo[n++] = from;
    while (n) {
        uint32_t at = s->todo[--n];
        const gr_nfa_state *st = &s->nfa->states[at];
        s->end = s->end || at == s->nfa->end;
        if (st->kind != GR_EDGE_EPS) {
            if (st->kind != GR_EDGE_NONE || at == s->nfa->end) s->list[s->n_list++] = at;
            continue;
        }
        uint32_t to[2] = {st->to, st->or };
        for (int i = 0; i < 2; i++)
            if (to[i] != GR_NONE && s->mark[to[i]] != s->epoch) s->mark[to[i]] = s->epoch, s->todo[n++] = to[i];
    }
}

static void sort_list(uint32_t *list, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = i; k && list[k - 1] > list[k]; k--) {
            uint32_t t = list[k];
            list[k] = list[k - 1], list[k - 1] = t;
        }
}

static void begin_set(subset *s) { s->epoch++, s->n_list = 0, s->end = false; }

static uint32_t end_set(subset *s, gr_intern *in)
{
    if (!s->n_list) return GR_NONE;
    gr_pay(s->cc, (uint64_t)s->n_list * (s->n_list > 64 ? s->n_list / 4 : 1));
    sort_list(s->list, s->n_list);
    return gr_intern_add(s->cc, in, s->list, s->n_list, NULL);
}

static void add_arc(net *t, uint32_t lo, uint32_t hi, uint32_t to)
{
    gr_rtn_state *s = &t->states[t->n_states - 1];
    if (s->n_arcs && t->arcs[t->n_arcs - 1].to == to && t->arcs[t->n_arcs - 1].hi + 1 == lo) {
        t->arcs[t->n_arcs - 1].hi = hi;
        return;
    }
    if (!gr_grow(t->cc, (void **)&t->arcs, t->n_arcs, &t->cap_arcs, sizeof *t->arcs)) return;
    t->arcs[t->n_arcs++] = (gr_arc){lo, hi, to};
    s->n_arcs++;
}

static void add_call(net *t, uint32_t rule_no, uint32_t back)
{
    if (!gr_grow(t->cc, (void **)&t->calls, t->n_calls, &t->cap_calls, sizeof *t->calls)) return;
    t->calls[t->n_calls++] = (gr_call){rule_no, back};
    t->states[t->n_states - 1].n_calls++;
}

static bool begin_state(net *t, bool accept)
{
    if (t->n_states >= STATES_MAX) gr_fail(t->cc, IG_TOO_LARGE, "the grammar needs more than %d states", STATES_MAX);
    if (!gr_grow(t->cc, (void **)&t->states, t->n_states, &t->cap_states, sizeof *t->states)) return false;
    t->states[t->n_states++] = (gr_rtn_state){t->n_arcs, 0, t->n_calls, 0, accept};
    return true;
}

/* The states of one rule as sets (deterministic), or false when they become too many; then nothing is left behind. */
static bool add_sets(net *t, const gr_nfa *nfa, const gr_dfa *cls, const uint8_t *in_sets, subset *s)
{
    gr_intern in = {0};
    net was = *t;
    uint32_t *copy = gr_new(t->cc, nfa->n + 1, 4), n, base = t->n_states, *to = gr_new(t->cc, cls->n_cls, 4);
    if (!copy || !to) return false;
    begin_set(s);
    close_over(s, nfa->start);
    (void)end_set(s, &in);
    for (uint32_t i = 0; i < in.n && t->cc->st == IG_OK; i++) {
        const uint32_t *key = gr_intern_key(&in, i, &n);
        bool accept = false;
        memcpy(copy, key, n * sizeof *copy);
        for (uint32_t k = 0; k < n; k++) accept = accept || copy[k] == nfa->end;
        if (!begin_state(t, accept) || !gr_pay(t->cc, (uint64_t)cls->n_cls * n)) return false;
        for (uint32_t c = 0; c < cls->n_cls; c++) {
            begin_set(s);
            for (uint32_t k = 0; k < n; k++) {
                const gr_nfa_state *st = &nfa->states[copy[k]];
                if (st->kind == GR_EDGE_SET && in_sets[(size_t)st->set * cls->n_cls + c]) close_over(s, st->to);
            }
            to[c] = end_set(s, &in);
        }
        for (uint32_t k = 0; k < cls->n_bounds; k++) {
            uint32_t hi = k + 1 < cls->n_bounds ? cls->bound[k + 1] - 1 : GR_CP_MAX;
            if (to[cls->cls_of[k]] != GR_NONE) add_arc(t, cls->bound[k], hi, base + to[cls->cls_of[k]]);
        }
        for (uint32_t k = 0; k < n; k++) {
            const gr_nfa_state *st = &nfa->states[copy[k]];
            bool done = st->kind != GR_EDGE_CALL;
            for (uint32_t m = 0; m < k && !done; m++)
                done = nfa->states[copy[m]].kind == GR_EDGE_CALL && nfa->states[copy[m]].set == st->set;
            if (done) continue;
            begin_set(s);
            for (uint32_t m = k; m < n; m++)
                if (nfa->states[copy[m]].kind == GR_EDGE_CALL && nfa->states[copy[m]].set == st->set)
                    close_over(s, nfa->states[copy[m]].to);
            uint32_t back = end_set(s, &in);
            if (back != GR_NONE) add_call(t, st->set, base + back);
        }
        if (in.n > SUBSETS_MAX) {
            *t = was;
            return false;
        }
    }
    return t->cc->st == IG_OK;
}

/* The same without making it deterministic: one state for each state with an edge. */
static void add_plain(net *t, const gr_nfa *nfa, const gr_sets *sets, subset *s)
{
    uint32_t base = t->n_states;
    for (uint32_t i = 0; i < nfa->n && t->cc->st == IG_OK; i++) {
        begin_set(s);
        close_over(s, i);
        if (!begin_state(t, s->end)) return;
        for (uint32_t k = 0; k < s->n_list; k++) {
            const gr_nfa_state *st = &nfa->states[s->list[k]];
            if (!gr_pay(t->cc, 1)) return;
            if (st->kind == GR_EDGE_SET)
                for (uint32_t r = 0; r < sets->sets[st->set].n; r++)
                    add_arc(t, sets->sets[st->set].ranges[r].lo, sets->sets[st->set].ranges[r].hi, base + st->to);
            if (st->kind == GR_EDGE_CALL) add_call(t, st->set, base + st->to);
        }
    }
}

static uint32_t add_rule(gbnf *g, net *t, uint32_t at, gr_ast *const *trees, const bool *in_place)
{
    gr_nfa nfa;
    gr_dfa cls = {0};
    gr_sets used = {0};
    uint8_t *in_sets = NULL;
    if (!gr_nfa_make(g->cc, trees[at], &g->sets, trees, in_place, &nfa)) return 0;
    /* Only the sets that this rule uses make classes. */
    uint32_t *number = gr_new(g->cc, g->sets.n, 4), base = t->n_states;
    if (!number) return 0;
    for (uint32_t i = 0; i < nfa.n; i++) {
        if (nfa.states[i].kind != GR_EDGE_SET) continue;
        uint32_t set = nfa.states[i].set;
        if (!number[set]) number[set] = gr_sets_add(g->cc, &used, g->sets.sets[set]) + 1;
        nfa.states[i].set = number[set] - 1;
    }
    subset s = {g->cc, &nfa, gr_new(g->cc, nfa.n, 4), 0, gr_new(g->cc, nfa.n, 4), gr_new(g->cc, nfa.n, 4), 0, false};
    if (!s.list || !gr_classes(g->cc, &used, &cls, &in_sets)) return 0;
    if (add_sets(t, &nfa, &cls, in_sets, &s)) return base;
    add_plain(t, &nfa, &used, &s);
    return base + nfa.start;
}

static bool can_end(const net *t, const uint8_t *live, uint32_t start)
{
    return start & GR_VALUE ? t->out->values[start & ~GR_VALUE].n > 0 : live[start];
}

/* Takes out arcs and calls from which the rule cannot end. */
static void prune(net *t)
{
    uint8_t *live = gr_new(t->cc, t->n_states, 1);
    for (bool more = live != NULL; more && gr_pay(t->cc, (uint64_t)t->n_states + t->n_arcs + t->n_calls);) {
        more = false;
        for (uint32_t q = t->n_states; q-- > 0;) {
            const gr_rtn_state *s = &t->states[q];
            bool l = s->accept;
            for (uint32_t i = s->arcs; i < s->arcs + s->n_arcs && !l; i++) l = live[t->arcs[i].to];
            for (uint32_t i = s->calls; i < s->calls + s->n_calls && !l; i++)
                l = can_end(t, live, t->calls[i].start) && live[t->calls[i].back];
            more = more || (l && !live[q]);
            live[q] = live[q] || l;
        }
    }
    for (uint32_t q = 0; live && q < t->n_states; q++) {
        gr_rtn_state *s = &t->states[q];
        uint32_t n = 0;
        for (uint32_t i = 0; i < s->n_arcs; i++)
            if (live[t->arcs[s->arcs + i].to]) t->arcs[s->arcs + n++] = t->arcs[s->arcs + i];
        s->n_arcs = n;
        n = 0;
        for (uint32_t i = 0; i < s->n_calls; i++) {
            gr_call c = t->calls[s->calls + i];
            if (can_end(t, live, c.start) && live[c.back]) t->calls[s->calls + n++] = c;
        }
        s->n_calls = n;
    }
    if (live && t->cc->st == IG_OK) t->out->live = live[t->out->root];
}

static void *keep(net *t, const void *p, uint32_t n, size_t size)
{
    void *q = t->cc->st == IG_OK ? ig_arena_alloc(&t->out->mem, n ? n : 1, size) : NULL;
    if (!q) gr_fail(t->cc, IG_NO_MEMORY, "out of memory for the grammar");
    if (q && n) memcpy(q, p, n * size);
    return q;
}

/* Bytes that begin an arc which is reached from the state after some call without a character. */
static void find_follow(net *t)
{
    uint8_t *seen = gr_new(t->cc, t->n_states, 1);
    uint32_t *todo = gr_new(t->cc, t->n_states, 4), n = 0;
    if (!todo) return;
    for (uint32_t k = 0; k < t->n_calls; k++)
        if (!seen[t->calls[k].back]) seen[t->calls[k].back] = 1, todo[n++] = t->calls[k].back;
    while (n) {
        const gr_rtn_state *s = &t->states[todo[--n]];
        for (uint32_t i = s->arcs; i < s->arcs + s->n_arcs; i++) {
            uint32_t lo = t->arcs[i].lo, hi = t->arcs[i].hi;
            for (uint32_t b = 0; b < 256; b++) {
                /* Leading bytes above 0xBF are taken as possible for every character above 127. */
                bool in = b < 128 ? b >= lo && b <= hi : b >= 0xC2 && hi >= 128;
                t->out->follow[b] = t->out->follow[b] || in;
            }
        }
        for (uint32_t i = s->calls; i < s->calls + s->n_calls; i++) {
            uint32_t to = t->calls[i].start;
            for (const char *b = "\"-0123456789tfn{["; to & GR_VALUE && *b; b++) t->out->follow[(uint8_t)*b] = true;
            if (to & GR_VALUE) continue;
            if (!seen[to]) seen[to] = 1, todo[n++] = to;
        }
    }
}

/* Arcs of one state of an automaton over characters, without <. */
static void add_dfa_arcs(net *t, const gr_dfa *d, uint32_t q, uint32_t base)
{
    for (uint32_t k = 0; k < d->n_bounds && gr_pay(t->cc, 1); k++) {
        uint32_t lo = d->bound[k], hi = k + 1 < d->n_bounds ? d->bound[k + 1] - 1 : GR_CP_MAX;
        uint32_t to = d->next[(size_t)q * d->n_cls + d->cls_of[k]];
        if (!to) continue;
        if (lo <= '<' && hi >= '<') {
            if (lo < '<') add_arc(t, lo, '<' - 1, base + to);
            if (hi > '<') add_arc(t, '<' + 1, hi, base + to);
        } else {
            add_arc(t, lo, hi, base + to);
        }
    }
}

/* The strings of a value, as they are: a first state for all its readings, then the states of their automata. */
static uint32_t add_string(net *t, const gr_forks *v)
{
    uint32_t start = t->n_states, base = start + 1;
    bool accept = false;
    for (uint32_t i = 0; i < v->n; i++) {
        const gr_dfa *d = t->out->nodes[v->list[i].node].str;
        accept = accept || (d->start && d->label[d->start]);
    }
    if (!begin_state(t, accept)) return start;
    for (uint32_t i = 0; i < v->n; i++) {
        const gr_dfa *d = t->out->nodes[v->list[i].node].str;
        if (d->start) add_dfa_arcs(t, d, d->start, base);
        base += d->n_states;
    }
    base = start + 1;
    for (uint32_t i = 0; i < v->n && t->cc->st == IG_OK; i++) {
        const gr_dfa *d = t->out->nodes[v->list[i].node].str;
        for (uint32_t q = 0; q < d->n_states; q++) {
            if (!begin_state(t, q && d->label[q])) return start;
            if (q) add_dfa_arcs(t, d, q, base);
        }
        base += d->n_states;
    }
    return start;
}

static void build_net(gbnf *g, ig_grammar *out, uint32_t root)
{
    net t = {.cc = g->cc, .out = out};
    gr_ast **trees = gr_new(g->cc, g->n_rules, sizeof *trees);
    bool *in_place = gr_new(g->cc, g->n_rules, sizeof *in_place);
    if (!in_place) return;
    for (uint32_t i = 0; i < g->n_rules; i++) {
        trees[i] = g->rules[i].tree;
        in_place[i] = g->rules[i].in_place;
    }
    g->rules[root].wanted = true;
    for (uint32_t i = 0; i < out->n_values; i++) g->rules[2 * i].state = (GR_VALUE | i) + 1;
    for (bool more = true; more && g->cc->st == IG_OK;) {
        more = false;
        for (uint32_t i = 0; i < g->n_rules && g->cc->st == IG_OK; i++) {
            rule *r = &g->rules[i];
            if (!r->wanted || r->state) continue;
            uint32_t first = t.n_calls;
            r->state = (r->value ? add_string(&t, &out->values[i / 2]) : add_rule(g, &t, i, trees, in_place)) + 1;
            for (uint32_t k = first; k < t.n_calls; k++) g->rules[t.calls[k].start].wanted = true;
            more = true;
        }
    }
    if (g->cc->st != IG_OK) return;
    for (uint32_t k = 0; k < t.n_calls; k++) t.calls[k].start = g->rules[t.calls[k].start].state - 1;
    out->root = g->rules[root].state - 1;
    prune(&t);
    find_follow(&t);
    out->states = keep(&t, t.states, t.n_states, sizeof *t.states);
    out->arcs = keep(&t, t.arcs, t.n_arcs, sizeof *t.arcs);
    out->calls = keep(&t, t.calls, t.n_calls, sizeof *t.calls);
    out->n_states = t.n_states;
}

static void add_value(gbnf *g, const char *kind, uint32_t i, uint32_t set)
{
    char *name = gr_new(g->cc, 24, 1);
    if (!name) return;
    (void)snprintf(name, 24, "%s-%u", kind, i);
    uint32_t at = rule_number(g, ig_str_from(name));
    gr_ast *tree = gr_ast_new(g->cc, GR_AST_SET);
    if (!tree || g->cc->st != IG_OK) return;
    tree->set = set;
    g->rules[at].tree = tree;
    g->rules[at].value = true;
}

/* The rules value-0, string-0, value-1, ...: for the checks below each is some character. */
static void add_values(gbnf *g, uint32_t n)
{
    gr_set any = {0};
    gr_set_add(g->cc, &any, 0, GR_CP_MAX);
    uint32_t set = n ? gr_sets_add(g->cc, &g->sets, any) : 0;
    for (uint32_t i = 0; i < n && g->cc->st == IG_OK; i++) {
        add_value(g, "value", i, set);
        add_value(g, "string", i, set);
    }
}

void gr_build_gbnf(gr_cc *cc, ig_grammar *out, const char *text, size_t n)
{
    gbnf g = {.cc = cc, .p = text, .end = text + n, .line = 1};
    uint32_t root = 0, n_order = 0, before;
    /* Grammars with values are made of many small rules, and masks remember what a rule allows by itself. */
    uint32_t most = out->values ? INLINE_PARTS_MAX : INLINE_MAX / 8;
    add_values(&g, out->n_values);
    parse(&g);
    if (cc->st != IG_OK) return;
    before = g.n_rules;
    root = rule_number(&g, IG_STR("root"));
    if (g.n_rules > before) {
        gr_fail(cc, IG_BAD_INPUT, "there is no rule named root");
        return;
    }
    uint32_t *order = gr_new(cc, g.n_rules, 4);
    fixed_points(&g);
    find_cycles(&g, true, NULL, NULL);
    find_cycles(&g, false, order, &n_order);
    for (uint32_t i = 0; i < n_order && cc->st == IG_OK; i++) {
        rule *r = &g.rules[order[i]]; /* what it calls comes before it */
        r->size = tree_size(&g, r->tree);
        r->deep = tree_deep(&g, r->tree);
        r->in_place = !r->recursive && !r->value && r->size <= most && r->deep <= DEEP_MAX;
    }
    if (cc->st == IG_OK) build_net(&g, out, root);
}
