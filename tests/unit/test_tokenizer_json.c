/* tokenizer.json without reference data: hostile files, what each component does, and that the hand-written scanners
 * cut as the regular expressions that they stand for. */
#include <errno.h>
#include <time.h>

#include "base/fault.h"
#include "base/utf8.h"
#include "tests/tap.h"
#include "text/token/tj.h"

static ig_vocab *load(const char *json, ig_error *err)
{
    ig_vocab *v = NULL;
    *err = (ig_error){0};
    (void)ig_vocab_from_json(json, strlen(json), NULL, 0, &v, err);
    return v;
}

/* ------------------------------------------------------------------------------------------------ veils */

/* Special tokens that are veiled stay text, before the normalizer and behind it. */
static void check_veils(void)
{
    static const char *const normalized[] = {"true", "false"};
    for (int i = 0; i < 2; i++) {
        char json[512];
        ig_error err;
        ig_ids ids = {0};
        (void)snprintf(
            json, sizeof json,
            "{\"added_tokens\":[{\"id\":2,\"content\":\"<s>\",\"special\":true,\"normalized\":%s}],"
            "\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\","
            "\"vocab\":{\"?\":0,\"a\":1}}}",
            normalized[i]);
        ig_vocab *v = load(json, &err);
        size_t veil = 3, n_special = 0;
        bool ok =
            v && ig_tokenize_veiled(v, "a <s> a", 7, IG_TOKENIZE_PARSE, (ig_veils){&veil, 1}, &ids, &err) == IG_OK;
        for (size_t k = 0; k < ids.len; k++) n_special += ids.ptr[k] == 2;
        tap_ok(ok && n_special == 0 && ids.len > 3, "a veiled token stays text, normalized %s", normalized[i]);
        ids.len = 0;
        veil = 1;
        ok = v && ig_tokenize_veiled(v, "a <s> a", 7, IG_TOKENIZE_PARSE, (ig_veils){&veil, i ? 1u : 0u}, &ids, &err) ==
                      IG_OK;
        tap_ok(ok && ids.len == 3 && ids.ptr[1] == 2, "another is found");
        ig_buf b;
        ig_buf_init(&b, 64);
        ok = v && ig_vocab_veil(v, IG_STR("<s<s>"), IG_STR("#"), NULL, NULL, &b);
        tap_ok(ok && b.len == 6 && !memcmp(b.ptr, "<s<#s>", 6), "and marked");
        ig_buf_fini(&b);
        ig_free(ids.ptr);
        ig_vocab_free(v);
    }
}

/* ------------------------------------------------------------------------------------------------ hostile files */

#define WORDS(vocab) "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":" vocab "}"
#define GOOD         WORDS("{\"?\":0,\"a\":1}")
#define BPE(rest)    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}," rest "}"

