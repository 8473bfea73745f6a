/* The HTTP server of the front: listeners, connections and exchanges on one event loop. It knows no routes: a handler
 * judges each request's head, gets the request once its body is whole, and answers at once or later.
 *
 * An exchange is one request and its answer. It is the handler's from on_head until exactly one of these happens: the
 * handler answers it whole (ig_exchange_respond, ig_exchange_end) or cuts it (ig_exchange_abort), or the server says
 * on_gone. After that the pointer must not be used. Everything runs in the loop's thread; no callback is called from
 * inside an ig_exchange function. */
#ifndef IG_SERVE_SERVER_H
#define IG_SERVE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"
#include "serve/http.h"
#include "serve/identity.h"
#include "serve/loop.h"

typedef struct ig_server ig_server;
typedef struct ig_exchange ig_exchange;

/* Valid until the exchange ends. */
typedef struct ig_incoming {
    const ig_http_head *head;
    const ig_identity *who;
    ig_str body;   /* whole in on_request; empty where a sink took it */
    unsigned port; /* of the listener, 0 for a unix socket */
    bool has_body; /* one was announced */
} ig_incoming;

/* Takes a piece of the body as it arrives. False: no more of it (answer first, or the server answers 500). */
typedef bool ig_body_sink(void *sink_ctx, ig_exchange *ex, const char *data, size_t n);

/* What on_head decides. All zero: a body is refused with 413. */
typedef struct ig_body_plan {
    uint64_t max_bytes; /* announced or streamed; above is 413 */
    ig_body_sink *sink; /* NULL: collected in memory and handed to on_request */
    void *sink_ctx;
} ig_body_plan;

enum { IG_OWN_FIELDS_MAX = 8 };
/* An answer that the server itself gives, for the handler to put into its form. */
typedef struct ig_own_answer {
    unsigned status;
    const char *text;       /* one sentence */
    const ig_incoming *req; /* NULL where the head could not be read, or there is none */
    ig_str path;            /* of the request line as far as it can be known: decoded where req is there; "" */
    /* to be filled: */
    ig_buf *body;
    const char *type; /* text/plain where it is left alone */
    ig_http_field fields[IG_OWN_FIELDS_MAX];
    size_t n_fields;
    char scratch[64]; /* for the fields' values, which must live as long as the struct */
} ig_own_answer;

typedef struct ig_handler {
    /* A head has come. Either fill *plan (the body is then read, after 100 Continue where asked), or answer now with
     * ig_exchange_respond or ig_exchange_begin: the body is then not read, on_request not called, and where a body was
     * announced the connection closes after the answer. */
    void (*on_head)(void *ctx, ig_exchange *ex, const ig_incoming *req, ig_body_plan *plan);
    /* The body is whole (also called without one). */
    void (*on_request)(void *ctx, ig_exchange *ex, const ig_incoming *req);
    /* After ig_exchange_full said true: there is room again. May be NULL. */
    void (*on_drained)(void *ctx, ig_exchange *ex);
    /* The client went away, was too slow, sent something broken, or the server stops: drop all work for it. */
    void (*on_gone)(void *ctx, ig_exchange *ex);
    /* The server itself answers (400, 408, 413, 431, 503 ...): what its answer says. NULL: the sentence as text. */
    void (*refused)(void *ctx, ig_own_answer *r);
} ig_handler;

/* 0 stands for the value in the comment. */
typedef struct ig_server_limits {
    size_t conns_max;          /* as many as descriptors allow, less 128 */
    size_t conns_owner_max;    /* 2000 of one uid, or of one address where the uid is not known */
    size_t out_bytes_max;      /* 262144: buffered for a client, above which ig_exchange_full says true */
    uint64_t bodies_bytes_max; /* 1 GiB: request bodies held in memory, all together, above which 503 */
    uint32_t head_ms;          /* 10000: for a whole head, from its first byte; also for a TLS handshake */
    uint32_t idle_ms;          /* 60000: between requests */
    uint32_t body_grace_ms;    /* 10000: after it a body must have come at rate_bytes_s on average */
    uint32_t stall_ms;         /* 30000: without a byte of the body, or without a byte taken of the answer */
    uint32_t rate_bytes_s;     /* 1024 */
} ig_server_limits;

