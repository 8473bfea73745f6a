/* Special and user-defined tokens: cut out of a text before anything else is. As in the reference the longest token
 * goes first (the lower id on a tie), wherever in the text it stands, then the next longest in what is left, each from
 * the left.
 *
 * The tokens lie in the order of their bytes, so that a range of them narrowed byte by byte walks a trie. Every place
 * of the text offers the longest token that begins there; the best offer is taken, and a place whose offer was cut
 * short by a better token offers what fits into its gap. */
#include "base/sort.h"
#include "text/token/tj.h"

static bool is_special(const ig_vocab *v, size_t id)
{
    return v->types[id] >= IG_TOKEN_UNKNOWN && v->types[id] <= IG_TOKEN_USER && v->tokens[id].len > 0;
}

static bool by_length(const void *a, const void *b, const void *ctx)
{
    const ig_vocab *v = ctx;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    size_t x = v->tokens[i].len, y = v->tokens[j].len;
    return x != y ? x > y : i < j;
}

static bool by_bytes(const void *a, const void *b, const void *ctx)
{
    const ig_vocab *v = ctx;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    ig_str x = v->tokens[i], y = v->tokens[j];
    int c = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    if (c) return c < 0;
    return x.len != y.len ? x.len < y.len : i < j;
}

ig_status ig_special_index(ig_vocab *v, ig_error *err)
{
    ig_special *s = &v->special;
    for (size_t i = 0; i < v->n; i++) s->n += is_special(v, i);
    s->ids = ig_calloc(s->n, sizeof *s->ids);
    s->ranks = ig_calloc(s->n, sizeof *s->ranks);
    uint32_t *rank_of = ig_calloc(v->n, sizeof *rank_of);
    if (!s->ids || !s->ranks || !rank_of) {
        ig_free(rank_of);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the vocabulary");
    }
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        if (is_special(v, i)) s->ids[n++] = (uint32_t)i;
    ig_sort(s->ids, n, sizeof *s->ids, by_length, v);
    for (size_t i = 0; i < n; i++) rank_of[s->ids[i]] = (uint32_t)i;
    ig_sort(s->ids, n, sizeof *s->ids, by_bytes, v);
    for (size_t i = 0; i < n; i++) {
        s->ranks[i] = rank_of[s->ids[i]];
        s->first[(uint8_t)v->tokens[s->ids[i]].ptr[0] + 1]++;
    }
    for (size_t b = 0; b < 256; b++) s->first[b + 1] += s->first[b];
    ig_free(rank_of);
    return IG_OK;
}

