/* Scanners: each tells how long its match at a place is. They read forward over the characters and look back never, so
 * a text is scanned in linear time; comments give the regular expression that each one stands for. */
#include "text/token/pre_priv.h"

static bool in_set(const ig_chars *c, size_t i, const ig_set *s)
{
    if (c->cls[i] & s->cls) return true;
    if (c->cp[i] > 0x7F && (c->cls[i] & IG_CHAR_SPACE)) return false; /* ranges span wide spaces and never mean them */
    size_t lo = 0, hi = s->n_ranges;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->cp[i] > s->ranges[mid].last)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n_ranges && c->cp[i] >= s->ranges[lo].first;
}

/* End of the run of classes from i. */
static size_t run(const ig_chars *c, size_t i, size_t end, uint32_t cls)
{
    while (i < end && (c->cls[i] & cls)) i++;
    return i;
}

/* Each place of a long run would otherwise look for its end again. */
static size_t same_run(const ig_chars *c, size_t i, size_t end, uint32_t cls)
{
    if (i >= c->memo->end) c->memo->end = run(c, i, end, cls);
    return c->memo->end;
}

static bool is_letter(uint32_t cp, char lower) { return cp == (uint32_t)lower || cp == (uint32_t)lower - 32; }

/* 's 't 're 've 'm 'll 'd */
static size_t contraction(const ig_chars *c, size_t i, size_t end, bool any_case)
{
    if (end - i < 2 || c->cp[i] != '\'') return 0;
    static const char pairs[][2] = {{'s', 0}, {'t', 0}, {'r', 'e'}, {'v', 'e'}, {'m', 0}, {'l', 'l'}, {'d', 0}};
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        size_t n = pairs[k][1] ? 2 : 1;
        if (end - i < n + 1) continue;
        bool hit = true;
        for (size_t j = 0; j < n; j++) {
            uint32_t cp = c->cp[i + 1 + j];
            hit = hit && (any_case ? is_letter(cp, pairs[k][j]) : cp == (uint32_t)pairs[k][j]);
        }
        if (hit) return n + 1;
    }
    return 0;
}

/* \s+(?!\S): white space up to the piece's end, or all but the last before something else. */
static size_t space_not_before(const ig_chars *c, size_t i, size_t end)
{
    size_t stop = run(c, i, end, IG_CHAR_SPACE);
    if (stop == i) return 0;
    return stop == end ? stop - i : stop - i - 1;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S) */
size_t ig_match_gpt2(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    size_t n = contraction(c, i, end, false);
    if (n) return n;
    size_t at = i + (c->cp[i] == ' ' && i + 1 < end);
    size_t stop = at;
    if (c->cls[at] & IG_CHAR_L)
        stop = run(c, at, end, IG_CHAR_L);
    else if (c->cls[at] & IG_CHAR_N)
        stop = run(c, at, end, IG_CHAR_N);
    else
        while (stop < end && !(c->cls[stop] & (IG_CHAR_SPACE | IG_CHAR_L | IG_CHAR_N))) stop++;
    return stop > at ? stop - i : space_not_before(c, i, end);
}

static bool ascii_case(uint32_t cp, char first) { return cp >= (uint32_t)first && cp <= (uint32_t)first + 25; }

static bool in_body(const ig_shape *s, const ig_chars *c, size_t i)
{
    return (c->cls[i] & s->body) && !(s->no_han && (c->cls[i] & IG_CHAR_HAN));
}

static bool in_upper(const ig_shape *s, const ig_chars *c, size_t i)
{
    if (s->word == IG_WORD_TITLE) return (c->cls[i] & s->body & ~(uint32_t)IG_CHAR_LL) != 0;
    return in_body(s, c, i) && !ascii_case(c->cp[i], 'a');
}

