/* Statements, and the helpers of the parser. */
#include "text/template/syntax.h"

#include <stdarg.h>
#include <stdio.h>

#include "text/template/filters.h"
#include "text/template/run.h"

void *ig_tp_fail(ig_tparser *p, ig_status status, uint32_t line, const char *format, ...)
{
    if (p->status != IG_OK) return NULL;
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->status = ig_fail(p->err, status, 0, "template line %u: %s", line, text);
    return NULL;
}

static const char *token_name(const ig_ttoken *t, char room[80])
{
    static const char *const names[] = {
        [TK_EOF] = "the end of the template",  [TK_DATA] = "text", [TK_PRINT] = "{{",
        [TK_PRINT_END] = "the end of the tag", [TK_BLOCK] = "{%",  [TK_BLOCK_END] = "the end of the tag"};
    if (t->type < TK_NAME) return names[t->type];
    (void)snprintf(room, 80, "\"%.*s\"", t->text.len < 60 ? (int)t->text.len : 60, t->text.ptr);
    return room;
}

void *ig_tp_unexpected(ig_tparser *p, const char *expected)
{
    char room[80];
    return ig_tp_fail(p, IG_BAD_INPUT, p->at->line, "expected %s, got %s", expected, token_name(p->at, room));
}

bool ig_tp_enter(ig_tparser *p)
{
    if (++p->depth <= NESTING_MAX) return true;
    ig_tp_fail(p, IG_TOO_LARGE, p->at->line, "expressions and blocks are nested more than %d deep", NESTING_MAX);
    return false;
}

ig_tnode *ig_tp_node(ig_tparser *p, ig_ntype type, uint32_t line, size_t n)
{
    ig_tnode *node = ig_arena_alloc(&p->t->arena, 1, sizeof *node);
    ig_tnode **k = node && n ? ig_arena_alloc(&p->t->arena, n, sizeof *k) : NULL;
    if (!node || (n && !k)) return ig_tp_fail(p, IG_NO_MEMORY, line, "out of memory for the template");
    node->type = (uint8_t)type;
    node->line = line;
    node->n = (uint32_t)n;
    node->k = k;
    return node;
}

uint32_t ig_tp_symbol(ig_tparser *p, ig_str name)
{
    ig_template *t = p->t;
    uint32_t sym;
    if (ig_map_get(&t->symbols, name, &sym)) return sym;
    if (t->n_symbols == t->cap_symbols || !ig_map_add(&t->symbols, name, t->n_symbols, NULL)) {
        ig_tp_fail(p, IG_NO_MEMORY, p->at ? p->at->line : 0, "out of memory for the names of the template");
        return UINT32_MAX;
    }
    t->names[t->n_symbols] = name;
    t->globals[t->n_symbols] = (int16_t)ig_tr_global(name);
    return t->n_symbols++;
}

bool ig_tp_is(const ig_ttoken *t, unsigned op) { return t->type == TK_OP && t->op == op; }
bool ig_tp_is_name(const ig_ttoken *t, const char *name) { return t->type == TK_NAME && ig_str_is(t->text, name); }
bool ig_tp_skip(ig_tparser *p, unsigned op)
{
    bool yes = ig_tp_is(p->at, op);
    p->at += yes;
    return yes;
}
bool ig_tp_skip_name(ig_tparser *p, const char *name)
{
    bool yes = ig_tp_is_name(p->at, name);
    p->at += yes;
    return yes;
}
bool ig_tp_expect(ig_tparser *p, unsigned op, const char *what)
{
    if (ig_tp_skip(p, op)) return true;
    ig_tp_unexpected(p, what);
    return false;
}

bool ig_tp_push(ig_tparser *p, ig_tkids *kids, ig_tnode *node)
{
    if (!node) return false;
    if (kids->n == kids->cap) {
        uint32_t cap = kids->cap ? kids->cap * 2 : 4;
        ig_tnode **k = ig_arena_alloc(&p->t->arena, cap, sizeof *k);
        if (!k) return ig_tp_fail(p, IG_NO_MEMORY, node->line, "out of memory for the template"), false;
        if (kids->n) memcpy(k, kids->k, kids->n * sizeof *k);
        kids->k = k;
        kids->cap = cap;
    }
    kids->k[kids->n++] = node;
    return true;
}

ig_tnode *ig_tp_list(ig_tparser *p, ig_ntype type, uint32_t line, const ig_tkids *kids)
{
    ig_tnode *n = ig_tp_node(p, type, line, 0);
    if (!n) return NULL;
    n->k = kids->k;
    n->n = kids->n;
    return n;
}

