/* Recurrent mixers. A sequence's tokens are taken one after another in one fixed order; work is split over sequences
 * and over heads or channels alone, so chunking, batch and threads change nothing. The state after the last page ends
 * is copied aside, so that a sequence can go back to them (seq.c). */
#include <math.h>

#include "model/hparams.h"
#include "model/run.h"

enum {
    CHANNELS = 64, /* of one piece */
    AHEAD = 4      /* tokens that a piece fetches ahead */
};

typedef struct walk { /* the tokens of one item, for one piece */
    ig_run *run;
    const ig_op *op;
    const ig_item *item;
    size_t part; /* head or block of channels */
} walk;

static walk walk_of(const ig_job *j, size_t piece)
{
    size_t per = piece / j->run->n_items;
    return (walk){j->run, j->op, &j->run->items[piece % j->run->n_items], per};
}

/* Copies n floats of the state from `at` on to the snapshot that is due after row. */
static void keep(const walk *a, uint32_t row, size_t at, size_t n)
{
    uint32_t version = ig_snapshot_of(a->item, a->run->rows[row].pos);
    if (!version) return;
    memcpy(ig_state_at(a->run, a->op, a->item, version) + at, ig_state_at(a->run, a->op, a->item, 0) + at,
           n * sizeof(float));
}

/* Some channels' filter and last inputs, channels side by side. */
typedef struct conv {
    float w[IG_CONV_MAX][CHANNELS], x[IG_CONV_MAX][CHANNELS], b[CHANNELS];
    uint32_t k, n;
} conv;

static void conv_begin(conv *f, const ig_op *op, const float *state, uint32_t k, uint32_t first)
{
    f->k = k;
    f->n = op->n - first < CHANNELS ? op->n - first : CHANNELS;
    if (f->n < CHANNELS || !op->b) memset(f->b, 0, sizeof f->b);
    if (op->b) memcpy(f->b, op->b + first, f->n * sizeof(float));
    for (uint32_t i = 0; i < k; i++) {
        if (f->n < CHANNELS) memset(f->w[i], 0, sizeof f->w[i]), memset(f->x[i], 0, sizeof f->x[i]);
        for (uint32_t c = 0; c < f->n; c++) f->w[i][c] = op->w[(size_t)(first + c) * k + i];
        if (i + 1 < k) memcpy(f->x[i], state + (size_t)i * op->n + first, f->n * sizeof(float));
    }
}

/* Goes to the next input and puts what the filter makes of it in its place. */
static void conv_step(conv *f, float *x, bool biased)
{
    float sum[CHANNELS] = {0};
    memcpy(f->x[f->k - 1], x, f->n * sizeof *x);
    for (uint32_t i = 0; i < f->k; i++)
        for (uint32_t c = 0; c < CHANNELS; c++) sum[c] += f->w[i][c] * f->x[i][c];
    for (uint32_t c = 0; c < CHANNELS && biased; c++) sum[c] += f->b[c];
    memcpy(x, sum, f->n * sizeof *x);
    memmove(f->x[0], f->x[1], (f->k - 1) * sizeof f->x[0]);
}

/* Rows are too far apart for the processor to see that the next one is wanted. */
static void fetch(const float *x)
{
    for (size_t i = 0; i < CHANNELS; i += 16) __builtin_prefetch(x + i, 1);
}

/* y_t[c] = sum over j < K of w[c][j] x_{t-K+1+j}[c] + b[c], in place; the state holds the last K - 1 inputs. */
static void conv_piece(void *ctx, size_t piece, unsigned thread)
{
    walk a = walk_of(ctx, piece);
    (void)thread;
    const ig_op *op = a.op;
    uint32_t k = a.run->m->hp.d_conv, first = (uint32_t)a.part * CHANNELS, last = a.item->first + a.item->n;
    float *state = ig_state_at(a.run, op, a.item, 0); /* [K - 1, op->n] */
    conv f;
    conv_begin(&f, op, state, k, first);
    for (uint32_t row = a.item->first; row < last; row++) {
        if (row + AHEAD < last) fetch(ig_row_at(a.run, op->in, row + AHEAD) + first);
        conv_step(&f, ig_row_at(a.run, op->in, row) + first, op->b != NULL);
        if (row + 1 < last && !ig_snapshot_of(a.item, a.run->rows[row].pos)) continue;
        for (uint32_t i = 0; i + 1 < k; i++) {
            memcpy(state + (size_t)i * op->n + first, f.x[i], f.n * sizeof(float));
            keep(&a, row, (size_t)i * op->n + first, f.n);
        }
    }
}

