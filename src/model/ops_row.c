/* Operations that work on one row at a time. */
#include <math.h>

#include "model/run.h"

typedef void (*row_fn)(ig_run *run, const ig_op *op, size_t row);

static void embed(ig_run *run, const ig_op *op, size_t row)
{
    const ig_mat *e = op->mat[0];
    float *out = ig_row_at(run, op->out, row);
    run->k->type[e->type].to_f32(e->data + (size_t)run->rows[row].token * e->row_bytes, out, e->n_in);
    if (op->a != 1) run->k->scale(out, op->a, op->n);
}

static void position(ig_run *run, const ig_op *op, size_t row)
{
    const ig_mat *e = op->mat[0];
    /* The sum passes through a row of scratch: types other than F32 decode whole blocks. */
    float part[256];
    float *out = ig_row_at(run, op->out, row);
    const uint8_t *src = e->data + (op->flag ? 0 : (size_t)run->rows[row].pos * e->row_bytes);
    const ig_dtype_info *type = ig_dtype_row(e->type);
    for (uint32_t i = 0; i < op->n; i += 256) {
        uint32_t n = op->n - i < 256 ? op->n - i : 256;
        run->k->type[e->type].to_f32(src + i / type->block_elems * type->block_bytes, part, n);
        run->k->add(out + i, part, n);
    }
}

static void angles(ig_run *run, const ig_op *op, size_t row)
{
    double pos = run->rows[row].pos;
    (void)op;
    for (int r = 0; r < run->m->n_ropes; r++) {
        const ig_rope *rope = &run->m->ropes[r];
        float *cs = run->angles + row * run->m->angles_width + rope->at;
        const double *freq =
            rope->inv_freq_long && run->opt.n_ctx > rope->n_orig ? rope->inv_freq_long : rope->inv_freq;
        for (uint32_t i = 0; i < rope->n_pairs; i++) {
            double theta = pos * freq[i];
            cs[i] = (float)(cos(theta) * rope->magnitude);
            cs[rope->n_pairs + i] = (float)(sin(theta) * rope->magnitude);
        }
    }
}

/* x / sqrt(sum of squares + eps): the file's epsilon lies under the root, as in the published models. */
static void unit_length(const float *x, float *y, float eps, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    float f = (float)(1 / sqrt(sum + (double)eps));
    for (uint32_t i = 0; i < n; i++) y[i] = x[i] * f;
}

static void norm(ig_run *run, const ig_op *op, size_t row)
{
    const float *x = ig_row_at(run, op->in, row);
    float *y = ig_row_at(run, op->out, row);
    for (uint32_t h = 0; h < op->heads; h++, x += op->in_stride, y += op->out_stride) {
        const float *w = op->w ? op->w + (size_t)h * op->w_stride : NULL;
        if (op->a != 0)
            unit_length(x, y, op->eps, op->n);
        else if (!op->flag)
            run->k->layer_norm(x, w, op->b, op->eps, y, op->n);
        else {
            run->k->rms_norm(x, w, op->eps, y, op->n);
            if (op->b) run->k->add(y, op->b, op->n);
        }
    }
}

static void pack(ig_run *run, const ig_op *op, size_t row)
{
    for (int p = 0; p < IG_PACK_COUNT; p++) {
        if (!(op->packs & 1u << p)) continue;
        const ig_pack_kernels *k = &run->k->pack[p];
        k->pack(ig_row_at(run, op->in, row), run->packed[p] + row * k->bytes(op->n), op->n);
    }
}

static void rope(ig_run *run, const ig_op *op, size_t row)
{
    const ig_rope *r = &run->m->ropes[op->rope];
    const float *cs = run->angles + row * run->m->angles_width + r->at;
    float *x = ig_row_at(run, op->in, row) + op->from;
    for (uint32_t h = 0; h < op->heads; h++, x += op->in_stride) {
        if (op->flag)
            run->k->rope_norm(x, cs, r->n_pairs);
        else
            run->k->rope_neox(x, cs, r->n_pairs);
    }
}

static void temper(ig_run *run, const ig_op *op, size_t row)
{
    const ig_hparams *hp = &run->m->hp;
    double steps = floor(((double)run->rows[row].pos + (double)hp->temp_offset) / hp->temp_len);
    run->k->scale(ig_row_at(run, op->in, row), (float)(1 + (double)hp->temp_scale * log(1 + steps)), op->n);
}

static void copy(ig_run *run, const ig_op *op, size_t row)
{
    const float *in = ig_row_at(run, op->in, row);
    float *out = ig_row_at(run, op->out, row);
    for (uint32_t h = 0; h < op->heads; h++)
        memcpy(out + (size_t)h * op->out_stride, in + (size_t)h * op->in_stride, op->n * sizeof *out);
}

static void add(ig_run *run, const ig_op *op, size_t row)
{
    const float *in = ig_row_at(run, op->in, row);
    float *out = ig_row_at(run, op->out, row);
    if (op->a == 1)
        run->k->add(out, in, op->n);
    else
        run->k->add_scaled(out, in, op->a, op->n);
}

static void scale(ig_run *run, const ig_op *op, size_t row) { run->k->scale(ig_row_at(run, op->in, row), op->a, op->n); }

