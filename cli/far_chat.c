/* ingle chat through the service: the conversation stays here, every answer comes from there. */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "chat.h"
#include "daemon.h"
#include "far.h"
#include "out.h"

static json_int_t number(const json_t *o, const char *name) { return json_integer_value(json_object_get(o, name)); }

/* ------------------------------------------------------------------------------------------------ beginning */

ig_status far_chat_open(chat_state *s, ig_error *err)
{
    const cli_call *c = s->call;
    json_t *body = json_pack("{s:s}", "model", c->args[0]);
    s->far = true;
    s->options = far_options(c);
    ig_status st = body && s->options ? far_format(c, &s->format, err)
                                      : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a conversation");
    if (st == IG_OK) st = daemon_call(cli_text(c, "host"), "POST", "/api/show", body, &s->about, err);
    json_decref(body);
    return st;
}

void far_chat_fini(chat_state *s)
{
    json_decref(s->options);
    json_decref(s->format);
    json_decref(s->about);
}

/* ------------------------------------------------------------------------------------------------ settings */

bool far_chat_set(chat_state *s, const char *name, const char *value)
{
    double v;
    if (!cli_parse_real(value, false, &v)) return false;
    bool whole = v >= -1e15 && v <= 1e15 && (double)(json_int_t)v == v;
    return !json_object_set_new(s->options, name, whole ? json_integer((json_int_t)v) : json_real(v));
}

void far_chat_stops(chat_state *s)
{
    json_t *stops = json_array();
    for (size_t i = 0; i < s->n_stops; i++) json_array_append_new(stops, json_string(s->stops[i]));
    if (s->n_stops)
        json_object_set_new(s->options, "stop", stops);
    else {
        json_object_del(s->options, "stop");
        json_decref(stops);
    }
}

void far_chat_json(chat_state *s, bool json)
{
    json_decref(s->format);
    s->format = json ? json_string("json") : NULL;
}

void far_chat_parameters(const chat_state *s)
{
    const char *name;
    json_t *value;
    json_object_foreach(s->options, name, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
        if (text) cli_outf("%-18s %s\n", name, text);
        free(text);
    }
    if (!json_object_size(s->options)) cli_outf("Nothing is set; the model's own parameters hold.\n");
}

void far_chat_info(const chat_state *s)
{
    const json_t *d = json_object_get(s->about, "details");
    const char *family = json_string_value(json_object_get(d, "family")),
               *size = json_string_value(json_object_get(d, "parameter_size"));
    cli_outf("model        %s, in the service\narchitecture %s\nparameters   %s\n", s->call->args[0],
             family ? family : "", size ? size : "");
    if (s->n_ctx) cli_outf("context      %u tokens\n", s->n_ctx);
}

/* ------------------------------------------------------------------------------------------------ answers */

typedef struct answer {
    chat_state *s;
    ig_buf text;
    bool dim, failed, done, wrote;
    char reason[16];
    ig_error err;
} answer;

static bool give(answer *a, const json_t *piece, bool thinking)
{
    size_t n = json_string_length(piece);
    if (!n) return true;
    a->wrote = true;
    if (!thinking && !ig_buf_add(&a->text, json_string_value(piece), n)) return false;
    return talk_write(json_string_value(piece), n, thinking, a->s->hide, &a->dim);
}

/* The figures of the last line. */
static void note_end(answer *a, const json_t *line)
{
    chat_state *s = a->s;
    const json_t *own = json_object_get(line, "ingle");
    const char *reason = json_string_value(json_object_get(line, "done_reason"));
    snprintf(a->reason, sizeof a->reason, "%s", reason ? reason : "");
    s->n_prompt = (uint32_t)number(line, "prompt_eval_count");
    s->n_reused = (uint32_t)number(own, "cached");
    s->n_generated = (uint32_t)number(line, "eval_count");
    s->n_fed = s->n_prompt + s->n_generated;
    s->prompt_ms = (double)number(line, "prompt_eval_duration") / 1e6;
    s->answer_ms = (double)number(line, "eval_duration") / 1e6;
    if (number(own, "n_ctx") > 0) s->n_ctx = (uint32_t)number(own, "n_ctx");
    a->done = true;
}

