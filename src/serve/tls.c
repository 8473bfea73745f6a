/* TLS; see tls.h. */
#include "serve/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "base/mem.h"

struct ig_tls_context {
    SSL_CTX *ssl;
};
struct ig_tls {
    SSL *ssl;
    bool wants_write;
};

static ig_status failed(ig_tls_context *c, const char *what, const char *path, ig_error *err)
{
    char reason[200] = "unknown reason";
    unsigned long e = ERR_get_error();
    if (e) ERR_error_string_n(e, reason, sizeof reason);
    ERR_clear_error();
    ig_tls_context_free(c);
    return ig_fail(err, IG_BAD_INPUT, 0, "cannot use the TLS %s in %.200s: %s", what, path, reason);
}

ig_status ig_tls_context_new(const char *cert, const char *key, ig_tls_context **out, ig_error *err)
{
    *out = NULL;
    ig_tls_context *c = ig_calloc(1, sizeof *c);
    if (c) c->ssl = SSL_CTX_new(TLS_server_method());
    if (!c || !c->ssl) {
        ig_tls_context_free(c);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for TLS");
    }
    SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(c->ssl,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_use_certificate_chain_file(c->ssl, cert) != 1) return failed(c, "certificate", cert, err);
    if (SSL_CTX_use_PrivateKey_file(c->ssl, key, SSL_FILETYPE_PEM) != 1) return failed(c, "key", key, err);
    if (SSL_CTX_check_private_key(c->ssl) != 1) return failed(c, "key (it does not fit the certificate)", key, err);
    *out = c;
    return IG_OK;
}

void ig_tls_context_free(ig_tls_context *c)
{
    if (c) SSL_CTX_free(c->ssl);
    ig_free(c);
}

ig_tls *ig_tls_new(ig_tls_context *c, int fd)
{
    ig_tls *t = ig_calloc(1, sizeof *t);
    if (!t) return NULL;
    t->ssl = SSL_new(c->ssl);
    if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
        ERR_clear_error();
        ig_tls_free(t);
        return NULL;
    }
    SSL_set_accept_state(t->ssl);
    return t;
}

void ig_tls_free(ig_tls *t)
{
    if (t) SSL_free(t->ssl);
    ig_free(t);
}

/* Result of an SSL call: what the callers of tls.h expect. */
static long result(ig_tls *t, int n)
{
    int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, n);
    ERR_clear_error();
    t->wants_write = why == SSL_ERROR_WANT_WRITE;
    if (why == SSL_ERROR_NONE) return n;
    if (why == SSL_ERROR_ZERO_RETURN) return 0;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? IG_IO_AGAIN : IG_IO_FAILED;
}

static int cut(size_t n) { return n > 1 << 20 ? 1 << 20 : (int)n; }

long ig_tls_handshake(ig_tls *t)
{
    long r = result(t, SSL_do_handshake(t->ssl));
    return r == 0 ? IG_IO_FAILED : r;
}
long ig_tls_read(ig_tls *t, void *out, size_t n) { return result(t, SSL_read(t->ssl, out, cut(n))); }
long ig_tls_write(ig_tls *t, const void *p, size_t n)
{
    long r = result(t, SSL_write(t->ssl, p, cut(n)));
    return r == 0 ? IG_IO_FAILED : r;
}
bool ig_tls_wants_write(const ig_tls *t) { return t->wants_write; }
bool ig_tls_has_more(const ig_tls *t) { return SSL_pending(t->ssl) > 0; }
void ig_tls_shutdown(ig_tls *t)
{
    (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}
