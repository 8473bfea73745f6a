/* Who computes next. Main thread.
 *
 * A choice waits, gets a slot (a session with whatever an earlier answer of the same user has left in it), catches up
 * with its prompt in chunks beside the others' single tokens, and answers until it ends. Users take turns by the tokens
 * that were computed for them; among one user's, interactive goes before batch and first come first. A choice can be
 * sent back to wait at any time: its tokens are kept, so that it goes on as if nothing had happened (the logits of a
 * session do not depend on how it was fed).
 *
 * Guesses: while few answers run and no prompt waits, tokens that may come next go along in a step. They stand in
 * c->tokens behind the choice's own, and become its own when they are sampled; the session forgets the others.
 *
 * Who is sent back: batch work when somebody interactive waits; when a user has nothing running, one of several choices
 * of another, or one of a user who is far ahead; the youngest when KV pages run out. */
#include <string.h>

#include "base/os.h"
#include "worker/wk.h"

enum {
    COPY_MIN = 16,       /* tokens for which a copy of another session pays */
    CHUNK_MIN = 16,      /* tokens of a prompt beside others' tokens, at least */
    CHUNK_FIRST = 8,     /* while it is not known how long a token takes */
    STEP_MS_MAX = 500,   /* what a step of prompts alone may take: how soon a cancellation is seen */
    DECODE_FACTOR = 2,   /* a chunk beside others' tokens may take so many times what they take alone */
    SLICE_TOKENS = 1024, /* what a user may be ahead of one who has nothing running */
    PROGRESS_MS = 500,
    GUESS_RUNNING_MAX = 4 /* answers that run at once while tokens are still guessed */
};

/* -------------------------------------------------------------------------------------------- users */

wk_user *wk_user_of(wk *w, const char *name)
{
    for (wk_user *u = w->users; u; u = u->next)
        if (!strcmp(u->name, name)) return u->refs++, u;
    wk_user *u = ig_calloc(1, sizeof *u);
    if (!u) return NULL;
    memcpy(u->name, name, strlen(name) + 1);
    u->refs = 1;
    u->next = w->users;
    w->users = u;
    return u;
}

void wk_user_drop(wk *w, wk_user *user)
{
    if (!user || --user->refs) return;
    for (wk_user **at = &w->users; *at; at = &(*at)->next)
        if (*at == user) {
            *at = user->next;
            break;
        }
    ig_free(user);
}

/* Who comes back after a pause has no claim to what was computed for others meanwhile. */
static void user_enter(wk *w, wk_user *user, uint32_t n)
{
    uint64_t least = UINT64_MAX;
    for (const wk_user *u = w->users; u; u = u->next)
        if (u->active && u->served < least) least = u->served;
    if (user->active == 0 && least != UINT64_MAX && user->served < least) user->served = least;
    user->active += n;
}

/* -------------------------------------------------------------------------------------------- ends */

static void slot_clear(wk *w, wk_slot *s)
{
    wk_spill_keep(w, s);
    wk_drafter_forget(w, s);
    (void)ig_session_keep(s->session, 0);
    wk_user_drop(w, s->user);
    s->user = NULL;
}

/* Takes the slot away; what it holds stays for the next request. */
static void release(wk *w, wk_choice *c)
{
    if (!c->slot) return;
    c->slot->choice = NULL;
    c->slot = NULL;
    c->r->user->running--;
    w->n_running--;
    w->n_running_batch -= c->r->batch;
    w->short_of_pages = false;
}

static void send_back(wk *w, wk_choice *c)
{
    release(w, c);
    w->n_waiting++;
}

static void request_end(wk *w, wk_request *r)
{
    for (wk_request **at = &w->requests; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            break;
        }
    wk_user_drop(w, r->user);
    wk_request_free(r);
    w->status_due = true;
}

static void settle(wk *w, wk_choice *c)
{
    if (c->slot)
        release(w, c);
    else
        w->n_waiting--;
    c->done = true;
    c->r->user->active--;
    c->r->n_done++;
}

