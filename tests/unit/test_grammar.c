/* Grammars: refusals and their sentences, hostile sources, masks against trying every token, the walk of failing
 * allocations. */
#include <errno.h>

#include "base/fault.h"
#include "base/mem.h"
#include "tests/tap.h"
#include "text/grammar/grammar.h"

static ig_grammar *compile(bool schema, const char *text, ig_error *err)
{
    ig_grammar *g = NULL;
    ig_status st = (schema ? ig_grammar_from_schema : ig_grammar_from_gbnf)(text, strlen(text), &g, err);
    return st == IG_OK ? g : NULL;
}

static bool matches(const ig_grammar *g, ig_grammar_way way, const char *text)
{
    ig_grammar_state *s;
    ig_error err;
    if (ig_grammar_start(g, way, &s, &err) != IG_OK) return false;
    bool yes = ig_grammar_feed(s, text, strlen(text), &err) == IG_OK && ig_grammar_accepts(s);
    ig_grammar_end(s);
    return yes;
}

/* What is refused, and what the sentence must say. */
static const struct {
    bool schema;
    const char *text, *says;
} refusals[] = {
    {true, "", "no JSON"},
    {true, "{", "no JSON"},
    {true, "{\"type\":\"string\",\"type\":\"string\"}", "duplicate"},
    {true, "7", "no schema"},
    {true, "{\"type\":\"text\"}", "#/type"},
    {true, "{\"properties\":{\"a\":{\"uniqueItems\":true}}}", "#/properties/a/uniqueItems"},
    {true, "{\"items\":{\"pattern\":\"(?=x)\"}}", "#/items/pattern"},
    {true, "{\"pattern\":\"\\\\bx\"}", "word boundaries"},
    {true, "{\"pattern\":\"(a)\\\\1\"}", "back-references"},
    {true, "{\"pattern\":\"[z-a]\"}", "out of order"},
    {true, "{\"pattern\":\"(\"}", "without )"},
    {true, "{\"pattern\":\"a)\"}", "without ("},
    {true, "{\"pattern\":\"*\"}", "nothing to repeat"},
    {true, "{\"pattern\":\"\\\\\"}", "backslash at the end"},
    {true, "{\"pattern\":\"(a|b)*a(a|b){30}\"}", "states"},
    {true, "{\"patternProperties\":{\"(\":false}}", "patternProperties"},
    {true, "{\"$ref\":\"#/nothing\"}", "#/$ref: refers to nothing"},
    {true, "{\"$ref\":\"other.json\"}", "another document"},
    {true, "{\"$ref\":\"#\"}", "refers to itself"},
    {true, "{\"allOf\":[{\"$ref\":\"#/$defs/a\"}],\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}]}}}",
     "refers to itself"},
    {true, "{\"minLength\":-1}", "#/minLength"},
    {true, "{\"minimum\":\"1\"}", "#/minimum: expected a number"},
    {true, "{\"multipleOf\":0}", "#/multipleOf"},
    {true, "{\"multipleOf\":0.123456789}", "#/multipleOf"},
    {true, "{\"required\":\"a\"}", "#/required"},
    {true, "{\"items\":[true]}", "#/items"},
    {true, "{\"nullable\":true}", "OpenAPI"},
    {true, "{\"dependencies\":{}}", "dependentRequired"},
    {true, "{\"format\":\"regex\"}", "#/format"},
    {true, "{\"maxLength\":1000000}", "limit"},
    {false, "", "root"},
    {false, "root ::= x", "x is not defined"},
    {false, "root ::= root \"a\"", "calls itself"},
    {false, "root ::= \"a\"\nroot ::= \"b\"", "twice"},
    {false, "root = \"a\"", "::="},
    {false, "root ::= \"a", "line 1"},
    {false, "root ::= (\"a\"", "expected )"},
    {false, "root ::= \"a\"{3,2}", "m <= n"},
    {false, "root ::= <[7]>", "token references"},
};

