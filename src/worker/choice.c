/* One answer: from logits to a token, from tokens to text, from text to frames. Nothing is allocated per token once the
 * buffers have grown. */
#include <math.h>
#include <string.h>

#include "worker/wk.h"

enum { PIECE_BYTES_START = 512, PIECE_BYTES_MAX = 1 << 20, PENDING_BYTES_MAX = 64 << 20 };

/* -------------------------------------------------------------------------------------------- beginning and end */

static bool make_sampler(wk *w, wk_choice *c, wk_fault *f)
{
    ingle_sampler_options o = c->r->p.sampler;
    ingle_error e;
    o.seed += c->idx;
    if (ingle_sampler_new(w->model, &o, &c->sampler, &e) == INGLE_OK) {
        ingle_sampler_accept(c->sampler, c->r->prompt, c->r->n_prompt);
        return true;
    }
    ig_error own = wk_error_of(&e);
    return wk_refuse_status(f, NULL, &own);
}

bool wk_choice_begin(wk *w, wk_choice *c, wk_fault *f)
{
    wk_request *r = c->r;
    ig_error e;
    ig_buf_init(&c->piece, PIECE_BYTES_MAX);
    ig_buf_init(&c->lp, PENDING_BYTES_MAX);
    ig_buf_init(&c->ids, PENDING_BYTES_MAX);
    c->tokens = ig_calloc((size_t)w->n_ctx + 2, sizeof *c->tokens);
    if (!c->tokens) return wk_refuse(f, "overloaded", NULL, "out of memory for an answer");
    memcpy(c->tokens, r->prompt, r->n_prompt * sizeof *c->tokens);
    c->n_tokens = r->n_prompt;
    c->scoring = r->p.echo && r->p.logprobs;
    ig_str text = {r->text.ptr, r->text.len};
    ig_status st = ig_stream_new(r->p.stops, r->p.n_stops, PIECE_BYTES_START, &c->stream, &e);
    if (st == IG_OK) st = wk_reply_new(w->template_source, text, r->body, &c->reply, &e);
    if (st == IG_OK && r->rule) st = wk_constraint_new(r->rule, &c->constraint, &e);
    if (st == IG_OK && w->cfg.speculate != INGLE_SPECULATE_OFF)
        st = ig_spec_new(w->n_ctx, w->cfg.speculate, &c->spec, &e);
    if (st != IG_OK) return wk_refuse_status(f, NULL, &e);
    c->began = true;
    return make_sampler(w, c, f);
}

void wk_choice_fini(wk_choice *c)
{
    ig_free(c->tokens);
    ingle_sampler_free(c->sampler);
    ig_stream_free(c->stream);
    wk_reply_free(c->reply);
    ingle_constraint_free(c->constraint);
    ig_spec_free(c->spec);
    ig_buf_fini(&c->piece);
    ig_buf_fini(&c->lp);
    ig_buf_fini(&c->ids);
    *c = (wk_choice){0};
}

/* -------------------------------------------------------------------------------------------- DELTA */

/* Ids and log probabilities that wait travel with the next piece. */
static void put_pending(wk_choice *c, ig_buf *b)
{
    if (c->ids.len) {
        ig_buf_add(b, ",\"ids\":[", 8);
        ig_buf_add(b, c->ids.ptr, c->ids.len);
        ig_buf_add(b, "]", 1);
    }
    if (c->lp.len) {
        ig_buf_add(b, ",\"lp\":[", 7);
        ig_buf_add(b, c->lp.ptr, c->lp.len);
        ig_buf_add(b, "]", 1);
    }
    c->ids.len = c->lp.len = 0;
}

typedef struct sink {
    wk *w;
    wk_choice *c;
} sink;

static void send_text(wk *w, wk_choice *c, const char *kind, ig_str text)
{
    ig_buf *b = &w->out;
    b->len = 0;
    b->failed = c->ids.failed || c->lp.failed;
    ig_buf_printf(b, "{\"c\":%u,\"k\":\"%s\",\"t\":", c->idx, kind);
    wk_put_text(b, text);
    put_pending(c, b);
    ig_buf_add(b, "}", 1);
    wk_send(w, IG_FRAME_DELTA, c->r->id, b);
}

