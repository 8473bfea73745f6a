#include "talk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "out.h"

/* ------------------------------------------------------------------------------------------------ flags */

static ig_status parse_bias(talk_sampling *s, const cli_call *call, ig_error *err)
{
    const cli_value *v = cli_get(call, "logit-bias");
    s->bias = ig_calloc(v->n_list, sizeof *s->bias);
    if (!s->bias) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for %zu logit biases", v->n_list);
    for (size_t i = 0; i < v->n_list; i++) {
        const char *text = v->list[i];
        size_t n = strcspn(text, "=");
        uint64_t id;
        double bias;
        if (text[n] != '=' || !cli_parse_count(text, n, INT32_MAX, &id) || !cli_parse_real(text + n + 1, true, &bias) ||
            bias > 1e30 || (isfinite(bias) && bias < -1e30))
            return ig_fail(
                err, IG_BAD_INPUT, 0,
                "--logit-bias got \"%.80s\", expected a token id, = and a number, such as 42=-1.5 or 42=-inf. "
                "Type: ingle %s --help",
                text, call->verb->name);
        s->bias[s->o.n_bias++] = (ingle_logit_bias){(int32_t)id, (float)bias};
    }
    s->o.bias = s->bias;
    return IG_OK;
}

ig_status talk_sampling_init(talk_sampling *s, const cli_call *call, ig_error *err)
{
    *s = (talk_sampling){.o = {
                             .size = sizeof s->o,
                             .temperature = cli_real(call, "temp", 0.8f),
                             .top_k = cli_count(call, "top-k", 40),
                             .top_p = cli_real(call, "top-p", 0.95f),
                             .min_p = cli_real(call, "min-p", 0.05f),
                             .repetition_penalty = cli_real(call, "repeat-penalty", 1),
                             .frequency_penalty = cli_real(call, "frequency-penalty", 0),
                             .presence_penalty = cli_real(call, "presence-penalty", 0),
                             .seed = cli_get(call, "seed")->count,
                             .seed_random = !cli_set(call, "seed"),
                             .order = cli_text(call, "sampler-order"),
                         }};
    return parse_bias(s, call, err);
}

void talk_sampling_fini(talk_sampling *s)
{
    ig_free(s->bias);
    *s = (talk_sampling){0};
}

/* ------------------------------------------------------------------------------------------------ the store's word */

static ingle_status bad_parameter(const char *key, const char *expected, ingle_error *err)
{
    ig_error e;
    ig_fail(&e, IG_BAD_INPUT, 0, "the model's parameter %.40s has an unusable value, expected %s", key, expected);
    return input_error(&e, err);
}

/* Numbers that a flag sets as well; the flag wins. */
static ingle_status read_numbers(talk_model *m, const cli_call *call, talk_sampling *s, ingle_error *err)
{
    const struct {
        const char *key, *flag;
        float *real;
        uint32_t *count;
        double most;
    } rows[] = {{"temperature", "temp", &s->o.temperature, NULL, 100},
                {"top_p", "top-p", &s->o.top_p, NULL, 1},
                {"min_p", "min-p", &s->o.min_p, NULL, 1},
                {"repeat_penalty", "repeat-penalty", &s->o.repetition_penalty, NULL, 100},
                {"frequency_penalty", "frequency-penalty", &s->o.frequency_penalty, NULL, 100},
                {"presence_penalty", "presence-penalty", &s->o.presence_penalty, NULL, 100},
                {"top_k", "top-k", NULL, &s->o.top_k, 1e6},
                {"num_predict", "max-tokens", NULL, &m->n_max, 4e9},
                {"num_ctx", "ctx", NULL, &m->n_ctx, 4e9}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const json_t *j = json_object_get(m->parameters, rows[i].key);
        double v = json_number_value(j);
        if (!j || json_is_null(j) || cli_set(call, rows[i].flag)) continue;
        if (rows[i].count && json_is_integer(j) && v < 0) continue; /* without a limit */
        if (!json_is_number(j) || !(fabs(v) <= rows[i].most) || (v < 0 && i != 4 && i != 5))
            return bad_parameter(rows[i].key, "a number in its range", err);
        if (rows[i].real)
            *rows[i].real = (float)v;
        else
            *rows[i].count = (uint32_t)v;
    }
    const json_t *seed = json_object_get(m->parameters, "seed");
    if (json_is_integer(seed) && json_integer_value(seed) >= 0 && !cli_set(call, "seed")) {
        s->o.seed = (uint64_t)json_integer_value(seed);
        s->o.seed_random = false;
    }
    return INGLE_OK;
}

