/* Expressions. One function a level of nesting, so that the stack need is small: the binary operators go through one
 * loop over a table of levels. */
#include <stdlib.h>

#include "text/template/filters.h"
#include "text/template/syntax.h"
#include "text/template/text.h"

static const ig_ttoken *next(ig_tparser *p)
{
    const ig_ttoken *t = p->at;
    if (t->type != TK_EOF) p->at++;
    return t;
}

/* ------------------------------------------------------------------------------------------------- literals */

static unsigned hex_value(char c) { return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a' + 10); }
static bool is_hex(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f'); }

/* n hex digits at s[i..]; false where there are fewer. */
static bool hex_digits(ig_str s, size_t i, size_t n, uint32_t *cp)
{
    *cp = 0;
    for (size_t j = 0; j < n; j++) {
        if (i + j >= s.len || !is_hex(s.ptr[i + j])) return false;
        *cp = *cp << 4 | hex_value(s.ptr[i + j]);
    }
    return true;
}

/* The escape at s[*i] (behind the backslash); advances *i. False when it is wrong. */
static bool unescape_one(ig_str s, size_t *i, char *out, size_t *n)
{
    static const char from[] = "ntr\\'\"abfv", to[] = "\n\t\r\\'\"\a\b\f\v";
    char c = s.ptr[(*i)++];
    const char *at = c ? strchr(from, c) : NULL;
    uint32_t cp = 0, low;
    if (at) return out[(*n)++] = to[at - from], true;
    if (c == '\n') return true;
    if (c >= '0' && c <= '7') {
        cp = (uint32_t)(c - '0');
        for (int k = 0; k < 2 && *i < s.len && s.ptr[*i] >= '0' && s.ptr[*i] <= '7'; k++)
            cp = cp * 8 + (uint32_t)(s.ptr[(*i)++] - '0');
    } else if (c == 'x' || c == 'u' || c == 'U') {
        size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        if (!hex_digits(s, *i, digits, &cp)) return false;
        *i += digits;
        bool pair = cp >= 0xD800 && cp < 0xDC00 && *i + 6 <= s.len && s.ptr[*i] == '\\' && s.ptr[*i + 1] == 'u';
        if (pair && hex_digits(s, *i + 2, 4, &low) && low >= 0xDC00 && low < 0xE000) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
            *i += 6;
        }
    } else if (c == 'N') {
        return false;
    } else {
        out[(*n)++] = '\\';
        out[(*n)++] = c;
        return true;
    }
    size_t len = cp > 0x10FFFF ? 0 : ig_utf8_encode(cp, out + *n);
    *n += len;
    return len > 0;
}

/* Appends the value of a string token to out, which has room for its bytes. */
static bool unescape(ig_str token, char *out, size_t *n)
{
    ig_str s = {token.ptr + 1, token.len - 2};
    for (size_t i = 0; i < s.len;) {
        if (s.ptr[i] != '\\') {
            out[(*n)++] = s.ptr[i++];
            continue;
        }
        i++;
        if (!unescape_one(s, &i, out, n)) return false;
    }
    return true;
}

static ig_tnode *constant(ig_tparser *p, uint32_t line, ig_tval v)
{
    if (v.kind == TV_FAIL) return ig_tp_fail(p, IG_NO_MEMORY, line, "the constant is too large or memory is short");
    ig_tnode *n = ig_tp_node(p, N_CONST, line, 0);
    if (n) n->val = v;
    return n;
}

static ig_tnode *string(ig_tparser *p)
{
    uint32_t line = p->at->line;
    size_t bytes = 0, n = 0;
    for (const ig_ttoken *t = p->at; t->type == TK_STR; t++) bytes += t->text.len;
    char *text = ig_arena_alloc(&p->t->arena, bytes, 2); /* \xff becomes two bytes, never more than the escape */
    for (; text && p->at->type == TK_STR; p->at++)
        if (!unescape(p->at->text, text, &n))
            return ig_tp_fail(p, IG_BAD_INPUT, p->at->line, "the string has a wrong escape");
    /* short strings may be keys: ig_template_mentions knows them */
    if (text && n && n <= 32 && ig_tp_symbol(p, (ig_str){text, n}) == UINT32_MAX) return NULL;
    return constant(p, line, text ? ig_tv_borrow(&p->t->arena, text, n, false) : (ig_tval){0});
}

static ig_tnode *number(ig_tparser *p)
{
    const ig_ttoken *t = next(p);
    char *clean = ig_arena_alloc(&p->t->arena, t->text.len + 1, 1);
    size_t n = 0;
    if (!clean) return ig_tp_fail(p, IG_NO_MEMORY, t->line, "out of memory for the template");
    for (size_t i = 0; i < t->text.len; i++)
        if (t->text.ptr[i] != '_') clean[n++] = t->text.ptr[i];
    if (t->type == TK_FLOAT) return constant(p, t->line, ig_tv_float(ig_tn_read_double((ig_str){clean, n})));
    unsigned base = 10;
    if (n > 1 && clean[0] == '0') {
        char c = (char)(clean[1] | 32);
        base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
    }
    size_t skip = base == 10 ? 0 : 2;
    return constant(p, t->line, ig_tn_parse(&p->t->arena, clean + skip, n - skip, base, false));
}

static ig_tnode *name(ig_tparser *p)
{
    static const struct {
        const char *word;
        uint8_t kind;
        bool b;
    } words[] = {{"true", TV_BOOL, true},   {"True", TV_BOOL, true},  {"false", TV_BOOL, false},
                 {"False", TV_BOOL, false}, {"none", TV_NONE, false}, {"None", TV_NONE, false}};
    const ig_ttoken *t = next(p);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ig_str_is(t->text, words[i].word))
            return constant(p, t->line, words[i].kind == TV_BOOL ? ig_tv_bool(words[i].b) : ig_tv_none());
    uint32_t cp;
    (void)ig_tt_next(t->text.ptr, t->text.len, &cp);
    if (!(cp == '_' || ig_tt_alpha(cp)))
        return ig_tp_fail(p, IG_BAD_INPUT, t->line, "\"%.*s\" is no name", IG_STR_ARG(t->text));
    ig_tnode *n = ig_tp_node(p, N_NAME, t->line, 0);
    if (!n) return NULL;
    n->name = t->text;
    n->sym = ig_tp_symbol(p, t->text);
    for (ig_tmacro_def *m = p->macro; m; m = m->outer) {
        m->takes_caller |= n->sym == p->t->sym_caller;
        m->takes_varargs |= n->sym == p->t->sym_varargs;
        m->takes_kwargs |= n->sym == p->t->sym_kwargs;
    }
    return n->sym == UINT32_MAX ? NULL : n;
}