static size_t channel_blocks(uint32_t n) { return (n + CHANNELS - 1) / CHANNELS; }

void ig_op_conv(ig_run *run, const ig_op *op)
{
    ig_run_pieces(run, op, conv_piece, run->n_items * channel_blocks(op->n));
}

/* h[c][s] = h exp(dt_c A[c][s]) + B_s x_c dt_c; y_c = sum over s of C_s h[c][s] + D_c x_c */
static void mamba_piece(void *ctx, size_t piece, unsigned thread)
{
    walk a = walk_of(ctx, piece);
    (void)thread;
    const ig_op *op = a.op;
    const ig_kernels *k = a.run->k;
    const ig_layer *w = op->layer;
    uint32_t n = a.run->m->hp.d_state, first = (uint32_t)a.part * CHANNELS;
    uint32_t last = first + CHANNELS < op->n ? first + CHANNELS : op->n;
    float *state = ig_state_at(a.run, op, a.item, 0), decay[1024]; /* [inner, n] */
    for (uint32_t row = a.item->first; row < a.item->first + a.item->n; row++) {
        const float *dt = ig_row_at(a.run, op->in, row), *b = ig_row_at(a.run, op->in2, row), *c = b + n;
        float *x = ig_row_at(a.run, op->out, row);
        for (uint32_t i = first; i < last; i++) {
            float *h = state + (size_t)i * n, dx = x[i] * dt[i], y = 0;
            for (uint32_t s = 0; s < n; s++) decay[s] = dt[i] * w->a[(size_t)i * n + s];
            (void)k->exp_sum(decay, 0, n);
            for (uint32_t s = 0; s < n; s++) {
                h[s] = h[s] * decay[s] + b[s] * dx;
                y += c[s] * h[s];
            }
            x[i] = y + w->d[i] * x[i];
        }
        keep(&a, row, (size_t)first * n, (size_t)(last - first) * n);
    }
}

void ig_op_mamba(ig_run *run, const ig_op *op)
{
    ig_run_pieces(run, op, mamba_piece, run->n_items * channel_blocks(op->n));
}

/* state[i][s] = state exp(dt A) + x_i dt B_s; y_i = sum over s of C_s state[i][s] + D x_i */
static void mamba2_piece(void *ctx, size_t piece, unsigned thread)
{
    walk a = walk_of(ctx, piece);
    (void)thread;
    const ig_op *op = a.op;
    const ig_kernels *k = a.run->k;
    const ig_hparams *hp = &a.run->m->hp;
    uint32_t n = hp->d_state, head = (uint32_t)a.part, group = head / (op->heads / hp->n_group);
    size_t size = (size_t)op->n * n, at = head * size;
    float *state = ig_state_at(a.run, op, a.item, 0) + at;
    for (uint32_t row = a.item->first; row < a.item->first + a.item->n; row++) {
        const float *all = ig_row_at(a.run, op->in, row), *x = all + (size_t)head * op->n;
        const float *b = all + hp->d_inner + (size_t)group * n, *c = b + (size_t)hp->n_group * n;
        float dt = ig_row_at(a.run, op->in2, row)[head], decay = expf(dt * op->layer->a[head]);
        float *y = ig_row_at(a.run, op->out, row) + (size_t)head * op->n;
        k->scale(state, decay, size);
        for (uint32_t i = 0; i < op->n; i++) k->add_scaled(state + (size_t)i * n, b, x[i] * dt, n);
        k->kv[IG_KV_F32].scores(c, state, n * sizeof(float), 1, y, n, op->n);
        k->add_scaled(y, x, op->layer->d[head], op->n);
        keep(&a, row, at, size);
    }
}

void ig_op_mamba2(ig_run *run, const ig_op *op)
{
    ig_run_pieces(run, op, mamba2_piece, (size_t)run->n_items * op->heads);
}

