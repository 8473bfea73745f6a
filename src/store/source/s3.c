/* s3://BUCKET/KEY.gguf or s3://BUCKET/PREFIX: objects of AWS S3 or of anything that speaks it. Requests are signed
 * (sigv4.c) where there are credentials. */
#include <ctype.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "source.h"

enum { PAGE_BYTES_MAX = 8 << 20, PAGES_MAX = 100, KEYS_MAX = 100000, KEY_MAX = 1024, INI_BYTES_MAX = 1 << 20 };

typedef struct place {
    char bucket[70], base[400]; /* base: "https://host/bucket" or "https://bucket.host" */
    char key[KEY_MAX + 2];
    ig_auth auth;
    ig_s3_key secret;
} place;

static bool fits(const char *address) { return !strncasecmp(address, "s3://", 5); }

/* ------------------------------------------------------------------------------------------------ who asks */

/* A member of one of the AWS tools' files. *found false: no such file or member. */
static ig_status from_file(const char *variable, const char *file, const char *section, const char *key, char *out,
                           size_t n, bool secret, ig_error *err)
{
    char path[3000];
    const char *own = getenv(variable), *home = getenv("HOME");
    struct stat sb;
    ig_buf text;
    out[0] = 0;
    int len = own && *own ? snprintf(path, sizeof path, "%s", own)
                          : snprintf(path, sizeof path, "%s/.aws/%s", home ? home : "", file);
    if (len < 0 || (size_t)len >= sizeof path || path[0] != '/') return IG_OK;
    int fd = ig_disk_open(AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0) return IG_OK;
    ig_buf_init(&text, INI_BYTES_MAX);
    ig_status st = fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode)
                       ? ig_fail(err, IG_BAD_INPUT, 0, "%.250s is no regular file", path)
                       : ig_fd_read_all(fd, path, &text, err);
    close(fd);
    bool found = st == IG_OK && ig_ini_find((ig_str){text.ptr ? text.ptr : "", text.len}, section, key, out, n);
    ig_buf_fini(&text);
    if (found && secret && (sb.st_mode & (S_IRWXG | S_IRWXO)))
        return ig_fail(err, IG_DENIED, 0, "%.250s holds a secret and others may read it. Type: chmod 600 %.200s", path,
                       path);
    return st;
}

static bool from_environment(const char *name, char *out, size_t n)
{
    const char *v = getenv(name);
    if (!v || !*v || strlen(v) >= n || strpbrk(v, "\r\n")) return false;
    (void)snprintf(out, n, "%s", v);
    return true;
}

static ig_status find_region(place *p, const char *profile, ig_error *err)
{
    char section[120];
    size_t n = sizeof p->secret.region;
    if (from_environment("AWS_REGION", p->secret.region, n) ||
        from_environment("AWS_DEFAULT_REGION", p->secret.region, n))
        return IG_OK;
    (void)snprintf(section, sizeof section, "%s%s", strcmp(profile, "default") ? "profile " : "", profile);
    IG_TRY(from_file("AWS_CONFIG_FILE", "config", section, "region", p->secret.region, n, false, err));
    if (!p->secret.region[0]) (void)snprintf(p->secret.region, n, "us-east-1");
    return IG_OK;
}

