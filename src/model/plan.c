/* Builds the plan: from hyper-parameters and bound weights to the list of operations that step.c runs. */
#include "model/build.h"

static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

ig_view ig_use(ig_builder *b, ig_view v, uint64_t n)
{
    b->m->slot_width[v.slot] = max_u32(b->m->slot_width[v.slot], (uint32_t)(v.at + n));
    return v;
}

ig_op *ig_emit(ig_builder *b, ig_op op)
{
    static ig_op overflow; /* never run: ig_plan_build fails */
    if (b->ops->n >= b->ops->cap) {
        b->ops->n = b->ops->cap + 1;
        return &overflow;
    }
    if (op.heads == 0) op.heads = 1;
    b->ops->list[b->ops->n] = op;
    return &b->ops->list[b->ops->n++];
}

ig_op *ig_emit_norm(ig_builder *b, ig_view in, ig_view out, const ig_norm *w, uint32_t n)
{
    ig_use(b, out, n);
    return ig_emit(b, (ig_op){.kind = IG_OP_NORM,
                              .in = in,
                              .out = out,
                              .n = n,
                              .w = w ? w->w : NULL,
                              .b = w ? w->b : NULL,
                              .eps = b->m->hp.norm_eps,
                              .flag = !b->m->hp.layer_norm});
}

ig_op *ig_emit_head_norm(ig_builder *b, ig_view v, const ig_norm *w, uint32_t n, uint32_t heads, uint32_t stride)
{
    ig_op *op = ig_emit_norm(b, v, v, w, n);
    op->heads = heads;
    op->in_stride = op->out_stride = stride;
    return op;
}

void ig_emit_add(ig_builder *b, ig_view in, ig_view out, uint32_t n, float a)
{
    ig_use(b, out, n);
    ig_emit(b, (ig_op){.kind = IG_OP_ADD, .in = in, .out = out, .n = n, .a = a});
}

void ig_emit_glu(ig_builder *b, ig_act act, ig_view gate, ig_view up, uint32_t n, float limit)
{
    ig_emit(b, (ig_op){.kind = IG_OP_GLU, .act = act, .in = gate, .in2 = up, .n = n, .limit = limit});
}

/* Packs `in` into every form that the given matrices want. F32 needs no copy. */
void ig_emit_pack(ig_builder *b, ig_view in, uint32_t width, const ig_mat *const *mats, uint32_t n, bool wanted)
{
    ig_model *m = b->m;
    unsigned packs = 0;
    for (uint32_t i = 0; i < n; i++) packs |= 1u << m->kernels->type[mats[i]->type].pack;
    packs &= ~(1u << IG_PACK_F32);
    for (int p = 0; p < IG_PACK_COUNT; p++) {
        if (!(packs & 1u << p)) continue;
        size_t bytes = m->kernels->pack[p].bytes(width);
        if (bytes > m->pack_bytes[p]) m->pack_bytes[p] = bytes;
    }
    if (packs) ig_emit(b, (ig_op){.kind = IG_OP_PACK, .in = in, .n = width, .packs = packs, .wanted = wanted});
}

static ig_op *emit_linear(ig_builder *b, ig_view in, const ig_out *outs, uint32_t n, bool wanted)
{
    ig_op op = {.kind = IG_OP_LINEAR, .in = in, .n = outs[0].mat->n_in, .a = 1, .n_mats = n, .wanted = wanted};
    for (uint32_t i = 0; i < n; i++) {
        op.mat[i] = outs[i].mat;
        op.mat_out[i] = ig_use(b, outs[i].view, outs[i].mat->n_out);
    }
    ig_emit_pack(b, in, op.n, op.mat, n, wanted);
    return ig_emit(b, op);
}

ig_op *ig_emit_linear(ig_builder *b, ig_view in, const ig_out *outs, uint32_t n)
{
    return emit_linear(b, in, outs, n, false);
}