/* The beginning of a text on one line. */
static const char *shown(const char *text)
{
    static char out[61];
    size_t i = 0;
    for (; i < sizeof out - 1 && text[i]; i++)
        out[i] = (char)((uint8_t)text[i] < 32 ? ' ' : text[i] == '#' ? '@' : text[i]);
    out[i] = 0;
    return out;
}

static void test_refusals(void)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        ig_error err = {0};
        ig_grammar *g = compile(refusals[i].schema, refusals[i].text, &err);
        tap_ok(!g && strstr(err.text, refusals[i].says), "refused: %s # %s", shown(refusals[i].text),
               g ? "compiled" : err.text);
        ig_grammar_free(g);
    }
}

static char *repeat(const char *head, const char *part, size_t n, const char *tail)
{
    size_t len = strlen(head) + n * strlen(part) + strlen(tail) + 1, at = 0;
    char *s = malloc(len);
    at += (size_t)sprintf(s, "%s", head);
    for (size_t i = 0; i < n; i++) at += (size_t)sprintf(s + at, "%s", part);
    (void)sprintf(s + at, "%s", tail);
    return s;
}

/* Sources that want to be large, deep or slow: an answer, whichever, in bounded time. */
static void test_hostile(void)
{
    static const struct {
        bool schema;
        const char *head, *part;
        size_t n;
        const char *tail;
    } rows[] = {
        {true, "", "{\"not\":", 100000, "1"},
        {true, "", "{\"not\":", 1500, "{}"},
        {true, "{\"allOf\":[", "{\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]},", 300, "{}]}"},
        {true, "{\"oneOf\":[", "{\"properties\":{\"a\":{\"minLength\":3}}},", 40, "{}]}"},
        {true, "{\"pattern\":\"", "(a{0,50}", 5, "){9}){9}){9}){9}){9}\"}"},
        {true, "{\"pattern\":\"", "(", 5000, "\"}"},
        {true, "{\"pattern\":\"", "a?", 3000, "\"}"},
        {true, "{\"enum\":[", "[[[[[[1]]]]]],", 3000, "1]}"},
        {true, "{\"properties\":{\"a\":{\"items\":{\"not\":", "{\"anyOf\":[{\"maxItems\":2},{\"minItems\":5},", 30,
         "{}"},
        {false, "root ::= ", "(", 50000, "\"a\""},
        {false, "root ::= \"a\"", "*", 5000, ""},
        {false, "root ::= \"a\"", "{9}", 9, ""},
        {false, "root ::= [ab]* \"a\"", " [ab]", 40, ""},
        {false, "root ::= ", "\"a\"? ", 2000, ""},
        {false, "root ::= a\na ::= ", "\"b\" a | ", 3000, "\"c\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = repeat(rows[i].head, rows[i].part, rows[i].n, rows[i].tail);
        ig_error err = {0};
        ig_grammar *g = compile(rows[i].schema, text, &err);
        bool match = g && matches(g, IG_GRAMMAR_ANY, "aaaaaaaabaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        tap_ok(g || err.text[0], "hostile %zu: %.40s... # %s%d", i, shown(text), g ? "compiles, matches " : err.text,
               match);
        ig_grammar_free(g);
        free(text);
    }
}

/* Canonical and any notation. */
static const struct {
    const char *schema, *text;
    bool any, canonical;
} notations[] = {
    {"{\"type\":\"integer\"}", "12", true, true},
    {"{\"type\":\"integer\"}", "12.0", true, false},
    {"{\"type\":\"integer\"}", "-0", true, false},
    {"{\"type\":\"number\"}", "-0.5", true, true},
    {"{\"type\":\"number\"}", "1e5", true, true},
    {"{\"type\":\"number\"}", "1E+5", true, false},
    {"{\"minimum\":0.5,\"type\":\"number\"}", "0.50", true, true},
    {"{\"minimum\":0.5,\"type\":\"number\"}", "0.4999999", false, false},
    {"{\"exclusiveMaximum\":-1.25,\"type\":\"number\"}", "-1.25", false, false},
    {"{\"exclusiveMaximum\":-1.25,\"type\":\"number\"}", "-1.250001", true, true},
    {"{\"multipleOf\":0.01}", "1.23", true, true},
    {"{\"multipleOf\":0.01}", "1.234", false, false},
    {"{\"const\":\"a\\n\"}", "\"a\\n\"", true, true},
    {"{\"const\":\"a\\n\"}", "\"\\u0061\\n\"", true, false},
    {"{\"const\":\"\\u0001\"}", "\"\\u0001\"", true, true},
    {"{\"const\":\"\\ud83d\\ude00\"}", "\"\\uD83D\\uDE00\"", true, false},
    {"{\"maxLength\":1}", "\"\\uD83D\\uDE00\"", true, false},
    {"true", "\"\\uD83D\"", false, false},
    {"true", "[1, {\"a\": 2}]", true, true},
    {"true", "[1,{\"a\":2}]", true, true},
    {"true", "[ 1 ]", true, false},
    {"true", "[1,  2]", true, false},
    {"true", " 1", true, false},
    {"{\"maxProperties\":2,\"required\":[\"a\",\"b\"]}", "{\"b\":1,\"a\":2}", true, true},
    {"{\"maxProperties\":2,\"required\":[\"a\",\"b\"]}", "{\"b\":1,\"c\":2", false, false},
    {"{\"properties\":{\"a\":{},\"ab\":{}},\"additionalProperties\":false}", "{\"ab\":1,\"a\":2}", true, true},
    {"{\"properties\":{\"a\":true}}", "{\"a\":1,\"a\":2}", false, false},
};

static void test_notations(void)
{
    for (size_t i = 0; i < sizeof notations / sizeof *notations; i++) {
        ig_error err = {0};
        ig_grammar *g = compile(true, notations[i].schema, &err);
        bool any = g && matches(g, IG_GRAMMAR_ANY, notations[i].text),
             strict = g && matches(g, IG_GRAMMAR_CANONICAL, notations[i].text);
        tap_ok(g && any == notations[i].any && strict == notations[i].canonical, "%s against %s: %d %d %s",
               notations[i].text, notations[i].schema, any, strict, err.text);
        ig_grammar_free(g);
    }
}

/* A vocabulary of every byte and of pieces that cross every border of JSON. */
static const char *const pieces[] = {
    "\",",      "\":",      "\": ",    "\"}",      "\"]",      "\"}]",        "{\"",
    "[\"",      ",\"",      ", \"",    ": \"",     ":\"",      "abc",         "a",
    "name",     "\"name\"", "nam",     "\"na",     "null",     "true",        "fal",
    "se",       "12",       "123",     "1.5",      "-1",       "0.",          "e5",
    "}}",       "]}",       "],",      "},",       "}, {\"",   "\\n",         "\\\"",
    "\\u",      "\\u00",    "\\u0061", "\xC3\xA9", "\xE2\x82", "\xAC",        "\xF0\x9F\x98\x80",
    "\xF0\x9F", " a",       "a b",     "[]",       "{}",       "[[",          "]]",
    ",1",       "1,2",      "1]",      "kind",     "circle",   "\"kind\":\"", "aaaa",
    "bbb",      "ab",       "(",       ")",        "((",       "))",          "a)",
    "\n",       "\n\n",     " ",       "  ",       "x\"",      "xyz\":1}"};
enum { N_PIECES = sizeof pieces / sizeof *pieces, N_TOKENS = 256 + N_PIECES + 3 };

static void make_vocabulary(ig_str *tokens, bool *end, bool *special)
{
    static char bytes[256];
    memset(end, 0, N_TOKENS);
    memset(special, 0, N_TOKENS);
    for (int i = 0; i < 256; i++) bytes[i] = (char)i, tokens[i] = (ig_str){&bytes[i], 1};
    for (int i = 0; i < N_PIECES; i++) tokens[256 + i] = ig_str_from(pieces[i]);
    tokens[N_TOKENS - 3] = IG_STR("</s>"), end[N_TOKENS - 3] = true;
    tokens[N_TOKENS - 2] = IG_STR("a"), special[N_TOKENS - 2] = true;
    tokens[N_TOKENS - 1] = IG_STR("");
}

static bool same_as_trying(const ig_grammar_state *s, const uint64_t *mask, const ig_str *tokens, const bool *end,
                           const bool *special, int *bad)
{
    ig_error err;
    for (int i = 0; i < N_TOKENS; i++) {
        ig_grammar_state *copy;
        if (ig_grammar_copy(s, &copy, &err) != IG_OK) return false;
        bool want = end[i] ? ig_grammar_accepts(copy) : false;
        if (!end[i] && !special[i] && tokens[i].len) {
            (void)ig_grammar_feed(copy, tokens[i].ptr, tokens[i].len, &err);
            want = ig_grammar_alive(copy);
        }
        ig_grammar_end(copy);
        *bad = i;
        if (want != (mask[i / 64] >> (i % 64) & 1)) return false;
    }
    return true;
}

static const struct {
    bool schema;
    const char *text;
} walked[] = {
    {true, "true"},
    {true, "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"names\":{\"type\":\"integer\"}},"
           "\"required\":[\"name\"],\"additionalProperties\":false}"},
    {true, "{\"type\":\"object\",\"properties\":{\"name\":{\"maxLength\":3}},\"additionalProperties\":{\"type\":["
           "\"number\",\"null\"]}}"},
    {true, "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":5},\"maxItems\":3}"},
    {true, "{\"type\":\"string\",\"pattern\":\"^[a-c\\u00e9]+ ?b*$\"}"},
    {true, "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"kind\":{\"const\":\"circle\"},\"a\":{\"type\":"
           "\"integer\"}},\"required\":[\"kind\"]},"
           "{\"type\":\"object\",\"properties\":{\"kind\":{\"const\":\"abc\"},\"a\":{\"type\":\"boolean\"}},"
           "\"required\":[\"kind\"]}]}"},
    {true, "{\"type\":\"array\",\"contains\":{\"type\":\"integer\",\"minimum\":10},\"maxContains\":2}"},
    {true, "{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":2,\"propertyNames\":{\"maxLength\":3}}"},
    {true, "{\"$defs\":{\"n\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
           "n\"}}]}},\"$ref\":\"#/$defs/n\"}"},
    {false, "root ::= \"(\" root \")\" | [a-c\\u00E9]+ | \"\""},
    {false, "root ::= s\ns ::= \"a\" s \"b\" s | \"a\" s | \"\""},
    {false, "root ::= item (\",\" \" \"? item)* \"\\n\"\nitem ::= [0-9]+ | \"[\" root \"]\" | .{3}"},
};