static bool on_line(void *ctx, const json_t *line)
{
    answer *a = ctx;
    const json_t *m = json_object_get(line, "message");
    const char *error = json_string_value(json_object_get(line, "error"));
    if (error) {
        ig_fail(&a->err, IG_BAD_INPUT, 0, "%.480s", error);
        a->failed = true;
        return false;
    }
    if (!give(a, json_object_get(m, "thinking"), true) || !give(a, json_object_get(m, "content"), false)) {
        ig_fail(&a->err, IG_NO_MEMORY, 0, "the answer cannot be written");
        a->failed = true;
    }
    if (json_is_true(json_object_get(line, "done"))) note_end(a, line);
    return !a->failed && !chat_interrupted();
}

static json_t *request_of(const chat_state *s)
{
    return json_pack("{s:s, s:o, s:b, s:O, s:O*, s:o*}", "model", s->call->args[0], "messages", chat_all_messages(s),
                     "stream", 1, "options", s->options, "format", s->format, "think", far_think(s->think));
}

static void tell_end(const answer *a)
{
    const chat_state *s = a->s;
    bool cut = !strcmp(a->reason, "length"), full = s->n_ctx && s->n_fed + 1 >= s->n_ctx;
    if (cut && full)
        cli_note("ingle: the context of %u tokens is full, the answer ends here. Type /clear to begin anew\n",
                 s->n_ctx);
    else if (cut)
        cli_note("ingle: the answer was ended after %u tokens\n", s->n_generated);
    else if (s->n_ctx && s->n_fed > s->n_ctx / 10 * 9)
        cli_note("ingle: the context is nearly full: %zu of %u tokens\n", s->n_fed, s->n_ctx);
    if (s->verbose && a->done)
        cli_note("prompt %u tokens, %u of them kept, %.1f ms; answer %u tokens, %.1f ms; context %zu of %u tokens\n",
                 s->n_prompt, s->n_reused, s->prompt_ms, s->n_generated, s->answer_ms, s->n_fed, s->n_ctx);
}

/* Keeps what was said, also when it was interrupted. */
static bool keep(answer *a)
{
    chat_state *s = a->s;
    if (!a->done && !a->wrote) {
        cli_note("ingle: stopped before the answer\n");
        return false;
    }
    cli_out_stream("\n", 1);
    json_array_append_new(s->messages, json_pack("{s:s, s:s%}", "role", "assistant", "content",
                                                 a->text.ptr ? a->text.ptr : "", a->text.len));
    tell_end(a);
    return true;
}

bool far_chat_answer(chat_state *s)
{
    answer a = {.s = s};
    json_t *body = request_of(s);
    ig_buf_init(&a.text, 64 << 20);
    ig_status st =
        body ? daemon_stream_until(cli_text(s->call, "host"), "/api/chat", body, on_line, chat_interrupted, &a, &a.err)
             : ig_fail(&a.err, IG_NO_MEMORY, 0, "out of memory for the conversation");
    json_decref(body);
    talk_write("", 0, false, s->hide, &a.dim);
    bool stopped = chat_interrupted() && !a.failed && (st == IG_OK || st == IG_CANCELLED);
    if (!a.failed && st == IG_OK && !a.done && !stopped)
        st = ig_fail(&a.err, IG_IO, 0, "the service ended the answer before it was whole");
    bool fine = !a.failed && (st == IG_OK || stopped);
    if (fine)
        fine = keep(&a);
    else {
        if (a.wrote) cli_out_stream("\n", 1);
        cli_fail(a.err.text);
    }
    ig_buf_fini(&a.text);
    return fine;
}