static void check_hostile(void)
{
    static const struct {
        const char *name, *json;
        ig_status status;
        const char *says; /* part of the sentence */
    } rows[] = {
        {"empty", "", IG_BAD_INPUT, "tokenizer.json"},
        {"an array", "[]", IG_BAD_INPUT, "expected an object"},
        {"no model", "{}", IG_BAD_INPUT, "vocab"},
        {"cut off", "{\"model\":{\"type\":\"BPE\"", IG_BAD_INPUT, "at byte"},
        {"text behind", "{" GOOD "} x", IG_BAD_INPUT, "more text"},
        {"a comma at the end", "{" GOOD ",}", IG_BAD_INPUT, "at byte"},
        {"a raw newline in a string", "{\"a\":\"\n\"}", IG_BAD_INPUT, "control character"},
        {"half a surrogate", "{\"a\":\"\\ud800x\"}", IG_BAD_INPUT, "escape"},
        {"broken UTF-8", "{\"a\":\"\xC3\"}", IG_BAD_INPUT, "UTF-8"},
        {"a name twice", "{" GOOD "," GOOD "}", IG_BAD_INPUT, "twice"},
        {"a leading zero", "{\"a\":01}", IG_BAD_INPUT, "at byte"},
        {"an endless number", "{\"a\":1e999}", IG_BAD_INPUT, "too large"},
        {"unknown model", "{\"model\":{\"type\":\"Magic\",\"vocab\":{}}}", IG_BAD_INPUT, "vocabulary"},
        {"unknown model, filled", "{\"model\":{\"type\":\"Magic\",\"vocab\":{\"a\":0}}}", IG_UNSUPPORTED, "Magic"},
        {"unknown normalizer", "{\"normalizer\":{\"type\":\"Nmt\"}," GOOD "}", IG_UNSUPPORTED, "normalizer \"Nmt\""},
        {"unknown pre-tokenizer", "{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," GOOD "}", IG_UNSUPPORTED,
         "pre-tokenizer \"UnicodeScripts\""},
        {"unknown post-processor", "{\"post_processor\":{\"type\":\"Odd\"}," GOOD "}", IG_UNSUPPORTED,
         "post-processor \"Odd\""},
        {"unknown decoder", "{\"decoder\":{\"type\":\"CTC\"}," GOOD "}", IG_UNSUPPORTED, "decoder \"CTC\""},
        {"unknown in a sequence",
         "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Odd\"}]}," GOOD "}",
         IG_UNSUPPORTED, "decoder \"Odd\""},
        {"unknown behavior",
         "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Odd\"}," GOOD "}",
         IG_UNSUPPORTED, "Odd"},
        {"a component of no type", "{\"normalizer\":{}," GOOD "}", IG_BAD_INPUT, "type"},
        {"a component that is a number", "{\"normalizer\":7," GOOD "}", IG_BAD_INPUT, "normalizer"},
        {"a bad expression",
         "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}," GOOD "}",
         IG_BAD_INPUT, "regular expression"},
        {"a class in a class", "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"}}," GOOD "}",
         IG_UNSUPPORTED, "character class"},
        {"an intersection", "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"}}," GOOD "}",
         IG_UNSUPPORTED, "&&"},
        {"Ruby's \\h", "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\h\"}}," GOOD "}",
         IG_UNSUPPORTED, "\\h"},
        {"dropout", "{" BPE("\"merges\":[],\"dropout\":0.1") "}", IG_UNSUPPORTED, "dropout"},
        {"a merge of three", "{" BPE("\"merges\":[\"a b a\"]") "}", IG_BAD_INPUT, "merge 0"},
        {"a merge of no tokens", "{" BPE("\"merges\":[[\"a\",\"x\"]]") "}", IG_BAD_INPUT, "no token"},
        {"a merge to no token", "{" BPE("\"merges\":[[\"b\",\"a\"]]") "}", IG_BAD_INPUT, "no token"},
        {"a merge of numbers", "{" BPE("\"merges\":[[1,2]]") "}", IG_BAD_INPUT, "merge 0"},
        {"no merges", "{" BPE("\"fuse_unk\":true") "}", IG_BAD_INPUT, "merges"},
        {"unk of BPE missing", "{" BPE("\"merges\":[],\"unk_token\":\"?\"") "}", IG_BAD_INPUT, "unk_token"},
        {"unk missing", "{" WORDS("{\"a\":0}") "}", IG_BAD_INPUT, "unk_token"},
        {"two tokens of one id", "{" WORDS("{\"?\":0,\"a\":0}") "}", IG_BAD_INPUT, "same id"},
        {"one token twice", "{" WORDS("{\"?\":0,\"?\":1}") "}", IG_BAD_INPUT, "twice"},
        {"a negative id", "{" WORDS("{\"?\":-1}") "}", IG_BAD_INPUT, "out of range"},
        {"an id that is a text", "{" WORDS("{\"?\":\"0\"}") "}", IG_BAD_INPUT, "out of range"},
        {"an id far away", "{" WORDS("{\"?\":0,\"a\":4000000}") "}", IG_BAD_INPUT, "ids go up to"},
        {"an id beyond all", "{" WORDS("{\"?\":0,\"a\":99999999999}") "}", IG_BAD_INPUT, "out of range"},
        {"an added token on another's id",
         "{\"added_tokens\":[{\"id\":1,\"content\":\"x\",\"special\":true}]," GOOD "}", IG_BAD_INPUT, "same id 1"},
        {"an empty added token", "{\"added_tokens\":[{\"id\":2,\"content\":\"\",\"special\":true}]," GOOD "}",
         IG_BAD_INPUT, "added token 2"},
        {"Unigram without scores", "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\"]]}}", IG_BAD_INPUT,
         "entry 0"},
        {"Unigram without unk_id", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]]}}", IG_BAD_INPUT, "unk_id"},
        {"Unigram with unk_id outside", "{\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",-1]]}}",
         IG_BAD_INPUT, "unk_id"},
        {"a template without its token",
         "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"X\"}},"
         "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{}}," GOOD "}",
         IG_BAD_INPUT, "special_tokens"},
        {"a template without the text", "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}," GOOD "}",
         IG_UNSUPPORTED, "0 times"},
        {"a template's id outside",
         "{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"a\",1],\"cls\":[\"b\",9]}," GOOD "}",
         IG_BAD_INPUT, "id 9"},
        {"a replacement of two characters",
         "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"__\"}," GOOD "}", IG_BAD_INPUT, "replacement"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ig_error err;
        ig_vocab *v = load(rows[i].json, &err);
        tap_ok(!v && err.status == rows[i].status && strstr(err.text, rows[i].says), "%s: %s", rows[i].name, err.text);
        ig_vocab_free(v);
    }
}

/* n times `open`, then `middle`, then n times `close`. */
static char *nested(const char *open, const char *middle, const char *close, size_t n)
{
    size_t a = strlen(open), b = strlen(close);
    char *text = malloc(n * (a + b) + strlen(middle) + 1), *p = text;
    for (size_t i = 0; i < n; i++) p = (char *)memcpy(p, open, a) + a;
    p = stpcpy(p, middle);
    for (size_t i = 0; i < n; i++) p = (char *)memcpy(p, close, b) + b;
    *p = 0;
    return text;
}

static void check_depth(void)
{
    ig_error err;
    char *deep = nested("[", "", "]", 1000000);
    tap_ok(!load(deep, &err) && strstr(err.text, "deep"), "a million brackets: %s", err.text);
    free(deep);
    char *steps = nested("{\"type\":\"Sequence\",\"normalizers\":[", "{\"type\":\"NFC\"}", "]}", 12);
    char *file = malloc(strlen(steps) + 200);
    (void)sprintf(file, "{\"normalizer\":%s," GOOD "}", steps);
    tap_ok(!load(file, &err) && err.status == IG_TOO_LARGE, "sequences 12 deep: %s", err.text);
    free(steps);
    free(file);
}

/* ------------------------------------------------------------------------------------------------ components */

/* Every piece is unknown to the model: what the pieces are is seen in a vocabulary of all pieces that are expected. */
typedef struct example {
    const char *name, *parts, *text, *pieces; /* pieces: separated by | */
} example;

static bool cuts_to(const ig_vocab *v, const char *text, const char *want, char *have)
{
    ig_tj_work w;
    ig_str t = {text, strlen(text)}, cut;
    char *p = have;
    ig_tj_work_init(&w, t.len);
    bool ok = ig_tj_normalize(v->tj, &w, t, &t, NULL) == IG_OK &&
              (t.len == 0 || ig_tj_cut(v->tj, &w, t, true, &cut, NULL) == IG_OK);
    for (size_t i = 0; ok && t.len && i < w.pieces[0].n; i++) {
        ig_piece q = w.pieces[0].ptr[i];
        p += sprintf(p, "%s%.*s", i ? "|" : "", (int)(q.end - q.at), cut.ptr + q.at);
    }
    *p = 0;
    ig_tj_work_fini(&w);
    return ok && !strcmp(have, want);
}

#define PRE(x)  "\"pre_tokenizer\":{" x "},"
#define NORM(x) "\"normalizer\":{" x "},"
#define SPLIT(pattern, behavior, invert)                                                                               \
    PRE("\"type\":\"Split\",\"pattern\":{" pattern "},\"behavior\":\"" behavior "\",\"invert\":" invert)