static ig_status find_key(place *p, ig_plan *plan, ig_error *err)
{
    char profile[100], token[4096];
    static const char own[] = "AWS_SHARED_CREDENTIALS_FILE", file[] = "credentials";
    if (!from_environment("AWS_PROFILE", profile, sizeof profile)) (void)snprintf(profile, sizeof profile, "default");
    IG_TRY(find_region(p, profile, err));
    ig_s3_key *k = &p->secret;
    bool known = from_environment("AWS_ACCESS_KEY_ID", k->id, sizeof k->id) &&
                 from_environment("AWS_SECRET_ACCESS_KEY", k->secret, sizeof k->secret);
    token[0] = 0;
    if (known) {
        (void)from_environment("AWS_SESSION_TOKEN", token, sizeof token);
    } else {
        IG_TRY(from_file(own, file, profile, "aws_access_key_id", k->id, sizeof k->id, true, err));
        IG_TRY(from_file(own, file, profile, "aws_secret_access_key", k->secret, sizeof k->secret, true, err));
        IG_TRY(from_file(own, file, profile, "aws_session_token", token, sizeof token, true, err));
    }
    if (token[0] && !(k->token = ig_plan_text(plan, token)))
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the session token");
    if (k->id[0] && k->secret[0]) p->auth.s3 = k; /* else the bucket is asked without a name */
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ where */

static ig_status set_base(place *p, ig_error *err)
{
    static const char *const variables[] = {"INGLE_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"};
    char endpoint[300] = "";
    for (size_t i = 0; i < sizeof variables / sizeof *variables && !endpoint[0]; i++)
        (void)ig_endpoint(variables[i], "", endpoint, sizeof endpoint);
    if (endpoint[0])
        (void)snprintf(p->base, sizeof p->base, "%s/%s", endpoint, p->bucket);
    else if (strchr(p->bucket, '.')) /* no certificate fits such a host */
        (void)snprintf(p->base, sizeof p->base, "https://s3.%s.amazonaws.com/%s", p->secret.region, p->bucket);
    else
        (void)snprintf(p->base, sizeof p->base, "https://%s.s3.%s.amazonaws.com", p->bucket, p->secret.region);
    if (ig_url_origin(p->base, p->auth.origin, sizeof p->auth.origin)) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no endpoint of S3, expected https://HOST[:PORT]", endpoint);
}

static ig_status parse(const char *address, place *p, ig_item *item, ig_error *err)
{
    const char *text = address + 5, *sum = strstr(text, "#sha256=");
    size_t len = sum ? (size_t)(sum - text) : strlen(text), bucket = strcspn(text, "/#");
    bool ok = bucket >= 3 && bucket < sizeof p->bucket && bucket <= len && len - bucket <= KEY_MAX;
    for (size_t i = 0; ok && i < bucket; i++) ok = isalnum((unsigned char)text[i]) || (i && strchr(".-_", text[i]));
    if (!ok) return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no address of S3, expected s3://BUCKET/KEY", address);
    (void)snprintf(p->bucket, sizeof p->bucket, "%.*s", (int)bucket, text);
    if (bucket < len) (void)snprintf(p->key, sizeof p->key, "%.*s", (int)(len - bucket - 1), text + bucket + 1);
    /* "." and ".." would be taken out of the address on the way, and another object asked for. */
    size_t n = strlen(p->key);
    char whole[KEY_MAX + 2];
    (void)snprintf(whole, sizeof whole, "%.*s", (int)(n && p->key[n - 1] == '/' ? n - 1 : n), p->key);
    char *rest = NULL;
    for (char *part = strtok_r(whole, "/", &rest); part; part = strtok_r(NULL, "/", &rest))
        if (!strcmp(part, ".") || !strcmp(part, ".."))
            return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no usable key of S3", p->key);
    if (sum) IG_TRY(ig_digest_parse(sum + 8, &item->digest, err));
    item->has_digest = sum != NULL;
    return IG_OK;
}

static const char *url_of(const place *p, ig_plan *plan, const char *key)
{
    char path[IG_URL_MAX];
    return ig_url_escape(key, path, sizeof path) ? ig_plan_printf(plan, "%s/%s", p->base, path) : NULL;
}

/* ------------------------------------------------------------------------------------------------ what is known */

/* S3 keeps a SHA-256 where one was given with the upload: as metadata, or as the checksum of the whole object. */
static bool told_digest(const ig_http_reply *reply, ig_digest *out)
{
    unsigned char bytes[40];
    if (ig_digest_parse(reply->sha256, out, NULL) == IG_OK) return true;
    if (strlen(reply->sha256_base64) != 44 || reply->sha256_base64[43] != '=' ||
        EVP_DecodeBlock(bytes, (const unsigned char *)reply->sha256_base64, 44) != 33)
        return false;
    for (size_t i = 0; i < 32; i++) (void)snprintf(out->hex + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

static bool asking(void *ctx) { return ig_asker_note(ctx, IG_PULL_ASKING, "s3", NULL); }

static ig_status ask_object(ig_asker *a, place *p, ig_item *item, ig_error *err)
{
    ig_http_reply reply;
    ig_status st;
    bool again;
    unsigned wait_ms = a->o->first_wait_ms ? a->o->first_wait_ms : 500;
    ig_http_request q = {.method = "HEAD",
                         .url = item->url,
                         .auth = &p->auth,
                         .insecure = a->o->insecure,
                         .guarded = a->o->no_files,
                         .tick = asking,
                         .ctx = a};
    for (unsigned i = 0;; i++) {
        st = ig_http_run(a->http, &q, &reply, &again, err);
        if (st == IG_OK || !again || i == 2) break;
        if (!ig_asker_wait(a, "s3", ig_wait_ms(wait_ms, reply.retry_after_s)))
            return ig_fail(err, IG_CANCELLED, 0, "the pull was cancelled");
        wait_ms = ig_wait_longer(wait_ms);
    }
    if (st == IG_NOT_FOUND) return ig_fail(err, st, 0, "the bucket %s has no %.200s", p->bucket, item->name);
    if (st == IG_DENIED || (reply.status == 400 && !p->auth.s3))
        return ig_fail(err, IG_DENIED, 0, "%.200s refuses %.150s of the bucket %s (HTTP %ld)%s", p->auth.origin,
                       item->name, p->bucket, reply.status,
                       p->auth.s3 ? "" : ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials");
    IG_TRY(st);
    if (!item->has_digest) item->has_digest = told_digest(&reply, &item->digest);
    if (reply.has_length) item->has_size = true, item->size = reply.length;
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ one object */

static ig_status add_object(ig_asker *a, place *p, const char *key, ig_item item, ig_plan *out, ig_error *err)
{
    const char *slash = strrchr(key, '/');
    item.role = IG_ROLE_WEIGHTS;
    item.url = url_of(p, out, key);
    item.name = ig_plan_text(out, slash ? slash + 1 : key);
    if (!item.url || !item.name) return ig_fail(err, IG_TOO_LARGE, 0, "the key %.200s is too long", key);
    if (!ig_file_name_valid(item.name)) return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no usable key of S3", key);
    IG_TRY(ask_object(a, p, &item, err));
    return ig_plan_add(out, &item, err);
}

static ig_status plan_object(ig_asker *a, place *p, const ig_item *known, ig_plan *out, ig_error *err)
{
    char key[KEY_MAX + 40], stem[256];
    unsigned index, n;
    size_t stem_len;
    const char *slash = strrchr(p->key, '/'), *file = slash ? slash + 1 : p->key;
    out->m.format = "gguf";
    bool split = ig_split_name(file, &index, &n, &stem_len);
    (void)snprintf(stem, sizeof stem, "%.*s", (int)(split ? stem_len : strlen(file) - 5), file);
    IG_TRY(ig_name_from(stem, &out->m.name, err));
    if (!split) return add_object(a, p, p->key, *known, out, err);
    if (known->has_digest)
        return ig_fail(err, IG_UNSUPPORTED, 0, "%.250s is one part of several: give its address without #", p->key);
    int head = (int)((size_t)(file - p->key) + stem_len);
    for (unsigned i = 1; i <= n; i++) {
        (void)snprintf(key, sizeof key, "%.*s-%05u-of-%05u.gguf", head, p->key, i, n);
        IG_TRY(add_object(a, p, key, (ig_item){0}, out, err));
    }
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ a prefix */

typedef struct keys {
    json_t *list;
    size_t prefix;
} keys;

static bool add_key(void *ctx, const char *key, uint64_t size)
{
    keys *k = ctx;
    const char *name = key + k->prefix;
    if (strlen(key) <= k->prefix || !ig_file_name_valid(name) || size > INT64_MAX)
        return true; /* folders, and what is not wanted */
    (void)json_array_append_new(k->list,
                                json_pack("{s:s, s:s, s:I}", "type", "file", "path", name, "size", (json_int_t)size));
    return json_array_size(k->list) < KEYS_MAX;
}

/* As S3 wants it: also the slash. */
static bool escape_query(const char *text, char *out, size_t n)
{
    char once[IG_URL_MAX];
    size_t at = 0;
    if (!ig_url_escape(text, once, sizeof once)) return false;
    for (const char *p = once; *p; p++) {
        if (at + 4 > n) return false;
        at += (size_t)snprintf(out + at, n - at, *p == '/' ? "%%2F" : "%c", *p);
    }
    out[at] = 0;
    return true;
}

static ig_status ask_page(ig_asker *a, place *p, const char *next, keys *k, ig_s3_listing *out, ig_error *err)
{
    char prefix[IG_URL_MAX] = "", token[IG_URL_MAX] = "", url[3 * IG_URL_MAX];
    ig_http_reply reply;
    ig_buf body;
    if (!escape_query(p->key, prefix, sizeof prefix) || !escape_query(next, token, sizeof token))
        return ig_fail(err, IG_TOO_LARGE, 0, "the prefix %.200s is too long", p->key);
    int n = snprintf(url, sizeof url, "%s/?%s%s%slist-type=2&prefix=%s", p->base, *token ? "continuation-token=" : "",
                     token, *token ? "&" : "", prefix);
    if (n < 0 || n >= IG_URL_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "the prefix %.200s is too long", p->key);
    ig_http_request q = {.url = url, .auth = &p->auth};
    ig_status st = ig_http_document(a, &q, PAGE_BYTES_MAX, &body, &reply, err);
    if (st == IG_NOT_FOUND) return ig_fail(err, st, 0, "%.200s has no bucket %s", p->auth.origin, p->bucket);
    if (st == IG_DENIED)
        return ig_fail(err, st, 0, "%.200s does not show the bucket %s (HTTP %ld)%s", p->auth.origin, p->bucket,
                       reply.status,
                       p->auth.s3 ? "" : ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials");
    IG_TRY(st);
    st = ig_s3_read_listing((ig_str){body.ptr ? body.ptr : "", body.len}, add_key, k, out, err);
    ig_buf_fini(&body);
    return st;
}

static ig_status ask_pages(ig_asker *a, place *p, keys *k, ig_error *err)
{
    ig_s3_listing page = {0};
    char next[sizeof page.next] = "";
    for (unsigned i = 0; i < PAGES_MAX; i++) {
        IG_TRY(ask_page(a, p, next, k, &page, err));
        if (!page.truncated || !page.next[0]) return IG_OK;
        memcpy(next, page.next, sizeof next);
    }
    return ig_fail(err, IG_TOO_LARGE, 0, "s3://%s/%.200s has too many objects, give a longer prefix", p->bucket,
                   p->key);
}

/* The items name keys below the prefix; here they get their addresses. */
static ig_status place_items(ig_asker *a, place *p, ig_plan *out, ig_error *err)
{
    for (size_t i = 0; i < out->n; i++) {
        ig_item *item = &out->items[i];
        const char *key = ig_plan_printf(out, "%s%s", p->key, item->url);
        item->url = key ? url_of(p, out, key) : NULL;
        if (!item->url) return ig_fail(err, IG_TOO_LARGE, 0, "the key of %.200s is too long", item->name);
        IG_TRY(ask_object(a, p, item, err));
    }
    return IG_OK;
}

static ig_status plan_prefix(ig_asker *a, place *p, ig_plan *out, ig_error *err)
{
    char name[KEY_MAX + 2];
    size_t n = strlen(p->key);
    if (n && p->key[n - 1] != '/') p->key[n++] = '/', p->key[n] = 0;
    keys k = {json_array(), n};
    ig_status st = ask_pages(a, p, &k, err);
    if (st == IG_OK && json_array_size(k.list) == 0)
        st = ig_fail(err, IG_NOT_FOUND, 0, "there is nothing below s3://%s/%.200s", p->bucket, p->key);
    char *text = st == IG_OK ? json_dumps(k.list, JSON_COMPACT) : NULL;
    if (st == IG_OK && !text) st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of the bucket");
    if (st == IG_OK) st = ig_hub_plan(ig_str_from(text), NULL, out, err);
    free(text);
    json_decref(k.list);
    IG_TRY(st);
    (void)snprintf(name, sizeof name, "%.*s", (int)(n ? n - 1 : 0), p->key);
    const char *last = strrchr(name, '/');
    IG_TRY(ig_name_from(n ? last ? last + 1 : name : p->bucket, &out->m.name, err));
    return place_items(a, p, out, err);
}

static ig_status plan_of(ig_asker *a, const char *address, ig_plan *out, ig_error *err)
{
    ig_item known = {0};
    place *p = ig_arena_alloc(&out->arena, 1, sizeof *p);
    if (!p) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the address");
    IG_TRY(parse(address, p, &known, err));
    p->auth.arena = &out->arena;
    IG_TRY(find_key(p, out, err));
    IG_TRY(set_base(p, err));
    IG_TRY(ig_asker_http(a, err));
    if (ig_ends(p->key, ".gguf"))
        IG_TRY(plan_object(a, p, &known, out, err));
    else if (known.has_digest)
        return ig_fail(err, IG_BAD_INPUT, 0, "#sha256= stands behind one file alone, not behind %.200s", p->key);
    else
        IG_TRY(plan_prefix(a, p, out, err));
    out->auth = &p->auth;
    return IG_OK;
}

ig_status ig_s3_open(const char *address, ig_plan *plan, const char **base, ig_auth **auth, ig_error *err)
{
    ig_item unused = {0};
    place *p = ig_arena_alloc(&plan->arena, 1, sizeof *p);
    if (!p) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the address");
    IG_TRY(parse(address, p, &unused, err));
    size_t n = strlen(p->key);
    while (n && p->key[n - 1] == '/') p->key[--n] = 0;
    if (unused.has_digest)
        return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no folder of S3, expected s3://BUCKET/PREFIX", address);
    p->auth.arena = &plan->arena;
    IG_TRY(find_key(p, plan, err));
    IG_TRY(set_base(p, err));
    *base = n ? url_of(p, plan, p->key) : p->base;
    *auth = &p->auth;
    return *base ? IG_OK : ig_fail(err, IG_TOO_LARGE, 0, "the prefix %.200s is too long", p->key);
}

const ig_source ig_source_s3 = {
    {"s3", "s3://BUCKET/KEY[#sha256=DIGEST]", "a GGUF file, or what lies below a prefix, in S3 or its like"},
    fits,
    plan_of};
