/* What a formula means: automata for strings and numbers, alternatives of literals for objects and arrays. */
#include <stdio.h>

#include "base/sort.h"
#include "formula.h"

enum { ALTS_MAX = 1024, IN_PLACE_MAX = 200, SUBSETS_MAX = 6, CLASH_MAX = 3 };

static const struct {
    unsigned types; /* of which values the atom speaks */
} atoms[GR_F_KINDS] = {
    [GR_F_LENGTH] = {GR_T_STRING},
    [GR_F_PATTERN] = {GR_T_STRING},
    [GR_F_FORMAT] = {GR_T_STRING},
    [GR_F_COMPARE] = {GR_T_INTEGER | GR_T_FRACTION},
    [GR_F_MULTIPLE] = {GR_T_INTEGER | GR_T_FRACTION},
    [GR_F_PRESENT] = {GR_T_OBJECT},
    [GR_F_PROP] = {GR_T_OBJECT},
    [GR_F_PROPS_MIN] = {GR_T_OBJECT},
    [GR_F_PROPS_MAX] = {GR_T_OBJECT},
    [GR_F_ITEM] = {GR_T_ARRAY},
    [GR_F_ITEMS] = {GR_T_ARRAY},
    [GR_F_ITEMS_MIN] = {GR_T_ARRAY},
    [GR_F_ITEMS_MAX] = {GR_T_ARRAY},
    [GR_F_CONTAINS_MIN] = {GR_T_ARRAY},
    [GR_F_CONTAINS_MAX] = {GR_T_ARRAY},
    [GR_F_UNIQUE] = {GR_T_ARRAY},
};

/* Names the schema in messages while one of its atoms is computed. */
static const char *enter_schema(gr_doc *doc, uint32_t schema, const char *keyword)
{
    const char *was = doc->cc->where, *pointer = doc->schemas[schema].pointer;
    size_t n = strlen(pointer) + strlen(keyword) + 3;
    char *at = gr_new(doc->cc, n, 1);
    if (at) (void)snprintf(at, n, "#%s/%s", pointer, keyword), doc->cc->where = at;
    return was;
}

/* A look at other values than the one being expanded: what is in progress does not count there. */
typedef struct aside {
    uint8_t *busy;
    uint32_t cap;
} aside;

static aside step_aside(gr_doc *doc)
{
    aside was = {doc->busy, doc->cap_busy};
    doc->busy = NULL, doc->cap_busy = 0;
    return was;
}

static void step_back(gr_doc *doc, aside was) { doc->busy = was.busy, doc->cap_busy = was.cap; }

const gr_dfa *gr_names_dfa(gr_doc *doc, uint32_t names)
{
    gr_cc *cc = doc->cc;
    if (cc->st != IG_OK) return NULL;
    while (doc->cap_name_dfas <= names)
        if (!gr_grow(cc, (void **)&doc->name_dfas, doc->cap_name_dfas, &doc->cap_name_dfas, sizeof *doc->name_dfas))
            return NULL;
    if (doc->name_dfas[names]) return doc->name_dfas[names];
    uint32_t n;
    const uint32_t *key = gr_intern_key(&doc->names, names, &n);
    const gr_dfa *d = NULL;
    if (key[0] == GR_N_NAME) {
        d = gr_dfa_plain(cc, gr_dfa_words(cc, &doc->texts[key[1]], 1, false));
    } else if (key[0] == GR_N_PATTERN) {
        const char *was = enter_schema(doc, key[2], "patternProperties");
        d = gr_regex(cc, doc->texts[key[1]]);
        cc->where = was;
    } else if (key[0] == GR_N_STRINGS) {
        aside was = step_aside(doc);
        const gr_scalar *s = gr_scalar_of(doc, key[1]);
        step_back(doc, was);
        d = s ? s->str : NULL;
    } else {
        d = &gr_dfa_all;
        for (uint32_t i = 1; i < n && cc->st == IG_OK; i++) {
            key = gr_intern_key(&doc->names, names, &n);
            d = gr_dfa_combine(cc, d, gr_names_dfa(doc, key[i]), GR_DIFF, 0);
        }
    }
    if (d) doc->name_dfas[names] = d;
    return d;
}

