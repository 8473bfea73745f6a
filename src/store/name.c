/* Names and digests: the only place that decides what is one. Both become file names, so nothing passes that a file
 * system could read as a path, an option or a hidden file. */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "inner.h"

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
