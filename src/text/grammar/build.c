/* From formulas to the machine: one node a formula, one leaf a way of being an object or an array; then what no text
 * fits is taken out, so that a state never leads into a dead end that could have been seen. */
#include "base/utf8.h"
#include "formula.h"
#include "machine.h"

enum {
    NODES_MAX = 20000,
    LEAVES_MAX = 20000,
    NAMES_MAX = 4096,
    LABELS_MAX = NAMES_MAX + 60,
    CLASS_BITS = 16,
    CONTAINS_COUNT_MAX = 1 << 20,
    ITEMS_MAX = 65536
};

/* A leaf before the nodes are known to be live. */
typedef struct draft {
    bool dead;
    uint32_t n_forks;  /* groups */
    uint32_t **claims; /* [n_forks][n]: node, claim pairs */
    uint32_t *n_claims;
    gr_leaf leaf;
} draft;

typedef struct builder {
    gr_cc *cc;
    gr_doc *doc;
    gr_intern nodes; /* formula -> node */
    gr_intern kinds; /* type, literal set -> leaf */
    gr_node *node;
    uint32_t cap_node, cap_draft, cap_leaf_list, cap_num;
    draft *draft;
    uint32_t **leaf_list; /* [node] */
} builder;

static uint32_t node_of(builder *b, uint32_t f)
{
    uint32_t at = gr_intern_add(b->cc, &b->nodes, &f, 1, NULL);
    if (b->nodes.n > NODES_MAX)
        gr_fail(b->cc, IG_TOO_LARGE, "the schema needs more than %d kinds of values", NODES_MAX);
    return at == GR_NONE ? 0 : at;
}

/* What the literals of a set say together. */
typedef struct gathered {
    uint32_t min, max;
    uint32_t *required, n_required;          /* texts */
    uint32_t *names, *then, n_rules;         /* PROP: name set, formula; ITEM, ITEMS: index, formula */
    bool *from;                              /* rule is ITEMS */
    uint32_t *exist_names, *exist, n_exists; /* of some property in the name set the formula holds */
    uint32_t contains[GR_CONTAINS_MAX], contains_min[GR_CONTAINS_MAX], contains_max[GR_CONTAINS_MAX];
    uint32_t contains_from[GR_CONTAINS_MAX], n_contains;
    uint32_t unique; /* schema, GR_NONE: none */
    bool not_unique;
} gathered;

static void at_least(gathered *g, uint32_t n) { g->min = n > g->min ? n : g->min; }
static void at_most(gathered *g, uint32_t n) { g->max = n < g->max ? n : g->max; }

static void add_rule(gathered *g, uint32_t names, uint32_t then, bool from)
{
    g->names[g->n_rules] = names, g->then[g->n_rules] = then, g->from[g->n_rules++] = from;
}

static void add_contains(builder *b, gathered *g, uint32_t f, uint32_t from, uint32_t min, uint32_t max)
{
    uint32_t i = 0;
    while (i < g->n_contains && (g->contains[i] != f || g->contains_from[i] != from)) i++;
    if (i == GR_CONTAINS_MAX) {
        gr_fail(b->cc, IG_UNSUPPORTED, "more than %d contains together cannot be enforced", GR_CONTAINS_MAX);
        return;
    }
    if (i == g->n_contains)
        g->contains[i] = f, g->contains_from[i] = from, g->contains_min[i] = 0, g->contains_max[i] = GR_NONE,
        g->n_contains++;
    if (min > CONTAINS_COUNT_MAX || (max > CONTAINS_COUNT_MAX && max != GR_NONE)) {
        gr_fail(b->cc, IG_TOO_LARGE, "minContains and maxContains above %d cannot be enforced", CONTAINS_COUNT_MAX);
        return;
    }
    if (min > g->contains_min[i]) g->contains_min[i] = min;
    if (max < g->contains_max[i]) g->contains_max[i] = max;
}