bool gr_names_has(gr_doc *doc, uint32_t names, ig_str name)
{
    uint32_t n;
    const uint32_t *key = gr_intern_key(&doc->names, names, &n);
    if (key[0] == GR_N_NAME) return ig_str_eq(doc->texts[key[1]], name);
    if (key[0] == GR_N_OTHERS) {
        for (uint32_t i = 1; i < n; i++) {
            key = gr_intern_key(&doc->names, names, &n);
            if (gr_names_has(doc, key[i], name)) return false;
        }
        return true;
    }
    const gr_dfa *d = gr_names_dfa(doc, names);
    return d && gr_dfa_match(d, name);
}

/* Scalars. */

static const gr_scalar everything = {GR_T_NULL | GR_T_TRUE | GR_T_FALSE, &gr_dfa_all, &gr_dfa_all};

static const gr_dfa *integers(gr_doc *doc)
{
    if (!doc->integer) doc->integer = gr_number_multiple(doc->cc, (gr_dec){.n_int = 1, .digits = "1"});
    return doc->integer;
}

static const gr_dfa *num_without(gr_doc *doc, const gr_dfa *a, const gr_dfa *b)
{
    if (a == &gr_dfa_all && b == &gr_dfa_all) return &gr_dfa_none;
    if (b && gr_dfa_empty(b)) return a;
    if (a == &gr_dfa_all && !doc->plain) doc->plain = gr_number_plain(doc->cc);
    return gr_dfa_combine(doc->cc, a == &gr_dfa_all ? doc->plain : a, b, GR_DIFF, 0);
}

static gr_scalar scalar_op(gr_doc *doc, gr_scalar a, gr_scalar b, gr_dfa_op op)
{
    gr_scalar r = {op == GR_AND ? a.lit & b.lit : op == GR_OR ? a.lit | b.lit : a.lit & ~b.lit, NULL, NULL};
    r.str = gr_dfa_combine(doc->cc, a.str, b.str, op, 0);
    r.num = op == GR_DIFF ? num_without(doc, a.num, b.num) : gr_dfa_combine(doc->cc, a.num, b.num, op, 0);
    return r;
}

