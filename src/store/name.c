/* Names and digests: the only place that decides what is one. Both become file names, so nothing passes that a file
 * system could read as a path, an option or a hidden file. */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "inner.h"
#include "store/source/source.h"

enum { PARTS_MAX = 4, PART_MAX = 96, FILE_NAME_MAX = 255 };

static bool is_lower_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_plain(char c) { return is_letter(c) || is_digit(c) || c == '.' || c == '_' || c == '-'; }

ig_status ig_digest_parse(const char *text, ig_digest *out, ig_error *err)
{
    const char *hex = text;
    if (!strncmp(text, "sha256:", 7) || !strncmp(text, "sha256-", 7)) hex += 7;
    size_t n = 0;
    while (n <= IG_HEX_LEN && is_lower_hex(hex[n])) n++;
    if (n != IG_HEX_LEN || hex[n])
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "\"%.80s\" is no digest, expected sha256: and 64 lower-case hexadecimal digits", text);
    memcpy(out->hex, hex, IG_HEX_LEN);
    out->hex[IG_HEX_LEN] = 0;
    return IG_OK;
}

/* Length of a part: plain characters that begin with a letter or a digit; 0 when there is none. */
static size_t part_length(const char *p)
{
    size_t n = 0;
    if (!is_letter(*p) && !is_digit(*p)) return 0;
    while (is_plain(p[n])) n++;
    return n <= PART_MAX ? n : 0;
}

/* ":PORT/" behind a host: its length without the slash, 0 when it is none. */
static size_t port_length(const char *p)
{
    size_t n = 1;
    if (*p != ':') return 0;
    while (is_digit(p[n])) n++;
    return n > 1 && n <= 6 && p[n] == '/' ? n : 0;
}

ig_status ig_name_parse(const char *text, ig_name *out, ig_error *err)
{
    const char *p = text;
    bool tag = false;
    for (size_t i = 0; i < PARTS_MAX; i++) {
        size_t n = part_length(p);
        if (n == 0) goto bad;
        p += n;
        if (i == 0) p += port_length(p);
        if (*p != '/') break;
        p++;
    }
    if (*p == ':') {
        size_t n = part_length(p + 1);
        if (n == 0) goto bad;
        p += 1 + n;
        tag = true;
    }
    if (*p || strlen(text) + (tag ? 0 : 7) > IG_NAME_MAX) goto bad;
    (void)snprintf(out->text, sizeof out->text, "%s%s", text, tag ? "" : ":latest");
    return IG_OK;
bad:
    return ig_fail(err, IG_BAD_INPUT, (uint64_t)(p - text),
                   "\"%.120s\" is no model name, expected one like qwen3:8b or team/helper:v2 (letters, digits, '.', "
                   "'_' and '-')",
                   text);
}

void ig_name_file(const ig_name *name, char out[IG_NAME_MAX + 8])
{
    size_t n = 0;
    for (const char *p = name->text; *p; p++) {
        char c = *p;
        out[n++] = c == '/' ? '%' : c == ':' ? '=' : (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    memcpy(out + n, ".json", 6);
}

bool ig_file_name_valid(const char *name)
{
    size_t n = strlen(name), part = 0;
    if (n == 0 || n > FILE_NAME_MAX || !ig_utf8_valid(name, n)) return false;
    for (size_t i = 0; i <= n; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c && (c < 0x20 || c == 0x7f || c == '\\')) return false;
        if (c && c != '/') continue;
        size_t len = i - part;
        if (len == 0 || (len == 1 && name[part] == '.') || (len == 2 && !memcmp(name + part, "..", 2))) return false;
        part = i + 1;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ images */

/* Length of a registry's host with its port, 0 when it is none: a name, an IPv4 address, or [IPv6]. */
static size_t host_length(const char *p)
{
    size_t n = 0;
    if (*p == '[') {
        n = 1 + strspn(p + 1, "0123456789abcdefABCDEF:.");
        if (p[n++] != ']') return 0;
    } else {
        if (!is_letter(*p) && !is_digit(*p)) return 0;
        while (is_letter(p[n]) || is_digit(p[n]) || p[n] == '.' || p[n] == '-') n++;
    }
    if (p[n] == ':') {
        size_t digits = strspn(p + n + 1, "0123456789");
        if (digits == 0 || digits > 5) return 0;
        n += 1 + digits;
    }
    return p[n] == '/' ? n : 0;
}

/* Lower-case parts, joined by '/', of letters and digits with '.', '_', "__" or dashes between them. */
static size_t repository_length(const char *p)
{
    size_t n = 0;
    for (;;) {
        size_t run = strspn(p + n, "abcdefghijklmnopqrstuvwxyz0123456789");
        if (run == 0) return 0;
        n += run;
        size_t dashes = strspn(p + n, "-"), lines = strspn(p + n, "_");
        if (p[n] == '/' || p[n] == '.')
            n++;
        else if (dashes)
            n += dashes;
        else if (lines == 1 || lines == 2)
            n += lines;
        else
            return n;
    }
}

static size_t tag_length(const char *p)
{
    size_t n = 0;
    if (!is_letter(*p) && !is_digit(*p) && *p != '_') return 0;
    while (is_plain(p[n])) n++;
    return n <= 128 ? n : 0;
}

ig_status ig_image_ref_parse(const char *text, ig_image_ref *out, ig_error *err)
{
    const char *p = text;
    *out = (ig_image_ref){0};
    size_t host = host_length(p), repository = host ? repository_length(p + host + 1) : 0, tag = 0;
    if (repository == 0 || host >= sizeof out->host || repository >= sizeof out->repository) goto bad;
    (void)snprintf(out->host, sizeof out->host, "%.*s", (int)host, p);
    (void)snprintf(out->repository, sizeof out->repository, "%.*s", (int)repository, p + host + 1);
    p += host + 1 + repository;
    if (*p == ':') {
        tag = tag_length(++p);
        if (tag == 0) goto bad;
        (void)snprintf(out->tag, sizeof out->tag, "%.*s", (int)tag, p);
        p += tag;
    }
    if (*p == '@') {
        if (strncmp(p + 1, "sha256:", 7) || ig_digest_parse(p + 1, &out->digest, NULL) != IG_OK) goto bad;
        out->has_digest = true;
        p += strlen(p);
    }
    if (*p) goto bad;
    if (!tag && !out->has_digest) (void)snprintf(out->tag, sizeof out->tag, "latest");
    return IG_OK;
bad:
    return ig_fail(err, IG_BAD_INPUT, (uint64_t)(p - text),
                   "\"%.150s\" is no address of an image, expected HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]", text);
}
