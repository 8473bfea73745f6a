/* Tokens, prompts and vectors of a model that a service keeps: the same words and output, through HTTP. */
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "far.h"
#include "input.h"
#include "out.h"
#include "shop.h"

static const char *host_of(const cli_call *call) { return cli_text(call, "host"); }

far_choice far_choose_query(const cli_call *call, const char *const *local, int *code)
{
    bool named;
    ig_error e;
    const char *obstacle = NULL;
    if (cli_set(call, "store") || !daemon_wanted(host_of(call), &named)) return FAR_HERE;
    if (!host_of(call) && (!named || !shop_is_name(call->args[0]))) return FAR_HERE;
    for (; *local && !obstacle; local++)
        if (cli_set(call, *local)) obstacle = *local;
    if (!obstacle) return FAR_THERE;
    if (!host_of(call)) return FAR_HERE;
    ig_fail(&e, IG_BAD_INPUT, 0,
            "--%s is not for the service to decide; leave it out, or leave --host away and name a file", obstacle);
    *code = cli_usage(e.text);
    return FAR_NEITHER;
}

/* Takes the body over. */
static ig_status ask(const cli_call *call, const char *path, json_t *body, json_t **out, ig_error *err)
{
    if (!body) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the request");
    ig_status st = daemon_call(host_of(call), "POST", path, body, out, err);
    json_decref(body);
    if (st == IG_OK && !*out) st = ig_fail(err, IG_IO, 0, "the service sent no answer");
    return st;
}

static json_t *text_of(const char *text, size_t n, ig_error *err)
{
    json_t *v = json_stringn(n ? text : "", n);
    if (!v)
        ig_fail(err, IG_BAD_INPUT, 0,
                "the text is no UTF-8, which cannot be sent to a service; leave --host away and name the model's file");
    return v;
}

static ig_status read_input(const cli_call *call, ig_buf *out, ig_error *err)
{
    ingle_error e;
    const char *text = call->n_args > 1 ? call->args[1] : NULL;
    if (input_text(text, cli_text(call, "file"), out, &e) == INGLE_OK) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "%s", e.text);
}

/* ------------------------------------------------------------------------------------------------ tokens */

static ig_status ids_json(const char *text, size_t n, json_t **out, ig_error *err)
{
    cli_ids ids;
    ingle_error e;
    if (input_ids(text, n, &ids, &e) != INGLE_OK) return ig_fail(err, IG_BAD_INPUT, 0, "%s", e.text);
    *out = json_array();
    for (size_t i = 0; i < ids.n; i++) json_array_append_new(*out, json_integer(ids.ids[i]));
    input_ids_fini(&ids);
    return IG_OK;
}

static ig_status print_ids(const cli_call *call, const ig_buf *text, ig_error *err)
{
    json_t *answer, *id, *content = text_of(text->ptr, text->len, err);
    size_t i;
    const int special = cli_set(call, "special");
    if (!content) return err->status;
    IG_TRY(ask(call, "/tokenize",
               json_pack("{s:s, s:o, s:b, s:b}", "model", call->args[0], "content", content, "add_special", special,
                         "parse_special", special),
               &answer, err));
    json_array_foreach(json_object_get(answer, "tokens"), i, id)
        cli_outf("%s%" JSON_INTEGER_FORMAT, i ? " " : "", json_integer_value(id));
    cli_out("\n", 1);
    json_decref(answer);
    return IG_OK;
}

static ig_status print_text(const cli_call *call, const ig_buf *text, ig_error *err)
{
    json_t *answer, *ids, *byte;
    size_t i;
    IG_TRY(ids_json(text->ptr, text->len, &ids, err));
    IG_TRY(ask(call, "/detokenize",
               json_pack("{s:s, s:o, s:b, s:b}", "model", call->args[0], "tokens", ids, "skip_special_tokens",
                         !cli_set(call, "special"), "with_bytes", 1),
               &answer, err));
    json_array_foreach(json_object_get(answer, "bytes"), i, byte)
    {
        char c = (char)(unsigned char)json_integer_value(byte);
        cli_out(&c, 1);
    }
    json_decref(answer);
    return IG_OK;
}

