/* The service's own paths, for the command line and the console: status, and stopping. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/front/fr.h"

static const char *const states[] = {"waiting", "loading", "ready", "draining", "dead"};

json_t *fr_worker_status(const fr_worker *w)
{
    size_t waiting = w->waiting;
    for (const fr_job *j = w->jobs_first; j; j = j->wait_next) waiting++;
    return json_pack("{s:s, s:s, s:s?, s:s, s:i, s:I, s:I, s:i, s:I, s:f, s:I, s:I, s:f, s:I, s:b}", "model",
                     w->entry->name, "digest", w->entry->digest, "engine",
                     json_string_value(json_object_get(w->engine, "name")), "state", states[w->state], "pid",
                     (int)w->pid, "memory_bytes", (json_int_t)w->need_bytes, "rss_bytes", (json_int_t)w->rss_bytes,
                     "n_ctx", (int)w->n_ctx, "running", (json_int_t)w->running, "load_share", w->share, "waiting",
                     (json_int_t)waiting, "tokens_generated", (json_int_t)w->tokens_generated, "kv_use",
                     w->kv_total ? (double)w->kv_used / w->kv_total : 0.0, "expires_ns", (json_int_t)w->expires_ns,
                     "pinned", (int)w->pinned);
}

json_t *fr_status(fr_front *f)
{
    json_t *models = json_array(), *addresses = json_array();
    for (const fr_worker *w = f->workers; w; w = w->next)
        if (w->state != FR_DEAD && !w->probe && fr_sees(f, w->entry))
            json_array_append_new(models, fr_worker_status(w));
    for (size_t i = 0; i < ig_server_n_listeners(f->server); i++)
        json_array_append_new(addresses, json_string(ig_server_address(f->server, i)));
    return json_pack("{s:s, s:i, s:f, s:o, s:o, s:I, s:I, s:I, s:I, s:b, s:b}", "version", f->config->version, "pid",
                     (int)getpid(), "uptime_s", (double)(ig_now_ns() - f->started_ns) / 1e9, "addresses", addresses,
                     "models", models, "memory_budget_bytes", (json_int_t)f->memory_max, "memory_reserved_bytes",
                     (json_int_t)fr_pool_bytes(f), "requests", (json_int_t)f->counts.requests, "queue",
                     (json_int_t)f->n_jobs, "stopping", (int)f->stopping, "audit_content",
                     (int)(f->books && fr_content_on(f)));
}

static void do_status(fr_front *f, ig_exchange *ex, const ig_incoming *in)
{
    json_t *status = fr_status(f);
    json_object_set_new(status, "access", fr_reach(f));
    if (f->store && fr_may_manage(f, in->who))
        json_object_set_new(status, "store", json_string(ig_store_root(f->store)));
    fr_answer_json(f, ex, 200, status);
}

static void do_events(fr_front *f, ig_exchange *ex, const ig_incoming *in)
{
    (void)in;
    fr_events_begin(f, ex);
}

static const struct {
    const char *method, *path;
    void (*fn)(fr_front *f, ig_exchange *ex, const ig_incoming *in);
} paths[] = {
    {"GET", "/ingle/status", do_status},
    {"GET", "/ingle/events", do_events},
    {"POST", "/ingle/pin", fr_pins_request},
    {"GET", "/ingle/compliance", fr_compliance},
    {"POST", "/ingle/catalogue/sync", fr_follow_sync},
};

bool fr_admin_knows(ig_str path, char *methods, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (ig_str_is(path, paths[i].path) && at < n)
            at += (size_t)snprintf(methods + at, n - at, "%s, ", paths[i].method);
    if (at && at < n) (void)snprintf(methods + at, n - at, "OPTIONS");
    return at > 0;
}

static void refuse_method(fr_front *f, ig_exchange *ex, const ig_incoming *in, const char *methods)
{
    ig_problem p;
    ig_problem_set(&p, IG_P_METHOD, NULL, "%.*s takes %s", (int)in->head->path.len, in->head->path.ptr, methods);
    fr_answer_problem(f, ex, NULL, &p);
}

bool fr_admin(fr_front *f, ig_exchange *ex, const ig_incoming *in)
{
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (!ig_str_is(in->head->path, paths[i].path) || !ig_str_is(in->head->method, paths[i].method)) continue;
        ig_match match = {0};
        ig_problem p;
        if (fr_admit(f, in, &match, &p))
            paths[i].fn(f, ex, in);
        else
            fr_answer_problem(f, ex, NULL, &p);
        return true;
    }
    char methods[64];
    const bool known = fr_admin_knows(in->head->path, methods, sizeof methods);
    if (known) refuse_method(f, ex, in, methods);
    return known;
}
