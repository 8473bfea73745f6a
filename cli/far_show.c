/* ingle show NAME of a model that a service keeps. */
#include <string.h>

#include "daemon.h"
#include "far.h"
#include "out.h"
#include "shop.h"

static const char *text(const json_t *object, const char *name)
{
    const char *z = json_string_value(json_object_get(object, name));
    return z ? z : "";
}

/* What stands in a file is one line, without what moves a cursor. */
static void print_line(const char *name, const char *value)
{
    ig_error line;
    size_t n = strcspn(value, "\n");
    if (!*value) return;
    ig_fail(&line, IG_OK, 0, "%.*s", (int)(n > 100 ? 100 : n), value);
    cli_outf("%-16s%s%s\n", name, line.text, n > 100 || value[n] ? " ..." : "");
}

/* "a, b". */
static void print_list(const char *name, const json_t *list)
{
    char all[512] = "";
    size_t at = 0, i;
    json_t *one;
    json_array_foreach((json_t *)list, i, one) if (at < sizeof all) at +=
        (size_t)snprintf(all + at, sizeof all - at, "%s%s", i ? ", " : "", json_string_value(one));
    print_line(name, all);
}

static void print_value(const json_t *v)
{
    char *z = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    cli_outf("%s\n", z ? z : json_string_value(v) ? json_string_value(v) : "");
    free(z);
}

static int print_meta(const json_t *body, const char *key)
{
    const json_t *v = json_object_get(json_object_get(body, "model_info"), key), *one;
    size_t i;
    ig_error err;
    if (!v) {
        ig_fail(&err, IG_NOT_FOUND, 0, "the model has no key %.200s", key);
        return cli_fail(err.text);
    }
    if (!json_is_array(v)) print_value(v);
    json_array_foreach((json_t *)v, i, one) print_value(one);
    return CLI_DONE;
}

static void print_tensors(const json_t *body)
{
    const json_t *t;
    size_t i;
    cli_outf("\ntensors\n");
    json_array_foreach(json_object_get(body, "tensors"), i, t)
    {
        char *shape = json_dumps(json_object_get(t, "shape"), 0);
        cli_outf("  %s %s %s\n", text(t, "name"), text(t, "type"), shape ? shape : "");
        free(shape);
    }
}

static void print_overview(const json_t *body, const char *name)
{
    const json_t *d = json_object_get(body, "details"), *v;
    const char *key;
    char context[32] = "";
    json_int_t n_ctx = json_integer_value(json_object_get(d, "context_length"));
    if (n_ctx > 0) snprintf(context, sizeof context, "%lld", (long long)n_ctx);
    print_line("model", name);
    print_line("architecture", text(d, "family"));
    print_line("format", text(d, "format"));
    print_line("parameters", text(d, "parameter_size"));
    print_line("weights", text(d, "quantization_level"));
    print_line("context", context);
    print_list("can", json_object_get(body, "capabilities"));
    print_line("parameters set", text(body, "parameters"));
    print_line("system prompt", text(body, "system"));
    print_line("template", text(body, "template"));
    print_line("license", text(body, "license"));
    cli_outf("\nmetadata\n");
    json_object_foreach(json_object_get(body, "model_info"), key, v)
    {
        if (json_is_array(v) || json_is_null(v)) continue;
        cli_outf("  %s = ", key);
        char *z = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        size_t n = z ? strlen(z) : 0;
        ig_error line;
        ig_fail(&line, IG_OK, 0, "%.*s", (int)(n > 100 ? 100 : n), z ? z : "");
        cli_outf("%s%s\n", line.text, n > 100 ? "..." : "");
        free(z);
    }
}

/* Flags that need the file itself. */
static const char *obstacle(const cli_call *call)
{
    static const char *const flags[] = {"scan", "ctx", "kv"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (cli_set(call, flags[i])) return flags[i];
    return NULL;
}

static int print(const cli_call *call, const json_t *body)
{
    if (cli_text(call, "meta")) return print_meta(body, cli_text(call, "meta"));
    if (cli_set(call, "json")) {
        cli_out_json(body);
        return CLI_DONE;
    }
    print_overview(body, call->args[0]);
    if (cli_set(call, "tensors")) print_tensors(body);
    return CLI_DONE;
}

bool far_show(const cli_call *call, int *code)
{
    const char *host = cli_text(call, "host");
    bool named = false, all = cli_text(call, "meta") || cli_set(call, "tensors");
    char why[200];
    if (cli_set(call, "store") || !daemon_wanted(host, &named)) return false;
    if (!host && (!shop_is_name(call->args[0]) || obstacle(call))) return false;
    if (obstacle(call)) {
        snprintf(why, sizeof why, "--%s needs the file of the model; leave --host away and name the file",
                 obstacle(call));
        *code = cli_usage(why);
        return true;
    }
    json_t *body = NULL, *ask = json_pack("{s:s, s:b}", "model", call->args[0], "verbose", (int)all);
    ig_error err;
    ig_status st = ask ? daemon_call(host, "POST", "/api/show", ask, &body, &err)
                       : ig_fail(&err, IG_NO_MEMORY, 0, "out of memory");
    json_decref(ask);
    if (st != IG_OK && !named) return false; /* what the service does not know may lie in this user's store */
    *code = st == IG_OK ? print(call, body) : cli_fail(err.text);
    json_decref(body);
    return true;
}
