/* A request on its way: parsed, given to a worker, its events turned into the answer. */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "policy/policy.h"
#include "serve/front/fr.h"

#define OUT_BYTES_MAX    ((size_t)256 << 20)
#define UNREAD_BYTES_MAX ((size_t)4 << 20) /* of a stream, beyond what the connection holds */

static void flush(fr_job *job);
static void set_ping(fr_job *job);

/* ------------------------------------------------------------------------------------------------ end */

static void unlink_job(fr_job *job)
{
    fr_front *f = job->front;
    if (job->prev)
        job->prev->next = job->next;
    else
        f->jobs = job->next;
    if (job->next) job->next->prev = job->prev;
    f->n_jobs--;
}

static void free_job(fr_job *job)
{
    fr_front *f = job->front;
    fr_worker *w = job->worker;
    ig_timer_clear(f->loop, &job->ping);
    ig_timer_clear(f->loop, &job->deadline);
    fr_account_unannounce(job);
    fr_policy_release(f, job->budget, job->reserved);
    unlink_job(job);
    if (w && job->waiting) fr_worker_unwait(w, job);
    for (fr_worker *o = job->everywhere ? f->workers : NULL; o; o = o->next) fr_worker_forget(o, job);
    if (w) {
        fr_worker_forget(w, job);
        if (job->sent || job->req.has_keep_alive)
            fr_hold_use(w, job->user, job->req.has_keep_alive ? &job->req.keep_alive_ms : NULL);
        if (job->sent) fr_worker_touch(w);
    }
    fr_account_end(job);
    ig_emit_free(job->emitter);
    json_decref(job->engine);
    ig_buf_fini(&job->out);
    if (job->parsed) ig_request_fini(&job->req);
    fr_entry_unref(job->entry);
    ig_free(job);
}

static void on_gone(fr_party *party)
{
    fr_job *job = (fr_job *)party;
    job->ex = NULL;
    job->front->counts.gone++;
    fr_account_result(job->account, "gone");
    free_job(job);
}

void fr_job_drop_all(fr_front *f)
{
    while (f->jobs) {
        if (f->jobs->ex) ig_exchange_set_ctx(f->jobs->ex, NULL);
        free_job(f->jobs);
    }
}

/* ------------------------------------------------------------------------------------------------ answer */

static void count_answer(fr_front *f)
{
    uint64_t now = ig_loop_now(f->loop);
    f->counts.answered++;
    f->rate_n++;
    if (now - f->rate_ns < FR_NS_PER_S) return;
    double rate = (double)f->rate_n * 1e9 / (double)(now - f->rate_ns);
    f->rate = f->rate > 0 ? 0.7 * f->rate + 0.3 * rate : rate;
    f->rate_ns = now;
    f->rate_n = 0;
}

static void begin_fields(fr_job *job, fr_fields *x, const ig_emit_head *head)
{
    fr_fields_begin(job->front, x, job->ex, head->content_type, job->id);
    fr_fields_add(x, "X-Ingle-Ran-On", job->context.ran_on);
    if (job->context.engine) fr_fields_add(x, "X-Ingle-Engine", job->context.engine);
    if (head->stream) fr_fields_add(x, "Cache-Control", "no-cache");
    if (head->status < 400) return;
    ig_problem p = {.kind = IG_P_INTERNAL};
    if (head->status == 429)
        p.kind = IG_P_OVERLOADED;
    else if (head->status == 503 || head->status == 529)
        p.kind = IG_P_UNAVAILABLE;
    else if (head->status < 500)
        p.kind = IG_P_BAD_REQUEST;
    fr_fields_problem(job->front, x, &p, head->status);
}

/* H17: the client reads nothing, and its answer has grown large enough to wait for it. */
static void give_up(fr_job *job)
{
    fr_account_result(job->account, "gone");
    job->front->counts.gone++;
    ig_exchange_abort(job->ex);
    free_job(job);
}

