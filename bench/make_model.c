/* make_model: writes a llama-shaped GGUF with random weights, for measuring speed where no trained model is at hand.
 *
 *   make_model OUT [NAME=VALUE]...
 *     layers=16 d=2048 ff=8192 heads=32 kv=8 vocab=128256 ctx=8192 type=Q4_0 seed=1     a 1-billion-parameter shape
 *     type: F32, F16, Q4_0 to Q8_0, Q2_K to Q6_K, IQ1_S to IQ4_XS, TQ1_0, TQ2_0, MXFP4: matrices; norms are F32
 *     small=1: 2 layers, d 256, ff 512, heads 8, kv 2, vocab 320
 *
 * Weights are uniform with variance 1/d, so that activations stay in range. The vocabulary has 3 special ids, 256 bytes
 * and numbered words. The same arguments give the same file. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef struct shape {
    uint64_t layers, d, ff, heads, kv, vocab, ctx, seed;
    char type[12];
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

enum { NAME_MAX_BYTES = 64, TENSORS_PER_LAYER = 9, ALIGNMENT = 32 };
typedef struct tensor {
    char name[NAME_MAX_BYTES];
    uint64_t ne[2];
    uint32_t n_dims;
    const type_row *type;
    uint64_t offset;
} tensor;

static FILE *out;
static uint64_t rng_state;

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

static void meta_u32(const char *key, uint64_t v)
{
    put_text(key);
    put_u32(T_U32);
    put_u32((uint32_t)v);
}
static void meta_f32(const char *key, float v)
{
    put_text(key);
    put_u32(T_F32);
    put_f32(v);
}
static void meta_text(const char *key, const char *v)
{
    put_text(key);
    put_u32(T_STRING);
    put_text(v);
}
static void meta_array(const char *key, uint32_t type, uint64_t n)
{
    put_text(key);
    put_u32(T_ARRAY);
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

enum { N_META = 20 };
static void put_metadata(const shape *s, const type_row *type)
{
    meta_text("general.architecture", "llama");
    meta_text("general.name", "random");
    meta_u32("general.file_type", type->file_type);
    meta_u32("general.alignment", ALIGNMENT);
    meta_u32("llama.context_length", s->ctx);
    meta_u32("llama.embedding_length", s->d);
    meta_u32("llama.block_count", s->layers);
    meta_u32("llama.feed_forward_length", s->ff);
    meta_u32("llama.attention.head_count", s->heads);
    meta_u32("llama.attention.head_count_kv", s->kv);
    meta_u32("llama.rope.dimension_count", s->d / s->heads);
    meta_f32("llama.rope.freq_base", 500000.0f);
    meta_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    meta_u32("llama.vocab_size", s->vocab);
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

/* ------------------------------------------------------------------------------------------------ tensors */

static uint64_t bytes_of(const tensor *t) { return t->ne[0] / t->type->block * t->type->bytes * t->ne[1]; }

static void add(tensor *all, size_t *n, const char *name, uint64_t ne0, uint64_t ne1, const type_row *type)
{
    tensor *t = &all[(*n)++];
    *t = (tensor){.ne = {ne0, ne1}, .n_dims = ne1 == 1 ? 1 : 2, .type = ne1 == 1 ? &types[0] : type};
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    if (t->ne[0] % t->type->block) die("a row does not divide into blocks of the type");
}

static size_t list_tensors(const shape *s, const type_row *type, tensor *all)
{
    const uint64_t d_kv = s->d / s->heads * s->kv;
    const struct {
        const char *name;
        uint64_t ne0, ne1;
    } layer[TENSORS_PER_LAYER] = {
        {"attn_norm", s->d, 1},    {"attn_q", s->d, s->d},      {"attn_k", s->d, d_kv},
        {"attn_v", s->d, d_kv},    {"attn_output", s->d, s->d}, {"ffn_norm", s->d, 1},
        {"ffn_gate", s->d, s->ff}, {"ffn_up", s->d, s->ff},     {"ffn_down", s->ff, s->d},
    };
    size_t n = 0;
    char name[NAME_MAX_BYTES];
    add(all, &n, "token_embd.weight", s->d, s->vocab, type);
    for (uint64_t l = 0; l < s->layers; l++) {
        for (size_t i = 0; i < TENSORS_PER_LAYER; i++) {
            (void)snprintf(name, sizeof name, "blk.%" PRIu64 ".%s.weight", l, layer[i].name);
            add(all, &n, name, layer[i].ne0, layer[i].ne1, type);
        }
    }
    add(all, &n, "output_norm.weight", s->d, 1,
        type); /* the output matrix is the embedding, as in models of this size */
    return n;
}

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

