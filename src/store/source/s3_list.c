/* The list of a bucket (ListObjectsV2) as XML: read in one pass, bounded in depth and length, without entities of its
 * own, so that nothing in it can grow. And INI files as the AWS tools write them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "source.h"

enum { DEPTH_MAX = 16, NAME_MAX_ = 64, TEXT_MAX = 1200, NODES_MAX = 200000 };

typedef struct xml {
    const char *p, *end;
    char names[DEPTH_MAX][NAME_MAX_];
    size_t depth, n_nodes;
    char text[TEXT_MAX]; /* of the innermost element */
    size_t n_text;
    bool too_long;
    ig_error *err;
} xml;

static ig_status broken(xml *x, const char *why)
{
    return ig_fail(x->err, IG_BAD_INPUT, 0, "the list of the bucket is no usable XML: %s", why);
}

static void add_text(xml *x, const char *p, size_t n)
{
    if (x->n_text + n >= TEXT_MAX) {
        x->too_long = true;
        return;
    }
    memcpy(x->text + x->n_text, p, n);
    x->n_text += n;
}

/* &amp; and its like, and numbers; everything else is refused. */
static bool add_entity(xml *x)
{
    static const struct {
        const char *name, *text;
    } known[] = {{"amp;", "&"}, {"lt;", "<"}, {"gt;", ">"}, {"quot;", "\""}, {"apos;", "'"}};
    size_t left = (size_t)(x->end - x->p);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].name);
        if (left < n || memcmp(x->p, known[i].name, n)) continue;
        add_text(x, known[i].text, 1);
        x->p += n;
        return true;
    }
    char digits[12];
    const char *semi = left ? memchr(x->p, ';', left < 11 ? left : 11) : NULL;
    if (!semi || *x->p != '#' || semi - x->p < 2) return false;
    (void)snprintf(digits, sizeof digits, "%.*s", (int)(semi - x->p - 1), x->p + 1);
    char *end, utf8[4];
    bool hex = digits[0] == 'x';
    unsigned long c = strtoul(digits + hex, &end, hex ? 16 : 10);
    if (*end || end == digits + hex || c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return false;
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) utf8[i] = (char)(0x80 | (c & 0x3f));
    utf8[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xffu) | c);
    add_text(x, utf8, n);
    x->p = semi + 1;
    return true;
}

static size_t name_length(const char *p, const char *end)
{
    size_t n = 0;
    while (p + n < end && !strchr(" \t\r\n/>", p[n])) n++;
    return n;
}

typedef struct listing {
    xml x;
    bool (*each)(void *ctx, const char *key, uint64_t size);
    void *ctx;
    ig_s3_listing *out;
    char key[TEXT_MAX];
    uint64_t size;
    bool has_key, has_size, stopped;
} listing;

static bool within(const xml *x, size_t depth, const char *parent, const char *name)
{
    return x->depth == depth && !strcmp(x->names[depth - 1], name) && !strcmp(x->names[depth - 2], parent);
}

static ig_status end_contents(listing *l)
{
    if (!l->has_key || !l->has_size) return broken(&l->x, "an entry without a key or a size");
    l->stopped = !l->each(l->ctx, l->key, l->size);
    l->has_key = l->has_size = false;
    return IG_OK;
}

/* The innermost element ends; x->text is what stood in it. */
static ig_status end_element(listing *l)
{
    xml *x = &l->x;
    x->text[x->n_text] = 0;
    bool key = within(x, 3, "Contents", "Key"), token = within(x, 2, "ListBucketResult", "NextContinuationToken");
    if ((key || token) && (x->too_long || !ig_utf8_valid(x->text, x->n_text) || strlen(x->text) != x->n_text))
        return broken(x, "a key or token that is too long or no text");
    if (key) {
        memcpy(l->key, x->text, x->n_text + 1);
        l->has_key = true;
    } else if (within(x, 3, "Contents", "Size")) {
        char *end;
        l->size = strtoull(x->text, &end, 10);
        l->has_size = x->n_text > 0 && x->n_text < 19 && x->text[0] >= '0' && x->text[0] <= '9' && !*end;
    } else if (within(x, 2, "ListBucketResult", "Contents"))
        return end_contents(l);
    else if (within(x, 2, "ListBucketResult", "IsTruncated"))
        l->out->truncated = !strcmp(x->text, "true");
    else if (token)
        memcpy(l->out->next, x->text, x->n_text + 1);
    return IG_OK;
}

