/* Filters on lists, dicts and whatever can be iterated over. */
#include "base/sort.h"
#include "text/template/filter_table.h"
#include "text/template/number.h"

static ig_tval generator(ig_tr *r, const ig_tvec *v) { return ig_tr_list(r, TV_GEN, v->v, v->n); }

static FILTER(x_list)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    return ig_tr_items(r, v, &items, &n) ? ig_tr_list(r, TV_LIST, items, n) : (ig_tval){0};
}

static FILTER(x_length)
{
    FILTER_UNUSED;
    size_t n;
    return ig_tr_length(r, v, &n) ? ig_tv_int((int64_t)n) : (ig_tval){0};
}

static FILTER(x_items)
{
    FILTER_UNUSED;
    static const ig_tval none[1];
    const ig_tval *items = none;
    size_t n = 0;
    if (v.kind != TV_UNDEF && v.kind != TV_DICT) return TR_WRONG(r, "items needs a mapping, not %s", ig_tv_type(v));
    ig_tview view = {.what = 'i', .dict = v.kind == TV_DICT ? tv_d(v) : NULL};
    if (v.kind == TV_DICT && !ig_tr_items(r, tv_ptr(TV_VIEW, &view), &items, &n)) return (ig_tval){0};
    return ig_tr_list(r, TV_GEN, items, n);
}

/* ---------------------------------------------------------------------------------------------- attributes */

/* item.a.b.0 of a path written "a.b.0" or as a number; what is undefined becomes `standard` if that is a value. */
static ig_tval path_of(ig_tr *r, ig_tval item, ig_tval path, ig_tval standard)
{
    if (!path.kind || path.kind == TV_NONE) return item;
    if (path.kind != TV_STR) return ig_tr_get_item(r, item, path);
    ig_str rest = tv_str(path);
    for (;;) {
        size_t dot = ig_tt_find(rest, IG_STR("."));
        ig_str word = {rest.ptr, dot == SIZE_MAX ? rest.len : dot};
        bool number = word.len > 0 && word.len < 10;
        int64_t index = 0;
        for (size_t i = 0; number && i < word.len; i++) {
            number = word.ptr[i] >= '0' && word.ptr[i] <= '9';
            index = index * 10 + (word.ptr[i] - '0');
        }
        item = ig_tr_get_item(r, item, number ? ig_tv_int(index) : ig_tr_slice(r, word.ptr, word.len, false));
        if (item.kind == TV_UNDEF && standard.kind && standard.kind != TV_NONE) item = standard;
        if (!item.kind || dot == SIZE_MAX) return item;
        rest = (ig_str){rest.ptr + dot + 1, rest.len - dot - 1};
    }
}

static ig_tval lowered(ig_tr *r, ig_tval v, bool ignore_case)
{
    if (!ignore_case || v.kind != TV_STR) return v;
    size_t mark = ig_tr_mark(r);
    if (!ig_tr_step(r, tv_s(v)->n / 8) || !ig_tt_case(&r->scratch, tv_str(v), 'l')) return ig_tr_no_memory(r);
    return ig_tr_take(r, mark, false);
}

static FILTER(x_join)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n, mark = ig_tr_mark(r);
    ig_tval glue = a[0].kind ? ig_tr_to_text(r, a[0]) : ig_tr_slice(r, "", 0, false);
    if (!glue.kind || !ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    for (size_t i = 0; i < n; i++) {
        ig_tval item = path_of(r, items[i], a[1], (ig_tval){0});
        if (!item.kind || (i && !ig_tr_add_str(r, tv_str(glue))) || !ig_tr_add_text(r, item)) break;
    }
    return ig_tr_take(r, mark, false);
}

/* flag: 1 the last */
static FILTER(x_first)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    if (f->flag && v.kind == TV_GEN) return TR_WRONG(r, "last needs a list, not %s", ig_tv_type(v));
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    if (n == 0) return ig_tr_undef(r, UNDEF_TEXT, IG_STR("an empty list has no first or last item"), (ig_tval){0});
    return items[f->flag ? n - 1 : 0];
}

