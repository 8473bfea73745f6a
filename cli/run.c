/* ingle run: feeds a prompt and streams the answer. Standard output carries the answer alone. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/os.h"
#include "far.h"
#include "input.h"
#include "out.h"
#include "talk.h"
#include "verbs.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

typedef struct run_state {
    const cli_call *call;
    ingle_model *model;
    ingle_engine *engine;
    ingle_session *session;
    ingle_sampler *sampler;
    ingle_grammar *grammar; /* NULL: free */
    talk_sampling sampling;
    talk_model own; /* what the store says about the model */
    talk_guess guess;
    talk_chat chat; /* chat.t NULL: the prompt is fed as it is */
    talk_prompt prompt;
    json_t *tools;    /* NULL: none */
    char *tools_text; /* owned */
    talk_answer said;
    cli_ids answer; /* collected for --logprobs; capacity: the context */
    size_t answer_cap;
    bool write_failed, dim;
    uint64_t loaded_ns, fed_ns, first_ns, done_ns;
    ingle_generate_result result;
} run_state;

/* ------------------------------------------------------------------------------------------------ prompt */

/* What the reply to the prompt is read with. */
static ingle_reply_options reply_options(const run_state *run)
{
    return (ingle_reply_options){.size = sizeof(ingle_reply_options),
                                 .model = run->chat.source ? NULL : run->model,
                                 .source = run->chat.source,
                                 .n_source = run->chat.source ? strlen(run->chat.source) : 0,
                                 .prompt = run->prompt.text.text,
                                 .n_prompt = run->prompt.text.n,
                                 .tools = run->tools_text,
                                 .n_tools = run->tools_text ? strlen(run->tools_text) : 0};
}

static ingle_status read_tools(run_state *run, ingle_error *err)
{
    const char *path = cli_text(run->call, "tools");
    ig_buf text;
    ig_error e;
    if (!path) return INGLE_OK;
    ingle_status st = input_text(NULL, path, &text, err);
    if (st != INGLE_OK) return st;
    run->tools = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, NULL);
    ig_buf_fini(&text);
    run->tools_text = json_is_array(run->tools) ? json_dumps(run->tools, JSON_COMPACT) : NULL;
    if (run->tools_text) return INGLE_OK;
    ig_fail(&e, IG_BAD_INPUT, 0, "%.200s holds no list of tools, expected JSON such as [{\"type\": \"function\", ...}]",
            path);
    return input_error(&e, err);
}

/* A template that knows no tools leaves them out, all of them. */
static bool tools_are_told(const run_state *run)
{
    size_t i;
    json_t *tool;
    json_array_foreach(run->tools, i, tool)
    {
        const json_t *f = json_object_get(tool, "function"), *name = json_object_get(f ? f : tool, "name");
        if (json_is_string(name) && strstr(run->prompt.text.text, json_string_value(name))) return true;
    }
    return json_array_size(run->tools) == 0;
}

static ingle_status tools_grammar(run_state *run, ingle_error *err)
{
    const char *choice = cli_text(run->call, "tool-choice");
    bool required = choice && !strcmp(choice, "required"), named = choice && !required && strcmp(choice, "auto") != 0;
    ingle_reply_options o = reply_options(run);
    ig_error e;
    if (!run->chat.t || !tools_are_told(run)) {
        ig_fail(&e, IG_UNSUPPORTED, 0,
                "the chat template of %.200s tells the model of no tools, expected a model made for them",
                run->call->args[0]);
        return input_error(&e, err);
    }
    ingle_status st = ingle_grammar_for_tools(&o,
                                              named      ? INGLE_TOOLS_NAMED
                                              : required ? INGLE_TOOLS_REQUIRED
                                                         : INGLE_TOOLS_AUTO,
                                              named ? choice : NULL, !named, &run->grammar, err);
    for (size_t i = 0; st == INGLE_OK && ingle_grammar_relaxed(run->grammar, i); i++)
        cli_note("ingle: the schema of %.64s is not enforced whole\n", ingle_grammar_relaxed(run->grammar, i));
    return st;
}

