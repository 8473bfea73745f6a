/* Schemas, and GBNF when byte 0 is odd: the source is what follows, up to a byte 0xFF; the rest is a text to match.
 * What compiles must give the same answer however the text is cut, and canonical texts must match in any notation. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool feed(const ig_grammar *g, ig_grammar_way way, const char *text, size_t n, size_t cut)
{
    ig_grammar_state *s;
    ig_error err;
    if (ig_grammar_start(g, way, &s, &err) != IG_OK) abort();
    bool ok = ig_grammar_feed(s, text, cut, &err) == IG_OK && ig_grammar_feed(s, text + cut, n - cut, &err) == IG_OK;
    ok = ok && ig_grammar_accepts(s);
    if (ok && !ig_grammar_alive(s)) abort();
    ig_grammar_end(s);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_grammar *g;
    ig_error err;
    if (size < 1) return 0;
    const char *source = (const char *)data + 1, *end = memchr(source, 0xFF, size - 1);
    size_t n = end ? (size_t)(end - source) : size - 1, n_text = end ? size - 2 - n : 0;
    ig_status st = (data[0] & 1 ? ig_grammar_from_gbnf : ig_grammar_from_schema)(source, n, &g, &err);
    if (st != IG_OK) {
        if (st == IG_BUG || !err.text[0]) abort();
        return 0;
    }
    const char *text = end ? end + 1 : "";
    bool any = feed(g, IG_GRAMMAR_ANY, text, n_text, n_text / 2);
    if (any != feed(g, IG_GRAMMAR_ANY, text, n_text, n_text)) abort();
    if (feed(g, IG_GRAMMAR_CANONICAL, text, n_text, 0) && !any) abort();
    if (any && !ig_grammar_possible(g)) abort();
    ig_grammar_free(g);
    return 0;
}
