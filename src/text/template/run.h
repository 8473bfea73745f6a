/* One rendering: its limits, its variables, and what the parts of the interpreter offer each other. Functions that give
 * a value give TV_FAIL after recording an error in the run; it is passed up unchanged. */
#ifndef IG_TEXT_TEMPLATE_RUN_H
#define IG_TEXT_TEMPLATE_RUN_H

#include <stdio.h>

#include "text/template/syntax.h"
#include "text/template/value.h"

struct ig_filter; /* filter_table.h */
struct ig_test;   /* tests.c */
struct ig_method; /* methods.c */

enum {
    DEPTH_MAX = 1000,     /* nested evaluations; with the stack they take it fits 256 KiB (test_templates measures) */
    RANGE_MAX = 100000,   /* elements of range(), as in the reference's sandbox */
    PRINT_DEPTH_MAX = 220 /* nested lists and dicts in a printed value */
};

/* Variables of one block; the outermost one is an array over all symbols. */
typedef struct ig_tscope {
    struct ig_tscope *parent;
    uint32_t n, cap;
    uint32_t *syms; /* [n]; NULL: the outermost */
    ig_tval *vals;  /* [n], outermost [n_symbols] with TV_FAIL for what is not set */
} ig_tscope;

typedef struct ig_tmacro {
    const ig_tmacro_def *def;
    ig_tscope *scope; /* where it was defined */
} ig_tmacro;

/* State behind the variable loop. */
typedef struct ig_tloop {
    const ig_tnode *node; /* S_FOR */
    ig_tscope *scope;     /* around the loop, for recursion */
    const ig_tval *items;
    size_t n, at;
    uint32_t depth0;
    ig_tval last; /* of changed(): a tuple, TV_FAIL before the first call */
} ig_tloop;

typedef struct ig_tkwarg {
    ig_str name;
    ig_tval value;
} ig_tkwarg;
typedef struct ig_targs {
    const ig_tval *pos;
    size_t n;
    const ig_tkwarg *kw;
    size_t n_kw;
} ig_targs;

typedef struct ig_tr {
    ig_arena arena;
    const ig_template *t;
    ig_buf out;     /* output; blocks that are captured are cut off its end again */
    ig_buf scratch; /* for text under construction: from `len` at the start of a use to its end */
    uint64_t fuel;
    unsigned depth;
    uint32_t line;
    ig_tscope *scope, *top;
    ig_error *err;
    ig_status status;
    bool raised;
    ig_str raise_text;
    const char *now;
} ig_tr;

