/* JSON (RFC 8259) for tokenizer files. jansson, which the rest of the project uses, refuses U+0000 in the keys of
 * objects; vocabularies have it. Bounded in size, depth and number of values, no recursion, all memory in one arena. */
#ifndef IG_TEXT_TOKEN_JSON_H
#define IG_TEXT_TOKEN_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

typedef enum ig_tj_json_type {
    IG_JSON_NULL,
    IG_JSON_FALSE,
    IG_JSON_TRUE,
    IG_JSON_INT,  /* a number without fraction and exponent that fits int64_t */
    IG_JSON_REAL, /* any other, finite */
    IG_JSON_STRING,
    IG_JSON_ARRAY,
    IG_JSON_OBJECT
} ig_tj_json_type;

typedef struct ig_tj_json {
    const char *key; /* member of an object, else NULL; valid UTF-8, as all texts */
    uint32_t key_len;
    uint32_t n; /* bytes of a string, elements of an array or object */
    ig_tj_json_type type;
    union {
        const char *text;
        int64_t integer;
        double real;
        struct ig_tj_json *first;
    };
    struct ig_tj_json *next; /* sibling */
} ig_tj_json;

/* Parses text[0..n); strings are borrowed from it where they hold no escape, the rest lies in the arena. Two members of
 * one name in a small object are an error (large ones, vocabularies, are checked by their reader). Errors: BAD_INPUT
 * and TOO_LARGE with `name` and the byte in the sentence, NO_MEMORY. */
ig_status ig_tj_json_parse(const char *name, const char *text, size_t n, ig_arena *arena, const ig_tj_json **out,
                           ig_error *err);

/* Member of an object; NULL where it is absent, or o is NULL or no object. */
const ig_tj_json *ig_tj_json_get(const ig_tj_json *o, const char *key);
/* First element or member; NULL where there is none, or o is NULL or neither array nor object. */
const ig_tj_json *ig_tj_json_first(const ig_tj_json *o);
static inline bool ig_tj_json_is(const ig_tj_json *o, ig_tj_json_type type) { return o && o->type == type; }
/* The text of a string, {NULL, 0} for anything else. */
ig_str ig_tj_json_text(const ig_tj_json *o);
bool ig_tj_json_number(const ig_tj_json *o, double *out);

#endif