static void check_components(void)
{
    static const example rows[] = {
        {"nothing", "", "a  b", "a  b"},
        {"Isolated", SPLIT("\"String\":\"-\"", "Isolated", "false"), "the-final--countdown",
         "the|-|final|-|-|countdown"},
        {"Removed", SPLIT("\"String\":\"-\"", "Removed", "false"), "the-final--countdown", "the|final|countdown"},
        {"MergedWithPrevious", SPLIT("\"String\":\"-\"", "MergedWithPrevious", "false"), "the-final--countdown",
         "the-|final-|-|countdown"},
        {"MergedWithNext", SPLIT("\"String\":\"-\"", "MergedWithNext", "false"), "the-final--countdown",
         "the|-final|-|-countdown"},
        {"Contiguous", SPLIT("\"String\":\"-\"", "Contiguous", "false"), "the-final--countdown",
         "the|-|final|--|countdown"},
        {"MergedWithNext at the end", SPLIT("\"String\":\"-\"", "MergedWithNext", "false"), "a--", "a|-|-"},
        {"MergedWithPrevious at the start", SPLIT("\"String\":\"-\"", "MergedWithPrevious", "false"), "--a", "-|-|a"},
        {"inverted", SPLIT("\"Regex\":\"[a-z]+\"", "Removed", "true"), "ab-cd ef", "ab|cd|ef"},
        {"an expression of PCRE2", SPLIT("\"Regex\":\"[aeiou]\"", "Isolated", "false"), "countdown", "c|o|u|ntd|o|wn"},
        {"a script", SPLIT("\"Regex\":\"\\\\p{Han}+\"", "Isolated", "false"), "a\xE4\xB8\xAD\xE3\x80\x82",
         "a|\xE4\xB8\xAD|\xE3\x80\x82"},
        {"empty matches", SPLIT("\"Regex\":\"(?=[A-Z])\"", "Isolated", "false"), "camelCaseText", "camel|Case|Text"},
        {"empty matches of more bytes", SPLIT("\"Regex\":\"(?=\\u00c4)\"", "Isolated", "false"), "x\xC3\x84\xC3\x84y",
         "x|\xC3\x84|\xC3\x84y"},
        {"an empty string", SPLIT("\"String\":\"\"", "Isolated", "false"), "ab", "ab"},
        {"Whitespace", PRE("\"type\":\"Whitespace\""), "Hello, \xC3\xA4_1 world!?", "Hello|,|\xC3\xA4_1|world|!?"},
        {"WhitespaceSplit", PRE("\"type\":\"WhitespaceSplit\""), " Hello,\xC2\xA0 world\n", "Hello,|world"},
        {"BertPreTokenizer", PRE("\"type\":\"BertPreTokenizer\""), "Hey,  man! $5", "Hey|,|man|!|$|5"},
        {"Digits", PRE("\"type\":\"Digits\",\"individual_digits\":false"), "a123b 4", "a|123|b |4"},
        {"single digits", PRE("\"type\":\"Digits\",\"individual_digits\":true"), "a123b", "a|1|2|3|b"},
        {"Punctuation", PRE("\"type\":\"Punctuation\""), "a--b", "a|-|-|b"},
        {"Punctuation together", PRE("\"type\":\"Punctuation\",\"behavior\":\"Contiguous\""), "a--b", "a|--|b"},
        {"CharDelimiterSplit", PRE("\"type\":\"CharDelimiterSplit\",\"delimiter\":\"_\""), "a_b__c", "a|b|c"},
        {"Metaspace", PRE("\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"always\""), "a  b",
         "_a|_|_b"},
        {"Metaspace once", PRE("\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\""), " a b",
         "_a|_b"},
        {"Metaspace never", PRE("\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"never\""), "a b",
         "a|_b"},
        {"Metaspace whole", PRE("\"type\":\"Metaspace\",\"replacement\":\"_\",\"split\":false"), "a b", "_a_b"},
        {"old Metaspace", PRE("\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false"), "a b",
         "a|_b"},
        {"ByteLevel", PRE("\"type\":\"ByteLevel\",\"add_prefix_space\":true"), "I'm \xC3\xA9",
         "\xC4\xA0I|'m|\xC4\xA0\xC3\x83\xC2\xA9"},
        {"ByteLevel in the middle",
         PRE("\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
             "{\"type\":\"Digits\",\"individual_digits\":true}]"),
         "a 12", "a|\xC4\xA0|1|2"},
        {"a sequence",
         PRE("\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Digits\"}]"),
         " a12 3b ", "a|12|3|b"},
        {"NFC", NORM("\"type\":\"NFC\""), "e\xCC\x81", "\xC3\xA9"},
        {"NFD orders marks", NORM("\"type\":\"NFD\""), "\xC3\xA9\xCC\xA3", "e\xCC\xA3\xCC\x81"},
        {"NFKC", NORM("\"type\":\"NFKC\""), "\xEF\xAC\x81\xC2\xB2", "fi2"},
        {"NFC keeps broken bytes", NORM("\"type\":\"NFC\""), "e\xFF\xCC\x81", "e\xFF\xCC\x81"},
        {"Lowercase", NORM("\"type\":\"Lowercase\""), "A\xC3\x84\xC4\xB0", "a\xC3\xA4i\xCC\x87"},
        {"StripAccents drops marks alone", NORM("\"type\":\"StripAccents\""), "e\xCC\x81\xC3\xA9", "e\xC3\xA9"},
        {"BertNormalizer", NORM("\"type\":\"BertNormalizer\""), "\tH\xC3\xA9\x01\xE4\xB8\xADx", " he \xE4\xB8\xAD x"},
        {"BertNormalizer keeps accents", NORM("\"type\":\"BertNormalizer\",\"strip_accents\":false"), "H\xC3\xA9",
         "h\xC3\xA9"},
        {"Prepend", NORM("\"type\":\"Prepend\",\"prepend\":\"_\""), "a", "_a"},
        {"Prepend to nothing", NORM("\"type\":\"Prepend\",\"prepend\":\"_\""), "", ""},
        {"Replace", NORM("\"type\":\"Replace\",\"pattern\":{\"String\":\"aa\"},\"content\":\"b\""), "aaaxa", "baxa"},
        {"Replace by an expression", NORM("\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x*\"},\"content\":\"-\""),
         "axxb", "-a--b-"},
        {"Replace spaces", NORM("\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \""),
         "a  b c   ", "a b c "},
        {"Strip", NORM("\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false"), "\xC2\xA0 a ", "a "},
        {"Strip all", NORM("\"type\":\"Strip\""), "  \n", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[2048], have[512] = "";
        ig_error err;
        (void)snprintf(json, sizeof json, "{%s" GOOD "}", rows[i].parts);
        ig_vocab *v = load(json, &err);
        bool ok = v && cuts_to(v, rows[i].text, rows[i].pieces, have);
        tap_ok(ok, "%s: %s%s", rows[i].name, have, err.text);
        ig_vocab_free(v);
    }
}

static void check_ids(const char *name, const char *json, const char *text, unsigned flags, const char *want,
                      const char *decoded)
{
    ig_error err;
    ig_vocab *v = load(json, &err);
    ig_ids ids = {0};
    ig_buf out;
    char have[256] = "", *p = have;
    ig_buf_init(&out, 1 << 16);
    bool ok = v && ig_tokenize(v, text, strlen(text), flags, &ids, &err) == IG_OK;
    for (size_t i = 0; i < ids.len && i < 20; i++) p += sprintf(p, "%s%d", i ? " " : "", ids.ptr[i]);
    ok = ok && ig_detokenize(v, ids.ptr, ids.len, IG_DETOKENIZE_SPECIAL, &out, &err) == IG_OK;
    ok = ok && !strcmp(have, want) && ig_buf_add(&out, "", 1) && !strcmp(out.ptr, decoded);
    tap_ok(ok, "%s: %s = %s %s", name, have, out.ptr ? out.ptr : "", err.text);
    ig_buf_fini(&out);
    ig_free(ids.ptr);
    ig_vocab_free(v);
}

#define ADDED(flags) "\"added_tokens\":[{\"id\":2,\"content\":\"<x>\"," flags "}],"
#define LETTERS      PRE("\"type\":\"Split\",\"pattern\":{\"Regex\":\".|\\\\n\"}") WORDS("{\"?\":0,\"a\":1,\" \":3}")
#define FUSED        "\"decoder\":{\"type\":\"Fuse\"},"

static void check_added(void)
{
    check_ids("an added token", "{" ADDED("\"special\":false,\"normalized\":false") FUSED LETTERS "}", "a<x>a", 0,
              "1 2 1", "a<x>a");
    check_ids("a special token is text", "{" ADDED("\"special\":true") FUSED LETTERS "}", "a<x>", 0, "1 0 0 0", "a???");
    check_ids("a special token is parsed", "{" ADDED("\"special\":true") FUSED LETTERS "}", "a<x>", IG_TOKENIZE_PARSE,
              "1 2", "a<x>");
    check_ids("lstrip", "{" ADDED("\"special\":true,\"lstrip\":true") FUSED LETTERS "}", "a  <x> a", IG_TOKENIZE_PARSE,
              "1 2 3 1", "a<x> a");
    check_ids("rstrip", "{" ADDED("\"special\":true,\"rstrip\":true") FUSED LETTERS "}", "a <x> \n a",
              IG_TOKENIZE_PARSE, "1 3 2 1", "a <x>a");
    check_ids("single_word", "{" ADDED("\"special\":true,\"single_word\":true") FUSED LETTERS "}", "a<x> <x>",
              IG_TOKENIZE_PARSE, "1 0 0 0 3 2", "a??? <x>");
    check_ids("normalized",
              "{" NORM("\"type\":\"Lowercase\"") ADDED("\"special\":true,\"normalized\":true") FUSED LETTERS "}",
              "a<X>", IG_TOKENIZE_PARSE, "1 2", "a<x>");
    check_ids("not normalized",
              "{" NORM("\"type\":\"Lowercase\"") ADDED("\"special\":true,\"normalized\":false") FUSED LETTERS "}",
              "a<X>", IG_TOKENIZE_PARSE, "1 0 0 0", "a???");
}

#define BPE_MODEL(vocab, merges, rest)                                                                                 \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]," rest "\"dropout\":null}"

static void check_models(void)
{
    check_ids("BPE, text merges", "{" FUSED BPE_MODEL("\"a\":0,\"b\":1,\"ab\":2", "\"a b\"", "") "}", "aabb", 0,
              "0 2 1", "aabb");
    check_ids("BPE drops what it does not know", "{" FUSED BPE_MODEL("\"a\":0", "", "") "}", "axxa", 0, "0 0", "aa");
    check_ids("BPE, unknown", "{" FUSED BPE_MODEL("\"a\":0,\"?\":1", "", "\"unk_token\":\"?\",") "}", "axxa", 0,
              "0 1 1 0", "a??a");
    check_ids("BPE, fused unknown",
              "{" FUSED BPE_MODEL("\"a\":0,\"?\":1", "", "\"unk_token\":\"?\",\"fuse_unk\":true,") "}", "axxa", 0,
              "0 1 0", "a?a");
    check_ids("BPE, bytes",
              "{\"decoder\":{\"type\":\"ByteFallback\"}," BPE_MODEL("\"a\":0,\"?\":1,\"<0xC3>\":2,\"<0xA9>\":3", "",
                                                                    "\"unk_token\":\"?\",\"byte_fallback\":true,") "}",
              "a\xC3\xA9\xC3\xA8", 0, "0 2 3 1", "a\xC3\xA9?");
    check_ids("BPE, ignore_merges", "{" FUSED BPE_MODEL("\"a\":0,\"b\":1,\"ab\":2", "", "\"ignore_merges\":true,") "}",
              "ab", 0, "2", "ab");
    check_ids("BPE, end of word",
              "{\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":\"_\"}," PRE("\"type\":\"WhitespaceSplit\"")
                  BPE_MODEL("\"a\":0,\"a_\":1,\"aa_\":2", "\"a a_\"", "\"end_of_word_suffix\":\"_\",") "}",
              "aa a", 0, "2 1", "aa a");
    check_ids("BPE, subword prefix",
              "{\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\"}," BPE_MODEL(
                  "\"a\":0,\"##b\":1,\"ab\":2", "\"a ##b\"", "\"continuing_subword_prefix\":\"##\",") "}",
              "ab", 0, "2", "ab");
    check_ids("a model without a type", "{" FUSED "\"model\":{\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\"]}}",
              "aaa", 0, "1 0", "aaa");
    check_ids("Unigram takes the best way",
              "{" FUSED
              "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\"a\",-1],[\"b\",-1],[\"ab\",-3],"
              "[\"bb\",-0.5]]}}",
              "abb", 0, "1 4", "abb");
    check_ids("Unigram, unknown stretch",
              "{" FUSED "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\"a\",-1]]}}", "axya", 0,
              "1 0 1", "a?a");
    check_ids("WordPiece",
              "{\"decoder\":{\"type\":\"WordPiece\",\"cleanup\":true}," PRE(
                  "\"type\":\"BertPreTokenizer\"") "\"model\":{\"type\":"
                                                   "\"WordPiece\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"un\":1,\"##"
                                                   "aff\":2,\"##able\":3,\"!\":4}}}",
              "unaffable! unx", 0, "1 2 3 4 0", "unaffable!?");
    check_ids(
        "WordPiece, a long word",
        "{" PRE(
            "\"type\":\"WhitespaceSplit\"") "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"?\","
                                            "\"max_input_chars_per_word\":2,\"vocab\":{\"?\":0,\"a\":1,\"##a\":2}}}",
        "aa aaa", 0, "1 2 0", "a ##a ?");
    check_ids("WordLevel, a key with U+0000", "{" WORDS("{\"?\":0,\"\\u0000\":1}") "}", "x", 0, "0", "?");
    check_ids(
        "template around a template",
        "{" FUSED
        "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"BertProcessing\",\"cls\":[\"a\",1],"
        "\"sep\":[\"b\",2]},{\"type\":\"RobertaProcessing\",\"cls\":[\"b\",2],\"sep\":[\"a\",1]}]}," WORDS(
            "{\"?\":0,\"a\":1,\"b\":2}") "}",
        "x", IG_TOKENIZE_ADD, "2 1 0 2 1", "ba?ba");
}

/* ------------------------------------------------------------------------------------------------ scanners */

static uint64_t next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

/* Characters of many classes, all of Unicode 14, which both tables know. U+017F is not among them: the expressions hold
 * it equal to s, the scanners, as the reference for GGUF files, do not. */
static size_t random_text(uint64_t *seed, char *out)
{
    static const struct {
        uint32_t first, n;
    } pool[] = {{' ', 1},    {' ', 1},    {'a', 26},    {'A', 26},     {'0', 10},    {'!', 15},     {':', 7},
                {'\n', 1},   {'\r', 1},   {'\t', 1},    {'\'', 1},     {0xA0, 96},   {0x0391, 40},  {0x0430, 32},
                {0x300, 20}, {0x904, 40}, {0x93E, 10},  {0x4E00, 300}, {0x3041, 80}, {0xAC00, 90},  {0x1F600, 60},
                {0x660, 10}, {0x2160, 9}, {0x2000, 11}, {0x3000, 1},   {0x85, 1},    {0x1C4, 9},    {0x2B0, 60},
                {0x200B, 5}, {0, 9},      {0xE000, 5},  {'/', 1},      {'(', 6},     {0x1D7CE, 50}, {0x2028, 2}};
    static const char *const words[] = {"'s", "'T", "'re", "'VE", "'m",         "'LL",
                                        "'d", "  ", " \n", "/\n", "HTTPServer", "123456"};
    size_t n = 0, count = next(seed) % 24;
    for (size_t i = 0; i < count; i++) {
        if (next(seed) % 5 == 0) {
            n = (size_t)(stpcpy(out + n, words[next(seed) % 12]) - out);
            continue;
        }
        size_t k = next(seed) % (sizeof pool / sizeof *pool);
        n += ig_utf8_encode(pool[k].first + (uint32_t)(next(seed) % pool[k].n), out + n);
    }
    return n;
}

static bool same_cut(const ig_tj *a, const ig_tj *b, const char *text, size_t n)
{
    ig_tj_work w[2];
    ig_str out;
    bool ok = true;
    for (int i = 0; i < 2; i++) {
        ig_tj_work_init(&w[i], n);
        ok = ig_tj_cut(i ? b : a, &w[i], (ig_str){text, n}, true, &out, NULL) == IG_OK && ok;
    }
    ok = ok && w[0].pieces[0].n == w[1].pieces[0].n;
    for (size_t i = 0; ok && i < w[0].pieces[0].n; i++)
        ok = !memcmp(&w[0].pieces[0].ptr[i], &w[1].pieces[0].ptr[i], sizeof(ig_piece));
    ig_tj_work_fini(&w[0]);
    ig_tj_work_fini(&w[1]);
    return ok;
}

static void check_scanners(void)
{
    static ig_tj scan, regex;
    ig_str pattern;
    for (size_t i = 0; (pattern = ig_pre_pattern_at(i)).ptr; i++) {
        ig_error err = {0};
        uint64_t seed = 88172645463325252u + i;
        size_t n = tap_sanitized ? 2000 : 20000, same = 0;
        scan = regex = (ig_tj){.n_pre = 1};
        (void)ig_pre_pattern(pattern, false, &scan.pre[0].pattern.match, &scan.pre[0].pattern.params);
        char flat[1024]; /* a class in a class, which PCRE2 does not have, is written without its brackets */
        char *inner = memcpy(flat, pattern.ptr, pattern.len + 1), *set = strstr(inner, "[.,");
        if (set) {
            char *end = strchr(set, ']');
            memmove(end, end + 1, strlen(end));
            memmove(set, set + 1, strlen(set));
        }
        if (!tap_ok(ig_tj_regex_new(ig_str_from(flat), &regex.pre[0].pattern.regex, &err) == IG_OK,
                    "PCRE2 takes the pattern %s", err.text))
            continue;
        ig_match_fn match;
        const void *params;
        if (ig_pre_pattern(pattern, true, &match, &params)) { /* no gaps: the same as the matches alone */
            regex.pre[0].behavior = IG_SPLIT_REMOVED;
            regex.pre[0].invert = true;
        }
        for (size_t k = 0; k < n; k++) {
            char text[512];
            size_t len = random_text(&seed, text);
            bool ok = len == 0 || same_cut(&scan, &regex, text, len);
            same += ok;
            if (ok || same + 3 < k) continue;
            printf("# differs:");
            for (size_t b = 0; b < len; b++) printf(" %02x", (unsigned char)text[b]);
            printf("\n");
        }
        tap_ok(same == n, "%zu of %zu random texts are cut as by %.*s", same, n, IG_STR_ARG(pattern));
        ig_tj_regex_free(regex.pre[0].pattern.regex);
    }
}

/* ------------------------------------------------------------------------------------------------ character maps */

enum { UNITS = 8192 };

typedef struct darts { /* a double-array trie under construction */
    uint32_t unit[UNITS];
    bool used[UNITS], base[UNITS];
} darts;

static const char *const map_keys[] = {"e\xCC\x81",    "\xE3\x80\x80",  "\xE3\x8D\xBF",
                                       "\xEF\xAC\x81", "\xEF\xAC\x81!", "\n"};
static const char *const map_values[] = {"\xC3\xA9", " ", "\xE6\xA0\xAA", "fi", "fi?", " "};
enum { MAP_KEYS = 6 };

static bool fits(const darts *d, uint32_t base, const uint8_t *labels, size_t n)
{
    bool ok = !d->base[base];
    for (size_t i = 0; i < n; i++) ok = ok && !d->used[base ^ labels[i]];
    return ok;
}

/* Places the children of the node that the first `depth` bytes of key k spell; returns its base. */
static uint32_t place(darts *d, const char *prefix, size_t depth, const uint32_t *value)
{
    uint8_t labels[MAP_KEYS + 1];
    size_t n = 0;
    bool leaf[256] = {0};
    for (size_t k = 0; k < MAP_KEYS; k++) {
        if (strlen(map_keys[k]) < depth || memcmp(map_keys[k], prefix, depth) != 0) continue;
        uint8_t c = (uint8_t)map_keys[k][depth]; /* 0: the key ends here */
        bool seen = false;
        for (size_t i = 0; i < n; i++) seen = seen || labels[i] == c;
        if (!seen) labels[n++] = c;
        if (c && !map_keys[k][depth + 1]) leaf[c] = true;
    }
    uint32_t base = 256;
    while (!fits(d, base, labels, n)) base++;
    d->base[base] = true;
    for (size_t i = 0; i < n; i++) d->used[base ^ labels[i]] = true;
    for (size_t i = 0; i < n; i++) {
        uint32_t slot = base ^ labels[i];
        char longer[16];
        memcpy(longer, prefix, depth);
        longer[depth] = (char)labels[i];
        longer[depth + 1] = 0;
        if (labels[i] == 0) {
            for (size_t k = 0; k < MAP_KEYS; k++)
                if (!strncmp(map_keys[k], prefix, depth) && strlen(map_keys[k]) == depth)
                    d->unit[slot] = 1u << 31 | value[k];
            continue;
        }
        uint32_t child = place(d, longer, depth + 1, value);
        d->unit[slot] = (slot ^ child) << 10 | (leaf[labels[i]] ? 1u << 8 : 0) | labels[i];
    }
    return base;
}

/* The bytes of the map above. */
static size_t make_map(char *out)
{
    static darts d;
    uint32_t value[MAP_KEYS], n_trie = UNITS * 4, n = 0;
    d = (darts){0};
    for (size_t k = 0; k < MAP_KEYS; k++) {
        value[k] = n;
        n += (uint32_t)strlen(map_values[k]) + 1;
        memcpy(out + 4 + n_trie + value[k], map_values[k], strlen(map_values[k]) + 1);
    }
    d.used[0] = true;
    d.unit[0] = place(&d, "", 0, value) << 10;
    memcpy(out, &n_trie, 4);
    memcpy(out + 4, d.unit, n_trie);
    return 4 + n_trie + n;
}

static char *base64(const char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = malloc(n / 3 * 4 + 8), *q = out;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++) v = v << 8 | (i + k < n ? (uint8_t)p[i + k] : 0);
        for (size_t k = 0; k < 4; k++) *q++ = i + k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
    }
    *q = 0;
    return out;
}

