/* Literals of Python, and those of Gemma, to JSON: byte by byte, whatever the cut. */
#include "base/utf8.h"
#include "priv.h"

enum { L_START, L_KEY, L_NAME, L_COLON, L_VALUE, L_WORD, L_QUOTES, L_STRING, L_ESCAPE, L_CODE, L_AFTER, L_END };
#define GEMMA_QUOTE "<|\"|>"

static bool add(ig_buf *out, const char *z) { return ig_buf_add(out, z, strlen(z)); }
static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c == '-' || c == '+' ||
           c == '.' || c == '$' || (c & 0x80);
}

void rp_loose_start(rp_loose *l, char open)
{
    *l = (rp_loose){.state = open ? L_KEY : L_VALUE};
    if (open) l->nest[l->depth++] = open == '(' ? ')' : 'G';
}

static char top(const rp_loose *l) { return l->depth ? (char)l->nest[l->depth - 1] : 0; }
static bool keyed(char c) { return c == ')' || c == '}' || c == 'G'; }
static char closer(char c) { return c == 'G' ? '}' : c; }

/* A value, or the key of an entry, is complete. */
static rp_step ended(rp_loose *l)
{
    l->state = l->key ? L_COLON : l->depth ? L_AFTER : L_END;
    l->key = false;
    return l->state == L_END ? RP_DONE : RP_MORE;
}

static rp_step leave(rp_loose *l, ig_buf *out)
{
    char was = top(l);
    if (!add(out, was == ']' || was == 't' ? "]" : "}")) return RP_BAD;
    l->depth--;
    l->any = true;
    l->key = false;
    if (l->depth == 0) return l->state = L_END, RP_DONE;
    l->state = L_AFTER;
    return RP_MORE;
}

static rp_step enter(rp_loose *l, char close, ig_buf *out)
{
    if (l->depth >= RP_DEPTH || !add(out, close == ']' || close == 't' ? "[" : "{")) return RP_BAD;
    l->nest[l->depth++] = (uint8_t)close;
    l->any = false;
    l->state = keyed(close) ? L_KEY : L_VALUE;
    return RP_MORE;
}

/* A string begins with this quote; its second and third may follow. */
static rp_step quote(rp_loose *l, char c, ig_buf *out)
{
    l->quote = c, l->run = 1, l->triple = false;
    l->state = L_QUOTES;
    return add(out, "\"") ? RP_MORE : RP_BAD;
}

/* Keys and items are separated here, so that a comma before the closing bracket does not matter. */
static bool separate(rp_loose *l, ig_buf *out)
{
    bool comma = l->any && l->depth;
    l->any = true;
    return !comma || add(out, ", ");
}

static rp_step begin_key(rp_loose *l, char c, ig_buf *out)
{
    if (is_space(c)) return RP_MORE;
    if (c == closer(top(l))) {
        /* The opening brace of the arguments themselves was not written yet. */
        return leave(l, out);
    }
    if (c == '*') return RP_BAD;
    if (!separate(l, out)) return RP_BAD;
    l->key = true;
    if (c == '"' || c == '\'') return quote(l, c, out);
    if (c == '<') return l->state = L_QUOTES, l->quote = 'G', l->run = 1, add(out, "\"") ? RP_MORE : RP_BAD;
    if (!is_word(c) || !add(out, "\"")) return RP_BAD;
    l->state = L_NAME;
    return ig_buf_add(out, &c, 1) ? RP_MORE : RP_BAD;
}

static rp_step in_name(rp_loose *l, char c, ig_buf *out)
{
    if (is_word(c)) return ig_buf_add(out, &c, 1) ? RP_MORE : RP_BAD;
    if (!add(out, "\"")) return RP_BAD;
    l->key = false;
    l->state = L_COLON;
    return rp_loose_step(l, c, out);
}

static rp_step begin_value(rp_loose *l, char c, ig_buf *out)
{
    if (is_space(c)) return RP_MORE;
    bool list = top(l) == ']' || top(l) == 't';
    if (list && c == (top(l) == ']' ? ']' : ')')) return leave(l, out);
    if (list && !separate(l, out)) return RP_BAD;
    if (c == '"' || c == '\'') return quote(l, c, out);
    if (c == '<') return l->state = L_QUOTES, l->quote = 'G', l->run = 1, add(out, "\"") ? RP_MORE : RP_BAD;
    if (c == '[') return enter(l, ']', out);
    if (c == '(') return enter(l, 't', out);
    if (c == '{') return enter(l, l->depth && l->nest[0] == 'G' ? 'G' : '}', out);
    if (!is_word(c) || (c & 0x80)) return RP_BAD;
    l->state = L_WORD;
    l->word[0] = c, l->n_word = 1;
    return RP_MORE;
}

