/* Speed of structured output: how long a schema takes to compile, and how long the mask of the next token takes over a
 * real vocabulary.
 *
 *   bench_grammar VOCABULARY.gguf SCHEMAS.jsonl [N_SCHEMAS [SAMPLES [print]]]
 *
 * SCHEMAS.jsonl: one JSON object a line with the key "schema" (the form of golden/grammars), or "grammar" for GBNF.
 * Texts are sampled at random, half of the time among the tokens that end something, so that they come to an end; the
 * first quarter of the samples warms up and is not counted. With `print` every finished text is printed as {"schema":
 * ..., "text": ...} for a validator elsewhere. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sort.h"
#include "ingle.h"
#include "text/grammar/grammar.h"

enum { STEPS_MAX = 400, TIMES_MAX = 1 << 22 };

typedef struct bench {
    ig_token_index *index;
    ig_str *tokens;
    bool *end;
    uint32_t n_tokens;
    uint8_t *closes; /* [n_tokens] has a quote, bracket or brace in it */
    uint64_t *mask, rng;
    double *cold, *warm; /* microseconds */
    size_t n_cold, n_warm, n_finished, n_cut, n_dead, n_tokens_out;
    bool print;
} bench;

static uint64_t next_random(bench *b)
{
    b->rng ^= b->rng << 13, b->rng ^= b->rng >> 7, b->rng ^= b->rng << 17;
    return b->rng;
}

static bool load_tokens(bench *b, const char *path)
{
    ingle_model *model;
    ingle_error err;
    ingle_model_options options = {.size = sizeof options, .vocab_only = true};
    ingle_model_info info;
    if (ingle_model_open(path, &options, &model, &err) != INGLE_OK) return fprintf(stderr, "%s\n", err.text), false;
    ingle_model_describe(model, &info);
    b->n_tokens = info.n_vocab;
    b->tokens = calloc(b->n_tokens, sizeof *b->tokens);
    b->end = calloc(b->n_tokens, sizeof *b->end);
    b->closes = calloc(b->n_tokens, 1);
    for (uint32_t i = 0; i < b->n_tokens; i++) {
        /* After another token, so that the text is what it adds; vocabularies that join words drop the first blank. */
        int32_t id = (int32_t)i;
        char buf[4096];
        size_t n = 0;
        if (ingle_detokenize(model, &id, 1, 0, buf, sizeof buf, &n, &err) != INGLE_OK) n = 0;
        char *copy = malloc(n + 1);
        memcpy(copy, buf, n);
        b->tokens[i] = (ig_str){copy, n};
        b->end[i] = ingle_token_is_end(model, id);
        for (size_t k = 0; k < n; k++) b->closes[i] |= strchr("\"]}", copy[k] ? copy[k] : 'x') != NULL;
    }
    ingle_model_close(model);
    return true;
}

/* A random allowed token; one that closes something when asked and there is one. -1 when none is allowed. */
static int32_t pick(bench *b)
{
    size_t n_words = ig_token_index_words(b->index);
    for (int close = next_random(b) % 2 == 0; close >= 0; close--) {
        uint32_t n = 0;
        int32_t got = -1;
        for (size_t w = 0; w < n_words; w++)
            for (uint64_t rest = b->mask[w]; rest; rest &= rest - 1) {
                uint32_t id = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(rest);
                if (close && !b->closes[id] && !b->end[id]) continue;
                if (next_random(b) % ++n == 0) got = (int32_t)id;
            }
        if (got >= 0) return got;
    }
    return -1;
}