/* ------------------------------------------------------------------------------------------------- displays */

static ig_tnode *list(ig_tparser *p)
{
    ig_tkids kids = {0};
    uint32_t line = p->at->line;
    p->at++;
    while (!ig_tp_is(p->at, ']')) {
        if (kids.n && !ig_tp_expect(p, ',', "\",\" or \"]\" in a list")) return NULL;
        if (ig_tp_is(p->at, ']')) break;
        if (!ig_tp_push(p, &kids, ig_tp_expression(p, true))) return NULL;
    }
    p->at++;
    return ig_tp_list(p, N_LIST, line, &kids);
}

static ig_tnode *dict(ig_tparser *p)
{
    ig_tkids kids = {0};
    uint32_t line = p->at->line;
    p->at++;
    while (!ig_tp_is(p->at, '}')) {
        if (kids.n && !ig_tp_expect(p, ',', "\",\" or \"}\" in a dict")) return NULL;
        if (ig_tp_is(p->at, '}')) break;
        if (!ig_tp_push(p, &kids, ig_tp_expression(p, true))) return NULL;
        if (!ig_tp_expect(p, ':', "\":\" behind a key of a dict")) return NULL;
        if (!ig_tp_push(p, &kids, ig_tp_expression(p, true))) return NULL;
    }
    p->at++;
    return ig_tp_list(p, N_DICT, line, &kids);
}

