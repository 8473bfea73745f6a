/* Python's two ways to format, "%5.2f" % x and "{:>5}".format(x), and strftime. */
#include <math.h>
#include <stdlib.h>

#include "text/template/run.h"
#include "text/template/text.h"

/* What both ways say about one value. */
typedef struct spec {
    uint32_t fill;
    char align; /* < > ^ =, 0: the type's own */
    char sign;  /* - + space */
    bool alternate, zero;
    char group;               /* , or _ */
    int64_t width, precision; /* -1: not given */
    char type;                /* 0: none */
} spec;

enum { WIDTH_MAX = 1 << 20, PRECISION_MAX = 1000 };

static bool check(ig_tr *r, const spec *s)
{
    if (s->width <= WIDTH_MAX && s->precision <= PRECISION_MAX) return true;
    ig_tr_fail(r, IG_TOO_LARGE, "the width or precision of a format is too large");
    return false;
}

/* Adds text padded to the width; `head` bytes (sign and prefix) stay in front of '=' padding. */
static bool add_padded(ig_tr *r, ig_str text, size_t head, const spec *s, char align)
{
    char fill[4];
    size_t n_fill = ig_utf8_encode(s->fill ? s->fill : ' ', fill), chars = ig_tt_count(text.ptr, text.len);
    size_t total = s->width > (int64_t)chars ? (size_t)s->width - chars : 0;
    size_t before = align == '<' ? 0 : align == '^' ? total / 2 : total;
    if (align != '=') head = 0;
    bool ok = ig_tr_add(r, text.ptr, head);
    for (size_t i = 0; ok && i < before; i++) ok = ig_tr_add(r, fill, n_fill);
    ok = ok && ig_tr_add(r, text.ptr + head, text.len - head);
    for (size_t i = before; ok && i < total; i++) ok = ig_tr_add(r, fill, n_fill);
    return ok;
}

static bool add_text_spec(ig_tr *r, ig_str text, const spec *s, char standard)
{
    if (!check(r, s)) return false;
    if (s->precision >= 0) text.len = ig_tt_offset(text, ig_tt_count(text.ptr, text.len), (size_t)s->precision);
    return add_padded(r, text, 0, s, s->align ? s->align : standard);
}

/* Puts separators into the digits of text[from..n). */
static size_t group_digits(char *text, size_t from, size_t n, size_t cap, char group)
{
    size_t end = from;
    while (end < n && text[end] >= '0' && text[end] <= '9') end++;
    for (size_t i = end; i > from + 3 && n + 1 < cap;) {
        i -= 3;
        memmove(text + i + 1, text + i, n - i);
        text[i] = group;
        n++;
    }
    return n;
}

static bool add_number_text(ig_tr *r, char *text, size_t n, size_t cap, size_t head, const spec *s)
{
    spec t = *s;
    if (s->group) n = group_digits(text, head, n, cap, s->group);
    if (s->zero && !s->align) {
        t.align = '=';
        t.fill = '0';
    }
    return add_padded(r, (ig_str){text, n}, head, &t, t.align ? t.align : '>');
}

static size_t put_sign(char *text, bool negative, char sign)
{
    text[0] = negative ? '-' : sign;
    return negative || sign == '+' || sign == ' ';
}

static bool add_float_spec(ig_tr *r, double f, const spec *s)
{
    char text[1600], format[12], body[1500];
    bool percent = s->type == '%';
    char type = percent ? 'f' : s->type ? s->type : 'g';
    if (!check(r, s)) return false;
    size_t n = put_sign(text, signbit(f) && !isnan(f), s->sign), head = n;
    if (percent) f *= 100;
    if (!isfinite(f) || (!s->type && s->precision < 0)) {
        n += ig_tn_float_text(fabs(f), body);
        (void)memcpy(text + head, body, n - head);
    } else {
        (void)snprintf(format, sizeof format, s->alternate ? "%%#.*%c" : "%%.*%c", type);
        int precision = s->precision >= 0 ? (int)s->precision : 6;
        int len = snprintf(body, sizeof body, format, precision, fabs(f));
        memcpy(text + n, body, (size_t)len);
        n += (size_t)len;
        bool plain = !s->type && !memchr(body, '.', (size_t)len) && !memchr(body, 'e', (size_t)len);
        if (plain) memcpy(text + n, ".0", 2), n += 2;
    }
    if (percent) text[n++] = '%';
    return add_number_text(r, text, n, sizeof text, head, s);
}

