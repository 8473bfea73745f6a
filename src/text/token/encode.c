/* Text to ids: special tokens are cut out first, the rest goes to the model's own encoder piece by piece. */
#include "base/sort.h"
#include "text/token/tj.h"

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
static bool first(const ig_join *a, const ig_join *b)
{
    return a->score > b->score || (!(a->score < b->score) && a->left < b->left);
}

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

void ig_work_fini(ig_work *w)
{
    ig_free(w->symbols);
    ig_free(w->heap);
    ig_free(w->cuts.end);
    ig_buf_fini(&w->text);
    ig_bpe_queue_free(w->queue);
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
    if (prefix && !ig_buf_add(b, IG_MARKER, 3)) return false;
    for (size_t i = 0; i < n; i++)
        if (!(text[i] == ' ' ? ig_buf_add(b, IG_MARKER, 3) : ig_buf_add(b, text + i, 1))) return false;
    if (v->kind == IG_VOCAB_BPE) return ig_bpe_encode(v, &e->work, b->ptr, b->len, e->out);
    return ig_spm_encode(v, &e->work, b->ptr, b->len, e->out);
}

static bool encode_text(encoder *e, const char *text, size_t n, bool parse)
{
    ig_marks marks = {0};
    size_t at = 0;
    bool ok = ig_special_find(e->v, &e->work, text, n, parse, &marks);
    for (size_t i = 0; ok && i < marks.n; i++) {
        const ig_mark *m = &marks.ptr[i];
        ok = encode_stretch(e, text + at, m->at - at) && ig_ids_add(e->out, m->id);
        at = m->at + m->n;
        e->after_special = true;
    }
    ok = ok && encode_stretch(e, text + at, n - at);
    ig_free(marks.ptr);
    return ok;
}

ig_status ig_tokenize(const ig_vocab *v, const char *text, size_t n, unsigned flags, ig_ids *out, ig_error *err)
{
    return ig_tokenize_veiled(v, text, n, flags, (ig_veils){NULL, 0}, out, err);
}

ig_status ig_tokenize_veiled(const ig_vocab *v, const char *text, size_t n, unsigned flags, ig_veils veils, ig_ids *out,
                             ig_error *err)
{
    encoder e = {.v = v, .work.veils = veils, .out = out, .after_special = true};
    bool add = flags & IG_TOKENIZE_ADD, ok = n < UINT32_MAX / 4;
    ig_buf_init(&e.work.text, SIZE_MAX / 2);
    if (!ok)
        return ig_fail(err, IG_TOO_LARGE, 0, "a text of %zu bytes cannot be tokenized at once, at most %u can", n,
                       UINT32_MAX / 4);
    if (v->tj) return ig_tj_encode(v, text, n, flags, veils, out, err);
    if (add && v->add_bos && v->bos >= 0) ok = ig_ids_add(out, v->bos);
    ok = ok && encode_text(&e, text, n, flags & IG_TOKENIZE_PARSE);
    if (ok && add && v->add_sep && v->sep >= 0)
        ok = ig_ids_add(out, v->sep);
    else if (ok && add && v->add_eos && v->eos >= 0)
        ok = ig_ids_add(out, v->eos);
    ig_work_fini(&e.work);
    return ok ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory while tokenizing %zu bytes", n);
}
