/* Proving to a registry who asks: Docker's exchange of a challenge for a token, and names and passwords from the file
 * where docker, podman and their like keep them. A proof goes to one origin; the server of tokens that a challenge
 * names is asked only where it is the registry itself or known to belong to it (H36). */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "source.h"

enum { CONFIG_BYTES_MAX = 1 << 20, TOKEN_BYTES_MAX = 64 << 10, TOKEN_MAX = 16 << 10 };

/* ------------------------------------------------------------------------------------------------ the challenge */

/* One NAME="VALUE" or NAME=VALUE; where the next begins, NULL at the end or when it is none. */
static const char *read_member(const char *p, const char **name, size_t *n_name, char *value, size_t cap)
{
    size_t n = 0;
    p += strspn(p, " \t,");
    *name = p;
    *n_name = strcspn(p, "= \t,\"");
    p += *n_name;
    if (*n_name == 0 || *p++ != '=') return NULL;
    bool quoted = *p == '"';
    if (quoted) p++;
    while (*p && (quoted ? *p != '"' : !strchr(" \t,", *p))) {
        if (quoted && *p == '\\' && p[1]) p++;
        if (n + 1 >= cap) return NULL;
        value[n++] = *p++;
    }
    value[n] = 0;
    if (quoted && *p++ != '"') return NULL;
    return p;
}

bool ig_challenge_parse(const char *text, ig_challenge *out)
{
    char value[512];
    const char *name;
    size_t n;
    *out = (ig_challenge){0};
    if (strncasecmp(text, "bearer ", 7)) return false;
    for (const char *p = text + 7; p && *p; p += strspn(p, " \t,")) {
        struct {
            const char *key;
            char *at;
            size_t cap;
        } members[] = {{"realm", out->realm, sizeof out->realm},
                       {"service", out->service, sizeof out->service},
                       {"scope", out->scope, sizeof out->scope}};
        p = read_member(p, &name, &n, value, sizeof value);
        if (!p) return false;
        for (size_t i = 0; i < sizeof members / sizeof *members; i++)
            if (n == strlen(members[i].key) && !strncasecmp(name, members[i].key, n) && strlen(value) < members[i].cap)
                memcpy(members[i].at, value, strlen(value) + 1);
    }
    return out->realm[0] != 0;
}

/* Registries whose server of tokens has another host. */
static const struct {
    const char *registry, *tokens;
} pairs[] = {{"https://registry-1.docker.io", "https://auth.docker.io"},
             {"https://registry.gitlab.com", "https://gitlab.com"},
             {"https://public.ecr.aws", "https://public.ecr.aws"},
             {"https://nvcr.io", "https://authn.nvidia.com"}};

static bool named_host(const char *list, const char *origin)
{
    const char *host = strstr(origin, "://");
    for (const char *p = list; host && p && *p;) {
        size_t n = strcspn(p, ", ");
        if (n && n == strlen(host + 3) && !strncasecmp(p, host + 3, n)) return true;
        p += n + strspn(p + n, ", ");
    }
    return false;
}

/* The same host, whatever the port; a token server of one's own registry often has a port of its own. */
static bool same_host(const char *a, const char *b)
{
    const char *x = strstr(a, "://"), *y = strstr(b, "://");
    size_t n = x ? strcspn(x + 3, ":") : 0;
    return x && y && n && n == strcspn(y + 3, ":") && !strncasecmp(x + 3, y + 3, n) && x - a == y - b &&
           !strncasecmp(a, b, (size_t)(x - a));
}

static bool may_ask(const char *registry, const char *tokens)
{
    if (same_host(registry, tokens)) return true;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!strcasecmp(registry, pairs[i].registry) && !strcasecmp(tokens, pairs[i].tokens)) return true;
    return named_host(getenv("INGLE_REGISTRY_AUTH_HOSTS"), tokens);
}

/* ------------------------------------------------------------------------------------------------ the exchange */