/* False: the literal can never hold. */
static bool gather_object(builder *b, gathered *g, gr_fkind kind, const uint32_t *a, bool no)
{
    uint32_t n;
    if (kind == GR_F_PRESENT && !no) g->required[g->n_required++] = a[0];
    if (kind == GR_F_PRESENT && no) add_rule(g, gr_names_make(b->doc, GR_N_NAME, a, 1), GR_F_FALSE, false);
    if (kind == GR_F_PROP && !no) add_rule(g, a[0], a[1], false);
    if (kind == GR_F_PROP && no) {
        uint32_t not_then = gr_f_not(b->doc, a[1]);
        const uint32_t *key = gr_intern_key(&b->doc->names, a[0], &n);
        if (key[0] == GR_N_NAME) {
            g->required[g->n_required++] = key[1];
            add_rule(g, a[0], not_then, false);
        } else {
            g->exist_names[g->n_exists] = a[0], g->exist[g->n_exists++] = not_then;
        }
    }
    if (kind == GR_F_PROPS_MIN && no && a[0] == 0) return false;
    if (kind == GR_F_PROPS_MIN) no ? at_most(g, a[0] - 1) : at_least(g, a[0]);
    if (kind == GR_F_PROPS_MAX) no ? at_least(g, a[0] + 1) : at_most(g, a[0]);
    return true;
}

static bool gather_array(builder *b, gathered *g, gr_fkind kind, const uint32_t *a, bool no)
{
    if (kind == GR_F_ITEM) add_rule(g, a[0], no ? gr_f_not(b->doc, a[1]) : a[1], false);
    if (kind == GR_F_ITEM && no) at_least(g, a[0] + 1);
    if (kind == GR_F_ITEMS && !no) add_rule(g, a[0], a[1], true);
    if (kind == GR_F_ITEMS && no) add_contains(b, g, gr_f_not(b->doc, a[1]), a[0], 1, GR_NONE);
    if (kind == GR_F_ITEMS_MIN && no && a[0] == 0) return false;
    if (kind == GR_F_ITEMS_MIN) no ? at_most(g, a[0] - 1) : at_least(g, a[0]);
    if (kind == GR_F_ITEMS_MAX) no ? at_least(g, a[0] + 1) : at_most(g, a[0]);
    if (kind == GR_F_CONTAINS_MIN && no && a[1] == 0) return false;
    if (kind == GR_F_CONTAINS_MIN && no) add_contains(b, g, a[0], a[2], 0, a[1] - 1);
    if (kind == GR_F_CONTAINS_MIN && !no && a[1]) add_contains(b, g, a[0], a[2], a[1], GR_NONE);
    if (kind == GR_F_CONTAINS_MAX) add_contains(b, g, a[0], a[2], no ? a[1] + 1 : 0, no ? GR_NONE : a[1]);
    if (kind == GR_F_UNIQUE && !no) g->unique = a[0];
    if (kind == GR_F_UNIQUE && no) g->not_unique = true;
    return true;
}

static bool gather(builder *b, gathered *g, uint32_t set, bool object)
{
    uint32_t n;
    (void)gr_intern_key(&b->doc->literals, set, &n);
    *g = (gathered){.max = GR_NONE, .unique = GR_NONE};
    g->required = gr_new(b->cc, n, sizeof(uint32_t));
    g->names = gr_new(b->cc, n, sizeof(uint32_t));
    g->then = gr_new(b->cc, n, sizeof(uint32_t));
    g->from = gr_new(b->cc, n, sizeof(bool));
    g->exist_names = gr_new(b->cc, n, sizeof(uint32_t));
    g->exist = gr_new(b->cc, n, sizeof(uint32_t));
    if (!g->exist) return false;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t l = gr_intern_key(&b->doc->literals, set, &n)[i], *a;
        gr_fkind kind = gr_f(b->doc, l / 4, &a, NULL);
        if (!(object ? gather_object : gather_array)(b, g, kind, a, l & GR_NEG)) return false;
    }
    return g->min <= g->max && b->cc->st == IG_OK;
}

static bool add_claims(builder *b, draft *d, uint32_t group, const uint32_t *pairs, uint32_t n)
{
    d->claims[group] = gr_new(b->cc, 2 * n, sizeof(uint32_t));
    if (!d->claims[group]) return false;
    if (n) memcpy(d->claims[group], pairs, 2 * n * sizeof *pairs);
    d->n_claims[group] = n;
    return true;
}

