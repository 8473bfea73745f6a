/* Golden logits of tiny random models, one or more for every architecture: every position within tolerance on every
 * kernel level, the greedy ids exactly; then the same bits token by token, in uneven chunks, and beside another
 * sequence of another length. Reads archs/cases.json of the reference data (a few of its cases lie in tests/data) and
 * tests/data/archs-extra, whose models make_archs.c writes. */
#include <jansson.h>
#include <math.h>

#include "ingle.h"
#include "tests/golden/make_archs.h"
#include "tests/levels.h"
#include "tests/tap.h"

typedef struct golden {
    int32_t tokens[1024], greedy[64], encoder[1024];
    size_t n_tokens, n_greedy, n_vocab, n_encoder;
    char file[128];
    bool dense;    /* computed by the reference without its sparse attention */
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
    g->n_encoder = read_ids(json_object_get(c, "encoder_tokens"), g->encoder, 1024);
    (void)snprintf(g->file, sizeof g->file, "%s", json_string_value(json_object_get(c, "file")));
    size_t f;
    const json_t *feature;
    json_array_foreach(json_object_get(c, "features"), f, feature) g->dense =
        g->dense || !strcmp(json_string_value(feature), "sparse-attention-switched-off");
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

typedef struct rig {
    ingle_engine *engine;
    ingle_session *s, *other;
    const char *name, *level;
} rig;

static bool start(rig *r, const ingle_model *m, const golden *g, bool other)
{
    ingle_error err = {0};
    ingle_model_info info;
    ingle_model_describe(m, &info);
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = 2,
                              .n_ctx = info.n_ctx_train < 256 ? info.n_ctx_train : 256,
                              .n_sessions = 2,
                              .kv = INGLE_KV_F32,
                              .n_logits = (uint32_t)g->n_tokens + 1,
                              .dense = g->dense};
    ingle_status st = ingle_engine_new(m, &o, &r->engine, &err);
    if (!st) st = ingle_session_new(r->engine, &r->s, &err);
    if (!st && other) st = ingle_session_new(r->engine, &r->other, &err);
    if (!st && g->n_encoder) st = ingle_session_encode(r->s, g->encoder, g->n_encoder, &err);
    if (!st && g->n_encoder && other) st = ingle_session_encode(r->other, g->encoder, g->n_encoder / 2, &err);
    if (st) tap_ok(false, "%s %s: %s", r->name, r->level, err.text);
    return st == INGLE_OK;
}

static void stop(rig *r)
{
    ingle_session_free(r->s);
    ingle_session_free(r->other);
    ingle_engine_free(r->engine);
    r->s = r->other = NULL;
    r->engine = NULL;
}

/* Logits of all tokens fed in chunks of `chunk`, uneven ones for 0, while the other session (when there is one) takes
 * tokens of its own in the same steps. */
static bool feed(rig *r, const golden *g, uint32_t chunk, float *out)
{
    static const uint32_t uneven[] = {5, 1, 12, 2, 64, 7};
    ingle_error err = {0};
    size_t at = 0, turn = 0;
    for (; at < g->n_tokens; turn++) {
        uint32_t n = chunk ? chunk : uneven[turn % 6];
        if (n > g->n_tokens - at) n = (uint32_t)(g->n_tokens - at);
        uint32_t n_other = turn % 3 == 2 ? 0 : 1 + (uint32_t)turn * 2 % 5;
        ingle_step_item items[2] = {
            {.session = r->s, .tokens = g->tokens + at, .n_tokens = n, .want = INGLE_WANT_ALL},
            {.session = r->other, .tokens = g->tokens + turn % 7, .n_tokens = n_other, .want = INGLE_WANT_LAST}};
        bool both = r->other && n_other && ingle_session_length(r->other) + n_other < 90;
        if (both && turn % 2) { /* the other's rows before ours */
            ingle_step_item swap = items[0];
            items[0] = items[1];
            items[1] = swap;
        }
        if (ingle_engine_step(r->engine, items, both ? 2 : 1, &err)) {
            tap_ok(false, "%s %s: %s", r->name, r->level, err.text);
            return false;
        }
        memcpy(out + at * g->n_vocab, items[both && turn % 2].logits, n * g->n_vocab * sizeof *out);
        at += n;
    }
    return true;
}

