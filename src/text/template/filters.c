/* Filters on texts and numbers, the lookup, and tojson. Filters on lists stand in filters_seq.c. */
#include <math.h>
#include <stdlib.h>

#include "base/sort.h"
#include "text/template/filter_table.h"

bool ig_filter_int(ig_tr *r, ig_tval a, int64_t standard, int64_t *out)
{
    *out = standard;
    return a.kind == TV_FAIL || ig_tr_index(r, a, "the argument of a filter", out);
}

bool ig_filter_flag(ig_tval a, bool standard) { return a.kind == TV_FAIL ? standard : ig_tr_truth(a); }

static bool markup_of(ig_tval v) { return v.kind == TV_STR && tv_s(v)->markup; }

static FILTER(x_case)
{
    FILTER_UNUSED;
    ig_tval s = ig_tr_to_text(r, v);
    if (!s.kind || !ig_tr_step(r, tv_s(s)->n / 8)) return (ig_tval){0};
    size_t mark = ig_tr_mark(r);
    if (!ig_tt_case(&r->scratch, tv_str(s), (char)f->flag)) ig_tr_no_memory(r);
    return ig_tr_take(r, mark, markup_of(v));
}

/* Words begin behind white space and opening brackets and hyphens; the rest of a word is lower case. */
static FILTER(x_title)
{
    FILTER_UNUSED;
    ig_tval t = ig_tr_to_text(r, v);
    if (!t.kind || !ig_tr_step(r, tv_s(t)->n / 8)) return (ig_tval){0};
    ig_str s = tv_str(t);
    size_t mark = ig_tr_mark(r);
    for (size_t i = 0; i < s.len;) {
        size_t start = i;
        uint32_t cp = 0;
        bool separator = false;
        while (i < s.len && !separator) {
            size_t len = ig_tt_next(s.ptr + i, s.len - i, &cp);
            separator = ig_tt_space(cp) || (cp < 128 && cp && strchr("-({[<", (int)cp));
            i += len;
        }
        size_t end = separator ? i - ig_tt_prev(s.ptr, i, NULL) : i;
        size_t first = end > start ? ig_tt_next(s.ptr + start, end - start, NULL) : 0;
        bool ok = ig_tt_case(&r->scratch, (ig_str){s.ptr + start, first}, 'u') &&
                  ig_tt_case(&r->scratch, (ig_str){s.ptr + start + first, end - start - first}, 'l');
        if (!ok || !ig_tr_add(r, s.ptr + end, i - end)) {
            ig_tr_no_memory(r);
            break;
        }
    }
    return ig_tr_take(r, mark, false);
}

static FILTER(x_trim)
{
    FILTER_UNUSED;
    ig_tval s = ig_tr_to_text(r, v);
    if (!s.kind) return s;
    if (a[0].kind > TV_NONE && a[0].kind != TV_STR) return TR_WRONG(r, "trim needs a string of characters");
    if (!ig_tr_step(r, (tv_s(s)->n / 64 + 1) * (a[0].kind == TV_STR ? tv_s(a[0])->n / 64 + 1 : 1))) return (ig_tval){0};
    ig_str cut = a[0].kind == TV_STR ? ig_tt_strip_chars(tv_str(s), tv_str(a[0]), true, true)
                                     : ig_tt_strip(tv_str(s), true, true);
    return ig_tr_slice(r, cut.ptr, cut.len, markup_of(v));
}

static FILTER(x_string)
{
    FILTER_UNUSED;
    return ig_tr_to_text(r, v);
}

static FILTER(x_replace)
{
    FILTER_UNUSED;
    int64_t max;
    ig_tval s = ig_tr_to_text(r, v), old = ig_tr_to_text(r, a[0]), new = ig_tr_to_text(r, a[1]);
    if (!s.kind || !old.kind || !new.kind) return (ig_tval){0};
    if (!ig_filter_int(r, a[2].kind == TV_NONE ? (ig_tval){0} : a[2], -1, &max)) return (ig_tval){0};
    if (markup_of(s)) s = ig_tr_slice(r, tv_s(s)->p, tv_s(s)->n, false);
    return s.kind ? ig_tr_replace(r, s, old, new, max < 0 ? -1 : max) : s;
}

static FILTER(x_default)
{
    FILTER_UNUSED;
    bool use = v.kind == TV_UNDEF || (ig_filter_flag(a[1], false) && !ig_tr_truth(v));
    if (!use) return v;
    return a[0].kind ? a[0] : ig_tr_slice(r, "", 0, false);
}

