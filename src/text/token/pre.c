/* The table of pre-tokenizers: value of tokenizer.ggml.pre -> stages and flags. Stages run one after the other; each
 * cuts every piece of the one before, and matches and the gaps between them stay as pieces. */
#include "text/token/pre.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "text/token/pre_priv.h"

static const ig_range deepseek_letters[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},
    {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},
    {0x376, 0x376},     {0x377, 0x377},     {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},
    {0x388, 0x38A},     {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},
    {0x48A, 0x52F},     {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},
    {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},
    {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},
    {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},
    {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},
    {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},
    {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},
    {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},
    {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2183},   {0x2184, 0x2184},
    {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},
    {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},
    {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},
    {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2},
    {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};
static const ig_range deepseek_marks[] = {
    {0x21, 0x2F}, {0x3A, 0x7E}, {0x2018, 0x201F}, {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E},
};
static const ig_range deepseek_cjk[] = {
    {0x800, 0x4E00},
    {0x4E00, 0x9FA5},
    {0xAC00, 0xD7FF},
};
static const ig_range cjk_kana[] = {
    {0x3040, 0x309F},
    {0x30A0, 0x30FF},
    {0x4E00, 0x9FA5},
};
/* One range of the original begins at U+8C48, so that it covers Cherokee, Hangul and private characters besides. */
static const ig_range afmoe_scripts[] = {
    {0xE40, 0xE7F},   {0xE80, 0xEFF},   {0x1000, 0x109F}, {0x1100, 0x11FF}, {0x1780, 0x17FF}, {0x2F00, 0x2FDF},
    {0x3040, 0x309F}, {0x30A0, 0x30FF}, {0x3400, 0x4DBF}, {0x4E00, 0xFAFF}, {0xFF65, 0xFF9F},
};
static const ig_range youtu_hangul[] = {
    {0x3131, 0x318E},
    {0xAC00, 0xD7A3},
};
static const ig_range youtu_marks[] = {
    {0x2014, 0x2014}, {0x2018, 0x2018}, {0x2019, 0x2019}, {0x201C, 0x201C}, {0x201D, 0x201D}, {0x2026, 0x2026},
    {0x3001, 0x303F}, {0xFE30, 0xFE4F}, {0xFF01, 0xFF01}, {0xFF0C, 0xFF0C}, {0xFF1A, 0xFF1A}, {0xFF1B, 0xFF1B},
};
static const ig_range youtu_bopomofo[] = {
    {0x3105, 0x312F},
};
static const ig_range youtu_cjk[] = {
    {0x3040, 0x309F},
    {0x30A0, 0x30FF},
    {0x4E00, 0x9FA5},
};
#define SET(name, classes, array) static const ig_set name = {(classes), (array), sizeof(array) / sizeof *(array)}
#define CLASSES(name, classes)    static const ig_set name = {(classes), NULL, 0}

static const ig_range newlines[] = {{'\n', '\n'}, {'\r', '\r'}};
/* $ + < = > ^ ~ | and, for falcon, ` */
static const ig_range default_marks[] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'|', '|'}, {'~', '~'}};
static const ig_range falcon_marks[] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'},
                                        {'`', '`'}, {'|', '|'}, {'~', '~'}};
static const ig_range ascii_marks[] = {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}};

CLASSES(numbers, IG_CHAR_N);
CLASSES(letters, IG_CHAR_L);
CLASSES(punctuation, IG_CHAR_P);
SET(set_newlines, 0, newlines);
SET(set_default_marks, IG_CHAR_P, default_marks);
SET(set_falcon_marks, IG_CHAR_P, falcon_marks);
SET(set_ascii_marks, IG_CHAR_P, ascii_marks);
SET(set_deepseek_letters, 0, deepseek_letters);
SET(set_deepseek_marks, 0, deepseek_marks);
SET(set_deepseek_cjk, 0, deepseek_cjk);
SET(set_cjk_kana, 0, cjk_kana);
SET(set_afmoe_scripts, 0, afmoe_scripts);

