/* Private to src/store: what a source is. It reads an address and makes a plan: which files make up the model, where
 * each is to be had, what is known about it. Fetching, verifying, checking and adding are the same for all (pull.c). A
 * new source is a file with one ig_source, and a line in table.c. */
#ifndef IG_STORE_SOURCE_H
#define IG_STORE_SOURCE_H

#include "store/inner.h"

enum { IG_URL_MAX = 2048, IG_LISTING_BYTES_MAX = 32 << 20, IG_REDIRECTS_MAX = 10 };

/* One file of a plan. Strings lie in the plan's arena. */
typedef struct ig_item {
    ig_role role;
    const char *name;
    const char *url;   /* NULL: only where `local` says */
    const char *local; /* absolute path of a file that is this one, or NULL */
    ig_take take;
    bool has_digest, has_size;
    ig_digest digest;
    uint64_t size;
    char sha1[41];     /* git's, where nothing better is known; or "" */
    const char **text; /* not NULL: no file, but a text of plan->m, which goes there */
} ig_item;

typedef struct ig_plan {
    ig_arena arena;
    ig_item *items; /* in the arena, [cap] */
    size_t n, cap;
    ig_manifest m;      /* texts, format, default name */
    const char *bearer; /* token for the first host of every address, or NULL; never shown */
} ig_plan;
ig_status ig_plan_add(ig_plan *plan, const ig_item *item, ig_error *err); /* copies the item, not its strings */
const char *ig_plan_text(ig_plan *plan, const char *text);                /* a copy; NULL without memory or text */
const char *ig_plan_printf(ig_plan *plan, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct ig_http;
typedef struct ig_asker {
    ig_store *store;
    const ig_pull_options *o;
    struct ig_http *http; /* made when first needed: ig_asker_http */
} ig_asker;
ig_status ig_asker_http(ig_asker *a, ig_error *err);
/* Tells the caller; false: cancelled. */
bool ig_asker_note(ig_asker *a, ig_pull_phase phase, const char *what, const char *note);

typedef struct ig_source {
    ig_source_info info;
    bool (*fits)(const char *address);
    ig_status (*plan)(ig_asker *a, const char *address, ig_plan *out, ig_error *err);
} ig_source;
const ig_source *ig_source_find(const char *address);
extern const ig_source ig_source_file, ig_source_https, ig_source_hub, ig_source_ollama;

/* ---- addresses (url.c) */
/* "https://host[:port]" of an address into out; false when it is none of http or https, or too long. */
bool ig_url_origin(const char *url, char *out, size_t n);
bool ig_url_is_secure(const char *url); /* https, or http to this machine */
/* Percent-encodes what does not belong into a path (slashes stay). */
bool ig_url_escape(const char *path, char *out, size_t n);
/* Endpoint of an environment variable without the slash at its end, or the standard one. */
const char *ig_endpoint(const char *variable, const char *standard, char *out, size_t n);
/* A model name made of any text: what does not belong becomes '-'. */
ig_status ig_name_from(const char *text, ig_name *out, ig_error *err);

/* ---- which files make up a model (file.c) */
bool ig_ends(const char *text, const char *tail); /* without regard to case */
/* Part `index` of `n` as in NAME-00001-of-00003.gguf; stem_len is the length of NAME. False: no split file. */
bool ig_split_name(const char *name, unsigned *index, unsigned *n, size_t *stem_len);
/* Belongs to a Hugging Face directory with safetensors; sets the role. */
bool ig_directory_file(const char *name, ig_role *role);

/* ---- transport (http.c): libcurl, opened when it is needed */
typedef struct ig_http ig_http;
typedef struct ig_http_reply {
    long status;
    char etag[160], next[IG_URL_MAX]; /* Link: <...>; rel="next" */
    uint64_t range_from, range_total; /* of a 206 */
    bool has_length;
    uint64_t length; /* of the body */
    unsigned retry_after_s;
} ig_http_reply;
typedef struct ig_http_request {
    const char *url, *accept, *bearer;
    uint64_t from; /* Range: bytes=from- when above 0 */
    const char *if_range;
    uint64_t bytes_per_s_max;
    bool insecure;
    /* Before the first byte of a 2xx body, and for every piece; a failure ends the transfer with its error. */
    ig_status (*head)(void *ctx, const ig_http_reply *reply, ig_error *err);
    ig_status (*body)(void *ctx, const void *p, size_t n, ig_error *err);
    bool (*tick)(void *ctx); /* several times a second; false: CANCELLED */
    void *ctx;
} ig_http_request;
ig_status ig_http_new(ig_http **out, ig_error *err); /* UNSUPPORTED without libcurl */
void ig_http_free(ig_http *h);
/* One transfer with redirects; credentials go to the first host alone. IG_OK: 2xx. Errors: NOT_FOUND (404, 410), DENIED
 * (401, 403), BAD_INPUT (other 4xx), CANCELLED, IO (network, 429, 5xx: *again is true then). */
ig_status ig_http_run(ig_http *h, const ig_http_request *r, ig_http_reply *reply, bool *again, ig_error *err);
/* A small document, tried a few times. */
ig_status ig_http_get(ig_asker *a, const char *url, const char *accept, const char *bearer, size_t bytes_max,
                      ig_buf *out, ig_http_reply *reply, ig_error *err);

/* Bytes to a plan, for the fuzz target too. An image manifest of Ollama: layers are had from base_url/DIGEST, or, where
 * that is NULL, from the folder `blobs`. */
ig_status ig_ollama_plan(ig_str text, const char *base_url, const char *blobs, ig_plan *plan, ig_error *err);
/* The listing of a repository (one page); want: quantisation, file or NULL. Addresses are paths. */
ig_status ig_hub_plan(ig_str listing, const char *want, ig_plan *plan, ig_error *err);

/* Fetches one item into the store (pull.c). */
typedef struct ig_totals {
    uint64_t done, total;
} ig_totals;
ig_status ig_fetch(ig_asker *a, const ig_plan *plan, const ig_item *item, ig_totals *totals, ig_taken *out,
                   ig_error *err);
/* A text layer of at most IG_TEXT_BYTES_MAX bytes, verified; *text in the plan's arena. */
ig_status ig_fetch_text(ig_asker *a, ig_plan *plan, const ig_item *item, const char **text, ig_error *err);
/* Fetches all, checks and adds. */
ig_status ig_plan_run(ig_asker *a, ig_plan *plan, ig_import_result *counts, ig_manifest **out, ig_error *err);

#endif
