/* HTTP/1.1 as bytes (RFC 9112): finding and parsing a request's head, undoing chunked framing, writing a response's
 * head. Pure functions on buffers: no sockets, no clock, no allocation. Strict on purpose (rules Hxx of the reliability
 * list): what two programs could read in two ways is refused, and the connection is then closed. */
#ifndef IG_SERVE_HTTP_H
#define IG_SERVE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/str.h"

enum {
    IG_HTTP_HEAD_MAX = 65536,          /* bytes, request line included; else 431 */
    IG_HTTP_LINE_MAX = 8192,           /* bytes of a field line; else 431 */
    IG_HTTP_TARGET_MAX = 8192,         /* bytes; else 414 */
    IG_HTTP_FIELDS_MAX = 100,          /* else 431 */
    IG_HTTP_METHOD_MAX = 16,           /* else 501 */
    IG_HTTP_CHUNK_EXT_MAX = 256,       /* bytes a chunk */
    IG_HTTP_CHUNK_EXT_ALL_MAX = 16384, /* bytes a body */
    IG_HTTP_TRAILER_MAX = 8192,        /* bytes, all lines */
};

typedef struct ig_http_field {
    ig_str name, value; /* value without blanks around it */
} ig_http_field;

/* Why a request was refused; text is a constant sentence. */
typedef struct ig_http_refusal {
    unsigned status;
    const char *text;
} ig_http_refusal;

typedef enum ig_http_result {
    IG_HTTP_MORE, /* well so far, more bytes are needed */
    IG_HTTP_DONE,
    IG_HTTP_DATA, /* chunks only: a piece of the body */
    IG_HTTP_BAD,  /* *why says how to answer; the connection must be closed */
} ig_http_result;

/* Looks for the end of a head in bytes that arrive in pieces; each byte is looked at once. Zero-initialised is the
 * start. Refuses at once what no later byte could heal: control characters, bare CR or LF, lines and heads too long. */
typedef struct ig_http_scan {
    size_t pos, line_start;
    unsigned n_lines; /* complete lines, the request line included */
    bool cr;          /* the last byte was CR */
} ig_http_scan;
/* buf[0..n) must hold all bytes seen so far, from the head's first. DONE: the head is buf[0..*head_len). */
ig_http_result ig_http_scan_head(ig_http_scan *scan, const char *buf, size_t n, size_t *head_len, ig_http_refusal *why);

typedef struct ig_http_head {
    ig_str method;
    ig_str path;  /* percent-decoded once, valid UTF-8, no control characters, begins with '/' (or is "*") */
    ig_str query; /* as sent, without '?'; escapes are well-formed */
    ig_str host;  /* value of Host, or empty (HTTP/1.0 only) */
    ig_http_field fields[IG_HTTP_FIELDS_MAX];
    size_t n_fields;
    uint64_t content_length; /* 0 without one */
    unsigned minor;          /* 1 for HTTP/1.1 and above, 0 for HTTP/1.0 */
    bool has_length, chunked, keep_alive, expect_continue;
} ig_http_head;
/* Parses a whole head as found by the scan. `head` is changed (the path is decoded in place); *out borrows from it.
 * Returns DONE or BAD. */
ig_http_result ig_http_parse_head(char *head, size_t n, ig_http_head *out, ig_http_refusal *why);

/* The path of a request line that may be broken behind it, as sent: for the form of a refusal alone. Empty where buf
 * does not begin with METHOD SP /PATH and a blank, '?' or the end of the line behind it. */
ig_str ig_http_peek_path(const char *buf, size_t n);

/* First field of that name (ASCII letters of any case), or NULL. */
const ig_http_field *ig_http_find(const ig_http_head *head, const char *name);
/* Fields of that name. */
size_t ig_http_count(const ig_http_head *head, const char *name);
bool ig_http_same(ig_str a, const char *b); /* equal but for the case of ASCII letters */
/* Value of ?name=... decoded into out[0..cap) with a NUL; false when absent, too long, or no valid UTF-8. */
bool ig_http_query(ig_str query, const char *name, char *out, size_t cap);
/* True for host, host:port, [v6], [v6]:port; *name gets the part before the port (brackets included), *port 0 without
 * one. */
bool ig_http_split_host(ig_str host, ig_str *name, unsigned *port);

/* Undoes chunked framing. Zero-initialised is the start. */
typedef struct ig_http_chunks {
    uint64_t left;   /* bytes of the current chunk still to come */
    unsigned digits; /* of the size so far */
    unsigned ext;    /* bytes of the current extension */
    unsigned all;    /* bytes of all extensions */
    unsigned trailer;
    unsigned state;
    unsigned name_len; /* of the current trailer field's name, kept in `name` for judging it */
    char name[32];
} ig_http_chunks;
/* Looks at in[0..n), sets *used to what was consumed. DATA: *data is a piece inside `in`, call again with the rest.
 * MORE: all is consumed. DONE: the body and its trailer (which is dropped) have ended; the rest belongs to the next
 * request. */
ig_http_result ig_http_chunks_next(ig_http_chunks *c, const char *in, size_t n, size_t *used, ig_str *data,
                                   ig_http_refusal *why);

/* Reason phrase, "Unknown" for a status not listed. */
const char *ig_http_reason(unsigned status);
/* "Sun, 06 Nov 1994 08:49:37 GMT" of seconds since 1970; out[30]. */
void ig_http_date(int64_t unix_s, char out[30]);

typedef enum ig_http_framing {
    IG_HTTP_FIXED,   /* Content-Length */
    IG_HTTP_CHUNKED, /* Transfer-Encoding */
    IG_HTTP_CLOSE,   /* until the connection ends (HTTP/1.0) */
    IG_HTTP_BARE,    /* no body and no length: 204 and 304 (H12) */
} ig_http_framing;
/* Appends a response's head to out. False when a field's name or value holds what would end a line (nothing is then
 * appended) or out failed. connection: "close", "keep-alive" or NULL for none. */
bool ig_http_write_head(ig_buf *out, unsigned status, const ig_http_field *fields, size_t n_fields,
                        ig_http_framing framing, uint64_t length, const char *connection, const char *date);

#endif