#define ROW(array)                                                                                                     \
    {                                                                                                                  \
        0, (array), sizeof(array) / sizeof *(array)                                                                    \
    }
static const ig_set youtu_sets[] = {
    ROW(youtu_hangul), ROW(youtu_marks), ROW(youtu_bopomofo), ROW(youtu_cjk), {0, NULL, 0}};
#undef ROW

enum { L = IG_CHAR_L, N = IG_CHAR_N, M = IG_CHAR_M, PS = IG_CHAR_P | IG_CHAR_S };

/* word kind, classes of a word, classes that are no marks, most digits together, what may follow marks */
#define SHAPE_WORDS(kind, letters_, others, digits, tail)                                                              \
    .word = (kind), .body = (letters_), .no_prefix = L | N, .not_marks = (others), .digits_max = (digits),             \
    .after = (tail)
#define LLAMA3(digits)                      .contractions = true, SHAPE_WORDS(IG_WORD_RUN, L, L | N, digits, "\r\n")
#define CASED(kind, letters_, digits, tail) SHAPE_WORDS(kind, letters_, L | N, digits, tail)
static const ig_shape llama3 = {LLAMA3(3)}, qwen2 = {LLAMA3(1)}, minicpm5 = {LLAMA3(SIZE_MAX)};
static const ig_shape jais2 = {LLAMA3(3), .powers = true};
static const ig_shape qwen35 = {.contractions = true, SHAPE_WORDS(IG_WORD_RUN, L | M, L | M | N, 1, "\r\n")};
static const ig_shape seed_coder = {.contractions = true, SHAPE_WORDS(IG_WORD_RUN, L, L | N | IG_CHAR_NEWLINE, 1, "")};
static const ig_shape exaone_moe = {
    .contractions = true, SHAPE_WORDS(IG_WORD_PHRASE, L, L | N, 1, "\r\n/"), .after_once = true};
static const ig_shape ufakzeka = {SHAPE_WORDS(IG_WORD_RUN, L, L | N, 1, "\r\n")};
static const ig_shape tekken = {CASED(IG_WORD_CASE, L, 1, "\r\n/")};
static const ig_shape gpt4o = {CASED(IG_WORD_CASE, L, 3, "\r\n/"), .suffix = true};
static const ig_shape granite97 = {CASED(IG_WORD_CASE, L | M, 3, "\r\n/"), .suffix = true};
/* Their regular expressions tell upper from lower case letters; the reference reads both classes as \p{L}, so there
 * words are runs. */
#define RUNS(digits, tail) SHAPE_WORDS(IG_WORD_RUN, L | M, L | N, digits, tail), .suffix = true
static const ig_shape youtu = {RUNS(1, "\r\n/")}, tiny_aya = {RUNS(3, "\r\n/")};
static const ig_shape kimi = {SHAPE_WORDS(IG_WORD_RUN, L, L | N, 3, "\r\n"), .suffix = true, .no_han = true};
#define DEEPSEEK(tail)                                                                                                 \
    .ascii_marks_word = true, .word = IG_WORD_RUN, .body = L | M, .no_prefix = L | PS, .marks = PS, .after = (tail)
static const ig_shape deepseek3 = {DEEPSEEK("\r\n")};
static const ig_shape spark = {DEEPSEEK(""), .newline_single = true};

typedef struct stage {
    ig_match_fn match;
    const void *params;
} stage;

enum { STAGES_MAX = 6 };

struct ig_pre {
    const char *names; /* separated by spaces */
    stage stages[STAGES_MAX];
};

#define GPT2                                                                                                           \
    {                                                                                                                  \
        ig_match_gpt2, NULL                                                                                            \
    }
#define SHAPE(s)                                                                                                       \
    {                                                                                                                  \
        ig_match_shape, &(s)                                                                                           \
    }