/* "stop": a text or several. */
static ingle_status read_stops(talk_model *m, const cli_call *call, ingle_error *err)
{
    const json_t *j = json_object_get(m->parameters, "stop");
    size_t n = json_is_string(j) ? 1 : json_array_size(j);
    if (!j || n == 0 || cli_set(call, "stop")) return INGLE_OK;
    if (n > 16) return bad_parameter("stop", "at most 16 texts", err);
    m->own_stops = ig_calloc(n, sizeof *m->own_stops);
    if (!m->own_stops) return bad_parameter("stop", "memory for it", err);
    for (size_t i = 0; i < n; i++) {
        m->own_stops[i] = json_string_value(json_is_string(j) ? j : json_array_get(j, i));
        if (!m->own_stops[i]) return bad_parameter("stop", "a text or a list of texts", err);
    }
    m->stops = m->own_stops;
    m->n_stops = n;
    return INGLE_OK;
}

ingle_status talk_model_init(talk_model *m, const cli_call *call, talk_sampling *s, ingle_error *err)
{
    const cli_value *stop = cli_get(call, "stop");
    m->system = cli_text(call, "system");
    m->stops = stop->list;
    m->n_stops = stop->n_list;
    m->n_max = cli_count(call, "max-tokens", 0);
    m->n_ctx = cli_count(call, "ctx", 0);
    if (!m->manifest) return INGLE_OK;
    if (!m->system) m->system = m->manifest->system;
    m->parameters = m->manifest->parameters ? json_loads(m->manifest->parameters, 0, NULL) : NULL;
    m->messages = m->manifest->messages ? json_loads(m->manifest->messages, 0, NULL) : NULL;
    ingle_status st = read_numbers(m, call, s, err);
    return st == INGLE_OK ? read_stops(m, call, err) : st;
}

void talk_model_fini(talk_model *m)
{
    json_decref(m->parameters);
    json_decref(m->messages);
    ig_free(m->own_stops);
    ig_manifest_free(m->manifest);
    *m = (talk_model){0};
}

ig_status talk_check_format(const cli_call *call, ig_error *err)
{
    if (cli_set(call, "json") + cli_set(call, "json-schema") + cli_set(call, "grammar") < 2) return IG_OK;
    return ig_fail(
        err, IG_BAD_INPUT, 0,
        "--json, --json-schema and --grammar exclude each other, expected one of them. Type: ingle %s --help",
        call->verb->name);
}

ingle_status talk_any_json(ingle_grammar **out, ingle_error *err)
{
    static const char schema[] = "{\"type\": \"object\"}";
    return ingle_grammar_open(INGLE_GRAMMAR_JSON_SCHEMA, schema, sizeof schema - 1, out, err);
}

static const char *const guess_names[] = {[INGLE_SPECULATE_AUTO] = "auto",
                                          [INGLE_SPECULATE_OFF] = "off",
                                          [INGLE_SPECULATE_NGRAM] = "ngram",
                                          [INGLE_SPECULATE_HEAD] = "head",
                                          [INGLE_SPECULATE_DRAFT] = "draft"};

ingle_speculate talk_guess_how(const cli_call *call)
{
    const char *how = cli_text(call, "speculate");
    for (size_t i = 0; how && i < sizeof guess_names / sizeof *guess_names; i++)
        if (!strcmp(guess_names[i], how)) return (ingle_speculate)i;
    return INGLE_SPECULATE_AUTO;
}

bool talk_no_head(const cli_call *call)
{
    ingle_speculate how = talk_guess_how(call);
    return how != INGLE_SPECULATE_AUTO && how != INGLE_SPECULATE_HEAD;
}

ig_status talk_check_guess(const cli_call *call, ig_error *err)
{
    const char *how = cli_text(call, "speculate");
    if (how && !strcmp(how, "draft") && !cli_set(call, "draft"))
        return ig_fail(err, IG_BAD_INPUT, 0, "--speculate draft needs --draft MODEL. Type: ingle %s --help",
                       call->verb->name);
    if (!cli_set(call, "draft") || !how || strcmp(how, "off") != 0) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "--draft and --speculate off exclude each other. Type: ingle %s --help",
                   call->verb->name);
}

