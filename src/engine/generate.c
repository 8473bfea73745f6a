/* Generation: the loop that samples, turns tokens into text, watches for ends and feeds. Shared by the command line
 * and, later, the worker. Nothing is allocated per token: the stream and the piece buffer are made before the first
 * one. */
#include "base/os.h"
#include "engine/api.h"
#include "engine/spec.h"
#include "engine/stream.h"

enum { PIECE_BYTES_START = 4096, PIECE_BYTES_MAX = 1 << 20 };

typedef struct generation {
    ingle_session *s;
    ingle_sampler *sampler;
    ingle_generate_options o;
    ig_stream *stream;
    ig_buf piece;
    ingle_constraint *constraint; /* NULL: none */
    float *masked;                /* [n_vocab] logits of what the constraint allows */
    ig_spec *spec;                /* NULL: nothing is guessed */
    /* Where plain decoding would be: the session holds n_ahead guesses more, or, after wrong ones in a model with
     * recurrent state, fewer tokens; s->tokens has all of them either way. */
    uint32_t length, n_ahead;
    const float *logits;      /* [n_vocab] after `length` tokens; rows of the guesses follow */
    uint32_t n_made, n_right; /* guesses of the last step */
    ingle_generate_result *r;
} generation;

static ig_status prepare_grammar(generation *g, ig_error *err)
{
    const ingle_model *m = g->s->engine->model;
    ingle_constraint_options o = {.size = sizeof o, .think_start = g->o.think_start, .think_end = g->o.think_end};
    ingle_error e;
    if (!g->o.grammar) return IG_OK;
    if (g->o.ignore_end)
        return ig_fail(err, IG_BAD_INPUT, 0, "a grammar and ignore_end exclude each other, expected one of them");
    if (ingle_constraint_new(m, g->o.grammar, &o, &g->constraint, &e) != INGLE_OK)
        return ig_fail(err, (ig_status)e.status, 0, "%s", e.text);
    g->masked = ig_calloc(ig_logits_width(m), sizeof *g->masked);
    return g->masked ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a row of logits");
}

static ig_status prepare_guesses(generation *g, ig_error *err)
{
    ingle_engine *e = g->s->engine;
    const ig_hparams *hp = ig_model_hparams(e->model->net);
    const ingle_session *d = g->o.drafter;
    g->length = g->s->seq.n_tokens;
    g->logits = g->s->logits;
    if ((unsigned)g->o.speculate > INGLE_SPECULATE_DRAFT)
        return ig_fail(err, IG_BAD_INPUT, 0, "speculate is %d, expected 0 to %d", (int)g->o.speculate,
                       INGLE_SPECULATE_DRAFT);
    if (d && d == g->s) return ig_fail(err, IG_BAD_INPUT, 0, "a session cannot draft for itself, expected another");
    if (d && e->drafts_with != d->engine->model) {
        IG_TRY(ig_draft_check(e->model, d->engine->model, err));
        e->drafts_with = d->engine->model;
    }
    if (g->o.speculate == INGLE_SPECULATE_OFF || !hp->causal || hp->has_encoder || e->n_batch < 2 || e->n_logits < 2)
        return IG_OK;
    return ig_spec_new(e->n_ctx, g->o.speculate, &g->spec, err);
}

static ig_status prepare(generation *g, ig_error *err)
{
    const ingle_model *m = g->s->engine->model;
    if (!m->vocab)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: the file has no vocabulary, so there is no text to generate",
                       ig_format_path(m->file));
    if (!g->s->has_logits)
        return ig_fail(err, IG_BAD_INPUT, 0, "nothing was fed to the session, expected a prompt of at least 1 token");
    IG_TRY(ig_stream_new(g->o.stops, g->o.n_stops, PIECE_BYTES_START, &g->stream, err));
    ig_buf_init(&g->piece, PIECE_BYTES_MAX);
    char zeros[PIECE_BYTES_START] = {0};
    if (!ig_buf_add(&g->piece, zeros, sizeof zeros))
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the text of a token");
    IG_TRY(prepare_guesses(g, err));
    return prepare_grammar(g, err);
}

/* ------------------------------------------------------------------------------------------------ guesses */

/* The guesses behind `length` are wrong or of no use any more: back to where plain decoding would be. */
static void settle(generation *g, bool judged)
{
    ingle_session *s = g->s;
    if (g->n_made) ig_spec_judge(g->spec, g->n_made, g->n_right, judged);
    g->n_made = g->n_right = 0;
    if (g->n_ahead == 0) return;
    memcpy(s->logits, g->logits, ig_logits_width(s->engine->model) * sizeof *g->logits);
    g->logits = s->logits;
    g->n_ahead = 0;
    (void)ig_seq_truncate(s->engine->run, &s->seq, g->length);
}

/* The same, and the session holds all tokens, as after plain decoding. */
static void settle_whole(generation *g)
{
    settle(g, false);
    ig_session_catch_up(g->s, g->length);
}

