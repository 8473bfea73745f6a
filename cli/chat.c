/* ingle chat: reads messages line by line and answers them. The session keeps what consecutive prompts have in common,
 * so that a turn costs its new tokens alone. */
#include "chat.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/utf8.h"
#include "far.h"
#include "out.h"
#include "verbs.h"

enum { CONVERSATION_BYTES_MAX = 64 << 20 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

bool chat_interrupted(void) { return interrupted != 0; }

/* While an answer is written, a signal must not break the writing; while a line is read, it must. */
static void catch_interrupts(bool writing)
{
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = writing ? (int)SA_RESTART : 0}, NULL);
}

bool chat_set_text(char **place, const char *text)
{
    size_t n = text ? strlen(text) + 1 : 0;
    char *copy = n ? ig_alloc(n) : NULL;
    if (n && !copy) return false;
    if (n) memcpy(copy, text, n);
    ig_free(*place);
    *place = copy;
    return true;
}

static ingle_status failure(ig_status status, const char *text, ingle_error *err)
{
    ig_error e;
    ig_fail(&e, status, 0, "%s", text);
    return input_error(&e, err);
}

/* ------------------------------------------------------------------------------------------------ engine */

ingle_status chat_engine(chat_state *s, ingle_error *err)
{
    const cli_call *c = s->call;
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = cli_count(c, "threads", 0),
                              .n_ctx = s->n_ctx,
                              .n_batch = cli_count(c, "batch", 0),
                              .kv = input_kv(c, INGLE_KV_F16),
                              .no_head = talk_no_head(c)};
    ingle_engine *engine = NULL;
    ingle_session *session = NULL;
    ingle_status st = ingle_engine_new(s->model, &o, &engine, err);
    if (st == INGLE_OK) st = ingle_session_new(engine, &session, err);
    int32_t *fed = st == INGLE_OK ? ig_calloc(ingle_engine_n_ctx(engine), sizeof *fed) : NULL;
    if (st == INGLE_OK && !fed) st = failure(IG_NO_MEMORY, "out of memory for the tokens of the conversation", err);
    if (st != INGLE_OK) {
        ingle_session_free(session);
        ingle_engine_free(engine);
        return st;
    }
    ingle_session_free(s->session);
    ingle_engine_free(s->engine);
    ig_free(s->fed);
    s->engine = engine, s->session = session, s->fed = fed, s->n_fed = 0;
    s->n_ctx = ingle_engine_n_ctx(engine);
    return INGLE_OK;
}

/* ------------------------------------------------------------------------------------------------ messages */

static json_t *message(const char *role, const char *text, size_t n)
{
    json_t *content = json_stringn(text, n);
    return content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
}

json_t *chat_all_messages(const chat_state *s)
{
    json_t *all = json_array();
    if (s->system) json_array_append_new(all, message("system", s->system, strlen(s->system)));
    json_array_extend(all, s->messages);
    return all;
}

/* [{"role": text, "content": text}...] */
static bool is_conversation(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        if (!json_is_string(json_object_get(m, "role")) || !json_is_string(json_object_get(m, "content"))) return false;
    }
    return json_is_array(list);
}

ingle_status chat_load(chat_state *s, const char *path, ingle_error *err)
{
    ig_buf text;
    ig_error e;
    ig_buf_init(&text, CONVERSATION_BYTES_MAX);
    ig_status st = ig_file_read(path, &text, &e);
    json_t *file = st == IG_OK ? json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_t *list = json_is_object(file) ? json_object_get(file, "messages") : file;
    if (st == IG_OK && !is_conversation(list))
        st = ig_fail(&e, IG_BAD_INPUT, 0,
                     "%.200s holds no conversation, expected JSON with \"messages\", each with a \"role\" and a "
                     "\"content\"",
                     path);
    ig_buf_fini(&text);
    if (st == IG_OK) {
        const json_t *first = json_array_get(list, 0);
        const char *role = json_string_value(json_object_get(first, "role"));
        bool has_system = role && !strcmp(role, "system");
        json_decref(s->messages);
        s->messages = json_copy(list);
        chat_set_text(&s->system, has_system ? json_string_value(json_object_get(first, "content")) : NULL);
        if (has_system) json_array_remove(s->messages, 0);
    }
    json_decref(file);
    return st == IG_OK ? INGLE_OK : input_error(&e, err);
}

