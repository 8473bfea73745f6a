/* Why a request cannot be met. */
#include <stdio.h>
#include <string.h>

#include "worker/wk.h"

bool wk_refuse(wk_fault *f, const char *type, const char *param, const char *format, ...)
{
    char text[sizeof f->e.text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    *f = (wk_fault){.type = type, .param = param};
    (void)ig_fail(&f->e, IG_BAD_INPUT, 0, "%s", text);
    return false;
}

bool wk_refuse_status(wk_fault *f, const char *param, const ig_error *e)
{
    static const char *const types[IG_STATUS_COUNT] = {[IG_BAD_INPUT] = "bad_request",
                                                       [IG_UNSUPPORTED] = "unsupported",
                                                       [IG_TOO_LARGE] = "bad_request",
                                                       [IG_NOT_FOUND] = "bad_request",
                                                       [IG_NO_MEMORY] = "overloaded"};
    *f = (wk_fault){.type = types[e->status] ? types[e->status] : "internal", .param = param, .e = *e};
    return false;
}

ig_error wk_error_of(const ingle_error *e)
{
    ig_error out = {.status = (ig_status)e->status, .sys_errno = e->sys_errno, .offset = e->offset};
    memcpy(out.text, e->text, sizeof out.text);
    return out;
}