/* Hands what the emitter has written to the client; ends the job with the answer. */
static void flush(fr_job *job)
{
    bool ended = ig_emit_ended(job->emitter), failed = ig_emit_failed(job->emitter) || job->out.failed;
    ig_exchange *ex = job->ex;
    if (failed) {
        fr_say(job->front, "an answer of %s did not fit into memory", job->entry ? job->entry->name : "no model");
        job->front->counts.failed++;
        fr_account_result(job->account, "failed");
        ig_exchange_abort(ex);
        free_job(job);
        return;
    }
    if (!ended && !job->out.len) return;
    ig_emit_head head = ig_emit_head_get(job->emitter);
    if (!head.stream && !ended) return;
    fr_fields x;
    if (!job->begun) begin_fields(job, &x, &head);
    if (!head.stream) {
        count_answer(job->front);
        ig_exchange_respond(ex, head.status, x.field, x.n, job->out.ptr, job->out.len);
        free_job(job);
        return;
    }
    bool there = job->begun || ig_exchange_begin(ex, head.status, x.field, x.n) == IG_OK;
    job->begun = true;
    size_t n = job->out.len;
    if (there && n) there = ig_exchange_write(ex, job->out.ptr, n) == IG_OK;
    job->out.len = 0;
    if (!there) return; /* on_gone follows */
    job->unread = ig_exchange_full(ex) ? job->unread + n : 0;
    if (!ended && job->unread > UNREAD_BYTES_MAX) {
        give_up(job);
        return;
    }
    if (!ended) {
        set_ping(job);
        return;
    }
    count_answer(job->front);
    ig_exchange_end(ex);
    free_job(job);
}

static void on_ping(void *ctx)
{
    fr_job *job = ctx;
    ig_emit_ping(job->emitter, fr_wall_ns(), &job->out);
    set_ping(job);
    flush(job);
}

/* How long a stream is silent: while it waits, it says every second for what. A load may still fail with a status of
 * its own, so that the first word of it comes later. */
static uint64_t silence_ns(const fr_job *job)
{
    const char *phase = ig_emit_phase(job->emitter);
    return (!*phase ? FR_PING_MS : !strcmp(phase, "load") && !job->begun ? 2000 : 1000) * FR_NS_PER_MS;
}

static void set_ping(fr_job *job)
{
    ig_loop *loop = job->front->loop;
    ig_timer_set(loop, &job->ping, ig_loop_now(loop) + silence_ns(job), on_ping, job);
}

/* There is something to wait for now: not later than that. */
static void hasten_ping(fr_job *job)
{
    if (!job->ping.set || job->ping.due_ns > ig_loop_now(job->front->loop) + silence_ns(job)) set_ping(job);
}

void fr_job_fail(fr_job *job, const ig_problem *p)
{
    job->waiting = false;
    fr_account_result(job->account, "failed");
    if (!job->emitter) { /* SHOW */
        fr_answer_problem(job->front, job->ex, job->match.route, p);
        free_job(job);
        return;
    }
    ig_emit_problem(job->emitter, p, fr_wall_ns(), &job->out);
    flush(job);
}

/* ------------------------------------------------------------------------------------------------ events */

static void give(fr_job *job, size_t part, ig_event type, const json_t *body)
{
    ig_emit_event(job->emitter, part, type, body, fr_wall_ns(), &job->out);
    flush(job);
}

static void on_deadline(void *ctx)
{
    /* Cancelled answers end in order with what there is: their calls stay ours. */
    fr_job *job = ctx;
    fr_worker *w = job->worker;
    ig_error err;
    for (fr_call *c = w ? w->calls : NULL; c; c = c->next)
        if (c->job == job && ig_channel_put(&w->ch, IG_FRAME_CANCEL, c->id, "{}", 2, NULL, 0, &err) == IG_OK)
            ig_channel_flush(&w->ch, &err);
}

static void on_all_facts(fr_job *job, ig_event type, const json_t *body)
{
    ig_problem p;
    if (type == IG_EV_ERROR) {
        ig_problem_from_event(&p, body);
        fr_job_fail(job, &p);
    } else if (type == IG_EV_RESULT) {
        fr_show(job->front, job->ex, job->entry, body);
        free_job(job);
    }
}

void fr_job_event(fr_job *job, size_t part, ig_event type, const json_t *body)
{
    if (type == IG_EV_DELTA && job->req.predict_ms && !job->deadline.set) {
        uint64_t due = ig_loop_now(job->front->loop) + job->req.predict_ms * FR_NS_PER_MS;
        ig_timer_set(job->front->loop, &job->deadline, due, on_deadline, job);
    }
    if (!job->emitter) {
        on_all_facts(job, type, body);
        return;
    }
    if (type == IG_EV_PROGRESS) {
        ig_emit_event(job->emitter, part, type, body, fr_wall_ns(), &job->out);
        hasten_ping(job);
        flush(job);
        return;
    }
    if (type == IG_EV_DONE || type == IG_EV_RESULT) fr_policy_spend(job->front, job->budget, body);
    give(job, part, type, body);
}

