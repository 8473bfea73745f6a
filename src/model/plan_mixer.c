/* Plan of the recurrent mixers. Each owns a part of the sequence's state: the last inputs of its convolution, then its
 * matrix or vector state. */
#include "model/build.h"

/* Takes n floats of the sequence's state for the layer. */
static uint32_t take_state(ig_builder *b, ig_layer *w, uint32_t *used, uint64_t n)
{
    uint32_t at = *used;
    if (at == 0) w->state_at = b->m->state_floats;
    *used += (uint32_t)n;
    b->m->state_floats += n;
    return at;
}

static void emit_conv(ig_builder *b, ig_layer *w, uint32_t *state, ig_view v, uint32_t n, const float *conv,
                      const float *bias, bool silu)
{
    ig_emit(b, (ig_op){.kind = IG_OP_CONV,
                       .layer = w,
                       .in = v,
                       .n = n,
                       .w = conv,
                       .b = bias,
                       .from = take_state(b, w, state, (uint64_t)(b->m->hp.d_conv - 1) * n)});
    if (silu) ig_emit_glu(b, IG_ACT_SILU, v, (ig_view){0}, n, 0);
}

static void emit_mul(ig_builder *b, ig_view in, ig_view out, uint32_t n)
{
    ig_emit(b, (ig_op){.kind = IG_OP_MUL, .in = in, .out = out, .n = n});
}

/* v = softplus(v + bias) */
static void emit_step_size(ig_builder *b, ig_view v, const float *bias, uint32_t n)
{
    ig_emit(b, (ig_op){.kind = IG_OP_ADDVEC, .out = v, .n = n, .w = bias});
    ig_emit_glu(b, IG_ACT_SOFTPLUS, v, (ig_view){0}, n, 0);
}

static void plan_short_conv(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    uint32_t d = b->m->hp.n_embd, state = 0;
    ig_view gate_in = IG_VIEW(T, 0), gate_out = IG_VIEW(T, d), u = IG_VIEW(T, 2 * d);
    ig_emit_linear(b, in, (ig_out[]){{&w->in, gate_in}}, 1);
    emit_mul(b, gate_in, u, d);
    emit_conv(b, w, &state, u, d, w->conv, NULL, false);
    emit_mul(b, gate_out, u, d);
    ig_emit_to(b, u, &w->out, to);
}

static void plan_mamba(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    const ig_hparams *hp = &b->m->hp;
    uint32_t inner = hp->d_inner, rank = hp->dt_rank, n = hp->d_state, state = 0;
    ig_view x = IG_VIEW(T, 0), z = IG_VIEW(T, inner), dt_low = IG_VIEW(W, 0), bb = IG_VIEW(W, rank);
    ig_view c = IG_VIEW(W, rank + n), dt = IG_VIEW(Z, 0);
    bool bare = false;
    char key[128];
    (void)ig_format_bool(b->m->file, ig_arch_key(b->m->arch, "ssm.dt_b_c_rms", key), false, &bare, NULL);
    ig_emit_linear(b, in, (ig_out[]){{&w->in, x}}, 1);
    emit_conv(b, w, &state, x, inner, w->conv, w->conv_bias, true);
    ig_emit_linear(b, x, (ig_out[]){{&w->x, dt_low}}, 1);
    if (bare || w->dt_norm.here) {
        ig_emit_norm(b, dt_low, dt_low, &w->dt_norm, rank);
        ig_emit_norm(b, bb, bb, &w->b_norm, n);
        ig_emit_norm(b, c, c, &w->c_norm, n);
    }
    ig_emit_linear(b, dt_low, (ig_out[]){{&w->dt, dt}}, 1);
    emit_step_size(b, dt, w->dt_bias, inner);
    ig_emit(b, (ig_op){.kind = IG_OP_MAMBA,
                       .layer = w,
                       .in = dt,
                       .in2 = bb,
                       .out = x,
                       .n = inner,
                       .from = take_state(b, w, &state, (uint64_t)inner * n)});
    ig_emit_glu(b, IG_ACT_SILU, z, x, inner, 0);
    ig_emit_to(b, z, &w->out, to);
}

