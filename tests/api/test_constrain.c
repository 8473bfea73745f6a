/* Answers held to a grammar: every way of sampling obeys, ends come where the grammar may end, reasoning stays free up
 * to its mark, what cannot go on is an error, and all of it from several threads at once. */
#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "base/fault.h"
#include "base/mem.h"
#include "ingle.h"
#include "tests/tap.h"

static const char schema[] = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":12},"
                             "\"age\":{\"type\":\"integer\","
                             "\"minimum\":0,\"maximum\":150},\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"a\","
                             "\"b\",\"c\"]},\"maxItems\":3}},"
                             "\"required\":[\"name\",\"age\"],\"additionalProperties\":false}";

typedef struct stack {
    ingle_model *m;
    ingle_engine *e;
    ingle_session *s;
    ingle_model_info info;
} stack;

static bool stack_open(stack *k, ingle_error *err)
{
    char path[1024];
    ingle_engine_options o = {.size = sizeof o, .n_threads = 1, .n_ctx = 512};
    (void)snprintf(path, sizeof path, "%s/serve/chat.gguf", tap_data());
    *k = (stack){0};
    if (ingle_model_open(path, NULL, &k->m, err)) return false;
    ingle_model_describe(k->m, &k->info);
    return !ingle_engine_new(k->m, &o, &k->e, err) && !ingle_session_new(k->e, &k->s, err);
}

static void stack_close(stack *k)
{
    ingle_session_free(k->s);
    ingle_engine_free(k->e);
    ingle_model_close(k->m);
}

static ingle_grammar *open_grammar(const char *text)
{
    ingle_grammar *g = NULL;
    ingle_error err;
    ingle_grammar_kind kind = text[0] == '{' ? INGLE_GRAMMAR_JSON_SCHEMA : INGLE_GRAMMAR_GBNF;
    if (ingle_grammar_open(kind, text, strlen(text), &g, &err)) fprintf(stderr, "%s\n", err.text);
    return g;
}

typedef struct said {
    char text[8192];
    int32_t ids[2048];
    size_t n, n_ids;
} said;

static bool collect(void *user, const char *text, size_t n, int32_t id)
{
    said *s = user;
    if (id >= 0 && s->n_ids < 2048) s->ids[s->n_ids++] = id;
    if (s->n + n < sizeof s->text) memcpy(s->text + s->n, text, n), s->n += n;
    s->text[s->n] = 0;
    return true;
}

static ingle_status answer(stack *k, const ingle_sampler_options *so, ingle_generate_options *o, said *out,
                           ingle_generate_result *r, ingle_error *err)
{
    ingle_sampler *sampler = NULL;
    *out = (said){0};
    ingle_session_truncate(k->s, 0);
    ingle_status st = ingle_session_feed_text(k->s, "Who are you?", 12, INGLE_ADD_SPECIAL, err);
    if (st == INGLE_OK) st = ingle_sampler_new(k->m, so, &sampler, err);
    o->size = sizeof *o, o->on_text = collect, o->user = out;
    if (st == INGLE_OK) st = ingle_generate(k->s, sampler, o, r, err);
    ingle_sampler_free(sampler);
    return st;
}

static bool matches(const ingle_grammar *g, const said *s)
{
    bool match = false;
    return ingle_grammar_match(g, s->text, s->n, &match, NULL, NULL) == INGLE_OK && match;
}

static void test_every_sampler(stack *k)
{
    static const ingle_sampler_options table[] = {
        {.temperature = 0},
        {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f},
        {.temperature = 5, .repetition_penalty = 1.5f},
        {.temperature = 1, .top_k = 1},
        {.temperature = 1, .top_p = 0.01f},
        {.temperature = 1, .min_p = 0.9f, .frequency_penalty = 2, .presence_penalty = -1, .penalty_last_n = UINT32_MAX},
        {.temperature = 1, .order = "temperature"},
        {.temperature = 1, .top_k = 5, .top_p = 0.5f, .order = "top_p;temperature;top_k"},
    };
    ingle_grammar *g = open_grammar(schema);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int bad = 0;
        said out = {0};
        ingle_error err = {0};
        for (uint64_t seed = 1; seed <= 10; seed++) {
            ingle_sampler_options so = table[i];
            ingle_generate_options o = {.grammar = g};
            ingle_generate_result r;
            so.size = sizeof so, so.seed = seed;
            bad +=
                answer(k, &so, &o, &out, &r, &err) || r.finish != INGLE_FINISH_END || r.incomplete || !matches(g, &out);
        }
        tap_ok(!bad, "sampler %zu: 10 answers match the schema and end by themselves (%s%s)", i, err.text,
               bad ? out.text : "");
    }
    ingle_grammar_close(g);
}

