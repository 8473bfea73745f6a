/* GGUF's form of a tokenizer.json: what is said to be the same is the same for random vocabularies, what is not is not,
 * and what GGUF has no word for is named. Needs no reference data; golden/test_vocab_convert.c has real tokenizers. */
#include <errno.h>

#include "base/fault.h"
#include "tests/tap.h"
#include "text/token/token.h"

static uint64_t state = 7;
static uint32_t draw(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % n);
}

/* ------------------------------------------------------------------------------------------------ random merges */

enum { FIRST = 259, TOKENS_MAX = FIRST + 40, VOCABULARIES = 600, TEXTS = 60 };

typedef struct spm { /* <unk>, <s>, the bytes as <0xNN>, then characters and what is merged of them */
    char text[TOKENS_MAX][64];
    size_t n, n_chars;
} spm;

static void make_json(spm *m, char *out)
{
    char *p = out, merges[8000], *q = merges;
    static const char *const chars[] = {"\xE2\x96\x81", "a", "b", "c"};
    p += sprintf(p,
                 "{\"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"special\": true}, {\"id\": 1, "
                 "\"content\": \"<s>\", \"special\": true}], \"normalizer\": {\"type\": \"Sequence\", "
                 "\"normalizers\": [%s{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": "
                 "\"\xE2\x96\x81\"}]}, \"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"byte_fallback\": "
                 "true, \"fuse_unk\": true, \"vocab\": {\"<unk>\": 0, \"<s>\": 1",
                 draw(2) ? "{\"type\": \"Prepend\", \"prepend\": \"\xE2\x96\x81\"}, " : "");
    for (unsigned b = 0; b < 256; b++) p += sprintf(p, ", \"<0x%02X>\": %u", b, b + 2);
    m->n = FIRST;
    m->n_chars = 3 + draw(2); /* at times "c" is no token */
    for (size_t i = 0; i < m->n_chars; i++) strcpy(m->text[m->n++], chars[i]);
    *q = 0;
    for (uint32_t k = 1 + draw(9); k; k--) {
        const char *l = m->text[FIRST + draw((uint32_t)(m->n - FIRST))];
        const char *r = m->text[FIRST + draw((uint32_t)(m->n - FIRST))];
        char both[200];
        bool old = false;
        (void)snprintf(both, sizeof both, "%s%s", l, r);
        if (strlen(both) > 30) continue;
        q += sprintf(q, "%s[\"%s\", \"%s\"]", q > merges ? ", " : "", l, r);
        for (size_t i = FIRST; i < m->n; i++) old = old || !strcmp(m->text[i], both);
        if (!old) strcpy(m->text[m->n++], both);
    }
    for (size_t i = FIRST; i < m->n; i++) p += sprintf(p, ", \"%s\": %zu", m->text[i], i - 1);
    (void)sprintf(p, "}, \"merges\": [%s]}}", merges);
}

static bool differ(const ig_vocab *a, const ig_vocab *b, const char *text)
{
    ig_ids x = {0}, y = {0};
    bool same = ig_tokenize(a, text, strlen(text), 0, &x, NULL) == IG_OK &&
                ig_tokenize(b, text, strlen(text), 0, &y, NULL) == IG_OK && x.len == y.len &&
                (x.len == 0 || !memcmp(x.ptr, y.ptr, x.len * sizeof *x.ptr));
    ig_free(x.ptr);
    ig_free(y.ptr);
    return !same;
}

static size_t count_differences(const ig_vocab *a, const ig_vocab *b)
{
    size_t n = 0;
    for (unsigned k = 0; k < TEXTS; k++) {
        char text[64];
        uint32_t len = draw(40);
        for (uint32_t i = 0; i < len; i++) text[i] = "aaabbbcc d"[draw(10)];
        text[len] = 0;
        n += differ(a, b, text);
    }
    return n;
}

/* Whether the text of some token, alone or in a text that the prefix does not touch, comes out differently. */
static bool some_token_differs(const spm *m, const ig_vocab *a, const ig_vocab *b)
{
    for (size_t i = FIRST; i < m->n; i++) {
        char text[80];
        (void)snprintf(text, sizeof text, "%s", m->text[i]);
        if (differ(a, b, text)) return true;
        (void)snprintf(text, sizeof text, "d%s", m->text[i]);
        if (differ(a, b, text)) return true;
    }
    return false;
}