static FILTER(x_indent)
{
    FILTER_UNUSED;
    int64_t width = 4;
    bool text = a[0].kind == TV_STR, first = ig_filter_flag(a[1], false), blank = ig_filter_flag(a[2], false);
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v);
    if (v.kind != TV_STR) return TR_WRONG(r, "indent needs a string, not %s", ig_tv_type(v));
    if (!text && !ig_filter_int(r, a[0], 4, &width)) return (ig_tval){0};
    if (width < 0) width = 0;
    if (width > (int64_t)r->scratch.max_bytes) return ig_tr_no_memory(r);
    ig_str all = tv_str(v);
    size_t mark = ig_tr_mark(r), i = 0;
    for (bool start = true;; start = false) {
        size_t end = i, len = 0; /* every kind of line break becomes a newline */
        while (end < all.len && !(len = ig_tt_line_break(all, end)))
            end += ig_tt_next(all.ptr + end, all.len - end, NULL);
        bool ok = true;
        if (start ? first : blank || end > i)
            ok = text ? ig_tr_add_str(r, tv_str(a[0])) : ig_tr_repeat(r, ' ', (size_t)width);
        ok = ok && ig_tr_add(r, all.ptr + i, end - i) && (!len || ig_tr_add(r, "\n", 1));
        i = end + len;
        if (!ok || !len) break;
    }
    return ig_tr_take(r, mark, markup_of(v));
}

static FILTER(x_center)
{
    FILTER_UNUSED;
    int64_t width;
    ig_tval s = ig_tr_to_text(r, v);
    if (!s.kind || !ig_filter_int(r, a[0], 80, &width)) return (ig_tval){0};
    int64_t total = width - (int64_t)tv_s(s)->chars;
    if (total <= 0) return s;
    if (total > (int64_t)r->scratch.max_bytes) return ig_tr_no_memory(r);
    size_t left = (size_t)(total / 2 + (total & width & 1)), mark = ig_tr_mark(r);
    (void)(ig_tr_repeat(r, ' ', left) && ig_tr_add_str(r, tv_str(s)) && ig_tr_repeat(r, ' ', (size_t)total - left));
    return ig_tr_take(r, mark, markup_of(v));
}

/* First n characters. */
static ig_str head(ig_tval s, int64_t n)
{
    size_t end = ig_tt_offset(tv_str(s), tv_s(s)->chars, n < 0 ? 0 : (size_t)n);
    return (ig_str){tv_s(s)->p, end};
}

static FILTER(x_truncate)
{
    FILTER_UNUSED;
    int64_t length, leeway;
    ig_tval s = v, end = a[2].kind == TV_STR ? a[2] : ig_tr_slice(r, "...", 3, false);
    size_t n;
    if (!ig_tr_length(r, s, &n) || !end.kind || !ig_filter_int(r, a[0], 255, &length)) return (ig_tval){0};
    if (!ig_filter_int(r, a[3].kind == TV_NONE ? (ig_tval){0} : a[3], 5, &leeway)) return (ig_tval){0};
    if (length < (int64_t)tv_s(end)->chars)
        return TR_WRONG(r, "truncate needs a length of at least %zu", tv_s(end)->chars);
    if (leeway < 0) return TR_WRONG(r, "truncate needs a leeway of at least 0");
    if ((int64_t)n <= length + leeway) return s;
    if (s.kind != TV_STR) return TR_WRONG(r, "truncate needs a string, not %s", ig_tv_type(s));
    ig_str cut = head(s, length - (int64_t)tv_s(end)->chars);
    size_t space = ig_filter_flag(a[1], false) ? SIZE_MAX : ig_tt_rfind(cut, IG_STR(" "));
    if (space != SIZE_MAX) cut.len = space;
    size_t mark = ig_tr_mark(r);
    (void)(ig_tr_add_str(r, cut) && ig_tr_add_str(r, tv_str(end)));
    return ig_tr_take(r, mark, markup_of(v));
}

static FILTER(x_wordcount)
{
    FILTER_UNUSED;
    ig_tval s = ig_tr_to_text(r, v);
    if (!s.kind || !ig_tr_step(r, tv_s(s)->n / 16)) return (ig_tval){0};
    int64_t n = 0;
    bool inside = false;
    for (size_t i = 0; i < tv_s(s)->n;) {
        uint32_t cp;
        i += ig_tt_next(tv_s(s)->p + i, tv_s(s)->n - i, &cp);
        bool word = ig_tt_word(cp);
        n += word && !inside;
        inside = word;
    }
    return ig_tv_int(n);
}

/* State of wordwrap: the line under way, in characters. */
typedef struct wrap {
    ig_tr *r;
    int64_t width, used;
    bool break_long, on_hyphens;
    ig_str between;
} wrap;

