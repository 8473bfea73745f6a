/* https://HOST/PATH.gguf[#sha256=DIGEST]: one file by its address; of a split model all its parts. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "source.h"

static bool fits(const char *address)
{
    return !strncasecmp(address, "https://", 8) || !strncasecmp(address, "http://", 7);
}

static ig_status add_part(ig_plan *out, const char *url, const char *file, unsigned i, unsigned n, size_t stem,
                          ig_error *err)
{
    size_t head = strlen(url) - strlen(file) + stem;
    ig_item item = {.role = IG_ROLE_WEIGHTS};
    item.url = ig_plan_printf(out, "%.*s-%05u-of-%05u.gguf", (int)head, url, i, n);
    item.name = ig_plan_printf(out, "%.*s-%05u-of-%05u.gguf", (int)stem, file, i, n);
    if (!item.url || !item.name) return ig_fail(err, IG_TOO_LARGE, 0, "the address %.200s is too long", url);
    return ig_plan_add(out, &item, err);
}

static ig_status plan_of(ig_asker *a, const char *address, ig_plan *out, ig_error *err)
{
    char url[IG_URL_MAX], origin[IG_URL_MAX], stem[256];
    unsigned index, n;
    size_t stem_len;
    ig_item item = {.role = IG_ROLE_WEIGHTS};
    (void)a;
    IG_TRY(ig_auth_address(address, out, err));
    size_t len = strcspn(address, "#");
    if (len >= sizeof url || !ig_url_origin(address, origin, sizeof origin))
        return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no usable address", address);
    memcpy(url, address, len);
    url[len] = 0;
    const char *sum = address + len;
    if (*sum) {
        if (strncmp(sum, "#sha256=", 8) && strncmp(sum, "#sha256:", 8))
            return ig_fail(err, IG_BAD_INPUT, 0, "\"%.100s\" behind an address is not known, expected #sha256=DIGEST",
                           sum);
        IG_TRY(ig_digest_parse(sum + 8, &item.digest, err));
        item.has_digest = true;
    }
    size_t path_len = strcspn(url, "?");
    char path[IG_URL_MAX];
    memcpy(path, url, path_len);
    path[path_len] = 0;
    const char *slash = strrchr(path, '/'), *file = slash + 1;
    if (!ig_ends(file, ".gguf") || !ig_file_name_valid(file))
        return ig_fail(err, IG_UNSUPPORTED, 0, "%.250s does not name a .gguf file", url);
    out->m.format = "gguf";
    bool split = ig_split_name(file, &index, &n, &stem_len);
    (void)snprintf(stem, sizeof stem, "%.*s", split ? (int)stem_len : (int)(strlen(file) - 5), file);
    IG_TRY(ig_name_from(stem, &out->m.name, err));
    if (split && !item.has_digest && path_len == len) {
        for (unsigned i = 1; i <= n; i++) IG_TRY(add_part(out, path, file, i, n, stem_len, err));
        return IG_OK;
    }
    if (split)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%.250s is one part of several: give its address without # and ?", url);
    item.url = ig_plan_text(out, url);
    item.name = ig_plan_text(out, file);
    if (!item.url || !item.name) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the address");
    return ig_plan_add(out, &item, err);
}

const ig_source ig_source_https = {
    {"https", "https://HOST/PATH.gguf[#sha256=DIGEST]", "a file on a web server"}, fits, plan_of};
