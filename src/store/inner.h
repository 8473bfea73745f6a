/* Private to src/store: the folder, hashing, bounded JSON, manifests as text.
 *
 *   ROOT/ingle-store           "1\n": version of the layout
 *   ROOT/lock                  taken shared or exclusively while names change or garbage is collected
 *   ROOT/blobs/ab/ab12...      files, read-only, named by their SHA-256
 *   ROOT/refs/ab12...json      a file elsewhere that stands for the blob
 *   ROOT/names/NAME.json       manifests; '/' is written '%', ':' '=', letters in lower case
 *   ROOT/parts/                downloads (KEY.part, KEY.json) and blobs in the making (new-*.part)
 *   ROOT/damaged/              what verify moved aside */
#ifndef IG_STORE_INNER_H
#define IG_STORE_INNER_H

#include <jansson.h>
#include <sys/stat.h>

#include "base/str.h"
#include "store.h"

enum {
    IG_MANIFEST_BYTES_MAX = 8 << 20,
    IG_TEXT_BYTES_MAX = 1 << 20, /* template, system prompt, licence */
    IG_STORE_VERSION = 1,
    IG_MODELS_MAX = 100000
};

struct ig_store {
    char *root;
    int root_fd, blobs_fd, refs_fd, names_fd, parts_fd;
    bool read_only;
    uint64_t reserve_bytes;
    uid_t owner;
    char why_read_only[128];
};

/* ---- folder */
ig_status ig_store_writable(const ig_store *s, ig_error *err);
/* Takes the store's lock; waits. The descriptor is closed to let go; -1 on failure. */
ig_status ig_store_lock(ig_store *s, bool exclusive, int *fd, ig_error *err);
/* "blobs/ab/<hex>" relative to blobs_fd: "ab/<hex>". */
void ig_blob_place(const ig_digest *d, char out[3 + IG_HEX_LEN + 1]);
/* Makes blobs/ab where it is missing. */
bool ig_blob_folder(ig_store *s, const ig_digest *d);
/* Moves the file `from` of parts/ (open as fd, whole, its digest known) to its place: sync, rename, sync. An existing
 * blob wins. All with the store's lock, so that neither gc nor another publisher comes between: *lease_fd (may be NULL)
 * is of what has the name then. fd is locked shared afterwards. */
ig_status ig_blob_publish(ig_store *s, int fd, const char *from, const ig_digest *d, int *lease_fd, uint64_t *size,
                          ig_error *err);
/* Makes sure that the entries of these blobs are on the disk: who finds a blob does not know whether the one who put it
 * there lived long enough to sync its folder. Before a manifest names them. */
ig_status ig_blobs_settle(ig_store *s, const ig_store_file *files, size_t n, ig_error *err);
/* A new file in parts/, locked, with room for size bytes (0: unknown). */
ig_status ig_part_new(ig_store *s, uint64_t size, char file[32], int *fd, ig_error *err);
/* Sets room aside for an open file of parts/; IO with ENOSPC where there is not enough (M06). */
ig_status ig_part_room(ig_store *s, int fd, uint64_t size, ig_error *err);
ig_status ig_disk_failed(ig_store *s, int e, const char *doing, const char *what, ig_error *err);
/* Calls each entry of the folder; false from `each` ends the walk. Entries "." and ".." are left out. */
ig_status ig_folder_walk(int dir, const char *name, bool (*each)(void *ctx, int dir, const char *entry), void *ctx,
                         ig_error *err);

/* ---- hashing */
typedef struct ig_sha ig_sha;
ig_sha *ig_sha_new(void); /* SHA-256; NULL without memory */
void ig_sha_add(ig_sha *h, const void *p, size_t n);
void ig_sha_end(ig_sha *h, ig_digest *out); /* frees */
void ig_sha_free(ig_sha *h);
bool ig_sha_text(const void *p, size_t n, ig_digest *out);
/* SHA-1 of a git blob: "blob SIZE\0" and the content of the file. */
bool ig_sha1_git(int fd, uint64_t size, char hex[41]);

/* Reads the descriptor to its end, as ig_blob_add_fd. */
ig_status ig_blob_copy(ig_store *s, int fd, const ig_digest *expected, ig_hash_progress progress, void *ctx,
                       ig_digest *digest, uint64_t *size, int *lease_fd, ig_error *err);

/* ---- JSON of strangers: depth at most 32, n_values_max values, valid UTF-8, no duplicate keys */
ig_status ig_store_json(const char *what, ig_str text, size_t n_values_max, json_t **out, ig_error *err);
/* Text of a member, NULL when absent or of another type. Borrowed. */
const char *ig_json_text(const json_t *object, const char *key);
bool ig_json_size(const json_t *object, const char *key, uint64_t *out); /* a number from 0 */
char *ig_json_dump(const json_t *j);                                     /* canonical; freed by ig_free */

/* ---- manifests */
/* Reads the text of a manifest, whole and checked; what: its name in messages. */
ig_status ig_manifest_read(const char *what, ig_str text, ig_manifest **out, ig_error *err);
/* Text of m, with m's digest computed. The caller frees *text. */
ig_status ig_manifest_write(const ig_manifest *m, ig_digest *digest, char **text, ig_error *err);
ig_status ig_manifest_check(const ig_manifest *m, ig_error *err);
/* The file name of a name: at most IG_NAME_MAX + 5 bytes. */
void ig_name_file(const ig_name *name, char out[IG_NAME_MAX + 8]);
ig_status ig_manifest_load(ig_store *s, const char *file, ig_manifest **out, ig_error *err);
ig_status ig_manifest_save(ig_store *s, const ig_manifest *m, int lock, ig_manifest **out, ig_error *err);

/* Removes blobs of the list that nothing names or uses; the lock is held. */
ig_status ig_collect_files(ig_store *s, const ig_store_file *files, size_t n, uint64_t *freed, ig_error *err);

/* ---- taking in files that lie on this machine */
typedef enum ig_take { IG_TAKE_COPY, IG_TAKE_LINK, IG_TAKE_REFER } ig_take; /* each allows what stands before it */
typedef enum ig_took { IG_TOOK_PRESENT, IG_TOOK_CLONE, IG_TOOK_LINK, IG_TOOK_REFERENCE, IG_TOOK_COPY } ig_took;
typedef struct ig_taken {
    ig_digest digest;
    uint64_t size;
    int lease; /* the caller's */
    ig_took how;
} ig_taken;
/* Takes the file in, verified against expected where that is given. path: absolute, for references. */
ig_status ig_take_file(ig_store *s, int fd, const char *path, ig_take how, const ig_digest *expected,
                       ig_hash_progress progress, void *ctx, ig_taken *out, ig_error *err);

#endif
