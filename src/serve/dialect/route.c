/* The table of routes, matching, and the way from body to request. */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

static const ig_route routes[] = {
    /* OpenAI; also without /v1, as some programs build their addresses */
    {"POST", "/v1/chat/completions", IG_D_OPENAI, IG_OP_GENERATE, ig_parse_openai_chat, &ig_openai_chat_ops},
    {"POST", "/chat/completions", IG_D_OPENAI, IG_OP_GENERATE, ig_parse_openai_chat, &ig_openai_chat_ops},
    {"POST", "/v1/completions", IG_D_OPENAI, IG_OP_GENERATE, ig_parse_openai_text, &ig_openai_text_ops},
    {"POST", "/completions", IG_D_OPENAI, IG_OP_GENERATE, ig_parse_openai_text, &ig_openai_text_ops},
    {"POST", "/v1/responses", IG_D_OPENAI, IG_OP_GENERATE, ig_parse_responses, &ig_responses_ops},
    {"POST", "/responses", IG_D_OPENAI, IG_OP_GENERATE, ig_parse_responses, &ig_responses_ops},
    {"POST", "/v1/responses/input_tokens", IG_D_OPENAI, IG_OP_WORKER, ig_parse_input_tokens, &ig_input_tokens_ops},
    {"POST", "/v1/embeddings", IG_D_OPENAI, IG_OP_WORKER, ig_parse_openai_embed, &ig_openai_embed_ops},
    {"POST", "/embeddings", IG_D_OPENAI, IG_OP_WORKER, ig_parse_openai_embed, &ig_openai_embed_ops},
    {"POST", "/v1/rerank", IG_D_OPENAI, IG_OP_WORKER, ig_parse_rerank, &ig_rerank_ops},
    {"POST", "/rerank", IG_D_OPENAI, IG_OP_WORKER, ig_parse_rerank, &ig_rerank_ops},
    {"POST", "/v1/reranking", IG_D_OPENAI, IG_OP_WORKER, ig_parse_rerank, &ig_rerank_ops},
    {"GET", "/v1/models", IG_D_OPENAI, IG_OP_MODELS, NULL, NULL},
    {"GET", "/models", IG_D_OPENAI, IG_OP_MODELS, NULL, NULL},
    {"GET", "/v1/models/{id}", IG_D_OPENAI, IG_OP_MODEL, ig_parse_model_arg, NULL},
    {"GET", "/models/{id}", IG_D_OPENAI, IG_OP_MODEL, ig_parse_model_arg, NULL},
    /* Anthropic */
    {"POST", "/v1/messages", IG_D_ANTHROPIC, IG_OP_GENERATE, ig_parse_anthropic, &ig_anthropic_ops},
    {"POST", "/v1/messages/count_tokens", IG_D_ANTHROPIC, IG_OP_WORKER, ig_parse_anthropic_count,
     &ig_anthropic_count_ops},
    /* Ollama */
    {"GET", "/", IG_D_OLLAMA, IG_OP_ROOT, NULL, NULL},
    {"GET", "/api/version", IG_D_OLLAMA, IG_OP_VERSION, NULL, NULL},
    {"GET", "/api/tags", IG_D_OLLAMA, IG_OP_TAGS, NULL, NULL},
    {"GET", "/api/ps", IG_D_OLLAMA, IG_OP_PS, NULL, NULL},
    {"POST", "/api/chat", IG_D_OLLAMA, IG_OP_GENERATE, ig_parse_ollama_chat, &ig_ollama_chat_ops},
    {"POST", "/api/generate", IG_D_OLLAMA, IG_OP_GENERATE, ig_parse_ollama_generate, &ig_ollama_generate_ops},
    {"POST", "/api/embed", IG_D_OLLAMA, IG_OP_WORKER, ig_parse_ollama_embed, &ig_ollama_embed_ops},
    {"POST", "/api/embeddings", IG_D_OLLAMA, IG_OP_WORKER, ig_parse_ollama_embedding, &ig_ollama_embedding_ops},
    {"POST", "/api/show", IG_D_OLLAMA, IG_OP_SHOW, ig_parse_ollama_manage, NULL},
    {"POST", "/api/pull", IG_D_OLLAMA, IG_OP_PULL, ig_parse_ollama_manage, &ig_ollama_status_ops},
    {"POST", "/api/push", IG_D_OLLAMA, IG_OP_PUSH, ig_parse_ollama_manage, &ig_ollama_status_ops},
    {"POST", "/api/create", IG_D_OLLAMA, IG_OP_CREATE, ig_parse_ollama_manage, &ig_ollama_status_ops},
    {"POST", "/api/copy", IG_D_OLLAMA, IG_OP_COPY, ig_parse_ollama_manage, NULL},
    {"DELETE", "/api/delete", IG_D_OLLAMA, IG_OP_DELETE, ig_parse_ollama_manage, NULL},
    {"HEAD", "/api/blobs/{digest}", IG_D_OLLAMA, IG_OP_BLOB_HEAD, ig_parse_blob, NULL},
    {"POST", "/api/blobs/{digest}", IG_D_OLLAMA, IG_OP_BLOB_PUT, ig_parse_blob, NULL},
    /* editors, as llama-server */
    {"POST", "/completion", IG_D_EDITOR, IG_OP_GENERATE, ig_parse_completion, &ig_completion_ops},
    {"POST", "/infill", IG_D_EDITOR, IG_OP_GENERATE, ig_parse_infill, &ig_completion_ops},
    {"POST", "/v1/infill", IG_D_EDITOR, IG_OP_GENERATE, ig_parse_infill, &ig_completion_ops},
    {"POST", "/tokenize", IG_D_EDITOR, IG_OP_WORKER, ig_parse_tokenize, &ig_editor_result_ops},
    {"POST", "/detokenize", IG_D_EDITOR, IG_OP_WORKER, ig_parse_detokenize, &ig_editor_result_ops},
    {"POST", "/apply-template", IG_D_EDITOR, IG_OP_WORKER, ig_parse_apply_template, &ig_editor_result_ops},
    {"GET", "/props", IG_D_EDITOR, IG_OP_WORKER, ig_parse_props, &ig_editor_props_ops},
    {"GET", "/slots", IG_D_EDITOR, IG_OP_WORKER, ig_parse_slots, &ig_editor_slots_ops},
    /* the service itself */
    {"GET", "/health", IG_D_EDITOR, IG_OP_HEALTH, NULL, NULL},
    {"GET", "/v1/health", IG_D_EDITOR, IG_OP_HEALTH, NULL, NULL},
    {"GET", "/ready", IG_D_EDITOR, IG_OP_READY, NULL, NULL},
    {"GET", "/metrics", IG_D_EDITOR, IG_OP_METRICS, NULL, NULL},
};
enum { N_ROUTES = sizeof routes / sizeof *routes };

