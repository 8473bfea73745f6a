/* Pre-tokenizers: they cut a text into pieces inside which byte-pair merging works. One row of the table (pre.c) for
 * each value of tokenizer.ggml.pre: a pipeline of hand-written scanners and the flags that the value sets. No regular
 * expression engine runs here; each scanner is one pass over the characters, linear in the text, without recursion. */
#ifndef IG_TEXT_TOKEN_PRE_H
#define IG_TEXT_TOKEN_PRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct ig_pre ig_pre;

/* Row of a value of tokenizer.ggml.pre, or NULL. The empty string is "default" (files without the key). */
const ig_pre *ig_pre_find(ig_str name);
/* Name i of the table in order, {NULL, 0} past the end. */
ig_str ig_pre_name_at(size_t i);

typedef struct ig_pre_flags { /* what a value sets; a key in the file wins over add_* */
    bool ignore_merges;       /* a piece that is a token as a whole is that token */
    bool clean_spaces;        /* detokenize removes spaces before punctuation */
    bool escape_whitespaces;  /* spaces become U+2581 before splitting */
    bool raw_utf8;            /* pieces are UTF-8, not the GPT-2 byte alphabet; unknown characters become <0xNN> */
    bool whole_newlines;      /* raw_utf8: a run of newlines that is a token is taken whole */
    bool add_bos, add_sep;
} ig_pre_flags;
ig_pre_flags ig_pre_get_flags(ig_str name);

typedef struct ig_cuts { /* growing array of end offsets; zero-initialised is empty; reused between calls */
    size_t *end;         /* owned, ig_free */
    size_t len, cap;
} ig_cuts;
/* Cuts text[0..n) into consecutive pieces: cuts->end[i] is the end of piece i, the last equals n (none when n is 0). A
 * byte that is no valid UTF-8 counts as one character U+FFFD. False without memory. */
bool ig_pre_split(const ig_pre *pre, const char *text, size_t n, ig_cuts *cuts);

#endif