/* ------------------------------------------------------------------------------------------------ answers */

typedef struct answer {
    chat_state *s;
    talk_answer said;
    cli_ids ids; /* [n_ctx] room */
    bool dim, failed;
} answer;

static bool write_part(void *user, const char *text, size_t n, bool thinking)
{
    answer *a = user;
    return talk_write(text, n, thinking, a->s->hide, &a->dim);
}

static bool on_text(void *user, const char *text, size_t n, int32_t id)
{
    answer *a = user;
    if (id >= 0 && a->s->n_fed + a->ids.n < a->s->n_ctx) a->ids.ids[a->ids.n++] = id;
    if (n && !talk_answer_push(&a->said, text, n)) a->failed = true;
    return !interrupted && !a->failed;
}

/* Makes the session hold the prompt. What it holds already stays, but for one token, whose logits are wanted. */
static ingle_status feed(chat_state *s, const talk_prompt *p, ingle_error *err)
{
    size_t same = 0, piece = cli_count(s->call, "batch", 256);
    uint64_t from = ig_now_ns();
    while (same < s->n_fed && same + 1 < p->ids.n && s->fed[same] == p->ids.ids[same]) same++;
    ingle_session_truncate(s->session, (uint32_t)same);
    s->n_fed = same;
    ingle_status st = INGLE_OK;
    for (size_t at = same; st == INGLE_OK && at < p->ids.n && !interrupted; at = s->n_fed) {
        size_t n = p->ids.n - at < piece ? p->ids.n - at : piece;
        st = ingle_session_feed(s->session, p->ids.ids + at, n, err);
        if (st != INGLE_OK) break;
        memcpy(s->fed + at, p->ids.ids + at, n * sizeof *s->fed);
        s->n_fed = at + n;
    }
    s->n_prompt = (uint32_t)p->ids.n, s->n_reused = (uint32_t)same;
    s->prompt_ms = (double)(ig_now_ns() - from) / 1e6;
    return st;
}

static ingle_status generate(chat_state *s, answer *a, const talk_prompt *p, ingle_generate_result *r, ingle_error *err)
{
    ingle_sampler *sampler = NULL;
    const char *stops[CHAT_STOPS_MAX];
    for (size_t i = 0; i < s->n_stops; i++) stops[i] = s->stops[i];
    ingle_generate_options o = {.size = sizeof o,
                                .n_max = s->n_max,
                                .stops = stops,
                                .n_stops = s->n_stops,
                                .on_text = on_text,
                                .user = a,
                                .grammar = s->grammar,
                                .speculate = s->guess.how,
                                .drafter = s->guess.session};
    ingle_reply_options reply = {.size = sizeof reply,
                                 .model = s->chat.source ? NULL : s->model,
                                 .source = s->chat.source,
                                 .n_source = s->chat.source ? strlen(s->chat.source) : 0,
                                 .prompt = p->text.text,
                                 .n_prompt = p->text.n};
    uint64_t from = ig_now_ns();
    ingle_status st = talk_answer_open(&a->said, &reply, write_part, a, err);
    if (st == INGLE_OK) talk_prepare(&a->said, p, &o);
    if (st == INGLE_OK) st = ingle_sampler_new(s->model, &s->sampling.o, &sampler, err);
    if (st == INGLE_OK) {
        ingle_sampler_accept(sampler, p->ids.ids, p->ids.n);
        st = ingle_generate(s->session, sampler, &o, r, err);
    }
    if (!talk_answer_finish(&a->said) || !talk_answer_lines(&a->said)) a->failed = true;
    talk_write("", 0, false, s->hide, &a->dim);
    ingle_sampler_free(sampler);
    s->answer_ms = (double)(ig_now_ns() - from) / 1e6;
    s->n_generated = r->n_generated;
    s->n_drafted = r->n_drafted, s->n_accepted = r->n_accepted;
    return st;
}

