/* The lines of a chat that begin with '/': one row a command, one row a parameter. */
#include "chat.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "out.h"

/* A value that was typed, or why not. */
typedef struct request {
    chat_state *s;
    const char *rest; /* what stands behind the words of the command */
} request;

static const char *skip(const char *p) { return p + strspn(p, " \t"); }

/* ------------------------------------------------------------------------------------------------ parameters */

typedef struct parameter {
    const char *name, *help;
    enum { COUNT, REAL, OWN } kind;
    size_t offset; /* in ingle_sampler_options: uint32_t or float */
    double min, max;
    bool (*set)(chat_state *s, const char *value); /* OWN */
} parameter;

static bool set_seed(chat_state *s, const char *value)
{
    uint64_t seed;
    if (!cli_parse_count(value, strlen(value), UINT64_MAX, &seed)) return false;
    s->sampling.o.seed = seed;
    s->sampling.o.seed_random = false;
    return true;
}

static bool set_predict(chat_state *s, const char *value)
{
    uint64_t n;
    bool endless = !strcmp(value, "-1");
    if (!endless && !cli_parse_count(value, strlen(value), UINT32_MAX, &n)) return false;
    s->n_max = endless ? 0 : (uint32_t)n;
    return true;
}

static bool set_context(chat_state *s, const char *value)
{
    uint64_t n;
    uint32_t old = s->n_ctx;
    ingle_error err;
    if (!cli_parse_count(value, strlen(value), 16777216, &n) || n == 0) return false;
    if (s->far) return true;
    s->n_ctx = (uint32_t)n;
    if (chat_engine(s, &err) == INGLE_OK) return true;
    s->n_ctx = old;
    cli_fail(err.text);
    return true;
}

static bool set_stop(chat_state *s, const char *value)
{
    if (s->n_stops == CHAT_STOPS_MAX) {
        cli_note("ingle: there are %d stops already, type /set nostop to drop them\n", CHAT_STOPS_MAX);
        return true;
    }
    return value[0] && chat_set_text(&s->stops[s->n_stops], value) && ++s->n_stops;
}

#define AT(field) offsetof(ingle_sampler_options, field)
static const parameter parameters[] = {
    {"temperature", "0 always takes the most probable token", REAL, AT(temperature), 0, 100, NULL},
    {"top_k", "choose among the N most probable tokens, 0: off", COUNT, AT(top_k), 0, UINT32_MAX, NULL},
    {"top_p", "choose among those that make up F together, 1: off", REAL, AT(top_p), 0, 1, NULL},
    {"min_p", "leave out what is less probable than F times the best, 0: off", REAL, AT(min_p), 0, 1, NULL},
    {"repeat_penalty", "make the last tokens less likely, 1: off", REAL, AT(repetition_penalty), 0.01, 100, NULL},
    {"repeat_last_n", "how many tokens the penalties look back at", COUNT, AT(penalty_last_n), 0, UINT32_MAX, NULL},
    {"frequency_penalty", "subtracted for every time a token occurred", REAL, AT(frequency_penalty), -100, 100, NULL},
    {"presence_penalty", "subtracted when a token occurred at all", REAL, AT(presence_penalty), -100, 100, NULL},
    {"seed", "the same seed gives the same answer", OWN, 0, 0, 0, set_seed},
    {"num_predict", "end an answer after N tokens, -1: never", OWN, 0, 0, 0, set_predict},
    {"num_ctx", "tokens of the context; the conversation stays", OWN, 0, 0, 0, set_context},
    {"stop", "end before this text; may be set several times", OWN, 0, 0, 0, set_stop},
};
enum { N_PARAMETERS = sizeof parameters / sizeof *parameters };

