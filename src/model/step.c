/* The forward step: checks the items, lays their tokens out as rows, runs the plan. Each operation is a function over
 * rows or over pieces of weight rows; what a row's result is never depends on the other rows. */
#include <math.h>

#include "model/run.h"

typedef struct job { /* what a piece of work sees */
    ig_run *run;
    const ig_op *op;
} job;

static void run_pieces(ig_run *run, const ig_op *op, ig_piece_fn fn, size_t n)
{
    job j = {run, op};
    ig_pool_run(run->pool, fn, &j, n);
}

static uint32_t op_rows(const ig_run *run, const ig_op *op) { return op->wanted ? run->n_wanted : run->n_rows; }

static void embed_piece(void *ctx, size_t row, unsigned thread)
{
    const job *j = ctx;
    (void)thread;
    const ig_mat *e = &j->run->m->embed;
    const uint8_t *src = e->data + (size_t)j->run->rows[row].token * e->row_bytes;
    j->run->k->type[e->type].to_f32(src, ig_slot_row(j->run, j->op->out, row), e->n_in);
}

static void op_embed(ig_run *run, const ig_op *op) { run_pieces(run, op, embed_piece, run->n_rows); }

static void angles_piece(void *ctx, size_t row, unsigned thread)
{
    const job *j = ctx;
    (void)thread;
    const ig_rope *rope = &j->run->m->rope;
    float *cs = j->run->angles + row * 2 * rope->n_pairs;
    double pos = j->run->rows[row].pos;
    for (uint32_t i = 0; i < rope->n_pairs; i++) {
        double theta = pos * rope->inv_freq[i];
        cs[i] = (float)(cos(theta) * rope->magnitude);
        cs[rope->n_pairs + i] = (float)(sin(theta) * rope->magnitude);
    }
}

static void op_angles(ig_run *run, const ig_op *op) { run_pieces(run, op, angles_piece, run->n_rows); }

static void norm_piece(void *ctx, size_t row, unsigned thread)
{
    const job *j = ctx;
    (void)thread;
    j->run->k->rms_norm(ig_slot_row(j->run, j->op->in, row), j->op->vec, j->run->m->hp.norm_eps,
                        ig_slot_row(j->run, j->op->out, row), j->op->width);
}

static void op_norm(ig_run *run, const ig_op *op) { run_pieces(run, op, norm_piece, op_rows(run, op)); }

static void pack_piece(void *ctx, size_t row, unsigned thread)
{
    const job *j = ctx;
    (void)thread;
    const ig_run *run = j->run;
    for (int p = 0; p < IG_PACK_COUNT; p++) {
        if (!(j->op->packs & 1u << p)) continue;
        const ig_pack_kernels *k = &run->k->pack[p];
        k->pack(ig_slot_row(run, j->op->in, row), run->packed[p] + row * k->bytes(j->op->width), j->op->width);
    }
}

static void op_pack(ig_run *run, const ig_op *op) { run_pieces(run, op, pack_piece, op_rows(run, op)); }

static size_t mat_pieces(const ig_mat *w) { return (w->n_out + IG_PIECE_ROWS - 1) / IG_PIECE_ROWS; }

/* Bias and residual of one piece: y [n_cols, rows] with the given stride. */
static void finish_piece(const job *j, const ig_mat *w, ig_slot out, const ig_mul_args *a, size_t first)
{
    const ig_kernels *k = j->run->k;
    for (size_t c = 0; c < a->n_cols; c++) {
        float *y = a->y + c * a->y_stride;
        if (w->bias) k->add(y, w->bias + first, a->n_rows);
        if (j->op->add) k->add(ig_slot_row(j->run, out, c) + first, y, a->n_rows);
    }
}

