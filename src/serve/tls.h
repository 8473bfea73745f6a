/* TLS for listeners that leave the machine (rule H30): a thin face over OpenSSL, so that nothing else includes it. */
#ifndef IG_SERVE_TLS_H
#define IG_SERVE_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct ig_tls_context ig_tls_context; /* certificate and key */
typedef struct ig_tls ig_tls;                 /* one connection */

enum { IG_IO_AGAIN = -1, IG_IO_FAILED = -2 };

/* cert: PEM chain, key: PEM, both paths. TLS 1.2 or later, no renegotiation, no compression. */
ig_status ig_tls_context_new(const char *cert, const char *key, ig_tls_context **out, ig_error *err);
void ig_tls_context_free(ig_tls_context *c); /* connections made from it live on */

/* NULL without memory. The descriptor stays the caller's. */
ig_tls *ig_tls_new(ig_tls_context *c, int fd);
void ig_tls_free(ig_tls *t);
/* 1 done, IG_IO_AGAIN, IG_IO_FAILED. */
long ig_tls_handshake(ig_tls *t);
/* Bytes, 0 at the end (reading), IG_IO_AGAIN, IG_IO_FAILED. */
long ig_tls_read(ig_tls *t, void *out, size_t n);
long ig_tls_write(ig_tls *t, const void *p, size_t n);
bool ig_tls_wants_write(const ig_tls *t); /* the last IG_IO_AGAIN waits for room to write */
bool ig_tls_has_more(const ig_tls *t);    /* bytes are decrypted already, no event will tell */
void ig_tls_shutdown(ig_tls *t);          /* says goodbye, does not wait */

#endif