static void plan_mamba2(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    const ig_hparams *hp = &b->m->hp;
    uint32_t inner = hp->d_inner, channels = inner + 2 * hp->n_group * hp->d_state, heads = hp->dt_rank, state = 0;
    ig_view z = IG_VIEW(T, 0), xbc = IG_VIEW(T, inner), dt = IG_VIEW(T, inner + channels);
    ig_view y = ig_use(b, IG_VIEW(W, 0), inner);
    ig_emit_linear(b, in, (ig_out[]){{&w->in, z}}, 1);
    emit_conv(b, w, &state, xbc, channels, w->conv, w->conv_bias, true);
    emit_step_size(b, dt, w->dt_bias, heads);
    ig_emit(b, (ig_op){.kind = IG_OP_MAMBA2,
                       .layer = w,
                       .in = xbc,
                       .in2 = dt,
                       .out = y,
                       .heads = heads,
                       .n = inner / heads,
                       .from = take_state(b, w, &state, (uint64_t)inner * hp->d_state)});
    ig_emit_glu(b, IG_ACT_SILU, z, y, inner, 0);
    if (w->ssm_norm.here) {
        uint32_t n = inner / hp->n_group;
        ig_emit_head_norm(b, z, &w->ssm_norm, n, hp->n_group, n)->w_stride = n;
    }
    ig_emit_to(b, z, &w->out, to);
}

/* Old files: one matrix gives q, k, v and z of every key head side by side. */
static void split_fused(ig_builder *b, const ig_layer *w, ig_view in, ig_view qkv, ig_view z)
{
    const ig_hparams *hp = &b->m->hp;
    uint32_t s = hp->d_state, nk = hp->n_group, v = hp->d_inner / nk, stride = 2 * s + 2 * v;
    ig_view all = IG_VIEW(W, 0);
    const struct {
        uint32_t from, n;
        ig_view to;
    } parts[] = {{0, s, qkv},
                 {s, s, {qkv.slot, qkv.at + nk * s}},
                 {2 * s, v, {qkv.slot, qkv.at + 2 * nk * s}},
                 {2 * s + v, v, z}};
    ig_emit_linear(b, in, (ig_out[]){{&w->in, all}}, 1);
    for (size_t i = 0; i < 4; i++) {
        ig_use(b, parts[i].to, (uint64_t)nk * parts[i].n);
        ig_emit(b, (ig_op){.kind = IG_OP_COPY,
                           .in = {all.slot, all.at + parts[i].from},
                           .out = parts[i].to,
                           .n = parts[i].n,
                           .heads = nk,
                           .in_stride = stride,
                           .out_stride = parts[i].n});
    }
}

/* q and k to unit length, a head at a time. */
static void emit_unit(ig_builder *b, ig_view v, uint32_t n, uint32_t heads)
{
    ig_op *op = ig_emit_head_norm(b, v, NULL, n, heads, n);
    op->a = 1; /* l2 */
}

