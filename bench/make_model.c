/* make_model: writes a GGUF of a real model's shape with random weights, for measuring speed where no trained model is
 * at hand.
 *
 *   make_model OUT [NAME=VALUE]...
 *     shape=1b        llama, 16 layers, width 2048, 1.2 billion weights, 128,256 tokens (standard)
 *     shape=3b        llama, 28 layers, width 3072, 3.2 billion weights
 *     shape=experts   qwen3moe, 16 layers, width 1024, 64 experts with 6 used, 1.8 billion weights
 *     shape=windows   gemma3, 26 layers, width 1152, five of six layers with a window of 512, 262,144 tokens
 *     shape=hybrid    qwen35, 24 layers, width 1024, gated delta-net in three of four layers, 248,320 tokens
 *     small=1         llama: 2 layers, d 256, ff 512, heads 8, kv 2, vocab 320
 *     layers= d= ff= heads= kv= head= vocab= ctx= seed=     other numbers than the shape's
 *     loud=N          layers from N on add next to nothing: a model of N layers and the same seed says nearly the same
 *     type=Q4_0       all matrices: F32, F16, Q4_0 to Q8_0, Q2_K to Q6_K, IQ1_S to IQ4_XS, TQ1_0, TQ2_0, MXFP4
 *     mix=Q4_K_M      or types as `ingle quantize` chooses them
 *     embedding=Q8_0  type of token_embd, which is the output matrix, too
 *
 * Norms and other vectors are F32. Weights are uniform with variance 1/d, so that activations stay in range. The
 * vocabulary has 3 special ids, 256 bytes and numbered words. The same arguments give the same file. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "quant/mix.h"

typedef struct shape {
    const char *name;
    const struct family *family;
    uint64_t layers, d, ff, heads, kv, head, vocab, ctx, experts, used, seed, loud;
} shape;

typedef struct type_row {
    const char *name;
    uint32_t id, file_type, block, bytes; /* numbers of the GGUF format; elements and bytes of a block */
    uint32_t d_at;                        /* offset of d, binary16, in the block */
    float d;                              /* 1 / deviation of weights made of random bytes with d = 1 */
    uint32_t m_at;                        /* of the minimum, 0: none; a minimum of m times d makes the mean 0 */
    float m;
} type_row;
static const type_row types[] = {
    {"F32", 0, 0, 1, 4, 0, 0, 0, 0},
    {"F16", 1, 1, 1, 2, 0, 0, 0, 0},
    {"Q4_0", 2, 2, 32, 18, 0, 4.61f, 0, 0},
    {"Q4_1", 3, 3, 32, 20, 0, 4.61f, 2, -7.5f},
    {"Q5_0", 6, 8, 32, 22, 0, 9.25f, 0, 0},
    {"Q5_1", 7, 9, 32, 24, 0, 9.24f, 2, -15.5f},
    {"Q8_0", 8, 7, 32, 34, 0, 73.9f, 0, 0},
    {"Q2_K", 10, 10, 256, 84, 80, 13.9f, 82, 1.5f},
    {"Q3_K", 11, 12, 256, 110, 108, 43.3f, 0, 0},
    {"Q4_K", 12, 15, 256, 144, 0, 230.0f, 2, 7.5f},
    {"Q5_K", 13, 17, 256, 176, 0, 527.0f, 2, 15.5f},
    {"Q6_K", 14, 18, 256, 210, 208, 1360.0f, 0, 0},
    {"IQ2_XXS", 16, 19, 256, 66, 0, 53.4f, 0, 0},
    {"IQ2_XS", 17, 20, 256, 74, 0, 55.9f, 0, 0},
    {"IQ3_XXS", 18, 23, 256, 98, 0, 143.0f, 0, 0},
    {"IQ1_S", 19, 24, 256, 50, 0, 7.19f, 0, 0},
    {"IQ4_NL", 20, 25, 32, 18, 0, 67.5f, 0, 0},
    {"IQ3_S", 21, 26, 256, 110, 0, 140.0f, 0, 0},
    {"IQ2_S", 22, 28, 256, 82, 0, 56.4f, 0, 0},
    {"IQ4_XS", 23, 30, 256, 136, 0, 1246.0f, 0, 0},
    {"TQ1_0", 34, 36, 256, 54, 52, 0.82f, 0, 0},
    {"TQ2_0", 35, 37, 256, 66, 64, 1.22f, 0, 0},
    {"MXFP4", 39, 38, 32, 17, 0, 5.85f, 0, 0}, /* d is an exponent */
};

