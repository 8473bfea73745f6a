/* Compact JSON from a tree: insertion order kept, numbers in the shortest form that reads back the same. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/dialect/dialect.h"

enum { DEPTH_MAX = 128 };

static void put(ig_buf *out, const char *text) { (void)ig_buf_add(out, text, strlen(text)); }

/* Strings of jansson are valid UTF-8; only quotes, backslashes and control characters are escaped. */
static void write_string(const char *s, size_t n, ig_buf *out)
{
    static const char *const brief[0x20] = {[8] = "\\b", [9] = "\\t", [10] = "\\n", [12] = "\\f", [13] = "\\r"};
    size_t from = 0;
    put(out, "\"");
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        (void)ig_buf_add(out, s + from, i - from);
        from = i + 1;
        if (c < 0x20 && !brief[c])
            (void)ig_buf_printf(out, "\\u%04x", c);
        else if (c < 0x20)
            put(out, brief[c]);
        else
            (void)ig_buf_printf(out, "\\%c", c);
    }
    (void)ig_buf_add(out, s + from, n - from);
    put(out, "\"");
}

static void write_real(double d, ig_buf *out)
{
    char text[40];
    if (d == floor(d) && fabs(d) < 1e15) {
        (void)snprintf(text, sizeof text, "%.1f", d);
    } else {
        for (int digits = 6; digits <= 17; digits += digits == 6 ? 3 : digits == 9 ? 6 : 1) {
            (void)snprintf(text, sizeof text, "%.*g", digits, d);
            if (strtod(text, NULL) == d) break;
        }
    }
    put(out, text);
}

static void write_value(const json_t *v, unsigned depth, ig_buf *out)
{
    if (depth > DEPTH_MAX) {
        out->failed = true;
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT: {
        void *at = json_object_iter((json_t *)v);
        put(out, "{");
        for (bool first = true; at; at = json_object_iter_next((json_t *)v, at), first = false) {
            if (!first) put(out, ",");
            write_string(json_object_iter_key(at), json_object_iter_key_len(at), out);
            put(out, ":");
            write_value(json_object_iter_value(at), depth + 1, out);
        }
        put(out, "}");
        break;
    }
    case JSON_ARRAY:
        put(out, "[");
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i) put(out, ",");
            write_value(json_array_get(v, i), depth + 1, out);
        }
        put(out, "]");
        break;
    case JSON_STRING: write_string(json_string_value(v), json_string_length(v), out); break;
    case JSON_INTEGER: (void)ig_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
    case JSON_REAL: write_real(json_real_value(v), out); break;
    case JSON_TRUE: put(out, "true"); break;
    case JSON_FALSE: put(out, "false"); break;
    default: put(out, "null"); break;
    }
}

void ig_json_write(const json_t *value, ig_buf *out)
{
    if (value)
        write_value(value, 0, out);
    else
        out->failed = true;
}
