/* Lines from a person or a pipe: on a terminal with editing and history (libedit), elsewhere as they come. */
#ifndef INGLE_CLI_LINE_H
#define INGLE_CLI_LINE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct cli_line cli_line;
typedef enum cli_line_result { CLI_LINE_READ, CLI_LINE_END, CLI_LINE_INTERRUPTED } cli_line_result;

/* NULL without memory. `interrupted` tells whether the handler of SIGINT has run. The history lies in
 * ingle/chat_history in the user's folder for state (XDG_STATE_HOME), readable by the user alone. Where there is no
 * terminal the handler must not restart system calls. */
cli_line *cli_line_open(bool (*interrupted)(void));
void cli_line_close(cli_line *l);
bool cli_line_is_terminal(const cli_line *l);
/* Reads a line without its newline; *text is valid until the next call, NUL-terminated, [*n]. A line over 16 MiB counts
 * as the end. */
cli_line_result cli_line_read(cli_line *l, const char *prompt, const char **text, size_t *n);
/* Lines are added to the history, or are not. */
void cli_line_remember(cli_line *l, bool on);

#endif
