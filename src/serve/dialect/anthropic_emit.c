/* Answers of the Anthropic dialect. In a stream e->sequence is the index of the next block, e->open the kind of the
 * open one. */
#include <stdio.h>
#include <string.h>

#include "serve/dialect/emit.h"

enum { NONE, THINKING, TEXT, TOOL };

/* Thoughts come back with it and need no proof here. */
static json_t *signature(const ig_emitter *e) { return ig_out_id(e, "sig_"); }

static json_t *usage_json(const ig_usage *u)
{
    const uint64_t fresh = u->prompt > u->cached ? u->prompt - u->cached : 0;
    return json_pack("{s:I, s:I, s:I, s:I, s:n, s:n, s:n, s:n, s:n, s:n}", "input_tokens", (json_int_t)fresh,
                     "cache_creation_input_tokens", (json_int_t)0, "cache_read_input_tokens", (json_int_t)u->cached,
                     "output_tokens", (json_int_t)u->completion, "cache_creation", "output_tokens_details",
                     "server_tool_use", "service_tier", "speed", "inference_geo");
}

/* Takes content; reason NULL: not known yet. */
static json_t *message(const ig_emitter *e, json_t *content, const char *reason, json_t *stop, const ig_usage *u)
{
    return json_pack("{s:o, s:s, s:s, s:s, s:o, s:s?, s:O?, s:n, s:n, s:n, s:o}", "id", ig_out_id(e, "msg_"), "type",
                     "message", "role", "assistant", "model", e->ctx->model, "content", content, "stop_reason", reason,
                     "stop_sequence", stop, "container", "stop_details", "diagnostics", "usage", usage_json(u));
}

static const char *stop_reason(const ig_emitter *e, const ig_choice *c)
{
    const bool full = e->ctx->n_ctx && c->n_prompt + c->n_completion >= e->ctx->n_ctx;
    if (!strcmp(c->finish, "length")) return full ? "model_context_window_exceeded" : "max_tokens";
    if (c->n_calls) return "tool_use";
    return c->stop ? "stop_sequence" : "end_turn";
}

static json_t *call_id(const ig_call *call) { return json_sprintf("toolu_%s", json_string_value(call->id)); }

/* ------------------------------------------------------------------------------------------------ whole */

static void whole_calls(ig_emitter *e, const ig_choice *c, json_t *content)
{
    for (size_t i = 0; i < c->n_calls; i++) {
        json_t *input = ig_call_object(e, &c->calls[i]), *one;
        if (input) /* else the answer broke off inside: nothing half is run, nothing is lost */
            one = json_pack("{s:s, s:o, s:O, s:o}", "type", "tool_use", "id", call_id(&c->calls[i]), "name",
                            c->calls[i].name, "input", input);
        else
            one = json_pack("{s:s, s:o, s:n}", "type", "text", "text", ig_out_text(&c->calls[i].args), "citations");
        if (json_array_append_new(content, one) != 0) e->failed = true;
    }
}

static void whole(ig_emitter *e, ig_buf *out)
{
    const ig_choice *c = &e->choices[0];
    ig_usage u = ig_emit_usage(e);
    json_t *content = json_array();
    if (c->reasoning.len)
        ig_append(&content, json_pack("{s:s, s:o, s:o}", "type", "thinking", "thinking", ig_out_text(&c->reasoning),
                                      "signature", signature(e)));
    if (c->text.len)
        ig_append(&content, json_pack("{s:s, s:o, s:n}", "type", "text", "text", ig_out_text(&c->text), "citations"));
    whole_calls(e, c, content);
    json_t *o = message(e, content, stop_reason(e, c), c->stop, &u);
    ig_put(&o, "ingle", ig_out_ingle(e, &u));
    ig_out_json(e, o, out);
}

/* ------------------------------------------------------------------------------------------------ stream */

/* The event repeats its name as "type"; takes more. */
static void event(ig_emitter *e, const char *name, json_t *more, ig_buf *out)
{
    json_t *o = json_pack("{s:s}", "type", name);
    if (!o || !more || json_object_update(o, more) != 0) e->failed = true;
    json_decref(more);
    ig_out_sse(e, name, o, out);
}

static void begin(ig_emitter *e, ig_buf *out)
{
    ig_usage u = {.prompt = e->progress_total, .cached = e->progress_cached};
    event(e, "message_start", json_pack("{s:o}", "message", message(e, json_array(), NULL, NULL, &u)), out);
}