/* The next token was guessed, and its logits are there. */
static bool was_guessed(generation *g, int32_t id)
{
    if (g->n_ahead == 0 || g->s->tokens[g->length] != id) return false;
    g->length++;
    g->n_ahead--;
    g->n_right++;
    g->r->n_accepted++;
    g->logits += ig_logits_width(g->s->engine->model);
    if (g->n_ahead == 0) { /* the session has this last row as its own */
        g->logits = g->s->logits;
        settle(g, true);
    }
    return true;
}

/* Guesses what follows the first n tokens, of which n_due must be fed. */
static uint32_t guess(generation *g, uint32_t n, uint32_t n_due)
{
    ingle_engine *e = g->s->engine;
    uint32_t rows = e->n_logits < e->n_batch ? e->n_logits : e->n_batch, left = e->n_ctx - n;
    ig_spec_ask ask;
    if (!g->spec) return 0;
    if (rows > IG_SPEC_ROWS) rows = IG_SPEC_ROWS;
    ig_spec_room room = {.n_due = n_due,
                         .most = rows > n_due ? rows - n_due : 0,
                         .recurrent = g->s->seq.state != NULL,
                         .head = ig_session_has_head(g->s),
                         .head_ms = e->head_ms,
                         .drafter = g->o.drafter != NULL,
                         .drafter_ms = e->drafter_ms};
    uint32_t to_come = g->o.n_max ? g->o.n_max - g->r->n_generated : UINT32_MAX;
    if (room.most > left) room.most = left;
    if (room.most >= to_come) room.most = to_come - 1; /* the last one is not fed */
    int32_t *out = g->s->tokens + n;
    uint32_t k = ig_spec_guess(g->spec, &e->costs, &room, g->s->tokens, n, out, &ask);
    if (ask.by == IG_SPEC_BY_HEAD) return ig_head_guess(g->s, g->s->tokens + n - n_due, n_due, ask.n, out);
    if (ask.by == IG_SPEC_BY_NONE) return k;
    return ig_draft_guess(g->o.drafter, g->s->tokens, n, e->n_ctx, ask.n, ig_logits_width(e->model), out,
                          &e->drafter_ms);
}

static ig_status take_step(generation *g, uint32_t n_due, uint32_t n_guessed, ig_error *err)
{
    ingle_session *s = g->s;
    uint32_t from = s->seq.n_tokens;
    ingle_error e;
    ingle_step_item it = {.session = s,
                          .tokens = s->tokens + from,
                          .n_tokens = n_due + n_guessed,
                          .want = n_guessed ? INGLE_WANT_ALL : INGLE_WANT_LAST};
    if (ingle_engine_step(s->engine, &it, 1, &e) != INGLE_OK) return ig_fail(err, (ig_status)e.status, 0, "%s", e.text);
    g->logits = n_guessed ? it.logits + (size_t)(n_due - 1) * ig_logits_width(s->engine->model) : s->logits;
    g->length = from + n_due;
    g->n_ahead = g->n_made = n_guessed;
    g->r->n_drafted += n_guessed;
    return IG_OK;
}

/* Feeds the token that was sampled, and guesses behind it. */
static ig_status feed_token(generation *g, int32_t id, ig_error *err)
{
    ingle_session *s = g->s;
    s->tokens[g->length] = id;
    if (g->length - s->seq.n_tokens >= IG_SPEC_ROWS)
        ig_session_catch_up(s, g->length); /* it could not go back so far */
    uint32_t n_due = g->length + 1 - s->seq.n_tokens, n_guessed = guess(g, g->length + 1, n_due);
    uint64_t start = ig_now_ns();
    if (n_guessed && !ig_seq_mark(s->engine->run, &s->seq)) n_guessed = 0;
    ig_status st = take_step(g, n_due, n_guessed, err);
    if (st == IG_NO_MEMORY && n_guessed) st = take_step(g, n_due, n_guessed = 0, err); /* no pages for guesses */
    if (st == IG_OK) ig_costs_note(&s->engine->costs, n_due + n_guessed, (double)(ig_now_ns() - start) / 1e6);
    return st;
}

/* ------------------------------------------------------------------------------------------------ tokens */

/* Gives certain text to the caller; false when the caller wants to stop. */
static bool give_text(const generation *g, const char *text, size_t n, int32_t id)
{
    return !g->o.on_text || g->o.on_text(g->o.user, text, n, id);
}

/* Text of one token through the stream to the caller. Sets r->finish when a stop string or the caller ends it. */
static ig_status write_token(generation *g, int32_t id, ig_error *err)
{
    const char *text;
    size_t n;
    bool stopped;
    const ig_vocab *v = g->s->engine->model->vocab;
    bool marker = g->o.reply && !g->o.write_special && ig_vocab_is_control(v, id);
    g->piece.len = 0;
    bool ok = ig_token_piece(v, id, g->o.write_special || marker, &g->piece);
    if (ok && marker && !ig_reply_reads(g->o.reply, (ig_str){g->piece.ptr, g->piece.len})) g->piece.len = 0;
    if (!ok) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the text of token %d", id);
    IG_TRY(ig_stream_push(g->stream, g->piece.ptr, g->piece.len, &text, &n, &stopped, err));
    if (!give_text(g, text, n, id)) g->r->finish = INGLE_FINISH_CALLER;
    if (stopped) g->r->finish = INGLE_FINISH_STOP;
    return IG_OK;
}