static bool make_groups(builder *b, draft *d, uint32_t n)
{
    d->n_forks = n;
    d->claims = gr_new(b->cc, n, sizeof *d->claims);
    d->n_claims = gr_new(b->cc, n, sizeof *d->n_claims);
    return d->n_claims != NULL;
}

/* The ways to read the value of one label: with each set of the obligations in `can` fulfilled. */
static void fork_exists(builder *b, draft *d, const gathered *g, uint32_t group, uint32_t base, uint32_t can)
{
    uint32_t pairs[2 << GR_EXISTS_MAX], n = 0;
    for (uint32_t m = 0; m < 1u << g->n_exists; m++) {
        uint32_t f = base;
        if (m & ~can) continue;
        for (uint32_t i = 0; i < g->n_exists; i++)
            if (m >> i & 1) f = gr_f_and(b->doc, f, g->exist[i]);
        if (f == GR_F_FALSE) continue;
        pairs[2 * n] = node_of(b, f), pairs[2 * n++ + 1] = m;
    }
    add_claims(b, d, group, pairs, n);
}

/* Declared names: those required and those of NAME sets. */
static uint32_t collect_names(builder *b, const gathered *g, uint32_t *texts)
{
    uint32_t n = 0, len;
    for (uint32_t i = 0; i < g->n_required + g->n_rules; i++) {
        uint32_t t;
        if (i < g->n_required) {
            t = g->required[i];
        } else {
            const uint32_t *key = gr_intern_key(&b->doc->names, g->names[i - g->n_required], &len);
            if (key[0] != GR_N_NAME) continue;
            t = key[1];
        }
        uint32_t k = 0;
        while (k < n && !ig_str_eq(b->doc->texts[texts[k]], b->doc->texts[t])) k++;
        if (k == n) texts[n++] = t;
    }
    gr_pay(b->cc, (uint64_t)n * n);
    return n;
}

/* Rules that speak of more than one name, and obligations, get a bit each in the class labels of the key automaton. */
static const gr_dfa *key_automaton(builder *b, const gathered *g, const ig_str *names, uint32_t n_names,
                                   uint32_t *bit_of, uint32_t *n_bits)
{
    const gr_dfa *d = gr_dfa_words(b->cc, names, n_names, true);
    *n_bits = 0;
    for (uint32_t i = 0; i < g->n_rules + g->n_exists && b->cc->st == IG_OK; i++) {
        uint32_t len, set = i < g->n_rules ? g->names[i] : g->exist_names[i - g->n_rules];
        bit_of[i] = GR_NONE;
        if (gr_intern_key(&b->doc->names, set, &len)[0] == GR_N_NAME) continue;
        for (uint32_t k = 0; k < i; k++)
            if (bit_of[k] != GR_NONE && (k < g->n_rules ? g->names[k] : g->exist_names[k - g->n_rules]) == set)
                bit_of[i] = bit_of[k];
        if (bit_of[i] != GR_NONE) continue;
        if (*n_bits == CLASS_BITS) {
            gr_fail(b->cc, IG_UNSUPPORTED, "more than %d patterns of property names together cannot be enforced",
                    CLASS_BITS);
            return NULL;
        }
        bit_of[i] = (*n_bits)++;
        d = gr_dfa_combine(b->cc, d, gr_names_dfa(b->doc, set), GR_LABEL, 1u << bit_of[i]);
    }
    return b->cc->st == IG_OK ? d : NULL;
}

/* Formula and possible obligations of a class of names given by its bits. */
static uint32_t class_rules(builder *b, const gathered *g, const uint32_t *bit_of, uint32_t bits, uint32_t *can)
{
    uint32_t f = GR_F_TRUE;
    *can = 0;
    for (uint32_t i = 0; i < g->n_rules; i++)
        if (bit_of[i] != GR_NONE && bits >> bit_of[i] & 1) f = gr_f_and(b->doc, f, g->then[i]);
    for (uint32_t i = 0; i < g->n_exists; i++)
        if (bits >> bit_of[g->n_rules + i] & 1) *can |= 1u << i;
    return f;
}

