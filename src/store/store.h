/* The store: models on disk, shared by everything on the machine that asks for them.
 *
 * Files are blobs, named by their SHA-256; a manifest says which blobs make up a model and what belongs to it
 * (template, parameters, licence, where it came from); a name points to a manifest. docs/store.md describes the folder.
 *
 * What holds at any time, whatever is killed and wherever the disk is full: a blob is absent or whole, a manifest is
 * the old or the new one, and a visible manifest's blobs are there. Several processes may use one store; a handle may
 * be used from several threads. A descriptor of a blob keeps that blob from garbage collection for as long as it is
 * open anywhere (a lock that belongs to the open file), so what is handed to a worker needs no other lease.
 *
 * The store never reads a model: it moves bytes. Whether a model loads is asked of the caller (ig_check) before its
 * name becomes visible. Nothing here prints. Strings in results are valid UTF-8, but may hold what a stranger wrote. */
#ifndef IG_STORE_STORE_H
#define IG_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

/* ------------------------------------------------------------------------------------------------ names */

enum { IG_NAME_MAX = 200, IG_HEX_LEN = 64, IG_FILES_MAX = 4096 };

/* SHA-256 in lower-case hexadecimal digits. */
typedef struct ig_digest {
    char hex[IG_HEX_LEN + 1];
} ig_digest;
/* "[HOST[:PORT]/][NAMESPACE/...]MODEL:TAG", the tag always written out. */
typedef struct ig_name {
    char text[IG_NAME_MAX + 1];
} ig_name;

/* The only validators of digests and names. A digest is "sha256:" or "sha256-" (or nothing) and 64 lower-case digits.
 * A name has up to four parts separated by '/', each of letters, digits, '.', '_' and '-', beginning with a letter or a
 * digit; only the first of several may have a port. Without a tag the tag is "latest". Letters keep their case, but
 * two names that differ in case alone are the same. Errors: BAD_INPUT. */
ig_status ig_digest_parse(const char *text, ig_digest *out, ig_error *err);
ig_status ig_name_parse(const char *text, ig_name *out, ig_error *err);
/* A file's name within a model: a relative path of plain parts, at most 255 bytes. */
bool ig_file_name_valid(const char *name);

/* ------------------------------------------------------------------------------------------------ manifests */

typedef enum ig_role {
    IG_ROLE_WEIGHTS,   /* a GGUF or safetensors file, or a part of one */
    IG_ROLE_PROJECTOR, /* weights for pictures or sound */
    IG_ROLE_ADAPTER,
    IG_ROLE_CONFIG, /* configuration, tokenizer and index files of a Hugging Face directory */
    IG_ROLE_OTHER,
    IG_ROLES
} ig_role;
const char *ig_role_name(ig_role role);

/* The files that make up the model at `path`: a GGUF file, all parts of a split one, or a Hugging Face directory.
 * `each` gets every file's path and its name within the model; `name` is what the model is called by default. Errors:
 * NOT_FOUND, DENIED, BAD_INPUT, TOO_LARGE, NO_MEMORY, IO, and what `each` returns, which ends it. */
typedef ig_status (*ig_model_file_fn)(void *ctx, const char *path, const char *name, ig_error *err);
ig_status ig_model_files(const char *path, ig_name *name, ig_model_file_fn each, void *ctx, ig_error *err);

/* The digest of an open file, read from its beginning; `name` for messages, `progress` (may be NULL) returns false to
 * end it, `size` (may be NULL) gets the bytes. Errors: IO, CANCELLED, NO_MEMORY. */
typedef bool (*ig_hash_progress)(void *ctx, uint64_t done, uint64_t total);
ig_status ig_hash_fd(int fd, const char *name, ig_hash_progress progress, void *ctx, ig_digest *out, uint64_t *size,
                     ig_error *err);

typedef struct ig_store_file {
    ig_role role;
    const char *name; /* as it was called at its source */
    ig_digest digest;
    uint64_t size;
} ig_store_file;

/* A model. Made by the store it owns everything it points to; filled by a caller (zeroed first) it borrows. Strings may
 * be NULL where there is nothing to say. */