/* The digits of |v| in a base, without sign; false for a big number in another base than 10. */
static bool int_digits(ig_tval v, char type, char *out, size_t *n)
{
    if (v.kind == TV_BIG) {
        *n = ig_tn_digits(v.u.p, out);
        bool negative = ((const ig_tbig *)v.u.p)->negative;
        if (negative) memmove(out, out + 1, --*n);
        return type == 'd';
    }
    int64_t i = v.kind == TV_BOOL ? v.u.b : v.u.i;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    const char *digits = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char reversed[64];
    *n = 0;
    do reversed[(*n)++] = digits[u % base];
    while (u /= base);
    for (size_t k = 0; k < *n; k++) out[k] = reversed[*n - 1 - k];
    return true;
}

static bool add_int_spec(ig_tr *r, ig_tval v, const spec *s)
{
    char text[BIG_LIMBS_MAX * 12 + 1100], digits[BIG_LIMBS_MAX * 9 + 16];
    char type = s->type && s->type != 'i' && s->type != 'u' && s->type != 'n' ? s->type : 'd';
    bool negative = v.kind == TV_BIG ? ((const ig_tbig *)v.u.p)->negative : v.kind == TV_INT && v.u.i < 0;
    size_t n_digits, n, head;
    if (!check(r, s)) return false;
    if (!int_digits(v, type, digits, &n_digits))
        return ig_tr_fail(r, IG_UNSUPPORTED, "so large a number can be formatted in base 10 only"), false;
    n = put_sign(text, negative, s->sign);
    if (s->alternate && type != 'd') text[n++] = '0', text[n++] = type;
    head = n;
    for (size_t i = n_digits; (int64_t)i < s->precision; i++) text[n++] = '0';
    memcpy(text + n, digits, n_digits);
    return add_number_text(r, text, n + n_digits, sizeof text, head, s);
}

/* ------------------------------------------------------------------------------------------------ % operator */

typedef struct percent {
    ig_str f;
    size_t i;
    ig_tval args;
    size_t used;
} percent;

static bool next_arg(ig_tr *r, percent *p, ig_tval *out)
{
    bool tuple = p->args.kind == TV_TUPLE;
    size_t n = tuple ? tv_l(p->args)->n : 1;
    if (p->used >= n) return TR_WRONG(r, "the format needs more values than it gets"), false;
    *out = tuple ? tv_l(p->args)->items[p->used] : p->args;
    p->used++;
    return true;
}

static char here(const percent *p) { return p->i < p->f.len ? p->f.ptr[p->i] : 0; }

/* A number or a star. */
static bool read_count(ig_tr *r, percent *p, int64_t *out)
{
    ig_tval v;
    if (here(p) == '*') {
        p->i++;
        return next_arg(r, p, &v) && ig_tr_index(r, v, "a width", out);
    }
    int64_t n = 0;
    for (; here(p) >= '0' && here(p) <= '9'; p->i++)
        if (n < WIDTH_MAX * 10) n = n * 10 + (here(p) - '0');
    *out = n;
    return true;
}