static void check_merges(void)
{
    static char json[40000];
    size_t n_same = 0, n_near = 0, wrong = 0, needless = 0, other = 0;
    for (unsigned k = 0; k < VOCABULARIES; k++) {
        spm m;
        ig_vocab *v = NULL, *made = NULL;
        ig_vocab_export x = {0};
        make_json(&m, json);
        ig_status st = ig_vocab_from_json(json, strlen(json), NULL, 0, &v, NULL);
        if (st == IG_OK) st = ig_vocab_export_new(v, 0, NULL, &x, NULL);
        if (st == IG_OK && x.fit != IG_VOCAB_NONE) st = ig_vocab_new(&x.spec, &made, NULL);
        if (st != IG_OK || !made)
            other++;
        else if (x.fit == IG_VOCAB_SAME) {
            n_same++;
            wrong += count_differences(v, made) > 0;
        } else {
            n_near++;
            needless += !some_token_differs(&m, v, made);
        }
        ig_vocab_free(made);
        ig_vocab_export_fini(&x);
        ig_vocab_free(v);
    }
    tap_ok(other == 0, "random merges: all are exported, %zu are not", other);
    tap_ok(n_same > VOCABULARIES / 20 && wrong == 0, "random merges: %zu are the same, of which %zu are not", n_same,
           wrong);
    tap_ok(n_near > VOCABULARIES / 20 && needless == 0, "random merges: %zu differ, of which %zu do not", n_near,
           needless);
}

/* ------------------------------------------------------------------------------------------------ bytes */

/* A vocabulary of GPT-2's alphabet, then "aa", then added tokens. */
static void byte_level(char *out, const char *steps, const char *added)
{
    char *p =
        out + sprintf(out, "{\"added_tokens\": [%s], %s, \"model\": {\"type\": \"BPE\", \"vocab\": {", added, steps);
    for (unsigned b = 0, high = 256; b < 256; b++) {
        bool plain = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        p += sprintf(p, "\"\\u%04X\": %u, ", plain ? b : high++, b);
    }
    (void)sprintf(p, "\"aa\": 256}, \"merges\": [\"a a\"]}}");
}

#define BYTES    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": "
#define PRE(x)   "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [" x "]}"
#define SPLIT(x) "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" x "\"}, \"behavior\": \"Isolated\"}, "
#define TOKEN(id, text, more)                                                                                          \
    "{\"id\": " #id ", \"content\": \"" text "\", \"special\": true, \"normalized\": false" more "}"
#define GPT2 "\"pre_tokenizer\": " BYTES "true}"

