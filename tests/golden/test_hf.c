/* Hugging Face directories against a float64 forward pass by their own definitions (golden/hf): relative RMS of all
 * logits at most 1e-5 and every argmax equal, on every kernel level, in one chunk and in uneven ones, which must agree
 * in every bit. */
#include <math.h>

#include "ingle.h"
#include "tests/levels.h"
#include "tests/tap.h"

enum { TOKENS = 48, VOCAB = 384 };
#define RMS_MAX 1e-5

static const char *const directories[] = {"llama",  "mistral", "qwen2", "qwen3",      "qwen3_moe",
                                          "gemma2", "gemma3",  "phi3",  "minimax_m2"}; /* bert: test_embeddings */

typedef struct golden {
    int32_t tokens[TOKENS];
    float *logits; /* [TOKENS, VOCAB] */
} golden;

static bool read_golden(const char *name, golden *g)
{
    char path[1024];
    size_t n, n_tokens = 0;
    snprintf(path, sizeof path, "%s/hf/%s/tokens.txt", tap_golden(), name);
    char *text = tap_read(path, &n);
    for (char *at = text; at && *at && n_tokens < TOKENS; n_tokens++) {
        g->tokens[n_tokens] = (int32_t)strtol(at, &at, 10);
        at += *at == ',';
    }
    free(text);
    snprintf(path, sizeof path, "%s/hf/%s/logits.f32", tap_golden(), name);
    g->logits = tap_read(path, &n);
    return n_tokens == TOKENS && g->logits && n == sizeof(float) * TOKENS * VOCAB;
}

static size_t argmax(const float *x)
{
    size_t best = 0;
    for (size_t i = 1; i < VOCAB; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static double relative_rms(const float *have, const float *want, size_t *n_wrong)
{
    double error = 0, all = 0;
    *n_wrong = 0;
    for (size_t i = 0; i < TOKENS * VOCAB; i++) {
        double d = isfinite(have[i]) ? (double)have[i] - (double)want[i] : INFINITY;
        error += d * d;
        all += (double)want[i] * (double)want[i];
    }
    for (size_t p = 0; p < TOKENS; p++) *n_wrong += argmax(have + p * VOCAB) != argmax(want + p * VOCAB);
    return sqrt(error / all);
}

/* Logits of all tokens, fed in steps of `first` and then `step` tokens. */
static bool evaluate(ingle_engine *engine, const golden *g, uint32_t first, uint32_t step, float *out, ingle_error *err)
{
    ingle_session *s = NULL;
    ingle_status st = ingle_session_new(engine, &s, err);
    for (uint32_t at = 0, n = first; st == INGLE_OK && at < TOKENS; at += n, n = step) {
        if (n > TOKENS - at) n = TOKENS - at;
        ingle_step_item item = {.session = s, .tokens = g->tokens + at, .n_tokens = n, .want = INGLE_WANT_ALL};
        st = ingle_engine_step(engine, &item, 1, err);
        if (st == INGLE_OK) memcpy(out + at * VOCAB, item.logits, (size_t)n * VOCAB * sizeof *out);
    }
    ingle_session_free(s);
    return st == INGLE_OK;
}

static void check_engine(ingle_engine *engine, const char *name, const char *level, const golden *g)
{
    static const uint32_t cuts[][2] = {{1, 1}, {5, 17}, {47, 1}};
    static float whole[TOKENS * VOCAB], cut[TOKENS * VOCAB];
    ingle_error err = {0};
    size_t n_wrong;
    if (!evaluate(engine, g, TOKENS, TOKENS, whole, &err)) {
        tap_ok(false, "%s %s # %s", name, level, err.text);
        return;
    }
    double rms = relative_rms(whole, g->logits, &n_wrong);
    tap_ok(rms <= RMS_MAX && n_wrong == 0, "%s %s: relative RMS %.2e, %zu wrong argmax", name, level, rms, n_wrong);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
        tap_ok(evaluate(engine, g, cuts[i][0], cuts[i][1], cut, &err) && !memcmp(whole, cut, sizeof whole),
               "%s %s: chunks of %u, then %u give the same bits", name, level, cuts[i][0], cuts[i][1]);
}

static void check_level(const char *name, const char *level, const golden *g)
{
    char path[1024], title[64];
    ingle_error err = {0};
    ingle_model *m = NULL;
    ingle_engine *engine = NULL;
    ingle_model_options mo = {.size = sizeof mo, .kernels = level};
    ingle_engine_options eo = {.size = sizeof eo, .n_threads = 2, .n_ctx = 256, .kv = INGLE_KV_F32, .n_logits = TOKENS};
    snprintf(path, sizeof path, "%s/hf/%s", tap_golden(), name);
    snprintf(title, sizeof title, "%s %s", name, level);
    ingle_status st = ingle_model_open(path, &mo, &m, &err);
    if (st == INGLE_UNSUPPORTED && strstr(err.text, "CPU"))
        tap_skip(title, "%s", err.text);
    else if (st != INGLE_OK || ingle_engine_new(m, &eo, &engine, &err) != INGLE_OK)
        tap_ok(false, "%s # %s", title, err.text);
    else
        check_engine(engine, name, level, g);
    ingle_engine_free(engine);
    ingle_model_close(m);
}

static void check_directory(const char *name)
{
    golden g;
    if (!read_golden(name, &g))
        tap_skip(name, "no reference data in %s/hf", tap_golden());
    else
        for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) check_level(name, levels[i], &g);
    free(g.logits);
}

int main(void)
{
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) check_directory(directories[i]);
    return tap_done();
}
