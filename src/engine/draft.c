/* A smaller model of the same vocabulary that says what the larger one may say next. */
#include <string.h>

#include "base/os.h"
#include "engine/api.h"
#include "engine/spec.h"

static bool same_piece(const ingle_model *a, const ingle_model *b, int32_t id, ig_buf *x, ig_buf *y)
{
    x->len = y->len = 0;
    return ig_token_piece(a->vocab, id, true, x) && ig_token_piece(b->vocab, id, true, y) && x->len == y->len &&
           (x->len == 0 || memcmp(x->ptr, y->ptr, x->len) == 0) &&
           ingle_token_is_end(a, id) == ingle_token_is_end(b, id);
}

ig_status ig_draft_check(const ingle_model *model, const ingle_model *draft, ig_error *err)
{
    const char *path = ig_format_path(draft->file);
    ingle_model_info a, b;
    ingle_model_describe(model, &a);
    ingle_model_describe(draft, &b);
    if (!b.has_tensors || !b.has_logits || !b.causal || b.has_encoder)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: the model gives no next tokens and cannot draft for another", path);
    if (!model->vocab || !draft->vocab)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: a model that drafts needs a vocabulary, and so does the other",
                       path);
    /* Rows of logits may be filled up to round numbers; the tokens that both have must be the same. */
    uint32_t n = a.n_vocab < b.n_vocab ? a.n_vocab : b.n_vocab, more = (a.n_vocab > b.n_vocab ? a : b).n_vocab - n;
    bool same = a.bos == b.bos && more <= 1024;
    ig_buf x, y;
    ig_buf_init(&x, 1 << 20);
    ig_buf_init(&y, 1 << 20);
    uint32_t at = 0;
    while (same && at < n && (same = same_piece(model, draft, (int32_t)at, &x, &y))) at++;
    ig_buf_fini(&x);
    ig_buf_fini(&y);
    if (same) return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0,
                   "%s: the vocabulary differs from that of %s (%u and %u tokens, the first %u alike), expected a "
                   "smaller model of the same family to draft",
                   path, ig_format_path(model->file), b.n_vocab, a.n_vocab, at);
}

static int32_t likeliest(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Brings the session to tokens [n]; false: it cannot hold them, does not know them, or needs another turn. */
static bool follow(ingle_session *d, const int32_t *tokens, uint32_t n, uint32_t most_read, uint32_t n_vocab)
{
    uint32_t same = 0;
    if (n >= d->engine->n_ctx) return false;
    while (same < n && same < d->seq.n_tokens && d->tokens[same] == tokens[same]) same++;
    if (same == n && d->seq.n_tokens == n && d->has_logits) return true;
    if (same == n) same--; /* its logits are wanted */
    same = ig_session_keep(d, same);
    uint32_t end = n - same > most_read ? same + most_read : n;
    for (uint32_t i = same; i < end; i++)
        if ((uint32_t)tokens[i] >= n_vocab) return false;
    return ingle_session_feed(d, tokens + same, end - same, NULL) == INGLE_OK && end == n;
}

uint32_t ig_draft_guess(ingle_session *d, const int32_t *tokens, uint32_t n, uint32_t most_read, uint32_t most,
                        uint32_t n_vocab, int32_t *out, double *ms)
{
    uint32_t k = 0, own = ig_logits_width(d->engine->model);
    if (!follow(d, tokens, n, most_read, own)) return 0;
    (void)ig_seq_mark(d->engine->run, &d->seq);
    uint64_t from = ig_now_ns();
    while (k < most) {
        out[k] = likeliest(ingle_session_logits(d), own < n_vocab ? own : n_vocab);
        k++;
        if (k == most || d->seq.n_tokens + 1 >= d->engine->n_ctx) break;
        if (ingle_session_feed(d, &out[k - 1], 1, NULL) != INGLE_OK) break;
    }
    if (k > 1) {
        double now = (double)(ig_now_ns() - from) / 1e6 / (k - 1);
        *ms = *ms > 0 ? 0.75 * *ms + 0.25 * now : now;
    }
    return k;
}
