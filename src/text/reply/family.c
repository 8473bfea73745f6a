/* The ways in which models write calls and reasoning: one row each, found by the markers in a template's text. The
 * first row whose markers are all there is taken, so that rows with more particular markers come first. */
#include "priv.h"

#define TOOL_CALL      "<tool_call>\n", .call_end = "\n</tool_call>", .between = "\n"
#define JSON_CALL      .head = "{\"name\": ", .middle = ", \"arguments\": ", .tail = "}"
#define FUNCTION_TAGS  .name_end = ">", .key = "\n<parameter=", .key_end = ">\n", .value_end = "\n</parameter>"
#define INVOKE_TAGS    .name_end = "\">", .key_end = "\">"
#define DS             "\xEF\xBD\x9C" /* the bar of DeepSeek's tokens */
#define DS_            "\xE2\x96\x81" /* and their blank */
#define DS_CALLS       "<" DS "tool" DS_ "calls" DS_ "begin" DS ">"
#define DS_CALLS_END   "<" DS "tool" DS_ "calls" DS_ "end" DS ">"
#define DS_CALL        "<" DS "tool" DS_ "call" DS_ "begin" DS ">"
#define DS_CALL_END    "<" DS "tool" DS_ "call" DS_ "end" DS ">"
#define DS_SEP         "<" DS "tool" DS_ "sep" DS ">"
#define DSML(name)     "<" DS "DSML" DS name
#define DSML_END(name) "</" DS "DSML" DS name
#define MINIMAX        "]<]minimax[>["