ig_op *ig_emit_to(ig_builder *b, ig_view in, const ig_mat *mat, ig_target to)
{
    ig_op *op = ig_emit_linear(b, in, &(ig_out){mat, to.view}, 1);
    op->add = to.add;
    op->a = to.a;
    return op;
}

/* g = act(gate * in) * (up * in). */
static void emit_gated(ig_builder *b, ig_view in, const ig_mat *gate, const ig_mat *up, ig_view g, float limit)
{
    ig_op *op = ig_emit_linear(b, in, (ig_out[]){{gate, g}, {up, IG_VIEW(U, 0)}}, 2);
    op->gated = true;
    op->act = b->m->act;
    op->limit = limit;
}

/* One MLP into G, then down. Where gate and up are one matrix, they lie side by side there. */
static void plan_mlp(ig_builder *b, ig_view in, const ig_mat *gate, const ig_mat *up, const ig_mat *down, uint32_t ff,
                     float limit, const float *out_gate, ig_target to)
{
    const ig_model *m = b->m;
    ig_view g = IG_VIEW(G, 0), u = IG_VIEW(G, ff);
    const bool here = ig_mat_here(gate);
    if (here && m->act != IG_ACT_XIELU)
        emit_gated(b, in, gate, up, g, limit);
    else
        ig_emit_linear(b, in, (ig_out[]){{here ? gate : up, g}}, 1);
    if (m->act == IG_ACT_XIELU)
        ig_emit(b, (ig_op){.kind = IG_OP_XIELU, .in = g, .n = ff});
    else if (!here)
        ig_emit_glu(b, m->act, g, up->n_out == 2 * ff ? u : (ig_view){0}, ff, limit);
    if (out_gate) {
        ig_view z = ig_use(b, IG_VIEW(Z, 0), 1);
        ig_emit(b, (ig_op){.kind = IG_OP_DOT, .in = in, .out = z, .n = up->n_in, .w = out_gate});
        ig_emit(b, (ig_op){.kind = IG_OP_GATE, .in = z, .out = g, .n = ff, .in_stride = 1, .act = IG_ACT_SIGMOID});
    }
    ig_emit_to(b, g, down, to);
}

void ig_plan_dense(ig_builder *b, const ig_layer *w, ig_view in, ig_target to)
{
    size_t before = b->ops->n;
    plan_mlp(b, in, &w->gate, &w->up, &w->down, w->n_ff, w->shared_limit, NULL, to);
    for (size_t i = before; i < b->ops->n && i < b->ops->cap; i++) b->ops->list[i].layer = w;
}

void ig_plan_router(ig_builder *b, const ig_layer *w, ig_view in)
{
    ig_emit_linear(b, in, (ig_out[]){{&w->router, IG_VIEW(R, 0)}}, 1);
}

void ig_plan_experts(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    ig_model *m = b->m;
    bool shared = ig_mat_here(&w->up_shexp);
    if (shared && ig_part_on(m, IG_PART_HALF_SUM)) to.a *= 0.5f;
    ig_emit_pack(b, in, m->hp.n_embd, (const ig_mat *const[]){&w->up_exps, &w->gate_exps},
                 ig_mat_here(&w->gate_exps) ? 2 : 1, false);
    ig_use(b, to.view, m->hp.n_embd);
    ig_emit(b, (ig_op){.kind = IG_OP_EXPERTS,
                       .layer = w,
                       .in = in,
                       .in2 = IG_VIEW(R, 0),
                       .out = to.view,
                       .n = m->hp.n_embd,
                       .add = to.add,
                       .a = to.a});
    m->ff_most = max_u32(m->ff_most, w->up_exps.n_out);
    m->input_pack_mask |= 1u << m->kernels->type[w->up_exps.type].pack;
    if (ig_mat_here(&w->gate_exps)) m->input_pack_mask |= 1u << m->kernels->type[w->gate_exps.type].pack;
    m->hidden_pack_mask |= 1u << m->kernels->type[w->down_exps.type].pack;
    if (!shared) return;
    to.add = true;
    plan_mlp(b, in, &w->gate_shexp, &w->up_shexp, &w->down_shexp, w->down_shexp.n_in, w->shared_limit, w->shexp_gate,
             to);
}

