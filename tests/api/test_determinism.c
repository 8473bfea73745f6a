/* Design, promise 3: on one kernel level logits are bit-identical for any chunking, batch composition and thread count.
 * The truth of a case is one run with 1 thread and the whole prompt in one step; every other way must give the same
 * bits. Arguments: the models to take, all without any. */
#include <unistd.h>

#include "ingle.h"
#include "tests/levels.h"
#include "tests/tap.h"

enum { N = 140, /* more than two KV pages */ OTHERS = 3 };

static const uint32_t chunks[] = {1, 7, 16, 512};
static const struct {
    const char *name;
    ingle_kv_type type;
} kvs[] = {{"f32", INGLE_KV_F32}, {"f16", INGLE_KV_F16}, {"q8_0", INGLE_KV_Q8_0}};

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

typedef struct setting {
    const ingle_model *m;
    ingle_kv_type kv;
    uint32_t n_threads, chunk;
    bool others; /* three more sessions in every step */
    uint32_t n_tokens, n_ctx, n_vocab;
    const int32_t *tokens;
} setting;

/* Runs the prompt in the given way and writes logits [n_tokens, n_vocab]. Other sessions take chunks of changing sizes
 * before and behind the one that is looked at; they start over when they are full. */
static bool compute(const setting *w, float *out, ingle_error *err)
{
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = w->n_threads,
                              .n_ctx = w->n_ctx,
                              .n_batch = 1024,
                              .n_sessions = 1 + OTHERS,
                              .n_logits = 1024,
                              .kv = w->kv};
    ingle_engine *e = NULL;
    ingle_session *s[1 + OTHERS] = {0};
    uint32_t seed = 7 + w->chunk, done = 0;
    bool ok = ingle_engine_new(w->m, &o, &e, err) == INGLE_OK;
    for (int i = 0; ok && i <= OTHERS; i++) ok = ingle_session_new(e, &s[i], err) == INGLE_OK;
    while (ok && done < w->n_tokens) {
        int32_t noise[OTHERS][40];
        ingle_step_item it[1 + OTHERS];
        size_t n = 0, mine = 0;
        for (int i = 0; i <= OTHERS; i++) {
            bool me = i == (int)(done % (1 + OTHERS));
            if (me) {
                uint32_t left = w->n_tokens - done, c = w->chunk < left ? w->chunk : left;
                mine = n;
                it[n++] = (ingle_step_item){
                    .session = s[0], .tokens = w->tokens + done, .n_tokens = c, .want = INGLE_WANT_ALL};
                continue;
            }
            int k = i == 0 ? (int)(done % (1 + OTHERS)) : i; /* the other three, in changing places */
            if (!w->others || k == 0) continue;
            uint32_t c = 1 + next_random(&seed) % (w->chunk < 16 ? 4 : 40);
            for (uint32_t t = 0; t < c; t++) noise[k - 1][t] = (int32_t)(next_random(&seed) % w->n_vocab);
            if (ingle_session_length(s[k]) + c > 512) ingle_session_truncate(s[k], 3);
            it[n++] =
                (ingle_step_item){.session = s[k], .tokens = noise[k - 1], .n_tokens = c, .want = INGLE_WANT_LAST};
        }
        ok = ingle_engine_step(e, it, n, err) == INGLE_OK;
        if (!ok) break;
        memcpy(out + (size_t)done * w->n_vocab, it[mine].logits, (size_t)it[mine].n_tokens * w->n_vocab * sizeof *out);
        done += it[mine].n_tokens;
    }
    for (int i = 0; i <= OTHERS; i++) ingle_session_free(s[i]);
    ingle_engine_free(e);
    return ok;
}

/* Under a sanitizer races and overreads are looked for, not all combinations: chunks 7 and 512, one KV type.
 * The reference level is plain scalar code: fewer tokens there. */
