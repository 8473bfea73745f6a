/* An engine's answer: byte 0 says how it comes (bit 0: as a stream, bit 1: embeddings, bit 2: three choices) and how
 * large the pieces are (the other bits), the rest is the body. Events must be whole objects, of the right types, and at
 * most one DONE a choice. */
#include <stdlib.h>
#include <string.h>

#include "bridge/openai.h"
#include "ipc/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(void *ctx, uint32_t type, const json_t *body)
{
    unsigned *n_done = ctx;
    if (!json_is_object(body)) abort();
    if (type == IG_FRAME_DONE && ++*n_done > BR_CHOICES_MAX) abort();
    if (type != IG_FRAME_DONE && type != IG_FRAME_DELTA && type != IG_FRAME_RESULT) abort();
}

/* The same bytes as the answer to a question about tokens. */
static void counts(const br_engine *e, const char *p, size_t n)
{
    static const char *const ops[] = {"tokenize", "detokenize", "template"};
    json_error_t error;
    br_ask ask;
    br_fault f;
    uint64_t n_tokens;
    json_t *answer = json_loadb(p, n, JSON_ALLOW_NUL, &error);
    if (br_read_tokens(answer, &n_tokens) && n_tokens > n) abort();
    for (size_t i = 0; i < 3; i++) {
        json_t *body = json_pack("{s:s}", "op", ops[i]), *prompt = json_string("x");
        if (!br_ask_new(e, body, &ask, &f)) abort();
        json_t *result = br_result_of(&ask, answer, prompt);
        if (result && !json_is_object(result)) abort();
        json_decref(result);
        br_ask_fini(&ask);
        json_decref(prompt);
        json_decref(body);
    }
    json_decref(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    br_engine e = {.name = "x", .model = "m", .embeds = true};
    br_hearing h;
    br_fault f;
    unsigned n_done = 0;
    if (size < 1) return 0;
    br_ask ask = {.n = data[0] & 4 ? 3 : 1, .embed = data[0] & 2, .normalize = data[0] & 8};
    size_t piece = (size_t)(data[0] >> 4) * 7 + 1;
    br_hearing_init(&h, &e, &ask, on_event, &n_done);
    br_hearing_begin(&h, data[0] & 1);
    bool fine = true;
    for (size_t at = 1; fine && at < size; at += piece)
        fine = br_hearing_feed(&h, (const char *)data + at, size - at < piece ? size - at : piece);
    if (fine) fine = br_hearing_end(&h, false);
    if (!fine && (!h.fault.type || !*h.fault.message)) abort();
    if (fine && !ask.embed && n_done != ask.n) abort();
    br_hearing_fini(&h);
    counts(&e, (const char *)data + 1, size - 1);
    br_fault_of_status(&e, 400, (const char *)data + 1, size - 1, &f);
    return 0;
}