static bool in_lower(const ig_shape *s, const ig_chars *c, size_t i)
{
    if (s->word == IG_WORD_TITLE) return (c->cls[i] & s->body & ~(uint32_t)IG_CHAR_LU) != 0;
    return in_body(s, c, i) && !ascii_case(c->cp[i], 'A');
}

/* upper* lower+: the greedy run of upper gives back what lower needs. */
static size_t ends_lower(const ig_shape *s, const ig_chars *c, size_t i, size_t end)
{
    size_t up = i;
    while (up < end && in_upper(s, c, up)) up++;
    size_t low = up;
    while (low < end && in_lower(s, c, low)) low++;
    if (low > up) return low - i;
    while (up > i && !in_lower(s, c, up - 1)) up--;
    return up - i;
}

/* upper+ lower* */
static size_t starts_upper(const ig_shape *s, const ig_chars *c, size_t i, size_t end)
{
    size_t at = i;
    while (at < end && in_upper(s, c, at)) at++;
    if (at == i) return 0;
    while (at < end && in_lower(s, c, at)) at++;
    return at - i;
}

typedef size_t (*body_fn)(const ig_shape *s, const ig_chars *c, size_t i, size_t end);

static size_t body_run(const ig_shape *s, const ig_chars *c, size_t i, size_t end)
{
    size_t at = i;
    while (at < end && in_body(s, c, at)) at++;
    return at - i;
}

/* A letter with its marks, then more, single spaces between letters included. */
static size_t phrase(const ig_shape *s, const ig_chars *c, size_t i, size_t end)
{
    (void)s;
    size_t at = i;
    while (at < end) {
        bool space = at > i && c->cp[at] == ' ' && at + 1 < end && (c->cls[at + 1] & IG_CHAR_L);
        if (!space && !(c->cls[at] & IG_CHAR_L)) break;
        at = run(c, at + 1 + space, end, IG_CHAR_M);
    }
    return at - i;
}

/* [^\r\n\p{L}\p{N}]? body: with the character in front where that works, else without. */
static size_t prefixed(const ig_shape *s, const ig_chars *c, size_t i, size_t end, body_fn body)
{
    size_t n = 0;
    if (i + 1 < end && !(c->cls[i] & (s->no_prefix | IG_CHAR_NEWLINE))) n = body(s, c, i + 1, end);
    return n ? n + 1 : body(s, c, i, end);
}

/* A word, and a contraction behind it where the shape has one. */
static size_t word(const ig_shape *s, const ig_chars *c, size_t i, size_t end)
{
    static const body_fn bodies[] = {
        [IG_WORD_RUN] = body_run, [IG_WORD_CASE] = ends_lower, [IG_WORD_TITLE] = ends_lower, [IG_WORD_PHRASE] = phrase};
    bool cased = s->word == IG_WORD_CASE || s->word == IG_WORD_TITLE;
    size_t n = prefixed(s, c, i, end, bodies[s->word]);
    if (n == 0 && cased) n = prefixed(s, c, i, end, starts_upper);
    if (n && s->suffix && i + n < end) n += contraction(c, i + n, end, true);
    return n;
}

static bool in_text(const char *chars, uint32_t cp)
{
    for (; *chars; chars++)
        if (cp == (uint32_t)*chars) return true;
    return false;
}

/*  ?marks+ and what may follow. */
static size_t marks(const ig_shape *s, const ig_chars *c, size_t i, size_t end)
{
    size_t at = i + (c->cp[i] == ' ' && i + 1 < end), stop = at;
    while (stop < end && (s->marks ? (c->cls[stop] & s->marks) != 0 : !(c->cls[stop] & (IG_CHAR_SPACE | s->not_marks))))
        stop++;
    if (stop == at) return 0;
    while (stop < end && in_text(s->after, c->cp[stop])) {
        stop++;
        if (s->after_once) break;
    }
    return stop - i;
}

