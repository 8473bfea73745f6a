/* One exchange without a daemon, for trying the clients on the dialects alone (mock.mjs): METHOD and target as
 * arguments, the body on standard input; prints "STATUS TYPE\n" and the bytes of the answer. The worker is a script: it
 * thinks where that is asked for, calls tools where it may, follows a schema by knowing the only one that the clients
 * send, and says hello otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/dialect/dialect.h"

#define NOW 1790000000000000000u

static ig_buf out;

static void event(ig_emitter *e, size_t part, ig_event type, json_t *body)
{
    ig_emit_event(e, part, type, body, NOW, &out);
    json_decref(body);
}

static void text(ig_emitter *e, size_t part, int c, const char *kind, const char *t, const json_t *request)
{
    json_t *body = json_pack("{s:i, s:s, s:s}", "c", c, "k", kind, "t", t);
    if (json_object_get(request, "logprobs") && !strcmp(kind, "text"))
        json_object_set_new(
            body, "lp",
            json_pack("[{s:i, s:s, s:[i], s:f, s:[]}]", "id", 1, "token", t, "bytes", t[0], "logprob", -0.5, "top"));
    event(e, part, IG_EV_DELTA, body);
}

static unsigned call(ig_emitter *e, size_t part, const json_t *tools, const char *wanted, bool several)
{
    unsigned n = 0;
    char id[16];
    for (size_t i = 0; i < json_array_size(tools) && n < (several ? 2 : 1); i++) {
        const char *name =
            json_string_value(json_object_get(json_object_get(json_array_get(tools, i), "function"), "name"));
        if (wanted && strcmp(name, wanted) != 0) continue;
        (void)snprintf(id, sizeof id, "call_%u", n);
        event(e, part, IG_EV_DELTA,
              json_pack("{s:i, s:s, s:i, s:s, s:s}", "c", 0, "k", "tool", "i", n, "id", id, "name", name));
        event(e, part, IG_EV_DELTA,
              json_pack("{s:i, s:s, s:i, s:s}", "c", 0, "k", "tool", "i", n, "args", "{\"unit\":"));
        event(e, part, IG_EV_DELTA,
              json_pack("{s:i, s:s, s:i, s:s}", "c", 0, "k", "tool", "i", n, "args", "\"celsius\"}"));
        n++;
    }
    return n;
}

/* The one object that the clients ask for, up to a stop string. */
static void object(ig_emitter *e, size_t part, int c, const json_t *r)
{
    char said[] = "{\"colour\":\"red\",\"warm\":true}", *at;
    const json_t *stops = json_object_get(r, "stop");
    for (size_t i = 0; i < json_array_size(stops); i++)
        if ((at = strstr(said, json_string_value(json_array_get(stops, i))))) *at = 0;
    text(e, part, c, "text", said, r);
}

static bool thinks(const json_t *r)
{
    return json_is_true(json_object_get(r, "reasoning")) ||
           json_object_get(json_object_get(r, "template_args"), "reasoning_effort");
}

static void generate(ig_emitter *e, const ig_request *req, size_t part)
{
    const json_t *r = json_array_get(req->parts, part), *tools = json_object_get(r, "tools");
    const json_t *choice = json_object_get(r, "tool_choice");
    const char *mode = json_string_value(choice), *wanted = json_string_value(json_object_get(choice, "name"));
    event(e, part, IG_EV_PROGRESS,
          json_pack("{s:s, s:i, s:i, s:i}", "phase", "prompt", "done", 9, "total", 9, "cached", 4));
    for (unsigned c = 0; c < req->n; c++) {
        unsigned calls = 0;
        if (thinks(r)) text(e, part, (int)c, "reasoning", "Let me think.", r);
        if (tools && (!mode || strcmp(mode, "none") != 0))
            calls = call(e, part, tools, wanted, !json_is_false(json_object_get(r, "parallel_tool_calls")));
        if (!calls && (json_object_get(r, "json_schema") || json_object_get(r, "json_object")))
            object(e, part, (int)c, r);
        else if (!calls)
            for (size_t i = 0; i < 3; i++)
                text(e, part, (int)c, "text", (const char *const[]){"Hello", " there", "!"}[i], r);
        event(e, part, IG_EV_DONE,
              json_pack("{s:i, s:s, s:n, s:{s:i, s:i, s:i, s:i}, s:{s:f, s:f, s:f}}", "c", c, "finish",
                        calls ? "tool_calls" : "stop", "stop", "usage", "prompt", 9, "cached", 4, "completion", 3,
                        "reasoning", 0, "timings", "queue_ms", 0.1, "prompt_ms", 2.5, "generate_ms", 3.5));
    }
}