static ig_tnode *primary(ig_tparser *p)
{
    switch (p->at->type) {
    case TK_NAME: return name(p);
    case TK_STR: return string(p);
    case TK_INT:
    case TK_FLOAT: return number(p);
    default: break;
    }
    if (ig_tp_is(p->at, '[')) return list(p);
    if (ig_tp_is(p->at, '{')) return dict(p);
    if (!ig_tp_is(p->at, '(')) return ig_tp_unexpected(p, "an expression");
    p->at++;
    ig_tnode *n = ig_tp_tuple(p, true, NULL, true);
    return n && ig_tp_expect(p, ')', "\")\"") ? n : NULL;
}

static bool tuple_ends(ig_tparser *p, const char *ends_at)
{
    return p->at->type == TK_PRINT_END || p->at->type == TK_BLOCK_END || ig_tp_is(p->at, ')') ||
           (ends_at && ig_tp_is_name(p->at, ends_at));
}

ig_tnode *ig_tp_tuple(ig_tparser *p, bool condition, const char *ends_at, bool parentheses)
{
    ig_tkids kids = {0};
    uint32_t line = p->at->line;
    bool is_tuple = false;
    for (;;) {
        if (tuple_ends(p, kids.n ? ends_at : NULL)) break;
        if (!ig_tp_push(p, &kids, ig_tp_expression(p, condition))) return NULL;
        if (!ig_tp_skip(p, ',')) break;
        is_tuple = true;
    }
    if (!is_tuple && kids.n == 1) return kids.k[0];
    if (!is_tuple && !parentheses) return ig_tp_unexpected(p, "an expression");
    return ig_tp_list(p, N_TUPLE, line, &kids);
}

/* -------------------------------------------------------------------------------------------------- postfix */

typedef struct args {
    ig_targ *a;
    uint32_t n, cap;
} args;

static bool push_arg(ig_tparser *p, args *list, ig_targ arg)
{
    if (!arg.value) return false;
    if (list->n == list->cap) {
        uint32_t cap = list->cap ? list->cap * 2 : 4;
        ig_targ *a = ig_arena_alloc(&p->t->arena, cap, sizeof *a);
        if (!a) return ig_tp_fail(p, IG_NO_MEMORY, p->at->line, "out of memory for the template"), false;
        if (list->n) memcpy(a, list->a, list->n * sizeof *a);
        list->a = a;
        list->cap = cap;
    }
    list->a[list->n++] = arg;
    return true;
}

static bool one_arg(ig_tparser *p, args *list, unsigned *rank)
{
    ig_targ arg = {.how = ARG_POS};
    uint32_t line = p->at->line;
    if (ig_tp_skip(p, '*'))
        arg.how = ARG_STAR;
    else if (ig_tp_skip(p, OP2('*', '*')))
        arg.how = ARG_STARS;
    else if (p->at->type == TK_NAME && ig_tp_is(p->at + 1, '=')) {
        arg.how = ARG_KEY;
        arg.name = p->at->text;
        p->at += 2;
    }
    /* positional ones first, then *args, names, **kwargs */
    static const unsigned ranks[] = {[ARG_POS] = 0, [ARG_STAR] = 1, [ARG_KEY] = 2, [ARG_STARS] = 3};
    unsigned r = ranks[arg.how];
    bool wrong = (arg.how == ARG_POS && *rank > 0) || (arg.how == ARG_STAR && (*rank & (1 | 8))) ||
                 (arg.how == ARG_KEY && (*rank & 8)) || (arg.how == ARG_STARS && (*rank & 8));
    if (wrong) return ig_tp_fail(p, IG_BAD_INPUT, line, "the arguments of the call are in a wrong order"), false;
    if (r) *rank |= 1u << r;
    arg.value = ig_tp_expression(p, true);
    return push_arg(p, list, arg);
}

