/* ingle bench of a model that a service keeps: what a program that asks it sees. */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "daemon.h"
#include "far.h"
#include "out.h"

enum { RUNS_MAX = 100 };

typedef struct far_bench {
    const cli_call *call;
    uint32_t n_vocab, n_prompt, n_generate, n_runs;
    double prompt_tps[RUNS_MAX], generate_tps[RUNS_MAX], extra_ms[RUNS_MAX];
    char device[32], digest[80];
} far_bench;

static double number(const json_t *o, const char *name) { return json_number_value(json_object_get(o, name)); }

/* What the list of models says of this one; a model that was never loaded has to be looked at first. */
static ig_status describe(far_bench *b, ig_error *err)
{
    const cli_call *c = b->call;
    json_t *shown, *all, *m, *ask = json_pack("{s:s}", "model", c->args[0]);
    size_t i;
    ig_status st = ask ? daemon_call(cli_text(c, "host"), "POST", "/api/show", ask, &shown, err)
                       : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the request");
    json_decref(ask);
    if (st != IG_OK) return st;
    json_decref(shown);
    IG_TRY(daemon_call(cli_text(c, "host"), "GET", "/v1/models", NULL, &all, err));
    uint32_t n_ctx = 0;
    json_array_foreach(json_object_get(all, "data"), i, m)
    {
        const char *id = json_string_value(json_object_get(m, "id"));
        size_t n = strlen(c->args[0]);
        if (!id || strncmp(id, c->args[0], n) != 0 || (id[n] && strcmp(id + n, ":latest") != 0)) continue;
        b->n_vocab = (uint32_t)number(json_object_get(m, "meta"), "n_vocab");
        n_ctx = (uint32_t)number(m, "context_length");
    }
    json_decref(all);
    if (!b->n_vocab)
        return ig_fail(err, IG_UNSUPPORTED, 0, "the service does not say how large the vocabulary of %.200s is",
                       c->args[0]);
    if (!n_ctx) n_ctx = UINT32_MAX;
    b->n_prompt = cli_count(c, "prompt", n_ctx / 2 < 512 ? (n_ctx + 1) / 2 : 512);
    b->n_generate = cli_count(c, "generate", n_ctx / 4 < 128 ? (n_ctx + 3) / 4 : 128);
    return IG_OK;
}

/* Ids that no run before has sent, so that nothing of them is known. */
static json_t *prompt_of(const far_bench *b, uint32_t n, uint64_t run)
{
    json_t *ids = json_array();
    for (uint64_t i = 0; i < n; i++)
        json_array_append_new(ids, json_integer((json_int_t)(((i + run * 31) * 7919 + run + 13) % b->n_vocab)));
    return ids;
}

static void keep(const json_t *own, const char *name, char *out, size_t n)
{
    const char *z = json_string_value(json_object_get(own, name));
    snprintf(out, n, "%.*s", (int)n - 1, z ? z : "");
}

/* run 0 warms up: the model is loaded, and its figures are not kept. */
static ig_status one_run(far_bench *b, uint32_t run, uint64_t salt, ig_error *err)
{
    uint32_t n_prompt = run || b->n_prompt < 16 ? b->n_prompt : 16,
             n_generate = run || b->n_generate < 8 ? b->n_generate : 8;
    uint64_t start = ig_now_ns();
    json_t *answer, *body = json_pack("{s:s, s:o, s:I, s:f, s:b, s:b}", "model", b->call->args[0], "prompt",
                                      prompt_of(b, n_prompt, salt + run), "n_predict", (json_int_t)n_generate,
                                      "temperature", 0.0, "ignore_eos", 1, "cache_prompt", 0);
    if (!body) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the request");
    ig_status st = daemon_call(cli_text(b->call, "host"), "POST", "/completion", body, &answer, err);
    json_decref(body);
    if (st != IG_OK || !run) {
        if (st == IG_OK) json_decref(answer);
        return st;
    }
    double wall_ms = (double)(ig_now_ns() - start) / 1e6;
    const json_t *t = json_object_get(answer, "timings"), *own = json_object_get(answer, "ingle");
    b->prompt_tps[run - 1] = number(t, "prompt_per_second");
    b->generate_tps[run - 1] = number(t, "predicted_per_second");
    b->extra_ms[run - 1] = wall_ms - number(t, "prompt_ms") - number(t, "predicted_ms");
    keep(own, "device", b->device, sizeof b->device);
    keep(own, "digest", b->digest, sizeof b->digest);
    json_decref(answer);
    return IG_OK;
}

static void print_result(far_bench *b)
{
    double prompt = bench_median(b->prompt_tps, b->n_runs), generate = bench_median(b->generate_tps, b->n_runs),
           extra = bench_median(b->extra_ms, b->n_runs);
    if (cli_set(b->call, "json")) {
        json_t *j = json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:s, s:s}", "prompt", (json_int_t)b->n_prompt, "generate",
                              (json_int_t)b->n_generate, "runs", (json_int_t)b->n_runs, "prompt_tps", prompt,
                              "generate_tps", generate, "beside_ms", extra, "device", b->device, "digest", b->digest);
        cli_out_json(j);
        json_decref(j);
        return;
    }
    cli_outf("ran in           the service%s%s\n", *b->device ? ", on " : "", b->device);
    cli_outf("prompt           %.1f tokens/s (%u tokens)\n", prompt, b->n_prompt);
    cli_outf("generate         %.1f tokens/s (%u tokens)\n", generate, b->n_generate);
    cli_outf("beside           %.1f ms a request (queue, HTTP)\n", extra);
}

int far_bench_run(const cli_call *call)
{
    far_bench b = {.call = call, .n_runs = cli_count(call, "runs", 3)};
    ig_error err;
    ig_status st = describe(&b, &err);
    uint64_t salt = ig_now_ns() / 1000 % 1000003;
    for (uint32_t run = 0; st == IG_OK && run <= b.n_runs; run++) st = one_run(&b, run, salt, &err);
    if (st != IG_OK) return cli_fail(err.text);
    print_result(&b);
    return CLI_DONE;
}