static void test_ends(stack *k)
{
    ingle_sampler_options so = {.size = sizeof so, .temperature = 1, .seed = 3};
    ingle_generate_result r;
    ingle_error err = {0};
    said out;
    ingle_grammar *five = open_grammar("root ::= \"a\"{5}"), *some = open_grammar("root ::= \"a\"{2,4}"),
                  *endless = open_grammar("root ::= \"a\" root"), *many = open_grammar("root ::= [a-z]{300} \".\"");
    ingle_generate_options o = {.grammar = five};
    bool ok = !answer(k, &so, &o, &out, &r, &err);
    tap_ok(ok && !strcmp(out.text, "aaaaa") && r.finish == INGLE_FINISH_END && !r.incomplete, "exactly five: %s%s",
           out.text, err.text);
    bool seen[8] = {false}, only = true;
    for (so.seed = 1; so.seed < 60; so.seed++) {
        o = (ingle_generate_options){.grammar = some};
        ok = ok && !answer(k, &so, &o, &out, &r, &err) && r.finish == INGLE_FINISH_END;
        seen[out.n & 7] = true;
        only = only && out.n >= 2 && out.n <= 4;
    }
    tap_ok(ok && only && seen[4], "two to four, nothing else");
    o = (ingle_generate_options){.grammar = many, .n_max = 7};
    ok = !answer(k, &so, &o, &out, &r, &err);
    tap_ok(ok && r.finish == INGLE_FINISH_LENGTH && r.incomplete, "cut off by n_max: said to be incomplete");
    static const char *const stops[] = {"aa"};
    o = (ingle_generate_options){.grammar = five, .stops = stops, .n_stops = 1};
    ok = !answer(k, &so, &o, &out, &r, &err);
    tap_ok(ok && r.finish == INGLE_FINISH_STOP && r.incomplete, "cut off by a stop: said to be incomplete");
    o = (ingle_generate_options){.grammar = five, .ignore_end = true};
    tap_ok(answer(k, &so, &o, &out, &r, &err) == INGLE_BAD_INPUT && strstr(err.text, "ignore_end"),
           "a grammar excludes ignore_end");
    o = (ingle_generate_options){.grammar = endless, .n_max = 20};
    if (endless)
        tap_ok(answer(k, &so, &o, &out, &r, &err) == INGLE_BAD_INPUT && strstr(err.text, "no text"),
               "a grammar without any text is refused: %s", err.text);
    else
        tap_ok(true, "a grammar without any text is refused when it is compiled");
    ingle_grammar_close(five);
    ingle_grammar_close(some);
    ingle_grammar_close(endless);
    ingle_grammar_close(many);
}