static bool call_args(ig_tparser *p, ig_tnode *node)
{
    args list = {0};
    unsigned rank = 0;
    p->at++;
    while (!ig_tp_is(p->at, ')')) {
        if (list.n && !ig_tp_expect(p, ',', "\",\" or \")\" in a call")) return false;
        if (ig_tp_is(p->at, ')')) break;
        if (!one_arg(p, &list, &rank)) return false;
    }
    p->at++;
    node->args = list.a;
    node->n_args = list.n;
    return true;
}

static ig_tnode *call(ig_tparser *p, ig_tnode *of)
{
    ig_tnode *n = ig_tp_node(p, N_CALL, p->at->line, 1);
    if (!n) return NULL;
    n->k[0] = of;
    return call_args(p, n) ? n : NULL;
}

/* One part of what stands in [...]: an index or a slice. *is_slice tells; parts[0..2] of a slice may be NULL. */
static bool subscribed(ig_tparser *p, ig_tnode *parts[3], bool *is_slice)
{
    *is_slice = false;
    parts[0] = parts[1] = parts[2] = NULL;
    if (!ig_tp_is(p->at, ':') && !(parts[0] = ig_tp_expression(p, true))) return false;
    if (!ig_tp_skip(p, ':')) return true;
    *is_slice = true;
    for (int i = 1; i <= 2; i++) {
        bool end = ig_tp_is(p->at, ']') || ig_tp_is(p->at, ',');
        if (!end && !ig_tp_is(p->at, ':') && !(parts[i] = ig_tp_expression(p, true))) return false;
        if (i == 1 && !ig_tp_skip(p, ':')) break;
    }
    return true;
}

static ig_tnode *subscript(ig_tparser *p, ig_tnode *of)
{
    ig_tkids kids = {0};
    ig_tnode *parts[3] = {NULL};
    bool is_slice = false;
    uint32_t line = p->at->line;
    p->at++;
    while (!ig_tp_is(p->at, ']')) {
        if (kids.n && !ig_tp_expect(p, ',', "\",\" or \"]\" in a subscript")) return NULL;
        if (is_slice) return ig_tp_fail(p, IG_UNSUPPORTED, line, "a slice inside a tuple is not supported");
        if (!subscribed(p, parts, &is_slice)) return NULL;
        if (is_slice && kids.n) return ig_tp_fail(p, IG_UNSUPPORTED, line, "a slice inside a tuple is not supported");
        if (!is_slice && !ig_tp_push(p, &kids, parts[0])) return NULL;
        if (is_slice && !ig_tp_is(p->at, ']')) return ig_tp_unexpected(p, "\"]\" behind a slice");
    }
    p->at++;
    ig_tnode *n = ig_tp_node(p, is_slice ? N_SLICE : N_ITEM, line, is_slice ? 4 : 2);
    if (!n) return NULL;
    n->k[0] = of;
    for (int i = 0; is_slice && i < 3; i++) n->k[1 + i] = parts[i];
    if (!is_slice) n->k[1] = kids.n == 1 ? kids.k[0] : ig_tp_list(p, N_TUPLE, line, &kids);
    return p->status == IG_OK ? n : NULL;
}

static ig_tnode *dot(ig_tparser *p, ig_tnode *of)
{
    uint32_t line = p->at->line;
    p->at++;
    const ig_ttoken *t = p->at;
    if (t->type != TK_NAME && t->type != TK_INT) return ig_tp_unexpected(p, "a name or a number behind \".\"");
    ig_tnode *n = ig_tp_node(p, t->type == TK_NAME ? N_ATTR : N_ITEM, line, t->type == TK_NAME ? 1 : 2);
    if (!n) return NULL;
    n->k[0] = of;
    if (t->type == TK_INT) return (n->k[1] = number(p)) ? n : NULL;
    n->name = t->text;
    n->val = ig_tv_borrow(&p->t->arena, t->text.ptr, t->text.len, false);
    p->at++;
    return n->val.kind && ig_tp_symbol(p, t->text) != UINT32_MAX ? n : NULL;
}

