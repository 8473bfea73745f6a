/* ingle serve: the service. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "args.h"
#include "base/mem.h"
#include "ingle.h"
#include "out.h"
#include "serve/serve.h"
#include "store/store.h"
#include "verbs.h"

enum { MODELS_MAX = 256 };

/* NAME=PATH or PATH. A path that has a '=' in a folder's name is written with ./ or / in front. */
static bool split_model(const char *text, char *name, size_t n, ig_front_file *out)
{
    const char *equal = strchr(text, '=');
    if (!equal || text[0] == '/' || text[0] == '.') {
        *out = (ig_front_file){NULL, text};
        return true;
    }
    size_t len = (size_t)(equal - text);
    if (!len || len >= n) return false;
    memcpy(name, text, len);
    name[len] = 0;
    *out = (ig_front_file){name, equal + 1};
    return true;
}

/* "5m", "90s", "1h", "-1": how long an unused model stays. */
static bool duration(const char *text, int64_t *ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    double value;
    size_t n = strlen(text), unit = strspn(text, "-+.0123456789");
    char digits[32];
    if (!n || unit >= sizeof digits) return false;
    memcpy(digits, text, unit);
    digits[unit] = 0;
    if (!cli_parse_real(digits, false, &value) || value > 1e9) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(text + unit, units[i].unit)) {
            *ms = value < 0 ? -1 : (int64_t)(value * units[i].ms);
            return true;
        }
    return false;
}

static void read_lists(const cli_call *call, ig_front_config *c)
{
    const cli_value *listen = cli_get(call, "listen"), *hosts = cli_get(call, "host"),
                    *origins = cli_get(call, "origin");
    c->listen = listen->list, c->n_listen = listen->n_list;
    c->hosts = hosts->list, c->n_hosts = hosts->n_list;
    c->origins = origins->list, c->n_origins = origins->n_list;
}

/* The store lies in the state folder; without one where INGLE_STORE or the standard says. */
static bool choose_store(const cli_call *call, char *out, size_t n, ig_error *err)
{
    const char *state = cli_text(call, "state");
    if (!state) return ig_store_place(out, n, err) == IG_OK;
    if (mkdir(state, 0700) && errno != EEXIST) {
        ig_fail_errno(err, IG_DENIED, errno, "cannot make the state folder %s", state);
        return false;
    }
    if (snprintf(out, n, "%s/store", state) < (int)n) return true;
    ig_fail(err, IG_TOO_LARGE, 0, "the path %.200s is too long", state);
    return false;
}

int cli_serve(const cli_call *call)
{
    const cli_value *models = cli_get(call, "model");
    static const size_t name_bytes = 256;
    ig_error err;
    if (models->n_list > MODELS_MAX) return cli_usage("--model may be given 256 times; put the models into the store");
    ig_front_file *files = ig_calloc(models->n_list + 1, sizeof *files);
    char *names = ig_calloc(models->n_list + 1, name_bytes);
    ig_front_config c = {.version = ingle_version(),
                         .tls_cert = cli_text(call, "tls-cert"),
                         .tls_key = cli_text(call, "tls-key"),
                         .api_keys = cli_text(call, "api-keys"),
                         .store = cli_text(call, "store"),
                         .models = files,
                         .n_models = models->n_list,
                         .default_model = cli_text(call, "default"),
                         .n_threads = cli_count(call, "threads", 0),
                         .n_ctx = cli_count(call, "ctx", 0),
                         .n_parallel = cli_count(call, "parallel", 0),
                         .n_queue = cli_count(call, "queue", 0),
                         .memory_max = (uint64_t)(cli_get(call, "memory")->real * (double)(1 << 30)),
                         .kv = cli_text(call, "kv"),
                         .quiet = cli_set(call, "quiet")};
    int code = -1;
    if (!files || !names) code = cli_fail("out of memory for the list of models");
    for (size_t i = 0; code < 0 && i < models->n_list; i++)
        if (!split_model(models->list[i], names + i * name_bytes, name_bytes, &files[i]))
            code = cli_usage("--model expects NAME=PATH or PATH, such as tiny=models/tiny.gguf");
    char place[4096];
    if (code < 0 && !c.store && !choose_store(call, place, sizeof place, &err)) code = cli_fail(err.text);
    if (!c.store) c.store = place;
    const char *keep = cli_text(call, "keep-alive");
    c.keep_alive_set = keep != NULL;
    if (code < 0 && keep && !duration(keep, &c.keep_alive_ms)) {
        cli_bad_value(call, "keep-alive", "a time such as 5m, 90s or -1 for ever", &err);
        code = cli_usage(err.text);
    }
    read_lists(call, &c);
    if (code < 0) code = ig_front_run(&c, &err) == IG_OK ? CLI_DONE : cli_fail(err.text);
    ig_free(files);
    ig_free(names);
    return code;
}
