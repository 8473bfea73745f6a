/* Internal requests to the OpenAI dialect: a table of what each field becomes. Counting is count.c's. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bridge/openai.h"

bool br_refuse(br_fault *f, const char *type, const char *param, const char *format, ...)
{
    va_list args;
    *f = (br_fault){.type = type};
    va_start(args, format);
    vsnprintf(f->message, sizeof f->message, format, args);
    va_end(args);
    snprintf(f->param, sizeof f->param, "%s", param ? param : "");
    return false;
}

typedef struct asking {
    const br_engine *e;
    const json_t *from;
    json_t *to;
    bool chat;
    br_limit limit;
    br_fault *f;
} asking;

typedef bool (*field_fn)(asking *a, const char *name, json_t *v);

static bool no_memory(asking *a) { return br_refuse(a->f, "overloaded", NULL, "out of memory for the request"); }

/* Takes the value over. */
static bool put(asking *a, const char *name, json_t *v) { return !json_object_set_new(a->to, name, v) || no_memory(a); }

static bool copy(asking *a, const char *name, json_t *v) { return put(a, name, json_incref(v)); }

static bool skip(asking *a, const char *name, json_t *v)
{
    (void)a, (void)name, (void)v;
    return true;
}

static bool passes(const asking *a, const char *name)
{
    for (size_t i = 0; i < json_array_size(a->e->passes); i++)
        if (!strcmp(json_string_value(json_array_get(a->e->passes, i)), name)) return true;
    return false;
}

/* 0, 1 for a penalty that multiplies, false: as if it had not been said. */
static bool is_neutral(const char *name, const json_t *v)
{
    double neutral = !strcmp(name, "repeat_penalty") ? 1 : 0;
    return json_is_false(v) || json_is_null(v) || (json_is_number(v) && json_number_value(v) == neutral);
}

static bool refuse(asking *a, const char *name)
{
    return br_refuse(a->f, "unsupported", name,
                     "engine %.60s has no word for \"%.60s\"; leave it away, choose another model, or name it under "
                     "passes in [engine %.60s]",
                     a->e->name, name, a->e->name);
}

/* A parameter that OpenAI does not have. */
static bool extra(asking *a, const char *name, json_t *v)
{
    if (passes(a, name)) return copy(a, name, v);
    return is_neutral(name, v) || refuse(a, name);
}

/* What policy allows of a context; count.c says how it is kept. */
static bool limited(asking *a, const char *name, json_t *v)
{
    const char *rule = json_string_value(json_object_get(a->from, "n_ctx_rule"));
    json_int_t n = json_integer_value(v);
    (void)name;
    if (n < 0 || (a->e->context && n >= a->e->context)) return true;
    a->limit.n_ctx = n ? (uint64_t)n : 1;
    snprintf(a->limit.rule, sizeof a->limit.rule, "%s", rule ? rule : "policy");
    return true;
}

static bool never(asking *a, const char *name, json_t *v)
{
    return is_neutral(name, v) ||
           br_refuse(a->f, "unsupported", name, "engine %.60s cannot do \"%.60s\"; leave it away", a->e->name, name);
}

/* Means something only beside another one. */
static bool aside(asking *a, const char *name, json_t *v) { return !passes(a, name) || copy(a, name, v); }

static bool seed(asking *a, const char *name, json_t *v) { return json_integer_value(v) < 0 || copy(a, name, v); }

static bool logprobs(asking *a, const char *name, json_t *v)
{
    if (!a->chat) return copy(a, name, v);
    return put(a, "logprobs", json_true()) && (json_integer_value(v) == 0 || copy(a, "top_logprobs", v));
}

static bool logit_bias(asking *a, const char *name, json_t *v)
{
    json_t *map = json_object(), *entry;
    size_t i;
    char id[32];
    bool fine = map != NULL;
    json_array_foreach(v, i, entry)
    {
        json_t *bias = json_array_get(entry, 1);
        snprintf(id, sizeof id, "%" JSON_INTEGER_FORMAT, json_integer_value(json_array_get(entry, 0)));
        if (fine) fine = !json_object_set_new(map, id, json_is_string(bias) ? json_integer(-100) : json_incref(bias));
    }
    if (fine) return put(a, name, map);
    json_decref(map);
    return no_memory(a);
}

