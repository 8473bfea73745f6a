/* Embeddings and scores: an engine of its own, whose rows are hidden states, on a thread of its own. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "worker/wk.h"

enum { TEXTS_MAX = 16384, TEXTS_A_STEP = 8, TEXTS_A_TURN = 64 };
static const uint64_t result_values_max = 2u << 20; /* numbers in an answer: 12 characters each fill a frame */

/* -------------------------------------------------------------------------------------------- reading */

static uint32_t longest(const wk *w)
{
    uint32_t most = w->cfg.n_ctx && w->cfg.n_ctx < w->info.n_ctx_train ? w->cfg.n_ctx : w->info.n_ctx_train;
    if (!w->cfg.n_ctx && w->info.causal && most > 4096) most = 4096;
    return most;
}

static bool read_pooling(wk_request *r)
{
    static const char *const names[] = {"default", "mean", "cls", "last", "none"};
    const json_t *v = json_object_get(r->body, "pooling");
    if (!v || json_is_null(v)) return true;
    for (size_t i = 0; json_is_string(v) && i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], json_string_value(v))) return r->texts.pooling = (ingle_pooling)i, true;
    return wk_refuse(&r->fault, "bad_request", "pooling", "\"pooling\" is not mean, cls, last, none or null");
}

/* Cuts a text that is too long, when asked; its end token stays. */
static bool fit(const wk *w, wk_request *r, size_t i, int32_t *ids, size_t *n)
{
    uint32_t most = longest(w);
    bool capped = r->p.n_ctx && r->p.n_ctx < most; /* by policy */
    if (capped) most = r->p.n_ctx;
    if (*n == 0)
        return wk_refuse(&r->fault, "bad_request", r->op == WK_EMBED ? "inputs" : "documents",
                         "text %zu has no tokens, expected at least one", i);
    if (*n <= most) return true;
    if (!r->p.truncate) {
        wk_refuse(&r->fault, "too_long", r->op == WK_EMBED ? "inputs" : "documents",
                  "text %zu has %zu tokens, %s%.64s%s %u; shorten it or ask for truncation", i, *n,
                  capped ? "rule " : "the context holds", capped && r->p.n_ctx_rule ? r->p.n_ctx_rule : "",
                  capped ? " allows" : "", most);
        r->fault.n_prompt = *n;
        r->fault.n_ctx = most;
        return false;
    }
    if (w->adds_eos) ids[most - 1] = ids[*n - 1];
    r->texts.n_dropped += *n - most;
    *n = most;
    return true;
}

/* Takes over ids. */
static bool add_item(const wk *w, wk_request *r, int32_t *ids, size_t n)
{
    wk_texts *t = &r->texts;
    if (!fit(w, r, t->n, ids, &n)) {
        ig_free(ids);
        return false;
    }
    t->items[t->n++] = (ingle_embed_item){.tokens = ids, .n_tokens = (uint32_t)n};
    t->n_tokens += n;
    return true;
}

static bool read_id_text(const wk *w, wk_request *r, const json_t *list)
{
    size_t n = json_array_size(list);
    int32_t *ids = ig_calloc(n + 1, sizeof *ids);
    if (!ids) return wk_refuse(&r->fault, "overloaded", NULL, "out of memory for %zu token ids", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= w->info.n_vocab) {
            ig_free(ids);
            return wk_refuse(&r->fault, "bad_request", "inputs", "entry %zu of text %zu is no token id below %u", i,
                             r->texts.n, w->info.n_vocab);
        }
        ids[i] = (int32_t)id;
    }
    return add_item(w, r, ids, n);
}

static bool read_input(const wk *w, wk_request *r, const json_t *v)
{
    int32_t *ids;
    size_t n;
    if (json_is_array(v)) return read_id_text(w, r, v);
    if (!json_is_string(v))
        return wk_refuse(&r->fault, "bad_request", "inputs",
                         "entry %zu of \"inputs\" is neither a text nor a list of token ids", r->texts.n);
    ig_str text = {json_string_value(v), json_string_length(v)};
    return wk_tokenize(w, text, INGLE_ADD_SPECIAL | INGLE_PARSE_ADDED, NULL, &ids, &n, &r->fault) &&
           add_item(w, r, ids, n);
}

