/* The front as a whole: start, requests to their handlers, signals, stop. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/os.h"
#include "serve/front/fr.h"

#define PRESSURE_ROUNDS     5 /* seconds between looks at the machine's memory */
#define FR_CONTEXT_STANDARD 32768

void fr_say(fr_front *f, const char *format, ...)
{
    if (f->config->quiet) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0) return;
    for (char *c = line; *c; c++) /* H28: what others named must not forge lines */
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
    if (f->config->say)
        f->config->say(f->config->say_ctx, line);
    else
        fprintf(stderr, "%s\n", line);
}

/* ------------------------------------------------------------------------------------------------ requests */

static bool is_options(const ig_incoming *in) { return ig_str_is(in->head->method, "OPTIONS"); }

/* What a browser asks before it asks: which methods and headers are fine. */
static void answer_options(fr_front *f, ig_exchange *ex, const ig_incoming *in)
{
    ig_match match = {0};
    ig_problem p;
    if (!fr_admit(f, in, &match, &p) && p.kind != IG_P_NO_AUTH) {
        fr_answer_problem(f, ex, NULL, &p);
        return;
    }
    fr_fields x;
    fr_fields_begin(f, &x, ex, NULL, NULL);
    if (!fr_admin_knows(in->head->path, x.allow, sizeof x.allow))
        ig_dialect_methods(in->head->path, x.allow, sizeof x.allow);
    fr_fields_add(&x, "Allow", x.allow);
    fr_fields_add(&x, "Access-Control-Allow-Methods", x.allow);
    const ig_http_field *asked = ig_http_find(in->head, "access-control-request-headers");
    if (asked && x.n < FR_FIELDS_MAX)
        x.field[x.n++] = (ig_http_field){IG_STR("Access-Control-Allow-Headers"), asked->value};
    fr_fields_add(&x, "Access-Control-Max-Age", "600");
    ig_exchange_respond(ex, 204, x.field, x.n, NULL, 0);
}

static bool match_of(const ig_incoming *in, ig_match *match, ig_problem *p)
{
    char method[IG_HTTP_METHOD_MAX + 1];
    snprintf(method, sizeof method, "%.*s", (int)in->head->method.len, in->head->method.ptr);
    return ig_dialect_match(method, in->head->path, match, p);
}

/* A body that is packed would be read as broken JSON. */
static bool is_packed(const ig_incoming *in, ig_problem *p)
{
    const ig_http_field *field = ig_http_find(in->head, "content-encoding");
    if (!field || !in->has_body || ig_http_same(field->value, "identity")) return false;
    ig_problem_set(p, IG_P_MEDIA, NULL, "Content-Encoding %.*s is not understood here; send the body as it is",
                   field->value.len < 40 ? (int)field->value.len : 40, field->value.ptr);
    return true;
}

static void on_head(void *ctx, ig_exchange *ex, const ig_incoming *in, ig_body_plan *plan)
{
    fr_front *f = ctx;
    ig_match match = {0};
    ig_problem p;
    f->counts.requests++;
    if (is_options(in)) {
        answer_options(f, ex, in);
        return;
    }
    if (ig_str_starts(in->head->path, IG_STR("/ingle/"))) {
        plan->max_bytes = IG_BODY_BYTES_MAX;
        return;
    }
    bool found = match_of(in, &match, &p);
    ig_problem denied;
    if (!fr_admit(f, in, &match, &denied)) {
        fr_account_denied(f, in, &denied);
        fr_answer_problem(f, ex, match.route, &denied);
    } else if (!found || is_packed(in, &p))
        fr_answer_problem(f, ex, match.route, &p);
    else if (f->stopping) {
        ig_problem_set(&p, IG_P_UNAVAILABLE, NULL, "the service is stopping; try again later");
        fr_answer_problem(f, ex, match.route, &p);
    } else if (match.route->op == IG_OP_BLOB_PUT) {
        fr_policy_enter(f, in);
        fr_blob_begin(f, ex, &match, plan);
        fr_policy_leave(f);
    } else
        plan->max_bytes = IG_BODY_BYTES_MAX;
}