static const ig_pre rows[] = {
    {"default", {{ig_match_run, &set_default_marks}, GPT2, {ig_match_run, &numbers}, {ig_match_three_digits, NULL}}},
    {"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe glm4 chatglm-bpe",
     {SHAPE(llama3)}},
    {"jais-2", {SHAPE(jais2)}},
    {"deepseek-llm",
     {{ig_match_one, &set_newlines},
      {ig_match_space_run, &set_deepseek_letters},
      {ig_match_space_run, &set_deepseek_marks},
      {ig_match_space_end, NULL},
      {ig_match_run, &set_deepseek_cjk},
      {ig_match_run, &numbers}}},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4",
     {{ig_match_upto3, &numbers}, {ig_match_run, &set_cjk_kana}, SHAPE(deepseek3)}},
    {"youtu", {{ig_match_sets, youtu_sets}, SHAPE(youtu)}},
    {"deepseek-coder",
     {{ig_match_one, &set_newlines},
      {ig_match_space_run, &letters},
      {ig_match_space_run, &punctuation},
      {ig_match_run, &set_deepseek_cjk},
      {ig_match_one, &numbers}}},
    {"falcon", {{ig_match_run, &set_falcon_marks}, GPT2, {ig_match_three_digits, NULL}}},
    {"starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", {{ig_match_one, &numbers}, GPT2}},
    {"gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code "
     "roberta-bpe "
     "exaone4 mpt olmo jais trillion granite-docling",
     {GPT2}},
    {"stablelm2 qwen2 deepseek-r1-qwen kormo f2llmv2 megrez hunyuan solar-open grok-2 bailingmoe bailingmoe2 llada-moe",
     {SHAPE(qwen2)}},
    {"qwen35", {SHAPE(qwen35)}},
    {"poro-chat bloom gpt3-finnish", {{ig_match_bloom, NULL}}},
    {"viking", {{ig_match_bloom, NULL}, {ig_match_one, &numbers}}},
    {"tekken", {SHAPE(tekken)}},
    {"chameleon",
     {{ig_match_sentinel, NULL},
      {ig_match_image, NULL},
      {ig_match_tabs, NULL},
      {ig_match_one, &numbers},
      {ig_match_one, &set_ascii_marks},
      GPT2}},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", {SHAPE(gpt4o)}},
    {"granite-embed-multi-97m", {SHAPE(granite97)}},
    {"tiny_aya cohere2moe", {{ig_match_grouped, NULL}, SHAPE(tiny_aya)}},
    {"kimi-k2", {SHAPE(kimi)}},
    {"superbpe", {{ig_match_run, &numbers}, {ig_match_thousands, NULL}}},
    {"seed-coder", {SHAPE(seed_coder)}},
    {"afmoe", {{ig_match_grouped, NULL}, {ig_match_run, &set_afmoe_scripts}, SHAPE(deepseek3)}},
    {"laguna", {{ig_match_lines, NULL}, SHAPE(qwen2)}},
    {"exaone-moe", {SHAPE(exaone_moe)}},
    {"gemma4 granite-embed-multi-311m sarvam-moe", {{ig_match_lines, NULL}}},
    {"minicpm5", {{ig_match_upto3, &numbers}, SHAPE(minicpm5)}},
    {"whitespace", {{ig_match_not_space, NULL}}},
    {"spark2_5", {{ig_match_upto3, &numbers}, {ig_match_run, &set_cjk_kana}, SHAPE(spark), {ig_match_one, &numbers}}},
    {"ufakzeka", {SHAPE(ufakzeka)}},
};