/* May free the request. */
static void choice_over(wk *w, wk_choice *c, const char *finish)
{
    wk_request *r = c->r;
    wk_choice_end(w, c, finish);
    settle(w, c);
    wk_choice_fini(c);
    *c = (wk_choice){.r = r, .done = true};
    if (r->n_done == r->p.n) request_end(w, r);
}

static void request_fail(wk *w, wk_request *r, const wk_fault *f)
{
    wk_send_error(w, r->id, f);
    for (size_t i = 0; i < w->n_stepping; i++)
        if (w->stepping[i] && w->stepping[i]->r == r) w->stepping[i] = NULL;
    for (uint32_t i = 0; i < r->p.n; i++)
        if (!r->choices[i].done) settle(w, &r->choices[i]);
    request_end(w, r);
}

static void request_cancel(wk *w, wk_request *r)
{
    uint32_t left = r->p.n - r->n_done; /* the last one frees it */
    for (uint32_t i = 0; left; i++)
        if (!r->choices[i].done) {
            left--;
            choice_over(w, &r->choices[i], "cancelled");
        }
}

void wk_cancel(wk *w, uint64_t id)
{
    for (wk_request *r = w->requests, *next; r; r = next) {
        next = r->next;
        if (r->id == id) request_cancel(w, r);
    }
    if (!wk_lane_cancel(&w->text, id)) (void)wk_lane_cancel(&w->embed, id);
}

void wk_drop_all(wk *w)
{
    while (w->requests) {
        wk_request *r = w->requests;
        for (uint32_t i = 0; i < r->p.n; i++)
            if (!r->choices[i].done) settle(w, &r->choices[i]);
        request_end(w, r);
    }
    wk_spill_fini(w);
    for (uint32_t i = 0; w->slots && i < w->cfg.n_sessions; i++) slot_clear(w, &w->slots[i]);
}

/* -------------------------------------------------------------------------------------------- arrival */

void wk_accept(wk *w, wk_request *r)
{
    wk_fault f = {.type = "overloaded"};
    r->user = wk_user_of(w, r->user_name);
    r->choices = ig_calloc(r->p.n, sizeof *r->choices);
    if (!r->user || !r->choices) {
        wk_refuse(&f, "overloaded", NULL, "out of memory for a request");
        wk_send_error(w, r->id, &f);
        wk_user_drop(w, r->user);
        wk_request_free(r);
        return;
    }
    for (uint32_t i = 0; i < r->p.n; i++) r->choices[i] = (wk_choice){.r = r, .idx = i, .arrival = ++w->arrivals};
    user_enter(w, r->user, r->p.n);
    w->n_waiting += r->p.n;
    r->next = w->requests;
    w->requests = r;
    w->status_due = true;
}

/* Goes before: interactive, the user with the least, the first to come. */
static bool before(const wk_choice *a, const wk_choice *b)
{
    if (a->r->batch != b->r->batch) return !a->r->batch;
    if (a->r->user->served != b->r->user->served) return a->r->user->served < b->r->user->served;
    return a->arrival < b->arrival;
}

/* The other choices of a request wait for the first one's prompt, which they copy. */
static bool is_ready(const wk_choice *c)
{
    const wk_choice *first = &c->r->choices[0];
    return !c->done && !c->slot && (c->idx == 0 || first->done || first->prompt_done);
}

static wk_choice *next_waiting(const wk *w)
{
    wk_choice *best = NULL;
    for (wk_request *r = w->requests; r; r = r->next)
        for (uint32_t i = 0; i < r->p.n; i++)
            if (is_ready(&r->choices[i]) && (!best || before(&r->choices[i], best))) best = &r->choices[i];
    return best;
}

void wk_tell_positions(wk *w, uint64_t now_ns)
{
    if (w->n_waiting == 0 || now_ns - w->positions_ns < (uint64_t)PROGRESS_MS * 1000000) return;
    w->positions_ns = now_ns;
    for (wk_request *r = w->requests; r; r = r->next) {
        uint32_t ahead = 0;
        if (r->n_done || r->choices[0].slot || r->choices[0].began) continue;
        for (const wk_request *o = w->requests; o; o = o->next)
            if (o != r && !o->choices[0].slot && !o->choices[0].done &&
                (o->batch != r->batch ? r->batch : o->choices[0].arrival < r->choices[0].arrival))
                ahead++;
        if (ahead + 1 != r->told_position) wk_send_position(w, r, ahead + 1);
    }
}