/* Random walks; at every step the mask must be what trying each token says. */
static void test_masks(void)
{
    static ig_str tokens[N_TOKENS];
    static bool end[N_TOKENS], special[N_TOKENS];
    ig_token_index *index;
    ig_error err;
    uint64_t rng = 7, mask[(N_TOKENS + 63) / 64];
    make_vocabulary(tokens, end, special);
    if (ig_token_index_new(tokens, end, special, N_TOKENS, &index, &err) != IG_OK) return;
    for (size_t i = 0; i < sizeof walked / sizeof *walked; i++) {
        ig_grammar *g = compile(walked[i].schema, walked[i].text, &err);
        size_t n_steps = 0, n_dead = 0;
        bool ok = g != NULL;
        int bad = 0;
        for (int way = 0; way < 2 && ok; way++) {
            ig_masker *m;
            /* A small memory for the second half, so that forgetting is tested, too. */
            ok = ig_masker_new(g, index, way ? 20000 : 0, &m, &err) == IG_OK;
            for (int walk = 0; walk < 12 && ok; walk++) {
                ig_grammar_state *s;
                ok = ig_grammar_start(g, way ? IG_GRAMMAR_CANONICAL : IG_GRAMMAR_ANY, &s, &err) == IG_OK;
                for (int step = 0; step < 25 && ok; step++) {
                    ok = ig_masker_mask(m, s, mask, &err) == IG_OK &&
                         same_as_trying(s, mask, tokens, end, special, &bad);
                    int n = 0, pick = -1;
                    for (int k = 0; k < N_TOKENS; k++) {
                        if (!(mask[k / 64] >> (k % 64) & 1)) continue;
                        rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
                        if (rng % (unsigned)++n == 0) pick = k;
                    }
                    n_steps++;
                    if (pick < 0) n_dead++;
                    if (pick < 0 || end[pick]) break;
                    ok = ok && ig_grammar_feed(s, tokens[pick].ptr, tokens[pick].len, &err) == IG_OK;
                }
                ig_grammar_end(s);
            }
            ig_masker_free(m);
        }
        tap_ok(ok && n_dead == 0 && n_steps > 24, "mask of %s is right in %zu steps, %zu dead ends # token %d",
               shown(walked[i].text), n_steps, n_dead, bad);
        ig_grammar_free(g);
    }
    ig_token_index_free(index);
}

