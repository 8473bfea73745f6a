/* Inside of the server, shared by server.c (accepting, limits, stopping), conn.c (one connection),
 * exchange.c (one request and its answer) and listen.c (addresses).
 *
 * Everything a callback of the handler does only fills buffers and kicks the connection; kicked connections are worked
 * on at the end of the loop's round. So no callback runs inside another, and nothing is freed under a caller. */
#ifndef IG_SERVE_CONN_H
#define IG_SERVE_CONN_H

#include "serve/server.h"
#include "serve/tls.h"

#define IG_NS_PER_MS 1000000u

typedef struct ig_conn ig_conn;

/* One user, or one address where the user is not known: who the limits of connections are counted for. */
typedef struct ig_owner {
    struct ig_owner *next; /* of the same bucket */
    bool known;
    uint32_t uid;
    ig_endpoint address; /* port 0 */
    size_t n_conns;
    uint64_t bodies_bytes;           /* request bodies in memory */
    ig_conn *idle_first, *idle_last; /* the oldest first */
} ig_owner;

typedef struct ig_listener {
    struct ig_listener *next;
    ig_server *server;
    ig_watch watch;
    int fd;
    char name[160]; /* as ig_server_address says */
    unsigned port;
    ig_tls_context *tls, *fresh; /* fresh: while a new certificate is being taken */
    char *unlink_path;           /* owned; the socket file to remove at the end, NULL for none */
    uint64_t dev, ino;           /* of that file: another's is left alone */
} ig_listener;

typedef enum ig_conn_state {
    CONN_HANDSHAKE,
    CONN_HEAD, /* waiting for a head; idle while nothing of it has come */
    CONN_BODY,
    CONN_RUN,    /* the handler works, or its answer is being sent */
    CONN_LINGER, /* our side is shut; reading what is still under way, so that the client sees the answer */
    CONN_DEAD,   /* closed; freed at the end of the round */
} ig_conn_state;

struct ig_conn {
    ig_server *server;
    ig_listener *listener; /* NULL once the listener has been closed */
    ig_owner *owner;
    ig_conn *next, *prev, *idle_next, *idle_prev, *kick_next;
    ig_conn_state state;
    int fd;
    unsigned port;
    ig_tls *tls;
    ig_watch watch;
    ig_timer timer;
    ig_identity who;
    bool idle, kicked, close_after;
    bool broken;  /* to be closed as soon as the round lets us */
    bool reset;   /* and with RST: nothing else tells the client that the answer is not whole */
    bool eof;     /* a read has met the end of what the peer sends */
    bool fin;     /* the kernel says that the peer has shut down its writing side, while an answer is due */
    bool skipped; /* the one empty line allowed before a request line */
    /* input: in[in_pos..in_len) is still to be looked at */
    char *in;
    size_t in_pos, in_len, in_cap;
    ig_http_scan scan;
    ig_http_chunks chunks;
    uint64_t body_left, body_got;
    /* output: out.ptr[out_pos..out.len) is still to be sent */
    ig_buf out;
    size_t out_pos;
    uint64_t sent; /* of what has been waiting since write_ns */
    /* times of the loop's clock, 0: not running */
    uint64_t since_ns, progress_ns, write_ns, write_progress_ns, fin_check_ns;
    unsigned fin_checks;
    ig_exchange *ex;
};

struct ig_exchange {
    ig_conn *conn;
    void *ctx;
    ig_incoming req;
    ig_http_head head;
    ig_buf body;
    ig_body_plan plan;
    uint64_t counted; /* bytes of the body in the sums of the server and of the owner */
    bool owned;       /* the handler has seen it and not ended it: on_gone is due */
    bool begun, ended;
    bool chunked;   /* the answer is */
    bool discard;   /* the answer has no body: HEAD, 204, 304 */
    bool body_done; /* the request's body has been read, or there is none */
    bool want_drained;
    char bytes[]; /* the head, as parsed */
};

enum { OWNER_BUCKETS = 256, SCRATCH_BYTES = 65536 };

struct ig_server {
    ig_loop *loop;
    const ig_handler *handler;
    void *ctx;
    ig_server_limits limits;
    ig_listener *listeners;
    ig_conn *conns, *kicks;
    ig_owner *owners[OWNER_BUCKETS];
    uint64_t seed; /* of the buckets */
    ig_timer kick_timer, accept_timer, stop_timer;
    int diag_fd;
    bool stopping, paused;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    ig_server_counts counts;
    int64_t date_s;
    char date[30];
    char scratch[SCRATCH_BYTES]; /* for reading */
};

/* server.c */
ig_status ig_server_add(ig_server *server, int fd, const char *name, unsigned port, ig_tls_context *tls,
                        char *unlink_path, ig_error *err); /* takes fd, tls and unlink_path, also on failure */
void ig_owner_leave(ig_conn *c);
void ig_idle_enter(ig_conn *c);
void ig_idle_leave(ig_conn *c);
void ig_conn_kick(ig_conn *c);
void ig_server_conn_closed(ig_server *server);
const char *ig_server_date(ig_server *server);

/* conn.c */
void ig_conn_start(ig_conn *c); /* after accept: fd, who and owner are set */
void ig_conn_run(ig_conn *c);
void ig_conn_close(ig_conn *c); /* on_gone where it is due; the memory goes when the round ends */
static inline size_t ig_conn_pending(const ig_conn *c) { return c->out.len - c->out_pos; }

/* exchange.c */
/* A new exchange of c with a copy of its head, still to be parsed; NULL without memory. */
ig_exchange *ig_exchange_new(ig_conn *c, const char *head, size_t n);
/* Adds to the collected body: 0, or the status to refuse with. */
unsigned ig_exchange_collect(ig_exchange *ex, const char *data, size_t n);
void ig_exchange_gone(ig_conn *c);    /* on_gone, where it is due */
void ig_exchange_release(ig_conn *c); /* frees it; none is fine */
/* Such an answer as bytes: *r with status, text, req and path filled in. False: out has failed. */
bool ig_own_answer_write(ig_server *server, ig_own_answer *r, bool head_only, ig_buf *out);
/* The server's own answer in place of the handler's, after which the connection ends. */
void ig_exchange_refuse(ig_conn *c, unsigned status, const char *text);

#endif
