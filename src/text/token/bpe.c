/* Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) over the pieces of a pre-tokenizer: join the neighbours
 * whose merge has the lowest rank, leftmost first. Symbols are token ids, so a merge is one look-up of a pair.
 * Byte-level vocabularies write bytes in GPT-2's alphabet; raw ones hold UTF-8 and fall back to <0xNN>. */
#include "base/utf8.h"
#include "text/token/token_priv.h"

enum {
    SHORT_PIECE = 24, /* up to here a plain scan for the best pair beats the heap */
    LONG_PIECE = 1024 /* from here buckets beat the heap */
};

static bool offer(const ig_vocab *v, ig_work *w, int32_t left, int32_t right)
{
    if (left < 0 || right < 0) return true;
    const ig_merge *m = ig_vocab_merge(v, w->symbols[left].id, w->symbols[right].id);
    if (!m) return true;
    uint32_t n = w->symbols[left].n + w->symbols[right].n;
    return ig_work_push(w, (ig_join){-(float)m->rank, (uint32_t)left, (uint32_t)right, n});
}

static void join(const ig_vocab *v, ig_work *w, int32_t left, int32_t right)
{
    ig_symbol *a = &w->symbols[left], *b = &w->symbols[right];
    a->id = ig_vocab_merge(v, a->id, b->id)->result;
    a->n += b->n;
    b->n = 0;
    a->next = b->next;
    if (b->next >= 0) w->symbols[b->next].prev = left;
}

static bool merge_long(const ig_vocab *v, ig_work *w, int32_t count)
{
    w->n_heap = 0;
    for (int32_t i = 1; i < count; i++)
        if (!offer(v, w, i - 1, i)) return false;
    while (w->n_heap) {
        ig_join j = ig_work_pop(w);
        const ig_symbol *a = &w->symbols[j.left], *b = &w->symbols[j.right];
        if (a->n == 0 || b->n == 0 || a->n + b->n != j.n_bytes || a->next != (int32_t)j.right) continue;
        join(v, w, (int32_t)j.left, (int32_t)j.right);
        if (!offer(v, w, a->prev, (int32_t)j.left) || !offer(v, w, (int32_t)j.left, a->next)) return false;
    }
    return true;
}

/* Symbols lie one behind the other, so that closing a gap moves a few bytes; every pair is looked up once. */
static void merge_short(const ig_vocab *v, ig_work *w, int32_t count)
{
    const ig_merge *pair[SHORT_PIECE];
    ig_symbol *s = w->symbols;
    for (int32_t i = 0; i + 1 < count; i++) pair[i] = ig_vocab_merge(v, s[i].id, s[i + 1].id);
    for (;;) {
        int32_t at = -1;
        uint32_t best = UINT32_MAX;
        for (int32_t i = 0; i + 1 < count; i++) {
            if (!pair[i] || pair[i]->rank >= best) continue;
            best = pair[i]->rank;
            at = i;
        }
        if (at < 0) break;
        s[at].id = pair[at]->result;
        s[at].n += s[at + 1].n;
        count--;
        for (int32_t i = at + 1; i < count; i++) {
            s[i] = s[i + 1];
            pair[i - 1] = pair[i];
        }
        if (at > 0) pair[at - 1] = ig_vocab_merge(v, s[at - 1].id, s[at].id);
        if (at + 1 < count) pair[at] = ig_vocab_merge(v, s[at].id, s[at + 1].id);
    }
    for (int32_t i = 0; i < count; i++) s[i].next = i + 1 < count ? i + 1 : -1;
}

bool ig_bpe_join(const ig_vocab *v, ig_work *w, int32_t count)
{
    if (count > LONG_PIECE) return ig_bpe_join_long(v, w, count);
    if (count > SHORT_PIECE) return merge_long(v, w, count);
    merge_short(v, w, count);
    return true;
}

static bool write_bytes(const ig_vocab *v, const char *p, size_t n, ig_ids *out)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = v->byte_id[(uint8_t)p[i]];
        if (id < 0) id = v->unk;
        if (id >= 0 && !ig_ids_add(out, id)) return false;
    }
    return true;
}

int32_t ig_bpe_whole(const ig_vocab *v, const char *piece, size_t n)
{
    char text[512];
    size_t len = 0;
    if (v->flags.raw_utf8) return ig_vocab_find(v, piece, n);
    if (n > sizeof text / 2) return -1;
    for (size_t i = 0; i < n; i++) len += ig_utf8_encode(ig_byte_to_char((uint8_t)piece[i]), text + len);
    return ig_vocab_find(v, text, len);
}

/* Starting symbols: bytes, or characters in a raw vocabulary. */
static int32_t start(const ig_vocab *v, ig_work *w, const char *piece, size_t n)
{
    int32_t count = 0;
    for (size_t at = 0; at < n; count++) {
        uint32_t cp, len = 1;
        int32_t id;
        if (v->flags.raw_utf8) {
            len = (uint32_t)ig_utf8_decode(piece + at, n - at, &cp);
            if (len == 0) len = 1;
            id = ig_vocab_find(v, piece + at, len);
        } else
            id = v->byte_id[(uint8_t)piece[at]];
        w->symbols[count] = (ig_symbol){(uint32_t)at, len, count - 1, count + 1, id};
        at += len;
    }
    w->symbols[count - 1].next = -1;
    return count;
}

static bool encode_piece(const ig_vocab *v, ig_work *w, const char *piece, size_t n, ig_ids *out)
{
    bool newlines = v->flags.whole_newlines && piece[0] == '\n';
    if (v->flags.ignore_merges || newlines) {
        int32_t id = ig_bpe_whole(v, piece, n);
        if (id >= 0) return ig_ids_add(out, id);
    }
    if (!ig_work_symbols(w, n)) return false;
    if (!ig_bpe_join(v, w, start(v, w, piece, n))) return false;
    for (int32_t i = 0; i >= 0; i = w->symbols[i].next) {
        const ig_symbol *s = &w->symbols[i];
        if (s->id >= 0 ? !ig_ids_add(out, s->id) : !write_bytes(v, piece + s->at, s->n, out)) return false;
    }
    return true;
}

bool ig_bpe_encode(const ig_vocab *v, ig_work *w, const char *text, size_t n, ig_ids *out)
{
    size_t at = 0;
    w->cuts.len = 0;
    if (!ig_pre_split(v->pre, text, n, &w->cuts)) return false;
    for (size_t i = 0; i < w->cuts.len; at = w->cuts.end[i++])
        if (!encode_piece(v, w, text + at, w->cuts.end[i] - at, out)) return false;
    return true;
}
