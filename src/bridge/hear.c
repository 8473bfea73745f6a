/* Answers in the OpenAI dialect to internal events. Every byte is a stranger's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "bridge/openai.h"
#include "ipc/ipc.h"

#define JSON_FLAGS (JSON_ALLOW_NUL)

void br_hearing_init(br_hearing *h, const br_engine *e, const br_ask *ask, br_event_fn fn, void *ctx)
{
    *h = (br_hearing){.engine = e, .fn = fn, .ctx = ctx, .n = ask->n, .embed = ask->embed, .normalize = ask->normalize};
    h->came_ns = ig_now_ns();
    ig_buf_init(&h->text, BR_BODY_BYTES_MAX);
}

void br_hearing_begin(br_hearing *h, bool stream)
{
    ig_buf_fini(&h->text);
    h->stream = stream && !h->embed;
    ig_buf_init(&h->text, h->stream ? BR_LINE_BYTES_MAX : BR_BODY_BYTES_MAX);
}

void br_hearing_fini(br_hearing *h) { ig_buf_fini(&h->text); }

/* ------------------------------------------------------------------------------------------------ faults */

static bool fail(br_hearing *h, const char *what)
{
    h->failed = true;
    return br_refuse(&h->fault, "internal", NULL, "engine %.60s %s; send the request again", h->engine->name, what);
}

static json_int_t number(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v) : 0;
}

static bool is_too_long(const json_t *error)
{
    static const char *const names[] = {"context_length_exceeded", "exceed_context_size_error"};
    const char *code = json_string_value(json_object_get(error, "code")),
               *type = json_string_value(json_object_get(error, "type"));
    for (size_t i = 0; i < 2; i++)
        if ((code && !strcmp(code, names[i])) || (type && !strcmp(type, names[i]))) return true;
    return false;
}

/* {"error":{"message",…}}, {"error":"…"}, {"message":…} or whatever; its sentence is the client's own affair. */
static void fault_of_error(const br_engine *e, const char *type, const json_t *body, br_fault *f)
{
    const json_t *error = json_object_get(body, "error");
    if (!json_is_object(error)) error = json_is_string(error) ? body : body ? body : error;
    const json_t *v = json_object_get(error, "message");
    const char *text = json_string_value(v ? v : json_object_get(error, "error"));
    br_refuse(f, type, json_string_value(json_object_get(error, "param")), "engine %.60s: %.300s", e->name,
              text ? text : "it failed without a message");
    if (!is_too_long(error)) return;
    f->n_prompt = (uint64_t)number(error, "n_prompt_tokens");
    f->n_ctx = (uint64_t)number(error, "n_ctx");
    if (f->n_prompt && f->n_ctx) f->type = "too_long";
}

void br_fault_of_status(const br_engine *e, long status, const char *body, size_t n, br_fault *f)
{
    const char *type = status == 429 || status == 503 ? "overloaded"
                       : status >= 400 && status < 500 && status != 401 && status != 403 && status != 404
                           ? "bad_request"
                           : "internal";
    json_error_t error;
    json_t *v = n ? json_loadb(body, n, JSON_FLAGS, &error) : NULL;
    if (json_is_object(v))
        fault_of_error(e, type, v, f);
    else
        br_refuse(f, type, NULL, "engine %.60s answered with status %ld", e->name, status);
    json_decref(v);
}

/* ------------------------------------------------------------------------------------------------ events */

/* Takes the body over. */
static bool give(br_hearing *h, uint32_t type, json_t *body)
{
    if (!body) return fail(h, "said what is no text, or memory is short");
    if (!h->first_ns) h->first_ns = ig_now_ns();
    h->fn(h->ctx, type, body);
    json_decref(body);
    return true;
}

static bool is_text(const json_t *v) { return json_is_string(v) && json_string_length(v) > 0; }

