/* Hugging Face directories as GGUF views: the ten of the reference data, name by name and byte by byte against a second
 * reading of their headers by jansson; a small model in memory with what config.json can say; a table of hostile texts;
 * injected failures. Test names carry the rules of reliability.md. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "format/format.h"
#include "tests/tap.h"

static bool current_ok;

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond);                                                        \
            current_ok = false;                                                                                        \
        }                                                                                                              \
    } while (0)

static void run(const char *name, void (*test)(void))
{
    current_ok = true;
    test();
    tap_ok(current_ok, "%s", name);
}

/* ------------------------------------------------------------------------------------------------ reference data */

/* Keys of each directory, as the GGUF of that model has them. */
static const struct {
    const char *directory, *key, *value; /* numbers as %g prints them */
} keys[] = {
    {"llama", "general.architecture", "llama"},
    {"llama", "general.name", "llama"},
    {"llama", "general.file_type", "32"},
    {"llama", "llama.context_length", "256"},
    {"llama", "llama.embedding_length", "64"},
    {"llama", "llama.block_count", "2"},
    {"llama", "llama.feed_forward_length", "128"},
    {"llama", "llama.attention.head_count", "4"},
    {"llama", "llama.attention.head_count_kv", "2"},
    {"llama", "llama.attention.key_length", "16"},
    {"llama", "llama.attention.layer_norm_rms_epsilon", "1e-05"},
    {"llama", "llama.rope.freq_base", "10000"},
    {"llama", "llama.rope.dimension_count", "16"},
    {"llama", "llama.vocab_size", "384"},
    {"llama", "ingle.rope.half_split", "true"},
    {"llama", "tokenizer.ggml.bos_token_id", "379"},
    {"llama", "tokenizer.ggml.eos_token_id", "380"},
    {"llama", "tokenizer.ggml.model", NULL},
    {"mistral", "general.architecture", "llama"},
    {"mistral", "general.file_type", "1"},
    {"mistral", "llama.attention.key_length", "32"},
    {"mistral", "llama.attention.value_length", "32"},
    {"mistral", "llama.rope.freq_base", "1e+06"},
    {"mistral", "llama.attention.sliding_window", NULL},
    {"mistral", "ingle.rope.half_split", "true"},
    {"qwen2", "general.architecture", "qwen2"},
    {"qwen2", "qwen2.attention.head_count_kv", "2"},
    {"qwen2", "qwen2.attention.sliding_window", NULL},
    {"qwen2", "ingle.rope.half_split", NULL},
    {"qwen3", "general.architecture", "qwen3"},
    {"qwen3", "qwen3.attention.key_length", "32"},
    {"qwen3", "qwen3.rope.dimension_count", "32"},
    {"qwen3_moe", "general.architecture", "qwen3moe"},
    {"qwen3_moe", "qwen3moe.expert_count", "8"},
    {"qwen3_moe", "qwen3moe.expert_used_count", "3"},
    {"qwen3_moe", "qwen3moe.expert_feed_forward_length", "32"},
    {"gemma2", "general.architecture", "gemma2"},
    {"gemma2", "gemma2.attention.sliding_window", "16"},
    {"gemma2", "gemma2.attention.sliding_window_pattern", NULL},
    {"gemma2", "gemma2.attn_logit_softcapping", "50"},
    {"gemma2", "gemma2.final_logit_softcapping", "30"},
    {"gemma2", "gemma2.attention.scale", NULL},
    {"gemma2", "ingle.activation", NULL},
    {"gemma3", "general.architecture", "gemma3"},
    {"gemma3", "gemma3.block_count", "7"},
    {"gemma3", "gemma3.attention.sliding_window", "16"},
    {"gemma3", "gemma3.rope.freq_base", "1e+06"},
    {"gemma3", "gemma3.rope.freq_base_swa", "10000"},
    {"gemma3", "gemma3.rope.scaling.type", NULL},
    {"gemma3", "gemma3.attn_logit_softcapping", NULL},
    {"phi3", "general.architecture", "phi3"},
    {"phi3", "phi3.rope.dimension_count", "16"},
    {"phi3", "phi3.rope.scaling.original_context_length", "256"},
    {"phi3", "phi3.attention.layer_norm_rms_epsilon", "1e-05"},
    {"minimax_m2", "general.architecture", "minimax-m2"},
    {"minimax_m2", "minimax-m2.rope.dimension_count", "16"},
    {"minimax_m2", "minimax-m2.rope.freq_base", "5e+06"},
    {"minimax_m2", "minimax-m2.expert_gating_func", "2"},
    {"minimax_m2", "minimax-m2.expert_feed_forward_length", "32"},
    {"minimax_m2", "minimax-m2.feed_forward_length", "32"},
    {"bert", "general.architecture", "bert"},
    {"bert", "bert.attention.layer_norm_epsilon", "1e-12"},
    {"bert", "bert.attention.causal", "false"},
    {"bert", "bert.feed_forward_length", "256"},
    {"bert", "ingle.activation", "gelu_erf"},
    {"bert", "bert.rope.freq_base", NULL},
    {"bert", "tokenizer.ggml.token_type_count", "2"},
    {"bert", "tokenizer.ggml.padding_token_id", "0"},
    {"bert", "tokenizer.chat_template", NULL},
};

/* All tensors of a directory: how many the view has, and pairs of names, N a layer and E an expert. */
typedef enum way { SAME, PLUS_ONE, Q_ROWS, K_ROWS, STACKED } way;
static const struct {
    const char *directory, *from, *to;
    way how;
} tensors[] = {
#define BLOCK(d)                                                                                                       \
    {d, "model.embed_tokens.weight", "token_embd.weight", SAME},                                                       \
    {                                                                                                                  \
        d, "model.layers.N.self_attn.o_proj.weight", "blk.N.attn_output.weight", SAME                                  \
    }
#define NORMS(d, as)                                                                                                   \
    {d, "model.norm.weight", "output_norm.weight", as},                                                                \
    {                                                                                                                  \
        d, "model.layers.N.input_layernorm.weight", "blk.N.attn_norm.weight", as                                       \
    }
#define QKV(d, q, k)                                                                                                   \
    {d, "model.layers.N.self_attn.q_proj.weight", "blk.N.attn_q.weight", q},                                           \
        {d, "model.layers.N.self_attn.k_proj.weight", "blk.N.attn_k.weight", k},                                       \
    {                                                                                                                  \
        d, "model.layers.N.self_attn.v_proj.weight", "blk.N.attn_v.weight", SAME                                       \
    }
#define FFN(d)                                                                                                         \
    {d, "model.layers.N.mlp.gate_proj.weight", "blk.N.ffn_gate.weight", SAME},                                         \
        {d, "model.layers.N.mlp.up_proj.weight", "blk.N.ffn_up.weight", SAME},                                         \
    {                                                                                                                  \
        d, "model.layers.N.mlp.down_proj.weight", "blk.N.ffn_down.weight", SAME                                        \
    }
#define FFN_NORM(d)                                                                                                    \
    {                                                                                                                  \
        d, "model.layers.N.post_attention_layernorm.weight", "blk.N.ffn_norm.weight", SAME                             \
    }
#define HEAD(d)                                                                                                        \
    {                                                                                                                  \
        d, "lm_head.weight", "output.weight", SAME                                                                     \
    }
#define QK_NORM(d, as)                                                                                                 \
    {d, "model.layers.N.self_attn.q_norm.weight", "blk.N.attn_q_norm.weight", as},                                     \
    {                                                                                                                  \
        d, "model.layers.N.self_attn.k_norm.weight", "blk.N.attn_k_norm.weight", as                                    \
    }
#define SANDWICH(d)                                                                                                    \
    {d, "model.layers.N.post_attention_layernorm.weight", "blk.N.post_attention_norm.weight", PLUS_ONE},               \
        {d, "model.layers.N.pre_feedforward_layernorm.weight", "blk.N.ffn_norm.weight", PLUS_ONE},                     \
    {                                                                                                                  \
        d, "model.layers.N.post_feedforward_layernorm.weight", "blk.N.post_ffw_norm.weight", PLUS_ONE                  \
    }
#define LINEAR(d, from, to)                                                                                            \
    {d, from ".weight", to ".weight", SAME}, { d, from ".bias", to ".bias", SAME }
    BLOCK("llama"),
    NORMS("llama", SAME),
    QKV("llama", Q_ROWS, K_ROWS),
    FFN_NORM("llama"),
    FFN("llama"),
    HEAD("llama"),
    BLOCK("mistral"),
    NORMS("mistral", SAME),
    QKV("mistral", Q_ROWS, K_ROWS),
    FFN_NORM("mistral"),
    FFN("mistral"),
    HEAD("mistral"),
    BLOCK("qwen2"),
    NORMS("qwen2", SAME),
    QKV("qwen2", SAME, SAME),
    FFN_NORM("qwen2"),
    FFN("qwen2"),
    {"qwen2", "model.layers.N.self_attn.q_proj.bias", "blk.N.attn_q.bias", SAME},
    {"qwen2", "model.layers.N.self_attn.k_proj.bias", "blk.N.attn_k.bias", SAME},
    {"qwen2", "model.layers.N.self_attn.v_proj.bias", "blk.N.attn_v.bias", SAME},
    BLOCK("qwen3"),
    NORMS("qwen3", SAME),
    QKV("qwen3", SAME, SAME),
    FFN_NORM("qwen3"),
    FFN("qwen3"),
    QK_NORM("qwen3", SAME),
    BLOCK("qwen3_moe"),
    NORMS("qwen3_moe", SAME),
    QKV("qwen3_moe", SAME, SAME),
    FFN_NORM("qwen3_moe"),
    QK_NORM("qwen3_moe", SAME),
    HEAD("qwen3_moe"),
    {"qwen3_moe", "model.layers.N.mlp.gate.weight", "blk.N.ffn_gate_inp.weight", SAME},
    {"qwen3_moe", "model.layers.N.mlp.experts.E.gate_proj.weight", "blk.N.ffn_gate_exps.weight", STACKED},
    {"qwen3_moe", "model.layers.N.mlp.experts.E.up_proj.weight", "blk.N.ffn_up_exps.weight", STACKED},
    {"qwen3_moe", "model.layers.N.mlp.experts.E.down_proj.weight", "blk.N.ffn_down_exps.weight", STACKED},
    BLOCK("gemma2"),
    NORMS("gemma2", PLUS_ONE),
    QKV("gemma2", SAME, SAME),
    SANDWICH("gemma2"),
    FFN("gemma2"),
    BLOCK("gemma3"),
    NORMS("gemma3", PLUS_ONE),
    QKV("gemma3", SAME, SAME),
    SANDWICH("gemma3"),
    FFN("gemma3"),
    QK_NORM("gemma3", PLUS_ONE),
    BLOCK("phi3"),
    NORMS("phi3", SAME),
    FFN_NORM("phi3"),
    HEAD("phi3"),
    {"phi3", "model.layers.N.self_attn.qkv_proj.weight", "blk.N.attn_qkv.weight", SAME},
    {"phi3", "model.layers.N.mlp.gate_up_proj.weight", "blk.N.ffn_up.weight", SAME},
    {"phi3", "model.layers.N.mlp.down_proj.weight", "blk.N.ffn_down.weight", SAME},
    BLOCK("minimax_m2"),
    NORMS("minimax_m2", SAME),
    QKV("minimax_m2", SAME, SAME),
    FFN_NORM("minimax_m2"),
    QK_NORM("minimax_m2", SAME),
    HEAD("minimax_m2"),
    {"minimax_m2", "model.layers.N.block_sparse_moe.gate.weight", "blk.N.ffn_gate_inp.weight", SAME},
    {"minimax_m2", "model.layers.N.block_sparse_moe.e_score_correction_bias", "blk.N.exp_probs_b.bias", SAME},
    {"minimax_m2", "model.layers.N.block_sparse_moe.experts.E.w1.weight", "blk.N.ffn_gate_exps.weight", STACKED},
    {"minimax_m2", "model.layers.N.block_sparse_moe.experts.E.w3.weight", "blk.N.ffn_up_exps.weight", STACKED},
    {"minimax_m2", "model.layers.N.block_sparse_moe.experts.E.w2.weight", "blk.N.ffn_down_exps.weight", STACKED},
    {"bert", "embeddings.word_embeddings.weight", "token_embd.weight", SAME},
    {"bert", "embeddings.position_embeddings.weight", "position_embd.weight", SAME},
    {"bert", "embeddings.token_type_embeddings.weight", "token_types.weight", SAME},
    LINEAR("bert", "embeddings.LayerNorm", "token_embd_norm"),
    LINEAR("bert", "encoder.layer.N.attention.self.query", "blk.N.attn_q"),
    LINEAR("bert", "encoder.layer.N.attention.self.key", "blk.N.attn_k"),
    LINEAR("bert", "encoder.layer.N.attention.self.value", "blk.N.attn_v"),
    LINEAR("bert", "encoder.layer.N.attention.output.dense", "blk.N.attn_output"),
    LINEAR("bert", "encoder.layer.N.attention.output.LayerNorm", "blk.N.attn_output_norm"),
    LINEAR("bert", "encoder.layer.N.intermediate.dense", "blk.N.ffn_up"),
    LINEAR("bert", "encoder.layer.N.output.dense", "blk.N.ffn_down"),
    LINEAR("bert", "encoder.layer.N.output.LayerNorm", "blk.N.layer_output_norm"),
};