ig_tnode *ig_tp_postfix(ig_tparser *p, ig_tnode *node)
{
    while (node) {
        if (ig_tp_is(p->at, '.'))
            node = dot(p, node);
        else if (ig_tp_is(p->at, '['))
            node = subscript(p, node);
        else if (ig_tp_is(p->at, '('))
            node = call(p, node);
        else
            break;
    }
    return node;
}

/* A name with dots, as filters and tests may have. */
static bool dotted(ig_tparser *p, ig_str *out)
{
    if (p->at->type != TK_NAME) return ig_tp_unexpected(p, "a name"), false;
    *out = next(p)->text;
    while (ig_tp_is(p->at, '.') && p->at[1].type == TK_NAME) {
        p->at += 2;
        out->len = (size_t)(p->at[-1].text.ptr + p->at[-1].text.len - out->ptr);
    }
    return true;
}

static void unknown(ig_tparser *p, const ig_tnode *n, const char *what)
{
    if (p->soft || p->unknown) return; /* under a condition: an error when it is reached, as in Jinja */
    p->unknown = n;
    p->unknown_what = what;
}

static ig_tnode *test(ig_tparser *p, ig_tnode *of)
{
    ig_tnode *n = ig_tp_node(p, N_TEST, p->at->line, 1);
    if (!n) return NULL;
    p->at++;
    n->k[0] = of;
    n->flag = ig_tp_skip_name(p, "not");
    if (!dotted(p, &n->name)) return NULL;
    const ig_ttoken *t = p->at;
    bool operand = t->type == TK_NAME || t->type == TK_STR || t->type == TK_INT || t->type == TK_FLOAT ||
                   ig_tp_is(t, '[') || ig_tp_is(t, '{');
    if (ig_tp_is(t, '(')) {
        if (!call_args(p, n)) return NULL;
    } else if (operand && !ig_tp_is_name(t, "else") && !ig_tp_is_name(t, "or") && !ig_tp_is_name(t, "and")) {
        if (ig_tp_is_name(t, "is")) return ig_tp_fail(p, IG_BAD_INPUT, t->line, "tests cannot be chained with \"is\"");
        args list = {0};
        if (!push_arg(p, &list, (ig_targ){.how = ARG_POS, .value = ig_tp_postfix(p, primary(p))})) return NULL;
        n->args = list.a;
        n->n_args = 1;
    }
    n->def = ig_test_find(n->name);
    if (!n->def) unknown(p, n, "test");
    return n;
}

static ig_tnode *filter(ig_tparser *p, ig_tnode *of)
{
    ig_tnode *n = ig_tp_node(p, N_FILTER, p->at->line, 1);
    if (!n) return NULL;
    n->k[0] = of;
    if (!dotted(p, &n->name)) return NULL;
    if (ig_tp_is(p->at, '(') && !call_args(p, n)) return NULL;
    n->def = ig_filter_find(n->name);
    if (!n->def) unknown(p, n, "filter");
    return n;
}

/* Filters and tests behind a node; start_inline: the first filter has no "|" (block filters). */
ig_tnode *ig_tp_filters(ig_tparser *p, ig_tnode *node, bool start_inline)
{
    while (p->status == IG_OK) {
        if (start_inline || ig_tp_is(p->at, '|')) {
            if (!start_inline) p->at++;
            start_inline = false;
            node = filter(p, node);
        } else if (node && ig_tp_is_name(p->at, "is")) {
            node = test(p, node);
        } else if (node && ig_tp_is(p->at, '(')) {
            node = call(p, node);
        } else {
            break;
        }
    }
    return p->status == IG_OK ? node : NULL;
}

/* ------------------------------------------------------------------------------------------------ operators */

ig_tnode *ig_tp_unary(ig_tparser *p, bool with_filters)
{
    ig_tnode *n;
    if (ig_tp_is(p->at, '-') || ig_tp_is(p->at, '+')) {
        if (!ig_tp_enter(p)) return NULL;
        n = ig_tp_node(p, ig_tp_is(p->at, '-') ? N_NEG : N_POS, p->at->line, 1);
        p->at++;
        ig_tnode *of = ig_tp_unary(p, false);
        p->depth--;
        if (!n || !of) return NULL;
        n->k[0] = of;
    } else {
        n = primary(p);
    }
    n = ig_tp_postfix(p, n);
    return n && with_filters ? ig_tp_filters(p, n, false) : n;
}

