/* What each layer is made of: heads, windows, mixers, FFN kind, who owns keys and values. From the row, the metadata
 * and, where files differ only in that, the presence of tensors. */
#include <math.h>
#include <stdio.h>

#include "model/hparams.h"

typedef struct lists { /* one value a layer */
    uint32_t *heads, *heads_kv, *ff;
    bool *windowed;
} lists;

static ig_status read_list(const ig_reader *r, const char *name, bool required, uint32_t max, uint32_t *out, size_t n)
{
    char key[128];
    ig_arch_key(r->arch, name, key);
    IG_TRY(ig_format_u32s(r->f, key, required, out, n, r->err));
    for (size_t i = 0; i < n; i++)
        if (out[i] > max)
            return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s is %u for layer %zu, expected at most %u",
                           ig_format_path(r->f), key, out[i], i, max);
    return IG_OK;
}

static bool every_layer_recurrent(const ig_arch *a)
{
    return a->mixer != IG_MIX_ATTENTION && a->mix_rule == IG_MIX_EVERY && !(a->parts & IG_PART_ATTENTION_TOO);
}

static ig_status read_lists(const ig_reader *r, const ig_model *m, lists *l)
{
    uint32_t n = m->hp.n_layers_file;
    bool attention = !every_layer_recurrent(m->arch);
    IG_TRY(read_list(r, "attention.head_count", attention, IG_HEADS_MAX, l->heads, n));
    for (uint32_t i = 0; i < n; i++) l->heads_kv[i] = l->heads[i];
    IG_TRY(read_list(r, "attention.head_count_kv", false, IG_HEADS_MAX, l->heads_kv, n));
    return read_list(r, "feed_forward_length", attention && !m->arch->special, IG_FF_MAX, l->ff, n);
}

static ig_status read_windows(const ig_reader *r, const ig_model *m, lists *l, uint32_t *window)
{
    const ig_arch *a = m->arch;
    uint32_t every = a->window_every, n = m->hp.n_layers_file;
    bool first = a->dense_first;
    char key[128];
    *window = a->window_default;
    if (every == 0) return IG_OK;
    IG_TRY(ig_key_size(r, "attention.sliding_window", false, 0, IG_CTX_MAX, window));
    if (*window && a->window_fixed) *window = a->window_fixed;
    if (*window == 0) return IG_OK;
    const ig_meta *pattern = ig_format_meta(r->f, ig_arch_key(a, "attention.sliding_window_pattern", key));
    if (pattern && pattern->type == IG_META_ARRAY) {
        IG_TRY(ig_format_array(r->f, key, true, IG_META_BOOL, &pattern, r->err));
        if (pattern->n < n)
            return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s has %llu values, expected %u", ig_format_path(r->f), key,
                           (unsigned long long)pattern->n, n);
        for (uint32_t i = 0; i < n; i++) l->windowed[i] = ig_meta_int(pattern, i) != 0;
        return IG_OK;
    }
    if (pattern) {
        IG_TRY(ig_key_size(r, "attention.sliding_window_pattern", true, 1, IG_LAYERS_MAX, &every));
        first = first || a->dense_first_by_key;
    }
    for (uint32_t i = 0; i < n; i++) l->windowed[i] = i % every != (first ? 0 : every - 1);
    return IG_OK;
}

/* Which mixers the layer has. */
static ig_status choose_mixer(const ig_reader *r, const ig_model *m, const lists *l, ig_layer *w, uint32_t interval)
{
    const ig_arch *a = m->arch;
    bool no_kv = l->heads_kv[w->index] == 0;
    w->mixer = IG_MIX_NONE;
    w->attention = a->mixer == IG_MIX_ATTENTION || w->index >= m->hp.n_layers; /* draft layers attend */
    if (w->attention) return IG_OK;
    switch (a->mix_rule) {
    case IG_MIX_EVERY: w->mixer = a->mixer; break;
    case IG_MIX_NO_KV: w->mixer = no_kv ? a->mixer : IG_MIX_NONE; break;
    case IG_MIX_INTERVAL: w->mixer = (w->index + 1) % interval ? a->mixer : IG_MIX_NONE; break;
    case IG_MIX_NO_KV_NO_FF:
        w->mixer = no_kv && l->ff[w->index] == 0 ? a->mixer : IG_MIX_NONE;
        w->attention = l->ff[w->index] == 0 && !no_kv;
        return IG_OK;
    }
    w->attention = w->mixer == IG_MIX_NONE || (a->parts & IG_PART_ATTENTION_TOO);
    (void)r;
    return IG_OK;
}

