/* The worker from outside: a program of its own over a socket pair, as the service starts it. Every operation, the same
 * tokens alone and among others, what the prefix cache reports, cancelling, memory. Conversations are
 * test_worker_chat.c's, hostile input, ends and the sandbox test_worker_bounds.c's. */
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

#include "base/os.h"
#include "ingle.h"
#include "ipc/ipc.h"
#include "tests/api/worker_kit.h"
#include "tests/tap.h"
#include "worker/worker.h"

/* -------------------------------------------------------------------------------------------- operations */

static void test_ready(worker *w)
{
    const json_t *r = w->ready, *m = json_object_get(r, "memory");
    const char *arch = json_string_value(json_object_get(r, "architecture"));
    tap_ok(arch && !strcmp(arch, "llama") && json_integer_value(json_object_get(r, "n_params")) == 260032 &&
               json_integer_value(json_object_get(r, "n_ctx")) == 512 &&
               json_integer_value(json_object_get(r, "n_vocab")) == 512 &&
               json_is_true(json_object_get(r, "has_logits")) && json_is_false(json_object_get(r, "has_template")),
           "READY tells the model");
    tap_ok(json_integer_value(json_object_get(m, "weights")) > 1000000 &&
               json_integer_value(json_object_get(m, "kv")) > 0 &&
               json_integer_value(json_object_get(m, "workspace")) > 0 && w->n_load >= 2,
           "READY tells the memory, PROGRESS came before");
}

/* Greedy ids of the library in this process. */
static size_t library_ids(const char *prompt, int32_t *out, size_t n_max)
{
    ingle_model *m;
    ingle_engine *e;
    ingle_session *s;
    ingle_model_info info;
    size_t n = 0;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 1, .n_ctx = 512};
    if (ingle_model_open(data_path("stories260K.gguf"), NULL, &m, NULL) != INGLE_OK) abort();
    if (ingle_engine_new(m, &o, &e, NULL) != INGLE_OK || ingle_session_new(e, &s, NULL) != INGLE_OK) abort();
    ingle_model_describe(m, &info);
    if (ingle_session_feed_text(s, prompt, strlen(prompt), INGLE_ADD_SPECIAL, NULL) != INGLE_OK) abort();
    for (; n < n_max; n++) {
        const float *l = ingle_session_logits(s);
        uint32_t best = 0;
        for (uint32_t i = 1; i < info.n_vocab; i++)
            if (l[i] > l[best]) best = i;
        if (ingle_token_is_end(m, (int32_t)best)) break;
        out[n] = (int32_t)best;
        if (ingle_session_feed(s, &out[n], 1, NULL) != INGLE_OK) abort();
    }
    ingle_session_free(s);
    ingle_engine_free(e);
    ingle_model_close(m);
    return n;
}

static void test_generate(worker *w, answer *a)
{
    int32_t ids[60];
    size_t n = library_ids("Once upon a time", ids, 60);
    bool ok = go(w, a, IG_FRAME_REQUEST,
                 text_request("Once upon a time", json_pack("{s:i,s:i}", "temperature", 0, "max_tokens", 60)));
    tap_ok(ok && a->n_ids == n && !memcmp(a->ids, ids, n * sizeof *ids), "greedy ids are the library's (%zu)", n);
    tap_ok(!strcmp(finish_of(a), "length") && usage_of(a, "prompt") == 5 && usage_of(a, "completion") == 60 &&
               a->n_prompt == 1 && strstr(a->text, "little girl") != NULL,
           "the answer ends with length, usage is counted");
    go(w, a, IG_FRAME_REQUEST,
       json_pack("{s:s,s:s,s:s,s:i,s:i}", "op", "generate", "kind", "text", "prompt", "Once upon a time", "temperature",
                 0, "max_tokens", 60));
    tap_ok(a->frame_max < 200 && a->n_frames >= 50, "a token's frame has at most %zu bytes", a->frame_max);
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon a time",
                    json_pack("{s:i,s:i,s:[s,s]}", "temperature", 0, "max_tokens", 60, "stop", "zzz", "play out")));
    const char *stopped = json_string_value(json_object_get(a->done, "stop"));
    tap_ok(stopped && !strcmp(stopped, "play out") && !strcmp(finish_of(a), "stop") && !strstr(a->text, "play out") &&
               strstr(a->text, "loved to ") != NULL,
           "a stop string ends the answer and is not given out");
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon a time", json_pack("{s:i,s:i,s:[[i,s],[i,i]]}", "temperature", 0, "max_tokens", 1,
                                                  "logit_bias", 432, "-inf", 376, 1000)));
    tap_ok(a->n_ids == 1 && a->ids[0] == 376, "logit_bias decides");
    go(w, a, IG_FRAME_REQUEST, text_request("Once upon a time", json_pack("{s:i}", "max_tokens", 0)));
    tap_ok(!strcmp(finish_of(a), "length") && a->n_ids == 0, "max_tokens 0 reads the prompt alone");
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once", json_pack("{s:i,s:b,s:i}", "max_tokens", 600, "ignore_eos", 1, "temperature", 0)));
    tap_ok(!strcmp(finish_of(a), "length") && usage_of(a, "prompt") + usage_of(a, "completion") == 513,
           "without room the answer ends with length (%lld tokens)", (long long)usage_of(a, "completion"));
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once",
                    json_pack("{s:i,s:b,s:b,s:i}", "max_tokens", 900, "ignore_eos", 1, "shift", 1, "temperature", 0)));
    tap_ok(usage_of(a, "completion") == 900 && usage_of(a, "shifted") > 0, "with shift it goes on, and says so");
}

