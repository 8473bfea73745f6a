/* Plans that only Gemma has: experts beside the dense MLP and per-layer inputs (Gemma 4), AltUp streams, Laurel and
 * sparse gates (Gemma 3n; Baykal et al. 2023, arXiv 2301.13310). */
#include <math.h>

#include "model/build.h"

enum { STREAMS = 4, SPARSE_LAYERS = 10 };

static void emit_scale(ig_builder *b, ig_view v, uint32_t n, double a)
{
    ig_emit(b, (ig_op){.kind = IG_OP_SCALE, .in = v, .n = n, .a = (float)a});
}

/* P = the per-layer inputs of all layers: half from the first hidden state, half from a table of their own. */
void ig_plan_layer_inputs(ig_builder *b)
{
    ig_model *m = b->m;
    uint32_t e = m->hp.n_embd_layer, n = e * m->hp.n_layers;
    ig_view x = IG_VIEW(X, 0), p = IG_VIEW(P, 0), t = ig_use(b, IG_VIEW(T, 0), n);
    ig_emit_to(b, x, &m->layer_proj, (ig_target){p, false, (float)(1 / sqrt((double)m->hp.n_embd))});
    ig_emit_head_norm(b, p, &m->layer_proj_norm, e, m->hp.n_layers, e);
    ig_emit(b, (ig_op){.kind = IG_OP_EMBED, .out = t, .n = n, .mat = {&m->layer_embed}, .a = sqrtf((float)e)});
    ig_emit_add(b, t, p, n, 1);
    emit_scale(b, p, n, M_SQRT1_2);
}

/* to = norm(proj(gelu(gate x) * input of the layer)) */
void ig_plan_layer_input(ig_builder *b, const ig_layer *w, ig_view x, ig_view to)
{
    uint32_t e = b->m->hp.n_embd_layer;
    ig_view z = IG_VIEW(Z, 0);
    ig_emit_linear(b, x, (ig_out[]){{&w->inp_gate, z}}, 1);
    ig_emit_glu(b, b->m->act, z, IG_VIEW(P, w->index * e), e, 0);
    ig_emit_linear(b, z, (ig_out[]){{&w->inp_proj, to}}, 1);
    ig_emit_norm(b, to, to, &w->inp_norm, b->m->hp.n_embd);
}

/* Two MLPs of one residual input: a dense one and experts, each with norms of its own. */
void ig_plan_gemma4_experts(ig_builder *b, ig_layer *w)
{
    uint32_t d = b->m->hp.n_embd;
    ig_view x = IG_VIEW(X, 0), n = IG_VIEW(N, 0), m = IG_VIEW(M, 0), t = IG_VIEW(T, 0), e = IG_VIEW(W, 0);
    ig_emit_norm(b, x, n, &w->ffn_norm, d);
    ig_plan_dense(b, w, n, (ig_target){m, false, 1});
    ig_emit_norm(b, m, m, &w->post_ffn_1, d);
    ig_emit_norm(b, x, t, NULL, d);
    emit_scale(b, t, d, 1 / sqrt((double)d));
    ig_emit(b, (ig_op){.kind = IG_OP_MULVEC, .out = t, .n = d, .w = w->router_scale});
    ig_plan_router(b, w, t);
    ig_emit_norm(b, x, n, &w->pre_ffn_2, d);
    ig_plan_experts(b, w, n, (ig_target){e, false, 1});
    ig_emit_norm(b, e, e, &w->post_ffn_2, d);
    ig_emit_add(b, e, m, d, 1);
    ig_emit_norm(b, m, m, &w->post_ffn, d);
    ig_emit_add(b, m, x, d, 1);
}

static ig_view stream(ig_slot slot, const ig_model *m, uint32_t i) { return (ig_view){slot, i * m->hp.n_embd}; }

static const ig_mat *sub_matrix(ig_builder *b, const ig_mat *all, uint32_t i)
{
    static const ig_mat none; /* out of memory: ig_plan_build fails on the list itself soon after */
    ig_mat *one = ig_arena_alloc(&b->m->arena, 1, sizeof *one);
    if (!one) return &none;
    *one = *all;
    one->data = ig_mat_at(all, i);
    one->parts = NULL;
    if (all->scale) one->scale = all->scale + i;
    one->n_mats = 1;
    return one;
}

/* R = tanh(router(norm x / d)), then R[4..] = coefficients */
static void plan_modalities(ig_builder *b, const ig_layer *w, ig_view x, const ig_mat *coefficients)
{
    ig_view n = IG_VIEW(N, 0), r = IG_VIEW(R, 0);
    ig_emit_norm(b, x, n, &w->altup_router_norm, b->m->hp.n_embd);
    emit_scale(b, n, b->m->hp.n_embd, 1.0 / b->m->hp.n_embd);
    ig_emit_linear(b, n, (ig_out[]){{&w->altup_router, r}}, 1);
    ig_emit(b, (ig_op){.kind = IG_OP_TANH, .in = r, .n = STREAMS});
    ig_emit_linear(b, r, (ig_out[]){{coefficients, IG_VIEW(R, STREAMS)}}, 1);
}

