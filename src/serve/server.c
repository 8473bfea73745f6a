/* The server: accepting connections, counting them by owner, closing idle ones, stopping. See server.h. */
#include "serve/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/os.h"
#include "base/sock.h"
#include "serve/conn.h"

enum {
    ACCEPTS_PER_ROUND = 64, /* so that a storm of connections does not starve running streams (H20) */
    ACCEPT_PAUSE_MS = 100,  /* without descriptors left (M18) */
    DESCRIPTORS_KEPT = 128, /* for files, workers and the rest of the process */
    UNSENT_BYTES = 131072,  /* what the kernel may hold back for a client that stopped reading (H17) */
};

/* ---- owners and idle connections ---- */

static ig_owner **find_owner(ig_server *server, const ig_identity *who)
{
    uint64_t h = who->known ? ig_hash_u64(who->uid, server->seed)
                            : ig_hash(who->remote.addr, sizeof who->remote.addr, server->seed);
    ig_owner **p = &server->owners[h % OWNER_BUCKETS];
    for (; *p; p = &(*p)->next) {
        ig_owner *o = *p;
        if (o->known != who->known) continue;
        if (who->known ? o->uid == who->uid
                       : o->address.family == who->remote.family &&
                             !memcmp(o->address.addr, who->remote.addr, sizeof o->address.addr))
            break;
    }
    return p;
}

static ig_owner *get_owner(ig_server *server, const ig_identity *who)
{
    ig_owner **p = find_owner(server, who);
    if (*p) return *p;
    ig_owner *o = ig_calloc(1, sizeof *o);
    if (!o) return NULL;
    o->known = who->known;
    o->uid = who->uid;
    o->address = who->remote;
    o->address.port = 0;
    return *p = o;
}

static void drop_if_empty(ig_server *server, ig_owner *o)
{
    if (o->n_conns) return;
    for (size_t i = 0; i < OWNER_BUCKETS; i++)
        for (ig_owner **p = &server->owners[i]; *p; p = &(*p)->next)
            if (*p == o) {
                *p = o->next;
                ig_free(o);
                return;
            }
}

void ig_owner_leave(ig_conn *c)
{
    if (!c->owner) return;
    c->owner->n_conns--;
    drop_if_empty(c->server, c->owner);
    c->owner = NULL;
}

void ig_idle_enter(ig_conn *c)
{
    ig_owner *o = c->owner;
    if (c->idle) return;
    c->idle = true;
    c->idle_next = NULL;
    c->idle_prev = o->idle_last;
    *(o->idle_last ? &o->idle_last->idle_next : &o->idle_first) = c;
    o->idle_last = c;
}

void ig_idle_leave(ig_conn *c)
{
    ig_owner *o = c->owner;
    if (!c->idle) return;
    c->idle = false;
    *(c->idle_prev ? &c->idle_prev->idle_next : &o->idle_first) = c->idle_next;
    *(c->idle_next ? &c->idle_next->idle_prev : &o->idle_last) = c->idle_prev;
}

/* Closes the oldest idle connection of this owner. */
static bool evict_of(ig_owner *o)
{
    ig_conn *c = o->idle_first;
    if (!c) return false;
    c->server->counts.evicted++;
    ig_conn_close(c);
    return true;
}

/* Closes an idle connection of the owner who has most connections and idle ones among them. */
static bool evict_any(ig_server *server)
{
    ig_owner *most = NULL;
    for (size_t i = 0; i < OWNER_BUCKETS; i++)
        for (ig_owner *o = server->owners[i]; o; o = o->next)
            if (o->idle_first && (!most || o->n_conns > most->n_conns)) most = o;
    return most && evict_of(most);
}

/* ---- accepting ---- */

/* Also called while a connection is being closed: never closes any itself. */
static void resume_accepting(void *ctx)
{
    ig_server *server = ctx;
    if (!server->paused || server->stopping) return;
    server->paused = false;
    ig_timer_clear(server->loop, &server->accept_timer);
    for (ig_listener *l = server->listeners; l; l = l->next) ig_loop_rewatch(server->loop, &l->watch, EPOLLIN);
}

