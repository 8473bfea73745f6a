/* Parameters of a generation: every value is checked here, by tables. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/os.h"
#include "worker/wk.h"

static const json_t *value_of(const json_t *body, const char *name)
{
    const json_t *v = json_object_get(body, name);
    return json_is_null(v) ? NULL : v;
}

bool wk_read_count(const json_t *body, const char *name, uint32_t most, uint32_t *out, wk_fault *f)
{
    const json_t *v = value_of(body, name);
    if (!v) return true;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return wk_refuse(f, "bad_request", name, "\"%s\" is no whole number of at least 0", name);
    json_int_t n = json_integer_value(v);
    *out = n > most ? most : (uint32_t)n;
    return true;
}

bool wk_read_bool(const json_t *body, const char *name, bool *out, wk_fault *f)
{
    const json_t *v = value_of(body, name);
    if (!v) return true;
    if (!json_is_boolean(v)) return wk_refuse(f, "bad_request", name, "\"%s\" is neither true nor false", name);
    *out = json_is_true(v);
    return true;
}

static bool read_real(const json_t *body, const char *name, double min, double max, float *out, wk_fault *f)
{
    const json_t *v = value_of(body, name);
    if (!v) return true;
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= min && x <= max))
        return wk_refuse(f, "bad_request", name, "\"%s\" is no number from %g to %g", name, min, max);
    *out = (float)x;
    return true;
}

/* One number after the other from list; entries [id, bias] or [id, "-inf"]. */
static bool read_bias(const wk *w, const json_t *body, wk_params *p, wk_fault *f)
{
    const json_t *list = value_of(body, "logit_bias");
    size_t n = json_array_size(list);
    if (!list) return true;
    if (!json_is_array(list))
        return wk_refuse(f, "bad_request", "logit_bias", "\"logit_bias\" is no list of token ids with numbers");
    if (n == 0) return true;
    p->bias = ig_calloc(n, sizeof *p->bias);
    if (!p->bias) return wk_refuse(f, "overloaded", NULL, "out of memory for %zu logit biases", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(json_array_get(list, i), 0), *v = json_array_get(json_array_get(list, i), 1);
        bool forbid = json_is_string(v) && !strcmp(json_string_value(v), "-inf");
        double bias = forbid ? -INFINITY : json_number_value(v);
        if (!json_is_integer(id) || (!forbid && !json_is_number(v)) || (!forbid && !(fabs(bias) <= 1e30)))
            return wk_refuse(f, "bad_request", "logit_bias",
                             "entry %zu of \"logit_bias\" is not a token id with a number or \"-inf\"", i);
        json_int_t at = json_integer_value(id);
        if (at < 0 || at >= w->info.n_vocab)
            return wk_refuse(f, "bad_request", "logit_bias",
                             "\"logit_bias\" names the token %lld, the vocabulary has %u", (long long)at,
                             w->info.n_vocab);
        p->bias[i] = (ingle_logit_bias){(int32_t)at, (float)bias};
    }
    p->sampler.bias = p->bias;
    p->sampler.n_bias = n;
    return true;
}

static bool read_stops(const json_t *body, wk_params *p, wk_fault *f)
{
    const json_t *list = value_of(body, "stop");
    size_t n = json_array_size(list);
    if (!list) return true;
    if (!json_is_array(list) || n > IG_STOPS_MAX)
        return wk_refuse(f, "bad_request", "stop", "\"stop\" is no list of at most %d strings", IG_STOPS_MAX);
    if (n == 0) return true;
    p->stops = ig_calloc(n, sizeof *p->stops);
    if (!p->stops) return wk_refuse(f, "overloaded", NULL, "out of memory for stop strings");
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        const char *text = json_string_value(v);
        size_t len = json_string_length(v);
        if (!text || len == 0 || len > IG_STOP_BYTES_MAX || memchr(text, 0, len))
            return wk_refuse(f, "bad_request", "stop",
                             "entry %zu of \"stop\" is no string of 1 to %d bytes without a NUL", i, IG_STOP_BYTES_MAX);
        p->stops[p->n_stops++] = text;
    }
    return true;
}