static bool read_percent_spec(ig_tr *r, percent *p, spec *s)
{
    for (; here(p) && strchr("-+ #0", here(p)); p->i++) {
        char c = here(p);
        if (c == '-') s->align = '<';
        if (c == '0') s->zero = true;
        if (c == '#') s->alternate = true;
        if (c == '+' || (c == ' ' && s->sign != '+')) s->sign = c;
    }
    if (!read_count(r, p, &s->width)) return false;
    if (s->width < 0) s->align = '<', s->width = -s->width;
    if (here(p) == '.') {
        p->i++;
        if (!read_count(r, p, &s->precision)) return false;
    }
    while (here(p) && strchr("hlL", here(p))) p->i++;
    s->type = here(p);
    p->i += s->type != 0;
    return true;
}

static bool add_percent_number(ig_tr *r, ig_tval v, const spec *s)
{
    if (v.kind == TV_UNDEF) return ig_tr_undef_error(r, v), false;
    bool whole = strchr("diuxXo", s->type) != NULL;
    if (!tv_is_number(v) || (whole && v.kind == TV_FLOAT && strchr("xXo", s->type)))
        return TR_WRONG(r, "%%%c needs a number, not %s", s->type, ig_tv_type(v)), false;
    if (!whole) return add_float_spec(r, ig_tn_double(v), s);
    if (v.kind == TV_FLOAT) {
        if (!isfinite(v.u.f)) return TR_WRONG(r, "%%%c needs a finite number", s->type), false;
        v = ig_tr_ok(r, ig_tn_from_double(&r->arena, v.u.f));
    }
    return v.kind && add_int_spec(r, v, s);
}

static bool add_percent_value(ig_tr *r, ig_tval v, const spec *s)
{
    if (strchr("diuxXoeEfFgG", s->type)) return add_percent_number(r, v, s);
    size_t mark = ig_tr_mark(r);
    bool ok;
    if (s->type == 'c') {
        char utf8[4];
        size_t len = v.kind == TV_INT && v.u.i >= 0 && v.u.i <= 0x10FFFF ? ig_utf8_encode((uint32_t)v.u.i, utf8) : 0;
        if (v.kind == TV_STR && tv_s(v)->chars == 1)
            ok = ig_tr_add_str(r, tv_str(v));
        else
            ok = len ? ig_tr_add(r, utf8, len) : (TR_WRONG(r, "%%c needs one character"), false);
    } else {
        ok = s->type == 's' ? ig_tr_add_text(r, v) : ig_tr_add_repr(r, v, 0);
    }
    ig_tval text = ok ? ig_tr_take(r, mark, false) : (ig_tval){0};
    return text.kind && add_text_spec(r, tv_str(text), s, '>');
}

static bool add_percent_item(ig_tr *r, percent *p, bool markup)
{
    spec s = {.sign = '-', .width = 0, .precision = -1};
    ig_tval v = {0};
    if (here(p) == '(') {
        size_t end = p->i + 1;
        while (end < p->f.len && p->f.ptr[end] != ')') end++;
        ig_str name = {p->f.ptr + p->i + 1, end - p->i - 1};
        const ig_tval *at = p->args.kind == TV_DICT ? ig_td_get_str(tv_d(p->args), name) : NULL;
        if (!at || end == p->f.len) return TR_WRONG(r, "the format names a key that is not there"), false;
        v = *at;
        p->i = end + 1;
        p->used = 1;
    }
    if (!read_percent_spec(r, p, &s)) return false;
    if (s.type == '%') return ig_tr_add(r, "%", 1);
    if (!s.type || !strchr("diuxXoeEfFgGcsra", s.type)) return TR_WRONG(r, "the format has a wrong %% sign"), false;
    if (!v.kind && !next_arg(r, p, &v)) return false;
    if (markup && strchr("sra", s.type) && !(v.kind == TV_STR && tv_s(v)->markup)) v = ig_tr_escape(r, v);
    return v.kind && add_percent_value(r, v, &s);
}

