/* Replies: what a template writes for an assistant message must be read back into the message, in any cut; what is cut
 * off or broken must not be lost; the grammar of the tools must take what the template writes, and must not depend on
 * descriptions. SHOW=1 prints what differs, SHOW=2 each case. */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <time.h>

#include "base/fault.h"
#include "base/utf8.h"
#include "tests/tap.h"
#include "text/reply/reply.h"
#include "text/template/template.h"

static char root[1024];
static int show;

/* ------------------------------------------------------------------------------------------------ collecting */

typedef struct said {
    ig_buf text, reasoning, unparsed;
    ig_buf args[16], id[16], name[16];
    unsigned n_calls, n_ends, n_whole;
    bool wrong; /* pieces that make no sense */
    ig_reply_end end;
} said;

static void said_init(said *s)
{
    *s = (said){0};
    ig_buf_init(&s->text, 1 << 26);
    ig_buf_init(&s->reasoning, 1 << 26);
    ig_buf_init(&s->unparsed, 1 << 26);
    for (int i = 0; i < 16; i++) {
        ig_buf_init(&s->args[i], 1 << 26);
        ig_buf_init(&s->id[i], 1 << 20);
        ig_buf_init(&s->name[i], 1 << 20);
    }
}

static void said_fini(said *s)
{
    ig_buf_fini(&s->text);
    ig_buf_fini(&s->reasoning);
    ig_buf_fini(&s->unparsed);
    for (int i = 0; i < 16; i++) {
        ig_buf_fini(&s->args[i]);
        ig_buf_fini(&s->id[i]);
        ig_buf_fini(&s->name[i]);
    }
}

static bool take(void *ctx, const ig_piece *p)
{
    said *s = ctx;
    s->wrong = s->wrong || !ig_utf8_valid(p->text.ptr, p->text.len) || !ig_utf8_valid(p->name.ptr, p->name.len);
    switch (p->kind) {
    case IG_PIECE_TEXT: (void)ig_buf_add(p->unparsed ? &s->unparsed : &s->text, p->text.ptr, p->text.len); break;
    case IG_PIECE_REASONING: (void)ig_buf_add(&s->reasoning, p->text.ptr, p->text.len); break;
    case IG_PIECE_CALL:
        s->wrong = s->wrong || p->call != s->n_calls || s->n_calls != s->n_ends || !p->name.len || !p->id.len;
        if (p->call >= 16) return true;
        (void)ig_buf_add(&s->id[p->call], p->id.ptr, p->id.len);
        (void)ig_buf_add(&s->name[p->call], p->name.ptr, p->name.len);
        s->n_calls++;
        break;
    case IG_PIECE_ARGUMENTS:
        s->wrong = s->wrong || p->call + 1 != s->n_calls;
        if (p->call < 16) (void)ig_buf_add(&s->args[p->call], p->text.ptr, p->text.len);
        break;
    case IG_PIECE_CALL_END:
        s->wrong = s->wrong || p->call + 1 != s->n_calls || p->call != s->n_ends;
        s->n_ends++;
        s->n_whole += p->whole;
        break;
    }
    return true;
}

static ig_str str_of(const ig_buf *b) { return (ig_str){b->ptr ? b->ptr : "", b->len}; }

static bool same_said(const said *a, const said *b)
{
    bool same =
        ig_str_eq(str_of(&a->text), str_of(&b->text)) && ig_str_eq(str_of(&a->reasoning), str_of(&b->reasoning)) &&
        ig_str_eq(str_of(&a->unparsed), str_of(&b->unparsed)) && a->n_calls == b->n_calls && a->n_whole == b->n_whole &&
        a->wrong == b->wrong && a->end.unparsed == b->end.unparsed && a->end.truncated_call == b->end.truncated_call;
    for (unsigned i = 0; same && i < a->n_calls && i < 16; i++)
        same = ig_str_eq(str_of(&a->args[i]), str_of(&b->args[i])) && ig_str_eq(str_of(&a->id[i]), str_of(&b->id[i])) &&
               ig_str_eq(str_of(&a->name[i]), str_of(&b->name[i]));
    return same;
}

static bool same_text(const ig_buf *a, const ig_buf *b) { return ig_str_eq(str_of(a), str_of(b)); }

typedef struct setting {
    ig_str source, prompt;
    const ig_reply_family *family;
    ig_reply_tools *tools;
    const char *tools_text;
    bool whole, no_calls;
} setting;

/* cut 0: at once; SIZE_MAX: byte by byte; else in two. */
static bool read_reply(const setting *g, ig_str text, size_t cut, said *out)
{
    ig_reply *r;
    ig_error err = {0};
    ig_reply_options o = {.family = g->family,
                          .tools = g->tools,
                          .source = g->source,
                          .prompt = g->prompt,
                          .seed = 7,
                          .whole = g->whole,
                          .no_calls = g->no_calls};
    said_init(out);
    bool ok = ig_reply_open(&o, &r, &err) == IG_OK;
    if (!ok) return false;
    size_t first = cut == SIZE_MAX ? 0 : cut;
    ok = ig_reply_push(r, text.ptr, first, take, out, &err) == IG_OK;
    for (size_t i = first; ok && cut == SIZE_MAX && i < text.len; i++)
        ok = ig_reply_push(r, text.ptr + i, 1, take, out, &err) == IG_OK;
    if (ok && cut != SIZE_MAX) ok = ig_reply_push(r, text.ptr + first, text.len - first, take, out, &err) == IG_OK;
    ok = ok && ig_reply_finish(r, take, out, &out->end, &err) == IG_OK;
    ig_reply_close(r);
    return ok && out->n_calls == out->n_ends && out->end.n_calls == out->n_calls && out->end.n_whole == out->n_whole;
}

static void print_said(const said *s)
{
    printf("#   text [%.*s] unparsed [%.*s] reasoning [%.*s]%s%s%s\n", (int)s->text.len, s->text.ptr,
           (int)s->unparsed.len, s->unparsed.ptr, (int)s->reasoning.len, s->reasoning.ptr, s->wrong ? " WRONG" : "",
           s->end.truncated_call ? " truncated" : "", s->end.unparsed ? " unparsed" : "");
    for (unsigned i = 0; i < s->n_calls && i < 16; i++)
        printf("#   call %.*s %.*s(%.*s)\n", (int)s->id[i].len, s->id[i].ptr, (int)s->name[i].len, s->name[i].ptr,
               (int)s->args[i].len, s->args[i].ptr);
}

/* ------------------------------------------------------------------------------------------------ templates */

static bool render(const ig_template *t, json_t *c, size_t n_messages, bool prompt, ig_buf *out)
{
    ig_arena arena = {0};
    ig_tval file, vars;
    ig_template_options options = {0};
    ig_template_result result = {0};
    json_t *copy = json_copy(c), *messages = json_copy(json_object_get(c, "messages"));
    while (json_array_size(messages) > n_messages) (void)json_array_remove(messages, json_array_size(messages) - 1);
    (void)json_object_set_new(copy, "messages", messages);
    (void)json_object_set_new(copy, "add_generation_prompt", json_boolean(prompt));
    char *text = json_dumps(copy, 0);
    bool ok = text && ig_tv_from_json(&arena, text, strlen(text), &file, NULL) == IG_OK &&
              ig_template_variables(&arena, file, &vars, &options.now, NULL) == IG_OK &&
              ig_template_render(t, vars, &options, &result, NULL) == IG_OK;
    ig_buf_init(out, 1 << 26);
    if (ok) ok = ig_buf_add(out, result.text.ptr, result.text.len);
    ig_template_result_fini(&result);
    ig_arena_fini(&arena);
    free(text);
    json_decref(copy);
    return ok;
}