static FILTER(x_reverse)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    if (v.kind == TV_STR) return ig_tr_get_slice(r, v, ig_tv_none(), ig_tv_none(), ig_tv_int(-1));
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    ig_tval *out = ig_tr_alloc(r, n, sizeof *out);
    for (size_t i = 0; out && i < n; i++) out[i] = items[n - 1 - i];
    return out ? ig_tr_list(r, TV_GEN, out, n) : (ig_tval){0};
}

/* ------------------------------------------------------------------------------------------ map and select */

static const ig_tval *named(const ig_targs *args, const char *name)
{
    for (size_t i = 0; i < args->n_kw; i++)
        if (ig_str_is(args->kw[i].name, name)) return &args->kw[i].value;
    return NULL;
}

static ig_tval map_attribute(ig_tr *r, const ig_tval *items, size_t n, const ig_targs *args)
{
    const ig_tval *path = named(args, "attribute"), *standard = named(args, "default");
    ig_tvec out = {0};
    if (args->n_kw != 1u + (standard != NULL)) return TR_WRONG(r, "map knows the arguments attribute and default only");
    for (size_t i = 0; i < n; i++)
        if (!ig_tr_push(r, &out, path_of(r, items[i], *path, standard ? *standard : (ig_tval){0}))) return (ig_tval){0};
    return generator(r, &out);
}

static FILTER(x_map)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    ig_tvec out = {0};
    if (!ig_tr_truth(v)) return generator(r, &out); /* none too */
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    if (!args->n && named(args, "attribute")) return map_attribute(r, items, n, args);
    if (!args->n || args->pos[0].kind != TV_STR) return TR_WRONG(r, "map needs the name of a filter or an attribute");
    const ig_filter *g = ig_filter_find(tv_str(args->pos[0]));
    if (!g) return ig_tr_fail(r, IG_UNSUPPORTED, "there is no filter \"%.*s\"", IG_STR_ARG(tv_str(args->pos[0])));
    ig_targs rest = {.pos = args->pos + 1, .n = args->n - 1, .kw = args->kw, .n_kw = args->n_kw};
    if (!ig_tr_enter(r)) return (ig_tval){0}; /* map('map', ...) nests */
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = ig_tr_step(r, 1) && ig_tr_push(r, &out, ig_tr_filter(r, g, items[i], &rest));
    r->depth--;
    return ok ? generator(r, &out) : (ig_tval){0};
}

/* flag: 1 keeps what fails, 2 looks at an attribute */
static FILTER(x_select)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n, used = f->flag & 2 ? 1 : 0;
    ig_tvec out = {0};
    if (!ig_tr_truth(v)) return generator(r, &out); /* none too */
    if (args->n < used) return TR_WRONG(r, "%s needs the name of an attribute", f->name);
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    const struct ig_test *t = NULL;
    if (args->n > used) {
        ig_tval name = args->pos[used];
        t = name.kind == TV_STR ? ig_test_find(tv_str(name)) : NULL;
        if (!t) return ig_tr_fail(r, IG_UNSUPPORTED, "%s names a test that does not exist", f->name);
    }
    size_t skip = used + (t != NULL);
    ig_targs rest = {.pos = args->pos + skip, .n = args->n - skip, .kw = args->kw, .n_kw = args->n_kw};
    for (size_t i = 0; i < n; i++) {
        ig_tval of = used ? path_of(r, items[i], args->pos[0], (ig_tval){0}) : items[i];
        int yes = !of.kind || !ig_tr_step(r, 1) ? -1 : t ? ig_tr_test(r, t, of, &rest) : ig_tr_truth(of);
        if (yes < 0) return (ig_tval){0};
        if (yes != (f->flag & 1) && !ig_tr_push(r, &out, items[i])) return (ig_tval){0};
    }
    return generator(r, &out);
}

