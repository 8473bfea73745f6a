/* Routed experts (mixture of experts, Shazeer et al. 2017, arXiv 1701.06538).
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
    size_t rows; /* of a piece */
} expert_job;

/* Divisor below which the sum of chosen probabilities is not trusted: the smallest normal float16. */
static const float SUM_MIN = 6.103515625e-5f;

static size_t form_bytes(const ig_model *m, ig_pack form, uint32_t n)
{
    return form == IG_PACK_F32 ? n * sizeof(float) : m->kernels->pack[form].bytes(n);
}

/* Bytes of a packed row of n values in the largest of the forms of the down matrices. */
static size_t hidden_bytes(const ig_model *m)
{
    size_t most = 1;
    for (int p = 0; p < IG_PACK_COUNT; p++) {
        if (p == IG_PACK_F32 || !(m->hidden_pack_mask & 1u << p)) continue;
        size_t bytes = m->kernels->pack[p].bytes(m->hp.n_ff_expert);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* Bytes of a gathered input in a form, 0 where no expert wants it. */
static size_t input_bytes(const ig_model *m, ig_pack form)
{
    return m->input_pack_mask & 1u << form ? form_bytes(m, form, m->hp.n_embd) : 0;
}

uint64_t ig_routing_bytes(const ig_model *m, uint32_t n_batch, unsigned n_threads)
{
    uint64_t n = (uint64_t)n_batch * m->hp.n_experts_used, e = m->hp.n_experts;
    if (e == 0 || m->ff_most == 0) return 0;
    uint64_t each = 12 + hidden_bytes(m) + (2ull * m->ff_most + m->hp.n_embd) * sizeof(float);
    for (int p = 0; p < IG_PACK_COUNT; p++) each += input_bytes(m, (ig_pack)p);
    return n * each + e * (8 + 9ull * n_threads);
}

bool ig_routing_init(ig_run *run)
{
    const ig_model *m = run->m;
    ig_routing *r = &run->routing;
    size_t n = (size_t)run->opt.n_batch * m->hp.n_experts_used, e = m->hp.n_experts;
    if (e == 0 || m->ff_most == 0) return true;
    for (int p = 0; p < IG_PACK_COUNT; p++) {
        r->in[p] = ig_arena_alloc(&run->arena, n, input_bytes(m, (ig_pack)p) + 1);
        if (!r->in[p]) return false;
    }
    r->expert = ig_arena_alloc(&run->arena, n, sizeof *r->expert);
    r->weight = ig_arena_alloc(&run->arena, n, sizeof *r->weight);
    r->place = ig_arena_alloc(&run->arena, n, sizeof *r->place);
    r->start = ig_arena_alloc(&run->arena, e + 1, sizeof *r->start);
    r->used = ig_arena_alloc(&run->arena, e, sizeof *r->used);
    r->taken = ig_arena_alloc(&run->arena, e * run->opt.n_threads, sizeof *r->taken);
    r->probs = ig_arena_alloc(&run->arena, 2 * e * run->opt.n_threads, sizeof *r->probs);
    r->gate = ig_arena_alloc(&run->arena, n, m->ff_most * sizeof(float));
    r->up = ig_arena_alloc(&run->arena, n, m->ff_most * sizeof(float));
    r->out = ig_arena_alloc(&run->arena, n, m->hp.n_embd * sizeof(float));
    r->hidden = ig_arena_alloc(&run->arena, n, hidden_bytes(m));
    return r->expert && r->weight && r->place && r->start && r->used && r->taken && r->probs && r->gate && r->up &&
           r->out && r->hidden;
}

/* Chooses the k largest of scores p [n] that are not taken: falling, lowest index first on a tie. NaN is never larger
 * than anything, so the choice is always k different valid experts. */
static void choose(const float *p, uint32_t n, uint32_t k, bool *taken, uint32_t *expert)
{
    for (uint32_t rank = 0; rank < k; rank++) {
        uint32_t best = n;
        for (uint32_t e = 0; e < n; e++)
            if (!taken[e] && (best == n || p[e] > p[best])) best = e;
        taken[best] = true;
        expert[rank] = best;
    }
}

/* Leaves only the best groups eligible; a group is worth the sum of its two best experts. */
static void close_groups(const ig_hparams *hp, const float *scores, bool *taken)
{
    uint32_t per = hp->n_experts / hp->expert_groups;
    bool open[IG_EXPERT_GROUPS_MAX] = {false};
    float worth[IG_EXPERT_GROUPS_MAX];
    for (uint32_t g = 0; g < hp->expert_groups; g++) {
        float a = -INFINITY, b = -INFINITY;
        for (uint32_t e = g * per; e < (g + 1) * per; e++) {
            if (scores[e] > a) {
                b = a;
                a = scores[e];
            } else if (scores[e] > b)
                b = scores[e];
        }
        worth[g] = a + b;
    }
    for (uint32_t i = 0; i < hp->expert_groups_used; i++) {
        uint32_t best = hp->expert_groups;
        for (uint32_t g = 0; g < hp->expert_groups; g++)
            if (!open[g] && (best == hp->expert_groups || worth[g] > worth[best])) best = g;
        open[best] = true;
    }
    for (uint32_t e = 0; e < hp->n_experts; e++) taken[e] = !open[e / per];
}

/* Probabilities of all experts from logits; for softmax over the chosen the logits themselves. */
static void probabilities(const ig_kernels *k, const ig_hparams *hp, const float *logits, float *p)
{
    uint32_t n = hp->n_experts;
    memcpy(p, logits, n * sizeof *p);
    switch (hp->gating) {
    case IG_GATING_SOFTMAX: k->scale(p, 1 / k->exp_sum(p, k->max(p, n), n), n); break;
    case IG_GATING_SIGMOID: k->glu[IG_ACT_SIGMOID](p, NULL, p, n); break;
    case IG_GATING_SQRT_SOFTPLUS:
        k->glu[IG_ACT_SOFTPLUS](p, NULL, p, n);
        for (uint32_t e = 0; e < n; e++) p[e] = sqrtf(p[e]);
        break;
    case IG_GATING_SOFTMAX_CHOSEN: break;
    }
}

static void route_piece(void *ctx, size_t row, unsigned thread)
{
    const expert_job *j = ctx;
    ig_run *run = j->run;
    const ig_hparams *hp = &run->m->hp;
    ig_routing *r = &run->routing;
    uint32_t n = hp->n_experts, k = hp->n_experts_used;
    float *p = r->probs + (size_t)thread * 2 * n, *scores = p + n, sum = 0;
    bool *taken = r->taken + (size_t)thread * n;
    uint32_t *expert = r->expert + row * k;
    float *weight = r->weight + row * k;
    probabilities(run->k, hp, ig_row_at(run, j->op->in2, row), p);
    memcpy(scores, p, n * sizeof *scores);
    if (j->op->layer->select_bias) run->k->add(scores, j->op->layer->select_bias, n);
    memset(taken, 0, n * sizeof *taken);
    if (hp->expert_groups) close_groups(hp, scores, taken);
    choose(scores, n, k, taken, expert);
    for (uint32_t i = 0; i < k; i++) weight[i] = p[expert[i]];
    if (hp->gating == IG_GATING_SOFTMAX_CHOSEN)
        run->k->scale(weight, 1 / run->k->exp_sum(weight, run->k->max(weight, k), k), k);
    for (uint32_t i = 0; hp->renorm && i < k; i++) sum += weight[i];
    if (sum < SUM_MIN) sum = SUM_MIN;
    for (uint32_t i = 0; i < k; i++) weight[i] = (hp->renorm ? weight[i] / sum : weight[i]) * hp->expert_scale;
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

/* One assignment's input, multiplied by its weight before the expert sees it. */
static void gather_weighted(ig_run *run, const float *x, uint32_t place, float weight, ig_pack form, size_t bytes)
{
    uint32_t n = run->m->hp.n_embd;
    float *scaled = run->routing.out + (size_t)place * n; /* free until the down product */
    memcpy(scaled, x, n * sizeof *x);
    run->k->scale(scaled, weight, n);
    run->k->pack[form].pack(scaled, run->routing.in[form] + place * bytes, n);
}

static void gather_piece(void *ctx, size_t row, unsigned thread)
{
    const expert_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    uint32_t k = run->m->hp.n_experts_used;
    bool before = ig_part_on(run->m, IG_PART_WEIGHT_BEFORE);
    const float *x = ig_row_at(run, j->op->in, row);
    for (int i = 0; i < 2 && j->mat[i]; i++) {
        ig_pack form = run->k->type[j->mat[i]->type].pack;
        if (i && form == run->k->type[j->mat[0]->type].pack) return;
        const uint8_t *src = form == IG_PACK_F32 ? (const uint8_t *)x : run->packed[form] + row * j->in_bytes[i];
        for (uint32_t rank = 0; rank < k; rank++) {
            uint32_t place = run->routing.place[row * k + rank];
            if (before)
                gather_weighted(run, x, place, run->routing.weight[row * k + rank], form, j->in_bytes[i]);
            else
                memcpy(run->routing.in[form] + place * j->in_bytes[i], src, j->in_bytes[i]);
        }
    }
}

static void product_piece(void *ctx, size_t piece, unsigned thread)
{
    const expert_job *j = ctx;
    ig_run *run = j->run;
    const ig_routing *r = &run->routing;
    size_t per = (j->mat[0]->n_out + j->rows - 1) / j->rows;
    uint32_t e = r->used[piece / per], first_col = r->start[e];
    size_t first = piece % per * j->rows, left = j->mat[0]->n_out - first;
    for (int i = 0; i < 2 && j->mat[i]; i++) {
        const ig_mat *w = j->mat[i];
        ig_mul_args a = {
            .w = ig_mat_at(w, e) + first * w->row_bytes,
            .w_stride = w->row_bytes,
            .x = j->in[i] + first_col * j->in_bytes[i],
            .x_stride = j->in_bytes[i],
            .y = j->out[i] + (size_t)first_col * w->n_out + first,
            .y_stride = w->n_out,
            .n = w->n_in,
            .n_rows = left < j->rows ? left : j->rows,
            .n_cols = r->start[e + 1] - first_col,
            .room = run->scratch[thread].room,
        };
        run->k->type[w->type].mul(&a);
        run->scratch[thread].weight_bytes += a.n_rows * w->row_bytes;
        for (size_t c = 0; w->scale && c < a.n_cols; c++)
            run->k->scale(a.y + c * a.y_stride, ig_mat_scale(w, e), a.n_rows);
        for (size_t c = 0; w->bias && c < a.n_cols; c++)
            run->k->add(a.y + c * a.y_stride, w->bias + (size_t)e * w->n_out + first, a.n_rows);
    }
}

/* Tells the observer which rows every expert was given, one by one. */
static void tell_inputs(const expert_job *j)
{
    const ig_run *run = j->run;
    uint32_t k = run->m->hp.n_experts_used;
    for (uint32_t row = 0; run->observe && row < run->n_rows; row++)
        for (uint32_t i = 0; i < 2 * k; i++)
            if (j->mat[i / k])
                ig_tell(run, j->mat[i / k], run->routing.expert[row * k + i % k], ig_row_at(run, j->op->in, row), 0, 1);
}

/* The same for the hidden rows that down sees, `stride` floats apart in order of their places. */
static void tell_hidden(const ig_run *run, const ig_mat *down, const float *hidden, size_t stride)
{
    const ig_routing *r = &run->routing;
    for (uint32_t u = 0; run->observe && u < r->n_used; u++) {
        uint32_t e = r->used[u], first = r->start[e];
        ig_tell(run, down, e, hidden + first * stride, stride, r->start[e + 1] - first);
    }
}

static void product(expert_job *j)
{
    const ig_routing *r = &j->run->routing;
    size_t n_out = j->mat[0]->n_out, n_places = (size_t)j->run->n_rows * j->run->m->hp.n_experts_used;
    j->rows = ig_piece_rows(j->run, n_out * r->n_used, n_places / r->n_used);
    ig_pool_run(j->run->pool, product_piece, j, (n_out + j->rows - 1) / j->rows * r->n_used);
}

/* act(gate) * up of one assignment, in the form that down wants. Gate and up may be two products, one with the gate
 * first, or up alone. */
static void hidden_piece(void *ctx, size_t place, unsigned thread)
{
    const expert_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    const ig_layer *w = j->op->layer;
    uint32_t ff = run->m->hp.n_ff_expert, width = w->up_exps.n_out;
    float *up = run->routing.up + place * width, *gate = up, *h = up;
    bool fused = width == 2 * ff && !j->mat[1];
    if (j->mat[1]) h = gate = run->routing.gate + place * ff;
    if (fused) up += ff;
    if (w->glu_limit > 0 && up != gate) {
        run->k->glu[IG_ACT_SILU](gate, NULL, gate, ff);
        for (uint32_t i = 0; i < ff; i++) {
            float u = up[i] > w->glu_limit ? w->glu_limit : up[i] < -w->glu_limit ? -w->glu_limit : up[i];
            h[i] = (gate[i] > w->glu_limit ? w->glu_limit : gate[i]) * u;
        }
    } else
        run->k->glu[run->m->act](gate, up != gate ? up : NULL, h, ff);
    ig_pack form = run->k->type[w->down_exps.type].pack;
    const ig_pack_kernels *p = &run->k->pack[form];
    if (form != IG_PACK_F32) p->pack(h, run->routing.hidden + place * p->bytes(ff), ff);
}

static void combine_piece(void *ctx, size_t row, unsigned thread)
{
    const expert_job *j = ctx;
    (void)thread;
    ig_run *run = j->run;
    const ig_hparams *hp = &run->m->hp;
    bool before = ig_part_on(run->m, IG_PART_WEIGHT_BEFORE);
    float *x = ig_row_at(run, j->op->out, row);
    /* The sum over ranks is finished before the residual is added. Rank 0's row serves as the accumulator. */
    const uint32_t *place = run->routing.place + row * hp->n_experts_used;
    const float *weight = run->routing.weight + row * hp->n_experts_used;
    float *sum = run->routing.out + (size_t)place[0] * hp->n_embd;
    if (!before) run->k->scale(sum, weight[0], hp->n_embd);
    for (uint32_t i = 1; i < hp->n_experts_used; i++)
        run->k->add_scaled(sum, run->routing.out + (size_t)place[i] * hp->n_embd, before ? 1 : weight[i], hp->n_embd);
    if (j->op->a != 1) run->k->scale(sum, j->op->a, hp->n_embd);
    if (j->op->add)
        run->k->add(x, sum, hp->n_embd);
    else
        memcpy(x, sum, hp->n_embd * sizeof *x);
}

/* Rows of the hidden layer as floats lie `stride` apart: in `gate` by ff, in `up` by its width. */
static void product_down(ig_run *run, const ig_op *op, bool gated)
{
    const ig_layer *w = op->layer;
    ig_routing *r = &run->routing;
    bool f32 = run->k->type[w->down_exps.type].pack == IG_PACK_F32;
    uint32_t ff = run->m->hp.n_ff_expert, stride = gated ? ff : w->up_exps.n_out;
    expert_job down = {
        .run = run,
        .op = op,
        .mat = {&w->down_exps, NULL},
        .out = {r->out, NULL},
        .in = {f32 ? (const uint8_t *)(gated ? r->gate : r->up) : r->hidden, NULL},
        .in_bytes = {f32 ? stride * sizeof(float) : form_bytes(run->m, run->k->type[w->down_exps.type].pack, ff), 0}};
    tell_hidden(run, &w->down_exps, gated ? r->gate : r->up, stride);
    product(&down);
}

void ig_op_experts(ig_run *run, const ig_op *op)
{
    const ig_layer *w = op->layer;
    ig_routing *r = &run->routing;
    bool gated = ig_mat_here(&w->gate_exps);
    expert_job j = {.run = run, .op = op, .mat = {&w->up_exps, gated ? &w->gate_exps : NULL}, .out = {r->up, r->gate}};
    for (int i = 0; i < 2 && j.mat[i]; i++) {
        ig_pack form = run->k->type[j.mat[i]->type].pack;
        j.in[i] = r->in[form];
        j.in_bytes[i] = form_bytes(run->m, form, j.mat[i]->n_in);
    }
    if (run->n_rows == 0) return;
    ig_pool_run(run->pool, route_piece, &j, run->n_rows);
    sort_assignments(run);
    ig_pool_run(run->pool, gather_piece, &j, run->n_rows);
    tell_inputs(&j);
    product(&j);
    ig_pool_run(run->pool, hidden_piece, &j, (size_t)run->n_rows * run->m->hp.n_experts_used);
    product_down(run, op, gated);
    ig_pool_run(run->pool, combine_piece, &j, run->n_rows);
}