typedef struct ig_manifest {
    ig_name name;
    ig_digest digest;   /* of the model: files, texts and parameters, not of its name, source or times */
    const char *format; /* "gguf", "safetensors" */
    const ig_store_file *files;
    size_t n_files;
    const char *parameters; /* JSON object */
    const char *messages;   /* JSON array: a conversation to begin with */
    const char *template;   /* instead of the file's own */
    const char *system;
    const char *licence; /* its text, or an SPDX name */
    const char *base;    /* the model that this one was made of, as its publisher says */
    const char *source;  /* where it was pulled from */
    const char *about;   /* JSON object: what the check found out (architecture, parameters, ...) */
    int64_t added_s;     /* seconds since 1970 */
    ig_arena arena;      /* of the store's own */
} ig_manifest;
uint64_t ig_manifest_bytes(const ig_manifest *m); /* sum of its files */
/* The digest of a model that is these files and nothing else. Errors: NO_MEMORY. */
ig_status ig_model_digest(const char *format, const ig_store_file *files, size_t n, ig_digest *out, ig_error *err);
void ig_manifest_free(ig_manifest *m);            /* NULL is fine; only for what the store made */
/* The chat template to be used instead of the file's own, or NULL. Images of Ollama bring templates of Go's language,
 * which no model was trained with; they are kept and shown and not used. */
const char *ig_manifest_template(const ig_manifest *m);
/* UNSUPPORTED where a file of the model cannot be applied and the model without it would be another one: an adapter. */
ig_status ig_manifest_usable(const ig_manifest *m, ig_error *err);

/* Asked before a name becomes visible: fds[i] is m->files[i], open for reading at any offset, the store's. May append a
 * JSON object to `about`. A failure is the reason why the model is refused. May be called from any thread. */
typedef struct ig_check {
    ig_status (*run)(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err);
    void *ctx;
} ig_check;

/* ------------------------------------------------------------------------------------------------ store */

typedef struct ig_store ig_store;
typedef struct ig_store_options {
    bool read_only;         /* never writes, also not a new store */
    uint64_t reserve_bytes; /* left free on the disk; 0: 64 MiB */
} ig_store_options;

/* Folder that the environment names: INGLE_STORE, else XDG_DATA_HOME/ingle, else HOME/.local/share/ingle; for root
 * /var/lib/ingle. Errors: TOO_LARGE, NOT_FOUND (no HOME). */
ig_status ig_store_place(char *out, size_t n, ig_error *err);
/* Opens the store in the folder and makes it where there is none (its parents too). Where the folder cannot be written
 * the store can be read. options may be NULL. Errors: NOT_FOUND (read-only and nothing there), DENIED, IO,
 * UNSUPPORTED (a newer ingle made it), BAD_INPUT (the folder holds something else). */
ig_status ig_store_open(const char *root, const ig_store_options *options, ig_store **out, ig_error *err);
void ig_store_close(ig_store *store);
const char *ig_store_root(const ig_store *store);
bool ig_store_is_read_only(const ig_store *store); /* asked for, or found */

/* All models, by name. A manifest that cannot be read is left out and counted. Free with ig_store_list_free. */
typedef struct ig_store_list {
    ig_manifest **models;
    size_t n, n_damaged;
    char damaged[256];       /* sentence about the first */
    ig_status first_damaged; /* IO, DENIED: it could not be read; else it is no manifest */
} ig_store_list;
ig_status ig_store_models(ig_store *store, ig_store_list *out, ig_error *err);
void ig_store_list_free(ig_store_list *list);

/* A model by name, or by the digest of the model or at least its first six digits. Errors: NOT_FOUND (names what is
 * near), BAD_INPUT (several models fit, or no name), IO. The caller frees. */
ig_status ig_store_find(ig_store *store, const char *text, ig_manifest **out, ig_error *err);

/* A blob open for reading, which is also its lease; the caller closes. Errors: NOT_FOUND, BAD_INPUT (no regular file,
 * another size or owner, or an outside file that was changed since it was taken in), IO. size may be NULL. */
ig_status ig_store_blob_open(ig_store *store, const ig_digest *digest, int *fd, uint64_t *size, ig_error *err);
/* True when the blob is there and can be opened. */
bool ig_store_blob_has(ig_store *store, const ig_digest *digest, uint64_t *size);
/* All files of a model, in order: fds [m->n_files]; all or none. */
ig_status ig_store_files_open(ig_store *store, const ig_manifest *m, int *fds, ig_error *err);

/* A blob in the making. Not thread-safe. */
typedef struct ig_blob_writer ig_blob_writer;
/* expected may be NULL (any); size 0: unknown. Errors: IO (disk full, too: nothing is left behind), DENIED. */
ig_status ig_blob_begin(ig_store *store, const ig_digest *expected, uint64_t size, ig_blob_writer **out, ig_error *err);
ig_status ig_blob_write(ig_blob_writer *w, const void *p, size_t n, ig_error *err);
/* Publishes the blob; BAD_INPUT when the digest is another than expected. The writer is freed in any case. lease (may
 * be NULL) gets a descriptor as from ig_store_blob_open; without one, garbage collection leaves a blob that nothing
 * names alone for an hour. */
