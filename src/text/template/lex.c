/* The lexer: text outside of tags, tags, and the tokens inside. White space control (-, +, trim_blocks, lstrip_blocks)
 * is done here, so that the parser sees only the text that is printed. */
#include <stdio.h>

#include "text/template/syntax.h"
#include "text/template/text.h"

typedef struct lexer {
    ig_arena *arena;
    const char *p;
    size_t n, at;
    uint32_t line;
    bool line_start; /* what has been read so far ends with a newline (or is nothing) */
    ig_ttoken *tokens;
    size_t n_tokens, cap;
    char open[NESTING_MAX]; /* closing brackets that are due */
    unsigned n_open;
    ig_error *err;
} lexer;

static ig_status fail(lexer *l, ig_status status, const char *what)
{
    return ig_fail(l->err, status, l->at, "template line %u: %s", l->line, what);
}

static ig_status no_memory(lexer *l) { return fail(l, IG_NO_MEMORY, "out of memory for the template"); }

static ig_status emit(lexer *l, ig_ttype type, unsigned op, const char *p, size_t n)
{
    if (l->n_tokens == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        ig_ttoken *t = ig_arena_alloc(l->arena, cap, sizeof *t);
        if (!t) return no_memory(l);
        if (l->n_tokens) memcpy(t, l->tokens, l->n_tokens * sizeof *t);
        l->tokens = t;
        l->cap = cap;
    }
    l->tokens[l->n_tokens++] = (ig_ttoken){.type = (uint8_t)type, .op = (uint16_t)op, .line = l->line, .text = {p, n}};
    return IG_OK;
}

static void advance(lexer *l, size_t n)
{
    for (size_t i = 0; i < n; i++) l->line += l->p[l->at + i] == '\n';
    l->at += n;
    if (n) l->line_start = l->p[l->at - 1] == '\n';
}

static bool looking_at(const lexer *l, size_t at, const char *z)
{
    size_t n = strlen(z);
    return at <= l->n && l->n - at >= n && !memcmp(l->p + at, z, n);
}

static size_t spaces(const lexer *l, size_t at)
{
    size_t start = at;
    uint32_t cp;
    while (at < l->n) {
        size_t len = ig_tt_next(l->p + at, l->n - at, &cp);
        if (!ig_tt_space(cp)) break;
        at += len;
    }
    return at - start;
}

/* Length of the end of a tag at `at` ("%}", "-%}" with the white space behind, "+%}"; `trim` drops a newline behind the
 * plain form), 0 when none stands there. */
static size_t tag_end(const lexer *l, size_t at, const char *end, bool trim, bool plus)
{
    if (looking_at(l, at, end)) return trim && looking_at(l, at + 2, "\n") ? 3 : 2;
    if (at < l->n && l->p[at] == '-' && looking_at(l, at + 1, end)) return 3 + spaces(l, at + 3);
    if (plus && at < l->n && l->p[at] == '+' && looking_at(l, at + 1, end)) return 3;
    return 0;
}

/* Text in front of a tag, cut as its sign says; `lstrip`: a tag for which lstrip_blocks counts. */
static ig_str cut(const lexer *l, ig_str text, char sign, bool lstrip)
{
    if (sign == '-') return ig_tt_strip(text, false, true);
    if (sign == '+' || !lstrip) return text;
    size_t line = text.len;
    while (line > 0 && text.ptr[line - 1] != '\n') line--;
    if (line == 0 && !l->line_start) return text;
    ig_str last = {text.ptr + line, text.len - line};
    if (last.len && ig_tt_strip(last, true, false).len == 0) text.len = line;
    return text;
}

static ig_status emit_text(lexer *l, ig_str text) { return text.len ? emit(l, TK_DATA, 0, text.ptr, text.len) : IG_OK; }

/* "{%" sign " raw " end at `at`: the length, or 0; the sign. */
static size_t raw_tag(const lexer *l, size_t at, const char *word, char *sign)
{
    size_t i = at + 2;
    *sign = i < l->n && (l->p[i] == '-' || l->p[i] == '+') ? l->p[i] : 0;
    i += *sign != 0;
    i += spaces(l, i);
    if (!looking_at(l, i, word)) return 0;
    i += strlen(word);
    i += spaces(l, i);
    bool end = word[0] == 'e';
    size_t close = tag_end(l, i, "%}", end, end);
    return close ? i + close - at : 0;
}

