/* Workers: started when a model is wanted, within the memory that all may use together, let go when unused or when
 * another needs the room, replaced when they die. Active work is never evicted. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/front/fr.h"

#define CHANNEL_OUT_BYTES_MAX ((size_t)256 << 20)
#define LOAD_SILENT_MS        600000 /* reading a large model from a slow disk */
#define PRESSURE_REFUSE       40.0   /* percent of the time that something waits for memory: no model is loaded then */
#define PROBE_BYTES           ((uint64_t)64 << 20)
#define NEED_EXTRA_BYTES      ((uint64_t)256 << 20) /* guess of cache and workspace before a worker has said */

static void schedule(fr_front *f);

/* ------------------------------------------------------------------------------------------------ memory */

static bool lives(const fr_worker *w)
{
    return w->state == FR_LOADING || w->state == FR_READY || w->state == FR_DRAINING;
}

uint64_t fr_pool_bytes(const fr_front *f)
{
    uint64_t sum = 0;
    for (const fr_worker *w = f->workers; w; w = w->next)
        if (lives(w) && !ig_add_u64(sum, w->need_bytes, &sum)) return UINT64_MAX;
    return sum;
}

static uint64_t bytes_of(const json_t *memory)
{
    static const char *const parts[] = {"weights", "kv", "workspace", "draft"};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        json_int_t n = json_integer_value(json_object_get(memory, parts[i]));
        if (n > 0 && !ig_add_u64(sum, (uint64_t)n, &sum)) return UINT64_MAX;
    }
    return sum;
}

/* What a smaller model that guesses for this one takes, where no worker has said it yet. */
static uint64_t draft_bytes(const fr_front *f, const fr_entry *e)
{
    const fr_entry *draft = fr_draft_of(f, e);
    uint64_t n;
    if (!draft) return 0;
    return ig_add_u64(draft->size_bytes, NEED_EXTRA_BYTES, &n) ? n : UINT64_MAX;
}

/* What the last worker of this model needed, else the size of its files and a guess. The cache of a model that would
 * need more than there is shrinks to what is left. */
static uint64_t estimate(const fr_front *f, const fr_entry *e)
{
    const json_t *engine = fr_engine_of(f, e);
    uint64_t least, n = e->facts ? bytes_of(json_object_get(e->facts, "memory")) : 0;
    json_int_t said = json_integer_value(json_object_get(engine, "memory"));
    if (said > 0) return n > (uint64_t)said ? n : (uint64_t)said;
    uint64_t draft = draft_bytes(f, e);
    if (!ig_add_u64(e->size_bytes, NEED_EXTRA_BYTES, &least) || !ig_add_u64(least, draft, &least)) least = UINT64_MAX;
    if (!n) n = least;
    bool known = json_object_get(json_object_get(e->facts, "memory"), "draft") != NULL;
    if (draft && !known && n != least && !ig_add_u64(n, draft, &n)) n = UINT64_MAX;
    uint64_t pinned = fr_pins_bytes(f, e), most = f->memory_max > pinned ? f->memory_max - pinned : 0;
    return n > most && least <= most ? most : n;
}

static bool idle(const fr_worker *w) { return w->state == FR_READY && !w->n_calls && !w->jobs_first; }

/* The idle worker that was used longest ago and may go. */
static fr_worker *least_recent(fr_front *f)
{
    fr_worker *oldest = NULL;
    for (fr_worker *w = f->workers; w; w = w->next)
        if (idle(w) && !w->pinned && (!oldest || w->used_ns < oldest->used_ns)) oldest = w;
    return oldest;
}

/* ------------------------------------------------------------------------------------------------ sending */

static void died(fr_worker *w, const char *why);

static void on_channel(void *ctx, uint32_t events);

static void watch_out(fr_worker *w)
{
    bool wants = ig_channel_waiting(&w->ch) > 0;
    if (wants == w->wants_out) return;
    w->wants_out = wants;
    ig_loop_rewatch(w->front->loop, &w->watch, EPOLLIN | (wants ? EPOLLOUT : 0));
}

static bool put(fr_worker *w, uint32_t type, uint64_t id, const char *body, size_t n, const int *fds, size_t n_fds,
                ig_error *err)
{
    if (ig_channel_put(&w->ch, type, id, body, n, fds, n_fds, err) != IG_OK) return false;
    ig_error ignored; /* a worker that is gone is seen when its channel ends */
    ig_channel_flush(&w->ch, &ignored);
    watch_out(w);
    return true;
}

