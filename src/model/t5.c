/* T5 (Raffel et al. 2020, arXiv 1910.10683): an encoder over its own tokens, then a decoder whose layers also attend to
 * the encoder's output. Layers: the encoder's, the decoder's, then one for every cross attention, which owns keys and
 * values alone; they are stored when the encoder has run. */
#include "model/build.h"
#include "model/hparams.h"

static ig_layer *cross_layer(const ig_model *m, const ig_layer *w) { return (ig_layer *)w + m->hp.n_layers_dec; }

ig_status ig_t5_layers(ig_model *m, ig_error *err)
{
    const ig_reader r = {m->file, m->arch, err};
    uint32_t n = m->hp.n_layers + 2 * m->hp.n_layers_dec, heads = 0, ff = 0;
    IG_TRY(ig_key_size(&r, "attention.head_count", true, 1, IG_HEADS_MAX, &heads));
    IG_TRY(ig_key_size(&r, "feed_forward_length", true, 1, IG_FF_MAX, &ff));
    uint32_t size = m->hp.n_embd / heads, value;
    IG_TRY(ig_key_size(&r, "attention.key_length", m->hp.n_embd % heads != 0, 1, IG_HEAD_SIZE_MAX, &size));
    value = size;
    IG_TRY(ig_key_size(&r, "attention.value_length", false, 1, IG_HEAD_SIZE_MAX, &value));
    m->layers = ig_arena_alloc(&m->arena, n, sizeof *m->layers);
    if (!m->layers) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %u layers", n);
    for (uint32_t l = 0; l < n; l++) {
        uint32_t index = l < m->hp.n_layers ? l : (l - m->hp.n_layers) % m->hp.n_layers_dec;
        m->layers[l] = (ig_layer){.index = index,
                                  .attention = true,
                                  .mixer = IG_MIX_NONE,
                                  .ffn = IG_FFN_DENSE,
                                  .n_heads = heads,
                                  .n_heads_kv = heads,
                                  .head_k = size,
                                  .head_v = value,
                                  .n_ff = ff,
                                  .attn_scale = 1,
                                  .rope = -1,
                                  .kv_layer = index,
                                  .kv_region = l < m->hp.n_layers ? 0 : l};
    }
    m->hp.n_heads = m->hp.n_heads_kv = heads;
    m->n_kv_layers = n;
    return IG_OK;
}

/* Distance biases are stored in the first layer of a half and used in all. */
static void plan_self(ig_builder *b, ig_layer *w, const float *rel_b, bool encoder)
{
    ig_view x = IG_VIEW(X, 0), n = IG_VIEW(N, 0);
    ig_emit_norm(b, x, n, &w->attn_norm, b->m->hp.n_embd);
    size_t before = b->ops->n;
    ig_plan_attention(b, w, n, (ig_target){x, true, 1});
    for (size_t i = before; i < b->ops->n && i < b->ops->cap; i++)
        if (b->ops->list[i].kind == IG_OP_ATTEND) {
            b->ops->list[i].w = rel_b;
            b->ops->list[i].from = encoder ? IG_SEE_ALL : IG_SEE_BEFORE;
        }
}

static void plan_cross(ig_builder *b, ig_layer *w)
{
    ig_view x = IG_VIEW(X, 0), n = IG_VIEW(N, 0), q = IG_VIEW(QKV, 0), a = IG_VIEW(A, 0);
    ig_emit_norm(b, x, n, &w->cross_norm, b->m->hp.n_embd);
    ig_emit_linear(b, n, (ig_out[]){{&w->cross_q, q}}, 1);
    ig_emit(b, (ig_op){.kind = IG_OP_ATTEND,
                       .layer = cross_layer(b->m, w),
                       .in = q,
                       .out = a,
                       .heads = w->n_heads,
                       .in_stride = w->head_k,
                       .out_stride = w->head_v,
                       .from = IG_SEE_SOURCE,
                       .a = 1});
    ig_emit_to(b, a, &w->cross_o, (ig_target){x, true, 1});
}

static void plan_ffn(ig_builder *b, ig_layer *w)
{
    ig_view x = IG_VIEW(X, 0), n = IG_VIEW(N, 0);
    ig_act act = b->m->act;
    ig_emit_norm(b, x, n, &w->ffn_norm, b->m->hp.n_embd);
    b->m->act = ig_mat_here(&w->gate) ? act : IG_ACT_RELU;
    ig_plan_dense(b, w, n, (ig_target){x, true, 1});
    b->m->act = act;
}

static void plan_embedding(ig_builder *b)
{
    const ig_model *m = b->m;
    ig_view x = ig_use(b, IG_VIEW(X, 0), m->hp.n_embd);
    ig_emit(b, (ig_op){.kind = IG_OP_EMBED, .out = x, .n = m->hp.n_embd, .mat = {&m->embed}, .a = 1});
}

static void plan_encoder(ig_builder *b)
{
    ig_model *m = b->m;
    ig_layer *dec = m->layers + m->hp.n_layers;
    ig_view x = IG_VIEW(X, 0), k = IG_VIEW(QKV, 0);
    plan_embedding(b);
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        plan_self(b, &m->layers[l], m->layers[0].rel_b, true);
        plan_ffn(b, &m->layers[l]);
    }
    ig_emit_norm(b, x, x, &m->enc_norm, m->hp.n_embd);
    for (uint32_t l = 0; l < m->hp.n_layers_dec; l++) {
        ig_view v = IG_VIEW(QKV, dec[l].cross_k.n_out);
        ig_emit_linear(b, x, (ig_out[]){{&dec[l].cross_k, k}, {&dec[l].cross_v, v}}, 2);
        ig_emit(b, (ig_op){.kind = IG_OP_STORE, .layer = cross_layer(m, &dec[l]), .in = k, .in2 = v});
    }
}

void ig_plan_t5(ig_builder *b)
{
    ig_model *m = b->m;
    ig_layer *dec = m->layers + m->hp.n_layers;
    ig_builder encoder = {m, &m->encoder};
    plan_encoder(&encoder);
    plan_embedding(b);
    for (uint32_t l = 0; l < m->hp.n_layers_dec; l++) {
        plan_self(b, &dec[l], dec[0].rel_b, false);
        plan_cross(b, &dec[l]);
        plan_ffn(b, &dec[l]);
    }
    ig_plan_head(b, IG_VIEW(X, 0));
}
