/* Signature version 4 of AWS, by libcrypto: a canonical form of the request, its digest, and a key made of the secret,
 * the day, the region and the service. Checked against the published vectors (tests/unit/test_sources.c). */
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "source.h"

enum { QUERY_MAX = 64, CANONICAL_BYTES_MAX = 32 << 10 };

typedef struct pair {
    ig_str name, value;
} pair;

static int compare(ig_str a, ig_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

/* Insertion: there are few. */
static void sort(pair *list, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0; k--) {
            int c = compare(list[k].name, list[k - 1].name);
            if (c > 0 || (c == 0 && compare(list[k].value, list[k - 1].value) >= 0)) break;
            pair t = list[k];
            list[k] = list[k - 1];
            list[k - 1] = t;
        }
}

static bool add_query(ig_buf *out, const char *query)
{
    pair list[QUERY_MAX];
    size_t n = 0;
    for (const char *p = query ? query : ""; *p;) {
        size_t len = strcspn(p, "&"), name = strcspn(p, "=&");
        if (n == QUERY_MAX) return false;
        if (len) list[n++] = (pair){{p, name}, name < len ? (ig_str){p + name + 1, len - name - 1} : (ig_str){"", 0}};
        p += len + (p[len] == '&');
    }
    sort(list, n);
    bool ok = true;
    for (size_t i = 0; i < n; i++)
        ok &= ig_buf_printf(out, "%s%.*s=%.*s", i ? "&" : "", (int)list[i].name.len, list[i].name.ptr,
                            (int)list[i].value.len, list[i].value.ptr);
    return ok && ig_buf_add(out, "\n", 1);
}

/* Blanks around a value are cut, runs of them become one. */
static bool add_value(ig_buf *out, ig_str v)
{
    bool ok = true, blank = false, any = false;
    for (size_t i = 0; i < v.len; i++) {
        bool space = v.ptr[i] == ' ' || v.ptr[i] == '\t' || v.ptr[i] == '\n';
        if (!space && blank && any) ok &= ig_buf_add(out, " ", 1);
        if (!space) ok &= ig_buf_add(out, &v.ptr[i], 1), any = true;
        blank = space;
    }
    return ok;
}

static bool add_headers(ig_buf *out, pair *list, size_t n, ig_buf *names)
{
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        bool again = i && compare(list[i].name, list[i - 1].name) == 0; /* several of one name stand in one line */
        if (again) {
            ok &= ig_buf_add(out, ",", 1);
        } else {
            ok &= (i == 0 || ig_buf_add(out, "\n", 1)) && ig_buf_add(out, list[i].name.ptr, list[i].name.len) &&
                  ig_buf_add(out, ":", 1);
            ok &= (i == 0 || ig_buf_add(names, ";", 1)) && ig_buf_add(names, list[i].name.ptr, list[i].name.len);
        }
        ok &= add_value(out, list[i].value);
    }
    return ok && ig_buf_add(out, "\n\n", 2);
}

static bool canonical(const ig_sigv4 *in, ig_buf *out, ig_buf *names)
{
    pair list[IG_SIGV4_HEADERS_MAX + 1];
    size_t n = 0;
    if (in->n_headers > IG_SIGV4_HEADERS_MAX) return false;
    list[n++] = (pair){IG_STR("host"), ig_str_from(in->host)};
    for (size_t i = 0; i < in->n_headers; i++)
        list[n++] = (pair){ig_str_from(in->headers[i][0]), ig_str_from(in->headers[i][1])};
    /* Stable by name: values keep their order. */
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && compare(list[k].name, list[k - 1].name) < 0; k--) {
            pair t = list[k];
            list[k] = list[k - 1];
            list[k - 1] = t;
        }
    return ig_buf_printf(out, "%s\n%s\n", in->method, *in->path ? in->path : "/") && add_query(out, in->query) &&
           add_headers(out, list, n, names) && ig_buf_add(out, names->ptr, names->len) &&
           ig_buf_printf(out, "\n%s", in->payload);
}

static bool mac(const void *key, size_t n_key, const char *text, size_t n, unsigned char out[32])
{
    unsigned len = 32;
    return HMAC(EVP_sha256(), key, (int)n_key, (const unsigned char *)text, n, out, &len) && len == 32;
}

