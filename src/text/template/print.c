/* Values as text: str(), repr(), HTML escapes and JSON as Python's json.dumps writes it. All append to the scratch
 * buffer of the run. */
#include <math.h>

#include "base/sort.h"
#include "text/template/run.h"
#include "text/template/text.h"

static bool add_z(ig_tr *r, const char *z) { return ig_tr_add(r, z, strlen(z)); }

static bool add_number(ig_tr *r, ig_tval v)
{
    char text[40], digits[BIG_LIMBS_MAX * 9 + 16];
    if (v.kind == TV_BOOL) return add_z(r, v.u.b ? "True" : "False");
    if (v.kind == TV_FLOAT) return ig_tr_add(r, text, ig_tn_float_text(v.u.f, text));
    if (v.kind == TV_BIG) return ig_tr_step(r, 200) && ig_tr_add(r, digits, ig_tn_digits(v.u.p, digits));
    return ig_tr_add(r, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v.u.i));
}

/* One character of a repr: escaped where Python would. */
static bool add_repr_char(ig_tr *r, const char *p, size_t len, uint32_t cp, char quote)
{
    static const char from[] = "\n\r\t\\", to[] = "nrt\\";
    char text[12];
    const char *at = cp && cp < 128 ? strchr(from, (int)cp) : NULL;
    if (at) return (void)snprintf(text, sizeof text, "\\%c", to[at - from]), ig_tr_add(r, text, 2);
    if (cp == (unsigned char)quote) return (void)snprintf(text, sizeof text, "\\%c", quote), ig_tr_add(r, text, 2);
    if (cp >= 32 && cp < 127) return ig_tr_add(r, p, len);
    if (cp >= 127 && ig_tt_printable(cp)) return ig_tr_add(r, p, len);
    int n = snprintf(text, sizeof text, cp < 256 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
    return ig_tr_add(r, text, (size_t)n);
}

static bool add_repr_text(ig_tr *r, const ig_tstr *s)
{
    bool single = s->n && memchr(s->p, '\'', s->n), twice = s->n && memchr(s->p, '"', s->n);
    char quote = single && !twice ? '"' : '\'';
    if (s->markup && !add_z(r, "Markup(")) return false;
    if (!ig_tr_add(r, &quote, 1)) return false;
    for (size_t i = 0; i < s->n;) {
        size_t run = 0; /* plain ASCII goes in one piece */
        while (i + run < s->n && s->p[i + run] >= 32 && s->p[i + run] < 127 && s->p[i + run] != quote &&
               s->p[i + run] != '\\')
            run++;
        if (run && !ig_tr_add(r, s->p + i, run)) return false;
        i += run;
        if (i == s->n) break;
        uint32_t cp;
        size_t len = ig_tt_next(s->p + i, s->n - i, &cp);
        if (!add_repr_char(r, s->p + i, len, cp, quote)) return false;
        i += len;
    }
    return ig_tr_add(r, &quote, 1) && (!s->markup || add_z(r, ")"));
}

static bool add_items(ig_tr *r, const ig_tval *items, size_t n, unsigned depth)
{
    for (size_t i = 0; i < n; i++)
        if ((i && !add_z(r, ", ")) || !ig_tr_add_repr(r, items[i], depth)) return false;
    return true;
}

static bool add_dict(ig_tr *r, const ig_tdict *d, unsigned depth)
{
    if (!add_z(r, "{")) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        if ((i && !add_z(r, ", ")) || !ig_tr_add_repr(r, d->e[i].key, depth) || !add_z(r, ": ")) return false;
        if (!ig_tr_add_repr(r, d->e[i].value, depth)) return false;
    }
    return add_z(r, "}");
}

static bool add_view(ig_tr *r, ig_tval v, unsigned depth)
{
    const char what = ((const ig_tview *)v.u.p)->what;
    const ig_tval *items;
    size_t n;
    return ig_tr_items(r, v, &items, &n) &&
           add_z(r, what == 'k'   ? "dict_keys(["
                    : what == 'v' ? "dict_values(["
                                  : "dict_items([") &&
           add_items(r, items, n, depth) && add_z(r, "])");
}

