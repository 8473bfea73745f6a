/* What the front answers by itself: lists of models, versions, health, figures. */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "serve/front/fr.h"

#define BODY_BYTES_MAX    ((size_t)64 << 20)
#define OLLAMA_COMPATIBLE "0.13.0" /* clients ask for a least version of the API they know */
#define CAPABILITIES_MAX  8

/* ------------------------------------------------------------------------------------------------ rows */

typedef struct row_texts { /* what a row's pointers need to live in */
    char size[32];
    const char *capabilities[CAPABILITIES_MAX + 1];
    ig_buf parameters;
} row_texts;

static const char *fact(const fr_entry *e, const char *name)
{
    const char *z = json_string_value(json_object_get(e->facts, name));
    return z ? z : "";
}

static uint64_t number(const fr_entry *e, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(e->facts, name));
    return n > 0 ? (uint64_t)n : 0;
}

/* "8.2B", "494M" as people write the size of a model. */
static void put_size(uint64_t n, char out[32])
{
    if (!n)
        *out = 0;
    else if (n >= 999500000)
        snprintf(out, 32, "%.1fB", (double)n / 1e9);
    else if (n >= 999500)
        snprintf(out, 32, "%.1fM", (double)n / 1e6);
    else
        snprintf(out, 32, "%.1fK", (double)n / 1e3);
}

static void put_parameters(const fr_entry *e, ig_buf *out)
{
    const char *name;
    json_t *value, *one;
    size_t i;
    json_object_foreach(e->parameters, name, value)
    {
        if (json_is_array(value)) {
            json_array_foreach(value, i, one)
            {
                ig_buf_printf(out, "%-30s ", name);
                ig_json_write(one, out);
                ig_buf_add(out, "\n", 1);
            }
            continue;
        }
        ig_buf_printf(out, "%-30s ", name);
        ig_json_write(value, out);
        ig_buf_add(out, "\n", 1);
    }
    ig_buf_add(out, "", 1);
}

static const char *state_of(const fr_worker *w)
{
    return !w ? "unloaded" : w->state == FR_READY ? "loaded" : "loading";
}

/* The context that a model would be loaded with, if there is memory for it. */
static uint64_t will_have(const fr_front *f, uint64_t n_trained)
{
    return n_trained && n_trained < f->n_ctx ? n_trained : f->n_ctx;
}

static void fill_row(fr_front *f, const fr_entry *e, ig_model_row *row, row_texts *t)
{
    const fr_worker *w = fr_pool_find(f, e);
    const json_t *list = json_object_get(e->facts, "capabilities");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list) && n < CAPABILITIES_MAX; i++)
        t->capabilities[n++] = json_string_value(json_array_get(list, i));
    t->capabilities[n] = NULL;
    put_size(number(e, "n_params"), t->size);
    *row = (ig_model_row){
        .name = e->name,
        .digest = e->digest,
        .format = *fact(e, "format") ? fact(e, "format") : "gguf",
        .family = fact(e, "architecture"),
        .parent = e->parent ? e->parent : "",
        .parameter_size = t->size,
        .quantization = fact(e, "quantization"),
        .state = state_of(w),
        .capabilities = t->capabilities,
        .size_bytes = e->size_bytes,
        .modified_ns = e->modified_ns,
        .expires_ns = w ? w->expires_ns : 0,
        .n_ctx_max = number(e, "n_ctx_train"),
        .n_ctx_load = will_have(f, number(e, "n_ctx_train")),
        .n_ctx_loaded = w && w->state == FR_READY ? w->n_ctx : 0,
        .n_embd = number(e, "n_embd"),
        .n_params = number(e, "n_params"),
        .n_vocab = number(e, "n_vocab"),
    };
}

typedef struct table {
    ig_model_row *rows;
    row_texts *texts;
    size_t n;
} table;

