/* Automata of the grammar room: a compile context that keeps the first failure, interned keys, deterministic automata
 * over code points, and the syntax trees that regular expressions and GBNF rules share. */
#ifndef IG_GRAMMAR_AUTO_H
#define IG_GRAMMAR_AUTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

enum {
    GR_CP_MAX = 0x10FFFF,
    GR_DEPTH_MAX = 128,         /* nested groups of a pattern or a GBNF rule, nested schemas */
    GR_NFA_MAX = 60000,         /* states of one pattern or rule before it is made deterministic */
    GR_DFA_MAX = 200000,        /* states of one automaton */
    GR_CELLS_MAX = 8 * 1000000, /* states times classes of one automaton */
};
#define GR_WORK_BYTES ((size_t)256 << 20) /* memory of one compilation */
#define GR_NONE       UINT32_MAX

/* Compile context: memory that lives as long as the compilation, and the first failure. After a failure every function
 * returns at once with NULL or 0, so that callers check where they need a value. */
typedef struct gr_cc {
    ig_arena mem;
    ig_status st;
    ig_error *err;     /* may be NULL */
    const char *where; /* what is being compiled, for messages; may be NULL */
    uint64_t steps;    /* work left; each inner loop pays */
} gr_cc;

void gr_fail(gr_cc *cc, ig_status st, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Zeroed; NULL after a failure, or when memory is short (then cc holds the failure). n 0 gives a pointer, too. */
void *gr_new(gr_cc *cc, size_t n, size_t size);
/* Makes room for one element more than n; false on failure. */
bool gr_grow(gr_cc *cc, void **ptr, uint32_t n, uint32_t *cap, size_t size);
/* Takes n from the work that is left; false when none is. */
bool gr_pay(gr_cc *cc, uint64_t n);

/* Words lists to small numbers, in order of first appearance. */
typedef struct gr_intern {
    uint32_t *slots, n_slots;
    uint32_t *off, n, cap;
    uint32_t *pool, n_pool, cap_pool;
    uint64_t seed;
} gr_intern;
/* Number of the key; GR_NONE on failure. is_new may be NULL. */
uint32_t gr_intern_add(gr_cc *cc, gr_intern *in, const uint32_t *key, uint32_t n, bool *is_new);
const uint32_t *gr_intern_key(const gr_intern *in, uint32_t idx, uint32_t *n);

/* Deterministic automaton over code points. State 0 is dead: no text from there is accepted, and every other state
 * reaches an accepting one. label 0: not accepting. */
typedef struct gr_dfa {
    uint32_t n_states, n_cls, n_bounds, start;
    uint32_t *bound;     /* [n_bounds] first code point of each interval, ascending, bound[0] == 0 */
    uint16_t *cls_of;    /* [n_bounds] class of the interval */
    uint16_t ascii[128]; /* class of a code point below 128 */
    uint32_t *next;      /* [n_states, n_cls] */
    uint32_t *label;     /* [n_states] */
    uint16_t
        *run; /* [n_states] of a kept copy: how many characters may follow whatever they are; GR_RUN_MAX: any number */
} gr_dfa;
enum { GR_RUN_MAX = UINT16_MAX };

extern const gr_dfa gr_dfa_all, gr_dfa_none;

uint16_t gr_dfa_class(const gr_dfa *d, uint32_t cp);
static inline uint32_t gr_dfa_next(const gr_dfa *d, uint32_t q, uint32_t cp)
{
    return d->next[(size_t)q * d->n_cls + (cp < 128 ? d->ascii[cp] : gr_dfa_class(d, cp))];
}
static inline bool gr_dfa_empty(const gr_dfa *d) { return d->start == 0; }

/* Makes a trimmed, minimal automaton of the parts; all arrays are in cc's memory and may be kept. States
 * are 1..n_states-1, next [n_states, n_cls]. */
const gr_dfa *gr_dfa_make(gr_cc *cc, gr_dfa raw);
typedef enum gr_dfa_op { GR_AND, GR_OR, GR_DIFF, GR_LABEL } gr_dfa_op;
/* GR_LABEL: texts of a; a label of a that is above GR_CLASS gets bit `bit` where b accepts. */
enum { GR_CLASS = 1 << 30 };
const gr_dfa *gr_dfa_combine(gr_cc *cc, const gr_dfa *a, const gr_dfa *b, gr_dfa_op op, uint32_t bit);
/* Texts of min..max code points; max UINT32_MAX is no limit. */
const gr_dfa *gr_dfa_length(gr_cc *cc, uint32_t min, uint32_t max);
/* Exactly these n texts (valid UTF-8), text i with label i + 1; with others every other text has label GR_CLASS. */
const gr_dfa *gr_dfa_words(gr_cc *cc, const ig_str *words, uint32_t n, bool others);
/* The same texts, all with label 1. */
const gr_dfa *gr_dfa_plain(gr_cc *cc, const gr_dfa *d);
/* Label of a whole text, 0 when it is not accepted. */
uint32_t gr_dfa_match(const gr_dfa *d, ig_str text);
/* A copy whose arrays lie in another arena; NULL without memory. */
const gr_dfa *gr_dfa_copy(ig_arena *mem, const gr_dfa *d);

/* Syntax tree of a pattern or a GBNF rule: first child and next sibling. */
typedef enum gr_ast_kind {
    GR_AST_CAT,
    GR_AST_ALT,
    GR_AST_REPEAT,
    GR_AST_SET,
    GR_AST_BEGIN,
    GR_AST_END,
    GR_AST_CALL
} gr_ast_kind;
typedef struct gr_ast {
    gr_ast_kind kind;
    uint32_t min, max; /* REPEAT; max UINT32_MAX is no limit */
    uint32_t set;      /* SET: number of a set; CALL: number of a rule */
    struct gr_ast *child, *last, *next;
} gr_ast;
gr_ast *gr_ast_new(gr_cc *cc, gr_ast_kind kind);
void gr_ast_add(gr_ast *parent, gr_ast *child);
gr_ast *gr_ast_repeat(gr_cc *cc, gr_ast *child, uint32_t min, uint32_t max);

/* Sets of code points: ranges, not sorted. */
typedef struct gr_range {
    uint32_t lo, hi;
} gr_range;
typedef struct gr_set {
    gr_range *ranges;
    uint32_t n, cap;
} gr_set;
typedef struct gr_sets {
    gr_set *sets;
    uint32_t n, cap;
} gr_sets;
void gr_set_add(gr_cc *cc, gr_set *set, uint32_t lo, uint32_t hi);
void gr_set_negate(gr_cc *cc, gr_set *set);
/* Adds the set and returns its number. */
uint32_t gr_sets_add(gr_cc *cc, gr_sets *sets, gr_set set);

/* Nondeterministic automaton made from a tree. */
typedef enum gr_edge { GR_EDGE_EPS, GR_EDGE_BEGIN, GR_EDGE_END, GR_EDGE_SET, GR_EDGE_CALL, GR_EDGE_NONE } gr_edge;
typedef struct gr_nfa_state {
    gr_edge kind;
    uint32_t set;     /* SET: set; CALL: rule */
    uint32_t to, or ; /* or: second target of EPS, GR_NONE when there is none */
} gr_nfa_state;
typedef struct gr_nfa {
    gr_nfa_state *states;
    uint32_t n, cap, start, end;
    const gr_sets *sets;
} gr_nfa;
/* rules (may be NULL): trees that a CALL is replaced by where inline_call[rule]. */
bool gr_nfa_make(gr_cc *cc, const gr_ast *tree, const gr_sets *sets, gr_ast *const *rules, const bool *inline_call,
                 gr_nfa *out);
/* Intervals on which all sets agree: bound, cls_of and n_cls of *d; in_set [n_sets, n_cls]. */
bool gr_classes(gr_cc *cc, const gr_sets *sets, gr_dfa *d, uint8_t **in_set);

/* ECMA-262 pattern (unicode mode) to the automaton of the texts in which it is found. */
const gr_dfa *gr_regex(gr_cc *cc, ig_str pattern);
/* Automaton of a `format`; NULL without a failure when the name is not known. */
const gr_dfa *gr_format(gr_cc *cc, ig_str name);

/* Numbers. A decimal is digits without leading zeros before and trailing zeros after the point. */
typedef struct gr_dec {
    bool neg;
    uint32_t n_int, n_frac;
    const char *digits; /* [n_int + n_frac] */
} gr_dec;
/* From JSON's notation; false when the exponent makes it longer than 400 digits. */
bool gr_dec_read(gr_cc *cc, const char *text, gr_dec *out);
enum { GR_LT = 1, GR_EQ = 2, GR_GT = 4 };
/* Numbers in plain notation, without exponent, that compare to b as the mask says. */
const gr_dfa *gr_number_compare(gr_cc *cc, gr_dec b, unsigned mask);
/* Multiples of m (> 0). TOO_LARGE when the remainders are too many. */
const gr_dfa *gr_number_multiple(gr_cc *cc, gr_dec m);
/* What the number automata are made within: all numbers in plain notation. */
const gr_dfa *gr_number_plain(gr_cc *cc);
/* Every JSON number; canonical: no "-0", at most 20 digits before, 17 after the point, exponent e[-]N of at most 3. */
const gr_dfa *gr_number_any(gr_cc *cc, bool canonical);
/* Canonical plain notation with at most n_int digits before the point; whole: no point. */
const gr_dfa *gr_number_canonical(gr_cc *cc, uint32_t n_int, bool whole);

#endif
