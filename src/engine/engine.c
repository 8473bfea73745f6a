/* Engines and sessions: the public face of runs and sequences. */
#include "base/os.h"
#include "engine/api.h"

enum { N_CTX_DEFAULT = 4096 };

static const ig_kv kv_kinds[] = {[INGLE_KV_F16] = IG_KV_F16, [INGLE_KV_F32] = IG_KV_F32, [INGLE_KV_Q8_0] = IG_KV_Q8_0};

/* Pages for every session, windows first; fewer where a limit is given. */
static ig_status count_pages(const ingle_engine *e, uint64_t bytes_max, ig_run_options *run, ig_error *err)
{
    const ig_model *net = e->model->net;
    uint64_t left = bytes_max, n_seqs = (uint64_t)e->n_sessions_max * (ig_model_hparams(net)->has_encoder ? 2 : 1);
    for (int g = IG_KV_GROUPS - 1; g >= 0; g--) {
        uint64_t bytes = ig_model_page_bytes(net, run->kv, g), pages = ig_model_pages(net, g, e->n_ctx, e->n_batch) * n_seqs;
        if (bytes && bytes_max && left / bytes < pages) pages = left / bytes;
        if (bytes && pages == 0)
            return ig_fail(err, IG_TOO_LARGE, 0, "one KV page needs %llu bytes, the limit is %llu",
                           (unsigned long long)bytes, (unsigned long long)bytes_max);
        if (pages > UINT32_MAX / 2)
            return ig_fail(err, IG_TOO_LARGE, 0, "%llu KV pages were asked for, at most %u can be used",
                           (unsigned long long)pages, UINT32_MAX / 2);
        left -= bytes_max ? pages * bytes : 0;
        run->n_pages[g] = (uint32_t)pages;
    }
    return IG_OK;
}

static ig_status resolve(ingle_engine *e, const ingle_engine_options *options, ig_run_options *run, ig_error *err)
{
    ingle_engine_options o;
    IG_OPTIONS(&o, options);
    const ig_model *net = e->model->net;
    const char *path = ig_format_path(e->model->file);
    if (!net) return ig_fail(err, IG_UNSUPPORTED, 0, "%s: the file was opened without tensors and cannot be run", path);
    uint32_t trained = ig_model_hparams(net)->n_ctx_train;
    e->n_ctx = o.n_ctx ? o.n_ctx : trained < N_CTX_DEFAULT ? trained : N_CTX_DEFAULT;
    if (e->n_ctx > trained)
        return ig_fail(err, IG_TOO_LARGE, 0, "%s: a context of %u tokens was asked for, the model was trained on %u",
                       path, e->n_ctx, trained);
    if ((unsigned)o.kv > INGLE_KV_Q8_0) return ig_fail(err, IG_BAD_INPUT, 0, "KV type %d is not known", (int)o.kv);
    e->n_batch = o.n_batch ? o.n_batch : ig_standard_batch(net, e->n_ctx);
    e->embed = o.embed;
    e->kv = kv_kinds[o.kv];
    e->n_sessions_max = o.n_sessions ? o.n_sessions : 1;
    e->n_logits = o.n_logits ? o.n_logits : o.embed ? e->n_batch : e->n_sessions_max + IG_SPEC_ROWS - 1;
    e->n_threads = o.n_threads ? o.n_threads : ig_cores();
    if (e->n_threads > 1024)
        return ig_fail(err, IG_TOO_LARGE, 0, "%u threads were asked for, at most 1024 can be used", e->n_threads);
    if (e->n_batch > e->n_ctx * (uint64_t)e->n_sessions_max) e->n_batch = e->n_ctx * e->n_sessions_max;
    if (e->n_sessions_max > 65536 || e->n_logits > 1u << 20)
        return ig_fail(err, IG_TOO_LARGE, 0,
                       "%u sessions and %u logit rows were asked for, at most 65536 and 1048576 can be",
                       e->n_sessions_max, e->n_logits);
    *run = (ig_run_options){.n_threads = e->n_threads,
                            .n_batch = e->n_batch,
                            .n_logits = e->n_logits,
                            .n_ctx = e->n_ctx,
                            .kv = kv_kinds[o.kv],
                            .dense = o.dense,
                            .draft = !o.no_head && !o.embed,
                            .embed = o.embed};
    return count_pages(e, o.kv_bytes_max, run, err);
}

