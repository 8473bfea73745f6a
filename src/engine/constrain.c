/* One answer on its way through a grammar: which tokens may come next, and where reasoning ends and the answer begins.
 *
 * Phases:   MAYBE  -> FREE -> HELD -> DONE
 *           HELD: the grammar says what may come. An end token is allowed where the grammar may end.
 *           FREE: reasoning; every token but the ends, until its text holds `think_end`.
 *           MAYBE: nothing is decided yet: tokens that go on with `think_start` are allowed beside those of the
 * grammar. The switch from FREE to HELD is on a token boundary: a token that would bring `think_end` and then anything
 * but white space is not allowed; the white space is no part of the answer. */
#include "engine/constrain.h"

#include <math.h>

#include "base/str.h"

enum { MARK_BYTES_MAX = 256, MASKER_BYTES = 16 << 20 };

typedef enum phase { MAYBE, FREE, HELD, DONE } phase;

struct ingle_constraint {
    const ingle_grammar *grammar; /* borrowed */
    ig_warm_mask m;
    ig_grammar_state *state;
    uint64_t *bits; /* [words of a mask] */
    size_t n_words;
    phase phase;
    char start[MARK_BYTES_MAX + 1], stop[MARK_BYTES_MAX + 1]; /* the marks; empty: none */
    size_t n_start, n_stop;
    uint32_t *starters, n_starters; /* tokens that lie in the start mark */
    uint32_t *spills, n_spills;     /* tokens that may end the reasoning and go on */
    char tail[MARK_BYTES_MAX];      /* MAYBE: the text so far; FREE: its last n_stop - 1 bytes */
    size_t n_tail;
};

/* ------------------------------------------------------------------------------------------------ warm maskers */

static ig_status take_masker(const ingle_grammar *g, ig_words *words, ig_warm_mask *out, ig_error *err)
{
    *out = (ig_warm_mask){0};
    pthread_mutex_lock(&g->pool->lock);
    for (size_t i = 0; i < IG_MASKERS_KEPT && !out->masker; i++) {
        if (g->pool->kept[i].words != words) continue;
        *out = g->pool->kept[i];
        g->pool->kept[i] = (ig_warm_mask){0};
    }
    pthread_mutex_unlock(&g->pool->lock);
    if (out->masker) {
        ig_words_drop(words); /* the masker has its own use */
        return IG_OK;
    }
    out->words = words;
    return ig_masker_new(g->g, words->index, MASKER_BYTES, &out->masker, err);
}

static void drop_masker(ig_warm_mask *m)
{
    ig_masker_free(m->masker);
    ig_words_drop(m->words);
    *m = (ig_warm_mask){0};
}

static void keep_masker(const ingle_grammar *g, ig_warm_mask *m)
{
    if (!m->masker) {
        drop_masker(m);
        return;
    }
    pthread_mutex_lock(&g->pool->lock);
    for (size_t i = 0; i < IG_MASKERS_KEPT && m->masker; i++) {
        if (g->pool->kept[i].masker) continue;
        g->pool->kept[i] = *m;
        *m = (ig_warm_mask){0};
    }
    pthread_mutex_unlock(&g->pool->lock);
    drop_masker(m);
}

ig_mask_pool *ig_mask_pool_new(void)
{
    ig_mask_pool *pool = ig_calloc(1, sizeof *pool);
    if (pool) pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

void ig_mask_pool_free(ig_mask_pool *pool)
{
    if (!pool) return;
    for (size_t i = 0; i < IG_MASKERS_KEPT; i++) drop_masker(&pool->kept[i]);
    pthread_mutex_destroy(&pool->lock);
    ig_free(pool);
}

/* ------------------------------------------------------------------------------------------------ marks */

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static bool all_space(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_space(p[i])) return false;
    return true;
}

/* The token lies somewhere in the start mark. */
static bool is_starter(const ingle_constraint *c, ig_str w)
{
    return w.len && w.len <= c->n_start && memmem(c->start, c->n_start, w.ptr, w.len) != NULL;
}

/* The token has the last byte of the end mark, and behind it more than white space. */
static bool is_spill(const ingle_constraint *c, ig_str w)
{
    const char *last = w.len ? memchr(w.ptr, c->stop[c->n_stop - 1], w.len) : NULL;
    return last && !all_space(last + 1, w.len - (size_t)(last + 1 - w.ptr));
}

/* The tokens of a kind, [*n], or all but counted with out NULL. */
static uint32_t list(const ingle_constraint *c, bool (*is)(const ingle_constraint *, ig_str), uint32_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->m.words->n; i++) {
        if (!is(c, ig_word(c->m.words, i))) continue;
        if (out) out[n] = i;
        n++;
    }
    return n;
}