static const struct {
    const char *steps, *added;
    size_t n_tokens;
    ig_vocab_fit fit;
    const char *why, *pre;
} byte_rows[] = {
    {GPT2, "", 0, IG_VOCAB_SAME, "", "gpt-2"},
    {GPT2, "", 300, IG_VOCAB_SAME, "", "gpt-2"},
    {GPT2, TOKEN(257, "<e>", ""), 0, IG_VOCAB_SAME, "", "gpt-2"},
    {GPT2, TOKEN(257, "<e>", "") ", " TOKEN(258, "<ee>", ""), 0, IG_VOCAB_SAME, "", "gpt-2"},
    {GPT2, TOKEN(257, "<e>", "") ", " TOKEN(258, ">>>x", ""), 0, IG_VOCAB_NEAR, "overlap", "gpt-2"},
    {GPT2, TOKEN(257, "nn", "") ", " TOKEN(258, "nnn", ""), 0, IG_VOCAB_SAME, "", "gpt-2"},
    {GPT2, TOKEN(257, "<e>", ", \"rstrip\": true"), 0, IG_VOCAB_NEAR, "white space", "gpt-2"},
    {GPT2, TOKEN(257, "<e>", ", \"single_word\": true"), 0, IG_VOCAB_NEAR, "alone", "gpt-2"},
    {GPT2, TOKEN(257, "<e\\u0000>", ""), 0, IG_VOCAB_NEAR, "NUL", "gpt-2"},
    {GPT2, "{\"id\": 257, \"content\": \"</s>\", \"special\": false}", 0, IG_VOCAB_NEAR, "well-known name", "gpt-2"},
    {GPT2, "", 200, IG_VOCAB_NONE, "more tokens", NULL},
    {"\"normalizer\": {\"type\": \"NFC\"}, " GPT2, "", 0, IG_VOCAB_NEAR, "Unicode form", "gpt-2"},
    {"\"normalizer\": {\"type\": \"Lowercase\"}, " GPT2, "", 0, IG_VOCAB_NONE, "normalizer", NULL},
    {"\"pre_tokenizer\": {\"type\": \"ByteLevel\"}", "", 0, IG_VOCAB_NEAR, "in front", "gpt-2"},
    {PRE(SPLIT("x+|y") BYTES "false}"), "", 0, IG_VOCAB_NONE, "pre-tokenizer", NULL},
    {PRE(BYTES "false}"), "", 0, IG_VOCAB_NONE, "pre-tokenizer", NULL},
    {PRE("{\"type\": \"Digits\", \"individual_digits\": true}, " BYTES "true}"), "", 0, IG_VOCAB_SAME, "", "starcoder"},
    {PRE(SPLIT("\\\\p{N}{1,3}") SPLIT("[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+")
             SPLIT("[!\\\"#$%&'()*+,\\\\-./"
                   ":;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+|[^\\\\r\\\\n\\\\p{L}\\\\p{P}\\\\p{S}]"
                   "?[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+")
                 BYTES "false}"),
     "", 0, IG_VOCAB_SAME, "", "deepseek-v3"},
};

static void check_bytes(void)
{
    static char json[20000];
    for (size_t i = 0; i < sizeof byte_rows / sizeof *byte_rows; i++) {
        ig_vocab *v = NULL, *made = NULL;
        ig_vocab_export x = {0};
        ig_error err = {0};
        byte_level(json, byte_rows[i].steps, byte_rows[i].added);
        ig_status st = ig_vocab_from_json(json, strlen(json), NULL, 0, &v, &err);
        if (st == IG_OK) st = ig_vocab_export_new(v, byte_rows[i].n_tokens, NULL, &x, &err);
        if (st == IG_OK && x.fit != IG_VOCAB_NONE) st = ig_vocab_new(&x.spec, &made, &err);
        const char *pre = byte_rows[i].pre;
        const size_t n = byte_rows[i].n_tokens;
        tap_ok(st == IG_OK && x.fit == byte_rows[i].fit && strstr(x.why, byte_rows[i].why) &&
                   (pre ? ig_str_is(x.spec.pre, pre) : !x.spec.pre.ptr) && (!made || !n || ig_vocab_size(made) == n),
               "bytes, row %zu: %d %.*s %s%s", i, (int)x.fit, IG_STR_ARG(x.spec.pre), x.why, err.text);
        ig_vocab_free(made);
        ig_vocab_export_fini(&x);
        ig_vocab_free(v);
    }
}

/* Every allocation fails once: an error with a sentence, nothing leaks. */
static void check_memory(void)
{
    static char json[20000];
    ig_vocab *v = NULL;
    ig_error err = {0};
    uint64_t n = 0;
    bool good = true, done = false;
    byte_level(json, GPT2, TOKEN(257, "<e>", ""));
    if (ig_vocab_from_json(json, strlen(json), NULL, 0, &v, &err) != IG_OK) return;
    while (good && !done && n < 500) {
        ig_vocab_export x;
        err.text[0] = 0;
        ig_fault_set(IG_FAULT_ALLOC, ++n, ENOMEM, false);
        ig_status st = ig_vocab_export_new(v, 0, NULL, &x, &err);
        done = ig_fault_calls(IG_FAULT_ALLOC) < n;
        ig_fault_reset();
        good = done ? st == IG_OK : st == IG_NO_MEMORY && err.text[0];
        ig_vocab_export_fini(&x);
    }
    tap_ok(good && (done || n == 500), "%llu allocations failed one by one %s", (unsigned long long)n, err.text);
    ig_vocab_free(v);
}

int main(void)
{
    check_merges();
    check_bytes();
    check_memory();
    return tap_done();
}