ingle_status ingle_engine_new(const ingle_model *model, const ingle_engine_options *options, ingle_engine **out,
                              ingle_error *err)
{
    ig_error e;
    ig_run_options run;
    *out = NULL;
    ingle_engine *engine = ig_calloc(1, sizeof *engine);
    if (!engine) return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the engine"), &e, err);
    engine->model = model;
    ig_status st = resolve(engine, options, &run, &e);
    if (st == IG_OK) st = ig_run_new(model->net, &run, &engine->run, &e);
    if (st == IG_OK && !(engine->items = ig_calloc(engine->n_sessions_max, sizeof *engine->items)))
        st = ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for %u sessions", engine->n_sessions_max);
    if (st != IG_OK) {
        ingle_engine_free(engine);
        return ig_pass(st, &e, err);
    }
    *out = engine;
    return INGLE_OK;
}

void ingle_engine_free(ingle_engine *engine)
{
    if (!engine) return;
    ig_run_free(engine->run);
    ig_free(engine->items);
    ig_free(engine);
}

void ingle_engine_observe(ingle_engine *engine, ingle_observe_fn fn, void *user)
{
    ig_run_observe(engine->run, fn, user);
}

uint32_t ingle_engine_n_ctx(const ingle_engine *engine) { return engine->n_ctx; }
uint32_t ingle_engine_n_threads(const ingle_engine *engine) { return engine->n_threads; }

ingle_status ingle_session_new(ingle_engine *engine, ingle_session **out, ingle_error *err)
{
    ig_error e;
    *out = NULL;
    if (engine->n_sessions == engine->n_sessions_max)
        return ig_pass(ig_fail(&e, IG_TOO_LARGE, 0, "%u sessions live already, the engine holds %u", engine->n_sessions,
                               engine->n_sessions_max),
                       &e, err);
    ingle_session *s = ig_calloc(1, sizeof *s);
    if (!s) return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a session"), &e, err);
    s->engine = engine;
    engine->n_sessions++;
    ig_status st = ig_seq_init(engine->run, &s->seq, engine->n_ctx, &e);
    s->tokens = ig_calloc(engine->n_ctx, sizeof *s->tokens);
    s->logits = ig_calloc(ig_logits_width(engine->model), sizeof *s->logits);
    if (st == IG_OK && (!s->tokens || !s->logits)) st = ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a session");
    if (st != IG_OK) {
        ingle_session_free(s);
        return ig_pass(st, &e, err);
    }
    *out = s;
    return INGLE_OK;
}

void ingle_session_free(ingle_session *session)
{
    if (!session) return;
    ig_seq_fini(session->engine->run, &session->seq);
    ig_seq_fini(session->engine->run, &session->source);
    session->engine->n_sessions--;
    ig_free(session->tokens);
    ig_free(session->logits);
    ig_free(session);
}

uint32_t ingle_session_length(const ingle_session *session) { return session->seq.n_tokens; }

/* Goes back to n tokens. What the sequence cannot keep is evaluated again; the pages for it have just been given back,
 * so that this does not fail. Should it, the session is shorter. */
static void rewind_to(ingle_session *s, uint32_t n)
{
    (void)ig_seq_truncate(s->engine->run, &s->seq, n);
    ig_session_catch_up(s, n);
}

void ig_session_catch_up(ingle_session *s, uint32_t n)
{
    for (uint32_t at = s->seq.n_tokens; at < n;) {
        uint32_t chunk = n - at < s->engine->n_batch ? n - at : s->engine->n_batch;
        ig_step_item it = {.seq = &s->seq, .tokens = s->tokens + at, .n = chunk, .want = IG_WANT_NONE};
        if (ig_step(s->engine->run, &it, 1, NULL) != IG_OK) return;
        at += chunk;
    }
}

void ingle_session_truncate(ingle_session *session, uint32_t n)
{
    if (n >= session->seq.n_tokens) return;
    rewind_to(session, n);
    session->has_logits = false;
}

const int32_t *ig_session_tokens(const ingle_session *s) { return s->tokens; }

uint32_t ig_session_reach(const ingle_session *s, uint32_t n)
{
    return ig_seq_reach(s->engine->run, &s->seq, n < s->seq.n_tokens ? n : s->seq.n_tokens);
}

uint32_t ig_session_keep(ingle_session *s, uint32_t n)
{
    if (n < s->seq.n_tokens) s->has_logits = false;
    return ig_seq_truncate(s->engine->run, &s->seq, n);
}

uint32_t ig_session_copy(ingle_session *to, const ingle_session *from, uint32_t n)
{
    (void)ig_session_keep(to, 0);
    if (from->engine != to->engine || from->seq.source || from == to) return 0;
    uint32_t left = ig_seq_copy(to->engine->run, &to->seq, &from->seq, n < from->seq.n_tokens ? n : from->seq.n_tokens);
    memcpy(to->tokens, from->tokens, left * sizeof *to->tokens);
    return left;
}