/* -------------------------------------------------------------------------------------------- slots */

/* Tokens of the slot that the choice can go on from. */
static uint32_t reach_of(const wk_slot *s, const wk_choice *c)
{
    const int32_t *have = ig_session_tokens(s->session);
    uint32_t length = ingle_session_length(s->session), most = c->scoring ? c->n_scored : c->n_tokens - 1, n = 0;
    if (most > length) most = length;
    while (n < most && have[n] == c->tokens[n]) n++;
    return ig_session_reach(s->session, n);
}

static uint32_t idle_slots(const wk *w, const wk_user *user)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) n += w->slots[i].user == user && !w->slots[i].choice;
    return n;
}

/* A free slot whose tokens are missed least: nobody's, else the one used longest ago of who has most (rule U05). */
static wk_slot *spare_slot(const wk *w)
{
    wk_slot *best = NULL;
    uint32_t most = 0;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        wk_slot *s = &w->slots[i];
        if (s->choice) continue;
        uint32_t n = s->user ? idle_slots(w, s->user) : UINT32_MAX;
        if (best && (n < most || (n == most && s->used >= best->used))) continue;
        best = s;
        most = n;
    }
    return best;
}

/* Going back in the session costs more than the tokens dropped: recurrent state, or a window that has moved on. */
static bool cannot_go_back(const wk_slot *s)
{
    uint32_t n = ingle_session_length(s->session);
    return n > 1 && ig_session_reach(s->session, n - 1) < n - 1;
}

/* The slot with most of the choice's tokens, also a busy one; NULL: none has any. */
static wk_slot *best_slot(const wk *w, const wk_choice *c, uint32_t *reach)
{
    wk_slot *best = NULL;
    *reach = 0;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        uint32_t n = w->cfg.shares || w->slots[i].user == c->r->user ? reach_of(&w->slots[i], c) : 0;
        if (n == 0 || n < *reach || (n == *reach && best && !best->choice)) continue;
        best = &w->slots[i];
        *reach = n;
    }
    return best;
}

/* Clearing the slot may write to the file, and move the list. */
static wk_slot *take_from_disk(wk *w, wk_spilled *s, wk_slot *spare, uint32_t reach, uint32_t *cached)
{
    const ig_session_image *image = s->image;
    s->busy = true;
    slot_clear(w, spare);
    *cached = 0;
    for (size_t i = 0; i < w->n_spilled; i++)
        if (w->spilled[i].image == image) {
            *cached = wk_spill_load(w, &w->spilled[i], spare->session, reach);
            break;
        }
    return spare;
}

/* Chooses a slot and brings it to as many of the choice's tokens as there are; NULL: all are busy. */
static wk_slot *take_slot(wk *w, wk_choice *c, uint32_t *cached)
{
    wk_slot *spare = spare_slot(w), *best = best_slot(w, c, cached);
    if (!spare) return NULL;
    uint32_t on_disk;
    wk_spilled *s = wk_spill_find(w, c, &on_disk);
    if (s && on_disk >= *cached + COPY_MIN) return take_from_disk(w, s, spare, on_disk, cached);
    if (best && !best->choice) {
        uint32_t length = ingle_session_length(best->session);
        bool precious = *cached < length / 2 || cannot_go_back(best);
        if (!precious || spare == best || (spare->user == c->r->user && spare->used > best->used)) {
            if (*cached < length / 2) wk_spill_keep(w, best);
            *cached = ig_session_keep(best->session, *cached);
            return best;
        }
    }
    bool copy = best && best != spare && *cached >= COPY_MIN;
    slot_clear(w, spare);
    *cached = copy ? ig_session_copy(spare->session, best->session, *cached) : 0;
    if (copy && *cached == 0 && !best->choice) { /* no pages for a second one */
        *cached = ig_session_keep(best->session, reach_of(best, c));
        return best;
    }
    return spare;
}

