/* Arguments of one call, parsed strictly against the table: a number has no trailing characters and lies in its range,
 * a choice is one of its words. */
#ifndef INGLE_CLI_ARGS_H
#define INGLE_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "table.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NO = 3, CLI_INTERRUPTED = 130 };

typedef struct cli_value {
    bool set;
    uint64_t count;
    double real;
    const char *text;  /* borrowed from argv */
    const char **list; /* owned, entries borrowed */
    size_t n_list;
} cli_value;

struct cli_call {
    const cli_verb *verb;
    const char *args[CLI_ARGS_MAX]; /* borrowed from argv */
    size_t n_args;
    cli_value values[48]; /* in the order of verb->flags */
    bool help;            /* -h or --help was given */
    uint64_t start_ns;    /* when the process began */
};

/* argv[0] is the first word after the verb. On BAD_INPUT err has the whole sentence and the exit code is CLI_USAGE. */
ig_status cli_parse(cli_call *call, const cli_verb *verb, int argc, char **argv, ig_error *err);
void cli_call_fini(cli_call *call);

/* Value of a flag of the verb; the name must be in the table. */
const cli_value *cli_get(const cli_call *call, const char *name);
bool cli_set(const cli_call *call, const char *name);
uint32_t cli_count(const cli_call *call, const char *name, uint32_t standard);
float cli_real(const cli_call *call, const char *name, float standard);
const char *cli_text(const cli_call *call, const char *name); /* NULL when absent */

/* A whole number without sign, blank or tail; false also above max. */
bool cli_parse_count(const char *text, size_t n, uint64_t max, uint64_t *out);
/* A number in decimal notation; with infinity also inf and -inf. */
bool cli_parse_real(const char *text, bool infinity, double *out);
/* Fills err with the sentence of a wrong value, ending in what to type. */
ig_status cli_bad_value(const cli_call *call, const char *flag, const char *expected, ig_error *err);

#endif
