/* What goes to an LDAP server and comes from it as text, in pure functions. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "policy/inner.h"

void ig_filter_value(ig_buf *out, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 0x20 || c >= 0x7f || strchr("*()\\&|!=<>~/:", c))
            ig_buf_printf(out, "\\%02x", c);
        else
            ig_buf_add(out, &p[i], 1);
    }
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One character of a value: *p moves behind it; -1 at the value's end or at a fault. */
static int next_char(const char **p)
{
    const char *c = *p;
    if (!*c || strchr(",+;", *c)) return -1;
    if (*c != '\\') {
        *p = c + 1;
        return (unsigned char)*c;
    }
    if (hex(c[1]) >= 0 && hex(c[2]) >= 0) {
        *p = c + 3;
        return hex(c[1]) * 16 + hex(c[2]);
    }
    if (!c[1]) return -1;
    *p = c + 2;
    return (unsigned char)c[1];
}

bool ig_dn_first(const char *dn, char *out, size_t n)
{
    const char *p = strchr(dn, '=');
    size_t len = 0, keep = 0;
    if (!p || p == dn || (size_t)(p - dn) != strcspn(dn, ",+=\\\"")) return false;
    p++;
    while (*p == ' ') p++;
    if (*p == '#' || *p == '"') return false; /* hex and quoted forms: nobody names groups so */
    for (;;) {
        const char *before = p;
        int c = next_char(&p);
        if (c < 0) break;
        if (!c || len + 1 >= n) return false;
        out[len++] = (char)c;
        if (c != ' ' || *before == '\\') keep = len; /* blanks at the end do not belong to it */
    }
    out[keep] = 0;
    return keep > 0 && (!*p || strchr(",+;", *p)) && ig_utf8_valid(out, keep);
}

/* Next character for comparing, blanks around separators left out. */
static int plain(const char **p)
{
    const char *c = *p;
    if (*c == ' ') {
        const char *after = c;
        while (*after == ' ') after++;
        if (!*after || strchr(",=+", *after)) c = after;
    }
    int out = *c;
    if (!out) return 0;
    c++;
    if (strchr(",=+", out))
        while (*c == ' ') c++;
    *p = c;
    return out >= 'A' && out <= 'Z' ? out + 32 : out;
}

static bool dn_equal(const char *a, const char *b)
{
    for (;;) {
        int x = plain(&a), y = plain(&b);
        if (x != y) return false;
        if (!x) return true;
    }
}

bool ig_dn_below(const char *dn, const char *base)
{
    if (!*base) return true;
    bool escaped = false;
    if (dn_equal(dn, base)) return true;
    for (const char *p = dn; *p; p++) {
        if (!escaped && *p == ',' && dn_equal(p + 1 + strspn(p + 1, " "), base)) return true;
        escaped = !escaped && *p == '\\';
    }
    return false;
}

static bool read_u32(const char **p, uint32_t *out)
{
    uint64_t n = 0;
    const char *c = *p;
    if (*c < '0' || *c > '9') return false;
    for (; *c >= '0' && *c <= '9'; c++) {
        n = n * 10 + (uint64_t)(*c - '0');
        if (n >= UINT32_MAX) return false;
    }
    *out = (uint32_t)n;
    *p = c;
    return true;
}

int ig_range_read(const char *attribute, const char *wanted, uint32_t *from, uint32_t *to)
{
    static const char range[] = "range=";
    size_t n = strlen(wanted);
    if (strncasecmp(attribute, wanted, n)) return 0;
    if (!attribute[n]) return 1;
    if (attribute[n] != ';') return 0;
    const char *p = attribute + n + 1;
    if (strncasecmp(p, range, sizeof range - 1)) return 0; /* another option, such as a language */
    p += sizeof range - 1;
    if (!read_u32(&p, from) || *p++ != '-') return -1;
    if (*p == '*' && !p[1]) {
        *to = UINT32_MAX;
        return 2;
    }
    return read_u32(&p, to) && !*p && *to >= *from ? 2 : -1;
}

bool ig_sid_replace(unsigned char *sid, size_t n, uint32_t rid)
{
    if (n < 12 || sid[0] != 1 || sid[1] < 1 || sid[1] > 15 || n != 8 + 4 * (size_t)sid[1]) return false;
    for (int i = 0; i < 4; i++) sid[n - 4 + (size_t)i] = (unsigned char)(rid >> 8 * i);
    return true;
}
