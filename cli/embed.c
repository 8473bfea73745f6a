/* ingle embed: texts to vectors. */
#include <string.h>

#include "far.h"
#include "input.h"
#include "out.h"
#include "verbs.h"

typedef struct job {
    const cli_call *call;
    ingle_model *model;
    ingle_model_info info;
    cli_ids *texts; /* [n] */
    size_t n;
    ingle_embed_item *items; /* [n] */
    float *out;              /* the rows of all items, one after another */
    ingle_pooling pooling;
} job;

static ingle_status no_memory(ingle_error *err)
{
    ig_error e;
    ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for embeddings");
    return input_error(&e, err);
}

static ingle_status add_text(job *j, const char *text, size_t n, ingle_error *err)
{
    const char *query = cli_text(j->call, "query");
    cli_ids *out = &j->texts[j->n++];
    if (query) return input_pair(j->model, query, text, n, out, err);
    return input_tokenize(j->model, text, n, INGLE_ADD_SPECIAL, out, err);
}

static ingle_status add_ids(job *j, const char *ids, ingle_error *err)
{
    ig_error e;
    ingle_status st = input_ids(ids, strlen(ids), &j->texts[j->n++], err);
    if (st != INGLE_OK || j->texts[j->n - 1].n) return st;
    ig_fail(&e, IG_BAD_INPUT, 0, "--tokens is empty, expected token ids separated by commas, such as 1,2,3");
    return input_error(&e, err);
}

/* A file whole, or with --lines each of its lines that is not empty. */
static ingle_status add_file(job *j, const ig_buf *text, ingle_error *err)
{
    if (!cli_set(j->call, "lines")) return add_text(j, text->ptr, text->len, err);
    ingle_status st = INGLE_OK;
    for (size_t at = 0; st == INGLE_OK && at < text->len;) {
        const char *end = memchr(text->ptr + at, '\n', text->len - at);
        size_t n = end ? (size_t)(end - text->ptr) - at : text->len - at;
        if (n) st = add_text(j, text->ptr + at, n, err);
        at += n + 1;
    }
    return st;
}

static size_t count_lines(const ig_buf *text)
{
    size_t n = 1;
    for (size_t i = 0; i < text->len; i++) n += text->ptr[i] == '\n';
    return n;
}

static ingle_status read_texts(job *j, ingle_error *err)
{
    const cli_value *ids = cli_get(j->call, "tokens");
    size_t n_args = j->call->n_args - 1, n_lists = ids->n_list;
    bool input = n_args == 0 && n_lists == 0;
    ig_buf text;
    ig_buf_init(&text, 0);
    ingle_status st = input ? input_text(NULL, cli_text(j->call, "file"), &text, err) : INGLE_OK;
    j->texts = ig_calloc(n_args + n_lists + count_lines(&text), sizeof *j->texts);
    if (st == INGLE_OK && !j->texts) st = no_memory(err);
    for (size_t i = 0; st == INGLE_OK && i < n_args; i++)
        st = add_text(j, j->call->args[1 + i], strlen(j->call->args[1 + i]), err);
    for (size_t i = 0; st == INGLE_OK && i < n_lists; i++) st = add_ids(j, ids->list[i], err);
    if (st == INGLE_OK && input) st = add_file(j, &text, err);
    ig_buf_fini(&text);
    if (st != INGLE_OK || j->n) return st;
    ig_error e;
    ig_fail(&e, IG_BAD_INPUT, 0, "there is no text, expected at least one line that is not empty");
    return input_error(&e, err);
}

static ingle_pooling pooling_of(const cli_call *call, const ingle_model_info *info)
{
    static const struct {
        const char *name;
        ingle_pooling kind;
    } kinds[] = {{"mean", INGLE_POOLING_MEAN},
                 {"cls", INGLE_POOLING_CLS},
                 {"last", INGLE_POOLING_LAST},
                 {"none", INGLE_POOLING_NONE},
                 {"rank", INGLE_POOLING_RANK}};
    const char *name = cli_text(call, "pooling");
    for (size_t i = 0; name && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(name, kinds[i].name)) return kinds[i].kind;
    return info->pooling;
}

static ingle_status check_query(const job *j, ingle_error *err)
{
    ig_error e;
    if (!cli_set(j->call, "query") || j->info.pooling == INGLE_POOLING_RANK) return INGLE_OK;
    ig_fail(&e, IG_UNSUPPORTED, 0, "%s: --query needs a reranking model, and this file has no classifier in use",
            j->call->args[0]);
    return input_error(&e, err);
}