ingle_status talk_guess_open(talk_guess *g, const cli_call *call, uint32_t n_ctx, ingle_error *err)
{
    const char *path = cli_text(call, "draft");
    ingle_model_info info;
    g->how = talk_guess_how(call);
    if (!path) return INGLE_OK;
    ingle_status st = input_model(path, false, &g->model, err);
    if (st != INGLE_OK) return st;
    ingle_model_describe(g->model, &info);
    ingle_engine_options o = {.size = sizeof o,
                              .n_threads = cli_count(call, "threads", 0),
                              .n_ctx = n_ctx < info.n_ctx_train ? n_ctx : info.n_ctx_train,
                              .kv = input_kv(call, INGLE_KV_F16),
                              .no_head = true};
    st = ingle_engine_new(g->model, &o, &g->engine, err);
    return st == INGLE_OK ? ingle_session_new(g->engine, &g->session, err) : st;
}

void talk_guess_close(talk_guess *g)
{
    ingle_session_free(g->session);
    ingle_engine_free(g->engine);
    ingle_model_close(g->model);
}

ingle_status talk_grammar(const cli_call *call, ingle_grammar **out, ingle_error *err)
{
    const char *schema = cli_text(call, "json-schema"), *from = schema ? schema : cli_text(call, "grammar");
    ig_buf source;
    *out = NULL;
    if (cli_set(call, "json")) return talk_any_json(out, err);
    if (!from) return INGLE_OK;
    bool written_out = schema ? from[strspn(from, " \t\n")] == '{' : strstr(from, "::=") != NULL;
    ingle_status st = input_text(written_out ? from : NULL, from, &source, err);
    if (st == INGLE_OK)
        st = ingle_grammar_open(schema ? INGLE_GRAMMAR_JSON_SCHEMA : INGLE_GRAMMAR_GBNF, source.ptr ? source.ptr : "",
                                source.len, out, err);
    ig_buf_fini(&source);
    return st;
}

/* ------------------------------------------------------------------------------------------------ conversations */

ingle_status talk_chat_open(talk_chat *c, const ingle_model *model, const ig_manifest *manifest, ingle_error *err)
{
    const char *own = manifest ? ig_manifest_template(manifest) : NULL;
    *c = (talk_chat){.model = model, .is_own = own && *own, .source = own && *own ? own : NULL};
    return c->is_own ? ingle_template_compile(own, strlen(own), &c->t, err)
                     : ingle_template_of_model(model, &c->t, &c->is_default, err);
}

void talk_chat_close(talk_chat *c)
{
    ingle_template_free(c->t);
    *c = (talk_chat){0};
}

/* A template that is not the file's own does not know the file's special tokens. */
static void add_token(const ingle_model *model, json_t *vars, const char *name, int32_t id)
{
    char text[256];
    size_t n = 0;
    if (id < 0 || ingle_detokenize(model, &id, 1, INGLE_WRITE_SPECIAL, text, sizeof text, &n, NULL) != INGLE_OK) return;
    (void)json_object_set_new(vars, name, json_stringn(text, n));
}

/* The conversation as the template's variables. */
static json_t *variables(const talk_chat *c, json_t *messages, json_t *tools, const char *think)
{
    json_t *vars = json_pack("{s:O, s:b}", "messages", messages, "add_generation_prompt", 1);
    if (vars && tools) json_object_set(vars, "tools", tools);
    if (vars && c->is_own) {
        ingle_model_info info;
        ingle_model_describe(c->model, &info);
        add_token(c->model, vars, "bos_token", info.bos);
        add_token(c->model, vars, "eos_token", info.eos);
    }
    if (!vars || !think) return vars;
    bool off = !strcmp(think, "off"), on = !strcmp(think, "on");
    json_object_set_new(vars, "enable_thinking", json_boolean(!off));
    json_object_set_new(vars, "thinking", json_boolean(!off));
    if (!on && !off) json_object_set_new(vars, "reasoning_effort", json_string(think));
    return vars;
}

static const char *local_time(char out[32])
{
    time_t now = time(NULL);
    struct tm parts;
    if (!localtime_r(&now, &parts) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &parts)) return NULL;
    return out;
}

/* A vocabulary that wants a beginning token gets one where the template wrote none. */
static ingle_status tokenize(const talk_chat *c, const ingle_template_text *text, cli_ids *out, ingle_error *err)
{
    int32_t added[8];
    size_t n_added = 0;
    ingle_model_info info;
    ingle_status st =
        input_tokenize_veiled(c->model, text->text, text->n, INGLE_PARSE_SPECIAL, text->veils, text->n_veils, out, err);
    if (st == INGLE_OK) st = ingle_tokenize(c->model, "", 0, INGLE_ADD_SPECIAL, added, 8, &n_added, err);
    ingle_model_describe(c->model, &info);
    if (st != INGLE_OK || n_added == 0 || added[0] != info.bos || (out->n && out->ids[0] == info.bos)) return st;
    int32_t *longer = ig_realloc(out->ids, out->n + 1, sizeof *longer);
    if (!longer) {
        ig_error e;
        ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the tokens of the conversation");
        return input_error(&e, err);
    }
    memmove(longer + 1, longer, out->n * sizeof *longer);
    longer[0] = info.bos;
    *out = (cli_ids){.ids = longer, .n = out->n + 1};
    return INGLE_OK;
}

