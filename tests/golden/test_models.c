/* Whole quantised models: relative RMS of all logits against the same weights decoded to float32 (what is
 * mathematically meant), on every kernel level. An engine with 8-bit activations may be 1.5 times as far from that as
 * the reference is; one with float activations must be within 1e-4. Also the trained stories260K: logits and its greedy
 * story, id for id. */
#include <math.h>

#include "ingle.h"
#include "tests/levels.h"
#include "tests/tap.h"


typedef struct model_case {
    const char *dir, *name, *tokens; /* name.gguf, name.logits.f32, name.dequant.logits.f32 */
    bool exact;                      /* float activations */
} model_case;

static const model_case golden_cases[] = {
    {"quants/models", "f16", "tokens.txt", true},        {"quants/models", "bf16", "tokens.txt", true},
    {"quants/models", "q4_0", "tokens.txt", false},      {"quants/models", "q4_1", "tokens.txt", false},
    {"quants/models", "q5_0", "tokens.txt", false},      {"quants/models", "q5_1", "tokens.txt", false},
    {"quants/models", "q8_0", "tokens.txt", false},      {"quants/models", "iq4_nl", "tokens.txt", false},
    {"quants/models", "iq4_xs", "tokens.txt", false},    {"quants/models", "q2_k", "tokens.txt", false},
    {"quants/models", "q3_k_m", "tokens.txt", false},    {"quants/models", "q4_k_m", "tokens.txt", false},
    {"quants/models", "q5_k_m", "tokens.txt", false},    {"quants/models", "q6_k", "tokens.txt", false},
    {"quants/models", "moe_mxfp4", "tokens.txt", false},
};
static const model_case own_cases[] = {
    {".", "stories260K", "logits.tokens.txt", true},
    {".", "stories260K.q8_0", "logits.tokens.txt", false},
    {".", "stories260K.q4_0", "logits.tokens.txt", false},
};

static double relative_rms(const float *a, const float *b, size_t n)
{
    double diff = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        diff += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        sum += (double)b[i] * (double)b[i];
    }
    return sqrt(diff / sum);
}

static size_t parse_ids(const char *text, int32_t *ids, size_t cap)
{
    size_t n = 0;
    for (char *end; n < cap; n++, text = end) {
        while (*text && (*text < '0' || *text > '9')) text++;
        if (!*text) break;
        ids[n] = (int32_t)strtol(text, &end, 10);
    }
    return n;
}

static float *load(const char *root, const model_case *c, const char *suffix, size_t *n)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s/%s%s", root, c->dir, c->name, suffix);
    return tap_read(path, n);
}

/* Logits of every token on one level, or NULL; *skip when the CPU lacks the level. */
static float *compute(const char *path, const char *level, const int32_t *ids, size_t n, size_t n_vocab, bool *skip,
                      ingle_error *err)
{
    ingle_model *m;
    ingle_engine *e = NULL;
    ingle_session *s = NULL;
    ingle_model_options mo = {.size = sizeof mo, .kernels = level};
    float *out = NULL;
    *skip = false;
    if (ingle_model_open(path, &mo, &m, err)) {
        *skip = err->status == INGLE_UNSUPPORTED && strstr(err->text, "CPU");
        return NULL;
    }
    ingle_engine_options eo = {
        .size = sizeof eo, .n_threads = 2, .n_ctx = 256, .kv = INGLE_KV_F32, .n_logits = (uint32_t)n};
    if (!ingle_engine_new(m, &eo, &e, err) && !ingle_session_new(e, &s, err)) {
        ingle_step_item it = {.session = s, .tokens = ids, .n_tokens = (uint32_t)n, .want = INGLE_WANT_ALL};
        if (!ingle_engine_step(e, &it, 1, err) && (out = malloc(n * n_vocab * sizeof *out)))
            memcpy(out, it.logits, n * n_vocab * sizeof *out);
    }
    ingle_session_free(s);
    ingle_engine_free(e);
    ingle_model_close(m);
    return out;
}

