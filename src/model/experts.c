/* Routed experts (mixture of experts, Shazeer et al. 2017; softmax over all, top k, renormalised: Mixtral).
 *
 * The assignments (row, rank) of a step are sorted by expert, so that each used expert's matrices are read once a step;
 * the outputs of a row are then summed in rank order, whatever else is in the batch. Experts that nobody chose are not
 * touched. */
#include <math.h>

#include "model/run.h"

typedef struct expert_job {
    ig_run *run;
    const ig_op *op;
    const ig_mat *mat[2]; /* up and gate (may be absent), or down alone */
    const uint8_t *in[2]; /* gathered rows in the form that mat wants */
    size_t in_bytes[2];
    float *out[2];
} expert_job;

/* Divisor below which the sum of chosen probabilities is not trusted: the smallest normal float16. */
static const float SUM_MIN = 6.103515625e-5f;

bool ig_routing_init(ig_run *run)
{
    const ig_model *m = run->m;
    ig_routing *r = &run->routing;
    size_t n = (size_t)run->opt.n_batch * m->hp.n_experts_used, e = m->hp.n_experts;
    if (e == 0) return true;
    size_t hidden = 0;
    for (int p = 0; p < IG_PACK_COUNT; p++) {
        size_t bytes = p == IG_PACK_F32 ? m->hp.n_embd * sizeof(float) : m->pack_bytes[p];
        r->in[p] = ig_arena_alloc(&run->arena, n, bytes ? bytes : 1);
        if (!r->in[p]) return false;
        for (uint32_t l = 0; l < m->hp.n_layers; l++) {
            if (m->kernels->type[m->layers[l].down_exps.type].pack != (ig_pack)p || p == IG_PACK_F32) continue;
            size_t need = m->kernels->pack[p].bytes(m->hp.n_ff_expert);
            if (need > hidden) hidden = need;
        }
    }
    r->expert = ig_arena_alloc(&run->arena, n, sizeof *r->expert);
    r->weight = ig_arena_alloc(&run->arena, n, sizeof *r->weight);
    r->place = ig_arena_alloc(&run->arena, n, sizeof *r->place);
    r->start = ig_arena_alloc(&run->arena, e + 1, sizeof *r->start);
    r->used = ig_arena_alloc(&run->arena, e, sizeof *r->used);
    r->taken = ig_arena_alloc(&run->arena, e * run->opt.n_threads, sizeof *r->taken);
    r->gate = ig_arena_alloc(&run->arena, n, m->hp.n_ff_expert * sizeof(float));
    r->up = ig_arena_alloc(&run->arena, n, m->hp.n_ff_expert * sizeof(float));
    r->out = ig_arena_alloc(&run->arena, n, m->hp.n_embd * sizeof(float));
    r->hidden = ig_arena_alloc(&run->arena, n, hidden ? hidden : 1);
    r->ones = ig_arena_alloc(&run->arena, m->hp.n_ff_expert, sizeof *r->ones);
    for (uint32_t i = 0; r->ones && i < m->hp.n_ff_expert; i++) r->ones[i] = 1;
    return r->ones && r->expert && r->weight && r->place && r->start && r->used && r->taken && r->gate && r->up &&
           r->out && r->hidden;
}

/* Chooses the k largest of probabilities p [n]: falling, lowest index first on a tie. NaN is never larger than
 * anything, so the choice is always k different valid experts. */
static void choose(const float *p, uint32_t n, uint32_t k, bool *taken, uint32_t *expert)
{
    memset(taken, 0, n * sizeof *taken);
    for (uint32_t rank = 0; rank < k; rank++) {
        uint32_t best = n;
        for (uint32_t e = 0; e < n; e++)
            if (!taken[e] && (best == n || p[e] > p[best])) best = e;
        taken[best] = true;
        expert[rank] = best;
    }
}

static void route_piece(void *ctx, size_t row, unsigned thread)
{
    const expert_job *j = ctx;
    ig_run *run = j->run;
    const ig_hparams *hp = &run->m->hp;
    ig_routing *r = &run->routing;
    float *p = ig_slot_row(run, j->op->in2, row);
    uint32_t *expert = r->expert + row * hp->n_experts_used;
    float *weight = r->weight + row * hp->n_experts_used;
    float all = run->k->exp_sum(p, run->k->max(p, hp->n_experts), hp->n_experts), sum = 0;
    run->k->scale(p, 1 / all, hp->n_experts);
    choose(p, hp->n_experts, hp->n_experts_used, r->taken + (size_t)thread * hp->n_experts, expert);
    for (uint32_t i = 0; i < hp->n_experts_used; i++) sum += p[expert[i]];
    if (sum < SUM_MIN) sum = SUM_MIN;
    for (uint32_t i = 0; i < hp->n_experts_used; i++) weight[i] = p[expert[i]] / sum * hp->expert_scale;
}

/* Counting sort of the assignments by expert; stable, so the places do not depend on threads. */
static void sort_assignments(ig_run *run)
{
    ig_routing *r = &run->routing;
    uint32_t n = run->n_rows * run->m->hp.n_experts_used, n_experts = run->m->hp.n_experts;
    memset(r->start, 0, (n_experts + 1) * sizeof *r->start);
    for (uint32_t a = 0; a < n; a++) r->start[r->expert[a] + 1]++;
    r->n_used = 0;
    for (uint32_t e = 0; e < n_experts; e++) {
        if (r->start[e + 1]) r->used[r->n_used++] = e;
        r->start[e + 1] += r->start[e];
    }
    for (uint32_t a = 0; a < n; a++) r->place[a] = r->start[r->expert[a]]++;
    for (uint32_t e = n_experts; e > 0; e--) r->start[e] = r->start[e - 1];
    r->start[0] = 0;
}

