/* Methods of strings, dicts, lists, numbers, loops and cyclers: a table of name, kinds of object, parameters and
 * function. Methods that would change their object are known only to be refused, as the reference's sandbox does. */
#include <math.h>

#include "text/template/run.h"
#include "text/template/text.h"

enum { ON_STR = 1, ON_DICT = 2, ON_SEQ = 4, ON_INT = 8, ON_FLOAT = 16, ON_LOOP = 32, ON_CYCLER = 64, ON_LIST = 128 };

typedef struct ig_method {
    const char *name;
    unsigned on;
    const char *params; /* NULL: takes any arguments as they are; "!" refused */
    unsigned n_min;
    int flag; /* tells functions that serve several methods apart */
    ig_tval (*call)(ig_tr *r, const struct ig_method *m, ig_tval of, const ig_tval *a, const ig_targs *args);
} ig_method;
#define METHOD(name)                                                                                                   \
    static ig_tval name(ig_tr *r, const ig_method *m, ig_tval of, const ig_tval *a, const ig_targs *args)
#define UNUSED (void)r, (void)m, (void)of, (void)a, (void)args

static bool need_text(ig_tr *r, const ig_method *m, ig_tval v)
{
    if (v.kind == TV_STR) return true;
    TR_WRONG(r, "%s() needs a string, not %s", m->name, ig_tv_type(v));
    return false;
}

static ig_tval part(ig_tr *r, ig_tval of, const char *p, size_t n) { return ig_tr_slice(r, p, n, tv_s(of)->markup); }

METHOD(m_case)
{
    UNUSED;
    size_t mark = ig_tr_mark(r);
    if (ig_tr_step(r, tv_s(of)->n / 8) && !ig_tt_case(&r->scratch, tv_str(of), (char)m->flag)) ig_tr_no_memory(r);
    return ig_tr_take(r, mark, tv_s(of)->markup);
}

/* flag: 1 left, 2 right, 3 both */
METHOD(m_strip)
{
    UNUSED;
    bool left = m->flag & 1, right = m->flag & 2;
    ig_str s = tv_str(of);
    if (!ig_tr_step(r, s.len / 64)) return (ig_tval){0};
    if (!a[0].kind || a[0].kind == TV_NONE) {
        s = ig_tt_strip(s, left, right);
    } else {
        if (!need_text(r, m, a[0]) || !ig_tr_step(r, (s.len / 64 + 1) * (tv_s(a[0])->n / 64 + 1))) return (ig_tval){0};
        s = ig_tt_strip_chars(s, tv_str(a[0]), left, right);
    }
    return part(r, of, s.ptr, s.len);
}

static ig_tval split_space(ig_tr *r, ig_tval of, int64_t max, bool from_right)
{
    ig_str s = tv_str(of);
    ig_tvec v = {0};
    while ((s = ig_tt_strip(s, !from_right, from_right)).len) {
        size_t i = from_right ? s.len : 0;
        uint32_t cp;
        while (max != 0 && (from_right ? i > 0 : i < s.len)) { /* to the next white space */
            size_t len = from_right ? ig_tt_prev(s.ptr, i, &cp) : ig_tt_next(s.ptr + i, s.len - i, &cp);
            if (ig_tt_space(cp)) break;
            i = from_right ? i - len : i + len;
        }
        if (max == 0) { /* the rest is one piece */
            if (!ig_tr_push(r, &v, part(r, of, s.ptr, s.len))) return (ig_tval){0};
            break;
        }
        ig_str word = from_right ? (ig_str){s.ptr + i, s.len - i} : (ig_str){s.ptr, i};
        if (!ig_tr_step(r, 1) || !ig_tr_push(r, &v, part(r, of, word.ptr, word.len))) return (ig_tval){0};
        s = from_right ? (ig_str){s.ptr, i} : (ig_str){s.ptr + i, s.len - i};
        max--;
    }
    for (size_t i = 0; from_right && i < v.n / 2; i++) {
        ig_tval t = v.v[i];
        v.v[i] = v.v[v.n - 1 - i];
        v.v[v.n - 1 - i] = t;
    }
    return ig_tr_list(r, TV_LIST, v.v, v.n);
}