typedef struct choice {
    const type_row *type;      /* of every matrix, NULL: mix */
    const type_row *embedding; /* NULL: as the others */
    const ig_mix *mix;
} choice;

enum { NAME_MAX_BYTES = 64, TENSORS_PER_LAYER = 18, ALIGNMENT = 32 };
typedef struct tensor {
    char name[NAME_MAX_BYTES];
    uint64_t ne[3];
    uint32_t n_dims;
    const type_row *type;
    uint64_t offset;
} tensor;

typedef struct tensors {
    const shape *shape;
    tensor *all;
    size_t n;
} tensors;

typedef struct family {
    const char *arch;
    void (*meta)(const shape *s);
    void (*layer)(tensors *t, uint64_t layer);
} family;

static FILE *out;
static uint64_t rng_state, n_meta;
static const char *arch; /* before the keys of the architecture */

static void die(const char *what)
{
    fprintf(stderr, "make_model: %s\n", what);
    exit(1);
}

static void put(const void *p, size_t n)
{
    if (fwrite(p, 1, n, out) != n) die("cannot write the file");
}
static void put_u32(uint32_t v) { put(&v, 4); }
static void put_u64(uint64_t v) { put(&v, 8); }
static void put_f32(float v) { put(&v, 4); }
static void put_text(const char *s)
{
    put_u64(strlen(s));
    put(s, strlen(s));
}

/* ------------------------------------------------------------------------------------------------ metadata */

enum { T_U32 = 4, T_I32 = 5, T_F32 = 6, T_STRING = 8, T_ARRAY = 9 };

/* A key that begins with a dot belongs to the architecture. */
static void put_key(const char *key, uint32_t type)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s%s", *key == '.' ? arch : "", key);
    put_text(name);
    put_u32(type);
    n_meta++;
}

static void meta_u32(const char *key, uint64_t v)
{
    put_key(key, T_U32);
    put_u32((uint32_t)v);
}
static void meta_f32(const char *key, float v)
{
    put_key(key, T_F32);
    put_f32(v);
}
static void meta_text(const char *key, const char *v)
{
    put_key(key, T_STRING);
    put_text(v);
}
static void meta_array(const char *key, uint32_t type, uint64_t n)
{
    put_key(key, T_ARRAY);
    put_u32(type);
    put_u64(n);
}

static void put_piece(uint64_t i)
{
    static const char *const special[] = {"<unk>", "<s>", "</s>"};
    char text[32];
    if (i < 3)
        (void)snprintf(text, sizeof text, "%s", special[i]);
    else if (i < 259)
        (void)snprintf(text, sizeof text, "<0x%02X>", (unsigned)(i - 3));
    else
        (void)snprintf(text, sizeof text, "\xE2\x96\x81w%" PRIu64, i);
    put_text(text);
}

