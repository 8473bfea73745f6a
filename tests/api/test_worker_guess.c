/* The worker's guesses, by look-up, by a smaller model and by a head of the model's own: the very answers that come
 * without, with their log probabilities, alone and among others. */
#include "tests/api/worker_kit.h"
#include "tests/golden/draft_models.h"

/* Prompts with repeats, greedy and sampled: with guesses the very answers, with their log probabilities, that come
 * without, alone and among others. */
static json_t *repeating(size_t i, uint32_t n_vocab)
{
    int32_t ids[80];
    static const char *const users[] = {"anna", "ben", "cleo"};
    for (size_t k = 0; k < 80; k++) ids[k] = (int32_t)(3 + k % (9 + i) * 7919 % (n_vocab - 3));
    json_t *body = id_request(ids, 60 + i, users[i % 3], 150 + (int)i);
    json_object_update_new(
        body, json_pack("{s:f,s:i,s:i}", "temperature", i % 2 ? 0.1 * (double)i : 0.0, "seed", (int)i, "logprobs", 2));
    if (i % 4 == 1) json_object_set_new(body, "repeat_penalty", json_real(1.05));
    return body;
}

static bool same_answer(const answer *a, const answer *b)
{
    return a->n_ids > 0 && same_ids(a, b) && a->n_text == b->n_text && !memcmp(a->text, b->text, a->n_text) &&
           !strcmp(finish_of(a), finish_of(b)) && a->n_lp == b->n_lp && json_equal(a->lp, b->lp);
}

static void test_guesses(const char *path, const char *how, uint32_t n_vocab)
{
    enum { N = 6 };
    static answer plain[N], alone[N], among[N];
    const char *file = strrchr(path, '/') + 1;
    worker w;
    size_t same = 0, same_among = 0;
    json_int_t drafted = 0, accepted = 0;
    bool ok = start_with(&w, path, json_pack("{s:s,s:i}", "speculate", "off", "n_ctx", 256));
    for (size_t i = 0; ok && i < N; i++) ok = go(&w, &plain[i], IG_FRAME_REQUEST, repeating(i, n_vocab));
    stop(&w);
    ok = ok && start_with(&w, path, json_pack("{s:s,s:i}", "speculate", how, "n_ctx", 256));
    for (size_t i = 0; ok && i < N; i++) ok = go(&w, &alone[i], IG_FRAME_REQUEST, repeating(i, n_vocab));
    for (size_t i = 0; ok && i < N; i++) ask(&w, &among[i], IG_FRAME_REQUEST, repeating(i, n_vocab));
    ok = ok && collect(&w, among, N);
    stop(&w);
    for (size_t i = 0; i < N; i++) {
        same += same_answer(&plain[i], &alone[i]);
        same_among += same_answer(&plain[i], &among[i]);
        drafted += usage_of(&alone[i], "drafted");
        accepted += usage_of(&alone[i], "accepted");
        answer_fini(&plain[i]);
        answer_fini(&alone[i]);
        answer_fini(&among[i]);
    }
    tap_ok(ok && same == N && same_among == N,
           "%s, %s: with guesses the same answers, %zu of %d alone, %zu among others", file, how, same, N, same_among);
    tap_ok(accepted > 0 && accepted <= drafted, "%s: %lld tokens guessed, %lld came true", file, (long long)drafted,
           (long long)accepted);
}

/* The same with a smaller model: prompts without repeats, so that it is the one who is asked, longer than what it reads
 * beside a step; users take turns in the slots. */