/* Regular expressions of tokenizer.json files. A contraction is only looked for in ASCII. */
#define RE_CONTRACTIONS   "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define RE_SPACES         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define RE_UPPER          "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define RE_LOWER          "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define RE_PREFIX         "[^\\r\\n\\p{L}\\p{N}]?"
#define RE_CASED(suffix)  RE_PREFIX RE_UPPER "*" RE_LOWER "+" suffix "|" RE_PREFIX RE_UPPER "+" RE_LOWER "*" suffix "|"
#define RE_LLAMA3(digits) RE_CONTRACTIONS "|" RE_PREFIX "\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" RE_SPACES
static const ig_shape o200k = {CASED(IG_WORD_TITLE, L | M, 3, "\r\n/"), .suffix = true};
static const ig_shape tekken_json = {CASED(IG_WORD_TITLE, L | M, 1, "\r\n/")};
static const struct {
    const char *regex;
    ig_match_fn match;
    const void *params;
    bool whole; /* every character of a text is in a match */
} patterns[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", ig_match_gpt2, NULL, true},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", ig_match_gpt2, NULL, true},
    {RE_LLAMA3("\\p{N}{1,3}"), ig_match_shape, &llama3, true},
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
     "\\s+(?!\\S)|\\s+",
     ig_match_shape, &llama3, true},
    {RE_CONTRACTIONS "|" RE_PREFIX "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" RE_SPACES, ig_match_shape, &seed_coder,
     true},
    {RE_LLAMA3("\\p{N}"), ig_match_shape, &qwen2, true},
    {RE_LLAMA3("\\p{N}+"), ig_match_shape, &minicpm5, true},
    {RE_CONTRACTIONS "|" RE_PREFIX "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" RE_SPACES,
     ig_match_shape, &qwen35, true},
    {RE_CASED(RE_CONTRACTIONS "?") "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" RE_SPACES, ig_match_shape, &o200k,
     true},
    {RE_CASED("") "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" RE_SPACES, ig_match_shape, &tekken_json, true},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
     "?[\\p{P}\\p{S}]+[\\r\\n]*|" RE_SPACES,
     ig_match_shape, &deepseek3, false},
    {"[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+", ig_match_run, &set_cjk_kana,
     false},
    {"\\p{N}{1,3}", ig_match_upto3, &numbers, false},
    {"\\p{N}", ig_match_one, &numbers, false},
    {"\\p{N}+", ig_match_run, &numbers, false},
    {"[0-9][0-9][0-9]", ig_match_three_digits, NULL, false},
    {"\\S+", ig_match_not_space, NULL, false},
    {" ?[^(\\s|[.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C])]+", ig_match_bloom,
     NULL, false},
    {"[^\n]+|[\n]+", ig_match_lines, NULL, true},
    {"[\r\n]", ig_match_one, &set_newlines, false},
};

bool ig_pre_pattern(ig_str regex, bool whole, ig_match_fn *match, const void **params)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        if (!ig_str_is(regex, patterns[i].regex) || (whole && !patterns[i].whole)) continue;
        *match = patterns[i].match;
        *params = patterns[i].params;
        return true;
    }
    return false;
}

ig_str ig_pre_pattern_at(size_t i)
{
    return i < sizeof patterns / sizeof *patterns ? ig_str_from(patterns[i].regex) : (ig_str){NULL, 0};
}

/* Flags by name, where they differ from "spaces are cleaned, nothing else". */
static const char *const keep_spaces = "deepseek-llm deepseek-coder deepseek-v3 command-r qwen2 deepseek-r1-qwen kormo "
                                       "f2llmv2 qwen35 poro-chat viking smollm gpt-4o "
                                       "llama4 kanana2 talkie tiny_aya cohere2moe superbpe trillion granite-docling "
                                       "bailingmoe bailingmoe2 llada-moe seed-coder "
                                       "hunyuan hunyuan-dense joyai-llm kimi-k2 grok-2 afmoe laguna minimax-m2 "
                                       "solar-open youtu granite-embed-multi-97m sarvam-moe "
                                       "tekken chameleon";
static const char *const whole_tokens =
    "minicpm5 llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano "
    "youtu granite-embed-multi-97m tekken";