static void check(const char *file, const char *level, const ingle_model *m, ingle_kv_type kv, const char *kv_name)
{
    ingle_model_info info;
    ingle_model_describe(m, &info);
    int32_t tokens[N];
    uint32_t seed = 1, most = strcmp(level, "ref") && !tap_sanitized ? N : 70;
    uint32_t n_tokens = info.n_ctx_train < most ? info.n_ctx_train : most;
    for (int i = 0; i < N; i++) tokens[i] = (int32_t)(next_random(&seed) % info.n_vocab);
    size_t bytes = (size_t)n_tokens * info.n_vocab * sizeof(float);
    float *want = malloc(bytes), *have = malloc(bytes);
    ingle_error err = {0};
    setting w = {m, kv, 1, 512, false, n_tokens, 512, info.n_vocab, tokens};
    if (!want || !have || !compute(&w, want, &err))
        tap_ok(false, "%s %s %s: %s", file, level, kv_name, err.text);
    else {
        for (uint32_t threads = 1; threads <= 3; threads++)
            for (size_t c = tap_sanitized; c < sizeof chunks / sizeof *chunks; c += 1 + tap_sanitized) {
                bool others = (threads + c) % 2 == 0; /* so that each two of the three meet in every way */
                w = (setting){m, kv, threads, chunks[c], others, n_tokens, 512, info.n_vocab, tokens};
                bool ok = compute(&w, have, &err);
                tap_ok(ok && !memcmp(want, have, bytes), "%s %s kv %s: %u threads, chunk %u%s%s", file, level, kv_name,
                       threads, chunks[c], others ? ", beside three others" : "", ok ? "" : err.text);
            }
    }
    free(want);
    free(have);
}

/* These differ from the level before in products of quantised weights alone. */
static bool is_products_alone(const char *level) { return !strcmp(level, "avxvnni") || !strncmp(level, "amx", 3); }

static void check_file(const char *path, const char *name, bool q8_0)
{
    bool quantised = !strstr(name, "f16.gguf") && strcmp(name, "stories260K.gguf");
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        size_t n_kvs = tap_sanitized || is_products_alone(levels[l]) ? 1 : q8_0 ? 3 : 2;
        if (!level_wanted(levels[l]) || (!quantised && is_products_alone(levels[l]))) continue;
        ingle_error err = {0};
        ingle_model *m;
        ingle_model_options o = {.size = sizeof o, .kernels = levels[l]};
        ingle_status st = ingle_model_open(path, &o, &m, &err);
        if (st == INGLE_UNSUPPORTED && strstr(err.text, "CPU"))
            tap_skip(name, "%s", err.text);
        else if (st != INGLE_OK)
            tap_ok(false, "%s %s opens: %s", name, levels[l], err.text);
        else
            for (size_t k = 0; k < n_kvs; k++) check(name, levels[l], m, kvs[k].type, kvs[k].name);
        if (st == INGLE_OK) ingle_model_close(m);
    }
}

/* A copy of the file whose model was trained on 4,096 tokens, at `to`. */
static bool stretch(const char *path, char *to)
{
    static const char key[] = ".context_length";
    FILE *in = fopen(path, "rb");
    int fd = mkstemp(to);
    char *all = NULL;
    size_t n = 0;
    bool ok = in && fd >= 0 && !fseek(in, 0, SEEK_END) && (n = (size_t)ftell(in)) > 0 && (all = malloc(n)) != NULL;
    ok = ok && !fseek(in, 0, SEEK_SET) && fread(all, 1, n, in) == n;
    char *at = ok ? memmem(all, n, key, strlen(key)) : NULL;
    const uint32_t type_and_value[2] = {4, 4096}; /* u32 */
    ok = at && !memcmp(at + strlen(key), type_and_value, sizeof *type_and_value);
    if (ok) memcpy(at + strlen(key), type_and_value, sizeof type_and_value);
    ok = ok && write(fd, all, n) == (ssize_t)n;
    if (in) fclose(in);
    if (fd >= 0) close(fd);
    free(all);
    return ok;
}

