/* Behaviour of sessions and engines that no golden file shows: no allocation per token, each weight matrix read once a
 * step, all-or-nothing steps, limits that name both numbers, truncation, context shift, shared weights, injected
 * faults. */
#include <errno.h>
#include <malloc.h>
#include <math.h>

#include "base/fault.h"
#include "base/mem.h"
#include "engine/api.h"
#include "ingle.h"
#include "tests/tap.h"

static char path_f32[1024], path_q4[1024], path_moe[1024];
static const int32_t prompt[] = {1, 403, 407, 261, 378, 432, 383, 286, 261, 376};
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

typedef struct stack {
    ingle_model *m;
    ingle_engine *e;
    ingle_session *s;
} stack;

static bool stack_open(stack *k, const char *path, const ingle_engine_options *o, ingle_error *err)
{
    *k = (stack){0};
    return !ingle_model_open(path, NULL, &k->m, err) && !ingle_engine_new(k->m, o, &k->e, err) &&
           !ingle_session_new(k->e, &k->s, err);
}

static void stack_close(stack *k)
{
    ingle_session_free(k->s);
    ingle_engine_free(k->e);
    ingle_model_close(k->m);
}

static void test_no_allocation_per_token(const char *path)
{
    ingle_error err = {0};
    stack k;
    ingle_sampler *sampler = NULL;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 2};
    ingle_sampler_options so = {.size = sizeof so,
                                .temperature = 0.8f,
                                .top_k = 40,
                                .top_p = 0.95f,
                                .min_p = 0.05f,
                                .repetition_penalty = 1.1f,
                                .seed = 1};
    bool ok = stack_open(&k, path, &o, &err) && !ingle_sampler_new(k.m, &so, &sampler, &err) &&
              !ingle_session_feed(k.s, prompt, N_PROMPT, &err);
    int32_t id;
    for (int i = 0; ok && i < 4; i++)
        ok = !ingle_sample(sampler, ingle_session_logits(k.s), &id, &err) && !ingle_session_feed(k.s, &id, 1, &err);
    uint64_t calls = ig_alloc_calls();
    size_t heap = mallinfo2().uordblks;
    for (int i = 0; ok && i < 100; i++)
        ok = !ingle_sample(sampler, ingle_session_logits(k.s), &id, &err) && !ingle_session_feed(k.s, &id, 1, &err);
    uint64_t more = ig_alloc_calls() - calls;
    size_t grown = mallinfo2().uordblks - heap;
    tap_ok(ok && more == 0 && grown == 0, "no allocation in 100 generated tokens: %llu calls, %zu bytes %s",
           (unsigned long long)more, grown, err.text);
    ingle_sampler_free(sampler);
    stack_close(&k);
}

/* Bytes of all matrices that a step multiplies with. */
static uint64_t matrix_bytes(const ingle_model *m)
{
    uint64_t sum = 0;
    ingle_tensor t;
    bool tied = true;
    uint64_t embed = 0;
    for (uint64_t i = 0; ingle_model_tensor(m, i, &t); i++) {
        if (!strcmp(t.name, "output.weight")) tied = false;
        if (!strcmp(t.name, "token_embd.weight"))
            embed = t.n_bytes;
        else if (t.n_dims >= 2)
            sum += t.n_bytes;
    }
    return sum + (tied ? embed : 0);
}

static void test_weights_read_once(const char *path, const char *name)
{
    ingle_error err = {0};
    stack k;
    int32_t tokens[200];
    for (int i = 0; i < 200; i++) tokens[i] = 3 + i % 100;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 2, .n_batch = 200};
    bool ok = stack_open(&k, path, &o, &err);
    uint64_t want = ok ? matrix_bytes(k.m) : 0;
    ok = ok && !ingle_session_feed(k.s, tokens, 200, &err);
    uint64_t chunk = ok ? ig_run_weight_bytes_read(k.e->run) : 0;
    ok = ok && !ingle_session_feed(k.s, tokens, 1, &err);
    uint64_t one = ok ? ig_run_weight_bytes_read(k.e->run) - chunk : 0;
    tap_ok(ok && chunk == want, "%s: a chunk of 200 tokens reads %llu weight bytes, the matrices have %llu %s", name,
           (unsigned long long)chunk, (unsigned long long)want, err.text);
    tap_ok(ok && one <= want && one > 0, "%s: one token reads %llu weight bytes", name, (unsigned long long)one);
    stack_close(&k);
}

