/* The emitter: keeps what the worker told, calls the dialect's writers in the right order, and decides the head. */
#include "serve/dialect/emit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "serve/dialect/read.h"

/* ------------------------------------------------------------------------------------------------ life */

ig_emitter *ig_emit_new(const ig_request *req, const ig_emit_context *context)
{
    const size_t n_parts = json_array_size(req->parts);
    ig_emitter *e = ig_calloc(1, sizeof *e);
    if (!e) return NULL;
    *e =
        (ig_emitter){.req = req, .ctx = context, .ops = req->route->emit, .now_ns = context->created_ns, .status = 200};
    ig_buf_init(&e->piece, IG_ANSWER_BYTES_MAX);
    e->items = json_array();
    e->n_choices = req->op == IG_OP_GENERATE ? n_parts * req->n : 0;
    e->n_open = e->n_choices;
    if (e->n_choices) e->choices = ig_calloc(e->n_choices, sizeof *e->choices);
    if (!e->items || (e->n_choices && !e->choices)) {
        ig_emit_free(e);
        return NULL;
    }
    for (size_t i = 0; i < e->n_choices; i++) {
        ig_buf_init(&e->choices[i].text, IG_ANSWER_BYTES_MAX);
        ig_buf_init(&e->choices[i].reasoning, IG_ANSWER_BYTES_MAX);
    }
    return e;
}

static void choice_free(ig_choice *c)
{
    for (size_t i = 0; i < c->n_calls; i++) {
        json_decref(c->calls[i].id);
        json_decref(c->calls[i].name);
        ig_buf_fini(&c->calls[i].args);
    }
    ig_free(c->calls);
    ig_buf_fini(&c->text);
    ig_buf_fini(&c->reasoning);
    json_decref(c->logprobs);
    json_decref(c->stop);
    json_decref(c->flag);
    json_decref(c->relaxed);
    json_decref(c->unused);
    json_decref(c->ids);
    json_decref(c->context);
}

void ig_emit_free(ig_emitter *e)
{
    if (!e) return;
    for (size_t i = 0; e->choices && i < e->n_choices; i++) choice_free(&e->choices[i]);
    ig_free(e->choices);
    json_decref(e->result);
    json_decref(e->items);
    json_decref(e->lp_open);
    ig_buf_fini(&e->piece);
    ig_free(e);
}

/* ------------------------------------------------------------------------------------------------ what the worker told
 */

static bool streams(const ig_emitter *e) { return e->req->stream && e->ops && e->ops->stream_type; }

static void keep(ig_emitter *e, ig_buf *buf, const json_t *text)
{
    if (json_is_string(text) && !ig_buf_add(buf, json_string_value(text), json_string_length(text))) e->failed = true;
}

static void append_all(ig_emitter *e, json_t **list, json_t *more)
{
    if (!json_is_array(more) || json_array_size(more) == 0) return;
    if (!*list) *list = json_array();
    if (json_array_extend(*list, more) != 0) e->failed = true;
}

static void start_call(ig_emitter *e, ig_choice *c, const json_t *body)
{
    json_t *id = json_object_get(body, "id"), *name = json_object_get(body, "name");
    ig_call *calls = c->n_calls < IG_CALLS_MAX ? ig_realloc(c->calls, c->n_calls + 1, sizeof *calls) : NULL;
    if (!calls) {
        e->failed = true;
        return;
    }
    c->calls = calls;
    ig_call *call = &calls[c->n_calls];
    *call = (ig_call){.id = json_is_string(id) ? json_incref(id) : json_sprintf("call_%zu", c->n_calls),
                      .name = json_is_string(name) ? json_incref(name) : json_string("")};
    ig_buf_init(&call->args, IG_ANSWER_BYTES_MAX);
    c->n_calls++;
    if (!call->id || !call->name) e->failed = true;
}

size_t ig_call_index(const ig_choice *c, const json_t *body)
{
    const json_t *i = json_object_get(body, "i");
    const json_int_t at = json_integer_value(i);
    if (json_object_get(body, "name") || !json_is_integer(i) || at < 0 || (uint64_t)at >= c->n_calls)
        return c->n_calls ? c->n_calls - 1 : SIZE_MAX;
    return (size_t)at;
}

