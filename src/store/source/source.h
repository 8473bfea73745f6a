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
    ig_manifest m;        /* texts, format, default name */
    const char *bearer;   /* token for the first host of every address, or NULL; never shown */
    struct ig_auth *auth; /* or this */
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
bool ig_asker_wait(ig_asker *a, const char *what, unsigned ms); /* in short steps; false: cancelled */

typedef struct ig_source {
    ig_source_info info;
    bool (*fits)(const char *address);
    ig_status (*plan)(ig_asker *a, const char *address, ig_plan *out, ig_error *err);
} ig_source;
const ig_source *ig_source_find(const char *address);
extern const ig_source ig_source_file, ig_source_https, ig_source_hub, ig_source_ollama, ig_source_oci, ig_source_s3;

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
/* Part `index` of `n` as in NAME-00001-of-00003.gguf; stem_len is the length of NAME. False, and nothing set: no split
 * file. */
bool ig_split_name(const char *name, unsigned *index, unsigned *n, size_t *stem_len);
/* Belongs to a Hugging Face directory with safetensors; sets the role. */
bool ig_directory_file(const char *name, ig_role *role);

/* ---- where a transfer may lead (guard.c) */
typedef enum ig_reach { IG_REACH_PUBLIC, IG_REACH_PRIVATE, IG_REACH_SELF, IG_REACH_LINK } ig_reach;
struct sockaddr;
struct ig_http_request;
ig_reach ig_reach_of(const struct sockaddr *a);
/* Before a hop: https unless insecure, never back from https, and for clients of the service the hosts that may be
 * asked. DENIED. */
ig_status ig_guard_url(const struct ig_http_request *r, const char *url, unsigned hop, ig_error *err);
/* Before a connection: a redirect leads no nearer to this machine than the first address was, and never to a
 * link-local one; a client of the service reaches no private address that its environment does not name. DENIED. */
ig_status ig_guard_address(const struct ig_http_request *r, const char *url, unsigned hop, ig_reach first,
                           ig_reach here, ig_error *err);
bool ig_url_has_origin(const char *url, const char *origin);
bool ig_url_proxied(void); /* the environment names a proxy */

/* ---- who asks (auth.c): a proof that belongs to one origin */
struct ig_s3_key;
typedef struct ig_auth {
    char origin[300];           /* gets it; no other does */
    const char *value;          /* of Authorization, or NULL; in the arena */
    const struct ig_s3_key *s3; /* or this signs every request */
    const char *basic;          /* "Basic ..." for the server of tokens, or NULL */
    const char *scope;          /* asked for where the challenge names none */
    bool address;               /* a plain address, no registry: there are no tokens */
    ig_arena *arena;
} ig_auth;
/* Answers the challenge of a 401: a token from the server that it names, when that is the registry's own host or one
 * that is allowed (the pairs of the table, INGLE_REGISTRY_AUTH_HOSTS); or name and password, where they are known.
 * DENIED when nothing is left to try. */
ig_status ig_auth_renew(ig_asker *a, ig_auth *auth, const char *challenge, ig_error *err);
/* Name and password for a registry host from REGISTRY_AUTH_FILE, DOCKER_CONFIG/config.json or ~/.docker/config.json;
 * "Basic ..." in the arena, NULL where there are none. DENIED for a file that others may read. */
ig_status ig_auth_stored(const char *host, ig_arena *arena, const char **basic, ig_error *err);
/* NAME:PASSWORD of the key "ingle:HOST" (type user) in the kernel's keyring; false where there is none. */
bool ig_auth_keyring(const char *host, ig_arena *arena, const char **basic);
/* The same for a plain address, else of NETRC or ~/.netrc: what plan->auth is to be. DENIED for a file that others may
 * read, and for an address that is not https. */
ig_status ig_auth_address(const char *url, ig_plan *plan, ig_error *err);
/* A host's entry in a file of netrc's form; *basic NULL where it has none. BAD_INPUT. */
ig_status ig_netrc_parse(ig_str text, const char *host, ig_arena *arena, const char **basic, ig_error *err);
/* Parses `Bearer realm="...",service="...",scope="..."`; absent members are "". False: it is no such thing. */
typedef struct ig_challenge {
    char realm[512], service[256], scope[512];
} ig_challenge;
bool ig_challenge_parse(const char *text, ig_challenge *out);
/* The entry of a host in Docker's configuration. */
ig_status ig_auth_parse(ig_str text, const char *host, ig_arena *arena, const char **basic, ig_error *err);
typedef ig_status ig_auth_parser(ig_str text, const char *host, ig_arena *arena, const char **basic, ig_error *err);
/* Reads a file of passwords of at most max bytes for a host and wipes what was read; no such file: *basic as it was.
 * DENIED where it has a password and others may read it. */
