/* States of fixed grammars: byte 0 selects the grammar and the notation, the rest is text. At its end the mask over a
 * small vocabulary must be what trying each token says. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    bool schema;
    const char *text;
} sources[] = {
    {true, "true"},
    {true, "{\"properties\":{\"name\":{\"maxLength\":3},\"names\":{\"type\":\"integer\"}},\"required\":[\"name\"],"
           "\"maxProperties\":3}"},
    {true, "{\"items\":{\"pattern\":\"^[a-c\\u00e9]+ ?b*$\"},\"contains\":{\"const\":\"b\"},\"maxContains\":2}"},
    {true, "{\"oneOf\":[{\"type\":\"number\",\"multipleOf\":0.5},{\"type\":\"integer\"},{\"type\":\"object\",\"not\":{"
           "\"required\":[\"a\"]}}]}"},
    {true, "{\"properties\":{\"a\":{\"format\":\"date-time\"}},\"anyOf\":[{\"properties\":{\"b\":{\"$ref\":\"#\"}}},{"
           "\"required\":[\"c\"]}],\"unevaluatedProperties\":false}"},
    {false, "root ::= \"(\" root \")\" | [a-c\\u00E9]+ | \"\""},
    {false, "root ::= s\ns ::= \"a\" s \"b\" s | \"a\" s | \"\""},
    {false, "root ::= item (\",\" \" \"? item)* \"\\n\"\nitem ::= [0-9]+ | \"[\" root \"]\" | .{3}"},
};
enum { N_SOURCES = sizeof sources / sizeof *sources };
static const char *const words[] = {
    "\"",        "\",", "\"}",  "{\"", "{}",   "[",   "]",     "]]",  ":1",   ": ",   "name",
    "\"name\":", "a",   "ab\"", "1",   "12.5", "0",   "\\u00", "\\n", "\xC3", "\xA9", "\xF0\x9F\x98\x80",
    "(",         "))",  "b,",   "\n",  "true", "null"};
enum { N_WORDS = sizeof words / sizeof *words };

static void check_mask(ig_masker *m, const ig_grammar_state *s)
{
    uint64_t mask[(N_WORDS + 63) / 64];
    ig_error err;
    if (ig_masker_mask(m, s, mask, &err) != IG_OK) return;
    for (size_t i = 0; i < N_WORDS; i++) {
        ig_grammar_state *copy;
        if (ig_grammar_copy(s, &copy, &err) != IG_OK) abort();
        if (ig_grammar_feed(copy, words[i], strlen(words[i]), &err) == IG_OK &&
            ig_grammar_alive(copy) != (mask[i / 64] >> (i % 64) & 1))
            abort();
        ig_grammar_end(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ig_grammar *grammars[N_SOURCES];
    static ig_token_index *index;
    static ig_masker *maskers[N_SOURCES];
    ig_error err;
    ig_grammar_state *s;
    if (!index) {
        ig_str tokens[N_WORDS];
        for (size_t i = 0; i < N_WORDS; i++) tokens[i] = ig_str_from(words[i]);
        if (ig_token_index_new(tokens, NULL, NULL, N_WORDS, &index, &err) != IG_OK) abort();
        for (size_t i = 0; i < N_SOURCES; i++) {
            ig_status st = (sources[i].schema ? ig_grammar_from_schema : ig_grammar_from_gbnf)(
                sources[i].text, strlen(sources[i].text), &grammars[i], &err);
            if (st != IG_OK || ig_masker_new(grammars[i], index, 65536, &maskers[i], &err) != IG_OK) abort();
        }
    }
    if (size < 1) return 0;
    size_t at = (data[0] & 127) % N_SOURCES;
    if (ig_grammar_start(grammars[at], data[0] & 128 ? IG_GRAMMAR_CANONICAL : IG_GRAMMAR_ANY, &s, &err) != IG_OK)
        abort();
    if (ig_grammar_feed(s, (const char *)data + 1, size - 1, &err) == IG_OK) {
        check_mask(maskers[at], s);
        if (ig_grammar_accepts(s) && !ig_grammar_alive(s)) abort();
    }
    ig_grammar_end(s);
    return 0;
}
