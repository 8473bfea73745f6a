/* Embeddings, reranking, and requests that are nothing but a model's name. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

/* ------------------------------------------------------------------------------------------------ embeddings */

static bool read_encoding(ig_parse *p, const char *name, json_t *v)
{
    const char *s = json_string_value(v);
    if (!s || (strcmp(s, "float") != 0 && strcmp(s, "base64") != 0))
        return ig_refuse(p, IG_P_UNSUPPORTED, name, "%s must be \"float\" or \"base64\"", name);
    p->req->base64 = !strcmp(s, "base64");
    return true;
}

static bool read_dimensions(ig_parse *p, const char *name, json_t *v)
{
    int64_t n;
    if (!ig_whole(v, &n) || n < 1 || n > 1 << 20)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number of values, from 1", name);
    p->req->n_dimensions = (unsigned)n;
    return true;
}

/* How the states of a text's tokens become one vector; "none" gives one for each token. */
static bool read_pooling(ig_parse *p, const char *name, json_t *v)
{
    static const char *const kinds[] = {"mean", "cls", "last", "none"};
    const char *s = json_string_value(v);
    for (size_t i = 0; s && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(s, kinds[i])) return ig_set(p, "pooling", json_incref(v));
    return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be \"mean\", \"cls\", \"last\" or \"none\"", name);
}

static const ig_param embed_params[] = {
    {"model", IG_K_LATER, NULL, 0, 0, NULL},
    {"input", IG_K_READ, NULL, 0, 0, ig_read_inputs},
    {"encoding_format", IG_K_READ, NULL, 0, 0, read_encoding},
    {"dimensions", IG_K_READ, NULL, 0, 0, read_dimensions},
    {"truncate", IG_K_BOOL, NULL, 0, 0, NULL},
    {"normalize", IG_K_BOOL, NULL, 0, 0, NULL},
    {"pooling", IG_K_READ, NULL, 0, 0, read_pooling},
    {"num_ctx", IG_K_READ, NULL, 0, 0, ig_read_n_ctx},
    {"keep_alive", IG_K_READ, NULL, 0, 0, ig_read_keep_alive},
    {"user", IG_K_IGNORE, NULL, 0, 0, NULL},
    {0},
};

bool ig_parse_openai_embed(ig_parse *p)
{
    static const ig_param *const tables[] = {embed_params, NULL};
    if (!ig_read_body(p, tables)) return false;
    if (json_array_size(json_object_get(p->to, "inputs")) == 0)
        return ig_refuse(p, IG_P_BAD_REQUEST, "input", "input is empty; send a text, token ids or a list of those");
    /* An editor plug-in asks for "GPT-4" whatever is served. */
    p->req->model_any = p->req->model && !strcmp(p->req->model, "GPT-4");
    const char *pooling = json_string_value(json_object_get(p->to, "pooling"));
    if (pooling && !strcmp(pooling, "none") && (p->req->base64 || p->req->n_dimensions))
        return ig_refuse(p, IG_P_BAD_REQUEST, "pooling",
                         "pooling \"none\" gives lists of vectors, which go neither with base64 nor with dimensions");
    if (!json_object_get(p->to, "normalize") && !ig_set(p, "normalize", json_true())) return false;
    return ig_add_part(p, "embed");
}

/* Little-endian f32, standard alphabet with padding. */
static json_t *base64_floats(const json_t *row)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t n = json_array_size(row) * 4;
    unsigned char *bytes = ig_alloc(n + 3);
    char *text = ig_alloc((n + 2) / 3 * 4 + 1);
    json_t *out = NULL;
    for (size_t i = 0; bytes && i < n / 4; i++) {
        float f = (float)json_number_value(json_array_get(row, i));
        uint32_t u;
        memcpy(&u, &f, 4);
        for (unsigned k = 0; k < 4; k++) bytes[4 * i + k] = (unsigned char)(u >> (8 * k));
    }
    if (bytes && text) {
        char *at = text;
        memset(bytes + n, 0, 3);
        for (size_t i = 0; i < n; i += 3, at += 4) {
            uint32_t u = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
            for (unsigned k = 0; k < 4; k++) at[k] = i + k <= n ? letters[u >> (18 - 6 * k) & 63] : '=';
        }
        out = json_stringn(text, (size_t)(at - text));
    }
    ig_free(bytes);
    ig_free(text);
    return out;
}

static void embed_whole(ig_emitter *e, ig_buf *out)
{
    ig_usage u = ig_emit_usage(e);
    const json_t *rows = json_object_get(e->result, "embeddings");
    if (!ig_emit_fits(e, out)) return;
    json_t *data = json_array();
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = ig_out_embedding(json_array_get(rows, i), e->req->n_dimensions), *value = row;
        if (e->req->base64) {
            value = base64_floats(row);
            json_decref(row);
        }
        json_t *one = json_pack("{s:s, s:I, s:o}", "object", "embedding", "index", (json_int_t)i, "embedding", value);
        if (json_array_append_new(data, one) != 0) e->failed = true;
    }
    ig_out_json(e,
                json_pack("{s:s, s:s, s:o, s:{s:I, s:I}, s:o}", "object", "list", "model", e->ctx->model, "data", data,
                          "usage", "prompt_tokens", (json_int_t)u.prompt, "total_tokens", (json_int_t)u.prompt, "ingle",
                          ig_out_ingle(e, &u)),
                out);
}