ig_status ig_auth_file(const char *path, size_t max, ig_auth_parser *parse, const char *host, ig_arena *arena,
                       const char **basic, ig_error *err);

/* ---- S3 (sigv4.c, s3.c) */
typedef struct ig_s3_key {
    char id[160], secret[160], region[64];
    const char *token; /* of a session, or NULL */
} ig_s3_key;
typedef struct ig_sigv4 {
    const char *method, *host, *path, *query; /* path and query percent-encoded; query without '?' */
    const char *region, *service, *date;      /* date: 20150830T123600Z */
    const char *payload;                      /* SHA-256 of the body, or UNSIGNED-PAYLOAD */
    const char *(*headers)[2];                /* further ones to sign: lower-case name, value; host is added */
    size_t n_headers;
    const char *id, *secret;
} ig_sigv4;
enum { IG_SIGV4_HEADERS_MAX = 16 };
/* The value of Authorization. Errors: TOO_LARGE. canonical (may be NULL): the canonical request, for tests. */
ig_status ig_sigv4_sign(const ig_sigv4 *in, ig_buf *canonical, ig_buf *out, ig_error *err);
/* Headers of one request. payload: SHA-256 of its body, which is kept with the object; NULL: no body. False: too long.
 */
bool ig_s3_sign(const ig_s3_key *key, const char *method, const char *url, const char *payload, int64_t now_s,
                void (*add)(void *ctx, const char *name, const char *value), void *ctx);
/* What lies below s3://BUCKET/PREFIX: its address without a slash at the end, and who asks; both live as the plan does.
 */
ig_status ig_s3_open(const char *address, ig_plan *plan, const char **base, ig_auth **auth, ig_error *err);
/* One page of ListObjectsV2. next: continuation token, "" on the last page. */
typedef struct ig_s3_listing {
    bool truncated;
    char next[1200];
} ig_s3_listing;
ig_status ig_s3_read_listing(ig_str xml, bool (*each)(void *ctx, const char *key, uint64_t size), void *ctx,
                             ig_s3_listing *out, ig_error *err);
/* A member of a section of an INI file as the AWS tools write it. */
bool ig_ini_find(ig_str text, const char *section, const char *key, char *out, size_t n);

/* ---- transport (http.c): libcurl, opened when it is needed */
typedef struct ig_http ig_http;
typedef struct ig_http_reply {
    long status;
    char etag[160], next[IG_URL_MAX]; /* Link: <...>; rel="next" */
    char location[IG_URL_MAX], challenge[1400], digest[80], sha256[80], sha256_base64[80];
    uint64_t range_from, range_total; /* of a 206 */
    bool has_length, has_uploaded, ranges;
    uint64_t length;   /* of the body */
    uint64_t uploaded; /* bytes of an upload that are there */
    unsigned retry_after_s;
} ig_http_reply;
typedef struct ig_http_request {
    const char *method; /* NULL: GET */
    const char *url, *accept, *bearer;
    ig_auth *auth;
    uint64_t from, to; /* Range: bytes=from- or from-(to-1) when one is above 0 */
    const char *if_range;
    uint64_t bytes_per_s_max;
    bool insecure, guarded; /* guarded: for a client of the service */
    bool no_redirect;
    const char *content_type, *content_range;
    const char *payload; /* SHA-256 of what is sent, where S3 wants it signed */
    /* Body to send: n bytes from an offset; false: it cannot be read. */
    bool (*send)(void *ctx, void *p, size_t n, uint64_t at);
    uint64_t n_send;
    /* Before the first byte of a 2xx body, and for every piece; a failure ends the transfer with its error. */
    ig_status (*head)(void *ctx, const ig_http_reply *reply, ig_error *err);
    ig_status (*body)(void *ctx, const void *p, size_t n, ig_error *err);
    bool (*tick)(void *ctx); /* several times a second; false: CANCELLED */
    void *ctx;
} ig_http_request;
ig_status ig_http_new(ig_http **out, ig_error *err); /* UNSUPPORTED without libcurl */
void ig_http_free(ig_http *h);
/* One transfer; GET and HEAD follow redirects, judged hop by hop. Credentials go to their origin alone. IG_OK: 2xx.
 * Errors: NOT_FOUND (404, 410), DENIED (401, 403, what the guard refuses), BAD_INPUT (other 4xx), CANCELLED, IO
 * (network, 429, 5xx: *again is true then). */