/* Decays and strength of one head and token. */
typedef struct gates {
    float all;            /* decay of every key channel */
    const float *channel; /* a decay for each instead, before exp; scaled by a */
    float a, beta;
} gates;

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }
static float softplus(float x) { return x > 20 ? x : log1pf(expf(x)); }

static gates delta_gates(const walk *a, uint32_t row, uint32_t head)
{
    const ig_op *op = a->op;
    const ig_hparams *hp = &a->run->m->hp;
    const float *ba = ig_row_at(a->run, op->in2, row);
    gates g = {.a = op->layer->a[head]};
    if (op->in3.slot != IG_SLOT_NONE) { /* KDA */
        g.channel = ig_row_at(a->run, op->in3, row) + (size_t)head * op->n;
        g.beta = sigmoid(ba[head]);
        return g;
    }
    uint32_t per = op->heads / hp->n_group, k = head / per, i = head % per;
    bool split = ig_part_on(a->run->m, IG_PART_SPLIT_BETA);
    float beta = split ? ba[head] : ba[k * 2 * per + i],
          alpha = split ? ba[op->heads + head] : ba[k * 2 * per + per + i];
    g.beta = sigmoid(beta);
    g.all = expf(g.a * softplus(alpha + op->layer->dt_bias[head]));
    return g;
}

/* S *= decay; e = (v - S^T k) beta; S += k e^T; o = S^T q / sqrt(n). S [n keys, n values]. */
static void delta_token(const walk *a, float *state, const gates *g, const float *q, const float *k, const float *v,
                        float *o)
{
    const ig_kernels *kn = a->run->k;
    uint32_t n = a->op->n;
    float decay[IG_HEAD_SIZE_MAX], e[IG_HEAD_SIZE_MAX];
    memset(decay, 0, n * sizeof *decay);
    memset(e, 0, n * sizeof *e);
    for (uint32_t i = 0; i < n; i++) decay[i] = g->channel ? expf(g->a * g->channel[i]) : g->all;
    kn->recall(state, decay, k, e, n);
    for (uint32_t i = 0; i < n; i++) e[i] = (v[i] - e[i]) * g->beta;
    memset(o, 0, n * sizeof *o);
    kn->learn(state, k, e, q, o, n);
    kn->scale(o, (float)(1 / sqrt((double)n)), n);
}

static void delta_piece(void *ctx, size_t piece, unsigned thread)
{
    walk a = walk_of(ctx, piece);
    (void)thread;
    const ig_op *op = a.op;
    const ig_hparams *hp = &a.run->m->hp;
    uint32_t n = op->n, nk = hp->n_group, head = (uint32_t)a.part, per = op->heads / nk;
    uint32_t key = ig_part_on(a.run->m, IG_PART_CYCLIC_HEADS) ? head % nk : head / per;
    size_t size = (size_t)n * n, at = head * size;
    float *state = ig_state_at(a.run, op, a.item, 0) + at;
    for (uint32_t row = a.item->first; row < a.item->first + a.item->n; row++) {
        const float *q = ig_row_at(a.run, op->in, row);
        gates g = delta_gates(&a, row, head);
        delta_token(&a, state, &g, q + (size_t)key * n, q + (size_t)(nk + key) * n, q + ((size_t)2 * nk + head) * n,
                    ig_row_at(a.run, op->out, row) + (size_t)head * n);
        keep(&a, row, at, size);
    }
}

void ig_op_delta(ig_run *run, const ig_op *op)
{
    ig_run_pieces(run, op, delta_piece, (size_t)run->n_items * op->heads);
}

/* out[i] = in + (in of the token before - in) * w[i], for `heads` vectors w; the state holds the last input. */
static void shift_piece(void *ctx, size_t piece, unsigned thread)
{
    walk a = walk_of(ctx, piece);
    (void)thread;
    const ig_op *op = a.op;
    uint32_t first = (uint32_t)a.part * CHANNELS, last = first + CHANNELS < op->n ? first + CHANNELS : op->n;
    float *state = ig_state_at(a.run, op, a.item, 0);
    for (uint32_t row = a.item->first; row < a.item->first + a.item->n; row++) {
        const float *x = ig_row_at(a.run, op->in, row);
        float *out = ig_row_at(a.run, op->out, row);
        for (uint32_t h = 0; h < op->heads; h++)
            for (uint32_t c = first; c < last; c++)
                out[(size_t)h * op->n + c] = x[c] + (state[c] - x[c]) * op->w[(size_t)h * op->n + c];
        memcpy(state + first, x + first, (last - first) * sizeof *x);
        keep(&a, row, first, last - first);
    }
}

