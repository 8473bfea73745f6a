/* The face of the room: compiling, and states as callers see them. */
#include "grammar.h"

#include "exec.h"

enum { SOURCE_MAX = 1 << 20 };
#define GRAMMAR_BYTES ((size_t)256 << 20)
#define COMPILE_STEPS 400000000u

typedef struct parts {
    const char *gbnf, *schemas; /* NULL: none */
    size_t n_gbnf, n_schemas;
} parts;

static void build(gr_cc *cc, ig_grammar *g, const parts *p)
{
    if (p->schemas && p->gbnf)
        gr_build_values(cc, g, p->schemas, p->n_schemas);
    else if (p->schemas)
        gr_build_schema(cc, g, p->schemas, p->n_schemas);
    if (p->gbnf && cc->st == IG_OK) gr_build_gbnf(cc, g, p->gbnf, p->n_gbnf);
}

static ig_status compile(const parts *p, ig_grammar **out, ig_error *err)
{
    gr_cc cc = {.mem = {.max_bytes = GR_WORK_BYTES}, .st = IG_OK, .err = err, .steps = COMPILE_STEPS};
    size_t n = p->n_gbnf > p->n_schemas ? p->n_gbnf : p->n_schemas;
    *out = NULL;
    if (n > SOURCE_MAX)
        return ig_fail(err, IG_TOO_LARGE, n, "the grammar has %zu bytes, expected at most %d", n, SOURCE_MAX);
    ig_grammar *g = ig_calloc(1, sizeof *g);
    if (!g) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
    g->mem.max_bytes = GRAMMAR_BYTES;
    build(&cc, g, p);
    ig_arena_fini(&cc.mem);
    if (cc.st != IG_OK) {
        ig_grammar_free(g);
        return cc.st;
    }
    *out = g;
    return IG_OK;
}

ig_status ig_grammar_from_schema(const char *text, size_t n, ig_grammar **out, ig_error *err)
{
    return compile(&(parts){.schemas = n ? text : "", .n_schemas = n}, out, err);
}

ig_status ig_grammar_from_gbnf(const char *text, size_t n, ig_grammar **out, ig_error *err)
{
    return compile(&(parts){.gbnf = n ? text : "", .n_gbnf = n}, out, err);
}

ig_status ig_grammar_from_parts(const char *gbnf, size_t n, const char *schemas, size_t n_schemas, ig_grammar **out,
                                ig_error *err)
{
    return compile(&(parts){n ? gbnf : "", n_schemas ? schemas : "[]", n, n_schemas ? n_schemas : 2}, out, err);
}

void ig_grammar_free(ig_grammar *g)
{
    if (!g) return;
    ig_arena_fini(&g->mem);
    ig_free(g);
}

bool ig_grammar_possible(const ig_grammar *g) { return g->live; }
size_t ig_grammar_bytes(const ig_grammar *g) { return g->mem.used_bytes + sizeof *g; }

ig_status ig_grammar_start(const ig_grammar *g, ig_grammar_way way, ig_grammar_state **out, ig_error *err)
{
    ig_grammar_state *s = ig_calloc(1, sizeof *s);
    *out = NULL;
    if (!s || gr_exec_init(&s->x, g, way == IG_GRAMMAR_CANONICAL) != IG_OK) {
        ig_free(s);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the state of a grammar");
    }
    gr_exec_start(&s->x);
    *out = s;
    return IG_OK;
}

ig_status ig_grammar_copy(const ig_grammar_state *from, ig_grammar_state **out, ig_error *err)
{
    IG_TRY(ig_grammar_start(from->x.g, from->x.strict ? IG_GRAMMAR_CANONICAL : IG_GRAMMAR_ANY, out, err));
    if (gr_exec_copy(&(*out)->x, &from->x)) return IG_OK;
    ig_grammar_end(*out);
    *out = NULL;
    return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the state of a grammar");
}

void ig_grammar_end(ig_grammar_state *s)
{
    if (!s) return;
    gr_exec_fini(&s->x);
    ig_free(s);
}

ig_status ig_grammar_feed(ig_grammar_state *s, const char *p, size_t n, ig_error *err)
{
    gr_exec_feed(&s->x, (const uint8_t *)p, n);
    if (s->x.st == IG_OK) return IG_OK;
    ig_status st = s->x.st;
    s->x.st = IG_OK;
    if (st == IG_NO_MEMORY) return ig_fail(err, st, 0, "out of memory for the state of a grammar");
    return ig_fail(err, st, 0, "the text is nested more than %d deep, or has more than %d readings under the grammar",
                   GR_NESTED_MAX, GR_THREADS_MAX);
}

bool ig_grammar_alive(const ig_grammar_state *s) { return s->x.n_th > 0; }
bool ig_grammar_accepts(ig_grammar_state *s) { return gr_exec_accepts(&s->x); }
uint64_t ig_grammar_fits(const ig_grammar_state *s) { return s->x.n_fed; }
