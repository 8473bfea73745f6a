/* oci://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]: a model in any registry that speaks the distribution protocol. The tag
 * is resolved to a digest, an index to the image in it that is a model, and everything is verified from there on. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "source.h"

enum { MANIFEST_BYTES_MAX = 4 << 20, CONFIG_BYTES_MAX = 1 << 20, TRY_IMAGES_MAX = 16 };
#define ACCEPT                                                                                                         \
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, "               \
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"

static bool fits(const char *address) { return !strncasecmp(address, "oci://", 6); }

static bool asking(void *ctx) { return ig_asker_note(ctx, IG_PULL_ASKING, "oci", NULL); }

/* A registry on this machine, or one that --insecure allows, may do without TLS; it is asked with TLS first. */
static void choose_scheme(ig_asker *a, ig_registry *r)
{
    char url[IG_URL_MAX];
    ig_http_reply reply;
    bool again;
    ig_error unused;
    (void)snprintf(r->base, sizeof r->base, "http://%s", r->ref.host);
    if (!a->o->insecure && !ig_url_is_secure(r->base)) {
        (void)snprintf(r->base, sizeof r->base, "https://%s", r->ref.host);
        return;
    }
    (void)snprintf(url, sizeof url, "https://%s/v2/", r->ref.host);
    ig_http_request q = {
        .url = url, .method = "HEAD", .insecure = a->o->insecure, .guarded = a->o->no_files, .tick = asking, .ctx = a};
    (void)ig_http_run(a->http, &q, &reply, &again, &unused);
    if (reply.status) (void)snprintf(r->base, sizeof r->base, "https://%s", r->ref.host);
}

ig_status ig_registry_open(ig_asker *a, const char *address, const char *actions, ig_arena *arena, ig_registry *r,
                           ig_error *err)
{
    *r = (ig_registry){0};
    IG_TRY(ig_image_ref_parse(address + (fits(address) ? 6 : 0), &r->ref, err));
    if (!strcasecmp(r->ref.host, "docker.io") || !strcasecmp(r->ref.host, "index.docker.io")) {
        (void)snprintf(r->ref.host, sizeof r->ref.host, "registry-1.docker.io");
        if (!strchr(r->ref.repository, '/') && strlen(r->ref.repository) + 9 < sizeof r->ref.repository) {
            memmove(r->ref.repository + 8, r->ref.repository, strlen(r->ref.repository) + 1);
            memcpy(r->ref.repository, "library/", 8);
        }
    }
    IG_TRY(ig_asker_http(a, err));
    choose_scheme(a, r);
    r->auth.arena = arena;
    (void)snprintf(r->auth.origin, sizeof r->auth.origin, "%s", r->base);
    IG_TRY(ig_auth_stored(r->ref.host, arena, &r->auth.basic, err));
    char scope[400];
    (void)snprintf(scope, sizeof scope, "repository:%s:%s", r->ref.repository, actions);
    r->auth.scope = ig_arena_copy(arena, scope, strlen(scope));
    return r->auth.scope ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the address of the registry");
}

static ig_status not_found(const ig_registry *r, ig_error *err)
{
    return ig_fail(err, IG_NOT_FOUND, 0, "the registry %.150s has no %.150s%s%.70s", r->ref.host, r->ref.repository,
                   r->ref.has_digest ? "@" : ":", r->ref.has_digest ? r->ref.digest.hex : r->ref.tag);
}

ig_status ig_registry_manifest(ig_asker *a, ig_registry *r, const ig_digest *wanted, ig_buf *body, ig_digest *got,
                               ig_error *err)
{
    char url[IG_URL_MAX];
    ig_http_reply reply;
    ig_digest told;
    if (wanted)
        (void)snprintf(url, sizeof url, "%s/v2/%s/manifests/sha256:%s", r->base, r->ref.repository, wanted->hex);
    else
        (void)snprintf(url, sizeof url, "%s/v2/%s/manifests/%s", r->base, r->ref.repository, r->ref.tag);
    ig_http_request q = {.url = url, .accept = ACCEPT, .auth = &r->auth};
    ig_status st = ig_http_document(a, &q, MANIFEST_BYTES_MAX, body, &reply, err);
    if (st == IG_NOT_FOUND) return not_found(r, err);
    IG_TRY(st);
    if (!ig_sha_text(body->ptr ? body->ptr : "", body->len, got))
        st = ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a manifest");
    else if ((wanted && strcmp(got->hex, wanted->hex)) ||
             (ig_digest_parse(reply.digest, &told, NULL) == IG_OK && strcmp(got->hex, told.hex)))
        st = ig_fail(err, IG_BAD_INPUT, 0, "the registry %.150s sends a manifest with the digest %.12s, expected %.12s",
                     r->ref.host, got->hex, wanted ? wanted->hex : told.hex);
    if (st != IG_OK) ig_buf_fini(body);
    return st;
}