void ig_plan_ffn(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    if (w->ffn == IG_FFN_DENSE) ig_plan_dense(b, w, in, to);
    if (w->ffn != IG_FFN_EXPERTS) return;
    if (!ig_part_on(b->m, IG_PART_EARLY_ROUTER)) ig_plan_router(b, w, in);
    ig_plan_experts(b, w, in, to);
}

/* Attention, the recurrent mixer, or both on the same input. */
static void plan_mixers(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    if (w->attention) {
        ig_plan_attention(b, w, in, to);
        to.add = true;
    }
    if (w->mixer != IG_MIX_NONE) ig_plan_mixer(b, w, in, to);
}

static ig_view norm_into(ig_builder *b, const ig_norm *w, ig_view out)
{
    ig_emit_norm(b, IG_VIEW(X, 0), out, w, b->m->hp.n_embd);
    return out;
}

/* x += norm(block output), which lies in M. */
static void add_normed(ig_builder *b, const ig_norm *w)
{
    ig_view m = IG_VIEW(M, 0);
    ig_emit_norm(b, m, m, w, b->m->hp.n_embd);
    ig_emit_add(b, m, IG_VIEW(X, 0), b->m->hp.n_embd, b->m->hp.residual_scale);
}

static void plan_parallel(ig_builder *b, ig_layer *w, ig_target x)
{
    ig_view n = norm_into(b, &w->attn_norm, IG_VIEW(N, 0)), attn = n, ffn = n;
    if (w->attn_norm_2.here) attn = norm_into(b, &w->attn_norm_2, IG_VIEW(M, 0));
    if (w->ffn_norm.here) ffn = norm_into(b, &w->ffn_norm, IG_VIEW(M, 0));
    plan_mixers(b, w, attn, x);
    ig_plan_ffn(b, w, ffn, x);
}

static void plan_block(ig_builder *b, ig_layer *w)
{
    const ig_model *m = b->m;
    ig_view x = IG_VIEW(X, 0), n = IG_VIEW(N, 0);
    ig_target residual = {x, true, m->hp.residual_scale}, aside = {IG_VIEW(M, 0), false, 1};
    uint32_t d = m->hp.n_embd;
    bool parallel = m->hp.parallel || (m->arch->parallel == IG_PARALLEL_NO_FFN_NORM && !w->ffn_norm.here);
    if (parallel) {
        plan_parallel(b, w, residual);
        return;
    }
    switch (m->arch->block) {
    case IG_BLOCK_PRE:
        /* A block without a norm of its own reads the residual stream. */
        plan_mixers(b, w, m->arch->parts & IG_PART_NO_FIRST_NORM && w->index == 0 ? x : norm_into(b, &w->attn_norm, n),
                    residual);
        ig_plan_ffn(b, w, norm_into(b, &w->ffn_norm, n), residual);
        break;
    case IG_BLOCK_SANDWICH:
        plan_mixers(b, w, norm_into(b, &w->attn_norm, n), aside);
        add_normed(b, &w->post_attn);
        if (m->arch->special == IG_SPECIAL_GEMMA4 && w->ffn == IG_FFN_EXPERTS) {
            ig_plan_gemma4_experts(b, w);
            break;
        }
        ig_plan_ffn(b, w, norm_into(b, &w->ffn_norm, n), aside);
        add_normed(b, &w->post_ffn);
        break;
    case IG_BLOCK_POST:
        plan_mixers(b, w, x, aside);
        add_normed(b, &w->post_attn);
        ig_plan_ffn(b, w, x, aside);
        add_normed(b, &w->post_ffn);
        break;
    case IG_BLOCK_POST_NORM:
        plan_mixers(b, w, x, residual);
        ig_emit_norm(b, x, x, &w->attn_out_norm, d);
        ig_plan_ffn(b, w, x, (ig_target){IG_VIEW(M, 0), false, 1});
        ig_emit_add(b, IG_VIEW(M, 0), x, d, 1);
        ig_emit_norm(b, x, x, &w->layer_out_norm, d);
        break;
    case IG_BLOCK_MIXER:
        norm_into(b, &w->attn_norm, n);
        plan_mixers(b, w, n, residual);
        ig_plan_ffn(b, w, n, residual);
        break;
    case IG_BLOCK_PARALLEL: break; /* above */
    }
}

