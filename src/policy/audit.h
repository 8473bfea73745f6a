/* The audit log: a folder of files to which records are only ever appended. A record is one line of JSON that holds the
 * SHA-256 of the one before it; at intervals a record called seal signs the chain with Ed25519 (rule U19).
 *
 *   FOLDER/audit-000000000001.jsonl   records from number 1 on; the next file begins with the number in its name
 *   FOLDER/audit.key                  private key, 64 hex digits, mode 600, made at the first start
 *   FOLDER/audit.pub                  public key, 64 hex digits: keep a copy elsewhere
 *   FOLDER/audit.head                 the last seal: keep copies elsewhere, a log that was cut short does not fit them
 *   FOLDER/lock                       held by the one process that writes
 *
 *   {"seq":7,"at":"2026-11-21T10:00:00.123Z","boot":"...","mono_ms":81,"kind":"request","who":"uid:1000",...,
 *    "prev":"<64 hex>","hash":"<64 hex>"}
 *
 * `hash` is the SHA-256 of all that stands before `,"hash"`, `prev` the hash of record seq - 1 (zeros before the
 * first). A seal has "key" (first half of the SHA-256 of the public key) and "sig": the signature of the line
 * `ingle audit SEQ AT PREV`. Prompts and answers are recorded only where the options say so, and then marked
 * "content":true. */
#ifndef IG_POLICY_AUDIT_H
#define IG_POLICY_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum {
    IG_AUDIT_LINE_MAX = 1 << 20, /* bytes of a record; content that is longer is cut and marked "cut":true */
    IG_AUDIT_FIELDS_MAX = 40
};

/* ---- writing ---- */

typedef struct ig_audit ig_audit;

/* 0, false or NULL stands for the value in the comment. */
typedef struct ig_audit_options {
    uint64_t segment_bytes_max; /* a new file begins after so many; 64 MiB */
    uint32_t seal_records;      /* a seal after so many records; 1000 */
    uint32_t seal_s;            /* and after so many seconds, if there are new ones; 60 */
    bool content;               /* prompts and answers are recorded */
    bool journal;               /* every record goes to syslog as well (facility authpriv), but not its content */
    bool no_sync;               /* durable means: handed to the system */
    int64_t (*clock_ms)(void);  /* wall time; ig_clock_ms */
} ig_audit_options;

/* What happened. Texts may be NULL and are borrowed; broken UTF-8 becomes U+FFFD; numbers below 0 are not known. */
typedef struct ig_audit_record {
    const char *kind; /* a word: request, refusal, admin ... ; "seal", "open" and "damage" are the log's own */
    const char *who, *key, *app, *op, *model, *digest, *decision, *rule, *ran_on, *request, *result, *note;
    int64_t n_in, n_cached, n_out, took_ms;
    ig_str prompt, answer; /* len 0: none */
} ig_audit_record;

/* What was found when the log was opened. */
typedef struct ig_audit_report {
    uint64_t cut_bytes, cut_offset; /* a torn end that was cut off; the log's next record says so, too */
    bool damaged;                   /* damage before the last good record, or the head tells of more: verify shows it */
    char text[256];                 /* "" or one sentence */
} ig_audit_report;

/* Opens or makes the log; the process that has it open is the only one. Errors: DENIED (in use, a key that others may
 * read), BAD_INPUT (key), IO. report may be NULL. */
ig_status ig_audit_open(const char *folder, const ig_audit_options *options, ig_audit **out, ig_audit_report *report,
                        ig_error *err);
/* Takes the record into memory with its place in the chain; *seq may be NULL. Any thread; never waits for the disk.
 * TOO_LARGE when 8 MiB wait already, which happens only while commits fail. */
ig_status ig_audit_add(ig_audit *a, const ig_audit_record *r, uint64_t *seq, ig_error *err);
/* Returns when every record added before the call is on the disk, with those of other threads in one write. IO: none of
 * the waiting ones is promised; they are kept and tried again by the next commit, in a new file where a sync had failed
 * (M08). Any thread. */
ig_status ig_audit_commit(ig_audit *a, ig_error *err);
/* False after a commit that failed, until one has succeeded: what must be audited must wait. */
bool ig_audit_sound(ig_audit *a);
/* Number of the last record that is on the disk. */
uint64_t ig_audit_durable(ig_audit *a);
/* Commits, seals and closes; NULL is fine. */
void ig_audit_close(ig_audit *a);

/* ---- reading ---- */

/* A record's line, cut into its fields. All borrowed from the line. */
typedef struct ig_audit_line {
    uint64_t seq;
    ig_str text; /* the line without its end */
    ig_str at, kind, prev, hash, key, sig;
    size_t n;
    struct {
        ig_str name, value; /* value as it stands: a string with its quotes, a number, true, false or null */
    } field[IG_AUDIT_FIELDS_MAX];
} ig_audit_line;

/* One line without its end: strict, flat, known to begin with seq and to end with prev and hash, its hash right.
 * BAD_INPUT else, with the offset in the line. */
ig_status ig_audit_line_read(ig_str line, ig_audit_line *out, ig_error *err);
/* Text of a string value without quotes and escapes into out (NUL at the end, cut at a character); control characters
 * become '?'. Other values are copied as they stand. */
void ig_audit_value(ig_str value, char *out, size_t n);
/* Value of the field, or len 0. */
ig_str ig_audit_field(const ig_audit_line *l, const char *name);

typedef struct ig_audit_verify_options {
    const char *key_file; /* public key; NULL: audit.pub of the folder */
    const char
        *head_file; /* a copy of audit.head that was kept elsewhere; NULL: none. The folder's own is always read */
    bool partial;   /* older files may be missing, if the first that is there begins with a valid seal */
    void (*problem)(void *ctx, const char *file, uint64_t offset, const char *sentence);
    bool (*record)(void *ctx, const ig_audit_line *l); /* every sound line in order; false ends the walk */
    void *ctx;
} ig_audit_verify_options;

typedef struct ig_audit_check {
    uint64_t n_records, n_seals, n_problems, first_seq, last_seq;
    uint64_t sealed_seq; /* the last record that a valid seal vouches for; 0: none */
    unsigned n_files;
    bool live; /* a process writes to it now: half a record at the end is no fault */
    char last_hash[65], key_id[33];
} ig_audit_check;

/* Walks the whole log. OK also where problems were found: out->n_problems tells, the callback names each (at most 100).
 * Errors: what keeps it from being read at all. */
ig_status ig_audit_verify(const char *folder, const ig_audit_verify_options *options, ig_audit_check *out,
                          ig_error *err);

#endif
