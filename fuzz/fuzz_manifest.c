/* What the store reads from strangers. The first byte chooses: '0' a manifest of our own, '1' an image manifest of the
 * Ollama registry, '2' a listing of the hub, '3' a name, a digest or a file name, '4' an address. What is accepted must
 * be within its limits, and a manifest that is read and written again must keep its digest. */
#include <stdlib.h>
#include <string.h>

#include "store/source/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_manifest(ig_str text)
{
    ig_manifest *m, *again;
    ig_error e = {0};
    ig_digest digest;
    char *out;
    if (ig_manifest_read("fuzz", text, &m, &e) != IG_OK) {
        if (m || !e.text[0] || e.status == IG_BUG) abort();
        return;
    }
    if (m->n_files == 0 || m->n_files > IG_FILES_MAX) abort();
    for (size_t i = 0; i < m->n_files; i++)
        if (!ig_file_name_valid(m->files[i].name)) abort();
    if (ig_manifest_write(m, &digest, &out, &e) != IG_OK || strcmp(digest.hex, m->digest.hex)) abort();
    if (ig_manifest_read("again", ig_str_from(out), &again, &e) != IG_OK || strcmp(again->name.text, m->name.text))
        abort();
    ig_manifest_free(again);
    ig_manifest_free(m);
    ig_free(out);
}

static void check_plan(ig_plan *plan, ig_status st, const ig_error *e)
{
    if (st != IG_OK && (!e->text[0] || st == IG_BUG)) abort();
    for (size_t i = 0; st == IG_OK && i < plan->n; i++) {
        const ig_item *item = &plan->items[i];
        ig_digest d;
        if (!item->name || (!item->url && !item->local)) abort();
        if (item->has_digest && ig_digest_parse(item->digest.hex, &d, NULL) != IG_OK) abort();
    }
    if (st == IG_OK && plan->n == 0) abort();
    ig_arena_fini(&plan->arena);
}

static void read_names(const char *text)
{
    ig_name name, again;
    ig_digest d;
    char file[IG_NAME_MAX + 8];
    (void)ig_digest_parse(text, &d, NULL);
    (void)ig_file_name_valid(text);
    if (ig_name_parse(text, &name, NULL) != IG_OK) return;
    ig_name_file(&name, file);
    if (strchr(file, '/') || file[0] == '.' || file[0] == '-') abort();
    if (ig_name_parse(name.text, &again, NULL) != IG_OK || strcmp(again.text, name.text)) abort();
}

static void read_address(const char *text)
{
    static const ig_pull_options none = {.no_files = true};
    ig_asker a = {NULL, &none, NULL};
    ig_plan plan = {0};
    ig_error e = {0};
    if (!ig_source_https.fits(text)) return;
    ig_status st = ig_source_https.plan(&a, text, &plan, &e);
    check_plan(&plan, st, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_plan plan = {.arena = {.max_bytes = 16 << 20}};
    ig_error e = {0};
    if (size < 1) return 0;
    char *text = malloc(size);
    if (!text) return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    ig_str s = {text, size - 1};
    if (data[0] == '0') read_manifest(s);
    if (data[0] == '1') check_plan(&plan, ig_image_plan(s, "https://host/blobs", NULL, &plan, NULL, &e), &e);
    if (data[0] == '2') {
        check_plan(&plan, ig_hub_plan(s, NULL, &plan, &e), &e);
        plan = (ig_plan){.arena = {.max_bytes = 16 << 20}};
        check_plan(&plan, ig_hub_plan(s, "Q8_0", &plan, &e), &e);
    }
    if (data[0] == '3') read_names(text);
    if (data[0] == '4') read_address(text);
    free(text);
    return 0;
}