/* {token, logprob, bytes, top_logprobs} as the worker writes it; new. */
static json_t *lp_entry(const json_t *from, bool with_top)
{
    json_t *token = json_object_get(from, "token"), *value = json_object_get(from, "logprob");
    json_t *bytes = json_object_get(from, "bytes"), *list = json_object_get(from, "top_logprobs"), *one;
    size_t i;
    if (!json_is_string(token)) return NULL;
    json_t *top = with_top ? json_array() : NULL;
    if (with_top) json_array_foreach(list, i, one) json_array_append_new(top, lp_entry(one, false));
    return json_pack("{s:O, s:O?, s:O?, s:o*}", "token", token, "logprob", json_is_number(value) ? value : NULL,
                     "bytes", json_is_array(bytes) ? bytes : NULL, "top", top);
}

/* Of chat; or of completions, which have lists side by side. NULL: none. */
static json_t *lp_of(const json_t *choice)
{
    const json_t *all = json_object_get(choice, "logprobs"), *content = json_object_get(all, "content");
    const json_t *tokens = json_object_get(all, "tokens"), *values = json_object_get(all, "token_logprobs");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(content); i++)
        json_array_append_new(list, lp_entry(json_array_get(content, i), true));
    for (size_t i = 0; !content && i < json_array_size(tokens); i++)
        json_array_append_new(list, json_pack("{s:O?, s:O?, s:n, s:[]}", "token", json_array_get(tokens, i), "logprob",
                                              json_array_get(values, i), "bytes", "top"));
    if (json_array_size(list)) return list;
    json_decref(list);
    return NULL;
}

static bool on_text(br_hearing *h, unsigned c, const char *kind, json_t *text, json_t *lp)
{
    if (is_text(text) || lp)
        return give(h, IG_FRAME_DELTA,
                    json_pack("{s:i, s:s, s:o, s:o*}", "c", (int)c, "k", kind, "t",
                              json_is_string(text) ? json_incref(text) : json_string(""), "lp", lp));
    return true;
}

static bool on_arguments(br_hearing *h, unsigned c, json_int_t at, json_t *arguments)
{
    char *text = json_is_object(arguments) ? json_dumps(arguments, JSON_COMPACT) : NULL;
    json_t *v = text ? json_string(text) : json_is_string(arguments) ? json_incref(arguments) : NULL;
    free(text);
    if (!is_text(v)) {
        json_decref(v);
        return true;
    }
    return give(h, IG_FRAME_DELTA, json_pack("{s:i, s:s, s:I, s:o}", "c", (int)c, "k", "tool", "i", at, "args", v));
}

static bool on_call(br_hearing *h, unsigned c, size_t place, const json_t *call)
{
    br_choice *x = &h->choices[c];
    const json_t *f = json_object_get(call, "function"), *index = json_object_get(call, "index");
    json_t *id = json_object_get(call, "id"), *name = json_object_get(f, "name");
    json_int_t at = json_is_integer(index) ? json_integer_value(index) : (json_int_t)place;
    if (at < 0 || at > x->n_calls || at >= BR_CALLS_MAX) return fail(h, "numbered its tool calls wrongly");
    if (at == x->n_calls) {
        if (!is_text(name)) return fail(h, "called a tool without a name");
        x->n_calls++;
        json_t *own = is_text(id) ? json_incref(id) : json_sprintf("call_%u", x->n_calls);
        if (!give(h, IG_FRAME_DELTA,
                  json_pack("{s:i, s:s, s:I, s:o, s:O}", "c", (int)c, "k", "tool", "i", at, "id", own, "name", name)))
            return false;
    }
    return on_arguments(h, c, at, json_object_get(f, "arguments"));
}

static void on_finish(br_choice *x, const char *reason)
{
    static const struct {
        const char *from, *to, *flag;
    } rows[] = {{"stop", "stop", NULL},
                {"length", "length", NULL},
                {"tool_calls", "tool_calls", NULL},
                {"function_call", "tool_calls", NULL},
                {"content_filter", "stop", "content_filter"}};
    x->finish = "stop";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].from, reason)) {
            x->finish = rows[i].to;
            x->flag = rows[i].flag;
        }
}

