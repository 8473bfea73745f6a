/* Models that come and go: pull, create, copy, delete, uploads. What touches the disk or the network runs in a thread
 * of its own, one a request; the loop sends what it reports. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/policy.h"
#include "serve/front/fr.h"
#include "serve/serve.h"

#define LINES_BYTES_MAX ((size_t)4 << 20)
#define TASKS_MAX       8

typedef struct fr_task fr_task;
typedef ig_status task_fn(fr_task *t, ig_error *err);

struct fr_task {
    fr_party party;
    fr_front *front;
    fr_task *next;
    ig_exchange *ex; /* NULL: the client has gone */
    const ig_route *route;
    ig_request req;
    task_fn *work;
    pthread_t thread;
    ig_waker waker;
    _Atomic bool cancel;
    bool begun, shown;
    ig_blob_writer *blob; /* of an upload */
    ig_error blob_err;
    pthread_mutex_t lock; /* of what follows */
    ig_buf lines;
    bool done;
    ig_status status;
    ig_error err;
};

/* ------------------------------------------------------------------------------------------------ in the thread */

static void add_line(fr_task *t, json_t *line)
{
    pthread_mutex_lock(&t->lock);
    if (line && t->req.stream) {
        ig_json_write(line, &t->lines);
        ig_buf_add(&t->lines, "\n", 1);
    }
    pthread_mutex_unlock(&t->lock);
    json_decref(line);
    ig_waker_wake(&t->waker);
}

static void add_status(fr_task *t, const char *text) { add_line(t, json_pack("{s:s}", "status", text)); }

static bool on_progress(void *ctx, const ig_pull_progress *p)
{
    fr_task *t = ctx;
    char text[64];
    if (p->note) add_status(t, p->note);
    switch (p->phase) {
    case IG_PULL_ASKING:
        if (!t->shown) add_status(t, "pulling manifest");
        t->shown = true;
        break;
    case IG_PULL_FETCHING:
        snprintf(text, sizeof text, "%s %.12s", t->route->op == IG_OP_PUSH ? "pushing" : "pulling",
                 *p->digest.hex ? p->digest.hex : p->what);
        add_line(t, json_pack("{s:s, s:s+, s:I, s:I}", "status", text, "digest", "sha256:", p->digest.hex, "total",
                              (json_int_t)p->total, "completed", (json_int_t)p->done));
        break;
    case IG_PULL_WAITING: break;
    case IG_PULL_VERIFYING: add_status(t, "verifying sha256 digest"); break;
    case IG_PULL_CHECKING: add_status(t, "checking the model"); break;
    }
    return !t->cancel;
}

static ig_check checker(const fr_task *t) { return (ig_check){ig_model_check, t->front->program}; }

static const char *string_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static ig_status do_pull(fr_task *t, ig_error *err)
{
    ig_pull_options o = {.name = string_of(t->req.manage, "destination"),
                         .no_files = true,
                         .insecure = json_is_true(json_object_get(t->req.manage, "insecure")),
                         .check = checker(t),
                         .progress = on_progress,
                         .ctx = t};
    IG_TRY(ig_store_pull(t->front->store, t->req.model, &o, NULL, err));
    add_status(t, "writing manifest");
    return IG_OK;
}

/* Files that were uploaded before: {"model.gguf": "sha256:..."}. */
static ig_status add_files(fr_task *t, ig_manifest *m, ig_error *err)
{
    json_t *files = json_object_get(t->req.manage, "files"), *digest;
    const char *name;
    size_t n = json_object_size(files), i = 0;
    ig_store_file *list = ig_calloc(n + 1, sizeof *list);
    if (!list) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %zu files", n);
    m->files = list;
    m->n_files = n;
    m->format = "gguf";
    ig_status status = IG_OK;
    json_object_foreach(files, name, digest)
    {
        ig_store_file *file = &list[i++];
        int fd = -1;
        size_t len = strlen(name);
        bool gguf = len > 5 && !strcmp(name + len - 5, ".gguf"),
             safe = len > 12 && !strcmp(name + len - 12, ".safetensors");
        if (safe) m->format = "safetensors";
        file->role = gguf || safe ? IG_ROLE_WEIGHTS : IG_ROLE_CONFIG;
        file->name = name;
        if (status == IG_OK) status = ig_digest_parse(json_string_value(digest), &file->digest, err);
        if (status == IG_OK) status = ig_store_blob_open(t->front->store, &file->digest, &fd, &file->size, err);
        if (fd >= 0) close(fd);
    }
    return status;
}