static uint32_t name_rules(builder *b, const gathered *g, ig_str name, uint32_t *can)
{
    uint32_t f = GR_F_TRUE;
    *can = 0;
    for (uint32_t i = 0; i < g->n_rules && f != GR_F_FALSE; i++)
        if (gr_names_has(b->doc, g->names[i], name)) f = gr_f_and(b->doc, f, g->then[i]);
    for (uint32_t i = 0; i < g->n_exists; i++)
        if (gr_names_has(b->doc, g->exist_names[i], name)) *can |= 1u << i;
    return f;
}

static void draft_object(builder *b, draft *d, const gathered *g)
{
    uint32_t *texts = gr_new(b->cc, g->n_required + g->n_rules, 4),
             *bit_of = gr_new(b->cc, g->n_rules + g->n_exists, 4), n_bits, can;
    gr_intern classes = {0};
    gr_leaf *leaf = &d->leaf;
    if (!bit_of) return;
    if (g->n_exists > GR_EXISTS_MAX) {
        gr_fail(b->cc, IG_UNSUPPORTED,
                "not combines with more than %d rules for unnamed properties; this cannot be enforced", GR_EXISTS_MAX);
        return;
    }
    uint32_t n = collect_names(b, g, texts);
    ig_str *names = gr_new(b->cc, n, sizeof *names);
    if (!names || n > NAMES_MAX) {
        gr_fail(b->cc, IG_TOO_LARGE, "more than %d properties in one object", NAMES_MAX);
        return;
    }
    for (uint32_t i = 0; i < n; i++) names[i] = b->doc->texts[texts[i]];
    const gr_dfa *key = key_automaton(b, g, names, n, bit_of, &n_bits);
    if (!key) return;
    leaf->label_of = gr_new(b->cc, key->n_states, 4);
    if (!leaf->label_of) return;
    for (uint32_t q = 0; q < key->n_states; q++) {
        uint32_t label = key->label[q], bits = label - GR_CLASS;
        leaf->label_of[q] = !label             ? GR_NONE
                            : label < GR_CLASS ? label - 1
                                               : n + gr_intern_add(b->cc, &classes, &bits, 1, NULL);
    }
    leaf->object = true, leaf->key = key, leaf->min = g->min, leaf->max = g->max;
    leaf->n_names = n, leaf->n_labels = n + classes.n, leaf->n_exists = g->n_exists;
    leaf->n_words = (leaf->n_labels + leaf->n_exists + 63) / 64;
    if (leaf->n_words == 0) leaf->n_words = 1;
    if (leaf->n_labels > LABELS_MAX)
        gr_fail(b->cc, IG_TOO_LARGE, "more than %d kinds of properties in one object", LABELS_MAX);
    leaf->need = gr_new(b->cc, leaf->n_words, sizeof *leaf->need);
    if (!leaf->need || !make_groups(b, d, leaf->n_labels)) return;
    for (uint32_t i = 0; i < g->n_required; i++)
        for (uint32_t k = 0; k < n; k++)
            if (ig_str_eq(names[k], b->doc->texts[g->required[i]])) leaf->need[k / 64] |= 1ull << (k % 64);
    for (uint32_t i = leaf->n_labels; i < leaf->n_labels + g->n_exists; i++) leaf->need[i / 64] |= 1ull << (i % 64);
    for (uint32_t i = 0; i < leaf->n_labels && b->cc->st == IG_OK; i++) {
        uint32_t len, f = i < n ? name_rules(b, g, names[i], &can)
                                : class_rules(b, g, bit_of, *gr_intern_key(&classes, i - n, &len), &can);
        fork_exists(b, d, g, i, f, can);
    }
}

/* The ways to read an item: for each contains it either fulfils it or not; where there is a maximum, "not" must be
 * true. */
static void fork_items(builder *b, draft *d, const gathered *g, uint32_t group, uint32_t base, uint32_t index)
{
    uint32_t pairs[2 << GR_CONTAINS_MAX], n = 0;
    for (uint32_t m = 0; m < 1u << g->n_contains; m++) {
        uint32_t f = base;
        bool ok = true;
        for (uint32_t i = 0; i < g->n_contains; i++) {
            bool claim = m >> i & 1;
            if (claim && index < g->contains_from[i]) ok = false;
            if (claim) f = gr_f_and(b->doc, f, g->contains[i]);
            if (!claim && g->contains_max[i] != GR_NONE && index >= g->contains_from[i])
                f = gr_f_and(b->doc, f, gr_f_not(b->doc, g->contains[i]));
        }
        if (!ok || f == GR_F_FALSE) continue;
        pairs[2 * n] = node_of(b, f), pairs[2 * n++ + 1] = m;
    }
    add_claims(b, d, group, pairs, n);
}