static void check_model(const char *root, const model_case *c)
{
    char path[1024], label[64];
    int32_t ids[256];
    size_t n_text, n_ref, n_dequant;
    (void)snprintf(path, sizeof path, "%s/%s/%s", root, c->dir, c->tokens);
    char *text = tap_read(path, &n_text);
    float *ref = load(root, c, ".logits.f32", &n_ref), *dequant = load(root, c, ".dequant.logits.f32", &n_dequant);
    if (!dequant) dequant = load(root, c, ".logits.f32", &n_dequant); /* F32 models have one truth */
    size_t n = text ? parse_ids(text, ids, 256) : 0;
    (void)snprintf(path, sizeof path, "%s/%s/%s.gguf", root, c->dir, c->name);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (!level_wanted(levels[l])) continue;
        (void)snprintf(label, sizeof label, "%s %s", c->name, levels[l]);
        ingle_error err = {0};
        bool skip = false;
        size_t n_values = n_dequant / sizeof(float);
        float *have = ref && dequant && n ? compute(path, levels[l], ids, n, n_values / n, &skip, &err) : NULL;
        if (skip)
            tap_skip(label, "%s", err.text);
        else if (!have)
            tap_ok(false, "%s: %s", label, err.text[0] ? err.text : "reference data cannot be read");
        else {
            double d = relative_rms(have, dequant, n_values), theirs = relative_rms(ref, dequant, n_values);
            double bound = c->exact ? 1e-4 : 1.5 * theirs;
            tap_ok(d <= bound, "%s: %.3g relative RMS from the decoded weights, at most %.3g", label, d, bound);
        }
        free(have);
    }
    free(text);
    free(ref);
    free(dequant);
}

static int32_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

/* story.txt of the F32 model: prompt ids, then the 200 greedy ids. */
static bool read_story(const char *root, int32_t *prompt, size_t *n_prompt, int32_t *ids, size_t *n_ids)
{
    char path[1024];
    size_t n;
    (void)snprintf(path, sizeof path, "%s/story.txt", root);
    char *text = tap_read(path, &n), *model = text ? strstr(text, "## stories260K\n") : NULL;
    char *p = model ? strstr(model, "\nprompt ids:") : NULL, *g = p ? strstr(p + 1, "\nids:") : NULL;
    if (p && g) {
        p++, g++;
        char *end = strchr(p, '\n');
        if (end) *end = 0;
        *n_prompt = parse_ids(p, prompt, 64);
        end = strchr(g, '\n');
        if (end) *end = 0;
        *n_ids = parse_ids(g, ids, 512);
    }
    free(text);
    return p && g && *n_prompt && *n_ids;
}

static void check_story(const char *root)
{
    char path[1024];
    int32_t prompt[64], want[512];
    size_t n_prompt = 0, n = 0;
    bool known = read_story(root, prompt, &n_prompt, want, &n);
    tap_ok(known && n >= 200, "story.txt holds a prompt and at least 200 greedy ids (%zu, %zu)", n_prompt, n);
    if (!known) return;
    (void)snprintf(path, sizeof path, "%s/stories260K.gguf", root);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (!level_wanted(levels[l])) continue;
        ingle_error err = {0};
        ingle_model *m;
        ingle_engine *e = NULL;
        ingle_session *s = NULL;
        ingle_model_options mo = {.size = sizeof mo, .kernels = levels[l]};
        ingle_status st = ingle_model_open(path, &mo, &m, &err);
        if (st == INGLE_UNSUPPORTED && strstr(err.text, "CPU")) {
            tap_skip("story", "%s", err.text);
            continue;
        }
        ingle_engine_options eo = {.size = sizeof eo, .n_threads = 2, .kv = INGLE_KV_F32};
        size_t same = 0;
        if (!st && !ingle_engine_new(m, &eo, &e, &err) && !ingle_session_new(e, &s, &err) &&
            !ingle_session_feed(s, prompt, n_prompt, &err)) {
            for (; same < n; same++) {
                int32_t id = argmax(ingle_session_logits(s), 512);
                if (id != want[same] || ingle_session_feed(s, &id, 1, &err)) break;
            }
        }
        tap_ok(same == n, "stories260K %s: %zu of %zu greedy ids of the story %s", levels[l], same, n, err.text);
        ingle_session_free(s);
        ingle_engine_free(e);
        if (!st) ingle_model_close(m);
    }
}

int main(void)
{
    for (size_t i = 0; i < sizeof own_cases / sizeof *own_cases; i++) check_model(tap_data(), &own_cases[i]);
    check_story(tap_data());
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/quants/models/tokens.txt", tap_golden());
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    for (size_t i = 0; i < sizeof golden_cases / sizeof *golden_cases; i++) {
        if (f)
            check_model(tap_golden(), &golden_cases[i]);
        else
            tap_skip(golden_cases[i].name, "no reference data in %s", tap_golden());
    }
    return tap_done();
}