/* Keeps the part of a DELTA that is needed later. */
static void keep_delta(ig_emitter *e, ig_choice *c, const json_t *body)
{
    const char *kind = json_string_value(json_object_get(body, "k"));
    json_t *text = json_object_get(body, "t");
    const bool keeps = !streams(e) && !e->ops->always;
    if (kind && !strcmp(kind, "tool")) {
        if (json_object_get(body, "name")) start_call(e, c, body);
        const size_t at = ig_call_index(c, body);
        if (at < c->n_calls && json_object_get(body, "args"))
            keep(e, &c->calls[at].args, json_object_get(body, "args"));
        return;
    }
    if (e->ops->keep_ids && keeps) append_all(e, &c->ids, json_object_get(body, "ids"));
    if (!keeps) return;
    const bool reasoning = kind && !strcmp(kind, "reasoning");
    keep(e, reasoning ? &c->reasoning : &c->text, text);
    if (!reasoning) append_all(e, &c->logprobs, json_object_get(body, "lp"));
}

static uint64_t count_of(const json_t *object, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(object, name));
    return n > 0 ? (uint64_t)n : 0;
}

static double ms_of(const json_t *object, const char *name)
{
    double ms = json_number_value(json_object_get(object, name));
    return ms > 0 ? ms : 0;
}

static void keep_done(ig_choice *c, const json_t *body)
{
    static const char *const finishes[] = {"stop", "length", "tool_calls", "cancelled"};
    const char *finish = json_string_value(json_object_get(body, "finish"));
    json_t *usage = json_object_get(body, "usage"), *timings = json_object_get(body, "timings");
    json_t *stop = json_object_get(body, "stop"), *flag = json_object_get(body, "flag");
    c->finish = "stop";
    for (size_t i = 0; finish && i < sizeof finishes / sizeof *finishes; i++)
        if (!strcmp(finish, finishes[i])) c->finish = finishes[i];
    c->stop = json_is_string(stop) ? json_incref(stop) : NULL;
    c->flag = json_is_string(flag) ? json_incref(flag) : NULL;
    c->relaxed = json_incref(json_object_get(body, "relaxed"));
    c->unused = json_incref(json_object_get(body, "unused"));
    c->context = json_incref(json_object_get(body, "context"));
    c->n_prompt = count_of(usage, "prompt");
    c->n_cached = count_of(usage, "cached");
    c->n_completion = count_of(usage, "completion");
    c->n_reasoning = count_of(usage, "reasoning");
    c->n_drafted = count_of(usage, "drafted");
    c->n_accepted = count_of(usage, "accepted");
    c->n_dropped = count_of(usage, "dropped");
    c->n_shifted = count_of(usage, "shifted");
    const json_t *seed = json_object_get(body, "seed");
    c->has_seed = json_is_integer(seed);
    c->seed = json_integer_value(seed);
    c->queue_ms = ms_of(timings, "queue_ms");
    c->prompt_ms = ms_of(timings, "prompt_ms");
    c->generate_ms = ms_of(timings, "generate_ms");
    c->done = true;
}

static void keep_progress(ig_emitter *e, const json_t *body)
{
    const char *phase = json_string_value(json_object_get(body, "phase"));
    (void)snprintf(e->phase, sizeof e->phase, "%s", phase ? phase : "");
    e->progress_done = count_of(body, "done");
    e->progress_total = count_of(body, "total");
    e->progress_cached = count_of(body, "cached");
    if (!strcmp(e->phase, "queue")) {
        e->progress_done = count_of(body, "position");
        e->progress_total = count_of(body, "depth");
    }
    if (!strcmp(e->phase, "load")) {
        double share = json_number_value(json_object_get(body, "share"));
        e->progress_done = share > 0 && share <= 1 ? (uint64_t)(share * 100) : 0;
        e->progress_total = 100;
    }
}

/* ------------------------------------------------------------------------------------------------ order of writing */

static void begin(ig_emitter *e, ig_buf *out)
{
    if (e->begun) return;
    e->begun = true;
    if (e->ops->begin) e->ops->begin(e, out);
}

static void finish(ig_emitter *e, ig_buf *out)
{
    if (streams(e)) {
        if (e->ops->end) e->ops->end(e, out);
    } else if (e->ops->whole) {
        e->ops->whole(e, out);
    }
    e->ended = true;
}

