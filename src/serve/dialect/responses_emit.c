/* Answers of /v1/responses. Items are built as the events come, streaming or not, so that the ids of the stream and of
 * the finished object are the same; each is closed before the next opens. e->open: kind of the open item, e->piece: its
 * text, e->sequence: number of the next event. */
#include <stdio.h>
#include <string.h>

#include "serve/dialect/emit.h"

enum { NONE, REASONING, MESSAGE, CALL };

static bool streams(const ig_emitter *e) { return e->req->stream; }

/* An event where the answer streams; takes more either way. */
static void event(ig_emitter *e, const char *name, json_t *more, ig_buf *out)
{
    if (!more) e->failed = true;
    if (!streams(e) || !more) {
        json_decref(more);
        return;
    }
    json_t *o = json_pack("{s:s, s:I}", "type", name, "sequence_number", (json_int_t)e->sequence++);
    if (!o || json_object_update(o, more) != 0) e->failed = true;
    json_decref(more);
    ig_out_sse(e, name, o, out);
}

/* ------------------------------------------------------------------------------------------------ the object */

static json_t *echo_or(const ig_emitter *e, const char *name, json_t *otherwise)
{
    json_t *v = json_object_get(e->req->echo, name);
    if (!v) return otherwise;
    json_decref(otherwise);
    return json_incref(v);
}

/* What runs: the part's own, after the model's and the dialect's defaults. */
static json_t *used_or(const ig_emitter *e, const char *name, json_t *otherwise)
{
    json_t *v = json_object_get(json_array_get(e->req->parts, 0), name);
    if (!v) return otherwise;
    json_decref(otherwise);
    return json_incref(v);
}

static json_t *usage_json(const ig_emitter *e)
{
    ig_usage u = ig_emit_usage(e);
    return json_pack("{s:I, s:{s:I}, s:I, s:{s:I}, s:I}", "input_tokens", (json_int_t)u.prompt, "input_tokens_details",
                     "cached_tokens", (json_int_t)u.cached, "output_tokens", (json_int_t)u.completion,
                     "output_tokens_details", "reasoning_tokens", (json_int_t)u.reasoning, "total_tokens",
                     (json_int_t)(u.prompt + u.completion));
}

/* The parts of the object that repeat the request. */
static json_t *settings(const ig_emitter *e)
{
    return json_pack(
        "{s:o, s:o, s:o, s:n, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:n, s:o, s:b, s:s}", "instructions",
        echo_or(e, "instructions", json_null()), "max_output_tokens", echo_or(e, "max_output_tokens", json_null()),
        "parallel_tool_calls", echo_or(e, "parallel_tool_calls", json_true()), "previous_response_id", "reasoning",
        echo_or(e, "reasoning", json_pack("{s:n, s:n}", "effort", "summary")), "store", 0, "temperature",
        used_or(e, "temperature", json_real(1)), "text",
        echo_or(e, "text", json_pack("{s:{s:s}}", "format", "type", "text")), "tool_choice",
        echo_or(e, "tool_choice", json_string("auto")), "tools", echo_or(e, "tools", json_array()), "top_p",
        used_or(e, "top_p", json_real(1)), "truncation", echo_or(e, "truncation", json_string("disabled")), "user",
        "metadata", echo_or(e, "metadata", json_object()), "background", 0, "service_tier", "default");
}

static bool incomplete(const ig_emitter *e)
{
    const char *finish = e->n_choices ? e->choices[0].finish : NULL;
    return finish && (!strcmp(finish, "length") || !strcmp(finish, "cancelled"));
}