bool fr_worker_call(fr_worker *w, uint32_t type, fr_job *job, size_t part, const json_t *body, ig_problem *p)
{
    ig_buf text;
    ig_buf_init(&text, IG_FRAME_BODY_MAX);
    ig_json_write(body, &text);
    fr_call *call = ig_alloc(sizeof *call);
    ig_error err;
    if (text.failed || !call) {
        bool large = text.failed && text.len > IG_FRAME_BODY_MAX / 2;
        ig_buf_fini(&text);
        ig_free(call);
        return large ? ig_problem_set(p, IG_P_TOO_LARGE, NULL, "the request is larger than %d MiB",
                                      IG_FRAME_BODY_MAX >> 20)
                     : ig_problem_set(p, IG_P_UNAVAILABLE, NULL, "out of memory for the request; try again later");
    }
    *call = (fr_call){.id = ++w->front->next_id, .job = job, .part = part, .next = w->calls};
    bool ok = put(w, type, call->id, text.ptr, text.len, NULL, 0, &err);
    ig_buf_fini(&text);
    if (!ok) {
        ig_free(call);
        return ig_problem_set(p, IG_P_UNAVAILABLE, NULL, "%.400s", err.text);
    }
    call->account = fr_account_ref(job->account);
    w->calls = call;
    w->n_calls++;
    ig_timer_clear(w->front->loop, &w->expiry);
    return true;
}

void fr_worker_forget(fr_worker *w, fr_job *job)
{
    ig_error err;
    for (fr_call *c = w->calls; c; c = c->next) {
        if (c->job != job) continue;
        c->job = NULL;
        if (lives(w)) put(w, IG_FRAME_CANCEL, c->id, "{}", 2, NULL, 0, &err);
    }
}

/* ------------------------------------------------------------------------------------------------ life and death */

void fr_worker_wait(fr_worker *w, fr_job *job)
{
    job->wait_next = NULL;
    job->waiting = true;
    if (w->jobs_last)
        w->jobs_last->wait_next = job;
    else
        w->jobs_first = job;
    w->jobs_last = job;
}

void fr_worker_unwait(fr_worker *w, fr_job *job)
{
    fr_job *prev = NULL;
    for (fr_job *j = w->jobs_first; j; prev = j, j = j->wait_next) {
        if (j != job) continue;
        *(prev ? &prev->wait_next : &w->jobs_first) = j->wait_next;
        if (w->jobs_last == j) w->jobs_last = prev;
        break;
    }
    job->waiting = false;
}

static fr_job *take_waiting(fr_worker *w)
{
    fr_job *job = w->jobs_first;
    if (!job) return NULL;
    fr_worker_unwait(w, job);
    return job;
}

static void close_channel(fr_worker *w)
{
    fr_front *f = w->front;
    ig_loop_unwatch(f->loop, &w->watch);
    ig_timer_clear(f->loop, &w->silence);
    ig_timer_clear(f->loop, &w->expiry);
    ig_channel_fini(&w->ch);
    w->ch.fd = -1;
    if (w->pid > 0) kill(w->pid, SIGKILL);
    if (w->pid > 0 && w->engine) kill(-w->pid, SIGKILL); /* what the bridge has started is of its group */
}

/* Ends all that hangs on a worker. The struct stays until its process is reaped. */
static void end_worker(fr_worker *w, const ig_problem *p)
{
    close_channel(w);
    w->state = FR_DEAD;
    fr_events_model(w->front, w);
    fr_job *job;
    while ((job = take_waiting(w))) {
        job->worker = NULL;
        fr_job_fail(job, p);
    }
    while (w->calls) {
        fr_call *c = w->calls;
        w->calls = c->next;
        w->n_calls--;
        job = c->job;
        fr_account_result(c->account, "failed");
        fr_account_unref(c->account);
        ig_free(c);
        if (!job) continue;
        for (fr_call *other = w->calls; other; other = other->next)
            if (other->job == job) other->job = NULL;
        job->worker = NULL;
        fr_job_fail(job, p);
    }
    schedule(w->front);
}

static void died(fr_worker *w, const char *why)
{
    fr_front *f = w->front;
    if (w->state == FR_DEAD) return;
    bool stopping = w->state == FR_DRAINING && !w->n_calls;
    ig_problem p;
    ig_problem_set(&p, IG_P_INTERNAL, NULL, "the worker of model %.100s %s; the next request starts it again",
                   w->entry->name, why);
    if (!stopping) {
        f->counts.workers_died++;
        fr_say(f, "worker %d of %s %s", (int)w->pid, w->entry->name, why);
    }
    end_worker(w, &p);
}

