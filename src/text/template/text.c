/* Characters: counting, classes and case. The classes come from utf8proc's tables; white space is Python's list. */
#include "text/template/text.h"

#include <utf8proc.h>

size_t ig_tt_count(const char *p, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((unsigned char)p[i] & 0xC0) != 0x80;
    return count;
}

size_t ig_tt_next(const char *p, size_t n, uint32_t *cp)
{
    uint32_t c;
    size_t len = ig_utf8_decode(p, n, &c);
    if (cp) *cp = c;
    return len ? len : 1;
}

size_t ig_tt_prev(const char *p, size_t n, uint32_t *cp)
{
    size_t len = 1;
    while (len < n && len < 4 && ((unsigned char)p[n - len] & 0xC0) == 0x80) len++;
    (void)ig_tt_next(p + n - len, len, cp);
    return len;
}

size_t ig_tt_offset(ig_str s, size_t chars, size_t i)
{
    if (i >= chars) return s.len;
    if (chars == s.len) return i;
    size_t at = 0;
    for (;; at++) {
        if (((unsigned char)s.ptr[at] & 0xC0) == 0x80) continue;
        if (i-- == 0) return at;
    }
}

bool ig_tt_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static utf8proc_category_t category(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp); }

bool ig_tt_alpha(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}
bool ig_tt_decimal(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_ND; }
bool ig_tt_digit(uint32_t cp)
{
    return ig_tt_decimal(cp) || cp == 0xB2 || cp == 0xB3 || cp == 0xB9 || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) || (cp >= 0x2460 && cp <= 0x2468);
}
bool ig_tt_numeric(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}
bool ig_tt_printable(uint32_t cp)
{
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return cp == ' ';
    default: return true;
    }
}
/* Other_Uppercase and Other_Lowercase of Unicode besides the general categories. */
bool ig_tt_upper(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LU || (cp >= 0x2160 && cp <= 0x216F) || (cp >= 0x24B6 && cp <= 0x24CF) ||
           (cp >= 0x1F130 && cp <= 0x1F149) || (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
}
bool ig_tt_lower(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LL || cp == 0xAA || cp == 0xBA || (cp >= 0x2B0 && cp <= 0x2B8) ||
           cp == 0x2C0 || cp == 0x2C1 || (cp >= 0x2E0 && cp <= 0x2E4) || cp == 0x345 || cp == 0x37A ||
           (cp >= 0x1D2C && cp <= 0x1D6A) || cp == 0x1D78 || (cp >= 0x1D9B && cp <= 0x1DBF) || cp == 0x2071 ||
           cp == 0x207F || (cp >= 0x2090 && cp <= 0x209C) || (cp >= 0x2170 && cp <= 0x217F) ||
           (cp >= 0x24D0 && cp <= 0x24E9);
}
bool ig_tt_title(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_LT; }
bool ig_tt_word(uint32_t cp) { return cp == '_' || ig_tt_alpha(cp) || ig_tt_numeric(cp); }

ig_str ig_tt_strip(ig_str s, bool left, bool right)
{
    uint32_t cp;
    while (left && s.len) {
        size_t len = ig_tt_next(s.ptr, s.len, &cp);
        if (!ig_tt_space(cp)) break;
        s.ptr += len, s.len -= len;
    }
    while (right && s.len) {
        size_t len = ig_tt_prev(s.ptr, s.len, &cp);
        if (!ig_tt_space(cp)) break;
        s.len -= len;
    }
    return s;
}

static bool in_set(ig_str set, const char *p, size_t len) { return memmem(set.ptr, set.len, p, len) != NULL; }

ig_str ig_tt_strip_chars(ig_str s, ig_str set, bool left, bool right)
{
    if (set.len == 0) return s;
    while (left && s.len) {
        size_t len = ig_tt_next(s.ptr, s.len, NULL);
        if (!in_set(set, s.ptr, len)) break;
        s.ptr += len, s.len -= len;
    }
    while (right && s.len) {
        size_t len = ig_tt_prev(s.ptr, s.len, NULL);
        if (!in_set(set, s.ptr + s.len - len, len)) break;
        s.len -= len;
    }
    return s;
}

size_t ig_tt_find(ig_str s, ig_str needle)
{
    if (needle.len == 0) return 0;
    const char *at = s.len ? memmem(s.ptr, s.len, needle.ptr, needle.len) : NULL;
    return at ? (size_t)(at - s.ptr) : SIZE_MAX;
}

size_t ig_tt_rfind(ig_str s, ig_str needle)
{
    if (needle.len > s.len) return SIZE_MAX;
    for (size_t i = s.len - needle.len + 1; i-- > 0;)
        if (needle.len == 0 || (s.ptr[i] == needle.ptr[0] && !memcmp(s.ptr + i, needle.ptr, needle.len))) return i;
    return SIZE_MAX;
}

size_t ig_tt_line_break(ig_str s, size_t i)
{
    uint32_t cp;
    size_t len = ig_tt_next(s.ptr + i, s.len - i, &cp);
    if (cp == '\r' && i + 1 < s.len && s.ptr[i + 1] == '\n') return 2;
    bool yes = (cp >= 10 && cp <= 13) || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
    return yes ? len : 0;
}

typedef struct special {
    uint32_t cp;
    const char *upper, *title;
} special;
static const special specials[] = {
#include "special_case.inc"
};

static const special *find_special(uint32_t cp)
{
    size_t lo = 0, hi = sizeof specials / sizeof *specials;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (specials[mid].cp == cp) return &specials[mid];
        if (specials[mid].cp < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static bool add_cp(ig_buf *out, uint32_t cp)
{
    char utf8[4];
    return ig_buf_add(out, utf8, ig_utf8_encode(cp, utf8));
}

static bool cased(uint32_t cp) { return ig_tt_upper(cp) || ig_tt_lower(cp) || ig_tt_title(cp); }

static bool case_ignorable(uint32_t cp)
{
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return cp == '\'' || cp == '.' || cp == ':' || cp == 0xB7 || cp == 0x2018 || cp == 0x2019 || cp == 0x2024;
    }
}

/* A sigma at offset `at` of s ends a word: a cased character before it and none after. */
static bool final_sigma(ig_str s, size_t at)
{
    uint32_t cp = 0;
    size_t i = at;
    bool before = false;
    while (i > 0) {
        i -= ig_tt_prev(s.ptr, i, &cp);
        if (case_ignorable(cp)) continue;
        before = cased(cp);
        break;
    }
    if (!before) return false;
    for (i = at + 2; i < s.len;) {
        i += ig_tt_next(s.ptr + i, s.len - i, &cp);
        if (!case_ignorable(cp)) return !cased(cp);
    }
    return true;
}

static bool add_lower(ig_buf *out, ig_str s, size_t at, uint32_t cp)
{
    if (cp == 0x130) return ig_buf_add(out, "i\xCC\x87", 3);
    if (cp == 0x3A3) return add_cp(out, final_sigma(s, at) ? 0x3C2 : 0x3C3);
    return add_cp(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

static bool add_upper(ig_buf *out, uint32_t cp, bool title)
{
    const special *sp = cp < 0xDF ? NULL : find_special(cp);
    const char *text = sp ? (title ? sp->title : sp->upper) : NULL;
    if (text) return ig_buf_add(out, text, strlen(text));
    utf8proc_int32_t c = (utf8proc_int32_t)cp;
    return add_cp(out, (uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)));
}

static bool add_fold(ig_buf *out, uint32_t cp)
{
    utf8proc_int32_t folded[8];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, folded, 8, UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++)
        if (!add_cp(out, (uint32_t)folded[i])) return false;
    return true;
}

bool ig_tt_case(ig_buf *out, ig_str s, char how)
{
    bool start = true; /* of a word, or of the text */
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        size_t at = i;
        bool ok;
        i += ig_tt_next(s.ptr + i, s.len - i, &cp);
        if (how == 'f')
            ok = add_fold(out, cp);
        else if (how == 'u' || (how == 's' && ig_tt_lower(cp)))
            ok = add_upper(out, cp, false);
        else if (how == 's')
            ok = ig_tt_upper(cp) ? add_lower(out, s, at, cp) : add_cp(out, cp);
        else if ((how == 't' || how == 'c') && start)
            ok = add_upper(out, cp, true);
        else
            ok = add_lower(out, s, at, cp);
        if (!ok) return false;
        start = how == 't' && !cased(cp);
    }
    return true;
}