static bool on_choice(br_hearing *h, const json_t *choice)
{
    json_int_t c = json_integer_value(json_object_get(choice, "index"));
    if (c < 0 || c >= (json_int_t)h->n) return fail(h, "numbered its answers wrongly");
    const unsigned at = (unsigned)c;
    const json_t *delta = json_object_get(choice, "delta");
    if (!delta) delta = json_object_get(choice, "message");
    json_t *thought = json_object_get(delta, "reasoning_content"), *text = json_object_get(delta, "content");
    json_t *calls = json_object_get(delta, "tool_calls"), *call;
    size_t i;
    if (!is_text(thought)) thought = json_object_get(delta, "reasoning");
    if (!delta) text = json_object_get(choice, "text");
    if (!on_text(h, at, "reasoning", thought, NULL) || !on_text(h, at, "text", text, lp_of(choice))) return false;
    json_array_foreach(calls, i, call) if (!on_call(h, at, i, call)) return false;
    const char *reason = json_string_value(json_object_get(choice, "finish_reason"));
    if (reason) on_finish(&h->choices[at], reason);
    return true;
}

static void on_usage(br_hearing *h, const json_t *u)
{
    if (!json_is_object(u)) return;
    h->counted = true;
    h->n_prompt = (uint64_t)number(u, "prompt_tokens");
    h->n_completion = (uint64_t)number(u, "completion_tokens");
    h->n_cached = (uint64_t)number(json_object_get(u, "prompt_tokens_details"), "cached_tokens");
    h->n_reasoning = (uint64_t)number(json_object_get(u, "completion_tokens_details"), "reasoning_tokens");
    if (h->n_cached > h->n_prompt) h->n_cached = h->n_prompt;
}

static bool on_object(br_hearing *h, const json_t *o)
{
    const json_t *choices = json_object_get(o, "choices"), *error = json_object_get(o, "error");
    if (error && !json_is_null(error)) {
        fault_of_error(h->engine, "internal", o, &h->fault);
        h->failed = true;
        return false;
    }
    if (choices && !json_is_array(choices)) return fail(h, "sent an event that is no answer");
    for (size_t i = 0; i < json_array_size(choices); i++)
        if (!on_choice(h, json_array_get(choices, i))) return false;
    on_usage(h, json_object_get(o, "usage"));
    return true;
}

static bool on_json(br_hearing *h, const char *p, size_t n, bool (*fn)(br_hearing *h, const json_t *o))
{
    json_error_t error;
    json_t *o = json_loadb(p, n, JSON_FLAGS, &error);
    bool fine = json_is_object(o) ? fn(h, o) : fail(h, "sent an event that is no JSON object");
    json_decref(o);
    return fine;
}

/* ------------------------------------------------------------------------------------------------ lines */

static bool on_line(br_hearing *h, const char *p, size_t n)
{
    static const char data[] = "data:", error[] = "error:";
    if (n && p[n - 1] == '\r') n--;
    size_t skip = n >= 5 && !memcmp(p, data, 5) ? 5 : n >= 6 && !memcmp(p, error, 6) ? 6 : 0;
    if (!skip || h->over) return true; /* comments, event:, id:, retry: and what comes behind the end */
    while (skip < n && p[skip] == ' ') skip++;
    p += skip;
    n -= skip;
    if (n == 6 && !memcmp(p, "[DONE]", 6)) {
        h->over = true;
        return true;
    }
    return n == 0 || on_json(h, p, n, on_object);
}

static bool feed_lines(br_hearing *h, const char *p, size_t n)
{
    while (n) {
        const char *end = memchr(p, '\n', n);
        size_t len = end ? (size_t)(end - p) : n;
        if (h->text.len || !end) {
            if (!ig_buf_add(&h->text, p, len)) return fail(h, "sent a line that is too long");
            if (!end) return true;
            bool fine = on_line(h, h->text.ptr, h->text.len);
            h->text.len = 0;
            if (!fine) return false;
        } else if (!on_line(h, p, len))
            return false;
        p += len + 1;
        n -= len + 1;
    }
    return true;
}

bool br_hearing_feed(br_hearing *h, const char *p, size_t n)
{
    if (h->failed) return false;
    h->n_bytes += n;
    if (h->n_bytes > BR_STREAM_BYTES_MAX) return fail(h, "sent an answer that has no end");
    if (h->stream) return feed_lines(h, p, n);
    return ig_buf_add(&h->text, p, n) || fail(h, "sent an answer that is too large");
}

