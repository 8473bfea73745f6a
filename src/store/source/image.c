/* Image manifests, as registries keep them for models: Ollama's, Docker's and those of the CNCF's ModelPack, told apart
 * layer by layer through their media types. Layers are files as they are; archives are refused, since unpacking what a
 * stranger packed is a risk that no model needs (H33). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "source.h"

enum { LAYERS_MAX = 1000, VALUES_MAX = 60000, CANDIDATES_MAX = 1000 };
#define FILE_PATH  "org.cncf.model.filepath"
#define FILE_TITLE "org.opencontainers.image.title"
#define BASE_NAME  "org.opencontainers.image.base.name"

typedef enum form { FORM_FILE, FORM_TEXT, FORM_NAMED, FORM_CONFIG, FORM_DOC, FORM_SKIP } form;

/* By media type, perhaps up to a '*'. */
static const struct {
    const char *media;
    form form;
    ig_role role;
    const char *name; /* of a file that has none; of a text */
    size_t text;
} kinds[] = {
    {"application/vnd.ollama.image.model", FORM_FILE, IG_ROLE_WEIGHTS, "model", 0},
    {"application/vnd.ollama.image.projector", FORM_FILE, IG_ROLE_PROJECTOR, "projector", 0},
    {"application/vnd.ollama.image.adapter", FORM_FILE, IG_ROLE_ADAPTER, "adapter", 0},
    {"application/vnd.ollama.image.template", FORM_TEXT, IG_ROLE_OTHER, "template", offsetof(ig_manifest, template)},
    {"application/vnd.ollama.image.prompt", FORM_TEXT, IG_ROLE_OTHER, "prompt", offsetof(ig_manifest, template)},
    {"application/vnd.ollama.image.system", FORM_TEXT, IG_ROLE_OTHER, "system", offsetof(ig_manifest, system)},
    {"application/vnd.ollama.image.params", FORM_TEXT, IG_ROLE_OTHER, "params", offsetof(ig_manifest, parameters)},
    {"application/vnd.ollama.image.messages", FORM_TEXT, IG_ROLE_OTHER, "messages", offsetof(ig_manifest, messages)},
    {"application/vnd.ollama.image.license", FORM_TEXT, IG_ROLE_OTHER, "license", offsetof(ig_manifest, licence)},
    {"application/vnd.docker.ai.gguf.v3", FORM_FILE, IG_ROLE_WEIGHTS, "model", 0},
    {"application/vnd.docker.ai.gguf.v3.lora", FORM_FILE, IG_ROLE_ADAPTER, "adapter", 0},
    {"application/vnd.docker.ai.gguf.v3.mmproj", FORM_FILE, IG_ROLE_PROJECTOR, "projector", 0},
    {"application/vnd.docker.ai.mmproj", FORM_FILE, IG_ROLE_PROJECTOR, "projector", 0},
    {"application/vnd.docker.ai.license", FORM_TEXT, IG_ROLE_OTHER, "license", offsetof(ig_manifest, licence)},
    {"application/vnd.docker.ai.chat.template.jinja", FORM_TEXT, IG_ROLE_OTHER, "template",
     offsetof(ig_manifest, template)},
    {"application/vnd.docker.ai.safetensors", FORM_NAMED, IG_ROLE_WEIGHTS, NULL, 0},
    {"application/vnd.docker.ai.model.file", FORM_CONFIG, IG_ROLE_CONFIG, NULL, 0},
    {"application/vnd.cncf.model.weight.v1.raw", FORM_NAMED, IG_ROLE_WEIGHTS, NULL, 0},
    {"application/vnd.cncf.model.weight.config.v1.raw", FORM_CONFIG, IG_ROLE_CONFIG, NULL, 0},
    {"application/vnd.cncf.model.doc.v1.raw", FORM_DOC, IG_ROLE_OTHER, "license", offsetof(ig_manifest, licence)},
    {"application/vnd.cncf.model.doc.*", FORM_SKIP, IG_ROLE_OTHER, NULL, 0},
    {"application/vnd.cncf.model.code.*", FORM_SKIP, IG_ROLE_OTHER, NULL, 0},
    {"application/vnd.cncf.model.dataset.*", FORM_SKIP, IG_ROLE_OTHER, NULL, 0},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

typedef struct reader {
    const char *base_url, *blobs;
    ig_plan *plan;
    unsigned seen[N_KINDS];
    size_t n_gguf, n_tensors;
    ig_error *err;
} reader;

static size_t kind_of(const char *media)
{
    for (size_t k = 0; k < N_KINDS; k++) {
        size_t n = strlen(kinds[k].media);
        bool open = kinds[k].media[n - 1] == '*';
        if (open ? !strncmp(media, kinds[k].media, n - 1) : !strcmp(media, kinds[k].media)) return k;
    }
    return N_KINDS;
}

/* The name that the publisher gave the file, when it may be one. */
static const char *title_of(const json_t *layer)
{
    const json_t *notes = json_object_get(layer, "annotations");
    const char *name = ig_json_text(notes, FILE_PATH);
    if (!name) name = ig_json_text(notes, FILE_TITLE);
    return name && ig_file_name_valid(name) ? name : NULL;
}

static bool is_licence(const char *name)
{
    static const char *const heads[] = {"license", "licence", "copying"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (!strncasecmp(name, heads[i], 7)) return true;
    return false;
}

/* Judges a file by its name: *use false where the model works without it. */
static ig_status by_name(reader *r, form f, const char *title, ig_item *item, bool *use)
{
    ig_role role;
    *use = true;
    if (!title && f == FORM_NAMED)
        return ig_fail(r->err, IG_BAD_INPUT, 0,
                       "a file of the image has no usable name, expected one in its annotation " FILE_PATH);
    if (f == FORM_NAMED && ig_ends(title, ".gguf")) {
        if (strstr(title, "mmproj")) item->role = IG_ROLE_PROJECTOR;
        return IG_OK;
    }
    if (f == FORM_NAMED && !ig_ends(title, ".safetensors"))
        return ig_fail(r->err, IG_UNSUPPORTED, 0,
                       "the image's file %.200s has weights of a form that is not known, "
                       "expected .gguf or .safetensors",
                       title);
    if (f == FORM_NAMED) return IG_OK;
    *use = title && ig_directory_file(title, &role) && role == IG_ROLE_CONFIG;
    return IG_OK;
}

static ig_status set_name(reader *r, size_t k, const char *title, ig_item *item)
{
    unsigned i = r->seen[k]++;
    if (kinds[k].form == FORM_TEXT || kinds[k].form == FORM_DOC)
        item->name = kinds[k].name;
    else if (title)
        item->name = ig_plan_text(r->plan, title);
    else
        item->name = i ? ig_plan_printf(r->plan, "%s-%u.gguf", kinds[k].name, i + 1)
                       : ig_plan_printf(r->plan, "%s.gguf", kinds[k].name);
    return item->name ? IG_OK : ig_fail(r->err, IG_NO_MEMORY, 0, "out of memory for the layers");
}

static ig_status set_place(reader *r, ig_item *item)
{
    if (r->base_url) item->url = ig_plan_printf(r->plan, "%s/sha256:%s", r->base_url, item->digest.hex);
    if (r->blobs) item->local = ig_plan_printf(r->plan, "%s/sha256-%s", r->blobs, item->digest.hex);
    return item->url || item->local ? IG_OK : ig_fail(r->err, IG_NO_MEMORY, 0, "out of memory for the layers");
}

static ig_status set_text(reader *r, size_t k, ig_item *item)
{
    item->text = (const char **)(void *)((char *)&r->plan->m + kinds[k].text);
    if (item->size <= IG_TEXT_BYTES_MAX) return IG_OK;
    return ig_fail(r->err, IG_TOO_LARGE, 0, "the model's %s has %llu bytes, at most %d are allowed", item->name,
                   (unsigned long long)item->size, (int)IG_TEXT_BYTES_MAX);
}

static ig_status add_layer(reader *r, const json_t *layer)
{
    const char *media = ig_json_text(layer, "mediaType"), *digest = ig_json_text(layer, "digest");
    ig_item item = {.has_digest = true, .has_size = true, .take = IG_TAKE_REFER};
    bool use = true;
    if (!media || !digest || !ig_json_size(layer, "size", &item.size))
        return ig_fail(r->err, IG_BAD_INPUT, 0, "a layer of the registry's manifest has no media type, digest or size");
    IG_TRY(ig_digest_parse(digest, &item.digest, r->err));
    size_t k = kind_of(media);
    if (k == N_KINDS)
        return ig_fail(r->err, IG_UNSUPPORTED, 0,
                       "the model has a layer of type \"%.100s\", which this version does not know%s", media,
                       strstr(media, ".tar") ? ": archives are not unpacked, ask for an image of raw files" : "");
    const char *title = title_of(layer);
    item.role = kinds[k].role;
    if (kinds[k].form == FORM_SKIP || (kinds[k].form == FORM_DOC && !(title && is_licence(title)))) return IG_OK;
    if (kinds[k].form == FORM_NAMED || kinds[k].form == FORM_CONFIG)
        IG_TRY(by_name(r, kinds[k].form, title, &item, &use));
    if (!use) return IG_OK;
    IG_TRY(set_name(r, k, title, &item));
    IG_TRY(set_place(r, &item));
    if (kinds[k].form == FORM_TEXT || kinds[k].form == FORM_DOC) IG_TRY(set_text(r, k, &item));
    if (item.role == IG_ROLE_WEIGHTS) *(ig_ends(item.name, ".safetensors") ? &r->n_tensors : &r->n_gguf) += 1;
    return ig_plan_add(r->plan, &item, r->err);
}

static int by_file(const void *a, const void *b)
{
    return strcmp(((const ig_item *)a)->name, ((const ig_item *)b)->name);
}

/* Files of a directory in the order in which a directory is read; beside a GGUF file no configuration is wanted. */
static void settle(reader *r)
{
    ig_plan *p = r->plan;
    p->m.format = r->n_tensors ? "safetensors" : "gguf";
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (r->n_tensors || p->items[i].role != IG_ROLE_CONFIG) p->items[n++] = p->items[i];
    p->n = n;
    if (r->n_tensors) qsort(p->items, p->n, sizeof *p->items, by_file);
}

static ig_status read_layers(reader *r, const json_t *j)
{
    const json_t *list = json_object_get(j, "layers");
    size_t n = json_array_size(list);
    if (n == 0 || n > LAYERS_MAX)
        return ig_fail(r->err, IG_BAD_INPUT, 0, "the registry's manifest has %zu layers, expected 1 to %d", n,
                       (int)LAYERS_MAX);
    for (size_t i = 0; i < n; i++) IG_TRY(add_layer(r, json_array_get(list, i)));
    if (r->n_gguf + r->n_tensors == 0)
        return ig_fail(r->err, IG_UNSUPPORTED, 0, "the registry's manifest names no model file: it runs elsewhere");
    if (r->n_gguf && r->n_tensors)
        return ig_fail(r->err, IG_UNSUPPORTED, 0,
                       "the image has GGUF files and safetensors files, expected weights of one form");
    const char *base = ig_json_text(json_object_get(j, "annotations"), BASE_NAME);
    if (base && strlen(base) < 500) r->plan->m.base = ig_plan_text(r->plan, base);
    settle(r);
    return IG_OK;
}

ig_status ig_image_plan(ig_str text, const char *base_url, const char *blobs, ig_plan *plan, ig_image_config *config,
                        ig_error *err)
{
    json_t *j;
    ig_error own;
    reader r = {.base_url = base_url, .blobs = blobs, .plan = plan, .err = err ? err : &own};
    IG_TRY(ig_store_json("the registry's manifest", text, VALUES_MAX, &j, err));
    ig_status st = read_layers(&r, j);
    if (config && st == IG_OK) {
        const json_t *c = json_object_get(j, "config");
        const char *media = ig_json_text(c, "mediaType"), *digest = ig_json_text(c, "digest");
        *config = (ig_image_config){0};
        config->model_pack = media && digest && !strncmp(media, "application/vnd.cncf.model.config", 33) &&
                             ig_json_size(c, "size", &config->size) &&
                             ig_digest_parse(digest, &config->digest, NULL) == IG_OK;
    }
    json_decref(j);
    return st;
}

ig_status ig_image_licences(ig_str text, ig_plan *plan, ig_error *err)
{
    json_t *j;
    char words[300] = "";
    for (size_t i = 0; i < plan->n; i++)
        if (plan->items[i].text == &plan->m.licence) return IG_OK; /* a layer has its text */
    IG_TRY(ig_store_json("the configuration of the image", text, VALUES_MAX, &j, err));
    const json_t *list = json_object_get(json_object_get(j, "descriptor"), "licenses");
    for (size_t i = 0, at = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (!one || at + strlen(one) + 6 > sizeof words) continue;
        at += (size_t)snprintf(words + at, sizeof words - at, "%s%s", at ? " OR " : "", one);
    }
    if (words[0] && !plan->m.licence) plan->m.licence = ig_plan_text(plan, words);
    json_decref(j);
    return IG_OK;
}

/* ------------------------------------------------------------------------------------------------ indexes */

/* 0: made for this or for any machine; 1: for another; -1: no image (a signature, a bill of materials). */
static int rank_of(const json_t *entry)
{
    const json_t *platform = json_object_get(entry, "platform");
    const char *os = ig_json_text(platform, "os"), *arch = ig_json_text(platform, "architecture");
    const char *media = ig_json_text(entry, "mediaType");
    if (!media || !strstr(media, "manifest") || strstr(media, "list") ||
        json_object_get(json_object_get(entry, "annotations"), "vnd.docker.reference.type"))
        return -1;
#if defined __x86_64__
    const char *own = "amd64";
#elif defined __aarch64__
    const char *own = "arm64";
#else
    const char *own = "";
#endif
    bool any = !platform || !os || !strcmp(os, "unknown");
    return any || (!strcmp(os, "linux") && arch && !strcmp(arch, own)) ? 0 : 1;
}

ig_status ig_image_index(ig_str text, ig_digest *out, size_t max, size_t *n, bool *is_index, ig_error *err)
{
    json_t *j;
    *n = 0;
    IG_TRY(ig_store_json("the registry's manifest", text, VALUES_MAX, &j, err));
    const json_t *list = json_object_get(j, "manifests");
    *is_index = json_is_array(list) && !json_object_get(j, "layers");
    size_t all = *is_index ? json_array_size(list) : 0;
    for (int rank = 0; rank < 2; rank++)
        for (size_t i = 0; i < all && i < CANDIDATES_MAX && *n < max; i++) {
            const json_t *entry = json_array_get(list, i);
            const char *digest = ig_json_text(entry, "digest");
            if (rank_of(entry) == rank && digest && ig_digest_parse(digest, &out[*n], NULL) == IG_OK) ++*n;
        }
    json_decref(j);
    return IG_OK;
}