static bool wrap_new_line(wrap *w)
{
    w->used = 0;
    return ig_tr_add_str(w->r, w->between);
}

/* Places one word behind `gap` (white space, dropped at the start and end of a line). */
static bool wrap_word(wrap *w, ig_str gap, ig_str word)
{
    int64_t n_gap = (int64_t)ig_tt_count(gap.ptr, gap.len), n = (int64_t)ig_tt_count(word.ptr, word.len);
    bool ok = true;
    if (w->used && w->used + n_gap + n > w->width) {
        if (n > w->width && w->break_long && w->used + n_gap < w->width) {
            ok = ig_tr_add_str(w->r, gap); /* a long word fills what is left of the line */
            w->used += n_gap;
        } else {
            ok = wrap_new_line(w);
        }
    } else if (w->used) {
        ok = ig_tr_add_str(w->r, gap);
        w->used += n_gap;
    }
    while (ok && w->break_long && w->used + n > w->width) {
        size_t take = (size_t)(w->width - w->used), bytes = ig_tt_offset(word, (size_t)n, take);
        ok = ig_tr_add(w->r, word.ptr, bytes) && wrap_new_line(w);
        word = (ig_str){word.ptr + bytes, word.len - bytes};
        n -= (int64_t)take;
    }
    w->used += n;
    return ok && ig_tr_add_str(w->r, word);
}

static bool letter(char c) { return (c | 32) >= 'a' ? (c | 32) <= 'z' || c < 0 : c == '_' || c < 0; }

/* End of the part of a word that begins at `from`: behind a hyphen with two letters on both sides, else `to`. */
static size_t hyphen_break(ig_str line, size_t from, size_t to)
{
    for (size_t i = from + 2; i + 2 < to; i++)
        if (line.ptr[i] == '-' && letter(line.ptr[i - 1]) && letter(line.ptr[i - 2]) && letter(line.ptr[i + 1]) &&
            letter(line.ptr[i + 2]))
            return i + 1;
    return to;
}

static bool wrap_line(wrap *w, ig_str line)
{
    w->used = 0;
    for (size_t i = 0; i < line.len;) {
        size_t start = i;
        while (i < line.len && (line.ptr[i] == ' ' || line.ptr[i] == '\t')) i++;
        ig_str gap = {line.ptr + start, i - start};
        start = i;
        while (i < line.len && line.ptr[i] != ' ' && line.ptr[i] != '\t') i++;
        for (size_t end; start < i; start = end, gap.len = 0) {
            end = w->on_hyphens ? hyphen_break(line, start, i) : i;
            if (!wrap_word(w, gap, (ig_str){line.ptr + start, end - start})) return false;
        }
    }
    return true;
}

static FILTER(x_wordwrap)
{
    FILTER_UNUSED;
    ig_tval s = v;
    wrap w = {.r = r, .between = IG_STR("\n"), .break_long = ig_filter_flag(a[1], true)};
    w.on_hyphens = ig_filter_flag(a[3], true);
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v);
    if (v.kind != TV_STR) return TR_WRONG(r, "wordwrap needs a string, not %s", ig_tv_type(v));
    if (!ig_filter_int(r, a[0], 79, &w.width)) return (ig_tval){0};
    if (w.width < 1) return TR_WRONG(r, "wordwrap needs a width of at least 1");
    if (a[2].kind == TV_STR) w.between = tv_str(a[2]);
    ig_str all = tv_str(s);
    size_t mark = ig_tr_mark(r);
    for (size_t i = 0; i < all.len;) {
        const char *end = memchr(all.ptr + i, '\n', all.len - i);
        size_t len = end ? (size_t)(end - all.ptr) - i : all.len - i;
        if (i && !ig_tr_add_str(r, w.between)) break;
        if (!wrap_line(&w, (ig_str){all.ptr + i, len})) break;
        i += len + 1;
    }
    return ig_tr_take(r, mark, false);
}

static FILTER(x_format)
{
    FILTER_UNUSED;
    ig_tval s = ig_tr_to_text(r, v);
    if (!s.kind) return s;
    if (args->n && args->n_kw) return TR_WRONG(r, "format takes values with names or without, not both");
    if (!args->n_kw) return ig_tr_percent(r, s, ig_tr_list(r, TV_TUPLE, args->pos, args->n));
    ig_tdict *d = ig_td_new(&r->arena, args->n_kw);
    for (size_t i = 0; d && i < args->n_kw; i++) {
        ig_tval key = ig_tr_slice(r, args->kw[i].name.ptr, args->kw[i].name.len, false);
        if (!key.kind || !ig_td_set(&r->arena, d, key, args->kw[i].value)) d = NULL;
    }
    return d ? ig_tr_percent(r, s, tv_ptr(TV_DICT, d)) : ig_tr_no_memory(r);
}