/* What the session holds now: the prompt and the answer, but for a token that was not fed. */
static void note_fed(chat_state *s, const answer *a)
{
    size_t held = ingle_session_length(s->session);
    if (held > s->n_fed + a->ids.n) held = s->n_fed + a->ids.n;
    memcpy(s->fed + s->n_fed, a->ids.ids, (held - s->n_fed) * sizeof *s->fed);
    s->n_fed = held;
}

static void tell_end(const chat_state *s, const ingle_generate_result *r)
{
    if (r->finish == INGLE_FINISH_CONTEXT)
        cli_note("ingle: the context of %u tokens is full, the answer ends here. Type /clear to begin anew\n",
                 s->n_ctx);
    else if (r->incomplete)
        cli_note("ingle: the answer is not complete\n");
    else if (r->finish == INGLE_FINISH_LENGTH)
        cli_note("ingle: the answer was ended after %u tokens\n", r->n_generated);
    if (r->finish != INGLE_FINISH_CONTEXT && s->n_fed > s->n_ctx / 10 * 9)
        cli_note("ingle: the context is nearly full: %zu of %u tokens\n", s->n_fed, s->n_ctx);
    if (s->verbose)
        cli_note(
            "prompt %u tokens, %u of them kept, %.1f ms; answer %u tokens, %.1f ms, %u guessed, %u of them rightly; "
            "context %zu of %u tokens\n",
            s->n_prompt, s->n_reused, s->prompt_ms, s->n_generated, s->answer_ms, s->n_drafted, s->n_accepted, s->n_fed,
            s->n_ctx);
}

static bool answer_prompt(chat_state *s, const talk_prompt *p)
{
    ingle_error err;
    ingle_generate_result r = {0};
    answer a = {.s = s};
    a.ids.ids = ig_calloc(s->n_ctx, sizeof *a.ids.ids);
    ingle_status st = a.ids.ids ? feed(s, p, &err) : failure(IG_NO_MEMORY, "out of memory for an answer", &err);
    bool stopped = st == INGLE_OK && interrupted;
    if (st == INGLE_OK && !stopped) st = generate(s, &a, p, &r, &err);
    if (st == INGLE_OK && !stopped) {
        cli_out_stream("\n", 1);
        note_fed(s, &a);
        json_t *said = message("assistant", a.said.text.ptr ? a.said.text.ptr : "", a.said.text.len);
        json_array_append_new(s->messages, said ? said : message("assistant", "", 0));
        tell_end(s, &r);
    } else {
        s->n_fed = 0;
        ingle_session_truncate(s->session, 0);
        if (stopped)
            cli_note("ingle: stopped before the answer\n");
        else
            cli_fail(err.text);
    }
    talk_answer_close(&a.said);
    input_ids_fini(&a.ids);
    return st == INGLE_OK && !stopped;
}

static bool near_answer(chat_state *s)
{
    ingle_error err;
    talk_prompt p = {0};
    json_t *all = chat_all_messages(s);
    bool ok = false;
    ingle_status st = talk_render(&s->chat, all, NULL, s->think, &p, &err);
    if (st == INGLE_OK) st = talk_keep(&s->chat, s->fed, s->n_fed, &p, &err);
    if (st != INGLE_OK)
        cli_fail(err.text);
    else if (p.ids.n == 0)
        cli_fail("the conversation makes an empty prompt, expected a template that writes something");
    else if (p.ids.n >= s->n_ctx)
        cli_note(
            "ingle: the conversation has %zu tokens with this message and the context holds %u; nothing was dropped. "
            "Type /clear to begin anew, or /set parameter num_ctx N for more\n",
            p.ids.n, s->n_ctx);
    else
        ok = answer_prompt(s, &p);
    talk_prompt_fini(&p);
    json_decref(all);
    return ok;
}