static void test_ends(worker *w, answer *a)
{
    /* The end token is made most probable. */
    json_t *more = json_pack("{s:i,s:i,s:[[i,i]]}", "max_tokens", 20, "temperature", 0, "logit_bias", 2, 1000);
    go(w, a, IG_FRAME_REQUEST, text_request("Once", json_incref(more)));
    tap_ok(!strcmp(finish_of(a), "stop") && a->n_ids == 0, "the end token ends the answer");
    json_object_set_new(more, "min_tokens", json_integer(5));
    go(w, a, IG_FRAME_REQUEST, text_request("Once", json_incref(more)));
    tap_ok(!strcmp(finish_of(a), "stop") && a->n_ids == 5, "not before min_tokens (%zu)", a->n_ids);
    json_object_set_new(more, "ignore_eos", json_true());
    go(w, a, IG_FRAME_REQUEST, text_request("Once", more));
    tap_ok(!strcmp(finish_of(a), "length") && a->n_ids == 20, "never with ignore_eos");
}

static void test_logprobs(worker *w, answer *a)
{
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon",
                    json_pack("{s:i,s:i,s:i,s:b}", "max_tokens", 4, "temperature", 0, "logprobs", 3, "echo", 1)));
    size_t n = json_array_size(a->lp), good = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(a->lp, i), *top = json_object_get(row, "top"),
                     *best = json_array_get(top, 0);
        double p = json_number_value(json_object_get(row, "logprob")),
               q = json_number_value(json_object_get(best, "logprob"));
        if (i == 0)
            good += json_is_null(json_object_get(row, "logprob"));
        else if (i < 3)
            good += json_array_size(top) == 3 && p <= q && q <= 0;
        else
            good += json_array_size(top) == 3 && p == q && p <= 0 &&
                    json_integer_value(json_object_get(row, "id")) == json_integer_value(json_object_get(best, "id"));
    }
    tap_ok(n == 3 + 4 && good == n, "log probabilities of prompt and answer (%zu of %zu)", good, n);
    tap_ok(strstr(a->text, "Once upon a") != NULL, "the prompt is echoed");
    json_t *first = json_deep_copy(a->lp);
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon", json_pack("{s:i,s:i,s:b}", "max_tokens", 0, "logprobs", 3, "echo", 1)));
    tap_ok(json_array_size(a->lp) == 3 && json_equal(json_array_get(a->lp, 2), json_array_get(first, 2)),
           "a prompt is scored with max_tokens 0, to the same numbers");
    json_decref(first);
}