static void on_request(void *ctx, ig_exchange *ex, const ig_incoming *in)
{
    fr_front *f = ctx;
    ig_match match = {0};
    ig_problem p;
    if (ig_exchange_ctx(ex)) {
        fr_blob_end(f, ex);
        return;
    }
    char methods[64];
    const bool own = fr_admin_knows(in->head->path, methods, sizeof methods);
    if (!own && !match_of(in, &match, &p)) {
        fr_answer_problem(f, ex, match.route, &p);
        return;
    }
    if (!own && fr_is_public(&match))
        fr_policy_enter(f, in);
    else if (!fr_policy_begin(f, ex, in))
        return;
    fr_request(f, ex, in);
    fr_policy_leave(f);
}

static void request(fr_front *f, ig_exchange *ex, const ig_incoming *in, bool announced)
{
    ig_match match = {0};
    ig_problem p;
    if (fr_admin(f, ex, in) || !match_of(in, &match, &p)) return; /* it did before */
    fr_local_fn local = fr_local_of(match.route->op);
    if (!local) {
        fr_job_start(f, ex, &match, in);
        return;
    }
    ig_request req = {0};
    bool parses = match.route->parse != NULL;
    if (parses && !ig_dialect_parse(&match, in->head->query, in->body, &req, &p))
        fr_answer_problem(f, ex, match.route, &p);
    else if (announced || fr_account_admin(f, ex, in, &req))
        local(f, ex, &match, &req);
    if (parses) ig_request_fini(&req);
}

void fr_request(fr_front *f, ig_exchange *ex, const ig_incoming *in) { request(f, ex, in, false); }

void fr_request_announced(fr_front *f, ig_exchange *ex, const ig_problem *problem)
{
    const ig_incoming *in = ig_exchange_request(ex);
    ig_match match = {0};
    ig_problem p;
    if (problem) {
        (void)match_of(in, &match, &p);
        fr_answer_problem(f, ex, match.route, problem);
        return;
    }
    fr_policy_enter(f, in);
    request(f, ex, in, true);
    fr_policy_leave(f);
}

static void on_gone(void *ctx, ig_exchange *ex)
{
    (void)ctx;
    fr_party *party = ig_exchange_ctx(ex);
    if (party) party->gone(party);
}

static const ig_handler handler = {on_head, on_request, NULL, on_gone, fr_refused};

/* ------------------------------------------------------------------------------------------------ time and signals */

double fr_memory_pressure(const fr_front *f)
{
    ig_buf text;
    ig_error err;
    ig_buf_init(&text, 4096);
    double value = 0;
    const char *path = f->config->pressure ? f->config->pressure : "/proc/pressure/memory";
    if (ig_file_read(path, &text, &err) == IG_OK && ig_buf_add(&text, "", 1)) {
        const char *at = strstr(text.ptr, "some avg10=");
        if (at) value = strtod(at + 11, NULL);
    }
    ig_buf_fini(&text);
    return value;
}

static void on_second(void *ctx)
{
    fr_front *f = ctx;
    static const double too_much = 10; /* percent */
    fr_pool_child(f);
    if (!f->workers) return; /* the next job sets the timer again */
    if (++f->seconds % PRESSURE_ROUNDS == 0 && fr_memory_pressure(f) > too_much) fr_pool_pressure(f);
    fr_events_status(f);
    fr_books_tick(f);
    fr_tick(f);
}

void fr_tick(fr_front *f) { ig_timer_set(f->loop, &f->second, ig_loop_now(f->loop) + FR_NS_PER_S, on_second, f); }

static void tell_content(fr_front *f)
{
    if (f->books && fr_content_on(f))
        fr_say(f, "prompts and answers are recorded in the audit log (content in [audit])");
}