/* Records "template line N: ..." unless an error is there already; gives TV_FAIL. */
ig_tval ig_tr_fail(ig_tr *r, ig_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define TR_WRONG(r, ...) ig_tr_fail(r, IG_BAD_INPUT, __VA_ARGS__)
ig_tval ig_tr_no_memory(ig_tr *r);
/* Uses up n steps; false when none are left. */
bool ig_tr_step(ig_tr *r, uint64_t n);
bool ig_tr_enter(ig_tr *r);                         /* one evaluation deeper; leave with r->depth-- when it was true */
void *ig_tr_alloc(ig_tr *r, size_t n, size_t size); /* NULL records the error; charges steps */

/* Values with the error recorded where memory is short. */
ig_tval ig_tr_ok(ig_tr *r, ig_tval v);
ig_tval ig_tr_text(ig_tr *r, const char *p, size_t n, bool markup);          /* copies */
ig_tval ig_tr_slice(ig_tr *r, const char *p, size_t n, bool markup);         /* borrows */
ig_tval ig_tr_list(ig_tr *r, ig_tkind kind, const ig_tval *items, size_t n); /* borrows */
ig_tval ig_tr_undef(ig_tr *r, ig_twhy why, ig_str name, ig_tval of);
ig_tval ig_tr_undef_error(ig_tr *r, ig_tval v); /* records why v is undefined */

/* Text under construction: mark, add, take. Uses nest like a stack. */
size_t ig_tr_mark(ig_tr *r);
bool ig_tr_add(ig_tr *r, const char *p, size_t n);
bool ig_tr_add_str(ig_tr *r, ig_str s);
bool ig_tr_repeat(ig_tr *r, char c, size_t n);
ig_tval ig_tr_take(ig_tr *r, size_t mark, bool markup);
ig_str ig_tr_peek(ig_tr *r, size_t mark); /* valid until the next addition */
void ig_tr_drop(ig_tr *r, size_t mark);

/* A growing list of values. */
typedef struct ig_tvec {
    ig_tval *v;
    size_t n, cap;
} ig_tvec;
bool ig_tr_push(ig_tr *r, ig_tvec *vec, ig_tval v); /* false for TV_FAIL too */

/* Meaning of values (object.c). */
bool ig_tr_truth(ig_tval v);
/* 1, 0, -1 for an error (too deep, too long). */
int ig_tr_equal(ig_tr *r, ig_tval a, ig_tval b);
/* a < b: 1, 0, -1 for an error. */
int ig_tr_less(ig_tr *r, ig_tval a, ig_tval b);
int ig_tr_contains(ig_tr *r, ig_tval item, ig_tval container);
/* Everything that iterating gives, as an array; a generator is used up. False records the error. */
bool ig_tr_items(ig_tr *r, ig_tval v, const ig_tval **items, size_t *n);
/* len(v); false records the error. */
bool ig_tr_length(ig_tr *r, ig_tval v, size_t *n);
ig_tval ig_tr_get_attr(ig_tr *r, ig_tval object, ig_tval name); /* object.name; name a string */
/* A method or special attribute, no key; TV_FAIL without an error where there is none. */
ig_tval ig_tr_real_attr(ig_tr *r, ig_tval object, ig_tval name);
ig_tval ig_tr_get_item(ig_tr *r, ig_tval object, ig_tval index); /* object[index] */
ig_tval ig_tr_get_slice(ig_tr *r, ig_tval object, ig_tval start, ig_tval stop, ig_tval step);
ig_tval ig_tr_arith(ig_tr *r, unsigned op, ig_tval a, ig_tval b);
ig_tval ig_tr_negate(ig_tr *r, ig_tval v);
/* Whole number of a value that Python takes as an index, clamped to int64; false records the error. */
bool ig_tr_index(ig_tr *r, ig_tval v, const char *what, int64_t *out);

/* Text of values (print.c): append to the scratch buffer. */
bool ig_tr_add_text(ig_tr *r, ig_tval v); /* str(v) */
bool ig_tr_add_repr(ig_tr *r, ig_tval v, unsigned depth);
bool ig_tr_add_escaped(ig_tr *r, ig_tval v); /* HTML */
ig_tval ig_tr_to_text(ig_tr *r, ig_tval v);  /* a string unchanged, else str(v) */
ig_tval ig_tr_escape(ig_tr *r, ig_tval v);
typedef struct ig_tjson {
    bool ascii, sorted, has_indent;
    ig_str indent, item, key; /* one step; separators */
} ig_tjson;
bool ig_tr_add_json(ig_tr *r, ig_tval v, const ig_tjson *how, unsigned depth);

/* Python's formatting (format.c). */
ig_tval ig_tr_percent(ig_tr *r, ig_tval format, ig_tval args);
ig_tval ig_tr_format(ig_tr *r, ig_tval format, const ig_targs *args);
ig_tval ig_tr_strftime(ig_tr *r, ig_str format);

/* Calls (call.c, methods.c, filters.c). */
ig_tval ig_tr_call(ig_tr *r, ig_tval f, const ig_targs *args, const ig_tmacro *caller);
ig_tval ig_tr_call_macro(ig_tr *r, const ig_tmacro *m, const ig_targs *args, const ig_tmacro *caller);
/* Strings all; at most max times, -1: everywhere. */
ig_tval ig_tr_replace(ig_tr *r, ig_tval of, ig_tval old, ig_tval new, int64_t max);
ig_tval ig_tr_call_method(ig_tr *r, const ig_tmethod *m, const ig_targs *args);
const struct ig_method *ig_method_find(ig_tval object, ig_str name); /* NULL: no such method */
bool ig_method_unsafe(const struct ig_method *m);                    /* it would change its object */
int ig_tr_global(ig_str name);                                       /* index of a global function, -1 */
const char *ig_tr_global_name(int index);
bool ig_tr_global_defined(const ig_tr *r, int index);
ig_tval ig_tr_filter(ig_tr *r, const struct ig_filter *f, ig_tval v, const ig_targs *args);
int ig_tr_test(ig_tr *r, const struct ig_test *t, ig_tval v, const ig_targs *args);
/* Puts arguments into slots by the parameter names in `params` ("width first blank"); TV_FAIL where absent. */
bool ig_tr_bind(ig_tr *r, const char *what, ig_str name, const char *params, const ig_targs *args, ig_tval *slots);

/* Evaluation (eval.c, exec.c). */
ig_tval ig_tr_eval(ig_tr *r, const ig_tnode *n);
bool ig_tr_eval_args(ig_tr *r, const ig_tnode *n, ig_targs *out);
ig_tval ig_tr_apply(ig_tr *r, const ig_tnode *filter, ig_tval v);
bool ig_tr_assign(ig_tr *r, const ig_tnode *target, ig_tval v);
ig_tscope *ig_tr_new_scope(ig_tr *r, ig_tscope *parent);
bool ig_tr_set(ig_tr *r, ig_tscope *scope, uint32_t sym, ig_tval v);
typedef enum ig_tflow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAIL } ig_tflow;
ig_tflow ig_tr_exec(ig_tr *r, const ig_tnode *n);
/* Runs a body and cuts its output off as a string. */
ig_tval ig_tr_capture(ig_tr *r, const ig_tnode *body, ig_tflow *flow);
ig_tval ig_tr_recurse(ig_tr *r, const ig_tloop *loop, ig_tval items);
bool ig_tr_print(ig_tr *r, ig_tval v, bool escape);

#endif