static void test_choices(worker *w, answer *a)
{
    int32_t ids[64];
    go(w, a, IG_FRAME_REQUEST, text_request("Once upon", json_pack("{s:i,s:i}", "max_tokens", 30, "seed", 7)));
    size_t n = a->n_ids;
    memcpy(ids, a->ids, n * sizeof *ids);
    go(w, a, IG_FRAME_REQUEST,
       text_request("Once upon", json_pack("{s:i,s:i,s:i}", "max_tokens", 30, "seed", 7, "n", 6)));
    tap_ok(a->n_done == 6 && a->n_ids == n && !memcmp(a->ids, ids, n * sizeof *ids),
           "six choices on four sessions; the first is the one of n 1 (%u)", a->n_done);
}

static void test_queries(worker *w, answer *a)
{
    go(w, a, IG_FRAME_QUERY,
       json_pack("{s:s,s:s,s:b,s:b}", "op", "tokenize", "text", "Hello", "special", 1, "pieces", 1));
    const json_t *ids = json_object_get(a->result, "ids");
    tap_ok(json_array_size(ids) > 1 && json_integer_value(json_array_get(ids, 0)) == 1 &&
               json_array_size(json_object_get(a->result, "tokens")) == json_array_size(ids),
           "tokenize");
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s,s:[i,i,i]}", "op", "detokenize", "ids", 403, 407, 261));
    const char *text = json_string_value(json_object_get(a->result, "text"));
    tap_ok(text && strstr(text, "Once upon a"), "detokenize");
    go(w, a, IG_FRAME_QUERY,
       json_pack("{s:s,s:[{s:s,s:s}]}", "op", "template", "messages", "role", "user", "content", "hi"));
    text = json_string_value(json_object_get(a->result, "prompt"));
    tap_ok(text && !strcmp(text, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"), "template");
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s}", "op", "props"));
    tap_ok(json_integer_value(json_object_get(a->result, "n_ctx")) == 512, "props");
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s}", "op", "slots"));
    tap_ok(json_array_size(json_object_get(a->result, "slots")) == 4, "slots");
}

static bool close_to(const json_t *a, const json_t *b)
{
    bool ok = json_array_size(a) == json_array_size(b) && json_array_size(a) > 0;
    for (size_t i = 0; ok && i < json_array_size(a); i++)
        ok = json_number_value(json_array_get(a, i)) == json_number_value(json_array_get(b, i));
    return ok;
}

static void test_embed(void)
{
    worker w;
    answer a = {0}, b = {0};
    bool ok = start_with(&w, data_path("embeddings/bert.gguf"), NULL);
    if (!tap_ok(ok && json_is_false(json_object_get(w.ready, "has_logits")), "an encoder starts, without logits"))
        return;
    go(&w, &a, IG_FRAME_REQUEST,
       json_pack("{s:s,s:[[i,i,i],[i,i,i,i,i],[i,i]],s:b}", "op", "embed", "inputs", 1, 5, 2, 1, 7, 8, 9, 2, 1, 2,
                 "normalize", 1));
    go(&w, &b, IG_FRAME_REQUEST,
       json_pack("{s:s,s:[[i,i,i,i,i]],s:b}", "op", "embed", "inputs", 1, 7, 8, 9, 2, "normalize", 1));
    const json_t *all = json_object_get(a.result, "embeddings"), *one = json_object_get(b.result, "embeddings");
    double sum = 0;
    for (size_t i = 0; i < json_array_size(json_array_get(one, 0)); i++)
        sum += pow(json_number_value(json_array_get(json_array_get(one, 0), i)), 2);
    tap_ok(json_array_size(all) == 3 && close_to(json_array_get(all, 1), json_array_get(one, 0)) &&
               fabs(sum - 1) < 1e-5,
           "an embedding does not depend on its neighbours, and has length 1");
    go(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:[s],s:s}", "op", "embed", "inputs", "some text", "pooling", "none"));
    const json_t *rows = json_array_get(json_object_get(b.result, "embeddings"), 0);
    tap_ok(json_is_array(json_array_get(rows, 0)) &&
               (json_int_t)json_array_size(rows) ==
                   json_integer_value(json_object_get(json_object_get(b.result, "usage"), "prompt")),
           "pooling none gives a row for each token");
    go(&w, &b, IG_FRAME_REQUEST, text_request("x", NULL));
    tap_ok(!strcmp(error_type(&b), "unsupported"), "generating is refused: %s", error_text(&b));
    go(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:s,s:[s]}", "op", "rerank", "query", "q", "documents", "d"));
    tap_ok(!strcmp(error_type(&b), "unsupported"), "a model that does not judge is not asked: %s", error_text(&b));
    char *longest = malloc(40001);
    for (size_t i = 0; i < 40000; i++) longest[i] = i % 2 ? ' ' : 'a';
    longest[40000] = 0;
    go(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:[s]}", "op", "embed", "inputs", longest));
    tap_ok(!strcmp(error_type(&b), "too_long") && json_integer_value(json_object_get(b.error, "n_prompt")) > 512,
           "a text too long is refused with both numbers: %s", error_text(&b));
    go(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:[s],s:b}", "op", "embed", "inputs", longest, "truncate", 1));
    tap_ok(json_array_size(json_object_get(b.result, "embeddings")) == 1, "and cut when asked");
    free(longest);
    json_t *many = json_array();
    for (int i = 0; i < 2000; i++) json_array_append_new(many, json_pack("[i,i,i]", 1, 3 + i % 50, 2));
    ask(&w, &a, IG_FRAME_REQUEST, json_pack("{s:s,s:o}", "op", "embed", "inputs", many));
    ask(&w, &b, IG_FRAME_REQUEST, json_pack("{s:s,s:[[i,i,i]]}", "op", "embed", "inputs", 1, 4, 2));
    answer both[2] = {a, b};
    bool done = collect(&w, both, 2);
    all = json_object_get(both[0].result, "embeddings");
    tap_ok(done && both[1].order < both[0].order && json_array_size(all) == 2000 &&
               close_to(json_array_get(all, 51), json_array_get(json_object_get(both[1].result, "embeddings"), 0)),
           "a few texts do not wait for many");
    a = both[0], b = both[1];
    answer_fini(&a);
    answer_fini(&b);
    tap_ok(stop(&w) == 0, "the encoder's worker ends");
}