ig_tval ig_tr_percent(ig_tr *r, ig_tval format, ig_tval args)
{
    percent p = {.f = tv_str(format), .args = args};
    size_t mark = ig_tr_mark(r);
    bool ok = true;
    while (ok && p.i < p.f.len) {
        const char *at = memchr(p.f.ptr + p.i, '%', p.f.len - p.i);
        size_t n = at ? (size_t)(at - p.f.ptr) - p.i : p.f.len - p.i;
        ok = ig_tr_add(r, p.f.ptr + p.i, n);
        p.i += n + (at != NULL);
        if (ok && at) ok = add_percent_item(r, &p, tv_s(format)->markup);
    }
    bool any = args.kind == TV_DICT || args.kind == TV_LIST || args.kind == TV_RANGE || args.kind == TV_UNDEF;
    size_t n = args.kind == TV_TUPLE ? tv_l(args)->n : any ? 0 : 1;
    if (ok && p.used < n) ok = TR_WRONG(r, "not all values were used by the format").kind;
    return ig_tr_take(r, mark, tv_s(format)->markup);
}

/* --------------------------------------------------------------------------------------------- str.format */

static bool parse_spec(ig_tr *r, ig_str f, spec *s)
{
    size_t i = 0;
    uint32_t cp = 0;
    *s = (spec){.sign = '-', .precision = -1};
    size_t first = f.len ? ig_tt_next(f.ptr, f.len, &cp) : 0;
    if (first && first < f.len && strchr("<>^=", f.ptr[first]) && f.ptr[first]) {
        s->fill = cp;
        s->align = f.ptr[first];
        i = first + 1;
    } else if (f.len && f.ptr[0] && strchr("<>^=", f.ptr[0])) {
        s->align = f.ptr[0];
        i = 1;
    }
    if (i < f.len && f.ptr[i] && strchr("+- ", f.ptr[i])) s->sign = f.ptr[i++];
    if (i < f.len && f.ptr[i] == 'z') i++;
    if (i < f.len && f.ptr[i] == '#') s->alternate = true, i++;
    if (i < f.len && f.ptr[i] == '0') {
        i++;
        if (!s->align) s->zero = true;
        if (s->align && !s->fill) s->fill = '0';
    }
    for (; i < f.len && f.ptr[i] >= '0' && f.ptr[i] <= '9'; i++)
        if (s->width < WIDTH_MAX * 10) s->width = s->width * 10 + (f.ptr[i] - '0');
    if (i < f.len && (f.ptr[i] == ',' || f.ptr[i] == '_')) s->group = f.ptr[i++];
    if (i < f.len && f.ptr[i] == '.') {
        for (s->precision = 0, i++; i < f.len && f.ptr[i] >= '0' && f.ptr[i] <= '9'; i++)
            if (s->precision < WIDTH_MAX) s->precision = s->precision * 10 + (f.ptr[i] - '0');
    }
    if (i < f.len) s->type = f.ptr[i++];
    if (i < f.len) return TR_WRONG(r, "the format specification \"%.*s\" is wrong", IG_STR_ARG(f)), false;
    return true;
}

static bool add_with_spec(ig_tr *r, ig_tval v, ig_str f)
{
    spec s;
    if (v.kind == TV_UNDEF && f.len) return ig_tr_undef_error(r, v), false;
    if (!f.len) return ig_tr_add_text(r, v);
    if (!parse_spec(r, f, &s)) return false;
    if (v.kind == TV_STR) {
        if (s.type && s.type != 's') return TR_WRONG(r, "the format \"%c\" does not suit a string", s.type), false;
        if (s.zero) s.fill = '0';
        return add_text_spec(r, tv_str(v), &s, '<');
    }
    if (!tv_is_number(v)) return TR_WRONG(r, "%s takes no format specification", ig_tv_type(v)), false;
    if (s.type && strchr("eEfFgG%", s.type)) return add_float_spec(r, ig_tn_double(v), &s);
    if (v.kind == TV_FLOAT && !s.type) return add_float_spec(r, v.u.f, &s);
    if (v.kind == TV_FLOAT || (s.type && !strchr("bcdoxXn", s.type)) || s.type == 'c' || s.precision >= 0)
        return TR_WRONG(r, "the format \"%c\" does not suit %s", s.type ? s.type : '.', ig_tv_type(v)), false;
    return add_int_spec(r, v, &s);
}

