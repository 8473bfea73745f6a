/* Ids to text. */
#include "base/utf8.h"
#include "text/token/tj.h"

/* A token's text in GPT-2's alphabet as bytes. Characters outside the alphabet (broken vocabularies) are kept as they
 * are. */
static bool add_alphabet(ig_str t, ig_buf *out)
{
    for (size_t i = 0; i < t.len;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(t.ptr + i, t.len - i, &cp);
        int byte = len ? ig_char_to_byte(cp) : -1;
        char c = (char)byte;
        if (byte >= 0 ? !ig_buf_add(out, &c, 1) : !ig_buf_add(out, t.ptr + i, len ? len : 1)) return false;
        i += len ? len : 1;
    }
    return true;
}

/* U+2581 back to spaces; with `strip` one leading space is left out. */
static bool add_spaced(ig_str t, bool strip, ig_buf *out)
{
    for (size_t i = 0; i < t.len;) {
        bool marker = t.len - i >= 3 && !memcmp(t.ptr + i, IG_MARKER, 3);
        bool drop = strip && i == 0 && (marker || t.ptr[0] == ' ');
        if (!drop && (marker ? !ig_buf_add(out, " ", 1) : !ig_buf_add(out, t.ptr + i, 1))) return false;
        i += marker ? 3 : 1;
    }
    return true;
}

static bool add_piece(const ig_vocab *v, int32_t id, bool strip, bool special, ig_buf *out)
{
    ig_str t = v->tokens[id];
    uint8_t type = v->types[id];
    if (type == IG_TOKEN_CONTROL || type == IG_TOKEN_UNKNOWN) return !special || ig_buf_add(out, t.ptr, t.len);
    if (type == IG_TOKEN_USER) {
        if (strip && t.len && t.ptr[0] == ' ') t = (ig_str){t.ptr + 1, t.len - 1};
        return ig_buf_add(out, t.ptr, t.len);
    }
    if (type == IG_TOKEN_UNUSED) return true;
    bool alphabet = v->kind == IG_VOCAB_BPE && !v->flags.raw_utf8;
    if (type == IG_TOKEN_BYTE) {
        static const char digits[] = "0123456789ABCDEF";
        if (v->kind == IG_VOCAB_BPE && alphabet) return true;
        char c = (char)((strchr(digits, t.ptr[3]) - digits) * 16 + (strchr(digits, t.ptr[4]) - digits));
        return (strip && c == ' ') || ig_buf_add(out, &c, 1);
    }
    return alphabet ? add_alphabet(t, out) : add_spaced(t, strip, out);
}

bool ig_token_piece(const ig_vocab *v, int32_t id, bool special, ig_buf *out)
{
    if (id < 0 || (size_t)id >= v->n) return true;
    return v->tj ? ig_tj_piece(v, id, special, out) : add_piece(v, id, false, special, out);
}

/* What the reference calls cleaning up spaces, over p[0..n); three passes in its order, each looks at the text before
 * it. */
static size_t drop_before_marks(char *p, size_t n)
{
    size_t to = n ? 1 : 0;
    for (size_t i = 1; i < n; i++) {
        char c = p[i], last = p[i - 1];
        if (last == ' ' && (c == '?' || c == '!' || c == '.' || c == ',')) to--;
        p[to++] = c;
    }
    return to;
}

static size_t drop_around_quote(char *p, size_t n)
{
    size_t to = n ? 1 : 0;
    for (size_t i = 1; i < n; i++) {
        char c = p[i];
        if (c == '\'' && i + 1 < n && p[i - 1] == ' ' && p[i + 1] == ' ') {
            to--;
            p[++i] = 0;
        }
        p[to++] = c;
    }
    return to;
}

static bool contraction(const char *p, size_t n)
{
    if (n < 2 || p[0] != '\'') return false;
    if (p[1] == 's' || p[1] == 'm') return true;
    return n > 2 && (p[1] == 'r' || p[1] == 'v') && p[2] == 'e';
}

static size_t drop_before_contractions(char *p, size_t n)
{
    size_t to = n ? 1 : 0;
    for (size_t i = 1; i < n; i++) {
        char c = p[i];
        if (p[i - 1] == ' ' && contraction(p + i, n - i)) to--;
        p[to++] = c;
    }
    return to;
}

ig_status ig_detokenize(const ig_vocab *v, const int32_t *ids, size_t n, unsigned flags, ig_buf *out, ig_error *err)
{
    size_t start = out->len;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= v->n)
            return ig_fail(err, IG_BAD_INPUT, i, "token id %d at position %zu is outside the vocabulary of %zu tokens",
                           ids[i], i, v->n);
    if (v->tj) return ig_tj_decode(v, ids, n, flags & IG_DETOKENIZE_SPECIAL, out, err);
    bool strip = v->space_prefix; /* the space that encoding put in front; behind a BOS it stays */
    if (flags & IG_DETOKENIZE_STRIP) {
        if (v->add_bos && n && ids[0] == v->bos) ids++, n--, strip = false;
        if (v->add_eos && n && ids[n - 1] == v->eos) n--;
    }
    for (size_t i = 0; i < n; i++) {
        if (!add_piece(v, ids[i], strip, flags & IG_DETOKENIZE_SPECIAL, out))
            return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the text of %zu tokens", n);
        strip = false;
    }
    if (!v->clean_spaces || out->len == start) return IG_OK;
    char *p = out->ptr + start;
    size_t len = out->len - start;
    len = drop_before_marks(p, len);
    len = drop_around_quote(p, len);
    len = drop_before_contractions(p, len);
    out->len = start + len;
    return IG_OK;
}