/* status "in_progress", "completed", "incomplete", "failed"; takes error, NULL: none. */
static json_t *response(const ig_emitter *e, const char *status, json_t *error)
{
    const bool complete = !strcmp(status, "completed"), running = !strcmp(status, "in_progress");
    json_t *details = !strcmp(status, "incomplete") ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null();
    json_t *done_at = complete ? json_integer((json_int_t)(e->now_ns / 1000000000u)) : json_null();
    json_t *o = json_pack("{s:o, s:s, s:I, s:o, s:s, s:o?, s:o, s:s, s:o}", "id", ig_out_id(e, "resp_"), "object",
                          "response", "created_at", (json_int_t)(e->ctx->created_ns / 1000000000u), "completed_at",
                          done_at, "status", status, "error", error, "incomplete_details", details, "model",
                          e->ctx->model, "output", json_copy(e->items));
    json_t *more = settings(e);
    if (!o || !more || json_object_update(o, more) != 0) {
        json_decref(more);
        json_decref(o);
        return NULL;
    }
    json_decref(more);
    const bool counted = complete || !strcmp(status, "incomplete");
    ig_put(&o, "usage", counted ? usage_json(e) : json_null());
    if (!running) {
        ig_usage u = ig_emit_usage(e);
        ig_put(&o, "ingle", ig_out_ingle(e, &u));
    }
    return o;
}

/* ------------------------------------------------------------------------------------------------ items */

static json_int_t output_index(const ig_emitter *e) { return (json_int_t)json_array_size(e->items); }

static json_t *item_id(const ig_emitter *e)
{
    static const char *const prefixes[] = {"", "rs_", "msg_", "fc_"};
    return json_sprintf("%s%s_%lld", prefixes[e->open], e->ctx->id, (long long)output_index(e));
}

static bool as_summary(const ig_emitter *e)
{
    return json_is_string(json_object_get(json_object_get(e->req->echo, "reasoning"), "summary"));
}

/* {item_id, output_index} and, where part is not NULL, {content_index or summary_index: 0}. */
static json_t *place(const ig_emitter *e, const char *part)
{
    json_t *o = json_pack("{s:o, s:I}", "item_id", item_id(e), "output_index", output_index(e));
    if (o && part) ig_put(&o, part, json_integer(0));
    return o;
}

/* A place with one more member; takes value. */
static json_t *place_with(const ig_emitter *e, const char *part, const char *name, json_t *value)
{
    json_t *o = place(e, part);
    if (json_object_set_new(o, name, value) == 0) return o;
    json_decref(o);
    return NULL;
}

static json_t *text_part(const ig_emitter *e, bool done)
{
    json_t *text = done ? ig_out_text(&e->piece) : json_string("");
    json_t *lp = done && e->lp_open ? json_incref(e->lp_open) : json_array();
    return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text", text, "annotations", "logprobs", lp);
}

static json_t *thoughts_part(const ig_emitter *e, bool done)
{
    json_t *text = done ? ig_out_text(&e->piece) : json_string("");
    return json_pack("{s:s, s:o}", "type", as_summary(e) ? "summary_text" : "reasoning_text", "text", text);
}

static json_t *reasoning_item(const ig_emitter *e, bool done)
{
    json_t *o = json_pack("{s:o, s:s, s:[], s:s}", "id", item_id(e), "type", "reasoning", "summary", "status",
                          done ? "completed" : "in_progress");
    if (!o || !done) return o;
    ig_put(&o, as_summary(e) ? "summary" : "content", json_pack("[o]", thoughts_part(e, true)));
    if (json_object_get(e->req->echo, "encrypted")) {
        json_t *text = ig_out_text(&e->piece);
        ig_put(&o, "encrypted_content", json_sprintf(IG_THOUGHTS_MARK "%s", json_string_value(text)));
        json_decref(text);
    }
    return o;
}

static const char *item_status(const ig_emitter *e, bool done)
{
    return !done ? "in_progress" : incomplete(e) ? "incomplete" : "completed";
}

static json_t *message_item(const ig_emitter *e, bool done)
{
    json_t *content = done ? json_pack("[o]", text_part(e, true)) : json_array();
    return json_pack("{s:o, s:s, s:s, s:s, s:o}", "id", item_id(e), "type", "message", "role", "assistant", "status",
                     item_status(e, done), "content", content);
}

