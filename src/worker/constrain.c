/* Grammars of requests, made through the engine's constraints. */
#include "worker/constrain.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/reply/reply.h"

enum { KEPT = 4, KEY_BYTES_MAX = 4 << 20 };

/* A compiled grammar and what it was compiled from. */
typedef struct kept {
    char *key; /* owned [n_key] */
    size_t n_key;
    ingle_grammar *grammar; /* owned */
    unsigned n_uses;        /* rules, and one while it is kept */
} kept;

struct wk_constrainer {
    const ingle_model *model;
    ig_str source;
    pthread_mutex_t lock; /* of kept and n_uses */
    kept *list[KEPT];     /* the latest first; NULL: none */
};

struct wk_rule {
    wk_constrainer *c;
    kept *k;
    const char *think_start, *think_end; /* static; end NULL: it holds from the first token on */
};

/* -------------------------------------------------------------------------------------------- kept grammars */

ig_status wk_constrainer_new(const ingle_model *m, ig_str source, wk_constrainer **out, ig_error *err)
{
    *out = ig_calloc(1, sizeof **out);
    if (!*out) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for structured output");
    (*out)->model = m;
    (*out)->source = source;
    pthread_mutex_init(&(*out)->lock, NULL);
    return IG_OK;
}

/* Under the lock. */
static void drop(kept *k)
{
    if (!k || --k->n_uses) return;
    ingle_grammar_close(k->grammar);
    ig_free(k->key);
    ig_free(k);
}

void wk_constrainer_free(wk_constrainer *c)
{
    if (!c) return;
    for (size_t i = 0; i < KEPT; i++) drop(c->list[i]);
    pthread_mutex_destroy(&c->lock);
    ig_free(c);
}

static void to_front(wk_constrainer *c, size_t i, kept *k)
{
    memmove(c->list + 1, c->list, i * sizeof *c->list);
    c->list[0] = k;
}

static kept *find(wk_constrainer *c, const ig_buf *key)
{
    kept *k = NULL;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < KEPT && c->list[i] && !k; i++) {
        if (c->list[i]->n_key != key->len || memcmp(c->list[i]->key, key->ptr, key->len) != 0) continue;
        k = c->list[i];
        k->n_uses++;
        to_front(c, i, k);
    }
    pthread_mutex_unlock(&c->lock);
    return k;
}

/* Takes over the grammar and the key's bytes. NULL: out of memory. */
static kept *keep(wk_constrainer *c, ig_buf *key, ingle_grammar *g)
{
    kept *k = ig_calloc(1, sizeof *k);
    if (!k) {
        ingle_grammar_close(g);
        return NULL;
    }
    *k = (kept){.key = key->ptr, .n_key = key->len, .grammar = g, .n_uses = 2};
    *key = (ig_buf){0};
    pthread_mutex_lock(&c->lock);
    drop(c->list[KEPT - 1]);
    to_front(c, KEPT - 1, k);
    pthread_mutex_unlock(&c->lock);
    return k;
}

/* -------------------------------------------------------------------------------------------- requests */

/* What a request asks for; texts are owned and borrowed as named. */
typedef struct wish {
    const json_t *gbnf, *tools; /* NULL: none */
    char *schema, *list;        /* owned JSON: of the answer; of the tools */
    const char *name;           /* of the tool that is forced, "" for any, NULL for none */
    bool parallel;
    ig_str prompt; /* with tools: what matters of it */
} wish;

static const json_t *value_of(const json_t *body, const char *name)
{
    const json_t *v = json_object_get(body, name);
    return json_is_null(v) || json_is_false(v) ? NULL : v;
}

/* Tools, unless the model shall call none. */
static ig_status read_tools(const json_t *body, wish *w, const char **param, ig_error *err)
{
    const json_t *tools = json_object_get(body, "tools"), *choice = json_object_get(body, "tool_choice");
    const char *mode = json_string_value(choice);
    w->tools = json_array_size(tools) ? tools : NULL;
    if (json_is_object(choice)) w->name = json_string_value(json_object_get(choice, "name"));
    if (mode && !strcmp(mode, "required")) w->name = "";
    if (mode && !strcmp(mode, "none")) w->tools = NULL;
    if (w->name && !w->tools) {
        *param = "tools";
        return ig_fail(err, IG_BAD_INPUT, 0, "\"tool_choice\" asks for a call, but there are no tools");
    }
    w->parallel = !(w->name && *w->name) && !json_is_false(json_object_get(body, "parallel_tool_calls"));
    return IG_OK;
}

static ig_status dump(const json_t *v, char **out, ig_error *err)
{
    *out = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    return *out ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a schema");
}

static ig_status read_wish(const json_t *body, wish *w, const char **param, ig_error *err)
{
    const json_t *object = value_of(body, "json_object"), *schema = json_object_get(body, "json_schema");
    if (json_is_null(schema)) schema = NULL;
    w->gbnf = value_of(body, "grammar");
    IG_TRY(read_tools(body, w, param, err));
    *param = w->gbnf ? "grammar" : schema ? "json_schema" : "json_object";
    if ((w->gbnf != NULL) + (object != NULL) + (schema != NULL) + (w->name != NULL) > 1)
        return ig_fail(
            err, IG_BAD_INPUT, 0,
            "more than one of grammar, json_schema, json_object and a forced tool call is asked for, expected one");
    if (w->gbnf) {
        w->tools = NULL; /* the grammar is of the whole answer, calls included */
        return json_is_string(w->gbnf) ? IG_OK : ig_fail(err, IG_BAD_INPUT, 0, "\"grammar\" is no text");
    }
    json_t *any = json_pack("{s:s}", "type", "object");
    ig_status st = schema ? dump(schema, &w->schema, err) : object ? dump(any, &w->schema, err) : IG_OK;
    json_decref(any);
    if (st == IG_OK && w->tools) st = dump(w->tools, &w->list, err);
    return st;
}