ig_status ig_blob_commit(ig_blob_writer *w, ig_digest *digest, uint64_t *size, int *lease, ig_error *err);
void ig_blob_abandon(ig_blob_writer *w);
/* The same from a descriptor, read to its end from where it stands. cancel: as in ig_pull_options; may be NULL. */
ig_status ig_blob_add_fd(ig_store *store, int fd, const ig_digest *expected, ig_digest *digest, uint64_t *size,
                         int *lease, ig_error *err);

/* Makes the model visible under m->name: its blobs must be in the store (their sizes are checked). A model of that name
 * is replaced. m->digest, added_s and about are not read; *out (may be NULL) is the model as it is now. check may be
 * NULL. Errors: BAD_INPUT, NOT_FOUND (a blob), IO, and what the check says. */
ig_status ig_store_add(ig_store *store, const ig_manifest *m, const ig_check *check, ig_manifest **out, ig_error *err);
/* The same for files that the caller has open: m->files say role and name, and where they say a digest ("" if not) it
 * is demanded; fds [m->n_files] are read from where they stand to their end and stay the caller's. */
ig_status ig_store_add_fds(ig_store *store, const ig_manifest *m, const int *fds, const ig_check *check,
                           ig_manifest **out, ig_error *err);
/* A model made of another: files and whatever `changes` does not say come from it. In changes, parameters are merged
 * (null takes one away); a text "" takes the text away. Only name, parameters, messages, template, system and licence
 * are read. */
ig_status ig_store_create(ig_store *store, const char *from, const ig_manifest *changes, const ig_check *check,
                          ig_manifest **out, ig_error *err);
ig_status ig_store_copy(ig_store *store, const char *from, const char *to, ig_error *err);
/* Takes the name away, and the blobs that nothing else names or uses; freed (may be NULL) bytes. */
ig_status ig_store_remove(ig_store *store, const char *name, uint64_t *freed, ig_error *err);

/* What garbage collection would take, or took. */
typedef enum ig_waste { IG_WASTE_BLOB, IG_WASTE_REFERENCE, IG_WASTE_PARTIAL, IG_WASTE_TEMPORARY } ig_waste;
typedef struct ig_gc_options {
    bool dry_run;
    int64_t min_age_s;         /* of blobs that nothing names; -1: an hour */
    int64_t partial_min_age_s; /* of downloads that nobody goes on with; -1: a week */
    void (*each)(void *ctx, ig_waste kind, const char *what, uint64_t bytes);
    void *ctx;
} ig_gc_options;
typedef struct ig_gc_result {
    uint64_t n, bytes, n_in_use;
} ig_gc_result;
/* Errors: IO; BAD_INPUT when a manifest cannot be read (then nothing is taken: what it names is not known). */
ig_status ig_store_gc(ig_store *store, const ig_gc_options *options, ig_gc_result *out, ig_error *err);

/* Reads every blob of one model (NULL: every blob that a model names) and compares. Damaged ones are reported, and with
 * quarantine moved aside, so that a pull fetches them anew. */
typedef struct ig_verify_options {
    bool quarantine;
    void (*damaged)(void *ctx, const ig_manifest *m, const char *sentence);
    bool (*progress)(void *ctx, const char *what, uint64_t done, uint64_t total); /* false: stop */
    void *ctx;
} ig_verify_options;
typedef struct ig_verify_result {
    uint64_t n_models, n_blobs, n_damaged, bytes;
} ig_verify_result;
ig_status ig_store_verify(ig_store *store, const char *name, const ig_verify_options *options, ig_verify_result *out,
                          ig_error *err);

typedef struct ig_store_usage {
    uint64_t n_models, n_blobs;
    uint64_t blob_bytes;    /* in the store's folder; clones and links counted in full */
    uint64_t model_bytes;   /* sum over models: what they would take without sharing */
    uint64_t unused_bytes;  /* blobs that nothing names */
    uint64_t partial_bytes; /* unfinished downloads */
    uint64_t outside_bytes; /* files elsewhere that models refer to */
    uint64_t free_bytes;    /* on the disk */
} ig_store_usage;
ig_status ig_store_df(ig_store *store, ig_store_usage *out, ig_error *err);

/* ------------------------------------------------------------------------------------------------ sources */

typedef enum ig_pull_phase {
    IG_PULL_ASKING,
    IG_PULL_FETCHING,
    IG_PULL_WAITING,
    IG_PULL_VERIFYING,
    IG_PULL_CHECKING
} ig_pull_phase;
typedef struct ig_pull_progress {
    ig_pull_phase phase;
    const char *what;             /* file name, digest or address; borrowed for the call */
    const char *note;             /* a sentence to show once, or NULL */
    uint64_t done, total;         /* bytes of this file; total 0: unknown */
    uint64_t all_done, all_total; /* of the model */
    double bytes_per_s;
    ig_digest digest; /* of the file; "" when not yet known */
} ig_pull_progress;

