#include "daemon.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/library.h"
#include "base/str.h"

#define ANSWER_BYTES_MAX ((size_t)64 << 20)
#define STANDARD_URL     "http://127.0.0.1:11434"

/* Loaded when it is needed: a worker and an idle service do without its libraries. */
#define CURL_FUNCTIONS(X)                                                                                              \
    X(curl_easy_init)                                                                                                  \
    X(curl_easy_cleanup)                                                                                               \
    X(curl_easy_setopt)                                                                                                \
    X(curl_easy_perform)                                                                                               \
    X(curl_easy_getinfo)                                                                                               \
    X(curl_easy_strerror)                                                                                              \
    X(curl_slist_append)                                                                                               \
    X(curl_slist_free_all)
/* The checking macros of curl.h stand in the way of a table. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

typedef struct curl_table {
#define X(f) __typeof__(&f) f;
    CURL_FUNCTIONS(X)
#undef X
} curl_table;

typedef struct talk {
    curl_table api;
    char url[2048], socket[1024];
    ig_buf answer;
    FILE *upload; /* NULL: the body is JSON */
    uint64_t upload_bytes, sent_bytes;
    daemon_sent_fn on_sent;
    daemon_line_fn fn;
    bool (*stop)(void); /* NULL: the answer is collected */
    void *ctx;
    long status;
    CURL *curl;
    bool named; /* somebody has said where */
} talk;

/* ------------------------------------------------------------------------------------------------ where */

/* Somebody answers there: a service that was killed leaves its socket behind. */
static bool answers(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) return false;
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 && !connect(fd, (const struct sockaddr *)&a, sizeof a);
    if (fd >= 0) close(fd);
    return yes;
}

static bool find_socket(char *out, size_t n)
{
    const char *run = getenv("XDG_RUNTIME_DIR");
    if (getuid() != 0 && run && snprintf(out, n, "%s/ingle/ingle.sock", run) < (int)n && answers(out)) return true;
    return snprintf(out, n, "/run/ingle/ingle.sock") < (int)n && answers(out);
}

static bool starts(const char *z, const char *with) { return !strncmp(z, with, strlen(with)); }

/* What people write in OLLAMA_HOST: a URL, HOST:PORT, HOST, :PORT, or unix:PATH. */
static void set_place(talk *t, const char *host, const char *path)
{
    if (starts(host, "unix:")) {
        snprintf(t->socket, sizeof t->socket, "%s", host + 5);
        snprintf(t->url, sizeof t->url, "http://localhost%s", path);
        return;
    }
    if (starts(host, "http://") || starts(host, "https://")) {
        size_t n = strlen(host);
        while (n && host[n - 1] == '/') n--;
        snprintf(t->url, sizeof t->url, "%.*s%s", (int)n, host, path);
        return;
    }
    const char *colon = strrchr(host, ':');
    bool port = colon && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1);
    if (starts(host, "0.0.0.0"))
        host += 7, snprintf(t->url, sizeof t->url, "http://127.0.0.1%s%s%s", host, port ? "" : ":11434", path);
    else
        snprintf(t->url, sizeof t->url, "http://%s%s%s%s", colon == host ? "127.0.0.1" : "", host, port ? "" : ":11434",
                 path);
}

bool daemon_wanted(const char *host, bool *named)
{
    char path[1024];
    const char *ours = getenv("INGLE_HOST"), *theirs = getenv("OLLAMA_HOST");
    bool yes = host || (ours && *ours) || (theirs && *theirs);
    if (named) *named = yes;
    const char *store = getenv("INGLE_STORE");
    return yes || ((!store || !*store) && find_socket(path, sizeof path));
}