/* The same tokens as ingle_generate, with the public pieces; the session's logits are not touched. */
static void test_own_loop(stack *k)
{
    ingle_sampler_options so = {.size = sizeof so, .temperature = 0.9f, .seed = 5};
    ingle_grammar *g = open_grammar(schema);
    ingle_generate_options o = {.grammar = g};
    ingle_generate_result r;
    ingle_error err = {0};
    said out;
    bool ok = !answer(k, &so, &o, &out, &r, &err);
    ingle_constraint *c = NULL;
    ingle_sampler *sampler = NULL;
    float *row = calloc(k->info.n_vocab, sizeof *row), *kept = calloc(k->info.n_vocab, sizeof *kept);
    int32_t ids[2048];
    size_t n = 0, bytes = k->info.n_vocab * sizeof *row;
    ingle_session_truncate(k->s, 0);
    ok = ok && !ingle_session_feed_text(k->s, "Who are you?", 12, INGLE_ADD_SPECIAL, &err) &&
         !ingle_sampler_new(k->m, &so, &sampler, &err) && !ingle_constraint_new(k->m, g, NULL, &c, &err);
    bool untouched = true, unmasked = true;
    while (ok && n < 2048) {
        const float *logits = ingle_session_logits(k->s);
        ingle_logprob chosen, top;
        memcpy(kept, logits, bytes);
        memcpy(row, logits, bytes);
        ok = !ingle_constraint_mask(c, row, &err) && !ingle_sample(sampler, row, &ids[n], &err) &&
             !ingle_constraint_accept(c, ids[n], &err) && !ingle_logprobs(k->m, logits, ids[n], &chosen, &top, 1, &err);
        untouched = untouched && !memcmp(kept, logits, bytes);
        unmasked = unmasked && ok && top.logprob >= chosen.logprob;
        if (!ok || ingle_token_is_end(k->m, ids[n])) break;
        ok = !ingle_session_feed(k->s, &ids[n++], 1, &err);
    }
    tap_ok(ok && n == out.n_ids && !memcmp(ids, out.ids, n * sizeof *ids), "an own loop gives the same %zu tokens (%s)",
           n, err.text);
    tap_ok(untouched && unmasked, "logits and log probabilities are those without the mask");
    tap_ok(ok && ingle_constraint_complete(c) && ingle_constraint_mask(c, row, &err) == INGLE_NOT_FOUND,
           "after the end nothing follows: %s", err.text);
    tap_ok(ok && ingle_constraint_accept(c, 65, &err) == INGLE_BAD_INPUT, "and no token is accepted: %s", err.text);
    tap_ok(ok && ingle_constraint_accept(c, -1, &err) == INGLE_BAD_INPUT &&
               ingle_constraint_accept(c, (int32_t)k->info.n_vocab, &err) == INGLE_BAD_INPUT,
           "ids outside the vocabulary are refused: %s", err.text);
    ingle_constraint_free(c);
    ingle_sampler_free(sampler);
    ingle_grammar_close(g);
    free(row);
    free(kept);
}

/* ------------------------------------------------------------------------------------------------ reasoning */

/* The one token that a text is. */
static int32_t token(const stack *k, const char *text)
{
    int32_t id = -1;
    size_t n = 0;
    if (ingle_tokenize(k->m, text, strlen(text), INGLE_PARSE_SPECIAL, &id, 1, &n, NULL) || n != 1) return -1;
    return id;
}

/* Feeds the bytes of a text as tokens, each of which must be allowed. In this vocabulary token b is byte b. */
static bool feed(ingle_constraint *c, const stack *k, const char *text)
{
    float *row = calloc(k->info.n_vocab, sizeof *row);
    bool ok = true;
    for (const char *p = text; ok && *p; p++) {
        int32_t id = (unsigned char)*p;
        memset(row, 0, k->info.n_vocab * sizeof *row);
        ok = !ingle_constraint_mask(c, row, NULL) && isfinite(row[id]) && !ingle_constraint_accept(c, id, NULL);
    }
    free(row);
    return ok;
}

static bool allows(ingle_constraint *c, const stack *k, int32_t id)
{
    float *row = calloc(k->info.n_vocab, sizeof *row);
    bool ok = id >= 0 && !ingle_constraint_mask(c, row, NULL) && isfinite(row[id]);
    free(row);
    return ok;
}

static size_t n_allowed(ingle_constraint *c, const stack *k)
{
    float *row = calloc(k->info.n_vocab, sizeof *row);
    size_t n = 0;
    if (ingle_constraint_mask(c, row, NULL)) memset(row, 0xff, k->info.n_vocab * sizeof *row);
    for (uint32_t i = 0; i < k->info.n_vocab; i++) n += isfinite(row[i]) != 0;
    free(row);
    return n;
}

static ingle_constraint *constraint(const stack *k, const ingle_grammar *g, const char *from, const char *to)
{
    ingle_constraint *c = NULL;
    ingle_error err;
    ingle_constraint_options o = {.size = sizeof o, .think_start = from, .think_end = to};
    if (ingle_constraint_new(k->m, g, &o, &c, &err)) fprintf(stderr, "%s\n", err.text);
    return c;
}