static bool set_number(chat_state *s, const parameter *p, const char *value)
{
    char *place = (char *)&s->sampling.o + p->offset;
    double v;
    if (!cli_parse_real(value, false, &v) || !(v >= p->min && v <= p->max)) return false;
    if (p->kind == COUNT && v != floor(v)) return false;
    if (p->kind == COUNT)
        *(uint32_t *)(void *)place = (uint32_t)v;
    else
        *(float *)(void *)place = (float)v;
    return true;
}

static void do_parameter(request *r)
{
    char name[32];
    size_t n = strcspn(r->rest, " \t");
    (void)snprintf(name, sizeof name, "%.*s", (int)(n < 31 ? n : 31), r->rest);
    const char *value = skip(r->rest + n);
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const parameter *p = &parameters[i];
        if (strcmp(p->name, name) != 0) continue;
        bool ok = p->kind == OWN ? p->set(r->s, value) : set_number(r->s, p, value);
        if (ok && r->s->far) ok = p->set == set_stop || far_chat_set(r->s, p->name, value);
        if (r->s->far) far_chat_stops(r->s);
        if (!ok) cli_note("ingle: \"%.60s\" is no value for %s (%s)\n", value, p->name, p->help);
        return;
    }
    cli_note("ingle: there is no parameter \"%.40s\", expected one of:\n", name);
    for (size_t i = 0; i < N_PARAMETERS; i++) cli_note("  %-18s %s\n", parameters[i].name, parameters[i].help);
}

static void show_parameters(const chat_state *s)
{
    if (s->far) {
        far_chat_parameters(s);
        return;
    }
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const parameter *p = &parameters[i];
        const char *place = (const char *)&s->sampling.o + p->offset;
        if (p->kind == COUNT) cli_outf("%-18s %u\n", p->name, *(const uint32_t *)(const void *)place);
        if (p->kind == REAL) cli_outf("%-18s %g\n", p->name, (double)*(const float *)(const void *)place);
    }
    if (!s->sampling.o.seed_random) cli_outf("%-18s %llu\n", "seed", (unsigned long long)s->sampling.o.seed);
    if (s->n_max) cli_outf("%-18s %u\n", "num_predict", s->n_max);
    cli_outf("%-18s %u\n", "num_ctx", s->n_ctx);
    for (size_t i = 0; i < s->n_stops; i++) cli_outf("%-18s %s\n", "stop", s->stops[i]);
}

/* ------------------------------------------------------------------------------------------------ commands */

static void do_system(request *r)
{
    if (r->rest[0] == 0)
        cli_outf("%s\n", r->s->system ? r->s->system : "There is no system message.");
    else if (!chat_set_text(&r->s->system, r->rest))
        cli_fail("out of memory for the system message");
}

static void do_clear(request *r)
{
    json_array_clear(r->s->messages);
    cli_note("The conversation is empty.\n");
}

static void do_save(request *r)
{
    ig_error err;
    json_t *all = chat_all_messages(r->s), *file = json_pack("{s:O}", "messages", all);
    char *text = file ? json_dumps(file, JSON_INDENT(2)) : NULL;
    if (r->rest[0] == 0)
        cli_note("ingle: /save wants the name of a file\n");
    else if (!text)
        cli_fail("out of memory for the conversation");
    else if (ig_file_write_atomic(r->rest, text, strlen(text), &err) != IG_OK)
        cli_fail(err.text);
    else
        cli_note("%zu messages saved.\n", json_array_size(all));
    free(text);
    json_decref(file);
    json_decref(all);
}

static void do_load(request *r)
{
    ingle_error err;
    if (r->rest[0] == 0)
        cli_note("ingle: /load wants the name of a file that /save wrote\n");
    else if (chat_load(r->s, r->rest, &err) != INGLE_OK)
        cli_fail(err.text);
    else
        cli_note("%zu messages loaded.\n", json_array_size(r->s->messages));
}

