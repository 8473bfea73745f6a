/* One request and its answer: what the handler calls. Only fills the connection's buffer and kicks it; sending, closing
 * and callbacks happen in conn.c at the end of the round. See server.h. */
#include <string.h>

#include "base/os.h"
#include "serve/conn.h"

/* ---- life ---- */

ig_exchange *ig_exchange_new(ig_conn *c, const char *head, size_t n)
{
    ig_exchange *ex = ig_calloc(1, sizeof *ex + n);
    if (!ex) return NULL;
    memcpy(ex->bytes, head, n);
    ex->conn = c;
    ex->req = (ig_incoming){.head = &ex->head, .who = &c->who, .body = {"", 0}, .port = c->port};
    ig_buf_init(&ex->body, SIZE_MAX / 4);
    c->ex = ex;
    c->server->counts.exchanges++;
    return ex;
}

/* Books n bytes of memory for the body, also to owner and server. */
static void book(ig_exchange *ex, uint64_t n)
{
    ig_conn *c = ex->conn;
    c->server->counts.bodies_bytes += n - ex->counted;
    c->owner->bodies_bytes += n - ex->counted;
    ex->counted = n;
}

unsigned ig_exchange_collect(ig_exchange *ex, const char *data, size_t n)
{
    ig_server *server = ex->conn->server;
    uint64_t max = server->limits.bodies_bytes_max;
    book(ex, ex->counted + n);
    /* nobody alone takes all there is */
    if (server->counts.bodies_bytes > max || ex->conn->owner->bodies_bytes > max - max / 4) return 503;
    return ig_buf_add(&ex->body, data, n) ? 0 : 503;
}

void ig_exchange_drop_body(ig_exchange *ex)
{
    book(ex, 0);
    ig_buf_fini(&ex->body);
    ex->req.body = (ig_str){"", 0};
}

void ig_exchange_gone(ig_conn *c)
{
    ig_exchange *ex = c->ex;
    if (!ex || !ex->owned) return;
    ex->owned = false;
    c->server->counts.gone++;
    c->server->handler->on_gone(c->server->ctx, ex);
}

void ig_exchange_release(ig_conn *c)
{
    if (!c->ex) return;
    ig_exchange_drop_body(c->ex);
    ig_free(c->ex);
    c->ex = NULL;
    c->server->counts.exchanges--;
}

const ig_incoming *ig_exchange_request(const ig_exchange *ex) { return &ex->req; }
void ig_exchange_set_ctx(ig_exchange *ex, void *ctx) { ex->ctx = ctx; }
void *ig_exchange_ctx(const ig_exchange *ex) { return ex->ctx; }
bool ig_exchange_begun(const ig_exchange *ex) { return ex->begun; }

bool ig_exchange_recheck(const ig_exchange *ex) { return ig_identity_recheck(ex->conn->server->diag_fd, ex->req.who); }

/* ---- answering ---- */

/* The exchange is no longer the handler's. */
static void hand_back(ig_exchange *ex)
{
    ex->ended = true;
    ex->owned = false;
    ig_conn_kick(ex->conn);
}

static ig_status cut(ig_conn *c, ig_status st)
{
    c->broken = true;
    ig_conn_kick(c);
    return st;
}

static const char *connection_field(ig_exchange *ex)
{
    ig_conn *c = ex->conn;
    if (!ex->head.keep_alive || !ex->body_done || c->server->stopping) c->close_after = true;
    if (c->close_after) return "close";
    return ex->head.minor == 0 ? "keep-alive" : NULL;
}

/* BUG: nothing was written, for a field holds what it must not. NO_MEMORY: the connection is cut. */
static ig_status write_head(ig_exchange *ex, unsigned status, const ig_http_field *fields, size_t n_fields,
                            ig_http_framing framing, uint64_t length)
{
    ig_conn *c = ex->conn;
    bool bare = status == 204 || status == 304, close_after = c->close_after;
    if (status < 200 || status > 599) return IG_BUG;
    if (framing == IG_HTTP_CHUNKED && ex->head.minor == 0) framing = IG_HTTP_CLOSE;
    if (bare) framing = IG_HTTP_BARE;
    if (framing == IG_HTTP_CLOSE) c->close_after = true;
    const char *connection = connection_field(ex), *date = ig_server_date(c->server);
    if (!ig_http_write_head(&c->out, status, fields, n_fields, framing, length, connection, date)) {
        if (c->out.failed) return cut(c, IG_NO_MEMORY);
        c->close_after = close_after;
        return IG_BUG;
    }
    ex->begun = true;
    ex->chunked = framing == IG_HTTP_CHUNKED;
    ex->discard = bare || ig_str_is(ex->head.method, "HEAD");
    c->reset = framing == IG_HTTP_CLOSE && !ex->discard; /* until the end has been written */
    return IG_OK;
}