static ig_ffn_kind choose_ffn(const ig_model *m, const ig_layer *w)
{
    if (m->arch->block == IG_BLOCK_MIXER && (w->attention || w->mixer != IG_MIX_NONE)) return IG_FFN_NONE;
    bool routed =
        ig_has_tensor(m, w->index, "ffn_gate_inp.weight") || ig_has_tensor(m, w->index, "ffn_down_exps.weight");
    return m->hp.n_experts && routed ? IG_FFN_EXPERTS : IG_FFN_DENSE;
}

static ig_status check_counts(const ig_reader *r, const ig_layer *w)
{
    if (w->n_heads && w->n_heads_kv) return IG_OK;
    return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s.attention.%s is 0 for layer %u, expected 1 to %d",
                   ig_format_path(r->f), r->arch->name, w->n_heads ? "head_count_kv" : "head_count", w->index,
                   IG_HEADS_MAX);
}

static ig_status check_heads(const ig_reader *r, const ig_layer *w)
{
    const char *path = ig_format_path(r->f), *a = r->arch->name;
    if (w->n_heads % w->n_heads_kv)
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "%s: %s.attention.head_count_kv is %u, expected a divisor of attention.head_count %u", path, a,
                       w->n_heads_kv, w->n_heads);
    if (w->head_k == 0 || w->head_v == 0 || w->head_k > IG_HEAD_SIZE_MAX || w->head_v > IG_HEAD_SIZE_MAX)
        return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: heads of %s have %u and %u values, expected 1 to %d", path, a,
                       w->head_k, w->head_v, IG_HEAD_SIZE_MAX);
    return IG_OK;
}

static ig_status read_head_sizes(const ig_reader *r, const ig_model *m, ig_layer *w)
{
    if (!ig_key_given(r, "attention.key_length") && m->hp.n_embd % (w->n_heads ? w->n_heads : 1))
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "%s: %s.attention.head_count is %u, expected a divisor of embedding_length %u",
                       ig_format_path(r->f), r->arch->name, w->n_heads, m->hp.n_embd);
    w->head_k = w->head_v = m->hp.n_embd / (w->n_heads ? w->n_heads : 1);
    IG_TRY(ig_key_size(r, "attention.key_length", false, 1, IG_HEAD_SIZE_MAX, &w->head_k));
    IG_TRY(ig_key_size(r, "attention.value_length", false, 1, IG_HEAD_SIZE_MAX, &w->head_v));
    if (!w->window) return IG_OK;
    IG_TRY(ig_key_size(r, "attention.key_length_swa", false, 1, IG_HEAD_SIZE_MAX, &w->head_k));
    return ig_key_size(r, "attention.value_length_swa", false, 1, IG_HEAD_SIZE_MAX, &w->head_v);
}

/* Rotated values of a head, whether the layer rotates or not. */
static ig_status read_rotation(const ig_reader *r, const ig_model *m, ig_layer *w)
{
    if (m->arch->rope == IG_ROPE_NONE && !(m->arch->parts & IG_PART_MLA)) return IG_OK;
    w->n_rot = w->head_k;
    IG_TRY(ig_key_size(r, "rope.dimension_count", (m->arch->parts & IG_PART_MLA) != 0, 1, IG_HEAD_SIZE_MAX, &w->n_rot));
    if (w->window) IG_TRY(ig_key_size(r, "rope.dimension_count_swa", false, 1, IG_HEAD_SIZE_MAX, &w->n_rot));
    if (!w->window && ig_part_on(m, IG_PART_HALF_ROPE_ON_FULL)) w->n_rot /= 2;
    bool full = ig_part_on(m, IG_PART_FULL_ROPE);
    if (w->n_rot && w->n_rot % 2 == 0 && w->n_rot <= w->head_k && (!full || w->n_rot == w->head_k)) return IG_OK;
    return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s.rope.dimension_count is %u, expected %s %u", ig_format_path(r->f),
                   r->arch->name, w->n_rot, full ? "the even head size" : "an even number of at most", w->head_k);
}

