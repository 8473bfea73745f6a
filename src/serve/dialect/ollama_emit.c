/* Answers of the Ollama dialect: one JSON object a line, durations in nanoseconds. */
#include <string.h>

#include "serve/dialect/emit.h"

static json_t *head(const ig_emitter *e)
{
    char time[40];
    return json_pack("{s:s, s:s}", "model", e->ctx->model, "created_at", ig_time_text(e->now_ns, time));
}

static bool is_chat(const ig_emitter *e) { return e->ops == &ig_ollama_chat_ops; }

/* Puts text where the route has it; takes all three. */
static void set_text(const ig_emitter *e, json_t **o, json_t *text, json_t *thinking, json_t *calls)
{
    if (is_chat(e)) {
        json_t *m = json_pack("{s:s, s:o, s:o*, s:o*}", "role", "assistant", "content", text, "thinking", thinking,
                              "tool_calls", calls);
        ig_put(o, "message", m);
        return;
    }
    ig_put(o, "response", text);
    if (thinking) ig_put(o, "thinking", thinking);
    json_decref(calls);
}

static void line(ig_emitter *e, json_t *text, json_t *thinking, json_t *calls, const json_t *lp, ig_buf *out)
{
    json_t *o = head(e);
    set_text(e, &o, text, thinking, calls);
    ig_put(&o, "done", json_false());
    if (lp) ig_put(&o, "logprobs", ig_out_logprobs(lp, false));
    ig_out_line(e, o, out);
}

/* A whole call; NULL where its arguments are no object, because the answer broke off inside. */
static json_t *call_json(ig_emitter *e, const ig_call *call, size_t index)
{
    json_t *arguments = ig_call_object(e, call);
    if (!arguments) return NULL;
    return json_pack("{s:O, s:{s:I, s:O, s:o}}", "id", call->id, "function", "index", (json_int_t)index, "name",
                     call->name, "arguments", arguments);
}

/* Sends the calls that are complete; a broken one goes out as text, so that nothing is lost and nothing half is run. */
static void flush_calls(ig_emitter *e, ig_choice *c, bool all, ig_buf *out)
{
    for (size_t i = 0; i < c->n_calls; i++) {
        ig_call *call = &c->calls[i];
        if (call->sent || (!all && i + 1 == c->n_calls)) continue;
        call->sent = true;
        json_t *one = call_json(e, call, i);
        if (one)
            line(e, json_string(""), NULL, json_pack("[o]", one), NULL, out);
        else
            line(e, ig_out_text(&call->args), NULL, NULL, NULL, out);
    }
}

static void ollama_delta(ig_emitter *e, size_t choice, const json_t *body, ig_buf *out)
{
    ig_choice *c = &e->choices[choice];
    const char *kind = json_string_value(json_object_get(body, "k"));
    json_t *text = json_object_get(body, "t");
    const bool tool = kind && !strcmp(kind, "tool");
    flush_calls(e, c, !tool, out);
    if (tool || !json_is_string(text)) return;
    if (kind && !strcmp(kind, "reasoning"))
        line(e, json_string(""), json_incref(text), NULL, NULL, out);
    else
        line(e, json_incref(text), NULL, NULL, json_object_get(body, "lp"), out);
}

static json_int_t ns_of_ms(double ms) { return ms < 9e12 ? (json_int_t)(ms * 1e6) : 0; }

static json_int_t total_ns(const ig_emitter *e)
{
    return e->now_ns > e->ctx->created_ns ? (json_int_t)(e->now_ns - e->ctx->created_ns) : 0;
}

/* done, done_reason and the metrics. */
static void set_end(ig_emitter *e, json_t **o, const char *reason, bool metrics)
{
    ig_usage u = ig_emit_usage(e);
    json_t *end = json_pack("{s:b, s:s}", "done", 1, "done_reason", reason);
    if (metrics) {
        json_t *context = e->n_choices ? e->choices[0].context : NULL;
        if (!is_chat(e)) ig_put(&end, "context", context ? json_incref(context) : json_array());
        json_t *more = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "total_duration", total_ns(e), "load_duration",
                                 (json_int_t)e->ctx->load_ns, "prompt_eval_count", (json_int_t)u.prompt,
                                 "prompt_eval_duration", ns_of_ms(u.prompt_ms), "eval_count", (json_int_t)u.completion,
                                 "eval_duration", ns_of_ms(u.generate_ms));
        ig_merge(&end, more);
    }
    ig_put(&end, "ingle", ig_out_ingle(e, metrics ? &u : NULL));
    ig_merge(o, end);
}

