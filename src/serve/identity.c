/* Identity of callers; see identity.h. */
#include "serve/identity.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

enum { UID_OVERFLOW = 65534 }; /* what the kernel shows for users it cannot name in this namespace */

/* ---- asking the kernel ---- */

typedef struct diag_request {
    struct nlmsghdr nl;
    struct inet_diag_req_v2 diag;
} diag_request;

int ig_diag_open(void) { return socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG); }

static void put_endpoint(const ig_endpoint *e, __be32 addr[4], __be16 *port)
{
    memcpy(addr, e->addr, e->family == AF_INET ? 4 : 16);
    *port = htons(e->port);
}

static bool same_address(const __be32 a[4], int family, const ig_endpoint *e)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const uint8_t *bytes = (const uint8_t *)a;
    if (family == e->family) return !memcmp(bytes, e->addr, family == AF_INET ? 4 : 16);
    return family == AF_INET6 && e->family == AF_INET && !memcmp(bytes, mapped, 12) && !memcmp(bytes + 12, e->addr, 4);
}

/* The kernel falls back to a listener where no connection fits: only the exact four values count. */
static bool is_exact(const struct inet_diag_msg *m, const ig_endpoint *src, const ig_endpoint *dst)
{
    return ntohs(m->id.idiag_sport) == src->port && ntohs(m->id.idiag_dport) == dst->port &&
           same_address(m->id.idiag_src, m->idiag_family, src) && same_address(m->id.idiag_dst, m->idiag_family, dst);
}

/* Reads replies until the one to our sequence number: LIVE with *out, GONE or UNSURE. */
static ig_peer_state read_reply(int fd, uint32_t seq, const ig_endpoint *src, const ig_endpoint *dst,
                                struct inet_diag_msg *out)
{
    union {
        struct nlmsghdr nl;
        char bytes[4096];
    } buf;
    for (;;) {
        ssize_t n = recv(fd, &buf, sizeof buf, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < (ssize_t)sizeof buf.nl) return IG_PEER_UNSURE;
        if (!NLMSG_OK(&buf.nl, (size_t)n) || buf.nl.nlmsg_seq != seq) continue;
        if (buf.nl.nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *e = NLMSG_DATA(&buf.nl);
            return buf.nl.nlmsg_len >= NLMSG_LENGTH(sizeof *e) && e->error == -ENOENT ? IG_PEER_GONE : IG_PEER_UNSURE;
        }
        if (buf.nl.nlmsg_type != SOCK_DIAG_BY_FAMILY || buf.nl.nlmsg_len < NLMSG_LENGTH(sizeof *out))
            return IG_PEER_UNSURE;
        memcpy(out, NLMSG_DATA(&buf.nl), sizeof *out);
        bool closed = out->idiag_state == TCP_TIME_WAIT || out->idiag_state == TCP_CLOSE ||
                      out->idiag_state == TCP_LISTEN || out->idiag_inode == 0;
        return closed || !is_exact(out, src, dst) ? IG_PEER_GONE : IG_PEER_LIVE;
    }
}

/* The socket whose own end is src and whose other end is dst. */
static ig_peer_state ask(int fd, const ig_endpoint *src, const ig_endpoint *dst, struct inet_diag_msg *out)
{
    static _Thread_local uint32_t seq;
    if (fd < 0) return IG_PEER_UNSURE;
    diag_request r = {
        .nl = {.nlmsg_len = sizeof r,
               .nlmsg_type = SOCK_DIAG_BY_FAMILY,
               .nlmsg_flags = NLM_F_REQUEST,
               .nlmsg_seq = ++seq},
        .diag = {.sdiag_family = (uint8_t)src->family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX},
    };
    put_endpoint(src, r.diag.id.idiag_src, &r.diag.id.idiag_sport);
    put_endpoint(dst, r.diag.id.idiag_dst, &r.diag.id.idiag_dport);
    r.diag.id.idiag_cookie[0] = r.diag.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    ssize_t n;
    do n = send(fd, &r, sizeof r, 0);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof r ? read_reply(fd, seq, src, dst, out) : IG_PEER_UNSURE;
}

/* ---- one connection ---- */

static ig_endpoint endpoint_of(const struct sockaddr_storage *s)
{
    ig_endpoint e = {0};
    if (s->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)s;
        e.family = AF_INET;
        memcpy(e.addr, &in->sin_addr, 4);
        e.port = ntohs(in->sin_port);
    } else if (s->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)s;
        e.family = AF_INET6;
        memcpy(e.addr, &in->sin6_addr, 16);
        e.port = ntohs(in->sin6_port);
    }
    return e;
}

static bool is_loopback(const ig_endpoint *e)
{
    static const uint8_t one[16] = {[15] = 1};
    if (e->family == AF_INET) return e->addr[0] == 127;
    return e->family == AF_INET6 && !memcmp(e->addr, one, 16);
}