static bool on_piece(void *ctx, const wk_piece *p)
{
    sink *s = ctx;
    ig_buf *b = &s->w->out;
    if (p->kind == WK_TEXT || p->kind == WK_REASONING) {
        send_text(s->w, s->c, p->kind == WK_TEXT ? "text" : "reasoning", p->text);
        return true;
    }
    b->len = 0;
    b->failed = false;
    ig_buf_printf(b, "{\"c\":%u,\"k\":\"tool\",\"i\":%u", s->c->idx, p->call);
    if (p->kind == WK_CALL) {
        ig_buf_printf(b, ",\"id\":");
        wk_put_text(b, p->id);
        ig_buf_printf(b, ",\"name\":");
        wk_put_text(b, p->name);
    } else {
        ig_buf_printf(b, ",\"args\":");
        wk_put_text(b, p->text);
    }
    ig_buf_add(b, "}", 1);
    wk_send(s->w, IG_FRAME_DELTA, s->c->r->id, b);
    return true;
}

/* -------------------------------------------------------------------------------------------- log probabilities */

/* text: how the token stands in the answer. */
static void put_token_text(ig_str text, ig_buf *b, int32_t id, float logprob)
{
    ig_buf_printf(b, "{\"id\":%d,\"token\":", id);
    wk_put_broken(b, text);
    ig_buf_printf(b, ",\"bytes\":");
    wk_put_bytes(b, text);
    ig_buf_printf(b, ",\"logprob\":");
    wk_put_float(b, logprob);
}

static void put_token(const wk *w, ig_buf *piece, ig_buf *b, int32_t id, float logprob)
{
    piece->len = 0;
    (void)ig_model_piece(w->model, id, true, piece);
    put_token_text((ig_str){piece->ptr, piece->len}, b, id, logprob);
}

/* Text of token i of the prompt, as the client wrote it: without the token in front, and without the space that the
 * vocabulary puts before the first word. */
static ig_str prompt_piece(const wk *w, const wk_choice *c, uint32_t i, ig_buf *piece)
{
    const wk_request *r = c->r;
    const uint32_t first = r->prompt[0] == w->info.bos;
    piece->len = 0;
    if (i < first) return (ig_str){"", 0};
    (void)ig_model_piece(w->model, r->prompt[i], true, piece);
    const bool added = i == first && !r->n_dropped && r->text.len && r->text.ptr[0] != ' ' && piece->len > 1 &&
                       piece->ptr[0] == ' ' && piece->ptr[1] == r->text.ptr[0];
    return (ig_str){piece->ptr + added, piece->len - added};
}

/* text: of the token. logits NULL: of the first token, which nothing precedes. */
static bool put_logprob(wk *w, wk_choice *c, const float *logits, int32_t id, ig_str text, wk_fault *f)
{
    ingle_logprob chosen = {id, NAN};
    ingle_error e;
    uint32_t n_top = logits ? c->r->p.n_top : 0;
    if (logits && ingle_logprobs(w->model, logits, id, &chosen, w->top, n_top, &e) != INGLE_OK) {
        ig_error own = wk_error_of(&e);
        wk_refuse_status(f, NULL, &own);
        f->type = "internal";
        return false;
    }
    if (c->lp.len) ig_buf_add(&c->lp, ",", 1);
    put_token_text(text, &c->lp, id, chosen.logprob);
    ig_buf_printf(&c->lp, ",\"top\":[");
    for (uint32_t i = 0; i < n_top; i++) {
        if (i) ig_buf_add(&c->lp, ",", 1);
        put_token(w, &c->piece, &c->lp, w->top[i].id, w->top[i].logprob);
        ig_buf_add(&c->lp, "}", 1);
    }
    ig_buf_add(&c->lp, "]}", 2);
    return !c->lp.failed || wk_refuse(f, "overloaded", NULL, "out of memory for log probabilities");
}

