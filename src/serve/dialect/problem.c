/* Problems: one struct, four forms. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "serve/dialect/emit.h"

static const struct {
    unsigned status;
    const char *type, *code, *anthropic;
} rows[] = {
#define X(name, status, type, code, anthropic) {status, type, code, anthropic},
    IG_PROBLEM_LIST(X)
#undef X
};

/* Control characters and broken UTF-8 become '?', and a cut at the end falls between characters. */
static void clean(char *text)
{
    size_t n = ig_utf8_whole(text, strlen(text)), step;
    uint32_t cp;
    for (size_t i = 0; i < n; i += step) {
        step = ig_utf8_decode(text + i, n - i, &cp);
        if (step == 0 || cp < 0x20 || cp == 0x7f) {
            text[i] = '?';
            step = 1;
        }
    }
    text[n] = 0;
}

bool ig_problem_set(ig_problem *p, ig_problem_kind kind, const char *param, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    *p = (ig_problem){.kind = kind};
    (void)vsnprintf(p->message, sizeof p->message, format, args);
    (void)snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    va_end(args);
    clean(p->message);
    clean(p->param);
    return false;
}

/* Does the sentence name the number? */
static bool names(const char *message, uint64_t n)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    return strstr(message, digits) != NULL;
}

void ig_problem_from_event(ig_problem *p, const json_t *body)
{
    static const struct {
        const char *type;
        ig_problem_kind kind;
    } types[] = {{"bad_request", IG_P_BAD_REQUEST}, {"too_long", IG_P_TOO_LONG}, {"unsupported", IG_P_UNSUPPORTED},
                 {"overloaded", IG_P_OVERLOADED},   {"internal", IG_P_INTERNAL}, {"worker_died", IG_P_UNAVAILABLE}};
    const char *type = json_string_value(json_object_get(body, "type"));
    const char *message = json_string_value(json_object_get(body, "message"));
    ig_problem_kind kind = IG_P_INTERNAL;
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i].type)) kind = types[i].kind;
    json_int_t n_prompt = json_integer_value(json_object_get(body, "n_prompt"));
    json_int_t n_ctx = json_integer_value(json_object_get(body, "n_ctx"));
    ig_problem_set(p, kind, json_string_value(json_object_get(body, "param")), "%s",
                   message ? message : "the worker failed without a message; see the log");
    p->n_prompt = n_prompt > 0 ? (uint64_t)n_prompt : 0;
    p->n_ctx = n_ctx > 0 ? (uint64_t)n_ctx : 0;
    if (kind != IG_P_TOO_LONG || (names(p->message, p->n_prompt) && names(p->message, p->n_ctx))) return;
    (void)snprintf(
        p->message, sizeof p->message,
        "the prompt has %llu tokens, the context holds %llu; shorten it or ask for a larger context (num_ctx)",
        (unsigned long long)p->n_prompt, (unsigned long long)p->n_ctx);
}

unsigned ig_problem_status(const ig_problem *p, ig_dialect dialect)
{
    const ig_problem_kind kind = p->kind < IG_P_COUNT ? p->kind : IG_P_INTERNAL;
    if (dialect == IG_D_ANTHROPIC && kind == IG_P_UNAVAILABLE) return 529;
    if (dialect == IG_D_OLLAMA && kind == IG_P_OVERLOADED) return 503;
    return rows[kind].status;
}

bool ig_problem_retry(const ig_problem *p)
{
    return p->kind == IG_P_OVERLOADED || p->kind == IG_P_UNAVAILABLE || p->kind == IG_P_TOO_SLOW;
}

json_t *ig_openai_error(const ig_problem *p)
{
    const ig_problem_kind kind = p->kind < IG_P_COUNT ? p->kind : IG_P_INTERNAL;
    json_t *error = json_pack("{s:s, s:s, s:s?, s:s?}", "message", p->message, "type", rows[kind].type, "param",
                              p->param[0] ? p->param : NULL, "code", rows[kind].code);
    if (error && p->kind == IG_P_TOO_LONG)
        (void)json_object_update_new(
            error, json_pack("{s:I, s:I}", "n_prompt_tokens", (json_int_t)p->n_prompt, "n_ctx", (json_int_t)p->n_ctx));
    return error;
}

/* llama-server: code is the number of the status, and a prompt that is too long has its own type. */
static json_t *editor_error(const ig_problem *p)
{
    json_t *error = ig_openai_error(p);
    if (!error) return NULL;
    ig_put(&error, "code", json_integer(ig_problem_status(p, IG_D_EDITOR)));
    if (p->kind == IG_P_TOO_LONG) ig_put(&error, "type", json_string("exceed_context_size_error"));
    return error;
}

static json_t *anthropic_error(const ig_problem *p, const char *request_id)
{
    const ig_problem_kind kind = p->kind < IG_P_COUNT ? p->kind : IG_P_INTERNAL;
    char text[sizeof p->message + 96];
    /* Agents of this dialect look for these words to shorten their conversation. */
    if (kind == IG_P_TOO_LONG && p->n_ctx)
        (void)snprintf(text, sizeof text, "prompt is too long: %llu tokens > %llu maximum; %s",
                       (unsigned long long)p->n_prompt, (unsigned long long)p->n_ctx, p->message);
    else
        (void)snprintf(text, sizeof text, "%s", p->message);
    return json_pack("{s:s, s:{s:s, s:s}, s:s*}", "type", "error", "error", "type", rows[kind].anthropic, "message",
                     text, "request_id", request_id);
}

void ig_dialect_problem(ig_dialect dialect, const ig_problem *p, const char *request_id, ig_buf *out)
{
    json_t *body = NULL;
    switch (dialect) {
    case IG_D_OLLAMA: body = json_pack("{s:s}", "error", p->message); break;
    case IG_D_ANTHROPIC: body = anthropic_error(p, request_id); break;
    case IG_D_EDITOR: body = json_pack("{s:o}", "error", editor_error(p)); break;
    default: body = json_pack("{s:o}", "error", ig_openai_error(p)); break;
    }
    if (body)
        ig_json_write(body, out);
    else
        out->failed = true;
    json_decref(body);
}