const ig_reply_family rp_families[] = {
    {.name = "harmony",
     .syntax = RP_HARMONY,
     .flags = RP_HEADERS,
     .needs = {"<|channel|>", "<|message|>", "<|call|>"},
     .call = "<|start|>assistant to=functions.",
     .name_end = "<|channel|>commentary json<|message|>",
     .call_end = "<|call|>"},
    {.name = "muse",
     .syntax = RP_TAGS,
     .flags = RP_HEADERS,
     .needs = {"<atem:function_calls>", "<|message|>", "<|start|>"},
     .section = "<atem:function_calls>\n",
     .section_end = "</atem:function_calls>",
     .call = "<atem:invoke name=\"",
     .key = "\n<atem:parameter name=\"",
     .value_end = "</atem:parameter>",
     .call_end = "\n</atem:invoke>\n",
     INVOKE_TAGS},
    {.name = "dsml",
     .syntax = RP_TAGS,
     .flags = RP_TYPED,
     .needs = {"DSML", "function_calls"},
     .section = DSML("function_calls>\n"),
     .section_end = DSML_END("function_calls>"),
     .call = DSML("invoke name=\""),
     .key = "\n" DSML("parameter name=\""),
     .value_end = DSML_END("parameter>"),
     .call_end = "\n" DSML_END("invoke>\n"),
     INVOKE_TAGS},
    {.name = "dsml4",
     .syntax = RP_TAGS,
     .flags = RP_TYPED,
     .needs = {"DSML"},
     .section = DSML("tool_calls>\n"),
     .section_end = DSML_END("tool_calls>"),
     .call = DSML("invoke name=\""),
     .key = "\n" DSML("parameter name=\""),
     .value_end = DSML_END("parameter>"),
     .call_end = "\n" DSML_END("invoke>\n"),
     INVOKE_TAGS},
    {.name = "minimax3",
     .syntax = RP_NESTED,
     .needs = {MINIMAX, "invoke name"},
     .section = MINIMAX "<tool_call>\n",
     .section_end = MINIMAX "</tool_call>",
     .call = MINIMAX "<invoke name=\"",
     .name_end = "\">",
     .key = MINIMAX,
     .call_end = MINIMAX "</invoke>\n"},
    {.name = "minimax2",
     .syntax = RP_TAGS,
     .needs = {"<minimax:tool_call>", "<invoke name"},
     .section = "<minimax:tool_call>\n",
     .section_end = "</minimax:tool_call>",
     .call = "<invoke name=\"",
     .key = "\n<parameter name=\"",
     .value_end = "</parameter>",
     .call_end = "\n</invoke>\n",
     INVOKE_TAGS},
    {.name = "seed",
     .syntax = RP_TAGS,
     .needs = {"<seed:tool_call>"},
     .section = "<seed:tool_call>\n",
     .section_end = "\n</seed:tool_call>",
     .call = "<function=",
     .between = "\n</seed:tool_call>\n<seed:tool_call>\n",
     .name_end = ">",
     .key = "\n<parameter=",
     .key_end = ">",
     .value_end = "</parameter>",
     .call_end = "\n</function>"},
    {.name = "kimi",
     .syntax = RP_NAMED,
     .flags = RP_ID_IS_NAME,
     .needs = {"<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"},
     .section = "<|tool_calls_section_begin|>",
     .section_end = "<|tool_calls_section_end|>",
     .call = "<|tool_call_begin|>",
     .name_end = "<|tool_call_argument_begin|>",
     .call_end = "<|tool_call_end|>"},
    {.name = "deepseek3",
     .syntax = RP_NAMED,
     .needs = {DS_CALLS, DS_SEP, "```json"},
     .section = DS_CALLS,
     .section_end = DS_CALLS_END,
     .call = DS_CALL "function" DS_SEP,
     .name_end = "\n```json\n",
     .call_end = "\n```" DS_CALL_END,
     .between = "\n"},
    {.name = "deepseek31",
     .syntax = RP_NAMED,
     .needs = {DS_CALLS, DS_SEP},
     .section = DS_CALLS,
     .section_end = DS_CALLS_END,
     .call = DS_CALL,
     .name_end = DS_SEP,
     .call_end = DS_CALL_END},
    {.name = "gemma4",
     .syntax = RP_LOOSE,
     .needs = {"<|tool_call>call:", "<tool_call|>"},
     .call = "<|tool_call>call:",
     .call_end = "<tool_call|>"},
    {.name = "minicpm",
     .syntax = RP_PYTHON,
     .key_gap = ",",
     .needs = {"<|tool_call_start|>", "```python"},
     .section = "<|tool_call_start|>\n```python\n",
     .section_end = "\n```\n<|tool_call_end|>",
     .between = "\n"},
    {.name = "lfm2",
     .syntax = RP_PYTHON,
     .key_gap = ", ",
     .flags = RP_ARRAY,
     .needs = {"<|tool_call_start|>", "["},
     .section = "<|tool_call_start|>[",
     .section_end = "]<|tool_call_end|>",
     .between = ", "},
    {.name = "lfm2_list",
     .syntax = RP_PYTHON,
     .key_gap = ", ",
     .flags = RP_ARRAY,
     .needs = {"<|tool_list_start|>"},
     .section = "<|tool_call_start|>[",
     .section_end = "]<|tool_call_end|>",
     .between = ", "},
    {.name = "lfm25",
     .syntax = RP_PYTHON,
     .key_gap = ", ",
     .flags = RP_ARRAY,
     .needs = {"List of tools: [", "keep_past_thinking"},
     .section = "<|tool_call_start|>[",
     .section_end = "]<|tool_call_end|>",
     .between = ", "},
    {.name = "functionary2",
     .syntax = RP_NAMED,
     .needs = {"<|recipient|>", "<|content|>"},
     .call = "\n<|from|>assistant\n<|recipient|>",
     .name_end = "\n<|content|>",
     .text_name = "all",
     .drop = {"<|from|>assistant", "<|stop|>"}},
    {.name = "functionary3",
     .syntax = RP_NAMED,
     .needs = {">>>", "recipient"},
     .call = ">>>",
     .name_end = "\n",
     .text_name = "all"},
    {.name = "mistral",
     .syntax = RP_NAMED,
     .flags = RP_IDS | RP_IDS_9,
     .needs = {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"},
     .call = "[TOOL_CALLS]",
     .id_mark = "[CALL_ID]",
     .name_end = "[ARGS]"},
    {.name = "mistral_args",
     .syntax = RP_NAMED,
     .flags = RP_IDS | RP_IDS_9,
     .needs = {"[TOOL_CALLS]", "[ARGS]"},
     .call = "[TOOL_CALLS]",
     .name_end = "[ARGS]"},
    {.name = "mistral_list_id",
     .syntax = RP_JSON,
     .flags = RP_IDS | RP_IDS_9 | RP_ARRAY | RP_ID_FIRST,
     .needs = {"[TOOL_CALLS] [", "dict(id=call"},
     .name_end = "[ARGS]",
     .section = "[TOOL_CALLS] [",
     .section_end = "]",
     .between = ", ",
     JSON_CALL},
    {.name = "mistral_list_space",
     .syntax = RP_JSON,
     .flags = RP_IDS | RP_IDS_9 | RP_HOLD | RP_ARRAY,
     .needs = {"[TOOL_CALLS] ["},
     .name_end = "[ARGS]",
     .section = "[TOOL_CALLS] [",
     .section_end = "]",
     .between = ", ",
     JSON_CALL},
    {.name = "mistral_list",
     .syntax = RP_JSON,
     .flags = RP_IDS | RP_IDS_9 | RP_HOLD | RP_ARRAY,
     .needs = {"[TOOL_CALLS]"},
     .name_end = "[ARGS]",
     .section = "[TOOL_CALLS][",
     .section_end = "]",
     .between = ", ",
     JSON_CALL},
    {.name = "command",
     .syntax = RP_JSON,
     .flags = RP_ARRAY,
     .needs = {"<|START_ACTION|>"},
     .section = "<|START_ACTION|>[\n",
     .section_end = "\n]<|END_ACTION|>",
     .call = "    ",
     .between = ",\n",
     .head = "{\"tool_call_id\": ",
     .middle = ", \"parameters\": ",
     .tail = "}",
     .drop = {"<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|END_TEXT|>"}},
    {.name = "command_r",
     .syntax = RP_JSON,
     .flags = RP_ARRAY,
     .needs = {"Action:", "```json", "tool_name"},
     .section = "Action:\n```json\n[\n",
     .section_end = "\n]```",
     .call = "    ",
     .between = ",\n",
     .head = "{\n        \"tool_name\": ",
     .middle = ",\n        \"parameters\": ",
     .tail = "\n    }"},
    {.name = "nemotron2",
     .syntax = RP_JSON,
     .flags = RP_ARRAY,
     .needs = {"<TOOLCALL>"},
     .section = "<TOOLCALL>[",
     .section_end = "]</TOOLCALL>",
     .between = ", ",
     JSON_CALL},
    {.name = "apertus",
     .syntax = RP_JSON,
     .flags = RP_ARRAY,
     .needs = {"<|tools_prefix|>"},
     .section = "<|tools_prefix|>[",
     .section_end = "]<|tools_suffix|>",
     .between = ", ",
     .head = "{",
     .middle = ": ",
     .tail = "}"},
    {.name = "minimax1",
     .syntax = RP_JSON,
     .needs = {"<tool_calls>\\n", "end_of_sentence"},
     .section = "<tool_calls>\n",
     .section_end = "\n</tool_calls>",
     .between = "\n",
     JSON_CALL},
    {.name = "apriel",
     .syntax = RP_JSON,
     .flags = RP_ARRAY,
     .needs = {"<tool_calls>["},
     .section = "<tool_calls>[",
     .section_end = "]</tool_calls>",
     .between = ", ",
     JSON_CALL},
    {.name = "phi4",
     .syntax = RP_JSON,
     .flags = RP_ARRAY,
     .needs = {"<|tool_call|>", "<|/tool_call|>"},
     .section = "<|tool_call|>[",
     .section_end = "]<|/tool_call|>",
     .between = ", ",
     JSON_CALL},
    {.name = "granite3",
     .syntax = RP_JSON,
     .flags = RP_ARRAY | RP_BARE,
     .needs = {"<|tool_call|>"},
     .section = "<|tool_call|>[",
     .section_end = "]",
     .between = ", ",
     .drop = {"<response>", "</response>"},
     JSON_CALL},
    {.name = "gigachat",
     .syntax = RP_JSON,
     .needs = {"function call<|role_sep|>"},
     .call = "<|message_sep|>\n\nfunction call<|role_sep|>\n",
     .drop = {"<|message_sep|>"},
     JSON_CALL},
    {.name = "gigachat3",
     .syntax = RP_JSON,
     .needs = {"<|function_call|>"},
     .call = "<|function_call|>",
     .drop = {"<|message_sep|>"},
     JSON_CALL},
    {.name = "gigachat_names",
     .syntax = RP_JSON,
     .needs = {"<|role_sep|>", "function call"},
     .call = "<|message_sep|>\n\nfunction call<|role_sep|>\n",
     .drop = {"<|message_sep|>"},
     JSON_CALL},
    {.name = "functools",
     .syntax = RP_JSON,
     .flags = RP_ARRAY | RP_STRING_ARGS,
     .needs = {"functools["},
     .section = "functools[",
     .section_end = "]",
     .between = ", ",
     JSON_CALL},
    {.name = "functioncall",
     .syntax = RP_JSON,
     .needs = {"<functioncall>"},
     .call = "<functioncall>",
     .drop = {"<plain>"},
     JSON_CALL},
    {.name = "mcp",
     .syntax = RP_NAMED,
     .needs = {"<use_mcp_tool>", "<server_name>", "<tool_name>"},
     .call = "<tool_name>",
     .name_end = "</tool_name>\n<arguments>\n",
     .call_end = "\n</arguments>",
     .drop = {"<use_mcp_tool>", "</use_mcp_tool>"}},
    {.name = "functionary31",
     .syntax = RP_NAMED,
     .needs = {"<function=", "</function>", "custom_tools"},
     .call = "<function=",
     .name_end = ">",
     .call_end = "</function>"},
    {.name = "functionary_tags",
     .syntax = RP_NAMED,
     .needs = {"<function=", "<|python_tag|>"},
     .call = "<function=",
     .name_end = ">",
     .call_end = "</function>"},
    {.name = "glm",
     .syntax = RP_TAGS,
     .needs = {"<arg_value>", "</arg_key>\n<arg_value>"},
     .call = "<tool_call>",
     .key = "\n<arg_key>",
     .key_end = "</arg_key>\n",
     .value = "<arg_value>",
     .value_end = "</arg_value>",
     .call_end = "\n</tool_call>",
     .between = "\n"},
    {.name = "glm_escaped",
     .syntax = RP_TAGS,
     .needs = {"<arg_value>", "</arg_key>\\n<arg_value>"},
     .call = "<tool_call>",
     .key = "\n<arg_key>",
     .key_end = "</arg_key>\n",
     .value = "<arg_value>",
     .value_end = "</arg_value>",
     .call_end = "\n</tool_call>",
     .between = "\n"},
    {.name = "glm47",
     .syntax = RP_TAGS,
     .needs = {"<arg_key>", "<arg_value>"},
     .call = "<tool_call>",
     .key = "<arg_key>",
     .key_end = "</arg_key>",
     .value = "<arg_value>",
     .value_end = "</arg_value>",
     .call_end = "</tool_call>"},
    {.name = "qwen3_coder",
     .syntax = RP_TAGS,
     .needs = {"<function=", "<parameter=", "<tool_call>"},
     .call = "<tool_call>\n<function=",
     .call_end = "\n</function>\n</tool_call>",
     .between = "\n",
     FUNCTION_TAGS},
    {.name = "exaone",
     .syntax = RP_JSON,
     .flags = RP_BARE,
     .needs = {"<tool_call>", "[|assistant|]"},
     .call = "<tool_call>",
     .call_end = "</tool_call>",
     .between = "\n",
     JSON_CALL},
    {.name = "hermes", .syntax = RP_JSON, .flags = RP_BARE, .needs = {"<tool_call>"}, .call = TOOL_CALL, JSON_CALL},
    {.name = "llama4",
     .syntax = RP_JSON,
     .flags = RP_BARE,
     .needs = {"<|python_start|>", "<|header_start|>"},
     .between = "",
     .head = "{\"name\": ",
     .middle = ", \"parameters\": ",
     .tail = "}",
     .drop = {"<|python_start|>", "<|python_end|>"}},
    {.name = "llama3",
     .syntax = RP_JSON,
     .flags = RP_BARE,
     .needs = {"<|start_header_id|>", "\"parameters\": "},
     .head = "{\"name\": ",
     .middle = ", \"parameters\": ",
     .tail = "}",
     .drop = {"<|python_tag|>"}},
    {.name = "granite3_roles",
     .syntax = RP_JSON,
     .flags = RP_ARRAY | RP_BARE,
     .needs = {"<|start_of_role|>", "available_tools"},
     .section = "<|tool_call|>[",
     .section_end = "]",
     .between = ", ",
     .drop = {"<response>", "</response>"},
     JSON_CALL},
    {.name = "phi4_mini",
     .syntax = RP_JSON,
     .flags = RP_ARRAY | RP_BARE,
     .needs = {"<|tool|>", "<|/tool|>"},
     .section = "<|tool_call|>[",
     .section_end = "]<|/tool_call|>",
     .between = ", ",
     JSON_CALL},
    {.name = "tool_code",
     .syntax = RP_PYTHON,
     .flags = RP_ARRAY | RP_BARE,
     .needs = {"```tool_code"},
     .section = "```tool_code\n[",
     .section_end = "]\n```",
     .between = ", "},
    {.name = "generic", .syntax = RP_JSON, .flags = RP_BARE, .call = TOOL_CALL, JSON_CALL},
};
const size_t rp_n_families = sizeof rp_families / sizeof *rp_families;

/* The first pair is read with every template. */
const rp_think rp_thinks[] = {
    {"<think>", "</think>"},
    {"<seed:think>", "</seed:think>"},
    {"<mm:think>", "</mm:think>"},
    {"[THINK]", "[/THINK]"},
    {"<|START_THINKING|>", "<|END_THINKING|>"},
    {"<|channel>thought", "<channel|>"},
    {"<|thought_start|>", "<|thought_end|>"},
    {"<|inner_prefix|>", "<|inner_suffix|>"},
    {"\xE2\x97\x81think\xE2\x96\xB7", "\xE2\x97\x81/think\xE2\x96\xB7"},
    {"<thinking>", "</thinking>"},
    {"<reasoning>", "</reasoning>"},
    {"<unused94>thought", "<unused95>"},
    {"Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"},
    {"Here is my thought process:", "Here is my response:"},
};
const size_t rp_n_thinks = sizeof rp_thinks / sizeof *rp_thinks;

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

ig_str rp_trim(ig_str s)
{
    while (s.len && is_space(s.ptr[0])) s.ptr++, s.len--;
    while (s.len && is_space(s.ptr[s.len - 1])) s.len--;
    return s;
}

ig_str rp_mark(const char *marker) { return marker ? rp_trim(ig_str_from(marker)) : (ig_str){"", 0}; }

ig_str rp_line(const char *marker, size_t i)
{
    ig_str rest = rp_mark(marker), none = {"", 0};
    if (!rest.len) return none;
    if (rest.ptr[0] != '<' && rest.ptr[0] != '[' && rest.ptr[0] != ']') return i ? none : rest;
    for (;; i--) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t n = end ? (size_t)(end - rest.ptr) : rest.len;
        if (i == 0) return rp_trim((ig_str){rest.ptr, n});
        if (!end) return none;
        rest = rp_trim((ig_str){end, rest.len - n});
    }
}