static ig_str cut_at_end(ig_str s)
{
    static const char *const ends[] = {"<|im_end|>",
                                       "<|eot_id|>",
                                       "<|eom_id|>",
                                       "<|eot|>",
                                       "</s>",
                                       ("<\xEF\xBD\x9C"
                                        "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"),
                                       "<|END_OF_TURN_TOKEN|>",
                                       "<|START_OF_TURN_TOKEN|>",
                                       "<seed:eos>",
                                       "[e~[",
                                       "<end_of_sentence>",
                                       "[|endofturn|]",
                                       "<|end_of_text|>",
                                       "<SPECIAL_12>",
                                       "<turn|>",
                                       "<|tool_response>",
                                       "<|stop|>",
                                       "</assistant>",
                                       "<|observation|>",
                                       "\n<|end|>",
                                       "<|endoftext|>"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *at = s.len ? memmem(s.ptr, s.len, ends[i], strlen(ends[i])) : NULL;
        if (at) s.len = (size_t)(at - s.ptr);
    }
    return s;
}

static ig_str trim(ig_str s)
{
    while (s.len && isspace((unsigned char)s.ptr[0])) s.ptr++, s.len--;
    while (s.len && isspace((unsigned char)s.ptr[s.len - 1])) s.len--;
    return s;
}

/* What the model wrote, and the prompt before it, out of a rendering with and one without the message. */
static bool split(const ig_buf *a, const ig_buf *b, ig_str *prompt, ig_str *said_text)
{
    size_t n = 0;
    while (n < a->len && n < b->len && a->ptr[n] == b->ptr[n]) n++;
    size_t tail = a->len < 8 ? a->len : 8;
    const char *again = n < a->len ? memmem(b->ptr + n, b->len - n, a->ptr + a->len - tail, tail) : NULL;
    if (again) n = (size_t)(again - b->ptr) + tail;
    if (n < a->len && !again) {
        if (a->len - n > 300) return false;
        while (n && !strchr(">]\n", b->ptr[n - 1])) n--;
    }
    const char *inst = n < b->len ? memmem(b->ptr + n, b->len - n, "[/INST]", 7) : NULL;
    if (inst) n = (size_t)(inst - b->ptr) + 7;
    *prompt = (ig_str){b->ptr, n};
    *said_text = cut_at_end((ig_str){b->ptr + n, b->len - n});
    return said_text->len > 0;
}

/* ------------------------------------------------------------------------------------------------ the cases */

typedef struct tally {
    size_t n, right, lost, cuts, cuts_wrong, ends, ends_wrong, grammars, taken, refused;
    char first[256];
} tally;

static json_t *arguments_of(json_t *call)
{
    json_t *f = json_object_get(call, "function"), *a = json_object_get(f ? f : call, "arguments");
    if (!json_is_string(a)) return json_incref(a);
    return json_loads(json_string_value(a), JSON_DECODE_ANY, NULL);
}

static const char *name_of(json_t *call)
{
    json_t *f = json_object_get(call, "function");
    return json_string_value(json_object_get(f ? f : call, "name"));
}

/* Numbers by value. */
static bool same_json(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        bool same = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; same && i < json_array_size(a); i++)
            same = same_json(json_array_get(a, i), json_array_get(b, i));
        return same;
    }
    if (json_is_object(a)) {
        const char *key;
        json_t *v;
        bool same = json_object_size(a) == json_object_size(b);
        json_object_foreach((json_t *)(uintptr_t)a, key, v) same =
            same && json_object_get(b, key) && same_json(v, json_object_get(b, key));
        return same;
    }
    return json_equal(a, b);
}

static bool has(ig_str s, const char *part) { return s.len && memmem(s.ptr, s.len, part, strlen(part)); }

static bool contains(ig_str s, ig_str part)
{
    part = trim(part);
    return part.len && s.len && memmem(s.ptr, s.len, part.ptr, part.len);
}

static bool is_message(const said *s, json_t *m, ig_str text)
{
    json_t *calls = json_object_get(m, "tool_calls");
    const char *content = json_string_value(json_object_get(m, "content"));
    const char *reasoning = json_string_value(json_object_get(m, "reasoning_content"));
    size_t n = 0;
    bool same = !s->wrong && !s->end.truncated_call && !s->end.unparsed && !s->unparsed.len;
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_t *call = json_array_get(calls, i), *want = arguments_of(call);
        const char *id = json_string_value(json_object_get(call, "id"));
        if (!has(text, name_of(call)) || n >= 16) {
            json_decref(want);
            continue;
        }
        json_t *have = n < s->n_calls ? json_loadb(s->args[n].ptr, s->args[n].len, 0, NULL) : NULL;
        same = same && have && want && same_json(have, want) && ig_str_is(str_of(&s->name[n]), name_of(call));
        if (same && id && has(text, id)) same = ig_str_is(str_of(&s->id[n]), id);
        json_decref(want);
        json_decref(have);
        n++;
    }
    same = same && n == s->n_calls;
    ig_str c = content ? trim(ig_str_from(content)) : (ig_str){"", 0};
    ig_str g = reasoning ? trim(ig_str_from(reasoning)) : (ig_str){"", 0};
    if (contains(text, c))
        same = same && ig_str_eq(trim(str_of(&s->text)), c);
    else
        same = same && (!trim(str_of(&s->text)).len || ig_str_is(trim(str_of(&s->text)), "None"));
    if (contains(text, g)) same = same && ig_str_eq(trim(str_of(&s->reasoning)), g);
    return same;
}

static void check_cuts(const setting *g, ig_str text, const said *at_once, tally *t)
{
    for (size_t i = 0; i <= text.len; i++) {
        said s;
        bool ok = read_reply(g, text, i ? i : SIZE_MAX, &s) && same_said(at_once, &s);
        t->cuts++, t->cuts_wrong += !ok;
        if (!ok && show) {
            printf("# cut at %zu of %.*s differs\n", i, (int)text.len, text.ptr);
            print_said(&s);
        }
        said_fini(&s);
    }
}

/* The beginning of a reply: what it says must be the beginning of what the whole one says, and a call that is there in
 * part is said to be. */
static bool is_beginning(const said *part, const said *whole)
{
    bool ok = !part->wrong && part->n_calls <= whole->n_calls;
    for (unsigned i = 0; ok && i < part->n_calls; i++) {
        ok = ig_str_eq(str_of(&part->name[i]), str_of(&whole->name[i]));
        if (i + 1 < part->n_calls) ok = ok && ig_str_eq(str_of(&part->args[i]), str_of(&whole->args[i]));
    }
    if (part->n_whole < part->n_calls) ok = ok && part->end.truncated_call;
    return ok && (!part->unparsed.len || part->end.unparsed);
}

/* Letters and digits of the input that come back nowhere; marks do not come back. */
static void check_ends(const setting *g, ig_str text, const said *whole, tally *t)
{
    for (size_t i = 0; i < text.len; i++) {
        said s;
        bool ok = read_reply(g, (ig_str){text.ptr, i}, 0, &s) && is_beginning(&s, whole);
        t->ends++, t->ends_wrong += !ok;
        if (!ok && show) {
            printf("# end at %zu: %.*s\n", i, (int)i, text.ptr);
            print_said(&s);
        }
        said_fini(&s);
    }
}

static void check_grammar(const setting *g, ig_str text, const said *s, tally *t)
{
    while (text.len && isspace((unsigned char)text.ptr[text.len - 1])) text.len--;
    ig_reply_rule rule = {.family = g->family,
                          .tools = g->tools,
                          .parallel = true,
                          .source = g->source,
                          .prompt = g->prompt,
                          .choice = IG_CHOICE_REQUIRED};
    ig_grammar *grammar = NULL;
    ig_grammar_state *state = NULL;
    ig_error err = {0};
    for (unsigned i = 0; i < 2; i++) {
        rule.choice = i ? IG_CHOICE_AUTO : IG_CHOICE_REQUIRED;
        if (!i && (s->text.len || has((ig_str){text.ptr, text.len < 4 ? text.len : 4}, "all"))) continue;
        ig_status st = ig_reply_grammar(&rule, &grammar, &err);
        t->grammars++;
        bool ok = st == IG_OK && ig_grammar_start(grammar, IG_GRAMMAR_ANY, &state, &err) == IG_OK;
        if (ok) ok = ig_grammar_feed(state, text.ptr, text.len, &err) == IG_OK && ig_grammar_alive(state);
        t->taken += ok;
        if (!ok && show)
            printf("# the grammar of %s (%u) refuses: %s, byte %zu of %.*s\n", ig_reply_family_name(g->family), i,
                   st == IG_OK ? "" : err.text, state ? (size_t)ig_grammar_fits(state) : 0, (int)text.len, text.ptr);
        ig_grammar_end(state);
        ig_grammar_free(grammar);
        state = NULL, grammar = NULL;
    }
}

