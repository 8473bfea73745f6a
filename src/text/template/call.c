/* Calls: macros, global functions, and the binding of arguments to parameters. */
#include "text/template/filters.h"
#include "text/template/run.h"

/* ------------------------------------------------------------------------------------------------ arguments */

/* Index of a word in a list of words separated by blanks, or their number. */
static size_t word_index(const char *words, ig_str name)
{
    size_t i = 0;
    for (const char *p = words; *p; i++) {
        size_t len = strcspn(p, " ");
        if (name.len && ig_str_eq((ig_str){p, len}, name)) return i;
        p += len;
        p += *p == ' ';
    }
    return i;
}

bool ig_tr_bind(ig_tr *r, const char *what, ig_str name, const char *params, const ig_targs *args, ig_tval *slots)
{
    size_t n = word_index(params, (ig_str){0});
    for (size_t i = 0; i < n; i++) slots[i] = (ig_tval){0};
    if (args->n > n) {
        TR_WRONG(r, "%s %.*s takes at most %zu arguments, got %zu", what, IG_STR_ARG(name), n, args->n);
        return false;
    }
    for (size_t i = 0; i < args->n; i++) slots[i] = args->pos[i];
    for (size_t i = 0; i < args->n_kw; i++) {
        size_t at = word_index(params, args->kw[i].name);
        if (at < n && !slots[at].kind) {
            slots[at] = args->kw[i].value;
            continue;
        }
        TR_WRONG(r, at < n ? "%s %.*s got its argument %.*s twice" : "%s %.*s has no argument %.*s", what,
                 IG_STR_ARG(name), IG_STR_ARG(args->kw[i].name));
        return false;
    }
    return true;
}

/* --------------------------------------------------------------------------------------------------- macros */

static const ig_tval *keyword(const ig_targs *args, ig_str name)
{
    for (size_t i = 0; i < args->n_kw; i++)
        if (ig_str_eq(args->kw[i].name, name)) return &args->kw[i].value;
    return NULL;
}

static ig_tval rest_of_kwargs(ig_tr *r, const ig_tmacro_def *d, const ig_targs *args)
{
    ig_tdict *rest = ig_td_new(&r->arena, 0);
    if (!rest) return ig_tr_no_memory(r);
    for (size_t i = 0; i < args->n_kw; i++) {
        bool known = ig_str_is(args->kw[i].name, "caller");
        for (uint32_t p = 0; p < d->n_params; p++)
            known = known || ig_str_eq(r->t->names[d->params[p]], args->kw[i].name);
        if (known) continue;
        if (!d->takes_kwargs)
            return TR_WRONG(r, "macro '%.*s' takes no keyword argument '%.*s'", IG_STR_ARG(d->name),
                            IG_STR_ARG(args->kw[i].name));
        ig_tval key = ig_tr_slice(r, args->kw[i].name.ptr, args->kw[i].name.len, false);
        if (!key.kind || !ig_td_set(&r->arena, rest, key, args->kw[i].value)) return ig_tr_no_memory(r);
    }
    return tv_ptr(TV_DICT, rest);
}

/* Parameters become variables of the macro's scope; a default may use the ones before it. */
static bool bind_params(ig_tr *r, const ig_tmacro_def *d, const ig_targs *args)
{
    for (uint32_t i = 0; i < d->n_params; i++) {
        ig_str name = r->t->names[d->params[i]];
        const ig_tval *kw = keyword(args, name);
        if (kw && i < args->n) {
            TR_WRONG(r, "macro '%.*s' got two values for '%.*s'", IG_STR_ARG(d->name), IG_STR_ARG(name));
            return false;
        }
        ig_tval v = i < args->n      ? args->pos[i]
                    : kw             ? *kw
                    : d->defaults[i] ? ig_tr_eval(r, d->defaults[i])
                                     : ig_tr_undef(r, UNDEF_NAME, name, (ig_tval){0});
        if (!ig_tr_set(r, r->scope, d->params[i], v)) return false;
    }
    return true;
}

static bool bind_special(ig_tr *r, const ig_tmacro_def *d, const ig_targs *args, const ig_tmacro *caller)
{
    const ig_tval *kw = keyword(args, IG_STR("caller"));
    ig_tval rest = rest_of_kwargs(r, d, args);
    if (!rest.kind) return false;
    if (args->n > d->n_params && !d->takes_varargs) {
        TR_WRONG(r, "macro '%.*s' takes not more than %u arguments, got %zu", IG_STR_ARG(d->name), d->n_params,
                 args->n);
        return false;
    }
    if ((caller || kw) && !d->takes_caller) {
        TR_WRONG(r, "macro '%.*s' does not use caller()", IG_STR_ARG(d->name));
        return false;
    }
    bool own = false; /* caller is a parameter of the macro itself */
    for (uint32_t i = 0; i < d->n_params; i++) own = own || d->params[i] == r->t->sym_caller;
    if (d->takes_caller && !own) {
        ig_tval v = caller ? tv_ptr(TV_MACRO, caller)
                    : kw   ? *kw
                           : ig_tr_undef(r, UNDEF_TEXT, IG_STR("there is no caller"), (ig_tval){0});
        if (!ig_tr_set(r, r->scope, r->t->sym_caller, v)) return false;
    }
    size_t extra = args->n > d->n_params ? args->n - d->n_params : 0;
    if (d->takes_varargs && !ig_tr_set(r, r->scope, r->t->sym_varargs,
                                       ig_tr_list(r, TV_TUPLE, extra ? args->pos + d->n_params : NULL, extra)))
        return false;
    return !d->takes_kwargs || ig_tr_set(r, r->scope, r->t->sym_kwargs, rest);
}

