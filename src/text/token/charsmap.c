#include "text/token/charsmap.h"

#include <utf8proc.h>

#include "base/utf8.h"

enum { GRAPHEME_SHORT = 6, BYTES_MAX = 16 << 20 };

/* ------------------------------------------------------------------------------------------------ reading */

ig_status ig_charsmap_read(ig_str bytes, ig_arena *arena, ig_charsmap *out, ig_error *err)
{
    const uint8_t *p = (const uint8_t *)bytes.ptr;
    *out = (ig_charsmap){0};
    if (bytes.len == 0) return IG_OK;
    uint32_t n =
        bytes.len >= 4 ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
    if (bytes.len < 8 || bytes.len > BYTES_MAX || n < 4 || n % 4 != 0 || n > bytes.len - 4)
        return ig_fail(err, IG_BAD_INPUT, 0, "the precompiled_charsmap has %zu bytes and names a trie of %u of them",
                       bytes.len, n);
    out->n_units = n / 4;
    out->units = ig_arena_alloc(arena, out->n_units, sizeof *out->units);
    const char *texts = ig_arena_copy(arena, bytes.ptr + 4 + n, bytes.len - 4 - n);
    if (!out->units || !texts) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the tokenizer");
    for (size_t i = 0; i < out->n_units; i++, p += 4)
        out->units[i] = (uint32_t)p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
    out->texts = (ig_str){texts, bytes.len - 4 - n}; /* the copy has a NUL behind it */
    return IG_OK;
}

static int digit64(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ig_status ig_charsmap_read_base64(ig_str text, ig_arena *arena, ig_charsmap *out, ig_error *err)
{
    ig_buf b;
    uint32_t bits = 0, n_bits = 0;
    bool ok = text.len % 4 == 0;
    ig_buf_init(&b, BYTES_MAX);
    while (text.len && text.ptr[text.len - 1] == '=') text.len--;
    for (size_t i = 0; ok && i < text.len; i++) {
        int d = digit64(text.ptr[i]);
        bits = bits << 6 | (uint32_t)(d & 63);
        n_bits += 6;
        ok = d >= 0;
        if (!ok || n_bits < 8) continue;
        n_bits -= 8;
        char c = (char)(bits >> n_bits);
        ok = ig_buf_add(&b, &c, 1);
    }
    ig_status st = ok ? ig_charsmap_read((ig_str){b.ptr, b.len}, arena, out, err)
                      : ig_fail(err, IG_BAD_INPUT, 0, "the precompiled_charsmap is no base64 text");
    ig_buf_fini(&b);
    return st;
}

/* ------------------------------------------------------------------------------------------------ looking up */

static uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

/* A text of the map that begins p[0..n): the shortest, or the longest. Returns its length, 0: none. */
static size_t find(const ig_charsmap *map, const char *p, size_t n, bool longest, uint32_t *value)
{
    size_t found = 0;
    if (map->n_units == 0) return 0;
    uint32_t at = offset_of(map->units[0]);
    for (size_t i = 0; i < n && p[i]; i++) {
        uint8_t c = (uint8_t)p[i];
        at ^= c;
        if (at >= map->n_units) break;
        uint32_t unit = map->units[at];
        if ((unit & (1u << 31 | 0xFF)) != c) break;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (at >= map->n_units) break;
        *value = map->units[at] & 0x7FFFFFFF;
        found = i + 1;
        if (!longest) break;
    }
    return found;
}

static bool add_value(const ig_charsmap *map, uint32_t value, ig_buf *out)
{
    if (value >= map->texts.len) return true; /* a broken map: the text goes */
    const char *p = map->texts.ptr + value;
    return ig_buf_add(out, p, strlen(p));
}

bool ig_charsmap_longest(const ig_charsmap *map, ig_str text, ig_buf *out)
{
    for (size_t at = 0; at < text.len;) {
        uint32_t value = 0, cp;
        size_t n = find(map, text.ptr + at, text.len - at, true, &value);
        if (n) {
            if (!add_value(map, value, out)) return false;
        } else {
            n = ig_utf8_decode(text.ptr + at, text.len - at, &cp);
            if (n == 0) n = 1;
            if (!ig_buf_add(out, text.ptr + at, n)) return false;
        }
        at += n;
    }
    return true;
}

static bool add_chars(const ig_charsmap *map, ig_str grapheme, ig_buf *out)
{
    for (size_t at = 0; at < grapheme.len;) {
        uint32_t value = 0, cp;
        size_t n = ig_utf8_decode(grapheme.ptr + at, grapheme.len - at, &cp);
        if (n == 0) n = 1;
        bool mapped = find(map, grapheme.ptr + at, n, false, &value) != 0;
        if (mapped ? !add_value(map, value, out) : !ig_buf_add(out, grapheme.ptr + at, n)) return false;
        at += n;
    }
    return true;
}

static bool add_grapheme(const ig_charsmap *map, ig_str grapheme, ig_buf *out)
{
    uint32_t value = 0;
    if (grapheme.len < GRAPHEME_SHORT && find(map, grapheme.ptr, grapheme.len, false, &value))
        return add_value(map, value, out);
    return add_chars(map, grapheme, out);
}

bool ig_charsmap_graphemes(const ig_charsmap *map, ig_str text, ig_buf *out)
{
    size_t start = 0, at = 0;
    utf8proc_int32_t state = 0, last = -1;
    while (at < text.len) {
        uint32_t cp;
        size_t n = ig_utf8_decode(text.ptr + at, text.len - at, &cp);
        utf8proc_int32_t c = n ? (utf8proc_int32_t)cp : 0xFFFD;
        if (last >= 0 && utf8proc_grapheme_break_stateful(last, c, &state)) {
            if (!add_grapheme(map, (ig_str){text.ptr + start, at - start}, out)) return false;
            start = at;
        }
        last = c;
        at += n ? n : 1;
    }
    return start == text.len || add_grapheme(map, (ig_str){text.ptr + start, text.len - start}, out);
}