/* ----------------------------------------------------------------------------------------------- statements */

static bool tag_end(ig_tparser *p)
{
    if (p->at->type != TK_BLOCK_END) return ig_tp_unexpected(p, "the end of the tag"), false;
    p->at++;
    return true;
}

/* The end of a tag that a body follows; it may have a colon, as in Python. */
static bool tag_open(ig_tparser *p)
{
    (void)ig_tp_skip(p, ':');
    return tag_end(p);
}

static ig_tnode *statement(ig_tparser *p);

static ig_tnode *print(ig_tparser *p)
{
    ig_tnode *n = ig_tp_node(p, S_PRINT, p->at->line, 1);
    p->at++;
    if (!n || !(n->k[0] = ig_tp_tuple(p, true, NULL, false))) return NULL;
    n->flag = p->escape;
    if (p->at->type != TK_PRINT_END) return ig_tp_unexpected(p, "the end of the tag");
    p->at++;
    return n;
}

static bool ends_here(const ig_tparser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (p->at->type == TK_BLOCK && ig_tp_is_name(p->at + 1, *ends)) return true;
    return false;
}

/* Statements up to a tag whose word is one of `ends` (a NULL at the end; none: to the end of the source). Stops on the
 * word. */
static ig_tnode *body(ig_tparser *p, const char *const *ends, const char *opener, uint32_t line)
{
    ig_tkids kids = {0};
    if (!ig_tp_enter(p)) return NULL;
    while (p->at->type != TK_EOF && !ends_here(p, ends)) {
        ig_tnode *n = NULL;
        if (p->at->type == TK_DATA) {
            n = ig_tp_node(p, S_DATA, p->at->line, 0);
            if (n) n->name = p->at->text;
            p->at++;
        } else if (p->at->type == TK_PRINT) {
            n = print(p);
        } else {
            p->at++;
            n = statement(p);
        }
        if (!ig_tp_push(p, &kids, n)) return NULL;
    }
    p->depth--;
    if (p->at->type == TK_EOF && *ends)
        return ig_tp_fail(p, IG_BAD_INPUT, line, "{%% %s %%} is not closed, expected {%% %s %%}", opener, *ends);
    if (*ends) p->at++;
    return ig_tp_list(p, S_BODY, line, &kids);
}

/* A body up to its one end tag, that tag included. */
static ig_tnode *whole_body(ig_tparser *p, const char *end, uint32_t line)
{
    const char *const ends[] = {end, NULL};
    ig_tnode *n = body(p, ends, end + 3, line);
    if (!n) return NULL;
    p->at++;
    return n;
}

static ig_tnode *closed_body(ig_tparser *p, const char *end, uint32_t line)
{
    if (!tag_open(p)) return NULL;
    ig_tnode *n = whole_body(p, end, line);
    return n && tag_end(p) ? n : NULL;
}

static ig_tnode *parse_if(ig_tparser *p, uint32_t line)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL}, *const last[] = {"endif", NULL};
    ig_tkids kids = {0};
    p->soft++;
    for (;;) {
        if (!ig_tp_push(p, &kids, ig_tp_tuple(p, false, NULL, false)) || !tag_open(p)) return NULL;
        if (!ig_tp_push(p, &kids, body(p, ends, "if", line))) return NULL;
        if (ig_tp_skip_name(p, "elif")) continue;
        if (!ig_tp_skip_name(p, "else")) break;
        if (!tag_open(p) || !ig_tp_push(p, &kids, body(p, last, "if", line))) return NULL;
        break;
    }
    p->at++;
    p->soft--;
    return tag_end(p) ? ig_tp_list(p, S_IF, line, &kids) : NULL;
}

static ig_tnode *parse_for(ig_tparser *p, uint32_t line)
{
    static const char *const ends[] = {"endfor", "else", NULL}, *const last[] = {"endfor", NULL};
    ig_tnode *n = ig_tp_node(p, S_FOR, line, 5);
    if (!n || !(n->k[0] = ig_tp_target(p, "in", false))) return NULL;
    if (!ig_tp_skip_name(p, "in")) return ig_tp_unexpected(p, "\"in\"");
    if (n->k[0]->type == N_NAME && n->k[0]->sym == p->t->sym_loop)
        return ig_tp_fail(p, IG_BAD_INPUT, line, "the variable of a loop cannot be called \"loop\"");
    if (!(n->k[1] = ig_tp_tuple(p, false, "recursive", false))) return NULL;
    if (ig_tp_skip_name(p, "if") && !(n->k[2] = ig_tp_expression(p, true))) return NULL;
    n->flag = ig_tp_skip_name(p, "recursive");
    unsigned closures = p->closures;
    p->loops++;
    if (!tag_open(p) || !(n->k[3] = body(p, ends, "for", line))) return NULL;
    p->loops--;
    if (ig_tp_skip_name(p, "else") && (!tag_open(p) || !(n->k[4] = body(p, last, "for", line)))) return NULL;
    p->at++;
    n->op = p->closures != closures;
    return tag_end(p) ? n : NULL;
}