static bool add_other(ig_tr *r, ig_tval v, unsigned depth)
{
    char text[160];
    const ig_trange *g = v.u.p;
    const ig_tloop *l = v.u.p;
    int n;
    switch (v.kind) {
    case TV_RANGE:
        n = snprintf(text, sizeof text, g->step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)",
                     (long long)g->start, (long long)g->stop, (long long)g->step);
        break;
    case TV_LOOP: n = snprintf(text, sizeof text, "<LoopContext %zu/%zu>", l->at + 1, l->n); break;
    case TV_NS: return add_z(r, "<Namespace ") && add_dict(r, tv_d(v), depth) && add_z(r, ">");
    case TV_MACRO:
        n = snprintf(text, sizeof text, "<Macro '%.*s'>", IG_STR_ARG(((const ig_tmacro *)v.u.p)->def->name));
        break;
    case TV_FUNC: n = snprintf(text, sizeof text, "<function %s>", ig_tr_global_name((int)v.u.i)); break;
    default: n = snprintf(text, sizeof text, "<%s object>", ig_tv_type(v)); break;
    }
    return ig_tr_add(r, text, (size_t)n);
}

bool ig_tr_add_repr(ig_tr *r, ig_tval v, unsigned depth)
{
    if (depth > PRINT_DEPTH_MAX) {
        ig_tr_fail(r, IG_TOO_LARGE, "the value is nested more than %d deep", PRINT_DEPTH_MAX);
        return false;
    }
    if (!ig_tr_step(r, 1)) return false;
    if (tv_is_number(v)) return add_number(r, v);
    switch (v.kind) {
    case TV_UNDEF: return add_z(r, "Undefined");
    case TV_NONE: return add_z(r, "None");
    case TV_STR: return add_repr_text(r, tv_s(v));
    case TV_LIST: return add_z(r, "[") && add_items(r, tv_l(v)->items, tv_l(v)->n, depth + 1) && add_z(r, "]");
    case TV_TUPLE:
        return add_z(r, "(") && add_items(r, tv_l(v)->items, tv_l(v)->n, depth + 1) &&
               add_z(r, tv_l(v)->n == 1 ? ",)" : ")");
    case TV_DICT: return add_dict(r, tv_d(v), depth + 1);
    case TV_VIEW: return add_view(r, v, depth + 1);
    default: return add_other(r, v, depth + 1);
    }
}

bool ig_tr_add_text(ig_tr *r, ig_tval v)
{
    if (v.kind == TV_STR) return ig_tr_add_str(r, tv_str(v));
    if (v.kind == TV_UNDEF) return true;
    return v.kind != TV_FAIL && ig_tr_add_repr(r, v, 0);
}

ig_tval ig_tr_to_text(ig_tr *r, ig_tval v)
{
    if (v.kind == TV_STR || v.kind == TV_FAIL) return v;
    size_t mark = ig_tr_mark(r);
    (void)ig_tr_add_text(r, v);
    return ig_tr_take(r, mark, false);
}

static bool add_html(ig_tr *r, ig_str s)
{
    static const char chars[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        const char *at = s.ptr[i] ? strchr(chars, s.ptr[i]) : NULL;
        if (!at) continue;
        if (!ig_tr_add(r, s.ptr + from, i - from) || !add_z(r, to[at - chars])) return false;
        from = i + 1;
    }
    return ig_tr_add(r, s.ptr + from, s.len - from);
}

bool ig_tr_add_escaped(ig_tr *r, ig_tval v)
{
    if (v.kind == TV_STR && tv_s(v)->markup) return ig_tr_add_str(r, tv_str(v));
    ig_tval text = ig_tr_to_text(r, v);
    return text.kind && add_html(r, tv_str(text));
}

ig_tval ig_tr_escape(ig_tr *r, ig_tval v)
{
    if (v.kind == TV_STR && tv_s(v)->markup) return v;
    size_t mark = ig_tr_mark(r);
    (void)ig_tr_add_escaped(r, v);
    return ig_tr_take(r, mark, true);
}

/* ----------------------------------------------------------------------------------------------------- JSON */

static bool add_json_char(ig_tr *r, uint32_t cp)
{
    char text[16];
    int n;
    if (cp >= 0x10000)
        n = snprintf(text, sizeof text, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((cp - 0x10000) >> 10)),
                     (unsigned)(0xDC00 + ((cp - 0x10000) & 0x3FF)));
    else
        n = snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
    return ig_tr_add(r, text, (size_t)n);
}

static bool add_json_text(ig_tr *r, ig_str s, bool ascii)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    size_t start = 0;
    if (!add_z(r, "\"")) return false;
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.ptr[i];
        const char *at = c && c < 128 ? strchr(from, c) : NULL;
        if (!at && c >= 32 && (!ascii || c < 127)) {
            i++;
            continue;
        }
        if (!ig_tr_add(r, s.ptr + start, i - start)) return false;
        uint32_t cp;
        i += ig_tt_next(s.ptr + i, s.len - i, &cp);
        start = i;
        char pair[2] = {'\\', at ? to[at - from] : 0};
        if (!(at ? ig_tr_add(r, pair, 2) : add_json_char(r, cp))) return false;
    }
    return ig_tr_add(r, s.ptr + start, s.len - start) && add_z(r, "\"");
}