/* --------------------------------------------------------------------------------------------------- order */

typedef struct keyed {
    ig_tval key, value;
    size_t at; /* place before sorting: equal keys keep their order */
} keyed;
typedef struct order {
    ig_tr *r;
    bool reverse;
} order;

static bool keyed_before(const void *a, const void *b, const void *ctx)
{
    const keyed *x = a, *y = b;
    const order *o = ctx;
    if (o->r->status != IG_OK || !ig_tr_step(o->r, 1)) return false;
    if (ig_tr_less(o->r, o->reverse ? y->key : x->key, o->reverse ? x->key : y->key) == 1) return true;
    if (ig_tr_less(o->r, o->reverse ? x->key : y->key, o->reverse ? y->key : x->key) == 1) return false;
    return x->at < y->at;
}

static bool sort_keyed(ig_tr *r, keyed *k, size_t n, bool reverse)
{
    ig_sort(k, n, sizeof *k, keyed_before, &(order){r, reverse});
    return r->status == IG_OK;
}

/* Key of an item by a path, or by several separated by commas: then a tuple. */
static ig_tval sort_key(ig_tr *r, ig_tval item, ig_tval path, bool ignore_case)
{
    if (path.kind != TV_STR || ig_tt_find(tv_str(path), IG_STR(",")) == SIZE_MAX)
        return lowered(r, path_of(r, item, path, (ig_tval){0}), ignore_case);
    ig_tvec keys = {0};
    for (ig_str rest = tv_str(path);;) {
        size_t comma = ig_tt_find(rest, IG_STR(","));
        ig_tval word = ig_tr_slice(r, rest.ptr, comma == SIZE_MAX ? rest.len : comma, false);
        if (!word.kind || !ig_tr_push(r, &keys, lowered(r, path_of(r, item, word, (ig_tval){0}), ignore_case)))
            return (ig_tval){0};
        if (comma == SIZE_MAX) return ig_tr_list(r, TV_TUPLE, keys.v, keys.n);
        rest = (ig_str){rest.ptr + comma + 1, rest.len - comma - 1};
    }
}

static keyed *with_keys(ig_tr *r, const ig_tval *items, size_t n, ig_tval path, bool ignore_case)
{
    keyed *k = ig_tr_alloc(r, n, sizeof *k);
    for (size_t i = 0; k && i < n; i++) {
        k[i] = (keyed){.key = sort_key(r, items[i], path, ignore_case), .value = items[i], .at = i};
        if (!k[i].key.kind) return NULL;
    }
    return k;
}

static ig_tval values_of(ig_tr *r, const keyed *k, size_t n)
{
    ig_tval *out = ig_tr_alloc(r, n, sizeof *out);
    for (size_t i = 0; out && i < n; i++) out[i] = k[i].value;
    return out ? ig_tr_list(r, TV_LIST, out, n) : (ig_tval){0};
}

static FILTER(x_sort)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    keyed *k = with_keys(r, items, n, a[2], !ig_filter_flag(a[1], false));
    return k && sort_keyed(r, k, n, ig_filter_flag(a[0], false)) ? values_of(r, k, n) : (ig_tval){0};
}

static FILTER(x_dictsort)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    if (v.kind != TV_DICT) return TR_WRONG(r, "dictsort needs a dict, not %s", ig_tv_type(v));
    bool by_value = a[1].kind == TV_STR && ig_str_is(tv_str(a[1]), "value");
    if (a[1].kind && !by_value && !(a[1].kind == TV_STR && ig_str_is(tv_str(a[1]), "key")))
        return TR_WRONG(r, "dictsort sorts by \"key\" or \"value\"");
    ig_tview view = {.what = 'i', .dict = tv_d(v)};
    if (!ig_tr_items(r, tv_ptr(TV_VIEW, &view), &items, &n)) return (ig_tval){0};
    keyed *k = with_keys(r, items, n, ig_tv_int(by_value), !ig_filter_flag(a[0], false));
    return k && sort_keyed(r, k, n, ig_filter_flag(a[2], false)) ? values_of(r, k, n) : (ig_tval){0};
}

