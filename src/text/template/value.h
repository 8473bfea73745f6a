/* Values as the interpreter sees them. Everything lives in an arena and is immutable once made, except namespaces, loop
 * state, cyclers, joiners and generators (which are read once). */
#ifndef IG_TEXT_TEMPLATE_VALUE_H
#define IG_TEXT_TEMPLATE_VALUE_H

#include "text/template/template.h"

typedef enum ig_tkind {
    TV_FAIL, /* no value: the error is in the run */
    TV_UNDEF,
    TV_NONE,
    TV_BOOL,
    TV_INT,
    TV_BIG, /* a whole number that does not fit TV_INT */
    TV_FLOAT,
    TV_STR,
    TV_LIST,
    TV_TUPLE,
    TV_GEN, /* what map, select and the like give: can be read once, has no length */
    TV_DICT,
    TV_VIEW, /* d.keys(), d.values(), d.items() */
    TV_RANGE,
    TV_NS,
    TV_LOOP,
    TV_MACRO,
    TV_FUNC,   /* a global function; u.i its index */
    TV_METHOD, /* a method with its object */
    TV_CYCLER,
    TV_JOINER,
    TV_BLOCKS, /* the variable self */
    TV_KINDS
} ig_tkind;

typedef struct ig_tstr {
    const char *p;
    size_t n, chars; /* bytes, characters */
    bool markup;     /* safe HTML, made by the filters escape and safe */
} ig_tstr;

typedef struct ig_tlist {
    const ig_tval *items; /* [n] */
    size_t n;
    bool group; /* a tuple of groupby: has the attributes grouper and list */
    bool used;  /* a generator that has been read */
} ig_tlist;

typedef struct ig_tentry {
    ig_tval key, value;
} ig_tentry;
typedef struct ig_tdict {
    ig_tentry *e; /* [cap], n used, in order of insertion */
    uint32_t n, cap;
    uint32_t *index; /* [n_index] entry + 1, 0 empty; NULL while the dict is small */
    uint32_t n_index;
    uint64_t seed;
} ig_tdict;

typedef struct ig_tview {
    const ig_tdict *dict;
    char what; /* 'k', 'v', 'i' */
} ig_tview;

typedef struct ig_trange {
    int64_t start, stop, step;
    size_t n;
} ig_trange;

/* Why a value is undefined. */
typedef enum ig_twhy { UNDEF_NAME, UNDEF_ATTR, UNDEF_ITEM, UNDEF_UNSAFE, UNDEF_TEXT } ig_twhy;
typedef struct ig_tundef {
    ig_twhy why;
    ig_str name;
    const char *type; /* of the object asked */
} ig_tundef;

/* A whole number: the sum of d[i] * 10^(9 i), no leading zeros. */
enum { BIG_LIMBS_MAX = 478, BIG_BASE = 1000000000 }; /* 4300 digits, as many as Python prints */
typedef struct ig_tbig {
    bool negative;
    uint32_t n;
    uint32_t d[];
} ig_tbig;

typedef struct ig_tmethod {
    ig_tval object;
    const struct ig_method *method;
} ig_tmethod;

typedef struct ig_tcycler {
    const ig_tval *items;
    size_t n, at;
} ig_tcycler;
typedef struct ig_tjoiner {
    ig_tval separator;
    bool used;
} ig_tjoiner;

static inline const ig_tstr *tv_s(ig_tval v) { return v.u.p; }
static inline const ig_tlist *tv_l(ig_tval v) { return v.u.p; }
static inline ig_tdict *tv_d(ig_tval v) { return v.u.p; }
static inline ig_tval tv_ptr(ig_tkind kind, const void *p)
{
    return p ? (ig_tval){.kind = (uint8_t)kind, .u.p = (void *)(uintptr_t)p} : (ig_tval){0};
}
static inline bool tv_is_str(ig_tval v) { return v.kind == TV_STR; }
static inline bool tv_is_number(ig_tval v) { return v.kind >= TV_BOOL && v.kind <= TV_FLOAT; }
static inline bool tv_is_seq(ig_tval v) { return v.kind == TV_LIST || v.kind == TV_TUPLE; }
static inline ig_str tv_str(ig_tval v) { return (ig_str){tv_s(v)->p, tv_s(v)->n}; }

const char *ig_tv_type(ig_tval v); /* Python's name of the type */

/* Strings. borrow: the bytes must live as long as the arena. */
ig_tval ig_tv_borrow(ig_arena *arena, const char *p, size_t n, bool markup);
ig_tval ig_tv_copy(ig_arena *arena, const char *p, size_t n, bool markup);
ig_tval ig_tv_seq(ig_arena *arena, ig_tkind kind, const ig_tval *items, size_t n); /* borrows items */

/* Dicts with any hashable key. 1, 1.0 and True are one key. */
ig_tdict *ig_td_new(ig_arena *arena, size_t n_hint);
bool ig_td_set(ig_arena *arena, ig_tdict *d, ig_tval key, ig_tval value);
const ig_tval *ig_td_get(const ig_tdict *d, ig_tval key);
const ig_tval *ig_td_get_str(const ig_tdict *d, ig_str key);
bool ig_tv_hashable(ig_tval v);

/* Equality without side effects and without limits on depth: only for keys (tuples of tuples count as different below
 * depth 8). Values of a template are compared by ig_tr_equal. */
bool ig_tv_key_equal(ig_tval a, ig_tval b);

/* Whole numbers (number.c). */
ig_tval ig_tn_parse(ig_arena *arena, const char *digits, size_t n, unsigned base, bool negative); /* digits only */
ig_tval ig_tn_from_double(ig_arena *arena, double f); /* truncates; finite */
double ig_tn_double(ig_tval v);                       /* of a number; a big one may be infinite */
/* <0, 0, >0; both numbers, not NaN */
int ig_tn_compare(ig_tval a, ig_tval b);
/* Digits of a big number into a buffer of at least 9 * n + 2; returns the length. */
size_t ig_tn_digits(const ig_tbig *b, char *out);
/* Shortest text that reads back as f, as Python writes it, into out[32]; returns the length. */
size_t ig_tn_float_text(double f, char out[32]);

#endif
