/* Private to src/format: JSON from strangers. Large texts (a safetensors header, an index) are walked by a cursor that
 * allocates nothing; small ones become a jansson tree after the cursor has counted their values and their depth, so
 * that the recursion and the memory of the library are bounded (rules J01, J03 to J08). */
#ifndef IG_FORMAT_JSON_H
#define IG_FORMAT_JSON_H

#include <jansson.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

#define IG_JSON_DEPTH_MAX 128u /* J01 */

/* Cursor over one JSON text of valid UTF-8; at <= text.len always. Every function below fails with BAD_INPUT that
 * names path and offset, and with NO_MEMORY where it allocates. */
typedef struct ig_json {
    const char *path; /* names the file in messages; borrowed */
    ig_str text;      /* borrowed */
    size_t at;
    uint64_t base; /* offset of the text in its file */
    ig_error *err;
} ig_json;

/* Starts at the beginning of text; refuses invalid UTF-8 (J04). */
ig_status ig_json_init(ig_json *j, const char *path, ig_str text, uint64_t base, ig_error *err);
/* Offset of the cursor in the file. */
uint64_t ig_json_offset(const ig_json *j);
/* "expected WHAT" at the cursor. */
ig_status ig_json_expected(const ig_json *j, const char *what);
/* White space, then the opening '{' or '['. */
ig_status ig_json_open(ig_json *j, char bracket);
/* The next element of an array: *more is false behind the last; *n counts them and starts at 0. The cursor stands
 * before the element. */
ig_status ig_json_element(ig_json *j, size_t *n, bool *more);
/* The next member of an object likewise; the cursor stands before its value. Keys are borrowed from the text, or from
 * the arena where they are written with escapes; longer ones than key_bytes_max are refused. */
ig_status ig_json_member(ig_json *j, size_t *n, bool *more, size_t key_bytes_max, ig_arena *arena, ig_str *key);
/* A string; where it lies: as for keys. */
ig_status ig_json_string(ig_json *j, size_t bytes_max, ig_arena *arena, ig_str *out);
/* A whole number of at most 2^63 - 1 without sign, point or exponent. */
ig_status ig_json_uint(ig_json *j, uint64_t *out);
/* Steps over any value; *n_values (may be NULL) grows by the number of values in it. Strings and numbers inside are
 * not looked at closely: who needs them reads them. */
ig_status ig_json_skip(ig_json *j, uint64_t *n_values);
/* Nothing but white space may follow (J07). */
ig_status ig_json_end(ig_json *j);

/* The whole text as an object with at most values_max values; the caller owns *out (json_decref). The library allocates
 * for itself, outside base/mem. */
ig_status ig_json_tree(const char *path, ig_str text, uint64_t values_max, json_t **out, ig_error *err);

#endif