static void test_limits(void)
{
    ingle_error err = {0};
    stack k;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 1, .n_ctx = 64, .n_batch = 32};
    int32_t many[65] = {0};
    for (int i = 0; i < 65; i++) many[i] = 5;
    if (!tap_ok(stack_open(&k, path_f32, &o, &err), "engine with a context of 64 %s", err.text)) return;
    tap_ok(ingle_session_feed(k.s, many, 65, &err) == INGLE_TOO_LARGE && strstr(err.text, "65") &&
               strstr(err.text, "64"),
           "overflow names both numbers: %s", err.text);
    tap_ok(ingle_session_length(k.s) == 0 && !ingle_session_logits(k.s), "overflow leaves the session empty");
    tap_ok(!ingle_session_feed(k.s, many, 64, &err) && ingle_session_length(k.s) == 64, "64 tokens fill the context");
    tap_ok(ingle_session_feed(k.s, many, 1, &err) == INGLE_TOO_LARGE, "one more does not fit: %s", err.text);
    tap_ok(ingle_session_logits(k.s) != NULL, "logits of the last good feed stay");
    ingle_session_truncate(k.s, 0);
    int32_t bad[] = {5, 512};
    tap_ok(ingle_session_feed(k.s, bad, 2, &err) == INGLE_BAD_INPUT && strstr(err.text, "512"), "bad id: %s", err.text);
    bad[1] = -1;
    tap_ok(ingle_session_feed(k.s, bad, 2, &err) == INGLE_BAD_INPUT && strstr(err.text, "-1"), "negative id: %s",
           err.text);
    tap_ok(ingle_session_feed(k.s, bad, 0, &err) == INGLE_BAD_INPUT, "nothing to feed: %s", err.text);
    ingle_session *second;
    tap_ok(ingle_session_new(k.e, &second, &err) == INGLE_TOO_LARGE && !second, "one session more than room: %s",
           err.text);
    ingle_step_item two[2] = {{.session = k.s, .tokens = many, .n_tokens = 1},
                              {.session = k.s, .tokens = many, .n_tokens = 1}};
    tap_ok(ingle_engine_step(k.e, two, 2, &err) != INGLE_OK, "more items than sessions: %s", err.text);
    two[0].n_tokens = 33;
    tap_ok(ingle_engine_step(k.e, two, 1, &err) == INGLE_TOO_LARGE && strstr(err.text, "33") && strstr(err.text, "32"),
           "batch limit names both numbers: %s", err.text);
    ingle_engine *e2;
    o.n_ctx = 513;
    tap_ok(ingle_engine_new(k.m, &o, &e2, &err) == INGLE_TOO_LARGE && strstr(err.text, "513") &&
               strstr(err.text, "512"),
           "context above the trained one: %s", err.text);
    stack_close(&k);
}

static bool same_logits(const ingle_session *a, const float *b)
{
    return ingle_session_logits(a) && !memcmp(ingle_session_logits(a), b, 512 * sizeof *b);
}

static void test_truncate_and_shift(void)
{
    ingle_error err = {0};
    stack k;
    float want[512];
    ingle_engine_options o = {.size = sizeof o, .n_threads = 2, .n_ctx = 128};
    if (!tap_ok(stack_open(&k, path_f32, &o, &err), "engine %s", err.text)) return;
    bool ok = !ingle_session_feed(k.s, prompt, N_PROMPT, &err);
    memcpy(want, ingle_session_logits(k.s), sizeof want);
    ok = ok && !ingle_session_feed(k.s, prompt, 7, &err);
    ingle_session_truncate(k.s, N_PROMPT - 1);
    tap_ok(ok && !ingle_session_logits(k.s), "truncation forgets the logits");
    ok = ok && !ingle_session_feed(k.s, prompt + N_PROMPT - 1, 1, &err);
    tap_ok(ok && same_logits(k.s, want), "truncate and feed again gives the same bits");
    /* keep 1, drop 3 of prompt ++ prompt: equals feeding what is left */
    int32_t left[2 * N_PROMPT], all[2 * N_PROMPT];
    memcpy(all, prompt, sizeof prompt);
    memcpy(all + N_PROMPT, prompt, sizeof prompt);
    left[0] = all[0];
    memcpy(left + 1, all + 4, (2 * N_PROMPT - 4) * sizeof *left);
    ingle_session_truncate(k.s, 0);
    ok = !ingle_session_feed(k.s, left, 2 * N_PROMPT - 3, &err);
    memcpy(want, ingle_session_logits(k.s), sizeof want);
    ingle_session_truncate(k.s, 0);
    ok = ok && !ingle_session_feed(k.s, all, 2 * N_PROMPT, &err) && !ingle_session_shift(k.s, 1, 3, &err);
    tap_ok(ok && ingle_session_length(k.s) == 2 * N_PROMPT - 3 && same_logits(k.s, want),
           "shift equals feeding the kept tokens");
    tap_ok(ingle_session_shift(k.s, 5, 100, &err) == INGLE_BAD_INPUT, "shift past the end: %s", err.text);
    stack_close(&k);
}