static bool add_query(ig_buf *url, char *sign, const char *key, const char *value)
{
    char text[1600];
    if (!*value) return true;
    if (!ig_url_escape(value, text, sizeof text)) return false;
    bool ok = ig_buf_printf(url, "%c%s=%s", *sign, key, text);
    *sign = '&';
    return ok;
}

static ig_status token_url(const ig_auth *auth, const ig_challenge *c, ig_buf *url, ig_error *err)
{
    char sign = strchr(c->realm, '?') ? '&' : '?';
    /* A push needs more than the challenge of a read names. */
    const char *scope = auth->scope ? auth->scope : c->scope;
    if (ig_buf_add(url, c->realm, strlen(c->realm)) && add_query(url, &sign, "service", c->service) &&
        add_query(url, &sign, "scope", scope) && ig_buf_add(url, "", 1))
        return IG_OK;
    return ig_fail(err, IG_TOO_LARGE, 0, "the registry %.200s names a server of tokens whose address is too long",
                   auth->origin);
}

static ig_status keep_token(ig_auth *auth, ig_str text, ig_error *err)
{
    json_t *j;
    IG_TRY(ig_store_json("the reply of the registry's server of tokens", text, 200, &j, err));
    const char *token = ig_json_text(j, "token");
    if (!token) token = ig_json_text(j, "access_token");
    size_t n = token ? strlen(token) : 0;
    char *value = n && n <= TOKEN_MAX && !strpbrk(token, "\r\n") ? ig_arena_alloc(auth->arena, n + 8, 1) : NULL;
    if (value) (void)snprintf(value, n + 8, "Bearer %s", token);
    json_decref(j);
    auth->value = value;
    return value ? IG_OK
                 : ig_fail(err, IG_BAD_INPUT, 0, "the server of tokens of %.200s sends no usable token", auth->origin);
}

static ig_status exchange(ig_asker *a, ig_auth *auth, const ig_challenge *c, ig_error *err)
{
    char origin[300];
    ig_auth own = {.value = auth->basic, .arena = auth->arena};
    ig_http_reply reply;
    ig_buf url, body;
    if (!ig_url_origin(c->realm, origin, sizeof origin))
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "the registry %.200s names \"%.200s\" as its server of tokens, expected an "
                       "address of https",
                       auth->origin, c->realm);
    if (!may_ask(auth->origin, origin))
        return ig_fail(err, IG_DENIED, 0,
                       "the registry %.150s wants a token from %.150s, which is not known to belong to it. If it does, "
                       "set INGLE_REGISTRY_AUTH_HOSTS to that host",
                       auth->origin, origin);
    (void)snprintf(own.origin, sizeof own.origin, "%s", origin);
    ig_buf_init(&url, IG_URL_MAX);
    ig_status st = token_url(auth, c, &url, err);
    if (st == IG_OK) {
        ig_http_request r = {.url = url.ptr, .accept = "application/json", .auth = own.value ? &own : NULL};
        own.basic = NULL;
        st = ig_http_document(a, &r, TOKEN_BYTES_MAX, &body, &reply, err);
        if (st == IG_OK) {
            st = keep_token(auth, (ig_str){body.ptr ? body.ptr : "", body.len}, err);
            ig_buf_fini(&body);
        } else if (reply.status == 401 || reply.status == 403)
            st = ig_fail(err, IG_DENIED, 0, "%.150s gives no token for %.150s: %s", origin, auth->origin,
                         auth->basic ? "the stored name and password are refused"
                                     : "a name and a password may be needed. Type: docker login");
    }
    ig_buf_fini(&url);
    return st;
}