static void linear_piece(void *ctx, size_t piece, unsigned thread)
{
    const job *j = ctx;
    ig_run *run = j->run;
    const ig_op *op = j->op;
    uint32_t i = 0;
    while (piece >= mat_pieces(op->mat[i])) piece -= mat_pieces(op->mat[i++]);
    const ig_mat *w = op->mat[i];
    const ig_type_kernels *k = &run->k->type[w->type];
    size_t first = piece * IG_PIECE_ROWS, left = w->n_out - first;
    bool f32 = k->pack == IG_PACK_F32;
    ig_mul_args a = {
        .w = w->data + first * w->row_bytes,
        .w_stride = w->row_bytes,
        .x = f32 ? (const void *)run->slot[op->in] : run->packed[k->pack],
        .x_stride = f32 ? run->m->slot_width[op->in] * sizeof(float) : run->k->pack[k->pack].bytes(w->n_in),
        .y = op->add ? run->scratch[thread].tile : run->slot[op->mat_out[i]] + first,
        .y_stride = op->add ? IG_PIECE_ROWS : run->m->slot_width[op->mat_out[i]],
        .n = w->n_in,
        .n_rows = left < IG_PIECE_ROWS ? left : IG_PIECE_ROWS,
        .n_cols = op_rows(run, op),
    };
    k->mul(&a);
    run->scratch[thread].weight_bytes += a.n_rows * w->row_bytes;
    finish_piece(j, w, op->mat_out[i], &a, first);
}

static void op_linear(ig_run *run, const ig_op *op)
{
    size_t n = 0;
    if (op_rows(run, op) == 0) return;
    for (uint32_t i = 0; i < op->n_mats; i++) n += mat_pieces(op->mat[i]);
    run_pieces(run, op, linear_piece, n);
}

static void rope_piece(void *ctx, size_t row, unsigned thread)
{
    const job *j = ctx;
    (void)thread;
    const ig_model *m = j->run->m;
    const float *cs = j->run->angles + row * 2 * m->rope.n_pairs;
    float *x = ig_slot_row(j->run, j->op->in, row);
    for (uint32_t h = 0; h < j->op->n_heads; h++, x += j->op->head_size) {
        if (m->arch->rope == IG_ROPE_NORM)
            j->run->k->rope_norm(x, cs, m->rope.n_pairs);
        else
            j->run->k->rope_neox(x, cs, m->rope.n_pairs);
    }
}

static void op_rope(ig_run *run, const ig_op *op) { run_pieces(run, op, rope_piece, run->n_rows); }

static void temper_piece(void *ctx, size_t row, unsigned thread)
{
    const job *j = ctx;
    (void)thread;
    const ig_hparams *hp = &j->run->m->hp;
    double steps = floor((double)j->run->rows[row].pos / hp->temp_len);
    float a = (float)(1 + (double)hp->temp_scale * log(1 + steps));
    j->run->k->scale(ig_slot_row(j->run, j->op->in, row), a, j->op->width);
}

static void op_temper(ig_run *run, const ig_op *op) { run_pieces(run, op, temper_piece, run->n_rows); }

static void glu_piece(void *ctx, size_t row, unsigned thread)
{
    const job *j = ctx;
    (void)thread;
    float *gate = ig_slot_row(j->run, j->op->in, row);
    j->run->k->silu_mul(gate, ig_slot_row(j->run, j->op->in2, row), gate, j->op->width);
}

static void op_glu(ig_run *run, const ig_op *op) { run_pieces(run, op, glu_piece, run->n_rows); }

static void op_select(ig_run *run, const ig_op *op)
{
    size_t bytes = run->m->hp.n_embd * sizeof(float);
    for (uint32_t i = 0; i < run->n_wanted; i++)
        memcpy(ig_slot_row(run, op->out, i), ig_slot_row(run, op->in, run->wanted[i]), bytes);
}

static void (*const ops[IG_OP_COUNT])(ig_run *, const ig_op *) = {
    [IG_OP_EMBED] = op_embed,   [IG_OP_ANGLES] = op_angles,      [IG_OP_NORM] = op_norm,
    [IG_OP_PACK] = op_pack,     [IG_OP_LINEAR] = op_linear,      [IG_OP_ROPE] = op_rope,
    [IG_OP_TEMPER] = op_temper, [IG_OP_STORE] = ig_op_store,     [IG_OP_ATTEND] = ig_op_attend,
    [IG_OP_GLU] = op_glu,       [IG_OP_EXPERTS] = ig_op_experts, [IG_OP_SELECT] = op_select,
};

static uint32_t item_rows(const ig_step_item *it) { return it->want == IG_WANT_ALL ? it->n : it->want == IG_WANT_LAST; }

