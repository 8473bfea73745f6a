/* Regular expressions of ECMA-262 in unicode mode, as far as they are regular: no look-around, no back-references, no
 * word boundaries, no property escapes. A pattern is searched, so the automaton accepts every text that has a match in
 * it. */
#include "auto.h"
#include "base/sort.h"
#include "base/utf8.h"

typedef struct parser {
    gr_cc *cc;
    const char *p, *end, *begin;
    gr_sets sets;
    unsigned depth;
} parser;

static void fail_at(parser *p, const char *what)
{
    gr_fail(p->cc, IG_UNSUPPORTED, "pattern at character %zu: %s", (size_t)(p->p - p->begin) + 1, what);
}

static bool peek(const parser *p, char c) { return p->p < p->end && *p->p == c; }
static bool take(parser *p, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(p->end - p->p) < n || memcmp(p->p, word, n) != 0) return false;
    p->p += n;
    return true;
}

static uint32_t take_cp(parser *p)
{
    uint32_t cp;
    size_t n = ig_utf8_decode(p->p, (size_t)(p->end - p->p), &cp);
    if (!n) {
        fail_at(p, "not UTF-8");
        n = 1;
    }
    p->p += n;
    return cp;
}

static bool take_hex(parser *p, unsigned n, uint32_t *out)
{
    uint32_t v = 0;
    if ((size_t)(p->end - p->p) < n) return false;
    for (unsigned i = 0; i < n; i++) {
        char c = p->p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0) return false;
        v = v * 16 + (uint32_t)d;
    }
    p->p += n;
    *out = v;
    return true;
}

static uint32_t braced_hex(parser *p)
{
    uint32_t v = 0, d;
    unsigned n = 0;
    while (!peek(p, '}') && n++ < 8 && v <= GR_CP_MAX && take_hex(p, 1, &d)) v = v * 16 + d;
    if (!take(p, "}") || !n || v > GR_CP_MAX) fail_at(p, "expected \\u{HEX} up to 10FFFF");
    return v;
}

static uint32_t unicode_escape(parser *p)
{
    uint32_t v = 0, low = 0;
    if (take(p, "{")) return braced_hex(p);
    if (!take_hex(p, 4, &v)) fail_at(p, "expected four hexadecimal digits after \\u");
    if (v >= 0xD800 && v < 0xDC00 && take(p, "\\u") && take_hex(p, 4, &low) && low >= 0xDC00 && low < 0xE000)
        return 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
    if (v >= 0xD800 && v < 0xE000) fail_at(p, "half of a surrogate pair matches nothing");
    return v;
}