enum { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_ADD, LEVEL_CONCAT, LEVEL_MUL, LEVEL_POW, LEVEL_UNARY };

/* The binary operator at hand: its code, or 0; its level; how many tokens it has. */
static unsigned operator_at(const ig_ttoken *t, int *level, unsigned *tokens)
{
    static const struct {
        int level;
        unsigned op;
    } table[] = {{LEVEL_COMPARE, OP2('=', '=')},
                 {LEVEL_COMPARE, OP2('!', '=')},
                 {LEVEL_COMPARE, '<'},
                 {LEVEL_COMPARE, OP2('<', '=')},
                 {LEVEL_COMPARE, '>'},
                 {LEVEL_COMPARE, OP2('>', '=')},
                 {LEVEL_ADD, '+'},
                 {LEVEL_ADD, '-'},
                 {LEVEL_CONCAT, '~'},
                 {LEVEL_MUL, '*'},
                 {LEVEL_MUL, '/'},
                 {LEVEL_MUL, OP2('/', '/')},
                 {LEVEL_MUL, '%'},
                 {LEVEL_POW, OP2('*', '*')}};
    static const struct {
        int level;
        unsigned op;
        const char *word;
    } words[] = {{LEVEL_OR, 'o', "or"}, {LEVEL_AND, 'a', "and"}, {LEVEL_COMPARE, 'i', "in"}};
    *tokens = 1;
    if (t->type == TK_OP)
        for (size_t i = 0; i < sizeof table / sizeof *table; i++)
            if (table[i].op == t->op) return *level = table[i].level, t->op;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ig_tp_is_name(t, words[i].word)) return *level = words[i].level, words[i].op;
    if (ig_tp_is_name(t, "not") && ig_tp_is_name(t + 1, "in")) return *tokens = 2, *level = LEVEL_COMPARE, 'n';
    return 0;
}

static ig_tnode *binary(ig_tparser *p, int least);

/* not not x: counted, so that a long row of them is no depth. */
static ig_tnode *negation(ig_tparser *p)
{
    uint32_t line = p->at->line;
    unsigned n_nots = 0;
    while (ig_tp_skip_name(p, "not")) n_nots++;
    ig_tnode *of = binary(p, LEVEL_COMPARE);
    ig_tnode *n = of ? ig_tp_node(p, N_NOT, line, 1) : NULL;
    if (!n) return NULL;
    n->k[0] = of;
    n->flag = n_nots & 1;
    return n;
}

/* first op b op c of one level becomes one node with all operands. */
static ig_tnode *operation(ig_tparser *p, ig_tnode *first, int level)
{
    static const ig_ntype types[] = {
        [LEVEL_OR] = N_OR,         [LEVEL_AND] = N_AND,   [LEVEL_COMPARE] = N_COMPARE, [LEVEL_ADD] = N_ARITH,
        [LEVEL_CONCAT] = N_CONCAT, [LEVEL_MUL] = N_ARITH, [LEVEL_POW] = N_ARITH};
    ig_tkids kids = {0};
    uint32_t line = p->at->line, n_ops = 0, cap = 0;
    uint16_t *ops = NULL;
    unsigned tokens, op;
    int now;
    if (!ig_tp_push(p, &kids, first)) return NULL;
    while ((op = operator_at(p->at, &now, &tokens)) && now == level) {
        if (n_ops == cap) {
            uint16_t *more = ig_arena_alloc(&p->t->arena, cap = cap ? cap * 2 : 4, sizeof *more);
            if (!more) return ig_tp_fail(p, IG_NO_MEMORY, line, "out of memory for the template");
            if (n_ops) memcpy(more, ops, n_ops * sizeof *ops);
            ops = more;
        }
        ops[n_ops++] = (uint16_t)op;
        p->at += tokens;
        if (!ig_tp_push(p, &kids, binary(p, level + 1))) return NULL;
    }
    ig_tnode *n = ig_tp_list(p, types[level], line, &kids);
    if (n) n->ops = ops;
    return n;
}

