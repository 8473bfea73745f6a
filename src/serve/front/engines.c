/* Engines that are not ours: what the configuration says about them becomes models of the catalogue, or a way to run
 * models of the store. They are started by the bridge (src/bridge), never by the front itself. */
#include <string.h>

#include "base/mem.h"
#include "policy/policy.h"
#include "serve/front/fr.h"

static json_t *list_of(const ig_terms *w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w->n; i++) json_array_append_new(list, json_string(w->item[i]));
    return list;
}

/* New; what the bridge gets in INIT, and what the front looks at. */
static json_t *object_of(const ig_engine_config *e, const char *model)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:s?, s:s?, s:I, s:I, s:I, s:I, s:b}", "name", e->name, "model",
                     e->model ? e->model : model, "command", list_of(&e->command), "models", list_of(&e->models),
                     "environment", list_of(&e->environment), "passes", list_of(&e->passes), "device", e->device,
                     "health", e->health, "memory", (json_int_t)e->memory, "context", (json_int_t)e->context,
                     "start_ms", (json_int_t)e->start_ms, "timeout_s", (json_int_t)((e->timeout_ms + 999) / 1000),
                     "embeddings", (int)e->embeddings);
}

/* What can be told of its models before it has run. */
static json_t *facts_of(const ig_engine_config *e)
{
    json_t *can = json_pack("[s, s]", "completion", "tools");
    if (e->embeddings) json_array_append_new(can, json_string("embedding"));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "architecture", e->name, "format", "engine", "quantization", "",
                     "n_ctx", (json_int_t)e->context, "n_ctx_train", (json_int_t)e->context, "capabilities", can);
}

static char *copy(const char *z)
{
    size_t n = strlen(z) + 1;
    char *p = ig_alloc(n);
    if (p) memcpy(p, z, n);
    return p;
}

static void add_entry(fr_front *f, const ig_engine_config *c, const char *model)
{
    fr_entry **last = &f->entries;
    for (; *last; last = &(*last)->next)
        if (!strcmp((*last)->name, model)) {
            fr_say(f, "engine %s offers %s, but there is a model of this name already", c->name, model);
            return;
        }
    fr_entry *e = ig_calloc(1, sizeof *e);
    if (!e) return;
    e->refs = 1;
    e->name = copy(model);
    e->digest = copy("");
    e->engine = object_of(c, model);
    e->facts = facts_of(c);
    if (e->name && e->digest && e->engine && e->facts)
        *last = e;
    else
        fr_entry_unref(e);
}

/* Those whose configuration has not changed stay, with their workers. */
static void drop_changed(fr_front *f, const ig_config *c)
{
    for (fr_entry **at = &f->entries; *at;) {
        fr_entry *e = *at;
        bool stays = !e->engine;
        for (size_t i = 0; i < c->n_engines && !stays; i++) {
            json_t *now = object_of(&c->engines[i], e->name);
            stays = json_equal(now, e->engine);
            json_decref(now);
        }
        if (stays) {
            at = &e->next;
            continue;
        }
        fr_worker *w = fr_pool_find(f, e);
        *at = e->next;
        if (w) fr_worker_drain(w);
        fr_entry_unref(e);
    }
}

static bool is_there(const fr_front *f, const char *name)
{
    for (const fr_entry *e = f->entries; e; e = e->next)
        if (e->engine && !strcmp(e->name, name)) return true;
    return false;
}

void fr_engines_refresh(fr_front *f)
{
    const ig_config *c = fr_config(f);
    drop_changed(f, c);
    json_decref(f->engines);
    f->engines = json_array();
    for (size_t i = 0; i < c->n_engines; i++) {
        const ig_engine_config *e = &c->engines[i];
        if (ig_engine_takes_files(e)) {
            json_array_append_new(f->engines, object_of(e, e->name));
            continue;
        }
        for (size_t k = 0; k < e->models.n; k++)
            if (!is_there(f, e->models.item[k])) add_entry(f, e, e->models.item[k]);
        if (!e->models.n && !is_there(f, e->name)) add_entry(f, e, e->name);
    }
}

const json_t *fr_engine_of(const fr_front *f, const fr_entry *e)
{
    const json_t *engine, *pattern;
    size_t i, k;
    if (e->engine) return e->engine;
    json_array_foreach(f->engines, i, engine)
        json_array_foreach(json_object_get(engine, "models"), k,
                           pattern) if (ig_pattern_fits(json_string_value(pattern), e->name)) return engine;
    return NULL;
}