/* -------------------------------------------------------------------------------------------- admission */

/* Who gives way to c where all slots are busy; NULL: nobody. */
static wk_choice *who_yields(const wk *w, const wk_choice *c)
{
    wk_choice *best = NULL;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        wk_choice *o = w->slots[i].choice;
        bool by_class = !c->r->batch && o->r->batch;
        bool by_share = c->r->batch == o->r->batch && c->r->user != o->r->user && c->r->user->running == 0 &&
                        o->r->user->running > 1;
        bool by_time = c->r->batch == o->r->batch && c->r->user->running == 0 &&
                       o->r->user->served > c->r->user->served + SLICE_TOKENS;
        if (!by_class && !by_share && !by_time) continue;
        if (!best || (o->r->batch && !best->r->batch) || (o->r->batch == best->r->batch && o->arrival > best->arrival))
            best = o;
    }
    return best;
}

static bool admit(wk *w, wk_choice *c)
{
    wk_fault f = {.type = "internal"};
    uint32_t cached = 0;
    if (!c->began && !wk_choice_begin(w, c, &f)) {
        request_fail(w, c->r, &f);
        return true;
    }
    wk_slot *s = take_slot(w, c, &cached);
    if (!s) return false;
    if (s->user != c->r->user) {
        wk_user_drop(w, s->user);
        s->user = c->r->user;
        s->user->refs++;
    }
    s->used = ++w->admissions;
    s->choice = c;
    c->slot = s;
    if (!c->admitted_ns) {
        c->admitted_ns = c->told_ns = ig_now_ns();
        c->n_cached = cached;
    }
    w->n_waiting--;
    w->n_running++;
    w->n_running_batch += c->r->batch;
    c->r->user->running++;
    w->status_due = true;
    return true;
}

void wk_admit(wk *w)
{
    while (w->n_waiting && !(w->short_of_pages && w->n_running)) {
        wk_choice *c = next_waiting(w);
        if (!c) return;
        if (w->n_running == w->cfg.n_sessions) {
            wk_choice *o = who_yields(w, c);
            if (!o) return;
            send_back(w, o);
        }
        if (!admit(w, c)) return;
    }
}

/* -------------------------------------------------------------------------------------------- a step */

static uint32_t behind(const wk_choice *c) { return c->n_tokens - ingle_session_length(c->slot->session); }

/* Tokens that were sampled before wrong guesses made the session forget them, and one more. */
static bool is_back(const wk_choice *c) { return c->n_back && behind(c) == 1 + c->n_back; }

/* One token, and no log probabilities of the prompt. */
static bool is_single(const wk_choice *c)
{
    return behind(c) == 1 && !(c->scoring && ingle_session_length(c->slot->session) < c->r->n_prompt);
}

/* The context is full and the request wants to go on: the older half goes, the rest is read again. */
static void shift(wk *w, wk_choice *c)
{
    uint32_t keep = c->tokens[0] == w->info.bos, drop = (wk_context(w, &c->r->p) - keep) / 2;
    memmove(c->tokens + keep, c->tokens + keep + drop, (c->n_tokens - keep - drop) * sizeof *c->tokens);
    c->n_tokens -= drop;
    c->n_shifted += drop;
    (void)ig_session_keep(c->slot->session, keep);
    if (c->spec) ig_spec_forget(c->spec);
}

static size_t add_item(wk *w, size_t n, wk_choice *c, uint32_t n_tokens)
{
    uint32_t at = ingle_session_length(c->slot->session);
    bool whole = at + n_tokens == c->n_tokens, scores = c->scoring && at >= c->n_scored && at < c->r->n_prompt;
    w->stepping[n] = c;
    w->items[n] = (ingle_step_item){.session = c->slot->session,
                                    .tokens = c->tokens + at,
                                    .n_tokens = n_tokens,
                                    .want = scores  ? INGLE_WANT_ALL
                                            : whole ? INGLE_WANT_LAST
                                                    : INGLE_WANT_NONE};
    w->guessed[n] = 0;
    return n + 1;
}