/* Operators of at least a level: what stands left is taken, then every operator that binds no less. */
static ig_tnode *binary(ig_tparser *p, int least)
{
    ig_tnode *n = least <= LEVEL_NOT && ig_tp_is_name(p->at, "not") ? negation(p) : ig_tp_unary(p, true);
    unsigned tokens;
    int level;
    while (n && operator_at(p->at, &level, &tokens) && level >= least) n = operation(p, n, level);
    return n;
}

static ig_tnode *conditional(ig_tparser *p)
{
    const ig_tnode *before = p->unknown;
    ig_tnode *value = binary(p, LEVEL_OR), *top = value, **hole = NULL;
    while (value && ig_tp_is_name(p->at, "if")) { /* a if b else c if d: the else part holds the next one */
        ig_tnode *n = ig_tp_node(p, N_COND, p->at->line, 3);
        p->at++;
        p->soft++;
        p->unknown = before; /* the value stands under the condition */
        if (!n || !(n->k[1] = binary(p, LEVEL_OR))) return NULL;
        n->k[0] = value;
        if (hole)
            *hole = n;
        else
            top = n;
        hole = NULL;
        if (ig_tp_skip_name(p, "else")) {
            if (!(n->k[2] = value = binary(p, LEVEL_OR))) return NULL;
            hole = &n->k[2];
        } else {
            value = top;
        }
        p->soft--;
    }
    return value ? top : NULL;
}

ig_tnode *ig_tp_expression(ig_tparser *p, bool condition)
{
    if (!ig_tp_enter(p)) return NULL;
    ig_tnode *n = condition ? conditional(p) : binary(p, LEVEL_OR);
    p->depth--;
    return p->status == IG_OK ? n : NULL;
}

static ig_tnode *simple_target(ig_tparser *p, bool with_namespace)
{
    if (ig_tp_is(p->at, '(')) {
        if (!ig_tp_enter(p)) return NULL;
        p->at++;
        ig_tnode *n = ig_tp_target(p, NULL, with_namespace);
        p->depth--;
        return n && ig_tp_expect(p, ')', "\")\"") ? n : NULL;
    }
    if (p->at->type != TK_NAME) return ig_tp_unexpected(p, "a name to assign to");
    if (with_namespace && ig_tp_is(p->at + 1, '.') && p->at[2].type == TK_NAME) {
        ig_tnode *n = ig_tp_node(p, N_NSREF, p->at->line, 0);
        if (!n) return NULL;
        n->sym = ig_tp_symbol(p, p->at->text);
        n->name = p->at[2].text;
        n->val = ig_tv_borrow(&p->t->arena, n->name.ptr, n->name.len, false);
        p->at += 3;
        return n->val.kind && n->sym != UINT32_MAX ? n : NULL;
    }
    ig_tnode *n = name(p);
    if (n && n->type != N_NAME) return ig_tp_fail(p, IG_BAD_INPUT, n->line, "a constant cannot be assigned to");
    return n;
}

ig_tnode *ig_tp_target(ig_tparser *p, const char *ends_at, bool with_namespace)
{
    ig_tkids kids = {0};
    uint32_t line = p->at->line;
    bool is_tuple = false;
    for (;;) {
        if (tuple_ends(p, ends_at) || ig_tp_is(p->at, '=')) break;
        if (!ig_tp_push(p, &kids, simple_target(p, with_namespace))) return NULL;
        if (!ig_tp_skip(p, ',')) break;
        is_tuple = true;
    }
    if (!kids.n) return ig_tp_unexpected(p, "a name to assign to");
    return is_tuple ? ig_tp_list(p, N_TUPLE, line, &kids) : kids.k[0];
}