static void put_tensor(const tensor *t, float deviation)
{
    static unsigned char chunk[210 * 4096];
    uint64_t n_blocks = t->ne[0] / t->type->block * t->ne[1];
    if (t->n_dims == 1) {
        /* Signs in the last norm: without them a model whose output matrix is its embedding repeats its input. */
        bool signs = !strcmp(t->name, "output_norm.weight");
        for (uint64_t i = 0; i < n_blocks; i++) {
            float x = 0.8f + 0.4f * (float)(next_random() >> 40) / 16777216.0f;
            put_f32(signs && next_random() >> 63 ? -x : x);
        }
    } else {
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

static void put_directory(tensor *all, size_t n)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        all[i].offset = offset;
        if (!ig_round_up(offset + bytes_of(&all[i]), ALIGNMENT, &offset)) die("the model is too large");
        put_text(all[i].name);
        put_u32(all[i].n_dims);
        for (uint32_t k = 0; k < all[i].n_dims; k++) put_u64(all[i].ne[k]);
        put_u32(all[i].type->id);
        put_u64(all[i].offset);
    }
}

/* ------------------------------------------------------------------------------------------------ arguments */

static bool set(shape *s, const char *word)
{
    struct {
        const char *name;
        uint64_t *value;
    } fields[] = {{"layers", &s->layers}, {"d", &s->d},         {"ff", &s->ff},   {"heads", &s->heads},
                  {"kv", &s->kv},         {"vocab", &s->vocab}, {"ctx", &s->ctx}, {"seed", &s->seed}};
    const char *equals = strchr(word, '=');
    if (!equals) return false;
    if (!strcmp(word, "small=1")) {
        *s = (shape){.layers = 2, .d = 256, .ff = 512, .heads = 8, .kv = 2, .vocab = 320, .ctx = 512, .seed = s->seed};
        (void)snprintf(s->type, sizeof s->type, "Q4_0");
        return true;
    }
    if (!strncmp(word, "type=", 5)) return (size_t)snprintf(s->type, sizeof s->type, "%s", equals + 1) < sizeof s->type;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char *end;
        if (strlen(fields[i].name) != (size_t)(equals - word) || strncmp(fields[i].name, word, (size_t)(equals - word)))
            continue;
        *fields[i].value = strtoull(equals + 1, &end, 10);
        return !*end && *fields[i].value >= 1 && *fields[i].value <= 1 << 24;
    }
    return false;
}

int main(int argc, char **argv)
{
    shape s = {.layers = 16,
               .d = 2048,
               .ff = 8192,
               .heads = 32,
               .kv = 8,
               .vocab = 128256,
               .ctx = 8192,
               .seed = 1,
               .type = "Q4_0"};
    const type_row *type = NULL;
    if (argc < 2) die("usage: make_model OUT [NAME=VALUE]..., see the head of make_model.c");
    for (int i = 2; i < argc; i++)
        if (!set(&s, argv[i])) die("an argument is not NAME=VALUE of the list at the head of make_model.c");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, s.type)) type = &types[i];
    if (!type) die("unknown type");
    if (s.d % s.heads || s.heads % s.kv || s.d / s.heads % 2 || s.vocab < 259) die("the shape does not divide");
    tensor *all = ig_calloc(s.layers * TENSORS_PER_LAYER + 2, sizeof *all);
    out = fopen(argv[1], "wb");
    if (!all || !out) die("cannot open the output");
    rng_state = s.seed * 0x9E3779B97F4A7C15u + 1;
    size_t n = list_tensors(&s, type, all);
    put("GGUF", 4);
    put_u32(3);
    put_u64(n);
    put_u64(N_META);
    put_metadata(&s, type);
    put_directory(all, n);
    static const unsigned char zeros[ALIGNMENT];
    long at = ftell(out);
    if (at % ALIGNMENT) put(zeros, (size_t)(ALIGNMENT - at % ALIGNMENT));
    for (size_t i = 0; i < n; i++) put_tensor(&all[i], 1.0f / sqrtf((float)all[i].ne[0]));
    if (fclose(out)) die("cannot write the file");
    ig_free(all);
    return 0;
}