static bool read_dec(gr_doc *doc, json_t *v, gr_dec *out)
{
    char text[64];
    if (json_is_integer(v)) {
        (void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else {
        for (int digits = 15; digits <= 17; digits++) {
            (void)snprintf(text, sizeof text, "%.*g", digits, json_real_value(v));
            if (strtod(text, NULL) == json_real_value(v)) break;
        }
    }
    if (!gr_dec_read(doc->cc, text, out)) {
        gr_fail(doc->cc, IG_UNSUPPORTED, "the number %s has too many digits to be enforced", text);
        return false;
    }
    if (out->n_int > doc->int_digits) doc->int_digits = out->n_int;
    return true;
}

static gr_scalar none_scalar(void) { return (gr_scalar){0, &gr_dfa_none, &gr_dfa_none}; }

static gr_scalar scalar_const(gr_doc *doc, json_t *v)
{
    gr_scalar s = none_scalar();
    gr_dec d;
    if (json_is_null(v)) s.lit = GR_T_NULL;
    if (json_is_true(v)) s.lit = GR_T_TRUE;
    if (json_is_false(v)) s.lit = GR_T_FALSE;
    if (json_is_string(v)) {
        ig_str text = {json_string_value(v), json_string_length(v)};
        s.str = gr_dfa_plain(doc->cc, gr_dfa_words(doc->cc, &text, 1, false));
    }
    if (json_is_number(v) && read_dec(doc, v, &d)) s.num = gr_number_compare(doc->cc, d, GR_EQ);
    return s;
}

/* enum: the texts among the constants at once. */
static bool scalar_texts(gr_doc *doc, const uint32_t *args, uint32_t n, gr_scalar *out)
{
    ig_str *list = gr_new(doc->cc, n, sizeof *list);
    const uint32_t *one;
    for (uint32_t i = 0; list && i < n; i++) {
        if (gr_f(doc, args[i], &one, NULL) != GR_F_CONST || !json_is_string(doc->values[one[0]])) return false;
        list[i] = (ig_str){json_string_value(doc->values[one[0]]), json_string_length(doc->values[one[0]])};
    }
    if (!list || n < 2) return false;
    *out = none_scalar();
    out->str = gr_dfa_plain(doc->cc, gr_dfa_words(doc->cc, list, n, false));
    return true;
}

static gr_scalar scalar_list(gr_doc *doc, uint32_t f, gr_fkind kind)
{
    uint32_t n;
    const uint32_t *args;
    bool all = kind == GR_F_AND;
    gr_scalar r = all ? everything : none_scalar(), none = everything;
    (void)gr_f(doc, f, &args, &n);
    uint32_t *copy = gr_new(doc->cc, n, sizeof *copy);
    if (!copy) return none_scalar();
    memcpy(copy, args, n * sizeof *copy);
    if (kind == GR_F_ANY && scalar_texts(doc, copy, n, &r)) return r;
    for (uint32_t i = 0; i < n && doc->cc->st == IG_OK; i++) {
        const gr_scalar *s = gr_scalar_of(doc, copy[i]);
        if (!s) break;
        if (kind == GR_F_ONE) {
            r = scalar_op(doc, scalar_op(doc, r, *s, GR_DIFF), scalar_op(doc, *s, none, GR_AND), GR_OR);
            none = scalar_op(doc, none, *s, GR_DIFF);
        } else {
            r = scalar_op(doc, r, *s, all ? GR_AND : GR_OR);
        }
    }
    return r;
}

static gr_scalar scalar_type(gr_doc *doc, unsigned mask)
{
    gr_scalar s = {mask & (GR_T_NULL | GR_T_TRUE | GR_T_FALSE), mask & GR_T_STRING ? &gr_dfa_all : &gr_dfa_none,
                   &gr_dfa_none};
    if (mask & GR_T_FRACTION)
        s.num = mask & GR_T_INTEGER ? &gr_dfa_all : num_without(doc, &gr_dfa_all, integers(doc));
    else if (mask & GR_T_INTEGER)
        s.num = integers(doc);
    return s;
}

/* A pattern's or a format's automaton, made once for each text. */
static const gr_dfa *text_automaton(gr_doc *doc, uint32_t text, bool format)
{
    uint32_t *cap = &doc->cap_text_dfas[format];
    while (*cap <= text)
        if (!gr_grow(doc->cc, (void **)&doc->text_dfas[format], *cap, cap, sizeof **doc->text_dfas)) return NULL;
    const gr_dfa **at = &doc->text_dfas[format][text];
    if (!*at) *at = (format ? gr_format : gr_regex)(doc->cc, doc->texts[text]);
    return *at;
}

static gr_scalar scalar_atom(gr_doc *doc, gr_fkind kind, const uint32_t *a)
{
    gr_scalar s = everything;
    gr_dec d;
    const char *was = doc->cc->where;
    if (kind == GR_F_LENGTH) s.str = gr_dfa_length(doc->cc, a[0], a[1]);
    if (kind == GR_F_PATTERN || kind == GR_F_FORMAT || kind == GR_F_MULTIPLE)
        was = enter_schema(doc, a[1], kind == GR_F_PATTERN ? "pattern" : kind == GR_F_FORMAT ? "format" : "multipleOf");
    if (kind == GR_F_PATTERN) s.str = text_automaton(doc, a[0], false);
    if (kind == GR_F_FORMAT) s.str = text_automaton(doc, a[0], true);
    if (kind == GR_F_MULTIPLE && read_dec(doc, doc->values[a[0]], &d)) s.num = gr_number_multiple(doc->cc, d);
    if (kind == GR_F_COMPARE && read_dec(doc, doc->values[a[0]], &d)) s.num = gr_number_compare(doc->cc, d, a[1]);
    doc->cc->where = was;
    return s;
}

static bool enter(gr_doc *doc, uint32_t f)
{
    while (doc->cap_busy <= f)
        if (!gr_grow(doc->cc, (void **)&doc->busy, doc->cap_busy, &doc->cap_busy, 1)) return false;
    if (doc->busy[f] || doc->depth >= IN_PLACE_MAX) {
        uint32_t n;
        const uint32_t *a;
        bool schema = gr_f(doc, f, &a, &n) == GR_F_SCHEMA;
        gr_fail(doc->cc, IG_UNSUPPORTED,
                "#%s: the schema refers to itself without anything between, or is nested too deeply",
                schema ? doc->schemas[a[0]].pointer : "");
        return false;
    }
    doc->busy[f] = 1;
    doc->depth++;
    return true;
}

static void leave(gr_doc *doc, uint32_t f)
{
    doc->busy[f] = 0;
    doc->depth--;
}

static gr_scalar scalar_new(gr_doc *doc, uint32_t f)
{
    uint32_t n;
    const uint32_t *a;
    gr_fkind kind = gr_f(doc, f, &a, &n);
    uint32_t arg[2] = {n ? a[0] : 0, n > 1 ? a[1] : 0};
    const gr_scalar *s;
    switch (kind) {
    case GR_F_TRUE: return everything;
    case GR_F_FALSE: return none_scalar();
    case GR_F_SCHEMA: s = gr_scalar_of(doc, gr_schema_formula(doc, arg[0], arg[1])); break;
    case GR_F_UNEVAL_PROPS:
    case GR_F_UNEVAL_ITEMS: s = gr_scalar_of(doc, arg[0]); break;
    case GR_F_NOT: s = gr_scalar_of(doc, arg[0]); return s ? scalar_op(doc, everything, *s, GR_DIFF) : none_scalar();
    case GR_F_AND:
    case GR_F_ANY:
    case GR_F_FIRST:
    case GR_F_ONE: return scalar_list(doc, f, kind);
    case GR_F_TYPE: return scalar_type(doc, arg[0]);
    case GR_F_CONST: return scalar_const(doc, doc->values[arg[0]]);
    default: return scalar_atom(doc, kind, arg);
    }
    return s ? *s : none_scalar();
}

const gr_scalar *gr_scalar_of(gr_doc *doc, uint32_t f)
{
    gr_cc *cc = doc->cc;
    while (doc->cap_scalars <= f)
        if (!gr_grow(cc, (void **)&doc->scalars, doc->cap_scalars, &doc->cap_scalars, sizeof *doc->scalars))
            return NULL;
    if (doc->scalars[f]) return doc->scalars[f];
    gr_scalar *s = gr_new(cc, 1, sizeof *s);
    if (!s || !enter(doc, f)) return NULL;
    *s = scalar_new(doc, f);
    leave(doc, f);
    if (cc->st != IG_OK || !s->str || !s->num) return NULL;
    return doc->scalars[f] = s;
}

/* Objects and arrays. mode: how annotations of alternatives are followed. */
typedef enum track { PLAIN, COLLECT, EXACT } track;
typedef struct expander {
    gr_doc *doc;
    unsigned type;
} expander;

static gr_alts expand(expander *x, uint32_t f, unsigned flags, track mode);

static void alts_push(expander *x, gr_alts *alts, uint32_t set)
{
    for (uint32_t i = 0; i < alts->n; i++)
        if (alts->sets[i] == set) return;
    if (alts->n >= ALTS_MAX) {
        gr_fail(x->doc->cc, IG_UNSUPPORTED, "anyOf, oneOf, not and if combine to more than %d alternatives", ALTS_MAX);
        return;
    }
    if (gr_grow(x->doc->cc, (void **)&alts->sets, alts->n, &alts->cap, sizeof *alts->sets)) alts->sets[alts->n++] = set;
}

static gr_alts alts_of(expander *x, const uint32_t *literals, uint32_t n)
{
    gr_alts alts = {0};
    uint32_t set = gr_intern_add(x->doc->cc, &x->doc->literals, literals, n, NULL);
    if (set != GR_NONE) alts_push(x, &alts, set);
    return alts;
}

/* Joins two sorted literal lists; GR_NONE when they contradict each other. */
static uint32_t join_sets(expander *x, uint32_t a, uint32_t b)
{
    uint32_t n_a, n_b, n = 0, i = 0, k = 0;
    const uint32_t *p = gr_intern_key(&x->doc->literals, a, &n_a), *q = gr_intern_key(&x->doc->literals, b, &n_b);
    if (!n_a || a == b) return b;
    if (!n_b) return a;
    uint32_t *all = gr_new(x->doc->cc, n_a + n_b, sizeof *all);
    if (!all || !gr_pay(x->doc->cc, n_a + n_b)) return GR_NONE;
    while (i < n_a || k < n_b) {
        uint32_t v = k == n_b || (i < n_a && p[i] <= q[k]) ? p[i] : q[k];
        i += i < n_a && p[i] == v;
        k += k < n_b && q[k] == v;
        for (uint32_t back = n; back && all[back - 1] / 4 == v / 4; back--)
            if ((all[back - 1] ^ v) & GR_NEG) return GR_NONE;
        all[n++] = v;
    }
    return gr_intern_add(x->doc->cc, &x->doc->literals, all, n, NULL);
}

static gr_alts product(expander *x, gr_alts a, gr_alts b)
{
    gr_alts out = {0};
    for (uint32_t i = 0; i < a.n; i++)
        for (uint32_t k = 0; k < b.n && x->doc->cc->st == IG_OK; k++) {
            uint32_t set = join_sets(x, a.sets[i], b.sets[k]);
            if (set != GR_NONE) alts_push(x, &out, set);
        }
    return out;
}

/* Whether the set has no literals: always true. */
static bool trivial(const expander *x, gr_alts a)
{
    uint32_t n;
    for (uint32_t i = 0; i < a.n; i++) {
        (void)gr_intern_key(&x->doc->literals, a.sets[i], &n);
        if (!n) return true;
    }
    return false;
}

static gr_alts expand_and(expander *x, const uint32_t *list, uint32_t n, unsigned flags, track mode)
{
    gr_alts out = alts_of(x, NULL, 0);
    for (uint32_t i = 0; i < n && out.n; i++) out = product(x, out, expand(x, list[i], flags, mode));
    return out;
}

static gr_alts expand_union(expander *x, const uint32_t *list, uint32_t n, unsigned flags)
{
    gr_alts out = {0};
    for (uint32_t i = 0; i < n && x->doc->cc->st == IG_OK; i++) {
        gr_alts one = expand(x, list[i], flags, PLAIN);
        if (trivial(x, one)) return alts_of(x, NULL, 0);
        for (uint32_t k = 0; k < one.n; k++) alts_push(x, &out, one.sets[k]);
    }
    return out;
}

/* At least one of the list, with the annotations of all that hold: an alternative for each set of holding members.
 * EXACT: the members outside the set do not hold. */
static gr_alts expand_subsets(expander *x, const uint32_t *list, uint32_t n, unsigned flags, track mode)
{
    gr_alts out = {0};
    if (n > SUBSETS_MAX) {
        gr_fail(x->doc->cc, IG_UNSUPPORTED, "anyOf with more than %d schemas beside unevaluated... cannot be enforced",
                SUBSETS_MAX);
        return out;
    }
    for (uint32_t mask = 1; mask < 1u << n && x->doc->cc->st == IG_OK; mask++) {
        gr_alts one = alts_of(x, NULL, 0);
        for (uint32_t i = 0; i < n && one.n; i++) {
            if (mask >> i & 1)
                one = product(x, one, expand(x, list[i], flags, mode));
            else if (mode == EXACT)
                one = product(x, one, expand(x, list[i], (flags ^ GR_NEG) | GR_SILENT, PLAIN));
        }
        for (uint32_t k = 0; k < one.n; k++) alts_push(x, &out, one.sets[k]);
    }
    return out;
}

static gr_alts expand_first(expander *x, const uint32_t *list, uint32_t n, unsigned flags, track mode)
{
    gr_alts out = {0};
    for (uint32_t i = 0; i < n && x->doc->cc->st == IG_OK; i++) {
        gr_alts one = expand(x, list[i], flags, mode);
        for (uint32_t k = 0; k < one.n; k++) alts_push(x, &out, one.sets[k]);
    }
    return out;
}

/* Whether no value is valid for both, as far as a quick look at required properties and constants tells. */
static bool disjoint(gr_doc *doc, uint32_t f, uint32_t g);

static uint32_t prop_formula(gr_doc *doc, uint32_t set, ig_str name)
{
    uint32_t n, n_args, f = GR_F_TRUE;
    const uint32_t *a;
    (void)gr_intern_key(&doc->literals, set, &n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t l = gr_intern_key(&doc->literals, set, &n)[i], to = GR_NONE;
        gr_fkind kind = gr_f(doc, l / 4, &a, &n_args);
        if (kind == GR_F_PRESENT && l & GR_NEG && ig_str_eq(doc->texts[a[0]], name)) return GR_F_FALSE;
        if (kind == GR_F_PROP && !(l & GR_NEG)) {
            uint32_t names = a[0], then = a[1];
            if (gr_names_has(doc, names, name)) to = then;
        }
        if (to != GR_NONE) f = gr_f_and(doc, f, to);
    }
    return f;
}

static bool sets_clash(gr_doc *doc, uint32_t a, uint32_t b)
{
    for (int side = 0; side < 2; side++) {
        uint32_t n, from = side ? b : a;
        const uint32_t *args;
        (void)gr_intern_key(&doc->literals, from, &n);
        for (uint32_t i = 0; i < n && doc->cc->st == IG_OK; i++) {
            uint32_t l = gr_intern_key(&doc->literals, from, &n)[i];
            if (gr_f(doc, l / 4, &args, NULL) != GR_F_PRESENT || l & GR_NEG) continue;
            ig_str name = doc->texts[args[0]];
            if (disjoint(doc, prop_formula(doc, a, name), prop_formula(doc, b, name))) return true;
        }
    }
    return false;
}

static bool alts_clash(gr_doc *doc, uint32_t f, uint32_t g, unsigned type)
{
    expander x = {doc, type};
    bool clash = doc->clashing < CLASH_MAX;
    aside was = step_aside(doc);
    doc->clashing++;
    gr_alts a = clash ? expand(&x, f, 0, PLAIN) : (gr_alts){0}, b = a.n ? expand(&x, g, 0, PLAIN) : (gr_alts){0};
    for (uint32_t i = 0; i < a.n && clash; i++)
        for (uint32_t k = 0; k < b.n && clash; k++) {
            if (join_sets(&x, a.sets[i], b.sets[k]) == GR_NONE) continue;
            clash = type == GR_T_OBJECT && sets_clash(doc, a.sets[i], b.sets[k]);
        }
    doc->clashing--;
    step_back(doc, was);
    return clash;
}

static bool disjoint(gr_doc *doc, uint32_t f, uint32_t g)
{
    if (f == GR_F_FALSE || g == GR_F_FALSE) return true;
    if (doc->clashing >= CLASH_MAX) return false;
    aside was = step_aside(doc);
    const gr_scalar *a = gr_scalar_of(doc, f), *b = gr_scalar_of(doc, g);
    step_back(doc, was);
    if (!a || !b) return false;
    gr_scalar both = scalar_op(doc, *a, *b, GR_AND);
    if (!both.str || !both.num || both.lit || !gr_dfa_empty(both.str) || !gr_dfa_empty(both.num)) return false;
    return alts_clash(doc, f, g, GR_T_OBJECT) && alts_clash(doc, f, g, GR_T_ARRAY);
}

/* Exactly one: each with the negations of those it can coincide with. */
static gr_alts expand_one(expander *x, const uint32_t *list, uint32_t n, unsigned flags, track mode)
{
    gr_doc *doc = x->doc;
    gr_alts out = {0};
    for (uint32_t i = 0; i < n && doc->cc->st == IG_OK; i++) {
        gr_alts one = expand(x, list[i], flags, mode);
        /* Inside a look aside more than is true does no harm. */
        for (uint32_t k = 0; k < n && one.n && !doc->clashing && doc->cc->st == IG_OK; k++) {
            if (k == i || alts_clash(doc, list[i], list[k], x->type)) continue;
            one = product(x, one, expand(x, list[k], (flags ^ GR_NEG) | GR_SILENT, PLAIN));
        }
        for (uint32_t k = 0; k < one.n; k++) alts_push(x, &out, one.sets[k]);
    }
    return out;
}

/* Not exactly one: none of them, or two of them. */
static gr_alts expand_not_one(expander *x, const uint32_t *list, uint32_t n, unsigned flags)
{
    unsigned yes = (flags & ~(unsigned)GR_NEG) | GR_SILENT;
    gr_alts out = expand_and(x, list, n, yes | GR_NEG, PLAIN);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = i + 1; k < n && x->doc->cc->st == IG_OK; k++) {
            gr_alts two = product(x, expand(x, list[i], yes, PLAIN), expand(x, list[k], yes, PLAIN));
            for (uint32_t m = 0; m < two.n; m++) alts_push(x, &out, two.sets[m]);
        }
    return out;
}

/* What a set of literals has evaluated: name sets, or items from 0 to *n_items and those that one of *list holds for.
 */
static uint32_t evaluated(expander *x, uint32_t set, uint32_t *list, uint32_t *n_items)
{
    gr_doc *doc = x->doc;
    uint32_t n, m = 0, from = GR_NONE;
    const uint32_t *key = gr_intern_key(&doc->literals, set, &n), *a;
    *n_items = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (key[i] & (GR_NEG | GR_SILENT)) continue;
        gr_fkind kind = gr_f(doc, key[i] / 4, &a, NULL);
        if (kind == GR_F_PROP || kind == GR_F_CONTAINS_MIN) list[m++] = a[0];
        if (kind == GR_F_ITEM && a[0] >= *n_items) *n_items = a[0] + 1;
        if (kind == GR_F_ITEMS && a[0] < from) from = a[0];
    }
    if (from <= *n_items) *n_items = GR_NONE;
    return m;
}

