/* Sampling: a chain of stages over candidates (logit, id), then one draw.
 *
 * Order of candidates is total (logit falling, id rising), so every selection is deterministic. Sums are taken in
 * binary64 in candidate order. Random numbers: xoshiro256** (Blackman and Vigna 2018, public domain) seeded by
 * SplitMix64. Memory is allocated at creation alone. Repetition penalty: Keskar et al. 2019 (CTRL, arXiv 1909.05858);
 * min-p: Nguyen et al. 2024 (arXiv 2407.01082); top-p: Holtzman et al. 2019 (arXiv 1904.09751). */
#include <math.h>

#include "base/os.h"
#include "base/str.h"
#include "engine/api.h"

enum {
    STAGES_MAX = 6,
    LAST_N_DEFAULT = 64,
    RING_MAX = 1 << 20,
    BLOCK = 64, /* tokens that are passed over together when none of them can be among the best */
    LANES = 16,
};

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

/* A stage changes each candidate for itself (one; -inf: it goes), or it chooses among them (choose). */
typedef struct stage {
    const char *name;
    float (*one)(const ingle_sampler *s, int32_t id, float logit);
    void (*choose)(ingle_sampler *s);
} stage;

struct ingle_sampler {
    ingle_sampler_options o;
    float *bias; /* [n_vocab] what is added, NULL: nothing */
    uint32_t n_vocab;
    const stage *stages[STAGES_MAX];
    size_t n_stages;
    bool greedy;
    size_t n_first;    /* leading stages that change only tokens with a bias or looked back at */
    size_t n_best;     /* candidates that are taken off the logits at once, 0: all */
    size_t n_done;     /* stages that this does */
    uint32_t *touched; /* [blocks] tokens with a bias, and tokens looked back at; NULL: neither bias nor penalties */
    candidate *c;      /* [n_vocab] */
    size_t n;          /* candidates left */
    bool sorted;       /* c is in falling order */
    uint32_t *counts;  /* [n_vocab] occurrences among the tokens looked back at */
    int32_t *ring;     /* [n_ring] those tokens; NULL: all */
    size_t n_ring, ring_at, ring_len;
    uint64_t seed, random[4];
};

static bool before(candidate a, candidate b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

/* Heap whose root is the first (sign: best) or the last (worst) of its elements in the order above. */
static bool above(candidate a, candidate b, bool worst_first) { return worst_first ? before(b, a) : before(a, b); }

static void sift(candidate *heap, size_t n, size_t i, bool worst_first)
{
    candidate v = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && above(heap[child + 1], heap[child], worst_first)) child++;
        if (!above(heap[child], v, worst_first)) break;
        heap[i] = heap[child];
    }
    heap[i] = v;
}

static void heapify(candidate *heap, size_t n, bool worst_first)
{
    for (size_t i = n / 2; i-- > 0;) sift(heap, n, i, worst_first);
}

/* Sorts into falling order: the worst goes to the end again and again. */
static void sort_falling(candidate *c, size_t n)
{
    heapify(c, n, true);
    for (size_t left = n; left > 1; left--) {
        candidate worst = c[0];
        c[0] = c[left - 1];
        c[left - 1] = worst;
        sift(c, left - 1, 0, true);
    }
}

static double best_logit(const ingle_sampler *s)
{
    if (s->sorted) return (double)s->c[0].logit;
    float best = s->c[0].logit;
    for (size_t i = 1; i < s->n; i++)
        if (s->c[i].logit > best) best = s->c[i].logit;
    return (double)best;
}

static float add_bias(const ingle_sampler *s, int32_t id, float logit) { return logit + s->bias[id]; }

static float penalize(const ingle_sampler *s, int32_t id, float logit)
{
    uint32_t n = s->counts[id];
    if (n == 0) return logit;
    logit = logit > 0 ? logit / s->o.repetition_penalty : logit * s->o.repetition_penalty;
    return logit - ((float)n * s->o.frequency_penalty + s->o.presence_penalty);
}

static float cool(const ingle_sampler *s, int32_t id, float logit)
{
    (void)id;
    return logit / s->o.temperature;
}