static char *dump(const json_t *v) { return v ? json_dumps(v, JSON_COMPACT) : NULL; }

static ig_status make_model(fr_task *t, ig_manifest *m, ig_error *err)
{
    const char *from = string_of(t->req.manage, "from");
    ig_check check = checker(t);
    add_status(t, from ? "using existing layers" : "parsing GGUF");
    if (from) return ig_store_create(t->front->store, from, m, &check, NULL, err);
    ig_status status = add_files(t, m, err);
    if (status == IG_OK) status = ig_store_add(t->front->store, m, &check, NULL, err);
    ig_free((void *)(uintptr_t)m->files);
    return status;
}

static ig_status do_create(fr_task *t, ig_error *err)
{
    const json_t *a = t->req.manage, *licence = json_object_get(a, "license");
    ig_buf licences;
    ig_manifest m = {
        .template = string_of(a, "template"), .system = string_of(a, "system"), .source = "created by a client"};
    if (string_of(a, "quantize"))
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "quantize is not done while creating; type: ingle quantize IN OUT TYPE, then create");
    if (m.template && !ig_manifest_template(&m))
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "template is written in Go's language, expected Jinja as models ship it; leave it out to use "
                       "the one of the model's file");
    IG_TRY(ig_name_parse(t->req.model, &m.name, err));
    char *parameters = dump(json_object_get(a, "parameters")), *messages = dump(json_object_get(a, "messages"));
    ig_buf_init(&licences, IG_BODY_BYTES_MAX + 4096);
    for (size_t i = 0; i < json_array_size(licence); i++)
        ig_buf_printf(&licences, "%s%s", i ? "\n\n" : "", json_string_value(json_array_get(licence, i)));
    if (licences.len) ig_buf_add(&licences, "", 1);
    m.parameters = parameters;
    m.messages = messages;
    m.licence = licences.len ? licences.ptr : NULL;
    ig_status status =
        licences.failed ? ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the licence") : make_model(t, &m, err);
    ig_buf_fini(&licences);
    free(parameters);
    free(messages);
    if (status == IG_OK) add_status(t, "writing manifest");
    return status;
}

static ig_status do_copy(fr_task *t, ig_error *err)
{
    return ig_store_copy(t->front->store, string_of(t->req.manage, "source"), string_of(t->req.manage, "destination"),
                         err);
}

static ig_status do_delete(fr_task *t, ig_error *err)
{
    return ig_store_remove(t->front->store, t->req.model, NULL, err);
}

static ig_status do_upload(fr_task *t, ig_error *err)
{
    ig_blob_writer *blob = t->blob;
    t->blob = NULL;
    return ig_blob_commit(blob, NULL, NULL, NULL, err);
}

/* "destination" says where to; without it the name itself, when it begins with a host. */
static ig_status do_push(fr_task *t, ig_error *err)
{
    const char *to = string_of(t->req.manage, "destination"), *slash = strchr(t->req.model, '/');
    char own[IG_NAME_MAX + 16];
    ig_push_options o = {.pull = {.no_files = true, .progress = on_progress, .ctx = t}};
    size_t host = slash ? (size_t)(slash - t->req.model) : 0;
    if (!to && host && (memchr(t->req.model, '.', host) || memchr(t->req.model, ':', host))) {
        (void)snprintf(own, sizeof own, "oci://%s", t->req.model);
        to = own;
    }
    if (!to)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "%.150s names no registry; expected HOST/REPOSITORY:TAG as its name, or \"destination\": "
                       "\"oci://HOST/REPOSITORY:TAG\"",
                       t->req.model);
    IG_TRY(ig_store_push(t->front->store, t->req.model, to, &o, NULL, err));
    add_status(t, "writing manifest");
    return IG_OK;
}