/* -------------------------------------------------------------------------------------------- scheduling */

enum { MANY = 12 };

static json_t *seeded(size_t i, const char *user)
{
    static const char *const prompts[] = {"Once upon a time", "The big dog", "Lily went to the park and she saw a",
                                          "One day"};
    return text_request(prompts[i % 4], json_pack("{s:i,s:f,s:i,s:s,s:f}", "max_tokens", 40 + (int)i, "temperature",
                                                  1.2, "seed", (int)i, "user", user, "repeat_penalty", 1.1));
}

static void test_determinism(worker *w, const char *what, size_t n_users)
{
    static answer alone[MANY], among[MANY];
    static const char *const users[] = {"anna", "ben", "cleo"};
    size_t same = 0, tokens = 0;
    for (size_t i = 0; i < MANY; i++) {
        json_t *body = seeded(i, "nobody");
        go(w, &alone[i], IG_FRAME_REQUEST, body);
    }
    for (size_t i = 0; i < MANY; i++) {
        json_t *body = seeded(i, users[i % n_users]);
        if (i % 5 == 4) json_object_set_new(body, "priority", json_string("batch"));
        ask(w, &among[i], IG_FRAME_REQUEST, body);
    }
    bool ok = collect(w, among, MANY);
    for (size_t i = 0; i < MANY; i++) {
        same += alone[i].n_ids > 0 && same_ids(&alone[i], &among[i]);
        tokens += among[i].n_ids;
        answer_fini(&alone[i]);
        answer_fini(&among[i]);
    }
    tap_ok(ok && same == MANY, "%s: the same tokens alone and among others (%zu of %d, %zu tokens)", what, same, MANY,
           tokens);
}

