/* Attention over KV pages: scaled dot products, softmax, weighted sum of values, grouped queries.
 *
 * A query walks the pages of its sequence from position 0 up, with a running maximum and sum (online softmax, Milakov
 * and Gimelshein 2018, arXiv 1805.02867). What it computes in a page depends on its position alone, so chunking, batch
 * and tile change nothing. A tile of queries shares the walk, so that a page is fetched once for several rows. */
#include <math.h>

#include "model/run.h"

typedef struct attend_job {
    ig_run *run;
    const ig_op *op;
} attend_job;

static void store_piece(void *ctx, size_t row, unsigned thread)
{
    const attend_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    const ig_hparams *hp = &run->m->hp;
    const ig_kv_kernels *kv = &run->k->kv[run->opt.kv];
    uint32_t pos = run->rows[row].pos, page = run->rows[row].seq->pages[pos / IG_PAGE_TOKENS],
             at = pos % IG_PAGE_TOKENS;
    for (uint32_t g = 0; g < hp->n_heads_kv; g++) {
        kv->store(ig_slot_row(run, IG_SLOT_K, row) + (size_t)g * hp->head_k,
                  ig_page_keys(run, page, j->op->layer, g) + at * run->k_bytes, hp->head_k);
        kv->store(ig_slot_row(run, IG_SLOT_V, row) + (size_t)g * hp->head_v,
                  ig_page_values(run, page, j->op->layer, g) + at * run->v_bytes, hp->head_v);
    }
}

void ig_op_store(ig_run *run, const ig_op *op)
{
    attend_job j = {run, op};
    ig_pool_run(run->pool, store_piece, &j, run->n_rows);
}

typedef struct query { /* running softmax of one query head */
    const float *q;
    float *acc;
    float max, sum;
} query;

static void see_page(const ig_run *run, query *q, float *scores, const uint8_t *keys, const uint8_t *values,
                     size_t n_keys)
{
    const ig_kernels *k = run->k;
    const ig_hparams *hp = &run->m->hp;
    const ig_kv_kernels *kv = &k->kv[run->opt.kv];
    kv->scores(q->q, keys, run->k_bytes, hp->attn_scale, scores, hp->head_k, n_keys);
    float max = k->max(scores, n_keys);
    if (max > q->max) {
        if (q->max > -INFINITY) {
            float old = q->max, shrink = k->exp_sum(&old, max, 1);
            q->sum *= shrink;
            k->scale(q->acc, shrink, hp->head_v);
        }
        q->max = max;
    }
    q->sum += k->exp_sum(scores, q->max, n_keys);
    kv->mix(scores, values, run->v_bytes, q->acc, hp->head_v, n_keys);
}

enum { QUERIES_MAX = 64 }; /* heads of a group times rows of a tile that walk together */

static void walk(const attend_job *j, query *queries, uint32_t heads, uint32_t first, uint32_t n, uint32_t g,
                 float *scores)
{
    const ig_run *run = j->run;
    const ig_row *rows = &run->rows[first];
    uint32_t n_pages = rows[n - 1].pos / IG_PAGE_TOKENS + 1;
    for (uint32_t p = 0; p < n_pages; p++) {
        uint32_t page = rows[0].seq->pages[p], start = p * IG_PAGE_TOKENS;
        const uint8_t *keys = ig_page_keys(run, page, j->op->layer, g);
        const uint8_t *values = ig_page_values(run, page, j->op->layer, g);
        for (uint32_t r = 0; r < n; r++) {
            if (rows[r].pos < start) continue;
            uint32_t n_keys = rows[r].pos - start + 1;
            if (n_keys > IG_PAGE_TOKENS) n_keys = IG_PAGE_TOKENS;
            for (uint32_t h = 0; h < heads; h++) see_page(run, &queries[r * heads + h], scores, keys, values, n_keys);
        }
    }
}

static void attend_heads(const attend_job *j, const ig_tile *tile, uint32_t g, uint32_t head, uint32_t heads,
                         float *scores)
{
    const ig_run *run = j->run;
    const ig_hparams *hp = &run->m->hp;
    query queries[QUERIES_MAX];
    uint32_t step = QUERIES_MAX / heads < tile->n ? QUERIES_MAX / heads : tile->n;
    for (uint32_t done = 0; done < tile->n; done += step) {
        uint32_t n = tile->n - done < step ? tile->n - done : step, first = tile->first + done;
        for (uint32_t r = 0; r < n; r++) {
            for (uint32_t h = 0; h < heads; h++) {
                query *q = &queries[r * heads + h];
                *q = (query){.q = ig_slot_row(run, IG_SLOT_Q, first + r) + (size_t)(head + h) * hp->head_k,
                             .acc = ig_slot_row(run, IG_SLOT_A, first + r) + (size_t)(head + h) * hp->head_v,
                             .max = -INFINITY};
                memset(q->acc, 0, hp->head_v * sizeof(float));
            }
        }
        walk(j, queries, heads, first, n, g, scores);
        for (uint32_t i = 0; i < n * heads; i++) run->k->scale(queries[i].acc, 1 / queries[i].sum, hp->head_v);
    }
}

static void attend_piece(void *ctx, size_t piece, unsigned thread)
{
    const attend_job *j = ctx;
    const ig_hparams *hp = &j->run->m->hp;
    const ig_tile *tile = &j->run->tiles[piece / hp->n_heads_kv];
    uint32_t g = (uint32_t)(piece % hp->n_heads_kv), group = hp->n_heads / hp->n_heads_kv;
    for (uint32_t h = 0; h < group; h += QUERIES_MAX) {
        uint32_t heads = group - h < QUERIES_MAX ? group - h : QUERIES_MAX;
        attend_heads(j, tile, g, g * group + h, heads, j->run->scratch[thread].scores);
    }
}

void ig_op_attend(ig_run *run, const ig_op *op)
{
    attend_job j = {run, op};
    ig_pool_run(run->pool, attend_piece, &j, (size_t)run->n_tiles * run->m->hp.n_heads_kv);
}
