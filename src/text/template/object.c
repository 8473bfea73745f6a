/* What values mean: truth, equality, order, membership, iteration, attributes, items and slices. */
#include <math.h>

#include "text/template/run.h"
#include "text/template/text.h"

bool ig_tr_truth(ig_tval v)
{
    switch (v.kind) {
    case TV_FAIL:
    case TV_UNDEF:
    case TV_NONE: return false;
    case TV_BOOL: return v.u.b;
    case TV_INT: return v.u.i != 0;
    case TV_FLOAT: return v.u.f != 0;
    case TV_STR: return tv_s(v)->n > 0;
    case TV_LIST:
    case TV_TUPLE: return tv_l(v)->n > 0;
    case TV_DICT: return tv_d(v)->n > 0;
    case TV_VIEW: return ((const ig_tview *)v.u.p)->dict->n > 0;
    case TV_RANGE: return ((const ig_trange *)v.u.p)->n > 0;
    default: return true;
    }
}

static bool same(ig_tval a, ig_tval b)
{
    if (a.kind != b.kind) return false;
    return a.kind == TV_FUNC ? a.u.i == b.u.i : a.kind > TV_FLOAT && a.u.p == b.u.p;
}

static int equal_items(ig_tr *r, const ig_tlist *a, const ig_tlist *b)
{
    if (a->n != b->n) return 0;
    for (size_t i = 0; i < a->n; i++) {
        int e = ig_tr_equal(r, a->items[i], b->items[i]);
        if (e <= 0) return e;
    }
    return 1;
}

static int equal_dicts(ig_tr *r, const ig_tdict *a, const ig_tdict *b)
{
    if (a->n != b->n) return 0;
    for (uint32_t i = 0; i < a->n; i++) {
        const ig_tval *other = ig_td_get(b, a->e[i].key);
        int e = other ? ig_tr_equal(r, a->e[i].value, *other) : 0;
        if (e <= 0) return e;
    }
    return 1;
}

int ig_tr_equal(ig_tr *r, ig_tval a, ig_tval b)
{
    if (same(a, b)) return 1;
    if (tv_is_number(a) && tv_is_number(b)) return ig_tv_key_equal(a, b);
    if (a.kind != b.kind) return 0;
    int e = 0;
    switch (a.kind) {
    case TV_UNDEF:
    case TV_NONE: return 1;
    case TV_STR: return ig_tr_step(r, tv_s(a)->n / 256) ? ig_str_eq(tv_str(a), tv_str(b)) : -1;
    case TV_RANGE: {
        const ig_trange *x = a.u.p, *y = b.u.p;
        return x->n == y->n && (x->n == 0 || (x->start == y->start && (x->n == 1 || x->step == y->step)));
    }
    case TV_LIST:
    case TV_TUPLE:
    case TV_DICT:
        if (!ig_tr_enter(r)) return -1;
        e = a.kind == TV_DICT ? equal_dicts(r, tv_d(a), tv_d(b)) : equal_items(r, tv_l(a), tv_l(b));
        r->depth--;
        return e;
    default: return 0;
    }
}

static int not_ordered(ig_tr *r, ig_tval a, ig_tval b)
{
    if (a.kind == TV_UNDEF || b.kind == TV_UNDEF)
        ig_tr_undef_error(r, a.kind == TV_UNDEF ? a : b);
    else
        TR_WRONG(r, "%s and %s cannot be compared by size", ig_tv_type(a), ig_tv_type(b));
    return -1;
}