static ig_tval split_at(ig_tr *r, ig_tval of, ig_str sep, int64_t max, bool from_right)
{
    ig_str s = tv_str(of);
    ig_tvec v = {0};
    for (; max != 0; max--) {
        size_t at = from_right ? ig_tt_rfind(s, sep) : ig_tt_find(s, sep);
        if (at == SIZE_MAX) break;
        ig_str piece = from_right ? (ig_str){s.ptr + at + sep.len, s.len - at - sep.len} : (ig_str){s.ptr, at};
        if (!ig_tr_step(r, 1) || !ig_tr_push(r, &v, part(r, of, piece.ptr, piece.len))) return (ig_tval){0};
        s = from_right ? (ig_str){s.ptr, at} : (ig_str){s.ptr + at + sep.len, s.len - at - sep.len};
    }
    if (!ig_tr_push(r, &v, part(r, of, s.ptr, s.len))) return (ig_tval){0};
    for (size_t i = 0; from_right && i < v.n / 2; i++) {
        ig_tval t = v.v[i];
        v.v[i] = v.v[v.n - 1 - i];
        v.v[v.n - 1 - i] = t;
    }
    return ig_tr_list(r, TV_LIST, v.v, v.n);
}

/* Work of a search: linear forwards; backwards each place may cost the needle's length. */
static bool charge_search(ig_tr *r, ig_tval of, ig_tval needle, bool from_right)
{
    uint64_t n = tv_s(of)->n, m = needle.kind == TV_STR ? tv_s(needle)->n : 1;
    return ig_tr_step(r, n / 64 + (from_right && m > 32 && n > m ? (n - m) * (m / 32) / 64 : 0));
}

/* flag: 1 from the right */
METHOD(m_split)
{
    UNUSED;
    int64_t max = -1;
    if (a[1].kind && !ig_tr_index(r, a[1], "the number of splits", &max)) return (ig_tval){0};
    if (!charge_search(r, of, a[0], m->flag)) return (ig_tval){0};
    if (!a[0].kind || a[0].kind == TV_NONE) return split_space(r, of, max < 0 ? -1 : max, m->flag);
    if (!need_text(r, m, a[0])) return (ig_tval){0};
    if (tv_s(a[0])->n == 0) return TR_WRONG(r, "%s() needs a separator that is not empty", m->name);
    return split_at(r, of, tv_str(a[0]), max < 0 ? -1 : max, m->flag);
}

METHOD(m_splitlines)
{
    UNUSED;
    ig_str s = tv_str(of);
    ig_tvec v = {0};
    bool keep = a[0].kind && ig_tr_truth(a[0]);
    if (!ig_tr_step(r, s.len / 32)) return (ig_tval){0};
    size_t start = 0;
    for (size_t i = 0; i < s.len;) {
        size_t len = ig_tt_line_break(s, i);
        if (!len) {
            i += ig_tt_next(s.ptr + i, s.len - i, NULL);
            continue;
        }
        if (!ig_tr_push(r, &v, part(r, of, s.ptr + start, (keep ? i + len : i) - start))) return (ig_tval){0};
        start = i += len;
    }
    if (start < s.len && !ig_tr_push(r, &v, part(r, of, s.ptr + start, s.len - start))) return (ig_tval){0};
    return ig_tr_list(r, TV_LIST, v.v, v.n);
}

