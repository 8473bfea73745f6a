/* Answers of the editor dialect, in llama-server's form. */
#include <stdio.h>
#include <string.h>

#include "serve/dialect/emit.h"

/* ------------------------------------------------------------------------------------------------ completion */

static const json_t *part_of(const ig_emitter *e, size_t choice)
{
    return json_array_get(e->req->parts, choice / e->req->n);
}

/* What runs where a request says nothing. */
static json_t *standard_settings(void)
{
    return json_pack("{s:i, s:f, s:i, s:f, s:f, s:i, s:f, s:f, s:f, s:i, s:[], s:b, s:b, s:b, s:i}", "n_predict", -1,
                     "temperature", 0.8, "top_k", 40, "top_p", 0.95, "min_p", 0.05, "repeat_last_n", 64,
                     "repeat_penalty", 1.0, "presence_penalty", 0.0, "frequency_penalty", 0.0, "seed", -1, "stop",
                     "ignore_eos", 0, "stream", 0, "return_tokens", 0, "n_probs", 0);
}

/* What runs, without the texts, under the names of the request. */
static json_t *settings(const ig_emitter *e, size_t choice)
{
    static const char *const texts[] = {"op", "prompt", "suffix", "messages", "kind", "user", "parse_special"};
    static const char *const names[][2] = {
        {"max_tokens", "n_predict"}, {"logprobs", "n_probs"}, {"return_ids", "return_tokens"}, {"n", "n_cmpl"}};
    json_t *o = standard_settings(), *own = json_copy((json_t *)part_of(e, choice));
    for (size_t i = 0; own && i < sizeof texts / sizeof *texts; i++) (void)json_object_del(own, texts[i]);
    for (size_t i = 0; own && i < sizeof names / sizeof *names; i++) {
        json_t *v = json_object_get(own, names[i][0]);
        if (v) ig_put(&own, names[i][1], json_incref(v));
        if (own) (void)json_object_del(own, names[i][0]);
    }
    ig_merge(&o, own);
    if (o) ig_put(&o, "stream", json_boolean(e->req->stream));
    if (o && e->choices[choice].has_seed) ig_put(&o, "seed", json_integer(e->choices[choice].seed));
    if (o) ig_put(&o, "n_ctx", json_integer((json_int_t)e->ctx->n_ctx));
    return o;
}

static const char *stop_type(const ig_choice *c)
{
    if (strcmp(c->finish, "stop") != 0) return "limit"; /* of tokens or of time */
    return c->stop ? "word" : "eos";
}

/* One choice as the sums of an emitter with no other. */
static ig_usage usage_of(const ig_choice *c)
{
    return (ig_usage){.prompt = c->n_prompt,
                      .cached = c->n_cached,
                      .completion = c->n_completion,
                      .reasoning = c->n_reasoning,
                      .dropped = c->n_dropped,
                      .shifted = c->n_shifted,
                      .queue_ms = c->queue_ms,
                      .prompt_ms = c->prompt_ms,
                      .generate_ms = c->generate_ms};
}

/* Value at "a/b/c"; NULL where there is none. */
static json_t *at_path(json_t *o, const char *path)
{
    char key[64];
    while (o && *path) {
        const size_t n = strcspn(path, "/");
        if (n >= sizeof key) return NULL;
        memcpy(key, path, n);
        key[n] = 0;
        o = json_object_get(o, key);
        path += n + (path[n] == '/');
        if (!*path) return o;
    }
    return NULL;
}

/* response_fields: only those, paths as flat keys; takes o. */
static json_t *chosen(const ig_emitter *e, json_t *o)
{
    const json_t *fields = json_object_get(e->req->echo, "response_fields");
    if (!json_array_size(fields)) return o;
    json_t *few = json_object();
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const char *path = json_string_value(json_array_get(fields, i));
        json_t *v = at_path(o, path);
        if (v) ig_put(&few, path, json_incref(v));
    }
    json_decref(o);
    return few;
}

