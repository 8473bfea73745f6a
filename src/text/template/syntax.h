/* Tokens and the syntax tree. Everything lives in the template's arena and is immutable after compiling. */
#ifndef IG_TEXT_TEMPLATE_SYNTAX_H
#define IG_TEXT_TEMPLATE_SYNTAX_H

#include "base/hash.h"
#include "text/template/value.h"

enum {
    SOURCE_BYTES_MAX = 1 << 20,
    NESTING_MAX = 100, /* of brackets, operators and blocks in a source */
};

typedef enum ig_ttype {
    TK_EOF,
    TK_DATA,
    TK_PRINT,     /* {{ */
    TK_PRINT_END, /* }} */
    TK_BLOCK,     /* {% */
    TK_BLOCK_END, /* %} */
    TK_NAME,
    TK_INT,
    TK_FLOAT,
    TK_STR, /* text: with quotes and escapes */
    TK_OP,
} ig_ttype;

/* Operators of two characters are written as one number: OP2('=', '='). */
#define OP2(a, b) ((a) << 8 | (b))

typedef struct ig_ttoken {
    uint8_t type;
    uint16_t op;
    uint32_t line;
    ig_str text;
} ig_ttoken;

/* Splits a source into tokens, the last is TK_EOF; white space control is applied here. */
ig_status ig_tlex(ig_arena *arena, ig_str source, ig_ttoken **tokens, ig_error *err);
/* Normalises newlines and drops one at the end; *out lives in the arena. Checks UTF-8 and size. */
ig_status ig_tlex_source(ig_arena *arena, const char *source, size_t n, ig_str *out, ig_error *err);

typedef enum ig_ntype {
    /* expressions; k: children */
    N_CONST,   /* val */
    N_NAME,    /* sym */
    N_LIST,    /* k */
    N_TUPLE,   /* k */
    N_DICT,    /* k: key, value, ... */
    N_ARITH,   /* k: first, second, ...; ops[i] before k[i + 1]: + - / // * % ** */
    N_CONCAT,  /* k */
    N_COMPARE, /* k, ops[i] before k[i + 1]; also 'i' in, 'n' not in */
    N_AND,     /* k */
    N_OR,      /* k */
    N_NOT,     /* k[0]; flag: an odd number of nots */
    N_NEG,     /* k[0] */
    N_POS,     /* k[0] */
    N_COND,    /* k: value, condition, otherwise or NULL */
    N_ATTR,    /* k[0], name */
    N_ITEM,    /* k: object, index */
    N_SLICE,   /* k: object, start, stop, step, each of the last three may be NULL */
    N_CALL,    /* k[0], args */
    N_FILTER,  /* k[0] (NULL: the text captured), name, def, args */
    N_TEST,    /* k[0], name, def, args; flag: negated */
    N_NSREF,   /* target of an assignment: sym, name */
    /* statements */
    S_DATA,      /* name: the text */
    S_PRINT,     /* k: expressions; flag: escape */
    S_BODY,      /* k: statements */
    S_IF,        /* k: condition, body, ...; an odd last one is else */
    S_FOR,       /* k: target, iterable, filter or NULL, body, else or NULL; flag: recursive; op: body makes closures */
    S_SET,       /* k: target, value */
    S_SET_BLOCK, /* k: target, body, filter or NULL; flag: escape */
    S_MACRO,     /* macro */
    S_CALL,      /* k[0]: call; macro: the caller */
    S_FILTER,    /* k: filter, body */
    S_WITH,      /* k: target, value, ..., body */
    S_SCOPE,     /* k[0]: body in a scope of its own */
    S_BLOCK,     /* k[0]: body; sees only the top level; flag: scoped */
    S_BREAK,
    S_CONTINUE,
    S_REFUSE, /* name: what is not supported, found where it might never be reached */
    N_TYPES
} ig_ntype;

typedef struct ig_tnode ig_tnode;
typedef struct ig_targ {
    ig_tnode *value;
    enum { ARG_POS, ARG_KEY, ARG_STAR, ARG_STARS } how;
    ig_str name; /* ARG_KEY */
} ig_targ;

