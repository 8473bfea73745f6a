/* Embeddings: texts through the model without an output matrix, pooled over their tokens. Texts of different length
 * share a step; what a text gives never depends on the others. */
#include <math.h>

#include "engine/api.h"

ingle_pooling ig_default_pooling(const ingle_model *m)
{
    static const ingle_pooling kinds[] = {[IG_POOLING_NONE] = INGLE_POOLING_NONE,
                                          [IG_POOLING_MEAN] = INGLE_POOLING_MEAN,
                                          [IG_POOLING_CLS] = INGLE_POOLING_CLS,
                                          [IG_POOLING_LAST] = INGLE_POOLING_LAST,
                                          [IG_POOLING_RANK] = INGLE_POOLING_RANK};
    return kinds[ig_model_hparams(m->net)->pooling];
}

/* Which row of a text the pooling takes: a classifier reads the last token of a decoder, the first of an encoder. */
static ingle_pooling row_of(const ingle_model *m, ingle_pooling pooling)
{
    if (pooling == INGLE_POOLING_DEFAULT) pooling = ig_default_pooling(m);
    if (pooling != INGLE_POOLING_RANK) return pooling;
    return ig_model_hparams(m->net)->causal ? INGLE_POOLING_LAST : INGLE_POOLING_CLS;
}

/* Scores and vectors are not exchanged silently. */
static ig_status check_pooling(const ingle_model *m, ingle_pooling asked, bool unit, ig_error *err)
{
    const ig_hparams *hp = ig_model_hparams(m->net);
    const char *path = ig_format_path(m->file);
    bool rank = hp->pooling == IG_POOLING_RANK;
    if (rank && hp->n_classes == 0)
        return ig_fail(
            err, IG_UNSUPPORTED, 0,
            "%s: the file says that it ranks (pooling_type 4), but its classifier cls.output.weight is missing", path);
    if (rank && asked != INGLE_POOLING_DEFAULT && asked != INGLE_POOLING_RANK)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "%s: a reranking model gives scores, not vectors, expected the pooling rank or none named",
                       path);
    if (rank && unit)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s: a reranking model gives scores, which are not normalised", path);
    if (!rank && asked == INGLE_POOLING_RANK)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "%s: the pooling rank needs a reranking model, and this file has no classifier in use", path);
    return IG_OK;
}

typedef struct text {
    const ingle_embed_item *item;
    ig_seq seq;
    uint32_t n_seen;
} text;

typedef struct batch {
    ingle_engine *engine;
    ingle_pooling pooling;
    uint32_t width;
    text *texts;         /* [n_sessions_max] */
    double *sums;        /* [n_sessions_max, width] */
    ig_step_item *steps; /* [n_sessions_max] */
    size_t n;
} batch;

/* Takes the rows of one text's step into its embedding. */
static void pool_rows(const batch *b, text *t, const ig_step_item *step)
{
    uint32_t width = b->width;
    double *sum = b->sums + (size_t)(t - b->texts) * width;
    const float *last = step->logits + (size_t)(step->n - 1) * width;
    if (b->pooling == INGLE_POOLING_NONE)
        memcpy(t->item->out + (size_t)t->n_seen * width, step->logits, (size_t)step->n * width * sizeof(float));
    if (b->pooling == INGLE_POOLING_CLS && t->n_seen == 0) memcpy(t->item->out, step->logits, width * sizeof(float));
    if (b->pooling == INGLE_POOLING_LAST) memcpy(t->item->out, last, width * sizeof(float));
    for (uint32_t r = 0; b->pooling == INGLE_POOLING_MEAN && r < step->n; r++)
        for (uint32_t i = 0; i < width; i++) sum[i] += (double)step->logits[(size_t)r * width + i];
    t->n_seen += step->n;
}

static void normalise(float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    double f = sum > 0 ? 1 / sqrt(sum) : 0;
    for (uint32_t i = 0; i < n; i++) x[i] = (float)(x[i] * f);
}

static void finish(const batch *b, text *t, bool unit)
{
    const double *sum = b->sums + (size_t)(t - b->texts) * b->width;
    for (uint32_t i = 0; b->pooling == INGLE_POOLING_MEAN && i < b->width; i++)
        t->item->out[i] = (float)(sum[i] / t->n_seen);
    uint32_t n_rows = b->pooling == INGLE_POOLING_NONE ? t->n_seen : 1;
    for (uint32_t r = 0; unit && r < n_rows; r++) normalise(t->item->out + (size_t)r * b->width, b->width);
}