static const char *const with_bos =
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano tekken chameleon";
static const char *const with_sep = "jina-v1-en jina-v2-code roberta-bpe";
static const char *const raw = "gemma4 granite-embed-multi-311m sarvam-moe";
static const char *const newline_tokens = "gemma4 granite-embed-multi-311m";

static bool listed(const char *names, ig_str name)
{
    while (*names) {
        size_t n = strcspn(names, " ");
        if (ig_str_eq(name, (ig_str){names, n})) return true;
        names += n + (names[n] == ' ');
    }
    return false;
}

const ig_pre *ig_pre_find(ig_str name)
{
    if (name.len == 0) name = IG_STR("default");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (listed(rows[i].names, name)) return &rows[i];
    return NULL;
}

ig_str ig_pre_name_at(size_t i)
{
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (const char *p = rows[r].names; *p;) {
            size_t n = strcspn(p, " ");
            if (i-- == 0) return (ig_str){p, n};
            p += n + (p[n] == ' ');
        }
    }
    return (ig_str){NULL, 0};
}

ig_pre_flags ig_pre_get_flags(ig_str name)
{
    return (ig_pre_flags){.clean_spaces = !listed(keep_spaces, name),
                          .ignore_merges = listed(whole_tokens, name),
                          .escape_whitespaces = listed(raw, name),
                          .raw_utf8 = listed(raw, name),
                          .whole_newlines = listed(newline_tokens, name),
                          .add_bos = listed(with_bos, name),
                          .add_sep = listed(with_sep, name)};
}

/* Scanners of tokenizer.json files that the reference reads otherwise: letters without case are words of their own in
 * one, not in the other. */
static const struct {
    const void *exact, *near;
} near_shapes[] = {{&o200k, &gpt4o}, {&tekken_json, &tekken}};

static bool same_set(const ig_set *a, const ig_set *b)
{
    return a->cls == b->cls && a->n_ranges == b->n_ranges &&
           (a->n_ranges == 0 || !memcmp(a->ranges, b->ranges, a->n_ranges * sizeof *a->ranges));
}

static bool same_stage(const stage *a, const ig_splitter *b, bool *same)
{
    if (a->match != b->match) return false;
    if (a->params == b->params) return true;
    if (a->match == ig_match_run || a->match == ig_match_one || a->match == ig_match_upto3)
        return same_set(a->params, b->params);
    for (size_t i = 0; i < sizeof near_shapes / sizeof *near_shapes; i++) {
        if (b->params != near_shapes[i].exact || a->params != near_shapes[i].near) continue;
        *same = false;
        return true;
    }
    return false;
}

static bool same_stages(const ig_pre *pre, const ig_splitter *chain, size_t n, bool *same)
{
    *same = true;
    if (n == 0 || n > STAGES_MAX || (n < STAGES_MAX && pre->stages[n].match)) return false;
    for (size_t i = 0; i < n; i++)
        if (!same_stage(&pre->stages[i], &chain[i], same)) return false;
    return true;
}

/* The first name with these flags; clean 2: whatever that flag is. */
static ig_str name_with(const ig_pre *pre, bool ignore_merges, int clean)
{
    for (const char *p = pre->names; *p;) {
        const size_t n = strcspn(p, " ");
        const ig_str name = {p, n};
        const ig_pre_flags f = ig_pre_get_flags(name);
        const bool plain = !f.add_sep && !f.raw_utf8 && !ig_str_starts(name, IG_STR("jina"));
        if (plain && f.ignore_merges == ignore_merges && (clean == 2 || f.clean_spaces == clean)) return name;
        p += n + (p[n] == ' ');
    }
    return (ig_str){NULL, 0};
}

/* Names that every reader knows go first. */
static ig_str common_name(const ig_pre *pre, bool ignore_merges)
{
    static const char *const common[] = {"gpt-2", "llama-bpe", "qwen2", "starcoder", "deepseek-v3", "gpt-4o", "tekken"};
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
        const ig_str name = ig_str_from(common[i]);
        if (listed(pre->names, name) && ig_pre_get_flags(name).ignore_merges == ignore_merges) return name;
    }
    return (ig_str){NULL, 0};
}