/* The prompt as one message of a user; with --system after that of the system. */
static ingle_status render(run_state *run, const char *text, size_t n, ingle_error *err)
{
    const char *system = run->own.system;
    json_t *messages = json_array(), *user = json_stringn(text, n);
    ig_error e;
    if (!user) {
        json_decref(messages);
        ig_fail(&e, IG_BAD_INPUT, 0, "the prompt is not valid UTF-8, expected text; with --raw any bytes will do");
        return input_error(&e, err);
    }
    if (system) json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
    if (run->own.messages) (void)json_array_extend(messages, run->own.messages);
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", user));
    ingle_status st = talk_render(&run->chat, messages, run->tools, cli_text(run->call, "think"), &run->prompt, err);
    json_decref(messages);
    return st;
}

/* A model with a chat template is asked in its words; others, and --raw, get the prompt as it is. */
static ingle_status choose_form(run_state *run, ingle_error *err)
{
    const cli_call *c = run->call;
    ig_error e;
    if (cli_set(c, "raw")) return INGLE_OK;
    ingle_status st = talk_chat_open(&run->chat, run->model, run->own.manifest, err);
    if (st != INGLE_OK || !run->chat.is_default || cli_set(c, "chat")) return st;
    talk_chat_close(&run->chat);
    if (!cli_set(c, "system") && !cli_set(c, "think")) return INGLE_OK;
    ig_fail(&e, IG_UNSUPPORTED, 0,
            "%.200s has no chat template, so --system and --think have no place, expected --chat beside them to use "
            "ChatML",
            c->args[0]);
    return input_error(&e, err);
}

static ingle_status read_prompt(run_state *run, ingle_error *err)
{
    bool raw = cli_set(run->call, "raw");
    ig_buf text;
    const char *arg = run->call->n_args > 1 ? run->call->args[1] : NULL;
    ingle_status st = input_text(arg, NULL, &text, err);
    if (st == INGLE_OK && !arg && !raw && text.len && text.ptr[text.len - 1] == '\n') text.len--;
    if (st == INGLE_OK) st = choose_form(run, err);
    if (st == INGLE_OK)
        st = run->chat.t ? render(run, text.ptr ? text.ptr : "", text.len, err)
                         : input_tokenize(run->model, text.ptr, text.len, raw ? INGLE_PARSE_SPECIAL : INGLE_ADD_SPECIAL,
                                          &run->prompt.ids, err);
    ig_buf_fini(&text);
    if (st != INGLE_OK) return st;
    ig_error e;
    uint32_t n_ctx = ingle_engine_n_ctx(run->engine);
    if (run->prompt.ids.n == 0)
        st = (ig_fail(&e, IG_BAD_INPUT, 0,
                      "the prompt is empty and the model adds no token before it, expected some text"),
              input_error(&e, err));
    else if (run->prompt.ids.n > n_ctx)
        st = (ig_fail(&e, IG_TOO_LARGE, 0,
                      "the prompt has %zu tokens and the context holds %u, expected a shorter prompt or a "
                      "larger --ctx",
                      run->prompt.ids.n, n_ctx),
              input_error(&e, err));
    return st;
}

/* In pieces, so that Ctrl-C is seen between them; the result does not depend on the pieces. */
static ingle_status feed_prompt(run_state *run, const int32_t *ids, size_t n, ingle_error *err)
{
    size_t piece = cli_count(run->call, "batch", 256);
    for (size_t at = 0; at < n && !interrupted; at += piece) {
        ingle_status st = ingle_session_feed(run->session, ids + at, n - at < piece ? n - at : piece, err);
        if (st != INGLE_OK) return st;
    }
    return INGLE_OK;
}

/* ------------------------------------------------------------------------------------------------ answer */

static bool write_text(void *user, const char *text, size_t n, bool thinking)
{
    run_state *run = user;
    if (cli_set(run->call, "json-output")) return true;
    return talk_write(text, n, thinking, cli_set(run->call, "hide-thinking"), &run->dim);
}

