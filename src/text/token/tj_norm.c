/* Normalizers: what a text becomes before it is cut. Each is one pass, linear in the text; broken bytes go through. */
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/token/tj.h"

/* ------------------------------------------------------------------------------------------------ reading */

static ig_status add(ig_vocab *v, ig_norm step, ig_norm **out, ig_error *err)
{
    ig_tj *tj = v->tj;
    if (tj->n_norm == IG_TJ_STEPS_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: there are more than %d normalizers", IG_TJ_STEPS_MAX);
    tj->norm[tj->n_norm] = step;
    if (out) *out = &tj->norm[tj->n_norm];
    tj->n_norm++;
    return IG_OK;
}

static ig_status add_kind(ig_vocab *v, ig_norm_kind kind, unsigned flags, ig_error *err)
{
    return add(v, (ig_norm){.kind = kind, .flags = flags}, NULL, err);
}

static ig_status read_form(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_str type = ig_tj_json_text(ig_tj_json_get(o, "type"));
    unsigned flags = type.ptr[type.len - 1] == 'C' ? IG_FORM_COMPOSE : 0;
    if (type.ptr[2] == 'K') flags |= IG_FORM_COMPAT;
    return add_kind(v, IG_NORM_FORM, flags, err);
}

static ig_status read_lowercase(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)o;
    return add_kind(v, IG_NORM_LOWERCASE, 0, err);
}

static ig_status read_accents(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)o;
    return add_kind(v, IG_NORM_STRIP_MARKS, 0, err);
}

static ig_status read_alphabet(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)o;
    return add_kind(v, IG_NORM_ALPHABET, 0, err);
}

static ig_status read_charsmap(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_str text = ig_tj_json_text(ig_tj_json_get(o, "precompiled_charsmap"));
    ig_error e;
    if (!text.ptr || v->tj->charsmap.n_units)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "tokenizer.json: normalizer Precompiled: expected one, with a precompiled_charsmap");
    ig_status st = ig_charsmap_read_base64(text, &v->tj->arena, &v->tj->charsmap, &e);
    if (st != IG_OK) return ig_fail(err, st, 0, "tokenizer.json: normalizer Precompiled: %s", e.text);
    return add_kind(v, IG_NORM_CHARSMAP, 0, err);
}

static ig_status read_strip(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    bool left = true, right = true;
    IG_TRY(ig_tj_bool(o, "normalizer Strip", "strip_left", &left, err));
    IG_TRY(ig_tj_bool(o, "normalizer Strip", "strip_right", &right, err));
    return add_kind(v, IG_NORM_STRIP, (left ? 1u : 0u) | (right ? 2u : 0u), err);
}

static ig_status read_prepend(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_norm *step = NULL;
    IG_TRY(add(v, (ig_norm){.kind = IG_NORM_PREPEND}, &step, err));
    return ig_tj_str(o, "normalizer Prepend", "prepend", true, &v->tj->arena, &step->content, err);
}

static ig_status read_replace(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_norm *step = NULL;
    IG_TRY(add(v, (ig_norm){.kind = IG_NORM_REPLACE}, &step, err));
    IG_TRY(ig_tj_str(o, "normalizer Replace", "content", true, &v->tj->arena, &step->content, err));
    return ig_tj_pattern(v, o, "normalizer Replace", IG_SCANNERS_NONE, &step->pattern, err);
}

/* Accents go where strip_accents says so, or where it says nothing and the text is lower-cased. */
static ig_status read_bert(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    bool clean = true, cjk = true, lower = true;
    IG_TRY(ig_tj_bool(o, "normalizer BertNormalizer", "clean_text", &clean, err));
    IG_TRY(ig_tj_bool(o, "normalizer BertNormalizer", "handle_chinese_chars", &cjk, err));
    IG_TRY(ig_tj_bool(o, "normalizer BertNormalizer", "lowercase", &lower, err));
    bool accents = lower;
    IG_TRY(ig_tj_bool(o, "normalizer BertNormalizer", "strip_accents", &accents, err));
    IG_TRY(add_kind(v, IG_NORM_BERT, (clean ? (unsigned)IG_BERT_CLEAN : 0u) | (cjk ? (unsigned)IG_BERT_CJK : 0u), err));
    if (accents) IG_TRY(add_kind(v, IG_NORM_FORM, 0, err));
    if (accents) IG_TRY(add_kind(v, IG_NORM_STRIP_MARKS, 1, err));
    return lower ? add_kind(v, IG_NORM_LOWERCASE, 0, err) : IG_OK;
}