static ig_status read_mark(const char *mark, const char *name, char *out, size_t *n, ig_error *err)
{
    *n = mark ? strlen(mark) : 0;
    if (mark && *n == 0) return ig_fail(err, IG_BAD_INPUT, 0, "%s is empty, expected a text such as </think>", name);
    if (*n > MARK_BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s has %zu bytes, expected at most %d", name, *n, MARK_BYTES_MAX);
    if (*n) memcpy(out, mark, *n);
    return IG_OK;
}

static ig_status read_marks(ingle_constraint *c, const ingle_constraint_options *o, ig_error *err)
{
    IG_TRY(read_mark(o->think_start, "think_start", c->start, &c->n_start, err));
    IG_TRY(read_mark(o->think_end, "think_end", c->stop, &c->n_stop, err));
    c->phase = c->n_stop == 0 ? HELD : c->n_start ? MAYBE : FREE;
    if (c->n_stop == 0) return IG_OK;
    c->spills = ig_calloc((size_t)list(c, is_spill, NULL) + 1, sizeof *c->spills);
    c->starters = ig_calloc((size_t)list(c, is_starter, NULL) + 1, sizeof *c->starters);
    if (!c->spills || !c->starters) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the marks of reasoning");
    c->n_spills = list(c, is_spill, c->spills);
    c->n_starters = c->n_start ? list(c, is_starter, c->starters) : 0;
    return IG_OK;
}

/* Where the end mark ends in tail + w, counted from the beginning of w; 0: nowhere. The tail alone never holds it. */
static size_t mark_end(const ingle_constraint *c, ig_str w)
{
    for (size_t end = 1; end <= w.len; end++) {
        size_t in_w = end < c->n_stop ? end : c->n_stop, in_tail = c->n_stop - in_w;
        if (in_tail > c->n_tail || memcmp(w.ptr + end - in_w, c->stop + in_tail, in_w) != 0) continue;
        if (memcmp(c->tail + c->n_tail - in_tail, c->stop, in_tail) == 0) return end;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------ making */

static ig_status start(ingle_constraint *c, const ingle_model *model, const ingle_constraint_options *o, ig_error *err)
{
    ig_words *words;
    if (!ig_grammar_possible(c->grammar->g))
        return ig_fail(err, IG_BAD_INPUT, 0, "no text at all matches the grammar, expected one that allows an answer");
    if (c->grammar->family && (o->think_start || o->think_end))
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "think_start and think_end are set with a grammar of tools, which holds the reasoning itself");
    IG_TRY(ig_words_of(model, c->grammar->family, &words, err));
    IG_TRY(take_masker(c->grammar, words, &c->m, err));
    IG_TRY(read_marks(c, o, err));
    c->n_words = ig_token_index_words(c->m.words->index);
    c->bits = ig_calloc(c->n_words, sizeof *c->bits);
    if (!c->bits) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a mask of %u tokens", c->m.words->n);
    return ig_grammar_start(c->grammar->g, IG_GRAMMAR_CANONICAL, &c->state, err);
}

ingle_status ingle_constraint_new(const ingle_model *model, const ingle_grammar *grammar,
                                  const ingle_constraint_options *options, ingle_constraint **out, ingle_error *err)
{
    ig_error e;
    ingle_constraint_options o;
    IG_OPTIONS(&o, options);
    *out = NULL;
    ingle_constraint *c = ig_calloc(1, sizeof *c);
    if (!c) return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a constraint"), &e, err);
    c->grammar = grammar;
    ig_status st = start(c, model, &o, &e);
    if (st != IG_OK) {
        ingle_constraint_free(c);
        return ig_pass(st, &e, err);
    }
    *out = c;
    return INGLE_OK;
}

void ingle_constraint_free(ingle_constraint *c)
{
    if (!c) return;
    keep_masker(c->grammar, &c->m);
    ig_grammar_end(c->state);
    ig_free(c->bits);
    ig_free(c->starters);
    ig_free(c->spills);
    ig_free(c);
}

/* ------------------------------------------------------------------------------------------------ masks */

static bool bit(const ingle_constraint *c, uint32_t id) { return c->bits[id / 64] >> (id % 64) & 1; }

static void free_bits(ingle_constraint *c)
{
    const ig_words *w = c->m.words;
    memset(c->bits, 0xff, c->n_words * sizeof *c->bits);
    for (uint32_t i = 0; i < w->n; i++)
        if (w->end[i]) c->bits[i / 64] &= ~(1ull << (i % 64));
    for (uint32_t i = 0; i < c->n_spills; i++) {
        ig_str word = ig_word(w, c->spills[i]);
        size_t end = mark_end(c, word);
        if (end && !all_space(word.ptr + end, word.len - end))
            c->bits[c->spills[i] / 64] &= ~(1ull << (c->spills[i] % 64));
    }
}

static bool goes_on(const ingle_constraint *c, ig_str w)
{
    return w.len <= c->n_start - c->n_tail && memcmp(c->start + c->n_tail, w.ptr, w.len) == 0;
}

static ig_status make_bits(ingle_constraint *c, ig_error *err)
{
    if (c->phase == FREE) {
        free_bits(c);
        return IG_OK;
    }
    IG_TRY(ig_masker_mask(c->m.masker, c->state, c->bits, err));
    for (uint32_t i = 0; c->phase == MAYBE && i < c->n_starters; i++)
        if (goes_on(c, ig_word(c->m.words, c->starters[i])))
            c->bits[c->starters[i] / 64] |= 1ull << (c->starters[i] % 64);
    return IG_OK;
}

static ig_status mask(ingle_constraint *c, float *logits, ig_error *err)
{
    bool any = false;
    if (c->phase == DONE) return ig_fail(err, IG_NOT_FOUND, 0, "the answer is complete, no token can follow");
    IG_TRY(make_bits(c, err));
    for (uint32_t i = 0; i < c->m.words->n; i++) {
        if (bit(c, i))
            any = true;
        else
            logits[i] = -INFINITY;
    }
    if (any) return IG_OK;
    if (c->phase == HELD && ig_grammar_accepts(c->state))
        return ig_fail(err, IG_NOT_FOUND, 0,
                       "the answer is complete and the vocabulary has no token that could end or follow it");
    return ig_fail(err, IG_UNSUPPORTED, 0,
                   "after %llu bytes of the answer no token of the vocabulary fits the grammar, expected a grammar "
                   "whose characters the vocabulary can write",
                   (unsigned long long)ig_grammar_fits(c->state));
}

ingle_status ingle_constraint_mask(ingle_constraint *c, float *logits, ingle_error *err)
{
    ig_error e;
    return ig_pass(mask(c, logits, &e), &e, err);
}

/* ------------------------------------------------------------------------------------------------ steps */

/* The last n_stop - 1 bytes of tail + w become the tail. */
static void push_tail(ingle_constraint *c, ig_str w)
{
    size_t keep = c->n_stop - 1;
    if (w.len >= keep) {
        memcpy(c->tail, w.ptr + w.len - keep, keep);
        c->n_tail = keep;
        return;
    }
    size_t old = c->n_tail < keep - w.len ? c->n_tail : keep - w.len;
    memmove(c->tail, c->tail + c->n_tail - old, old);
    memcpy(c->tail + old, w.ptr, w.len);
    c->n_tail = old + w.len;
}

static ig_status restart(ingle_constraint *c, ig_error *err)
{
    ig_grammar_end(c->state);
    c->state = NULL;
    return ig_grammar_start(c->grammar->g, IG_GRAMMAR_CANONICAL, &c->state, err);
}

static ig_status accept_free(ingle_constraint *c, ig_str w)
{
    if (mark_end(c, w)) {
        c->phase = HELD;
        return IG_OK;
    }
    push_tail(c, w);
    return IG_OK;
}

static ig_status accept_held(ingle_constraint *c, int32_t id, ig_str w, ig_error *err)
{
    if (c->m.words->control[id] && !c->m.words->end[id])
        return ig_fail(err, IG_BAD_INPUT, 0, "token %d is a control token, which no answer holds", id);
    if (c->m.words->end[id]) {
        if (!ig_grammar_accepts(c->state))
            return ig_fail(err, IG_BAD_INPUT, 0, "token %d ends the answer after %llu bytes, where it is not complete",
                           id, (unsigned long long)ig_grammar_fits(c->state));
        c->phase = DONE;
        return IG_OK;
    }
    IG_TRY(ig_grammar_feed(c->state, w.ptr, w.len, err));
    if (ig_grammar_alive(c->state)) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "token %d does not fit the grammar after %llu bytes of the answer", id,
                   (unsigned long long)ig_grammar_fits(c->state));
}

/* Both readings go on as long as both are possible. */
static ig_status accept_maybe(ingle_constraint *c, int32_t id, ig_str w, ig_error *err)
{
    if (!w.len || !goes_on(c, w)) {
        c->phase = HELD;
        return accept_held(c, id, w, err);
    }
    memcpy(c->tail + c->n_tail, w.ptr, w.len);
    c->n_tail += w.len;
    if (c->n_tail < c->n_start) return ig_grammar_feed(c->state, w.ptr, w.len, err);
    c->phase = FREE;
    c->n_tail = 0;
    return restart(c, err);
}

ingle_status ingle_constraint_accept(ingle_constraint *c, int32_t id, ingle_error *err)
{
    ig_error e;
    ig_status st;
    if (id < 0 || (uint32_t)id >= c->m.words->n)
        return ig_pass(
            ig_fail(&e, IG_BAD_INPUT, 0, "token id %d is outside the vocabulary of %u tokens", id, c->m.words->n), &e,
            err);
    ig_str w = ig_word(c->m.words, (uint32_t)id);
    if (c->phase == DONE)
        st = ig_fail(&e, IG_BAD_INPUT, 0, "the answer is complete, token %d cannot follow", id);
    else if (c->phase == FREE)
        st = accept_free(c, w);
    else if (c->phase == MAYBE)
        st = accept_maybe(c, id, w, &e);
    else
        st = accept_held(c, id, w, &e);
    return ig_pass(st, &e, err);
}

bool ingle_constraint_complete(const ingle_constraint *c)
{
    return c->phase == DONE || ((c->phase == HELD || c->phase == MAYBE) && ig_grammar_accepts(c->state));
}

bool ingle_constraint_thinking(const ingle_constraint *c) { return c->phase == FREE; }