bool rp_has(ig_str text, const char *part)
{
    return text.ptr && text.len && memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

bool rp_is_control(ig_str m)
{
    return rp_has(m, "<|") || rp_has(m, "|>") || rp_has(m, DS) ||
           (m.len > 2 && m.ptr[0] == '[' && m.ptr[1] >= 'A' && m.ptr[1] <= 'Z') || rp_has(m, MINIMAX);
}

const ig_reply_family *ig_reply_family_of(ig_str source)
{
    size_t last = rp_n_families - 1;
    for (size_t i = 0; i < last; i++) {
        const ig_reply_family *f = &rp_families[i];
        bool all = f->needs[0] != NULL;
        for (size_t k = 0; k < 3 && f->needs[k]; k++) all = all && rp_has(source, f->needs[k]);
        if (all) return f;
    }
    return &rp_families[last];
}

const char *ig_reply_family_name(const ig_reply_family *family) { return family->name; }

bool rp_think_used(size_t i, ig_str source)
{
    return i == 0 || (rp_has(source, rp_thinks[i].close) && (i < 12 || rp_has(source, rp_thinks[i].open)));
}

int rp_think_open(ig_str prompt)
{
    prompt = rp_trim(prompt);
    for (size_t i = 0; i < rp_n_thinks; i++) {
        size_t n = strlen(rp_thinks[i].open);
        if (prompt.len >= n && !memcmp(prompt.ptr + prompt.len - n, rp_thinks[i].open, n)) return (int)i;
    }
    return -1;
}

static bool ends_in(ig_str text, const char *end)
{
    size_t n = strlen(end);
    return text.len >= n && !memcmp(text.ptr + text.len - n, end, n);
}

bool ig_reply_thoughts(ig_str source, ig_str prompt, const char **start, const char **end)
{
    static const rp_think harmony = {"<|channel|>analysis<|message|>", "<|channel|>final<|message|>"};
    const rp_think *pair = NULL;
    int open = rp_think_open(prompt);
    if (open >= 0) pair = &rp_thinks[open];
    for (size_t i = 0; i < rp_n_thinks && !pair; i++)
        if (rp_think_used(i, source) && rp_has(source, rp_thinks[i].close)) pair = &rp_thinks[i];
    if (ig_reply_family_of(source)->syntax == RP_HARMONY) pair = &harmony;
    *start = pair && open < 0 ? pair->open : NULL;
    *end = pair && !ends_in(rp_trim(prompt), pair->close) ? pair->close : NULL;
    if (!*end) *start = NULL;
    return *end != NULL;
}

bool ig_reply_thinks(ig_str source)
{
    const char *start, *end;
    if (ig_reply_thoughts(source, IG_STR(""), &start, &end)) return true;
    for (size_t i = 0; i < rp_n_thinks; i++)
        if (rp_thinks[i].open[0] && rp_has(source, rp_thinks[i].open)) return true;
    return false;
}

ig_str ig_reply_prompt_end(ig_str source, ig_str prompt)
{
    const ig_reply_family *f = ig_reply_family_of(source);
    ig_str end = rp_trim(prompt), call = {"", 0};
    int open = rp_think_open(prompt);
    for (size_t i = 0; f->text_name && rp_line(f->call, i).len; i++) call = rp_line(f->call, i);
    size_t n = open >= 0 ? strlen(rp_thinks[open].open) : call.len;
    if (open < 0 && n && (end.len < n || memcmp(end.ptr + end.len - n, call.ptr, n) != 0)) n = 0;
    return n ? (ig_str){end.ptr + end.len - n, n} : (ig_str){"", 0};
}

static bool holds(const char *where, ig_str part) { return where && memmem(where, strlen(where), part.ptr, part.len); }

bool ig_reply_is_marker(const ig_reply_family *f, ig_str token)
{
    const char *const all[] = {f->section, f->section_end, f->call,    f->call_end, f->between,   f->name_end,
                               f->id_mark, f->key,         f->key_end, f->value,    f->value_end, f->key_gap,
                               f->head,    f->middle,      f->tail,    f->drop[0],  f->drop[1],   f->drop[2]};
    static const char *const harmony[] = {"<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|eom|>"};
    token = rp_trim(token);
    if (token.len < 2) return false;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (holds(all[i], token)) return true;
    for (size_t i = 0; i < rp_n_thinks; i++)
        if (holds(rp_thinks[i].open, token) || holds(rp_thinks[i].close, token)) return true;
    for (size_t i = 0; i < 5 && (f->syntax == RP_HARMONY || ig_str_is(ig_str_from(f->name), "muse")); i++)
        if (holds(harmony[i], token)) return true;
    return f->syntax == RP_LOOSE && ig_str_is(token, "<|\"|>");
}
