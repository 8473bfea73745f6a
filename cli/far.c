#include "far.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"
#include "out.h"
#include "shop.h"

static const char *host_of(const cli_call *call) { return cli_text(call, "host"); }

static const char *text(const json_t *object, const char *name)
{
    const char *z = json_string_value(json_object_get(object, name));
    return z ? z : "";
}

/* ------------------------------------------------------------------------------------------------ pull */

typedef struct pull {
    const cli_call *call;
    char shown[128]; /* the line printed last */
    bool quiet, failed, done;
    ig_error err;
} pull;

static void show_progress(pull *p, const char *status, uint64_t done, uint64_t total)
{
    if (p->quiet) return;
    if (total && cli_bar_shows()) {
        cli_bar((double)done / (double)total, status);
        return;
    }
    if (!strcmp(p->shown, status)) return;
    snprintf(p->shown, sizeof p->shown, "%s", status);
    cli_bar_end();
    cli_note("%s\n", status);
}

static bool on_line(void *ctx, const json_t *line)
{
    pull *p = ctx;
    const char *error = json_string_value(json_object_get(line, "error"));
    if (error) {
        ig_fail(&p->err, IG_BAD_INPUT, 0, "%.480s", error);
        p->failed = true;
        return false;
    }
    p->done = !strcmp(text(line, "status"), "success");
    if (!p->done)
        show_progress(p, text(line, "status"), (uint64_t)json_integer_value(json_object_get(line, "completed")),
                      (uint64_t)json_integer_value(json_object_get(line, "total")));
    return !shop_interrupted();
}

static ig_status stream(pull *p, const char *path, json_t *body)
{
    ig_status status = body ? daemon_stream(host_of(p->call), path, body, on_line, p, &p->err)
                            : ig_fail(&p->err, IG_NO_MEMORY, 0, "out of memory");
    json_decref(body);
    cli_bar_end();
    if (status != IG_OK) return status;
    if (p->failed) return p->err.status;
    if (shop_interrupted()) return ig_fail(&p->err, IG_CANCELLED, 0, "interrupted");
    return p->done ? IG_OK : ig_fail(&p->err, IG_IO, 0, "the service ended the answer before it was whole");
}

static bool on_read(void *ctx, uint64_t done, uint64_t total)
{
    show_progress(ctx, "reading the file", done, total);
    return !shop_interrupted();
}

static bool on_sent(void *ctx, uint64_t sent, uint64_t total)
{
    pull *p = ctx;
    show_progress(p, "sending the file", sent, total);
    return !shop_interrupted();
}

typedef struct sending {
    pull *p;
    json_t *files; /* name to digest */
} sending;

static ig_status send_file(void *ctx, const char *path, const char *name, ig_error *err)
{
    sending *s = ctx;
    pull *p = s->p;
    ig_digest digest;
    char text[IG_HEX_LEN + 8];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot read %.300s", path);
    ig_status status = ig_hash_fd(fd, path, on_read, p, &digest, NULL, err);
    close(fd);
    if (status != IG_OK) return status;
    snprintf(text, sizeof text, "sha256:%s", digest.hex);
    status = daemon_upload(host_of(p->call), path, text, on_sent, p, err);
    cli_bar_end();
    if (status == IG_OK) json_object_set_new(s->files, name, json_string(text));
    return status;
}

/* A client names no paths: it sends the files, and then says what they make. */
static ig_status pull_file(pull *p, const char *path, const char *name)
{
    ig_name own;
    sending sent = {p, json_object()};
    ig_status status = ig_model_files(path, &own, send_file, &sent, &p->err);
    if (status == IG_OK)
        return stream(p, "/api/create", json_pack("{s:s, s:o}", "model", name ? name : own.text, "files", sent.files));
    json_decref(sent.files);
    return status;
}

int far_push(const cli_call *call)
{
    pull p = {.call = call, .quiet = cli_set(call, "quiet")};
    if (cli_set(call, "form") || cli_set(call, "insecure"))
        return cli_usage("--form and --insecure are not for the service to take; push from a store with --store DIR");
    shop_catch_interrupt();
    json_t *body = json_pack("{s:s, s:s, s:b}", "model", call->args[0], "destination", call->args[1], "stream", 1);
    if (stream(&p, "/api/push", body) != IG_OK) return shop_fail(&p.err);
    cli_outf("%s  %s\n", call->args[0], call->args[1]);
    return CLI_DONE;
}

/* What can only be a file of this computer. */
static bool looks_like_path(const char *z)
{
    size_t n = strlen(z);
    if (strstr(z, "://")) return false;
    return *z == '/' || *z == '.' || *z == '~' || (n > 5 && !strcmp(z + n - 5, ".gguf"));
}