ingle_status talk_render(const talk_chat *c, json_t *messages, json_t *tools, const char *think, talk_prompt *out,
                         ingle_error *err)
{
    char now[32];
    ingle_template_options o = {.size = sizeof o, .now = local_time(now), .guard = c->model};
    json_t *vars = variables(c, messages, tools, think);
    char *json = vars ? json_dumps(vars, JSON_COMPACT) : NULL;
    *out = (talk_prompt){.think_off = think && !strcmp(think, "off")};
    json_decref(vars);
    if (!json) {
        ig_error e;
        ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the conversation");
        return input_error(&e, err);
    }
    ingle_status st = ingle_template_render(c->t, json, strlen(json), &o, &out->text, err);
    if (st == INGLE_OK) st = tokenize(c, &out->text, &out->ids, err);
    free(json);
    return st;
}

void talk_prompt_fini(talk_prompt *p)
{
    ingle_template_text_free(&p->text);
    input_ids_fini(&p->ids);
}

/* The text of ids with their control tokens, to be freed; NULL without memory. */
static char *text_of(const ingle_model *model, const int32_t *ids, size_t n_ids, size_t *n)
{
    *n = 0;
    if (ingle_detokenize(model, ids, n_ids, INGLE_WRITE_SPECIAL, NULL, 0, n, NULL) != INGLE_OK) return NULL;
    char *text = ig_alloc(*n + 1);
    if (text && *n) ingle_detokenize(model, ids, n_ids, INGLE_WRITE_SPECIAL, text, *n, n, NULL);
    return text;
}

static bool is_control(const ingle_model *model, int32_t id)
{
    size_t n = 0;
    return ingle_detokenize(model, &id, 1, 0, NULL, 0, &n, NULL) == INGLE_OK && n == 0;
}

/* The text from byte n on. */
static ingle_status tokenize_rest(const talk_chat *c, const ingle_template_text *text, size_t n, cli_ids *out,
                                  ingle_error *err)
{
    size_t first = 0, *veils = ig_calloc(text->n_veils + 1, sizeof *veils);
    ig_error e;
    if (!veils) {
        ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the conversation");
        return input_error(&e, err);
    }
    while (first < text->n_veils && text->veils[first] <= n) first++;
    for (size_t i = first; i < text->n_veils; i++) veils[i - first] = text->veils[i] - n;
    ingle_status st = input_tokenize_veiled(c->model, text->text + n, text->n - n, INGLE_PARSE_SPECIAL, veils,
                                            text->n_veils - first, out, err);
    ig_free(veils);
    return st;
}

ingle_status talk_keep(const talk_chat *c, const int32_t *held, size_t n_held, talk_prompt *p, ingle_error *err)
{
    size_t n = 0;
    cli_ids rest = {0};
    ingle_status st = INGLE_OK;
    char *text = n_held ? text_of(c->model, held, n_held, &n) : NULL;
    bool same = text && n < p->text.n && memcmp(text, p->text.text, n) == 0;
    ig_free(text);
    if (same) st = tokenize_rest(c, &p->text, n, &rest, err);
    if (st == INGLE_OK && same && rest.n && is_control(c->model, rest.ids[0])) {
        int32_t *all = ig_alloc((n_held + rest.n) * sizeof *all);
        if (all) {
            memcpy(all, held, n_held * sizeof *all);
            memcpy(all + n_held, rest.ids, rest.n * sizeof *all);
            input_ids_fini(&p->ids);
            p->ids = (cli_ids){.ids = all, .n = n_held + rest.n};
        }
    }
    input_ids_fini(&rest);
    return st;
}

/* ------------------------------------------------------------------------------------------------ answers */

enum { ANSWER_BYTES_MAX = 1 << 30, CALLS_MAX = 1000 };

ingle_status talk_answer_open(talk_answer *a, const ingle_reply_options *options,
                              bool (*out)(void *user, const char *text, size_t n, bool thinking), void *user,
                              ingle_error *err)
{
    *a = (talk_answer){.out = out, .user = user, .calls = json_array()};
    ig_buf_init(&a->text, ANSWER_BYTES_MAX);
    ig_buf_init(&a->reasoning, ANSWER_BYTES_MAX);
    ig_buf_init(&a->args, ANSWER_BYTES_MAX);
    return options ? ingle_reply_open(options, &a->reply, err) : INGLE_OK;
}