static bool schema(asking *a, const char *name, json_t *v)
{
    (void)name;
    return put(a, "response_format",
               json_pack("{s:s, s:{s:s, s:O, s:b}}", "type", "json_schema", "json_schema", "name", "answer", "schema",
                         v, "strict", 1));
}

static bool object(asking *a, const char *name, json_t *v)
{
    (void)name;
    return !json_is_true(v) || put(a, "response_format", json_pack("{s:s}", "type", "json_object"));
}

static bool tool_choice(asking *a, const char *name, json_t *v)
{
    json_t *tool = json_object_get(v, "name");
    if (!tool) return copy(a, name, v);
    return put(a, name, json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name", tool));
}

/* OpenAI's own is the effort; anything else goes to the template, if the engine lets it. */
static bool template_args(asking *a, const char *name, json_t *v)
{
    json_t *effort = json_object_get(v, "reasoning_effort");
    (void)name;
    if (effort && json_object_size(v) == 1 && !passes(a, "chat_template_kwargs"))
        return copy(a, "reasoning_effort", effort);
    if (!json_object_size(v)) return true;
    return passes(a, "chat_template_kwargs") ? copy(a, "chat_template_kwargs", v) : refuse(a, "chat_template_kwargs");
}

static bool reasoning(asking *a, const char *name, json_t *v)
{
    json_t *args = json_object_get(a->from, "template_args");
    if (json_object_get(args, "reasoning_effort")) return true;
    if (!passes(a, "chat_template_kwargs")) return refuse(a, name);
    json_t *all = json_pack("{s:O}", "enable_thinking", v);
    if (all && args && json_object_update_missing(all, args)) {
        json_decref(all);
        return no_memory(a);
    }
    return put(a, "chat_template_kwargs", all);
}

static bool text_only(asking *a, const char *name, json_t *v)
{
    return a->chat ? never(a, name, v) : is_neutral(name, v) || copy(a, name, v);
}

static const struct {
    const char *name;
    field_fn fn;
} fields[] = {
    {"messages", copy},
    {"prompt", copy},
    {"tools", copy},
    {"tool_choice", tool_choice},
    {"temperature", copy},
    {"top_p", copy},
    {"stop", copy},
    {"max_tokens", copy},
    {"n", copy},
    {"presence_penalty", copy},
    {"seed", seed},
    {"frequency_penalty", copy},
    {"logprobs", logprobs},
    {"logit_bias", logit_bias},
    {"json_schema", schema},
    {"json_object", object},
    {"suffix", text_only},
    {"echo", text_only},
    {"top_k", extra},
    {"min_p", extra},
    {"repeat_penalty", extra},
    {"repeat_last_n", aside},
    {"min_tokens", extra},
    {"ignore_eos", extra},
    {"grammar", extra},
    {"parallel_tool_calls", copy},
    {"return_ids", never},
    {"truncate", never},
    {"shift", never},
    {"continue_last", never},
    {"reasoning", reasoning},
    {"template_args", template_args},
    {"op", skip},
    {"kind", skip},
    {"user", skip},
    {"priority", skip},
    {"special", skip},
    {"parse_special", skip},
    {"return_context", skip}, /* tokens of a vocabulary that only the engine knows */
    {"n_ctx", limited},
    {"n_ctx_rule", skip},
};

static bool translate(asking *a)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)a->from, name, v)
    {
        field_fn fn = NULL;
        for (size_t i = 0; i < sizeof fields / sizeof *fields && !fn; i++)
            if (!strcmp(fields[i].name, name)) fn = fields[i].fn;
        if (json_is_null(v)) continue;
        if (!fn) return refuse(a, name);
        if (!fn(a, name, v)) return false;
    }
    return true;
}

static bool ask_answer(asking *a, br_ask *out)
{
    const char *kind = json_string_value(json_object_get(a->from, "kind"));
    json_int_t n = json_integer_value(json_object_get(a->from, "n"));
    a->chat = out->chat = kind && !strcmp(kind, "chat");
    out->path = a->chat ? "/v1/chat/completions" : "/v1/completions";
    out->n = n > 1 && n <= BR_CHOICES_MAX ? (unsigned)n : 1;
    return put(a, "stream", json_true()) && put(a, "stream_options", json_pack("{s:b}", "include_usage", 1)) &&
           translate(a);
}