static ig_choice *find_choice(ig_emitter *e, size_t part, const json_t *body, size_t *index)
{
    json_int_t c = json_integer_value(json_object_get(body, "c"));
    if (c < 0 || (uint64_t)c >= e->req->n || part >= json_array_size(e->req->parts)) return NULL;
    *index = part * e->req->n + (size_t)c;
    return *index < e->n_choices && !e->choices[*index].done ? &e->choices[*index] : NULL;
}

static void on_delta(ig_emitter *e, size_t part, const json_t *body, ig_buf *out)
{
    size_t index;
    ig_choice *c = find_choice(e, part, body, &index);
    if (!c) return;
    e->answers = true;
    keep_delta(e, c, body);
    if (!streams(e) && !e->ops->always) return;
    begin(e, out);
    if (e->ops->delta) e->ops->delta(e, index, body, out);
}

static void on_done(ig_emitter *e, size_t part, const json_t *body, ig_buf *out)
{
    size_t index;
    ig_choice *c = find_choice(e, part, body, &index);
    if (!c) return;
    keep_done(c, body);
    if (e->n_open) e->n_open--;
    if (streams(e) || e->ops->always) {
        begin(e, out);
        if (e->ops->done) e->ops->done(e, index, out);
    }
    if (e->n_open == 0) finish(e, out);
}

/* Status lines of a pull and its like. */
static void on_raw(ig_emitter *e, bool last, const json_t *body, ig_buf *out)
{
    if (!body || (!last && !streams(e))) return;
    ig_out_json(e, json_incref((json_t *)body), out);
    if (streams(e)) (void)ig_buf_add(out, "\n", 1);
    e->ended = last;
}

void ig_emit_problem(ig_emitter *e, const ig_problem *p, uint64_t now_ns, ig_buf *out)
{
    if (e->ended) return;
    e->now_ns = now_ns;
    if (streams(e) && e->head_out && e->ops->problem) {
        e->ops->problem(e, p, out);
    } else {
        e->status = ig_problem_status(p, e->req->route->dialect);
        e->problem_type = "application/json";
        ig_dialect_problem(e->req->route->dialect, p, e->ctx->id, out);
    }
    e->ended = true;
}

/* Slots of several workers: one list in the end. True where more is to come. */
static bool gather(ig_emitter *e, const json_t *body)
{
    json_t *have = json_object_get(e->result, "slots"), *more = json_object_get(body, "slots");
    if (have && (!more || json_array_extend(have, more) != 0)) e->failed = more != NULL;
    if (!e->result) e->result = body ? json_deep_copy(body) : json_object();
    return ++e->n_results < json_array_size(e->req->parts);
}

static void on_result(ig_emitter *e, size_t part, json_t *body, ig_buf *out)
{
    ig_problem p;
    size_t i;
    json_t *slot, *model = json_object_get(json_array_get(e->req->parts, part), "model");
    if (e->n_choices) {
        ig_problem_set(&p, IG_P_INTERNAL, NULL, "the worker answered out of turn; send the request again");
        ig_emit_problem(e, &p, e->now_ns, out);
        return;
    }
    if (e->ops == &ig_editor_slots_ops) {
        json_array_foreach(json_object_get(body, "slots"), i, slot) if (model) json_object_set(slot, "model", model);
        if (gather(e, body)) return;
    } else {
        json_decref(e->result);
        e->result = body ? json_incref(body) : json_object();
    }
    if (e->ops->whole) e->ops->whole(e, out);
    e->ended = true;
}

