/* Vectors of tiny random encoders and decoders against another engine: every pooling, every kernel level; then all
 * models' texts cut to different lengths in one call, each of which must equal the text alone in every bit. Reads
 * embeddings/cases.json of the reference data, and golden/hf/bert; a few cases lie in tests/data. */
#include <jansson.h>
#include <math.h>

#include "ingle.h"
#include "tests/levels.h"
#include "tests/tap.h"

static const struct {
    const char *name;
    ingle_pooling kind;
} poolings[] = {{"none", INGLE_POOLING_NONE},
                {"mean", INGLE_POOLING_MEAN},
                {"cls", INGLE_POOLING_CLS},
                {"last", INGLE_POOLING_LAST}};

typedef struct golden {
    int32_t tokens[512];
    uint32_t n_tokens, width;
    double max_rel;
    float *out[4]; /* by pooling */
} golden;

static bool read_case(const json_t *c, const char *dir, golden *g)
{
    const json_t *ids = json_object_get(c, "tokens"), *t = json_object_get(c, "tolerance");
    *g = (golden){.n_tokens = (uint32_t)json_array_size(ids),
                  .width = (uint32_t)json_integer_value(json_object_get(c, "n_embd")),
                  .max_rel = json_number_value(json_object_get(t, "max_abs_over_max"))};
    for (uint32_t i = 0; i < g->n_tokens && i < 512; i++)
        g->tokens[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    for (int p = 0; p < 4; p++) {
        const json_t *o = json_object_get(json_object_get(c, "outputs"), poolings[p].name);
        const char *file = json_string_value(json_is_string(o) ? o : json_object_get(o, "file"));
        char path[1280];
        size_t n, rows = p == 0 ? g->n_tokens : 1;
        (void)snprintf(path, sizeof path, "%s/%s", dir, file ? file : "");
        g->out[p] = tap_read(path, &n);
        if (!g->out[p] || n != rows * g->width * sizeof(float)) return false;
    }
    return g->max_rel > 0;
}

static double distance(const float *want, const float *have, size_t n)
{
    double max = 0, diff = 0;
    for (size_t i = 0; i < n; i++) {
        max = fmax(max, fabs((double)want[i]));
        diff = fmax(diff, isfinite(have[i]) ? fabs((double)want[i] - (double)have[i]) : INFINITY);
    }
    return diff / max;
}

static ingle_engine *engine_for(const ingle_model *m, uint32_t n_ctx, uint32_t n_sessions, ingle_error *err)
{
    ingle_engine *e = NULL;
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = 2,
                              .n_ctx = n_ctx,
                              .n_batch = 3 * n_ctx,
                              .n_sessions = n_sessions,
                              .kv = INGLE_KV_F32,
                              .embed = true};
    return ingle_engine_new(m, &o, &e, err) == INGLE_OK ? e : NULL;
}

/* Texts of 1, n/2, n and n/3 tokens together, and each alone. */
static void check_batch(const ingle_model *m, const char *name, const char *level, const golden *g)
{
    uint32_t lengths[] = {1, g->n_tokens / 2, g->n_tokens, g->n_tokens / 3};
    ingle_embed_item items[4];
    ingle_error err = {0};
    ingle_engine *together = engine_for(m, g->n_tokens, 3, &err), *alone = engine_for(m, g->n_tokens, 1, &err);
    bool same = together && alone;
    for (int i = 0; i < 4; i++) items[i] = (ingle_embed_item){g->tokens, lengths[i], calloc(g->width, sizeof(float))};
    same = same && ingle_embed(together, items, 4, INGLE_POOLING_MEAN, true, &err) == INGLE_OK;
    for (int i = 0; same && i < 4; i++) {
        float *one = calloc(g->width, sizeof *one);
        ingle_embed_item item = {g->tokens, lengths[i], one};
        double sum = 0;
        same = ingle_embed(alone, &item, 1, INGLE_POOLING_MEAN, true, &err) == INGLE_OK &&
               !memcmp(one, items[i].out, g->width * sizeof *one);
        for (uint32_t k = 0; k < g->width; k++) sum += (double)one[k] * (double)one[k];
        same = same && fabs(sum - 1) < 1e-5;
        free(one);
    }
    tap_ok(same, "%s %s: four texts of different length as each alone %s", name, level, err.text);
    for (int i = 0; i < 4; i++) free(items[i].out);
    ingle_engine_free(together);
    ingle_engine_free(alone);
}

