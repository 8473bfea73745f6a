/* A record of the audit log. Byte 0 chooses: '0' a line as it stands, '1' a line whose hash is made to fit, so that
 * what comes behind the hash is reached, '2' a text that is written as a string and read back. What is accepted has its
 * fields within the line; what is shown is valid UTF-8 without control characters. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "policy/audit_inner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_shown(ig_str value)
{
    char text[300];
    ig_audit_value(value, text, sizeof text);
    size_t n = strlen(text);
    if (!ig_utf8_valid(text, n)) abort();
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127) abort();
}

static void read_line(ig_str line)
{
    ig_audit_line l;
    ig_error e = {0};
    if (ig_audit_line_read(line, &l, &e) != IG_OK) {
        if (e.status != IG_BAD_INPUT || !e.text[0]) abort();
        return;
    }
    if (l.seq == 0 || l.prev.len != 64 || l.hash.len != 64 || l.n > IG_AUDIT_FIELDS_MAX) abort();
    for (size_t i = 0; i < l.n; i++) {
        if (l.field[i].value.ptr < line.ptr || l.field[i].value.ptr + l.field[i].value.len > line.ptr + line.len)
            abort();
        check_shown(l.field[i].value);
    }
}

static void read_fitted(ig_str body)
{
    ig_buf b;
    char hash[65];
    ig_buf_init(&b, 1 << 20);
    ig_buf_add(&b, body.ptr, body.len);
    if (ig_audit_sha(body.ptr, body.len, hash) && ig_buf_printf(&b, ",\"hash\":\"%s\"}", hash))
        read_line((ig_str){b.ptr, b.len});
    ig_buf_fini(&b);
}

static void write_string(ig_str text)
{
    ig_buf b;
    ig_buf_init(&b, 8 << 20);
    ig_audit_put(&b, text.ptr, text.len);
    if (b.failed || b.len < 2 || b.ptr[0] != '"' || b.ptr[b.len - 1] != '"' || !ig_utf8_valid(b.ptr, b.len)) abort();
    for (size_t i = 0; i < b.len; i++)
        if ((unsigned char)b.ptr[i] < ' ') abort();
    check_shown((ig_str){b.ptr, b.len});
    ig_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    ig_str s = {(const char *)data + 1, size - 1};
    if (data[0] == '0') read_line(s);
    if (data[0] == '1') read_fitted(s);
    if (data[0] == '2') write_string(s);
    return 0;
}