/* Every allocation fails in turn: an error, nothing leaks (the sanitizers look), no crash. */
/* A grammar that reads a text in exponentially many ways has only as many states as the text is long. */
static void test_ambiguous(void)
{
    enum { TRIPLES = 200 };
    ig_error err;
    ig_grammar_state *s = NULL;
    char text[3 * TRIPLES];
    for (size_t i = 0; i < sizeof text; i++) text[i] = i % 3 == 2 ? 'b' : 'a';
    ig_grammar *g = compile(false, "root ::= s\ns ::= \"a\" s \"b\" s | \"a\" s | \"\"", &err);
    ig_status st = g ? ig_grammar_start(g, IG_GRAMMAR_ANY, &s, &err) : err.status;
    if (st == IG_OK) st = ig_grammar_feed(s, text, sizeof text, &err);
    tap_ok(st == IG_OK && ig_grammar_accepts(s), "%d characters that can be read in many ways", 3 * TRIPLES);
    if (s) ig_grammar_end(s);
    ig_grammar_free(g);
}

static void test_no_memory(void)
{
    size_t n_failed = 0;
    bool ok = true, done = false;
    for (uint64_t k = 1; k < 3000 && ok && !done; k++) {
        ig_str token = IG_STR("{\"a\":");
        ig_error err = {0};
        ig_grammar_state *s = NULL;
        ig_token_index *index = NULL;
        ig_masker *m = NULL;
        uint64_t mask[1];
        ig_fault_set(IG_FAULT_ALLOC, k, ENOMEM, false);
        ig_grammar *g = compile(true, "{\"properties\":{\"a\":{\"pattern\":\"a+\"}},\"items\":{\"minimum\":3}}", &err);
        ig_status st = g ? ig_grammar_start(g, IG_GRAMMAR_CANONICAL, &s, &err) : err.status;
        if (st == IG_OK) st = ig_grammar_feed(s, "{\"a\":[3,[", 9, &err);
        if (st == IG_OK) st = ig_token_index_new(&token, NULL, NULL, 1, &index, &err);
        if (st == IG_OK) st = ig_masker_new(g, index, 0, &m, &err);
        if (st == IG_OK) st = ig_masker_mask(m, s, mask, &err);
        done = ig_fault_calls(IG_FAULT_ALLOC) < k;
        ig_fault_reset();
        ok = done ? st == IG_OK : st == IG_OK || st == IG_NO_MEMORY || st == IG_TOO_LARGE;
        n_failed += st != IG_OK;
        ig_masker_free(m);
        ig_token_index_free(index);
        ig_grammar_end(s);
        ig_grammar_free(g);
    }
    tap_ok(ok && done && n_failed > 5, "every allocation may fail: %zu failures reported", n_failed);
}

int main(void)
{
    test_refusals();
    test_hostile();
    test_notations();
    test_masks();
    test_ambiguous();
    test_no_memory();
    return tap_done();
}