typedef struct fields {
    const ig_targs *args;
    size_t next; /* of "{}" */
    bool markup, automatic, numbered;
} fields;

/* The value of "name.attr[key]" at f[*i], up to '!', ':' or '}'. */
static ig_tval field_value(ig_tr *r, fields *fs, ig_str f, size_t *i)
{
    size_t start = *i;
    while (*i < f.len && !strchr("!:}.[", f.ptr[*i])) ++*i;
    ig_str name = {f.ptr + start, *i - start};
    ig_tval v = {0};
    size_t index = 0;
    bool number = true;
    for (size_t k = 0; k < name.len; k++) {
        number = number && name.ptr[k] >= '0' && name.ptr[k] <= '9' && index < 1000000;
        if (number) index = index * 10 + (size_t)(name.ptr[k] - '0');
    }
    if (!name.len) index = fs->next++;
    fs->automatic |= !name.len;
    fs->numbered |= name.len && number;
    if (fs->automatic && fs->numbered)
        return TR_WRONG(r, "the format mixes numbered fields with fields without numbers");
    if (number && index < fs->args->n) v = fs->args->pos[index];
    for (size_t k = 0; !number && k < fs->args->n_kw; k++)
        if (ig_str_eq(fs->args->kw[k].name, name)) v = fs->args->kw[k].value;
    if (!v.kind) return TR_WRONG(r, "the format names a value \"%.*s\" that is not given", IG_STR_ARG(name));
    while (v.kind && *i < f.len && (f.ptr[*i] == '.' || f.ptr[*i] == '[')) {
        bool item = f.ptr[(*i)++] == '[';
        start = *i;
        while (*i < f.len && !strchr(item ? "]" : "!:}.[", f.ptr[*i])) ++*i;
        ig_tval key = ig_tr_slice(r, f.ptr + start, *i - start, false);
        if (!key.kind) return key;
        bool digits = item && *i > start && f.ptr[start] >= '0' && f.ptr[start] <= '9';
        if (digits) key = ig_tv_int(strtoll(f.ptr + start, NULL, 10)); /* ends at ']' or the string's end */
        v = item ? ig_tr_get_item(r, v, key) : ig_tr_get_attr(r, v, key);
        if (item && *i < f.len) ++*i;
    }
    return v;
}

static bool add_field(ig_tr *r, fields *fs, ig_str f, size_t *i)
{
    ig_tval v = field_value(r, fs, f, i);
    if (!v.kind) return false;
    char conversion = 0;
    if (*i + 1 < f.len && f.ptr[*i] == '!') conversion = f.ptr[*i + 1], *i += 2;
    if (conversion == 'r' || conversion == 's' || conversion == 'a') {
        size_t mark = ig_tr_mark(r);
        bool ok = conversion == 's' ? ig_tr_add_text(r, v) : ig_tr_add_repr(r, v, 0);
        v = ok ? ig_tr_take(r, mark, false) : (ig_tval){0};
        if (!v.kind) return false;
    }
    ig_str rest = IG_STR("");
    if (*i < f.len && f.ptr[*i] == ':') {
        size_t start = ++*i;
        while (*i < f.len && f.ptr[*i] != '}' && f.ptr[*i] != '{') ++*i;
        if (*i < f.len && f.ptr[*i] == '{')
            return ig_tr_fail(r, IG_UNSUPPORTED, "a field inside a format specification is not supported"), false;
        rest = (ig_str){f.ptr + start, *i - start};
    }
    if (*i >= f.len || f.ptr[*i] != '}') return TR_WRONG(r, "the format has a \"{\" without \"}\""), false;
    ++*i;
    if (!fs->markup) return add_with_spec(r, v, rest);
    size_t mark = ig_tr_mark(r);
    if (!add_with_spec(r, v, rest)) return false;
    ig_tval text = ig_tr_take(r, mark, v.kind == TV_STR && tv_s(v)->markup);
    return text.kind && ig_tr_add_escaped(r, text);
}

