/* Indexers of sparse attention: every query chooses the positions (DeepSeek) or blocks of positions (MiniMax M3, one
 * choice for each key head) that its attention may see. What a query chooses depends on its own sequence alone. */
#include <math.h>

#include "model/run.h"

static void store_piece(void *ctx, size_t row, unsigned thread)
{
    const ig_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    const ig_layer *w = j->op->layer;
    ig_kv_layout l = ig_layer_kv(run->m, w, run->opt.kv);
    uint32_t pos = run->rows[row].pos;
    uint8_t *page = ig_page_at(run, w, run->items[run->rows[row].item].seq, pos / IG_PAGE_TOKENS);
    run->k->kv[ig_index_kv(run->opt.kv)].store(ig_row_at(run, j->op->in, row),
                                               page + l.index + pos % IG_PAGE_TOKENS * l.i_bytes, w->idx_keys);
}

void ig_op_index_store(ig_run *run, const ig_op *op)
{
    if (!run->opt.dense) ig_run_pieces(run, op, store_piece, run->n_rows);
}

/* The k best so far as a heap of indices with the worst on top. Which of several equal scores stay is decided by the
 * order of these steps, which is that of the C++ standard library's partial_sort and thereby of llama.cpp: exact ties
 * at 0 are common (no head answers), and a model should choose the same positions there. */
typedef struct best {
    const float *x;
    uint32_t *heap, n;
} best;

/* Moves the hole down to a leaf along the worse children, then up again to where `index` belongs. */
static void settle(const best *b, uint32_t hole, uint32_t index)
{
    uint32_t top = hole;
    while (2 * hole + 2 < b->n) {
        uint32_t child = 2 * hole + 2;
        if (b->x[b->heap[child]] > b->x[b->heap[child - 1]]) child--;
        b->heap[hole] = b->heap[child];
        hole = child;
    }
    if (2 * hole + 2 == b->n) {
        b->heap[hole] = b->heap[2 * hole + 1];
        hole = 2 * hole + 1;
    }
    while (hole > top && b->x[b->heap[(hole - 1) / 2]] > b->x[index]) {
        b->heap[hole] = b->heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    b->heap[hole] = index;
}

/* Sets the bits of the k largest of x [n]; heap: room for k indices. */
static void choose(const float *x, uint32_t n, uint32_t k, uint32_t *heap, uint8_t *bits)
{
    best b = {x, heap, k < n ? k : n};
    for (uint32_t i = 0; i < b.n; i++) heap[i] = i;
    for (uint32_t i = b.n / 2; i-- > 0;) settle(&b, i, heap[i]);
    for (uint32_t i = b.n; i < n; i++)
        if (x[i] > x[heap[0]]) settle(&b, 0, i);
    for (uint32_t i = 0; i < b.n; i++) bits[heap[i] / 8] |= (uint8_t)(1u << heap[i] % 8);
}

typedef struct scorer {
    const ig_run *run;
    const ig_op *op;
    size_t row;
    uint32_t pos;
    const ig_seq *seq;
    ig_kv_layout layout;
    float *page_scores;
    float *scores;  /* [n_ctx] */
    uint32_t *heap; /* [n_ctx] */
} scorer;

/* Scores of one index head for the keys of page p: page_scores[0..n). */
static uint32_t score_page(const scorer *s, uint32_t head, uint32_t p)
{
    const ig_layer *w = s->op->layer;
    uint32_t start = p * IG_PAGE_TOKENS, n = s->pos - start + 1;
    if (n > IG_PAGE_TOKENS) n = IG_PAGE_TOKENS;
    const uint8_t *page = ig_page_at(s->run, w, s->seq, p);
    const float *q = ig_row_at(s->run, s->op->in, s->row) + (size_t)head * w->idx_keys;
    s->run->k->kv[ig_index_kv(s->run->opt.kv)].scores(q, page + s->layout.index, s->layout.i_bytes, 1, s->page_scores,
                                                      w->idx_keys, n);
    return n;
}

/* score(p') = sum over heads of weight * relu(q . k) */
static void choose_tokens(const scorer *s)
{
    float *scores = s->scores;
    const ig_hparams *hp = &s->run->m->hp;
    const float *weights = ig_row_at(s->run, s->op->in2, s->row);
    float norm = (float)(1 / sqrt((double)hp->idx_head * hp->idx_heads));
    memset(scores, 0, (s->pos + 1) * sizeof *scores);
    for (uint32_t p = 0; p <= s->pos / IG_PAGE_TOKENS; p++)
        for (uint32_t h = 0; h < hp->idx_heads; h++) {
            uint32_t n = score_page(s, h, p);
            float *out = scores + p * IG_PAGE_TOKENS;
            for (uint32_t i = 0; i < n; i++)
                if (s->page_scores[i] > 0) out[i] += weights[h] * norm * s->page_scores[i];
        }
    choose(scores, s->pos + 1, hp->idx_top_k, s->heap, ig_mask_row(s->run, s->row, 0));
}

/* score(block) = the largest of its positions; the newest blocks are always in. */
static void choose_blocks(const scorer *s, uint32_t group)
{
    float *scores = s->scores;
    const ig_hparams *hp = &s->run->m->hp;
    uint32_t current = s->pos / hp->idx_block;
    for (uint32_t b = 0; b <= current; b++) scores[b] = -INFINITY;
    for (uint32_t p = 0; p <= s->pos / IG_PAGE_TOKENS; p++) {
        uint32_t n = score_page(s, group, p);
        for (uint32_t i = 0; i < n; i++) {
            float *block = &scores[(p * IG_PAGE_TOKENS + i) / hp->idx_block];
            if (s->page_scores[i] > *block) *block = s->page_scores[i];
        }
    }
    for (uint32_t b = 0; b <= current; b++)
        if (current - b < hp->idx_local) scores[b] = 1e30f;
    choose(scores, current + 1, hp->idx_top_k, s->heap, ig_mask_row(s->run, s->row, group));
}

static void index_piece(void *ctx, size_t row, unsigned thread)
{
    const ig_job *j = ctx;
    ig_run *run = j->run;
    const ig_hparams *hp = &run->m->hp;
    scorer s = {.run = run,
                .op = j->op,
                .row = row,
                .pos = run->rows[row].pos,
                .seq = run->items[run->rows[row].item].seq,
                .layout = ig_layer_kv(run->m, j->op->layer, run->opt.kv),
                .page_scores = run->scratch[thread].attend.scores,
                .scores = run->scratch[thread].chosen,
                .heap = (uint32_t *)(void *)(run->scratch[thread].chosen + run->opt.n_ctx)};
    memset(ig_mask_row(run, row, 0), 0, run->mask_bytes * run->m->mask_groups);
    if (ig_part_on(run->m, IG_PART_TOKEN_INDEXER))
        choose_tokens(&s);
    else
        for (uint32_t g = 0; g < hp->idx_heads; g++) choose_blocks(&s, g);
}

void ig_op_index(ig_run *run, const ig_op *op)
{
    if (!run->opt.dense) ig_run_pieces(run, op, index_piece, run->n_rows);
}
