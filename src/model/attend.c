/* Attention over KV pages: scaled dot products, softmax, weighted sum of values, grouped queries.
 *
 * A query walks the pages of its sequence from its first visible position up, with a running maximum and sum (online
 * softmax, Milakov and Gimelshein 2018, arXiv 1805.02867). These start anew with every span of positions, and spans are
 * added up in their order (Dao et al. 2023, Flash-Decoding), so that several threads may have a part of a single row.
 * What a query computes in a page or a span depends on its position alone: chunking, batch, tile and threads change
 * nothing. A tile of queries shares the walk, so that a page is fetched once for
 * several rows; whole groups of them that see the same keys go side by side (ig_kv_kernels.attend), to the same bit. */
#include <math.h>

#include "model/run.h"

static void store_piece(void *ctx, size_t row, unsigned thread)
{
    const ig_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    const ig_layer *w = j->op->layer;
    const ig_kv_kernels *kv = &run->k->kv[run->opt.kv];
    ig_kv_layout l = ig_layer_kv(run->m, w, run->opt.kv);
    uint32_t pos = run->rows[row].pos, at = pos % IG_PAGE_TOKENS;
    uint8_t *page = ig_page_at(run, w, run->items[run->rows[row].item].seq, pos / IG_PAGE_TOKENS);
    const float *k = ig_row_at(run, j->op->in, row), *v = ig_row_at(run, j->op->in2, row);
    for (uint32_t g = 0; g < w->n_heads_kv; g++) {
        size_t slot = (size_t)g * IG_PAGE_TOKENS + at;
        kv->store(k + (size_t)g * w->head_k, page + l.keys + slot * l.k_bytes, w->head_k);
        if (!w->absorbed) kv->store(v + (size_t)g * w->head_v, page + l.values + slot * l.v_bytes, w->head_v);
    }
}

void ig_op_store(ig_run *run, const ig_op *op) { ig_run_pieces(run, op, store_piece, run->n_rows); }

enum { SPAN = IG_SPAN_PAGES * IG_PAGE_TOKENS };

typedef struct query { /* one query head */
    const float *q;
    ig_softmax now, before; /* of the span it walks, of those before */
    float slope;            /* of the linear distance bias, 0: none */
    uint32_t head, pos;     /* head: of the distance biases */
    uint32_t from, to;      /* visible positions, to included */
    const uint8_t *mask;    /* chosen blocks, or NULL */
} query;

typedef struct walk { /* what all queries of a piece share */
    const ig_run *run;
    const ig_op *op;
    const ig_layer *w;
    const ig_kv_kernels *kv;
    ig_kv_layout layout;
    const ig_seq *seq; /* whose pages are read */
    uint32_t g;
    ig_attend_room room;
    uint32_t from, to; /* positions that the piece is about, to included */
    bool apart;        /* they are one span, and what is seen of it stays in room.span */
    bool beside;       /* room.q holds the queries side by side, and nothing is done to their scores */
} walk;

/* T5's bucket of the distance from key to query. */
static uint32_t bucket(const ig_model *m, const walk *a, uint32_t pos, uint32_t key)
{
    bool both = a->op->from == IG_SEE_ALL;
    uint32_t n = both ? m->hp.n_buckets / 2 : m->hp.n_buckets, base = both && key > pos ? n : 0;
    uint32_t r = key > pos ? (both ? key - pos : 0) : pos - key, exact = n / 2;
    if (r < exact) return base + r;
    double b = exact + floor(log((double)r / exact) / log(128.0 / exact) * (n - exact));
    return base + (b < n - 1 ? (uint32_t)b : n - 1);
}

/* Soft cap, biases and mask on the scores s of keys first.. of a page. Returns whether any key is left. */
static bool bias_scores(const walk *a, const query *q, float *s, uint32_t first, uint32_t n)
{
    const ig_model *m = a->run->m;
    float cap = m->hp.attn_softcap;
    bool any = q->mask == NULL;
    for (uint32_t i = 0; cap > 0 && i < n; i++) s[i] = cap * tanhf(s[i] / cap);
    for (uint32_t i = 0; q->slope > 0 && i < n; i++)
        s[i] -= q->slope * (float)(q->pos > first + i ? q->pos - first - i : first + i - q->pos);
    for (uint32_t i = 0; a->op->w && i < n; i++)
        s[i] += a->op->w[(size_t)bucket(m, a, q->pos, first + i) * a->w->n_heads + q->head];
    for (uint32_t i = 0; q->mask && i < n; i++) {
        uint32_t block = (first + i) / m->mask_block;
        bool chosen = q->mask[block / 8] >> block % 8 & 1;
        if (!chosen) s[i] = -INFINITY;
        any = any || chosen;
    }
    return any;
}