static bool write_word(const rp_loose *l, ig_buf *out)
{
    static const char *const words[][2] = {{"True", "true"},  {"False", "false"}, {"None", "null"},
                                           {"true", "true"},  {"false", "false"}, {"null", "null"},
                                           {"none", "null"}};
    ig_str w = {l->word, l->n_word};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ig_str_is(w, words[i][0])) return add(out, words[i][1]);
    return rp_json_valid(w) && ig_buf_add(out, w.ptr, w.len);
}

static rp_step in_word(rp_loose *l, char c, ig_buf *out)
{
    if (is_word(c)) {
        if (l->n_word == sizeof l->word) return RP_BAD;
        l->word[l->n_word++] = c;
        return RP_MORE;
    }
    if (!write_word(l, out)) return RP_BAD;
    l->state = L_AFTER;
    return l->depth ? rp_loose_step(l, c, out) : RP_BEFORE;
}

static rp_step after(rp_loose *l, char c, ig_buf *out)
{
    char t = top(l);
    if (is_space(c)) return RP_MORE;
    if (c == ',') return l->state = keyed(t) ? L_KEY : L_VALUE, RP_MORE;
    if (c == (t == 't' ? ')' : closer(t))) return leave(l, out);
    /* Strings beside each other are one in Python; nobody writes that. */
    return RP_BAD;
}

/* The quotes at the beginning of a string: '', ''' or Gemma's. */
static rp_step quotes(rp_loose *l, char c, ig_buf *out)
{
    if (l->quote == 'G') {
        if (c != GEMMA_QUOTE[l->run]) return RP_BAD;
        if (++l->run == sizeof GEMMA_QUOTE - 1) l->state = L_STRING, l->run = 0;
        return RP_MORE;
    }
    if (c == l->quote && l->run < 3) {
        if (++l->run == 3) l->triple = true, l->state = L_STRING, l->run = 0;
        return RP_MORE;
    }
    if (l->run == 2) { /* an empty string */
        if (!add(out, "\"") || ended(l) == RP_DONE) return RP_BEFORE;
        return rp_loose_step(l, c, out);
    }
    l->state = L_STRING, l->run = 0;
    return rp_loose_step(l, c, out);
}

static rp_step end_string(rp_loose *l, ig_buf *out) { return add(out, "\"") ? ended(l) : RP_BAD; }

static rp_step in_string(rp_loose *l, char c, ig_buf *out)
{
    if (l->quote == 'G') {
        if (c == GEMMA_QUOTE[l->run]) {
            if (++l->run < sizeof GEMMA_QUOTE - 1) return RP_MORE;
            return end_string(l, out);
        }
        if (!rp_escape(out, (ig_str){GEMMA_QUOTE, l->run})) return RP_BAD;
        l->run = c == '<';
        if (l->run) return RP_MORE;
        return rp_escape(out, (ig_str){&c, 1}) ? RP_MORE : RP_BAD;
    }
    if (c == l->quote) {
        if (!l->triple) return end_string(l, out);
        return ++l->run == 3 ? end_string(l, out) : RP_MORE;
    }
    for (; l->run; l->run--)
        if (!rp_escape(out, (ig_str){&l->quote, 1})) return RP_BAD;
    if (c == '\\') return l->state = L_ESCAPE, RP_MORE;
    return rp_escape(out, (ig_str){&c, 1}) ? RP_MORE : RP_BAD;
}

static rp_step add_code(rp_loose *l, uint32_t cp, ig_buf *out)
{
    char text[4];
    l->state = L_STRING;
    if (l->high && cp >= 0xDC00 && cp < 0xE000) cp = 0x10000 + ((l->high - 0xD800) << 10) + (cp - 0xDC00);
    l->high = 0;
    if (cp >= 0xD800 && cp < 0xDC00) return l->high = cp, RP_MORE;
    size_t n = ig_utf8_encode(cp, text);
    if (!n) n = ig_utf8_encode(0xFFFD, text);
    return rp_escape(out, (ig_str){text, n}) ? RP_MORE : RP_BAD;
}

