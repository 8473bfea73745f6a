/* Scanners of the pre-tokenizers: private to pre.c and pre_scan.c. */
#ifndef IG_TEXT_TOKEN_PRE_PRIV_H
#define IG_TEXT_TOKEN_PRE_PRIV_H

#include "text/token/pre.h"
#include "text/token/unicode.h"

typedef struct ig_run { /* the run that the current place lies in, for scanners that meet one run many times */
    size_t end;
    size_t newline; /* behind its last newline, 0: none */
} ig_run;

typedef struct ig_chars { /* the characters of a text */
    uint32_t *cp;
    uint16_t *cls; /* ig_char_class */
    uint32_t *at;  /* [n + 1] byte offsets */
    size_t n;
    ig_run *memo;
} ig_chars;

typedef struct ig_range {
    uint32_t first, last;
} ig_range;

typedef struct ig_set { /* characters of classes or ranges; ranges are sorted */
    uint32_t cls;
    const ig_range *ranges;
    size_t n_ranges;
} ig_set;

typedef enum ig_word_kind {
    IG_WORD_RUN,   /* [^\r\n\p{L}\p{N}]? run of `body` */
    IG_WORD_CASE,  /* ... upper* lower+ or upper+ lower*; upper is all but a-z, lower all but A-Z */
    IG_WORD_TITLE, /* ... upper* lower+ or upper+ lower*; upper is all but \p{Ll}, lower all but \p{Lu} \p{Lt} */
    IG_WORD_PHRASE /* ... letters with marks, single spaces between letters included */
} ig_word_kind;

typedef struct ig_shape { /* parameters of a "word, digits, marks, spaces" scanner */
    bool contractions;    /* 's 't 're 've 'm 'll 'd, any case, first of all */
    bool suffix;          /* such a contraction may follow a word */
    ig_word_kind word;
    uint32_t body;      /* classes of a word */
    uint32_t no_prefix; /* classes that cannot stand in front of a word, besides newlines */
    bool no_han;        /* words hold no Han characters; those form runs of their own */
    size_t digits_max;  /* 1, 3, SIZE_MAX; 0: digits are marks of nothing */
    uint32_t marks;     /* classes of marks; 0: everything but white space and not_marks */
    uint32_t not_marks;
    const char *after; /* characters that may follow marks: "\r\n", "\r\n/", "" */
    bool after_once;
    bool ascii_marks_word; /* an ASCII mark followed by ASCII letters is a piece, first of all */
    bool newline_single;   /* a newline stands alone */
    bool powers;           /* white space in powers of two (jais-2) */
} ig_shape;

/* Reads text[0..n) into c, whose arrays have room for n + 1; a byte that is no valid UTF-8 counts as U+FFFD. */
void ig_chars_read(ig_chars *c, const char *text, size_t n);

/* Length of the match at i inside [i, end), 0: none. */
typedef size_t (*ig_match_fn)(const ig_chars *c, size_t i, size_t end, const void *params);

size_t ig_match_gpt2(const ig_chars *c, size_t i, size_t end, const void *params);      /* NULL */
size_t ig_match_shape(const ig_chars *c, size_t i, size_t end, const void *params);     /* ig_shape */
size_t ig_match_run(const ig_chars *c, size_t i, size_t end, const void *params);       /* ig_set: a run */
size_t ig_match_one(const ig_chars *c, size_t i, size_t end, const void *params);       /* ig_set: one */
size_t ig_match_upto3(const ig_chars *c, size_t i, size_t end, const void *params);     /* ig_set: one to three */
size_t ig_match_space_run(const ig_chars *c, size_t i, size_t end, const void *params); /* \s? run of ig_set */
size_t ig_match_sets(const ig_chars *c, size_t i, size_t end,
                     const void *params); /* ig_set[] up to an empty one: runs */
size_t ig_match_three_digits(const ig_chars *c, size_t i, size_t end, const void *params);
size_t ig_match_space_end(const ig_chars *c, size_t i, size_t end, const void *params); /* \s+$ */
size_t ig_match_thousands(const ig_chars *c, size_t i, size_t end,
                          const void *params); /* NULL: up to a cut that leaves threes */
size_t ig_match_grouped(const ig_chars *c, size_t i, size_t end,
                        const void *params); /* NULL: threes, text before them attached */
size_t ig_match_lines(const ig_chars *c, size_t i, size_t end, const void *params);     /* [^\n]+|[\n]+ */
size_t ig_match_not_space(const ig_chars *c, size_t i, size_t end, const void *params); /* \S+ */
size_t ig_match_bloom(const ig_chars *c, size_t i, size_t end, const void *params);
size_t ig_match_sentinel(const ig_chars *c, size_t i, size_t end, const void *params);
size_t ig_match_image(const ig_chars *c, size_t i, size_t end, const void *params);
size_t ig_match_tabs(const ig_chars *c, size_t i, size_t end, const void *params);

/* Hand-written scanner of a regular expression as tokenizer.json files write it; false where there is none. Together
 * with the gaps between them its matches are those of the expression. `whole`: only one that leaves no gaps. */
bool ig_pre_pattern(ig_str regex, bool whole, ig_match_fn *match, const void **params);
/* One splitter of a chain: matches and the gaps between them are pieces. */
typedef struct ig_splitter {
    ig_match_fn match;
    const void *params;
} ig_splitter;
/* Value of tokenizer.ggml.pre that stands for this chain of n; {NULL, 0} where there is none. Of several names one that
 * every reader knows, or the one with these flags. *same false: the name has another flag, or means nearly the same chain. */
ig_str ig_pre_name_of(const ig_splitter *chain, size_t n, bool ignore_merges, bool clean_spaces, bool *same);
/* Expression i of that table, {NULL, 0} past the end. */
ig_str ig_pre_pattern_at(size_t i);

#endif
