/* Borrowed byte strings: pointer and length, no terminator, NUL bytes allowed. */
#ifndef IG_BASE_STR_H
#define IG_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct ig_str {
    const char *ptr; /* borrowed */
    size_t len;
} ig_str;

#define IG_STR(literal) ((ig_str){(literal), sizeof(literal) - 1})
/* For printf: "%.*s", IG_STR_ARG(s); long names are cut at 128 bytes. */
#define IG_STR_ARG(s) (int)((s).len < 128 ? (s).len : 128), (s).ptr

static inline ig_str ig_str_from(const char *z) { return (ig_str){z, strlen(z)}; }
static inline bool ig_str_eq(ig_str a, ig_str b)
{
    return a.len == b.len && (a.len == 0 || !memcmp(a.ptr, b.ptr, a.len));
}
static inline bool ig_str_is(ig_str a, const char *z) { return ig_str_eq(a, ig_str_from(z)); }
static inline bool ig_str_starts(ig_str a, ig_str prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || !memcmp(a.ptr, prefix.ptr, prefix.len));
}

#endif