static bool on_text(void *user, const char *text, size_t n, int32_t id)
{
    run_state *run = user;
    if (run->first_ns == 0) run->first_ns = ig_now_ns();
    if (run->answer.n < run->answer_cap) run->answer.ids[run->answer.n++] = id;
    if (n && !talk_answer_push(&run->said, text, n)) run->write_failed = true;
    return !interrupted && !run->write_failed;
}

static ingle_status generate(run_state *run, ingle_error *err)
{
    ingle_generate_options o = {
        .size = sizeof o,
        .n_max = run->own.n_max,
        .stops = run->own.stops,
        .n_stops = run->own.n_stops,
        .shift = cli_set(run->call, "context-shift"),
        .shift_keep = 1,
        .on_text = on_text,
        .user = run,
        .grammar = run->grammar,
        .speculate = run->guess.how,
        .drafter = run->guess.session,
    };
    ingle_reply_options reply = reply_options(run);
    ingle_status st = talk_answer_open(&run->said, run->chat.t ? &reply : NULL, write_text, run, err);
    if (st != INGLE_OK) return st;
    talk_prepare(&run->said, &run->prompt, &o);
    if (run->tools) o.think_start = o.think_end = NULL; /* their grammar holds the reasoning, too */
    ingle_sampler_accept(run->sampler, run->prompt.ids.ids, run->prompt.ids.n);
    st = ingle_generate(run->session, run->sampler, &o, &run->result, err);
    if (!talk_answer_finish(&run->said)) run->write_failed = true;
    if (!cli_set(run->call, "json-output") && !talk_answer_lines(&run->said)) run->write_failed = true;
    write_text(run, "", 0, false);
    return st;
}

static void print_piece(const ingle_model *model, int32_t id)
{
    char text[256];
    size_t n = 0;
    if (ingle_detokenize(model, &id, 1, INGLE_WRITE_SPECIAL, text, sizeof text, &n, NULL) != INGLE_OK) n = 0;
    fputc('"', stderr);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            fprintf(stderr, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            fprintf(stderr, "\\x%02x", c);
        else
            fputc(c, stderr);
    }
    fputc('"', stderr);
}

/* One line a token: its id, text, log probability, then the best alternatives. The answer is computed once more, which
 * by the promise of determinism gives the very logits it was sampled from. */
static ingle_status print_logprobs(run_state *run, ingle_error *err)
{
    uint32_t n_top = cli_count(run->call, "logprobs", 0);
    ingle_logprob chosen, *top = ig_calloc(n_top, sizeof *top);
    ingle_session_truncate(run->session, (uint32_t)run->prompt.ids.n - 1);
    ingle_status st = top ? feed_prompt(run, run->prompt.ids.ids + run->prompt.ids.n - 1, 1, err) : INGLE_NO_MEMORY;
    for (size_t i = 0; st == INGLE_OK && i < run->answer.n; i++) {
        st = ingle_logprobs(run->model, ingle_session_logits(run->session), run->answer.ids[i], &chosen, top, n_top,
                            err);
        if (st != INGLE_OK) break;
        cli_note("%d ", chosen.id);
        print_piece(run->model, chosen.id);
        cli_note(" %.6f", (double)chosen.logprob);
        for (uint32_t k = 0; k < n_top; k++) {
            cli_note("  %d ", top[k].id);
            print_piece(run->model, top[k].id);
            cli_note(" %.6f", (double)top[k].logprob);
        }
        cli_note("\n");
        if (i + 1 < run->answer.n) st = ingle_session_feed(run->session, &run->answer.ids[i], 1, err);
    }
    ig_free(top);
    return st;
}

static double ms(uint64_t from, uint64_t to) { return to > from ? (double)(to - from) / 1e6 : 0; }
static double rate(size_t n, double milliseconds) { return milliseconds > 0 ? (double)n * 1000 / milliseconds : 0; }