static void check_same(rig *r, const ingle_model *m, const golden *g, uint32_t chunk, bool other, const float *want)
{
    float *have = calloc(g->n_tokens * g->n_vocab, sizeof *have);
    char how[32];
    (void)snprintf(how, sizeof how, chunk ? "chunks of %u" : "uneven chunks", chunk);
    if (start(r, m, g, other) && feed(r, g, chunk, have))
        tap_ok(!memcmp(have, want, g->n_tokens * g->n_vocab * sizeof *have), "%s %s: %s%s: the same bits", r->name,
               r->level, how, other ? " beside another" : "");
    stop(r);
    free(have);
}

/* Goes back and on again: the logits of the last token must come out as before. */
static void check_rewind(rig *r, const golden *g, const float *want)
{
    const float *last = want + (g->n_tokens - 1) * g->n_vocab;
    uint32_t back = (uint32_t)g->n_tokens / 3;
    ingle_session_truncate(r->s, back);
    bool ok = ingle_session_length(r->s) == back &&
              ingle_session_feed(r->s, g->tokens + back, g->n_tokens - back, NULL) == INGLE_OK;
    tap_ok(ok && !memcmp(ingle_session_logits(r->s), last, g->n_vocab * sizeof *last), "%s %s: back to %u and on",
           r->name, r->level, back);
}

static void check_model(const ingle_model *m, const char *name, const char *level, const golden *g)
{
    rig r = {.name = name, .level = level};
    float *have = calloc(g->n_tokens * g->n_vocab, sizeof *have);
    double cosine;
    if (start(&r, m, g, false) && feed(&r, g, (uint32_t)g->n_tokens, have)) {
        double d = distance(g, have, &cosine);
        tap_ok(d <= g->max_rel && cosine >= g->min_cosine,
               "%s %s logits: %.2g of the largest, at most %.2g; cosine %.8f", name, level, d, g->max_rel, cosine);
        if (g->max_rel <= 2e-3) tap_ok(d <= 1e-4, "%s %s logits within 1e-4 (float32 without GELU)", name, level);
        check_rewind(&r, g, have);
        size_t n = greedy_matches(r.s, g);
        tap_ok(n == g->n_greedy, "%s %s greedy: %zu of %zu ids", name, level, n, g->n_greedy);
    }
    stop(&r);
    check_same(&r, m, g, 1, false, have);
    check_same(&r, m, g, 0, true, have);
    check_same(&r, m, g, (uint32_t)g->n_tokens, true, have);
    free(have);
}

static void check_case(const char *dir, const char *name, const golden *g)
{
    char path[1280];
    (void)snprintf(path, sizeof path, "%s/%s", dir, g->file);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (!level_wanted(levels[l])) continue;
        ingle_error err = {0};
        ingle_model *m;
        ingle_model_options o = {.size = sizeof o, .kernels = levels[l]};
        ingle_status st = ingle_model_open(path, &o, &m, &err);
        if (st == INGLE_UNSUPPORTED && strstr(err.text, "CPU"))
            tap_skip(name, "%s", err.text);
        else if (st != INGLE_OK)
            tap_ok(false, "%s %s opens: %s", name, levels[l], err.text);
        else
            check_model(m, name, levels[l], g);
        if (st == INGLE_OK) ingle_model_close(m);
    }
}

/* Scores are not given out as vectors, and only a reranking model has some. */
static void check_no_vectors(const ingle_model *m, ingle_engine *e, const char *name)
{
    static const ingle_pooling kinds[] = {INGLE_POOLING_MEAN, INGLE_POOLING_CLS, INGLE_POOLING_LAST,
                                          INGLE_POOLING_NONE};
    int32_t ids[] = {2, 40, 41, 3};
    float row[4 * 64], score[64] = {0};
    ingle_embed_item item = {ids, 4, row};
    ingle_model_info info;
    ingle_error err = {0};
    ingle_model_describe(m, &info);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        tap_ok(ingle_embed(e, &item, 1, kinds[i], false, &err) == INGLE_UNSUPPORTED && strstr(err.text, "pooling rank"),
               "%s: pooling %d is refused: %s", name, (int)kinds[i], err.text);
    tap_ok(ingle_embed(e, &item, 1, INGLE_POOLING_RANK, true, &err) == INGLE_BAD_INPUT, "%s: not normalised", name);
    item.out = score;
    bool same = ingle_embed(e, &item, 1, INGLE_POOLING_DEFAULT, false, &err) == INGLE_OK;
    item.out = row;
    same = same && ingle_embed(e, &item, 1, INGLE_POOLING_RANK, false, &err) == INGLE_OK;
    tap_ok(same && info.pooling == INGLE_POOLING_RANK && !memcmp(row, score, info.n_embd_out * sizeof *row),
           "%s: rank is what it gives unasked", name);
}

