/* Characters as Python's str sees them. All text is valid UTF-8. */
#ifndef IG_TEXT_TEMPLATE_TEXT_H
#define IG_TEXT_TEMPLATE_TEXT_H

#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"

size_t ig_tt_count(const char *p, size_t n); /* characters */
/* Byte offset of character i, n when there are fewer; `chars` is the count of the whole text. */
size_t ig_tt_offset(ig_str s, size_t chars, size_t i);
/* Length in bytes of the character at p; cp may be NULL. n > 0 */
size_t ig_tt_next(const char *p, size_t n, uint32_t *cp);
/* Length of the last character of p[0..n). */
size_t ig_tt_prev(const char *p, size_t n, uint32_t *cp);

bool ig_tt_space(uint32_t cp);
bool ig_tt_alpha(uint32_t cp);
bool ig_tt_decimal(uint32_t cp);
bool ig_tt_digit(uint32_t cp);
bool ig_tt_numeric(uint32_t cp);
bool ig_tt_printable(uint32_t cp);
bool ig_tt_upper(uint32_t cp);
bool ig_tt_lower(uint32_t cp);
bool ig_tt_title(uint32_t cp);
bool ig_tt_word(uint32_t cp); /* what \w matches */

ig_str ig_tt_strip(ig_str s, bool left, bool right);                   /* white space */
ig_str ig_tt_strip_chars(ig_str s, ig_str set, bool left, bool right); /* characters of set */
/* Length of the line break at s[i], 0 when there is none (what str.splitlines splits at). */
size_t ig_tt_line_break(ig_str s, size_t i);
/* First or last place of needle, SIZE_MAX when there is none. */
size_t ig_tt_find(ig_str s, ig_str needle);
size_t ig_tt_rfind(ig_str s, ig_str needle);

/* Append s in another case; how: 'u'pper, 'l'ower, 't'itle, 'c'apitalize, 's'wapcase, 'f'old. */
bool ig_tt_case(ig_buf *out, ig_str s, char how);

#endif