static json_t *call_item(const ig_emitter *e, const ig_call *call, bool done)
{
    json_t *args = done ? ig_out_text(&call->args) : json_string("");
    return json_pack("{s:o, s:s, s:O, s:O, s:o, s:s}", "id", item_id(e), "type", "function_call", "call_id", call->id,
                     "name", call->name, "arguments", args, "status", item_status(e, done));
}

static const ig_call *last_call(const ig_emitter *e)
{
    const ig_choice *c = &e->choices[0];
    return c->n_calls ? &c->calls[c->n_calls - 1] : NULL;
}

static json_t *open_item(const ig_emitter *e, bool done)
{
    if (e->open == REASONING) return reasoning_item(e, done);
    if (e->open == MESSAGE) return message_item(e, done);
    return call_item(e, last_call(e), done);
}

/* Names of the events of a text inside an item. */
typedef struct text_names {
    const char *part, *added, *delta, *done, *part_done;
} text_names;

static const text_names *names_of(const ig_emitter *e)
{
    static const text_names rows[] = {
        {"content_index", "response.content_part.added", "response.output_text.delta", "response.output_text.done",
         "response.content_part.done"},
        {"content_index", "response.content_part.added", "response.reasoning_text.delta",
         "response.reasoning_text.done", "response.content_part.done"},
        {"summary_index", "response.reasoning_summary_part.added", "response.reasoning_summary_text.delta",
         "response.reasoning_summary_text.done", "response.reasoning_summary_part.done"},
    };
    return &rows[e->open == MESSAGE ? 0 : as_summary(e) ? 2 : 1];
}

static json_t *part_json(const ig_emitter *e, bool done)
{
    return e->open == MESSAGE ? text_part(e, done) : thoughts_part(e, done);
}

static void close_text(ig_emitter *e, ig_buf *out)
{
    const text_names *n = names_of(e);
    json_t *whole = place_with(e, n->part, "text", ig_out_text(&e->piece));
    if (e->open == MESSAGE) ig_put(&whole, "logprobs", e->lp_open ? json_incref(e->lp_open) : json_array());
    event(e, n->done, whole, out);
    event(e, n->part_done, place_with(e, n->part, "part", part_json(e, true)), out);
}

static void close_call(ig_emitter *e, ig_buf *out)
{
    const ig_call *call = last_call(e);
    json_t *o = place_with(e, NULL, "name", json_incref(call->name));
    ig_put(&o, "arguments", ig_out_text(&call->args));
    event(e, "response.function_call_arguments.done", o, out);
}

static void close_item(ig_emitter *e, ig_buf *out)
{
    if (e->open == NONE) return;
    if (e->open == CALL)
        close_call(e, out);
    else
        close_text(e, out);
    json_t *item = open_item(e, true);
    event(e, "response.output_item.done", json_pack("{s:I, s:O*}", "output_index", output_index(e), "item", item), out);
    if (json_array_append_new(e->items, item) != 0) e->failed = true;
    e->open = NONE;
    e->piece.len = 0;
    json_decref(e->lp_open);
    e->lp_open = NULL;
}

static void start_item(ig_emitter *e, unsigned kind, ig_buf *out)
{
    e->open = kind;
    event(e, "response.output_item.added",
          json_pack("{s:I, s:o}", "output_index", output_index(e), "item", open_item(e, false)), out);
    if (kind == CALL) return;
    const text_names *n = names_of(e);
    event(e, n->added, place_with(e, n->part, "part", part_json(e, false)), out);
}

/* ------------------------------------------------------------------------------------------------ events */

static void begin(ig_emitter *e, ig_buf *out)
{
    event(e, "response.created", json_pack("{s:o}", "response", response(e, "in_progress", NULL)), out);
    event(e, "response.in_progress", json_pack("{s:o}", "response", response(e, "in_progress", NULL)), out);
}

