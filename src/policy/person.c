/* Persons, and what providers collect for them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "policy/inner.h"

#define ARENA_BYTES_MAX ((size_t)8 << 20)

void ig_finding_init(ig_finding *f)
{
    *f = (ig_finding){0};
    f->arena.max_bytes = ARENA_BYTES_MAX;
}

void ig_finding_fini(ig_finding *f)
{
    ig_free((void *)f->groups);
    ig_arena_fini(&f->arena);
    *f = (ig_finding){0};
}

void ig_finding_note(ig_finding *f, const char *format, ...)
{
    va_list args;
    if (f->notes[0]) return; /* the first is the cause */
    va_start(args, format);
    vsnprintf(f->notes, sizeof f->notes, format, args);
    va_end(args);
    for (char *c = f->notes; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
}

/* Two groups of one name are both kept where they have ids: a rule may name either. */
static bool same(const ig_group *g, const char *name, const char *id)
{
    if (*g->id && *id) return !strcasecmp(g->id, id);
    return !strcasecmp(g->name, name);
}

bool ig_finding_group(ig_finding *f, const char *name, const char *id)
{
    for (size_t i = 0; i < f->n_groups; i++)
        if (same(f->groups[i], name, id)) return true;
    if (f->n_groups == IG_GROUPS_MAX) return false;
    if (f->n_groups == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 32;
        const ig_group **grown = ig_realloc((void *)f->groups, cap, sizeof *grown);
        if (!grown) return false;
        f->groups = grown;
        f->cap = cap;
    }
    ig_group *g = ig_arena_alloc(&f->arena, 1, sizeof *g);
    if (!g) return false;
    g->name = ig_arena_copy(&f->arena, name, strlen(name));
    g->id = ig_arena_copy(&f->arena, id, strlen(id));
    if (!g->name || !g->id) return false;
    f->groups[f->n_groups++] = g;
    return true;
}

/* ------------------------------------------------------------------------------------------------ persons */

static char *put(char **to, const char *z)
{
    size_t n = strlen(z) + 1;
    char *at = *to;
    memcpy(at, z, n);
    *to += n;
    return at;
}

/* One block: the struct, the groups, the texts. */
ig_person *ig_person_new(const ig_person *v)
{
    const char *account = v->account ? v->account : "", *fault = v->fault ? v->fault : "",
               *notes = v->notes ? v->notes : "";
    size_t n = sizeof *v + v->n_groups * sizeof(ig_group) + strlen(account) + strlen(fault) + strlen(notes) + 3;
    for (size_t i = 0; i < v->n_groups; i++) n += strlen(v->groups[i].name) + strlen(v->groups[i].id) + 2;
    ig_person *p = ig_calloc(1, n);
    if (!p) return NULL;
    ig_group *groups = (ig_group *)(p + 1);
    char *texts = (char *)(groups + v->n_groups);
    *p = *v;
    p->refs = 1;
    p->groups = groups;
    for (size_t i = 0; i < v->n_groups; i++) {
        groups[i].name = put(&texts, v->groups[i].name);
        groups[i].id = put(&texts, v->groups[i].id);
    }
    p->account = put(&texts, account);
    p->fault = put(&texts, fault);
    p->notes = put(&texts, notes);
    return p;
}

ig_person *ig_person_ref(const ig_person *p)
{
    ig_person *own = (ig_person *)(uintptr_t)p; /* the count alone changes */
    __atomic_add_fetch(&own->refs, 1, __ATOMIC_RELAXED);
    return own;
}

void ig_person_unref(ig_person *p)
{
    if (p && !__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL)) ig_free(p);
}