static void plan_streams(ig_builder *b)
{
    ig_model *m = b->m;
    ig_view x = IG_VIEW(X, 0);
    uint32_t d = m->hp.n_embd;
    ig_use(b, IG_VIEW(F, 0), (uint64_t)STREAMS * d);
    ig_emit(b, (ig_op){.kind = IG_OP_COPY, .in = x, .out = IG_VIEW(F, 0), .n = d});
    for (uint32_t j = 1; j < STREAMS; j++) {
        ig_view f = stream(IG_SLOT_F, m, j);
        ig_emit_linear(b, x, (ig_out[]){{sub_matrix(b, &m->altup_proj, j - 1), f}}, 1);
        ig_emit(b, (ig_op){.kind = IG_OP_MATCH, .in = f, .in2 = x, .n = d});
    }
}

/* Attention with Laurel, on the prediction of stream 0; the result lies in T. */
static void plan_3n_attention(ig_builder *b, ig_layer *w, ig_view a)
{
    uint32_t d = b->m->hp.n_embd;
    ig_view n = IG_VIEW(N, 0), lau = IG_VIEW(M, 0), z = IG_VIEW(Z, 0), h = IG_VIEW(T, 0);
    ig_emit_norm(b, a, n, &w->attn_norm, d);
    ig_emit_linear(b, n, (ig_out[]){{&w->laurel_l, z}}, 1);
    ig_emit_linear(b, z, (ig_out[]){{&w->laurel_r, lau}}, 1);
    ig_emit_norm(b, lau, lau, &w->laurel_norm, d);
    ig_emit_add(b, n, lau, d, 1);
    ig_plan_attention(b, w, n, (ig_target){h, false, 1});
    ig_emit_norm(b, h, h, &w->post_attn, d);
    ig_emit_add(b, a, h, d, 1);
    ig_emit_add(b, lau, h, d, 1);
    emit_scale(b, h, d, M_SQRT1_2);
}

/* y = h + norm(mlp(norm h)), in M. */
static void plan_3n_ffn(ig_builder *b, ig_layer *w)
{
    uint32_t d = b->m->hp.n_embd, ff = w->n_ff;
    ig_view h = IG_VIEW(T, 0), n = IG_VIEW(N, 0), y = IG_VIEW(M, 0), g = IG_VIEW(G, 0), u = IG_VIEW(G, ff);
    ig_emit_norm(b, h, n, &w->ffn_norm, d);
    ig_emit_linear(b, n, (ig_out[]){{&w->gate, g}, {&w->up, u}}, 2);
    if (w->index < SPARSE_LAYERS) ig_emit(b, (ig_op){.kind = IG_OP_SPARSE, .in = g, .n = ff, .a = 1.6448533535f});
    ig_emit_glu(b, b->m->act, g, u, ff, 0);
    ig_emit_linear(b, g, (ig_out[]){{&w->down, y}}, 1);
    ig_emit_norm(b, y, y, &w->post_ffn, d);
    ig_emit_add(b, h, y, d, 1);
}

static void plan_3n_layer(ig_builder *b, ig_layer *w)
{
    const ig_model *m = b->m;
    uint32_t d = m->hp.n_embd;
    ig_view f = IG_VIEW(F, 0), r = IG_VIEW(R, STREAMS), y = IG_VIEW(M, 0), t = IG_VIEW(T, 0);
    ig_view predicted = ig_use(b, IG_VIEW(W, 0), (uint64_t)STREAMS * d);
    plan_modalities(b, w, f, &w->altup_predict);
    ig_emit(b, (ig_op){.kind = IG_OP_PREDICT, .in = f, .in2 = r, .out = predicted, .n = d});
    plan_3n_attention(b, w, predicted);
    plan_3n_ffn(b, w);
    plan_modalities(b, w, y, &w->altup_correct);
    ig_emit(b, (ig_op){.kind = IG_OP_CORRECT, .in = y, .in2 = r, .in3 = predicted, .out = f, .n = d});
    ig_emit(b, (ig_op){.kind = IG_OP_COPY, .in = f, .out = t, .n = d});
    ig_emit(b, (ig_op){.kind = IG_OP_MULVEC, .out = t, .n = d, .w = w->altup_correct_scale});
    ig_plan_layer_input(b, w, t, y);
    for (uint32_t j = 1; j < STREAMS; j++) ig_emit_add(b, y, stream(IG_SLOT_F, m, j), d, 1);
}

void ig_plan_gemma3n(ig_builder *b)
{
    ig_model *m = b->m;
    uint32_t d = m->hp.n_embd;
    ig_view x = IG_VIEW(X, 0), f = IG_VIEW(F, 0), t = IG_VIEW(T, 0);
    ig_plan_layer_inputs(b);
    plan_streams(b);
    for (uint32_t l = 0; l < m->hp.n_layers; l++) plan_3n_layer(b, &m->layers[l]);
    ig_emit(b, (ig_op){.kind = IG_OP_COPY, .in = f, .out = x, .n = d});
    for (uint32_t j = 1; j < STREAMS; j++) {
        ig_emit_linear(b, stream(IG_SLOT_F, m, j), (ig_out[]){{sub_matrix(b, &m->altup_unembd, j - 1), t}}, 1);
        ig_emit(b, (ig_op){.kind = IG_OP_MATCH, .in = t, .in2 = f, .n = d});
        ig_emit_add(b, t, x, d, 1);
    }
    emit_scale(b, x, d, 1.0 / STREAMS);
    ig_plan_head(b, x);
}
