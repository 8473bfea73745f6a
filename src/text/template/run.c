/* The public face: compiling, one rendering from start to end, and the small helpers of a run. */
#include "text/template/run.h"

#include <stdarg.h>

const char ig_template_default[] =
    "{%- for message in messages -%}\n"
    "{{- '<|im_start|>' + message.role + '\\n' -}}\n"
    "{%- if message.content is string -%}{{- message.content -}}\n"
    "{%- elif message.content -%}\n"
    "{%- for part in message.content -%}\n"
    "{%- if part is string -%}{{- part -}}{%- elif part.type == 'text' -%}{{- part.text -}}\n"
    "{%- else -%}{{- raise_exception('the default chat template takes only text, not ' + part.type) -}}{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- endif -%}\n"
    "{{- '<|im_end|>\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n";

/* ------------------------------------------------------------------------------------------------ compiling */

static ig_status prepare(ig_template *t, const ig_ttoken *tokens, ig_error *err)
{
    uint32_t n = 8;
    for (const ig_ttoken *k = tokens; k->type != TK_EOF; k++) n += k->type == TK_NAME || k->type == TK_STR;
    t->cap_symbols = n;
    t->names = ig_arena_alloc(&t->arena, n, sizeof *t->names);
    t->globals = ig_arena_alloc(&t->arena, n, sizeof *t->globals);
    if (!t->names || !t->globals || !ig_map_init(&t->symbols, n))
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the template");
    return IG_OK;
}

static ig_status compile(ig_template *t, const char *source, size_t n, ig_error *err)
{
    ig_str clean;
    ig_ttoken *tokens;
    t->arena.max_bytes = 512u << 20;
    IG_TRY(ig_tlex_source(&t->arena, source, n, &clean, err));
    IG_TRY(ig_tlex(&t->arena, clean, &tokens, err));
    IG_TRY(prepare(t, tokens, err));
    return ig_tparse(t, tokens, err);
}

ig_status ig_template_compile(const char *source, size_t n, ig_template **out, ig_error *err)
{
    *out = NULL;
    ig_template *t = ig_calloc(1, sizeof *t);
    if (!t) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the template");
    ig_status st = compile(t, source, n, err);
    if (st == IG_OK)
        *out = t;
    else
        ig_template_free(t);
    return st;
}

void ig_template_free(ig_template *t)
{
    if (!t) return;
    ig_map_fini(&t->symbols);
    ig_arena_fini(&t->arena);
    ig_free(t);
}

bool ig_template_mentions(const ig_template *t, const char *name)
{
    uint32_t sym;
    return ig_map_get(&t->symbols, ig_str_from(name), &sym);
}

/* ------------------------------------------------------------------------------------------------ rendering */

ig_tval ig_tr_fail(ig_tr *r, ig_status status, const char *format, ...)
{
    if (r->status != IG_OK) return (ig_tval){0};
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->status = ig_fail(r->err, status, 0, "template line %u: %s", r->line, text);
    return (ig_tval){0};
}

ig_tval ig_tr_no_memory(ig_tr *r)
{
    if (r->arena.max_bytes && r->arena.used_bytes > r->arena.max_bytes - r->arena.max_bytes / 8)
        return ig_tr_fail(r, IG_TOO_LARGE, "the template uses more than %zu MiB of memory", r->arena.max_bytes >> 20);
    return ig_tr_fail(r, IG_TOO_LARGE, "a value is too large");
}

bool ig_tr_step(ig_tr *r, uint64_t n)
{
    if (r->fuel >= n) {
        r->fuel -= n;
        return true;
    }
    r->fuel = 0;
    ig_tr_fail(r, IG_TOO_LARGE, "the template takes too many steps");
    return false;
}

bool ig_tr_enter(ig_tr *r)
{
    if (!ig_tr_step(r, 1)) return false;
    if (r->depth < DEPTH_MAX) return r->depth++, true;
    ig_tr_fail(r, IG_TOO_LARGE, "macros, loops and expressions are nested too deep");
    return false;
}

void *ig_tr_alloc(ig_tr *r, size_t n, size_t size)
{
    size_t bytes;
    if (!ig_mul_sz(n, size, &bytes)) return ig_tr_no_memory(r), NULL;
    if (!ig_tr_step(r, bytes / 256)) return NULL;
    void *p = ig_arena_alloc(&r->arena, bytes ? bytes : 1, 1);
    if (!p) ig_tr_no_memory(r);
    return p;
}

ig_tval ig_tr_ok(ig_tr *r, ig_tval v) { return v.kind ? v : ig_tr_no_memory(r); }

ig_tval ig_tr_slice(ig_tr *r, const char *p, size_t n, bool markup)
{
    if (!ig_tr_step(r, n / 256)) return (ig_tval){0};
    return ig_tr_ok(r, ig_tv_borrow(&r->arena, p, n, markup));
}

ig_tval ig_tr_text(ig_tr *r, const char *p, size_t n, bool markup)
{
    if (!ig_tr_step(r, n / 64)) return (ig_tval){0};
    return ig_tr_ok(r, ig_tv_copy(&r->arena, p, n, markup));
}

ig_tval ig_tr_list(ig_tr *r, ig_tkind kind, const ig_tval *items, size_t n)
{
    return ig_tr_ok(r, ig_tv_seq(&r->arena, kind, items, n));
}

