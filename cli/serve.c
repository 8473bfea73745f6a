/* ingle serve: the service. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

/* What Ollama's users have set already. A flag goes before it; what was taken is said at the start. */
typedef struct environment {
    char listen[300], said[512];
    const char *listens[1];
    char origins[4096];
    const char *origin_list[64];
} environment;

static const char *variable(environment *e, const cli_call *call, const char *flag, const char *name)
{
    const char *value = getenv(name);
    if (!value || !*value || cli_set(call, flag)) return NULL;
    size_t n = strlen(e->said);
    snprintf(e->said + n, sizeof e->said - n, "%s%s", n ? ", " : "", name);
    return value;
}

static uint32_t variable_count(environment *e, const cli_call *call, const char *flag, const char *name)
{
    double value = 0;
    const char *text = getenv(name);
    if (!text || !cli_parse_real(text, false, &value) || value < 1 || value > 1e6) return 0;
    return variable(e, call, flag, name) ? (uint32_t)value : 0;
}

/* "127.0.0.1:11434", "http://localhost:8080/", ":8080", "0.0.0.0" as the address to listen at. */
static const char *variable_listen(environment *e, const cli_call *call)
{
    const char *host = variable(e, call, "listen", "OLLAMA_HOST");
    if (!host) return NULL;
    const char *scheme = strstr(host, "://");
    if (scheme) host = scheme + 3;
    size_t n = strcspn(host, "/");
    const char *bracket = memchr(host, ']', n), *from = bracket ? bracket : host;
    const char *colon = memchr(from, ':', n - (size_t)(from - host));
    snprintf(e->listen, sizeof e->listen, "tcp:%s%.*s%s", colon == host ? "127.0.0.1" : "", (int)n, host,
             colon ? "" : ":11434");
    return e->listen;
}

static size_t variable_origins(environment *e, const cli_call *call)
{
    const char *text = variable(e, call, "origin", "OLLAMA_ORIGINS");
    size_t n = 0;
    if (!text) return 0;
    snprintf(e->origins, sizeof e->origins, "%s", text);
    for (char *save, *one = strtok_r(e->origins, ",", &save); one && n < 64; one = strtok_r(NULL, ",", &save))
        e->origin_list[n++] = one + strspn(one, " ");
    return n;
}

static void read_environment(environment *e, const cli_call *call, ig_front_config *c)
{
    uint32_t n;
    if ((n = variable_count(e, call, "ctx", "OLLAMA_CONTEXT_LENGTH"))) c->n_ctx = n;
    if ((n = variable_count(e, call, "parallel", "OLLAMA_NUM_PARALLEL"))) c->n_parallel = n;
    if ((n = variable_count(e, call, "queue", "OLLAMA_MAX_QUEUE"))) c->n_queue = n;
    size_t origins = variable_origins(e, call);
    if (origins) {
        c->origins = e->origin_list;
        c->n_origins = origins;
    }
    if (variable_listen(e, call)) {
        e->listens[0] = e->listen;
        c->listen = e->listens;
        c->n_listen = 1;
    }
    c->pressure = getenv("INGLE_PRESSURE");
    c->meters = getenv("INGLE_METERS");
}

/* "https://app.example", with a port where there is one, or "*": as browsers send it. */
static bool is_origin(const char *z)
{
    const char *host = strstr(z, "://");
    if (!strcmp(z, "*")) return true;
    return host && host != z && host[3] && !host[3 + strcspn(host + 3, "/ ?#@,")];
}

/* "name", "name:port", "name:*", "[v6]". */
static bool is_host(const char *z) { return *z && !z[strcspn(z, "/ ?#@,")]; }

static bool lists_are_good(const cli_call *call, ig_error *err)
{
    const cli_value *hosts = cli_get(call, "host"), *origins = cli_get(call, "origin");
    for (size_t i = 0; i < hosts->n_list; i++)
        if (!is_host(hosts->list[i])) {
            ig_fail(err, IG_BAD_INPUT, 0,
                    "--host got \"%.200s\", expected a name such as box.example or box.example:8080", hosts->list[i]);
            return false;
        }
    for (size_t i = 0; i < origins->n_list; i++)
        if (!is_origin(origins->list[i])) {
            ig_fail(err, IG_BAD_INPUT, 0,
                    "--origin got \"%.200s\", expected what browsers send, without a path: SCHEME://NAME or "
                    "SCHEME://NAME:PORT",
                    origins->list[i]);
            return false;
        }
    return true;
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
    struct stat sb;
    if (!state) return ig_store_place(out, n, err) == IG_OK;
    if (mkdir(state, 0700) && errno != EEXIST) {
        ig_fail_errno(err, IG_DENIED, errno, "cannot make the state folder %s", state);
        return false;
    }
    if (stat(state, &sb) || !S_ISDIR(sb.st_mode)) {
        ig_fail(err, IG_BAD_INPUT, 0, "the state folder %.300s is no folder; name another with --state DIR", state);
        return false;
    }
    /* Keys lie there, too, unless the environment says where. */
    if (snprintf(out, n, "%s/keys.json", state) < (int)n) (void)setenv("INGLE_KEYS", out, 0);
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
                         .require_keys = cli_set(call, "require-keys"),
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
                         .spill_max = (uint64_t)(cli_get(call, "spill")->real * (double)(1 << 30)),
                         .speculate = cli_text(call, "speculate"),
                         .ledger = cli_text(call, "ledger"),
                         .audit = cli_text(call, "audit"),
                         .audit_required = cli_set(call, "audit-required"),
                         .audit_journal = cli_set(call, "audit-journal"),
                         .quiet = cli_set(call, "quiet")};
    int code = -1;
    if (!files || !names) code = cli_fail("out of memory for the list of models");
    for (size_t i = 0; code < 0 && i < models->n_list; i++)
        if (!split_model(models->list[i], names + i * name_bytes, name_bytes, &files[i]))
            code = cli_usage("--model expects NAME=PATH or PATH, such as tiny=models/tiny.gguf");
    char place[4096];
    environment env = {0};
    if (code < 0 && !c.store && !choose_store(call, place, sizeof place, &err)) code = cli_fail(err.text);
    if (!c.store) c.store = place;
    const char *keep = cli_text(call, "keep-alive");
    if (!keep) keep = variable(&env, call, "keep-alive", "OLLAMA_KEEP_ALIVE");
    c.keep_alive_set = keep != NULL;
    if (code < 0 && keep && !duration(keep, &c.keep_alive_ms)) {
        cli_bad_value(call, "keep-alive", "a time such as 5m, 90s or -1 for ever", &err);
        code = cli_usage(err.text);
    }
    if (code < 0 && !lists_are_good(call, &err)) code = cli_usage(err.text);
    read_lists(call, &c);
    read_environment(&env, call, &c);
    if (code < 0 && *env.said && !c.quiet) cli_note("taken from the environment: %s\n", env.said);
    if (code < 0) code = ig_front_run(&c, &err) == IG_OK ? CLI_DONE : cli_fail(err.text);
    ig_free(files);
    ig_free(names);
    return code;
}
