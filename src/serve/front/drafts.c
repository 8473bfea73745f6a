/* What the configuration says about models of ours, [model NAME]: whether their users share a cache, and smaller models
 * that guess their tokens (draft = NAME), which become files that a worker opens beside its model's own. Whether the
 * two fit is for the worker to see. */
#include <string.h>

#include "policy/policy.h"
#include "serve/front/fr.h"

const char *fr_draft_name(const fr_front *f, const fr_entry *e)
{
    const ig_config *c = fr_config(f);
    if (fr_engine_of(f, e) || (f->config->speculate && !strcmp(f->config->speculate, "off"))) return NULL;
    for (size_t i = 0; i < c->n_models; i++)
        if (c->models[i].draft && ig_pattern_fits(c->models[i].name, e->name))
            return strcmp(c->models[i].draft, e->name) ? c->models[i].draft : NULL;
    return NULL;
}

bool fr_shares_cache(const fr_front *f, const fr_entry *e)
{
    const ig_config *c = fr_config(f);
    for (size_t i = 0; i < c->n_models; i++)
        if (c->models[i].share_cache && ig_pattern_fits(c->models[i].name, e->name)) return true;
    return false;
}

const fr_entry *fr_draft_of(const fr_front *f, const fr_entry *e)
{
    const char *name = fr_draft_name(f, e);
    return name ? fr_catalog_look(f, name) : NULL;
}

ig_status fr_draft_open(const fr_front *f, const fr_entry *e, int *fds, const char **names, size_t *n, ig_error *err)
{
    const char *name = fr_draft_name(f, e);
    const fr_entry *draft = fr_draft_of(f, e);
    *n = 0;
    if (!name) return IG_OK;
    if (!draft)
        return ig_fail(err, IG_NOT_FOUND, 0,
                       "model %.100s is to be drafted by %.100s, which is not there; type: ingle pull %.100s, or take "
                       "draft out of its [model] section",
                       e->name, name, name);
    if (fr_engine_of(f, draft))
        return ig_fail(err, IG_UNSUPPORTED, 0,
                       "model %.100s is to be drafted by %.100s, which another engine runs; expected a model of ours",
                       e->name, name);
    return fr_entry_open(f, draft, fds, names, n, err);
}

void fr_drafts_refresh(fr_front *f)
{
    for (fr_worker *w = f->workers, *next; w; w = next) {
        next = w->next;
        const char *now = fr_draft_name(f, w->entry);
        bool runs = !w->probe && !w->engine && (w->state == FR_LOADING || w->state == FR_READY);
        if (runs && (strcmp(now ? now : "", w->draft) || fr_shares_cache(f, w->entry) != w->shares)) fr_worker_drain(w);
    }
}