static void check_map(const ig_charsmap *map, bool longest, const char *text, const char *want)
{
    ig_buf out;
    ig_buf_init(&out, 1000);
    bool ok = longest ? ig_charsmap_longest(map, (ig_str){text, strlen(text)}, &out)
                      : ig_charsmap_graphemes(map, (ig_str){text, strlen(text)}, &out);
    ok = ok && ig_buf_add(&out, "", 1) && !strcmp(out.ptr, want);
    tap_ok(ok, "map, %s: %s -> %s", longest ? "longest" : "graphemes", text, out.ptr ? out.ptr : "");
    ig_buf_fini(&out);
}

static void check_charsmap(void)
{
    static char bytes[UNITS * 4 + 1000];
    ig_arena arena = {0};
    ig_charsmap map;
    ig_error err = {0};
    size_t n = make_map(bytes);
    if (!tap_ok(ig_charsmap_read((ig_str){bytes, n}, &arena, &map, &err) == IG_OK, "a character map is read %s",
                err.text))
        return;
    for (int longest = 0; longest < 2; longest++) {
        check_map(&map, longest, "a\xE3\x80\x80\xE3\x8D\xBF\nb", "a \xE6\xA0\xAA b");
        check_map(&map, longest, "xe\xCC\x81\xFFy", "x\xC3\xA9\xFFy");
        /* A mark behind makes a grapheme of six bytes and more, or a short one whose beginning alone is looked at. */
        check_map(&map, longest, "\xEF\xAC\x81\xCC\x81", longest ? "fi\xCC\x81" : "fi");
        check_map(&map, longest, "\xEF\xAC\x81\xCC\x81\xCC\x81", "fi\xCC\x81\xCC\x81");
        check_map(&map, longest, "\xEF\xAC\x81!", longest ? "fi?" : "fi!");
    }
    char *text = base64(bytes, n), *json = malloc(strlen(text) + 1000), have[100];
    (void)sprintf(json, "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"}," GOOD "}", text);
    ig_vocab *v = load(json, &err);
    tap_ok(v && cuts_to(v, "\xEF\xAC\x81\n", "fi ", have), "Precompiled: %s", err.text);
    ig_vocab_free(v);
    static const size_t bad[][2] = {{0, 0xFF}, {0, 3}, {3, 0xFF}};
    for (size_t i = 0; i < 3; i++) {
        char keep = bytes[bad[i][0]];
        bytes[bad[i][0]] = (char)bad[i][1];
        tap_ok(ig_charsmap_read((ig_str){bytes, n}, &arena, &map, &err) == IG_BAD_INPUT, "a broken map: %s", err.text);
        bytes[bad[i][0]] = keep;
    }
    free(text);
    free(json);
    ig_arena_fini(&arena);
}

