/* Addresses as text. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "source.h"

bool ig_url_origin(const char *url, char *out, size_t n)
{
    size_t scheme = !strncasecmp(url, "https://", 8) ? 8 : !strncasecmp(url, "http://", 7) ? 7 : 0;
    size_t host = scheme ? strcspn(url + scheme, "/?#") : 0;
    if (host == 0 || scheme + host >= n || memchr(url + scheme, '@', host)) return false;
    memcpy(out, url, scheme + host);
    out[scheme + host] = 0;
    return true;
}

bool ig_url_is_secure(const char *url)
{
    static const char *const own[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    if (!strncasecmp(url, "https://", 8)) return true;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        size_t n = strlen(own[i]);
        if (!strncasecmp(url, own[i], n) && (!url[n] || strchr(":/?#", url[n]))) return true;
    }
    return false;
}

bool ig_url_escape(const char *path, char *out, size_t n)
{
    size_t at = 0;
    for (const unsigned char *p = (const unsigned char *)path; *p; p++) {
        bool plain = isalnum(*p) || strchr("-._~/", *p);
        if (at + 4 > n) return false;
        at += (size_t)snprintf(out + at, n - at, plain ? "%c" : "%%%02X", *p);
    }
    if (at >= n) return false;
    out[at] = 0;
    return true;
}

const char *ig_endpoint(const char *variable, const char *standard, char *out, size_t n)
{
    const char *value = getenv(variable);
    if (!value || !*value || strlen(value) >= n) value = standard;
    (void)snprintf(out, n, "%s", value);
    for (size_t len = strlen(out); len && out[len - 1] == '/'; len--) out[len - 1] = 0;
    return out;
}

ig_status ig_name_from(const char *text, ig_name *out, ig_error *err)
{
    char name[IG_NAME_MAX];
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p && n < 90; p++) {
        bool plain = isalnum(*p) || (n && strchr("._-", *p));
        if (plain)
            name[n++] = (char)*p;
        else if (n && name[n - 1] != '-')
            name[n++] = '-';
    }
    while (n && !isalnum((unsigned char)name[n - 1])) n--;
    name[n] = 0;
    if (n == 0) return ig_fail(err, IG_BAD_INPUT, 0, "\"%.100s\" gives no model name, give one behind it", text);
    return ig_name_parse(name, out, err);
}