/* Two wishes with one key have one grammar. */
static bool put_key(const wish *w, ig_buf *key)
{
    return ig_buf_printf(key, "%s%c%s%c%d%c%s%c%.*s%c", w->list ? w->list : "", 0, w->name ? w->name : "\1", 0,
                         w->parallel, 0, w->schema ? w->schema : "", 0, (int)w->prompt.len,
                         w->prompt.len ? w->prompt.ptr : "", 0) &&
           (!w->gbnf || ig_buf_add(key, json_string_value(w->gbnf), json_string_length(w->gbnf)));
}

static ig_status pass(ingle_status st, const ingle_error *e, ig_error *err)
{
    return st == INGLE_OK ? IG_OK : ig_fail(err, (ig_status)st, e->offset, "%s", e->text);
}

static ig_status compile(const wk_constrainer *c, const wish *w, ingle_grammar **out, const char **param, ig_error *err)
{
    ingle_error e;
    ingle_reply_options o = {.size = sizeof o,
                             .source = c->source.ptr,
                             .n_source = c->source.len,
                             .prompt = w->prompt.ptr,
                             .n_prompt = w->prompt.len,
                             .tools = w->list,
                             .n_tools = w->list ? strlen(w->list) : 0,
                             .answer = w->schema,
                             .n_answer = w->schema ? strlen(w->schema) : 0};
    ingle_tool_choice choice = !w->name ? INGLE_TOOLS_AUTO : *w->name ? INGLE_TOOLS_NAMED : INGLE_TOOLS_REQUIRED;
    ingle_status st;
    if (w->gbnf) {
        st = ingle_grammar_open(INGLE_GRAMMAR_GBNF, json_string_value(w->gbnf), json_string_length(w->gbnf), out, &e);
    } else if (w->tools) {
        *param = "tools";
        st = ingle_grammar_for_tools(&o, choice, w->name, w->parallel, out, &e);
        if (st == INGLE_NOT_FOUND) *param = "tool_choice";
        if (st != INGLE_OK && e.text[0] == '#') *param = "json_schema";
    } else {
        st = ingle_grammar_open(INGLE_GRAMMAR_JSON_SCHEMA, w->schema, strlen(w->schema), out, &e);
    }
    return pass(st, &e, err);
}

/* -------------------------------------------------------------------------------------------- rules */

/* Makes one constraint, so that the vocabulary is indexed before the thread that samples needs it. */
static ig_status try_out(const wk_rule *r, ig_error *err)
{
    ingle_constraint *one;
    IG_TRY(wk_constraint_new(r, &one, err));
    ingle_constraint_free(one);
    return IG_OK;
}

static ig_status find_grammar(wk_rule *r, const wish *w, const char **param, ig_error *err)
{
    ig_buf key;
    ingle_grammar *g = NULL;
    ig_buf_init(&key, KEY_BYTES_MAX);
    ig_status st =
        put_key(w, &key) ? IG_OK : ig_fail(err, IG_TOO_LARGE, 0, "the tools and schemas are larger than 4 MiB");
    if (st == IG_OK && !(r->k = find(r->c, &key))) {
        st = compile(r->c, w, &g, param, err);
        if (st == IG_OK && !(r->k = keep(r->c, &key, g)))
            st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
    }
    ig_buf_fini(&key);
    return st;
}

ig_status wk_rule_new(wk_constrainer *c, const json_t *body, ig_str prompt, wk_rule **out, const char **param,
                      ig_error *err)
{
    wish w = {0};
    *out = NULL;
    ig_status st = read_wish(body, &w, param, err);
    if (st == IG_OK && (w.gbnf || w.schema || w.tools)) {
        wk_rule *r = ig_calloc(1, sizeof *r);
        if (r) r->c = c;
        if (w.tools) w.prompt = ig_reply_prompt_end(c->source, prompt);
        st = r ? find_grammar(r, &w, param, err) : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a grammar");
        const char *kind = json_string_value(json_object_get(body, "kind"));
        bool off = json_is_false(json_object_get(body, "reasoning"));
        if (st == IG_OK && !w.tools && kind && kind[0] == 'c')
            (void)ig_reply_thoughts(c->source, prompt, &r->think_start, &r->think_end);
        if (st == IG_OK && off && r->think_start) r->think_start = r->think_end = NULL;
        if (st == IG_OK) st = try_out(r, err);
        if (st == IG_OK)
            *out = r;
        else
            wk_rule_free(r);
    }
    free(w.schema);
    free(w.list);
    return st;
}

void wk_rule_free(wk_rule *r)
{
    if (!r) return;
    pthread_mutex_lock(&r->c->lock);
    drop(r->k);
    pthread_mutex_unlock(&r->c->lock);
    ig_free(r);
}

const char *wk_rule_relaxed(const wk_rule *r, size_t i) { return ingle_grammar_relaxed(r->k->grammar, i); }

ig_status wk_constraint_new(const wk_rule *r, ingle_constraint **out, ig_error *err)
{
    ingle_error e;
    ingle_constraint_options o = {.size = sizeof o, .think_start = r->think_start, .think_end = r->think_end};
    return pass(ingle_constraint_new(r->c->model, r->k->grammar, &o, out, &e), &e, err);
}
