/* Prompt look-up, and the decision whether a guess pays and whose.
 *
 * Look-up: pairs of tokens are hashed; of the places where the last two tokens stood before, the latest ones are
 * compared backwards, and the longest repeat says what comes next (the latest, where two are equally long). A repeat
 * that runs into the end goes on with itself.
 *
 * Decision: how likely one more guess is right is counted by the length of the repeat, beginning with a prior; counts
 * fade, so that a text that changes its nature is tried anew. With p the chance of one guess, k guesses bring
 * 1 + p + ... + p^k tokens for the measured cost of a step of k more tokens; the best k is taken if it is worth it. */
#include "engine/spec.h"

#include <string.h>

#include "base/mem.h"

enum {
    CANDIDATES_MAX = 16, /* places that are compared */
    MATCH_MAX = 32,      /* tokens that a repeat is compared back */
    AGE_MAX = 512,       /* steps after which a cost that was not measured again is forgotten */
    HEAD = IG_SPEC_CLASSES - 2,
    DRAFTER,
    ASKED_ANYWAY = 4, /* guesses where it is not asked whether they pay */
    COST_ROWS = IG_SPEC_ROWS * 2
};

static const double worth_it = 1.05;    /* tokens for the time, against none guessed */
static const double slower_most = 1.25; /* what others in a step may wait longer for one's guesses */
static const double slope_first = 0.2;  /* of a step's cost for one more token, while nothing is known */
static const double fade_count = 0.97, fade_token = 0.998;
static const double prior_weight = 3;
static const double priors[IG_SPEC_CLASSES] = {0.3, 0.5, 0.7, 0.85, 0.75, 0.7};

struct ig_spec {
    ingle_speculate mode;
    uint32_t n_ctx, n_heads; /* n_heads: a power of two */
    uint32_t n_seen;         /* tokens whose pairs are in the table */
    uint32_t *head;          /* [n_heads] 1 + what followed the latest pair of this hash, 0: none */
    uint32_t *before;        /* [n_ctx + 1] the same of the pair before; by what followed */
    double right[IG_SPEC_CLASSES], made[IG_SPEC_CLASSES];
    int class; /* of the last guesses */
};

/* -------------------------------------------------------------------------------------------- costs */

void ig_costs_note(ig_costs *c, uint32_t n, double ms)
{
    if (n == 0 || n > COST_ROWS || !(ms > 0)) return;
    for (uint32_t i = 1; i <= COST_ROWS; i++)
        if (c->ms[i] > 0 && ++c->age[i] > AGE_MAX && i > 1) c->ms[i] = 0;
    c->age[n] = 0;
    /* A step that was disturbed counts for less than one that was not. */
    if (c->ms[n] > 0 && ms > 3 * c->ms[n]) ms = 3 * c->ms[n];
    c->ms[n] = c->ms[n] > 0 ? 0.75 * c->ms[n] + 0.25 * ms : ms;
}

double ig_costs_of(const ig_costs *c, uint32_t n)
{
    if (n == 0 || n > COST_ROWS) return 0;
    if (c->ms[n] > 0) return c->ms[n];
    uint32_t low = n, high = n;
    while (low > 0 && !(c->ms[low] > 0)) low--;
    while (high <= COST_ROWS && !(c->ms[high] > 0)) high++;
    if (low == 0) return 0;
    double base = c->ms[low], slope = slope_first * c->ms[low] / low;
    if (high <= COST_ROWS) slope = (c->ms[high] - base) / (high - low);
    return base + (slope > 0 ? slope : 0) * (n - low);
}

/* -------------------------------------------------------------------------------------------- look-up */

ig_status ig_spec_new(uint32_t n_ctx, ingle_speculate mode, ig_spec **out, ig_error *err)
{
    ig_spec *s = ig_calloc(1, sizeof *s);
    *out = s;
    if (!s) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for guessing tokens");
    s->mode = mode;
    s->n_ctx = n_ctx;
    for (s->n_heads = 64; s->n_heads < n_ctx && s->n_heads < 1u << 20;) s->n_heads *= 2;
    s->head = ig_calloc(s->n_heads, sizeof *s->head);
    s->before = ig_calloc((size_t)n_ctx + 2, sizeof *s->before);
    if (s->head && s->before) return IG_OK;
    ig_spec_free(s);
    *out = NULL;
    return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for guessing tokens");
}

void ig_spec_free(ig_spec *s)
{
    if (!s) return;
    ig_free(s->head);
    ig_free(s->before);
    ig_free(s);
}

void ig_spec_forget(ig_spec *s)
{
    memset(s->head, 0, s->n_heads * sizeof *s->head);
    s->n_seen = 0;
}

static uint32_t *slot(const ig_spec *s, int32_t a, int32_t b)
{
    uint64_t key = (uint64_t)(uint32_t)a << 32 | (uint32_t)b;
    return &s->head[(key * 0x9E3779B97F4A7C15u >> 40) & (s->n_heads - 1)];
}

/* Pairs that something follows. */
static void follow(ig_spec *s, const int32_t *tokens, uint32_t n)
{
    if (n < s->n_seen) ig_spec_forget(s);
    double faded = 1;
    for (uint32_t i = s->n_seen; i < n; i++) {
        if (s->n_seen) faded *= fade_token;
        if (i < 2) continue;
        uint32_t *at = slot(s, tokens[i - 2], tokens[i - 1]);
        s->before[i] = *at;
        *at = i + 1;
    }
    for (int c = 0; c < IG_SPEC_CLASSES; c++) {
        s->right[c] *= faded;
        s->made[c] *= faded;
    }
    s->n_seen = n;
}