/* ------------------------------------------------------------------------------------------------ the end */

static double ms_between(uint64_t from, uint64_t to) { return from && to > from ? (double)(to - from) / 1e6 : 0; }

/* The counts are the whole answer's: the first choice carries them. */
static bool give_done(br_hearing *h, unsigned c, bool cancelled)
{
    const br_choice *x = &h->choices[c];
    const char *finish = cancelled ? "cancelled" : x->finish ? x->finish : "stop";
    const char *flag = x->flag ? x->flag : !h->counted && !cancelled ? "uncounted" : NULL;
    uint64_t now = ig_now_ns();
    if (x->n_calls && !strcmp(finish, "stop")) finish = "tool_calls";
    return give(h, IG_FRAME_DONE,
                json_pack("{s:i, s:s, s:n, s:s?, s:{s:I, s:I, s:I, s:I}, s:{s:f, s:f, s:f}, s:b}", "c", (int)c,
                          "finish", finish, "stop", "flag", flag, "usage", "prompt", (json_int_t)h->n_prompt, "cached",
                          (json_int_t)h->n_cached, "completion", c ? (json_int_t)0 : (json_int_t)h->n_completion,
                          "reasoning", c ? (json_int_t)0 : (json_int_t)h->n_reasoning, "timings", "queue_ms", 0.0,
                          "prompt_ms", ms_between(h->came_ns, h->first_ns), "generate_ms", ms_between(h->first_ns, now),
                          "last", (int)(c + 1 == h->n)));
}

/* A row of finite numbers, of length 1 where asked; new. */
static json_t *vector_of(const json_t *row, bool normalize)
{
    size_t n = json_array_size(row), i;
    double sum = 0;
    json_t *out = json_array(), *v;
    json_array_foreach((json_t *)row, i, v)
    {
        double x = json_number_value(v);
        bool fine = json_is_number(v) && isfinite(x);
        if (!fine) n = 0;
        sum += x * x;
    }
    double scale = normalize && sum > 0 ? 1 / sqrt(sum) : 1;
    json_array_foreach((json_t *)row, i, v)
        json_array_append_new(out, json_real((double)(float)(json_number_value(v) * scale)));
    if (n && json_array_size(out) == n) return out;
    json_decref(out);
    return NULL;
}

static bool on_vectors(br_hearing *h, const json_t *o)
{
    const json_t *data = json_object_get(o, "data"), *usage = json_object_get(o, "usage");
    size_t n = json_array_size(data), n_set = 0;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(rows, json_null());
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(data, i), *index = json_object_get(one, "index");
        size_t at = json_is_integer(index) && json_integer_value(index) >= 0 ? (size_t)json_integer_value(index) : i;
        json_t *row = at < n ? vector_of(json_object_get(one, "embedding"), h->normalize) : NULL;
        if (row && json_is_null(json_array_get(rows, at))) n_set++;
        if (row) json_array_set_new(rows, at, row);
    }
    if (!n || n_set != n) {
        json_decref(rows);
        return fail(h, "sent embeddings that cannot be read");
    }
    return give(h, IG_FRAME_RESULT,
                json_pack("{s:o, s:{s:I}}", "embeddings", rows, "usage", "prompt", number(usage, "prompt_tokens")));
}

bool br_hearing_end(br_hearing *h, bool cancelled)
{
    if (h->failed) return false;
    if (!cancelled && h->stream && h->text.len && !on_line(h, h->text.ptr, h->text.len)) return false;
    if (!cancelled && !h->stream && !on_json(h, h->text.ptr, h->text.len, h->embed ? on_vectors : on_object))
        return false;
    if (h->embed) return !cancelled || fail(h, "was interrupted");
    for (unsigned c = 0; c < h->n; c++)
        if (!cancelled && !h->over && !h->choices[c].finish) return fail(h, "broke off its answer");
    for (unsigned c = 0; c < h->n; c++)
        if (!give_done(h, c, cancelled)) return false;
    return true;
}