static void print_stats(const run_state *run)
{
    ingle_model_info info;
    struct rusage usage;
    char peak[16];
    double feed = ms(run->loaded_ns, run->fed_ns), answer = ms(run->fed_ns, run->done_ns);
    ingle_model_describe(run->model, &info);
    getrusage(RUSAGE_SELF, &usage);
    cli_note("ran in this process, kernels %s, %u threads\n", info.kernels, ingle_engine_n_threads(run->engine));
    cli_note("load         %10.1f ms\n", ms(run->call->start_ns, run->loaded_ns));
    cli_note("prompt       %10zu tokens %10.1f tokens/s\n", run->prompt.ids.n, rate(run->prompt.ids.n, feed));
    cli_note("generated    %10u tokens %10.1f tokens/s\n", run->result.n_generated,
             rate(run->result.n_generated, answer));
    if (run->result.n_drafted)
        cli_note("guessed      %10u tokens %10u came true\n", run->result.n_drafted, run->result.n_accepted);
    cli_note("first token  %10.1f ms after the start\n", ms(run->call->start_ns, run->first_ns));
    cli_note("peak memory  %10s\n", cli_bytes((uint64_t)usage.ru_maxrss * 1024, peak));
    cli_note("seed         %llu\n", (unsigned long long)ingle_sampler_seed(run->sampler));
}

/* ------------------------------------------------------------------------------------------------ all together */

static ingle_status prepare(run_state *run, ingle_error *err)
{
    const cli_call *c = run->call;
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = cli_count(c, "threads", 0),
                              .n_batch = cli_count(c, "batch", 0),
                              .kv = input_kv(c, INGLE_KV_F16),
                              .no_head = talk_no_head(c)};
    ingle_status st = input_named_model(c->args[0], false, &run->model, &run->own.manifest, err);
    if (st == INGLE_OK) st = talk_model_init(&run->own, c, &run->sampling, err);
    o.n_ctx = run->own.n_ctx;
    if (st == INGLE_OK) st = talk_grammar(c, &run->grammar, err);
    if (st == INGLE_OK) st = ingle_sampler_new(run->model, &run->sampling.o, &run->sampler, err);
    if (st == INGLE_OK) st = ingle_engine_new(run->model, &o, &run->engine, err);
    if (st == INGLE_OK) st = ingle_session_new(run->engine, &run->session, err);
    if (st == INGLE_OK) st = talk_guess_open(&run->guess, c, ingle_engine_n_ctx(run->engine), err);
    if (st == INGLE_OK) st = read_tools(run, err);
    if (st == INGLE_OK) st = read_prompt(run, err);
    if (st == INGLE_OK && run->tools) st = tools_grammar(run, err);
    if (st == INGLE_OK && cli_set(c, "logprobs")) {
        run->answer_cap = ingle_engine_n_ctx(run->engine) + 1;
        run->answer.ids = ig_calloc(run->answer_cap, sizeof *run->answer.ids);
        ig_error e;
        if (!run->answer.ids) st = (ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for --logprobs"), input_error(&e, err));
    }
    if (st == INGLE_OK && cli_set(c, "verbose"))
        cli_note("ingle: no daemon, this process opened %s (%u threads, context %u)\n", c->args[0],
                 ingle_engine_n_threads(run->engine), ingle_engine_n_ctx(run->engine));
    return st;
}

/* An answer that had to match a grammar and was ended by something else. */
static int cut_off(const run_state *run)
{
    static const char *const why[] = {[INGLE_FINISH_LENGTH] = "--max-tokens ended it",
                                      [INGLE_FINISH_STOP] = "--stop ended it",
                                      [INGLE_FINISH_CONTEXT] = "the context is full"};
    ig_error e;
    const char *reason = run->result.finish < sizeof why / sizeof *why ? why[run->result.finish] : NULL;
    ig_fail(&e, IG_BAD_INPUT, 0, "the answer is not complete after %u tokens: %s", run->result.n_generated,
            reason ? reason : "it was ended");
    return cli_fail(e.text);
}

