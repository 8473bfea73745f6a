/* UTF-8 as Unicode 15 defines it (table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef IG_BASE_UTF8_H
#define IG_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the first character of p[0..n). Returns its length 1..4 and sets *cp, or 0 (and *cp = 0xFFFD) when the bytes
 * are no valid character or n is 0. */
size_t ig_utf8_decode(const char *p, size_t n, uint32_t *cp);
/* Writes cp (must be a scalar value) to out[4]; returns its length 1..4, 0 for a value that is none. */
size_t ig_utf8_encode(uint32_t cp, char out[4]);
bool ig_utf8_valid(const char *p, size_t n);
/* Length of the longest prefix that does not end inside a character: n, or up to 3 less when the tail is the valid
 * beginning of a longer character. Broken bytes elsewhere do not matter. */
size_t ig_utf8_whole(const char *p, size_t n);

#endif
