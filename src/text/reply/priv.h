/* Inside the room of replies: rows of families, schemas of tools, and the small machines that read values. */
#ifndef IG_REPLY_PRIV_H
#define IG_REPLY_PRIV_H

#include <jansson.h>

#include "reply.h"

/* How a call is written between its markers. */
typedef enum rp_syntax {
    RP_JSON,   /* {"name": NAME, "arguments": {...}}, alone or in a list */
    RP_NAMED,  /* NAME, a marker, {...} */
    RP_TAGS,   /* NAME, then for each argument a tag with its name and the value as text */
    RP_NESTED, /* as RP_TAGS, but values are tags again, the name of an argument is the tag's */
    RP_PYTHON, /* NAME(key=value, ...) */
    RP_LOOSE,  /* NAME{key:value, ...} */
    RP_HARMONY /* headers with recipients, {...} */
} rp_syntax;

enum {
    RP_BARE = 1,          /* calls may stand at the beginning of the answer without any marker */
    RP_HOLD = 2,          /* the id follows the arguments: a call is handed out when it is complete */
    RP_IDS = 4,           /* ids in the text are the calls' ids */
    RP_ID_IS_NAME = 8,    /* functions.NAME:NUMBER stands for id and name */
    RP_IDS_9 = 16,        /* made-up ids have nine letters and digits */
    RP_TYPED = 32,        /* a tag of an argument says whether it is a string */
    RP_ARRAY = 64,        /* RP_JSON, RP_PYTHON: the calls stand in one list */
    RP_STRING_ARGS = 128, /* RP_JSON: the arguments are a string with JSON */
    RP_ID_FIRST = 512,    /* RP_JSON: the id stands before the name */
    RP_HEADERS = 256      /* messages have headers: <|start|>ROLE to=NAME<|channel|>CHANNEL<|message|> */
};

/* Strings are exact: what a template writes, white space included. Reading ignores white space around them. Absent
 * ones are NULL. */
struct ig_reply_family {
    const char *name;
    rp_syntax syntax;
    unsigned flags;
    const char *needs[3];                          /* markers that the template has, all of them */
    const char *section, *section_end;             /* around all calls */
    const char *call, *call_end;                   /* around each */
    const char *between;                           /* between two calls */
    const char *name_end;                          /* RP_NAMED, RP_TAGS */
    const char *id_mark;                           /* between name and name_end: an id follows */
    const char *key, *key_end, *value, *value_end; /* RP_TAGS */
    const char *key_gap;                           /* RP_PYTHON: between two arguments */
    const char *head, *middle, *tail;              /* RP_JSON: around name and arguments */
    const char *text_name;                         /* a name that stands for text to the user */
    const char *drop[3];                           /* markers that mean nothing here */
};
extern const ig_reply_family rp_families[];
extern const size_t rp_n_families;

typedef struct rp_think {
    const char *open, *close;
} rp_think;
extern const rp_think rp_thinks[];
extern const size_t rp_n_thinks;

/* s without white space at both ends; of NULL: empty. */
ig_str rp_trim(ig_str s);
ig_str rp_mark(const char *marker);
bool rp_has(ig_str text, const char *part);
/* Whether plain text will hardly contain the marker: it looks like a control token. */
bool rp_is_control(ig_str marker);
/* Number of the pair of reasoning markers whose opening the prompt ends with, -1. */
int rp_think_open(ig_str prompt);
/* Whether the template (or, where it says nothing, any) has the pair. */
bool rp_think_used(size_t i, ig_str source);

/* One line of a marker that has several; from: 0.. Empty past the last one. Markers that look like prose are one line.
 */
ig_str rp_line(const char *marker, size_t i);

/* ------------------------------------------------------------------------------------------------ tools */

typedef struct rp_tool {
    const char *name;
    json_t *schema; /* borrowed from the list; NULL: any object */
    bool lenient;   /* no "strict": true */
} rp_tool;
struct ig_reply_tools {
    json_t *root;
    rp_tool *tools; /* [n] */
    size_t n;
};
const rp_tool *rp_tool_find(const ig_reply_tools *tools, ig_str name);

/* Types that a value may have, by its schema. */
enum { RP_NULL = 1, RP_BOOL = 2, RP_NUMBER = 4, RP_STRING = 8, RP_LIST = 16, RP_OBJECT = 32, RP_ANY = 63 };
unsigned rp_types(const json_t *root, const json_t *schema);
/* The schema of a property or of the items; NULL where it says nothing. */
const json_t *rp_property(const json_t *root, const json_t *schema, const char *key, size_t n);
const json_t *rp_items(const json_t *root, const json_t *schema);
const json_t *rp_resolve(const json_t *root, const json_t *schema);

/* ------------------------------------------------------------------------------------------------ values */

/* Follows one JSON value, byte by byte. */
enum { RP_DEPTH = 512 };
typedef enum rp_step {
    RP_MORE,   /* the byte belongs to the value */
    RP_DONE,   /* it does, and the value is complete */
    RP_BEFORE, /* the value ended before this byte */
    RP_BAD
} rp_step;
typedef struct rp_json {
    uint8_t nest[RP_DEPTH / 8]; /* bit: an object */
    uint16_t depth;
    uint8_t state, sub;
    char word[32]; /* of a number or literal */
    uint8_t n_word;
} rp_json;
void rp_json_start(rp_json *j);
/* Raw control characters inside strings are taken, escaped[0..*n) is what they are in JSON (*n 0: the byte itself). */
rp_step rp_json_step(rp_json *j, char c, char escaped[8], size_t *n);
/* Inside a string or a key. */
bool rp_json_in_string(const rp_json *j);
bool rp_json_valid(ig_str text);

/* Writes text as the inside of a JSON string. */
bool rp_escape(ig_buf *out, ig_str text);

/* Python's literals (and Gemma's) to JSON, byte by byte: the arguments of a call until its closing bracket. */
typedef struct rp_loose {
    uint8_t nest[RP_DEPTH]; /* ')' arguments, '}' dict, ']' list or tuple */
    uint16_t depth;
    uint8_t state;
    char quote;  /* of a string; 'G': Gemma's */
    uint8_t run; /* quotes in a row; digits of an escape */
    bool any;    /* something stood before in this bracket */
    bool triple, key;
    uint32_t code, high; /* of an escape */
    char word[64];
    uint8_t n_word;
    char close; /* what ends the arguments */
} rp_loose;
/* open: '(' for Python, '{' for Gemma; 0: one value, ended by rp_loose_end. */
void rp_loose_start(rp_loose *l, char open);
/* Appends JSON to out. RP_DONE with the closing bracket. */
rp_step rp_loose_step(rp_loose *l, char c, ig_buf *out);
/* A whole text as one literal. */
bool rp_loose_value(ig_str text, ig_buf *out);

/* The text of a value as JSON, by the types of its schema. typed: 1 is a string, 0 none, -1 not said. */
bool rp_value(ig_str text, unsigned types, int typed, ig_buf *out);

#endif