/* -------------------------------------------------------------------------------------------- echo */

/* Text of tokens of the prompt, as U+FFFD where it is broken. */
static void echo_tokens(wk *w, wk_choice *c, uint32_t from, uint32_t to)
{
    ig_buf text, *b = &w->out;
    ig_buf_init(&text, PENDING_BYTES_MAX);
    for (uint32_t i = from; i < to; i++) {
        ig_str one = prompt_piece(w, c, i, &c->piece);
        (void)ig_buf_add(&text, one.ptr, one.len);
        if (c->r->p.return_ids) ig_buf_printf(&c->ids, "%s%d", c->ids.len ? "," : "", c->r->prompt[i]);
    }
    b->len = 0;
    b->failed = c->ids.failed || c->lp.failed || text.failed;
    /* Between the marks of a gap stands what the client wrote. */
    const bool infill = c->r->infill && !c->scoring;
    ig_str shown = infill ? (ig_str){c->r->text.ptr, c->r->text.len} : (ig_str){text.ptr, text.len};
    ig_buf_printf(b, "{\"c\":%u,\"k\":\"text\",\"t\":", c->idx);
    wk_put_broken(b, shown);
    put_pending(c, b);
    ig_buf_add(b, "}", 1);
    wk_send(w, IG_FRAME_DELTA, c->r->id, b);
    ig_buf_fini(&text);
}

void wk_choice_echo(wk *w, wk_choice *c)
{
    if (c->r->p.echo && !c->scoring && c->n_generated == 0) echo_tokens(w, c, 0, c->r->n_prompt);
}

bool wk_choice_score(wk *w, wk_choice *c, const float *rows, uint32_t n, wk_fault *f)
{
    uint32_t from = c->n_scored, to = from + n < c->r->n_prompt ? from + n + 1 : c->r->n_prompt;
    uint32_t first = from ? from + 1 : 0; /* token `from` was given out with the rows before */
    for (uint32_t i = first; i < to; i++) {
        const float *logits = i == 0 ? NULL : rows + (size_t)(i - 1 - from) * w->info.n_vocab;
        ig_str text = prompt_piece(w, c, i, &c->piece);
        if (!put_logprob(w, c, logits, c->r->prompt[i], text, f)) return false;
    }
    c->n_scored = from + n;
    if (first < to) echo_tokens(w, c, first, to);
    return true;
}

/* -------------------------------------------------------------------------------------------- tokens */

/* Sets what the constraint forbids. *over: nothing but an end may come. */
static bool apply_constraint(wk *w, wk_choice *c, bool *over, wk_fault *f)
{
    ingle_error e;
    ingle_status st = ingle_constraint_mask(c->constraint, w->logits, &e);
    *over = true;
    if (st == INGLE_NOT_FOUND) return true; /* complete, and the vocabulary has no end */
    if (st != INGLE_OK) {
        ig_error own = wk_error_of(&e);
        return wk_refuse_status(f, NULL, &own);
    }
    if (!ingle_constraint_complete(c->constraint)) *over = false;
    for (size_t i = 0; i < w->info.n_vocab && *over; i++)
        *over = !(w->logits[i] > -INFINITY) || ingle_token_is_end(w->model, (int32_t)i);
    return true;
}

/* Sets what may not come next; NULL: an error or *over. Returns logits where nothing is forbidden. */
static const float *restrict_logits(wk *w, wk_choice *c, const float *logits, bool *over, wk_fault *f)
{
    const wk_params *p = &c->r->p;
    bool no_end = p->ignore_eos || c->n_generated < p->min_tokens;
    *over = false;
    if (!c->constraint && !no_end) return logits;
    memcpy(w->logits, logits, w->info.n_vocab * sizeof *logits);
    if (c->constraint && (!apply_constraint(w, c, over, f) || *over)) return NULL;
    for (size_t i = 0; no_end && i < w->n_ends; i++) w->logits[w->ends[i]] = -INFINITY;
    return w->logits;
}