static rp_step escape(rp_loose *l, char c, ig_buf *out)
{
    static const char from[] = "nrtbfv0a", to[] = "\n\r\t\b\f\v\0\a";
    const char *at = c && c != '0' ? strchr(from, c) : NULL;
    char two[2] = {'\\', c};
    l->state = L_STRING;
    if (c == '\n') return RP_MORE;
    if (c == 'x' || c == 'u' || c == 'U') {
        l->state = L_CODE, l->code = 0, l->run = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        return RP_MORE;
    }
    if (at) return rp_escape(out, (ig_str){&to[at - from], 1}) ? RP_MORE : RP_BAD;
    if (c == '\\' || c == '\'' || c == '"' || c == '/') return rp_escape(out, (ig_str){&c, 1}) ? RP_MORE : RP_BAD;
    return rp_escape(out, (ig_str){two, 2}) ? RP_MORE : RP_BAD; /* as Python: the backslash stays */
}

static rp_step in_code(rp_loose *l, char c, ig_buf *out)
{
    int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
    if (d < 0 || l->code > 0x10FFFF) return RP_BAD;
    l->code = l->code * 16 + (uint32_t)d;
    if (--l->run) return RP_MORE;
    return add_code(l, l->code, out);
}

rp_step rp_loose_step(rp_loose *l, char c, ig_buf *out)
{
    switch (l->state) {
    case L_KEY: return begin_key(l, c, out);
    case L_NAME: return in_name(l, c, out);
    case L_COLON:
        if (is_space(c)) return RP_MORE;
        if (c != (top(l) == ')' ? '=' : ':') || !add(out, ": ")) return RP_BAD;
        return l->state = L_VALUE, RP_MORE;
    case L_VALUE: return begin_value(l, c, out);
    case L_WORD: return in_word(l, c, out);
    case L_QUOTES: return quotes(l, c, out);
    case L_STRING: return in_string(l, c, out);
    case L_ESCAPE: return escape(l, c, out);
    case L_CODE: return in_code(l, c, out);
    case L_AFTER: return after(l, c, out);
    default: return RP_BAD;
    }
}

bool rp_loose_value(ig_str text, ig_buf *out)
{
    rp_loose l;
    text = rp_trim(text);
    rp_loose_start(&l, 0);
    for (size_t i = 0; i < text.len; i++) {
        rp_step s = rp_loose_step(&l, text.ptr[i], out);
        if (s == RP_DONE) return i + 1 == text.len;
        if (s != RP_MORE) return false;
    }
    return text.len && rp_loose_step(&l, ' ', out) == RP_BEFORE;
}

/* Types of a JSON value by its first byte. */
static unsigned type_of(ig_str json)
{
    switch (json.ptr[0]) {
    case '{': return RP_OBJECT;
    case '[': return RP_LIST;
    case '"': return RP_STRING;
    case 't':
    case 'f': return RP_BOOL;
    case 'n': return RP_NULL;
    default: return RP_NUMBER;
    }
}

bool rp_value(ig_str text, unsigned types, int typed, ig_buf *out)
{
    ig_str t = rp_trim(text);
    bool string = typed == 1 || (typed < 0 && types == RP_STRING);
    if (!string && rp_json_valid(t)) {
        unsigned type = type_of(t);
        /* What the schema does not know keeps quotes that could belong to the text. */
        bool fits = typed == 0 || (types & type && (type != RP_STRING || !(types & RP_STRING))) || !(types & RP_STRING);
        if (fits) return ig_buf_add(out, t.ptr, t.len);
    }
    if (!string && (typed == 0 || types & ~(unsigned)RP_STRING) && t.len) {
        size_t was = out->len;
        ig_buf trial;
        ig_buf_init(&trial, 2 * t.len + 64 < t.len ? 0 : 6 * t.len + 64);
        bool ok = t.ptr[0] != '"' && t.ptr[0] != '\'' && rp_loose_value(t, &trial) && trial.len;
        ok = ok && (typed == 0 || types & type_of((ig_str){trial.ptr, trial.len}));
        if (ok) ok = ig_buf_add(out, trial.ptr, trial.len);
        ig_buf_fini(&trial);
        if (ok) return true;
        if (out->failed) return false;
        out->len = was;
    }
    return ig_buf_add(out, "\"", 1) && rp_escape(out, text) && ig_buf_add(out, "\"", 1);
}