/* Latent attention: keys and values of all heads are one vector, or are decompressed from it. */
static ig_status read_latent(const ig_reader *r, ig_model *m, ig_layer *w)
{
    ig_hparams *hp = &m->hp;
    if (!(m->arch->parts & IG_PART_MLA)) return IG_OK;
    w->latent = true;
    w->absorbed = !ig_has_tensor(m, w->index, "attn_kv_b.weight");
    hp->head_mla = w->head_k;
    hp->head_v_mla = w->head_v;
    IG_TRY(ig_key_size(r, "attention.key_length_mla", false, 1, IG_HEAD_SIZE_MAX, &hp->head_mla));
    IG_TRY(ig_key_size(r, "attention.value_length_mla", false, 1, IG_HEAD_SIZE_MAX, &hp->head_v_mla));
    IG_TRY(ig_key_size(r, "attention.kv_lora_rank", true, 1, IG_HEAD_SIZE_MAX, &hp->kv_lora));
    if (w->n_rot >= hp->head_mla)
        return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s rotates %u of the %u values of a head, expected fewer",
                       ig_format_path(r->f), r->arch->name, w->n_rot, hp->head_mla);
    w->head_k = w->absorbed ? hp->kv_lora + w->n_rot : hp->head_mla;
    w->head_v = w->absorbed ? hp->kv_lora : hp->head_v_mla;
    w->n_heads_kv = w->absorbed ? 1 : w->n_heads;
    return IG_OK;
}

static bool rotates(const ig_model *m, const ig_layer *w, bool windows, uint32_t n_dense)
{
    if (m->arch->rope == IG_ROPE_NONE) return false;
    if (m->arch->nope == IG_NOPE_FOURTH) return (w->index + 1) % 4 != 0;
    if (m->arch->nope == IG_NOPE_NEVER || !windows || w->window) return true;
    return ig_part_on(m, IG_PART_ROPE_ON_DENSE) && w->index < n_dense;
}

/* Who owns the keys and values that a layer reads: layers behind the first n_own share those of n_own - 2 (windowed)
 * and n_own - 1 (full). */
static ig_status share_kv(const ig_reader *r, ig_model *m)
{
    uint32_t n_shared = 0, n = m->hp.n_layers;
    for (uint32_t l = 0; l < n + m->hp.n_draft; l++) m->layers[l].kv_layer = l;
    if (m->arch->special == IG_SPECIAL_GEMMA3N) n_shared = n > 20 ? n - 20 : 0;
    if (m->arch->special == IG_SPECIAL_GEMMA4)
        IG_TRY(ig_key_size(r, "attention.shared_kv_layers", false, 0, IG_LAYERS_MAX, &n_shared));
    if (n_shared == 0) return IG_OK;
    uint32_t own = n - (n_shared < n ? n_shared : n);
    for (uint32_t l = own; l < n; l++) {
        ig_layer *w = &m->layers[l];
        uint32_t from = own < 2 ? n : w->window ? own - 2 : own - 1;
        const ig_layer *o = from < n ? &m->layers[from] : NULL;
        if (!o || (o->window != 0) != (w->window != 0) || o->head_k != w->head_k || o->head_v != w->head_v ||
            w->n_heads % o->n_heads_kv)
            return ig_fail(r->err, IG_BAD_INPUT, 0,
                           "%s: layer %u of %s shares keys and values, but layer %u has none of its kind",
                           ig_format_path(r->f), l, r->arch->name, from);
        w->kv_layer = from;
        w->n_heads_kv = o->n_heads_kv;
    }
    return IG_OK;
}

