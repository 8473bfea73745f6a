/* Plan of one attention: grouped queries, latent attention, indexers. */
#include "model/build.h"

static void emit_rope(ig_builder *b, const ig_layer *w, ig_view v, uint32_t heads, uint32_t stride, uint32_t from)
{
    if (w->rope < 0) return;
    ig_rope_kind kind = b->m->arch->rope;
    if (kind == IG_ROPE_NORM && b->m->half_split) kind = IG_ROPE_NEOX;
    ig_emit(b, (ig_op){.kind = IG_OP_ROPE,
                       .in = v,
                       .heads = heads,
                       .in_stride = stride,
                       .from = from,
                       .rope = w->rope,
                       .flag = kind == IG_ROPE_NORM});
}

static void emit_temperature(ig_builder *b, const ig_layer *w, ig_view q, uint32_t n)
{
    if (b->m->hp.temp_scale == 0 || (ig_part_on(b->m, IG_PART_TEMPER_UNROPED) && w->rope >= 0)) return;
    ig_emit(b, (ig_op){.kind = IG_OP_TEMPER, .in = q, .n = n});
}

static void emit_copy(ig_builder *b, ig_view in, ig_view out, uint32_t n, uint32_t heads, uint32_t in_stride,
                      uint32_t out_stride)
{
    ig_use(b, out, (uint64_t)(heads - 1) * out_stride + n);
    ig_emit(b, (ig_op){.kind = IG_OP_COPY,
                       .in = in,
                       .out = out,
                       .n = n,
                       .heads = heads,
                       .in_stride = in_stride,
                       .out_stride = out_stride});
}

static void emit_heads(ig_builder *b, const ig_mat *mat, ig_view in, uint32_t in_stride, ig_view out, uint32_t out_stride)
{
    const ig_kernels *k = b->m->kernels;
    size_t bytes = k->pack[k->type[mat->type].pack].bytes(mat->n_in);
    if (bytes > b->m->heads_bytes) b->m->heads_bytes = bytes;
    ig_use(b, out, (uint64_t)(mat->n_mats - 1) * out_stride + mat->n_out);
    ig_emit(b, (ig_op){.kind = IG_OP_HEADS,
                       .mat = {mat},
                       .in = in,
                       .out = out,
                       .n = mat->n_in,
                       .heads = mat->n_mats,
                       .in_stride = in_stride,
                       .out_stride = out_stride});
}

typedef struct heads { /* where queries, keys and values of a layer lie */
    ig_view q, k, v;
    uint32_t q_stride, q_width; /* distance of query heads; all of them */
} heads;

/* Norm over every head of queries or keys, or over all of them together. */
static void emit_qk_norm(ig_builder *b, const ig_norm *norm, ig_view v, uint32_t n, uint32_t count, uint32_t stride)
{
    bool unit = b->m->arch->qk_norm == IG_QK_UNIT;
    if (!norm->here && !unit) return;
    if (b->m->arch->qk_norm == IG_QK_FULL) {
        ig_emit_head_norm(b, v, norm, n * count, 1, 0);
        return;
    }
    ig_op *op = ig_emit_head_norm(b, v, unit ? NULL : norm, n, count, stride);
    if (b->m->arch->qk_norm == IG_QK_HEADS) op->w_stride = n;
}

static void norm_qk(ig_builder *b, const ig_layer *w, const heads *h, bool late)
{
    ig_qk_norm kind = b->m->arch->qk_norm;
    bool is_late = kind == IG_QK_LATE || kind == IG_QK_UNIT;
    if (kind == IG_QK_NONE || is_late != late || (kind == IG_QK_UNIT && w->rope < 0)) return;
    emit_qk_norm(b, &w->q_norm, h->q, w->head_k, w->n_heads, h->q_stride);
    if (w->kv_layer == w->index) emit_qk_norm(b, &w->k_norm, h->k, w->head_k, w->n_heads_kv, w->head_k);
}

/* Rows of q, k and v into the QKV slot. */
static heads project(ig_builder *b, const ig_layer *w, ig_view in)
{
    bool gate = b->m->arch->gate == IG_GATE_FROM_Q, own = w->kv_layer == w->index;
    uint32_t stride = w->head_k * (gate ? 2 : 1), k_width = w->n_heads_kv * w->head_k;
    heads h = {.q = IG_VIEW(QKV, 0), .q_stride = stride, .q_width = w->n_heads * stride};
    h.k = IG_VIEW(QKV, h.q_width);
    h.v = IG_VIEW(QKV, h.q_width + k_width);
    if (ig_mat_here(&w->qkv))
        ig_emit_linear(b, in, (ig_out[]){{&w->qkv, h.q}}, 1);
    else if (!own)
        ig_emit_linear(b, in, (ig_out[]){{&w->q, h.q}}, 1);
    else if (ig_mat_here(&w->v))
        ig_emit_linear(b, in, (ig_out[]){{&w->q, h.q}, {&w->k, h.k}, {&w->v, h.v}}, 3);
    else {
        ig_emit_linear(b, in, (ig_out[]){{&w->q, h.q}, {&w->k, h.k}}, 2);
        emit_copy(b, h.k, h.v, k_width, 1, 0, 0);
    }
    if (b->m->hp.clamp_kqv > 0)
        ig_emit(b, (ig_op){.kind = IG_OP_CLAMP,
                           .in = h.q,
                           .n = h.v.at + w->n_heads_kv * w->head_v,
                           .a = b->m->hp.clamp_kqv});
    return h;
}