/* First index of [lo, hi) whose byte `at` is not below c. All of the range are longer than `at`. */
static size_t lower_bound(const ig_vocab *v, size_t lo, size_t hi, size_t at, unsigned c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((uint8_t)v->tokens[v->special.ids[mid]].ptr[at] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Bytes from `at` to the next veil. */
size_t ig_veil_limit(ig_veils veils, size_t at)
{
    size_t lo = 0, hi = veils.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (veils.at[mid] <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < veils.n ? veils.at[lo] - at : SIZE_MAX;
}

/* Index of the longest special token at text, of at most n bytes; special.n: none. limit: of control tokens. */
static size_t longest(const ig_vocab *v, const char *text, size_t n, bool parse, size_t limit)
{
    const ig_special *s = &v->special;
    size_t found = s->n;
    if (n == 0) return found;
    size_t lo = s->first[(uint8_t)text[0]], hi = s->first[(uint8_t)text[0] + 1];
    for (size_t at = 1; lo < hi; at++) {
        bool taken = false; /* of several tokens with one text the lowest id counts, and it comes first */
        for (; lo < hi && v->tokens[s->ids[lo]].len == at; lo++) {
            if (!taken && ((parse && at <= limit) || v->types[s->ids[lo]] == IG_TOKEN_USER)) {
                found = lo;
                taken = true;
            }
        }
        if (at == n) break;
        unsigned c = (uint8_t)text[at];
        lo = lower_bound(v, lo, hi, at, c);
        hi = lower_bound(v, lo, hi, at, c + 1);
    }
    return found;
}

static bool offer(const ig_vocab *v, ig_work *w, const char *text, size_t at, size_t n, bool parse)
{
    size_t i = longest(v, text + at, n, parse, parse && w->veils.n ? ig_veil_limit(w->veils, at) : SIZE_MAX);
    if (i == v->special.n) return true;
    uint32_t id = v->special.ids[i];
    return ig_work_push(w, (ig_join){-(float)v->special.ranks[i], (uint32_t)at, id, (uint32_t)v->tokens[id].len});
}

static bool add_mark(ig_marks *m, ig_mark x)
{
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 16;
        ig_mark *p = ig_realloc(m->ptr, cap, sizeof *p);
        if (!p) return false;
        m->ptr = p;
        m->cap = cap;
    }
    m->ptr[m->n++] = x;
    return true;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* In phi-3 vocabularies every special token but these drops the white space behind it. */
static bool strips_right(const ig_vocab *v, uint32_t id)
{
    ig_str t = v->tokens[id];
    return v->strip_right && !ig_str_is(t, "<unk>") && !ig_str_is(t, "<s>") && !ig_str_is(t, "<|endoftext|>");
}

/* Takes the offers best first. owner[i]: 0 for a free byte, else 1 + the mark that it belongs to. */
static bool settle(const ig_vocab *v, ig_work *w, const char *text, size_t n, bool parse, uint32_t *owner,
                   ig_marks *out)
{
    while (w->n_heap) {
        ig_join o = ig_work_pop(w);
        size_t at = o.left, end = at + o.n_bytes, from = at, gap = 1;
        if (owner[at]) continue;
        if (owner[end - 1]) { /* what was taken before is no shorter, so it covers the far end if anything */
            while (!owner[at + gap]) gap++;
            if (!offer(v, w, text, at, gap, parse)) return false;
            continue;
        }
        while (strips_right(v, o.right) && end < n && !owner[end] && is_space(text[end])) end++;
        while ((int32_t)o.right == v->strip_left && from > 0 && !owner[from - 1] && is_space(text[from - 1])) from--;
        if (!add_mark(out, (ig_mark){from, end - from, (int32_t)o.right})) return false;
        for (size_t i = from; i < end; i++) owner[i] = (uint32_t)out->n;
    }
    return true;
}

/* Puts the marks in the order of the text. */
static bool order(ig_marks *m, const uint32_t *owner)
{
    ig_marks sorted = {0};
    size_t at = 0;
    while (sorted.n < m->n) {
        while (!owner[at]) at++;
        if (!add_mark(&sorted, m->ptr[owner[at] - 1])) break;
        at += sorted.ptr[sorted.n - 1].n;
    }
    bool ok = sorted.n == m->n;
    ig_free(m->ptr);
    *m = sorted;
    return ok;
}

bool ig_special_begins(const ig_vocab *v, const char *text, size_t n, bool (*skip)(const void *ctx, ig_str token),
                       const void *ctx)
{
    const ig_special *s = &v->special;
    size_t lo = s->first[(uint8_t)text[0]], hi = s->first[(uint8_t)text[0] + 1];
    for (size_t at = 1; lo < hi; at++) {
        for (; lo < hi && v->tokens[s->ids[lo]].len == at; lo++)
            if (v->types[s->ids[lo]] != IG_TOKEN_USER && (!skip || !skip(ctx, v->tokens[s->ids[lo]]))) return true;
        if (at == n) break;
        lo = lower_bound(v, lo, hi, at, (uint8_t)text[at]);
        hi = lower_bound(v, lo, hi, at, (unsigned)(uint8_t)text[at] + 1);
    }
    return false;
}

bool ig_vocab_veil(const ig_vocab *v, ig_str text, ig_str mark, bool (*skip)(const void *ctx, ig_str token),
                   const void *ctx, ig_buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        bool begins = v->tj ? ig_tj_special_begins(v->tj, text.ptr + i, text.len - i, skip, ctx)
                            : ig_special_begins(v, text.ptr + i, text.len - i, skip, ctx);
        if (!ig_buf_add(out, text.ptr + i, 1)) return false;
        if (!begins) continue;
        while (i + 1 < text.len && ((uint8_t)text.ptr[i + 1] & 0xC0) == 0x80)
            if (!ig_buf_add(out, text.ptr + ++i, 1)) return false;
        if (!ig_buf_add(out, mark.ptr, mark.len)) return false;
    }
    return true;
}

bool ig_special_find(const ig_vocab *v, ig_work *w, const char *text, size_t n, bool parse, ig_marks *out)
{
    w->n_heap = 0;
    if (v->special.n == 0) return true;
    for (size_t at = 0; at < n; at++)
        if (!offer(v, w, text, at, n - at, parse)) return false;
    if (w->n_heap == 0) return true;
    uint32_t *owner = ig_calloc(n, sizeof *owner);
    bool ok = owner && settle(v, w, text, n, parse, owner, out) && order(out, owner);
    ig_free(owner);
    return ok;
}