/* ------------------------------------------------------------------------------------------------ to the worker */

static const char *const queries[] = {"tokenize", "detokenize", "template", "props", "slots"};

static uint32_t frame_of(const json_t *part)
{
    const char *op = json_string_value(json_object_get(part, "op"));
    for (size_t i = 0; op && i < sizeof queries / sizeof *queries; i++)
        if (!strcmp(op, queries[i])) return IG_FRAME_QUERY;
    return IG_FRAME_REQUEST;
}

static bool has_slots(const fr_job *job, const fr_worker *w)
{
    return w->state == FR_READY && !w->probe && !w->engine && (w == job->worker || fr_sees(job->front, w->entry));
}

/* The same question to every worker whose model the caller may see; a part of the request each. */
static bool ask_all(fr_job *job, ig_problem *p)
{
    fr_front *f = job->front;
    json_t *part = json_incref(json_array_get(job->req.parts, 0));
    size_t n = 0;
    json_object_set_new(part, "user", json_string(job->user));
    for (fr_worker *w = f->workers; w; w = w->next) {
        if (!has_slots(job, w)) continue;
        json_t *own = json_copy(part);
        json_object_set_new(own, "model", json_string(w->entry->name));
        if (n ? json_array_append_new(job->req.parts, own) : json_array_set_new(job->req.parts, 0, own)) break;
        n++;
    }
    json_decref(part);
    n = 0;
    for (fr_worker *w = f->workers; w && n < json_array_size(job->req.parts); w = w->next) {
        if (!has_slots(job, w)) continue;
        if (!fr_worker_call(w, IG_FRAME_QUERY, job, n, json_array_get(job->req.parts, n), p)) return false;
        n++;
    }
    if (n) return true;
    json_t *none = json_pack("{s:[]}", "slots");
    give(job, 0, IG_EV_RESULT, none); /* frees the job */
    json_decref(none);
    return true;
}

/* What the client did not say is as large as policy lets it be. */
static void set_limits(const fr_job *job, json_t *part)
{
    if (frame_of(part) != IG_FRAME_REQUEST) return;
    const json_t *said = json_object_get(part, "max_tokens");
    if (job->output_max < UINT32_MAX && (!said || json_integer_value(said) > job->output_max))
        json_object_set_new(part, "max_tokens", json_integer(job->output_max));
    if (job->n_ctx_max == UINT32_MAX) return;
    json_object_set_new(part, "n_ctx", json_integer(job->n_ctx_max));
    json_object_set_new(part, "n_ctx_rule", json_string(job->n_ctx_rule));
}

static bool send_parts(fr_job *job, ig_problem *p)
{
    size_t n = json_array_size(job->req.parts);
    if (job->everywhere) return ask_all(job, p);
    /* An engine that is not ours has standards of its own. */
    if (!job->worker->engine && !ig_request_defaults(&job->req, job->entry->parameters, p)) return false;
    if (!ig_request_history(&job->req, job->entry->messages, p)) return false;
    for (size_t i = 0; i < n; i++) {
        json_t *part = json_array_get(job->req.parts, i);
        json_object_set_new(part, "user", json_string(job->user));
        set_limits(job, part);
        if (!fr_worker_call(job->worker, frame_of(part), job, i, part, p)) return false;
    }
    return true;
}

static void show(fr_job *job)
{
    fr_show(job->front, job->ex, job->entry, NULL);
    free_job(job);
}

/* verbose: arrays and tensors, which only a worker that has the file open can tell. */
static bool shows_all(const fr_job *job)
{
    return job->req.op == IG_OP_SHOW && json_is_true(json_object_get(job->req.manage, "verbose")) &&
           !fr_engine_of(job->front, job->entry);
}

static void ask_all_facts(fr_job *job)
{
    ig_problem p;
    json_t *question = json_pack("{s:s}", "op", "facts");
    job->sent = true;
    const bool good = question && fr_worker_call(job->worker, IG_FRAME_QUERY, job, 0, question, &p);
    if (!question) ig_problem_set(&p, IG_P_UNAVAILABLE, NULL, "out of memory for the request; try again later");
    json_decref(question);
    if (!good) fr_job_fail(job, &p);
}

/* Who may manage lets the model go when its present answers are done; others only stop holding it, which lets it go
 * where nobody else does. */
static void unload(fr_job *job)
{
    fr_worker *w = job->worker;
    job->req.has_keep_alive = false;
    if (!job->may_unload && fr_hold_of_others(w, job->user)) {
        fr_hold_drop(w, job->user);
        fr_worker_touch(w);
        json_array_append_new(job->req.ignored, json_string("keep_alive: others use the model"));
        return;
    }
    fr_worker_drain(w);
}