/* The form of GGUF files. */
static void check_t5(void)
{
    static const struct {
        const char *text;
        float score;
        int32_t type;
    } rows[] = {{"<pad>", 0, IG_TOKEN_CONTROL},        {"</s>", 0, IG_TOKEN_CONTROL}, {"<unk>", 0, IG_TOKEN_UNKNOWN},
                {IG_MARKER, -2, IG_TOKEN_NORMAL},      {"a", -3, IG_TOKEN_NORMAL},    {"b", -3, IG_TOKEN_NORMAL},
                {IG_MARKER "ab", -4, IG_TOKEN_NORMAL}, {"<x>", 0, IG_TOKEN_USER},     {"fi", -3, IG_TOKEN_NORMAL}};
    static char bytes[UNITS * 4 + 1000];
    ig_str tokens[9];
    float scores[9];
    int32_t types[9];
    for (size_t i = 0; i < 9; i++) {
        tokens[i] = ig_str_from(rows[i].text);
        scores[i] = rows[i].score;
        types[i] = rows[i].type;
    }
    ig_vocab_spec spec = {.model = IG_STR("t5"),
                          .n_tokens = 9,
                          .tokens = tokens,
                          .scores = scores,
                          .types = types,
                          .charsmap = {bytes, make_map(bytes)},
                          .bos = -1,
                          .eos = 1,
                          .eot = -1,
                          .eom = -1,
                          .unk = 2,
                          .sep = -1,
                          .pad = 0,
                          .cls = -1,
                          .mask = -1,
                          .add_bos = -1,
                          .add_eos = -1,
                          .add_sep = -1,
                          .add_space_prefix = -1,
                          .remove_extra_whitespaces = 1};
    static const struct {
        const char *text, *ids, *back;
    } cases[] = {{"ab", "6 1", "ab"},
                 {"  ab \n b ", "6 3 5 1", "ab b"},
                 {"ab<x>a", "6 7 3 4 1", "ab<x> a"},
                 {"\xEF\xAC\x81zz", "3 8 2 1", "fi"},
                 {"</s>", "3 2 1", ""},
                 {"", "1", ""}};
    ig_error err = {0};
    ig_vocab *v = NULL;
    if (!tap_ok(ig_vocab_new(&spec, &v, &err) == IG_OK, "t5 opens %s", err.text)) return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ig_ids ids = {0};
        ig_buf out;
        char have[100] = "", *p = have;
        ig_buf_init(&out, 1000);
        bool ok = ig_tokenize(v, cases[i].text, strlen(cases[i].text), IG_TOKENIZE_ADD, &ids, &err) == IG_OK;
        for (size_t k = 0; k < ids.len && k < 10; k++) p += sprintf(p, "%s%d", k ? " " : "", ids.ptr[k]);
        ok = ok && !strcmp(have, cases[i].ids) &&
             ig_detokenize(v, ids.ptr, ids.len, IG_DETOKENIZE_STRIP, &out, &err) == IG_OK;
        ok = ok && ig_buf_add(&out, "", 1) && !strcmp(out.ptr, cases[i].back);
        tap_ok(ok, "t5: \"%s\" = %s = \"%s\"", i == 1 ? "spaces" : cases[i].text, have, out.ptr ? out.ptr : "");
        ig_buf_fini(&out);
        ig_free(ids.ptr);
    }
    ig_vocab_free(v);
}