static void emit_store(ig_builder *b, const ig_layer *w, ig_view k, ig_view v)
{
    ig_emit(b, (ig_op){.kind = IG_OP_STORE, .layer = w, .in = k, .in2 = v});
}

static ig_view emit_attend(ig_builder *b, const ig_layer *w, ig_view q, uint32_t q_stride, ig_view out)
{
    ig_use(b, out, (uint64_t)w->n_heads * w->head_v);
    ig_emit(b, (ig_op){.kind = IG_OP_ATTEND,
                       .layer = w,
                       .in = q,
                       .out = out,
                       .heads = w->n_heads,
                       .in_stride = q_stride,
                       .out_stride = w->head_v,
                       .from = b->m->hp.causal ? IG_SEE_BEFORE : IG_SEE_ALL,
                       .a = w->attn_scale});
    return out;
}

static void emit_gate(ig_builder *b, const ig_layer *w, ig_view in, const heads *h, ig_view a)
{
    ig_attn_gate kind = b->m->arch->gate;
    ig_op op = {.kind = IG_OP_GATE, .out = a, .n = w->head_v, .heads = w->n_heads, .out_stride = w->head_v,
                .act = kind == IG_GATE_SOFTPLUS ? IG_ACT_SOFTPLUS : IG_ACT_SIGMOID};
    if (kind == IG_GATE_NONE) return;
    if (kind == IG_GATE_FROM_Q) {
        op.in = (ig_view){h->q.slot, h->q.at + w->head_k};
        op.in_stride = h->q_stride;
    } else {
        op.in = IG_VIEW(Z, 0);
        ig_emit_linear(b, in, (ig_out[]){{&w->gate_attn, op.in}}, 1);
        op.in_stride = w->gate_attn.n_out == w->n_heads ? 1 : w->head_v;
    }
    ig_emit(b, op);
}

/* MiniMax M3: for every key head the best blocks of positions. Index queries and the index key share the norm and
 * rotation of q and k. */
static void plan_block_indexer(ig_builder *b, const ig_layer *w, ig_view in)
{
    const ig_hparams *hp = &b->m->hp;
    ig_view q = IG_VIEW(I, 0), k = IG_VIEW(I, hp->idx_heads * hp->idx_head);
    ig_emit_linear(b, in, (ig_out[]){{&w->idx_q, q}, {&w->idx_k, k}}, 2);
    ig_emit_head_norm(b, q, &w->idx_q_norm, hp->idx_head, hp->idx_heads, hp->idx_head);
    ig_emit_norm(b, k, k, &w->idx_k_norm, hp->idx_head);
    emit_rope(b, w, q, hp->idx_heads, hp->idx_head, 0);
    emit_rope(b, w, k, 1, hp->idx_head, 0);
    ig_emit(b, (ig_op){.kind = IG_OP_INDEX_STORE, .layer = w, .in = k});
    ig_emit(b, (ig_op){.kind = IG_OP_INDEX, .layer = w, .in = q});
}

/* DeepSeek sparse attention: the best positions for all heads. q_a is the normed query latent. */
static void plan_token_indexer(ig_builder *b, const ig_layer *w, ig_view in, ig_view q_a)
{
    const ig_hparams *hp = &b->m->hp;
    uint32_t width = hp->idx_heads * hp->idx_head;
    ig_view q = IG_VIEW(I, 0), k = IG_VIEW(I, width), weights = IG_VIEW(I, width + hp->idx_head);
    ig_rope_kind kind = ig_part_on(b->m, IG_PART_INDEXER_NORM) ? IG_ROPE_NORM : IG_ROPE_NEOX;
    ig_emit_linear(b, q_a, (ig_out[]){{&w->idx_q, q}}, 1);
    ig_emit_linear(b, in, (ig_out[]){{&w->idx_k, k}, {&w->idx_w, weights}}, 2);
    ig_op *norm = ig_emit_norm(b, k, k, &w->idx_k_norm, hp->idx_head);
    norm->flag = false;
    norm->eps = 1e-6f;
    ig_op rope = {.kind = IG_OP_ROPE, .rope = w->rope, .flag = kind == IG_ROPE_NORM, .in_stride = hp->idx_head};
    rope.in = q;
    rope.heads = hp->idx_heads;
    if (w->rope >= 0) ig_emit(b, rope);
    rope.in = k;
    rope.heads = 1;
    if (w->rope >= 0) ig_emit(b, rope);
    ig_emit(b, (ig_op){.kind = IG_OP_INDEX_STORE, .layer = w, .in = k});
    ig_emit(b, (ig_op){.kind = IG_OP_INDEX, .layer = w, .in = q, .in2 = weights});
}