static const char *done_reason(const ig_choice *c) { return !strcmp(c->finish, "length") ? "length" : "stop"; }

static void ollama_done(ig_emitter *e, size_t choice, ig_buf *out)
{
    ig_choice *c = &e->choices[choice];
    flush_calls(e, c, true, out);
    json_t *o = head(e);
    set_text(e, &o, json_string(""), NULL, NULL);
    set_end(e, &o, done_reason(c), true);
    ig_out_line(e, o, out);
}

static void whole_answer(ig_emitter *e, ig_choice *c, json_t **o)
{
    json_t *calls = c->n_calls ? json_array() : NULL;
    for (size_t i = 0; i < c->n_calls; i++) {
        json_t *one = call_json(e, &c->calls[i], i);
        if (one)
            ig_append(&calls, one);
        else if (!ig_buf_add(&c->text, c->calls[i].args.ptr, c->calls[i].args.len))
            e->failed = true;
    }
    if (calls && json_array_size(calls) == 0) {
        json_decref(calls);
        calls = NULL;
    }
    set_text(e, o, ig_out_text(&c->text), c->reasoning.len ? ig_out_text(&c->reasoning) : NULL, calls);
    set_end(e, o, done_reason(c), true);
    if (c->logprobs) ig_put(o, "logprobs", ig_out_logprobs(c->logprobs, false));
}

/* Also the one line of a request that only loads or unloads. */
static void ollama_whole(ig_emitter *e, ig_buf *out)
{
    json_t *o = head(e);
    if (e->n_choices) {
        whole_answer(e, &e->choices[0], &o);
    } else {
        set_text(e, &o, json_string(""), NULL, NULL);
        set_end(e, &o, e->req->op == IG_OP_UNLOAD ? "unload" : "load", false);
    }
    ig_out_json(e, o, out);
    if (e->req->stream) (void)ig_buf_add(out, "\n", 1);
}

/* There are no comments in this format: an empty piece keeps the connection alive. */
static void ollama_ping(ig_emitter *e, ig_buf *out) { line(e, json_string(""), NULL, NULL, NULL, out); }

static void ollama_problem(ig_emitter *e, const ig_problem *p, ig_buf *out)
{
    ig_out_line(e, json_pack("{s:s}", "error", p->message), out);
}

const ig_emit_ops ig_ollama_chat_ops = {.stream_type = "application/x-ndjson",
                                        .delta = ollama_delta,
                                        .done = ollama_done,
                                        .whole = ollama_whole,
                                        .ping = ollama_ping,
                                        .problem = ollama_problem};
const ig_emit_ops ig_ollama_generate_ops = {.stream_type = "application/x-ndjson",
                                            .delta = ollama_delta,
                                            .done = ollama_done,
                                            .whole = ollama_whole,
                                            .ping = ollama_ping,
                                            .problem = ollama_problem};
const ig_emit_ops ig_ollama_status_ops = {
    .stream_type = "application/x-ndjson", .raw = true, .problem = ollama_problem};

/* ------------------------------------------------------------------------------------------------ embeddings */

static void embed_whole(ig_emitter *e, ig_buf *out)
{
    ig_usage u = ig_emit_usage(e);
    const json_t *rows = json_object_get(e->result, "embeddings");
    if (!ig_emit_fits(e, out)) return;
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(rows); i++)
        ig_append(&list, ig_out_embedding(json_array_get(rows, i), e->req->n_dimensions));
    ig_out_json(e,
                json_pack("{s:s, s:o, s:I, s:I, s:I, s:o}", "model", e->ctx->model, "embeddings", list,
                          "total_duration", total_ns(e), "load_duration", (json_int_t)e->ctx->load_ns,
                          "prompt_eval_count", (json_int_t)u.prompt, "ingle", ig_out_ingle(e, &u)),
                out);
}

static void embedding_whole(ig_emitter *e, ig_buf *out)
{
    json_t *row = json_array_get(json_object_get(e->result, "embeddings"), 0);
    json_t *list = row ? json_incref(row) : json_array();
    ig_out_json(e, json_pack("{s:o, s:o}", "embedding", list, "ingle", ig_out_ingle(e, NULL)), out);
}

const ig_emit_ops ig_ollama_embed_ops = {.whole = embed_whole};
const ig_emit_ops ig_ollama_embedding_ops = {.whole = embedding_whole};