/* The atom that says `rest` of what the set has not evaluated. */
static uint32_t rest_atom(expander *x, uint32_t set, uint32_t rest)
{
    gr_doc *doc = x->doc;
    uint32_t n, n_items;
    (void)gr_intern_key(&doc->literals, set, &n);
    uint32_t *list = gr_new(doc->cc, n + 1, sizeof *list);
    if (!list) return GR_F_TRUE;
    uint32_t m = evaluated(x, set, list, &n_items);
    if (x->type == GR_T_OBJECT) return gr_f_make2(doc, GR_F_PROP, gr_names_make(doc, GR_N_OTHERS, list, m), rest);
    if (n_items == GR_NONE) return GR_F_TRUE;
    list[m++] = rest;
    uint32_t f = rest;
    if (m > 1) f = gr_f_make(doc, GR_F_ANY, list, m);
    return gr_f_make2(doc, GR_F_ITEMS, n_items, f);
}

static gr_alts expand_unevaluated(expander *x, uint32_t base, uint32_t rest, unsigned flags)
{
    gr_alts out = {0}, all;
    if (flags & GR_NEG) out = expand(x, base, flags, PLAIN);
    all = expand(x, base, flags & ~(unsigned)GR_NEG, flags & GR_NEG ? EXACT : COLLECT);
    for (uint32_t i = 0; i < all.n && x->doc->cc->st == IG_OK; i++) {
        uint32_t atom = rest_atom(x, all.sets[i], rest), literal = atom * 4 + flags;
        if (atom == GR_F_TRUE && flags & GR_NEG) continue;
        gr_alts one = alts_of(x, &literal, atom != GR_F_TRUE);
        uint32_t set = join_sets(x, all.sets[i], one.n ? one.sets[0] : all.sets[i]);
        if (set != GR_NONE) alts_push(x, &out, set);
    }
    return out;
}