static void test_reasoning(stack *k)
{
    ingle_grammar *g = open_grammar("root ::= \"<yes>\" | \"no\"");
    int32_t start = token(k, "<think>"), stop = token(k, "</think>"), end = token(k, "<|im_end|>");
    tap_ok(start >= 0 && stop >= 0 && end >= 0, "the vocabulary has the marks");

    ingle_constraint *c = constraint(k, g, NULL, "</think>");
    tap_ok(c && ingle_constraint_thinking(c) && feed(c, k, "any text, {even} </thin this") && !allows(c, k, end) &&
               !ingle_constraint_complete(c),
           "free while the model thinks, but no end");
    tap_ok(!ingle_constraint_accept(c, stop, NULL) && !ingle_constraint_thinking(c) && allows(c, k, '<') &&
               allows(c, k, 'n') && !allows(c, k, 'x') && !allows(c, k, ' ') && !allows(c, k, start),
           "behind the mark the grammar holds");
    tap_ok(feed(c, k, "no") && ingle_constraint_complete(c) && allows(c, k, end) && n_allowed(c, k) >= 1 &&
               !allows(c, k, 'n'),
           "and the end comes where it may");
    ingle_constraint_free(c);

    c = constraint(k, g, NULL, "</think>");
    tap_ok(feed(c, k, "a </think></thin") == false, "after the mark in single bytes no free text");
    ingle_constraint_free(c);
    c = constraint(k, g, NULL, "</think>");
    tap_ok(feed(c, k, "<</</think>no") && ingle_constraint_complete(c), "the mark in single bytes");
    ingle_constraint_free(c);

    c = constraint(k, g, "<think>", "</think>");
    tap_ok(c && !ingle_constraint_thinking(c) && allows(c, k, start) && allows(c, k, '<') && allows(c, k, 'n') &&
               !allows(c, k, 'x') && !allows(c, k, stop),
           "undecided: the mark or the grammar");
    tap_ok(!ingle_constraint_accept(c, start, NULL) && feed(c, k, "hm") && !ingle_constraint_accept(c, stop, NULL) &&
               feed(c, k, "<yes>") && ingle_constraint_complete(c),
           "with reasoning");
    ingle_constraint_free(c);
    c = constraint(k, g, "<think>", "</think>");
    tap_ok(feed(c, k, "<") && allows(c, k, 't') && allows(c, k, 'y') && !allows(c, k, 'x') && feed(c, k, "yes>") &&
               ingle_constraint_complete(c),
           "without reasoning, although both begin alike");
    ingle_constraint_free(c);
    c = constraint(k, g, "<think>", "</think>");
    tap_ok(feed(c, k, "<think>hm</think>no") && ingle_constraint_complete(c), "both marks in single bytes");
    ingle_constraint_free(c);
    c = constraint(k, g, NULL, "e");
    tap_ok(feed(c, k, "th"), "a mark of one byte");
    /* A merged token such as "er" would end the reasoning and begin an answer. */
    bool held = true;
    for (uint32_t id = 256; id < k->info.n_vocab; id++) {
        char text[64];
        size_t n = 0;
        int32_t one = (int32_t)id;
        if (ingle_detokenize(k->m, &one, 1, INGLE_WRITE_SPECIAL, text, sizeof text, &n, NULL) || n > sizeof text)
            continue;
        const char *e = memchr(text, 'e', n);
        bool more = e && strspn(e + 1, " \n") < (size_t)(text + n - e - 1);
        if (!ingle_token_is_end(k->m, one)) held = held && allows(c, k, one) == !more;
    }
    tap_ok(held, "a token that goes on behind the mark is not allowed");
    ingle_constraint_free(c);
    ingle_grammar_close(g);
}