/* \s{512}(?!\S) ... \s{4}(?!\S)|\s{1,2}(?!\S)|\s{1} */
static size_t power_spaces(size_t i, size_t stop, size_t end)
{
    size_t left = stop - i, most = stop == end ? left : left - 1;
    for (size_t n = 512; n >= 4; n /= 2)
        if (most >= n) return n;
    return most >= 2 ? 2 : 1;
}

/* The run of white space that i lies in, met many times where it is cut into powers of two. */
static const ig_run *space_run(const ig_chars *c, size_t i, size_t end)
{
    ig_run *r = c->memo;
    if (i < r->end) return r;
    *r = (ig_run){i, 0};
    for (; r->end < end && (c->cls[r->end] & IG_CHAR_SPACE); r->end++)
        if (c->cls[r->end] & IG_CHAR_NEWLINE) r->newline = r->end + 1;
    return r;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ and its variants. */
static size_t spaces(const ig_shape *s, const ig_chars *c, size_t i, size_t end)
{
    if (!(c->cls[i] & IG_CHAR_SPACE)) return 0;
    const ig_run *r = space_run(c, i, end);
    if (s->newline_single && (c->cls[i] & IG_CHAR_NEWLINE)) return 1;
    if (!s->newline_single && r->newline > i) return r->newline - i;
    if (s->powers) return power_spaces(i, r->end, end);
    return r->end == end || r->end - i == 1 ? r->end - i : r->end - i - 1;
}

static size_t digits(const ig_shape *s, const ig_chars *c, size_t i, size_t end)
{
    size_t n = 0;
    while (n < s->digits_max && i + n < end && (c->cls[i + n] & IG_CHAR_N)) n++;
    return n;
}

size_t ig_match_shape(const ig_chars *c, size_t i, size_t end, const void *params)
{
    const ig_shape *s = params;
    size_t n = 0;
    if (s->ascii_marks_word && i + 1 < end && c->cp[i] < 0x7F && (c->cls[i] & (IG_CHAR_P | IG_CHAR_S))) {
        size_t at = i + 1;
        while (at < end && (ascii_case(c->cp[at], 'a') || ascii_case(c->cp[at], 'A'))) at++;
        if (at > i + 1) return at - i;
    }
    if (s->no_han && (c->cls[i] & IG_CHAR_HAN)) return run(c, i, end, IG_CHAR_HAN) - i;
    if (s->contractions) n = contraction(c, i, end, true);
    if (n == 0) n = word(s, c, i, end);
    if (n == 0) n = digits(s, c, i, end);
    if (n == 0) n = marks(s, c, i, end);
    return n ? n : spaces(s, c, i, end);
}

size_t ig_match_run(const ig_chars *c, size_t i, size_t end, const void *params)
{
    size_t at = i;
    while (at < end && in_set(c, at, params)) at++;
    return at - i;
}

size_t ig_match_one(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)end;
    return in_set(c, i, params);
}

size_t ig_match_upto3(const ig_chars *c, size_t i, size_t end, const void *params)
{
    size_t at = i;
    while (at < end && at < i + 3 && in_set(c, at, params)) at++;
    return at - i;
}

size_t ig_match_space_run(const ig_chars *c, size_t i, size_t end, const void *params)
{
    if ((c->cls[i] & IG_CHAR_SPACE) && i + 1 < end) {
        size_t n = ig_match_run(c, i + 1, end, params);
        if (n) return n + 1;
    }
    return ig_match_run(c, i, end, params);
}

size_t ig_match_sets(const ig_chars *c, size_t i, size_t end, const void *params)
{
    for (const ig_set *s = params; s->cls || s->n_ranges; s++) {
        size_t n = ig_match_run(c, i, end, s);
        if (n) return n;
    }
    return 0;
}

static bool is_digit(uint32_t cp) { return cp >= '0' && cp <= '9'; }

size_t ig_match_three_digits(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    return end - i >= 3 && is_digit(c->cp[i]) && is_digit(c->cp[i + 1]) && is_digit(c->cp[i + 2]) ? 3 : 0;
}