/* flag: 1 from the right */
METHOD(m_partition)
{
    UNUSED;
    if (!need_text(r, m, a[0]) || !charge_search(r, of, a[0], m->flag)) return (ig_tval){0};
    ig_str s = tv_str(of), sep = tv_str(a[0]);
    if (!sep.len) return TR_WRONG(r, "%s() needs a separator that is not empty", m->name);
    size_t at = m->flag ? ig_tt_rfind(s, sep) : ig_tt_find(s, sep);
    ig_tval *v = ig_tr_alloc(r, 3, sizeof *v);
    if (!v) return (ig_tval){0};
    bool found = at != SIZE_MAX;
    size_t head = found ? at : m->flag ? 0 : s.len, tail = found ? at + sep.len : m->flag ? 0 : s.len;
    v[0] = part(r, of, s.ptr, head);
    v[1] = part(r, of, sep.ptr, found ? sep.len : 0);
    v[2] = part(r, of, s.ptr + tail, s.len - tail);
    return v[0].kind && v[1].kind && v[2].kind ? ig_tr_list(r, TV_TUPLE, v, 3) : (ig_tval){0};
}

/* Cuts of to the characters start..stop as Python's optional arguments say; false when start lies behind the end. */
static bool window(ig_tr *r, ig_tval of, ig_tval start, ig_tval stop, ig_str *out, size_t *first, bool *ok)
{
    int64_t n = (int64_t)tv_s(of)->chars, lo = 0, hi = n;
    *ok = (start.kind <= TV_NONE || ig_tr_index(r, start, "a start", &lo)) &&
          (stop.kind <= TV_NONE || ig_tr_index(r, stop, "an end", &hi));
    if (!*ok) return false;
    if (lo < 0) lo = lo + n < 0 ? 0 : lo + n;
    if (hi < 0) hi = hi + n < 0 ? 0 : hi + n;
    if (hi > n) hi = n;
    if (lo > hi) return false;
    size_t from = ig_tt_offset(tv_str(of), tv_s(of)->chars, (size_t)lo);
    size_t to = ig_tt_offset(tv_str(of), tv_s(of)->chars, (size_t)hi);
    *out = (ig_str){tv_s(of)->p + from, to - from};
    *first = (size_t)lo;
    return true;
}

/* flag: 1 from the right, 2 an error when absent */
METHOD(m_find)
{
    UNUSED;
    ig_str s;
    size_t first, at = SIZE_MAX;
    bool ok = true;
    if (!need_text(r, m, a[0]) || !charge_search(r, of, a[0], m->flag & 1)) return (ig_tval){0};
    if (window(r, of, a[1], a[2], &s, &first, &ok))
        at = m->flag & 1 ? ig_tt_rfind(s, tv_str(a[0])) : ig_tt_find(s, tv_str(a[0]));
    if (!ok) return (ig_tval){0};
    if (at != SIZE_MAX) return ig_tv_int((int64_t)(first + ig_tt_count(s.ptr, at)));
    return m->flag & 2 ? TR_WRONG(r, "%s(): the text is not found", m->name) : ig_tv_int(-1);
}

METHOD(m_count)
{
    UNUSED;
    ig_str s;
    size_t first, n = 0;
    bool ok = true;
    if (!need_text(r, m, a[0]) || !charge_search(r, of, a[0], false)) return (ig_tval){0};
    ig_str needle = tv_str(a[0]);
    if (!window(r, of, a[1], a[2], &s, &first, &ok)) return ok ? ig_tv_int(0) : (ig_tval){0};
    if (!needle.len) return ig_tv_int((int64_t)ig_tt_count(s.ptr, s.len) + 1);
    for (size_t at; (at = ig_tt_find(s, needle)) != SIZE_MAX; n++)
        s = (ig_str){s.ptr + at + needle.len, s.len - at - needle.len};
    return ig_tv_int((int64_t)n);
}