static void clamp(ig_run *run, const ig_op *op, size_t row)
{
    float *x = ig_row_at(run, op->in, row);
    for (uint32_t i = 0; i < op->n; i++) x[i] = x[i] > op->a ? op->a : x[i] < -op->a ? -op->a : x[i];
}

static void softcap(ig_run *run, const ig_op *op, size_t row)
{
    float *x = ig_row_at(run, op->in, row);
    for (uint32_t i = 0; i < op->n; i++) x[i] = op->a * tanhf(x[i] / op->a);
}

static void tangent(ig_run *run, const ig_op *op, size_t row)
{
    float *x = ig_row_at(run, op->in, row);
    for (uint32_t i = 0; i < op->n; i++) x[i] = tanhf(x[i]);
}

static void mul(ig_run *run, const ig_op *op, size_t row)
{
    const float *in = ig_row_at(run, op->in, row);
    float *out = ig_row_at(run, op->out, row);
    for (uint32_t i = 0; i < op->n; i++) out[i] *= in[i];
}

static void mulvec(ig_run *run, const ig_op *op, size_t row)
{
    float *out = ig_row_at(run, op->out, row);
    for (uint32_t i = 0; i < op->n; i++) out[i] *= op->w[i];
}

static void addvec(ig_run *run, const ig_op *op, size_t row)
{
    run->k->add(ig_row_at(run, op->out, row), op->w, op->n);
}

/* Step 3.5: silu(gate) at most a, up within -a..a. */
static void clamped_glu(const ig_run *run, float *gate, const float *up, float a, uint32_t n)
{
    run->k->glu[IG_ACT_SILU](gate, NULL, gate, n);
    for (uint32_t i = 0; i < n; i++) {
        float u = up[i] > a ? a : up[i] < -a ? -a : up[i];
        gate[i] = (gate[i] > a ? a : gate[i]) * u;
    }
}

void ig_gate(const ig_run *run, const ig_op *op, float *gate, const float *up, uint32_t n)
{
    if (op->limit > 0 && up)
        clamped_glu(run, gate, up, op->limit, n);
    else
        run->k->glu[op->act](gate, up, gate, n);
}

static void glu(ig_run *run, const ig_op *op, size_t row)
{
    const float *up = op->in2.slot != IG_SLOT_NONE ? ig_row_at(run, op->in2, row) : NULL;
    ig_gate(run, op, ig_row_at(run, op->in, row), up, op->n);
}

/* xIELU (Huang and Schlag 2024, arXiv 2411.13010) */
static void xielu(ig_run *run, const ig_op *op, size_t row)
{
    float *x = ig_row_at(run, op->in, row);
    const float an = op->layer->xielu[0], ap = op->layer->xielu[1], beta = op->layer->xielu[2],
                eps = op->layer->xielu[3];
    for (uint32_t i = 0; i < op->n; i++) {
        float v = x[i];
        x[i] = v > 0 ? ap * v * v + beta * v : (expm1f(v < eps ? v : eps) - v) * an + beta * v;
    }
}

/* out *= act(in): in_stride 1 has one value for a head of out, any other a value for every value. */
static void gate(ig_run *run, const ig_op *op, size_t row)
{
    float *in = ig_row_at(run, op->in, row), *out = ig_row_at(run, op->out, row);
    for (uint32_t h = 0; h < op->heads; h++, in += op->in_stride, out += op->out_stride) {
        if (op->in_stride == 1) {
            float g = *in;
            run->k->glu[op->act](&g, NULL, &g, 1);
            run->k->scale(out, g, op->n);
        } else
            run->k->glu[op->act](in, out, out, op->n);
    }
}

static void dot(ig_run *run, const ig_op *op, size_t row)
{
    const float *in = ig_row_at(run, op->in, row);
    double sum = 0;
    for (uint32_t i = 0; i < op->n; i++) sum += (double)in[i] * (double)op->w[i];
    *ig_row_at(run, op->out, row) = (float)sum;
}

/* Gemma 3n: keeps what lies a deviations above the mean, so that about one in twenty gates is open. */
static void sparse(ig_run *run, const ig_op *op, size_t row)
{
    float *x = ig_row_at(run, op->in, row);
    double mean = 0, var = 0;
    for (uint32_t i = 0; i < op->n; i++) mean += (double)x[i];
    mean /= op->n;
    for (uint32_t i = 0; i < op->n; i++) var += ((double)x[i] - mean) * ((double)x[i] - mean);
    float cut = (float)(mean + (double)op->a * sqrt(var / (op->n > 1 ? op->n - 1 : 1)));
    for (uint32_t i = 0; i < op->n; i++) x[i] = x[i] > cut ? x[i] - cut : 0;
}

static void softmax(ig_run *run, const ig_op *op, size_t row)
{
    float *x = ig_row_at(run, op->in, row);
    run->k->scale(x, 1 / run->k->exp_sum(x, run->k->max(x, op->n), op->n), op->n);
}

enum { STREAMS = 4 };