static void change_each(ingle_sampler *s, const stage *st)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++) {
        candidate c = {st->one(s, s->c[i].id, s->c[i].logit), s->c[i].id};
        if (c.logit > -INFINITY) s->c[kept++] = c;
    }
    s->n = kept;
    if (st->one != cool) s->sorted = false;
}

static void stage_top_k(ingle_sampler *s)
{
    size_t k = s->o.top_k;
    if (k == 0 || k >= s->n) return;
    if (!s->sorted) {
        heapify(s->c, k, true);
        for (size_t i = k; i < s->n; i++) {
            if (!before(s->c[i], s->c[0])) continue;
            s->c[0] = s->c[i];
            sift(s->c, k, 0, true);
        }
        sort_falling(s->c, k);
        s->sorted = true;
    }
    s->n = k;
}

/* Keeps the best candidates whose probabilities reach top_p together. Takes the best off a heap one by one, so that a
 * large vocabulary is not sorted as a whole. */
static void stage_top_p(ingle_sampler *s)
{
    if (!(s->o.top_p > 0 && s->o.top_p < 1) || s->n < 2) return;
    double best = best_logit(s), all = 0, sum = 0;
    for (size_t i = 0; i < s->n; i++) all += exp((double)s->c[i].logit - best);
    double want = (double)s->o.top_p * all;
    size_t kept = 0;
    if (s->sorted) {
        while (kept < s->n && sum < want) sum += exp((double)s->c[kept++].logit - best);
        s->n = kept ? kept : 1;
        return;
    }
    heapify(s->c, s->n, false);
    while (kept < s->n && (kept == 0 || sum < want)) {
        candidate top = s->c[0];
        size_t left = s->n - kept - 1;
        s->c[0] = s->c[left];
        s->c[left] = top; /* the tail fills with the best, the very best last */
        sift(s->c, left, 0, false);
        sum += exp((double)top.logit - best);
        kept++;
    }
    for (size_t i = 0; i < s->n / 2; i++) {
        candidate swap = s->c[i];
        s->c[i] = s->c[s->n - 1 - i];
        s->c[s->n - 1 - i] = swap;
    }
    s->n = kept;
    s->sorted = true;
}

static void stage_min_p(ingle_sampler *s)
{
    if (!(s->o.min_p > 0) || s->n < 2) return;
    double least = best_logit(s) + log((double)s->o.min_p);
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++)
        if ((double)s->c[i].logit >= least) s->c[kept++] = s->c[i];
    s->n = kept;
}

static const stage stage_table[STAGES_MAX] = {
    {"bias", add_bias, NULL},     {"penalties", penalize, NULL}, {"top_k", NULL, stage_top_k},
    {"top_p", NULL, stage_top_p}, {"min_p", NULL, stage_min_p},  {"temperature", cool, NULL},
};
static const char ORDER_DEFAULT[] = "bias;penalties;top_k;top_p;min_p;temperature";

static ig_status add_stage(ingle_sampler *s, ig_str name, ig_error *err)
{
    for (size_t t = 0; t < STAGES_MAX; t++) {
        if (!ig_str_is(name, stage_table[t].name)) continue;
        for (size_t i = 0; i < s->n_stages; i++)
            if (s->stages[i] == &stage_table[t])
                return ig_fail(err, IG_BAD_INPUT, 0, "sampler stage \"%s\" is named twice", stage_table[t].name);
        s->stages[s->n_stages++] = &stage_table[t];
        s->greedy = s->greedy || (stage_table[t].one == cool && s->o.temperature == 0);
        return IG_OK;
    }
    return ig_fail(err, IG_BAD_INPUT, 0, "sampler stage \"%.*s\" is not known, expected names from %s",
                   IG_STR_ARG(name), ORDER_DEFAULT);
}

static ig_status read_order(ingle_sampler *s, const char *order, ig_error *err)
{
    if (!order) order = ORDER_DEFAULT;
    while (*order) {
        size_t n = strcspn(order, ";");
        IG_TRY(add_stage(s, (ig_str){order, n}, err));
        order += n + (order[n] == ';');
    }
    return IG_OK;
}

static ig_status check_number(const char *name, float v, float min, float max, ig_error *err)
{
    if (v >= min && v <= max) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%s is %g, expected %g to %g", name, (double)v, (double)min, (double)max);
}

