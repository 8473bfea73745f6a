/* ingle push: a model of the store into a registry. Layers that are there are not sent again; a layer goes up in pieces
 * and goes on where the registry says that it stands; at the end the registry is asked what it has under the digest. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/os.h"
#include "store/source/source.h"

enum { PIECE_BYTES = 32 << 20, TRIES = 6, WAIT_MS = 500, TELL_MS = 100, LAYERS_MAX = IG_FILES_MAX + 8 };
#define OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define CNCF            "application/vnd.cncf.model."
#define DOCKER_AI       "application/vnd.docker.ai."
#define OLLAMA          "application/vnd.ollama.image."

/* ------------------------------------------------------------------------------------------------ media types */

typedef enum text_kind { TEXT_TEMPLATE, TEXT_SYSTEM, TEXT_PARAMETERS, TEXT_MESSAGES, TEXT_LICENCE, TEXTS } text_kind;

static const struct {
    size_t at;
    const char *name;
} texts[TEXTS] = {{offsetof(ig_manifest, template), "template"},
                  {offsetof(ig_manifest, system), "system"},
                  {offsetof(ig_manifest, parameters), "params"},
                  {offsetof(ig_manifest, messages), "messages"},
                  {offsetof(ig_manifest, licence), "license"}};

/* Where a form has no type of its own for a text, Ollama's stands in: readers of several forms know it, others leave
 * such a layer alone. */
static const struct form {
    const char *name, *manifest, *artifact, *config;
    const char *files[IG_ROLES];
    const char *texts[TEXTS];
} forms[] = {
    {"ollama",
     DOCKER_MANIFEST,
     NULL,
     "application/vnd.docker.container.image.v1+json",
     {[IG_ROLE_WEIGHTS] = OLLAMA "model",
      [IG_ROLE_PROJECTOR] = OLLAMA "projector",
      [IG_ROLE_ADAPTER] = OLLAMA "adapter"},
     {OLLAMA "template", OLLAMA "system", OLLAMA "params", OLLAMA "messages", OLLAMA "license"}},
    {"docker",
     OCI_MANIFEST,
     NULL,
     DOCKER_AI "model.config.v0.1+json",
     {[IG_ROLE_WEIGHTS] = DOCKER_AI "gguf.v3",
      [IG_ROLE_PROJECTOR] = DOCKER_AI "gguf.v3.mmproj",
      [IG_ROLE_ADAPTER] = DOCKER_AI "gguf.v3.lora"},
     {DOCKER_AI "chat.template.jinja", OLLAMA "system", OLLAMA "params", OLLAMA "messages", DOCKER_AI "license"}},
    {"modelpack",
     OCI_MANIFEST,
     CNCF "manifest.v1+json",
     CNCF "config.v1+json",
     {[IG_ROLE_WEIGHTS] = CNCF "weight.v1.raw",
      [IG_ROLE_PROJECTOR] = CNCF "weight.v1.raw",
      [IG_ROLE_CONFIG] = CNCF "weight.config.v1.raw"},
     {OLLAMA "template", OLLAMA "system", OLLAMA "params", OLLAMA "messages", CNCF "doc.v1.raw"}},
};
enum { N_FORMS = sizeof forms / sizeof *forms };

static ig_status choose_form(const char *name, const ig_manifest *m, const struct form **out, ig_error *err)
{
    bool gguf = m->format && !strcmp(m->format, "gguf");
    if (!name) name = gguf ? "ollama" : "modelpack";
    for (size_t i = 0; i < N_FORMS; i++) {
        if (strcmp(forms[i].name, name) != 0) continue;
        *out = &forms[i];
        for (size_t k = 0; k < m->n_files; k++)
            if (!forms[i].files[m->files[k].role] || (!gguf && i < 2))
                return ig_fail(err, IG_UNSUPPORTED, 0,
                               "an image of the form %s has no place for %.200s, expected the "
                               "form modelpack",
                               name, m->files[k].name);
        return IG_OK;
    }
    return ig_fail(err, IG_BAD_INPUT, 0, "\"%.60s\" is no form of an image, expected ollama, docker or modelpack",
                   name);
}

/* ------------------------------------------------------------------------------------------------ the push */