/* Rows of all models, or of those that are loaded. */
static bool make_table(fr_front *f, bool loaded, table *t)
{
    size_t n = 0;
    fr_catalog_refresh(f, false);
    for (fr_entry *e = f->entries; e; e = e->next) n++;
    *t = (table){ig_calloc(n + 1, sizeof *t->rows), ig_calloc(n + 1, sizeof *t->texts), 0};
    if (!t->rows || !t->texts) return false;
    for (fr_entry *e = f->entries; e; e = e->next) {
        const fr_worker *w = fr_pool_find(f, e);
        if ((loaded && (!w || w->state != FR_READY)) || !fr_sees(f, e)) continue;
        fill_row(f, e, &t->rows[t->n], &t->texts[t->n]);
        if (loaded) t->rows[t->n].size_bytes = w->need_bytes;
        t->n++;
    }
    return true;
}

static void free_table(table *t)
{
    ig_free(t->rows);
    ig_free(t->texts);
}

typedef void (*list_fn)(const ig_model_row *rows, size_t n, ig_buf *out);

static void answer_list(fr_front *f, ig_exchange *ex, bool loaded, list_fn fn)
{
    table t;
    ig_buf body;
    ig_buf_init(&body, BODY_BYTES_MAX);
    if (make_table(f, loaded, &t))
        fn(t.rows, t.n, &body);
    else
        body.failed = true;
    free_table(&t);
    fr_answer(f, ex, 200, "application/json", &body);
}

/* ------------------------------------------------------------------------------------------------ ops */

static bool asks_anthropic(const ig_exchange *ex)
{
    return ig_http_find(ig_exchange_request(ex)->head, "anthropic-version") != NULL;
}

/* A page of the list, as Anthropic's clients turn them. */
static void answer_page(fr_front *f, ig_exchange *ex, const ig_match *match)
{
    table t;
    ig_buf body;
    ig_page page;
    ig_problem p;
    ig_route route = *match->route;
    route.dialect = IG_D_ANTHROPIC;
    ig_buf_init(&body, BODY_BYTES_MAX);
    bool good = make_table(f, false, &t);
    if (!good)
        ig_problem_set(&p, IG_P_UNAVAILABLE, NULL, "out of memory for the list of models; try again later");
    else if ((good = ig_page_anthropic(ig_exchange_request(ex)->head->query, t.rows, t.n, &page, &p)))
        ig_list_anthropic(t.rows + page.from, page.n, page.more, &body);
    free_table(&t);
    if (good)
        fr_answer(f, ex, 200, "application/json", &body);
    else
        fr_answer_problem(f, ex, &route, &p);
}

static void do_models(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)req;
    if (asks_anthropic(ex))
        answer_page(f, ex, match);
    else
        answer_list(f, ex, false, ig_list_openai);
}

static void do_model(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)req;
    ig_problem p;
    const bool anthropic = asks_anthropic(ex);
    fr_entry *e = fr_catalog_find(f, match->arg, false, &p);
    if (!e || !fr_may(f, &(fr_request_facts){.entry = e}, &p)) {
        ig_route route = *match->route;
        if (anthropic) route.dialect = IG_D_ANTHROPIC;
        fr_entry_unref(e);
        fr_answer_problem(f, ex, &route, &p);
        return;
    }
    ig_model_row row;
    row_texts texts;
    ig_buf body;
    ig_buf_init(&body, BODY_BYTES_MAX);
    fill_row(f, e, &row, &texts);
    row.name = match->arg; /* as the client calls it */
    (anthropic ? ig_list_anthropic_one : ig_list_openai_one)(&row, &body);
    fr_entry_unref(e);
    fr_answer(f, ex, 200, "application/json", &body);
}

static void do_tags(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)match, (void)req;
    answer_list(f, ex, false, ig_list_tags);
}

static void do_ps(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)match, (void)req;
    answer_list(f, ex, true, ig_list_ps);
}

static void put_parameter(const char *name, const json_t *value, ig_buf *out)
{
    ig_buf_printf(out, "PARAMETER %s ", name);
    ig_json_write(value, out);
    ig_buf_add(out, "\n", 1);
}