/* LOAD and UNLOAD have no frames. */
static void finish_without(fr_job *job)
{
    json_t *empty = json_object();
    if (job->req.op == IG_OP_UNLOAD) unload(job);
    job->sent = job->req.op == IG_OP_LOAD;
    give(job, 0, IG_EV_RESULT, empty);
    json_decref(empty);
}

/* What the model needs is known now. */
static void load_known(fr_job *job)
{
    ig_problem p;
    job->worker = fr_pool_want(job->front, job->entry, &p);
    if (!job->worker)
        fr_job_fail(job, &p);
    else if (job->worker->state == FR_READY)
        fr_job_ready(job);
    else
        fr_worker_wait(job->worker, job);
}

/* A copy: that of a file may become known, or another one, while an answer is on its way. */
static const char *digest_of(fr_job *job)
{
    snprintf(job->digest, sizeof job->digest, "%s", job->entry->digest);
    return *job->digest ? job->digest : NULL;
}

void fr_job_ready(fr_job *job)
{
    fr_worker *w = job->worker;
    ig_problem p;
    job->waiting = false;
    if (job->req.op == IG_OP_SHOW) {
        (shows_all(job) ? ask_all_facts : show)(job);
        return;
    }
    if (!w) {
        load_known(job);
        return;
    }
    job->context.n_ctx = w->n_ctx;
    job->context.digest = digest_of(job); /* of the files that were opened */
    /* Other programs ask for what they would like; it is no reason to refuse, but told. */
    if (job->req.n_ctx > w->n_ctx) json_array_append_new(job->req.ignored, json_sprintf("num_ctx above %u", w->n_ctx));
    job->context.load_ns = ig_loop_now(job->front->loop) - job->came_ns;
    if (job->req.op == IG_OP_LOAD || job->req.op == IG_OP_UNLOAD) {
        finish_without(job);
        return;
    }
    job->sent = true;
    if (!send_parts(job, &p)) fr_job_fail(job, &p);
}

/* ------------------------------------------------------------------------------------------------ start */

/* Whose cache this request may use (U04): the key's owner, else the user where the kernel knows them; those whom it
 * does not know share nothing, not even with each other. */
static void name_user(fr_job *job, const ig_incoming *in)
{
    if (in->who->known)
        snprintf(job->user, sizeof job->user, "uid:%u", in->who->uid);
    else
        snprintf(job->user, sizeof job->user, "nobody:%s", in->who->peer);
    fr_policy_user(job->front, job->user, sizeof job->user);
    fr_policy_budget(job->front, job->budget);
}

/* L04: whoever asks, a quarter of the queue stays for others. */
static bool may_queue(const fr_job *job, ig_problem *p)
{
    const fr_front *f = job->front;
    size_t own = 0, share = f->n_queue - f->n_queue / 4;
    if (f->n_jobs > f->n_queue)
        return ig_problem_set(p, IG_P_OVERLOADED, NULL,
                              "the service has %zu requests to answer already, and takes no more; try again later",
                              f->n_jobs - 1);
    if (f->n_jobs <= share) return true;
    for (const fr_job *j = f->jobs; j; j = j->next) own += !strcmp(j->user, job->user);
    if (own <= share) return true;
    return ig_problem_set(p, IG_P_OVERLOADED, NULL,
                          "%zu of your requests wait already, and the rest of the queue is for others; try again later",
                          own - 1);
}

/* The model as the client calls it: NAME stands for NAME:latest. */
static const char *name_of(const fr_job *job)
{
    const char *asked = job->req.model, *name = job->entry->name;
    const size_t n = asked ? strlen(asked) : 0;
    if (!n || strncasecmp(asked, name, n) != 0) return name;
    return !name[n] || !strcmp(name + n, ":latest") ? asked : name;
}

static void set_context(fr_job *job)
{
    fr_front *f = job->front;
    const json_t *engine = job->engine = json_incref((json_t *)fr_engine_of(f, job->entry));
    const char *device = json_string_value(json_object_get(engine, "device"));
    job->wall_ns = fr_wall_ns();
    job->came_ns = ig_loop_now(f->loop);
    job->context = (ig_emit_context){.id = job->id,
                                     .model = name_of(job),
                                     .digest = digest_of(job),
                                     .ran_on = "local",
                                     .device = engine ? device : "cpu",
                                     .engine = json_string_value(json_object_get(engine, "name")),
                                     .version = f->config->version,
                                     .created_ns = job->wall_ns};
}