static void pause_accepting(ig_server *server)
{
    server->paused = true;
    for (ig_listener *l = server->listeners; l; l = l->next) ig_loop_rewatch(server->loop, &l->watch, 0);
    uint64_t due = ig_loop_now(server->loop) + (uint64_t)ACCEPT_PAUSE_MS * IG_NS_PER_MS;
    ig_timer_set(server->loop, &server->accept_timer, due, resume_accepting, server);
}

static void refuse_connection(ig_server *server, int fd, bool tls)
{
    ig_own_answer r = {.status = 503, .text = "too many connections are open; close some of them", .path = {"", 0}};
    ig_buf out;
    server->counts.refused++;
    ig_buf_init(&out, 65536);
    if (!tls && ig_own_answer_write(server, &r, false, &out)) {
        /* Unread bytes would make a reset of the close, and that takes the answer away from the client. */
        for (int i = 0; i < 4 && ig_sock_recv(fd, server->scratch, SCRATCH_BYTES) > 0; i++) continue;
        (void)ig_sock_send(fd, out.ptr, out.len);
        (void)shutdown(fd, SHUT_WR);
    }
    ig_buf_fini(&out);
    close(fd);
}

/* Room for one more of this owner, who has been counted with it, by closing idle ones where needed. */
static bool make_room(ig_server *server, ig_owner *o)
{
    size_t of_owner = server->limits.conns_owner_max, share = server->limits.conns_max / 4 * 3;
    if (share < of_owner) of_owner = share; /* nobody alone takes all there are */
    if (o->n_conns > of_owner && !evict_of(o)) return false;
    return server->counts.conns < server->limits.conns_max || evict_any(server);
}

/* Keep-alive probes are the kernel's: a machine that lost its power is found within two minutes, without a wake-up. */
static void set_options(int fd, ig_transport transport)
{
    static const struct {
        int level, name, value;
    } rows[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES},
        {SOL_SOCKET, SO_KEEPALIVE, 1},    {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15}, {IPPROTO_TCP, TCP_KEEPCNT, 4},
    };
    if (transport == IG_TRANSPORT_UNIX) return;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        (void)setsockopt(fd, rows[i].level, rows[i].name, &rows[i].value, sizeof rows[i].value);
}

static ig_conn *new_conn(ig_listener *l, int fd)
{
    ig_conn *c = ig_calloc(1, sizeof *c);
    if (!c) return NULL;
    c->server = l->server;
    c->listener = l;
    c->port = l->port;
    c->fd = fd;
    ig_buf_init(&c->out, SIZE_MAX / 4);
    ig_identity_of(fd, l->server->diag_fd, l->tls != NULL, &c->who);
    if (l->tls && !(c->tls = ig_tls_new(l->tls, fd))) {
        ig_free(c);
        return NULL;
    }
    return c;
}

static void take_connection(ig_listener *l, int fd)
{
    ig_server *server = l->server;
    ig_conn *c = new_conn(l, fd);
    ig_owner *o = c ? get_owner(server, &c->who) : NULL;
    if (o) o->n_conns++;
    if (!o || !make_room(server, o)) {
        if (o) o->n_conns--;
        if (o) drop_if_empty(server, o);
        if (c) ig_tls_free(c->tls);
        ig_free(c);
        refuse_connection(server, fd, l->tls != NULL);
        return;
    }
    c->owner = o;
    c->next = server->conns;
    if (c->next) c->next->prev = c;
    server->conns = c;
    server->counts.conns++;
    server->counts.accepted++;
    set_options(fd, c->who.transport);
    ig_conn_start(c);
}

static void on_listener(void *ctx, uint32_t events)
{
    ig_listener *l = ctx;
    ig_server *server = l->server;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
        int fd = ig_sock_accept(l->fd);
        if (fd >= 0) {
            take_connection(l, fd);
            continue;
        }
        bool short_of = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
        if (short_of && !evict_any(server)) pause_accepting(server);
        return;
    }
}

/* ---- listeners ---- */