/* HOST, HOST:PORT, [V6]:PORT or :PORT, behind the scheme and in front of a path. */
static bool is_host(const char *z)
{
    size_t n = strcspn(z, "/");
    const char *bracket = memchr(z, ']', n), *from = *z == '[' && bracket ? bracket + 1 : z;
    const char *colon = memchr(from, ':', n - (size_t)(from - z));
    if (n == 0 || n > 260 || strcspn(z, " \t\"'<>@?#\\") < n || (*z == '[' && !bracket)) return false;
    if (!colon) return true;
    unsigned long port = strtoul(colon + 1, NULL, 10);
    size_t digits = strspn(colon + 1, "0123456789");
    return digits && colon + 1 + digits == z + n && port > 0 && port < 65536;
}

/* flag: host was given on the command line. */
static ig_status check_place(const char *host, bool flag, ig_error *err)
{
    const char *rest = starts(host, "http://") ? host + 7 : starts(host, "https://") ? host + 8 : host;
    if (starts(host, "unix:") ? host[5] && strlen(host) < 100 : !strstr(rest, "://") && is_host(rest)) return IG_OK;
    return ig_fail(
        err, IG_BAD_INPUT, 0,
        "%s is %.200s, expected HOST:PORT (also behind http:// or https://) or unix:PATH (of at most 94 bytes)",
        flag ? "--host" : "INGLE_HOST or OLLAMA_HOST", host);
}

static ig_status find_place(talk *t, const char *host, const char *path, ig_error *err)
{
    const bool flag = host != NULL;
    if (!host) host = getenv("INGLE_HOST");
    if (!host || !*host) host = getenv("OLLAMA_HOST");
    if (host && *host) {
        IG_TRY(check_place(host, flag, err));
        set_place(t, host, path);
        t->named = true;
    } else if (find_socket(t->socket, sizeof t->socket))
        snprintf(t->url, sizeof t->url, "http://localhost%s", path);
    else
        snprintf(t->url, sizeof t->url, "%s%s", STANDARD_URL, path);
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ what comes */

static bool give_line(talk *t, const char *line, size_t n)
{
    json_error_t error;
    json_t *value = n ? json_loadb(line, n, 0, &error) : NULL;
    bool more = !value || t->fn(t->ctx, value);
    json_decref(value);
    return more;
}

static bool give_lines(talk *t)
{
    size_t at = 0;
    bool more = true;
    while (more) {
        const char *end = memchr(t->answer.ptr + at, '\n', t->answer.len - at);
        if (!end) break;
        size_t n = (size_t)(end - t->answer.ptr) - at;
        more = give_line(t, t->answer.ptr + at, n);
        at += n + 1;
    }
    memmove(t->answer.ptr, t->answer.ptr + at, t->answer.len - at);
    t->answer.len -= at;
    return more;
}

static size_t on_data(char *p, size_t size, size_t n, void *ctx)
{
    talk *t = ctx;
    if (!ig_buf_add(&t->answer, p, size * n)) return 0;
    t->api.curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    return !t->fn || t->status >= 400 || give_lines(t) ? size * n : 0;
}

/* The service's own sentence, wherever its dialect puts it. */
static ig_status refused(const talk *t, ig_error *err)
{
    json_error_t error;
    json_t *value = t->answer.len ? json_loadb(t->answer.ptr, t->answer.len, 0, &error) : NULL;
    const json_t *why = json_object_get(value, "error");
    const char *text = json_string_value(json_is_object(why) ? json_object_get(why, "message") : why);
    ig_status status = t->status == 404                       ? IG_NOT_FOUND
                       : t->status == 401 || t->status == 403 ? IG_DENIED
                                                              : IG_BAD_INPUT;
    if (text)
        ig_fail(err, status, 0, "%.480s", text);
    else
        ig_fail(err, status, 0, "the service answered with status %ld", t->status);
    json_decref(value);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the call */

static ig_status load_curl(curl_table *api, ig_error *err)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
#define X(f) #f,
    static const char *const symbols[] = {CURL_FUNCTIONS(X)};
#undef X
    if (ig_library_open(names, sizeof names / sizeof *names, symbols, sizeof symbols / sizeof *symbols, api))
        return IG_OK;
    return ig_fail(err, IG_UNSUPPORTED, 0, "talking to the service needs libcurl. Type: apt install libcurl4");
}

static size_t on_upload(char *p, size_t size, size_t n, void *ctx)
{
    talk *t = ctx;
    size_t got = fread(p, 1, size * n, t->upload);
    t->sent_bytes += got;
    return t->on_sent && !t->on_sent(t->ctx, t->sent_bytes, t->upload_bytes) ? CURL_READFUNC_ABORT : got;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const talk *t = ctx;
    (void)a, (void)b, (void)c, (void)d;
    return t->stop();
}

static void set_options(talk *t, const char *method, const char *text, struct curl_slist *headers)
{
    t->api.curl_easy_setopt(t->curl, CURLOPT_URL, t->url);
    t->api.curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    t->api.curl_easy_setopt(t->curl, CURLOPT_NOPROXY, "*");
    t->api.curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    t->api.curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    t->api.curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_data);
    t->api.curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    t->api.curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
    if (*t->socket) t->api.curl_easy_setopt(t->curl, CURLOPT_UNIX_SOCKET_PATH, t->socket);
    if (t->stop) {
        t->api.curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
        t->api.curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        t->api.curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
    }
    if (text) t->api.curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, text);
    if (t->upload) {
        t->api.curl_easy_setopt(t->curl, CURLOPT_POST, 1L);
        t->api.curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->upload_bytes);
        t->api.curl_easy_setopt(t->curl, CURLOPT_READFUNCTION, on_upload);
        t->api.curl_easy_setopt(t->curl, CURLOPT_READDATA, t);
    }
    if (!strcmp(method, "HEAD"))
        t->api.curl_easy_setopt(t->curl, CURLOPT_NOBODY, 1L);
    else
        t->api.curl_easy_setopt(t->curl, CURLOPT_CUSTOMREQUEST, method);
}