int ig_tr_less(ig_tr *r, ig_tval a, ig_tval b)
{
    if (tv_is_number(a) && tv_is_number(b)) {
        if ((a.kind == TV_FLOAT && isnan(a.u.f)) || (b.kind == TV_FLOAT && isnan(b.u.f))) return 0;
        return ig_tn_compare(a, b) < 0;
    }
    if (a.kind == TV_STR && b.kind == TV_STR) {
        size_t n = tv_s(a)->n < tv_s(b)->n ? tv_s(a)->n : tv_s(b)->n;
        if (!ig_tr_step(r, n / 256)) return -1;
        int c = n ? memcmp(tv_s(a)->p, tv_s(b)->p, n) : 0;
        return c ? c < 0 : tv_s(a)->n < tv_s(b)->n;
    }
    if (a.kind != b.kind || !tv_is_seq(a)) return not_ordered(r, a, b);
    const ig_tlist *x = tv_l(a), *y = tv_l(b);
    for (size_t i = 0; i < x->n && i < y->n; i++) {
        int e = ig_tr_equal(r, x->items[i], y->items[i]);
        if (e < 0) return -1;
        if (e) continue;
        if (!ig_tr_enter(r)) return -1;
        int less = ig_tr_less(r, x->items[i], y->items[i]);
        r->depth--;
        return less;
    }
    return x->n < y->n;
}

static int range_contains(const ig_trange *g, ig_tval item)
{
    if (item.kind == TV_FLOAT && item.u.f == floor(item.u.f) && fabs(item.u.f) < 1e15)
        item = ig_tv_int((int64_t)item.u.f);
    if (item.kind == TV_BOOL) item = ig_tv_int(item.u.b);
    if (item.kind != TV_INT || g->n == 0) return 0;
    int64_t last = g->start + (int64_t)(g->n - 1) * g->step;
    int64_t lo = g->step > 0 ? g->start : last, hi = g->step > 0 ? last : g->start;
    return item.u.i >= lo && item.u.i <= hi && (item.u.i - g->start) % g->step == 0;
}