int far_tokenize(const cli_call *call)
{
    ig_buf text;
    ig_error err;
    ig_buf_init(&text, 0);
    ig_status st = read_input(call, &text, &err);
    if (st == IG_OK) st = (cli_set(call, "decode") ? print_text : print_ids)(call, &text, &err);
    ig_buf_fini(&text);
    return st == IG_OK ? CLI_DONE : cli_fail(err.text);
}

/* ------------------------------------------------------------------------------------------------ prompts */

/* Entries of the file's object that the service knows by name; all others are variables of the template. */
static bool is_own(const char *name)
{
    static const char *const own[] = {"messages", "tools", "add_generation_prompt"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(own[i], name)) return true;
    return false;
}

/* The file form of a conversation as a request. Takes file over. */
static json_t *conversation(const cli_call *call, json_t *file)
{
    const bool list = json_is_array(file);
    const json_t *tools = json_object_get(file, "tools"), *messages = list ? file : json_object_get(file, "messages");
    json_t *body = json_pack("{s:s, s:O*, s:O*, s:b}", "model", call->args[0], "messages", messages, "tools",
                             json_array_size(tools) ? tools : NULL, "add_generation_prompt",
                             list || json_is_true(json_object_get(file, "add_generation_prompt")));
    json_t *more = json_object(), *v;
    const char *name;
    json_object_foreach(file, name, v) if (!is_own(name)) json_object_set(more, name, v);
    if (json_object_size(more)) json_object_set(body, "chat_template_kwargs", more);
    json_decref(more);
    json_decref(file);
    return body;
}

int far_template(const cli_call *call)
{
    ig_buf text;
    ingle_error e;
    ig_error err;
    json_error_t where;
    json_t *answer, *file, *prompt;
    if (input_text(NULL, cli_text(call, "messages"), &text, &e) != INGLE_OK) return cli_fail(e.text);
    file = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    ig_buf_fini(&text);
    if (!file || !json_is_array(json_is_array(file) ? file : json_object_get(file, "messages"))) {
        json_decref(file);
        return cli_fail(
            "expected a conversation in JSON, a list such as [{\"role\": \"user\", \"content\": \"Hi\"}], or "
            "an object with it under \"messages\"");
    }
    if (ask(call, "/apply-template", conversation(call, file), &answer, &err) != IG_OK) return cli_fail(err.text);
    prompt = json_object_get(answer, "prompt");
    cli_out(json_string_value(prompt) ? json_string_value(prompt) : "", json_string_length(prompt));
    json_decref(answer);
    return CLI_DONE;
}

/* ------------------------------------------------------------------------------------------------ vectors */

enum { TEXTS_A_CALL = 64 };

typedef struct vectors {
    const cli_call *call;
    json_t *texts; /* strings, or lists of ids */
    json_t *rows;  /* for --json */
} vectors;

static ig_status add_text(vectors *v, const char *text, size_t n, ig_error *err)
{
    json_t *one = text_of(text, n, err);
    if (!one) return err->status;
    json_array_append_new(v->texts, one);
    return IG_OK;
}

static ig_status add_lines(vectors *v, const ig_buf *text, ig_error *err)
{
    ig_status st = IG_OK;
    for (size_t at = 0; st == IG_OK && at < text->len;) {
        const char *end = memchr(text->ptr + at, '\n', text->len - at);
        size_t n = end ? (size_t)(end - text->ptr) - at : text->len - at;
        if (n) st = add_text(v, text->ptr + at, n, err);
        at += n + 1;
    }
    return st;
}

static ig_status read_texts(vectors *v, ig_error *err)
{
    const cli_call *c = v->call;
    const cli_value *lists = cli_get(c, "tokens");
    ig_status st = IG_OK;
    for (size_t i = 1; st == IG_OK && i < c->n_args; i++) st = add_text(v, c->args[i], strlen(c->args[i]), err);
    for (size_t i = 0; st == IG_OK && i < lists->n_list; i++) {
        json_t *ids;
        st = ids_json(lists->list[i], strlen(lists->list[i]), &ids, err);
        if (st == IG_OK) json_array_append_new(v->texts, ids);
    }
    if (c->n_args > 1 || lists->n_list || st != IG_OK) return st;
    ig_buf text;
    ig_buf_init(&text, 0);
    st = read_input(c, &text, err);
    if (st == IG_OK) st = cli_set(c, "lines") ? add_lines(v, &text, err) : add_text(v, text.ptr, text.len, err);
    ig_buf_fini(&text);
    if (st != IG_OK || json_array_size(v->texts)) return st;
    return ig_fail(err, IG_BAD_INPUT, 0, "there is no text, expected at least one line that is not empty");
}

