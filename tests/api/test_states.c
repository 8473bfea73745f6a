/* Windows, recurrent state and sparse attention over many pages: a sequence that goes back, by a few tokens or many,
 * and on again gives the bits of one that never did; pages of a window are given back and taken again; two sequences
 * and every KV type. Models: tests/data/archs. */
#include <stdio.h>

#include "base/fault.h"
#include "engine/engine.h"
#include "ingle.h"
#include "tests/tap.h"

enum { N = 300, VOCAB_MAX = 200 };

static const char *const models[] = {"gemma3", "cohere2", "qwen3next", "falcon-h1", "mamba",
                                     "lfm2",   "glm-dsa", "deepseek2", "llama-dense"};
static const struct {
    const char *name;
    ingle_kv_type type;
} kinds[] = {{"f32", INGLE_KV_F32}, {"f16", INGLE_KV_F16}, {"q8_0", INGLE_KV_Q8_0}};

typedef struct rig {
    const char *name, *kv;
    ingle_model *m;
    ingle_engine *e;
    ingle_session *a, *b;
    uint32_t n_vocab, n;
    int32_t ids[N];
    float want[N][VOCAB_MAX]; /* logits after every token, fed one by one */
} rig;

static bool same(rig *r, uint32_t at)
{
    const float *have = ingle_session_logits(r->a);
    return have && !memcmp(have, r->want[at], r->n_vocab * sizeof *have);
}

static bool feed(rig *r, ingle_session *s, uint32_t from, uint32_t to)
{
    return ingle_session_feed(s, r->ids + from, to - from, NULL) == INGLE_OK;
}

/* From length `from` back to `to`, then on to `end`. */
static void check_back(rig *r, uint32_t to, uint32_t end)
{
    uint32_t from = ingle_session_length(r->a);
    ingle_session_truncate(r->a, to);
    bool ok = ingle_session_length(r->a) == to && feed(r, r->a, to, end) && same(r, end - 1);
    tap_ok(ok, "%s %s: from %u back to %u and on to %u", r->name, r->kv, from, to, end);
}

static bool record(rig *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (!feed(r, r->b, i, i + 1)) return false;
        memcpy(r->want[i], ingle_session_logits(r->b), r->n_vocab * sizeof(float));
    }
    return true;
}

/* To disk and back, into the same session and another: the bits of one that never left. A file that is too short or
 * cannot be read leaves an empty session. */
static void check_disk(rig *r)
{
    FILE *f = tmpfile();
    ig_session_image *image = NULL;
    ingle_error err = {0};
    uint32_t n = r->n - 20, n_saved = 0;
    ingle_session_truncate(r->a, 0);
    bool ok = f && feed(r, r->a, 0, n);
    uint64_t bytes = ig_session_image_bytes(r->a);
    ok = ok && ig_session_save(r->a, fileno(f), 4096, &image, &err) == INGLE_OK;
    if (!tap_ok(ok && bytes > 0 && !memcmp(ig_session_image_tokens(image, &n_saved), r->ids, n * sizeof *r->ids) &&
                    n_saved == n,
                "%s %s: %u tokens go to disk, %llu bytes %s", r->name, r->kv, n, (unsigned long long)bytes, err.text))
        return;
    ingle_session_truncate(r->a, 0);
    (void)feed(r, r->a, 40, 60); /* other pages */
    ok = ig_session_load(r->a, image, fileno(f), 4096, &err) == INGLE_OK && feed(r, r->a, n, r->n) && same(r, r->n - 1);
    tap_ok(ok, "%s %s: and come back %s", r->name, r->kv, err.text);
    check_back(r, n - 3, r->n);
    check_back(r, n - 70, r->n - 1);
    ig_fault_set(IG_FAULT_READ, 1, 5, false);
    ok = ig_session_load(r->a, image, fileno(f), 4096, &err) == INGLE_IO && ingle_session_length(r->a) == 0;
    ig_fault_reset();
    ok = ok && feed(r, r->a, 0, n);
    ig_session_image *none = NULL;
    ig_fault_set(IG_FAULT_WRITE, 1, 28, false);
    ok = ok && ig_session_save(r->a, fileno(f), 4096, &none, &err) == INGLE_IO && !none;
    ig_fault_reset();
    tap_ok(ok && ig_session_load(r->a, image, fileno(f), 4096 + bytes / 2, &err) == INGLE_IO &&
               ingle_session_length(r->a) == 0,
           "%s %s: failures are told: %s", r->name, r->kv, err.text);
    ig_session_image_free(image);
    fclose(f);
}

static void check(rig *r)
{
    if (!record(r)) {
        tap_ok(false, "%s %s: tokens one by one", r->name, r->kv);
        return;
    }
    uint32_t n = r->n;
    tap_ok(feed(r, r->a, 0, n) && same(r, n - 1), "%s %s: %u tokens in chunks", r->name, r->kv, n);
    check_back(r, n - 1, n);
    check_back(r, n - 5, n);
    check_back(r, (n - 1) / 64 * 64, n); /* a page end */
    check_back(r, n - 70, n - 60);
    check_back(r, 64, 130);
    check_back(r, 65, 200);
    check_back(r, 3, 40);
    check_back(r, 0, n);
    check_disk(r);
    (void)feed(r, r->a, 0, n);
    ingle_error err = {0};
    tap_ok(ingle_session_shift(r->a, 0, 10, &err) == INGLE_OK && ingle_session_length(r->a) == n - 10,
           "%s %s: a shift %s", r->name, r->kv, err.text);
    ingle_session_free(r->a);
    r->a = NULL;
    tap_ok(ingle_session_new(r->e, &r->a, &err) == INGLE_OK && feed(r, r->a, 0, n) && same(r, n - 1),
           "%s %s: all pages came back", r->name, r->kv);
}

static void run(rig *r, ingle_kv_type kv)
{
    ingle_error err = {0};
    ingle_model_info info;
    ingle_model_describe(r->m, &info);
    r->n_vocab = info.n_vocab;
    r->n = info.n_ctx_train < N ? info.n_ctx_train : N;
    for (uint32_t i = 0; i < r->n; i++) r->ids[i] = (int32_t)(i * 7919u % 1009u * 31u % r->n_vocab);
    ingle_engine_options o = {
        .size = sizeof o, .n_threads = 2, .n_ctx = r->n, .n_batch = 48, .n_sessions = 2, .kv = kv};
    if (r->n_vocab > VOCAB_MAX || ingle_engine_new(r->m, &o, &r->e, &err) || ingle_session_new(r->e, &r->a, &err) ||
        ingle_session_new(r->e, &r->b, &err))
        tap_ok(false, "%s %s: %s", r->name, r->kv, err.text);
    else
        check(r);
    ingle_session_free(r->a);
    ingle_session_free(r->b);
    ingle_engine_free(r->e);
}

int main(void)
{
    static rig r;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[1280];
        ingle_error err = {0};
        ingle_model *m;
        (void)snprintf(path, sizeof path, "%s/archs/%s.gguf", tap_data(), models[i]);
        if (ingle_model_open(path, NULL, &m, &err)) {
            tap_ok(false, "%s opens: %s", models[i], err.text);
            continue;
        }
        for (size_t k = 0; k < 3; k++) {
            r = (rig){.name = models[i], .kv = kinds[k].name, .m = m};
            run(&r, kinds[k].type);
        }
        ingle_model_close(m);
    }
    return tap_done();
}
