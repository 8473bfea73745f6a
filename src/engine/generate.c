/* Generation: the loop that samples, turns tokens into text, watches for ends and feeds. Shared by the command line
 * and, later, the worker. Nothing is allocated per token: the stream and the piece buffer are made before the first
 * one. */
#include "engine/api.h"
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
    return prepare_grammar(g, err);
}

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
    if (s->seq.n_tokens < n_ctx) return IG_OK;
    if (!g->o.shift) {
        g->r->finish = INGLE_FINISH_CONTEXT;
        return IG_OK;
    }
    if (keep >= n_ctx - 1)
        return ig_fail(err, IG_BAD_INPUT, 0, "a context shift cannot keep %u of %u tokens, expected at most %u", keep,
                       n_ctx, n_ctx - 2);
    uint32_t discard = (n_ctx - keep) / 2;
    if (ingle_session_shift(s, keep, discard ? discard : 1, &e) != INGLE_OK)
        return ig_fail(err, (ig_status)e.status, 0, "%s", e.text);
    return IG_OK;
}

/* The next token, of those that the grammar allows where there is one. The session's logits stay as they are. */
static ig_status choose_token(generation *g, int32_t *id, ig_error *err)
{
    const float *logits = g->s->logits;
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
    ingle_error e;
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
    IG_TRY(make_room(g, err));
    if (g->r->finish == INGLE_FINISH_CONTEXT) return IG_OK;
    if (ingle_session_feed(g->s, &id, 1, &e) != INGLE_OK) return ig_fail(err, (ig_status)e.status, 0, "%s", e.text);
    g->r->last_id = -1;
    return IG_OK;
}

static ig_status generate(generation *g, ig_error *err)
{
    IG_TRY(prepare(g, err));
    while (g->r->finish == INGLE_FINISH_NONE) IG_TRY(one_token(g, err));
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
    return ig_pass(st, &e, err);
}