ig_status ig_tj_read_norm(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const ig_tj_component table[] = {{"NFC", read_form},
                                            {"NFD", read_form},
                                            {"NFKC", read_form},
                                            {"NFKD", read_form},
                                            {"Lowercase", read_lowercase},
                                            {"StripAccents", read_accents},
                                            {"BertNormalizer", read_bert},
                                            {"Prepend", read_prepend},
                                            {"Replace", read_replace},
                                            {"Strip", read_strip},
                                            {"ByteLevel", read_alphabet},
                                            {"Precompiled", read_charsmap},
                                            {NULL, NULL}};
    return ig_tj_components(v, o, "normalizer", "normalizers", table, err);
}

/* ------------------------------------------------------------------------------------------------ Unicode forms */

static int ccc(uint32_t cp) { return utf8proc_get_property((utf8proc_int32_t)cp)->combining_class; }

/* Stable sort of the marks cps[0..n) by their class; `sorted` is working memory. */
static bool order_marks(uint32_t *cps, size_t n, ig_buf *sorted)
{
    size_t count[257] = {0};
    bool in_order = true;
    for (size_t i = 1; i < n; i++) in_order = in_order && ccc(cps[i - 1]) <= ccc(cps[i]);
    if (in_order) return true;
    sorted->len = 0;
    if (!ig_buf_add(sorted, cps, n * sizeof *cps)) return false;
    const uint32_t *from = (const void *)sorted->ptr;
    for (size_t i = 0; i < n; i++) count[ccc(from[i]) + 1]++;
    for (size_t c = 1; c < 257; c++) count[c] += count[c - 1];
    for (size_t i = 0; i < n; i++) cps[count[ccc(from[i])]++] = from[i];
    return true;
}

/* Normalizes the characters of w->wide and appends them to out as UTF-8. */
static bool flush_form(ig_tj_work *w, unsigned flags, ig_buf *out)
{
    uint32_t *cps = (void *)w->wide.ptr;
    size_t n = w->wide.len / sizeof *cps;
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        if (cps[i] >= 0x300 && ccc(cps[i])) {
            while (end < n && ccc(cps[end])) end++;
            if (!order_marks(cps + i, end - i, &w->sorted)) return false;
        }
        i = end;
    }
    if (n && (flags & IG_FORM_COMPOSE))
        n = (size_t)utf8proc_normalize_utf32((utf8proc_int32_t *)cps, (utf8proc_ssize_t)n,
                                             UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        if (!ig_buf_add(out, utf8, ig_utf8_encode(cps[i], utf8))) return false;
    }
    w->wide.len = 0;
    return true;
}

static bool add_decomposed(ig_tj_work *w, unsigned flags, uint32_t cp)
{
    utf8proc_int32_t parts[32];
    int boundary = 0;
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (cp < 0x80) return ig_buf_add(&w->wide, &cp, sizeof cp);
    if (flags & IG_FORM_COMPAT) options |= UTF8PROC_COMPAT;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32, options, &boundary);
    if (n <= 0 || n > 32) return ig_buf_add(&w->wide, &cp, sizeof cp);
    return ig_buf_add(&w->wide, parts, (size_t)n * sizeof *parts);
}

/* Bytes below `inert` begin characters that no form changes, alone or beside each other. */
static bool needs_form(ig_str text, unsigned flags)
{
    unsigned inert = flags == IG_FORM_COMPOSE ? 0xCC : 0x80;
    for (size_t i = 0; i < text.len; i++)
        if ((uint8_t)text.ptr[i] >= inert) return true;
    return false;
}

static bool form(ig_tj_work *w, const ig_norm *s, ig_str text, ig_buf *out)
{
    w->wide.len = 0;
    for (size_t at = 0; at < text.len;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(text.ptr + at, text.len - at, &cp);
        if (len ? !add_decomposed(w, s->flags, cp)
                : !flush_form(w, s->flags, out) || !ig_buf_add(out, text.ptr + at, 1))
            return false;
        at += len ? len : 1;
    }
    return flush_form(w, s->flags, out);
}

/* ------------------------------------------------------------------------------------------------ per character */

/* Appends what character cp (bytes p[0..n)) becomes. */
typedef bool (*char_fn)(const ig_norm *s, uint32_t cp, const char *p, size_t n, ig_buf *out);

