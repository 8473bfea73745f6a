/* Golden logits of tiny random models: every position within tolerance on every kernel level, and the greedy ids
 * exactly. Reads archs/cases.json of the reference data; a copy of the foundation's cases lies in tests/data. */
#include <jansson.h>
#include <math.h>

#include "ingle.h"
#include "tests/tap.h"

static const char *const levels[] = {"ref", "avx2", "avx512"};
/* Cases whose architecture has a row in the table. */
static const char *const cases[] = {"llama-dense", "llama-moe", "llama-linear", "llama-yarn", "mistral3"};

typedef struct golden {
    int32_t tokens[1024], greedy[64];
    size_t n_tokens, n_greedy, n_vocab;
    float *logits; /* [n_tokens, n_vocab] */
    double max_rel, min_cosine;
} golden;

static size_t read_ids(const json_t *array, int32_t *out, size_t cap)
{
    size_t n = json_array_size(array);
    for (size_t i = 0; i < n && i < cap; i++) out[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return n < cap ? n : cap;
}

static bool read_case(const json_t *all, const char *dir, const char *name, golden *g)
{
    char path[1280];
    const json_t *c = json_object_get(all, name), *t = json_object_get(c, "tolerance");
    if (!c) return false;
    g->n_tokens = read_ids(json_object_get(c, "tokens"), g->tokens, 1024);
    g->n_greedy = read_ids(json_object_get(c, "greedy"), g->greedy, 64);
    g->n_vocab = (size_t)json_integer_value(json_object_get(c, "n_vocab"));
    g->max_rel = json_number_value(json_object_get(t, "max_abs_over_max_logit"));
    g->min_cosine = json_number_value(json_object_get(t, "min_cosine"));
    (void)snprintf(path, sizeof path, "%s/%s.logits.f32", dir, name);
    size_t n;
    g->logits = tap_read(path, &n);
    return g->logits && n == g->n_tokens * g->n_vocab * sizeof(float);
}

/* Largest difference over the largest reference logit; *cosine gets the least cosine of a position. */
static double distance(const golden *g, const float *have, double *cosine)
{
    double max = 0, diff = 0;
    *cosine = 1;
    for (size_t p = 0; p < g->n_tokens; p++) {
        double ab = 0, aa = 0, bb = 0;
        for (size_t v = 0; v < g->n_vocab; v++) {
            double a = g->logits[p * g->n_vocab + v], b = have[p * g->n_vocab + v];
            max = fmax(max, fabs(a));
            diff = fmax(diff, isfinite(b) ? fabs(a - b) : INFINITY);
            ab += a * b;
            aa += a * a;
            bb += b * b;
        }
        *cosine = fmin(*cosine, ab / sqrt(aa * bb));
    }
    return diff / max;
}

static int32_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

static size_t greedy_matches(ingle_session *s, const golden *g)
{
    for (size_t i = 0; i < g->n_greedy; i++) {
        int32_t id = argmax(ingle_session_logits(s), g->n_vocab);
        if (id != g->greedy[i] || ingle_session_feed(s, &id, 1, NULL) != INGLE_OK) return i;
    }
    return g->n_greedy;
}

static void check_engine(const ingle_model *m, const char *name, const char *level, const golden *g)
{
    ingle_error err = {0};
    ingle_engine *engine = NULL;
    ingle_session *s = NULL;
    ingle_engine_options o = {
        .size = sizeof o, .n_threads = 2, .n_ctx = 256, .kv = INGLE_KV_F32, .n_logits = (uint32_t)g->n_tokens};
    if (ingle_engine_new(m, &o, &engine, &err) || ingle_session_new(engine, &s, &err)) {
        tap_ok(false, "%s %s: %s", name, level, err.text);
        ingle_engine_free(engine);
        return;
    }
    ingle_step_item it = {.session = s, .tokens = g->tokens, .n_tokens = (uint32_t)g->n_tokens, .want = INGLE_WANT_ALL};
    if (ingle_engine_step(engine, &it, 1, &err))
        tap_ok(false, "%s %s: %s", name, level, err.text);
    else {
        double cosine, d = distance(g, it.logits, &cosine);
        tap_ok(d <= g->max_rel && cosine >= g->min_cosine,
               "%s %s logits: %.2g of the largest, at most %.2g; cosine %.8f", name, level, d, g->max_rel, cosine);
        tap_ok(d <= 1e-4, "%s %s logits within 1e-4 (float32 without GELU)", name, level);
        size_t n = greedy_matches(s, g);
        tap_ok(n == g->n_greedy, "%s %s greedy: %zu of %zu ids", name, level, n, g->n_greedy);
    }
    ingle_session_free(s);
    ingle_engine_free(engine);
}

static void check_case(const char *dir, const char *name, const golden *g)
{
    char path[1280];
    (void)snprintf(path, sizeof path, "%s/%s.gguf", dir, name);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        ingle_error err = {0};
        ingle_model *m;
        ingle_model_options o = {.size = sizeof o, .kernels = levels[l]};
        ingle_status st = ingle_model_open(path, &o, &m, &err);
        if (st == INGLE_UNSUPPORTED && strstr(err.text, "CPU"))
            tap_skip(name, "%s", err.text);
        else if (st != INGLE_OK)
            tap_ok(false, "%s %s opens: %s", name, levels[l], err.text);
        else
            check_engine(m, name, levels[l], g);
        if (st == INGLE_OK) ingle_model_close(m);
    }
}

int main(void)
{
    char dir[1024], path[1100];
    (void)snprintf(dir, sizeof dir, "%s/archs", tap_golden());
    (void)snprintf(path, sizeof path, "%s/cases.json", dir);
    json_t *all = json_load_file(path, 0, NULL);
    if (!all) { /* a stranger's clone: the repository's own subset */
        (void)snprintf(dir, sizeof dir, "%s/archs", tap_data());
        (void)snprintf(path, sizeof path, "%s/cases.json", dir);
        all = json_load_file(path, 0, NULL);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        golden g = {0};
        if (!read_case(all, dir, cases[i], &g))
            tap_ok(false, "%s: case in %s", cases[i], path);
        else
            check_case(dir, cases[i], &g);
        free(g.logits);
    }
    json_decref(all);
    return tap_done();
}
