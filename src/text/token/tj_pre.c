/* Pre-tokenizers: they cut a text into pieces that the model sees one by one. Every splitter is the same thing: a
 * finder of matches and what becomes of matches and of the gaps between them. */
#include "base/utf8.h"
#include "text/token/tj.h"

/* ------------------------------------------------------------------------------------------------ finders */

#define CLASSES(name, classes) static const ig_set name = {(classes), NULL, 0}
static const ig_range ascii_marks[] = {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}};
static const ig_set punctuation = {IG_CHAR_P, ascii_marks, sizeof ascii_marks / sizeof *ascii_marks};
CLASSES(spaces, IG_CHAR_SPACE);
CLASSES(numbers, IG_CHAR_N);

static bool is_word(const ig_chars *c, size_t i)
{
    if (c->cls[i] & (IG_CHAR_L | IG_CHAR_M)) return true;
    if (c->cp[i] < 0x80) return c->cp[i] == '_' || (c->cls[i] & IG_CHAR_N);
    return ig_char_is_word(c->cp[i]);
}

/* \w+|[^\w\s]+ */
static size_t match_words(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    if (c->cls[i] & IG_CHAR_SPACE) return 0;
    bool word = is_word(c, i);
    size_t at = i + 1;
    while (at < end && !(c->cls[at] & IG_CHAR_SPACE) && is_word(c, at) == word) at++;
    return at - i;
}

/* ------------------------------------------------------------------------------------------------ reading */

static ig_status add(ig_vocab *v, ig_pre_step step, ig_pre_step **out, ig_error *err)
{
    ig_tj *tj = v->tj;
    if (tj->n_pre == IG_TJ_STEPS_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: there are more than %d pre-tokenizers", IG_TJ_STEPS_MAX);
    tj->pre[tj->n_pre] = step;
    if (out) *out = &tj->pre[tj->n_pre];
    tj->n_pre++;
    return IG_OK;
}

static ig_status add_scan(ig_vocab *v, ig_match_fn match, const void *params, ig_behavior behavior, bool invert,
                          ig_error *err)
{
    ig_pattern p = {.match = match, .params = params};
    return add(v, (ig_pre_step){.kind = IG_PRE_SPLIT, .pattern = p, .behavior = behavior, .invert = invert}, NULL, err);
}

static ig_status read_behavior(ig_vocab *v, const ig_tj_json *o, const char *where, ig_behavior *out, ig_error *err)
{
    static const char *const names[] = {
        [IG_SPLIT_ISOLATED] = "Isolated",     [IG_SPLIT_REMOVED] = "Removed",
        [IG_SPLIT_CONTIGUOUS] = "Contiguous", [IG_SPLIT_PREVIOUS] = "MergedWithPrevious",
        [IG_SPLIT_NEXT] = "MergedWithNext",
    };
    ig_str name = {NULL, 0};
    IG_TRY(ig_tj_str(o, where, "behavior", false, &v->tj->arena, &name, err));
    *out = IG_SPLIT_ISOLATED;
    if (!name.ptr) return IG_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *out = (ig_behavior)i;
        if (ig_str_is(name, names[i])) return IG_OK;
    }
    return ig_fail(err, IG_UNSUPPORTED, 0, "tokenizer.json: the behavior \"%.*s\" of the %s is not supported",
                   IG_STR_ARG(name), where);
}

static ig_status read_byte_level(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    bool prefix = true, regex = true;
    IG_TRY(ig_tj_bool(o, "pre-tokenizer ByteLevel", "add_prefix_space", &prefix, err));
    IG_TRY(ig_tj_bool(o, "pre-tokenizer ByteLevel", "use_regex", &regex, err));
    if (prefix) IG_TRY(add(v, (ig_pre_step){.kind = IG_PRE_PREFIX_SPACE}, NULL, err));
    if (regex) IG_TRY(add_scan(v, ig_match_gpt2, NULL, IG_SPLIT_ISOLATED, false, err));
    return add(v, (ig_pre_step){.kind = IG_PRE_ALPHABET}, NULL, err);
}

