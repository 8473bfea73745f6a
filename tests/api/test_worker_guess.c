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

/* The same requests without guesses, with them one after the other, and with them at once. */
typedef struct trial {
    json_t *(*request)(size_t i, uint32_t n_vocab);
    uint32_t n_vocab;
    size_t n, same, same_among;
    json_int_t drafted, accepted;
    answer plain[8], alone[8], among[8]; /* [n] */
} trial;

static bool ask_in_turn(worker *w, const trial *t, answer *to)
{
    bool ok = true;
    for (size_t i = 0; ok && i < t->n; i++) ok = go(w, &to[i], IG_FRAME_REQUEST, t->request(i, t->n_vocab));
    return ok;
}

static bool ask_guessing(worker *w, trial *t)
{
    if (!ask_in_turn(w, t, t->alone)) return false;
    for (size_t i = 0; i < t->n; i++) ask(w, &t->among[i], IG_FRAME_REQUEST, t->request(i, t->n_vocab));
    return collect(w, t->among, t->n);
}

static void compare(trial *t)
{
    for (size_t i = 0; i < t->n; i++) {
        t->same += same_answer(&t->plain[i], &t->alone[i]);
        t->same_among += same_answer(&t->plain[i], &t->among[i]);
        t->drafted += usage_of(&t->alone[i], "drafted");
        t->accepted += usage_of(&t->alone[i], "accepted");
        answer_fini(&t->plain[i]);
        answer_fini(&t->alone[i]);
        answer_fini(&t->among[i]);
    }
}

static void test_guesses(const char *path, const char *how, uint32_t n_vocab)
{
    const char *file = strrchr(path, '/') + 1;
    static trial t;
    worker w;
    t = (trial){.request = repeating, .n_vocab = n_vocab, .n = 6};
    bool ok = start_with(&w, path, json_pack("{s:s,s:i}", "speculate", "off", "n_ctx", 256));
    ok = ok && ask_in_turn(&w, &t, t.plain);
    stop(&w);
    ok = ok && start_with(&w, path, json_pack("{s:s,s:i}", "speculate", how, "n_ctx", 256));
    ok = ok && ask_guessing(&w, &t);
    stop(&w);
    compare(&t);
    tap_ok(ok && t.same == t.n && t.same_among == t.n,
           "%s, %s: with guesses the same answers, %zu of %zu alone, %zu among others", file, how, t.same, t.n,
           t.same_among);
    tap_ok(t.accepted > 0 && t.accepted <= t.drafted, "%s: %lld tokens guessed, %lld came true", file,
           (long long)t.drafted, (long long)t.accepted);
}

/* The same with a smaller model: prompts without repeats, so that it is the one who is asked, longer than what it reads
 * beside a step; users take turns in the slots. */
static json_t *telling(size_t i, uint32_t n_vocab)
{
    static const char *const starts[] = {"Once upon a time, there was a little girl named Lily. She loved to play.",
                                         "Tom had a red ball.", "One day, a big dog saw a cat in the garden. The cat"};
    static const char *const users[] = {"anna", "ben", "cleo", "dora"};
    char text[1024] = "";
    (void)n_vocab;
    for (size_t k = 0; k <= i % 3; k++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", k ? " " : "", starts[(i + k) % 3]);
    return json_pack("{s:s,s:s,s:s,s:b,s:i,s:f,s:i,s:s,s:i,s:b}", "op", "generate", "kind", "text", "prompt", text,
                     "return_ids", 1, "max_tokens", 60, "temperature", 0.3 * (double)(i % 3), "seed", (int)i, "user",
                     users[i % 4], "logprobs", 1, "ignore_eos", 1);
}

static void test_draft(void)
{
    static trial t = {.request = telling, .n = 8};
    worker w;
    const char *model = data_path("stories260K.gguf");
    bool ok = start_with(&w, model, json_pack("{s:s,s:i}", "speculate", "off", "n_ctx", 256));
    ok = ok && ask_in_turn(&w, &t, t.plain);
    stop(&w);
    draft_path = data_path("stories260K.q4_0.gguf");
    ok = ok && start_with(&w, model, json_pack("{s:s,s:i,s:i}", "speculate", "ngram", "n_ctx", 256, "n_sessions", 3));
    json_int_t bytes = json_integer_value(json_object_get(json_object_get(w.ready, "memory"), "draft"));
    ok = ok && ask_guessing(&w, &t);
    stop(&w);
    compare(&t);
    tap_ok(ok && t.same == t.n && t.same_among == t.n,
           "with a smaller model the same answers, %zu of %zu alone, %zu among others", t.same, t.n, t.same_among);
    tap_ok(t.accepted > t.drafted / 2 && t.drafted > 100, "the smaller model guessed %lld tokens, %lld came true",
           (long long)t.drafted, (long long)t.accepted);
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