static void gather_piece(void *ctx, size_t row, unsigned thread)
{
    const expert_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    uint32_t k = run->m->hp.n_experts_used;
    for (int i = 0; i < 2 && j->mat[i]; i++) {
        ig_pack form = run->k->type[j->mat[i]->type].pack;
        if (i && form == run->k->type[j->mat[0]->type].pack) return;
        const uint8_t *src = form == IG_PACK_F32 ? (const uint8_t *)ig_slot_row(run, j->op->in, row)
                                                 : run->packed[form] + row * j->in_bytes[i];
        for (uint32_t rank = 0; rank < k; rank++)
            memcpy(run->routing.in[form] + run->routing.place[row * k + rank] * j->in_bytes[i], src, j->in_bytes[i]);
    }
}

static void product_piece(void *ctx, size_t piece, unsigned thread)
{
    const expert_job *j = ctx;
    ig_run *run = j->run;
    const ig_routing *r = &run->routing;
    size_t per = (j->mat[0]->n_out + IG_PIECE_ROWS - 1) / IG_PIECE_ROWS;
    uint32_t e = r->used[piece / per], first_col = r->start[e];
    size_t first = piece % per * IG_PIECE_ROWS, left = j->mat[0]->n_out - first;
    for (int i = 0; i < 2 && j->mat[i]; i++) {
        const ig_mat *w = j->mat[i];
        ig_mul_args a = {
            .w = w->data + ((size_t)e * w->n_out + first) * w->row_bytes,
            .w_stride = w->row_bytes,
            .x = j->in[i] + first_col * j->in_bytes[i],
            .x_stride = j->in_bytes[i],
            .y = j->out[i] + (size_t)first_col * w->n_out + first,
            .y_stride = w->n_out,
            .n = w->n_in,
            .n_rows = left < IG_PIECE_ROWS ? left : IG_PIECE_ROWS,
            .n_cols = r->start[e + 1] - first_col,
        };
        run->k->type[w->type].mul(&a);
        run->scratch[thread].weight_bytes += a.n_rows * w->row_bytes;
    }
}

static void product(const expert_job *j)
{
    size_t per = (j->mat[0]->n_out + IG_PIECE_ROWS - 1) / IG_PIECE_ROWS;
    ig_pool_run(j->run->pool, product_piece, (void *)(uintptr_t)j, per * j->run->routing.n_used);
}

static void hidden_piece(void *ctx, size_t place, unsigned thread)
{
    const expert_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    uint32_t ff = run->m->hp.n_ff_expert;
    bool gated = j->mat[1] != NULL;
    float *up = run->routing.up + place * ff, *h = gated ? run->routing.gate + place * ff : up;
    run->k->silu_mul(h, gated ? up : run->routing.ones, h, ff);
    ig_pack form = run->k->type[run->m->layers[j->op->layer].down_exps.type].pack;
    const ig_pack_kernels *p = &run->k->pack[form];
    if (form != IG_PACK_F32) p->pack(h, run->routing.hidden + place * p->bytes(ff), ff);
}

static void combine_piece(void *ctx, size_t row, unsigned thread)
{
    const expert_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    const ig_hparams *hp = &run->m->hp;
    float *x = ig_slot_row(run, j->op->out, row);
    /* The sum over ranks is finished before the residual is added. Rank 0's row serves as the accumulator. */
    const uint32_t *place = run->routing.place + row * hp->n_experts_used;
    const float *weight = run->routing.weight + row * hp->n_experts_used;
    float *sum = run->routing.out + (size_t)place[0] * hp->n_embd;
    run->k->scale(sum, weight[0], hp->n_embd);
    for (uint32_t i = 1; i < hp->n_experts_used; i++)
        run->k->add_scaled(sum, run->routing.out + (size_t)place[i] * hp->n_embd, weight[i], hp->n_embd);
    run->k->add(x, sum, hp->n_embd);
}

static size_t form_bytes(const ig_run *run, const ig_mat *w)
{
    ig_pack form = run->k->type[w->type].pack;
    return form == IG_PACK_F32 ? w->n_in * sizeof(float) : run->k->pack[form].bytes(w->n_in);
}

void ig_op_experts(ig_run *run, const ig_op *op)
{
    const ig_layer *w = &run->m->layers[op->layer];
    ig_routing *r = &run->routing;
    expert_job j = {
        .run = run, .op = op, .mat = {&w->up_exps, w->gate_exps.data ? &w->gate_exps : NULL}, .out = {r->up, r->gate}};
    for (int i = 0; i < 2 && j.mat[i]; i++) {
        j.in[i] = r->in[run->k->type[j.mat[i]->type].pack];
        j.in_bytes[i] = form_bytes(run, j.mat[i]);
    }
    uint32_t n_places = run->n_rows * run->m->hp.n_experts_used;
    ig_pool_run(run->pool, route_piece, &j, run->n_rows);
    sort_assignments(run);
    ig_pool_run(run->pool, gather_piece, &j, run->n_rows);
    product(&j);
    ig_pool_run(run->pool, hidden_piece, &j, n_places);
    bool f32 = run->k->type[w->down_exps.type].pack == IG_PACK_F32;
    expert_job down = {.run = run,
                       .op = op,
                       .mat = {&w->down_exps, NULL},
                       .out = {r->out, NULL},
                       .in = {f32 ? (const uint8_t *)(j.mat[1] ? r->gate : r->up) : r->hidden, NULL},
                       .in_bytes = {form_bytes(run, &w->down_exps), 0}};
    product(&down);
    ig_pool_run(run->pool, combine_piece, &j, run->n_rows);
}