/* Processes that the kernel has killed for want of memory; 0 where it cannot be seen. */
static uint64_t oom_kills(void)
{
    static const char *const places[] = {"/proc/vmstat", "/sys/fs/cgroup/memory.events"};
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places && !n; i++) {
        ig_buf text;
        ig_error err;
        ig_buf_init(&text, 64 << 10);
        const char *at = ig_file_read(places[i], &text, &err) == IG_OK && ig_buf_add(&text, "", 1)
                             ? strstr(text.ptr, "oom_kill ")
                             : NULL;
        if (at) n = strtoull(at + 9, NULL, 10);
        ig_buf_fini(&text);
    }
    return n;
}

/* A death that is the model's own fault (rule M22): a crash, or memory that was not there. Somebody's kill is not. */
static bool is_crash(const fr_worker *w, int status)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
    if (!WIFSIGNALED(status)) return false;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (WTERMSIG(status) == faults[i]) return true;
    return WTERMSIG(status) == SIGKILL && oom_kills() > w->ooms;
}

/* The third crash in ten minutes sets the model aside: for a minute, and each time for twice as long. */
static void count_crash(fr_front *f, fr_entry *e)
{
    uint64_t now = ig_now_ns();
    memmove(e->crash_ns + 1, e->crash_ns, (FR_CRASHES - 1) * sizeof *e->crash_ns);
    e->crash_ns[0] = now;
    uint64_t oldest = e->crash_ns[FR_CRASHES - 1];
    if (!oldest || now - oldest > FR_CRASHES_MS * FR_NS_PER_MS) return;
    uint64_t ms = (uint64_t)FR_QUARANTINE_MS << (e->n_quarantines < 4 ? e->n_quarantines : 4);
    e->n_quarantines++;
    e->quarantine_ns = now + ms * FR_NS_PER_MS;
    memset(e->crash_ns, 0, sizeof e->crash_ns);
    snprintf(e->fault, sizeof e->fault,
             "model %.100s is set aside for %u minutes: its worker crashed %d times in the last ten", e->name,
             (unsigned)(ms / 60000), FR_CRASHES);
    fr_say(f, "%s", e->fault);
}

static void on_silence(void *ctx) { died(ctx, "said nothing for too long and was stopped"); }

static void heard(fr_worker *w)
{
    uint64_t ms = w->state == FR_LOADING ? LOAD_SILENT_MS : FR_SILENT_MS;
    ig_timer_set(w->front->loop, &w->silence, ig_loop_now(w->front->loop) + ms * FR_NS_PER_MS, on_silence, w);
}

void fr_worker_drain(fr_worker *w)
{
    if (w->state == FR_READY) {
        w->state = FR_DRAINING;
        fr_events_model(w->front, w);
    }
    /* Its conversations are left to the next worker, if there may be one. */
    const bool leaves = w->leaves && !w->front->stopping && !w->entry->gone;
    ig_str body = leaves ? IG_STR("{\"leave\":true}") : IG_STR("{}");
    ig_error err;
    if (w->state == FR_DRAINING && !w->n_calls) put(w, IG_FRAME_STOP, 0, body.ptr, body.len, NULL, 0, &err);
}

static void on_expiry(void *ctx)
{
    fr_worker *w = ctx;
    if (!idle(w) || w->pinned) return;
    fr_say(w->front, "%s was not used and goes", w->entry->name);
    fr_worker_drain(w);
}

void fr_worker_touch(fr_worker *w)
{
    fr_front *f = w->front;
    w->used_ns = ig_loop_now(f->loop);
    w->expires_ns = 0;
    ig_timer_clear(f->loop, &w->expiry);
    if (w->state == FR_DRAINING) fr_worker_drain(w);
    if (!idle(w)) return;
    const uint64_t end = fr_hold_end(w);
    if (end < UINT64_MAX && !w->pinned) {
        uint64_t due = end > w->used_ns ? end : w->used_ns;
        w->expires_ns = fr_wall_ns() + (due - w->used_ns);
        ig_timer_set(f->loop, &w->expiry, due, on_expiry, w);
    }
    schedule(f); /* another may wait for the room */
}

/* ------------------------------------------------------------------------------------------------ frames */