/* The full object of a choice; stream: the text has gone out before. */
static json_t *full(ig_emitter *e, size_t choice, bool stream)
{
    ig_choice *c = &e->choices[choice];
    const ig_usage u = usage_of(c);
    json_t *prompt = json_object_get(part_of(e, choice), "prompt");
    const char *text = c->text.ptr ? c->text.ptr : "";
    json_t *o = json_pack(
        "{s:I, s:o, s:o, s:i, s:b, s:s, s:I, s:I, s:o, s:o, s:b, s:b, s:s, s:o, s:I, s:o}", "index", (json_int_t)choice,
        "content", stream ? json_string("") : ig_out_text(&c->text), "tokens",
        !stream && c->ids ? json_incref(c->ids) : json_array(), "id_slot", -1, "stop", 1, "model", e->ctx->model,
        "tokens_predicted", (json_int_t)u.completion, "tokens_evaluated", (json_int_t)u.prompt, "generation_settings",
        settings(e, choice), "prompt", json_is_string(prompt) ? json_incref(prompt) : json_string(""), "has_new_line",
        c->text.len && memchr(text, '\n', c->text.len) ? 1 : 0, "truncated", u.dropped || u.shifted ? 1 : 0,
        "stop_type", stop_type(c), "stopping_word", c->stop ? json_incref(c->stop) : json_string(""), "tokens_cached",
        (json_int_t)(u.prompt + u.completion), "timings", ig_out_timings(&u));
    if (o && c->logprobs && !stream) ig_put(&o, "completion_probabilities", ig_out_logprobs(c->logprobs, true));
    if (o) ig_put(&o, "ingle", ig_out_ingle(e, &u));
    return o ? chosen(e, o) : NULL;
}

static void completion_delta(ig_emitter *e, size_t choice, const json_t *body, ig_buf *out)
{
    json_t *text = json_object_get(body, "t"), *ids = json_object_get(body, "ids"), *lp = json_object_get(body, "lp");
    ig_choice *c = &e->choices[choice];
    if (!json_is_string(text)) return;
    if (!c->text.len && strchr(json_string_value(text), '\n')) (void)ig_buf_add(&c->text, "\n", 1); /* has_new_line */
    c->n_completion += ids ? json_array_size(ids) : 1;
    json_t *o = json_pack("{s:I, s:O, s:o, s:b, s:i, s:I, s:I}", "index", (json_int_t)choice, "content", text, "tokens",
                          ids ? json_incref(ids) : json_array(), "stop", 0, "id_slot", -1, "tokens_predicted",
                          (json_int_t)c->n_completion, "tokens_evaluated", (json_int_t)e->progress_total);
    if (o && lp) ig_put(&o, "completion_probabilities", ig_out_logprobs(lp, true));
    ig_out_sse(e, NULL, o, out);
}

static void completion_done(ig_emitter *e, size_t choice, ig_buf *out)
{
    ig_out_sse(e, NULL, full(e, choice, true), out);
}

static void completion_whole(ig_emitter *e, ig_buf *out)
{
    if (e->n_choices == 1) {
        ig_out_json(e, full(e, 0, false), out);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < e->n_choices; i++)
        if (json_array_append_new(list, full(e, i, false)) != 0) e->failed = true;
    ig_out_json(e, list, out);
}

static void completion_progress(ig_emitter *e, ig_buf *out)
{
    if (strcmp(e->phase, "prompt") != 0) return;
    ig_out_sse(e, NULL,
               json_pack("{s:i, s:s, s:[], s:b, s:{s:I, s:I, s:I}}", "index", 0, "content", "", "tokens", "stop", 0,
                         "prompt_progress", "total", (json_int_t)e->progress_total, "cache",
                         (json_int_t)e->progress_cached, "processed", (json_int_t)e->progress_done),
               out);
}

static void completion_problem(ig_emitter *e, const ig_problem *p, ig_buf *out)
{
    (void)ig_buf_printf(out, "data: ");
    ig_dialect_problem(IG_D_EDITOR, p, NULL, out);
    (void)ig_buf_add(out, "\n\n", 2);
    if (out->failed) e->failed = true;
}

const ig_emit_ops ig_completion_ops = {.stream_type = "text/event-stream",
                                       .keep_ids = true,
                                       .delta = completion_delta,
                                       .done = completion_done,
                                       .whole = completion_whole,
                                       .ping = ig_sse_comment,
                                       .progress = completion_progress,
                                       .problem = completion_problem};

/* ------------------------------------------------------------------------------------------------ queries */

/* What the worker found, under the name that clients read; "tokens" are {id, piece}, where pieces were asked for. */
static void result_whole(ig_emitter *e, ig_buf *out)
{
    static const char *const names[][2] = {
        {"prompt", "prompt"}, {"text", "content"}, {"bytes", "bytes"}, {"ids", "tokens"}, {"tokens", "tokens"}};
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *v = json_object_get(e->result, names[i][0]);
        if (v) ig_put(&o, names[i][1], json_incref(v));
    }
    ig_put(&o, "ingle", ig_out_ingle(e, NULL));
    ig_out_json(e, o, out);
}