/* As the model computed them: numbers of 32 bits. */
static void print_row(vectors *v, const json_t *row)
{
    json_t *list = v->rows ? json_array() : NULL, *x;
    size_t i;
    json_array_foreach((json_t *)row, i, x)
    {
        double value = (double)(float)json_number_value(x);
        if (list)
            json_array_append_new(list, json_real(value));
        else
            cli_outf("%s%.9g", i ? " " : "", value);
    }
    if (list)
        json_array_append_new(v->rows, list);
    else
        cli_out("\n", 1);
}

/* A vector, or one for each token. */
static void print_rows(vectors *v, const json_t *of_text)
{
    json_t *row;
    size_t i;
    if (!json_is_array(json_array_get(of_text, 0))) {
        print_row(v, of_text);
        return;
    }
    json_array_foreach((json_t *)of_text, i, row) print_row(v, row);
}

static ig_status embed_some(vectors *v, json_t *texts, ig_error *err)
{
    const cli_call *c = v->call;
    json_t *answer, *one;
    size_t i;
    IG_TRY(ask(c, "/v1/embeddings",
               json_pack("{s:s, s:O, s:s, s:b, s:s*}", "model", c->args[0], "input", texts, "encoding_format", "float",
                         "normalize", (int)cli_set(c, "normalize"), "pooling", cli_text(c, "pooling")),
               &answer, err));
    json_array_foreach(json_object_get(answer, "data"), i, one) print_rows(v, json_object_get(one, "embedding"));
    json_decref(answer);
    return IG_OK;
}

/* The service puts the best first; here every document keeps its place. */
static ig_status rank_some(vectors *v, json_t *texts, ig_error *err)
{
    const cli_call *c = v->call;
    json_t *answer, *one, *rows[TEXTS_A_CALL] = {NULL};
    size_t i;
    IG_TRY(ask(c, "/v1/rerank",
               json_pack("{s:s, s:s, s:O}", "model", c->args[0], "query", cli_text(c, "query"), "documents", texts),
               &answer, err));
    json_array_foreach(json_object_get(answer, "results"), i, one)
    {
        json_int_t at = json_integer_value(json_object_get(one, "index"));
        json_t *scores = json_object_get(one, "scores");
        if (at < 0 || at >= TEXTS_A_CALL || rows[at]) continue;
        rows[at] = scores ? json_incref(scores) : json_pack("[O]", json_object_get(one, "relevance_score"));
    }
    for (i = 0; i < TEXTS_A_CALL; i++) {
        if (rows[i]) print_row(v, rows[i]);
        json_decref(rows[i]);
    }
    json_decref(answer);
    return IG_OK;
}

static void print_json(const vectors *v)
{
    const char *pooling = cli_text(v->call, "pooling");
    bool one = json_array_size(v->texts) == 1 && (!pooling || strcmp(pooling, "none") != 0);
    json_t *object = json_pack("{s:O}", one ? "embedding" : "embeddings", one ? json_array_get(v->rows, 0) : v->rows);
    cli_out_json(object);
    json_decref(object);
}

int far_embed(const cli_call *call)
{
    const char *pooling = cli_text(call, "pooling");
    ig_error err;
    if (pooling && !strcmp(pooling, "rank"))
        return cli_usage(
            "--pooling rank needs the file of the model; ask the service with --query TEXT, or leave --host away");
    vectors v = {call, json_array(), cli_set(call, "json") ? json_array() : NULL};
    ig_status st = read_texts(&v, &err);
    for (size_t i = 0; st == IG_OK && i < json_array_size(v.texts); i += TEXTS_A_CALL) {
        json_t *some = json_array();
        for (size_t k = i; k < i + TEXTS_A_CALL && k < json_array_size(v.texts); k++)
            json_array_append(some, json_array_get(v.texts, k));
        st = (cli_set(call, "query") ? rank_some : embed_some)(&v, some, &err);
        json_decref(some);
    }
    if (st == IG_OK && v.rows) print_json(&v);
    json_decref(v.texts);
    json_decref(v.rows);
    return st == IG_OK ? CLI_DONE : cli_fail(err.text);
}