static ig_status check_options(const ingle_sampler *s, ig_error *err)
{
    const ingle_sampler_options *o = &s->o;
    IG_TRY(check_number("temperature", o->temperature, 0, 1e6f, err));
    IG_TRY(check_number("top_p", o->top_p, 0, 1e6f, err));
    IG_TRY(check_number("min_p", o->min_p, 0, 1, err));
    IG_TRY(check_number("repetition_penalty", o->repetition_penalty, 1e-6f, 1e6f, err));
    IG_TRY(check_number("frequency_penalty", o->frequency_penalty, -1e6f, 1e6f, err));
    IG_TRY(check_number("presence_penalty", o->presence_penalty, -1e6f, 1e6f, err));
    for (size_t i = 0; i < o->n_bias; i++) {
        if (o->bias[i].id < 0 || (uint32_t)o->bias[i].id >= s->n_vocab)
            return ig_fail(err, IG_BAD_INPUT, i, "logit bias names token %d, the vocabulary has %u", o->bias[i].id,
                           s->n_vocab);
        if (!(o->bias[i].bias < INFINITY))
            return ig_fail(err, IG_BAD_INPUT, i, "logit bias of token %d is %g, expected a number or -inf",
                           o->bias[i].id, (double)o->bias[i].bias);
    }
    return IG_OK;
}

/* Where nothing but changes of single tokens comes before the choice of the best (one, where sampling is greedy), those
 * are found in one pass over the logits and the other tokens never become candidates. */
static void plan_best(ingle_sampler *s)
{
    size_t i = 0;
    while (i < s->n_stages && s->stages[i]->one && s->stages[i]->one != cool) i++;
    s->n_first = i;
    if (s->greedy) {
        bool changed_later = false; /* a stage behind a choice could still make another the best */
        for (size_t k = i; k < s->n_stages; k++) changed_later |= s->stages[k]->one && s->stages[k]->one != cool;
        s->n_best = !changed_later;
        s->n_done = s->n_stages;
    } else if (i < s->n_stages && s->stages[i]->choose == stage_top_k && s->o.top_k < s->n_vocab) {
        s->n_best = s->o.top_k;
        s->n_done = i + 1;
    }
}

/* Stages that would change nothing go. */
static void drop_idle(ingle_sampler *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n_stages; i++) {
        const stage *st = s->stages[i];
        bool idle = (st->one == add_bias && !s->bias) || (st->one == penalize && !s->counts) ||
                    (st->one == cool && (s->greedy || s->o.temperature == 1));
        if (!idle) s->stages[kept++] = st;
    }
    s->n_stages = kept;
}

static bool allocate(ingle_sampler *s)
{
    bool penalties = s->o.repetition_penalty != 1 || s->o.frequency_penalty != 0 || s->o.presence_penalty != 0;
    s->c = ig_calloc(s->n_vocab, sizeof *s->c);
    s->bias = s->o.n_bias ? ig_calloc(s->n_vocab, sizeof *s->bias) : NULL;
    if (!s->c || (s->o.n_bias && !s->bias)) return false;
    if (s->o.n_bias || penalties) {
        s->touched = ig_calloc(s->n_vocab / BLOCK + 1, sizeof *s->touched);
        if (!s->touched) return false;
    }
    for (size_t i = 0; i < s->o.n_bias; i++) {
        s->bias[s->o.bias[i].id] += s->o.bias[i].bias;
        s->touched[s->o.bias[i].id / BLOCK]++;
    }
    if (!penalties) return true;
    s->counts = ig_calloc(s->n_vocab, sizeof *s->counts);
    if (!s->counts || s->o.penalty_last_n == UINT32_MAX) return s->counts != NULL;
    s->n_ring = s->o.penalty_last_n ? s->o.penalty_last_n : LAST_N_DEFAULT;
    if (s->n_ring > RING_MAX) s->n_ring = RING_MAX;
    s->ring = ig_calloc(s->n_ring, sizeof *s->ring);
    return s->ring != NULL;
}

static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint64_t rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

/* Uniform in [0, 1) with 53 bits. */
static double draw(ingle_sampler *s)
{
    uint64_t *r = s->random, result = rotl(r[1] * 5, 7) * 9, t = r[1] << 17;
    r[2] ^= r[0];
    r[3] ^= r[1];
    r[1] ^= r[2];
    r[0] ^= r[3];
    r[2] ^= t;
    r[3] = rotl(r[3], 45);
    return (double)(result >> 11) * 0x1p-53;
}

