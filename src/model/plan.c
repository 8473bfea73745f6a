/* Builds the plan: from hyper-parameters and bound weights to the list of operations that step.c runs. */
#include "model/plan.h"

static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

static void use_slot(ig_model *m, ig_slot slot, uint32_t width)
{
    m->slot_width[slot] = max_u32(m->slot_width[slot], width);
}

static void emit(ig_model *m, ig_op op) { m->ops[m->n_ops++] = op; }

static void emit_norm(ig_model *m, ig_slot in, ig_slot out, const float *weight, bool wanted)
{
    use_slot(m, out, m->hp.n_embd);
    emit(m, (ig_op){.kind = IG_OP_NORM, .in = in, .out = out, .width = m->hp.n_embd, .vec = weight, .wanted = wanted});
}

/* Packs `in` into every form that the given matrices want. F32 needs no copy. */
static void emit_pack(ig_model *m, ig_slot in, uint32_t width, const ig_mat *const *mats, uint32_t n, bool wanted)
{
    unsigned packs = 0;
    for (uint32_t i = 0; i < n; i++) packs |= 1u << m->kernels->type[mats[i]->type].pack;
    packs &= ~(1u << IG_PACK_F32);
    for (int p = 0; p < IG_PACK_COUNT; p++) {
        if (!(packs & 1u << p)) continue;
        size_t bytes = m->kernels->pack[p].bytes(width);
        if (bytes > m->pack_bytes[p]) m->pack_bytes[p] = bytes;
    }
    if (packs) emit(m, (ig_op){.kind = IG_OP_PACK, .in = in, .width = width, .packs = packs, .wanted = wanted});
}

typedef struct out_mat {
    const ig_mat *mat;
    ig_slot out;
} out_mat;

static void emit_linear(ig_model *m, ig_slot in, const out_mat *outs, uint32_t n, bool add, bool wanted)
{
    ig_op op = {.kind = IG_OP_LINEAR, .in = in, .width = outs[0].mat->n_in, .add = add, .wanted = wanted, .n_mats = n};
    for (uint32_t i = 0; i < n; i++) {
        op.mat[i] = outs[i].mat;
        op.mat_out[i] = outs[i].out;
        use_slot(m, outs[i].out, outs[i].mat->n_out);
    }
    emit_pack(m, in, op.width, op.mat, n, wanted);
    emit(m, op);
}

static void emit_rope(ig_model *m, ig_slot slot, uint32_t n_heads)
{
    if (m->arch->rope == IG_ROPE_NONE) return;
    emit(m, (ig_op){.kind = IG_OP_ROPE, .in = slot, .n_heads = n_heads, .head_size = m->hp.head_k});
}

static void plan_attention(ig_model *m, uint32_t l)
{
    const ig_layer *w = &m->layers[l];
    const ig_hparams *hp = &m->hp;
    emit_norm(m, IG_SLOT_X, IG_SLOT_N, w->attn_norm, false);
    emit_linear(m, IG_SLOT_N, (out_mat[]){{&w->q, IG_SLOT_Q}, {&w->k, IG_SLOT_K}, {&w->v, IG_SLOT_V}}, 3, false, false);
    emit_rope(m, IG_SLOT_Q, hp->n_heads);
    emit_rope(m, IG_SLOT_K, hp->n_heads_kv);
    if (hp->temp_scale != 0) emit(m, (ig_op){.kind = IG_OP_TEMPER, .in = IG_SLOT_Q, .width = hp->n_heads * hp->head_k});
    emit(m, (ig_op){.kind = IG_OP_STORE, .layer = l});
    use_slot(m, IG_SLOT_A, hp->n_heads * hp->head_v);
    emit(m, (ig_op){.kind = IG_OP_ATTEND, .layer = l, .in = IG_SLOT_Q, .out = IG_SLOT_A});
    emit_linear(m, IG_SLOT_A, (out_mat[]){{&w->o, IG_SLOT_X}}, 1, true, false);
}

static void plan_ffn(ig_model *m, uint32_t l)
{
    const ig_layer *w = &m->layers[l];
    emit_norm(m, IG_SLOT_X, IG_SLOT_N, w->ffn_norm, false);
    if (m->hp.n_experts) {
        emit_linear(m, IG_SLOT_N, (out_mat[]){{&w->router, IG_SLOT_R}}, 1, false, false);
        emit_pack(m, IG_SLOT_N, m->hp.n_embd, (const ig_mat *const[]){&w->up_exps, &w->gate_exps},
                  w->gate_exps.data ? 2 : 1, false);
        emit(m, (ig_op){.kind = IG_OP_EXPERTS, .layer = l, .in = IG_SLOT_N, .in2 = IG_SLOT_R, .out = IG_SLOT_X});
        return;
    }
    emit_linear(m, IG_SLOT_N, (out_mat[]){{&w->gate, IG_SLOT_G}, {&w->up, IG_SLOT_U}}, 2, false, false);
    emit(m, (ig_op){.kind = IG_OP_GLU, .in = IG_SLOT_G, .in2 = IG_SLOT_U, .width = m->hp.n_ff});
    emit_linear(m, IG_SLOT_G, (out_mat[]){{&w->down, IG_SLOT_X}}, 1, true, false);
}

ig_status ig_plan_build(ig_model *m, ig_error *err)
{
    enum { OPS_LAYER_MAX = 18, OPS_MODEL_MAX = 8 };
    m->ops_cap = (size_t)m->hp.n_layers * OPS_LAYER_MAX + OPS_MODEL_MAX;
    m->ops = ig_arena_alloc(&m->arena, m->ops_cap, sizeof *m->ops);
    if (!m->ops) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the plan of %u layers", m->hp.n_layers);
    use_slot(m, IG_SLOT_X, m->hp.n_embd);
    emit(m, (ig_op){.kind = IG_OP_EMBED, .out = IG_SLOT_X});
    if (m->arch->rope != IG_ROPE_NONE) emit(m, (ig_op){.kind = IG_OP_ANGLES});
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        plan_attention(m, l);
        plan_ffn(m, l);
    }
    use_slot(m, IG_SLOT_S, m->hp.n_embd);
    emit(m, (ig_op){.kind = IG_OP_SELECT, .in = IG_SLOT_X, .out = IG_SLOT_S, .wanted = true});
    emit_norm(m, IG_SLOT_S, IG_SLOT_S, m->output_norm, true);
    emit_linear(m, IG_SLOT_S, (out_mat[]){{&m->output, IG_SLOT_LOGITS}}, 1, false, true);
    if (m->n_ops > m->ops_cap)
        return ig_fail(err, IG_BUG, 0, "the plan has %zu operations, expected at most %zu", m->n_ops, m->ops_cap);
    return IG_OK;
}