static uint32_t match_length(const int32_t *tokens, uint32_t n, uint32_t at)
{
    uint32_t most = at < MATCH_MAX ? at : MATCH_MAX, m = 0;
    while (m < most && tokens[at - 1 - m] == tokens[n - 1 - m]) m++;
    return m;
}

/* The place that goes on as the end of tokens does; returns the length of the repeat, 0: there is none. */
static uint32_t look_up(const ig_spec *s, const int32_t *tokens, uint32_t n, uint32_t *place)
{
    uint32_t best = 0;
    if (n < 3) return 0;
    uint32_t next = *slot(s, tokens[n - 2], tokens[n - 1]);
    for (int i = 0; i < CANDIDATES_MAX && next; i++, next = s->before[next - 1]) {
        uint32_t m = match_length(tokens, n, next - 1);
        if (m < 2 || m <= best) continue;
        best = m;
        *place = next - 1;
        if (m == MATCH_MAX) break;
    }
    return best;
}

/* -------------------------------------------------------------------------------------------- what pays */

static int class_of(uint32_t repeat) { return repeat < 3 ? 0 : repeat < 5 ? 1 : repeat < 9 ? 2 : 3; }

static double chance(const ig_spec *s, int class)
{
    return (s->right[class] + prior_weight * priors[class]) / (s->made[class] + prior_weight);
}

/* The number of guesses that brings most tokens for the time, those of others included; *rate gets how many times those
 * without a guess. */
static uint32_t choose(const ig_spec *s, const ig_costs *costs, const ig_spec_room *room, int class, double each_ms,
                       double *rate)
{
    uint32_t fixed = room->n_others + room->n_due, best = 0;
    double p = chance(s, class), alone = ig_costs_of(costs, fixed), sum = 1, power = 1;
    *rate = 1;
    for (uint32_t k = 1; alone > 0 && k <= room->most && fixed + k <= COST_ROWS; k++) {
        power *= p;
        sum += power;
        double cost = ig_costs_of(costs, fixed + k) + k * each_ms;
        if (room->recurrent) /* what was right comes once more in the next step */
            cost += (1 - power) * (sum - 1) * (ig_costs_of(costs, fixed + 1) - alone);
        if (room->n_others && cost > slower_most * alone) break;
        double now = (room->n_others + sum) / (room->n_others + 1) * alone / cost;
        if (now <= *rate) continue;
        *rate = now;
        best = k;
    }
    if (*rate < worth_it) *rate = 0;
    return *rate > 0 ? best : 0;
}

/* Asks a guesser of the class where that promises more than *rate; each_ms: what a guess of it takes. */
static void consider(ig_spec *s, const ig_costs *costs, const ig_spec_room *room, int class, double each_ms,
                     double *rate, ig_spec_ask *ask)
{
    double own;
    uint32_t n = choose(s, costs, room, class, each_ms, &own);
    if (n == 0 || own <= *rate) return;
    *rate = own;
    *ask = (ig_spec_ask){class == HEAD ? IG_SPEC_BY_HEAD : IG_SPEC_BY_DRAFTER, n};
    s->class = class;
}

/* Whether it pays is not asked. Returns the guesses to read off the text. */
static uint32_t guess_anyway(ig_spec *s, const ig_spec_room *room, uint32_t repeat, ig_spec_ask *ask)
{
    uint32_t n = room->most < ASKED_ANYWAY ? room->most : ASKED_ANYWAY;
    bool head = s->mode == INGLE_SPECULATE_HEAD;
    if (s->mode == INGLE_SPECULATE_NGRAM && repeat) return room->most < repeat + 2 ? room->most : repeat + 2;
    if (!(head ? room->head : room->drafter)) return 0;
    *ask = (ig_spec_ask){head ? IG_SPEC_BY_HEAD : IG_SPEC_BY_DRAFTER, n};
    s->class = head ? HEAD : DRAFTER;
    return 0;
}

uint32_t ig_spec_guess(ig_spec *s, const ig_costs *costs, const ig_spec_room *room, const int32_t *tokens, uint32_t n,
                       int32_t *out, ig_spec_ask *ask)
{
    uint32_t place = 0, k = 0;
    double rate = 0, some = 0.1 * ig_costs_of(costs, 1);
    *ask = (ig_spec_ask){0};
    if (s->mode == INGLE_SPECULATE_OFF || n > s->n_ctx || room->most == 0) return 0;
    follow(s, tokens, n);
    uint32_t repeat = look_up(s, tokens, n, &place);
    s->class = class_of(repeat);
    if (s->mode != INGLE_SPECULATE_AUTO)
        k = guess_anyway(s, room, repeat, ask);
    else {
        if (repeat) k = choose(s, costs, room, s->class, 0, &rate);
        if (room->head) consider(s, costs, room, HEAD, room->head_ms > 0 ? room->head_ms : some, &rate, ask);
        if (room->drafter)
            consider(s, costs, room, DRAFTER, room->drafter_ms > 0 ? room->drafter_ms : some, &rate, ask);
    }
    if (ask->n) return 0;
    for (uint32_t i = 0; i < k; i++) out[i] = place + i < n ? tokens[place + i] : out[place + i - n];
    return k;
}

void ig_spec_judge(ig_spec *s, uint32_t made, uint32_t right, bool judged)
{
    double *a = &s->right[s->class], *b = &s->made[s->class];
    uint32_t tries = right + (judged && right < made);
    for (uint32_t i = 0; i < tries; i++) {
        *a = *a * fade_count + (i < right);
        *b = *b * fade_count + 1;
    }
}
