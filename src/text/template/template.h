/* Chat templates: an interpreter for the part of Jinja2 that models ship, as Hugging Face transformers sets it up
 * (trim_blocks, lstrip_blocks, an immutable sandbox, loop controls, tojson without HTML escapes, {% generation %},
 * raise_exception, strftime_now). A template is strangers' code: rendering is bounded in steps, depth, memory and
 * output, needs at most 256 KiB of stack, and sees nothing but the values it is given.
 *
 * Values follow Python: True, None, 1e+16, ['it\'s'], whole numbers of any size, strings indexed by character. */
#ifndef IG_TEXT_TEMPLATE_TEMPLATE_H
#define IG_TEXT_TEMPLATE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

/* ------------------------------------------------------------------------------------------------ values */

/* One value, passed by copy; what it points to lives in an arena. Made only by the functions below. */
typedef struct ig_tval {
    uint8_t kind; /* enum ig_tkind of value.h; 0 is no value: an allocation failed */
    union {
        bool b;
        int64_t i;
        double f;
        void *p;
    } u;
} ig_tval;

ig_tval ig_tv_none(void);
ig_tval ig_tv_bool(bool b);
ig_tval ig_tv_int(int64_t i);
ig_tval ig_tv_float(double f);
/* Copies text, which must be UTF-8. Kind 0 without memory, as for the two below. */
ig_tval ig_tv_text(ig_arena *arena, ig_str text);
/* Copies the array, not what its values point to. */
ig_tval ig_tv_list(ig_arena *arena, const ig_tval *items, size_t n);
ig_tval ig_tv_dict(ig_arena *arena);
/* Sets a key of a dict that no template has seen yet; keeps the place of a key that is there. False without memory. */
bool ig_tv_put(ig_arena *arena, ig_tval dict, ig_str key, ig_tval value);
/* False when the dict has no such key or the value is no dict. */
bool ig_tv_get(ig_tval dict, ig_str key, ig_tval *out);
/* The bytes of a string (*out borrowed from its arena); false for another kind. */
bool ig_tv_as_text(ig_tval v, ig_str *out);
/* Element i of a list; false past its end and for another kind. */
bool ig_tv_at(ig_tval list, size_t i, ig_tval *out);

/* A copy of a value of strings, lists, dicts and what has no parts, in which fn has changed every string, keys included.
 * fn: the new text, borrowed until the next call; ptr NULL: out of memory. Kind 0 without memory. */
typedef ig_str (*ig_tv_text_fn)(void *ctx, ig_str text);
ig_tval ig_tv_map(ig_arena *arena, ig_tval v, ig_tv_text_fn fn, void *ctx);

/* Reads one JSON text: key order is kept, of equal keys the last value counts, 1 and 1.0 stay different, whole numbers
 * may have 4300 digits, depth at most IG_TEMPLATE_JSON_DEPTH. Errors: BAD_INPUT with line and offset, TOO_LARGE,
 * NO_MEMORY. */
enum { IG_TEMPLATE_JSON_DEPTH = 200 };
ig_status ig_tv_from_json(ig_arena *arena, const char *text, size_t n, ig_tval *out, ig_error *err);

/* Variables for a template out of a file's value: the entries of an object, or a list of messages (then with
 * add_generation_prompt). `tools` and `documents` are none where they are absent, as Hugging Face transformers passes
 * them. Entries that describe a test case (id, kind, feature, template, source, tier, note, expect, expect_error,
 * error_kind, must, allow_output, max_seconds, max_mib) are left out; `now` is no variable either: *now gets its text,
 * or NULL. Everything lives in the arena. Errors: BAD_INPUT, NO_MEMORY. */
ig_status ig_template_variables(ig_arena *arena, ig_tval file, ig_tval *out, const char **now, ig_error *err);

/* --------------------------------------------------------------------------------------------- templates */

typedef struct ig_template ig_template;

/* The template of models that bring none: ChatML without a standard system message. NUL-terminated. */
extern const char ig_template_default[];

/* Compiles source (UTF-8, at most 1 MiB; nothing is kept of it). What no template may do (import, include, an unknown
 * filter outside an {% if %}) is an error here, with line and construct: BAD_INPUT for wrong syntax, UNSUPPORTED for
 * what Jinja has and this has not, TOO_LARGE, NO_MEMORY. The result is immutable; any number of threads may render. */
ig_status ig_template_compile(const char *source, size_t n, ig_template **out, ig_error *err);
void ig_template_free(ig_template *t);
/* True when the template has the word as a name, as an attribute or as a string: whether it knows "tools". */
bool ig_template_mentions(const ig_template *t, const char *name);

typedef struct ig_template_options {
    const char *now;    /* local time for strftime_now, "2026-03-07T15:04:05"; NULL: the function is not defined */
    uint64_t steps_max; /* 0: 20 million */
    size_t memory_max;  /* 0: 256 MiB of values */
    size_t output_max;  /* 0: 32 MiB of text */
} ig_template_options;

typedef struct ig_template_result {
    ig_buf text; /* owned; the output, or after raise_exception the template's message whole */
    bool raised; /* the template called raise_exception */
} ig_template_result;

/* Renders with the entries of `variables` (a dict, or none) as variables; options may be NULL. On failure there is no
 * output: BAD_INPUT (the template refused: err has its message, cut where it is too long; or a value is undefined or of
 * a wrong type, with the line), UNSUPPORTED, TOO_LARGE (a limit), NO_MEMORY. Always call fini on the result. */
ig_status ig_template_render(const ig_template *t, ig_tval variables, const ig_template_options *options,
                             ig_template_result *result, ig_error *err);
void ig_template_result_fini(ig_template_result *result);

#endif