typedef struct pusher {
    ig_asker a;
    ig_registry r;
    const ig_manifest *m;
    const ig_push_options *o;
    ig_push_result *result;
    const char *what;
    uint64_t at, total, all_done, all_total, told_ns;
    bool renewed;
    /* of the request under way */
    int fd; /* or text */
    const char *text;
    uint64_t base;
} pusher;

static bool tell(pusher *p, const char *note)
{
    uint64_t now = ig_now_ns();
    ig_pull_progress q = {.phase = IG_PULL_FETCHING, .what = p->what, .note = note, .done = p->at, .total = p->total};
    if (!p->o->pull.progress) return true;
    if (!note && p->told_ns && now - p->told_ns < TELL_MS * 1000000ull) return true;
    p->told_ns = now;
    q.all_done = p->all_done + p->at;
    q.all_total = p->all_total;
    return p->o->pull.progress(p->o->pull.ctx, &q);
}

static bool on_tick(void *ctx) { return tell(ctx, NULL); }

static bool on_send(void *ctx, void *out, size_t n, uint64_t at)
{
    pusher *p = ctx;
    if (p->text)
        memcpy(out, p->text + p->base + at, n);
    else if (ig_disk_read_at(p->fd, out, n, p->base + at) != (ssize_t)n)
        return false;
    p->at = p->base + at + n;
    return true;
}

/* One request; a token that is missing or has ended is asked for once. *again: a later try may succeed. */
static ig_status ask(pusher *p, ig_http_request *q, ig_http_reply *reply, bool *again, ig_error *err)
{
    q->auth = &p->r.auth;
    q->insecure = p->a.o->insecure;
    q->guarded = p->a.o->no_files;
    q->tick = on_tick;
    q->ctx = p;
    ig_status st = ig_http_run(p->a.http, q, reply, again, err);
    if (reply->status != 401 || p->renewed) {
        p->renewed &= st != IG_OK;
        return st;
    }
    p->renewed = true;
    IG_TRY(ig_auth_renew(&p->a, &p->r.auth, reply->challenge, err));
    st = ig_http_run(p->a.http, q, reply, again, err);
    p->renewed = st != IG_OK;
    return st;
}

static bool wait_for(pusher *p, unsigned *wait_ms, const ig_http_reply *reply, const ig_error *err)
{
    unsigned ms = ig_wait_ms(*wait_ms, reply->retry_after_s);
    char note[600];
    (void)snprintf(note, sizeof note, "once more in %u ms: %.400s", ms, err->text);
    if (!tell(p, note)) return false;
    for (unsigned i = 0; i < ms; i += TELL_MS) {
        ig_sleep_ms(TELL_MS);
        if (!tell(p, NULL)) return false;
    }
    *wait_ms = ig_wait_longer(*wait_ms);
    return true;
}

static ig_status cancelled(ig_error *err) { return ig_fail(err, IG_CANCELLED, 0, "the push was cancelled"); }

/* A request without a body that is tried again after failures of the network. */
static ig_status ask_surely(pusher *p, ig_http_request *q, ig_http_reply *reply, ig_error *err)
{
    unsigned wait_ms = p->a.o->first_wait_ms ? p->a.o->first_wait_ms : WAIT_MS;
    for (unsigned i = 1;; i++) {
        bool again;
        ig_status st = ask(p, q, reply, &again, err);
        if (st == IG_OK || !again || i == TRIES) return st;
        if (!wait_for(p, &wait_ms, reply, err)) return cancelled(err);
    }
}

static ig_status has_blob(pusher *p, const ig_digest *d, uint64_t size, bool *has, ig_error *err)
{
    char url[IG_URL_MAX];
    ig_http_reply reply;
    (void)snprintf(url, sizeof url, "%s/v2/%s/blobs/sha256:%s", p->r.base, p->r.ref.repository, d->hex);
    ig_http_request q = {.method = "HEAD", .url = url};
    ig_status st = ask_surely(p, &q, &reply, err);
    *has = st == IG_OK && reply.has_length && reply.length == size;
    return st == IG_NOT_FOUND ? IG_OK : st;
}

