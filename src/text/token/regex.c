#include "text/token/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/os.h"
#include "base/utf8.h"

enum {
    PATTERN_BYTES_MAX = 8192,
    NEST_MAX = 40,
    MATCH_STEPS_MAX = 4000000,
    MATCH_HEAP_KIB_MAX = 65536,
    STARTS_MAX = 16, /* places that one call of PCRE2 tries */
    NS_PER_BYTE_MAX = 2000
};
static const uint64_t ns_max = 2000000000u;

struct ig_tj_regex {
    pcre2_general_context *memory;
    pcre2_code *code;
    ig_str pattern; /* owned */
};

static void *pcre_alloc(PCRE2_SIZE n, void *user)
{
    (void)user;
    return ig_alloc(n);
}

static void pcre_free(void *p, void *user)
{
    (void)user;
    ig_free(p);
}

typedef struct reader { /* a walk over a pattern */
    ig_str p;
    size_t at;
} reader;

static bool starts(const reader *r, const char *text)
{
    ig_str rest = {r->p.ptr + r->at, r->p.len - r->at};
    return ig_str_starts(rest, ig_str_from(text));
}

static bool posix_class(const reader *r) { return starts(r, "[:"); }

/* Inside [...]: what Ruby reads as a set in a set or an intersection. */
static const char *odd_in_class(const reader *r)
{
    if (r->p.ptr[r->at] == '[' && !posix_class(r)) return "a character class inside a character class";
    return starts(r, "&&") ? "an intersection of character classes (&&)" : NULL;
}

static const char *odd_outside(const reader *r)
{
    if (starts(r, "}+")) return "a repeat behind a counted repeat (}+)";
    if (!starts(r, "(?")) return NULL;
    for (size_t i = r->at + 2; i < r->p.len && r->p.ptr[i] != ')' && r->p.ptr[i] != ':'; i++) {
        char c = r->p.ptr[i];
        if (c == 'm' || c == 's' || c == 'x') return "an option other than (?i)";
        if (c != 'i' && c != '-') break;
    }
    return starts(r, "(?~") || starts(r, "(?(") || starts(r, "(?C") ? "a group of this kind" : NULL;
}

static const char *odd_escape(char c)
{
    switch (c) {
    case 'h':
    case 'H': return "the escape \\h";
    case 'G': return "the escape \\G";
    case 'K': return "the escape \\K";
    case 'y':
    case 'Y': return "the escape \\y";
    case 'Q': return "the escape \\Q";
    case 'C':
    case 'M':
    case 'N':
    case 'O': return "the escape \\C, \\M, \\N or \\O";
    case 'v':
    case 'V': return "the escape \\v";
    case 'R':
    case 'X': return "the escape \\R or \\X";
    default: return NULL;
    }
}

/* At the p or P of \p{Name}: bytes of the name, 0: none. */
static size_t property_length(ig_str p, size_t at)
{
    if (at + 1 >= p.len || (p.ptr[at] | 32) != 'p' || p.ptr[at + 1] != '{') return 0;
    const char *end = memchr(p.ptr + at + 2, '}', p.len - at - 2);
    return end ? (size_t)(end - (p.ptr + at + 2)) : 0;
}

/* Copies the pattern; the name of a script means the script alone, not its extensions too, as PCRE2 would have it. */
static bool translate(ig_str p, ig_buf *out)
{
    for (size_t i = 0; i < p.len; i++) {
        if (!ig_buf_add(out, p.ptr + i, 1)) return false;
        if (p.ptr[i] != '\\' || ++i == p.len) continue;
        if (!ig_buf_add(out, p.ptr + i, 1)) return false;
        size_t name = property_length(p, i);
        if (name <= 2 || p.ptr[i + 2] == '^') continue;
        if (!ig_buf_add(out, "{sc:", 4)) return false;
        i++;
    }
    return true;
}

/* What Oniguruma and PCRE2 understand differently, or NULL. */
static const char *odd(ig_str pattern)
{
    reader r = {pattern, 0};
    const char *why = NULL;
    bool in_class = false;
    for (; !why && r.at < pattern.len; r.at++) {
        char c = pattern.ptr[r.at];
        if (c == '\\') {
            if (++r.at < pattern.len) why = odd_escape(pattern.ptr[r.at]);
            size_t name = property_length(pattern, r.at);
            if (name) r.at += name + 2;
        } else if (in_class) {
            why = odd_in_class(&r);
            if (posix_class(&r)) {
                const char *end = memmem(pattern.ptr + r.at, pattern.len - r.at, ":]", 2);
                if (end) r.at = (size_t)(end - pattern.ptr) + 1;
            } else if (c == ']')
                in_class = false;
        } else if (c == '[') {
            in_class = true;
            if (r.at + 1 < pattern.len && pattern.ptr[r.at + 1] == '^') r.at++;
            if (r.at + 1 < pattern.len && pattern.ptr[r.at + 1] == ']') why = "a ] at the start of a character class";
        } else
            why = odd_outside(&r);
    }
    return why;
}