static json_t *telling(size_t i)
{
    static const char *const starts[] = {"Once upon a time, there was a little girl named Lily. She loved to play.",
                                         "Tom had a red ball.", "One day, a big dog saw a cat in the garden. The cat"};
    static const char *const users[] = {"anna", "ben", "cleo", "dora"};
    char text[1024] = "";
    for (size_t k = 0; k <= i % 3; k++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", k ? " " : "", starts[(i + k) % 3]);
    return json_pack("{s:s,s:s,s:s,s:b,s:i,s:f,s:i,s:s,s:i,s:b}", "op", "generate", "kind", "text", "prompt", text,
                     "return_ids", 1, "max_tokens", 60, "temperature", 0.3 * (double)(i % 3), "seed", (int)i, "user",
                     users[i % 4], "logprobs", 1, "ignore_eos", 1);
}

static void test_draft(void)
{
    enum { N = 8 };
    static answer plain[N], alone[N], among[N];
    worker w;
    size_t same = 0, same_among = 0;
    json_int_t drafted = 0, accepted = 0;
    const char *model = data_path("stories260K.gguf");
    bool ok = start_with(&w, model, json_pack("{s:s,s:i}", "speculate", "off", "n_ctx", 256));
    for (size_t i = 0; ok && i < N; i++) ok = go(&w, &plain[i], IG_FRAME_REQUEST, telling(i));
    stop(&w);
    draft_path = data_path("stories260K.q4_0.gguf");
    ok = ok && start_with(&w, model, json_pack("{s:s,s:i,s:i}", "speculate", "ngram", "n_ctx", 256, "n_sessions", 3));
    json_int_t bytes = json_integer_value(json_object_get(json_object_get(w.ready, "memory"), "draft"));
    for (size_t i = 0; ok && i < N; i++) ok = go(&w, &alone[i], IG_FRAME_REQUEST, telling(i));
    for (size_t i = 0; ok && i < N; i++) ask(&w, &among[i], IG_FRAME_REQUEST, telling(i));
    ok = ok && collect(&w, among, N);
    stop(&w);
    for (size_t i = 0; i < N; i++) {
        same += same_answer(&plain[i], &alone[i]);
        same_among += same_answer(&plain[i], &among[i]);
        drafted += usage_of(&alone[i], "drafted");
        accepted += usage_of(&alone[i], "accepted");
        answer_fini(&plain[i]);
        answer_fini(&alone[i]);
        answer_fini(&among[i]);
    }
    tap_ok(ok && same == N && same_among == N,
           "with a smaller model the same answers, %zu of %d alone, %zu among others", same, N, same_among);
    tap_ok(accepted > drafted / 2 && drafted > 100, "the smaller model guessed %lld tokens, %lld came true",
           (long long)drafted, (long long)accepted);
    tap_ok(bytes > 100000, "its %lld bytes are counted", (long long)bytes);
    draft_path = data_path("archs/gemma3.gguf");
    ok = start_with(&w, model, NULL);
    const char *why = json_string_value(json_object_get(w.ready, "message"));
    tap_ok(!ok && w.ready_type == IG_FRAME_ERROR && why && strstr(why, "vocabulary"), "another vocabulary: %s",
           why ? why : "no reason");
    stop(&w);
    draft_path = NULL;
}

/* The same with models that bring a head for it. */
static void test_heads(const char *file, float rest)
{
    char path[] = "/tmp/ingle-heads-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) abort();
    close(fd);
    draft_change change = {.perfect = true, .rest = rest};
    if (tap_ok(draft_model_write(data_path(file), path, &change), "%s gets a head", file)) {
        test_guesses(path, "head", 121);
        test_guesses(path, "auto", 121);
    }
    remove(path);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    test_guesses(data_path("stories260K.gguf"), "ngram", 512);
    test_guesses(data_path("archs/falcon-h1.gguf"), "ngram", 121);
    test_draft();
    test_heads("archs/qwen3next.gguf", 0.2f);
    if (tap_sanitized) return tap_done(); /* ten times slower; the rest differs in what is computed alone */
    test_guesses(data_path("archs/gemma3.gguf"), "ngram", 121);
    test_guesses(data_path("archs/mamba.gguf"), "ngram", 121);
    test_heads("archs/deepseek2.gguf", 0);
    test_heads("archs/deepseek2.gguf", 0.2f);
    return tap_done();
}