/* Tokens of prompts that this step takes. */
static uint32_t chunk(const wk *w, uint32_t n_single)
{
    uint32_t room = w->n_batch - n_single;
    double ms = n_single ? DECODE_FACTOR * w->decode_ms : STEP_MS_MAX;
    if (w->token_ms <= 0 || ms <= 0) return room < CHUNK_FIRST ? room : CHUNK_FIRST;
    double most = ms / w->token_ms;
    if (most < CHUNK_MIN) most = n_single ? CHUNK_MIN : 1 + most;
    return most < room ? (uint32_t)most : room;
}

static wk_choice *next_prompt(const wk *w, size_t from, size_t n)
{
    wk_choice *best = NULL;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        wk_choice *c = w->slots[i].choice;
        bool taken = !c || is_single(c);
        for (size_t k = from; !taken && k < n; k++) taken = w->stepping[k] == c;
        if (!taken && (!best || before(c, best))) best = c;
    }
    return best;
}

/* Rows of logits are few: what a prompt that is scored may take. */
static uint32_t cut(const wk_choice *c, uint32_t n, uint32_t *rows)
{
    uint32_t at = ingle_session_length(c->slot->session);
    if (!c->scoring || at >= c->r->n_prompt) return *rows ? (*rows -= behind(c) <= n, n) : 0;
    if (at < c->n_scored) return n < c->n_scored - at ? n : c->n_scored - at;
    if (n > c->r->n_prompt - at) n = c->r->n_prompt - at;
    if (n > *rows) n = *rows;
    *rows -= n;
    return n;
}

/* Answers run alone, few of them, and there is room for all that they may guess. */
static bool may_guess(const wk *w)
{
    uint32_t n = 0;
    if (w->n_running > GUESS_RUNNING_MAX || w->cfg.speculate == INGLE_SPECULATE_OFF) return false;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        const wk_choice *c = w->slots[i].choice;
        if (!c) continue;
        if (!is_single(c) && !is_back(c)) return false;
        n += 1 + c->n_back;
    }
    return n <= w->n_batch;
}

/* Guesses for the items, each of which is an answer's due tokens, what follows them. */
static void add_guesses(wk *w, size_t n)
{
    uint32_t n_tokens = 0, n_rows = w->n_rows - (uint32_t)n;
    for (size_t i = 0; i < n; i++) n_tokens += w->items[i].n_tokens;
    for (size_t i = 0; i < n; i++) {
        wk_choice *c = w->stepping[i];
        uint32_t due = w->items[i].n_tokens, most = IG_SPEC_ROWS, n_ctx = wk_context(w, &c->r->p);
        ig_spec_ask ask;
        if (!c->spec || n_tokens >= w->n_batch || n_rows < due) continue;
        uint32_t left[] = {w->n_batch - n_tokens, n_rows - (due - 1), n_ctx - c->n_tokens,
                           c->r->p.max_tokens - c->n_generated, IG_SPEC_ROWS - due};
        if (c->n_tokens >= n_ctx || c->n_generated >= c->r->p.max_tokens || due >= IG_SPEC_ROWS) continue;
        left[3]--; /* the last one is not fed */
        for (size_t k = 0; k < sizeof left / sizeof *left; k++)
            if (left[k] < most) most = left[k];
        ig_spec_room room = {.n_others = n_tokens - due,
                             .n_due = due,
                             .most = most,
                             .recurrent = ig_session_is_recurrent(c->slot->session),
                             .head = ig_session_has_head(c->slot->session),
                             .head_ms = ig_engine_head_ms(w->engine),
                             .drafter = w->drafter != NULL,
                             .drafter_ms = w->drafter_ms};
        uint32_t k = ig_spec_guess(c->spec, ig_engine_costs(w->engine), &room, c->tokens, c->n_tokens,
                                   c->tokens + c->n_tokens, &ask);
        if (ask.by == IG_SPEC_BY_HEAD)
            k = ig_head_guess(c->slot->session, c->tokens + c->n_tokens - due, due, ask.n, c->tokens + c->n_tokens);
        if (ask.by == IG_SPEC_BY_DRAFTER) k = wk_drafter_guess(w, c, ask.n, c->tokens + c->n_tokens);
        if (k == 0 || !ig_session_mark(c->slot->session)) continue;
        w->guessed[i] = k;
        w->items[i].n_tokens += k;
        w->items[i].want = INGLE_WANT_ALL;
        n_tokens += k;
        n_rows -= due + k - 1;
    }
}