static ig_status make(ingle_sampler *s, ig_error *err)
{
    if (s->o.repetition_penalty == 0) s->o.repetition_penalty = 1;
    if (s->n_vocab == 0) return ig_fail(err, IG_UNSUPPORTED, 0, "the model has no vocabulary to sample from");
    IG_TRY(check_options(s, err));
    IG_TRY(read_order(s, s->o.order, err));
    if (!allocate(s)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a sampler over %u tokens", s->n_vocab);
    drop_idle(s);
    plan_best(s);
    s->seed = s->o.seed;
    if (s->o.seed_random) ig_random(&s->seed, sizeof s->seed);
    uint64_t state = s->seed;
    for (int i = 0; i < 4; i++) s->random[i] = split_mix(&state);
    return IG_OK;
}

ingle_status ingle_sampler_new(const ingle_model *model, const ingle_sampler_options *options, ingle_sampler **out,
                               ingle_error *err)
{
    ig_error e;
    ingle_model_info info;
    *out = NULL;
    ingle_sampler *s = ig_calloc(1, sizeof *s);
    if (!s) return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a sampler"), &e, err);
    ingle_model_describe(model, &info);
    s->n_vocab = info.n_vocab;
    IG_OPTIONS(&s->o, options);
    ig_status st = make(s, &e);
    s->o.bias = NULL; /* the caller's */
    s->o.order = NULL;
    if (st != IG_OK) {
        ingle_sampler_free(s);
        return ig_pass(st, &e, err);
    }
    *out = s;
    return INGLE_OK;
}

void ingle_sampler_free(ingle_sampler *sampler)
{
    if (!sampler) return;
    ig_free(sampler->c);
    ig_free(sampler->bias);
    ig_free(sampler->counts);
    ig_free(sampler->ring);
    ig_free(sampler->touched);
    ig_free(sampler);
}

uint64_t ingle_sampler_seed(const ingle_sampler *sampler) { return sampler->seed; }

void ingle_sampler_accept(ingle_sampler *s, const int32_t *ids, size_t n)
{
    if (!s->counts) return;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= s->n_vocab) continue;
        s->counts[ids[i]]++;
        s->touched[ids[i] / BLOCK]++;
        if (!s->ring) continue;
        if (s->ring_len == s->n_ring) {
            s->counts[s->ring[s->ring_at]]--;
            s->touched[s->ring[s->ring_at] / BLOCK]--;
        } else {
            s->ring_len++;
        }
        s->ring[s->ring_at] = ids[i];
        s->ring_at = (s->ring_at + 1) % s->n_ring;
    }
}

static int32_t choose(ingle_sampler *s)
{
    size_t best = 0;
    if (s->greedy) {
        for (size_t i = 1; i < s->n; i++)
            if (before(s->c[i], s->c[best])) best = i;
        return s->c[best].id;
    }
    double top = best_logit(s), sum = 0, at = 0;
    for (size_t i = 0; i < s->n; i++) sum += exp((double)s->c[i].logit - top);
    double target = draw(s) * sum;
    for (size_t i = 0; i < s->n; i++) {
        at += exp((double)s->c[i].logit - top);
        if (at > target) return s->c[i].id;
    }
    return s->c[s->n - 1].id;
}

static void gather_all(ingle_sampler *s, const float *logits)
{
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        s->c[s->n] = (candidate){logits[i], (int32_t)i};
        s->n += isfinite(logits[i]) != 0;
    }
}

/* Whether one of n logits may be above the bar; NaN is not. */
static bool any_above(const float *logits, size_t n, float bar)
{
    float best[LANES];
    for (size_t l = 0; l < LANES; l++) best[l] = bar;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) best[l] = logits[i + l] > best[l] ? logits[i + l] : best[l];
    for (size_t l = 0; l < LANES; l++)
        if (best[l] > bar) return true;
    for (; i < n; i++)
        if (logits[i] > bar) return true;
    return false;
}