static void check_model(const ingle_model *m, const char *name, const char *level, const golden *g)
{
    ingle_error err = {0};
    ingle_engine *e = engine_for(m, g->n_tokens, 1, &err);
    float *have = calloc((size_t)g->n_tokens * g->width, sizeof *have);
    for (int p = 0; p < 4; p++) {
        ingle_embed_item item = {g->tokens, g->n_tokens, have};
        if (!e || ingle_embed(e, &item, 1, poolings[p].kind, false, &err)) {
            tap_ok(false, "%s %s: %s", name, level, err.text);
            break;
        }
        double d = distance(g->out[p], have, (p == 0 ? g->n_tokens : 1) * (size_t)g->width);
        tap_ok(d <= g->max_rel, "%s %s %s: %.2g of the largest, at most %.2g", name, level, poolings[p].name, d,
               g->max_rel);
    }
    free(have);
    ingle_engine_free(e);
    check_batch(m, name, level, g);
}

static void each_level(const char *path, const char *name, const golden *g)
{
    for (size_t l = 0; l < 3; l++) {
        ingle_error err = {0};
        ingle_model *m;
        ingle_model_options o = {.size = sizeof o, .kernels = levels[l]};
        ingle_status st = ingle_model_open(path, &o, &m, &err);
        if (st == INGLE_UNSUPPORTED && strstr(err.text, "CPU"))
            tap_skip(name, "%s", err.text);
        else if (st != INGLE_OK)
            tap_ok(false, "%s %s opens: %s", name, levels[l], err.text);
        else {
            check_model(m, name, levels[l], g);
            ingle_model_close(m);
        }
    }
}

/* Hidden states of every token of one text against want [n]. */
static void check_hidden(const char *path, const char *level, const int32_t *tokens, uint32_t n_tokens,
                         const float *want, size_t n)
{
    ingle_error err = {0};
    ingle_model *m;
    ingle_model_options o = {.size = sizeof o, .kernels = level};
    ingle_status st = ingle_model_open(path, &o, &m, &err);
    if (st == INGLE_UNSUPPORTED && strstr(err.text, "CPU")) {
        tap_skip("hf/bert", "%s", err.text);
        return;
    }
    float *have = calloc(n, sizeof *have);
    ingle_engine *e = st ? NULL : engine_for(m, n_tokens, 1, &err);
    ingle_embed_item item = {tokens, n_tokens, have};
    bool ok = e && ingle_embed(e, &item, 1, INGLE_POOLING_NONE, false, &err) == INGLE_OK;
    double error = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        error += pow((double)have[i] - (double)want[i], 2);
        all += pow((double)want[i], 2);
    }
    tap_ok(ok && sqrt(error / all) <= 1e-5, "hf/bert %s: relative RMS %.2g, at most 1e-5 %s", level, sqrt(error / all),
           err.text);
    free(have);
    ingle_engine_free(e);
    if (!st) ingle_model_close(m);
}

/* The encoder among the Hugging Face directories: its own definitions, with the exact GELU. */
static void check_hf_bert(void)
{
    char path[1280];
    size_t n, n_text;
    int32_t tokens[256];
    uint32_t n_tokens = 0;
    (void)snprintf(path, sizeof path, "%s/hf/bert/tokens.txt", tap_golden());
    char *text = tap_read(path, &n_text);
    (void)snprintf(path, sizeof path, "%s/hf/bert/hidden.f32", tap_golden());
    float *want = tap_read(path, &n);
    (void)snprintf(path, sizeof path, "%s/hf/bert", tap_golden());
    if (!text || !want) tap_skip("hf/bert", "no reference data in %s", path);
    for (char *at = text; at && *at && n_tokens < 256; at += strcspn(at, "0123456789"))
        if (*at >= '0' && *at <= '9') tokens[n_tokens++] = (int32_t)strtol(at, &at, 10);
    for (size_t l = 0; text && want && l < 3; l++)
        check_hidden(path, levels[l], tokens, n_tokens, want, n / sizeof *want);
    free(text);
    free(want);
}

int main(void)
{
    char dir[1024], path[1280];
    (void)snprintf(dir, sizeof dir, "%s/embeddings", tap_golden());
    (void)snprintf(path, sizeof path, "%s/cases.json", dir);
    json_t *all = json_load_file(path, 0, NULL), *one;
    if (!all) {
        (void)snprintf(dir, sizeof dir, "%s/embeddings", tap_data());
        (void)snprintf(path, sizeof path, "%s/cases.json", dir);
        all = json_load_file(path, 0, NULL);
    }
    const char *name;
    tap_ok(json_object_size(all) > 0, "cases in %s", path);
    json_object_foreach(all, name, one)
    {
        golden g;
        (void)snprintf(path, sizeof path, "%s/%s", dir, json_string_value(json_object_get(one, "file")));
        if (read_case(one, dir, &g))
            each_level(path, name, &g);
        else
            tap_ok(false, "%s: reference files in %s", name, dir);
        for (int p = 0; p < 4; p++) free(g.out[p]);
    }
    json_decref(all);
    check_hf_bert();
    return tap_done();
}