ig_tval ig_tr_format(ig_tr *r, ig_tval format, const ig_targs *args)
{
    fields fs = {.args = args, .markup = tv_s(format)->markup};
    ig_str f = tv_str(format);
    size_t mark = ig_tr_mark(r);
    bool ok = ig_tr_step(r, f.len / 16);
    for (size_t i = 0; ok && i < f.len;) {
        char c = f.ptr[i];
        size_t run = 0;
        while (i + run < f.len && f.ptr[i + run] != '{' && f.ptr[i + run] != '}') run++;
        if (run) {
            ok = ig_tr_add(r, f.ptr + i, run);
            i += run;
        } else if (i + 1 < f.len && f.ptr[i + 1] == c) {
            ok = ig_tr_add(r, &c, 1);
            i += 2;
        } else if (c == '}') {
            ok = TR_WRONG(r, "the format has a \"}\" without \"{\"").kind;
        } else {
            i++;
            ok = add_field(r, &fs, f, &i);
        }
    }
    return ig_tr_take(r, mark, tv_s(format)->markup);
}

/* ------------------------------------------------------------------------------------------------- strftime */

typedef struct date {
    int year, month, day, hour, minute, second, weekday, day_of_year; /* weekday 0: Sunday; day_of_year from 1 */
} date;

static int days_before(int year, int month)
{
    static const int days[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (leap && month > 2);
}

static bool parse_date(const char *now, date *d)
{
    *d = (date){0};
    if (sscanf(now, "%4d-%2d-%2d%*1[T ]%2d:%2d:%2d", &d->year, &d->month, &d->day, &d->hour, &d->minute, &d->second) <
        3)
        return false;
    if (d->month < 1 || d->month > 12 || d->day < 1 || d->day > 31 || d->year < 1 || d->hour < 0 || d->hour > 23 ||
        d->minute < 0 || d->minute > 59 || d->second < 0 || d->second > 60)
        return false;
    d->day_of_year = days_before(d->year, d->month) + d->day;
    int y = d->year - 1; /* 1 January of year 1 was a Monday */
    d->weekday = (y * 365 + y / 4 - y / 100 + y / 400 + d->day_of_year) % 7;
    return true;
}

static int iso_week(const date *d, int *year)
{
    int weekday = (d->weekday + 6) % 7; /* Monday 0 */
    int week = (d->day_of_year - 1 - weekday + 10) / 7;
    *year = d->year;
    date other = {0};
    char text[16];
    if (week < 1) {
        (void)snprintf(text, sizeof text, "%04d-12-31", --*year);
        return parse_date(text, &other) ? iso_week(&other, year) : 52;
    }
    if (week == 53 && d->day_of_year - weekday + 3 > days_before(d->year, 12) + 31) return ++*year, 1;
    return week;
}

static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};
static const char *const weekdays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

/* Number a directive stands for and its width; false for a directive that is no number. */
static bool number_of(char c, const date *d, int *value, int *width, char *pad)
{
    int year, hour12 = d->hour % 12 ? d->hour % 12 : 12;
    int week = iso_week(d, &year);
    const struct {
        char c, pad;
        int value, width;
    } table[] = {{'Y', '0', d->year, 4},
                 {'m', '0', d->month, 2},
                 {'d', '0', d->day, 2},
                 {'e', ' ', d->day, 2},
                 {'H', '0', d->hour, 2},
                 {'I', '0', hour12, 2},
                 {'k', ' ', d->hour, 2},
                 {'l', ' ', hour12, 2},
                 {'M', '0', d->minute, 2},
                 {'S', '0', d->second, 2},
                 {'f', '0', 0, 6},
                 {'y', '0', d->year % 100, 2},
                 {'C', '0', d->year / 100, 2},
                 {'j', '0', d->day_of_year, 3},
                 {'w', '0', d->weekday, 1},
                 {'u', '0', d->weekday ? d->weekday : 7, 1},
                 {'V', '0', week, 2},
                 {'G', '0', year, 4},
                 {'g', '0', year % 100, 2},
                 {'U', '0', (d->day_of_year + 6 - d->weekday) / 7, 2},
                 {'W', '0', (d->day_of_year + 6 - (d->weekday + 6) % 7) / 7, 2}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].c == c) {
            *value = table[i].value;
            *width = table[i].width;
            *pad = table[i].pad;
            return true;
        }
    return false;
}