static bool count_text(void *user, const char *text, size_t n, int32_t id)
{
    (void)text;
    (void)id;
    *(size_t *)user += n;
    return true;
}

static void test_generate(void)
{
    ingle_error err = {0};
    stack k;
    ingle_sampler *sampler = NULL;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 2, .n_ctx = 64};
    ingle_sampler_options so = {.size = sizeof so};
    size_t n_text = 0;
    ingle_generate_options go = {.size = sizeof go, .on_text = count_text, .user = &n_text};
    ingle_generate_result r = {0};
    bool ok = stack_open(&k, path_f32, &o, &err) && !ingle_sampler_new(k.m, &so, &sampler, &err) &&
              !ingle_session_feed(k.s, prompt, N_PROMPT, &err) && !ingle_generate(k.s, sampler, &go, &r, &err);
    tap_ok(ok && r.finish == INGLE_FINISH_CONTEXT && ingle_session_length(k.s) == 64,
           "a full context ends generation: %s", err.text);
    go.n_max = 100;
    go.shift = true;
    ok = ok && !ingle_generate(k.s, sampler, &go, &r, &err);
    tap_ok(ok && r.finish == INGLE_FINISH_LENGTH && r.n_generated == 100, "with shift it goes on: %u tokens %s",
           r.n_generated, err.text);
    ingle_session_truncate(k.s, 0);
    const char *stops[] = {"little girl"};
    ingle_generate_options gs = {
        .size = sizeof gs, .stops = stops, .n_stops = 1, .on_text = count_text, .user = &n_text, .n_max = 40};
    n_text = 0;
    ok = ok && !ingle_session_feed(k.s, prompt, 5, &err) && !ingle_generate(k.s, sampler, &gs, &r, &err);
    tap_ok(ok && r.finish == INGLE_FINISH_STOP && n_text > 0,
           "a stop string that spans tokens ends generation (%zu bytes) %s", n_text, err.text);
    ingle_sampler_free(sampler);
    stack_close(&k);
}

/* Rules M16, M17: every allocation, map and thread start fails once; nothing crashes, leaks or stays half made. */
static void test_M16_faults(ig_fault_kind kind, int err_no, const char *name)
{
    uint64_t nth = 1;
    bool ok = true;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 2, .n_sessions = 2};
    for (bool passed = false; !passed && nth < 5000 && ok; nth++) {
        ingle_error err = {0};
        stack k;
        ig_fault_set(kind, nth, err_no, false);
        passed = stack_open(&k, path_moe, &o, &err);
        if (passed) passed = !ingle_session_feed(k.s, (int32_t[]){1, 2, 3}, 3, &err);
        passed = passed && ig_fault_calls(kind) < nth;
        ok = passed || err.text[0] || ig_fault_calls(kind) < nth;
        ig_fault_reset();
        stack_close(&k);
    }
    tap_ok(ok && nth < 5000, "test_M16 %s fails at call 1 to %llu: an error each time, no crash", name,
           (unsigned long long)nth - 1);
}

/* A copy of the F32 model with one word changed. */
static bool patched(const char *to, size_t from_end, uint32_t word)
{
    size_t n;
    char *data = tap_read(path_f32, &n);
    if (!data || n < from_end) return free(data), false;
    memcpy(data + n - from_end, &word, sizeof word);
    FILE *f = fopen(to, "wb");
    bool ok = f && fwrite(data, 1, n, f) == n;
    if (f) ok = fclose(f) == 0 && ok;
    free(data);
    return ok;
}