bool ig_session_mark(ingle_session *s) { return ig_seq_mark(s->engine->run, &s->seq); }
bool ig_session_is_recurrent(const ingle_session *s) { return s->seq.state != NULL; }
bool ig_session_has_head(const ingle_session *s) { return s->seq.hidden != NULL; }
double ig_engine_head_ms(const ingle_engine *engine) { return engine->head_ms; }

uint32_t ig_head_guess(ingle_session *s, const int32_t *due, uint32_t n_due, uint32_t most, int32_t *out)
{
    ingle_engine *e = s->engine;
    uint64_t from = ig_now_ns();
    uint32_t k = ig_draft_ahead(e->run, &s->seq, due, n_due, most, out, NULL);
    if (k == 0) return 0;
    double now = (double)(ig_now_ns() - from) / 1e6 / k;
    e->head_ms = e->head_ms > 0 ? 0.75 * e->head_ms + 0.25 * now : now;
    return k;
}

ig_costs *ig_engine_costs(ingle_engine *engine) { return &engine->costs; }

void ig_engine_measure(const ingle_engine *engine, ig_engine_use *out)
{
    const ig_model *net = engine->model->net;
    *out = (ig_engine_use){.weights = ig_model_weight_bytes(net),
                           .workspace = ig_model_workspace_bytes(net, engine->n_batch, engine->n_logits,
                                                                 engine->n_threads, engine->n_ctx)};
    for (int g = 0; g < IG_KV_GROUPS; g++) {
        uint32_t total, used;
        ig_run_pages(engine->run, g, &total, &used);
        out->kv_pages += total;
        out->kv_pages_used += used;
        out->kv += total * ig_model_page_bytes(net, engine->kv, g);
    }
}

static ig_status encode(ingle_session *s, const int32_t *tokens, size_t n, ig_error *err)
{
    ingle_engine *e = s->engine;
    if (!ig_model_hparams(e->model->net)->has_encoder)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: the model has no encoder", ig_format_path(e->model->file));
    if (s->seq.n_tokens)
        return ig_fail(err, IG_BAD_INPUT, 0, "the session holds %u tokens already, the encoder's come first",
                       s->seq.n_tokens);
    if (n == 0 || n > e->n_ctx || n > e->n_batch)
        return ig_fail(err, IG_TOO_LARGE, 0, "%zu tokens for the encoder, expected 1 to %u", n,
                       e->n_ctx < e->n_batch ? e->n_ctx : e->n_batch);
    if (s->source.n_pages_max) ig_seq_fini(e->run, &s->source);
    IG_TRY(ig_seq_init(e->run, &s->source, e->n_ctx, err));
    ig_step_item it = {.seq = &s->source, .tokens = tokens, .n = (uint32_t)n};
    IG_TRY(ig_encode(e->run, &it, err));
    s->seq.source = &s->source;
    return IG_OK;
}

ingle_status ingle_session_encode(ingle_session *session, const int32_t *tokens, size_t n, ingle_error *err)
{
    ig_error e;
    return ig_pass(encode(session, tokens, n, &e), &e, err);
}

const float *ingle_session_logits(const ingle_session *session) { return session->has_logits ? session->logits : NULL; }

static ig_status check_room(const ingle_session *s, uint64_t n, ig_error *err)
{
    uint64_t end = s->seq.n_tokens + n;
    if (end <= s->engine->n_ctx) return IG_OK;
    return ig_fail(
        err, IG_TOO_LARGE, 0,
        "%llu tokens do not fit: the session would hold %llu, the context holds %u (a larger --ctx helps up to %u)",
        (unsigned long long)n, (unsigned long long)end, s->engine->n_ctx,
        ig_model_hparams(s->engine->model->net)->n_ctx_train);
}

/* The last row of a step's logits becomes the session's own. */
static void keep_logits(ingle_session *s, const ig_step_item *it)
{
    uint32_t width = ig_logits_width(s->engine->model);
    if (s->engine->embed) return;
    s->has_logits = it->logits != NULL;
    if (!it->logits) return;
    const float *last = it->logits + (it->want == IG_WANT_ALL ? (size_t)(it->n - 1) * width : 0);
    memcpy(s->logits, last, width * sizeof *last);
}

