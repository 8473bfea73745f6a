/* Making values, dicts, and equality of keys. */
#include "text/template/value.h"

#include <math.h>

#include "base/hash.h"
#include "base/os.h"
#include "text/template/text.h"

ig_tval ig_tv_none(void) { return (ig_tval){.kind = TV_NONE}; }
ig_tval ig_tv_bool(bool b) { return (ig_tval){.kind = TV_BOOL, .u.b = b}; }
ig_tval ig_tv_int(int64_t i) { return (ig_tval){.kind = TV_INT, .u.i = i}; }
ig_tval ig_tv_float(double f) { return (ig_tval){.kind = TV_FLOAT, .u.f = f}; }

ig_tval ig_tv_borrow(ig_arena *arena, const char *p, size_t n, bool markup)
{
    ig_tstr *s = ig_arena_alloc(arena, 1, sizeof *s);
    if (s) *s = (ig_tstr){.p = n ? p : "", .n = n, .chars = ig_tt_count(p, n), .markup = markup};
    return tv_ptr(TV_STR, s);
}

ig_tval ig_tv_copy(ig_arena *arena, const char *p, size_t n, bool markup)
{
    char *copy = ig_arena_copy(arena, n ? p : "", n);
    return copy ? ig_tv_borrow(arena, copy, n, markup) : (ig_tval){0};
}

ig_tval ig_tv_text(ig_arena *arena, ig_str text) { return ig_tv_copy(arena, text.ptr, text.len, false); }

ig_tval ig_tv_seq(ig_arena *arena, ig_tkind kind, const ig_tval *items, size_t n)
{
    ig_tlist *l = ig_arena_alloc(arena, 1, sizeof *l);
    static const ig_tval none[1]; /* so that an empty list has an address, too */
    if (l) *l = (ig_tlist){.items = items ? items : none, .n = n};
    return tv_ptr(kind, l);
}

ig_tval ig_tv_list(ig_arena *arena, const ig_tval *items, size_t n)
{
    ig_tval *copy = ig_arena_alloc(arena, n ? n : 1, sizeof *copy);
    if (!copy) return (ig_tval){0};
    if (n) memcpy(copy, items, n * sizeof *copy);
    return ig_tv_seq(arena, TV_LIST, copy, n);
}

ig_tval ig_tv_dict(ig_arena *arena) { return tv_ptr(TV_DICT, ig_td_new(arena, 0)); }

bool ig_tv_put(ig_arena *arena, ig_tval dict, ig_str key, ig_tval value)
{
    ig_tval k = ig_tv_text(arena, key);
    return dict.kind == TV_DICT && k.kind && value.kind && ig_td_set(arena, tv_d(dict), k, value);
}

bool ig_tv_get(ig_tval dict, ig_str key, ig_tval *out)
{
    const ig_tval *v = dict.kind == TV_DICT ? ig_td_get_str(tv_d(dict), key) : NULL;
    if (v) *out = *v;
    return v != NULL;
}

bool ig_tv_as_text(ig_tval v, ig_str *out)
{
    if (v.kind == TV_STR) *out = tv_str(v);
    return v.kind == TV_STR;
}

bool ig_tv_at(ig_tval list, size_t i, ig_tval *out)
{
    bool there = list.kind == TV_LIST && i < tv_l(list)->n;
    if (there) *out = tv_l(list)->items[i];
    return there;
}

static ig_tval map(ig_arena *arena, ig_tval v, ig_tv_text_fn fn, void *ctx, unsigned depth)
{
    if (depth > IG_TEMPLATE_JSON_DEPTH + 2) return (ig_tval){0};
    if (v.kind == TV_STR) {
        ig_str text = fn(ctx, tv_str(v));
        return text.ptr ? ig_tv_text(arena, text) : (ig_tval){0};
    }
    if (v.kind == TV_LIST) {
        const ig_tlist *l = tv_l(v);
        ig_tval *items = ig_arena_alloc(arena, l->n ? l->n : 1, sizeof *items);
        for (size_t i = 0; items && i < l->n; i++)
            if (!(items[i] = map(arena, l->items[i], fn, ctx, depth + 1)).kind) return (ig_tval){0};
        return items ? ig_tv_seq(arena, TV_LIST, items, l->n) : (ig_tval){0};
    }
    if (v.kind != TV_DICT) return v;
    ig_tdict *d = ig_td_new(arena, tv_d(v)->n);
    for (uint32_t i = 0; d && i < tv_d(v)->n; i++) {
        const ig_tentry *e = &tv_d(v)->e[i];
        ig_tval key = map(arena, e->key, fn, ctx, depth + 1), value = map(arena, e->value, fn, ctx, depth + 1);
        if (!key.kind || !value.kind || !ig_td_set(arena, d, key, value)) return (ig_tval){0};
    }
    return tv_ptr(TV_DICT, d);
}

ig_tval ig_tv_map(ig_arena *arena, ig_tval v, ig_tv_text_fn fn, void *ctx) { return map(arena, v, fn, ctx, 0); }

const char *ig_tv_type(ig_tval v)
{
    static const char *const names[TV_KINDS] = {
        [TV_FAIL] = "error",     [TV_UNDEF] = "Undefined",
        [TV_NONE] = "NoneType",  [TV_BOOL] = "bool",
        [TV_INT] = "int",        [TV_BIG] = "int",
        [TV_FLOAT] = "float",    [TV_STR] = "str",
        [TV_LIST] = "list",      [TV_TUPLE] = "tuple",
        [TV_GEN] = "generator",  [TV_DICT] = "dict",
        [TV_VIEW] = "dict view", [TV_RANGE] = "range",
        [TV_NS] = "Namespace",   [TV_LOOP] = "LoopContext",
        [TV_MACRO] = "Macro",    [TV_FUNC] = "function",
        [TV_METHOD] = "method",  [TV_CYCLER] = "Cycler",
        [TV_JOINER] = "Joiner",  [TV_BLOCKS] = "TemplateReference",
    };
    return v.kind < TV_KINDS ? names[v.kind] : "unknown";
}