static void put_modelfile(const fr_entry *e, ig_buf *out)
{
    ig_buf_printf(out, "FROM %s\n", e->name);
    if (e->template_text) ig_buf_printf(out, "TEMPLATE \"\"\"%s\"\"\"\n", e->template_text);
    if (e->system) ig_buf_printf(out, "SYSTEM \"\"\"%s\"\"\"\n", e->system);
    const char *name;
    json_t *value, *one;
    size_t i;
    json_object_foreach(e->parameters, name, value)
    {
        if (!json_is_array(value)) put_parameter(name, value, out);
        json_array_foreach(value, i, one) put_parameter(name, one, out);
    }
    json_array_foreach(e->messages, i, one)
    {
        ig_buf_printf(out, "MESSAGE %s ", json_string_value(json_object_get(one, "role")));
        ig_json_write(json_object_get(one, "content"), out);
        ig_buf_add(out, "\n", 1);
    }
    ig_buf_add(out, "", 1);
}

void fr_show(fr_front *f, ig_exchange *ex, const fr_entry *e, const json_t *all)
{
    ig_model_row row;
    row_texts texts;
    ig_buf body, parameters, modelfile;
    ig_buf_init(&body, BODY_BYTES_MAX);
    ig_buf_init(&parameters, 1 << 20);
    ig_buf_init(&modelfile, 4 << 20);
    fill_row(f, e, &row, &texts);
    put_parameters(e, &parameters);
    put_modelfile(e, &modelfile);
    row.parameters_text = parameters.failed ? NULL : parameters.ptr;
    row.modelfile = modelfile.failed ? NULL : modelfile.ptr;
    row.template_text = e->template_text ? e->template_text : fact(e, "template");
    row.system = e->system;
    row.license = e->license;
    row.messages = e->messages;
    row.model_info = json_object_get(all ? all : e->facts, "meta");
    row.tensors = json_object_get(all, "tensors");
    ig_list_show(&row, all != NULL, &body);
    ig_buf_fini(&parameters);
    ig_buf_fini(&modelfile);
    fr_answer(f, ex, 200, "application/json", &body);
}

static void do_version(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)match, (void)req;
    ig_buf body;
    ig_buf_init(&body, BODY_BYTES_MAX);
    ig_list_version(OLLAMA_COMPATIBLE, f->config->version, &body);
    fr_answer(f, ex, 200, "application/json", &body);
}

static void do_root(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)match, (void)req;
    ig_buf body;
    ig_buf_init(&body, 1024);
    ig_buf_printf(&body, "Ollama is running"); /* word for word: clients look for it */
    fr_answer(f, ex, 200, "text/plain; charset=utf-8", &body);
}

static void do_health(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)match, (void)req;
    fr_answer_json(f, ex, 200, json_pack("{s:s}", "status", "ok"));
}

static void do_ready(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)match, (void)req;
    bool ready = !f->stopping;
    fr_answer_json(f, ex, ready ? 200 : 503, json_pack("{s:s}", "status", ready ? "ready" : "stopping"));
}

static void do_metrics(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    (void)match, (void)req;
    ig_buf body;
    ig_buf_init(&body, BODY_BYTES_MAX);
    fr_metrics(f, &body);
    fr_answer(f, ex, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

fr_local_fn fr_local_of(ig_op op)
{
    static const struct {
        ig_op op;
        fr_local_fn fn;
    } ops[] = {
        {IG_OP_ROOT, do_root},     {IG_OP_VERSION, do_version}, {IG_OP_MODELS, do_models},
        {IG_OP_MODEL, do_model},   {IG_OP_TAGS, do_tags},       {IG_OP_PS, do_ps},
        {IG_OP_PULL, fr_manage},   {IG_OP_PUSH, fr_manage},     {IG_OP_CREATE, fr_manage},
        {IG_OP_COPY, fr_manage},   {IG_OP_DELETE, fr_manage},   {IG_OP_BLOB_HEAD, fr_blob_head},
        {IG_OP_HEALTH, do_health}, {IG_OP_READY, do_ready},     {IG_OP_METRICS, do_metrics},
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i].op == op) return ops[i].fn;
    return NULL;
}