/* The pieces of a scanner and its gaps are those of its expression, so it serves where both are kept; and, where
 * matches alone are kept, if there are no gaps. For other behaviors the expression itself runs. */
static ig_status read_split(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const char where[] = "pre-tokenizer Split";
    ig_pre_step *step = NULL;
    IG_TRY(add(v, (ig_pre_step){.kind = IG_PRE_SPLIT}, &step, err));
    IG_TRY(ig_tj_bool(o, where, "invert", &step->invert, err));
    IG_TRY(read_behavior(v, o, where, &step->behavior, err));
    bool only_matches = step->behavior == IG_SPLIT_REMOVED && step->invert;
    ig_scanners scanners = step->behavior == IG_SPLIT_ISOLATED ? IG_SCANNERS_ALL
                           : only_matches                      ? IG_SCANNERS_WHOLE
                                                               : IG_SCANNERS_NONE;
    IG_TRY(ig_tj_pattern(v, o, where, scanners, &step->pattern, err));
    if (only_matches && step->pattern.match) step->behavior = IG_SPLIT_ISOLATED;
    return IG_OK;
}

static ig_status read_metaspace(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const char where[] = "pre-tokenizer Metaspace";
    ig_pre_step *step = NULL;
    IG_TRY(add(v, (ig_pre_step){.kind = IG_PRE_METASPACE, .split = true, .text = IG_STR(IG_MARKER)}, &step, err));
    IG_TRY(ig_tj_metaspace(v, o, where, &step->text, &step->scheme, err));
    return ig_tj_bool(o, where, "split", &step->split, err);
}

ig_status ig_tj_metaspace(ig_vocab *v, const ig_tj_json *o, const char *where, ig_str *text, ig_scheme *scheme,
                          ig_error *err)
{
    static const char *const names[] = {"always", "first", "never"};
    bool prefix = true;
    ig_str name = {NULL, 0};
    IG_TRY(ig_tj_str(o, where, "replacement", false, &v->tj->arena, text, err));
    IG_TRY(ig_tj_bool(o, where, "add_prefix_space", &prefix, err));
    IG_TRY(ig_tj_str(o, where, "prepend_scheme", false, &v->tj->arena, &name, err));
    uint32_t cp;
    if (text->len == 0 || ig_utf8_decode(text->ptr, text->len, &cp) != text->len)
        return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: %s: \"replacement\" is no single character", where);
    *scheme = prefix ? IG_SCHEME_ALWAYS : IG_SCHEME_NEVER;
    if (!name.ptr) return IG_OK;
    for (int i = 0; i < 3; i++) {
        *scheme = (ig_scheme)i;
        if (ig_str_is(name, names[i])) return IG_OK;
    }
    return ig_fail(err, IG_UNSUPPORTED, 0, "tokenizer.json: %s: the prepend_scheme \"%.*s\" is not supported", where,
                   IG_STR_ARG(name));
}

static ig_status read_whitespace(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)o;
    return add_scan(v, match_words, NULL, IG_SPLIT_REMOVED, true, err);
}

static ig_status read_whitespace_split(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)o;
    return add_scan(v, ig_match_run, &spaces, IG_SPLIT_REMOVED, false, err);
}

static ig_status read_bert(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    IG_TRY(read_whitespace_split(v, o, err));
    return add_scan(v, ig_match_one, &punctuation, IG_SPLIT_ISOLATED, false, err);
}

static ig_status read_digits(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    bool each = false;
    IG_TRY(ig_tj_bool(o, "pre-tokenizer Digits", "individual_digits", &each, err));
    return add_scan(v, each ? ig_match_one : ig_match_run, &numbers, IG_SPLIT_ISOLATED, false, err);
}