static ig_status read_image(ig_asker *a, ig_registry *r, const ig_buf *body, ig_plan *out, ig_error *err)
{
    char blobs[IG_URL_MAX];
    ig_image_config config;
    ig_http_reply reply;
    ig_buf text;
    (void)snprintf(blobs, sizeof blobs, "%s/v2/%s/blobs", r->base, r->ref.repository);
    IG_TRY(ig_image_plan((ig_str){body->ptr ? body->ptr : "", body->len}, blobs, NULL, out, &config, err));
    if (!config.model_pack || config.size > CONFIG_BYTES_MAX) return IG_OK;
    char url[IG_URL_MAX + 80];
    (void)snprintf(url, sizeof url, "%s/sha256:%s", blobs, config.digest.hex);
    ig_digest got;
    ig_http_request q = {.url = url, .auth = &r->auth};
    IG_TRY(ig_http_document(a, &q, CONFIG_BYTES_MAX, &text, &reply, err));
    ig_status st = ig_sha_text(text.ptr ? text.ptr : "", text.len, &got) && !strcmp(got.hex, config.digest.hex)
                       ? ig_image_licences((ig_str){text.ptr, text.len}, out, err)
                       : ig_fail(err, IG_BAD_INPUT, 0,
                                 "the configuration of the image is damaged: its digest is not "
                                 "the expected %.12s",
                                 config.digest.hex);
    ig_buf_fini(&text);
    return st;
}

/* The first image of an index that is a model. Errors of a network end the search. */
static ig_status read_index(ig_asker *a, ig_registry *r, const ig_digest *list, size_t n, ig_plan *out, ig_error *err)
{
    ig_status st = ig_fail(err, IG_UNSUPPORTED, 0, "the index %.150s of the registry %.150s names no image of a model",
                           r->ref.repository, r->ref.host);
    for (size_t i = 0; i < n; i++) {
        ig_buf body;
        ig_digest got;
        IG_TRY(ig_registry_manifest(a, r, &list[i], &body, &got, err));
        st = read_image(a, r, &body, out, err);
        ig_buf_fini(&body);
        if (st != IG_UNSUPPORTED) return st;
        out->n = 0;
        out->m = (ig_manifest){.name = out->m.name};
    }
    return st;
}

static ig_status name_of(const ig_image_ref *ref, ig_name *out, ig_error *err)
{
    char text[IG_NAME_MAX + 200];
    const char *last = strrchr(ref->repository, '/');
    (void)snprintf(text, sizeof text, "%s:%.12s", ref->repository, ref->tag[0] ? "" : ref->digest.hex);
    if (ref->tag[0]) (void)snprintf(text, sizeof text, "%s:%s", ref->repository, ref->tag);
    if (ig_name_parse(text, out, NULL) == IG_OK) return IG_OK;
    return ig_name_from(last ? last + 1 : ref->repository, out, err);
}

static ig_status plan_of(ig_asker *a, const char *address, ig_plan *out, ig_error *err)
{
    ig_digest list[TRY_IMAGES_MAX], got;
    size_t n;
    bool is_index = false;
    ig_buf body;
    ig_registry *r = ig_arena_alloc(&out->arena, 1, sizeof *r);
    if (!r) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the address of the registry");
    IG_TRY(ig_registry_open(a, address, "pull", &out->arena, r, err));
    IG_TRY(name_of(&r->ref, &out->m.name, err));
    IG_TRY(ig_registry_manifest(a, r, r->ref.has_digest ? &r->ref.digest : NULL, &body, &got, err));
    ig_status st =
        ig_image_index((ig_str){body.ptr ? body.ptr : "", body.len}, list, TRY_IMAGES_MAX, &n, &is_index, err);
    if (st == IG_OK) st = is_index ? read_index(a, r, list, n, out, err) : read_image(a, r, &body, out, err);
    ig_buf_fini(&body);
    IG_TRY(st);
    out->auth = &r->auth;
    out->m.source = ig_plan_printf(out, "oci://%s/%s%s%s@sha256:%s", r->ref.host, r->ref.repository,
                                   r->ref.tag[0] ? ":" : "", r->ref.tag, got.hex);
    return out->m.source ? IG_OK : ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the source");
}

const ig_source ig_source_oci = {
    {"oci", "oci://HOST/REPOSITORY[:TAG][@DIGEST]", "an image of a model in a registry"}, fits, plan_of};