static ig_status open_element(listing *l, const char *end)
{
    xml *x = &l->x;
    size_t n = name_length(x->p, end);
    if (n == 0 || n >= NAME_MAX_ || memchr(x->p, '<', (size_t)(end - x->p))) return broken(x, "a strange tag");
    if (x->depth == DEPTH_MAX) return broken(x, "too many levels");
    if (++x->n_nodes > NODES_MAX) return broken(x, "too many elements");
    memcpy(x->names[x->depth], x->p, n);
    x->names[x->depth++][n] = 0;
    x->n_text = 0;
    x->too_long = false;
    if (end[-1] != '/') return IG_OK;
    IG_TRY(end_element(l));
    x->depth--;
    return IG_OK;
}

static ig_status close_element(listing *l, const char *end)
{
    xml *x = &l->x;
    size_t n = name_length(++x->p, end);
    if (x->depth == 0 || n != strlen(x->names[x->depth - 1]) || memcmp(x->p, x->names[x->depth - 1], n))
        return broken(x, "an end without its beginning");
    ig_status st = end_element(l);
    x->depth--;
    x->n_text = 0;
    return st;
}

/* Behind '<'. */
static ig_status read_tag(listing *l)
{
    xml *x = &l->x;
    const char *end = memchr(x->p, '>', (size_t)(x->end - x->p));
    if (!end || end == x->p) return broken(x, "an open tag");
    if (*x->p == '!') return broken(x, "declarations and comments have no place in it");
    ig_status st = *x->p == '?' ? IG_OK : *x->p == '/' ? close_element(l, end) : open_element(l, end);
    x->p = end + 1;
    return st;
}

ig_status ig_s3_read_listing(ig_str text, bool (*each)(void *ctx, const char *key, uint64_t size), void *ctx,
                             ig_s3_listing *out, ig_error *err)
{
    listing l = {.x = {.p = text.ptr, .end = text.ptr + text.len, .err = err}, .each = each, .ctx = ctx, .out = out};
    xml *x = &l.x;
    *out = (ig_s3_listing){0};
    while (x->p < x->end && !l.stopped) {
        char c = *x->p++;
        if (c == '<') {
            IG_TRY(read_tag(&l));
            if (x->depth == 1 && strcmp(x->names[0], "ListBucketResult") != 0)
                return broken(x, "it is no ListBucketResult");
        } else if (c != '&') {
            if (x->depth) add_text(x, &c, 1);
        } else if (!add_entity(x))
            return broken(x, "an unknown entity");
    }
    if (!l.stopped && (x->depth || x->n_nodes == 0)) return broken(x, "it ends early");
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ INI files */

static ig_str trimmed(const char *p, size_t n)
{
    while (n && strchr(" \t\r", p[n - 1])) n--;
    while (n && strchr(" \t", *p)) p++, n--;
    return (ig_str){p, n};
}

bool ig_ini_find(ig_str text, const char *section, const char *key, char *out, size_t cap)
{
    bool here = false;
    for (size_t at = 0; at < text.len;) {
        const char *p = text.ptr + at, *nl = memchr(p, '\n', text.len - at);
        size_t n = nl ? (size_t)(nl - p) : text.len - at;
        at += n + 1;
        ig_str line = trimmed(p, n);
        if (line.len == 0 || *line.ptr == '#' || *line.ptr == ';') continue;
        if (*line.ptr == '[') {
            const char *close = memchr(line.ptr, ']', line.len);
            ig_str name = close ? trimmed(line.ptr + 1, (size_t)(close - line.ptr) - 1) : (ig_str){"", 0};
            here = ig_str_is(name, section);
            continue;
        }
        const char *eq = here ? memchr(line.ptr, '=', line.len) : NULL;
        if (!eq || !ig_str_is(trimmed(line.ptr, (size_t)(eq - line.ptr)), key)) continue;
        ig_str value = trimmed(eq + 1, line.len - (size_t)(eq + 1 - line.ptr));
        if (value.len >= cap || memchr(value.ptr, 0, value.len)) return false;
        memcpy(out, value.ptr, value.len);
        out[value.len] = 0;
        return value.len > 0;
    }
    return false;
}