static void name_endpoint(const ig_endpoint *e, char *out, size_t n)
{
    char text[INET6_ADDRSTRLEN] = "?";
    if (e->family) (void)inet_ntop(e->family, e->addr, text, sizeof text);
    (void)snprintf(out, n, e->family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, e->port);
}

static void of_unix(int fd, ig_identity *out)
{
    struct ucred cred;
    socklen_t n = sizeof cred;
    out->transport = IG_TRANSPORT_UNIX;
    out->loopback = true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0 && cred.uid != (uid_t)-1 && cred.uid != UID_OVERFLOW) {
        out->known = true;
        out->uid = cred.uid;
        out->gid = cred.gid;
        out->pid = cred.pid;
    }
    (void)snprintf(out->peer, sizeof out->peer, "unix:%d", (int)out->pid);
}

void ig_identity_of(int fd, int diag_fd, bool tls, ig_identity *out)
{
    struct sockaddr_storage remote = {0}, local = {0};
    socklen_t n = sizeof local;
    *out =
        (ig_identity){.transport = tls ? IG_TRANSPORT_TLS : IG_TRANSPORT_TCP, .uid = UID_OVERFLOW, .gid = UINT32_MAX};
    if (getsockname(fd, (struct sockaddr *)&local, &n) == 0 && local.ss_family == AF_UNIX) {
        of_unix(fd, out);
        return;
    }
    n = sizeof remote;
    if (getpeername(fd, (struct sockaddr *)&remote, &n) == 0) out->remote = endpoint_of(&remote);
    out->local = endpoint_of(&local);
    out->loopback = is_loopback(&out->remote) && is_loopback(&out->local);
    name_endpoint(&out->remote, out->peer, sizeof out->peer);
    struct inet_diag_msg m;
    if (!out->loopback || ask(diag_fd, &out->remote, &out->local, &m) != IG_PEER_LIVE) return;
    out->inode = m.idiag_inode;
    memcpy(out->cookie, m.id.idiag_cookie, sizeof out->cookie);
    if (m.idiag_uid == UID_OVERFLOW || m.idiag_uid == UINT32_MAX) return;
    out->known = true;
    out->uid = m.idiag_uid;
}

ig_peer_state ig_identity_peer(int diag_fd, const ig_identity *who)
{
    struct inet_diag_msg m;
    if (who->transport == IG_TRANSPORT_UNIX || !who->loopback) return IG_PEER_UNSURE;
    return ask(diag_fd, &who->remote, &who->local, &m);
}

bool ig_identity_recheck(int diag_fd, const ig_identity *who)
{
    struct inet_diag_msg m;
    if (!who->known) return false;
    if (who->transport == IG_TRANSPORT_UNIX) return true;
    if (!who->loopback || ask(diag_fd, &who->remote, &who->local, &m) != IG_PEER_LIVE) return false;
    return m.idiag_uid == who->uid && m.idiag_inode == who->inode &&
           !memcmp(m.id.idiag_cookie, who->cookie, sizeof who->cookie);
}

/* ---- Host and Origin ---- */

static const char *const own_names[] = {"localhost", "127.0.0.1", "[::1]"};

/* "name", "name:port" or "name:*" against what the client sent. */
static bool host_fits(const char *rule, ig_str name, unsigned port, unsigned own_port)
{
    size_t n = strlen(rule);
    const char *colon = strrchr(rule, ':');
    if (colon && colon[strspn(colon, ":*0123456789")]) colon = NULL; /* inside [v6] */
    ig_str rule_name = {rule, colon ? (size_t)(colon - rule) : n};
    char own[300];
    if (rule_name.len >= sizeof own) return false;
    memcpy(own, rule_name.ptr, rule_name.len);
    own[rule_name.len] = 0;
    if (!ig_http_same(name, own)) return false;
    if (!colon) return port == 0 || own_port == 0 || port == own_port;
    if (!strcmp(colon, ":*")) return true;
    unsigned want = 0;
    return sscanf(colon + 1, "%5u", &want) == 1 && want == port;
}

static ig_status check_host(const ig_access_rules *rules, unsigned port, const ig_http_head *head, ig_error *err)
{
    ig_str name = head->host;
    unsigned named_port;
    if (head->host.len == 0)
        return ig_fail(err, IG_DENIED, 0, "the request has no Host header; address the service as localhost:%u", port);
    if (ig_http_split_host(head->host, &name, &named_port)) {
        for (size_t i = 0; i < sizeof own_names / sizeof own_names[0]; i++)
            if (host_fits(own_names[i], name, named_port, port)) return IG_OK;
        for (size_t i = 0; i < rules->n_hosts; i++)
            if (host_fits(rules->hosts[i], name, named_port, port)) return IG_OK;
    } else
        named_port = 0;
    const bool other = named_port && port && named_port != port; /* a name alone means our own port */
    return ig_fail(err, IG_DENIED, 0,
                   "the Host header says \"%.*s\", expected localhost:%u; use that address, or allow the name with: "
                   "ingle serve --host %.*s",
                   IG_STR_ARG(head->host), port, IG_STR_ARG(other ? head->host : name));
}