typedef struct ig_would_pull {
    const char *model, *file;
    uint64_t size;
    bool has_size, here; /* here: the store has the file */
} ig_would_pull;
typedef struct ig_pull_options {
    const char *name;         /* NULL: from the source */
    bool no_files;            /* refuse sources on this machine (a client must not name paths) */
    bool insecure;            /* allow plain http to other machines */
    uint64_t bytes_per_s_max; /* 0: no limit */
    unsigned connections;     /* for one large file; 0: 4; a limit of bytes_per_s_max means 1 */
    uint64_t piece_bytes;     /* at least so much for each; 0: 32 MiB */
    unsigned tries;           /* per file; 0: 6 */
    unsigned first_wait_ms;   /* before the second try, doubled each time; 0: 500 */
    ig_check check;
    bool (*progress)(void *ctx, const ig_pull_progress *p); /* false: cancel; called several times a second */
    /* Not NULL: a dry run. It is told every file that the model has; nothing is loaded or written, and the store, which
     * may be NULL then, is only asked what it has. */
    void (*would)(void *ctx, const ig_would_pull *w);
    void *ctx;
} ig_pull_options;

/* Pulls a model: a file or directory, https://..., hf://ORG/REPO[@REV][:FILE or QUANT], oci://HOST/REPOSITORY[:TAG],
 * s3://BUCKET/KEY, or NAME:TAG of the Ollama registry. Blocks; progress is called from this thread. What was loaded
 * before an interruption is used. *out (may be NULL) is freed by the caller. Errors: BAD_INPUT, NOT_FOUND, DENIED,
 * TOO_LARGE, IO, CANCELLED, UNSUPPORTED. */
ig_status ig_store_pull(ig_store *store, const char *source, const ig_pull_options *options, ig_manifest **out,
                        ig_error *err);

/* Takes the models of an Ollama store in, without a second copy of their files where that can be done: shared blocks,
 * else a hard link to a file that only its owner (this user) can change, else a reference to the file where it lies.
 * each: called for every model, with the reason where it was left out. path NULL: where Ollama puts it. */
typedef struct ig_import_options {
    ig_pull_options pull; /* check, progress; name: only the model of that name */
    bool copy;            /* copy rather than refer */
    void (*each)(void *ctx, const char *name, const ig_manifest *m, const char *why_not);
    void *ctx;
} ig_import_options;
typedef struct ig_import_result {
    uint64_t n_models, n_refused, cloned_bytes, linked_bytes, referred_bytes, copied_bytes, present_bytes;
} ig_import_result;
ig_status ig_store_import(ig_store *store, const char *path, const ig_import_options *options, ig_import_result *out,
                          ig_error *err);

/* Puts a model into a registry, to = "oci://HOST[:PORT]/REPOSITORY[:TAG]". Blobs that are there are not sent; an upload
 * that breaks goes on where the registry says. The form is "ollama" (the standard for GGUF: carries everything a
 * manifest holds), "docker" or "modelpack" (CNCF; the standard for directories). Blocks. Errors: as of pulling. */
typedef struct ig_push_options {
    ig_pull_options pull; /* insecure, no_files, first_wait_ms, progress, ctx */
    const char *form;     /* NULL: the standard */
    bool dry_run;         /* ask what is there, send nothing; the result says what would be sent, and has no digest */
} ig_push_options;
typedef struct ig_push_result {
    uint64_t sent_bytes, present_bytes;
    ig_digest digest; /* of the image */
} ig_push_result;
ig_status ig_store_push(ig_store *store, const char *name, const char *to, const ig_push_options *options,
                        ig_push_result *out, ig_error *err);

/* Copies a model's files out: into a folder (a path that ends in '/' or is one), with its manifest as ingle.json, or as
 * one file. Existing files are kept unless `replace`. *out (may be NULL): the model. */
typedef struct ig_export_options {
    bool replace;
    bool (*progress)(void *ctx, const ig_pull_progress *p);
    void *ctx;
} ig_export_options;
ig_status ig_store_export(ig_store *store, const char *name, const char *path, const ig_export_options *options,
                          ig_manifest **out, ig_error *err);

/* The table of sources: name, form and one line about each; NULL past the last. */
typedef struct ig_source_info {
    const char *name, *form, *about;
} ig_source_info;
const ig_source_info *ig_store_source(size_t i);

#endif
