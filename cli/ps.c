/* ingle ps, status, stop: what the running service does. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "args.h"
#include "daemon.h"
#include "far.h"
#include "out.h"
#include "verbs.h"

static int fetch(const cli_call *call, json_t **status)
{
    ig_error err;
    if (daemon_call(cli_text(call, "host"), "GET", "/ingle/status", NULL, status, &err) == IG_OK) return CLI_DONE;
    return cli_fail(err.text);
}

static json_int_t number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name)
{
    const char *z = json_string_value(json_object_get(object, name));
    return z ? z : "";
}

/* "4 minutes", "forever". */
static void until(json_int_t expires_ns, bool active, bool pinned, char out[32])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_int_t s = expires_ns / 1000000000 - now.tv_sec;
    if (pinned)
        snprintf(out, 32, active ? "pinned, in use" : "pinned");
    else if (active)
        snprintf(out, 32, "in use");
    else if (!expires_ns)
        snprintf(out, 32, "forever");
    else if (s >= 120)
        snprintf(out, 32, "%lld minutes", (long long)(s / 60));
    else
        snprintf(out, 32, "%lld seconds", (long long)(s > 0 ? s : 0));
}

static void print_model(const json_t *m)
{
    char bytes[16], stay[32];
    bool active = number(m, "running") + number(m, "waiting") > 0;
    until(number(m, "expires_ns"), active, json_is_true(json_object_get(m, "pinned")), stay);
    cli_outf("%-32s %-9s %10s %8" JSON_INTEGER_FORMAT " %8" JSON_INTEGER_FORMAT " %8" JSON_INTEGER_FORMAT "  %s\n",
             text(m, "model"), text(m, "state"), cli_bytes((uint64_t)number(m, "memory_bytes"), bytes),
             number(m, "n_ctx"), number(m, "running"), number(m, "waiting"), stay);
}

static void print_models(const json_t *status)
{
    size_t i;
    json_t *m, *models = json_object_get(status, "models");
    cli_outf("%-32s %-9s %10s %8s %8s %8s  %s\n", "NAME", "STATE", "MEMORY", "CONTEXT", "RUNNING", "WAITING", "UNTIL");
    json_array_foreach(models, i, m) print_model(m);
}

int cli_ps(const cli_call *call)
{
    json_t *status;
    int code = fetch(call, &status);
    if (code != CLI_DONE) return code;
    if (cli_set(call, "json")) {
        json_t *out = json_pack("{s:O}", "models", json_object_get(status, "models"));
        cli_out_json(out);
        json_decref(out);
    } else
        print_models(status);
    json_decref(status);
    return CLI_DONE;
}

