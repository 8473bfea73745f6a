/* Status and error: every fallible function of ingle returns ig_status and fills an ig_error where the fault is seen.
 * The text is one sentence: what, where, expected, what to do. It is carried up unchanged and never holds a prompt.
 * The list is written once: the public ingle_status has the same order (asserted in src/engine). */
#ifndef IG_BASE_STATUS_H
#define IG_BASE_STATUS_H

#include <stdarg.h>
#include <stdint.h>

/* name, HTTP status, exit code of the command line */
#define IG_STATUS_LIST(X)                                                                                              \
    X(OK, 200, 0)                                                                                                      \
    X(BAD_INPUT, 400, 1)                                                                                               \
    X(UNSUPPORTED, 400, 1)                                                                                             \
    X(NOT_FOUND, 404, 1)                                                                                               \
    X(DENIED, 403, 1)                                                                                                  \
    X(TOO_LARGE, 413, 1)                                                                                               \
    X(NO_MEMORY, 503, 1)                                                                                               \
    X(IO, 500, 1)                                                                                                      \
    X(CANCELLED, 499, 1)                                                                                               \
    X(BUG, 500, 1)

typedef enum ig_status {
#define X(name, http, exit) IG_##name,
    IG_STATUS_LIST(X)
#undef X
        IG_STATUS_COUNT
} ig_status;

typedef struct ig_error {
    ig_status status;
    int sys_errno;
    uint64_t offset;
    char text[512];
} ig_error;

/* Fills *err (may be NULL) and returns status, so that `return ig_fail(...)` reads well. Control characters in the
 * formatted text become '?', an overlong text is cut at a UTF-8 boundary. */
ig_status ig_fail(ig_error *err, ig_status status, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same, with `: reason of err_no` appended and stored. */
ig_status ig_fail_errno(ig_error *err, ig_status status, int err_no, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
const char *ig_status_name(ig_status status);
/* Takes what may be secret out of every address in the text: "user:password@" and what stands behind a question mark (a
 * signature, a token) become "...". Done to every error; texts that go elsewhere need it, too. Never grows the text. */
void ig_hide_secrets(char *text);

/* Passes a failure up: IG_TRY(f(..., err)); */
#define IG_TRY(call)                                                                                                   \
    do {                                                                                                               \
        ig_status ig_try_status_ = (call);                                                                             \
        if (ig_try_status_ != IG_OK) return ig_try_status_;                                                            \
    } while (0)

#endif