static ig_status lex_raw(lexer *l)
{
    if (l->at == l->n) return IG_OK; /* the reference forgives it when nothing follows */
    for (size_t i = l->at; i + 1 < l->n; i++) {
        char sign;
        size_t len = l->p[i] == '{' && l->p[i + 1] == '%' ? raw_tag(l, i, "endraw", &sign) : 0;
        if (!len) continue;
        IG_TRY(emit_text(l, cut(l, (ig_str){l->p + l->at, i - l->at}, sign, true)));
        advance(l, i + len - l->at);
        return IG_OK;
    }
    return fail(l, IG_BAD_INPUT, "{% raw %} is not closed, expected {% endraw %}");
}

static ig_status lex_comment(lexer *l)
{
    if (l->at == l->n) return IG_OK; /* as above */
    for (size_t i = l->at; i < l->n; i++) {
        size_t len = tag_end(l, i, "#}", true, true);
        if (!len) continue;
        advance(l, i + len - l->at);
        return IG_OK;
    }
    return fail(l, IG_BAD_INPUT, "the comment is not closed, expected #}");
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* digits with single underscores between them; 0 when there is none */
static size_t digits(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && (is_digit(p[i]) || (p[i] == '_' && i > 0 && is_digit(p[i - 1]) && i + 1 < n && is_digit(p[i + 1]))))
        i++;
    return i;
}

static size_t exponent(const char *p, size_t n)
{
    if (n < 2 || (p[0] | 32) != 'e') return 0;
    size_t i = p[1] == '+' || p[1] == '-' ? 2 : 1;
    size_t d = digits(p + i, n - i);
    return d ? i + d : 0;
}

static size_t float_length(const lexer *l)
{
    const char *p = l->p + l->at;
    size_t n = l->n - l->at, whole = digits(p, n), part = 0;
    if (whole == 0 || (l->at > 0 && p[-1] == '.')) return 0;
    if (whole + 1 < n && p[whole] == '.') part = digits(p + whole + 1, n - whole - 1);
    if (part) part++;
    size_t power = exponent(p + whole + part, n - whole - part);
    return part || power ? whole + part + power : 0;
}

static bool is_hex(char c, unsigned base)
{
    if (base == 16) return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
    return c >= '0' && c < (char)('0' + base);
}

static size_t int_length(const lexer *l)
{
    const char *p = l->p + l->at;
    size_t n = l->n - l->at;
    if (n > 2 && p[0] == '0' && strchr("xob", p[1] | 32) && p[1]) {
        unsigned base = (p[1] | 32) == 'x' ? 16 : (p[1] | 32) == 'o' ? 8 : 2;
        size_t i = 2;
        while (i < n && (is_hex(p[i], base) || (p[i] == '_' && i + 1 < n && is_hex(p[i + 1], base)))) i++;
        if (i > 2) return i;
    }
    if (p[0] != '0') return digits(p, n);
    size_t i = 1;
    while (i < n && (p[i] == '0' || (p[i] == '_' && i + 1 < n && p[i + 1] == '0'))) i++;
    return i;
}

static size_t name_length(const lexer *l)
{
    size_t i = l->at;
    uint32_t cp;
    while (i < l->n) {
        size_t len = ig_tt_next(l->p + i, l->n - i, &cp);
        if (!ig_tt_word(cp)) break;
        i += len;
    }
    return i - l->at;
}

static size_t string_length(const lexer *l)
{
    char quote = l->p[l->at];
    for (size_t i = l->at + 1; i < l->n; i++) {
        if (l->p[i] == '\\')
            i++;
        else if (l->p[i] == quote)
            return i + 1 - l->at;
    }
    return 0;
}

static ig_status bracket(lexer *l, char c)
{
    static const char pairs[] = "()[]{}";
    const char *at = strchr(pairs, c);
    if (!at) return IG_OK;
    if ((at - pairs) % 2 == 0) {
        if (l->n_open == NESTING_MAX)
            return ig_fail(l->err, IG_TOO_LARGE, l->at, "template line %u: more than %d brackets inside each other",
                           l->line, NESTING_MAX);
        l->open[l->n_open++] = at[1];
        return IG_OK;
    }
    char message[64];
    if (l->n_open && l->open[l->n_open - 1] == c) return l->n_open--, IG_OK;
    if (l->n_open)
        (void)snprintf(message, sizeof message, "unexpected '%c', expected '%c'", c, l->open[l->n_open - 1]);
    else
        (void)snprintf(message, sizeof message, "unexpected '%c'", c);
    return fail(l, IG_BAD_INPUT, message);
}