/* ------------------------------------------------------------------------------------------------ merging */

enum { NAIVE_TOKENS = 60, NAIVE_TEXT = 3000 };

typedef struct naive { /* a random vocabulary: tokens 0 to 2 are a, b, c; merge i makes token 3 + i */
    char text[NAIVE_TOKENS][260];
    int left[NAIVE_TOKENS], right[NAIVE_TOKENS], n;
} naive;

static char *random_vocab(naive *m, uint64_t *seed)
{
    char *json = malloc(200000), *p = json;
    m->n = 3;
    for (int i = 0; i < 3; i++) (void)sprintf(m->text[i], "%c", "abc"[i]);
    while (m->n < NAIVE_TOKENS) {
        int a = (int)(next(seed) % (uint64_t)m->n), b = (int)(next(seed) % (uint64_t)m->n), i = m->n;
        bool old = strlen(m->text[a]) + strlen(m->text[b]) > 200;
        char both[520];
        (void)snprintf(both, sizeof both, "%s%s", m->text[a], m->text[b]);
        if (!old) (void)snprintf(m->text[i], sizeof m->text[i], "%.250s", both);
        for (int k = 0; !old && k < i; k++) old = !strcmp(m->text[k], m->text[i]);
        if (old && next(seed) % 50 == 0) break;
        if (old) continue;
        m->left[i] = a;
        m->right[i] = b;
        m->n++;
    }
    p += sprintf(p, "{" FUSED "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < m->n; i++) p += sprintf(p, "%s\"%s\":%d", i ? "," : "", m->text[i], i);
    p += sprintf(p, "},\"merges\":[");
    for (int i = 3; i < m->n; i++)
        p += sprintf(p, "%s[\"%s\",\"%s\"]", i > 3 ? "," : "", m->text[m->left[i]], m->text[m->right[i]]);
    (void)sprintf(p, "]}}");
    return json;
}

