/* Catalogues as strangers publish them. The first byte chooses: '0' to '3' one document (root, timestamp, snapshot,
 * targets); '4' an update: parts that begin with a line "=NAME" hold what is signed, and are signed here with a fixed
 * key, so that the fuzzer gets behind the signatures; the part "=pin" is the trusted root. '5' the custom part of a
 * target, '6' a key and a model signature, '7' the artifact of a registry that holds a catalogue. What is accepted must
 * keep its canonical form, and what is in force must be signed and in time. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "serve/serve.h"
#include "store/catalogue/tuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTS_MAX = 16, NOW = 1795258222 };

static void judge(ig_status st, const ig_error *e)
{
    if (st != IG_OK && (!e->text[0] || st == IG_BUG)) abort();
}

static void read_doc(ig_tuf_type type, ig_str text)
{
    ig_doc *d, *again;
    ig_error e = {0};
    ig_status st = ig_doc_read(type, NULL, text, &d, &e);
    judge(st, &e);
    if (st != IG_OK) return;
    if (d->version == 0 || d->version > IG_TUF_VERSION_MAX) abort();
    char *dump = json_dumps(d->all, JSON_COMPACT);
    if (!dump) abort();
    /* the escapes of JSON may make it longer than what came in */
    if (strlen(dump) <= ig_tuf_bytes_max[type]) {
        if (ig_doc_read(type, NULL, ig_str_from(dump), &again, &e) != IG_OK) abort();
        if (again->canon.len != d->canon.len || memcmp(again->canon.ptr, d->canon.ptr, d->canon.len)) abort();
        ig_doc_free(again);
    }
    free(dump);
    if (type == IG_TUF_ROOT) (void)ig_doc_verify(d, "root", d, "", &e);
    ig_doc_free(d);
}

/* ------------------------------------------------------------------------------------------------ updates */

typedef struct parts {
    char *name[PARTS_MAX];
    ig_buf text[PARTS_MAX];
    size_t n;
} parts;

/* {"signatures": [one by the fixed key, under every id that could be meant], "signed": TEXT} */
static void sign_part(parts *p, const char *name, const char *text)
{
    static const unsigned char seed[32] = {7};
    ig_tuf_key k = {.private = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed)};
    unsigned char raw[IG_SIGNATURE_BYTES];
    char hex[2 * IG_SIGNATURE_BYTES + 1] = "";
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    ig_buf canon, *out = &p->text[p->n];
    if (j && ig_canon_write("fuzz", j, &canon, NULL) == IG_OK) {
        if (ig_key_sign(&k, canon.ptr, canon.len, raw, NULL) == IG_OK) ig_hex_write(raw, sizeof raw, hex);
        ig_buf_fini(&canon);
    }
    json_decref(j);
    EVP_PKEY_free(k.private);
    ig_buf_init(out, 1 << 20);
    p->name[p->n++] = strdup(name);
    ig_buf_printf(out, "{\"signatures\":[{\"keyid\":\"k\",\"sig\":\"%s\"}],\"signed\":%s}", hex, text);
}

static void split(char *text, parts *p)
{
    for (char *at = strchr(text, '='); at && p->n < PARTS_MAX;) {
        char *name = at + 1, *line = strchr(name, '\n');
        if (!line) return;
        *line = 0;
        char *next = strstr(line + 1, "\n=");
        if (next) *next++ = 0;
        sign_part(p, name, line + 1);
        at = next;
    }
}

static ig_status fetch(void *ctx, const char *name, size_t bytes_max, ig_buf *out, ig_error *err)
{
    const parts *p = ctx;
    ig_buf_init(out, bytes_max);
    for (size_t i = 0; i < p->n; i++) {
        if (strncmp(name, "metadata/", 9) != 0 || strcmp(name + 9, p->name[i]) != 0) continue;
        if (p->text[i].len > bytes_max) return ig_fail(err, IG_TOO_LARGE, 0, "too large");
        return ig_buf_add(out, p->text[i].ptr, p->text[i].len) ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "no memory");
    }
    return ig_fail(err, IG_NOT_FOUND, 0, "not there");
}

/* Policy comes to the same decision with what the service makes of the catalogue. Ids of groups (gid:, dn:) are
 * policy's alone. */