static const gr_range digit_ranges[] = {{'0', '9'}};
static const gr_range word_ranges[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const gr_range space_ranges[] = {{9, 13},          {32, 32},         {160, 160},       {0x1680, 0x1680},
                                        {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                        {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
static const struct {
    char letter;
    const gr_range *ranges;
    uint32_t n;
} class_escapes[] = {{'d', digit_ranges, 1}, {'w', word_ranges, 4}, {'s', space_ranges, 10}};

/* \d \w \s and their negations added to set; false when the letter is none of them. */
static bool class_escape(parser *p, gr_set *set)
{
    for (size_t i = 0; i < sizeof class_escapes / sizeof *class_escapes; i++) {
        char c = class_escapes[i].letter;
        gr_set one = {0};
        if (!peek(p, c) && !peek(p, (char)(c - 32))) continue;
        for (uint32_t k = 0; k < class_escapes[i].n; k++)
            gr_set_add(p->cc, &one, class_escapes[i].ranges[k].lo, class_escapes[i].ranges[k].hi);
        if (*p->p != c) gr_set_negate(p->cc, &one);
        p->p++;
        for (uint32_t k = 0; k < one.n; k++) gr_set_add(p->cc, set, one.ranges[k].lo, one.ranges[k].hi);
        return true;
    }
    return false;
}

/* One character after a backslash. */
static uint32_t char_escape(parser *p)
{
    static const char names[] = "tnvfr", values[] = "\t\n\v\f\r", itself[] = "^$\\.*+?()[]{}|/-";
    uint32_t v;
    if (p->p >= p->end) {
        fail_at(p, "backslash at the end");
        return 0;
    }
    char c = *p->p++;
    const char *at = strchr(names, c);
    if (at && c) return (uint32_t)values[at - names];
    if (c && strchr(itself, c)) return (uint32_t)c;
    if (c == '0' && !(p->p < p->end && *p->p >= '0' && *p->p <= '9')) return 0;
    if (c == 'x' && take_hex(p, 2, &v)) return v;
    if (c == 'u') return unicode_escape(p);
    if (c == 'c' && p->p < p->end && (*p->p | 32) >= 'a' && (*p->p | 32) <= 'z') return (uint32_t)(*p->p++ & 31);
    p->p--;
    if (c == 'b' || c == 'B') fail_at(p, "word boundaries (\\b) cannot be enforced");
    if (c == 'p' || c == 'P') fail_at(p, "property escapes (\\p) cannot be enforced");
    if (c == 'k' || (c >= '1' && c <= '9')) fail_at(p, "back-references cannot be enforced");
    if ((c | 32) < 'a' || (c | 32) > 'z') return take_cp(p); /* an escaped sign stands for itself */
    fail_at(p, "unknown escape");
    return 0;
}

/* One member of [...]: true when it is a single character. */
static bool class_atom(parser *p, gr_set *set, uint32_t *cp)
{
    if (!take(p, "\\")) {
        *cp = take_cp(p);
        return true;
    }
    if (class_escape(p, set)) return false;
    *cp = 8;
    if (!take(p, "b")) *cp = char_escape(p);
    return true;
}

static gr_set char_class(parser *p)
{
    gr_set set = {0};
    bool negated = take(p, "^");
    while (p->cc->st == IG_OK && !peek(p, ']')) {
        uint32_t lo = 0, hi = 0;
        if (p->p >= p->end) {
            fail_at(p, "character class without ]");
            break;
        }
        if (!class_atom(p, &set, &lo)) continue;
        hi = lo;
        if (p->end - p->p >= 2 && p->p[0] == '-' && p->p[1] != ']') {
            p->p++;
            if (!class_atom(p, &set, &hi)) {
                gr_set_add(p->cc, &set, '-', '-');
                hi = lo;
            }
            if (hi < lo) fail_at(p, "range out of order in a character class");
        }
        gr_set_add(p->cc, &set, lo, hi);
    }
    (void)take(p, "]");
    if (negated) gr_set_negate(p->cc, &set);
    return set;
}

static gr_ast *leaf(parser *p, gr_set set)
{
    gr_ast *a = gr_ast_new(p->cc, GR_AST_SET);
    if (a) a->set = gr_sets_add(p->cc, &p->sets, set);
    return a;
}

static gr_ast *one_char(parser *p, uint32_t cp)
{
    gr_set set = {0};
    gr_set_add(p->cc, &set, cp, cp);
    return leaf(p, set);
}

static gr_ast *any_char(parser *p)
{
    gr_set set = {0};
    gr_set_add(p->cc, &set, '\n', '\n');
    gr_set_add(p->cc, &set, '\r', '\r');
    gr_set_add(p->cc, &set, 0x2028, 0x2029);
    gr_set_negate(p->cc, &set);
    return leaf(p, set);
}

static gr_ast *alternatives(parser *p);

static gr_ast *group(parser *p)
{
    if (take(p, "?:")) {
        /* plain */
    } else if (peek(p, '?') && p->end - p->p > 2 && p->p[1] == '<' && p->p[2] != '=' && p->p[2] != '!') {
        while (p->p < p->end && *p->p != '>') p->p++;
        if (!take(p, ">")) fail_at(p, "group name without >");
    } else if (peek(p, '?')) {
        fail_at(p, "look-around and flags in groups cannot be enforced");
    }
    gr_ast *a = alternatives(p);
    if (!take(p, ")")) fail_at(p, "group without )");
    return a;
}

static gr_ast *atom(parser *p)
{
    gr_set set = {0};
    if (take(p, "^")) return gr_ast_new(p->cc, GR_AST_BEGIN);
    if (take(p, "$")) return gr_ast_new(p->cc, GR_AST_END);
    if (take(p, "(")) return group(p);
    if (take(p, ".")) return any_char(p);
    if (take(p, "[")) return leaf(p, char_class(p));
    if (take(p, "\\")) {
        if (class_escape(p, &set)) return leaf(p, set);
        return one_char(p, char_escape(p));
    }
    if (peek(p, '*') || peek(p, '+') || peek(p, '?')) fail_at(p, "nothing to repeat");
    return one_char(p, take_cp(p));
}

static bool take_count(parser *p, uint32_t *out)
{
    uint64_t v = 0;
    const char *from = p->p;
    for (; p->p < p->end && *p->p >= '0' && *p->p <= '9'; p->p++)
        if (v < UINT32_MAX) v = v * 10 + (uint64_t)(*p->p - '0');
    *out = v < UINT32_MAX ? (uint32_t)v : UINT32_MAX - 1;
    return p->p > from;
}

/* {m} {m,} {m,n}; otherwise nothing is taken and the brace is a character. */
static bool braces(parser *p, uint32_t *min, uint32_t *max)
{
    const char *from = p->p;
    if (!take(p, "{")) return false;
    bool ok = take_count(p, min);
    *max = *min;
    if (ok && take(p, ",") && !take_count(p, max)) *max = UINT32_MAX;
    if (ok && take(p, "}")) return true;
    p->p = from;
    return false;
}

static gr_ast *quantified(parser *p)
{
    bool anchor = peek(p, '^') || peek(p, '$');
    gr_ast *a = atom(p);
    uint32_t min = 0, max = UINT32_MAX;
    if (take(p, "*")) {
    } else if (take(p, "+")) {
        min = 1;
    } else if (take(p, "?")) {
        max = 1;
    } else if (!braces(p, &min, &max)) {
        return a;
    }
    if (anchor) fail_at(p, "nothing to repeat");
    if (max < min) fail_at(p, "counts out of order");
    (void)take(p, "?"); /* lazy: the same texts */
    return gr_ast_repeat(p->cc, a, min, max);
}

static gr_ast *alternatives(parser *p)
{
    gr_ast *alt = gr_ast_new(p->cc, GR_AST_ALT);
    if (p->depth++ >= GR_DEPTH_MAX) fail_at(p, "groups are nested too deeply");
    do {
        gr_ast *cat = gr_ast_new(p->cc, GR_AST_CAT);
        while (p->cc->st == IG_OK && p->p < p->end && *p->p != '|' && *p->p != ')') gr_ast_add(cat, quantified(p));
        gr_ast_add(alt, cat);
    } while (p->cc->st == IG_OK && take(p, "|"));
    p->depth--;
    return alt;
}

/* Subset construction. */
typedef struct subset {
    gr_cc *cc;
    const gr_nfa *nfa;
    uint32_t *mark, epoch; /* [nfa->n] */
    uint32_t *todo, *list, n_list;
    bool at_begin, at_end, found;
} subset;

/* Follows edges that take no character; list gets the states that take one, or wait for the end of the text. */
static void close_over(subset *s, uint32_t from)
{
    uint32_t n = 0;
    if (s->mark[from] == s->epoch) return;
    s->mark[from] = s->epoch;
    s->todo[n++] = from;
    while (n) {
        uint32_t at = s->todo[--n], to[2] = {GR_NONE, GR_NONE};
        const gr_nfa_state *st = &s->nfa->states[at];
        s->found = s->found || at == s->nfa->end;
        if (st->kind == GR_EDGE_EPS) to[0] = st->to, to[1] = st->or ;
        if (st->kind == GR_EDGE_BEGIN && s->at_begin) to[0] = st->to;
        if (st->kind == GR_EDGE_END && s->at_end) to[0] = st->to;
        if (st->kind == GR_EDGE_SET || st->kind == GR_EDGE_END) s->list[s->n_list++] = at;
        for (int i = 0; i < 2; i++)
            if (to[i] != GR_NONE && s->mark[to[i]] != s->epoch) s->mark[to[i]] = s->epoch, s->todo[n++] = to[i];
    }
}

static void close_begin(subset *s, bool at_begin, bool at_end)
{
    s->epoch++;
    s->n_list = 0;
    s->at_begin = at_begin, s->at_end = at_end, s->found = false;
}

static bool number_before(const void *a, const void *b, const void *ctx)
{
    (void)ctx;
    return *(const uint32_t *)a < *(const uint32_t *)b;
}

static void sort_list(uint32_t *list, uint32_t n)
{
    if (n > 64) {
        ig_sort(list, n, sizeof *list, number_before, NULL);
        return;
    }
    for (uint32_t i = 1; i < n; i++) /* nearly sorted, mostly short */
        for (uint32_t k = i; k && list[k - 1] > list[k]; k--) {
            uint32_t t = list[k];
            list[k] = list[k - 1], list[k - 1] = t;
        }
}

/* Accepts at the end of the text: the match may need the end. */
static bool ends(subset *s, const uint32_t *key, uint32_t n, bool first)
{
    close_begin(s, first, true);
    for (uint32_t i = 0; i < n && !s->found; i++) close_over(s, key[i]);
    return s->found;
}

/* Number of the set in list; 1 is the state after a match, where everything is accepted. */
static uint32_t set_number(subset *s, gr_intern *in)
{
    if (s->found) return 0;
    sort_list(s->list, s->n_list);
    return s->n_list ? gr_intern_add(s->cc, in, s->list, s->n_list, NULL) : GR_NONE;
}

static const gr_dfa *determinize(gr_cc *cc, const gr_nfa *nfa)
{
    subset s = {cc, nfa, gr_new(cc, nfa->n, 4), 0, gr_new(cc, nfa->n, 4), gr_new(cc, nfa->n + 1, 4), 0, 0, 0, 0};
    gr_intern in = {0};
    gr_dfa raw = {0};
    uint8_t *in_set = NULL;
    uint32_t cap_next = 0, cap_label = 0, found_key = GR_NONE, *copy = gr_new(cc, nfa->n + 1, 4), n;
    if (!copy || !gr_classes(cc, nfa->sets, &raw, &in_set)) return NULL;
    gr_intern_add(cc, &in, &found_key, 1, NULL); /* set 0: a match was found */
    close_begin(&s, true, false);
    close_over(&s, nfa->start);
    sort_list(s.list, s.n_list);
    bool at_once = s.found;
    if (at_once) return &gr_dfa_all;
    /* The start is a set of its own: a text that begins may match ^, so it is marked. */
    memcpy(copy, s.list, s.n_list * sizeof *copy);
    copy[s.n_list] = GR_NONE;
    uint32_t start = gr_intern_add(cc, &in, copy, s.n_list + 1, NULL);
    for (uint32_t i = 0; i < in.n && cc->st == IG_OK; i++) {
        const uint32_t *key = gr_intern_key(&in, i, &n);
        bool first = i == start;
        n -= first;
        if (in.n > GR_DFA_MAX / 10 || (uint64_t)in.n * raw.n_cls > GR_CELLS_MAX) {
            gr_fail(cc, IG_TOO_LARGE, "the pattern needs more than %u states; make it simpler", in.n - 1);
            return NULL;
        }
        while (cap_next < (i + 2) * raw.n_cls)
            if (!gr_grow(cc, (void **)&raw.next, cap_next, &cap_next, 4)) return NULL;
        while (cap_label < i + 2)
            if (!gr_grow(cc, (void **)&raw.label, cap_label, &cap_label, 4)) return NULL;
        if (!gr_pay(cc, (uint64_t)raw.n_cls * (n + 1) + n)) return NULL;
        if (i == 0) {
            for (uint32_t c = 0; c < raw.n_cls; c++) raw.next[raw.n_cls + c] = 1;
            raw.label[1] = 1;
            continue;
        }
        memcpy(copy, key, n * sizeof *copy);
        if (first) {
            close_begin(&s, true, true);
            close_over(&s, nfa->start);
            raw.label[i + 1] = s.found;
        } else {
            raw.label[i + 1] = ends(&s, copy, n, false);
        }
        for (uint32_t c = 0; c < raw.n_cls; c++) {
            close_begin(&s, false, false);
            for (uint32_t k = 0; k < n; k++) {
                const gr_nfa_state *st = &nfa->states[copy[k]];
                if (st->kind == GR_EDGE_SET && in_set[(size_t)st->set * raw.n_cls + c]) close_over(&s, st->to);
            }
            gr_pay(cc, s.n_list);
            uint32_t t = set_number(&s, &in);
            raw.next[(size_t)(i + 1) * raw.n_cls + c] = t == GR_NONE ? 0 : t + 1;
        }
    }
    if (cc->st != IG_OK) return NULL;
    raw.n_states = in.n + 1;
    raw.start = start + 1;
    return gr_dfa_make(cc, raw);
}

const gr_dfa *gr_regex(gr_cc *cc, ig_str pattern)
{
    parser p = {.cc = cc, .p = pattern.ptr, .end = pattern.ptr + pattern.len, .begin = pattern.ptr};
    gr_nfa nfa;
    gr_set any = {0};
    gr_set_add(cc, &any, 0, GR_CP_MAX);
    gr_ast *cat = gr_ast_new(cc, GR_AST_CAT);
    gr_ast_add(cat, gr_ast_repeat(cc, leaf(&p, any), 0, UINT32_MAX));
    gr_ast_add(cat, alternatives(&p));
    if (p.cc->st == IG_OK && p.p < p.end) fail_at(&p, "group without (");
    if (cc->st != IG_OK || !gr_nfa_make(cc, cat, &p.sets, NULL, NULL, &nfa)) return NULL;
    return determinize(cc, &nfa);
}