/* The facts are there: whoever waits for them goes on. */
static void end_probe(fr_worker *w)
{
    ig_problem p;
    fr_job *job;
    if (w->wanted) fr_pool_want(w->front, w->entry, &p); /* also where nobody waits any more */
    while ((job = take_waiting(w))) {
        job->worker = NULL;
        fr_job_ready(job);
    }
    ig_problem_set(&p, IG_P_INTERNAL, NULL, "the model was only looked at");
    end_worker(w, &p);
}

static void on_ready(fr_worker *w, json_t *body)
{
    fr_front *f = w->front;
    w->state = FR_READY;
    w->ready_ns = w->used_ns = ig_loop_now(f->loop);
    w->n_ctx = (uint32_t)json_integer_value(json_object_get(body, "n_ctx"));
    w->need_bytes = bytes_of(json_object_get(body, "memory"));
    json_decref(w->entry->facts);
    w->entry->facts = json_incref(body);
    if (w->probe) {
        end_probe(w);
        return;
    }
    fr_digest_want(f, w->entry);
    fr_events_model(f, w);
    fr_say(f, "%s is ready: %u tokens of context, %.1f MiB, loaded in %.1f s", w->entry->name, w->n_ctx,
           (double)w->need_bytes / 1048576, (double)(w->ready_ns - w->asked_ns) / 1e9);
    const char *note = json_string_value(json_object_get(body, "kernels_note"));
    if (note) fr_say(f, "%s: %s", w->entry->name, note);
    fr_job *job;
    while (w->state == FR_READY && (job = take_waiting(w))) fr_job_ready(job);
    fr_worker_touch(w);
}

static void on_load_error(fr_worker *w, const json_t *body)
{
    ig_problem p;
    ig_problem_from_event(&p, body);
    snprintf(w->fault, sizeof w->fault, "%s", p.message);
    bool loading = w->state == FR_LOADING;
    if (!loading) w->front->counts.workers_died++;
    fr_say(w->front, "%s %s: %s", w->entry->name, loading ? "cannot be loaded" : "is no longer there", p.message);
    end_worker(w, &p);
}

static void on_status(fr_worker *w, const json_t *body)
{
    struct {
        const char *name;
        uint32_t *to;
    } const small[] = {{"running", &w->running},
                       {"waiting", &w->waiting},
                       {"kv_used_pages", &w->kv_used},
                       {"kv_total_pages", &w->kv_total}};
    struct {
        const char *name;
        uint64_t *to;
    } const large[] = {{"tokens_generated", &w->tokens_generated},
                       {"tokens_prompt", &w->tokens_prompt},
                       {"memory_rss", &w->rss_bytes}};
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        *small[i].to = (uint32_t)json_integer_value(json_object_get(body, small[i].name));
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        *large[i].to = (uint64_t)json_integer_value(json_object_get(body, large[i].name));
    json_int_t need = json_integer_value(json_object_get(body, "memory_need")); /* engines grow */
    if (w->engine && need > 0) w->need_bytes = (uint64_t)need;
}

/* Takes the call out of the list. */
static fr_call *end_call(fr_worker *w, uint64_t id)
{
    for (fr_call **at = &w->calls; *at; at = &(*at)->next) {
        fr_call *c = *at;
        if (c->id != id) continue;
        *at = c->next;
        w->n_calls--;
        return c;
    }
    return NULL;
}

static void on_call_event(fr_worker *w, uint64_t id, ig_event type, const json_t *body)
{
    bool over = type == IG_EV_ERROR || type == IG_EV_RESULT ||
                (type == IG_EV_DONE && json_is_true(json_object_get(body, "last")));
    fr_account_event(w, id, type, body);
    if (!over) {
        for (fr_call *c = w->calls; c; c = c->next)
            if (c->id == id && c->job) {
                fr_job_event(c->job, c->part, type, body);
                return;
            }
        return;
    }
    fr_call *c = end_call(w, id);
    if (!c) return;
    fr_job *job = c->job;
    size_t part = c->part;
    fr_account_unref(c->account);
    ig_free(c);
    if (job) fr_job_event(job, part, type, body);
    fr_worker_touch(w);
}

static const struct {
    uint32_t type;
    ig_event event;
} kinds[] = {
    {IG_FRAME_PROGRESS, IG_EV_PROGRESS}, {IG_FRAME_DELTA, IG_EV_DELTA},   {IG_FRAME_DONE, IG_EV_DONE},
    {IG_FRAME_ERROR, IG_EV_ERROR},       {IG_FRAME_RESULT, IG_EV_RESULT},
};