int far_pull(const cli_call *call)
{
    pull p = {.call = call, .quiet = cli_set(call, "quiet")};
    const char *source = call->args[0], *name = call->n_args > 1 ? call->args[1] : NULL;
    struct stat st;
    char why[600];
    if (!strncmp(source, "file://", 7)) source += 7; /* the service reads none: it is sent */
    if (stat(source, &st) && looks_like_path(source)) {
        snprintf(why, sizeof why, "cannot read %.400s: %s", source, strerror(errno));
        return cli_fail(why);
    }
    if (cli_set(call, "insecure"))
        return cli_usage("--insecure is not for a service to do; pull into a folder with --store DIR");
    shop_catch_interrupt();
    ig_status status = !stat(source, &st)
                           ? pull_file(&p, source, name)
                           : stream(&p, "/api/pull", json_pack("{s:s, s:s*}", "model", source, "destination", name));
    if (status != IG_OK) return shop_fail(&p.err);
    if (!p.quiet) cli_note("success\n");
    return CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ list, rm, cp */

/* Seconds of an RFC 3339 time, without its fraction and zone (the service writes UTC). */
static int64_t seconds_of(const char *when)
{
    struct tm t = {0};
    if (sscanf(when, "%d-%d-%dT%d:%d:%d", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min, &t.tm_sec) != 6)
        return 0;
    t.tm_year -= 1900;
    t.tm_mon--;
    return timegm(&t);
}

int far_list(const cli_call *call)
{
    json_t *answer, *m;
    size_t i;
    int width = 4;
    ig_error err;
    if (daemon_call(host_of(call), "GET", "/api/tags", NULL, &answer, &err) != IG_OK) return cli_fail(err.text);
    json_t *models = json_object_get(answer, "models");
    json_array_foreach(models, i, m)
    {
        int n = (int)strlen(text(m, "name"));
        if (n > width) width = n;
    }
    if (cli_set(call, "json"))
        cli_out_json(answer);
    else if (!cli_set(call, "quiet"))
        cli_outf("%-*s  %-12s  %10s  %s\n", width, "NAME", "ID", "SIZE", "MODIFIED");
    json_array_foreach(models, i, m)
    {
        char size[16], age[32];
        if (cli_set(call, "json")) break;
        if (cli_set(call, "quiet"))
            cli_outf("%s\n", text(m, "name"));
        else
            cli_outf("%-*s  %-12.12s  %10s  %s\n", width, text(m, "name"), text(m, "digest"),
                     cli_bytes((uint64_t)json_integer_value(json_object_get(m, "size")), size),
                     shop_age(seconds_of(text(m, "modified_at")), age));
    }
    json_decref(answer);
    return CLI_DONE;
}

/* Dry runs: whether the service has the model. */
static ig_status look_at(const cli_call *call, const char *name, ig_error *err)
{
    json_t *body = json_pack("{s:s}", "model", name);
    ig_status st = daemon_call(host_of(call), "POST", "/api/show", body, NULL, err);
    json_decref(body);
    return st;
}

int far_dry(const cli_call *call, const char *what)
{
    ig_error err;
    if (look_at(call, call->args[0], &err) != IG_OK) return cli_fail(err.text);
    cli_outf("%s would be %s (nothing was done)\n", call->args[0], what);
    return CLI_DONE;
}

static ig_status remove_model(const cli_call *call, const char *name, bool *gone, ig_error *err)
{
    json_t *body = json_pack("{s:s}", "model", name);
    ig_status st = cli_set(call, "dry-run") ? look_at(call, name, err)
                                            : daemon_call(host_of(call), "DELETE", "/api/delete", body, NULL, err);
    json_decref(body);
    *gone = st != IG_OK && cli_set(call, "absent") && strstr(err->text, "not found");
    return *gone ? IG_OK : st;
}

int far_rm(const cli_call *call)
{
    int code = CLI_DONE;
    for (size_t i = 0; i < call->n_args; i++) {
        ig_error err;
        bool gone;
        if (remove_model(call, call->args[i], &gone, &err) != IG_OK)
            code = cli_fail(err.text);
        else if (gone)
            cli_outf("unchanged: there is no %s\n", call->args[i]);
        else
            cli_outf(cli_set(call, "dry-run") ? "%s would be removed (nothing was written)\n" : "removed %s\n",
                     call->args[i]);
    }
    return code;
}

int far_cp(const cli_call *call)
{
    if (cli_set(call, "dry-run")) return far_dry(call, "copied");
    ig_error err;
    json_t *body = json_pack("{s:s, s:s}", "source", call->args[0], "destination", call->args[1]);
    ig_status status = daemon_call(host_of(call), "POST", "/api/copy", body, NULL, &err);
    json_decref(body);
    return status == IG_OK ? CLI_DONE : cli_fail(err.text);
}