static FILTER(x_groupby)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    ig_tvec out = {0};
    bool ignore_case = !ig_filter_flag(a[2], false);
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    keyed *k = ig_tr_alloc(r, n, sizeof *k);
    for (size_t i = 0; k && i < n; i++) {
        k[i] = (keyed){.key = lowered(r, path_of(r, items[i], a[0], a[1]), ignore_case), .value = items[i], .at = i};
        if (!k[i].key.kind) return (ig_tval){0};
    }
    if (!k || !sort_keyed(r, k, n, false)) return (ig_tval){0};
    for (size_t i = 0, j; i < n; i = j) {
        int same = 1;
        for (j = i + 1; j < n && (same = ig_tr_equal(r, k[i].key, k[j].key)) == 1;) j++;
        ig_tval *pair = ig_tr_alloc(r, 2, sizeof *pair);
        if (same < 0 || !pair) return (ig_tval){0};
        pair[0] = path_of(r, k[i].value, a[0], a[1]);
        pair[1] = values_of(r, k + i, j - i);
        ig_tval group = pair[0].kind && pair[1].kind ? ig_tr_list(r, TV_TUPLE, pair, 2) : (ig_tval){0};
        if (group.kind) ((ig_tlist *)group.u.p)->group = true;
        if (!ig_tr_push(r, &out, group)) return (ig_tval){0};
    }
    return ig_tr_list(r, TV_LIST, out.v, out.n);
}

static FILTER(x_unique)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    ig_tvec out = {0};
    ig_tdict *seen = ig_td_new(&r->arena, 0);
    if (!seen) return ig_tr_no_memory(r);
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    for (size_t i = 0; i < n; i++) {
        ig_tval key = lowered(r, path_of(r, items[i], a[1], (ig_tval){0}), !ig_filter_flag(a[0], false));
        if (!key.kind || !ig_tr_step(r, 1)) return (ig_tval){0};
        if (!ig_tv_hashable(key)) return TR_WRONG(r, "unique cannot compare %s", ig_tv_type(key));
        if (ig_td_get(seen, key)) continue;
        if (!ig_td_set(&r->arena, seen, key, key)) return ig_tr_no_memory(r);
        if (!ig_tr_push(r, &out, items[i])) return (ig_tval){0};
    }
    return generator(r, &out);
}

/* flag: 1 the largest */
static FILTER(x_min)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n, best = 0;
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    if (n == 0)
        return ig_tr_undef(r, UNDEF_TEXT, IG_STR("an empty list has no smallest or largest item"), (ig_tval){0});
    keyed *k = with_keys(r, items, n, a[1], !ig_filter_flag(a[0], false));
    for (size_t i = 1; k && i < n; i++) {
        int less = f->flag ? ig_tr_less(r, k[best].key, k[i].key) : ig_tr_less(r, k[i].key, k[best].key);
        if (less < 0 || !ig_tr_step(r, 1)) return (ig_tval){0};
        if (less) best = i;
    }
    return k ? items[best] : (ig_tval){0};
}

static FILTER(x_sum)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    ig_tval sum = a[1].kind ? a[1] : ig_tv_int(0);
    if (!ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    for (size_t i = 0; sum.kind && i < n; i++) {
        ig_tval item = path_of(r, items[i], a[0], (ig_tval){0});
        sum = item.kind && ig_tr_step(r, 1) ? ig_tr_arith(r, '+', sum, item) : (ig_tval){0};
    }
    return sum;
}

/* -------------------------------------------------------------------------------------------------- pieces */