static void plan_embedding(ig_builder *b)
{
    const ig_model *m = b->m;
    ig_view x = ig_use(b, IG_VIEW(X, 0), m->hp.n_embd);
    uint32_t d = m->hp.n_embd;
    ig_emit(b, (ig_op){.kind = IG_OP_EMBED, .out = x, .n = d, .mat = {&m->embed}, .a = m->hp.embd_scale});
    if (ig_part_on(m, IG_PART_TOKEN_TYPES)) /* row 0 for every token */
        ig_emit(b, (ig_op){.kind = IG_OP_POSITION, .out = x, .n = d, .mat = {&m->token_types}, .flag = true});
    if (ig_part_on(m, IG_PART_POSITIONS))
        ig_emit(b, (ig_op){.kind = IG_OP_POSITION, .out = x, .n = d, .mat = {&m->positions}});
    if (ig_part_on(m, IG_PART_EMBED_NORM)) ig_emit_norm(b, x, x, &m->embed_norm, d);
    if (m->n_ropes) ig_emit(b, (ig_op){.kind = IG_OP_ANGLES});
}

/* An operation on the wanted rows that embeddings alone need. */
static ig_op *emit_embed(ig_builder *b, ig_op op)
{
    op.wanted = true;
    op.when = IG_WHEN_EMBED;
    return ig_emit(b, op);
}

static ig_view embed_linear(ig_builder *b, ig_view in, const ig_mat *mat, ig_view out)
{
    if (!ig_mat_here(mat)) return in;
    emit_linear(b, in, &(ig_out){mat, out}, 1, true)->when = IG_WHEN_EMBED;
    b->m->hp.n_embd_out = mat->n_out;
    return out;
}

/* The classifier of a reranking model: a dense layer with an activation where the file has one, then a row for every
 * class. */
static ig_view plan_classifier(ig_builder *b, ig_view s)
{
    ig_model *m = b->m;
    bool mean = ig_part_on(m, IG_PART_MEAN_HEAD);
    if (mean) emit_embed(b, (ig_op){.kind = IG_OP_MEAN, .in = s, .n = m->hp.n_embd});
    ig_view at = embed_linear(b, s, &m->cls, IG_VIEW(E, 0));
    if (ig_mat_here(&m->cls) && mean)
        emit_embed(b, (ig_op){.kind = IG_OP_GLU, .act = IG_ACT_GELU, .in = at, .n = m->cls.n_out});
    else if (ig_mat_here(&m->cls))
        emit_embed(b, (ig_op){.kind = IG_OP_TANH, .in = at, .n = m->cls.n_out});
    if (m->cls_norm.here) {
        ig_op *op = ig_emit_norm(b, at, at, &m->cls_norm, m->hp.n_embd);
        op->wanted = true;
        op->when = IG_WHEN_EMBED;
    }
    at = embed_linear(b, at, &m->cls_out, IG_VIEW(E, m->cls.n_out));
    m->hp.n_classes = m->cls_out.n_out;
    if (ig_part_on(m, IG_PART_CLASS_SOFTMAX) && ig_mat_here(&m->cls_out))
        emit_embed(b, (ig_op){.kind = IG_OP_SOFTMAX, .in = at, .n = m->cls_out.n_out});
    return at;
}