static void put_vocabulary(const shape *s)
{
    meta_text("tokenizer.ggml.model", "llama");
    meta_u32("tokenizer.ggml.bos_token_id", 1);
    meta_u32("tokenizer.ggml.eos_token_id", 2);
    meta_array("tokenizer.ggml.tokens", T_STRING, s->vocab);
    for (uint64_t i = 0; i < s->vocab; i++) put_piece(i);
    meta_array("tokenizer.ggml.scores", T_F32, s->vocab);
    for (uint64_t i = 0; i < s->vocab; i++) put_f32(i < 259 ? 0.0f : -(float)i);
    meta_array("tokenizer.ggml.token_type", T_I32, s->vocab);
    for (uint64_t i = 0; i < s->vocab; i++) put_u32(i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
}

static void put_metadata(const shape *s, uint32_t file_type)
{
    arch = s->family->arch;
    meta_text("general.architecture", arch);
    meta_text("general.name", "random");
    meta_u32("general.file_type", file_type);
    meta_u32("general.alignment", ALIGNMENT);
    meta_u32(".context_length", s->ctx);
    meta_u32(".embedding_length", s->d);
    meta_u32(".block_count", s->layers);
    meta_u32(".feed_forward_length", s->ff);
    meta_u32(".attention.head_count", s->heads);
    meta_u32(".attention.head_count_kv", s->kv);
    meta_u32(".attention.key_length", s->head);
    meta_u32(".attention.value_length", s->head);
    meta_f32(".attention.layer_norm_rms_epsilon", 1e-5f);
    meta_u32(".vocab_size", s->vocab);
    s->family->meta(s);
    put_vocabulary(s);
}

/* ------------------------------------------------------------------------------------------------ tensors */

static uint64_t elements(const tensor *t) { return t->ne[0] * t->ne[1] * t->ne[2]; }
static uint64_t bytes_of(const tensor *t) { return elements(t) / t->type->block * t->type->bytes; }

/* Types come later; ne1 = 0: a vector; ne2 = 0: a matrix. */
static void add(tensors *t, const char *name, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    tensor *x = &t->all[t->n++];
    *x = (tensor){.ne = {ne0, ne1 ? ne1 : 1, ne2 ? ne2 : 1}, .n_dims = !ne1 ? 1 : !ne2 ? 2 : 3};
    (void)snprintf(x->name, sizeof x->name, "%s", name);
}

static void add_in(tensors *t, uint64_t layer, const char *name, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    char whole[NAME_MAX_BYTES];
    (void)snprintf(whole, sizeof whole, "blk.%" PRIu64 ".%s", layer, name);
    add(t, whole, ne0, ne1, ne2);
}

/* queries: rows of attn_q over those of the heads, 2 where the gate lies beside them */
static void add_attention(tensors *t, uint64_t l, uint64_t queries, bool head_norms)
{
    const shape *s = t->shape;
    add_in(t, l, "attn_norm.weight", s->d, 0, 0);
    add_in(t, l, "attn_q.weight", s->d, queries * s->heads * s->head, 0);
    add_in(t, l, "attn_k.weight", s->d, s->kv * s->head, 0);
    add_in(t, l, "attn_v.weight", s->d, s->kv * s->head, 0);
    add_in(t, l, "attn_output.weight", s->heads * s->head, s->d, 0);
    if (!head_norms) return;
    add_in(t, l, "attn_q_norm.weight", s->head, 0, 0);
    add_in(t, l, "attn_k_norm.weight", s->head, 0, 0);
}

static void add_ffn(tensors *t, uint64_t l, const char *norm)
{
    const shape *s = t->shape;
    add_in(t, l, norm, s->d, 0, 0);
    add_in(t, l, "ffn_gate.weight", s->d, s->ff, 0);
    add_in(t, l, "ffn_up.weight", s->d, s->ff, 0);
    add_in(t, l, "ffn_down.weight", s->ff, s->d, 0);
}

static void llama_meta(const shape *s)
{
    meta_u32(".rope.dimension_count", s->head);
    meta_f32(".rope.freq_base", 500000.0f);
}
static void llama_layer(tensors *t, uint64_t l)
{
    add_attention(t, l, 1, false);
    add_ffn(t, l, "ffn_norm.weight");
}

static void experts_meta(const shape *s)
{
    meta_u32(".rope.dimension_count", s->head);
    meta_f32(".rope.freq_base", 1000000.0f);
    meta_u32(".expert_count", s->experts);
    meta_u32(".expert_used_count", s->used);
    meta_u32(".expert_feed_forward_length", s->ff);
}
static void experts_layer(tensors *t, uint64_t l)
{
    const shape *s = t->shape;
    add_attention(t, l, 1, true);
    add_in(t, l, "ffn_norm.weight", s->d, 0, 0);
    add_in(t, l, "ffn_gate_inp.weight", s->d, s->experts, 0);
    add_in(t, l, "ffn_gate_exps.weight", s->d, s->ff, s->experts);
    add_in(t, l, "ffn_up_exps.weight", s->d, s->ff, s->experts);
    add_in(t, l, "ffn_down_exps.weight", s->ff, s->d, s->experts);
}

static void windows_meta(const shape *s)
{
    meta_u32(".rope.dimension_count", s->head);
    meta_f32(".rope.freq_base", 1000000.0f);
    meta_f32(".rope.freq_base_swa", 10000.0f);
    meta_u32(".attention.sliding_window", 512);
}
static void windows_layer(tensors *t, uint64_t l)
{
    add_attention(t, l, 1, true);
    add_in(t, l, "post_attention_norm.weight", t->shape->d, 0, 0);
    add_ffn(t, l, "ffn_norm.weight");
    add_in(t, l, "post_ffw_norm.weight", t->shape->d, 0, 0);
}

/* Gated delta-net: as many key as value heads, of SSM_STATE numbers, twice the model's width together. */
enum { SSM_STATE = 128, SSM_CONV = 4, FULL_EVERY = 4 };
static uint64_t ssm_inner(const shape *s) { return 2 * s->d; }

static void hybrid_meta(const shape *s)
{
    meta_u32(".rope.dimension_count", s->head / 4);
    meta_f32(".rope.freq_base", 10000000.0f);
    meta_array(".rope.dimension_sections", T_I32, 4);
    const uint32_t quarter = (uint32_t)s->head / 8 / 3; /* of the rotated pairs */
    put_u32((uint32_t)s->head / 8 - 2 * quarter), put_u32(quarter), put_u32(quarter), put_u32(0);
    meta_u32(".full_attention_interval", FULL_EVERY);
    meta_u32(".ssm.conv_kernel", SSM_CONV);
    meta_u32(".ssm.inner_size", ssm_inner(s));
    meta_u32(".ssm.state_size", SSM_STATE);
    meta_u32(".ssm.time_step_rank", ssm_inner(s) / SSM_STATE);
    meta_u32(".ssm.group_count", ssm_inner(s) / SSM_STATE);
}
static void hybrid_layer(tensors *t, uint64_t l)
{
    const shape *s = t->shape;
    const uint64_t inner = ssm_inner(s), heads = inner / SSM_STATE;
    if (l % FULL_EVERY == FULL_EVERY - 1)
        add_attention(t, l, 2, true);
    else {
        add_in(t, l, "attn_norm.weight", s->d, 0, 0);
        add_in(t, l, "attn_qkv.weight", s->d, 3 * inner, 0);
        add_in(t, l, "attn_gate.weight", s->d, inner, 0);
        add_in(t, l, "ssm_alpha.weight", s->d, heads, 0);
        add_in(t, l, "ssm_beta.weight", s->d, heads, 0);
        add_in(t, l, "ssm_conv1d.weight", SSM_CONV, 3 * inner, 0);
        add_in(t, l, "ssm_a", heads, 0, 0);
        add_in(t, l, "ssm_dt.bias", heads, 0, 0);
        add_in(t, l, "ssm_norm.weight", SSM_STATE, 0, 0);
        add_in(t, l, "ssm_out.weight", inner, s->d, 0);
    }
    add_ffn(t, l, "post_attention_norm.weight");
}

static const family llama = {"llama", llama_meta, llama_layer}, qwen3moe = {"qwen3moe", experts_meta, experts_layer},
                    gemma3 = {"gemma3", windows_meta, windows_layer}, qwen35 = {"qwen35", hybrid_meta, hybrid_layer};

static const shape shapes[] = {
    {"1b", &llama, 16, 2048, 8192, 32, 8, 64, 128256, 131072, 0, 0, 1, 0},
    {"3b", &llama, 28, 3072, 8192, 24, 8, 128, 128256, 131072, 0, 0, 1, 0},
    {"experts", &qwen3moe, 16, 1024, 512, 16, 4, 128, 128256, 131072, 64, 6, 1, 0},
    {"windows", &gemma3, 26, 1152, 6912, 4, 1, 256, 262144, 32768, 0, 0, 1, 0},
    {"hybrid", &qwen35, 24, 1024, 3584, 8, 2, 256, 248320, 262144, 0, 0, 1, 0},
    {"small", &llama, 2, 256, 512, 8, 2, 32, 320, 512, 0, 0, 1, 0},
};

static void list_tensors(tensors *t)
{
    add(t, "token_embd.weight", t->shape->d, t->shape->vocab, 0);
    for (uint64_t l = 0; l < t->shape->layers; l++) t->shape->family->layer(t, l);
    add(t, "output_norm.weight", t->shape->d, 0, 0); /* the output matrix is the embedding, as in models of this size */
}

/* ------------------------------------------------------------------------------------------------ types */

static const type_row *row_of(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

static const type_row *type_of(const tensor *t, const choice *c, const ig_mix_model *m)
{
    ig_tensor x = {.name = {t->name, strlen(t->name)}, .n_dims = t->n_dims, .ne = {t->ne[0], t->ne[1], t->ne[2], 1}};
    uint32_t fallback;
    if (!ig_mix_covers(&x)) return &types[0];
    if (c->embedding && !strcmp(t->name, "token_embd.weight")) return c->embedding;
    return c->type ? c->type : row_of(ig_mix_type(c->mix, m, &x, &fallback));
}

static void choose_types(tensors *t, const choice *c)
{
    const shape *s = t->shape;
    ig_mix_model m = {.n_layers = (uint32_t)s->layers,
                      .n_heads = (uint32_t)s->heads,
                      .n_heads_kv = (uint32_t)s->kv,
                      .n_experts = (uint32_t)s->experts,
                      .v_rank = ig_calloc(s->layers + 1, sizeof *m.v_rank)};
    if (!m.v_rank) die("out of memory");
    for (uint32_t i = 0; i <= s->layers; i++) m.v_rank[i] = i; /* every layer has values */
    for (size_t i = 0; i < t->n; i++) {
        t->all[i].type = type_of(&t->all[i], c, &m);
        if (!t->all[i].type) die("the mixture has a type that is not in this program's table");
        if (t->all[i].ne[0] % t->all[i].type->block) die("a row does not divide into blocks of the type");
    }
    ig_mix_model_fini(&m);
}

/* ------------------------------------------------------------------------------------------------ weights */

/* xorshift64*: fast, and good enough for weights. */
static uint64_t next_random(void)
{
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return rng_state * 0x2545F4914F6CDD1Du;
}

/* Half precision of a number from 0 to 1, cut off. */
static uint16_t half(float x)
{
    uint32_t bits;
    if (x < 0x1p-14f) return (uint16_t)(x * 0x1p24f); /* a subnormal counts units of 2^-24 */
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits >> 13) - ((127 - 15) << 10));
}