static void *run(void *ctx)
{
    fr_task *t = ctx;
    ig_error err = {0};
    ig_status status = t->work(t, &err);
    pthread_mutex_lock(&t->lock);
    t->status = status;
    t->err = err;
    t->done = true;
    pthread_mutex_unlock(&t->lock);
    ig_waker_wake(&t->waker);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ in the loop */

static void free_task(fr_task *t)
{
    fr_front *f = t->front;
    for (fr_task **at = &f->tasks; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    f->n_tasks--;
    ig_waker_remove(&t->waker);
    if (t->blob) ig_blob_abandon(t->blob);
    ig_buf_fini(&t->lines);
    ig_request_fini(&t->req);
    pthread_mutex_destroy(&t->lock);
    ig_free(t);
}

static ig_problem_kind problem_of(ig_status status)
{
    static const ig_problem_kind kinds[IG_STATUS_COUNT] = {
        [IG_BAD_INPUT] = IG_P_BAD_REQUEST, [IG_UNSUPPORTED] = IG_P_NOT_HERE,  [IG_NOT_FOUND] = IG_P_NO_MODEL,
        [IG_DENIED] = IG_P_DENIED,         [IG_TOO_LARGE] = IG_P_TOO_LARGE,   [IG_NO_MEMORY] = IG_P_UNAVAILABLE,
        [IG_IO] = IG_P_INTERNAL,           [IG_CANCELLED] = IG_P_UNAVAILABLE, [IG_BUG] = IG_P_INTERNAL};
    return kinds[status];
}

static void answer_whole(fr_task *t)
{
    static const ig_op silent[] = {IG_OP_COPY, IG_OP_DELETE};
    ig_exchange *ex = t->ex;
    ig_problem p;
    if (t->status != IG_OK) {
        const bool unknown = t->status == IG_NOT_FOUND && (t->route->op == IG_OP_COPY || t->route->op == IG_OP_DELETE);
        if (unknown) /* in the words that clients look for */
            ig_problem_set(&p, IG_P_NO_MODEL, "model", "model '%.200s' not found; `ingle list` shows what there is",
                           t->req.model);
        else
            ig_problem_set(&p, problem_of(t->status), NULL, "%.480s", t->err.text);
        fr_answer_problem(t->front, ex, t->route, &p);
        return;
    }
    ig_buf empty;
    ig_buf_init(&empty, 16);
    if (t->route->op == IG_OP_BLOB_PUT) {
        fr_answer(t->front, ex, 201, NULL, &empty);
        return;
    }
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        if (silent[i] == t->route->op) {
            fr_answer(t->front, ex, 200, NULL, &empty);
            return;
        }
    fr_answer_json(t->front, ex, 200, json_pack("{s:s}", "status", "success"));
}

static bool write_lines(fr_task *t)
{
    fr_fields x;
    if (!t->lines.len) return true;
    if (!t->begun) {
        fr_fields_begin(t->front, &x, t->ex, "application/x-ndjson", NULL);
        if (ig_exchange_begin(t->ex, 200, x.field, x.n) != IG_OK) return false;
        t->begun = true;
    }
    bool ok = ig_exchange_write(t->ex, t->lines.ptr, t->lines.len) == IG_OK;
    t->lines.len = 0;
    return ok;
}

/* An error that comes before the first line has a status of its own; later it is a line. */
static void end_stream(fr_task *t)
{
    if (t->status != IG_OK && !t->begun && !t->lines.len) {
        answer_whole(t);
        return;
    }
    json_t *last =
        t->status == IG_OK ? json_pack("{s:s}", "status", "success") : json_pack("{s:s}", "error", t->err.text);
    ig_json_write(last, &t->lines);
    ig_buf_add(&t->lines, "\n", 1);
    json_decref(last);
    if (write_lines(t)) ig_exchange_end(t->ex);
}

static void on_wake(void *ctx)
{
    fr_task *t = ctx;
    fr_front *f = t->front;
    pthread_mutex_lock(&t->lock);
    bool done = t->done;
    if (t->ex && t->req.stream) {
        if (done)
            end_stream(t);
        else
            write_lines(t);
    }
    pthread_mutex_unlock(&t->lock);
    if (!done) return;
    pthread_join(t->thread, NULL);
    if (t->status != IG_OK) fr_say(f, "%s: %s", t->route->path, t->err.text);
    if (t->ex && !t->req.stream) answer_whole(t);
    if (t->status == IG_OK) fr_catalog_refresh(f, true);
    free_task(t);
}

static void on_gone(fr_party *party)
{
    fr_task *t = (fr_task *)party;
    t->ex = NULL;
    t->cancel = true;
    if (t->blob) free_task(t); /* no thread yet */
}

/* model: NULL for an upload. */
static bool may_change(fr_front *f, ig_exchange *ex, const ig_route *route, const char *model, ig_problem *p)
{
    fr_request_facts r = {.action = IG_MAY_MANAGE, .model = model};
    if (!fr_policy_on(f))
        return fr_may_manage(f, ig_exchange_request(ex)->who) ||
               ig_problem_set(p, IG_P_DENIED, NULL,
                              "only the user who runs this service and root may change its models");
    if (route->op == IG_OP_PULL) r.action = IG_MAY_PULL, r.source = model;
    if (route->op == IG_OP_CREATE || route->op == IG_OP_BLOB_PUT) r.action = IG_MAY_CREATE;
    return fr_may(f, &r, p);
}

static fr_task *new_task(fr_front *f, ig_exchange *ex, const ig_route *route, const char *model, ig_problem *p)
{
    if (!f->store) {
        ig_problem_set(p, IG_P_NOT_HERE, NULL, "this service has no store; start it with --store");
        return NULL;
    }
    if (!may_change(f, ex, route, model, p) || !fr_still_there(ex, p)) return NULL;
    fr_task *t = f->n_tasks < TASKS_MAX ? ig_calloc(1, sizeof *t) : NULL;
    if (!t) {
        ig_problem_set(p, IG_P_OVERLOADED, NULL, "%zu changes of models are under way; try again later", f->n_tasks);
        return NULL;
    }
    t->party.gone = on_gone;
    t->front = f;
    t->ex = ex;
    t->route = route;
    ig_buf_init(&t->lines, LINES_BYTES_MAX);
    pthread_mutex_init(&t->lock, NULL);
    ig_waker_add(f->loop, &t->waker, on_wake, t);
    t->next = f->tasks;
    f->tasks = t;
    f->n_tasks++;
    return t;
}

static const struct {
    ig_op op;
    task_fn *work;
} works[] = {{IG_OP_PULL, do_pull},
             {IG_OP_CREATE, do_create},
             {IG_OP_COPY, do_copy},
             {IG_OP_DELETE, do_delete},
             {IG_OP_PUSH, do_push}};

static bool start_thread(fr_task *t, ig_problem *p)
{
    if (!pthread_create(&t->thread, NULL, run, t)) return true;
    return ig_problem_set(p, IG_P_UNAVAILABLE, NULL, "no thread for this; try again later");
}

/* A model that the service was started with is no model of the store, which all of these are about. */
static bool is_of_store(const fr_front *f, const ig_request *req, ig_op op, ig_problem *p)
{
    const char *name = op == IG_OP_CREATE ? string_of(req->manage, "from") : op == IG_OP_PULL ? NULL : req->model;
    const fr_entry *e = name && *name ? fr_catalog_look(f, name) : NULL;
    if (!e || e->manifest) return true;
    if (e->engine)
        return ig_problem_set(p, IG_P_CONFLICT, "model",
                              "model %.200s is run by an engine of the configuration, and not in the store", e->name);
    return ig_problem_set(p, IG_P_CONFLICT, "model",
                          "model %.200s is a file that the service was started with, and not in the store; to add it "
                          "type: ingle pull FILE NAME",
                          e->name);
}

void fr_manage(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    ig_problem p;
    fr_task *t = new_task(f, ex, match->route, req->model, &p);
    for (size_t i = 0; t && i < sizeof works / sizeof *works; i++)
        if (works[i].op == match->route->op) t->work = works[i].work;
    if (t) {
        t->req = *req;
        *req = (ig_request){0};
        if (match->route->op == IG_OP_COPY || match->route->op == IG_OP_DELETE) t->req.stream = false;
    }
    if (t && is_of_store(f, &t->req, match->route->op, &p) && start_thread(t, &p)) {
        ig_exchange_set_ctx(ex, &t->party);
        return;
    }
    if (t) free_task(t);
    fr_answer_problem(f, ex, match->route, &p);
}

/* ------------------------------------------------------------------------------------------------ uploads */

void fr_blob_head(fr_front *f, ig_exchange *ex, const ig_match *match, ig_request *req)
{
    ig_digest digest;
    ig_error err;
    ig_problem p;
    int fd;
    (void)req;
    ig_status status = f->store ? ig_digest_parse(match->arg, &digest, &err) : IG_NOT_FOUND;
    if (status == IG_OK) status = ig_store_blob_open(f->store, &digest, &fd, NULL, &err);
    if (status == IG_OK) {
        ig_buf empty;
        ig_buf_init(&empty, 16);
        close(fd);
        fr_answer(f, ex, 200, NULL, &empty);
        return;
    }
    ig_problem_set(&p, status == IG_BAD_INPUT ? IG_P_BAD_REQUEST : IG_P_NO_ROUTE, NULL, "there is no such blob");
    fr_answer_problem(f, ex, match->route, &p);
}

static bool on_piece(void *ctx, ig_exchange *ex, const char *data, size_t n)
{
    fr_task *t = ctx;
    (void)ex;
    if (t->blob_err.status != IG_OK) return true; /* told at the end */
    (void)ig_blob_write(t->blob, data, n, &t->blob_err);
    return true;
}

void fr_blob_begin(fr_front *f, ig_exchange *ex, const ig_match *match, ig_body_plan *plan)
{
    ig_problem p;
    ig_error err;
    ig_digest digest;
    fr_task *t = NULL;
    if (ig_digest_parse(match->arg, &digest, &err) != IG_OK)
        ig_problem_set(&p, IG_P_BAD_REQUEST, NULL, "%.480s", err.text);
    else
        t = new_task(f, ex, match->route, NULL, &p);
    const ig_incoming *in = ig_exchange_request(ex);
    if (t && ig_blob_begin(f->store, &digest, in->head->content_length, &t->blob, &err) != IG_OK) {
        ig_problem_set(&p, problem_of(err.status), NULL, "%.480s", err.text);
        free_task(t);
        t = NULL;
    }
    if (!t) {
        fr_answer_problem(f, ex, match->route, &p);
        return;
    }
    t->work = do_upload;
    ig_exchange_set_ctx(ex, &t->party);
    *plan = (ig_body_plan){.max_bytes = UINT64_MAX, .sink = on_piece, .sink_ctx = t};
}

void fr_blob_end(fr_front *f, ig_exchange *ex)
{
    fr_task *t = (fr_task *)ig_exchange_ctx(ex);
    ig_problem p;
    if (t->blob_err.status == IG_OK && fr_still_there(ex, &p) && start_thread(t, &p)) return;
    if (t->blob_err.status != IG_OK)
        ig_problem_set(&p, problem_of(t->blob_err.status), NULL, "%.480s", t->blob_err.text);
    ig_exchange_set_ctx(ex, NULL);
    const ig_route *route = t->route;
    free_task(t);
    fr_answer_problem(f, ex, route, &p);
}

void fr_tasks_stop(fr_front *f)
{
    for (fr_task *t = f->tasks; t; t = t->next) t->cancel = true;
    while (f->tasks) {
        fr_task *t = f->tasks;
        if (!t->blob && t->work) pthread_join(t->thread, NULL);
        if (t->ex) ig_exchange_set_ctx(t->ex, NULL);
        free_task(t);
    }
}