/* Runs the texts of the batch to their ends; a text longer than a step takes several. */
static ig_status run_batch(batch *b, bool unit, ig_error *err)
{
    memset(b->sums, 0, b->n * b->width * sizeof *b->sums);
    for (;;) {
        size_t n_steps = 0;
        uint32_t room = b->engine->n_batch;
        for (size_t i = 0; i < b->n; i++) {
            text *t = &b->texts[i];
            uint32_t left = t->item->n_tokens - t->n_seen, n = left < room ? left : room;
            if (n == 0) continue;
            b->steps[n_steps++] =
                (ig_step_item){.seq = &t->seq, .tokens = t->item->tokens + t->n_seen, .n = n, .want = IG_WANT_ALL};
            room -= n;
        }
        if (n_steps == 0) break;
        IG_TRY(ig_step(b->engine->run, b->steps, n_steps, err));
        for (size_t i = 0, s = 0; i < b->n && s < n_steps; i++)
            if (b->steps[s].seq == &b->texts[i].seq) pool_rows(b, &b->texts[i], &b->steps[s++]);
    }
    for (size_t i = 0; i < b->n; i++) finish(b, &b->texts[i], unit);
    return IG_OK;
}

static ig_status check_item(const ingle_engine *e, const ingle_embed_item *item, size_t i, ig_error *err)
{
    uint32_t most = ig_model_hparams(e->model->net)->causal || e->n_ctx < e->n_batch ? e->n_ctx : e->n_batch;
    if (item->n_tokens >= 1 && item->n_tokens <= most) return IG_OK;
    return ig_fail(err, IG_TOO_LARGE, i, "text %zu has %u tokens, expected 1 to %u (a larger --ctx helps up to %u)",
                   i + 1, item->n_tokens, most, ig_model_hparams(e->model->net)->n_ctx_train);
}

/* Takes texts from items on while sequences and, for whole texts, the step have room; returns how many. */
static ig_status fill_batch(batch *b, const ingle_embed_item *items, size_t n, size_t *taken, ig_error *err)
{
    uint64_t tokens = 0;
    for (b->n = 0; b->n < n && b->n < b->engine->n_sessions_max; b->n++) {
        tokens += items[b->n].n_tokens;
        if (b->n && tokens > b->engine->n_batch) break;
        b->texts[b->n] = (text){.item = &items[b->n]};
        IG_TRY(ig_seq_init(b->engine->run, &b->texts[b->n].seq, b->engine->n_ctx, err));
    }
    *taken = b->n;
    return IG_OK;
}

static void empty_batch(batch *b)
{
    for (size_t i = 0; i < b->n; i++) ig_seq_fini(b->engine->run, &b->texts[i].seq);
    b->n = 0;
}

static ig_status embed(batch *b, const ingle_embed_item *items, size_t n, ingle_pooling asked, bool unit, ig_error *err)
{
    ingle_engine *e = b->engine;
    if (!e->embed || e->n_sessions)
        return ig_fail(err, IG_BAD_INPUT, 0, "embeddings need an engine made for them, without sessions");
    if (e->n_logits < e->n_batch)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "embeddings need an engine with a row for each of its %u tokens a step, it has %u", e->n_batch,
                       e->n_logits);
    if (ig_model_hparams(e->model->net)->has_encoder)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%s: embeddings of encoder-decoder models are not supported",
                       ig_format_path(e->model->file));
    IG_TRY(check_pooling(e->model, asked, unit, err));
    for (size_t i = 0; i < n; i++) IG_TRY(check_item(e, &items[i], i, err));
    b->width = ig_model_hparams(e->model->net)->n_embd_out;
    b->texts = ig_calloc(e->n_sessions_max, sizeof *b->texts);
    b->sums = ig_calloc((size_t)e->n_sessions_max * b->width, sizeof *b->sums);
    b->steps = ig_calloc(e->n_sessions_max, sizeof *b->steps);
    if (!b->texts || !b->sums || !b->steps) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for embeddings");
    for (size_t at = 0; at < n;) {
        size_t taken = 0;
        ig_status st = fill_batch(b, items + at, n - at, &taken, err);
        if (st == IG_OK) st = run_batch(b, unit, err);
        empty_batch(b);
        if (st != IG_OK) return st;
        at += taken;
    }
    return IG_OK;
}

ingle_status ingle_embed(ingle_engine *engine, const ingle_embed_item *items, size_t n, ingle_pooling pooling,
                         bool normalize, ingle_error *err)
{
    ig_error e;
    batch b = {.engine = engine, .pooling = row_of(engine->model, pooling)};
    ig_status st = embed(&b, items, n, pooling, normalize, &e);
    empty_batch(&b);
    ig_free(b.texts);
    ig_free(b.sums);
    ig_free(b.steps);
    return ig_pass(st, &e, err);
}
