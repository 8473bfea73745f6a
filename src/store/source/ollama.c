/* NAME:TAG of the Ollama registry: an image manifest whose layers are the model file, its template, system prompt,
 * parameters, messages and licence, told apart by media type. */
#include <stdio.h>
#include <string.h>

#include "source.h"

enum { MANIFEST_BYTES_MAX = 1 << 20, LAYERS_MAX = 1000 };
#define REGISTRY "https://registry.ollama.ai"
#define ACCEPT   "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA    "application/vnd.ollama.image."

static const struct {
    const char *kind;
    ig_role role;
    const char *file; /* NULL: a text */
    size_t text;
} layers[] = {
    {"model", IG_ROLE_WEIGHTS, "model", 0},
    {"projector", IG_ROLE_PROJECTOR, "projector", 0},
    {"adapter", IG_ROLE_ADAPTER, "adapter", 0},
    {"template", IG_ROLE_OTHER, NULL, offsetof(ig_manifest, template)},
    {"prompt", IG_ROLE_OTHER, NULL, offsetof(ig_manifest, template)},
    {"system", IG_ROLE_OTHER, NULL, offsetof(ig_manifest, system)},
    {"params", IG_ROLE_OTHER, NULL, offsetof(ig_manifest, parameters)},
    {"messages", IG_ROLE_OTHER, NULL, offsetof(ig_manifest, messages)},
    {"license", IG_ROLE_OTHER, NULL, offsetof(ig_manifest, licence)},
};
enum { N_LAYERS = sizeof layers / sizeof *layers };

static ig_status add_layer(const json_t *layer, const char *base_url, const char *blobs, unsigned seen[N_LAYERS],
                           ig_plan *plan, ig_error *err)
{
    const char *media = ig_json_text(layer, "mediaType"), *digest = ig_json_text(layer, "digest");
    ig_item item = {.has_digest = true, .has_size = true, .take = IG_TAKE_REFER};
    if (!media || !digest || !ig_json_size(layer, "size", &item.size))
        return ig_fail(err, IG_BAD_INPUT, 0, "a layer of the registry's manifest has no media type, digest or size");
    IG_TRY(ig_digest_parse(digest, &item.digest, err));
    size_t k = 0, n = strlen(MEDIA);
    while (k < N_LAYERS && (strncmp(media, MEDIA, n) || strcmp(media + n, layers[k].kind))) k++;
    if (k == N_LAYERS)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "the model has a layer of type \"%.100s\", which this version does not know", media);
    unsigned i = seen[k]++;
    item.role = layers[k].role;
    item.name = layers[k].file ? i ? ig_plan_printf(plan, "%s-%u.gguf", layers[k].file, i + 1)
                                   : ig_plan_printf(plan, "%s.gguf", layers[k].file)
                               : layers[k].kind;
    item.url = base_url ? ig_plan_printf(plan, "%s/sha256:%s", base_url, item.digest.hex) : NULL;
    item.local = blobs ? ig_plan_printf(plan, "%s/sha256-%s", blobs, item.digest.hex) : NULL;
    if (!layers[k].file) item.text = (const char **)(void *)((char *)&plan->m + layers[k].text);
    if (item.text && item.size > IG_TEXT_BYTES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "the model's %s has %llu bytes, at most %d are allowed", item.name,
                       (unsigned long long)item.size, (int)IG_TEXT_BYTES_MAX);
    if (!item.name || (!item.url && !item.local)) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the layers");
    return ig_plan_add(plan, &item, err);
}

static ig_status add_layers(const json_t *j, const char *base_url, const char *blobs, ig_plan *plan, ig_error *err)
{
    const json_t *list = json_object_get(j, "layers");
    unsigned seen[N_LAYERS] = {0};
    size_t n = json_array_size(list);
    if (n == 0 || n > LAYERS_MAX)
        return ig_fail(err, IG_BAD_INPUT, 0, "the registry's manifest has %zu layers, expected 1 to %d", n,
                       (int)LAYERS_MAX);
    for (size_t i = 0; i < n; i++) IG_TRY(add_layer(json_array_get(list, i), base_url, blobs, seen, plan, err));
    if (seen[0] == 0)
        return ig_fail(err, IG_UNSUPPORTED, 0, "the registry's manifest names no model file: it runs elsewhere");
    plan->m.format = "gguf";
    return IG_OK;
}

ig_status ig_ollama_plan(ig_str text, const char *base_url, const char *blobs, ig_plan *plan, ig_error *err)
{
    json_t *j;
    IG_TRY(ig_store_json("the registry's manifest", text, 20000, &j, err));
    ig_status st = add_layers(j, base_url, blobs, plan, err);
    json_decref(j);
    return st;
}

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
    st = ig_ollama_plan((ig_str){body.ptr ? body.ptr : "", body.len}, url, NULL, out, err);
    ig_buf_fini(&body);
    return st;
}

const ig_source ig_source_ollama = {{"ollama", "NAME[:TAG]", "a model of the Ollama registry"}, fits, plan_of};