static ig_status read_punctuation(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_behavior behavior;
    IG_TRY(read_behavior(v, o, "pre-tokenizer Punctuation", &behavior, err));
    return add_scan(v, ig_match_one, &punctuation, behavior, false, err);
}

static ig_status read_delimiter(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_pre_step *step = NULL;
    IG_TRY(add(v, (ig_pre_step){.kind = IG_PRE_SPLIT, .behavior = IG_SPLIT_REMOVED}, &step, err));
    return ig_tj_str(o, "pre-tokenizer CharDelimiterSplit", "delimiter", true, &v->tj->arena, &step->pattern.text, err);
}

ig_status ig_tj_read_pre(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const ig_tj_component table[] = {{"ByteLevel", read_byte_level},
                                            {"Split", read_split},
                                            {"Metaspace", read_metaspace},
                                            {"Whitespace", read_whitespace},
                                            {"WhitespaceSplit", read_whitespace_split},
                                            {"BertPreTokenizer", read_bert},
                                            {"Digits", read_digits},
                                            {"Punctuation", read_punctuation},
                                            {"CharDelimiterSplit", read_delimiter},
                                            {NULL, NULL}};
    return ig_tj_components(v, o, "pre-tokenizer", "pretokenizers", table, err);
}

/* ------------------------------------------------------------------------------------------------ running */

static bool add_piece(ig_pieces *p, size_t at, size_t end)
{
    if (at == end) return true;
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 256;
        ig_piece *q = ig_realloc(p->ptr, cap, sizeof *q);
        if (!q) return false;
        p->ptr = q;
        p->cap = cap;
    }
    p->ptr[p->n++] = (ig_piece){(uint32_t)at, (uint32_t)end};
    return true;
}

typedef struct cutter { /* one step over the pieces of a text */
    const ig_pre_step *s;
    ig_tj_work *w;
    ig_str text;
    ig_pieces *out;
    size_t base;    /* pieces of the parent before */
    bool was_match; /* the segment before in this parent */
    size_t held;    /* MergedWithNext: start of a match that waits, SIZE_MAX: none */
    size_t char_at; /* a place in w->chars, which only moves forward */
} cutter;

/* Extends the last piece of this parent, or adds one. */
static bool extend(cutter *c, size_t at, size_t end)
{
    if (c->out->n > c->base) {
        c->out->ptr[c->out->n - 1].end = (uint32_t)end;
        return true;
    }
    return add_piece(c->out, at, end);
}

/* Takes the next match, or gap, of a parent. */
static bool segment(cutter *c, size_t at, size_t end, bool match)
{
    bool before = c->was_match, ok = true;
    if (at == end && !match) return true; /* no gap */
    if (c->s->invert) match = !match;
    c->was_match = match;
    switch (c->s->behavior) {
    case IG_SPLIT_ISOLATED: return add_piece(c->out, at, end);
    case IG_SPLIT_REMOVED: return match || add_piece(c->out, at, end);
    case IG_SPLIT_CONTIGUOUS: return match == before ? extend(c, at, end) : add_piece(c->out, at, end);
    case IG_SPLIT_PREVIOUS: return match && !before ? extend(c, at, end) : add_piece(c->out, at, end);
    case IG_SPLIT_NEXT: break;
    }
    size_t held = c->held;
    c->held = SIZE_MAX;
    if (!match) return add_piece(c->out, held == SIZE_MAX ? at : held, end);
    if (held != SIZE_MAX) ok = add_piece(c->out, held, at);
    c->held = at;
    return ok;
}

static bool cut_scan(cutter *c, ig_piece p)
{
    const ig_chars *ch = &c->w->chars;
    size_t i = c->char_at;
    while (ch->at[i] < p.at) i++;
    size_t done = i, end = i;
    while (ch->at[end] < p.end) end++;
    c->char_at = end;
    *ch->memo = (ig_run){0, 0};
    while (i < end) {
        size_t n = c->s->pattern.match(ch, i, end, c->s->pattern.params);
        if (n == 0) {
            i++;
            continue;
        }
        if (!segment(c, ch->at[done], ch->at[i], false) || !segment(c, ch->at[i], ch->at[i + n], true)) return false;
        done = i += n;
    }
    return segment(c, ch->at[done], ch->at[end], false);
}