const ig_route *ig_dialect_routes(size_t *n)
{
    *n = N_ROUTES;
    return routes;
}

/* Does the path fit the pattern? *rest: what stands for {…}. */
static bool path_fits(const char *pattern, ig_str path, ig_str *rest)
{
    const char *brace = strchr(pattern, '{');
    size_t n = brace ? (size_t)(brace - pattern) : strlen(pattern);
    *rest = (ig_str){0};
    if (path.len < n || memcmp(path.ptr, pattern, n) != 0) return false;
    *rest = (ig_str){path.ptr + n, path.len - n};
    return brace ? rest->len > 0 : rest->len == 0;
}

static bool method_fits(const ig_route *row, const char *method, bool head_as_get)
{
    return !strcmp(row->method, head_as_get && !strcmp(method, "HEAD") ? "GET" : method);
}

void ig_dialect_methods(ig_str path, char *out, size_t n)
{
    static const char *const order[] = {"GET", "POST", "DELETE", "HEAD"};
    size_t at = 0;
    ig_str rest;
    *out = 0;
    for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
        bool takes = false;
        for (size_t i = 0; i < N_ROUTES; i++)
            takes = takes || (path_fits(routes[i].path, path, &rest) && method_fits(&routes[i], order[k], true));
        if (takes && at < n) at += (size_t)snprintf(out + at, n - at, "%s, ", order[k]);
    }
    if (at < n) (void)snprintf(out + at, n - at, "OPTIONS");
}

/* A row whose dialect tells best that there is nothing at path. */
static const ig_route *stranger(ig_str path)
{
    const char *like = ig_str_starts(path, IG_STR("/api/"))          ? "/api/tags"
                       : ig_str_starts(path, IG_STR("/v1/messages")) ? "/v1/messages"
                                                                     : "/v1/models";
    for (size_t i = 0; i < N_ROUTES; i++)
        if (!strcmp(routes[i].path, like)) return &routes[i];
    return &routes[0];
}

/* A name: printable UTF-8. */
static bool take_arg(ig_str in, char *out, size_t size)
{
    if (in.len >= size || !ig_utf8_valid(in.ptr, in.len)) return false;
    for (size_t i = 0; i < in.len; i++) {
        if ((unsigned char)in.ptr[i] < 0x20 || in.ptr[i] == 0x7f) return false;
        out[i] = in.ptr[i];
    }
    out[in.len] = 0;
    return true;
}