static gr_alts expand_atom(expander *x, uint32_t f, gr_fkind kind, const uint32_t *a, unsigned flags, track mode)
{
    gr_alts none = {0};
    json_t *v = kind == GR_F_CONST ? x->doc->values[a[0]] : NULL;
    bool yes = !(flags & GR_NEG);
    unsigned speaks = kind == GR_F_TYPE || kind == GR_F_CONST ? x->type : atoms[kind].types;
    bool holds = kind == GR_F_TYPE ? (a[0] & x->type) != 0 : !(speaks & x->type);
    if (v && (x->type == GR_T_OBJECT ? json_is_object(v) : json_is_array(v)))
        return expand(x, gr_const_formula(x->doc, v), flags | GR_SILENT, PLAIN);
    if (kind == GR_F_TYPE || v || holds) return holds == yes ? alts_of(x, NULL, 0) : none;
    /* What says nothing is dropped unless its annotation matters. */
    bool silent = (kind == GR_F_PROP || kind == GR_F_ITEM || kind == GR_F_ITEMS) && a[1] == GR_F_TRUE;
    if (silent && !yes) return none;
    /* A declared name is kept all the same: it must not come twice. */
    uint32_t n;
    if (silent && mode == PLAIN && !(kind == GR_F_PROP && *gr_intern_key(&x->doc->names, a[0], &n) == GR_N_NAME))
        return alts_of(x, NULL, 0);
    uint32_t literal = f * 4 + flags;
    return alts_of(x, &literal, 1);
}