/* A conversation in ids: prompts that begin with earlier prompts and answers. */
static void test_prefix(const char *file, uint32_t n_vocab)
{
    worker w;
    answer a = {0}, b = {0};
    int32_t ids[600];
    size_t n = 200;
    if (!tap_ok(start_with(&w, data_path(file), json_pack("{s:i}", "n_ctx", n_vocab == 512 ? 512 : 1024)), "%s starts",
                file))
        return;
    for (size_t i = 0; i < 600; i++) ids[i] = (int32_t)(3 + i * 7919 % (n_vocab - 3));
    go(&w, &a, IG_FRAME_REQUEST, id_request(ids, n, "anna", 40));
    tap_ok(usage_of(&a, "cached") == 0 && a.n_ids == 40, "%s: a first turn has nothing cached", file);
    memcpy(ids + n, a.ids, a.n_ids * sizeof *ids);
    size_t turn = n + a.n_ids;
    for (size_t i = 0; i < 30; i++) ids[turn + i] = (int32_t)(5 + i);
    go(&w, &a, IG_FRAME_REQUEST, id_request(ids, turn + 30, "anna", 40));
    tap_ok(usage_of(&a, "cached") == (json_int_t)turn - 1,
           "%s: a second turn costs its new tokens alone (%lld of %zu cached)", file, (long long)usage_of(&a, "cached"),
           turn);
    for (size_t i = 0; i < 30; i++) ids[turn + i] = (int32_t)(40 + i);
    go(&w, &b, IG_FRAME_REQUEST, id_request(ids, turn + 30, "anna", 40));
    tap_ok(usage_of(&b, "cached") >= (json_int_t)turn - 1,
           "%s: an edit of the last turn keeps what was before it (%lld)", file, (long long)usage_of(&b, "cached"));
    go(&w, &a, IG_FRAME_REQUEST, id_request(ids, turn + 30, "ben", 40));
    tap_ok(usage_of(&a, "cached") == 0 && same_ids(&a, &b), "%s: another user shares nothing, and gets the same answer",
           file);
    answer_fini(&a);
    answer_fini(&b);
    stop(&w);
}

/* Conversations that lose their slot to others come back from disk, and go on as if they had stayed; others than their
 * user never see them. */
static void test_spill(const char *file, uint32_t n_vocab, json_int_t spill_max)
{
    enum { N = 5 };
    static answer first[N], again[N], fresh[N];
    static const char *const users[] = {"anna", "ben", "cleo", "dora", "eve"};
    worker w;
    size_t same = 0, kept = 0;
    int32_t ids[400];
    bool ok = start_with(&w, data_path(file),
                         json_pack("{s:i,s:i,s:I}", "n_ctx", 400, "n_sessions", 2, "spill_max",
                                   spill_max ? spill_max : (json_int_t)16 << 20));
    for (int turn = 0; ok && turn < 2; turn++)
        for (size_t i = 0; ok && i < N; i++) {
            for (size_t k = 0; k < 400; k++) ids[k] = (int32_t)(3 + (k + 17 * i) * 7919 % (n_vocab - 3));
            if (turn) memcpy(ids + 150, first[i].ids, first[i].n_ids * sizeof *ids);
            ok = go(&w, turn ? &again[i] : &first[i], IG_FRAME_REQUEST,
                    id_request(ids, turn ? 150 + first[i].n_ids + 20 : 150, users[i], 30));
        }
    for (size_t i = 0; ok && i < N; i++) {
        for (size_t k = 0; k < 400; k++) ids[k] = (int32_t)(3 + (k + 17 * i) * 7919 % (n_vocab - 3));
        memcpy(ids + 150, first[i].ids, first[i].n_ids * sizeof *ids);
        ok = go(&w, &fresh[i], IG_FRAME_REQUEST, id_request(ids, 150 + first[i].n_ids + 20, "stranger", 30));
        kept += usage_of(&again[i], "cached") == 150 + (json_int_t)first[i].n_ids - 1;
        same += again[i].n_ids == 30 && same_ids(&again[i], &fresh[i]) && (i || usage_of(&fresh[i], "cached") == 0);
    }
    tap_ok(ok && same == N, "%s: conversations back from disk go on as computed anew (%zu of %d)", file, same, N);
    tap_ok(spill_max ? kept < N : kept == N, "%s: %zu of %d were kept", file, kept, N);
    for (size_t i = 0; i < N; i++) {
        answer_fini(&first[i]);
        answer_fini(&again[i]);
        answer_fini(&fresh[i]);
    }
    tap_ok(stop(&w) == 0, "%s: and the worker ends well", file);
}

enum { LEFT_MAX = 4 << 20, LEFT_TOKENS = 200 };

/* A worker on the file asks itself what was asked before; how many tokens it knew, -1: it did not come up, answer or
 * end well. */
