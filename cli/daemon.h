/* Talking to a running service. */
#ifndef INGLE_CLI_DAEMON_H
#define INGLE_CLI_DAEMON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/mem.h"
#include "base/status.h"

/* Whether a verb should ask a service: --host, INGLE_HOST or OLLAMA_HOST names one, or one answers at the standard unix
 * socket and INGLE_STORE does not name a store to use instead. named (may be NULL): it was named. */
bool daemon_wanted(const char *host, bool *named);

/* The service's address: --host of the call's verb, else INGLE_HOST, else OLLAMA_HOST, else the unix socket where there
 * is one, else http://127.0.0.1:11434.
 *
 * One request; body NULL: GET. *out gets the answer (owned), an object; NULL where the answer has no body. Errors:
 * NOT_FOUND (nothing listens there; the text says how to start it), DENIED, BAD_INPUT (the service's own sentence). */
ig_status daemon_call(const char *host, const char *method, const char *path, const json_t *body, json_t **out,
                      ig_error *err);

/* The same for an answer of lines of JSON; fn gets each, false ends the call. */
typedef bool (*daemon_line_fn)(void *ctx, const json_t *line);
ig_status daemon_stream(const char *host, const char *path, const json_t *body, daemon_line_fn fn, void *ctx,
                        ig_error *err);

/* The same; `stop` is asked now and then, also while nothing comes: true ends the call with CANCELLED, and the service
 * drops the request. */
ig_status daemon_stream_until(const char *host, const char *path, const json_t *body, daemon_line_fn fn,
                              bool (*stop)(void), void *ctx, ig_error *err);

/* Prints what GET /ingle/compliance answers (ps.c); the exit code. */
int cli_compliance_print(const json_t *report);

/* Sends a file as the blob `digest` ("sha256:..."), unless the service has it. progress may be NULL; false cancels. */
typedef bool (*daemon_sent_fn)(void *ctx, uint64_t sent, uint64_t total);
ig_status daemon_upload(const char *host, const char *file, const char *digest, daemon_sent_fn progress, void *ctx,
                        ig_error *err);

#endif