/* Query and document as the model was trained to read them. */
static bool read_pair(const wk *w, wk_request *r, ig_str query, const json_t *document)
{
    const json_t *text = json_is_object(document) ? json_object_get(document, "text") : document;
    ingle_error e;
    size_t n, capacity;
    if (!json_is_string(text))
        return wk_refuse(&r->fault, "bad_request", "documents", "entry %zu of \"documents\" is no text", r->texts.n);
    ig_str doc = {json_string_value(text), json_string_length(text)};
    if (ingle_tokenize_pair(w->model, query.ptr, query.len, doc.ptr, doc.len, NULL, 0, &n, &e) != INGLE_OK) {
        ig_error own = wk_error_of(&e);
        return wk_refuse_status(&r->fault, "documents", &own);
    }
    capacity = n + 1;
    int32_t *ids = ig_calloc(capacity, sizeof *ids);
    if (!ids) return wk_refuse(&r->fault, "overloaded", NULL, "out of memory for a text of %zu tokens", n);
    if (ingle_tokenize_pair(w->model, query.ptr, query.len, doc.ptr, doc.len, ids, capacity, &n, &e) == INGLE_OK)
        return add_item(w, r, ids, n);
    ig_free(ids);
    ig_error own = wk_error_of(&e);
    return wk_refuse_status(&r->fault, "documents", &own);
}

/* The model ends in a classifier that judges pairs. */
static bool judges(const wk *w) { return w->info.pooling == INGLE_POOLING_RANK; }

bool wk_read_texts(wk *w, wk_request *r)
{
    bool rank = r->op == WK_RERANK;
    const char *name = rank ? "documents" : "inputs";
    const json_t *list = json_object_get(r->body, name), *query = json_object_get(r->body, "query");
    size_t n = json_array_size(list);
    if (w->info.has_encoder || !w->info.has_tensors)
        return wk_refuse(&r->fault, "unsupported", "op", "the model (%s) gives no embeddings", w->info.architecture);
    if (rank && !judges(w))
        return wk_refuse(&r->fault, "unsupported", "op",
                         "the model (%s) does not judge documents; use one made for reranking", w->info.architecture);
    if (!json_is_array(list) || n == 0 || n > TEXTS_MAX)
        return wk_refuse(&r->fault, "bad_request", name, "\"%s\" is no list of 1 to %d texts", name, TEXTS_MAX);
    if (rank && !json_is_string(query)) return wk_refuse(&r->fault, "bad_request", "query", "\"query\" is no text");
    if (!wk_read_count(r->body, "n_ctx", UINT32_MAX, &r->p.n_ctx, &r->fault)) return false;
    r->p.n_ctx_rule = json_string_value(json_object_get(r->body, "n_ctx_rule"));
    r->texts.normalize = false;
    if (!read_pooling(r) || !wk_read_bool(r->body, "normalize", &r->texts.normalize, &r->fault) ||
        !wk_read_bool(r->body, "truncate", &r->p.truncate, &r->fault))
        return false;
    r->texts.items = ig_calloc(n, sizeof *r->texts.items);
    if (!r->texts.items) return wk_refuse(&r->fault, "overloaded", NULL, "out of memory for %zu texts", n);
    ig_str q = {json_string_value(query), json_string_length(query)};
    for (size_t i = 0; i < n; i++) {
        if (atomic_load(&r->cancelled)) return true;
        const json_t *v = json_array_get(list, i);
        if (rank ? !read_pair(w, r, q, v) : !read_input(w, r, v)) return false;
    }
    return true;
}

/* -------------------------------------------------------------------------------------------- computing */

static bool make_engine(wk *w, wk_request *r)
{
    ingle_error e;
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = w->cfg.n_threads,
                              .n_ctx = longest(w),
                              .n_sessions = TEXTS_A_STEP,
                              .kv = INGLE_KV_F32,
                              .embed = true};
    if (w->embedder || ingle_engine_new(w->model, &o, &w->embedder, &e) == INGLE_OK) return true;
    ig_error own = wk_error_of(&e);
    return wk_refuse_status(&r->fault, NULL, &own);
}

static void put_row(ig_buf *b, const float *row, size_t n)
{
    ig_buf_add(b, "[", 1);
    for (size_t i = 0; i < n; i++) {
        if (i) ig_buf_add(b, ",", 1);
        wk_put_float(b, row[i]);
    }
    ig_buf_add(b, "]", 1);
}