static size_t rows_of(const job *j, size_t i) { return j->pooling == INGLE_POOLING_NONE ? j->texts[i].n : 1; }

/* One engine whose context is the longest text, a batch of a few texts. */
static ingle_status embed(job *j, ingle_error *err)
{
    enum { SESSIONS_MAX = 16, BATCH_MIN = 256 };
    size_t longest = 1, total = 0, at = 0;
    for (size_t i = 0; i < j->n; i++) {
        if (j->texts[i].n > longest) longest = j->texts[i].n;
        total += rows_of(j, i);
    }
    j->items = ig_calloc(j->n, sizeof *j->items);
    j->out = ig_calloc(total, j->info.n_embd_out * sizeof *j->out);
    ingle_engine *engine = NULL;
    uint32_t n_ctx = longest < UINT32_MAX ? (uint32_t)longest : UINT32_MAX;
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = cli_count(j->call, "threads", 0),
                              .n_ctx = n_ctx,
                              .n_batch = j->info.causal || n_ctx < BATCH_MIN ? BATCH_MIN : n_ctx,
                              .n_sessions = j->n < SESSIONS_MAX ? (uint32_t)j->n : SESSIONS_MAX,
                              .kv = input_kv(j->call, INGLE_KV_F32),
                              .embed = true};
    ingle_status st = j->items && j->out ? ingle_engine_new(j->model, &o, &engine, err) : no_memory(err);
    for (size_t i = 0; st == INGLE_OK && i < j->n; i++) {
        j->items[i] = (ingle_embed_item){j->texts[i].ids, (uint32_t)j->texts[i].n, j->out + at * j->info.n_embd_out};
        at += rows_of(j, i);
    }
    if (st == INGLE_OK) st = ingle_embed(engine, j->items, j->n, j->pooling, cli_set(j->call, "normalize"), err);
    ingle_engine_free(engine);
    return st;
}

static json_t *row_json(const float *row, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) json_array_append_new(list, json_real((double)row[i]));
    return list;
}

static void print_rows(const job *j)
{
    uint32_t width = j->info.n_embd_out;
    bool json = cli_set(j->call, "json"), one = j->n == 1 && j->pooling != INGLE_POOLING_NONE;
    json_t *all = json ? json_array() : NULL;
    for (size_t i = 0; i < j->n; i++)
        for (size_t r = 0; r < rows_of(j, i); r++) {
            const float *row = j->items[i].out + r * width;
            if (json) json_array_append_new(all, row_json(row, width));
            for (uint32_t k = 0; !json && k < width; k++) cli_outf("%s%.9g", k ? " " : "", (double)row[k]);
            if (!json) cli_out("\n", 1);
        }
    if (!json) return;
    json_t *object = json_object();
    json_object_set(object, one ? "embedding" : "embeddings", one ? json_array_get(all, 0) : all);
    cli_out_json(object);
    json_decref(object);
    json_decref(all);
}

static void fini(job *j)
{
    ig_free(j->out);
    ig_free(j->items);
    for (size_t i = 0; i < j->n; i++) input_ids_fini(&j->texts[i]);
    ig_free(j->texts);
    ingle_model_close(j->model);
}

int cli_embed(const cli_call *call)
{
    job j = {.call = call};
    ingle_error err;
    int given = (call->n_args > 1) + cli_set(call, "file") + cli_set(call, "tokens");
    if (given > 1) return cli_usage("embed got more than one of TEXT, --file and --tokens. Type: ingle embed --help");
    if (cli_set(call, "query") && cli_set(call, "tokens"))
        return cli_usage("embed got --query and --tokens, which are a whole text already. Type: ingle embed --help");
    static const char *const local[] = {"threads", "kv", NULL};
    int code = CLI_DONE;
    far_choice where = far_choose_query(call, local, &code);
    if (where != FAR_HERE) return where == FAR_THERE ? far_embed(call) : code;
    ingle_status st = input_model(call->args[0], false, &j.model, &err);
    if (st == INGLE_OK) {
        ingle_model_describe(j.model, &j.info);
        j.pooling = pooling_of(call, &j.info);
        st = check_query(&j, &err);
    }
    if (st == INGLE_OK) st = read_texts(&j, &err);
    if (st == INGLE_OK) st = embed(&j, &err);
    if (st == INGLE_OK) print_rows(&j);
    fini(&j);
    return st == INGLE_OK ? CLI_DONE : cli_fail(err.text);
}