/* flag: 1 ends */
METHOD(m_starts)
{
    UNUSED;
    ig_str s;
    size_t first;
    bool ok = true, in = window(r, of, a[1], a[2], &s, &first, &ok);
    const ig_tval *items = a;
    size_t n = 1;
    if (!ok) return (ig_tval){0};
    if (a[0].kind == TV_TUPLE) items = tv_l(a[0])->items, n = tv_l(a[0])->n;
    for (size_t i = 0; i < n; i++) {
        if (!need_text(r, m, items[i])) return (ig_tval){0};
        ig_str x = tv_str(items[i]);
        if (!in || x.len > s.len) continue;
        if (!x.len || !memcmp(m->flag ? s.ptr + s.len - x.len : s.ptr, x.ptr, x.len)) return ig_tv_bool(true);
    }
    return ig_tv_bool(false);
}

/* Appends s with `old` replaced by `new`, at most max times (-1: all). */
static bool add_replaced(ig_tr *r, ig_str s, ig_str old, ig_str new, int64_t max)
{
    if (!old.len) { /* between all characters */
        for (size_t i = 0; max != 0; max--) {
            if (!ig_tr_add_str(r, new)) return false;
            if (i >= s.len) return true;
            size_t len = ig_tt_next(s.ptr + i, s.len - i, NULL);
            if (!ig_tr_add(r, s.ptr + i, len)) return false;
            i += len;
            if (max == 1) return ig_tr_add(r, s.ptr + i, s.len - i);
        }
        return ig_tr_add_str(r, s);
    }
    for (size_t at; max != 0 && (at = ig_tt_find(s, old)) != SIZE_MAX; max--) {
        if (!ig_tr_add(r, s.ptr, at) || !ig_tr_add_str(r, new)) return false;
        s = (ig_str){s.ptr + at + old.len, s.len - at - old.len};
    }
    return ig_tr_add_str(r, s);
}

ig_tval ig_tr_replace(ig_tr *r, ig_tval of, ig_tval old, ig_tval new, int64_t max)
{
    size_t mark = ig_tr_mark(r);
    (void)(ig_tr_step(r, tv_s(of)->n / 64) && add_replaced(r, tv_str(of), tv_str(old), tv_str(new), max));
    return ig_tr_take(r, mark, tv_s(of)->markup);
}

METHOD(m_replace)
{
    UNUSED;
    int64_t max = -1;
    if (!need_text(r, m, a[0]) || !need_text(r, m, a[1])) return (ig_tval){0};
    if (a[2].kind && !ig_tr_index(r, a[2], "the count", &max)) return (ig_tval){0};
    ig_tval new = tv_s(of)->markup ? ig_tr_escape(r, a[1]) : a[1];
    return new.kind ? ig_tr_replace(r, of, a[0], new, max < 0 ? -1 : max) : new;
}

METHOD(m_join)
{
    UNUSED;
    const ig_tval *items;
    size_t n, mark = ig_tr_mark(r);
    if (!ig_tr_items(r, a[0], &items, &n)) return (ig_tval){0};
    for (size_t i = 0; i < n; i++) {
        bool markup = tv_s(of)->markup;
        if (!markup && !need_text(r, m, items[i])) break;
        if ((i && !ig_tr_add_str(r, tv_str(of))) ||
            !(markup ? ig_tr_add_escaped(r, items[i]) : ig_tr_add_str(r, tv_str(items[i]))))
            break;
    }
    return ig_tr_take(r, mark, tv_s(of)->markup);
}

