/* Requests as a worker reads them: byte 0 says whether it is a query, the rest is the body. Whatever it holds, the
 * result is a request that can run, an answer, or a refusal with a type and a sentence; nothing leaks. */
#include <stdlib.h>
#include <string.h>

#include "worker/wk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static wk w;

static void build(void)
{
    ig_error e;
    ingle_engine_options o = {.size = sizeof o, .n_threads = 1, .n_ctx = 64};
    if (ingle_model_open(IG_TEST_DATA "/stories260K.gguf", NULL, &w.model, NULL) != INGLE_OK) abort();
    ingle_model_describe(w.model, &w.info);
    if (ingle_engine_new(w.model, &o, &w.engine, NULL) != INGLE_OK) abort();
    w.n_ctx = 64;
    w.cfg.n_sessions = 1;
    ig_str bos = IG_STR("<s>"), eos = IG_STR("</s>");
    if (wk_chat_new(w.model, (ig_str){NULL, 0}, IG_STR("Be brief."), bos, eos, &w.chat, &e) != IG_OK) abort();
    if (wk_constrainer_new(w.model, (ig_str){"", 0}, &w.constrainer, &e) != IG_OK) abort();
}

static void check(const wk_request *r)
{
    if (r->failed) {
        if (!r->fault.type || strlen(r->fault.e.text) < 10) abort();
        return;
    }
    if (r->query && r->op != WK_SLOTS && (r->result.len < 2 || r->result.ptr[0] != '{')) abort();
    if (r->op != WK_GENERATE) return;
    if (r->n_prompt == 0 || r->n_prompt > w.n_ctx || r->p.n < 1 || r->p.n > WK_CHOICES_MAX) abort();
    for (uint32_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] < 0 || (uint32_t)r->prompt[i] >= w.info.n_vocab) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!w.model) build();
    if (size < 1) return 0;
    wk_request *r = ig_calloc(1, sizeof *r);
    char *raw = ig_alloc(size);
    if (!r || !raw) abort();
    memcpy(raw, data + 1, size - 1);
    *r = (wk_request){.query = data[0] & 1, .raw = raw, .n_raw = size - 1};
    wk_prepare_request(&w, r);
    check(r);
    wk_request_free(r);
    return 0;
}