/* Takes delta. */
static void block_delta(ig_emitter *e, json_t *delta, ig_buf *out)
{
    event(e, "content_block_delta", json_pack("{s:I, s:o}", "index", (json_int_t)e->sequence, "delta", delta), out);
}

static void close_block(ig_emitter *e, ig_buf *out)
{
    if (e->open == NONE) return;
    if (e->open == THINKING)
        block_delta(e, json_pack("{s:s, s:o}", "type", "signature_delta", "signature", signature(e)), out);
    event(e, "content_block_stop", json_pack("{s:I}", "index", (json_int_t)e->sequence), out);
    e->open = NONE;
    e->sequence++;
}

/* Takes block. */
static void open_block(ig_emitter *e, unsigned kind, json_t *block, ig_buf *out)
{
    close_block(e, out);
    e->open = kind;
    event(e, "content_block_start", json_pack("{s:I, s:o}", "index", (json_int_t)e->sequence, "content_block", block),
          out);
}

static void tool_delta(ig_emitter *e, const ig_choice *c, const json_t *body, ig_buf *out)
{
    const size_t at = ig_call_index(c, body);
    json_t *args = json_object_get(body, "args");
    if (at >= c->n_calls || at + 1 != c->n_calls) return; /* its block is closed */
    const ig_call *call = &c->calls[at];
    if (json_object_get(body, "name"))
        open_block(
            e, TOOL,
            json_pack("{s:s, s:o, s:O, s:{}}", "type", "tool_use", "id", call_id(call), "name", call->name, "input"),
            out);
    if (e->open == TOOL && json_string_length(args))
        block_delta(e, json_pack("{s:s, s:O}", "type", "input_json_delta", "partial_json", args), out);
}

static void delta(ig_emitter *e, size_t choice, const json_t *body, ig_buf *out)
{
    const char *kind = json_string_value(json_object_get(body, "k"));
    json_t *text = json_object_get(body, "t");
    if (kind && !strcmp(kind, "tool")) {
        tool_delta(e, &e->choices[choice], body, out);
        return;
    }
    if (!json_string_length(text)) return;
    if (kind && !strcmp(kind, "reasoning")) {
        if (e->open != THINKING)
            open_block(e, THINKING, json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", ""),
                       out);
        block_delta(e, json_pack("{s:s, s:O}", "type", "thinking_delta", "thinking", text), out);
        return;
    }
    if (e->open != TEXT)
        open_block(e, TEXT, json_pack("{s:s, s:s, s:n}", "type", "text", "text", "", "citations"), out);
    block_delta(e, json_pack("{s:s, s:O}", "type", "text_delta", "text", text), out);
}

static void done(ig_emitter *e, size_t choice, ig_buf *out)
{
    const ig_choice *c = &e->choices[choice];
    ig_usage u = ig_emit_usage(e);
    close_block(e, out);
    json_t *change = json_pack("{s:s, s:O?}", "stop_reason", stop_reason(e, c), "stop_sequence", c->stop);
    event(e, "message_delta",
          json_pack("{s:o, s:o, s:o}", "delta", change, "usage", usage_json(&u), "ingle", ig_out_ingle(e, &u)), out);
}

static void end(ig_emitter *e, ig_buf *out) { event(e, "message_stop", json_object(), out); }

/* A client that sees a ping before the message begins may be confused by it. */
static void ping(ig_emitter *e, ig_buf *out)
{
    if (!e->begun) begin(e, out);
    e->begun = true;
    event(e, "ping", json_object(), out);
}

static void problem(ig_emitter *e, const ig_problem *p, ig_buf *out)
{
    (void)ig_buf_printf(out, "event: error\ndata: ");
    ig_dialect_problem(IG_D_ANTHROPIC, p, NULL, out);
    (void)ig_buf_add(out, "\n\n", 2);
    if (out->failed) e->failed = true;
}

const ig_emit_ops ig_anthropic_ops = {.stream_type = "text/event-stream",
                                      .begin = begin,
                                      .delta = delta,
                                      .done = done,
                                      .end = end,
                                      .whole = whole,
                                      .ping = ping,
                                      .problem = problem};

/* ------------------------------------------------------------------------------------------------ counting */

static void count_whole(ig_emitter *e, ig_buf *out)
{
    if (!ig_emit_counted(e, out)) return;
    ig_usage u = ig_emit_usage(e);
    ig_out_json(
        e, json_pack("{s:I, s:o}", "input_tokens", (json_int_t)u.prompt, "ingle", ig_out_ingle(e, NULL)), out);
}

const ig_emit_ops ig_anthropic_count_ops = {.whole = count_whole};