/* The place of an upload as the registry names it: on the registry itself, since what is sent there is ours. */
static ig_status keep_place(pusher *p, const ig_http_reply *reply, char out[IG_URL_MAX], ig_error *err)
{
    const char *to = reply->location;
    int n = to[0] == '/' && to[1] != '/' ? snprintf(out, IG_URL_MAX, "%s%s", p->r.base, to)
                                         : snprintf(out, IG_URL_MAX, "%s", to);
    if (to[0] && n > 0 && n < IG_URL_MAX && ig_url_has_origin(out, p->r.auth.origin)) return IG_OK;
    return ig_fail(err, IG_DENIED, 0,
                   "the registry %.150s wants the upload at \"%.200s\", which is not on its own host", p->r.ref.host,
                   to);
}

static ig_status begin_upload(pusher *p, char place[IG_URL_MAX], ig_error *err)
{
    char url[IG_URL_MAX];
    ig_http_reply reply;
    (void)snprintf(url, sizeof url, "%s/v2/%s/blobs/uploads/", p->r.base, p->r.ref.repository);
    p->text = "";
    p->base = 0;
    ig_http_request q = {.method = "POST", .url = url, .send = on_send};
    IG_TRY(ask_surely(p, &q, &reply, err));
    return keep_place(p, &reply, place, err);
}

/* Where the upload stands, asked after a failure. False: the registry knows nothing of it any more. */
static bool where_is(pusher *p, char place[IG_URL_MAX], uint64_t *at)
{
    ig_http_reply reply;
    ig_error unused;
    char next[IG_URL_MAX];
    ig_http_request q = {.url = place};
    if (ask_surely(p, &q, &reply, &unused) != IG_OK) return false;
    *at = reply.has_uploaded ? reply.uploaded : 0;
    if (reply.location[0] && keep_place(p, &reply, next, &unused) == IG_OK) memcpy(place, next, sizeof next);
    return true;
}

typedef struct layer {
    char media[100];
    const char *title; /* annotation, or NULL */
    ig_digest digest;
    uint64_t size;
    int fd;
    const char *text; /* or the content */
} layer;

/* One piece behind `at`. */
static ig_status send_piece(pusher *p, const layer *l, char place[IG_URL_MAX], uint64_t *at, ig_http_reply *reply,
                            bool *again, ig_error *err)
{
    char range[64], next[IG_URL_MAX];
    uint64_t n = l->size - *at < PIECE_BYTES ? l->size - *at : PIECE_BYTES;
    (void)snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)*at, (unsigned long long)(*at + n - 1));
    p->fd = l->fd;
    p->text = l->text;
    p->base = *at;
    ig_http_request q = {.method = "PATCH",
                         .url = place,
                         .content_type = "application/octet-stream",
                         .content_range = range,
                         .send = on_send,
                         .n_send = n};
    IG_TRY(ask(p, &q, reply, again, err));
    if (reply->has_uploaded && reply->uploaded != *at + n) {
        *again = true;
        return ig_fail(err, IG_IO, 0, "the registry has %llu bytes of %llu", (unsigned long long)reply->uploaded,
                       (unsigned long long)(*at + n));
    }
    IG_TRY(keep_place(p, reply, next, err));
    memcpy(place, next, sizeof next);
    *at += n;
    return IG_OK;
}

static ig_status send_pieces(pusher *p, const layer *l, char place[IG_URL_MAX], ig_error *err)
{
    uint64_t at = 0;
    unsigned failures = 0, wait_ms = p->a.o->first_wait_ms ? p->a.o->first_wait_ms : WAIT_MS;
    while (at < l->size) {
        ig_http_reply reply;
        bool again = false;
        uint64_t before = at;
        ig_status st = send_piece(p, l, place, &at, &reply, &again, err);
        if (st == IG_OK) {
            failures = 0;
            p->result->sent_bytes += at - before;
            continue;
        }
        if ((!again && reply.status != 416) || ++failures == TRIES) return st;
        if (!wait_for(p, &wait_ms, &reply, err)) return cancelled(err);
        if (where_is(p, place, &at) && at <= l->size) continue;
        IG_TRY(begin_upload(p, place, err));
        at = 0;
    }
    return IG_OK;
}