static void do_regenerate(request *r)
{
    json_t *list = r->s->messages;
    size_t n = json_array_size(list);
    const char *role = n ? json_string_value(json_object_get(json_array_get(list, n - 1), "role")) : NULL;
    if (role && !strcmp(role, "assistant")) json_array_remove(list, --n);
    if (n == 0)
        cli_note("ingle: there is nothing to answer again\n");
    else
        chat_answer(r->s);
}

static void do_stats(request *r)
{
    const chat_state *s = r->s;
    cli_outf("context      %zu of %u tokens\n", s->n_fed, s->n_ctx);
    cli_outf("messages     %zu\n", json_array_size(s->messages));
    cli_outf("last prompt  %u tokens, %u of them kept from before, %.1f ms\n", s->n_prompt, s->n_reused, s->prompt_ms);
    cli_outf("last answer  %u tokens, %.1f tokens/s\n", s->n_generated,
             s->answer_ms > 0 ? s->n_generated * 1000 / s->answer_ms : 0);
}

static void do_show(request *r)
{
    const chat_state *s = r->s;
    ingle_model_info info;
    if (!s->far) ingle_model_describe(s->model, &info);
    if (!strcmp(r->rest, "parameters"))
        show_parameters(s);
    else if (!strcmp(r->rest, "system"))
        cli_outf("%s\n", s->system ? s->system : "There is no system message.");
    else if (!strcmp(r->rest, "messages")) {
        json_t *all = chat_all_messages(s);
        cli_out_json(all);
        json_decref(all);
    } else if (s->far && (!strcmp(r->rest, "info") || r->rest[0] == 0))
        far_chat_info(s);
    else if (!strcmp(r->rest, "info") || r->rest[0] == 0)
        cli_outf("model        %s %s\narchitecture %s\nparameters   %llu\ncontext      %u tokens\nthreads      %u\n",
                 s->call->args[0], info.name, info.architecture, (unsigned long long)info.n_params, s->n_ctx,
                 ingle_engine_n_threads(s->engine));
    else
        cli_note("ingle: /show knows info, parameters, system and messages\n");
}

static void set_format(chat_state *s, bool json)
{
    ingle_grammar *grammar = NULL;
    ingle_error err;
    if (s->far) {
        far_chat_json(s, json);
        return;
    }
    if (json && talk_any_json(&grammar, &err) != INGLE_OK) {
        cli_fail(err.text);
        return;
    }
    ingle_grammar_close(s->grammar);
    s->grammar = grammar;
}

static const char *think_word(const char *word)
{
    static const char *const words[] = {"on", "off", "low", "medium", "high"};
    if (word[0] == 0) return "on";
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i], word)) return words[i];
    return NULL;
}

static void set_think(request *r)
{
    const char *word = think_word(r->rest);
    if (word)
        r->s->think = word;
    else
        cli_note("ingle: /set think knows on, off, low, medium and high\n");
}

static void set_nothink(request *r) { r->s->think = "off"; }
static void set_hide(request *r) { r->s->hide = true; }
static void set_nohide(request *r) { r->s->hide = false; }
static void set_json(request *r)
{
    if (!strcmp(r->rest, "json"))
        set_format(r->s, true);
    else
        cli_note("ingle: /set format knows json\n");
}
static void set_noformat(request *r) { set_format(r->s, false); }
static void set_verbose(request *r) { r->s->verbose = true; }
static void set_quiet(request *r) { r->s->verbose = false; }
static void set_history(request *r) { cli_line_remember(r->s->line, true); }
static void set_nohistory(request *r) { cli_line_remember(r->s->line, false); }
static void set_nostop(request *r)
{
    while (r->s->n_stops) chat_set_text(&r->s->stops[--r->s->n_stops], NULL);
    if (r->s->far) far_chat_stops(r->s);
}
static void do_bye(request *r) { r->s->leave = true; }
static void do_help(request *r);
static void do_set(request *r);

typedef struct command {
    const char *name, *args, *help;
    void (*run)(request *r);
} command;

