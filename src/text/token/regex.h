/* Regular expressions of tokenizer files, for patterns that have no hand-written scanner: PCRE2 without JIT, bounded in
 * steps, memory and time. Patterns are written for Oniguruma's Ruby syntax; what the two engines read differently is
 * refused when the pattern is compiled. */
#ifndef IG_TEXT_TOKEN_REGEX_H
#define IG_TEXT_TOKEN_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

typedef struct ig_tj_regex ig_tj_regex; /* immutable; any number of threads may use it */

/* Errors: BAD_INPUT (no regular expression: names it and the place), UNSUPPORTED (means something else here than where
 * it was written), NO_MEMORY. */
ig_status ig_tj_regex_new(ig_str pattern, ig_tj_regex **out, ig_error *err);
void ig_tj_regex_free(ig_tj_regex *re);

typedef struct ig_tj_regex_work { /* of one call; zero-initialised is valid */
    void *match, *context;        /* owned, PCRE2's */
    uint64_t deadline_ns;         /* 0: not set */
    uint32_t n_calls;
    ig_buf clean; /* text with its broken bytes replaced */
} ig_tj_regex_work;
void ig_tj_regex_work_fini(ig_tj_regex_work *w);

typedef struct ig_tj_regex_hit {
    size_t at, end;
    bool found;
} ig_tj_regex_hit;

/* Makes text[0..n) ready for ig_tj_regex_find: what it returns has the same length and is valid UTF-8 (a broken byte
 * becomes U+001A). NULL without memory. The result is valid until the next call. */
const char *ig_tj_regex_text(ig_tj_regex_work *w, const char *text, size_t n);
/* First match at or behind `from`; it may be empty. Errors: TOO_LARGE (over the limit of steps, memory or time; names
 * the pattern), NO_MEMORY. */
ig_status ig_tj_regex_find(const ig_tj_regex *re, ig_tj_regex_work *w, const char *text, size_t n, size_t from,
                           ig_tj_regex_hit *hit, ig_error *err);

#endif