bool ig_dialect_match(const char *method, ig_str path, ig_match *out, ig_problem *problem)
{
    const ig_route *other = NULL;
    ig_str rest;
    memset(out, 0, sizeof *out);
    for (int head = 0; head < 2; head++)
        for (size_t i = 0; i < N_ROUTES; i++) {
            if (!path_fits(routes[i].path, path, &rest)) continue;
            other = &routes[i];
            if (!method_fits(&routes[i], method, head != 0)) continue;
            out->route = &routes[i];
            if (take_arg(rest, out->arg, sizeof out->arg)) return true;
            return ig_problem_set(problem, IG_P_BAD_REQUEST, NULL, "the path holds a bad name behind %zu bytes",
                                  path.len - rest.len);
        }
    out->route = other ? other : stranger(path);
    if (other)
        return ig_problem_set(problem, IG_P_METHOD, NULL, "%s takes %s, not %.16s", other->path, other->method, method);
    return ig_problem_set(problem, IG_P_NO_ROUTE, NULL,
                          "there is nothing at this path; the OpenAI dialect is under /v1, Ollama's under /api");
}

/* ------------------------------------------------------------------------------------------------ requests */

static bool no_body(ig_request *req)
{
    return !strcmp(req->route->method, "GET") || !strcmp(req->route->method, "HEAD");
}

static bool init(ig_request *req, const ig_match *match, ig_problem *problem)
{
    *req = (ig_request){.route = match->route, .op = match->route->op, .n = 1};
    (void)snprintf(req->arg, sizeof req->arg, "%s", match->arg);
    req->parts = json_array();
    req->defaults = json_object();
    req->ignored = json_array();
    req->echo = json_object();
    if (req->parts && req->defaults && req->ignored && req->echo) return true;
    return ig_problem_set(problem, IG_P_UNAVAILABLE, NULL, "out of memory for the request; try again later");
}

bool ig_dialect_parse(const ig_match *match, ig_str query, ig_str body, ig_request *req, ig_problem *problem)
{
    if (!init(req, match, problem)) return false;
    if (!match->route->parse) return true;
    ig_parse p = {.req = req, .query = query, .problem = problem, .to = json_object()};
    bool good = p.to != NULL || ig_no_memory(&p);
    if (good && !no_body(req) && req->op != IG_OP_BLOB_PUT) {
        req->body = p.body = ig_read_json(body, problem);
        good = p.body != NULL;
    }
    good = good && match->route->parse(&p);
    if (good && (!req->echo || !req->defaults || !req->ignored)) good = ig_no_memory(&p);
    json_decref(p.to);
    return good;
}

static size_t behind_system(const json_t *messages)
{
    size_t i = 0;
    for (; i < json_array_size(messages); i++) {
        const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
        if (!role || (strcmp(role, "system") != 0 && strcmp(role, "developer") != 0)) break;
    }
    return i;
}

bool ig_request_history(ig_request *req, const json_t *messages, ig_problem *problem)
{
    json_t *part, *one;
    size_t i, k;
    json_array_foreach(req->parts, i, part)
    {
        json_t *said = json_object_get(part, "messages");
        if (!said || !messages || json_object_get(part, "context")) continue;
        size_t at = behind_system(said);
        json_t *all = json_copy(said); /* others may hold the list */
        json_array_foreach(messages, k, one) if (all && json_array_insert(all, at + k, one))
        {
            json_decref(all);
            all = NULL;
        }
        if (!all || json_object_set_new(part, "messages", all) != 0)
            return ig_problem_set(problem, IG_P_UNAVAILABLE, NULL, "out of memory for the request; try again later");
    }
    return true;
}

void ig_request_fini(ig_request *req)
{
    json_decref(req->parts);
    json_decref(req->defaults);
    json_decref(req->ignored);
    json_decref(req->echo);
    json_decref(req->manage);
    json_decref(req->body);
    *req = (ig_request){0};
}

/* Members of `from` that part lacks. */
static bool fill(json_t *part, json_t *from)
{
    const char *op = json_string_value(json_object_get(part, "op"));
    if (!op || strcmp(op, "generate") != 0) return true;
    return json_object_update_missing(part, from) == 0;
}

bool ig_request_defaults(ig_request *req, const json_t *model_parameters, ig_problem *problem)
{
    ig_request scratch = {.n = 1, .ignored = json_array(), .echo = json_object()};
    ig_parse p = {.req = &scratch, .problem = problem, .to = json_object()};
    bool good = p.to && scratch.ignored && scratch.echo;
    if (good && json_is_object(model_parameters)) good = ig_read_options(&p, "parameters", (json_t *)model_parameters);
    if (good && req->n_ctx == 0) req->n_ctx = scratch.n_ctx;
    for (size_t i = 0; good && i < json_array_size(req->parts); i++) {
        json_t *part = json_array_get(req->parts, i);
        good = (fill(part, p.to) && fill(part, req->defaults)) || ig_no_memory(&p);
    }
    json_decref(p.to);
    json_decref(scratch.ignored);
    json_decref(scratch.echo);
    return good;
}
