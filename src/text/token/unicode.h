/* Character classes that tokenizers ask for, over utf8proc's tables (Unicode 15). */
#ifndef IG_TEXT_TOKEN_UNICODE_H
#define IG_TEXT_TOKEN_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    IG_CHAR_LU = 1 << 0,  /* upper and title case letters: \p{Lu} \p{Lt} */
    IG_CHAR_LL = 1 << 1,  /* \p{Ll} */
    IG_CHAR_LMO = 1 << 2, /* \p{Lm} \p{Lo} */
    IG_CHAR_L = IG_CHAR_LU | IG_CHAR_LL | IG_CHAR_LMO,
    IG_CHAR_N = 1 << 3,
    IG_CHAR_P = 1 << 4,
    IG_CHAR_S = 1 << 5,
    IG_CHAR_M = 1 << 6,
    IG_CHAR_SPACE = 1 << 7,   /* White_Space, what \s matches */
    IG_CHAR_NEWLINE = 1 << 8, /* \r \n */
    IG_CHAR_CONTROL = 1 << 9, /* \p{Cc} \p{Cf} \p{Co} \p{Cs} */
    IG_CHAR_HAN = 1 << 10
};
uint32_t ig_char_class(uint32_t cp);

bool ig_char_is_word(uint32_t cp);       /* \w: alphabetic, marks, decimal digits, connectors, joiners */
bool ig_char_is_mark(uint32_t cp);       /* \p{M} */
bool ig_char_is_nonspacing(uint32_t cp); /* \p{Mn} */
bool ig_char_is_cjk(uint32_t cp);        /* ideographs as BERT counts them, each a word of its own */

#endif