/* ---------------------------------------------------------------------------------------------------- dicts */

bool ig_tv_hashable(ig_tval v)
{
    if (v.kind == TV_TUPLE) {
        const ig_tlist *l = tv_l(v);
        for (size_t i = 0; i < l->n; i++)
            if (l->items[i].kind == TV_TUPLE || !ig_tv_hashable(l->items[i])) return false;
        return true;
    }
    return v.kind >= TV_NONE && v.kind <= TV_STR;
}

bool ig_tv_key_equal(ig_tval a, ig_tval b)
{
    if (tv_is_number(a) && tv_is_number(b)) {
        if ((a.kind == TV_FLOAT && isnan(a.u.f)) || (b.kind == TV_FLOAT && isnan(b.u.f))) return false;
        return ig_tn_compare(a, b) == 0;
    }
    if (a.kind != b.kind) return false;
    if (a.kind == TV_STR) return ig_str_eq(tv_str(a), tv_str(b));
    if (a.kind != TV_TUPLE) return a.kind == TV_NONE;
    if (tv_l(a)->n != tv_l(b)->n) return false;
    for (size_t i = 0; i < tv_l(a)->n; i++) { /* hashable: no tuples inside */
        ig_tval x = tv_l(a)->items[i], y = tv_l(b)->items[i];
        if (x.kind == TV_TUPLE || !ig_tv_key_equal(x, y)) return false;
    }
    return true;
}

static uint64_t hash_key(ig_tval v, uint64_t seed)
{
    if (v.kind == TV_STR) return ig_hash(tv_s(v)->p, tv_s(v)->n, seed);
    if (v.kind == TV_TUPLE) {
        uint64_t h = seed;
        for (size_t i = 0; i < tv_l(v)->n; i++) h = ig_hash_u64(h ^ hash_key(tv_l(v)->items[i], seed), seed);
        return h;
    }
    if (v.kind == TV_NONE) return ig_hash_u64(1, seed);
    double f = ig_tn_double(v); /* equal numbers are equal as doubles */
    uint64_t bits;
    if (f == 0) f = 0;
    memcpy(&bits, &f, sizeof bits);
    return ig_hash_u64(bits, seed);
}

ig_tdict *ig_td_new(ig_arena *arena, size_t n_hint)
{
    ig_tdict *d = ig_arena_alloc(arena, 1, sizeof *d);
    if (!d || n_hint > UINT32_MAX / 4) return NULL;
    d->cap = (uint32_t)n_hint;
    if (n_hint && !(d->e = ig_arena_alloc(arena, n_hint, sizeof *d->e))) return NULL;
    return d;
}

/* Slot of the index where the key stands or would stand. */
static uint32_t slot_of(const ig_tdict *d, ig_tval key)
{
    uint32_t at = (uint32_t)hash_key(key, d->seed) & (d->n_index - 1);
    while (d->index[at] && !ig_tv_key_equal(d->e[d->index[at] - 1].key, key)) at = (at + 1) & (d->n_index - 1);
    return at;
}

static ig_tval *find(const ig_tdict *d, ig_tval key)
{
    if (d->index) {
        uint32_t at = d->index[slot_of(d, key)];
        return at ? &d->e[at - 1].value : NULL;
    }
    for (uint32_t i = 0; i < d->n; i++)
        if (ig_tv_key_equal(d->e[i].key, key)) return &d->e[i].value;
    return NULL;
}

const ig_tval *ig_td_get(const ig_tdict *d, ig_tval key) { return ig_tv_hashable(key) ? find(d, key) : NULL; }

const ig_tval *ig_td_get_str(const ig_tdict *d, ig_str key)
{
    ig_tstr s = {.p = key.ptr, .n = key.len};
    return find(d, tv_ptr(TV_STR, &s));
}

static bool reindex(ig_arena *arena, ig_tdict *d)
{
    uint32_t n = d->n_index ? d->n_index * 2 : 32;
    uint32_t *index = ig_arena_alloc(arena, n, sizeof *index);
    if (!index || n > UINT32_MAX / 4) return false;
    if (!d->seed) ig_random(&d->seed, sizeof d->seed);
    d->index = index;
    d->n_index = n;
    for (uint32_t i = 0; i < d->n; i++) d->index[slot_of(d, d->e[i].key)] = i + 1;
    return true;
}

bool ig_td_set(ig_arena *arena, ig_tdict *d, ig_tval key, ig_tval value)
{
    ig_tval *old = find(d, key);
    if (old) return *old = value, true;
    if (d->n == d->cap) {
        uint32_t cap = d->cap ? d->cap * 2 : 4;
        ig_tentry *e = cap > UINT32_MAX / 4 ? NULL : ig_arena_alloc(arena, cap, sizeof *e);
        if (!e) return false;
        if (d->n) memcpy(e, d->e, d->n * sizeof *e);
        d->e = e;
        d->cap = cap;
    }
    if (d->n >= 8 && (!d->index || d->n * 2 >= d->n_index) && !reindex(arena, d)) return false;
    uint32_t at = d->n++;
    d->e[at] = (ig_tentry){key, value};
    if (d->index) d->index[slot_of(d, key)] = at + 1;
    return true;
}