/* A candidate more; the heap of n_best holds the best so far, once it is full and another comes. */
static void consider(ingle_sampler *s, candidate c)
{
    if (s->n < s->n_best) {
        s->c[s->n++] = c;
        return;
    }
    if (!s->sorted) heapify(s->c, s->n, true);
    s->sorted = true;
    if (!before(c, s->c[0])) return;
    s->c[0] = c;
    sift(s->c, s->n, 0, true);
}

/* The n_best best, in falling order where there are more tokens than that, else in order of their ids. */
static void gather_best(ingle_sampler *s, const float *logits)
{
    for (size_t from = 0; from < s->n_vocab; from += BLOCK) {
        size_t n = s->n_vocab - from < BLOCK ? s->n_vocab - from : BLOCK;
        bool touched = s->touched && s->touched[from / BLOCK];
        if (s->sorted && !touched && !any_above(logits + from, n, s->c[0].logit)) continue;
        for (size_t i = from; i < from + n; i++) {
            candidate c = {logits[i], (int32_t)i};
            if (!isfinite(c.logit)) continue;
            for (size_t k = 0; touched && k < s->n_first; k++) c.logit = s->stages[k]->one(s, c.id, c.logit);
            if (c.logit > -INFINITY) consider(s, c);
        }
    }
    if (s->sorted) sort_falling(s->c, s->n);
}

ingle_status ingle_sample(ingle_sampler *s, const float *logits, int32_t *out, ingle_error *err)
{
    ig_error e;
    s->n = 0;
    s->sorted = false;
    if (s->n_best)
        gather_best(s, logits);
    else
        gather_all(s, logits);
    for (size_t i = s->n_best ? s->n_done : 0; i < s->n_stages && s->n; i++) {
        if (s->stages[i]->one)
            change_each(s, s->stages[i]);
        else
            s->stages[i]->choose(s);
    }
    if (s->n == 0)
        return ig_pass(
            ig_fail(&e, IG_BAD_INPUT, 0,
                    "no token can be chosen: every one of the %u logits is NaN, infinite or forbidden by a bias "
                    "or a grammar",
                    s->n_vocab),
            &e, err);
    *out = choose(s);
    ingle_sampler_accept(s, out, 1);
    return INGLE_OK;
}

static ig_status logprobs(uint32_t n_vocab, const float *logits, int32_t id, ingle_logprob *chosen, ingle_logprob *top,
                          size_t n_top, ig_error *err)
{
    if (id < 0 || (uint32_t)id >= n_vocab)
        return ig_fail(err, IG_BAD_INPUT, 0, "token id %d is outside the vocabulary of %u tokens", id, n_vocab);
    if (n_top > n_vocab)
        return ig_fail(err, IG_BAD_INPUT, 0, "%zu log probabilities were asked for, the vocabulary has %u tokens",
                       n_top, n_vocab);
    float best = -INFINITY;
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (isfinite(logits[i]) && logits[i] > best) best = logits[i];
    if (!isfinite(best)) return ig_fail(err, IG_BAD_INPUT, 0, "none of the %u logits is finite", n_vocab);
    for (uint32_t i = 0; i < n_vocab; i++)
        if (isfinite(logits[i])) sum += exp((double)logits[i] - (double)best);
    double log_sum = (double)best + log(sum);
    *chosen = (ingle_logprob){id, isfinite(logits[id]) ? (float)((double)logits[id] - log_sum) : -INFINITY};
    size_t n = 0; /* insertion into a short sorted list */
    for (uint32_t i = 0; n_top && i < n_vocab; i++) {
        float l = isfinite(logits[i]) ? logits[i] : -INFINITY;
        if (n == n_top && l <= top[n - 1].logprob) continue;
        size_t at = n < n_top ? n++ : n - 1;
        for (; at && top[at - 1].logprob < l; at--) top[at] = top[at - 1];
        top[at] = (ingle_logprob){(int32_t)i, l};
    }
    for (size_t i = 0; i < n; i++) top[i].logprob = (float)((double)top[i].logprob - log_sum);
    return IG_OK;
}

ingle_status ingle_logprobs(const ingle_model *model, const float *logits, int32_t id, ingle_logprob *chosen,
                            ingle_logprob *top, size_t n_top, ingle_error *err)
{
    ig_error e;
    ingle_model_info info;
    ingle_model_describe(model, &info);
    return ig_pass(logprobs(info.n_vocab, logits, id, chosen, top, n_top, &e), &e, err);
}
