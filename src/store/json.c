/* JSON from strangers: depth and number of values are counted before jansson builds anything of it. */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "inner.h"

enum { DEPTH_MAX = 32 };

/* Counts without judging: brackets for the depth; commas, colons and brackets for the values. */
static bool within(ig_str text, size_t n_values_max)
{
    size_t depth = 0, n = 1;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            if (c == '\\') i++;
            in_string = c != '"';
            continue;
        }
        in_string = c == '"';
        if (c == '[' || c == '{') depth++, n++;
        if ((c == ']' || c == '}') && depth) depth--;
        if (c == ',') n++;
        if (depth > DEPTH_MAX || n > n_values_max) return false;
    }
    return true;
}

ig_status ig_store_json(const char *what, ig_str text, size_t n_values_max, json_t **out, ig_error *err)
{
    json_error_t e;
    *out = NULL;
    if (!ig_utf8_valid(text.ptr, text.len)) return ig_fail(err, IG_BAD_INPUT, 0, "%.200s is no valid UTF-8", what);
    if (!within(text, n_values_max))
        return ig_fail(err, IG_TOO_LARGE, 0, "%.200s has more than %zu values or more than %d levels", what,
                       n_values_max, DEPTH_MAX);
    *out = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &e);
    if (!*out)
        return ig_fail(err, IG_BAD_INPUT, (uint64_t)(e.position > 0 ? e.position : 0),
                       "%.200s is no valid JSON: %.120s in line %d", what, e.text, e.line);
    return IG_OK;
}

const char *ig_json_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool ig_json_size(const json_t *object, const char *key, uint64_t *out)
{
    const json_t *j = json_object_get(object, key);
    if (!json_is_integer(j) || json_integer_value(j) < 0) return false;
    *out = (uint64_t)json_integer_value(j);
    return true;
}

static int add_piece(const char *p, size_t n, void *ctx) { return ig_buf_add(ctx, p, n) ? 0 : -1; }

char *ig_json_dump(const json_t *j)
{
    ig_buf buf;
    ig_buf_init(&buf, IG_MANIFEST_BYTES_MAX);
    if (json_dump_callback(j, add_piece, &buf, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) == 0 &&
        ig_buf_add(&buf, "", 1))
        return buf.ptr;
    ig_buf_fini(&buf);
    return NULL;
}
