#include "base/status.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static const char *const names[] = {
#define X(name, http, exit) #name,
    IG_STATUS_LIST(X)
#undef X
};

const char *ig_status_name(ig_status status) { return (unsigned)status < IG_STATUS_COUNT ? names[status] : "UNKNOWN"; }

/* Error texts quote names from files: no control character and no broken UTF-8 may reach a terminal or a log. */
static void clean(char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(text + i, n - i, &cp);
        if (len == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
            text[i] = '?';
            len = 1;
        }
        i += len;
    }
}

static ig_status fill(ig_error *err, ig_status status, int err_no, uint64_t offset, const char *format, va_list args)
{
    if (!err) return status;
    err->status = status;
    err->sys_errno = err_no;
    err->offset = offset;
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used >= sizeof err->text) used = sizeof err->text - 1;
    if (err_no && used + 3 < sizeof err->text) {
        char reason[128];
        const char *why = strerror_r(err_no, reason, sizeof reason);
        (void)snprintf(err->text + used, sizeof err->text - used, ": %s", why);
    }
    clean(err->text);
    return status;
}

ig_status ig_fail(ig_error *err, ig_status status, uint64_t offset, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, status, 0, offset, format, args);
    va_end(args);
    return status;
}

ig_status ig_fail_errno(ig_error *err, ig_status status, int err_no, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, status, err_no, 0, format, args);
    va_end(args);
    return status;
}