ig_status ig_server_new(ig_loop *loop, const ig_handler *handler, void *ctx, const ig_server_limits *limits,
                        ig_server **out, ig_error *err);
/* Closes everything; running exchanges get on_gone. */
void ig_server_free(ig_server *server);
/* No new connections; idle ones are closed, running exchanges may finish until after_ms, then they are cut. Calls
 * done (may be NULL) once no connection is left; it may free the server. */
void ig_server_stop(ig_server *server, uint32_t after_ms, void (*done)(void *ctx), void *ctx);

typedef struct ig_listen {
    const char *address;            /* tcp:HOST:PORT ([v6] in brackets, port 0: any free one) or unix:PATH */
    unsigned unix_mode;             /* of the socket file; 0: 0660 */
    const char *tls_cert, *tls_key; /* PEM files; both or neither */
    bool keys_required; /* the handler demands keys: with TLS the condition for addresses beyond loopback (H22) */
} ig_listen;
/* Errors say what to type: port taken (by which process), address refused, socket in use. */
ig_status ig_server_listen(ig_server *server, const ig_listen *l, ig_error *err);
/* Sockets passed by systemd (LISTEN_PID, LISTEN_FDS): *n becomes their number, 0 without any. `l` gives TLS and keys;
 * its address is not used. The variables are removed from the environment. */
ig_status ig_server_listen_inherited(ig_server *server, const ig_listen *l, unsigned *n, ig_error *err);
size_t ig_server_n_listeners(const ig_server *server);
/* "http://127.0.0.1:11434", "https://...", "unix:PATH"; borrowed. */
const char *ig_server_address(const ig_server *server, size_t i);
unsigned ig_server_port(const ig_server *server, size_t i); /* 0 for unix */
/* New certificate and key for all TLS listeners; connections go on with the old one. On failure nothing changes. */
ig_status ig_server_reload_tls(ig_server *server, const char *cert, const char *key, ig_error *err);

typedef struct ig_server_counts {
    size_t conns, exchanges;                             /* now */
    uint64_t accepted, refused, evicted, requests, gone; /* since start */
    uint64_t bodies_bytes;                               /* now */
} ig_server_counts;
ig_server_counts ig_server_count(const ig_server *server);

/* ---- exchanges ---- */

const ig_incoming *ig_exchange_request(const ig_exchange *ex);
void ig_exchange_set_ctx(ig_exchange *ex, void *ctx);
void *ig_exchange_ctx(const ig_exchange *ex);
/* Frees the collected body early: nothing must point into it any more. */
void ig_exchange_drop_body(ig_exchange *ex);
/* Is the same user still there? For management calls. */
bool ig_exchange_recheck(const ig_exchange *ex);

/* The whole answer. fields: without Content-Length, Transfer-Encoding, Connection and Date, which are the server's.
 * BUG: a field holds a line end, or the exchange has begun already. NO_MEMORY: the client was cut off. The exchange has
 * ended in every case. */
ig_status ig_exchange_respond(ig_exchange *ex, unsigned status, const ig_http_field *fields, size_t n_fields,
                              const void *body, size_t n);
/* An answer in pieces: begin, write as often as needed, end. A piece is taken whole, however full the buffer is: after
 * each, ask ig_exchange_full and stop producing until on_drained. A client that takes nothing for stall_ms is gone.
 * CANCELLED: the client is gone, on_gone follows. */
ig_status ig_exchange_begin(ig_exchange *ex, unsigned status, const ig_http_field *fields, size_t n_fields);
ig_status ig_exchange_write(ig_exchange *ex, const void *p, size_t n);
bool ig_exchange_full(ig_exchange *ex);
bool ig_exchange_begun(const ig_exchange *ex);
ig_status ig_exchange_end(ig_exchange *ex);
/* Cuts the connection, so that the client sees that the answer is not whole. */
void ig_exchange_abort(ig_exchange *ex);

/* Raises the limit of open descriptors to its hard limit; returns the limit now in force. */
uint64_t ig_raise_open_files(void);

#endif