/* ----------------------------------------------------------------------------------------------------- HTML */

static FILTER(x_escape)
{
    FILTER_UNUSED;
    if (f->flag && markup_of(v)) v = ig_tr_slice(r, tv_s(v)->p, tv_s(v)->n, false); /* forceescape */
    return v.kind ? ig_tr_escape(r, v) : v;
}

static FILTER(x_safe)
{
    FILTER_UNUSED;
    ig_tval s = ig_tr_to_text(r, v);
    return s.kind ? ig_tr_slice(r, tv_s(s)->p, tv_s(s)->n, true) : s;
}

/* The character that an entity stands for, at s[i] = '&'; 0 when it is none. */
static uint32_t entity(ig_str s, size_t i, size_t *len)
{
    static const struct {
        const char *name;
        uint32_t cp;
    } names[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}, {"&nbsp;", 0xA0}};
    ig_str rest = {s.ptr + i, s.len - i};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (ig_str_starts(rest, ig_str_from(names[k].name))) return *len = strlen(names[k].name), names[k].cp;
    if (rest.len < 4 || rest.ptr[1] != '#') return 0;
    bool hex = (rest.ptr[2] | 32) == 'x';
    uint32_t cp = 0;
    size_t k = hex ? 3 : 2;
    for (; k < rest.len && k < 10 && rest.ptr[k] != ';'; k++) {
        char c = rest.ptr[k];
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(hex && (c | 32) >= 'a' && (c | 32) <= 'f')) return 0;
        cp = cp * (hex ? 16 : 10) + (uint32_t)(digit ? c - '0' : (c | 32) - 'a' + 10);
    }
    *len = k + 1;
    return k < rest.len && rest.ptr[k] == ';' && cp <= 0x10FFFF && !(cp >= 0xD800 && cp < 0xE000) ? cp : 0;
}

/* Drops everything from `open` to `close`, again and again; what has no end stays. */
static ig_tval drop_between(ig_tr *r, ig_tval v, const char *open, const char *close)
{
    ig_str s = tv_str(v);
    size_t mark = ig_tr_mark(r);
    for (size_t at; (at = ig_tt_find(s, ig_str_from(open))) != SIZE_MAX;) {
        ig_str rest = {s.ptr + at, s.len - at};
        size_t end = ig_tt_find(rest, ig_str_from(close));
        if (end == SIZE_MAX || !ig_tr_add(r, s.ptr, at)) break;
        end += strlen(close);
        s = (ig_str){rest.ptr + end, rest.len - end};
    }
    (void)ig_tr_add_str(r, s);
    return ig_tr_take(r, mark, false);
}

static FILTER(x_striptags)
{
    FILTER_UNUSED;
    ig_tval s = ig_tr_to_text(r, v);
    if (s.kind) s = drop_between(r, s, "<!--", "-->");
    if (s.kind) s = drop_between(r, s, "<", ">");
    if (!s.kind) return s;
    size_t mark = ig_tr_mark(r);
    bool gap = false, some = false;
    for (size_t i = 0; i < tv_s(s)->n;) { /* white space becomes one blank, entities characters */
        uint32_t cp;
        size_t len = ig_tt_next(tv_s(s)->p + i, tv_s(s)->n - i, &cp), n_entity;
        if (ig_tt_space(cp)) {
            gap = true;
            i += len;
            continue;
        }
        if (gap && some && !ig_tr_add(r, " ", 1)) break;
        gap = false;
        some = true;
        uint32_t other = cp == '&' ? entity(tv_str(s), i, &n_entity) : 0;
        char utf8[4];
        if (!(other ? ig_tr_add(r, utf8, ig_utf8_encode(other, utf8)) : ig_tr_add(r, tv_s(s)->p + i, len))) break;
        i += other ? n_entity : len;
    }
    return ig_tr_take(r, mark, false);
}

static bool add_quoted(ig_tr *r, ig_tval v, bool query)
{
    ig_tval s = ig_tr_to_text(r, v);
    if (!s.kind) return false;
    for (size_t i = 0; i < tv_s(s)->n; i++) {
        unsigned char c = (unsigned char)tv_s(s)->p[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("_.-~", c)) ||
                     (c == '/' && !query);
        char text[4];
        int n = plain               ? snprintf(text, 4, "%c", c)
                : query && c == ' ' ? snprintf(text, 4, "+")
                                    : snprintf(text, 4, "%%%02X", c);
        if (!ig_tr_add(r, text, (size_t)n)) return false;
    }
    return true;
}

