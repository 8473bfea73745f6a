/* Who is asking, told by the kernel and never by the client: credentials of a unix socket's peer; on loopback TCP the
 * owner of the peer's socket (sock_diag on the exact addresses and ports). What cannot be known is nobody, never uid 0.
 * And what a browser's page may ask: exact checks of Host and Origin (rules H23-H26, U01). Decides no rights: that is
 * policy's. */
#ifndef IG_SERVE_IDENTITY_H
#define IG_SERVE_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/status.h"
#include "base/str.h"
#include "serve/http.h"

typedef enum ig_transport { IG_TRANSPORT_UNIX, IG_TRANSPORT_TCP, IG_TRANSPORT_TLS } ig_transport;

/* One end of a TCP connection. */
typedef struct ig_endpoint {
    int family;       /* AF_INET or AF_INET6; 0 for none */
    uint8_t addr[16]; /* network order; 4 bytes for AF_INET */
    uint16_t port;    /* host order */
} ig_endpoint;

typedef struct ig_identity {
    ig_transport transport;
    bool loopback; /* on this machine: unix socket, or both ends loopback addresses */
    bool known;    /* uid holds; otherwise the caller is nobody */
    uint32_t uid;
    uint32_t gid;  /* unix sockets only, else UINT32_MAX */
    int32_t pid;   /* at the time of connecting; unix sockets only, else 0 */
    char peer[72]; /* "unix:pid", "127.0.0.1:40312", "[::1]:40312": for logs */
    ig_endpoint remote, local;
    uint32_t inode, cookie[2]; /* of the peer's socket as first seen, loopback TCP */
} ig_identity;

/* A socket for questions to the kernel about other sockets; -1 where there is none (then TCP callers are nobody). */
int ig_diag_open(void);

/* Fills *out for a connection just accepted. Never fails: what is not known stays nobody. */
void ig_identity_of(int fd, int diag_fd, bool tls, ig_identity *out);
/* Asks again. True when the same socket of the same user still is at the other end; to be called before a management
 * call is carried out. Unix peers cannot change. */
bool ig_identity_recheck(int diag_fd, const ig_identity *who);

typedef enum ig_peer_state {
    IG_PEER_LIVE,
    IG_PEER_GONE,   /* closed by its process: no entry, TIME_WAIT, or an entry without inode */
    IG_PEER_UNSURE, /* not on loopback, or the kernel cannot be asked */
} ig_peer_state;
/* After a FIN: has the peer closed, or only shut down its writing side (H16)? */
ig_peer_state ig_identity_peer(int diag_fd, const ig_identity *who);

/* Names beyond localhost, 127.0.0.1 and [::1]. hosts: "name" (any of our ports or none), "name:port", "name:*".
 * origins: exactly as browsers send them, "https://app.example", or "*" for any but null. */
typedef struct ig_access_rules {
    const char *const *hosts;
    size_t n_hosts;
    const char *const *origins;
    size_t n_origins;
} ig_access_rules;
/* May this request be answered at all, whoever asks? *cors (may be NULL) becomes the Origin when it is another site's
 * and was granted (the answer then needs Access-Control-Allow-Origin), else empty. IG_DENIED is 403; IG_UNSUPPORTED
 * here means 415 (H25: a POST from a page that is not JSON). port: of the listener, 0 for a unix socket. */
ig_status ig_access_check(const ig_access_rules *rules, const ig_identity *who, unsigned port, const ig_http_head *head,
                          ig_str *cors, ig_error *err);
/* Key of `Authorization: Bearer KEY` or `x-api-key: KEY` (the first wins); empty without one. BAD_INPUT: a field twice,
 * or a key of more than 512 bytes or with characters other than visible ASCII. */
ig_status ig_access_key(const ig_http_head *head, ig_str *key, ig_error *err);

#endif