/* Embedding rows: the final hidden state, through the projections of an embedding model, or through a classifier. */
static void plan_embedding_rows(ig_builder *b, ig_view s)
{
    ig_model *m = b->m;
    ig_view at = embed_linear(b, s, &m->dense_2, IG_VIEW(E, 0));
    at = embed_linear(b, at, &m->dense_3, IG_VIEW(E, m->dense_2.n_out));
    if (m->hp.pooling == IG_POOLING_RANK) at = plan_classifier(b, at);
    ig_view out = ig_use(b, IG_VIEW(VECTORS, 0), m->hp.n_embd_out);
    emit_embed(b, (ig_op){.kind = IG_OP_COPY, .in = at, .out = out, .n = m->hp.n_embd_out});
}

/* What follows the last layer: rows that are wanted, final norm, then logits or embeddings. */
void ig_plan_head(ig_builder *b, ig_view x)
{
    ig_model *m = b->m;
    uint32_t d = m->hp.n_embd;
    ig_view s = ig_use(b, IG_VIEW(S, 0), d), logits = IG_VIEW(LOGITS, 0);
    ig_emit(b, (ig_op){.kind = IG_OP_SELECT, .in = x, .out = s, .n = d, .wanted = true});
    if (m->arch->block != IG_BLOCK_POST_NORM) ig_emit_norm(b, s, s, &m->output_norm, d)->wanted = true;
    plan_embedding_rows(b, s);
    if (!m->hp.has_logits) return;
    ig_op *op = emit_linear(b, s, &(ig_out){&m->output, logits}, 1, true);
    op->when = IG_WHEN_LOGITS;
    op->a = m->hp.logit_scale;
    if (m->hp.final_softcap > 0)
        ig_emit(b, (ig_op){.kind = IG_OP_SOFTCAP,
                           .in = logits,
                           .n = m->output.n_out,
                           .a = m->hp.final_softcap,
                           .wanted = true,
                           .when = IG_WHEN_LOGITS});
}

static void plan_decoder(ig_builder *b)
{
    const ig_model *m = b->m;
    plan_embedding(b);
    if (m->arch->special == IG_SPECIAL_GEMMA3N) {
        ig_plan_gemma3n(b);
        return;
    }
    if (m->hp.n_embd_layer) ig_plan_layer_inputs(b);
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        ig_layer *w = &m->layers[l];
        if (w->ffn == IG_FFN_EXPERTS && ig_part_on(m, IG_PART_EARLY_ROUTER)) ig_plan_router(b, w, IG_VIEW(X, 0));
        plan_block(b, w);
        if (m->hp.n_embd_layer) {
            ig_plan_layer_input(b, w, IG_VIEW(X, 0), IG_VIEW(M, 0));
            ig_emit_add(b, IG_VIEW(M, 0), IG_VIEW(X, 0), m->hp.n_embd, 1);
        }
        if (w->out_scale)
            ig_emit(b, (ig_op){.kind = IG_OP_SCALE, .in = IG_VIEW(X, 0), .n = m->hp.n_embd, .a = w->out_scale[0]});
    }
    ig_plan_head(b, IG_VIEW(X, 0));
}

/* The draft layer: in D the embedding of a token, and behind it the state of the one before, which draft.c puts there.
 */
static void plan_draft(ig_builder *b, ig_layer *w)
{
    const ig_model *m = b->m;
    uint32_t d = m->hp.n_embd;
    ig_view e = ig_use(b, IG_VIEW(D, 0), d), h = ig_use(b, IG_VIEW(D, d), d);
    const ig_mat *embed = ig_mat_here(&w->own_embed) ? &w->own_embed : &m->embed;
    if (m->n_ropes) ig_emit(b, (ig_op){.kind = IG_OP_ANGLES});
    ig_emit(b, (ig_op){.kind = IG_OP_EMBED, .out = e, .n = d, .mat = {embed}, .a = m->hp.embd_scale});
    ig_emit_norm(b, e, e, &w->e_norm, d);
    ig_emit_norm(b, h, h, &w->h_norm, d);
    ig_emit_linear(b, e, (ig_out[]){{&w->eh_proj, IG_VIEW(X, 0)}}, 1);
    plan_block(b, w);
}