static bool is_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* A score is a number, or one for each class of the file. */
static void put_result(wk_request *r, size_t i, const float *rows, size_t n_rows, size_t width)
{
    ig_buf *b = &r->result;
    if (i) ig_buf_add(b, ",", 1);
    if (r->op == WK_RERANK && width == 1) {
        wk_put_float(b, rows[0]);
        return;
    }
    if (r->texts.pooling != INGLE_POOLING_NONE) {
        put_row(b, rows, width);
        return;
    }
    ig_buf_add(b, "[", 1);
    for (size_t k = 0; k < n_rows; k++) {
        if (k) ig_buf_add(b, ",", 1);
        put_row(b, rows + k * width, width);
    }
    ig_buf_add(b, "]", 1);
}

/* Texts from..to-1, which share steps. */
static bool compute_some(wk *w, wk_request *r, size_t from, size_t to, float *rows, size_t width)
{
    wk_texts *t = &r->texts;
    bool all = t->pooling == INGLE_POOLING_NONE;
    ingle_error e;
    float *at = rows;
    for (size_t i = from; i < to; i++) {
        t->items[i].out = at;
        at += width * (all ? t->items[i].n_tokens : 1);
    }
    if (ingle_embed(w->embedder, t->items + from, to - from, t->pooling, t->normalize, &e) != INGLE_OK) {
        ig_error own = wk_error_of(&e);
        return wk_refuse_status(&r->fault, NULL, &own);
    }
    for (size_t i = from; i < to; i++) {
        size_t n = all ? t->items[i].n_tokens : 1;
        if (!is_finite(t->items[i].out, n * width))
            return wk_refuse(&r->fault, "internal", NULL, "the embedding of text %zu is not finite", i);
        put_result(r, i, t->items[i].out, n, width);
    }
    return true;
}

static bool compute(wk *w, wk_request *r)
{
    wk_texts *t = &r->texts;
    uint64_t width = w->info.n_embd_out, most = 1, values = 0;
    if (!make_engine(w, r)) return false;
    for (size_t i = 0; i < t->n; i++) {
        uint64_t n = t->pooling == INGLE_POOLING_NONE ? t->items[i].n_tokens : 1;
        most = n > most ? n : most;
        values += n * width;
    }
    if (r->op == WK_EMBED && values > result_values_max)
        return wk_refuse(&r->fault, "bad_request", "inputs",
                         "the answer would have %llu numbers, at most %llu can be sent; send fewer texts at once",
                         (unsigned long long)values, (unsigned long long)result_values_max);
    float *rows = ig_calloc((size_t)(most * width) * TEXTS_A_STEP, sizeof *rows);
    if (!rows) return wk_refuse(&r->fault, "overloaded", NULL, "out of memory for %zu embeddings", t->n);
    bool ok = true;
    size_t turn = t->n - t->n_done < TEXTS_A_TURN ? t->n : t->n_done + TEXTS_A_TURN;
    while (ok && t->n_done < turn && !atomic_load(&r->cancelled)) {
        size_t to = turn - t->n_done < TEXTS_A_STEP ? turn : t->n_done + TEXTS_A_STEP;
        ok = compute_some(w, r, t->n_done, to, rows, (size_t)width);
        t->n_done = to;
    }
    ig_free(rows);
    return ok;
}

void wk_compute_embeddings(wk *w, wk_request *r)
{
    const wk_texts *t = &r->texts;
    if (t->n_done == 0) {
        ig_buf_init(&r->result, WK_RESULT_BYTES_MAX);
        ig_buf_printf(&r->result, "{\"%s\":[", r->op == WK_RERANK ? "scores" : "embeddings");
    }
    r->failed = !compute(w, r);
    if (!r->failed && t->n_done < t->n) return; /* the others' turn */
    ig_buf_printf(&r->result, "],\"usage\":{\"prompt\":%llu", (unsigned long long)t->n_tokens);
    if (t->n_dropped) ig_buf_printf(&r->result, ",\"dropped\":%llu", (unsigned long long)t->n_dropped);
    ig_buf_printf(&r->result, "}}");
    if (!r->failed && r->result.failed)
        r->failed = !wk_refuse(&r->fault, "overloaded", NULL, "out of memory for %zu embeddings", r->texts.n);
}