/* The definition: join the leftmost pair of the lowest rank until none is left. */
static size_t naive_merge(const naive *m, int *ids, size_t n)
{
    for (;;) {
        size_t at = n;
        int best = m->n;
        for (size_t i = 0; i + 1 < n; i++)
            for (int k = 3; k < best; k++)
                if (m->left[k] == ids[i] && m->right[k] == ids[i + 1]) {
                    best = k;
                    at = i;
                }
        if (at == n) return n;
        ids[at] = best;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void check_merging(void)
{
    static naive m;
    static char text[NAIVE_TEXT];
    static int want[NAIVE_TEXT];
    uint64_t seed = 4711;
    size_t good = 0, n_tests = tap_sanitized ? 4 : 24;
    for (size_t t = 0; t < n_tests; t++) {
        char *json = random_vocab(&m, &seed);
        size_t n = t % 4 == 0 ? 20 : t % 4 == 1 ? 300 : NAIVE_TEXT; /* each of the three ways to merge */
        ig_error err;
        ig_ids ids = {0};
        ig_vocab *v = load(json, &err);
        unsigned letters = 1 + (unsigned)(next(&seed) % 3);
        for (size_t i = 0; i < n; i++) {
            want[i] = (int)(next(&seed) % letters);
            text[i] = "abc"[want[i]];
        }
        size_t n_want = naive_merge(&m, want, n);
        bool ok = v && ig_tokenize(v, text, n, 0, &ids, &err) == IG_OK && ids.len == n_want;
        for (size_t i = 0; ok && i < n_want; i++) ok = ids.ptr[i] == want[i];
        good += ok;
        if (!ok) printf("# vocabulary %zu, %zu letters: %zu ids, expected %zu %s\n", t, n, ids.len, n_want, err.text);
        free(json);
        ig_free(ids.ptr);
        ig_vocab_free(v);
    }
    tap_ok(good == n_tests, "%zu of %zu random vocabularies merge as by definition", good, n_tests);
}

/* Expressions that go back and back end with an error in bounded time. */
static void check_limits(void)
{
    static const char *const patterns[] = {"(a+)+b", "(?:a|aa)+$b", "(a*)*b", ".*x|.*y|b", "(?=(a+))\\\\1b"};
    char *text = malloc(200001);
    memset(text, 'a', 200000);
    text[200000] = 0;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char json[512];
        ig_error err;
        ig_ids ids = {0};
        (void)snprintf(json, sizeof json,
                       "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"}}," GOOD "}", patterns[i]);
        ig_vocab *v = load(json, &err);
        time_t start = time(NULL);
        ig_status st = v ? ig_tokenize(v, text, 200000, 0, &ids, &err) : IG_BUG;
        long s = (long)(time(NULL) - start);
        bool ok = st == IG_OK || (st == IG_TOO_LARGE && strstr(err.text, "limit"));
        tap_ok(ok && s <= (tap_sanitized ? 60 : 8), "%s on 200 kB of one letter: %ld s, %s", patterns[i], s, err.text);
        ig_free(ids.ptr);
        ig_vocab_free(v);
    }
    free(text);
}