static ig_status lex_operator(lexer *l)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (looking_at(l, l->at, two[i])) {
            IG_TRY(emit(l, TK_OP, OP2((unsigned)two[i][0], (unsigned)two[i][1]), l->p + l->at, 2));
            return advance(l, 2), IG_OK;
        }
    char c = l->p[l->at];
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) {
        uint32_t cp;
        size_t len = ig_tt_next(l->p + l->at, l->n - l->at, &cp);
        return ig_fail(l->err, IG_BAD_INPUT, l->at, "template line %u: unexpected character \"%.*s\"%s", l->line,
                       (int)len, l->p + l->at, c == '\'' || c == '"' ? " (the string is not closed)" : "");
    }
    IG_TRY(bracket(l, c));
    IG_TRY(emit(l, TK_OP, (unsigned char)c, l->p + l->at, 1));
    return advance(l, 1), IG_OK;
}

static ig_status lex_token(lexer *l)
{
    char c = l->p[l->at];
    size_t len;
    ig_ttype type;
    if ((len = spaces(l, l->at))) return advance(l, len), IG_OK;
    if (is_digit(c)) {
        type = (len = float_length(l)) ? TK_FLOAT : TK_INT;
        if (!len) len = int_length(l);
    } else if (c == '\'' || c == '"') {
        type = TK_STR;
        len = string_length(l);
    } else {
        type = TK_NAME;
        len = name_length(l);
    }
    if (!len) return lex_operator(l);
    IG_TRY(emit(l, type, 0, l->p + l->at, len));
    return advance(l, len), IG_OK;
}

static ig_status lex_tag(lexer *l, bool print)
{
    uint32_t line = l->line;
    l->n_open = 0;
    while (l->at < l->n) {
        size_t len = l->n_open ? 0 : tag_end(l, l->at, print ? "}}" : "%}", !print, !print);
        if (len) {
            IG_TRY(emit(l, print ? TK_PRINT_END : TK_BLOCK_END, 0, l->p + l->at, len));
            return advance(l, len), IG_OK;
        }
        IG_TRY(lex_token(l));
    }
    return ig_fail(l->err, IG_BAD_INPUT, l->at, "template line %u: the tag is not closed, expected %s", line,
                   print ? "}}" : "%}");
}

/* Everything from the text at hand to the end of the next tag. */
static ig_status lex_piece(lexer *l)
{
    size_t i = l->at;
    while (i + 1 < l->n && !(l->p[i] == '{' && strchr("%{#", l->p[i + 1]) && l->p[i + 1])) i++;
    if (i + 1 >= l->n) {
        IG_TRY(emit_text(l, (ig_str){l->p + l->at, l->n - l->at}));
        return advance(l, l->n - l->at), IG_OK;
    }
    ig_str text = {l->p + l->at, i - l->at};
    char kind = l->p[i + 1], sign = 0;
    size_t raw = kind == '%' ? raw_tag(l, i, "raw", &sign) : 0;
    if (!raw) sign = i + 2 < l->n && (l->p[i + 2] == '-' || l->p[i + 2] == '+') ? l->p[i + 2] : 0;
    IG_TRY(emit_text(l, cut(l, text, sign, kind != '{')));
    advance(l, i - l->at + (raw ? raw : 2u + (sign != 0)));
    if (raw) return lex_raw(l);
    if (kind == '#') return lex_comment(l);
    IG_TRY(emit(l, kind == '{' ? TK_PRINT : TK_BLOCK, 0, l->p + i, 2));
    return lex_tag(l, kind == '{');
}

ig_status ig_tlex(ig_arena *arena, ig_str source, ig_ttoken **tokens, ig_error *err)
{
    lexer l = {.arena = arena, .p = source.ptr, .n = source.len, .line = 1, .line_start = true, .err = err};
    while (l.at < l.n) IG_TRY(lex_piece(&l));
    IG_TRY(emit(&l, TK_EOF, 0, source.ptr + source.len, 0));
    *tokens = l.tokens;
    return IG_OK;
}

ig_status ig_tlex_source(ig_arena *arena, const char *source, size_t n, ig_str *out, ig_error *err)
{
    if (n > SOURCE_BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "the template has %zu bytes, at most %d are allowed", n, SOURCE_BYTES_MAX);
    for (size_t i = 0, line = 1; i < n;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(source + i, n - i, &cp);
        if (!len) return ig_fail(err, IG_BAD_INPUT, i, "template line %zu: byte %zu is not UTF-8", line, i);
        line += source[i] == '\n';
        i += len;
    }
    char *p = ig_arena_alloc(arena, n + 1, 1);
    if (!p) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a template of %zu bytes", n);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n') continue;
        p[used++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (used && p[used - 1] == '\n') used--;
    *out = (ig_str){p, used};
    return IG_OK;
}
