/* Models of a catalogue into the store: the files come from the origins, what they must be was signed. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tuf.h"

bool ig_catalogue_present(ig_store *store, const ig_catalogue_target *t)
{
    ig_manifest *m;
    if (ig_store_find(store, t->name, &m, NULL) != IG_OK) return false;
    bool same = !strcmp(m->digest.hex, t->digest);
    for (size_t i = 0; same && i < m->n_files; i++) same = ig_store_blob_has(store, &m->files[i].digest, NULL);
    ig_manifest_free(m);
    return same;
}

typedef struct puller {
    ig_store *store;
    const ig_manifest *want;
    const ig_check *check;
    bool done;
} puller;

static const ig_store_file *file_of(const ig_manifest *m, const ig_digest *d)
{
    for (size_t i = 0; i < m->n_files; i++)
        if (!strcmp(m->files[i].digest.hex, d->hex)) return &m->files[i];
    return NULL;
}

/* Asked when the files of an origin are all there and nothing is visible yet. The model is added as it was signed, with
 * its own texts; the origin's manifest is then refused, so that it never has a name. */
static ig_status take(void *ctx, const ig_manifest *m, const int *fds, ig_buf *about, ig_error *err)
{
    puller *p = ctx;
    (void)fds, (void)about;
    for (size_t i = 0; i < p->want->n_files; i++) {
        const ig_store_file *f = &p->want->files[i];
        if (!file_of(m, &f->digest))
            return ig_fail(err, IG_DENIED, 0,
                           "the origin has another %.100s than was signed, expected SHA-256 %.16s...", f->name,
                           f->digest.hex);
    }
    IG_TRY(ig_store_add(p->store, p->want, p->check, NULL, err));
    p->done = true;
    return ig_fail(err, IG_CANCELLED, 0, "it was added as it was signed");
}

static bool all_there(ig_store *store, const ig_manifest *m)
{
    uint64_t size;
    for (size_t i = 0; i < m->n_files; i++)
        if (!ig_store_blob_has(store, &m->files[i].digest, &size) || size != m->files[i].size) return false;
    return true;
}

static ig_status from_origins(puller *p, const ig_catalogue_target *t, const ig_pull_options *options, ig_error *err)
{
    ig_pull_options o = options ? *options : (ig_pull_options){0};
    ig_error why = {0};
    ig_status st = IG_NOT_FOUND;
    o.name = p->want->name.text;
    o.check = (ig_check){take, p};
    for (size_t i = 0; i < t->origins.n; i++) {
        st = ig_store_pull(p->store, t->origins.list[i], &o, NULL, &why);
        if (p->done) return IG_OK;
        if (st == IG_OK) st = ig_fail(&why, IG_BUG, 0, "the origin was not compared");
        if (st == IG_CANCELLED || st == IG_NO_MEMORY) break;
    }
    if (t->origins.n == 0) return ig_fail(err, st, 0, "model %.100s has no origin in the catalogue", t->name);
    return ig_fail(err, st, 0, "cannot get model %.80s: %.400s", t->name, why.text);
}

ig_status ig_catalogue_pull(ig_store *store, const ig_catalogue_target *t, const ig_pull_options *options,
                            bool *changed, ig_error *err)
{
    ig_arena arena = {0};
    ig_manifest want;
    bool own;
    if (!changed) changed = &own;
    *changed = false;
    IG_TRY(ig_store_writable(store, err));
    if (t->adapters.n)
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "model %.100s is offered with adapter %.100s, which this version cannot apply; expected a model "
                       "without adapters. On the administrator's machine type: ingle catalogue add DIR %.100s",
                       t->name, t->adapters.list[0], t->name);
    if (ig_catalogue_present(store, t)) return IG_OK;
    ig_status st = ig_content_manifest(t, &arena, &want, err);
    char source[IG_NAME_MAX + 16];
    (void)snprintf(source, sizeof source, "catalogue:%s", t->path);
    want.source = source;
    puller p = {store, &want, options ? &options->check : NULL, false};
    if (st == IG_OK && all_there(store, &want))
        st = ig_store_add(store, &want, p.check, NULL, err);
    else if (st == IG_OK)
        st = from_origins(&p, t, options, err);
    *changed = st == IG_OK;
    ig_arena_fini(&arena);
    return st;
}