static const command commands[] = {
    {"/help", "", "this list; also /?", do_help},
    {"/?", "", NULL, do_help},
    {"/system", "TEXT", "what the model is told before the conversation; without TEXT shows it", do_system},
    {"/clear", "", "forget the conversation; also /reset", do_clear},
    {"/reset", "", NULL, do_clear},
    {"/regenerate", "", "answer the last message again", do_regenerate},
    {"/save", "FILE", "write the conversation", do_save},
    {"/load", "FILE", "go on with a conversation that was saved", do_load},
    {"/set", "...", "change a setting; /set alone lists them", do_set},
    {"/show", "[info|parameters|system|messages]", "show what is set", do_show},
    {"/stats", "", "use of the context, times of the last answer", do_stats},
    {"/bye", "", "leave; also /exit and Ctrl-D", do_bye},
    {"/exit", "", NULL, do_bye},
    {"/quit", "", NULL, do_bye},
};
static const command settings[] = {
    {"parameter", "NAME VALUE", "of sampling; /set parameter alone lists them", do_parameter},
    {"system", "TEXT", "as /system", do_system},
    {"think", "[on|low|medium|high]", "let the model reason; nothink: do not", set_think},
    {"nothink", "", NULL, set_nothink},
    {"hide", "", "do not show reasoning; nohide: show it", set_hide},
    {"nohide", "", NULL, set_nohide},
    {"format", "json", "answers are JSON objects; noformat: free", set_json},
    {"noformat", "", NULL, set_noformat},
    {"nostop", "", "drop the texts of /set parameter stop", set_nostop},
    {"history", "", "keep lines for the arrow keys; nohistory: do not", set_history},
    {"nohistory", "", NULL, set_nohistory},
    {"verbose", "", "tell times after every answer; quiet: do not", set_verbose},
    {"quiet", "", NULL, set_quiet},
};

static void print_table(const command *table, size_t n, const char *before)
{
    for (size_t i = 0; i < n; i++) {
        char words[80];
        if (!table[i].help) continue;
        (void)snprintf(words, sizeof words, "%s%s %s", before, table[i].name, table[i].args);
        cli_outf("  %-42s %s\n", words, table[i].help);
    }
}

static void do_help(request *r)
{
    (void)r;
    print_table(commands, sizeof commands / sizeof *commands, "");
    print_table(settings, sizeof settings / sizeof *settings, "/set ");
    cli_outf("\"\"\" begins and ends a message of several lines; a backslash at the end of a line goes on, too.\n"
             "Ctrl-C stops an answer.\n");
}

/* The row whose name is the first word of *text, which moves behind it; NULL when there is none. */
static const command *find(const command *table, size_t n, const char **text)
{
    size_t len = strcspn(*text, " \t");
    for (size_t i = 0; i < n; i++) {
        if (strlen(table[i].name) != len || strncmp(table[i].name, *text, len) != 0) continue;
        *text = skip(*text + len);
        return &table[i];
    }
    return NULL;
}

static void do_set(request *r)
{
    const command *c = find(settings, sizeof settings / sizeof *settings, &r->rest);
    if (c)
        c->run(r);
    else if (r->rest[0])
        cli_note("ingle: there is no setting \"%.40s\". Type /set\n", r->rest);
    else
        print_table(settings, sizeof settings / sizeof *settings, "/set ");
}

void chat_command(chat_state *s, const char *line)
{
    char text[4096];
    request r = {.s = s, .rest = text};
    size_t n = strlen(line);
    while (n && strchr(" \t", line[n - 1])) n--;
    if (n >= sizeof text) {
        cli_note("ingle: a command has at most %zu bytes, put \"\"\" around a message\n", sizeof text - 1);
        return;
    }
    memcpy(text, line, n);
    text[n] = 0;
    const command *c = find(commands, sizeof commands / sizeof *commands, &r.rest);
    if (c)
        c->run(&r);
    else
        cli_note("ingle: there is no command \"%.40s\". Type /help\n", text);
}