static bool lower_char(const ig_norm *s, uint32_t cp, const char *p, size_t n, ig_buf *out)
{
    (void)s;
    if (cp < 0x80) {
        char c = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        return ig_buf_add(out, &c, 1);
    }
    if (cp == 0x130) return ig_buf_add(out, "i\xCC\x87", 3); /* the one that becomes two */
    char utf8[4];
    uint32_t low = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    return low == cp ? ig_buf_add(out, p, n) : ig_buf_add(out, utf8, ig_utf8_encode(low, utf8));
}

static bool unmark_char(const ig_norm *s, uint32_t cp, const char *p, size_t n, ig_buf *out)
{
    bool drop = cp >= 0x300 && (s->flags & 1 ? ig_char_is_nonspacing(cp) : ig_char_is_mark(cp));
    return drop || ig_buf_add(out, p, n);
}

static bool bert_char(const ig_norm *s, uint32_t cp, const char *p, size_t n, ig_buf *out)
{
    if (s->flags & IG_BERT_CLEAN) {
        uint32_t cls = ig_char_class(cp);
        bool blank = cp == '\t' || cp == '\n' || cp == '\r';
        if (cp == 0 || cp == 0xFFFD || ((cls & IG_CHAR_CONTROL) && !blank)) return true;
        if (cls & IG_CHAR_SPACE) return ig_buf_add(out, " ", 1);
    }
    if (cp < 0x3400 || !(s->flags & IG_BERT_CJK) || !ig_char_is_cjk(cp)) return ig_buf_add(out, p, n);
    return ig_buf_add(out, " ", 1) && ig_buf_add(out, p, n) && ig_buf_add(out, " ", 1);
}