static ig_tnode *parse_set(ig_tparser *p, uint32_t line)
{
    ig_tnode *target = ig_tp_target(p, NULL, true);
    if (!target) return NULL;
    if (ig_tp_skip(p, '=')) {
        ig_tnode *n = ig_tp_node(p, S_SET, line, 2);
        if (!n || !(n->k[1] = ig_tp_tuple(p, true, NULL, false))) return NULL;
        n->k[0] = target;
        return tag_end(p) ? n : NULL;
    }
    ig_tnode *n = ig_tp_node(p, S_SET_BLOCK, line, 3);
    if (!n) return NULL;
    n->k[0] = target;
    n->flag = p->escape;
    if (ig_tp_is(p->at, '|') && !(n->k[2] = ig_tp_filters(p, NULL, false))) return NULL;
    return (n->k[1] = closed_body(p, "endset", line)) ? n : NULL;
}

/* Parameters of a macro or of a caller, up to the closing bracket. */
static bool parameters(ig_tparser *p, ig_tmacro_def *m)
{
    ig_tkids defaults = {0};
    const ig_ttoken *start = ++p->at;
    uint32_t n = 0;
    for (const ig_ttoken *t = start; t->type != TK_EOF && t->type != TK_BLOCK_END; t++) n += t->type == TK_NAME;
    m->params = ig_arena_alloc(&p->t->arena, n + 1, sizeof *m->params);
    m->defaults = ig_arena_alloc(&p->t->arena, n + 1, sizeof *m->defaults);
    if (!m->params || !m->defaults)
        return ig_tp_fail(p, IG_NO_MEMORY, start->line, "out of memory for the template"), false;
    while (!ig_tp_is(p->at, ')')) {
        if (m->n_params && !ig_tp_expect(p, ',', "\",\" or \")\" among the parameters")) return false;
        if (p->at->type != TK_NAME || m->n_params > n) return ig_tp_unexpected(p, "the name of a parameter"), false;
        uint32_t i = m->n_params++;
        if ((m->params[i] = ig_tp_symbol(p, p->at->text)) == UINT32_MAX) return false;
        p->at++;
        if (ig_tp_skip(p, '=')) {
            if (!(m->defaults[i] = ig_tp_expression(p, true))) return false;
            defaults.n++;
        } else if (defaults.n) {
            return ig_tp_fail(p, IG_BAD_INPUT, p->at->line, "a parameter without default follows one with"), false;
        }
    }
    p->at++;
    return true;
}

/* Body of a macro or caller: a function of its own, so that loops and conditions outside do not count. */
static ig_tnode *function_body(ig_tparser *p, ig_tmacro_def *m, const char *end, uint32_t line)
{
    ig_tmacro_def *outer = p->macro;
    unsigned loops = p->loops;
    m->outer = outer;
    p->macro = m;
    p->loops = 0;
    p->closures++;
    m->escape = p->escape;
    m->body = closed_body(p, end, line);
    p->macro = outer;
    p->loops = loops;
    return m->body;
}

static ig_tmacro_def *new_macro(ig_tparser *p, uint32_t line)
{
    ig_tmacro_def *m = ig_arena_alloc(&p->t->arena, 1, sizeof *m);
    return m ? m : ig_tp_fail(p, IG_NO_MEMORY, line, "out of memory for the template");
}

static ig_tnode *parse_macro(ig_tparser *p, uint32_t line)
{
    ig_tnode *n = ig_tp_node(p, S_MACRO, line, 0);
    ig_tmacro_def *m = new_macro(p, line);
    if (!n || !m) return NULL;
    if (p->at->type != TK_NAME) return ig_tp_unexpected(p, "the name of the macro");
    m->name = p->at->text;
    if ((m->sym = ig_tp_symbol(p, m->name)) == UINT32_MAX) return NULL;
    p->at++;
    if (!ig_tp_is(p->at, '(')) return ig_tp_unexpected(p, "\"(\"");
    ig_tmacro_def *outer = p->macro;
    p->macro = m; /* the defaults belong to the macro */
    bool ok = parameters(p, m);
    p->macro = outer;
    n->macro = m;
    return ok && function_body(p, m, "endmacro", line) ? n : NULL;
}