int ig_tr_contains(ig_tr *r, ig_tval item, ig_tval container)
{
    if (container.kind == TV_STR) {
        if (item.kind != TV_STR)
            return TR_WRONG(r, "\"in\" a string needs a string on its left side, not %s", ig_tv_type(item)), -1;
        if (!ig_tr_step(r, tv_s(container)->n / 64)) return -1;
        return ig_tt_find(tv_str(container), tv_str(item)) != SIZE_MAX;
    }
    const ig_tview *view = container.u.p;
    if (container.kind == TV_DICT || (container.kind == TV_VIEW && view->what == 'k')) {
        if (item.kind >= TV_LIST && item.kind != TV_TUPLE && (item.kind == TV_LIST || item.kind == TV_DICT))
            return TR_WRONG(r, "%s cannot be the key of a dict", ig_tv_type(item)), -1;
        return ig_td_get(container.kind == TV_DICT ? tv_d(container) : view->dict, item) != NULL;
    }
    if (container.kind == TV_RANGE) return range_contains(container.u.p, item);
    const ig_tval *items;
    size_t n;
    if (!ig_tr_items(r, container, &items, &n)) return -1;
    for (size_t i = 0; i < n; i++) {
        int e = ig_tr_step(r, 1) ? ig_tr_equal(r, items[i], item) : -1;
        if (e) return e;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------ iteration */

static bool chars(ig_tr *r, ig_tval v, const ig_tval **items, size_t *n)
{
    const ig_tstr *s = tv_s(v);
    ig_tval *out = ig_tr_alloc(r, s->chars, sizeof *out);
    *items = out;
    *n = 0;
    for (size_t i = 0; out && i < s->n;) {
        size_t len = ig_tt_next(s->p + i, s->n - i, NULL);
        ig_tval c = ig_tr_step(r, 1) ? ig_tr_slice(r, s->p + i, len, false) : (ig_tval){0};
        if (!c.kind) return false;
        out[(*n)++] = c;
        i += len;
    }
    return out != NULL;
}

static bool entries(ig_tr *r, const ig_tdict *d, char what, const ig_tval **items, size_t *n)
{
    ig_tval *out = ig_tr_alloc(r, d->n, sizeof *out);
    for (uint32_t i = 0; out && i < d->n; i++) {
        out[i] = what == 'v' ? d->e[i].value : d->e[i].key;
        if (what != 'i') continue;
        ig_tval *pair = ig_tr_alloc(r, 2, sizeof *pair);
        if (!pair) return false;
        pair[0] = d->e[i].key;
        pair[1] = d->e[i].value;
        if (!(out[i] = ig_tr_list(r, TV_TUPLE, pair, 2)).kind) return false;
    }
    *items = out;
    *n = d->n;
    return out && ig_tr_step(r, d->n);
}

static bool numbers(ig_tr *r, const ig_trange *g, const ig_tval **items, size_t *n)
{
    ig_tval *out = ig_tr_alloc(r, g->n, sizeof *out);
    for (size_t i = 0; out && i < g->n; i++) out[i] = ig_tv_int(g->start + (int64_t)i * g->step);
    *items = out;
    *n = g->n;
    return out != NULL;
}

bool ig_tr_items(ig_tr *r, ig_tval v, const ig_tval **items, size_t *n)
{
    static const ig_tval none[1];
    *items = none;
    *n = 0;
    switch (v.kind) {
    case TV_UNDEF: return true;
    case TV_STR: return chars(r, v, items, n);
    case TV_GEN: {
        ig_tlist *l = v.u.p;
        if (l->used) return true;
        l->used = true;
        *items = l->items;
        *n = l->n;
        return true;
    }
    case TV_LIST:
    case TV_TUPLE:
        *items = tv_l(v)->items;
        *n = tv_l(v)->n;
        return true;
    case TV_DICT: return entries(r, tv_d(v), 'k', items, n);
    case TV_VIEW: return entries(r, ((const ig_tview *)v.u.p)->dict, ((const ig_tview *)v.u.p)->what, items, n);
    case TV_RANGE: return numbers(r, v.u.p, items, n);
    default: TR_WRONG(r, "%s cannot be iterated over", ig_tv_type(v)); return false;
    }
}

bool ig_tr_length(ig_tr *r, ig_tval v, size_t *n)
{
    switch (v.kind) {
    case TV_UNDEF: *n = 0; return true;
    case TV_STR: *n = tv_s(v)->chars; return true;
    case TV_LIST:
    case TV_TUPLE: *n = tv_l(v)->n; return true;
    case TV_DICT: *n = tv_d(v)->n; return true;
    case TV_VIEW: *n = ((const ig_tview *)v.u.p)->dict->n; return true;
    case TV_RANGE: *n = ((const ig_trange *)v.u.p)->n; return true;
    case TV_LOOP: *n = ((const ig_tloop *)v.u.p)->n; return true;
    default: TR_WRONG(r, "%s has no length", ig_tv_type(v)); return false;
    }
}

/* ----------------------------------------------------------------------------------------------- attributes */

static ig_tval loop_attr(ig_tr *r, const ig_tloop *l, ig_str name)
{
    int64_t n = (int64_t)l->n, at = (int64_t)l->at;
    const struct {
        const char *name;
        ig_tval value;
    } table[] = {{"index", ig_tv_int(at + 1)},    {"index0", ig_tv_int(at)},
                 {"revindex", ig_tv_int(n - at)}, {"revindex0", ig_tv_int(n - at - 1)},
                 {"first", ig_tv_bool(at == 0)},  {"last", ig_tv_bool(at + 1 == n)},
                 {"length", ig_tv_int(n)},        {"depth", ig_tv_int(l->depth0 + 1)},
                 {"depth0", ig_tv_int(l->depth0)}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (ig_str_is(name, table[i].name)) return table[i].value;
    if (ig_str_is(name, "previtem"))
        return at > 0 ? l->items[at - 1]
                      : ig_tr_undef(r, UNDEF_TEXT, IG_STR("there is no previous item"), (ig_tval){0});
    if (ig_str_is(name, "nextitem"))
        return at + 1 < n ? l->items[at + 1]
                          : ig_tr_undef(r, UNDEF_TEXT, IG_STR("there is no next item"), (ig_tval){0});
    return (ig_tval){0};
}

static ig_tval macro_attr(ig_tr *r, const ig_tmacro *m, ig_str name)
{
    const ig_tmacro_def *d = m->def;
    if (ig_str_is(name, "name")) return ig_tr_slice(r, d->name.ptr, d->name.len, false);
    if (ig_str_is(name, "catch_varargs")) return ig_tv_bool(d->takes_varargs);
    if (ig_str_is(name, "catch_kwargs")) return ig_tv_bool(d->takes_kwargs);
    if (ig_str_is(name, "caller")) return ig_tv_bool(d->takes_caller);
    if (!ig_str_is(name, "arguments")) return (ig_tval){0};
    ig_tvec v = {0};
    for (uint32_t i = 0; i < d->n_params; i++) {
        ig_str p = r->t->names[d->params[i]];
        if (!ig_tr_push(r, &v, ig_tr_slice(r, p.ptr, p.len, false))) return (ig_tval){0};
    }
    return ig_tr_list(r, TV_TUPLE, v.v, v.n);
}

/* Attributes that are neither methods nor keys; TV_FAIL without an error where there is none of that name. */
static ig_tval special_attr(ig_tr *r, ig_tval of, ig_str name)
{
    const ig_tval *v;
    const ig_tcycler *c = of.u.p;
    switch (of.kind) {
    case TV_NS: return (v = ig_td_get_str(tv_d(of), name)) ? *v : (ig_tval){0};
    case TV_LOOP: return loop_attr(r, of.u.p, name);
    case TV_MACRO: return macro_attr(r, of.u.p, name);
    case TV_CYCLER: return ig_str_is(name, "current") ? c->items[c->at] : (ig_tval){0};
    case TV_TUPLE:
        if (!tv_l(of)->group) return (ig_tval){0};
        return ig_str_is(name, "grouper") ? tv_l(of)->items[0]
               : ig_str_is(name, "list")  ? tv_l(of)->items[1]
                                          : (ig_tval){0};
    case TV_BLOCKS:
        for (uint32_t i = 0; i < r->t->n_blocks; i++)
            if (ig_str_eq(r->t->blocks[i]->name, name)) return tv_ptr(TV_BLOCKS, r->t->blocks[i]);
        return (ig_tval){0};
    case TV_FLOAT: return ig_str_is(name, "real") ? of : ig_str_is(name, "imag") ? ig_tv_float(0) : (ig_tval){0};
    case TV_BOOL:
    case TV_INT:
    case TV_BIG:
        if (ig_str_is(name, "real") || ig_str_is(name, "numerator")) return of.kind == TV_BOOL ? ig_tv_int(of.u.b) : of;
        return ig_str_is(name, "imag") ? ig_tv_int(0) : ig_str_is(name, "denominator") ? ig_tv_int(1) : (ig_tval){0};
    default: return (ig_tval){0};
    }
}

/* A real attribute: a method or a special one. TV_FAIL without an error where there is none. */
ig_tval ig_tr_real_attr(ig_tr *r, ig_tval of, ig_tval name)
{
    ig_str s = tv_str(name);
    if (s.len > 4 && !memcmp(s.ptr, "__", 2) && !memcmp(s.ptr + s.len - 2, "__", 2) && of.kind != TV_NS)
        return ig_tr_undef(r, UNDEF_UNSAFE, s, of);
    ig_tval v = special_attr(r, of, s);
    if (v.kind || r->status != IG_OK) return v;
    const struct ig_method *m = ig_method_find(of, s);
    if (!m) return (ig_tval){0};
    if (ig_method_unsafe(m)) return ig_tr_undef(r, UNDEF_UNSAFE, s, of);
    ig_tmethod *bound = ig_tr_alloc(r, 1, sizeof *bound);
    if (bound) *bound = (ig_tmethod){.object = of, .method = m};
    return tv_ptr(TV_METHOD, bound);
}

ig_tval ig_tr_get_attr(ig_tr *r, ig_tval of, ig_tval name)
{
    if (of.kind == TV_UNDEF) return ig_tr_undef_error(r, of);
    ig_tval v = ig_tr_real_attr(r, of, name);
    if (v.kind || r->status != IG_OK) return v;
    const ig_tval *item = of.kind == TV_DICT ? ig_td_get(tv_d(of), name) : NULL;
    return item ? *item : ig_tr_undef(r, UNDEF_ATTR, tv_str(name), of);
}

static ig_tval no_item(ig_tr *r, ig_tval of, ig_tval index)
{
    if (index.kind == TV_STR) return ig_tr_undef(r, UNDEF_ATTR, tv_str(index), of);
    char text[32];
    int n = snprintf(text, sizeof text, index.kind == TV_INT ? "%lld" : "of that index", (long long)index.u.i);
    ig_tval name = ig_tr_text(r, text, (size_t)n, false);
    return name.kind ? ig_tr_undef(r, UNDEF_ITEM, tv_str(name), of) : name;
}

/* Element i, counted from the end when negative, of a list, string or range. */
static ig_tval element(ig_tr *r, ig_tval of, int64_t i, ig_tval index)
{
    size_t n = 0;
    (void)ig_tr_length(r, of, &n);
    if (i < 0) i += (int64_t)n;
    if (i < 0 || i >= (int64_t)n) return no_item(r, of, index);
    if (of.kind == TV_RANGE)
        return ig_tv_int(((const ig_trange *)of.u.p)->start + i * ((const ig_trange *)of.u.p)->step);
    if (of.kind != TV_STR) return tv_l(of)->items[i];
    const ig_tstr *s = tv_s(of);
    size_t at = ig_tt_offset(tv_str(of), s->chars, (size_t)i);
    if (s->chars != s->n && !ig_tr_step(r, at / 64)) return (ig_tval){0};
    return ig_tr_slice(r, s->p + at, ig_tt_next(s->p + at, s->n - at, NULL), s->markup);
}

ig_tval ig_tr_get_item(ig_tr *r, ig_tval of, ig_tval index)
{
    if (of.kind == TV_UNDEF) return ig_tr_undef_error(r, of);
    const ig_tval *item = of.kind == TV_DICT ? ig_td_get(tv_d(of), index) : NULL;
    if (item) return *item;
    bool whole = index.kind == TV_INT || index.kind == TV_BOOL;
    if (whole && (tv_is_seq(of) || of.kind == TV_STR || of.kind == TV_RANGE))
        return element(r, of, index.kind == TV_BOOL ? index.u.b : index.u.i, index);
    if (index.kind == TV_STR) {
        ig_tval v = ig_tr_real_attr(r, of, index);
        if (v.kind || r->status != IG_OK) return v;
    }
    return no_item(r, of, index);
}

/* ---------------------------------------------------------------------------------------------------- slices */

bool ig_tr_index(ig_tr *r, ig_tval v, const char *what, int64_t *out)
{
    if (v.kind == TV_INT || v.kind == TV_BOOL) {
        *out = v.kind == TV_BOOL ? v.u.b : v.u.i;
        return true;
    }
    if (v.kind == TV_BIG) {
        *out = ((const ig_tbig *)v.u.p)->negative ? INT64_MIN / 2 : INT64_MAX / 2;
        return true;
    }
    if (v.kind == TV_UNDEF)
        ig_tr_undef_error(r, v);
    else
        TR_WRONG(r, "%s must be a whole number, not %s", what, ig_tv_type(v));
    return false;
}

/* Python's slice.indices: start, step and the number of elements. */
static bool bounds(ig_tr *r, ig_tval start, ig_tval stop, ig_tval step, int64_t n, int64_t *first, int64_t *by,
                   size_t *count)
{
    int64_t a, b, s = 1;
    if (step.kind > TV_NONE && !ig_tr_index(r, step, "the step of a slice", &s)) return false;
    if (s == 0) return TR_WRONG(r, "the step of a slice cannot be zero"), false;
    a = s > 0 ? 0 : n - 1;
    b = s > 0 ? n : -1;
    int64_t lo = s > 0 ? 0 : -1, hi = s > 0 ? n : n - 1;
    ig_tval ends[2] = {start, stop};
    int64_t *out[2] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        if (ends[i].kind == TV_FAIL || ends[i].kind == TV_NONE) continue;
        if (!ig_tr_index(r, ends[i], "the end of a slice", out[i])) return false;
        if (*out[i] < 0) *out[i] += n;
        if (*out[i] < lo) *out[i] = lo;
        if (*out[i] > hi) *out[i] = hi;
    }
    if (s > n + 1) s = n + 1;
    if (s < -n - 1) s = -n - 1;
    *count = s > 0 ? (a < b ? (size_t)((b - a - 1) / s + 1) : 0) : (b < a ? (size_t)((a - b - 1) / -s + 1) : 0);
    *first = a;
    *by = s;
    return true;
}

static ig_tval slice_text(ig_tr *r, const ig_tstr *s, int64_t first, int64_t by, size_t count)
{
    ig_str all = {s->p, s->n};
    size_t from = ig_tt_offset(all, s->chars, (size_t)(first < 0 ? 0 : first));
    if (!ig_tr_step(r, s->n / 256)) return (ig_tval){0};
    if (by == 1) {
        ig_str rest = {s->p + from, s->n - from};
        size_t to = ig_tt_offset(rest, s->chars - (size_t)(count ? first : (int64_t)s->chars), count);
        return ig_tr_slice(r, rest.ptr, count ? to : 0, s->markup);
    }
    size_t mark = ig_tr_mark(r);
    for (size_t i = 0; i < count; i++) {
        size_t at = s->chars == s->n ? (size_t)(first + (int64_t)i * by) : from;
        size_t len = ig_tt_next(s->p + at, s->n - at, NULL);
        if (!ig_tr_add(r, s->p + at, len)) break;
        if (s->chars == s->n || i + 1 == count) continue;
        for (int64_t k = 0; k < (by > 0 ? by : -by); k++) /* characters to the next one */
            from = by > 0 ? from + ig_tt_next(s->p + from, s->n - from, NULL) : from - ig_tt_prev(s->p, from, NULL);
    }
    return ig_tr_take(r, mark, s->markup);
}

ig_tval ig_tr_get_slice(ig_tr *r, ig_tval of, ig_tval start, ig_tval stop, ig_tval step)
{
    if (of.kind == TV_UNDEF) return ig_tr_undef_error(r, of);
    int64_t first, by;
    size_t count, n;
    if (!tv_is_seq(of) && of.kind != TV_STR && of.kind != TV_RANGE)
        return TR_WRONG(r, "%s cannot be sliced", ig_tv_type(of));
    if (!ig_tr_length(r, of, &n) || !bounds(r, start, stop, step, (int64_t)n, &first, &by, &count)) return (ig_tval){0};
    if (of.kind == TV_STR) return slice_text(r, tv_s(of), first, by, count);
    if (of.kind == TV_RANGE) {
        const ig_trange *g = of.u.p;
        ig_trange *part = ig_tr_alloc(r, 1, sizeof *part);
        if (!part) return (ig_tval){0};
        *part = (ig_trange){.start = g->start + first * g->step, .step = g->step * by, .n = count};
        part->stop = part->start + (int64_t)count * part->step;
        return tv_ptr(TV_RANGE, part);
    }
    if (by == 1) return ig_tr_list(r, of.kind, tv_l(of)->items + (count ? first : 0), count);
    ig_tval *items = ig_tr_alloc(r, count, sizeof *items);
    for (size_t i = 0; items && i < count; i++) items[i] = tv_l(of)->items[first + (int64_t)i * by];
    return items ? ig_tr_list(r, of.kind, items, count) : (ig_tval){0};
}