static json_int_t ask_left(const char *key, const char *user, answer *a)
{
    worker w;
    int32_t ids[LEFT_TOKENS];
    for (size_t i = 0; i < LEFT_TOKENS; i++) ids[i] = (int32_t)(3 + i * 7919 % 509);
    if (!start_with(
            &w, data_path("stories260K.gguf"),
            json_pack("{s:i,s:i,s:i,s:s}", "n_ctx", 400, "n_sessions", 2, "spill_max", LEFT_MAX, "spill_key", key)))
        return stop(&w), -1;
    bool ok = go(&w, a, IG_FRAME_REQUEST, id_request(ids, LEFT_TOKENS, user, 10));
    json_int_t cached = usage_of(a, "cached");
    send_json(&w, IG_FRAME_STOP, 0, json_pack("{s:b}", "leave", 1));
    return stop(&w) == 0 && ok && a->n_ids == 10 ? cached : -1;
}

/* What a worker leaves in its file the next one finds, unless anything about it is odd. */
static void test_leave(void)
{
    enum { ODD = 80 };
    static char list[64 << 10], odd[64 << 10];
    answer first = {0}, again = {0};
    size_t survived = 0;
    uint32_t x = 1;
    spill_file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    tap_ok(ask_left("a", "anna", &first) == 0, "an empty file holds nothing");
    ssize_t n = pread(spill_file, list, sizeof list, LEFT_MAX);
    tap_ok(n > 1000 && !memcmp(list, "INGLSPL1", 8), "a worker that ends leaves its conversations (%zd bytes)", n);
    tap_ok(ask_left("a", "anna", &again) == LEFT_TOKENS - 1 && same_ids(&first, &again),
           "the next one goes on from them");
    tap_ok(ask_left("a", "ben", &again) == 0 && same_ids(&first, &again), "for their user alone");
    tap_ok(ask_left("b", "anna", &again) == 0 && same_ids(&first, &again), "not with another key");
    for (int i = 0; n > 0 && i < ODD; i++) {
        memcpy(odd, list, (size_t)n);
        size_t most = i % 2 ? (size_t)n : 400, len = i % 5 ? (size_t)n : (x >> 8) % (size_t)n;
        for (int k = 0; k < 1 + i % 3; k++) {
            x = x * 1664525 + 1013904223;
            odd[(x >> 8) % most] = i % 4 ? (char)(x >> 24) : (char)0xff;
        }
        if (ftruncate(spill_file, LEFT_MAX) || pwrite(spill_file, odd, len, LEFT_MAX) < 0) break;
        survived += ask_left("a", "anna", &again) >= 0;
    }
    tap_ok(survived == ODD, "%zu of %d lists that are damaged: the worker answers and ends well", survived, ODD);
    answer_fini(&first);
    answer_fini(&again);
    close(spill_file);
    spill_file = -1;
}

static void test_fairness(void)
{
    static answer flood[10], one, batch[3];
    worker w;
    if (!tap_ok(start_with(&w, data_path("stories260K.gguf"), json_pack("{s:i}", "n_sessions", 2)), "two sessions"))
        return;
    for (size_t i = 0; i < 10; i++)
        ask(&w, &flood[i], IG_FRAME_REQUEST,
            text_request("Once", json_pack("{s:i,s:b,s:s,s:i}", "max_tokens", 200, "ignore_eos", 1, "user", "anna",
                                           "seed", (int)i)));
    ask(&w, &one, IG_FRAME_REQUEST,
        text_request("One day", json_pack("{s:i,s:b,s:s}", "max_tokens", 50, "ignore_eos", 1, "user", "ben")));
    answer all[11];
    memcpy(all, flood, sizeof flood);
    all[10] = one;
    bool ok = collect(&w, all, 11);
    size_t before = 0;
    for (size_t i = 0; i < 10; i++) before += all[i].order < all[10].order;
    tap_ok(ok && before <= 1, "ten requests of one user do not hold up another's (%zu ended before)", before);
    unsigned told = 0;
    for (size_t i = 0; i < 11; i++) told += all[i].n_queue;
    tap_ok(told > 0, "who waits is told the position (%u times)", told);
    for (size_t i = 0; i < 11; i++) answer_fini(&all[i]);
    memset(all, 0, sizeof all);
    for (size_t i = 0; i < 3; i++)
        ask(&w, &batch[i], IG_FRAME_REQUEST,
            text_request("Once", json_pack("{s:i,s:b,s:s,s:i}", "max_tokens", 300, "ignore_eos", 1, "priority", "batch",
                                           "seed", (int)i)));
    memset(&one, 0, sizeof one);
    ask(&w, &one, IG_FRAME_REQUEST, text_request("One day", json_pack("{s:i,s:b}", "max_tokens", 50, "ignore_eos", 1)));
    memcpy(all, batch, sizeof batch);
    all[3] = one;
    ok = collect(&w, all, 4);
    tap_ok(ok && all[3].order < all[0].order && all[3].order < all[1].order && all[0].n_ids == 300,
           "interactive work goes before batch, which goes on afterwards");
    for (size_t i = 0; i < 4; i++) answer_fini(&all[i]);
    stop(&w);
}