static FILTER(x_urlencode)
{
    FILTER_UNUSED;
    size_t mark = ig_tr_mark(r), n = 0;
    const ig_tval *items = NULL, *pair;
    if (v.kind == TV_STR || !(v.kind == TV_DICT || tv_is_seq(v) || v.kind == TV_VIEW || v.kind == TV_GEN)) {
        (void)add_quoted(r, v, false);
        return ig_tr_take(r, mark, false);
    }
    ig_tview view = {.what = 'i', .dict = v.kind == TV_DICT ? tv_d(v) : NULL};
    if (!ig_tr_items(r, v.kind == TV_DICT ? tv_ptr(TV_VIEW, &view) : v, &items, &n)) return (ig_tval){0};
    for (size_t i = 0, two; i < n; i++) {
        if (!ig_tr_items(r, items[i], &pair, &two)) break;
        if (two != 2) {
            TR_WRONG(r, "urlencode needs pairs");
            break;
        }
        if ((i && !ig_tr_add(r, "&", 1)) || !add_quoted(r, pair[0], true) || !ig_tr_add(r, "=", 1) ||
            !add_quoted(r, pair[1], true))
            break;
    }
    return ig_tr_take(r, mark, false);
}

static FILTER(x_xmlattr)
{
    FILTER_UNUSED;
    if (v.kind != TV_DICT) return TR_WRONG(r, "xmlattr needs a dict, not %s", ig_tv_type(v));
    size_t mark = ig_tr_mark(r);
    bool some = false, autospace = ig_filter_flag(a[0], true);
    for (uint32_t i = 0; i < tv_d(v)->n; i++) {
        const ig_tentry *e = &tv_d(v)->e[i];
        if (e->value.kind == TV_NONE || e->value.kind == TV_UNDEF) continue;
        if (e->key.kind != TV_STR || memchr(tv_s(e->key)->p, ' ', tv_s(e->key)->n) ||
            strpbrk(tv_s(e->key)->n ? "" : "", " ") || ig_tt_find(tv_str(e->key), IG_STR("=")) != SIZE_MAX ||
            ig_tt_find(tv_str(e->key), IG_STR("/")) != SIZE_MAX || ig_tt_find(tv_str(e->key), IG_STR(">")) != SIZE_MAX)
            return TR_WRONG(r, "xmlattr has a key that is no attribute name");
        bool ok = (!(some || autospace) || ig_tr_add(r, " ", 1)) && ig_tr_add_escaped(r, e->key) &&
                  ig_tr_add(r, "=\"", 2) && ig_tr_add_escaped(r, e->value) && ig_tr_add(r, "\"", 1);
        if (!ok) break;
        some = true;
    }
    return ig_tr_take(r, mark, false);
}

/* -------------------------------------------------------------------------------------------------- numbers */

/* A number written in a string as Python's int() or float() read it; TV_FAIL without an error when it is none. */
static ig_tval read_int(ig_tr *r, ig_str s, unsigned base)
{
    char digits[4400];
    size_t n = 0, i = 0;
    s = ig_tt_strip(s, true, true);
    bool negative = s.len && s.ptr[0] == '-';
    if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+')) i++;
    if (s.len > i + 2 && s.ptr[i] == '0') {
        char c = (char)(s.ptr[i + 1] | 32);
        unsigned prefix = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        if (prefix && (base == prefix || base == 0)) base = prefix, i += 2;
    }
    if (base == 0) base = 10;
    for (; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '_' && n && i + 1 < s.len && s.ptr[i + 1] != '_') continue;
        unsigned d = c >= '0' && c <= '9'                 ? (unsigned)(c - '0')
                     : (c | 32) >= 'a' && (c | 32) <= 'z' ? (unsigned)((c | 32) - 'a' + 10)
                                                          : 99;
        if (d >= base || n >= sizeof digits) return (ig_tval){0};
        digits[n++] = c;
    }
    return n ? ig_tn_parse(&r->arena, digits, n, base, negative) : (ig_tval){0};
}