static void on_reload(void *ctx)
{
    fr_front *f = ctx;
    const ig_front_config *c = f->config;
    ig_error err;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(ig_now_ns() / 1000));
    if (c->tls_cert && ig_server_reload_tls(f->server, c->tls_cert, c->tls_key, &err) != IG_OK)
        fr_say(f, "the certificate stays as it was: %s", err.text);
    fr_policy_reload(f);
    fr_follow_reload(f);
    fr_catalog_refresh(f, true);
    fr_engines_refresh(f);
    fr_drafts_refresh(f);
    tell_content(f);
    fr_say(f, "read again: policy, keys%s, the list of models", c->tls_cert ? ", the certificate" : "");
    sd_notify(0, "READY=1");
}

static void on_watchdog(void *ctx)
{
    fr_front *f = ctx;
    sd_notify(0, "WATCHDOG=1");
    ig_timer_set(f->loop, &f->watchdog, ig_loop_now(f->loop) + f->watchdog_ns, on_watchdog, f);
}

static void start_watchdog(fr_front *f)
{
    uint64_t us = 0;
    if (sd_watchdog_enabled(0, &us) <= 0 || !us) return;
    f->watchdog_ns = us * 1000 / 2;
    on_watchdog(f);
}

static void on_child(void *ctx) { fr_pool_child(ctx); }

static void on_stopped(void *ctx)
{
    fr_front *f = ctx;
    ig_loop_stop(f->loop);
}

static void on_stop(void *ctx)
{
    fr_front *f = ctx;
    if (f->stopping) {
        ig_loop_stop(f->loop); /* asked twice: at once */
        return;
    }
    f->stopping = true;
    sd_notify(0, "STOPPING=1");
    fr_events_stop(f);
    fr_say(f, "stopping: %zu answers may finish within %u s", f->n_jobs, f->stop_ms / 1000);
    ig_server_stop(f->server, f->stop_ms, on_stopped, f);
}

/* ------------------------------------------------------------------------------------------------ start */

/* unix:$XDG_RUNTIME_DIR/ingle/ingle.sock, or /run/ingle/ingle.sock for root; "" where there is no such place. */
static void standard_socket(char *out, size_t n)
{
    const char *run = getuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
    char folder[3072];
    *out = 0;
    if (!run || *run != '/' || snprintf(folder, sizeof folder, "%s/ingle", run) >= (int)sizeof folder) return;
    if (mkdir(folder, 0755) && errno != EEXIST) return;
    snprintf(out, n, "unix:%s/ingle.sock", folder);
}

static ig_status listen_to(fr_front *f, const char *address, ig_error *err)
{
    ig_listen l = {.address = address,
                   .unix_mode = getuid() == 0 ? 0666 : 0600,
                   .tls_cert = f->config->tls_cert,
                   .tls_key = f->config->tls_key,
                   .keys_required = f->config->require_keys || fr_keys_exist(f)};
    return ig_server_listen(f->server, &l, err);
}

static ig_status listen_all(fr_front *f, ig_error *err)
{
    unsigned inherited = 0;
    ig_listen l = {.tls_cert = f->config->tls_cert,
                   .tls_key = f->config->tls_key,
                   .keys_required = f->config->require_keys || fr_keys_exist(f)};
    IG_TRY(ig_server_listen_inherited(f->server, &l, &inherited, err));
    for (size_t i = 0; i < f->config->n_listen; i++) IG_TRY(listen_to(f, f->config->listen[i], err));
    if (inherited || f->config->n_listen) return IG_OK;
    char socket[4096];
    ig_error unused;
    standard_socket(socket, sizeof socket);
    if (*socket && listen_to(f, socket, &unused) != IG_OK) fr_say(f, "%s", unused.text);
    return listen_to(f, "tcp:127.0.0.1:11434", err);
}