static ig_status init_layer(const ig_reader *r, ig_model *m, const lists *l, ig_layer *w, uint32_t window,
                            uint32_t interval)
{
    uint32_t i = w->index;
    IG_TRY(choose_mixer(r, m, l, w, interval));
    w->ffn = choose_ffn(m, w);
    w->n_ff = l->ff[i];
    w->rope = w->kv_group = -1;
    w->n_heads = l->heads[i];
    if (w->ffn == IG_FFN_DENSE && w->n_ff == 0)
        return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s.feed_forward_length is 0, expected 1 to %d",
                       ig_format_path(r->f), r->arch->name, IG_FF_MAX);
    if (!w->attention) return IG_OK;
    w->n_heads_kv = l->heads_kv[i];
    IG_TRY(check_counts(r, w));
    w->window = l->windowed[i] ? window : 0;
    IG_TRY(read_head_sizes(r, m, w));
    IG_TRY(read_rotation(r, m, w));
    IG_TRY(read_latent(r, m, w));
    IG_TRY(check_heads(r, w));
    w->kv_group = w->window && m->hp.causal ? 1 : 0;
    if (w->kv_group == 1 && w->window > m->window_most) m->window_most = w->window;
    w->attn_scale = 0;
    IG_TRY(ig_key_float(r, "attention.scale", false, false, &w->attn_scale));
    uint32_t size = w->latent                               ? m->hp.head_mla
                    : ig_part_on(m, IG_PART_SCALE_BY_WIDTH) ? m->hp.n_embd / w->n_heads
                                                            : w->head_k;
    if (w->attn_scale == 0) w->attn_scale = (float)(1.0 / sqrt((double)size));
    if (ig_part_on(m, IG_PART_SCALE_ONE)) w->attn_scale = 1;
    return IG_OK;
}

/* Layers that choose positions: all that have the tensors, or as attention.indexer.types says. */
static ig_status init_indexer(const ig_reader *r, ig_model *m)
{
    static const char *const names[2][3] = {
        {"indexer.attn_q_b.weight", "indexer.attn_k.weight", "indexer.proj.weight"},
        {"indexer.q_proj.weight", "indexer.k_proj.weight", "indexer.k_norm.weight"}};
    ig_hparams *hp = &m->hp;
    bool blocks = ig_part_on(m, IG_PART_BLOCK_INDEXER), tokens = ig_part_on(m, IG_PART_TOKEN_INDEXER), any = false;
    if (!blocks && !tokens) return IG_OK;
    for (uint32_t l = 0; l < hp->n_layers + hp->n_draft; l++) {
        ig_layer *w = &m->layers[l];
        for (size_t i = 0; i < 3; i++) w->indexer = w->indexer || ig_has_tensor(m, l, names[blocks][i]);
        w->idx_keys = w->indexer ? hp->idx_head : 0;
        if (tokens && l == 0 && !w->indexer)
            return ig_fail(r->err, IG_BAD_INPUT, 0,
                           "%s: tensor blk.0.indexer.attn_q_b.weight is missing, expected by "
                           "the architecture %s",
                           ig_format_path(r->f), r->arch->name);
        any = any || w->indexer;
        if (w->indexer &&
            (hp->idx_heads == 0 || hp->idx_head == 0 || hp->idx_top_k == 0 || (blocks && !hp->idx_block) ||
             (blocks && hp->idx_heads != w->n_heads_kv) || hp->idx_head < w->n_rot))
            return ig_fail(r->err, IG_BAD_INPUT, 0,
                           "%s: the indexer of %s has %u heads of %u values, chooses %u blocks of %u; expected numbers "
                           "above 0%s",
                           ig_format_path(r->f), r->arch->name, hp->idx_heads, hp->idx_head, hp->idx_top_k,
                           hp->idx_block, blocks ? " and a head for every key head" : "");
    }
    if (!any) return IG_OK;
    m->mask_block = blocks ? hp->idx_block : 1;
    m->mask_groups = blocks ? hp->idx_heads : 1;
    return IG_OK;
}