static ig_tnode *parse_call(ig_tparser *p, uint32_t line)
{
    ig_tnode *n = ig_tp_node(p, S_CALL, line, 1);
    ig_tmacro_def *m = new_macro(p, line);
    if (!n || !m) return NULL;
    m->name = IG_STR("caller");
    if (ig_tp_is(p->at, '(') && !parameters(p, m)) return NULL;
    n->macro = m;
    n->flag = p->escape;
    if (!(n->k[0] = ig_tp_expression(p, true))) return NULL;
    if (n->k[0]->type != N_CALL) return ig_tp_fail(p, IG_BAD_INPUT, line, "{%% call %%} needs a call such as name()");
    return function_body(p, m, "endcall", line) ? n : NULL;
}

static ig_tnode *parse_filter(ig_tparser *p, uint32_t line)
{
    ig_tnode *n = ig_tp_node(p, S_FILTER, line, 2);
    if (!n || !(n->k[0] = ig_tp_filters(p, NULL, true))) return NULL;
    n->flag = p->escape;
    return (n->k[1] = closed_body(p, "endfilter", line)) ? n : NULL;
}

static ig_tnode *parse_with(ig_tparser *p, uint32_t line)
{
    ig_tkids kids = {0};
    while (p->at->type != TK_BLOCK_END) {
        if (kids.n && !ig_tp_expect(p, ',', "\",\" or the end of the tag")) return NULL;
        if (!ig_tp_push(p, &kids, ig_tp_target(p, NULL, false))) return NULL;
        if (!ig_tp_expect(p, '=', "\"=\"")) return NULL;
        if (!ig_tp_push(p, &kids, ig_tp_expression(p, true))) return NULL;
    }
    if (!ig_tp_push(p, &kids, closed_body(p, "endwith", line))) return NULL;
    return ig_tp_list(p, S_WITH, line, &kids);
}

static ig_tnode *scope(ig_tparser *p, const char *end, uint32_t line)
{
    ig_tnode *n = ig_tp_node(p, S_SCOPE, line, 1);
    return n && (n->k[0] = closed_body(p, end, line)) ? n : NULL;
}

static ig_tnode *parse_generation(ig_tparser *p, uint32_t line)
{
    unsigned loops = p->loops; /* a function of its own in the reference */
    p->loops = 0;
    ig_tnode *n = scope(p, "endgeneration", line);
    p->loops = loops;
    return n;
}

static ig_tnode *parse_autoescape(ig_tparser *p, uint32_t line)
{
    bool outer = p->escape;
    ig_tnode *on = ig_tp_expression(p, true);
    if (!on) return NULL;
    if (on->type != N_CONST || on->val.kind != TV_BOOL)
        return ig_tp_fail(p, IG_UNSUPPORTED, line, "{%% autoescape %%} is supported with true and false only");
    p->escape = on->val.u.b;
    ig_tnode *n = scope(p, "endautoescape", line);
    p->escape = outer;
    return n;
}

static bool add_block(ig_tparser *p, ig_tnode *n)
{
    ig_template *t = p->t;
    for (uint32_t i = 0; i < t->n_blocks; i++)
        if (ig_str_eq(t->blocks[i]->name, n->name))
            return ig_tp_fail(p, IG_BAD_INPUT, n->line, "block \"%.*s\" is defined twice", IG_STR_ARG(n->name)), false;
    if (t->n_blocks == 64) return ig_tp_fail(p, IG_TOO_LARGE, n->line, "more than 64 blocks"), false;
    if (!t->blocks && !(t->blocks = ig_arena_alloc(&t->arena, 64, sizeof *t->blocks)))
        return ig_tp_fail(p, IG_NO_MEMORY, n->line, "out of memory for the template"), false;
    t->blocks[t->n_blocks++] = n;
    return true;
}

static ig_tnode *parse_block(ig_tparser *p, uint32_t line)
{
    ig_tnode *n = ig_tp_node(p, S_BLOCK, line, 1);
    if (!n) return NULL;
    if (p->at->type != TK_NAME) return ig_tp_unexpected(p, "the name of the block");
    n->name = p->at++->text;
    n->flag = ig_tp_skip_name(p, "scoped");
    (void)ig_tp_skip_name(p, "required");
    unsigned loops = p->loops;
    p->loops = 0;
    p->closures++;
    if (!add_block(p, n) || !tag_open(p) || !(n->k[0] = whole_body(p, "endblock", line))) return NULL;
    p->loops = loops;
    if (p->at->type == TK_NAME && ig_str_eq(p->at->text, n->name)) p->at++;
    return tag_end(p) ? n : NULL;
}