/* A key for the service, where the environment has one; header[600]. */
static bool key_header(char header[600])
{
    const char *key = getenv("INGLE_API_KEY");
    return key && *key && snprintf(header, 600, "Authorization: Bearer %s", key) < 600;
}

/* Of the url, without the path that we put behind it. */
static size_t place_length(const talk *t)
{
    const char *host = strstr(t->url, "://");
    return host ? (size_t)(host + 3 - t->url) + strcspn(host + 3, "/") : strlen(t->url);
}

static ig_status nobody(const talk *t, ig_error *err)
{
    char place[1100];
    if (*t->socket)
        snprintf(place, sizeof place, "unix:%s", t->socket);
    else
        snprintf(place, sizeof place, "%.*s", (int)(place_length(t) < 1000 ? place_length(t) : 1000), t->url);
    if (t->named)
        return ig_fail(
            err, IG_NOT_FOUND, 0,
            "no service answers at %.300s; it may listen elsewhere (--host ADDRESS, INGLE_HOST), or does not "
            "run. Type: ingle serve",
            place);
    return ig_fail(err, IG_NOT_FOUND, 0, "no service answers at %.300s. Type: ingle serve", place);
}

static ig_status perform(talk *t, const char *method, const json_t *body, ig_error *err)
{
    IG_TRY(load_curl(&t->api, err));
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL, key[600];
    struct curl_slist *headers = t->api.curl_slist_append(NULL, t->upload ? "Content-Type: application/octet-stream"
                                                                          : "Content-Type: application/json");
    if (headers && key_header(key)) t->api.curl_slist_append(headers, key);
    if (headers && t->upload) t->api.curl_slist_append(headers, "Expect:"); /* no waiting for 100 Continue */
    t->curl = t->api.curl_easy_init();
    if (!t->curl || !headers || (body && !text)) {
        t->api.curl_slist_free_all(headers);
        free(text);
        if (t->curl) t->api.curl_easy_cleanup(t->curl);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the call of the service");
    }
    set_options(t, method, text, headers);
    CURLcode rc = t->api.curl_easy_perform(t->curl);
    t->api.curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    t->api.curl_easy_cleanup(t->curl);
    t->api.curl_slist_free_all(headers);
    free(text);
    if (rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST) return nobody(t, err);
    if (rc == CURLE_SSL_CONNECT_ERROR)
        return ig_fail(err, IG_IO, 0, "no TLS is spoken at %.*s; expected http:// in place of https://",
                       (int)place_length(t), t->url);
    if (rc == CURLE_WRITE_ERROR && t->fn) return IG_OK; /* fn wanted no more */
    if (rc == CURLE_ABORTED_BY_CALLBACK) return ig_fail(err, IG_CANCELLED, 0, "interrupted");
    if (rc != CURLE_OK && t->status < 400)
        return ig_fail(err, IG_IO, 0, "the call of %s failed: %s", t->url, t->api.curl_easy_strerror(rc));
    return t->status >= 400 ? refused(t, err) : IG_OK;
}