/* Queries of latent attention, roped: heads of [nope | rotated]. Returns where the query latent lies. */
static ig_view project_latent_q(ig_builder *b, const ig_layer *w, ig_view in, ig_view q)
{
    const ig_hparams *hp = &b->m->hp;
    ig_view q_a = IG_VIEW(Z, 0);
    if (ig_mat_here(&w->q_a)) {
        ig_emit_linear(b, in, (ig_out[]){{&w->q_a, q_a}}, 1);
        ig_emit_norm(b, q_a, q_a, &w->q_a_norm, hp->q_lora);
        ig_emit_linear(b, q_a, (ig_out[]){{&w->q_b, q}}, 1);
    } else
        ig_emit_linear(b, in, (ig_out[]){{&w->q, q}}, 1);
    emit_rope(b, w, q, w->n_heads, hp->head_mla, hp->head_mla - w->n_rot);
    return q_a;
}

static void plan_latent(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    const ig_hparams *hp = &b->m->hp;
    uint32_t h = w->n_heads, rot = w->n_rot, nope = hp->head_mla - rot, q_width = h * hp->head_mla;
    ig_view q = IG_VIEW(T, 0), kv = IG_VIEW(T, q_width), pe = IG_VIEW(T, q_width + hp->kv_lora);
    ig_view q_a = project_latent_q(b, w, in, q), a = IG_VIEW(A, 0);
    ig_emit_linear(b, in, (ig_out[]){{&w->kv_a, kv}}, 1);
    ig_emit_norm(b, kv, kv, &w->kv_a_norm, hp->kv_lora);
    emit_rope(b, w, pe, 1, rot, 0);
    if (w->indexer) plan_token_indexer(b, w, in, q_a);
    if (w->absorbed) { /* scores in the latent space: q_nope goes through k_b, the output through v_b */
        ig_view long_q = IG_VIEW(QKV, 0), heads_out = IG_VIEW(W, 0);
        emit_heads(b, &w->k_b, q, hp->head_mla, long_q, w->head_k);
        emit_copy(b, (ig_view){q.slot, q.at + nope}, (ig_view){long_q.slot, hp->kv_lora}, rot, h, hp->head_mla,
                  w->head_k);
        emit_temperature(b, w, long_q, h * w->head_k);
        emit_store(b, w, kv, kv);
        emit_attend(b, w, long_q, w->head_k, a);
        emit_heads(b, &w->v_b, a, w->head_v, heads_out, hp->head_v_mla);
        a = heads_out;
    } else {
        ig_view all = IG_VIEW(W, 0), k = IG_VIEW(QKV, 0), v = IG_VIEW(QKV, h * w->head_k);
        uint32_t stride = nope + hp->head_v_mla;
        ig_emit_linear(b, kv, (ig_out[]){{&w->kv_b, all}}, 1);
        emit_copy(b, all, k, nope, h, stride, w->head_k);
        emit_copy(b, pe, (ig_view){k.slot, k.at + nope}, rot, h, 0, w->head_k);
        emit_copy(b, (ig_view){all.slot, all.at + nope}, v, w->head_v, h, stride, w->head_v);
        emit_temperature(b, w, q, q_width);
        emit_store(b, w, k, v);
        emit_attend(b, w, q, hp->head_mla, a);
    }
    ig_emit_to(b, a, &w->o, to);
}

void ig_plan_attention(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    if (w->latent) {
        plan_latent(b, w, in, to);
        return;
    }
    heads h = project(b, w, in);
    bool own = w->kv_layer == w->index;
    norm_qk(b, w, &h, false);
    if (own && ig_part_on(b->m, IG_PART_VALUE_NORM)) {
        ig_op *op = ig_emit_head_norm(b, h.v, NULL, w->head_v, w->n_heads_kv, w->head_v);
        op->flag = true;
    }
    emit_rope(b, w, h.q, w->n_heads, h.q_stride, 0);
    if (own) emit_rope(b, w, h.k, w->n_heads_kv, w->head_k, 0);
    norm_qk(b, w, &h, true);
    emit_temperature(b, w, h.q, h.q_width);
    if (own) emit_store(b, w, h.k, h.v);
    if (w->indexer) plan_block_indexer(b, w, in);
    ig_view a = emit_attend(b, w, h.q, h.q_stride, IG_VIEW(A, 0));
    emit_gate(b, w, in, &h, a);
    to.a *= b->m->hp.value_scale;
    ig_emit_to(b, a, &w->o, to);
}