const ig_emit_ops ig_openai_embed_ops = {.whole = embed_whole};

/* ------------------------------------------------------------------------------------------------ reranking */

static bool read_query(ig_parse *p, const char *name, json_t *v)
{
    if (!json_is_string(v)) return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a string", name);
    return ig_set(p, "query", json_incref(v));
}

/* Texts, or objects with a text; given back where return_documents asks for it. */
static bool read_documents(ig_parse *p, const char *name, json_t *v)
{
    json_t *texts = json_array(), *d;
    size_t i;
    bool good = json_is_array(v) && json_array_size(v) > 0 && texts;
    if (!good) ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a list of texts", name);
    json_array_foreach(v, i, d)
    {
        json_t *text = json_is_object(d) ? json_object_get(d, "text") : d;
        if (!good) break;
        if (!json_is_string(text)) good = ig_refuse(p, IG_P_BAD_REQUEST, name, "%s[%zu] must be a text", name, i);
        if (good) good = json_array_append(texts, text) == 0 || ig_no_memory(p);
    }
    if (good) return ig_set(p, "documents", texts);
    json_decref(texts);
    return false;
}

static bool read_top_n(ig_parse *p, const char *name, json_t *v)
{
    int64_t n;
    if (!ig_whole(v, &n) || n < 1)
        return ig_refuse(p, IG_P_BAD_REQUEST, name, "%s must be a whole number from 1", name);
    p->req->top_n = n < 1 << 30 ? (unsigned)n : 0;
    return true;
}

static const ig_param rerank_params[] = {
    {"model", IG_K_LATER, NULL, 0, 0, NULL},
    {"query", IG_K_READ, NULL, 0, 0, read_query},
    {"documents", IG_K_READ, NULL, 0, 0, read_documents},
    {"texts", IG_K_READ, NULL, 0, 0, read_documents},
    {"top_n", IG_K_READ, NULL, 0, 0, read_top_n},
    {"return_documents", IG_K_LATER, NULL, 0, 0, NULL},
    {"truncate", IG_K_BOOL, NULL, 0, 0, NULL},
    {"keep_alive", IG_K_READ, NULL, 0, 0, ig_read_keep_alive},
    {"user", IG_K_IGNORE, NULL, 0, 0, NULL},
    {0},
};

bool ig_parse_rerank(ig_parse *p)
{
    static const ig_param *const tables[] = {rerank_params, NULL};
    bool back = false;
    if (!ig_read_body(p, tables) || !ig_get_bool(p, "return_documents", &back)) return false;
    if (!json_object_get(p->to, "query"))
        return ig_refuse(p, IG_P_BAD_REQUEST, "query", "query is missing; send a text");
    if (!json_object_get(p->to, "documents"))
        return ig_refuse(p, IG_P_BAD_REQUEST, "documents", "documents is missing; send a list of texts");
    if (back) ig_put(&p->req->echo, "documents", json_incref(json_object_get(p->to, "documents")));
    return ig_add_part(p, "rerank");
}

typedef struct scored {
    double score;
    size_t index;
} scored;

/* Best first; ties in the order of the documents. */
static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* A classifier of several classes gives a list, of which the first decides. */
static const json_t *score_of(const json_t *scores, size_t i)
{
    const json_t *v = json_array_get(scores, i);
    return json_is_array(v) ? json_array_get(v, 0) : v;
}

static void rerank_whole(ig_emitter *e, ig_buf *out)
{
    ig_usage u = ig_emit_usage(e);
    const json_t *scores = json_object_get(e->result, "scores"),
                 *documents = json_object_get(e->req->echo, "documents");
    const size_t n = json_array_size(scores), shown = e->req->top_n && e->req->top_n < n ? e->req->top_n : n;
    scored *list = ig_calloc(n + 1, sizeof *list);
    json_t *results = json_array();
    for (size_t i = 0; list && i < n; i++) list[i] = (scored){json_number_value(score_of(scores, i)), i};
    if (list) qsort(list, n, sizeof *list, by_score);
    for (size_t i = 0; list && i < shown; i++) {
        json_t *text = documents ? json_array_get(documents, list[i].index) : NULL;
        json_t *one = json_pack("{s:I, s:f}", "index", (json_int_t)list[i].index, "relevance_score", list[i].score);
        json_t *all = json_array_get(scores, list[i].index);
        if (json_is_array(all)) ig_put(&one, "scores", json_incref(all));
        if (text) ig_put(&one, "document", json_pack("{s:O}", "text", text));
        ig_append(&results, one);
    }
    if (!list) e->failed = true;
    ig_free(list);
    ig_out_json(e,
                json_pack("{s:s, s:s, s:o, s:{s:I, s:I}, s:o}", "object", "list", "model", e->ctx->model, "results",
                          results, "usage", "prompt_tokens", (json_int_t)u.prompt, "total_tokens", (json_int_t)u.prompt,
                          "ingle", ig_out_ingle(e, &u)),
                out);
}

const ig_emit_ops ig_rerank_ops = {.whole = rerank_whole};

/* ------------------------------------------------------------------------------------------------ names */

bool ig_parse_model_arg(ig_parse *p)
{
    p->req->model = p->req->arg;
    return true;
}

/* ?model= of routes without a body. */
bool ig_parse_query_model(ig_parse *p)
{
    if (ig_query_get(p->query, "model", p->req->arg, sizeof p->req->arg)) p->req->model = p->req->arg;
    return true;
}