typedef struct ig_tmacro_def {
    struct ig_tmacro_def *outer; /* the macro around it */
    ig_str name;                 /* empty for a caller */
    uint32_t sym;
    uint32_t n_params;
    uint32_t *params;    /* [n_params] symbols */
    ig_tnode **defaults; /* [n_params] or NULL entries */
    ig_tnode *body;
    bool takes_caller, takes_varargs, takes_kwargs, escape;
} ig_tmacro_def;

struct ig_tnode {
    uint8_t type, op;
    bool flag;
    uint32_t line, sym, n, n_args;
    ig_tnode **k; /* [n] */
    uint16_t *ops;
    ig_str name;
    ig_tval val;
    const ig_targ *args; /* [n_args] */
    const void *def;     /* struct ig_filter or ig_test; NULL: unknown */
    ig_tmacro_def *macro;
};

struct ig_template {
    ig_arena arena;
    ig_map symbols; /* name -> symbol */
    ig_str *names;  /* [n_symbols] */
    uint32_t n_symbols, cap_symbols;
    int16_t *globals; /* [n_symbols] index of the global function of that name, -1 */
    ig_tnode *body;
    ig_tnode **blocks; /* [n_blocks] S_BLOCK, for self.NAME() */
    uint32_t n_blocks;
    uint32_t sym_loop, sym_caller, sym_varargs, sym_kwargs, sym_self;
};

ig_status ig_tparse(ig_template *t, const ig_ttoken *tokens, ig_error *err);

/* parse.c and parse_expr.c */
typedef struct ig_tparser {
    ig_template *t;
    const ig_ttoken *at;
    ig_error *err;
    ig_status status;
    unsigned depth, loops, soft; /* loops: enclosing in this function; soft: enclosing {% if %} */
    bool escape;                 /* inside {% autoescape true %} */
    unsigned closures;           /* macros, calls and blocks seen so far */
    ig_tmacro_def *macro;        /* the innermost */
    const ig_tnode *unknown;     /* first filter or test that does not exist and is not under a condition */
    const char *unknown_what;
} ig_tparser;

/* Records the first error; gives NULL. */
void *ig_tp_fail(ig_tparser *p, ig_status status, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void *ig_tp_unexpected(ig_tparser *p, const char *expected);
bool ig_tp_enter(ig_tparser *p); /* one level deeper; false past NESTING_MAX */
ig_tnode *ig_tp_node(ig_tparser *p, ig_ntype type, uint32_t line, size_t n);
uint32_t ig_tp_symbol(ig_tparser *p, ig_str name); /* UINT32_MAX without memory */
bool ig_tp_is(const ig_ttoken *t, unsigned op);
bool ig_tp_is_name(const ig_ttoken *t, const char *name);
bool ig_tp_skip(ig_tparser *p, unsigned op);
bool ig_tp_skip_name(ig_tparser *p, const char *name);
bool ig_tp_expect(ig_tparser *p, unsigned op, const char *what);

/* A growing list of children. */
typedef struct ig_tkids {
    ig_tnode **k;
    uint32_t n, cap;
} ig_tkids;
bool ig_tp_push(ig_tparser *p, ig_tkids *kids, ig_tnode *node); /* false for NULL */
ig_tnode *ig_tp_list(ig_tparser *p, ig_ntype type, uint32_t line, const ig_tkids *kids);

ig_tnode *ig_tp_expression(ig_tparser *p, bool condition);
/* ends_at: a name that ends the tuple besides the usual ends, or NULL. */
ig_tnode *ig_tp_tuple(ig_tparser *p, bool condition, const char *ends_at, bool parentheses);
ig_tnode *ig_tp_target(ig_tparser *p, const char *ends_at, bool with_namespace);
ig_tnode *ig_tp_postfix(ig_tparser *p, ig_tnode *node);
ig_tnode *ig_tp_filters(ig_tparser *p, ig_tnode *node, bool start_inline);
ig_tnode *ig_tp_unary(ig_tparser *p, bool with_filters);

#endif
