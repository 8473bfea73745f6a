/* GET /ingle/events: what happens in the service, as server-sent events, for the command line and the console.
 *
 *   event: status   the body of GET /ingle/status, at the start and once a second while models are loaded
 *   event: model    one model's line of it, when its state changes or its loading goes on
 *   event: stopping the service stops; the stream ends
 *
 * Everybody is told of the models that they may use. Who reads slowly misses events, never delays anybody: each of
 * them says how things are, not what has changed. */
#include "base/os.h"
#include "serve/front/fr.h"

#define EVENT_BYTES_MAX ((size_t)4 << 20)

enum { WATCHERS_MAX = 64 };

typedef struct fr_watcher {
    fr_party party;
    fr_front *front;
    ig_exchange *ex;
    struct fr_watcher *next;
    ig_timer ping;
} fr_watcher;

static void drop(fr_watcher *w)
{
    fr_front *f = w->front;
    for (fr_watcher **at = &f->watchers; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    ig_timer_clear(f->loop, &w->ping);
    f->n_watchers--;
    ig_free(w);
}

static void on_gone(fr_party *party) { drop((fr_watcher *)party); }

static void on_ping(void *ctx);

/* on_gone follows a failure. */
static void write_to(fr_watcher *w, const ig_buf *text)
{
    fr_front *f = w->front;
    if (ig_exchange_full(w->ex)) return;
    if (ig_exchange_write(w->ex, text->ptr, text->len) != IG_OK) return;
    ig_timer_set(f->loop, &w->ping, ig_loop_now(f->loop) + FR_PING_MS * FR_NS_PER_MS, on_ping, w);
}

static void on_ping(void *ctx)
{
    fr_watcher *w = ctx;
    char text[] = ": ping\n\n";
    ig_timer_set(w->front->loop, &w->ping, ig_loop_now(w->front->loop) + FR_PING_MS * FR_NS_PER_MS, on_ping, w);
    if (!ig_exchange_full(w->ex)) ig_exchange_write(w->ex, text, sizeof text - 1);
}

static bool make_event(ig_buf *out, const char *name, const json_t *body)
{
    ig_buf_init(out, EVENT_BYTES_MAX);
    ig_buf_printf(out, "event: %s\ndata: ", name);
    ig_json_write(body, out);
    return ig_buf_add(out, "\n\n", 2);
}

/* Takes body. */
static void tell(fr_watcher *w, const char *name, json_t *body)
{
    ig_buf text;
    if (!body) return;
    if (make_event(&text, name, body)) write_to(w, &text);
    ig_buf_fini(&text);
    json_decref(body);
}

/* A failing write ends in on_gone, which frees the watcher: the next one is taken before. */
void fr_events_model(fr_front *f, const fr_worker *worker)
{
    if (worker->probe) return;
    for (fr_watcher *w = f->watchers, *next; w; w = next) {
        next = w->next;
        fr_policy_aside(f, ig_exchange_request(w->ex));
        if (fr_sees(f, worker->entry)) tell(w, "model", fr_worker_status(worker));
        fr_policy_back(f);
    }
}

void fr_events_status(fr_front *f)
{
    for (fr_watcher *w = f->watchers, *next; w; w = next) {
        next = w->next;
        fr_policy_aside(f, ig_exchange_request(w->ex));
        tell(w, "status", fr_status(f));
        fr_policy_back(f);
    }
}

void fr_events_stop(fr_front *f)
{
    for (fr_watcher *w = f->watchers, *next; w; w = next) {
        next = w->next;
        tell(w, "stopping", json_object());
    }
    while (f->watchers) {
        ig_exchange *ex = f->watchers->ex;
        drop(f->watchers);
        ig_exchange_set_ctx(ex, NULL);
        ig_exchange_end(ex);
    }
}

void fr_events_drop_all(fr_front *f)
{
    while (f->watchers) {
        ig_exchange_set_ctx(f->watchers->ex, NULL);
        drop(f->watchers);
    }
}

void fr_events_begin(fr_front *f, ig_exchange *ex)
{
    ig_problem p;
    fr_watcher *w = f->n_watchers < WATCHERS_MAX && !f->stopping ? ig_calloc(1, sizeof *w) : NULL;
    if (!w) {
        ig_problem_set(&p, IG_P_UNAVAILABLE, NULL, "%zu programs watch the service already; try again later",
                       f->n_watchers);
        fr_answer_problem(f, ex, NULL, &p);
        return;
    }
    fr_fields x;
    fr_fields_begin(f, &x, ex, "text/event-stream", NULL);
    fr_fields_add(&x, "Cache-Control", "no-cache");
    w->party.gone = on_gone;
    w->front = f;
    w->ex = ex;
    w->next = f->watchers;
    f->watchers = w;
    f->n_watchers++;
    ig_exchange_set_ctx(ex, &w->party);
    if (ig_exchange_begin(ex, 200, x.field, x.n) != IG_OK) return; /* on_gone follows */
    ig_buf text;
    json_t *status = fr_status(f);
    if (status && make_event(&text, "status", status)) write_to(w, &text);
    if (status) ig_buf_fini(&text);
    json_decref(status);
    if (!w->ping.set) on_ping(w);
}