ig_str ig_pre_name_of(const ig_splitter *chain, size_t n, bool ignore_merges, bool clean_spaces, bool *same)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!same_stages(&rows[i], chain, n, same)) continue;
        ig_str name = common_name(&rows[i], ignore_merges);
        if (!name.ptr) name = name_with(&rows[i], ignore_merges, clean_spaces);
        if (!name.ptr) name = name_with(&rows[i], ignore_merges, 2);
        if (name.ptr) return name;
        *same = false;
        return name_with(&rows[i], !ignore_merges, 2);
    }
    return (ig_str){NULL, 0};
}

static bool cut(ig_cuts *cuts, size_t end)
{
    if (cuts->len == cuts->cap) {
        size_t cap = cuts->cap ? cuts->cap * 2 : 256;
        size_t *p = ig_realloc(cuts->end, cap, sizeof *p);
        if (!p) return false;
        cuts->end = p;
        cuts->cap = cap;
    }
    cuts->end[cuts->len++] = end;
    return true;
}

/* Cuts the piece [i, end) by one stage. */
static bool cut_piece(const ig_chars *c, const stage *s, size_t i, size_t end, ig_cuts *out)
{
    size_t done = i;
    *c->memo = (ig_run){0, 0};
    while (i < end) {
        size_t n = s->match(c, i, end, s->params);
        if (n == 0) {
            i++;
            continue;
        }
        if (i > done && !cut(out, i)) return false;
        if (!cut(out, i + n)) return false;
        done = i += n;
    }
    return i == done || cut(out, i);
}

/* Runs the stages over character indexes; the result is in *a. */
static bool run_stages(const ig_pre *pre, const ig_chars *c, ig_cuts *a, ig_cuts *b)
{
    if (!cut(a, c->n)) return false;
    for (size_t k = 0; k < STAGES_MAX && pre->stages[k].match; k++) {
        b->len = 0;
        for (size_t p = 0; p < a->len; p++)
            if (!cut_piece(c, &pre->stages[k], p ? a->end[p - 1] : 0, a->end[p], b)) return false;
        ig_cuts swap = *a;
        *a = *b;
        *b = swap;
    }
    return true;
}

void ig_chars_read(ig_chars *c, const char *text, size_t n)
{
    c->n = 0;
    for (size_t at = 0; at < n; c->n++) {
        uint32_t cp = (uint8_t)text[at];
        size_t len = cp < 0x80 ? 1 : ig_utf8_decode(text + at, n - at, &cp);
        c->cp[c->n] = cp;
        c->cls[c->n] = (uint16_t)ig_char_class(cp);
        c->at[c->n] = (uint32_t)at;
        at += len ? len : 1;
    }
    c->at[c->n] = (uint32_t)n;
}

bool ig_pre_split(const ig_pre *pre, const char *text, size_t n, ig_cuts *cuts)
{
    ig_run memo = {0, 0};
    ig_cuts other = {0};
    cuts->len = 0;
    if (n == 0) return true;
    if (n >= UINT32_MAX) return false;
    ig_chars c = {.cp = ig_alloc(n * sizeof *c.cp),
                  .cls = ig_alloc(n * sizeof *c.cls),
                  .at = ig_alloc((n + 1) * sizeof *c.at),
                  .memo = &memo};
    bool ok = c.cp && c.cls && c.at;
    if (ok) {
        ig_chars_read(&c, text, n);
        ok = run_stages(pre, &c, cuts, &other);
        for (size_t i = 0; ok && i < cuts->len; i++) cuts->end[i] = c.at[cuts->end[i]];
    }
    ig_free(c.cp);
    ig_free(c.cls);
    ig_free(c.at);
    ig_free(other.end);
    return ok;
}