static void test_cancel(worker *w, answer *a)
{
    char *prompt = malloc(1001);
    memset(prompt, 'a', 1000);
    for (size_t i = 1; i < 1000; i += 2) prompt[i] = ' ';
    prompt[900] = 0;
    ask(w, a, IG_FRAME_REQUEST,
        text_request("Once", json_pack("{s:i,s:b,s:b}", "max_tokens", 1000000, "ignore_eos", 1, "shift", 1)));
    uint64_t id;
    json_t *body;
    size_t n, deltas = 0;
    while (deltas < 20) {
        uint32_t type = receive(w, &id, &body, &n, WAIT_MS);
        deltas += type == IG_FRAME_DELTA && id == a->id;
        json_decref(body);
        if (type == 0 || type == 99) break;
    }
    send_body(w, IG_FRAME_CANCEL, a->id, "{}", 2, NULL, 0);
    bool ok = collect(w, a, 1);
    tap_ok(ok && !strcmp(finish_of(a), "cancelled") && usage_of(a, "completion") >= 20,
           "a running answer is cancelled");
    static answer many[8];
    for (size_t i = 0; i < 8; i++)
        ask(w, &many[i], IG_FRAME_REQUEST, text_request(prompt, json_pack("{s:i,s:i}", "max_tokens", 100, "n", 3)));
    for (size_t i = 0; i < 8; i++) send_body(w, IG_FRAME_CANCEL, many[i].id, "{}", 2, NULL, 0);
    ok = collect(w, many, 8);
    size_t cancelled = 0;
    for (size_t i = 0; i < 8; i++) {
        cancelled += many[i].done && !strcmp(finish_of(&many[i]), "cancelled");
        answer_fini(&many[i]);
    }
    tap_ok(ok && cancelled >= 6, "prompts and waiting requests are cancelled (%zu of 8)", cancelled);
    send_body(w, IG_FRAME_CANCEL, 123456, "{}", 2, NULL, 0);
    go(w, a, IG_FRAME_QUERY, json_pack("{s:s}", "op", "slots"));
    size_t i, busy = 0;
    json_t *slot;
    json_array_foreach(json_object_get(a->result, "slots"), i, slot) busy +=
        strcmp(json_string_value(json_object_get(slot, "state")), "idle") != 0;
    tap_ok(busy == 0 && json_integer_value(json_object_get(a->result, "waiting")) == 0, "all slots are free again");
    free(prompt);
}

static void test_queue(void)
{
    static answer a[20];
    worker w;
    size_t refused = 0, done = 0;
    if (!tap_ok(start_with(&w, data_path("stories260K.gguf"), json_pack("{s:i,s:i}", "n_sessions", 1, "n_queue", 4)),
                "a queue of 4"))
        return;
    for (size_t i = 0; i < 20; i++)
        ask(&w, &a[i], IG_FRAME_REQUEST,
            text_request("Once", json_pack("{s:i,s:b}", "max_tokens", 300, "ignore_eos", 1)));
    bool ok = collect(&w, a, 20);
    for (size_t i = 0; i < 20; i++) {
        refused += !strcmp(error_type(&a[i]), "overloaded");
        done += a[i].n_ids == 300;
        answer_fini(&a[i]);
    }
    tap_ok(ok && refused > 0 && done >= 4 && refused + done == 20, "the queue is bounded: %zu done, %zu refused", done,
           refused);
    stop(&w);
}

