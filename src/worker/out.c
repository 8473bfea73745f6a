#include "worker/out.h"

#include <math.h>

#include "base/utf8.h"

static void put_char(ig_buf *b, unsigned char c)
{
    static const char names[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    for (size_t i = 0; i + 1 < sizeof names; i++)
        if (c == (unsigned char)names[i]) {
            ig_buf_add(b, "\\", 1);
            ig_buf_add(b, &letters[i], 1);
            return;
        }
    ig_buf_printf(b, "\\u%04x", c);
}

static bool is_plain(unsigned char c) { return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f; }

static void put_inside(ig_buf *b, ig_str text)
{
    for (size_t at = 0; at < text.len;) {
        size_t end = at;
        while (end < text.len && is_plain((unsigned char)text.ptr[end])) end++;
        ig_buf_add(b, text.ptr + at, end - at);
        at = end;
        if (at < text.len) put_char(b, (unsigned char)text.ptr[at++]);
    }
}

void wk_put_text(ig_buf *b, ig_str text)
{
    ig_buf_add(b, "\"", 1);
    put_inside(b, text);
    ig_buf_add(b, "\"", 1);
}

void wk_put_z(ig_buf *b, const char *text)
{
    if (text)
        wk_put_text(b, ig_str_from(text));
    else
        ig_buf_add(b, "null", 4);
}

void wk_put_float(ig_buf *b, float v)
{
    if (isfinite(v))
        ig_buf_printf(b, "%.9g", (double)v);
    else
        ig_buf_add(b, "null", 4);
}

void wk_put_bytes(ig_buf *b, ig_str bytes)
{
    ig_buf_add(b, "[", 1);
    for (size_t i = 0; i < bytes.len; i++) ig_buf_printf(b, "%s%u", i ? "," : "", (unsigned char)bytes.ptr[i]);
    ig_buf_add(b, "]", 1);
}

void wk_put_broken(ig_buf *b, ig_str bytes)
{
    ig_buf_add(b, "\"", 1);
    for (size_t at = 0; at < bytes.len;) {
        uint32_t cp;
        size_t n = ig_utf8_decode(bytes.ptr + at, bytes.len - at, &cp);
        if (n)
            put_inside(b, (ig_str){bytes.ptr + at, n});
        else
            ig_buf_add(b, "\xEF\xBF\xBD", 3);
        at += n ? n : 1;
    }
    ig_buf_add(b, "\"", 1);
}
