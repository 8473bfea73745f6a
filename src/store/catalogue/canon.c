/* Canonical JSON as TUF tools sign it (OLPC's form): keys sorted by code point, no blanks, strings as they are but for
 * '"' and '\', whole numbers. Depth is that of the parser (32) or of our own documents. */
#include <stdlib.h>
#include <string.h>

#include "tuf.h"

enum { CANON_BYTES_MAX = 64 << 20, CANON_DEPTH_MAX = 40 };

static bool put_string(ig_buf *out, const char *p)
{
    (void)ig_buf_add(out, "\"", 1);
    while (*p) {
        size_t n = strcspn(p, "\"\\");
        (void)ig_buf_add(out, p, n);
        p += n;
        if (!*p) break;
        (void)ig_buf_add(out, "\\", 1);
        (void)ig_buf_add(out, p++, 1);
    }
    return ig_buf_add(out, "\"", 1);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool put(ig_buf *out, const json_t *j, unsigned depth);

static bool put_object(ig_buf *out, const json_t *j, unsigned depth)
{
    size_t n = json_object_size(j), i = 0;
    const char **keys = ig_calloc(n + 1, sizeof *keys);
    bool ok = keys && ig_buf_add(out, "{", 1);
    for (void *it = json_object_iter((json_t *)(uintptr_t)j); ok && it && i < n;
         it = json_object_iter_next((json_t *)(uintptr_t)j, it))
        keys[i++] = json_object_iter_key(it);
    if (ok && i) qsort(keys, i, sizeof *keys, by_text);
    for (size_t k = 0; ok && k < i; k++)
        ok = (k == 0 || ig_buf_add(out, ",", 1)) && put_string(out, keys[k]) && ig_buf_add(out, ":", 1) &&
             put(out, json_object_get(j, keys[k]), depth + 1);
    ig_free(keys);
    return ok && ig_buf_add(out, "}", 1);
}

static bool put_array(ig_buf *out, const json_t *j, unsigned depth)
{
    bool ok = ig_buf_add(out, "[", 1);
    for (size_t i = 0; ok && i < json_array_size(j); i++)
        ok = (i == 0 || ig_buf_add(out, ",", 1)) && put(out, json_array_get(j, i), depth + 1);
    return ok && ig_buf_add(out, "]", 1);
}

static bool put(ig_buf *out, const json_t *j, unsigned depth)
{
    if (depth > CANON_DEPTH_MAX) return false;
    switch (json_typeof(j)) {
    case JSON_OBJECT: return put_object(out, j, depth);
    case JSON_ARRAY: return put_array(out, j, depth);
    case JSON_STRING: return put_string(out, json_string_value(j));
    case JSON_INTEGER: {
        char text[32];
        int n = snprintf(text, sizeof text, "%lld", (long long)json_integer_value(j));
        return ig_buf_add(out, text, (size_t)n);
    }
    case JSON_TRUE: return ig_buf_add(out, "true", 4);
    case JSON_FALSE: return ig_buf_add(out, "false", 5);
    case JSON_NULL: return ig_buf_add(out, "null", 4);
    case JSON_REAL: break;
    }
    return false;
}

static bool has_fraction(const json_t *j)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_real(j)) return true;
    json_object_foreach((json_t *)(uintptr_t)j, key, value) if (has_fraction(value)) return true;
    json_array_foreach(j, i, value) if (has_fraction(value)) return true;
    return false;
}

ig_status ig_canon_write(const char *what, const json_t *j, ig_buf *out, ig_error *err)
{
    ig_buf_init(out, CANON_BYTES_MAX);
    if (put(out, j, 0)) return IG_OK;
    ig_buf_fini(out);
    if (has_fraction(j))
        return ig_fail(err, IG_BAD_INPUT, 0, "%.100s holds a number with a fraction, which signed metadata cannot have",
                       what);
    return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the canonical form of %.100s", what);
}