/* Whether the template wrote what a model is to write. Arguments given as a string are copied by some templates into
 * places where an object belongs; some write ids or white space of their own, or text behind the calls. */
static bool is_usual(const setting *g, ig_str text, const said *s)
{
    bool usual = !has(text, "\"{\\\"") && !has(text, "{{\"") && !has(text, "\"{}\"") && !has(text, "{'") &&
                 !has(text, "       <") && !has(text, "\"call_") && !has(text, "None") && !has(text, "\"functions.") &&
                 !has(text, "['") && !has(text, "\n\n</") && !has(text, "{ \"arg");
    for (unsigned i = 0; i < s->n_calls && i < 16; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "\"%.*s\"", (int)s->name[i].len, s->name[i].ptr);
        usual = usual && g->tools && g->tools_text && strstr(g->tools_text, name);
    }
    const char *last = s->n_calls ? memmem(text.ptr, text.len, s->name[0].ptr, s->name[0].len) : NULL;
    ig_str behind = last ? (ig_str){last, (size_t)(text.ptr + text.len - last)} : text;
    return usual && !contains(behind, str_of(&s->text));
}

static void run_message(const ig_template *t, ig_str source, json_t *c, size_t i, tally *count)
{
    ig_buf before, after;
    json_t *m = json_array_get(json_object_get(c, "messages"), i), *calls = json_object_get(m, "tool_calls");
    bool ok = render(t, c, i, true, &before);
    ok = render(t, c, i + 1, false, &after) && ok;
    setting g = {.source = source, .family = ig_reply_family_of(source)};
    ig_str text;
    ok = ok && split(&before, &after, &g.prompt, &text);
    const char *id = json_string_value(json_object_get(c, "id"));
    bool named = ok && has(text, name_of(json_array_get(calls, 0)));
    if (!named) {
        if (show > 1) printf("# %s: the template leaves the call out\n", id);
        count->lost++;
    } else {
        char *tools = json_dumps(json_object_get(c, "tools"), JSON_ENCODE_ANY | JSON_COMPACT);
        g.tools_text = tools;
        if (tools) (void)ig_reply_tools_new(tools, strlen(tools), &g.tools, NULL);
        said s;
        ok = read_reply(&g, text, 0, &s);
        bool right = ok && is_message(&s, m, text);
        count->n++, count->right += right;
        if ((!right && show) || show > 1) {
            printf("# %s %s: %s\n#   %.*s\n", right ? "right" : "WRONG", id, ig_reply_family_name(g.family),
                   (int)text.len, text.ptr);
            print_said(&s);
        }
        if (text.len < 700 && count->n % 3 == 0) check_cuts(&g, text, &s, count);
        if (text.len < 700 && count->n % 3 == 1) check_ends(&g, text, &s, count);
        if (right && is_usual(&g, text, &s)) check_grammar(&g, text, &s, count);
        said_fini(&s);
        ig_reply_tools_free(g.tools);
        free(tools);
    }
    ig_buf_fini(&before);
    ig_buf_fini(&after);
}

static void run_line(const char *line, size_t n, tally *t)
{
    json_t *c = json_loadb(line, n, 0, NULL), *messages = json_object_get(c, "messages"), *m;
    const char *name = json_string_value(json_object_get(c, "template"));
    char path[2048];
    size_t i, n_source;
    ig_template *compiled = NULL;
    bool calls = false;
    json_array_foreach(messages, i, m) calls = calls || json_array_size(json_object_get(m, "tool_calls"));
    if (calls && json_object_get(c, "expect") && (!getenv("ONLY") || strstr(name, getenv("ONLY")))) {
        (void)snprintf(path, sizeof path, "%s/jinja/%s", root, name);
        char *source = tap_read(path, &n_source);
        if (source && ig_template_compile(source, n_source, &compiled, NULL) == IG_OK)
            json_array_foreach(messages, i, m) if (json_array_size(json_object_get(m, "tool_calls")))
                run_message(compiled, (ig_str){source, n_source}, c, i, t);
        ig_template_free(compiled);
        free(source);
    }
    json_decref(c);
}

static void check_templates(void)
{
    char path[2048];
    size_t n;
    tally t = {0};
    (void)snprintf(path, sizeof path, "%s/real.jsonl", root);
    char *data = tap_read(path, &n);
    if (!data) return tap_skip("templates", "no reference data at %s", path);
    for (char *p = data; p < data + n;) {
        char *end = memchr(p, '\n', (size_t)(data + n - p));
        size_t len = end ? (size_t)(end - p) : (size_t)(data + n - p);
        if (len && memmem(p, len, "tool_calls", 10)) run_line(p, len, &t);
        p += len + 1;
    }
    free(data);
    tap_ok(t.n > 0 && t.right == t.n,
           "%zu of %zu messages read back from what their templates write (%zu: the call is "
           "not in the text)",
           t.right, t.n, t.lost);
    tap_ok(t.cuts > 0 && !t.cuts_wrong, "%zu cuts of the stream, %zu with another result", t.cuts, t.cuts_wrong);
    tap_ok(t.ends > 0 && !t.ends_wrong, "%zu replies that end too early, %zu read wrongly", t.ends, t.ends_wrong);
    tap_ok(t.grammars > 0 && t.taken == t.grammars, "%zu of %zu grammars take what the template writes", t.taken,
           t.grammars);
}

/* ------------------------------------------------------------------------------------------------ tools */

