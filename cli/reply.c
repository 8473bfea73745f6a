/* ingle reply: a model's answer as a message with reasoning and tool calls. */
#include <string.h>

#include "base/os.h"
#include "input.h"
#include "out.h"
#include "verbs.h"

enum { SOURCE_BYTES_MAX = 1 << 20, TOOLS_BYTES_MAX = 1 << 20, CALLS_MAX = 1000 };

typedef struct message {
    ig_buf text, reasoning, args;
    json_t *calls; /* owned */
    bool failed;
} message;

static bool take(void *user, const ingle_piece *p)
{
    message *m = user;
    if (p->kind == INGLE_PIECE_TEXT) return ig_buf_add(&m->text, p->text, p->n_text);
    if (p->kind == INGLE_PIECE_REASONING) return ig_buf_add(&m->reasoning, p->text, p->n_text);
    if (p->kind == INGLE_PIECE_ARGUMENTS) return ig_buf_add(&m->args, p->text, p->n_text);
    if (p->kind == INGLE_PIECE_CALL) {
        m->args.len = 0;
        json_t *call = json_pack("{s:s%,s:s,s:{s:s%}}", "id", p->id, p->n_id, "type", "function", "function", "name",
                                 p->name, p->n_name);
        m->failed = m->failed || !call || json_array_append_new(m->calls, call) != 0;
        return json_array_size(m->calls) < CALLS_MAX;
    }
    json_t *call = json_array_get(m->calls, json_array_size(m->calls) - 1);
    json_t *args = json_stringn(m->args.ptr ? m->args.ptr : "", m->args.len);
    m->failed = m->failed || json_object_set_new(json_object_get(call, "function"), "arguments", args) != 0;
    return true;
}

static void put_text(json_t *o, const char *key, const ig_buf *b)
{
    if (b->len) (void)json_object_set_new(o, key, json_stringn(b->ptr, b->len));
}

static int print(const message *m, const ingle_reply *reply, const ingle_reply_end *end)
{
    json_t *o = json_pack("{s:s}", "role", "assistant");
    put_text(o, "reasoning_content", &m->reasoning);
    (void)json_object_set_new(o, "content", json_stringn(m->text.ptr ? m->text.ptr : "", m->text.len));
    if (json_array_size(m->calls)) (void)json_object_set(o, "tool_calls", m->calls);
    json_t *all = json_pack("{s:s,s:o,s:b,s:b}", "family", ingle_reply_family(reply), "message", o, "unparsed",
                            (int)end->unparsed, "truncated_call", (int)end->truncated_call);
    bool ok = all && !m->failed && cli_out_json(all);
    json_decref(all);
    return ok ? CLI_DONE : cli_fail("out of memory for the message");
}

static bool is_template(const char *path)
{
    size_t n = strlen(path);
    return (n > 6 && !strcmp(path + n - 6, ".jinja")) || (n > 3 && !strcmp(path + n - 3, ".j2"));
}

static ingle_status open_reply(const cli_call *call, ingle_reply **out, ingle_error *err)
{
    ig_buf source, tools;
    ingle_model *model = NULL;
    ig_error e;
    const char *prompt = cli_text(call, "prompt"), *file = cli_text(call, "tools");
    ig_status st = IG_OK;
    ingle_status status = INGLE_OK;
    ig_buf_init(&source, SOURCE_BYTES_MAX);
    ig_buf_init(&tools, TOOLS_BYTES_MAX);
    if (is_template(call->args[0]))
        st = ig_file_read(call->args[0], &source, &e);
    else
        status = input_model(call->args[0], true, &model, err);
    if (st == IG_OK && file) st = ig_file_read(file, &tools, &e);
    if (st != IG_OK) status = input_error(&e, err);
    ingle_reply_options o = {.size = sizeof o,
                             .model = model,
                             .source = source.ptr,
                             .n_source = source.len,
                             .prompt = prompt,
                             .n_prompt = prompt ? strlen(prompt) : 0,
                             .tools = tools.ptr,
                             .n_tools = tools.len};
    if (status == INGLE_OK) status = ingle_reply_open(&o, out, err);
    ingle_model_close(model);
    ig_buf_fini(&source);
    ig_buf_fini(&tools);
    return status;
}

int cli_reply(const cli_call *call)
{
    ingle_reply *reply = NULL;
    ingle_error err;
    ingle_reply_end end = {0};
    ig_buf text;
    message m = {.calls = json_array()};
    ig_buf_init(&text, 0);
    ig_buf_init(&m.text, (size_t)1 << 30);
    ig_buf_init(&m.reasoning, (size_t)1 << 30);
    ig_buf_init(&m.args, (size_t)1 << 30);
    ingle_status st = open_reply(call, &reply, &err);
    if (st == INGLE_OK) st = input_text(NULL, cli_text(call, "file"), &text, &err);
    if (st == INGLE_OK) st = ingle_reply_push(reply, text.ptr ? text.ptr : "", text.len, take, &m, &err);
    if (st == INGLE_OK) st = ingle_reply_finish(reply, take, &m, &end, &err);
    int code = st == INGLE_OK ? print(&m, reply, &end) : cli_fail(err.text);
    ingle_reply_close(reply);
    json_decref(m.calls);
    ig_buf_fini(&text);
    ig_buf_fini(&m.text);
    ig_buf_fini(&m.reasoning);
    ig_buf_fini(&m.args);
    return code;
}