void talk_answer_close(talk_answer *a)
{
    ingle_reply_close(a->reply);
    json_decref(a->calls);
    ig_buf_fini(&a->text);
    ig_buf_fini(&a->reasoning);
    ig_buf_fini(&a->args);
    *a = (talk_answer){0};
}

void talk_prepare(const talk_answer *a, const talk_prompt *p, ingle_generate_options *o)
{
    o->reply = a->reply;
    if (a->reply && !p->think_off) (void)ingle_reply_thoughts(a->reply, &o->think_start, &o->think_end);
}

static bool give(talk_answer *a, const char *text, size_t n, bool thinking)
{
    bool ok =
        ig_buf_add(thinking ? &a->reasoning : &a->text, text, n) && (!a->out || a->out(a->user, text, n, thinking));
    a->failed = a->failed || !ok;
    return ok;
}

static bool take(void *user, const ingle_piece *p)
{
    talk_answer *a = user;
    json_t *call = NULL;
    switch (p->kind) {
    case INGLE_PIECE_TEXT:
    case INGLE_PIECE_REASONING: return give(a, p->text, p->n_text, p->kind == INGLE_PIECE_REASONING);
    case INGLE_PIECE_ARGUMENTS: return ig_buf_add(&a->args, p->text, p->n_text);
    case INGLE_PIECE_CALL:
        a->args.len = 0;
        call = json_pack("{s:s%,s:s,s:{s:s%}}", "id", p->id, p->n_id, "type", "function", "function", "name", p->name,
                         p->n_name);
        a->failed = a->failed || !call || json_array_append_new(a->calls, call) != 0;
        return json_array_size(a->calls) < CALLS_MAX;
    default: break;
    }
    call = json_array_get(a->calls, json_array_size(a->calls) - 1);
    json_t *args = json_stringn(a->args.ptr ? a->args.ptr : "", a->args.len);
    a->failed = a->failed || json_object_set_new(json_object_get(call, "function"), "arguments", args) != 0;
    return true;
}

bool talk_answer_push(talk_answer *a, const char *text, size_t n)
{
    if (!a->reply) return n == 0 || give(a, text, n, false);
    if (ingle_reply_push(a->reply, text, n, take, a, NULL) != INGLE_OK) a->failed = true;
    return !a->failed;
}

bool talk_answer_finish(talk_answer *a)
{
    if (a->reply && ingle_reply_finish(a->reply, take, a, &a->end, NULL) != INGLE_OK) a->failed = true;
    return !a->failed;
}

bool talk_answer_lines(talk_answer *a)
{
    for (size_t i = 0; i < json_array_size(a->calls); i++) {
        json_t *f = json_object_get(json_array_get(a->calls, i), "function"), *args = json_object_get(f, "arguments");
        json_t *value = json_loads(json_string_value(args) ? json_string_value(args) : "", 0, NULL);
        json_t *line = json_pack("{s:O,s:o}", "name", json_object_get(f, "name"), "arguments",
                                 value ? value : json_incref(args)); /* broken off: as text */
        char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
        bool begins = a->text.len == 0 || a->text.ptr[a->text.len - 1] == '\n';
        bool ok = text && (begins || give(a, "\n", 1, false)) && give(a, text, strlen(text), false) &&
                  give(a, "\n", 1, false);
        free(text);
        json_decref(line);
        if (!ok) return false;
    }
    return true;
}

json_t *talk_answer_message(const talk_answer *a)
{
    json_t *o = json_pack("{s:s}", "role", "assistant");
    if (a->reasoning.len)
        (void)json_object_set_new(o, "reasoning_content", json_stringn(a->reasoning.ptr, a->reasoning.len));
    (void)json_object_set_new(o, "content", json_stringn(a->text.ptr ? a->text.ptr : "", a->text.len));
    if (json_array_size(a->calls)) (void)json_object_set(o, "tool_calls", a->calls);
    return o;
}

bool talk_write(const char *text, size_t n, bool thinking, bool hide, bool *dim)
{
    bool terminal = isatty(STDOUT_FILENO);
    bool ok = true;
    if (thinking && (hide || !terminal)) return true;
    if (terminal && thinking && !*dim) ok = cli_out("\x1b[2m", 4);
    if (terminal && !thinking && *dim) ok = cli_out(n ? "\x1b[0m\n\n" : "\x1b[0m", n ? 6 : 4);
    *dim = thinking;
    return ok && (n == 0 || cli_out_stream(text, n));
}