static ig_tnode *parse_jump(ig_tparser *p, uint32_t line, ig_ntype type)
{
    const char *word = type == S_BREAK ? "break" : "continue";
    if (!p->loops) return ig_tp_fail(p, IG_BAD_INPUT, line, "{%% %s %%} stands outside of a loop", word);
    return tag_end(p) ? ig_tp_node(p, type, line, 0) : NULL;
}
static ig_tnode *parse_break(ig_tparser *p, uint32_t line) { return parse_jump(p, line, S_BREAK); }
static ig_tnode *parse_continue(ig_tparser *p, uint32_t line) { return parse_jump(p, line, S_CONTINUE); }

static ig_tnode *parse_print(ig_tparser *p, uint32_t line)
{
    ig_tkids kids = {0};
    while (p->at->type != TK_BLOCK_END) {
        if (kids.n && !ig_tp_expect(p, ',', "\",\" or the end of the tag")) return NULL;
        if (!ig_tp_push(p, &kids, ig_tp_expression(p, true))) return NULL;
    }
    ig_tnode *n = ig_tp_list(p, S_PRINT, line, &kids);
    if (n) n->flag = p->escape;
    return tag_end(p) ? n : NULL;
}

/* Other templates do not exist here. Inside {% if %} the error waits until it is reached. */
static ig_tnode *parse_refused(ig_tparser *p, uint32_t line)
{
    ig_str word = p->at[-1].text;
    if (!p->soft)
        return ig_tp_fail(p, IG_UNSUPPORTED, line, "{%% %.*s %%} is not supported: a chat template stands alone",
                          IG_STR_ARG(word));
    ig_tnode *n = ig_tp_node(p, S_REFUSE, line, 0);
    while (p->at->type != TK_BLOCK_END && p->at->type != TK_EOF) p->at++;
    if (n) n->name = word;
    return tag_end(p) ? n : NULL;
}

static const struct {
    const char *word;
    ig_tnode *(*parse)(ig_tparser *p, uint32_t line);
} tags[] = {{"if", parse_if},
            {"for", parse_for},
            {"set", parse_set},
            {"macro", parse_macro},
            {"call", parse_call},
            {"filter", parse_filter},
            {"with", parse_with},
            {"block", parse_block},
            {"generation", parse_generation},
            {"break", parse_break},
            {"continue", parse_continue},
            {"print", parse_print},
            {"autoescape", parse_autoescape},
            {"include", parse_refused},
            {"import", parse_refused},
            {"from", parse_refused},
            {"extends", parse_refused}};

static ig_tnode *statement(ig_tparser *p)
{
    const ig_ttoken *t = p->at;
    if (t->type != TK_NAME) return ig_tp_unexpected(p, "the name of a tag");
    p->at++;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (ig_str_is(t->text, tags[i].word)) return tags[i].parse(p, t->line);
    bool end = ig_str_starts(t->text, IG_STR("end")) || ig_str_is(t->text, "else") || ig_str_is(t->text, "elif");
    return ig_tp_fail(p, end ? IG_BAD_INPUT : IG_UNSUPPORTED, t->line, "{%% %.*s %%} is %s", IG_STR_ARG(t->text),
                      end ? "not expected here" : "no tag that a chat template may use");
}

ig_status ig_tparse(ig_template *t, const ig_ttoken *tokens, ig_error *err)
{
    static const char *const none[] = {NULL};
    ig_tparser p = {.t = t, .at = tokens, .err = err};
    uint32_t *const syms[] = {&t->sym_loop, &t->sym_caller, &t->sym_varargs, &t->sym_kwargs, &t->sym_self};
    static const char *const names[] = {"loop", "caller", "varargs", "kwargs", "self"};
    for (size_t i = 0; i < 5; i++) *syms[i] = ig_tp_symbol(&p, ig_str_from(names[i]));
    t->body = body(&p, none, "", 1);
    if (p.unknown)
        ig_tp_fail(&p, IG_UNSUPPORTED, p.unknown->line, "there is no %s \"%.*s\"", p.unknown_what,
                   IG_STR_ARG(p.unknown->name));
    return p.status;
}
