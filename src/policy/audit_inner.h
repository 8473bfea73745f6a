/* Private to the audit log: keys, files, lines. */
#ifndef IG_POLICY_AUDIT_INNER_H
#define IG_POLICY_AUDIT_INNER_H

#include <openssl/evp.h>
#include <sys/types.h>

#include "audit.h"
#include "base/mem.h"

enum { IG_AUDIT_NAME_BYTES = 32, IG_AUDIT_FILES_MAX = 1000000 };
#define IG_AUDIT_ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

/* ---- audit_line.c */
void ig_audit_hex(const unsigned char *p, size_t n, char *out); /* out [2 n + 1] */
bool ig_audit_unhex(ig_str hex, unsigned char *out, size_t n);
bool ig_audit_sha(const void *p, size_t n, char hex[65]);
/* Appends a JSON string; broken UTF-8 becomes U+FFFD. */
void ig_audit_put(ig_buf *out, const char *p, size_t n);
/* What a seal signs; returns its length. */
size_t ig_audit_sealed_text(char out[256], uint64_t seq, ig_str at, ig_str prev);
void ig_audit_key_id(const unsigned char pub[32], char out[33]);

/* ---- audit_read.c */
/* Name of the file that begins with record seq. */
void ig_audit_file_name(uint64_t seq, char out[IG_AUDIT_NAME_BYTES]);
/* First numbers of the files of the folder, ascending; the caller frees *out. */
ig_status ig_audit_files(int dir, uint64_t **out, size_t *n, ig_error *err);

/* Lines of a file, one after the other, in bounded memory. */
typedef struct ig_audit_lines {
    int fd;
    char *buf; /* owned [IG_AUDIT_LINE_MAX + 2] */
    size_t at, n;
    uint64_t offset; /* of the line in the file */
    bool at_end;
    bool failed; /* reading failed, errno */
    bool whole;  /* the line ended with a line end */
    bool too_long;
} ig_audit_lines;
bool ig_audit_lines_init(ig_audit_lines *l, int fd); /* false without memory; fd stays the caller's */
/* The next line without its end, at l->offset. False at the end or where reading failed. A line that is too long comes
 * in pieces of which too_long tells. */
bool ig_audit_lines_next(ig_audit_lines *l, ig_str *line);
void ig_audit_lines_fini(ig_audit_lines *l);

/* Reads 64 hex digits of a key file in the folder (name) or anywhere (path). */
ig_status ig_audit_key_read(int dir, const char *path, bool secret, unsigned char out[32], ig_error *err);

#endif