static bool read_float(ig_str s, double *out)
{
    char clean[350];
    size_t n = 0, digits = 0, i = 0;
    s = ig_tt_strip(s, true, true);
    for (; i < s.len && n < sizeof clean; i++) {
        char c = s.ptr[i];
        if (c == '_' && digits) continue;
        bool digit = c >= '0' && c <= '9';
        digits += digit;
        if (!digit && !strchr("+-.eE", c ? c : 'x')) break;
        clean[n++] = c;
    }
    ig_str word = {s.ptr, s.len};
    bool sign = word.len && (word.ptr[0] == '-' || word.ptr[0] == '+');
    if (sign) word.ptr++, word.len--;
    double special = ig_str_is(word, "inf") || ig_str_is(word, "infinity") || ig_str_is(word, "Infinity")
                         ? (double)INFINITY
                     : ig_str_is(word, "nan") || ig_str_is(word, "NaN") ? (double)NAN
                                                                        : 0;
    if (special != 0) return *out = s.ptr[0] == '-' ? -special : special, true;
    if (!digits || i < s.len || n == 0) return false;
    /* one sign, one point, one exponent */
    size_t k = clean[0] == '-' || clean[0] == '+';
    size_t start = k;
    bool point = false, power = false;
    for (; k < n; k++) {
        char c = clean[k];
        if (c == '.' && !point && !power)
            point = true;
        else if ((c | 32) == 'e' && !power && k > start && !(k == start + 1 && clean[start] == '.'))
            power = true, k += k + 1 < n && (clean[k + 1] == '+' || clean[k + 1] == '-');
        else if (c < '0' || c > '9')
            return false;
    }
    if (clean[n - 1] < '0' && clean[n - 1] != '.') return false;
    if ((clean[n - 1] | 32) == 'e') return false;
    *out = ig_tn_read_double((ig_str){clean, n});
    return true;
}

static FILTER(x_int)
{
    FILTER_UNUSED;
    int64_t base;
    ig_tval standard = a[0].kind ? a[0] : ig_tv_int(0);
    double d = 0;
    if (!ig_filter_int(r, a[1], 10, &base)) return (ig_tval){0};
    if (base != 0 && (base < 2 || base > 36)) return standard;
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v);
    if (v.kind == TV_BOOL) return ig_tv_int(v.u.b);
    if (v.kind == TV_INT || v.kind == TV_BIG) return v;
    if (v.kind == TV_STR) {
        ig_tval i = read_int(r, tv_str(v), (unsigned)base);
        if (i.kind) return i;
        if (!read_float(tv_str(v), &d)) return standard;
    } else if (v.kind == TV_FLOAT) {
        d = v.u.f;
    } else {
        return standard;
    }
    return isfinite(d) ? ig_tr_ok(r, ig_tn_from_double(&r->arena, d)) : standard;
}

static FILTER(x_float)
{
    FILTER_UNUSED;
    double d;
    ig_tval standard = a[0].kind ? a[0] : ig_tv_float(0);
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v);
    if (tv_is_number(v)) return ig_tv_float(ig_tn_double(v));
    return v.kind == TV_STR && read_float(tv_str(v), &d) ? ig_tv_float(d) : standard;
}

static FILTER(x_abs)
{
    FILTER_UNUSED;
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v);
    if (!tv_is_number(v)) return TR_WRONG(r, "abs needs a number, not %s", ig_tv_type(v));
    if (v.kind == TV_FLOAT) return ig_tv_float(fabs(v.u.f));
    if (v.kind == TV_BOOL) return ig_tv_int(v.u.b);
    return ig_tn_compare(v, ig_tv_int(0)) < 0 ? ig_tr_negate(r, v) : v;
}

/* Rounds to a number of decimal places as Python does: correctly, halves to even. */
static double round_places(double d, int64_t places)
{
    char text[400 + 340];
    if (places > 323 || !isfinite(d)) return d;
    if (places >= 0) {
        int n = snprintf(text, sizeof text, "%.*f", (int)places, d);
        for (int i = 0; i < n; i++)
            if (text[i] == ',') text[i] = '.';
        return ig_tn_read_double((ig_str){text, (size_t)n});
    }
    if (places < -308) return 0 * d;
    double p = pow(10, (double)-places), q = nearbyint(d / p);
    return q * p;
}

static FILTER(x_round)
{
    FILTER_UNUSED;
    int64_t places;
    if (!ig_filter_int(r, a[0], 0, &places)) return (ig_tval){0};
    ig_str method = a[1].kind == TV_STR ? tv_str(a[1]) : IG_STR("common");
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v);
    if (!tv_is_number(v)) return TR_WRONG(r, "round needs a number, not %s", ig_tv_type(v));
    if (ig_str_is(method, "common")) {
        if (v.kind == TV_FLOAT) return ig_tv_float(round_places(v.u.f, places));
        if (v.kind == TV_BOOL) return ig_tv_int(v.u.b);
        if (places >= 0 || v.kind == TV_BIG) return v;
        if (places < -18) return ig_tv_int(0);
        int64_t p = 1;
        for (; places < 0; places++) p *= 10;
        int64_t down = v.u.i / p * p, rest = v.u.i - down;
        if (rest < 0) rest += p, down -= p;
        bool up = rest > p - rest || (rest == p - rest && (down / p) % 2 != 0);
        return up ? ig_tr_arith(r, '+', ig_tv_int(down), ig_tv_int(p)) : ig_tv_int(down);
    }
    bool ceiling = ig_str_is(method, "ceil");
    if (!ceiling && !ig_str_is(method, "floor")) return TR_WRONG(r, "round knows common, ceil and floor");
    if (places > 300 || places < -300) return TR_WRONG(r, "round has too many places");
    double p = pow(10, (double)places), d = ig_tn_double(v) * p;
    return ig_tv_float((ceiling ? ceil(d) : floor(d)) / p);
}