/* What the worker calls a field, and what the client does; "": on every other route. */
static const struct {
    const char *path, *ours, *theirs;
} field_names[] = {
    {"/api/embeddings", "inputs", "prompt"},
    {"", "inputs", "input"},
    {"", "ids", "tokens"},
    {"/tokenize", "text", "content"},
    {"/detokenize", "skip_special", "skip_special_tokens"},
    {"/detokenize", "bytes", "with_bytes"},
    {"", "op", "model"},
    {"/v1/messages", "json_schema", "output_config.format"},
    {"/v1/messages", "reasoning", "thinking"},
    {"/v1/messages", "stop", "stop_sequences"},
    {"/v1/responses", "json_schema", "text.format"},
    {"/responses", "json_schema", "text.format"},
    {"/v1/responses", "messages", "input"},
    {"/responses", "messages", "input"},
    {"/v1/responses/input_tokens", "messages", "input"},
    {"/infill", "prompt", "input_prefix"},
    {"/v1/infill", "prompt", "input_prefix"},
    {"/v1/responses", "reasoning", "reasoning"},
    {"/responses", "reasoning", "reasoning"},
    {"/v1/chat/completions", "json_schema", "response_format"},
    {"/chat/completions", "json_schema", "response_format"},
    {"/api/chat", "json_schema", "format"},
    {"/api/generate", "json_schema", "format"},
    {"/api/chat", "reasoning", "think"},
    {"/api/generate", "reasoning", "think"},
    {"", "reasoning", "reasoning_effort"},
    {"/v1/messages", "reasoning_effort", "output_config.effort"},
    {"/v1/responses", "reasoning_effort", "reasoning.effort"},
    {"/responses", "reasoning_effort", "reasoning.effort"},
    {"/api/chat", "reasoning_effort", "think (how much)"},
    {"/api/generate", "reasoning_effort", "think (how much)"},
    {"", "reasoning_effort", "reasoning_effort"},
};

static const char *their_name(const char *path, const char *ours)
{
    for (size_t i = 0; i < sizeof field_names / sizeof *field_names; i++)
        if (!strcmp(field_names[i].ours, ours) && (!*field_names[i].path || !strcmp(field_names[i].path, path)))
            return field_names[i].theirs;
    return ours;
}

/* Puts the client's name of the field into the sentence, where ours stands in quotes. */
static void rename_field(ig_problem *p, const char *theirs)
{
    char quoted[sizeof p->param + 3], text[sizeof p->message];
    (void)snprintf(quoted, sizeof quoted, "\"%s\"", p->param);
    char *at = strstr(p->message, quoted);
    (void)snprintf(p->param, sizeof p->param, "%s", theirs);
    if (!at) return;
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - p->message), p->message, theirs, at + strlen(quoted));
    memcpy(p->message, text, sizeof text);
}

/* Editors know 501 as "this model cannot fill in the middle". */
static void adapt(const ig_emitter *e, ig_problem *p)
{
    const bool tool = !strcmp(p->param, "tools") && !strncmp(p->message, "tool \"", 6);
    const bool schema = tool || !strcmp(p->param, "json_schema");
    if (e->req->route->dialect == IG_D_EDITOR && p->kind == IG_P_UNSUPPORTED && !strcmp(p->param, "suffix"))
        p->kind = IG_P_NOT_HERE;
    if (schema && (p->kind == IG_P_UNSUPPORTED || p->kind == IG_P_BAD_REQUEST)) p->kind = IG_P_BAD_SCHEMA;
    const char *theirs = their_name(e->req->route->path, p->param);
    if (p->param[0] && strcmp(theirs, p->param) != 0) rename_field(p, theirs);
}

void ig_emit_event(ig_emitter *e, size_t part, ig_event type, const json_t *body, uint64_t now_ns, ig_buf *out)
{
    const size_t before = out->len;
    ig_problem problem;
    if (e->ended || !e->ops) return;
    e->now_ns = now_ns;
    if (e->ops->raw && (type == IG_EV_DELTA || type == IG_EV_DONE)) {
        on_raw(e, type == IG_EV_DONE, body, out);
        type = IG_EV_PROGRESS;
        body = NULL;
    }
    switch (type) {
    case IG_EV_PROGRESS:
        keep_progress(e, body);
        if (streams(e) && e->req->return_progress && e->ops->progress) e->ops->progress(e, out);
        break;
    case IG_EV_DELTA: on_delta(e, part, body, out); break;
    case IG_EV_DONE: on_done(e, part, body, out); break;
    case IG_EV_RESULT: on_result(e, part, (json_t *)body, out); break;
    case IG_EV_ERROR:
        ig_problem_from_event(&problem, body);
        adapt(e, &problem);
        ig_emit_problem(e, &problem, now_ns, out);
        break;
    }
    if (out->len > before) e->head_out = true;
    if (out->failed) e->failed = true;
}

