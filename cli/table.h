/* The table of verbs and flags: one place that parsing, --help, the manual pages and shell completion read. */
#ifndef INGLE_CLI_TABLE_H
#define INGLE_CLI_TABLE_H

#include <stddef.h>

enum { CLI_ARGS_MAX = 256 }; /* words behind a verb */

typedef enum cli_kind {
    CLI_SWITCH, /* no value */
    CLI_COUNT,  /* whole number in min..max */
    CLI_REAL,   /* finite number in min..max */
    CLI_TEXT,   /* any text */
    CLI_FILE,   /* a path; completed as one */
    CLI_CHOICE, /* one of the words in `choices`, separated by '|' */
    CLI_LIST    /* any text, may be given again */
} cli_kind;

typedef struct cli_flag {
    const char *name; /* written --name; with a letter also -l */
    char letter;      /* 0: none */
    cli_kind kind;
    const char *arg; /* placeholder of the value */
    double min, max; /* COUNT, REAL; both ends allowed */
    const char *choices;
    const char *help;
} cli_flag;

typedef struct cli_call cli_call;
typedef struct cli_verb {
    const char *name, *args, *summary;
    const char *about;    /* paragraphs of the manual, separated by empty lines */
    const char *examples; /* lines */
    const cli_flag *flags;
    size_t n_flags;
    size_t n_args_min, n_args_max;
    const char
        *arg_words; /* what the first argument may be, for completion: "@file", "@verb" or words separated by '|' */
    int (*run)(const cli_call *call);
} cli_verb;

extern const cli_verb cli_verbs[];
extern const size_t n_cli_verbs;

const cli_verb *cli_verb_find(const char *name);
/* The word of a list separated by '|' that is nearest to `word`, or of the verbs when words is NULL; NULL when none is
 * near. */
const char *cli_nearest_verb(const char *word);
const cli_flag *cli_nearest_flag(const cli_verb *verb, const char *name);

#endif