void ig_op_shift(ig_run *run, const ig_op *op)
{
    ig_run_pieces(run, op, shift_piece, run->n_items * channel_blocks(op->n));
}

typedef struct rwkv_head { /* what one head of one token brings */
    float w[1024], k[1024], v[1024], a[1024], kk[1024];
    const float *r;
} rwkv_head;

/* Decay, key, value and learning rate of the head, from the projected rows (w, k, v, a as the matrices gave them). */
static void rwkv_inputs(const walk *a, uint32_t row, rwkv_head *h)
{
    const ig_op *op = a->op;
    const ig_layer *w = op->layer;
    uint32_t n = op->n, d = n * op->heads, at = (uint32_t)a->part * n;
    const float *in = ig_row_at(a->run, op->in, row), *mix = ig_row_at(a->run, op->in2, row) + at;
    float *first = ig_row_at(a->run, op->in3, row) + at;
    double sum = 0;
    h->r = in + at;
    for (uint32_t i = 0; i < n; i++) {
        float k = in[2 * d + at + i], v = in[3 * d + at + i];
        if (w->index == 0)
            first[i] = v;
        else
            v += (first[i] - v) * sigmoid(w->v0[at + i] + mix[i]);
        h->w[i] = expf(-0.606531f * sigmoid(w->w0[at + i] + in[d + at + i]));
        h->a[i] = sigmoid(w->a0[at + i] + in[4 * d + at + i]);
        h->kk[i] = k * w->k_k[at + i];
        h->k[i] = k + k * w->k_a[at + i] * (h->a[i] - 1);
        h->v[i] = v;
        sum += (double)h->kk[i] * (double)h->kk[i];
    }
    float unit = (float)(1 / fmax(sqrt(sum), 1e-12));
    for (uint32_t i = 0; i < n; i++) h->kk[i] *= unit;
}

/* S[j] (key channel j, a row of values) = S[j] w_j + v k_j + (sum over m of S[m] (-kk_m)) kk_j a_j; o = sum of S[j] r_j
 */
static void rwkv_token(const walk *a, float *state, rwkv_head *h, float *o)
{
    const ig_kernels *k = a->run->k;
    uint32_t n = a->op->n;
    float removed[1024] = {0};
    k->kv[IG_KV_F32].mix(h->kk, state, n * sizeof(float), removed, n, n);
    for (uint32_t j = 0; j < n; j++) {
        float *s = state + (size_t)j * n;
        k->scale(s, h->w[j], n);
        k->add_scaled(s, h->v, h->k[j], n);
        k->add_scaled(s, removed, -h->kk[j] * h->a[j], n);
    }
    memset(o, 0, n * sizeof *o);
    k->kv[IG_KV_F32].mix(h->r, state, n * sizeof(float), o, n, n);
}

static void rwkv_piece(void *ctx, size_t piece, unsigned thread)
{
    walk a = walk_of(ctx, piece);
    (void)thread;
    const ig_op *op = a.op;
    const ig_layer *w = op->layer;
    uint32_t n = op->n, at = (uint32_t)a.part * n;
    size_t size = (size_t)n * n;
    float *state = ig_state_at(a.run, op, a.item, 0) + a.part * size;
    rwkv_head h;
    for (uint32_t row = a.item->first; row < a.item->first + a.item->n; row++) {
        float *o = ig_row_at(a.run, op->out, row) + at, bonus = 0;
        rwkv_inputs(&a, row, &h);
        rwkv_token(&a, state, &h, o);
        a.run->k->layer_norm(o, w->ln_w + at, w->ln_b + at, 64e-5f, o, n);
        for (uint32_t i = 0; i < n; i++) bonus += h.k[i] * h.r[i] * w->r_k[at + i];
        a.run->k->add_scaled(o, h.v, bonus, n);
        keep(&a, row, a.part * size, size);
    }
}

void ig_op_rwkv(ig_run *run, const ig_op *op) { ig_run_pieces(run, op, rwkv_piece, (size_t)run->n_items * op->heads); }
