/* The memory that `ingle show` predicts against what a run of a full context takes, on ten architectures with shapes
 * of about a billion parameters: KV pages or recurrent state, workspace and logits within 5 %, mapped weights exactly.
 * The files are sparse (all weights zero), so making them costs nothing. */
#include <sys/wait.h>
#include <unistd.h>

#include "ingle.h"
#include "tests/tap.h"

/* Keys: NAME=number, f in front: a float; NAME=a,b,..: an array for the layers, repeated. Tensors: NAME:dims, *: all
 * layers, /N: layers l with (l + 1) % N == 0, !N: the others. Dims in GGUF order. */
typedef struct row {
    const char *arch;
    unsigned n_layers;
    const char *keys, *tensors;
} row;

#define LLAMA_ATTENTION                                                                                                \
    "*attn_norm:2048 *attn_q:2048,2048 *attn_k:2048,512 *attn_v:2048,512 *attn_output:2048,2048 *ffn_norm:2048 "
#define LLAMA_FFN "*ffn_gate:2048,5632 *ffn_up:2048,5632 *ffn_down:5632,2048 "
#define MODEL "token_embd:2048,32000 output_norm:2048 "
#define EXPERTS(ff, e)                                                                                                 \
    "*ffn_gate_inp:2048," e " *ffn_gate_exps:2048," ff "," e " *ffn_up_exps:2048," ff "," e " *ffn_down_exps:" ff      \
    ",2048," e " "
#define HEADS "attention.head_count=32 attention.head_count_kv=8 feed_forward_length=5632 attention.layer_norm_rms_epsilon=f1e-5 "

static const row rows[] = {
    {"llama", 16, HEADS "rope.dimension_count=64", MODEL LLAMA_ATTENTION LLAMA_FFN},
    {"qwen3", 16, HEADS "attention.key_length=64 attention.value_length=64",
     MODEL LLAMA_ATTENTION LLAMA_FFN "*attn_q_norm:64 *attn_k_norm:64"},
    {"gemma3", 18, HEADS "attention.sliding_window=96",
     MODEL LLAMA_ATTENTION LLAMA_FFN "*attn_q_norm:64 *attn_k_norm:64 *post_attention_norm:2048 *post_ffw_norm:2048"},
    {"qwen3moe", 8, HEADS "expert_count=32 expert_used_count=8 expert_feed_forward_length=768",
     MODEL LLAMA_ATTENTION EXPERTS("768", "32") "*attn_q_norm:64 *attn_k_norm:64"},
    {"gpt-oss", 8, HEADS "expert_count=32 expert_used_count=4 attention.sliding_window=128",
     MODEL "*attn_norm:2048 *attn_q:2048,2048 *attn_k:2048,512 *attn_v:2048,512 *attn_output:2048,2048 "
           "*post_attention_norm:2048 *attn_sinks:32 " EXPERTS("5632", "32")},
    {"deepseek2", 12,
     "attention.head_count=16 attention.head_count_kv=1 feed_forward_length=5632 attention.layer_norm_rms_epsilon=f1e-5 "
     "rope.dimension_count=64 attention.q_lora_rank=768 attention.kv_lora_rank=512 attention.key_length=576 "
     "attention.value_length=512 attention.key_length_mla=192 attention.value_length_mla=128",
     MODEL "*attn_norm:2048 *ffn_norm:2048 *attn_q_a:2048,768 *attn_q_a_norm:768 *attn_q_b:768,3072 "
           "*attn_kv_a_mqa:2048,576 *attn_kv_a_norm:512 *attn_k_b:128,512,16 *attn_v_b:512,128,16 "
           "*attn_output:2048,2048 " LLAMA_FFN},
    {"mamba2", 24,
     "attention.layer_norm_rms_epsilon=f1e-5 feed_forward_length=0 ssm.conv_kernel=4 ssm.inner_size=4096 "
     "ssm.state_size=128 ssm.time_step_rank=64 ssm.group_count=1",
     MODEL "*attn_norm:2048 *ssm_in:2048,8512 *ssm_conv1d:4,4352 *ssm_conv1d.bias:4352 *ssm_dt.bias:64 *ssm_a:1,64 "
           "*ssm_d:1,64 *ssm_norm:4096 *ssm_out:4096,2048"},
    {"falcon-h1", 12,
     HEADS "ssm.conv_kernel=4 ssm.inner_size=2048 ssm.state_size=128 ssm.time_step_rank=32 ssm.group_count=1",
     MODEL LLAMA_ATTENTION LLAMA_FFN "*ssm_in:2048,4384 *ssm_conv1d:4,2304 *ssm_conv1d.bias:2304 *ssm_dt.bias:32 "
                                     "*ssm_a:1,32 *ssm_d:1,32 *ssm_norm:2048 *ssm_out:2048,2048"},
    {"lfm2", 16,
     "attention.head_count=32 attention.head_count_kv=0,0,8,0 feed_forward_length=5632 "
     "attention.layer_norm_rms_epsilon=f1e-5 shortconv.l_cache=3",
     "token_embd:2048,32000 token_embd_norm:2048 *attn_norm:2048 *ffn_norm:2048 " LLAMA_FFN
     "!4attn_dummy:0 %2attn_q:2048,2048 %2attn_k:2048,512 %2attn_v:2048,512 %2attn_output:2048,2048 %2attn_q_norm:64 "
     "%2attn_k_norm:64 ^2shortconv.in_proj:2048,6144 ^2shortconv.conv:3,2048 ^2shortconv.out_proj:2048,2048"},
    {"qwen3next", 8,
     "attention.head_count=16 attention.head_count_kv=2 feed_forward_length=5632 attention.layer_norm_rms_epsilon=f1e-6 "
     "attention.key_length=256 attention.value_length=256 rope.dimension_count=64 ssm.conv_kernel=4 "
     "ssm.inner_size=4096 ssm.state_size=128 ssm.time_step_rank=32 ssm.group_count=16 full_attention_interval=4",
     MODEL "*attn_norm:2048 *post_attention_norm:2048 " LLAMA_FFN
           "/4attn_q:2048,8192 /4attn_k:2048,512 /4attn_v:2048,512 /4attn_output:4096,2048 /4attn_q_norm:256 "
           "/4attn_k_norm:256 !4attn_qkv:2048,8192 !4attn_gate:2048,4096 !4ssm_ba:2048,64 !4ssm_conv1d:4,8192 "
           "!4ssm_dt.bias:32 !4ssm_a:32 !4ssm_norm:128 !4ssm_out:4096,2048"},
};