static void close_listener(ig_listener *l)
{
    struct stat sb;
    ig_loop_unwatch(l->server->loop, &l->watch);
    if (l->fd >= 0) close(l->fd);
    if (l->unlink_path && lstat(l->unlink_path, &sb) == 0 && sb.st_dev == l->dev && sb.st_ino == l->ino)
        unlink(l->unlink_path);
    ig_free(l->unlink_path);
    ig_tls_context_free(l->tls);
    ig_free(l);
}

ig_status ig_server_add(ig_server *server, int fd, const char *name, unsigned port, ig_tls_context *tls,
                        char *unlink_path, ig_error *err)
{
    struct stat sb;
    ig_listener *l = ig_calloc(1, sizeof *l);
    if (!l) {
        close(fd);
        if (unlink_path) unlink(unlink_path);
        ig_free(unlink_path);
        ig_tls_context_free(tls);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the listener %s", name);
    }
    l->server = server;
    l->fd = fd;
    l->port = port;
    l->tls = tls;
    l->unlink_path = unlink_path;
    (void)strncpy(l->name, name, sizeof l->name - 1);
    if (unlink_path && lstat(unlink_path, &sb) == 0) {
        l->dev = sb.st_dev;
        l->ino = sb.st_ino;
    }
    ig_status st = ig_loop_watch(server->loop, &l->watch, fd, EPOLLIN, on_listener, l, err);
    if (st != IG_OK) {
        close_listener(l);
        return st;
    }
    ig_listener **end = &server->listeners;
    while (*end) end = &(*end)->next;
    *end = l;
    return IG_OK;
}

static const ig_listener *listener_at(const ig_server *server, size_t i)
{
    const ig_listener *l = server->listeners;
    while (l && i--) l = l->next;
    return l;
}

size_t ig_server_n_listeners(const ig_server *server)
{
    size_t n = 0;
    for (const ig_listener *l = server->listeners; l; l = l->next) n++;
    return n;
}

const char *ig_server_address(const ig_server *server, size_t i)
{
    const ig_listener *l = listener_at(server, i);
    return l ? l->name : NULL;
}

unsigned ig_server_port(const ig_server *server, size_t i)
{
    const ig_listener *l = listener_at(server, i);
    return l ? l->port : 0;
}

ig_status ig_server_reload_tls(ig_server *server, const char *cert, const char *key, ig_error *err)
{
    ig_status st = IG_OK;
    for (ig_listener *l = server->listeners; l && st == IG_OK; l = l->next)
        if (l->tls) st = ig_tls_context_new(cert, key, &l->fresh, err);
    for (ig_listener *l = server->listeners; l; l = l->next) {
        if (st == IG_OK && l->fresh) {
            ig_tls_context_free(l->tls);
            l->tls = l->fresh;
        } else {
            ig_tls_context_free(l->fresh);
        }
        l->fresh = NULL;
    }
    return st;
}

/* ---- life ---- */

static void run_kicks(void *ctx)
{
    ig_server *server = ctx;
    ig_conn *list = server->kicks;
    server->kicks = NULL;
    while (list) {
        ig_conn *c = list;
        list = c->kick_next;
        c->kicked = false;
        if (c->state == CONN_DEAD)
            ig_free(c);
        else
            ig_conn_run(c);
    }
}

void ig_conn_kick(ig_conn *c)
{
    ig_server *server = c->server;
    if (c->kicked) return;
    c->kicked = true;
    c->kick_next = server->kicks;
    server->kicks = c;
    if (!server->kick_timer.set) ig_timer_set(server->loop, &server->kick_timer, ig_now_ns(), run_kicks, server);
}

static uint64_t open_files(void)
{
    struct rlimit r;
    return getrlimit(RLIMIT_NOFILE, &r) == 0 ? (uint64_t)r.rlim_cur : 1024;
}

uint64_t ig_raise_open_files(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
    return open_files();
}