static ig_status check_items(const ig_run *run, const ig_step_item *items, size_t n_items, ig_error *err)
{
    uint64_t n_tokens = 0, n_logits = 0, n_pages = 0;
    for (size_t i = 0; i < n_items; i++) {
        const ig_step_item *it = &items[i];
        uint64_t end = (uint64_t)it->seq->n_tokens + it->n, room = (uint64_t)it->seq->n_pages_max * IG_PAGE_TOKENS;
        if (it->n == 0)
            return ig_fail(err, IG_BAD_INPUT, i, "item %zu of the step has no tokens, expected at least 1", i);
        if (end > room)
            return ig_fail(err, IG_TOO_LARGE, i, "the sequence would hold %llu tokens, its page table ends at %llu",
                           (unsigned long long)end, (unsigned long long)room);
        for (size_t t = 0; t < it->n; t++)
            if (it->tokens[t] < 0 || (uint32_t)it->tokens[t] >= run->m->hp.n_vocab)
                return ig_fail(err, IG_BAD_INPUT, t,
                               "token id %d at position %zu is outside the vocabulary of %u tokens", it->tokens[t], t,
                               run->m->hp.n_vocab);
        for (size_t k = 0; k < i; k++)
            if (items[k].seq == it->seq) return ig_fail(err, IG_BAD_INPUT, i, "a sequence appears twice in one step");
        n_tokens += it->n;
        n_logits += item_rows(it);
        n_pages += (end + IG_PAGE_TOKENS - 1) / IG_PAGE_TOKENS - it->seq->n_pages;
    }
    if (n_tokens > run->opt.n_batch)
        return ig_fail(err, IG_TOO_LARGE, 0, "the step has %llu tokens, the batch holds %u",
                       (unsigned long long)n_tokens, run->opt.n_batch);
    if (n_logits > run->opt.n_logits)
        return ig_fail(err, IG_TOO_LARGE, 0, "the step wants %llu rows of logits, there is room for %u",
                       (unsigned long long)n_logits, run->opt.n_logits);
    if (n_pages > run->n_free)
        return ig_fail(err, IG_NO_MEMORY, 0, "the step needs %llu more KV pages of %d tokens, %u are free",
                       (unsigned long long)n_pages, IG_PAGE_TOKENS, run->n_free);
    return IG_OK;
}

/* Lays the items out as rows, wanted rows and query tiles, and gives every sequence its pages. */
static void lay_out(ig_run *run, const ig_step_item *items, size_t n_items)
{
    run->n_rows = run->n_wanted = run->n_tiles = 0;
    for (size_t i = 0; i < n_items; i++) {
        const ig_step_item *it = &items[i];
        for (uint32_t t = 0; t < it->n; t++) {
            if (t % IG_QUERY_TILE == 0) run->tiles[run->n_tiles++] = (ig_tile){run->n_rows, 0};
            run->tiles[run->n_tiles - 1].n++;
            if (it->want == IG_WANT_ALL || (it->want == IG_WANT_LAST && t + 1 == it->n))
                run->wanted[run->n_wanted++] = run->n_rows;
            run->rows[run->n_rows++] = (ig_row){it->tokens[t], it->seq->n_tokens + t, it->seq};
        }
        while ((uint64_t)it->seq->n_pages * IG_PAGE_TOKENS < (uint64_t)it->seq->n_tokens + it->n)
            it->seq->pages[it->seq->n_pages++] = run->free_pages[--run->n_free];
    }
}

ig_status ig_step(ig_run *run, ig_step_item *items, size_t n_items, ig_error *err)
{
    IG_TRY(check_items(run, items, n_items, err));
    lay_out(run, items, n_items);
    for (size_t i = 0; i < run->m->n_ops; i++) ops[run->m->ops[i].kind](run, &run->m->ops[i]);
    uint32_t row = 0;
    for (size_t i = 0; i < n_items; i++) {
        items[i].logits = item_rows(&items[i]) ? ig_slot_row(run, IG_SLOT_LOGITS, row) : NULL;
        row += item_rows(&items[i]);
        items[i].seq->n_tokens += items[i].n;
    }
    return IG_OK;
}