/* Fills one block: random bytes for the numbers, then scales such that a weight has variance 1/d. */
static void fill_block(const type_row *t, unsigned char *b, float deviation)
{
    for (uint32_t i = 0; i < t->bytes; i += 8) {
        uint64_t r = next_random();
        memcpy(b + i, &r, t->bytes - i < 8 ? t->bytes - i : 8);
    }
    uint16_t h;
    if (!strcmp(t->name, "F32")) {
        float x = ((float)(next_random() >> 40) / 8388608.0f - 1.0f) * 1.732f * deviation;
        memcpy(b, &x, 4);
    } else if (!strcmp(t->name, "F16")) {
        uint64_t r = next_random();
        h = (uint16_t)(half(((float)((r & 4095) + 1) / 4096.0f) * 1.732f * deviation) | (r >> 63 << 15));
        memcpy(b, &h, 2);
    } else if (!strcmp(t->name, "MXFP4")) {
        b[t->d_at] = (unsigned char)(128 + lroundf(log2f(deviation / t->d)));
    } else {
        h = half(deviation / t->d);
        memcpy(b + t->d_at, &h, 2);
        if (!t->m_at) return;
        h = (uint16_t)(half(deviation / t->d * fabsf(t->m)) | (t->m < 0 ? 0x8000 : 0));
        memcpy(b + t->m_at, &h, 2);
    }
}