static bool ask_vectors(asking *a, br_ask *out)
{
    static const char *const known[] = {"op", "inputs", "normalize", "user", "priority", "n_ctx", "n_ctx_rule"};
    const char *name;
    json_t *v, *n_ctx = json_object_get(a->from, "n_ctx");
    if (!a->e->embeds)
        return br_refuse(a->f, "unsupported", "op",
                         "engine %.60s gives no embeddings; choose another model, or write embeddings = yes in "
                         "[engine %.60s]",
                         a->e->name, a->e->name);
    json_object_foreach((json_t *)a->from, name, v)
    {
        bool fine = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) fine |= !strcmp(known[i], name);
        if (!fine && !never(a, name, v)) return false;
    }
    if (n_ctx) (void)limited(a, "n_ctx", n_ctx);
    out->kind = BR_VECTORS;
    out->path = "/v1/embeddings";
    out->embed = true;
    out->normalize = json_is_true(json_object_get(a->from, "normalize"));
    return put(a, "input", json_incref(json_object_get(a->from, "inputs"))) &&
           put(a, "encoding_format", json_string("float"));
}

/* Members of `from` under the names that llama-server has for them. */
static bool rename_all(asking *a, const char *const names[][2], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *v = json_object_get(a->from, names[i][0]);
        if (v && !copy(a, names[i][1], v)) return false;
    }
    return true;
}

static bool ask_tokens(asking *a, br_ask *out)
{
    static const char *const names[][2] = {
        {"text", "content"}, {"special", "add_special"}, {"parse_special", "parse_special"}, {"pieces", "with_pieces"}};
    out->kind = BR_TOKENS;
    out->path = "/tokenize";
    return rename_all(a, names, sizeof names / sizeof *names);
}

static bool ask_text(asking *a, br_ask *out)
{
    static const char *const names[][2] = {{"ids", "tokens"}}, *const ours[] = {"skip_special", "bytes"};
    for (size_t i = 0; i < 2; i++)
        if (json_is_true(json_object_get(a->from, ours[i]))) return never(a, ours[i], json_true());
    out->kind = BR_TEXT;
    out->path = "/detokenize";
    return rename_all(a, names, 1);
}

/* The fields that a conversation has, also where only its tokens are counted. */
static bool ask_template(asking *a, br_ask *out)
{
    static const char *const names[][2] = {{"messages", "messages"}, {"tools", "tools"}};
    json_t *choice = json_object_get(a->from, "tool_choice"), *args = json_object_get(a->from, "template_args"),
           *thinks = json_object_get(a->from, "reasoning");
    out->kind = BR_TEMPLATE;
    out->path = "/apply-template";
    out->chat = a->chat = true;
    return rename_all(a, names, 2) && (!choice || tool_choice(a, "tool_choice", choice)) &&
           (!args || template_args(a, "template_args", args)) && (!thinks || reasoning(a, "reasoning", thinks));
}

bool br_ask_new(const br_engine *e, const json_t *body, br_ask *out, br_fault *f)
{
    static const struct {
        const char *op;
        bool (*fn)(asking *a, br_ask *out);
    } ops[] = {{"generate", ask_answer},
               {"embed", ask_vectors},
               {"tokenize", ask_tokens},
               {"detokenize", ask_text},
               {"template", ask_template}};
    const char *op = json_string_value(json_object_get(body, "op"));
    *out = (br_ask){.body = json_object(), .n = 1};
    asking a = {.e = e, .from = body, .to = out->body, .f = f};
    bool (*fn)(asking * a, br_ask * out) = NULL;
    for (size_t i = 0; op && i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(op, ops[i].op)) fn = ops[i].fn;
    bool fine = out->body ? put(&a, "model", json_string(e->model)) : no_memory(&a);
    if (fine && !fn)
        fine = br_refuse(f, "unsupported", "op", "engine %.60s cannot do this (%.40s); choose another model", e->name,
                         op ? op : "a query");
    fine = fine && fn(&a, out);
    out->limit = a.limit;
    if (fine) br_ask_bound(out);
    if (!fine) br_ask_fini(out);
    return fine;
}

void br_ask_fini(br_ask *ask)
{
    json_decref(ask->body);
    ask->body = NULL;
}
