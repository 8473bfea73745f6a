/* Replies of every family: byte 0 selects the markers, byte 1 the prompt and whether calls are held back, the rest is
 * what the model wrote. At once, in two and byte by byte it must be read alike; texts are UTF-8, the arguments of a
 * whole call one JSON object. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/reply/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DS  "\xEF\xBD\x9C"
#define DS_ "\xE2\x96\x81"
static const char *const sources[] = {
    "",
    "<tool_call> <think> </think>",
    "<tool_call>\n<function=x>\n<parameter=y>",
    "<seed:tool_call> <seed:think></seed:think>",
    "<tool_call>{name}\n<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>",
    "<minimax:tool_call> <invoke name=",
    "]<]minimax[>[ <invoke name= <mm:think></mm:think>",
    "DSML function_calls",
    "<atem:function_calls> <|message|> <|start|>",
    "<|tool_calls_section_begin|> <|tool_call_argument_begin|>",
    "<" DS "tool" DS_ "calls" DS_ "begin" DS "> <" DS "tool" DS_ "sep" DS "> ```json",
    "[TOOL_CALLS] [CALL_ID] [ARGS] [THINK][/THINK]",
    "[TOOL_CALLS]",
    "<|START_ACTION|> <|START_THINKING|> <|END_THINKING|>",
    "<|tools_prefix|>",
    "functools[",
    "<|python_start|> <|header_start|>",
    "<|tool_call_start|> [",
    ">>> recipient",
    "<|channel|> <|message|> <|call|>",
    "<|tool_call>call: <tool_call|> <|channel>thought <channel|>",
    "Action: ```json tool_name",
};
enum { N_SOURCES = sizeof sources / sizeof *sources };
static const char *const prompts[] = {"", "<think>", "<|start|>assistant", ">>>"};
static const char tools[] =
    "[{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":"
    "\"integer\"},\"l\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"o\":{\"type\":\"object\",\"properties\":"
    "{"
    "\"item\":{}}},\"u\":{\"type\":[\"string\",\"null\",\"boolean\"]},\"r\":{\"$ref\":\"#\"}}}},{\"name\":\"get_x\"}]";

typedef struct seen {
    ig_buf all; /* what came, by kind and call */
    ig_buf args;
    ig_piece_kind kind;
    unsigned call;
    bool unparsed, any;
} seen;

static bool take(void *ctx, const ig_piece *p)
{
    seen *s = ctx;
    if (!ig_utf8_valid(p->text.ptr, p->text.len) || !ig_utf8_valid(p->name.ptr, p->name.len)) abort();
    if (!s->any || s->kind != p->kind || s->call != p->call || s->unparsed != p->unparsed)
        (void)ig_buf_printf(&s->all, "\n%d %u %d %d ", (int)p->kind, p->call, p->unparsed, p->whole);
    s->any = true, s->kind = p->kind, s->call = p->call, s->unparsed = p->unparsed;
    (void)ig_buf_add(&s->all, p->text.ptr, p->text.len);
    (void)ig_buf_add(&s->all, p->id.ptr, p->id.len);
    (void)ig_buf_add(&s->all, p->name.ptr, p->name.len);
    if (p->kind == IG_PIECE_CALL) s->args.len = 0;
    if (p->kind == IG_PIECE_ARGUMENTS) (void)ig_buf_add(&s->args, p->text.ptr, p->text.len);
    if (p->kind != IG_PIECE_CALL_END || !p->whole) return true;
    json_t *v = json_loadb(s->args.ptr ? s->args.ptr : "", s->args.len, JSON_ALLOW_NUL, NULL);
    /* jansson refuses numbers that it cannot hold, lone surrogates and NUL in keys: only the form is asked for. */
    if (v ? !json_is_object(v) : !s->args.len || s->args.ptr[0] != '{' || s->args.ptr[s->args.len - 1] != '}') abort();
    json_decref(v);
    return true;
}

static void run(const ig_reply_options *o, const char *text, size_t n, size_t cut, bool off, ig_buf *out)
{
    seen s = {0};
    ig_reply *r;
    ig_error err;
    ig_reply_end end = {0};
    ig_buf_init(&s.all, 1 << 26);
    ig_buf_init(&s.args, 1 << 26);
    if (ig_reply_open(o, &r, &err) != IG_OK) abort();
    for (size_t at = 0; at < n;) {
        size_t m = cut == SIZE_MAX ? 1 : at < cut ? cut - at : n - at;
        if (m > n - at) m = n - at;
        if (ig_reply_push(r, text + at, m, take, &s, &err) != IG_OK) abort();
        at += m;
    }
    if (off) ig_reply_cut_off(r);
    if (ig_reply_finish(r, take, &s, &end, &err) != IG_OK) abort();
    if (o->no_calls && !o->tools && !o->prompt.len && end.n_calls > 0 && !strstr(o->source.ptr, "<|channel|>")) abort();
    (void)ig_buf_printf(&s.all, "\n%u %u %d %d", end.n_calls, end.n_whole, end.unparsed, end.truncated_call);
    ig_reply_close(r);
    ig_buf_fini(&s.args);
    *out = s.all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ig_reply_tools *list;
    ig_error err;
    if (!list && ig_reply_tools_new(tools, sizeof tools - 1, &list, &err) != IG_OK) abort();
    if (size < 2) return 0;
    ig_reply_options o = {.tools = data[1] & 32 ? NULL : list, .whole = data[1] & 16, .no_calls = data[1] & 64};
    o.source = ig_str_from(sources[data[0] % N_SOURCES]);
    o.prompt = ig_str_from(prompts[data[1] & 3]);
    o.family = ig_reply_family_of(o.source);
    ig_buf a, b, c;
    const char *text = (const char *)data + 2;
    run(&o, text, size - 2, 0, data[1] & 128, &a);
    run(&o, text, size - 2, SIZE_MAX, data[1] & 128, &b);
    run(&o, text, size - 2, (size - 2) / 2, data[1] & 128, &c);
    if (a.len != b.len || memcmp(a.ptr, b.ptr, a.len) != 0) abort();
    if (a.len != c.len || memcmp(a.ptr, c.ptr, a.len) != 0) abort();
    ig_buf_fini(&a);
    ig_buf_fini(&b);
    ig_buf_fini(&c);
    return 0;
}
