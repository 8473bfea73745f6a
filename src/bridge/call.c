/* Requests on their way to the engine. A request may begin with questions: where policy allows less of a context than
 * its bytes may be, the engine is asked for the prompt (/apply-template) and its tokens (/tokenize). Who has no such
 * routes is believed the bound of count.c. */
#include "bridge/call.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"

#define NS_PER_MS UINT64_C(1000000)
enum {
    BROKEN_MS = 1000, /* a lost connection may be the engine's death, which says more */
    ERROR_BYTES_MAX = 64 << 10,
};

/* What follows from the answer to a question; answer NULL: status says why there is none. May free the call. */
typedef void (*next_fn)(br_call *c, const json_t *answer);

struct br_call {
    br_bridge *b;
    br_call *next;
    uint64_t id;
    br_transfer *transfer; /* NULL: over */
    br_ask ask;
    br_hearing hearing;
    long status;
    ig_buf said; /* body of an answer that is none, or to a question */
    uint64_t broken_ns;
    next_fn then;   /* a question is under way */
    json_t *prompt; /* owned: as /apply-template has it, or NULL */
    json_t *texts;  /* owned: to be counted, or NULL */
    size_t n_texts; /* counted so far */
    uint64_t n_tokens;
};

static void free_call(br_call *c)
{
    br_bridge *b = c->b;
    for (br_call **at = &b->calls; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    b->n_calls--;
    if (c->transfer) br_wire_drop(b->wire, c->transfer);
    br_hearing_fini(&c->hearing);
    br_ask_fini(&c->ask);
    ig_buf_fini(&c->said);
    json_decref(c->prompt);
    json_decref(c->texts);
    ig_free(c);
}

static void fail_call(br_call *c, const br_fault *f)
{
    br_send_fault(c->b, c->id, f);
    free_call(c);
}

static void fail_memory(br_call *c)
{
    br_fault f;
    br_refuse(&f, "overloaded", NULL, "out of memory for the request");
    fail_call(c, &f);
}

/* ------------------------------------------------------------------------------------------------ the answer */

static void on_event(void *ctx, uint32_t type, const json_t *body)
{
    br_call *c = ctx;
    br_send(c->b, type, c->id, body);
}

static void on_head(void *ctx, long status, bool stream)
{
    br_call *c = ctx;
    c->status = status;
    br_hearing_begin(&c->hearing, stream);
}

static bool on_body(void *ctx, const char *p, size_t n)
{
    br_call *c = ctx;
    if (c->status / 100 == 2) return br_hearing_feed(&c->hearing, p, n);
    (void)ig_buf_add(&c->said, p, n); /* what is too long is not needed */
    return true;
}

static void on_end(void *ctx, bool whole, const char *why)
{
    br_call *c = ctx;
    br_bridge *b = c->b;
    br_fault f;
    c->transfer = NULL;
    if (c->hearing.failed) {
        fail_call(c, &c->hearing.fault);
        return;
    }
    if (!whole && !strcmp(why, "timeout")) {
        br_hung(b);
        return;
    }
    if (!whole) {
        c->broken_ns = ig_now_ns();
        return;
    }
    if (c->status / 100 != 2) {
        br_fault_of_status(&b->engine, c->status, c->said.ptr, c->said.len, &f);
        fail_call(c, &f);
        return;
    }
    if (!br_hearing_end(&c->hearing, false)) {
        fail_call(c, &c->hearing.fault);
        return;
    }
    b->tokens_generated += c->hearing.n_completion;
    b->tokens_prompt += c->hearing.n_prompt;
    free_call(c);
}

static void post(br_call *c, const char *path, const json_t *body, const br_listener *listener)
{
    br_bridge *b = c->b;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (text) c->transfer = br_wire_ask(b->wire, path, text, strlen(text), b->silence_s, listener, c);
    free(text);
    if (!c->transfer) fail_memory(c);
}

static void send_ask(br_call *c)
{
    static const br_listener listener = {on_head, on_body, on_end};
    ig_buf_fini(&c->said);
    ig_buf_init(&c->said, ERROR_BYTES_MAX);
    post(c, c->ask.path, c->ask.body, &listener);
}

/* ------------------------------------------------------------------------------------------------ questions */

static void on_question_head(void *ctx, long status, bool stream)
{
    (void)stream;
    ((br_call *)ctx)->status = status;
}

static bool on_question_body(void *ctx, const char *p, size_t n) { return ig_buf_add(&((br_call *)ctx)->said, p, n); }

static void on_question_end(void *ctx, bool whole, const char *why)
{
    br_call *c = ctx;
    next_fn then = c->then;
    json_error_t error;
    c->transfer = NULL;
    if (!whole && !strcmp(why, "timeout")) {
        br_hung(c->b);
        return;
    }
    if (!whole && !c->said.failed) {
        c->broken_ns = ig_now_ns();
        return;
    }
    c->then = NULL;
    json_t *answer = c->status / 100 == 2 && whole
                         ? json_loadb(c->said.ptr ? c->said.ptr : "", c->said.len, JSON_ALLOW_NUL, &error)
                         : NULL;
    then(c, answer);
    json_decref(answer);
}

/* Takes the body. */
static void question(br_call *c, const char *path, json_t *body, next_fn then)
{
    static const br_listener listener = {on_question_head, on_question_body, on_question_end};
    ig_buf_fini(&c->said);
    ig_buf_init(&c->said, BR_BODY_BYTES_MAX);
    c->status = 0;
    c->then = then;
    post(c, path, body, &listener);
    json_decref(body);
}

/* The path is not there at all. */
static bool is_absent(const br_call *c) { return c->status == 404 || c->status == 405 || c->status == 501; }

/* ------------------------------------------------------------------------------------------------ counting */

static void hold(br_call *c, uint64_t n, bool counted)
{
    br_fault f;
    if (br_ask_hold(&c->ask, &c->b->engine, n, counted, &f))
        send_ask(c);
    else
        fail_call(c, &f);
}

static void hold_by_bound(br_call *c)
{
    if (is_absent(c)) c->b->counts_not = true;
    hold(c, c->ask.limit.bound, false);
}

static void count_next(br_call *c);

/* Of a prompt all texts together, of embeddings the longest. */
static void add_count(br_call *c, uint64_t n)
{
    if (!c->ask.embed)
        c->n_tokens += n;
    else if (n > c->n_tokens)
        c->n_tokens = n;
    c->n_texts++;
}

static void on_counted(br_call *c, const json_t *answer)
{
    uint64_t n;
    if (!br_read_tokens(answer, &n)) {
        hold_by_bound(c);
        return;
    }
    add_count(c, n);
    count_next(c);
}

/* Lists of ids are counted already. */
static void count_next(br_call *c)
{
    const json_t *text;
    while (json_is_array(text = json_array_get(c->texts, c->n_texts))) add_count(c, json_array_size(text));
    if (text)
        question(c, "/tokenize", br_tokenize_body(text), on_counted);
    else
        hold(c, c->n_tokens, true);
}

static void count_texts(br_call *c, const json_t *const *texts, size_t n)
{
    c->texts = json_array();
    for (size_t i = 0; i < n; i++)
        if (json_array_append(c->texts, (json_t *)texts[i])) n = SIZE_MAX;
    if (n == SIZE_MAX)
        fail_memory(c);
    else
        count_next(c);
}

static void on_prompt(br_call *c, const json_t *answer)
{
    const json_t *prompt = json_object_get(answer, "prompt");
    if (json_is_string(prompt))
        count_texts(c, &prompt, 1);
    else
        hold_by_bound(c);
}

static void count(br_call *c)
{
    const json_t *texts[BR_TEXTS_MAX];
    json_t *template = br_ask_template(&c->ask);
    if (template) {
        question(c, "/apply-template", template, on_prompt);
        return;
    }
    size_t n = br_ask_texts(&c->ask, texts);
    if (n < BR_TEXTS_MAX)
        count_texts(c, texts, n);
    else
        hold(c, c->ask.limit.bound, false);
}

/* ------------------------------------------------------------------------------------------------ queries */

static void fail_query(br_call *c)
{
    const br_engine *e = &c->b->engine;
    br_fault f;
    if (is_absent(c))
        br_refuse(&f, "unsupported", "model", "engine %.60s does not answer %s; choose another model", e->name,
                  c->prompt ? "/tokenize" : c->ask.path);
    else if (c->status / 100 != 2)
        br_fault_of_status(e, c->status, c->said.ptr, c->said.len, &f);
    else
        br_refuse(&f, "internal", NULL, "engine %.60s answered %s with what cannot be read; send the request again",
                  e->name, c->prompt ? "/tokenize" : c->ask.path);
    fail_call(c, &f);
}

static void on_result(br_call *c, const json_t *answer)
{
    json_t *result = answer ? br_result_of(&c->ask, answer, c->prompt) : NULL;
    if (!result) {
        fail_query(c);
        return;
    }
    br_send_new(c->b, IG_FRAME_RESULT, c->id, result);
    free_call(c);
}

static void on_template(br_call *c, const json_t *answer)
{
    json_t *prompt = json_object_get(answer, "prompt");
    if (!json_is_string(prompt)) {
        fail_query(c);
        return;
    }
    c->prompt = json_incref(prompt);
    question(c, "/tokenize", br_tokenize_body(prompt), on_result);
}

/* ------------------------------------------------------------------------------------------------ from the front */

static void begin_call(br_bridge *b, uint64_t id, br_ask *ask)
{
    br_fault f;
    br_call *c = ig_calloc(1, sizeof *c);
    if (!c) {
        br_ask_fini(ask);
        br_refuse(&f, "overloaded", NULL, "out of memory for the request");
        br_send_fault(b, id, &f);
        return;
    }
    *c = (br_call){.b = b, .id = id, .next = b->calls, .ask = *ask};
    ig_buf_init(&c->said, ERROR_BYTES_MAX);
    br_hearing_init(&c->hearing, &b->engine, ask, on_event, c);
    b->calls = c;
    b->n_calls++;
    if (ask->kind != BR_ANSWER && ask->kind != BR_VECTORS)
        question(c, ask->path, json_incref(ask->body), ask->kind == BR_TEMPLATE ? on_template : on_result);
    else if (!br_ask_must_count(ask))
        send_ask(c);
    else if (b->counts_not)
        hold(c, ask->limit.bound, false);
    else
        count(c);
}

void br_request(br_bridge *b, const ig_frame *frame)
{
    br_fault f;
    br_ask ask;
    json_error_t error;
    json_t *body = json_loadb(frame->body, frame->n_body, JSON_ALLOW_NUL, &error);
    bool fine = json_is_object(body) ? br_ask_new(&b->engine, body, &ask, &f)
                                     : br_refuse(&f, "bad_request", NULL, "the request is no JSON object");
    json_decref(body);
    if (fine)
        begin_call(b, frame->request, &ask);
    else
        br_send_fault(b, frame->request, &f);
}

void br_cancel(br_bridge *b, uint64_t id)
{
    br_fault f;
    for (br_call *c = b->calls; c; c = c->next) {
        if (c->id != id) continue;
        if (c->transfer) br_wire_drop(b->wire, c->transfer); /* closes the connection: the engine stops */
        c->transfer = NULL;
        br_refuse(&f, "internal", NULL, "the request was cancelled");
        if (c->ask.kind != BR_ANSWER || !br_hearing_end(&c->hearing, true))
            fail_call(c, &f);
        else
            free_call(c);
        return;
    }
}

bool br_calls_broken(const br_bridge *b)
{
    for (const br_call *c = b->calls; c; c = c->next)
        if (c->broken_ns) return true;
    return false;
}

void br_look_at_broken(br_bridge *b, uint64_t now)
{
    br_fault f;
    for (br_call *c = b->calls, *next; c; c = next) {
        next = c->next;
        if (!c->broken_ns || now - c->broken_ns < BROKEN_MS * NS_PER_MS) continue;
        br_refuse(&f, "internal", NULL, "engine %.60s closed the connection; send the request again", b->engine.name);
        fail_call(c, &f);
    }
}

void br_drop_calls(br_bridge *b)
{
    while (b->calls) free_call(b->calls);
}