size_t ig_match_space_end(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    if (!(c->cls[i] & IG_CHAR_SPACE)) return 0;
    size_t stop = same_run(c, i, end, IG_CHAR_SPACE);
    return stop == end ? stop - i : 0;
}

/* Cuts where (?=(\d{3})+(?!\d)) holds: in front of every third digit from the right. What is no ASCII digit stays
 * attached. */
size_t ig_match_thousands(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    size_t at = i;
    do {
        if (at >= c->memo->end) /* the end of this run of digits, once for all its places */
            for (c->memo->end = at + 1; c->memo->end < end && is_digit(c->cp[c->memo->end]); c->memo->end++) {}
        if (at > i && is_digit(c->cp[at]) && (c->memo->end - at) % 3 == 0) break;
    } while (++at < end);
    return at - i;
}

/* Numbers are cut into threes from the right, and the text before a number stays with its first group: what the
 * reference does for afmoe and, in place of \d{1,3}(?=(?:\d{3})*\b), for tiny_aya. */
size_t ig_match_grouped(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    size_t at = i;
    while (at < end && !(c->cls[at] & IG_CHAR_N)) at++;
    if (at == end) return end - i;
    size_t n = same_run(c, at, end, IG_CHAR_N) - at;
    return at - i + (n % 3 ? n % 3 : 3);
}

size_t ig_match_lines(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    size_t at = i;
    bool newline = c->cp[i] == '\n';
    while (at < end && (c->cp[at] == '\n') == newline) at++;
    return at - i;
}

size_t ig_match_not_space(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    size_t at = i;
    while (at < end && !(c->cls[at] & IG_CHAR_SPACE)) at++;
    return at - i;
}

/*  ?[^(\s|.,!?…。，、।۔،)]+ */
size_t ig_match_bloom(const ig_chars *c, size_t i, size_t end, const void *params)
{
    static const uint32_t out[] = {'(',    '|',    '.',    ',',    '!',    '?',    0x2026,
                                   0x3002, 0xFF0C, 0x3001, 0x0964, 0x06D4, 0x060C, ')'};
    (void)params;
    size_t at = i + (c->cp[i] == ' ' && i + 1 < end), stop = at;
    for (; stop < end && !(c->cls[stop] & IG_CHAR_SPACE); stop++) {
        bool excluded = false;
        for (size_t k = 0; k < sizeof out / sizeof *out; k++) excluded = excluded || c->cp[stop] == out[k];
        if (excluded) break;
    }
    return stop > at ? stop - i : 0;
}

static bool literal(const ig_chars *c, size_t i, size_t end, const char *text, size_t *n)
{
    for (*n = 0; text[*n]; ++*n)
        if (i + *n >= end || c->cp[i + *n] != (uint32_t)text[*n]) return false;
    return true;
}

/* <sentinel:[0-9]+> */
size_t ig_match_sentinel(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    size_t n, at;
    if (!literal(c, i, end, "<sentinel:", &n)) return 0;
    for (at = i + n; at < end && is_digit(c->cp[at]); at++) {}
    return at > i + n && at < end && c->cp[at] == '>' ? at + 1 - i : 0;
}

/* (IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z */
size_t ig_match_image(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    size_t n, at;
    if (!literal(c, i, end, "IMGIMG", &n)) return 0;
    for (at = i + n; at < end && at < i + n + 4 && c->cp[at] >= 'A' && c->cp[at] <= 'I'; at++) {}
    return at > i + n && at < end && c->cp[at] == 'Z' ? at + 1 - i : 0;
}

/* ([\t\n]|    |  ) */
size_t ig_match_tabs(const ig_chars *c, size_t i, size_t end, const void *params)
{
    (void)params;
    size_t n;
    if (c->cp[i] == '\t' || c->cp[i] == '\n') return 1;
    if (literal(c, i, end, "    ", &n)) return 4;
    return literal(c, i, end, "  ", &n) ? 2 : 0;
}