void ig_emit_ping(ig_emitter *e, uint64_t now_ns, ig_buf *out)
{
    if (e->ended || !streams(e) || !e->ops->ping) return;
    e->now_ns = now_ns;
    const size_t before = out->len;
    e->ops->ping(e, out);
    if (out->len > before) e->head_out = true;
    if (out->failed) e->failed = true;
}

ig_emit_head ig_emit_head_get(const ig_emitter *e)
{
    const bool stream = streams(e) && !e->problem_type;
    const char *whole = e->ops && e->ops->whole_type ? e->ops->whole_type : "application/json";
    return (ig_emit_head){e->status, e->problem_type ? e->problem_type : stream ? e->ops->stream_type : whole, stream};
}

const char *ig_emit_phase(const ig_emitter *e) { return e->answers ? "" : e->phase; }

bool ig_emit_ended(const ig_emitter *e) { return e->ended; }
bool ig_emit_failed(const ig_emitter *e) { return e->failed; }

/* ------------------------------------------------------------------------------------------------ pieces of answers */

void ig_out_json(ig_emitter *e, json_t *value, ig_buf *out)
{
    if (value)
        ig_json_write(value, out);
    else
        e->failed = true;
    json_decref(value);
}

void ig_out_line(ig_emitter *e, json_t *value, ig_buf *out)
{
    ig_out_json(e, value, out);
    (void)ig_buf_add(out, "\n", 1);
}

void ig_out_sse(ig_emitter *e, const char *event, json_t *value, ig_buf *out)
{
    if (event) (void)ig_buf_printf(out, "event: %s\n", event);
    (void)ig_buf_add(out, "data: ", 6);
    ig_out_json(e, value, out);
    (void)ig_buf_add(out, "\n\n", 2);
}

json_t *ig_out_id(const ig_emitter *e, const char *prefix) { return json_sprintf("%s%s", prefix, e->ctx->id); }

/* Valid UTF-8 as it came; broken bytes, which only a fault of ours could bring, become U+FFFD. */
json_t *ig_out_bytes(const char *p, size_t n)
{
    json_t *text = json_stringn(p ? p : "", n);
    if (text || ig_utf8_valid(p ? p : "", n)) return text;
    ig_buf clean;
    uint32_t cp;
    ig_buf_init(&clean, 3 * n);
    for (size_t i = 0, step; i < n; i += step ? step : 1) {
        step = ig_utf8_decode(p + i, n - i, &cp);
        (void)ig_buf_add(&clean, step ? p + i : "\xEF\xBF\xBD", step ? step : 3);
    }
    text = clean.failed ? NULL : json_stringn(clean.ptr, clean.len);
    ig_buf_fini(&clean);
    return text;
}

json_t *ig_out_text(const ig_buf *buf) { return ig_out_bytes(buf->ptr, buf->len); }

ig_usage ig_emit_usage(const ig_emitter *e)
{
    ig_usage u = {0};
    for (size_t i = 0; i < e->n_choices; i++) {
        const ig_choice *c = &e->choices[i];
        const bool first = i % e->req->n == 0;
        if (first) u.prompt += c->n_prompt;
        if (first) u.cached += c->n_cached;
        if (first) u.dropped += c->n_dropped;
        u.shifted += c->n_shifted;
        if (first) u.prompt_ms += c->prompt_ms;
        u.completion += c->n_completion;
        u.reasoning += c->n_reasoning;
        u.drafted += c->n_drafted;
        u.accepted += c->n_accepted;
        u.generate_ms = fmax(u.generate_ms, c->generate_ms);
        u.queue_ms = fmax(u.queue_ms, c->queue_ms);
    }
    const json_t *usage = json_object_get(e->result, "usage");
    if (usage) u.prompt = count_of(usage, "prompt");
    if (usage) u.dropped = count_of(usage, "dropped");
    return u;
}

bool ig_emit_counted(ig_emitter *e, ig_buf *out)
{
    ig_problem p;
    if (json_is_integer(json_object_get(json_object_get(e->result, "usage"), "prompt"))) return true;
    ig_problem_set(&p, IG_P_INTERNAL, NULL, "the worker did not count the tokens; see the log");
    ig_emit_problem(e, &p, e->now_ns, out);
    return false;
}

