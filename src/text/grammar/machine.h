/* The compiled grammar: what a state steps through. Immutable after compilation. */
#ifndef IG_GRAMMAR_MACHINE_H
#define IG_GRAMMAR_MACHINE_H

#include "auto.h"
#include "grammar.h"

enum { GR_CONTAINS_MAX = 3, GR_EXISTS_MAX = 3 };

/* A value may be read as `node`; doing so fulfils the obligations in `claim`. */
typedef struct gr_fork {
    uint32_t node, claim;
} gr_fork;
typedef struct gr_forks {
    const gr_fork *list; /* only those that some text fits */
    uint32_t n;
} gr_forks;

/* One way to be an object or an array. */
typedef struct gr_leaf {
    bool object, live;
    uint32_t min, max; /* properties or items; max GR_NONE is no limit */
    /* object. Labels: declared names, then classes of other names. Bits of a frame: labels (seen), then obligations. */
    const gr_dfa *key;
    uint32_t n_names, n_labels, n_exists, n_words;
    uint32_t *label_of; /* [key->n_states] label of the name that ends there, GR_NONE when it is no name */
    uint64_t *reach;    /* [key->n_states, n_words] labels that can still come */
    uint64_t *usable, *need,
        *open;       /* [n_words]: labels that some value fits; bits to set before }; labels of classes */
    gr_forks *forks; /* object: [n_labels]; array: [n_prefix + 1], the last for all further items */
    bool all_open;   /* from every state of key a usable class can be reached */
    /* array */
    uint32_t n_prefix, n_contains;
    struct {
        uint32_t min, max;
    } contains[GR_CONTAINS_MAX];
} gr_leaf;

typedef struct gr_node {
    unsigned lit; /* 1 null, 2 true, 4 false */
    bool live;
    const gr_dfa *str, *num[2]; /* num: any form, canonical form */
    const uint32_t *leaves;     /* objects, then arrays; only live ones */
    uint32_t n_objects, n_leaves;
} gr_node;

/* Recursive transition network of a GBNF grammar. */
typedef struct gr_arc {
    uint32_t lo, hi, to;
} gr_arc;
typedef struct gr_call {
    uint32_t start, back; /* first state of the rule, state after it */
} gr_call;
/* A call whose start has this bit begins a JSON value: the rest is its number among ig_grammar.values. */
#define GR_VALUE 0x80000000u
typedef struct gr_rtn_state {
    uint32_t arcs, n_arcs, calls, n_calls;
    bool accept;
} gr_rtn_state;

struct ig_grammar {
    ig_arena mem;
    bool json;
    uint32_t root; /* node, or state of the network */
    bool live;     /* some text matches */
    gr_node *nodes;
    gr_leaf *leaves;
    uint32_t n_nodes, n_leaves;
    gr_rtn_state *states;
    gr_arc *arcs;
    gr_call *calls;
    uint32_t n_states;
    bool follow[256]; /* bytes that can come after some call */
    gr_forks *values; /* [n_values] what the network calls with GR_VALUE */
    uint32_t n_values;
};

/* Fill in g; failures stay in cc. */
void gr_build_schema(gr_cc *cc, ig_grammar *g, const char *text, size_t n);
void gr_build_gbnf(gr_cc *cc, ig_grammar *g, const char *text, size_t n);
/* schemas: a JSON list of schemas; fills g->values, with which gr_build_gbnf knows the rules value-0, value-1, ... */
void gr_build_values(gr_cc *cc, ig_grammar *g, const char *schemas, size_t n);

#endif
