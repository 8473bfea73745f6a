/* WordPiece (Schuster and Nakajima 2012; BERT): words are cut at white space, punctuation and CJK characters,
 * lower-cased and stripped of accents; each word is then covered by the longest pieces from the left, or becomes the
 * unknown token. Pieces at the start of a word are stored with U+2581 in front. */
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/token/token_priv.h"
#include "text/token/unicode.h"

/* First character of the canonical decomposition: the letter without its accents. */
static uint32_t base_char(uint32_t c)
{
    utf8proc_int32_t parts[32];
    int boundary = 0;
    if (c < 0x80) return c;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)c, parts, 32, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
    return n > 0 ? (uint32_t)parts[0] : c;
}

/* Covers word (with its marker) by pieces. */
static bool encode_word(const ig_vocab *v, const char *word, size_t n, ig_ids *out)
{
    size_t before = out->len;
    for (size_t at = 0; at < n;) {
        size_t len = n - at < v->longest ? n - at : v->longest;
        int32_t id = -1;
        while (len && (id = ig_vocab_find(v, word + at, len)) < 0) len--;
        if (id < 0) { /* one stretch without a piece makes the whole word unknown */
            out->len = before;
            return v->unk < 0 || ig_ids_add(out, v->unk);
        }
        if (!ig_ids_add(out, id)) return false;
        at += len;
    }
    return true;
}

static bool flush(const ig_vocab *v, ig_buf *word, ig_ids *out)
{
    bool ok = word->len <= 3 || encode_word(v, word->ptr, word->len, out);
    word->len = 3;
    return ok;
}

bool ig_wpm_encode(const ig_vocab *v, ig_work *w, const char *text, size_t n, ig_ids *out)
{
    const uint32_t dropped = IG_CHAR_CONTROL | (v->keep_accents ? 0 : IG_CHAR_M);
    ig_buf *word = &w->text;
    word->len = 0;
    if (!ig_buf_add(word, IG_MARKER, 3)) return false;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(text + at, n - at, &cp);
        at += len ? len : 1;
        if (!v->keep_accents) cp = base_char(cp);
        uint32_t cls = ig_char_class(cp);
        if (cls & IG_CHAR_SPACE) {
            if (!flush(v, word, out)) return false;
            continue;
        }
        if (cp == 0 || cp == 0xFFFD || (cls & dropped)) continue;
        char utf8[4];
        if (!v->keep_case) cp = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
        size_t n_utf8 = ig_utf8_encode(cp, utf8);
        bool alone = (cls & IG_CHAR_P) || (cp < 0x7F && (cls & IG_CHAR_S)) || ig_char_is_cjk(cp);
        if (alone && !flush(v, word, out)) return false;
        if (!ig_buf_add(word, utf8, n_utf8)) return false;
        if (alone && !flush(v, word, out)) return false;
    }
    return flush(v, word, out);
}