#define DS  "\xEF\xBD\x9C"
#define DS_ "\xE2\x96\x81"
/* Texts with the markers of each family. */
static const struct {
    const char *family, *source, *prompt;
} families[] = {
    {"generic", "", ""},
    {"hermes", "<tool_call>", ""},
    {"hermes", "<tool_call> <think> </think>", "<think>\n"},
    {"qwen3_coder", "<tool_call>\n<function=x>\n<parameter=y>", ""},
    {"seed", "<seed:tool_call> <seed:think></seed:think>", ""},
    {"glm", "<tool_call>{name}\n<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>", ""},
    {"glm47", "<tool_call>{name}<arg_key>{k}</arg_key><arg_value>{v}</arg_value>", "<think>"},
    {"minimax2", "<minimax:tool_call> <invoke name=", ""},
    {"minimax1", "<tool_calls>\\n end_of_sentence", ""},
    {"minimax3", "]<]minimax[>[ <invoke name=", ""},
    {"dsml", "DSML function_calls", ""},
    {"muse", "<atem:function_calls> <|message|> <|start|>", "<|start|>assistant"},
    {"kimi", "<|tool_calls_section_begin|> <|tool_call_argument_begin|>", ""},
    {"deepseek3", "<" DS "tool" DS_ "calls" DS_ "begin" DS "> <" DS "tool" DS_ "sep" DS "> ```json", ""},
    {"deepseek31", "<" DS "tool" DS_ "calls" DS_ "begin" DS "> <" DS "tool" DS_ "sep" DS ">", ""},
    {"mistral", "[TOOL_CALLS] [CALL_ID] [ARGS]", ""},
    {"mistral_args", "[TOOL_CALLS] [ARGS] [THINK][/THINK]", ""},
    {"mistral_list", "[TOOL_CALLS]", ""},
    {"command", "<|START_ACTION|> <|START_THINKING|> <|END_THINKING|>", "<|START_THINKING|>"},
    {"command_r", "Action: ```json tool_name", ""},
    {"nemotron2", "<TOOLCALL>", ""},
    {"apertus", "<|tools_prefix|>", ""},
    {"granite3", "<|tool_call|>", ""},
    {"phi4", "<|tool_call|> <|/tool_call|>", ""},
    {"functools", "functools[", ""},
    {"exaone", "<tool_call> [|assistant|]", ""},
    {"llama3", "<|start_header_id|> \"parameters\": ", ""},
    {"llama4", "<|python_start|> <|header_start|>", ""},
    {"lfm2", "<|tool_call_start|> [", ""},
    {"minicpm", "<|tool_call_start|> ```python", ""},
    {"functionary_tags", "<function= <|python_tag|>", ""},
    {"functionary2", "<|recipient|> <|content|>", "\n<|from|>assistant\n<|recipient|>"},
    {"functionary3", ">>> recipient", ">>>"},
    {"harmony", "<|channel|> <|message|> <|call|>", "<|start|>assistant"},
    {"gemma4", "<|tool_call>call: <tool_call|>", ""},
    {"gigachat3", "<|function_call|>", ""},
    {"mcp", "<use_mcp_tool> <server_name> <tool_name>", ""},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

static uint64_t random_state = 1;
static uint32_t draw(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

/* Feeds the bytes when the grammar takes them. */
static bool move(ig_grammar_state **s, const char *p, size_t n, ig_buf *out)
{
    ig_grammar_state *copy;
    ig_error err;
    if (ig_grammar_copy(*s, &copy, &err) != IG_OK) return false;
    bool moved = ig_grammar_feed(copy, p, n, &err) == IG_OK && ig_grammar_alive(copy) && ig_buf_add(out, p, n);
    ig_grammar_end(moved ? *s : copy);
    if (moved) *s = copy;
    return moved;
}

/* Some text of the grammar, or as far as it got: letters at random, after a while those that end something. */
static bool random_text(const ig_grammar *g, json_t *required, ig_str first, ig_buf *out)
{
    static const char common[] = "\"\"\"}}]]<,,:: aetxn019.-[{/>|=_()'u\\\n\xC3\xA9Z@#T", ends[] = "\"}\"]})>'\n,";
    static const char *const marks[] = {"</think>",
                                        "</parameter>",
                                        "</arg_value>",
                                        "<|\"|>",
                                        "<|END_THINKING|>",
                                        "]<]minimax[>[",
                                        "</" DS "DSML" DS "parameter>",
                                        "</atem:parameter>",
                                        "<|end|>",
                                        "[/THINK]",
                                        "</seed:think>"};
    ig_grammar_state *s;
    ig_error err;
    bool done = false;
    ig_buf_init(out, 1 << 20);
    if (ig_grammar_start(g, IG_GRAMMAR_CANONICAL, &s, &err) != IG_OK) return false;
    if (first.len) (void)move(&s, first.ptr, first.len, out);
    for (size_t steps = 0; steps < 1500 && !done; steps++) {
        bool moved = false, late = out->len > 120;
        done = ig_grammar_accepts(s) && (late || draw(3) == 0);
        for (size_t m = 0; !done && out->len && out->ptr[out->len - 1] == '"' && m < json_array_size(required); m++) {
            char key[64];
            int n = snprintf(key, sizeof key, "%s\":", json_string_value(json_array_get(required, m)));
            moved = moved || (draw(2) && move(&s, key, (size_t)n, out));
        }
        for (size_t m = 0; !done && m < 11 && !moved; m++)
            moved = draw(late ? 3 : 40) == 0 && move(&s, marks[m], strlen(marks[m]), out);
        uint32_t from = draw(256);
        for (unsigned tries = 0; tries < 10 + 256 && !moved && !done; tries++) {
            char c = late && tries < 8 ? ends[draw(sizeof ends - 1)]
                     : tries < 10      ? common[draw(sizeof common - 1)]
                                       : (char)((from + tries) & 255);
            moved = move(&s, &c, 1, out);
        }
        if (!moved && !done) {
            done = ig_grammar_accepts(s);
            break;
        }
    }
    ig_grammar_end(s);
    return done;
}

static json_t *tool_named(json_t *tools, ig_str name)
{
    size_t i;
    json_t *t;
    json_array_foreach(tools, i, t) if (ig_str_is(name, name_of(json_object_get(t, "function")))) return t;
    return NULL;
}

static bool fits_schema(json_t *tools, const said *s, unsigned i)
{
    json_t *t = tool_named(tools, str_of(&s->name[i]));
    ig_grammar *g = NULL;
    ig_grammar_state *state = NULL;
    ig_error err;
    if (!t) return false;
    char *schema = json_dumps(json_object_get(json_object_get(t, "function"), "parameters"), 0);
    bool ok = ig_grammar_from_schema(schema, strlen(schema), &g, &err) == IG_OK &&
              ig_grammar_start(g, IG_GRAMMAR_ANY, &state, &err) == IG_OK &&
              ig_grammar_feed(state, s->args[i].ptr, s->args[i].len, &err) == IG_OK && ig_grammar_accepts(state);
    ig_grammar_end(state);
    ig_grammar_free(g);
    free(schema);
    return ok;
}

/* What the grammar makes is read back as whole calls that fit their schemas. */
static void check_samples(const setting *g, json_t *tools, const char *name, size_t part)
{
    ig_reply_rule rule = {
        .family = g->family, .tools = g->tools, .source = g->source, .prompt = g->prompt, .choice = IG_CHOICE_NAMED};
    unsigned n = 0, right = 0, unfinished = 0, refused = 0;
    size_t i;
    json_t *t;
    char first[300] = "";
    json_array_foreach(tools, i, t)
    {
        ig_grammar *grammar;
        ig_error err = {0};
        /* Each tool with two of three families; slow programs make do with less. */
        if (!getenv("LONG") && (i % 3 == part % 3 || (tap_sanitized && i % 8 != part % 8))) continue;
        rule.name = ig_str_from(name_of(json_object_get(t, "function")));
        rule.parallel = i % 4 == 0;
        if (ig_reply_grammar(&rule, &grammar, &err) != IG_OK) {
            refused += strstr(err.text, rule.name.ptr) != NULL;
            if (!refused || show > 1) printf("# %s\n", err.text);
            continue;
        }
        for (int k = 0; k < (tap_sanitized ? 1 : 2); k++) {
            ig_buf text;
            said s;
            bool done = random_text(
                grammar, json_object_get(json_object_get(json_object_get(t, "function"), "parameters"), "required"),
                (ig_str){NULL, 0}, &text);
            bool ok = read_reply(g, (ig_str){text.ptr, text.len}, 0, &s) && !s.wrong;
            if (!done || s.n_calls >= 16) {
                unfinished++;
                if (show > 2) printf("# unfinished %.*s\n", text.len < 400 ? (int)text.len : 400, text.ptr);
            } else {
                ok = ok && s.n_calls && s.n_whole == s.n_calls && !s.end.unparsed && !s.end.truncated_call;
                for (unsigned c = 0; ok && c < s.n_calls && c < 16; c++)
                    ok = ig_str_eq(str_of(&s.name[c]), rule.name) && fits_schema(tools, &s, c);
                n++, right += ok;
                if (!ok && (show || !first[0])) {
                    (void)snprintf(first, sizeof first, "%.*s", (int)text.len, text.ptr);
                    printf("# %s: %.*s\n", name, (int)text.len, text.ptr);
                    print_said(&s);
                }
            }
            said_fini(&s);
            ig_buf_fini(&text);
        }
        ig_grammar_free(grammar);
    }
    tap_ok((n >= 20 || tap_sanitized) && right == n,
           "%s: %u of %u samples are whole calls that fit their schema (%u without end, %u tools "
           "refused)",
           name, right, n, unfinished, refused);
}

static ig_str part_of(const ig_buf *b, size_t n) { return (ig_str){b->ptr, n < b->len ? n : b->len}; }

/* With a free choice text and calls mix: what is read as a call is whole and fits its schema. */
static void check_auto(const setting *g, json_t *tools, const char *name)
{
    static const char *const starts[] = {"Hi ",
                                         "{\"name\": \"",
                                         "{\"id\": 1, \"name\": \"add\", ",
                                         "[add(",
                                         "[{\"name\": \"add\", ",
                                         "<think>",
                                         "{\"add\": {",
                                         "{\"title\": 1, ",
                                         "{\"name\": \"Bob\"}",
                                         "[1, 2]",
                                         "{\"type\": \"x\", \"name\": \"",
                                         "<function=add>",
                                         "</think>{\"name\": \"add"};
    ig_reply_rule rule = {.family = g->family, .tools = g->tools, .source = g->source, .prompt = g->prompt};
    ig_grammar *grammar, *required = NULL;
    ig_error err = {0};
    unsigned n = 0, right = 0, calls = 0, texts = 0;
    rule.parallel = true;
    if (ig_reply_grammar(&rule, &grammar, &err) != IG_OK) return (void)tap_ok(false, "%s: auto: %s", name, err.text);
    rule.choice = IG_CHOICE_REQUIRED;
    (void)ig_reply_grammar(&rule, &required, &err);
    for (unsigned k = 0; k < (tap_sanitized ? 12 : 40); k++) {
        ig_buf text, call;
        said s;
        (void)random_text(required, NULL, (ig_str){NULL, 0}, &call);
        ig_str first = k % 3 ? part_of(&call, 10 + draw(30)) : ig_str_from(starts[k / 3 % 13]);
        bool done = random_text(grammar, NULL, first, &text);
        bool ok = read_reply(g, (ig_str){text.ptr ? text.ptr : "", text.len}, 0, &s) && !s.wrong;
        if (done) {
            ok = ok && s.n_whole == s.n_calls && !s.end.truncated_call;
            for (unsigned c = 0; ok && c < s.n_calls && c < 16; c++) ok = fits_schema(tools, &s, c);
            n++, right += ok, calls += s.n_calls, texts += s.text.len > 0;
            if (!ok && (show || right + 1 == n)) {
                printf("# %s: %.*s\n", name, (int)text.len, text.ptr);
                print_said(&s);
            }
        }
        said_fini(&s);
        ig_buf_fini(&text);
        ig_buf_fini(&call);
    }
    ig_grammar_free(grammar);
    ig_grammar_free(required);
    tap_ok(right == n && ((calls && texts) || tap_sanitized || g->prompt.len),
           "%s, free to call or not: %u of %u replies hold valid calls alone (%u calls, %u texts)", name, right, n,
           calls, texts);
}

/* Other explanations everywhere. Names of properties stay. */
static void reword(json_t *s, bool schema)
{
    const char *key;
    json_t *v;
    void *next;
    size_t i;
    json_array_foreach(s, i, v) reword(v, schema);
    json_object_foreach_safe(s, next, key, v)
    {
        bool map = schema && (!strcmp(key, "properties") || !strcmp(key, "$defs"));
        if (schema && !strcmp(key, "description") && json_is_string(v))
            (void)json_object_set_new(s, key, json_string(draw(2) ? "" : "other \"words\" \\n ]}<tool_call> %s"));
        else
            reword(v, !map);
    }
    if (schema && json_is_object(s) && json_object_get(s, "type") && draw(2))
        (void)json_object_set_new(s, "title", json_string("a title"));
}

static bool grammar_text(const setting *g, json_t *tools, ig_buf *out)
{
    char *text = json_dumps(tools, 0);
    ig_reply_tools *t;
    ig_error err = {0};
    ig_reply_rule rule = {
        .family = g->family, .source = g->source, .prompt = g->prompt, .parallel = true, .choice = IG_CHOICE_AUTO};
    ig_buf gbnf, schemas;
    ig_buf_init(out, 1 << 24);
    ig_buf_init(&gbnf, 1 << 23);
    ig_buf_init(&schemas, 1 << 23);
    bool ok = ig_reply_tools_new(text, strlen(text), &t, &err) == IG_OK;
    rule.tools = t;
    ok = ok && ig_reply_grammar_source(&rule, &gbnf, &schemas, &err) == IG_OK;
    ok = ok && ig_buf_add(out, gbnf.ptr, gbnf.len) && ig_buf_add(out, schemas.ptr, schemas.len);
    if (!ok && show) printf("# %s: %s\n", ig_reply_family_name(g->family), err.text);
    if (!ok) ig_buf_fini(out);
    ig_reply_tools_free(t);
    ig_buf_fini(&gbnf);
    ig_buf_fini(&schemas);
    free(text);
    return ok;
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Small tools, so that random calls come to an end. */
static void check_free(void)
{
    static const char list[] =
        "[{\"name\": \"ping\", \"parameters\": {\"type\": \"object\", \"properties\": {}, \"additionalProperties\": "
        "false}}, {\"name\": \"add\", \"parameters\": {\"type\": \"object\", \"properties\": {\"a\": {\"type\": "
        "\"integer\", \"minimum\": 0, \"maximum\": 9}, \"b\": {\"enum\": [\"x\", \"yy\"]}}, \"required\": [\"a\"], "
        "\"additionalProperties\": false}}]";
    json_t *bare = json_loads(list, 0, NULL), *tools = json_array(), *t;
    size_t i;
    json_array_foreach(bare, i, t) json_array_append_new(tools, json_pack("{s:O}", "function", t));
    for (i = 0; i < N_FAMILIES; i++) {
        setting g = {.source = ig_str_from(families[i].source), .prompt = ig_str_from(families[i].prompt)};
        g.family = ig_reply_family_of(g.source);
        (void)ig_reply_tools_new(list, strlen(list), &g.tools, NULL);
        check_auto(&g, tools, families[i].family);
        ig_reply_tools_free(g.tools);
    }
    json_decref(tools);
    json_decref(bare);
}

static void check_tools(void)
{
    char path[1024];
    size_t n, same = 0, made = 0;
    double worst = 0;
    (void)snprintf(path, sizeof path, "%s/reply_tools.json", tap_data());
    char *text = tap_read(path, &n);
    json_t *tools = text ? json_loadb(text, n, JSON_ALLOW_NUL, NULL) : NULL;
    if (!tools) return (void)tap_ok(false, "the tools of %s are read", path);
    for (size_t i = 0; i < N_FAMILIES; i++) {
        setting g = {.source = ig_str_from(families[i].source), .prompt = ig_str_from(families[i].prompt)};
        g.family = ig_reply_family_of(g.source);
        if (strcmp(ig_reply_family_name(g.family), families[i].family) != 0)
            tap_ok(false, "%s is found by its markers, have %s", families[i].family, ig_reply_family_name(g.family));
        ig_error err = {0};
        (void)ig_reply_tools_new(text, n, &g.tools, &err);
        check_samples(&g, tools, families[i].family, i);
        ig_buf a, b;
        json_t *other = json_deep_copy(tools), *t;
        size_t k;
        json_array_foreach(other, k, t) reword(json_object_get(t, "function"), true);
        bool ok = grammar_text(&g, tools, &a);
        ok = grammar_text(&g, other, &b) && ok;
        if (ok) made++, same += same_text(&a, &b);
        ig_buf_fini(&a);
        ig_buf_fini(&b);
        ig_reply_rule rule = {
            .family = g.family, .tools = g.tools, .source = g.source, .prompt = g.prompt, .parallel = true};
        ig_grammar *grammar = NULL;
        double start = seconds();
        if (ig_reply_grammar(&rule, &grammar, &err) == IG_OK && seconds() - start > worst) worst = seconds() - start;
        if (show)
            printf("# %s: compiled in %.0f ms, %zu KiB %s\n", families[i].family, (seconds() - start) * 1e3,
                   grammar ? ig_grammar_bytes(grammar) / 1024 : 0, err.text);
        ig_grammar_free(grammar);
        ig_reply_tools_free(g.tools);
        json_decref(other);
    }
    check_free();
    tap_ok(made >= 25 && same == made,
           "other descriptions, the same grammar: %zu of %zu families (44 tools compile in at most %.0f ms)", same,
           made, worst * 1e3);
    json_decref(tools);
    free(text);
}

/* ------------------------------------------------------------------------------------------------ masks */

/* Along a reply, the mask of the grammar must say of every token what trying it says. */
static void check_masks(void)
{
    static const char *const words[] = {"<tool_call>",
                                        "<tool",
                                        "_call>",
                                        "\n",
                                        "{",
                                        "{\"",
                                        "name",
                                        "\":",
                                        "\": \"",
                                        " ",
                                        "ping",
                                        "\", \"",
                                        "arguments",
                                        "\": {",
                                        "}}",
                                        "}",
                                        "}}\n</tool_call>",
                                        "\n</",
                                        "tool_call>",
                                        "a",
                                        "add",
                                        "b",
                                        "\"a\":",
                                        "\"a\": 1",
                                        "1",
                                        "12,",
                                        "1}}",
                                        ", ",
                                        "\"b\": ",
                                        "-",
                                        "0.5",
                                        "e",
                                        "true",
                                        "\"",
                                        "[",
                                        "]",
                                        "<function=",
                                        "add>",
                                        ">\n",
                                        "<parameter=a",
                                        ">\n1\n</",
                                        "parameter",
                                        "\n</parameter>\n",
                                        "</function>",
                                        "[TOOL_CALLS]",
                                        "[ARGS]",
                                        "[ARGS]{\"",
                                        "hello",
                                        "<",
                                        "</think>",
                                        "\xC3",
                                        "\xA9",
                                        "get_weather",
                                        "(",
                                        ")",
                                        "=",
                                        "'",
                                        "location",
                                        "location=\"",
                                        "<|channel|>",
                                        "commentary",
                                        " to=",
                                        "functions.",
                                        "final",
                                        "<|message|>",
                                        "json"};
    enum { N = sizeof words / sizeof *words };
    ig_str tokens[N];
    ig_token_index *index;
    ig_error err = {0};
    size_t n, steps = 0, wrong = 0;
    char path[1024];
    for (size_t i = 0; i < N; i++) tokens[i] = ig_str_from(words[i]);
    (void)snprintf(path, sizeof path, "%s/reply_tools.json", tap_data());
    char *text = tap_read(path, &n);
    ig_reply_tools *tools;
    if (!text || ig_reply_tools_new(text, n, &tools, &err) != IG_OK ||
        ig_token_index_new(tokens, NULL, NULL, N, &index, &err) != IG_OK)
        return (void)tap_ok(false, "tools for masks: %s", err.text);
    for (size_t i = 0; i < N_FAMILIES; i++) {
        ig_reply_rule rule = {.tools = tools, .parallel = true, .choice = i % 3 ? IG_CHOICE_NAMED : IG_CHOICE_AUTO};
        rule.name = i % 3 == 1 ? IG_STR("add") : IG_STR("get_weather");
        rule.source = ig_str_from(families[i].source), rule.prompt = ig_str_from(families[i].prompt);
        rule.family = ig_reply_family_of(rule.source);
        ig_grammar *g;
        ig_grammar_state *s;
        ig_masker *m;
        if (ig_reply_grammar(&rule, &g, &err) != IG_OK) continue;
        if (ig_grammar_start(g, IG_GRAMMAR_CANONICAL, &s, &err) != IG_OK ||
            ig_masker_new(g, index, 0, &m, &err) != IG_OK)
            abort();
        for (size_t k = 0; k < 60; k++) {
            uint64_t mask[(N + 63) / 64];
            size_t may[N], n_may = 0;
            if (ig_masker_mask(m, s, mask, &err) != IG_OK) wrong++;
            for (size_t w = 0; w < N; w++) {
                ig_buf b;
                ig_grammar_state *copy;
                ig_buf_init(&b, 1000);
                if (ig_grammar_copy(s, &copy, &err) != IG_OK) abort();
                bool fits = move(&copy, words[w], strlen(words[w]), &b), says = mask[w / 64] >> (w % 64) & 1;
                if (fits) may[n_may++] = w;
                if (fits != says && wrong++ < 5)
                    printf("# %s: after %zu tokens \"%s\" fits %d, mask %d\n", families[i].family, k, words[w], fits,
                           says);
                ig_grammar_end(copy);
                ig_buf_fini(&b);
            }
            steps++;
            if (!n_may) break;
            size_t w = may[draw((uint32_t)n_may)];
            if (ig_grammar_feed(s, words[w], strlen(words[w]), &err) != IG_OK) abort();
        }
        ig_masker_free(m);
        ig_grammar_end(s);
        ig_grammar_free(g);
    }
    tap_ok(steps > 200 && !wrong, "masks of %zu steps say what trying each token says, %zu wrong", steps, wrong);
    ig_token_index_free(index);
    ig_reply_tools_free(tools);
    free(text);
}

/* ------------------------------------------------------------------------------------------------ odd replies */

static const char some_tools[] = "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": "
                                 "\"object\", \"properties\": {\"zip\": "
                                 "{\"type\": \"string\"}, \"n\": {\"type\": \"integer\"}, \"u\": {\"type\": "
                                 "[\"string\", \"null\"]}, \"l\": {\"type\": \"array\"}}}}}, "
                                 "{\"name\": \"g\"}]";

#define TWO_CALLS                                                                                                      \
    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>\n<tool_call>\n"                           \
    "{\"name\": \"g\", \"arguments\": {}}\n</tool_call>"
#define TWO_SEEN "f({\"n\": 1})|g({})"

static const struct {
    const char *what, *source, *prompt, *text;               /* of the reply */
    const char *said, *unparsed, *reasoning, *calls, *flags; /* calls: name(args) joined by a bar; flags: u, t */
} odd[] = {
    {"plain text", "<tool_call>", "", "Hello <b>.\n", "Hello <b>.\n", "", "", "", ""},
    {"nothing", "<tool_call>", "", "", "", "", "", "", ""},
    {"a string stays a string", "<tool_call> <function= <parameter=", "",
     "<tool_call>\n<function=f>\n<parameter=zip>\n01234\n</parameter>\n<parameter=n>\n7\n</parameter>\n</function>\n</"
     "tool_call>",
     "", "", "", "f({\"zip\": \"01234\", \"n\": 7})", ""},
    {"lines and quotes in a value", "<tool_call> <function= <parameter=", "",
     "<function=f>\n<parameter=zip>\na \"b\"\n\\c\n\n</parameter>\n</function>", "", "", "",
     "f({\"zip\": \"a \\\"b\\\"\\n\\\\c\\n\"})", ""},
    {"null of a string or null", "<tool_call> <arg_key> <arg_value>", "",
     "<tool_call>f<arg_key>u</arg_key><arg_value>null</arg_value></tool_call>", "", "", "", "f({\"u\": null})", ""},
    {"a brace too many", "<tool_call>", "", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}}\n</tool_call>",
     "", "", "", "f({\"n\": 1})", ""},
    {"a brace too few", "<tool_call>", "", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}\n</tool_call>", "",
     "", "", "f({\"n\": 1})", ""},
    {"a new line inside a string", "<tool_call>", "",
     "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"zip\": \"a\nb\"}}\n</tool_call>", "", "", "",
     "f({\"zip\": \"a\\nb\"})", ""},
    {"words instead of a call", "<tool_call>", "", "Use <tool_call> like this.", "Use", " <tool_call> like this.", "",
     "", "u"},
    {"broken before the name", "<tool_call>", "", "<tool_call>\n{\"nam: f}\n</tool_call> Bye", "Bye",
     "<tool_call>\n{\"nam: f}", "", "", "u"},
    {"broken arguments", "<tool_call>", "",
     "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1,, }}\n</tool_call>", "", ", }}", "", "f({\"n\": 1,)",
     "u"},
    {"cut in the arguments", "<tool_call>", "", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1", "", "", "",
     "f({\"n\": 1)", "t"},
    {"cut in the marker", "<tool_call>", "", "Hi <tool_c", "Hi <tool_c", "", "", "", ""},
    {"cut behind the marker", "<tool_call>", "", "Hi <tool_call>\n", "Hi", "", "", "", "t"},
    {"cut before the first name", "<tool_call>", "", "<tool_call>\n{\"na", "", "<tool_call>\n{\"na", "", "", "tu"},
    {"cut behind the name", "<tool_call>", "", "<tool_call>\n{\"name\": \"g\"", "", "", "", "g()", "t"},
    {"a third call, cut behind its marker", "<tool_call>", "", TWO_CALLS "\n<tool_call>", "", "", "", TWO_SEEN, "t"},
    {"a third call, cut in its marker", "<tool_call>", "", TWO_CALLS "\n<tool_ca", "", "", "", TWO_SEEN, ""},
    {"a third call, cut in its name", "<tool_call>", "", TWO_CALLS "\n<tool_call>\n{\"name\": \"lo", "", "", "",
     TWO_SEEN, "t"},
    {"a third call, cut behind its name", "<tool_call>", "", TWO_CALLS "\n<tool_call>\n{\"name\": \"g\", \"arg", "", "",
     "", TWO_SEEN "|g()", "t"},
    {"a third call in Mistral's way, cut", "[TOOL_CALLS]", "",
     "[TOOL_CALLS]f[ARGS]{\"n\": 1}[TOOL_CALLS]g[ARGS]{}[TOOL_CALLS]lo", "", "", "", TWO_SEEN, "t"},
    {"bare JSON of a tool", "", "", "{\"name\": \"g\", \"parameters\": {}}", "", "", "", "g({})", ""},
    {"bare JSON of no tool", "", "", "{\"name\": \"h\", \"parameters\": {}}", "{\"name\": \"h\", \"parameters\": {}}",
     "", "", "", ""},
    {"an answer in JSON", "<|start_header_id|> \"parameters\": ", "", "{\"answer\": [1, 2]}", "{\"answer\": [1, 2]}",
     "", "", "", ""},
    {"bare Python", "<|python_start|> <|header_start|>", "", "[f(zip='1', n=2), g()]", "", "", "",
     "f({\"zip\": \"1\", \"n\": 2})|g({})", ""},
    {"a list that is no call", "<|python_start|> <|header_start|>", "", "[1, 2]", "[1, 2]", "", "", "", ""},
    {"calls in Llama's way, one behind another", "<|python_start|> <|header_start|>", "",
     "<|python_start|><|python_end|>{\"name\": \"f\", \"parameters\": {}}{\"name\": \"g\", \"parameters\": {}}", "", "",
     "", "f({})|g({})", ""},
    {"reasoning that the prompt began", "<think></think>", "<think>\n", "Hm.\n</think>\n\nYes", "Yes", "", "Hm.", "",
     ""},
    {"a marker inside reasoning", "<tool_call> </think>", "<think>", "I could <tool_call>.</think>No", "No", "",
     "I could <tool_call>.", "", ""},
    {"only the end of reasoning", "</think>", "", "</think>Yes", "Yes", "", "", "", ""},
    {"talk about tags", "</think>", "", "The tag <think> begins it.", "The tag <think> begins it.", "", "", "", ""},
    {"harmony without a channel", "<|channel|> <|message|> <|call|>", "<|start|>assistant", "<|message|>Hi<|end|>",
     "Hi", "", "", "", ""},
    {"harmony's recipient in the channel", "<|channel|> <|message|> <|call|>", "<|start|>assistant",
     "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary to=functions.f "
     "<|constrain|>json<|message|>{\"n\":1}<|call|>",
     "", "", "Hm", "f({\"n\":1})", ""},
    {"harmony's recipient in the role", "<|channel|> <|message|> <|call|>", "<|start|>assistant",
     " to=functions.f<|channel|>commentary json<|message|>{}", "", "", "", "f({})", ""},
    {"no header at all", "<|channel|> <|message|> <|call|>", "<|start|>assistant", "Hello\nthere", "Hello\nthere", "",
     "", "", ""},
    {"bytes that are no UTF-8", "", "",
     "a\xFF"
     "b\xC3",
     "a\xEF\xBF\xBD"
     "b\xEF\xBF\xBD",
     "", "", "", ""},
    {"coder's tags in Hermes' family", "<tool_call>", "",
     "<tool_call>\n<function=f>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>", "", "", "",
     "f({\"n\": 1})", ""},
    {"Mistral's two ways", "[TOOL_CALLS]", "", "[TOOL_CALLS]f[ARGS]{\"n\": 1}[TOOL_CALLS]g{}", "", "", "",
     "f({\"n\": 1})|g({})", ""},
    {"Python's literals", "<|tool_call_start|> [", "",
     "<|tool_call_start|>[f(zip=\"\"\"a\"b\"\"\", l=[True, None, (1, -2.5), {'k': 'v'}],)]<|tool_call_end|>", "", "",
     "", "f({\"zip\": \"a\\\"b\", \"l\": [true, null, [1, -2.5], {\"k\": \"v\"}]})", ""},
    {"a call in reasoning that never ends", "<|tool_calls_section_begin|> <|tool_call_argument_begin|> </think>",
     "<think>",
     "Hm<|tool_calls_section_begin|><|tool_call_begin|>functions.f:3<|tool_call_argument_begin|>{}<|tool_call_end|><|"
     "tool_calls_section_end|>",
     "", "", "Hm", "f({})", ""},
};

/* A limit ends the reply: what has begun like a call is no text. */
static void check_cut_off(void)
{
    static const struct {
        const char *text, *said;
        bool call;
    } rows[] = {{"Hi <tool_c", "Hi ", true},   {"Hi <t", "Hi <t", false},
                {"if (a <", "if (a <", false}, {"<tool_call>\n{\"name\": \"wea", "", true},
                {"<tool_call>", "", true},     {"a <tool_box", "a <tool_box", false},
                {"{\"na", "{\"na", false},     {"Use <tool_call>: a", "Use <tool_call>: a", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_reply_options o = {.family = ig_reply_family_of(IG_STR("<tool_call>")), .source = IG_STR("<tool_call>")};
        said s = {0};
        ig_reply *r = NULL;
        ig_error err;
        ig_buf *const bufs[] = {&s.text, &s.reasoning, &s.unparsed};
        for (size_t k = 0; k < 3; k++) ig_buf_init(bufs[k], 1 << 20);
        bool ok = ig_reply_open(&o, &r, &err) == IG_OK &&
                  ig_reply_push(r, rows[i].text, strlen(rows[i].text), take, &s, &err) == IG_OK;
        if (ok) ig_reply_cut_off(r);
        ok = ok && ig_reply_finish(r, take, &s, &s.end, &err) == IG_OK;
        ig_buf all;
        ig_buf_init(&all, 1 << 20);
        (void)(ig_buf_add(&all, s.text.ptr, s.text.len) && ig_buf_add(&all, s.unparsed.ptr, s.unparsed.len));
        tap_ok(ok && ig_str_is(str_of(&all), rows[i].said) && s.end.truncated_call == rows[i].call && !s.n_calls,
               "cut off: %s (%.*s)", rows[i].text, (int)all.len, all.ptr ? all.ptr : "");
        ig_reply_close(r);
        ig_buf_fini(&all);
        said_fini(&s);
    }
    static const char answer[] = "{\"a\": \"<tool_call>\\n{\\\"name\\\": 1}</tool_call><tool_call>\\n{";
    said s;
    setting g = {.source = IG_STR("<tool_call>"), .no_calls = true};
    g.family = ig_reply_family_of(g.source);
    tap_ok(read_reply(&g, ig_str_from(answer), 0, &s) && ig_str_is(str_of(&s.text), answer) && !s.n_calls,
           "where no call can be meant all is text");
    said_fini(&s);
}

static void check_odd(void)
{
    ig_reply_tools *tools = NULL;
    ig_error err = {0};
    if (ig_reply_tools_new(some_tools, sizeof some_tools - 1, &tools, &err) != IG_OK)
        return (void)tap_ok(false, "tools: %s", err.text);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        setting g = {.source = ig_str_from(odd[i].source), .prompt = ig_str_from(odd[i].prompt), .tools = tools};
        g.family = ig_reply_family_of(g.source);
        said s, b;
        ig_buf calls;
        ig_buf_init(&calls, 1 << 20);
        ig_str text = ig_str_from(odd[i].text);
        bool ok = read_reply(&g, text, 0, &s) && !s.wrong;
        ok = read_reply(&g, text, SIZE_MAX, &b) && same_said(&s, &b) && ok;
        for (unsigned k = 0; k < s.n_calls && k < 16; k++)
            (void)ig_buf_printf(&calls, "%s%.*s(%.*s)", k ? "|" : "", (int)s.name[k].len, s.name[k].ptr,
                                (int)s.args[k].len, s.args[k].ptr);
        ok = ok && ig_str_is(str_of(&s.text), odd[i].said) && ig_str_is(str_of(&s.reasoning), odd[i].reasoning) &&
             ig_str_is(str_of(&calls), odd[i].calls) && s.end.truncated_call == (strchr(odd[i].flags, 't') != NULL) &&
             s.end.unparsed == (strchr(odd[i].flags, 'u') != NULL);
        ok = ok && (strcmp(odd[i].unparsed, "") != 0 ? has(str_of(&s.unparsed), odd[i].unparsed) : !s.unparsed.len);
        if (!tap_ok(ok, "%s", odd[i].what)) print_said(&s);
        said_fini(&s);
        said_fini(&b);
        ig_buf_fini(&calls);
    }
    ig_reply_tools_free(tools);
}

/* Long and deep replies end in time and memory; allocations that fail are errors. */
static void check_hostile(void)
{
    static const struct {
        const char *what, *source, *head, *again;
        size_t n;
    } rows[] = {
        {"1 MiB of <", "<tool_call>", "", "<", 1 << 20},
        {"half markers", "<tool_call>", "", "<tool_call", 100000},
        {"100,000 lists", "<tool_call>", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ", "[", 100000},
        {"100,000 dicts in Python", "<|tool_call_start|> [", "<|tool_call_start|>[f(a=", "{'a':", 100000},
        {"100,000 markers", "<tool_call>", "", "<tool_call>", 100000},
        {"100,000 calls", "<tool_call>", "", "<tool_call>{\"name\": \"f\"}</tool_call>", 100000},
        {"a name of 1 MiB", "[TOOL_CALLS] [ARGS]", "[TOOL_CALLS]", "f", 1 << 20},
        {"a key of 1 MiB", "<tool_call> <function= <parameter=", "<function=f>\n<parameter=", "k", 1 << 20},
        {"a header of 1 MiB", "<|channel|> <|message|> <|call|>", "<|start|>", "h", 1 << 20},
        {"white space", "<tool_call>", "", "\n ", 1 << 19},
        {"100,000 tags", "]<]minimax[>[ invoke name", "]<]minimax[>[<tool_call>]<]minimax[>[<invoke name=\"f\">",
         "]<]minimax[>[<a>", 100000},
        {"a value of 1 MiB", "<tool_call> <arg_key> <arg_value>", "<tool_call>f<arg_key>n</arg_key><arg_value>", "'",
         1 << 20},
        {"thinking in thinking", "</think>", "<think>", "<think></think>", 100000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        setting g = {.source = ig_str_from(rows[i].source)};
        g.family = ig_reply_family_of(g.source);
        ig_buf text;
        said s;
        double start = seconds();
        ig_buf_init(&text, 1 << 26);
        (void)ig_buf_add(&text, rows[i].head, strlen(rows[i].head));
        for (size_t k = 0; k < rows[i].n; k++) (void)ig_buf_add(&text, rows[i].again, strlen(rows[i].again));
        (void)read_reply(&g, str_of(&text), 0, &s);
        double took = seconds() - start;
        tap_ok(took < (tap_sanitized ? 30 : 3), "%s: %.2f s", rows[i].what, took);
        said_fini(&s);
        ig_buf_fini(&text);
    }
    bool done = false, wrong = false;
    size_t failed = 0;
    for (uint64_t k = 1; !done && k < 3000; k++) {
        ig_reply_tools *tools = NULL;
        ig_reply *r = NULL;
        ig_grammar *grammar = NULL;
        ig_error err = {0};
        ig_reply_end end;
        static const char text[] =
            "<think>a</think>b\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>\n<tool_call>";
        ig_fault_set(IG_FAULT_ALLOC, k, ENOMEM, true);
        ig_status st = ig_reply_tools_new(some_tools, sizeof some_tools - 1, &tools, &err);
        ig_reply_options o = {.tools = tools, .source = IG_STR("<tool_call>")};
        ig_reply_rule rule = {.tools = tools,
                              .family = ig_reply_family_of(IG_STR("<tool_call> <function= <parameter="))};
        if (st == IG_OK) st = ig_reply_open(&o, &r, &err);
        if (st == IG_OK) st = ig_reply_push(r, text, sizeof text - 1, NULL, NULL, &err);
        if (st == IG_OK) st = ig_reply_finish(r, NULL, NULL, &end, &err);
        if (st == IG_OK) st = ig_reply_grammar(&rule, &grammar, &err);
        done = ig_fault_calls(IG_FAULT_ALLOC) < k;
        ig_fault_reset();
        wrong = wrong || (st != IG_OK && !err.text[0]) || (st == IG_OK) != done;
        failed += st != IG_OK;
        ig_grammar_free(grammar);
        ig_reply_close(r);
        ig_reply_tools_free(tools);
    }
    tap_ok(done && failed > 10 && !wrong, "memory that runs out is an error at each of %zu places", failed);
}

/* Requests that cannot be held to their tools say why. */
static void check_refusals(void)
{
    static const struct {
        const char *source, *tools, *name, *says;
    } rows[] = {
        {"<tool_call>", "[{\"name\": \"f\"}]", "g", "\"g\", which is not among the tools"},
        {"<tool_call>", "[]", NULL, "there are no tools"},
        {"<tool_call>", "[{\"name\": \"f\", \"parameters\": {\"properties\": {\"a\": {\"uniqueItems\": true}}}}]", NULL,
         "tool \"f\": #/properties/a/uniqueItems"},
        {"<tool_call> <function= <parameter=", "[{\"name\": \"f\", \"parameters\": {\"minProperties\": 1}}]", NULL,
         "minProperties"},
        {"<tool_call>", "[{\"name\": \"f\"}, {\"name\": \"f\"}]", NULL, "two tools are named \"f\""},
        {"<tool_call>", "[{\"nome\": \"f\"}]", NULL, "tool 1 has no name"},
        {"<tool_call>", "{", NULL, "no JSON"},
        {"<tool_call>", "[{\"name\": \"f\", \"parameters\": []}]", NULL, "no JSON Schema"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_reply_tools *tools = NULL;
        ig_grammar *g = NULL;
        ig_error err = {0};
        ig_status st = ig_reply_tools_new(rows[i].tools, strlen(rows[i].tools), &tools, &err);
        ig_reply_rule rule = {
            .tools = tools, .family = ig_reply_family_of(ig_str_from(rows[i].source)), .choice = IG_CHOICE_REQUIRED};
        if (rows[i].name) rule.choice = IG_CHOICE_NAMED, rule.name = ig_str_from(rows[i].name);
        if (st == IG_OK) st = ig_reply_grammar(&rule, &g, &err);
        tap_ok(st != IG_OK && strstr(err.text, rows[i].says), "refused: %s", err.text);
        ig_grammar_free(g);
        ig_reply_tools_free(tools);
    }
}

int main(void)
{
    const char *say = getenv("SHOW");
    show = say ? atoi(say) : 0;
    (void)snprintf(root, sizeof root, "%s/templates", tap_golden());
    check_odd();
    check_cut_off();
    check_refusals();
    check_hostile();
    check_masks();
    check_tools();
    check_templates();
    return tap_done();
}