/* A reranking model: the score of each text, on every kernel level. */
static void check_scores(const char *model, const char *name, const json_t *c)
{
    double max = json_number_value(json_object_get(json_object_get(c, "tolerance"), "max_abs"));
    const json_t *texts = json_object_get(c, "texts"), *scores = json_object_get(c, "scores");
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (!level_wanted(levels[l])) continue;
        ingle_error err = {0};
        ingle_model *m = NULL;
        ingle_engine *e = NULL;
        ingle_model_options mo = {.size = sizeof mo, .kernels = levels[l]};
        ingle_engine_options eo = {.size = sizeof eo,
                                   .n_threads = 2,
                                   .n_ctx = 64,
                                   .n_batch = 64,
                                   .n_logits = 64,
                                   .kv = INGLE_KV_F32,
                                   .embed = true};
        ingle_status st = ingle_model_open(model, &mo, &m, &err);
        if (st == INGLE_UNSUPPORTED && strstr(err.text, "CPU")) {
            tap_skip(name, "%s", err.text);
            continue;
        }
        if (!st) st = ingle_engine_new(m, &eo, &e, &err);
        for (size_t i = 0; !st && i < json_array_size(texts); i++) {
            int32_t ids[64];
            float score[64] = {0};
            ingle_embed_item item = {.tokens = ids, .out = score};
            item.n_tokens = (uint32_t)read_ids(json_array_get(texts, i), ids, 64);
            st = ingle_embed(e, &item, 1, INGLE_POOLING_DEFAULT, false, &err);
            const json_t *want = json_array_get(scores, i);
            for (size_t k = 0; !st && k < json_array_size(want); k++) {
                double w = json_number_value(json_array_get(want, k));
                tap_ok(fabs(score[k] - w) <= max, "%s %s text %zu class %zu: score %.5f, expected %.5f", name,
                       levels[l], i, k, (double)score[k], w);
            }
        }
        if (st)
            tap_ok(false, "%s %s: %s", name, levels[l], err.text);
        else
            check_no_vectors(m, e, name);
        ingle_engine_free(e);
        if (m) ingle_model_close(m);
    }
}

/* All cases of a folder; the models lie in the folder `models`, or are made there when it is not the same. */
static bool check_folder(const char *dir, const char *models)
{
    char path[1280];
    (void)snprintf(path, sizeof path, "%s/cases.json", dir);
    json_t *all = json_load_file(path, 0, NULL), *one;
    const char *name;
    json_object_foreach(all, name, one)
    {
        golden g = {0};
        bool made = strcmp(dir, models) != 0;
        (void)snprintf(path, sizeof path, "%s/%s.gguf", models, name);
        if (made && !arch_case_write(name, path))
            tap_ok(false, "%s: %s can be made", name, path);
        else if (json_object_get(one, "scores"))
            check_scores(path, name, one);
        else if (!read_case(all, dir, name, &g))
            tap_ok(false, "%s: case in %s", name, dir);
        else
            check_case(models, name, &g);
        if (made) (void)remove(path);
        free(g.logits);
    }
    json_decref(all);
    return all != NULL;
}

/* --write DIR: the made models for reference.py; prints their names. */
static int write_models(const char *dir)
{
    char path[1100];
    for (size_t i = 0; arch_case_name(i); i++) {
        (void)snprintf(path, sizeof path, "%s/%s.gguf", dir, arch_case_name(i));
        if (!arch_case_write(arch_case_name(i), path)) return 1;
        printf("%s\n", arch_case_name(i));
    }
    return 0;
}

int main(int argc, char **argv)
{
    char dir[1024], temporary[] = "/tmp/ingle-archs-XXXXXX";
    if (argc == 3 && !strcmp(argv[1], "--write")) return write_models(argv[2]);
    (void)snprintf(dir, sizeof dir, "%s/archs", tap_golden());
    if (!check_folder(dir, dir)) { /* a stranger's clone: the repository's own subset */
        (void)snprintf(dir, sizeof dir, "%s/archs", tap_data());
        tap_ok(check_folder(dir, dir), "%s is there", dir);
    }
    (void)snprintf(dir, sizeof dir, "%s/archs-extra", tap_data());
    if (tap_ok(mkdtemp(temporary) != NULL, "a folder for made models")) {
        tap_ok(check_folder(dir, temporary), "%s is there", dir);
        (void)remove(temporary);
    }
    return tap_done();
}