static float exp_of(const ig_kernels *k, float x, float max) { return k->exp_sum(&x, max, 1); }

static void raise_max(const ig_kernels *k, ig_softmax *s, float max, uint32_t n)
{
    if (!(max > *s->max)) return;
    if (*s->max > -INFINITY) {
        float shrink = exp_of(k, *s->max, max);
        *s->sum *= shrink;
        k->scale(s->acc, shrink, n);
    }
    *s->max = max;
}

/* Adds what was seen of one more span, of n values. */
static void add_span(const ig_kernels *k, ig_softmax *to, const ig_softmax *span, uint32_t n)
{
    if (*span->max == -INFINITY) return;
    if (*to->max == -INFINITY) {
        *to->max = *span->max;
        *to->sum = *span->sum;
        memcpy(to->acc, span->acc, n * sizeof *to->acc);
        return;
    }
    raise_max(k, to, *span->max, n);
    float weight = exp_of(k, *span->max, *to->max);
    *to->sum += weight * *span->sum;
    k->add_scaled(to->acc, span->acc, weight, n);
}

/* Scores to weights. False: the query sees none of the keys. */
static bool weigh(const walk *a, query *q, float *scores, uint32_t first, uint32_t n)
{
    const ig_kernels *k = a->run->k;
    if (!bias_scores(a, q, scores, first, n)) return false;
    raise_max(k, &q->now, k->max(scores, n), a->w->head_v);
    *q->now.sum += k->exp_sum(scores, *q->now.max, n);
    return true;
}

/* Rows of a page that the walk comes to next, fetched while this page is computed: a few lines a call, because memory
 * takes no more at once. The processor's own prefetchers do not see the way from page to page. */
typedef struct ahead {
    const uint8_t *at, *end; /* equal: nothing is left */
    size_t part;             /* bytes a call */
} ahead;

static void fetch_part(ahead *f, bool far)
{
    enum { LINE = 64 };
    const uint8_t *stop = (size_t)(f->end - f->at) > f->part ? f->at + f->part : f->end;
    if (far) {
        for (; f->at < stop; f->at += LINE) __builtin_prefetch(f->at, 0, 2);
    } else {
        for (; f->at < stop; f->at += LINE) __builtin_prefetch(f->at);
    }
    if (f->at > f->end) f->at = f->end;
}

/* How the pairs of n_q queries and n keys are cut into calls of the kernels, which is the same to every bit. */
typedef struct cut {
    uint32_t queries, keys;
} cut;

static cut cut_for(uint32_t n_q) { return n_q > 8 ? (cut){8, IG_PAGE_TOKENS} : (cut){n_q, 8}; }