static ig_status compile(ig_tj_regex *re, ig_error *err)
{
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *ctx = pcre2_compile_context_create(re->memory);
    if (!ctx) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a regular expression");
    pcre2_set_parens_nest_limit(ctx, NEST_MAX);
    ig_buf text;
    ig_buf_init(&text, 4 * PATTERN_BYTES_MAX);
    if (!translate(re->pattern, &text)) {
        ig_buf_fini(&text);
        pcre2_compile_context_free(ctx);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a regular expression");
    }
    re->code = pcre2_compile((PCRE2_SPTR)(text.len ? text.ptr : ""), text.len,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT,
                             &code, &at, ctx);
    pcre2_compile_context_free(ctx);
    ig_buf_fini(&text);
    if (re->code) return IG_OK;
    char why[128] = "";
    (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return ig_fail(err, IG_BAD_INPUT, at, "the regular expression \"%.*s\" cannot be used: at byte %zu: %s",
                   IG_STR_ARG(re->pattern), (size_t)at, why);
}

ig_status ig_tj_regex_new(ig_str pattern, ig_tj_regex **out, ig_error *err)
{
    *out = NULL;
    if (pattern.len > PATTERN_BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "a regular expression has %zu bytes, expected at most %d", pattern.len,
                       PATTERN_BYTES_MAX);
    const char *why = odd(pattern);
    if (why)
        return ig_fail(err, IG_UNSUPPORTED, 0, "the regular expression \"%.*s\" holds %s, which is not supported",
                       IG_STR_ARG(pattern), why);
    ig_tj_regex *re = ig_calloc(1, sizeof *re);
    char *copy = ig_alloc(pattern.len + 1);
    if (re) re->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (!re || !copy || !re->memory) {
        ig_free(copy);
        ig_tj_regex_free(re);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a regular expression");
    }
    if (pattern.len) memcpy(copy, pattern.ptr, pattern.len);
    re->pattern = (ig_str){copy, pattern.len};
    ig_status st = compile(re, err);
    if (st == IG_OK)
        *out = re;
    else
        ig_tj_regex_free(re);
    return st;
}

void ig_tj_regex_free(ig_tj_regex *re)
{
    if (!re) return;
    pcre2_code_free(re->code);
    pcre2_general_context_free(re->memory);
    ig_free((void *)(uintptr_t)re->pattern.ptr);
    ig_free(re);
}

void ig_tj_regex_work_fini(ig_tj_regex_work *w)
{
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->context);
    ig_buf_fini(&w->clean);
    *w = (ig_tj_regex_work){0};
}

const char *ig_tj_regex_text(ig_tj_regex_work *w, const char *text, size_t n)
{
    if (ig_utf8_valid(text, n)) return text;
    w->clean.max_bytes = SIZE_MAX / 2;
    w->clean.len = 0;
    if (!ig_buf_add(&w->clean, text, n)) return NULL;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(text + at, n - at, &cp);
        if (len == 0) w->clean.ptr[at] = 0x1A;
        at += len ? len : 1;
    }
    return w->clean.ptr;
}

static ig_status prepare(const ig_tj_regex *re, ig_tj_regex_work *w, size_t n, ig_error *err)
{
    if (!w->match) w->match = pcre2_match_data_create(1, re->memory);
    if (!w->context) w->context = pcre2_match_context_create(re->memory);
    if (!w->match || !w->context) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a regular expression");
    pcre2_set_match_limit(w->context, MATCH_STEPS_MAX);
    pcre2_set_heap_limit(w->context, MATCH_HEAP_KIB_MAX);
    if (w->deadline_ns == 0) w->deadline_ns = ig_now_ns() + ns_max + (uint64_t)n * NS_PER_BYTE_MAX;
    return IG_OK;
}

static ig_status over(const ig_tj_regex *re, const char *what, ig_error *err)
{
    return ig_fail(err, IG_TOO_LARGE, 0, "the tokenizer's regular expression \"%.*s\" went over its limit of %s",
                   IG_STR_ARG(re->pattern), what);
}

ig_status ig_tj_regex_find(const ig_tj_regex *re, ig_tj_regex_work *w, const char *text, size_t n, size_t from,
                           ig_tj_regex_hit *hit, ig_error *err)
{
    *hit = (ig_tj_regex_hit){0};
    IG_TRY(prepare(re, w, n, err));
    while (from <= n) {
        if (w->n_calls++ % 8 == 7 && ig_now_ns() > w->deadline_ns) return over(re, "time", err);
        size_t limit = n - from > STARTS_MAX ? from + STARTS_MAX : n;
        while (limit < n && ((unsigned char)text[limit] & 0xC0) == 0x80) limit++;
        pcre2_set_offset_limit(w->context, limit);
        int rc = pcre2_match(re->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK, w->match, w->context);
        if (rc >= 0) {
            const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(w->match);
            if (pair[1] < pair[0] || pair[0] < from) return over(re, "sense", err);
            *hit = (ig_tj_regex_hit){pair[0], pair[1], true};
            return IG_OK;
        }
        if (rc == PCRE2_ERROR_NOMEMORY) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a regular expression");
        if (rc == PCRE2_ERROR_HEAPLIMIT) return over(re, "memory", err);
        if (rc != PCRE2_ERROR_NOMATCH) return over(re, "steps", err);
        if (limit == n) return IG_OK;
        from = limit + 1;
        while (from < n && ((unsigned char)text[from] & 0xC0) == 0x80) from++;
    }
    return IG_OK;
}
