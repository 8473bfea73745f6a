/* The public face of chat templates: JSON in, text out. */
#include "text/template/template.h"
#include "engine/api.h"
#include "engine/engine.h"

struct ingle_template {
    ig_template *t;
    ig_buf source;
    ig_buf bos, eos; /* texts of the model's tokens, with NUL; empty where it has none */
};

static ingle_status no_memory(ingle_error *err)
{
    ig_error e;
    return ig_pass(ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the template"), &e, err);
}

ingle_status ingle_template_compile(const char *source, size_t n, ingle_template **out, ingle_error *err)
{
    ig_error e;
    *out = NULL;
    ingle_template *t = ig_calloc(1, sizeof *t);
    if (!t) return no_memory(err);
    ig_status st = ig_template_compile(source, n, &t->t, &e);
    ig_buf_init(&t->source, n + 1);
    if (st == IG_OK && !ig_buf_add(&t->source, source, n) && n)
        st = ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for the template");
    if (st == IG_OK)
        *out = t;
    else
        ingle_template_free(t);
    return ig_pass(st, &e, err);
}

/* Text of a token and a NUL; nothing for an id that is absent. */
static bool token_text(const ingle_model *model, int32_t id, ig_buf *out)
{
    ig_buf_init(out, 1 << 16);
    if (!model->vocab || id < 0) return true;
    return ig_token_piece(model->vocab, id, true, out) && ig_buf_add(out, "", 1);
}

ingle_status ingle_template_of_model(const ingle_model *model, ingle_template **out, bool *is_default, ingle_error *err)
{
    ig_error e;
    ig_str source = {NULL, 0};
    ig_status st = ig_format_str(model->file, "tokenizer.chat_template", false, &source, &e);
    *out = NULL;
    if (st != IG_OK) return ig_pass(st, &e, err);
    if (is_default) *is_default = source.len == 0;
    if (source.len == 0) source = ig_str_from(ig_template_default);
    ingle_status status = ingle_template_compile(source.ptr, source.len, out, err);
    if (status != INGLE_OK) return status;
    int32_t bos = model->vocab ? ig_vocab_bos(model->vocab) : -1, eos = model->vocab ? ig_vocab_eos(model->vocab) : -1;
    if (token_text(model, bos, &(*out)->bos) && token_text(model, eos, &(*out)->eos)) return INGLE_OK;
    ingle_template_free(*out);
    *out = NULL;
    return no_memory(err);
}

void ingle_template_free(ingle_template *t)
{
    if (!t) return;
    ig_template_free(t->t);
    ig_buf_fini(&t->source);
    ig_buf_fini(&t->bos);
    ig_buf_fini(&t->eos);
    ig_free(t);
}

/* Sets a variable: the caller's text, else what the conversation has, else the model's. */
static bool set_token(ig_arena *arena, ig_tval vars, const char *name, const char *given, const ig_buf *model)
{
    ig_tval old;
    const char *text = given;
    if (!text && ig_tv_get(vars, ig_str_from(name), &old)) return true;
    if (!text && model->len) text = model->ptr;
    return !text || ig_tv_put(arena, vars, ig_str_from(name), ig_tv_text(arena, ig_str_from(text)));
}

static ig_status render(const ingle_template *t, ig_arena *arena, ig_str json, const ingle_template_options *o,
                        ig_template_result *result, char mark[4], ig_error *err)
{
    ig_tval file, vars;
    ig_template_options options = {
        .steps_max = o->steps_max, .memory_max = (size_t)o->memory_max, .output_max = (size_t)o->output_max};
    arena->max_bytes = (size_t)1 << 30;
    IG_TRY(ig_tv_from_json(arena, json.ptr, json.len, &file, err));
    IG_TRY(ig_template_variables(arena, file, &vars, &options.now, err));
    if (o->now) options.now = o->now;
    if (o->guard) IG_TRY(ig_guard_variables(o->guard, (ig_str){t->source.ptr, t->source.len}, arena, &vars, mark, err));
    if (!set_token(arena, vars, "bos_token", o->bos, &t->bos) || !set_token(arena, vars, "eos_token", o->eos, &t->eos))
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the conversation");
    return ig_template_render(t->t, vars, &options, result, err);
}

/* Hands the text over to the caller. */
static ig_status give(ig_template_result *result, ingle_template_text *out, ig_error *err)
{
    result->text.max_bytes = result->text.len + 1;
    result->text.failed = false;
    if (!ig_buf_add(&result->text, "", 1)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the text");
    *out = (ingle_template_text){.text = result->text.ptr, .n = result->text.len - 1, .raised = result->raised};
    result->text = (ig_buf){0};
    return IG_OK;
}

ingle_status ingle_template_render(const ingle_template *t, const char *json, size_t n_json,
                                   const ingle_template_options *options, ingle_template_text *out, ingle_error *err)
{
    ingle_template_options o;
    ig_template_result result = {0};
    ig_arena arena = {0};
    ig_error e;
    char mark[4] = "";
    size_t *veils = NULL, n_veils = 0;
    IG_OPTIONS(&o, options);
    *out = (ingle_template_text){0};
    ig_status st = render(t, &arena, (ig_str){json, n_json}, &o, &result, mark, &e);
    if (st == IG_OK || result.raised) {
        ig_status given = ig_guard_lift(&result.text, mark, &veils, &n_veils, &e);
        if (given == IG_OK) given = give(&result, out, &e);
        if (given != IG_OK) st = given;
    }
    if (out->text)
        out->veils = veils, out->n_veils = n_veils;
    else
        ig_free(veils);
    ig_template_result_fini(&result);
    ig_arena_fini(&arena);
    return ig_pass(st, &e, err);
}

void ingle_template_text_free(ingle_template_text *text)
{
    ig_free(text->text);
    ig_free(text->veils);
    *text = (ingle_template_text){0};
}