static void draft_array(builder *b, draft *d, const gathered *g)
{
    gr_leaf *leaf = &d->leaf;
    uint32_t n = 0;
    if (g->not_unique || (g->unique != GR_NONE && g->max > 1)) {
        const char *at = g->unique == GR_NONE ? "" : b->doc->schemas[g->unique].pointer;
        gr_fail(b->cc, IG_UNSUPPORTED, "#%s/uniqueItems: cannot be enforced; leave it out", at);
        return;
    }
    for (uint32_t i = 0; i < g->n_rules; i++) {
        uint32_t end = g->names[i] + !g->from[i];
        n = end > n ? end : n;
    }
    for (uint32_t i = 0; i < g->n_contains; i++) n = g->contains_from[i] > n ? g->contains_from[i] : n;
    if (n > ITEMS_MAX) {
        gr_fail(b->cc, IG_TOO_LARGE, "more than %d items with schemas of their own", ITEMS_MAX);
        return;
    }
    leaf->min = g->min, leaf->max = g->max, leaf->n_prefix = n, leaf->n_contains = g->n_contains;
    for (uint32_t i = 0; i < g->n_contains; i++)
        leaf->contains[i].min = g->contains_min[i], leaf->contains[i].max = g->contains_max[i];
    if (!make_groups(b, d, n + 1)) return;
    for (uint32_t k = 0; k <= n && b->cc->st == IG_OK; k++) {
        uint32_t f = GR_F_TRUE;
        for (uint32_t i = 0; i < g->n_rules; i++)
            if (g->from[i] ? k >= g->names[i] : k == g->names[i]) f = gr_f_and(b->doc, f, g->then[i]);
        fork_items(b, d, g, k, f, k);
    }
}

static uint32_t leaf_of(builder *b, uint32_t set, bool object)
{
    bool is_new;
    uint32_t at = gr_intern_add(b->cc, &b->kinds, (uint32_t[]){object, set}, 2, &is_new);
    gathered g;
    if (at == GR_NONE || !is_new) return at;
    if (b->kinds.n > LEAVES_MAX)
        gr_fail(b->cc, IG_TOO_LARGE, "the schema needs more than %d kinds of objects", LEAVES_MAX);
    if (!gr_grow(b->cc, (void **)&b->draft, at, &b->cap_draft, sizeof *b->draft)) return GR_NONE;
    draft *d = &b->draft[at];
    *d = (draft){.leaf = {.object = object, .max = GR_NONE}};
    d->dead = !gather(b, &g, set, object);
    if (!d->dead) (object ? draft_object : draft_array)(b, d, &g);
    return at;
}

/* num: any form; the canonical form of the same values. */
static const gr_dfa *canonical(builder *b, const gr_dfa *num)
{
    gr_cc *cc = b->cc;
    if (!b->doc->integer) b->doc->integer = gr_number_multiple(cc, (gr_dec){.n_int = 1, .digits = "1"});
    const gr_dfa *fractions = gr_dfa_combine(cc, num, b->doc->integer, GR_DIFF, 0);
    if (!fractions) return NULL;
    const gr_dfa *form = gr_number_canonical(cc, b->doc->int_digits, gr_dfa_empty(fractions));
    const gr_dfa *c = gr_dfa_combine(cc, num, form, GR_AND, 0);
    return c && gr_dfa_empty(c) ? num : c;
}

static void build_numbers(builder *b, gr_node *n, const gr_dfa *num, gr_intern *seen, const gr_dfa *(**memo)[2])
{
    bool is_new;
    uint64_t p = (uint64_t)(uintptr_t)num;
    uint32_t at = gr_intern_add(b->cc, seen, (uint32_t[]){(uint32_t)p, (uint32_t)(p >> 32)}, 2, &is_new);
    if (at == GR_NONE || !gr_grow(b->cc, (void **)memo, at, &b->cap_num, sizeof **memo)) return;
    if (is_new) {
        bool any = num == &gr_dfa_all;
        (*memo)[at][0] = any ? gr_number_any(b->cc, false) : num;
        (*memo)[at][1] = any ? gr_number_any(b->cc, true) : gr_dfa_empty(num) ? num : canonical(b, num);
    }
    n->num[0] = (*memo)[at][0], n->num[1] = (*memo)[at][1];
}

