/* ingle imatrix: importance data of a model's weights from a text. */
#include <stdio.h>
#include <string.h>

#include "input.h"
#include "out.h"
#include "quant/quant.h"
#include "verbs.h"

typedef struct job {
    const cli_call *call;
    ingle_model *model;
    ingle_model_info info;
    ingle_engine *engine;
    ingle_session *session;
    ig_importance *data;
    cli_ids ids;
    uint32_t window;
    ig_status status; /* of the observer */
    ig_error error;
} job;

/* Matrices of layers alone: the output matrix is quantised well in every mixture. */
static void observe(void *user, const char *tensor, size_t n_matrices, size_t matrix, const float *x, size_t stride,
                    size_t n_rows, size_t n)
{
    job *j = user;
    if (j->status != IG_OK || !strstr(tensor, "blk.")) return;
    j->status = ig_importance_add(j->data, ig_str_from(tensor), n, n_matrices, matrix, x, stride, n_rows, &j->error);
}

static ingle_status prepare(job *j, ingle_error *err)
{
    ig_buf text;
    ig_error e;
    uint32_t trained = j->info.n_ctx_train ? j->info.n_ctx_train : 512;
    j->window = cli_count(j->call, "window", trained < 512 ? trained : 512);
    ingle_status st = input_text(NULL, cli_text(j->call, "text"), &text, err);
    if (st == INGLE_OK) st = input_tokenize(j->model, text.ptr, text.len, INGLE_ADD_SPECIAL, &j->ids, err);
    ig_buf_fini(&text);
    if (st != INGLE_OK) return st;
    if (j->ids.n < j->window) {
        ig_fail(&e, IG_BAD_INPUT, 0,
                "the text has %zu tokens and a window %u, expected a longer text or a smaller --window", j->ids.n,
                j->window);
        return input_error(&e, err);
    }
    if (ig_importance_new(&j->data, &e) != IG_OK) return input_error(&e, err);
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = cli_count(j->call, "threads", 0),
                              .n_ctx = j->window,
                              .kv = INGLE_KV_F32};
    st = ingle_engine_new(j->model, &o, &j->engine, err);
    if (st == INGLE_OK) st = ingle_session_new(j->engine, &j->session, err);
    if (st == INGLE_OK) ingle_engine_observe(j->engine, observe, j);
    return st;
}

static ingle_status run_windows(job *j, uint32_t *n_windows, ingle_error *err)
{
    uint32_t most = cli_count(j->call, "windows", UINT32_MAX), all = (uint32_t)(j->ids.n / j->window);
    if (most < all) all = most;
    bool bar = cli_bar_shows();
    ingle_status st = INGLE_OK;
    for (*n_windows = 0; st == INGLE_OK && *n_windows < all; ++*n_windows) {
        char words[48];
        (void)snprintf(words, sizeof words, "window %u of %u", *n_windows + 1, all);
        if (bar) cli_bar((double)*n_windows / all, words);
        ingle_session_truncate(j->session, 0);
        st = ingle_session_feed(j->session, j->ids.ids + (size_t)*n_windows * j->window, j->window, err);
        if (st == INGLE_OK && j->status != IG_OK) st = input_error(&j->error, err);
    }
    if (bar) cli_bar_end();
    return st;
}

int cli_imatrix(const cli_call *call)
{
    job j = {.call = call};
    ingle_error err;
    ig_error e;
    uint32_t n_windows = 0;
    const char *out = cli_set(call, "out") ? cli_text(call, "out") : "imatrix.gguf";
    if (!cli_set(call, "text")) return cli_usage("imatrix needs --text FILE. Type: ingle imatrix --help");
    ingle_status st = input_model(call->args[0], false, &j.model, &err);
    if (st == INGLE_OK) {
        ingle_model_describe(j.model, &j.info);
        st = prepare(&j, &err);
    }
    if (st == INGLE_OK) st = run_windows(&j, &n_windows, &err);
    if (st == INGLE_OK && ig_importance_write(j.data, out, cli_text(call, "text"), n_windows, j.window, &e) != IG_OK)
        st = input_error(&e, &err);
    if (st == INGLE_OK)
        cli_note("%s: importance of %zu matrices from %u windows of %u tokens\n", out, ig_importance_n(j.data), n_windows,
                 j.window);
    ingle_session_free(j.session);
    ingle_engine_free(j.engine);
    ig_importance_free(j.data);
    ingle_model_close(j.model);
    input_ids_fini(&j.ids);
    return st == INGLE_OK ? CLI_DONE : cli_fail(err.text);
}
