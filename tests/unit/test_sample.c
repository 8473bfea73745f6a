/* The sampler chain against a plain reference, and the text stream against one that sees the whole text. */
#include <math.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "engine/api.h"
#include "engine/stream.h"
#include "ingle.h"
#include "tests/tap.h"

static uint64_t state = 1;
static uint32_t rnd(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

static ingle_model *model; /* stories260K: 512 tokens */
enum { V = 512 };

static void random_logits(float *l)
{
    bool ties = rnd(4) == 0;
    for (int i = 0; i < V; i++) l[i] = ties ? (float)rnd(6) - 3 : ((float)rnd(100000) / 100000 - 0.5f) * 12;
    if (rnd(8) == 0) l[rnd(V)] = NAN;
    if (rnd(8) == 0) l[rnd(V)] = -INFINITY;
}

typedef struct ref_candidate {
    double logit;
    int id;
} ref_candidate;

static int falling(const void *a, const void *b)
{
    const ref_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id - y->id;
}

/* The default chain, written plainly: sort everything, cut. Returns the candidates that may be drawn. */
static int reference(const float *l, const ingle_sampler_options *o, const int *counts, ref_candidate *c)
{
    int n = 0;
    for (int i = 0; i < V; i++) {
        if (!isfinite(l[i])) continue;
        float x = l[i];
        if (counts[i]) {
            float rep = o->repetition_penalty == 0 ? 1 : o->repetition_penalty;
            x = x > 0 ? x / rep : x * rep;
            x -= (float)counts[i] * o->frequency_penalty + o->presence_penalty;
        }
        c[n++] = (ref_candidate){(double)x, i};
    }
    qsort(c, (size_t)n, sizeof *c, falling);
    if (o->top_k && (int)o->top_k < n) n = (int)o->top_k;
    if (o->top_p > 0 && o->top_p < 1) {
        double all = 0, sum = 0;
        for (int i = 0; i < n; i++) all += exp(c[i].logit - c[0].logit);
        int kept = 0;
        while (kept < n && (kept == 0 || sum < (double)o->top_p * all)) sum += exp(c[kept++].logit - c[0].logit);
        n = kept;
    }
    if (o->min_p > 0) {
        int kept = 0;
        while (kept < n && c[kept].logit >= c[0].logit + log((double)o->min_p)) kept++;
        n = kept;
    }
    return n;
}

static void test_chain(void)
{
    int bad = 0, greedy_bad = 0;
    for (int round = 0; round < 3000; round++) {
        float l[V];
        ref_candidate c[V];
        int counts[V] = {0};
        int32_t history[40], id = -1;
        ingle_sampler *s;
        ingle_sampler_options o = {.size = sizeof o,
                                   .temperature = rnd(4) ? 0.8f : 0,
                                   .top_k = rnd(2) ? rnd(60) : 0,
                                   .top_p = rnd(2) ? (float)rnd(100) / 100 : 0,
                                   .min_p = rnd(2) ? (float)rnd(50) / 100 : 0,
                                   .repetition_penalty = rnd(2) ? 1.3f : 0,
                                   .frequency_penalty = rnd(2) ? 0.2f : 0,
                                   .presence_penalty = rnd(2) ? 0.3f : 0,
                                   .penalty_last_n = 16,
                                   .seed = rnd(1000)};
        random_logits(l);
        for (int i = 0; i < 40; i++) {
            history[i] = (int32_t)rnd(30);
            if (i >= 24) counts[history[i]]++;
        }
        if (ingle_sampler_new(model, &o, &s, NULL)) {
            bad++;
            continue;
        }
        ingle_sampler_accept(s, history, 40);
        int n = reference(l, &o, counts, c);
        bool among = !ingle_sample(s, l, &id, NULL), found = false;
        for (int i = 0; i < n; i++) found = found || c[i].id == id;
        bad += !among || !found;
        if (o.temperature == 0) greedy_bad += id != c[0].id;
        ingle_sampler_free(s);
    }
    tap_ok(bad == 0, "3000 random chains draw from the set of the plain reference (%d did not)", bad);
    tap_ok(greedy_bad == 0, "temperature 0 takes the best, lowest id on a tie");
}

/* Chi-square of 200,000 draws against the softmax of 8 candidates: below the 0.999 quantile for 7 degrees (24.3). */
static void test_distribution(void)
{
    float l[V];
    for (int i = 0; i < V; i++) l[i] = -INFINITY;
    double p[8], sum = 0, chi = 0;
    int seen[8] = {0}, draws = 200000;
    for (int i = 0; i < 8; i++) sum += p[i] = exp((double)(l[i] = 0.3f * (float)i) / 0.7);
    ingle_sampler *s;
    ingle_sampler_options o = {.size = sizeof o, .temperature = 0.7f, .seed = 42};
    if (ingle_sampler_new(model, &o, &s, NULL)) return (void)tap_ok(false, "sampler");
    for (int i = 0; i < draws; i++) {
        int32_t id;
        if (!ingle_sample(s, l, &id, NULL) && id < 8) seen[id]++;
    }
    for (int i = 0; i < 8; i++) {
        double want = draws * p[i] / sum;
        chi += (seen[i] - want) * (seen[i] - want) / want;
    }
    tap_ok(chi < 24.3, "draws follow the softmax: chi-square %.1f of 7 degrees", chi);
    ingle_sampler_free(s);
}

static void test_options(void)
{
    static const ingle_logit_bias outside = {512, 1}, infinite = {5, INFINITY};
    static const struct {
        const char *what, *word;
        ingle_sampler_options o;
    } rows[] = {
        {"NaN temperature", "temperature", {.temperature = NAN}},
        {"negative temperature", "temperature", {.temperature = -1}},
        {"min_p above 1", "min_p", {.min_p = 1.5f}},
        {"unknown stage", "tfs", {.order = "top_k;tfs"}},
        {"doubled stage", "top_k", {.order = "top_k;top_k"}},
        {"bias outside the vocabulary", "512", {.bias = &outside, .n_bias = 1}},
        {"infinite bias", "inf", {.bias = &infinite, .n_bias = 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ingle_sampler *s;
        ingle_error e = {0};
        ingle_sampler_options o = rows[i].o;
        o.size = sizeof o;
        ingle_status st = ingle_sampler_new(model, &o, &s, &e);
        tap_ok(st == INGLE_BAD_INPUT && strstr(e.text, rows[i].word), "%s is refused: %s", rows[i].what, e.text);
    }
}

static void test_bias_order_seed(void)
{
    float l[V] = {0};
    int32_t a, b;
    ingle_error e = {0};
    ingle_sampler *s, *t;
    ingle_logit_bias bias[] = {{7, 5}, {9, -INFINITY}};
    l[9] = 100;
    ingle_sampler_options o = {.size = sizeof o, .bias = bias, .n_bias = 2};
    bool ok = !ingle_sampler_new(model, &o, &s, &e) && !ingle_sample(s, l, &a, &e);
    tap_ok(ok && a == 7, "a bias lifts one token and forbids another %s", e.text);
    ingle_sampler_free(s);
    /* top_k before bias: the forbidden one is all that is left */
    o.order = "top_k;bias;temperature";
    o.top_k = 1;
    ok = !ingle_sampler_new(model, &o, &s, &e);
    tap_ok(ok && ingle_sample(s, l, &a, &e) == INGLE_BAD_INPUT, "order matters; nothing left is an error: %s", e.text);
    ingle_sampler_free(s);
    for (int i = 0; i < V; i++) l[i] = NAN;
    o = (ingle_sampler_options){.size = sizeof o};
    ok = !ingle_sampler_new(model, &o, &s, &e);
    tap_ok(ok && ingle_sample(s, l, &a, &e) == INGLE_BAD_INPUT, "test_G17 all NaN is an error: %s", e.text);
    ingle_sampler_free(s);
    o = (ingle_sampler_options){.size = sizeof o, .temperature = 1, .seed = 99};
    ok = !ingle_sampler_new(model, &o, &s, &e) && !ingle_sampler_new(model, &o, &t, &e);
    for (int i = 0; ok && i < 200; i++) {
        random_logits(l);
        ok = !ingle_sample(s, l, &a, &e) && !ingle_sample(t, l, &b, &e) && a == b;
    }
    tap_ok(ok && ingle_sampler_seed(s) == 99, "the same seed gives the same 200 tokens");
    ingle_sampler_free(s);
    ingle_sampler_free(t);
}

static void test_logprobs(void)
{
    int bad = 0;
    for (int round = 0; round < 500; round++) {
        float l[V];
        ref_candidate c[V];
        ingle_logprob chosen, top[20];
        double sum = 0;
        random_logits(l);
        for (int i = 0; i < V; i++) {
            c[i] = (ref_candidate){isfinite(l[i]) ? (double)l[i] : -INFINITY, i};
            sum += isfinite(l[i]) ? exp((double)l[i]) : 0;
        }
        qsort(c, V, sizeof *c, falling);
        bad += ingle_logprobs(model, l, 3, &chosen, top, 20, NULL) != INGLE_OK;
        for (int i = 0; i < 20; i++)
            bad += top[i].id != c[i].id || fabs((double)top[i].logprob - (c[i].logit - log(sum))) > 1e-4;
        if (isfinite(l[3])) bad += fabs((double)chosen.logprob - ((double)l[3] - log(sum))) > 1e-4;
    }
    tap_ok(bad == 0, "log probabilities of 500 random rows, 20 best each");
}

/* What the stream must say in all: text before the stop that ends first (the longest of those), broken bytes as U+FFFD.
 */
static size_t whole_text(const char *in, size_t n, const char *const *stops, size_t n_stops, char *out, bool *stopped)
{
    size_t end = n;
    *stopped = false;
    for (size_t e = 1; e <= n && !*stopped; e++) {
        size_t longest = 0;
        for (size_t s = 0; s < n_stops; s++) {
            size_t len = strlen(stops[s]);
            if (len <= e && len > longest && !memcmp(in + e - len, stops[s], len)) longest = len;
        }
        if (longest) {
            *stopped = true;
            end = e - longest;
        }
    }
    size_t n_out = 0;
    for (size_t i = 0; i < end;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(in + i, end - i, &cp);
        if (len)
            memcpy(out + n_out, in + i, len);
        else
            memcpy(out + n_out, "\xEF\xBF\xBD", 3);
        n_out += len ? len : 3;
        i += len ? len : 1;
    }
    return n_out;
}

static bool stream_round(void)
{
    static const char *const letters[] = {"a", "b", "ab", "\xC3\xA9", "\xF0\x9F\x98\x80", "\xC3", "\x80", "ba"};
    char text[256], stops_text[4][16], want[1024], have[1024];
    const char *stops[4];
    size_t n = 0, n_stops = rnd(4), n_have = 0;
    for (uint32_t i = 0, m = rnd(40); i < m; i++) {
        const char *p = letters[rnd(8)];
        memcpy(text + n, p, strlen(p));
        n += strlen(p);
    }
    for (size_t s = 0; s < n_stops; s++) {
        stops_text[s][0] = 0;
        for (uint32_t i = 0, m = 1 + rnd(3); i < m; i++) strcat(stops_text[s], letters[rnd(5)]);
        stops[s] = stops_text[s];
    }
    bool want_stop, stopped = false, valid = true;
    size_t n_want = whole_text(text, n, stops, n_stops, want, &want_stop);
    ig_stream *s;
    if (ig_stream_new(stops, n_stops, 64, &s, NULL)) return false;
    uint64_t calls = ig_alloc_calls();
    const char *out;
    size_t n_out;
    for (size_t at = 0; at < n && !stopped;) {
        size_t take = 1 + rnd(5);
        if (take > n - at) take = n - at;
        if (ig_stream_push(s, text + at, take, &out, &n_out, &stopped, NULL)) return false;
        valid = valid && ig_utf8_valid(out, n_out);
        memcpy(have + n_have, out, n_out);
        n_have += n_out;
        at += take;
    }
    if (!stopped && !ig_stream_finish(s, &out, &n_out, NULL)) {
        valid = valid && ig_utf8_valid(out, n_out);
        memcpy(have + n_have, out, n_out);
        n_have += n_out;
    }
    valid = valid && calls == ig_alloc_calls();
    ig_stream_free(s);
    return valid && stopped == want_stop && n_have == n_want && !memcmp(have, want, n_want);
}

static void test_stream(void)
{
    int bad = 0;
    for (int i = 0; i < 50000; i++) bad += !stream_round();
    tap_ok(bad == 0,
           "50000 random texts, stops and splits equal the whole-text answer, valid UTF-8, no allocation (%d differ)",
           bad);
    ig_stream *s;
    ig_error e = {0};
    char long_stop[1100];
    memset(long_stop, 'x', sizeof long_stop);
    long_stop[1099] = 0;
    tap_ok(ig_stream_new((const char *const[]){""}, 1, 16, &s, &e) == IG_BAD_INPUT, "an empty stop is refused: %s",
           e.text);
    tap_ok(ig_stream_new((const char *const[]){long_stop}, 1, 16, &s, &e) == IG_TOO_LARGE && strstr(e.text, "1024"),
           "a long stop is refused: %s", e.text);
}

int main(void)
{
    char path[1024];
    ingle_error e = {0};
    (void)snprintf(path, sizeof path, "%s/stories260K.gguf", tap_data());
    if (ingle_model_open(path, NULL, &model, &e)) {
        tap_ok(false, "model opens: %s", e.text);
        return tap_done();
    }
    test_chain();
    test_distribution();
    test_options();
    test_bias_order_seed();
    test_logprobs();
    test_stream();
    ingle_model_close(model);
    return tap_done();
}