/* The newest call has been added to the choice already, so the open item is closed before its arguments are read. */
static void tool_delta(ig_emitter *e, const json_t *body, ig_buf *out)
{
    ig_choice *c = &e->choices[0];
    json_t *args = json_object_get(body, "args");
    if (ig_call_index(c, body) + 1 != c->n_calls || c->n_calls == 0) return; /* its item is closed */
    if (json_object_get(body, "name")) {
        c->n_calls--;
        close_item(e, out);
        c->n_calls++;
        start_item(e, CALL, out);
    }
    if (e->open == CALL && json_string_length(args))
        event(e, "response.function_call_arguments.delta", place_with(e, NULL, "delta", json_incref(args)), out);
}

static void text_delta(ig_emitter *e, unsigned kind, json_t *text, const json_t *lp, ig_buf *out)
{
    if (e->open != kind) {
        close_item(e, out);
        start_item(e, kind, out);
    }
    if (!ig_buf_add(&e->piece, json_string_value(text), json_string_length(text))) e->failed = true;
    const text_names *n = names_of(e);
    json_t *o = place_with(e, n->part, "delta", json_incref(text));
    if (kind == MESSAGE) {
        json_t *list = lp ? ig_out_logprobs(lp, false) : json_array();
        ig_put(&o, "logprobs", json_incref(list));
        if (lp && !e->lp_open) e->lp_open = json_array();
        if (lp && json_array_extend(e->lp_open, list) != 0) e->failed = true;
        json_decref(list);
    }
    event(e, n->delta, o, out);
}

static void delta(ig_emitter *e, size_t choice, const json_t *body, ig_buf *out)
{
    const char *kind = json_string_value(json_object_get(body, "k"));
    json_t *text = json_object_get(body, "t");
    (void)choice;
    if (kind && !strcmp(kind, "tool"))
        tool_delta(e, body, out);
    else if (json_string_length(text))
        text_delta(e, kind && !strcmp(kind, "reasoning") ? REASONING : MESSAGE, text, json_object_get(body, "lp"), out);
}

static void done(ig_emitter *e, size_t choice, ig_buf *out)
{
    (void)choice;
    close_item(e, out);
}

static void end(ig_emitter *e, ig_buf *out)
{
    const bool cut = incomplete(e);
    event(e, cut ? "response.incomplete" : "response.completed",
          json_pack("{s:o}", "response", response(e, cut ? "incomplete" : "completed", NULL)), out);
}

static void whole(ig_emitter *e, ig_buf *out)
{
    ig_out_json(e, response(e, incomplete(e) ? "incomplete" : "completed", NULL), out);
}

static void problem(ig_emitter *e, const ig_problem *p, ig_buf *out)
{
    json_t *full = ig_openai_error(p), *code = json_object_get(full, "code");
    if (!e->begun) begin(e, out);
    e->begun = true;
    if (!json_is_string(code)) code = json_object_get(full, "type");
    json_t *error = json_pack("{s:O, s:s}", "code", code, "message", p->message);
    json_decref(full);
    event(e, "response.failed", json_pack("{s:o}", "response", response(e, "failed", error)), out);
}

const ig_emit_ops ig_responses_ops = {.stream_type = "text/event-stream",
                                      .always = true,
                                      .begin = begin,
                                      .delta = delta,
                                      .done = done,
                                      .end = end,
                                      .whole = whole,
                                      .ping = ig_sse_comment,
                                      .problem = problem};

/* ------------------------------------------------------------------------------------------------ counting */

static void count_whole(ig_emitter *e, ig_buf *out)
{
    if (!ig_emit_counted(e, out)) return;
    ig_usage u = ig_emit_usage(e);
    ig_out_json(e,
                json_pack("{s:s, s:I, s:o}", "object", "response.input_tokens", "input_tokens", (json_int_t)u.prompt,
                          "ingle", ig_out_ingle(e, NULL)),
                out);
}

const ig_emit_ops ig_input_tokens_ops = {.whole = count_whole};