/* "2026-11-21 10:00", or "-". */
static void date(const json_t *object, const char *name, char out[32])
{
    time_t t = (time_t)number(object, name);
    struct tm tm;
    if (!t || !localtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%d %H:%M", &tm)) snprintf(out, 32, "-");
}

int cli_compliance_print(const json_t *report)
{
    const json_t *all, *x;
    size_t i;
    char when[32];
    all = json_object_get(report, "catalogues");
    json_array_foreach(all, i, x)
    {
        date(x, "since", when);
        cli_outf("catalogue %s  %s since %s  %s\n", text(x, "name"), text(x, "state"), when, text(x, "source"));
        if (*text(x, "why")) cli_outf("    %s\n", text(x, "why"));
    }
    all = json_object_get(report, "models");
    json_array_foreach(all, i, x)
    {
        date(x, "since", when);
        cli_outf("%-9s %-32s %-8s since %s  %.12s  %s\n", text(x, "wanted"), text(x, "name"), text(x, "state"), when,
                 text(x, "digest"), text(x, "rule"));
        if (*text(x, "why")) cli_outf("    %s\n", text(x, "why"));
    }
    bool good = json_is_true(json_object_get(report, "compliant"));
    cli_outf("%s\n", good ? "everything that is required is here" : "not everything is as it should be");
    return good ? CLI_DONE : CLI_NO;
}

static int compliance(const cli_call *call)
{
    json_t *report;
    ig_error err;
    if (daemon_call(cli_text(call, "host"), "GET", "/ingle/compliance", NULL, &report, &err) != IG_OK)
        return cli_fail(err.text);
    int code = CLI_DONE;
    if (cli_set(call, "json")) {
        cli_out_json(report);
        code = json_is_true(json_object_get(report, "compliant")) ? CLI_DONE : CLI_NO;
    } else
        code = cli_compliance_print(report);
    json_decref(report);
    return code;
}

/* "a, b". */
static void print_names(const char *what, const json_t *list)
{
    size_t n = json_array_size(list);
    if (n) cli_outf("%s: ", what);
    for (size_t i = 0; i < n; i++)
        cli_outf("%s%s", json_string_value(json_array_get(list, i)), i + 1 < n ? ", " : "\n");
}

/* Who may reach what. */
static void print_access(const json_t *status)
{
    const json_t *access = json_object_get(status, "access"), *callers = json_object_get(access, "callers"), *x;
    size_t i;
    json_array_foreach(json_object_get(status, "addresses"), i, x)
    {
        const char *who = text(json_array_get(callers, i), "who");
        cli_outf("listens at %s%s%s\n", json_string_value(x), *who ? ": " : "", who);
    }
    if (!access) return; /* an older service */
    cli_outf("may use models: %s\n", text(access, "models"));
    cli_outf("may change models: %s\n", text(access, "changes"));
    print_names("further names of this machine", json_object_get(access, "hosts"));
    print_names("pages that may ask", json_object_get(access, "origins"));
}

int cli_status(const cli_call *call)
{
    if (cli_set(call, "compliance")) return compliance(call);
    json_t *status;
    char reserved[16], budget[16];
    int code = fetch(call, &status);
    if (code != CLI_DONE) return code;
    if (cli_set(call, "json"))
        cli_out_json(status);
    else {
        cli_outf("ingle %s, process %" JSON_INTEGER_FORMAT ", up %.0f s%s\n", text(status, "version"),
                 number(status, "pid"), json_number_value(json_object_get(status, "uptime_s")),
                 json_is_true(json_object_get(status, "stopping")) ? ", stopping" : "");
        print_access(status);
        cli_outf("memory for models: %s of %s\n",
                 cli_bytes((uint64_t)number(status, "memory_reserved_bytes"), reserved),
                 cli_bytes((uint64_t)number(status, "memory_budget_bytes"), budget));
        cli_outf("%" JSON_INTEGER_FORMAT " requests so far, %" JSON_INTEGER_FORMAT " under way\n\n",
                 number(status, "requests"), number(status, "queue"));
        if (json_is_true(json_object_get(status, "audit_content")))
            cli_outf("prompts and answers are recorded in the audit log\n\n");
        print_models(status);
    }
    json_decref(status);
    return CLI_DONE;
}

int cli_stop(const cli_call *call)
{
    if (cli_set(call, "dry-run")) return far_dry(call, "unloaded");
    ig_error err;
    json_t *body = json_pack("{s:s, s:i, s:b}", "model", call->args[0], "keep_alive", 0, "stream", 0);
    json_t *answer = NULL;
    ig_status status = body ? daemon_call(cli_text(call, "host"), "POST", "/api/generate", body, &answer, &err)
                            : ig_fail(&err, IG_NO_MEMORY, 0, "out of memory");
    if (json_array_size(json_object_get(json_object_get(answer, "ingle"), "ignored")))
        cli_note("ingle: %s stays loaded, because others use it\n", call->args[0]);
    json_decref(answer);
    json_decref(body);
    return status == IG_OK ? CLI_DONE : cli_fail(err.text);
}

static ig_status set_pin(const cli_call *call, bool pinned, ig_error *err)
{
    json_t *answer = NULL, *body = json_pack("{s:s, s:b}", "model", call->args[0], "pinned", (int)pinned);
    ig_status st = body ? daemon_call(cli_text(call, "host"), "POST", "/ingle/pin", body, &answer, err)
                        : ig_fail(err, IG_NO_MEMORY, 0, "out of memory");
    if (st == IG_OK && pinned && !json_is_true(json_object_get(answer, "kept")))
        cli_note("ingle: the service has no store, so it forgets this when it ends\n");
    json_decref(answer);
    json_decref(body);
    return st;
}

/* First loaded, so that what cannot be loaded is not pinned. */
int cli_pin(const cli_call *call)
{
    if (cli_set(call, "dry-run")) return far_dry(call, "loaded and pinned");
    ig_error err;
    json_t *body = json_pack("{s:s, s:b}", "model", call->args[0], "stream", 0);
    ig_status st = body ? daemon_call(cli_text(call, "host"), "POST", "/api/generate", body, NULL, &err)
                        : ig_fail(&err, IG_NO_MEMORY, 0, "out of memory");
    json_decref(body);
    if (st == IG_OK) st = set_pin(call, true, &err);
    return st == IG_OK ? CLI_DONE : cli_fail(err.text);
}

int cli_unpin(const cli_call *call)
{
    if (cli_set(call, "dry-run")) return far_dry(call, "unpinned");
    ig_error err;
    return set_pin(call, false, &err) == IG_OK ? CLI_DONE : cli_fail(err.text);
}
