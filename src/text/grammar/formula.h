/* A schema as a boolean formula over atoms, and what the formula means for one instance type.
 *
 * Every schema location becomes a formula; keywords that apply in place (allOf, $ref, if, ...) disappear in it. An atom
 * speaks about values of one type and holds for all others. For strings, numbers and literals a formula is computed
 * with automata (gr_scalar); for objects and arrays it is brought into alternatives of literals (gr_alternatives), each
 * of which the machine can follow step by step. Formulas are interned: equal ones have one number. */
#ifndef IG_GRAMMAR_FORMULA_H
#define IG_GRAMMAR_FORMULA_H

#include <jansson.h>

#include "auto.h"

typedef enum gr_fkind {
    GR_F_TRUE,
    GR_F_FALSE,
    GR_F_SCHEMA,       /* schema, scope */
    GR_F_NOT,          /* formula */
    GR_F_AND,          /* formulas */
    GR_F_ANY,          /* formulas: at least one */
    GR_F_FIRST,        /* formulas that exclude each other: one of them */
    GR_F_ONE,          /* formulas: exactly one */
    GR_F_UNEVAL_PROPS, /* base, formula for what base has not evaluated */
    GR_F_UNEVAL_ITEMS,
    /* atoms */
    GR_F_TYPE,     /* mask of GR_T */
    GR_F_CONST,    /* value */
    GR_F_LENGTH,   /* min, max */
    GR_F_PATTERN,  /* text, schema */
    GR_F_FORMAT,   /* text, schema */
    GR_F_COMPARE,  /* value, mask */
    GR_F_MULTIPLE, /* value, schema */
    GR_F_PRESENT,  /* text */
    GR_F_PROP,     /* names, formula: of every property whose name is among `names` */
    GR_F_PROPS_MIN,
    GR_F_PROPS_MAX, /* n */
    GR_F_ITEM,      /* index, formula */
    GR_F_ITEMS,     /* from index, formula */
    GR_F_ITEMS_MIN,
    GR_F_ITEMS_MAX,    /* n */
    GR_F_CONTAINS_MIN, /* formula, n, from index */
    GR_F_CONTAINS_MAX,
    GR_F_UNIQUE, /* schema */
    GR_F_KINDS
} gr_fkind;

enum {
    GR_T_NULL = 1,
    GR_T_TRUE = 2,
    GR_T_FALSE = 4,
    GR_T_INTEGER = 8,
    GR_T_FRACTION = 16,
    GR_T_STRING = 32,
    GR_T_ARRAY = 64,
    GR_T_OBJECT = 128,
    GR_T_ALL = 255
};

/* Sets of property names. */
typedef enum gr_nkind {
    GR_N_NAME,
    GR_N_PATTERN,
    GR_N_OTHERS,
    GR_N_STRINGS
} gr_nkind; /* text; text, schema; names...; formula */

typedef struct gr_schema_loc {
    json_t *json; /* borrowed from the document */
    uint32_t resource;
    const char *pointer; /* JSON pointer from the document's root */
    uint32_t formula;    /* of scope 0; GR_NONE until asked for */
} gr_schema_loc;
typedef struct gr_resource {
    const char *uri;
    json_t *root;
    uint32_t schema;
    bool dynamic; /* has a $dynamicAnchor */
} gr_resource;
typedef struct gr_anchor {
    uint32_t resource;
    const char *name;
    json_t *json;
    bool dynamic;
} gr_anchor;

/* Truth for the scalar types. num: &gr_dfa_all is every number, otherwise plain notation only. */
typedef struct gr_scalar {
    unsigned lit; /* of GR_T_NULL, GR_T_TRUE, GR_T_FALSE */
    const gr_dfa *str, *num;
} gr_scalar;

/* A literal: atom * 4 + GR_NEG, GR_SILENT (gives no annotation). */
enum { GR_NEG = 1, GR_SILENT = 2 };
/* Alternatives: each an interned, sorted list of literals. */
typedef struct gr_alts {
    uint32_t *sets; /* numbers in doc->literals */
    uint32_t n, cap;
} gr_alts;

typedef struct gr_doc {
    gr_cc *cc;
    json_t *root; /* owned */
    gr_intern formulas, names, scopes, literals, places;
    gr_schema_loc *schemas;
    gr_resource *resources;
    gr_anchor *anchors;
    json_t **values; /* constants */
    ig_str *texts;
    uint32_t n_schemas, cap_schemas, n_resources, cap_resources, n_anchors, cap_anchors, n_values, cap_values, n_texts,
        cap_texts;
    bool unevaluated, dynamic; /* the document has such keywords */
    uint32_t int_digits;       /* most digits before the point of a bound */
    unsigned depth, clashing;
    /* memos by formula or name set */
    gr_scalar **scalars;
    uint8_t *busy;
    uint32_t cap_scalars, cap_busy;
    const gr_dfa **name_dfas;
    uint32_t cap_name_dfas;
    const gr_dfa **text_dfas[2]; /* by text: as a pattern, as a format */
    uint32_t cap_text_dfas[2];
    const gr_dfa *integer, *plain;
} gr_doc;

/* Reads and indexes the document; the root's formula, GR_NONE on failure. */
uint32_t gr_doc_load(gr_doc *doc, const char *text, size_t n);
void gr_doc_fini(gr_doc *doc);

gr_fkind gr_f(const gr_doc *doc, uint32_t f, const uint32_t **args, uint32_t *n_args);
uint32_t gr_f_make(gr_doc *doc, gr_fkind kind, const uint32_t *args, uint32_t n);
uint32_t gr_f_make2(gr_doc *doc, gr_fkind kind, uint32_t a, uint32_t b);
uint32_t gr_f_not(gr_doc *doc, uint32_t f);
uint32_t gr_f_and(gr_doc *doc, uint32_t f, uint32_t g);
uint32_t gr_names_make(gr_doc *doc, gr_nkind kind, const uint32_t *args, uint32_t n);
uint32_t gr_doc_text(gr_doc *doc, const char *p, size_t n);
uint32_t gr_doc_value(gr_doc *doc, json_t *value);
/* Formula of a schema location in a dynamic scope; expands one level. */
uint32_t gr_schema_formula(gr_doc *doc, uint32_t schema, uint32_t scope);
/* Formula of the object or array constant. */
uint32_t gr_const_formula(gr_doc *doc, json_t *value);

const gr_scalar *gr_scalar_of(gr_doc *doc, uint32_t f);
/* type: GR_T_OBJECT or GR_T_ARRAY. */
gr_alts gr_alternatives(gr_doc *doc, uint32_t f, unsigned type);
const gr_dfa *gr_names_dfa(gr_doc *doc, uint32_t names);
/* True when the name is in the set. */
bool gr_names_has(gr_doc *doc, uint32_t names, ig_str name);

#endif
