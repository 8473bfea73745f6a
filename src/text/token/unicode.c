#include "text/token/unicode.h"

#include <utf8proc.h>

/* PropList.txt, White_Space. */
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Han as the reference understands it: ideographs by block, without the radicals, numerals and marks that Scripts.txt
 * adds. */
static bool is_han(uint32_t c)
{
    return (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2EBEF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static uint32_t category_class(utf8proc_category_t category)
{
    switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return IG_CHAR_LU;
    case UTF8PROC_CATEGORY_LL: return IG_CHAR_LL;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return IG_CHAR_LMO;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return IG_CHAR_M;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return IG_CHAR_N;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return IG_CHAR_P;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO: return IG_CHAR_S;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO: return IG_CHAR_CONTROL;
    default: return 0;
    }
}

/* What Unicode 15.1 added to 15.0, which utf8proc 2.8 knows: the reference's tables have it. */
static uint32_t newer_class(uint32_t c)
{
    if (c >= 0x2EBF0 && c <= 0x2EE5D) return IG_CHAR_LMO;
    return (c >= 0x2FFC && c <= 0x2FFF) || c == 0x31EF ? IG_CHAR_S : 0;
}

#define P IG_CHAR_P
#define S IG_CHAR_S
#define N IG_CHAR_N
#define U IG_CHAR_LU
#define L IG_CHAR_LL
#define X IG_CHAR_CONTROL
#define W (IG_CHAR_CONTROL | IG_CHAR_SPACE)
#define R (IG_CHAR_CONTROL | IG_CHAR_SPACE | IG_CHAR_NEWLINE)
static const uint16_t ascii[128] = {
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    W,
    R,
    W,
    W,
    R,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    X,
    /* space ! " # $ % & ' ( ) * + , - . / 0-9 : ; < = > ? */
    IG_CHAR_SPACE,
    P,
    P,
    P,
    S,
    P,
    P,
    P,
    P,
    P,
    P,
    S,
    P,
    P,
    P,
    P,
    N,
    N,
    N,
    N,
    N,
    N,
    N,
    N,
    N,
    N,
    P,
    P,
    S,
    S,
    S,
    P,
    /* @ A-Z [ \ ] ^ _ */
    P,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    U,
    P,
    P,
    P,
    S,
    P,
    /* ` a-z { | } ~ DEL */
    S,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    L,
    P,
    S,
    P,
    S,
    X,
};
#undef P
#undef S
#undef N
#undef U
#undef L
#undef X
#undef W
#undef R

uint32_t ig_char_class(uint32_t cp)
{
    if (cp < 0x80) return ascii[cp];
    uint32_t c = category_class(utf8proc_category((utf8proc_int32_t)cp));
    if (c == 0) c = newer_class(cp);
    if (is_space(cp)) c |= IG_CHAR_SPACE;
    if (cp >= 0x2E80 && is_han(cp)) c |= IG_CHAR_HAN;
    return c;
}

bool ig_char_is_mark(uint32_t cp) { return (ig_char_class(cp) & IG_CHAR_M) != 0; }

bool ig_char_is_nonspacing(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_MN; }

/* Circled and squared letters: symbols that Unicode counts as alphabetic. */
static bool is_letter_symbol(uint32_t c)
{
    return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
           (c >= 0x1F170 && c <= 0x1F189);
}

bool ig_char_is_word(uint32_t cp)
{
    if (ig_char_class(cp) & (IG_CHAR_L | IG_CHAR_M)) return true;
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_PC || cp == 0x200C ||
           cp == 0x200D || is_letter_symbol(cp);
}

bool ig_char_is_cjk(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}