static bool cut_literal(cutter *c, ig_piece p)
{
    ig_str want = c->s->pattern.text;
    size_t done = p.at;
    while (want.len && done < p.end) {
        const char *hit = memmem(c->text.ptr + done, p.end - done, want.ptr, want.len);
        if (!hit) break;
        size_t at = (size_t)(hit - c->text.ptr);
        if (!segment(c, done, at, false) || !segment(c, at, at + want.len, true)) return false;
        done = at + want.len;
    }
    return segment(c, done, p.end, false);
}

static ig_status cut_regex(cutter *c, ig_piece p, ig_error *err)
{
    size_t done = 0, from = 0, n = p.end - p.at;
    const char *clean = ig_tj_regex_text(&c->w->regex, c->text.ptr + p.at, n);
    if (!clean) return ig_tj_no_memory(err);
    while (from <= n) {
        ig_tj_regex_hit hit;
        IG_TRY(ig_tj_regex_find(c->s->pattern.regex, &c->w->regex, clean, n, from, &hit, err));
        if (!hit.found) break;
        if (!segment(c, p.at + done, p.at + hit.at, false) || !segment(c, p.at + hit.at, p.at + hit.end, true))
            return ig_tj_no_memory(err);
        done = from = hit.end;
        if (hit.end == hit.at)
            for (from++; from < n && ((uint8_t)clean[from] & 0xC0) == 0x80;) from++;
    }
    return segment(c, p.at + done, p.end, false) ? IG_OK : ig_tj_no_memory(err);
}

static bool read_chars(ig_tj_work *w, ig_str text)
{
    ig_chars *c = &w->chars;
    size_t n = text.len + 1;
    if (n > w->chars_cap) {
        ig_free(c->cp);
        ig_free(c->cls);
        ig_free(c->at);
        c->cp = ig_alloc(n * sizeof *c->cp);
        c->cls = ig_alloc(n * sizeof *c->cls);
        c->at = ig_alloc(n * sizeof *c->at);
        w->chars_cap = c->cp && c->cls && c->at ? n : 0;
        if (!w->chars_cap) return false;
    }
    ig_chars_read(c, text.ptr, text.len);
    return true;
}

static ig_status split(cutter *c, const ig_pieces *in, ig_error *err)
{
    const ig_pattern *p = &c->s->pattern;
    for (size_t i = 0; i < in->n; i++) {
        c->base = c->out->n;
        c->was_match = false;
        c->held = SIZE_MAX;
        if (p->regex)
            IG_TRY(cut_regex(c, in->ptr[i], err));
        else if (!(p->match ? cut_scan(c, in->ptr[i]) : cut_literal(c, in->ptr[i])))
            return ig_tj_no_memory(err);
        if (c->held != SIZE_MAX && !add_piece(c->out, c->held, in->ptr[i].end)) return ig_tj_no_memory(err);
    }
    return IG_OK;
}

static bool starts_with(ig_str text, ig_piece p, ig_str with)
{
    return p.end - p.at >= with.len && !memcmp(text.ptr + p.at, with.ptr, with.len);
}