/* Per-layer clamps and activation parameters. */
static ig_status floats_of_layers(const ig_reader *r, ig_model *m, const char *key, size_t field, bool required)
{
    const ig_meta *list;
    IG_TRY(ig_format_array(r->f, key, required, IG_META_F32, &list, r->err));
    if (!list) return IG_OK;
    if (list->n < m->hp.n_layers)
        return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: %s has %llu values, expected %u", ig_format_path(r->f), key,
                       (unsigned long long)list->n, m->hp.n_layers);
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        double v = ig_meta_float(list, l);
        if (!isfinite(v))
            return ig_fail(r->err, IG_BAD_INPUT, 0, "%s: value %u of %s is not a finite number", ig_format_path(r->f),
                           l, key);
        *(float *)(void *)((char *)&m->layers[l] + field) = (float)v;
    }
    return IG_OK;
}

static float softplus(float x) { return x > 20 ? x : log1pf(expf(x)); }

static ig_status init_activation(const ig_reader *r, ig_model *m)
{
    static const char *const xielu[] = {"xielu.alpha_n", "xielu.alpha_p", "xielu.beta", "xielu.eps"};
    char key[128];
    IG_TRY(floats_of_layers(r, m, ig_arch_key(r->arch, "swiglu_clamp_exp", key), offsetof(ig_layer, glu_limit), false));
    IG_TRY(floats_of_layers(r, m, ig_arch_key(r->arch, "swiglu_clamp_shexp", key), offsetof(ig_layer, shared_limit),
                            false));
    if (m->act != IG_ACT_XIELU) return IG_OK;
    for (size_t i = 0; i < 4; i++)
        IG_TRY(floats_of_layers(r, m, xielu[i], offsetof(ig_layer, xielu) + i * sizeof(float), true));
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        float *p = m->layers[l].xielu;
        p[0] = p[2] + softplus(p[0]);
        p[1] = softplus(p[1]);
    }
    return IG_OK;
}

/* Sizes of recurrent mixers must divide as the formulas need. */
static ig_status check_mixers(const ig_reader *r, ig_model *m)
{
    ig_hparams *hp = &m->hp;
    ig_mixer kind = m->arch->mixer;
    bool ok = true;
    if (kind == IG_MIX_ATTENTION) return IG_OK;
    if (kind == IG_MIX_CONV) hp->d_inner = hp->n_embd;
    if (kind == IG_MIX_KDA) {
        hp->n_group = hp->dt_rank = m->layers[0].n_heads;
        hp->d_inner = hp->dt_rank * hp->d_state;
    }
    if (kind == IG_MIX_RWKV7) {
        ok = hp->d_state && hp->n_embd % hp->d_state == 0 && hp->lora_decay && hp->lora_iclr && hp->lora_value &&
             hp->lora_gate;
        hp->d_inner = hp->n_embd;
    } else
        ok = hp->d_conv && hp->d_inner;
    if (kind == IG_MIX_MAMBA) ok = ok && hp->d_state && hp->dt_rank;
    if (kind == IG_MIX_MAMBA2) {
        if (hp->n_group == 0) hp->n_group = 1;
        ok = ok && hp->d_state && hp->dt_rank && hp->d_inner % hp->dt_rank == 0 && hp->dt_rank % hp->n_group == 0 &&
             hp->d_inner % hp->n_group == 0;
    }
    if (kind == IG_MIX_DELTA || kind == IG_MIX_KDA)
        ok = ok && hp->n_group && hp->dt_rank && hp->d_state && hp->dt_rank % hp->n_group == 0 &&
             (uint64_t)hp->dt_rank * hp->d_state == hp->d_inner;
    if (ok) return IG_OK;
    return ig_fail(
        r->err, IG_BAD_INPUT, 0,
        "%s: the recurrent sizes of %s do not fit together: inner %u, state %u, heads or rank %u, groups %u, "
        "kernel %u",
        ig_format_path(r->f), r->arch->name, hp->d_inner, hp->d_state, hp->dt_rank, hp->n_group, hp->d_conv);
}

/* Are the first layer's up_NAME and down_NAME n wide between them? */
static bool is_wide(const ig_model *m, const char *name, uint32_t n)
{
    char up[128], down[128];
    for (uint32_t i = 0; n && i < m->hp.n_layers; i++) {
        (void)snprintf(up, sizeof up, "blk.%u.ffn_up_%s.weight", i, name);
        (void)snprintf(down, sizeof down, "blk.%u.ffn_down_%s.weight", i, name);
        const ig_tensor *u = ig_format_tensor(m->file, up), *d = ig_format_tensor(m->file, down);
        if (u && d) return u->ne[1] == n && d->ne[0] == n;
    }
    return false;
}

