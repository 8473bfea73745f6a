/* Follows one JSON value byte by byte, however it is cut. */
#include "priv.h"

enum { J_VALUE, J_FIRST, J_KEY_FIRST, J_KEY, J_COLON, J_AFTER, J_STRING, J_ESCAPE, J_HEX, J_NUMBER, J_WORD, J_END };
/* Of J_NUMBER. */
enum { N_MINUS, N_ZERO, N_INT, N_POINT, N_FRACTION, N_E, N_SIGN, N_EXPONENT };
enum { IN_KEY = 64 }; /* of sub in strings: the string is a key */

void rp_json_start(rp_json *j) { *j = (rp_json){.state = J_VALUE}; }

static bool is_object(const rp_json *j)
{
    unsigned at = j->depth - 1u;
    return j->nest[at / 8] >> (at % 8) & 1;
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* A value is complete with this byte. */
static rp_step ended(rp_json *j)
{
    j->state = j->depth ? J_AFTER : J_END;
    return j->depth ? RP_MORE : RP_DONE;
}

static rp_step enter(rp_json *j, bool object)
{
    if (j->depth >= RP_DEPTH) return RP_BAD;
    unsigned at = j->depth++;
    j->nest[at / 8] = (uint8_t)((j->nest[at / 8] & ~(1u << (at % 8))) | (unsigned)object << (at % 8));
    j->state = object ? J_KEY_FIRST : J_FIRST;
    return RP_MORE;
}

static rp_step leave(rp_json *j)
{
    j->depth--;
    return ended(j);
}

static rp_step begin_value(rp_json *j, char c)
{
    j->sub = 0;
    if (c == '{' || c == '[') return enter(j, c == '{');
    if (c == '"') return j->state = J_STRING, RP_MORE;
    if (c == '-' || is_digit(c)) {
        j->state = J_NUMBER;
        j->sub = c == '-' ? N_MINUS : c == '0' ? N_ZERO : N_INT;
        return RP_MORE;
    }
    if (c != 't' && c != 'f' && c != 'n') return RP_BAD;
    j->state = J_WORD;
    j->word[0] = c, j->n_word = 1;
    return RP_MORE;
}

static rp_step after(rp_json *j, char c)
{
    if (is_space(c)) return RP_MORE;
    if (c == ',') return j->state = is_object(j) ? J_KEY : J_VALUE, RP_MORE;
    return c == (is_object(j) ? '}' : ']') ? leave(j) : RP_BAD;
}

/* A number or word has ended before c. */
static rp_step before(rp_json *j, char c)
{
    if (j->depth == 0) return j->state = J_END, RP_BEFORE;
    j->state = J_AFTER;
    return after(j, c);
}

static rp_step number(rp_json *j, char c)
{
    bool d = is_digit(c), e = c == 'e' || c == 'E';
    int to = -1;
    switch (j->sub) {
    case N_MINUS: to = c == '0' ? N_ZERO : d ? N_INT : -1; break;
    case N_ZERO: to = c == '.' ? N_POINT : e ? N_E : -1; break;
    case N_INT: to = d ? N_INT : c == '.' ? N_POINT : e ? N_E : -1; break;
    case N_POINT: to = d ? N_FRACTION : -1; break;
    case N_FRACTION: to = d ? N_FRACTION : e ? N_E : -1; break;
    case N_E: to = d ? N_EXPONENT : c == '+' || c == '-' ? N_SIGN : -1; break;
    default: to = d ? N_EXPONENT : -1; break;
    }
    bool whole = j->sub == N_ZERO || j->sub == N_INT || j->sub == N_FRACTION || j->sub == N_EXPONENT;
    if (to >= 0) return j->sub = (uint8_t)to, RP_MORE;
    return whole ? before(j, c) : RP_BAD;
}

static rp_step word(rp_json *j, char c)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (words[i][0] != j->word[0]) continue;
        if (words[i][j->n_word] != c) return RP_BAD;
        j->n_word++;
        return j->n_word == n ? ended(j) : RP_MORE;
    }
    return RP_BAD;
}