static void build_nodes(builder *b)
{
    gr_intern seen = {0};
    const gr_dfa *(*memo)[2] = NULL;
    for (uint32_t i = 0; i < b->nodes.n && b->cc->st == IG_OK; i++) {
        uint32_t len, f = *gr_intern_key(&b->nodes, i, &len), n = 0;
        const gr_scalar *s = gr_scalar_of(b->doc, f);
        if (!s || !gr_grow(b->cc, (void **)&b->node, i, &b->cap_node, sizeof *b->node)) return;
        if (!gr_grow(b->cc, (void **)&b->leaf_list, i, &b->cap_leaf_list, sizeof *b->leaf_list)) return;
        gr_alts objects = gr_alternatives(b->doc, f, GR_T_OBJECT), arrays = gr_alternatives(b->doc, f, GR_T_ARRAY);
        uint32_t *list = gr_new(b->cc, objects.n + arrays.n, sizeof *list);
        if (!list) return;
        for (uint32_t k = 0; k < objects.n; k++) list[n++] = leaf_of(b, objects.sets[k], true);
        for (uint32_t k = 0; k < arrays.n; k++) list[n++] = leaf_of(b, arrays.sets[k], false);
        b->leaf_list[i] = list;
        b->node[i] = (gr_node){.lit = s->lit, .str = s->str, .n_objects = objects.n, .n_leaves = n};
        build_numbers(b, &b->node[i], s->num, &seen, &memo);
    }
}

static bool group_live(const builder *b, const draft *d, uint32_t group)
{
    for (uint32_t i = 0; i < d->n_claims[group]; i++)
        if (b->node[d->claims[group][2 * i]].live) return true;
    return false;
}

static bool object_live(const builder *b, const draft *d)
{
    const gr_leaf *l = &d->leaf;
    uint32_t n = 0, n_need = 0, claimable = 0;
    for (uint32_t i = 0; i < l->n_labels; i++) {
        bool live = group_live(b, d, i), need = l->need[i / 64] >> (i % 64) & 1;
        if (need && !live) return false;
        n_need += need;
        if (live) n = i >= l->n_names ? GR_NONE : n + (n != GR_NONE);
        for (uint32_t k = 0; k < d->n_claims[i]; k++)
            if (b->node[d->claims[i][2 * k]].live) claimable |= d->claims[i][2 * k + 1];
    }
    return n >= l->min && n_need <= l->max && claimable == (1u << l->n_exists) - 1;
}

static bool array_live(const builder *b, draft *d)
{
    gr_leaf *l = &d->leaf;
    uint32_t top = 0;
    while (top <= l->n_prefix && group_live(b, d, top)) top++;
    uint32_t most = top > l->n_prefix ? GR_NONE : top;
    if (l->min > (most < l->max ? most : l->max)) return false;
    for (uint32_t c = 0; c < l->n_contains; c++) {
        uint32_t can = 0, limit = l->max < most ? l->max : most;
        for (uint32_t k = 0; k <= l->n_prefix && k < limit && can != GR_NONE; k++)
            for (uint32_t i = 0; i < d->n_claims[k]; i++)
                if (d->claims[k][2 * i + 1] >> c & 1 && b->node[d->claims[k][2 * i]].live) {
                    can = k < l->n_prefix ? can + 1 : limit == GR_NONE ? GR_NONE : can + (limit - l->n_prefix);
                    break;
                }
        if (can < l->contains[c].min || l->contains[c].max < l->contains[c].min) return false;
    }
    return true;
}