ig_status ig_auth_renew(ig_asker *a, ig_auth *auth, const char *challenge, ig_error *err)
{
    ig_challenge c;
    if (auth->s3)
        return ig_fail(err, IG_DENIED, 0,
                       "%.200s refuses the key: AWS_ACCESS_KEY_ID, its secret or the region are "
                       "wrong",
                       auth->origin);
    if (auth->address)
        return ig_fail(err, IG_DENIED, 0, "%.200s wants to know who asks: %s", auth->origin,
                       auth->basic ? "the stored name and password are refused"
                                   : "write \"machine HOST login NAME password WORD\" into ~/.netrc and type: "
                                     "chmod 600 ~/.netrc");
    if (ig_challenge_parse(challenge, &c)) return exchange(a, auth, &c, err);
    if (!strncasecmp(challenge, "basic", 5) && auth->basic && auth->value != auth->basic) {
        auth->value = auth->basic;
        return IG_OK;
    }
    return ig_fail(err, IG_DENIED, 0, "the registry %.200s wants to know who asks: %s", auth->origin,
                   auth->basic ? "the stored name and password are refused" : "type: docker login");
}

/* ------------------------------------------------------------------------------------------------ stored passwords */

/* Base64 of "name:password", nothing else. */
static bool basic_sound(const char *text)
{
    unsigned char out[1600];
    size_t n = strlen(text);
    if (n == 0 || n > 2000 || n % 4) return false;
    int got = EVP_DecodeBlock(out, (const unsigned char *)text, (int)n);
    return got > 0 && memchr(out, ':', (size_t)got) && !memchr(out, '\n', (size_t)got);
}

ig_status ig_auth_parse(ig_str text, const char *host, ig_arena *arena, const char **basic, ig_error *err)
{
    static const char *const forms[] = {"%s", "https://%s", "https://%s/v1/", "https://%s/v2/"};
    char key[400];
    json_t *j;
    *basic = NULL;
    IG_TRY(ig_store_json("the file of registry passwords", text, 20000, &j, err));
    const json_t *auths = json_object_get(j, "auths"), *entry = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof *forms && !entry; i++) {
        (void)snprintf(key, sizeof key, forms[i], !strcmp(host, "registry-1.docker.io") ? "index.docker.io" : host);
        entry = json_object_get(auths, key);
    }
    const char *auth = ig_json_text(entry, "auth");
    if (auth && basic_sound(auth)) {
        char *value = ig_arena_alloc(arena, strlen(auth) + 8, 1);
        if (value) (void)snprintf(value, strlen(auth) + 8, "Basic %s", auth);
        *basic = value;
    }
    json_decref(j);
    return IG_OK;
}

static bool config_path(char *out, size_t n)
{
    const char *file = getenv("REGISTRY_AUTH_FILE"), *folder = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    int len = file && *file       ? snprintf(out, n, "%s", file)
              : folder && *folder ? snprintf(out, n, "%s/config.json", folder)
              : home && *home     ? snprintf(out, n, "%s/.docker/config.json", home)
                                  : -1;
    return len > 0 && (size_t)len < n;
}

ig_status ig_auth_file(const char *path, size_t max, ig_auth_parser *parse, const char *host, ig_arena *arena,
                       const char **basic, ig_error *err)
{
    struct stat sb;
    ig_buf text;
    int fd = ig_disk_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0) return IG_OK;
    ig_buf_init(&text, max);
    ig_status st = IG_OK;
    if (fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode))
        st = ig_fail(err, IG_BAD_INPUT, 0, "%.250s is no regular file", path);
    else
        st = ig_fd_read_all(fd, path, &text, err);
    close(fd);
    if (st == IG_OK) st = parse((ig_str){text.ptr ? text.ptr : "", text.len}, host, arena, basic, err);
    if (text.ptr) explicit_bzero(text.ptr, text.len);
    ig_buf_fini(&text);
    if (st == IG_OK && *basic && (sb.st_mode & (S_IRWXG | S_IRWXO)))
        return ig_fail(err, IG_DENIED, 0, "%.250s holds a password and others may read it. Type: chmod 600 %.200s",
                       path, path);
    return st;
}

ig_status ig_auth_stored(const char *host, ig_arena *arena, const char **basic, ig_error *err)
{
    char path[3000];
    if (ig_auth_keyring(host, arena, basic) || !config_path(path, sizeof path)) return IG_OK;
    return ig_auth_file(path, CONFIG_BYTES_MAX, ig_auth_parse, host, arena, basic, err);
}