static bool add_json_number(ig_tr *r, ig_tval v)
{
    if (v.kind == TV_BOOL) return add_z(r, v.u.b ? "true" : "false");
    if (v.kind == TV_FLOAT && isnan(v.u.f)) return add_z(r, "NaN");
    if (v.kind == TV_FLOAT && isinf(v.u.f)) return add_z(r, v.u.f < 0 ? "-Infinity" : "Infinity");
    return add_number(r, v);
}

static bool add_line(ig_tr *r, const ig_tjson *how, unsigned depth)
{
    if (!how->has_indent) return true;
    if (!add_z(r, "\n")) return false;
    for (unsigned i = 0; i < depth; i++)
        if (!ig_tr_add_str(r, how->indent)) return false;
    return true;
}

static bool add_json_key(ig_tr *r, ig_tval key, bool ascii)
{
    if (key.kind == TV_STR) return add_json_text(r, tv_str(key), ascii);
    if (key.kind == TV_NONE) return add_z(r, "\"null\"");
    if (tv_is_number(key)) return add_z(r, "\"") && add_json_number(r, key) && add_z(r, "\"");
    TR_WRONG(r, "a key of JSON must be a string, a number, a bool or none, not %s", ig_tv_type(key));
    return false;
}

typedef struct sort_ctx {
    ig_tr *r;
} sort_ctx;
static bool entry_before(const void *a, const void *b, const void *ctx)
{
    const ig_tentry *x = a, *y = b;
    return ig_tr_less(((const sort_ctx *)ctx)->r, x->key, y->key) == 1;
}

static bool add_json_dict(ig_tr *r, const ig_tdict *d, const ig_tjson *how, unsigned depth)
{
    const ig_tentry *e = d->e;
    if (d->n == 0) return add_z(r, "{}");
    if (how->sorted) {
        ig_tentry *copy = ig_tr_alloc(r, d->n, sizeof *copy);
        if (!copy || !ig_tr_step(r, (uint64_t)d->n * 20)) return false;
        memcpy(copy, d->e, d->n * sizeof *copy);
        ig_sort(copy, d->n, sizeof *copy, entry_before, &(sort_ctx){r});
        if (r->status != IG_OK) return false;
        e = copy;
    }
    if (!add_z(r, "{")) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        if ((i && !ig_tr_add_str(r, how->item)) || !add_line(r, how, depth + 1)) return false;
        if (!add_json_key(r, e[i].key, how->ascii) || !ig_tr_add_str(r, how->key)) return false;
        if (!ig_tr_add_json(r, e[i].value, how, depth + 1)) return false;
    }
    return add_line(r, how, depth) && add_z(r, "}");
}

static bool add_json_list(ig_tr *r, const ig_tlist *l, const ig_tjson *how, unsigned depth)
{
    if (l->n == 0) return add_z(r, "[]");
    if (!add_z(r, "[")) return false;
    for (size_t i = 0; i < l->n; i++) {
        if ((i && !ig_tr_add_str(r, how->item)) || !add_line(r, how, depth + 1)) return false;
        if (!ig_tr_add_json(r, l->items[i], how, depth + 1)) return false;
    }
    return add_line(r, how, depth) && add_z(r, "]");
}

bool ig_tr_add_json(ig_tr *r, ig_tval v, const ig_tjson *how, unsigned depth)
{
    if (depth > PRINT_DEPTH_MAX) {
        ig_tr_fail(r, IG_TOO_LARGE, "the value is nested more than %d deep", PRINT_DEPTH_MAX);
        return false;
    }
    if (!ig_tr_step(r, 1)) return false;
    if (tv_is_number(v)) return add_json_number(r, v);
    switch (v.kind) {
    case TV_NONE: return add_z(r, "null");
    case TV_STR: return add_json_text(r, tv_str(v), how->ascii);
    case TV_LIST:
    case TV_TUPLE: return add_json_list(r, tv_l(v), how, depth);
    case TV_DICT: return add_json_dict(r, tv_d(v), how, depth);
    default: TR_WRONG(r, "%s cannot be written as JSON", ig_tv_type(v)); return false;
    }
}