static bool add_directive(ig_tr *r, char c, char flag, const date *d)
{
    char text[64];
    int value, width, n;
    char pad;
    static const struct {
        char c;
        const char *as;
    } compound[] = {{'D', "%m/%d/%y"},
                    {'F', "%Y-%m-%d"},
                    {'T', "%H:%M:%S"},
                    {'R', "%H:%M"},
                    {'x', "%m/%d/%y"},
                    {'X', "%H:%M:%S"},
                    {'c', "%a %b %e %H:%M:%S %Y"},
                    {'r', "%I:%M:%S %p"}};
    for (size_t i = 0; i < sizeof compound / sizeof *compound; i++)
        for (const char *p = compound[i].c == c ? compound[i].as : ""; *p; p++) {
            bool directive = *p == '%';
            p += directive;
            if (!(directive ? add_directive(r, *p, 0, d) : ig_tr_add(r, p, 1))) return false;
            if (!p[1]) return true;
        }
    if (number_of(c, d, &value, &width, &pad)) {
        if (flag == '-') width = 1;
        if (flag == '_') pad = ' ';
        if (flag == '0') pad = '0';
        n = snprintf(text, sizeof text, pad == '0' ? "%0*d" : "%*d", width, value);
        return ig_tr_add(r, text, (size_t)n);
    }
    const char *name = c == 'B' || c == 'b' || c == 'h' ? months[d->month - 1]
                       : c == 'A' || c == 'a'           ? weekdays[d->weekday]
                       : c == 'p'                       ? (d->hour < 12 ? "AM" : "PM")
                       : c == 'P'                       ? (d->hour < 12 ? "am" : "pm")
                       : c == '%'                       ? "%"
                       : c == 'n'                       ? "\n"
                       : c == 't'                       ? "\t"
                       : c == 'Z' || c == 'z'           ? ""
                                                        : NULL;
    if (!name) return ig_tr_fail(r, IG_UNSUPPORTED, "strftime_now() does not know %%%c", c), false;
    size_t len = c == 'b' || c == 'h' || c == 'a' ? 3 : strlen(name);
    for (size_t i = 0; i < len; i++) {
        char ch = flag == '^' && name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 32) : name[i];
        if (!ig_tr_add(r, &ch, 1)) return false;
    }
    return true;
}

ig_tval ig_tr_strftime(ig_tr *r, ig_str format)
{
    date d;
    if (!parse_date(r->now, &d)) return TR_WRONG(r, "the time is not of the form 2026-03-07T15:04:05");
    size_t mark = ig_tr_mark(r);
    bool ok = true;
    for (size_t i = 0; ok && i < format.len; i++) {
        if (format.ptr[i] != '%' || i + 1 == format.len) {
            ok = ig_tr_add(r, format.ptr + i, 1);
            continue;
        }
        char flag = strchr("-_0^", format.ptr[i + 1]) && i + 2 < format.len ? format.ptr[++i] : 0;
        char c = format.ptr[++i];
        ok = c >= ' ' && c < 127 ? add_directive(r, c, flag, &d)
                                 : (TR_WRONG(r, "strftime_now() has a wrong %% sign"), false);
    }
    return ig_tr_take(r, mark, false);
}