/* What the request's reading ignored, and what the worker did not enforce. */
static json_t *all_ignored(const ig_emitter *e)
{
    char text[128];
    json_t *all = json_copy(e->req->ignored), *name;
    size_t i;
    const json_t *relaxed = e->n_choices ? e->choices[0].relaxed : NULL;
    json_array_foreach(relaxed, i, name)
    {
        int n = snprintf(text, sizeof text, "tools.%.64s.parameters",
                         json_string_value(name) ? json_string_value(name) : "");
        ig_append(&all, json_stringn(text, n > 0 ? (size_t)n : 0));
    }
    json_array_foreach(e->n_choices ? e->choices[0].unused : NULL, i, name)
    {
        const char *z = json_string_value(name) ? json_string_value(name) : "",
                   *theirs = their_name(e->req->route->path, z);
        int n = theirs != z ? snprintf(text, sizeof text, "%s", theirs)
                            : snprintf(text, sizeof text, "chat_template_kwargs.%.64s", z);
        size_t len = n > 0 && (size_t)n < sizeof text ? ig_utf8_whole(text, (size_t)n) : 0;
        if (len) ig_append(&all, json_stringn(text, len));
    }
    return all;
}

json_t *ig_out_ingle(const ig_emitter *e, const ig_usage *u)
{
    const json_t *flag = NULL;
    const char *finish = NULL;
    for (size_t i = 0; i < e->n_choices; i++) {
        if (!flag) flag = e->choices[i].flag;
        if (e->choices[i].finish && !strcmp(e->choices[i].finish, "cancelled")) finish = "cancelled";
    }
    json_t *o = json_pack("{s:s?, s:s?, s:s?, s:I}", "digest", e->ctx->digest, "ran_on", e->ctx->ran_on, "device",
                          e->ctx->device, "n_ctx", (json_int_t)e->ctx->n_ctx);
    if (!o) return NULL;
    if (e->ctx->engine) ig_put(&o, "engine", json_string(e->ctx->engine));
    if (u) ig_put(&o, "n_prompt", json_integer((json_int_t)u->prompt));
    if (u) ig_put(&o, "cached", json_integer((json_int_t)u->cached));
    if (u && u->dropped) ig_put(&o, "truncated", json_true());
    if (u && u->dropped) ig_put(&o, "dropped", json_integer((json_int_t)u->dropped));
    if (u && u->shifted) ig_put(&o, "shifted", json_integer((json_int_t)u->shifted));
    if (e->n_choices && e->choices[0].has_seed) ig_put(&o, "seed", json_integer(e->choices[0].seed));
    if (flag) ig_put(&o, "flag", json_incref((json_t *)flag));
    if (finish) ig_put(&o, "finish", json_string(finish));
    ig_put(&o, "ignored", all_ignored(e));
    return o;
}

static double per(double a, double b) { return b > 0 ? a / b : 0; }

json_t *ig_out_timings(const ig_usage *u)
{
    const uint64_t fresh = u->prompt > u->cached ? u->prompt - u->cached : 0;
    json_t *o = json_pack(
        "{s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f}", "cache_n", (json_int_t)u->cached, "prompt_n",
        (json_int_t)fresh, "prompt_ms", u->prompt_ms, "prompt_per_token_ms", per(u->prompt_ms, (double)fresh),
        "prompt_per_second", per(1000 * (double)fresh, u->prompt_ms), "predicted_n", (json_int_t)u->completion,
        "predicted_ms", u->generate_ms, "predicted_per_token_ms", per(u->generate_ms, (double)u->completion),
        "predicted_per_second", per(1000 * (double)u->completion, u->generate_ms));
    if (u->drafted) ig_put(&o, "draft_n", json_integer((json_int_t)u->drafted));
    if (u->drafted) ig_put(&o, "draft_n_accepted", json_integer((json_int_t)u->accepted));
    return o;
}

json_t *ig_openai_usage(const ig_usage *u)
{
    return json_pack("{s:I, s:I, s:I, s:{s:I}, s:{s:I}}", "prompt_tokens", (json_int_t)u->prompt, "completion_tokens",
                     (json_int_t)u->completion, "total_tokens", (json_int_t)(u->prompt + u->completion),
                     "prompt_tokens_details", "cached_tokens", (json_int_t)u->cached, "completion_tokens_details",
                     "reasoning_tokens", (json_int_t)u->reasoning);
}