/* Pages for little more than one context: the others wait or are sent back, and all come to their end. */
static void test_memory(void)
{
    worker w;
    static answer a[6];
    int64_t limit = 0, kv = 0;
    for (int64_t mib = 96; mib < 120 && kv < 800000; mib++) {
        if (limit) stop(&w);
        limit = mib << 20;
        if (!start_with(&w, data_path("stories260K.gguf"),
                        json_pack("{s:I,s:i}", "memory_max", (json_int_t)limit, "n_sessions", 8)))
            continue;
        kv = json_integer_value(json_object_get(json_object_get(w.ready, "memory"), "kv"));
    }
    tap_ok(kv > 0 && kv < 2621440, "a limit of %lld bytes leaves %lld for the cache", (long long)limit, (long long)kv);
    for (size_t i = 0; i < 6; i++)
        ask(&w, &a[i], IG_FRAME_REQUEST,
            text_request("Once upon a time",
                         json_pack("{s:i,s:b,s:i}", "max_tokens", 400, "ignore_eos", 1, "temperature", 0)));
    bool ok = collect(&w, a, 6);
    size_t same = 0;
    for (size_t i = 0; i < 6; i++) same += a[i].n_ids == 400 && same_ids(&a[i], &a[0]);
    tap_ok(ok && same == 6, "six answers share too few pages and come to their end (%zu) %s", same,
           a[0].error ? error_text(&a[0]) : "");
    for (size_t i = 0; i < 6; i++) answer_fini(&a[i]);
    stop(&w);
}

/* Clock ticks that a process has computed. */
static unsigned long ticks_of(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0, sys = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2) return 0;
    return user + sys;
}

/* A front that does not read: the worker stops computing instead of piling frames up. */
static void test_slow_reader(void)
{
    worker w;
    answer a = {0};
    start_with(&w, data_path("stories260K.gguf"), NULL);
    ask(&w, &a, IG_FRAME_REQUEST,
        text_request("Once", json_pack("{s:i,s:b,s:b,s:i}", "max_tokens", 100000, "ignore_eos", 1, "shift", 1,
                                       "logprobs", 100)));
    unsigned long before = 0, now = 1;
    int tries = 0;
    for (; before != now && tries < 60; tries++) {
        before = now;
        usleep(1000000);
        now = ticks_of(w.pid);
    }
    send_body(&w, IG_FRAME_CANCEL, a.id, "{}", 2, NULL, 0);
    bool ok = collect(&w, &a, 1);
    json_int_t n = usage_of(&a, "completion");
    tap_ok(ok && tries < 60 && !strcmp(finish_of(&a), "cancelled") && n > 100 && n < 3000,
           "it waits for a front that does not read (%lld tokens)", (long long)n);
    answer_fini(&a);
    stop(&w);
}

int main(void)
{
    worker w;
    answer a = {0};
    signal(SIGPIPE, SIG_IGN);
    if (!tap_ok(start_with(&w, data_path("stories260K.gguf"), NULL), "a worker starts")) return tap_done();
    test_ready(&w);
    test_generate(&w, &a);
    test_ends(&w, &a);
    test_logprobs(&w, &a);
    test_choices(&w, &a);
    test_queries(&w, &a);
    test_determinism(&w, "four sessions", 1);
    test_cancel(&w, &a);
    answer_fini(&a);
    tap_ok(stop(&w) == 0, "the worker ends when the socket closes");
    if (start_with(&w, data_path("stories260K.gguf"), json_pack("{s:i,s:i}", "n_sessions", 2, "n_batch", 7)))
        test_determinism(&w, "two sessions, three users", 3);
    stop(&w);
    test_prefix("stories260K.gguf", 512);
    test_prefix("archs/gemma3.gguf", 121);
    test_prefix("archs/falcon-h1.gguf", 121);
    test_prefix("archs/mamba.gguf", 121);
    test_leave();
    test_spill("stories260K.gguf", 512, 0);
    test_spill("stories260K.gguf", 512, 400000);
    test_spill("archs/gemma3.gguf", 121, 0);
    test_spill("archs/falcon-h1.gguf", 121, 0);
    test_fairness();
    test_queue();
    test_slow_reader();
    test_memory();
    test_embed();
    return tap_done();
}