static fr_job *new_job(fr_front *f, const ig_match *match, const ig_incoming *in)
{
    fr_job *job = ig_calloc(1, sizeof *job);
    if (!job) return NULL;
    job->party.gone = on_gone;
    job->front = f;
    job->match = *match;
    ig_buf_init(&job->out, OUT_BYTES_MAX);
    fr_new_id(job->id);
    name_user(job, in);
    fr_account_begin(job, in);
    job->next = f->jobs;
    if (f->jobs) f->jobs->prev = job;
    f->jobs = job;
    f->n_jobs++;
    return job;
}

/* Loading for ever takes memory from others. */
static bool is_pinning(const ig_request *req) { return req->has_keep_alive && req->keep_alive_ms < 0; }

/* Unloading takes a model from others: as pinning, for those whom policy allows it, else for those who may manage. */
static bool may_unload(fr_job *job, const ig_incoming *in)
{
    ig_problem ignored;
    const fr_request_facts r = {.action = IG_MAY_PIN, .entry = job->entry};
    if (job->req.op != IG_OP_UNLOAD) return false;
    return fr_policy_on(job->front) ? fr_may(job->front, &r, &ignored) : fr_may_manage(job->front, in->who);
}

/* The longest answer that the client asks for by number. */
static uint32_t output_of(const ig_request *req)
{
    static const json_int_t unlimited = 1 << 30; /* as the dialects read "no limit" */
    json_int_t most = 0;
    for (size_t i = 0; i < json_array_size(req->parts); i++) {
        json_int_t n = json_integer_value(json_object_get(json_array_get(req->parts, i), "max_tokens"));
        if (n > most && n < unlimited) most = n;
    }
    return (uint32_t)most;
}

/* Answers that will be made, all choices of all parts. */
static uint64_t choices_of(const ig_request *req)
{
    uint64_t n = 0;
    for (size_t i = 0; i < json_array_size(req->parts); i++) {
        const json_t *part = json_array_get(req->parts, i);
        const char *op = json_string_value(json_object_get(part, "op"));
        json_int_t own = json_integer_value(json_object_get(part, "n"));
        if (!op || !strcmp(op, "embed") || !strcmp(op, "rerank") || frame_of(part) != IG_FRAME_REQUEST) continue;
        n += own > 1 && own < 1024 ? (uint64_t)own : 1;
    }
    return n;
}

static void reserve(fr_job *job, uint64_t left)
{
    uint64_t asked = output_of(&job->req);
    if (job->output_max < UINT32_MAX && (!asked || asked > job->output_max)) asked = job->output_max;
    uint32_t most = fr_policy_reserve(job->front, job->budget, left, asked, choices_of(&job->req), &job->reserved);
    if (most < job->output_max) job->output_max = most;
}

/* Whom policy gives less than the usual priority steps aside for others, as batch work does. */
static void set_class(fr_job *job, int32_t priority)
{
    if (priority < 0 || priority >= IG_PRIORITY_STANDARD) return;
    for (size_t i = 0; i < json_array_size(job->req.parts); i++) {
        json_t *part = json_array_get(job->req.parts, i);
        if (frame_of(part) == IG_FRAME_REQUEST) json_object_set_new(part, "priority", json_string("batch"));
    }
}

static bool is_allowed(fr_job *job, ig_problem *p)
{
    ig_decision d;
    fr_request_facts r = {.action = IG_MAY_USE, .entry = job->entry, .output = output_of(&job->req), .decided = &d};
    r.n_ctx = job->req.n_ctx < UINT32_MAX ? (uint32_t)job->req.n_ctx : UINT32_MAX;
    if (!fr_may(job->front, &r, p)) return false;
    if (*d.rule) fr_account_decided(job->account, d.rule, NULL);
    job->n_ctx_max = d.limits.n_ctx;
    job->output_max = d.limits.output;
    set_class(job, d.limits.priority);
    snprintf(job->n_ctx_rule, sizeof job->n_ctx_rule, "%s", d.n_ctx_rule);
    r.decided = NULL;
    uint64_t left = fr_policy_left(job->front);
    r.action = IG_MAY_PIN;
    if (is_pinning(&job->req) && !fr_may(job->front, &r, p)) return false;
    reserve(job, left);
    return true;
}