static const struct {
    const char *name;
    uint32_t layers, experts, heads, heads_kv, files;
} directories[] = {
    {"llama", 2, 0, 4, 2, 1},      {"mistral", 2, 0, 4, 2, 1}, {"qwen2", 2, 0, 4, 2, 2},  {"qwen3", 2, 0, 4, 2, 1},
    {"qwen3_moe", 2, 8, 4, 2, 1},  {"gemma2", 4, 0, 4, 2, 1},  {"gemma3", 7, 0, 4, 1, 1}, {"phi3", 2, 0, 4, 2, 1},
    {"minimax_m2", 2, 8, 4, 2, 1}, {"bert", 3, 0, 4, 4, 1},
};

/* A safetensors file read a second time, by the library and without any check. */
typedef struct plain_file {
    char *bytes;
    json_t *header;
    const char *data;
} plain_file;

static plain_file open_plain(const char *directory, const char *name)
{
    char path[1024];
    size_t n;
    uint64_t length;
    plain_file f = {0};
    snprintf(path, sizeof path, "%s/hf/%s/%s", tap_golden(), directory, name);
    f.bytes = tap_read(path, &n);
    if (!f.bytes) return f;
    memcpy(&length, f.bytes, 8);
    f.header = json_loadb(f.bytes + 8, (size_t)length, 0, NULL);
    f.data = f.bytes + 8 + length;
    return f;
}

static void close_plain(plain_file *f)
{
    json_decref(f->header);
    free(f->bytes);
}

/* The pattern with N and E replaced. */
static void name_of(const char *pattern, uint32_t layer, uint32_t expert, char out[128])
{
    size_t n = 0;
    for (const char *p = pattern; *p; p++) {
        bool number = (*p == 'N' || *p == 'E') && p > pattern && p[-1] == '.' && p[1] == '.';
        n += (size_t)snprintf(out + n, 128 - n, number ? "%u" : "%c",
                              number ? (*p == 'N' ? layer : expert) : (uint32_t)*p);
    }
}

/* The file that holds the tensor, out of n. */
static const json_t *find_entry(const plain_file *f, size_t n, const char *name, const char **data, size_t *bytes)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_object_get(f[i].header, name), *offsets = json_object_get(e, "data_offsets");
        if (!e) continue;
        json_int_t begin = json_integer_value(json_array_get(offsets, 0));
        *data = f[i].data + begin;
        *bytes = (size_t)(json_integer_value(json_array_get(offsets, 1)) - begin);
        return e;
    }
    return NULL;
}

static bool same_shape(const json_t *entry, const ig_tensor *t, way how)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t n = json_array_size(shape);
    for (size_t i = 0; i < n; i++)
        if (t->ne[n - 1 - i] != (uint64_t)json_integer_value(json_array_get(shape, i))) return false;
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    return t->n_dims == n + (how == STACKED) && !strcmp(how == PLUS_ONE ? "F32" : dtype, ig_dtype_row(t->type)->name);
}

/* BF16, as both gemmas have it. */
static bool plus_one(const char *data, const ig_tensor *t)
{
    for (uint64_t i = 0; i < t->ne[0]; i++) {
        uint32_t bits = 0;
        float w, have;
        memcpy((char *)&bits + 2, data + 2 * i, 2);
        memcpy(&w, &bits, 4);
        memcpy(&have, t->data + 4 * i, 4);
        if (have != 1.0f + w || have == w) return false;
    }
    return true;
}

static bool tensor_agrees(const ig_format *f, const plain_file *files, size_t n_files, size_t row, uint32_t dir,
                          uint32_t layer, uint32_t expert)
{
    char from[128], to[128];
    const char *data;
    size_t bytes;
    way how = tensors[row].how;
    name_of(tensors[row].from, layer, expert, from);
    name_of(tensors[row].to, layer, expert, to);
    const ig_tensor *t = ig_format_tensor(f, to);
    const json_t *entry = find_entry(files, n_files, from, &data, &bytes);
    if (!t || !entry || !same_shape(entry, t, how)) return false;
    uint32_t heads = how == Q_ROWS ? directories[dir].heads : how == K_ROWS ? directories[dir].heads_kv : 0;
    if (t->half_split_heads != heads || (t->parts != NULL) != (how == STACKED) || (t->data == NULL) != (how == STACKED))
        return false;
    if (how == PLUS_ONE) return plus_one(data, t) && t->n_bytes == 2 * bytes;
    if (how != STACKED) return t->n_bytes == bytes && !memcmp(t->data, data, bytes);
    return t->ne[2] == directories[dir].experts && t->n_bytes == bytes * t->ne[2] && t->row_bytes * t->ne[1] == bytes &&
           !memcmp(t->parts[expert], data, bytes);
}

static size_t count_tensors(const ig_format *f, const plain_file *files, size_t n_files, uint32_t dir, size_t *n_wrong)
{
    size_t n = 0;
    *n_wrong = 0;
    for (size_t row = 0; row < sizeof tensors / sizeof *tensors; row++) {
        if (strcmp(tensors[row].directory, directories[dir].name) != 0) continue;
        bool layered = strstr(tensors[row].from, ".N.") != NULL, stacked = tensors[row].how == STACKED;
        for (uint32_t l = 0; l < (layered ? directories[dir].layers : 1); l++, n++)
            for (uint32_t e = 0; e < (stacked ? directories[dir].experts : 1); e++) {
                bool good = tensor_agrees(f, files, n_files, row, dir, l, e);
                if (!good) printf("# %s: %s, layer %u, expert %u\n", directories[dir].name, tensors[row].to, l, e);
                *n_wrong += !good;
            }
    }
    return n;
}

static void text_of(const ig_meta *m, char out[64])
{
    ig_str s;
    if (!m)
        strcpy(out, "(absent)");
    else if (m->type == IG_META_STRING) {
        ig_meta_strings(m, &s);
        snprintf(out, 64, "%.*s", (int)(s.len < 60 ? s.len : 60), s.ptr);
    } else if (m->type == IG_META_BOOL)
        strcpy(out, m->data[0] ? "true" : "false");
    else
        snprintf(out, 64, "%g", m->type == IG_META_F32 ? ig_meta_float(m, 0) : (double)ig_meta_int(m, 0));
}

static size_t wrong_keys(const ig_format *f, const char *directory)
{
    size_t n_wrong = 0;
    char text[64];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(keys[i].directory, directory) != 0) continue;
        text_of(ig_format_meta(f, keys[i].key), text);
        if (!strcmp(text, keys[i].value ? keys[i].value : "(absent)")) continue;
        printf("# %s: %s is %s, expected %s\n", directory, keys[i].key, text, keys[i].value);
        n_wrong++;
    }
    return n_wrong;
}