/* Vectors: in ranges that such vectors have in trained models. */
static float entry(const char *name)
{
    static const struct {
        const char *piece;
        float from, to;
    } ranges[] = {{"ssm_a", -4.0f, -1.0f}, {"ssm_dt", -4.0f, -1.0f}, {"", 0.8f, 1.2f}};
    float x = (float)(next_random() >> 40) / 16777216.0f;
    size_t i = 0;
    while (!strstr(name, ranges[i].piece)) i++;
    x = ranges[i].from + (ranges[i].to - ranges[i].from) * x;
    /* Signs in the last norm: without them a model whose output matrix is its embedding repeats its input. */
    return !strcmp(name, "output_norm.weight") && next_random() >> 63 ? -x : x;
}

static void put_tensor(const tensor *t, float deviation)
{
    static unsigned char chunk[210 * 4096];
    uint64_t n_blocks = elements(t) / t->type->block;
    if (t->n_dims == 1)
        for (uint64_t i = 0; i < n_blocks; i++) put_f32(entry(t->name));
    else {
        while (n_blocks) {
            uint64_t n = n_blocks < 4096 ? n_blocks : 4096;
            for (uint64_t i = 0; i < n; i++) fill_block(t->type, chunk + i * t->type->bytes, deviation);
            put(chunk, n * t->type->bytes);
            n_blocks -= n;
        }
    }
    static const unsigned char zeros[ALIGNMENT];
    uint64_t rest = bytes_of(t) % ALIGNMENT;
    if (rest) put(zeros, ALIGNMENT - rest);
}