static void check_policy(const ig_grants *g, const ig_assignment *a)
{
    const ig_group groups[] = {{"eng", ""}, {"a", ""}};
    ig_caller who = {.known = true, .has_uid = true, .uid = 1000, .account = "bob", .groups = groups, .n_groups = 2};
    ig_ask ask = {.model = {.name = a->target->name}, .machine = "desk-1"};
    ig_policy p = {.configured = true};
    ig_grant *picked = NULL;
    ig_decision d;
    size_t cap = 0;
    if (!ig_grants_pick(&g, 1, ask.model.name, NULL, &picked, &cap, &p.n_assignments)) abort();
    p.assignments = picked;
    ig_policy_decide(&p, &who, &ask, &d, NULL);
    if (d.allowed != (a->state != IG_ASSIGNED_DENIED)) abort();
    if (!d.allowed && !*d.rule) abort();
    ig_free(picked);
}

static void check_catalogue(const ig_catalogue *c)
{
    ig_grants g;
    bool good = ig_grants_of(c, "fuzz", false, &g, NULL) == IG_OK;
    static const char *const groups[] = {"eng", "a"};
    ig_who who = {"bob", 1000, {groups, 2}, "desk-1"};
    ig_name name;
    for (size_t i = 0; i < c->n_targets; i++) {
        const ig_catalogue_target *t = &c->targets[i];
        ig_assignment a = ig_catalogue_decide(c, t, &who);
        if (a.state >= IG_ASSIGNED_STATES || !a.rule || a.target != t) abort();
        if (good) check_policy(&g, &a);
        if (ig_name_parse(t->name, &name, NULL) != IG_OK || !t->digest || t->n_files == 0) abort();
        if (ig_catalogue_find(c, t->name) == NULL) abort();
    }
    if (good) ig_grants_free(&g);
}

static void run_update(char *text)
{
    parts p = {0};
    ig_tuf t = {0};
    ig_error e = {0};
    ig_catalogue *c = NULL;
    ig_origin from = {fetch, &p};
    split(text, &p);
    for (size_t i = 0; i < p.n; i++) {
        if (strcmp(p.name[i], "pin") != 0) continue;
        ig_str pin = {p.text[i].ptr ? p.text[i].ptr : "", p.text[i].len};
        ig_status st = ig_tuf_update(&t, -1, &from, pin, NOW, &e);
        judge(st, &e);
        if (st == IG_OK) {
            if (t.root->expires_s <= NOW || t.timestamp->expires_s <= NOW || t.targets->expires_s <= NOW) abort();
            if (ig_doc_verify(t.root, "targets", t.targets, "", NULL) != IG_OK) abort();
            e.text[0] = 0;
            st = ig_content_read(&t, "fuzz", NOW, &c, &e);
            judge(st, &e);
            if (st == IG_OK) check_catalogue(c);
            ig_catalogue_free(c);
        }
        ig_tuf_fini(&t);
        break;
    }
    for (size_t i = 0; i < p.n; i++) {
        free(p.name[i]);
        ig_buf_fini(&p.text[i]);
    }
}

static void read_custom(ig_str text)
{
    json_t *j;
    ig_error e = {0};
    if (ig_store_json("fuzz", text, 10000, &j, &e) != IG_OK) return;
    judge(ig_content_check("a=1.json", j, &e), &e);
    e.text[0] = 0;
    judge(ig_content_check_rules(j, &e), &e);
    json_decref(j);
}

/* A key and a bundle, separated by an empty line. */
static void read_bundle(ig_str text)
{
    static const ig_store_file file = {IG_ROLE_WEIGHTS, "a.gguf", {"00"}, 3};
    ig_manifest m = {.files = &file, .n_files = 1};
    ig_error e = {0};
    const char *end = memmem(text.ptr, text.len, "\n\n", 2);
    if (!end) return;
    size_t n = (size_t)(end - text.ptr);
    judge(ig_bundle_verify((ig_str){end + 2, text.len - n - 2}, (ig_str){text.ptr, n}, &m, &e), &e);
}

/* Every layer that has a title can be found, or is refused. */
static void read_artifact(ig_str text)
{
    json_t *image = NULL;
    ig_digest digest;
    ig_error e = {0};
    uint64_t size;
    ig_status st = ig_catalogue_image_read(text, &image, &e);
    judge(st, &e);
    if ((st == IG_OK) != (image != NULL)) abort();
    if (image && ig_catalogue_image_find(image, "metadata/timestamp.json", &digest, &size) &&
        ig_digest_parse(digest.hex, &(ig_digest){0}, NULL) != IG_OK)
        abort();
    json_decref(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    char *text = malloc(size);
    if (!text) return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    ig_str s = {text, size - 1};
    if (data[0] >= '0' && data[0] <= '3') read_doc((ig_tuf_type)(data[0] - '0'), s);
    if (data[0] == '4') run_update(text);
    if (data[0] == '5') read_custom(s);
    if (data[0] == '6') read_bundle(s);
    if (data[0] == '7') read_artifact(s);
    free(text);
    return 0;
}