/* Without the keys experts are as wide as a dense FFN and the shared one as wide as all that it stands for. Early files
 * of Qwen 1.5 mean otherwise: the dense width is that of the experts of a token together, and of the shared one. */
static ig_status read_expert_widths(const ig_reader *r, ig_model *m, uint32_t n_ff)
{
    ig_hparams *hp = &m->hp;
    if (hp->n_experts == 0) return IG_OK;
    if (hp->n_ff_expert == 0) {
        uint32_t part = n_ff / hp->n_experts_used;
        hp->n_ff_expert = is_wide(m, "exps", part) ? part : n_ff;
    }
    bool whole = is_wide(m, "shexp", n_ff);
    hp->n_ff_shared = whole ? n_ff : hp->n_ff_expert * (hp->n_ff_shared ? hp->n_ff_shared : 1);
    return ig_key_size(r, "expert_shared_feed_forward_length", false, 0, IG_FF_MAX, &hp->n_ff_shared);
}

ig_status ig_layers_init(ig_model *m, ig_error *err)
{
    const ig_reader r = {m->file, m->arch, err};
    uint32_t n = m->hp.n_layers_file, n_all = m->hp.n_layers + m->hp.n_draft, window = 0, interval = 4, n_dense = 0,
             n_ff = 0;
    bool windows = false;
    if (m->arch->special == IG_SPECIAL_T5) return ig_t5_layers(m, err);
    lists l = {.heads = ig_arena_alloc(&m->arena, n, sizeof *l.heads),
               .heads_kv = ig_arena_alloc(&m->arena, n, sizeof *l.heads_kv),
               .ff = ig_arena_alloc(&m->arena, n, sizeof *l.ff),
               .windowed = ig_arena_alloc(&m->arena, n, sizeof *l.windowed)};
    m->layers = ig_arena_alloc(&m->arena, n_all, sizeof *m->layers);
    if (!l.heads || !l.heads_kv || !l.ff || !l.windowed || !m->layers)
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %u layers", n);
    IG_TRY(read_lists(&r, m, &l));
    IG_TRY(read_windows(&r, m, &l, &window));
    IG_TRY(ig_key_size(&r, "full_attention_interval", false, 1, IG_LAYERS_MAX, &interval));
    IG_TRY(ig_key_size(&r, "leading_dense_block_count", false, 0, IG_LAYERS_MAX, &n_dense));
    for (uint32_t i = 0; i < n_all; i++) {
        ig_layer *w = &m->layers[i];
        w->index = i;
        IG_TRY(init_layer(&r, m, &l, w, window, interval));
        windows = windows || w->window;
        if (w->ffn == IG_FFN_EXPERTS && n_ff == 0) n_ff = w->n_ff;
        if (w->n_heads > m->hp.n_heads) m->hp.n_heads = w->n_heads;
        if (w->n_heads_kv > m->hp.n_heads_kv) m->hp.n_heads_kv = w->n_heads_kv;
    }
    IG_TRY(read_expert_widths(&r, m, n_ff ? n_ff : l.ff[0]));
    bool rope_off = false, finetuned = true;
    if (ig_part_on(m, IG_PART_ROPE_SWITCH)) IG_TRY(ig_key_bool(&r, "rope.scaling.finetuned", &finetuned));
    rope_off = !finetuned;
    for (uint32_t i = 0; i < n_all; i++) {
        ig_layer *w = &m->layers[i];
        if (w->attention && !rope_off && rotates(m, w, windows, n_dense)) w->rope = w->window ? 1 : 0;
    }
    IG_TRY(check_mixers(&r, m));
    IG_TRY(share_kv(&r, m));
    m->n_kv_layers = n_all;
    for (uint32_t i = 0; i < n_all; i++) m->layers[i].kv_region = m->hp.causal ? m->layers[i].kv_layer : 0;
    IG_TRY(init_indexer(&r, m));
    return init_activation(&r, m);
}