/* What the draft layer says: S gets the rows behind its norm, which the next guess of some families begins with. */
static void plan_draft_head(ig_builder *b, const ig_layer *w)
{
    const ig_model *m = b->m;
    uint32_t d = m->hp.n_embd;
    ig_view s = ig_use(b, IG_VIEW(S, 0), d);
    ig_emit(b, (ig_op){.kind = IG_OP_SELECT, .in = IG_VIEW(X, 0), .out = s, .n = d, .wanted = true});
    ig_emit_norm(b, s, s, w->head_norm.here ? &w->head_norm : &m->output_norm, d)->wanted = true;
    const ig_mat *head = ig_mat_here(&w->own_head) ? &w->own_head : &m->output;
    emit_linear(b, s, &(ig_out){head, IG_VIEW(LOGITS, 0)}, 1, true)->a = m->hp.logit_scale;
}

static ig_status alloc_ops(ig_model *m, ig_ops *ops, size_t n_layers, ig_error *err)
{
    enum { OPS_LAYER_MAX = 96, OPS_MODEL_MAX = 48 };
    ops->cap = n_layers * OPS_LAYER_MAX + OPS_MODEL_MAX;
    ops->list = ig_alloc_aligned(64, ops->cap * sizeof *ops->list);
    (void)m;
    return ops->list ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the plan of %zu layers", n_layers);
}

/* The list was made for the most that a layer may need; keeps what is used. */
static ig_status trim(ig_model *m, ig_ops *ops, ig_error *err)
{
    if (ops->n > ops->cap)
        return ig_fail(err, IG_BUG, 0, "the plan has more than the %zu operations expected at most", ops->cap);
    ig_op *list = ig_arena_alloc(&m->arena, ops->n + 1, sizeof *list);
    if (list) memcpy(list, ops->list, ops->n * sizeof *list);
    ig_free(ops->list);
    ops->list = list;
    return list ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a plan of %zu operations", ops->n);
}

static void fill_plans(ig_model *m)
{
    ig_builder b = {m, &m->ops};
    if (m->arch->special == IG_SPECIAL_T5)
        ig_plan_t5(&b);
    else
        plan_decoder(&b);
}

static ig_status build_draft(ig_model *m, ig_error *err)
{
    ig_layer *w = &m->layers[m->hp.n_layers];
    IG_TRY(alloc_ops(m, &m->draft_in, 0, err));
    ig_builder in = {m, &m->draft_in};
    if (m->arch->draft == IG_DRAFT_NORMED) norm_into(&in, &m->output_norm, IG_VIEW(N, 0));
    IG_TRY(trim(m, &m->draft_in, err));
    IG_TRY(alloc_ops(m, &m->draft, 1, err));
    plan_draft(&(ig_builder){m, &m->draft}, w);
    IG_TRY(trim(m, &m->draft, err));
    IG_TRY(alloc_ops(m, &m->draft_head, 0, err));
    plan_draft_head(&(ig_builder){m, &m->draft_head}, w);
    return trim(m, &m->draft_head, err);
}

ig_status ig_plan_build(ig_model *m, ig_error *err)
{
    bool t5 = m->arch->special == IG_SPECIAL_T5;
    IG_TRY(alloc_ops(m, &m->ops, t5 ? m->hp.n_layers_dec : m->hp.n_layers, err));
    ig_status st = t5 ? alloc_ops(m, &m->encoder, m->hp.n_layers, err) : IG_OK;
    if (st == IG_OK) fill_plans(m);
    if (st == IG_OK)
        st = trim(m, &m->ops, err);
    else
        ig_free(m->ops.list);
    if (st == IG_OK && t5) return trim(m, &m->encoder, err);
    if (m->encoder.list) ig_free(m->encoder.list);
    if (st == IG_OK && m->hp.n_draft) return build_draft(m, err);
    return st;
}