static void on_own_frame(fr_worker *w, const ig_frame *frame, json_t *body)
{
    if (frame->type == IG_FRAME_READY && w->state == FR_LOADING)
        on_ready(w, body);
    else if (frame->type == IG_FRAME_ERROR)
        on_load_error(w, body);
    else if (frame->type == IG_FRAME_STATUS)
        on_status(w, body);
    else if (frame->type == IG_FRAME_PROGRESS) {
        w->share = json_number_value(json_object_get(body, "share"));
        fr_events_model(w->front, w);
        for (fr_job *j = w->jobs_first, *next; j; j = next) {
            next = j->wait_next;
            if (j->emitter) fr_job_event(j, 0, IG_EV_PROGRESS, body);
        }
    }
}

static bool on_frame(fr_worker *w, const ig_frame *frame)
{
    json_error_t error;
    json_t *body = json_loadb(frame->body, frame->n_body, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json_is_object(body)) {
        json_decref(body);
        died(w, "sent something that is no answer and was stopped");
        return false;
    }
    if (!frame->request) on_own_frame(w, frame, body);
    for (size_t i = 0; frame->request && i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].type == frame->type) on_call_event(w, frame->request, kinds[i].event, body);
    json_decref(body);
    return w->state != FR_DEAD;
}

static bool take_frames(fr_worker *w)
{
    for (;;) {
        ig_frame frame;
        bool got;
        ig_error err;
        if (ig_channel_next(&w->ch, &frame, &got, &err) != IG_OK) {
            died(w, "sent a broken frame and was stopped");
            return false;
        }
        if (!got) return true;
        heard(w);
        if (!on_frame(w, &frame)) return false;
    }
}

static void on_unreaped(void *ctx) { died(ctx, "closed its channel and was stopped"); }