ig_tval ig_tr_call_macro(ig_tr *r, const ig_tmacro *m, const ig_targs *args, const ig_tmacro *caller)
{
    ig_tscope *outer = r->scope;
    ig_tflow flow;
    if (!ig_tr_enter(r)) return (ig_tval){0};
    ig_tval v = {0};
    if ((r->scope = ig_tr_new_scope(r, m->scope)) && bind_special(r, m->def, args, caller) &&
        bind_params(r, m->def, args))
        v = ig_tr_capture(r, m->def->body, &flow);
    if (v.kind && m->def->escape) v = ig_tr_slice(r, tv_s(v)->p, tv_s(v)->n, true);
    r->scope = outer;
    r->depth--;
    return v;
}

/* -------------------------------------------------------------------------------------------------- globals */

static ig_tval f_range(ig_tr *r, const ig_targs *args)
{
    int64_t v[3] = {0, 0, 1};
    if (args->n < 1 || args->n > 3 || args->n_kw) return TR_WRONG(r, "range() takes 1 to 3 whole numbers");
    for (size_t i = 0; i < args->n; i++) {
        if (!ig_tr_index(r, args->pos[i], "an argument of range()", &v[args->n == 1 ? 1 : i])) return (ig_tval){0};
        if (args->pos[i].kind == TV_BIG) return ig_tr_fail(r, IG_TOO_LARGE, "the numbers of range() are too large");
    }
    if (v[2] == 0) return TR_WRONG(r, "the step of range() cannot be zero");
    uint64_t span = 0, step = v[2] < 0 ? 0 - (uint64_t)v[2] : (uint64_t)v[2];
    if (v[2] > 0 && v[0] < v[1]) span = (uint64_t)v[1] - (uint64_t)v[0];
    if (v[2] < 0 && v[0] > v[1]) span = (uint64_t)v[0] - (uint64_t)v[1];
    uint64_t n = span ? (span - 1) / step + 1 : 0;
    if (n > RANGE_MAX) return ig_tr_fail(r, IG_TOO_LARGE, "range() has more than %d elements", RANGE_MAX);
    ig_trange *g = ig_tr_alloc(r, 1, sizeof *g);
    if (g) *g = (ig_trange){.start = v[0], .stop = v[1], .step = v[2], .n = (size_t)n};
    return tv_ptr(TV_RANGE, g);
}

/* Adds a dict, or pairs, and keyword arguments to a new dict. */
static ig_tdict *dict_of(ig_tr *r, const ig_targs *args, const char *what)
{
    ig_tdict *d = ig_td_new(&r->arena, 0);
    const ig_tval *items = NULL, *pair;
    size_t n = 0, two;
    if (!d) return ig_tr_no_memory(r), NULL;
    if (args->n > 1) return TR_WRONG(r, "%s() takes at most one value without name", what), NULL;
    if (args->n && args->pos[0].kind == TV_DICT) {
        const ig_tdict *from = tv_d(args->pos[0]);
        for (uint32_t i = 0; i < from->n; i++)
            if (!ig_tr_step(r, 1) || !ig_td_set(&r->arena, d, from->e[i].key, from->e[i].value))
                return ig_tr_no_memory(r), NULL;
    } else if (args->n && !ig_tr_items(r, args->pos[0], &items, &n)) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!ig_tr_items(r, items[i], &pair, &two)) return NULL;
        if (two != 2 || !ig_tv_hashable(pair[0])) return TR_WRONG(r, "%s() needs pairs of key and value", what), NULL;
        if (!ig_td_set(&r->arena, d, pair[0], pair[1])) return ig_tr_no_memory(r), NULL;
    }
    for (size_t i = 0; i < args->n_kw; i++) {
        ig_tval key = ig_tr_slice(r, args->kw[i].name.ptr, args->kw[i].name.len, false);
        if (!key.kind || !ig_td_set(&r->arena, d, key, args->kw[i].value)) return ig_tr_no_memory(r), NULL;
    }
    return d;
}

static ig_tval f_dict(ig_tr *r, const ig_targs *args) { return tv_ptr(TV_DICT, dict_of(r, args, "dict")); }
static ig_tval f_namespace(ig_tr *r, const ig_targs *args) { return tv_ptr(TV_NS, dict_of(r, args, "namespace")); }

