#include "bridge/wire.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

#define CURL_FUNCTIONS(X)                                                                                              \
    X(curl_global_init)                                                                                                \
    X(curl_easy_init)                                                                                                  \
    X(curl_easy_cleanup)                                                                                               \
    X(curl_easy_setopt)                                                                                                \
    X(curl_easy_getinfo)                                                                                               \
    X(curl_easy_strerror)                                                                                              \
    X(curl_multi_init)                                                                                                 \
    X(curl_multi_cleanup)                                                                                              \
    X(curl_multi_add_handle)                                                                                           \
    X(curl_multi_remove_handle)                                                                                        \
    X(curl_multi_perform)                                                                                              \
    X(curl_multi_info_read)                                                                                            \
    X(curl_multi_poll)                                                                                                 \
    X(curl_slist_append)                                                                                               \
    X(curl_slist_free_all)
/* The checking macros of curl.h stand in the way of a table. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

enum { WAIT_FDS_MAX = 8 };

struct br_wire {
    const br_child *child;
    CURLM *multi;
    struct curl_slist *fields;
    br_transfer *transfers;
#define X(f) __typeof__(&f) f;
    CURL_FUNCTIONS(X)
#undef X
};

struct br_transfer {
    br_wire *w;
    br_transfer *next;
    CURL *easy;
    const br_listener *listener;
    void *ctx;
    bool begun;
};

static bool load(br_wire *w)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    void *library = NULL;
    for (size_t i = 0; i < 2 && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    bool whole = library != NULL;
#define X(f)                                                                                                           \
    if (whole) {                                                                                                       \
        void *p = dlsym(library, #f);                                                                                  \
        memcpy(&w->f, &p, sizeof p);                                                                                   \
        whole = p != NULL;                                                                                             \
    }
    CURL_FUNCTIONS(X)
#undef X
    return whole && w->curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

br_wire *br_wire_new(const br_child *child, char *why)
{
    br_wire *w = ig_calloc(1, sizeof *w);
    char field[80];
    if (!w || !load(w) || !(w->multi = w->curl_multi_init())) {
        snprintf(why, 400, "other engines need libcurl. Type: apt install libcurl4");
        ig_free(w);
        return NULL;
    }
    w->child = child;
    snprintf(field, sizeof field, "Authorization: Bearer %s", child->key);
    const char *const fields[] = {field, "Content-Type: application/json", "Expect:"};
    for (size_t i = 0; i < 3; i++) w->fields = w->curl_slist_append(w->fields, fields[i]);
    return w;
}

void br_wire_free(br_wire *w)
{
    if (!w) return;
    while (w->transfers) br_wire_drop(w, w->transfers);
    w->curl_multi_cleanup(w->multi);
    w->curl_slist_free_all(w->fields);
    ig_free(w);
}

static void begin(br_transfer *t)
{
    long status = 0;
    char *type = NULL;
    if (t->begun) return;
    t->begun = true;
    (void)t->w->curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)t->w->curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
    t->listener->head(t->ctx, status, type && !strncasecmp(type, "text/event-stream", 17));
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    br_transfer *t = ctx;
    begin(t);
    return t->listener->body(t->ctx, p, size * n) ? size * n : 0;
}

static void set_up(br_transfer *t, const char *url, const char *body, size_t n, long silence_s)
{
    br_wire *w = t->w;
#define SET(option, value) (void)w->curl_easy_setopt(t->easy, CURLOPT_##option, value)
    SET(URL, url);
    SET(HTTPHEADER, w->fields);
    SET(WRITEFUNCTION, on_body);
    SET(WRITEDATA, t);
    SET(PRIVATE, t);
    SET(NOSIGNAL, 1L);
    SET(PROXY, "");
    SET(FOLLOWLOCATION, 0L);
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CONNECTTIMEOUT_MS, 5000L);
    if (w->child->socket[0]) SET(UNIX_SOCKET_PATH, w->child->socket);
    if (silence_s) {
        SET(LOW_SPEED_LIMIT, 1L);
        SET(LOW_SPEED_TIME, silence_s);
    }
    if (body) {
        SET(POSTFIELDSIZE_LARGE, (curl_off_t)n);
        SET(COPYPOSTFIELDS, body);
    }
#undef SET
}

br_transfer *br_wire_ask(br_wire *w, const char *path, const char *body, size_t n, long silence_s,
                         const br_listener *listener, void *ctx)
{
    br_transfer *t = ig_calloc(1, sizeof *t);
    char url[300];
    if (!t) return NULL;
    *t = (br_transfer){.w = w, .easy = w->curl_easy_init(), .listener = listener, .ctx = ctx};
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", w->child->port ? w->child->port : 80, path);
    if (t->easy) set_up(t, url, body, n, silence_s);
    if (!t->easy || w->curl_multi_add_handle(w->multi, t->easy) != CURLM_OK) {
        if (t->easy) w->curl_easy_cleanup(t->easy);
        ig_free(t);
        return NULL;
    }
    t->next = w->transfers;
    w->transfers = t;
    return t;
}

void br_wire_drop(br_wire *w, br_transfer *t)
{
    for (br_transfer **at = &w->transfers; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    (void)w->curl_multi_remove_handle(w->multi, t->easy);
    w->curl_easy_cleanup(t->easy);
    ig_free(t);
}

static void finish(br_wire *w, CURL *easy, CURLcode code)
{
    char *private = NULL, why[200] = "";
    (void)w->curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    br_transfer *t = (br_transfer *)(void *)private;
    if (code != CURLE_OK) snprintf(why, sizeof why, "%s", w->curl_easy_strerror(code));
    if (code == CURLE_OPERATION_TIMEDOUT) snprintf(why, sizeof why, "timeout");
    if (code == CURLE_OK) begin(t);
    const br_listener *l = t->listener;
    void *ctx = t->ctx;
    br_wire_drop(w, t);
    l->end(ctx, code == CURLE_OK, why);
}

void br_wire_work(br_wire *w)
{
    int running, left;
    CURLMsg *m;
    (void)w->curl_multi_perform(w->multi, &running);
    while ((m = w->curl_multi_info_read(w->multi, &left)))
        if (m->msg == CURLMSG_DONE) finish(w, m->easy_handle, m->data.result);
}

void br_wire_wait(br_wire *w, struct pollfd *fds, unsigned n, int ms)
{
    struct curl_waitfd wait[WAIT_FDS_MAX];
    int ready;
    for (unsigned i = 0; i < n && i < WAIT_FDS_MAX; i++) {
        short events = 0;
        if (fds[i].events & POLLIN) events |= CURL_WAIT_POLLIN;
        if (fds[i].events & POLLOUT) events |= CURL_WAIT_POLLOUT;
        wait[i] = (struct curl_waitfd){.fd = fds[i].fd, .events = events};
    }
    (void)w->curl_multi_poll(w->multi, wait, n, ms, &ready);
}
