/* The sources, in the order in which an address is offered to them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "source.h"

static const ig_source *const sources[] = {
    &ig_source_hub, &ig_source_oci, &ig_source_s3, &ig_source_https, &ig_source_file, &ig_source_ollama,
};
enum { N_SOURCES = sizeof sources / sizeof *sources };

const ig_source *ig_source_find(const char *address)
{
    for (size_t i = 0; i < N_SOURCES; i++)
        if (sources[i]->fits(address)) return sources[i];
    return NULL;
}

const ig_source_info *ig_store_source(size_t i) { return i < N_SOURCES ? &sources[i]->info : NULL; }

ig_status ig_plan_add(ig_plan *plan, const ig_item *item, ig_error *err)
{
    if (plan->n >= IG_FILES_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "the model has more than %d files", (int)IG_FILES_MAX);
    if (plan->n == plan->cap) {
        size_t cap = plan->cap ? plan->cap * 2 : 16;
        ig_item *items = ig_arena_alloc(&plan->arena, cap, sizeof *items);
        if (!items) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for the list of files");
        if (plan->n) memcpy(items, plan->items, plan->n * sizeof *items);
        plan->items = items;
        plan->cap = cap;
    }
    plan->items[plan->n++] = *item;
    return IG_OK;
}

const char *ig_plan_text(ig_plan *plan, const char *text)
{
    return text ? ig_arena_copy(&plan->arena, text, strlen(text)) : NULL;
}

const char *ig_plan_printf(ig_plan *plan, const char *format, ...)
{
    char text[IG_URL_MAX + 512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return n >= 0 && (size_t)n < sizeof text ? ig_plan_text(plan, text) : NULL;
}
