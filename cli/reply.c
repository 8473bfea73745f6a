/* ingle reply: a model's answer as a message with reasoning and tool calls. */
#include <string.h>

#include "base/os.h"
#include "input.h"
#include "out.h"
#include "talk.h"
#include "verbs.h"

enum { SOURCE_BYTES_MAX = 1 << 20, TOOLS_BYTES_MAX = 1 << 20 };

static int print(const talk_answer *a)
{
    json_t *all =
        json_pack("{s:s,s:o,s:b,s:b}", "family", ingle_reply_family(a->reply), "message", talk_answer_message(a),
                  "unparsed", (int)a->end.unparsed, "truncated_call", (int)a->end.truncated_call);
    bool ok = all && !a->failed && cli_out_json(all);
    json_decref(all);
    return ok ? CLI_DONE : cli_fail("out of memory for the message");
}

static bool is_template(const char *path)
{
    size_t n = strlen(path);
    return (n > 6 && !strcmp(path + n - 6, ".jinja")) || (n > 3 && !strcmp(path + n - 3, ".j2"));
}

static ingle_status open_reply(const cli_call *call, talk_answer *a, ingle_error *err)
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
    if (status == INGLE_OK) status = talk_answer_open(a, &o, NULL, NULL, err);
    ingle_model_close(model);
    ig_buf_fini(&source);
    ig_buf_fini(&tools);
    return status;
}

int cli_reply(const cli_call *call)
{
    ingle_error err;
    ig_buf text;
    talk_answer a = {0};
    ig_buf_init(&text, 0);
    ingle_status st = open_reply(call, &a, &err);
    if (st == INGLE_OK) st = input_text(NULL, cli_text(call, "file"), &text, &err);
    if (st == INGLE_OK && talk_answer_push(&a, text.ptr ? text.ptr : "", text.len)) (void)talk_answer_finish(&a);
    int code = st == INGLE_OK ? print(&a) : cli_fail(err.text);
    talk_answer_close(&a);
    ig_buf_fini(&text);
    return code;
}