/* flag: 'l' text left, 'r' text right, 'c' centre, 'z' zeros */
METHOD(m_pad)
{
    UNUSED;
    int64_t width;
    char fill = m->flag == 'z' ? '0' : ' ';
    ig_str pad = {&fill, 1}, s = tv_str(of), sign = {s.ptr, 0};
    if (!ig_tr_index(r, a[0], "the width", &width)) return (ig_tval){0};
    if (a[1].kind) {
        if (!need_text(r, m, a[1])) return (ig_tval){0};
        if (tv_s(a[1])->chars != 1) return TR_WRONG(r, "%s() fills with exactly one character", m->name);
        pad = tv_str(a[1]);
    }
    int64_t total = width - (int64_t)tv_s(of)->chars;
    if (total <= 0) return of;
    if (total > (int64_t)r->scratch.max_bytes) return ig_tr_no_memory(r);
    int64_t left = m->flag == 'l' ? 0 : m->flag == 'c' ? total / 2 + (total & width & 1) : total;
    if (m->flag == 'z' && s.len && (s.ptr[0] == '-' || s.ptr[0] == '+')) sign.len = 1;
    size_t mark = ig_tr_mark(r);
    bool ok = ig_tr_add_str(r, sign);
    for (int64_t i = 0; ok && i < left; i++) ok = ig_tr_add_str(r, pad);
    ok = ok && ig_tr_add(r, s.ptr + sign.len, s.len - sign.len);
    for (int64_t i = left; ok && i < total; i++) ok = ig_tr_add_str(r, pad);
    return ig_tr_take(r, mark, tv_s(of)->markup);
}

/* Every character must satisfy; flag picks the test. */
METHOD(m_is)
{
    UNUSED;
    ig_str s = tv_str(of);
    bool some = false, upper_next = true;
    if (!ig_tr_step(r, s.len / 16)) return (ig_tval){0};
    for (size_t i = 0; i < s.len;) {
        uint32_t c;
        i += ig_tt_next(s.ptr + i, s.len - i, &c);
        bool upper = ig_tt_upper(c), lower = ig_tt_lower(c), ok = true;
        switch (m->flag) {
        case 'a': ok = ig_tt_alpha(c); break;
        case 'd': ok = ig_tt_decimal(c); break;
        case 'D': ok = ig_tt_digit(c); break;
        case 'n': ok = ig_tt_numeric(c); break;
        case 'w': ok = ig_tt_alpha(c) || ig_tt_numeric(c); break;
        case 's': ok = ig_tt_space(c); break;
        case 'A': ok = c < 128; break;
        case 'p': ok = ig_tt_printable(c); break;
        case 'i': ok = ig_tt_word(c) && (some || !ig_tt_numeric(c)); break;
        case 'u': ok = !lower && !ig_tt_title(c); break;
        case 'l': ok = !upper && !ig_tt_title(c); break;
        default: /* title */
            ok = upper_next ? !lower : !upper && !ig_tt_title(c);
            upper_next = !(upper || lower || ig_tt_title(c));
        }
        if (!ok) return ig_tv_bool(false);
        some = some || !strchr("ult", m->flag) || upper || lower || ig_tt_title(c);
    }
    return ig_tv_bool(some || m->flag == 'A' || m->flag == 'p');
}

/* flag: 1 suffix */
METHOD(m_remove)
{
    UNUSED;
    if (!need_text(r, m, a[0])) return (ig_tval){0};
    ig_str s = tv_str(of), x = tv_str(a[0]);
    if (!x.len || x.len > s.len || memcmp(m->flag ? s.ptr + s.len - x.len : s.ptr, x.ptr, x.len)) return of;
    return part(r, of, m->flag ? s.ptr : s.ptr + x.len, s.len - x.len);
}

METHOD(m_expandtabs)
{
    UNUSED;
    int64_t size = 8, column = 0;
    ig_str s = tv_str(of);
    if (a[0].kind && !ig_tr_index(r, a[0], "the tab size", &size)) return (ig_tval){0};
    if (size > 1000000) return ig_tr_no_memory(r);
    size_t mark = ig_tr_mark(r);
    for (size_t i = 0; i < s.len;) {
        size_t len = ig_tt_next(s.ptr + i, s.len - i, NULL);
        bool ok;
        if (s.ptr[i] == '\t') {
            int64_t n = size > 0 ? size - column % size : 0;
            ok = ig_tr_repeat(r, ' ', (size_t)n);
            column += n;
        } else {
            ok = ig_tr_add(r, s.ptr + i, len);
            column = s.ptr[i] == '\n' || s.ptr[i] == '\r' ? 0 : column + 1;
        }
        if (!ok) break;
        i += len;
    }
    return ig_tr_take(r, mark, tv_s(of)->markup);
}