static FILTER(x_filesizeformat)
{
    FILTER_UNUSED;
    static const char *const decimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static const char *const binary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
    bool two = ig_filter_flag(a[0], false);
    double d, base = two ? 1024 : 1000, unit = base;
    char text[400]; /* the largest double has 309 digits */
    int n;
    if (tv_is_number(v))
        d = ig_tn_double(v);
    else if (v.kind != TV_STR || !read_float(tv_str(v), &d))
        return TR_WRONG(r, "filesizeformat needs a number");
    if (d == 1) return ig_tr_text(r, "1 Byte", 6, false);
    if (d < base) {
        n = snprintf(text, sizeof text, "%.0f Bytes", trunc(d));
    } else {
        size_t i = 0;
        for (unit = base * base; i < 7 && d >= unit; i++) unit *= base;
        n = snprintf(text, sizeof text, "%.1f %s", base * d / unit, (two ? binary : decimal)[i]);
    }
    return ig_tr_text(r, text, (size_t)n, false);
}

/* ------------------------------------------------------------------------------------------------------ JSON */

static bool json_separators(ig_tr *r, ig_tval v, ig_tjson *how)
{
    const ig_tval *items;
    size_t n;
    if (!v.kind || v.kind == TV_NONE) return true;
    if (!ig_tr_items(r, v, &items, &n)) return false;
    if (n != 2 || items[0].kind != TV_STR || items[1].kind != TV_STR)
        return TR_WRONG(r, "separators of tojson must be two strings"), false;
    how->item = tv_str(items[0]);
    how->key = tv_str(items[1]);
    return true;
}

/* As json.dumps: ensure_ascii false, no sorting, no HTML escapes. */
static FILTER(x_tojson)
{
    FILTER_UNUSED;
    ig_tjson how = {.ascii = ig_filter_flag(a[0], false), .sorted = ig_filter_flag(a[3], false), .key = IG_STR(": ")};
    how.has_indent = a[1].kind && a[1].kind != TV_NONE;
    how.item = how.has_indent ? IG_STR(",") : IG_STR(", ");
    size_t mark = ig_tr_mark(r);
    if (a[1].kind == TV_STR) {
        how.indent = tv_str(a[1]);
    } else if (how.has_indent) {
        int64_t n;
        if (!ig_tr_index(r, a[1], "the indent of tojson", &n)) return (ig_tval){0};
        if (n > 4096) return ig_tr_fail(r, IG_TOO_LARGE, "the indent of tojson is more than 4096");
        if (!ig_tr_repeat(r, ' ', n > 0 ? (size_t)n : 0)) return (ig_tval){0};
        ig_tval spaces = ig_tr_take(r, mark, false);
        if (!spaces.kind) return spaces;
        how.indent = tv_str(spaces);
    }
    if (!json_separators(r, a[2], &how)) return (ig_tval){0};
    (void)ig_tr_add_json(r, v, &how, 0);
    return ig_tr_take(r, mark, false);
}

/* A copy in which the keys of all dicts are in order; keys that cannot be compared keep theirs. */
static bool key_before(const void *a, const void *b, const void *ctx)
{
    const ig_tentry *x = a, *y = b;
    ig_str s = tv_str(x->key), t = tv_str(y->key);
    int c = memcmp(s.ptr, t.ptr, s.len < t.len ? s.len : t.len);
    return (void)ctx, c ? c < 0 : s.len < t.len;
}