static void test_reasoning_in_generate(stack *k)
{
    ingle_grammar *g = open_grammar(schema);
    ingle_logit_bias bias = {token(k, "</think>"), 6};
    ingle_sampler_options so = {.size = sizeof so, .temperature = 1, .bias = &bias, .n_bias = 1};
    ingle_error err = {0};
    int bad = 0, thought = 0;
    for (so.seed = 1; so.seed <= 20; so.seed++) {
        ingle_generate_options o = {.grammar = g, .think_end = "</think>", .write_special = true, .n_max = 400};
        ingle_generate_result r;
        said out;
        if (answer(k, &so, &o, &out, &r, &err)) {
            bad++;
            continue;
        }
        char *mark = memmem(out.text, out.n, "</think>", 8);
        if (!mark) continue;
        thought += mark > out.text;
        said rest = {.n = out.n - (size_t)(mark + 8 - out.text)};
        memcpy(rest.text, mark + 8, rest.n);
        bad += r.finish != INGLE_FINISH_END || r.incomplete || !matches(g, &rest);
    }
    tap_ok(!bad && thought > 3, "generation: %d of 20 thought first, and every answer matches (%s)", thought, err.text);
    ingle_grammar_close(g);
}

/* ------------------------------------------------------------------------------------------------ errors */

/* A vocabulary of words: most grammars cannot be written with it, and nothing ends a text. */
static void test_poor_vocabulary(void)
{
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"model\":{\"type\":\"WordLevel\",\"unk_token\":"
        "\"?\",\"vocab\":{\"?\":0,\"Hello\":1,\"world\":2}}}";
    char dir[] = "/tmp/ingle_constrain_XXXXXX", file[64];
    ingle_model *m = NULL;
    ingle_error err = {0};
    if (!mkdtemp(dir)) return;
    (void)snprintf(file, sizeof file, "%s/tokenizer.json", dir);
    FILE *f = fopen(file, "w");
    if (f) fputs(json, f), fclose(f);
    bool ok = f && !ingle_model_open(dir, NULL, &m, &err);
    ingle_grammar *hello = open_grammar("root ::= \" Hello\""), *x = open_grammar("root ::= \"x\"");
    ingle_constraint *c = NULL;
    float row[3] = {0};
    ok = ok && !ingle_constraint_new(m, hello, NULL, &c, &err) && !ingle_constraint_mask(c, row, &err);
    tap_ok(ok && row[1] == 0 && isinf(row[0]) && isinf(row[2]) && !ingle_constraint_accept(c, 1, &err) &&
               ingle_constraint_mask(c, row, &err) == INGLE_NOT_FOUND,
           "complete, and no token that could say so: %s", err.text);
    ingle_constraint_free(c);
    c = NULL;
    row[0] = row[1] = row[2] = 0;
    tap_ok(!ingle_constraint_new(m, x, NULL, &c, &err) && ingle_constraint_mask(c, row, &err) == INGLE_UNSUPPORTED &&
               strstr(err.text, "no token"),
           "no token fits: %s", err.text);
    tap_ok(ingle_constraint_accept(c, 2, &err) == INGLE_BAD_INPUT, "what was not allowed is refused: %s", err.text);
    ingle_constraint_free(c);
    ingle_constraint_options o = {.size = sizeof o, .think_end = ""};
    tap_ok(ingle_constraint_new(m, hello, &o, &c, &err) == INGLE_BAD_INPUT && !c, "an empty mark: %s", err.text);
    char big[300] = {0};
    memset(big, 'x', sizeof big - 1);
    o.think_end = big;
    tap_ok(ingle_constraint_new(m, hello, &o, &c, &err) == INGLE_TOO_LARGE && !c, "a mark that is too long: %s",
           err.text);
    ingle_model_close(m); /* before the grammars, which keep their masks of it */
    ingle_grammar_close(hello);
    ingle_grammar_close(x);
    remove(file);
    remove(dir);
}

static void test_all_forbidden(stack *k)
{
    ingle_grammar *g = open_grammar("root ::= \"q\"");
    ingle_logit_bias bias = {'q', -INFINITY};
    ingle_sampler_options so = {.size = sizeof so, .bias = &bias, .n_bias = 1};
    ingle_generate_options o = {.grammar = g};
    ingle_generate_result r;
    ingle_error err = {0};
    said out;
    tap_ok(answer(k, &so, &o, &out, &r, &err) == INGLE_BAD_INPUT && strstr(err.text, "grammar"),
           "the only token is forbidden by a bias: %s", err.text);
    ingle_grammar_close(g);
}