static size_t collect_guessing(wk *w)
{
    size_t n = 0;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++)
        if (w->slots[i].choice) n = add_item(w, n, w->slots[i].choice, behind(w->slots[i].choice));
    add_guesses(w, n);
    return n;
}

/* Without the guesses. */
static bool drop_guesses(wk *w, size_t n)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (!w->guessed[i]) continue;
        w->items[i].n_tokens -= w->guessed[i];
        w->items[i].want = INGLE_WANT_LAST;
        w->guessed[i] = 0;
        any = true;
    }
    return any;
}

static size_t collect(wk *w, size_t *n_single)
{
    size_t n = 0;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        wk_choice *c = w->slots[i].choice;
        if (c && c->n_tokens > wk_context(w, &c->r->p)) shift(w, c);
    }
    if (may_guess(w)) return *n_single = collect_guessing(w);
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        wk_choice *c = w->slots[i].choice;
        if (c && is_single(c)) n = add_item(w, n, c, 1);
    }
    *n_single = n;
    uint32_t left = chunk(w, (uint32_t)n), rows = w->n_rows - (uint32_t)n;
    for (wk_choice *c; left && (c = next_prompt(w, *n_single, n)) != NULL;) {
        uint32_t take = cut(c, behind(c) < left ? behind(c) : left, &rows);
        if (take == 0) break;
        n = add_item(w, n, c, take);
        left -= take;
    }
    return n;
}

static void learn(wk *w, double ms, size_t n_single, uint32_t n_prompt)
{
    double *what = n_prompt ? &w->token_ms : &w->decode_ms;
    double beside = n_prompt && n_single ? w->decode_ms : 0;
    double now = n_prompt ? (ms > beside ? ms - beside : 0) / n_prompt : ms;
    if (now < 1e-6) now = 1e-6;
    *what = *what > 0 ? 0.8 * *what + 0.2 * now : now;
}

/* Makes room for pages; false: there is nobody left to take them from. */
static bool free_pages(wk *w)
{
    wk_slot *old = NULL;
    wk_choice *young = NULL;
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        wk_slot *s = &w->slots[i];
        if (!s->choice && ingle_session_length(s->session) && (!old || s->used < old->used)) old = s;
        if (s->choice && (!young || s->choice->arrival > young->arrival)) young = s->choice;
    }
    if (old) {
        slot_clear(w, old);
        return true;
    }
    if (!young || w->n_running < 2) return false;
    wk_slot *s = young->slot;
    send_back(w, young);
    slot_clear(w, s);
    w->short_of_pages = true;
    return true;
}

static void fail_step(wk *w, size_t n, const ingle_error *e)
{
    wk_fault f;
    ig_error own = wk_error_of(e);
    for (size_t i = 0; i < n; i++) {
        wk_choice *c = w->stepping[i];
        if (!c) continue;
        wk_refuse_status(&f, NULL, &own);
        if (e->status != INGLE_NO_MEMORY) f.type = "internal";
        request_fail(w, c->r, &f);
    }
}

/* The session has all tokens of the choice: the next one is chosen. False: that was the end, and the choice may be
 * gone. */
static bool advance(wk *w, wk_choice *c, const float *logits, uint64_t now)
{
    wk_fault f = {.type = "internal"};
    if (!c->prompt_done) {
        c->prompt_done = true;
        c->prompt_ns = now;
        if (c->idx == 0) wk_send_prompt(w, c);
        wk_choice_echo(w, c);
    }
    uint32_t before_n = c->n_generated;
    const char *end = wk_choice_next(w, c, logits, &f);
    w->tokens_generated += c->n_generated - before_n;
    if (!end) return true;
    if (!strcmp(end, "error"))
        request_fail(w, c->r, &f);
    else
        choice_over(w, c, end);
    return false;
}

