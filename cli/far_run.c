/* ingle run through the service: the prompt goes there, the answer comes in pieces. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "daemon.h"
#include "far.h"
#include "input.h"
#include "out.h"
#include "shop.h"
#include "talk.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

typedef struct far {
    const cli_call *call;
    bool dim, failed, done, write_failed;
    json_t *last; /* owned: the line with the figures */
    ig_error err;
} far;

static bool has_flag(const cli_call *call, const char *name)
{
    for (size_t i = 0; i < call->verb->n_flags; i++)
        if (!strcmp(call->verb->flags[i].name, name)) return call->values[i].set;
    return false;
}

const char *far_run_obstacle(const cli_call *call)
{
    static const char *const local[] = {"grammar", "logprobs", "sampler-order", "logit-bias", "ctx",   "threads",
                                        "kv",      "batch",    "context-shift", "chat",       "draft", "speculate"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (has_flag(call, local[i])) return local[i];
    return NULL;
}

/* A model of the store is the service's where one runs; a file is this process's. */
far_choice far_choose(const cli_call *call, int *code)
{
    bool named;
    ig_error e;
    if (cli_set(call, "local")) return FAR_HERE;
    if (!daemon_wanted(cli_text(call, "host"), &named) || (!cli_set(call, "host") && !shop_is_name(call->args[0])))
        return FAR_HERE;
    const char *obstacle = far_run_obstacle(call);
    if (!obstacle) return FAR_THERE;
    if (!named) return FAR_HERE;
    ig_fail(&e, IG_BAD_INPUT, 0,
            "--%s is not for the service to decide; leave it out, or run the model here with --local", obstacle);
    *code = cli_usage(e.text);
    return FAR_NEITHER;
}

/* ------------------------------------------------------------------------------------------------ the request */

json_t *far_options(const cli_call *c)
{
    const cli_value *stop = cli_get(c, "stop");
    static const char *const reals[][2] = {{"temp", "temperature"},
                                           {"top-p", "top_p"},
                                           {"min-p", "min_p"},
                                           {"repeat-penalty", "repeat_penalty"},
                                           {"frequency-penalty", "frequency_penalty"},
                                           {"presence-penalty", "presence_penalty"}};
    json_t *o = json_object(); /* what is not said the model's parameters say, and then the service */
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (cli_set(c, reals[i][0]))
            json_object_set_new(o, reals[i][1], json_real((double)cli_real(c, reals[i][0], 0)));
    if (cli_set(c, "top-k")) json_object_set_new(o, "top_k", json_integer((json_int_t)cli_count(c, "top-k", 0)));
    if (cli_set(c, "seed")) json_object_set_new(o, "seed", json_integer((json_int_t)cli_get(c, "seed")->count));
    if (cli_set(c, "max-tokens"))
        json_object_set_new(o, "num_predict", json_integer((json_int_t)cli_get(c, "max-tokens")->count));
    if (!stop->n_list) return o;
    json_t *stops = json_array();
    for (size_t i = 0; i < stop->n_list; i++) json_array_append_new(stops, json_string(stop->list[i]));
    json_object_set_new(o, "stop", stops);
    return o;
}

/* --json and --json-schema, a file or written out. */
ig_status far_format(const cli_call *c, json_t **out, ig_error *err)
{
    const char *schema = cli_text(c, "json-schema");
    ig_buf source;
    ingle_error e;
    json_error_t error;
    *out = cli_set(c, "json") ? json_string("json") : NULL;
    if (!schema) return IG_OK;
    bool written_out = schema[strspn(schema, " \t\n")] == '{';
    if (input_text(written_out ? schema : NULL, schema, &source, &e) != INGLE_OK)
        return ig_fail(err, IG_BAD_INPUT, 0, "%.480s", e.text);
    *out = json_loadb(source.ptr ? source.ptr : "", source.len, JSON_REJECT_DUPLICATES, &error);
    ig_buf_fini(&source);
    return *out ? IG_OK : ig_fail(err, IG_BAD_INPUT, 0, "the schema is no JSON: %.200s", error.text);
}

json_t *far_think(const char *think)
{
    return !think                  ? NULL
           : !strcmp(think, "on")  ? json_true()
           : !strcmp(think, "off") ? json_false()
                                   : json_string(think);
}

static ig_status make_request(far *f, json_t **out)
{
    const cli_call *c = f->call;
    ig_buf prompt;
    ingle_error e;
    json_t *format;
    bool raw = cli_set(c, "raw");
    const char *arg = c->n_args > 1 ? c->args[1] : NULL;
    IG_TRY(far_format(c, &format, &f->err));
    if (input_text(arg, NULL, &prompt, &e) != INGLE_OK) return ig_fail(&f->err, IG_BAD_INPUT, 0, "%.480s", e.text);
    if (!arg && !raw && prompt.len && prompt.ptr[prompt.len - 1] == '\n') prompt.len--;
    *out = json_pack("{s:s, s:s%, s:b, s:b, s:o, s:s*, s:o*, s:o*}", "model", c->args[0], "prompt",
                     prompt.ptr ? prompt.ptr : "", prompt.len, "stream", 1, "raw", (int)raw, "options", far_options(c),
                     "system", cli_text(c, "system"), "format", format, "think", far_think(cli_text(c, "think")));
    ig_buf_fini(&prompt);
    return *out ? IG_OK : ig_fail(&f->err, IG_BAD_INPUT, 0, "the prompt is no UTF-8 text; expected UTF-8");
}

/* ------------------------------------------------------------------------------------------------ the answer */

static bool write_member(far *f, const json_t *line, const char *name, bool thinking)
{
    const json_t *piece = json_object_get(line, name);
    size_t n = json_string_length(piece);
    return !n || talk_write(json_string_value(piece), n, thinking, cli_set(f->call, "hide-thinking"), &f->dim);
}

static bool on_line(void *ctx, const json_t *line)
{
    far *f = ctx;
    const char *error = json_string_value(json_object_get(line, "error"));
    if (error) {
        ig_fail(&f->err, IG_BAD_INPUT, 0, "%.480s", error);
        f->failed = true;
        return false;
    }
    f->write_failed = !write_member(f, line, "thinking", true) || !write_member(f, line, "response", false);
    f->done = json_is_true(json_object_get(line, "done"));
    if (f->done) f->last = json_deep_copy(line);
    return !f->write_failed && !interrupted;
}

static double number(const json_t *o, const char *name) { return (double)json_integer_value(json_object_get(o, name)); }

static void print_stats(const json_t *last)
{
    const json_t *own = json_object_get(last, "ingle");
    double prompt_s = number(last, "prompt_eval_duration") / 1e9, s = number(last, "eval_duration") / 1e9;
    const char *digest = json_string_value(json_object_get(own, "digest"));
    cli_note("ran in the service, model %.12s\n", digest ? digest : "");
    cli_note("load         %10.1f ms\n", number(last, "load_duration") / 1e6);
    cli_note("prompt       %10.0f tokens %10.1f tokens/s, %.0f of them known\n", number(last, "prompt_eval_count"),
             prompt_s > 0 ? (number(last, "prompt_eval_count") - number(own, "cached")) / prompt_s : 0,
             number(own, "cached"));
    cli_note("generated    %10.0f tokens %10.1f tokens/s\n", number(last, "eval_count"),
             s > 0 ? number(last, "eval_count") / s : 0);
    cli_note("seed         %.0f\n", number(own, "seed"));
}

/* An answer that had to match a schema and was cut off is a failure, as in this process. */
static int finish(const far *f)
{
    const char *reason = json_string_value(json_object_get(f->last, "done_reason"));
    bool cut = reason && !strcmp(reason, "length");
    if (isatty(STDOUT_FILENO)) cli_out_stream("\n", 1);
    if (f->write_failed) return CLI_FAILED;
    if (cli_set(f->call, "stats") && f->last) print_stats(f->last);
    if (interrupted) return CLI_INTERRUPTED;
    if (cut && (cli_set(f->call, "json") || cli_set(f->call, "json-schema")))
        return cli_fail("the answer is not complete: --max-tokens or the context ended it");
    if (cut && !cli_set(f->call, "max-tokens")) cli_note("ingle: the context is full, the answer ends here\n");
    return f->done ? CLI_DONE : cli_fail("the service ended the answer before it was whole");
}

int far_run(const cli_call *call)
{
    far f = {.call = call};
    json_t *body = NULL;
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}, NULL);
    ig_status status = make_request(&f, &body);
    if (status == IG_OK && cli_set(call, "verbose")) cli_note("ingle: the service answers\n");
    if (status == IG_OK) status = daemon_stream(cli_text(call, "host"), "/api/generate", body, on_line, &f, &f.err);
    json_decref(body);
    talk_write("", 0, false, false, &f.dim);
    int code = status != IG_OK || f.failed ? cli_fail(f.err.text) : finish(&f);
    json_decref(f.last);
    return code;
}