static ig_status respond(ig_exchange *ex, unsigned status, const ig_http_field *fields, size_t n_fields,
                         const void *body, size_t n)
{
    ig_conn *c = ex->conn;
    if (ex->begun) return cut(c, IG_BUG);
    ig_status st = write_head(ex, status, fields, n_fields, IG_HTTP_FIXED, n);
    if (st == IG_BUG) {
        static const char text[] = "the server failed to write its answer\n";
        (void)write_head(ex, 500, NULL, 0, IG_HTTP_FIXED, sizeof text - 1);
        body = text;
        n = sizeof text - 1;
    }
    if (!ex->discard && !c->broken) (void)ig_buf_add(&c->out, body, n);
    return c->out.failed ? cut(c, IG_NO_MEMORY) : st;
}

ig_status ig_exchange_respond(ig_exchange *ex, unsigned status, const ig_http_field *fields, size_t n_fields,
                              const void *body, size_t n)
{
    ig_status st = ex->conn->broken ? IG_CANCELLED : respond(ex, status, fields, n_fields, body, n);
    hand_back(ex);
    return st;
}

ig_status ig_exchange_begin(ig_exchange *ex, unsigned status, const ig_http_field *fields, size_t n_fields)
{
    if (ex->conn->broken) return IG_CANCELLED;
    if (ex->begun) return IG_BUG;
    ig_status st = write_head(ex, status, fields, n_fields, IG_HTTP_CHUNKED, 0);
    ig_conn_kick(ex->conn);
    return st == IG_NO_MEMORY ? IG_CANCELLED : st;
}

ig_status ig_exchange_write(ig_exchange *ex, const void *p, size_t n)
{
    ig_conn *c = ex->conn;
    if (c->broken) return IG_CANCELLED;
    if (!ex->begun || ex->ended) return IG_BUG;
    if (n == 0 || ex->discard) return IG_OK;
    if (ex->chunked) (void)ig_buf_printf(&c->out, "%zx\r\n", n);
    (void)ig_buf_add(&c->out, p, n);
    if (ex->chunked) (void)ig_buf_add(&c->out, "\r\n", 2);
    ig_conn_kick(c);
    return c->out.failed ? cut(c, IG_CANCELLED) : IG_OK;
}

bool ig_exchange_full(ig_exchange *ex)
{
    if (ig_conn_pending(ex->conn) <= ex->conn->server->limits.out_bytes_max) return false;
    return ex->want_drained = true;
}

ig_status ig_exchange_end(ig_exchange *ex)
{
    ig_conn *c = ex->conn;
    ig_status st = c->broken ? IG_CANCELLED : IG_OK;
    if (st == IG_OK && !ex->begun) st = cut(c, IG_BUG);
    if (st == IG_OK && ex->chunked && !ex->discard) (void)ig_buf_add(&c->out, "0\r\n\r\n", 5);
    if (st == IG_OK && c->out.failed) st = cut(c, IG_NO_MEMORY);
    if (st == IG_OK) c->reset = false;
    hand_back(ex);
    return st;
}

void ig_exchange_abort(ig_exchange *ex)
{
    (void)cut(ex->conn, IG_CANCELLED);
    hand_back(ex);
}

/* ---- the server's own answers ---- */

bool ig_own_answer_write(ig_server *server, ig_own_answer *r, bool head_only, ig_buf *out)
{
    const ig_handler *h = server->handler;
    ig_buf body;
    ig_buf_init(&body, 65536);
    r->body = &body;
    r->type = "text/plain; charset=utf-8";
    if (h->refused)
        h->refused(server->ctx, r);
    else
        (void)ig_buf_printf(&body, "%s\n", r->text);
    if (body.failed) body.len = 0;
    ig_http_field fields[IG_OWN_FIELDS_MAX + 2] = {{IG_STR("Content-Type"), ig_str_from(r->type)}};
    size_t n = 1;
    if (r->status == 503) fields[n++] = (ig_http_field){IG_STR("Retry-After"), IG_STR("1")};
    for (size_t i = 0; i < r->n_fields && i < IG_OWN_FIELDS_MAX; i++) fields[n++] = r->fields[i];
    bool ok = ig_http_write_head(out, r->status, fields, n, IG_HTTP_FIXED, body.len, "close", ig_server_date(server));
    if (ok && !head_only && body.len) ok = ig_buf_add(out, body.ptr, body.len);
    ig_buf_fini(&body);
    return ok;
}

void ig_exchange_refuse(ig_conn *c, unsigned status, const char *text)
{
    ig_own_answer r = {.status = status, .text = text};
    bool head_only = c->ex && ig_str_is(c->ex->head.method, "HEAD");
    ig_exchange_gone(c);
    if (c->ex)
        r.req = &c->ex->req;
    else if (c->state == CONN_HEAD)
        r.path = ig_http_peek_path(c->in + c->in_pos, c->in_len - c->in_pos);
    if (r.req) r.path = r.req->head->path;
    if (!ig_own_answer_write(c->server, &r, head_only, &c->out)) c->broken = true;
    ig_exchange_release(c);
    c->close_after = true;
    c->in_pos = c->in_len = 0;
    c->state = CONN_RUN;
}