static void on_channel(void *ctx, uint32_t events)
{
    fr_worker *w = ctx;
    ig_error err;
    if (events & EPOLLOUT) {
        ig_channel_flush(&w->ch, &err);
        watch_out(w);
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    bool ok = ig_channel_fill(&w->ch, &err) == IG_OK;
    if (!take_frames(w) || (ok && !w->ch.ended)) return;
    /* Why it went is known when it is reaped, which is a matter of moments. */
    ig_loop_unwatch(w->front->loop, &w->watch);
    ig_timer_set(w->front->loop, &w->silence, ig_loop_now(w->front->loop) + FR_NS_PER_S, on_unreaped, w);
}

/* Takes all that a dead worker has said. False: its end was among it. */
static bool take_rest(fr_worker *w)
{
    ig_error err;
    for (int fills = 0; fills < 4096 && w->ch.fd >= 0 && !w->ch.ended; fills++) {
        size_t had = w->ch.in_end - w->ch.in_at;
        if (ig_channel_fill(&w->ch, &err) != IG_OK) break;
        bool more = w->ch.in_end - w->ch.in_at != had;
        if (!take_frames(w)) return false;
        if (!more) break;
    }
    return take_frames(w);
}

/* ------------------------------------------------------------------------------------------------ starting */

/* A file without a name for conversations that lose their place, in the store's folder; -1: none is wanted, or it
 * cannot be made there. */
static int spill_file(const fr_front *f)
{
    if (!f->config->spill_max || !f->config->store) return -1;
    return open(f->config->store, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* The model's own, which the next worker gets again with what this one leaves there; while another one has it, a new
 * file. */
static int spill_of(fr_worker *w)
{
    fr_entry *e = w->entry;
    if (w->engine) return spill_file(w->front);
    for (const fr_worker *o = w->front->workers; o; o = o->next)
        if (o != w && o->entry == e && o->pid > 0) return spill_file(w->front);
    if (!e->spill && !w->probe) e->spill = spill_file(w->front) + 1;
    int fd = e->spill && !w->probe ? fcntl(e->spill - 1, F_DUPFD_CLOEXEC, 3) : spill_file(w->front);
    w->leaves = e->spill && !w->probe && fd >= 0;
    return fd;
}

/* What its conversations depend on: other weights, numbers or programs make nothing of them. */
static json_t *spill_key(const fr_worker *w)
{
    const fr_entry *e = w->entry;
    if (!w->leaves) return NULL;
    return json_sprintf("%s %s %s", w->front->config->version, w->front->config->kv ? w->front->config->kv : "f16",
                        e->stamp ? e->stamp : e->digest);
}

static json_t *list_of(const char *const *names, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_string(names[i]));
    return list;
}

/* names [n]: files of the model, then of the smaller one from n_own on. */
static json_t *init_body(const fr_worker *w, const char *const *names, size_t n_own, size_t n, uint64_t spill_max)
{
    const fr_front *f = w->front;
    const fr_entry *e = w->entry;
    uint64_t others = fr_pool_bytes(f) - w->need_bytes;
    uint64_t room = w->probe ? f->memory_max : f->memory_max > others ? f->memory_max - others : 1;
    json_t *files = list_of(names, n_own);
    if (w->engine) return json_pack("{s:o, s:O}", "files", files, "engine", w->engine);
    return json_pack("{s:o, s:o, s:b, s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:b, s:o*, s:s?, s:s?}", "files", files,
                     "draft", list_of(names + n_own, n - n_own), "probe", (int)w->probe, "threads",
                     (json_int_t)f->n_threads, "n_ctx", (json_int_t)f->n_ctx, "n_sessions", (json_int_t)f->n_parallel,
                     "kv", f->config->kv ? f->config->kv : "f16", "speculate",
                     f->config->speculate ? f->config->speculate : "auto", "spill_max", (json_int_t)spill_max,
                     "memory_max", (json_int_t)room, "share", (int)w->shares, "spill_key", spill_key(w), "template",
                     e->manifest ? ig_manifest_template(e->manifest) : e->template_text, "system", e->system);
}

static bool send_init(fr_worker *w, ig_error *err)
{
    int fds[2 * FR_FILES_MAX + 1];
    const char *names[2 * FR_FILES_MAX];
    size_t n, n_own, n_draft = 0;
    if (fr_entry_open(w->front, w->entry, fds, names, &n_own, err) != IG_OK) return false;
    fr_digest_opened(w->front, w->entry, fds, n_own);
    const char *draft = w->probe ? NULL : fr_draft_name(w->front, w->entry);
    if (draft && fr_draft_open(w->front, w->entry, fds + n_own, names + n_own, &n_draft, err) != IG_OK) {
        for (size_t i = 0; i < n_own; i++) close(fds[i]);
        return false;
    }
    snprintf(w->draft, sizeof w->draft, "%s", draft ? draft : "");
    w->shares = fr_shares_cache(w->front, w->entry);
    n = n_own + n_draft;
    int spill = spill_of(w);
    json_t *body = init_body(w, names, n_own, n, spill >= 0 ? w->front->config->spill_max : 0);
    if (spill >= 0) fds[n++] = spill;
    ig_buf text;
    ig_buf_init(&text, IG_FRAME_BODY_MAX);
    if (body) ig_json_write(body, &text);
    json_decref(body);
    bool ok = body && !text.failed;
    if (ok)
        ok = put(w, IG_FRAME_INIT, 0, text.ptr, text.len, fds, n, err);
    else {
        for (size_t i = 0; i < n; i++) close(fds[i]);
        ig_fail(err, IG_NO_MEMORY, 0, "out of memory for starting a worker");
    }
    ig_buf_fini(&text);
    return ok;
}

static bool start(fr_worker *w, ig_error *err)
{
    fr_front *f = w->front;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        ig_fail_errno(err, IG_IO, errno, "no socket for a worker");
        return false;
    }
    const char *engine = json_string_value(json_object_get(w->engine, "name"));
    w->pid = fr_spawn_worker(f->program, engine, pair[1]);
    int no = errno;
    close(pair[1]);
    if (w->pid < 0) {
        close(pair[0]);
        ig_fail_errno(err, IG_IO, no, "cannot start a worker");
        return false;
    }
    f->counts.workers_started++;
    w->ooms = oom_kills();
    w->state = FR_LOADING;
    fr_events_model(f, w);
    if (ig_channel_init(&w->ch, pair[0], 4, CHANNEL_OUT_BYTES_MAX, err) != IG_OK) return false;
    if (ig_loop_watch(f->loop, &w->watch, pair[0], EPOLLIN, on_channel, w, err) != IG_OK) return false;
    heard(w);
    return send_init(w, err);
}

static void refuse_start(fr_worker *w, const char *text)
{
    ig_problem p;
    ig_problem_set(&p, IG_P_UNAVAILABLE, NULL, "%.480s", text);
    fr_say(w->front, "%s", text);
    end_worker(w, &p);
}

/* The model's files cannot be had: another program may have removed or replaced it a moment ago. */
static void refuse_files(fr_worker *w, const char *text)
{
    fr_front *f = w->front;
    ig_problem p;
    fr_catalog_refresh(f, true);
    const fr_entry *now = fr_catalog_look(f, w->entry->name);
    if (now == w->entry) {
        refuse_start(w, text);
        return;
    }
    if (now)
        ig_problem_set(&p, IG_P_UNAVAILABLE, "model", "model %.200s was replaced a moment ago; ask again",
                       w->entry->name);
    else
        ig_problem_set(&p, IG_P_NO_MODEL, "model",
                       "model '%.200s' was removed a moment ago; `ingle list` shows what there is", w->entry->name);
    end_worker(w, &p);
}

/* Makes room for w: true when there is enough now; false: it waits, or can never have it (then it is dead). */
static bool has_room(fr_worker *w)
{
    fr_front *f = w->front;
    uint64_t all;
    if (w->need_bytes > f->memory_max) {
        char text[400];
        snprintf(
            text, sizeof text,
            "model %.100s needs about %.1f GiB of memory and all models together may use %.1f GiB; start the service "
            "with more (--memory) or take a smaller quantisation",
            w->entry->name, (double)w->need_bytes / (1 << 30), (double)f->memory_max / (1 << 30));
        refuse_start(w, text);
        return false;
    }
    char why[480];
    if (!w->probe && !fr_pins_leave_room(f, w->entry, w->need_bytes, why, sizeof why)) {
        refuse_start(w, why);
        return false;
    }
    while (!ig_add_u64(fr_pool_bytes(f), w->need_bytes, &all) || all > f->memory_max) {
        bool leaving = false;
        for (fr_worker *o = f->workers; o; o = o->next) leaving = leaving || (o->state == FR_DRAINING && !o->n_calls);
        fr_worker *old = leaving ? NULL : least_recent(f);
        if (!old) return false;
        fr_say(f, "%s goes to make room for %s", old->entry->name, w->entry->name);
        f->counts.evicted++;
        fr_worker_drain(old);
    }
    return true;
}

/* Starts what waits, in order. */
static void schedule(fr_front *f)
{
    for (fr_worker *w = f->workers; w; w = w->next) {
        if (w->state != FR_WAITING) continue;
        if (!has_room(w)) {
            if (w->state == FR_DEAD) continue;
            return;
        }
        ig_error err;
        if (start(w, &err)) continue;
        if (err.status == IG_NOT_FOUND && w->entry->manifest)
            refuse_files(w, err.text);
        else
            refuse_start(w, err.text);
    }
}

static void on_schedule(void *ctx) { schedule(((fr_worker *)ctx)->front); }

fr_worker *fr_pool_find(fr_front *f, const fr_entry *e)
{
    for (fr_worker *w = f->workers; w; w = w->next)
        if (w->entry == e && !w->probe && (w->state == FR_WAITING || w->state == FR_LOADING || w->state == FR_READY))
            return w;
    return NULL;
}

static fr_worker *new_worker(fr_front *f, fr_entry *e, bool probe, ig_problem *p)
{
    uint64_t now = ig_now_ns();
    if (now < e->quarantine_ns) {
        ig_problem_set(p, IG_P_UNAVAILABLE, "model", "%.480s", e->fault);
        return NULL;
    }
    if (!probe && fr_memory_pressure(f) > PRESSURE_REFUSE && !least_recent(f)) {
        ig_problem_set(p, IG_P_UNAVAILABLE, "model",
                       "the machine is short of memory, and model %.100s is not loaded now; try again later", e->name);
        return NULL;
    }
    fr_worker *w = ig_calloc(1, sizeof *w);
    if (!w) {
        ig_problem_set(p, IG_P_UNAVAILABLE, NULL, "out of memory for a worker; try again later");
        return NULL;
    }
    w->front = f;
    w->entry = fr_entry_ref(e);
    w->state = FR_WAITING;
    w->probe = probe;
    w->engine = probe ? NULL : json_incref((json_t *)fr_engine_of(f, e));
    w->ch.fd = -1;
    w->pinned = !probe && fr_is_pinned(f, e);
    w->asked_ns = now;
    w->need_bytes = probe ? PROBE_BYTES : estimate(f, e);
    fr_worker **last = &f->workers;
    while (*last) last = &(*last)->next;
    *last = w;
    if (!f->second.set) fr_tick(f);
    fr_events_model(f, w);
    /* In the next round: who asks must first be able to wait. */
    ig_timer_set(f->loop, &w->expiry, now, on_schedule, w);
    return w;
}

/* A model that nothing is known of, with others in memory: what it needs is found out before they go for a guess. */
static bool has_to_look(const fr_front *f, const fr_entry *e)
{
    uint64_t all;
    if (e->facts || fr_engine_of(f, e)) return false;
    return !ig_add_u64(fr_pool_bytes(f), estimate(f, e), &all) || all > f->memory_max;
}

fr_worker *fr_pool_want(fr_front *f, fr_entry *e, ig_problem *p)
{
    fr_worker *w = fr_pool_find(f, e);
    if (w || !has_to_look(f, e)) return w ? w : new_worker(f, e, false, p);
    w = fr_pool_probe(f, e, p);
    if (w) w->wanted = true;
    return w;
}

bool fr_pool_preload(fr_front *f, fr_entry *e)
{
    ig_problem p;
    uint64_t all = estimate(f, e);
    if (fr_pool_find(f, e)) return true;
    for (fr_worker *w = f->workers; w; w = w->next)
        if ((lives(w) || w->state == FR_WAITING) && !ig_add_u64(all, w->need_bytes, &all)) return false;
    fr_worker *w = all <= f->memory_max ? fr_pool_want(f, e, &p) : NULL;
    if (w && !w->probe) fr_hold_use(w, "(catalogue)", &(int64_t){-1});
    return w != NULL;
}

fr_worker *fr_pool_probe(fr_front *f, fr_entry *e, ig_problem *p)
{
    for (fr_worker *w = f->workers; w; w = w->next)
        if (w->entry == e && w->probe && (w->state == FR_WAITING || w->state == FR_LOADING)) return w;
    return new_worker(f, e, true, p);
}

/* ------------------------------------------------------------------------------------------------ housekeeping */

static void free_worker(fr_worker *w)
{
    fr_entry_unref(w->entry);
    json_decref(w->engine);
    ig_free(w->holds);
    ig_free(w);
}

/* What an engine has started and left behind goes with its bridge, whose number is its group's until it is reaped. */
static void end_group(const fr_worker *w)
{
    siginfo_t info = {0};
    if (w->engine && !waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == w->pid)
        kill(-w->pid, SIGKILL);
}

void fr_pool_child(fr_front *f)
{
    fr_worker **at = &f->workers;
    bool again = false; /* a pinned one has died */
    while (*at) {
        fr_worker *w = *at;
        int status;
        if (w->pid > 0) end_group(w);
        if (w->pid > 0 && waitpid(w->pid, &status, WNOHANG) == w->pid) {
            char why[80];
            if (WIFSIGNALED(status))
                snprintf(why, sizeof why, "was killed by signal %d (%s)", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
            else
                snprintf(why, sizeof why, "ended with code %d", WEXITSTATUS(status));
            w->pid = -1;
            if (w->state != FR_DEAD && is_crash(w, status)) count_crash(f, w->entry);
            bool served = w->ready_ns && w->state == FR_READY;
            if (w->state != FR_DEAD && take_rest(w)) died(w, why);
            again = again || (served && w->pinned);
        }
        if (w->state == FR_DEAD && w->pid <= 0) {
            *at = w->next;
            free_worker(w);
        } else
            at = &w->next;
    }
    if (again) fr_pins_load(f);
}

void fr_pool_pressure(fr_front *f)
{
    fr_worker *w = least_recent(f);
    if (!w) return;
    fr_say(f, "the machine is short of memory: %s goes", w->entry->name);
    f->counts.evicted++;
    fr_worker_drain(w);
}

void fr_pool_stop(fr_front *f)
{
    for (fr_worker *w = f->workers; w; w = w->next)
        if (w->state == FR_READY || w->state == FR_DRAINING) fr_worker_drain(w);
}

void fr_pool_close(fr_front *f)
{
    while (f->workers) {
        fr_worker *w = f->workers;
        int status;
        if (w->state != FR_DEAD) close_channel(w);
        if (w->pid > 0) waitpid(w->pid, &status, 0);
        f->workers = w->next;
        while (w->calls) {
            fr_call *c = w->calls;
            w->calls = c->next;
            fr_account_unref(c->account);
            ig_free(c);
        }
        free_worker(w);
    }
}