static void plan_delta(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    const ig_hparams *hp = &b->m->hp;
    uint32_t s = hp->d_state, nk = hp->n_group, nv = hp->dt_rank, qk = nk * s, channels = 2 * qk + hp->d_inner;
    uint32_t state = 0;
    ig_view qkv = IG_VIEW(T, 0), z = IG_VIEW(Z, 0), beta = IG_VIEW(R, 0), o = ig_use(b, IG_VIEW(A, 0), hp->d_inner);
    if (ig_mat_here(&w->gate_attn))
        ig_emit_linear(b, in, (ig_out[]){{&w->in, qkv}, {&w->gate_attn, z}}, 2);
    else
        split_fused(b, w, in, qkv, z);
    if (ig_mat_here(&w->ba))
        ig_emit_linear(b, in, (ig_out[]){{&w->ba, beta}}, 1);
    else
        ig_emit_linear(b, in, (ig_out[]){{&w->beta, beta}, {&w->alpha, IG_VIEW(R, nv)}}, 2);
    emit_conv(b, w, &state, qkv, channels, w->conv, NULL, true);
    emit_unit(b, qkv, s, 2 * nk);
    ig_emit(b, (ig_op){.kind = IG_OP_DELTA,
                       .layer = w,
                       .in = qkv,
                       .in2 = beta,
                       .out = o,
                       .heads = nv,
                       .n = s,
                       .from = take_state(b, w, &state, (uint64_t)nv * s * s)});
    ig_emit_head_norm(b, o, &w->ssm_norm, s, nv, s);
    ig_emit_glu(b, IG_ACT_SILU, z, o, hp->d_inner, 0);
    ig_emit_to(b, z, &w->out, to);
}

static void plan_kda(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    const ig_hparams *hp = &b->m->hp;
    uint32_t s = hp->d_state, h = hp->dt_rank, inner = hp->d_inner, state = 0;
    ig_view q = IG_VIEW(T, 0), k = IG_VIEW(T, inner), v = IG_VIEW(T, 2 * inner), decay = IG_VIEW(Z, 0);
    ig_view gate = IG_VIEW(Z, inner), f = IG_VIEW(W, 0), g = IG_VIEW(W, s), beta = IG_VIEW(R, 0);
    ig_view o = ig_use(b, IG_VIEW(A, 0), inner);
    ig_emit_linear(b, in, (ig_out[]){{&w->q, q}, {&w->k, k}, {&w->v, v}, {&w->beta, beta}}, 4);
    ig_emit_linear(b, in, (ig_out[]){{&w->f_a, f}, {&w->g_a, g}}, 2);
    emit_conv(b, w, &state, q, inner, w->conv_q, NULL, true);
    emit_conv(b, w, &state, k, inner, w->conv_k, NULL, true);
    emit_conv(b, w, &state, v, inner, w->conv_v, NULL, true);
    emit_unit(b, q, s, 2 * h);
    ig_emit_linear(b, f, (ig_out[]){{&w->f_b, decay}}, 1);
    ig_emit_linear(b, g, (ig_out[]){{&w->g_b, gate}}, 1);
    emit_step_size(b, decay, w->dt_bias, inner);
    ig_emit(b, (ig_op){.kind = IG_OP_DELTA,
                       .layer = w,
                       .in = q,
                       .in2 = beta,
                       .in3 = decay,
                       .out = o,
                       .heads = h,
                       .n = s,
                       .from = take_state(b, w, &state, (uint64_t)h * s * s)});
    ig_emit_head_norm(b, o, &w->ssm_norm, s, h, s);
    ig_emit(b, (ig_op){.kind = IG_OP_GATE,
                       .in = gate,
                       .out = o,
                       .n = inner,
                       .in_stride = inner,
                       .act = IG_ACT_SIGMOID});
    ig_emit_to(b, o, &w->o, to);
}

/* out = n + (n of the token before - n) * lerp, for each of `count` vectors */
static void emit_shift(ig_builder *b, ig_layer *w, uint32_t *state, ig_view n, ig_view out, const float *lerp,
                       uint32_t count)
{
    uint32_t d = b->m->hp.n_embd;
    ig_use(b, out, (uint64_t)count * d);
    ig_emit(b, (ig_op){.kind = IG_OP_SHIFT,
                       .layer = w,
                       .in = n,
                       .out = out,
                       .n = d,
                       .heads = count,
                       .w = lerp,
                       .from = take_state(b, w, state, d)});
}