static ig_tval in_order(ig_tr *r, ig_tval v, unsigned depth)
{
    size_t n = tv_is_seq(v) ? tv_l(v)->n : v.kind == TV_DICT ? tv_d(v)->n : 0;
    if (!n) return v;
    if (depth > PRINT_DEPTH_MAX) return ig_tr_no_memory(r);
    ig_tval *items = ig_tr_alloc(r, n, sizeof *items);
    for (size_t i = 0; items && i < n; i++) {
        items[i] = in_order(r, v.kind == TV_DICT ? tv_d(v)->e[i].value : tv_l(v)->items[i], depth + 1);
        if (!items[i].kind) return items[i];
    }
    if (!items || v.kind != TV_DICT) return items ? ig_tr_list(r, v.kind, items, n) : (ig_tval){0};
    ig_tdict *d = ig_td_new(&r->arena, n);
    bool texts = true;
    for (size_t i = 0; d && i < n; i++) {
        if (!ig_td_set(&r->arena, d, tv_d(v)->e[i].key, items[i])) d = NULL;
        texts = texts && tv_d(v)->e[i].key.kind == TV_STR;
    }
    if (!d) return ig_tr_no_memory(r);
    if (texts) ig_sort(d->e, d->n, sizeof *d->e, key_before, NULL);
    d->index = NULL; /* only to be printed */
    return tv_ptr(TV_DICT, d);
}

/* A printed value that fits a line; longer ones would need Python's layout. */
static FILTER(x_pprint)
{
    FILTER_UNUSED;
    size_t mark = ig_tr_mark(r);
    v = in_order(r, v, 0);
    (void)(v.kind && ig_tr_add_repr(r, v, 0));
    if (r->status == IG_OK && r->scratch.len - mark > 80 && !tv_is_number(v)) {
        ig_tr_drop(r, mark);
        return ig_tr_fail(r, IG_UNSUPPORTED, "pprint of a value of more than one line is not supported");
    }
    return ig_tr_take(r, mark, false);
}

static FILTER(x_attr)
{
    FILTER_UNUSED;
    if (a[0].kind != TV_STR) return TR_WRONG(r, "attr needs a name");
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v);
    ig_tval found = ig_tr_real_attr(r, v, a[0]);
    return found.kind || r->status != IG_OK ? found : ig_tr_undef(r, UNDEF_ATTR, tv_str(a[0]), v);
}

static FILTER(x_unsupported)
{
    FILTER_UNUSED;
    return ig_tr_fail(r, IG_UNSUPPORTED, "the filter %s is not supported", f->name);
}

static const ig_filter filters[] = {
    {"tojson", "ensure_ascii indent separators sort_keys", 0, 0, x_tojson},
    {"trim", "chars", 0, 0, x_trim},
    {"upper", "", 0, 'u', x_case},
    {"lower", "", 0, 'l', x_case},
    {"capitalize", "", 0, 'c', x_case},
    {"title", "", 0, 0, x_title},
    {"string", "", 0, 0, x_string},
    {"replace", "old new count", 2, 0, x_replace},
    {"default", "default_value boolean", 0, 0, x_default},
    {"d", "default_value boolean", 0, 0, x_default},
    {"indent", "width first blank", 0, 0, x_indent},
    {"center", "width", 0, 0, x_center},
    {"truncate", "length killwords end leeway", 0, 0, x_truncate},
    {"wordcount", "", 0, 0, x_wordcount},
    {"wordwrap", "width break_long_words wrapstring break_on_hyphens", 0, 0, x_wordwrap},
    {"format", NULL, 0, 0, x_format},
    {"escape", "", 0, 0, x_escape},
    {"e", "", 0, 0, x_escape},
    {"forceescape", "", 0, 1, x_escape},
    {"safe", "", 0, 0, x_safe},
    {"striptags", "", 0, 0, x_striptags},
    {"urlencode", "", 0, 0, x_urlencode},
    {"xmlattr", "autospace", 0, 0, x_xmlattr},
    {"int", "default base", 0, 0, x_int},
    {"float", "default", 0, 0, x_float},
    {"abs", "", 0, 0, x_abs},
    {"round", "precision method", 0, 0, x_round},
    {"filesizeformat", "binary", 0, 0, x_filesizeformat},
    {"pprint", "", 0, 0, x_pprint},
    {"attr", "name", 1, 0, x_attr},
    {"urlize", NULL, 0, 0, x_unsupported},
    {"random", NULL, 0, 0, x_unsupported},
};

const ig_filter *ig_filter_find(ig_str name)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (ig_str_is(name, filters[i].name)) return &filters[i];
    for (size_t i = 0; i < ig_n_filters_seq; i++)
        if (ig_str_is(name, ig_filters_seq[i].name)) return &ig_filters_seq[i];
    return NULL;
}

ig_tval ig_tr_filter(ig_tr *r, const ig_filter *f, ig_tval v, const ig_targs *args)
{
    ig_tval slots[6] = {{0}};
    if (f->params && !ig_tr_bind(r, "filter", ig_str_from(f->name), f->params, args, slots)) return (ig_tval){0};
    for (unsigned i = 0; i < f->n_min; i++)
        if (!slots[i].kind) return TR_WRONG(r, "filter %s needs %u arguments", f->name, f->n_min);
    return f->call(r, f, v, slots, args);
}