static json_t *result(const json_t *part)
{
    const json_t *inputs = json_object_get(part, "inputs");
    json_t *rows = inputs ? json_array() : NULL;
    for (size_t i = 0; i < json_array_size(inputs); i++)
        json_array_append_new(rows, json_pack("[f,f,f]", 0.5, -0.5, 0.7071067690849304));
    if (rows) return json_pack("{s:o, s:{s:i}}", "embeddings", rows, "usage", "prompt", 3);
    return json_pack("{s:s, s:[i,i], s:s, s:{s:i}}", "prompt", "<user>", "ids", 1, 2, "text", "text", "usage", "prompt",
                     9);
}

static void list(ig_op op)
{
    static const char *const can[] = {"completion", "tools", "embedding", NULL};
    const ig_model_row row = {.name = "tiny:latest",
                              .digest = "00ff",
                              .format = "gguf",
                              .family = "llama",
                              .capabilities = can,
                              .state = "loaded",
                              .modified_ns = NOW,
                              .n_ctx_max = 4096,
                              .n_ctx_load = 4096,
                              .n_ctx_loaded = 4096};
    if (op == IG_OP_MODELS)
        ig_list_openai(&row, 1, &out);
    else if (op == IG_OP_MODEL)
        ig_list_openai_one(&row, &out);
    else if (op == IG_OP_TAGS)
        ig_list_tags(&row, 1, &out);
    else if (op == IG_OP_PS)
        ig_list_ps(&row, 1, &out);
    else if (op == IG_OP_SHOW)
        ig_list_show(&row, false, &out);
    else if (op == IG_OP_VERSION)
        ig_list_version("0.13.0", "0.1.0", &out);
}

static void print(unsigned status, const char *type)
{
    printf("%u %s\n", status, type);
    (void)fwrite(out.ptr ? out.ptr : "", 1, out.len, stdout);
}

/* As the front will: a missing model, a prompt that is too long, or the script. */
static void answer(const ig_request *req, size_t n_body)
{
    const ig_emit_context context = {.id = "0123456789abcdef",
                                     .model = req->model && *req->model ? req->model : "tiny",
                                     .digest = "sha256:00ff",
                                     .ran_on = "local",
                                     .device = "cpu",
                                     .version = "0.1.0",
                                     .n_ctx = 4096,
                                     .created_ns = NOW - 1000000,
                                     .load_ns = 1000};
    ig_emitter *e = req->route->emit ? ig_emit_new(req, &context) : NULL;
    ig_problem p;
    if (!e) {
        list(req->op);
        print(200, "application/json");
        return;
    }
    if (!strcmp(context.model, "missing")) {
        ig_problem_set(&p, IG_P_NO_MODEL, "model", "model 'missing' not found; pull it first");
        ig_emit_problem(e, &p, NOW, &out);
    } else if (n_body > 100000) {
        event(e, 0, IG_EV_ERROR,
              json_pack("{s:s, s:s, s:i, s:i}", "type", "too_long", "message", "too long", "n_prompt", 50000, "n_ctx",
                        4096));
    } else if (req->op == IG_OP_GENERATE) {
        for (size_t i = 0; i < json_array_size(req->parts); i++) generate(e, req, i);
    } else {
        event(e, 0, IG_EV_RESULT, result(json_array_get(req->parts, 0)));
    }
    ig_emit_head head = ig_emit_head_get(e);
    print(head.status, head.content_type);
    ig_emit_free(e);
}

int main(int argc, char **argv)
{
    ig_match m;
    ig_request req = {0};
    ig_problem p;
    ig_buf body;
    char piece[65536];
    if (argc != 3) return 2;
    ig_buf_init(&out, 64u << 20);
    ig_buf_init(&body, 64u << 20);
    for (size_t n; (n = fread(piece, 1, sizeof piece, stdin)) > 0;) (void)ig_buf_add(&body, piece, n);
    const char *query = strchr(argv[2], '?');
    ig_str path = {argv[2], query ? (size_t)(query - argv[2]) : strlen(argv[2])};
    if (ig_dialect_match(argv[1], path, &m, &p) &&
        ig_dialect_parse(&m, ig_str_from(query ? query + 1 : ""), (ig_str){body.ptr, body.len}, &req, &p) &&
        ig_request_defaults(&req, NULL, &p)) {
        answer(&req, body.len);
    } else {
        ig_dialect_problem(m.route->dialect, &p, "req", &out);
        print(ig_problem_status(&p, m.route->dialect), "application/json");
    }
    ig_request_fini(&req);
    ig_buf_fini(&body);
    ig_buf_fini(&out);
    return 0;
}