static void put_directory(const tensors *t)
{
    uint64_t offset = 0;
    for (tensor *x = t->all; x < t->all + t->n; x++) {
        x->offset = offset;
        if (!ig_round_up(offset + bytes_of(x), ALIGNMENT, &offset)) die("the model is too large");
        put_text(x->name);
        put_u32(x->n_dims);
        for (uint32_t k = 0; k < x->n_dims; k++) put_u64(x->ne[k]);
        put_u32(x->type->id);
        put_u64(x->offset);
    }
}

static float deviation_of(const shape *s, const tensor *t)
{
    float deviation = 1.0f / sqrtf((float)t->ne[0]);
    bool gives = strstr(t->name, "attn_output.") || strstr(t->name, "ffn_down");
    bool quiet = s->loud && gives && strtoull(t->name + strlen("blk."), NULL, 10) >= s->loud;
    return quiet ? deviation / 64 : deviation;
}

static void put_file(const tensors *t, uint32_t file_type)
{
    static const unsigned char zeros[ALIGNMENT];
    FILE *file = out;
    char *meta = NULL;
    size_t n = 0;
    out = open_memstream(&meta, &n); /* the number of keys stands before them */
    if (!out) die("out of memory");
    put_metadata(t->shape, file_type);
    if (fclose(out)) die("out of memory");
    out = file;
    put("GGUF", 4);
    put_u32(3);
    put_u64(t->n);
    put_u64(n_meta);
    put(meta, n);
    free(meta);
    put_directory(t);
    long at = ftell(out);
    if (at % ALIGNMENT) put(zeros, (size_t)(ALIGNMENT - at % ALIGNMENT));
    for (size_t i = 0; i < t->n; i++) {
        /* The last norm does not depend on how many layers there are. */
        if (t->shape->loud && i + 1 == t->n) rng_state = t->shape->seed * 0x9E3779B97F4A7C15u + 2;
        put_tensor(&t->all[i], deviation_of(t->shape, &t->all[i]));
    }
}

