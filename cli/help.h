/* Help, manual pages and completion scripts, all from the table. */
#ifndef INGLE_CLI_HELP_H
#define INGLE_CLI_HELP_H

#include <stdio.h>

#include "table.h"

void help_overview(FILE *to);
void help_verb(FILE *to, const cli_verb *verb);
/* Manual page in man(7) macros; verb NULL: the page of ingle itself. */
void help_man(FILE *to, const cli_verb *verb);

#endif