/* The page came from this very listener. */
static bool own_origin(ig_str origin, const ig_identity *who, unsigned port)
{
    char text[64];
    for (size_t i = 0; i < sizeof own_names / sizeof own_names[0]; i++) {
        const char *scheme = who->transport == IG_TRANSPORT_TLS ? "https" : "http";
        (void)snprintf(text, sizeof text, "%s://%s:%u", scheme, own_names[i], port);
        if (ig_http_same(origin, text)) return true;
    }
    return false;
}

static bool granted_origin(const ig_access_rules *rules, ig_str origin)
{
    if (ig_http_same(origin, "null")) return false;
    for (size_t i = 0; i < rules->n_origins; i++)
        if (!strcmp(rules->origins[i], "*") || ig_http_same(origin, rules->origins[i])) return true;
    return false;
}

static bool is_json(ig_str type)
{
    static const char json[] = "application/json";
    ig_str head = {type.ptr, type.len < sizeof json - 1 ? type.len : sizeof json - 1};
    if (!ig_http_same(head, json)) return false;
    return type.len == head.len || type.ptr[head.len] == ';' || type.ptr[head.len] == ' ';
}

/* Somebody followed a link to us: the other page cannot read the answer, and a GET changes nothing. */
static bool is_link(const ig_http_head *head)
{
    const ig_http_field *dest = ig_http_find(head, "sec-fetch-dest");
    return ig_str_is(head->method, "GET") && dest && ig_http_same(dest->value, "document");
}

static ig_status check_origin(const ig_access_rules *rules, const ig_identity *who, unsigned port,
                              const ig_http_head *head, ig_str *cors, ig_error *err)
{
    const ig_http_field *origin = ig_http_find(head, "origin"), *site = ig_http_find(head, "sec-fetch-site");
    if (ig_http_count(head, "origin") > 1 || ig_http_count(head, "sec-fetch-site") > 1)
        return ig_fail(err, IG_DENIED, 0, "the request has more than one Origin or Sec-Fetch-Site header");
    bool own = origin && own_origin(origin->value, who, port), granted = false;
    if (origin && !own) granted = granted_origin(rules, origin->value);
    if (origin && ig_http_same(origin->value, "null"))
        return ig_fail(err, IG_DENIED, 0,
                       "a page without an address (Origin: null) may not use this service, and cannot be allowed to; "
                       "serve the page from an address, and allow that with: ingle serve --origin URL");
    if (origin && !own && !granted)
        return ig_fail(err, IG_DENIED, 0,
                       "the page at \"%.*s\" may not use this service; allow it with: ingle serve --origin %.*s",
                       IG_STR_ARG(origin->value), IG_STR_ARG(origin->value));
    if (site && !origin && !is_link(head) && !ig_http_same(site->value, "same-origin") &&
        !ig_http_same(site->value, "none"))
        return ig_fail(err, IG_DENIED, 0, "a page of another site asked without Origin (Sec-Fetch-Site: %.*s)",
                       IG_STR_ARG(site->value));
    if (cors && granted) *cors = origin->value;
    const ig_http_field *type = ig_http_find(head, "content-type");
    if ((origin || site) && ig_str_is(head->method, "POST") && !(type && is_json(type->value)))
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "a POST from a web page needs the header Content-Type: application/json");
    return IG_OK;
}

ig_status ig_access_check(const ig_access_rules *rules, const ig_identity *who, unsigned port, const ig_http_head *head,
                          ig_str *cors, ig_error *err)
{
    if (cors) *cors = (ig_str){"", 0};
    if (who->transport != IG_TRANSPORT_UNIX) IG_TRY(check_host(rules, port, head, err));
    return check_origin(rules, who, port, head, cors, err);
}

ig_status ig_access_key(const ig_http_head *head, ig_str *key, ig_error *err)
{
    const ig_http_field *auth = ig_http_find(head, "authorization"), *api = ig_http_find(head, "x-api-key");
    *key = (ig_str){"", 0};
    if (ig_http_count(head, "authorization") > 1 || ig_http_count(head, "x-api-key") > 1)
        return ig_fail(err, IG_BAD_INPUT, 0, "the request has more than one Authorization or x-api-key header");
    if (auth && auth->value.len > 7 && ig_http_same((ig_str){auth->value.ptr, 7}, "bearer ")) {
        *key = (ig_str){auth->value.ptr + 7, auth->value.len - 7};
        while (key->len && key->ptr[0] == ' ') *key = (ig_str){key->ptr + 1, key->len - 1};
    } else if (api) {
        *key = api->value;
    }
    for (size_t i = 0; i < key->len; i++)
        if ((unsigned char)key->ptr[i] <= ' ' || (unsigned char)key->ptr[i] >= 0x7f || key->len > 512)
            return ig_fail(err, IG_BAD_INPUT, 0, "the key is longer than 512 bytes or holds other than visible ASCII");
    return IG_OK;
}