/* tokenizer.json comes byte for byte, the template as its JSON means it. */
static bool tokenizer_carried(const ig_format *f, const char *directory)
{
    char path[1024];
    size_t n;
    ig_str have = IG_STR(""), template = IG_STR("");
    snprintf(path, sizeof path, "%s/hf/%s/tokenizer.json", tap_golden(), directory);
    char *text = tap_read(path, &n);
    bool ok = ig_format_str(f, "ingle.tokenizer.json", true, &have, NULL) == IG_OK && text &&
              ig_str_eq(have, (ig_str){text, n});
    free(text);
    snprintf(path, sizeof path, "%s/hf/%s/tokenizer_config.json", tap_golden(), directory);
    json_t *config = json_load_file(path, 0, NULL);
    const char *want = json_string_value(json_object_get(config, "chat_template"));
    ok = ok && ig_format_str(f, "tokenizer.chat_template", false, &template, NULL) == IG_OK;
    ok = ok && ig_str_is(template, want ? want : "");
    json_decref(config);
    return ok;
}

static void check_directory(uint32_t dir)
{
    static const char *const shards[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    const char *name = directories[dir].name;
    char path[1024];
    ig_format *f;
    ig_error err;
    size_t n_files = directories[dir].files, n_wrong;
    plain_file files[2] = {{0}};
    snprintf(path, sizeof path, "%s/hf/%s", tap_golden(), name);
    struct stat sb;
    if (stat(path, &sb) != 0) {
        tap_skip(name, "no reference data in %s/hf", tap_golden());
        return;
    }
    if (ig_format_open(path, &f, &err) != IG_OK) {
        tap_ok(false, "%s opens # %s", name, err.text);
        return;
    }
    for (size_t i = 0; i < n_files; i++) files[i] = open_plain(name, n_files == 1 ? "model.safetensors" : shards[i]);
    size_t n = count_tensors(f, files, n_files, dir, &n_wrong);
    tap_ok(n_wrong == 0 && n == ig_format_n_tensors(f), "%s: %zu tensors, %zu expected, %zu wrong", name,
           ig_format_n_tensors(f), n, n_wrong);
    tap_ok(wrong_keys(f, name) == 0, "%s: metadata has GGUF's keys and the values of config.json", name);
    tap_ok(tokenizer_carried(f, name), "%s: tokenizer.json and chat template are carried", name);
    tap_ok(ig_format_parts(f) == n_files && ig_format_version(f) == 0, "%s: %zu files of weights", name, n_files);
    for (size_t i = 0; i < n_files; i++) close_plain(&files[i]);
    ig_format_close(f);
}

/* config.json or a file of weights stand for their directory. */
static void test_paths(void)
{
    static const char *const names[] = {"", "/", "/config.json", "/model-00002-of-00002.safetensors",
                                        "/model.safetensors.index.json"};
    char path[1024];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ig_format *f = NULL;
        snprintf(path, sizeof path, "%s/hf/qwen2%s", tap_golden(), names[i]);
        if (i == 0 && access(path, R_OK) != 0) return;
        CHECK(ig_format_open(path, &f, NULL) == IG_OK && ig_format_n_tensors(f) == 26);
        ig_format_close(f);
    }
}

/* ------------------------------------------------------------------------------------------------ beside real GGUFs */

/* A GGUF of the same architecture, and keys that only one of the two has, for a reason. */
static const struct {
    const char *directory, *gguf, *only_here, *only_there;
} pairs[] = {
    {"llama", "archs/llama-dense", "vocab_size", ""},
    {"mistral", "archs/llama-dense", "vocab_size", ""},
    {"qwen2", "archs/qwen2", "vocab_size attention.key_length attention.value_length", ""},
    {"qwen3", "archs/qwen3", "vocab_size", ""},
    {"qwen3_moe", "archs/qwen3moe", "vocab_size", ""},
    {"gemma2", "archs/gemma2", "vocab_size", ""},
    {"gemma3", "archs/gemma3", "vocab_size", "rope.scaling.type rope.scaling.factor"},
    {"phi3", "archs/phi3-short", "vocab_size attention.key_length attention.value_length", "rope.scaling.attn_factor"},
    {"minimax_m2", "archs/minimax-m2", "vocab_size", ""},
    {"bert", "embeddings/bert", "vocab_size", "pooling_type"},
};

/* Tensors that belong to what one model has and the other has not. */
static bool optional_tensor(const char *name) { return !strncmp(name, "rope_f", 6) || !strcmp(name, "output.weight"); }

/* Keys of the architecture and tensors of a that b has not; `but` lists those that may be missing. */
static size_t only_in(const ig_format *a, const ig_format *b, const char *but)
{
    size_t n_wrong = 0;
    char name[128], text[64];
    text_of(ig_format_meta(a, "general.architecture"), text);
    size_t n_arch = strlen(text);
    for (size_t i = 0; i < ig_format_n_meta(a); i++) {
        const ig_meta *m = ig_format_meta_at(a, i), *other;
        snprintf(name, sizeof name, "%.*s", IG_STR_ARG(m->key));
        if (strncmp(name, text, n_arch) != 0 || name[n_arch] != '.' || strstr(but, name + n_arch + 1)) continue;
        other = ig_format_meta(b, name);
        if (other && other->elem == m->elem) continue;
        printf("# %s: only %s has the key %s, or its type\n", text, ig_format_path(a), name);
        n_wrong++;
    }
    for (size_t i = 0; i < ig_format_n_tensors(a); i++) {
        const ig_tensor *t = ig_format_tensor_at(a, i), *other;
        snprintf(name, sizeof name, "%.*s", IG_STR_ARG(t->name));
        if (optional_tensor(name) || (!strncmp(name, "blk.", 4) && strncmp(name, "blk.0.", 6) != 0)) continue;
        other = ig_format_tensor(b, name);
        if (other && other->n_dims == t->n_dims) continue;
        printf("# %s: only %s has the tensor %s, or its axes\n", text, ig_format_path(a), name);
        n_wrong++;
    }
    return n_wrong;
}

static void test_same_view_as_gguf(void)
{
    char path[1024];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        ig_format *hf = NULL, *gguf = NULL;
        snprintf(path, sizeof path, "%s/hf/%s", tap_golden(), pairs[i].directory);
        if (access(path, R_OK) != 0) return;
        CHECK(ig_format_open(path, &hf, NULL) == IG_OK);
        snprintf(path, sizeof path, "%s/%s.gguf", tap_golden(), pairs[i].gguf);
        CHECK(ig_format_open(path, &gguf, NULL) == IG_OK);
        if (hf && gguf) CHECK(only_in(hf, gguf, pairs[i].only_here) + only_in(gguf, hf, pairs[i].only_there) == 0);
        ig_format_close(hf);
        ig_format_close(gguf);
    }
}

/* ------------------------------------------------------------------------------------------------ a model in memory */

/* One layer, width 8, 2 heads of 4, 1 of keys, 6 tokens; texts that a test may change before it opens them. */
typedef struct small {
    char config[16384], header[16384], index[4096], generation[1024], tokenizer_config[4096], pooling[512];
    uint64_t data_bytes;
    size_t pad; /* spaces behind the header */
    uint8_t *blob;
    uint64_t blob_bytes;
} small;

static const char small_config[] =
    "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 8, "
    "\"intermediate_size\": 12, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, "
    "\"vocab_size\": 6, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, "
    "\"hidden_act\": \"silu\", \"tie_word_embeddings\": false, \"eos_token_id\": 2}";

static void add(small *s, const char *name, const char *dtype, uint64_t rows, uint64_t columns)
{
    size_t n = strlen(s->header);
    uint64_t bytes = (columns ? rows * columns : rows) * (strstr(dtype, "32") ? 4 : 2);
    char shape[64];
    snprintf(shape, sizeof shape, columns ? "%llu,%llu" : "%llu", (unsigned long long)rows,
             (unsigned long long)columns);
    snprintf(s->header + n, sizeof s->header - n,
             "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}", n > 1 ? "," : "", name, dtype,
             shape, (unsigned long long)s->data_bytes, (unsigned long long)(s->data_bytes + bytes));
    s->data_bytes += bytes;
}

static void small_init(small *s)
{
    *s = (small){0};
    strcpy(s->config, small_config);
    strcpy(s->header, "{");
    add(s, "model.embed_tokens.weight", "BF16", 6, 8);
    add(s, "model.layers.0.input_layernorm.weight", "F32", 8, 0);
    add(s, "model.layers.0.self_attn.q_proj.weight", "F16", 8, 8);
    add(s, "model.layers.0.self_attn.k_proj.weight", "F16", 4, 8);
    add(s, "model.layers.0.self_attn.v_proj.weight", "F16", 4, 8);
    add(s, "model.layers.0.self_attn.o_proj.weight", "F16", 8, 8);
    add(s, "model.layers.0.post_attention_layernorm.weight", "F32", 8, 0);
    add(s, "model.layers.0.mlp.gate_proj.weight", "BF16", 12, 8);
    add(s, "model.layers.0.mlp.up_proj.weight", "BF16", 12, 8);
    add(s, "model.layers.0.mlp.down_proj.weight", "BF16", 8, 12);
    add(s, "model.norm.weight", "F32", 8, 0);
    add(s, "lm_head.weight", "BF16", 6, 8);
}

/* Replaces the first `from` by `to`; from "" appends, from NULL replaces all. False when it is not there. */
static bool replace(char *text, size_t capacity, const char *from, const char *to)
{
    char *at = !from ? text : *from ? strstr(text, from) : text + strlen(text);
    size_t gone = !from ? strlen(text) : strlen(from), n = strlen(to);
    if (!at || strlen(text) - gone + n >= capacity) return false;
    memmove(at + n, at + gone, strlen(at + gone) + 1);
    memcpy(at, to, n);
    return true;
}