ig_tval ig_tr_undef(ig_tr *r, ig_twhy why, ig_str name, ig_tval of)
{
    ig_tundef *u = ig_tr_alloc(r, 1, sizeof *u);
    if (u) *u = (ig_tundef){.why = why, .name = name, .type = of.kind ? ig_tv_type(of) : ""};
    return tv_ptr(TV_UNDEF, u);
}

ig_tval ig_tr_undef_error(ig_tr *r, ig_tval v)
{
    const ig_tundef *u = v.u.p;
    switch (u->why) {
    case UNDEF_NAME: return TR_WRONG(r, "'%.*s' is undefined", IG_STR_ARG(u->name));
    case UNDEF_ATTR: return TR_WRONG(r, "'%s object' has no attribute '%.*s'", u->type, IG_STR_ARG(u->name));
    case UNDEF_ITEM: return TR_WRONG(r, "%s object has no element %.*s", u->type, IG_STR_ARG(u->name));
    case UNDEF_UNSAFE:
        return TR_WRONG(r, "access to attribute '%.*s' of '%s' object is unsafe", IG_STR_ARG(u->name), u->type);
    default: return TR_WRONG(r, "%.*s", IG_STR_ARG(u->name));
    }
}

size_t ig_tr_mark(ig_tr *r) { return r->scratch.len; }

bool ig_tr_add(ig_tr *r, const char *p, size_t n)
{
    if (!ig_tr_step(r, 1 + n / 64)) return false;
    if (ig_buf_add(&r->scratch, p, n)) return true;
    ig_tr_fail(r, IG_TOO_LARGE, "a text is longer than %zu MiB", r->scratch.max_bytes >> 20);
    return false;
}

bool ig_tr_add_str(ig_tr *r, ig_str s) { return ig_tr_add(r, s.ptr, s.len); }

bool ig_tr_repeat(ig_tr *r, char c, size_t n)
{
    char block[256];
    memset(block, c, sizeof block);
    for (; n; n -= n < sizeof block ? n : sizeof block)
        if (!ig_tr_add(r, block, n < sizeof block ? n : sizeof block)) return false;
    return true;
}

ig_str ig_tr_peek(ig_tr *r, size_t mark)
{
    return r->scratch.len > mark ? (ig_str){r->scratch.ptr + mark, r->scratch.len - mark} : IG_STR("");
}

ig_tval ig_tr_take(ig_tr *r, size_t mark, bool markup)
{
    ig_str s = ig_tr_peek(r, mark);
    ig_tval v = r->status == IG_OK ? ig_tr_text(r, s.ptr, s.len, markup) : (ig_tval){0};
    r->scratch.len = mark;
    return v;
}

void ig_tr_drop(ig_tr *r, size_t mark) { r->scratch.len = mark; }

bool ig_tr_push(ig_tr *r, ig_tvec *vec, ig_tval v)
{
    if (v.kind == TV_FAIL) return false;
    if (vec->n == vec->cap) {
        size_t cap = vec->cap ? vec->cap * 2 : 4;
        ig_tval *more = ig_tr_alloc(r, cap, sizeof *more);
        if (!more) return false;
        if (vec->n) memcpy(more, vec->v, vec->n * sizeof *more);
        vec->v = more;
        vec->cap = cap;
    }
    vec->v[vec->n++] = v;
    return true;
}

static bool start(ig_tr *r, ig_tval variables)
{
    r->top = r->scope = ig_tr_alloc(r, 1, sizeof *r->top);
    if (!r->top || !(r->top->vals = ig_tr_alloc(r, r->t->n_symbols, sizeof(ig_tval)))) return false;
    const ig_tdict *d = variables.kind == TV_DICT ? tv_d(variables) : NULL;
    for (uint32_t i = 0; d && i < d->n; i++) {
        uint32_t sym;
        if (d->e[i].key.kind == TV_STR && ig_map_get(&r->t->symbols, tv_str(d->e[i].key), &sym))
            r->top->vals[sym] = d->e[i].value;
    }
    return true;
}

static ig_status finish(ig_tr *r, ig_template_result *result)
{
    if (r->status == IG_OK && r->out.failed)
        ig_tr_fail(r, IG_TOO_LARGE, "the output is longer than %zu bytes", r->out.max_bytes);
    if (r->status == IG_OK) {
        result->text = r->out;
        r->out = (ig_buf){0};
    } else if (r->raised) {
        result->raised = true;
        ig_buf_init(&result->text, r->raise_text.len + 1);
        (void)ig_buf_add(&result->text, r->raise_text.ptr, r->raise_text.len);
    }
    return r->status;
}

ig_status ig_template_render(const ig_template *t, ig_tval variables, const ig_template_options *options,
                             ig_template_result *result, ig_error *err)
{
    ig_template_options o = options ? *options : (ig_template_options){0};
    ig_error room;
    ig_tr r = {.t = t, .err = err ? err : &room, .line = 1, .now = o.now};
    *result = (ig_template_result){0};
    r.fuel = o.steps_max ? o.steps_max : 20000000;
    r.arena.max_bytes = o.memory_max ? o.memory_max : (size_t)256 << 20;
    ig_buf_init(&r.out, o.output_max ? o.output_max : (size_t)32 << 20);
    ig_buf_init(&r.scratch, r.out.max_bytes);
    if (start(&r, variables)) (void)ig_tr_exec(&r, t->body);
    ig_status st = finish(&r, result);
    ig_buf_fini(&r.out);
    ig_buf_fini(&r.scratch);
    ig_arena_fini(&r.arena);
    return st;
}

void ig_template_result_fini(ig_template_result *result) { ig_buf_fini(&result->text); }
