/* Grammars of the public header: a thin face of text/grammar. */
#include "engine/constrain.h"

ingle_status ingle_grammar_open(ingle_grammar_kind kind, const char *text, size_t n, ingle_grammar **out,
                                ingle_error *err)
{
    ig_error e;
    ingle_grammar *g = ig_calloc(1, sizeof *g);
    *out = NULL;
    if (!g || !(g->pool = ig_mask_pool_new())) {
        ig_free(g);
        return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for a grammar"), &e, err);
    }
    ig_status st =
        (kind == INGLE_GRAMMAR_JSON_SCHEMA ? ig_grammar_from_schema : ig_grammar_from_gbnf)(text, n, &g->g, &e);
    if (st != IG_OK) {
        ingle_grammar_close(g);
        return ig_pass(st, &e, err);
    }
    *out = g;
    return INGLE_OK;
}

void ingle_grammar_close(ingle_grammar *grammar)
{
    if (!grammar) return;
    ig_mask_pool_free(grammar->pool);
    ig_grammar_free(grammar->g);
    for (size_t i = 0; i < grammar->n_relaxed; i++) ig_free(grammar->relaxed[i]);
    ig_free(grammar->relaxed);
    ig_free(grammar);
}

const char *ingle_grammar_relaxed(const ingle_grammar *grammar, size_t i)
{
    return i < grammar->n_relaxed ? grammar->relaxed[i] : NULL;
}

ingle_status ingle_grammar_match(const ingle_grammar *grammar, const char *text, size_t n, bool *match, size_t *n_fits,
                                 ingle_error *err)
{
    ig_error e;
    ig_grammar_state *s;
    ig_status st = ig_grammar_start(grammar->g, IG_GRAMMAR_ANY, &s, &e);
    if (st != IG_OK) return ig_pass(st, &e, err);
    st = ig_grammar_feed(s, text, n, &e);
    if (match) *match = st == IG_OK && ig_grammar_accepts(s);
    if (n_fits) *n_fits = ig_grammar_fits(s);
    ig_grammar_end(s);
    return st == IG_OK ? INGLE_OK : ig_pass(st, &e, err);
}