METHOD(m_format) { return (void)m, (void)a, ig_tr_format(r, of, args); }
METHOD(m_format_map)
{
    UNUSED;
    if (a[0].kind != TV_DICT) return TR_WRONG(r, "format_map() needs a dict");
    const ig_tdict *d = tv_d(a[0]);
    ig_tkwarg *kw = ig_tr_alloc(r, d->n, sizeof *kw);
    size_t n = 0;
    for (uint32_t i = 0; kw && i < d->n; i++)
        if (d->e[i].key.kind == TV_STR) kw[n++] = (ig_tkwarg){tv_str(d->e[i].key), d->e[i].value};
    return kw ? ig_tr_format(r, of, &(ig_targs){.kw = kw, .n_kw = n}) : (ig_tval){0};
}

METHOD(m_unsupported)
{
    UNUSED;
    return ig_tr_fail(r, IG_UNSUPPORTED, "the method %s() is not supported", m->name);
}

/* ----------------------------------------------------------------------------------------- dicts and lists */

METHOD(m_get)
{
    UNUSED;
    if (!ig_tv_hashable(a[0]) && a[0].kind != TV_UNDEF)
        return TR_WRONG(r, "%s cannot be the key of a dict", ig_tv_type(a[0]));
    const ig_tval *v = ig_td_get(tv_d(of), a[0]);
    return v ? *v : a[1].kind ? a[1] : ig_tv_none();
}

METHOD(m_view)
{
    UNUSED;
    ig_tview *v = ig_tr_alloc(r, 1, sizeof *v);
    if (v) *v = (ig_tview){.dict = tv_d(of), .what = (char)m->flag};
    return tv_ptr(TV_VIEW, v);
}

METHOD(m_copy)
{
    UNUSED;
    return of; /* nothing changes a dict or a list */
}

/* flag: 1 index, else count */
METHOD(m_seq)
{
    UNUSED;
    int64_t n = 0, lo = 0, hi = (int64_t)tv_l(of)->n;
    if (a[1].kind && !ig_tr_index(r, a[1], "a start", &lo)) return (ig_tval){0};
    if (a[2].kind && !ig_tr_index(r, a[2], "an end", &hi)) return (ig_tval){0};
    if (lo < 0) lo = lo + (int64_t)tv_l(of)->n < 0 ? 0 : lo + (int64_t)tv_l(of)->n;
    if (hi < 0) hi += (int64_t)tv_l(of)->n;
    if (hi > (int64_t)tv_l(of)->n) hi = (int64_t)tv_l(of)->n;
    for (int64_t i = lo; i < hi; i++) {
        int e = ig_tr_step(r, 1) ? ig_tr_equal(r, tv_l(of)->items[i], a[0]) : -1;
        if (e < 0) return (ig_tval){0};
        if (e && m->flag) return ig_tv_int(i);
        n += e;
    }
    return m->flag ? TR_WRONG(r, "the item is not in the %s", ig_tv_type(of)) : ig_tv_int(n);
}

METHOD(m_is_integer)
{
    UNUSED;
    return ig_tv_bool(of.u.f == floor(of.u.f) && !isinf(of.u.f));
}
METHOD(m_bit_length)
{
    UNUSED;
    if (of.kind == TV_BIG) return m_unsupported(r, m, of, a, args);
    int64_t i = of.kind == TV_BOOL ? of.u.b : of.u.i;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    return ig_tv_int(u ? 64 - __builtin_clzll(u) : 0);
}