static ig_status finish_upload(pusher *p, const layer *l, const char *place, ig_error *err)
{
    char url[IG_URL_MAX + 100];
    ig_http_reply reply;
    ig_digest told;
    (void)snprintf(url, sizeof url, "%s%cdigest=sha256%%3A%s", place, strchr(place, '?') ? '&' : '?', l->digest.hex);
    p->text = "";
    p->base = 0;
    ig_http_request q = {.method = "PUT", .url = url, .content_type = "application/octet-stream", .send = on_send};
    IG_TRY(ask_surely(p, &q, &reply, err));
    if (ig_digest_parse(reply.digest, &told, NULL) == IG_OK && strcmp(told.hex, l->digest.hex) != 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "the registry has another digest for %.100s: %.12s, expected %.12s",
                       p->what, told.hex, l->digest.hex);
    return IG_OK;
}

static ig_status push_layer(pusher *p, const layer *l, ig_error *err)
{
    char place[IG_URL_MAX];
    bool has;
    p->at = 0;
    p->total = l->size;
    if (!tell(p, NULL)) return cancelled(err);
    IG_TRY(has_blob(p, &l->digest, l->size, &has, err));
    if (has) {
        p->result->present_bytes += l->size;
    } else if (p->o->dry_run) {
        p->result->sent_bytes += l->size;
    } else {
        IG_TRY(begin_upload(p, place, err));
        IG_TRY(send_pieces(p, l, place, err));
        IG_TRY(finish_upload(p, l, place, err));
        IG_TRY(has_blob(p, &l->digest, l->size, &has, err));
        if (!has)
            return ig_fail(err, IG_IO, 0, "the registry %.150s took %.100s and does not have it", p->r.ref.host,
                           p->what);
    }
    p->all_done += l->size;
    p->at = 0;
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ the image */

static json_t *descriptor(const layer *l)
{
    char digest[80];
    (void)snprintf(digest, sizeof digest, "sha256:%s", l->digest.hex);
    json_t *notes = l->title ? json_pack("{s:s, s:s}", "org.cncf.model.filepath", l->title,
                                         "org.opencontainers.image.title", l->title)
                             : NULL;
    return json_pack("{s:s, s:s, s:I, s:o*}", "mediaType", l->media, "digest", digest, "size", (json_int_t)l->size,
                     "annotations", notes);
}

static bool text_layer(const ig_manifest *m, const struct form *f, text_kind k, layer *l)
{
    const char *text = *(const char *const *)(const void *)((const char *)m + texts[k].at);
    if (!text || !*text) return false;
    *l = (layer){.text = text, .size = strlen(text), .fd = -1};
    (void)snprintf(l->media, sizeof l->media, "%s", f->texts[k]);
    if (strstr(l->media, ".doc.")) l->title = "LICENSE";
    return ig_sha_text(text, (size_t)l->size, &l->digest);
}

/* Files first, texts behind them; *n layers. */
static void all_layers(const ig_manifest *m, const struct form *f, const int *fds, layer *list, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < m->n_files; i++) {
        layer *l = &list[(*n)++];
        *l = (layer){.title = m->files[i].name, .digest = m->files[i].digest, .size = m->files[i].size, .fd = fds[i]};
        (void)snprintf(l->media, sizeof l->media, "%s", f->files[m->files[i].role]);
    }
    for (text_kind k = 0; k < TEXTS; k++) *n += text_layer(m, f, k, &list[*n]);
}

static json_t *digests_of(const layer *list, size_t n)
{
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++) {
        char digest[80];
        (void)snprintf(digest, sizeof digest, "sha256:%s", list[i].digest.hex);
        (void)json_array_append_new(out, json_string(digest));
    }
    return out;
}

/* What each form wants its readers to know at once. */
static json_t *config_of(const ig_manifest *m, const struct form *f, const layer *list, size_t n)
{
    json_t *ids = digests_of(list, n), *about = m->about ? json_loads(m->about, 0, NULL) : NULL;
    const char *arch = ig_json_text(about, "architecture");
    json_t *out = NULL;
    if (f == &forms[0])
        out = json_pack("{s:s, s:s*, s:s, s:s, s:{s:s, s:O}}", "model_format", m->format ? m->format : "gguf",
                        "model_family", arch, "architecture", "amd64", "os", "linux", "rootfs", "type", "layers",
                        "diff_ids", ids);
    else if (f == &forms[1]) {
        json_t *files = json_array();
        for (size_t i = 0; i < m->n_files; i++)
            (void)json_array_append_new(
                files, json_pack("{s:O, s:s}", "diffID", json_array_get(ids, i), "type", list[i].media));
        out = json_pack("{s:{}, s:{s:s, s:s*, s:I}, s:o}", "descriptor", "config", "format", "gguf", "architecture",
                        arch, "size", (json_int_t)ig_manifest_bytes(m), "files", files);
    } else {
        bool short_name = m->licence && strlen(m->licence) < 64 && !strpbrk(m->licence, " \n");
        json_t *licences = short_name ? json_pack("[s]", m->licence) : NULL;
        out = json_pack("{s:{s:s, s:o*}, s:{s:s, s:O}, s:{s:s, s:s*}}", "descriptor", "name", m->name.text, "licenses",
                        licences, "modelfs", "type", "layers", "diffIds", ids, "config", "format",
                        m->format ? m->format : "", "architecture", arch);
    }
    json_decref(ids);
    json_decref(about);
    return out;
}

