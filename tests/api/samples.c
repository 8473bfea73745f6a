/* Writes answers for a validator elsewhere: samples MODEL SCHEMAS.jsonl N. Sample i follows schema i modulo their
 * number, with seed i. One JSON object a line: {"schema": line, "text": answer, "finish": "end", "length" or an error}.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ingle.h"

enum { SCHEMAS_MAX = 200, TOKENS_MAX = 3000 };

typedef struct samples {
    ingle_model *model;
    ingle_engine *engine;
    ingle_session *session;
    ingle_grammar *grammar[SCHEMAS_MAX];
    size_t n;
} samples;

static bool collect(void *user, const char *text, size_t n, int32_t id)
{
    (void)id;
    return ig_buf_add(user, text, n);
}

static bool load(samples *s, const char *path, ingle_error *err)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    bool ok = f != NULL;
    while (ok && s->n < SCHEMAS_MAX && getline(&line, &cap, f) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        char *text = json_dumps(json_object_get(row, "schema"), JSON_ENCODE_ANY);
        ok = text && !ingle_grammar_open(INGLE_GRAMMAR_JSON_SCHEMA, text, strlen(text), &s->grammar[s->n], err);
        if (!ok) fprintf(stderr, "schema %zu: %s\n", s->n, err->text);
        s->n += ok;
        free(text);
        json_decref(row);
    }
    free(line);
    if (f) fclose(f);
    return ok;
}

static const char *answer(samples *s, size_t i, ig_buf *text, ingle_error *err)
{
    static const float temperatures[] = {1, 0.7f, 1.5f};
    static const char prompt[] = "Write JSON.";
    ingle_sampler *sampler = NULL;
    ingle_generate_result r = {0};
    ingle_sampler_options so = {
        .size = sizeof so, .temperature = temperatures[i % 3], .seed = i, .top_p = i % 2 ? 0.95f : 0};
    ingle_generate_options o = {
        .size = sizeof o, .n_max = TOKENS_MAX, .on_text = collect, .user = text, .grammar = s->grammar[i % s->n]};
    ingle_session_truncate(s->session, 0);
    ingle_status st = ingle_session_feed_text(s->session, prompt, sizeof prompt - 1, INGLE_ADD_SPECIAL, err);
    if (st == INGLE_OK) st = ingle_sampler_new(s->model, &so, &sampler, err);
    if (st == INGLE_OK) st = ingle_generate(s->session, sampler, &o, &r, err);
    ingle_sampler_free(sampler);
    if (st != INGLE_OK) return err->text;
    return r.finish == INGLE_FINISH_END && !r.incomplete ? "end" : "length";
}

static bool print(size_t schema, const ig_buf *text, const char *finish)
{
    json_t *said = json_stringn(text->ptr ? text->ptr : "", text->len);
    if (!said) finish = "not UTF-8", said = json_null();
    json_t *line = json_pack("{s:i, s:o, s:s}", "schema", (int)schema, "text", said, "finish", finish);
    bool ok = line && json_dumpf(line, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;
    json_decref(line);
    return ok;
}

int main(int argc, char **argv)
{
    samples s = {0};
    ingle_error err = {.text = "usage: samples MODEL SCHEMAS.jsonl N"};
    ingle_engine_options o = {.size = sizeof o, .n_threads = 1, .n_ctx = 4096};
    bool ok = argc == 4 && !ingle_model_open(argv[1], NULL, &s.model, &err) &&
              !ingle_engine_new(s.model, &o, &s.engine, &err) && !ingle_session_new(s.engine, &s.session, &err) &&
              load(&s, argv[2], &err);
    for (size_t i = 0; ok && i < strtoul(argv[3], NULL, 10); i++) {
        ig_buf text;
        ig_buf_init(&text, 1 << 20);
        const char *finish = answer(&s, i, &text, &err);
        ok = print(i % s.n, &text, finish);
        ig_buf_fini(&text);
    }
    if (!ok) fprintf(stderr, "samples: %s\n", err.text);
    for (size_t i = 0; i < s.n; i++) ingle_grammar_close(s.grammar[i]);
    ingle_session_free(s.session);
    ingle_engine_free(s.engine);
    ingle_model_close(s.model);
    return ok ? 0 : 1;
}
