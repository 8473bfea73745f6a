/* Listings of models in each vendor's form. */
#include <string.h>

#include "serve/dialect/emit.h"
#include "serve/dialect/read.h"

#define NEVER_NS ((uint64_t)INT64_MAX) /* expires: the last time that every client can read */

static void write_tree(json_t *o, ig_buf *out)
{
    if (o)
        ig_json_write(o, out);
    else
        out->failed = true;
    json_decref(o);
}

/* What a row tells may come from a model's file: broken bytes become U+FFFD. */
static json_t *text(const char *s) { return ig_out_bytes(s ? s : "", s ? strlen(s) : 0); }
static json_t *text_or_null(const char *s) { return s ? text(s) : json_null(); }
static json_t *text_or_nothing(const char *s) { return s ? text(s) : NULL; }

static json_t *texts(const char *const *list)
{
    json_t *a = json_array();
    for (size_t i = 0; list && list[i]; i++) (void)json_array_append_new(a, text(list[i]));
    return a;
}

static bool can(const ig_model_row *r, const char *what)
{
    for (size_t i = 0; r->capabilities && r->capabilities[i]; i++)
        if (!strcmp(r->capabilities[i], what)) return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------ OpenAI */

/* What OpenAI lists, and what llama-server and LM Studio add. The context is told three times: what the model was made
 * for, what it would be loaded with, what it is loaded with now. */
static json_t *openai_row(const ig_model_row *r)
{
    const char *made = can(r, "embedding") && !can(r, "completion") ? "embedding" : "text";
    json_t *o = json_pack("{s:o, s:s, s:I, s:s}", "id", text(r->name), "object", "model", "created",
                          (json_int_t)(r->modified_ns / 1000000000u), "owned_by", "ingle");
    json_t *more = json_pack(
        "{s:{s:I, s:I, s:I, s:I, s:I}, s:{s:[s], s:[s]}, s:{s:s}, s:I, s:I, s:o, s:{s:s?, s:I, s:I, s:I, s:o}}", "meta",
        "n_ctx_train", (json_int_t)r->n_ctx_max, "n_embd", (json_int_t)r->n_embd, "n_params", (json_int_t)r->n_params,
        "size", (json_int_t)r->size_bytes, "n_vocab", (json_int_t)r->n_vocab, "architecture", "input_modalities",
        "text", "output_modalities", made, "status", "value", r->state ? r->state : "unloaded", "max_context_length",
        (json_int_t)r->n_ctx_max, "context_length", (json_int_t)(r->n_ctx_loaded ? r->n_ctx_loaded : r->n_ctx_load),
        "quantization", text_or_null(r->quantization), "ingle", "digest", r->digest && *r->digest ? r->digest : NULL,
        "n_ctx_max", (json_int_t)r->n_ctx_max, "n_ctx_load", (json_int_t)r->n_ctx_load, "n_ctx_loaded",
        (json_int_t)r->n_ctx_loaded, "capabilities", texts(r->capabilities));
    if (o && more && r->n_ctx_loaded)
        (void)json_object_set_new(more, "loaded_context_length", json_integer((json_int_t)r->n_ctx_loaded));
    if (o && more && json_object_update(o, more) == 0) {
        json_decref(more);
        return o;
    }
    json_decref(o);
    json_decref(more);
    return NULL;
}

/* Rows to a list; NULL without memory. */
static json_t *rows_of(json_t *(*one)(const ig_model_row *), const ig_model_row *rows, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, one(&rows[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

void ig_list_openai(const ig_model_row *rows, size_t n, ig_buf *out)
{
    write_tree(json_pack("{s:s, s:o}", "object", "list", "data", rows_of(openai_row, rows, n)), out);
}

void ig_list_openai_one(const ig_model_row *row, ig_buf *out) { write_tree(openai_row(row), out); }

/* ------------------------------------------------------------------------------------------------ Anthropic */

static json_t *anthropic_row(const ig_model_row *r)
{
    char time[40];
    return json_pack("{s:s, s:o, s:o, s:s}", "type", "model", "id", text(r->name), "display_name", text(r->name),
                     "created_at", ig_time_text(r->modified_ns, time));
}

void ig_list_anthropic_one(const ig_model_row *row, ig_buf *out) { write_tree(anthropic_row(row), out); }

enum { PAGE_STANDARD = 20, PAGE_MAX = 1000, ID_BYTES = 512 };

static bool read_limit(ig_str query, size_t *limit, ig_problem *problem)
{
    char text[256];
    *limit = PAGE_STANDARD;
    if (!ig_query_get(query, "limit", text, sizeof text)) return true;
    size_t n = 0, digits = strspn(text, "0123456789");
    for (size_t i = 0; i < digits && n <= PAGE_MAX; i++) n = 10 * n + (size_t)(text[i] - '0');
    if (!digits || text[digits] || n < 1 || n > PAGE_MAX)
        return ig_problem_set(problem, IG_P_BAD_REQUEST, "limit", "limit must be a whole number from 1 to %d",
                              PAGE_MAX);
    *limit = n;
    return true;
}

/* Place of the row that the query names; n: it names none. */
static bool read_cursor(ig_str query, const char *name, const ig_model_row *rows, size_t n, size_t *at,
                        ig_problem *problem)
{
    char id[ID_BYTES];
    *at = n;
    if (!ig_query_get(query, name, id, sizeof id) || !*id) return true;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(rows[i].name ? rows[i].name : "", id)) return *at = i, true;
    return ig_problem_set(problem, IG_P_BAD_REQUEST, name, "%s names no model of the list: '%.200s'", name, id);
}

bool ig_page_anthropic(ig_str query, const ig_model_row *rows, size_t n, ig_page *page, ig_problem *problem)
{
    size_t limit, after, before;
    if (!read_limit(query, &limit, problem) || !read_cursor(query, "after_id", rows, n, &after, problem) ||
        !read_cursor(query, "before_id", rows, n, &before, problem))
        return false;
    if (after < n && before < n)
        return ig_problem_set(problem, IG_P_BAD_REQUEST, "before_id", "send after_id or before_id, not both");
    size_t from = after < n ? after + 1 : 0, rest = before - from;
    *page = (ig_page){from, rest < limit ? rest : limit, rest > limit};
    if (before < n) page->from = before - page->n; /* those next to it */
    return true;
}

void ig_list_anthropic(const ig_model_row *rows, size_t n, bool more, ig_buf *out)
{
    json_t *first = text_or_null(n ? rows[0].name : NULL), *last = text_or_null(n ? rows[n - 1].name : NULL);
    write_tree(json_pack("{s:o, s:b, s:o, s:o}", "data", rows_of(anthropic_row, rows, n), "has_more", (int)more,
                         "first_id", first, "last_id", last),
               out);
}

/* ------------------------------------------------------------------------------------------------ Ollama */

static json_t *details(const ig_model_row *r)
{
    json_t *families = r->family ? json_pack("[o]", text(r->family)) : json_null();
    json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "parent_model", text(r->parent), "format", text(r->format),
                          "family", text(r->family), "families", families, "parameter_size", text(r->parameter_size),
                          "quantization_level", text(r->quantization));
    if (o && r->n_ctx_max) (void)json_object_set_new(o, "context_length", json_integer((json_int_t)r->n_ctx_max));
    if (o && r->n_embd) (void)json_object_set_new(o, "embedding_length", json_integer((json_int_t)r->n_embd));
    return o;
}

static json_t *tags_row(const ig_model_row *r)
{
    char time[40];
    return json_pack("{s:o, s:o, s:s, s:I, s:o, s:o, s:o}", "name", text(r->name), "model", text(r->name),
                     "modified_at", ig_time_text(r->modified_ns, time), "size", (json_int_t)r->size_bytes, "digest",
                     text(r->digest), "details", details(r), "capabilities", texts(r->capabilities));
}

void ig_list_tags(const ig_model_row *rows, size_t n, ig_buf *out)
{
    write_tree(json_pack("{s:o}", "models", rows_of(tags_row, rows, n)), out);
}

static json_t *ps_row(const ig_model_row *r)
{
    char time[40];
    return json_pack("{s:o, s:o, s:I, s:o, s:o, s:s, s:I, s:I}", "name", text(r->name), "model", text(r->name), "size",
                     (json_int_t)r->size_bytes, "digest", text(r->digest), "details", details(r), "expires_at",
                     ig_time_text(r->expires_ns ? r->expires_ns : NEVER_NS, time), "size_vram",
                     (json_int_t)r->vram_bytes, "context_length", (json_int_t)r->n_ctx_loaded);
}

void ig_list_ps(const ig_model_row *rows, size_t n, ig_buf *out)
{
    write_tree(json_pack("{s:o}", "models", rows_of(ps_row, rows, n)), out);
}

/* Arrays are vocabularies as a rule: null unless asked for. */
static json_t *model_info(const ig_model_row *r, bool verbose)
{
    json_t *o = r->model_info ? json_copy((json_t *)r->model_info) : json_object(), *v;
    const char *key;
    if (o && !verbose)
        json_object_foreach(o, key, v) if (json_is_array(v))(void) json_object_set_new(o, key, json_null());
    /* Clients read these two, which files may lack. */
    if (o && r->n_params && !json_object_get(o, "general.parameter_count"))
        ig_put(&o, "general.parameter_count", json_integer((json_int_t)r->n_params));
    if (o && !json_object_get(o, "general.basename")) {
        json_t *name = json_object_get(o, "general.name");
        ig_put(&o, "general.basename", json_is_string(name) ? json_incref(name) : text(r->name));
    }
    return o;
}

void ig_list_show(const ig_model_row *r, bool verbose, ig_buf *out)
{
    char time[40];
    write_tree(json_pack("{s:o*, s:o, s:o, s:o, s:o*, s:o, s:O*, s:o, s:O*, s:o, s:s}", "license",
                         text_or_nothing(r->license), "modelfile", text(r->modelfile), "parameters",
                         text(r->parameters_text), "template", text(r->template_text), "system",
                         text_or_nothing(r->system), "details", details(r), "messages", (json_t *)r->messages,
                         "model_info", model_info(r, verbose), "tensors", (json_t *)r->tensors, "capabilities",
                         texts(r->capabilities), "modified_at", ig_time_text(r->modified_ns, time)),
               out);
}

void ig_list_version(const char *ollama_compatible, const char *ours, ig_buf *out)
{
    write_tree(json_pack("{s:s, s:s}", "version", ollama_compatible, "ingle", ours), out);
}