typedef struct writer {
    FILE *f;
    uint64_t n_meta, n_tensors, offset;
    char *meta, *tensors; /* memory streams */
    size_t n_meta_bytes, n_tensor_bytes;
} writer;

static void put(FILE *f, uint64_t v, size_t n) { fwrite(&v, 1, n, f); }

static void put_text(FILE *f, const char *s)
{
    put(f, strlen(s), 8);
    fputs(s, f);
}

static void put_number(FILE *f, const char *text)
{
    float x;
    if (*text != 'f') {
        put(f, strtoul(text, NULL, 10), 4);
        return;
    }
    x = strtof(text + 1, NULL);
    fwrite(&x, 1, 4, f);
}

static void put_key(writer *w, FILE *f, const row *r, const char *key, const char *value)
{
    char full[128];
    const char *values[64] = {value};
    size_t n = 1;
    (void)snprintf(full, sizeof full, "%s.%s", r->arch, key);
    put_text(f, full);
    w->n_meta++;
    for (const char *p = strchr(value, ','); p && n < 64; p = strchr(p + 1, ',')) values[n++] = p + 1;
    if (n == 1) {
        put(f, *value == 'f' ? 6 : 4, 4);
        put_number(f, value);
        return;
    }
    put(f, 9, 4);
    put(f, 4, 4);
    put(f, r->n_layers, 8);
    for (unsigned l = 0; l < r->n_layers; l++) put_number(f, values[l % n]);
}

static bool in_layer(char rule, unsigned n, unsigned l)
{
    switch (rule) {
    case '*': return true;
    case '/': return (l + 1) % n == 0;
    case '!': return (l + 1) % n != 0;
    case '%': return l % 4 == n;
    default: return l % 4 != n; /* '^' */
    }
}

/* Matrices are Q8_0, small tensors F32. */
static void put_tensor(writer *w, FILE *f, const char *name, const char *dims)
{
    uint64_t ne[3] = {0}, n = 1;
    uint32_t n_dims = 0;
    for (char *p = (char *)dims; n_dims < 3; p++) {
        ne[n_dims] = strtoull(p, &p, 10);
        n *= ne[n_dims++];
        if (*p != ',') break;
    }
    bool matrix = n_dims > 1 && ne[0] % 32 == 0 && !strstr(name, "ssm_a") && !strstr(name, "ssm_d");
    bool suffix = !strstr(name, ".bias") && !strstr(name, "ssm_a") && !strstr(name, "ssm_d");
    char full[128];
    (void)snprintf(full, sizeof full, "%s%s", name, suffix ? ".weight" : "");
    put_text(f, full);
    put(f, n_dims, 4);
    for (uint32_t d = 0; d < n_dims; d++) put(f, ne[d], 8);
    put(f, matrix ? 8 : 0, 4);
    put(f, w->offset, 8);
    w->offset += (matrix ? n / 32 * 34 : n * 4);
    w->offset = (w->offset + 31) / 32 * 32;
    w->n_tensors++;
}