ig_status ig_http_run(ig_http *h, const ig_http_request *r, ig_http_reply *reply, bool *again, ig_error *err);
/* A small document, tried a few times; a 401 is answered once by ig_auth_renew. Callbacks of the request are not used.
 */
ig_status ig_http_document(ig_asker *a, const ig_http_request *request, size_t bytes_max, ig_buf *out,
                           ig_http_reply *reply, ig_error *err);
ig_status ig_http_get(ig_asker *a, const char *url, const char *accept, const char *bearer, size_t bytes_max,
                      ig_buf *out, ig_http_reply *reply, ig_error *err);
/* How long to wait before a next try: between half and one and a half of wait_ms, at least what the server asks for, at
 * most half a minute. And the wait of the try behind that. */
unsigned ig_wait_ms(unsigned wait_ms, unsigned retry_after_s);
unsigned ig_wait_longer(unsigned wait_ms);

/* ---- images (image.c). Bytes to a plan, for the fuzz target too: layers are had from base_url/DIGEST, or, where that
 * is NULL, from the folder `blobs`. config may be NULL. */
typedef struct ig_image_config {
    bool model_pack; /* and then the configuration's digest and size */
    ig_digest digest;
    uint64_t size;
} ig_image_config;
ig_status ig_image_plan(ig_str text, const char *base_url, const char *blobs, ig_plan *plan, ig_image_config *config,
                        ig_error *err);
/* The licences that a ModelPack configuration names, where the plan has none yet. */
ig_status ig_image_licences(ig_str text, ig_plan *plan, ig_error *err);
/* The images of an index that may be models, those for this machine first; at most max. */
ig_status ig_image_index(ig_str text, ig_digest *out, size_t max, size_t *n, bool *is_index, ig_error *err);

/* ---- registries (oci.c; the reference itself in name.c) */
typedef struct ig_image_ref {
    char host[280], repository[256], tag[130]; /* tag "" when there is a digest alone */
    bool has_digest;
    ig_digest digest;
} ig_image_ref;
/* HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]; without tag and digest the tag is latest. BAD_INPUT. */
ig_status ig_image_ref_parse(const char *text, ig_image_ref *out, ig_error *err);
typedef struct ig_registry {
    ig_image_ref ref;
    char base[300]; /* "https://host[:port]" */
    ig_auth auth;
} ig_registry;
/* Finds out how the registry is spoken to; actions: "pull" or "pull,push". */
ig_status ig_registry_open(ig_asker *a, const char *address, const char *actions, ig_arena *arena, ig_registry *r,
                           ig_error *err);

/* One manifest of any kind by digest or, where `wanted` is NULL, by tag, verified; *got: its digest. */
ig_status ig_registry_manifest(ig_asker *a, ig_registry *r, const ig_digest *wanted, ig_buf *body, ig_digest *got,
                               ig_error *err);
/* Puts small files as one artifact under a tag (push.c): what is there is not sent again; the tag changes at once. */
typedef struct ig_registry_file {
    char title[256];
    char *text; /* owned by whoever made it */
    size_t n;
} ig_registry_file;
ig_status ig_registry_put_files(ig_asker *a, ig_registry *r, const char *artifact, const char *media,
                                const ig_registry_file *files, size_t n, ig_error *err);

/* The listing of a repository (one page); want: quantisation, file or NULL. Addresses are paths. */
ig_status ig_hub_plan(ig_str listing, const char *want, ig_plan *plan, ig_error *err);

/* The hub's own cache on this machine (hub_local.c): holds models--ORG--REPO; takes all of it over. */
bool ig_hub_is_cache(const char *root);
ig_status ig_hub_import(ig_asker *a, const char *root, const ig_import_options *o, ig_import_result *out,
                        ig_error *err);

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
