/* SentencePiece BPE: join the neighbours whose text is the piece with the highest score, leftmost first, until nothing
 * joins. (Kudo and Richardson 2018, arXiv 1808.06226.) A heap of candidate joins makes it n log n. What is no piece in
 * the end is written byte by byte. */
#include "text/token/token_priv.h"

/* Length that a lead byte announces; broken bytes count as one, like the reference. */
static uint32_t char_bytes(uint8_t lead) { return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

static bool offer(const ig_vocab *v, ig_work *w, const char *text, int32_t left, int32_t right)
{
    if (left < 0 || right < 0) return true;
    uint32_t n = w->symbols[left].n + w->symbols[right].n;
    int32_t id = ig_vocab_find(v, text + w->symbols[left].at, n);
    if (id < 0) return true;
    return ig_work_push(w, (ig_join){v->scores[id], (uint32_t)left, (uint32_t)right, n});
}

static bool write_symbol(const ig_vocab *v, const char *text, const ig_symbol *s, ig_ids *out)
{
    int32_t id = ig_vocab_find(v, text + s->at, s->n);
    if (id >= 0) return ig_ids_add(out, id);
    for (uint32_t i = 0; i < s->n; i++) {
        id = v->byte_id[(uint8_t)text[s->at + i]];
        if (id < 0) id = ig_vocab_find(v, text + s->at + i, 1);
        if (id < 0) id = v->unk;
        if (id >= 0 && !ig_ids_add(out, id)) return false;
    }
    return true;
}

static bool encode_run(const ig_vocab *v, ig_work *w, const char *text, size_t n, ig_ids *out)
{
    int32_t count = 0;
    if (!ig_work_symbols(w, n)) return false;
    for (size_t at = 0; at < n; count++) {
        uint32_t len = char_bytes((uint8_t)text[at]);
        if (len > n - at) len = (uint32_t)(n - at);
        w->symbols[count] = (ig_symbol){(uint32_t)at, len, count - 1, count + 1, -1};
        at += len;
    }
    w->symbols[count - 1].next = -1;
    w->n_heap = 0;
    for (int32_t i = 1; i < count; i++)
        if (!offer(v, w, text, i - 1, i)) return false;
    while (w->n_heap) {
        ig_join j = ig_work_pop(w);
        ig_symbol *a = &w->symbols[j.left], *b = &w->symbols[j.right];
        if (a->n == 0 || b->n == 0 || a->n + b->n != j.n_bytes) continue; /* one of them has changed since */
        a->n += b->n;
        b->n = 0;
        a->next = b->next;
        if (b->next >= 0) w->symbols[b->next].prev = (int32_t)j.left;
        if (!offer(v, w, text, a->prev, (int32_t)j.left) || !offer(v, w, text, (int32_t)j.left, a->next)) return false;
    }
    for (int32_t i = 0; i >= 0; i = w->symbols[i].next)
        if (!write_symbol(v, text, &w->symbols[i], out)) return false;
    return true;
}

static bool marker_at(const char *text, size_t at, size_t n) { return n - at >= 3 && !memcmp(text + at, IG_MARKER, 3); }

/* Where no token joins something to a marker behind it (v->words), nothing is ever merged across the start of a word:
 * words are encoded one by one, which gives the same ids with small heaps. */
bool ig_spm_encode(const ig_vocab *v, ig_work *w, const char *text, size_t n, ig_ids *out)
{
    size_t start = 0, at = 0;
    while (v->words && at < n) {
        uint32_t len = char_bytes((uint8_t)text[at]);
        bool marker = marker_at(text, at, n);
        at += len > n - at ? n - at : len;
        if (marker || at == n || !marker_at(text, at, n)) continue;
        if (!encode_run(v, w, text + start, at - start, out)) return false;
        start = at;
    }
    return encode_run(v, w, text + start, n - start, out);
}