static void put_row_tensors(writer *w, FILE *f, const row *r)
{
    char text[4096], *save = NULL;
    (void)snprintf(text, sizeof text, "%s", r->tensors);
    for (char *t = strtok_r(text, " ", &save); t; t = strtok_r(NULL, " ", &save)) {
        char *dims = strchr(t, ':'), rule = *t, name[128];
        unsigned n = (unsigned)(t[1] - '0');
        *dims++ = 0;
        if (*dims == '0') continue;
        if (!strchr("*/!%^", rule)) {
            put_tensor(w, f, t, dims);
            continue;
        }
        for (unsigned l = 0; l < r->n_layers; l++) {
            if (!in_layer(rule, n, l)) continue;
            (void)snprintf(name, sizeof name, "blk.%u.%s", l, t + (rule == '*' ? 1 : 2));
            put_tensor(w, f, name, dims);
        }
    }
}

static bool write_model(const row *r, const char *path)
{
    writer w = {0};
    char text[2048], *save = NULL, layers[16];
    FILE *meta = open_memstream(&w.meta, &w.n_meta_bytes), *tensors = open_memstream(&w.tensors, &w.n_tensor_bytes);
    put_text(meta, "general.architecture");
    put(meta, 8, 4);
    put_text(meta, r->arch);
    w.n_meta++;
    (void)snprintf(layers, sizeof layers, "%u", r->n_layers);
    put_key(&w, meta, r, "block_count", layers);
    put_key(&w, meta, r, "context_length", "4096");
    put_key(&w, meta, r, "embedding_length", "2048");
    (void)snprintf(text, sizeof text, "%s", r->keys);
    for (char *k = strtok_r(text, " ", &save); k; k = strtok_r(NULL, " ", &save)) {
        char *value = strchr(k, '=');
        *value++ = 0;
        put_key(&w, meta, r, k, value);
    }
    put_row_tensors(&w, tensors, r);
    fclose(meta);
    fclose(tensors);
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    fputs("GGUF", f);
    put(f, 3, 4);
    put(f, w.n_tensors, 8);
    put(f, w.n_meta, 8);
    fwrite(w.meta, 1, w.n_meta_bytes, f);
    fwrite(w.tensors, 1, w.n_tensor_bytes, f);
    long at = (ftell(f) + 31) / 32 * 32;
    free(w.meta);
    free(w.tensors);
    return fclose(f) == 0 && truncate(path, at + (long)w.offset) == 0;
}

static uint64_t anonymous(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}

/* In a process of its own: memory of one model says nothing about the next. */
static int measure(const row *r, const char *path)
{
    enum { N = 320 };
    static int32_t tokens[N];
    ingle_error err = {0};
    ingle_model *m;
    ingle_engine *e = NULL;
    ingle_session *s = NULL;
    ingle_memory need;
    for (int i = 0; i < N; i++) tokens[i] = i * 7 % 1000;
    bool ok = !ingle_model_open(path, NULL, &m, &err) && !ingle_model_memory(m, N, INGLE_KV_F16, &need, &err);
    uint64_t before = anonymous();
    ingle_engine_options o = {.size = sizeof o, .n_ctx = N};
    ok = ok && !ingle_engine_new(m, &o, &e, &err) && !ingle_session_new(e, &s, &err) &&
         !ingle_session_feed(s, tokens, N, &err);
    if (!ok) {
        printf("# %s: %s\n", r->arch, err.text);
        return 1;
    }
    double have = (double)(anonymous() - before), want = (double)(need.kv + need.workspace + 2 * need.logits);
    printf("# %-10s weights %.0f MiB, KV %.1f, workspace %.1f MiB: predicted %.1f, taken %.1f MiB (%+.1f %%)\n", r->arch,
           (double)need.weights / (1 << 20), (double)need.kv / (1 << 20), (double)need.workspace / (1 << 20),
           want / (1 << 20), have / (1 << 20), 100 * (have / want - 1));
    fflush(stdout);
    return have < want * 1.05 && have > want * 0.95 ? 0 : 1;
}

int main(void)
{
    const char *build = getenv("INGLE_BUILD");
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/prediction.gguf", build ? build : "build");
    if (tap_sanitized) {
        tap_skip("predicted memory", "sanitizers change what memory a process takes");
        return tap_done();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status = 1;
        bool written = write_model(&rows[i], path);
        fflush(stdout);
        pid_t pid = written ? fork() : -1;
        if (pid == 0) _exit(measure(&rows[i], path));
        tap_ok(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "%s: memory as predicted", rows[i].arch);
    }
    unlink(path);
    return tap_done();
}