/* Attention over several of its spans (IG_SPAN_PAGES), which eight threads share where there is a single row. */
static void check_long(const char *path, const char *name)
{
    enum { LONG = 2100, CTX = 2304, AS_TRUTH = 1024 };
    static const struct {
        uint32_t threads, chunk;
    } ways[] = {{8, 1}, {2, 1}, {8, 333}};
    ingle_error err = {0};
    ingle_model *m;
    ingle_model_options o = {.size = sizeof o};
    char long_path[] = "/tmp/ingle-long-XXXXXX";
    bool opens = stretch(path, long_path) && ingle_model_open(long_path, &o, &m, &err) == INGLE_OK;
    (void)unlink(long_path);
    if (!opens) {
        tap_ok(false, "%s with a longer context opens: %s", name, err.text);
        return;
    }
    ingle_model_info info;
    ingle_model_describe(m, &info);
    int32_t tokens[LONG];
    uint32_t seed = 5;
    for (int i = 0; i < LONG; i++) tokens[i] = (int32_t)(next_random(&seed) % info.n_vocab);
    size_t bytes = (size_t)LONG * info.n_vocab * sizeof(float);
    float *want = malloc(bytes), *have = malloc(bytes);
    setting w = {m, INGLE_KV_F16, 1, AS_TRUTH, false, LONG, CTX, info.n_vocab, tokens};
    bool ok = want && have && compute(&w, want, &err);
    if (!ok) tap_ok(false, "%s, %d tokens: %s", name, LONG, err.text);
    for (size_t i = 0; ok && i < (tap_sanitized ? 1 : sizeof ways / sizeof *ways); i++) {
        w.n_threads = ways[i].threads;
        w.chunk = ways[i].chunk;
        bool same = compute(&w, have, &err) && !memcmp(want, have, bytes);
        tap_ok(same, "%s, %d tokens: %u threads, chunk %u %s", name, LONG, w.n_threads, w.chunk, err.text);
    }
    free(want);
    free(have);
    ingle_model_close(m);
}

static bool asked_for(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name)) return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    static const char *const own[] = {"stories260K.gguf", "stories260K.q8_0.gguf", "stories260K.q4_0.gguf",
                                      "archs/llama-moe.gguf", "archs/mistral3.gguf"};
    static const char *const golden[] = {"quants/models/q4_k_m.gguf", "quants/models/q6_k.gguf",
                                         "quants/models/bf16.gguf", "quants/models/f16.gguf"};
    char path[1024];
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (!asked_for(argc, argv, own[i])) continue;
        (void)snprintf(path, sizeof path, "%s/%s", tap_data(), own[i]);
        check_file(path, own[i], i == 0);
    }
    for (size_t i = 0; i < sizeof golden / sizeof *golden && !tap_sanitized; i++) {
        if (!asked_for(argc, argv, golden[i])) continue;
        (void)snprintf(path, sizeof path, "%s/%s", tap_golden(), golden[i]);
        FILE *f = fopen(path, "rb");
        if (!f)
            tap_skip(golden[i], "no reference data in %s", tap_golden());
        else {
            fclose(f);
            check_file(path, golden[i], false);
        }
    }
    /* windows, latent attention, chosen blocks, none of these */
    static const char *const long_ones[] = {"archs/gemma3.gguf", "archs/deepseek2.gguf", "archs/glm-dsa.gguf",
                                            "stories260K.gguf"};
    for (size_t i = 0; i < sizeof long_ones / sizeof *long_ones; i += 1 + tap_sanitized) {
        if (argc > 1 && !asked_for(argc, argv, "long")) continue;
        (void)snprintf(path, sizeof path, "%s/%s", tap_data(), long_ones[i]);
        check_long(path, long_ones[i]);
    }
    return tap_done();
}