static json_t *image_of(const ig_manifest *m, const struct form *f, const layer *config, const layer *list, size_t n)
{
    json_t *layers = json_array(), *notes = NULL;
    for (size_t i = 0; i < n; i++) (void)json_array_append_new(layers, descriptor(&list[i]));
    if (m->base) notes = json_pack("{s:s}", "org.opencontainers.image.base.name", m->base);
    return json_pack("{s:i, s:s, s:s*, s:o, s:o, s:o*}", "schemaVersion", 2, "mediaType", f->manifest, "artifactType",
                     f->artifact, "config", descriptor(config), "layers", layers, "annotations", notes);
}

static ig_status put_image(pusher *p, const struct form *f, const char *text, ig_error *err)
{
    char url[IG_URL_MAX];
    ig_http_reply reply;
    ig_digest own, told;
    size_t n = strlen(text);
    if (!ig_sha_text(text, n, &own)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the image");
    (void)snprintf(url, sizeof url, "%s/v2/%s/manifests/%s", p->r.base, p->r.ref.repository, p->r.ref.tag);
    p->text = text;
    p->base = 0;
    ig_http_request q = {.method = "PUT", .url = url, .content_type = f->manifest, .send = on_send, .n_send = n};
    IG_TRY(ask_surely(p, &q, &reply, err));
    (void)snprintf(url, sizeof url, "%s/v2/%s/manifests/%s", p->r.base, p->r.ref.repository, p->r.ref.tag);
    ig_http_request check = {.method = "HEAD", .url = url, .accept = f->manifest};
    IG_TRY(ask_surely(p, &check, &reply, err));
    if (ig_digest_parse(reply.digest, &told, NULL) != IG_OK || strcmp(told.hex, own.hex) != 0)
        return ig_fail(err, IG_IO, 0, "the registry %.150s has another image under %.150s:%.100s than was sent",
                       p->r.ref.host, p->r.ref.repository, p->r.ref.tag);
    p->result->digest = own;
    return IG_OK;
}

static ig_status push_all(pusher *p, const struct form *f, const int *fds, ig_error *err)
{
    layer *list = ig_calloc(p->m->n_files + TEXTS + 1, sizeof *list), config = {.fd = -1};
    size_t n;
    if (!list) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the layers of the model");
    all_layers(p->m, f, fds, list, &n);
    json_t *j = config_of(p->m, f, list, n);
    char *config_text = j ? ig_json_dump(j) : NULL, *image_text = NULL;
    json_decref(j);
    (void)snprintf(config.media, sizeof config.media, "%s", f->config);
    config.text = config_text;
    config.size = config_text ? strlen(config_text) : 0;
    ig_status st = config_text && ig_sha_text(config_text, (size_t)config.size, &config.digest)
                       ? IG_OK
                       : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the image");
    for (size_t i = 0; i < n; i++) p->all_total += list[i].size;
    for (size_t i = 0; i < n && st == IG_OK; i++) {
        p->what = list[i].title ? list[i].title : strrchr(list[i].media, '.') + 1;
        st = push_layer(p, &list[i], err);
    }
    p->what = "config";
    if (st == IG_OK) st = push_layer(p, &config, err);
    if (st == IG_OK) {
        j = image_of(p->m, f, &config, list, n);
        image_text = j ? ig_json_dump(j) : NULL;
        json_decref(j);
        st = image_text && p->o->dry_run ? IG_OK
             : image_text                ? put_image(p, f, image_text, err)
                                         : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the image");
    }
    ig_free(image_text);
    ig_free(config_text);
    ig_free(list);
    return st;
}

static ig_status push_model(pusher *p, ig_store *s, const struct form *f, ig_error *err)
{
    int *fds = ig_calloc(p->m->n_files + 1, sizeof *fds);
    if (!fds) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the files of the model");
    ig_status st = ig_store_files_open(s, p->m, fds, err);
    if (st == IG_OK) {
        st = push_all(p, f, fds, err);
        for (size_t i = 0; i < p->m->n_files; i++) close(fds[i]);
    }
    ig_free(fds);
    return st;
}

ig_status ig_store_push(ig_store *s, const char *name, const char *to, const ig_push_options *options,
                        ig_push_result *out, ig_error *err)
{
    static const ig_push_options none = {0};
    const struct form *f = NULL;
    ig_push_result own_result;
    ig_error own;
    ig_manifest *m;
    ig_arena arena = {.max_bytes = 16 << 20};
    pusher p = {.a = {s, options ? &options->pull : &none.pull, NULL}, .o = options ? options : &none, .fd = -1};
    if (!err) err = &own;
    p.result = out ? out : &own_result;
    *p.result = (ig_push_result){0};
    if (strncmp(to, "oci://", 6) != 0)
        return ig_fail(err, IG_BAD_INPUT, 0, "\"%.200s\" is no place to push to, expected oci://HOST/REPOSITORY[:TAG]",
                       to);
    IG_TRY(ig_store_find(s, name, &m, err));
    p.m = m;
    p.what = m->name.text;
    ig_status st = choose_form(p.o->form, m, &f, err);
    if (st == IG_OK) st = ig_registry_open(&p.a, to, "pull,push", &arena, &p.r, err);
    if (st == IG_OK && (p.r.ref.has_digest || !p.r.ref.tag[0]))
        st = ig_fail(err, IG_BAD_INPUT, 0, "a model is pushed under a tag, not under a digest");
    if (st == IG_OK) st = push_model(&p, s, f, err);
    ig_http_free(p.a.http);
    ig_manifest_free(m);
    ig_arena_fini(&arena);
    return st;
}

/* ------------------------------------------------------------------------------------------------ small files */

static ig_status file_layers(const ig_registry_file *files, size_t n, const char *media, layer *list, ig_error *err)
{
    for (size_t i = 0; i < n; i++) {
        list[i] = (layer){.title = files[i].title, .text = files[i].text, .size = files[i].n, .fd = -1};
        (void)snprintf(list[i].media, sizeof list[i].media, "%s", media);
        if (!ig_sha_text(files[i].text, files[i].n, &list[i].digest))
            return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for what is pushed");
    }
    return IG_OK;
}

ig_status ig_registry_put_files(ig_asker *a, ig_registry *r, const char *artifact, const char *media,
                                const ig_registry_file *files, size_t n, ig_error *err)
{
    static const ig_push_options none = {0};
    static const ig_manifest no_model = {0};
    const struct form f = {.manifest = OCI_MANIFEST, .artifact = artifact};
    layer *list = ig_calloc(n + 1, sizeof *list), config = {.media = "application/vnd.oci.empty.v1+json", .text = "{}"};
    ig_push_result result = {0};
    pusher p = {.a = *a, .r = *r, .o = &none, .result = &result, .what = "catalogue", .fd = -1};
    char *text = NULL;
    if (!list) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for what is pushed");
    config.size = strlen(config.text);
    config.fd = -1;
    ig_status st = file_layers(files, n, media, list, err);
    if (st == IG_OK && !ig_sha_text(config.text, (size_t)config.size, &config.digest))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for what is pushed");
    for (size_t i = 0; st == IG_OK && i < n; i++) {
        p.what = list[i].title;
        st = push_layer(&p, &list[i], err);
    }
    if (st == IG_OK) st = push_layer(&p, &config, err);
    if (st == IG_OK) {
        json_t *j = image_of(&no_model, &f, &config, list, n);
        text = j ? ig_json_dump(j) : NULL;
        json_decref(j);
        st = text ? put_image(&p, &f, text, err) : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for what is pushed");
    }
    ig_free(text);
    ig_free(list);
    return st;
}