static bool signature(const ig_sigv4 *in, const char *to_sign, char hex[65])
{
    char first[260], day[9];
    unsigned char k[32];
    int n = snprintf(first, sizeof first, "AWS4%s", in->secret);
    (void)snprintf(day, sizeof day, "%.8s", in->date);
    bool ok = n > 0 && (size_t)n < sizeof first && mac(first, (size_t)n, day, 8, k) &&
              mac(k, 32, in->region, strlen(in->region), k) && mac(k, 32, in->service, strlen(in->service), k) &&
              mac(k, 32, "aws4_request", 12, k) && mac(k, 32, to_sign, strlen(to_sign), k);
    for (size_t i = 0; ok && i < 32; i++) (void)snprintf(hex + 2 * i, 3, "%02x", k[i]);
    return ok;
}

ig_status ig_sigv4_sign(const ig_sigv4 *in, ig_buf *shown, ig_buf *out, ig_error *err)
{
    ig_buf text, names;
    ig_digest d;
    char to_sign[512], hex[65], scope[200];
    ig_buf_init(&text, CANONICAL_BYTES_MAX);
    ig_buf_init(&names, 2048);
    bool ok = canonical(in, &text, &names) && ig_sha_text(text.ptr, text.len, &d);
    int n = snprintf(scope, sizeof scope, "%.8s/%s/%s/aws4_request", in->date, in->region, in->service);
    ok &= n > 0 && (size_t)n < sizeof scope;
    if (ok) {
        n = snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n%s", in->date, scope, d.hex);
        ok = n > 0 && (size_t)n < sizeof to_sign && signature(in, to_sign, hex);
    }
    ok = ok && ig_buf_printf(out, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%.*s, Signature=%s", in->id, scope,
                             (int)names.len, names.ptr, hex);
    if (ok && shown) ok = ig_buf_add(shown, text.ptr, text.len);
    ig_buf_fini(&text);
    ig_buf_fini(&names);
    return ok ? IG_OK : ig_fail(err, IG_TOO_LARGE, 0, "the request to %.200s is too long to be signed", in->host);
}

/* ------------------------------------------------------------------------------------------------ one request */

bool ig_s3_sign(const ig_s3_key *key, const char *method, const char *url, const char *payload, int64_t now_s,
                void (*add)(void *ctx, const char *name, const char *value), void *ctx)
{
    static const char nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    char host[300], path[IG_URL_MAX], date[20];
    time_t now = (time_t)now_s;
    struct tm tm;
    const char *p = strstr(url, "://");
    if (!p || !gmtime_r(&now, &tm) || !strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &tm)) return false;
    p += 3;
    size_t n = strcspn(p, "/?#"), n_path = strcspn(p + n, "?#");
    if (n >= sizeof host || n_path >= sizeof path) return false;
    (void)snprintf(host, sizeof host, "%.*s", (int)n, p);
    (void)snprintf(path, sizeof path, "%.*s", (int)n_path, p + n);
    const char *query = p[n + n_path] == '?' ? p + n + n_path + 1 : "";
    const char *headers[4][2] = {{payload ? "x-amz-meta-sha256" : "x-amz-checksum-mode", payload ? payload : "ENABLED"},
                                 {"x-amz-content-sha256", payload ? payload : nothing},
                                 {"x-amz-date", date},
                                 {"x-amz-security-token", key->token}};
    ig_sigv4 in = {.method = method,
                   .host = host,
                   .path = path,
                   .query = query,
                   .region = key->region,
                   .service = "s3",
                   .date = date,
                   .payload = payload ? payload : nothing,
                   .headers = headers,
                   .n_headers = key->token ? 4 : 3,
                   .id = key->id,
                   .secret = key->secret};
    ig_buf out;
    ig_buf_init(&out, 4096);
    bool ok = ig_sigv4_sign(&in, NULL, &out, NULL) == IG_OK && ig_buf_add(&out, "", 1);
    for (size_t i = 0; ok && i < in.n_headers; i++) add(ctx, headers[i][0], headers[i][1]);
    if (ok) add(ctx, "Authorization", out.ptr);
    ig_buf_fini(&out);
    return ok;
}