/* Least fixed point: a node is live when a scalar or a live leaf is. */
static void find_live(builder *b)
{
    for (bool more = true; more && b->cc->st == IG_OK;) {
        more = false;
        gr_pay(b->cc, (uint64_t)b->nodes.n + b->kinds.n);
        for (uint32_t i = 0; i < b->kinds.n; i++) {
            draft *d = &b->draft[i];
            if (d->dead || d->leaf.live) continue;
            d->leaf.live = d->leaf.object ? object_live(b, d) : array_live(b, d);
            more = more || d->leaf.live;
        }
        for (uint32_t i = 0; i < b->nodes.n; i++) {
            gr_node *n = &b->node[i];
            bool live = n->lit || !gr_dfa_empty(n->str) || !gr_dfa_empty(n->num[0]);
            for (uint32_t k = 0; k < n->n_leaves && !live; k++) live = b->draft[b->leaf_list[i][k]].leaf.live;
            more = more || (live && !n->live);
            n->live = n->live || live;
        }
    }
}

/* Copying into the grammar's own memory. */

typedef struct keeper {
    gr_cc *cc;
    ig_grammar *g;
    gr_intern seen;
    const gr_dfa **copies;
    uint32_t cap;
} keeper;

static void *keep(keeper *k, const void *p, size_t n, size_t size)
{
    void *q = k->cc->st == IG_OK ? ig_arena_alloc(&k->g->mem, n ? n : 1, size) : NULL;
    if (!q) gr_fail(k->cc, IG_NO_MEMORY, "out of memory for the grammar");
    if (q && p && n) memcpy(q, p, n * size);
    return q;
}

static const gr_dfa *keep_dfa(keeper *k, const gr_dfa *d)
{
    bool is_new;
    uint64_t p = (uint64_t)(uintptr_t)d;
    if (!d) return NULL;
    uint32_t at = gr_intern_add(k->cc, &k->seen, (uint32_t[]){(uint32_t)p, (uint32_t)(p >> 32)}, 2, &is_new);
    if (at == GR_NONE || !gr_grow(k->cc, (void **)&k->copies, at, &k->cap, sizeof *k->copies)) return NULL;
    if (is_new) k->copies[at] = gr_dfa_copy(&k->g->mem, d);
    if (!k->copies[at]) gr_fail(k->cc, IG_NO_MEMORY, "out of memory for the grammar");
    return k->copies[at];
}

/* Which labels can still be reached from each state of the key automaton. */
static void find_reach(gr_cc *cc, gr_leaf *l)
{
    const gr_dfa *d = l->key;
    for (uint32_t q = 0; q < d->n_states; q++)
        if (l->label_of[q] != GR_NONE)
            l->reach[(size_t)q * l->n_words + l->label_of[q] / 64] |= 1ull << (l->label_of[q] % 64);
    for (bool more = true; more && gr_pay(cc, (uint64_t)d->n_states * d->n_cls * l->n_words);) {
        more = false;
        for (uint32_t q = d->n_states - 1; q > 0; q--)
            for (uint32_t c = 0; c < d->n_cls; c++) {
                uint32_t t = d->next[(size_t)q * d->n_cls + c];
                for (uint32_t w = 0; t && w < l->n_words; w++) {
                    uint64_t was = l->reach[(size_t)q * l->n_words + w],
                             now = was | l->reach[(size_t)t * l->n_words + w];
                    more = more || now != was;
                    l->reach[(size_t)q * l->n_words + w] = now;
                }
            }
    }
}

static void keep_object(keeper *k, gr_leaf *l)
{
    l->label_of = keep(k, l->label_of, l->key->n_states, 4);
    l->need = keep(k, l->need, l->n_words, 8);
    l->key = keep_dfa(k, l->key);
    l->usable = keep(k, NULL, l->n_words, 8);
    l->open = keep(k, NULL, l->n_words, 8);
    l->reach = k->cc->st == IG_OK ? keep(k, NULL, (size_t)l->key->n_states * l->n_words, 8) : NULL;
    if (!l->reach) return;
    for (uint32_t i = 0; i < l->n_labels; i++) {
        if (!l->forks[i].n) continue;
        l->usable[i / 64] |= 1ull << (i % 64);
        if (i >= l->n_names) l->open[i / 64] |= 1ull << (i % 64);
    }
    find_reach(k->cc, l);
    l->all_open = true;
    for (uint32_t q = 1; q < l->key->n_states; q++) {
        bool open = false;
        for (uint32_t w = 0; w < l->n_words; w++) open = open || l->reach[(size_t)q * l->n_words + w] & l->open[w];
        l->all_open = l->all_open && open;
    }
}

