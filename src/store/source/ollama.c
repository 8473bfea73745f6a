/* NAME:TAG of the Ollama registry: an image manifest whose layers are the model file, its template, system prompt,
 * parameters, messages and licence (image.c). */
#include <stdio.h>
#include <string.h>

#include "source.h"

enum { MANIFEST_BYTES_MAX = 1 << 20 };
#define REGISTRY "https://registry.ollama.ai"
#define ACCEPT   "application/vnd.docker.distribution.manifest.v2+json"
static bool fits(const char *address)
{
    ig_name name;
    if (!strncmp(address, "ollama://", 9)) address += 9;
    return ig_name_parse(address, &name, NULL) == IG_OK;
}

/* "host/namespace/model:tag" to an endpoint and a path; parts that are left out are the registry's. */
static ig_status split(const char *text, char *endpoint, size_t n_endpoint, char *repository, size_t n_repository,
                       const char **tag, ig_error *err)
{
    const char *first = strchr(text, '/'), *colon = strrchr(text, ':');
    size_t host = first ? (size_t)(first - text) : 0;
    bool own = host && (memchr(text, '.', host) || memchr(text, ':', host)) && strchr(first + 1, '/');
    if (own && strncmp(text, "registry.ollama.ai/", 19) != 0)
        (void)snprintf(endpoint, n_endpoint, "https://%.*s", (int)host, text);
    else
        (void)ig_endpoint("INGLE_OLLAMA_REGISTRY", REGISTRY, endpoint, n_endpoint);
    if (own) text = first + 1;
    int len = snprintf(repository, n_repository, "%s%.*s", memchr(text, '/', (size_t)(colon - text)) ? "" : "library/",
                       (int)(colon - text), text);
    *tag = colon + 1;
    return len > 0 && (size_t)len < n_repository ? IG_OK : ig_fail(err, IG_TOO_LARGE, 0, "the name is too long");
}

static ig_status plan_of(ig_asker *a, const char *address, ig_plan *out, ig_error *err)
{
    char endpoint[512], repository[IG_NAME_MAX + 16], url[IG_URL_MAX];
    const char *tag;
    ig_name name;
    ig_http_reply reply;
    ig_buf body;
    if (!strncmp(address, "ollama://", 9)) address += 9;
    IG_TRY(ig_name_parse(address, &name, err));
    IG_TRY(split(name.text, endpoint, sizeof endpoint, repository, sizeof repository, &tag, err));
    out->m.name = name;
    if (!strncmp(name.text, "registry.ollama.ai/library/", 27))
        IG_TRY(ig_name_parse(name.text + 27, &out->m.name, err));
    (void)snprintf(url, sizeof url, "%s/v2/%s/manifests/%s", endpoint, repository, tag);
    ig_status st = ig_http_get(a, url, ACCEPT, NULL, MANIFEST_BYTES_MAX, &body, &reply, err);
    if (st == IG_NOT_FOUND)
        return ig_fail(err, st, 0,
                       "there is no file \"%.100s\" here, and the registry %.200s has no model of that name", address,
                       endpoint);
    IG_TRY(st);
    (void)snprintf(url, sizeof url, "%s/v2/%s/blobs", endpoint, repository);
    st = ig_image_plan((ig_str){body.ptr ? body.ptr : "", body.len}, url, NULL, out, NULL, err);
    ig_buf_fini(&body);
    return st;
}

const ig_source ig_source_ollama = {{"ollama", "NAME[:TAG]", "a model of the Ollama registry"}, fits, plan_of};
