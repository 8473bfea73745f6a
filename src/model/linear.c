/* Products with weight matrices, in pieces of some weight rows. */
#include "model/run.h"

static size_t mat_pieces(const ig_job *j, const ig_mat *w) { return (w->n_out + j->rows - 1) / j->rows; }

/* Scales, bias and residual of one piece: y [n_cols, rows] with the given stride. */
static void finish_piece(const ig_job *j, const ig_mat *w, ig_view out, const ig_mul_args *a, size_t first)
{
    const ig_kernels *k = j->run->k;
    for (size_t c = 0; c < a->n_cols; c++) {
        float *y = a->y + c * a->y_stride;
        if (w->scale) k->scale(y, w->scale[0], a->n_rows);
        if (w->bias) k->add(y, w->bias + first, a->n_rows);
        if (j->op->a != 1) k->scale(y, j->op->a, a->n_rows);
        if (j->op->add) k->add(ig_row_at(j->run, out, c) + first, y, a->n_rows);
    }
}

/* The rows from `first` on of matrix i against all columns. */
static void multiply(const ig_job *j, uint32_t i, size_t first, unsigned thread, float *y, size_t y_stride)
{
    ig_run *run = j->run;
    const ig_op *op = j->op;
    const ig_mat *w = op->mat[i];
    const ig_type_kernels *k = &run->k->type[w->type];
    size_t left = w->n_out - first;
    bool f32 = k->pack == IG_PACK_F32;
    ig_mul_args a = {
        .w = w->data + first * w->row_bytes,
        .w_stride = w->row_bytes,
        .x = f32 ? (const void *)ig_row_at(run, op->in, 0) : run->packed[k->pack],
        .x_stride = f32 ? run->m->slot_width[op->in.slot] * sizeof(float) : run->k->pack[k->pack].bytes(w->n_in),
        .y = y,
        .y_stride = y_stride,
        .n = w->n_in,
        .n_rows = left < j->rows ? left : j->rows,
        .n_cols = ig_op_rows(run, op),
        .room = run->scratch[thread].room,
    };
    k->mul(&a);
    run->scratch[thread].weight_bytes += a.n_rows * w->row_bytes;
    finish_piece(j, w, op->mat_out[i], &a, first);
}

static void linear_piece(void *ctx, size_t piece, unsigned thread)
{
    const ig_job *j = ctx;
    const ig_op *op = j->op;
    uint32_t i = 0;
    while (piece >= mat_pieces(j, op->mat[i])) piece -= mat_pieces(j, op->mat[i++]);
    const ig_view out = op->mat_out[i];
    const size_t first = piece * j->rows;
    if (op->add)
        multiply(j, i, first, thread, j->run->scratch[thread].tile, j->rows);
    else
        multiply(j, i, first, thread, ig_row_at(j->run, out, 0) + first, j->run->m->slot_width[out.slot]);
}

/* Rows of both matrices; what comes of the second is never kept. */
static void gated_piece(void *ctx, size_t piece, unsigned thread)
{
    const ig_job *j = ctx;
    const ig_op *op = j->op;
    float *y = ig_row_at(j->run, op->mat_out[0], 0) + piece * j->rows, *tile = j->run->scratch[thread].tile;
    const size_t width = j->run->m->slot_width[op->mat_out[0].slot], left = op->mat[0]->n_out - piece * j->rows;
    multiply(j, 0, piece * j->rows, thread, y, width);
    multiply(j, 1, piece * j->rows, thread, tile, j->rows);
    for (size_t c = 0; c < ig_op_rows(j->run, op); c++)
        ig_gate(j->run, op, y + c * width, tile + c * j->rows, (uint32_t)(left < j->rows ? left : j->rows));
}

static void gate_row(void *ctx, size_t row, unsigned thread)
{
    const ig_job *j = ctx;
    (void)thread;
    ig_gate(j->run, j->op, ig_row_at(j->run, j->op->mat_out[0], row), ig_row_at(j->run, j->op->mat_out[1], row),
            j->op->mat[0]->n_out);
}

/* Few rows wait for memory, which likes one matrix after the other; many would fill it with what comes of the second.
 */
void ig_op_linear(ig_run *run, const ig_op *op)
{
    size_t n = 0, n_out = 0;
    uint32_t n_rows = ig_op_rows(run, op);
    if (n_rows == 0) return;
    for (uint32_t i = 0; i < op->n_mats; i++) n_out += op->mat[i]->n_out;
    bool together = op->gated && n_rows > IG_FEW_ROWS;
    ig_job j = {run, op, ig_piece_rows(run, together ? op->mat[0]->n_out : n_out, n_rows)};
    for (uint32_t i = 0; i < op->n_mats; i++) {
        n += mat_pieces(&j, op->mat[i]);
        ig_tell(run, op->mat[i], 0, ig_row_at(run, op->in, 0), run->m->slot_width[op->in.slot], n_rows);
    }
    if (together) {
        ig_pool_run(run->pool, gated_piece, &j, mat_pieces(&j, op->mat[0]));
        return;
    }
    if (n) ig_pool_run(run->pool, linear_piece, &j, n);
    if (op->gated) ig_run_pieces(run, op, gate_row, n_rows);
}

/* One head of up to IG_HEAD_ROWS rows: piece = tile * heads + head. */
static void heads_piece(void *ctx, size_t piece, unsigned thread)
{
    const ig_job *j = ctx;
    ig_run *run = j->run;
    const ig_op *op = j->op;
    const ig_mat *w = op->mat[0];
    const ig_type_kernels *k = &run->k->type[w->type];
    const ig_pack_kernels *p = &run->k->pack[k->pack];
    uint32_t h = (uint32_t)(piece % op->heads), first = (uint32_t)(piece / op->heads) * IG_HEAD_ROWS;
    uint32_t n = run->n_rows - first < IG_HEAD_ROWS ? run->n_rows - first : IG_HEAD_ROWS;
    ig_view in = {op->in.slot, op->in.at + h * op->in_stride}, out = {op->out.slot, op->out.at + h * op->out_stride};
    bool f32 = k->pack == IG_PACK_F32;
    size_t bytes = p->bytes(op->n);
    for (uint32_t r = 0; r < n && !f32; r++)
        p->pack(ig_row_at(run, in, first + r), run->scratch[thread].packed + r * bytes, op->n);
    ig_mul_args a = {
        .w = ig_mat_at(w, h),
        .w_stride = w->row_bytes,
        .x = f32 ? (const void *)ig_row_at(run, in, first) : run->scratch[thread].packed,
        .x_stride = f32 ? run->m->slot_width[in.slot] * sizeof(float) : bytes,
        .y = ig_row_at(run, out, first),
        .y_stride = run->m->slot_width[out.slot],
        .n = op->n,
        .n_rows = w->n_out,
        .n_cols = n,
    };
    k->mul(&a);
    for (uint32_t r = 0; w->scale && r < n; r++) run->k->scale(a.y + r * a.y_stride, ig_mat_scale(w, h), w->n_out);
    run->scratch[thread].weight_bytes += (size_t)w->n_out * w->row_bytes;
}

void ig_op_heads(ig_run *run, const ig_op *op)
{
    size_t n_tiles = (run->n_rows + IG_HEAD_ROWS - 1) / IG_HEAD_ROWS;
    for (uint32_t h = 0; run->observe && h < op->heads; h++)
        ig_tell(run, op->mat[0], h, ig_row_at(run, (ig_view){op->in.slot, op->in.at + h * op->in_stride}, 0),
                run->m->slot_width[op->in.slot], run->n_rows);
    ig_run_pieces(run, op, heads_piece, n_tiles * op->heads);
}