/* Editors name no model: where there is neither a default nor one alone, they mean the one that was used last. */
static fr_entry *find_entry(fr_job *job, ig_problem *p)
{
    fr_front *f = job->front;
    const ig_route *route = job->match.route;
    const bool named = job->req.model && *job->req.model;
    job->everywhere = !strcmp(route->path, "/slots") && !named;
    fr_entry *e = job->everywhere ? fr_catalog_latest(f, NULL) : NULL;
    if (e || job->everywhere) return e ? fr_entry_ref(e) : NULL; /* nothing is loaded for this question */
    e = fr_catalog_find(f, job->req.model, job->req.model_any, p);
    if (e || (named && !job->req.model_any) || (route->dialect != IG_D_EDITOR && !job->req.model_any)) return e;
    e = fr_catalog_latest(f, strstr(route->path, "infill") ? "insert" : NULL);
    return e ? fr_entry_ref(e) : NULL;
}

static bool prepare(fr_job *job, ig_exchange *ex, const ig_incoming *in, ig_problem *p)
{
    fr_front *f = job->front;
    job->parsed = true;
    if (!ig_dialect_parse(&job->match, in->head->query, in->body, &job->req, p)) return false;
    ig_exchange_drop_body(ex); /* the tree has it all */
    job->entry = find_entry(job, p);
    if (!job->entry || !is_allowed(job, p)) return false;
    if (!may_queue(job, p)) return false;
    job->may_unload = may_unload(job, in);
    set_context(job);
    if (!strcmp(job->match.route->path, "/slots") && fr_may_manage(f, in->who))
        json_object_set_new(job->req.echo, "all_slots", json_true());
    if (job->req.op == IG_OP_UNLOAD && fr_is_pinned(f, job->entry))
        return ig_problem_set(p, IG_P_CONFLICT, "model", "model %.200s is pinned and stays; type: ingle unpin %.200s",
                              job->entry->name, job->entry->name);
    if (job->req.op == IG_OP_SHOW) return true;
    job->emitter = ig_emit_new(&job->req, &job->context);
    if (!job->emitter)
        return ig_problem_set(p, IG_P_UNAVAILABLE, NULL, "out of memory for the answer; try again later");
    return true;
}

static bool choose_worker(fr_job *job, ig_problem *p)
{
    fr_front *f = job->front;
    if (job->req.op == IG_OP_UNLOAD && !fr_pool_find(f, job->entry)) return true; /* it is not there */
    if (job->req.op == IG_OP_SHOW && !shows_all(job)) {
        if (job->entry->facts) return true;
        job->worker = fr_pool_probe(f, job->entry, p);
        return job->worker != NULL;
    }
    job->worker = fr_pool_want(f, job->entry, p);
    return job->worker != NULL;
}

static void refuse(fr_job *job, const ig_problem *p)
{
    if (job->everywhere && !job->entry) { /* nothing is loaded: no slots */
        fr_answer_json(job->front, job->ex, 200, json_array());
        free_job(job);
        return;
    }
    fr_account_refuse(job->account, p, fr_policy_rule(job->front));
    fr_answer_problem(job->front, job->ex, job->match.route, p);
    free_job(job);
}

/* Everything about the request is known, and what must be in the audit log is there. */
static void begin(fr_job *job)
{
    ig_problem p;
    if (!choose_worker(job, &p)) {
        refuse(job, &p);
        return;
    }
    if (job->emitter) set_ping(job);
    if (!job->emitter && !job->worker)
        show(job);
    else if (!job->worker) {
        json_t *empty = json_object();
        give(job, 0, IG_EV_RESULT, empty);
        json_decref(empty);
    } else if (job->worker->state == FR_READY)
        fr_job_ready(job);
    else
        fr_worker_wait(job->worker, job);
}

void fr_job_start(fr_front *f, ig_exchange *ex, const ig_match *match, const ig_incoming *in)
{
    ig_problem p;
    fr_job *job = new_job(f, match, in);
    if (!job) {
        ig_problem_set(&p, IG_P_UNAVAILABLE, NULL, "out of memory for the request; try again later");
        fr_answer_problem(f, ex, match->route, &p);
        return;
    }
    job->ex = ex;
    if (!fr_books_ready(f, &p) || !prepare(job, ex, in, &p)) {
        refuse(job, &p);
        return;
    }
    ig_exchange_set_ctx(ex, &job->party);
    if (fr_account_announce(job)) begin(job);
}

void fr_job_announced(fr_job *job, const ig_problem *p)
{
    if (p)
        refuse(job, p);
    else
        begin(job);
}