/* ------------------------------------------------------------------------------------------------ arguments */

static bool set_number(shape *s, const char *name, size_t n_name, const char *value)
{
    const struct {
        const char *name;
        uint64_t *value;
    } fields[] = {{"layers", &s->layers}, {"d", &s->d},       {"ff", &s->ff},       {"heads", &s->heads},
                  {"kv", &s->kv},         {"head", &s->head}, {"vocab", &s->vocab}, {"ctx", &s->ctx},
                  {"seed", &s->seed},     {"loud", &s->loud}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char *end;
        if (strlen(fields[i].name) != n_name || strncmp(fields[i].name, name, n_name) != 0) continue;
        *fields[i].value = strtoull(value, &end, 10);
        /* a width that does not fit the shape's heads is divided among them */
        if (fields[i].value == &s->d || fields[i].value == &s->heads) s->head = s->heads ? s->d / s->heads : 0;
        return !*end && *fields[i].value >= 1 && *fields[i].value <= 1 << 24;
    }
    return false;
}

static bool set_shape(shape *s, const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(shapes[i].name, name) != 0) continue;
        *s = shapes[i];
        return true;
    }
    return false;
}

static const type_row *find_type(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, name)) return &types[i];
    return NULL;
}

static bool set(shape *s, choice *c, const char *word)
{
    const char *equals = strchr(word, '=');
    if (!equals) return false;
    size_t n = (size_t)(equals - word);
    if (!strcmp(word, "small=1")) return set_shape(s, "small");
    if (!strncmp(word, "shape=", 6)) return set_shape(s, equals + 1);
    if (!strncmp(word, "type=", 5)) return (c->type = find_type(equals + 1)) != NULL;
    if (!strncmp(word, "embedding=", 10)) return (c->embedding = find_type(equals + 1)) != NULL;
    if (!strncmp(word, "mix=", 4)) return c->type = NULL, (c->mix = ig_mix_find(equals + 1)) != NULL;
    return set_number(s, word, n, equals + 1);
}

int main(int argc, char **argv)
{
    shape s = shapes[0];
    choice c = {.type = find_type("Q4_0")};
    if (argc < 2) die("usage: make_model OUT [NAME=VALUE]..., see the head of make_model.c");
    for (int i = 2; i < argc; i++) {
        if (set(&s, &c, argv[i])) continue;
        fprintf(stderr, "make_model: \"%s\" is not NAME=VALUE of the list at the head of make_model.c\n", argv[i]);
        return 1;
    }
    if (!s.head || s.heads % s.kv || s.head % 2 || s.vocab < 259) die("the shape does not divide");
    if (s.layers > 1000) die("at most 1000 layers");
    tensors t = {.shape = &s, .all = ig_calloc(s.layers * TENSORS_PER_LAYER + 2, sizeof *t.all)};
    out = fopen(argv[1], "wb");
    if (!t.all || !out) die("cannot open the output");
    rng_state = s.seed * 0x9E3779B97F4A7C15u + 1;
    list_tensors(&t);
    choose_types(&t, &c);
    put_file(&t, c.type ? c.type->file_type : ig_mix_file_type(c.mix));
    if (fclose(out)) die("cannot write the file");
    ig_free(t.all);
    return 0;
}