static bool read_reals(const json_t *body, ingle_sampler_options *s, wk_fault *f)
{
    const struct {
        const char *name;
        double min, max;
        float *out;
    } rows[] = {
        {"temperature", 0, 1000, &s->temperature},
        {"top_p", 0, 1e9, &s->top_p},
        {"min_p", 0, 1, &s->min_p},
        {"repeat_penalty", 0.01, 100, &s->repetition_penalty},
        {"presence_penalty", -100, 100, &s->presence_penalty},
        {"frequency_penalty", -100, 100, &s->frequency_penalty},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!read_real(body, rows[i].name, rows[i].min, rows[i].max, rows[i].out, f)) return false;
    return true;
}

/* How far back penalties look: 0 switches them off, -1 is everything. Absent: everything where a frequency or presence
 * counts, which the dialects define over the whole text. */
static bool read_last_n(const json_t *body, ingle_sampler_options *s, wk_fault *f)
{
    const json_t *v = value_of(body, "repeat_last_n");
    json_int_t n = json_integer_value(v);
    if (!v) {
        if (s->frequency_penalty != 0 || s->presence_penalty != 0) s->penalty_last_n = UINT32_MAX;
        return true;
    }
    if (!json_is_integer(v) || n < -1)
        return wk_refuse(f, "bad_request", "repeat_last_n", "\"repeat_last_n\" is no whole number of at least -1");
    s->penalty_last_n = n < 0 || n >= UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    if (n == 0) s->repetition_penalty = s->frequency_penalty = s->presence_penalty = 0;
    return true;
}

static bool read_seed(const json_t *body, ingle_sampler_options *s, wk_fault *f)
{
    const json_t *v = value_of(body, "seed");
    if (v && !json_is_integer(v)) return wk_refuse(f, "bad_request", "seed", "\"seed\" is no whole number");
    s->seed = (uint64_t)json_integer_value(v);
    if (v && json_integer_value(v) != -1) return true;
    uint32_t random; /* 32 bits: a number that every JSON reader keeps exact */
    ig_random(&random, sizeof random);
    s->seed = random;
    return true;
}

static bool read_logprobs(const wk *w, const json_t *body, wk_params *p, wk_fault *f)
{
    p->logprobs = value_of(body, "logprobs") != NULL;
    if (!wk_read_count(body, "logprobs", UINT32_MAX, &p->n_top, f)) return false;
    uint32_t most = w->info.n_vocab < WK_TOP_MAX ? w->info.n_vocab : WK_TOP_MAX;
    if (p->n_top <= most) return true;
    return wk_refuse(f, "bad_request", "logprobs", "\"logprobs\" is %u, at most %u alternatives can be told", p->n_top,
                     most);
}

bool wk_read_params(const wk *w, const json_t *body, wk_params *p, wk_fault *f)
{
    /* The standards of `ingle run`. */
    *p = (wk_params){.max_tokens = UINT32_MAX, .n = 1};
    p->sampler = (ingle_sampler_options){
        .size = sizeof p->sampler, .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
    const struct {
        const char *name;
        uint32_t *out;
    } counts[] = {{"max_tokens", &p->max_tokens},
                  {"min_tokens", &p->min_tokens},
                  {"top_k", &p->sampler.top_k},
                  {"n", &p->n},
                  {"n_ctx", &p->n_ctx}};
    const struct {
        const char *name;
        bool *out;
    } flags[] = {{"ignore_eos", &p->ignore_eos}, {"truncate", &p->truncate},
                 {"shift", &p->shift},           {"echo", &p->echo},
                 {"return_ids", &p->return_ids}, {"return_context", &p->return_context}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (!wk_read_count(body, counts[i].name, UINT32_MAX, counts[i].out, f)) return false;
    p->n_ctx_rule = json_string_value(json_object_get(body, "n_ctx_rule"));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (!wk_read_bool(body, flags[i].name, flags[i].out, f)) return false;
    if (p->n < 1 || p->n > WK_CHOICES_MAX)
        return wk_refuse(f, "bad_request", "n", "\"n\" is %u, expected 1 to %d", p->n, WK_CHOICES_MAX);
    return read_reals(body, &p->sampler, f) && read_last_n(body, &p->sampler, f) && read_seed(body, &p->sampler, f) &&
           read_logprobs(w, body, p, f) && read_bias(w, body, p, f) && read_stops(body, p, f);
}