/* The header closed, and data behind it, in a block of its exact size. */
static void seal(small *s)
{
    uint64_t n = strlen(s->header) + 1 + s->pad;
    s->blob_bytes = 8 + n + s->data_bytes;
    s->blob = malloc((size_t)s->blob_bytes);
    if (!s->blob) abort();
    memcpy(s->blob, &n, 8);
    memset(s->blob + 8, ' ', (size_t)n);
    memcpy(s->blob + 8, s->header, (size_t)n - 1 - s->pad);
    s->blob[8 + n - 1 - s->pad] = '}';
    for (uint64_t i = 0; i < s->data_bytes; i++) s->blob[8 + n + i] = (uint8_t)(i * 37 & 0x3f);
}

static ig_status open_files(small *s, ig_format **f, ig_error *err)
{
    ig_named_bytes files[6] = {{"config.json", (const uint8_t *)s->config, strlen(s->config)}};
    size_t n = 1;
    *err = (ig_error){0};
    if (s->blob)
        files[n++] =
            (ig_named_bytes){s->index[0] ? "model-a.safetensors" : "model.safetensors", s->blob, s->blob_bytes};
    if (s->index[0])
        files[n++] = (ig_named_bytes){"model.safetensors.index.json", (const uint8_t *)s->index, strlen(s->index)};
    if (s->generation[0])
        files[n++] = (ig_named_bytes){"generation_config.json", (const uint8_t *)s->generation, strlen(s->generation)};
    if (s->tokenizer_config[0])
        files[n++] = (ig_named_bytes){"tokenizer_config.json", (const uint8_t *)s->tokenizer_config,
                                      strlen(s->tokenizer_config)};
    if (s->pooling[0])
        files[n++] = (ig_named_bytes){"1_Pooling/config.json", (const uint8_t *)s->pooling, strlen(s->pooling)};
    return ig_format_open_hf_memory("tiny", files, n, f, err);
}

static ig_format *must_open(small *s)
{
    ig_format *f = NULL;
    ig_error err;
    seal(s);
    if (open_files(s, &f, &err) != IG_OK) printf("# %s\n", err.text);
    return f;
}

static void small_close(small *s, ig_format *f)
{
    ig_format_close(f);
    free(s->blob);
    s->blob = NULL;
}

#define SET(s, part, from, to) CHECK(replace((s)->part, sizeof(s)->part, from, to))

/* A number of the view, -1 when it is absent. */
static double number(const ig_format *f, const char *key)
{
    const ig_meta *m = ig_format_meta(f, key);
    if (!m) return -1;
    return m->elem == IG_META_F32 ? ig_meta_float(m, 0) : (double)ig_meta_int(m, 0);
}

