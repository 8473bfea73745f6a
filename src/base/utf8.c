#include "base/utf8.h"

/* Length a lead byte announces and the range its second byte must lie in (Unicode 15, table 3-7). */
static size_t lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xBF;
    if (c < 0x80) return 1;
    if (c >= 0xC2 && c <= 0xDF) return 2;
    if (c == 0xE0) return *lo = 0xA0, 3;
    if (c == 0xED) return *hi = 0x9F, 3;
    if (c >= 0xE1 && c <= 0xEF) return 3;
    if (c == 0xF0) return *lo = 0x90, 4;
    if (c == 0xF4) return *hi = 0x8F, 4;
    if (c >= 0xF1 && c <= 0xF3) return 4;
    return 0;
}

/* Number of bytes of the character at p that are present and valid, its announced length in *want (0: bad lead). */
static size_t scan(const unsigned char *p, size_t n, size_t *want)
{
    unsigned char lo, hi;
    if (n == 0) return *want = 0;
    *want = lead(p[0], &lo, &hi);
    if (*want == 0) return 0;
    size_t have = 1;
    while (have < *want && have < n && p[have] >= lo && p[have] <= hi) {
        lo = 0x80;
        hi = 0xBF;
        have++;
    }
    return have;
}

size_t ig_utf8_decode(const char *p, size_t n, uint32_t *cp)
{
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *u = (const unsigned char *)p;
    size_t want, have = scan(u, n, &want);
    *cp = 0xFFFD;
    if (have == 0 || have < want) return 0;
    uint32_t c = u[0] & mask[want];
    for (size_t i = 1; i < want; i++) c = c << 6 | (u[i] & 0x3F);
    *cp = c;
    return want;
}

size_t ig_utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xD800 && cp <= 0xDFFF) return 0;
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    if (cp > 0x10FFFF) return 0;
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

bool ig_utf8_valid(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = ig_utf8_decode(p + i, n - i, &cp);
        if (len == 0) return false;
        i += len;
    }
    return true;
}

size_t ig_utf8_whole(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        if ((u[n - back] & 0xC0) == 0x80) continue;
        size_t want, have = scan(u + n - back, back, &want);
        return have == back && want > back ? n - back : n;
    }
    return n;
}