/* Text of the token into c->piece. */
static bool spell(wk *w, wk_choice *c, int32_t id, wk_fault *f)
{
    c->piece.len = 0;
    bool ok = ig_model_piece(w->model, id, false, &c->piece);
    if (ok && ig_model_is_control(w->model, id)) {
        c->piece.len = 0;
        ok = ig_model_piece(w->model, id, true, &c->piece);
        if (!wk_reply_wants_control(c->reply, (ig_str){c->piece.ptr, c->piece.len})) c->piece.len = 0;
    }
    if (ok && !c->piece.failed) return true;
    return wk_refuse(f, "overloaded", NULL, "out of memory for the text of a token");
}

static const char *give(wk *w, wk_choice *c, int32_t id, wk_fault *f)
{
    const char *text;
    size_t n;
    bool stopped;
    ig_error e;
    ingle_error taken;
    sink s = {w, c};
    if (!spell(w, c, id, f)) return "error";
    if (c->constraint && ingle_constraint_accept(c->constraint, id, &taken) != INGLE_OK) {
        e = wk_error_of(&taken);
        return wk_refuse_status(f, NULL, &e), "error";
    }
    if (ig_stream_push(c->stream, c->piece.ptr, c->piece.len, &text, &n, &stopped, &e) != IG_OK)
        return wk_refuse_status(f, NULL, &e), "error";
    if (n && wk_reply_push(c->reply, text, n, on_piece, &s, &e) != IG_OK) return wk_refuse_status(f, NULL, &e), "error";
    if (wk_reply_is_reasoning(c->reply)) c->n_reasoning++;
    if (stopped) return "stop";
    return NULL;
}

const char *wk_choice_next(wk *w, wk_choice *c, const float *logits, wk_fault *f)
{
    int32_t id;
    ingle_error e;
    bool over;
    if (c->n_generated >= c->r->p.max_tokens) return "length";
    const float *allowed = restrict_logits(w, c, logits, &over, f);
    if (!allowed) return over ? "stop" : "error";
    if (ingle_sample(c->sampler, allowed, &id, &e) != INGLE_OK) {
        ig_error own = wk_error_of(&e);
        wk_refuse_status(f, NULL, &own);
        f->type = "internal";
        return "error";
    }
    if (ingle_token_is_end(w->model, id)) return "stop";
    c->tokens[c->n_tokens++] = id;
    c->n_generated++;
    if (c->r->p.logprobs) {
        c->piece.len = 0;
        (void)ig_model_piece(w->model, id, true, &c->piece);
        if (!put_logprob(w, c, logits, id, (ig_str){c->piece.ptr, c->piece.len}, f)) return "error";
    }
    if (c->r->p.return_ids) ig_buf_printf(&c->ids, "%s%d", c->ids.len ? "," : "", id);
    const char *end = give(w, c, id, f);
    if (end) return end;
    if (c->n_generated >= c->r->p.max_tokens) return "length";
    if (c->n_tokens > wk_context(w, &c->r->p) && !c->r->p.shift) return "length";
    return NULL;
}

void wk_choice_end(wk *w, wk_choice *c, const char *finish)
{
    const char *text, *stop = NULL;
    size_t n, which = c->stream ? ig_stream_stop(c->stream) : c->r->p.n_stops;
    sink s = {w, c};
    wk_reply_end end = {0};
    ig_error e;
    bool cancelled = !strcmp(finish, "cancelled");
    if (which < c->r->p.n_stops) {
        stop = c->r->p.stops[which];
        c->lp.len = c->ids.len = 0; /* of the stop string */
    }
    if (c->reply && !cancelled) {
        if (!stop && ig_stream_finish(c->stream, &text, &n, &e) == IG_OK && n)
            (void)wk_reply_push(c->reply, text, n, on_piece, &s, &e);
        (void)wk_reply_finish(c->reply, finish[0] == 's', on_piece, &s, &end, &e);
        if (c->lp.len || c->ids.len) send_text(w, c, "text", IG_STR(""));
    }
    if (end.calls && finish[0] == 's') finish = "tool_calls";
    wk_send_done(w, c, finish, stop, end.flag);
}