static ahead fetch_over(cut c, uint32_t n_q, uint32_t n, const uint8_t *next, size_t bytes)
{
    if (!next || !n_q) return (ahead){0};
    size_t calls = (size_t)((n_q + c.queries - 1) / c.queries) * ((n + c.keys - 1) / c.keys);
    return (ahead){next, next + bytes, bytes / calls + 1};
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* next: the rows of keys (of values) to fetch, or NULL. */
static void score(const walk *a, const float *const *q, uint32_t n_q, const uint8_t *keys, uint32_t n,
                  const uint8_t *next)
{
    size_t row = a->layout.k_bytes;
    cut c = cut_for(n_q);
    ahead f = fetch_over(c, n_q, n, next, IG_PAGE_TOKENS * row);
    for (uint32_t i = 0; i < n_q; i += c.queries)
        for (uint32_t j = 0; j < n; j += c.keys) {
            fetch_part(&f, a->run->k->fetch_far);
            a->kv->scores_of(q + i, least(c.queries, n_q - i), keys + j * row, row, a->op->a,
                             a->room.scores + (size_t)i * IG_PAGE_TOKENS + j, IG_PAGE_TOKENS, a->w->head_k,
                             least(c.keys, n - j));
        }
}

static void mix(const walk *a, float *const *acc, uint32_t n_q, const uint8_t *values, uint32_t n, const uint8_t *next)
{
    size_t row = a->layout.v_bytes;
    cut c = cut_for(n_q);
    ahead f = fetch_over(c, n_q, n, next, IG_PAGE_TOKENS * row);
    for (uint32_t i = 0; i < n_q; i += c.queries)
        for (uint32_t j = 0; j < n; j += c.keys) {
            fetch_part(&f, a->run->k->fetch_far);
            a->kv->mix_of(a->room.scores + (size_t)i * IG_PAGE_TOKENS + j, IG_PAGE_TOKENS, values + j * row, row,
                          acc + i, least(c.queries, n_q - i), a->w->head_v, least(c.keys, n - j));
        }
}

typedef struct block { /* what some positions of a page hold for one KV head */
    const uint8_t *keys, *values;
    const uint8_t *next_keys, *next_values; /* rows of the page behind; NULL: none, or fetched already */
} block;

/* A few queries see the same keys: positions first..first+n-1, in one page; keys and values point at the first. */
static void see_few(const walk *a, query *queries, uint32_t n_q, block b, uint32_t first, uint32_t n)
{
    const float *q[IG_QUERIES_MAX];
    float *acc[IG_QUERIES_MAX];
    uint32_t left = 0;
    for (uint32_t c = 0; c < n_q; c++) q[c] = queries[c].q;
    score(a, q, n_q, b.keys, n, b.next_keys);
    for (uint32_t c = 0; c < n_q; c++) {
        float *own = a->room.scores + (size_t)c * IG_PAGE_TOKENS, *to = a->room.scores + (size_t)left * IG_PAGE_TOKENS;
        if (!weigh(a, &queries[c], own, first, n)) continue;
        if (to != own) memcpy(to, own, n * sizeof *to);
        acc[left++] = queries[c].now.acc;
    }
    mix(a, acc, left, b.values, n, b.next_values);
}

/* Queries from..to - 1 of all of them, which lie side by side. */
static void see_many(const walk *a, const query *queries, uint32_t from, uint32_t to, block b, uint32_t n)
{
    a->kv->attend(&(ig_attend_args){
        .q = a->room.q + (size_t)from * a->w->head_k,
        .k = b.keys,
        .v = b.values,
        .k_stride = a->layout.k_bytes,
        .v_stride = a->layout.v_bytes,
        .next_k = b.next_keys,
        .next_v = b.next_values,
        .scale = a->op->a,
        .n_q = to - from,
        .n_k = a->w->head_k,
        .n_v = a->w->head_v,
        .n_keys = n,
        .max = queries[from].now.max,
        .sum = queries[from].now.sum,
        .acc = queries[from].now.acc,
        .s = a->room.scores,
        .room = a->room.rows,
    });
}

/* Queries from..to - 1 see the same keys, n from position first on. */
static void see_page(const walk *a, query *queries, uint32_t from, uint32_t to, block b, uint32_t first, uint32_t n)
{
    uint32_t low = (from + IG_SIDE - 1) / IG_SIDE * IG_SIDE, high = to / IG_SIDE * IG_SIDE;
    if (!a->beside || n % IG_SIDE || low >= high) {
        see_few(a, queries + from, to - from, b, first, n);
        return;
    }
    see_many(a, queries, low, high, b, n);
    b.next_keys = b.next_values = NULL;
    if (from < low) see_few(a, queries + from, low - from, b, first, n);
    if (high < to) see_few(a, queries + high, to - high, b, first, n);
}

/* Positions of the page from `start` on that the query sees; false: none. */
static bool sees(const query *q, uint32_t start, uint32_t *low, uint32_t *high)
{
    uint32_t last = start + IG_PAGE_TOKENS - 1;
    *low = q->from > start ? q->from : start;
    *high = q->to < last ? q->to : last;
    return *low <= *high && q->from <= last;
}

static block block_at(const walk *a, uint32_t p)
{
    const uint8_t *page = ig_page_at(a->run, a->w, a->seq, p);
    return (block){.keys = page + a->layout.keys + (uint64_t)a->g * IG_PAGE_TOKENS * a->layout.k_bytes,
                   .values = page + a->layout.values + (uint64_t)a->g * IG_PAGE_TOKENS * a->layout.v_bytes};
}

/* A span begins at `start`: those that have seen something of the one before put it by. */
static void next_span(const walk *a, query *queries, uint32_t n, uint32_t start)
{
    uint32_t values = a->w->head_v;
    for (uint32_t i = 0; i < n; i++) {
        query *q = &queries[i];
        if (q->from >= start || q->to < start) continue;
        add_span(a->run->k, &q->before, &q->now, values);
        *q->now.max = -INFINITY;
        *q->now.sum = 0;
        memset(q->now.acc, 0, values * sizeof *q->now.acc);
    }
}

static void walk_pages(const walk *a, query *queries, uint32_t n, uint32_t heads)
{
    uint32_t from = queries[0].from, to = queries[0].to;
    for (uint32_t i = heads; i < n; i += heads) {
        if (queries[i].from < from) from = queries[i].from;
        if (queries[i].to > to) to = queries[i].to;
    }
    uint32_t last = to / IG_PAGE_TOKENS;
    block next = block_at(a, from / IG_PAGE_TOKENS);
    for (uint32_t p = from / IG_PAGE_TOKENS; p <= last; p++) {
        uint32_t start = p * IG_PAGE_TOKENS;
        if (start % SPAN == 0) next_span(a, queries, n, start);
        block b = next;
        if (p < last) {
            next = block_at(a, p + 1);
            b.next_keys = next.keys;
            b.next_values = next.values == next.keys ? NULL : next.values;
        }
        for (uint32_t i = 0, low, high, x, y, some; i < n; i += some) {
            some = 1;
            if (!sees(&queries[i], start, &low, &high)) continue;
            while (i + some < n && sees(&queries[i + some], start, &x, &y) && x == low && y == high) some++;
            block part = b;
            part.keys += (low - start) * a->layout.k_bytes;
            part.values += (low - start) * a->layout.v_bytes;
            see_page(a, queries, i, i + some, part, low, high - low + 1);
            b.next_keys = b.next_values = NULL;
        }
    }
}

/* Visible positions of a row. */
static void set_range(const walk *a, query *q, const ig_item *item)
{
    uint32_t window = a->w->window, half = window / 2;
    q->from = 0;
    q->to = q->pos;
    if (a->op->from == IG_SEE_SOURCE) {
        q->to = a->seq->n_tokens - 1;
    } else if (a->op->from == IG_SEE_ALL) {
        q->to = item->end - 1;
        if (window) { /* half to each side */
            if (q->pos > half) q->from = q->pos - half;
            if (q->to - q->pos > half) q->to = q->pos + half;
        }
    } else if (window && q->pos >= window)
        q->from = q->pos - window + 1;
}

/* Query i of those whose state `of` holds; a sink is a score more, with no value, at the head of what is seen. */
static ig_softmax start_softmax(const walk *a, const ig_softmax *of, uint32_t i, const float *sink)
{
    uint32_t values = a->w->head_v;
    ig_softmax s = {of->acc + (size_t)i * values, of->max + i, of->sum + i};
    memset(s.acc, 0, values * sizeof *s.acc);
    *s.max = sink ? *sink : -INFINITY;
    *s.sum = sink ? 1 : 0;
    return s;
}

static float alibi_slope(const ig_hparams *hp, uint32_t n_heads, uint32_t h)
{
    if (hp->alibi_max == 0) return 0;
    uint32_t n = 1;
    while (n * 2 <= n_heads) n *= 2;
    double m0 = exp2(-(double)hp->alibi_max / n), m1 = exp2(-(double)hp->alibi_max / 2 / n);
    return (float)(h < n ? pow(m0, h + 1.0) : pow(m1, 2.0 * (h - n) + 1));
}

/* Query i of those that walk together. */
static query start_query(const walk *a, const ig_item *item, uint32_t row, uint32_t head, uint32_t i)
{
    const ig_run *run = a->run;
    query q = {.q = ig_row_at(run, a->op->in, row) + (size_t)head * a->op->in_stride,
               .slope = alibi_slope(&run->m->hp, a->w->n_heads, head),
               .head = head,
               .pos = run->rows[row].pos,
               .mask = ig_masked(run, a->w) ? ig_mask_row(run, row, run->m->mask_groups > 1 ? a->g : 0) : NULL};
    set_range(a, &q, item);
    bool sink = a->w->sinks && !a->op->w && q.from >= a->from;
    q.now = start_softmax(a, &a->room.span, i, sink ? &a->w->sinks[head] : NULL);
    q.before = start_softmax(a, &a->room.before, i, NULL);
    if (q.from < a->from) q.from = a->from;
    if (q.to > a->to) q.to = a->to;
    return q;
}

/* Lays as many of n queries side by side as make whole groups, where the kernels can do more with them. */
static void lay_beside(walk *a, const query *queries, uint32_t n)
{
    uint32_t wide = a->w->head_k;
    uint32_t seen = queries[n - 1].to - queries[n - 1].from + 1;
    bool biased = a->run->m->hp.attn_softcap > 0 || a->op->w || queries[0].slope > 0 || queries[0].mask;
    bool whole = wide % IG_SIDE == 0 && a->w->head_v % IG_SIDE == 0 && (seen >= IG_PAGE_TOKENS || seen % IG_SIDE == 0);
    a->beside = a->kv->attend && n >= IG_SIDE && whole && !biased;
    for (uint32_t c = 0; a->beside && c + IG_SIDE <= n; c += IG_SIDE) {
        float *to = a->room.q + (size_t)c * wide;
        for (uint32_t i = 0; i < wide; i++)
            for (uint32_t k = 0; k < IG_SIDE; k++) *to++ = queries[c + k].q[i];
    }
}

static const ig_softmax *seen_at_all(const walk *a, query *q)
{
    if (*q->before.max == -INFINITY) return &q->now;
    add_span(a->run->k, &q->before, &q->now, a->w->head_v);
    return &q->before;
}

static void write_out(const walk *a, uint32_t row, uint32_t head, const ig_softmax *s)
{
    float *out = ig_row_at(a->run, a->op->out, row) + (size_t)head * a->w->head_v;
    memcpy(out, s->acc, a->w->head_v * sizeof *out);
    a->run->k->scale(out, 1 / *s->sum, a->w->head_v);
}

static void attend_heads(walk *a, const ig_tile *tile, uint32_t head, uint32_t heads)
{
    const ig_item *item = &a->run->items[a->run->rows[tile->first].item];
    query queries[IG_QUERIES_MAX];
    uint32_t step = IG_QUERIES_MAX / heads < tile->n ? IG_QUERIES_MAX / heads : tile->n;
    for (uint32_t done = 0; done < tile->n; done += step) {
        uint32_t first = tile->first + done, n = tile->n - done < step ? tile->n - done : step;
        for (uint32_t i = 0; i < n * heads; i++)
            queries[i] = start_query(a, item, first + i / heads, head + i % heads, i);
        lay_beside(a, queries, n * heads);
        walk_pages(a, queries, n * heads, heads);
        for (uint32_t i = 0; !a->apart && i < n * heads; i++)
            write_out(a, first + i / heads, queries[i].head, seen_at_all(a, &queries[i]));
    }
}

/* ---- who does what ---- */

static uint32_t group_of(const ig_layer *w) { return w->n_heads / w->n_heads_kv; }

/* Into how many parts the query heads of a KV head are dealt where there are fewer pieces than threads. Every thread
 * reads the keys then, so a part is of as many heads as fill a vector side by side; with four heads in parts of two,
 * tokens behind 30,000 others took 1.11 times as long (two threads). */
static uint32_t parts_of_heads(const ig_layer *w, size_t pieces, size_t threads)
{
    uint32_t most = group_of(w) / IG_SIDE;
    size_t parts = pieces && pieces < threads ? (threads + pieces - 1) / pieces : 1;
    return parts < most ? (uint32_t)parts : most ? most : 1;
}

typedef struct sharing { /* a piece: a tile, a KV head, a part of its query heads, a span */
    ig_run *run;
    const ig_op *op;
    uint32_t parts, first_span, n_spans; /* n_spans 1: all of them together */
} sharing;

static walk walk_of(ig_run *run, const ig_op *op, const ig_tile *tile)
{
    ig_seq *seq = run->items[run->rows[tile->first].item].seq;
    return (walk){.run = run,
                  .op = op,
                  .w = op->layer,
                  .kv = &run->k->kv[run->opt.kv],
                  .layout = ig_layer_kv(run->m, op->layer, run->opt.kv),
                  .seq = op->from == IG_SEE_SOURCE ? seq->source : seq,
                  .to = UINT32_MAX};
}

size_t ig_span_floats(const ig_model *m, unsigned n_threads)
{
    size_t most = 0;
    for (uint32_t l = 0; l < m->n_kv_layers; l++) {
        const ig_layer *w = &m->layers[l];
        size_t pieces = w->n_heads_kv, floats = (size_t)w->n_heads * (w->head_v + 2);
        if (pieces && pieces * parts_of_heads(w, pieces, n_threads) < n_threads && floats > most) most = floats;
    }
    return most;
}

/* What the heads from `head` on have seen of a span. */
static ig_softmax span_at(const ig_run *run, const ig_layer *w, uint32_t span, uint32_t head)
{
    float *at = (float *)(void *)run->spans + span * run->span_floats, *max = at + (size_t)w->n_heads * w->head_v;
    return (ig_softmax){at + (size_t)head * w->head_v, max + head, max + w->n_heads + head};
}

static sharing share(ig_run *run, const ig_op *op)
{
    const ig_layer *w = op->layer;
    size_t pieces = (size_t)run->n_tiles * w->n_heads_kv, threads = run->opt.n_threads;
    sharing s = {run, op, parts_of_heads(w, pieces, threads), 0, 1};
    bool fits = run->spans && (size_t)w->n_heads * (w->head_v + 2) <= run->span_floats;
    if (run->n_rows != 1 || !fits || pieces * s.parts >= threads) return s;
    walk a = walk_of(run, op, &run->tiles[0]);
    query q = {.pos = run->rows[0].pos};
    set_range(&a, &q, &run->items[run->rows[0].item]);
    s.first_span = q.from / SPAN;
    uint64_t spans = q.to / SPAN - s.first_span + 1;
    if (spans * run->span_floats * sizeof(float) <= run->spans_bytes) s.n_spans = (uint32_t)spans;
    return s;
}

static void attend_piece(void *ctx, size_t piece, unsigned thread)
{
    const sharing *s = ctx;
    ig_run *run = s->run;
    const ig_layer *w = s->op->layer;
    uint32_t span = (uint32_t)(piece % s->n_spans), part = (uint32_t)(piece / s->n_spans % s->parts);
    size_t heads_kv = piece / s->n_spans / s->parts;
    const ig_tile *tile = &run->tiles[heads_kv / w->n_heads_kv];
    walk a = walk_of(run, s->op, tile);
    a.g = (uint32_t)(heads_kv % w->n_heads_kv);
    a.room = run->scratch[thread].attend;
    if (s->n_spans > 1) {
        a.apart = true;
        a.from = (s->first_span + span) * SPAN;
        a.to = a.from + SPAN - 1;
    }
    uint32_t group = group_of(w), end = (uint32_t)((uint64_t)group * (part + 1) / s->parts);
    for (uint32_t h = (uint32_t)((uint64_t)group * part / s->parts); h < end; h += IG_QUERIES_MAX) {
        uint32_t heads = end - h < IG_QUERIES_MAX ? end - h : IG_QUERIES_MAX;
        if (a.apart) a.room.span = span_at(run, w, span, a.g * group + h);
        attend_heads(&a, tile, a.g * group + h, heads);
    }
}

void ig_op_attend(ig_run *run, const ig_op *op)
{
    const ig_layer *w = op->layer;
    sharing s = share(run, op);
    size_t pieces = (size_t)run->n_tiles * w->n_heads_kv * s.parts * s.n_spans;
    if (pieces) ig_pool_run(run->pool, attend_piece, &s, pieces);
    for (uint32_t h = 0; s.n_spans > 1 && h < w->n_heads; h++) {
        walk a = walk_of(run, op, &run->tiles[0]);
        ig_softmax all = span_at(run, w, 0, h);
        for (uint32_t i = 1; i < s.n_spans; i++) {
            const ig_softmax more = span_at(run, w, i, h);
            add_span(run->k, &all, &more, w->head_v);
        }
        write_out(&a, 0, h, &all);
    }
}