static gr_alts expand_kind(expander *x, uint32_t f, unsigned flags, track mode)
{
    uint32_t n;
    const uint32_t *a;
    gr_fkind kind = gr_f(x->doc, f, &a, &n);
    bool no = flags & GR_NEG;
    uint32_t *copy = gr_new(x->doc->cc, n, sizeof *copy);
    if (!copy) return (gr_alts){0};
    memcpy(copy, a, n * sizeof *copy);
    switch (kind) {
    case GR_F_TRUE:
    case GR_F_FALSE: return (kind == GR_F_TRUE) != no ? alts_of(x, NULL, 0) : (gr_alts){0};
    case GR_F_SCHEMA: return expand(x, gr_schema_formula(x->doc, copy[0], copy[1]), flags, mode);
    case GR_F_NOT: return expand(x, copy[0], (flags ^ GR_NEG) | GR_SILENT, PLAIN);
    case GR_F_AND: return no ? expand_union(x, copy, n, flags) : expand_and(x, copy, n, flags, mode);
    case GR_F_ANY:
        if (no) return expand_and(x, copy, n, flags, PLAIN);
        return mode == PLAIN ? expand_union(x, copy, n, flags) : expand_subsets(x, copy, n, flags, mode);
    case GR_F_FIRST: return no ? expand_and(x, copy, n, flags, PLAIN) : expand_first(x, copy, n, flags, mode);
    case GR_F_ONE: return no ? expand_not_one(x, copy, n, flags) : expand_one(x, copy, n, flags, mode);
    case GR_F_UNEVAL_PROPS:
    case GR_F_UNEVAL_ITEMS:
        if ((kind == GR_F_UNEVAL_PROPS) != (x->type == GR_T_OBJECT)) return expand(x, copy[0], flags, mode);
        return expand_unevaluated(x, copy[0], copy[1], flags);
    default: return expand_atom(x, f, kind, copy, flags, mode);
    }
}

static gr_alts expand(expander *x, uint32_t f, unsigned flags, track mode)
{
    gr_alts none = {0};
    const char *was = x->doc->cc->where;
    uint32_t n;
    const uint32_t *a;
    if (x->doc->cc->st != IG_OK) return none;
    bool schema = gr_f(x->doc, f, &a, &n) == GR_F_SCHEMA;
    /* The same formula may stand inside itself with another sign only through a schema, so only those are marked. */
    if (schema && !enter(x->doc, f)) return none;
    if (schema) (void)enter_schema(x->doc, a[0], "");
    if (!schema && ++x->doc->depth > IN_PLACE_MAX * 2)
        gr_fail(x->doc->cc, IG_TOO_LARGE, "the schema is nested too deeply");
    gr_alts out = expand_kind(x, f, flags, mode);
    if (schema) leave(x->doc, f);
    if (!schema) x->doc->depth--;
    x->doc->cc->where = was;
    return out;
}

gr_alts gr_alternatives(gr_doc *doc, uint32_t f, unsigned type)
{
    expander x = {doc, type};
    return expand(&x, f, 0, PLAIN);
}