static bool each_char(const ig_norm *s, char_fn fn, ig_str text, ig_buf *out)
{
    for (size_t at = 0; at < text.len;) {
        uint32_t cp = (uint8_t)text.ptr[at];
        size_t len = cp < 0x80 ? 1 : ig_utf8_decode(text.ptr + at, text.len - at, &cp);
        if (len ? !fn(s, cp, text.ptr + at, len, out) : !ig_buf_add(out, text.ptr + at, 1)) return false;
        at += len ? len : 1;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ running */

static bool alphabet(ig_str text, ig_buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char utf8[4];
        if (!ig_buf_add(out, utf8, ig_utf8_encode(ig_byte_to_char((uint8_t)text.ptr[i]), utf8))) return false;
    }
    return true;
}

/* With MERGE every word gets one marker in front and other spaces go; with PREFIX the first word gets one at least. */
static bool mark_spaces(ig_str text, unsigned flags, ig_buf *out)
{
    bool in_word = false, begun = false;
    for (size_t i = 0; i < text.len; i++) {
        bool space = text.ptr[i] == ' ';
        bool mark = space ? !(flags & IG_SPACES_MERGE)
                          : !in_word && ((flags & IG_SPACES_MERGE) || ((flags & IG_SPACES_PREFIX) && !begun));
        if (mark && !ig_buf_add(out, IG_MARKER, 3)) return false;
        if (!space && !ig_buf_add(out, text.ptr + i, 1)) return false;
        in_word = !space;
        begun = begun || !space;
    }
    return true;
}

static ig_str strip(ig_str t, unsigned flags)
{
    uint32_t cp;
    while ((flags & 1) && t.len) {
        size_t n = ig_utf8_decode(t.ptr, t.len, &cp);
        if (n == 0 || !(ig_char_class(cp) & IG_CHAR_SPACE)) break;
        t = (ig_str){t.ptr + n, t.len - n};
    }
    while ((flags & 2) && t.len) {
        size_t n = 1;
        while (n < 4 && n < t.len && ((uint8_t)t.ptr[t.len - n] & 0xC0) == 0x80) n++;
        if (ig_utf8_decode(t.ptr + t.len - n, n, &cp) != n || !(ig_char_class(cp) & IG_CHAR_SPACE)) break;
        t.len -= n;
    }
    return t;
}

static ig_status run_step(const ig_tj *tj, const ig_norm *s, ig_tj_work *w, ig_str text, ig_buf *out, ig_error *err)
{
    static const char_fn per_char[] = {[IG_NORM_LOWERCASE] = lower_char,
                                       [IG_NORM_STRIP_MARKS] = unmark_char,
                                       [IG_NORM_BERT] = bert_char,
                                       [IG_NORM_ALPHABET] = NULL};
    bool ok = true;
    switch (s->kind) {
    case IG_NORM_FORM: ok = form(w, s, text, out); break;
    case IG_NORM_PREPEND:
        ok = text.len == 0 || (ig_buf_add(out, s->content.ptr, s->content.len) && ig_buf_add(out, text.ptr, text.len));
        break;
    case IG_NORM_REPLACE: return ig_tj_replace(&s->pattern, &w->regex, text, s->content, out, err);
    case IG_NORM_STRIP:
        text = strip(text, s->flags);
        ok = ig_buf_add(out, text.ptr, text.len);
        break;
    case IG_NORM_CHARSMAP:
        ok = s->flags & IG_CHARSMAP_LONGEST ? ig_charsmap_longest(&tj->charsmap, text, out)
                                            : ig_charsmap_graphemes(&tj->charsmap, text, out);
        break;
    case IG_NORM_SPACES: ok = mark_spaces(text, s->flags, out); break;
    case IG_NORM_ALPHABET: ok = alphabet(text, out); break;
    default: ok = each_char(s, per_char[s->kind], text, out);
    }
    return ok ? IG_OK : ig_tj_no_memory(err);
}

ig_status ig_tj_normalize(const ig_tj *tj, ig_tj_work *w, ig_str text, ig_str *out, ig_error *err)
{
    *out = text;
    for (size_t i = 0; i < tj->n_norm; i++) {
        const ig_norm *s = &tj->norm[i];
        if (s->kind == IG_NORM_FORM && !needs_form(*out, s->flags)) continue;
        ig_buf *to = &w->norm[1];
        to->len = 0;
        IG_TRY(run_step(tj, s, w, *out, to, err));
        ig_buf swap = w->norm[0];
        w->norm[0] = w->norm[1];
        w->norm[1] = swap;
        *out = (ig_str){w->norm[0].ptr, w->norm[0].len};
    }
    return IG_OK;
}

static ig_status replace_regex(const ig_pattern *p, ig_tj_regex_work *w, ig_str text, ig_str content, ig_buf *out,
                               ig_error *err)
{
    size_t done = 0, from = 0;
    const char *clean = ig_tj_regex_text(w, text.ptr, text.len);
    if (!clean) return ig_tj_no_memory(err);
    while (from <= text.len) {
        ig_tj_regex_hit hit;
        IG_TRY(ig_tj_regex_find(p->regex, w, clean, text.len, from, &hit, err));
        if (!hit.found) break;
        if (!ig_buf_add(out, text.ptr + done, hit.at - done) || !ig_buf_add(out, content.ptr, content.len))
            return ig_tj_no_memory(err);
        done = from = hit.end;
        if (hit.end == hit.at) /* an empty match: go on behind the next character */
            for (from++; from < text.len && ((uint8_t)clean[from] & 0xC0) == 0x80;) from++;
    }
    return ig_buf_add(out, text.ptr + done, text.len - done) ? IG_OK : ig_tj_no_memory(err);
}

/* Length of the next match of a string or of two spaces and more at or behind `from`; *at: its place. 0: none. */
static size_t next_literal(const ig_pattern *p, ig_str text, size_t from, size_t *at)
{
    ig_str want = p->two_spaces ? IG_STR("  ") : p->text;
    if (want.len == 0 || from >= text.len) return 0;
    const char *hit = want.len == 1 ? memchr(text.ptr + from, want.ptr[0], text.len - from)
                                    : memmem(text.ptr + from, text.len - from, want.ptr, want.len);
    if (!hit) return 0;
    *at = (size_t)(hit - text.ptr);
    size_t n = want.len;
    while (p->two_spaces && *at + n < text.len && text.ptr[*at + n] == ' ') n++;
    return n;
}

ig_status ig_tj_replace(const ig_pattern *p, ig_tj_regex_work *w, ig_str text, ig_str content, ig_buf *out,
                        ig_error *err)
{
    if (p->regex) return replace_regex(p, w, text, content, out, err);
    size_t done = 0, at = 0;
    for (size_t n; (n = next_literal(p, text, done, &at)) != 0; done = at + n)
        if (!ig_buf_add(out, text.ptr + done, at - done) || !ig_buf_add(out, content.ptr, content.len))
            return ig_tj_no_memory(err);
    return ig_buf_add(out, text.ptr + done, text.len - done) ? IG_OK : ig_tj_no_memory(err);
}