static void predict(ig_run *run, const ig_op *op, size_t row)
{
    const float *s = ig_row_at(run, op->in, row), *c = ig_row_at(run, op->in2, row);
    float *out = ig_row_at(run, op->out, row);
    memcpy(out, s, STREAMS * op->n * sizeof *out);
    for (uint32_t i = 0; i < STREAMS; i++)
        for (uint32_t j = 0; j < STREAMS; j++)
            run->k->add_scaled(out + (size_t)i * op->n, s + (size_t)j * op->n, c[i * STREAMS + j], op->n);
}

static void correct(ig_run *run, const ig_op *op, size_t row)
{
    const float *y = ig_row_at(run, op->in, row), *c = ig_row_at(run, op->in2, row);
    const float *predicted = ig_row_at(run, op->in3, row);
    float *out = ig_row_at(run, op->out, row);
    for (uint32_t i = 0; i < STREAMS; i++)
        for (uint32_t k = 0; k < op->n; k++)
            out[i * op->n + k] = predicted[i * op->n + k] + (c[i] + 1) * (y[k] - predicted[k]);
}

static double length(const float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static void match(ig_run *run, const ig_op *op, size_t row)
{
    float *x = ig_row_at(run, op->in, row);
    double have = length(x, op->n), want = length(ig_row_at(run, op->in2, row), op->n);
    run->k->scale(x, have > 0 ? (float)(want / have) : 0, op->n);
}

static const row_fn fns[IG_OP_COUNT] = {
    [IG_OP_EMBED] = embed,     [IG_OP_POSITION] = position, [IG_OP_ANGLES] = angles,   [IG_OP_NORM] = norm,
    [IG_OP_PACK] = pack,       [IG_OP_ROPE] = rope,         [IG_OP_TEMPER] = temper,   [IG_OP_COPY] = copy,
    [IG_OP_ADD] = add,         [IG_OP_SCALE] = scale,       [IG_OP_CLAMP] = clamp,     [IG_OP_SOFTCAP] = softcap,
    [IG_OP_TANH] = tangent,    [IG_OP_MUL] = mul,           [IG_OP_MULVEC] = mulvec,   [IG_OP_ADDVEC] = addvec,
    [IG_OP_GLU] = glu,         [IG_OP_XIELU] = xielu,       [IG_OP_GATE] = gate,       [IG_OP_DOT] = dot,
    [IG_OP_SPARSE] = sparse,   [IG_OP_PREDICT] = predict,   [IG_OP_CORRECT] = correct, [IG_OP_MATCH] = match,
    [IG_OP_SOFTMAX] = softmax,
};

static void piece(void *ctx, size_t row, unsigned thread)
{
    const ig_job *j = ctx;
    (void)thread;
    fns[j->op->kind](j->run, j->op, row);
}

static void each_row(ig_run *run, const ig_op *op) { ig_run_pieces(run, op, piece, ig_op_rows(run, op)); }

static void select_rows(ig_run *run, const ig_op *op)
{
    for (uint32_t i = 0; i < run->n_wanted; i++)
        memcpy(ig_row_at(run, op->out, i), ig_row_at(run, op->in, run->wanted[i]), op->n * sizeof(float));
}

/* Consecutive wanted rows of one item become their mean, summed in the order of the tokens. */
static void mean_rows(ig_run *run, const ig_op *op)
{
    for (uint32_t first = 0, end = 0; first < run->n_wanted; first = end) {
        uint32_t item = run->rows[run->wanted[first]].item;
        while (end < run->n_wanted && run->rows[run->wanted[end]].item == item) end++;
        for (uint32_t i = 0; i < op->n; i++) {
            double sum = 0;
            for (uint32_t r = first; r < end; r++) sum += (double)ig_row_at(run, op->in, r)[i];
            for (uint32_t r = first; r < end; r++) ig_row_at(run, op->in, r)[i] = (float)(sum / (end - first));
        }
    }
}

const ig_op_fn ig_row_ops[IG_OP_COUNT] = {
    [IG_OP_EMBED] = each_row,  [IG_OP_POSITION] = each_row, [IG_OP_ANGLES] = each_row,  [IG_OP_NORM] = each_row,
    [IG_OP_PACK] = each_row,   [IG_OP_ROPE] = each_row,     [IG_OP_TEMPER] = each_row,  [IG_OP_COPY] = each_row,
    [IG_OP_ADD] = each_row,    [IG_OP_SCALE] = each_row,    [IG_OP_CLAMP] = each_row,   [IG_OP_SOFTCAP] = each_row,
    [IG_OP_TANH] = each_row,   [IG_OP_MUL] = each_row,      [IG_OP_MULVEC] = each_row,  [IG_OP_ADDVEC] = each_row,
    [IG_OP_GLU] = each_row,    [IG_OP_XIELU] = each_row,    [IG_OP_GATE] = each_row,    [IG_OP_DOT] = each_row,
    [IG_OP_SPARSE] = each_row, [IG_OP_PREDICT] = each_row,  [IG_OP_CORRECT] = each_row, [IG_OP_MATCH] = each_row,
    [IG_OP_SELECT] = select_rows, [IG_OP_SOFTMAX] = each_row, [IG_OP_MEAN] = mean_rows,
};
