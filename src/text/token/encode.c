/* Text to ids: special tokens are cut out first, the rest goes to the model's own encoder piece by piece. */
#include "base/sort.h"
#include "text/token/token_priv.h"

bool ig_work_symbols(ig_work *w, size_t n)
{
    if (n <= w->symbols_cap) return true;
    size_t cap = n < 64 ? 64 : n;
    ig_symbol *p = ig_realloc(w->symbols, cap, sizeof *p);
    if (!p) return false;
    w->symbols = p;
    w->symbols_cap = cap;
    return true;
}

/* Larger score first, then the one further left. */
static bool first(const ig_join *a, const ig_join *b) { return a->score > b->score || (!(a->score < b->score) && a->left < b->left); }

bool ig_work_push(ig_work *w, ig_join join)
{
    if (w->n_heap == w->heap_cap) {
        size_t cap = w->heap_cap ? w->heap_cap * 2 : 128;
        ig_join *p = ig_realloc(w->heap, cap, sizeof *p);
        if (!p) return false;
        w->heap = p;
        w->heap_cap = cap;
    }
    size_t i = w->n_heap++;
    for (size_t parent; i && first(&join, &w->heap[parent = (i - 1) / 2]); i = parent) w->heap[i] = w->heap[parent];
    w->heap[i] = join;
    return true;
}

ig_join ig_work_pop(ig_work *w)
{
    ig_join top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < w->n_heap; i = c) {
        if (c + 1 < w->n_heap && first(&w->heap[c + 1], &w->heap[c])) c++;
        if (!first(&w->heap[c], &last)) break;
        w->heap[i] = w->heap[c];
    }
    if (w->n_heap) w->heap[i] = last;
    return top;
}

static void work_fini(ig_work *w)
{
    ig_free(w->symbols);
    ig_free(w->heap);
    ig_free(w->cuts.end);
    ig_buf_fini(&w->text);
}

typedef struct hit { /* a special token found in the text */
    size_t at;
    uint32_t rank; /* index in special.order: smaller wins */
} hit;

typedef struct hits {
    hit *ptr;
    size_t n, cap;
} hits;

static bool add_hit(hits *h, hit x)
{
    if (h->n == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        hit *p = ig_realloc(h->ptr, cap, sizeof *p);
        if (!p) return false;
        h->ptr = p;
        h->cap = cap;
    }
    h->ptr[h->n++] = x;
    return true;
}

