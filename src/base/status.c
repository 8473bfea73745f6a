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

/* [from, to) becomes dots; where they are more than three, the rest moves up. The end of the whole moves by what this
 * returns. */
static size_t dots(char *from, char *to)
{
    size_t n = (size_t)(to - from), shown = n < 3 ? n : 3;
    memset(from, '.', shown);
    memmove(from + shown, to, strlen(to) + 1);
    return n - shown;
}

/* Where "user:password@" of "user:password@host" ends. An address that was cut short has no '@' any more: then a port
 * that is no number is a password. */
static size_t user_bytes(const char *host, size_t n)
{
    const char *at = memrchr(host, '@', n), *colon = memchr(host, ':', n);
    if (at) return (size_t)(at - host);
    if (!colon || *host == '[') return 0;
    size_t port = n - (size_t)(colon + 1 - host);
    return strspn(colon + 1, "0123456789") < port ? n : 0;
}

void ig_hide_secrets(char *text)
{
    for (char *p = text; (p = strstr(p, "://"));) {
        p += 3;
        char *end = p + strcspn(p, " \t\n\"'<>,;");
        size_t user = user_bytes(p, strcspn(p, "/?# \t\n\"'<>,;"));
        if (user) end -= dots(p, p + user);
        char *query = memchr(p, '?', (size_t)(end - p));
        char *hash = query ? memchr(query, '#', (size_t)(end - query)) : NULL;
        if (query && query + 1 < end) (void)dots(query + 1, hash ? hash : end);
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
    ig_hide_secrets(err->text);
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