bool chat_answer(chat_state *s)
{
    interrupted = 0;
    return s->far ? far_chat_answer(s) : near_answer(s);
}

/* ------------------------------------------------------------------------------------------------ the loop */

/* A message; taken back when it cannot be answered. */
static void send(chat_state *s, const char *text, size_t n)
{
    json_t *m = message("user", text, n);
    if (!m) {
        cli_fail("the message is not valid UTF-8, expected text");
        s->failed = true;
        return;
    }
    json_array_append_new(s->messages, m);
    if (chat_answer(s)) return;
    json_array_remove(s->messages, json_array_size(s->messages) - 1);
    s->failed = true;
}

/* The lines behind the first one of a message: until one ends with three quotes, or does not end with a backslash. */
static cli_line_result read_rest(chat_state *s, ig_buf *text, bool quoted)
{
    for (;;) {
        const char *line;
        size_t n;
        cli_line_result r = cli_line_read(s->line, "... ", &line, &n);
        if (r != CLI_LINE_READ) return quoted && r == CLI_LINE_END ? CLI_LINE_READ : r;
        bool end = quoted ? n >= 3 && !memcmp(line + n - 3, "\"\"\"", 3) : n == 0 || line[n - 1] != '\\';
        if (quoted && end) n -= 3;
        if (!quoted && !end) n--;
        if (!ig_buf_add(text, "\n", 1) || !ig_buf_add(text, line, n)) return CLI_LINE_INTERRUPTED;
        if (end) return CLI_LINE_READ;
    }
}

static cli_line_result read_message(chat_state *s, ig_buf *text)
{
    const char *line;
    size_t n;
    text->len = 0;
    cli_line_result r = cli_line_read(s->line, ">>> ", &line, &n);
    if (r != CLI_LINE_READ) return r;
    bool quoted = n >= 3 && !memcmp(line, "\"\"\"", 3), more = quoted;
    if (quoted) line += 3, n -= 3;
    if (quoted && n >= 3 && !memcmp(line + n - 3, "\"\"\"", 3)) n -= 3, more = false;
    if (!quoted && n && line[n - 1] == '\\') n--, more = true;
    if (!ig_buf_add(text, line, n)) return CLI_LINE_INTERRUPTED;
    if (more) r = read_rest(s, text, quoted);
    if (quoted && text->len && text->ptr[0] == '\n') memmove(text->ptr, text->ptr + 1, --text->len);
    return ig_buf_add(text, "", 1) ? r : CLI_LINE_INTERRUPTED; /* NUL-terminated for commands */
}

static bool is_blank(const char *text) { return text[strspn(text, " \t\r\n")] == 0; }

static int loop(chat_state *s)
{
    ig_buf text;
    int code = CLI_DONE;
    ig_buf_init(&text, CONVERSATION_BYTES_MAX);
    while (!s->leave) {
        interrupted = 0;
        catch_interrupts(false);
        cli_line_result r = read_message(s, &text);
        catch_interrupts(true);
        if (r == CLI_LINE_END) break;
        if (r == CLI_LINE_INTERRUPTED) {
            if (!cli_line_is_terminal(s->line)) {
                code = CLI_INTERRUPTED;
                break;
            }
            cli_out_stream("\n", 1);
            cli_note("Use Ctrl-D or /bye to leave.\n");
        } else if (text.ptr[0] == '/' && !memchr(text.ptr, '\n', text.len))
            chat_command(s, text.ptr);
        else if (!is_blank(text.ptr))
            send(s, text.ptr, text.len - 1);
        if (interrupted && !cli_line_is_terminal(s->line) && r == CLI_LINE_READ)
            code = CLI_INTERRUPTED, s->leave = true;
    }
    if (cli_line_is_terminal(s->line) && !s->leave) cli_out_stream("\n", 1);
    ig_buf_fini(&text);
    return code == CLI_DONE && s->failed && !cli_line_is_terminal(s->line) ? CLI_FAILED : code;
}

/* ------------------------------------------------------------------------------------------------ all together */