static void keep_leaf(keeper *k, const builder *b, draft *d, gr_leaf *out)
{
    *out = d->leaf;
    if (!out->live) return;
    out->forks = keep(k, NULL, d->n_forks, sizeof *out->forks);
    for (uint32_t i = 0; out->forks && i < d->n_forks; i++) {
        gr_fork *list = keep(k, NULL, d->n_claims[i], sizeof *list);
        uint32_t n = 0;
        for (uint32_t c = 0; list && c < d->n_claims[i]; c++)
            if (b->node[d->claims[i][2 * c]].live) list[n++] = (gr_fork){d->claims[i][2 * c], d->claims[i][2 * c + 1]};
        out->forks[i] = (gr_forks){list, n};
    }
    if (out->object) keep_object(k, out);
}

static void keep_all(builder *b, ig_grammar *g)
{
    keeper k = {.cc = b->cc, .g = g};
    g->json = true;
    g->n_nodes = b->nodes.n, g->n_leaves = b->kinds.n;
    g->nodes = keep(&k, b->node, g->n_nodes, sizeof *g->nodes);
    g->leaves = keep(&k, NULL, g->n_leaves, sizeof *g->leaves);
    for (uint32_t i = 0; i < g->n_leaves && b->cc->st == IG_OK; i++) keep_leaf(&k, b, &b->draft[i], &g->leaves[i]);
    for (uint32_t i = 0; i < g->n_nodes && b->cc->st == IG_OK; i++) {
        gr_node *n = &g->nodes[i];
        uint32_t *list = keep(&k, NULL, n->n_leaves, 4), m = 0, objects = 0;
        for (uint32_t c = 0; list && c < n->n_leaves; c++) {
            if (!g->leaves[b->leaf_list[i][c]].live) continue;
            objects += c < n->n_objects;
            list[m++] = b->leaf_list[i][c];
        }
        n->leaves = list, n->n_leaves = m, n->n_objects = objects;
        n->str = keep_dfa(&k, n->str);
        n->num[0] = keep_dfa(&k, n->num[0]);
        n->num[1] = keep_dfa(&k, n->num[1]);
    }
}

void gr_build_schema(gr_cc *cc, ig_grammar *g, const char *text, size_t n)
{
    gr_doc doc = {.cc = cc};
    builder b = {.cc = cc, .doc = &doc};
    uint32_t f = gr_doc_load(&doc, text, n);
    if (f != GR_NONE) {
        g->root = node_of(&b, f);
        build_nodes(&b);
    }
    if (cc->st == IG_OK) find_live(&b);
    if (cc->st == IG_OK) keep_all(&b, g);
    g->live = cc->st == IG_OK && g->nodes[g->root].live;
    gr_doc_fini(&doc);
}

void gr_build_values(gr_cc *cc, ig_grammar *g, const char *schemas, size_t n)
{
    static const char head[] = "{\"type\":\"array\",\"prefixItems\":";
    char *text = gr_new(cc, sizeof head + n + 1, 1);
    if (!text) return;
    memcpy(text, head, sizeof head - 1);
    memcpy(text + sizeof head - 1, schemas, n);
    text[sizeof head - 1 + n] = '}';
    gr_build_schema(cc, g, text, sizeof head + n);
    if (cc->st != IG_OK) return;
    const gr_node *root = &g->nodes[g->root];
    const gr_leaf *list = root->n_leaves == 1 ? &g->leaves[root->leaves[0]] : NULL;
    g->json = false;
    if (!list || list->object || list->n_contains) {
        gr_fail(cc, IG_BUG, "the list of schemas is no list");
        return;
    }
    json_t *all = json_loadb(schemas, n, 0, NULL);
    g->n_values = (uint32_t)json_array_size(all);
    json_decref(all);
    g->values = ig_arena_alloc(&g->mem, g->n_values ? g->n_values : 1, sizeof *g->values);
    if (!g->values) gr_fail(cc, IG_NO_MEMORY, "out of memory for the grammar");
    for (uint32_t i = 0; g->values && i < g->n_values; i++)
        g->values[i] = list->forks[i < list->n_prefix ? i : list->n_prefix]; /* the last ones may all be alike */
}