/* Rule G17: NaN in the weights is found by the scan, does not crash a step, and ends in an error when sampling. */
static void test_G17_nan_weights(void)
{
    char path[1024];
    ingle_error err = {0};
    stack k = {0};
    uint64_t bad = 0, block = 1, i = 0;
    ingle_tensor t;
    (void)snprintf(path, sizeof path, "%s/test_engine_nan.gguf", getenv("INGLE_BUILD") ? getenv("INGLE_BUILD") : ".");
    ingle_engine_options o = {.size = sizeof o, .n_threads = 1};
    bool ok = patched(path, 64, 0x7FC00000) && stack_open(&k, path, &o, &err);
    for (; ok && ingle_model_tensor(k.m, i, &t); i++)
        if (!ingle_model_scan(k.m, i, &bad, &block, &err) && bad) break;
    tap_ok(ok && bad == 1, "test_G17 the scan finds the NaN: tensor %s, block %llu %s", ok ? t.name : "",
           (unsigned long long)block, err.text);
    int32_t id = 0;
    ingle_sampler *sampler = NULL;
    ok = ok && !ingle_session_feed(k.s, prompt, N_PROMPT, &err) && !ingle_sampler_new(k.m, NULL, &sampler, &err);
    ingle_status st = ok ? ingle_sample(sampler, ingle_session_logits(k.s), &id, &err) : INGLE_BUG;
    tap_ok(ok && (st == INGLE_BAD_INPUT || (st == INGLE_OK && id >= 0 && id < 512)),
           "test_G17 a step over NaN ends in an error or a valid id: %s", ok ? ingle_status_name(st) : err.text);
    ingle_sampler_free(sampler);
    stack_close(&k);
    remove(path);
}

/* A session that is made long at once: tokens behind it are computed, and nothing of it is left when it goes back. */
static void test_pretend(const char *name)
{
    static const ingle_kv_type kinds[] = {INGLE_KV_F16, INGLE_KV_F32, INGLE_KV_Q8_0};
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/archs/%s.gguf", tap_data(), name);
    for (size_t i = 0; i < 3; i++) {
        ingle_engine_options o = {.size = sizeof o, .n_threads = 2, .n_ctx = 256, .n_batch = 32, .kv = kinds[i]};
        ingle_error err = {0};
        stack k = {0};
        float first[512];
        if (!tap_ok(stack_open(&k, path, &o, &err), "%s opens %s", name, err.text)) return;
        ingle_model_info info;
        ingle_model_describe(k.m, &info);
        const int32_t ids[] = {1, 5, 9, 2};
        bool ok = info.n_vocab <= 512 && ingle_session_feed(k.s, ids, 4, &err) == INGLE_OK;
        if (ok) memcpy(first, ingle_session_logits(k.s), info.n_vocab * sizeof *first);
        ok = ok && ingle_session_pretend(k.s, 200, &err) == INGLE_OK && ingle_session_length(k.s) == 200 &&
             !ingle_session_logits(k.s) && ingle_session_feed(k.s, ids, 4, &err) == INGLE_OK &&
             ingle_session_length(k.s) == 204;
        bool finite = ok;
        for (uint32_t v = 0; finite && v < info.n_vocab; v++) finite = isfinite(ingle_session_logits(k.s)[v]);
        tap_ok(finite && memcmp(first, ingle_session_logits(k.s), info.n_vocab * sizeof *first) != 0,
               "%s, cache %zu: tokens behind 200 made-up ones %s", name, i, err.text);
        tap_ok(ingle_session_pretend(k.s, 257, &err) == INGLE_TOO_LARGE, "%s: 257 are too many: %s", name, err.text);
        ingle_session_truncate(k.s, 0);
        tap_ok(ingle_session_feed(k.s, ids, 4, &err) == INGLE_OK &&
                   !memcmp(ingle_session_logits(k.s), first, info.n_vocab * sizeof *first),
               "%s: nothing of them is left", name);
        stack_close(&k);
    }
}

int main(void)
{
    (void)snprintf(path_f32, sizeof path_f32, "%s/stories260K.gguf", tap_data());
    (void)snprintf(path_q4, sizeof path_q4, "%s/stories260K.q4_0.gguf", tap_data());
    (void)snprintf(path_moe, sizeof path_moe, "%s/archs/llama-moe.gguf", tap_data());
    test_no_allocation_per_token(path_f32);
    test_no_allocation_per_token(path_q4);
    test_weights_read_once(path_f32, "stories260K");
    test_weights_read_once(path_q4, "stories260K.q4_0");
    test_limits();
    test_truncate_and_shift();
    test_generate();
    test_pretend("gemma3");
    test_pretend("glm-dsa");
    test_pretend("deepseek2");
    test_pretend("qwen3next");
    test_G17_nan_weights();
    test_M16_faults(IG_FAULT_ALLOC, ENOMEM, "allocation");
    test_M16_faults(IG_FAULT_MAP, ENOMEM, "map");
    test_M16_faults(IG_FAULT_OPEN, EMFILE, "open");
    test_M16_faults(IG_FAULT_THREAD, EAGAIN, "thread");
    return tap_done();
}