METHOD(m_cycle)
{
    UNUSED;
    const ig_tloop *l = of.u.p;
    if (!args->n) return TR_WRONG(r, "loop.cycle() needs at least one item");
    return args->pos[l->at % args->n];
}
METHOD(m_changed)
{
    UNUSED;
    ig_tloop *l = of.u.p;
    ig_tval now = ig_tr_list(r, TV_TUPLE, args->pos, args->n);
    int same = now.kind && l->last.kind ? ig_tr_equal(r, l->last, now) : 0;
    if (!now.kind || same < 0) return (ig_tval){0};
    if (!same) l->last = now;
    return ig_tv_bool(!same);
}
METHOD(m_next)
{
    UNUSED;
    ig_tcycler *c = of.u.p;
    ig_tval v = c->items[c->at];
    c->at = (c->at + 1) % c->n;
    return v;
}
METHOD(m_reset)
{
    UNUSED;
    ((ig_tcycler *)of.u.p)->at = 0;
    return ig_tv_none();
}

static const ig_method methods[] = {
    {"upper", ON_STR, "", 0, 'u', m_case},
    {"lower", ON_STR, "", 0, 'l', m_case},
    {"title", ON_STR, "", 0, 't', m_case},
    {"capitalize", ON_STR, "", 0, 'c', m_case},
    {"swapcase", ON_STR, "", 0, 's', m_case},
    {"casefold", ON_STR, "", 0, 'f', m_case},
    {"strip", ON_STR, "chars", 0, 3, m_strip},
    {"lstrip", ON_STR, "chars", 0, 1, m_strip},
    {"rstrip", ON_STR, "chars", 0, 2, m_strip},
    {"split", ON_STR, "sep maxsplit", 0, 0, m_split},
    {"rsplit", ON_STR, "sep maxsplit", 0, 1, m_split},
    {"splitlines", ON_STR, "keepends", 0, 0, m_splitlines},
    {"partition", ON_STR, "sep", 1, 0, m_partition},
    {"rpartition", ON_STR, "sep", 1, 1, m_partition},
    {"find", ON_STR, "sub start end", 1, 0, m_find},
    {"rfind", ON_STR, "sub start end", 1, 1, m_find},
    {"index", ON_STR, "sub start end", 1, 2, m_find},
    {"rindex", ON_STR, "sub start end", 1, 3, m_find},
    {"count", ON_STR, "sub start end", 1, 0, m_count},
    {"startswith", ON_STR, "prefix start end", 1, 0, m_starts},
    {"endswith", ON_STR, "suffix start end", 1, 1, m_starts},
    {"replace", ON_STR, "old new count", 2, 0, m_replace},
    {"join", ON_STR, "iterable", 1, 0, m_join},
    {"ljust", ON_STR, "width fillchar", 1, 'l', m_pad},
    {"rjust", ON_STR, "width fillchar", 1, 'r', m_pad},
    {"center", ON_STR, "width fillchar", 1, 'c', m_pad},
    {"zfill", ON_STR, "width", 1, 'z', m_pad},
    {"isalpha", ON_STR, "", 0, 'a', m_is},
    {"isdecimal", ON_STR, "", 0, 'd', m_is},
    {"isdigit", ON_STR, "", 0, 'D', m_is},
    {"isnumeric", ON_STR, "", 0, 'n', m_is},
    {"isalnum", ON_STR, "", 0, 'w', m_is},
    {"isspace", ON_STR, "", 0, 's', m_is},
    {"isascii", ON_STR, "", 0, 'A', m_is},
    {"isprintable", ON_STR, "", 0, 'p', m_is},
    {"isidentifier", ON_STR, "", 0, 'i', m_is},
    {"isupper", ON_STR, "", 0, 'u', m_is},
    {"islower", ON_STR, "", 0, 'l', m_is},
    {"istitle", ON_STR, "", 0, 't', m_is},
    {"removeprefix", ON_STR, "prefix", 1, 0, m_remove},
    {"removesuffix", ON_STR, "suffix", 1, 1, m_remove},
    {"expandtabs", ON_STR, "tabsize", 0, 0, m_expandtabs},
    {"format", ON_STR, NULL, 0, 0, m_format},
    {"format_map", ON_STR, "mapping", 1, 0, m_format_map},
    {"encode", ON_STR, NULL, 0, 0, m_unsupported},
    {"translate", ON_STR, NULL, 0, 0, m_unsupported},
    {"maketrans", ON_STR, NULL, 0, 0, m_unsupported},
    {"get", ON_DICT, "key default", 1, 0, m_get},
    {"keys", ON_DICT, "", 0, 'k', m_view},
    {"values", ON_DICT, "", 0, 'v', m_view},
    {"items", ON_DICT, "", 0, 'i', m_view},
    {"copy", ON_DICT | ON_LIST, "", 0, 0, m_copy},
    {"fromkeys", ON_DICT, NULL, 0, 0, m_unsupported},
    {"clear", ON_DICT | ON_LIST, "!", 0, 0, m_unsupported},
    {"pop", ON_DICT | ON_LIST, "!", 0, 0, m_unsupported},
    {"popitem", ON_DICT, "!", 0, 0, m_unsupported},
    {"setdefault", ON_DICT, "!", 0, 0, m_unsupported},
    {"update", ON_DICT, "!", 0, 0, m_unsupported},
    {"append", ON_LIST, "!", 0, 0, m_unsupported},
    {"extend", ON_LIST, "!", 0, 0, m_unsupported},
    {"insert", ON_LIST, "!", 0, 0, m_unsupported},
    {"remove", ON_LIST, "!", 0, 0, m_unsupported},
    {"reverse", ON_LIST, "!", 0, 0, m_unsupported},
    {"sort", ON_LIST, "!", 0, 0, m_unsupported},
    {"index", ON_SEQ, "value start stop", 1, 1, m_seq},
    {"count", ON_SEQ, "value", 1, 0, m_seq},
    {"is_integer", ON_FLOAT, "", 0, 0, m_is_integer},
    {"bit_length", ON_INT, "", 0, 0, m_bit_length},
    {"bit_count", ON_INT, NULL, 0, 0, m_unsupported},
    {"conjugate", ON_INT | ON_FLOAT, "", 0, 0, m_copy},
    {"cycle", ON_LOOP, NULL, 0, 0, m_cycle},
    {"changed", ON_LOOP, NULL, 0, 0, m_changed},
    {"next", ON_CYCLER, "", 0, 0, m_next},
    {"reset", ON_CYCLER, "", 0, 0, m_reset},
};