static ingle_status prepare_far(chat_state *s, ingle_error *err)
{
    const cli_call *c = s->call;
    ig_error e;
    if (far_chat_open(s, &e) != IG_OK) return input_error(&e, err);
    s->own.system = cli_text(c, "system");
    s->own.stops = cli_get(c, "stop")->list;
    s->own.n_stops = cli_get(c, "stop")->n_list;
    return INGLE_OK;
}

static ingle_status prepare_near(chat_state *s, ingle_error *err)
{
    const cli_call *c = s->call;
    ingle_status st = input_named_model(c->args[0], false, &s->model, &s->own.manifest, err);
    if (st == INGLE_OK) st = talk_model_init(&s->own, c, &s->sampling, err);
    if (st == INGLE_OK) st = talk_chat_open(&s->chat, s->model, s->own.manifest, err);
    if (st == INGLE_OK) st = talk_grammar(c, &s->grammar, err);
    if (st != INGLE_OK) return st;
    if (s->chat.is_default) cli_note("ingle: %.200s brings no chat template, ChatML is used\n", c->args[0]);
    s->n_max = s->own.n_max;
    s->n_ctx = s->own.n_ctx;
    return INGLE_OK;
}

static ingle_status prepare(chat_state *s, ingle_error *err)
{
    const cli_call *c = s->call;
    bool own = c->verb->run == cli_chat; /* else run stands in for chat */
    ingle_status st = s->far ? prepare_far(s, err) : prepare_near(s, err);
    if (st != INGLE_OK) return st;
    s->messages = s->own.messages ? json_deep_copy(s->own.messages) : json_array();
    s->think = cli_text(c, "think");
    s->hide = cli_set(c, "hide-thinking");
    s->verbose = cli_set(c, "stats");
    s->line = cli_line_open(chat_interrupted);
    bool ok = s->messages && s->line && chat_set_text(&s->system, s->own.system);
    if (s->own.n_stops > CHAT_STOPS_MAX)
        return failure(IG_TOO_LARGE, "more than 16 texts for --stop, expected fewer", err);
    for (size_t i = 0; ok && i < s->own.n_stops; i++) ok = chat_set_text(&s->stops[s->n_stops++], s->own.stops[i]);
    if (!ok) return failure(IG_NO_MEMORY, "out of memory for a conversation", err);
    if (own && cli_set(c, "load")) st = chat_load(s, cli_text(c, "load"), err);
    if (st != INGLE_OK || s->far) return st;
    st = chat_engine(s, err);
    return st == INGLE_OK ? talk_guess_open(&s->guess, c, s->n_ctx, err) : st;
}

static void fini(chat_state *s)
{
    cli_line_close(s->line);
    far_chat_fini(s);
    for (size_t i = 0; i < s->n_stops; i++) ig_free(s->stops[i]);
    ig_free(s->system);
    ig_free(s->fed);
    json_decref(s->messages);
    ingle_grammar_close(s->grammar);
    talk_chat_close(&s->chat);
    talk_model_fini(&s->own);
    talk_sampling_fini(&s->sampling);
    talk_guess_close(&s->guess);
    ingle_session_free(s->session);
    ingle_engine_free(s->engine);
    ingle_model_close(s->model);
}

int cli_chat(const cli_call *call)
{
    chat_state s = {.call = call};
    ingle_error err;
    ig_error usage;
    int code;
    far_choice where = far_choose(call, &code);
    if (where == FAR_NEITHER) return code;
    s.far = where == FAR_THERE;
    if (talk_check_format(call, &usage) != IG_OK || talk_check_guess(call, &usage) != IG_OK ||
        talk_sampling_init(&s.sampling, call, &usage) != IG_OK)
        code = cli_usage(usage.text);
    else if (prepare(&s, &err) != INGLE_OK)
        code = cli_fail(err.text);
    else {
        if (cli_set(call, "stats") && s.far) cli_note("ingle: the service answers\n");
        if (cli_line_is_terminal(s.line)) cli_outf("Type a message, or /help.\n");
        code = loop(&s);
    }
    fini(&s);
    return code;
}