/* ------------------------------------------------------------------------------------------------ threads */

typedef struct job {
    stack *k;
    ingle_grammar *g;
    bool ok;
} job;

static void *walk(void *user)
{
    job *j = user;
    j->ok = true;
    float *row = calloc(j->k->info.n_vocab, sizeof *row);
    for (int i = 0; i < 20 && j->ok; i++) {
        ingle_constraint *c = NULL;
        j->ok = !ingle_constraint_new(j->k->m, j->g, NULL, &c, NULL);
        for (const char *p = "{\"name\":\"Lily\",\"age\":7}"; j->ok && *p; p++) {
            memset(row, 0, j->k->info.n_vocab * sizeof *row);
            j->ok = !ingle_constraint_mask(c, row, NULL) && isfinite(row[(unsigned char)*p]) &&
                    !ingle_constraint_accept(c, *p, NULL);
        }
        j->ok = j->ok && ingle_constraint_complete(c);
        ingle_constraint_free(c);
    }
    free(row);
    return NULL;
}

static void test_threads(stack *k)
{
    enum { N = 6 };
    pthread_t threads[N];
    job jobs[N];
    bool ok = true;
    ingle_grammar *g = open_grammar(schema);
    for (int i = 0; i < N; i++) {
        jobs[i] = (job){.k = k, .g = g};
        ok = !pthread_create(&threads[i], NULL, walk, &jobs[i]) && ok;
    }
    for (int i = 0; i < N; i++) ok = !pthread_join(threads[i], NULL) && jobs[i].ok && ok;
    tap_ok(ok, "%d threads share a model and a grammar", N);
    ingle_grammar_close(g);
}

/* M16: every allocation fails once, on the way from a schema to its first tokens. */
static void test_M16_no_memory(void)
{
    bool ok = true, passed = false;
    uint64_t nth = 0;
    float row[512];
    while (ok && !passed && nth < 20000) {
        stack k;
        ingle_error err = {0};
        ingle_constraint *c = NULL;
        ingle_grammar *g = NULL;
        ingle_constraint_options o = {.size = sizeof o, .think_start = "<think>", .think_end = "</think>"};
        if (!(ok = stack_open(&k, &err) && k.info.n_vocab <= 512)) break;
        ig_fault_set(IG_FAULT_ALLOC, ++nth, ENOMEM, false);
        bool done = !ingle_grammar_open(INGLE_GRAMMAR_JSON_SCHEMA, schema, sizeof schema - 1, &g, &err) &&
                    !ingle_constraint_new(k.m, g, &o, &c, &err);
        for (const char *p = "{\"age\":7"; done && *p; p++)
            done = !ingle_constraint_mask(c, row, &err) && !ingle_constraint_accept(c, *p, &err);
        passed = ig_fault_calls(IG_FAULT_ALLOC) < nth;
        ig_fault_reset();
        ok = passed ? done : done || err.status == INGLE_NO_MEMORY;
        if (!ok)
            printf("# allocation %llu: %s: %s\n", (unsigned long long)nth, ingle_status_name(err.status), err.text);
        ingle_constraint_free(c);
        ingle_grammar_close(g);
        stack_close(&k);
        nth += nth / 20; /* every one at first, then more and more seldom */
    }
    tap_ok(ok && passed, "M16: allocations that fail are errors, up to number %llu", (unsigned long long)nth);
}

int main(void)
{
    stack k;
    ingle_error err = {0};
    if (!stack_open(&k, &err)) {
        tap_ok(false, "the model opens: %s", err.text);
        return tap_done();
    }
    test_threads(&k); /* first: the vocabulary is not indexed yet */
    test_every_sampler(&k);
    test_ends(&k);
    test_own_loop(&k);
    test_reasoning(&k);
    test_reasoning_in_generate(&k);
    test_all_forbidden(&k);
    test_poor_vocabulary();
    test_M16_no_memory();
    stack_close(&k);
    return tap_done();
}