static int finish(run_state *run)
{
    const cli_call *c = run->call;
    ingle_error err;
    if (cli_set(c, "json-output")) {
        json_t *message = talk_answer_message(&run->said);
        run->write_failed = run->write_failed || !message || !cli_out_json(message);
        json_decref(message);
    } else if (isatty(STDOUT_FILENO))
        cli_out_stream("\n", 1);
    if (run->write_failed) return CLI_FAILED;
    if (run->result.finish == INGLE_FINISH_CONTEXT)
        cli_note("ingle: the context of %u tokens is full, the answer ends here\n", ingle_engine_n_ctx(run->engine));
    if (cli_set(c, "logprobs") && print_logprobs(run, &err) != INGLE_OK) return cli_fail(err.text);
    if (cli_set(c, "stats")) print_stats(run);
    if (interrupted) return CLI_INTERRUPTED;
    return run->result.incomplete ? cut_off(run) : CLI_DONE;
}

static int answer(run_state *run)
{
    ingle_error err;
    run->loaded_ns = ig_now_ns();
    /* The second Ctrl-C ends the process at once. */
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}, NULL);
    ingle_status st = feed_prompt(run, run->prompt.ids.ids, run->prompt.ids.n, &err);
    run->fed_ns = ig_now_ns();
    if (st == INGLE_OK && interrupted) return CLI_INTERRUPTED;
    if (st == INGLE_OK) st = generate(run, &err);
    run->done_ns = ig_now_ns();
    return st == INGLE_OK ? finish(run) : cli_fail(err.text);
}

int cli_run(const cli_call *call)
{
    run_state run = {.call = call};
    ingle_error err;
    ig_error usage;
    int code;
    if (call->n_args < 2 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !cli_set(call, "raw"))
        return cli_chat(call);
    far_choice where = call->n_args < 2 && isatty(STDIN_FILENO) ? FAR_HERE : far_choose(call, &code);
    if (where != FAR_HERE) return where == FAR_THERE ? far_run(call) : code;
    if (call->n_args < 2 && isatty(STDIN_FILENO))
        return cli_usage("run got no prompt, expected PROMPT or text on standard input. Type: ingle run --help");
    if (cli_set(call, "logprobs") && cli_set(call, "context-shift"))
        return cli_usage("--logprobs and --context-shift exclude each other. Type: ingle run --help");
    if (cli_set(call, "raw") && (cli_set(call, "chat") || cli_set(call, "system") || cli_set(call, "think")))
        return cli_usage("--raw excludes --chat, --system and --think. Type: ingle run --help");
    if (cli_set(call, "tool-choice") && !cli_set(call, "tools"))
        return cli_usage("--tool-choice wants --tools beside it. Type: ingle run --help");
    if (cli_set(call, "tools") &&
        (cli_set(call, "raw") || cli_set(call, "json") || cli_set(call, "json-schema") || cli_set(call, "grammar")))
        return cli_usage("--tools excludes --raw, --json, --json-schema and --grammar. Type: ingle run --help");
    if (talk_check_format(call, &usage) != IG_OK || talk_check_guess(call, &usage) != IG_OK ||
        talk_sampling_init(&run.sampling, call, &usage) != IG_OK)
        code = cli_usage(usage.text);
    else if (prepare(&run, &err) != INGLE_OK)
        code = cli_fail(err.text);
    else
        code = answer(&run);
    ingle_sampler_free(run.sampler);
    talk_guess_close(&run.guess);
    ingle_session_free(run.session);
    ingle_engine_free(run.engine);
    ingle_model_close(run.model);
    talk_chat_close(&run.chat);
    talk_model_fini(&run.own);
    talk_answer_close(&run.said);
    json_decref(run.tools);
    free(run.tools_text);
    ingle_grammar_close(run.grammar);
    talk_prompt_fini(&run.prompt);
    input_ids_fini(&run.answer);
    talk_sampling_fini(&run.sampling);
    return code;
}