static bool push_piece(ig_tr *r, ig_tvec *out, const ig_tval *items, size_t n, size_t n_fill, ig_tval fill)
{
    ig_tval *piece = ig_tr_alloc(r, n + n_fill, sizeof *piece);
    if (!piece || !ig_tr_step(r, 1)) return false;
    if (n) memcpy(piece, items, n * sizeof *piece);
    for (size_t i = 0; i < n_fill; i++) piece[n + i] = fill;
    return ig_tr_push(r, out, ig_tr_list(r, TV_LIST, piece, n + n_fill));
}

static FILTER(x_batch)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n;
    int64_t size;
    ig_tvec out = {0};
    if (!ig_filter_int(r, a[0], 0, &size) || !ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    bool fill = a[1].kind && a[1].kind != TV_NONE;
    if (size == 0 && n && !push_piece(r, &out, NULL, 0, 0, a[1])) return (ig_tval){0}; /* a quirk of the reference */
    size_t step = size < 1 ? n : (size_t)size;
    if (size < 1) fill = false;
    for (size_t i = 0; i < n; i += step) {
        size_t take = n - i < step ? n - i : step;
        if (!push_piece(r, &out, items + i, take, fill ? step - take : 0, a[1])) return (ig_tval){0};
        if (n - i <= step) break;
    }
    return generator(r, &out);
}

static FILTER(x_slice)
{
    FILTER_UNUSED;
    const ig_tval *items;
    size_t n, offset = 0;
    int64_t count;
    ig_tvec out = {0};
    if (!ig_filter_int(r, a[0], 0, &count) || !ig_tr_items(r, v, &items, &n)) return (ig_tval){0};
    if (count == 0) return TR_WRONG(r, "slice needs a number of slices that is not zero");
    if (count > RANGE_MAX) return ig_tr_fail(r, IG_TOO_LARGE, "slice makes at most %d slices", RANGE_MAX);
    size_t each = count > 0 ? n / (size_t)count : 0, extra = count > 0 ? n % (size_t)count : 0;
    bool fill = a[1].kind && a[1].kind != TV_NONE;
    for (size_t i = 0; (int64_t)i < count; i++) {
        size_t start = offset + i * each;
        offset += i < extra;
        size_t end = offset + (i + 1) * each;
        if (!push_piece(r, &out, items + start, end - start, fill && i >= extra, a[1])) return (ig_tval){0};
    }
    return generator(r, &out);
}

const ig_filter ig_filters_seq[] = {
    {"list", "", 0, 0, x_list},
    {"length", "", 0, 0, x_length},
    {"count", "", 0, 0, x_length},
    {"items", "", 0, 0, x_items},
    {"join", "d attribute", 0, 0, x_join},
    {"first", "", 0, 0, x_first},
    {"last", "", 0, 1, x_first},
    {"reverse", "", 0, 0, x_reverse},
    {"map", NULL, 0, 0, x_map},
    {"select", NULL, 0, 0, x_select},
    {"reject", NULL, 0, 1, x_select},
    {"selectattr", NULL, 0, 2, x_select},
    {"rejectattr", NULL, 0, 3, x_select},
    {"sort", "reverse case_sensitive attribute", 0, 0, x_sort},
    {"dictsort", "case_sensitive by reverse", 0, 0, x_dictsort},
    {"groupby", "attribute default case_sensitive", 1, 0, x_groupby},
    {"unique", "case_sensitive attribute", 0, 0, x_unique},
    {"min", "case_sensitive attribute", 0, 0, x_min},
    {"max", "case_sensitive attribute", 0, 1, x_min},
    {"sum", "attribute start", 0, 0, x_sum},
    {"batch", "linecount fill_with", 1, 0, x_batch},
    {"slice", "slices fill_with", 1, 0, x_slice},
};
const size_t ig_n_filters_seq = sizeof ig_filters_seq / sizeof *ig_filters_seq;