static ig_status make_room(generation *g, ig_error *err)
{
    ingle_session *s = g->s;
    uint32_t n_ctx = s->engine->n_ctx, keep = g->o.shift_keep;
    ingle_error e;
    if (g->length < n_ctx) return IG_OK;
    if (!g->o.shift) {
        g->r->finish = INGLE_FINISH_CONTEXT;
        return IG_OK;
    }
    if (keep >= n_ctx - 1)
        return ig_fail(err, IG_BAD_INPUT, 0, "a context shift cannot keep %u of %u tokens, expected at most %u", keep,
                       n_ctx, n_ctx - 2);
    uint32_t discard = (n_ctx - keep) / 2;
    settle_whole(g);
    if (ingle_session_shift(s, keep, discard ? discard : 1, &e) != INGLE_OK)
        return ig_fail(err, (ig_status)e.status, 0, "%s", e.text);
    g->length = s->seq.n_tokens;
    if (g->spec) ig_spec_forget(g->spec);
    return IG_OK;
}

/* The next token, of those that the grammar allows where there is one. The session's logits stay as they are. */
static ig_status choose_token(generation *g, int32_t *id, ig_error *err)
{
    const float *logits = g->logits;
    ingle_error e;
    *id = -1;
    if (g->constraint) {
        memcpy(g->masked, logits, ig_logits_width(g->s->engine->model) * sizeof *g->masked);
        ingle_status st = ingle_constraint_mask(g->constraint, g->masked, &e);
        if (st == INGLE_NOT_FOUND) return IG_OK; /* complete, and no end token to say so */
        if (st != INGLE_OK) return ig_fail(err, (ig_status)st, 0, "%s", e.text);
        logits = g->masked;
    }
    if (ingle_sample(g->sampler, logits, id, &e) != INGLE_OK ||
        (g->constraint && ingle_constraint_accept(g->constraint, *id, &e) != INGLE_OK))
        return ig_fail(err, (ig_status)e.status, 0, "%s", e.text);
    return IG_OK;
}

static ig_status one_token(generation *g, ig_error *err)
{
    int32_t id;
    IG_TRY(choose_token(g, &id, err));
    if (id < 0) {
        g->r->finish = INGLE_FINISH_END;
        return IG_OK;
    }
    if (!g->o.ignore_end && ingle_token_is_end(g->s->engine->model, id)) {
        g->r->finish = INGLE_FINISH_END;
        return IG_OK;
    }
    g->r->n_generated++;
    g->r->last_id = id;
    IG_TRY(write_token(g, id, err));
    if (g->r->finish != INGLE_FINISH_NONE) return IG_OK;
    if (g->o.n_max && g->r->n_generated >= g->o.n_max) {
        g->r->finish = INGLE_FINISH_LENGTH;
        return IG_OK;
    }
    if (!was_guessed(g, id)) {
        settle(g, true);
        IG_TRY(make_room(g, err));
        if (g->r->finish == INGLE_FINISH_CONTEXT) return IG_OK;
        IG_TRY(feed_token(g, id, err));
    }
    g->r->last_id = -1;
    return IG_OK;
}

static ig_status generate(generation *g, ig_error *err)
{
    IG_TRY(prepare(g, err));
    ig_status st = IG_OK;
    while (st == IG_OK && g->r->finish == INGLE_FINISH_NONE) st = one_token(g, err);
    settle_whole(g);
    IG_TRY(st);
    /* A stop string is cut off, so what the grammar saw is not what was given out. */
    g->r->incomplete =
        g->constraint && (g->r->finish == INGLE_FINISH_STOP || !ingle_constraint_complete(g->constraint));
    if (g->r->finish == INGLE_FINISH_STOP || g->r->finish == INGLE_FINISH_CALLER) return IG_OK;
    const char *text;
    size_t n;
    IG_TRY(ig_stream_finish(g->stream, &text, &n, err));
    if (n && !give_text(g, text, n, -1)) g->r->finish = INGLE_FINISH_CALLER;
    return IG_OK;
}

ingle_status ingle_generate(ingle_session *session, ingle_sampler *sampler, const ingle_generate_options *options,
                            ingle_generate_result *out, ingle_error *err)
{
    ig_error e;
    generation g = {.s = session, .sampler = sampler, .r = out};
    IG_OPTIONS(&g.o, options);
    *out = (ingle_generate_result){.last_id = -1};
    ig_status st = generate(&g, &e);
    ig_stream_free(g.stream);
    ig_buf_fini(&g.piece);
    ingle_constraint_free(g.constraint);
    ig_free(g.masked);
    ig_spec_free(g.spec);
    return ig_pass(st, &e, err);
}
