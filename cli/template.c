/* ingle template: a conversation as the prompt that a model is fed. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "far.h"
#include "input.h"
#include "out.h"
#include "verbs.h"

enum { SOURCE_BYTES_MAX = 1 << 20, MESSAGES_BYTES_MAX = 64 << 20 };

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static ingle_status compile_file(const char *path, ingle_template **out, ingle_error *err)
{
    ig_buf source;
    ig_error e;
    ig_buf_init(&source, SOURCE_BYTES_MAX);
    ig_status st = ig_file_read(path, &source, &e);
    ingle_status status =
        st == IG_OK ? ingle_template_compile(source.ptr ? source.ptr : "", source.len, out, err) : input_error(&e, err);
    ig_buf_fini(&source);
    return status;
}

static bool is_source(const char *path)
{
    return ends_in(path, ".jinja") || ends_in(path, ".jinja2") || ends_in(path, ".j2");
}

static ingle_status load(const char *path, ingle_template **out, ingle_error *err)
{
    if (is_source(path)) return compile_file(path, out, err);
    ingle_model *model = NULL;
    ig_manifest *m = NULL;
    bool standard = false;
    ingle_status st = input_named_model(path, true, &model, &m, err);
    const char *own = m ? ig_manifest_template(m) : NULL;
    if (st == INGLE_OK && own)
        st = ingle_template_compile(own, strlen(own), out, err);
    else if (st == INGLE_OK)
        st = ingle_template_of_model(model, out, &standard, err);
    ig_manifest_free(m);
    if (st == INGLE_OK && standard) cli_note("ingle: %s has no chat template, ChatML is used\n", path);
    ingle_model_close(model);
    return st;
}

static ingle_status read_messages(const char *path, ig_buf *out, ingle_error *err)
{
    ig_error e;
    ig_buf_init(out, MESSAGES_BYTES_MAX);
    ig_status st = path ? ig_file_read(path, out, &e) : ig_fd_read_all(0, "standard input", out, &e);
    return st == IG_OK ? INGLE_OK : input_error(&e, err);
}

/* "2026-03-07T15:04:05", each part in its range. */
static bool is_time(const char *text)
{
    unsigned year, month, day, hour, minute, second;
    char t;
    int end = 0;
    bool form = sscanf(text, "%4u-%2u-%2u%c%2u:%2u:%2u%n", &year, &month, &day, &t, &hour, &minute, &second, &end) == 7;
    return form && end == 19 && text[19] == 0 && (t == 'T' || t == ' ') && !strpbrk(text, "+") && year > 0 &&
           month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 && minute < 60 && second < 61;
}

/* The template's own message goes out whole; on a terminal without control characters. */
static int refuse(const ingle_template_text *text)
{
    bool clean = isatty(STDERR_FILENO);
    fputs("ingle: ", stderr);
    for (size_t i = 0; i < text->n; i++) {
        unsigned char c = (unsigned char)text->text[i];
        fputc(clean && c < 32 && c != '\n' && c != '\t' ? '?' : c, stderr);
    }
    fputc('\n', stderr);
    return CLI_FAILED;
}

/* Of broken JSON the reader knows the place and not the file. */
static int fail(const cli_call *call, const ingle_error *err)
{
    const char *path = cli_text(call, "messages");
    char text[1024];
    if (strncmp(err->text, "JSON ", 5) != 0) return cli_fail(err->text);
    (void)snprintf(text, sizeof text,
                   "%.300s: %s; a conversation is a list such as [{\"role\": \"user\", \"content\": \"Hi\"}]",
                   path ? path : "standard input", err->text);
    return cli_fail(text);
}

/* A service renders with the clock and the marks of the model itself. */
static far_choice choose(const cli_call *call, int *code)
{
    static const char *const local[] = {"bos", "eos", "now", NULL};
    if (!is_source(call->args[0])) return far_choose_query(call, local, code);
    if (!cli_set(call, "host")) return FAR_HERE;
    *code = cli_usage("a template file is rendered here; leave --host away, or name a model of the service");
    return FAR_NEITHER;
}

int cli_template(const cli_call *call)
{
    int chosen = CLI_DONE;
    far_choice where = choose(call, &chosen);
    if (where != FAR_HERE) return where == FAR_THERE ? far_template(call) : chosen;
    ingle_template *t = NULL;
    ingle_template_text text = {0};
    ingle_error err;
    ig_buf json;
    ingle_template_options options = {.size = sizeof options,
                                      .bos = cli_text(call, "bos"),
                                      .eos = cli_text(call, "eos"),
                                      .now = cli_text(call, "now")};
    if (options.now && !is_time(options.now))
        return cli_usage("template: --now needs a time such as 2026-03-07T15:04:05. Type: ingle template --help");
    ig_buf_init(&json, 0);
    ingle_status st = load(call->args[0], &t, &err);
    if (st == INGLE_OK) st = read_messages(cli_text(call, "messages"), &json, &err);
    if (st == INGLE_OK) st = ingle_template_render(t, json.ptr, json.len, &options, &text, &err);
    int code = CLI_DONE;
    if (st == INGLE_OK)
        cli_out(text.text, text.n);
    else
        code = text.raised ? refuse(&text) : fail(call, &err);
    ingle_template_text_free(&text);
    ingle_template_free(t);
    ig_buf_fini(&json);
    return code;
}