/* y = low-rank map of in, act between */
static void emit_lora(ig_builder *b, const ig_mat *down, const ig_mat *up, ig_act act, ig_view in, ig_view out)
{
    ig_view low = IG_VIEW(G, 0);
    ig_emit_linear(b, in, (ig_out[]){{down, low}}, 1);
    if (act == IG_ACT_COUNT)
        ig_emit(b, (ig_op){.kind = IG_OP_TANH, .in = low, .n = down->n_out});
    else if (act != IG_ACT_XIELU)
        ig_emit_glu(b, act, low, (ig_view){0}, down->n_out, 0);
    ig_emit_linear(b, low, (ig_out[]){{up, out}}, 1);
}

static void plan_rwkv(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    const ig_hparams *hp = &b->m->hp;
    uint32_t d = hp->n_embd, state = 0;
    /* T: the six mixed inputs r, w, k, v, a, g. W: r, w, k, v, a, g as the recurrence takes them; Z: v of layer 0. */
    ig_view mixed[6], row[6], first = ig_use(b, IG_VIEW(Z, 0), d), o = ig_use(b, IG_VIEW(A, 0), d);
    enum { R, DECAY, K, V, A, GATE };
    for (uint32_t i = 0; i < 6; i++) {
        mixed[i] = IG_VIEW(T, i * d);
        row[i] = ig_use(b, IG_VIEW(W, i * d), d);
    }
    emit_shift(b, w, &state, in, mixed[0], w->lerp, 6);
    ig_emit_linear(b, mixed[R], (ig_out[]){{&w->r, row[R]}}, 1);
    ig_emit_linear(b, mixed[K], (ig_out[]){{&w->k, row[K]}}, 1);
    ig_emit_linear(b, mixed[V], (ig_out[]){{&w->v, row[V]}}, 1);
    emit_lora(b, &w->w1, &w->w2, IG_ACT_COUNT, mixed[DECAY], row[DECAY]);
    emit_lora(b, &w->a1, &w->a2, IG_ACT_XIELU, mixed[A], row[A]);
    emit_lora(b, &w->g1, &w->g2, IG_ACT_SIGMOID, mixed[GATE], row[GATE]);
    if (w->index)
        emit_lora(b, &w->v1, &w->v2, IG_ACT_XIELU, mixed[V], IG_VIEW(T, V * d)); /* into the mixed input it came from */
    ig_emit(b, (ig_op){.kind = IG_OP_RWKV,
                       .layer = w,
                       .in = row[0],
                       .in2 = mixed[V],
                       .in3 = first,
                       .out = o,
                       .heads = d / hp->d_state,
                       .n = hp->d_state,
                       .from = take_state(b, w, &state, (uint64_t)d * hp->d_state)});
    emit_mul(b, row[GATE], o, d);
    ig_emit_to(b, o, &w->o, to);
    /* channel mix */
    ig_view n = IG_VIEW(N, 0), k = IG_VIEW(T, 0);
    ig_emit_norm(b, IG_VIEW(X, 0), n, &w->attn_norm_2, d);
    emit_shift(b, w, &state, n, k, w->lerp_k, 1);
    ig_emit_linear(b, k, (ig_out[]){{&w->cm_k, IG_VIEW(G, 0)}}, 1);
    ig_emit_glu(b, IG_ACT_RELU2, IG_VIEW(G, 0), (ig_view){0}, w->cm_k.n_out, 0);
    ig_emit_to(b, IG_VIEW(G, 0), &w->cm_v, to);
}

void ig_plan_mixer(ig_builder *b, ig_layer *w, ig_view in, ig_target to)
{
    static void (*const plans[])(ig_builder *, ig_layer *, ig_view, ig_target) = {
        [IG_MIX_CONV] = plan_short_conv, [IG_MIX_MAMBA] = plan_mamba, [IG_MIX_MAMBA2] = plan_mamba2,
        [IG_MIX_DELTA] = plan_delta,     [IG_MIX_KDA] = plan_kda,     [IG_MIX_RWKV7] = plan_rwkv,
    };
    plans[w->mixer](b, w, in, to);
}