/* First of by_text[lo..hi) whose byte at `depth` is at least c. All have the same bytes before it and are longer than that. */
static uint32_t lower(const ig_vocab *v, uint32_t lo, uint32_t hi, size_t depth, unsigned c)
{
    const ig_special *s = &v->special;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if ((uint8_t)v->tokens[s->order[s->by_text[mid]]].ptr[depth] < c) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* Adds the special tokens that start at `at`: narrows the sorted texts byte by byte. */
static bool find_at(const ig_vocab *v, const char *text, size_t n, size_t at, bool parse, hits *h)
{
    const ig_special *s = &v->special;
    uint8_t c = (uint8_t)text[at];
    uint32_t lo = s->first[c], hi = s->first[c + 1];
    for (size_t depth = 1; lo < hi; depth++) {
        for (; lo < hi && v->tokens[s->order[s->by_text[lo]]].len == depth; lo++) {
            uint32_t rank = s->by_text[lo];
            if (!parse && v->types[s->order[rank]] != IG_TOKEN_USER) continue;
            if (!add_hit(h, (hit){at, rank})) return false;
        }
        if (at + depth == n) return true;
        c = (uint8_t)text[at + depth];
        lo = lower(v, lo, hi, depth, c);
        hi = lower(v, lo, hi, depth, c + 1u);
    }
    return true;
}

/* Every place where a special token stands. Control tokens count only when they are to be parsed. */
static bool find_hits(const ig_vocab *v, const char *text, size_t n, bool parse, hits *h)
{
    for (size_t at = 0; at < n; at++)
        if (!find_at(v, text, n, at, parse, h)) return false;
    return true;
}

static bool hit_first(const void *a, const void *b, const void *ctx)
{
    const hit *x = a, *y = b;
    (void)ctx;
    return x->rank != y->rank ? x->rank < y->rank : x->at < y->at;
}

/* Marks the hits that hold: in order of rank, each unless a better one took its bytes. mark[at] = rank + 1 at the start of a
 * taken token; taken[] covers its bytes. */
static void settle(const ig_vocab *v, const hits *h, uint32_t *mark, uint8_t *taken)
{
    for (size_t i = 0; i < h->n; i++) {
        size_t at = h->ptr[i].at, len = v->tokens[v->special.order[h->ptr[i].rank]].len;
        /* Hits come longest first: a free start and a free end mean that all between is free. */
        if (taken[at] || taken[at + len - 1]) continue;
        memset(taken + at, 1, len);
        mark[at] = h->ptr[i].rank + 1;
    }
}

typedef struct encoder {
    const ig_vocab *v;
    ig_work work;
    ig_ids *out;
    bool after_special; /* the next stretch starts the text or follows a special token */
} encoder;

static bool encode_stretch(encoder *e, const char *text, size_t n)
{
    const ig_vocab *v = e->v;
    if (n == 0) return true;
    ig_buf *b = &e->work.text;
    b->len = 0;
    bool prefix = v->kind == IG_VOCAB_SPM && v->space_prefix && e->after_special;
    e->after_special = false;
    if (v->kind == IG_VOCAB_WPM) return ig_wpm_encode(v, &e->work, text, n, e->out);
    if (v->kind == IG_VOCAB_BPE && !v->flags.escape_whitespaces) return ig_bpe_encode(v, &e->work, text, n, e->out);
    if (prefix && !ig_buf_add(b, "\xE2\x96\x81", 3)) return false;
    for (size_t i = 0; i < n; i++)
        if (!(text[i] == ' ' ? ig_buf_add(b, "\xE2\x96\x81", 3) : ig_buf_add(b, text + i, 1))) return false;
    if (v->kind == IG_VOCAB_BPE) return ig_bpe_encode(v, &e->work, b->ptr, b->len, e->out);
    return ig_spm_encode(v, &e->work, b->ptr, b->len, e->out);
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* In phi-3 vocabularies every special token but these. */
static bool strips_right(ig_str t) { return !ig_str_is(t, "<unk>") && !ig_str_is(t, "<s>") && !ig_str_is(t, "<|endoftext|>"); }

static bool encode_marked(encoder *e, const char *text, size_t n, const uint32_t *mark)
{
    size_t start = 0;
    for (size_t at = 0; at < n;) {
        if (mark[at] == 0) {
            at++;
            continue;
        }
        uint32_t id = e->v->special.order[mark[at] - 1];
        if (!encode_stretch(e, text + start, at - start) || !ig_ids_add(e->out, (int32_t)id)) return false;
        at += e->v->tokens[id].len;
        if (e->v->strip_right && strips_right(e->v->tokens[id]))
            while (at < n && mark[at] == 0 && is_space(text[at])) at++;
        start = at;
        e->after_special = true;
    }
    return encode_stretch(e, text + start, n - start);
}

static bool encode_text(encoder *e, const char *text, size_t n, bool parse)
{
    hits h = {0};
    bool ok = find_hits(e->v, text, n, parse, &h);
    if (ok && h.n == 0) return encode_stretch(e, text, n);
    uint32_t *mark = ok ? ig_calloc(n, sizeof *mark) : NULL;
    uint8_t *taken = ok ? ig_calloc(n, 1) : NULL;
    ok = mark && taken;
    if (ok) {
        ig_sort(h.ptr, h.n, sizeof *h.ptr, hit_first, NULL);
        settle(e->v, &h, mark, taken);
        ok = encode_marked(e, text, n, mark);
    }
    ig_free(mark);
    ig_free(taken);
    ig_free(h.ptr);
    return ok;
}

ig_status ig_tokenize(const ig_vocab *v, const char *text, size_t n, unsigned flags, ig_ids *out, ig_error *err)
{
    encoder e = {.v = v, .out = out, .after_special = true};
    bool add = flags & IG_TOKENIZE_ADD, ok = n < UINT32_MAX / 4;
    ig_buf_init(&e.work.text, SIZE_MAX / 2);
    if (!ok) return ig_fail(err, IG_TOO_LARGE, 0, "a text of %zu bytes cannot be tokenized at once, at most %u can", n, UINT32_MAX / 4);
    if (add && v->add_bos && v->bos >= 0) ok = ig_ids_add(out, v->bos);
    ok = ok && encode_text(&e, text, n, flags & IG_TOKENIZE_PARSE);
    if (ok && add && v->add_sep && v->sep >= 0) ok = ig_ids_add(out, v->sep);
    else if (ok && add && v->add_eos && v->eos >= 0) ok = ig_ids_add(out, v->eos);
    work_fini(&e.work);
    return ok ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory while tokenizing %zu bytes", n);
}