/* Metaspace of one piece; cuts in front of every marker where the step splits. */
static bool metaspace(cutter *c, ig_piece p, bool first, ig_buf *to)
{
    ig_str marker = c->s->text;
    size_t start = to->len;
    bool prepend = c->s->scheme == IG_SCHEME_ALWAYS || (c->s->scheme == IG_SCHEME_FIRST && first);
    if (prepend && c->text.ptr[p.at] != ' ' && !starts_with(c->text, p, marker) &&
        !ig_buf_add(to, marker.ptr, marker.len))
        return false;
    for (size_t i = p.at; i < p.end;) {
        size_t run = i;
        while (run < p.end && c->text.ptr[run] != ' ') run++;
        if (!ig_buf_add(to, c->text.ptr + i, run - i)) return false;
        for (i = run; i < p.end && c->text.ptr[i] == ' '; i++)
            if (!ig_buf_add(to, marker.ptr, marker.len)) return false;
    }
    size_t from = start;
    if (to->len - start >= marker.len && !memcmp(to->ptr + start, marker.ptr, marker.len)) from += marker.len;
    while (c->s->split && from < to->len) {
        const char *next = memmem(to->ptr + from, to->len - from, marker.ptr, marker.len);
        if (!next) break;
        if (!add_piece(c->out, start, (size_t)(next - to->ptr))) return false;
        start = (size_t)(next - to->ptr);
        from = start + marker.len;
    }
    return add_piece(c->out, start, to->len);
}

static bool rewrite_piece(cutter *c, ig_piece p, bool first, ig_buf *to)
{
    size_t start = to->len;
    if (c->s->kind == IG_PRE_METASPACE) return metaspace(c, p, first, to);
    if (c->s->kind == IG_PRE_PREFIX_SPACE) {
        if (c->text.ptr[p.at] != ' ' && !ig_buf_add(to, " ", 1)) return false;
        return ig_buf_add(to, c->text.ptr + p.at, p.end - p.at) && add_piece(c->out, start, to->len);
    }
    for (size_t i = p.at; i < p.end; i++) {
        char utf8[4];
        if (!ig_buf_add(to, utf8, ig_utf8_encode(ig_byte_to_char((uint8_t)c->text.ptr[i]), utf8))) return false;
    }
    return add_piece(c->out, start, to->len);
}

/* A step that changes the text: the new one lies in w->text[0]. */
static ig_status rewrite(cutter *c, const ig_pieces *in, bool *first, ig_str *text, ig_error *err)
{
    ig_tj_work *w = c->w;
    ig_buf *to = &w->text[1];
    to->len = 0;
    for (size_t i = 0; i < in->n; i++)
        if (!rewrite_piece(c, in->ptr[i], *first && in->ptr[i].at == 0, to)) return ig_tj_no_memory(err);
    if (in->n && in->ptr[0].at != 0) *first = false;
    ig_buf swap = w->text[0];
    w->text[0] = w->text[1];
    w->text[1] = swap;
    *text = (ig_str){w->text[0].ptr, w->text[0].len};
    return IG_OK;
}

static bool is_scan(const ig_pre_step *s) { return s->kind == IG_PRE_SPLIT && s->pattern.match; }

ig_status ig_tj_cut(const ig_tj *tj, ig_tj_work *w, ig_str text, bool first, ig_str *out, ig_error *err)
{
    bool have_chars = false;
    ig_run memo = {0, 0};
    w->chars.memo = &memo;
    w->pieces[0].n = 0;
    if (!add_piece(&w->pieces[0], 0, text.len)) return ig_tj_no_memory(err);
    for (size_t i = 0; i < tj->n_pre; i++) {
        cutter c = {.s = &tj->pre[i], .w = w, .text = text, .out = &w->pieces[1]};
        if (is_scan(c.s) && !have_chars && !(have_chars = read_chars(w, text))) return ig_tj_no_memory(err);
        c.out->n = 0;
        if (c.s->kind == IG_PRE_SPLIT)
            IG_TRY(split(&c, &w->pieces[0], err));
        else {
            IG_TRY(rewrite(&c, &w->pieces[0], &first, &text, err));
            have_chars = false;
        }
        ig_pieces swap = w->pieces[0];
        w->pieces[0] = w->pieces[1];
        w->pieces[1] = swap;
    }
    w->chars.memo = NULL;
    *out = text;
    return IG_OK;
}