static void print_text(const json_t *schema, const char *text, size_t n)
{
    json_t *line = json_pack("{s:O,s:o}", "schema", schema, "text", json_stringn(text, n));
    if (line) json_dumpf(line, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    if (line) printf("\n");
    json_decref(line);
}

static void sample(bench *b, const ig_grammar *g, ig_masker *m, const json_t *schema, bool warm)
{
    ig_grammar_state *s;
    ig_error err;
    ig_buf text;
    ig_buf_init(&text, 1 << 20);
    if (ig_grammar_start(g, IG_GRAMMAR_CANONICAL, &s, &err) != IG_OK) return;
    size_t step = 0;
    for (; step < STEPS_MAX; step++) {
        uint64_t from = ig_now_ns();
        if (ig_masker_mask(m, s, b->mask, &err) != IG_OK) fprintf(stderr, "%s\n", err.text);
        double us = (double)(ig_now_ns() - from) / 1e3;
        if (warm && b->n_warm < TIMES_MAX) b->warm[b->n_warm++] = us;
        if (!warm && b->n_cold < TIMES_MAX) b->cold[b->n_cold++] = us;
        int32_t id = pick(b);
        if (id < 0) b->n_dead++;
        if (id < 0 || b->end[id]) break;
        ig_buf_add(&text, b->tokens[id].ptr, b->tokens[id].len);
        if (ig_grammar_feed(s, b->tokens[id].ptr, b->tokens[id].len, &err) != IG_OK) fprintf(stderr, "%s\n", err.text);
        b->n_tokens_out++;
    }
    bool done = ig_grammar_accepts(s);
    b->n_finished += done;
    b->n_cut += !done && step == STEPS_MAX;
    if (done && b->print) print_text(schema, text.ptr ? text.ptr : "", text.len);
    ig_buf_fini(&text);
    ig_grammar_end(s);
}

static bool less(const void *a, const void *b, const void *ctx)
{
    (void)ctx;
    return *(const double *)a < *(const double *)b;
}

static void summary(const char *name, double *us, size_t n)
{
    if (!n) return;
    ig_sort(us, n, sizeof *us, less, NULL);
    fprintf(stderr, "%s: %zu masks, median %.1f us, p90 %.1f, p99 %.1f, p99.9 %.1f, max %.1f\n", name, n, us[n / 2],
            us[n * 9 / 10], us[n * 99 / 100], us[n * 999 / 1000], us[n - 1]);
}

static void run_schema(bench *b, const json_t *schema, unsigned n_samples, double *compile_max)
{
    bool gbnf = json_is_string(schema);
    char *source = gbnf ? strdup(json_string_value(schema)) : json_dumps(schema, JSON_ENCODE_ANY | JSON_COMPACT);
    ig_grammar *g;
    ig_masker *m;
    ig_error err;
    uint64_t from = ig_now_ns();
    if ((gbnf ? ig_grammar_from_gbnf : ig_grammar_from_schema)(source, strlen(source), &g, &err) == IG_OK) {
        double ms = (double)(ig_now_ns() - from) / 1e6;
        if (ms > *compile_max) *compile_max = ms;
        size_t first = b->n_warm;
        if (ig_grammar_possible(g) && ig_masker_new(g, b->index, 0, &m, &err) == IG_OK) {
            for (unsigned i = 0; i < n_samples; i++) sample(b, g, m, schema, i * 4 >= n_samples);
            ig_masker_free(m);
        }
        double worst = 0;
        for (size_t i = first; i < b->n_warm; i++) worst = b->warm[i] > worst ? b->warm[i] : worst;
        if (getenv("INGLE_BENCH_EACH"))
            fprintf(stderr, "%8.1f us max, compiled in %.2f ms: %.100s\n", worst, ms, source);
        ig_grammar_free(g);
    }
    free(source);
}

/* A schema of 2 KiB: an object of 25 fields of different kinds. Median of nine. */
static void time_large_schema(void)
{
    static const char *const kinds[] = {
        "{\"type\":\"string\",\"maxLength\":80}", "{\"type\":\"integer\",\"minimum\":0,\"maximum\":100000}",
        "{\"type\":\"array\",\"items\":{\"enum\":[\"north\",\"south\"]},\"maxItems\":5}",
        "{\"type\":[\"string\",\"null\"],\"pattern\":\"^[A-Z]{2}[0-9]+$\"}", "{\"type\":\"boolean\"}"};
    double ms[9];
    ig_buf text;
    ig_buf_init(&text, 1 << 16);
    ig_buf_printf(&text, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (int i = 0; i < 25; i++) ig_buf_printf(&text, "%s\"a_field_with_number_%d\":%s", i ? "," : "", i, kinds[i % 5]);
    ig_buf_printf(&text, "},\"required\":[\"a_field_with_number_0\",\"a_field_with_number_7\"]}");
    for (int i = 0; i < 9; i++) {
        ig_grammar *g = NULL;
        ig_error err;
        uint64_t from = ig_now_ns();
        if (ig_grammar_from_schema(text.ptr, text.len, &g, &err) != IG_OK) fprintf(stderr, "%s\n", err.text);
        ms[i] = (double)(ig_now_ns() - from) / 1e6;
        ig_grammar_free(g);
    }
    ig_sort(ms, 9, sizeof *ms, less, NULL);
    fprintf(stderr, "a schema of %zu bytes with 25 fields compiles in %.2f ms\n", text.len, ms[4]);
    ig_buf_fini(&text);
}

int main(int argc, char **argv)
{
    bench b = {.rng = 88172645463325252u, .print = argc > 5};
    ig_error err;
    char *line = NULL;
    size_t cap = 0, n_schemas = 0, wanted = argc > 3 ? strtoul(argv[3], NULL, 10) : 50;
    unsigned n_samples = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 20;
    double compile_max = 0;
    if (argc < 3)
        return fprintf(stderr, "usage: bench_grammar VOCABULARY.gguf SCHEMAS.jsonl [N_SCHEMAS [SAMPLES [print]]]\n"), 2;
    FILE *f = fopen(argv[2], "r");
    if (!f || !load_tokens(&b, argv[1])) return 1;
    uint64_t from = ig_now_ns();
    if (ig_token_index_new(b.tokens, b.end, NULL, b.n_tokens, &b.index, &err) != IG_OK) return 1;
    fprintf(stderr, "%u tokens indexed in %.1f ms\n", b.n_tokens, (double)(ig_now_ns() - from) / 1e6);
    b.mask = calloc(ig_token_index_words(b.index), 8);
    b.cold = calloc(TIMES_MAX, sizeof(double));
    b.warm = calloc(TIMES_MAX, sizeof(double));
    for (; n_schemas < wanted && getline(&line, &cap, f) > 0;) {
        json_error_t e;
        json_t *row = json_loads(line, JSON_ALLOW_NUL, &e), *schema = json_object_get(row, "schema");
        if (!row) fprintf(stderr, "%s\n", e.text);
        if (!schema) schema = json_object_get(row, "grammar");
        if (json_is_object(schema) || json_is_string(schema))
            run_schema(&b, schema, n_samples, &compile_max), n_schemas++;
        json_decref(row);
    }
    time_large_schema();
    fprintf(stderr,
            "%zu schemas, slowest compiled in %.2f ms; %zu texts finished, %zu cut, %zu dead ends, %zu tokens\n",
            n_schemas, compile_max, b.n_finished, b.n_cut, b.n_dead, b.n_tokens_out);
    summary("first quarter", b.cold, b.n_cold);
    summary("after it", b.warm, b.n_warm);
    return 0;
}