static ig_status step(ingle_engine *engine, ingle_step_item *items, size_t n_items, ig_error *err)
{
    if (n_items > engine->n_sessions_max)
        return ig_fail(err, IG_TOO_LARGE, 0, "the step has %zu items, the engine holds %u sessions", n_items,
                       engine->n_sessions_max);
    for (size_t i = 0; i < n_items; i++) {
        const ingle_step_item *it = &items[i];
        if (!it->session || it->session->engine != engine)
            return ig_fail(err, IG_BAD_INPUT, i, "item %zu of the step has no session of this engine", i);
        if ((unsigned)it->want > INGLE_WANT_ALL)
            return ig_fail(err, IG_BAD_INPUT, i, "item %zu of the step wants %d, expected none, last or all", i,
                           (int)it->want);
        IG_TRY(check_room(it->session, it->n_tokens, err));
        engine->items[i] = (ig_step_item){
            .seq = &it->session->seq, .tokens = it->tokens, .n = it->n_tokens, .want = (ig_want)it->want};
    }
    IG_TRY(ig_step(engine->run, engine->items, n_items, err));
    for (size_t i = 0; i < n_items; i++) {
        ingle_session *s = items[i].session;
        memmove(s->tokens + s->seq.n_tokens - items[i].n_tokens, items[i].tokens,
                items[i].n_tokens * sizeof *s->tokens);
        items[i].logits = engine->items[i].logits;
        keep_logits(s, &engine->items[i]);
    }
    return IG_OK;
}

ingle_status ingle_engine_step(ingle_engine *engine, ingle_step_item *items, size_t n_items, ingle_error *err)
{
    ig_error e;
    return ig_pass(step(engine, items, n_items, &e), &e, err);
}

ingle_status ingle_session_pretend(ingle_session *s, uint32_t n, ingle_error *err)
{
    ig_error e;
    (void)ig_session_keep(s, 0);
    ig_status st = check_room(s, n, &e);
    if (st == IG_OK) st = ig_seq_pretend(s->engine->run, &s->seq, n, &e);
    for (uint32_t i = 0; st == IG_OK && i < n; i++) s->tokens[i] = 0;
    return ig_pass(st, &e, err);
}

static ig_status feed(ingle_session *s, const int32_t *tokens, size_t n, ig_error *err)
{
    if (n == 0) return ig_fail(err, IG_BAD_INPUT, 0, "there is nothing to feed, expected at least 1 token");
    IG_TRY(check_room(s, n, err));
    uint32_t before = s->seq.n_tokens;
    bool had_logits = s->has_logits;
    for (size_t done = 0; done < n;) {
        uint32_t chunk = n - done < s->engine->n_batch ? (uint32_t)(n - done) : s->engine->n_batch;
        ingle_want want = done + chunk == n ? INGLE_WANT_LAST : INGLE_WANT_NONE;
        ingle_step_item it = {.session = s, .tokens = tokens + done, .n_tokens = chunk, .want = want};
        ig_status st = step(s->engine, &it, 1, err);
        if (st != IG_OK) {
            rewind_to(s, before);
            s->has_logits = had_logits; /* the buffer is written by a successful last chunk alone */
            return st;
        }
        done += chunk;
    }
    return IG_OK;
}

ingle_status ingle_session_feed(ingle_session *session, const int32_t *tokens, size_t n, ingle_error *err)
{
    ig_error e;
    return ig_pass(feed(session, tokens, n, &e), &e, err);
}

ingle_status ingle_session_feed_text(ingle_session *session, const char *text, size_t n_text, unsigned flags,
                                     ingle_error *err)
{
    ig_error e;
    ig_ids ids = {0};
    const ingle_model *m = session->engine->model;
    unsigned f =
        (flags & INGLE_ADD_SPECIAL ? IG_TOKENIZE_ADD : 0u) | (flags & INGLE_PARSE_SPECIAL ? IG_TOKENIZE_PARSE : 0u);
    ig_status st =
        m->vocab ? ig_tokenize(m->vocab, text, n_text, f, &ids, &e)
                 : ig_fail(&e, IG_UNSUPPORTED, 0, "%s: the file has no vocabulary, feed token ids instead of text",
                           ig_format_path(m->file));
    if (st == IG_OK) st = feed(session, ids.ptr, ids.len, &e);
    ig_free(ids.ptr);
    return ig_pass(st, &e, err);
}

ingle_status ingle_session_shift(ingle_session *session, uint32_t n_keep, uint32_t n_discard, ingle_error *err)
{
    ig_error e;
    uint64_t end = (uint64_t)n_keep + n_discard;
    uint32_t length = session->seq.n_tokens;
    if (n_discard == 0 || end >= length)
        return ig_pass(
            ig_fail(&e, IG_BAD_INPUT, 0,
                    "cannot drop %u tokens after the first %u: the session holds %u and must keep at least one behind",
                    n_discard, n_keep, length),
            &e, err);
    /* The tail is fed again behind the head. It moves down inside `tokens`; feed copies it onto itself. */
    memmove(session->tokens + n_keep, session->tokens + end, (length - end) * sizeof *session->tokens);
    uint32_t at = ig_seq_truncate(session->engine->run, &session->seq, n_keep);
    return ig_pass(feed(session, session->tokens + at, (size_t)(length - end + n_keep - at), &e), &e, err);
}