/* One entry without its alternatives. */
static json_t *logprob_entry(const json_t *lp, bool with_id)
{
    json_t *id = json_object_get(lp, "id"), *token = json_object_get(lp, "token"),
           *value = json_object_get(lp, "logprob");
    json_t *bytes = json_object_get(lp, "bytes");
    return json_pack("{s:O*, s:O?, s:O?, s:O?}", "id", with_id ? id : NULL, "token", token, "logprob", value, "bytes",
                     bytes);
}

json_t *ig_out_logprobs(const json_t *lp, bool with_id)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < json_array_size(lp); i++) {
        const json_t *entry = json_array_get(lp, i), *top = json_object_get(entry, "top");
        json_t *one = logprob_entry(entry, with_id), *others = json_array();
        for (size_t k = 0; k < json_array_size(top); k++)
            ig_append(&others, logprob_entry(json_array_get(top, k), with_id));
        ig_put(&one, "top_logprobs", others);
        if (json_array_append_new(list, one) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

void ig_sse_comment(ig_emitter *e, ig_buf *out)
{
    if (e->answers || !e->phase[0])
        (void)ig_buf_printf(out, ": ping\n\n");
    else if (!strcmp(e->phase, "queue"))
        (void)ig_buf_printf(out, ": queue position %" PRIu64 " of %" PRIu64 "\n\n", e->progress_done,
                            e->progress_total > e->progress_done ? e->progress_total : e->progress_done);
    else if (!strcmp(e->phase, "load"))
        (void)ig_buf_printf(out, ": loading the model, %" PRIu64 " %%\n\n", e->progress_done);
    else
        (void)ig_buf_printf(out, ": prompt %" PRIu64 "/%" PRIu64 " tokens, %" PRIu64 " cached\n\n", e->progress_done,
                            e->progress_total, e->progress_cached);
}

void ig_openai_stream_problem(ig_emitter *e, const ig_problem *p, ig_buf *out)
{
    ig_out_sse(e, NULL, json_pack("{s:o}", "error", ig_openai_error(p)), out);
}

const char *ig_time_text(uint64_t ns, char out[40])
{
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm t;
    char day[24];
    if (!gmtime_r(&seconds, &t) || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &t) == 0) day[0] = 0;
    (void)snprintf(out, 40, "%s.%09uZ", day, (unsigned)(ns % 1000000000u));
    return out;
}

json_t *ig_call_object(ig_emitter *e, const ig_call *call)
{
    ig_problem why;
    if (call->args.len == 0) return json_object();
    json_t *o = ig_read_json((ig_str){call->args.ptr, call->args.len}, &why);
    if (!o && why.kind == IG_P_UNAVAILABLE) e->failed = true;
    return o;
}

bool ig_emit_fits(ig_emitter *e, ig_buf *out)
{
    ig_problem p;
    const size_t n = json_array_size(json_array_get(json_object_get(e->result, "embeddings"), 0));
    if (n == 0 || e->req->n_dimensions <= n) return true;
    ig_problem_set(&p, IG_P_BAD_REQUEST, "dimensions",
                   "dimensions is %u, the embeddings of this model have %zu values; ask for fewer",
                   e->req->n_dimensions, n);
    ig_emit_problem(e, &p, e->now_ns, out);
    return false;
}

json_t *ig_out_embedding(const json_t *row, unsigned n_dimensions)
{
    const size_t n = json_array_size(row);
    if (n_dimensions == 0 || n_dimensions >= n) return json_incref((json_t *)row);
    double sum = 0;
    for (size_t i = 0; i < n_dimensions; i++) {
        double v = json_number_value(json_array_get(row, i));
        sum += v * v;
    }
    json_t *cut = json_array();
    const double scale = sum > 0 ? 1 / sqrt(sum) : 1;
    for (size_t i = 0; cut && i < n_dimensions; i++)
        ig_append(&cut, json_real((double)(float)(json_number_value(json_array_get(row, i)) * scale)));
    return cut;
}