const ig_method *ig_method_find(ig_tval object, ig_str name)
{
    static const unsigned kinds[TV_KINDS] = {
        [TV_STR] = ON_STR,   [TV_DICT] = ON_DICT,     [TV_LIST] = ON_LIST | ON_SEQ, [TV_TUPLE] = ON_SEQ,
        [TV_INT] = ON_INT,   [TV_BIG] = ON_INT,       [TV_BOOL] = ON_INT,           [TV_FLOAT] = ON_FLOAT,
        [TV_LOOP] = ON_LOOP, [TV_CYCLER] = ON_CYCLER,
    };
    unsigned on = kinds[object.kind];
    for (size_t i = 0; on && i < sizeof methods / sizeof *methods; i++)
        if ((methods[i].on & on) && ig_str_is(name, methods[i].name)) return &methods[i];
    return NULL;
}

bool ig_method_unsafe(const ig_method *m) { return m->params && m->params[0] == '!'; }

ig_tval ig_tr_call_method(ig_tr *r, const ig_tmethod *bound, const ig_targs *args)
{
    const ig_method *m = bound->method;
    ig_tval slots[4] = {{0}};
    if (m->params && !ig_tr_bind(r, "method", ig_str_from(m->name), m->params, args, slots)) return (ig_tval){0};
    for (unsigned i = 0; i < m->n_min; i++)
        if (!slots[i].kind) return TR_WRONG(r, "method %s needs %u arguments", m->name, m->n_min);
    return m->call(r, m, bound->object, slots, args);
}