static rp_step in_string(rp_json *j, char c, char escaped[8], size_t *n)
{
    static const char hex[] = "0123456789abcdef";
    if (c == '\\') return j->state = J_ESCAPE, RP_MORE;
    if (c == '"') {
        if (!(j->sub & IN_KEY)) return ended(j);
        j->state = J_COLON;
        return RP_MORE;
    }
    if ((unsigned char)c >= 32) return RP_MORE;
    const char *at = c ? strchr("\b\f\n\r\t", c) : NULL;
    *n = at ? 2 : 6;
    if (at) {
        escaped[0] = '\\', escaped[1] = "bfnrt"[at - "\b\f\n\r\t"];
        return RP_MORE;
    }
    memcpy(escaped, "\\u00", 4);
    escaped[4] = hex[c >> 4], escaped[5] = hex[c & 15];
    return RP_MORE;
}

static bool is_hex(char c) { return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f'); }

static rp_step escape(rp_json *j, char c)
{
    if (j->state == J_HEX) {
        if (!is_hex(c)) return RP_BAD;
        j->sub--;
        if ((j->sub & 7) == 0) j->state = J_STRING;
        return RP_MORE;
    }
    if (c == 'u') return j->state = J_HEX, j->sub = (uint8_t)((j->sub & IN_KEY) | 4), RP_MORE;
    j->state = J_STRING;
    return c && strchr("\"\\/bfnrt", c) ? RP_MORE : RP_BAD;
}

static rp_step key(rp_json *j, char c)
{
    if (is_space(c)) return RP_MORE;
    if (c == '"') return j->state = J_STRING, j->sub = IN_KEY, RP_MORE;
    return c == '}' && j->state == J_KEY_FIRST ? leave(j) : RP_BAD;
}

rp_step rp_json_step(rp_json *j, char c, char escaped[8], size_t *n)
{
    *n = 0;
    switch (j->state) {
    case J_FIRST:
        if (c == ']') return leave(j);
        return is_space(c) ? RP_MORE : begin_value(j, c);
    case J_VALUE: return is_space(c) ? RP_MORE : begin_value(j, c);
    case J_KEY_FIRST:
    case J_KEY: return key(j, c);
    case J_COLON:
        if (is_space(c)) return RP_MORE;
        return c == ':' ? (j->state = J_VALUE, RP_MORE) : RP_BAD;
    case J_AFTER: return after(j, c);
    case J_STRING: return in_string(j, c, escaped, n);
    case J_ESCAPE:
    case J_HEX: return escape(j, c);
    case J_NUMBER: return number(j, c);
    case J_WORD: return word(j, c);
    default: return RP_BAD;
    }
}

bool rp_json_in_string(const rp_json *j) { return j->state >= J_STRING && j->state <= J_HEX; }

bool rp_json_valid(ig_str text)
{
    rp_json j;
    char escaped[8];
    size_t n;
    text = rp_trim(text);
    rp_json_start(&j);
    for (size_t i = 0; i < text.len; i++) {
        rp_step s = rp_json_step(&j, text.ptr[i], escaped, &n);
        if (s == RP_DONE) return i + 1 == text.len;
        if (s != RP_MORE || n) return false;
    }
    return rp_json_step(&j, ' ', escaped, &n) == RP_BEFORE && text.len;
}

bool rp_escape(ig_buf *out, ig_str text)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        const char *at = c ? strchr(from, c) : NULL;
        if (at) {
            char two[2] = {'\\', to[at - from]};
            if (!ig_buf_add(out, two, 2)) return false;
        } else if ((unsigned char)c < 32) {
            if (!ig_buf_printf(out, "\\u%04x", (unsigned)c)) return false;
        } else if (!ig_buf_add(out, &c, 1)) {
            return false;
        }
    }
    return true;
}