/* Goes through the rows behind the choice's last token and its guesses as long as those come true. */
static void advance_guessed(wk *w, wk_choice *c, const float *rows, uint32_t n_guessed, uint64_t now)
{
    wk_slot *slot = c->slot;
    uint32_t right = 0, held = c->n_tokens; /* what the session holds rightly */
    bool alive;
    c->n_drafted += n_guessed;
    for (;;) {
        int32_t guess = c->tokens[c->n_tokens];
        if (right) c->n_accepted++;
        alive = advance(w, c, rows + (size_t)right * w->info.n_vocab, now);
        if (!alive || right == n_guessed || c->tokens[c->n_tokens - 1] != guess) break;
        right++;
        held++;
    }
    uint32_t left = ig_session_keep(slot->session, held);
    if (!alive) {
        slot->held = left < held ? held : 0;
        return;
    }
    c->n_back = held - left;
    ig_spec_judge(c->spec, n_guessed, right, true);
}

/* What item i of the step has brought. */
static void take_result(wk *w, size_t i, uint64_t now)
{
    wk_choice *c = w->stepping[i];
    const ingle_step_item *it = &w->items[i];
    wk_fault f = {.type = "internal"};
    c->r->user->served += it->n_tokens;
    if (!c->prompt_done) w->tokens_prompt += it->n_tokens;
    if (it->want == INGLE_WANT_ALL && !w->guessed[i] && !wk_choice_score(w, c, it->logits, it->n_tokens, &f)) {
        request_fail(w, c->r, &f);
        return;
    }
    c->n_back = 0;
    if (w->guessed[i]) {
        uint32_t due = it->n_tokens - w->guessed[i];
        advance_guessed(w, c, it->logits + (size_t)(due - 1) * w->info.n_vocab, w->guessed[i], now);
    } else if (behind(c) == 0) {
        size_t last = it->want == INGLE_WANT_ALL ? it->n_tokens - 1 : 0;
        advance(w, c, it->logits + last * w->info.n_vocab, now);
    } else if (c->idx == 0 && now - c->told_ns > (uint64_t)PROGRESS_MS * 1000000) {
        c->told_ns = now;
        wk_send_prompt(w, c);
    }
}

/* What wrong guesses made sessions forget of answers that have ended is there for the next turn. */
static void keep_answers(wk *w)
{
    for (uint32_t i = 0; i < w->cfg.n_sessions; i++) {
        wk_slot *s = &w->slots[i];
        if (s->held && s->user && !s->choice) ig_session_catch_up(s->session, s->held);
        s->held = 0;
    }
}

bool wk_step(wk *w)
{
    size_t n_single, n = w->n_running ? collect(w, &n_single) : 0;
    ingle_error e;
    uint32_t n_prompt = 0;
    if (n == 0) return false;
    w->n_stepping = n;
    uint64_t from = ig_now_ns();
    ingle_status st = ingle_engine_step(w->engine, w->items, n, &e);
    if (st == INGLE_NO_MEMORY && drop_guesses(w, n)) st = ingle_engine_step(w->engine, w->items, n, &e);
    if (st != INGLE_OK) {
        if (e.status != INGLE_NO_MEMORY || !free_pages(w)) fail_step(w, n, &e);
        w->n_stepping = 0;
        return true;
    }
    uint64_t now = ig_now_ns();
    for (size_t i = n_single; i < n; i++) n_prompt += w->items[i].n_tokens;
    uint32_t n_tokens = n_prompt;
    for (size_t i = 0; i < n_single; i++) n_tokens += w->items[i].n_tokens;
    if (n_prompt == 0) ig_costs_note(ig_engine_costs(w->engine), n_tokens, (double)(now - from) / 1e6);
    if (n_prompt || n_tokens == n) learn(w, (double)(now - from) / 1e6, n_single, n_prompt);
    for (size_t i = 0; i < n; i++)
        if (w->stepping[i]) take_result(w, i, now);
    w->n_stepping = 0;
    keep_answers(w);
    return true;
}