static ig_tval f_cycler(ig_tr *r, const ig_targs *args)
{
    if (!args->n || args->n_kw) return TR_WRONG(r, "cycler() needs at least one item");
    ig_tcycler *c = ig_tr_alloc(r, 1, sizeof *c);
    if (c) *c = (ig_tcycler){.items = args->pos, .n = args->n};
    return tv_ptr(TV_CYCLER, c);
}

static ig_tval f_joiner(ig_tr *r, const ig_targs *args)
{
    ig_tval sep;
    ig_tjoiner *j = ig_tr_alloc(r, 1, sizeof *j);
    if (!j || !ig_tr_bind(r, "function", IG_STR("joiner"), "sep", args, &sep)) return (ig_tval){0};
    j->separator = sep.kind ? sep : ig_tr_text(r, ", ", 2, false);
    return j->separator.kind ? tv_ptr(TV_JOINER, j) : (ig_tval){0};
}

static ig_tval f_raise(ig_tr *r, const ig_targs *args)
{
    ig_tval message;
    if (!ig_tr_bind(r, "function", IG_STR("raise_exception"), "message", args, &message)) return message;
    if (!message.kind) return TR_WRONG(r, "raise_exception() needs a message");
    ig_tval text = ig_tr_to_text(r, message);
    if (!text.kind) return text;
    r->raised = true;
    r->raise_text = tv_str(text);
    int n = r->raise_text.len < 500 ? (int)r->raise_text.len : 500;
    r->status = ig_fail(r->err, IG_BAD_INPUT, 0, "%.*s", n, r->raise_text.ptr);
    return (ig_tval){0};
}

static ig_tval f_strftime(ig_tr *r, const ig_targs *args)
{
    ig_tval format;
    if (!ig_tr_bind(r, "function", IG_STR("strftime_now"), "format", args, &format)) return format;
    if (format.kind != TV_STR) return TR_WRONG(r, "strftime_now() needs a format");
    return ig_tr_strftime(r, tv_str(format));
}

static ig_tval f_lipsum(ig_tr *r, const ig_targs *args)
{
    (void)args;
    return ig_tr_fail(r, IG_UNSUPPORTED, "lipsum() gives random text and is not supported");
}

static const struct {
    const char *name;
    ig_tval (*call)(ig_tr *, const ig_targs *);
} globals[] = {{"range", f_range},   {"dict", f_dict},     {"namespace", f_namespace},   {"cycler", f_cycler},
               {"joiner", f_joiner}, {"lipsum", f_lipsum}, {"raise_exception", f_raise}, {"strftime_now", f_strftime}};

int ig_tr_global(ig_str name)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (ig_str_is(name, globals[i].name)) return (int)i;
    return -1;
}

const char *ig_tr_global_name(int index) { return globals[index].name; }
bool ig_tr_global_defined(const ig_tr *r, int index) { return globals[index].call != f_strftime || r->now; }

/* --------------------------------------------------------------------------------------------------- calling */

static ig_tval call_joiner(ig_tr *r, ig_tjoiner *j)
{
    if (j->used) return j->separator;
    j->used = true;
    return ig_tr_slice(r, "", 0, false);
}

static ig_tval call_block(ig_tr *r, const ig_tnode *block)
{
    ig_tscope *outer = r->scope;
    ig_tflow flow;
    if (!(r->scope = ig_tr_new_scope(r, r->top))) return (ig_tval){0};
    ig_tval v = ig_tr_capture(r, block->k[0], &flow);
    r->scope = outer;
    return v;
}

ig_tval ig_tr_call(ig_tr *r, ig_tval f, const ig_targs *args, const ig_tmacro *caller)
{
    if (caller && f.kind != TV_MACRO) {
        if (f.kind == TV_UNDEF) return ig_tr_undef_error(r, f);
        return TR_WRONG(r, "{%% call %%} needs a macro, not %s", ig_tv_type(f));
    }
    if (!ig_tr_enter(r)) return (ig_tval){0};
    ig_tval v;
    switch (f.kind) {
    case TV_MACRO: v = ig_tr_call_macro(r, f.u.p, args, caller); break;
    case TV_FUNC: v = globals[f.u.i].call(r, args); break;
    case TV_METHOD: v = ig_tr_call_method(r, f.u.p, args); break;
    case TV_JOINER: v = call_joiner(r, f.u.p); break;
    case TV_BLOCKS:
        v = f.u.p != (const void *)r->t ? call_block(r, f.u.p) : TR_WRONG(r, "self cannot be called");
        break;
    case TV_LOOP:
        v = args->n == 1 && !args->n_kw ? ig_tr_recurse(r, f.u.p, args->pos[0])
                                        : TR_WRONG(r, "loop() takes one argument");
        break;
    case TV_UNDEF: v = ig_tr_undef_error(r, f); break;
    default: v = TR_WRONG(r, "%s cannot be called", ig_tv_type(f)); break;
    }
    r->depth--;
    return v;
}
