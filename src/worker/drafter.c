/* A smaller model in the same process that guesses what the worker's model may say (INIT names its files behind the
 * model's own). It has a session for each of the few answers that may guess at once; one belongs to a slot and forgets
 * everything when the slot changes hands, so that nobody's tokens meet another user's. Main thread. */
#include <string.h>

#include "worker/wk.h"

enum { CATCH_UP = 128 /* tokens of a prompt that the drafter reads beside one step */ };

/* Sessions that guess at once are few; with fewer slots than that there are as many. */
static uint32_t n_sessions(const wk *w) { return w->cfg.n_sessions < WK_DRAFTERS ? w->cfg.n_sessions : WK_DRAFTERS; }

static uint32_t context(const wk *w)
{
    ingle_model_info info;
    ingle_model_describe(w->draft, &info);
    return w->n_ctx < info.n_ctx_train ? w->n_ctx : info.n_ctx_train;
}

bool wk_drafter_plan(wk *w, wk_fault *f)
{
    ingle_error e;
    ingle_memory need;
    ig_error own;
    uint64_t kv;
    if (ig_draft_check(w->model, w->draft, &own) != IG_OK) return wk_refuse_status(f, "draft", &own);
    if (ingle_model_memory(w->draft, context(w), w->cfg.kv, &need, &e) != INGLE_OK) {
        own = wk_error_of(&e);
        return wk_refuse_status(f, "draft", &own);
    }
    if (!ig_mul_u64(need.kv, n_sessions(w), &kv)) kv = UINT64_MAX / 4;
    w->draft_bytes = need.weights + need.workspace + need.logits * n_sessions(w) + kv;
    return true;
}

bool wk_drafter_start(wk *w, wk_fault *f)
{
    ingle_error e;
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = w->cfg.n_threads,
                              .n_ctx = context(w),
                              .n_sessions = n_sessions(w),
                              .kv = w->cfg.kv,
                              .no_head = true};
    ingle_status st = ingle_engine_new(w->draft, &o, &w->drafter, &e);
    for (uint32_t i = 0; st == INGLE_OK && i < n_sessions(w); i++)
        st = ingle_session_new(w->drafter, &w->drafters[i].session, &e);
    if (st == INGLE_OK) return true;
    ig_error own = wk_error_of(&e);
    return wk_refuse_status(f, "draft", &own);
}

void wk_drafter_stop(wk *w)
{
    for (size_t i = 0; i < WK_DRAFTERS; i++) ingle_session_free(w->drafters[i].session);
    ingle_engine_free(w->drafter);
    ingle_model_close(w->draft);
}

void wk_drafter_forget(wk *w, const wk_slot *slot)
{
    for (size_t i = 0; i < WK_DRAFTERS; i++)
        if (w->drafters[i].slot == slot) {
            w->drafters[i].slot = NULL;
            (void)ig_session_keep(w->drafters[i].session, 0);
        }
}

/* The one of this slot, else the one that was used longest ago, emptied. */
static wk_drafter *drafter_of(wk *w, const wk_slot *slot)
{
    wk_drafter *best = NULL;
    for (size_t i = 0; i < WK_DRAFTERS; i++) {
        wk_drafter *d = &w->drafters[i];
        if (!d->session) continue;
        if (d->slot == slot) return d;
        if (!best || d->used < best->used) best = d;
    }
    (void)ig_session_keep(best->session, 0);
    best->slot = slot;
    return best;
}

uint32_t wk_drafter_guess(wk *w, const wk_choice *c, uint32_t most, int32_t *out)
{
    wk_drafter *d = drafter_of(w, c->slot);
    d->used = ++w->draft_turns;
    return ig_draft_guess(d->session, c->tokens, c->n_tokens, CATCH_UP, most, w->info.n_vocab, out, &w->drafter_ms);
}