static bool near(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

static void test_small_model(void)
{
    small s;
    small_init(&s);
    s.pad = 5; /* S01: spaces behind the header; S06: data of any alignment */
    ig_format *f = must_open(&s);
    CHECK(f && ig_format_n_tensors(f) == 12 && ig_format_parts(f) == 1);
    const ig_tensor *t = ig_format_tensor(f, "blk.0.ffn_down.weight");
    CHECK(t && t->ne[0] == 12 && t->ne[1] == 8 && t->n_dims == 2 && t->type == IG_BF16 && t->row_bytes == 24);
    CHECK(t && t->data > s.blob && t->data + t->n_bytes < s.blob + s.blob_bytes);
    t = ig_format_tensor(f, "blk.0.attn_k.weight");
    CHECK(t && t->half_split_heads == 1 && t->ne[1] == 4);
    CHECK(!ig_format_tensor(f, "model.norm.weight") && number(f, "llama.attention.key_length") == 4);
    CHECK(number(f, "tokenizer.ggml.eos_token_id") == 2 && number(f, "tokenizer.ggml.bos_token_id") == -1);
    small_close(&s, f);
}

static void test_defaults_and_nulls(void)
{
    small s;
    small_init(&s);
    SET(&s, config, "\"num_key_value_heads\": 1, ", "\"head_dim\": null, \"rope_scaling\": null, ");
    SET(&s, config, "\"rope_theta\": 10000.0, ", "");
    SET(&s, config, "\"rms_norm_eps\": 1e-05, ", "");
    SET(&s, config, "\"hidden_act\": \"silu\", ", "\"quantization_config\": null, \"bos_token_id\": [3, 4], ");
    ig_format *f = must_open(&s);
    CHECK(!f); /* as many heads of keys as heads have 8 rows, not 4 */
    small_close(&s, f);
    SET(&s, config, "\"head_dim\": null, ", "\"num_key_value_heads\": 1, \"head_dim\": null, ");
    f = must_open(&s);
    CHECK(f && near(number(f, "llama.rope.freq_base"), 10000));
    CHECK(f && near(number(f, "llama.attention.layer_norm_rms_epsilon"), 1e-6));
    CHECK(f && number(f, "tokenizer.ggml.bos_token_id") == 3 && number(f, "llama.attention.key_length") == 4);
    small_close(&s, f);
}

/* The output matrix belongs to tie_word_embeddings, stored or not. */
static void test_tied_output(void)
{
    small s;
    small_init(&s);
    SET(&s, config, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    ig_format *f = must_open(&s);
    CHECK(f && ig_format_n_tensors(f) == 11 && !ig_format_tensor(f, "output.weight"));
    small_close(&s, f);
}

static void test_ignorable_tensors(void)
{
    small s;
    small_init(&s);
    add(&s, "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 2, 0);
    SET(&s, header, "", ",\"model.rotary_emb.inv_freq\":{\"dtype\":\"I64\",\"shape\":[3,0,5],\"data_offsets\":[0,0]}");
    SET(&s, header, "{", "{\"__metadata__\":{\"format\":\"p\\u0074\"},");
    ig_format *f = must_open(&s);
    CHECK(f && ig_format_n_tensors(f) == 12);
    small_close(&s, f);
}

/* Llama 3.1's own numbers on a head of 128; the factors that the formula gives for some pairs, worked out by hand:
 * pair 0 turns 8192 / 2 pi times: 1; pair 63 less than once: 8; the pairs between have 1 / ((1 - s) / 8 + s). */
static void test_llama3_factors(void)
{
    small s;
    float v[64];
    small_init(&s);
    strcpy(s.header, "{");
    s.data_bytes = 0;
    add(&s, "model.embed_tokens.weight", "BF16", 6, 8);
    add(&s, "lm_head.weight", "BF16", 6, 8);
    SET(&s, config, "\"rope_theta\": 10000.0",
        "\"head_dim\": 128, \"rope_theta\": 500000.0, \"rope_scaling\": {\"factor\": 8.0, \"low_freq_factor\": 1.0, "
        "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}");
    ig_format *f = must_open(&s);
    const ig_tensor *t = f ? ig_format_tensor(f, "rope_freqs.weight") : NULL;
    CHECK(t && t->type == IG_F32 && t->ne[0] == 64 && t->n_dims == 1 && t->n_bytes == sizeof v);
    if (t) memcpy(v, t->data, sizeof v);
    for (int i = 0; t && i < 64; i++) {
        double wave = 6.283185307179586 * pow(500000.0, i / 64.0), want = 1;
        if (wave > 8192)
            want = 8;
        else if (wave > 2048) {
            double smooth = (8192 / wave - 1) / 3;
            want = 1 / ((1 - smooth) / 8 + smooth);
        }
        CHECK(near((double)v[i], want));
    }
    CHECK(t && v[0] == 1 && v[63] == 8);
    CHECK(f && !ig_format_meta(f, "llama.rope.scaling.type"));
    small_close(&s, f);
}

static void test_yarn_and_linear(void)
{
    static const struct {
        const char *scaling, *type;
        double factor, n_orig, attn_factor;
    } cases[] = {
        {"{\"type\": \"linear\", \"factor\": 4}", "linear", 4, -1, -1},
        {"{\"rope_type\": \"default\"}", "(absent)", -1, -1, -1},
        {"{\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 16}", "yarn", 4, 16, -1},
        {"{\"rope_type\": \"yarn\", \"factor\": 4.0}", "yarn", 4, 64, -1},
        {"{\"rope_type\": \"yarn\", \"factor\": 4.0, \"attention_factor\": 1.0}", "yarn", 4, 64,
         1 / (1 + 0.1 * 1.3862943611)},
        {"{\"rope_type\": \"yarn\", \"factor\": 4.0, \"mscale\": 1.0, \"mscale_all_dim\": 1.0}", "yarn", 4, 64,
         1 / (1 + 0.1 * 1.3862943611)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int newer = 0; newer < 2; newer++) { /* rope_parameters holds the base, too */
            small s;
            char text[512], type[64];
            small_init(&s);
            snprintf(text, sizeof text,
                     newer ? "\"rope_parameters\": {\"rope_theta\": 20000.0, %s"
                           : "\"rope_theta\": 20000.0, \"rope_scaling\": {%s",
                     cases[i].scaling + 1);
            SET(&s, config, "\"rope_theta\": 10000.0", text);
            ig_format *f = must_open(&s);
            text_of(f ? ig_format_meta(f, "llama.rope.scaling.type") : NULL, type);
            CHECK(f && !strcmp(type, cases[i].type) && near(number(f, "llama.rope.freq_base"), 20000));
            CHECK(f && near(number(f, "llama.rope.scaling.factor"), cases[i].factor));
            CHECK(f && near(number(f, "llama.rope.scaling.original_context_length"), cases[i].n_orig));
            CHECK(f && near(number(f, "llama.rope.scaling.attn_factor"), cases[i].attn_factor));
            small_close(&s, f);
        }
}

static void test_longrope(void)
{
    small s;
    float v[2];
    small_init(&s);
    strcpy(s.header, "{");
    s.data_bytes = 0;
    add(&s, "model.embed_tokens.weight", "BF16", 6, 8);
    add(&s, "lm_head.weight", "BF16", 6, 8);
    SET(&s, config, "\"llama\"", "\"phi3\"");
    SET(&s, config, "\"rope_theta\": 10000.0",
        "\"original_max_position_embeddings\": 16, \"sliding_window\": 20, \"rope_scaling\": "
        "{\"type\": \"su\", \"long_factor\": [1.5, 3], \"short_factor\": [1.0, 1.25]}");
    ig_format *f = must_open(&s);
    const ig_tensor *t = f ? ig_format_tensor(f, "rope_factors_long.weight") : NULL;
    CHECK(t && t->ne[0] == 2);
    if (t) memcpy(v, t->data, sizeof v);
    CHECK(t && v[0] == 1.5f && v[1] == 3.0f);
    t = f ? ig_format_tensor(f, "rope_factors_short.weight") : NULL;
    if (t) memcpy(v, t->data, sizeof v);
    CHECK(t && v[0] == 1.0f && v[1] == 1.25f);
    CHECK(f && near(number(f, "phi3.rope.scaling.attn_factor"), sqrt(1 + log(4) / log(16))));
    CHECK(f && number(f, "phi3.rope.scaling.original_context_length") == 16);
    CHECK(f && number(f, "phi3.attention.sliding_window") == 20);
    small_close(&s, f);
}

/* Gemma 3 as it comes with eyes: numbers in text_config, most of them left out, tensors with a prefix. */
static void test_gemma3_with_vision(void)
{
    small s;
    small_init(&s);
    SET(&s, config, NULL,
        "{\"model_type\": \"gemma3\", \"eos_token_id\": [1, 106], \"vision_config\": {\"hidden_size\": 7}, "
        "\"text_config\": {\"model_type\": \"gemma3_text\", \"hidden_size\": 8, \"intermediate_size\": 12, "
        "\"num_hidden_layers\": 8, \"sliding_window\": 1024, \"query_pre_attn_scalar\": 168, "
        "\"rope_scaling\": {\"factor\": 8.0, \"rope_type\": \"linear\"}}}");
    strcpy(s.header, "{");
    s.data_bytes = 0;
    add(&s, "language_model.model.embed_tokens.weight", "BF16", 6, 8);
    add(&s, "language_model.model.norm.weight", "BF16", 8, 0);
    add(&s, "language_model.lm_head.weight", "BF16", 6, 8);
    add(&s, "vision_tower.vision_model.post_layernorm.bias", "BF16", 7, 0);
    add(&s, "multi_modal_projector.mm_input_projection_weight", "BF16", 7, 8);
    ig_format *f = must_open(&s);
    CHECK(f && ig_format_n_tensors(f) == 2 && ig_format_tensor(f, "token_embd.weight"));
    CHECK(f && number(f, "gemma3.attention.head_count") == 8 && number(f, "gemma3.attention.head_count_kv") == 4);
    CHECK(f && number(f, "gemma3.attention.key_length") == 256 && number(f, "gemma3.context_length") == 131072);
    CHECK(f && near(number(f, "gemma3.attention.scale"), 1 / sqrt(168)) && number(f, "gemma3.vocab_size") == 262208);
    CHECK(f && number(f, "gemma3.rope.scaling.factor") == 8 && near(number(f, "gemma3.rope.freq_base"), 1e6));
    CHECK(f && number(f, "tokenizer.ggml.eos_token_id") == 1);
    CHECK(f && ig_format_meta(f, "tokenizer.ggml.eog_token_ids")->n == 2);
    const ig_tensor *t = f ? ig_format_tensor(f, "output_norm.weight") : NULL;
    CHECK(t && t->type == IG_F32 && t->n_bytes == 32);
    small_close(&s, f);
}

/* Which layers have windows is written where the architecture would not know. */
static void test_windows(void)
{
    static const struct {
        const char *type, *more, *pattern; /* one letter a layer: s windowed, f full; NULL: no such key */
        double window;
    } cases[] = {
        {"gemma3_text", "\"sliding_window\": 16", NULL, 16},
        {"gemma3_text", "\"sliding_window\": 16, \"sliding_window_pattern\": 2", "sfs", 16},
        {"gemma3_text", "\"layer_types\": [\"sliding_attention\", \"sliding_attention\", \"sliding_attention\"]", NULL,
         4096},
        {"gemma3_text", "\"layer_types\": [\"full_attention\", \"sliding_attention\", \"sliding_attention\"]", "fss",
         4096},
        {"gemma2", "\"sliding_window\": 16", NULL, 16},
        {"gemma2", "\"layer_types\": [\"sliding_attention\", \"full_attention\", \"full_attention\"]", "sff", 4096},
        {"mistral", "\"sliding_window\": 16", "sss", 16},
        {"mistral", "\"sliding_window\": null", NULL, -1},
        {"mistral", "\"sliding_window\": 64", NULL, -1}, /* as wide as the context */
        {"qwen2", "\"sliding_window\": 16, \"use_sliding_window\": false", NULL, -1},
        {"qwen2", "\"sliding_window\": 16, \"use_sliding_window\": true, \"max_window_layers\": 3", NULL, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        small s;
        char type[512], key[128];
        small_init(&s);
        snprintf(type, sizeof type, "\"%s\", %s", cases[i].type, cases[i].more);
        SET(&s, config, "\"llama\"", type);
        SET(&s, config, "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 3, \"head_dim\": 4");
        strcpy(s.header, "{");
        s.data_bytes = 0;
        add(&s, "lm_head.weight", "BF16", 6, 8);
        ig_format *f = must_open(&s);
        const char *arch = !strcmp(cases[i].type, "gemma3_text") ? "gemma3" : cases[i].type;
        if (!strcmp(arch, "mistral")) arch = "llama";
        snprintf(key, sizeof key, "%s.attention.sliding_window", arch);
        CHECK(f && number(f, key) == cases[i].window);
        strcat(key, "_pattern");
        const ig_meta *m = f ? ig_format_meta(f, key) : NULL;
        CHECK((m != NULL) == (cases[i].pattern != NULL) && (!m || (m->n == 3 && m->elem == IG_META_BOOL)));
        for (int l = 0; m && cases[i].pattern && l < 3; l++) CHECK(m->data[l] == (cases[i].pattern[l] == 's'));
        if (!current_ok) printf("# case %zu\n", i);
        small_close(&s, f);
    }
}

static void test_templates_and_ids(void)
{
    small s;
    ig_str text = IG_STR("");
    small_init(&s);
    strcpy(s.generation, "{\"eos_token_id\": [5, 4], \"bos_token_id\": 1, \"pad_token_id\": 6}");
    strcpy(s.tokenizer_config, "{\"a\": [{}], \"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, "
                               "{\"template\": \"d\\u00e9 {{x}}\", \"name\": \"default\"}]}");
    ig_format *f = must_open(&s);
    CHECK(f && ig_format_str(f, "tokenizer.chat_template", true, &text, NULL) == IG_OK);
    CHECK(ig_str_is(text, "d\xc3\xa9 {{x}}"));
    CHECK(f && number(f, "tokenizer.ggml.eos_token_id") == 5 && number(f, "tokenizer.ggml.bos_token_id") == 1);
    CHECK(f && !ig_format_meta(f, "tokenizer.ggml.padding_token_id")); /* outside the vocabulary */
    small_close(&s, f);
}

static void test_pooling(void)
{
    static const char *const texts[] = {"{\"pooling_mode_cls_token\": false, \"pooling_mode_lasttoken\": true}",
                                        "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": true}",
                                        "{\"pooling_mode_mean_tokens\": true}", "{}"};
    static const int want[] = {3, -1, 1, -1};
    for (size_t i = 0; i < 4; i++) {
        small s;
        small_init(&s);
        strcpy(s.pooling, texts[i]);
        ig_format *f = must_open(&s);
        CHECK(f && number(f, "llama.pooling_type") == want[i]);
        small_close(&s, f);
    }
}

/* A reranker keeps its head; the same tensors beside a bare model are left out. */
static void test_classifier(void)
{
    for (int judges = 0; judges < 2; judges++) {
        small s;
        small_init(&s);
        SET(&s, config, NULL,
            "{\"model_type\": \"bert\", \"architectures\": [\"BertModel\"], \"hidden_size\": 8, \"intermediate_size\": "
            "12, "
            "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"vocab_size\": 6, \"max_position_embeddings\": "
            "64}");
        if (judges) SET(&s, config, "BertModel", "BertForSequenceClassification");
        strcpy(s.header, "{");
        s.data_bytes = 0;
        add(&s, "bert.embeddings.LayerNorm.gamma", "F32", 8, 0);
        add(&s, "bert.pooler.dense.weight", "F32", 8, 8);
        add(&s, "classifier.weight", "F32", 1, 8);
        ig_format *f = must_open(&s);
        CHECK(f && ig_format_n_tensors(f) == (judges ? 3 : 1) && ig_format_tensor(f, "token_embd_norm.weight"));
        CHECK(f && number(f, "bert.pooling_type") == (judges ? 4 : -1));
        CHECK(!judges || (f && ig_format_tensor(f, "cls.weight") && ig_format_tensor(f, "cls.output.weight")));
        small_close(&s, f);
    }
}

/* J02: larger texts than the limit are not even looked at. */
static void test_J02_limits(void)
{
    enum { LIMIT = 4 << 20 };
    small s;
    ig_format *f = NULL;
    ig_error err;
    small_init(&s);
    seal(&s);
    char *text = malloc(LIMIT + 1);
    if (!text) abort();
    memset(text, ' ', LIMIT + 1);
    memcpy(text, s.config, strlen(s.config));
    ig_named_bytes files[] = {{"config.json", (const uint8_t *)text, LIMIT},
                              {"model.safetensors", s.blob, s.blob_bytes}};
    CHECK(ig_format_open_hf_memory("tiny", files, 2, &f, &err) == IG_OK);
    ig_format_close(f);
    files[0].size++;
    CHECK(ig_format_open_hf_memory("tiny", files, 2, &f, &err) == IG_TOO_LARGE && !f);
    CHECK(strstr(err.text, "the limit is 4194304"));
    free(text);
    small_close(&s, NULL);
}

static void test_shards(void)
{
    small s;
    small_init(&s);
    strcpy(s.header, "{");
    s.data_bytes = 0;
    add(&s, "model.norm.weight", "F32", 8, 0);
    add(&s, "lm_head.weight", "BF16", 6, 8);
    strcpy(s.index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {\"lm_head.weight\": \"model-a.safetensors\", "
                    "\"model.norm.weight\": \"model-a.safetensors\"}}");
    ig_format *f = must_open(&s);
    CHECK(f && ig_format_n_tensors(f) == 2);
    small_close(&s, f);
}

/* ------------------------------------------------------------------------------------------------ hostile texts */

enum part { CONFIG, HEADER, INDEX, GENERATION, TOKENIZER };

static const struct hostile {
    const char *name;
    enum part part;
    const char *from, *to; /* see replace() */
    const char *words;     /* of the message; NULL: it opens */
} hostile[] = {
    {"J06 NaN", CONFIG, "1e-05", "NaN", "JSON"},
    {"J06 Infinity", CONFIG, "1e-05", "-Infinity", "JSON"},
    {"J06 1e400", CONFIG, "1e-05", "1e400", "JSON"},
    {"J06 leading zero", CONFIG, ": 8,", ": 08,", "JSON"},
    {"J06 plus", CONFIG, ": 8,", ": +8,", "JSON"},
    {"J06 huge whole number", CONFIG, ": 8,", ": 99999999999999999999,", "JSON"},
    {"J06 too small for 32 bits", CONFIG, "1e-05", "1e-60", "\"rms_norm_eps\" is"},
    {"J06 negative size", CONFIG, ": 8,", ": -8,", "\"hidden_size\" is -8"},
    {"J06 zero size", CONFIG, ": 8,", ": 0,", "\"hidden_size\" is 0"},
    {"J06 size with a point", CONFIG, ": 8,", ": 8.0,", "\"hidden_size\" is 8.0"},
    {"J06 size as text", CONFIG, ": 8,", ": \"8\",", "\"hidden_size\" is \"8\""},
    {"J06 size as true", CONFIG, ": 8,", ": true,", "\"hidden_size\" is true"},
    {"J06 size out of range", CONFIG, ": 8,", ": 16777217,", "16777216"},
    {"G16 null size", CONFIG, ": 8,", ": null,", "\"hidden_size\" is missing"},
    {"G16 missing size", CONFIG, "\"vocab_size\": 6, ", "", "\"vocab_size\" is missing"},
    {"G16 too many layers", CONFIG, "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 5000", "num_hidden_layers"},
    {"G16 heads do not divide", CONFIG, "\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3", "divisor"},
    {"G16 width does not divide", CONFIG, "\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "divisor"},
    {"G16 odd head", CONFIG, "\"vocab_size\"", "\"head_dim\": 3, \"vocab_size\"", "even"},
    {"G16 rotary_dim above the head", CONFIG, "\"vocab_size\"", "\"rotary_dim\": 6, \"vocab_size\"", "even"},
    {"G16 partial rotation above 1", CONFIG, "\"vocab_size\"", "\"partial_rotary_factor\": 1.5, \"vocab_size\"",
     "even"},
    {"G17 epsilon of 0", CONFIG, "1e-05", "0", "\"rms_norm_eps\" is 0"},
    {"G17 negative base", CONFIG, "10000.0", "-1", "\"rope_theta\" is -1"},
    {"J03 duplicate key", CONFIG, "\"vocab_size\": 6", "\"vocab_size\": 6, \"vocab_size\": 6", "duplicate"},
    {"J07 trailing text", CONFIG, "", " {}", "the end"},
    {"J07 mark of byte order", CONFIG, "{", "\xef\xbb\xbf{", "expected {"},
    {"J04 broken UTF-8", CONFIG, "silu", "sil\xff", "UTF-8"},
    {"J04 lone surrogate", CONFIG, "silu", "sil\\ud800", "JSON"},
    {"J07 an array", CONFIG, NULL, "[1]", "expected {"},
    {"J07 nothing", CONFIG, NULL, "", "JSON ends"},
    {"J07 cut", CONFIG, ", \"eos_token_id\": 2}", "", "JSON ends"},
    {"T12 unknown model", CONFIG, "\"llama\"", "\"gpt9\"", "expected one of llama, mistral"},
    {"T12 no model_type", CONFIG, "\"model_type\": \"llama\", ", "", "\"model_type\" is missing"},
    {"quantised", CONFIG, "\"vocab_size\"", "\"quantization_config\": {\"quant_method\": \"fp8\"}, \"vocab_size\"",
     "\"quantization_config\" is {\"quant_method\":\"fp8\"}"},
    {"unknown activation", CONFIG, "silu", "relu2", "\"hidden_act\" is \"relu2\", expected silu"},
    {"another multiplier", CONFIG, "\"vocab_size\"", "\"residual_multiplier\": 0.5, \"vocab_size\"",
     "residual_multiplier"},
    {"bidirectional", CONFIG, "\"vocab_size\"", "\"use_bidirectional_attention\": true, \"vocab_size\"", "use_bidir"},
    {"scaling unknown", CONFIG, "\"vocab_size\"",
     "\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2}, \"vocab_size\"", "\"dynamic\""},
    {"scaling of another model", CONFIG, "\"vocab_size\"",
     "\"rope_scaling\": {\"type\": \"longrope\", \"long_factor\": [1, 1]}, \"vocab_size\"", "\"longrope\""},
    {"scaling with a strange key", CONFIG, "\"vocab_size\"",
     "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2, \"mrope_section\": [1]}, \"vocab_size\"",
     "mrope_section"},
    {"scaling no object", CONFIG, "\"vocab_size\"", "\"rope_scaling\": 4, \"vocab_size\"", "an object"},
    {"scaling without factor", CONFIG, "\"vocab_size\"", "\"rope_scaling\": {\"type\": \"linear\"}, \"vocab_size\"",
     "\"factor\" is missing"},
    {"scaling below 1", CONFIG, "\"vocab_size\"",
     "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 0.5}, \"vocab_size\"", "at least 1"},
    {"scaling not named by text", CONFIG, "\"vocab_size\"", "\"rope_scaling\": {\"type\": 3}, \"vocab_size\"",
     "rope_type"},
    {"llama3 without low factor", CONFIG, "\"vocab_size\"",
     "\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8}, \"vocab_size\"", "low_freq_factor"},
    {"llama3 with equal factors", CONFIG, "\"vocab_size\"",
     "\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4}, "
     "\"vocab_size\"",
     "high_freq_factor"},
    {"layer of an unknown kind", CONFIG, "\"vocab_size\"", "\"layer_types\": [\"linear_attention\"], \"vocab_size\"",
     "linear_attention"},
    {"windowed layer of a llama", CONFIG, "\"vocab_size\"", "\"layer_types\": [\"sliding_attention\"], \"vocab_size\"",
     "sliding_attention"},
    {"too many kinds of layers", CONFIG, "\"vocab_size\"",
     "\"layer_types\": [\"full_attention\", \"full_attention\"], \"vocab_size\"", "one entry for each layer"},
    {"tied as text", CONFIG, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": \"no\"", "true or false"},
    {"G18 id outside", CONFIG, "\"eos_token_id\": 2", "\"eos_token_id\": 6", "\"eos_token_id\" is 6"},
    {"G18 id with a point", CONFIG, "\"eos_token_id\": 2", "\"eos_token_id\": 2.5", "\"eos_token_id\" is 2.5"},
    {"id of none", CONFIG, "\"eos_token_id\": 2", "\"eos_token_id\": -1", NULL},

    {"S01 no object", HEADER, "{", "[", "begins with no {"},
    {"S02 trailing text", HEADER, "", "} 1", "the end of the text"},
    {"S02 duplicate tensor", HEADER, "lm_head.weight", "model.norm.weight", "duplicate name"},
    {"S02 duplicate by escape", HEADER, "lm_head.weight", "\\u006dodel.norm.weight", "duplicate name"},
    {"S02 comma at the end", HEADER, "", ",", "a string"},
    {"S02 no comma", HEADER, "},", "} ", "a comma or }"},
    {"S02 no colon", HEADER, "\":{", "\" {", "a colon"},
    {"S02 broken UTF-8", HEADER, "lm_head", "lm\xc0\x80", "UTF-8"},
    {"S02 control character", HEADER, "lm_head", "lm\nhead", "control character"},
    {"S02 metadata of numbers", HEADER, "{", "{\"__metadata__\":{\"a\":1},", "a string"},
    {"S02 metadata twice", HEADER, "{", "{\"__metadata__\":{},\"__metadata__\":{},", "only once"},
    {"S02 NUL in a name", HEADER, "lm_head", "lm\\u0000head", "NUL"},
    {"S02 empty name", HEADER, "lm_head.weight", "", "empty"},
    {"S03 unknown dtype", HEADER, "\"F32\"", "\"F33\"", "\"F33\""},
    {"S03 dtype that is not computed with", HEADER, "\"F32\"", "\"I32\"", "I32, expected F32, F16 or BF16"},
    {"S03 dtype of other size", HEADER, "\"F32\"", "\"F64\"", "bytes of data"},
    {"S03 no dtype", HEADER, "\"dtype\":\"F32\",", "", "a key is missing"},
    {"S03 dtype twice", HEADER, "\"dtype\":\"F32\",", "\"dtype\":\"F32\",\"dtype\":\"F32\",", "two dtypes"},
    {"S03 dtype a number", HEADER, "\"F32\"", "32", "a string"},
    {"S03 half a byte", HEADER, "\"F32\",\"shape\":[8]", "\"F4\",\"shape\":[3]", "bytes of data"},
    {"S04 no shape", HEADER, "\"shape\":[8],", "", "a key is missing"},
    {"S04 shape of other size", HEADER, "\"shape\":[8]", "\"shape\":[9]", "bytes of data"},
    {"S04 shape overflows to its size", HEADER, "\"shape\":[8]", "\"shape\":[4611686018427387912,1]", "bytes of data"},
    {"S04 shape above 2^63", HEADER, "\"shape\":[8]", "\"shape\":[9223372036854775808]", "2^63"},
    {"S04 negative shape", HEADER, "\"shape\":[8]", "\"shape\":[-8]", "a whole number"},
    {"S04 shape with a point", HEADER, "\"shape\":[8]", "\"shape\":[8.0]", "a whole number"},
    {"S04 shape with an exponent", HEADER, "\"shape\":[8]", "\"shape\":[8e0]", "a whole number"},
    {"S04 shape with a zero before", HEADER, "\"shape\":[8]", "\"shape\":[08]", "a whole number"},
    {"S04 seven axes", HEADER, "\"shape\":[8]", "\"shape\":[8,1,1,1,1,1,1]", "6 dimensions"},
    {"S04 five axes", HEADER, "\"shape\":[8]", "\"shape\":[8,1,1,1,1]", "4 dimensions"},
    {"S04 open shape", HEADER, "\"shape\":[8]", "\"shape\":[8", "JSON at"},
    {"S04 empty tensor", HEADER, "}",
     "},\"model.layers.0.self_attn.q_proj.bias\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[96,96]}",
     "0 or too large"},
    {"S05 offsets turned round", HEADER, "[96,128]", "[128,96]", "in this order"},
    {"S05 offsets outside", HEADER, "[96,128]", "[96,100000]", "in this order"},
    {"S05 overlap", HEADER, "[96,128]", "[95,127]", "overlap"},
    {"S05 same place", HEADER, "[128,256]", "[0,128]", "overlap"},
    {"S05 hole", HEADER, "[96,128]", "[97,129]", "hole"},
    {"S05 three offsets", HEADER, "[96,128]", "[96,128,128]", "two data_offsets"},
    {"S05 one offset", HEADER, "[96,128]", "[96]", "in this order"},
    {"S05 no offsets", HEADER, ",\"data_offsets\":[96,128]", "", "a key is missing"},
    {"S05 a strange key", HEADER, "\"dtype\":\"F32\",", "\"dtype\":\"F32\",\"x\":1,", "not known"},
    {"S05 data behind the last tensor", HEADER,
     ",\"lm_head.weight\":{\"dtype\":\"BF16\",\"shape\":[6,8],\"data_offsets\":[1152,1248]}", "", "tensors end at"},
    {"G15 a tensor of nobody", HEADER, "model.norm.weight", "model.nurm.weight",
     "does not belong to a model of the type llama"},
    {"G15 a layer too high", HEADER, "layers.0.self_attn.q", "layers.1.self_attn.q", "lies in layer 1"},
    {"G15 a layer with zeros", HEADER, "layers.0.self_attn.q", "layers.00.self_attn.q", "does not belong"},
    {"G15 a layer of many digits", HEADER, "layers.0.self_attn.q", "layers.4294967296.self_attn.q", "does not belong"},
    {"G15 one tensor by two names", HEADER, "lm_head.weight", "norm.weight",
     "two tensors of the files are output_norm"},
    {"G15 no output", HEADER, "lm_head.weight", "lm_head.bias", "no \"lm_head.weight\""},
    {"G15 rows of no heads", HEADER, "\"shape\":[4,8]", "\"shape\":[2,16]", "2 rows"},

    {"S07 missing file", INDEX, "model-a", "model-b", "is missing"},
    {"S07 way up", INDEX, "model-a.safetensors", "../model-a.safetensors", "no plain name"},
    {"S07 absolute", INDEX, "model-a.safetensors", "/model-a.safetensors", "no plain name"},
    {"S07 folder", INDEX, "model-a.safetensors", "x/model-a.safetensors", "no plain name"},
    {"S07 slash by escape", INDEX, "model-a.safetensors", "x\\u002fmodel-a.safetensors", "no plain name"},
    {"S07 backslash", INDEX, "model-a.safetensors", "x\\\\model-a.safetensors", "no plain name"},
    {"S07 two points", INDEX, "model-a.safetensors", "a..safetensors", "no plain name"},
    {"S07 hidden", INDEX, "model-a.safetensors", ".safetensors", "no plain name"},
    {"S07 NUL", INDEX, "model-a.safetensors", "m\\u0000.safetensors", "no plain name"},
    {"S10 pickle", INDEX, "model-a.safetensors", "model-a.bin", "no plain name"},
    {"S07 a tensor that is not there", INDEX, "lm_head.weight", "lm_head.bias", "no tensor \"lm_head.bias\""},
    {"S07 a tensor too many", INDEX, "\"lm_head.weight\": \"model-a.safetensors\", ", "", "expected the 11"},
    {"S07 file no text", INDEX, "\"model-a.safetensors\"", "1", "a string"},
    {"S07 no weight_map", INDEX, "weight_map", "weight_mop", "names no files"},
    {"S07 empty weight_map", INDEX, NULL, "{\"weight_map\": {}}", "names no files"},
    {"S07 two weight_maps", INDEX, "{", "{\"weight_map\": {}, ", "only once"},
    {"S07 weight_map a list", INDEX, NULL, "{\"weight_map\": []}", "expected {"},
    {"J07 index cut", INDEX, "\"}}", "", "JSON ends"},

    {"G18 generated id outside", GENERATION, NULL, "{\"eos_token_id\": [1, 9]}", "\"eos_token_id\" is 9"},
    {"J03 duplicate in generation", GENERATION, NULL, "{\"a\": 1, \"a\": 1}", "duplicate"},
    {"template a list of texts", TOKENIZER, NULL, "{\"chat_template\": [\"x\"]}", "expected {"},
    {"template twice", TOKENIZER, NULL, "{\"chat_template\": \"x\", \"chat_template\": \"y\"}", "only once"},
    {"template broken", TOKENIZER, NULL, "{\"chat_template\": \"\\x\"}", "JSON"},
    {"template null", TOKENIZER, NULL, "{\"chat_template\": null}", NULL},
};

/* An index of all tensors of the small model. */
static void add_index(small *s)
{
    strcpy(s->index, "{\"metadata\": {}, \"weight_map\": {\"lm_head.weight\": \"model-a.safetensors\"");
    for (const char *at = s->header; (at = strstr(at, "\"model.")); at++) {
        char line[256];
        snprintf(line, sizeof line, ", %.*s: \"model-a.safetensors\"", (int)(strchr(at, ':') - at), at);
        strcat(s->index, line);
    }
    strcat(s->index, "}}");
}

static void check_hostile(const struct hostile *h)
{
    small s;
    ig_format *f = NULL;
    ig_error err;
    small_init(&s);
    if (h->part == INDEX) add_index(&s);
    char *const texts[] = {s.config, s.header, s.index, s.generation, s.tokenizer_config};
    const size_t capacities[] = {sizeof s.config, sizeof s.header, sizeof s.index, sizeof s.generation,
                                 sizeof s.tokenizer_config};
    bool changed = replace(texts[h->part], capacities[h->part], h->from, h->to);
    if (h->part == INDEX && !s.index[0]) strcpy(s.index, " ");
    seal(&s);
    ig_status st = open_files(&s, &f, &err);
    bool good =
        h->words ? st != IG_OK && !f && strstr(err.text, h->words) && strstr(err.text, "tiny") : st == IG_OK && f;
    tap_ok(changed && good, "%s # %s%s", h->name, changed ? "" : "(text to change not found) ", err.text);
    small_close(&s, f);
}

/* S01: the length before the header. */
static void test_S01_lengths(void)
{
    static const uint64_t lengths[] = {0,          1,          7,          100000000,     100000001,
                                       1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 7};
    small s;
    ig_format *f = NULL;
    ig_error err;
    small_init(&s);
    seal(&s);
    uint64_t own;
    memcpy(&own, s.blob, 8);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths + 2; i++) {
        uint64_t n = i < sizeof lengths / sizeof *lengths ? lengths[i] : own + (i & 1 ? 1 : -1ull);
        memcpy(s.blob, &n, 8);
        CHECK(open_files(&s, &f, &err) == IG_BAD_INPUT && !f && err.text[0]);
    }
    small_close(&s, f);
}

/* S01: every shorter file, in a block of its exact size. */
static void test_S01_truncated(void)
{
    small s;
    small_init(&s);
    seal(&s);
    uint8_t *whole = s.blob;
    uint64_t size = s.blob_bytes;
    for (uint64_t n = 0; n < size; n++) {
        ig_format *f = NULL;
        ig_error err;
        s.blob = malloc(n ? (size_t)n : 1);
        if (!s.blob) abort();
        memcpy(s.blob, whole, (size_t)n);
        s.blob_bytes = n;
        CHECK(open_files(&s, &f, &err) == IG_BAD_INPUT && !f && err.text[0]);
        small_close(&s, f);
    }
    free(whole);
}

/* J01, J08: long texts of one kind fail, or are read, in linear time. */
static void test_J08_floods(void)
{
    static const struct {
        const char *start, *unit, *end;
        bool good;
    } floods[] = {
        {"{\"a\":", "[", "", false},          {"{\"a\":", "{\"a\":", "", false}, {"{\"a\":1", "1", "}", false},
        {"{\"a\":\"", "x", "\"}", false},     {"{\"a\":[0", ",0", "]}", false},  {"{\"a\":\"", "\\u0041", "\"}", false},
        {"{", "\"a\":1,", "\"b\":1}", false},
    };
    enum { BYTES = 3 << 20 };
    char *text = malloc(BYTES + 64);
    if (!text) abort();
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        size_t n = (size_t)sprintf(text, "%s", floods[i].start), unit = strlen(floods[i].unit);
        while (n < BYTES) {
            memcpy(text + n, floods[i].unit, unit);
            n += unit;
        }
        n += (size_t)sprintf(text + n, "%s", floods[i].end);
        for (int as = 0; as < 3; as++) { /* config.json, the header, the template's file */
            small s;
            ig_format *f = NULL;
            ig_error err = {0};
            small_init(&s);
            uint8_t *blob = malloc(n + 8);
            if (!blob) abort();
            uint64_t length = n;
            memcpy(blob, &length, 8);
            memcpy(blob + 8, text, n);
            seal(&s);
            ig_named_bytes files[] = {
                {"config.json", (const uint8_t *)(as == 0 ? text : s.config), as == 0 ? n : strlen(s.config)},
                {"model.safetensors", as == 1 ? blob : s.blob, as == 1 ? n + 8 : s.blob_bytes},
                {"tokenizer_config.json", (const uint8_t *)text, as == 2 ? n : 0}};
            (void)ig_format_open_hf_memory("tiny", files, as == 2 ? 3 : 2, &f, &err);
            CHECK(as == 2 || (!f && err.text[0]));
            free(blob);
            small_close(&s, f);
        }
    }
    free(text);
}

/* S09: as many tensors as may be, and one more; the limit is seen before memory for them is taken. */
static void test_S09_many(void)
{
    enum { N = 200000 };
    small s;
    ig_format *f = NULL;
    ig_error err;
    small_init(&s);
    char *text = malloc((size_t)N * 80 + 64);
    if (!text) abort();
    size_t n = 8;
    n += (size_t)sprintf(text + n, "{");
    for (int i = 0; i < N; i++)
        n += (size_t)sprintf(text + n, "\"model.vision.%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]},",
                             i, i, i + 1);
    text[n - 1] = '}';
    uint64_t length = n - 8;
    memcpy(text, &length, 8);
    s.blob = realloc(text, n + N);
    if (!s.blob) abort();
    s.blob_bytes = n + N;
    memset(s.blob + n, 0, N);
    CHECK(open_files(&s, &f, &err) == IG_BAD_INPUT && strstr(err.text, "model.vision.0"));
    small_close(&s, f);
}

/* Experts: a layer has all of them, each once, of one shape. */
static void test_experts(void)
{
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"", "", NULL},
        {"experts.1.up", "experts.2.up", "expert 2, expected one of the first 2"},
        {"experts.1.up", "experts.0.up", "duplicate"},
        {"experts.1.up_proj", "experts.1.gate_proj", "lack experts"},
        {"\"shape\":[4,8],\"data_offsets\":[64", "\"shape\":[8,4],\"data_offsets\":[64", "another shape"},
        {"\"BF16\",\"shape\":[4,8],\"data_offsets\":[64", "\"F16\",\"shape\":[4,8],\"data_offsets\":[64",
         "another shape"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        small s;
        ig_format *f = NULL;
        ig_error err;
        small_init(&s);
        SET(&s, config, "\"llama\"",
            "\"qwen3_moe\", \"num_experts\": 2, \"num_experts_per_tok\": 1, \"moe_intermediate_size\": 4, "
            "\"norm_topk_prob\": true, \"head_dim\": 4");
        SET(&s, config, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
        strcpy(s.header, "{");
        s.data_bytes = 0;
        add(&s, "model.layers.0.mlp.experts.0.up_proj.weight", "BF16", 4, 8);
        add(&s, "model.layers.0.mlp.experts.1.up_proj.weight", "BF16", 4, 8);
        SET(&s, header, cases[i].from, cases[i].to);
        seal(&s);
        ig_status st = open_files(&s, &f, &err);
        if (!cases[i].words) {
            const ig_tensor *t = f ? ig_format_tensor(f, "blk.0.ffn_up_exps.weight") : NULL;
            CHECK(t && !t->data && t->n_dims == 3 && t->ne[0] == 8 && t->ne[1] == 4 && t->ne[2] == 2);
            CHECK(t && t->parts[1] == t->parts[0] + 64 && t->n_bytes == 128);
        } else {
            CHECK(st != IG_OK && strstr(err.text, cases[i].words));
            if (!strstr(err.text, cases[i].words)) printf("# %s\n", err.text);
        }
        small_close(&s, f);
    }
}

static void test_missing_experts(void)
{
    static const char *const changes[][2] = {{"\"num_experts\": 2", "\"num_experts\": 3"},
                                             {"\"num_experts\": 2", "\"num_experts\": 16777216"},
                                             {"true", "false"}};
    for (size_t i = 0; i < 3; i++) {
        small s;
        ig_format *f = NULL;
        ig_error err;
        small_init(&s);
        SET(&s, config, NULL,
            "{\"model_type\": \"qwen3_moe\", \"norm_topk_prob\": true, \"num_experts\": 2, \"num_experts_per_tok\": 1, "
            "\"moe_intermediate_size\": 4, \"hidden_size\": 8, \"intermediate_size\": 12, \"num_hidden_layers\": 1, "
            "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"vocab_size\": 6, \"max_position_embeddings\": "
            "64}");
        SET(&s, config, changes[i][0], changes[i][1]);
        strcpy(s.header, "{");
        s.data_bytes = 0;
        add(&s, "lm_head.weight", "BF16", 6, 8);
        for (int e = 0; e < 3; e++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.0.mlp.experts.%d.%s_proj.weight", e / 2, e % 2 ? "up" : "down");
            add(&s, name, "BF16", 4, 8);
        }
        seal(&s);
        CHECK(open_files(&s, &f, &err) != IG_OK && strstr(err.text, i == 2 ? "norm_topk_prob" : "lack expert"));
        if (!strstr(err.text, i == 2 ? "norm_topk_prob" : "lack expert")) printf("# %s\n", err.text);
        small_close(&s, f);
    }
}

/* ------------------------------------------------------------------------------------------------ on disk */

static char dir[] = "/tmp/ingle-hf-XXXXXX";

static void write_file(const char *name, const void *data, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) abort();
}

static void remove_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static void test_S10_pickle(void)
{
    ig_format *f = NULL;
    ig_error err;
    CHECK(ig_format_open(dir, &f, &err) == IG_BAD_INPUT && strstr(err.text, "config.json"));
    write_file("config.json", small_config, strlen(small_config));
    CHECK(ig_format_open(dir, &f, &err) == IG_BAD_INPUT && strstr(err.text, "neither model.safetensors"));
    write_file("pytorch_model.bin", "PK", 2);
    CHECK(ig_format_open(dir, &f, &err) == IG_UNSUPPORTED && strstr(err.text, "never opened"));
    CHECK(!f);
    remove_file("pytorch_model.bin");
    remove_file("config.json");
}

/* What is no regular file is refused at once: a pipe would never end. */
static void test_no_regular_file(void)
{
    char path[256];
    ig_format *f = NULL;
    ig_error err;
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK(ig_format_open(dir, &f, &err) == IG_BAD_INPUT && strstr(err.text, "no regular file"));
    unlink(path);
    CHECK(mkdir(path, 0700) == 0);
    CHECK(ig_format_open(path, &f, &err) == IG_BAD_INPUT && strstr(err.text, "a directory"));
    rmdir(path);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    CHECK(ig_format_open(path, &f, &err) == IG_UNSUPPORTED && strstr(err.text, "expected the directory") && !f);
}

/* M16, M17: call k of each kind fails, k = 1, 2, ... until the open succeeds. */
static void torture(ig_fault_kind kind, int err_no, bool sticky)
{
    bool over = false;
    for (uint64_t k = 1; k < 1000 && !over; k++) {
        ig_format *f = NULL;
        ig_error err = {0};
        ig_fault_set(kind, k, err_no, sticky);
        ig_status st = ig_format_open(dir, &f, &err);
        over = ig_fault_calls(kind) < k;
        ig_fault_reset();
        CHECK(over == (st == IG_OK) && (f != NULL) == (st == IG_OK));
        CHECK(st == IG_OK || (err.text[0] && err.status == st));
        ig_format_close(f);
    }
    CHECK(over);
}

static void test_M16_torture(void)
{
    static const struct {
        ig_fault_kind kind;
        int err_no;
    } kinds[] = {{IG_FAULT_ALLOC, ENOMEM}, {IG_FAULT_OPEN, EMFILE}, {IG_FAULT_MAP, ENOMEM}};
    static const char tokenizer[] = "{\"chat_template\": \"a\\u0062c\"}";
    for (int sharded = 0; sharded < 2; sharded++) {
        small s;
        small_init(&s);
        if (sharded) add_index(&s);
        seal(&s);
        write_file("config.json", s.config, strlen(s.config));
        write_file("tokenizer_config.json", tokenizer, strlen(tokenizer));
        write_file("tokenizer.json", "{}", 2);
        if (sharded) write_file("model.safetensors.index.json", s.index, strlen(s.index));
        write_file(sharded ? "model-a.safetensors" : "model.safetensors", s.blob, (size_t)s.blob_bytes);
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            torture(kinds[i].kind, kinds[i].err_no, false);
            torture(kinds[i].kind, kinds[i].err_no, true);
        }
        remove_file("model.safetensors");
        small_close(&s, NULL);
    }
    remove_file("config.json");
    remove_file("tokenizer_config.json");
    remove_file("tokenizer.json");
    remove_file("model.safetensors.index.json");
    remove_file("model-a.safetensors");
}

int main(void)
{
    if (!mkdtemp(dir)) return 2;
    for (uint32_t i = 0; i < sizeof directories / sizeof *directories; i++) check_directory(i);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) check_hostile(&hostile[i]);
#define RUN(test) run(#test, test)
    RUN(test_paths);
    RUN(test_same_view_as_gguf);
    RUN(test_small_model);
    RUN(test_defaults_and_nulls);
    RUN(test_tied_output);
    RUN(test_ignorable_tensors);
    RUN(test_llama3_factors);
    RUN(test_yarn_and_linear);
    RUN(test_longrope);
    RUN(test_gemma3_with_vision);
    RUN(test_windows);
    RUN(test_templates_and_ids);
    RUN(test_pooling);
    RUN(test_classifier);
    RUN(test_J02_limits);
    RUN(test_shards);
    RUN(test_experts);
    RUN(test_missing_experts);
    RUN(test_S01_lengths);
    RUN(test_S01_truncated);
    RUN(test_J08_floods);
    RUN(test_S09_many);
    RUN(test_S10_pickle);
    RUN(test_no_regular_file);
    RUN(test_M16_torture);
    rmdir(dir);
    return tap_done();
}