static void announce(fr_front *f)
{
    char line[512];
    size_t at = 0;
    for (size_t i = 0; i < ig_server_n_listeners(f->server) && at < sizeof line; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%s", i ? ", " : "", ig_server_address(f->server, i));
    size_t n = 0;
    for (fr_entry *e = f->entries; e; e = e->next) n++;
    fr_say(f, "ingle %s listens at %s", f->config->version, line);
    fr_say(f, "%zu model%s, at most %.1f GiB of memory for all", n, n == 1 ? "" : "s",
           (double)f->memory_max / (1 << 30));
    fr_reach_say(f);
    tell_content(f);
    sd_notify(0, "READY=1");
    start_watchdog(f);
}

static ig_status set_up(fr_front *f, ig_error *err)
{
    const ig_front_config *c = f->config;
    f->started_ns = ig_now_ns();
    f->n_threads = c->n_threads ? c->n_threads : ig_cores();
    f->memory_max = c->memory_max ? c->memory_max : ig_memory_available() / 4 * 3;
    f->n_ctx = c->n_ctx ? c->n_ctx : FR_CONTEXT_STANDARD;
    f->n_parallel = c->n_parallel ? c->n_parallel : 4;
    f->n_queue = c->n_queue ? c->n_queue : 512;
    f->stop_ms = c->stop_ms ? c->stop_ms : 20000;
    f->keep_alive_ms = c->keep_alive_set ? c->keep_alive_ms : 300000;
    f->access = (ig_access_rules){c->hosts, c->n_hosts, c->origins, c->n_origins};
    ssize_t n = c->program ? snprintf(f->program, sizeof f->program, "%s", c->program)
                           : readlink("/proc/self/exe", f->program, sizeof f->program - 1);
    if (n <= 0 || (size_t)n >= sizeof f->program)
        return ig_fail(err, IG_IO, 0, "the path of this program is not known");
    ig_raise_open_files();
    IG_TRY(ig_loop_new(&f->loop, err));
    IG_TRY(ig_loop_signal(f->loop, SIGTERM, on_stop, f, err));
    IG_TRY(ig_loop_signal(f->loop, SIGINT, on_stop, f, err));
    IG_TRY(ig_loop_signal(f->loop, SIGHUP, on_reload, f, err));
    IG_TRY(ig_loop_signal(f->loop, SIGCHLD, on_child, f, err));
    IG_TRY(fr_policy_open(f, err));
    IG_TRY(fr_catalog_open(f, err));
    fr_engines_refresh(f);
    fr_pins_open(f);
    fr_digests_open(f);
    IG_TRY(fr_follow_open(f, err));
    IG_TRY(fr_books_open(f, err));
    IG_TRY(ig_server_new(f->loop, &handler, f, NULL, &f->server, err));
    return listen_all(f, err);
}

static void tear_down(fr_front *f)
{
    fr_follow_hush(f);
    fr_gc_stop(f);
    fr_digests_close(f);
    fr_tasks_stop(f);
    fr_job_drop_all(f);
    fr_events_drop_all(f);
    fr_pool_close(f);
    fr_books_close(f);
    ig_server_free(f->server);
    fr_follow_stop(f); /* may wait for a web server that hangs: behind the books */
    fr_policy_close(f);
    fr_catalog_close(f);
    ig_loop_free(f->loop);
    json_decref(f->pins);
    json_decref(f->engines);
    ig_free(f);
}

ig_status ig_front_run(const ig_front_config *config, ig_error *err)
{
    fr_front *f = ig_calloc(1, sizeof *f);
    if (!f) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the service");
    f->config = config;
    signal(SIGPIPE, SIG_IGN);
    ig_status status = set_up(f, err);
    if (status == IG_OK) {
        announce(f);
        fr_gc_start(f);
        fr_pins_load(f);
        fr_follow_start(f);
        status = ig_loop_run(f->loop, err);
        fr_say(f, "stopped");
    }
    tear_down(f);
    return status;
}