static void set_limits(ig_server_limits *l)
{
    uint64_t files = open_files(), room = files > 2 * DESCRIPTORS_KEPT ? files - DESCRIPTORS_KEPT : files / 2;
    if (!l->conns_max) l->conns_max = (size_t)(room < 65536 ? room : 65536);
    if (!l->conns_owner_max) l->conns_owner_max = 2000;
    if (!l->out_bytes_max) l->out_bytes_max = 262144;
    if (!l->bodies_bytes_max) l->bodies_bytes_max = 1u << 30;
    if (!l->head_ms) l->head_ms = 10000;
    if (!l->idle_ms) l->idle_ms = 60000;
    if (!l->body_grace_ms) l->body_grace_ms = 10000;
    if (!l->stall_ms) l->stall_ms = 30000;
    if (!l->rate_bytes_s) l->rate_bytes_s = 1024;
}

ig_status ig_server_new(ig_loop *loop, const ig_handler *handler, void *ctx, const ig_server_limits *limits,
                        ig_server **out, ig_error *err)
{
    *out = NULL;
    ig_server *server = ig_calloc(1, sizeof *server);
    if (!server) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the server");
    server->loop = loop;
    server->handler = handler;
    server->ctx = ctx;
    if (limits) server->limits = *limits;
    set_limits(&server->limits);
    server->diag_fd = ig_diag_open();
    server->date_s = -1;
    ig_random(&server->seed, sizeof server->seed);
    (void)signal(SIGPIPE, SIG_IGN); /* TLS writes without asking for silence */
    *out = server;
    return IG_OK;
}

static void close_listeners(ig_server *server)
{
    for (ig_conn *c = server->conns; c; c = c->next) c->listener = NULL;
    while (server->listeners) {
        ig_listener *l = server->listeners;
        server->listeners = l->next;
        close_listener(l);
    }
}

/* Closes every connection but those with a request or an answer under way, or with `running` every one. */
static void close_conns(ig_server *server, bool running)
{
    for (ig_conn *c = server->conns, *next; c; c = next) {
        next = c->next;
        if (running || c->idle || c->state == CONN_HANDSHAKE) ig_conn_close(c);
    }
}

static void run_stopped(void *ctx)
{
    ig_server *server = ctx;
    void (*stopped)(void *ctx) = server->stopped;
    server->stopped = NULL;
    stopped(server->stopped_ctx); /* which may free the server */
}

void ig_server_conn_closed(ig_server *server)
{
    server->counts.conns--;
    resume_accepting(server);
    if (!server->stopping || server->counts.conns) return;
    ig_timer_clear(server->loop, &server->stop_timer);
    if (server->stopped) ig_timer_set(server->loop, &server->stop_timer, ig_now_ns(), run_stopped, server);
}

static void on_stop_deadline(void *ctx) { close_conns(ctx, true); }

void ig_server_stop(ig_server *server, uint32_t after_ms, void (*done)(void *ctx), void *ctx)
{
    server->stopping = true;
    server->stopped = done;
    server->stopped_ctx = ctx;
    close_listeners(server);
    ig_timer_clear(server->loop, &server->accept_timer);
    server->counts.conns++; /* so that done is called once, below, if nothing is open */
    close_conns(server, false);
    uint64_t due = ig_loop_now(server->loop) + (uint64_t)after_ms * IG_NS_PER_MS;
    ig_timer_set(server->loop, &server->stop_timer, due, on_stop_deadline, server);
    ig_server_conn_closed(server);
}

void ig_server_free(ig_server *server)
{
    if (!server) return;
    server->stopping = true;
    server->stopped = NULL;
    close_listeners(server);
    close_conns(server, true);
    run_kicks(server);
    ig_timer_clear(server->loop, &server->kick_timer);
    ig_timer_clear(server->loop, &server->accept_timer);
    ig_timer_clear(server->loop, &server->stop_timer);
    if (server->diag_fd >= 0) close(server->diag_fd);
    ig_free(server);
}

ig_server_counts ig_server_count(const ig_server *server) { return server->counts; }

const char *ig_server_date(ig_server *server)
{
    int64_t now = (int64_t)time(NULL);
    if (now != server->date_s) ig_http_date(server->date_s = now, server->date);
    return server->date;
}