const ig_emit_ops ig_editor_result_ops = {.whole = result_whole};

static json_t *result_or(const ig_emitter *e, const char *name, json_t *otherwise)
{
    json_t *v = json_object_get(e->result, name);
    if (!v) return otherwise;
    json_decref(otherwise);
    return json_incref(v);
}

static void props_whole(ig_emitter *e, ig_buf *out)
{
    static const char *const more[] = {"bos_token", "eos_token"};
    const int tools = json_is_true(json_object_get(e->result, "has_tools"));
    json_t *o =
        json_pack("{s:{s:o, s:o}, s:o, s:s, s:o, s:{s:b, s:b}, s:{s:b, s:b}, s:s?, s:b}", "default_generation_settings",
                  "n_ctx", result_or(e, "n_ctx", json_integer((json_int_t)e->ctx->n_ctx)), "params",
                  standard_settings(), "total_slots", result_or(e, "total_slots", json_integer(1)), "model_path",
                  e->ctx->model, "chat_template", result_or(e, "chat_template", json_string("")), "chat_template_caps",
                  "supports_tools", tools, "supports_tool_calls", tools, "modalities", "vision", 0, "audio", 0,
                  "build_info", e->ctx->version, "is_sleeping", 0);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        json_t *v = json_object_get(e->result, more[i]);
        if (v) ig_put(&o, more[i], json_incref(v));
    }
    ig_put(&o, "ingle", ig_out_ingle(e, NULL));
    ig_out_json(e, o, out);
}

const ig_emit_ops ig_editor_props_ops = {.whole = props_whole};

/* May the client see what runs in the slot? Its own work it may; all of it where the front has set "all_slots". */
static bool may_see(const ig_emitter *e, const json_t *slot)
{
    const char *owner = json_string_value(json_object_get(slot, "user"));
    const char *client = json_string_value(json_object_get(json_array_get(e->req->parts, 0), "user"));
    if (json_is_true(json_object_get(e->req->echo, "all_slots"))) return true;
    return owner && client && !strcmp(owner, client);
}

/* The worker's {id, state, n_ctx, request, n_prompt, cached, generated, user} in llama-server's form. */
static json_t *slot_json(const ig_emitter *e, const json_t *slot, size_t id, bool busy)
{
    json_t *model = json_object_get(slot, "model"), *n_ctx = json_object_get(slot, "n_ctx");
    json_t *request = json_object_get(slot, "request"), *decoded = json_object_get(slot, "generated");
    json_t *o = json_pack("{s:I, s:O*, s:O?, s:b}", "id", (json_int_t)id, "model", model, "n_ctx", n_ctx,
                          "is_processing", busy);
    if (!busy || !may_see(e, slot)) return o;
    static const char *const more[] = {"state", "user", "n_prompt", "cached"};
    ig_put(&o, "id_task", request ? json_incref(request) : json_integer(-1));
    ig_put(&o, "params", json_object());
    ig_put(&o, "next_token", json_pack("{s:b, s:i, s:O?}", "has_next_token", 1, "n_remain", -1, "n_decoded", decoded));
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        json_t *v = json_object_get(slot, more[i]);
        if (v) ig_put(&o, more[i], json_incref(v));
    }
    return o;
}

/* A balancer may ask for an error where nothing is free. */
static void slots_whole(ig_emitter *e, ig_buf *out)
{
    const json_t *slots = json_object_get(e->result, "slots");
    json_t *list = json_array();
    bool any_idle = false;
    ig_problem p;
    for (size_t i = 0; i < json_array_size(slots); i++) {
        const json_t *slot = json_array_get(slots, i);
        const char *state = json_string_value(json_object_get(slot, "state"));
        const bool idle = !state || !strcmp(state, "idle");
        any_idle = any_idle || idle;
        ig_append(&list, slot_json(e, slot, i, !idle));
    }
    if (!any_idle && json_object_get(e->req->echo, "fail_on_no_slot")) {
        json_decref(list);
        ig_problem_set(&p, IG_P_UNAVAILABLE, NULL, "no slot available");
        ig_emit_problem(e, &p, e->now_ns, out);
        return;
    }
    ig_out_json(e, list, out);
}

const ig_emit_ops ig_editor_slots_ops = {.whole = slots_whole};
