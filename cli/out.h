/* Standard output and standard error. Output goes through here so that a full disk is seen: cli_out_end tells. */
#ifndef INGLE_CLI_OUT_H
#define INGLE_CLI_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* Writes bytes to standard output. False once a write has failed; nothing is written after that. */
bool cli_out(const char *text, size_t n);
bool cli_outf(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, flushed at once (streaming). On a terminal control characters become '?', except newline and tab, so that
 * text from a model or a file cannot command the terminal. */
bool cli_out_stream(const char *text, size_t n);
bool cli_out_json(const json_t *object);
/* Flushes and returns the exit code: `code`, or CLI_FAILED with a line on stderr when any write has failed. A reader
 * that went away (EPIPE) ends the program without a line. */
int cli_out_end(int code);

/* "ingle: " and the sentence on stderr; returns CLI_FAILED. */
int cli_fail(const char *sentence);
/* The same for wrong usage; returns CLI_USAGE. */
int cli_usage(const char *sentence);
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A bar on stderr, drawn over the last one: share 0..1 of the work, and a few words. Only where stderr is a terminal,
 * as cli_bar_shows tells; cli_bar_end wipes it away before other lines are printed. */
bool cli_bar_shows(void);
void cli_bar(double share, const char *words);
void cli_bar_end(void);

/* "1.2 GiB" into out[16]. */
const char *cli_bytes(uint64_t n, char out[16]);

#endif