/* ------------------------------------------------------------------------------------------------ memory */

static ig_status whole_run(const char *json, const char *text, ig_error *err)
{
    ig_ids ids = {0};
    ig_buf out;
    ig_vocab *v = NULL;
    ig_buf_init(&out, 1 << 20);
    ig_status st = ig_vocab_from_json(json, strlen(json), NULL, 0, &v, err);
    if (st == IG_OK) st = ig_tokenize(v, text, strlen(text), 3, &ids, err);
    if (st == IG_OK) st = ig_detokenize(v, ids.ptr, ids.len, 0, &out, err);
    ig_buf_fini(&out);
    ig_free(ids.ptr);
    ig_vocab_free(v);
    return st;
}

/* Every allocation fails once (M16, M17): an error, no leak, and nothing wrong when memory is back. */
static void check_memory(void)
{
    static const char *const files[] = {
        "{" NORM(
            "\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":"
            "\"\\\\s+\"},\"content\":\" \"}]") SPLIT("\"Regex\":\"[aeiou]\"", "MergedWithNext", "false")
            ADDED("\"special\":true") FUSED BPE_MODEL("\"a\":0,\"b\":1,\"ab\":3", "\"a b\"", "") "}",
        "{" PRE("\"type\":\"Metaspace\"") FUSED
        "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\"a\",-1]]}}",
        "{" PRE("\"type\":\"BertPreTokenizer\"") "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"?\",\"vocab\":{\"?"
                                                 "\":0,\"a\":1}}}"};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        ig_error err = {0};
        static char text[4000];
        for (size_t i = 0; i + 3 < sizeof text; i += 3) memcpy(text + i, i % 5 ? "aba" : " \xC3\xA9", 3);
        bool ok = whole_run(files[f], text, &err) == IG_OK;
        uint64_t n = 0;
        for (bool hit = true; ok && hit; n++) {
            ig_fault_set(IG_FAULT_ALLOC, n + 1, ENOMEM, false);
            ig_status st = whole_run(files[f], text, &err);
            hit = ig_fault_calls(IG_FAULT_ALLOC) > n;
            ig_fault_reset();
            ok = hit ? st == IG_NO_MEMORY || st == IG_TOO_LARGE || st == IG_BAD_INPUT : st == IG_OK;
            if (!ok) printf("# allocation %llu: status %d\n", (unsigned long long)n, (int)st);
        }
        tap_ok(ok && n > 20, "file %zu: %llu allocations failed one by one %s", f, (unsigned long long)n, err.text);
    }
}

int main(void)
{
    check_veils();
    check_hostile();
    check_depth();
    check_components();
    check_added();
    check_models();
    check_charsmap();
    check_t5();
    check_merging();
    check_scanners();
    check_limits();
    check_memory();
    return tap_done();
}