ig_status daemon_call(const char *host, const char *method, const char *path, const json_t *body, json_t **out,
                      ig_error *err)
{
    talk t = {0};
    json_error_t error;
    ig_buf_init(&t.answer, ANSWER_BYTES_MAX);
    if (out) *out = NULL;
    ig_status status = find_place(&t, host, path, err);
    if (status == IG_OK) status = perform(&t, method, body, err);
    if (status == IG_OK && out && t.answer.len) {
        *out = json_loadb(t.answer.ptr, t.answer.len, 0, &error);
        if (!json_is_object(*out)) {
            json_decref(*out);
            *out = NULL;
            status =
                ig_fail(err, IG_BAD_INPUT, 0, "%s answered with something that is no JSON object; is it ingle?", t.url);
        }
    }
    ig_buf_fini(&t.answer);
    return status;
}

ig_status daemon_stream(const char *host, const char *path, const json_t *body, daemon_line_fn fn, void *ctx,
                        ig_error *err)
{
    return daemon_stream_until(host, path, body, fn, NULL, ctx, err);
}

ig_status daemon_stream_until(const char *host, const char *path, const json_t *body, daemon_line_fn fn,
                              bool (*stop)(void), void *ctx, ig_error *err)
{
    talk t = {.fn = fn, .stop = stop, .ctx = ctx};
    ig_buf_init(&t.answer, ANSWER_BYTES_MAX);
    ig_status status = find_place(&t, host, path, err);
    if (status == IG_OK) status = perform(&t, "POST", body, err);
    if (status == IG_OK && t.answer.len) give_line(&t, t.answer.ptr, t.answer.len);
    ig_buf_fini(&t.answer);
    return status;
}

ig_status daemon_upload(const char *host, const char *file, const char *digest, daemon_sent_fn progress, void *ctx,
                        ig_error *err)
{
    talk t = {.on_sent = progress, .ctx = ctx};
    char path[128];
    struct stat st;
    ig_error ignored;
    snprintf(path, sizeof path, "/api/blobs/%s", digest);
    if (daemon_call(host, "HEAD", path, NULL, NULL, &ignored) == IG_OK) return IG_OK;
    t.upload = fopen(file, "rbe");
    if (!t.upload || fstat(fileno(t.upload), &st)) {
        if (t.upload) fclose(t.upload);
        return ig_fail_errno(err, IG_NOT_FOUND, errno, "cannot read %s", file);
    }
    t.upload_bytes = (uint64_t)st.st_size;
    ig_buf_init(&t.answer, ANSWER_BYTES_MAX);
    ig_status status = find_place(&t, host, path, err);
    if (status == IG_OK) status = perform(&t, "POST", NULL, err);
    ig_buf_fini(&t.answer);
    fclose(t.upload);
    return status;
}
